//! What a change by paths looks at before anything is done, and what it refuses.
//!
//! Elsewhere: the changes (`editor`), what a working folder has to bear (`folder`).

use std::collections::{BTreeMap, BTreeSet};

use datnode_drive::{DrivePath, Entry, Kind, SafePath};
use datnode_feed::Storage;
use rustix::fs::FileType;

use super::editor::Editor;
use super::folder::unshared;
use crate::cli::escape;
use crate::error::{Code, Error};
use crate::import::{self, Found, here, look_at};
use crate::view::View;

impl<S: Storage> Editor<'_, S> {
    /// Refuses a path where no file can be: one that may not land, a folder, or below a file; and one where something is that nobody
    /// shared.
    pub(super) fn check_place(&mut self, path: &DrivePath) -> Result<SafePath, Error> {
        let safe = safe(path)?;
        self.check_above(&safe)?;
        let on_disk = match self.working {
            Some(working) => working.kind(&safe)? == Some(FileType::Directory),
            None => false,
        };
        if on_disk || self.is_folder(path)? {
            let shown = escape::bytes(path.as_bytes());
            return Err(Error::usage(format!("{shown} is a folder")));
        }
        let entry = self.entry(path)?;
        self.check_shared(path, entry.as_ref())?;
        Ok(safe)
    }

    /// Refuses the root of a drive, which is no name in it; `done` is what was to be done with it.
    pub(super) fn check_not_root(&mut self, path: &DrivePath, done: &str) -> Result<(), Error> {
        if !path.is_root() {
            return Ok(());
        }
        let view = View::new(self.store, self.writer.changes.0, None);
        let first = here(self.base.list(&view, path, None, 1))?.into_iter().next();
        let name = first.map_or_else(|| b"NAME".to_vec(), |(name, _)| name);
        let (folder, name) = (escape::path(self.folder), escape::bytes(&name));
        Err(Error::usage(format!("the root of a drive cannot be {done}"))
            .hint(format!("name what is in it, such as {folder}/{name}")))
    }

    /// Refuses what is on the disk and not in the drive as it is there: no version would have it.
    pub(super) fn check_shared(
        &self,
        path: &DrivePath,
        entry: Option<&Entry>,
    ) -> Result<(), Error> {
        if self.working.is_none() {
            return Ok(());
        }
        let here = look_at(self.folder, &BTreeSet::from([path.clone()]));
        let other = !here.special.is_empty() || !here.unreadable.is_empty();
        let shared = |found: &Found| entry.is_some_and(|entry| looks_like(found, entry));
        if other || !here.found.iter().all(shared) {
            return Err(unshared(path.as_bytes()));
        }
        Ok(())
    }

    /// Refuses to move what is on the disk otherwise than in the drive: what was changed or deleted there is for a share to publish.
    pub(super) fn check_whole(&self, moved: &[(DrivePath, Entry)]) -> Result<(), Error> {
        let paths = moved.iter().map(|(path, _)| path.clone()).collect();
        let here = look_at(self.folder, &paths);
        let here: BTreeMap<_, _> = here.found.iter().map(|found| (&found.path, found)).collect();
        for (path, entry) in moved {
            if !here.get(path).is_some_and(|found| looks_like(found, entry)) {
                return Err(unshared(path.as_bytes()));
            }
        }
        Ok(())
    }

    /// Refuses a path below a file or a link: it may lead out of the folder.
    pub(super) fn check_above(&mut self, path: &SafePath) -> Result<(), Error> {
        let folders: Vec<_> = above(path.drive_path()).collect();
        for folder in folders.into_iter().rev() {
            let in_drive = self.entry(&folder)?.is_some_and(|entry| entry.kind != Kind::Directory);
            let on_disk = match self.working {
                Some(working) => working.kind(&safe(&folder)?)?,
                None => None,
            };
            if in_drive || on_disk.is_some_and(|kind| kind != FileType::Directory) {
                let shown = escape::bytes(folder.as_bytes());
                return Err(Error::usage(format!("{shown} is no folder")));
            }
        }
        Ok(())
    }

    /// Tells whether a path is a folder, of its own or because something is in it.
    pub(super) fn is_folder(&mut self, path: &DrivePath) -> Result<bool, Error> {
        match self.entry(path)? {
            Some(entry) => Ok(entry.kind == Kind::Directory),
            None => Ok(path.is_root() || !self.below(path)?.is_empty()),
        }
    }

    pub(super) fn entry(&mut self, path: &DrivePath) -> Result<Option<Entry>, Error> {
        import::entry(self.store, self.writer.changes.0, &self.base, path)
    }

    /// Returns the folders above some paths that have no entry: a listing would not show them. SPEC 8.1-4
    pub(super) fn without_entry(
        &mut self,
        paths: &[DrivePath],
    ) -> Result<BTreeSet<DrivePath>, Error> {
        let mut without = BTreeSet::new();
        for folder in paths.iter().flat_map(above).collect::<BTreeSet<_>>() {
            if self.entry(&folder)?.is_none() {
                without.insert(folder);
            }
        }
        Ok(without)
    }

    /// Returns what is at a path, and all that is in it.
    pub(super) fn below(&mut self, path: &DrivePath) -> Result<Vec<(DrivePath, Entry)>, Error> {
        import::below(self.store, self.writer.changes.0, &self.base, path)
    }

    pub(super) fn missing(&self, path: &DrivePath) -> Error {
        let shown = escape::bytes(path.as_bytes());
        Error::not_found::<&[u8]>(format!("there is no {shown} in this drive"), &[])
            .field("path", shown.as_str())
            .hint("datnode ls shows what there is")
    }
}

/// Tells whether what was found looks as its entry says.
fn looks_like(found: &Found, entry: &Entry) -> bool {
    found.kind == entry.kind
        && found.target == entry.target
        && (entry.kind != Kind::File || (found.size, found.mtime) == (entry.size, entry.mtime))
}

/// Lets a name land, or says why not.
pub(super) fn safe(path: &DrivePath) -> Result<SafePath, Error> {
    SafePath::new(path).map_err(|refusal| {
        let shown = escape::bytes(path.as_bytes());
        Error::new(Code::Path, format!("{shown} can be no file: {refusal}"))
            .field("path", shown.as_str())
    })
}

pub(super) fn join(folder: &DrivePath, name: &[u8]) -> Result<DrivePath, Error> {
    folder.join(name).map_err(|error| Error::usage(error.to_string()))
}

/// Returns the folders above a path, but the root.
pub(super) fn above(path: &DrivePath) -> impl Iterator<Item = DrivePath> + use<> {
    std::iter::successors(path.parent(), DrivePath::parent).filter(|path| !path.is_root())
}
