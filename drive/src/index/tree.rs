//! The old index while a batch is applied to it: finds the nodes of a level by their keys.

use alloc::{collections::BTreeMap, rc::Rc, vec, vec::Vec};
use core::cell::RefCell;

use datnode_feed::{BlockIndex, Hash};

use super::{
    lookup::{ChildRef, IndexRoot},
    node::{NodeView, Place},
};
use crate::{
    blocks::Blocks,
    error::{Damage, Location, ReadError},
};

/// Why an update stops: blocks are missing, or the drive cannot be read.
pub(crate) enum Stop<E> {
    Need(Vec<Location>),
    Error(ReadError<E>),
    /// A block could not be written; whoever was to write it knows why.
    Refused,
}

impl<E> From<ReadError<E>> for Stop<E> {
    fn from(error: ReadError<E>) -> Self {
        Self::Error(error)
    }
}

/// Where a value's location part or a child is, while the batch is not written yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OwnedPlace {
    Inline(Vec<u8>),
    At(Location),
    /// The block of this number among those to be written.
    New(usize),
}

/// What a node says under one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OwnedItem {
    pub(crate) key: Vec<u8>,
    pub(crate) identity: Vec<u8>,
    pub(crate) place: OwnedPlace,
}

/// A node of the old index.
pub(crate) struct OldNode {
    pub(crate) level: u8,
    pub(crate) items: Vec<OwnedItem>,
    /// None for the root, which has no block of its own.
    pub(crate) at: Option<Location>,
    own: BlockIndex,
}

/// A node of a level, by its first key; and the first key of the node behind it.
#[derive(Clone, Debug)]
pub(crate) struct OldRef {
    pub(crate) first: Vec<u8>,
    pub(crate) next: Option<Vec<u8>>,
}

/// A node, and the first key of the one behind it.
pub(crate) type NodeAndNext = (Rc<OldNode>, Option<Vec<u8>>);

/// Where a way down ended: the node's reference, and its parent and place there if it has one.
type Descent = (OldRef, Option<(Rc<OldNode>, usize)>);

pub(crate) struct Tree<'t, B> {
    blocks: &'t B,
    root: Rc<OldNode>,
    /// Upper nodes already read; leaves come by once.
    cache: RefCell<BTreeMap<Location, Rc<OldNode>>>,
}

impl OldNode {
    fn parse(block: &[u8], own: BlockIndex, at: Option<Location>) -> Result<Self, Damage> {
        let view = NodeView::parse(block)?;
        let mut items = Vec::new();
        let mut entries = view.entries();
        while let Some(item) = entries.next()? {
            let place = match item.place {
                Place::Inline(bytes) => OwnedPlace::Inline(bytes.to_vec()),
                Place::At(location) => OwnedPlace::At(location),
            };
            let (key, identity) = (entries.key().to_vec(), item.identity.to_vec());
            items.push(OwnedItem { key, identity, place });
        }
        Ok(Self { level: view.level, items, at, own })
    }
}

impl<'t, B: Blocks> Tree<'t, B> {
    pub(crate) fn new(blocks: &'t B, root: IndexRoot<'_>) -> Result<Self, ReadError<B::Error>> {
        let node = OldNode::parse(root.node, root.at, None)
            .map_err(|damage| ReadError::damaged(Location::changes(root.at), damage))?;
        Ok(Self { blocks, root: Rc::new(node), cache: RefCell::default() })
    }

    pub(crate) fn wrong_level(&self) -> ReadError<B::Error> {
        ReadError::damaged(Location::changes(self.root.own), Damage::WrongLevel)
    }

    /// Returns the root's level.
    pub(crate) fn level(&self) -> u8 {
        self.root.level
    }

    /// Returns the node of a level that holds a key or would; none where the index has no node.
    pub(crate) fn locate(&self, level: u8, key: &[u8]) -> Result<Option<OldRef>, Stop<B::Error>> {
        let find = |node: &OldNode| {
            Some(node.items.partition_point(|item| item.key.as_slice() <= key).saturating_sub(1))
        };
        self.descend(level, find).map(|found| found.map(|(at, _)| at))
    }

    /// Returns the last node of a level whose first key is less.
    pub(crate) fn locate_before(
        &self,
        level: u8,
        key: &[u8],
    ) -> Result<Option<OldRef>, Stop<B::Error>> {
        let find = |node: &OldNode| {
            node.items.partition_point(|item| item.key.as_slice() < key).checked_sub(1)
        };
        if level == self.root.level {
            return Ok(None);
        }
        self.descend(level, find).map(|found| found.map(|(at, _)| at))
    }

    /// Returns the node of a level with this first key, and what is behind it.
    pub(crate) fn node(&self, level: u8, first: &[u8]) -> Result<NodeAndNext, Stop<B::Error>> {
        let find = |node: &OldNode| {
            Some(node.items.partition_point(|item| item.key.as_slice() <= first).saturating_sub(1))
        };
        let Some((at, parent)) = self.descend(level, find)? else {
            return Ok((Rc::clone(&self.root), None));
        };
        let node = match parent {
            None => Rc::clone(&self.root),
            Some((parent, index)) => self.child(&parent, index)?,
        };
        Ok((node, at.next))
    }

    /// Reads a node to which an item points that is at `level`.
    pub(crate) fn child(
        &self,
        parent: &OldNode,
        index: usize,
    ) -> Result<Rc<OldNode>, Stop<B::Error>> {
        let damaged = |at, damage: Damage| Stop::Error(ReadError::damaged(at, damage));
        let own = Location::changes(parent.own);
        let item = parent.items.get(index).ok_or_else(|| damaged(own, Damage::OutOfRange))?;
        let (OwnedPlace::At(at), Some(level)) = (&item.place, parent.level.checked_sub(1)) else {
            return Err(damaged(own, Damage::WrongLevel));
        };
        if let Some(node) = self.cache.borrow().get(at) {
            return Ok(Rc::clone(node));
        }
        let hash = item.identity.as_slice().try_into().map(Hash);
        let hash = hash.map_err(|_| damaged(own, Damage::WrongIdentity))?;
        let promise = ChildRef { at: *at, hash, level, first: &item.key };
        let Some(block) = promise.fetch(self.blocks, parent.own)? else {
            return Err(Stop::Need(vec![*at]));
        };
        let node = OldNode::parse(&block, at.block, Some(*at)).map_err(|d| damaged(*at, d))?;
        let node = Rc::new(node);
        if node.level > 0 {
            self.cache.borrow_mut().insert(*at, Rc::clone(&node));
        }
        Ok(node)
    }

    /// Reads the old node to which an item of a new node at `level` points.
    pub(crate) fn reused(
        &self,
        level: u8,
        item: &OwnedItem,
    ) -> Result<Rc<OldNode>, Stop<B::Error>> {
        let parent = OldNode { level, items: vec![item.clone()], at: None, own: self.root.own };
        self.child(&parent, 0)
    }

    /// Walks down to a level; `find` picks the child.
    fn descend(
        &self,
        level: u8,
        find: impl Fn(&OldNode) -> Option<usize>,
    ) -> Result<Option<Descent>, Stop<B::Error>> {
        let Some(first) = self.root.items.first() else {
            return Ok(None);
        };
        if level > self.root.level {
            return Ok(None);
        }
        let mut at = OldRef { first: first.key.clone(), next: None };
        let mut parent = None;
        let mut node = Rc::clone(&self.root);
        while node.level > level {
            let Some(index) = find(&node) else {
                return Ok(None);
            };
            let Some(item) = node.items.get(index) else {
                return Ok(None);
            };
            at.first.clone_from(&item.key);
            if let Some(next) = node.items.get(index + 1) {
                at.next = Some(next.key.clone());
            }
            parent = Some((Rc::clone(&node), index));
            if node.level - 1 == level {
                break;
            }
            node = self.child(&node, index)?;
        }
        Ok(Some((at, parent)))
    }
}
