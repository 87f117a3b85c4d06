//! Where the keys of a level are cut into nodes. SPEC 8.4
//!
//! A key weighs its length plus 64. From the start of a node: if all keys that follow weigh less
//! than 24 KiB together, they are the last node. Else the node ends before the key of least hash
//! among those that have at least 8 and less than 24 KiB before them.
//!
//! So a decision looks at less than 24 KiB of keys, every node but the last weighs at least 8, and
//! a key three nodes to the right of a node's start never changes where that node ends.

use crate::limits::{KEY_WEIGHT, NODE_WEIGHT_MAX, NODE_WEIGHT_MIN};

const HASH_KEY: &[u8; 32] = b"datnode 2026 drive boundary v1\0\0";

/// How many nodes to the left of an edited one may end elsewhere because of the edit.
pub(crate) const LOOK_BACK: usize = NODE_WEIGHT_MAX / NODE_WEIGHT_MIN - 1;

/// What the cutting rule knows of a key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    pub(crate) weight: usize,
    pub(crate) hash: u64,
}

impl Mark {
    pub(crate) fn of(key: &[u8]) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = *blake3::keyed_hash(HASH_KEY, key).as_bytes();
        Self { weight: key.len() + KEY_WEIGHT, hash: u64::from_be_bytes([a, b, c, d, e, f, g, h]) }
    }
}

/// Returns how many of the keys are in the first node. Equal hashes go to the earlier key.
///
/// `marks` are all keys that follow, or as many as weigh 24 KiB.
pub(crate) fn first_node(marks: impl ExactSizeIterator<Item = Mark>) -> usize {
    let count = marks.len();
    let mut before = 0;
    let mut best: Option<(u64, usize)> = None;
    for (index, mark) in marks.enumerate() {
        if (NODE_WEIGHT_MIN..NODE_WEIGHT_MAX).contains(&before)
            && best.is_none_or(|(hash, _)| mark.hash < hash)
        {
            best = Some((mark.hash, index));
        }
        before += mark.weight;
    }
    match best {
        Some((_, index)) if before >= NODE_WEIGHT_MAX => index,
        _ => count,
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn mark(weight: usize, hash: u64) -> Mark {
        Mark { weight, hash }
    }

    #[test]
    fn the_hash_of_a_key_is_pinned() {
        // Golden: SPEC 8.4.
        assert_eq!(Mark::of(b"a\0b").hash, 0x5728_3c4a_d051_3399);
        assert_eq!(Mark::of(b"a\0b").weight, 67);
    }

    #[test]
    fn the_last_node_takes_what_weighs_less_than_24_kib() {
        assert_eq!(first_node([mark(24 * 1024 - 1, 0)].into_iter()), 1);
        assert_eq!(first_node([mark(12 * 1024, 9), mark(12 * 1024 - 1, 0)].into_iter()), 2);
        assert_eq!(first_node([mark(12 * 1024, 9), mark(12 * 1024, 9)].into_iter()), 1);
    }

    #[test]
    fn the_least_hash_between_the_bounds_begins_the_next_node() {
        let kib = |hashes: &[u64]| -> usize {
            first_node(hashes.iter().map(|&hash| mark(1_024, hash)).collect::<Vec<_>>().into_iter())
        };
        // Keys 8 to 23 are candidates; 0 to 7 and 24 are not.
        let mut hashes = [9; 30];
        hashes[7] = 0;
        hashes[24] = 0;
        assert_eq!(kib(&hashes), 8);
        hashes[23] = 1;
        assert_eq!(kib(&hashes), 23);
        hashes[12] = 1;
        assert_eq!(kib(&hashes), 12);
    }
}
