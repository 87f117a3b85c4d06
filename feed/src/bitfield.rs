//! A set of blocks, one bit a block.
//!
//! A thin layer over `bitvec`: only the calls that pass Miri under Tree Borrows are used, and the form on disk or wire is
//! never bitvec's own. Questions about ranges go word by word.

use alloc::vec::Vec;
use core::ops::Range;

use bitvec::order::Lsb0;
use bitvec::vec::BitVec;

/// A set of block numbers; memory follows the highest one.
///
/// Invariant: the last bit is set, so that equal sets are equal.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Bitfield {
    bits: BitVec<u64, Lsb0>,
}

impl Bitfield {
    /// Makes the empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns one more than the highest member.
    pub fn len(&self) -> u64 {
        self.bits.len() as u64
    }

    /// Returns how many bytes of memory the members take.
    pub fn bytes(&self) -> usize {
        size_of_val(self.bits.as_raw_slice())
    }

    /// Tells whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.bits.is_empty()
    }

    /// Returns how many members there are.
    pub fn count(&self) -> u64 {
        self.bits.count_ones() as u64
    }

    /// Tells whether `block` is a member.
    pub fn contains(&self, block: u64) -> bool {
        usize::try_from(block).ok().and_then(|at| self.bits.get(at)).is_some_and(|bit| *bit)
    }

    /// Adds a block.
    pub fn set(&mut self, block: u64) {
        self.set_range(block..block + 1);
    }

    /// Takes a block out.
    pub fn clear(&mut self, block: u64) {
        self.clear_range(block..block + 1);
    }

    /// Adds blocks.
    pub fn set_range(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let (start, end) = (index(range.start), index(range.end));
        if self.bits.len() < end {
            self.bits.resize(end, false);
        }
        self.fill(start, end, true);
    }

    /// Takes blocks out.
    pub fn clear_range(&mut self, range: Range<u64>) {
        let end = range.end.min(self.len());
        if range.start >= end {
            return;
        }
        let (start, end) = (index(range.start), index(end));
        self.fill(start, end, false);
        if end == self.bits.len() {
            let kept = self.bits.iter_ones().next_back().map_or(0, |last| last + 1);
            self.bits.truncate(kept);
        }
    }

    fn fill(&mut self, start: usize, end: usize, value: bool) {
        if end - start == 1 {
            self.bits.set(start, value);
        } else if let Some(bits) = self.bits.get_mut(start..end) {
            bits.fill(value);
        }
    }

    /// Tells whether some block of `range` is a member.
    pub fn any(&self, range: Range<u64>) -> bool {
        self.iter_ones(range).next().is_some()
    }

    /// Tells whether all blocks of `range` are members.
    pub fn all(&self, range: Range<u64>) -> bool {
        self.first_clear_in(range).is_none()
    }

    /// Tells whether some block is a member of both.
    pub fn intersects(&self, other: &Self) -> bool {
        let end = self.bits.len().min(other.bits.len());
        let whole = end / 64;
        let mut words = self.bits.as_raw_slice().iter().zip(other.bits.as_raw_slice()).take(whole);
        // Behind the end of the shorter set the last word may hold anything.
        let last = whole as u64 * 64..end as u64;
        words.any(|(ours, theirs)| ours & theirs != 0)
            || self.iter_ones(last).any(|block| other.contains(block))
    }

    /// Returns the first block from `from` on that is no member.
    pub fn first_clear(&self, from: u64) -> u64 {
        self.first_clear_in(from..self.len()).unwrap_or(from.max(self.len()))
    }

    /// Returns the first block of `range` that is no member, and looks at nothing behind it.
    fn first_clear_in(&self, range: Range<u64>) -> Option<u64> {
        let start = range.start.min(self.len());
        let end = range.end.min(self.len()).max(start);
        let bits = self.bits.get(index(start)..index(end));
        let zero = bits.and_then(|bits| bits.first_zero()).map(|zero| start + zero as u64);
        zero.or(Some(range.start.max(end))).filter(|zero| *zero < range.end)
    }

    /// Returns the members within `range`, ascending.
    pub fn iter_ones(&self, range: Range<u64>) -> impl Iterator<Item = u64> + '_ {
        let start = range.start.min(self.len());
        let end = range.end.min(self.len()).max(start);
        let bits = self.bits.get(index(start)..index(end));
        bits.into_iter().flat_map(|bits| bits.iter_ones()).map(move |one| start + one as u64)
    }

    /// Returns the blocks within `range` that are no members, ascending.
    pub fn iter_zeros(&self, range: Range<u64>) -> impl Iterator<Item = u64> + '_ {
        let mut at = range.start;
        core::iter::from_fn(move || {
            let zero = self.first_clear_in(at..range.end)?;
            at = zero + 1;
            Some(zero)
        })
    }

    /// Returns the members as ascending runs with gaps between them.
    pub fn runs(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.runs_in(0..self.len())
    }

    /// Returns the members within `range` as ascending runs with gaps between them.
    pub fn runs_in(&self, range: Range<u64>) -> impl Iterator<Item = Range<u64>> + '_ {
        let (mut at, end) = (range.start, range.end);
        core::iter::from_fn(move || {
            let start = self.iter_ones(at..end).next()?;
            at = self.first_clear_in(start..end).unwrap_or(end);
            Some(start..at)
        })
    }

    /// Returns what of `range` is no member, as ascending runs.
    pub fn gaps_in(&self, range: Range<u64>) -> impl Iterator<Item = Range<u64>> + '_ {
        let (mut at, end) = (range.start, range.end);
        core::iter::from_fn(move || {
            let start = self.first_clear_in(at..end)?;
            at = self.iter_ones(start..end).next().unwrap_or(end);
            Some(start..at)
        })
    }
}

impl FromIterator<Range<u64>> for Bitfield {
    fn from_iter<I: IntoIterator<Item = Range<u64>>>(runs: I) -> Self {
        let mut bits = Self::new();
        runs.into_iter().for_each(|run| bits.set_range(run));
        bits
    }
}

impl core::fmt::Debug for Bitfield {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        out.debug_list().entries(self.runs().take(16).collect::<Vec<_>>()).finish()
    }
}

fn index(block: u64) -> usize {
    usize::try_from(block).expect("what is held is bounded by limits")
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use super::*;

    #[test]
    fn it_behaves_like_a_set() {
        let (mut bits, mut set) = (Bitfield::new(), BTreeSet::new());
        let mut seed = 1_u64;
        for step in 0..4_000 {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let start = (seed >> 33) % 700;
            let end = start + (seed >> 20) % 150;
            match step % 3 {
                0 => {
                    bits.set_range(start..end);
                    set.extend(start..end);
                }
                1 => {
                    bits.clear_range(start..end);
                    set.retain(|block| !(start..end).contains(block));
                }
                _ => {
                    bits.set(start);
                    set.insert(start);
                }
            }
            assert_eq!(bits.count(), set.len() as u64);
            assert_eq!(bits.len(), set.last().map_or(0, |last| last + 1));
            assert_eq!(bits.any(start..end), set.range(start..end).next().is_some());
            assert_eq!(bits.all(start..end), (start..end).all(|block| set.contains(&block)));
            let clear = (start..).find(|block| !set.contains(block));
            assert_eq!(Some(bits.first_clear(start)), clear);
            assert!(bits.iter_ones(start..end).eq(set.range(start..end).copied()));
            assert!(bits.iter_zeros(start..end).eq((start..end).filter(|b| !set.contains(b))));
            assert_eq!(bits.runs().collect::<Bitfield>(), bits);
            let (runs, gaps): (Vec<_>, Vec<_>) =
                (bits.runs_in(start..end).collect(), bits.gaps_in(start..end).collect());
            assert!(runs.iter().cloned().flatten().eq(bits.iter_ones(start..end)));
            assert!(gaps.iter().cloned().flatten().eq(bits.iter_zeros(start..end)));
            assert!([runs, gaps].iter().all(|all| all.is_sorted_by(|a, b| a.end < b.start)));
        }
    }

    #[test]
    fn sets_intersect_where_both_have_a_member() {
        let mut seed = 1_u64;
        let mut draw = |end: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % end
        };
        let mut both = [0; 2];
        for _ in 0..4_000 {
            let [ours, theirs] = [(); 2].map(|()| {
                // What was there once must not be seen in the last word.
                let mut bits: Bitfield = [0..300].into_iter().collect();
                bits.clear_range(draw(300)..300);
                bits.clear_range(0..draw(300));
                (0..draw(3)).for_each(|_| bits.set(draw(300)));
                bits
            });
            let is = ours.iter_ones(0..300).any(|block| theirs.contains(block));
            assert_eq!(ours.intersects(&theirs), is, "{ours:?} {theirs:?}");
            both[usize::from(is)] += 1;
        }
        assert!(both.iter().all(|count| *count > 400), "{both:?}");
    }
}
