//! A version and those that were landed before it, side by side in the order of their keys, a window at a time.

use std::sync::{Arc, OnceLock};
use std::vec::IntoIter;

use datnode_drive::{Difference, DrivePath, Entry, Key, Kind, Version};
use datnode_feed::{FeedSlot, Storage, Store};

use super::pages::Pages;
use super::snapshot::Snapshot;
use crate::address::VersionSpec;
use crate::choice::{Choice, Chooser};
use crate::error::Error;
use crate::landing::{Before, Dropped, Index, Item, Left, WINDOW_ENTRIES, Was};

/// The versions whose files may be in the folder.
#[derive(Clone, Default)]
pub(super) struct Earlier {
    versions: Arc<[Before]>,
    snapshots: Arc<[Snapshot]>,
}

/// What of a version is to land, and beside what.
#[derive(Clone)]
pub(super) struct Aim {
    pub(super) scope: DrivePath,
    pub(super) chooser: Arc<Chooser>,
    pub(super) earlier: Earlier,
    /// What differs from the only earlier version, if nothing else need be looked at.
    pub(super) only: Option<Arc<[Difference]>>,
}

/// The version that lands and those before it, as the store's thread reads them.
pub(super) struct Versions {
    changes: FeedSlot,
    content: Option<FeedSlot>,
    now: Arc<Version>,
    before: Arc<[Before]>,
    chooser: Arc<Chooser>,
}

impl Versions {
    /// Returns their indexes.
    pub(super) fn index<'a, S: Storage>(&'a self, store: &'a mut Store<S>) -> Index<'a, S> {
        Index::new(store, (self.changes, self.content), &self.now, &self.before, &self.chooser)
    }
}

impl Earlier {
    /// Takes a version that is all here.
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let before = Before { version: snapshot.version.clone(), until: Arc::default() };
        Self { versions: [before].into(), snapshots: [snapshot.clone()].into() }
    }

    /// Tells whether nothing was landed before that can be read.
    pub(super) fn is_empty(&self) -> bool {
        self.versions.is_empty()
    }

    /// Returns the number of one of these versions.
    pub(super) fn number(&self, place: usize) -> u64 {
        self.versions[place].version.number
    }
}

impl Aim {
    /// Returns the earlier versions together with the one that lands.
    pub(super) fn with(&self, now: &Snapshot) -> Versions {
        let (changes, before) = (now.drive.changes.slot, self.earlier.versions.clone());
        let content = now.content.as_ref().map(|content| content.slot);
        let chooser = self.chooser.clone();
        Versions { changes, content, now: now.version.clone(), before, chooser }
    }
}

/// What lands, and what was landed before.
pub(super) struct Windows {
    snapshot: Snapshot,
    scope: DrivePath,
    chooser: Arc<Chooser>,
    /// The pass whose entries come; those of all if none is said.
    pass: Option<usize>,
    /// How many entries that land were met.
    count: u64,
    /// The folder of the last entry.
    folder: Option<DrivePath>,
    now: Stream,
    before: Vec<(Stream, Before)>,
}

/// A name and what is under it, in this version and in those before.
struct Merged {
    path: DrivePath,
    entry: Option<Entry>,
    /// Each with the first version that had it, by its place.
    was: Vec<(Was, usize)>,
}

impl Merged {
    fn was(self) -> Vec<Was> {
        self.was.into_iter().map(|(was, _)| was).collect()
    }
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

    /// Prepares a choice for what is at `scope`: finds the folders above what is included, here and in earlier versions.
    ///
    /// # Errors
    /// E-USAGE for a glob that is none, and those of [`Drive::latest`](super::Drive::latest).
    pub(super) async fn choose(
        &self,
        choice: &Choice,
        scope: &DrivePath,
        earlier: &Earlier,
    ) -> Result<Arc<Chooser>, Error> {
        let mut chooser = Chooser::of(choice)?;
        if chooser.narrows() {
            self.note_above(scope, &mut chooser).await?;
            for (snapshot, before) in earlier.snapshots.iter().zip(&*earlier.versions) {
                // As far as it goes: what is behind that counts as the user's.
                if let Err(error) = snapshot.note_above(scope, &mut chooser).await {
                    not_here(before.version.number, &error);
                }
            }
        }
        Ok(Arc::new(chooser))
    }

    async fn note_above(&self, scope: &DrivePath, chooser: &mut Chooser) -> Result<(), Error> {
        let mut pages = Pages::at(self, scope);
        while let Some(page) = pages.next().await? {
            page.iter().for_each(|(path, entry)| chooser.note_above(path, entry.kind));
        }
        Ok(())
    }
}

impl Windows {
    /// Begins with the first entry at or below what is wanted, or of a folder above it.
    pub(super) fn new(snapshot: &Snapshot, aim: &Aim) -> Self {
        let Aim { scope, chooser, earlier, only } = aim.clone();
        let stream = |snapshot, side: fn(&Difference) -> &Option<Entry>| match &only {
            Some(only) => Stream::of(only, side),
            None => Stream::new(Pages::at(snapshot, &scope)),
        };
        let before = earlier.snapshots.iter().zip(&*earlier.versions);
        let was = |snapshot| stream(snapshot, |difference| &difference.old);
        let before = before.map(|(snapshot, before)| (was(snapshot), before.clone())).collect();
        let now = stream(snapshot, |difference| &difference.new);
        let snapshot = snapshot.clone();
        Self { snapshot, scope, chooser, pass: None, count: 0, folder: None, now, before }
    }

    /// Gives the entries of one pass alone.
    pub(super) fn of_pass(self, pass: usize) -> Self {
        Self { pass: Some(pass), ..self }
    }

    /// Returns the next entries of this version that land.
    ///
    /// # Errors
    /// Those of [`Drive::latest`](super::Drive::latest).
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Item>>, Error> {
        let mut window = Vec::new();
        while window.len() < WINDOW_ENTRIES {
            let Some(mut merged) = self.merge().await? else { break };
            let Some(entry) = merged.entry.take() else { continue };
            let (path, number) = (merged.path.clone(), self.count);
            if !self.chooser.takes(&path, entry.kind) {
                continue;
            }
            self.count += 1;
            if self.pass.is_some_and(|pass| pass != self.chooser.pass(&path, entry.kind)) {
                continue;
            }
            self.fetch_above(&path).await?;
            window.push(Item { number, path, entry, was: merged.was() });
        }
        Ok((!window.is_empty()).then_some(window))
    }

    /// Returns the next names that were dropped: those that this version has not, or that may not land. What is left out is not
    /// among them.
    ///
    /// # Errors
    /// Those of [`Drive::latest`](super::Drive::latest).
    pub(super) async fn next_dropped(
        &mut self,
        refused: impl Fn(&DrivePath) -> bool,
    ) -> Result<Option<Vec<Dropped>>, Error> {
        let mut window = Vec::new();
        while window.len() < WINDOW_ENTRIES {
            let Some(merged) = self.merge().await? else { break };
            let dropped = merged.entry.is_none() || refused(&merged.path);
            if !merged.was.is_empty() && dropped && self.takes_any(&merged) {
                window.push(Dropped { path: merged.path.clone(), was: merged.was() });
            }
        }
        Ok((!window.is_empty()).then_some(window))
    }

    /// Returns the next names of earlier versions that are left out.
    ///
    /// # Errors
    /// Those of [`Drive::latest`](super::Drive::latest).
    pub(super) async fn next_left(&mut self) -> Result<Option<Vec<Left>>, Error> {
        let mut window = Vec::new();
        while window.len() < WINDOW_ENTRIES {
            let Some(merged) = self.merge().await? else { break };
            if !merged.was.is_empty() && !self.takes_any(&merged) {
                window.push(Left { path: merged.path, was: merged.was });
            }
        }
        Ok((!window.is_empty()).then_some(window))
    }

    /// Tells whether a name is taken as one of the kinds that it had.
    fn takes_any(&self, merged: &Merged) -> bool {
        let kind = |was: &Was| match was {
            Was::File { .. } => Kind::File,
            Was::Symlink(_) => Kind::Symlink,
            Was::Directory => Kind::Directory,
        };
        merged.was.iter().any(|(was, _)| self.chooser.takes(&merged.path, kind(was)))
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
        for (place, (stream, _)) in self.before.iter_mut().enumerate() {
            let Some(head) = stream.take(&key) else { continue };
            let was = Was::from(&head.entry);
            let merged =
                merged.get_or_insert(Merged { path: head.path, entry: None, was: Vec::new() });
            if merged.was.iter().all(|(other, _)| *other != was) {
                merged.was.push((was, place));
            }
        }
        Ok(merged)
    }
}

/// One version, an entry at a time.
struct Stream {
    /// Where more comes from.
    pages: Option<Pages>,
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
        Self { pages: Some(pages), ..Self::of(&[], |difference| &difference.new) }
    }

    /// Gives one side of some differences.
    fn of(only: &[Difference], side: impl Fn(&Difference) -> &Option<Entry>) -> Self {
        let entry = |one: &Difference| Some((one.path.clone(), side(one).clone()?));
        let page: Vec<_> = only.iter().filter_map(entry).collect();
        let last = DrivePath::root().key();
        Self { pages: None, page: page.into_iter(), head: None, last, ended: false }
    }

    /// Reads the next entry, if there is one.
    async fn fill(&mut self) -> Result<(), Error> {
        while self.head.is_none() && !self.ended {
            match self.page.next() {
                Some((path, entry)) => self.head = Some(Head { key: path.key(), path, entry }),
                None => {
                    let next = match &mut self.pages {
                        Some(pages) => pages.next().await?,
                        None => None,
                    };
                    match next {
                        Some(page) => self.page = page.into_iter(),
                        None => self.ended = true,
                    }
                }
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
