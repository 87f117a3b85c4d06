//! Proofs: the nodes that lead from what is asked for to what the asker knows.
//!
//! The indexes of the nodes follow from the question and are never carried, so that to one question there is one
//! proof. Everything here is pure. Elsewhere: what a store knows, and what it does with a proof (`store::verify`).

use alloc::vec::Vec;
use core::ops::Range;

use crate::hash::{self, Node};
use crate::head::SignedHead;
use crate::limits;
use crate::position::{self, BlockIndex, NodeIndex};

/// The leaf of a block, and the siblings on the way up.
///
/// `siblings.len()` levels above the leaf there is a node that the asker knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockProof {
    /// The block that is proven.
    pub block: BlockIndex,
    /// Its leaf.
    pub leaf: Node,
    /// The sibling of each node on the way up, bottom first.
    pub siblings: Vec<Node>,
}

/// The nodes that, with the peaks of `from`, make the peaks of the head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpgradeProof {
    /// The length that the asker has.
    pub from: u64,
    /// The head that it gets.
    pub head: SignedHead,
    /// The nodes that [`upgrade_nodes`] names, in order.
    pub nodes: Vec<Node>,
}

/// Returns the nodes of the proof that leads from one length to a longer one, left to right.
///
/// ```
/// use datnode_feed::{NodeIndex, upgrade_nodes};
/// let nodes: Vec<_> = upgrade_nodes(1, 10).collect();
/// assert_eq!(nodes, [NodeIndex(2), NodeIndex(5), NodeIndex(11), NodeIndex(17)]);
/// ```
pub fn upgrade_nodes(from: u64, to: u64) -> impl Iterator<Item = NodeIndex> + Clone {
    position::subtrees(from, to) // SPEC 4.4
}

/// Returns how many siblings a proof of `block` needs; `None` if the block is not below `length`.
///
/// The asker knows the peaks of `length`, and everything that proofs of other blocks brought along. `known` says
/// whether the asker holds (or was sent) any block of a range.
pub fn levels(
    block: BlockIndex,
    length: u64,
    known: impl Fn(Range<u64>) -> bool,
) -> Option<u32> {
    // SPEC 4.2
    let height = peak_height(block, length)?;
    let mut node = block.node();
    for level in 0..height {
        // A known block brought its path along, and the siblings of that path: whatever has a known block below
        // its parent is itself known.
        node = node.parent();
        if known(node.blocks()) {
            return Some(level);
        }
    }
    Some(height)
}

/// Returns the height of the peak above `block` in a tree of `length`; `None` if the block is not in it.
pub(crate) fn peak_height(block: BlockIndex, length: u64) -> Option<u32> {
    position::peaks(length)
        .find(|peak| peak.blocks().contains(&block.0))
        .map(NodeIndex::height)
}

/// Computes every node that a block's proof speaks of, from the leaf up; the last one is its top.
///
/// `None` if a size is impossible, so that no sum can overflow.
pub(crate) fn climb(proof: &BlockProof) -> Option<Vec<(NodeIndex, Node)>> {
    if proof.leaf.size > limits::BLOCK_BYTES_MAX as u64 {
        return None;
    }
    let (mut index, mut node) = (proof.block.node(), proof.leaf);
    let mut nodes = Vec::with_capacity(2 * proof.siblings.len() + 1);
    for sibling in &proof.siblings {
        nodes.push((index, node));
        nodes.push((index.sibling(), *sibling));
        let size = node.size.checked_add(sibling.size)?;
        if size >= limits::BYTE_LENGTH_END {
            return None;
        }
        let (left, right) = if index.is_left() { (&node, sibling) } else { (sibling, &node) };
        node = hash::parent(left, right);
        index = index.parent();
    }
    nodes.push((index, node));
    Some(nodes)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::collections::BTreeSet;

    use super::*;

    fn indexes(nodes: impl Iterator<Item = NodeIndex>) -> Vec<u64> {
        nodes.map(|node| node.0).collect()
    }

    #[test]
    fn upgrades_have_the_known_nodes() {
        assert_eq!(indexes(upgrade_nodes(0, 10)), [7, 17]);
        assert_eq!(indexes(upgrade_nodes(1, 10)), [2, 5, 11, 17]);
        assert_eq!(indexes(upgrade_nodes(1, 6)), [2, 5, 9]);
        assert_eq!(indexes(upgrade_nodes(6, 10)), [13, 17]);
        assert_eq!(indexes(upgrade_nodes(10, 10)), [0u64; 0]);
        assert_eq!(indexes(upgrade_nodes(11, 10)), [0u64; 0]);
    }

    #[test]
    fn levels_equal_the_nodes_an_asker_collected() {
        // What an asker knows by definition: peaks, and for each block its path and the siblings of it.
        for length in 1..20u64 {
            for seed in 0..60u64 {
                let held = |block: u64| (block * 7 + seed * 13) % 11 < seed % 5;
                let peaks: BTreeSet<_> = position::peaks(length).collect();
                let mut known = peaks.clone();
                for block in (0..length).filter(|&block| held(block)) {
                    let mut node = BlockIndex(block).node();
                    while !peaks.contains(&node) {
                        known.extend([node, node.sibling()]);
                        node = node.parent();
                    }
                }
                for block in 0..length {
                    let (mut node, mut expected) = (BlockIndex(block).node(), 0);
                    while !known.contains(&node) {
                        node = node.parent();
                        expected += 1;
                    }
                    let found = levels(BlockIndex(block), length, |mut range| range.any(held));
                    assert_eq!(found, Some(expected), "block {block} of {length}, seed {seed}");
                }
                assert_eq!(levels(BlockIndex(length), length, |_| true), None);
            }
        }
    }
}
