//! Numbers that no sound store holds: each is an error or a damaged block, none a panic.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{Memory, block, key, writer};
use datnode_feed::{
    BlockIndex, FeedSlot, FileId, InPlace, MemoryStorage, Storage, Store, StoreError,
};

/// A store of ten blocks, with some bytes of a file replaced; its journal is empty.
fn damaged(file: FileId, offset: u64, bytes: &[u8]) -> (Result<Memory, StoreError>, FeedSlot) {
    let (mut store, feed) = writer(1, 10);
    store.checkpoint().unwrap();
    let mut storage: MemoryStorage = store.into_storage();
    storage.write(file, offset, bytes).unwrap();
    (Store::open(storage), feed)
}

#[test]
fn a_leaf_of_impossible_size_is_a_damaged_block() {
    for size in [u64::MAX, 1 << 40, (1 << 20) + 1] {
        let (store, feed) = damaged(FileId::Tree(FeedSlot(0)), 2 * 40 * 4, &size.to_le_bytes());
        let mut store = store.unwrap();
        for full in [false, true] {
            let mut bad = Vec::new();
            let checked = store.check(feed, full, &mut |block| bad.push(block.0)).unwrap();
            assert!(bad.contains(&4) && checked.blocks == 10, "{size}: {bad:?}");
            assert!(checked.bytes < 1 << 20);
        }
        assert!(matches!(store.read(feed, BlockIndex(4)), Err(StoreError::Damaged(_))));
    }
}

#[test]
fn sizes_that_do_not_add_up_are_damage() {
    let largest = u64::MAX.to_le_bytes();
    // Block 6 is reached over the nodes 3 and 9, block 7 over leaf 6 as well.
    let (store, feed) = damaged(FileId::Tree(FeedSlot(0)), 3 * 40, &largest);
    let mut store = store.unwrap();
    assert!(matches!(store.byte_offset(feed, BlockIndex(6)), Err(StoreError::Damaged(_))));
    assert_eq!(store.read(feed, BlockIndex(6)).unwrap(), Some(block(1, 6)), "its bytes are fine");
}

#[test]
fn a_name_beyond_the_table_is_an_error() {
    for name in [u64::MAX, u64::MAX - 9, 1 << 56, 1 << 40, 81, 9] {
        let (store, feed) = damaged(FileId::Blocks(FeedSlot(0)), 16 * 4, &[2]);
        let mut storage = store.unwrap().into_storage();
        let blocks = FileId::Blocks(FeedSlot(0));
        storage.write(blocks, 16 * 4 + 8, &name.to_le_bytes()).unwrap();
        let mut store = Store::open(storage).unwrap();
        assert!(store.read(feed, BlockIndex(4)).is_err(), "{name}");
        // Names that wait for the next commit are looked up in another way.
        store.place(feed, BlockIndex(5), InPlace { path: b"file", offset: 0 }).unwrap();
        assert!(store.read(feed, BlockIndex(4)).is_err(), "{name}");
    }
}

#[test]
fn a_head_over_peaks_that_are_not_its_own_is_not_continued() {
    for peak in [7, 17] {
        for offset in [0, 8, 39] {
            let (store, _) = damaged(FileId::Tree(FeedSlot(0)), peak * 40 + offset, &[0xfe]);
            assert!(matches!(store, Err(StoreError::Damaged("peaks of a feed"))), "{peak}");
        }
    }
}

#[test]
fn a_rotten_node_neither_finds_bytes_nor_proves_anything() {
    let (sound, feed) = writer(1, 10);
    for (node, size) in [(1, 9), (3, 2), (5, 1), (9, 77)] {
        let (store, _) = damaged(FileId::Tree(FeedSlot(0)), node * 40, &[size]);
        let store = store.unwrap();
        let (mut refused, mut right) = (0, 0);
        for block in (0..10).map(BlockIndex) {
            match store.byte_offset(feed, block) {
                Ok(offset) => assert_eq!(offset, sound.byte_offset(feed, block).unwrap()),
                Err(StoreError::Damaged(_)) => refused += 1,
                Err(error) => panic!("{error}"),
            }
            if let Some(proof) = store.prove_upgrade(feed, block.0).unwrap() {
                assert_eq!(Some(proof), sound.prove_upgrade(feed, block.0).unwrap());
                right += 1;
            }
        }
        for byte in 0..sound.byte_length(feed) {
            let found = store.seek(feed, byte);
            assert!(found.is_err() || found.unwrap() == sound.seek(feed, byte).unwrap(), "{byte}");
        }
        assert!(refused > 0 && right > 0 && right < 10, "node {node}: {refused} {right}");
    }
}

#[test]
fn a_journal_that_lost_a_record_does_not_take_the_tables_back() {
    let (mut store, feed) = writer(1, 3);
    let first = store.storage().len(FileId::Journal).unwrap();
    store.append(feed, b"one more").unwrap();
    store.sign(feed, &key()).unwrap();
    store.commit().unwrap();
    let sound = store.into_storage();
    for (offset, cut) in [(first, true), (first + 5, true), (first + 30, false), (30, false)] {
        let mut storage = sound.clone();
        if cut {
            storage.truncate(FileId::Journal, offset).unwrap();
        } else {
            storage.write(FileId::Journal, offset, &[0xfe]).unwrap();
        }
        let mut store = Store::open(storage).unwrap();
        assert_eq!(store.length(feed), 4, "{offset} {cut}");
        assert_eq!(store.read(feed, BlockIndex(3)).unwrap().as_deref(), Some(&b"one more"[..]));
    }
}

#[test]
fn tables_without_meta_are_not_taken_for_a_new_store() {
    let (mut store, _) = writer(1, 3);
    store.checkpoint().unwrap();
    let mut storage = store.into_storage();
    storage.truncate(FileId::Meta, 0).unwrap();
    assert!(matches!(Store::open(storage), Err(StoreError::Damaged("header of meta"))));
}

#[test]
fn a_damaged_meta_is_never_read() {
    let (mut store, _) = writer(1, 3);
    store.checkpoint().unwrap();
    let sound = store.into_storage();
    for offset in (0..56).chain(256..512) {
        let mut byte = [0];
        sound.read(FileId::Meta, offset, &mut byte).unwrap();
        let mut storage = sound.clone();
        storage.write(FileId::Meta, offset, &[byte[0] ^ 4]).unwrap();
        let opened = Store::open(storage);
        assert!(
            matches!(opened, Err(StoreError::Damaged(_) | StoreError::Newer { .. })),
            "{offset}"
        );
    }
}
