//! Lists ranges of an index in pages, and everything that is reachable from a root.
//!
//! When blocks are missing, a page goes on over the siblings, so that it asks for all it needs of
//! a level at once. Visits are bounded: every node visited has a key of its own in the range.

use alloc::vec::Vec;

use datnode_feed::{BlockIndex, Hash};

use super::{
    lookup::{ChildRef, IndexRoot},
    node::{Item, NodeView, Place, check_pointer},
    value::Indexed,
};
use crate::{
    blocks::Blocks,
    error::{Damage, Location, ReadError, Reading, Step},
    limits::NEED_BLOCKS_MAX,
};

/// Keys a node is taken to have while it is missing. Few, rather: asking for too much costs bytes,
/// asking for too little another round trip.
const KEYS_PER_NODE: usize = 64;

/// Which keys a page is to hold.
pub(crate) struct Page<'q> {
    /// Only keys that begin with this.
    pub(crate) prefix: &'q [u8],
    /// Only keys behind this one.
    pub(crate) after: &'q [u8],
    /// At most so many.
    pub(crate) limit: usize,
}

/// A child as its parent lists it.
struct Child {
    first: Vec<u8>,
    hash: Hash,
    at: Location,
}

struct Scan<'s, B, T> {
    blocks: &'s B,
    page: Page<'s>,
    found: Vec<(Vec<u8>, T)>,
    need: Vec<Location>,
    /// Values that the missing blocks are taken to hold.
    expected: usize,
}

/// Returns the next page of values, in the order of their keys.
pub(crate) fn scan<T: Indexed, B: Blocks>(
    blocks: &B,
    root: IndexRoot<'_>,
    page: Page<'_>,
) -> Reading<Vec<(Vec<u8>, T)>, B::Error> {
    let mut scan = Scan { blocks, page, found: Vec::new(), need: Vec::new(), expected: 0 };
    scan.node(root.node, root.at, None)?;
    if scan.need.is_empty() { Ok(Step::Done(scan.found)) } else { Ok(Step::Need(scan.need)) }
}

impl<B: Blocks, T: Indexed> Scan<'_, B, T> {
    fn is_full(&self) -> bool {
        self.found.len() + self.expected >= self.page.limit || self.need.len() >= NEED_BLOCKS_MAX
    }

    /// Returns whether a key lies behind the range.
    fn is_behind(&self, key: &[u8]) -> bool {
        key > self.page.prefix && !key.starts_with(self.page.prefix)
    }

    /// Visits a node whose keys lie below `upper`.
    fn node(
        &mut self,
        block: &[u8],
        own: BlockIndex,
        upper: Option<&[u8]>,
    ) -> Result<(), ReadError<B::Error>> {
        let damaged = |damage: Damage| ReadError::damaged(Location::changes(own), damage);
        let view = NodeView::parse(block).map_err(damaged)?;
        if view.level == 0 {
            return self.leaf(&view, own, upper);
        }
        let children = children(&view, upper).map_err(damaged)?;
        for (index, child) in children.iter().enumerate() {
            if self.is_full() || self.is_behind(&child.first) {
                break;
            }
            let upper = children.get(index + 1).map(|next| next.first.as_slice()).or(upper);
            if upper.is_some_and(|upper| upper <= self.page.after) {
                continue;
            }
            self.child(child, view.level - 1, own, upper)?;
        }
        Ok(())
    }

    fn child(
        &mut self,
        child: &Child,
        level: u8,
        own: BlockIndex,
        upper: Option<&[u8]>,
    ) -> Result<(), ReadError<B::Error>> {
        let promise = ChildRef { at: child.at, hash: child.hash, level, first: &child.first };
        let blocks = self.blocks;
        if let Some(block) = promise.fetch(blocks, own)? {
            return self.node(&block, child.at.block, upper);
        }
        self.need.push(child.at);
        let keys = KEYS_PER_NODE.saturating_pow(u32::from(level) + 1);
        self.expected = self.expected.saturating_add(keys);
        Ok(())
    }

    fn leaf(
        &mut self,
        view: &NodeView<'_>,
        own: BlockIndex,
        upper: Option<&[u8]>,
    ) -> Result<(), ReadError<B::Error>> {
        let damaged = |damage: Damage| ReadError::damaged(Location::changes(own), damage);
        let mut entries = view.entries();
        while let Some(item) = entries.next().map_err(damaged)? {
            if upper.is_some_and(|upper| entries.key() >= upper) {
                return Err(damaged(Damage::OutOfRange));
            }
            if self.is_behind(entries.key()) || self.is_full() {
                break;
            }
            if entries.key() > self.page.after && entries.key().starts_with(self.page.prefix) {
                self.item(entries.key(), item, own)?;
            }
        }
        Ok(())
    }

    fn item(
        &mut self,
        key: &[u8],
        item: Item<'_>,
        own: BlockIndex,
    ) -> Result<(), ReadError<B::Error>> {
        if !self.need.is_empty() && matches!(item.place, Place::Inline(_)) {
            // The page cannot be answered now: only what else is missing matters.
            self.expected += 1;
            return Ok(());
        }
        match T::resolve(self.blocks, own, item)? {
            Step::Done(value) => self.found.push((key.to_vec(), value)),
            Step::Need(mut missing) => {
                self.need.append(&mut missing);
                self.expected += 1;
            }
        }
        Ok(())
    }
}

/// Returns the children of an upper node, whose keys lie below `upper`.
fn children(view: &NodeView<'_>, upper: Option<&[u8]>) -> Result<Vec<Child>, Damage> {
    let mut children = Vec::new();
    let mut entries = view.entries();
    while let Some(item) = entries.next()? {
        let Place::At(at) = item.place else {
            return Err(Damage::WrongLevel);
        };
        if upper.is_some_and(|upper| entries.key() >= upper) {
            return Err(Damage::OutOfRange);
        }
        children.push(Child { first: entries.key().to_vec(), hash: item.child_hash()?, at });
    }
    Ok(children)
}

/// Returns every block of the index below a root, or all that are missing on the way.
pub(crate) fn reachable<B: Blocks>(
    blocks: &B,
    root: IndexRoot<'_>,
    from: u64,
) -> Reading<Vec<Location>, B::Error> {
    let mut reach = Reach { blocks, from, all: Vec::new(), need: Vec::new() };
    reach.node(root.node, root.at, None)?;
    if reach.need.is_empty() { Ok(Step::Done(reach.all)) } else { Ok(Step::Need(reach.need)) }
}

struct Reach<'s, B> {
    blocks: &'s B,
    /// Blocks before this one are left out.
    from: u64,
    all: Vec<Location>,
    need: Vec<Location>,
}

impl<B: Blocks> Reach<'_, B> {
    fn node(
        &mut self,
        block: &[u8],
        own: BlockIndex,
        upper: Option<&[u8]>,
    ) -> Result<(), ReadError<B::Error>> {
        let damaged = |damage: Damage| ReadError::damaged(Location::changes(own), damage);
        let view = NodeView::parse(block).map_err(damaged)?;
        if view.level == 0 {
            return self.spills(&view, own, upper).map_err(damaged);
        }
        let children = children(&view, upper).map_err(damaged)?;
        for (index, child) in children.iter().enumerate() {
            if child.at.block.0 < self.from {
                continue;
            }
            let upper = children.get(index + 1).map(|next| next.first.as_slice()).or(upper);
            self.all.push(child.at);
            let level = view.level - 1;
            let promise = ChildRef { at: child.at, hash: child.hash, level, first: &child.first };
            match promise.fetch(self.blocks, own)? {
                Some(block) => self.node(&block, child.at.block, upper)?,
                None => self.need.push(child.at),
            }
        }
        Ok(())
    }

    fn spills(
        &mut self,
        view: &NodeView<'_>,
        own: BlockIndex,
        upper: Option<&[u8]>,
    ) -> Result<(), Damage> {
        let mut entries = view.entries();
        while let Some(item) = entries.next()? {
            if upper.is_some_and(|upper| entries.key() >= upper) {
                return Err(Damage::OutOfRange);
            }
            if let Place::At(at) = item.place {
                check_pointer(own, at)?;
                self.all.push(at);
            }
        }
        Ok(())
    }
}
