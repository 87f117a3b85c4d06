//! Power cuts and kills at every change of the storage, also during recovery.
//!
//! The storage of these tests keeps what was not synced apart. A cut leaves of that nothing, all, a prefix in the order in
//! which it was written (the last write torn), or any part of it. A kill leaves all of it readable, and none of it safe.

mod common;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use common::{Numbers, block, key, writer};
use datnode_feed::{BlockIndex, FeedSlot, FileId, Storage, StorageError, Store, levels};

#[derive(Clone)]
enum Change {
    Write(u64, Vec<u8>),
    Truncate(u64),
}

impl Change {
    fn apply(&self, file: &mut Vec<u8>) {
        match self {
            Self::Write(offset, bytes) => {
                let (start, end) = (*offset as usize, *offset as usize + bytes.len());
                file.resize(file.len().max(end), 0);
                file[start..end].copy_from_slice(bytes);
            }
            Self::Truncate(len) => file.truncate(*len as usize),
        }
    }

    /// A write of which only a part arrives.
    fn torn(&self, numbers: &mut Numbers) -> Self {
        match self {
            Self::Write(offset, bytes) => {
                let len = numbers.below(bytes.len() as u64 + 1) as usize;
                Self::Write(*offset, bytes[..len].to_vec())
            }
            Self::Truncate(len) => Self::Truncate(*len),
        }
    }
}

/// A storage that stops after so many changes.
#[derive(Clone)]
struct Disk {
    durable: BTreeMap<FileId, Vec<u8>>,
    seen: BTreeMap<FileId, Vec<u8>>,
    pending: Vec<(FileId, Change)>,
    left: u64,
}

#[derive(Clone, Copy)]
enum Crash {
    Kill,
    Prefix,
    Subset,
    Nothing,
}

impl Disk {
    fn new(left: u64) -> Self {
        let (durable, seen) = (BTreeMap::new(), BTreeMap::new());
        Self { durable, seen, pending: Vec::new(), left }
    }

    fn step(&mut self, file: FileId) -> Result<(), StorageError> {
        let left = self.left;
        self.left = left.saturating_sub(1);
        if left == 0 { Err(StorageError::new("reach", file, 0, 0, "power is off")) } else { Ok(()) }
    }

    fn change(&mut self, file: FileId, change: Change) -> Result<(), StorageError> {
        self.step(file)?;
        change.apply(self.seen.entry(file).or_default());
        self.pending.push((file, change));
        Ok(())
    }

    /// What is there after a crash.
    fn image(&self, crash: Crash, numbers: &mut Numbers, left: u64) -> Self {
        let mut image = Self { left, ..self.clone() };
        let kept: Vec<(FileId, Change)> = match crash {
            Crash::Kill => return image,
            Crash::Nothing => Vec::new(),
            Crash::Prefix => {
                let end = numbers.below(self.pending.len() as u64 + 1) as usize;
                let torn =
                    self.pending.get(end).map(|(file, change)| (*file, change.torn(numbers)));
                self.pending[..end].iter().cloned().chain(torn).collect()
            }
            Crash::Subset => {
                let mut keep = |(file, change): &(FileId, Change)| match numbers.below(3) {
                    0 => None,
                    1 => Some((*file, change.clone())),
                    _ => Some((*file, change.torn(numbers))),
                };
                self.pending.iter().filter_map(&mut keep).collect()
            }
        };
        for (file, change) in kept {
            change.apply(image.durable.entry(file).or_default());
        }
        image.seen = image.durable.clone();
        image.pending.clear();
        image
    }
}

impl Storage for Disk {
    fn len(&self, file: FileId) -> Result<u64, StorageError> {
        Ok(self.seen.get(&file).map_or(0, |bytes| bytes.len() as u64))
    }
    fn read(&self, file: FileId, offset: u64, into: &mut [u8]) -> Result<(), StorageError> {
        let start = offset as usize;
        let found = self.seen.get(&file).and_then(|bytes| bytes.get(start..start + into.len()));
        let found =
            found.ok_or_else(|| StorageError::new("read", file, offset, into.len(), "end"))?;
        into.copy_from_slice(found);
        Ok(())
    }
    fn write(&mut self, file: FileId, offset: u64, bytes: &[u8]) -> Result<(), StorageError> {
        self.change(file, Change::Write(offset, bytes.to_vec()))
    }
    fn truncate(&mut self, file: FileId, len: u64) -> Result<(), StorageError> {
        self.change(file, Change::Truncate(len))
    }
    fn sync(&mut self, file: FileId) -> Result<(), StorageError> {
        self.step(file)?;
        let durable = self.durable.entry(file).or_default();
        self.pending.retain(|(other, change)| {
            if *other == file {
                change.apply(durable);
            }
            *other != file
        });
        Ok(())
    }
    fn read_working(&self, _: &[u8], at: u64, into: &mut [u8]) -> Result<(), StorageError> {
        Err(StorageError::new("read", "no file", at, into.len(), "not in this test"))
    }
    fn sync_working(&mut self) -> Result<(), StorageError> {
        Ok(())
    }
}

const LENGTH: u64 = 14;
const FEED: FeedSlot = FeedSlot(0);

/// What was said to be done.
#[derive(Clone, Default, Debug)]
struct Said {
    length: u64,
    held: Vec<u64>,
}

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// A writer that appends in small groups; it commits some of them before it signs.
fn write(store: &mut Store<Shared>, seed: u64, said: &mut Said) -> Outcome {
    let mut numbers = Numbers(seed);
    store.add_feed(key().public())?;
    while store.appended(FEED).0 < LENGTH {
        for _ in 0..=numbers.below(3) {
            store.append(FEED, &block(1, store.appended(FEED).0))?;
        }
        match numbers.below(4) {
            0 => store.commit()?,
            1 => store.rollback(FEED)?,
            _ => {
                store.sign(FEED, &key())?;
                store.commit()?;
                said.length = store.length(FEED);
                said.held = (0..said.length).collect();
            }
        }
        if numbers.below(4) == 0 {
            store.checkpoint()?;
        }
    }
    Ok(())
}

/// A reader that follows a writer and takes blocks in any order.
fn copy(store: &mut Store<Shared>, seed: u64, said: &mut Said) -> Outcome {
    let mut numbers = Numbers(seed);
    store.add_feed(key().public())?;
    for _ in 0..12 {
        let longer = (store.length(FEED) + numbers.below(5)).clamp(1, LENGTH);
        let (mut source, _) = writer(1, longer);
        common::follow(&source, store, FEED);
        for _ in 0..numbers.below(4) {
            let index = BlockIndex(numbers.below(store.length(FEED)));
            let have = store.have(FEED);
            let levels = levels(index, store.length(FEED), |range| have.any(range)).unwrap();
            let proof = source.prove(FEED, index, levels)?.unwrap();
            store.insert(FEED, &proof, &source.read(FEED, index)?.unwrap())?;
        }
        store.commit()?;
        said.length = store.length(FEED);
        said.held = store.have(FEED).iter_ones(0..said.length).collect();
        if numbers.below(3) == 0 {
            store.checkpoint()?;
        }
    }
    Ok(())
}

/// Opens what a crash left, with up to two more crashes on the way.
fn recover(disk: &Disk, numbers: &mut Numbers) -> Store<Disk> {
    let mut disk = disk.clone();
    for _ in 0..numbers.below(3) {
        let left = numbers.below(14);
        let shared = Shared(Rc::new(RefCell::new(disk.image(crash(numbers), numbers, left))));
        let _ = Store::open(shared.clone());
        disk = shared.0.borrow().clone();
    }
    let image = disk.image(crash(numbers), numbers, u64::MAX);
    Store::open(image).expect("a store opens after any crash")
}

fn crash(numbers: &mut Numbers) -> Crash {
    [Crash::Kill, Crash::Prefix, Crash::Subset, Crash::Nothing][numbers.below(4) as usize]
}

/// A disk that is still there when the store over it could not be opened.
#[derive(Clone)]
struct Shared(Rc<RefCell<Disk>>);

impl Storage for Shared {
    fn len(&self, file: FileId) -> Result<u64, StorageError> {
        self.0.borrow().len(file)
    }
    fn read(&self, file: FileId, offset: u64, into: &mut [u8]) -> Result<(), StorageError> {
        self.0.borrow().read(file, offset, into)
    }
    fn write(&mut self, file: FileId, offset: u64, bytes: &[u8]) -> Result<(), StorageError> {
        self.0.borrow_mut().write(file, offset, bytes)
    }
    fn truncate(&mut self, file: FileId, len: u64) -> Result<(), StorageError> {
        self.0.borrow_mut().truncate(file, len)
    }
    fn sync(&mut self, file: FileId) -> Result<(), StorageError> {
        self.0.borrow_mut().sync(file)
    }
    fn read_working(&self, path: &[u8], at: u64, into: &mut [u8]) -> Result<(), StorageError> {
        self.0.borrow().read_working(path, at, into)
    }
    fn sync_working(&mut self) -> Result<(), StorageError> {
        self.0.borrow_mut().sync_working()
    }
}

fn judge(mut store: Store<Disk>, said: &Said, context: &str) {
    let Some(feed) = store.slot(&key().public()) else {
        assert_eq!(said.length, 0, "{context}: the feed is gone");
        return;
    };
    let length = store.length(feed);
    assert!(length >= said.length, "{context}: {length} < {}", said.length);
    for index in said.held.iter().copied() {
        assert!(store.have(feed).contains(index), "{context}: block {index} is gone");
    }
    for index in store.have(feed).clone().runs().flatten() {
        let bytes = store.read(feed, BlockIndex(index)).unwrap();
        assert_eq!(bytes, Some(block(1, index)), "{context}: block {index} is claimed");
    }
    assert_eq!(store.check(feed, true, &mut |_| {}).unwrap().bad, 0, "{context}");
    let again = Store::open(store.storage().clone()).unwrap();
    assert_eq!((again.head(feed), again.have(feed)), (store.head(feed), store.have(feed)));
}

/// Runs a script on a disk that stops after each number of changes in turn, and judges what is left.
fn survives(script: impl Fn(&mut Store<Shared>, u64, &mut Said) -> Outcome, seeds: u64) {
    let mut images = 0;
    for seed in 0..seeds {
        let mut numbers = Numbers(seed ^ 0xc0ff_ee00);
        for left in 0.. {
            let shared = Shared(Rc::new(RefCell::new(Disk::new(left))));
            let mut said = Said::default();
            let done = Store::open(shared.clone())
                .map_err(Into::into)
                .and_then(|mut store| script(&mut store, seed, &mut said));
            let disk = shared.0.borrow().clone();
            for image in 0..8 {
                let context = format!("seed {seed}, {left} changes, image {image}");
                judge(recover(&disk, &mut numbers), &said, &context);
                images += 1;
            }
            if done.is_ok() {
                break;
            }
        }
    }
    assert!(images > 2_000, "{images}");
}

#[test]
fn a_writer_survives_any_crash() {
    survives(write, 12);
}

#[test]
fn a_reader_survives_any_crash() {
    survives(copy, 12);
}

#[test]
fn a_commit_of_several_records_that_is_cut_short_claims_too_little() {
    // Blocks enough for three records; what is left of them must not pass for another feed's, nor be written over.
    const BLOCKS: u64 = 150_000;
    for left in [2, 3, 4, 5, 6, 20] {
        let shared = Shared(Rc::new(RefCell::new(Disk::new(u64::MAX))));
        let mut store = Store::open(shared.clone()).unwrap();
        store.add_feed(key().public()).unwrap();
        for _ in 0..BLOCKS {
            store.append(FEED, b"").unwrap();
        }
        store.sign(FEED, &key()).unwrap();
        shared.0.borrow_mut().left = left;
        let _ = store.commit();
        drop(store);
        // A killed process leaves all that it wrote, and recovery finds a first record without the last.
        let image = shared.0.borrow().image(Crash::Kill, &mut Numbers(0), u64::MAX);
        let mut store = Store::open(image).unwrap();
        let other = datnode_feed::SecretKey::from_bytes([9; 32]);
        let slot = store.add_feed(other.public()).unwrap();
        assert_eq!(store.leaf(slot, BlockIndex(0)).unwrap(), None, "after {left} changes");
        store.append(slot, b"other").unwrap();
        store.sign(slot, &other).unwrap();
        store.commit().unwrap();
        let mut store = Store::open(store.into_storage()).unwrap();
        assert_eq!(
            (store.have(slot).len(), store.have(slot).count()),
            (1, 1),
            "after {left} changes"
        );
        assert_eq!(store.check(slot, true, &mut |_| {}).unwrap().bad, 0);
        let length = store.slot(&key().public()).map_or(0, |feed| store.length(feed));
        assert!([0, BLOCKS].contains(&length), "after {left} changes: {length}");
    }
}
