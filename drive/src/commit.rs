//! Makes a change: a batch of puts and deletes on top of a version.
//!
//! Everything is read and decided before the first block is appended, so that a batch that needs a
//! missing block leaves nothing behind. Order of the blocks: spilled values, then nodes, children
//! before parents, then the change, so that every pointer goes backward and a head over the change
//! covers all of it.

use alloc::{string::String, vec, vec::Vec};

use datnode_feed::{BlockIndex, Hash};
use thiserror::Error;

use crate::{
    blocks::Blocks,
    change::{Change, Counts, FILES, FeedRef, Op, Parent, Root, covers, inline_ops},
    entry::{Entry, Mtime},
    error::{Location, ReadError, Step},
    index::{
        lookup::IndexRoot,
        tree::{OwnedPlace, Stop, Tree},
        update::{Batch, Edit, Pending, PendingNode, Updated, update},
        value::{Value, kind_and_size},
    },
    limits::{BLOCK_BYTES_MAX, FEEDS_MAX, MESSAGE_BYTES_MAX},
    path::DrivePath,
    version::Version,
};

/// What a change says beside its batch.
#[derive(Clone, Debug, Default)]
pub struct ChangeInfo {
    /// When it is made.
    pub time: Mtime,
    /// What the writer says about it; at most 4,096 bytes.
    pub message: String,
    /// The feeds of slots 1, 2, … as they are now. The base's feeds come first, and none is
    /// shorter than it was.
    pub feeds: Vec<FeedRef>,
}

/// What a commit made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The new version; the base itself if the batch changed nothing.
    pub version: Version,
    /// How many blocks were appended.
    pub blocks: u64,
}

/// Why a change is not made. Nothing was appended, unless appending itself failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CommitError<R, A> {
    /// The base cannot be read.
    #[error("cannot read the version the change is made on")]
    Read(#[source] ReadError<R>),
    /// A block cannot be appended; roll the feed back.
    #[error("cannot append to the changes feed")]
    Append(#[source] A),
    /// The batch is not sorted by its keys, or has a path twice.
    #[error("the batch is not sorted at {0}")]
    Unsorted(DrivePath),
    /// The root has no entry.
    #[error("the root cannot be set or deleted")]
    Root,
    /// An entry no reader would take: sizes that disagree, or more than 64 KiB of it. A file of
    /// very many extents has to be stored anew, contiguously.
    #[error("the entry of {0} is not valid or too long")]
    InvalidEntry(DrivePath),
    /// An entry with blocks that the feed table does not cover.
    #[error("the entry of {0} names blocks outside of the change's feeds")]
    OutsideFeeds(DrivePath),
    /// A feed table that does not continue the base's.
    #[error("the feed table does not continue the last one")]
    Feeds,
    /// A message of more than 4,096 bytes.
    #[error("the message is longer than {MESSAGE_BYTES_MAX} bytes")]
    MessageTooLong,
    /// A change of more than 1 MiB.
    #[error("the change is longer than {BLOCK_BYTES_MAX} bytes")]
    ChangeTooLong,
}

impl<R, A> From<ReadError<R>> for CommitError<R, A> {
    fn from(error: ReadError<R>) -> Self {
        Self::Read(error)
    }
}

/// Writes the index nodes and the change of a batch. SPEC 8.3
///
/// `ops` are sorted by [`DrivePath::key`], each path once. `append` puts a block at the end of the
/// changes feed. Entries get the number of the new change. Deletes of what is not there do nothing;
/// a batch that changes neither names nor feeds makes no change.
pub fn commit<B: Blocks, A>(
    base: &Version,
    blocks: &B,
    ops: &[Op],
    info: ChangeInfo,
    append: &mut dyn FnMut(&[u8]) -> Result<BlockIndex, A>,
) -> Result<Step<Committed>, CommitError<B::Error, A>> {
    check(base, ops, &info)?;
    let number = base.number + 1;
    let node = base.files_node();
    let mut batch = Batch::default();
    let mut counts = Counts { put: 0, deleted: 0, ..base.change.counts };
    let updated = {
        let root = IndexRoot { node: &node, at: base.position };
        let tree = Tree::new(blocks, root)?;
        let edits = edits(ops, number, &mut batch);
        let mut observe = |before: Option<&[u8]>, after: Option<&[u8]>| {
            tally(&mut counts, before, after);
        };
        match update(&tree, edits, &mut batch, &mut observe) {
            Ok(updated) => updated,
            Err(Stop::Need(blocks)) => return Ok(Step::Need(blocks)),
            Err(Stop::Error(error)) => return Err(error.into()),
        }
    };
    let is_changed = counts.put + counts.deleted > 0 || info.feeds != base.change.feeds;
    if !is_changed {
        return Ok(Step::Done(Committed { version: base.clone(), blocks: 0 }));
    }
    let root = match updated {
        Updated::Unchanged => None,
        Updated::Root(root) => Some(root),
    };
    let change = Change {
        number,
        parents: vec![Parent { slot: 0, position: base.position.0, version: base.id }],
        feeds: info.feeds,
        roots: Vec::new(),
        ops: inline_ops(ops, number).map(|_| stamped(ops, number)),
        counts,
        time: info.time,
        message: info.message,
        skips: base.change.skips.of_next(base.number, base.position.0),
    };
    write(base, batch, root, node, change, append).map(Step::Done)
}

/// Appends the blocks of a batch and its change.
fn write<R, A>(
    base: &Version,
    batch: Batch,
    root: Option<PendingNode>,
    old_root: Vec<u8>,
    mut change: Change,
    append: &mut dyn FnMut(&[u8]) -> Result<BlockIndex, A>,
) -> Result<Committed, CommitError<R, A>> {
    change.roots =
        base.change.roots.iter().filter(|root| root.namespace != FILES).cloned().collect();
    // The root only gains a few bytes when its children's positions are known: check before the
    // first block is appended.
    let far = |_| Location::changes(BlockIndex((1 << 56) - 1));
    let root_len = root.as_ref().map_or(old_root.len(), |root| root.encode(far).len());
    if change.encode().len() + root_len + 64 > BLOCK_BYTES_MAX {
        return Err(CommitError::ChangeTooLong);
    }
    let mut written: Vec<Option<BlockIndex>> = Vec::with_capacity(batch.blocks.len());
    let mut count = 0;
    for block in batch.blocks {
        let bytes = match &block {
            None => {
                written.push(None);
                continue;
            }
            Some(Pending::Spill(bytes)) => append(bytes),
            Some(Pending::Node(node)) => append(&node.encode(|number| place(&written, number))),
        };
        written.push(Some(bytes.map_err(CommitError::Append)?));
        count += 1;
    }
    let node = root.map_or(old_root, |root| root.encode(|number| place(&written, number)));
    change.roots.insert(0, Root { namespace: FILES.to_vec(), node });
    let block = change.encode();
    let position = append(&block).map_err(CommitError::Append)?;
    let id = Hash::of(&block);
    let version = Version { number: change.number, id, position, change };
    Ok(Committed { version, blocks: count + 1 })
}

/// Returns where a block of the batch was written. Children come before their parents.
fn place(written: &[Option<BlockIndex>], number: usize) -> Location {
    let block = written.get(number).copied().flatten();
    Location::changes(block.expect("children are written before their parents"))
}

fn check<R, A>(base: &Version, ops: &[Op], info: &ChangeInfo) -> Result<(), CommitError<R, A>> {
    if info.message.len() > MESSAGE_BYTES_MAX {
        return Err(CommitError::MessageTooLong);
    }
    check_feeds(base, &info.feeds)?;
    let mut last = None;
    for op in ops {
        let path = op.path();
        if path.is_root() {
            return Err(CommitError::Root);
        }
        let key = path.key();
        if last.as_ref().is_some_and(|last| *last >= key) {
            return Err(CommitError::Unsorted(path.clone()));
        }
        last = Some(key);
        if let Op::Put(path, entry) = op {
            if !entry.is_valid() {
                return Err(CommitError::InvalidEntry(path.clone()));
            }
            if !covers(&info.feeds, entry) {
                return Err(CommitError::OutsideFeeds(path.clone()));
            }
        }
    }
    Ok(())
}

/// A slot never changes its meaning, so that nodes of older changes can be kept. SPEC 8.3
fn check_feeds<R, A>(base: &Version, feeds: &[FeedRef]) -> Result<(), CommitError<R, A>> {
    let continues = |(old, new): (&FeedRef, &FeedRef)| {
        old.key == new.key
            && old.role == new.role
            && (old.fork, old.length) <= (new.fork, new.length)
    };
    let old = &base.change.feeds;
    if feeds.len() > FEEDS_MAX || feeds.len() < old.len() || !old.iter().zip(feeds).all(continues) {
        return Err(CommitError::Feeds);
    }
    Ok(())
}

/// Encodes the batch for the leaves; long values become blocks.
fn edits(ops: &[Op], number: u64, batch: &mut Batch) -> Vec<Edit> {
    let edit = |op: &Op| {
        let value = match op {
            Op::Delete(_) => None,
            Op::Put(_, entry) => {
                let value = Value::of(entry, number);
                let place = match value.location {
                    Ok(bytes) => OwnedPlace::Inline(bytes),
                    Err(spill) => batch.push(Pending::Spill(spill)),
                };
                Some((value.identity, place))
            }
        };
        Edit { key: op.path().key().into_bytes(), value }
    };
    ops.iter().map(edit).collect()
}

/// Returns the batch as the change tells it, entries with its number.
fn stamped(ops: &[Op], number: u64) -> Vec<Op> {
    let stamp = |op: &Op| match op {
        Op::Delete(path) => Op::Delete(path.clone()),
        Op::Put(path, entry) => Op::Put(path.clone(), Entry { change: number, ..entry.clone() }),
    };
    ops.iter().map(stamp).collect()
}

/// Counts one edit: what was there goes, what comes is added.
fn tally(counts: &mut Counts, before: Option<&[u8]>, after: Option<&[u8]>) {
    // An identity whose kind is unknown was refused when its entry was read; it counts as nothing.
    if let Some(Ok((kind, size))) = before.map(kind_and_size) {
        counts.count(kind, size, false);
    }
    if let Some(Ok((kind, size))) = after.map(kind_and_size) {
        counts.count(kind, size, true);
    }
    match (before, after) {
        (_, Some(_)) => counts.put += 1,
        (Some(_), None) => counts.deleted += 1,
        (None, None) => {}
    }
}
