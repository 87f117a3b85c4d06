//! The shape of the index against the obvious definition, over random histories.

use alloc::{borrow::Cow, collections::BTreeMap, format, vec::Vec};
use core::{cell::RefCell, convert::Infallible};

use datnode_feed::{BlockIndex, Hash};

use super::{
    boundary::Mark,
    node::{NodeView, NodeWriter, Place},
};
use crate::{
    Blocks, ChangeInfo, DrivePath, Entry, FILES, Header, Location, Mtime, Op, Step, Version,
    commit, header_block,
};

struct Feed(RefCell<Vec<Vec<u8>>>, RefCell<usize>);

impl Blocks for Feed {
    type Error = Infallible;

    fn block(&self, at: Location) -> Result<Option<Cow<'_, [u8]>>, Infallible> {
        *self.1.borrow_mut() += 1;
        let index = usize::try_from(at.block.0).unwrap();
        Ok(self.0.borrow().get(index).cloned().map(Cow::Owned))
    }
}

impl Feed {
    fn new() -> Self {
        Self(RefCell::new(Vec::from([header_block(&Header::new("t"))])), RefCell::new(0))
    }

    fn commit(&self, base: &Version, ops: &[Op]) -> Version {
        let mut append = |block: &[u8]| {
            let mut blocks = self.0.borrow_mut();
            blocks.push(block.to_vec());
            Ok::<_, Infallible>(BlockIndex(u64::try_from(blocks.len()).unwrap() - 1))
        };
        match commit(base, self, ops, ChangeInfo::default(), &mut append).unwrap() {
            Step::Done(made) => made.version,
            Step::Need(_) => unreachable!("everything is here"),
        }
    }

    fn empty(&self) -> Version {
        match Version::open(self, BlockIndex(0)).unwrap() {
            Step::Done(version) => version,
            Step::Need(_) => unreachable!("everything is here"),
        }
    }
}

fn root_identity(version: &Version) -> Hash {
    match version.change.root(FILES) {
        Some(node) => NodeView::parse(node).unwrap().identity_hash(),
        None => NodeWriter::new(0, 0).finish().1,
    }
}

/// Cuts a level by the definition of SPEC 8.4 and returns first keys and identities of its nodes.
fn reference_level(level: u8, items: &[(Vec<u8>, Vec<u8>)]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut nodes = Vec::new();
    let mut start = 0;
    while start < items.len() || (nodes.is_empty() && items.is_empty()) {
        let rest = &items[start..];
        let weight = |items: &[(Vec<u8>, Vec<u8>)]| -> usize {
            items.iter().map(|(key, _)| key.len() + 64).sum()
        };
        let mut count = rest.len();
        if weight(rest) >= 24 * 1024 {
            count = (1..rest.len())
                .take_while(|&index| weight(&rest[..index]) < 24 * 1024)
                .filter(|&index| weight(&rest[..index]) >= 8 * 1024)
                .min_by_key(|&index| (Mark::of(&rest[index].0).hash, index))
                .unwrap();
        }
        let mut writer = NodeWriter::new(level, count);
        for (key, identity) in &rest[..count] {
            writer.identity(key, identity);
            writer.place(Place::Inline(&[]));
        }
        let first = rest.first().map(|(key, _)| key.clone()).unwrap_or_default();
        nodes.push((first, writer.finish().1.0.to_vec()));
        start += count;
        if items.is_empty() {
            break;
        }
    }
    nodes
}

fn reference(entries: &BTreeMap<Vec<u8>, Vec<u8>>) -> Hash {
    let mut items: Vec<_> =
        entries.iter().map(|(key, identity)| (key.clone(), identity.clone())).collect();
    for level in 0.. {
        items = reference_level(level, &items);
        if let [(_, root)] = items.as_slice() {
            return Hash(root.as_slice().try_into().unwrap());
        }
    }
    unreachable!("levels shrink")
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % limit
    }
}

/// A name of a pool of `pool`; `long` makes deep trees of few names.
fn name(number: u64, long: usize) -> DrivePath {
    let spread = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20;
    let padding = "x".repeat(usize::try_from(spread % 7).unwrap() * long);
    DrivePath::from_bytes(format!("{:02}/{spread:011x}{padding}", number % 13)).unwrap()
}

fn entry(random: &mut Random) -> Entry {
    Entry::directory(0o755, Mtime { seconds: random.below(4).cast_signed(), nanos: 0 })
}

fn run_history(seed: u64, pool: u64, long: usize, first: u64, batches: u64, largest: u64) {
    let mut random = Random(seed);
    let feed = Feed::new();
    let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let mut version = feed.empty();
    for batch in 0..=batches {
        let size = if batch == 0 { first } else { 1 + random.below(largest) };
        let from = random.below(pool);
        let mut ops: BTreeMap<Vec<u8>, Op> = BTreeMap::new();
        // Now neighbours, now names from everywhere; now mostly puts, now mostly deletes.
        let (is_run, deletes) = (random.below(2) == 0, random.below(10));
        for step in 0..size {
            let number = if is_run { (from + step) % pool } else { random.below(pool) };
            let path = name(number, long);
            let is_delete = batch > 0 && random.below(10) < deletes;
            let op = if is_delete { Op::Delete(path) } else { Op::Put(path, entry(&mut random)) };
            ops.insert(op.path().key().as_bytes().to_vec(), op);
        }
        for (key, op) in &ops {
            match op {
                Op::Put(_, entry) => drop(model.insert(key.clone(), entry.identity())),
                Op::Delete(_) => drop(model.remove(key)),
            }
        }
        let ops: Vec<Op> = ops.into_values().collect();
        version = feed.commit(&version, &ops);
        assert_eq!(root_identity(&version), reference(&model), "seed {seed}, batch {batch}");
        let directories = u64::try_from(model.len()).unwrap();
        assert_eq!(version.change.counts.directories, directories, "seed {seed}");
    }
}

#[test]
fn any_order_of_edits_gives_the_tree_of_the_definition() {
    for seed in 0..12 {
        run_history(seed, 3_000, 0, 2_000, 12, 400);
    }
}

#[test]
fn deep_trees_of_long_names_keep_their_shape() {
    // Some 10 names a node: five levels, and edges of nodes everywhere.
    for seed in 100..112 {
        run_history(seed, 1_500, 500, 1_000, 12, 60);
    }
}

#[test]
fn single_edits_keep_the_shape() {
    for seed in 200..206 {
        run_history(seed, 1_200, 200, 600, 60, 2);
    }
}

#[test]
fn twelve_thousand_names_keep_their_shape() {
    run_history(300, 20_000, 1, 12_000, 8, 3_000);
}

#[test]
fn emptying_and_filling_again_keeps_the_shape() {
    let feed = Feed::new();
    let mut random = Random(5);
    let mut version = feed.empty();
    let mut paths: Vec<_> = (0..800).map(|number| name(number, 300)).collect();
    paths.sort_by_key(DrivePath::key);
    let puts: Vec<_> = paths.iter().map(|path| Op::Put(path.clone(), entry(&mut random))).collect();
    let full = feed.commit(&version, &puts);
    version = full.clone();
    let mut left = paths.clone();
    while !left.is_empty() {
        let at = usize::try_from(random.below(u64::try_from(left.len()).unwrap())).unwrap();
        let end = left.len().min(at + 40);
        let gone: Vec<_> = left.drain(at..end).map(Op::Delete).collect();
        version = feed.commit(&version, &gone);
    }
    assert_eq!(version.change.counts.directories, 0);
    assert_eq!(root_identity(&version), root_identity(&feed.empty()));
    let again = feed.commit(&version, &puts);
    assert_eq!(root_identity(&again), root_identity(&full));
}

#[test]
fn a_single_edit_reads_and_writes_a_few_nodes() {
    let feed = Feed::new();
    let mut random = Random(9);
    let mut paths: Vec<_> = (0..20_000).map(|number| name(number, 2)).collect();
    paths.sort_by_key(DrivePath::key);
    let puts: Vec<_> = paths.iter().map(|path| Op::Put(path.clone(), entry(&mut random))).collect();
    let mut version = feed.commit(&feed.empty(), &puts);
    for number in 20_000..20_050 {
        *feed.1.borrow_mut() = 0;
        let length = feed.0.borrow().len();
        version = feed.commit(&version, &[Op::Put(name(number, 2), entry(&mut random))]);
        let written: usize = feed.0.borrow()[length..].iter().map(Vec::len).sum();
        assert!(written <= 90 * 1024, "{written} bytes");
        assert!(*feed.1.borrow() <= 24, "{} reads", feed.1.borrow());
    }
}

#[test]
fn a_full_node_fits_its_limit() {
    // The worst node of the cutting rule: as many short keys as weigh 24 KiB, values of 160 bytes.
    let mut writer = NodeWriter::new(0, 378);
    for number in 0..378u32 {
        let key = number.to_be_bytes();
        writer.identity(&key[2..], &[1; 60]);
        writer.place(Place::Inline(&[2; 100]));
    }
    assert!(writer.finish().0.len() < crate::limits::NODE_BYTES_MAX);
}
