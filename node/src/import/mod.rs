//! Takes a working folder into a drive, as one change.
//!
//! Files that look the same as their entry (size, mode, mtime) are not opened. The others are cut into chunks; a chunk that the
//! store holds already is not stored again. Nothing shows before the commit at the end: a run that is killed makes no change, though
//! blocks that lived in place in files which changed may be forgotten already.
//! Elsewhere: what there is to take (`walk`) and why not (`rule`), reading and hashing it (`ahead`, with `reader` and `cutter`),
//! what changed (`compare`), taking one file in (`file`).

mod ahead;
mod compare;
mod cutter;
mod file;
mod reader;
mod rule;
mod walk;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::SystemTime;

use datnode_drive::{
    ChangeInfo, ChunkIndex, DrivePath, Entry, FeedRef, Header, Key, Mtime, Op, Role, Step, Version,
    commit, header_block,
};
use datnode_feed::{BlockIndex, FeedSlot, SecretKey, Storage, Store, StoreError};

use crate::disk::free;
use crate::error::Error;
use crate::view::View;
use ahead::read_ahead;
use compare::{Look, Run, looks};
use file::Taker;
pub use rule::{Finder, Rule};
pub use walk::{Found, LeftOut, Rules, Walked, Why, look_at, matcher, parse_pattern, walk};

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
/// made then, unless the disk fails after it was made: which blocks live in files that changed is settled last.
pub fn import<S: Storage>(
    store: &mut Store<S>,
    writer: &Writer<'_>,
    base: &Version,
    root: &Path,
    how: &How<'_>,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(Progress),
) -> Result<Imported, Error> {
    let (walked, known) = thread::scope(|scope| {
        let walker = scope.spawn(|| walk(root, how.rules));
        let known = entries(store, writer, base);
        (walker.join().expect("no walker panics"), known)
    });
    let racy_from = base.change.time.seconds - RACY;
    let found = (walked?, known?, racy_from);
    take_in(store, writer, base, root, found, how, (stop, progress))
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
        let view = View::new(store, writer.changes.0, Some(writer.content.0));
        match base.entry(&view, path).map_err(Error::damaged)? {
            Step::Done(entry) => known.extend(entry.map(|entry| (path.key(), entry))),
            Step::Need(_) => return Err(incomplete()),
        }
    }
    known.sort_by(|(a, _), (b, _)| a.cmp(b));
    walked.found.sort_by_cached_key(|found| found.path.key());
    let stop = AtomicBool::new(false);
    // What is named is read, however it looks.
    let found = (walked, known, i64::MIN);
    take_in(store, writer, base, root, found, how, (&stop, &mut |_| {}))
}

/// Makes a change of the difference between what was found in `root` and what was known of the same names.
fn take_in<S: Storage>(
    store: &mut Store<S>,
    writer: &Writer<'_>,
    base: &Version,
    root: &Path,
    (mut walked, known, racy_from): (Walked, Vec<(Key, Entry)>, i64),
    how: &How<'_>,
    (stop, progress): (&AtomicBool, &mut dyn FnMut(Progress)),
) -> Result<Imported, Error> {
    let (looks, more) = looks(&walked, &known, racy_from);
    if how.keep == Keep::History {
        check_room(root, more)?;
    }
    let content = writer.content.0;
    let files_total = walked.found.len() as u64;
    let to_read = walked.found.iter().zip(&looks).filter(|(_, look)| **look == Look::Other);
    let to_read: Vec<_> = to_read.map(|(item, _)| (item.path.as_bytes(), item.size)).collect();
    let chunks = if to_read.is_empty() { ChunkIndex::default() } else { chunks(store, content)? };
    let taker = Taker::new(how.keep, chunks, store.appended(content).0);
    let mut run = Run::new(taker, (&mut *store, content), files_total, stop, progress);
    let ops = read_ahead(root, &to_read, |ahead| run.compare(&walked, &looks, known, ahead))?;
    let put = ops.iter().filter(|op| matches!(op, Op::Put(..))).count() as u64;
    let changed = !ops.is_empty();
    let version = match changed {
        true => finish(run.store, writer, base, &ops, how.message)?,
        false => base.clone(),
    };
    run.forget_void();
    run.find_again(writer, &version, &walked)?;
    let Run { taker, unreadable, unsteady, added, .. } = run;
    store.commit().map_err(Error::store)?;
    walked.unreadable.extend(unreadable);
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
            Step::Need(_) => return Err(incomplete()),
        }
    }
}

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

fn incomplete() -> Error {
    Error::verify("a writer's own index is not all here")
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
