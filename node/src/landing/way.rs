//! Makes way for what is of another kind now: a file where a folder was, a folder where a file was.
//!
//! Files of earlier versions are moved aside, into `.dat/aside`, since blocks that live in them may be wanted elsewhere; the rest
//! of the landing takes them for any other working file. What is not ours is never moved, and a folder with something foreign in
//! it is never removed.

use std::io;

use datnode_feed::{Hash, Storage, Store};

use super::earlier::Was;
use super::index::Index;
use super::target::{Folder, There};
use crate::error::Error;

/// Where files go that are in the way, relative to the working folder.
const ASIDE: &[u8] = b".dat/aside";

/// Tells whether everything in a folder is as earlier versions had it.
pub(super) fn is_ours<S: Storage>(
    folder: &Folder,
    path: &[u8],
    index: &Index<'_, S>,
) -> io::Result<bool> {
    for name in folder.names(path)? {
        let path = [path, b"/", &name].concat();
        let Some(there) = folder.look(&path) else { return Ok(false) };
        let ours = index.was(&path).iter().any(|was| was.is_still(&there));
        if !ours || there.directory && !is_ours(folder, &path, index)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Takes away what is at `path`, which was found to be ours or may be replaced.
pub(super) fn clear<S: Storage>(
    folder: &Folder,
    store: &mut Store<S>,
    path: &[u8],
    there: &There,
) -> Result<(), Error> {
    let said = |error: io::Error| super::failed("move aside", path, &error);
    if there.directory {
        for name in folder.names(path).map_err(said)? {
            let below = [path, b"/", &name].concat();
            if let Some(there) = folder.look(&below) {
                clear(folder, store, &below, &there)?;
            }
        }
        return folder.remove(path, &Was::Directory).map_err(said);
    }
    if !there.file {
        return folder.remove(path, &Was::Symlink(Vec::new())).map_err(said);
    }
    let aside = [ASIDE, b"/", Hash::of(path).to_string().as_bytes()].concat();
    folder.make(ASIDE).and_then(|()| folder.rename(path, &aside)).map_err(said)?;
    store.rename_working(path, &aside).map_err(Error::store)
}

/// Removes what was moved aside, in this run or an earlier one.
pub(super) fn forget_aside(folder: &Folder) -> io::Result<()> {
    let Ok(names) = folder.names(ASIDE) else { return Ok(()) };
    for name in names {
        let path = [ASIDE, b"/", &name].concat();
        let was = Was::Symlink(Vec::new());
        folder.remove(&path, &was)?;
    }
    folder.remove(ASIDE, &Was::Directory)
}
