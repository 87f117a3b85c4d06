//! Malformed frames over sockets: with handshakes, ciphers, streams and the agreement on what they are for.
//!
//! The node is one as the binary makes it. Whoever attacks comes from another address of this machine than loopback, which is never
//! turned away; the honest reader comes by loopback. Where there is no such address nothing is measured here.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use datnode_tests::hostile::{AGREEMENT, Raw};
use futures::future::{join_all, poll_fn};
use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _};
use libp2p::core::muxing::StreamMuxerExt as _;
use libp2p::core::transport::{ListenerId, TransportEvent};
use libp2p::core::upgrade::Version;
use libp2p::core::{Transport as _, muxing::SubstreamBox};
use libp2p::identity::Keypair;
use libp2p::{Multiaddr, tcp, tls, yamux};
use rustix::process::setpriority_process;
use rustix::thread::gettid;
use rustix::time::{ClockId, clock_gettime};

use crate::node::{BLOCKS, Node, fetch_from};
use crate::{ATTACKERS, SPAN, print};

/// How many frames are written at once to a stream that ends with the first.
const CHUNK: usize = 1_000;
/// No frame: it would be too long.
const MALFORMED: [u8; 8] = [0xff; 8];

/// How they come.
#[derive(Clone, Copy)]
enum Way {
    /// One peer after all: frames without end on a stream, and on a new connection whenever that ended.
    Frames,
    /// A stream for each frame on a connection, as long as that lasts.
    Streams,
    /// A stranger for each frame, with a connection of its own.
    Strangers,
}

const WAYS: [(&str, Way); 3] = [
    ("sockets: malformed, without end", Way::Frames),
    ("sockets: malformed, on a stream each", Way::Streams),
    ("sockets: malformed, from a stranger each", Way::Strangers),
];

/// Measures all ways, and what the least of a stream costs.
pub(crate) fn measure(part: &str) {
    let ways = || WAYS.into_iter().filter(|(name, _)| name.contains(part));
    if ways().next().is_none() {
        return;
    }
    let Some(away) = address() else {
        return println!("sockets: skipped, this machine has no address but loopback");
    };
    for (name, way) in ways() {
        let mut node = Node::new(BLOCKS);
        let near = Ipv4Addr::LOCALHOST.into();
        let at = node.listen(&[near, away], Vec::new());
        let [near, away] = [near, away].map(|ip| {
            at.iter().find(|at| at.to_string().contains(&ip.to_string())).unwrap().clone()
        });
        let attack = Attack::new(&away, way);
        std::thread::sleep(SPAN / 10);
        let (sent, spent, started) = (attack.sent(), node.spent(), Instant::now());
        std::thread::sleep(SPAN);
        let (sent, spent) = (attack.sent() - sent, node.spent() - spent);
        let share = spent.as_secs_f64() / started.elapsed().as_secs_f64();
        drop(attack);
        let (mut kept, mut pace) = (0.0_f64, 0.0_f64);
        for _ in 0..3 {
            let alone = fetch_from(&near);
            let attack = Attack::new(&away, way);
            let (before, started) = (attack.sent(), Instant::now());
            let beside = fetch_from(&near);
            pace = pace.max((attack.sent() - before) as f64 / started.elapsed().as_secs_f64());
            kept = kept.max(alone.as_secs_f64() / beside.as_secs_f64());
        }
        print(name, sent as f64 / spent.as_secs_f64(), pace, kept);
        println!("    it took {:.1} % of a processor", share * 100.0);
    }
    println!("sockets: a stream, at the least             {:>10.0}/s", bare());
}

/// Returns an address of this machine that is not loopback.
fn address() -> Option<IpAddr> {
    // Nothing is sent: the system is asked which address it would send from.
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("198.51.100.1:9").ok()?;
    socket.local_addr().ok().map(|at| at.ip()).filter(|ip| !ip.is_loopback())
}

/// Peers on a thread of their own, until this is dropped.
struct Attack {
    sent: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Attack {
    fn new(target: &Multiaddr, way: Way) -> Self {
        let (sent, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (counts, ends, target) = (sent.clone(), over.clone(), target.clone());
        let thread = std::thread::spawn(move || {
            // What they do to attack costs the node's machine no more than it has to spare.
            setpriority_process(Some(gettid()), 19).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let peers = (0..ATTACKERS).map(|_| attack(&target, way, &counts, &ends));
            runtime.unwrap().block_on(join_all(peers));
        });
        Self { sent, over, thread: Some(thread) }
    }

    fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        self.thread.take().map(JoinHandle::join).unwrap().unwrap();
    }
}

/// Says malformed frames; one that could not be said, since it was turned away, counts as one as well.
async fn attack(target: &Multiaddr, way: Way, sent: &AtomicU64, over: &AtomicBool) {
    let count = |frames: usize| sent.fetch_add(frames as u64, Ordering::SeqCst);
    let is_over = || over.load(Ordering::SeqCst);
    let mut identity = Keypair::generate_ed25519();
    let frames = MALFORMED.repeat(CHUNK);
    while !is_over() {
        if matches!(way, Way::Strangers) {
            identity = Keypair::generate_ed25519();
        }
        let Ok(connection) = Raw::connect(target, &identity).await else {
            count(1);
            continue;
        };
        match way {
            Way::Frames => {
                let Ok(mut stream) = connection.open().await else { continue };
                let mut written = stream.write_all(AGREEMENT).await;
                while written.is_ok() && !is_over() {
                    written = stream.write_all(&frames).await;
                    count(CHUNK);
                }
            }
            Way::Streams => {
                while connection.say(&MALFORMED).await.is_ok() && !is_over() {
                    count(1);
                }
            }
            Way::Strangers => {
                let _ = connection.say(&MALFORMED).await;
                count(1);
            }
        }
    }
}

/// Returns how many streams a second of a processor serves that does nothing but agree on a protocol, and ends them: the library's
/// own TCP, TLS and yamux, without a node around it.
fn bare() -> f64 {
    let (ready, listens) = std::sync::mpsc::channel();
    let over = Arc::new(AtomicBool::new(false));
    let ended = over.clone();
    let server = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(serve(ready, &ended))
    });
    let target: Multiaddr = listens.recv().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let raw = Raw::connect(&target, &Keypair::generate_ed25519()).await.unwrap();
        let started = Instant::now();
        while started.elapsed() < SPAN {
            let streams = (0..ATTACKERS).map(|_| raw.say(&[]));
            join_all(streams).await.into_iter().for_each(|said| said.unwrap());
        }
        over.store(true, Ordering::SeqCst);
        let _ = raw.say(&[]).await;
    });
    let (streams, spent) = server.join().unwrap();
    streams as f64 / spent.as_secs_f64()
}

/// Serves one connection's streams; returns how many there were and what they took of the processor.
async fn serve(ready: std::sync::mpsc::Sender<Multiaddr>, over: &AtomicBool) -> (u64, Duration) {
    let secured = tls::Config::new(&Keypair::generate_ed25519()).unwrap();
    let mut transport = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
        .upgrade(Version::V1Lazy)
        .authenticate(secured)
        .multiplex(yamux::Config::default())
        .boxed();
    transport.listen_on(ListenerId::next(), "/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
    let upgrade = loop {
        match transport.next().await.unwrap() {
            TransportEvent::NewAddress { listen_addr, .. } => ready.send(listen_addr).unwrap(),
            TransportEvent::Incoming { upgrade, .. } => break upgrade,
            _ => {}
        }
    };
    let (_, mut muxer) = upgrade.await.unwrap();
    let before = clock_gettime(ClockId::ThreadCPUTime);
    let mut streams = 0;
    while !over.load(Ordering::SeqCst) {
        let next = poll_fn(|cx| {
            if muxer.poll_unpin(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
            muxer.poll_inbound_unpin(cx)
        });
        let Ok(stream) = next.await else { break };
        streams += 1;
        tokio::spawn(agree(stream));
    }
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let nanos =
        |time: rustix::time::Timespec| time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64;
    (streams, Duration::from_nanos(nanos(time) - nanos(before)))
}

/// Agrees on a protocol, and ends the stream.
async fn agree(mut stream: SubstreamBox) {
    let mut asked = [0; AGREEMENT.len()];
    if stream.read_exact(&mut asked).await.is_ok() && stream.write_all(AGREEMENT).await.is_ok() {
        let _ = stream.close().await;
    }
}
