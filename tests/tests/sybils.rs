//! A DHT in which most nodes lie: 30 honest ones, 200 whose ids crowd around the key of a drive, and half of the honest ones leave.
//! Who has nothing but the key finds the sharer all the same.
//!
//! All of it in this process, over real sockets on loopback; those who lie know each other alone, name each other to whoever asks,
//! keep no record, and a third of them claims to have every drive. With fewer of all it is quick; as above it takes a minute:
//! `cargo test -p datnode-tests --test sybils -- --ignored`.

use std::borrow::Cow;
use std::iter::Empty;
use std::time::Duration;

use datnode::swarm::dht::PROTOCOL;
use datnode::swarm::{Swarm, SwarmConfig, SwarmEvent, start};
use futures::StreamExt as _;
use libp2p::identity::Keypair;
use libp2p::kad::store::{Error, RecordStore, Result};
use libp2p::kad::{self, KBucketKey, ProviderRecord, Record, RecordKey};
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent as Libp2pEvent};
use libp2p::{Multiaddr, PeerId, SwarmBuilder, identify, noise, tcp, yamux};
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinHandle;

/// What takes longer than this never comes: a query may take 20 s, and the next one comes after at most 8 s.
const HANGS: Duration = Duration::from_secs(120);

/// What is looked for.
const DRIVE: [u8; 32] = [7; 32];

/// A node of ours, of which nothing but its events is taken.
struct Node {
    swarm: Swarm,
    events: Receiver<SwarmEvent>,
    driver: JoinHandle<()>,
}

impl Node {
    /// Starts a node on loopback; one that everybody reaches serves the table.
    async fn start(public: bool) -> Self {
        let listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
        let config = SwarmConfig::new(Keypair::generate_ed25519(), listen);
        let (swarm, events, driver) = start(SwarmConfig { dht: true, public, ..config }).unwrap();
        let driver = tokio::spawn(driver);
        swarm.listening().await;
        Self { swarm, events, driver }
    }

    fn address(&self) -> Multiaddr {
        self.swarm.local_addresses().remove(0)
    }

    /// Knows a node that leads into the table.
    async fn enter(&self, by: &Multiaddr) {
        self.swarm.keep(datnode::swarm::Channel::Bootstrap, vec![by.clone()]).await;
    }

    /// Waits until so many nodes of the table are known.
    async fn knows(&self, nodes: usize) {
        let mut outside = self.swarm.outside();
        let known = outside.wait_for(|outside| outside.nodes >= nodes);
        if tokio::time::timeout(HANGS, known).await.is_err() {
            panic!("too few are met: {:?}", self.swarm.outside().borrow());
        }
    }

    /// Waits until the table names a peer.
    async fn finds(&mut self, peer: PeerId) {
        let named = |address: &Multiaddr| address.iter().any(|part| part == Protocol::P2p(peer));
        let found = async {
            loop {
                match self.events.recv().await.expect("the swarm runs") {
                    SwarmEvent::Found(addresses) if addresses.iter().any(named) => return,
                    _ => {}
                }
            }
        };
        tokio::time::timeout(HANGS, found).await.expect("it is not found");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Keeps nothing; some claim that somebody who is not there has every drive.
struct Lies {
    claims: bool,
}

impl RecordStore for Lies {
    type RecordsIter<'a> = Empty<Cow<'a, Record>>;
    type ProvidedIter<'a> = Empty<Cow<'a, ProviderRecord>>;

    fn get(&self, _: &RecordKey) -> Option<Cow<'_, Record>> {
        None
    }

    fn put(&mut self, _: Record) -> Result<()> {
        Err(Error::MaxRecords)
    }

    fn remove(&mut self, _: &RecordKey) {}

    fn records(&self) -> Self::RecordsIter<'_> {
        std::iter::empty()
    }

    fn add_provider(&mut self, _: ProviderRecord) -> Result<()> {
        // It says that it does.
        Ok(())
    }

    fn providers(&self, key: &RecordKey) -> Vec<ProviderRecord> {
        let nowhere = || vec!["/ip4/127.0.0.1/tcp/9".parse().unwrap()];
        let record = |_| ProviderRecord::new(key.clone(), PeerId::random(), nowhere());
        if self.claims { (0..20).map(record).collect() } else { Vec::new() }
    }

    fn provided(&self) -> Self::ProvidedIter<'_> {
        std::iter::empty()
    }

    fn remove_provider(&mut self, _: &RecordKey, _: &PeerId) {}
}

#[derive(NetworkBehaviour)]
struct Speaks {
    identify: identify::Behaviour,
    kad: kad::Behaviour<Lies>,
}

/// Returns an id that agrees with the place of the drive's key in its first bits.
fn ground(bits: u32) -> Keypair {
    let place = KBucketKey::new(RecordKey::from(DRIVE.to_vec()));
    let agrees = |key: &Keypair| {
        let own = KBucketKey::from(key.public().to_peer_id());
        let distance = place.distance(&own).ilog2();
        distance.is_none_or(|log| log < 256 - bits)
    };
    std::iter::repeat_with(Keypair::generate_ed25519).find(agrees).expect("it does not end")
}

/// Starts those who lie, each of which knows some of the others, and comes to some honest nodes.
async fn crowd(count: usize, honest: &[Multiaddr]) {
    let keys: Vec<Keypair> = (0..count).map(|_| ground(6)).collect();
    let mut swarms = Vec::new();
    for (number, key) in keys.into_iter().enumerate() {
        let local = key.public().to_peer_id();
        let behaviour = |key: &Keypair| {
            let mut config = kad::Config::new(PROTOCOL);
            config.set_periodic_bootstrap_interval(None);
            let store = Lies { claims: number % 3 == 0 };
            let mut kad = kad::Behaviour::with_config(local, store, config);
            kad.set_mode(Some(kad::Mode::Server));
            let identify = identify::Config::new("/datnode/1.0.0".to_owned(), key.public());
            Speaks { identify: identify::Behaviour::new(identify), kad }
        };
        let mut swarm = SwarmBuilder::with_existing_identity(key)
            .with_tokio()
            .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
            .unwrap()
            .with_behaviour(behaviour)
            .unwrap()
            .with_swarm_config(|config| {
                config.with_idle_connection_timeout(Duration::from_secs(600))
            })
            .build();
        swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
        let address = loop {
            if let Libp2pEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                break address;
            }
        };
        swarms.push((swarm, local, address));
    }
    let all: Vec<(PeerId, Multiaddr)> =
        swarms.iter().map(|(_, peer, address)| (*peer, address.clone())).collect();
    for (number, (mut swarm, ..)) in swarms.into_iter().enumerate() {
        for (peer, address) in all.iter().cycle().skip(number + 1).take(30) {
            swarm.behaviour_mut().kad.add_address(peer, address.clone());
        }
        for address in honest.iter().cycle().skip(number).take(2) {
            swarm.dial(address.clone()).unwrap();
        }
        tokio::spawn(async move {
            loop {
                swarm.select_next_some().await;
            }
        });
    }
}

/// Shares a drive among honest nodes and those who lie, has half of the honest ones leave, and looks for it.
async fn is_found(honest: usize, liars: usize) {
    let mut nodes = vec![Node::start(true).await];
    for number in 1..honest {
        let node = Node::start(true).await;
        node.enter(&nodes[number / 2].address()).await;
        nodes.push(node);
    }
    for node in &nodes {
        node.knows(3.min(honest - 1)).await;
    }
    let addresses: Vec<Multiaddr> = nodes.iter().map(Node::address).collect();
    crowd(liars, &addresses).await;
    // Honest nodes meet them before anything is announced.
    nodes[1].knows(nodes.len().min(6)).await;

    let sharer = Node::start(true).await;
    sharer.enter(&addresses[0]).await;
    sharer.enter(&addresses[1]).await;
    sharer.swarm.offer(DRIVE).await;
    let mut kept = Vec::new();
    let told = async {
        loop {
            kept = nodes.iter().map(|node| node.swarm.outside().borrow().records).collect();
            if kept.iter().filter(|records| **records > 0).count() >= honest / 3 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(HANGS, told).await.expect("it is announced nowhere");

    // Every other one leaves without a word.
    let mut number = 0;
    nodes.retain(|_| {
        number += 1;
        number % 2 == 1
    });
    let mut reader = Node::start(false).await;
    reader.enter(&addresses[0]).await;
    reader.enter(&addresses[2]).await;
    reader.swarm.find(DRIVE).await;
    reader.finds(sharer.swarm.local_peer_id()).await;
}

#[tokio::test]
async fn a_crowd_around_a_key_does_not_hide_its_drive() {
    is_found(10, 40).await;
}

#[tokio::test]
#[ignore = "takes minutes; see the head of this file"]
async fn two_hundred_around_a_key_and_half_of_thirty_gone_do_not_hide_its_drive() {
    is_found(30, 200).await;
}
