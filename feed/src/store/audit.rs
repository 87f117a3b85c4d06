//! Checks a feed without changing it.

use super::{Store, StoreError};
use crate::hash::{leaf, parent, root};
use crate::limits::BLOCK_BYTES_MAX;
use crate::position::{BlockIndex, peaks};
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
        self.flush_data()?;
        let mut checked = Checked::default();
        let Some(head) = self.head(slot).copied() else { return Ok(checked) };
        let found = self
            .read_peaks(slot, head.head.length)?
            .ok_or(StoreError::Damaged("peaks of a feed"))?;
        let computed = root(found.iter().map(|(index, node)| (*index, node)));
        if computed != head.head.root || head.verify(&self.feed(slot).key).is_err() {
            return Err(StoreError::Damaged("head of a feed"));
        }
        checked.signatures = 1;
        let mut from = 0;
        while let Some(block) = self.have(slot).iter_ones(from..head.head.length).next() {
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
        Ok(checked)
    }

    fn check_block(
        &self,
        slot: FeedSlot,
        block: BlockIndex,
        full: bool,
    ) -> Result<Option<u64>, StoreError> {
        let Some(node) = self.leaf(slot, block)? else { return Ok(None) };
        if self.where_is(slot, block)?.is_none() {
            return Ok(None);
        }
        if !full {
            return Ok(Some(node.size));
        }
        let len = usize::try_from(node.size).ok().filter(|&len| len <= BLOCK_BYTES_MAX);
        let Some(mut bytes) = len.map(|len| alloc::vec![0; len]) else { return Ok(None) };
        let read = match self.where_is(slot, block)? {
            Some(super::Place::Data { offset }) => {
                self.storage.read(FileId::Data, offset, &mut bytes)
            }
            Some(super::Place::Working { path, offset }) => {
                self.storage.read_working(&path, offset, &mut bytes)
            }
            None => return Ok(None),
        };
        let sound = read.is_ok() && leaf(&bytes) == node && self.reaches_peak(slot, block)?;
        Ok(sound.then_some(node.size))
    }

    /// Tells whether the stored nodes above a block hash up to its peak.
    fn reaches_peak(&self, slot: FeedSlot, block: BlockIndex) -> Result<bool, StoreError> {
        let top = peaks(self.length(slot)).find(|peak| peak.blocks().contains(&block.0));
        let (mut index, Some(top)) = (block.node(), top) else { return Ok(false) };
        while index != top {
            let (node, sibling) = (self.node(slot, index)?, self.node(slot, index.sibling())?);
            let above = self.node(slot, index.parent())?;
            let (Some(node), Some(sibling)) = (node, sibling) else { return Ok(false) };
            let made =
                if index.is_left() { parent(&node, &sibling) } else { parent(&sibling, &node) };
            if above != Some(made) {
                return Ok(false);
            }
            index = index.parent();
        }
        Ok(true)
    }
}
