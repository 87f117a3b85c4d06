//! Which blocks to ask a peer for: a pure function over what is wanted, held, asked and offered.
//!
//! Elsewhere: in which order wants are served and how much is leased (`download`).

use alloc::vec::Vec;
use core::ops::Range;

use datnode_feed::Bitfield;

use super::want::Order;
use crate::wire::Runs;

/// The facts that a pick is made from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Picture<'a> {
    /// What we hold.
    pub have: &'a Bitfield,
    /// What is asked of somebody already.
    pub assigned: &'a Bitfield,
    /// What the peer holds.
    pub theirs: &'a Bitfield,
    /// Blocks from here on cannot be verified with this peer's help.
    pub length: u64,
}

/// How rarest-first sees the swarm.
pub(super) struct Rarity<'a> {
    /// How many blocks make a region.
    pub region: u64,
    /// How many peers hold a block.
    pub holders: &'a dyn Fn(u64) -> usize,
    /// Decides among equally rare regions.
    pub tie: &'a dyn Fn(u64) -> u64,
}

/// Picks up to `budget` blocks of `wanted` (ascending, disjoint) that the peer holds and nobody was asked for.
///
/// Linear takes the first ones. Rarest takes whole regions, those held by fewest peers first, and goes through a region in
/// order, since disks and proofs like runs. The answer is in ascending runs.
pub(super) fn pick(
    wanted: &[Range<u64>],
    order: Order,
    picture: Picture<'_>,
    budget: u64,
    rarity: &Rarity<'_>,
) -> Runs {
    let mut picked = Runs::new();
    let mut left = budget;
    match order {
        Order::Linear | Order::Bisect => {
            for range in wanted {
                take(range.clone(), picture, &mut left, &mut picked);
            }
        }
        Order::Rarest => {
            for region in ranked(wanted, picture, rarity) {
                take(region, picture, &mut left, &mut picked);
            }
            picked.sort_unstable_by_key(|run| run.start);
        }
    }
    join(picked)
}

/// Takes candidates from the front of `range` while the budget lasts.
fn take(range: Range<u64>, picture: Picture<'_>, left: &mut u64, picked: &mut Runs) {
    let mut from = range.start;
    while *left > 0 {
        let Some(run) = picture.next_run(from..range.end) else { return };
        let end = run.end.min(run.start + *left);
        *left -= end - run.start;
        picked.push(run.start..end);
        from = end;
    }
}

/// Returns the parts of `wanted` that hold candidates, cut at region borders, rarest first.
fn ranked(wanted: &[Range<u64>], picture: Picture<'_>, rarity: &Rarity<'_>) -> Vec<Range<u64>> {
    let mut parts = Vec::new();
    for range in wanted {
        let mut from = range.start;
        // Where the run ends is not asked: it may be far beyond the region, and it would be for each.
        while let Some(start) = picture.next(from..range.end) {
            let region = start / rarity.region;
            let end = range.end.min((region + 1) * rarity.region);
            parts.push(((rarity.holders)(start), (rarity.tie)(region), start..end));
            from = end;
        }
    }
    parts.sort_unstable_by_key(|(holders, tie, part)| (*holders, *tie, part.start));
    parts.into_iter().map(|(_, _, part)| part).collect()
}

fn join(picked: Runs) -> Runs {
    let mut runs = Runs::with_capacity(picked.len());
    for run in picked {
        match runs.last_mut() {
            Some(last) if last.end == run.start => last.end = run.end,
            _ => runs.push(run),
        }
    }
    runs
}

impl Picture<'_> {
    /// Returns the first run of candidates within `range`.
    fn next_run(&self, range: Range<u64>) -> Option<Range<u64>> {
        let start = self.next(range.clone())?;
        let end = range.end.min(self.length);
        let stop = |taken: &Bitfield| taken.iter_ones(start..end).next().unwrap_or(end);
        let offered = self.theirs.iter_zeros(start..end).next().unwrap_or(end);
        Some(start..offered.min(stop(self.have)).min(stop(self.assigned)))
    }

    /// Returns the first candidate within `range`.
    fn next(&self, range: Range<u64>) -> Option<u64> {
        let end = range.end.min(self.length);
        let mut at = range.start;
        while at < end {
            let free = self.assigned.first_clear(self.have.first_clear(at));
            if self.have.contains(free) {
                at = free;
                continue;
            }
            if free >= end {
                return None;
            }
            let start = self.theirs.iter_ones(free..end).next()?;
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
    use super::*;

    fn bits(blocks: impl IntoIterator<Item = u64>) -> Bitfield {
        let mut bits = Bitfield::default();
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
            let rarity = Rarity { region: 16, holders: &|_| 1, tie: &|region| region };
            let right: Vec<u64> = wanted
                .iter()
                .cloned()
                .flatten()
                .filter(|&b| {
                    b < 390 && theirs.contains(b) && !have.contains(b) && !assigned.contains(b)
                })
                .collect();
            for order in [Order::Linear, Order::Rarest] {
                for budget in [0, 1, 17, 1_000] {
                    let picked = pick(&wanted, order, picture, budget, &rarity);
                    let blocks: Vec<u64> = picked.iter().cloned().flatten().collect();
                    let count = usize::try_from(budget).unwrap().min(right.len());
                    assert_eq!(blocks, right[..count], "seed {seed} {order:?} {budget}");
                    assert!(picked.windows(2).all(|two| two[0].end < two[1].start));
                }
            }
        }
    }

    #[test]
    fn rare_regions_come_first() {
        let (none, theirs) = (Bitfield::default(), bits(0..64));
        let picture = Picture { have: &none, assigned: &none, theirs: &theirs, length: 64 };
        let holders = |block: u64| if (32..48).contains(&block) { 1 } else { 3 };
        let rarity = Rarity { region: 16, holders: &holders, tie: &|region| 9 - region };
        assert_eq!(pick(&[0..64], Order::Rarest, picture, 16, &rarity), [32..48]);
        assert_eq!(pick(&[0..64], Order::Rarest, picture, 20, &rarity), [32..52]);
        assert_eq!(pick(&[0..64], Order::Linear, picture, 20, &rarity), [0..20]);
    }
}
