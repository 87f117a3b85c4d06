//! Bandwidth limits: whose block may begin next, in both directions.
//!
//! Only blocks are held back; everything else goes at once. Up, a block that was read waits here until its peer has a turn. Down,
//! the peers get no more byte credit than may come, so that what has to wait waits with them, unsent. Turns are given by time
//! alone: the most urgent first, then who had least, so that whoever may go on does not depend on whose stream is asked first.
//! Elsewhere: how much that is (`throttle`), what credit is beside (`peer`).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::cmp::Reverse;

use super::Replicator;
use super::feed::Feed;
use super::peer::Peer;
use super::throttle::Throttle;
use crate::ids::{FeedId, Instant, PeerId, Priority};
use crate::limits::{BLOCK_COST, LEASE_TIME, LIMIT_BURST, LIMIT_LEAD, LIMIT_TURN, SLOW};
use crate::wire::Channel;

/// Bandwidth limits in bytes a second, of blocks with their proofs; none and zero are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// What may be sent.
    pub up: Option<u64>,
    /// What may be received.
    pub down: Option<u64>,
}

/// What a limit is for: everything, or feeds, one of which stands for all.
type Scope = Option<FeedId>;

/// What is promised and did not pass yet, in bytes.
pub(super) type Reserved = BTreeMap<Scope, u64>;

/// The limits of a scope.
#[derive(Debug, Default)]
struct Valve {
    up: Throttle,
    down: Throttle,
}

/// All limits. What is not here has none.
#[derive(Debug, Default)]
pub(super) struct Gate {
    valves: BTreeMap<Scope, Valve>,
    /// What the peer that has to wait had at least, up and down: whoever comes later begins there.
    up_floor: u64,
    down_floor: u64,
}

/// What a peer had of the limits.
#[derive(Debug, Default)]
pub(super) struct Share {
    /// Whether it has none: it is on this computer.
    pub(super) exempt: bool,
    up: u64,
    down: u64,
    /// What it may be sent now.
    turn: u64,
    /// When it could have sent and had no credit, last.
    held_at: Option<Instant>,
}

impl Gate {
    pub(super) fn is_on(&self) -> bool {
        !self.valves.is_empty()
    }

    fn set(&mut self, now: Instant, scope: Scope, limits: Limits) {
        let valve = self.valves.entry(scope).or_default();
        valve.up.set(now, limits.up);
        valve.down.set(now, limits.down);
        self.valves.retain(|_, valve| valve.limits() != Limits::default());
    }

    fn up(&self, feed: &Feed) -> impl Iterator<Item = (Scope, &Throttle)> {
        let scopes = [Some(None), feed.limited.map(Some)].into_iter().flatten();
        let of = |scope| Some((scope, &self.valves.get(&scope)?.up));
        scopes.filter_map(of).filter(|(_, throttle)| throttle.limit().is_some())
    }

    /// Tells whether so many blocks of a feed with a limit of its own were read for a peer that more would be in others' way.
    pub(super) fn has_read_enough(&self, feed: &Feed, read: impl FnOnce() -> u64) -> bool {
        let own = |(scope, throttle): (Scope, &Throttle)| scope.map(|_| throttle.share(LIMIT_TURN));
        self.up(feed).find_map(own).is_some_and(|share| {
            let read = read();
            read > 0 && read.saturating_mul(feed.block_bytes()) >= share
        })
    }
}

impl Valve {
    fn limits(&self) -> Limits {
        Limits { up: self.up.limit(), down: self.down.limit() }
    }
}

impl Replicator {
    /// Limits what all feeds may send and receive together, from now on.
    ///
    /// What was granted to peers before still comes, about a round trip's worth, and is counted.
    pub fn limit(&mut self, now: Instant, limits: Limits) {
        self.gate.set(now, None, limits);
    }

    /// Limits what these feeds may send and receive together, from now on, whatever each of them was limited with before;
    /// the stricter of this and [`limit`](Self::limit) holds.
    ///
    /// A stream that owes blocks of several such groups follows the strictest.
    pub fn limit_feeds(&mut self, now: Instant, feeds: &[FeedId], limits: Limits) {
        let leader = feeds.iter().min().copied();
        for feed in feeds {
            if let Some(feed) = self.feeds.get_mut(feed) {
                feed.limited = leader;
            }
        }
        if leader.is_some() {
            self.gate.set(now, leader, limits);
        }
        let used = |scope: Scope| self.feeds.values().any(|feed| feed.limited == scope);
        self.gate.valves.retain(|scope, _| scope.is_none() || used(*scope));
    }

    /// Returns the limits of all feeds together.
    pub fn limits(&self) -> Limits {
        self.gate.valves.get(&None).map(Valve::limits).unwrap_or_default()
    }

    /// Tells whether there is a limit: asking for a frame may change when the next timeout is, then.
    pub fn is_limited(&self) -> bool {
        self.gate.is_on()
    }

    /// Frees a peer of all limits, which are for networks: it is on this computer. Told before it is asked for a frame.
    pub fn exempt(&mut self, id: PeerId) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.share.exempt = true;
        }
    }

    /// Gives turns to those who wait, as far as the limits allow.
    pub(super) fn give_turns(&mut self, now: Instant) {
        if self.gate.is_on() {
            while self.turn_up(now) {}
            while self.turn_down(now) {}
        }
    }

    /// Returns when somebody who waits may have a turn.
    pub(super) fn next_turn(&self) -> Option<Instant> {
        if !self.gate.is_on() {
            return None;
        }
        let (up, down) = (self.reserved_up(), self.reserved_down());
        let ups = self.waiting_up(&up).map(|waiting| waiting.at);
        let downs = self.waiting_down(&down).map(|waiting| waiting.at);
        ups.chain(downs).min()
    }
}

/// A peer that waits for its turn.
struct Waiting {
    peer: PeerId,
    priority: Priority,
    /// When it may have it.
    at: Instant,
    /// What it had already.
    had: u64,
    /// How much it gets.
    bytes: u64,
    /// The limit that is the strictest for it, a second.
    limit: u64,
}

impl Waiting {
    /// Returns its place among those who want to be sent something, the least of whom had `least`.
    ///
    /// Peers say themselves what is urgent: that brings a block forward, not more of them.
    fn rank(&self, least: u64) -> (Reverse<Priority>, u64, PeerId) {
        let is_ahead = self.had - least >= share(self.limit, LIMIT_LEAD);
        let priority = if is_ahead { Priority(0) } else { self.priority };
        (Reverse(priority), self.had, self.peer)
    }
}

// Up.
impl Replicator {
    /// Returns what was promised to peers and not sent yet.
    pub(super) fn reserved_up(&self) -> Reserved {
        let mut all = BTreeMap::new();
        for (id, peer) in self.peers.iter().filter(|(_, peer)| peer.share.turn > 0) {
            let Some((feed, len)) = self.next_answer(*id, peer) else { continue };
            for (scope, _) in self.gate.up(feed) {
                *all.entry(scope).or_default() += peer.share.turn.max(len);
            }
        }
        all
    }

    /// Returns the feed and the size of the block that a peer would be sent next.
    fn next_answer(&self, id: PeerId, peer: &Peer) -> Option<(&Feed, u64)> {
        let may = peer.sent < peer.their_grant && !peer.faulted;
        let next = peer.upload.next(|feed| may && self.may_send(id, feed));
        next.and_then(|next| Some((self.feeds.get(&next.feed)?, next.len)))
    }

    /// Tells whether a block of a feed may be sent to a peer now.
    pub(super) fn may_send(&self, id: PeerId, feed: FeedId) -> bool {
        let (Some(peer), Some(feed)) = (self.peers.get(&id), self.feeds.get(&feed)) else {
            return false;
        };
        if peer.share.exempt {
            return true;
        }
        let mut limited = self.gate.up(feed).peekable();
        // Its turn may be for another feed; the debt of all of them is shared by those who have turns.
        limited.peek().is_none()
            || peer.share.turn > 0
                && limited.all(|(scope, throttle)| scope.is_none() || !throttle.is_in_debt())
    }

    fn waiting_up(&self, reserved: &Reserved) -> impl Iterator<Item = Waiting> {
        let waits = |peer: &&Peer| {
            let may = peer.sent < peer.their_grant && !peer.faulted && !peer.share.exempt;
            may && peer.share.turn == 0
        };
        let peers = self.peers.iter().filter(move |(_, peer)| waits(peer));
        peers.filter_map(move |(id, peer)| {
            let answers = peer.upload.firsts().filter_map(|(priority, feed)| {
                let mut at = None;
                let mut limit = u64::MAX;
                let feed = self.feeds.get(&feed)?;
                for (scope, throttle) in self.gate.up(feed) {
                    let reserved = reserved.get(&scope).copied().unwrap_or(0);
                    at = at.max(Some(throttle.free_at(reserved)));
                    limit = limit.min(throttle.limit().unwrap_or(u64::MAX));
                }
                Some((at?, priority, limit))
            });
            let (at, priority, limit) = answers.min_by_key(|(at, ..)| *at)?;
            let had = peer.share.up.max(self.gate.up_floor);
            let bytes = share(limit, LIMIT_TURN).max(1);
            Some(Waiting { peer: *id, priority, at, had, bytes, limit })
        })
    }

    /// Gives the next peer its turn to be sent a block; tells whether there was one.
    fn turn_up(&mut self, now: Instant) -> bool {
        let reserved = self.reserved_up();
        for (scope, valve) in &mut self.gate.valves {
            valve.up.fill(now, reserved.get(scope).copied().unwrap_or(0));
        }
        let waiting: Vec<Waiting> =
            self.waiting_up(&reserved).filter(|waiting| waiting.at <= now).collect();
        let Some(least) = waiting.iter().map(|waiting| waiting.had).min() else { return false };
        self.gate.up_floor = least;
        let next = waiting.iter().min_by_key(|waiting| waiting.rank(least));
        let Some(next) = next else { return false };
        let Some(peer) = self.peers.get_mut(&next.peer) else { return false };
        (peer.share.turn, peer.share.up) = (next.bytes, next.had);
        true
    }

    /// Counts a block that is being sent.
    ///
    /// `reserved` is what was promised until then.
    pub(super) fn charge_up(
        &mut self,
        now: Instant,
        id: PeerId,
        feed: FeedId,
        bytes: u64,
        reserved: &Reserved,
    ) {
        let Some(peer) = self.peers.get_mut(&id).filter(|peer| !peer.share.exempt) else { return };
        peer.share.turn = peer.share.turn.saturating_sub(bytes);
        peer.share.up += bytes;
        let limited = self.feeds.get(&feed).and_then(|feed| feed.limited);
        for scope in [Some(None), limited.map(Some)].into_iter().flatten() {
            if let Some(valve) = self.gate.valves.get_mut(&scope) {
                valve.up.charge(now, bytes, reserved.get(&scope).copied().unwrap_or(0));
            }
        }
    }
}

// Down.
impl Replicator {
    /// Returns the limits that a peer's credit is subject to: of what it owes, or could owe.
    fn down<'a>(&'a self, peer: &'a Peer) -> impl Iterator<Item = (Scope, &'a Throttle)> {
        let owes = peer.owed() > 0;
        let links = peer.links.iter().filter(move |(_, link)| !owes || link.owed() > 0);
        let mut scopes: Vec<Scope> =
            links.filter_map(|(feed, _)| self.feeds.get(feed)?.limited.map(Some)).collect();
        scopes.push(None);
        scopes.sort_unstable();
        scopes.dedup();
        let scopes = if peer.share.exempt { Vec::new() } else { scopes };
        let of = |scope| Some((scope, &self.gate.valves.get(&scope)?.down));
        scopes.into_iter().filter_map(of).filter(|(_, throttle)| throttle.limit().is_some())
    }

    /// Tells whether a peer's credit is limited.
    pub(super) fn is_credit_limited(&self, id: PeerId) -> bool {
        self.gate.is_on() && self.peers.get(&id).is_some_and(|peer| self.has_limit(peer))
    }

    fn has_limit(&self, peer: &Peer) -> bool {
        self.down(peer).next().is_some()
    }

    /// Returns how many bytes a limit leaves for a lease.
    pub(super) fn lease_limit(&self, peer: &Peer) -> u64 {
        if !self.gate.is_on() {
            return u64::MAX;
        }
        let shares = self.down(peer).map(|(_, throttle)| throttle.share(LEASE_TIME));
        shares.min().unwrap_or(u64::MAX)
    }

    /// Tells whether a peer cannot send since it has no credit, for our limit alone.
    pub(super) fn is_held(&self, peer: &Peer) -> bool {
        self.gate.is_on() && !peer.has_credit() && self.has_limit(peer)
    }

    /// Tells whether a peer had to wait for credit of late: how slow it is says nothing.
    pub(super) fn was_held(&self, peer: &Peer, now: Instant) -> bool {
        let held = peer.share.held_at.is_some_and(|at| now < at + SLOW);
        held && self.has_limit(peer)
    }

    /// Returns what a peer may send of what it owes: the credit it has, and the rest of the block that reaches its end.
    fn reserve(&self, peer: &Peer) -> u64 {
        let owes = peer.links.iter().filter(|(_, link)| link.owed() > 0);
        let blocks = owes.filter_map(|(feed, _)| Some(self.feeds.get(feed)?.block_bytes()));
        match blocks.max() {
            Some(block) if peer.has_credit() => {
                (peer.granted - peer.arrived).max(block + BLOCK_COST)
            }
            _ => 0,
        }
    }

    fn reserved_down(&self) -> Reserved {
        let mut all = BTreeMap::new();
        for peer in self.peers.values() {
            let reserve = self.reserve(peer);
            if reserve > 0 {
                for (scope, _) in self.down(peer) {
                    *all.entry(scope).or_default() += reserve;
                }
            }
        }
        all
    }

    fn waiting_down(&self, reserved: &Reserved) -> impl Iterator<Item = Waiting> {
        let waits = |peer: &&Peer| peer.hello_sent && !peer.faulted && peer.owed() > 0;
        let peers = self.peers.iter().filter(move |(_, peer)| waits(peer));
        peers.filter_map(move |(id, peer)| {
            let limits = self.down(peer).map(|(scope, throttle)| {
                let reserved = reserved.get(&scope).copied().unwrap_or(0);
                (throttle.free_at(reserved), throttle.limit().unwrap_or(u64::MAX))
            });
            let (at, limit) =
                limits.reduce(|one, other| (one.0.max(other.0), one.1.min(other.1)))?;
            let rtt = peer.rate.rtt_min().unwrap_or_default();
            let under_way = LIMIT_BURST + rtt.saturating_mul(5) / 4;
            let credit = peer.rate.credit().min(share(limit, under_way)).max(1);
            let bytes = share(limit, LIMIT_TURN).min(credit / 4).max(1);
            let had = peer.share.down.max(self.gate.down_floor) + self.reserve(peer);
            let priority = peer.links.values().filter_map(|link| link.urgency()).max()?;
            let waiting = Waiting { peer: *id, priority, at, had, bytes, limit };
            peer.has_room(credit).then_some(waiting)
        })
    }

    /// Gives the next peer its turn to send; tells whether there was one.
    fn turn_down(&mut self, now: Instant) -> bool {
        let reserved = self.reserved_down();
        for (scope, valve) in &mut self.gate.valves {
            valve.down.fill(now, reserved.get(scope).copied().unwrap_or(0));
        }
        let (free, held): (Vec<Waiting>, Vec<Waiting>) =
            self.waiting_down(&reserved).partition(|waiting| waiting.at <= now);
        for waiting in &held {
            if let Some(peer) = self.peers.get_mut(&waiting.peer) {
                peer.share.held_at = Some(now);
            }
        }
        let rank = |waiting: &&Waiting| (Reverse(waiting.priority), waiting.had, waiting.peer);
        let Some(next) = free.iter().min_by_key(rank) else { return false };
        let others = free.iter().filter_map(|waiting| self.peers.get(&waiting.peer));
        let least = others.map(|peer| peer.share.down).min().unwrap_or(0);
        self.gate.down_floor = self.gate.down_floor.max(least);
        let floor = self.gate.down_floor;
        let Some(peer) = self.peers.get_mut(&next.peer) else { return false };
        peer.share.down = peer.share.down.max(floor);
        peer.grant_more(now, next.bytes);
        true
    }

    /// Counts a block that came.
    pub(super) fn charge_down(&mut self, now: Instant, id: PeerId, channel: Channel, bytes: u64) {
        let reserved = self.reserved_down();
        let Some(peer) = self.peers.get_mut(&id).filter(|peer| !peer.share.exempt) else { return };
        peer.share.down += bytes;
        let feed = peer.theirs.get(&channel).and_then(|feed| self.feeds.get(feed));
        let limited = feed.and_then(|feed| feed.limited);
        for scope in [Some(None), limited.map(Some)].into_iter().flatten() {
            if let Some(valve) = self.gate.valves.get_mut(&scope) {
                valve.down.charge(now, bytes, reserved.get(&scope).copied().unwrap_or(0));
            }
        }
    }
}

/// Returns how many bytes pass in a time.
fn share(limit: u64, span: core::time::Duration) -> u64 {
    let bytes = u128::from(limit).saturating_mul(span.as_micros()) / 1_000_000;
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_urgent_comes_first_unless_its_peer_is_far_ahead_of_its_share() {
        let limit = 1_000_000;
        let waiting = |peer, priority, had| {
            let (peer, priority) = (PeerId(peer), Priority(priority));
            Waiting { peer, priority, at: Instant(0), had, bytes: 1, limit }
        };
        let (least, lead) = (700, share(limit, LIMIT_LEAD));
        for (ahead, first) in [(0, 2), (lead - 1, 2), (lead, 1), (2 * lead, 1)] {
            let all =
                [waiting(0, 0, least + 1), waiting(1, 0, least), waiting(2, 9, least + ahead)];
            let next = all.iter().min_by_key(|waiting| waiting.rank(least)).unwrap();
            assert_eq!(next.peer, PeerId(first), "{ahead}");
        }
    }
}
