//! Takes in what is different, window by window: which names are put and which deleted.
//!
//! Blocks that live in place in files which are not as they were are forgotten, and found again in equal ones.
//! Elsewhere: what is different (`compare`), one file (`file`), the change that is made of it (`import`).

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::atomic::Ordering;

use datnode_drive::{DrivePath, Entry, Key, Kind, Op, Version};
use datnode_feed::codec::{DecodeError, Reader, Writer as Out};
use datnode_feed::{BlockIndex, FeedSlot, InPlace, Place, Storage, Store};

use super::ahead::{Ahead, read_ahead};
use super::base::Known;
use super::compare::{Difference, Look};
use super::file::{Source, Taken, Taker};
use super::spool::{Record, Spool};
use super::walk::Found;
use super::{Around, Progress, Writer};
use crate::error::Error;

/// How many names are taken in at a time, at most.
const WINDOW: usize = 8_192;
/// Bytes that are appended before they are made durable; they do not show yet.
const COMMIT_BYTES: u64 = 1 << 30;
/// How many bytes of journal records wait in memory for that: many small files have more of them than of their own bytes.
const COMMIT_STAGED_BYTES: usize = 4 << 20;
/// How many files, and bytes, are taken in before it is told how far it is.
const TELL_FILES: u64 = 256;
const TELL_BYTES: u64 = 4 << 20;

impl Record for Op {
    fn encode(&self, out: &mut Out) {
        // The change that sets it is not known yet.
        Self::encode(self, 0, out);
    }

    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::decode(input)
    }
}

/// An import under way.
pub(super) struct Run<'a, 'b, S> {
    pub(super) taker: Taker,
    pub(super) store: &'a mut Store<S>,
    content: FeedSlot,
    root: &'a Path,
    around: Around<'b, S>,
    /// How many new bytes there were at the last commit.
    uncommitted_from: u64,
    /// What is to be changed, in the order of the keys.
    pub(super) ops: Spool<Op>,
    /// How many of them put something, and how many of those a name that is new.
    pub(super) put: u64,
    pub(super) added: u64,
    /// How many folders are different in their times alone.
    pub(super) folder_times: u64,
    pub(super) single: Single,
    pub(super) unreadable: Vec<(Vec<u8>, String)>,
    pub(super) unsteady: Vec<Vec<u8>>,
    state: Progress,
}

/// Which paths are put or deleted that are no folders.
#[derive(Debug, Default)]
pub(super) enum Single {
    #[default]
    None,
    /// One, with its bytes.
    One(DrivePath, u64),
    More,
}

impl Single {
    fn note(&mut self, op: &Op) {
        let (path, size) = match op {
            Op::Put(_, entry) if entry.kind == Kind::Directory => return,
            Op::Put(path, entry) => (path, entry.size),
            Op::Delete(path) => (path, 0),
        };
        *self = match self {
            Self::None => Self::One(path.clone(), size),
            Self::One(..) | Self::More => Self::More,
        };
    }

    /// Returns the path with its bytes, if there is one and no other.
    pub(super) fn path(self) -> Option<(DrivePath, u64)> {
        match self {
            Self::One(path, size) => Some((path, size)),
            Self::None | Self::More => None,
        }
    }
}

impl<'a, 'b, S: Storage> Run<'a, 'b, S> {
    pub(super) fn new(
        taker: Taker,
        (store, content): (&'a mut Store<S>, FeedSlot),
        root: &'a Path,
        state: Progress,
        around: Around<'b, S>,
    ) -> Self {
        let (unreadable, unsteady) = (Vec::new(), Vec::new());
        let (ops, single) = (Spool::new(root), Single::None);
        let (uncommitted_from, put, added, folder_times) = (0, 0, 0, 0);
        Self {
            taker,
            store,
            content,
            root,
            around,
            uncommitted_from,
            ops,
            put,
            added,
            folder_times,
            single,
            unreadable,
            unsteady,
            state,
        }
    }

    /// Takes in what is different.
    pub(super) fn take_all(
        &mut self,
        differences: &Spool<Difference>,
        mut moved: BTreeMap<Key, Entry>,
    ) -> Result<(), Error> {
        let mut items = differences.read();
        loop {
            let window: Vec<_> = items.by_ref().take(WINDOW).collect::<Result<_, _>>()?;
            if window.is_empty() {
                break;
            }
            let to_read: Vec<_> = window.iter().filter_map(Difference::to_read).collect();
            read_ahead(self.root, &to_read, |ahead| {
                window.iter().try_for_each(|one| self.take(one, &mut moved, ahead))
            })?;
        }
        (self.around.progress)(self.state);
        // Only now: what was renamed is where it is now.
        for item in differences.read() {
            if let Difference::Gone(path, old) = item? {
                self.leave(&path, &old)?;
            }
        }
        Ok(())
    }

    fn take(
        &mut self,
        difference: &Difference,
        moved: &mut BTreeMap<Key, Entry>,
        ahead: &mut Ahead,
    ) -> Result<(), Error> {
        self.go_on()?;
        let (item, look, old) = match difference {
            Difference::Gone(path, _) => return self.change(&Op::Delete(path.clone())),
            Difference::Here(item, look, old) => (item, look, old),
        };
        old.iter().try_for_each(|old| self.leave(&item.path, old))?;
        let entry = match look {
            Look::Moved => moved.remove(&item.path.key()),
            Look::Other => self.file(item, ahead)?,
            Look::Known => Some(item.entry()),
        };
        if let Some(entry) = entry
            && old.as_ref().is_none_or(|old| !old.is_same_as(&entry))
        {
            self.put += 1;
            self.added += u64::from(old.is_none());
            let only_time = old.as_ref().is_some_and(|old| old.is_folder_but_for_time(&entry));
            self.folder_times += u64::from(only_time);
            self.change(&Op::Put(item.path.clone(), entry))?;
        }
        self.state.files += 1;
        if self.state.files.is_multiple_of(TELL_FILES) {
            (self.around.progress)(self.state);
        }
        Ok(())
    }

    fn change(&mut self, op: &Op) -> Result<(), Error> {
        self.single.note(op);
        self.ops.push(op)
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
        found: &Spool<Found>,
    ) -> Result<(), Error> {
        if self.store.have(self.content).all(0..self.store.length(self.content)) {
            return Ok(());
        }
        let unread = self.unreadable.iter().map(|(path, _)| path).chain(&self.unsteady);
        let unread: HashSet<Vec<u8>> = unread.cloned().collect();
        let mut known = Known::all(version);
        for item in found.read() {
            let Found { path, kind, .. } = item?;
            if kind != Kind::File || unread.contains(path.as_bytes()) {
                continue;
            }
            let (key, mut entry) = (path.key(), None);
            while let Some(known) = known.next_until(self.store, writer.changes.0, Some(&key))? {
                entry = (known.0 == key).then_some(known.1);
            }
            let Some(entry) = entry else { continue };
            let mut before = 0;
            for extent in &entry.extents {
                for block in extent.blocks() {
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
            for block in extent.blocks() {
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
        let Self { taker, store, content, root, around, uncommitted_from, state, .. } = self;
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
        let source = Source { root, path: item.path.as_bytes(), size: item.size };
        match taker.take(store, *content, source, ahead, each)? {
            Taken::Entry(entry) => return Ok(Some(entry)),
            Taken::Unsteady => self.unsteady.push(item.path.as_bytes().to_vec()),
            Taken::Unreadable(why) => self.unreadable.push((item.path.as_bytes().to_vec(), why)),
        }
        Ok(None)
    }
}

impl Difference {
    /// Returns the path and the size of a file that has to be read.
    fn to_read(&self) -> Option<(&[u8], u64)> {
        match self {
            Self::Here(found, Look::Other, _) => Some((found.path.as_bytes(), found.size)),
            _ => None,
        }
    }
}
