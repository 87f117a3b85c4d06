//! A DHT in which most nodes lie, or leave: who has nothing but the key of a drive finds its sharer all the same.
//!
//! All of it in this process, over real sockets. Each address below 127/8 is our own, so that honest nodes are in as many networks as
//! there are nodes, and those who lie in a few. They know the drive, and so all four places where it is told who has it: their ids crowd
//! around these. They name each other alone to whoever asks, and keep no record; some claim that many others have the drive, and
//! some say nothing at all.

use std::borrow::Cow;
use std::iter::Empty;
use std::time::Duration;

use datnode::swarm::dht::PROTOCOL;
use datnode::swarm::{Channel, Swarm, SwarmConfig, SwarmEvent, start};
use datnode_tests::hole::Hole;
use futures::StreamExt as _;
use libp2p::identity::Keypair;
use libp2p::kad::store::{Error, RecordStore, Result};
use libp2p::kad::{self, KBucketKey, ProviderRecord, Record, RecordKey};
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent as Libp2pEvent};
use libp2p::{Multiaddr, PeerId, SwarmBuilder, identify, noise, tcp, yamux};
use tokio::sync::mpsc::Receiver;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// What takes longer than this never comes. A lookup takes 20 s at most, and so does the one that announces; who looks does so again
/// after 2, 4, 8 and 16 s, and sees then who is gone, of which others are told 10 s later.
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
    /// Starts a node at an IP; one that everybody reaches serves the table.
    async fn start(ip: &str, public: bool) -> Self {
        let listen = vec![format!("/ip4/{ip}/tcp/0").parse().unwrap()];
        let config = SwarmConfig::new(Keypair::generate_ed25519(), listen);
        let (swarm, events, driver) = start(SwarmConfig { dht: true, public, ..config }).unwrap();
        let driver = tokio::spawn(driver);
        swarm.listening().await;
        Self { swarm, events, driver }
    }

    fn address(&self) -> Multiaddr {
        self.swarm.local_addresses().remove(0)
    }

    /// Tells it of a node that leads into the table.
    async fn enter(&self, by: &Multiaddr) {
        self.swarm.keep(Channel::Bootstrap, vec![by.clone()]).await;
    }

    /// Waits until it knows so many nodes of the table.
    async fn knows(&self, nodes: usize) {
        let mut outside = self.swarm.outside();
        let known = outside.wait_for(|outside| outside.nodes >= nodes);
        if tokio::time::timeout(HANGS, known).await.is_err() {
            panic!("too few are met: {:?}", self.swarm.outside().borrow());
        }
    }

    fn records(&self) -> usize {
        self.swarm.outside().borrow().records
    }

    /// Waits until it has a session with a peer.
    async fn meets(&mut self, peer: PeerId) {
        self.until(|event| matches!(event, SwarmEvent::Session(session) if session.peer == peer))
            .await;
    }

    /// Waits until the table names a peer to it.
    async fn hears_of(&mut self, peer: PeerId) {
        let is_it = |address: &Multiaddr| address.iter().last() == Some(Protocol::P2p(peer));
        self.until(|event| matches!(event, SwarmEvent::Found(all) if all.iter().any(is_it))).await;
    }

    async fn until(&mut self, is_it: impl Fn(&SwarmEvent) -> bool) {
        // Who lets go of a session ends its connection.
        let mut kept = Vec::new();
        let comes = async {
            loop {
                let event = self.events.recv().await.expect("the swarm runs");
                if is_it(&event) {
                    return;
                }
                kept.push(event);
            }
        };
        tokio::time::timeout(HANGS, comes).await.expect("it is not found");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Keeps nothing; some claim that others have every drive.
struct Lies {
    claims: Option<Multiaddr>,
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
        let record =
            |at: &Multiaddr| ProviderRecord::new(key.clone(), PeerId::random(), vec![at.clone()]);
        self.claims.iter().flat_map(|at| [at; 20]).map(record).collect()
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

/// Returns the keys of the places of a drive, as SPEC 9.7-6 has it.
fn places(drive: [u8; 32]) -> Vec<KBucketKey<RecordKey>> {
    let place = |bytes: &[u8]| KBucketKey::new(RecordKey::from(bytes.to_vec()));
    let quarter = |key: &KBucketKey<RecordKey>| key.hashed_bytes()[0] >> 6;
    let first = place(&drive);
    let further = (1..4).map(|number| {
        let tries = (0u32..).map(|count| {
            let mut hasher = blake3::Hasher::new_derive_key("datnode 2026 dht place v1");
            hasher.update(&drive).update(&[number]).update(&count.to_le_bytes());
            place(hasher.finalize().as_bytes())
        });
        tries.into_iter().find(|key| quarter(key) == quarter(&first) ^ number).unwrap()
    });
    [first.clone()].into_iter().chain(further).collect()
}

/// Returns an id that agrees with a place in its first bits.
fn ground(place: &KBucketKey<RecordKey>, bits: u32) -> Keypair {
    let agrees = |key: &Keypair| {
        let own = KBucketKey::from(key.public().to_peer_id());
        place.distance(&own).ilog2().is_none_or(|log| log < 256 - bits)
    };
    std::iter::repeat_with(Keypair::generate_ed25519).find(agrees).expect("it does not end")
}

/// Those who lie.
struct Crowd {
    count: usize,
    /// In how many networks they are.
    networks: usize,
    /// In how many first bits their ids agree with a place.
    bits: u32,
}

impl Crowd {
    /// Starts them. Each knows some of the others, and comes to some honest nodes.
    async fn start(&self, honest: &[Multiaddr], nowhere: &Multiaddr) {
        let (places, mut met) = (places(DRIVE), Vec::new());
        let mut swarms = Vec::new();
        for number in 0..self.count {
            let key = ground(&places[number % places.len()], self.bits);
            let local = key.public().to_peer_id();
            let behaviour = |key: &Keypair| {
                let mut config = kad::Config::new(PROTOCOL);
                config
                    .set_periodic_bootstrap_interval(None)
                    .set_kbucket_inserts(kad::BucketInserts::Manual);
                let store = Lies { claims: (number % 3 == 0).then(|| nowhere.clone()) };
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
            let ip = format!("127.{}.{}.1", 128 + number % self.networks, number / self.networks);
            swarm.listen_on(format!("/ip4/{ip}/tcp/0").parse().unwrap()).unwrap();
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
            // Those around the same place, then others.
            for step in (1..=20).map(|step| 4 * step).chain(1..4) {
                let (peer, address) = &all[(number + step) % all.len()];
                swarm.behaviour_mut().kad.add_address(peer, address.clone());
            }
            for address in honest.iter().cycle().skip(number).take(3) {
                swarm.dial(address.clone()).unwrap();
            }
            let mute = number % 3 == 1;
            let mut meets = honest.len().min(3);
            let (tell, told) = oneshot::channel();
            let mut tell = Some(tell);
            met.push(told);
            tokio::spawn(async move {
                // Who is mute takes nothing from the system any more once it is known.
                while !mute || meets > 0 {
                    let event = swarm.select_next_some().await;
                    let event = match event {
                        Libp2pEvent::Behaviour(SpeaksEvent::Identify(event)) => event,
                        _ => continue,
                    };
                    if matches!(event, identify::Event::Sent { .. }) {
                        meets = meets.saturating_sub(1);
                    }
                    if let Some(tell) = tell.take_if(|_| meets == 0) {
                        tell.send(()).expect("it is waited for");
                    }
                }
                std::future::pending::<()>().await;
            });
        }
        let all = futures::future::try_join_all(met);
        tokio::time::timeout(HANGS, all).await.expect("some are not met").unwrap();
    }
}

/// Starts honest nodes that know of each other, each in a network of its own.
async fn honest(count: usize) -> Vec<Node> {
    let mut nodes = vec![Node::start("127.1.0.1", true).await];
    for number in 1..count {
        let node = Node::start(&format!("127.{}.0.1", 1 + number), true).await;
        node.enter(&nodes[number / 2].address()).await;
        nodes.push(node);
    }
    for node in &nodes {
        node.knows(3.min(count - 1)).await;
    }
    nodes
}

/// Starts who shares the drive.
async fn sharer(ip: &str, by: &[Multiaddr]) -> Node {
    let sharer = Node::start(ip, true).await;
    for address in by {
        sharer.enter(address).await;
    }
    sharer.swarm.offer(DRIVE).await;
    sharer
}

/// Starts who looks for it.
async fn reader(ip: &str, by: &[Multiaddr]) -> Node {
    let reader = Node::start(ip, false).await;
    for address in by {
        reader.enter(address).await;
    }
    reader.swarm.find(DRIVE).await;
    reader
}

/// Waits until one of some nodes keeps a record.
async fn is_told(nodes: impl Iterator<Item = &Node> + Clone) {
    let told = async {
        while nodes.clone().all(|node| node.records() == 0) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(HANGS, told).await.expect("it is announced nowhere");
}

/// Shares a drive among honest nodes and those who lie, has half of the honest ones leave, and looks for it.
async fn is_found(count: usize, crowd: Crowd) {
    let mut nodes = honest(count).await;
    let addresses: Vec<Multiaddr> = nodes.iter().map(Node::address).collect();
    // Whom those who claim name takes connections, and says nothing.
    let hole = Hole::silent();
    crowd.start(&addresses, &hole.address().parse().unwrap()).await;
    let sharer = sharer("127.120.0.1", &addresses[..2]).await;
    // Every other one leaves, without a word. One that stays knows of the drive.
    is_told(nodes.iter().step_by(2)).await;
    let mut stays = false;
    nodes.retain(|_| {
        stays = !stays;
        stays
    });
    let by = &addresses[..1];
    reader("127.121.0.1", by).await.meets(sharer.swarm.local_peer_id()).await;
    // A sharer may serve the table itself, and so be asked itself. Others know of it as well.
    let gone = sharer.swarm.local_peer_id();
    drop(sharer);
    reader("127.122.0.1", by).await.hears_of(gone).await;
}

#[tokio::test]
async fn a_crowd_around_all_places_of_a_drive_does_not_hide_it() {
    is_found(10, Crowd { count: 40, networks: 4, bits: 5 }).await;
}

#[tokio::test]
#[ignore = "takes half a minute of both cores: `-- --ignored`"]
async fn two_hundred_around_all_places_and_half_of_thirty_gone_do_not_hide_a_drive() {
    is_found(30, Crowd { count: 200, networks: 4, bits: 7 }).await;
}

/// Nodes of one network, of which few count at each place: some are told nothing.
#[tokio::test]
async fn when_all_leave_who_were_told_of_a_drive_others_are_told() {
    let mut nodes = vec![Node::start("127.0.0.1", true).await];
    for number in 1..12 {
        let node = Node::start("127.0.0.1", true).await;
        node.enter(&nodes[number / 2].address()).await;
        nodes.push(node);
    }
    for node in &nodes {
        node.knows(8).await;
    }
    let entries: Vec<Multiaddr> = nodes.iter().map(Node::address).collect();
    let sharer = sharer("127.0.0.1", &entries).await;
    // As whoever shares does; so it sees who is gone.
    sharer.swarm.find(DRIVE).await;
    is_told(nodes.iter()).await;
    // Those stay who know least of it.
    nodes.sort_by_key(Node::records);
    nodes.truncate(3);
    is_told(nodes.iter()).await;
    let gone = sharer.swarm.local_peer_id();
    drop(sharer);
    let by: Vec<Multiaddr> = nodes.iter().map(Node::address).collect();
    reader("127.0.0.1", &by).await.hears_of(gone).await;
}
