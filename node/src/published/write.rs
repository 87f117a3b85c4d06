//! Writes what is published: bytes first, nodes behind them, what says that they are there last.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use datnode_feed::{Bitfield, BlockIndex, FeedSlot, PublicKey};

use super::heads::{FEEDS_MAX, HEADS_LEN_MAX, RUNS_MAX};
use super::{
    HEADS, Heads, Kind, NODE_LEN, Published, completed_by, encode_node, file, folder, nodes_over,
};
use crate::cli::escape;
use crate::disk::{read_small, replace};
use crate::engine::AnyStore;
use crate::error::{Code, Error};

/// How many bytes are written at a time.
const PIECE: usize = 1 << 20;

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Bytes of blocks that were not there before.
    pub bytes_new: u64,
    /// Blocks that are there now.
    pub blocks: u64,
    /// Blocks of the drive that are not: they are not here, or could not be read.
    pub missing: u64,
}

/// Publishes what a store has of a drive into a folder; what is there already stays as it is.
///
/// # Errors
/// E-DIRTY for a folder that holds something else, E-CONFLICT if a newer version is there, and what the disks say.
pub fn write(store: &mut AnyStore, key: &PublicKey, site: &Path) -> Result<Written, Error> {
    let before = look(site, key)?;
    let mut slots: Vec<(FeedSlot, PublicKey)> = store.feeds().collect();
    slots.retain(|(slot, _)| store.head(*slot).is_some());
    slots.sort_by_key(|(slot, feed)| (feed != key, *slot));
    if slots.first().is_none_or(|(_, feed)| feed != key) || slots.len() > FEEDS_MAX {
        return Err(Error::new(Code::NoData, "there is nothing of this drive here yet"));
    }
    for (slot, feed) in &slots {
        let ours = store.head(*slot).expect("those without were left out").head;
        let theirs = before.iter().flat_map(|heads| &heads.feeds).find(|one| one.key == *feed);
        let newer = |there: &&Published| {
            (there.head.head.fork, there.head.head.length) > (ours.fork, ours.length)
        };
        if let Some(there) = theirs.filter(newer) {
            return Err(Error::new(
                Code::Conflict,
                "a newer version of this drive is published there",
            )
            .context(format!(
                "{} blocks of a feed there, {} here",
                there.head.head.length, ours.length
            ))
            .hint("bring this one up to date first:  datnode pull"));
        }
    }
    sweep(site, before.as_ref())?;
    let (mut written, mut feeds) = (Written::default(), Vec::new());
    for (slot, feed) in slots {
        let there = before.iter().flat_map(|heads| &heads.feeds).find(|one| one.key == feed);
        feeds.push(one(store, slot, &feed, there, site, &mut written)?);
    }
    let heads = Heads { key: *key, feeds };
    replace(&site.join(HEADS), &heads.encode())?;
    Ok(written)
}

/// Reads what was published there before.
fn look(site: &Path, key: &PublicKey) -> Result<Option<Heads>, Error> {
    fs::create_dir_all(site).map_err(|error| Error::io("create", site, &error))?;
    let shown = escape::path(site);
    let path = site.join(HEADS);
    let bytes = match read_small(&path, HEADS_LEN_MAX as u64) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut files = fs::read_dir(site).map_err(|error| Error::io("read", site, &error))?;
            // One that was cut short before anything could be read of it has folders of feeds.
            let strange = |name: &OsStr| !name.to_str().is_some_and(is_folder);
            let strange = files.any(|file| file.is_ok_and(|file| strange(&file.file_name())));
            return match strange {
                true => Err(Error::new(Code::Dirty, format!("{shown} holds something else"))
                    .hint("name a folder that is empty, missing, or was published to before")),
                false => Ok(None),
            };
        }
        Err(error) => return Err(Error::io("read", &path, &error)),
    };
    let heads = Heads::decode(&bytes).map_err(|error| {
        Error::new(Code::Dirty, format!("{} cannot be read: {error}", escape::path(&path)))
            .hint("publish into another folder, or delete this one first")
    })?;
    match heads.key == *key {
        true => Ok(Some(heads)),
        false => Err(Error::new(Code::Dirty, format!("{shown} holds another drive"))
            .context(format!("it is {}", crate::address::Link(&heads.key)))
            .hint("publish into another folder")),
    }
}

/// Tells whether a name is that of a feed's folder.
fn is_folder(name: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let hex = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    name.split_once('.').is_some_and(|(key, fork)| hex(key) && digits(fork))
}

/// Removes feeds that nothing speaks of any more: those of a history that was replaced before the last time.
fn sweep(site: &Path, before: Option<&Heads>) -> Result<(), Error> {
    let Some(before) = before else { return Ok(()) };
    let named = |feed: &Published| folder(&feed.key, feed.head.head.fork);
    let kept: Vec<String> = before.feeds.iter().map(named).collect();
    let files = fs::read_dir(site).map_err(|error| Error::io("read", site, &error))?;
    for file in files.flatten() {
        let name = file.file_name();
        let is_old = |name: &str| is_folder(name) && kept.iter().all(|kept| kept != name);
        if name.to_str().is_some_and(is_old) {
            let path = file.path();
            fs::remove_dir_all(&path).map_err(|error| Error::io("delete", &path, &error))?;
        }
    }
    Ok(())
}

/// Publishes one feed, and returns what is there of it then.
fn one(
    store: &mut AnyStore,
    slot: FeedSlot,
    key: &PublicKey,
    there: Option<&Published>,
    site: &Path,
    written: &mut Written,
) -> Result<Published, Error> {
    let head = *store.head(slot).expect("it was looked at");
    let (fork, length) = (head.head.fork, head.head.length);
    let there = there.filter(|there| there.head.head.fork == fork);
    let mut have = there.map(Published::have).unwrap_or_default();
    let from = there.map_or(0, |there| there.head.head.length);
    let path = site.join(folder(key, fork));
    fs::create_dir_all(&path).map_err(|error| Error::io("create", &path, &error))?;
    let mut new = store.have(slot).clone();
    have.runs().for_each(|run| new.clear_range(run));
    new.clear_range(length..u64::MAX);
    let fills = new.any(0..from);
    let name = |kind, number| site.join(file(key, fork, kind, number));
    let mut data = Segments::new(Kind::Data, &name);
    for run in new.runs().collect::<Vec<_>>() {
        blocks(store, slot, run, &mut data, &mut have, written)?;
    }
    data.sync()?;
    // What was there already has its nodes, unless there were holes in it.
    let mut tree = Segments::new(Kind::Tree, &name);
    let first = if fills { 0 } else { from };
    tree.at = nodes_over(first) * NODE_LEN;
    for block in first..length {
        for index in completed_by(BlockIndex(block)) {
            match store.node(slot, index).map_err(Error::store)? {
                Some(node) => tree.put(&encode_node(&node))?,
                None => tree.skip(NODE_LEN)?,
            }
        }
    }
    tree.sync()?;
    fs::File::open(&path)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| Error::io("write", &path, &error))?;
    let runs: Vec<Range<u64>> = have.runs().take(RUNS_MAX).collect();
    let blocks: u64 = runs.iter().map(|run| run.end - run.start).sum();
    written.blocks += blocks;
    written.missing += length - blocks;
    Ok(Published { key: *key, head, runs })
}

/// Writes a run of blocks where it belongs among the feed's bytes.
fn blocks(
    store: &mut AnyStore,
    slot: FeedSlot,
    run: Range<u64>,
    data: &mut Segments<'_>,
    have: &mut Bitfield,
    written: &mut Written,
) -> Result<(), Error> {
    let start = store.byte_offset(slot, BlockIndex(run.start)).map_err(Error::store)?;
    let Some(start) = start else { return Ok(()) };
    data.seek(start)?;
    for block in run {
        let block = BlockIndex(block);
        // One that rotted, or whose file changed, is as good as missing.
        match store.read(slot, block).map_err(Error::store)? {
            Some(bytes) => {
                data.put(&bytes)?;
                have.set(block.0);
                written.bytes_new += bytes.len() as u64;
            }
            None => {
                let leaf = store.leaf(slot, block).map_err(Error::store)?;
                let Some(leaf) = leaf else { return Ok(()) };
                data.skip(leaf.size)?;
            }
        }
    }
    Ok(())
}

/// The segments of one kind of file, written from some place on.
struct Segments<'a> {
    kind: Kind,
    name: &'a dyn Fn(Kind, u64) -> PathBuf,
    /// Where the next byte goes, among all of them.
    at: u64,
    /// What is to be written before that.
    waiting: Vec<u8>,
    open: Option<(u64, PathBuf, File)>,
}

impl<'a> Segments<'a> {
    fn new(kind: Kind, name: &'a dyn Fn(Kind, u64) -> PathBuf) -> Self {
        Self { kind, name, at: 0, waiting: Vec::new(), open: None }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.waiting.extend_from_slice(bytes);
        self.at += bytes.len() as u64;
        if self.waiting.len() >= PIECE { self.flush() } else { Ok(()) }
    }

    fn skip(&mut self, len: u64) -> Result<(), Error> {
        self.seek(self.at + len)
    }

    fn seek(&mut self, at: u64) -> Result<(), Error> {
        self.flush()?;
        self.at = at;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        let waiting = std::mem::take(&mut self.waiting);
        let start = self.at - waiting.len() as u64;
        let mut rest = &*waiting;
        for (number, place) in self.kind.pieces(start..self.at) {
            let len = usize::try_from(place.end - place.start).expect("it is a part of a piece");
            let (piece, behind) = rest.split_at(len);
            rest = behind;
            if self.open.as_ref().is_none_or(|(open, ..)| *open != number) {
                self.sync_open()?;
                let path = (self.name)(self.kind, number);
                let opened =
                    OpenOptions::new().write(true).create(true).truncate(false).open(&path);
                let opened = opened.map_err(|error| Error::io("open", &path, &error))?;
                self.open = Some((number, path, opened));
            }
            let (_, path, open) = self.open.as_ref().expect("it was opened");
            open.write_all_at(piece, place.start)
                .map_err(|error| Error::io("write", path, &error))?;
        }
        self.waiting = waiting;
        self.waiting.clear();
        Ok(())
    }

    fn sync_open(&mut self) -> Result<(), Error> {
        let Some((_, path, open)) = self.open.take() else { return Ok(()) };
        open.sync_data().map_err(|error| Error::io("write", &path, &error))
    }

    fn sync(mut self) -> Result<(), Error> {
        self.flush()?;
        self.sync_open()
    }
}
