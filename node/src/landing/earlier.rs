//! What earlier versions of this clone put into the working folder: it may be replaced or removed while it is still so.
//!
//! Which versions those are is noted in `.dat/landed` before the first file of a version is touched, so that a run that was cut
//! short leaves nothing behind that the next one takes for the user's.

use std::io;
use std::path::Path;

use datnode_drive::{Entry, Kind, Mtime};
use datnode_feed::Hash;

use super::target::There;
use crate::disk::DRIVE_FOLDER;
use crate::error::Error;

const LANDED_FILE: &str = "landed";
/// Behind the versions: the folder was never seen to have all of the newest one.
const IN_PART: &str = "in part";
/// It names a few versions.
const LEN_MAX: u64 = 1 << 20;

/// What was put under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Was {
    /// A file.
    File {
        /// Its bytes.
        size: u64,
        /// When it was changed.
        mtime: Mtime,
        /// The hash of its chunk list.
        chunks: Hash,
    },
    /// A link, and where it leads.
    Symlink(Vec<u8>),
    /// A folder.
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

/// Returns the numbers of the versions whose files may be in a folder.
///
/// # Errors
/// What the disk says; a note that cannot be read counts as none, which only makes a clone more careful.
pub fn landed(folder: &Path) -> Result<Vec<u64>, Error> {
    Ok(note(folder)?.lines().map_while(|line| line.parse().ok()).collect())
}

/// Tells whether a folder may lack names of its drive though nobody removed them: a landing was cut short, was told to leave some
/// out, could not write them, or was of an older version.
///
/// # Errors
/// What the disk says.
pub fn is_in_part(folder: &Path) -> Result<bool, Error> {
    Ok(note(folder)?.lines().any(|line| line == IN_PART))
}

fn note(folder: &Path) -> Result<String, Error> {
    let path = folder.join(DRIVE_FOLDER).join(LANDED_FILE);
    match crate::disk::read_small(&path, LEN_MAX) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(Error::io("read", &path, &error)),
    }
}

/// Notes the versions whose files may be in a folder, and whether it may lack some of the newest one.
///
/// # Errors
/// What the disk says.
pub fn note_landed(folder: &Path, versions: &[u64], in_part: bool) -> Result<(), Error> {
    let mut lines: String = versions.iter().map(|number| format!("{number}\n")).collect();
    if in_part {
        lines += IN_PART;
        lines += "\n";
    }
    crate::disk::replace(&folder.join(DRIVE_FOLDER).join(LANDED_FILE), lines.as_bytes())
}
