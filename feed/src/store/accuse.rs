//! A writer that signed two histories: noticed, kept, passed on. SPEC 3.7, 3.8.
//!
//! Invariant: what is kept here was verified. A feed with an accusation takes no longer head and no append; what was verified
//! before stays readable and is served.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use super::table::Span;
use super::{Store, StoreError, VerifyError};
use crate::accusation::{ACCUSATION_BYTES_MAX, Accusation, AccusationError};
use crate::hash::{Node, root};
use crate::head::SignedHead;
use crate::position::NodeIndex;
use crate::proof::upgrade_nodes;
use crate::storage::{FeedSlot, FileId, Storage};

/// How a head stands to ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// They are of one history.
    Agree,
    /// The nodes known here do not tell.
    Unknown,
    /// They are not.
    Contradict(Box<Accusation>),
}

impl<S: Storage> Store<S> {
    /// Says that this store writes the feed: a longer head from others is then a sign that it is older than what they hold,
    /// and is never followed.
    pub fn own(&mut self, slot: FeedSlot) {
        self.feed_mut(slot).own = true;
    }

    /// Returns the longest length that others hold of a feed that is written here, if ours is shorter.
    pub fn behind(&self, slot: FeedSlot) -> Option<u64> {
        Some(self.feed(slot).seen).filter(|&seen| seen > self.length(slot))
    }

    /// Holds a head against ours. What is not signed by the feed's key is not even unknown, unless it is of our own history.
    ///
    /// # Errors
    /// [`VerifyError::Signature`] if it is not ours and not signed by the key, or what the storage says.
    pub fn compare(&self, slot: FeedSlot, head: &SignedHead) -> Result<Comparison, VerifyError> {
        let (fork, from) = (head.head.fork, head.head.length);
        let ours = self.head(slot);
        let ours = ours.filter(|ours| ours.head.fork == fork && from <= ours.head.length);
        let peaks = ours.map_or(Ok(None), |_| self.read_peaks(slot, from))?;
        let same = |peaks: &Vec<(NodeIndex, Node)>| {
            root(peaks.iter().map(|(index, node)| (*index, node))) == head.head.root
        };
        if peaks.as_ref().is_some_and(same) {
            return Ok(Comparison::Agree);
        }
        head.verify(&self.feed(slot).key).map_err(|_| VerifyError::Signature)?;
        let (Some(peaks), Some(ours)) = (peaks, ours) else { return Ok(Comparison::Unknown) };
        let nodes = upgrade_nodes(from, ours.head.length).map(|index| self.node(slot, index));
        let nodes: Option<Vec<Node>> = nodes.collect::<Result<_, _>>()?;
        let peaks = peaks.into_iter().map(|(_, node)| node).collect();
        Ok(nodes.map_or(Comparison::Unknown, |nodes| {
            let accusation = Accusation { shorter: *head, longer: *ours, peaks, nodes };
            Comparison::Contradict(Box::new(accusation))
        }))
    }

    /// Keeps an accusation, if it holds; the first one of a feed is enough. Tells whether it is new.
    ///
    /// # Errors
    /// [`VerifyError`]; nothing has changed then.
    pub fn accuse(&mut self, slot: FeedSlot, accusation: &Accusation) -> Result<bool, VerifyError> {
        self.writable()?;
        if self.feed(slot).accusation.is_some() {
            return Ok(false);
        }
        accusation.verify(&self.feed(slot).key).map_err(|error| match error {
            AccusationError::Signature => VerifyError::Signature,
            _ => VerifyError::Proof,
        })?;
        let bytes = accusation.encode();
        let span = Span { offset: self.write_data(&bytes)?, len: bytes.len() as u64 };
        let feed = self.feed_mut(slot);
        feed.accusation = Some((span, accusation.clone()));
        // What we signed and did not show yet must never show.
        feed.signed = None;
        feed.dirty = true;
        Ok(true)
    }

    /// Returns what shows that the feed's writer signed two histories, if that is known.
    pub fn accusation(&self, slot: FeedSlot) -> Option<&Accusation> {
        self.feed(slot).accusation.as_ref().map(|(_, accusation)| accusation)
    }

    /// Reads an accusation back. One that rotted is as good as none: it is learned again from whoever has it.
    pub(super) fn read_accusation(
        &self,
        span: Span,
        key: &crate::key::PublicKey,
    ) -> Option<(Span, Accusation)> {
        let len = usize::try_from(span.len).ok().filter(|&len| len <= ACCUSATION_BYTES_MAX)?;
        let mut bytes = vec![0; len];
        self.storage.read(FileId::Data, span.offset, &mut bytes).ok()?;
        let accusation = Accusation::decode(&bytes).ok()?;
        accusation.verify(key).ok()?;
        Some((span, accusation))
    }

    /// Refuses to go on writing or following a feed whose writer signed two histories.
    pub(super) fn unaccused(&self, slot: FeedSlot) -> Result<(), StoreError> {
        if self.feed(slot).accusation.is_some() { Err(StoreError::Accused) } else { Ok(()) }
    }
}
