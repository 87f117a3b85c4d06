//! Applies a batch of edits to an index, level by level, reading and writing only what it touches.
//!
//! On each level the edits are merged into the old nodes around them and the keys are cut anew
//! (`boundary`), from two nodes to the left of an edit until a cut meets the start of an old node
//! with no edit in sight. The nodes that went and came are the edits of the level above.

use alloc::{
    collections::{BTreeMap, VecDeque},
    rc::Rc,
    vec::Vec,
};
use core::iter::Peekable;

use datnode_feed::Hash;

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

/// The blocks of a batch, children before parents. Those that turned out not to be needed are gone.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) blocks: Vec<Option<Pending>>,
}

impl Batch {
    pub(crate) fn push(&mut self, block: Pending) -> OwnedPlace {
        self.blocks.push(Some(block));
        OwnedPlace::New(self.blocks.len() - 1)
    }

    fn take_node(&mut self, number: usize) -> Option<PendingNode> {
        match self.blocks.get_mut(number)?.take() {
            Some(Pending::Node(node)) => Some(node),
            _ => None,
        }
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

/// Applies edits, which are sorted by their keys.
pub(crate) fn update<B: Blocks>(
    tree: &Tree<'_, B>,
    edits: Vec<Edit>,
    batch: &mut Batch,
    observe: Observer<'_>,
) -> Result<Updated, Stop<B::Error>> {
    let mut edits = edits;
    let mut ignore = |_: Option<&[u8]>, _: Option<&[u8]>| {};
    for level in 0..INDEX_LEVELS_MAX {
        let observe: Observer<'_> = if level == 0 { &mut *observe } else { &mut ignore };
        let mut pass = Level { tree, level, batch, observe, output: BTreeMap::new() };
        pass.run(edits)?;
        let output = pass.output;
        if output.is_empty() {
            return Ok(Updated::Unchanged);
        }
        if level < tree.level() {
            edits = output.into_iter().map(|(key, value)| Edit { key, value }).collect();
            continue;
        }
        // Nothing old is above: what came is the whole level.
        let nodes: Vec<_> =
            output.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
        match nodes.as_slice() {
            [] => return Ok(Updated::Root(PendingNode { level: 0, items: Vec::new() })),
            [(_, (_, place))] => return root(tree, batch, place).map(Updated::Root),
            _ => {}
        }
        edits = nodes.into_iter().map(|(key, value)| Edit { key, value: Some(value) }).collect();
    }
    // Every level has at most half the nodes of the one below, so that only a base whose levels
    // were wrong already gets here.
    Err(Stop::Error(tree.wrong_level()))
}

/// Returns the root: the top node, or what is below it while that has a single child.
fn root<B: Blocks>(
    tree: &Tree<'_, B>,
    batch: &mut Batch,
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
struct Level<'l, 't, B> {
    tree: &'l Tree<'t, B>,
    level: u8,
    batch: &'l mut Batch,
    observe: Observer<'l>,
    /// Nodes that went (`None`) and came, by their first keys.
    output: BTreeMap<Vec<u8>, Option<(Vec<u8>, OwnedPlace)>>,
}

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
    /// First keys of the old nodes read.
    read: Vec<Vec<u8>>,
}

impl<B: Blocks> Level<'_, '_, B> {
    fn run(&mut self, edits: Vec<Edit>) -> Result<(), Stop<B::Error>> {
        let mut edits = edits.into_iter().peekable();
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
                read: Vec::new(),
            };
            met = self.stretch(&mut stretch)?;
            edits = stretch.edits;
        }
        Ok(())
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
        let mut met = None;
        let mut came = Vec::new();
        loop {
            while stretch.weight < NODE_WEIGHT_MAX && self.pull(stretch)? {}
            let Some(front) = stretch.queue.front() else {
                break;
            };
            let is_old_start = front.origin.as_ref().is_some_and(|(index, _)| *index == 0);
            let is_edited = stretch.last_edit.as_ref().is_some_and(|edit| *edit >= front.item.key);
            if is_old_start && !is_edited && !came.is_empty() {
                met = Some(front.item.key.clone());
                break;
            }
            let count = first_node(stretch.queue.iter().map(|queued| queued.mark));
            let node: Vec<Queued> = stretch.queue.drain(..count).collect();
            stretch.weight -= node.iter().map(|queued| queued.mark.weight).sum::<usize>();
            came.push(node);
        }
        for first in stretch.read.drain(..) {
            if met.as_ref().is_none_or(|met| first < *met) {
                self.output.insert(first, None);
            }
        }
        for node in came {
            self.emit(node);
        }
        Ok(met)
    }

    /// Writes a node, or keeps the old one if it is the same.
    fn emit(&mut self, node: Vec<Queued>) {
        let Some(first) = node.first() else {
            return;
        };
        let key = first.item.key.clone();
        if is_kept(&node) {
            self.output.remove(&key);
            return;
        }
        let items = node.into_iter().map(|queued| queued.item).collect();
        let node = PendingNode { level: self.level, items };
        let hash = node.identity_hash();
        let place = self.batch.push(Pending::Node(node));
        self.output.insert(key, Some((hash.0.to_vec(), place)));
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
            stretch.read.push(first);
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
