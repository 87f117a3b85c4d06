//! What is compared: two versions, or a version and the folder in which its drive is written.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use datnode_drive::{Difference, Entry, Kind};

use crate::address::{Address, VersionSpec};
use crate::cli::output::Out;
use crate::cli::{Diff, Filter};
use crate::commands::context::{Opened, blocking, open, open_beside, with_others};
use crate::commands::status::{Writing, writing};
use crate::commands::working::{self, Base, differences};
use crate::dirs::Dirs;
use crate::drives::Drives;
use crate::edit::is_bare;
use crate::engine::Snapshot;
use crate::error::Error;
use crate::import::{Found, walk};

/// Both sides.
pub(super) struct Sides {
    /// The old one's drive, and the path in it.
    pub(super) opened: Opened,
    pub(super) old: Snapshot,
    pub(super) new: New,
}

/// What is held against the old version.
pub(super) enum New {
    Version(Snapshot),
    /// What is in the working folder now.
    Folder(PathBuf),
}

impl Sides {
    /// Opens what the words name: versions alone are of the drive here, or of the other side's.
    pub(super) async fn open(args: &Diff, out: &Out) -> Result<Self, Error> {
        let network = &args.network;
        let opened = match version(&args.old)? {
            Some(at) => open(None, Some(&at), network, out).await?,
            None => open(Some(&args.old), None, network, out).await?,
        };
        let opened = with_others(opened, network, out).await?;
        let old = opened.snapshot().await?;
        let other = match &args.new {
            None => None,
            Some(word) => Some(match version(word)? {
                Some(version) => opened.at(version),
                None => {
                    let others = std::slice::from_ref(&opened);
                    let other = open_beside(others, Some(word), None, network, out).await?;
                    with_others(other, network, out).await?
                }
            }),
        };
        let new = match other {
            Some(other) if other.path == opened.path => New::Version(other.snapshot().await?),
            Some(_) => {
                return Err(Error::usage("both sides have to be about the same path")
                    .hint("compare the drives as a whole, and choose with --path"));
            }
            None => match written_in(&opened)? {
                Some(folder) => New::Folder(folder),
                None => New::Version(opened.drive.latest().await?),
            },
        };
        Ok(Self { opened, old, new })
    }

    /// Tells whether both are versions of one drive.
    pub(super) fn is_one_drive(&self) -> bool {
        match &self.new {
            New::Version(new) => new.drive.key == self.old.drive.key,
            New::Folder(_) => false,
        }
    }
}

/// Returns the version that a word is; one that is an address as well is none.
fn version(word: &OsStr) -> Result<Option<VersionSpec>, Error> {
    let drives = Drives::of(&Dirs::find()?);
    Ok(Address::version_alone(word, Path::new("."), &drives))
}

/// Returns the folder in which a drive is written, if it was read from there.
fn written_in(opened: &Opened) -> Result<Option<PathBuf>, Error> {
    let Some(folder) = opened.folder() else { return Ok(None) };
    let writes = matches!(writing(&opened.drive.key, folder)?, Writing::Here(_));
    Ok(if writes && !is_bare(folder)? { Some(folder.to_owned()) } else { None })
}

/// Returns what a folder has that a version has not, in the order of keys; and what to say if something could not be read.
pub(super) async fn of_folder(
    old: &Snapshot,
    folder: &Path,
    filter: &Filter,
) -> Result<(Vec<Difference>, Result<(), Error>), Error> {
    let (base, rules, folder) = (Base::of(old).await?, filter.rules(), folder.to_owned());
    blocking(move || {
        let mut walked = walk(&folder, &rules)?;
        let mut found = Vec::new();
        let keep = |one: working::Difference<'_>| {
            let (path, old) = (one.path.clone(), one.old.cloned());
            found.push(Difference { path, old, new: one.found.map(entry) });
            Ok(())
        };
        differences(&folder, &mut walked, base, keep)?;
        found.sort_by_key(|difference| difference.path.key());
        let unreadable = match walked.unreadable.as_slice() {
            [] => Ok(()),
            unreadable => Err(Error::unreadable(unreadable)),
        };
        Ok((found, unreadable))
    })
    .await
}

/// Returns what is known of a name in a folder without reading it: no hashes, and no change that set it.
fn entry(found: &Found) -> Entry {
    match found.kind {
        Kind::Directory => Entry::directory(found.mode, found.mtime),
        Kind::Symlink => Entry::symlink(found.target.clone(), found.mtime),
        Kind::File => {
            let (kind, size) = (Kind::File, found.size);
            Entry { kind, size, ..Entry::directory(found.mode, found.mtime) }
        }
    }
}
