//! Takes a working folder into a drive, as one change.
//!
//! Files that look the same as their entry (size, mode, mtime) are not opened. The others are cut into chunks; a chunk that the
//! store holds already is not stored again. Nothing shows before the commit at the end: a run that is killed makes no change, though
//! blocks that lived in place in files which changed may be forgotten already.
//! Elsewhere: what there is to take (`walk`), reading and hashing it (`ahead`), taking one file in (`file`).

mod ahead;
mod file;
mod walk;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use datnode_drive::{
    ChangeInfo, ChunkIndex, DrivePath, Entry, FeedRef, Header, Key, Kind, Mtime, Op, Role, Step,
    Version, commit, header_block,
};
use datnode_feed::{BlockIndex, FeedSlot, InPlace, Place, SecretKey, Storage, Store, StoreError};

use crate::disk::free;
use crate::error::Error;
use crate::view::View;
use ahead::{Ahead, read_ahead};
use file::{Taken, Taker};
pub use walk::{Found, LeftOut, Rules, Walked, Why, walk};

/// Bytes that are appended before they are made durable; they do not show yet.
const COMMIT_BYTES: u64 = 1 << 30;
/// How many bytes of journal records wait in memory for that: many small files have more of them than of their own bytes.
const COMMIT_STAGED_BYTES: usize = 8 << 20;
/// How many files, and bytes, are taken in before it is told how far it is.
const TELL_FILES: u64 = 256;
const TELL_BYTES: u64 = 4 << 20;
/// How many entries of the base are read at a time.
const PAGE: usize = 10_000;
/// A file changed so shortly before the last import that its time may hide a later change.
pub(crate) const RACY: i64 = 2;

/// The feeds of a drive that is written here, with their keys.
pub struct Writer<'a> {
    /// The changes feed.
    pub changes: (FeedSlot, &'a SecretKey),
    /// The content feed.
    pub content: (FeedSlot, &'a SecretKey),
}

/// How far an import is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Files looked at.
    pub files: u64,
    /// Files there are.
    pub files_total: u64,
    /// Bytes read.
    pub bytes: u64,
}

/// What an import did.
#[derive(Debug)]
pub struct Imported {
    /// The drive's version now.
    pub version: Version,
    /// Whether a change was made.
    pub changed: bool,
    /// Entries that are new.
    pub added: u64,
    /// Entries that are different now.
    pub altered: u64,
    /// Entries removed.
    pub removed: u64,
    /// Files that were opened.
    pub opened: u64,
    /// Bytes of chunks that are new in the store, and of those that were known.
    pub bytes_new: u64,
    /// See above.
    pub bytes_known: u64,
    /// Files that changed while they were read, each time.
    pub unsteady: Vec<Vec<u8>>,
    /// What the walk left out.
    pub walked: Walked,
}

/// Begins a drive: its header is change 0.
///
/// # Errors
/// What the store says.
pub fn create<S: Storage>(
    store: &mut Store<S>,
    writer: &Writer<'_>,
    name: &str,
) -> Result<(), StoreError> {
    store.append(writer.changes.0, &header_block(&Header::new(name)))?;
    store.sign(writer.changes.0, writer.changes.1)?;
    store.commit()
}

/// What becomes of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// They are copied into the store, so that old versions stay.
    History,
    /// They stay where they are, and are served from there as long as they are what was signed.
    InPlace,
}

/// How a folder is taken in.
pub struct How<'a> {
    /// What is left out.
    pub rules: &'a Rules,
    /// What becomes of the bytes.
    pub keep: Keep,
    /// What the writer says of the change.
    pub message: &'a str,
}

/// Takes the folder `root` into the drive, whose latest version is `base`.
///
/// # Errors
/// What the store says, E-SPACE if a copy of what is new cannot fit, E-INTERRUPTED when `stop` was set. No change is
/// made then.
pub fn import<S: Storage>(
    store: &mut Store<S>,
    writer: &Writer<'_>,
    base: &Version,
    root: &Path,
    how: &How<'_>,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(Progress),
) -> Result<Imported, Error> {
    let mut walked = walk(root, how.rules)?;
    let known = entries(store, writer, base)?;
    let racy_from = base.change.time.seconds - RACY;
    let (looks, more) = looks(&walked, &known, racy_from);
    if how.keep == Keep::History {
        check_room(root, more)?;
    }
    let content = writer.content.0;
    let mut run = Run {
        taker: Taker::new(how.keep, chunks(store, content)?, store.appended(content).0),
        store,
        content,
        stop,
        uncommitted_from: 0,
        added: 0,
        unreadable: Vec::new(),
        unsteady: Vec::new(),
        state: Progress { files_total: walked.found.len() as u64, ..Progress::default() },
        progress,
    };
    let to_read = walked.found.iter().zip(&looks).filter(|(_, look)| **look == Look::Other);
    let to_read: Vec<_> = to_read.map(|(item, _)| (item.path.as_bytes(), item.size)).collect();
    let ops = read_ahead(root, &to_read, |ahead| run.compare(&walked, &looks, known, ahead))?;
    run.find_again(writer, base, &walked, &looks)?;
    let Run { taker, unreadable, unsteady, added, .. } = run;
    walked.unreadable.extend(unreadable);
    let put = ops.iter().filter(|op| matches!(op, Op::Put(..))).count() as u64;
    let changed = !ops.is_empty();
    let version =
        if changed { finish(store, writer, base, &ops, how.message)? } else { base.clone() };
    if !taker.void.is_empty() {
        taker.void.iter().for_each(|block| store.forget(content, *block..*block + 1));
        store.commit().map_err(Error::store)?;
    }
    let (opened, bytes_new, bytes_known) = (taker.files, taker.bytes_new, taker.bytes_known);
    Ok(Imported {
        version,
        changed,
        added,
        altered: put - added,
        removed: ops.len() as u64 - put,
        opened,
        bytes_new,
        bytes_known,
        unsteady,
        walked,
    })
}

/// Reads all entries of the base, in key order.
fn entries<S: Storage>(
    store: &mut Store<S>,
    writer: &Writer<'_>,
    base: &Version,
) -> Result<Vec<(Key, Entry)>, Error> {
    let view = View::new(store, writer.changes.0, Some(writer.content.0));
    let mut all: Vec<(Key, Entry)> = Vec::new();
    loop {
        let after = all.last().map(|(key, _)| key);
        match base.walk(&view, after, PAGE).map_err(Error::damaged)? {
            Step::Done(page) if page.is_empty() => return Ok(all),
            Step::Done(page) => {
                all.extend(page.into_iter().map(|(path, entry)| (path.key(), entry)))
            }
            Step::Need(_) => return Err(Error::verify("a writer's own index is not all here")),
        }
    }
}

/// Builds the index of the chunks that the store holds.
fn chunks<S: Storage>(store: &Store<S>, content: FeedSlot) -> Result<ChunkIndex, Error> {
    let mut index = ChunkIndex::default();
    for block in store.have(content).iter_ones(0..store.length(content)) {
        let block = BlockIndex(block);
        if let Some(leaf) = store.leaf(content, block).map_err(Error::store)? {
            index.insert(&leaf.hash, block);
        }
    }
    Ok(index)
}

/// What is at a name, as far as it shows without opening anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// A file that looks as its entry says.
    Same,
    /// A file that has to be read.
    Other,
    /// No file: all that there is to say is known.
    Known,
}

/// Holds what is there against what the base has, both in key order. Returns besides how many bytes there are more than the
/// base has.
fn looks(walked: &Walked, known: &[(Key, Entry)], racy_from: i64) -> (Vec<Look>, u64) {
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
        let unchanged = |(_, old): &&(Key, Entry)| {
            old.kind == Kind::File
                && (old.size, old.mode, old.mtime) == (item.size, item.mode, item.mtime)
                && item.mtime.seconds < racy_from
        };
        more = more.saturating_add(item.size.saturating_sub(old.map_or(0, |(_, old)| old.size)));
        if old.filter(unchanged).is_some() { Look::Same } else { Look::Other }
    };
    let looks = walked.found.iter().map(look).collect();
    let gone = known.fold(gone, |gone, (_, old)| gone.saturating_add(old.size));
    // What is gone may have been renamed: then it is here already.
    (looks, more.saturating_sub(gone))
}

/// Refuses what cannot fit into the store, as far as sizes tell.
fn check_room(root: &Path, needed: u64) -> Result<(), Error> {
    let folder = std::fs::File::open(root).map_err(|error| Error::io("open", root, &error))?;
    match free(&folder) {
        Some(free) if free < needed => {
            let error = Error::space(root, needed, free);
            Err(error.hint("datnode share --in-place serves the files themselves, without a copy"))
        }
        _ => Ok(()),
    }
}

struct Run<'a, S> {
    taker: Taker,
    store: &'a mut Store<S>,
    content: FeedSlot,
    stop: &'a AtomicBool,
    /// How many new bytes there were at the last commit.
    uncommitted_from: u64,
    added: u64,
    unreadable: Vec<(Vec<u8>, String)>,
    unsteady: Vec<Vec<u8>>,
    state: Progress,
    progress: &'a mut dyn FnMut(Progress),
}

impl<S: Storage> Run<'_, S> {
    /// Compares what is there with what the base has, both in key order.
    fn compare(
        &mut self,
        walked: &Walked,
        looks: &[Look],
        known: Vec<(Key, Entry)>,
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
                Look::Other => self.file(item, ahead)?,
                Look::Known if item.kind == Kind::Directory => {
                    Some(Entry::directory(item.mode, item.mtime))
                }
                Look::Known => Some(Entry::symlink(item.target.clone(), item.mtime)),
            };
            if let Some(entry) = entry
                && old.as_ref().is_none_or(|old| !same(old, &entry))
            {
                self.added += u64::from(old.is_none());
                ops.push(Op::Put(item.path.clone(), entry));
            }
            self.state.files += 1;
            if self.state.files.is_multiple_of(TELL_FILES) {
                (self.progress)(self.state);
            }
        }
        (self.progress)(self.state);
        gone.extend(known.filter_map(|old| delete(old, walked, &mut ops)));
        // Only now: what was renamed is where it is now.
        gone.iter().try_for_each(|(path, old)| self.leave(path, old))?;
        Ok(ops)
    }

    /// Finds blocks that are not here in files that look as the base says: they lived in an equal file which is gone or changed.
    fn find_again(
        &mut self,
        writer: &Writer<'_>,
        base: &Version,
        walked: &Walked,
        looks: &[Look],
    ) -> Result<(), Error> {
        if self.store.have(self.content).all(0..self.store.length(self.content)) {
            return Ok(());
        }
        let mut known = entries(self.store, writer, base)?.into_iter().peekable();
        let same = walked.found.iter().zip(looks).filter(|(_, look)| **look == Look::Same);
        for (Found { path, .. }, _) in same {
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
        if self.stop.load(Ordering::Relaxed) { Err(Error::interrupted()) } else { Ok(()) }
    }

    /// Takes in a file that was read ahead; returns nothing when what the drive has of it stays.
    fn file(&mut self, item: &Found, ahead: &mut Ahead) -> Result<Option<Entry>, Error> {
        let Self { taker, store, content, stop, uncommitted_from, state, progress, .. } = self;
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

/// Tells whether an entry says what another says, leaving out where and when.
fn same(old: &Entry, new: &Entry) -> bool {
    let says = |entry: &Entry| {
        (entry.kind, entry.size, entry.mode, entry.mtime, entry.chunks, entry.content)
    };
    says(old) == says(new) && old.target == new.target
}

/// Writes the change and both heads, and makes them durable together.
fn finish<S: Storage>(
    store: &mut Store<S>,
    writer: &Writer<'_>,
    base: &Version,
    ops: &[Op],
    message: &str,
) -> Result<Version, Error> {
    let (content, secret) = writer.content;
    let head = store.sign(content, secret).map_err(Error::store)?.head;
    let feed = FeedRef {
        key: secret.public(),
        role: Role::Content,
        fork: head.fork,
        length: head.length,
        byte_length: head.byte_length,
        root: head.root,
    };
    let info = ChangeInfo { time: now(), message: message.to_owned(), feeds: vec![feed] };
    let view = View::new(store, writer.changes.0, Some(content));
    let mut append = |block: &[u8]| view.store.borrow_mut().append(writer.changes.0, block);
    let made = match commit(base, &view, ops, info, &mut append) {
        Ok(Step::Done(made)) => made,
        Ok(Step::Need(_)) => return Err(Error::verify("a writer's own index is not all here")),
        Err(error) => {
            return Err(Error::new(
                crate::error::Code::Io,
                format!("cannot make a change: {error}"),
            ));
        }
    };
    store.sign(writer.changes.0, writer.changes.1).map_err(Error::store)?;
    store.commit().map_err(Error::store)?;
    Ok(made.version)
}

fn now() -> Mtime {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Mtime {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: since.subsec_nanos(),
    }
}
