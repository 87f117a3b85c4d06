//! Opening things beneath a folder, and never outside of it.
//!
//! Invariant: whatever is opened here was reached from the folder's handle by real directories only: no symlink is
//! followed, not even one that appears while we look, and no `..` leads out.
//! Elsewhere: which names may become paths at all (`datnode_drive::SafePath`).

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, RenameFlags, ResolveFlags, Stat};
use rustix::io::Errno;

/// How often an open is tried again that a concurrent rename or a signal disturbed.
const TRIES_MAX: usize = 16;

/// A path of so many bytes is too long for one call: the system counts the zero byte behind it.
const PATH_MAX: usize = 4_096;

/// Set when this system has no `openat2`, so that it is asked once only.
static OPENAT2_MISSING: AtomicBool = AtomicBool::new(false);

/// A folder held by its handle.
#[derive(Debug)]
pub struct Beneath {
    root: OwnedFd,
}

impl AsFd for Beneath {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

impl Beneath {
    /// Opens the folder at `path`; here symlinks are followed, since the user named it.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { root: fs::open(path, flags, Mode::empty())? })
    }

    /// Opens `path` (components joined by `/`, nothing = the folder itself) with the given flags.
    pub fn open_with(&self, path: &[u8], flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let path = if path.is_empty() { b".".as_slice() } else { path };
        if path.len() < PATH_MAX && !OPENAT2_MISSING.load(Ordering::Relaxed) {
            match self.openat2(path, flags, mode) {
                Err(Errno::NOSYS | Errno::PERM) if self.openat2_is_missing() => {
                    OPENAT2_MISSING.store(true, Ordering::Relaxed);
                }
                other => return other.map_err(Into::into),
            }
        }
        open_by_components(self.root.as_fd(), path, flags, mode)
    }

    /// Returns a handle on a directory, good for the `…at` calls but not for reading it.
    pub fn directory(&self, path: &[u8]) -> io::Result<OwnedFd> {
        self.open_with(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())
    }

    /// Returns a handle on a directory that can be listed and synced.
    pub fn readable_directory(&self, path: &[u8]) -> io::Result<OwnedFd> {
        self.open_with(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
    }

    /// Opens a regular file for reading; anything else is refused without waiting on it.
    pub fn file(&self, path: &[u8]) -> io::Result<(File, Stat)> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        regular(self.open_with(path, flags, Mode::empty())?)
    }

    /// Returns what is at `path`, not following a symlink there.
    pub fn stat(&self, path: &[u8]) -> io::Result<Stat> {
        let (parent, base) = split(path);
        if base.is_empty() {
            return Ok(fs::fstat(&self.root)?);
        }
        let parent = self.directory(parent)?;
        Ok(fs::statat(&parent, base, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    fn openat2(&self, path: &[u8], flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let mut tries = 0;
        loop {
            match fs::openat2(&self.root, path, flags, mode, resolve) {
                Err(Errno::AGAIN | Errno::INTR) if tries < TRIES_MAX => tries += 1,
                other => return other,
            }
        }
    }

    /// Tells "this system lacks the call" (old kernels, strict sandboxes) from "this file may not be opened".
    fn openat2_is_missing(&self) -> bool {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        self.openat2(b".", flags, Mode::empty()).is_err()
    }
}

/// Splits a path into its parent and its last component; the parent of a single component is empty.
pub fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}

/// Joins a parent and a component; an empty parent is the folder itself.
pub fn join(parent: &[u8], base: &[u8]) -> Vec<u8> {
    if parent.is_empty() { base.to_vec() } else { [parent, b"/", base].concat() }
}

/// Passes on an opened file if it is a regular one.
pub fn regular(opened: OwnedFd) -> io::Result<(File, Stat)> {
    let stat = fs::fstat(&opened)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok((File::from(opened), stat))
}

/// The same promise without `openat2`: one directory after the other, none of them a symlink.
fn open_by_components(
    root: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlags,
    mode: Mode,
) -> io::Result<OwnedFd> {
    let here = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    if path == b"." {
        return Ok(fs::openat(root, path, flags, mode)?);
    }
    let (parent, base) = split(path);
    let mut directory: Option<OwnedFd> = None;
    for component in parent.split(|&byte| byte == b'/').filter(|_| !parent.is_empty()) {
        refuse_dots(component)?;
        let at = directory.as_ref().map_or(root, AsFd::as_fd);
        directory = Some(fs::openat(at, component, here, Mode::empty())?);
    }
    refuse_dots(base)?;
    let at = directory.as_ref().map_or(root, AsFd::as_fd);
    Ok(fs::openat(at, base, flags, mode)?)
}

fn refuse_dots(component: &[u8]) -> io::Result<()> {
    match component {
        b"" | b"." | b".." => Err(Errno::XDEV.into()),
        _ => Ok(()),
    }
}

/// Renames, from one folder into another; what is at the new name is only replaced if that is wanted.
///
/// # Errors
/// What the system says; that something is there, where it is not to be replaced.
pub fn rename(
    (old, name): (impl AsFd, impl rustix::path::Arg + Copy),
    (new, base): (impl AsFd, &[u8]),
    replace: bool,
) -> io::Result<()> {
    if !replace {
        match fs::renameat_with(&old, name, &new, base, RenameFlags::NOREPLACE) {
            // Not all file systems have the call; then it is looked, and done.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                if fs::statat(&new, base, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
                    return Err(Errno::EXIST.into());
                }
            }
            other => return Ok(other?),
        }
    }
    Ok(fs::renameat(&old, name, &new, base)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn folder() -> (tempfile::TempDir, Beneath) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("in/deep")).unwrap();
        std::fs::write(folder.path().join("in/deep/file"), b"bytes").unwrap();
        symlink("deep", folder.path().join("in/link")).unwrap();
        symlink("/etc/passwd", folder.path().join("in/out")).unwrap();
        let beneath = Beneath::open(folder.path()).unwrap();
        (folder, beneath)
    }

    fn by_components(beneath: &Beneath, path: &[u8]) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        open_by_components(beneath.as_fd(), path, flags, Mode::empty())
    }

    #[test]
    fn real_files_open_either_way() {
        let (_folder, beneath) = folder();
        assert!(beneath.file(b"in/deep/file").is_ok());
        assert!(by_components(&beneath, b"in/deep/file").is_ok());
        assert!(beneath.directory(b"").is_ok());
        assert!(by_components(&beneath, b".").is_ok());
    }

    #[test]
    fn symlinks_and_dots_open_neither_way() {
        let (_folder, beneath) = folder();
        for path in [&b"in/link/file"[..], b"in/out", b"../x", b"in/../../x", b"/etc/passwd"] {
            assert!(beneath.file(path).is_err(), "{}", path.escape_ascii());
            assert!(by_components(&beneath, path).is_err(), "{}", path.escape_ascii());
        }
    }

    #[test]
    fn paths_longer_than_a_call_takes_open_too() {
        let (_folder, beneath) = folder();
        let mut path = b"in".to_vec();
        while path.len() < PATH_MAX + 300 {
            let parent = beneath.directory(&path).unwrap();
            fs::mkdirat(&parent, &[b'x'; 200][..], Mode::RWXU).unwrap();
            path = [&path[..], b"/", &[b'x'; 200]].concat();
            assert!(beneath.readable_directory(&path).is_ok(), "{} bytes", path.len());
        }
        assert!(beneath.stat(&path).is_ok());
        assert!(beneath.stat(&[&path[..], b"/../../x"].concat()).is_err());
    }

    #[test]
    fn a_directory_or_fifo_is_no_file() {
        let (folder, beneath) = folder();
        assert!(beneath.file(b"in").is_err());
        rustix::fs::mknodat(&beneath, "fifo", FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert!(beneath.file(b"fifo").is_err(), "and it did not wait for a writer");
        drop(folder);
    }

    #[test]
    fn a_missing_file_is_said_to_be_missing() {
        let (_folder, beneath) = folder();
        let error = beneath.stat(b"in/none").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert_eq!(beneath.stat(b"in/deep/file").unwrap().st_size, 5);
    }
}
