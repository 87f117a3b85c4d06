//! Skip pointers: how any change is found from any later one in about log₁₆ n reads.
//!
//! Change n points to the previous 16 changes, to the last 16 multiples of 16 below n, of 256, and
//! so on while 16ᵏ < n. How many pointers there are follows from n and is not stored. SPEC 8.3

use alloc::{vec, vec::Vec};

use datnode_feed::codec::{DecodeError, Reader, Writer};

use crate::{entry::position, limits::SKIP_WIDTH};

/// The positions of earlier changes. Level k holds the last 16 multiples of 16ᵏ, latest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Skips(Vec<Vec<u64>>);

impl Skips {
    /// Returns the pointers of the change after `number`, which is at `position` and has `self`.
    pub(crate) fn of_next(&self, number: u64, position: u64) -> Self {
        let mut levels = Vec::new();
        for (level, step) in steps(number + 1).enumerate() {
            let below = self.0.get(level).map(Vec::as_slice);
            // A level that begins with `number` knows only the header, change 0, before it.
            let below = below.unwrap_or(if number == 0 { &[] } else { &[0] });
            let own = number.is_multiple_of(step).then_some(position);
            levels.push(own.into_iter().chain(below.iter().copied()).take(width()).collect());
        }
        Self(levels)
    }

    /// Returns the earliest change at or after `target` that change `number` points to.
    pub(crate) fn toward(&self, number: u64, target: u64) -> Option<(u64, u64)> {
        let nearest = |(positions, step): (&Vec<u64>, u64)| {
            let multiple = target.div_ceil(step).checked_mul(step)?;
            let last = (number.checked_sub(1)? / step) * step;
            let index = last.checked_sub(multiple)? / step;
            let position = positions.get(usize::try_from(index).ok()?)?;
            Some((multiple, *position))
        };
        self.0.iter().zip(steps(number)).filter_map(nearest).min()
    }

    /// Returns all that change `number` points to, with their positions.
    pub(crate) fn all(&self, number: u64) -> impl Iterator<Item = (u64, u64)> {
        self.0.iter().zip(steps(number)).flat_map(move |(positions, step)| {
            let last = number.saturating_sub(1) / step;
            let multiples = (0..=last).rev().map(move |multiple| multiple * step);
            multiples.zip(positions.iter().copied())
        })
    }

    pub(crate) fn encode(&self, out: &mut Writer) {
        for &position in self.0.iter().flatten() {
            out.varint(position);
        }
    }

    pub(crate) fn decode(input: &mut Reader<'_>, number: u64) -> Result<Self, DecodeError> {
        let mut levels = vec![];
        for step in steps(number) {
            let count = number.div_ceil(step).min(SKIP_WIDTH);
            levels.push((0..count).map(|_| position(input)).collect::<Result<_, _>>()?);
        }
        Ok(Self(levels))
    }
}

/// Returns the distances of the levels that change `number` has: 1, and every 16ᵏ below it.
fn steps(number: u64) -> impl Iterator<Item = u64> {
    core::iter::successors(Some(1u64), |step| step.checked_mul(SKIP_WIDTH))
        .take_while(move |&step| number > 0 && (step == 1 || step < number))
}

fn width() -> usize {
    usize::try_from(SKIP_WIDTH).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Change n is at position 3n here.
    fn chain(count: u64) -> Vec<Skips> {
        let mut all = vec![Skips::default()];
        for number in 0..count {
            let next = all[usize::try_from(number).unwrap()].of_next(number, 3 * number);
            all.push(next);
        }
        all
    }

    #[test]
    fn pointers_match_the_definition_and_come_back_as_they_went() {
        for (number, skips) in (0u64..).zip(chain(5_000)) {
            let mut levels = Vec::new();
            for step in [1u64, 16, 256, 4_096] {
                if number > 0 && (step == 1 || step < number) {
                    let multiples = (0..number).rev().filter(|m| m % step == 0).take(16);
                    levels.push(multiples.map(|m| 3 * m).collect());
                }
            }
            assert_eq!(skips, Skips(levels), "change {number}");
            let mut out = Writer::new();
            skips.encode(&mut out);
            let bytes = out.into_vec();
            assert_eq!(Skips::decode(&mut Reader::new(&bytes), number), Ok(skips));
        }
    }

    #[test]
    fn all_pointers_are_told_with_their_numbers() {
        for (number, skips) in (0u64..).zip(chain(5_000)) {
            assert_eq!(skips.all(number).count(), skips.0.iter().flatten().count());
            assert!(skips.all(number).all(|(earlier, at)| earlier < number && at == 3 * earlier));
        }
    }

    #[test]
    fn every_change_is_a_few_hops_away() {
        let all = chain(5_000);
        for target in 0..5_000u64 {
            let (mut number, mut hops) = (5_000u64, 0);
            while number != target {
                let skips = &all[usize::try_from(number).unwrap()];
                let (nearer, position) = skips.toward(number, target).unwrap();
                assert!(nearer < number && nearer >= target && position == 3 * nearer);
                number = nearer;
                hops += 1;
            }
            assert!(hops <= 5, "{target} took {hops} hops");
        }
    }
}
