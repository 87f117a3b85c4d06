//! A version and those that were landed before it, side by side in the order of their keys, a window at a time.

use std::sync::{Arc, OnceLock};
use std::vec::IntoIter;

use datnode_drive::{DrivePath, Entry, Key, Version};
use datnode_feed::{FeedSlot, Storage, Store};

use super::pages::Pages;
use super::snapshot::Snapshot;
use crate::address::VersionSpec;
use crate::error::Error;
use crate::landing::{Before, Dropped, Index, Item, WINDOW_ENTRIES, Was};

/// The versions whose files may be in the folder.
#[derive(Clone, Default)]
pub(super) struct Earlier {
    versions: Arc<[Before]>,
    snapshots: Arc<[Snapshot]>,
}

/// The version that lands and those before it, as the store's thread reads them.
pub(super) struct Versions {
    changes: FeedSlot,
    content: Option<FeedSlot>,
    now: Arc<Version>,
    before: Arc<[Before]>,
}

impl Versions {
    /// Returns their indexes.
    pub(super) fn index<'a, S: Storage>(&'a self, store: &'a mut Store<S>) -> Index<'a, S> {
        Index::new(store, (self.changes, self.content), &self.now, &self.before)
    }
}

impl Earlier {
    /// Returns these versions together with the one that lands.
    pub(super) fn with(&self, now: &Snapshot) -> Versions {
        let (changes, before) = (now.drive.changes.slot, self.versions.clone());
        let content = now.content.as_ref().map(|content| content.slot);
        Versions { changes, content, now: now.version.clone(), before }
    }
}

/// What lands, and what was landed before.
pub(super) struct Windows {
    snapshot: Snapshot,
    scope: DrivePath,
    /// The folder of the last entry.
    folder: Option<DrivePath>,
    now: Stream,
    before: Vec<(Stream, Before)>,
}

/// A name and what is under it, in this version and in those before.
struct Merged {
    path: DrivePath,
    entry: Option<Entry>,
    was: Vec<Was>,
}

impl Snapshot {
    /// Returns the versions of these numbers. One that cannot be read is passed over: its files count as the user's.
    pub(super) async fn earlier(&self, numbers: &[u64]) -> Earlier {
        let (mut versions, mut snapshots) = (Vec::new(), Vec::new());
        for number in numbers {
            let read = async {
                let snapshot = self.drive.version(&VersionSpec::Number(*number)).await?;
                snapshot.fetch_index().await?;
                Ok::<_, Error>(snapshot)
            };
            match read.await {
                Ok(snapshot) => {
                    let (version, until) = (snapshot.version.clone(), Arc::new(OnceLock::new()));
                    versions.push(Before { version, until });
                    snapshots.push(snapshot);
                }
                Err(error) => not_here(*number, &error),
            }
        }
        Earlier { versions: versions.into(), snapshots: snapshots.into() }
    }
}

impl Windows {
    /// Begins with the first entry at or below `scope`, or of a folder above it.
    pub(super) fn new(snapshot: &Snapshot, scope: &DrivePath, earlier: &Earlier) -> Self {
        let stream = |snapshot| Stream::new(Pages::at(snapshot, scope));
        let before = earlier.snapshots.iter().zip(&*earlier.versions);
        let before = before.map(|(snapshot, before)| (stream(snapshot), before.clone())).collect();
        let (now, snapshot, scope) = (stream(snapshot), snapshot.clone(), scope.clone());
        Self { snapshot, scope, folder: None, now, before }
    }

    /// Returns the next entries of this version.
    ///
    /// # Errors
    /// Those of [`Drive::latest`](super::Drive::latest).
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Item>>, Error> {
        let mut window = Vec::new();
        while window.len() < WINDOW_ENTRIES {
            let Some(Merged { path, entry, was }) = self.merge().await? else { break };
            if let Some(entry) = entry {
                self.fetch_above(&path).await?;
                window.push(Item { path, entry, was });
            }
        }
        Ok((!window.is_empty()).then_some(window))
    }

    /// Returns the next names that were dropped: those that this version has not, or that may not land.
    ///
    /// # Errors
    /// Those of [`Drive::latest`](super::Drive::latest).
    pub(super) async fn next_dropped(
        &mut self,
        refused: impl Fn(&DrivePath) -> bool,
    ) -> Result<Option<Vec<Dropped>>, Error> {
        let mut window = Vec::new();
        while window.len() < WINDOW_ENTRIES {
            let Some(Merged { path, entry, was }) = self.merge().await? else { break };
            if !was.is_empty() && (entry.is_none() || refused(&path)) {
                window.push(Dropped { path, was });
            }
        }
        Ok((!window.is_empty()).then_some(window))
    }

    /// Fetches what the index says of the folders of a name, if that is not here with all of the index.
    async fn fetch_above(&mut self, path: &DrivePath) -> Result<(), Error> {
        if self.scope.is_root() || path.parent() == self.folder {
            return Ok(());
        }
        self.folder = path.parent();
        let above = std::iter::successors(self.folder.clone(), DrivePath::parent);
        for folder in above.take_while(|folder| folder.is_within(&self.scope)) {
            self.snapshot.entry(&folder).await?;
        }
        Ok(())
    }

    /// Takes the least name of all.
    async fn merge(&mut self) -> Result<Option<Merged>, Error> {
        if self.now.head.is_none() {
            self.now.fill().await?;
        }
        for (stream, before) in &mut self.before {
            if stream.head.is_none() {
                stream.fill_as_far_as_it_goes(before).await;
            }
        }
        let before = self.before.iter().map(|(stream, _)| stream);
        let heads =
            std::iter::once(&self.now).chain(before).filter_map(|stream| stream.head.as_ref());
        let Some(key) = heads.map(|head| &head.key).min().cloned() else { return Ok(None) };
        let now = self.now.take(&key);
        let mut merged =
            now.map(|head| Merged { path: head.path, entry: Some(head.entry), was: Vec::new() });
        for (stream, _) in &mut self.before {
            let Some(head) = stream.take(&key) else { continue };
            let was = Was::from(&head.entry);
            let merged =
                merged.get_or_insert(Merged { path: head.path, entry: None, was: Vec::new() });
            if !merged.was.contains(&was) {
                merged.was.push(was);
            }
        }
        Ok(merged)
    }
}

/// One version, an entry at a time.
struct Stream {
    pages: Pages,
    page: IntoIter<(DrivePath, Entry)>,
    head: Option<Head>,
    last: Key,
    ended: bool,
}

/// The entry that comes next.
struct Head {
    key: Key,
    path: DrivePath,
    entry: Entry,
}

impl Stream {
    fn new(pages: Pages) -> Self {
        let last = DrivePath::root().key();
        Self { pages, page: Vec::new().into_iter(), head: None, last, ended: false }
    }

    /// Reads the next entry, if there is one.
    async fn fill(&mut self) -> Result<(), Error> {
        while self.head.is_none() && !self.ended {
            match self.page.next() {
                Some((path, entry)) => self.head = Some(Head { key: path.key(), path, entry }),
                None => match self.pages.next().await? {
                    Some(page) => self.page = page.into_iter(),
                    None => self.ended = true,
                },
            }
        }
        Ok(())
    }

    /// Reads the next entry of an earlier version, up to the first that cannot be read.
    async fn fill_as_far_as_it_goes(&mut self, before: &Before) {
        if let Err(error) = self.fill().await {
            not_here(before.version.number, &error);
            // The same in each pass: what was ours once would be the user's later.
            let _ = before.until.set(self.last.clone());
            self.ended = true;
        }
        if self.head.as_ref().is_some_and(|head| !before.reaches(&head.key)) {
            (self.head, self.ended) = (None, true);
        }
    }

    fn take(&mut self, key: &Key) -> Option<Head> {
        let head = self.head.take_if(|head| head.key == *key)?;
        self.last = head.key.clone();
        Some(head)
    }
}

fn not_here(number: u64, error: &Error) {
    tracing::debug!(error = error.message(), number, "an earlier version is not all here");
}
