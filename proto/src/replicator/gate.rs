//! A bandwidth limit of one direction: who of those who wait is next, and when.
//!
//! The most urgent is next, then who had least. Who is urgent overtakes those who had less: where peers say themselves what is
//! urgent that is paid for by an allowance that all of them share, since one that overtook enough would come anew otherwise.
//! Elsewhere: who waits, and what a turn is (`limit`); the limit itself (`throttle`).

use alloc::vec::Vec;
use core::cmp::Reverse;

use super::throttle::Throttle;
use crate::ids::{Instant, PeerId, Priority};
use crate::limits::{LIMIT_LEAD, LIMIT_OVERTAKING};

#[derive(Clone, Copy, Debug)]
pub(super) enum Direction {
    Up,
    Down,
}

/// One for each direction.
#[derive(Debug, Default)]
pub(super) struct Both<T> {
    pub(super) up: T,
    pub(super) down: T,
}

impl<T> Both<T> {
    pub(super) const fn of(&self, direction: Direction) -> &T {
        match direction {
            Direction::Up => &self.up,
            Direction::Down => &self.down,
        }
    }

    pub(super) const fn of_mut(&mut self, direction: Direction) -> &mut T {
        match direction {
            Direction::Up => &mut self.up,
            Direction::Down => &mut self.down,
        }
    }
}

/// The limit of one direction.
#[derive(Debug, Default)]
pub(super) struct Gate {
    pub(super) throttle: Throttle,
    /// What overtaking is paid from.
    overtaking: Throttle,
    /// What the peer that had to wait had at least: whoever comes later begins there.
    floor: u64,
}

/// A peer that waits for its turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) peer: PeerId,
    pub(super) priority: Priority,
    /// What it had already.
    pub(super) had: u64,
    /// What it was promised beside.
    pub(super) reserved: u64,
    /// How much it gets.
    pub(super) bytes: u64,
}

impl Waiting {
    /// Returns its place among those whom nobody overtakes.
    fn place(&self) -> (u64, PeerId) {
        (self.had.saturating_add(self.reserved), self.peer)
    }
}

impl Gate {
    pub(super) fn is_on(&self) -> bool {
        self.throttle.limit().is_some()
    }

    /// Sets the limit, in bytes a second, and whether it is peers who say what is urgent.
    pub(super) fn set(&mut self, now: Instant, limit: Option<u64>, by_peers: bool) {
        self.throttle.set(now, limit);
        let overtaking = limit.filter(|_| by_peers).map(|limit| limit.div_ceil(LIMIT_OVERTAKING));
        self.overtaking.set(now, overtaking);
    }

    /// Counts bytes that passed; `reserved` is what was promised until they did.
    pub(super) fn charge(&mut self, now: Instant, bytes: u64, reserved: u64) {
        self.throttle.charge(now, bytes, reserved);
    }

    /// Counts the time that passed; tells whether more may begin.
    pub(super) fn opens(&mut self, now: Instant, reserved: u64) -> bool {
        self.throttle.fill(now, reserved);
        self.overtaking.fill(now, 0);
        self.throttle.free_at(reserved) <= now
    }

    /// Picks who has the next turn, and has it paid for if it overtakes; returns it with what it counts to have had.
    pub(super) fn next(&mut self, now: Instant, mut waiting: Vec<Waiting>) -> Option<Waiting> {
        waiting.iter_mut().for_each(|one| one.had = one.had.max(self.floor));
        let least = waiting.iter().map(|one| one.had).min()?;
        self.floor = least;
        let (may_overtake, lead) =
            (!self.overtaking.is_in_debt(), self.overtaking.share(LIMIT_LEAD));
        let rank = |one: &&Waiting| {
            let is_urgent = may_overtake && one.had - least < lead;
            (Reverse(if is_urgent { one.priority } else { Priority(0) }), one.place())
        };
        let next = *waiting.iter().min_by_key(rank)?;
        if waiting.iter().any(|one| one.place() < next.place()) {
            self.overtaking.charge(now, next.bytes, 0);
        }
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 1_000_000;

    fn gate(by_peers: bool) -> Gate {
        let mut gate = Gate::default();
        gate.set(Instant(0), Some(LIMIT), by_peers);
        gate
    }

    fn waiting(peer: u64, priority: u8, had: u64) -> Waiting {
        let (peer, priority) = (PeerId(peer), Priority(priority));
        Waiting { peer, priority, had, reserved: 0, bytes: 1 }
    }

    #[test]
    fn what_is_urgent_comes_first_unless_its_peer_is_far_ahead_of_its_share() {
        let lead = gate(true).overtaking.share(LIMIT_LEAD);
        for (ahead, by_peers, first) in [
            (0, true, 2),
            (lead - 1, true, 2),
            (lead, true, 1),
            (2 * lead, true, 1),
            // What we want ourselves is as urgent as we say.
            (2 * lead, false, 2),
        ] {
            let least = 700;
            let all =
                [waiting(0, 0, least + 1), waiting(1, 0, least), waiting(2, 9, least + ahead)];
            let next = gate(by_peers).next(Instant(0), all.to_vec()).unwrap();
            assert_eq!(next.peer, PeerId(first), "{ahead}");
        }
    }

    #[test]
    fn overtaking_is_paid_for_by_all_who_do_and_by_nobody_else() {
        let mut gate = gate(true);
        let overtakes = |gate: &mut Gate, now: Instant| {
            gate.opens(now, 0);
            // Each is another peer, and none is ahead by much.
            let loud = Waiting { bytes: LIMIT / 10, ..waiting(now.0, 9, 6) };
            gate.next(now, alloc::vec![waiting(0, 0, 5), loud]).unwrap().peer == loud.peer
        };
        let (mut now, mut overtook) = (Instant(0), 0);
        for _ in 0..100 {
            now.0 += 100_000;
            overtook += u64::from(overtakes(&mut gate, now));
        }
        let share = 10 * LIMIT / LIMIT_OVERTAKING / (LIMIT / 10);
        assert!(overtook.abs_diff(share) <= 2, "{overtook} of {share}");
        while overtakes(&mut gate, now) {}
        let next = gate.next(now, alloc::vec![waiting(0, 0, 50), waiting(1, 9, 6)]);
        assert_eq!(next.unwrap().peer, PeerId(1), "who had least overtakes nobody");
    }

    #[test]
    fn whoever_comes_later_begins_at_what_those_had_who_wait() {
        let mut gate = gate(true);
        for (least, latecomer) in [(500, 500), (800, 800), (300, 800)] {
            gate.next(Instant(0), alloc::vec![waiting(0, 0, least), waiting(1, 0, 900)]);
            let next = gate.next(Instant(0), alloc::vec![waiting(2, 0, 0)]).unwrap();
            assert_eq!(next.had, latecomer);
        }
    }
}
