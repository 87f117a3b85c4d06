//! What is asked of a peer next.
//!
//! A lease names runs of blocks worth about two seconds of the peer's rate; a new one goes out when half is used up, so that
//! the peer never runs dry. Urgent wants do not wait for that.
//! Elsewhere: how long a peer may take (`patience`).

use super::Replicator;
use super::channel::{BlockRequest, ByteRequest};
use super::feed::Rank;
use crate::ids::{FeedId, Instant, PeerId, Priority, RequestId, WantId};
use crate::limits::{ASKED_MAX, BLOCK_COST, LEASE_BLOCKS_MAX, LEASE_BLOCKS_MIN, RUNS_MAX};
use crate::wire::{Message, Request, Wanted};

impl Replicator {
    /// Returns the next request to a peer: the most urgent want that it can help with.
    pub(super) fn next_request(&mut self, now: Instant, id: PeerId) -> Option<Message> {
        let peer = self.peers.get(&id)?;
        if peer.paused_until.is_some() || peer.asked() >= ASKED_MAX {
            return None;
        }
        let mut wants: alloc::vec::Vec<(Rank, FeedId)> = self
            .feeds
            .iter()
            .filter(|(feed, state)| {
                state.paused_until.is_none()
                    && peer.links.get(feed).is_some_and(|link| link.is_live())
            })
            .flat_map(|(feed, state)| {
                let rank = |want: &super::want::Open| {
                    Rank(want.priority, state.class, core::cmp::Reverse(want.id))
                };
                state.wants.iter().map(move |want| (rank(want), *feed))
            })
            .collect();
        if wants.is_empty() || !self.may_ask(now, id) {
            return None;
        }
        wants.sort_unstable();
        wants.into_iter().rev().find_map(|(Rank(_, _, want), feed)| self.ask(now, id, feed, want.0))
    }

    /// Asks a peer for a share of one want.
    fn ask(
        &mut self,
        now: Instant,
        id: PeerId,
        feed_id: FeedId,
        want_id: WantId,
    ) -> Option<Message> {
        let seed = u64::from_le_bytes(*self.seed.first_chunk().expect("a seed has 32 bytes"));
        let limited = self.lease_limit(self.peers.get(&id)?);
        let feed = self.feeds.get_mut(&feed_id)?;
        let peer = self.peers.get_mut(&id)?;
        let length = feed.common_length(id)?;
        let owed = peer.owed();
        let position = feed.wants.iter().position(|want| want.id == want_id)?;
        let want = feed.wants.get(position)?;
        let (priority, request) = (want.priority, RequestId(peer.next_request));
        let wanted = if let Some(bytes) = want.bytes.first().cloned() {
            if want.asked.is_some() || want.tried.contains_key(&id) {
                return None;
            }
            Wanted::Bytes(bytes)
        } else {
            let lease = peer.rate.lease().min(limited) / (feed.block_bytes() + BLOCK_COST);
            let lease = lease.clamp(LEASE_BLOCKS_MIN, LEASE_BLOCKS_MAX);
            if priority == Priority(0) && owed > lease / 2 || owed >= LEASE_BLOCKS_MAX {
                return None;
            }
            let budget = lease.saturating_sub(owed).max(LEASE_BLOCKS_MIN);
            let mut runs = feed.pick(id, want, length, budget, seed);
            runs.truncate(RUNS_MAX);
            if runs.is_empty() || self.has_better(id, feed_id, &runs, priority) {
                return None;
            }
            Wanted::Blocks(runs)
        };
        // It cannot answer before it has credit: how long that takes says nothing of the way.
        let is_held = self.peers.get(&id).is_some_and(|peer| self.is_held(peer));
        let feed = self.feeds.get_mut(&feed_id)?;
        let peer = self.peers.get_mut(&id)?;
        let link = peer.links.get_mut(&feed_id)?;
        match &wanted {
            Wanted::Blocks(runs) => {
                let count = runs.iter().map(|run| run.end - run.start).sum();
                for run in runs {
                    link.asked.set_range(run.clone());
                    feed.assigned.set_range(run.clone());
                }
                link.asked_blocks += count;
                link.requests.insert(request, BlockRequest { priority, left: count });
            }
            Wanted::Bytes(bytes) => {
                let told = feed.holders.get(&id).map_or(0, |holder| holder.told);
                let asked = ByteRequest { priority, want: want_id, bytes: bytes.clone(), told };
                link.byte_requests.insert(request, asked);
                feed.wants.get_mut(position)?.asked = Some(id);
            }
        }
        peer.next_request += 1;
        if owed == 0 {
            (peer.began, peer.last_progress, peer.looked_at) = (now, now, None);
            peer.rate.idle();
        }
        peer.last_asked = now;
        if !is_held {
            peer.asked_at.get_or_insert(now);
        }
        let channel = link.ours;
        Some(Message::Request {
            channel,
            request: Request { id: request, length, priority, wanted },
        })
    }

    /// Takes back everything that was asked of a peer, so that others are asked.
    pub(super) fn revoke(&mut self, id: PeerId) {
        let feeds: alloc::vec::Vec<FeedId> = self.feeds.keys().copied().collect();
        feeds.into_iter().for_each(|feed| self.revoke_feed(id, feed));
    }

    pub(super) fn revoke_feed(&mut self, id: PeerId, feed_id: FeedId) {
        let Some(feed) = self.feeds.get_mut(&feed_id) else { return };
        let link = self.peers.get_mut(&id).and_then(|peer| peer.links.get_mut(&feed_id));
        if let Some(link) = link {
            link.revoke().into_iter().for_each(|run| feed.assigned.clear_range(run));
        }
        for want in feed.wants.iter_mut().filter(|want| want.asked == Some(id)) {
            want.asked = None;
        }
    }
}
