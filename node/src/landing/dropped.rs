//! Removes what earlier versions put into the folder and this one has not; what was changed since stays.
//!
//! A disk that takes two names for one has what was dropped under its new name as well, and keeps it.

use std::collections::HashMap;

use datnode_drive::DrivePath;

use super::earlier::Was;
use super::scratch::Scratch;
use super::target::temporary;
use super::{Item, Landing, failed};
use crate::error::Error;

/// A name that earlier versions had and this one has not.
pub struct Dropped {
    /// The name.
    pub path: DrivePath,
    /// What was put there.
    pub was: Vec<Was>,
}

/// A name that is left out, and was not always.
pub struct Left {
    /// The name.
    pub path: DrivePath,
    /// What was put there, each with the version that did, by its place among the earlier ones.
    pub was: Vec<(Was, usize)>,
}

/// What goes when all is there that comes.
#[derive(Default)]
pub(super) struct Leaving {
    /// Folders, in the order of their keys.
    folders: Vec<Vec<u8>>,
    /// On a disk that takes two names for one, everything that goes, by what tells it from everything else.
    ids: HashMap<(u64, u64), (Vec<u8>, Was)>,
}

impl Landing {
    /// Removes names that were dropped, or notes them: folders go last, and on a disk that takes two names for one it must be
    /// looked first whether they are there under other names.
    ///
    /// # Errors
    /// What the disk says.
    pub fn remove(&mut self, dropped: &[Dropped]) -> Result<(), Error> {
        let folder = self.ground.folder.clone();
        // What cannot be asked is in doubt.
        let ask = || Scratch::new(&folder).is_some_and(|scratch| scratch.is_exact());
        let exact = *self.exact.get_or_insert_with(ask);
        for Dropped { path, was } in dropped.iter().filter(|gone| gone.path.is_within(&self.scope))
        {
            let path = path.as_bytes();
            if was.iter().any(|was| matches!(was, Was::File { .. })) {
                // Left behind by a run that was cut short; mostly it is not there.
                let _ = folder.remove(&temporary(path), &Was::Symlink(Vec::new()));
            }
            let Some(there) = folder.look(path) else { continue };
            let Some(was) = was.iter().find(|was| was.is_still(&there)) else {
                self.kept.push(path.to_vec());
                continue;
            };
            match there.only_id().filter(|_| !exact) {
                Some(id) => drop(self.leaving.ids.insert(id, (path.to_vec(), was.clone()))),
                None if there.directory => self.leaving.folders.push(path.to_vec()),
                None => {
                    folder.remove(path, was).map_err(|error| failed("remove", path, &error))?;
                }
            }
        }
        Ok(())
    }

    /// Leaves names alone that are left out, but for what of them is not whole; returns the versions of which something is still
    /// there as it was put.
    pub fn leave(&mut self, left: &[Left]) -> Vec<usize> {
        let folder = &self.ground.folder;
        let mut versions = Vec::new();
        for Left { path, was } in left.iter().filter(|left| left.path.is_within(&self.scope)) {
            let path = path.as_bytes();
            if was.iter().any(|(was, _)| matches!(was, Was::File { .. })) {
                let _ = folder.remove(&temporary(path), &Was::Symlink(Vec::new()));
            }
            let Some(there) = folder.look(path) else { continue };
            versions.extend(was.iter().find(|(was, _)| was.is_still(&there)).map(|(_, of)| *of));
        }
        versions.sort_unstable();
        versions.dedup();
        versions
    }

    /// Tells whether what was dropped may be there under names of the version.
    pub fn may_be_respelled(&self) -> bool {
        !self.leaving.ids.is_empty()
    }

    /// Gives what is there under names of these entries their spelling.
    ///
    /// # Errors
    /// What the disk says.
    pub fn respell(&mut self, window: &[Item]) -> Result<(), Error> {
        let folder = &self.ground.folder;
        for Item { path, .. } in window {
            if self.is_refused(path) {
                continue;
            }
            let name = path.as_bytes();
            let id = folder.look(name).and_then(|there| there.only_id());
            let Some((other, _)) = id.and_then(|id| self.leaving.ids.remove(&id)) else { continue };
            let respelled = folder.respell(&other, name);
            respelled.map_err(|error| failed("rename", &other, &error))?;
        }
        Ok(())
    }

    /// Removes what was noted, what is in a folder before the folder.
    pub(super) fn remove_noted(&mut self) -> Result<(), Error> {
        let folder = &self.ground.folder;
        let mut left: Vec<_> = self.leaving.ids.drain().map(|(_, left)| left).collect();
        left.sort_unstable_by(|one, other| other.0.cmp(&one.0));
        for (path, was) in left {
            match folder.remove(&path, &was) {
                // A folder with something of the user's in it stays.
                Err(_) if was == Was::Directory => {}
                other => other.map_err(|error| failed("remove", &path, &error))?,
            }
        }
        for path in self.leaving.folders.drain(..).rev() {
            let _ = folder.remove(&path, &Was::Directory);
        }
        Ok(())
    }
}
