//! Peers that mean harm: the node's own transport, a real handshake and capability, and then scripted misbehaviour.
//!
//! A [`Hostile`] is a node in this process with a thread of its own. It gives each session to a script as a [`Line`], on which
//! the script says what it likes, frames or no frames. What can be said in messages is said in simulated worlds as well
//! (`datnode_sim::hostile`).
//!
//! A [`forge::Forge`] makes drives that mean harm, and [`names`] lists names that do.

mod asker;
pub mod forge;
mod line;
pub mod names;
mod puppet;
mod raw;
mod source;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use datnode::swarm::{Session, Swarm, SwarmConfig, SwarmEvent, listen_addresses_for, start};
use datnode_proto::Binding;
use libp2p::Multiaddr;
use libp2p::identity::Keypair;
use rustix::process::setpriority_process;
use rustix::thread::gettid;
use tokio::sync::oneshot;

pub use asker::{Asker, Burst};
pub use line::{Gone, Line};
pub use puppet::{CONTENT, Goods, Said, serve};
pub use raw::{AGREEMENT, Raw, one_byte_short, pings, push};
pub use source::{Acts, Source};

/// How soon an attacker is back.
const AGAIN: Duration = Duration::from_millis(20);

/// A node that misbehaves; it is gone when this is dropped.
pub struct Hostile {
    address: String,
    counts: Arc<Counts>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Counts {
    begun: AtomicU64,
    closed: AtomicU64,
    /// In bytes.
    passed: Arc<AtomicU64>,
}

impl Hostile {
    /// Starts a node that listens on loopback and runs `script` on each session.
    pub fn listen<S, F>(script: S) -> Self
    where
        S: Fn(Line) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        Self::start(None, 1, script)
    }

    /// Starts a node that connects to `address`, again at once whenever it is thrown out, and runs `script` on each session.
    pub fn attack<S, F>(address: &str, script: S) -> Self
    where
        S: Fn(Line) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        Self::crowd(address, 1, script)
    }

    /// Starts so many nodes that connect to `address` as [`attack`](Self::attack) does.
    pub fn crowd<S, F>(address: &str, count: usize, script: S) -> Self
    where
        S: Fn(Line) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        Self::start(Some(address.to_owned()), count, script)
    }

    fn start<S, F>(target: Option<String>, count: usize, script: S) -> Self
    where
        S: Fn(Line) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let counts = Arc::new(Counts::default());
        let (ready, listens) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let counted = counts.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            if target.is_some() {
                // What they do to attack costs this machine no more than it has to spare.
                setpriority_process(Some(gettid()), 19).unwrap();
            }
            runtime.unwrap().block_on(async {
                let nodes = (0..count).map(|_| run(target.clone(), &script, &counted, &ready));
                tokio::select! {
                    _ = futures::future::join_all(nodes) => {}
                    _ = stopped => {}
                }
            });
        });
        let address = listens.recv().unwrap();
        Self { address, counts, stop: Some(stop), thread: Some(thread) }
    }

    /// Returns the address for `--peer`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Returns how many sessions began.
    pub fn sessions(&self) -> u64 {
        self.counts.begun.load(Ordering::SeqCst)
    }

    /// Returns how many bytes the scripts sent and took.
    pub fn passed(&self) -> u64 {
        self.counts.passed.load(Ordering::SeqCst)
    }

    /// Returns how many sessions were closed by the other side: the scripts close none.
    pub fn closed(&self) -> u64 {
        self.counts.closed.load(Ordering::SeqCst)
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        let _ = self.stop.take().map(|stop| stop.send(()));
        let ended = self.thread.take().map(JoinHandle::join);
        if let (Some(Err(panic)), false) = (ended, std::thread::panicking()) {
            std::panic::resume_unwind(panic);
        }
    }
}

async fn run<S, F>(
    target: Option<String>,
    script: &S,
    counts: &Counts,
    ready: &std::sync::mpsc::Sender<String>,
) where
    S: Fn(Line) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let listen = listen_addresses_for(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    let config = SwarmConfig::new(Keypair::generate_ed25519(), listen);
    let (swarm, mut events, driver) = start(config).unwrap();
    tokio::spawn(driver);
    // In a crowd it may take longer than a swarm waits.
    let tcp = loop {
        swarm.listening().await;
        let addresses = swarm.dialable_addresses().into_iter().map(|address| address.to_string());
        if let Some(tcp) = addresses.into_iter().find(|address| address.contains("/tcp/")) {
            break tcp;
        }
    };
    // Of a crowd's addresses only the first is asked for.
    let _ = ready.send(tcp);
    let target: Option<Multiaddr> = target.map(|target| target.parse().unwrap());
    if let Some(target) = &target {
        swarm.dial(vec![target.clone()]).await;
    }
    while let Some(event) = events.recv().await {
        match event {
            SwarmEvent::Session(session) => {
                counts.begun.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(script(line(&swarm, session, counts)));
                continue;
            }
            SwarmEvent::Closed(_) => {
                counts.closed.fetch_add(1, Ordering::SeqCst);
            }
            SwarmEvent::DialFailed(_) => {}
            _ => continue,
        }
        if let Some(target) = &target {
            tokio::time::sleep(AGAIN).await;
            swarm.dial(vec![target.clone()]).await;
        }
    }
}

fn line(swarm: &Swarm, session: Session, counts: &Counts) -> Line {
    let binding =
        Binding { ours: swarm.local_peer_id().to_bytes(), theirs: session.peer.to_bytes() };
    Line::new(session.stream, binding, counts.passed.clone())
}
