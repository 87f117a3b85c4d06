//! The entries of a version in the order of their keys, a page at a time.
//!
//! Whoever takes them pulls: so several versions can be gone through side by side, and none of them is in memory as a whole.

use datnode_drive::{DrivePath, Entry};

use super::drive::StoreView;
use super::snapshot::Snapshot;
use crate::error::Error;

/// How many entries are asked for at a time.
const PAGE: usize = 1_000;

/// Entries of a version, from the first to the last.
pub(super) struct Pages {
    snapshot: Snapshot,
    folder: DrivePath,
    part: Part,
}

/// What comes next.
enum Part {
    /// The folder itself, and those above it.
    Above,
    /// What is directly in the folder, behind this name.
    Direct(Option<Vec<u8>>),
    /// What is deeper in it, behind this path.
    Deeper(Option<DrivePath>),
    /// Everything, behind this path.
    All(Option<DrivePath>),
    End,
}

impl Pages {
    /// Everything in a folder, what is directly in it first; the root means all of the drive.
    pub(super) fn below(snapshot: &Snapshot, folder: &DrivePath) -> Self {
        let part = if folder.is_root() { Part::All(None) } else { Part::Direct(None) };
        Self { snapshot: snapshot.clone(), folder: folder.clone(), part }
    }

    /// The same with what is at `path` itself, and the folders above it.
    pub(super) fn at(snapshot: &Snapshot, path: &DrivePath) -> Self {
        let part = if path.is_root() { Part::All(None) } else { Part::Above };
        Self { part, ..Self::below(snapshot, path) }
    }

    /// Returns the next entries, at least one; `None` behind the last one.
    ///
    /// # Errors
    /// Those of [`Drive::latest`](super::Drive::latest).
    pub(super) async fn next(&mut self) -> Result<Option<Vec<(DrivePath, Entry)>>, Error> {
        loop {
            let page = match std::mem::replace(&mut self.part, Part::End) {
                Part::Above => {
                    self.part = Part::Direct(None);
                    self.above().await?
                }
                Part::Direct(after) => {
                    let page = self.direct(after).await?;
                    let last = page.last().and_then(|(path, _)| path.base());
                    self.part = match last {
                        Some(last) => Part::Direct(Some(last.to_vec())),
                        None => Part::Deeper(None),
                    };
                    page
                }
                Part::Deeper(after) => {
                    let page = self.deeper(after).await?;
                    self.part = next(&page, Part::Deeper);
                    page
                }
                Part::All(after) => {
                    let page = self.all(after).await?;
                    self.part = next(&page, Part::All);
                    page
                }
                Part::End => return Ok(None),
            };
            if !page.is_empty() {
                return Ok(Some(page));
            }
        }
    }

    async fn above(&self) -> Result<Vec<(DrivePath, Entry)>, Error> {
        let mut entries = Vec::new();
        let line = std::iter::successors(Some(self.folder.clone()), DrivePath::parent);
        let line: Vec<_> = line.take_while(|path| !path.is_root()).collect();
        for path in line.into_iter().rev() {
            // A folder need not have an entry. SPEC 8.1
            if let Some(entry) = self.snapshot.entry(&path).await? {
                entries.push((path, entry));
            }
        }
        Ok(entries)
    }

    async fn direct(&self, after: Option<Vec<u8>>) -> Result<Vec<(DrivePath, Entry)>, Error> {
        let (version, folder) = (self.snapshot.version.clone(), self.folder.clone());
        let read = move |view: &StoreView<'_>| version.list(view, &folder, after.as_deref(), PAGE);
        let page = self.snapshot.drive.ask(None, read).await?;
        let named = page.into_iter().map(|(name, entry)| {
            let path = self.folder.join(&name);
            Ok((path.map_err(|error| Error::verify(error.to_string()))?, entry))
        });
        named.collect()
    }

    async fn deeper(&self, after: Option<DrivePath>) -> Result<Vec<(DrivePath, Entry)>, Error> {
        let (version, folder) = (self.snapshot.version.clone(), self.folder.clone());
        let after = after.map(|path| path.key());
        let read =
            move |view: &StoreView<'_>| version.walk_deeper(view, &folder, after.as_ref(), PAGE);
        self.snapshot.drive.ask(None, read).await
    }

    async fn all(&self, after: Option<DrivePath>) -> Result<Vec<(DrivePath, Entry)>, Error> {
        let version = self.snapshot.version.clone();
        let after = after.map(|path| path.key());
        let read = move |view: &StoreView<'_>| version.walk(view, after.as_ref(), PAGE);
        self.snapshot.drive.ask(None, read).await
    }
}

/// Returns what comes behind a page; nothing behind an empty one.
fn next(page: &[(DrivePath, Entry)], part: impl Fn(Option<DrivePath>) -> Part) -> Part {
    page.last().map_or(Part::End, |(last, _)| part(Some(last.clone())))
}

impl Snapshot {
    /// Fetches the whole index, a level at a time.
    ///
    /// # Errors
    /// Those of [`Drive::latest`](super::Drive::latest).
    pub(super) async fn fetch_index(&self) -> Result<(), Error> {
        let version = self.version.clone();
        self.drive.ask(None, move |view| version.needed(view)).await.map(drop)
    }

    /// Calls `each` for the entries of one folder, in order of their names.
    ///
    /// # Errors
    /// Those of [`Drive::latest`](super::Drive::latest), and what `each` says.
    pub async fn list(
        &self,
        folder: &DrivePath,
        mut each: impl FnMut(DrivePath, Entry) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let pages = Pages::below(self, folder);
        let mut after = None;
        loop {
            let page = pages.direct(after).await?;
            let Some(last) = page.last().and_then(|(path, _)| path.base()) else { return Ok(()) };
            after = Some(last.to_vec());
            page.into_iter().try_for_each(|(path, entry)| each(path, entry))?;
        }
    }

    /// Calls `each` for everything in a folder, what is directly in it first.
    ///
    /// # Errors
    /// Those of [`Drive::latest`](super::Drive::latest), and what `each` says.
    pub async fn walk_in(
        &self,
        folder: &DrivePath,
        mut each: impl FnMut(DrivePath, Entry) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if folder.is_root() {
            self.fetch_index().await?;
        }
        let mut pages = Pages::below(self, folder);
        while let Some(page) = pages.next().await? {
            page.into_iter().try_for_each(|(path, entry)| each(path, entry))?;
        }
        Ok(())
    }

    /// Calls `each` for every entry of the drive, in key order.
    ///
    /// # Errors
    /// Those of [`Drive::latest`](super::Drive::latest), and what `each` says.
    pub async fn walk(
        &self,
        each: impl FnMut(DrivePath, Entry) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.walk_in(&DrivePath::root(), each).await
    }
}
