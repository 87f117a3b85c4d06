//! Takes one file in: chunks that the store holds are found again, the others are appended.

use std::collections::BTreeSet;

use datnode_drive::{ChunkIndex, Entry, FileBuilder, Location};
use datnode_feed::{BlockIndex, FeedSlot, InPlace, Node, Place, Storage, Store};

use super::Keep;
use super::ahead::{Ahead, Part};
use crate::error::Error;

/// Knows the chunks that are stored.
pub(super) struct Taker {
    keep: Keep,
    pub(super) chunks: ChunkIndex,
    /// Where each block begins that was appended here, from block `first_new` on; the store tells it of signed ones.
    offsets: Vec<u64>,
    first_new: u64,
    /// Blocks that were put in place in a file which changed meanwhile: their bytes may be nowhere.
    pub(super) void: BTreeSet<u64>,
    /// Blocks that were put in place in the file that is being taken.
    placed: Vec<u64>,
    pub(super) files: u64,
    pub(super) bytes_new: u64,
    pub(super) bytes_known: u64,
}

/// What came of a file.
pub(super) enum Taken {
    Entry(Entry),
    /// It changed each time while it was read.
    Unsteady,
    Unreadable(String),
}

impl Taker {
    /// Begins with the chunks of the blocks below `first_new`, which is where the feed ends.
    pub(super) fn new(keep: Keep, chunks: ChunkIndex, first_new: u64) -> Self {
        let (offsets, void, placed) = (Vec::new(), BTreeSet::new(), Vec::new());
        let (files, bytes_new, bytes_known) = (0, 0, 0);
        Self { keep, chunks, offsets, first_new, void, placed, files, bytes_new, bytes_known }
    }

    /// Takes the next file that was read ahead, which is at `path`; its new chunks are appended to the content feed. `each` is
    /// called with each chunk, and may end it.
    pub(super) fn take<S: Storage>(
        &mut self,
        store: &mut Store<S>,
        content: FeedSlot,
        path: &[u8],
        ahead: &mut Ahead,
        mut each: impl FnMut(&mut Store<S>, &Self) -> Result<(), Error>,
    ) -> Result<Taken, Error> {
        self.files += 1;
        let mut builder = FileBuilder::new();
        loop {
            let part = ahead.next();
            match part {
                Part::Chunk(..) => {}
                Part::Whole(_) => self.placed.clear(),
                Part::Again | Part::Unsteady | Part::Unreadable(_) => {
                    self.void.extend(self.placed.drain(..));
                }
            }
            match part {
                Part::Chunk(bytes, node) => {
                    let at = InPlace { path, offset: builder.size() };
                    let block = self.chunk(store, content, bytes, node, at)?;
                    let first_byte = self.first_byte(store, content, block)?;
                    builder.push(&node, Location { slot: 1, block }, first_byte);
                    each(store, self)?;
                }
                Part::Again => builder = FileBuilder::new(),
                Part::Whole(whole) => {
                    let entry = builder.finish(whole.mode, whole.mtime, whole.content);
                    return Ok(Taken::Entry(entry));
                }
                Part::Unsteady => return Ok(Taken::Unsteady),
                Part::Unreadable(why) => return Ok(Taken::Unreadable(why)),
            }
        }
    }

    /// Finds a chunk in the store or appends it; `at` is where it is in its file.
    fn chunk<S: Storage>(
        &mut self,
        store: &mut Store<S>,
        content: FeedSlot,
        bytes: &[u8],
        node: Node,
        at: InPlace<'_>,
    ) -> Result<BlockIndex, Error> {
        let mut known = None;
        for block in self.chunks.get(&node.hash) {
            if store.leaf(content, block).map_err(Error::store)? == Some(node) {
                known = Some(block);
                break;
            }
        }
        if let Some(block) = known {
            self.bytes_known += node.size;
            self.settle(store, content, block, bytes, at)?;
            return Ok(block);
        }
        let first_byte = store.appended(content).1;
        let block = match self.keep {
            Keep::History => store.append_hashed(content, bytes, node),
            Keep::InPlace => store.append_in_place(content, node, at),
        };
        let block = block.map_err(Error::store)?;
        if self.keep == Keep::InPlace {
            self.placed.push(block.0);
        }
        self.offsets.push(first_byte);
        self.chunks.insert(&node.hash, block);
        self.bytes_new += node.size;
        Ok(block)
    }

    /// Sees to it that a known block is where it stays: in the store, or in a file that is as the version has it.
    fn settle<S: Storage>(
        &mut self,
        store: &mut Store<S>,
        content: FeedSlot,
        block: BlockIndex,
        bytes: &[u8],
        at: InPlace<'_>,
    ) -> Result<(), Error> {
        if block.0 >= self.first_new && !self.void.contains(&block.0) {
            // It was put there just now.
            return Ok(());
        }
        let settled = match (store.where_is(content, block).map_err(Error::store)?, self.keep) {
            (Some(Place::Data { .. }), _) => return Ok(()),
            // Where it was, it may not be any more.
            (_, Keep::InPlace) => {
                self.void.remove(&block.0);
                self.placed.push(block.0);
                store.place(content, block, at)
            }
            (_, Keep::History) => store.keep(content, block, bytes),
        };
        settled.map_err(Error::store)
    }

    fn first_byte<S: Storage>(
        &self,
        store: &Store<S>,
        content: FeedSlot,
        block: BlockIndex,
    ) -> Result<u64, Error> {
        let new = block.0.checked_sub(self.first_new).and_then(|new| usize::try_from(new).ok());
        if let Some(offset) = new.and_then(|new| self.offsets.get(new)) {
            return Ok(*offset);
        }
        let known = store.byte_offset(content, block).map_err(Error::store)?;
        known.ok_or_else(|| Error::verify("the sizes of a writer's own blocks are not all here"))
    }
}
