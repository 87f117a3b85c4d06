//! What writers wrote, and the trees over it by the definition of SPEC 2 and nothing faster.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use datnode_feed::{Hash, Node, NodeIndex, PublicKey, SignedHead, leaf, parent, peaks, root};

use super::Verdict;

/// What writers wrote: the blocks of each feed.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    feeds: BTreeMap<PublicKey, Vec<Vec<u8>>>,
    roots: RefCell<BTreeMap<(PublicKey, u64), Hash>>,
    nodes: RefCell<BTreeMap<(PublicKey, NodeIndex), Node>>,
    /// Heads whose signatures were checked.
    verified: RefCell<BTreeSet<(PublicKey, Vec<u8>)>>,
}

impl Truth {
    /// Says that a writer put this block there; the first word counts.
    pub fn write(&mut self, key: &PublicKey, index: u64, bytes: &[u8]) {
        let blocks = self.feeds.entry(*key).or_default();
        match blocks.get(position(index)) {
            Some(block) => assert_eq!(block, bytes, "a workload writes the same again"),
            None => {
                assert_eq!(blocks.len(), position(index), "a workload writes in order");
                blocks.push(bytes.to_vec());
            }
        }
    }

    /// Returns the truth of a writer that goes on behind `length` with another block.
    pub fn diverge(&self, key: &PublicKey, length: u64, bytes: &[u8]) -> Self {
        let mut truth = self.clone();
        truth.truncate(key, length);
        truth.write(key, length, bytes);
        truth
    }

    /// Takes back what was written behind `length`.
    pub fn truncate(&mut self, key: &PublicKey, length: u64) {
        self.feeds.entry(*key).or_default().truncate(position(length));
        self.roots.borrow_mut().retain(|(feed, at), _| feed != key || *at <= length);
        self.nodes.borrow_mut().retain(|(feed, at), _| feed != key || at.blocks().end <= length);
    }

    /// Returns a block.
    pub fn block(&self, key: &PublicKey, index: u64) -> Option<&[u8]> {
        self.blocks(key).get(position(index)).map(Vec::as_slice)
    }

    /// Returns all blocks of a feed.
    pub fn blocks(&self, key: &PublicKey) -> &[Vec<u8>] {
        self.feeds.get(key).map_or(&[], Vec::as_slice)
    }

    /// Returns how many bytes the first `length` blocks have.
    pub fn bytes(&self, key: &PublicKey, length: u64) -> u64 {
        self.blocks(key).iter().take(position(length)).map(|block| block.len() as u64).sum()
    }

    /// Checks that a head is the writer's, and on the one chain of its key.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check_head(&self, key: &PublicKey, head: &SignedHead) -> Verdict {
        let length = head.head.length;
        if !self.is_signed(key, head) {
            return Err(format!("the head of {length} blocks has a wrong signature"));
        }
        if length > self.blocks(key).len() as u64 {
            return Err(format!("a head of {length} blocks, but nobody wrote as many"));
        }
        if head.head.root != self.root(key, length)
            || head.head.byte_length != self.bytes(key, length)
        {
            return Err(format!("the head of {length} blocks is of another history"));
        }
        Ok(())
    }

    fn is_signed(&self, key: &PublicKey, head: &SignedHead) -> bool {
        let at = (*key, head.encode());
        if self.verified.borrow().contains(&at) {
            return true;
        }
        let signed = head.verify(key).is_ok();
        if signed {
            self.verified.borrow_mut().insert(at);
        }
        signed
    }

    fn root(&self, key: &PublicKey, length: u64) -> Hash {
        let at = (*key, length);
        if let Some(root) = self.roots.borrow().get(&at) {
            return *root;
        }
        let nodes: Vec<_> = peaks(length).map(|peak| (peak, self.node(key, peak))).collect();
        let root = root(nodes.iter().map(|(index, node)| (*index, node)));
        self.roots.borrow_mut().insert(at, root);
        root
    }

    /// Returns a node of the tree over what was written; all blocks below it were.
    pub fn node(&self, key: &PublicKey, index: NodeIndex) -> Node {
        let at = (*key, index);
        if let Some(node) = self.nodes.borrow().get(&at) {
            return *node;
        }
        let below = index.left_child().zip(index.right_child());
        let node = match below {
            Some((left, right)) => parent(&self.node(key, left), &self.node(key, right)),
            None => leaf(self.block(key, index.blocks().start).expect("the block was written")),
        };
        self.nodes.borrow_mut().insert(at, node);
        node
    }
}

fn position(index: u64) -> usize {
    usize::try_from(index).expect("feeds of these lanes are short")
}
