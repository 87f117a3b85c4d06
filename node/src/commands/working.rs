//! What a working folder has that its drive does not: what an import would take in, found out without writing.
//!
//! It decides as the import does: kind, size, mode and time tell, and a file changed shortly before the last import is read.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;

use datnode_drive::{DrivePath, Entry, Kind};

use super::context::os;
use crate::cli::units::Count;
use crate::engine::Snapshot;
use crate::error::{Error, reason};
use crate::import::{Found, RACY, Walked};

/// What a drive says of its working folder.
pub(super) struct Base {
    entries: BTreeMap<DrivePath, Entry>,
    /// From when on, in seconds since 1970, times may hide a change.
    racy_from: i64,
}

impl Default for Base {
    /// That of a folder which was never shared.
    fn default() -> Self {
        Self { entries: BTreeMap::new(), racy_from: i64::MIN }
    }
}

impl Base {
    /// Reads a version's names.
    pub(super) async fn of(snapshot: &Snapshot) -> Result<Self, Error> {
        let racy_from = snapshot.version.change.time.seconds - RACY;
        Ok(Self { entries: snapshot.by_path().await?, racy_from })
    }
}

/// What would become of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    Added,
    Changed,
    Removed,
}

/// A name that an import would take in, anew or again, or delete.
pub(super) struct Difference<'a> {
    pub(super) sign: Sign,
    pub(super) path: &'a DrivePath,
    pub(super) kind: Kind,
    /// Bytes of a file that is there.
    pub(super) size: Option<u64>,
    /// What the drive has there.
    pub(super) old: Option<&'a Entry>,
    /// What the folder has there.
    pub(super) found: Option<&'a Found>,
}

/// How many names would be added, changed and removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) added: u64,
    pub(super) changed: u64,
    pub(super) removed: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { added, changed, removed } = *self;
        write!(f, "{} new, {} changed, {} removed", Count(added), Count(changed), Count(removed))
    }
}

/// Tells each difference between a folder and its drive. Files that would have to be read and cannot be are noted as unreadable.
///
/// # Errors
/// What `tell` says.
pub(super) fn differences(
    folder: &Path,
    walked: &mut Walked,
    mut base: Base,
    mut tell: impl FnMut(Difference<'_>) -> Result<(), Error>,
) -> Result<Counts, Error> {
    let mut counts = Counts::default();
    for found in &walked.found {
        let old = base.entries.remove(&found.path);
        match changes(folder, found, old.as_ref(), base.racy_from) {
            Ok(false) => continue,
            Ok(true) => {}
            Err(error) => {
                walked.unreadable.push((found.path.as_bytes().to_vec(), reason(&error)));
                continue;
            }
        }
        let (sign, count) = match &old {
            None => (Sign::Added, &mut counts.added),
            Some(_) => (Sign::Changed, &mut counts.changed),
        };
        *count += 1;
        let size = (found.kind == Kind::File).then_some(found.size);
        let (old, path, kind) = (old.as_ref(), &found.path, found.kind);
        tell(Difference { sign, path, kind, size, old, found: Some(found) })?;
    }
    for (path, entry) in base.entries.iter().filter(|(path, _)| !walked.is_blind(path.as_bytes())) {
        counts.removed += 1;
        let (sign, kind, old) = (Sign::Removed, entry.kind, Some(entry));
        tell(Difference { sign, path, kind, size: None, old, found: None })?;
    }
    Ok(counts)
}

/// Tells whether the import would take something in, anew or again.
///
/// # Errors
/// What the system says when a file would have to be read, and cannot be.
fn changes(folder: &Path, found: &Found, old: Option<&Entry>, racy_from: i64) -> io::Result<bool> {
    let changes = match old {
        Some(old) => differs(folder, found, old, racy_from)?,
        None => true,
    };
    if changes && found.kind == Kind::File {
        std::fs::File::open(folder.join(os(found.path.as_bytes())))?;
    }
    Ok(changes)
}

fn differs(folder: &Path, found: &Found, old: &Entry, racy_from: i64) -> io::Result<bool> {
    let same = found.kind == old.kind && found.mtime == old.mtime && found.target == old.target;
    Ok(match found.kind {
        _ if !same => true,
        Kind::Symlink => false,
        Kind::Directory => found.mode != old.mode,
        Kind::File if (found.size, found.mode) != (old.size, old.mode) => true,
        Kind::File => {
            found.mtime.seconds >= racy_from
                && hash(&folder.join(os(found.path.as_bytes())))? != old.content.0
        }
    })
}

fn hash(path: &Path) -> io::Result<[u8; 32]> {
    let mut hasher = blake3::Hasher::new();
    io::copy(&mut std::fs::File::open(path)?, &mut hasher)?;
    Ok(*hasher.finalize().as_bytes())
}
