//! What the version says of single names, and what those say that were landed before it: for names that are not in the window.
//!
//! Elsewhere: everything in the order of its keys (`engine::windows`).

use std::sync::{Arc, OnceLock};

use datnode_drive::{DrivePath, Entry, Extent, Key, Reading, Step, Version};
use datnode_feed::{FeedSlot, Storage, Store, StoreError};

use super::earlier::Was;
use crate::choice::Chooser;
use crate::error::Error;
use crate::view::View;

/// How many entries of a folder are read at a time.
const PAGE: usize = 1_000;

/// A version that was landed here before, as far as it can be read.
#[derive(Clone, Debug)]
pub struct Before {
    /// The version.
    pub version: Arc<Version>,
    /// The last key that could be read, once one could not: what is behind it counts as the user's.
    pub until: Arc<OnceLock<Key>>,
}

impl Before {
    /// Tells whether an entry of this key is taken into account.
    pub fn reaches(&self, key: &Key) -> bool {
        self.until.get().is_none_or(|until| key <= until)
    }
}

/// The version that lands, and those before it, in a store that has their indexes.
pub struct Index<'a, S> {
    view: View<'a, S>,
    content: Option<FeedSlot>,
    now: &'a Version,
    before: &'a [Before],
    chooser: &'a Chooser,
}

impl<'a, S: Storage> Index<'a, S> {
    /// Reads them from a store whose feed `changes` they are in; the bytes of their files are in `content`.
    pub fn new(
        store: &'a mut Store<S>,
        (changes, content): (FeedSlot, Option<FeedSlot>),
        now: &'a Version,
        before: &'a [Before],
        chooser: &'a Chooser,
    ) -> Self {
        Self { view: View::new(store, changes, None), content, now, before, chooser }
    }

    /// Tells whether the store has all blocks of an entry: what it has was durable before it was claimed.
    pub(super) fn holds(&self, entry: &Entry) -> bool {
        let store = self.view.store.borrow();
        let held = |blocks| self.content.is_some_and(|slot| store.have(slot).all(blocks));
        entry.extents.iter().map(Extent::blocks).all(held)
    }

    /// Returns what the version has under a name.
    pub(super) fn entry(&self, path: &DrivePath) -> Result<Option<Entry>, Error> {
        whole(self.now.entry(&self.view, path))
    }

    /// Returns the entries of a folder.
    pub(super) fn list(&self, folder: &DrivePath) -> Result<Vec<(Vec<u8>, Entry)>, Error> {
        let mut all: Vec<(Vec<u8>, Entry)> = Vec::new();
        loop {
            let after = all.last().map(|(name, _)| name.as_slice());
            let page = whole(self.now.list(&self.view, folder, after, PAGE))?;
            if page.is_empty() {
                return Ok(all);
            }
            all.extend(page);
        }
    }

    /// Returns what was put under a name; what cannot be read was not, and what is left out is no longer ours.
    pub(super) fn was(&self, path: &[u8]) -> Vec<Was> {
        if self.chooser.leaves_out(path) {
            return Vec::new();
        }
        let Ok(path) = DrivePath::from_bytes(path) else { return Vec::new() };
        let key = path.key();
        let before = self.before.iter().filter(|before| before.reaches(&key));
        let entry = |before: &Before| whole(before.version.entry(&self.view, &path)).ok().flatten();
        before.filter_map(entry).map(|entry| Was::from(&entry)).collect()
    }
}

/// Returns what was read, if all of it was here.
fn whole<T>(read: Reading<T, StoreError>) -> Result<T, Error> {
    match read.map_err(Error::damaged)? {
        Step::Done(value) => Ok(value),
        Step::Need(_) => Err(Error::verify("a block of the index was lost meanwhile")),
    }
}
