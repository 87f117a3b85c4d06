//! What a drive costs, with its changes feed in memory.
//!
//! - `chunks`: 16 MiB of noise cut into chunks, and cut into chunks that are hashed.
//! - `lookup`: the entry of one name among 100,000.
//! - `commit`: a change of 1,000 of these names, half of them new, all over the index.
//! - `entry`: a file's entry encoded; and encoded, decoded and compared, as a commit does with each.
//!
//! `cargo bench -p datnode-drive --bench drive`

use std::borrow::Cow;
use std::convert::Infallible;
use std::hint::black_box;
use std::iter;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use datnode_drive::{
    Blocks, ChangeInfo, Chunker, Committed, DrivePath, Entry, Extent, FeedRef, Header, Kind,
    Location, Mtime, Op, Role, Step, Version, commit, header_block,
};
use datnode_feed::{BlockIndex, Hash, SecretKey, leaf};

const NOISE_BYTES: usize = 16 << 20;
/// The names in the index.
const NAMES: u64 = 100_000;
/// The names that one change puts.
const BATCH: u64 = 1_000;
const FILE_BYTES: u64 = 10_000;

criterion_group!(benches, cutting, indexing, encoding);
criterion_main!(benches);

fn cutting(criterion: &mut Criterion) {
    let bytes = noise();
    let mut group = criterion.benchmark_group("chunks");
    group.throughput(Throughput::Bytes(NOISE_BYTES as u64));
    group.bench_function("cut", |bench| bench.iter(|| chunks(black_box(&bytes)).count()));
    group.bench_function("cut and hash", |bench| {
        bench.iter(|| chunks(black_box(&bytes)).map(leaf).map(black_box).count());
    });
}

fn indexing(criterion: &mut Criterion) {
    let mut feed = Changes(vec![header_block(&Header::new("bench"))]);
    let empty = done(Version::open(&feed, BlockIndex(0)).expect("the header is sound"));
    let (made, blocks) = feed.commit(&empty, &puts(0..NAMES, 1));
    feed.0.extend(blocks);
    let version = made.version;

    let names: Vec<_> = scattered().take(BATCH as usize).map(path).collect();
    let mut names = names.iter().cycle();
    let mut lookup = || {
        let name = names.next().expect("a cycle does not end");
        done(version.entry(&feed, name).expect("the index is sound")).expect("the name is there")
    };
    criterion.bench_function("lookup", |bench| bench.iter(&mut lookup));

    let old = scattered().take(BATCH as usize / 2);
    let ops = puts(old.chain(NAMES..NAMES + BATCH / 2), 2);
    let mut group = criterion.benchmark_group("commit");
    group.throughput(Throughput::Elements(BATCH));
    group.bench_function("1,000 names", |bench| bench.iter(|| feed.commit(&version, &ops)));
}

fn encoding(criterion: &mut Criterion) {
    let entry = file(7, 1);
    let mut group = criterion.benchmark_group("entry");
    group.bench_function("encode", |bench| bench.iter(|| black_box(&entry).encoded_len()));
    group.bench_function("check", |bench| bench.iter(|| black_box(&entry).is_valid()));
}

/// A changes feed.
struct Changes(Vec<Vec<u8>>);

impl Blocks for Changes {
    type Error = Infallible;

    fn block(&self, at: Location) -> Result<Option<Cow<'_, [u8]>>, Infallible> {
        let block = usize::try_from(at.block.0).ok().and_then(|block| self.0.get(block));
        Ok(block.map(|block| Cow::Borrowed(&block[..])))
    }
}

impl Changes {
    /// Makes a change; returns the blocks that come behind the feed's.
    fn commit(&self, base: &Version, ops: &[Op]) -> (Committed, Vec<Vec<u8>>) {
        let mut blocks = Vec::new();
        let mut append = |block: &[u8]| {
            blocks.push(block.to_vec());
            Ok::<_, Infallible>(BlockIndex((self.0.len() + blocks.len() - 1) as u64))
        };
        let info = ChangeInfo { feeds: vec![content()], ..ChangeInfo::default() };
        let made = commit(base, self, ops, info, &mut append).expect("the batch is valid");
        (done(made), blocks)
    }
}

/// Takes the answer of who has all blocks.
fn done<T>(step: Step<T>) -> T {
    match step {
        Step::Done(value) => value,
        Step::Need(blocks) => unreachable!("all is here, also {blocks:?}"),
    }
}

/// Puts a file under each of these names; another `content` is another file.
fn puts(names: impl IntoIterator<Item = u64>, content: u8) -> Vec<Op> {
    let put = |name| Op::Put(path(name), file(name, content));
    let mut ops: Vec<_> = names.into_iter().map(put).collect();
    ops.sort_by_cached_key(|op| op.path().key());
    ops
}

fn path(name: u64) -> DrivePath {
    let spread = name.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let text = format!("data/{:03}/measurement-{:012x}.csv", spread % 300, spread >> 16);
    DrivePath::from_bytes(text).expect("it is short and plain")
}

/// A file of one block of the content feed.
fn file(name: u64, content: u8) -> Entry {
    let (first_byte, bytes) = (name * FILE_BYTES, FILE_BYTES);
    Entry {
        kind: Kind::File,
        size: bytes,
        chunks: Hash([content; 32]),
        content: Hash([content; 32]),
        extents: vec![Extent { slot: 1, first_block: name, count: 1, first_byte, bytes }],
        ..Entry::directory(0o644, Mtime { seconds: 1_767_225_600, nanos: 123_456_789 })
    }
}

/// The content feed of all files, which nobody opens here.
fn content() -> FeedRef {
    let (length, key) = (2 * NAMES, SecretKey::from_bytes([9; 32]).public());
    let (byte_length, root) = (length * FILE_BYTES, Hash([0; 32]));
    FeedRef { key, role: Role::Content, fork: 0, length, byte_length, root }
}

/// Names all over the index, each of them once in [`NAMES`].
fn scattered() -> impl Iterator<Item = u64> {
    iter::successors(Some(0), |at| Some((at + 61_803) % NAMES))
}

fn noise() -> Vec<u8> {
    let next = |state: &u64| Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    let numbers = iter::successors(Some(1_u64), next);
    numbers
        .flat_map(|number| (number >> 32).to_le_bytes().into_iter().take(4))
        .take(NOISE_BYTES)
        .collect()
}

fn chunks(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let chunker = Chunker::default();
    iter::from_fn(move || {
        let (chunk, rest) = bytes.split_at(chunker.next(bytes, true)?);
        bytes = rest;
        Some(chunk)
    })
}
