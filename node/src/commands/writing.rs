//! A drive that is written here: opened with its secret key, checked before anything is signed.

use std::path::Path;

use datnode_drive::Version;
use datnode_feed::{FeedSlot, PublicKey};

use super::context::{disk, read_key, write_key};
use crate::address::key::hex;
use crate::dirs::Dirs;
use crate::engine::AnyStore;
use crate::error::Error;
use crate::home::Home;
use crate::import::{Writer, create, latest};
use crate::keys::DriveKeys;
use crate::pen::writer;

/// The store of a folder.
pub(super) enum Own {
    /// With the keys to write to it.
    Written(Box<Written>),
    /// Without: it can be served and read.
    Read(Box<AnyStore>, PublicKey),
}

/// A store that may be written to.
pub(super) struct Written {
    pub(super) store: AnyStore,
    pub(super) keys: DriveKeys,
    pub(super) changes: FeedSlot,
    pub(super) content: FeedSlot,
    home: Home,
}

/// Opens the drive of a folder; a folder that is none becomes one, with new keys.
///
/// # Errors
/// E-LOCKED while another process has it, E-VERIFY for a store that lost its key, and what the disk says.
pub(super) fn open(dirs: &Dirs, folder: &Path) -> Result<Own, Error> {
    let store = disk(folder, true)?;
    // Only now: who had the lock before may have made the drive.
    if let Some(key) = read_key(folder)? {
        return open_known(dirs, store, key);
    }
    if let Some((_, key)) = store.feeds().next() {
        return Err(Error::verify("there is a store here, and no .dat/key that names its drive")
            .hint(format!(
                "its first feed is {}; a drive's file holds that of its changes",
                hex(&key)
            ))
            .hint("to begin a new drive, move .dat away"));
    }
    own(dirs, store, DriveKeys::create(dirs)?)
}

/// Opens the drive of a folder that is one.
///
/// # Errors
/// E-NOTDRIVE, E-LOCKED while another process has it, and what the disk says.
pub(super) fn open_existing(dirs: &Dirs, folder: &Path) -> Result<Own, Error> {
    let store = disk(folder, false)?;
    let key = read_key(folder)?.ok_or_else(|| Error::not_drive(folder))?;
    open_known(dirs, store, key)
}

fn open_known(dirs: &Dirs, store: AnyStore, key: PublicKey) -> Result<Own, Error> {
    match DriveKeys::load(dirs, &key)? {
        Some(keys) => own(dirs, store, keys),
        None => Ok(Own::Read(Box::new(store), key)),
    }
}

fn own(dirs: &Dirs, mut store: AnyStore, keys: DriveKeys) -> Result<Own, Error> {
    let key = keys.changes.public();
    let (changes, content) = (
        store.add_feed(key).map_err(Error::store)?,
        store.add_feed(keys.content.public()).map_err(Error::store)?,
    );
    store.own(changes);
    store.own(content);
    let home = Home::open(dirs, &key)?;
    Ok(Own::Written(Box::new(Written { store, keys, changes, content, home })))
}

impl Written {
    /// Returns the drive's key.
    pub(super) fn key(&self) -> PublicKey {
        self.keys.changes.public()
    }

    /// Returns the store, and what it takes to write to it.
    pub(super) fn parts(&mut self) -> (&mut AnyStore, Writer<'_>) {
        let writer = writer(&self.keys, self.changes, self.content);
        (&mut self.store, writer)
    }

    /// Checks that this folder may write the drive, begins it if it is new, and returns the version to write on.
    ///
    /// # Errors
    /// E-CONFLICT for a copy, an old backup and another history.
    pub(super) fn begin(&mut self, folder: &Path, name: Option<&str>) -> Result<Version, Error> {
        self.home.check(folder, &mut self.store, self.changes)?;
        // The key before the store knows a feed: a store without one belongs to nobody.
        if read_key(folder)?.is_none() {
            write_key(folder, &self.key())?;
        }
        if self.store.length(self.changes) == 0 {
            let of_folder = || folder.file_name().map(|name| name.to_string_lossy().into_owned());
            let name = name.map(str::to_owned).or_else(of_folder).unwrap_or_default();
            let (store, writer) = self.parts();
            create(store, &writer, &name).map_err(Error::store)?;
        }
        self.note(folder)?;
        latest(&mut self.store, self.changes)
    }

    /// Notes where the drive is written, and how far it is.
    ///
    /// # Errors
    /// What the disk says.
    pub(super) fn note(&mut self, folder: &Path) -> Result<(), Error> {
        self.store.head(self.changes).map_or(Ok(()), |head| self.home.note(folder, head))
    }
}
