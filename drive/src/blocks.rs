//! Where blocks come from, and the kinds of blocks a changes feed holds.

use alloc::{borrow::Cow, boxed::Box};

use datnode_feed::Hash;

use crate::error::{Damage, Location, ReadError};

/// A source of verified blocks.
pub trait Blocks {
    /// Why a block cannot be read.
    type Error;

    /// Returns a block's bytes; none while they are not here.
    fn block(&self, at: Location) -> Result<Option<Cow<'_, [u8]>>, Self::Error>;

    /// Returns the hash of the identity part of a node that [`block`](Self::block) just gave. A source that keeps nodes need not hash it
    /// again.
    fn identity_hash(&self, node: Identified<'_>) -> Hash {
        Hash::of(node.identity)
    }
}

/// A node of an index, and its identity part. SPEC 8.4-2
#[derive(Clone, Copy, Debug)]
pub struct Identified<'a> {
    /// Where it is.
    pub at: Location,
    /// Its block.
    pub block: &'a [u8],
    /// What its identity hash is of.
    pub identity: &'a [u8],
    /// How far above the leaves it is: 0 for one of them.
    pub level: u8,
}

impl<B: Blocks + ?Sized> Blocks for &B {
    type Error = B::Error;

    fn block(&self, at: Location) -> Result<Option<Cow<'_, [u8]>>, Self::Error> {
        (**self).block(at)
    }

    fn identity_hash(&self, node: Identified<'_>) -> Hash {
        (**self).identity_hash(node)
    }
}

impl<B: Blocks + ?Sized> Blocks for Box<B> {
    type Error = B::Error;

    fn block(&self, at: Location) -> Result<Option<Cow<'_, [u8]>>, Self::Error> {
        (**self).block(at)
    }

    fn identity_hash(&self, node: Identified<'_>) -> Hash {
        (**self).identity_hash(node)
    }
}

/// The first byte of every block of a changes feed. SPEC 8.2
///
/// A kind with the bit [`kind::REQUIRED`] that a reader does not know is refused by name; without
/// it, it is passed over.
pub mod kind {
    /// Set in kinds that must be understood.
    pub const REQUIRED: u8 = 0x80;
    /// The header, block 0.
    pub const HEADER: u8 = 0x81;
    /// A change.
    pub const CHANGE: u8 = 0x82;
    /// A node of an index.
    pub const NODE: u8 = 0x83;
    /// A value too long for its node.
    pub const SPILL: u8 = 0x84;
    /// Reserved: a writer is admitted.
    pub const WRITER_ADDED: u8 = 0x85;
    /// Reserved: a writer is removed.
    pub const WRITER_REMOVED: u8 = 0x86;
    /// Reserved: the drive goes on in another feed.
    pub const SUCCESSOR: u8 = 0x87;

    /// Returns whether this version reads blocks of this kind.
    pub(crate) const fn is_known(kind: u8) -> bool {
        matches!(kind, HEADER | CHANGE | NODE | SPILL)
    }
}

/// Reads a block and checks its kind. Returns the whole block, kind byte included.
pub(crate) fn fetch<B: Blocks>(
    blocks: &B,
    at: Location,
    expected: u8,
) -> Result<Option<Cow<'_, [u8]>>, ReadError<B::Error>> {
    let Some(block) = blocks.block(at).map_err(ReadError::Source)? else {
        return Ok(None);
    };
    let found = block.first().copied().unwrap_or_default();
    if found == expected {
        return Ok(Some(block));
    }
    if found & kind::REQUIRED != 0 && !kind::is_known(found) {
        return Err(ReadError::UnknownKind { at, kind: found });
    }
    Err(ReadError::damaged(at, Damage::WrongKind { expected, found }))
}
