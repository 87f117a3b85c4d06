//! Bandwidth limits: what waits in both directions, and what a turn is.
//!
//! Only blocks are held back; everything else goes at once. Up, a block that was read waits here until its peer has a turn. Down,
//! the peers get no more byte credit than may come, so that what has to wait waits with them, unsent. Turns are given by time
//! alone, so that whoever may go on does not depend on whose stream is asked first.
//! Invariant: up, nobody is sent more than it was promised, and time has paid for what is promised, but for the last turn.
//! Elsewhere: whose turn it is (`gate`), how much that is (`throttle`), what credit is beside (`peer`).

use alloc::vec::Vec;

use super::Replicator;
use super::gate::{Both, Direction, Waiting};
use super::peer::Peer;
use super::upload::Next;
use crate::ids::{Instant, PeerId};
use crate::limits::{BLOCK_COST, HELD_LATELY, LEASE_TIME, LIMIT_BURST, LIMIT_TURN};

/// Bandwidth limits in bytes a second, of blocks with their proofs; none and zero are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// What may be sent.
    pub up: Option<u64>,
    /// What may be received.
    pub down: Option<u64>,
}

/// What a peer had of the limits.
#[derive(Debug, Default)]
pub(super) struct Share {
    /// Whether it has none: it is on this computer.
    exempt: bool,
    had: Both<u64>,
    /// What it may be sent now.
    turn: u64,
    /// Whether it was to be asked for something, and what credit it has left was not paid for.
    unasked: bool,
    /// When it could have sent and had no credit, last.
    held_at: Option<Instant>,
}

impl Replicator {
    /// Limits what all feeds may send and receive together, from now on.
    ///
    /// What was granted to peers before still comes, about a round trip's worth, and is counted.
    pub fn limit(&mut self, now: Instant, limits: Limits) {
        // What we ask for is as urgent as we say.
        self.gates.up.set(now, limits.up, true);
        self.gates.down.set(now, limits.down, false);
        self.peers.values_mut().for_each(|peer| peer.share.turn = 0);
    }

    /// Returns the limits.
    pub fn limits(&self) -> Limits {
        let Both { up, down } = &self.gates;
        Limits { up: up.throttle.limit(), down: down.throttle.limit() }
    }

    /// Tells whether there is a limit: asking for a frame may change when the next timeout is, then.
    pub fn is_limited(&self) -> bool {
        self.limits() != Limits::default()
    }

    /// Frees a peer of all limits, which are for networks: it is on this computer. Told before it is asked for a frame.
    pub fn exempt(&mut self, id: PeerId) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.share.exempt = true;
        }
    }

    /// Gives turns to those who wait, as far as the limits allow.
    pub(super) fn give_turns(&mut self, now: Instant) {
        // Whoever has nothing to send now would add what is left to what others have by then.
        self.peers.values_mut().for_each(Peer::drop_idle_turn);
        for direction in [Direction::Up, Direction::Down] {
            while self.turn(now, direction) {}
        }
    }

    /// Returns when somebody who waits may have a turn.
    pub(super) fn next_turn(&self) -> Option<Instant> {
        let next = |direction| {
            let throttle = &self.gates.of(direction).throttle;
            let waits = self.peers.values().any(|peer| self.waits(peer, direction));
            waits.then(|| throttle.free_at(self.reserved(direction)))
        };
        [Direction::Up, Direction::Down].into_iter().filter_map(next).min()
    }

    /// Gives the next peer its turn; tells whether there was one.
    fn turn(&mut self, now: Instant, direction: Direction) -> bool {
        let reserved = self.reserved(direction);
        let waits = |(_, peer): &(_, &Peer)| self.waits(peer, direction);
        let peers = self.peers.iter().filter(waits);
        let waiting: Vec<Waiting> =
            peers.filter_map(|(id, peer)| self.waiting(*id, peer, direction)).collect();
        let gate = self.gates.of_mut(direction);
        if !gate.opens(now, reserved) {
            for waiting in waiting {
                let peer = self.peers.get_mut(&waiting.peer);
                peer.into_iter().for_each(|peer| peer.hold(now, direction));
            }
            return false;
        }
        if matches!(direction, Direction::Down) {
            self.peers.values_mut().for_each(|peer| peer.share.unasked = false);
        }
        let Some(next) = gate.next(now, waiting) else { return false };
        let Some(peer) = self.peers.get_mut(&next.peer) else { return false };
        *peer.share.had.of_mut(direction) = next.had;
        match direction {
            Direction::Up => peer.share.turn = next.bytes,
            Direction::Down => peer.grant_more(now, next.bytes),
        }
        true
    }

    /// Returns what was promised to peers in a direction and did not pass yet.
    pub(super) fn reserved(&self, direction: Direction) -> u64 {
        let limited = self.peers.values().filter(|peer| self.is_limited_for(peer, direction));
        limited.map(|peer| self.promised(peer, direction)).sum()
    }

    fn promised(&self, peer: &Peer, direction: Direction) -> u64 {
        match direction {
            Direction::Up => peer.promised(),
            Direction::Down => self.granted(peer),
        }
    }

    /// Returns what a peer may send of what it owes: the credit it has, and the rest of the block that reaches its end.
    fn granted(&self, peer: &Peer) -> u64 {
        if !peer.has_credit() {
            return 0;
        }
        let owes = peer.links.iter().filter(|(_, link)| link.owed() > 0);
        let blocks = owes.filter_map(|(feed, _)| Some(self.feeds.get(feed)?.block_bytes()));
        blocks.max().map_or(0, |block| (peer.granted - peer.arrived).max(block + BLOCK_COST))
    }

    /// Tells whether a peer could send or be sent something, and has no turn for that.
    fn waits(&self, peer: &Peer, direction: Direction) -> bool {
        self.is_limited_for(peer, direction)
            && match direction {
                Direction::Up => peer.next_answer().is_some() && peer.promised() == 0,
                Direction::Down => {
                    let has_room = || peer.has_room(self.credit(peer));
                    let may = peer.greeted_at.is_some() && !peer.faulted;
                    may && (peer.share.unasked || peer.owed() > 0 && has_room())
                }
            }
    }

    fn waiting(&self, id: PeerId, peer: &Peer, direction: Direction) -> Option<Waiting> {
        let share = self.gates.of(direction).throttle.share(LIMIT_TURN).max(1);
        let (priority, bytes) = match direction {
            Direction::Up => peer.next_answer().map(|next| (next.priority, share.max(next.len)))?,
            Direction::Down => {
                let urgency = peer.links.values().filter_map(|link| link.urgency()).max()?;
                (urgency, share.min(self.credit(peer) / 4).max(1))
            }
        };
        let had = *peer.share.had.of(direction);
        Some(Waiting { peer: id, priority, had, reserved: self.promised(peer, direction), bytes })
    }

    /// Tells whether a peer may be asked now: one that has credit left and owes nothing could send at once what nobody counts yet.
    pub(super) fn may_ask(&mut self, now: Instant, id: PeerId) -> bool {
        let Some(peer) = self.peers.get(&id) else { return false };
        let counts = peer.owed() > 0 || !peer.has_credit();
        if counts || !self.is_limited_for(peer, Direction::Down) {
            return true;
        }
        let free_at = self.gates.down.throttle.free_at(self.reserved(Direction::Down));
        let is_free = free_at <= now;
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.share.unasked |= !is_free;
        }
        is_free
    }

    /// Returns how much credit a peer may have at a time.
    fn credit(&self, peer: &Peer) -> u64 {
        let rtt = peer.rate.rtt_min().unwrap_or_default();
        let under_way = LIMIT_BURST + rtt.saturating_mul(5) / 4;
        peer.rate.credit().min(self.gates.down.throttle.share(under_way)).max(1)
    }

    /// Counts a block that passed; `reserved` is what was promised until then.
    pub(super) fn charge(
        &mut self,
        now: Instant,
        id: PeerId,
        direction: Direction,
        bytes: u64,
        reserved: u64,
    ) {
        let Some(peer) = self.peers.get_mut(&id).filter(|peer| !peer.share.exempt) else { return };
        *peer.share.had.of_mut(direction) += bytes;
        if matches!(direction, Direction::Up) {
            peer.share.turn = peer.share.turn.saturating_sub(bytes);
            peer.drop_idle_turn();
        }
        self.gates.of_mut(direction).charge(now, bytes, reserved);
    }

    /// Tells whether a limit holds for a peer.
    pub(super) fn is_limited_for(&self, peer: &Peer, direction: Direction) -> bool {
        !peer.share.exempt && self.gates.of(direction).is_on()
    }

    /// Returns how many bytes a limit leaves for a lease.
    pub(super) fn lease_limit(&self, peer: &Peer) -> u64 {
        match self.is_limited_for(peer, Direction::Down) {
            true => self.gates.down.throttle.share(LEASE_TIME),
            false => u64::MAX,
        }
    }

    /// Tells whether a peer cannot send since it has no credit, for our limit alone.
    pub(super) fn is_held(&self, peer: &Peer) -> bool {
        !peer.has_credit() && self.is_limited_for(peer, Direction::Down)
    }

    /// Tells whether a peer had to wait for credit of late: how slow it is says nothing.
    pub(super) fn was_held(&self, peer: &Peer, now: Instant) -> bool {
        let held = peer.share.held_at.is_some_and(|at| now < at + HELD_LATELY);
        held && self.is_limited_for(peer, Direction::Down)
    }
}

impl Peer {
    /// Returns the answer that the peer would be sent next, if it may be sent any.
    fn next_answer(&self) -> Option<Next> {
        self.upload.next().filter(|_| self.sent < self.their_grant && !self.faulted)
    }

    /// Returns what the peer may be sent in its turn: nothing if the next block is larger than what is left of it.
    pub(super) fn promised(&self) -> u64 {
        let next = self.next_answer().filter(|next| next.len <= self.share.turn);
        next.map_or(0, |_| self.share.turn)
    }

    fn drop_idle_turn(&mut self) {
        self.share.turn = self.promised();
    }

    /// Notes that the limit keeps the peer waiting.
    fn hold(&mut self, now: Instant, direction: Direction) {
        if matches!(direction, Direction::Down) {
            self.share.held_at = Some(now);
        }
    }
}
