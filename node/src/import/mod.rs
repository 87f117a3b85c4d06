//! Takes a working folder into a drive, as one change.
//!
//! Files that look the same as their entry (size, mode, mtime) are not opened. The others are cut into chunks; a chunk that the
//! store holds already is not stored again. Nothing shows before the commit at the end: a run that is killed changes nothing.
//! Elsewhere: what there is to take (`walk`), reading one file (`file`).

mod file;
mod walk;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use datnode_drive::{
    ChangeInfo, ChunkIndex, Entry, FeedRef, Header, Key, Kind, Mtime, Op, Role, Step, Version,
    commit, header_block,
};
use datnode_feed::{BlockIndex, FeedSlot, SecretKey, Storage, Store, StoreError};

use crate::error::Error;
use crate::view::View;
use file::Reader;
pub use walk::{Found, LeftOut, Rules, Walked, Why, walk};

/// Bytes that are appended before they are made durable; they do not show yet.
const COMMIT_BYTES: u64 = 64 << 20;
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

/// Takes the folder `root` into the drive, whose latest version is `base`.
///
/// # Errors
/// What the store says, E-INTERRUPTED when `stop` was set. The drive is then as it was.
#[expect(
    clippy::too_many_arguments,
    reason = "an import needs a store, a drive, a folder and somebody to tell"
)]
pub fn import<S: Storage>(
    store: &mut Store<S>,
    writer: &Writer<'_>,
    base: &Version,
    root: &Path,
    rules: &Rules,
    message: &str,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(Progress),
) -> Result<Imported, Error> {
    let mut walked = walk(root, rules)?;
    let known = entries(store, writer, base)?;
    let mut run = Run {
        reader: Reader::new(
            root,
            chunks(store, writer.content.0)?,
            store.appended(writer.content.0).0,
        )?,
        store,
        content: writer.content.0,
        racy_from: base.change.time.seconds - RACY,
        uncommitted: 0,
        added: 0,
        unreadable: Vec::new(),
        unsteady: Vec::new(),
        state: Progress { files_total: walked.found.len() as u64, ..Progress::default() },
    };
    let ops = run.compare(&walked, known, stop, progress)?;
    let Run { reader, unreadable, unsteady, added, .. } = run;
    walked.unreadable.extend(unreadable);
    let put = ops.iter().filter(|op| matches!(op, Op::Put(..))).count() as u64;
    let changed = !ops.is_empty();
    let version = if changed { finish(store, writer, base, &ops, message)? } else { base.clone() };
    let (opened, bytes_new, bytes_known) = (reader.opened, reader.bytes_new, reader.bytes_known);
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

struct Run<'a, S> {
    reader: Reader,
    store: &'a mut Store<S>,
    content: FeedSlot,
    racy_from: i64,
    uncommitted: u64,
    added: u64,
    unreadable: Vec<(Vec<u8>, String)>,
    unsteady: Vec<Vec<u8>>,
    state: Progress,
}

impl<S: Storage> Run<'_, S> {
    /// Compares what is there with what the base has, both in key order.
    fn compare(
        &mut self,
        walked: &Walked,
        known: Vec<(Key, Entry)>,
        stop: &AtomicBool,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Vec<Op>, Error> {
        let mut ops = Vec::new();
        let mut known = known.into_iter().peekable();
        for item in &walked.found {
            if stop.load(Ordering::Relaxed) {
                return Err(Error::interrupted());
            }
            let key = item.path.key();
            while let Some((gone, _)) = known.next_if(|(other, _)| *other < key) {
                delete(&gone, walked, &mut ops);
            }
            let old = known.next_if(|(other, _)| *other == key).map(|(_, entry)| entry);
            if let Some(entry) = self.entry(item, old.as_ref())?
                && old.as_ref().is_none_or(|old| !same(old, &entry))
            {
                self.added += u64::from(old.is_none());
                ops.push(Op::Put(item.path.clone(), entry));
            }
            self.state.files += 1;
            self.state.bytes = self.reader.bytes_new + self.reader.bytes_known;
            progress(self.state);
        }
        known.for_each(|(gone, _)| delete(&gone, walked, &mut ops));
        Ok(ops)
    }

    /// Returns what the drive should say of something, or nothing when it stays as it is.
    fn entry(&mut self, item: &Found, old: Option<&Entry>) -> Result<Option<Entry>, Error> {
        match item.kind {
            Kind::Directory => return Ok(Some(Entry::directory(item.mode, item.mtime))),
            Kind::Symlink => return Ok(Some(Entry::symlink(item.target.clone(), item.mtime))),
            Kind::File => {}
        }
        let unchanged = |old: &&Entry| {
            old.kind == Kind::File
                && (old.size, old.mode, old.mtime) == (item.size, item.mode, item.mtime)
                && item.mtime.seconds < self.racy_from
        };
        if old.filter(unchanged).is_some() {
            return Ok(None);
        }
        let before = self.reader.bytes_new;
        let read = self.reader.read(self.store, self.content, item.path.as_bytes())?;
        self.uncommitted += self.reader.bytes_new - before;
        if self.uncommitted >= COMMIT_BYTES {
            self.store.commit().map_err(Error::store)?;
            self.uncommitted = 0;
        }
        match read {
            file::Read::Entry(entry) => return Ok(Some(entry)),
            file::Read::Unsteady => self.unsteady.push(item.path.as_bytes().to_vec()),
            file::Read::Unreadable(why) => {
                self.unreadable.push((item.path.as_bytes().to_vec(), why))
            }
        }
        Ok(None)
    }
}

/// Notes that something is gone, unless it may only be out of sight.
fn delete(key: &Key, walked: &Walked, ops: &mut Vec<Op>) {
    if let Ok(path) = key.path()
        && !walked.is_blind(path.as_bytes())
    {
        ops.push(Op::Delete(path));
    }
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
