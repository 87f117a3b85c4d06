//! What differs between two indexes, found without reading what both hold alike.
//!
//! Both are gone through side by side, in the order of their keys. A subtree and its equal, which begin with the same key and have
//! the same identity, are passed over unread. What begins before anything that is left of the other index has no equal there, and is
//! opened; of two that begin with the same key the higher one is, or both.
//!
//! When a block is missing the page goes on behind it, so that it asks for all it needs of both indexes at once. What the other
//! index holds below the level of that block, and in its range, stays closed until the block is here: it may have its equal there.

use alloc::{borrow::Cow, vec::Vec};
use core::cmp::Ordering;

use datnode_feed::{BlockIndex, Hash};

use super::{
    lookup::{ChildRef, IndexRoot},
    node::{Item, NodeView, Place},
    value::Indexed,
};
use crate::{
    blocks::Blocks,
    error::{Damage, Location, ReadError, Step},
    limits::{DIFF_NODES_MAX, NEED_BLOCKS_MAX},
};

/// A key with what each index holds under it.
pub(crate) type Pair<T> = (Vec<u8>, [Option<T>; 2]);

/// What a page of differences comes to.
pub(crate) struct Compared<T> {
    /// In the order of their keys.
    pub(crate) found: Vec<Pair<T>>,
    /// The key behind which the next page begins; none if this is the last one.
    pub(crate) next: Option<Vec<u8>>,
    /// What is missing of each index; nothing was found out then.
    pub(crate) need: [Vec<Location>; 2],
}

/// Why an index cannot be read: which of both, and the reason.
pub(crate) type Wrong<E> = (usize, ReadError<E>);

/// What comes next in an index: an entry, or a subtree that was not opened.
struct Part {
    /// Its first key.
    key: Vec<u8>,
    /// 0 for an entry; a node has one more than its level.
    height: u8,
    /// The inline identity of an entry; the identity hash of a node.
    identity: Vec<u8>,
    place: Held,
    /// The position of the block that says so.
    own: BlockIndex,
}

/// Where the location part of an entry is, or a node.
enum Held {
    /// Here; so is the root, which has no block of its own.
    Here(Vec<u8>),
    At(Location),
}

/// A node that is missing: how high it is, and the first key that is not below it.
struct Gap {
    height: u8,
    upper: Option<Vec<u8>>,
}

/// What is left of an index.
///
/// Invariant: the parts follow each other in the order of their keys, what comes next is the last.
struct Rest<'s, B> {
    blocks: &'s B,
    parts: Vec<Part>,
    need: Vec<Location>,
    /// The last node that was missing.
    gap: Option<Gap>,
}

impl Part {
    fn is_equal(&self, other: &Self) -> bool {
        self.height == other.height && self.key == other.key && self.identity == other.identity
    }
}

impl<'s, B: Blocks> Rest<'s, B> {
    fn new(blocks: &'s B, root: IndexRoot<'_>) -> Result<Self, ReadError<B::Error>> {
        let damaged = |damage| ReadError::damaged(Location::changes(root.at), damage);
        let view = NodeView::parse(root.node).map_err(damaged)?;
        let mut entries = view.entries();
        let mut parts = Vec::new();
        if entries.next().map_err(damaged)?.is_some() {
            parts.push(Part {
                key: entries.key().to_vec(),
                height: view.level + 1,
                identity: view.identity_hash().0.to_vec(),
                place: Held::Here(root.node.to_vec()),
                own: root.at,
            });
        }
        Ok(Self { blocks, parts, need: Vec::new(), gap: None })
    }

    /// Puts what is next in the place of the node that is next, or notes that its block is missing.
    fn open(&mut self) -> Result<(), ReadError<B::Error>> {
        let Some(node) = self.parts.pop() else {
            return Ok(());
        };
        let (blocks, upper) = (self.blocks, self.parts.last().map(|next| next.key.clone()));
        let (block, own) = match &node.place {
            Held::Here(root) => (Cow::Borrowed(root.as_slice()), node.own),
            Held::At(at) => match node.promise(*at)?.fetch(blocks, node.own)? {
                Some(block) => (block, at.block),
                None => {
                    self.need.push(*at);
                    self.gap = Some(Gap { height: node.height, upper });
                    return Ok(());
                }
            },
        };
        let parts = parts(&block, own, upper.as_deref())
            .map_err(|damage| ReadError::damaged(Location::changes(own), damage))?;
        self.parts.extend(parts.into_iter().rev());
        Ok(())
    }

    /// Leaves out what lies before the page.
    fn skip(&mut self, after: &[u8]) {
        while let [.., next, part] = self.parts.as_slice() {
            let is_before = if part.height == 0 { &part.key } else { &next.key };
            if is_before.as_slice() > after {
                return;
            }
            self.parts.pop();
        }
        if self.parts.last().is_some_and(|part| part.height == 0 && part.key.as_slice() <= after) {
            self.parts.pop();
        }
    }

    /// Leaves out what cannot be compared while a node of the other index is missing.
    fn leave(&mut self, gap: Option<&Gap>) {
        let Some(gap) = gap else {
            return;
        };
        let is_in_it = |part: &Part| {
            part.height < gap.height && gap.upper.as_ref().is_none_or(|upper| part.key < *upper)
        };
        while self.parts.last().is_some_and(is_in_it) {
            self.parts.pop();
        }
    }

    /// Takes the value that is next; none if its own block is missing.
    fn value<T: Indexed>(&mut self) -> Result<Option<T>, ReadError<B::Error>> {
        let Some(part) = self.parts.pop() else {
            return Ok(None);
        };
        let place = match &part.place {
            Held::Here(bytes) => Place::Inline(bytes),
            Held::At(at) => Place::At(*at),
        };
        match T::resolve(self.blocks, part.own, Item { identity: &part.identity, place })? {
            Step::Done(value) => Ok(Some(value)),
            Step::Need(mut missing) => {
                self.need.append(&mut missing);
                Ok(None)
            }
        }
    }
}

impl Part {
    /// Returns what its parent promises of a node.
    fn promise<E>(&self, at: Location) -> Result<ChildRef<'_>, ReadError<E>> {
        let own = Location::changes(self.own);
        let damaged = |damage| ReadError::damaged(own, damage);
        let hash = self.identity.as_slice().try_into().map(Hash);
        let hash = hash.map_err(|_| damaged(Damage::WrongIdentity))?;
        let level = self.height.checked_sub(1).ok_or_else(|| damaged(Damage::WrongLevel))?;
        Ok(ChildRef { at, hash, level, first: &self.key })
    }
}

/// Returns what is in a node, whose keys lie below `upper`.
fn parts(block: &[u8], own: BlockIndex, upper: Option<&[u8]>) -> Result<Vec<Part>, Damage> {
    let view = NodeView::parse(block)?;
    let mut parts = Vec::new();
    let mut entries = view.entries();
    while let Some(item) = entries.next()? {
        let key = entries.key().to_vec();
        if upper.is_some_and(|upper| key.as_slice() >= upper) {
            return Err(Damage::OutOfRange);
        }
        let place = match item.place {
            Place::Inline(bytes) => Held::Here(bytes.to_vec()),
            Place::At(at) => Held::At(at),
        };
        // An entry is in a leaf, whose level is 0; a node is in one a level higher.
        parts.push(Part { key, height: view.level, identity: item.identity.to_vec(), place, own });
    }
    Ok(parts)
}

/// Two indexes side by side.
struct Comparison<'s, A, B, T> {
    old: Rest<'s, A>,
    new: Rest<'s, B>,
    after: &'s [u8],
    limit: usize,
    found: Vec<Pair<T>>,
    /// Everything up to this key is done.
    passed: Vec<u8>,
    /// Nodes opened.
    opened: usize,
}

/// Returns the next page of differences: at most `limit` behind `after`.
pub(crate) fn compare<A: Blocks<Error = E>, B: Blocks<Error = E>, T: Indexed, E>(
    (old, old_root): (&A, IndexRoot<'_>),
    (new, new_root): (&B, IndexRoot<'_>),
    after: &[u8],
    limit: usize,
) -> Result<Compared<T>, Wrong<E>> {
    let mut comparison = Comparison {
        old: Rest::new(old, old_root).map_err(|error| (0, error))?,
        new: Rest::new(new, new_root).map_err(|error| (1, error))?,
        after,
        limit,
        found: Vec::new(),
        passed: after.to_vec(),
        opened: 0,
    };
    let is_end = comparison.run()?;
    let Comparison { old, new, found, passed, .. } = comparison;
    let next = if is_end { None } else { Some(passed) };
    Ok(Compared { found, next, need: [old.need, new.need] })
}

/// What is done with what is next: in the old index, in the new one.
#[derive(Clone, Copy)]
enum Move {
    /// Both are equal.
    Pass,
    Open([bool; 2]),
    Take([bool; 2]),
}

impl Move {
    /// Decides by which begins first, and by how high they are.
    fn of(order: Ordering, old_height: u8, new_height: u8) -> Self {
        let order = order.then(new_height.cmp(&old_height));
        match order {
            Ordering::Less if old_height == 0 => Self::Take([true, false]),
            Ordering::Less => Self::Open([true, false]),
            Ordering::Greater if new_height == 0 => Self::Take([false, true]),
            Ordering::Greater => Self::Open([false, true]),
            Ordering::Equal if old_height == 0 => Self::Take([true, true]),
            Ordering::Equal => Self::Open([true, true]),
        }
    }
}

impl<A: Blocks<Error = E>, B: Blocks<Error = E>, T: Indexed, E> Comparison<'_, A, B, T> {
    /// Goes on until the page is full; returns whether both indexes are at their end.
    fn run(&mut self) -> Result<bool, Wrong<E>> {
        while !self.is_full() {
            self.old.skip(self.after);
            self.new.skip(self.after);
            self.old.leave(self.new.gap.as_ref());
            self.new.leave(self.old.gap.as_ref());
            let next = match (self.old.parts.last(), self.new.parts.last()) {
                (None, None) => return Ok(true),
                (Some(old), None) => Move::of(Ordering::Less, old.height, 0),
                (None, Some(new)) => Move::of(Ordering::Greater, 0, new.height),
                (Some(old), Some(new)) if old.is_equal(new) => Move::Pass,
                (Some(old), Some(new)) => {
                    // Of what begins before the page only what lies in it counts.
                    let [old_key, new_key] = [old, new].map(|part| self.after.max(&part.key));
                    Move::of(old_key.cmp(new_key), old.height, new.height)
                }
            };
            match next {
                Move::Pass => self.pass(),
                Move::Open(which) => self.open(which)?,
                Move::Take(which) => self.take(which)?,
            }
        }
        Ok(false)
    }

    fn is_full(&self) -> bool {
        let need = self.old.need.len() + self.new.need.len();
        // A node that differs holds a difference at least.
        self.found.len() + need >= self.limit.max(1)
            || need + 2 > NEED_BLOCKS_MAX
            || self.opened >= DIFF_NODES_MAX
    }

    fn pass(&mut self) {
        self.new.parts.pop();
        if let Some(part) = self.old.parts.pop() {
            // Its first key may lie before the page.
            let key = core::mem::take(&mut self.passed);
            self.passed = key.max(part.key);
        }
    }

    fn open(&mut self, [old, new]: [bool; 2]) -> Result<(), Wrong<E>> {
        self.opened += usize::from(old) + usize::from(new);
        if old {
            self.old.open().map_err(|error| (0, error))?;
        }
        if new {
            self.new.open().map_err(|error| (1, error))?;
        }
        Ok(())
    }

    fn take(&mut self, [old, new]: [bool; 2]) -> Result<(), Wrong<E>> {
        let first = if old { self.old.parts.last() } else { self.new.parts.last() };
        let key = first.map(|part| part.key.clone()).unwrap_or_default();
        let old = if old { self.old.value().map_err(|error| (0, error))? } else { None };
        let new = if new { self.new.value().map_err(|error| (1, error))? } else { None };
        if self.old.need.is_empty() && self.new.need.is_empty() {
            self.passed.clone_from(&key);
            self.found.push((key, [old, new]));
        }
        Ok(())
    }
}
