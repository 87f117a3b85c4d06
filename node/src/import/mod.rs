//! Takes a working folder into a drive, as one change.
//!
//! Files that look the same as their entry (size, mode, mtime) are not opened. The others are cut into chunks; a chunk that the
//! store holds already is not stored again. Nothing shows before the commit at the end: a run that is killed makes no change, though
//! blocks that lived in place in files which changed may be forgotten already.
//! How many names there are makes no difference to memory: what is there and what is different about it are lists that may be in a file
//! (`spool`), and files are taken in window by window.
//! Elsewhere: what there is to take (`walk`) and why not (`rule`), what is different (`compare`), reading and hashing it (`ahead`, with
//! `reader` and `cutter`), taking it in (`run`), one file (`file`), what of it is stored once more (`join`).

mod ahead;
mod base;
mod compare;
mod cutter;
mod file;
mod join;
mod reader;
mod rule;
mod run;
mod spool;
mod stirred;
mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use datnode_drive::{
    ChangeInfo, ChunkIndex, CommitError, DrivePath, Entry, FeedRef, Header, Key, Mtime, Op, Role,
    Step, TagOp, Version, commit_streamed, header_block,
};
use datnode_feed::{FeedSlot, SecretKey, Storage, Store, StoreError};

use crate::disk::free;
use crate::error::Error;
use crate::view::View;
use base::{Known, incomplete};
pub use base::{below, entry, here, latest};
use compare::Differences;
pub(crate) use cutter::CARRY_MAX;
use file::Taker;
pub use rule::{Finder, Rule};
use run::Run;
use spool::Spool;
pub use stirred::{Stirred, import_stirred};
pub use walk::{
    Found, Inventory, LeftOut, Rules, Walked, Why, is_gone, is_patterns, look_at, matcher,
    parse_pattern, take_inventory, walk,
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
    /// What the walk left out, and what could not be read.
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
    /// What is there.
    inventory: Inventory,
    /// What the base has of it.
    known: Known,
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
    let inventory = take_inventory(root, how.rules)?;
    let around = Around { stop, progress, between: &mut |_| {} };
    take_in(store, writer, base, root, Facts::of_all(inventory, base), how, memory, around)
}

/// Takes in what is in the folder `root`; `between` is called with each chunk.
///
/// # Errors
/// Those of [`import`].
#[expect(clippy::too_many_arguments, reason = "all that an import goes by, once")]
pub fn import_inventory<S: Storage>(
    store: &mut Store<S>,
    writer: &Writer<'_>,
    base: &Version,
    root: &Path,
    inventory: Inventory,
    how: &How<'_>,
    memory: &mut Memory,
    between: &mut dyn FnMut(&mut Store<S>),
) -> Result<Imported, Error> {
    let around = Around { stop: &AtomicBool::new(false), progress: &mut |_| {}, between };
    take_in(store, writer, base, root, Facts::of_all(inventory, base), how, memory, around)
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
    let inventory = Inventory { found: Spool::of(root, &walked.found)?, walked };
    let stop = &AtomicBool::new(false);
    // What is named is read, however it looks.
    let known = Known::listed(known);
    let facts = Facts { inventory, known, moved: BTreeMap::new(), racy_from: i64::MIN };
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
    let differences = Differences::find(
        store,
        writer,
        root,
        &facts.inventory,
        facts.known,
        (&facts.moved, facts.racy_from),
        around.stop,
    )?;
    let Inventory { found, mut walked } = facts.inventory;
    if how.keep == Keep::History {
        check_room(root, differences.more)?;
    }
    let content = writer.content.0;
    let chunks = match memory.chunks.take() {
        Some(chunks) => chunks,
        None if differences.to_read == 0 => ChunkIndex::default(),
        None => chunks(store, content)?,
    };
    let is_complete = differences.to_read > 0 || chunks.count() > 0;
    let taker = Taker::new(how.keep, chunks, store.appended(content).0);
    let (files_total, files) = (found.count(), found.count() - differences.here);
    let progress = Progress { files, files_total, bytes: 0 };
    let mut run = Run::new(taker, (&mut *store, content), root, progress, around);
    run.take_all(&differences.list, facts.moved)?;
    let changed = run.ops.count() > if how.folder_times { 0 } else { run.folder_times };
    let version = match changed {
        true => finish_streamed(run.store, writer, base, run.ops.read(), Vec::new(), how.message)?,
        false => base.clone(),
    };
    run.forget_void();
    run.find_again(writer, &version, &found)?;
    let Run { taker, unreadable, unsteady, ops, put, added, single, .. } = run;
    store.commit().map_err(Error::store)?;
    walked.unreadable.extend(unreadable);
    let (opened, bytes_new, bytes_known) = (taker.files, taker.bytes_new, taker.bytes_known);
    memory.chunks = is_complete.then_some(taker.chunks);
    Ok(Imported {
        single: single.path(),
        version,
        changed,
        added,
        altered: put - added,
        removed: ops.count() - put,
        opened,
        bytes_new,
        bytes_known,
        unsteady,
        walked,
    })
}

impl Facts {
    /// All that is there, and all that the base has.
    fn of_all(inventory: Inventory, base: &Version) -> Self {
        let racy_from = base.change.time.seconds - RACY;
        Self { inventory, known: Known::all(base), moved: BTreeMap::new(), racy_from }
    }
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
    finish_streamed(store, writer, base, ops.iter().cloned().map(Ok), tags, message)
}

/// Does the same with as many as there are.
fn finish_streamed<S: Storage>(
    store: &mut Store<S>,
    writer: &Writer<'_>,
    base: &Version,
    ops: impl Iterator<Item = Result<Op, Error>>,
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
    let mut append = |block: &[u8]| {
        view.store.borrow_mut().append(writer.changes.0, block).map_err(Error::store)
    };
    let made = match commit_streamed(base, &view, ops, info, &mut append) {
        Ok(Step::Done(made)) => made,
        Ok(Step::Need(_)) => return Err(incomplete()),
        Err(CommitError::Append(error)) => return Err(error),
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
