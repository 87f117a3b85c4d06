//! A store by itself: what it keeps, what it drops, what it refuses.

mod common;

use common::{block, empty, fetch, follow, grow, key, writer};
use datnode_feed::limits::JOURNAL_BYTES;
use datnode_feed::{
    BlockIndex, FileId, InPlace, MemoryStorage, Place, Storage, StorageError, Store, StoreError,
    leaf,
};

#[test]
fn what_was_committed_is_there_after_reopening() {
    for length in [0, 1, 7, 32, 33, 100] {
        for checkpoint in [false, true] {
            let (mut store, feed) = writer(1, length);
            let (head, have) = (store.head(feed).copied(), store.have(feed).clone());
            if checkpoint {
                store.checkpoint().unwrap();
            }
            let mut store = Store::open(store.into_storage()).unwrap();
            assert_eq!(store.slot(&key().public()), Some(feed));
            assert_eq!((store.head(feed).copied(), store.have(feed)), (head, &have));
            for index in 0..length {
                assert_eq!(store.read(feed, BlockIndex(index)).unwrap(), Some(block(1, index)));
            }
            grow(&mut store, feed, 1, length + 3);
            assert_eq!(store.check(feed, true, &mut |_| {}).unwrap().bad, 0);
            assert_eq!(store.have(feed).count(), length + 3);
        }
    }
}

#[test]
fn appends_show_once_their_head_is_committed() {
    let (mut store, feed) = empty();
    store.append(feed, b"one").unwrap();
    assert_eq!((store.length(feed), store.appended(feed)), (0, (1, 3)));
    store.commit().unwrap();
    assert_eq!((store.length(feed), store.have(feed).count()), (0, 0));
    let signed = store.sign(feed, &key()).unwrap();
    assert!(store.head(feed).is_none(), "a head shows when it is durable");
    store.commit().unwrap();
    assert_eq!(store.head(feed), Some(&signed));
    assert!(store.have(feed).contains(0));
    assert!(!store.is_dirty());
}

#[test]
fn a_rollback_forgets_what_no_head_covers() {
    let (mut store, feed) = writer(1, 5);
    let head = store.head(feed).copied();
    store.append(feed, b"thought better of").unwrap();
    store.sign(feed, &key()).unwrap();
    store.rollback(feed).unwrap();
    store.commit().unwrap();
    assert_eq!((store.head(feed).copied(), store.appended(feed).0), (head, 5));
    grow(&mut store, feed, 1, 9);
    let mut store = Store::open(store.into_storage()).unwrap();
    assert_eq!(store.check(feed, true, &mut |_| {}).unwrap().bad, 0);
    assert_eq!(store.read(feed, BlockIndex(5)).unwrap(), Some(block(1, 5)));
}

#[test]
fn a_block_over_the_limit_is_refused() {
    let (mut store, feed) = empty();
    let large = vec![0; datnode_feed::limits::BLOCK_BYTES_MAX + 1];
    assert!(matches!(store.append(feed, &large), Err(StoreError::BlockTooLong(_))));
    assert_eq!(store.appended(feed), (0, 0));
    store.append(feed, &large[1..]).unwrap();
}

#[test]
fn blocks_come_from_working_files_until_these_change() {
    let (mut store, feed) = empty();
    store.storage_mut().set_working(b"dir/file", b"..onetwo".to_vec());
    let at = |offset| InPlace { path: b"dir/file", offset };
    store.append_in_place(feed, leaf(b"one"), at(2)).unwrap();
    store.append_in_place(feed, leaf(b"two"), at(5)).unwrap();
    store.sign(feed, &key()).unwrap();
    store.commit().unwrap();
    let mut store = Store::open(store.into_storage()).unwrap();
    let (one, two) = (BlockIndex(0), BlockIndex(1));
    assert_eq!(store.read(feed, one).unwrap().as_deref(), Some(&b"one"[..]));
    let place = Place::Working { path: b"dir/file".to_vec(), offset: 5 };
    assert_eq!(store.where_is(feed, two).unwrap(), Some(place));

    store.storage_mut().set_working(b"dir/file", b"..one2wo".to_vec());
    assert_eq!(store.read(feed, two).unwrap(), None, "changed bytes are never served");
    assert!(!store.have(feed).contains(1));
    assert!(store.have(feed).contains(0));
    store.commit().unwrap();
    let mut store = Store::open(store.into_storage()).unwrap();
    assert!(!store.have(feed).contains(1), "and stay dropped");

    store.storage_mut().set_working(b"dir/file", b"..o".to_vec());
    assert_eq!(store.read(feed, one).unwrap(), None, "a file cut short has changed as well");
    assert!(store.have(feed).is_empty());
}

#[test]
fn blocks_follow_a_renamed_file() {
    for reopen in [false, true] {
        let (mut source, feed) = writer(1, 3);
        let (mut store, _) = empty();
        follow(&source, &mut store, feed);
        let mut offset = 0;
        for index in 0..3 {
            let (at, have) = (BlockIndex(index), store.have(feed));
            let levels = datnode_feed::levels(at, 3, |range| have.any(range)).unwrap();
            let proof = source.prove(feed, at, levels).unwrap().unwrap();
            let bytes = source.read(feed, at).unwrap().unwrap();
            store.accept(feed, &proof, Some(&bytes)).unwrap();
            store.storage_mut().write_working(b"new.part", offset, &bytes);
            let at = InPlace { path: b"new.part", offset: offset as u64 };
            store.place(feed, BlockIndex(index), at).unwrap();
            offset += bytes.len();
        }
        if reopen {
            store.commit().unwrap();
            store = Store::open(store.into_storage()).unwrap();
        }
        let names: [&[u8]; 4] = [b"new.part", b"new", b"newer", b"new"];
        for pair in names.windows(2) {
            let bytes = store.storage_mut().remove_working(pair[0]).unwrap();
            store.storage_mut().set_working(pair[1], bytes);
            store.rename_working(pair[0], pair[1]).unwrap();
            if reopen {
                store.commit().unwrap();
                store = Store::open(store.into_storage()).unwrap();
            }
            for index in 0..3 {
                let read = store.read(feed, BlockIndex(index)).unwrap();
                assert_eq!(read, Some(block(1, index)), "{:?}", pair[1]);
            }
        }
    }
}

#[test]
fn forgotten_blocks_come_back_with_the_shortest_proof() {
    let (mut source, feed) = writer(2, 6);
    let (mut store, _) = empty();
    follow(&source, &mut store, feed);
    fetch(&mut source, &mut store, feed, 4);
    store.forget(feed, 0..6);
    store.commit().unwrap();
    let mut store = Store::open(store.into_storage()).unwrap();
    assert!(store.have(feed).is_empty());
    assert_eq!(store.read(feed, BlockIndex(4)).unwrap(), None);
    let proof = source.prove(feed, BlockIndex(4), 0).unwrap().unwrap();
    store.insert(feed, &proof, &block(2, 4)).unwrap();
    assert_eq!(store.read(feed, BlockIndex(4)).unwrap(), Some(block(2, 4)));
}

#[test]
fn several_feeds_commit_together() {
    let mut store = Store::open(MemoryStorage::new()).unwrap();
    let keys = [1, 2, 3].map(|seed| datnode_feed::SecretKey::from_bytes([seed; 32]));
    for (number, key) in keys.iter().enumerate() {
        let feed = store.add_feed(key.public()).unwrap();
        assert_eq!(store.add_feed(key.public()).unwrap(), feed, "a key has one slot");
        store.append(feed, &[number as u8]).unwrap();
        store.sign(feed, key).unwrap();
    }
    store.commit().unwrap();
    let mut store = Store::open(store.into_storage()).unwrap();
    assert!(store.feeds().map(|(_, key)| key).eq(keys.iter().map(|key| key.public())));
    for (number, key) in keys.iter().enumerate() {
        let feed = store.slot(&key.public()).unwrap();
        assert_eq!(store.read(feed, BlockIndex(0)).unwrap(), Some(vec![number as u8]));
    }
}

#[test]
fn a_newer_store_is_refused_untouched() {
    let (store, _) = writer(1, 3);
    let mut storage = store.into_storage();
    storage.write(FileId::Meta, 8, &2u16.to_le_bytes()).unwrap();
    let journal = storage.len(FileId::Journal).unwrap();
    let error = Store::open(storage.clone()).unwrap_err();
    assert!(matches!(error, StoreError::Newer { found: 2, known: 1 }), "{error}");
    assert!(journal > 0 && storage.len(FileId::Journal).unwrap() == journal);
}

#[test]
fn damaged_bytes_are_never_served() {
    let (store, feed) = writer(3, 6);
    let storage = store.into_storage();
    let files = [FileId::Data, FileId::Tree(feed), FileId::Blocks(feed), FileId::Meta];
    let mut served = 0;
    for file in files {
        for at in 0..storage.len(file).unwrap() {
            let mut damaged = storage.clone();
            damaged.truncate(FileId::Journal, 0).unwrap();
            let mut byte = [0];
            damaged.read(file, at, &mut byte).unwrap();
            damaged.write(file, at, &[byte[0] ^ 0x10]).unwrap();
            let Ok(mut store) = Store::open(damaged) else { continue };
            for (slot, _) in store.feeds().collect::<Vec<_>>() {
                for index in 0..store.length(slot) {
                    if let Ok(Some(bytes)) = store.read(slot, BlockIndex(index)) {
                        assert_eq!(bytes, block(3, index), "{file} {at}");
                        served += 1;
                    }
                }
            }
        }
    }
    assert!(served > 1_000, "{served}");
}

#[test]
fn an_audit_names_the_damaged_block() {
    let (mut store, feed) = writer(4, 9);
    let Some(Place::Data { offset }) = store.where_is(feed, BlockIndex(5)).unwrap() else {
        panic!("the store keeps its blocks")
    };
    store.storage_mut().write(FileId::Data, offset, b"#").unwrap();
    let mut bad = Vec::new();
    let checked = store.check(feed, true, &mut |block| bad.push(block.0)).unwrap();
    assert_eq!((checked.blocks, checked.bad, bad), (9, 1, vec![5]));
    assert_eq!(store.have(feed).count(), 9, "an audit changes nothing");
}

/// A storage whose sync of one file fails once, and then says yes to everything.
#[derive(Default)]
struct FailsOnce {
    memory: MemoryStorage,
    working_syncs: u32,
    file: Option<FileId>,
    writes: bool,
}

impl FailsOnce {
    fn answer(&mut self, file: FileId, write: bool) -> Result<(), StorageError> {
        if self.file == Some(file) && self.writes == write {
            self.file = None;
            return Err(StorageError::new("change", file, 0, 0, "told to fail"));
        }
        Ok(())
    }
}

impl Storage for FailsOnce {
    fn len(&self, file: FileId) -> Result<u64, StorageError> {
        self.memory.len(file)
    }
    fn read(&self, file: FileId, offset: u64, into: &mut [u8]) -> Result<(), StorageError> {
        self.memory.read(file, offset, into)
    }
    fn write(&mut self, file: FileId, offset: u64, bytes: &[u8]) -> Result<(), StorageError> {
        self.answer(file, true)?;
        self.memory.write(file, offset, bytes)
    }
    fn truncate(&mut self, file: FileId, len: u64) -> Result<(), StorageError> {
        self.memory.truncate(file, len)
    }
    fn sync(&mut self, file: FileId) -> Result<(), StorageError> {
        self.answer(file, false)
    }
    fn read_working(&self, path: &[u8], at: u64, into: &mut [u8]) -> Result<(), StorageError> {
        self.memory.read_working(path, at, into)
    }
    fn sync_working(&mut self) -> Result<(), StorageError> {
        self.working_syncs += 1;
        Ok(())
    }
}

#[test]
fn a_new_name_is_synced_before_it_is_recorded() {
    let mut store = Store::open(FailsOnce::default()).unwrap();
    let feed = store.add_feed(key().public()).unwrap();
    store.append_in_place(feed, leaf(b"one"), InPlace { path: b"old", offset: 0 }).unwrap();
    store.commit().unwrap();
    assert_eq!(store.storage().working_syncs, 1);
    store.rename_working(b"old", b"new").unwrap();
    store.commit().unwrap();
    assert_eq!(store.storage().working_syncs, 2);
}

#[test]
fn after_a_failed_write_or_sync_nothing_is_acknowledged() {
    for (file, writes) in [
        (FileId::Data, true),
        (FileId::Data, false),
        (FileId::Journal, true),
        (FileId::Journal, false),
        (FileId::Meta, true),
    ] {
        let mut store = Store::open(FailsOnce::default()).unwrap();
        let feed = store.add_feed(key().public()).unwrap();
        grow(&mut store, feed, 1, 4);
        let head = store.head(feed).copied();
        store.append(feed, b"more").unwrap();
        store.sign(feed, &key()).unwrap();
        (store.storage_mut().file, store.storage_mut().writes) = (Some(file), writes);
        assert!(matches!(store.commit(), Err(StoreError::Storage(_))), "{file} {writes}");
        assert_eq!(store.head(feed).copied(), head, "a head that may be lost does not show");
        for _ in 0..2 {
            assert!(matches!(store.commit(), Err(StoreError::Poisoned)));
            assert!(matches!(store.append(feed, b"x"), Err(StoreError::Poisoned)));
            assert!(matches!(store.checkpoint(), Err(StoreError::Poisoned)));
        }
        assert_eq!(store.read(feed, BlockIndex(2)).unwrap(), Some(block(1, 2)), "reads go on");
        let store = Store::open(store.into_storage().memory).unwrap();
        assert!(store.length(feed) >= 4);
    }
}

#[test]
fn a_million_blocks_are_found_at_once() {
    let (mut store, feed) = empty();
    for _ in 0..1_000_000 {
        store.append(feed, b"").unwrap();
        if store.staged_bytes() > 8 << 20 {
            store.commit().unwrap();
        }
    }
    store.sign(feed, &key()).unwrap();
    store.commit().unwrap();
    let journal = store.storage().len(FileId::Journal).unwrap();
    assert!(journal <= JOURNAL_BYTES, "{journal}: a long journal is emptied");
    store.checkpoint().unwrap();
    let store = Store::open(store.into_storage()).unwrap();
    assert_eq!((store.have(feed).len(), store.have(feed).count()), (1_000_000, 1_000_000));
}

#[test]
fn a_glance_reads_blocks_beside_the_writer_and_writes_nothing() {
    let (mut store, feed) = writer(4, 3_000);
    store.forget(feed, 5..9);
    grow(&mut store, feed, 4, 3_001);
    let before = store.storage().clone();
    let mut glance = Store::glance(before.clone()).unwrap();
    assert_eq!(glance.have(feed), store.have(feed));
    assert_eq!(glance.read(feed, BlockIndex(2_500)).unwrap(), Some(block(4, 2_500)));
    assert_eq!(glance.read(feed, BlockIndex(6)).unwrap(), None);
    assert!(matches!(glance.append(feed, b"x"), Err(StoreError::Poisoned)));
    assert!(matches!(glance.commit(), Err(StoreError::Poisoned)));
    assert_eq!(format!("{:?}", glance.into_storage()), format!("{before:?}"));
    // What the writer has not committed is not there yet.
    store.append(feed, b"staged").unwrap();
    store.sign(feed, &key()).unwrap();
    assert_eq!(Store::glance(store.storage().clone()).unwrap().length(feed), 3_001);
}

#[test]
fn leaves_of_held_blocks_come_a_piece_at_a_time_staged_or_not() {
    let (mut store, feed) = writer(6, 20_000);
    store.forget(feed, 100..200);
    for index in 20_000..20_010 {
        store.append(feed, &block(6, index)).unwrap();
    }
    let (mut all, mut next, mut pieces) = (Vec::new(), Some(0), 0);
    while let Some(from) = next {
        let piece = store.held_leaves(feed, from).unwrap();
        all.extend(piece.leaves);
        (next, pieces) = (piece.next, pieces + 1);
    }
    assert!(pieces > 1);
    let held = (0..100).chain(200..20_000).map(BlockIndex);
    let leaves = held.map(|block| (block, store.leaf(feed, block).unwrap().unwrap()));
    assert!(leaves.eq(all));
    // What lies between, and what is said to follow, is not gone through.
    store.forget(feed, 0..19_999);
    let held = store.held_leaves(feed, 0).unwrap();
    assert_eq!((held.leaves.len(), held.next), (1, None));
    // A reader's are staged as they come.
    let (mut reader, _) = empty();
    follow(&store, &mut reader, feed);
    fetch(&mut store, &mut reader, feed, 19_999);
    let leaf = store.leaf(feed, BlockIndex(19_999)).unwrap().unwrap();
    assert_eq!(reader.held_leaves(feed, 0).unwrap().leaves, [(BlockIndex(19_999), leaf)]);
}
