//! A tree that only grows: its length and its peaks, which is all that appending needs.
//!
//! Invariant: `nodes` are exactly the peaks of `length`, and their sizes sum to `byte_length`.

use alloc::vec::Vec;

use crate::hash::{self, Hash, Node};
use crate::limits;
use crate::position::{self, BlockIndex, NodeIndex};

/// The peaks of a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Peaks {
    length: u64,
    byte_length: u64,
    nodes: Vec<(NodeIndex, Node)>,
}

impl Peaks {
    /// Makes the peaks of `length` from what `node` knows; `None` if it lacks one or the sizes are impossible.
    pub(crate) fn of(length: u64, mut node: impl FnMut(NodeIndex) -> Option<Node>) -> Option<Self> {
        let mut peaks = Self::default();
        for index in position::peaks(length) {
            peaks.push(index, node(index)?, &mut |_, _| {})?;
        }
        Some(peaks)
    }

    pub(crate) const fn length(&self) -> u64 {
        self.length
    }

    pub(crate) const fn byte_length(&self) -> u64 {
        self.byte_length
    }

    pub(crate) fn root(&self) -> Hash {
        hash::root(self.nodes.iter().map(|(index, node)| (*index, node)))
    }

    /// Returns the peak at `index`, if it is one.
    pub(crate) fn get(&self, index: NodeIndex) -> Option<&Node> {
        let at = self.nodes.binary_search_by_key(&index, |(peak, _)| *peak).ok()?;
        self.nodes.get(at).map(|(_, node)| node)
    }

    /// Adds a leaf; `made` is told each node that is new, from below.
    pub(crate) fn append(
        &mut self,
        leaf: Node,
        made: &mut impl FnMut(NodeIndex, Node),
    ) -> Option<BlockIndex> {
        let block = BlockIndex(self.length);
        self.push(block.node(), leaf, made)?;
        Some(block)
    }

    /// Adds the subtree that follows, and joins what has become siblings. `None` if the limits forbid it.
    ///
    /// The subtree must be one that [`position::subtrees`] gives for the current length.
    pub(crate) fn push(
        &mut self,
        index: NodeIndex,
        node: Node,
        made: &mut impl FnMut(NodeIndex, Node),
    ) -> Option<()> {
        let blocks = index.blocks();
        assert_eq!(blocks.start, self.length, "subtrees are added in order");
        let byte_length = self.byte_length.checked_add(node.size)?;
        if blocks.end >= limits::LENGTH_END || byte_length >= limits::BYTE_LENGTH_END {
            return None;
        }
        (self.length, self.byte_length) = (blocks.end, byte_length);
        let (mut index, mut node) = (index, node);
        made(index, node);
        while let Some((_, left)) = self.nodes.pop_if(|(left, _)| *left == index.sibling()) {
            node = hash::parent(&left, &node);
            index = index.parent();
            made(index, node);
        }
        self.nodes.push((index, node));
        Some(())
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn growing_equals_the_obvious_definition() {
        fn naive(index: NodeIndex, leaves: &[Node]) -> Node {
            match (index.left_child(), index.right_child()) {
                (Some(left), Some(right)) => {
                    hash::parent(&naive(left, leaves), &naive(right, leaves))
                }
                _ => leaves[index.blocks().start as usize],
            }
        }
        let leaves: Vec<Node> = (0..70u8).map(|n| hash::leaf(&[n; 3])).collect();
        let (mut peaks, mut nodes) = (Peaks::default(), BTreeMap::new());
        for (length, leaf) in (1u64..).zip(&leaves) {
            peaks.append(*leaf, &mut |index, node| assert!(nodes.insert(index, node).is_none()));
            let expected: Vec<_> =
                position::peaks(length).map(|index| (index, naive(index, &leaves))).collect();
            assert_eq!(peaks.nodes, expected);
            assert_eq!(peaks.byte_length(), 3 * length);
            assert_eq!(Peaks::of(length, |index| nodes.get(&index).copied()), Some(peaks.clone()));
        }
    }

    #[test]
    fn sizes_beyond_the_limit_are_refused() {
        let huge = Node { hash: Hash::default(), size: limits::BYTE_LENGTH_END - 1 };
        let mut peaks = Peaks::default();
        assert!(peaks.append(huge, &mut |_, _| {}).is_some());
        let before = peaks.clone();
        assert!(peaks.append(hash::leaf(b"x"), &mut |_, _| {}).is_none());
        assert!(peaks.append(Node { size: u64::MAX, ..huge }, &mut |_, _| {}).is_none());
        assert_eq!(peaks, before);
    }
}
