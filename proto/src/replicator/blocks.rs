//! A set of blocks that takes memory by its edges and not by its length: what one peer holds, was told, owes.
//!
//! Blocks are taken together in pages. Full pages that follow each other are a run, empty ones nothing, and only a page in which
//! some blocks are and others are not has its bits. So a peer that has all of a feed, or its beginning, takes the same few bytes
//! however long the feed is, and no set takes more than some two bits a block.
//! Elsewhere: what we hold ourselves, one set a feed (`datnode_feed::Bitfield`); runs alone (`runs`).

use alloc::collections::BTreeMap;
use core::ops::Range;

use datnode_feed::Bitfield;

use super::runs::RunSet;
use crate::limits::{PIECE_BYTES, RUN_BYTES};

/// How many blocks a page has: its bits take as much as a few entries of a map do.
const PAGE: u64 = 1_024;

/// A set of blocks.
///
/// Invariant: a page is in `full` if all of its blocks are members, in `mixed` if some are, and in neither if none is; so equal
/// sets are equal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct BlockSet {
    /// Runs of pages.
    full: RunSet,
    /// By page, each with its members as they are counted from its first block.
    mixed: BTreeMap<u64, Bitfield>,
}

impl BlockSet {
    /// Tells whether a block is a member.
    pub(super) fn contains(&self, block: u64) -> bool {
        let (page, at) = place(block);
        self.mixed.get(&page).map_or_else(|| self.full.contains(page), |bits| bits.contains(at))
    }

    /// Adds a block.
    pub(super) fn set(&mut self, block: u64) {
        self.set_range(block..block + 1);
    }

    /// Takes a block out.
    pub(super) fn clear(&mut self, block: u64) {
        self.clear_range(block..block + 1);
    }

    /// Adds blocks.
    pub(super) fn set_range(&mut self, range: Range<u64>) {
        let (whole, edges) = split(range);
        for (page, part) in edges {
            if self.full.contains(page) {
                continue;
            }
            let bits = self.mixed.entry(page).or_default();
            bits.set_range(part);
            if bits.all(0..PAGE) {
                self.mixed.remove(&page);
                self.full.insert(page..page + 1);
            }
        }
        if !whole.is_empty() {
            self.forget_mixed(&whole);
            self.full.insert(whole);
        }
    }

    /// Takes blocks out.
    pub(super) fn clear_range(&mut self, range: Range<u64>) {
        let (whole, edges) = split(range);
        for (page, part) in edges {
            if self.full.contains(page) {
                self.full.remove(page..page + 1);
                self.mixed.insert(page, core::iter::once(0..PAGE).collect());
            }
            let Some(bits) = self.mixed.get_mut(&page) else { continue };
            bits.clear_range(part);
            if bits.is_empty() {
                self.mixed.remove(&page);
            }
        }
        if !whole.is_empty() {
            self.forget_mixed(&whole);
            self.full.remove(whole);
        }
    }

    fn forget_mixed(&mut self, pages: &Range<u64>) {
        while let Some((&page, _)) = self.mixed.range(pages.clone()).next() {
            self.mixed.remove(&page);
        }
    }

    /// Tells whether some block of `range` is a member.
    pub(super) fn any(&self, range: Range<u64>) -> bool {
        self.first_one(&range).is_some()
    }

    /// Tells whether all blocks of `range` are members.
    pub(super) fn all(&self, range: Range<u64>) -> bool {
        self.first_zero(&range).is_none()
    }

    /// Tells whether some block is a member of both.
    pub(super) fn intersects(&self, other: &Self) -> bool {
        self.runs().any(|run| other.any(run))
    }

    /// Returns the first member within `range`.
    pub(super) fn first_one(&self, range: &Range<u64>) -> Option<u64> {
        let (page, at) = place(range.start);
        let in_page = |(page, bits): (u64, &Bitfield), at| {
            bits.iter_ones(at..PAGE).next().map(|one| page * PAGE + one)
        };
        let here = || self.mixed.get(&page).and_then(|bits| in_page((page, bits), at));
        let behind = || {
            let full = self.full.first_from(page + 1).map(|full| full * PAGE);
            let mixed = self.mixed.range(page + 1..).next();
            let mixed = mixed.and_then(|(page, bits)| in_page((*page, bits), 0));
            full.into_iter().chain(mixed).min()
        };
        let is_full = self.full.contains(page);
        let first = if is_full { Some(range.start) } else { here().or_else(behind) };
        first.filter(|one| *one < range.end)
    }

    /// Returns the first block within `range` that is no member.
    pub(super) fn first_zero(&self, range: &Range<u64>) -> Option<u64> {
        let mut from = range.start;
        while from < range.end {
            let (page, at) = place(from);
            if let Some(run) = self.full.run_of(page) {
                from = run.end * PAGE;
                continue;
            }
            let zero = self.mixed.get(&page).map_or(at, |bits| bits.first_clear(at));
            from = page * PAGE + zero;
            if zero < PAGE {
                break;
            }
        }
        (from < range.end).then_some(from)
    }

    /// Returns the members within `range`, ascending.
    pub(super) fn iter_ones(&self, range: Range<u64>) -> impl Iterator<Item = u64> + '_ {
        self.runs_in(range).flatten()
    }

    /// Returns the members as ascending runs with gaps between them.
    pub(super) fn runs(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.runs_in(0..u64::MAX)
    }

    /// Returns the members within `range` as ascending runs with gaps between them.
    pub(super) fn runs_in(&self, range: Range<u64>) -> impl Iterator<Item = Range<u64>> + '_ {
        let (mut at, end) = (range.start, range.end);
        core::iter::from_fn(move || {
            let start = self.first_one(&(at..end))?;
            at = self.first_zero(&(start..end)).unwrap_or(end);
            Some(start..at)
        })
    }

    /// Returns what of `range` is no member, as ascending runs.
    pub(super) fn gaps_in(&self, range: Range<u64>) -> impl Iterator<Item = Range<u64>> + '_ {
        let (mut at, end) = (range.start, range.end);
        core::iter::from_fn(move || {
            let start = self.first_zero(&(at..end))?;
            at = self.first_one(&(start..end)).unwrap_or(end);
            Some(start..at)
        })
    }

    /// Returns how many things it is kept as, each of which takes some hundred bytes at most.
    pub(super) fn pieces(&self) -> usize {
        self.full.len() + self.mixed.len()
    }

    /// Keeps the first so many of them.
    pub(super) fn truncate(&mut self, pieces: usize) {
        while self.pieces() > pieces {
            let last = self.full.backwards().next().map(|run| run.start);
            match self.mixed.last_key_value() {
                Some((page, _)) if Some(*page) > last => drop(self.mixed.pop_last()),
                _ => self.full.truncate(self.full.len().saturating_sub(1)),
            }
        }
    }

    /// Returns how many bytes it takes at most, without counting.
    pub(super) fn weight(&self) -> usize {
        self.full.len() * RUN_BYTES + self.mixed.len() * PIECE_BYTES
    }

    /// Returns how many bytes of memory it takes, about.
    pub(super) fn bytes(&self) -> usize {
        // Nodes of a map are at least half full, but for one.
        let (run, page) = (2 * size_of::<Range<u64>>(), 2 * size_of::<(u64, Bitfield)>());
        let bits: usize = self.mixed.values().map(|bits| page + bits.bytes()).sum();
        size_of::<Self>() + run * self.full.len() + bits
    }
}

impl FromIterator<Range<u64>> for BlockSet {
    fn from_iter<I: IntoIterator<Item = Range<u64>>>(runs: I) -> Self {
        let mut set = Self::default();
        runs.into_iter().for_each(|run| set.set_range(run));
        set
    }
}

/// Returns the page of a block, and which of the page it is.
fn place(block: u64) -> (u64, u64) {
    (block / PAGE, block % PAGE)
}

/// Splits blocks into whole pages, and parts of a page before and behind them as they are counted in their page.
fn split(range: Range<u64>) -> (Range<u64>, impl Iterator<Item = (u64, Range<u64>)>) {
    let Range { start, end } = range;
    let (first, last) = (start.div_ceil(PAGE), end / PAGE);
    let (whole, edges) = match first <= last {
        true => (first..last, [start..first * PAGE, last * PAGE..end]),
        false => (0..0, [start..end, 0..0]),
    };
    let edges = edges.into_iter().filter(|edge| !edge.is_empty()).map(|edge| {
        let (page, at) = place(edge.start);
        (page, at..at + (edge.end - edge.start))
    });
    (whole, edges)
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    /// Some pages, more than a run of full ones needs.
    const END: u64 = 6 * PAGE;

    fn any_range() -> impl Strategy<Value = Range<u64>> {
        // The borders of pages are where it may go wrong.
        let near = (0..=END / PAGE, 0..5_u64).prop_map(|(page, by)| (page * PAGE + by).max(2) - 2);
        let at = prop_oneof![near, 0..END].boxed();
        (at.clone(), at).prop_map(|(a, b)| a.min(b)..a.max(b))
    }

    proptest! {
        #[test]
        fn it_is_what_a_bitfield_says(
            steps in proptest::collection::vec((any::<bool>(), any_range()), 0..24),
            asked in any_range(),
        ) {
            let (mut set, mut bits) = (BlockSet::default(), Bitfield::default());
            for (sets, range) in steps {
                match sets {
                    true => (set.set_range(range.clone()), bits.set_range(range)),
                    false => (set.clear_range(range.clone()), bits.clear_range(range)),
                };
                prop_assert!(set.runs().eq(bits.runs()));
                prop_assert!(set.mixed.values().all(|bits| !bits.is_empty() && !bits.all(0..PAGE)));
                prop_assert!(set.mixed.keys().all(|page| !set.full.contains(*page)));
            }
            let Range { start, end } = asked.clone();
            prop_assert!(set.iter_ones(asked.clone()).eq(bits.iter_ones(asked.clone())));
            prop_assert!(set.runs_in(asked.clone()).eq(bits.runs_in(asked.clone())));
            prop_assert!(set.gaps_in(asked.clone()).eq(bits.gaps_in(asked.clone())));
            prop_assert_eq!(set.any(asked.clone()), bits.any(asked.clone()));
            prop_assert_eq!(set.all(asked.clone()), bits.all(asked.clone()));
            prop_assert_eq!(set.contains(start), bits.contains(start));
            let other: BlockSet = [asked].into_iter().collect();
            prop_assert_eq!(set.intersects(&other), bits.any(start..end));
            prop_assert_eq!(set.runs().collect::<BlockSet>(), set);
        }
    }

    #[test]
    fn it_takes_memory_by_its_edges() {
        let few: BlockSet = [0..10, 30 * PAGE..31 * PAGE + 5].into_iter().collect();
        for long in [1 << 20, 1 << 30, 1 << 55] {
            let mut all: BlockSet = [0..long].into_iter().collect();
            assert!(all.bytes() <= few.bytes());
            all.clear(long / 2);
            all.set_range(long + 5..long + 9);
            assert!(all.pieces() <= 5);
        }
        let alternates: BlockSet = (0..1 << 16).map(|block| 2 * block..2 * block + 1).collect();
        assert!(alternates.bytes() as u64 * 8 < 2 * (1 << 17), "two bits a block at most");
    }

    #[test]
    fn only_its_first_pieces_are_kept() {
        let pieces = |count: u64| -> Vec<Range<u64>> {
            // A full page and a mixed one by turns, with an empty one after each.
            (0..count).map(|at| 2 * at * PAGE..(2 * at + 1) * PAGE - at % 2).collect()
        };
        let mut set: BlockSet = pieces(9).into_iter().collect();
        assert_eq!(set.pieces(), 9);
        for count in [9, 8, 3, 0] {
            set.truncate(usize::try_from(count).unwrap());
            assert!(set.runs().eq(pieces(count)));
        }
    }
}
