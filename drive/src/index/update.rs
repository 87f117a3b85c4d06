//! Applies a batch of edits to an index, level by level, reading and writing only what it touches.
//!
//! On each level the edits are merged into the old nodes around them and the keys are cut anew
//! (`boundary`), from two nodes to the left of an edit until a cut meets the start of an old node
//! with no edit in sight. The nodes that went and came are the edits of the level above.
//!
//! Edits of the leaves are taken as they come, and leaves may be written before the next ones are made: so a batch of any length
//! takes no more memory than the nodes above its leaves.

use alloc::{
    collections::{BTreeMap, VecDeque},
    rc::Rc,
    vec::Vec,
};
use core::{cell::RefCell, iter::Peekable};

use datnode_feed::{BlockIndex, Hash};

use super::{
    boundary::{LOOK_BACK, Mark, first_node},
    node::{NodeWriter, Place},
    tree::{OldNode, OldRef, OwnedItem, OwnedPlace, Stop, Tree},
};
use crate::{
    blocks::Blocks,
    error::Location,
    limits::{INDEX_LEVELS_MAX, NODE_BYTES_MAX, NODE_WEIGHT_MAX},
};

/// Sets (`Some`) or removes (`None`) what is under a key.
pub(crate) struct Edit {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Option<(Vec<u8>, OwnedPlace)>,
}

/// A block to be written, with references to others that are to be written before it.
pub(crate) enum Pending {
    Spill(Vec<u8>),
    Node(PendingNode),
}

/// A node to be written.
pub(crate) struct PendingNode {
    level: u8,
    items: Vec<OwnedItem>,
}

/// Is told of each edit of a leaf: the inline identities before and after.
pub(crate) type Observer<'o> = &'o mut dyn FnMut(Option<&[u8]>, Option<&[u8]>);

/// Takes a block of the feed in the making; nothing if that failed, of which it knows more.
pub(crate) type Sink<'s> = &'s mut dyn FnMut(&[u8]) -> Option<BlockIndex>;

/// How many blocks wait before they are written, where they may be.
const WAITING_MAX: usize = 64;

/// The blocks of a batch, children before parents.
#[derive(Default)]
pub(crate) struct Batch<'s> {
    /// Where those are that were written; nothing for one that turned out not to be needed.
    written: Vec<Option<BlockIndex>>,
    /// Those behind them.
    waiting: VecDeque<Option<Pending>>,
    /// Where blocks may go before all of them are known.
    early: Option<Sink<'s>>,
}

impl<'s> Batch<'s> {
    /// Begins a batch of which blocks may be written before all of them are known.
    pub(crate) fn written_early(sink: Sink<'s>) -> Self {
        Self { early: Some(sink), ..Self::default() }
    }

    pub(crate) fn push(&mut self, block: Pending) -> OwnedPlace {
        self.waiting.push_back(Some(block));
        OwnedPlace::New(self.written.len() + self.waiting.len() - 1)
    }

    fn take_node(&mut self, number: usize) -> Option<PendingNode> {
        let waiting = number.checked_sub(self.written.len())?;
        match self.waiting.get_mut(waiting)?.take() {
            Some(Pending::Node(node)) => Some(node),
            _ => None,
        }
    }

    /// Writes what waits, if that is much and may be.
    fn write_early<E>(&mut self) -> Result<(), Stop<E>> {
        if self.waiting.len() < WAITING_MAX {
            return Ok(());
        }
        let Some(sink) = self.early.take() else { return Ok(()) };
        let is_written = self.write(sink);
        self.early = Some(sink);
        if is_written { Ok(()) } else { Err(Stop::Refused) }
    }

    /// Takes the batch as no more of it comes: nothing is written early from here on.
    pub(crate) fn ended(self) -> Batch<'static> {
        Batch { written: self.written, waiting: self.waiting, early: None }
    }

    /// Writes what waits; tells whether all of it was taken.
    pub(crate) fn write(&mut self, sink: Sink<'_>) -> bool {
        while let Some(block) = self.waiting.pop_front() {
            let at = match &block {
                None => None,
                Some(Pending::Spill(bytes)) => sink(bytes),
                Some(Pending::Node(node)) => sink(&node.encode(|number| self.place(number))),
            };
            if block.is_some() && at.is_none() {
                return false;
            }
            self.written.push(at);
        }
        true
    }

    /// Returns where a block was written. Children come before their parents.
    pub(crate) fn place(&self, number: usize) -> Location {
        let block = self.written.get(number).copied().flatten();
        Location::changes(block.expect("children are written before their parents"))
    }

    /// Returns how many blocks were written.
    pub(crate) fn count(&self) -> u64 {
        self.written.iter().flatten().count() as u64
    }
}

impl PendingNode {
    /// Returns the node's bytes, once it is known where the blocks it points to are.
    pub(crate) fn encode(&self, at: impl Fn(usize) -> Location) -> Vec<u8> {
        let (bytes, _) = self.write(|item, writer| match &item.place {
            OwnedPlace::Inline(bytes) => writer.place(Place::Inline(bytes)),
            OwnedPlace::At(location) => writer.place(Place::At(*location)),
            OwnedPlace::New(number) => writer.place(Place::At(at(*number))),
        });
        assert!(bytes.len() <= NODE_BYTES_MAX, "the cutting rule bounds a node");
        bytes
    }

    fn identity_hash(&self) -> Hash {
        self.write(|_, _| {}).1
    }

    fn write(&self, place: impl Fn(&OwnedItem, &mut NodeWriter)) -> (Vec<u8>, Hash) {
        let mut writer = NodeWriter::new(self.level, self.items.len());
        for item in &self.items {
            writer.identity(&item.key, &item.identity);
            place(item, &mut writer);
        }
        writer.finish()
    }
}

/// What became of the index.
pub(crate) enum Updated {
    Unchanged,
    /// The root, which is not among the batch's blocks.
    Root(PendingNode),
}

/// Applies edits, which are sorted by their keys; blocks that whoever makes them puts into the batch come before their nodes.
pub(crate) fn update<B: Blocks>(
    tree: &Tree<'_, B>,
    edits: impl Iterator<Item = Edit>,
    batch: &RefCell<Batch<'_>>,
    observe: Observer<'_>,
) -> Result<Updated, Stop<B::Error>> {
    let mut ignore = |_: Option<&[u8]>, _: Option<&[u8]>| {};
    let mut output =
        Level { tree, level: 0, batch, observe, output: BTreeMap::new() }.run(edits)?;
    for level in 0..INDEX_LEVELS_MAX {
        if output.is_empty() {
            return Ok(Updated::Unchanged);
        }
        let mut edits: Vec<_> =
            output.into_iter().map(|(key, value)| Edit { key, value }).collect();
        if level >= tree.level() {
            // Nothing old is above: what came is the whole level.
            edits.retain(|edit| edit.value.is_some());
            match edits.as_slice() {
                [] => return Ok(Updated::Root(PendingNode { level: 0, items: Vec::new() })),
                [Edit { value: Some((_, place)), .. }] => {
                    return root(tree, &mut batch.borrow_mut(), place).map(Updated::Root);
                }
                _ => {}
            }
        }
        let above =
            Level { tree, level: level + 1, batch, observe: &mut ignore, output: BTreeMap::new() };
        output = above.run(edits.into_iter())?;
    }
    // Every level has at most half the nodes of the one below, so that only a base whose levels
    // were wrong already gets here.
    Err(Stop::Error(tree.wrong_level()))
}

/// Returns the root: the top node, or what is below it while that has a single child.
fn root<B: Blocks>(
    tree: &Tree<'_, B>,
    batch: &mut Batch<'_>,
    top: &OwnedPlace,
) -> Result<PendingNode, Stop<B::Error>> {
    let OwnedPlace::New(number) = top else {
        unreachable!("the old root has no block, so it is never kept as it is");
    };
    let mut node = batch.take_node(*number).expect("a new node is among the blocks");
    loop {
        let below = match node.items.as_slice() {
            [only] if node.level > 0 => only,
            _ => return Ok(node),
        };
        node = match below.place {
            OwnedPlace::New(number) => {
                batch.take_node(number).expect("a new node is among the blocks")
            }
            _ => {
                let old = tree.reused(node.level, below)?;
                PendingNode { level: old.level, items: old.items.clone() }
            }
        };
    }
}

/// One level of an update.
struct Level<'l, 't, 's, B> {
    tree: &'l Tree<'t, B>,
    level: u8,
    batch: &'l RefCell<Batch<'s>>,
    observe: Observer<'l>,
    output: Output,
}

/// Nodes of a level that went (`None`) and came, by their first keys.
type Output = BTreeMap<Vec<u8>, Option<(Vec<u8>, OwnedPlace)>>;

/// A key that waits to be cut off.
struct Queued {
    item: OwnedItem,
    mark: Mark,
    /// Which item of how many of its old node; none if the batch set it.
    origin: Option<(usize, Rc<OldNode>)>,
}

/// A stretch of a level that is cut anew.
struct Stretch<I: Iterator<Item = Edit>> {
    edits: Peekable<I>,
    /// What is left of the current old node.
    old: VecDeque<Queued>,
    /// The first key of the old node behind it.
    next: Option<Vec<u8>>,
    queue: VecDeque<Queued>,
    weight: usize,
    last_edit: Option<Vec<u8>>,
}

impl<B: Blocks> Level<'_, '_, '_, B> {
    fn run(mut self, edits: impl Iterator<Item = Edit>) -> Result<Output, Stop<B::Error>> {
        let mut edits = edits.peekable();
        let mut met: Option<Vec<u8>> = None;
        while let Some(edit) = edits.peek() {
            let start = self.start(&edit.key, met.as_deref())?;
            let mut stretch = Stretch {
                edits,
                old: VecDeque::new(),
                next: start.map(|start| start.first),
                queue: VecDeque::new(),
                weight: 0,
                last_edit: None,
            };
            met = self.stretch(&mut stretch)?;
            edits = stretch.edits;
        }
        Ok(self.output)
    }

    /// Returns the first node that an edit of `key` may change, not before where the last stretch
    /// ended.
    fn start(&self, key: &[u8], met: Option<&[u8]>) -> Result<Option<OldRef>, Stop<B::Error>> {
        let Some(mut start) = self.tree.locate(self.level, key)? else {
            return Ok(None);
        };
        for _ in 0..LOOK_BACK {
            if met == Some(start.first.as_slice()) {
                break;
            }
            match self.tree.locate_before(self.level, &start.first)? {
                Some(before) => start = before,
                None => break,
            }
        }
        Ok(Some(start))
    }

    /// Cuts until the end or until a cut meets an old one; returns the first key behind that.
    fn stretch<I: Iterator<Item = Edit>>(
        &mut self,
        stretch: &mut Stretch<I>,
    ) -> Result<Option<Vec<u8>>, Stop<B::Error>> {
        let mut has_come = false;
        loop {
            while stretch.weight < NODE_WEIGHT_MAX && self.pull(stretch)? {}
            let Some(front) = stretch.queue.front() else {
                return Ok(None);
            };
            let is_old_start = front.origin.as_ref().is_some_and(|(index, _)| *index == 0);
            let is_edited = stretch.last_edit.as_ref().is_some_and(|edit| *edit >= front.item.key);
            if is_old_start && !is_edited && has_come {
                let met = front.item.key.clone();
                // From there on all stays.
                self.output.split_off(&met);
                return Ok(Some(met));
            }
            let count = first_node(stretch.queue.iter().map(|queued| queued.mark));
            let node: Vec<Queued> = stretch.queue.drain(..count).collect();
            stretch.weight -= node.iter().map(|queued| queued.mark.weight).sum::<usize>();
            self.emit(node)?;
            has_come = true;
        }
    }

    /// Writes a node, or keeps the old one if it is the same.
    fn emit(&mut self, node: Vec<Queued>) -> Result<(), Stop<B::Error>> {
        let Some(first) = node.first() else {
            return Ok(());
        };
        let key = first.item.key.clone();
        if is_kept(&node) {
            self.output.remove(&key);
            return Ok(());
        }
        let items = node.into_iter().map(|queued| queued.item).collect();
        let node = PendingNode { level: self.level, items };
        let hash = node.identity_hash();
        let mut batch = self.batch.borrow_mut();
        // A leaf is written only when there is another one: the last one may be the root, which has no block.
        if self.level == 0 {
            batch.write_early()?;
        }
        let place = batch.push(Pending::Node(node));
        self.output.insert(key, Some((hash.0.to_vec(), place)));
        Ok(())
    }

    /// Moves the next key of old nodes and edits into the queue; false when there is none.
    fn pull<I: Iterator<Item = Edit>>(
        &mut self,
        stretch: &mut Stretch<I>,
    ) -> Result<bool, Stop<B::Error>> {
        if stretch.old.is_empty()
            && let Some(first) = stretch.next.take()
        {
            let (node, next) = self.tree.node(self.level, &first)?;
            stretch.next = next;
            self.output.insert(first, None);
            for (index, item) in node.items.iter().enumerate() {
                let origin = Some((index, Rc::clone(&node)));
                stretch.old.push_back(Queued {
                    mark: Mark::of(&item.key),
                    item: item.clone(),
                    origin,
                });
            }
        }
        let old_key = stretch.old.front().map(|queued| queued.item.key.as_slice());
        let is_edit = match (stretch.edits.peek(), old_key) {
            (Some(edit), Some(old)) => edit.key.as_slice() <= old,
            (Some(_), None) => true,
            (None, _) => false,
        };
        if is_edit && let Some(edit) = stretch.edits.next() {
            let is_replaced = old_key == Some(edit.key.as_slice());
            let before = if is_replaced { stretch.old.pop_front() } else { None };
            let before = before.as_ref().map(|queued| queued.item.identity.as_slice());
            (self.observe)(before, edit.value.as_ref().map(|(identity, _)| identity.as_slice()));
            stretch.last_edit = Some(edit.key.clone());
            if let Some((identity, place)) = edit.value {
                let mark = Mark::of(&edit.key);
                let item = OwnedItem { key: edit.key, identity, place };
                stretch.push(Queued { item, mark, origin: None });
            }
            return Ok(true);
        }
        match stretch.old.pop_front() {
            Some(queued) => stretch.push(queued),
            None => return Ok(false),
        }
        Ok(true)
    }
}

impl<I: Iterator<Item = Edit>> Stretch<I> {
    fn push(&mut self, queued: Queued) {
        self.weight += queued.mark.weight;
        self.queue.push_back(queued);
    }
}

/// Returns whether these are all keys of one old node that has a block, and nothing else.
fn is_kept(node: &[Queued]) -> bool {
    let (Some(first), Some(last)) = (node.first(), node.last()) else {
        return false;
    };
    let (Some((0, old)), Some((index, end))) = (&first.origin, &last.origin) else {
        return false;
    };
    old.at.is_some()
        && Rc::ptr_eq(old, end)
        && index + 1 == node.len()
        && old.items.len() == node.len()
        && node.iter().all(|queued| queued.origin.is_some())
}
