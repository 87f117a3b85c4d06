//! A set of block numbers, one bit a block.
//!
//! Invariant: the vector is always a whole number of words, so that its raw words hold nothing but the set; long
//! ranges are looked through a word at a time. Only those calls of `bitvec` are used that are sound under Miri.
//! Elsewhere: what a set bit promises (`store`).

use core::fmt;
use core::ops::Range;

use bitvec::order::Lsb0;
use bitvec::vec::BitVec;

use crate::limits;

const WORD: u64 = 64;

/// A set of block numbers below [`limits::HELD_END`]; higher ones are never in it.
#[derive(Clone, Default)]
pub struct Bitfield {
    bits: BitVec<u64, Lsb0>,
}

impl Bitfield {
    /// Makes the empty set.
    pub const fn new() -> Self {
        Self { bits: BitVec::EMPTY }
    }

    /// Puts one number into the set.
    pub fn set(&mut self, index: u64) {
        self.set_range(index..index.saturating_add(1));
    }

    /// Takes one number out of the set.
    pub fn clear(&mut self, index: u64) {
        self.clear_range(index..index.saturating_add(1));
    }

    /// Puts a range into the set; what is beyond the limit stays out.
    pub fn set_range(&mut self, range: Range<u64>) {
        let end = range.end.min(limits::HELD_END);
        if range.start >= end {
            return;
        }
        let words = to_usize(end.div_ceil(WORD) * WORD);
        if words > self.bits.len() {
            self.bits.resize(words, false);
        }
        self.bits[to_usize(range.start)..to_usize(end)].fill(true);
    }

    /// Takes a range out of the set.
    pub fn clear_range(&mut self, range: Range<u64>) {
        let end = range.end.min(self.bits.len() as u64);
        if range.start < end {
            self.bits[to_usize(range.start)..to_usize(end)].fill(false);
        }
    }

    /// Tells whether a number is in the set.
    pub fn contains(&self, index: u64) -> bool {
        usize::try_from(index).ok().and_then(|index| self.bits.get(index)).is_some_and(|bit| *bit)
    }

    /// Tells whether any number of the range is in the set.
    pub fn any(&self, range: Range<u64>) -> bool {
        self.first_set(range.start).is_some_and(|found| found < range.end)
    }

    /// Tells whether all numbers of the range are in the set.
    pub fn all(&self, range: Range<u64>) -> bool {
        range.start >= range.end || self.first_clear(range.start) >= range.end
    }

    /// Returns how many numbers are in the set.
    pub fn count(&self) -> u64 {
        self.words().iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// Tells whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.words().iter().all(|&word| word == 0)
    }

    /// Returns one more than the highest number in the set, 0 if it is empty.
    pub fn len(&self) -> u64 {
        let last = self.words().iter().enumerate().rev().find(|(_, word)| **word != 0);
        last.map_or(0, |(at, word)| (at as u64 + 1) * WORD - u64::from(word.leading_zeros()))
    }

    /// Returns the first number from `from` on that is not in the set.
    pub fn first_clear(&self, from: u64) -> u64 {
        self.find(from, |word| !word).unwrap_or(from.max(self.bits.len() as u64))
    }

    /// Returns the first number from `from` on that is in the set.
    pub fn first_set(&self, from: u64) -> Option<u64> {
        self.find(from, |word| word)
    }

    /// Returns the runs of numbers in the set, ascending.
    pub fn runs(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        let mut at = 0;
        core::iter::from_fn(move || {
            let start = self.first_set(at)?;
            at = self.first_clear(start);
            Some(start..at)
        })
    }

    /// Returns the numbers of the range that are in the set, ascending.
    pub fn iter_ones(&self, range: Range<u64>) -> impl Iterator<Item = u64> + '_ {
        let mut at = range.start;
        core::iter::from_fn(move || {
            let found = self.first_set(at).filter(|&found| found < range.end)?;
            at = found + 1;
            Some(found)
        })
    }

    /// Returns the numbers of the range that are not in the set, ascending.
    pub fn iter_zeros(&self, range: Range<u64>) -> impl Iterator<Item = u64> + '_ {
        let mut at = range.start;
        core::iter::from_fn(move || {
            if at >= range.end {
                return None;
            }
            let found = self.first_clear(at);
            at = found.saturating_add(1);
            (found < range.end).then_some(found)
        })
    }

    /// Finds the first bit from `from` on in the words as `view` shows them.
    fn find(&self, from: u64, view: impl Fn(u64) -> u64) -> Option<u64> {
        let first = from / WORD;
        let words = self.words().get(usize::try_from(first).ok()?..)?;
        let mut mask = u64::MAX << (from % WORD);
        for (at, word) in (first..).zip(words) {
            let seen = view(*word) & mask;
            if seen != 0 {
                return Some(at * WORD + u64::from(seen.trailing_zeros()));
            }
            mask = u64::MAX;
        }
        None
    }

    fn words(&self) -> &[u64] {
        self.bits.as_raw_slice()
    }
}

fn to_usize(index: u64) -> usize {
    usize::try_from(index).expect("numbers below the limit fit")
}

impl FromIterator<Range<u64>> for Bitfield {
    fn from_iter<I: IntoIterator<Item = Range<u64>>>(runs: I) -> Self {
        let mut found = Self::new();
        runs.into_iter().for_each(|run| found.set_range(run));
        found
    }
}

/// Equal sets are equal, whatever they held before.
impl PartialEq for Bitfield {
    fn eq(&self, other: &Self) -> bool {
        let (ours, theirs) = (self.words(), other.words());
        let shared = ours.len().min(theirs.len());
        ours[..shared] == theirs[..shared]
            && ours[shared..].iter().chain(&theirs[shared..]).all(|&word| word == 0)
    }
}

impl Eq for Bitfield {}

impl fmt::Debug for Bitfield {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_list().entries(self.runs()).finish()
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::collections::BTreeSet;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_equals_a_set_of_numbers(
            steps in proptest::collection::vec((any::<bool>(), 0..400u64, 0..200u64), 0..40),
            from in 0..700u64,
            len in 0..300u64,
        ) {
            let (mut bits, mut model) = (Bitfield::new(), BTreeSet::new());
            for (set, start, len) in steps {
                if set {
                    bits.set_range(start..start + len);
                    model.extend(start..start + len);
                } else {
                    bits.clear_range(start..start + len);
                    model.retain(|at| !(start..start + len).contains(at));
                }
            }
            let range = from..from + len;
            let ones: Vec<u64> = model.range(range.clone()).copied().collect();
            prop_assert_eq!(bits.count(), model.len() as u64);
            prop_assert_eq!(bits.is_empty(), model.is_empty());
            prop_assert_eq!(bits.len(), model.last().map_or(0, |last| last + 1));
            prop_assert_eq!(bits.any(range.clone()), !ones.is_empty());
            prop_assert_eq!(bits.all(range.clone()), ones.len() as u64 == len);
            prop_assert_eq!(bits.contains(from), model.contains(&from));
            prop_assert_eq!(bits.first_set(from), model.range(from..).next().copied());
            prop_assert_eq!(bits.first_clear(from), (from..).find(|at| !model.contains(at)).unwrap());
            let zeros: Vec<u64> = range.clone().filter(|at| !model.contains(at)).collect();
            prop_assert_eq!(bits.iter_zeros(range.clone()).collect::<Vec<_>>(), zeros);
            prop_assert_eq!(bits.iter_ones(range).collect::<Vec<_>>(), ones);
            prop_assert_eq!(bits.runs().flatten().collect::<BTreeSet<_>>(), model);
            prop_assert_eq!(bits.runs().collect::<Bitfield>(), bits);
        }
    }

    #[test]
    fn numbers_beyond_the_limit_stay_out() {
        let mut bits = Bitfield::new();
        bits.set(limits::HELD_END);
        bits.set(u64::MAX);
        assert!(bits.is_empty());
        assert!(!bits.contains(u64::MAX));
        assert_eq!(bits.first_clear(u64::MAX), u64::MAX);
        assert!(bits.all(5..5) && !bits.any(5..5));
    }
}
