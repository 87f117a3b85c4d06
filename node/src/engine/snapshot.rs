//! Reading one version of a drive: an entry, the bytes of a file.
//!
//! Elsewhere: entries in the order of their keys (`pages`).

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use datnode_drive::{DrivePath, Entry, FeedRange, Version, byte_ranges};
use datnode_feed::{Bitfield, FeedSlot, Seek, StoreError};
use datnode_proto::{Order, Target, Want};

use super::drive::{Drive, Link, StoreView, URGENT};
use super::hub::Wanted;
use super::patience::{Patience, Reach};
use super::worker::Worker;
use crate::control::{Question, ask};
use crate::error::Error;

/// How often it is looked whether a process of this computer has told what it holds: that takes a moment.
const ANSWER_LOOK: Duration = Duration::from_millis(2);
/// How far ahead of the cursor a reader asks, in bytes.
const READ_AHEAD: u64 = 8 << 20;

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
        if matches!(drive.patience.reach, Reach::Folder(_) | Reach::Network) {
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
        let Some(content) = &self.content else { return Ok(()) };
        for part in byte_ranges(entry, range) {
            self.read_part(content, part, &mut each).await?;
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
                drive.hub.want(content.id, Want { priority: URGENT, order, ..Want::new(target) })
            });
            let changed = async { news.changed().await.is_ok() };
            if !drive.patience.wait(&drive.hub, changed).await? {
                return Err(Error::interrupted());
            }
        }
    }

    /// Has the process that has the folder open fetch the next of some bytes, as far as it lacks them; returns where they end.
    async fn have_fetched(&self, bytes: Range<u64>) -> Result<u64, Error> {
        let Patience { reach: Reach::Owner { socket, locked }, wait, .. } = &self.drive.patience
        else {
            return Ok(bytes.end);
        };
        let (start, end) = (bytes.start, bytes.end.min(bytes.start + READ_AHEAD));
        let question = Question::Fetch { start, end };
        let fetched = ask(socket, &question);
        match wait {
            None => fetched.await?,
            Some(wait) => tokio::time::timeout(*wait, fetched).await.map_err(|_| {
                locked.clone().context("it could not get what is missing in time")
            })??,
        };
        Ok(end)
    }

    async fn read_part(
        &self,
        content: &Link,
        part: FeedRange,
        each: &mut impl AsyncFnMut(Vec<u8>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (mut at, end) = (part.bytes.start, part.bytes.end);
        let mut news = content.news.clone();
        let mut window = Window { asked: at, end, wants: Vec::new() };
        let mut fetched = at;
        while at < end {
            if at >= fetched {
                fetched = self.have_fetched(at..end).await?;
            }
            // Seen before looking: news that come while we look wake us up afterwards.
            news.borrow_and_update();
            let slot = content.slot;
            let found = self.drive.store.query(move |worker| worker.bytes_at(slot, at..end)).await;
            if let Some(bytes) = found.map_err(Error::store)? {
                at += bytes.len() as u64;
                each(bytes).await?;
                if window.is_open() {
                    window.follow(self, content, at);
                }
                continue;
            }
            window.follow(self, content, at);
            let changed = async { news.changed().await.is_ok() };
            if !self.drive.patience.wait(&self.drive.hub, changed).await? {
                return Err(Error::interrupted());
            }
        }
        Ok(())
    }
}

/// The wants ahead of a cursor: at most two windows, so that one is under way while the other is read.
struct Window {
    asked: u64,
    end: u64,
    wants: Vec<Wanted>,
}

impl Window {
    fn is_open(&self) -> bool {
        !self.wants.is_empty()
    }

    fn follow(&mut self, snapshot: &Snapshot, content: &Link, at: u64) {
        if self.asked >= self.end || self.asked > at + READ_AHEAD / 2 {
            return;
        }
        let start = self.asked.max(at);
        let end = self.end.min(start + READ_AHEAD);
        let want =
            Want { priority: URGENT, order: Order::Linear, ..Want::new(Target::Bytes(start..end)) };
        self.wants.push(snapshot.drive.hub.want(content.id, want));
        if self.wants.len() > 2 {
            self.wants.remove(0);
        }
        self.asked = end;
    }
}

impl Worker {
    /// Returns where the first of some bytes of a feed are that are not here.
    fn first_missing(
        &mut self,
        slot: FeedSlot,
        range: Range<u64>,
    ) -> Result<Option<u64>, StoreError> {
        let mut at = range.start;
        while at < range.end {
            let Seek::Block { block, offset } = self.store.seek(slot, at)? else {
                return Ok(Some(at));
            };
            match self.store.leaf(slot, block)? {
                Some(leaf) if self.store.have(slot).contains(block.0) => at += leaf.size - offset,
                _ => return Ok(Some(at)),
            }
        }
        Ok(None)
    }

    /// Returns the first of some bytes of a feed that are here, up to the end of their block.
    fn bytes_at(
        &mut self,
        slot: FeedSlot,
        range: Range<u64>,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let Seek::Block { block, offset } = self.store.seek(slot, range.start)? else {
            return Ok(None);
        };
        if !self.store.have(slot).contains(block.0) {
            return Ok(None);
        }
        let Some(mut bytes) = self.store.read(slot, block)? else { return Ok(None) };
        let start =
            usize::try_from(offset).expect("an offset within a block is small").min(bytes.len());
        bytes.drain(..start);
        bytes.truncate(usize::try_from(range.end - range.start).unwrap_or(usize::MAX));
        // What is in a folder is its owner's.
        let is_ours = !self.store.storage().is_lasting();
        if is_ours && range.end > range.start + bytes.len() as u64 {
            self.store.forget(slot, block.0..block.0 + 1);
        }
        Ok(Some(bytes))
    }
}
