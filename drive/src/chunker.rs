//! Cuts files into chunks by their content, so that an edit moves few cuts (MinCDC).
//!
//! A chunk ends where the hash of its last four bytes is least among all the ends from `min` to
//! `max`. The hash takes the four bytes as two little-endian words of 16 bits, times a constant
//! each, adds, and is compared as a signed number of 16 bits: the one product and the one
//! comparison of which every x86-64 does eight at once. Equal hashes go to the later end, so that
//! a run of one byte makes the fewest chunks. SPEC 8.6

/// How files are cut. The numbers are part of the drive's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkerParams {
    /// 1: MinCDC over four bytes.
    pub id: u8,
    /// Fewest bytes of a chunk that is not the last of its file.
    pub min: u32,
    /// Most bytes of a chunk.
    pub max: u32,
}

/// Finds the ends of chunks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chunker(ChunkerParams);

const WINDOW: usize = 4;
const MULTIPLIERS: (u16, u16) = (0x9E37, 0x79B1);
/// Ends looked at together; the least of them is found first, its place only if it wins.
const BATCH: usize = 1_024;

impl Default for ChunkerParams {
    fn default() -> Self {
        Self { id: 1, min: 32 * 1024, max: 96 * 1024 }
    }
}

impl ChunkerParams {
    /// Returns whether this version cuts that way.
    pub const fn is_valid(&self) -> bool {
        self.id == 1 && self.min >= 64 && self.min < self.max && self.max <= 1024 * 1024
    }
}

impl Chunker {
    /// Takes parameters that [`ChunkerParams::is_valid`].
    pub fn new(params: ChunkerParams) -> Option<Self> {
        params.is_valid().then_some(Self(params))
    }

    /// Returns the parameters.
    pub const fn params(&self) -> ChunkerParams {
        self.0
    }

    /// Returns the length of the first chunk of `window`, which begins where a chunk begins.
    ///
    /// None asks for more bytes: there are fewer than `max`, and `end` says that more follow. The
    /// answer does not depend on how much more than `max` the window holds. SPEC 8.6
    pub fn next(&self, window: &[u8], end: bool) -> Option<usize> {
        let min = usize::try_from(self.0.min).ok()?;
        let max = usize::try_from(self.0.max).ok()?;
        if window.len() >= max {
            return Some(min + last_least(window.get(min - WINDOW..max)?));
        }
        (end && !window.is_empty()).then_some(window.len())
    }
}

/// Returns the start of the last window with the least hash.
fn last_least(bytes: &[u8]) -> usize {
    let mut least = i16::MAX;
    let mut batch_start = 0;
    let mut start = 0;
    while start + WINDOW <= bytes.len() {
        let here = least_hash(batch_at(bytes, start));
        if here <= least {
            least = here;
            batch_start = start;
        }
        start += BATCH;
    }
    let batch = batch_at(bytes, batch_start);
    batch_start + batch.windows(WINDOW).rposition(|window| hash_of(window) == least).unwrap_or(0)
}

fn batch_at(bytes: &[u8], start: usize) -> &[u8] {
    let end = bytes.len().min(start + BATCH + WINDOW - 1);
    bytes.get(start..end).unwrap_or_default()
}

/// Returns the least hash of all windows of `bytes`.
///
/// Windows overlap, which no compiler vectorises; words at every second byte do not.
fn least_hash(bytes: &[u8]) -> i16 {
    let mut least = i16::MAX;
    for phase in 0..2 {
        let (words, _) = bytes.get(phase..).unwrap_or_default().as_chunks::<2>();
        let next = words.get(1..).unwrap_or_default();
        let hashes = words.iter().zip(next).map(|(&first, &second)| hash(first, second));
        least = hashes.fold(least, i16::min);
    }
    least
}

#[inline(always)]
fn hash(first: [u8; 2], second: [u8; 2]) -> i16 {
    let first = u16::from_le_bytes(first).wrapping_mul(MULTIPLIERS.0);
    let second = u16::from_le_bytes(second).wrapping_mul(MULTIPLIERS.1);
    first.wrapping_add(second).cast_signed()
}

fn hash_of(window: &[u8]) -> i16 {
    match *window {
        [a, b, c, d] => hash([a, b], [c, d]),
        _ => i16::MAX,
    }
}

#[cfg(test)]
mod tests {
    use alloc::{collections::BTreeSet, vec, vec::Vec};

    use super::*;

    fn random_bytes(seed: u64, len: usize) -> Vec<u8> {
        let mut state = seed;
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            bytes.extend_from_slice(&(z ^ (z >> 31)).to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }

    fn cuts(bytes: &[u8]) -> Vec<usize> {
        let chunker = Chunker::default();
        let mut ends = Vec::new();
        let mut start = 0;
        while let Some(len) = chunker.next(&bytes[start..], true) {
            start += len;
            ends.push(start);
        }
        ends
    }

    /// The definition, an end at a time.
    fn reference(window: &[u8], min: usize, max: usize) -> usize {
        let key = |&end: &usize| {
            let word = |at: usize| u32::from(window[at]) + 256 * u32::from(window[at + 1]);
            let sum = word(end - 4) * 0x9E37 % 65_536 + word(end - 2) * 0x79B1 % 65_536;
            let hash = u16::try_from(sum % 65_536).unwrap().cast_signed();
            (hash, core::cmp::Reverse(end))
        };
        (min..=max).min_by_key(key).unwrap()
    }

    #[test]
    fn cut_points_are_pinned() {
        // Golden: SPEC 8.6. SplitMix64 from 2026, 1,000,000 bytes.
        let ends = cuts(&random_bytes(2026, 1_000_000));
        assert_eq!(ends, GOLDEN);
    }

    const GOLDEN: [usize; 13] = [
        57_570, 148_679, 233_396, 299_682, 380_370, 440_679, 523_623, 605_302, 689_950, 765_496,
        840_623, 931_276, 1_000_000,
    ];

    #[test]
    fn cuts_match_the_definition() {
        let params = ChunkerParams { id: 1, min: 70, max: 3_000 };
        let chunker = Chunker::new(params).unwrap();
        for seed in 0..200 {
            let mut bytes = random_bytes(seed, 3_100);
            if seed % 3 == 0 {
                // Few values: many windows tie.
                bytes.iter_mut().for_each(|byte| *byte %= 3);
            }
            assert_eq!(chunker.next(&bytes, false), Some(reference(&bytes, 70, 3_000)));
        }
    }

    #[test]
    fn sizes_stay_within_their_bounds_and_runs_of_one_byte_make_the_largest_chunks() {
        let bytes = random_bytes(1, 5_000_000);
        let mut start = 0;
        for end in cuts(&bytes) {
            assert!(end - start <= 96 * 1024);
            assert!(end - start >= 32 * 1024 || end == bytes.len());
            start = end;
        }
        assert_eq!(cuts(&vec![0; 300_000]), [98_304, 196_608, 294_912, 300_000]);
        assert_eq!(cuts(&[]), [0usize; 0]);
        assert_eq!(cuts(&[1]), [1]);
    }

    #[test]
    fn windows_of_any_size_cut_like_the_whole() {
        let bytes = random_bytes(7, 2_000_000);
        let chunker = Chunker::default();
        for step in [1_000, 65_536, 100_000, 999_999] {
            let (mut start, mut read, mut ends) = (0, 0, Vec::new());
            while start < bytes.len() {
                match chunker.next(&bytes[start..read], read == bytes.len()) {
                    Some(len) => {
                        start += len;
                        ends.push(start);
                    }
                    None => read = bytes.len().min(read + step),
                }
            }
            assert_eq!(ends, cuts(&bytes), "step {step}");
        }
    }

    #[test]
    fn the_end_is_not_asked_for_once_a_whole_window_is_there() {
        let bytes = random_bytes(3, 98_304);
        let chunker = Chunker::default();
        assert_eq!(chunker.next(&bytes, true), chunker.next(&bytes, false));
        assert_eq!(chunker.next(&bytes[1..], false), None);
        assert_eq!(chunker.next(&bytes[1..], true), Some(98_303));
    }

    #[test]
    fn an_inserted_byte_changes_few_chunks() {
        let bytes = random_bytes(11, 8_000_000);
        let chunks = |bytes: &[u8]| -> BTreeSet<[u8; 32]> {
            let mut start = 0;
            let hash = |end: usize| {
                let chunk = &bytes[core::mem::replace(&mut start, end)..end];
                *blake3::hash(chunk).as_bytes()
            };
            cuts(bytes).into_iter().map(hash).collect()
        };
        let before = chunks(&bytes);
        for at in [0, 1, 1_234_567, 7_999_999] {
            let mut edited = bytes.clone();
            edited.insert(at, 42);
            let changed = chunks(&edited).difference(&before).count();
            assert!(changed <= 4, "{changed} chunks changed by a byte at {at}");
        }
    }

    #[test]
    fn parameters_that_cannot_be_are_refused() {
        for (id, min, max) in [(0, 64, 128), (2, 64, 128), (1, 63, 128), (1, 128, 128)] {
            assert_eq!(Chunker::new(ChunkerParams { id, min, max }), None);
        }
        assert_eq!(Chunker::new(ChunkerParams { id: 1, min: 64, max: 1_048_577 }), None);
    }
}
