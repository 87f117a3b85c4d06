//! A drive's store on disk: the files under `.dat/store/` of a working folder, and the working files themselves.
//!
//! Invariant: one process has the store, by the lock; so tables may be mapped and lengths remembered. Who only glances at it has
//! no lock: it maps nothing, writes nothing, and finds what was there when it came.
//! Elsewhere: what the files mean (`datnode_feed::Store`), opening without leaving the folder (`beneath`), the small files beside
//! the store (`small`).

pub mod beneath;
mod copy;
mod lock;
mod map;
mod purge;
mod small;
#[cfg(test)]
mod tests;
mod working;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use datnode_feed::{FileId, Storage, StorageError};
use rustix::fs::OFlags;
use thiserror::Error;

use beneath::Beneath;
use lock::Lock;
use map::Map;
use working::WorkingFiles;

pub use purge::{purge, store_bytes};
pub use small::{read_small, replace};

/// The folder inside a working folder that holds the drive's own files.
pub const DRIVE_FOLDER: &str = ".dat";

/// Why a store could not be opened.
#[derive(Debug, Error)]
pub enum DiskError {
    /// Another process has it.
    #[error("another process has the store")]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// Who has it, as far as the lock says.
        pid: Option<u32>,
        /// Its command line.
        command: String,
    },
    /// There is no store in the folder.
    #[error("there is no drive in {}", .0.display())]
    NotADrive(PathBuf),
    /// The system said no.
    #[error("cannot {op} {}", path.display())]
    Io {
        /// What was tried.
        op: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Returns how many bytes a disk has left for this user, if it tells: some file systems say that they have no blocks at all.
pub(crate) fn free(on: impl AsFd) -> Option<u64> {
    let disk = rustix::fs::fstatvfs(on).ok().filter(|disk| disk.f_blocks > 0)?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Returns which file system something is on, as statfs(2) numbers them.
#[cfg(target_os = "linux")]
pub(crate) fn file_system(on: impl AsFd) -> Option<u64> {
    rustix::fs::fstatfs(on).ok()?.f_type.try_into().ok()
}

#[cfg(target_os = "linux")]
pub(crate) const EXT4: u64 = 0xEF53;
#[cfg(target_os = "linux")]
pub(crate) const XFS: u64 = 0x5846_5342;
#[cfg(target_os = "linux")]
const BTRFS: u64 = 0x9123_683E;

impl DiskError {
    fn io(op: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { op, path: path.to_owned(), source }
    }
}

/// The storage of one drive, locked.
#[derive(Debug)]
pub struct DiskStorage {
    store: PathBuf,
    folder: Beneath,
    files: RefCell<BTreeMap<FileId, Open>>,
    working: RefCell<WorkingFiles>,
    /// The folder of the store since the beginning: of what could not be written, the system tells each handle once, if it was
    /// there then.
    opened: File,
    /// Whether tables are read through maps.
    maps: bool,
    /// Held for as long as the storage lives; without it nothing is written, and no table mapped that others may shorten.
    lock: Option<Lock>,
}

/// A file of the store; `file` is absent while it was never written.
#[derive(Debug)]
struct Open {
    file: Option<File>,
    len: u64,
    map: Option<Map>,
    /// Whether nobody else writes it.
    is_ours: bool,
    /// What was written last and is not on its way to the disk.
    resting: Range<u64>,
}

/// How many bytes that were written one after the other set out for the disk: when they are to be durable they are there already.
const RESTING_MAX: u64 = 8 << 20;

impl DiskStorage {
    /// Opens the store of the working folder `root`, alone; with `create` one is made if there is none.
    ///
    /// # Errors
    /// [`DiskError::Locked`] at once if another process has it, [`DiskError::NotADrive`] without a store.
    pub fn open(root: &Path, create: bool) -> Result<Self, DiskError> {
        let store = root.join(DRIVE_FOLDER).join("store");
        if create {
            fs::create_dir_all(&store).map_err(|source| DiskError::io("create", &store, source))?;
        } else if !store.is_dir() {
            return Err(DiskError::NotADrive(root.to_owned()));
        }
        let lock = Lock::take(&root.join(DRIVE_FOLDER).join("lock"))?;
        Self::with_lock(root, store, Some(lock))
    }

    /// Opens the store of the working folder `root` to read from it beside its owner.
    ///
    /// # Errors
    /// [`DiskError::NotADrive`] without a store.
    pub fn glance(root: &Path) -> Result<Self, DiskError> {
        let store = root.join(DRIVE_FOLDER).join("store");
        if !store.is_dir() {
            return Err(DiskError::NotADrive(root.to_owned()));
        }
        Self::with_lock(root, store, None)
    }

    /// Makes the store of the working folder `root`, which has none, with the files of another; opens it.
    ///
    /// # Errors
    /// [`DiskError::Locked`] at once if another process is about to make one, [`DiskError::Io`] if there is one already.
    pub fn copy(
        root: &Path,
        from: &dyn Storage,
        files: impl Iterator<Item = FileId>,
    ) -> Result<Self, DiskError> {
        let drive = root.join(DRIVE_FOLDER);
        fs::create_dir_all(&drive).map_err(|source| DiskError::io("create", &drive, source))?;
        let lock = Lock::take(&drive.join("lock"))?;
        let (store, new) = (drive.join("store"), drive.join("store.new"));
        // All of it or nothing: a run that was cut short leaves only the new folder.
        let made = || -> io::Result<()> {
            if new.exists() {
                fs::remove_dir_all(&new)?;
            }
            fs::create_dir(&new)?;
            for file in files {
                copy::file(from, file, &new)?;
            }
            File::open(&new)?.sync_all()?;
            fs::rename(&new, &store)?;
            File::open(&drive)?.sync_all()
        };
        made().map_err(|source| DiskError::io("create", &store, source))?;
        Self::with_lock(root, store, Some(lock))
    }

    fn with_lock(root: &Path, store: PathBuf, lock: Option<Lock>) -> Result<Self, DiskError> {
        let folder = Beneath::open(root).map_err(|source| DiskError::io("open", root, source))?;
        let opened = File::open(&store).map_err(|source| DiskError::io("open", &store, source))?;
        let (files, working) = Default::default();
        // Who has no lock does not know how long the tables are.
        let maps = lock.is_some() && map::is_safe(&opened);
        Ok(Self { store, folder, files, working, opened, maps, lock })
    }

    /// Runs `act` with an open file, opening it on first use; with `create` it is made if need be.
    fn with<T>(
        &self,
        id: FileId,
        create: bool,
        act: impl FnOnce(&mut Open) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut files = self.files.borrow_mut();
        let open = match files.entry(id) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => entry.insert(self.look(id)?),
        };
        if create && open.file.is_none() {
            let path = self.store.join(id.to_string());
            if !open.is_ours {
                return Err(io::Error::from(io::ErrorKind::PermissionDenied));
            }
            open.file = Some(options().create(true).truncate(false).open(path)?);
            File::open(&self.store)?.sync_all()?;
        }
        act(open)
    }

    fn look(&self, id: FileId) -> io::Result<Open> {
        let is_ours = self.lock.is_some();
        match options().write(is_ours).open(self.store.join(id.to_string())) {
            Ok(file) => Ok(Open { len: file.metadata()?.len(), is_ours, ..Open::of(Some(file)) }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(Open { is_ours, ..Open::of(None) })
            }
            Err(error) => Err(error),
        }
    }
}

impl Open {
    fn of(file: Option<File>) -> Self {
        Self { file, len: 0, map: None, is_ours: true, resting: 0..0 }
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let end = offset + bytes.len() as u64;
        self.file()?.write_all_at(bytes, offset)?;
        self.len = self.len.max(end);
        let start = if self.resting.end == offset { self.resting.start } else { offset };
        self.resting = start..end;
        if end - start >= RESTING_MAX {
            self.set_out();
        }
        Ok(())
    }

    /// Makes the system begin to write what rests in its cache; nothing is waited for, and no error taken from a later sync.
    fn set_out(&mut self) {
        let rest = std::mem::replace(&mut self.resting, 0..0);
        #[cfg(target_os = "linux")]
        if let Some(file) = &self.file {
            // Linux begins to write back dirty pages that will not be needed, and drops only clean ones.
            let len = std::num::NonZeroU64::new(rest.end - rest.start);
            let _ = rustix::fs::fadvise(file, rest.start, len, rustix::fs::Advice::DontNeed);
        }
        #[cfg(not(target_os = "linux"))]
        drop(rest);
    }

    fn file(&self) -> io::Result<&File> {
        self.file.as_ref().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    /// Reads through a map where one pays: tables are read in many small pieces.
    fn read(&mut self, id: FileId, offset: u64, into: &mut [u8], maps: bool) -> io::Result<()> {
        let end = offset.checked_add(into.len() as u64);
        if end.is_none_or(|end| end > self.len) {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        if !(maps && matches!(id, FileId::Tree(_) | FileId::Blocks(_))) {
            return self.file()?.read_exact_at(into, offset);
        }
        if self.map.as_ref().is_some_and(|map| map.read(offset, into)) {
            return Ok(());
        }
        let map = Map::new(self.file()?, self.len)?;
        let read = map.read(offset, into);
        self.map = Some(map);
        if read { Ok(()) } else { Err(io::Error::from(io::ErrorKind::UnexpectedEof)) }
    }
}

/// How files of ours are opened to be written. A link in the place of one is not followed: the folder may come from somebody who would
/// have us write anywhere.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    options
}

/// Frees what of a part of a file the file system can: whole blocks of its own. Where none can be freed, nothing happens.
#[cfg(target_os = "linux")]
fn free_part(file: &File, offset: u64, len: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::Errno;

    let metadata = file.metadata()?;
    let (block, end) = (metadata.blksize().max(1), offset.saturating_add(len));
    let start = offset.next_multiple_of(block);
    // Behind the end of the file nothing else is in its last block.
    let end = if end < metadata.len() { end - end % block } else { end.next_multiple_of(block) };
    if start >= end {
        return Ok(());
    }
    match fallocate(
        file,
        FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
        start,
        end - start,
    ) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        freed => Ok(freed?),
    }
}

/// Frees nothing: this system has no call for it that works on all file systems.
#[cfg(not(target_os = "linux"))]
fn free_part(_: &File, _: u64, _: u64) -> io::Result<()> {
    Ok(())
}

impl Storage for DiskStorage {
    fn len(&self, file: FileId) -> Result<u64, StorageError> {
        let len = self.with(file, false, |open| Ok(open.len));
        len.map_err(|source| StorageError::new("stat", file, 0, 0, source))
    }

    fn read(&self, file: FileId, offset: u64, into: &mut [u8]) -> Result<(), StorageError> {
        let len = into.len();
        let read = self.with(file, false, |open| open.read(file, offset, into, self.maps));
        read.map_err(|source| StorageError::new("read", file, offset, len, source))
    }

    fn write(&mut self, file: FileId, offset: u64, bytes: &[u8]) -> Result<(), StorageError> {
        let written = self.with(file, true, |open| open.write(offset, bytes));
        written.map_err(|source| StorageError::new("write", file, offset, bytes.len(), source))
    }

    fn truncate(&mut self, file: FileId, len: u64) -> Result<(), StorageError> {
        let cut = self.with(file, false, |open| {
            if len < open.len {
                // No map may reach beyond the end of its file.
                open.map = None;
                open.file()?.set_len(len)?;
                open.len = len;
            }
            Ok(())
        });
        cut.map_err(|source| StorageError::new("truncate", file, len, 0, source))
    }

    fn sync(&mut self, file: FileId) -> Result<(), StorageError> {
        let synced = self.with(file, false, |open| match &open.file {
            Some(file) => file.sync_data(),
            None => Ok(()),
        });
        synced.map_err(|source| StorageError::new("sync", file, 0, 0, source))
    }

    fn rest(&mut self) {
        self.files.get_mut().clear();
        self.working.take();
    }

    fn read_working(&self, path: &[u8], offset: u64, into: &mut [u8]) -> Result<(), StorageError> {
        let len = into.len();
        let read = self.working.borrow_mut().read(&self.folder, path, offset, into);
        let name = || String::from_utf8_lossy(path).into_owned();
        read.map_err(|source| StorageError::new("read", name(), offset, len, source))
    }

    fn discard(&mut self, file: FileId, offset: u64, len: u64) -> Result<(), StorageError> {
        let freed = self.with(file, false, |open| free_part(open.file()?, offset, len));
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        freed.map_err(|source| StorageError::new("free", file, offset, len, source))
    }

    fn allocated(&self, file: FileId) -> Result<u64, StorageError> {
        let bytes = self.with(file, false, |open| match &open.file {
            Some(file) => Ok(file.metadata()?.blocks().saturating_mul(512)),
            None => Ok(0),
        });
        bytes.map_err(|source| StorageError::new("stat", file, 0, 0, source))
    }

    fn sync_working(&mut self) -> Result<(), StorageError> {
        // One flush for all files that landed: one per file would take longer than the files themselves.
        let synced = rustix::fs::syncfs(&self.opened).map_err(io::Error::from);
        synced.map_err(|source| StorageError::new("sync", "the working files", 0, 0, source))
    }
}
