//! Which blocks of a feed a reader wants next: what its store knows of where bytes are.
//!
//! Elsewhere: the reader (`cursor`).

use std::ops::Range;

use datnode_drive::{Extent, FeedRange};
use datnode_feed::{FeedSlot, Seek, StoreError};
use datnode_proto::wire::Runs;

use super::worker::{AnyStore, Worker};

/// How much is asked for by its bytes at most, as long as it is not known in which blocks they are: one peer sends all of it.
const BY_BYTES_MAX: u64 = 1 << 20;

/// What a reader asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Bytes, where it is not known which blocks they are in.
    pub(super) bytes: Option<Range<u64>>,
    pub(super) blocks: Blocks,
    /// Blocks of these that are not here, whatever was told before.
    pub(super) lost: Runs,
    /// Whether that is all that was to be asked for; else more is known when it is here.
    pub(super) is_all: bool,
}

/// Blocks in the order in which they are read, with the size of most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Blocks {
    runs: Runs,
    each: u64,
}

impl Blocks {
    /// Returns those that hold the first of so many bytes, one at least, and the rest.
    pub(super) fn split(self, bytes: u64) -> (Runs, Runs) {
        let mut left = bytes.div_ceil(self.each.max(1)).max(1);
        let (mut near, mut far) = (Runs::new(), Runs::new());
        for run in self.runs {
            let cut = run.end.min(run.start.saturating_add(left));
            left -= cut - run.start;
            near.extend([run.start..cut].into_iter().filter(|run| !run.is_empty()));
            far.extend([cut..run.end].into_iter().filter(|run| !run.is_empty()));
        }
        (near, far)
    }
}

impl Plan {
    /// Plans for parts of a feed in the order in which they are read; `is_last` says that nothing behind them will be.
    pub(super) fn of(
        store: &AnyStore,
        slot: FeedSlot,
        parts: &[FeedRange],
        is_last: bool,
    ) -> Result<Self, StoreError> {
        let mut plan = Self { is_all: true, ..Self::default() };
        for part in parts {
            let is_first = plan.blocks.runs.is_empty();
            match blocks_of(store, slot, part)? {
                Some(blocks) => plan.blocks.runs.push(blocks),
                None => {
                    plan.is_all = false;
                    plan.guess(store, slot, part, is_first, is_last)?;
                    break;
                }
            }
            if is_first {
                plan.blocks.each = each(&part.extent);
            }
        }
        let have = store.have(slot);
        plan.lost = plan.blocks.runs.iter().flat_map(|run| have.gaps_in(run.clone())).collect();
        Ok(plan)
    }

    /// Plans for a part of which it is not known in which blocks it ends, and perhaps not in which it begins.
    fn guess(
        &mut self,
        store: &AnyStore,
        slot: FeedSlot,
        part: &FeedRange,
        is_first: bool,
        is_last: bool,
    ) -> Result<(), StoreError> {
        let (bytes, extent) = (&part.bytes, &part.extent);
        let len = bytes.end - bytes.start;
        let begin = block_of(store, slot, extent, bytes.start)?;
        // What is behind the end must not be fetched, so its blocks are not guessed.
        let by_bytes = begin.is_none() || is_last && len <= BY_BYTES_MAX;
        match begin.filter(|_| !by_bytes) {
            Some(begin) => {
                let part = if is_last { len - len / 4 } else { len };
                let count = (part / each(extent)).max(1);
                let end = extent.blocks().end;
                self.blocks.runs.push(begin..end.min(begin.saturating_add(count)));
                self.blocks.each = each(extent);
                self.is_all = !is_last;
            }
            None if is_first => {
                self.bytes = Some(bytes.start..bytes.end.min(bytes.start + BY_BYTES_MAX));
                self.is_all = is_last && len <= BY_BYTES_MAX;
            }
            None => {}
        }
        Ok(())
    }
}

/// Returns how many bytes most blocks of an extent have.
fn each(extent: &Extent) -> u64 {
    extent.bytes.checked_div(extent.count).unwrap_or_default().max(1)
}

/// Returns the blocks that hold a part, if that is known.
fn blocks_of(
    store: &AnyStore,
    slot: FeedSlot,
    part: &FeedRange,
) -> Result<Option<Range<u64>>, StoreError> {
    let (bytes, extent) = (&part.bytes, &part.extent);
    let Some(first) = block_of(store, slot, extent, bytes.start)? else { return Ok(None) };
    if bytes.end == extent.first_byte.saturating_add(extent.bytes) {
        return Ok(Some(first..extent.blocks().end));
    }
    let last = block_of(store, slot, extent, bytes.end.saturating_sub(1))?;
    Ok(last.map(|last| first..last + 1))
}

/// Returns the block of an extent that holds a byte of the feed, if that is known.
fn block_of(
    store: &AnyStore,
    slot: FeedSlot,
    extent: &Extent,
    byte: u64,
) -> Result<Option<u64>, StoreError> {
    if byte == extent.first_byte {
        return Ok(Some(extent.first_block));
    }
    Ok(match store.seek(slot, byte)? {
        Seek::Block { block, .. } => Some(block.0),
        _ => None,
    })
}

/// A block that is here.
pub(super) struct Found {
    pub(super) block: u64,
    /// Where in it the byte is that was looked for.
    offset: u64,
    bytes: Vec<u8>,
}

impl Found {
    /// Returns what of the block belongs to a part whose first byte is at `at` of the file, and where in the file that begins.
    pub(super) fn of(mut self, part: &FeedRange, at: u64) -> (u64, Vec<u8>) {
        // The block may hold what is no part of the extent: before it, or behind it.
        let inside = (part.bytes.start - part.extent.first_byte).min(self.offset);
        let before = usize::try_from(self.offset - inside).unwrap_or(usize::MAX);
        self.bytes.drain(..before.min(self.bytes.len()));
        let len = inside.saturating_add(part.bytes.end - part.bytes.start);
        self.bytes.truncate(usize::try_from(len).unwrap_or(usize::MAX));
        (at - inside, self.bytes)
    }
}

impl Worker {
    /// Returns the block that holds a byte of a feed, if it is here.
    pub(super) fn block_at(
        &mut self,
        slot: FeedSlot,
        byte: u64,
    ) -> Result<Option<Found>, StoreError> {
        let Seek::Block { block, offset } = self.store.seek(slot, byte)? else { return Ok(None) };
        if !self.store.have(slot).contains(block.0) {
            return Ok(None);
        }
        let bytes = self.store.read(slot, block)?;
        Ok(bytes.map(|bytes| Found { block: block.0, offset, bytes }))
    }

    /// Forgets blocks if the store is in memory; what is in a folder is its owner's.
    pub(super) fn forget_if_fleeting(&mut self, slot: FeedSlot, blocks: &[u64]) {
        if !self.store.storage().is_lasting() {
            blocks.iter().for_each(|block| self.store.forget(slot, *block..*block + 1));
        }
    }

    /// Returns where the first of some bytes of a feed are that are not here.
    pub(super) fn first_missing(
        &mut self,
        slot: FeedSlot,
        range: Range<u64>,
    ) -> Result<Option<u64>, StoreError> {
        let mut at = range.start;
        while at < range.end {
            let Seek::Block { block, offset } = self.store.seek(slot, at)? else {
                return Ok(Some(at));
            };
            match self.store.leaf(slot, block)? {
                Some(leaf) if self.store.have(slot).contains(block.0) => at += leaf.size - offset,
                _ => return Ok(Some(at)),
            }
        }
        Ok(None)
    }
}
