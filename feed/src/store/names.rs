//! The paths of working files: an append-only table, addressed by offset. SPEC 5.3.
//!
//! A rename appends the new path and points the old record at it, so that no place of a block changes.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;
use alloc::vec::Vec;

use super::{Store, StoreError};
use crate::codec::{Reader, Writer};
use crate::hash::Hash;
use crate::limits::{PATH_BYTES_MAX, RENAMES_MAX, STORE_BYTES_END, TABLE_PIECE_BYTES};
use crate::storage::{FileId, Storage};

const PREFIX_LEN: u64 = 10;
/// Where the first record is; so no record is at 0, which means "not renamed".
pub(super) const NAMES_START: u64 = 8;

/// What is staged for the table, and where paths are found.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Records that come at the table's end.
    pub(super) staged: Vec<u8>,
    /// Where records of the table point now.
    pub(super) forwards: BTreeMap<u64, u64>,
    /// The records that were not renamed, by marks of their paths; filled when first asked. There may be millions, so the paths
    /// themselves are not here: they are read where marks agree.
    found: Option<BTreeSet<Found>>,
}

/// A path, by five bytes of its hash, and the record that has it, in seven: less than 2⁵⁶. In the order of their bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Found([u8; 12]);

impl Found {
    fn new(path: &[u8], at: u64) -> Self {
        let (Hash([a, b, c, d, e, ..]), [_, f, g, h, i, j, k, l]) =
            (Hash::of(path), at.to_be_bytes());
        Self([a, b, c, d, e, f, g, h, i, j, k, l])
    }

    /// Returns where the record is.
    fn at(self) -> u64 {
        let [.., f, g, h, i, j, k, l] = self.0;
        u64::from_be_bytes([0, f, g, h, i, j, k, l])
    }
}

impl<S: Storage> Store<S> {
    /// Returns the record of a path, which is made if there is none.
    pub(super) fn name(&mut self, path: &[u8]) -> Result<u64, StoreError> {
        if path.len() > PATH_BYTES_MAX {
            return Err(StoreError::TooMany("bytes in a path"));
        }
        if let Some(at) = self.find(path)? {
            return Ok(at);
        }
        let at = self.header.names_end + self.names.staged.len() as u64;
        let mut writer = Writer::new();
        writer.u64(0).u16(u16::try_from(path.len()).expect("bounded above")).raw(path);
        self.names.staged.extend_from_slice(writer.as_slice());
        if let Some(found) = &mut self.names.found {
            found.insert(Found::new(path, at));
        }
        Ok(at)
    }

    /// Returns the record of a path that was not renamed.
    fn find(&mut self, path: &[u8]) -> Result<Option<u64>, StoreError> {
        self.find_names()?;
        let alike = Found::new(path, 0)..=Found::new(path, STORE_BYTES_END - 1);
        let marked = self.names.found.iter().flat_map(|found| found.range(alike.clone()));
        for at in marked.map(|found| found.at()) {
            let (_, len) = self.read_prefix(at)?;
            if self.read_names(at + PREFIX_LEN, len)? == path {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    /// Says that the blocks recorded in the working file `from` live in `to` now. The file has that name already.
    ///
    /// # Errors
    /// What the storage says.
    pub fn rename_working(&mut self, from: &[u8], to: &[u8]) -> Result<(), StoreError> {
        let Some(old) = self.find(from)? else { return Ok(()) };
        if let Some(found) = &mut self.names.found {
            found.remove(&Found::new(from, old));
        }
        let new = self.name(to)?;
        // The file's new name before what counts on it: a power cut could take the name back. SPEC 5.5
        self.unsynced.working = true;
        if let Some(at) = old.checked_sub(self.header.names_end) {
            let at = usize::try_from(at).expect("what is staged fits memory");
            let forward =
                self.names.staged.get_mut(at..at + 8).expect("a record begins with 8 bytes");
            forward.copy_from_slice(&new.to_le_bytes());
        } else {
            self.names.forwards.insert(old, new);
        }
        Ok(())
    }

    /// Returns the path of a record, following renames.
    pub(super) fn path(&self, name: u64) -> Result<Vec<u8>, StoreError> {
        // No rename leads back; where damage does, it comes by a record again that it passed after 2^n steps.
        let (mut at, mut passed) = (name, name);
        for step in 1..=RENAMES_MAX {
            let (forward, len) = self.read_prefix(at)?;
            match self.names.forwards.get(&at).copied().unwrap_or(forward) {
                0 => return self.read_names(at + PREFIX_LEN, len),
                next if next == passed => break,
                next => at = next,
            }
            if step.is_power_of_two() {
                passed = at;
            }
        }
        Err(StoreError::Damaged("names"))
    }

    /// Returns where a record points, and how long its path is.
    fn read_prefix(&self, at: u64) -> Result<(u64, u64), StoreError> {
        let prefix = self.read_names(at, PREFIX_LEN)?;
        let mut reader = Reader::new(&prefix);
        let (Ok(forward), Ok(len)) = (reader.u64(), reader.u16()) else {
            return Err(StoreError::Damaged("names"));
        };
        Ok((forward, u64::from(len)))
    }

    fn read_names(&self, at: u64, len: u64) -> Result<Vec<u8>, StoreError> {
        if at >= STORE_BYTES_END {
            return Err(StoreError::Damaged("names"));
        }
        let mut bytes = vec![0; usize::try_from(len).expect("a record is small")];
        match at.checked_sub(self.header.names_end) {
            Some(at) => {
                let at = usize::try_from(at).map_err(|_| StoreError::Damaged("names"))?;
                let staged = self.names.staged.get(at..at + bytes.len());
                bytes.copy_from_slice(staged.ok_or(StoreError::Damaged("names"))?);
            }
            None => self.storage.read(FileId::Names, at, &mut bytes)?,
        }
        Ok(bytes)
    }

    /// Reads the whole table, once.
    fn find_names(&mut self) -> Result<(), StoreError> {
        if self.names.found.is_some() {
            return Ok(());
        }
        let mut found = BTreeSet::new();
        let (mut at, end) = (NAMES_START, self.header.names_end);
        while at < end {
            let piece = self.read_names(at, (end - at).min(TABLE_PIECE_BYTES as u64))?;
            match collect(&piece, at, &mut found) {
                0 => return Err(StoreError::Damaged("names")),
                len => at += len,
            }
        }
        self.names.found = Some(found);
        Ok(())
    }
}

/// Takes the whole records of a piece of the table, which begins at `start`; returns how many bytes they have.
fn collect(piece: &[u8], start: u64, found: &mut BTreeSet<Found>) -> u64 {
    let (mut reader, mut len) = (Reader::new(piece), 0);
    while let (Ok(forward), Ok(path)) = (reader.u64(), reader.u16()) {
        let Ok(path) = reader.take(usize::from(path)) else { break };
        if forward == 0 {
            found.insert(Found::new(path, start + len));
        }
        len += PREFIX_LEN + path.len() as u64;
    }
    len
}
