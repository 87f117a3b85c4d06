//! Leaves without their blocks: what a reader asks for that may have equal blocks elsewhere. SPEC 7.9.
//!
//! What is looked up is cut into full subtrees, each of which is asked of one peer that holds all of its blocks; what nobody has
//! stays open until whoever asks has waited long enough. Who is asked need not have it all the same: then it is given up, since the
//! blocks themselves can be had in any case.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::ops::Range;

use datnode_feed::{LeavesProof, Node, NodeIndex, levels_above, subtrees};

use super::Replicator;
use super::channel::Link;
use super::want::Progress;
use crate::fault::Fault;
use crate::ids::{FeedId, PeerId, Priority, RequestId, WantId};
use crate::job::{Event, Failure, Job};
use crate::limits::{LEAVES_ASKED_MAX, LEAVES_LOOKED_AT, LEAVES_MAX, LEAVES_OWED_MAX};
use crate::wire::{Message, Request, Wanted};

/// Leaves that somebody wants to know.
#[derive(Debug)]
pub(super) struct Lookup {
    pub(super) id: WantId,
    /// What nobody was asked for.
    rest: VecDeque<NodeIndex>,
    /// How many requests are open.
    open: usize,
    /// Of how many subtrees it began.
    of: usize,
}

impl Lookup {
    /// Tells how far it is, in subtrees.
    pub(super) fn progress(&self) -> Progress {
        let here = self.of - self.rest.len() - self.open;
        Progress { here: here as u64, of: self.of as u64, bytes: 0 }
    }
}

/// A request for leaves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    lookup: WantId,
    top: NodeIndex,
    /// Whether the answer is with the store.
    came: bool,
}

/// An answer on its way to a peer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) request: RequestId,
    pub(super) proof: LeavesProof,
}

impl Replicator {
    /// Looks up the leaves of blocks of a feed. It is done, as a want is, when all are known or nobody else is to be asked.
    pub fn look_up(&mut self, id: FeedId, blocks: &[Range<u64>]) -> WantId {
        let name = WantId(self.next_want);
        self.next_want += 1;
        let Some(feed) = self.feeds.get_mut(&id) else { return name };
        let rest = blocks.iter().flat_map(|run| parts(run.start..run.end.min(feed.length)));
        let rest: VecDeque<_> = rest.collect();
        feed.lookups.push(Lookup { id: name, of: rest.len(), rest, open: 0 });
        self.end_lookups(id);
        name
    }

    /// Returns the next request to a peer for leaves.
    pub(super) fn next_lookup(&mut self, id: PeerId) -> Option<Message> {
        let peer = self.peers.get_mut(&id).filter(|peer| peer.paused_until.is_none())?;
        let asks = |link: &Link| link.is_live() && link.lookups.len() < LEAVES_ASKED_MAX;
        for (feed_id, link) in peer.links.iter_mut().filter(|(_, link)| asks(link)) {
            let Some(feed) = self.feeds.get_mut(feed_id) else { continue };
            let Some(length) = feed.common_length(id) else { continue };
            let Some(holder) = feed.holders.get(&id) else { continue };
            let has = |top: &NodeIndex| top.blocks().end <= length && holder.have.all(top.blocks());
            for lookup in &mut feed.lookups {
                let place = lookup.rest.iter().take(LEAVES_LOOKED_AT).position(has);
                let Some(top) = place.and_then(|place| lookup.rest.remove(place)) else { continue };
                lookup.open += 1;
                let request = RequestId(peer.next_request);
                peer.next_request += 1;
                link.lookups.insert(request, Asked { lookup: lookup.id, top, came: false });
                let wanted = Wanted::Leaves(top);
                let request = Request::new(request, length, Priority(0), wanted);
                return Some(Message::Request { channel: link.ours, request });
            }
        }
        None
    }

    /// Has the store read leaves for a peer.
    pub(super) fn asked_for_leaves(
        &mut self,
        id: PeerId,
        feed: FeedId,
        request: RequestId,
        length: u64,
        top: NodeIndex,
    ) -> Result<(), Fault> {
        let (Some(peer), Some(ours)) = (self.peers.get_mut(&id), self.feeds.get(&feed)) else {
            return Ok(());
        };
        peer.ask()?;
        let Some(link) = peer.links.get_mut(&feed) else { return Ok(()) };
        if link.leaves_owed >= LEAVES_OWED_MAX {
            return Err(Fault::TooMany("requests for leaves"));
        }
        let Some(holder) = ours.holders.get(&id) else { return Ok(()) };
        // What is read meanwhile goes out before or behind this: so it counts on nothing that is not sent.
        let known = |range| link.knows(&holder.have, true, range);
        let Some(levels) = levels_above(top, length, known) else {
            return Err(Fault::Unexpected("request beyond its length"));
        };
        link.leaves_owed += 1;
        self.jobs.push_back(Job::Leaves { peer: id, feed, request, top, levels });
        Ok(())
    }

    /// Takes leaves that the store read for a peer.
    pub(super) fn leaves_read(
        &mut self,
        id: PeerId,
        feed: FeedId,
        request: RequestId,
        proof: Option<LeavesProof>,
    ) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.answered();
        let Some(link) = peer.links.get_mut(&feed) else { return };
        if let Some(proof) = proof.filter(|_| link.is_live()) {
            link.leaves.push_back(Answer { request, proof });
            return;
        }
        link.leaves_owed -= 1;
        if link.is_live() {
            link.missing.push((request, Vec::new()));
        }
    }

    /// Has leaves verified that a peer sent.
    pub(super) fn leaves_came(
        &mut self,
        id: PeerId,
        feed: FeedId,
        request: RequestId,
        leaves: Vec<Node>,
        siblings: Vec<Node>,
    ) -> Result<(), Fault> {
        let asked = self.link(id, feed).and_then(|link| link.lookups.get_mut(&request));
        let Some(asked) = asked.filter(|asked| !asked.came) else {
            return Err(Fault::Unexpected("leaves nobody asked for"));
        };
        asked.came = true;
        let proof = LeavesProof { top: asked.top, leaves, siblings };
        self.jobs.push_back(Job::Learn { peer: id, feed, request, proof });
        Ok(())
    }

    /// Notes that leaves are known now, or are not.
    pub(super) fn leaves_learned(
        &mut self,
        id: PeerId,
        feed: FeedId,
        request: RequestId,
        result: Result<(), Failure>,
    ) {
        self.lookup_refused(id, feed, request);
        if result == Err(Failure::Peer) {
            self.fault(id, Fault::BadLeaves);
        }
    }

    /// Gives up what a peer was asked for; tells whether these were leaves.
    pub(super) fn lookup_refused(&mut self, id: PeerId, feed: FeedId, request: RequestId) -> bool {
        let link = self.peers.get_mut(&id).and_then(|peer| peer.links.get_mut(&feed));
        let Some(asked) = link.and_then(|link| link.lookups.remove(&request)) else { return false };
        self.reopen(feed, asked, None);
        true
    }

    /// Takes back what a peer was asked for that is gone or closed the feed: others are asked.
    pub(super) fn lookups_lost(&mut self, id: PeerId, feed: FeedId) {
        let link = self.peers.get_mut(&id).and_then(|peer| peer.links.get_mut(&feed));
        let lost = link.map(|link| core::mem::take(&mut link.lookups)).unwrap_or_default();
        lost.into_values().for_each(|asked| self.reopen(feed, asked, Some(asked.top)));
    }

    /// Ends a request, and asks for what is left of it once more.
    fn reopen(&mut self, feed_id: FeedId, asked: Asked, rest: Option<NodeIndex>) {
        let Some(feed) = self.feeds.get_mut(&feed_id) else { return };
        if let Some(lookup) = feed.lookups.iter_mut().find(|one| one.id == asked.lookup) {
            lookup.open -= 1;
            lookup.rest.extend(rest);
        }
        self.end_lookups(feed_id);
    }

    fn end_lookups(&mut self, feed: FeedId) {
        let Some(feed) = self.feeds.get_mut(&feed) else { return };
        let (events, is_open) =
            (&mut self.events, |lookup: &Lookup| lookup.open > 0 || !lookup.rest.is_empty());
        feed.lookups.retain(|lookup| {
            if !is_open(lookup) {
                events.push_back(Event::WantDone { want: lookup.id });
            }
            is_open(lookup)
        });
    }
}

/// Returns the full subtrees that a run of blocks consists of, each no larger than a message has room for.
fn parts(run: Range<u64>) -> impl Iterator<Item = NodeIndex> {
    subtrees(run.start, run.end.max(run.start)).flat_map(|node| {
        let blocks = node.blocks();
        let step = (blocks.end - blocks.start).min(LEAVES_MAX as u64);
        let starts = blocks.step_by(usize::try_from(step).unwrap_or(usize::MAX));
        starts.filter_map(move |start| subtrees(start, start + step).next())
    })
}
