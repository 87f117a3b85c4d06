//! Proofs: what connects a block or a longer head to what the asker knows. SPEC 4.
//!
//! Node indexes are never carried. They follow from the question, so that there is one proof for a question and nothing in it
//! can be swapped. Elsewhere: who makes and checks them against stored nodes (`store`).

use alloc::vec::Vec;
use core::ops::Range;

use crate::hash::{Node, parent};
use crate::head::SignedHead;
use crate::limits::BYTE_LENGTH_END;
use crate::position::{BlockIndex, NodeIndex, peaks, subtrees};

/// The most siblings on the way from a leaf to a peak: lengths are below 2^56.
pub const LEVELS_MAX: usize = 56;
/// The most nodes in an upgrade proof: up one side of the tree and down the other.
pub const UPGRADE_NODES_MAX: usize = 2 * LEVELS_MAX;

/// Shows that a block's leaf hangs below a node that the asker knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockProof {
    /// The block.
    pub block: BlockIndex,
    /// Its leaf.
    pub leaf: Node,
    /// The siblings on the way up, bottom first; so many levels up there is a node that the asker knows.
    pub siblings: Vec<Node>,
}

/// Shows the leaves of some blocks, and that they hang below a node that the asker knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeavesProof {
    /// The node above the leaves: all blocks below it are meant.
    pub top: NodeIndex,
    /// Their leaves.
    pub leaves: Vec<Node>,
    /// The siblings on the way up from there, bottom first; so many levels up there is a node that the asker knows.
    pub siblings: Vec<Node>,
}

/// Shows that a feed grew from `from` blocks to a signed head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpgradeProof {
    /// The length that the asker knows the peaks of.
    pub from: u64,
    /// The longer head.
    pub head: SignedHead,
    /// The nodes that, with the peaks of `from`, make the peaks of the head: [`upgrade_nodes`].
    pub nodes: Vec<Node>,
}

/// What an upgrade proof amounts to.
pub(crate) struct Joined {
    pub(crate) peaks: Vec<(NodeIndex, Node)>,
    pub(crate) made: Vec<(NodeIndex, Node)>,
    pub(crate) bytes: u64,
}

/// Returns where the nodes of an upgrade proof stand: the fewest subtrees over the new blocks, left to right.
pub fn upgrade_nodes(from: u64, to: u64) -> impl Iterator<Item = NodeIndex> + Clone {
    subtrees(from, to) // SPEC 4.3
}

/// Returns how many siblings a proof of `block` needs at least, or `None` beyond `length`.
///
/// The asker verifies against the peaks of `length`, and knows every node on the paths of some blocks, with their siblings;
/// `known` tells whether a range holds one of these blocks. A node is known if one of them lies below its parent. SPEC 4.2.
pub fn levels(block: BlockIndex, length: u64, known: impl Fn(Range<u64>) -> bool) -> Option<u32> {
    levels_above(block.node(), length, known)
}

/// Returns how many siblings a proof of the leaves below a node needs at least, or `None` beyond `length`; as [`levels`] otherwise.
pub fn levels_above(
    node: NodeIndex,
    length: u64,
    known: impl Fn(Range<u64>) -> bool,
) -> Option<u32> {
    if node.blocks().end > length {
        return None;
    }
    let mut node = node;
    let mut levels = 0;
    loop {
        let above = node.parent();
        if above.blocks().end > length || known(above.blocks()) {
            return Some(levels);
        }
        node = above;
        levels += 1;
    }
}

/// Returns the height of the peak above a block, or `None` beyond `length`.
pub(crate) fn peak_height(block: BlockIndex, length: u64) -> Option<u32> {
    peaks(length).find(|peak| peak.blocks().contains(&block.0)).map(NodeIndex::height)
}

impl BlockProof {
    /// Returns the nodes on the way up that this proof claims, the leaf first, each with its sibling.
    ///
    /// `None` if sizes go over the limit.
    pub(crate) fn climb(&self) -> Option<Vec<(NodeIndex, Node)>> {
        let mut nodes = Vec::with_capacity(2 * self.siblings.len() + 1);
        nodes.push((self.block.node(), self.leaf));
        climb(&mut nodes, &self.siblings)?;
        Some(nodes)
    }
}

impl LeavesProof {
    /// Returns the nodes that this proof claims: those above the leaves, and those on the way up with their siblings. The highest
    /// comes last.
    ///
    /// `None` if there are too few or too many leaves, or sizes go over the limit.
    pub(crate) fn climb(&self) -> Option<Vec<(NodeIndex, Node)>> {
        let blocks = self.top.blocks();
        if self.leaves.len() as u64 != blocks.end - blocks.start {
            return None;
        }
        let sizes = self.leaves.iter().map(|leaf| leaf.size);
        checked_sum(sizes)?;
        let (mut peaks, mut nodes) = (Vec::new(), Vec::with_capacity(2 * self.leaves.len()));
        for (block, leaf) in blocks.zip(&self.leaves) {
            let index = BlockIndex(block).node();
            nodes.push((index, *leaf));
            push_peak(&mut peaks, index, *leaf, |index, node| nodes.push((index, node)));
        }
        climb(&mut nodes, &self.siblings)?;
        Some(nodes)
    }
}

/// Adds what is above the last of some nodes, as these siblings have it, each with its sibling.
fn climb(nodes: &mut Vec<(NodeIndex, Node)>, siblings: &[Node]) -> Option<()> {
    let (mut index, mut node) = *nodes.last()?;
    for sibling in siblings {
        checked_sum([node.size, sibling.size].into_iter())?;
        nodes.push((index.sibling(), *sibling));
        node = if index.is_left() { parent(&node, sibling) } else { parent(sibling, &node) };
        index = index.parent();
        nodes.push((index, node));
    }
    Some(())
}

/// Adds sizes, unless they go over the limit.
fn checked_sum(mut sizes: impl Iterator<Item = u64>) -> Option<u64> {
    sizes.try_fold(0_u64, u64::checked_add).filter(|&bytes| bytes < BYTE_LENGTH_END)
}

impl UpgradeProof {
    /// Joins the peaks of `from` with the proof's nodes; gives the peaks of the head and all nodes that came up.
    ///
    /// `None` if the proof has another number of nodes than this question takes, or sizes go over the limit.
    pub(crate) fn join(&self, old: Vec<(NodeIndex, Node)>) -> Option<Joined> {
        let indexes: Vec<NodeIndex> = upgrade_nodes(self.from, self.head.head.length).collect();
        if indexes.len() != self.nodes.len() {
            return None;
        }
        let new = self.nodes.iter().map(|node| node.size);
        let bytes = checked_sum(old.iter().map(|(_, node)| node.size).chain(new))?;
        let mut joined = Joined { peaks: old, made: Vec::new(), bytes };
        for (index, node) in indexes.into_iter().zip(&self.nodes) {
            joined.made.push((index, *node));
            let made = &mut joined.made;
            push_peak(&mut joined.peaks, index, *node, |index, node| made.push((index, node)));
        }
        let right = peaks(self.head.head.length);
        joined.peaks.iter().map(|(index, _)| *index).eq(right).then_some(joined)
    }
}

/// Appends a node to peaks, joining equal heights; `made` sees each parent that comes up.
pub(crate) fn push_peak(
    peaks: &mut Vec<(NodeIndex, Node)>,
    index: NodeIndex,
    node: Node,
    mut made: impl FnMut(NodeIndex, Node),
) {
    let (mut index, mut node) = (index, node);
    while let Some((left, below)) = peaks.last().copied() {
        if left.parent() != index.parent() {
            break;
        }
        peaks.pop();
        (index, node) = (index.parent(), parent(&below, &node));
        made(index, node);
    }
    peaks.push((index, node));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upgrades_carry_what_lies_between() {
        let indexes = |from, to| upgrade_nodes(from, to).map(|node| node.0).collect::<Vec<_>>();
        assert_eq!(indexes(1, 10), [2, 5, 11, 17]);
        assert_eq!(indexes(0, 10), [7, 17]);
        assert_eq!(indexes(1, 6), [2, 5, 9]);
        assert_eq!(indexes(6, 6), []);
    }

    #[test]
    fn a_proof_stops_at_what_is_known() {
        let nobody = |_| false;
        assert_eq!(levels(BlockIndex(4), 10, nobody), Some(3));
        assert_eq!(levels(BlockIndex(9), 10, nobody), Some(1));
        assert_eq!(levels(BlockIndex(8), 9, nobody), Some(0));
        assert_eq!(levels(BlockIndex(10), 10, nobody), None);
        let knows = |block: u64| move |range: Range<u64>| range.contains(&block);
        assert_eq!(levels(BlockIndex(4), 10, knows(5)), Some(0));
        assert_eq!(levels(BlockIndex(4), 10, knows(6)), Some(1));
        assert_eq!(levels(BlockIndex(4), 10, knows(0)), Some(2));
    }
}
