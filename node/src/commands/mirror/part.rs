//! Which blocks of a feed are wanted, and which of them are missing.

use std::ops::Range;

use datnode_feed::Bitfield;

/// Blocks as ascending runs with gaps between them.
pub(super) type Runs = Vec<Range<u64>>;

/// What of a feed is wanted, and what is here.
pub(super) struct Part {
    pub(super) held: Bitfield,
    pub(super) wanted: Runs,
    pub(super) missing: u64,
}

impl Part {
    pub(super) fn new(held: Bitfield, wanted: Runs) -> Self {
        let gaps = wanted.iter().flat_map(|run| held.gaps_in(run.clone()));
        let missing = gaps.map(|gap| gap.end - gap.start).sum();
        Self { held, wanted, missing }
    }

    /// Returns how many blocks are here of those that are wanted.
    pub(super) fn here(&self) -> u64 {
        count(&self.wanted) - self.missing
    }

    /// Returns the end of the last run that is wanted.
    pub(super) fn length(&self) -> u64 {
        self.wanted.last().map_or(0, |run| run.end)
    }

    /// Returns what is missing of what is in reach.
    pub(super) fn gaps(&self, in_reach: &Bitfield) -> Runs {
        let missing = self.wanted.iter().flat_map(|run| self.held.gaps_in(run.clone()));
        missing.flat_map(|gap| in_reach.runs_in(gap)).collect()
    }
}

/// Returns how many blocks runs have.
pub(super) fn count(runs: &[Range<u64>]) -> u64 {
    runs.iter().map(|run| run.end - run.start).sum()
}

/// Leaves so many blocks of ascending runs as are allowed, the last ones: what is newest is wanted most.
pub(super) fn cut(runs: &mut Runs, allowed: &mut u64) {
    let mut kept = Vec::new();
    for run in runs.drain(..).rev() {
        let blocks = (run.end - run.start).min(*allowed);
        *allowed -= blocks;
        if blocks > 0 {
            kept.push(run.end - blocks..run.end);
        }
    }
    kept.reverse();
    *runs = kept;
}

/// Returns what of a run is in none of some ascending runs. A run may be said to be without end, so blocks are not looked at one by one.
pub(super) fn without(run: &Range<u64>, others: &[Range<u64>]) -> Runs {
    let (mut rest, mut at) = (Vec::new(), run.start);
    for other in others.iter().take_while(|other| other.start < run.end) {
        if at < other.start {
            rest.push(at..other.start);
        }
        at = at.max(other.end);
    }
    if at < run.end {
        rest.push(at..run.end);
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_other_runs_is_left_out() {
        let others = [3..4, 6..10, 20..30];
        for (run, right) in [
            (0..2, vec![0..2]),
            (0..7, vec![0..3, 4..6]),
            (3..4, vec![]),
            (7..25, vec![10..20]),
            (25..u64::MAX, vec![30..u64::MAX]),
        ] {
            assert_eq!(without(&run, &others), right, "{run:?}");
        }
        assert_eq!(without(&(5..6), &[]), vec![5..6]);
    }

    #[test]
    fn as_many_of_the_newest_blocks_are_left_as_are_allowed() {
        for (allowed, right, rest) in [
            (0, vec![], 0),
            (1, vec![29..30], 0),
            (12, vec![8..10, 20..30], 0),
            (14, vec![6..10, 20..30], 0),
            (20, vec![3..4, 6..10, 20..30], 5),
        ] {
            let (mut runs, mut left) = (vec![3..4, 6..10, 20..30], allowed);
            cut(&mut runs, &mut left);
            assert_eq!((runs, left), (right, rest), "{allowed}");
        }
    }

    #[test]
    fn only_what_is_wanted_missing_and_offered_is_asked_for() {
        let set = |runs: &[Range<u64>]| runs.iter().cloned().collect::<Bitfield>();
        let part = Part::new(set(&[2..5, 9..10]), vec![0..8, 12..20]);
        assert_eq!((part.missing, part.here(), part.length()), (13, 3, 20));
        assert_eq!(part.gaps(&set(&[0..100])), [0..2, 5..8, 12..20]);
        assert_eq!(part.gaps(&set(&[1..7, 14..15])), [1..2, 5..7, 14..15]);
        assert_eq!(part.gaps(&Bitfield::new()), Runs::new());
    }
}
