//! The bytes of a node: an identity part, then a location part. SPEC 8.4
//!
//! ```text
//! node       0x83 | identity length | identity | locations
//! identity   level u8 | count | count × (shared | suffix | value)
//!            value: leaf: bytes (at most 96); above: identity hash of the child (32)
//! locations  leaf: count × (length | bytes, or 0 | slot | block); above: count × (slot | block)
//! ```
//!
//! Integers are varints, `suffix` and leaf values are length-prefixed. A key is the first `shared`
//! bytes of the key before it and its suffix; keys ascend, which makes `shared` the longest
//! possible. The identity hash is the BLAKE3 of the identity part.

use alloc::vec::Vec;

use datnode_feed::{
    BlockIndex, Hash,
    codec::{DecodeError, Reader, Writer},
};

use crate::{
    blocks::kind,
    entry::position,
    error::{Damage, Location},
    limits::{
        INDEX_LEVELS_MAX, INLINE_IDENTITY_BYTES_MAX, INLINE_VALUE_BYTES_MAX, KEY_BYTES_MAX,
        NODE_BYTES_MAX,
    },
};

/// A node as it is in its block.
#[derive(Clone)]
pub(crate) struct NodeView<'a> {
    pub(crate) level: u8,
    pub(crate) count: u64,
    pub(crate) identity: &'a [u8],
    entries: Reader<'a>,
    locations: Reader<'a>,
}

/// Where a value's location part is, or a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place<'a> {
    Inline(&'a [u8]),
    At(Location),
}

/// What a node says under one key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item<'a> {
    pub(crate) identity: &'a [u8],
    pub(crate) place: Place<'a>,
}

impl<'a> NodeView<'a> {
    /// Reads the beginning of a node, kind byte included; its entries are checked as they are read.
    pub(crate) fn parse(block: &'a [u8]) -> Result<Self, Damage> {
        if block.len() > NODE_BYTES_MAX {
            return Err(DecodeError::TooLong(NODE_BYTES_MAX).into());
        }
        let mut input = Reader::new(block);
        let found = input.u8()?;
        if found != kind::NODE {
            return Err(Damage::WrongKind { expected: kind::NODE, found });
        }
        let identity = input.bytes(NODE_BYTES_MAX)?;
        let mut entries = Reader::new(identity);
        let level = entries.u8()?;
        if level >= INDEX_LEVELS_MAX {
            return Err(Damage::WrongLevel);
        }
        let count = entries.varint()?;
        Ok(Self { level, count, identity, entries, locations: input })
    }

    /// Returns the identity hash.
    pub(crate) fn identity_hash(&self) -> Hash {
        Hash::of(self.identity)
    }

    /// Returns the last entry whose key is not greater than `target`; none if all are greater.
    pub(crate) fn floor(&self, target: &[u8]) -> Result<Option<Floor<'a>>, Damage> {
        self.entries().floor(target)
    }

    /// Returns the entries.
    pub(crate) fn entries(&self) -> Entries<'a> {
        Entries {
            is_leaf: self.level == 0,
            left: self.count,
            key: Vec::new(),
            identities: self.entries.clone(),
            locations: self.locations.clone(),
        }
    }
}

/// The entry under a key, or the last one before it.
pub(crate) struct Floor<'a> {
    pub(crate) key: Vec<u8>,
    pub(crate) is_equal: bool,
    pub(crate) item: Item<'a>,
}

/// The entries of a node, one after the other.
pub(crate) struct Entries<'a> {
    is_leaf: bool,
    left: u64,
    key: Vec<u8>,
    identities: Reader<'a>,
    locations: Reader<'a>,
}

impl<'a> Entries<'a> {
    /// Returns the key of the entry returned last.
    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    /// Returns the next entry; none behind the last, once nothing is left over.
    pub(crate) fn next(&mut self) -> Result<Option<Item<'a>>, Damage> {
        if self.left == 0 {
            self.identities.end()?;
            self.locations.end()?;
            return Ok(None);
        }
        self.left -= 1;
        let (shared, suffix) = self.read_suffix()?;
        self.apply(shared, suffix);
        let identity = self.read_identity()?;
        Ok(Some(Item { identity, place: self.read_place(identity)? }))
    }

    /// Moves to the last entry whose key is not greater than `target`; none if all are greater.
    ///
    /// Keys are not compared but followed: what an entry shares with the one before it says how it
    /// stands to the target, unless it parts exactly where the target did.
    fn floor(mut self, target: &[u8]) -> Result<Option<Floor<'a>>, Damage> {
        let mut found = None;
        let mut matched = 0;
        for index in 0..self.left {
            let (shared, suffix) = self.read_suffix()?;
            if shared < matched {
                break;
            }
            if shared == matched {
                let rest = target.get(matched..).unwrap_or_default();
                let common = suffix.iter().zip(rest).take_while(|(key, want)| key == want).count();
                let is_greater = match (suffix.get(common), rest.get(common)) {
                    (Some(key), Some(want)) => key > want,
                    (Some(_), None) => true,
                    (None, _) => false,
                };
                if is_greater {
                    break;
                }
                matched += common;
            }
            self.apply(shared, suffix);
            found = Some((index, self.read_identity()?));
            if self.key.len() == matched && matched == target.len() {
                break;
            }
        }
        let Some((index, identity)) = found else {
            return Ok(None);
        };
        for _ in 0..index {
            // The identities before are sound, so their places are no longer than a value may be.
            self.read_place(&[])?;
        }
        let place = self.read_place(identity)?;
        let is_equal = self.key == target;
        Ok(Some(Floor { key: self.key, is_equal, item: Item { identity, place } }))
    }

    fn read_identity(&mut self) -> Result<&'a [u8], Damage> {
        if self.is_leaf {
            Ok(self.identities.bytes(INLINE_IDENTITY_BYTES_MAX)?)
        } else {
            Ok(self.identities.take(32)?)
        }
    }

    fn read_place(&mut self, identity: &[u8]) -> Result<Place<'a>, Damage> {
        if self.is_leaf {
            let limit = INLINE_VALUE_BYTES_MAX.saturating_sub(identity.len());
            let inline = self.locations.bytes(limit)?;
            if !inline.is_empty() {
                return Ok(Place::Inline(inline));
            }
        }
        Ok(Place::At(self.location()?))
    }

    /// Reads the next key, as what it shares with the one before it and what is new.
    fn read_suffix(&mut self) -> Result<(usize, &'a [u8]), Damage> {
        let shared = usize::try_from(self.identities.varint()?).unwrap_or(usize::MAX);
        let suffix = self.identities.bytes(KEY_BYTES_MAX)?;
        // Ascending means: longer than the shared part, and greater where they part. SPEC 8.4
        let Some(&first) = suffix.first() else {
            return Err(Damage::Unsorted);
        };
        if shared > self.key.len() || self.key.get(shared).is_some_and(|&before| first <= before) {
            return Err(Damage::Unsorted);
        }
        if shared + suffix.len() > KEY_BYTES_MAX {
            return Err(DecodeError::TooLong(KEY_BYTES_MAX).into());
        }
        Ok((shared, suffix))
    }

    fn apply(&mut self, shared: usize, suffix: &[u8]) {
        self.key.truncate(shared);
        self.key.extend_from_slice(suffix);
    }

    fn location(&mut self) -> Result<Location, Damage> {
        let slot = u16::try_from(self.locations.varint()?).map_err(|_| Damage::Foreign)?;
        Ok(Location { slot, block: BlockIndex(position(&mut self.locations)?) })
    }
}

impl Item<'_> {
    /// Returns the identity hash of the child this item of an upper node stands for.
    pub(crate) fn child_hash(&self) -> Result<Hash, Damage> {
        let bytes = self.identity.try_into().map_err(|_| Damage::WrongIdentity)?;
        Ok(Hash(bytes))
    }
}

/// Checks that a block at `own` may point to `to`. SPEC 8.4
pub(crate) fn check_pointer(own: BlockIndex, to: Location) -> Result<(), Damage> {
    if to.slot != 0 {
        return Err(Damage::Foreign);
    }
    if to.block >= own {
        return Err(Damage::Forward);
    }
    Ok(())
}

/// Writes the two parts of a node.
pub(crate) struct NodeWriter {
    is_leaf: bool,
    key: Vec<u8>,
    identity: Writer,
    locations: Writer,
}

impl NodeWriter {
    pub(crate) fn new(level: u8, count: usize) -> Self {
        let mut identity = Writer::new();
        identity.u8(level);
        identity.varint(u64::try_from(count).unwrap_or(u64::MAX));
        Self { is_leaf: level == 0, key: Vec::new(), identity, locations: Writer::new() }
    }

    /// Adds what an entry is.
    pub(crate) fn identity(&mut self, key: &[u8], identity: &[u8]) {
        let shared = self.key.iter().zip(key).take_while(|(before, now)| before == now).count();
        self.identity.varint(u64::try_from(shared).unwrap_or(u64::MAX));
        self.identity.bytes(key.get(shared..).unwrap_or_default());
        if self.is_leaf {
            self.identity.bytes(identity);
        } else {
            self.identity.raw(identity);
        }
        self.key.clear();
        self.key.extend_from_slice(key);
    }

    /// Adds where it is.
    pub(crate) fn place(&mut self, place: Place<'_>) {
        match place {
            Place::Inline(bytes) => {
                self.locations.bytes(bytes);
            }
            Place::At(location) => {
                if self.is_leaf {
                    self.locations.varint(0);
                }
                self.locations.varint(u64::from(location.slot));
                self.locations.varint(location.block.0);
            }
        }
    }

    /// Returns the node's block and its identity hash.
    pub(crate) fn finish(self) -> (Vec<u8>, Hash) {
        let identity = self.identity.into_vec();
        let hash = Hash::of(&identity);
        let mut out = Writer::new();
        out.u8(kind::NODE);
        out.bytes(&identity);
        out.raw(&self.locations.into_vec());
        (out.into_vec(), hash)
    }
}

/// Returns the root of an index without keys.
pub(crate) fn empty_node() -> Vec<u8> {
    NodeWriter::new(0, 0).finish().0
}
