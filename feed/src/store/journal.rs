//! The journal: writes that must happen together, or not at all. SPEC 5.4.
//!
//! A record lists writes to tables as they are (physical redo), so that replaying it twice does no harm. Its checksum covers the
//! one before, so that neither a torn tail nor what an older, longer journal left behind can pass for a record.
//!
//! ```text
//! 0        4          20
//! +--------+----------+------------------------------------------+
//! | len u32| check 16 | len bytes: (file u8, slot u16, offset u64, n u32, n bytes)*
//! +--------+----------+------------------------------------------+
//! ```

use alloc::vec;
use alloc::vec::Vec;

use super::StoreError;
use super::table::Header;
use crate::codec::{DecodeError, Reader, Writer};
use crate::limits::RECORD_BYTES_MAX;
use crate::storage::{FeedSlot, FileId, Storage};

const CONTEXT: &str = "datnode 2026 journal v1";
const PREFIX_LEN: u64 = 20;

/// A write to a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Write {
    pub(super) file: FileId,
    pub(super) offset: u64,
    pub(super) bytes: Vec<u8>,
}

/// Where the journal ends, and what the next record chains to.
#[derive(Debug, Default)]
pub(super) struct Journal {
    pub(super) len: u64,
    check: [u8; 16],
}

impl Journal {
    /// Appends one record; it counts once the journal is synced.
    pub(super) fn append<S: Storage>(
        &mut self,
        storage: &mut S,
        writes: &[Write],
    ) -> Result<(), StoreError> {
        // One buffer for all: a record may be large.
        let mut record = Writer::new();
        record.raw(&[0; PREFIX_LEN as usize]);
        for Write { file, offset, bytes } in writes {
            let (kind, slot) = number(*file);
            let len = u32::try_from(bytes.len()).expect("a write fits a record");
            record.u8(kind).u16(slot).u64(*offset).u32(len).raw(bytes);
        }
        let mut record = record.into_vec();
        let (prefix, body) = record.split_at_mut(PREFIX_LEN as usize);
        let check = chain(&self.check, body);
        let mut writer = Writer::new();
        writer.u32(u32::try_from(body.len()).expect("a record is bounded")).raw(&check);
        prefix.copy_from_slice(writer.as_slice());
        storage.write(FileId::Journal, self.len, &record)?;
        self.len += record.len() as u64;
        self.check = check;
        Ok(())
    }

    /// Does again what the journal's records say, unless the tables have seen all of it and more; `commits` says how many
    /// commits they have seen.
    pub(super) fn replay<S: Storage>(storage: &mut S, commits: u64) -> Result<(), StoreError> {
        let end = storage.len(FileId::Journal)?;
        if end > 0 {
            // A killed process may have left a record that can be read and is not durable. Were the tables changed by it
            // first, a power cut could take the record back and leave half of its writes.
            storage.sync(FileId::Journal)?;
        }
        let (mut journal, mut newest) = (Self::default(), 0);
        while let Some(body) = journal.read(storage, end)? {
            // The chain holds: these are our own bytes, and a mistake in them is damage.
            let writes = writes(&body).map_err(|_| StoreError::Damaged("journal"))?;
            newest = writes.iter().filter_map(commits_of).fold(newest, u64::max);
        }
        if newest < commits {
            // A table is changed after its record was synced. So a record was there and can not be read any more; to redo
            // those before it would take the tables back.
            return Ok(());
        }
        let mut journal = Self::default();
        while let Some(body) = journal.read(storage, end)? {
            let writes = writes(&body).map_err(|_| StoreError::Damaged("journal"))?;
            for Write { file, offset, bytes } in join(writes) {
                storage.write(file, offset, &bytes)?;
            }
        }
        Ok(())
    }

    fn read<S: Storage>(&mut self, storage: &S, end: u64) -> Result<Option<Vec<u8>>, StoreError> {
        if self.len + PREFIX_LEN > end {
            return Ok(None);
        }
        let mut prefix = [0; PREFIX_LEN as usize];
        storage.read(FileId::Journal, self.len, &mut prefix)?;
        let mut reader = Reader::new(&prefix);
        let (Ok(len), Ok(check)) = (reader.u32(), reader.array::<16>()) else { return Ok(None) };
        let at = self.len + PREFIX_LEN;
        if len as usize > 2 * RECORD_BYTES_MAX || at + u64::from(len) > end {
            return Ok(None);
        }
        let mut body = vec![0; len as usize];
        storage.read(FileId::Journal, at, &mut body)?;
        if chain(&self.check, &body) != check {
            return Ok(None);
        }
        self.len = at + u64::from(len);
        self.check = check;
        Ok(Some(body))
    }

    /// Starts anew; the tables must be synced.
    pub(super) fn reset<S: Storage>(&mut self, storage: &mut S) -> Result<(), StoreError> {
        storage.truncate(FileId::Journal, 0)?;
        storage.sync(FileId::Journal)?;
        *self = Self::default();
        Ok(())
    }
}

fn chain(before: &[u8; 16], body: &[u8]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    hasher.update(before).update(body);
    *hasher.finalize().as_bytes().first_chunk().expect("a hash has 32 bytes")
}

/// Returns how many commits there were, if this is a write of the header.
fn commits_of(write: &Write) -> Option<u64> {
    let is_header = write.file == FileId::Meta && write.offset == 0;
    let bytes = write.bytes.first_chunk().filter(|_| is_header)?;
    Header::decode(bytes).ok()?.ok().map(|header| header.commits)
}

pub(super) fn writes(body: &[u8]) -> Result<Vec<Write>, DecodeError> {
    let mut reader = Reader::new(body);
    let mut writes = Vec::new();
    while !reader.is_empty() {
        let file = file(reader.u8()?, reader.u16()?)?;
        let offset = reader.u64()?;
        let len = reader.u32()? as usize;
        writes.push(Write { file, offset, bytes: reader.take(len)?.to_vec() });
    }
    Ok(writes)
}

/// Hands on writes, those that touch as one.
pub(super) fn join(writes: Vec<Write>) -> impl Iterator<Item = Write> {
    let mut writes = writes.into_iter().peekable();
    core::iter::from_fn(move || {
        let mut joined = writes.next()?;
        let touches = |joined: &Write, next: &Write| {
            next.file == joined.file && joined.offset + joined.bytes.len() as u64 == next.offset
        };
        while let Some(next) = writes.next_if(|next| touches(&joined, next)) {
            joined.bytes.extend_from_slice(&next.bytes);
        }
        Some(joined)
    })
}

const fn number(file: FileId) -> (u8, u16) {
    match file {
        FileId::Meta => (0, 0),
        FileId::Journal => (1, 0),
        FileId::Data => (2, 0),
        FileId::Names => (3, 0),
        FileId::Tree(slot) => (4, slot.0),
        FileId::Blocks(slot) => (5, slot.0),
    }
}

const fn file(kind: u8, slot: u16) -> Result<FileId, DecodeError> {
    match kind {
        0 => Ok(FileId::Meta),
        3 => Ok(FileId::Names),
        4 => Ok(FileId::Tree(FeedSlot(slot))),
        5 => Ok(FileId::Blocks(FeedSlot(slot))),
        _ => Err(DecodeError::Invalid("file of a journal record")),
    }
}
