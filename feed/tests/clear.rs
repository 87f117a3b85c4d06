//! Freed bytes: the neighbours stay, proofs stay, and what nobody points to goes.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::{Memory, block, empty, fetch, follow, grow, key, writer};
use datnode_feed::limits::{BLOCK_BYTES_MAX, CLEARED_AT_ONCE};
use datnode_feed::{
    Accusation, BlockIndex, Cleared, Comparison, FeedSlot, FileId, InPlace, SecretKey, Storage,
    Store, levels,
};

/// Blocks of this size are in as many pages of a storage in memory.
const PAGE: usize = 64 << 10;

fn reopened(mut store: Memory) -> Memory {
    store.checkpoint().unwrap();
    Store::open(store.into_storage()).unwrap()
}

fn pages(index: u64) -> Vec<u8> {
    vec![index as u8 + 1; PAGE]
}

/// A feed of `length` blocks of a page each.
fn large(length: u64) -> (Memory, FeedSlot) {
    let (mut store, feed) = empty();
    for index in 0..length {
        store.append(feed, &pages(index)).unwrap();
    }
    store.sign(feed, &key()).unwrap();
    store.commit().unwrap();
    (store, feed)
}

#[test]
fn what_is_cleared_goes_and_its_neighbours_and_proofs_stay() {
    let (mut store, feed) = large(16);
    let before = store.storage().allocated(FileId::Data).unwrap();
    let cleared = store.clear(feed, &[1..2, 5..9, 15..16].into_iter().collect()).unwrap();
    let bytes = 6 * PAGE as u64;
    assert_eq!(cleared, Cleared { blocks: 6, bytes, freed: bytes });
    assert_eq!(store.storage().allocated(FileId::Data).unwrap(), before - bytes);
    let mut store = reopened(store);
    let (mut reader, other) = empty();
    follow(&store, &mut reader, other);
    for index in 0..16 {
        let is_here = ![1, 5, 6, 7, 8, 15].contains(&index);
        assert_eq!(store.read(feed, BlockIndex(index)).unwrap(), is_here.then(|| pages(index)));
        let levels = levels(BlockIndex(index), 16, |_| false).unwrap();
        let proof = store.prove(feed, BlockIndex(index), levels).unwrap().unwrap();
        reader.verify(other, &proof, Some(&pages(index))).unwrap();
    }
    // What is gone already costs nothing and frees nothing.
    let again = store.clear(feed, &[0..0, 5..9, 400..900].into_iter().collect()).unwrap();
    assert_eq!(again, Cleared::default());
}

#[test]
fn a_writer_takes_its_blocks_back_from_others() {
    let (mut store, feed) = writer(4, 9);
    let mut copy = Store::open(store.storage().clone()).unwrap();
    store.clear(feed, &[0..9].into_iter().collect()).unwrap();
    grow(&mut store, feed, 4, 12);
    assert_eq!(store.have(feed).runs().collect::<Vec<_>>(), [9..12]);
    for index in 0..9 {
        fetch(&mut copy, &mut store, feed, index);
    }
    store.commit().unwrap();
    let mut store = reopened(store);
    for index in 0..12 {
        assert_eq!(store.read(feed, BlockIndex(index)).unwrap(), Some(block(4, index)));
    }
    assert_eq!(store.check(feed, true, &mut |_| {}).unwrap().bad, 0);
}

#[test]
fn what_was_lost_track_of_goes_along() {
    let (mut store, feed) = large(8);
    store.forget(feed, 2..4);
    store.commit().unwrap();
    // A block that lives in a file now is no longer needed in the store.
    store.storage_mut().set_working(b"file", pages(6));
    store.place(feed, BlockIndex(6), InPlace { path: b"file", offset: 0 }).unwrap();
    assert_eq!(store.in_data(feed).unwrap().runs().collect::<Vec<_>>(), [0..2, 4..6, 7..8]);
    let cleared = store.clear(feed, &[0..1].into_iter().collect()).unwrap();
    let page = PAGE as u64;
    assert_eq!(cleared, Cleared { blocks: 1, bytes: page, freed: 4 * page });
    let mut store = reopened(store);
    for index in [1, 4, 5, 6, 7] {
        assert_eq!(store.read(feed, BlockIndex(index)).unwrap(), Some(pages(index)));
    }
}

#[test]
fn what_was_appended_and_not_signed_stays() {
    let (mut store, feed) = large(3);
    for index in 3..6 {
        store.append(feed, &pages(index)).unwrap();
    }
    store.clear(feed, &[0..2].into_iter().collect()).unwrap();
    store.sign(feed, &key()).unwrap();
    store.commit().unwrap();
    let mut store = reopened(store);
    for index in 2..6 {
        assert_eq!(store.read(feed, BlockIndex(index)).unwrap(), Some(pages(index)));
    }
}

#[test]
fn an_accusation_and_other_feeds_stay() {
    let (mut ours, feed) = writer(1, 5);
    let mut theirs = Store::open(ours.storage().clone()).unwrap();
    grow(&mut theirs, feed, 3, 11);
    grow(&mut ours, feed, 2, 9);
    let Comparison::Contradict(found) = theirs.compare(feed, ours.head(feed).unwrap()).unwrap()
    else {
        panic!("two histories")
    };
    let (mut store, first) = large(4);
    let other = SecretKey::from_bytes([9; 32]);
    let second = store.add_feed(other.public()).unwrap();
    store.append(second, &pages(40)).unwrap();
    store.sign(second, &other).unwrap();
    let accusation: Accusation = *found;
    store.accuse(first, &accusation).unwrap();
    store.clear(first, &[0..4].into_iter().collect()).unwrap();
    let mut store = reopened(store);
    assert_eq!(store.accusation(first), Some(&accusation));
    assert_eq!(store.read(second, BlockIndex(0)).unwrap(), Some(pages(40)));
    assert!(store.have(first).is_empty());
}

#[test]
fn blocks_whose_size_is_not_known_any_more_hold_what_is_behind_them() {
    let (store, feed) = large(20);
    let mut storage = store.into_storage();
    // The leaf of block 2 rotted away: nobody knows where it ends.
    let mut opened = Store::open(storage.clone()).unwrap();
    opened.checkpoint().unwrap();
    storage = opened.into_storage();
    storage.write(FileId::Tree(feed), 40 * BlockIndex(2).node().0, &[0; 40]).unwrap();
    let mut store = Store::open(storage).unwrap();
    let cleared = store.clear(feed, &[3..20].into_iter().collect()).unwrap();
    let needed = (BLOCK_BYTES_MAX / PAGE) as u64;
    assert_eq!(cleared.freed, (20 - 2 - needed) * PAGE as u64);
}

#[test]
fn exactly_the_ranges_go_also_where_there_are_many_blocks() {
    const LENGTH: u64 = 300_000;
    const RANGES: [std::ops::Range<u64>; 3] = [100..1_000, 65_526..65_546, 290_000..299_998];
    let (mut store, feed) = empty();
    for index in 0..LENGTH {
        store.append(feed, &index.to_le_bytes()).unwrap();
    }
    store.sign(feed, &key()).unwrap();
    store.commit().unwrap();
    let cleared = store.clear(feed, &RANGES.into_iter().collect()).unwrap();
    assert_eq!((cleared.blocks, cleared.bytes), (900 + 20 + 9_998, 8 * (900 + 20 + 9_998)));
    let mut store = reopened(store);
    let kept: Vec<_> = store.have(feed).runs().collect();
    assert_eq!(kept, [0..100, 1_000..65_526, 65_546..290_000, 299_998..LENGTH]);
    for index in [0, 99, 1_000, 65_525, 65_546, 289_999, 299_998, LENGTH - 1] {
        let bytes = Some(index.to_le_bytes().to_vec());
        assert_eq!(store.read(feed, BlockIndex(index)).unwrap(), bytes);
    }
    // All of it: more than one commit takes.
    const { assert!(LENGTH > 4 * CLEARED_AT_ONCE) };
    let cleared = store.clear(feed, &[0..LENGTH].into_iter().collect()).unwrap();
    assert_eq!(cleared.blocks, LENGTH - 10_918);
    assert_eq!(store.storage().allocated(FileId::Data).unwrap(), 0);
    assert!(reopened(store).have(feed).is_empty());
}
