//! A public IPFS DHT that is nobody's: a few of its servers on loopback, which count what they are asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::StreamExt as _;
use libp2p::identity::Keypair;
use libp2p::kad::store::MemoryStore;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{
    Multiaddr, StreamProtocol, Swarm, SwarmBuilder, autonat, identify, kad, noise, tcp, yamux,
};
use tokio::sync::mpsc;

/// What such a server speaks. The others are told whether they are reached, as there.
#[derive(NetworkBehaviour)]
struct Protocols {
    kad: kad::Behaviour<MemoryStore>,
    identify: identify::Behaviour,
    answer: autonat::v2::server::Behaviour,
}

/// What they were asked.
#[derive(Debug, Default)]
pub struct Asked {
    met: AtomicUsize,
    questions: AtomicUsize,
    records: AtomicUsize,
    speakers: AtomicUsize,
}

impl Asked {
    /// Returns how many times somebody who is none of them said what it speaks.
    pub fn met(&self) -> usize {
        self.met.load(Ordering::SeqCst)
    }

    /// Returns how many of these said that they serve the table.
    pub fn speakers(&self) -> usize {
        self.speakers.load(Ordering::SeqCst)
    }

    /// Returns how many questions anybody asked, themselves too.
    pub fn questions(&self) -> usize {
        self.questions.load(Ordering::SeqCst)
    }

    /// Returns how many times somebody said that it has something.
    pub fn records(&self) -> usize {
        self.records.load(Ordering::SeqCst)
    }
}

/// Some servers; they end when this is dropped.
pub struct Ipfs {
    addresses: Vec<String>,
    /// What they were asked.
    pub asked: Arc<Asked>,
    _end: mpsc::Sender<()>,
}

impl Ipfs {
    /// Starts so many servers, of which each knows the one before it.
    pub fn start(count: usize) -> Self {
        let (asked, (end, mut ended)) = (Arc::new(Asked::default()), mpsc::channel::<()>(1));
        let (tell, told) = std::sync::mpsc::channel();
        let counts = asked.clone();
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let mut before = None;
                for _ in 0..count {
                    let (swarm, address) = server(before.take()).await;
                    tell.send(address.to_string()).unwrap();
                    before = Some(address);
                    tokio::spawn(serve(swarm, counts.clone()));
                }
                drop(tell);
                let _ = ended.recv().await;
            });
        });
        Self { addresses: told.into_iter().collect(), asked, _end: end }
    }

    /// Returns the address of one of them, for `--bootstrap`.
    pub fn address(&self, number: usize) -> &str {
        &self.addresses[number]
    }
}

async fn server(before: Option<Multiaddr>) -> (Swarm<Protocols>, Multiaddr) {
    let key = Keypair::generate_ed25519();
    let mut swarm = SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(protocols)
        .unwrap()
        .build();
    swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
    let address = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            break address.with_p2p(*swarm.local_peer_id()).unwrap();
        }
    };
    swarm.add_external_address(address.clone());
    if let Some(before) = before {
        swarm.dial(before).unwrap();
    }
    (swarm, address)
}

fn protocols(key: &Keypair) -> Protocols {
    let local = key.public().to_peer_id();
    let config = kad::Config::new(StreamProtocol::new("/ipfs/kad/1.0.0"));
    let mut kad = kad::Behaviour::with_config(local, MemoryStore::new(local), config);
    kad.set_mode(Some(kad::Mode::Server));
    let identify = identify::Config::new("/ipfs/0.1.0".to_owned(), key.public());
    let identify = identify::Behaviour::new(identify.with_agent_version(AGENT.to_owned()));
    Protocols { kad, identify, answer: autonat::v2::server::Behaviour::default() }
}

/// What one of them says that it is.
const AGENT: &str = "kubo";

async fn serve(mut swarm: Swarm<Protocols>, asked: Arc<Asked>) {
    loop {
        let SwarmEvent::Behaviour(event) = swarm.select_next_some().await else { continue };
        match event {
            ProtocolsEvent::Kad(kad::Event::InboundRequest { request }) => {
                asked.questions.fetch_add(1, Ordering::SeqCst);
                let is_record = matches!(request, kad::InboundRequest::AddProvider { .. });
                asked.records.fetch_add(usize::from(is_record), Ordering::SeqCst);
            }
            ProtocolsEvent::Identify(identify::Event::Received { peer_id, info, .. }) => {
                let speaks = info.protocols.iter().any(|name| name.as_ref() == "/ipfs/kad/1.0.0");
                if info.agent_version == AGENT {
                    // Servers know each other by where they listen.
                    for address in info.listen_addrs {
                        swarm.behaviour_mut().kad.add_address(&peer_id, address);
                    }
                } else {
                    asked.met.fetch_add(1, Ordering::SeqCst);
                    asked.speakers.fetch_add(usize::from(speaks), Ordering::SeqCst);
                }
            }
            _ => {}
        }
    }
}
