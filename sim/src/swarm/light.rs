//! A store that costs nothing: it knows which blocks are here, and believes whatever a peer sends.
//!
//! All blocks of a feed have one size and share one payload; proofs have as many siblings as real ones, which hash to nothing.
//! Elsewhere: stores that verify and keep (`datnode_feed::Store`, under the hosts of `World`).

use bytes::Bytes;
use datnode_feed::{
    Bitfield, BlockProof, Comparison, Hash, Head, Node, PublicKey, SecretKey, SignedHead,
    UpgradeProof, upgrade_nodes,
};
use datnode_proto::{Class, Done, Failure, Job, Replica};

/// A feed of blocks that all have one size.
#[derive(Clone, Debug)]
pub struct Content {
    /// How many blocks it has.
    pub blocks: u64,
    /// How many bytes each of them has.
    pub block_bytes: u64,
    key: PublicKey,
    head: SignedHead,
    payload: Bytes,
}

impl Content {
    /// Makes up a feed.
    pub fn new(blocks: u64, block_bytes: usize) -> Self {
        let secret = SecretKey::from_bytes([9; 32]);
        let payload = Bytes::from(vec![0; block_bytes]);
        let (block_bytes, root) = (block_bytes as u64, Hash([0; 32]));
        let byte_length = blocks * block_bytes;
        let head = Head { fork: 0, length: blocks, byte_length, root, ancestor: None };
        let head = SignedHead::sign(head, &secret);
        Self { blocks, block_bytes, key: secret.public(), head, payload }
    }

    /// Returns how many bytes all blocks have.
    pub fn bytes(&self) -> u64 {
        self.blocks * self.block_bytes
    }
}

/// What is here of a feed.
#[derive(Debug)]
pub struct Light {
    content: Content,
    head: Option<SignedHead>,
    /// What is told to be here.
    told: Bitfield,
    have: Bitfield,
}

impl Light {
    /// Has the whole feed.
    pub fn full(content: &Content) -> Self {
        Self::part(content, all(content.blocks))
    }

    /// Has these blocks, and the head.
    pub fn part(content: &Content, have: Bitfield) -> Self {
        let (content, head) = (content.clone(), Some(content.head));
        Self { content, head, told: have.clone(), have }
    }

    /// Has nothing, not even the head.
    pub fn empty(content: &Content) -> Self {
        let (told, have) = Default::default();
        Self { content: content.clone(), head: None, told, have }
    }

    /// Says to have the whole feed, and has these blocks.
    pub fn liar(content: &Content, have: Bitfield) -> Self {
        Self { told: all(content.blocks), ..Self::part(content, have) }
    }

    /// Tells whether a block is here.
    pub fn has(&self, block: u64) -> bool {
        self.have.contains(block)
    }

    /// Returns what the replicator is told of it.
    pub(crate) fn replica(&self) -> Replica {
        let (key, have) = (self.content.key, self.told.clone());
        Replica { key, class: Class::Content, head: self.head, have, accusation: None }
    }

    /// Does a job.
    pub(crate) fn execute(&mut self, job: Job) -> Done {
        let Content { block_bytes, .. } = self.content;
        match job {
            Job::Read { peer, feed, request, urgency, block, levels } => {
                let siblings = vec![NODE; levels as usize];
                let proof = BlockProof { block, leaf: NODE, siblings };
                let answer = (proof, self.content.payload.clone());
                let answer = self.have.contains(block.0).then_some(answer);
                Done::Read { peer, feed, request, urgency, block, answer }
            }
            Job::Locate { peer, feed, request, urgency, length, bytes } => {
                let blocks = bytes.start / block_bytes..bytes.end.div_ceil(block_bytes);
                let blocks = (blocks.end <= self.content.blocks).then_some(blocks);
                Done::Located { peer, feed, request, urgency, length, blocks }
            }
            Job::Leaves { peer, feed, request, .. } => {
                Done::Leaves { peer, feed, request, proof: None }
            }
            Job::Learn { peer, feed, request, .. } => {
                Done::Learned { peer, feed, request, result: Err(Failure::Ours) }
            }
            Job::Prove { peer, feed, from } => {
                Done::Proved { peer, feed, proof: self.head.map(|head| upgrade(from, head)) }
            }
            Job::Upgrade { peer, feed, proof } => {
                let ours = self.head.map_or(0, |head| head.head.length);
                if proof.head.head.length > ours {
                    self.head = Some(proof.head);
                }
                Done::Upgraded { peer, feed, result: self.head.ok_or(Failure::Ours) }
            }
            Job::Compare { peer, feed, head } => {
                Done::Compared { peer, feed, head, result: Ok(Comparison::Agree) }
            }
            Job::Accuse { peer, feed, .. } => {
                Done::Accused { peer, feed, result: Err(Failure::Ours) }
            }
            Job::Store { peer, feed, block, bytes, .. } => {
                self.have.set(block.0);
                let (len, offset) = (bytes.len() as u64, block.0 * block_bytes);
                Done::Stored { peer, feed, block, len, result: Ok(offset) }
            }
        }
    }
}

const NODE: Node = Node { hash: Hash([0; 32]), size: 1 };

fn all(blocks: u64) -> Bitfield {
    std::iter::once(0..blocks).collect()
}

fn upgrade(from: u64, head: SignedHead) -> UpgradeProof {
    let nodes = upgrade_nodes(from, head.head.length).map(|_| NODE).collect();
    UpgradeProof { from, head, nodes }
}
