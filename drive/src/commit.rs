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
    error::{Location, ReadError, Step, done},
    index::{
        lookup::IndexRoot,
        node::empty_node,
        tree::{OwnedPlace, Stop, Tree},
        update::{Batch, Edit, Observer, Pending, PendingNode, Updated, update},
        value::{Value, kind_and_size},
    },
    limits::{BLOCK_BYTES_MAX, FEEDS_MAX, MESSAGE_BYTES_MAX},
    path::DrivePath,
    tag::{TAGS, TagOp},
    tag_name::TagName,
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
    /// Tags that are set and deleted, sorted by their names, each once.
    pub tags: Vec<TagOp>,
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
    /// The tags are not sorted by their names, or have a name twice.
    #[error("the tags are not sorted at {0}")]
    UnsortedTags(TagName),
    /// A tag of a version that is later than the one the change is made on.
    #[error("the tag {0} names a version that is not there")]
    TagAhead(TagName),
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
/// a batch that changes neither names nor tags nor feeds makes no change.
pub fn commit<B: Blocks, A>(
    base: &Version,
    blocks: &B,
    ops: &[Op],
    info: ChangeInfo,
    append: &mut dyn FnMut(&[u8]) -> Result<BlockIndex, A>,
) -> Result<Step<Committed>, CommitError<B::Error, A>> {
    check(base, ops, &info)?;
    let number = base.number + 1;
    let mut batch = Batch::default();
    let mut counts = Counts { put: 0, deleted: 0, ..base.change.counts };
    let mut observe = |before: Option<&[u8]>, after: Option<&[u8]>| {
        tally(&mut counts, before, after);
    };
    let edits = edits(ops, number, &mut batch);
    let files = done!(edit(base, blocks, FILES, edits, &mut batch, &mut observe));
    let mut is_tagged = false;
    let mut observe = |before: Option<&[u8]>, after: Option<&[u8]>| is_tagged |= before != after;
    let edits = info.tags.iter().map(tag_edit).collect();
    let tags = done!(edit(base, blocks, TAGS, edits, &mut batch, &mut observe));
    let is_changed =
        counts.put + counts.deleted > 0 || is_tagged || info.feeds != base.change.feeds;
    if !is_changed {
        return Ok(Step::Done(Committed { version: base.clone(), blocks: 0 }));
    }
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
    write(base, batch, [files, tags], change, append).map(Step::Done)
}

/// An index as the change will have it.
struct NextRoot {
    namespace: &'static [u8],
    /// The root as it was.
    old: Vec<u8>,
    new: Option<PendingNode>,
}

impl NextRoot {
    /// Returns the root, once it is known where the blocks of the batch are; none for an index of tags without any. SPEC 8.9
    fn encode(&self, at: impl Fn(usize) -> Location) -> Option<Root> {
        let node = self.new.as_ref().map_or_else(|| self.old.clone(), |root| root.encode(at));
        let is_left_out = self.namespace == TAGS && node == empty_node();
        (!is_left_out).then(|| Root { namespace: self.namespace.to_vec(), node })
    }
}

/// Applies edits to the index of a namespace.
fn edit<B: Blocks, A>(
    base: &Version,
    blocks: &B,
    namespace: &'static [u8],
    edits: Vec<Edit>,
    batch: &mut Batch,
    observe: Observer<'_>,
) -> Result<Step<NextRoot>, CommitError<B::Error, A>> {
    let old = base.change.root(namespace).map_or_else(empty_node, <[u8]>::to_vec);
    let updated = {
        let tree = Tree::new(blocks, IndexRoot { node: &old, at: base.position })?;
        match update(&tree, edits, batch, observe) {
            Ok(updated) => updated,
            Err(Stop::Need(blocks)) => return Ok(Step::Need(blocks)),
            Err(Stop::Error(error)) => return Err(error.into()),
        }
    };
    let new = match updated {
        Updated::Unchanged => None,
        Updated::Root(root) => Some(root),
    };
    Ok(Step::Done(NextRoot { namespace, old, new }))
}

/// Appends the blocks of a batch and its change.
fn write<R, A>(
    base: &Version,
    batch: Batch,
    roots: [NextRoot; 2],
    mut change: Change,
    append: &mut dyn FnMut(&[u8]) -> Result<BlockIndex, A>,
) -> Result<Committed, CommitError<R, A>> {
    let is_other = |root: &&Root| root.namespace != FILES && root.namespace != TAGS;
    let others: Vec<Root> = base.change.roots.iter().filter(is_other).cloned().collect();
    let mut roots_at = |at: &dyn Fn(usize) -> Location| {
        let roots = roots.iter().filter_map(|root| root.encode(at));
        change.roots = roots.chain(others.iter().cloned()).collect();
        change.encode()
    };
    // The change is longest where the blocks it points to are farthest: check before the first one is appended.
    let far = |_| Location::changes(BlockIndex((1 << 56) - 1));
    if roots_at(&far).len() > BLOCK_BYTES_MAX {
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
    let block = roots_at(&|number| place(&written, number));
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
    check_tags(base, &info.tags)
}

fn check_tags<R, A>(base: &Version, ops: &[TagOp]) -> Result<(), CommitError<R, A>> {
    for pair in ops.windows(2) {
        if let [before, op] = pair
            && before.name() >= op.name()
        {
            return Err(CommitError::UnsortedTags(op.name().clone()));
        }
    }
    for op in ops {
        if let TagOp::Set(name, tag) = op
            && tag.position > base.position
        {
            return Err(CommitError::TagAhead(name.clone()));
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

/// Encodes a step about tags for the leaves.
fn tag_edit(op: &TagOp) -> Edit {
    let value = match op {
        TagOp::Delete(_) => None,
        TagOp::Set(_, tag) => Some((tag.identity(), OwnedPlace::Inline(tag.location()))),
    };
    Edit { key: op.name().as_str().as_bytes().to_vec(), value }
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
