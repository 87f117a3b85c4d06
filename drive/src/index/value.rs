//! How an entry lies in a leaf, and outside of it when it is long. SPEC 8.4
//!
//! ```text
//! inline identity   the entry's identity, or, above 96 bytes: kind | 0x80 | size | BLAKE3 of it
//! spilled block     0x84 | identity length | identity | location
//! ```
//!
//! Whether the identity is inline depends on the identity alone, so that equal names have equal
//! nodes wherever their bytes are. A value of more than 160 bytes in all has its location in a
//! spilled block, which repeats the identity.

use alloc::{vec, vec::Vec};

use datnode_feed::{
    BlockIndex,
    codec::{DecodeError, Reader, Writer},
};

use super::node::{Item, Place, check_pointer};
use crate::{
    blocks::{Blocks, fetch, kind},
    entry::{Entry, Kind, position},
    error::{Damage, Location, ReadError, Reading, Step},
    limits::{ENTRY_BYTES_MAX, INLINE_IDENTITY_BYTES_MAX, INLINE_VALUE_BYTES_MAX},
};

const SPILLED: u8 = 0x80;

/// What an index holds under its keys.
pub(crate) trait Indexed: Sized {
    /// Returns the value of an item that the leaf at `own` holds.
    fn resolve<B: Blocks>(blocks: &B, own: BlockIndex, item: Item<'_>) -> Reading<Self, B::Error>;
}

/// An entry as it goes into a leaf.
pub(crate) struct Value {
    pub(crate) identity: Vec<u8>,
    /// The location part, or the block that has to hold it.
    pub(crate) location: Result<Vec<u8>, Vec<u8>>,
}

impl Value {
    /// Encodes an entry that `change` sets.
    pub(crate) fn of(entry: &Entry, change: u64) -> Self {
        let identity = entry.identity();
        let location = entry.location_in(change);
        let is_short = identity.len() <= INLINE_IDENTITY_BYTES_MAX;
        if is_short && identity.len() + location.len() <= INLINE_VALUE_BYTES_MAX {
            return Self { identity, location: Ok(location) };
        }
        let mut spill = Writer::new();
        spill.u8(kind::SPILL);
        spill.bytes(&identity);
        spill.raw(&location);
        let inline = if is_short { identity } else { hashed(entry, &identity) };
        Self { identity: inline, location: Err(spill.into_vec()) }
    }
}

fn hashed(entry: &Entry, identity: &[u8]) -> Vec<u8> {
    let mut out = Writer::new();
    out.u8(entry.kind.code() | SPILLED);
    out.varint(entry.size);
    out.raw(blake3::hash(identity).as_bytes());
    out.into_vec()
}

/// Returns kind and size of an entry from its inline identity.
pub(crate) fn kind_and_size(inline: &[u8]) -> Result<(Kind, u64), DecodeError> {
    let mut input = Reader::new(inline);
    let kind = Kind::from_code(input.u8()? & !SPILLED)?;
    Ok((kind, position(&mut input)?))
}

impl Indexed for Entry {
    fn resolve<B: Blocks>(blocks: &B, own: BlockIndex, item: Item<'_>) -> Reading<Self, B::Error> {
        let holder = Location::changes(own);
        match item.place {
            Place::Inline(location) => Self::decode(item.identity, location)
                .map(Step::Done)
                .map_err(|error| ReadError::damaged(holder, error)),
            Place::At(at) => {
                check_pointer(own, at).map_err(|damage| ReadError::damaged(holder, damage))?;
                let Some(block) = fetch(blocks, at, kind::SPILL)? else {
                    return Ok(Step::Need(vec![at]));
                };
                read_spill(&block, item.identity)
                    .map(Step::Done)
                    .map_err(|damage| ReadError::damaged(at, damage))
            }
        }
    }
}

pub(crate) fn read_spill(block: &[u8], inline: &[u8]) -> Result<Entry, Damage> {
    if block.len() > ENTRY_BYTES_MAX + 16 {
        return Err(DecodeError::TooLong(ENTRY_BYTES_MAX).into());
    }
    let mut input = Reader::new(block);
    input.u8()?;
    let identity = input.bytes(ENTRY_BYTES_MAX)?;
    let location = input.rest();
    let entry = Entry::decode(identity, location)?;
    let is_short = identity.len() <= INLINE_IDENTITY_BYTES_MAX;
    let expected = if is_short { identity.to_vec() } else { hashed(&entry, identity) };
    if expected != inline {
        return Err(Damage::WrongIdentity);
    }
    Ok(entry)
}
