//! Finds one key: a node a level.

use alloc::{borrow::Cow, vec};

use datnode_feed::{BlockIndex, Hash};

use super::{
    node::{NodeView, Place, check_pointer},
    value::Indexed,
};
use crate::{
    blocks::{Blocks, Identified, fetch, kind},
    error::{Damage, Location, ReadError, Reading, Step},
};

/// The root of an index, and the position of the change that holds it.
#[derive(Clone, Copy)]
pub(crate) struct IndexRoot<'a> {
    pub(crate) node: &'a [u8],
    pub(crate) at: BlockIndex,
}

/// What a parent promises of a child.
pub(crate) struct ChildRef<'k> {
    pub(crate) at: Location,
    pub(crate) hash: Hash,
    pub(crate) level: u8,
    pub(crate) first: &'k [u8],
}

impl ChildRef<'_> {
    /// Reads the child's block and holds it against the promise. SPEC 8.4
    pub(crate) fn fetch<'b, B: Blocks>(
        &self,
        blocks: &'b B,
        own: BlockIndex,
    ) -> Result<Option<Cow<'b, [u8]>>, ReadError<B::Error>> {
        check_pointer(own, self.at)
            .map_err(|damage| ReadError::damaged(Location::changes(own), damage))?;
        let Some(block) = fetch(blocks, self.at, kind::NODE)? else {
            return Ok(None);
        };
        self.check(blocks, &block).map_err(|damage| ReadError::damaged(self.at, damage))?;
        Ok(Some(block))
    }

    fn check<B: Blocks>(&self, blocks: &B, block: &[u8]) -> Result<(), Damage> {
        let view = NodeView::parse(block)?;
        if view.level != self.level {
            return Err(Damage::WrongLevel);
        }
        let (at, identity, level) = (self.at, view.identity, view.level);
        if blocks.identity_hash(Identified { at, block, identity, level }) != self.hash {
            return Err(Damage::WrongIdentity);
        }
        let mut entries = view.entries();
        // A node with no key, or with another first key than promised, would let one subtree stand
        // in many places; so every visit of a walk yields something.
        if entries.next()?.is_none() || entries.key() != self.first {
            return Err(Damage::OutOfRange);
        }
        Ok(())
    }
}

/// Returns the value under a key.
pub(crate) fn lookup<T: Indexed, B: Blocks>(
    blocks: &B,
    root: IndexRoot<'_>,
    key: &[u8],
) -> Reading<Option<T>, B::Error> {
    let mut block = Cow::Borrowed(root.node);
    let mut own = root.at;
    loop {
        let damaged = |damage: Damage| ReadError::damaged(Location::changes(own), damage);
        let view = NodeView::parse(&block).map_err(damaged)?;
        let Some(floor) = view.floor(key).map_err(damaged)? else {
            return Ok(Step::Done(None));
        };
        if view.level == 0 {
            if !floor.is_equal {
                return Ok(Step::Done(None));
            }
            return Ok(T::resolve(blocks, own, floor.item)?.map(Some));
        }
        let Place::At(at) = floor.item.place else {
            return Err(damaged(Damage::WrongLevel));
        };
        let hash = floor.item.child_hash().map_err(damaged)?;
        let child = ChildRef { at, hash, level: view.level - 1, first: &floor.key };
        match child.fetch(blocks, own)? {
            None => return Ok(Step::Need(vec![at])),
            Some(next) => {
                block = next;
                own = at.block;
            }
        }
    }
}
