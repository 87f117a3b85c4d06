//! Takes a working folder into a drive, as one change.
//!
//! Files that look the same as their entry (size, mode, mtime) are not opened. The others are cut into chunks; a chunk that the
//! store holds already is not stored again. Nothing shows before the commit at the end: a run that is killed makes no change, though
//! blocks that lived in place in files which changed may be forgotten already.
//! Elsewhere: what there is to take (`walk`) and why not (`rule`), reading and hashing it (`ahead`, with `reader` and `cutter`),
//! what changed (`compare`), taking one file in (`file`).

mod ahead;
mod base;
mod compare;
mod cutter;
mod file;
mod reader;
mod rule;
mod stirred;
mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::SystemTime;

use datnode_drive::{
    ChangeInfo, ChunkIndex, DrivePath, Entry, FeedRef, Header, Key, Kind, Mtime, Op, Role, Step,
    TagOp, Version, commit, header_block,
};
use datnode_feed::{FeedSlot, SecretKey, Storage, Store, StoreError};

use crate::disk::free;
use crate::error::Error;
use crate::view::View;
use ahead::read_ahead;
pub use base::{below, entry, here, latest};
use base::{entries, incomplete};
use compare::{Look, Run, looks};
use file::Taker;
pub use rule::{Finder, Rule};
pub use stirred::{Stirred, import_stirred};
pub use walk::{
    Found, LeftOut, Rules, Walked, Why, is_patterns, look_at, matcher, parse_pattern, walk,
};

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
    /// The only path that is different, if there is one, but for the folders above it; with its bytes.
    pub single: Option<(DrivePath, u64)>,
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
    /// Whether a change is made of nothing but the times of folders, which change with every file that comes and goes.
    pub folder_times: bool,
}

/// What is known from the import before, so that a small change costs little.
#[derive(Default)]
pub struct Memory {
    /// The chunks that the store holds, or held: whoever finds one there looks whether it is.
    chunks: Option<ChunkIndex>,
}

/// What goes on around an import.
struct Around<'a, S> {
    /// Whether it is to end.
    stop: &'a AtomicBool,
    /// Who is told how far it is.
    progress: &'a mut dyn FnMut(Progress),
    /// What is done with the store between two chunks.
    between: &'a mut dyn FnMut(&mut Store<S>),
}

/// What an import goes by.
struct Facts {
    /// What is there, in the order of the keys.
    walked: Walked,
    /// What the base has of it, in the same order.
    known: Vec<(Key, Entry)>,
    /// What the base has under another name, and which name that is now.
    moved: BTreeMap<Key, Entry>,
    /// A time from which on nothing is taken to be as it was because it looks so.
    racy_from: i64,
}

/// Takes the folder `root` into the drive, whose latest version is `base`.
///
/// # Errors
/// What the store says, E-SPACE if a copy of what is new cannot fit, E-INTERRUPTED when `stop` was set. No change is
/// made then, unless the disk fails after it was made: which blocks live in files that changed is settled last.
#[expect(clippy::too_many_arguments, reason = "all that an import goes by, once")]
pub fn import<S: Storage>(
    store: &mut Store<S>,
    writer: &Writer<'_>,
    base: &Version,
    root: &Path,
    how: &How<'_>,
    memory: &mut Memory,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(Progress),
) -> Result<Imported, Error> {
    let (walked, known) = thread::scope(|scope| {
        let walker = scope.spawn(|| walk(root, how.rules));
        let known = entries(store, writer.changes.0, base);
        (walker.join().expect("no walker panics"), known)
    });
    let (walked, known, moved) = (walked?, known?, BTreeMap::new());
    let facts = Facts { walked, known, moved, racy_from: base.change.time.seconds - RACY };
    let around = Around { stop, progress, between: &mut |_| {} };
    take_in(store, writer, base, root, facts, how, memory, around)
}

/// Takes in what a walk through the folder `root` found; `between` is called with each chunk.
///
/// # Errors
/// Those of [`import`].
#[expect(clippy::too_many_arguments, reason = "all that an import goes by, once")]
pub fn import_walked<S: Storage>(
    store: &mut Store<S>,
    writer: &Writer<'_>,
    base: &Version,
    root: &Path,
    walked: Walked,
    how: &How<'_>,
    memory: &mut Memory,
    between: &mut dyn FnMut(&mut Store<S>),
) -> Result<Imported, Error> {
    let (known, moved) = (entries(store, writer.changes.0, base)?, BTreeMap::new());
    let facts = Facts { walked, known, moved, racy_from: base.change.time.seconds - RACY };
    let around = Around { stop: &AtomicBool::new(false), progress: &mut |_| {}, between };
    take_in(store, writer, base, root, facts, how, memory, around)
}

/// Takes in what is at some paths of the folder `root`, whatever the rules say; the drive keeps all others as they are. What is in a
/// folder is not looked at, unless it is named.
///
/// # Errors
/// Those of [`import`].
pub fn import_paths<S: Storage>(
    store: &mut Store<S>,
    writer: &Writer<'_>,
    base: &Version,
    root: &Path,
    paths: &BTreeSet<DrivePath>,
    how: &How<'_>,
) -> Result<Imported, Error> {
    let mut walked = look_at(root, paths);
    let mut known = Vec::new();
    for path in paths {
        let entry = entry(store, writer.changes.0, base, path)?;
        known.extend(entry.map(|entry| (path.key(), entry)));
    }
    known.sort_by(|(a, _), (b, _)| a.cmp(b));
    walked.found.sort_by_cached_key(|found| found.path.key());
    let stop = &AtomicBool::new(false);
    // What is named is read, however it looks.
    let facts = Facts { walked, known, moved: BTreeMap::new(), racy_from: i64::MIN };
    let (memory, around) =
        (&mut Memory::default(), Around { stop, progress: &mut |_| {}, between: &mut |_| {} });
    take_in(store, writer, base, root, facts, how, memory, around)
}

/// Makes a change of the difference between what was found in `root` and what was known of the same names.
#[expect(clippy::too_many_arguments, reason = "all that an import goes by, once")]
fn take_in<S: Storage>(
    store: &mut Store<S>,
    writer: &Writer<'_>,
    base: &Version,
    root: &Path,
    facts: Facts,
    how: &How<'_>,
    memory: &mut Memory,
    around: Around<'_, S>,
) -> Result<Imported, Error> {
    let (looks, more) = looks(&facts);
    let Facts { mut walked, known, moved, .. } = facts;
    if how.keep == Keep::History {
        check_room(root, more)?;
    }
    let content = writer.content.0;
    let files_total = walked.found.len() as u64;
    let to_read = walked.found.iter().zip(&looks).filter(|(_, look)| **look == Look::Other);
    let to_read: Vec<_> = to_read.map(|(item, _)| (item.path.as_bytes(), item.size)).collect();
    let chunks = match memory.chunks.take() {
        Some(chunks) => chunks,
        None if to_read.is_empty() => ChunkIndex::default(),
        None => chunks(store, content)?,
    };
    let is_complete = !to_read.is_empty() || chunks.count() > 0;
    let taker = Taker::new(how.keep, chunks, store.appended(content).0);
    let mut run = Run::new(taker, (&mut *store, content), files_total, around);
    let known = (known, moved);
    let ops = read_ahead(root, &to_read, |ahead| run.compare(&walked, &looks, known, ahead))?;
    let put = ops.iter().filter(|op| matches!(op, Op::Put(..))).count() as u64;
    let changed = ops.len() as u64 > if how.folder_times { 0 } else { run.folder_times };
    let version = match changed {
        true => finish(run.store, writer, base, &ops, Vec::new(), how.message)?,
        false => base.clone(),
    };
    run.forget_void();
    run.find_again(writer, &version, &walked)?;
    let Run { taker, unreadable, unsteady, added, .. } = run;
    store.commit().map_err(Error::store)?;
    walked.unreadable.extend(unreadable);
    let (opened, bytes_new, bytes_known) = (taker.files, taker.bytes_new, taker.bytes_known);
    memory.chunks = is_complete.then_some(taker.chunks);
    Ok(Imported {
        single: single(&ops),
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

/// Returns the path that is put or deleted, with its bytes, if it is the only one that is no folder.
fn single(ops: &[Op]) -> Option<(DrivePath, u64)> {
    let mut ops = ops.iter().filter_map(|op| match op {
        Op::Put(_, entry) if entry.kind == Kind::Directory => None,
        Op::Put(path, entry) => Some((path, entry.size)),
        Op::Delete(path) => Some((path, 0)),
    });
    let (path, size) = ops.next()?;
    ops.next().is_none().then(|| (path.clone(), size))
}

/// Builds the index of the chunks that the store holds.
fn chunks<S: Storage>(store: &Store<S>, content: FeedSlot) -> Result<ChunkIndex, Error> {
    let (mut index, mut next) = (ChunkIndex::default(), Some(0));
    while let Some(from) = next {
        let held = store.held_leaves(content, from).map_err(Error::store)?;
        index.extend(held.leaves);
        next = held.next;
    }
    Ok(index)
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

/// Makes a change of `ops`, which are sorted by their keys: writes it and both heads, and makes them durable together.
///
/// # Errors
/// What the store says.
pub fn finish<S: Storage>(
    store: &mut Store<S>,
    writer: &Writer<'_>,
    base: &Version,
    ops: &[Op],
    tags: Vec<TagOp>,
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
    let info = ChangeInfo { time: now(), message: message.to_owned(), feeds: vec![feed], tags };
    let view = View::new(store, writer.changes.0, Some(content));
    let mut append = |block: &[u8]| view.store.borrow_mut().append(writer.changes.0, block);
    let made = match commit(base, &view, ops, info, &mut append) {
        Ok(Step::Done(made)) => made,
        Ok(Step::Need(_)) => return Err(incomplete()),
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

/// Returns the time, as entries have it.
pub(crate) fn now() -> Mtime {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Mtime {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: since.subsec_nanos(),
    }
}
