//! What the tables hold: nodes, places, feeds, the store's header. SPEC 5.2, 5.3.

use alloc::vec::Vec;

use crate::codec::{DecodeError, Reader, Writer};
use crate::hash::{Hash, Node};
use crate::head::SignedHead;
use crate::key::PublicKey;
use crate::limits::{COMMITS_END, STORE_BYTES_END};
use crate::storage::FeedSlot;

/// The format that this code writes; newer ones are refused untouched.
pub const FORMAT: u16 = 1;
const MAGIC: &[u8; 8] = b"datstore";

pub(super) const NODE_LEN: u64 = 40;
pub(super) const PLACE_LEN: u64 = 16;
pub(super) const META_LEN: u64 = 256;

const CHECK_CONTEXT: &str = "datnode 2026 meta v1";
const CHECK_LEN: usize = 16;

/// The beginning of `meta`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) feeds: u16,
    pub(super) data_end: u64,
    pub(super) names_end: u64,
    /// How many commits there were.
    pub(super) commits: u64,
}

impl Default for Header {
    fn default() -> Self {
        Self { feeds: 0, data_end: 0, names_end: super::names::NAMES_START, commits: 0 }
    }
}

impl Header {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.raw(MAGIC).u16(FORMAT).u16(self.feeds).u32(0);
        writer.u64(self.data_end).u64(self.names_end).u64(self.commits);
        sealed(0, writer)
    }

    /// Reads the header; `Err(version)` in the inner result for a newer format.
    pub(super) fn decode(bytes: &[u8; Self::LEN]) -> Result<Result<Self, u16>, DecodeError> {
        let mut reader = Reader::new(bytes);
        if &reader.array::<8>()? != MAGIC {
            return Err(DecodeError::Invalid("magic of a store"));
        }
        let format = reader.u16()?;
        if format > FORMAT {
            return Ok(Err(format));
        }
        is_sealed(0, bytes)?;
        let feeds = reader.u16()?;
        reader.u32()?;
        let (data_end, names_end) = (reader.u64()?, reader.u64()?);
        let ends = super::names::NAMES_START..STORE_BYTES_END;
        if data_end >= ends.end || !ends.contains(&names_end) {
            return Err(DecodeError::Invalid("end of a table"));
        }
        let commits = reader.u64()?;
        if commits >= COMMITS_END {
            return Err(DecodeError::Invalid("count of commits"));
        }
        Ok(Ok(Self { feeds, data_end, names_end, commits }))
    }

    /// How many bytes [`encode`](Self::encode) makes.
    pub(super) const LEN: usize = 56;
}

/// Adds the checksum to a part of `meta`.
fn sealed(offset: u64, mut part: Writer) -> Vec<u8> {
    let check = check(offset, part.as_slice());
    part.raw(&check);
    part.into_vec()
}

fn is_sealed(offset: u64, part: &[u8]) -> Result<(), DecodeError> {
    let Some((body, found)) = part.split_last_chunk::<CHECK_LEN>() else {
        return Err(DecodeError::TooShort);
    };
    if check(offset, body) == *found {
        Ok(())
    } else {
        Err(DecodeError::Invalid("checksum in meta"))
    }
}

/// Returns the checksum of a part of `meta`. It covers where the part is: one that strayed is not taken for another.
fn check(offset: u64, body: &[u8]) -> [u8; CHECK_LEN] {
    let mut hasher = blake3::Hasher::new_derive_key(CHECK_CONTEXT);
    hasher.update(&offset.to_le_bytes()).update(body);
    *hasher.finalize().as_bytes().first_chunk().expect("a hash has 32 bytes")
}

/// Makes the checksum right of what is to be a part of `meta`.
#[cfg(feature = "fuzz")]
pub(super) fn seal(offset: u64, part: &mut [u8]) {
    if let Some((body, found)) = part.split_last_chunk_mut::<CHECK_LEN>() {
        *found = check(offset, body);
    }
}

/// Some bytes of `data`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) offset: u64,
    pub(super) len: u64,
}

/// Where the record of a feed says where its accusation is, if there is one.
const ACCUSATION_AT: usize = 224;
const _: () =
    assert!(32 + 2 + 168 <= ACCUSATION_AT && ACCUSATION_AT + 16 + CHECK_LEN == META_LEN as usize);

/// A feed in `meta`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FeedRecord {
    pub(super) key: PublicKey,
    pub(super) head: Option<SignedHead>,
    pub(super) accusation: Option<Span>,
}

impl FeedRecord {
    /// Returns where the record of a feed begins.
    pub(super) fn offset(slot: FeedSlot) -> u64 {
        (u64::from(slot.0) + 1) * META_LEN
    }

    pub(super) fn encode(&self, slot: FeedSlot) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.raw(self.key.as_bytes());
        writer.bytes(&self.head.as_ref().map(SignedHead::encode).unwrap_or_default());
        writer.pad(ACCUSATION_AT);
        let span = self.accusation.unwrap_or(Span { offset: 0, len: 0 });
        writer.u64(span.offset).u64(span.len);
        sealed(Self::offset(slot), writer)
    }

    pub(super) fn decode(
        slot: FeedSlot,
        bytes: &[u8; META_LEN as usize],
    ) -> Result<Self, DecodeError> {
        is_sealed(Self::offset(slot), bytes)?;
        let mut reader = Reader::new(bytes);
        let key = PublicKey::from_bytes(reader.array()?)
            .map_err(|_| DecodeError::Invalid("key of a feed"))?;
        let head = match reader.bytes(META_LEN as usize)? {
            [] => None,
            head => Some(SignedHead::decode(head)?),
        };
        let (_, span) = bytes.split_at(ACCUSATION_AT);
        let mut reader = Reader::new(span);
        let span = Span { offset: reader.u64()?, len: reader.u64()? };
        Ok(Self { key, head, accusation: (span.len > 0).then_some(span) })
    }
}

/// What stands for a node that is not known: no hash is zero.
pub(super) const UNKNOWN: Node = Node { hash: Hash([0; 32]), size: 0 };

pub(super) fn encode_node(node: &Node) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.u64(node.size).hash(&node.hash);
    writer.into_vec()
}

pub(super) fn decode_node(bytes: &[u8; NODE_LEN as usize]) -> Option<Node> {
    let mut reader = Reader::new(bytes);
    let node = Node { size: reader.u64().ok()?, hash: reader.hash().ok()? };
    (node.hash != Hash([0; 32])).then_some(node)
}

/// Where a block's bytes are, as the table has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cell {
    Absent,
    Data { offset: u64 },
    Working { name: u64, offset: u64 },
}

impl Cell {
    pub(super) fn encode(self) -> Vec<u8> {
        let (kind, offset, name) = match self {
            Self::Absent => (0, 0, 0),
            Self::Data { offset } => (1, offset, 0),
            Self::Working { name, offset } => (2, offset, name),
        };
        let mut writer = Writer::new();
        // One byte of kind and seven of offset: offsets are below 2^56.
        writer.u64(kind | offset << 8).u64(name);
        writer.into_vec()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let (first, name) = (reader.u64()?, reader.u64()?);
        let offset = first >> 8;
        match first & 0xff {
            0 => Ok(Self::Absent),
            1 => Ok(Self::Data { offset }),
            2 => Ok(Self::Working { name, offset }),
            _ => Err(DecodeError::Invalid("place of a block")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_tables_beyond_any_file_are_refused() {
        let sound = Header { feeds: 1, data_end: 9, names_end: 80, commits: 3 };
        let decode = |header: Header| Header::decode(header.encode().first_chunk().expect("56"));
        assert_eq!(decode(sound), Ok(Ok(sound)));
        for end in [STORE_BYTES_END, u64::MAX] {
            assert!(decode(Header { data_end: end, ..sound }).is_err());
            assert!(decode(Header { names_end: end, ..sound }).is_err());
        }
        assert!(decode(Header { names_end: 0, ..sound }).is_err());
    }

    #[test]
    fn more_commits_than_anybody_makes_are_refused() {
        let decode = |commits| {
            let header = Header { feeds: 1, data_end: 9, names_end: 80, commits };
            Header::decode(header.encode().first_chunk().expect("56")).is_ok()
        };
        assert!(decode(COMMITS_END - 1));
        assert!(!decode(COMMITS_END) && !decode(u64::MAX));
    }

    #[test]
    fn a_record_that_strayed_is_not_taken_for_another() {
        let key = crate::SecretKey::from_bytes([7; 32]).public();
        let record = FeedRecord { key, head: None, accusation: None };
        let encoded = record.encode(FeedSlot(1));
        let decode = |slot| FeedRecord::decode(slot, encoded.first_chunk().expect("256"));
        assert_eq!(decode(FeedSlot(1)), Ok(record));
        assert!(decode(FeedSlot(0)).is_err() && decode(FeedSlot(2)).is_err());
    }
}
