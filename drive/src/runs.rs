//! How many runs of blocks a file may be made of, and which of them are stored anew if there are more. SPEC 8.5-6
//!
//! Chunks that are stored already are not stored again, so that an edit costs next to nothing; but edit after edit takes a file apart,
//! until its entry has no room and whoever reads it seeks more than it reads. So the shortest runs that are neighbours become one.
//! Everything here is a function of its arguments. Elsewhere: storing them anew is up to the writer.

use alloc::{vec, vec::Vec};
use core::{cmp::Reverse, ops::Range};

use crate::{
    entry::Extent,
    limits::{ENTRY_BYTES_MAX, EXTENTS_FREE, RUN_BYTES_MIN},
};

/// What an entry has beside its extents is no more: kind 1, size 8, mode 2, time 15, hashes 64, change 8, count 3.
const REST_BYTES_MAX: u64 = 101;

/// Returns how long the runs of a file of so many bytes are at least, on average. `end` is where its feed ends at most, in blocks
/// and bytes, and `slot` the feed's.
pub(crate) fn run_bytes(size: u64, slot: u16, end: (u64, u64)) -> u64 {
    // Each number of an extent is at most this one, so that so many extents surely fit.
    let extent = [u64::from(slot), end.0, end.0, end.1, size].map(varint_len).iter().sum::<u64>();
    let fit = (ENTRY_BYTES_MAX as u64 - REST_BYTES_MAX) / extent;
    size.div_ceil(fit).max(RUN_BYTES_MIN)
}

/// Returns how many extents such a file may have.
pub(crate) fn extents_max(size: u64, slot: u16, end: (u64, u64)) -> usize {
    let most = size / run_bytes(size, slot, end);
    usize::try_from(most).unwrap_or(usize::MAX).max(EXTENTS_FREE)
}

/// Picks stretches of neighbouring extents such that, with one in the place of each stretch, there are at most `most`.
///
/// Extents are taken from the shortest on, of equal ones the first, until that is so; two or more neighbours among them are a
/// stretch. They have no more than 4 (n − `most` + 1) / `most` of all bytes, where n is how many extents there are: at most
/// `most` / 2 − 1 are longer than the last one taken, so that this has at most 2 / `most` of the bytes; and a stretch of two or more
/// saves at least half of its number.
pub(crate) fn short_stretches(extents: &[Extent], most: usize) -> Vec<Range<usize>> {
    let mut count = extents.len();
    if count <= most {
        return Vec::new();
    }
    let mut shortest: Vec<usize> = (0..count).collect();
    shortest.sort_unstable_by_key(|&at| Reverse((extents[at].bytes, at)));
    let mut taken = vec![false; count];
    while count > most.max(1)
        && let Some(at) = shortest.pop()
    {
        let beside = [at.wrapping_sub(1), at + 1];
        count -= beside.iter().filter(|&&at| taken.get(at) == Some(&true)).count();
        taken[at] = true;
    }
    let mut start = 0;
    let runs = taken.chunk_by(|here, next| *here && *next).map(|run| {
        start += run.len();
        start - run.len()..start
    });
    runs.filter(|run| run.len() > 1).collect()
}

const fn varint_len(value: u64) -> u64 {
    (u64::BITS - value.leading_zeros()).div_ceil(7) as u64 + (value == 0) as u64
}

#[cfg(test)]
mod tests {
    use datnode_feed::{Hash, codec::Writer};

    use super::*;
    use crate::{
        entry::{Entry, Kind, MODE_MASK, Mtime},
        limits::FEED_LENGTH_MAX,
    };

    fn extents(lens: impl IntoIterator<Item = u64>) -> Vec<Extent> {
        let extent = |bytes| Extent { slot: 1, first_block: 0, count: 1, first_byte: 0, bytes };
        lens.into_iter().map(extent).collect()
    }

    /// Numbers that look random, below `limit`.
    fn scattered(seed: u64, limit: u64) -> impl Iterator<Item = u64> {
        (1..)
            .map(move |n: u64| (n + seed * 7_919).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20)
            .map(move |n| n % limit)
    }

    /// The definition: the fewest of the shortest such that it is enough.
    fn reference(extents: &[Extent], most: usize) -> Vec<Range<usize>> {
        for taken in 0..=extents.len() {
            let mut shortest: Vec<usize> = (0..extents.len()).collect();
            shortest.sort_by_key(|&at| (extents[at].bytes, at));
            shortest.truncate(taken);
            let mut stretches: Vec<Range<usize>> = Vec::new();
            for at in 0..extents.len() {
                match stretches.last_mut() {
                    _ if !shortest.contains(&at) => {}
                    Some(last) if last.end == at => last.end += 1,
                    _ => stretches.push(at..at + 1),
                }
            }
            stretches.retain(|stretch| stretch.len() > 1);
            if extents.len() - saved(&stretches) <= most {
                return stretches;
            }
        }
        unreachable!("all of them are one")
    }

    fn saved(stretches: &[Range<usize>]) -> usize {
        stretches.iter().map(|stretch| stretch.len() - 1).sum()
    }

    #[test]
    fn stretches_match_the_definition() {
        for seed in 0..300 {
            let count = 1 + usize::try_from(seed).unwrap() % 40;
            let extents = extents(scattered(seed, 1 + seed % 9).map(|len| len + 1).take(count));
            for most in 1..=count + 1 {
                assert_eq!(short_stretches(&extents, most), reference(&extents, most), "{seed}");
            }
        }
    }

    #[test]
    fn what_is_stored_anew_is_bounded_however_the_runs_lie() {
        let lie = |kind: u64, n: u64, random: u64| match kind {
            0 => 5,
            1 => random,
            2 => [1, 1_000][(n % 2) as usize],
            3 => n,
            4 => {
                if n.is_multiple_of(100) {
                    1_000_000
                } else {
                    1
                }
            }
            _ => random * random * random,
        };
        for kind in 0..6 {
            let lens = scattered(kind, 1_000).zip(1..).map(|(random, n)| lie(kind, n, random + 1));
            let extents = extents(lens.take(3_000));
            let all: u64 = extents.iter().map(|extent| extent.bytes).sum();
            for most in [16, 100, 1_000, 2_000, 2_990, 2_999] {
                let stretches = short_stretches(&extents, most);
                assert!(extents.len() - saved(&stretches) <= most);
                let anew = stretches.iter().flat_map(|stretch| &extents[stretch.clone()]);
                let anew: u64 = anew.map(|extent| extent.bytes).sum();
                let (many, most) = ((extents.len() - most + 1) as u64, most as u64);
                assert!(anew <= all.min(4 * many * all / most), "{kind}, {most}: {anew} of {all}");
            }
        }
    }

    #[test]
    fn as_many_extents_as_there_may_be_always_fit() {
        let most = FEED_LENGTH_MAX - 1;
        for end in [(1, 1), (1 << 15, 1 << 31), (1 << 22, 1 << 38), (most, most)] {
            for size in [0, 1, 1 << 22, 1 << 31, 1 << 38, most] {
                let size = size.min(end.1);
                let count = extents_max(size, 1, end);
                let extent = Extent {
                    slot: 1,
                    first_block: end.0,
                    count: end.0,
                    first_byte: end.1,
                    bytes: size,
                };
                let entry = Entry {
                    kind: Kind::File,
                    size,
                    mode: MODE_MASK,
                    mtime: Mtime { seconds: i64::MIN, nanos: 999_999_999 },
                    target: Vec::new(),
                    chunks: Hash([1; 32]),
                    content: Hash([2; 32]),
                    extents: vec![extent; count],
                    change: most,
                };
                assert!(entry.encoded_len() <= ENTRY_BYTES_MAX, "{count} of {end:?}, {size}");
                assert!(count <= EXTENTS_FREE || size / count as u64 >= RUN_BYTES_MIN);
            }
        }
        // Of usual files there may be some thousands.
        assert!(extents_max(4 << 30, 1, (1 << 18, 1 << 34)) > 3_000);
        assert_eq!(extents_max(100 << 20, 1, (1 << 18, 1 << 34)), 400);
    }

    #[test]
    fn lengths_of_numbers_are_those_of_the_codec() {
        for shift in 0..64 {
            for value in [(1_u64 << shift) - 1, 1 << shift] {
                let mut out = Writer::new();
                out.varint(value);
                assert_eq!(varint_len(value), out.as_slice().len() as u64, "{value}");
            }
        }
    }
}
