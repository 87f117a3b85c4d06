//! Records of the journal: what a commit writes into the tables, redone when a store is opened after a crash.
//!
//! ```text
//! 0        4         6    8        16             20           20 + length   + 32
//! +--------+---------+----+--------+--------------+------------+-------------+
//! | "dnjr" | version | 0  | number | body length  | body       | checksum    |    SPEC 5.4
//! +--------+---------+----+--------+--------------+------------+-------------+
//! body: of each write  file (1) | feed slot (2) | offset (8) | length (4) | bytes
//! ```
//!
//! Each checksum covers the one before, so that the first record that is torn, stale or missing ends the journal.
//! Redoing a record twice does what doing it once does. Elsewhere: what is written when (`store::commit`).

use alloc::vec::Vec;

use crate::codec::{DecodeError, Reader, Writer};
use crate::limits;
use crate::storage::{FeedSlot, FileId};

/// The context of a record's checksum.
pub(crate) const CONTEXT: &str = "datnode 2026 store journal v1";
pub(crate) const MAGIC: &[u8; 4] = b"dnjr";
pub(crate) const HEADER_LEN: usize = 20;
pub(crate) const CHECKSUM_LEN: usize = 32;
/// What a write takes in a body beside its bytes.
pub(crate) const WRITE_LEN: usize = 15;

/// Bytes for one place in a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Write {
    pub(crate) file: FileId,
    pub(crate) offset: u64,
    pub(crate) bytes: Vec<u8>,
}

/// The checksum of the last record, from which the next one goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chain(pub(crate) [u8; CHECKSUM_LEN]);

impl Chain {
    fn next(self, record: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        Self(*hasher.update(&self.0).update(record).finalize().as_bytes())
    }
}

/// What the front of a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    pub(crate) version: u16,
    pub(crate) number: u64,
    pub(crate) body_len: usize,
}

/// Makes a record, and the chain that goes on from it.
pub(crate) fn encode(chain: Chain, version: u16, number: u64, writes: &[Write]) -> (Vec<u8>, Chain) {
    let mut body = Writer::new();
    for write in writes {
        let (file, slot) = match write.file {
            FileId::Meta => (0, FeedSlot(0)),
            FileId::Names => (1, FeedSlot(0)),
            FileId::Tree(slot) => (2, slot),
            FileId::Blocks(slot) => (3, slot),
            FileId::Journal | FileId::Data => unreachable!("only tables are journaled"),
        };
        let len = u32::try_from(write.bytes.len()).expect("a commit splits what is long");
        body.u8(file).u16(slot.0).u64(write.offset).u32(len).raw(&write.bytes);
    }
    let len = u32::try_from(body.len()).expect("a commit splits what is long");
    let mut record = Writer::new();
    record.raw(MAGIC).u16(version).u16(0).u64(number).u32(len).raw(body.as_slice());
    let chain = chain.next(record.as_slice());
    record.raw(&chain.0);
    (record.into_vec(), chain)
}

/// Takes the front of a record.
pub(crate) fn decode_header(bytes: &[u8]) -> Result<RecordHeader, DecodeError> {
    let mut reader = Reader::new(bytes);
    if reader.array()? != *MAGIC {
        return Err(DecodeError::Invalid("journal magic"));
    }
    let version = reader.u16()?;
    if reader.u16()? != 0 {
        return Err(DecodeError::Invalid("journal header"));
    }
    let number = reader.u64()?;
    let body_len = usize::try_from(reader.u32()?).unwrap_or(usize::MAX);
    if body_len > limits::RECORD_BYTES_MAX {
        return Err(DecodeError::TooLong(limits::RECORD_BYTES_MAX));
    }
    Ok(RecordHeader { version, number, body_len })
}

/// Takes a whole record, if it follows on `chain`.
pub(crate) fn decode(chain: Chain, record: &[u8]) -> Result<(Vec<Write>, Chain), DecodeError> {
    let (covered, checksum) =
        record.split_last_chunk::<CHECKSUM_LEN>().ok_or(DecodeError::TooShort)?;
    let next = chain.next(covered);
    if next.0 != *checksum {
        return Err(DecodeError::Invalid("journal checksum"));
    }
    let mut reader = Reader::new(covered);
    reader.take(HEADER_LEN)?;
    let mut writes = Vec::new();
    while !reader.is_empty() {
        let file = reader.u8()?;
        let slot = FeedSlot(reader.u16()?);
        let file = match file {
            0 => FileId::Meta,
            1 => FileId::Names,
            2 => FileId::Tree(slot),
            3 => FileId::Blocks(slot),
            _ => return Err(DecodeError::Invalid("file in the journal")),
        };
        let offset = reader.u64()?;
        let len = usize::try_from(reader.u32()?).map_err(|_| DecodeError::TooShort)?;
        writes.push(Write { file, offset, bytes: reader.take(len)?.into() });
    }
    Ok((writes, next))
}
