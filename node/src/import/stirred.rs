//! Takes in what changed at some paths of a working folder, as a watcher tells of them.
//!
//! What is below a path is looked at only as far as it is named, but for a folder that is gone: then all that was in it is. What was
//! moved is not read again if it still looks as it did.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use datnode_drive::{DrivePath, Entry, Key, Kind, Version};
use datnode_feed::{Storage, Store};

use super::base::{Known, below, entry};
use super::spool::Spool;
use super::walk::{Inventory, look_at};
use super::{Around, Facts, How, Imported, Memory, Writer, take_in};
use crate::error::Error;
use crate::landing::is_in_part;

/// Where something happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stirred {
    /// The paths at which something may be different now.
    pub paths: BTreeSet<DrivePath>,
    /// What was moved, and where it is now.
    pub moved: Vec<(DrivePath, DrivePath)>,
}

/// Takes in what is at the paths that were touched; the drive keeps all others as they are.
///
/// # Errors
/// Those of [`import`](super::import).
#[expect(clippy::too_many_arguments, reason = "all that an import goes by, once")]
pub fn import_stirred<S: Storage>(
    store: &mut Store<S>,
    writer: &Writer<'_>,
    base: &Version,
    root: &Path,
    stirred: &Stirred,
    how: &How<'_>,
    memory: &mut Memory,
    between: &mut dyn FnMut(&mut Store<S>),
) -> Result<Imported, Error> {
    let changes = writer.changes.0;
    let mut walked = look_at(root, &stirred.paths);
    walked.in_part = is_in_part(root)?;
    walked.found.sort_by_cached_key(|found| found.path.key());
    let found = walked.found.iter().filter(|found| found.kind == Kind::Directory);
    let folders: BTreeSet<DrivePath> = found.map(|found| found.path.clone()).collect();
    // What is reached through a link is not in the drive. The folders above each path are among the paths.
    let above = |path: &DrivePath| std::iter::successors(path.parent(), DrivePath::parent);
    let is_inside = |path: &DrivePath| {
        above(path).filter(|path| !path.is_root()).all(|path| folders.contains(&path))
    };
    walked.found.retain(|found| is_inside(&found.path));
    let mut known = BTreeMap::new();
    for path in &stirred.paths {
        let Some(entry) = entry(store, changes, base, path)? else { continue };
        if entry.kind == Kind::Directory && !folders.contains(path) {
            let all = below(store, changes, base, path)?;
            known.extend(all.into_iter().map(|(path, entry)| (path.key(), entry)));
        } else {
            known.insert(path.key(), entry);
        }
    }
    let mut moved: BTreeMap<Key, Entry> = BTreeMap::new();
    for (from, to) in &stirred.moved {
        for (old, entry) in below(store, changes, base, from)? {
            let rest = old.as_bytes()[from.as_bytes().len()..].iter();
            let new = to.as_bytes().iter().chain(rest).copied().collect::<Vec<u8>>();
            // What is too long for a path is met by no walk either.
            let new = DrivePath::from_bytes(new).ok();
            moved.extend(new.map(|new| (new.key(), entry)));
        }
    }
    let facts = Facts {
        inventory: Inventory { found: Spool::of(root, &walked.found)?, walked },
        known: Known::listed(known),
        moved,
        racy_from: base.change.time.seconds - super::RACY,
    };
    let around = Around { stop: &AtomicBool::new(false), progress: &mut |_| {}, between };
    take_in(store, writer, base, root, facts, how, memory, around)
}
