//! Makes a file's entry while its chunks go by.

use alloc::vec::Vec;

use datnode_feed::{Hash, Node};

use crate::{
    entry::{ChunkList, Entry, Extent, Kind, MODE_MASK, Mtime},
    error::Location,
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
