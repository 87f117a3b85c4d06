//! A working folder as edits change it.
//!
//! Invariant: nothing outside of it is touched, whatever is made of it meanwhile: all paths are safe, and everything is reached beneath the
//! folder's handle. Nothing is put over what was not known to be there.
//! Elsewhere: the handle (`disk::beneath`), how a clone lands in a folder (`landing`).

use std::io;
use std::path::Path;

use datnode_drive::SafePath;
use rustix::fs::{self as sys, AtFlags, CWD, FileType, Mode};
use rustix::io::Errno;

use crate::cli::escape;
use crate::disk::beneath::{Beneath, rename, split};
use crate::error::{Code, Error};

/// A working folder, by its handle.
#[derive(Debug)]
pub(super) struct Folder {
    beneath: Beneath,
}

impl Folder {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let beneath = Beneath::open(path).map_err(|error| Error::io("open", path, &error))?;
        Ok(Self { beneath })
    }

    /// Returns what is at a path; none if there is nothing.
    pub(super) fn kind(&self, path: &SafePath) -> Result<Option<FileType>, Error> {
        match self.beneath.stat(path.as_bytes()) {
            Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(said("look at", path, &error)),
        }
    }

    /// Moves the file `staged` to a path, at once; what is there is only replaced if that is wanted.
    pub(super) fn put(&self, staged: &Path, path: &SafePath, replace: bool) -> Result<(), Error> {
        let place = || {
            let (parent, base) = split(path.as_bytes());
            self.make(parent)?;
            let parent = self.beneath.directory(parent)?;
            rename((CWD, staged), (parent, base), replace)
        };
        place().map_err(|error| said("write", path, &error))
    }

    /// Gives what is at a path another one; what is there is only replaced if that is wanted.
    pub(super) fn rename(
        &self,
        from: &SafePath,
        to: &SafePath,
        replace: bool,
    ) -> Result<(), Error> {
        let named = || {
            let ((old, name), (new, base)) = (split(from.as_bytes()), split(to.as_bytes()));
            self.make(new)?;
            let (old, new) = (self.beneath.directory(old)?, self.beneath.directory(new)?);
            rename((old, name), (new, base), replace)
        };
        named().map_err(|error| said("write", to, &error))
    }

    /// Removes what is at a path; a folder that holds something stays.
    pub(super) fn remove(&self, path: &SafePath) -> Result<(), Error> {
        let flags = match self.kind(path)? {
            None => return Ok(()),
            Some(FileType::Directory) => AtFlags::REMOVEDIR,
            Some(_) => AtFlags::empty(),
        };
        let (parent, base) = split(path.as_bytes());
        let removed = self.beneath.directory(parent).and_then(|parent| {
            match sys::unlinkat(&parent, base, flags) {
                Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOENT) => Ok(()),
                other => Ok(other?),
            }
        });
        removed.map_err(|error| said("delete", path, &error))
    }

    /// Makes a folder and those above it.
    fn make(&self, path: &[u8]) -> io::Result<()> {
        if path.is_empty() || self.beneath.directory(path).is_ok() {
            return Ok(());
        }
        let (parent, base) = split(path);
        self.make(parent)?;
        match sys::mkdirat(self.beneath.directory(parent)?, base, Mode::from_raw_mode(0o777)) {
            Err(error) if error != Errno::EXIST => Err(error.into()),
            _ => Ok(()),
        }
    }
}

/// What the disk says of a path; that something is there of which the drive does not know is the user's to settle.
fn said(doing: &str, path: &SafePath, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::AlreadyExists => unshared(path.as_bytes()),
        _ => Error::io(doing, super::as_path(path.as_bytes()), error),
    }
}

/// What is at a path here is in no version.
pub(super) fn unshared(path: &[u8]) -> Error {
    let shown = escape::bytes(path);
    Error::new(Code::Dirty, format!("{shown} was changed here and is in no version"))
        .hint("datnode share takes it in first; or move it away")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use datnode_drive::DrivePath;

    use super::*;

    fn safe(path: &str) -> SafePath {
        SafePath::new(&DrivePath::from_bytes(path).unwrap()).unwrap()
    }

    #[test]
    fn what_appeared_since_it_was_looked_is_not_replaced() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        let folder = Folder::open(root.path()).unwrap();
        for name in ["staged", "from", "there"] {
            fs::write(at(name), name).unwrap();
        }
        let put = |path: &str, replace| folder.put(&at("staged"), &safe(path), replace);
        assert_eq!(put("there", false).unwrap_err().code(), Code::Dirty);
        let moved = folder.rename(&safe("from"), &safe("there"), false);
        assert_eq!(moved.unwrap_err().code(), Code::Dirty);
        assert_eq!(fs::read(at("there")).unwrap(), b"there");
        folder.rename(&safe("from"), &safe("there"), true).unwrap();
        assert_eq!(fs::read(at("there")).unwrap(), b"from");
        put("new/deep/file", false).unwrap();
        assert_eq!(fs::read(at("new/deep/file")).unwrap(), b"staged");
    }

    #[test]
    fn a_link_leads_nowhere_else() {
        let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        symlink(outside.path(), root.path().join("link")).unwrap();
        fs::write(outside.path().join("precious"), "1").unwrap();
        fs::write(root.path().join("a"), "2").unwrap();
        let folder = Folder::open(root.path()).unwrap();
        let (link, precious) = (safe("link/new/b"), safe("link/precious"));
        assert!(folder.put(&root.path().join("a"), &link, true).is_err());
        assert!(folder.rename(&safe("a"), &precious, true).is_err());
        assert!(folder.rename(&precious, &safe("b"), true).is_err());
        assert!(folder.remove(&precious).is_err());
        assert_eq!(fs::read(outside.path().join("precious")).unwrap(), b"1");
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
        // The link itself is a name like any other.
        folder.remove(&safe("link")).unwrap();
        assert_eq!(folder.kind(&safe("link")).unwrap(), None);
    }
}
