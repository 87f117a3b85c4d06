//! A drive as static files, which any web server or bucket can host (SPEC 12.2). Nothing of them is trusted: who reads them verifies
//! each block against the drive's key.
//!
//! ```text
//! datnode.heads                     which feeds there are, how long, and what of them is here; replaced last
//! KEY.FORK/tree.N                   the nodes of a feed's tree in the order in which they come to be
//! KEY.FORK/data.N                   its bytes
//! ```
//!
//! A feed only grows, and so do its files, cut into segments: what a head counts on is never changed by what is published later.
//! Elsewhere: the first file (`heads`), writing them (`write`), reading them over HTTP (`origin::web`).

pub mod heads;
mod write;

use std::ops::Range;

use datnode_feed::{BlockIndex, Hash, Node, NodeIndex, PublicKey};

pub use heads::{Heads, Published};
pub use write::{Written, write};

/// The file that says what there is.
pub const HEADS: &str = "datnode.heads";
/// How many bytes a segment of data has, but for the last one.
pub const DATA_SEGMENT: u64 = 64 << 20;
/// How many a segment of nodes has: 2^20 of them.
pub const TREE_SEGMENT: u64 = NODE_LEN << 20;
/// How many bytes a node has: its size, and its hash.
pub const NODE_LEN: u64 = 40;

/// What kind of file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Nodes.
    Tree,
    /// Bytes of blocks.
    Data,
}

impl Kind {
    /// Returns how long a segment of it is.
    pub const fn segment(self) -> u64 {
        match self {
            Self::Tree => TREE_SEGMENT,
            Self::Data => DATA_SEGMENT,
        }
    }

    /// Returns the pieces of its bytes in the segments that they are in: which one, and where in it.
    pub fn pieces(self, bytes: Range<u64>) -> impl Iterator<Item = (u64, Range<u64>)> {
        let (segment, mut at) = (self.segment(), bytes.start);
        std::iter::from_fn(move || {
            if at >= bytes.end {
                return None;
            }
            let (number, start) = (at / segment, at % segment);
            let len = (segment - start).min(bytes.end - at);
            at += len;
            Some((number, start..start + len))
        })
    }
}

/// Returns the folder of a feed's files.
pub fn folder(key: &PublicKey, fork: u64) -> String {
    format!("{}.{fork}", crate::address::key::hex(key))
}

/// Returns the path of one of them.
pub fn file(key: &PublicKey, fork: u64, kind: Kind, number: u64) -> String {
    let name = match kind {
        Kind::Tree => "tree",
        Kind::Data => "data",
    };
    format!("{}/{name}.{number}", folder(key, fork))
}

/// Returns how many nodes stand over so many blocks that no later block changes.
pub fn nodes_over(length: u64) -> u64 {
    (2 * length).saturating_sub(u64::from(length.count_ones()))
}

/// Returns the place of a node among the others: a node comes behind those below it, when the last block below it is there.
pub fn place_of(index: NodeIndex) -> u64 {
    let last = index.blocks().end.saturating_sub(1);
    nodes_over(last).saturating_add(u64::from(index.height()))
}

/// Returns the nodes that come to be with a block: its leaf, and those above it that have no block to its right.
pub fn completed_by(block: BlockIndex) -> impl Iterator<Item = NodeIndex> {
    let above = usize::try_from(block.0.trailing_ones()).unwrap_or_default();
    std::iter::successors(Some(block.node()), |node| Some(node.parent())).take(above + 1)
}

/// Returns a node as its file has it.
pub fn encode_node(node: &Node) -> [u8; NODE_LEN as usize] {
    let mut bytes = [0; NODE_LEN as usize];
    let (size, hash) = bytes.split_at_mut(8);
    size.copy_from_slice(&node.size.to_le_bytes());
    hash.copy_from_slice(&node.hash.0);
    bytes
}

/// Reads one; a node that is not there is all zeros, which no node is.
pub fn decode_node(bytes: &[u8]) -> Option<Node> {
    let (size, hash) = bytes.split_first_chunk::<8>()?;
    let hash = Hash(hash.try_into().ok()?);
    let node = Node { hash, size: u64::from_le_bytes(*size) };
    (node.hash != Hash([0; 32])).then_some(node)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_stand_in_the_order_in_which_they_come_to_be() {
        let mut place = 0;
        for block in 0..1_000 {
            assert_eq!(nodes_over(block), place);
            for node in completed_by(BlockIndex(block)) {
                assert_eq!(node.blocks().end, block + 1, "it has no block to the right");
                assert_eq!(place_of(node), place);
                place += 1;
            }
        }
    }

    #[test]
    fn pieces_end_where_segments_do() {
        let pieces = |bytes| Kind::Data.pieces(bytes).collect::<Vec<_>>();
        assert_eq!(pieces(5..5), []);
        assert_eq!(pieces(1..3), [(0, 1..3)]);
        let end = DATA_SEGMENT;
        assert_eq!(pieces(end - 1..2 * end + 1), [(0, end - 1..end), (1, 0..end), (2, 0..1)]);
        assert_eq!(TREE_SEGMENT % NODE_LEN, 0, "no node is cut");
    }
}
