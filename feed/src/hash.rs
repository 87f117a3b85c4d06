//! Hashes of blocks, nodes and whole trees.
//!
//! A leaf is the plain BLAKE3 of its block, so that it is the content's address as well. Every other purpose has
//! a context of its own, so that no hash of one kind can be taken for another. Sizes are hashed in, which makes
//! byte offsets as provable as blocks.

use core::fmt;

use crate::position::NodeIndex;

/// The context of a parent's hash.
pub(crate) const PARENT_CONTEXT: &str = "datnode 2026 feed parent v1";
/// The context of a root hash.
pub(crate) const ROOT_CONTEXT: &str = "datnode 2026 feed root v1";

/// A BLAKE3 hash.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// Returns the BLAKE3 hash of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// Returns the bytes of the hash.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Prints the first eight bytes, which is enough to tell two apart in a log.
impl fmt::Debug for Hash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(8).try_for_each(|byte| write!(out, "{byte:02x}"))?;
        out.write_str("…")
    }
}

/// Prints all of it.
impl fmt::Display for Hash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

/// What the tree knows about a subtree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    /// The hash over everything below.
    pub hash: Hash,
    /// The bytes of all blocks below.
    pub size: u64,
}

/// Returns the leaf of a block.
pub fn leaf(block: &[u8]) -> Node {
    Node { hash: Hash::of(block), size: block.len() as u64 } // SPEC 2.1
}

/// Returns the node above two siblings.
///
/// Sizes are below 2^56 wherever they were checked; a sum that has no room stays at the largest number, which no
/// valid tree has.
pub fn parent(left: &Node, right: &Node) -> Node {
    // SPEC 2.2
    let mut hasher = blake3::Hasher::new_derive_key(PARENT_CONTEXT);
    for child in [left, right] {
        hasher.update(&child.size.to_le_bytes());
        hasher.update(&child.hash.0);
    }
    let size = left.size.saturating_add(right.size);
    Node { hash: Hash(*hasher.finalize().as_bytes()), size }
}

/// Returns the root hash: over all peaks of a tree, left to right.
pub fn root<'a>(peaks: impl IntoIterator<Item = (NodeIndex, &'a Node)>) -> Hash {
    // SPEC 2.3
    let mut hasher = blake3::Hasher::new_derive_key(ROOT_CONTEXT);
    for (index, node) in peaks {
        hasher.update(&index.0.to_le_bytes());
        hasher.update(&node.size.to_le_bytes());
        hasher.update(&node.hash.0);
    }
    Hash(*hasher.finalize().as_bytes())
}
