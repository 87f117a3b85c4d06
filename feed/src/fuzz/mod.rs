//! Entry points for fuzzing: bytes in, and whether they were accepted out. No part of the API.
//!
//! Each panics if what it promises does not hold: what a decoder accepts is encoded to the same bytes again, and nothing that
//! was not signed is taken. Elsewhere: who drives them (`tests/tests/fuzz.rs`, `tests/fuzz`), where the bytes of stores are
//! decoded (`store::fuzz`).

mod chain;
mod decoders;

use alloc::vec::Vec;

pub use crate::store::fuzz::{journal, meta, place, store};
pub use chain::{Sample, block_bytes, block_proof, sample, upgrade_proof};
pub use decoders::{accusation, bitfield, codec, head, public_key};

/// An entry point.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, which is also that of its corpus.
    pub name: &'static str,
    /// Takes any bytes; tells whether they were accepted.
    pub run: fn(&[u8]) -> bool,
    /// Makes inputs that are accepted, to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// The entry points of this crate.
pub const TARGETS: &[Target] = &[
    Target { name: "accusation", run: accusation, seeds: decoders::accusation_seeds },
    Target { name: "bitfield", run: bitfield, seeds: decoders::bitfield_seeds },
    Target { name: "block_proof", run: block_proof, seeds: chain::block_proof_seeds },
    Target { name: "codec", run: codec, seeds: decoders::codec_seeds },
    Target { name: "head", run: head, seeds: decoders::head_seeds },
    Target { name: "journal", run: journal, seeds: crate::store::fuzz::journal_seeds },
    Target { name: "meta", run: meta, seeds: crate::store::fuzz::meta_seeds },
    Target { name: "place", run: place, seeds: crate::store::fuzz::place_seeds },
    Target { name: "public_key", run: public_key, seeds: decoders::public_key_seeds },
    Target { name: "store", run: store, seeds: crate::store::fuzz::store_seeds },
    Target { name: "upgrade_proof", run: upgrade_proof, seeds: chain::upgrade_proof_seeds },
];
