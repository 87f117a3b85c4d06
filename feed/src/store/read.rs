//! Reading blocks, nodes and proofs.

use alloc::vec;
use alloc::vec::Vec;
use core::iter;

use super::table::{Cell, NODE_LEN, PLACE_LEN, UNKNOWN, decode_node};
use super::{Store, StoreError};
use crate::hash::{Node, leaf, parent, root};
use crate::limits::{BLOCK_BYTES_MAX, TABLE_PIECE_BYTES};
use crate::position::{BlockIndex, NodeIndex, peaks};
use crate::proof::{BlockProof, LeavesProof, UpgradeProof, peak_height, upgrade_nodes};
use crate::storage::{FeedSlot, FileId, Storage};

/// Where a block's bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the store's own data.
    Data {
        /// Where they begin.
        offset: u64,
    },
    /// In a working file.
    Working {
        /// The file.
        path: Vec<u8>,
        /// Where they begin.
        offset: u64,
    },
}

/// Where a byte of a feed is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seek {
    /// In this block, so far behind its start. The end of the feed is at the start of the block after the last.
    Block {
        /// The block.
        block: BlockIndex,
        /// The distance from its start, in bytes.
        offset: u64,
    },
    /// Some sizes on the way are not known here.
    Unknown,
    /// Behind the end of the feed.
    Beyond,
}

/// Leaves of blocks that are here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldLeaves {
    /// The blocks with their leaves, in order.
    pub leaves: Vec<(BlockIndex, Node)>,
    /// Where to go on, if there is more.
    pub next: Option<u64>,
}

impl<S: Storage> Store<S> {
    /// Returns a node of the tree, if it is known.
    ///
    /// # Errors
    /// What the storage says.
    pub fn node(&self, slot: FeedSlot, index: NodeIndex) -> Result<Option<Node>, StoreError> {
        let feed = self.feed(slot);
        if index.blocks().end > feed.appended.length.max(self.length(slot)) {
            return Ok(None);
        }
        if let Some(node) = feed.nodes.get(&index) {
            return Ok((*node != UNKNOWN).then_some(*node));
        }
        let file = FileId::Tree(slot);
        let Some(offset) = index.0.checked_mul(NODE_LEN) else { return Ok(None) };
        if offset
            .checked_add(NODE_LEN)
            .is_none_or(|end| self.storage.len(file).map_or(true, |len| end > len))
        {
            return Ok(None);
        }
        let mut bytes = [0; NODE_LEN as usize];
        self.storage.read(file, offset, &mut bytes)?;
        Ok(decode_node(&bytes))
    }

    /// Returns the leaf of a block, if it is known.
    ///
    /// # Errors
    /// What the storage says.
    pub fn leaf(&self, slot: FeedSlot, block: BlockIndex) -> Result<Option<Node>, StoreError> {
        self.node(slot, block.node())
    }

    /// Returns the leaves of all blocks that are here, a few thousand at a time, from block `from` on.
    ///
    /// # Errors
    /// What the storage says.
    pub fn held_leaves(&self, slot: FeedSlot, from: u64) -> Result<HeldLeaves, StoreError> {
        // How long a feed is said to be is no matter: what is here ends somewhere, and may begin far behind.
        let last = self.have(slot).len().min(self.length(slot));
        let from = self.have(slot).iter_ones(from.min(last)..last).next().unwrap_or(last);
        // Leaves are every second node.
        let count = TABLE_PIECE_BYTES as u64 / NODE_LEN / 2;
        let end = from.saturating_add(count).min(last);
        let first = BlockIndex(from).node();
        let (offset, len) = (first.0 * NODE_LEN, end.saturating_sub(from) * 2 * NODE_LEN);
        let stored = self.storage.len(FileId::Tree(slot))?.saturating_sub(offset).min(len);
        let mut bytes = vec![0; usize::try_from(stored).expect("a piece is small")];
        if !bytes.is_empty() {
            self.storage.read(FileId::Tree(slot), offset, &mut bytes)?;
        }
        let staged = &self.feed(slot).nodes;
        let leaf = |block: u64| {
            let index = BlockIndex(block).node();
            let stored = || {
                let at = usize::try_from((index.0 - first.0) * NODE_LEN).ok()?;
                decode_node(bytes.get(at..)?.first_chunk()?)
            };
            let node = staged.get(&index).copied().or_else(stored);
            Some((BlockIndex(block), node.filter(|node| *node != UNKNOWN)?))
        };
        let leaves = self.have(slot).iter_ones(from..end).filter_map(leaf).collect();
        Ok(HeldLeaves { leaves, next: (end < last).then_some(end) })
    }

    pub(super) fn cell(&self, slot: FeedSlot, block: BlockIndex) -> Result<Cell, StoreError> {
        if let Some(cell) = self.feed(slot).places.get(&block.0) {
            return Ok(*cell);
        }
        let file = FileId::Blocks(slot);
        let offset = block.0 * PLACE_LEN;
        if self.storage.len(file)? < offset + PLACE_LEN {
            return Ok(Cell::Absent);
        }
        let mut bytes = [0; PLACE_LEN as usize];
        self.storage.read(file, offset, &mut bytes)?;
        Cell::decode(&bytes).map_err(|_| StoreError::Damaged("place of a block"))
    }

    /// Returns where a block's bytes are, if they are here.
    ///
    /// # Errors
    /// What the storage says.
    pub fn where_is(&self, slot: FeedSlot, block: BlockIndex) -> Result<Option<Place>, StoreError> {
        if !self.have(slot).contains(block.0) {
            return Ok(None);
        }
        Ok(match self.cell(slot, block)? {
            Cell::Absent => None,
            Cell::Data { offset } => Some(Place::Data { offset }),
            Cell::Working { name, offset } => {
                Some(Place::Working { path: self.path(name)?, offset })
            }
        })
    }

    /// Returns the bytes of a block, if they are here and still what was signed.
    ///
    /// The bytes are hashed each time. What does not match any more is dropped from what is here, and nothing is returned.
    ///
    /// # Errors
    /// What the storage says of the store's own files; a working file that cannot be read counts as changed.
    pub fn read(
        &mut self,
        slot: FeedSlot,
        block: BlockIndex,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        self.read_into(slot, block, |len| vec![0; len])
    }

    /// As [`read`](Self::read), into the buffer of so many bytes that `room` makes.
    ///
    /// # Errors
    /// As there.
    pub fn read_into<B: AsRef<[u8]> + AsMut<[u8]>>(
        &mut self,
        slot: FeedSlot,
        block: BlockIndex,
        room: impl FnOnce(usize) -> B,
    ) -> Result<Option<B>, StoreError> {
        self.flush_data()?;
        let found = self.peek(slot, block, room)?;
        if found.is_none() {
            self.forget(slot, block.0..block.0 + 1);
        }
        Ok(found)
    }

    /// As [`read_into`](Self::read_into), but changes nothing. Data still on its way to the storage is not seen.
    fn peek<B: AsRef<[u8]> + AsMut<[u8]>>(
        &self,
        slot: FeedSlot,
        block: BlockIndex,
        room: impl FnOnce(usize) -> B,
    ) -> Result<Option<B>, StoreError> {
        let Some(place) = self.where_is(slot, block)? else { return Ok(None) };
        let node = self.leaf(slot, block)?.ok_or(StoreError::Damaged("leaf of a block"))?;
        let len = usize::try_from(node.size).ok().filter(|&len| len <= BLOCK_BYTES_MAX);
        let mut buffer = room(len.ok_or(StoreError::Damaged("size of a block"))?);
        let bytes = buffer.as_mut();
        match place {
            // Nothing to read, wherever that would be.
            _ if bytes.is_empty() => {}
            Place::Data { offset } => {
                let end = offset.saturating_add(bytes.len() as u64);
                if end > self.storage.len(FileId::Data)? {
                    return Ok(None);
                }
                self.storage.read(FileId::Data, offset, bytes)?;
            }
            Place::Working { path, offset } => {
                if self.storage.read_working(&path, offset, bytes).is_err() {
                    return Ok(None);
                }
            }
        }
        Ok((leaf(buffer.as_ref()) == node).then_some(buffer))
    }

    /// Returns the proof of a block with so many siblings, if all nodes are known.
    ///
    /// # Errors
    /// What the storage says.
    pub fn prove(
        &self,
        slot: FeedSlot,
        block: BlockIndex,
        levels: u32,
    ) -> Result<Option<BlockProof>, StoreError> {
        if peak_height(block, self.length(slot)).is_none_or(|height| levels > height) {
            return Ok(None);
        }
        let Some(leaf) = self.leaf(slot, block)? else { return Ok(None) };
        let Some(siblings) = self.siblings(slot, block.node(), levels)? else { return Ok(None) };
        let proof = BlockProof { block, leaf, siblings };
        let holds = self.holds(slot, proof.climb())?;
        Ok(holds.then_some(proof))
    }

    /// Returns the leaves of all blocks below a node, with so many siblings on the way up, if all of these are known.
    ///
    /// # Errors
    /// What the storage says.
    pub fn prove_leaves(
        &self,
        slot: FeedSlot,
        top: NodeIndex,
        levels: u32,
    ) -> Result<Option<LeavesProof>, StoreError> {
        let height = peak_height(BlockIndex(top.blocks().start), self.length(slot));
        if height.is_none_or(|height| levels + top.height() > height) {
            return Ok(None);
        }
        let leaves = top.blocks().map(|block| self.leaf(slot, BlockIndex(block)));
        let leaves: Option<Vec<Node>> = leaves.collect::<Result<_, _>>()?;
        let siblings = self.siblings(slot, top, levels)?;
        let (Some(leaves), Some(siblings)) = (leaves, siblings) else { return Ok(None) };
        let proof = LeavesProof { top, leaves, siblings };
        let holds = self.holds(slot, proof.climb())?;
        Ok(holds.then_some(proof))
    }

    /// Returns so many siblings on the way up from a node, if they are known.
    fn siblings(
        &self,
        slot: FeedSlot,
        from: NodeIndex,
        levels: u32,
    ) -> Result<Option<Vec<Node>>, StoreError> {
        let above = iter::successors(Some(from), |index| Some(index.parent()));
        let siblings = above.take(levels as usize).map(|index| self.node(slot, index.sibling()));
        siblings.collect()
    }

    /// Tells whether the last of the nodes that a proof of ours claims is what we know: a table that rotted must not make us send
    /// what others would take for a lie.
    fn holds(
        &self,
        slot: FeedSlot,
        nodes: Option<Vec<(NodeIndex, Node)>>,
    ) -> Result<bool, StoreError> {
        let Some((index, top)) = nodes.and_then(|nodes| nodes.last().copied()) else {
            return Ok(false);
        };
        Ok(self.node(slot, index)? == Some(top))
    }

    /// Returns the proof that leads from a length to our head, if all nodes are known.
    ///
    /// # Errors
    /// What the storage says.
    pub fn prove_upgrade(
        &self,
        slot: FeedSlot,
        from: u64,
    ) -> Result<Option<UpgradeProof>, StoreError> {
        let Some(head) = self.head(slot).copied().filter(|head| from < head.head.length) else {
            return Ok(None);
        };
        let nodes = upgrade_nodes(from, head.head.length).map(|index| self.node(slot, index));
        let nodes: Option<Vec<Node>> = nodes.collect::<Result<_, _>>()?;
        let (Some(nodes), Some(old)) = (nodes, self.read_peaks(slot, from)?) else {
            return Ok(None);
        };
        let proof = UpgradeProof { from, head, nodes };
        // As above: a proof that does not hold is none.
        let holds = proof.join(old).is_some_and(|joined| {
            root(joined.peaks.iter().map(|(index, node)| (*index, node))) == head.head.root
        });
        Ok(holds.then_some(proof))
    }

    /// Tells whether all peaks of a length are known.
    pub fn knows_peaks(&self, slot: FeedSlot, length: u64) -> bool {
        length <= self.length(slot)
            && peaks(length).all(|index| self.node(slot, index).is_ok_and(|node| node.is_some()))
    }

    /// Returns where a block begins in the feed, if the sizes left of it are known. It may have been appended and not be signed yet.
    ///
    /// # Errors
    /// What the storage says.
    pub fn byte_offset(
        &self,
        slot: FeedSlot,
        block: BlockIndex,
    ) -> Result<Option<u64>, StoreError> {
        let (mut offset, appended) = (0, &self.feed(slot).appended);
        let (peaks, end) = match self.length(slot) {
            length if block.0 <= length => (self.head_peaks(slot)?, length),
            _ => (appended.peaks.clone(), appended.length),
        };
        for (peak, node) in peaks {
            if peak.blocks().end <= block.0 {
                offset = skip(offset, &node)?;
                continue;
            }
            let (mut at, mut above) = (peak, node);
            while at.blocks().start < block.0 {
                let Some([left, right]) = self.children(slot, at, &above)? else {
                    return Ok(None);
                };
                if left.0.blocks().contains(&block.0) {
                    (at, above) = left;
                } else {
                    offset = skip(offset, &left.1)?;
                    (at, above) = right;
                }
            }
            return Ok(Some(offset));
        }
        Ok((block.0 == end).then_some(offset))
    }

    /// Returns which block holds a byte of the feed.
    ///
    /// # Errors
    /// What the storage says.
    pub fn seek(&self, slot: FeedSlot, byte: u64) -> Result<Seek, StoreError> {
        let mut left = byte;
        for (peak, node) in self.head_peaks(slot)? {
            if left >= node.size {
                left -= node.size;
                continue;
            }
            let (mut at, mut above) = (peak, node);
            while at.height() > 0 {
                let Some([low, high]) = self.children(slot, at, &above)? else {
                    return Ok(Seek::Unknown);
                };
                if left < low.1.size {
                    (at, above) = low;
                } else {
                    left -= low.1.size;
                    (at, above) = high;
                }
            }
            return Ok(Seek::Block { block: BlockIndex(at.blocks().start), offset: left });
        }
        if left > 0 {
            return Ok(Seek::Beyond);
        }
        Ok(Seek::Block { block: BlockIndex(self.length(slot)), offset: 0 })
    }

    /// Returns the nodes below one, if they are known. Sizes say where bytes are, so they are hashed again as bytes are.
    fn children(
        &self,
        slot: FeedSlot,
        index: NodeIndex,
        node: &Node,
    ) -> Result<Option<[(NodeIndex, Node); 2]>, StoreError> {
        let (Some(low), Some(high)) = (index.left_child(), index.right_child()) else {
            return Ok(None);
        };
        let (Some(left), Some(right)) = (self.node(slot, low)?, self.node(slot, high)?) else {
            return Ok(None);
        };
        if parent(&left, &right) != *node {
            return Err(StoreError::Damaged("tree of a feed"));
        }
        Ok(Some([(low, left), (high, right)]))
    }
}

/// Adds the bytes below a node; only in a damaged table do they have no room.
fn skip(offset: u64, node: &Node) -> Result<u64, StoreError> {
    offset.checked_add(node.size).ok_or(StoreError::Damaged("sizes left of a block"))
}
