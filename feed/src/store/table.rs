//! What the tables hold: nodes, places, feeds, the store's header. SPEC 5.2, 5.3.

use alloc::vec::Vec;

use crate::codec::{DecodeError, Reader, Writer};
use crate::hash::{Hash, Node};
use crate::head::SignedHead;
use crate::key::PublicKey;
use crate::limits::STORE_BYTES_END;

/// The format that this code writes; newer ones are refused untouched.
pub const FORMAT: u16 = 1;
const MAGIC: &[u8; 8] = b"datstore";

pub(super) const NODE_LEN: u64 = 40;
pub(super) const PLACE_LEN: u64 = 16;
pub(super) const META_LEN: u64 = 256;

/// The first page of `meta`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) feeds: u16,
    pub(super) data_end: u64,
    pub(super) names_end: u64,
}

impl Default for Header {
    fn default() -> Self {
        Self { feeds: 0, data_end: 0, names_end: super::names::NAMES_START }
    }
}

impl Header {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.raw(MAGIC).u16(FORMAT).u16(self.feeds).u32(0).u64(self.data_end).u64(self.names_end);
        writer.into_vec()
    }

    /// Reads the header; `Err(version)` in the inner result for a newer format.
    pub(super) fn decode(bytes: &[u8]) -> Result<Result<Self, u16>, DecodeError> {
        let mut reader = Reader::new(bytes);
        if &reader.array::<8>()? != MAGIC {
            return Err(DecodeError::Invalid("magic of a store"));
        }
        let format = reader.u16()?;
        if format > FORMAT {
            return Ok(Err(format));
        }
        let feeds = reader.u16()?;
        reader.u32()?;
        let header = Self { feeds, data_end: reader.u64()?, names_end: reader.u64()? };
        let ends = super::names::NAMES_START..STORE_BYTES_END;
        if header.data_end >= ends.end || !ends.contains(&header.names_end) {
            return Err(DecodeError::Invalid("end of a table"));
        }
        Ok(Ok(header))
    }

    /// How many bytes [`encode`](Self::encode) makes.
    pub(super) const LEN: usize = 32;
}

/// Some bytes of `data`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) offset: u64,
    pub(super) len: u64,
}

/// Where the record of a feed says where its accusation is, if there is one.
const ACCUSATION_AT: usize = 240;
const _: () = assert!(32 + 2 + 168 <= ACCUSATION_AT && ACCUSATION_AT + 16 == META_LEN as usize);

/// A feed's record in `meta`.
pub(super) fn encode_feed(
    key: &PublicKey,
    head: Option<&SignedHead>,
    accusation: Option<Span>,
) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.raw(key.as_bytes());
    writer.bytes(&head.map(SignedHead::encode).unwrap_or_default());
    writer.pad(ACCUSATION_AT);
    let span = accusation.unwrap_or(Span { offset: 0, len: 0 });
    writer.u64(span.offset).u64(span.len);
    writer.into_vec()
}

type FeedRecord = (PublicKey, Option<SignedHead>, Option<Span>);

pub(super) fn decode_feed(bytes: &[u8; META_LEN as usize]) -> Result<FeedRecord, DecodeError> {
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
    Ok((key, head, (span.len > 0).then_some(span)))
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
