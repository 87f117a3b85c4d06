//! Reading one version of a drive: an entry, the bytes of a file.
//!
//! Elsewhere: entries in the order of their keys (`pages`), a place in a file (`cursor`).

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use datnode_drive::{DrivePath, Entry, Extent, Version};
use datnode_feed::Bitfield;
use datnode_proto::{Order, Target, Want};

use super::cursor::ByteCursor;
use super::drive::{Drive, Link, StoreView, URGENT};
use super::feed::{Feed, Options};
use super::hub::Selection;
use super::patience::Reach;
use crate::error::Error;

/// How often it is looked whether a process of this computer has told what it holds: that takes a moment.
const ANSWER_LOOK: Duration = Duration::from_millis(2);

/// A version of a drive with the feed that holds its content; reads go through it.
#[derive(Clone)]
pub struct Snapshot {
    /// The drive.
    pub drive: Drive,
    /// The version.
    pub version: Arc<Version>,
    /// The content feed; `None` for the empty version 0, which names none.
    pub content: Option<Link>,
}

impl Snapshot {
    /// Returns the version before this one.
    ///
    /// # Errors
    /// Those of [`Drive::latest`].
    pub async fn previous(&self) -> Result<Option<Self>, Error> {
        let version = self.version.clone();
        match self.drive.ask(None, move |view| version.previous(view)).await? {
            Some(version) => Ok(Some(self.drive.snapshot(version).await?)),
            None => Ok(None),
        }
    }

    /// Returns the content blocks that are here; for a store that another process has open, those that are there.
    ///
    /// # Errors
    /// Those of [`Patience::wait`](super::Patience::wait), if that process does not answer.
    pub async fn held(&self) -> Result<Bitfield, Error> {
        let Some(content) = &self.content else { return Ok(Bitfield::new()) };
        let (drive, slot) = (&self.drive, content.slot);
        if matches!(drive.patience.reach, Reach::Folder(_) | Reach::Own(_) | Reach::Network) {
            return Ok(drive.store.query(move |worker| worker.store.have(slot).clone()).await);
        }
        let told = async {
            loop {
                match drive.hub.in_reach(content.id) {
                    Some(blocks) => return blocks,
                    None => tokio::time::sleep(ANSWER_LOOK).await,
                }
            }
        };
        drive.patience.wait(&drive.hub, told).await
    }

    /// Returns the entry of a path.
    ///
    /// # Errors
    /// Those of [`Drive::latest`].
    pub async fn entry(&self, path: &DrivePath) -> Result<Option<Entry>, Error> {
        let (version, path) = (self.version.clone(), path.clone());
        self.drive.ask(None, move |view| version.entry(view, &path)).await
    }

    /// Returns the entry of a path; none for the root, which has none.
    ///
    /// # Errors
    /// Those of [`Drive::latest`].
    pub async fn entry_or_root(&self, path: &DrivePath) -> Result<Option<Entry>, Error> {
        if path.is_root() { Ok(None) } else { self.entry(path).await }
    }

    /// Tells whether a path has an entry, or is a folder without one: something is in it.
    ///
    /// # Errors
    /// Those of [`Drive::latest`].
    pub async fn has(&self, path: &DrivePath) -> Result<bool, Error> {
        if path.is_root() || self.entry(path).await?.is_some() {
            return Ok(true);
        }
        let (version, folder) = (self.version.clone(), path.clone());
        let direct = move |view: &StoreView<'_>| version.list(view, &folder, None, 1);
        if !self.drive.ask(None, direct).await?.is_empty() {
            return Ok(true);
        }
        let (version, folder) = (self.version.clone(), path.clone());
        let deeper = move |view: &StoreView<'_>| version.walk_deeper(view, &folder, None, 1);
        Ok(!self.drive.ask(None, deeper).await?.is_empty())
    }

    /// Returns the feed of content.
    pub fn feed(&self) -> Option<Feed> {
        let content = self.content.clone()?;
        Some(Feed::of(self.drive.hub.clone(), self.drive.store.clone(), content))
    }

    /// Wants a whole file in some way, until it is here or what is returned is dropped.
    pub fn prioritize(&self, file: &Entry, options: Options) -> Option<Selection> {
        let blocks = file.extents.iter();
        let blocks = blocks.map(Extent::blocks);
        Some(self.feed()?.prioritize_all(blocks.collect(), options))
    }

    /// Opens a cursor on the bytes of a file, which may be here or not.
    pub fn cursor(&self, entry: &Entry) -> ByteCursor {
        ByteCursor::new(self, entry)
    }

    /// Gives the bytes of `range` of a file to `each`, in order, as they become available.
    ///
    /// Only the blocks that hold them are fetched. In memory, blocks are dropped again once they were read.
    ///
    /// # Errors
    /// Those of [`Drive::latest`], and what `each` says.
    pub async fn read(
        &self,
        entry: &Entry,
        range: Range<u64>,
        mut each: impl AsyncFnMut(Vec<u8>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut cursor = self.cursor(entry);
        cursor.limit(range);
        while let Some(bytes) = cursor.next().await? {
            each(bytes).await?;
        }
        Ok(())
    }

    /// Fetches bytes of the content before anything else, as far as they are not here, and waits for them.
    ///
    /// # Errors
    /// Those of [`Drive::latest`].
    pub async fn bring(&self, bytes: Range<u64>) -> Result<(), Error> {
        let Some(content) = &self.content else { return Ok(()) };
        let (drive, slot) = (&self.drive, content.slot);
        let (mut news, mut wanted) = (content.news.clone(), None);
        loop {
            // Seen before looking: news that come while we look wake us up afterwards.
            news.borrow_and_update();
            let range = bytes.clone();
            let missing = drive.store.query(move |worker| worker.first_missing(slot, range)).await;
            let Some(at) = missing.map_err(Error::store)? else { return Ok(()) };
            wanted.get_or_insert_with(|| {
                let (target, order) = (Target::Bytes(at..bytes.end), Order::Linear);
                let want = Want { priority: URGENT, order, ..Want::new(target) };
                drive.hub.want(content.id, want)
            });
            let changed = async { news.changed().await.is_ok() };
            if !drive.patience.wait(&drive.hub, changed).await? {
                return Err(Error::interrupted());
            }
        }
    }
}
