//! What is wanted of a feed: blocks or bytes, how urgently, and in which order.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::Range;

use datnode_feed::Bitfield;

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
    /// Whether a peer that would be done sooner takes over what another one owes; it is then sent twice at times.
    pub hotswap: bool,
    /// When it should be here: peers that deliver soonest are asked for what comes first, and what is late is asked for twice.
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

/// A want under way.
///
/// Invariant: `runs` ascend with gaps between them; `missing` counts their blocks that are not held.
#[derive(Clone, Debug)]
pub(super) struct Open {
    pub(super) id: WantId,
    pub(super) priority: Priority,
    pub(super) order: Order,
    pub(super) runs: Runs,
    pub(super) missing: u64,
    /// Bytes that no stored block covered yet.
    pub(super) bytes: Runs,
    /// Whom the bytes are asked of, and who did not have them.
    pub(super) asked: Option<PeerId>,
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
    pub(super) fn new(id: WantId, want: Want, have: &Bitfield) -> Self {
        let Want { target, priority, order, .. } = want;
        let (runs, bytes) = match target {
            Target::Blocks(runs) => (normal(runs), Runs::new()),
            Target::All => (alloc::vec![0..u64::MAX], Runs::new()),
            Target::Bytes(bytes) => (Runs::new(), normal(alloc::vec![bytes])),
        };
        let (asked, tried) = (None, BTreeMap::new());
        let mut open = Self { id, priority, order, runs, missing: 0, bytes, asked, tried };
        open.count(have);
        open
    }

    /// Notes that a peer does not have the bytes, which had told of more blocks so often when it was asked.
    pub(super) fn refused(&mut self, now: Instant, peer: PeerId, told: u64) {
        self.asked = None;
        self.tried.insert(peer, Tried { at: now, told });
    }

    /// Counts anew what is missing.
    pub(super) fn count(&mut self, have: &Bitfield) {
        let missing =
            |run: &Range<u64>| (run.end - run.start) - have.iter_ones(run.clone()).count() as u64;
        self.missing = self.runs.iter().map(missing).sum();
    }

    /// Notes that a block was stored that holds `bytes` of the feed.
    pub(super) fn stored(&mut self, block: u64, bytes: &Range<u64>) {
        let after = self.runs.partition_point(|run| run.end <= block);
        if self.runs.get(after).is_some_and(|run| run.contains(&block)) {
            self.missing -= 1;
        }
        if self.bytes.iter().any(|run| run.start < bytes.end && bytes.start < run.end) {
            let rest = |run: &Range<u64>| {
                [run.start..run.end.min(bytes.start), run.start.max(bytes.end)..run.end]
            };
            self.bytes = normal(self.bytes.iter().flat_map(rest).collect());
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.missing == 0 && self.bytes.is_empty()
    }
}

/// Sorts ranges, drops empty ones and joins those that touch.
fn normal(mut ranges: Vec<Range<u64>>) -> Runs {
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

    #[test]
    fn bytes_are_done_when_blocks_cover_them() {
        let target = Target::Bytes(100..300);
        let want = Want { priority: Priority(0), order: Order::Linear, ..Want::new(target) };
        let mut open = Open::new(WantId(1), want, &Bitfield::default());
        open.stored(7, &(150..200));
        assert_eq!(open.bytes, [100..150, 200..300]);
        open.stored(8, &(200..400));
        open.stored(6, &(0..150));
        assert!(open.is_done());
    }
}
