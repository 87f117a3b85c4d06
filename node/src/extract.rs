//! Writes what a version has into an empty folder, as plain files: no drive is there afterwards.
//!
//! Nothing outside of the folder is touched, whatever the names say: all paths are safe, and everything is reached beneath the folder's
//! handle. A file that is not whole is not there. What the drive's own folder has as well shares its room on disks that can do so.
//! Elsewhere: a clone, which keeps its blocks (`landing`).

use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::path::Path;

use datnode_drive::{DrivePath, Entry, Kind, Mtime, SafePath, TEMPORARY_PREFIX};
use rustix::fs::{self as sys, AtFlags, Mode, OFlags, Timespec, Timestamps};

use crate::cli::escape;
use crate::disk::beneath::{Beneath, rename, split};
use crate::engine::Snapshot;
use crate::error::{Code, Error};
use crate::landing::{REFUSED_NAMED, same_chunks};

/// What was written.
#[derive(Debug, Default)]
pub struct Extracted {
    /// How many files.
    pub files: u64,
    /// How many bytes they have.
    pub bytes: u64,
    /// How many of these take no room, since the disk has them once for both folders.
    pub shared: u64,
    /// What could not be written, and why.
    pub refused: Vec<(Vec<u8>, String)>,
    /// How many names that were, of which the first are named.
    pub refused_count: u64,
}

impl Extracted {
    fn refuse(&mut self, name: &[u8], why: String) {
        self.refused_count += 1;
        if self.refused.len() < REFUSED_NAMED {
            self.refused.push((name.to_vec(), why));
        }
    }
}

/// Writes all that `version` has at `scope` and below into the folder `into`, which is made if it is missing. `from` is the drive's
/// own folder, if it has one.
///
/// # Errors
/// E-DIRTY if there is something in the folder, those of [`Drive::latest`](crate::engine::Drive::latest), and what the disk says.
pub async fn extract(
    version: &Snapshot,
    scope: &DrivePath,
    from: Option<&Path>,
    into: &Path,
) -> Result<Extracted, Error> {
    let said = |error| Error::io("write", into, &error);
    std::fs::create_dir_all(into).map_err(said)?;
    if std::fs::read_dir(into).map_err(said)?.next().is_some() {
        return Err(Error::new(Code::Dirty, format!("{} is not empty", escape::path(into)))
            .hint("name a folder that is new, or empty"));
    }
    let mut entries = Vec::new();
    let keep = |path, entry| {
        entries.push((path, entry));
        Ok(())
    };
    version.walk_in(scope, keep).await?;
    let own = version.entry(scope).await?;
    entries.extend(own.map(|entry| (scope.clone(), entry)));
    // What a folder has comes after the folder.
    entries.sort_by(|(a, _), (b, _)| a.as_bytes().cmp(b.as_bytes()));
    let beneath = Beneath::open(into).map_err(said)?;
    let from = from.and_then(|from| Beneath::open(from).ok());
    let mut writing = Writing { version, from, beneath, root: into, done: Extracted::default() };
    for (path, entry) in &entries {
        writing.write(path, entry).await?;
    }
    // Last, since what is written into a folder changes its time; and what may not be written to is written first.
    let folders = entries.iter().rev().filter(|(_, entry)| entry.kind == Kind::Directory);
    for (path, entry) in folders {
        writing.dress_folder(path, entry)?;
    }
    Ok(writing.done)
}

struct Writing<'a> {
    version: &'a Snapshot,
    from: Option<Beneath>,
    beneath: Beneath,
    root: &'a Path,
    done: Extracted,
}

impl Writing<'_> {
    async fn write(&mut self, path: &DrivePath, entry: &Entry) -> Result<(), Error> {
        let safe = SafePath::new(path).and_then(|safe| {
            if entry.kind == Kind::Symlink {
                safe.check_link(&entry.target)?;
            }
            Ok(safe)
        });
        let safe = match safe {
            Ok(safe) => safe,
            Err(refusal) => {
                self.done.refuse(path.as_bytes(), refusal.to_string());
                return Ok(());
            }
        };
        match entry.kind {
            Kind::Directory => self.make(safe.as_bytes()),
            Kind::Symlink => self.link(safe.as_bytes(), entry),
            Kind::File => self.file(safe.as_bytes(), entry).await,
        }
    }

    /// Makes a folder, and those above it that have no entry.
    fn make(&mut self, path: &[u8]) -> Result<(), Error> {
        if path.is_empty() {
            return Ok(());
        }
        let (parent, base) = split(path);
        self.make(parent)?;
        let made = || match sys::mkdirat(self.beneath.directory(parent)?, base, Mode::RWXU) {
            Err(rustix::io::Errno::EXIST) => self.beneath.directory(path).map(drop),
            done => done.map_err(io::Error::from),
        };
        made().or_else(|error| self.refuse(path, &error))
    }

    fn link(&mut self, path: &[u8], entry: &Entry) -> Result<(), Error> {
        let (parent, base) = split(path);
        self.make(parent)?;
        let made = || {
            let parent = self.beneath.directory(parent)?;
            sys::symlinkat(&*entry.target, &parent, base)?;
            sys::utimensat(&parent, base, &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)?;
            Ok(())
        };
        made().or_else(|error| self.refuse(path, &error))
    }

    async fn file(&mut self, path: &[u8], entry: &Entry) -> Result<(), Error> {
        let (parent, base) = split(path);
        self.make(parent)?;
        // No drive's file may have this name. SPEC 8.7
        let part = [TEMPORARY_PREFIX, b"out"].concat();
        let begun = || {
            let parent = self.beneath.directory(parent)?;
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
            let file = sys::openat(&parent, &part[..], flags, Mode::RUSR | Mode::WUSR)?;
            Ok((parent, File::from(file)))
        };
        let (parent, mut file) = match begun() {
            Ok(begun) => begun,
            Err(error) => return self.refuse(path, &error),
        };
        let said = |error| Error::io("write", self.root, &error);
        let shared = self.share(&file, path, entry).await;
        let read = match shared.map_err(said) {
            Ok(true) => {
                self.done.shared += entry.size;
                Ok(())
            }
            Ok(false) => {
                let write = async |bytes: Vec<u8>| file.write_all(&bytes).map_err(said);
                self.version.read(entry, 0..entry.size, write).await
            }
            Err(error) => Err(error),
        };
        let dressed = read.and_then(|()| dress(&file, entry).map_err(said));
        let named = dressed.map(|()| rename((&parent, &part[..]), (&parent, base), false));
        if !matches!(named, Ok(Ok(()))) {
            // Half a file is worse than none.
            let _ = sys::unlinkat(&parent, &part[..], AtFlags::empty());
        }
        if let Err(error) = named? {
            return self.refuse(path, &error);
        }
        self.done.files += 1;
        self.done.bytes += entry.size;
        Ok(())
    }

    /// Has a new file share its bytes with the one of the same name in the drive's folder, if these are what the version says.
    async fn share(&self, file: &File, path: &[u8], entry: &Entry) -> io::Result<bool> {
        let Some(Ok((source, there))) = self.from.as_ref().map(|from| from.file(path)) else {
            return Ok(false);
        };
        let looks =
            (u64::try_from(there.st_size), there.st_mtime) == (Ok(entry.size), entry.mtime.seconds);
        if !looks || entry.size == 0 || !reflink(file, &source) {
            return Ok(false);
        }
        // Now it changes no more: what it has is held against what was signed, as all bytes are.
        let (mut file, entry) = (file.try_clone()?, entry.clone());
        let same = tokio::task::spawn_blocking(move || -> io::Result<bool> {
            let same = file.metadata()?.len() == entry.size && same_chunks(&file, &entry)?;
            if !same {
                file.set_len(0)?;
                file.rewind()?;
            }
            Ok(same)
        });
        same.await.map_err(io::Error::other)?
    }

    fn dress_folder(&mut self, path: &DrivePath, entry: &Entry) -> Result<(), Error> {
        let Ok(safe) = SafePath::new(path) else { return Ok(()) };
        // One that could not be made is told of already.
        let Ok(folder) = self.beneath.readable_directory(safe.as_bytes()) else { return Ok(()) };
        dress(folder, entry).map_err(|error| Error::io("write", self.root, &error))
    }

    /// Leaves out what this disk does not take; that it is full is for all of them.
    fn refuse(&mut self, path: &[u8], error: &io::Error) -> Result<(), Error> {
        if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::ReadOnlyFilesystem) {
            return Err(Error::io("write", self.root, error));
        }
        self.done.refuse(path, error.to_string());
        Ok(())
    }
}

/// Has an empty file share all bytes of another on the disk; tells whether the disk can.
#[cfg(target_os = "linux")]
fn reflink(file: &File, source: &File) -> bool {
    sys::ioctl_ficlone(file, source).is_ok()
}

/// Does nothing: this system has another call for it, which makes the file as well.
#[cfg(not(target_os = "linux"))]
fn reflink(_: &File, _: &File) -> bool {
    false
}

/// Gives a file or folder its mode and time.
fn dress(opened: impl std::os::fd::AsFd, entry: &Entry) -> io::Result<()> {
    sys::fchmod(&opened, Mode::from_raw_mode(entry.mode.into()))?;
    sys::futimens(&opened, &times(entry.mtime))?;
    Ok(())
}

fn times(mtime: Mtime) -> Timestamps {
    let time = Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanos.into() };
    Timestamps { last_access: time, last_modification: time }
}
