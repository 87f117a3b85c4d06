//! Read-only maps of the store's own table files: the one module with `unsafe` in it.
//!
//! Invariant: a map is read only below the length that [`super::DiskStorage`], the file's only owner, knows the
//! file to have. The working folder's files are never mapped: anyone may shorten those, and a read past the end
//! of a mapped file kills the process.
#![expect(
    unsafe_code,
    reason = "a map is only sound while nobody shortens the file, which the lock sees to"
)]

use std::fs::File;
use std::io;

use memmap2::{Mmap, MmapOptions};

/// The least room that is mapped, so that a growing file is seldom mapped anew.
const ROOM_MIN: u64 = 1 << 20;

/// A read-only map of one of the store's files, with room for it to grow.
#[derive(Debug)]
pub(super) struct Map {
    map: Mmap,
}

impl Map {
    /// Maps `file`, which holds `len` bytes, with room for about as many again.
    pub(super) fn new(file: &File, len: u64) -> io::Result<Self> {
        let room = len.max(ROOM_MIN).next_power_of_two();
        let room = usize::try_from(room).map_err(io::Error::other)?;
        // SAFETY: the file lies in our own locked store: no other process writes or shortens it, and we drop the
        // map before we shorten it ourselves. The map is shared, so pages behind the end become readable as the
        // file grows; until then `read` never touches them, because its callers check against the file's length.
        let map = unsafe { MmapOptions::new().len(room).map(file)? };
        Ok(Self { map })
    }

    /// Copies the bytes at `offset`, or says that the map does not reach that far.
    ///
    /// The caller has checked that the range lies within the file.
    pub(super) fn read(&self, offset: u64, into: &mut [u8]) -> bool {
        let Ok(start) = usize::try_from(offset) else { return false };
        let Some(end) = start.checked_add(into.len()) else { return false };
        match self.map.get(start..end) {
            Some(bytes) => {
                into.copy_from_slice(bytes);
                true
            }
            None => false,
        }
    }
}
