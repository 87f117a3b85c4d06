//! Feeds between nodes of one process, over pipes in memory: what is wanted arrives, and nothing else.

use std::time::Duration;

use datnode::engine::{About, AnyStore, Feed, Hub, Interest, Options, StoreHandle, Wait, start};
use datnode::error::Code;
use datnode_feed::{BlockIndex, MemoryStorage, SecretKey, Store};
use datnode_proto::{Availability, Binding, Order, Priority, Progress};
use tokio::io::duplex;
use tokio::task::JoinHandle;

/// Far longer than anything here takes.
const HANGS: Duration = Duration::from_secs(60);

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(HANGS, test).await.expect("it hangs") })
}

fn secret() -> SecretKey {
    SecretKey::from_bytes([5; 32])
}

fn bytes(block: u64) -> Vec<u8> {
    vec![block as u8; 1_000]
}

/// A node with the feed.
struct Node {
    name: u8,
    hub: Hub,
    store: StoreHandle,
    feed: Feed,
}

impl Node {
    /// One that wrote so many blocks.
    async fn writer(blocks: u64) -> Self {
        let mut store = memory();
        let slot = store.add_feed(secret().public()).unwrap();
        for block in 0..blocks {
            store.append(slot, &bytes(block)).unwrap();
        }
        store.sign(slot, &secret()).unwrap();
        store.commit().unwrap();
        Self::of(0, store, Interest::Sparse).await
    }

    /// One that has nothing yet.
    async fn reader(name: u8, interest: Interest) -> Self {
        Self::of(name, memory(), interest).await
    }

    async fn of(name: u8, store: AnyStore, interest: Interest) -> Self {
        let (hub, driver) = Hub::new([name; 32]);
        tokio::spawn(driver);
        let store = start(store, hub.answers()).unwrap();
        let feed = Feed::open(&hub, &store, secret().public(), interest).await.unwrap();
        Self { name, hub, store, feed }
    }

    /// Returns how many blocks came and went.
    fn traffic(&self) -> (u64, u64) {
        let peers = self.hub.peers().into_iter();
        let counts = peers.map(|peer| (peer.status.blocks_in, peer.status.blocks_out));
        counts.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1))
    }

    /// Returns which blocks are here.
    async fn held(&self) -> Vec<u64> {
        let key = secret().public();
        let held = self.store.query(move |worker| {
            let slot = worker.store.add_feed(key).unwrap();
            worker.store.have(slot).iter_ones(0..u64::MAX).collect()
        });
        held.await
    }
}

fn memory() -> AnyStore {
    Store::open(Box::new(MemoryStorage::new()) as Box<_>).unwrap()
}

/// Connects two nodes; the tasks end the connection when they are aborted.
fn connect(a: &Node, b: &Node) -> [JoinHandle<()>; 2] {
    let (near, far) = duplex(1 << 20);
    [(a, b, near), (b, a, far)].map(|(here, there, end)| {
        let (hub, ours, theirs) = (here.hub.clone(), vec![here.name], vec![there.name]);
        tokio::spawn(async move {
            let (read, write) = tokio::io::split(end);
            let (name, address) = (format!("{theirs:?}"), String::from("pipe"));
            let about = About { name, address, punched: false, is_local: true };
            hub.replicate(read, write, Binding { ours, theirs }, about).await;
        })
    })
}

/// A writer of so many blocks, and a reader that is connected with it and knows how many there are.
async fn pair(blocks: u64) -> (Node, Node) {
    let (writer, reader) = (Node::writer(blocks).await, Node::reader(1, Interest::Sparse).await);
    connect(&writer, &reader);
    assert_eq!(reader.feed.grown_to(blocks).await, blocks);
    (writer, reader)
}

fn options(priority: u8, order: Order) -> Options {
    Options { priority: Priority(priority), order, ..Options::default() }
}

#[test]
fn of_a_sparse_feed_what_is_wanted_arrives_and_nothing_else() {
    run(async {
        let (writer, reader) = pair(10).await;
        reader.feed.prioritize(2..3, Options::default()).done().await;
        assert_eq!(reader.held().await, [2]);
        for block in [0, 3, 0] {
            let read = reader.feed.get(BlockIndex(block), Wait::Forever).await.unwrap();
            assert_eq!(read, Some(bytes(block)));
        }
        let list = vec![7..8, 0..1, 5..6, 5..6];
        reader.feed.prioritize_all(list, options(3, Order::Linear)).done().await;
        reader.feed.prioritize_all(vec![], Options::default()).done().await;
        reader.feed.prioritize(4..4, Options::default()).done().await;
        assert_eq!(reader.held().await, [0, 2, 3, 5, 7]);
        assert_eq!((reader.traffic(), writer.traffic()), ((5, 0), (0, 5)), "each came once");
    });
}

#[test]
fn all_of_a_feed_arrives_by_itself_unless_it_is_sparse() {
    run(async {
        let (writer, reader) = (Node::writer(100).await, Node::reader(1, Interest::Whole).await);
        connect(&writer, &reader);
        let last = reader.feed.get(BlockIndex(99), Wait::Forever).await.unwrap();
        assert_eq!(last, Some(bytes(99)));
        for block in 0..100 {
            // It need not be asked for by itself.
            while reader.feed.availability(BlockIndex(block)) != Availability::Here {
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(reader.traffic(), (100, 0));
    });
}

#[test]
fn whether_a_block_can_be_had_has_three_answers() {
    run(async {
        let reader = Node::reader(1, Interest::Sparse).await;
        let block = BlockIndex(1);
        assert_eq!(reader.feed.availability(block), Availability::Unknown);
        let (writer, mirror) = pair(3).await;
        mirror.feed.prioritize(0..1, Options::default()).done().await;
        let links = connect(&mirror, &reader);
        reader.feed.grown_to(3).await;
        reader.feed.get(BlockIndex(0), Wait::Forever).await.unwrap();
        assert_eq!(reader.feed.availability(BlockIndex(0)), Availability::Here);
        assert_eq!(reader.feed.availability(block), Availability::Nobody);
        connect(&writer, &reader);
        while reader.feed.availability(block) != Availability::Connected {
            tokio::task::yield_now().await;
        }
        links.into_iter().for_each(|link| link.abort());
        assert_eq!(reader.feed.get(block, Wait::Forever).await.unwrap(), Some(bytes(1)));
    });
}

#[test]
fn a_block_is_waited_for_as_long_as_is_said() {
    run(async {
        let reader = Node::reader(1, Interest::Sparse).await;
        let block = BlockIndex(0);
        assert_eq!(reader.feed.get(block, Wait::No).await.unwrap(), None);
        let late = reader.feed.get(block, Wait::For(Duration::from_millis(5))).await;
        assert_eq!(late.unwrap_err().code(), Code::NoData);
        // Two wait for one block, and one of them gives up.
        let (feed, other) = (reader.feed.clone(), reader.feed.clone());
        let waits = tokio::spawn(async move { feed.get(block, Wait::Forever).await.unwrap() });
        let gives_up = tokio::spawn(async move { other.get(block, Wait::Forever).await.unwrap() });
        tokio::task::yield_now().await;
        gives_up.abort();
        let writer = Node::writer(5).await;
        connect(&writer, &reader);
        assert_eq!(waits.await.unwrap(), Some(bytes(0)));
        assert_eq!(writer.traffic(), (0, 1));
    });
}

#[test]
fn what_nobody_connected_has_stops_nothing_else() {
    run(async {
        let (_writer, mirror) = pair(7).await;
        mirror.feed.prioritize_all(vec![0..3, 4..7], Options::default()).done().await;
        let reader = Node::reader(2, Interest::Sparse).await;
        connect(&mirror, &reader);
        reader.feed.grown_to(7).await;
        let waiting = reader.feed.prioritize(3..4, options(9, Order::Linear));
        for block in [4, 6] {
            let read = reader.feed.get(BlockIndex(block), Wait::Forever).await.unwrap();
            assert_eq!(read, Some(bytes(block)));
        }
        reader.feed.prioritize_all(vec![4..7, 0..1], Options::default()).done().await;
        assert_eq!(waiting.progress(), Some(Progress { here: 0, of: 1, bytes: 0 }));
        assert_eq!(reader.feed.seek(4_000).await.unwrap(), Some((BlockIndex(4), 0)));
        assert_eq!(reader.feed.seek(7_000).await.unwrap(), Some((BlockIndex(7), 0)));
    });
}

#[test]
fn what_is_not_wanted_any_more_is_not_fetched() {
    run(async {
        let reader = Node::reader(1, Interest::Sparse).await;
        let gone = reader.feed.prioritize(0..50, options(9, Order::Bisect));
        let kept = reader.feed.prioritize(40..60, options(0, Order::Linear));
        drop(gone);
        let writer = Node::writer(100).await;
        connect(&writer, &reader);
        let mut kept = kept;
        kept.done().await;
        assert_eq!(kept.progress(), None);
        assert!(reader.held().await.into_iter().eq(40..60));
        assert_eq!(writer.traffic(), (0, 20));
    });
}

#[test]
fn a_peer_that_goes_is_no_loss_while_another_one_has_what_it_owed() {
    run(async {
        let (writer, mirror) = pair(300).await;
        mirror.feed.prioritize(0..300, Options::default()).done().await;
        let reader = Node::reader(2, Interest::Sparse).await;
        let links = connect(&mirror, &reader);
        connect(&writer, &reader);
        let mut all = reader.feed.prioritize(0..300, options(1, Order::Linear));
        reader.feed.get(BlockIndex(0), Wait::Forever).await.unwrap();
        links.into_iter().for_each(|link| link.abort());
        all.done().await;
        assert_eq!(reader.held().await.len(), 300);
    });
}
