//! Takes one file in: chunks that the store holds are found again, the others are appended.
//!
//! What is found again is taken in runs as long as can be, wherever the same chunks are. Elsewhere: what becomes of runs that are too
//! short (`join`).

use std::collections::BTreeSet;
use std::path::Path;

use datnode_drive::limits::EXTENTS_FREE;
use datnode_drive::{ChunkIndex, Entry, FileBuilder, Location};
use datnode_feed::{BlockIndex, FeedSlot, InPlace, Node, Place, Storage, Store};

use super::Keep;
use super::ahead::{Ahead, Part};
use crate::error::Error;

/// The content feed, in the feed table of a change.
pub(super) const SLOT: u16 = 1;
/// How many extents wait for the end of their file, at most: some four times what an entry holds.
const EXTENTS_PENDING: usize = 16_384;
/// Of how many runs that begin with the same chunk it is looked how far they go.
const STARTS_MAX: usize = 16;
/// A chunk that follows itself is stored so often that a run of it has so many times the bytes of a usual one: of a file with large
/// holes a quarter of the extents are enough for these.
const REPEATED_RUNS: u64 = 4;

/// Knows the chunks that are stored.
pub(super) struct Taker {
    pub(super) keep: Keep,
    pub(super) chunks: ChunkIndex,
    /// From which block on they were appended here.
    first_new: u64,
    /// Blocks that were put in place in a file which changed meanwhile: their bytes may be nowhere.
    pub(super) void: BTreeSet<u64>,
    /// Blocks that were put in place in the file that is being taken.
    placed: Vec<u64>,
    pub(super) files: u64,
    pub(super) bytes_new: u64,
    pub(super) bytes_known: u64,
}

/// Which file is taken.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    /// The shared folder, and the file's place in it.
    pub(super) root: &'a Path,
    pub(super) path: &'a [u8],
    /// How long it was when it was looked at.
    pub(super) size: u64,
}

/// A file that is being taken.
#[derive(Default)]
pub(super) struct Taking {
    pub(super) builder: FileBuilder,
    /// The first blocks of the runs that hold the chunks of the last extent; its own is the first.
    pub(super) starts: Vec<u64>,
    /// The chunk before.
    last: Option<Node>,
    /// Whether it was found to be another one while it was read again.
    pub(super) changed: bool,
}

/// What came of a file.
pub(super) enum Taken {
    Entry(Entry),
    /// It changed each time while it was read.
    Unsteady,
    Unreadable(String),
}

impl Taking {
    /// Notes that the last run is where it is, and nowhere else.
    pub(super) fn settle_last(&mut self) {
        self.starts.clear();
        self.starts.extend(self.builder.extents().last().map(|run| run.first_block));
    }
}

impl Taker {
    /// Begins with the chunks of the blocks below `first_new`, which is where the feed ends.
    pub(super) fn new(keep: Keep, chunks: ChunkIndex, first_new: u64) -> Self {
        let (void, placed) = (BTreeSet::new(), Vec::new());
        let (files, bytes_new, bytes_known) = (0, 0, 0);
        Self { keep, chunks, first_new, void, placed, files, bytes_new, bytes_known }
    }

    /// Takes the next file that was read ahead; its new chunks are appended to the content feed. `each` is called with each chunk, and
    /// may end it.
    pub(super) fn take<S: Storage>(
        &mut self,
        store: &mut Store<S>,
        content: FeedSlot,
        source: Source<'_>,
        ahead: &mut Ahead,
        mut each: impl FnMut(&mut Store<S>, &Self) -> Result<(), Error>,
    ) -> Result<Taken, Error> {
        self.files += 1;
        let mut file = Taking::default();
        loop {
            match ahead.next() {
                // There is nothing to be had of it any more.
                Part::Chunk(..) if file.changed => {}
                Part::Chunk(bytes, node) => {
                    self.chunk(store, content, &mut file, source, bytes, node)?;
                    each(store, self)?;
                    // Or memory would grow with the file.
                    if file.builder.extents().len() >= EXTENTS_PENDING {
                        self.join(store, content, &mut file, source, &mut each)?;
                    }
                }
                Part::Again => {
                    self.void.extend(self.placed.drain(..));
                    file = Taking::default();
                }
                Part::Whole(whole) => {
                    self.join(store, content, &mut file, source, &mut each)?;
                    if file.changed {
                        self.void.extend(self.placed.drain(..));
                        return Ok(Taken::Unsteady);
                    }
                    self.placed.clear();
                    let entry = file.builder.finish(whole.mode, whole.mtime, whole.content);
                    return Ok(Taken::Entry(entry));
                }
                Part::Unsteady => {
                    self.void.extend(self.placed.drain(..));
                    return Ok(Taken::Unsteady);
                }
                Part::Unreadable(why) => {
                    self.void.extend(self.placed.drain(..));
                    return Ok(Taken::Unreadable(why));
                }
            }
        }
    }

    /// Finds the next chunk of a file in the store or appends it.
    fn chunk<S: Storage>(
        &mut self,
        store: &mut Store<S>,
        content: FeedSlot,
        file: &mut Taking,
        source: Source<'_>,
        bytes: &[u8],
        node: Node,
    ) -> Result<(), Error> {
        let at = InPlace { path: source.path, offset: file.builder.size() };
        let goes_on = self.go_on(store, content, file, node)?;
        let is_known = goes_on || {
            let is_repeated = is_repeated(file, node, source, store.appended(content));
            !is_repeated && self.begin(store, content, file, node)?
        };
        if is_known {
            self.bytes_known += node.size;
            let count =
                file.builder.extents().last().filter(|_| goes_on).map_or(0, |run| run.count);
            // Which of them it will be shows when the others do not go on.
            for start in &file.starts {
                self.settle(store, content, BlockIndex(start + count), bytes, at)?;
            }
            let block = BlockIndex(file.starts[0] + count);
            let first_byte = match file.builder.extents().last() {
                Some(run) if goes_on => run.first_byte + run.bytes,
                _ => first_byte(store, content, block)?,
            };
            file.builder.push(&node, Location { slot: SLOT, block }, first_byte);
        } else {
            let first_byte = store.appended(content).1;
            let block = self.append(store, content, bytes, node, at)?;
            file.builder.push(&node, Location { slot: SLOT, block }, first_byte);
            file.settle_last();
            // A run of the same chunk is found by its first one.
            if file.last != Some(node) || file.starts == [block.0] {
                self.chunks.insert(&node.hash, block);
            }
        }
        file.last = Some(node);
        Ok(())
    }

    /// Tells whether the last run goes on with a chunk; of the runs that hold the same chunks those are left that do.
    fn go_on<S: Storage>(
        &self,
        store: &Store<S>,
        content: FeedSlot,
        file: &mut Taking,
        node: Node,
    ) -> Result<bool, Error> {
        let Some(last) = file.builder.extents().last().copied() else { return Ok(false) };
        let mut going = 0;
        for at in 0..file.starts.len() {
            let start = file.starts[at];
            if self.holds(store, content, BlockIndex(start + last.count), node)? {
                file.starts[going] = start;
                going += 1;
            }
        }
        if going == 0 {
            return Ok(false);
        }
        file.starts.truncate(going);
        if file.starts[0] != last.first_block {
            let block = BlockIndex(file.starts[0]);
            let first_byte = first_byte(store, content, block)?;
            file.builder.move_last(Location { slot: SLOT, block }, first_byte);
        }
        Ok(true)
    }

    /// Finds runs that begin with a chunk, the latest first; tells whether there are any.
    fn begin<S: Storage>(
        &self,
        store: &Store<S>,
        content: FeedSlot,
        file: &mut Taking,
        node: Node,
    ) -> Result<bool, Error> {
        let (mut held, mut known) = (Vec::new(), None);
        for block in self.chunks.get(&node.hash) {
            if self.holds(store, content, block, node)? {
                held.push(block.0);
            } else if store.leaf(content, block).map_err(Error::store)? == Some(node) {
                known = Some(block.0);
            }
        }
        if held.is_empty() {
            held.extend(known);
        }
        held.sort_unstable_by(|a, b| b.cmp(a));
        held.truncate(STARTS_MAX);
        let is_known = !held.is_empty();
        if is_known {
            file.starts = held;
        }
        Ok(is_known)
    }

    /// Tells whether a block is a chunk that nothing has to be stored for.
    fn holds<S: Storage>(
        &self,
        store: &Store<S>,
        content: FeedSlot,
        block: BlockIndex,
        node: Node,
    ) -> Result<bool, Error> {
        if store.leaf(content, block).map_err(Error::store)? != Some(node) {
            return Ok(false);
        }
        if block.0 >= self.first_new {
            return Ok(!self.void.contains(&block.0));
        }
        let in_data = || {
            let place = store.where_is(content, block).map_err(Error::store)?;
            Ok(matches!(place, Some(Place::Data { .. })))
        };
        // In place it is enough that it is in the file that is being taken.
        if self.keep == Keep::InPlace { Ok(true) } else { in_data() }
    }

    /// Appends a chunk of the file that is being taken.
    pub(super) fn append<S: Storage>(
        &mut self,
        store: &mut Store<S>,
        content: FeedSlot,
        bytes: &[u8],
        node: Node,
        at: InPlace<'_>,
    ) -> Result<BlockIndex, Error> {
        let block = match self.keep {
            Keep::History => store.append_hashed(content, bytes, node),
            Keep::InPlace => store.append_in_place(content, node, at),
        };
        let block = block.map_err(Error::store)?;
        if self.keep == Keep::InPlace {
            self.placed.push(block.0);
        }
        self.bytes_new += node.size;
        Ok(block)
    }

    /// Sees to it that a known block is where it stays: in the store, or in a file that is as the version has it.
    fn settle<S: Storage>(
        &mut self,
        store: &mut Store<S>,
        content: FeedSlot,
        block: BlockIndex,
        bytes: &[u8],
        at: InPlace<'_>,
    ) -> Result<(), Error> {
        if block.0 >= self.first_new && !self.void.contains(&block.0) {
            // It was put there just now.
            return Ok(());
        }
        let settled = match (store.where_is(content, block).map_err(Error::store)?, self.keep) {
            (Some(Place::Data { .. }), _) => return Ok(()),
            // Where it was, it may not be any more.
            (_, Keep::InPlace) => {
                self.void.remove(&block.0);
                self.placed.push(block.0);
                store.place(content, block, at)
            }
            (_, Keep::History) => store.keep(content, block, bytes),
        };
        settled.map_err(Error::store)
    }
}

/// Returns where a block begins.
fn first_byte<S: Storage>(
    store: &Store<S>,
    content: FeedSlot,
    block: BlockIndex,
) -> Result<u64, Error> {
    let known = store.byte_offset(content, block).map_err(Error::store)?;
    known.ok_or_else(|| Error::verify("the sizes of a writer's own blocks are not all here"))
}

/// Tells whether a chunk that follows itself is stored once more: where the same bytes go on and on, the runs would be of one chunk each.
fn is_repeated(file: &Taking, node: Node, source: Source<'_>, end: (u64, u64)) -> bool {
    let extents = file.builder.extents();
    let is_short = || {
        let size = source.size.max(file.builder.size());
        let most = REPEATED_RUNS * file.builder.run_bytes(size, end);
        extents.last().is_some_and(|run| run.bytes < most)
    };
    file.last == Some(node) && extents.len() >= EXTENTS_FREE && is_short()
}
