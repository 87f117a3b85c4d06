//! What the writer of a drive does: a folder becomes a change, again and again.
//!
//! The folder is a function of the seed and the change's number, so that whoever reads a version can tell what is in it.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;

use datnode_drive::{
    Blocks, ChangeInfo, Chunker, ChunkerParams, DrivePath, Entry, FeedRef, FileBuilder, Header,
    Location, Mtime, Op, Role, Step, Version, commit, header_block,
};
use datnode_feed::{BlockIndex, FeedSlot, Hash, Storage, Store, StoreError, leaf};

use super::run::{Run, Stop, public, secret};
use crate::Random;
use crate::disk::Disk;

const CHANGES: u8 = 0;
const CONTENT: u8 = 1;
const PARAMS: ChunkerParams = ChunkerParams { id: 1, min: 64, max: 192 };

/// One large change on an empty drive.
pub(super) fn import(run: &mut Run) -> Result<(), Stop> {
    share(run, 2)
}

/// Many changes, each of some files.
pub(super) fn share_again(run: &mut Run) -> Result<(), Stop> {
    share(run, 6)
}

/// Returns what the folder holds at a change; it is never as before, or no change would come of it.
fn folder(seed: u64, change: u64) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut files = BTreeMap::new();
    for number in 1..=change {
        let mut random = Random::new(seed << 8 ^ number);
        for _ in 0..if number == 1 { 5 } else { 2 } {
            let name = format!("file {}", random.below(7)).into_bytes();
            let (kind, byte) = (random.below(5), random.below(256));
            let len = random.below(500);
            match kind {
                0 => drop(files.remove(&name)),
                _ => drop(files.insert(name, bytes(byte, len))),
            }
        }
        files.insert(b"number".to_vec(), number.to_string().into_bytes());
    }
    files
}

fn bytes(byte: u64, len: u64) -> Vec<u8> {
    let mut random = Random::new(byte);
    (0..len).map(|_| u8::try_from(random.below(256)).expect("below 256")).collect()
}

fn share(run: &mut Run, goal: u64) -> Result<(), Stop> {
    let (changes, content) = (run.feed(CHANGES)?, run.feed(CONTENT)?);
    if run.store.length(changes) == 0 {
        run.append_bytes(CHANGES, changes, &header_block(&Header::new("drive")))?;
        run.sign(CHANGES)?;
        run.commit()?;
    }
    loop {
        let base = latest(&mut run.store, changes, content)?;
        if base.number >= goal {
            return Ok(());
        }
        change(run, changes, content, &base)?;
    }
}

fn latest(store: &mut Store<Disk>, changes: FeedSlot, content: FeedSlot) -> Result<Version, Stop> {
    let last = BlockIndex(store.length(changes) - 1);
    let view = View { store: RefCell::new(store), slots: [changes, content] };
    done(Version::open(&view, last))
}

/// Makes the next change, as an import does: new chunks, the content's head, the change, its head, one commit.
fn change(run: &mut Run, changes: FeedSlot, content: FeedSlot, base: &Version) -> Result<(), Stop> {
    let (old, new) = (folder(run.seed, base.number), folder(run.seed, base.number + 1));
    let mut ops = Vec::new();
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        ops.push(Op::Delete(path(name)));
    }
    for (name, bytes) in new.iter().filter(|(name, bytes)| old.get(*name) != Some(bytes)) {
        let entry = store_file(run, content, bytes)?;
        ops.push(Op::Put(path(name), entry));
    }
    ops.sort_by_key(|op| match op {
        Op::Put(path, _) | Op::Delete(path) => path.key(),
    });
    let head = run.store.sign(content, secret(CONTENT))?.head;
    let feed = FeedRef {
        key: public(CONTENT),
        role: Role::Content,
        fork: head.fork,
        length: head.length,
        byte_length: head.byte_length,
        root: head.root,
    };
    let time = Mtime { seconds: i64::try_from(base.number).unwrap_or_default(), nanos: 0 };
    let (message, feeds) = (base.number.to_string(), vec![feed]);
    let info = ChangeInfo { time, message, feeds, ..ChangeInfo::default() };
    let record = run.record.clone();
    let view = View { store: RefCell::new(&mut run.store), slots: [changes, content] };
    let mut append = |block: &[u8]| {
        let mut store = view.store.borrow_mut();
        let index = store.appended(changes).0;
        record.borrow_mut().truth.write(&public(CHANGES), index, block);
        store.append(changes, block)
    };
    match commit(base, &view, &ops, info, &mut append) {
        Ok(Step::Done(_)) => {}
        Ok(Step::Need(_)) => return Err(Stop::Missing),
        Err(datnode_drive::CommitError::Append(error)) => return Err(error.into()),
        Err(datnode_drive::CommitError::Read(datnode_drive::ReadError::Source(error))) => {
            return Err(error.into());
        }
        Err(error) => return Err(Stop::wrong(error)),
    }
    run.sign(CHANGES)?;
    run.commit()
}

/// Appends the chunks of a file that the feed has not.
fn store_file(run: &mut Run, content: FeedSlot, bytes: &[u8]) -> Result<Entry, Stop> {
    let chunker = Chunker::new(PARAMS).expect("the parameters are valid");
    let mut builder = FileBuilder::new();
    let mut at = 0;
    while let Some(len) = chunker.next(&bytes[at..], true).filter(|_| at < bytes.len()) {
        let chunk = &bytes[at..at + len];
        let count = usize::try_from(run.store.appended(content).0).expect("feeds are short");
        let known = {
            let record = run.record.borrow();
            let blocks = record.truth.blocks(&public(CONTENT));
            blocks.iter().take(count).position(|block| block == chunk)
        };
        let block = match known {
            Some(block) => BlockIndex(block as u64),
            None => run.append_bytes(CONTENT, content, chunk)?,
        };
        let first_byte = run.record.borrow().truth.bytes(&public(CONTENT), block.0);
        builder.push(&leaf(chunk), Location { slot: 1, block }, first_byte);
        at += len;
    }
    Ok(builder.finish(0o644, Mtime::default(), Hash::of(bytes)))
}

/// Checks that the latest version reads as the folder was, whole.
pub(super) fn reads_right(store: &mut Store<Disk>, seed: u64) -> Result<(), Stop> {
    let (Some(changes), Some(content)) =
        (store.slot(&public(CHANGES)), store.slot(&public(CONTENT)))
    else {
        return Ok(());
    };
    if store.length(changes) == 0 {
        return Ok(());
    }
    let version = latest(store, changes, content)?;
    if version.change.feeds.first().is_some_and(|feed| feed.length > store.length(content)) {
        return Err(Stop::wrong("a change names content behind its feed's head"));
    }
    let entries = {
        let view = View { store: RefCell::new(store), slots: [changes, content] };
        done(version.walk(&view, None, 1_000))?
    };
    let mut found = BTreeMap::new();
    for (path, entry) in entries {
        found.insert(path.as_bytes().to_vec(), read_file(store, content, &entry)?);
    }
    if found != folder(seed, version.number) {
        return Err(Stop::wrong(format_args!("version {} reads wrong", version.number)));
    }
    Ok(())
}

fn read_file(store: &mut Store<Disk>, content: FeedSlot, entry: &Entry) -> Result<Vec<u8>, Stop> {
    let mut bytes = Vec::new();
    for extent in &entry.extents {
        for block in extent.first_block..extent.first_block + extent.count {
            bytes.extend(store.read(content, BlockIndex(block))?.ok_or(Stop::Missing)?);
        }
    }
    Ok(bytes)
}

fn path(name: &[u8]) -> DrivePath {
    DrivePath::from_bytes(name).expect("the names of these lanes are paths")
}

/// The two feeds of a drive, as `datnode_drive` reads them.
struct View<'a, S> {
    store: RefCell<&'a mut Store<S>>,
    slots: [FeedSlot; 2],
}

impl<S: Storage> Blocks for View<'_, S> {
    type Error = StoreError;

    fn block(&self, at: Location) -> Result<Option<Cow<'_, [u8]>>, StoreError> {
        let Some(slot) = self.slots.get(usize::from(at.slot)).copied() else { return Ok(None) };
        Ok(self.store.borrow_mut().read(slot, at.block)?.map(Cow::Owned))
    }
}

fn done<T>(reading: datnode_drive::Reading<T, StoreError>) -> Result<T, Stop> {
    match reading {
        Ok(Step::Done(value)) => Ok(value),
        Ok(Step::Need(_)) => Err(Stop::Missing),
        Err(datnode_drive::ReadError::Source(error)) => Err(error.into()),
        Err(error) => Err(Stop::wrong(error)),
    }
}
