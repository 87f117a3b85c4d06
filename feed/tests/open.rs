//! What opening costs: a look at each block's place and at the journal, and nothing is mended.

mod common;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use common::key;
use datnode_feed::{FeedSlot, FileId, MemoryStorage, Storage, StorageError, Store};

/// What the table of places has of each block, and the longest read of it.
const PLACE_BYTES: u64 = 16;
const PIECE_BYTES: u64 = 1 << 20;
/// What else there is to read: the header, the feed's record, and the ways up from the end of its tree.
const READS_MAX: u64 = 256;

/// A storage that counts: reads and bytes by file, and what is changed.
#[derive(Default)]
struct Counting {
    memory: MemoryStorage,
    reads: RefCell<BTreeMap<FileId, (u64, u64)>>,
    changes: Cell<u64>,
}

impl Storage for Counting {
    fn len(&self, file: FileId) -> Result<u64, StorageError> {
        self.memory.len(file)
    }

    fn read(&self, file: FileId, offset: u64, into: &mut [u8]) -> Result<(), StorageError> {
        let mut reads = self.reads.borrow_mut();
        let (count, bytes) = reads.entry(file).or_default();
        (*count, *bytes) = (*count + 1, *bytes + into.len() as u64);
        self.memory.read(file, offset, into)
    }

    fn write(&mut self, file: FileId, offset: u64, bytes: &[u8]) -> Result<(), StorageError> {
        self.changes.set(self.changes.get() + 1);
        self.memory.write(file, offset, bytes)
    }

    fn truncate(&mut self, file: FileId, len: u64) -> Result<(), StorageError> {
        self.changes.set(self.changes.get() + 1);
        self.memory.truncate(file, len)
    }

    fn sync(&mut self, file: FileId) -> Result<(), StorageError> {
        self.changes.set(self.changes.get() + 1);
        self.memory.sync(file)
    }

    fn read_working(&self, path: &[u8], offset: u64, into: &mut [u8]) -> Result<(), StorageError> {
        self.memory.read_working(path, offset, into)
    }

    fn sync_working(&mut self) -> Result<(), StorageError> {
        self.memory.sync_working()
    }
}

/// Opens what a killed process left; checks what that reads, and returns how much it changed.
fn open(left: &MemoryStorage, length: u64) -> (Store<Counting>, u64) {
    let counting = Counting { memory: left.clone(), ..Counting::default() };
    let journal = left.len(FileId::Journal).unwrap();
    let store = Store::open(counting).unwrap();
    assert_eq!(store.length(FeedSlot(0)), length);
    for (file, (count, bytes)) in store.storage().reads.borrow().iter() {
        let context = format!("{length} blocks, {file:?}: {count} reads of {bytes} bytes");
        match file {
            FileId::Blocks(_) => {
                assert!(*bytes <= PLACE_BYTES * length, "{context}");
                assert!(*count <= (PLACE_BYTES * length).div_ceil(PIECE_BYTES), "{context}");
            }
            // Once to see where it ends, once to do it again.
            FileId::Journal => assert!(*bytes <= 2 * journal, "{context}"),
            FileId::Data => panic!("{context}"),
            _ => assert!(*count <= READS_MAX, "{context}"),
        }
    }
    let changes = store.storage().changes.get();
    (store, changes)
}

#[test]
fn opening_reads_a_place_a_block_and_mends_nothing() {
    let mut store = Store::open(MemoryStorage::new()).unwrap();
    let feed = store.add_feed(key().public()).unwrap();
    for length in [1_000, 100_000, 1_000_000] {
        while store.appended(feed).0 < length {
            for index in store.appended(feed).0..length.min(store.appended(feed).0 + 10_000) {
                store.append(feed, &index.to_le_bytes()).unwrap();
            }
            store.sign(feed, &key()).unwrap();
            store.commit().unwrap();
        }
        // As it is behind a kill: there is a journal, whose records are done again.
        assert!(store.storage().len(FileId::Journal).unwrap() > 0, "{length} blocks");
        let (killed, _) = open(store.storage(), length);
        let (_, changes) = open(&killed.storage().memory, length);
        assert_eq!(changes, 0, "{length} blocks: nothing was left to do");
    }
}
