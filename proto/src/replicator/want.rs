//! What is wanted of a feed: blocks or bytes, how urgently, and in which order.
//!
//! Elsewhere: in which order wants are served (`download`), which blocks of one come next (`picker`, `bisection`, `rarity`).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::Range;

use super::bisection::Bisection;
use super::blocks::BlockSet;
use super::rarity::Tour;
use crate::ids::{Instant, PeerId, Priority, WantId};
use crate::wire::Runs;

/// Something wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// What.
    pub target: Target,
    /// How urgently.
    pub priority: Priority,
    /// In which order.
    pub order: Order,
    /// Whether a peer that would be done sooner takes over what another one owes, at the price of some blocks that come twice.
    pub hotswap: bool,
    /// When it should be here: what comes first is asked of whoever delivers it soonest, in small portions.
    pub deadline: Option<Instant>,
}

impl Want {
    /// Wants this as bulk: rarest first, with hot-swap.
    pub const fn new(target: Target) -> Self {
        let (priority, order) = (Priority(0), Order::Rarest);
        Self { target, priority, order, hotswap: true, deadline: None }
    }
}

/// Blocks, or bytes whose blocks are not known yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The whole feed, also what it grows by: never done.
    All,
    /// These blocks, in any order and overlap.
    Blocks(Runs),
    /// The blocks that hold these bytes of the feed.
    Bytes(Range<u64>),
}

/// In which order blocks are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Order {
    /// Strictly from first to last.
    Linear,
    /// The middle, then the middles of both halves, and so on: an even sample at any time.
    Bisect,
    /// What fewest peers hold first.
    #[default]
    Rarest,
}

/// How far a want is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Progress {
    /// Blocks of it that are here; those that hold wanted bytes do not count before they are.
    pub here: u64,
    /// Blocks that it has.
    pub of: u64,
    /// Bytes that came for it.
    pub bytes: u64,
}

/// A want under way.
///
/// Invariant: `runs` ascend with gaps between them; `missing` counts their blocks that are not held; all of them below `front`
/// are.
#[derive(Clone, Debug)]
pub(super) struct Open {
    pub(super) id: WantId,
    pub(super) priority: Priority,
    pub(super) order: Order,
    pub(super) hotswap: bool,
    pub(super) deadline: Option<Instant>,
    pub(super) runs: Runs,
    /// Whether `runs` are the whole feed, however long it becomes.
    pub(super) follows: bool,
    pub(super) missing: u64,
    pub(super) front: u64,
    /// How many blocks were asked for, so that wants that are equal get equal shares.
    pub(super) served: u64,
    /// Bytes that came for it.
    got: u64,
    /// How far bisecting and rarest first are.
    pub(super) bisection: Bisection,
    pub(super) tour: Tour,
    /// Bytes that no stored block covered yet.
    pub(super) bytes: Runs,
    /// Whom the bytes are asked of, since when, and who did not have them.
    pub(super) asked: Option<(PeerId, Instant)>,
    pub(super) tried: BTreeMap<PeerId, Tried>,
}

/// A peer that did not have the bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tried {
    /// When it said so.
    pub(super) at: Instant,
    /// How often it had told of more blocks when it was asked. Which bytes these are, nobody knows yet.
    pub(super) told: u64,
}

impl Open {
    /// Opens a want of a feed of `length` blocks.
    pub(super) fn new(id: WantId, want: Want, have: &BlockSet, length: u64) -> Self {
        let Want { target, priority, order, hotswap, deadline } = want;
        let follows = target == Target::All;
        let (runs, bytes) = match target {
            Target::All => (normal(alloc::vec![0..length]), Runs::new()),
            Target::Blocks(runs) => (normal(runs), Runs::new()),
            Target::Bytes(bytes) => (Runs::new(), normal(alloc::vec![bytes])),
        };
        let mut open = Self {
            id,
            priority,
            order,
            hotswap,
            deadline,
            bisection: Bisection::of(&runs),
            tour: Tour::default(),
            runs,
            follows,
            missing: 0,
            front: 0,
            served: 0,
            got: 0,
            bytes,
            asked: None,
            tried: BTreeMap::new(),
        };
        open.count(have);
        open
    }

    /// The feed has so many blocks now.
    pub(super) fn grow(&mut self, length: u64, have: &BlockSet) {
        if self.follows {
            self.runs = normal(alloc::vec![0..length]);
            (self.bisection, self.tour) = (Bisection::of(&self.runs), Tour::default());
            self.count(have);
        }
    }

    /// Notes that a peer does not have the bytes, which had told of more blocks so often when it was asked.
    pub(super) fn refused(&mut self, now: Instant, peer: PeerId, told: u64) {
        self.asked.take_if(|(asked, _)| *asked == peer);
        self.tried.insert(peer, Tried { at: now, told });
    }

    /// Counts anew what is missing.
    pub(super) fn count(&mut self, have: &BlockSet) {
        let missing = self.runs.iter().flat_map(|run| have.gaps_in(run.clone()));
        self.missing = missing.map(|gap| gap.end - gap.start).sum();
        self.front = 0;
    }

    /// Passes over what is held at the front.
    pub(super) fn advance(&mut self, have: &BlockSet) {
        let after = self.runs.partition_point(|run| run.end <= self.front);
        for run in self.runs.iter().skip(after) {
            let rest = self.front.max(run.start)..run.end;
            self.front = have.first_zero(&rest).unwrap_or(run.end);
            if self.front < run.end {
                return;
            }
        }
    }

    /// Returns what of the runs is not passed over.
    pub(super) fn rest(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        let after = self.runs.partition_point(|run| run.end <= self.front);
        let rest = self.runs.iter().skip(after);
        rest.map(|run| run.start.max(self.front)..run.end)
    }

    /// Notes that a block was stored that holds `bytes` of the feed.
    pub(super) fn stored(&mut self, block: u64, bytes: &Range<u64>) {
        if contains(&self.runs, block) {
            self.missing -= 1;
            self.got += bytes.end - bytes.start;
        }
        if self.bytes.iter().any(|run| run.start < bytes.end && bytes.start < run.end) {
            self.got += bytes.end - bytes.start;
            let rest = |run: &Range<u64>| {
                [run.start..run.end.min(bytes.start), run.start.max(bytes.end)..run.end]
            };
            self.bytes = normal(self.bytes.iter().flat_map(rest).collect());
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.missing == 0 && self.bytes.is_empty() && !self.follows
    }

    /// Tells whether something of it is not here.
    pub(super) fn lacks(&self) -> bool {
        self.missing > 0 || !self.bytes.is_empty()
    }

    pub(super) fn progress(&self) -> Progress {
        let of = self.runs.iter().map(|run| run.end - run.start).sum();
        Progress { here: of - self.missing, of, bytes: self.got }
    }
}

/// Tells whether a block is in ascending runs.
pub(super) fn contains(runs: &[Range<u64>], block: u64) -> bool {
    let after = runs.partition_point(|run| run.end <= block);
    runs.get(after).is_some_and(|run| run.contains(&block))
}

/// Sorts ranges, drops empty ones and joins those that touch.
pub(super) fn normal(mut ranges: Vec<Range<u64>>) -> Runs {
    ranges.retain(|range| range.start < range.end);
    ranges.sort_unstable_by_key(|range| range.start);
    let mut runs = Runs::new();
    for range in ranges {
        match runs.last_mut() {
            Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
            _ => runs.push(range),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_brought_into_order() {
        assert_eq!(normal(alloc::vec![5..7, 1..3, 3..4, 9..9, 6..8]), [1..4, 5..8]);
    }

    fn open(target: Target, have: &BlockSet) -> Open {
        Open::new(WantId(1), Want::new(target), have, 100)
    }

    #[test]
    fn bytes_are_done_when_blocks_cover_them() {
        let mut open = open(Target::Bytes(100..300), &BlockSet::default());
        open.stored(7, &(150..200));
        assert_eq!(open.bytes, [100..150, 200..300]);
        open.stored(8, &(200..400));
        open.stored(6, &(0..150));
        assert!(open.is_done());
        assert_eq!(open.progress(), Progress { here: 0, of: 0, bytes: 400 });
    }

    #[test]
    fn what_is_held_at_the_front_is_passed_over() {
        let mut have = BlockSet::default();
        have.set_range(5..30);
        let mut open = open(Target::Blocks(alloc::vec![10..20, 25..40, 50..60]), &have);
        assert_eq!(open.progress(), Progress { here: 15, of: 35, bytes: 0 });
        open.advance(&have);
        assert!(open.rest().eq([30..40, 50..60]));
        have.set_range(30..60);
        open.advance(&have);
        assert_eq!(open.rest().count(), 0);
        have.clear_range(12..14);
        open.count(&have);
        open.advance(&have);
        assert!(open.rest().eq([12..20, 25..40, 50..60]));
        assert_eq!(open.missing, 2);
    }

    #[test]
    fn the_whole_feed_is_wanted_however_long_it_becomes() {
        let mut have = BlockSet::default();
        have.set_range(0..100);
        let mut open = open(Target::All, &have);
        assert!(!open.is_done() && !open.lacks());
        open.grow(130, &have);
        assert_eq!(open.missing, 30);
        open.advance(&have);
        assert!(open.rest().eq([100..130]));
    }
}
