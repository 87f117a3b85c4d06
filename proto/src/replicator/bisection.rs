//! The order of a bisection: the middle, the middles of both halves, and so on.
//!
//! All middles of one level come before those of the next, from left to right. After the first *j* levels, which are 2^*j* − 1
//! blocks of *n*, the largest gap has ⌊*n* / 2^*j*⌋ blocks: the least possible with so many.
//! Elsewhere: what may be picked (`picker`).

use alloc::vec::Vec;
use core::ops::Range;

use super::picker::{self, Picture};
use crate::limits::PROBES_OF_BISECTION;
use crate::wire::Runs;

/// How far a bisection of some runs, taken as one sequence, is.
///
/// Invariant: all middles before `next` are held or asked for, unless blocks were lost or taken back since.
#[derive(Clone, Debug, Default)]
pub(super) struct Bisection {
    /// Where in the sequence each run begins.
    starts: Vec<u64>,
    count: u64,
    next: Middle,
    /// How often blocks had been lost or taken back.
    stamp: u64,
}

/// A middle: which level, and which of the level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Middle {
    level: u32,
    index: u64,
}

impl Bisection {
    pub(super) fn of(runs: &Runs) -> Self {
        let mut count = 0;
        let starts = runs.iter().map(|run| {
            let start = count;
            count += run.end - run.start;
            start
        });
        let starts = starts.collect();
        Self { starts, count, next: Middle::default(), stamp: 0 }
    }

    /// Picks up to `budget` candidates of one level, the first that has any; `stamp` tells how often blocks were lost or taken
    /// back. One level alone, since who is asked sends in ascending order.
    pub(super) fn pick(
        &mut self,
        runs: &Runs,
        picture: Picture<'_>,
        budget: u64,
        stamp: u64,
    ) -> Vec<Range<u64>> {
        if self.stamp != stamp {
            (self.stamp, self.next) = (stamp, Middle::default());
        }
        let (mut picked, mut passes, mut probes) = (Vec::new(), true, 0);
        let mut at = self.next;
        while at.level < self.levels() && probes < PROBES_OF_BISECTION {
            if at.index >= 1 << at.level {
                if !picked.is_empty() {
                    break;
                }
                at = Middle { level: at.level + 1, index: 0 };
                continue;
            }
            let middle = self.position(at).and_then(|position| self.block(runs, position));
            at.index += 1;
            probes += 1;
            let Some(block) = middle else { continue };
            if picture.is_taken(block) {
                continue;
            }
            if passes {
                // From here on somebody may have something to send, now or later.
                (passes, self.next) = (false, Middle { index: at.index - 1, ..at });
            }
            if picture.is_candidate(block) {
                picked.push(block..block + 1);
                if picked.len() as u64 == budget {
                    break;
                }
            }
        }
        if passes {
            self.next = at;
        }
        if picked.is_empty() && at.level < self.levels() {
            // There is more than is looked at for one request: what this peer has is taken in order.
            return picker::linear(runs.iter().cloned(), picture, budget);
        }
        picked
    }

    /// Returns how many levels there are.
    fn levels(&self) -> u32 {
        u64::BITS - self.count.leading_zeros()
    }

    /// Returns where in the sequence a middle is, if there is one.
    fn position(&self, middle: Middle) -> Option<u64> {
        let (mut start, mut end) = (0, self.count);
        for level in (0..middle.level).rev() {
            let centre = start + (end - start) / 2;
            match middle.index >> level & 1 {
                0 => end = centre,
                _ => start = (centre + 1).min(end),
            }
        }
        (start < end).then(|| start + (end - start) / 2)
    }

    /// Returns the block at a position of the sequence.
    fn block(&self, runs: &Runs, position: u64) -> Option<u64> {
        let run = self.starts.partition_point(|start| *start <= position).checked_sub(1)?;
        Some(runs.get(run)?.start + (position - self.starts.get(run)?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::blocks::BlockSet;
    use super::*;

    /// Takes one block at a time, as a peer that holds `theirs` would be asked for them.
    fn order(runs: &Runs, theirs: &BlockSet) -> Vec<u64> {
        let (mut have, none) = (BlockSet::default(), BlockSet::default());
        let mut bisection = Bisection::of(runs);
        let mut order = Vec::new();
        loop {
            let picture = Picture { have: &have, assigned: &none, theirs, length: 1 << 40 };
            let Some(run) = bisection.pick(runs, picture, 1, 0).pop() else { return order };
            order.push(run.start);
            have.set(run.start);
        }
    }

    /// Returns the most blocks of 0..count that are next to each other and not among `taken`.
    fn largest_gap(count: u64, taken: &[u64]) -> u64 {
        let mut ends: Vec<u64> = taken.iter().map(|at| at + 1).chain([0, count + 1]).collect();
        ends.sort_unstable();
        ends.windows(2).map(|two| two[1] - two[0] - 1).max().unwrap()
    }

    #[test]
    fn after_each_level_the_largest_gap_is_the_least_possible() {
        for count in (1..130).chain([1_000, 1_023, 1_024]) {
            let all: BlockSet = [0..count].into_iter().collect();
            let order = order(&alloc::vec![0..count], &all);
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..count), "each block once");
            let mut least = count;
            for taken in 1..=count {
                let gap = largest_gap(count, &order[..taken as usize]);
                if (taken + 1).is_power_of_two() {
                    least = (count - taken).div_ceil(taken + 1);
                    assert_eq!(gap, least, "{taken} of {count}");
                }
                assert!(gap <= least, "{taken} of {count}");
            }
        }
    }

    #[test]
    fn no_more_is_looked_at_for_one_request_than_so_many_middles() {
        let (none, runs) = (BlockSet::default(), alloc::vec![0..1 << 40]);
        // The peer has the last block alone, which is a middle of the last level.
        let last: BlockSet = [(1 << 20) - 1..1 << 20].into_iter().collect();
        let mut bisection = Bisection::of(&runs);
        let picture = Picture { have: &none, assigned: &none, theirs: &last, length: 1 << 40 };
        // It is not waited for until the other middles are here.
        assert_eq!(bisection.pick(&runs, picture, 1, 0), [(1 << 20) - 1..1 << 20]);
        assert!(1 << bisection.levels() > PROBES_OF_BISECTION);
    }

    #[test]
    fn several_runs_are_one_sequence() {
        let runs = alloc::vec![10..12, 100..105];
        let all: BlockSet = runs.iter().cloned().collect();
        assert_eq!(order(&runs, &all), [101, 11, 103, 10, 100, 102, 104]);
    }

    #[test]
    fn what_a_peer_lacks_is_left_for_others_and_what_was_lost_is_taken_again() {
        let runs = alloc::vec![0..7];
        let lacks_the_middle: BlockSet = [0..3, 4..7].into_iter().collect();
        assert_eq!(order(&runs, &lacks_the_middle), [1, 5, 0, 2, 4, 6]);
        let (all, none): (BlockSet, _) = ([0..7].into_iter().collect(), BlockSet::default());
        let mut bisection = Bisection::of(&runs);
        let mut pick = |have: &BlockSet, theirs: &BlockSet, stamp| {
            let picture = Picture { have, assigned: &none, theirs, length: 7 };
            bisection.pick(&runs, picture, 9, stamp)
        };
        assert_eq!(pick(&none, &lacks_the_middle, 0), [1..2, 5..6]);
        assert_eq!(pick(&none, &all, 0), [3..4]);
        assert_eq!(pick(&all, &all, 0), []);
        assert_eq!(pick(&none, &all, 1), [3..4]);
    }
}
