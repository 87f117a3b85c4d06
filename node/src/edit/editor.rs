//! One change of a drive by paths, on the version it is based on.
//!
//! Everything is looked at before anything is done: a change that is refused leaves the folder and the store as they were.
//! Elsewhere: what is looked at (`checks`), what a working folder has to bear (`folder`), making a change of what was found there
//! (`import`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::slice;

use datnode_drive::{DrivePath, Entry, Kind, Op, Version};
use datnode_feed::{Storage, Store};

use super::checks::{above, join, safe};
use super::folder::Folder;
use super::staging::Workspace;
use super::{Edited, Raw};
use crate::cli::escape;
use crate::error::{Code, Error};
use crate::import::{How, Imported, Keep, Rules, Walked, Writer};
use crate::import::{finish, import_paths, look_at, now};

/// The permission bits of a folder that a change makes in a bare drive, where no disk says which.
const FOLDER_MODE: u16 = 0o755;

pub(super) struct Editor<'a, S> {
    pub(super) store: &'a mut Store<S>,
    pub(super) writer: &'a Writer<'a>,
    pub(super) base: Version,
    pub(super) folder: &'a Path,
    /// None for a bare drive.
    pub(super) working: Option<&'a Folder>,
    pub(super) message: &'a str,
}

impl<S: Storage> Editor<'_, S> {
    /// Puts the file `staged` at a path; without one, it is only looked whether that could be.
    pub(super) fn put(
        &mut self,
        path: DrivePath,
        name: Option<&Raw>,
        staged: Option<&Path>,
    ) -> Result<Edited, Error> {
        let path = match (self.is_folder(&path)?, name) {
            (false, _) => path,
            (true, Some(name)) => join(&path, &name.0)?,
            (true, None) => {
                let named = self.folder.join(super::as_path(path.as_bytes())).join("NAME");
                return Err(Error::usage(
                    "this is a folder; give the name that the file is to have",
                )
                .hint(format!("such as {}", escape::path(&named))));
            }
        };
        let safe = self.check_place(&path)?;
        let Some(staged) = staged else {
            return Ok(edited(&self.base, &self.base, &path, (0, 0, 0)));
        };
        let bytes = fs::metadata(staged).map_err(|error| Error::io("read", staged, &error))?.len();
        let known = self.entry(&path)?.is_some();
        let mut touched = BTreeSet::from([path.clone()]);
        let done = match self.working {
            Some(working) => {
                working.put(staged, &safe, known)?;
                touched.extend(above(&path));
                self.take_in_file(self.folder, &touched, &path)?
            }
            None => {
                let space = Workspace::new(self.folder)?;
                Folder::open(space.path())?.put(staged, &safe, false)?;
                let folders = self.without_entry(slice::from_ref(&path))?;
                space.set_modes(&folders, FOLDER_MODE)?;
                touched.extend(folders);
                self.take_in_file(space.path(), &touched, &path)?
            }
        };
        Ok(edited(&done.version, &self.base, &path, (bytes, done.bytes_new, 1)))
    }

    /// Deletes what is at some paths.
    pub(super) fn remove(&mut self, paths: &[DrivePath], recursive: bool) -> Result<Edited, Error> {
        let first = paths.first().ok_or_else(|| Error::usage("nothing is named"))?;
        let mut all = BTreeMap::new();
        for path in paths {
            self.check_not_root(path, "deleted")?;
            if self.is_folder(path)? && !recursive {
                let shown = escape::bytes(path.as_bytes());
                return Err(Error::usage(format!("{shown} is a folder"))
                    .hint("datnode rm -r deletes it with all that is in it"));
            }
            let below = self.below(path)?;
            if below.is_empty() {
                return Err(self.missing(path));
            }
            all.extend(below);
        }
        let count = files(all.values());
        let Some(working) = self.working else {
            let ops = all.into_keys().map(Op::Delete).collect();
            return self.finish(ops, first, count);
        };
        let mut gone = Vec::new();
        for (path, entry) in &all {
            let safe = safe(path)?;
            self.check_above(&safe)?;
            self.check_shared(path, Some(entry))?;
            gone.push(safe);
        }
        // What is in a folder comes before the folder itself.
        gone.iter().rev().try_for_each(|path| working.remove(path))?;
        let touched = all.keys().flat_map(above).chain(all.keys().cloned()).collect();
        let done = self.take_in(self.folder, &touched)?;
        Ok(edited(&done.version, &self.base, first, (0, done.bytes_new, count)))
    }

    /// Gives what is at a path another one.
    pub(super) fn rename(&mut self, from: &DrivePath, to: DrivePath) -> Result<Edited, Error> {
        self.check_not_root(from, "moved")?;
        let moved = self.below(from)?;
        if moved.is_empty() {
            return Err(self.missing(from));
        }
        let to = match self.is_folder(&to)? {
            true => join(&to, from.base().unwrap_or_default())?,
            false => to,
        };
        if to.is_within(from) {
            return Err(Error::usage("a folder cannot be moved into itself"));
        }
        let new = self.check_place(&to)?;
        let replaces = self.entry(&to)?.is_some();
        let of_file =
            matches!(&moved[..], [(path, entry)] if path == from && entry.kind != Kind::Directory);
        if replaces && !of_file {
            let shown = escape::bytes(to.as_bytes());
            return Err(Error::usage(format!("{shown} is no folder")));
        }
        let renamed = moved.iter().map(|(path, _)| new_path(path, from, &to));
        let renamed = renamed.collect::<Result<Vec<_>, _>>()?;
        let count = files(moved.iter().map(|(_, entry)| entry));
        let Some(working) = self.working else {
            return self.rename_entries(moved, renamed, &to, count);
        };
        let old = safe(from)?;
        self.check_above(&old)?;
        self.check_whole(&moved)?;
        let paths = moved.into_iter().map(|(path, _)| path).chain(renamed);
        let touched = paths.flat_map(|path| above(&path).chain([path])).collect();
        working.rename(&old, &new, replaces)?;
        let done = self.take_in(self.folder, &touched)?;
        Ok(edited(&done.version, &self.base, &to, (0, done.bytes_new, count)))
    }

    /// Gives entries other names; their bytes stay where they are.
    fn rename_entries(
        &mut self,
        moved: Vec<(DrivePath, Entry)>,
        renamed: Vec<DrivePath>,
        to: &DrivePath,
        count: u64,
    ) -> Result<Edited, Error> {
        let mut folders = self.without_entry(&renamed)?;
        for path in &renamed {
            folders.remove(path);
        }
        let made = Entry::directory(FOLDER_MODE, now());
        let folders = folders.into_iter().map(|path| Op::Put(path, made.clone()));
        let ops = moved.into_iter().zip(renamed);
        let ops = ops.flat_map(|((old, entry), new)| [Op::Put(new, entry), Op::Delete(old)]);
        self.finish(ops.chain(folders).collect(), to, count)
    }

    /// Makes a change of the index alone.
    fn finish(&mut self, mut ops: Vec<Op>, first: &DrivePath, count: u64) -> Result<Edited, Error> {
        ops.sort_by_cached_key(|op| op.path().key());
        let version = finish(self.store, self.writer, &self.base, &ops, Vec::new(), self.message)?;
        Ok(edited(&version, &self.base, first, (0, 0, count)))
    }

    /// Takes in a file that was put. It is looked for first: what is not there would be deleted.
    fn take_in_file(
        &mut self,
        root: &Path,
        touched: &BTreeSet<DrivePath>,
        path: &DrivePath,
    ) -> Result<Imported, Error> {
        let is_there = |walked: &Walked| match walked.found.iter().any(|found| found.path == *path)
        {
            true => Ok(()),
            false => {
                let shown = escape::bytes(path.as_bytes());
                Err(Error::new(Code::Changed, format!("{shown} was taken away while it was put")))
            }
        };
        is_there(&look_at(root, &BTreeSet::from([path.clone()])))?;
        let done = self.take_in(root, touched)?;
        is_there(&done.walked)?;
        Ok(done)
    }

    fn take_in(&mut self, root: &Path, touched: &BTreeSet<DrivePath>) -> Result<Imported, Error> {
        let rules = Rules::default();
        let how =
            How { rules: &rules, keep: Keep::History, message: self.message, folder_times: true };
        let done = import_paths(self.store, self.writer, &self.base, root, touched, &how)?;
        if !done.walked.unreadable.is_empty() {
            return Err(Error::unreadable(&done.walked.unreadable));
        }
        if !done.unsteady.is_empty() {
            return Err(Error::changed(&done.unsteady));
        }
        Ok(done)
    }
}

/// Returns how many of some entries are no folders: those that come and go with what is in them are not counted.
fn files<'a>(entries: impl Iterator<Item = &'a Entry>) -> u64 {
    entries.filter(|entry| entry.kind != Kind::Directory).count() as u64
}

/// Returns the path that `path`, which is `from` or in it, has when that is moved to `to`; it has to be one that may land.
fn new_path(path: &DrivePath, from: &DrivePath, to: &DrivePath) -> Result<DrivePath, Error> {
    let new = match path.as_bytes().get(from.as_bytes().len() + 1..) {
        Some(rest) => join(to, rest)?,
        None => to.clone(),
    };
    safe(&new).map(|_| new)
}

pub(super) fn edited(
    now: &Version,
    base: &Version,
    path: &DrivePath,
    of: (u64, u64, u64),
) -> Edited {
    let (bytes, bytes_new, count) = of;
    Edited {
        change: now.number,
        version: now.id.to_string(),
        changed: now.number != base.number,
        path: Raw(path.as_bytes().to_vec()),
        bytes,
        bytes_new,
        count,
        tag: None,
    }
}

#[cfg(test)]
mod tests {
    use datnode_feed::{MemoryStorage, SecretKey};

    use super::*;
    use crate::import::{create, latest};

    #[test]
    fn a_file_that_is_gone_is_not_taken_for_a_deleted_one() {
        let mut store = Store::open(MemoryStorage::new()).unwrap();
        let keys = [1, 2].map(|byte| SecretKey::from_bytes([byte; 32]));
        let [changes, content] =
            [0, 1].map(|at: usize| (store.add_feed(keys[at].public()).unwrap(), &keys[at]));
        let writer = Writer { changes, content };
        create(&mut store, &writer, "drive").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (path, staged) = (DrivePath::from_bytes("a").unwrap(), folder.path().join("staged"));
        fs::write(&staged, "bytes").unwrap();
        let base = latest(&mut store, changes.0).unwrap();
        let (writer, folder, message) = (&writer, folder.path(), "");
        let mut editor = Editor { store: &mut store, writer, base, folder, working: None, message };
        editor.put(path.clone(), None, Some(&staged)).unwrap();
        editor.base = latest(editor.store, changes.0).unwrap();
        let (nowhere, touched) = (tempfile::tempdir().unwrap(), BTreeSet::from([path.clone()]));
        let gone = editor.take_in_file(nowhere.path(), &touched, &path).unwrap_err();
        assert_eq!(gone.code(), Code::Changed);
        let now = latest(&mut store, changes.0).unwrap();
        assert_eq!((now.number, now.change.counts.files), (1, 1));
    }
}
