//! A node whose network thread's processor time can be read, and an honest reader of its feed.

use std::net::{IpAddr, Ipv4Addr};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use datnode::engine::{About, AnyStore, Hub, Network, NetworkOptions, start};
use datnode::swarm::listen_addresses_for;
use datnode_feed::{FeedSlot, MemoryStorage, SecretKey, Store};
use datnode_proto::{Binding, Class, FeedId, Order, Priority, Replica, Target, Want};
use datnode_tests::noise;
use datnode_tests::process::wait_until;
use libp2p::Multiaddr;
use rustix::time::{ClockId, clock_gettime};
use tempfile::TempDir;
use tokio::io::{DuplexStream, duplex};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::bindings;

/// The feed: 256 MiB.
pub(crate) const BLOCKS: u64 = 4_096;
const BLOCK_BYTES: usize = 64 << 10;
/// Far longer than anything here takes.
const HANGS: Duration = Duration::from_secs(300);

pub(crate) fn secret() -> SecretKey {
    SecretKey::from_bytes([1; 32])
}

/// A node whose network runs on a thread of its own, which ends when this is dropped.
pub(crate) struct Node {
    pub(crate) hub: Hub,
    pub(crate) runtime: Handle,
    feed: FeedId,
    network: Option<(Network, TempDir)>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Node {
    /// Makes one that holds so many blocks of the feed.
    pub(crate) fn new(blocks: u64) -> Self {
        let (ready, made) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let (hub, driver) = Hub::new([0; 32]);
                tokio::spawn(driver);
                ready.send((hub, Handle::current())).unwrap();
                stopped.await.unwrap();
            });
        });
        let (hub, runtime): (Hub, Handle) = made.recv().unwrap();
        let mut store: AnyStore = Store::open(Box::new(MemoryStorage::new()) as Box<_>).unwrap();
        let slot = store.add_feed(secret().public()).unwrap();
        if blocks > 0 {
            write(&mut store, slot, blocks);
        }
        let (head, have) = (store.head(slot).copied(), store.have(slot).clone());
        let replica =
            Replica { key: secret().public(), class: Class::Content, head, have, accusation: None };
        let (feed, _) = hub.add_feed(replica, start(store, hub.answers()).unwrap(), slot);
        Self { hub, runtime, feed, network: None, stop: Some(stop), thread: Some(thread) }
    }

    /// Replicates with a peer.
    pub(crate) fn connect(&self, stream: DuplexStream, binding: Binding) {
        let hub = self.hub.clone();
        let about = About {
            name: String::from("peer"),
            address: String::from("pipe"),
            punched: false,
            is_local: false,
        };
        self.runtime.spawn(async move {
            let (read, write) = tokio::io::split(stream);
            hub.replicate(read, write, binding, about).await
        });
    }

    /// Takes part in the network as the binary does, at these addresses; returns where it listens.
    pub(crate) fn listen(&mut self, at: &[IpAddr], peers: Vec<Multiaddr>) -> Vec<Multiaddr> {
        let folder = tempfile::tempdir().unwrap();
        let listen = at.iter().flat_map(|ip| listen_addresses_for(*ip, 0));
        let options = NetworkOptions {
            external: Vec::new(),
            listen: listen.filter(|at| at.to_string().contains("/tcp/")).collect(),
            ports_fixed: false,
            peers,
            lan: false,
            dht: false,
            bootstrap: Vec::new(),
            ipfs: Vec::new(),
            public: false,
            exchange: false,
            relays: false,
            upnp: false,
            data: folder.path().to_owned(),
            run: folder.path().to_owned(),
        };
        let network = self.runtime.block_on(Network::start(&self.hub, &options)).unwrap();
        let addresses = network.local_addresses();
        self.network = Some((network, folder));
        addresses
    }

    /// Returns the processor time of the network's thread.
    pub(crate) fn spent(&self) -> Duration {
        let (tell, told) = std::sync::mpsc::channel();
        self.runtime.spawn(async move { tell.send(clock_gettime(ClockId::ThreadCPUTime)) });
        let time = told.recv().unwrap();
        Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.stop.take().map(|stop| stop.send(()));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn write(store: &mut AnyStore, slot: FeedSlot, blocks: u64) {
    for block in 0..blocks {
        store.append(slot, &noise(block, BLOCK_BYTES)).unwrap();
    }
    store.sign(slot, &secret()).unwrap();
    store.commit().unwrap();
}

/// Fetches the feed with a node of its own, through a pipe; returns how long that took once they had met.
pub(crate) fn fetch(node: &Node) -> Duration {
    let reader = Node::new(0);
    let (near, far) = duplex(1 << 20);
    let (ours, theirs) = bindings(0);
    node.connect(near, ours);
    reader.connect(far, theirs);
    fetched(&reader)
}

/// Does the same over a socket.
pub(crate) fn fetch_from(address: &Multiaddr) -> Duration {
    let mut reader = Node::new(0);
    reader.listen(&[Ipv4Addr::LOCALHOST.into()], vec![address.clone()]);
    fetched(&reader)
}

fn fetched(reader: &Node) -> Duration {
    // Among many strangers it takes a moment until a stream has its turn, which is no part of its rate.
    wait_until(HANGS, "the two meet", || reader.hub.in_reach(reader.feed).is_some());
    let started = Instant::now();
    let target = Target::Blocks(vec![0..BLOCKS]);
    let want = Want { priority: Priority(0), order: Order::Linear, ..Want::new(target) };
    let mut wanted = reader.hub.want(reader.feed, want);
    reader.runtime.block_on(wanted.done());
    started.elapsed()
}
