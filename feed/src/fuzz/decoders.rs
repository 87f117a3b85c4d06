//! The decoders of single values.

use alloc::collections::BTreeSet;
use alloc::vec;
use alloc::vec::Vec;

use super::chain::sample;
use crate::accusation::{ACCUSATION_BYTES_MAX, Accusation};
use crate::bitfield::Bitfield;
use crate::codec::{Reader, Writer};
use crate::hash::Hash;
use crate::head::{Ancestor, Head, SignedHead};
use crate::key::PublicKey;

/// Numbers and byte strings, one after the other: an odd number is followed by a string.
pub fn codec(input: &[u8]) -> bool {
    let (mut reader, mut writer) = (Reader::new(input), Writer::new());
    while !reader.is_empty() {
        let before = reader.remaining();
        let Ok(number) = reader.varint() else { return false };
        writer.varint(number);
        if number % 2 == 1 {
            let Ok(bytes) = reader.bytes(300) else { return false };
            writer.bytes(bytes);
        }
        assert!(reader.remaining() < before, "each value takes a byte");
    }
    assert_eq!(writer.as_slice(), input, "each value has one encoding");
    reader.end().is_ok()
}

pub(super) fn codec_seeds() -> Vec<Vec<u8>> {
    let mut writer = Writer::new();
    for number in [0, 2, 128, 1 << 20, 1 << 56, u64::MAX - 1] {
        writer.varint(number).varint(number + 1).bytes(b"string");
    }
    vec![writer.into_vec()]
}

/// A signed head, also held against the key of [`sample`].
pub fn head(input: &[u8]) -> bool {
    let Ok(head) = SignedHead::decode(input) else { return false };
    assert_eq!(head.encode(), input, "a head has one encoding");
    assert!(head.head.validate().is_ok(), "what is decoded is within the limits");
    let sample = sample();
    if head.verify(&sample.key).is_ok() {
        assert!(sample.heads.contains(&head), "nobody signed this");
    }
    true
}

pub(super) fn head_seeds() -> Vec<Vec<u8>> {
    let ancestor = Some(Ancestor { fork: 0, length: 5, root: Hash([2; 32]) });
    let head = Head { fork: 1, length: 6, byte_length: 7, root: Hash([3; 32]), ancestor };
    let forked = SignedHead { head, signature: [4; 64] };
    sample().heads.iter().chain([&forked]).map(SignedHead::encode).collect()
}

/// A public key.
pub fn public_key(input: &[u8]) -> bool {
    let Some(key) = input.try_into().ok().and_then(|bytes| PublicKey::from_bytes(bytes).ok())
    else {
        return false;
    };
    assert_eq!(key.as_bytes(), input, "a key has one encoding");
    // A weak key would take some signature for nearly any message; the simplest has R = the neutral point and S = 0.
    let mut signature = [0; 64];
    signature[0] = 1;
    assert!(!key.verifies(b"message", &signature), "the key is weak");
    true
}

pub(super) fn public_key_seeds() -> Vec<Vec<u8>> {
    vec![sample().key.as_bytes().to_vec()]
}

/// Two heads that contradict each other, with what shows it; also held against the key of [`sample`].
pub fn accusation(input: &[u8]) -> bool {
    let Ok(accusation) = Accusation::decode(input) else { return false };
    assert_eq!(accusation.encode(), input, "an accusation has one encoding");
    assert!(input.len() <= ACCUSATION_BYTES_MAX, "an accusation fits its limit");
    let sample = sample();
    if accusation.verify(&sample.key).is_ok() {
        assert_eq!(accusation, sample.accusation, "there are only two histories");
    }
    true
}

pub(super) fn accusation_seeds() -> Vec<Vec<u8>> {
    vec![sample().accusation.encode()]
}

/// Runs that are set and cleared, `(start u16 | count u8 | what u8)*`, held against a plain set.
pub fn bitfield(input: &[u8]) -> bool {
    let (mut bits, mut set) = (Bitfield::new(), BTreeSet::new());
    for step in input.chunks_exact(4).take(64) {
        let &[a, b, c, d] = step else { break };
        let start = u64::from(a) | u64::from(b % 4) << 8;
        let range = start..start + u64::from(c);
        match d % 4 {
            0 => {
                bits.set_range(range.clone());
                set.extend(range.clone());
            }
            1 => {
                bits.clear_range(range.clone());
                set.retain(|block| !range.contains(block));
            }
            2 => {
                bits.set(start);
                set.insert(start);
            }
            _ => {
                bits.clear(start);
                set.remove(&start);
            }
        }
        assert_eq!(bits.any(range.clone()), set.range(range.clone()).next().is_some());
        assert_eq!(bits.all(range.clone()), range.clone().all(|block| set.contains(&block)));
        assert!(bits.iter_zeros(range.clone()).eq(range.filter(|block| !set.contains(block))));
        assert_eq!(bits.contains(start), set.contains(&start));
    }
    assert!(bits.iter_ones(0..bits.len()).eq(set.iter().copied()));
    let runs: Vec<_> = bits.runs().collect();
    assert!(runs.iter().cloned().flatten().eq(set.iter().copied()));
    assert_eq!(runs.into_iter().collect::<Bitfield>(), bits, "equal sets are equal");
    let end = set.last().map_or(0, |last| last + 1);
    assert_eq!((bits.len(), bits.count()), (end, set.len() as u64));
    !set.is_empty()
}

pub(super) fn bitfield_seeds() -> Vec<Vec<u8>> {
    let steps = [[3, 0, 200, 0], [70, 0, 64, 1], [255, 3, 0, 2], [64, 0, 0, 3], [0, 1, 255, 0]];
    vec![steps.concat()]
}
