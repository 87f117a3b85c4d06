//! Makes a file's entry while its chunks go by.

use alloc::vec::Vec;
use core::ops::Range;

use datnode_feed::{Hash, Node};

use crate::{
    entry::{ChunkList, Entry, Extent, Kind, MODE_MASK, Mtime},
    error::Location,
    runs,
};

/// Collects the chunks of one file, in order.
#[derive(Clone, Default)]
pub struct FileBuilder {
    chunks: ChunkList,
    size: u64,
    extents: Vec<Extent>,
}

impl FileBuilder {
    /// Returns a builder of an empty file.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next chunk, which is the block at `at` and begins at `first_byte` of that feed.
    ///
    /// A chunk that continues the last extent joins it.
    pub fn push(&mut self, chunk: &Node, at: Location, first_byte: u64) {
        self.chunks.push(&chunk.hash);
        self.size += chunk.size;
        let next = Extent {
            slot: at.slot,
            first_block: at.block.0,
            count: 1,
            first_byte,
            bytes: chunk.size,
        };
        match self.extents.last_mut() {
            Some(last) if last.continues_with(&next) => {
                last.count += 1;
                last.bytes += next.bytes;
            }
            _ => self.extents.push(next),
        }
    }

    /// Returns how many bytes went by.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Returns where the chunks are that went by.
    pub fn extents(&self) -> &[Extent] {
        &self.extents
    }

    /// Takes the last extent to be at another place, where the same chunks are; nothing if there is none.
    pub fn move_last(&mut self, to: Location, first_byte: u64) {
        if let Some(last) = self.extents.last_mut() {
            (last.slot, last.first_block, last.first_byte) = (to.slot, to.block.0, first_byte);
        }
    }

    /// Returns how long the runs of a file of `size` bytes are at least, on average, in a feed that ends at `end` in blocks and bytes:
    /// so long that they are read fast, and that the extents fit into an entry. SPEC 8.5-6
    pub fn run_bytes(&self, size: u64, end: (u64, u64)) -> u64 {
        runs::run_bytes(size, self.slot(), end)
    }

    /// Returns which stretches of extents are to be stored anew, each as one run, so that the runs are long enough; mostly none. `end` is
    /// where the feed ends, in blocks and bytes. SPEC 8.5-6
    pub fn short_stretches(&self, end: (u64, u64)) -> Vec<Range<usize>> {
        let blocks: u64 = self.extents.iter().map(|extent| extent.count).sum();
        // What is stored anew comes behind the end.
        let end = (end.0 + blocks, end.1 + self.size);
        runs::short_stretches(&self.extents, runs::extents_max(self.size, self.slot(), end))
    }

    /// Takes each of these stretches, which come in order, to be one run that begins at a block and byte of its feed.
    pub fn join(&mut self, stretches: &[(Range<usize>, Location, u64)]) {
        for (stretch, at, first_byte) in stretches.iter().rev() {
            let run = &self.extents[stretch.clone()];
            let joined = Extent {
                slot: at.slot,
                first_block: at.block.0,
                count: run.iter().map(|extent| extent.count).sum(),
                first_byte: *first_byte,
                bytes: run.iter().map(|extent| extent.bytes).sum(),
            };
            self.extents.splice(stretch.clone(), [joined]);
        }
    }

    fn slot(&self) -> u16 {
        self.extents.iter().map(|extent| extent.slot).max().unwrap_or_default()
    }

    /// Returns the file's entry. `content` is the BLAKE3 of all its bytes.
    pub fn finish(self, mode: u16, mtime: Mtime, content: Hash) -> Entry {
        Entry {
            kind: Kind::File,
            size: self.size,
            mode: mode & MODE_MASK,
            mtime,
            target: Vec::new(),
            chunks: self.chunks.finish(),
            content,
            extents: self.extents,
            change: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use datnode_feed::{BlockIndex, leaf};

    use super::*;

    #[test]
    fn neighbours_become_one_extent() {
        let mut file = FileBuilder::new();
        let at = |block| Location { slot: 1, block: BlockIndex(block) };
        file.push(&leaf(&[1; 10]), at(4), 100);
        file.push(&leaf(&[2; 10]), at(5), 110);
        file.push(&leaf(&[1; 10]), at(4), 100);
        file.push(&leaf(&[3; 5]), at(9), 900);
        let entry = file.finish(0o100_644, Mtime::default(), Hash([0; 32]));
        assert_eq!((entry.size, entry.mode, entry.extents.len()), (35, 0o644, 3));
        assert_eq!(entry.extents[0].count, 2);
        assert!(entry.is_valid());
    }

    #[test]
    fn stretches_become_one_extent_and_the_rest_stays() {
        let mut file = FileBuilder::new();
        let at = |block| Location { slot: 1, block: BlockIndex(block) };
        for block in 0..8 {
            file.push(&leaf(&[1; 10]), at(block * 2), block * 20);
        }
        file.join(&[(0..3, at(100), 1_000), (5..7, at(103), 1_030)]);
        file.move_last(at(50), 500);
        let entry = file.finish(0o644, Mtime::default(), Hash([0; 32]));
        let runs = entry.extents.iter().map(|run| (run.first_block, run.count, run.first_byte));
        let runs: Vec<_> = runs.collect();
        assert_eq!(runs, [(100, 3, 1_000), (6, 1, 60), (8, 1, 80), (103, 2, 1_030), (50, 1, 500)]);
        assert!(entry.is_valid());
    }

    #[test]
    fn the_chunk_list_does_not_depend_on_where_the_chunks_are() {
        let build = |blocks: [u64; 2]| {
            let mut file = FileBuilder::new();
            for (byte, block) in [1u8, 2].into_iter().zip(blocks) {
                file.push(&leaf(&[byte]), Location { slot: 1, block: BlockIndex(block) }, block);
            }
            file.finish(0o644, Mtime::default(), Hash([0; 32]))
        };
        let (near, far) = (build([1, 2]), build([9, 3]));
        assert_eq!(near.identity(), far.identity());
        assert_ne!(near.location(), far.location());
    }
}
