//! What is in the folder, held against what the drive says of it: which names are put and which deleted.
//!
//! Blocks that live in place in files which are not as they were are forgotten, and found again in equal ones.
//! Elsewhere: taking one file in (`file`), the change that is made of it (`import`).

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::Ordering;

use datnode_drive::{DrivePath, Entry, Key, Kind, Op, Version};
use datnode_feed::{BlockIndex, FeedSlot, InPlace, Place, Storage, Store};

use super::ahead::Ahead;
use super::file::{Taken, Taker};
use super::walk::{Found, Walked};
use super::{Around, Facts, Progress, Writer, entries};
use crate::error::Error;

/// Bytes that are appended before they are made durable; they do not show yet.
const COMMIT_BYTES: u64 = 1 << 30;
/// How many bytes of journal records wait in memory for that: many small files have more of them than of their own bytes.
const COMMIT_STAGED_BYTES: usize = 8 << 20;
/// How many files, and bytes, are taken in before it is told how far it is.
const TELL_FILES: u64 = 256;
const TELL_BYTES: u64 = 4 << 20;

/// What is at a name, as far as it shows without opening anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// A file that looks as its entry says.
    Same,
    /// A file that has to be read.
    Other,
    /// A file that looks as it did under another name.
    Moved,
    /// No file: all that there is to say is known.
    Known,
}

/// Holds what is there against what the base has, both in key order. Returns besides how many bytes there are more than the
/// base has.
pub(super) fn looks(facts: &Facts) -> (Vec<Look>, u64) {
    let Facts { walked, known, moved, racy_from } = facts;
    let (mut known, mut more, mut gone) = (known.iter().peekable(), 0_u64, 0_u64);
    let look = |item: &Found| {
        if item.kind != Kind::File {
            return Look::Known;
        }
        let key = item.path.key();
        while let Some((_, old)) = known.next_if(|(other, _)| *other < key) {
            gone = gone.saturating_add(old.size);
        }
        let old = known.next_if(|(other, _)| *other == key);
        let unchanged = |old: &Entry| {
            old.kind == Kind::File
                && (old.size, old.mode, old.mtime) == (item.size, item.mode, item.mtime)
                && item.mtime.seconds < *racy_from
        };
        more = more.saturating_add(item.size.saturating_sub(old.map_or(0, |(_, old)| old.size)));
        match (moved.get(&key), old) {
            (Some(moved), _) if unchanged(moved) => Look::Moved,
            (None, Some((_, old))) if unchanged(old) => Look::Same,
            // Something else may have the name now that looks the same.
            _ => Look::Other,
        }
    };
    let looks = walked.found.iter().map(look).collect();
    let gone = known.fold(gone, |gone, (_, old)| gone.saturating_add(old.size));
    // What is gone may have been renamed: then it is here already.
    (looks, more.saturating_sub(gone))
}

/// An import under way.
pub(super) struct Run<'a, 'b, S> {
    pub(super) taker: Taker,
    pub(super) store: &'a mut Store<S>,
    content: FeedSlot,
    around: Around<'b, S>,
    /// How many new bytes there were at the last commit.
    uncommitted_from: u64,
    pub(super) added: u64,
    /// How many folders are different in their times alone.
    pub(super) folder_times: u64,
    pub(super) unreadable: Vec<(Vec<u8>, String)>,
    pub(super) unsteady: Vec<Vec<u8>>,
    state: Progress,
}

impl<'a, 'b, S: Storage> Run<'a, 'b, S> {
    pub(super) fn new(
        taker: Taker,
        (store, content): (&'a mut Store<S>, FeedSlot),
        files_total: u64,
        around: Around<'b, S>,
    ) -> Self {
        let state = Progress { files_total, ..Progress::default() };
        let (unreadable, unsteady) = (Vec::new(), Vec::new());
        let (uncommitted_from, added, folder_times) = (0, 0, 0);
        Self {
            taker,
            store,
            content,
            around,
            uncommitted_from,
            added,
            folder_times,
            unreadable,
            unsteady,
            state,
        }
    }

    /// Compares what is there with what the base has, both in key order.
    pub(super) fn compare(
        &mut self,
        walked: &Walked,
        looks: &[Look],
        (known, mut moved): (Vec<(Key, Entry)>, BTreeMap<Key, Entry>),
        ahead: &mut Ahead,
    ) -> Result<Vec<Op>, Error> {
        let (mut ops, mut gone) = (Vec::new(), Vec::new());
        let mut known = known.into_iter().peekable();
        for (item, look) in walked.found.iter().zip(looks) {
            self.go_on()?;
            let key = item.path.key();
            while let Some(old) = known.next_if(|(other, _)| *other < key) {
                gone.extend(delete(old, walked, &mut ops));
            }
            let old = known.next_if(|(other, _)| *other == key).map(|(_, entry)| entry);
            if *look != Look::Same {
                old.iter().try_for_each(|old| self.leave(&item.path, old))?;
            }
            let entry = match look {
                Look::Same => None,
                Look::Moved => moved.remove(&key),
                Look::Other => self.file(item, ahead)?,
                Look::Known if item.kind == Kind::Directory => {
                    Some(Entry::directory(item.mode, item.mtime))
                }
                Look::Known => Some(Entry::symlink(item.target.clone(), item.mtime)),
            };
            if let Some(entry) = entry
                && old.as_ref().is_none_or(|old| !old.is_same_as(&entry))
            {
                self.added += u64::from(old.is_none());
                self.folder_times +=
                    u64::from(old.is_some_and(|old| old.is_folder_but_for_time(&entry)));
                ops.push(Op::Put(item.path.clone(), entry));
            }
            self.state.files += 1;
            if self.state.files.is_multiple_of(TELL_FILES) {
                (self.around.progress)(self.state);
            }
        }
        (self.around.progress)(self.state);
        gone.extend(known.filter_map(|old| delete(old, walked, &mut ops)));
        // Only now: what was renamed is where it is now.
        gone.iter().try_for_each(|(path, old)| self.leave(path, old))?;
        Ok(ops)
    }

    /// Forgets blocks that were put in place in files which changed meanwhile; those that were appended count only once they are
    /// signed.
    pub(super) fn forget_void(&mut self) {
        for block in std::mem::take(&mut self.taker.void) {
            self.store.forget(self.content, block..block + 1);
        }
    }

    /// Finds blocks that are not here in files that are as `version` says: they lived in an equal file which is gone, or changes.
    pub(super) fn find_again(
        &mut self,
        writer: &Writer<'_>,
        version: &Version,
        walked: &Walked,
    ) -> Result<(), Error> {
        if self.store.have(self.content).all(0..self.store.length(self.content)) {
            return Ok(());
        }
        let unread = self.unreadable.iter().map(|(path, _)| path).chain(&self.unsteady);
        let unread: HashSet<Vec<u8>> = unread.cloned().collect();
        let known = entries(self.store, writer.changes.0, version)?;
        let mut known = known.into_iter().peekable();
        for Found { path, .. } in walked.found.iter().filter(|found| found.kind == Kind::File) {
            if unread.contains(path.as_bytes()) {
                continue;
            }
            let key = path.key();
            while known.next_if(|(other, _)| *other < key).is_some() {}
            let Some((_, entry)) = known.next_if(|(other, _)| *other == key) else { continue };
            let mut before = 0;
            for extent in &entry.extents {
                for block in extent.first_block..extent.first_block + extent.count {
                    if self.store.have(self.content).contains(block) {
                        continue;
                    }
                    let block = BlockIndex(block);
                    let begins =
                        self.store.byte_offset(self.content, block).map_err(Error::store)?;
                    let within = begins.and_then(|begins| begins.checked_sub(extent.first_byte));
                    if let Some(within) = within {
                        let at = InPlace { path: path.as_bytes(), offset: before + within };
                        self.store.place(self.content, block, at).map_err(Error::store)?;
                    }
                }
                before += extent.bytes;
            }
        }
        Ok(())
    }

    /// Forgets the blocks that live in a file which is no more what an entry says of it.
    fn leave(&mut self, path: &DrivePath, old: &Entry) -> Result<(), Error> {
        for extent in &old.extents {
            for block in extent.first_block..extent.first_block + extent.count {
                let place = self.store.where_is(self.content, BlockIndex(block));
                let lives = |place: Place| matches!(place, Place::Working { path: at, .. } if at == path.as_bytes());
                if place.map_err(Error::store)?.is_some_and(lives) {
                    self.store.forget(self.content, block..block + 1);
                }
            }
        }
        Ok(())
    }

    fn go_on(&self) -> Result<(), Error> {
        if self.around.stop.load(Ordering::Relaxed) { Err(Error::interrupted()) } else { Ok(()) }
    }

    /// Takes in a file that was read ahead; returns nothing when what the drive has of it stays.
    fn file(&mut self, item: &Found, ahead: &mut Ahead) -> Result<Option<Entry>, Error> {
        let Self { taker, store, content, around, uncommitted_from, state, .. } = self;
        let Around { stop, progress, between } = around;
        let each = |store: &mut Store<S>, taker: &Taker| {
            if stop.load(Ordering::Relaxed) {
                return Err(Error::interrupted());
            }
            let staged = store.staged_bytes();
            if taker.bytes_new - *uncommitted_from >= COMMIT_BYTES || staged >= COMMIT_STAGED_BYTES
            {
                store.commit().map_err(Error::store)?;
                *uncommitted_from = taker.bytes_new;
            }
            let bytes = taker.bytes_new + taker.bytes_known;
            if bytes / TELL_BYTES > state.bytes / TELL_BYTES {
                progress(Progress { bytes, ..*state });
            }
            state.bytes = bytes;
            between(store);
            Ok(())
        };
        match taker.take(store, *content, item.path.as_bytes(), ahead, each)? {
            Taken::Entry(entry) => return Ok(Some(entry)),
            Taken::Unsteady => self.unsteady.push(item.path.as_bytes().to_vec()),
            Taken::Unreadable(why) => self.unreadable.push((item.path.as_bytes().to_vec(), why)),
        }
        Ok(None)
    }
}

/// Notes that something is gone, and returns it, unless it may only be out of sight.
fn delete(
    (key, entry): (Key, Entry),
    walked: &Walked,
    ops: &mut Vec<Op>,
) -> Option<(DrivePath, Entry)> {
    let path = key.path().ok().filter(|path| !walked.is_blind(path.as_bytes()))?;
    ops.push(Op::Delete(path.clone()));
    Some((path, entry))
}
