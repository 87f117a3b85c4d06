//! Frees the bytes of blocks that are dropped; their proofs stay. SPEC 5.9
//!
//! What is free is noted nowhere, it is what is left of `data` when all that the tables point to is taken away. So whatever was
//! lost track of before, by a crash or by a block that moved into a working file, is freed along with it.
//! Elsewhere: which blocks nobody needs any more (`datnode::clearing`).

use alloc::vec::Vec;
use core::ops::Range;

use super::table::{Cell, Span};
use super::{Store, StoreError};
use crate::bitfield::Bitfield;
use crate::limits::{BLOCK_BYTES_MAX, CLEARED_AT_ONCE};
use crate::position::BlockIndex;
use crate::storage::{FeedSlot, FileId, Storage};

/// What came of clearing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleared {
    /// How many blocks were dropped.
    pub blocks: u64,
    /// How many bytes they had.
    pub bytes: u64,
    /// How many bytes fewer `data` takes.
    pub freed: u64,
}

impl<S: Storage> Store<S> {
    /// Returns the blocks of a feed whose bytes are in the store itself, and not in a working file.
    ///
    /// # Errors
    /// What the storage says, or damage.
    pub fn in_data(&self, slot: FeedSlot) -> Result<Bitfield, StoreError> {
        let mut blocks = Bitfield::new();
        for block in self.have(slot).iter_ones(0..self.length(slot)) {
            if matches!(self.cell(slot, BlockIndex(block))?, Cell::Data { .. }) {
                blocks.set(block);
            }
        }
        Ok(blocks)
    }

    /// Returns how many bytes the blocks have of which the leaf is known.
    ///
    /// # Errors
    /// What the storage says.
    pub fn bytes_of(&self, slot: FeedSlot, blocks: Range<u64>) -> Result<u64, StoreError> {
        let mut bytes = 0_u64;
        for block in blocks {
            let leaf = self.leaf(slot, BlockIndex(block))?;
            bytes = bytes.saturating_add(leaf.map_or(0, |leaf| leaf.size));
        }
        Ok(bytes)
    }

    /// Returns how many bytes all files of the store take.
    ///
    /// # Errors
    /// What the storage says.
    pub fn allocated(&self) -> Result<u64, StoreError> {
        let tables = self.feeds().flat_map(|(slot, _)| [FileId::Tree(slot), FileId::Blocks(slot)]);
        let files = [FileId::Meta, FileId::Journal, FileId::Data, FileId::Names];
        let mut bytes = 0_u64;
        for file in files.into_iter().chain(tables) {
            bytes = bytes.saturating_add(self.storage.allocated(file)?);
        }
        Ok(bytes)
    }

    /// Drops blocks, and frees all bytes of `data` that no block has. Whatever else is staged is committed.
    ///
    /// # Errors
    /// What the storage says, or damage that hides which bytes are needed. What was dropped by then stays dropped, and what was not
    /// freed yet the next call frees.
    pub fn clear(&mut self, slot: FeedSlot, blocks: &Bitfield) -> Result<Cleared, StoreError> {
        let mut cleared = Cleared::default();
        for first in (0..blocks.len()).step_by(CLEARED_AT_ONCE as usize) {
            let runs = blocks.runs_in(first..first + CLEARED_AT_ONCE);
            let held: Vec<_> = runs.flat_map(|run| self.have(slot).runs_in(run)).collect();
            for run in held {
                cleared.blocks += run.end - run.start;
                cleared.bytes = cleared.bytes.saturating_add(self.bytes_of(slot, run.clone())?);
                self.forget(slot, run);
            }
            // SPEC 5.9: what is claimed after a crash must have its bytes.
            self.commit()?;
        }
        cleared.freed = self.sweep()?;
        Ok(cleared)
    }

    /// Frees what of `data` nothing points to; returns how many bytes that were.
    fn sweep(&mut self) -> Result<u64, StoreError> {
        self.writable()?;
        self.flush_data()?;
        let (before, end) =
            (self.storage.allocated(FileId::Data)?, self.storage.len(FileId::Data)?);
        let mut at = 0;
        for live in self.live()?.into_iter().chain([end..end]) {
            if at < live.start.min(end) {
                self.storage.discard(FileId::Data, at, live.start.min(end) - at)?;
            }
            at = at.max(live.end);
        }
        Ok(before.saturating_sub(self.storage.allocated(FileId::Data)?))
    }

    /// Returns the parts of `data` that something points to, ascending. They may overlap.
    fn live(&self) -> Result<Vec<Range<u64>>, StoreError> {
        let mut live: Vec<Range<u64>> = Vec::new();
        let mut add = |part: Range<u64>| match live.last_mut() {
            // Blocks are mostly one behind the other.
            Some(last) if last.end == part.start => last.end = part.end,
            _ => live.push(part),
        };
        for (slot, feed) in (0..).map(FeedSlot).zip(&self.feeds) {
            if let Some((Span { offset, len }, _)) = feed.accusation {
                add(offset..offset.saturating_add(len));
            }
            // What was appended and is not signed counts, and is not claimed yet.
            let length = self.length(slot);
            let held = feed.have.iter_ones(0..length).chain(length..feed.appended.length);
            for block in held.map(BlockIndex) {
                let Cell::Data { offset } = self.cell(slot, block)? else { continue };
                let leaf = self.leaf(slot, block)?;
                let len = leaf.map_or(BLOCK_BYTES_MAX as u64, |leaf| leaf.size);
                add(offset..offset.saturating_add(len));
            }
        }
        live.sort_unstable_by_key(|part| part.start);
        Ok(live)
    }
}
