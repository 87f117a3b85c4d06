//! One drive of a mirror: its folder, its store, and how far it is.
//!
//! A mirror has no working files: blocks stay in the store. One that could not go on is opened anew.
//! Elsewhere: what is asked for (`keeper`), what is checked in the background (`check`).

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use datnode_drive::Version;
use datnode_feed::PublicKey;
use tokio::sync::{Notify, mpsc};

use super::super::context::{blocking, disk, read_key, write_key};
use super::copier::Copier;
use super::history::History;
use super::keeper::Keeper;
use super::quota::Ledger;
use crate::address::Link;
use crate::cli::escape;
use crate::edit::{is_bare, make_bare};
use crate::engine::{Drive, Hub, Patience, Reach, Snapshot, start};
use crate::error::{Code, Error};

/// When a drive is opened again whose store could not go on.
const AGAIN: Duration = Duration::from_secs(10);
/// The same where the disk was full and nobody frees anything: what is fetched meanwhile is fetched in vain.
const AGAIN_FULL: Duration = Duration::from_secs(600);
/// How many bytes have to be freed for it to be sooner.
const ROOM: u64 = 1 << 20;

/// What all drives of a mirror have in common.
#[derive(Clone)]
pub(super) struct House {
    pub(super) hub: Hub,
    /// Where the folders are.
    pub(super) to: PathBuf,
    pub(super) history: History,
    /// None without a quota.
    pub(super) ledger: Option<Arc<Ledger>>,
    /// What copies from other drives.
    pub(super) copier: Arc<Copier>,
    /// Who is told what happens.
    pub(super) tell: mpsc::UnboundedSender<Event>,
}

/// Something that people and scripts are told.
#[derive(Debug)]
pub(super) enum Event {
    /// All that is wanted of a version is here, and the one before it that was had this number.
    Whole(PublicKey, Arc<Version>, u64),
    /// Blocks were not what was signed; they are fetched again.
    Damaged(PublicKey, u64),
    /// Something is wrong with a drive; it is tried again.
    Trouble(PublicKey, Error),
}

/// A drive that is mirrored.
pub(super) struct Member {
    pub(super) key: PublicKey,
    pub(super) folder: PathBuf,
    state: Mutex<State>,
    /// Tells that it is to be looked at again.
    pub(super) poke: Notify,
}

/// How far it is.
#[derive(Clone, Default)]
pub(super) struct State {
    /// While its store is open.
    pub(super) drive: Option<Drive>,
    /// What it calls itself.
    pub(super) name: Option<String>,
    /// The newest version whose index is here.
    pub(super) latest: Option<Snapshot>,
    /// The number of the newest version of which all that is wanted is, or was, here.
    pub(super) whole: Option<u64>,
    /// Blocks that are here, of those that are wanted.
    pub(super) here: u64,
    pub(super) wanted: u64,
    /// Whether some are missing for which there is no room.
    pub(super) is_full: bool,
}

impl Member {
    /// Opens the store of a drive in its folder, which is made if it is not there.
    ///
    /// # Errors
    /// E-LOCKED while another process has it, E-DIRTY if something else is in its place, and what the disk says.
    pub(super) async fn open(key: PublicKey, house: &House) -> Result<Arc<Self>, Error> {
        let member = Arc::new(Self::closed(key, house));
        member.reopen(house).await?;
        Ok(member)
    }

    /// Names a drive whose store is opened later.
    pub(super) fn closed(key: PublicKey, house: &House) -> Self {
        let folder = house.to.join(Link(&key).to_string());
        Self { key, folder, state: Mutex::default(), poke: Notify::new() }
    }

    async fn reopen(&self, house: &House) -> Result<Drive, Error> {
        let (folder, key) = (self.folder.clone(), self.key);
        let store = blocking(move || {
            let store = disk(&folder, true)?;
            settle(&folder, &key)?;
            Ok(store)
        })
        .await?;
        let link = Link(&key).to_string();
        let patience = Patience { wait: None, reach: Reach::Network, link };
        let store = start(store, house.hub.answers())?;
        let drive = Drive::open(&house.hub, store, key, patience).await?;
        // From now on the hub has it, until it is closed.
        self.state().drive = Some(drive.clone());
        if let Err(error) = drive.open_content().await {
            self.close();
            return Err(error);
        }
        Ok(drive)
    }

    /// Keeps the drive, for ever. A store that could not go on is opened anew.
    pub(super) async fn keep(self: Arc<Self>, house: House) {
        loop {
            let drive = self.state().drive.clone();
            let opened = match drive {
                Some(drive) => Ok(drive),
                None => self.reopen(&house).await,
            };
            let error = match opened {
                Ok(drive) => Keeper::new(&self, &house, drive).keep().await,
                Err(error) => error,
            };
            let free = self.free().filter(|_| error.code() == Code::Space);
            let _ = house.tell.send(Event::Trouble(self.key, error));
            self.close();
            let began = Instant::now();
            loop {
                tokio::time::sleep(AGAIN).await;
                let has_room = free.is_none_or(|free| self.free() >= Some(free + ROOM));
                if has_room || began.elapsed() >= AGAIN_FULL {
                    break;
                }
            }
        }
    }

    /// Returns how many bytes its disk has left, if it tells.
    fn free(&self) -> Option<u64> {
        crate::disk::free(File::open(&self.folder).ok()?)
    }

    /// Serves the drive no longer, and lets its store go.
    pub(super) fn close(&self) {
        let state = std::mem::take(&mut *self.state());
        if let Some(drive) = state.drive {
            drive.close();
        }
    }

    /// Has it looked whether something is missing.
    pub(super) fn poke(&self) {
        self.poke.notify_one();
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds this")
    }
}

/// Makes a folder that of a mirror, whose store is locked; refuses one that is something else.
fn settle(folder: &Path, key: &PublicKey) -> Result<(), Error> {
    match read_key(folder)? {
        None => {
            make_bare(folder)?;
            write_key(folder, key)
        }
        Some(other) if other == *key && is_bare(folder)? => Ok(()),
        Some(_) => Err(Error::new(
            Code::Dirty,
            format!("{} holds something else than a mirror of its drive", escape::path(folder)),
        )
        .hint("choose another folder with --to, or move it away")),
    }
}
