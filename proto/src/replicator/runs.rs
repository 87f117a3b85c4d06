//! Sets of blocks as runs: ascending, with gaps between them.

use alloc::collections::BTreeMap;
use core::ops::Range;

use crate::wire::Runs;

/// A set of many runs. A change costs what it changes, however large the set is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RunSet {
    /// By start.
    ends: BTreeMap<u64, u64>,
}

impl RunSet {
    /// Adds a run, which must not be empty.
    pub(super) fn insert(&mut self, mut run: Range<u64>) {
        while let Some((&start, &end)) = self.ends.range(..=run.end).next_back() {
            if end < run.start {
                break;
            }
            self.ends.remove(&start);
            run = run.start.min(start)..run.end.max(end);
        }
        self.ends.insert(run.start, run.end);
    }

    /// Takes a run out.
    pub(super) fn remove(&mut self, cut: Range<u64>) {
        while let Some((&start, &end)) = self.ends.range(..cut.end).next_back() {
            if end <= cut.start {
                return;
            }
            self.ends.remove(&start);
            if cut.end < end {
                self.ends.insert(cut.end, end);
            }
            if start < cut.start {
                self.ends.insert(start, cut.start);
            }
        }
    }

    /// Takes out what of some blocks is in the set; returns it.
    pub(super) fn take(&mut self, blocks: &[Range<u64>]) -> Runs {
        let mut taken = Runs::new();
        for cut in blocks {
            let part = self.part(cut);
            if !part.is_empty() {
                self.remove(cut.clone());
                taken.extend(part);
            }
        }
        taken
    }

    /// Returns what of some blocks is in the set.
    pub(super) fn part(&self, blocks: &Range<u64>) -> Runs {
        let (start, end) = (blocks.start, blocks.end);
        let before = self.ends.range(..start).next_back().filter(|(_, last)| **last > start);
        let inside = before.into_iter().chain(self.ends.range(blocks.clone()));
        inside.map(|(first, last)| (*first).max(start)..(*last).min(end)).collect()
    }

    /// Tells whether a block is in the set.
    pub(super) fn contains(&self, block: u64) -> bool {
        self.ends.range(..=block).next_back().is_some_and(|(_, end)| block < *end)
    }

    /// Returns the run that a block is in.
    pub(super) fn run_of(&self, block: u64) -> Option<Range<u64>> {
        let run = self.ends.range(..=block).next_back().map(|(start, end)| *start..*end);
        run.filter(|run| run.contains(&block))
    }

    /// Returns the first block of the set from this one on.
    pub(super) fn first_from(&self, block: u64) -> Option<u64> {
        let next = || self.ends.range(block..).next().map(|(start, _)| *start);
        if self.contains(block) { Some(block) } else { next() }
    }

    /// Returns the runs, the last one first.
    pub(super) fn backwards(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.ends.iter().rev().map(|(start, end)| *start..*end)
    }

    /// Returns the first run.
    pub(super) fn first(&self) -> Option<Range<u64>> {
        self.ends.first_key_value().map(|(start, end)| *start..*end)
    }

    /// Returns the runs.
    pub(super) fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.ends.iter().map(|(start, end)| *start..*end)
    }

    /// Returns how many runs there are.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Returns how many blocks there are.
    pub(super) fn blocks(&self) -> u64 {
        self.ends.iter().map(|(start, end)| end - start).sum()
    }

    /// Tells whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Takes out and returns the first block.
    pub(super) fn pop_first(&mut self) -> Option<u64> {
        let (start, end) = self.ends.pop_first()?;
        if start + 1 < end {
            self.ends.insert(start + 1, end);
        }
        Some(start)
    }

    /// Keeps the first runs only.
    pub(super) fn truncate(&mut self, len: usize) {
        while self.ends.len() > len {
            self.ends.pop_last();
        }
    }

    /// Takes out and returns what is below `end`.
    pub(super) fn take_below(&mut self, end: u64) -> Runs {
        let above = self.ends.split_off(&end);
        let mut below: Runs =
            core::mem::replace(&mut self.ends, above).into_iter().map(|(a, b)| a..b).collect();
        if let Some(last) = below.last_mut().filter(|last| last.end > end) {
            self.ends.insert(end, last.end);
            last.end = end;
        }
        below
    }

    /// Returns the runs.
    #[cfg(test)]
    pub(super) fn runs(&self) -> Runs {
        self.iter().collect()
    }
}

impl FromIterator<Range<u64>> for RunSet {
    /// Makes a set of ascending runs with gaps between them.
    fn from_iter<I: IntoIterator<Item = Range<u64>>>(runs: I) -> Self {
        Self { ends: runs.into_iter().map(|run| (run.start, run.end)).collect() }
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;
    use alloc::vec::Vec;

    use datnode_feed::Bitfield;
    use proptest::prelude::*;

    use super::*;

    fn set(runs: &Runs) -> BTreeSet<u64> {
        runs.iter().cloned().flatten().collect()
    }

    fn any_runs() -> impl Strategy<Value = Runs> {
        let run = (0..60u64, 1..9u64).prop_map(|(start, count)| start..start + count);
        let all = proptest::collection::vec(run, 0..8);
        all.prop_map(|all| all.into_iter().collect::<Bitfield>().runs().collect())
    }

    proptest! {
        #[test]
        fn they_are_what_sets_say(a in any_runs(), b in any_runs()) {
            let mut both: RunSet = a.iter().cloned().collect();
            prop_assert_eq!(&both.runs(), &a);
            let mut left = both.clone();
            b.iter().for_each(|run| left.remove(run.clone()));
            let left = left.runs();
            prop_assert_eq!(set(&left), &set(&a) - &set(&b));
            let mut one_by_one = both.clone();
            let blocks: Vec<u64> = core::iter::from_fn(|| one_by_one.pop_first()).collect();
            prop_assert_eq!(blocks, set(&a).into_iter().collect::<Vec<_>>());
            prop_assert!(one_by_one.is_empty());
            b.iter().for_each(|run| both.insert(run.clone()));
            prop_assert_eq!(set(&both.runs()), &set(&a) | &set(&b));
            let mut cut = both.clone();
            b.iter().for_each(|run| cut.remove(run.clone()));
            prop_assert_eq!(set(&cut.runs()), &set(&a) - &set(&b));
            let mut rest = both.clone();
            prop_assert_eq!(set(&rest.take(&b)), &set(&both.runs()) & &set(&b));
            prop_assert_eq!(rest.runs(), cut.runs());
            let members: BTreeSet<u64> = (0..80).filter(|block| cut.contains(*block)).collect();
            prop_assert_eq!(&members, &set(&cut.runs()));
            for block in 0..80 {
                prop_assert_eq!(cut.first_from(block), members.range(block..).next().copied());
                let run = cut.runs().into_iter().find(|run| run.contains(&block));
                prop_assert_eq!(cut.run_of(block), run);
            }
            let mut above = both.clone();
            let below = above.take_below(30);
            prop_assert!(below.iter().all(|run| run.end <= 30));
            prop_assert!(above.runs().iter().all(|run| run.start >= 30));
            prop_assert_eq!(&set(&below) | &set(&above.runs()), set(&both.runs()));
            let both = both.runs();
            prop_assert!(both.is_sorted_by(|x, y| x.end < y.start));
            let all = [both, left, below, cut.runs(), above.runs()];
            for runs in all {
                prop_assert!(runs.iter().all(|run| run.start < run.end));
                prop_assert!(runs.is_sorted_by(|x, y| x.end < y.start || x.end <= y.start));
            }
        }
    }
}
