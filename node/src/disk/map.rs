//! Read-only maps of the store's own table files: the one module with `unsafe` in it.
//!
//! Invariant: a map is read only below the length that [`super::DiskStorage`], the file's only owner, knows the
//! file to have. The working folder's files are never mapped: anyone may shorten those, and a read past the end
//! of a mapped file kills the process. Nor is anything mapped where a page may be missing for another reason ([`is_safe`]).
#![expect(
    unsafe_code,
    reason = "a map is only sound while nobody shortens the file, which the lock sees to"
)]

use std::fs::File;
use std::io;

use memmap2::{Mmap, MmapOptions};

/// The least room that is mapped, so that a growing file is seldom mapped anew.
const ROOM_MIN: u64 = 1 << 20;

/// Tells whether a map of a file in this folder can be read wherever the file can: elsewhere a page that there is no room for (tmpfs, of a
/// hole), or that a server does not send, kills the process.
#[cfg(target_os = "linux")]
pub(super) fn is_safe(folder: &File) -> bool {
    use super::{BTRFS, EXT4, XFS, file_system};
    file_system(folder).is_some_and(|kind| [EXT4, XFS, BTRFS].contains(&kind))
}

/// So it is with the disks of other systems.
#[cfg(not(target_os = "linux"))]
pub(super) fn is_safe(_: &File) -> bool {
    true
}

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

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::os::unix::fs::FileExt as _;

    use super::*;

    /// Makes a file of so many bytes, each of which tells where it is.
    fn file(len: u64) -> File {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table");
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path).unwrap();
        grow(&file, 0, len);
        file
    }

    fn byte(at: u64) -> u8 {
        (at % 251) as u8
    }

    fn grow(file: &File, from: u64, to: u64) {
        let bytes: Vec<u8> = (from..to).map(byte).collect();
        file.write_all_at(&bytes, from).unwrap();
    }

    fn assert_reads(map: &Map, offset: u64, len: usize) {
        let mut bytes = vec![0; len];
        assert!(map.read(offset, &mut bytes), "{len} bytes at {offset}");
        assert!((offset..).zip(&bytes).all(|(at, found)| byte(at) == *found), "{offset}");
    }

    #[test]
    fn a_map_reads_what_the_file_has_also_what_it_grew_by() {
        for len in [1, 4_095, 4_096, 4_097, ROOM_MIN - 1, ROOM_MIN, ROOM_MIN + 1] {
            let file = file(len);
            let map = Map::new(&file, len).unwrap();
            assert_reads(&map, 0, usize::try_from(len).unwrap());
            assert_reads(&map, len - 1, 1);
            let room = len.max(ROOM_MIN).next_power_of_two();
            grow(&file, len, room);
            assert_reads(&map, 0, usize::try_from(room).unwrap());
            assert_reads(&map, room - 1, 1);
        }
    }

    #[test]
    fn a_map_says_what_is_beyond_its_room_and_touches_nothing_there() {
        let file = file(ROOM_MIN);
        let map = Map::new(&file, ROOM_MIN).unwrap();
        let mut into = [7; 64];
        for offset in [ROOM_MIN - 63, ROOM_MIN, ROOM_MIN + 1, u64::MAX - 63, u64::MAX] {
            assert!(!map.read(offset, &mut into), "{offset}");
        }
        assert_eq!(into, [7; 64]);
        assert!(map.read(ROOM_MIN, &mut []), "nothing is everywhere up to the end");
        assert!(!map.read(ROOM_MIN + 1, &mut []));
    }

    #[test]
    fn what_was_mapped_is_mapped_anew_after_it_was_shortened() {
        let file = file(3 * ROOM_MIN);
        drop(Map::new(&file, 3 * ROOM_MIN).unwrap());
        file.set_len(10).unwrap();
        let map = Map::new(&file, 10).unwrap();
        assert_reads(&map, 0, 10);
        grow(&file, 10, ROOM_MIN);
        assert_reads(&map, 0, usize::try_from(ROOM_MIN).unwrap());
    }
}
