//! What replication costs beside the store and the network.
//!
//! - `block`: the header of a block encoded; and its frame decoded, with 64 KiB of payload and 20 siblings.
//! - `have`: an announcement of 100 runs encoded and decoded.
//! - `ask`: eight peers told what they hold of a feed of 1,000,000 blocks, of which we want all and hold none: everything
//!   that they are asked for at first, each polled until there is nothing left. Once they hold all of it, once every other
//!   thousand blocks, each beginning elsewhere; once in order, once the rarest first.
//!
//! `cargo bench -p datnode-proto --bench proto`

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use datnode_feed::{Bitfield, BlockIndex, Hash, Head, PublicKey, SecretKey, SignedHead, leaf};
use datnode_proto::capability::tag;
use datnode_proto::limits::CREDIT_START;
use datnode_proto::wire::{Channel, Hello, Message, Runs, decode, encode};
use datnode_proto::{
    Binding, Class, FeedId, Instant, Order, PeerId, Priority, Replica, Replicator, RequestId,
    Target, Want,
};

const NOW: Instant = Instant(1_000);
const FEED: FeedId = FeedId(0);
const CHANNEL: Channel = Channel(7);
/// The blocks of the feed.
const LENGTH: u64 = 1_000_000;
const PEERS: u64 = 8;

criterion_group!(benches, blocks, haves, asking);
criterion_main!(benches);

fn blocks(criterion: &mut Criterion) {
    let siblings = vec![leaf(b"sibling"); 20];
    let (id, block) = (RequestId(77), BlockIndex(LENGTH / 3));
    coding(criterion, "block", &Message::Block { channel: CHANNEL, id, block, siblings }, 64 << 10);
}

fn haves(criterion: &mut Criterion) {
    let held = (0..100).map(|run| run * 10..run * 10 + 5).collect();
    coding(criterion, "have", &have(held), 0);
}

fn coding(criterion: &mut Criterion, name: &str, message: &Message, payload_bytes: usize) {
    let (header, payload) = (encode(message), vec![7; payload_bytes]);
    let mut group = criterion.benchmark_group(name);
    group.bench_function("encode", |bench| bench.iter(|| encode(black_box(message))));
    group.bench_function("decode", |bench| {
        bench.iter(|| decode(black_box(&header), &payload).expect("we wrote it"));
    });
}

fn asking(criterion: &mut Criterion) {
    let all: fn(u64) -> Runs = |_| vec![0..LENGTH];
    let half: fn(u64) -> Runs = |peer| {
        let starts = (peer * 100..LENGTH).step_by(2_000);
        starts.map(|start| start..LENGTH.min(start + 1_000)).collect()
    };
    let mut group = criterion.benchmark_group("ask");
    for (what, held) in [("all", all), ("half", half)] {
        for order in [Order::Linear, Order::Rarest] {
            let asked = |mut replicator| {
                assert!(drain(&mut replicator) >= PEERS, "each is asked for something");
                replicator
            };
            group.bench_function(format!("{what}, {order:?}"), |bench| {
                bench.iter_batched(|| replicator(order, held), asked, BatchSize::SmallInput);
            });
        }
    }
}

/// Takes all frames that wait for the peers; returns how many there were.
fn drain(replicator: &mut Replicator) -> u64 {
    let mut count = 0;
    for peer in (0..PEERS).map(PeerId) {
        while let Some(frame) = replicator.poll_transmit(NOW, peer) {
            black_box(frame);
            count += 1;
        }
    }
    count
}

/// A replicator that wants the whole feed and has asked nobody yet.
fn replicator(order: Order, held: fn(u64) -> Runs) -> Replicator {
    let mut replicator = Replicator::new([0; 32]);
    let (key, class, head, have) = (key(), Class::Content, Some(head()), Bitfield::new());
    replicator.add_feed(FEED, Replica { key, class, head, have, accusation: None });
    (0..PEERS).for_each(|peer| connect(&mut replicator, PeerId(peer), held(peer)));
    let target = Target::Blocks(vec![0..LENGTH]);
    replicator.want(FEED, Want { priority: Priority(0), order, ..Want::new(target) });
    replicator
}

/// Connects a peer that knows the key and holds these blocks.
fn connect(replicator: &mut Replicator, peer: PeerId, held: Runs) {
    let binding = Binding { ours: b"us".into(), theirs: b"them".into() };
    replicator.handle_connected(NOW, peer, binding);
    let (version_min, version_max, features) = (1, 1, 0);
    let (agent, credit) = (String::new(), CREDIT_START);
    let hello = Hello { version_min, version_max, features, agent, credit };
    let (nonce, channel) = ([0; 16], CHANNEL);
    let tag = *tag(&key(), b"them", b"us", &nonce).as_bytes();
    let mut tell = |message: &Message| {
        replicator.handle_frame(NOW, peer, &encode(message), Bytes::new());
        // A feed is open once both have said so.
        while replicator.poll_transmit(NOW, peer).is_some() {}
    };
    tell(&Message::Hello(hello));
    tell(&Message::Open { channel, nonce, tag });
    tell(&have(held));
}

fn have(held: Runs) -> Message {
    Message::Have { channel: CHANNEL, length: LENGTH, held, lost: vec![], head: None }
}

fn key() -> PublicKey {
    SecretKey::from_bytes([1; 32]).public()
}

/// A head that nobody looks at here.
fn head() -> SignedHead {
    let root = Hash([0; 32]);
    let head = Head { fork: 0, length: LENGTH, byte_length: 1, root, ancestor: None };
    SignedHead { head, signature: [0; 64] }
}
