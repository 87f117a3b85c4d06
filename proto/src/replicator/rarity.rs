//! In which order rarest first goes through a feed: region by region, those of fewest copies first.
//!
//! Disks and proofs like runs, so it is regions that are rare or not; in one, the order is linear. The table of regions is made
//! anew now and then for all wants and peers together, and each want goes along it with a pointer a peer, so that a decision
//! costs the same however long the feed is.
//! Elsewhere: what may be picked (`picker`).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::Range;

use super::blocks::BlockSet;
use super::feed::mix;
use crate::ids::{Instant, PeerId};
use crate::limits::{RANK_EVERY, REGION_BYTES, REGIONS_MAX, REGIONS_MIN};
use crate::wire::Runs;

/// The regions of a feed with their ranks.
///
/// Invariant: `ranks` has one number for each region, the place of that region among all.
#[derive(Debug, Default)]
pub(super) struct Regions {
    /// How many blocks make one.
    size: u64,
    ranks: Vec<u32>,
    /// Grows whenever the ranks change.
    epoch: u64,
    ranked_at: Option<Instant>,
    /// How often holders had told of something then.
    news: u64,
}

/// How far a want is in its regions.
#[derive(Clone, Debug, Default)]
pub(super) struct Tour {
    /// Of which ranks this is.
    epoch: u64,
    /// The regions that the want has blocks of, by rank.
    regions: Vec<u64>,
    /// Before which of them there is nothing to ask a peer for, as long as its stamp is this.
    passed: BTreeMap<PeerId, (Stamp, usize)>,
}

/// How often a peer had told of more blocks, and how often blocks were lost or taken back.
pub(super) type Stamp = (u64, u64);

impl Regions {
    /// Ranks the regions of a feed of `length` blocks of some `block_bytes`, unless that was done a moment ago.
    pub(super) fn rank<'a>(
        &mut self,
        now: Instant,
        (length, block_bytes): (u64, u64),
        news: u64,
        holders: impl Iterator<Item = &'a BlockSet>,
        seed: u64,
    ) {
        let size = size(length, block_bytes);
        // Blocks that turn out a little larger or smaller change nothing.
        let fits = self.size / 2 <= size && size <= self.size.saturating_mul(2);
        let is_fresh = self.ranked_at.is_some_and(|at| now < at + RANK_EVERY) || self.news == news;
        let covers = self.ranks.len() as u64 * self.size >= length;
        if self.epoch > 0 && fits && covers && is_fresh {
            return;
        }
        if !fits || self.epoch == 0 {
            self.size = size;
        }
        (self.ranked_at, self.news, self.epoch) = (Some(now), news, self.epoch + 1);
        let copies = copies(length, self.size, holders);
        let mut order: Vec<(u64, u64, u32)> = (0..)
            .zip(copies)
            .map(|(region, copies)| (copies, mix(seed, u64::from(region)), region))
            .collect();
        order.sort_unstable();
        self.ranks = alloc::vec![0; order.len()];
        for (rank, (_, _, region)) in (0..).zip(order) {
            if let Some(place) = usize::try_from(region).ok().and_then(|at| self.ranks.get_mut(at))
            {
                *place = rank;
            }
        }
    }

    fn rank_of(&self, region: u64) -> u32 {
        let rank = usize::try_from(region).ok().and_then(|at| self.ranks.get(at));
        rank.copied().unwrap_or(u32::MAX)
    }
}

impl Tour {
    /// Returns what of `runs` a peer is to be looked for in, region by region, rarest first.
    ///
    /// `try_region` says whether the region had something; those at the front that have not are not looked at again for that
    /// peer while its stamp stays.
    pub(super) fn follow(
        &mut self,
        regions: &Regions,
        runs: &Runs,
        (peer, stamp): (PeerId, Stamp),
        mut try_region: impl FnMut(Range<u64>) -> Found,
    ) {
        self.refresh(regions, runs);
        let passed = self.passed.entry(peer).or_insert((stamp, 0));
        if passed.0 != stamp {
            *passed = (stamp, 0);
        }
        let mut is_front = true;
        for (place, region) in self.regions.iter().enumerate().skip(passed.1) {
            let blocks = region * regions.size..(region + 1) * regions.size;
            match try_region(blocks) {
                Found::Nothing if is_front => passed.1 = place + 1,
                Found::Nothing => {}
                Found::Some => is_front = false,
                Found::Enough => return,
            }
        }
    }

    /// Forgets a peer.
    pub(super) fn forget(&mut self, peer: PeerId) {
        self.passed.remove(&peer);
    }

    fn refresh(&mut self, regions: &Regions, runs: &Runs) {
        if self.epoch == regions.epoch {
            return;
        }
        (self.epoch, self.passed) = (regions.epoch, BTreeMap::new());
        self.regions.clear();
        // What lies behind the end of the feed has no region, whoever wants it.
        let end = regions.ranks.len() as u64 * regions.size;
        let inside = runs.iter().map(|run| run.start..run.end.min(end));
        for run in inside.filter(|run| !run.is_empty()) {
            let (first, last) = (run.start / regions.size, (run.end - 1) / regions.size);
            let next = self.regions.last().map_or(0, |last| last + 1);
            self.regions.extend(first.max(next)..=last);
        }
        self.regions.sort_unstable_by_key(|region| regions.rank_of(*region));
    }
}

/// What was found in a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    Some,
    /// So much that no more is looked for.
    Enough,
}

/// Returns how many blocks make a region: of some four megabytes, but neither a small feed in few regions nor a large one in
/// very many.
fn size(length: u64, block_bytes: u64) -> u64 {
    let least = length.div_ceil(REGIONS_MAX);
    let most = (length / REGIONS_MIN).max(1);
    (REGION_BYTES / block_bytes.max(1)).clamp(1, most).max(least)
}

/// Returns how many copies of each region there are, in 1/256 of its blocks.
fn copies<'a>(
    length: u64,
    size: u64,
    holders: impl Iterator<Item = &'a BlockSet>,
) -> impl Iterator<Item = u64> {
    let count = usize::try_from(length.div_ceil(size)).unwrap_or_default();
    let mut held = alloc::vec![0_u64; count];
    let mut everywhere = 0;
    for holder in holders {
        for run in holder.runs() {
            if run == (0..length) {
                everywhere += 1;
                break;
            }
            let (first, last) = (run.start / size, (run.end.min(length).max(1) - 1) / size);
            for region in first..=last {
                let start = run.start.max(region * size);
                let end = run.end.min((region + 1) * size);
                if let Some(held) = usize::try_from(region).ok().and_then(|at| held.get_mut(at)) {
                    *held += end.saturating_sub(start);
                }
            }
        }
    }
    (0..).zip(held).map(move |(region, held)| {
        let blocks = size.min(length - region * size).max(1);
        everywhere * 256 + held * 256 / blocks
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: PeerId = PeerId(1);

    fn bits(run: Range<u64>) -> BlockSet {
        [run].into_iter().collect()
    }

    /// Returns the regions in the order in which a want of everything goes through them.
    fn order(regions: &Regions, length: u64) -> Vec<u64> {
        let (mut tour, mut order) = (Tour::default(), Vec::new());
        tour.follow(regions, &alloc::vec![0..length], (PEER, (0, 0)), |blocks| {
            order.push(blocks.start / regions.size);
            Found::Nothing
        });
        order
    }

    #[test]
    fn regions_are_neither_few_nor_very_many() {
        let block = 64 << 10;
        for (length, blocks) in
            [(10, 1), (64, 1), (640, 10), (64 * 64, 64), (100_000, 64), (100_000_000, 24_415)]
        {
            assert_eq!(size(length, block), blocks, "{length}");
            let count = length.div_ceil(size(length, block));
            assert!(count <= REGIONS_MAX && (count >= REGIONS_MIN || count == length), "{count}");
        }
        assert_eq!(size(1_000, 1 << 20), 4);
        assert_eq!(size(1_000, 8 << 20), 1);
    }

    #[test]
    fn rare_regions_come_first_and_ties_are_drawn() {
        let length = 640;
        let (all, front, end) = (bits(0..length), bits(0..320), bits(600..length));
        let rank = |seed| {
            let mut regions = Regions::default();
            let holders = [&all, &front, &end].into_iter();
            regions.rank(Instant(0), (length, 64 << 10), 1, holders, seed);
            order(&regions, length)
        };
        let (one, other) = (rank(1), rank(2));
        for order in [&one, &other] {
            assert!(order[..28].iter().all(|region| (32..60).contains(region)), "{order:?}");
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..64));
        }
        assert_ne!(one, other);
        assert_eq!(one, rank(1), "a run replays exactly");
    }

    #[test]
    fn ranks_are_made_anew_now_and_then() {
        let (all, front) = (bits(0..640), bits(0..600));
        let mut regions = Regions::default();
        regions.rank(Instant(0), (640, 64 << 10), 1, [&all].into_iter(), 7);
        let first = order(&regions, 640);
        let soon = Instant(0) + RANK_EVERY / 2;
        regions.rank(soon, (640, 64 << 10), 2, [&all, &front].into_iter(), 7);
        assert_eq!(order(&regions, 640), first);
        regions.rank(Instant(0) + RANK_EVERY, (640, 64 << 10), 2, [&all, &front].into_iter(), 7);
        let mut rarest: Vec<u64> = order(&regions, 640)[..4].to_vec();
        rarest.sort_unstable();
        assert_eq!(rarest, [60, 61, 62, 63]);
        regions.rank(Instant(1), (700, 64 << 10), 2, [&all].into_iter(), 7);
        assert_eq!(order(&regions, 700).len(), 70, "what the feed grew by is there at once");
    }

    #[test]
    fn nothing_is_looked_at_twice_that_a_peer_has_nothing_of() {
        let (mut regions, mut tour) = (Regions::default(), Tour::default());
        regions.rank(Instant(0), (640, 64 << 10), 1, [&bits(0..640)].into_iter(), 7);
        let runs = alloc::vec![100..200];
        let mut looked = |stamp, found: fn(usize) -> Found| {
            let mut count = 0;
            tour.follow(&regions, &runs, (PEER, stamp), |_| {
                count += 1;
                found(count)
            });
            count
        };
        let third = |count| if count == 3 { Found::Enough } else { Found::Nothing };
        assert_eq!(looked((1, 1), third), 3);
        assert_eq!(looked((1, 1), |_| Found::Nothing), 8, "two are passed over");
        assert_eq!(looked((1, 1), |_| Found::Nothing), 0);
        assert_eq!(looked((2, 1), |_| Found::Some), 10, "it told of more");
        assert_eq!(looked((2, 1), |_| Found::Nothing), 10);
    }
}
