//! What a feed costs its writer and its readers, with no disk below: the storage is memory.
//!
//! - `leaf`, `parent`: hashing a block of 64 KiB, and two nodes of the tree.
//! - `append`: 1,000 small blocks appended, signed and committed.
//! - `prove`: the whole proof of one block of a feed of 1,000,000.
//! - `verify`: the same proof held against the head, with the block's bytes.
//! - `insert`: 1,000 blocks in a row taken by a reader, each with its smallest proof, and committed.
//! - `bitfield`: questions about sets of 1,000,000 blocks whose answer takes a look at all of it.
//!
//! `cargo bench -p datnode-feed --bench feed`

use std::hint::black_box;
use std::iter;
use std::ops::Range;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use datnode_feed::{
    Bitfield, BlockIndex, BlockProof, FeedSlot, MemoryStorage, SecretKey, Store, leaf, levels,
    parent,
};

type Memory = Store<MemoryStorage>;

/// The blocks of a long feed.
const LONG: u64 = 1_000_000;
/// The blocks that are appended or taken together.
const BATCH: u64 = 1_000;
const SMALL_BYTES: usize = 100;
const LARGE_BYTES: usize = 64 << 10;

criterion_group!(benches, hashing, appending, proving, inserting, sets);
criterion_main!(benches);

fn hashing(criterion: &mut Criterion) {
    let block = vec![7; LARGE_BYTES];
    let (left, right) = (leaf(b"left"), leaf(b"right"));
    criterion.bench_function("parent", |bench| bench.iter(|| parent(black_box(&left), &right)));
    let mut group = criterion.benchmark_group("leaf");
    group.throughput(Throughput::Bytes(LARGE_BYTES as u64));
    group.bench_function("64 KiB", |bench| bench.iter(|| leaf(black_box(&block))));
}

fn appending(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append");
    group.throughput(Throughput::Elements(BATCH));
    group.bench_function("1,000 blocks", |bench| {
        let grown = |(mut store, feed)| {
            grow(&mut store, feed, BATCH);
            store
        };
        bench.iter_batched(empty, grown, BatchSize::SmallInput);
    });
}

fn proving(criterion: &mut Criterion) {
    let (store, feed) = writer(LONG);
    let mut blocks = scattered();
    criterion.bench_function("prove", |bench| {
        bench.iter(|| prove(&store, feed, blocks.next().expect("numbers do not end"), |_| false));
    });
    let proof = prove(&store, feed, BlockIndex(LONG / 3), |_| false);
    let (reader, feed) = follower(&store, feed);
    let bytes = block(proof.block.0);
    criterion.bench_function("verify", |bench| {
        bench.iter(|| reader.verify(feed, black_box(&proof), Some(&bytes)).expect("it is true"));
    });
}

fn inserting(criterion: &mut Criterion) {
    let (store, feed) = writer(100 * BATCH);
    let first = 42 * BATCH;
    let mut held = Bitfield::new();
    let answer = |index| {
        let proof = prove(&store, feed, BlockIndex(index), |run| held.any(run));
        held.set(index);
        (proof, block(index))
    };
    let answers: Vec<_> = (first..first + BATCH).map(answer).collect();
    let mut group = criterion.benchmark_group("insert");
    group.throughput(Throughput::Elements(BATCH));
    group.bench_function("1,000 blocks", |bench| {
        let filled = |(mut reader, feed): (Memory, FeedSlot)| {
            for (proof, bytes) in &answers {
                reader.insert(feed, proof, bytes).expect("it is true");
            }
            reader.commit().expect("memory takes it");
            reader
        };
        bench.iter_batched(|| follower(&store, feed), filled, BatchSize::SmallInput);
    });
}

fn sets(criterion: &mut Criterion) {
    let all: Bitfield = [0..LONG].into_iter().collect();
    let runs = |start| (start..LONG).step_by(200).map(|start| start..start + 100).collect();
    let (even, odd): (Bitfield, Bitfield) = (runs(0), runs(100));
    let mut group = criterion.benchmark_group("bitfield");
    group.bench_function("first clear", |bench| bench.iter(|| black_box(&all).first_clear(0)));
    group.bench_function("intersects", |bench| bench.iter(|| black_box(&even).intersects(&odd)));
    group.bench_function("merge 5,000 runs", |bench| {
        let merged = |mut set: Bitfield| {
            odd.runs().for_each(|run| set.set_range(run));
            set
        };
        bench.iter_batched(|| even.clone(), merged, BatchSize::SmallInput);
    });
}

fn key() -> SecretKey {
    SecretKey::from_bytes([7; 32])
}

/// A small block that is unlike the others.
fn block(index: u64) -> Vec<u8> {
    index.to_le_bytes().into_iter().cycle().take(SMALL_BYTES).collect()
}

fn empty() -> (Memory, FeedSlot) {
    let mut store = Store::open(MemoryStorage::new()).expect("memory is sound");
    let feed = store.add_feed(key().public()).expect("it is the first");
    (store, feed)
}

/// Appends so many blocks, signs and commits.
fn grow(store: &mut Memory, feed: FeedSlot, count: u64) {
    let (length, _) = store.appended(feed);
    for index in length..length + count {
        store.append(feed, &block(index)).expect("memory takes it");
    }
    store.sign(feed, &key()).expect("it is the feed's key");
    store.commit().expect("memory takes it");
}

fn writer(length: u64) -> (Memory, FeedSlot) {
    let (mut store, feed) = empty();
    (0..length / BATCH).for_each(|_| grow(&mut store, feed, BATCH));
    (store, feed)
}

/// A reader that knows the writer's head and no block.
fn follower(writer: &Memory, feed: FeedSlot) -> (Memory, FeedSlot) {
    let (mut reader, copy) = empty();
    let upgrade = writer.prove_upgrade(feed, 0).expect("memory is sound");
    reader.upgrade(copy, &upgrade.expect("it is longer")).expect("it is true");
    (reader, copy)
}

/// Returns the smallest proof for who holds a block of each run that is `known`.
fn prove(
    store: &Memory,
    feed: FeedSlot,
    block: BlockIndex,
    known: impl Fn(Range<u64>) -> bool,
) -> BlockProof {
    let levels = levels(block, store.length(feed), known).expect("it is in the feed");
    store.prove(feed, block, levels).expect("memory is sound").expect("the writer knows its tree")
}

/// Blocks all over the long feed, so that no proof is like the one before.
fn scattered() -> impl Iterator<Item = BlockIndex> {
    iter::successors(Some(0), |at| Some((at + 618_033) % LONG)).map(BlockIndex)
}
