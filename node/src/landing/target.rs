//! Writing one file beneath a folder: temporary name, bytes, mode, time, rename.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt as _;

use datnode_drive::{Entry, Mtime, TEMPORARY_PREFIX};
use datnode_feed::Hash;
use rustix::fs::{self as sys, AtFlags, FileType, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;

use super::earlier::Was;
use super::look::same_chunks;
use super::pieces::ALIGNED;
use crate::disk::beneath::{Beneath, join, regular, rename, split};

/// Files at least this long get their room before they are written.
const PREALLOCATE: u64 = 1 << 20;

/// The working folder, held by its handle.
pub(super) struct Folder {
    beneath: Beneath,
    umask: u32,
}

/// What is at a path.
#[derive(Debug)]
pub(super) struct There {
    pub(super) file: bool,
    pub(super) directory: bool,
    mode: u32,
    pub(super) size: u64,
    /// How many bytes it takes on the disk.
    pub(super) allocated: u64,
    pub(super) mtime: Mtime,
    pub(super) target: Option<Vec<u8>>,
    pub(super) id: (u64, u64),
    links: u64,
}

impl There {
    /// Returns what tells it from everything else, if it has one name.
    pub(super) fn only_id(&self) -> Option<(u64, u64)> {
        (self.directory || self.links == 1).then_some(self.id)
    }
}

/// How a file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// As the system has it, which remembers what was read and written.
    Cached,
    /// As the disk has it.
    Uncached,
}

/// The mode and time that a file is to have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dress {
    mode: u16,
    mtime: Mtime,
}

impl From<&Entry> for Dress {
    fn from(entry: &Entry) -> Self {
        Self { mode: entry.mode, mtime: entry.mtime }
    }
}

/// A file that is being written under its temporary name.
pub(super) struct Target {
    file: File,
    /// The same file, if its large pieces go past the system's cache.
    direct: Option<File>,
    /// Its path until it is whole.
    pub(super) temporary: Vec<u8>,
}

/// Returns the name that a file has until it is whole: beside its final one, and the same in each run.
pub(super) fn temporary(path: &[u8]) -> Vec<u8> {
    let (parent, _) = split(path);
    let hash = data_encoding::HEXLOWER.encode(&Hash::of(path).0[..8]);
    join(parent, &[TEMPORARY_PREFIX, hash.as_bytes()].concat())
}

impl Folder {
    pub(super) fn new(beneath: Beneath) -> Self {
        // Reading the umask means setting it; nothing else of ours runs yet that makes files.
        let umask = rustix::process::umask(Mode::empty());
        rustix::process::umask(umask);
        Self { beneath, umask: umask.bits() }
    }

    /// Returns how many bytes the disk has left for this user, if it tells.
    pub(super) fn free(&self) -> Option<u64> {
        crate::disk::free(&self.beneath)
    }

    /// Has the disk write all that waits in memory. Errors are left to who asks after it, by a handle of his own.
    pub(super) fn flush(&self) {
        let _ = self.beneath.readable_directory(b"").and_then(|own| Ok(sys::syncfs(own)?));
    }

    pub(super) fn look(&self, path: &[u8]) -> Option<There> {
        let stat = self.beneath.stat(path).ok()?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let target = (kind == FileType::Symlink).then(|| self.read_link(path).unwrap_or_default());
        let nanos = u32::try_from(stat.st_mtime_nsec).unwrap_or_default();
        Some(There {
            file: kind == FileType::RegularFile,
            directory: kind == FileType::Directory,
            mode: stat.st_mode & 0o7777,
            size: u64::try_from(stat.st_size).unwrap_or_default(),
            // In units of 512 bytes, whatever the file system's are: stat(2).
            allocated: u64::try_from(stat.st_blocks).unwrap_or_default().saturating_mul(512),
            mtime: Mtime { seconds: stat.st_mtime, nanos },
            target,
            id: (stat.st_dev, stat.st_ino),
            links: stat.st_nlink,
        })
    }

    /// Returns a handle on a folder.
    pub(super) fn handle(&self, path: &[u8]) -> io::Result<OwnedFd> {
        self.beneath.directory(path)
    }

    fn read_link(&self, path: &[u8]) -> io::Result<Vec<u8>> {
        let (parent, base) = split(path);
        let parent = self.beneath.directory(parent)?;
        Ok(sys::readlinkat(&parent, base, Vec::new())?.into_bytes())
    }

    /// Tells whether the file at `path` has an entry's bytes; what cannot be read has not.
    pub(super) fn equals(&self, path: &[u8], entry: &Entry, reading: Reading) -> bool {
        let same = |file: File| {
            if reading == Reading::Uncached {
                drop_cached(&file);
            }
            same_chunks(file, entry)
        };
        self.beneath.file(path).and_then(|(file, _)| same(file)).unwrap_or(false)
    }

    /// Makes a folder and those above it.
    pub(super) fn make(&self, path: &[u8]) -> io::Result<()> {
        if path.is_empty() || self.beneath.directory(path).is_ok() {
            return Ok(());
        }
        let (parent, base) = split(path);
        self.make(parent)?;
        let parent = self.beneath.directory(parent)?;
        match sys::mkdirat(&parent, base, Mode::from_raw_mode(0o777)) {
            Err(error) if error != rustix::io::Errno::EXIST => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Opens the temporary file of `path`; what an earlier run wrote into it stays.
    pub(super) fn begin(&self, path: &[u8], size: u64) -> io::Result<Target> {
        self.make(split(path).0)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW;
        let temporary = temporary(path);
        let open =
            || regular(self.beneath.open_with(&temporary, flags, Mode::from_raw_mode(0o600))?);
        let foreign = |there: There| !there.directory;
        let (file, _) = match open() {
            // A link, a pipe or what may not be written: the name is ours, and nobody else puts anything there that is worth
            // keeping.
            Err(_) if self.look(&temporary).is_some_and(foreign) => {
                self.remove(&temporary, &Was::Symlink(Vec::new()))?;
                open()?
            }
            other => other?,
        };
        let large = size >= PREALLOCATE;
        if large {
            // Where the file system has no such call, room is found while writing.
            let _ = sys::fallocate(&file, sys::FallocateFlags::empty(), 0, size);
        }
        file.set_len(size)?;
        let direct = if large { self.open_direct(&file, &temporary) } else { None };
        Ok(Target { direct, file, temporary })
    }

    /// Opens a file of ours once more, to write past the system's cache, where that is possible and pays.
    #[cfg(target_os = "linux")]
    fn open_direct(&self, file: &File, path: &[u8]) -> Option<File> {
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::DIRECT;
        let open = || regular(self.beneath.open_with(path, flags, Mode::empty()).ok()?).ok();
        let (direct, stat) = is_direct(file).then(open).flatten()?;
        let here = sys::fstat(file).ok()?;
        // Somebody may have put another one there meanwhile.
        ((stat.st_dev, stat.st_ino) == (here.st_dev, here.st_ino)).then_some(direct)
    }

    #[cfg(not(target_os = "linux"))]
    fn open_direct(&self, _: &File, _: &[u8]) -> Option<File> {
        None
    }

    /// Returns a handle on the folder that `path` is in; makes it if it is missing.
    pub(super) fn parent(&self, path: &[u8]) -> io::Result<OwnedFd> {
        let parent = split(path).0;
        match self.beneath.directory(parent) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.make(parent)?;
                self.beneath.directory(parent)
            }
            opened => opened,
        }
    }

    /// Gives a whole file its mode and time, and its name.
    pub(super) fn finish(
        &self,
        target: &Target,
        path: &[u8],
        dress: Dress,
        replace: bool,
    ) -> io::Result<()> {
        sys::fchmod(&target.file, self.mode(dress))?;
        sys::futimens(&target.file, &times(dress.mtime))?;
        let (parent, base) = split(path);
        let parent = self.beneath.directory(parent)?;
        name(&parent, split(&target.temporary).1, base, replace)
    }

    /// Tells whether what is there has the mode and time of an entry.
    pub(super) fn is_dressed(&self, there: &There, entry: &Entry) -> bool {
        there.mode == self.mode(entry.into()).as_raw_mode() && there.mtime == entry.mtime
    }

    /// Returns the names in a folder.
    pub(super) fn names(&self, path: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        let opened = self.beneath.readable_directory(path)?;
        let mut names = Vec::new();
        for entry in sys::Dir::read_from(&opened)? {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(name);
            }
        }
        Ok(names)
    }

    pub(super) fn rename(&self, from: &[u8], to: &[u8]) -> io::Result<()> {
        let ((old, name), (new, base)) = (split(from), split(to));
        let (old, new) = (self.beneath.directory(old)?, self.beneath.directory(new)?);
        Ok(sys::renameat(&old, name, &new, base)?)
    }

    /// Gives what has a name that this disk takes for another the spelling of that one.
    pub(super) fn respell(&self, path: &[u8], to: &[u8]) -> io::Result<()> {
        // To the system they are one, and renaming one to the other is done already.
        let between = temporary(to);
        self.rename(path, &between)?;
        name(self.beneath.directory(split(to).0)?, split(&between).1, split(to).1, false)
    }

    /// Removes a name; a folder only if nothing is in it.
    pub(super) fn remove(&self, path: &[u8], was: &Was) -> io::Result<()> {
        let (parent, base) = split(path);
        let flags = match was {
            Was::Directory => AtFlags::REMOVEDIR,
            _ => AtFlags::empty(),
        };
        Ok(sys::unlinkat(&self.beneath.directory(parent)?, base, flags)?)
    }

    /// Gives what is at `path` its mode and time; a folder or file that refuses keeps its own.
    pub(super) fn dress(&self, path: &[u8], entry: &Entry) {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        if let Ok(opened) = self.beneath.open_with(path, flags, Mode::empty()) {
            let _ = sys::fchmod(&opened, self.mode(entry.into()));
            let _ = sys::futimens(&opened, &times(entry.mtime));
        }
    }

    /// Makes a symlink.
    pub(super) fn link(&self, path: &[u8], entry: &Entry, replace: bool) -> io::Result<()> {
        let (parent, base) = split(path);
        self.make(parent)?;
        if self.look(path).is_some_and(|there| there.target.as_deref() == Some(&entry.target[..])) {
            return Ok(());
        }
        let parent = self.beneath.directory(parent)?;
        let temporary = temporary(path);
        let beside = split(&temporary).1;
        let _ = sys::unlinkat(&parent, beside, AtFlags::empty());
        sys::symlinkat(&entry.target[..], &parent, beside)?;
        sys::utimensat(&parent, beside, &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)?;
        name(&parent, beside, base, replace)
    }

    fn mode(&self, dress: Dress) -> Mode {
        Mode::from_raw_mode(u32::from(dress.mode) & 0o777 & !self.umask)
    }
}

impl Target {
    pub(super) fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    /// Writes without leaving the bytes in the system's cache, where that is possible; but for pages that are not whole.
    ///
    /// Fresh pages for a whole file cost as much as receiving and hashing it, and drive out what others have there.
    pub(super) fn write_past_cache(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let within = usize::try_from(offset % ALIGNED as u64).expect("a page is small");
        let (head, rest) = bytes.split_at(bytes.len().min((ALIGNED - within) % ALIGNED));
        let (pages, tail) = rest.split_at(rest.len() - rest.len() % ALIGNED);
        let direct = self.direct.as_ref().filter(|_| pages.as_ptr().align_offset(ALIGNED) == 0);
        let Some(direct) = direct else { return self.write(offset, bytes) };
        let start = offset + head.len() as u64;
        self.write(offset, head)?;
        match direct.write_all_at(pages, start) {
            // What the disk wants beyond pages nobody says.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                self.write(start, pages)?
            }
            written => written?,
        }
        self.write(start + pages.len() as u64, tail)
    }
}

/// Writes a whole file at once, with as few calls as that takes: there may be very many. `false` if there is something under its
/// temporary name already, which is for [`Folder::begin`] to look at. `parent` is the folder that `path` is in.
pub(super) fn write_whole(
    parent: &OwnedFd,
    path: &[u8],
    dress: Dress,
    bytes: &[u8],
    replace: bool,
) -> io::Result<bool> {
    let (temporary, base) = (temporary(path), split(path).1);
    let temporary = split(&temporary).1;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // The system takes the umask off the mode.
    let mode = Mode::from_raw_mode(u32::from(dress.mode) & 0o777);
    let file = match sys::openat(parent, temporary, flags, mode) {
        Err(Errno::EXIST) => return Ok(false),
        opened => File::from(opened?),
    };
    let written = file.write_all_at(bytes, 0);
    let done = written.and_then(|()| Ok(sys::futimens(&file, &times(dress.mtime))?));
    let named = done.and_then(|()| name(parent, temporary, base, replace));
    if named.is_err() {
        let _ = sys::unlinkat(parent, temporary, AtFlags::empty());
    }
    named.map(|()| true)
}

/// Has the system forget what it remembers of a file, as far as the disk is said to have it. After a sync that failed that may be
/// more than the disk has (SPEC 5.7). What was not written yet stays; should writing it fail, the next sync of the store says so.
#[cfg(target_os = "linux")]
fn drop_cached(file: &File) {
    let _ = sys::fadvise(file, 0, None, sys::Advice::DontNeed);
}

/// Does nothing: this system has no such call.
#[cfg(not(target_os = "linux"))]
fn drop_cached(_: &File) {}

/// Tells whether large pieces go to the disk without the system's cache, and faster than through it: seen on these two.
#[cfg(target_os = "linux")]
fn is_direct(file: &File) -> bool {
    use crate::disk::{EXT4, XFS, file_system};
    file_system(file).is_some_and(|kind| [EXT4, XFS].contains(&kind))
}

/// Renames within a folder; what is at the new name is only replaced if that is wanted.
fn name(folder: impl AsFd, from: &[u8], to: &[u8], replace: bool) -> io::Result<()> {
    rename((&folder, from), (&folder, to), replace)
}

fn times(mtime: Mtime) -> Timestamps {
    let time = Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanos.into() };
    Timestamps { last_access: time, last_modification: time }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_past_the_cache_lands_where_it_belongs_wherever_it_begins() {
        let root = tempfile::tempdir().expect("there is room");
        let folder = Folder::new(Beneath::open(root.path()).expect("it was made"));
        let bytes: Vec<u8> = (0..5_000_000_u32).map(|at| (at ^ (at >> 11)) as u8).collect();
        let target = folder.begin(b"file", bytes.len() as u64).expect("there is room");
        // Cut at odd places, in memory that begins where the file does and elsewhere, the last piece first.
        let cuts =
            [0, 1, 5_000, 8_192, 8_193, 1_000_000, 1_200_128, 3_000_000, 3_004_096, bytes.len()];
        for piece in cuts.windows(2).rev() {
            let (start, end) = (piece[0], piece[1]);
            for pad in [start % ALIGNED, 0, 7] {
                let mut memory = vec![0; ALIGNED + pad + end - start];
                let begin = memory.as_ptr().align_offset(ALIGNED) + pad;
                memory.resize(begin + end - start, 0);
                memory[begin..].copy_from_slice(&bytes[start..end]);
                target.write_past_cache(start as u64, &memory[begin..]).expect("there is room");
            }
        }
        assert!(std::fs::read(root.path().join(name_of(&target))).expect("it is there") == bytes);
    }

    fn name_of(target: &Target) -> std::ffi::OsString {
        use std::os::unix::ffi::OsStringExt as _;
        std::ffi::OsString::from_vec(target.temporary.clone())
    }
}
