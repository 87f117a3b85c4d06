//! What is asked of a peer next.
//!
//! Wants are gone through from the most urgent to the least; those that are equal take turns by what they had. A lease names blocks
//! worth about two seconds of the peer's rate, of one want; a new one goes out when half of what is as urgent is used up, so that the
//! peer never runs dry and nothing urgent waits for what is not. Who is asked for what has a deadline gets less at a time,
//! and does not get first what others deliver sooner.
//! Elsewhere: how long a peer may take (`patience`), who takes over what another one owes (`swap`), which blocks (`picker`).

use alloc::vec::Vec;
use core::cmp::Reverse;
use core::num::NonZeroU64;
use core::ops::Range;

use super::Replicator;
use super::channel::ByteRequest;
use super::peer::Peer;
use super::runs::RunSet;
use super::want::{Open, Order, normal};
use crate::ids::{Class, FeedId, Instant, PeerId, Priority, RequestId, Urgency, WantId};
use crate::limits::{
    ASKED_MAX, BLOCK_COST, LEASE_BLOCKS_DUE, LEASE_BLOCKS_MAX, LEASE_BLOCKS_MIN, LEASE_PARTS,
    RUNS_MAX, TRIAL_BLOCKS,
};
use crate::wire::{Message, Request, Runs, Wanted};

/// Where a want stands among all; the greatest is served first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    urgency: Urgency,
    class: Class,
    served: Reverse<u64>,
    want: Reverse<WantId>,
    feed: FeedId,
}

/// What came of asking for a want.
#[expect(
    clippy::large_enum_variant,
    reason = "it is moved once, and boxing it would cost more than its copy"
)]
enum Asked {
    For(Message),
    /// The peer has enough to do that is as urgent.
    Enough,
    Nothing,
}

/// Blocks that a peer is asked for.
pub(super) struct Lease {
    pub(super) runs: Runs,
    pub(super) urgency: Urgency,
    pub(super) hotswap: bool,
    pub(super) any_order: bool,
}

impl Replicator {
    /// Returns the next request to a peer: for the most urgent want that it can help with.
    pub(super) fn next_request(&mut self, now: Instant, id: PeerId) -> Option<Message> {
        let peer = self.peers.get(&id)?;
        if peer.paused_until.is_some() {
            return None;
        }
        let asked = peer.asked();
        let mut ranks: Vec<Rank> = self.ranks(peer).collect();
        if ranks.is_empty() || !self.may_ask(now, id) {
            return None;
        }
        ranks.sort_unstable_by_key(|rank| Reverse(*rank));
        for level in ranks.chunk_by(|a, b| a.urgency.priority == b.urgency.priority) {
            let priority = level.first()?.urgency.priority;
            // Requests for bulk leave room for urgent ones.
            if asked >= if priority == Priority(0) { ASKED_MAX / 2 } else { ASKED_MAX } {
                continue;
            }
            let is_equal = |a: &Rank, b: &Rank| (a.urgency, a.class) == (b.urgency, b.class);
            for equal in level.chunk_by(is_equal) {
                for rank in equal {
                    match self.ask(now, id, rank, equal.len() as u64) {
                        Asked::For(request) => return Some(request),
                        // What is lower waits until more of this may be asked for.
                        Asked::Enough => return None,
                        Asked::Nothing => {}
                    }
                }
            }
            if let Some(request) = self.overtake(now, id, priority) {
                return Some(request);
            }
        }
        None
    }

    /// Returns the wants of the feeds that may be asked for.
    fn ranks<'a>(&'a self, peer: &'a Peer) -> impl Iterator<Item = Rank> + 'a {
        let live = |feed| peer.links.get(feed).is_some_and(|link| link.is_live());
        let feeds =
            self.feeds.iter().filter(move |(id, feed)| feed.paused_until.is_none() && live(id));
        feeds.flat_map(|(id, feed)| {
            let rank = |want: &Open| Rank {
                urgency: Urgency { priority: want.priority, due: want.deadline },
                class: feed.class,
                served: Reverse(want.served),
                want: Reverse(want.id),
                feed: *id,
            };
            feed.wants.iter().filter(|want| want.lacks()).map(rank)
        })
    }

    /// Asks a peer for a share of a want that so many are equal to.
    fn ask(&mut self, now: Instant, id: PeerId, rank: &Rank, equals: u64) -> Asked {
        let request = match self.room(id, rank) {
            Some((0, _)) => return Asked::Enough,
            Some((room, least)) => self.ask_for_blocks(now, id, rank, (room / equals).max(least)),
            None => self.ask_for_bytes(now, id, rank),
        };
        request.map_or(Asked::Nothing, Asked::For)
    }

    /// Returns how many blocks of a want a peer may be asked for, and how few are worth a request; nothing if bytes are wanted.
    fn room(&self, id: PeerId, rank: &Rank) -> Option<(u64, u64)> {
        let (peer, feed) = (self.peers.get(&id)?, self.feeds.get(&rank.feed)?);
        let want = feed.wants.iter().find(|want| want.id == rank.want.0)?;
        if !want.bytes.is_empty() {
            return None;
        }
        let due = want.deadline.is_some();
        let least = if due { LEASE_BLOCKS_DUE } else { LEASE_BLOCKS_MIN };
        let lease = peer.rate.lease(due).min(self.lease_limit(peer));
        // Who lost what it owed shows first that it sends again.
        let (least, most) = match peer.stalled {
            false => (least, LEASE_BLOCKS_MAX),
            true => (1, TRIAL_BLOCKS),
        };
        let each = feed.block_bytes() + BLOCK_COST;
        let is_shared = want.order == Order::Rarest && peer.rate.bytes_per_second() > 0;
        let part = is_shared.then(|| self.part(peer, rank.feed, want.missing, each));
        let part = part.unwrap_or(most);
        let (least, most) = (least.min(part), most.min(part));
        let lease = (lease / each).clamp(least, most);
        let owed = peer.owed_from(rank.urgency.priority);
        Some((if owed > lease / 2 { 0 } else { (lease - owed).max(least) }, least))
    }

    /// Asks a peer for up to so many blocks of a want.
    fn ask_for_blocks(
        &mut self,
        now: Instant,
        id: PeerId,
        rank: &Rank,
        budget: u64,
    ) -> Option<Message> {
        let seed = self.tie_seed();
        let priority = rank.urgency.priority;
        let feed = self.feeds.get(&rank.feed)?;
        let length = feed.common_length(id)?;
        let position = feed.wants.iter().position(|want| want.id == rank.want.0)?;
        let want = feed.wants.get(position)?;
        let any_order = want.order == Order::Rarest;
        let hotswap = want.hotswap;
        let is_timed = want.deadline.is_some() && want.order == Order::Linear;
        let feed = self.feeds.get_mut(&rank.feed)?;
        let ahead = match is_timed {
            true => {
                let next = feed.pick(now, id, position, length, (0, 1), seed).first()?.start;
                self.ahead(now, id, rank.feed, next, priority)
            }
            false => 0,
        };
        let feed = self.feeds.get_mut(&rank.feed)?;
        let mut runs = feed.pick(now, id, position, length, (ahead, budget), seed);
        runs.truncate(RUNS_MAX);
        if runs.is_empty() || self.has_better(id, rank.feed, &runs, priority) {
            return None;
        }
        let want = self.feeds.get_mut(&rank.feed)?.wants.get_mut(position)?;
        want.served += count(&runs);
        let lease = Lease { runs, urgency: rank.urgency, hotswap, any_order };
        self.lease(now, id, rank.feed, length, lease)
    }

    /// Returns how many blocks of a feed a peer is to owe at most when so many are missing: the rest is left to whoever needs work.
    fn part(&self, peer: &Peer, feed_id: FeedId, missing: u64, each: u64) -> u64 {
        let helps = |peer: &Peer| {
            peer.paused_until.is_none()
                && peer.links.get(&feed_id).is_some_and(|link| link.is_live())
        };
        let helpers = self.peers.values().filter(|peer| helps(peer)).count() as u64;
        let parts = if helpers > 1 { LEASE_PARTS * helpers } else { 1 };
        (missing / parts).max(peer.rate.lease_least() / each).max(2)
    }

    /// Asks a peer for the bytes of a want, unless somebody else is asked for them and is not late.
    fn ask_for_bytes(&mut self, now: Instant, id: PeerId, rank: &Rank) -> Option<Message> {
        let feed = self.feeds.get(&rank.feed)?;
        let length = feed.common_length(id)?;
        let position = feed.wants.iter().position(|want| want.id == rank.want.0)?;
        let want = feed.wants.get(position)?;
        let bytes = want.bytes.first()?.clone();
        if want.tried.contains_key(&id) {
            return None;
        }
        if let Some((asked, since)) = want.asked {
            let late_at = self.late_at(asked, since).filter(|_| want.hotswap && asked != id)?;
            if now < late_at {
                self.look_again(id, late_at);
                return None;
            }
        }
        if self.peers.get(&id)?.links.get(&rank.feed)?.is_asked_for_bytes_of(rank.want.0) {
            return None;
        }
        let feed = self.feeds.get_mut(&rank.feed)?;
        let told = feed.holders.get(&id).map_or(0, |holder| holder.told);
        let want = feed.wants.get_mut(position)?;
        want.asked = Some((id, now));
        want.served += 1;
        let urgency = rank.urgency;
        let asked = ByteRequest { urgency, want: rank.want.0, bytes: bytes.clone(), told };
        self.request(now, id, rank.feed, |link, request, greeted| {
            link.byte_requests.insert(request, asked);
            request_of(greeted, request, length, urgency, false, Wanted::Bytes(bytes))
        })
    }

    /// Asks a peer for blocks.
    pub(super) fn lease(
        &mut self,
        now: Instant,
        id: PeerId,
        feed_id: FeedId,
        length: u64,
        lease: Lease,
    ) -> Option<Message> {
        let feed = self.feeds.get_mut(&feed_id)?;
        let Lease { runs, urgency, hotswap, any_order } = lease;
        runs.iter().for_each(|run| feed.assigned.set_range(run.clone()));
        self.request(now, id, feed_id, |link, request, greeted| {
            link.ask(request, urgency, hotswap, &runs);
            request_of(greeted, request, length, urgency, any_order, Wanted::Blocks(runs))
        })
    }

    /// Makes a request and notes when it was made.
    fn request(
        &mut self,
        now: Instant,
        id: PeerId,
        feed_id: FeedId,
        make: impl FnOnce(&mut super::channel::Link, RequestId, Instant) -> Request,
    ) -> Option<Message> {
        // It cannot answer before it has credit: how long that takes says nothing of the way.
        let is_held = self.peers.get(&id).is_some_and(|peer| self.is_held(peer));
        let peer = self.peers.get_mut(&id)?;
        let (owed, greeted) = (peer.owed(), peer.greeted_at?);
        let link = peer.links.get_mut(&feed_id)?;
        let (channel, request) = (link.ours, make(link, RequestId(peer.next_request), greeted));
        peer.next_request += 1;
        if owed == 0 {
            (peer.began, peer.last_progress, peer.looked_at) = (now, now, None);
            peer.rate.idle();
            // Only the first answer after a pause tells how long the way is.
            peer.asked_at = (!is_held).then_some(now);
        }
        peer.last_asked = now;
        Some(Message::Request { channel, request })
    }

    /// Takes back everything that was asked of a peer, so that others are asked.
    pub(super) fn revoke(&mut self, id: PeerId) {
        let feeds: Vec<FeedId> = self.feeds.keys().copied().collect();
        feeds.into_iter().for_each(|feed| self.revoke_feed(id, feed));
    }

    pub(super) fn revoke_feed(&mut self, id: PeerId, feed_id: FeedId) {
        let link = self.peers.get_mut(&id).and_then(|peer| peer.links.get_mut(&feed_id));
        let runs = link.map(super::channel::Link::revoke).unwrap_or_default();
        self.release_all(feed_id, &runs);
        let Some(feed) = self.feeds.get_mut(&feed_id) else { return };
        for want in &mut feed.wants {
            want.asked.take_if(|(asked, _)| *asked == id);
        }
    }

    /// Takes back what is owed of some blocks at a lower priority, so that it is asked for at this one; but for what may be on
    /// its way already.
    pub(super) fn raise(&mut self, feed_id: FeedId, priority: Priority, runs: &[Range<u64>]) {
        let Some(feed) = self.feeds.get(&feed_id) else { return };
        let each = feed.block_bytes() + BLOCK_COST;
        let mut raised = Runs::new();
        for peer in self.peers.values_mut() {
            let sent = peer.under_way(each);
            let Some(link) = peer.links.get_mut(&feed_id) else { continue };
            let lower = link.owed_below(priority, sent);
            let runs: RunSet = runs.iter().cloned().collect();
            let runs: Runs = lower.iter().flat_map(|run| runs.part(run)).collect();
            raised.extend(link.take_back(&normal(runs)));
        }
        self.release_all(feed_id, &raised);
    }

    /// Makes it possible to ask for blocks again, but for those that somebody else owes, or sent as well.
    pub(super) fn release_all(&mut self, feed_id: FeedId, runs: &Runs) {
        let Some(feed) = self.feeds.get_mut(&feed_id).filter(|_| !runs.is_empty()) else { return };
        feed.release(runs);
        for link in self.peers.values().filter_map(|peer| peer.links.get(&feed_id)) {
            for run in runs {
                let asked = link.asked.iter_ones(run.clone());
                let storing = link.storing.range(run.clone()).map(|(block, _)| *block);
                asked.chain(storing).for_each(|block| feed.assigned.set(block));
            }
        }
    }

    /// Returns what decides among equally rare regions.
    fn tie_seed(&self) -> u64 {
        u64::from_le_bytes(*self.seed.first_chunk().expect("a seed has 32 bytes"))
    }
}

fn count(runs: &Runs) -> u64 {
    runs.iter().map(|run| run.end - run.start).sum()
}

fn request_of(
    greeted: Instant,
    id: RequestId,
    length: u64,
    urgency: Urgency,
    any_order: bool,
    wanted: Wanted,
) -> Request {
    let Urgency { priority, due } = urgency;
    // One clock for all of them: what is due later never comes before.
    let millis = |due: Instant| u64::try_from(due.since(greeted).as_millis()).unwrap_or(u64::MAX);
    let due = due.map(|due| NonZeroU64::new(millis(due)).unwrap_or(NonZeroU64::MIN));
    Request { id, length, priority, due, any_order, wanted }
}
