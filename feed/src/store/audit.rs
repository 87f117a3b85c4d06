//! Finds what of a feed is not what was signed, and drops it.

use super::table::UNKNOWN;
use super::{Place, Store, StoreError};
use crate::aligned::Aligned;
use crate::hash::{leaf, parent};
use crate::limits::BLOCK_BYTES_MAX;
use crate::position::{BlockIndex, NodeIndex, peaks};
use crate::storage::{FeedSlot, FileId, Storage};

/// What an audit saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// How many blocks were checked.
    pub blocks: u64,
    /// How many bytes they have.
    pub bytes: u64,
    /// How many signatures were checked.
    pub signatures: u64,
    /// How many blocks are not what was signed.
    pub bad: u64,
}

impl core::ops::AddAssign for Checked {
    fn add_assign(&mut self, other: Self) {
        self.blocks += other.blocks;
        self.bytes += other.bytes;
        self.signatures += other.signatures;
        self.bad += other.bad;
    }
}

/// What it takes to check a block, in bytes that could be hashed meanwhile.
const CHECK_COST: u64 = 1024;

impl<S: Storage> Store<S> {
    /// Checks the head's signature and root, and each block that is here; `full` hashes the bytes and the path to the peak,
    /// otherwise only that a leaf and a place are recorded. Nothing is changed.
    ///
    /// # Errors
    /// What the storage says, or damage to head or peaks, which no block survives.
    pub fn check(
        &mut self,
        slot: FeedSlot,
        full: bool,
        on_bad: &mut dyn FnMut(BlockIndex),
    ) -> Result<Checked, StoreError> {
        let mut checked = self.check_head(slot)?;
        let (blocks, _) = self.check_blocks(slot, 0, full, u64::MAX, on_bad)?;
        checked += blocks;
        Ok(checked)
    }

    /// Checks the head's signature and root alone.
    ///
    /// # Errors
    /// Those of [`check`](Self::check).
    pub fn check_head(&mut self, slot: FeedSlot) -> Result<Checked, StoreError> {
        let Some(head) = self.head(slot).copied() else { return Ok(Checked::default()) };
        self.head_peaks(slot)?;
        if head.verify(&self.feed(slot).key).is_err() {
            return Err(StoreError::Damaged("head of a feed"));
        }
        Ok(Checked { signatures: 1, ..Checked::default() })
    }

    /// Checks the blocks that are here from `from` on, until they have so many bytes; returns where to go on, if that is not the
    /// end.
    ///
    /// # Errors
    /// Those of [`check`](Self::check).
    pub fn check_blocks(
        &mut self,
        slot: FeedSlot,
        mut from: u64,
        full: bool,
        bytes_max: u64,
        on_bad: &mut dyn FnMut(BlockIndex),
    ) -> Result<(Checked, Option<u64>), StoreError> {
        self.flush_data()?;
        let mut checked = Checked::default();
        while let Some(block) = self.have(slot).iter_ones(from..self.length(slot)).next() {
            if checked.bytes.saturating_add(checked.blocks * CHECK_COST) >= bytes_max {
                return Ok((checked, Some(block)));
            }
            from = block + 1;
            let block = BlockIndex(block);
            checked.blocks += 1;
            match self.check_block(slot, block, full)? {
                Some(bytes) => checked.bytes += bytes,
                None => {
                    checked.bad += 1;
                    on_bad(block);
                }
            }
        }
        Ok((checked, None))
    }

    /// Drops a block that is not what was signed, and the nodes between it and its peak that do not fit together, so that both
    /// can be taken from others again.
    ///
    /// # Errors
    /// What the storage says.
    pub fn discard(&mut self, slot: FeedSlot, block: BlockIndex) -> Result<(), StoreError> {
        self.forget(slot, block.0..block.0 + 1);
        let Some(top) = self.peak_above(slot, block) else { return Ok(()) };
        let mut path = alloc::vec![block.node()];
        while let Some(above) = path.last().filter(|last| **last != top).map(|last| last.parent()) {
            path.push(above);
        }
        // From the peak down: what does not make the node above it is not known, nor is anything below that on this path.
        for index in path.into_iter().rev().filter(|index| *index != top) {
            if !self.makes_parent(slot, index)? {
                let nodes = &mut self.feed_mut(slot).nodes;
                nodes.extend([(index, UNKNOWN), (index.sibling(), UNKNOWN)]);
            }
        }
        Ok(())
    }

    fn check_block(
        &self,
        slot: FeedSlot,
        block: BlockIndex,
        full: bool,
    ) -> Result<Option<u64>, StoreError> {
        let Some(node) = self.leaf(slot, block)? else { return Ok(None) };
        let len = usize::try_from(node.size).ok().filter(|&len| len <= BLOCK_BYTES_MAX);
        let Some(len) = len else { return Ok(None) };
        let place = match self.where_is(slot, block) {
            Ok(Some(place)) => place,
            Ok(None) | Err(StoreError::Damaged(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        if !full {
            return Ok(Some(node.size));
        }
        let mut bytes = Aligned::new(len);
        let read = match place {
            Place::Data { offset } => self.storage.read(FileId::Data, offset, &mut bytes),
            Place::Working { path, offset } => self.storage.read_working(&path, offset, &mut bytes),
        };
        let sound = read.is_ok() && leaf(&bytes) == node && self.reaches_peak(slot, block)?;
        Ok(sound.then_some(node.size))
    }

    /// Tells whether the stored nodes above a block hash up to its peak.
    fn reaches_peak(&self, slot: FeedSlot, block: BlockIndex) -> Result<bool, StoreError> {
        let (mut index, Some(top)) = (block.node(), self.peak_above(slot, block)) else {
            return Ok(false);
        };
        while index != top {
            if !self.makes_parent(slot, index)? {
                return Ok(false);
            }
            index = index.parent();
        }
        Ok(true)
    }

    fn peak_above(&self, slot: FeedSlot, block: BlockIndex) -> Option<NodeIndex> {
        peaks(self.length(slot)).find(|peak| peak.blocks().contains(&block.0))
    }

    /// Tells whether a node and its sibling are known and make their parent.
    fn makes_parent(&self, slot: FeedSlot, index: NodeIndex) -> Result<bool, StoreError> {
        let (node, sibling) = (self.node(slot, index)?, self.node(slot, index.sibling())?);
        let (Some(node), Some(sibling)) = (node, sibling) else { return Ok(false) };
        let made = if index.is_left() { parent(&node, &sibling) } else { parent(&sibling, &node) };
        Ok(self.node(slot, index.parent())? == Some(made))
    }
}
