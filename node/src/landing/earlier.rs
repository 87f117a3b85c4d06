//! What earlier versions of this clone put into the working folder: it may be replaced or removed while it is still so.
//!
//! Which versions those are is noted in `.dat/landed` before the first file of a version is touched, so that a run that was cut
//! short leaves nothing behind that the next one takes for the user's.

use std::io;
use std::path::Path;

use datnode_drive::{DrivePath, Entry, Kind, Mtime};
use datnode_feed::Hash;

use super::target::There;
use crate::disk::DRIVE_FOLDER;
use crate::error::Error;

const LANDED_FILE: &str = "landed";

/// What was put under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Was {
    File { size: u64, mtime: Mtime, chunks: Hash },
    Symlink(Vec<u8>),
    Directory,
}

impl From<&Entry> for Was {
    fn from(entry: &Entry) -> Self {
        match entry.kind {
            Kind::File => Self::File { size: entry.size, mtime: entry.mtime, chunks: entry.chunks },
            Kind::Symlink => Self::Symlink(entry.target.clone()),
            Kind::Directory => Self::Directory,
        }
    }
}

impl Was {
    /// Tells whether what is there looks as it was put there.
    pub(super) fn is_still(&self, there: &There) -> bool {
        match self {
            Self::File { size, mtime, .. } => {
                there.file && (there.size, there.mtime) == (*size, *mtime)
            }
            Self::Symlink(target) => there.target.as_ref() == Some(target),
            Self::Directory => there.directory,
        }
    }
}

/// The entries of the versions that were landed here before.
///
/// Invariant: once sealed, sorted by path, so that what is in a folder follows it.
#[derive(Clone, Debug, Default)]
pub struct Earlier(Vec<(Vec<u8>, Was)>);

impl Earlier {
    /// Adds an entry of a version.
    pub fn add(&mut self, path: &DrivePath, entry: &Entry) {
        self.0.push((path.as_bytes().to_vec(), Was::from(entry)));
    }

    pub(super) fn seal(&mut self) {
        self.0.sort_by(|one, other| one.0.cmp(&other.0));
        self.0.dedup();
    }

    /// Returns what was under a name, in one version or another.
    pub(super) fn of(&self, path: &[u8]) -> impl Iterator<Item = &Was> {
        let first = self.0.partition_point(|(name, _)| name.as_slice() < path);
        self.0[first..].iter().take_while(move |(name, _)| name == path).map(|(_, was)| was)
    }

    /// Tells whether what is at `path` was put there by us, and is still so.
    pub(super) fn allows(&self, path: &[u8], there: &There) -> bool {
        self.of(path).any(|was| was.is_still(there))
    }

    /// Returns everything, in an order in which it can be removed: what is in a folder before the folder.
    pub(super) fn bottom_up(&self) -> impl Iterator<Item = (&[u8], &Was)> {
        self.0.iter().rev().map(|(path, was)| (path.as_slice(), was))
    }
}

/// Returns the numbers of the versions whose files may be in a folder.
///
/// # Errors
/// What the disk says; a note that cannot be read counts as none, which only makes a clone more careful.
pub fn landed(folder: &Path) -> Result<Vec<u64>, Error> {
    let path = folder.join(DRIVE_FOLDER).join(LANDED_FILE);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(text.lines().map_while(|line| line.parse().ok()).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Error::io("read", &path, &error)),
    }
}

/// Notes the versions whose files may be in a folder.
///
/// # Errors
/// What the disk says.
pub fn note_landed(folder: &Path, versions: &[u64]) -> Result<(), Error> {
    let lines: String = versions.iter().map(|number| format!("{number}\n")).collect();
    crate::disk::replace(&folder.join(DRIVE_FOLDER).join(LANDED_FILE), lines.as_bytes())
}
