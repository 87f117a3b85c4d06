//! A workload under way: its store, and what was written and acknowledged so far.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::rc::Rc;
use std::sync::LazyLock;

use datnode_feed::{
    BlockIndex, FeedSlot, MemoryStorage, PublicKey, SecretKey, StorageError, Store, StoreError,
    VerifyError, levels,
};

use crate::Random;
use crate::disk::Disk;
use crate::oracle::{Said, SaidOfFeed, Truth};

/// Why a workload stopped.
#[derive(Debug)]
pub enum Stop {
    /// The world said no, by a typed error.
    Refused(String),
    /// Blocks that were written here are not here.
    Missing,
    /// The store found damage.
    Damaged,
    /// Something happened that must not, whatever the world says.
    Wrong(String),
}

impl Stop {
    /// Says what must not have happened.
    pub fn wrong(what: impl Display) -> Self {
        Self::Wrong(what.to_string())
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Storage(_) | StoreError::Poisoned => Self::Refused(error.to_string()),
            StoreError::Damaged(_) => Self::Damaged,
            other => Self::Wrong(other.to_string()),
        }
    }
}

impl From<StorageError> for Stop {
    fn from(error: StorageError) -> Self {
        Self::Refused(error.to_string())
    }
}

impl From<VerifyError> for Stop {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Store(error) => error.into(),
            other => Self::Wrong(format!("an honest peer was refused: {other}")),
        }
    }
}

/// What outlives a crash of the store: what the world knows of it.
#[derive(Debug, Default)]
pub struct Record {
    /// What writers wrote.
    pub truth: Truth,
    /// What is acknowledged now.
    pub said: Said,
    /// What was acknowledged when the log had so many operations.
    pub acknowledged: Vec<(usize, Said)>,
    /// Where peers are; many records may share them.
    pub sources: Sources,
}

/// Stores elsewhere, by seed, writer and length. A clone is a second handle on the same.
pub(super) type Sources = Rc<RefCell<BTreeMap<(u64, u8, u64), Source>>>;

/// A workload under way.
pub struct Run {
    /// The disk under the store.
    pub disk: Disk,
    /// The store under test.
    pub store: Store<Disk>,
    /// Random numbers of the workload.
    pub random: Random,
    /// What the world knows.
    pub record: Rc<RefCell<Record>>,
    /// The seed of its blocks.
    pub seed: u64,
}

/// How many writers there are.
pub(super) const WRITERS: u8 = 6;

static KEYS: LazyLock<Vec<(SecretKey, PublicKey)>> = LazyLock::new(|| {
    let secrets = (1..=WRITERS).map(|writer| SecretKey::from_bytes([writer; 32]));
    secrets.map(|secret| (secret.clone(), secret.public())).collect()
});

/// Returns the secret key of a writer.
pub(super) fn secret(writer: u8) -> &'static SecretKey {
    &KEYS[usize::from(writer)].0
}

/// Returns the public key of a writer.
pub(super) fn public(writer: u8) -> PublicKey {
    KEYS[usize::from(writer)].1
}

/// Returns a block as writers of these lanes make them: of different lengths, some of them empty.
pub(super) fn block(seed: u64, writer: u8, index: u64) -> Vec<u8> {
    let mut random = Random::new(seed << 24 ^ u64::from(writer) << 16 ^ index);
    let len = random.below(60);
    let name = format!("{seed}/{writer}/{index}:");
    let len = if len < 6 { 0 } else { name.len() + usize::try_from(len).expect("below 60") };
    name.bytes().chain(std::iter::repeat(b'.')).take(len).collect()
}

impl Run {
    /// Opens the store on a disk and begins, or goes on.
    ///
    /// # Errors
    /// When it does not open.
    pub fn open(disk: &Disk, record: &Rc<RefCell<Record>>, seed: u64) -> Result<Self, Stop> {
        let store = Store::open(disk.clone())?;
        let random = Random::new(seed ^ 0x5eed_0fd1_5c00_0000);
        Ok(Self { disk: disk.clone(), store, random, record: record.clone(), seed })
    }

    /// Kills the process and starts another.
    ///
    /// # Errors
    /// When the store does not open.
    pub fn reopen(&mut self) -> Result<(), Stop> {
        // What the old process had in mind is gone, whether or not the new one can begin.
        self.store = Store::open(Disk::new())?;
        self.store = Store::open(self.disk.clone())?;
        Ok(())
    }

    /// Returns the slot of a writer's feed, which is added if need be.
    ///
    /// # Errors
    /// What the store says.
    pub fn feed(&mut self, writer: u8) -> Result<FeedSlot, Stop> {
        Ok(self.store.add_feed(public(writer))?)
    }

    /// Appends the next block of a writer.
    ///
    /// # Errors
    /// What the store says.
    pub fn append(&mut self, writer: u8) -> Result<(), Stop> {
        let slot = self.feed(writer)?;
        let bytes = block(self.seed, writer, self.store.appended(slot).0);
        self.append_bytes(writer, slot, &bytes).map(drop)
    }

    /// Appends a block with these bytes.
    ///
    /// # Errors
    /// What the store says.
    pub fn append_bytes(
        &mut self,
        writer: u8,
        slot: FeedSlot,
        bytes: &[u8],
    ) -> Result<BlockIndex, Stop> {
        let index = self.store.appended(slot).0;
        self.record.borrow_mut().truth.write(&public(writer), index, bytes);
        Ok(self.store.append(slot, bytes)?)
    }

    /// Signs what a writer appended.
    ///
    /// # Errors
    /// What the store says.
    pub fn sign(&mut self, writer: u8) -> Result<(), Stop> {
        let slot = self.feed(writer)?;
        self.store.sign(slot, secret(writer))?;
        Ok(())
    }

    /// Commits, and counts on all that shows from then on.
    ///
    /// # Errors
    /// What the store says.
    pub fn commit(&mut self) -> Result<(), Stop> {
        self.store.commit()?;
        let mut record = self.record.borrow_mut();
        for (slot, key) in self.store.feeds() {
            let held = self.store.have(slot).iter_ones(0..u64::MAX).collect();
            let head = self.store.head(slot).copied();
            record.said.insert(key, SaidOfFeed { head, held, moved: BTreeSet::new() });
        }
        let said = record.said.clone();
        record.acknowledged.push((self.disk.logged(), said));
        Ok(())
    }

    /// Counts on some blocks no longer: they are forgotten, or their working file is about to change.
    pub fn release(&mut self, writer: u8, blocks: impl IntoIterator<Item = u64>) {
        let mut record = self.record.borrow_mut();
        let said = record.said.entry(public(writer)).or_default();
        for block in blocks {
            said.held.remove(&block);
            said.moved.insert(block);
        }
        let said = record.said.clone();
        record.acknowledged.push((self.disk.logged(), said));
    }

    /// Returns a store elsewhere that holds the first `length` blocks of a writer.
    pub fn source(&self, writer: u8, length: u64) -> Source {
        let mut record = self.record.borrow_mut();
        for index in 0..length {
            record.truth.write(&public(writer), index, &block(self.seed, writer, index));
        }
        let mut sources = record.sources.borrow_mut();
        let known = sources.entry((self.seed, writer, length));
        known.or_insert_with(|| Source::new(self.seed, writer, length)).clone()
    }

    /// Takes the head of a source over.
    ///
    /// # Errors
    /// What the store says.
    pub fn follow(&mut self, slot: FeedSlot, source: &Source) -> Result<(), Stop> {
        let proof = source.store.borrow().prove_upgrade(source.slot, self.store.length(slot));
        if let Some(proof) = proof.expect("memory does not fail") {
            self.store.upgrade(slot, &proof)?;
        }
        Ok(())
    }

    /// Verifies a block from a source with the smallest proof; returns where it begins, and its bytes.
    ///
    /// # Errors
    /// What the store says.
    pub fn accept(
        &mut self,
        slot: FeedSlot,
        source: &Source,
        block: u64,
    ) -> Result<(u64, Vec<u8>), Stop> {
        let (at, have) = (BlockIndex(block), self.store.have(slot));
        let levels = levels(at, self.store.length(slot), |range| have.any(range));
        let levels = levels.ok_or_else(|| Stop::wrong("a block behind the head was asked for"))?;
        let mut from = source.store.borrow_mut();
        let proof = from.prove(source.slot, at, levels).expect("memory does not fail");
        let proof = proof.expect("a source knows its tree");
        let bytes = from.read(source.slot, at).expect("memory does not fail");
        let bytes = bytes.expect("a source has its blocks");
        Ok((self.store.accept(slot, &proof, Some(&bytes))?, bytes))
    }

    /// Takes a block from a source and keeps it.
    ///
    /// # Errors
    /// What the store says.
    pub fn fetch(&mut self, slot: FeedSlot, source: &Source, block: u64) -> Result<(), Stop> {
        let (_, bytes) = self.accept(slot, source, block)?;
        Ok(self.store.keep(slot, BlockIndex(block), &bytes)?)
    }
}

/// A store elsewhere that has everything of a feed. A clone is a second handle on it.
#[derive(Clone, Debug)]
pub struct Source {
    store: Rc<RefCell<Store<MemoryStorage>>>,
    slot: FeedSlot,
}

impl Source {
    fn new(seed: u64, writer: u8, length: u64) -> Self {
        let mut store = Store::open(MemoryStorage::new()).expect("memory does not fail");
        let slot = store.add_feed(public(writer)).expect("memory does not fail");
        for index in 0..length {
            store.append(slot, &block(seed, writer, index)).expect("memory does not fail");
        }
        store.sign(slot, secret(writer)).expect("the key is right");
        store.commit().expect("memory does not fail");
        Self { store: Rc::new(RefCell::new(store)), slot }
    }
}
