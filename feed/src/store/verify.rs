//! What peers send: nothing is staged before all of it is verified. SPEC 4.2, 4.3.

use alloc::vec::Vec;

use thiserror::Error;

use super::table::Cell;
use super::{InPlace, Store, StoreError};
use crate::hash::{Node, leaf, root};
use crate::limits::HELD_END;
use crate::position::{BlockIndex, NodeIndex};
use crate::proof::{BlockProof, LeavesProof, UpgradeProof, peak_height};
use crate::storage::{FeedSlot, Storage};

/// Why something a peer sent was not taken.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The head's signature is wrong.
    #[error("the head's signature is wrong")]
    Signature,
    /// A hash or a size is wrong, or the proof has not the form that its question takes.
    #[error("the proof is wrong")]
    Proof,
    /// The bytes are not those of the leaf.
    #[error("the bytes do not match the leaf")]
    Bytes,
    /// The proof ends below a node that is not known here; the peer may have counted on one that is.
    #[error("the proof ends at an unknown node")]
    Unreachable,
    /// A valid head contradicts the one we hold: the writer signed two histories. See [`Store::compare`].
    #[error("two heads of this feed contradict each other")]
    Forked,
    /// The writer is known to have signed two histories: neither is followed any further.
    #[error("the writer of this feed signed two histories")]
    Accused,
    /// The proof starts where we are no longer, or not yet.
    #[error("the proof starts at another length")]
    Stale,
    /// A longer head than ours, while appends of our own are pending: this store is older than what others hold.
    #[error("this store is older than what others hold ({ours} < {theirs})")]
    Behind {
        /// Our length.
        ours: u64,
        /// The length of the other head.
        theirs: u64,
    },
    /// Our own storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl VerifyError {
    /// Tells whether the peer is to blame.
    pub const fn is_peers_fault(&self) -> bool {
        matches!(self, Self::Signature | Self::Proof | Self::Bytes)
    }
}

/// A head that moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upgraded {
    /// The length before.
    pub from: u64,
    /// The length now.
    pub to: u64,
}

impl<S: Storage> Store<S> {
    /// Takes a longer head over, if its proof holds.
    ///
    /// # Errors
    /// [`VerifyError`]; nothing has changed then.
    pub fn upgrade(
        &mut self,
        slot: FeedSlot,
        proof: &UpgradeProof,
    ) -> Result<Upgraded, VerifyError> {
        self.writable()?;
        let (from, head) = (self.length(slot), proof.head.head);
        proof.head.verify(&self.feed(slot).key).map_err(|_| VerifyError::Signature)?;
        if head.length <= from {
            return match self.compare(slot, &proof.head)? {
                super::Comparison::Contradict(_) => Err(VerifyError::Forked),
                _ => Ok(Upgraded { from, to: from }),
            };
        }
        // Who has nothing yet may read one of the histories; it is shown that there are two.
        if from > 0 {
            self.unaccused(slot).map_err(|_| VerifyError::Accused)?;
        }
        if proof.from != from {
            return Err(VerifyError::Stale);
        }
        if self.head(slot).is_some_and(|ours| head.fork < ours.head.fork) {
            return Err(VerifyError::Stale);
        }
        let feed = self.feed_mut(slot);
        if feed.own || feed.appended.length > from || feed.signed.is_some() {
            feed.seen = feed.seen.max(head.length);
            // What we signed and did not show yet must never show: it would be a second history.
            feed.signed = None;
            return Err(VerifyError::Behind { ours: from, theirs: head.length });
        }
        let old = self.read_peaks(slot, from)?.ok_or(StoreError::Damaged("peaks of a feed"))?;
        let joined = proof.join(old).ok_or(VerifyError::Proof)?;
        let computed = root(joined.peaks.iter().map(|(index, node)| (*index, node)));
        if computed != head.root || joined.bytes != head.byte_length {
            return Err(VerifyError::Proof);
        }
        let feed = self.feed_mut(slot);
        feed.nodes.extend(joined.made);
        feed.head = Some(proof.head);
        feed.dirty = true;
        feed.appended =
            super::Appended { length: head.length, bytes: head.byte_length, peaks: joined.peaks };
        Ok(Upgraded { from, to: head.length })
    }

    /// Checks a proof, and that the bytes are those of its leaf; changes nothing.
    ///
    /// # Errors
    /// [`VerifyError`].
    pub fn verify(
        &self,
        slot: FeedSlot,
        proof: &BlockProof,
        bytes: Option<&[u8]>,
    ) -> Result<(), VerifyError> {
        if bytes.is_some_and(|bytes| leaf(bytes) != proof.leaf) {
            return Err(VerifyError::Bytes);
        }
        self.check_climb(slot, proof).map(drop)
    }

    /// Climbs a proof and returns what is new in it.
    fn check_climb(
        &self,
        slot: FeedSlot,
        proof: &BlockProof,
    ) -> Result<Vec<(NodeIndex, Node)>, VerifyError> {
        if proof.block.0 >= self.length(slot) || proof.block.0 >= HELD_END {
            return Err(VerifyError::Unreachable);
        }
        let height = peak_height(proof.block, self.length(slot)).unwrap_or_default();
        if proof.siblings.len() > height as usize {
            return Err(VerifyError::Proof);
        }
        self.check_nodes(slot, proof.climb().ok_or(VerifyError::Proof)?)
    }

    /// Returns which of these nodes are new: the others must be as they are known, and the last of all must be known.
    fn check_nodes(
        &self,
        slot: FeedSlot,
        nodes: Vec<(NodeIndex, Node)>,
    ) -> Result<Vec<(NodeIndex, Node)>, VerifyError> {
        let (mut new, mut reached) = (Vec::new(), false);
        for (index, node) in nodes {
            let known = self.node(slot, index)?;
            if known.is_some_and(|known| known != node) {
                return Err(VerifyError::Proof);
            }
            reached = known.is_some();
            if !reached {
                new.push((index, node));
            }
        }
        if reached { Ok(new) } else { Err(VerifyError::Unreachable) }
    }

    /// Verifies leaves and stages them, with the nodes above: then it is known of their blocks what they are, though they are not
    /// here.
    ///
    /// # Errors
    /// [`VerifyError`]; nothing has changed then.
    pub fn learn(&mut self, slot: FeedSlot, proof: &LeavesProof) -> Result<(), VerifyError> {
        self.writable()?;
        let blocks = proof.top.blocks();
        if blocks.end > self.length(slot).min(HELD_END) {
            return Err(VerifyError::Unreachable);
        }
        let height = peak_height(BlockIndex(blocks.start), self.length(slot)).unwrap_or_default();
        if proof.siblings.len() > height.saturating_sub(proof.top.height()) as usize {
            return Err(VerifyError::Proof);
        }
        let nodes = self.check_nodes(slot, proof.climb().ok_or(VerifyError::Proof)?)?;
        self.feed_mut(slot).nodes.extend(nodes);
        Ok(())
    }

    /// Verifies a block and stages its nodes; returns where it begins in the feed.
    ///
    /// The block is here only after [`keep`](Self::keep) or [`place`](Self::place). With `None` for the bytes the caller has
    /// hashed them into the proof's leaf, or has none.
    ///
    /// # Errors
    /// [`VerifyError`]; nothing has changed then.
    pub fn accept(
        &mut self,
        slot: FeedSlot,
        proof: &BlockProof,
        bytes: Option<&[u8]>,
    ) -> Result<u64, VerifyError> {
        self.writable()?;
        if bytes.is_some_and(|bytes| leaf(bytes) != proof.leaf) {
            return Err(VerifyError::Bytes);
        }
        let nodes = self.check_climb(slot, proof)?;
        self.feed_mut(slot).nodes.extend(nodes);
        let offset = match self.feed(slot).follows {
            Some((block, offset)) if block == proof.block => Some(offset),
            _ => self.byte_offset(slot, proof.block)?,
        };
        let offset = offset.ok_or(StoreError::Damaged("sizes left of a block"))?;
        let next = (BlockIndex(proof.block.0 + 1), offset + proof.leaf.size);
        self.feed_mut(slot).follows = Some(next);
        Ok(offset)
    }

    /// Keeps the bytes of an accepted block in the store.
    ///
    /// # Errors
    /// What the storage says.
    pub fn keep(
        &mut self,
        slot: FeedSlot,
        block: BlockIndex,
        bytes: &[u8],
    ) -> Result<(), StoreError> {
        self.writable()?;
        let offset = self.write_data(bytes)?;
        let feed = self.feed_mut(slot);
        feed.places.insert(block.0, Cell::Data { offset });
        feed.have.set(block.0);
        Ok(())
    }

    /// Says that the bytes of an accepted or held block are in a working file.
    ///
    /// # Errors
    /// What the storage says.
    pub fn place(
        &mut self,
        slot: FeedSlot,
        block: BlockIndex,
        at: InPlace<'_>,
    ) -> Result<(), StoreError> {
        self.writable()?;
        let name = self.name(at.path)?;
        self.unsynced.working = true;
        let feed = self.feed_mut(slot);
        feed.places.insert(block.0, Cell::Working { name, offset: at.offset });
        feed.have.set(block.0);
        Ok(())
    }

    /// Verifies a block and keeps it.
    ///
    /// # Errors
    /// [`VerifyError`]; nothing has changed then.
    pub fn insert(
        &mut self,
        slot: FeedSlot,
        proof: &BlockProof,
        bytes: &[u8],
    ) -> Result<u64, VerifyError> {
        let offset = self.accept(slot, proof, Some(bytes))?;
        self.keep(slot, proof.block, bytes)?;
        Ok(offset)
    }

    /// Drops blocks from what is here; their proofs stay.
    pub fn forget(&mut self, slot: FeedSlot, blocks: core::ops::Range<u64>) {
        let feed = self.feed_mut(slot);
        let held: Vec<u64> = feed.have.iter_ones(blocks.clone()).collect();
        feed.places.extend(held.into_iter().map(|block| (block, Cell::Absent)));
        feed.have.clear_range(blocks);
    }
}
