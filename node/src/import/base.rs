//! What a writer's own version says: all of its index is here.

use std::collections::VecDeque;

use datnode_drive::{DrivePath, Entry, Key, Reading, Step, Version};
use datnode_feed::{BlockIndex, FeedSlot, Storage, Store, StoreError};

use crate::error::Error;
use crate::view::View;

/// How many entries are read at a time.
const PAGE: usize = 4_096;

/// Returns the latest version that is here, of a store that holds the changes feed.
///
/// # Errors
/// E-VERIFY if its block is not here or damaged, and what the store says.
pub fn latest<S: Storage>(store: &mut Store<S>, changes: FeedSlot) -> Result<Version, Error> {
    let last = BlockIndex(store.length(changes).saturating_sub(1));
    match Version::open(&View::new(store, changes, None), last).map_err(Error::damaged)? {
        Step::Done(version) => Ok(version),
        Step::Need(_) => Err(Error::verify("the latest change is not here")),
    }
}

/// What a version has under some names or all, in the order of the keys.
pub(super) struct Known {
    page: VecDeque<(Key, Entry)>,
    /// The version, and behind which key more of it comes; nothing if the page is all there is.
    more: Option<(Version, Option<Key>)>,
}

impl Known {
    /// Everything in a version, a page at a time.
    pub(super) fn all(version: &Version) -> Self {
        Self { page: VecDeque::new(), more: Some((version.clone(), None)) }
    }

    /// These, in the order of their keys.
    pub(super) fn listed(entries: impl IntoIterator<Item = (Key, Entry)>) -> Self {
        Self { page: entries.into_iter().collect(), more: None }
    }

    /// Returns the next entry, unless its key is greater than `last`; without a last one every entry comes.
    ///
    /// # Errors
    /// What the store says.
    pub(super) fn next_until<S: Storage>(
        &mut self,
        store: &mut Store<S>,
        changes: FeedSlot,
        last: Option<&Key>,
    ) -> Result<Option<(Key, Entry)>, Error> {
        if self.page.is_empty()
            && let Some((version, after)) = self.more.take()
        {
            let page = here(version.walk(&View::new(store, changes, None), after.as_ref(), PAGE))?;
            self.page = page.into_iter().map(|(path, entry)| (path.key(), entry)).collect();
            self.more = self.page.back().map(|(key, _)| (version, Some(key.clone())));
        }
        let comes = self.page.front().is_some_and(|(key, _)| last.is_none_or(|last| key <= last));
        Ok(if comes { self.page.pop_front() } else { None })
    }
}

/// Returns the entry of a path; the root has none.
///
/// # Errors
/// What the store says.
pub fn entry<S: Storage>(
    store: &mut Store<S>,
    changes: FeedSlot,
    base: &Version,
    path: &DrivePath,
) -> Result<Option<Entry>, Error> {
    if path.is_root() {
        return Ok(None);
    }
    here(base.entry(&View::new(store, changes, None), path))
}

/// Returns what is at a path, and all that is in it.
///
/// # Errors
/// What the store says.
pub fn below<S: Storage>(
    store: &mut Store<S>,
    changes: FeedSlot,
    base: &Version,
    path: &DrivePath,
) -> Result<Vec<(DrivePath, Entry)>, Error> {
    let own = entry(store, changes, base, path)?;
    let mut all: Vec<_> = own.map(|entry| (path.clone(), entry)).into_iter().collect();
    let view = View::new(store, changes, None);
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = here(base.list(&view, path, after.as_deref(), PAGE))?;
        let Some((last, _)) = page.last() else { break };
        after = Some(last.clone());
        for (name, entry) in page {
            let path = path.join(&name).map_err(|error| Error::usage(error.to_string()))?;
            all.push((path, entry));
        }
    }
    let mut after = None;
    loop {
        let page = here(base.walk_deeper(&view, path, after.as_ref(), PAGE))?;
        let Some((last, _)) = page.last() else { return Ok(all) };
        after = Some(last.key());
        all.extend(page);
    }
}

/// Takes what was read of a writer's own index.
///
/// # Errors
/// E-VERIFY if it is damaged, or not all here.
pub fn here<T>(read: Reading<T, StoreError>) -> Result<T, Error> {
    match read.map_err(Error::damaged)? {
        Step::Done(value) => Ok(value),
        Step::Need(_) => Err(incomplete()),
    }
}

pub(super) fn incomplete() -> Error {
    Error::verify("a writer's own index is not all here")
}
