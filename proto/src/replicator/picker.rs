//! Which blocks to ask a peer for: pure functions over what is wanted, held, asked and offered.
//!
//! Elsewhere: in which order wants are served and how much is leased (`download`), the orders that need a memory
//! (`bisection`, `rarity`).

use core::ops::Range;

use super::blocks::BlockSet;
use crate::wire::Runs;

/// The facts that a pick is made from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Picture<'a> {
    /// What we hold.
    pub have: &'a BlockSet,
    /// What is asked of somebody already.
    pub assigned: &'a BlockSet,
    /// What the peer holds.
    pub theirs: &'a BlockSet,
    /// Blocks from here on cannot be verified with this peer's help.
    pub length: u64,
}

/// Takes up to `left` candidates of ascending runs, the first ones.
pub(super) fn linear(
    wanted: impl Iterator<Item = Range<u64>>,
    picture: Picture<'_>,
    mut left: u64,
) -> Runs {
    let mut picked = Runs::new();
    for range in wanted {
        take(range, picture, &mut left, &mut picked);
        if left == 0 {
            break;
        }
    }
    picked
}

/// Takes candidates from the front of `range` while the budget lasts.
pub(super) fn take(range: Range<u64>, picture: Picture<'_>, left: &mut u64, picked: &mut Runs) {
    let mut from = range.start;
    while *left > 0 {
        let Some(run) = picture.next_run(from..range.end) else { return };
        let end = run.end.min(run.start + *left);
        *left -= end - run.start;
        picked.push(run.start..end);
        from = end;
    }
}

/// Leaves out the first `count` blocks of some runs.
pub(super) fn skip(runs: Runs, mut count: u64) -> Runs {
    let rest = runs.into_iter().filter_map(|run| {
        let skipped = count.min(run.end - run.start);
        count -= skipped;
        let run = run.start + skipped..run.end;
        (!run.is_empty()).then_some(run)
    });
    rest.collect()
}

impl Picture<'_> {
    /// Tells whether a block may be picked.
    pub(super) fn is_candidate(&self, block: u64) -> bool {
        block < self.length && self.theirs.contains(block) && !self.is_taken(block)
    }

    /// Tells whether nobody need be asked for a block any more.
    pub(super) fn is_taken(&self, block: u64) -> bool {
        self.have.contains(block) || self.assigned.contains(block)
    }

    /// Returns the first run of candidates within `range`.
    fn next_run(&self, range: Range<u64>) -> Option<Range<u64>> {
        let start = self.next(range.clone())?;
        let end = range.end.min(self.length);
        let stop = |taken: &BlockSet| taken.first_one(&(start..end)).unwrap_or(end);
        let offered = self.theirs.first_zero(&(start..end)).unwrap_or(end);
        Some(start..offered.min(stop(self.have)).min(stop(self.assigned)))
    }

    /// Returns the first candidate within `range`.
    fn next(&self, range: Range<u64>) -> Option<u64> {
        let end = range.end.min(self.length);
        let mut at = range.start;
        while at < end {
            // Nothing behind the range is looked at.
            let lacked = self.have.first_zero(&(at..end))?;
            let free = self.assigned.first_zero(&(lacked..end))?;
            if self.have.contains(free) {
                at = free;
                continue;
            }
            let start = self.theirs.first_one(&(free..end))?;
            if start != free && (self.have.contains(start) || self.assigned.contains(start)) {
                at = start;
                continue;
            }
            return Some(start);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn bits(blocks: impl IntoIterator<Item = u64>) -> BlockSet {
        let mut bits = BlockSet::default();
        blocks.into_iter().for_each(|block| bits.set(block));
        bits
    }

    fn noise(seed: u64, block: u64, one_in: u64) -> bool {
        let mixed =
            (seed ^ block.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        (mixed >> 33).is_multiple_of(one_in)
    }

    #[test]
    fn picks_match_the_definition() {
        for seed in 0..300 {
            let have = bits((0..400).filter(|&block| noise(seed, block, 3)));
            let assigned = bits((0..400).filter(|&block| noise(seed + 1_000, block, 5)));
            let theirs = bits((0..400).filter(|&block| !noise(seed + 2_000, block, 4)));
            let picture =
                Picture { have: &have, assigned: &assigned, theirs: &theirs, length: 390 };
            let wanted = [10..150, 170..171, 200..500];
            let blocks = |runs: Runs| runs.into_iter().flatten().collect::<Vec<u64>>();
            let candidates = wanted.iter().cloned().flatten();
            let right: Vec<u64> = candidates.filter(|&b| picture.is_candidate(b)).collect();
            for budget in [0, 1, 17, 1_000] {
                let picked = linear(wanted.iter().cloned(), picture, budget);
                assert!(picked.windows(2).all(|two| two[0].end < two[1].start));
                let count = usize::try_from(budget).unwrap().min(right.len());
                assert_eq!(blocks(picked.clone()), right[..count], "seed {seed} {budget}");
                assert_eq!(blocks(skip(picked, 5)), right[count.min(5)..count]);
            }
        }
    }
}
