//! Makes a change: a batch of puts and deletes on top of a version.
//!
//! Everything is read and decided before the first block is appended, so that a batch that needs a
//! missing block leaves nothing behind; but for a batch that is too long to wait ([`commit_streamed`]).
//! Order of the blocks: values before the leaves that point to them, children before parents, then
//! the change, so that every pointer goes backward and a head over the change covers all of it.

use alloc::{borrow::Cow, string::String, vec, vec::Vec};
use core::cell::RefCell;

use datnode_feed::{BlockIndex, Hash};
use thiserror::Error;

use crate::{
    blocks::Blocks,
    change::{Change, Counts, FILES, FeedRef, Op, Parent, Root, covers},
    entry::{Entry, Mtime},
    error::{Location, ReadError, Step, done},
    index::{
        lookup::IndexRoot,
        node::empty_node,
        tree::{OwnedPlace, Stop, Tree},
        update::{Batch, Edit, Observer, Pending, PendingNode, Updated, update},
        value::{Value, kind_and_size},
    },
    limits::{BLOCK_BYTES_MAX, FEEDS_MAX, INLINE_OPS_BYTES_MAX, MESSAGE_BYTES_MAX},
    path::{DrivePath, Key},
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
    let ops = ops.iter().map(|op| Ok(Cow::Borrowed(op)));
    make(base, blocks, ops, info, append, false)
}

/// Does the same with a batch of any length, which is taken op by op and never in memory as a whole.
///
/// Blocks are appended before all is decided: unless a change is made, roll the feed back. All of the base's index has to be
/// here, since what was taken of the batch is gone. An op that is an error ends it, as if appending had failed.
pub fn commit_streamed<B: Blocks, A>(
    base: &Version,
    blocks: &B,
    ops: impl IntoIterator<Item = Result<Op, A>>,
    info: ChangeInfo,
    append: &mut dyn FnMut(&[u8]) -> Result<BlockIndex, A>,
) -> Result<Step<Committed>, CommitError<B::Error, A>> {
    let ops = ops.into_iter().map(|op| op.map(Cow::Owned));
    make(base, blocks, ops, info, append, true)
}

fn make<'o, B: Blocks, A>(
    base: &Version,
    blocks: &B,
    ops: impl Iterator<Item = Result<Cow<'o, Op>, A>>,
    info: ChangeInfo,
    append: &mut dyn FnMut(&[u8]) -> Result<BlockIndex, A>,
    may_write_early: bool,
) -> Result<Step<Committed>, CommitError<B::Error, A>> {
    if info.message.len() > MESSAGE_BYTES_MAX {
        return Err(CommitError::MessageTooLong);
    }
    check_feeds(base, &info.feeds)?;
    check_tags(base, &info.tags)?;
    let number = base.number + 1;
    let failed = RefCell::new(None);
    let mut sink = |block: &[u8]| match append(block) {
        Ok(at) => Some(at),
        Err(error) => {
            *failed.borrow_mut() = Some(CommitError::Append(error));
            None
        }
    };
    let batch = RefCell::new(match may_write_early {
        true => Batch::written_early(&mut sink),
        false => Batch::default(),
    });
    let (mut checked, mut inline) = (Checked::default(), InlineOps::default());
    let edits = ops.map_while(|op| {
        let op = op.map_err(CommitError::Append);
        let op = op.and_then(|op| checked.check(&op, &info.feeds).map(|()| op));
        match op {
            Ok(op) => {
                inline.push(&op, number);
                Some(edit(&op, number, &mut batch.borrow_mut()))
            }
            Err(error) => {
                *failed.borrow_mut() = Some(error);
                None
            }
        }
    });
    let mut counts = Counts { put: 0, deleted: 0, ..base.change.counts };
    let mut observe = |before: Option<&[u8]>, after: Option<&[u8]>| {
        tally(&mut counts, before, after);
    };
    let files = index(base, blocks, FILES, edits, &batch, &mut observe);
    let files = done!(decided(files, &failed));
    let mut is_tagged = false;
    let mut observe = |before: Option<&[u8]>, after: Option<&[u8]>| is_tagged |= before != after;
    let edits = info.tags.iter().map(tag_edit);
    let tags = index(base, blocks, TAGS, edits, &batch, &mut observe);
    let tags = done!(decided(tags, &failed));
    let batch = batch.into_inner().ended();
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
        ops: inline.0.map(|inline| inline.0),
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
fn index<B: Blocks>(
    base: &Version,
    blocks: &B,
    namespace: &'static [u8],
    edits: impl Iterator<Item = Edit>,
    batch: &RefCell<Batch<'_>>,
    observe: Observer<'_>,
) -> Result<NextRoot, Stop<B::Error>> {
    let old = base.change.root(namespace).map_or_else(empty_node, <[u8]>::to_vec);
    let updated = {
        let tree = Tree::new(blocks, IndexRoot { node: &old, at: base.position })?;
        update(&tree, edits, batch, observe)?
    };
    let new = match updated {
        Updated::Unchanged => None,
        Updated::Root(root) => Some(root),
    };
    Ok(NextRoot { namespace, old, new })
}

/// Returns an index, unless its edits or the feed failed meanwhile.
fn decided<R, A>(
    index: Result<NextRoot, Stop<R>>,
    failed: &RefCell<Option<CommitError<R, A>>>,
) -> Result<Step<NextRoot>, CommitError<R, A>> {
    if let Some(error) = failed.take() {
        return Err(error);
    }
    match index {
        Ok(root) => Ok(Step::Done(root)),
        Err(Stop::Need(blocks)) => Ok(Step::Need(blocks)),
        Err(Stop::Error(error)) => Err(error.into()),
        Err(Stop::Refused) => unreachable!("who refused a block said why"),
    }
}

/// Appends the blocks of a batch and its change.
fn write<R, A>(
    base: &Version,
    mut batch: Batch<'_>,
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
    // The change is longest where the blocks it points to are farthest: check before the last ones are appended.
    let far = |_| Location::changes(BlockIndex((1 << 56) - 1));
    if roots_at(&far).len() > BLOCK_BYTES_MAX {
        return Err(CommitError::ChangeTooLong);
    }
    let mut failed = None;
    let is_written = batch.write(&mut |block| match append(block) {
        Ok(at) => Some(at),
        Err(error) => {
            failed = Some(error);
            None
        }
    });
    if let Some(error) = failed {
        return Err(CommitError::Append(error));
    }
    assert!(is_written, "who refused a block said why");
    let block = roots_at(&|number| batch.place(number));
    let position = append(&block).map_err(CommitError::Append)?;
    let id = Hash::of(&block);
    let version = Version { number: change.number, id, position, change };
    Ok(Committed { version, blocks: batch.count() + 1 })
}

/// What was checked of a batch so far.
#[derive(Default)]
struct Checked {
    last: Option<Key>,
}

impl Checked {
    /// Checks the next op.
    fn check<R, A>(&mut self, op: &Op, feeds: &[FeedRef]) -> Result<(), CommitError<R, A>> {
        let path = op.path();
        if path.is_root() {
            return Err(CommitError::Root);
        }
        let key = path.key();
        if self.last.as_ref().is_some_and(|last| *last >= key) {
            return Err(CommitError::Unsorted(path.clone()));
        }
        self.last = Some(key);
        if let Op::Put(path, entry) = op {
            if !entry.is_valid() {
                return Err(CommitError::InvalidEntry(path.clone()));
            }
            if !covers(feeds, entry) {
                return Err(CommitError::OutsideFeeds(path.clone()));
            }
        }
        Ok(())
    }
}

/// The batch as the change tells it, entries with its number, and its encoded length; nothing once it is too long for that.
struct InlineOps(Option<(Vec<Op>, usize)>);

impl Default for InlineOps {
    fn default() -> Self {
        Self(Some((Vec::new(), 0)))
    }
}

impl InlineOps {
    fn push(&mut self, op: &Op, number: u64) {
        self.0 = self.0.take().and_then(|(mut ops, len)| {
            let len = len + op.encoded_len(number);
            let stamped = match op {
                Op::Delete(path) => Op::Delete(path.clone()),
                Op::Put(path, entry) => {
                    Op::Put(path.clone(), Entry { change: number, ..entry.clone() })
                }
            };
            ops.push(stamped);
            (len <= INLINE_OPS_BYTES_MAX).then_some((ops, len))
        });
    }
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

/// Encodes an op for the leaves; a long value becomes a block.
fn edit(op: &Op, number: u64, batch: &mut Batch<'_>) -> Edit {
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
}

/// Encodes a step about tags for the leaves.
fn tag_edit(op: &TagOp) -> Edit {
    let value = match op {
        TagOp::Delete(_) => None,
        TagOp::Set(_, tag) => Some((tag.identity(), OwnedPlace::Inline(tag.location()))),
    };
    Edit { key: op.name().as_str().as_bytes().to_vec(), value }
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
