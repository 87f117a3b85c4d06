//! Where things are in a feed: blocks in a row, and above them the nodes of the flat tree.
//!
//! ```text
//! height 3                              7
//! height 2              3                               11
//! height 1      1               5               9               13
//! node      0       2       4       6       8       10      12      14
//! block     0       1       2       3       4       5       6       7
//! ```
//!
//! A node's index never changes while the feed grows. Elsewhere: what a node holds (`hash`).

use core::fmt;
use core::ops::Range;

/// The position of a block in its feed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockIndex(pub u64);

/// The position of a node in the flat tree: even numbers are the blocks' leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeIndex(pub u64);

impl BlockIndex {
    /// Returns the node that is this block's leaf.
    pub const fn node(self) -> NodeIndex {
        NodeIndex(self.0 << 1) // SPEC 1.1
    }
}

impl fmt::Display for BlockIndex {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

impl fmt::Display for NodeIndex {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

impl NodeIndex {
    /// Returns how many levels the node is above the leaves: the count of its trailing one bits.
    pub const fn height(self) -> u32 {
        self.0.trailing_ones() // SPEC 1.2
    }

    /// Returns the node above.
    pub const fn parent(self) -> NodeIndex {
        let height = self.height();
        NodeIndex((self.0 | bit(height)) & !bit(height + 1))
    }

    /// Returns the other node below the same parent.
    pub const fn sibling(self) -> NodeIndex {
        NodeIndex(self.0 ^ bit(self.height() + 1))
    }

    /// Tells whether the node is the left one below its parent.
    pub const fn is_left(self) -> bool {
        self.0 & bit(self.height() + 1) == 0
    }

    /// Returns the node below, to the left; a leaf has none.
    pub const fn left_child(self) -> Option<NodeIndex> {
        match self.height() {
            0 => None,
            height => Some(NodeIndex(self.0 & !bit(height - 1))),
        }
    }

    /// Returns the node below, to the right; a leaf has none.
    pub const fn right_child(self) -> Option<NodeIndex> {
        match self.height() {
            0 => None,
            height => Some(NodeIndex((self.0 | bit(height)) & !bit(height - 1))),
        }
    }

    /// Returns the blocks below the node.
    pub const fn blocks(self) -> Range<u64> {
        let span = bit(self.height());
        // The trailing ones of the index are `span - 1`, so what is left of it is twice the first block.
        let start = (self.0 & !span.wrapping_sub(1)) >> 1;
        start..start.saturating_add(span)
    }
}

/// Returns the peaks of a feed of `length` blocks, left to right: the largest full subtrees that tile it.
pub fn peaks(length: u64) -> impl Iterator<Item = NodeIndex> + Clone {
    subtrees(0, length) // SPEC 1.3
}

/// Returns the fewest nodes whose blocks are exactly `from..to`, left to right.
pub fn subtrees(from: u64, to: u64) -> impl Iterator<Item = NodeIndex> + Clone {
    let mut start = from;
    core::iter::from_fn(move || {
        let left = to.checked_sub(start).filter(|&left| left > 0)?;
        let height = left.ilog2().min(start.trailing_zeros());
        let span = bit(height);
        let node = NodeIndex((start << 1) + (span - 1));
        start += span;
        Some(node)
    })
}

/// Returns 2 to the power of `n`, or 0 where that has no room.
const fn bit(n: u32) -> u64 {
    match 1u64.checked_shl(n) {
        Some(bit) => bit,
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec::Vec;

    use super::*;

    /// The obvious definition: a node is (height, offset), and stands between the two halves of its blocks.
    fn naive(height: u32, offset: u64) -> NodeIndex {
        NodeIndex(offset * (1 << (height + 1)) + (1 << height) - 1)
    }

    #[test]
    fn the_flat_tree_matches_its_definition() {
        for height in 0..8u32 {
            for offset in 0..64u64 {
                let node = naive(height, offset);
                assert_eq!(node.height(), height);
                assert_eq!(node.parent(), naive(height + 1, offset / 2));
                assert_eq!(node.sibling(), naive(height, offset ^ 1));
                assert_eq!(node.is_left(), offset % 2 == 0);
                assert_eq!(node.blocks(), offset << height..(offset + 1) << height);
                let children = height
                    .checked_sub(1)
                    .map(|below| (naive(below, offset * 2), naive(below, offset * 2 + 1)));
                assert_eq!(node.left_child(), children.map(|(left, _)| left));
                assert_eq!(node.right_child(), children.map(|(_, right)| right));
            }
        }
    }

    #[test]
    fn peaks_match_the_definition() {
        for length in 0..1_000u64 {
            let mut expected = Vec::new();
            let mut start = 0;
            for height in (0..10).rev() {
                if length & (1 << height) != 0 {
                    expected.push(naive(height, start >> height));
                    start += 1 << height;
                }
            }
            assert_eq!(peaks(length).collect::<Vec<_>>(), expected, "length {length}");
        }
    }

    #[test]
    fn the_ends_of_the_numbers_do_not_overflow() {
        for index in [0, 1, u64::MAX, u64::MAX - 1, u64::MAX >> 1, 1 << 63] {
            let node = NodeIndex(index);
            let _ = (node.parent(), node.sibling(), node.is_left(), node.blocks());
            let _ = (node.left_child(), node.right_child());
        }
        assert!(peaks(u64::MAX).count() == 64);
    }
}
