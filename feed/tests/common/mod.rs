//! What several tests of the crate need: keys, small feeds, numbers from a seed.

#![allow(dead_code, reason = "each test file uses its own part")]

use datnode_feed::{BlockIndex, FeedSlot, MemoryStorage, SecretKey, Storage, Store, levels};

/// A generator of numbers that only depends on its seed (SplitMix64).
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }
}

pub(crate) type Memory = Store<MemoryStorage>;

pub(crate) fn key() -> SecretKey {
    SecretKey::from_bytes([7; 32])
}

/// The bytes of a block: of different lengths, some of them empty, no two equal but the empty ones.
pub(crate) fn block(seed: u64, index: u64) -> Vec<u8> {
    let mut numbers = Numbers(seed << 32 | index);
    let len = numbers.below(40) as usize;
    let name = format!("{seed}/{index}:");
    name.bytes()
        .chain(core::iter::repeat(b'.'))
        .take(if len < 4 { 0 } else { name.len() + len })
        .collect()
}

pub(crate) fn empty() -> (Memory, FeedSlot) {
    let mut store = Store::open(MemoryStorage::new()).unwrap();
    let feed = store.add_feed(key().public()).unwrap();
    (store, feed)
}

/// Appends the blocks from the present length up to `length`, signs and commits.
pub(crate) fn grow<S: Storage>(store: &mut Store<S>, feed: FeedSlot, seed: u64, length: u64) {
    for index in store.appended(feed).0..length {
        assert_eq!(store.append(feed, &block(seed, index)).unwrap(), BlockIndex(index));
    }
    store.sign(feed, &key()).unwrap();
    store.commit().unwrap();
}

pub(crate) fn writer(seed: u64, length: u64) -> (Memory, FeedSlot) {
    let (mut store, feed) = empty();
    grow(&mut store, feed, seed, length);
    (store, feed)
}

/// Brings `to` to the head of `from`.
pub(crate) fn follow<A: Storage, B: Storage>(from: &Store<A>, to: &mut Store<B>, feed: FeedSlot) {
    if to.length(feed) < from.length(feed) {
        let proof = from.prove_upgrade(feed, to.length(feed)).unwrap().unwrap();
        to.upgrade(feed, &proof).unwrap();
    }
}

/// Copies one block with the smallest proof.
pub(crate) fn fetch<A: Storage, B: Storage>(
    from: &mut Store<A>,
    to: &mut Store<B>,
    feed: FeedSlot,
    index: u64,
) {
    let (block, have) = (BlockIndex(index), to.have(feed));
    let levels = levels(block, to.length(feed), |range| have.any(range)).unwrap();
    let proof = from.prove(feed, block, levels).unwrap().unwrap();
    let bytes = from.read(feed, block).unwrap().unwrap();
    to.insert(feed, &proof, &bytes).unwrap();
}
