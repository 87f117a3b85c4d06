//! Files of a clone, held against what was put there; those that are still so may be removed on purpose.

use std::path::Path;

use datnode_drive::{DrivePath, Entry, Kind};

use super::earlier::Was;
use super::failed;
use super::survey::may_land;
use super::target::{Folder, Reading, There};
use crate::disk::beneath::Beneath;
use crate::error::Error;

/// The files of a clone.
pub struct Landed {
    folder: Folder,
}

/// Whether something is as it was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AsPut {
    /// Nothing was put under such a name.
    Refused,
    /// There is nothing.
    Gone,
    /// It was changed since.
    Changed,
    /// It looks as it did, and takes so many bytes of the disk.
    Yes(u64),
}

/// A file, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId((u64, u64));

impl Landed {
    /// Looks beneath `root`.
    ///
    /// # Errors
    /// What the disk says.
    pub fn open(root: &Path) -> Result<Self, Error> {
        let beneath = Beneath::open(root).map_err(|error| Error::io("open", root, &error))?;
        Ok(Self { folder: Folder::new(beneath) })
    }

    /// Tells whether what is at a path is as an entry says.
    pub fn is_as_put(&self, path: &DrivePath, entry: &Entry) -> AsPut {
        if may_land(path, entry).is_err() {
            return AsPut::Refused;
        }
        match self.folder.look(path.as_bytes()) {
            None => AsPut::Gone,
            Some(there) if Was::from(entry).is_still(&there) => AsPut::Yes(there.allocated),
            Some(_) => AsPut::Changed,
        }
    }

    /// Returns which file is at a path, if there is one; several names may be one on this disk.
    pub fn file(&self, path: &DrivePath) -> Option<FileId> {
        self.folder.look(path.as_bytes()).map(|there| FileId(there.id))
    }

    /// Tells whether what is at a path has an entry's bytes, whatever its time; a link none but where it leads.
    pub fn equals(&self, path: &DrivePath, entry: &Entry) -> bool {
        let name = path.as_bytes();
        let has_size = |there: There| there.file && there.size == entry.size;
        entry.kind == Kind::File
            && may_land(path, entry).is_ok()
            && self.folder.look(name).is_some_and(has_size)
            && self.folder.equals(name, entry, Reading::Cached)
    }

    /// Removes what is at a path, if it is as an entry says; of folders those in which nothing is.
    ///
    /// # Errors
    /// What the disk says.
    pub fn remove(&self, path: &DrivePath, entry: &Entry) -> Result<(), Error> {
        let AsPut::Yes(_) = self.is_as_put(path, entry) else { return Ok(()) };
        let (path, was) = (path.as_bytes(), Was::from(entry));
        match self.folder.remove(path, &was) {
            Err(_) if was == Was::Directory => Ok(()),
            removed => removed.map_err(|error| failed("remove", path, &error)),
        }
    }
}
