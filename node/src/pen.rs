//! What it takes to change a drive that is open: its keys, and that nobody else writes its history.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use datnode_feed::{FeedSlot, SignedHead};

use crate::dirs::Dirs;
use crate::engine::{AnyStore, Drive, Worker};
use crate::error::Error;
use crate::home::Home;
use crate::import::Writer;
use crate::keys::DriveKeys;

/// What a long change calls now and then, so that peers get meanwhile what they asked for.
pub type Between<'a> = &'a mut dyn FnMut(&mut AnyStore);

/// The right to write a drive from its folder.
#[derive(Clone)]
pub struct Pen {
    /// The secret keys.
    pub keys: Arc<DriveKeys>,
    /// The changes feed.
    pub changes: FeedSlot,
    /// The content feed.
    pub content: FeedSlot,
    /// The folder.
    pub folder: PathBuf,
    /// Where it is noted who writes.
    pub dirs: Dirs,
}

impl Pen {
    /// Returns what it takes to write to the feeds.
    pub fn writer(&self) -> Writer<'_> {
        writer(&self.keys, self.changes, self.content)
    }

    /// Changes the drive on its store's thread, and tells peers. What was begun is ended, whoever waits for it.
    ///
    /// # Errors
    /// E-CONFLICT if another folder writes the drive by now, and what `change` says; what it appended is given up then.
    pub async fn write<T: Send + 'static>(
        &self,
        drive: &Drive,
        change: impl FnOnce(&mut AnyStore, &Writer<'_>, &Path, Between<'_>) -> Result<T, Error>
        + Send
        + 'static,
    ) -> Result<T, Error> {
        let (pen, key) = (self.clone(), drive.key);
        let done = drive.store.query(move |worker: &mut Worker| {
            // A copy or an old backup may have come into the folder, or been seen elsewhere, since it was opened.
            let may = Home::open(&pen.dirs, &key)
                .and_then(|home| home.check(&pen.folder, &mut worker.store, pen.changes));
            let changed = |()| {
                let change = |store: &mut AnyStore, between: Between<'_>| {
                    change(store, &pen.writer(), &pen.folder, between)
                };
                let done = worker.change(change);
                if done.is_err() {
                    pen.give_up(&mut worker.store);
                }
                (done, worker.store.head(pen.changes).copied())
            };
            may.map_or_else(|error| (Err(error), None::<SignedHead>), changed)
        });
        // A change may have been made in part before it failed: it counts all the same.
        let (done, head) = done.await;
        if let Some(head) = head {
            Home::open(&self.dirs, &drive.key)?.note(&self.folder, &head)?;
        }
        drive.grown().await?;
        done
    }

    /// Gives up what was appended and not signed: it would be part of the next change.
    fn give_up(&self, store: &mut AnyStore) {
        for feed in [self.changes, self.content] {
            // A store that cannot give it up takes no change either, and why is what is told already.
            let _ = store.rollback(feed);
        }
    }
}

/// Returns what it takes to write to the feeds of a drive.
pub fn writer(keys: &DriveKeys, changes: FeedSlot, content: FeedSlot) -> Writer<'_> {
    Writer { changes: (changes, &keys.changes), content: (content, &keys.content) }
}
