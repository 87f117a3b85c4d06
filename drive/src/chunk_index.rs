//! Which chunks a content feed already holds: leaf hash → block, 12 bytes an entry.
//!
//! Derived from the feed's leaves, never stored. It keeps six bytes of each hash, so what it
//! answers are candidates: compare the whole leaf hash before trusting one.

use alloc::{vec, vec::Vec};

use datnode_feed::{BlockIndex, Hash, Node};

/// Chunks by their leaf hash, in an open table that is at most three quarters full.
#[derive(Clone, Default)]
pub struct ChunkIndex {
    slots: Vec<Slot>,
    count: usize,
}

/// Six bytes of a hash, and block + 1 in six: a feed has fewer than 2⁴⁷ blocks. Block + 1 = 0 marks an empty slot.
#[derive(Clone, Copy, Default)]
struct Slot {
    tag: [u8; 6],
    next: [u8; 6],
}

const _: () = assert!(size_of::<Slot>() == 12);

const TAG_BITS: u32 = 48;

impl Slot {
    fn new(tag: u64, block: BlockIndex) -> Self {
        let [tag, next] = [tag, block.0 + 1].map(|number| {
            let [a, b, c, d, e, f, 0, 0] = number.to_le_bytes() else {
                unreachable!("tags are cut to six bytes, and no feed has so many blocks")
            };
            [a, b, c, d, e, f]
        });
        Self { tag, next }
    }

    fn tag(self) -> u64 {
        number(self.tag)
    }

    fn block(self) -> Option<BlockIndex> {
        number(self.next).checked_sub(1).map(BlockIndex)
    }
}

fn number([a, b, c, d, e, f]: [u8; 6]) -> u64 {
    u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
}

impl ChunkIndex {
    /// Returns an empty index.
    pub const fn new() -> Self {
        Self { slots: Vec::new(), count: 0 }
    }

    /// Returns how many chunks are known.
    pub const fn count(&self) -> usize {
        self.count
    }

    /// Returns the blocks that may hold the chunk of this hash, usually none or one.
    pub fn get(&self, hash: &Hash) -> impl Iterator<Item = BlockIndex> + '_ {
        let tag = tag(hash);
        let mut slot = self.slot_of(tag);
        core::iter::from_fn(move || {
            loop {
                let found = self.slots.get(slot)?;
                let block = found.block()?;
                slot = self.after(slot);
                if found.tag() == tag {
                    return Some(block);
                }
            }
        })
    }

    /// Adds a chunk. One that is known under the same block is not added again.
    pub fn insert(&mut self, hash: &Hash, block: BlockIndex) {
        if (self.count + 1) * 4 > self.slots.len() * 3 {
            self.grow();
        }
        if self.get(hash).any(|known| known == block) {
            return;
        }
        self.place(Slot::new(tag(hash), block));
        self.count += 1;
    }

    /// Makes the table half as large again: of a million chunks that is 19 MB and not 25.
    fn grow(&mut self) {
        let larger = (self.slots.len() / 2 * 3).max(64);
        let old = core::mem::replace(&mut self.slots, vec![Slot::default(); larger]);
        for slot in old.into_iter().filter(|slot| slot.block().is_some()) {
            self.place(slot);
        }
    }

    fn place(&mut self, new: Slot) {
        let mut slot = self.slot_of(new.tag());
        while self.slots.get(slot).is_some_and(|slot| slot.block().is_some()) {
            slot = self.after(slot);
        }
        self.slots[slot] = new;
    }

    /// Returns where the search for a tag begins: as far through the table as the tag is through all of them.
    fn slot_of(&self, tag: u64) -> usize {
        let slots = u128::try_from(self.slots.len()).unwrap_or_default();
        usize::try_from((u128::from(tag) * slots) >> TAG_BITS).unwrap_or_default()
    }

    const fn after(&self, slot: usize) -> usize {
        if slot + 1 < self.slots.len() { slot + 1 } else { 0 }
    }
}

impl FromIterator<(BlockIndex, Node)> for ChunkIndex {
    fn from_iter<I: IntoIterator<Item = (BlockIndex, Node)>>(leaves: I) -> Self {
        let mut index = Self::new();
        index.extend(leaves);
        index
    }
}

impl Extend<(BlockIndex, Node)> for ChunkIndex {
    /// Of neighbouring blocks of one chunk the first is added: whoever finds it finds the others behind it.
    fn extend<I: IntoIterator<Item = (BlockIndex, Node)>>(&mut self, leaves: I) {
        let mut last = None;
        for (block, leaf) in leaves {
            if last != Some((block, leaf.hash)) {
                self.insert(&leaf.hash, block);
            }
            last = Some((BlockIndex(block.0 + 1), leaf.hash));
        }
    }
}

fn tag(hash: &Hash) -> u64 {
    let [a, b, c, d, e, f, ..] = hash.0;
    number([a, b, c, d, e, f])
}

#[cfg(test)]
mod tests {
    use datnode_feed::leaf;

    use super::*;

    #[test]
    fn every_inserted_chunk_is_a_candidate_and_others_are_not() {
        let leaves = (0..5_000u64).map(|n| (BlockIndex(n), leaf(&n.to_le_bytes())));
        let index: ChunkIndex = leaves.clone().collect();
        assert_eq!(index.count(), 5_000);
        assert!(index.slots.len() <= 2 * 5_000, "it is not half empty");
        for (block, node) in leaves {
            assert!(index.get(&node.hash).eq([block]));
        }
        for n in 5_000..10_000u64 {
            assert_eq!(index.get(&leaf(&n.to_le_bytes()).hash).count(), 0);
        }
    }

    #[test]
    fn of_a_chunk_that_follows_itself_the_first_is_enough() {
        let blocks = [0, 1, 2, 4, 5, 9].map(BlockIndex);
        let index: ChunkIndex = blocks.map(|block| (block, leaf(b"again"))).into_iter().collect();
        let mut found: Vec<u64> = index.get(&leaf(b"again").hash).map(|block| block.0).collect();
        found.sort_unstable();
        assert_eq!(found, [0, 4, 9]);
    }

    #[test]
    fn hashes_that_share_their_beginning_are_all_candidates() {
        let mut index = ChunkIndex::new();
        assert_eq!(index.get(&Hash([7; 32])).count(), 0);
        for n in 0..10 {
            let mut hash = Hash([7; 32]);
            hash.0[31] = u8::try_from(n).unwrap();
            index.insert(&hash, BlockIndex(n));
            index.insert(&hash, BlockIndex(n));
        }
        assert_eq!(index.get(&Hash([7; 32])).count(), 10);
    }
}
