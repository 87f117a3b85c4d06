//! Executes the replicator's jobs on a store.
//!
//! Whatever a peer sent is verified here, by the store, and nowhere else; each job has exactly one answer.

use std::ops::Range;

use bytes::Bytes;
use datnode_feed::{
    Accusation, BlockIndex, BlockProof, Comparison, FeedSlot, Node, Seek, SignedHead, StoreError,
    UpgradeProof, VerifyError, leaf,
};
use datnode_proto::{Done, Failure, Job};

use super::worker::Worker;

impl Worker {
    pub(super) fn execute(&mut self, slot: FeedSlot, job: Job) -> Done {
        match job {
            Job::Read { peer, feed, request, urgency, block, levels } => {
                let answer = self.read(slot, block, levels);
                let answer = self.or_fail(answer).flatten();
                Done::Read { peer, feed, request, urgency, block, answer }
            }
            Job::Locate { peer, feed, request, urgency, length, bytes } => {
                let blocks = self.locate(slot, bytes);
                let blocks = self.or_fail(blocks).flatten();
                Done::Located { peer, feed, request, urgency, length, blocks }
            }
            Job::Leaves { peer, feed, request, top, levels } => {
                let proof = self.store.prove_leaves(slot, top, levels);
                Done::Leaves { peer, feed, request, proof: self.or_fail(proof).flatten() }
            }
            Job::Learn { peer, feed, request, proof } => {
                let learned = self.store.learn(slot, &proof);
                let result = learned.map_err(|error| self.blame(&error));
                Done::Learned { peer, feed, request, result }
            }
            Job::Prove { peer, feed, from } => {
                let proof = self.store.prove_upgrade(slot, from);
                Done::Proved { peer, feed, proof: self.or_fail(proof).flatten() }
            }
            Job::Upgrade { peer, feed, proof } => {
                let result = self.upgrade(slot, &proof);
                Done::Upgraded { peer, feed, result }
            }
            Job::Compare { peer, feed, head } => {
                let result = self.compare(slot, &head);
                Done::Compared { peer, feed, head, result }
            }
            Job::Accuse { peer, feed, accusation } => {
                let result = self.accuse(slot, accusation);
                Done::Accused { peer, feed, result }
            }
            Job::Store { peer, feed, block, siblings, bytes, .. } => {
                let result = self.take(slot, block, siblings, &bytes);
                Done::Stored { peer, feed, block, len: bytes.len() as u64, result }
            }
        }
    }

    fn read(
        &mut self,
        slot: FeedSlot,
        block: BlockIndex,
        levels: u32,
    ) -> Result<Option<(BlockProof, Bytes)>, StoreError> {
        let Some(proof) = self.store.prove(slot, block, levels)? else { return Ok(None) };
        let bytes = self.store.read_into(slot, block, |len| self.buffers.take(len))?;
        Ok(bytes.map(|bytes| (proof, bytes.share())))
    }

    /// Returns the blocks that hold some bytes.
    fn locate(&self, slot: FeedSlot, bytes: Range<u64>) -> Result<Option<Range<u64>>, StoreError> {
        let Some(last) = bytes.end.checked_sub(1) else { return Ok(None) };
        let (first, last) = (self.store.seek(slot, bytes.start)?, self.store.seek(slot, last)?);
        Ok(match (first, last) {
            (Seek::Block { block: first, .. }, Seek::Block { block: last, .. }) => {
                Some(first.0..last.0 + 1)
            }
            _ => None,
        })
    }

    fn upgrade(&mut self, slot: FeedSlot, proof: &UpgradeProof) -> Result<SignedHead, Failure> {
        match self.store.upgrade(slot, proof) {
            Ok(_) => self.store.head(slot).copied().ok_or(Failure::Ours),
            Err(error) => Err(self.blame(&error)),
        }
    }

    /// Holds a head against ours, and keeps what shows that they contradict each other.
    fn compare(&mut self, slot: FeedSlot, head: &SignedHead) -> Result<Comparison, Failure> {
        let found = self.store.compare(slot, head).map_err(|error| self.blame(&error))?;
        match found {
            Comparison::Contradict(accusation) => {
                Ok(Comparison::Contradict(self.accuse(slot, accusation)?))
            }
            other => Ok(other),
        }
    }

    /// Keeps what shows that the writer signed two histories.
    fn accuse(
        &mut self,
        slot: FeedSlot,
        accusation: Box<Accusation>,
    ) -> Result<Box<Accusation>, Failure> {
        if self.store.accuse(slot, &accusation).map_err(|error| self.blame(&error))? {
            // Rare, and worth keeping whatever comes next.
            self.commit_or_warn();
        }
        Ok(accusation)
    }

    /// Verifies a block and puts it where it belongs.
    pub(super) fn take(
        &mut self,
        slot: FeedSlot,
        block: BlockIndex,
        siblings: Vec<Node>,
        bytes: &[u8],
    ) -> Result<u64, Failure> {
        let proof = BlockProof { block, leaf: leaf(bytes), siblings };
        let offset = self.store.accept(slot, &proof, None).map_err(|error| self.blame(&error))?;
        let landed = match &mut self.landing {
            Some((landing, content)) if *content == slot => {
                landing.land(&mut self.store, slot, block, offset, bytes)
            }
            _ => Ok(false),
        };
        let kept = match landed {
            Ok(true) => Ok(()),
            Ok(false) => self.store.keep(slot, block, bytes).map_err(crate::error::Error::store),
            Err(error) => Err(error),
        };
        kept.map_err(|error| {
            self.fail(error);
            Failure::Ours
        })?;
        self.uncommitted_bytes += bytes.len() as u64;
        Ok(offset)
    }

    fn blame(&mut self, error: &VerifyError) -> Failure {
        let failure = Failure::from(error);
        if failure == Failure::Ours {
            tracing::debug!(%error, "not taken");
        }
        if let VerifyError::Store(error) = error {
            self.fail(crate::error::Error::new(crate::error::Code::Io, error.to_string()));
        }
        failure
    }

    fn or_fail<T>(&mut self, result: Result<T, StoreError>) -> Option<T> {
        result.map_err(|error| self.fail(crate::error::Error::store(error))).ok()
    }
}
