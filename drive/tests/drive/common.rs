//! A changes feed in memory, a generator of random numbers, and short ways to commit and read.

use std::{
    borrow::Cow,
    cell::{Cell, RefCell},
    collections::BTreeSet,
    convert::Infallible,
};

use datnode_drive::{
    Blocks, ChangeInfo, Committed, DrivePath, Entry, Header, Location, Mtime, Op, ReadError, Step,
    Version, commit, header_block,
};
use datnode_feed::BlockIndex;

/// A changes feed in memory that counts reads and can hold blocks back.
#[derive(Default)]
pub(crate) struct Feed {
    pub(crate) blocks: RefCell<Vec<Vec<u8>>>,
    pub(crate) reads: Cell<usize>,
    pub(crate) hidden: RefCell<BTreeSet<u64>>,
}

impl Blocks for Feed {
    type Error = Infallible;

    fn block(&self, at: Location) -> Result<Option<Cow<'_, [u8]>>, Infallible> {
        assert_eq!(at.slot, 0, "only the changes feed is read");
        self.reads.set(self.reads.get() + 1);
        if self.hidden.borrow().contains(&at.block.0) {
            return Ok(None);
        }
        let index = usize::try_from(at.block.0).unwrap();
        Ok(self.blocks.borrow().get(index).cloned().map(Cow::Owned))
    }
}

impl Feed {
    pub(crate) fn new() -> Self {
        let feed = Self::default();
        feed.push(&header_block(&Header::new("test")));
        feed
    }

    pub(crate) fn push(&self, block: &[u8]) -> BlockIndex {
        let mut blocks = self.blocks.borrow_mut();
        blocks.push(block.to_vec());
        BlockIndex(blocks.len() as u64 - 1)
    }

    pub(crate) fn len(&self) -> u64 {
        self.blocks.borrow().len() as u64
    }

    pub(crate) fn bytes(&self) -> usize {
        self.blocks.borrow().iter().map(Vec::len).sum()
    }

    pub(crate) fn empty(&self) -> Version {
        done(Version::open(self, BlockIndex(0)))
    }

    pub(crate) fn commit(&self, base: &Version, ops: &[Op]) -> Committed {
        self.commit_with(base, ops, ChangeInfo::default())
    }

    pub(crate) fn commit_with(&self, base: &Version, ops: &[Op], info: ChangeInfo) -> Committed {
        let mut ops = ops.to_vec();
        ops.sort_by_key(|op| op.path().key());
        let mut append = |block: &[u8]| Ok::<_, Infallible>(self.push(block));
        match commit(base, self, &ops, info, &mut append).expect("the batch is valid") {
            Step::Done(made) => made,
            Step::Need(blocks) => panic!("needs {blocks:?}"),
        }
    }
}

/// Takes the answer of a reading function that has all its blocks.
pub(crate) fn done<T>(step: Result<Step<T>, ReadError<Infallible>>) -> T {
    match step.expect("the drive is sound") {
        Step::Done(value) => value,
        Step::Need(blocks) => panic!("needs {blocks:?}"),
    }
}

pub(crate) fn path(text: &str) -> DrivePath {
    DrivePath::from_bytes(text).unwrap()
}

pub(crate) fn folder() -> Entry {
    Entry::directory(0o755, Mtime::default())
}

pub(crate) fn link(target: &[u8]) -> Entry {
    Entry::symlink(target.to_vec(), Mtime::default())
}

/// SplitMix64: the tests' only randomness.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }
}
