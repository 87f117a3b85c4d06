//! What shows that a writer signed two histories: it needs no trust in who tells it. SPEC 3.8.
//!
//! ```text
//! shorter head (bytes) | longer head (bytes) | peaks of the shorter length in the longer tree, 40 each
//!                                            | the nodes of the upgrade between the lengths, 40 each
//! ```
//! *bytes*: a varint length and the encoded head. How many nodes there are follows from the lengths.

use alloc::vec::Vec;

use thiserror::Error;

use crate::codec::{DecodeError, Reader, Writer};
use crate::hash::{Node, root};
use crate::head::SignedHead;
use crate::key::PublicKey;
use crate::position::peaks;
use crate::proof::{UpgradeProof, upgrade_nodes};

/// The most bytes of an encoded accusation: two heads, and the nodes of the longest proof.
pub const ACCUSATION_BYTES_MAX: usize =
    2 * 170 + 40 * (crate::proof::LEVELS_MAX + crate::proof::UPGRADE_NODES_MAX);
const HEAD_BYTES_MAX: usize = 168;

/// Two heads of one fork that contradict each other, and what shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accusation {
    /// The head of the lesser length, or either if they are equal.
    pub shorter: SignedHead,
    /// The other.
    pub longer: SignedHead,
    /// The peaks of the shorter length in the tree of the longer head, left to right.
    pub peaks: Vec<Node>,
    /// The nodes of an upgrade from there to the longer head.
    pub nodes: Vec<Node>,
}

/// Why an accusation shows nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AccusationError {
    /// A head is not signed by the feed's key.
    #[error("a head of the accusation is not signed by the feed's key")]
    Signature,
    /// The heads are of two forks, or in the wrong order.
    #[error("the heads of the accusation cannot be compared")]
    Incomparable,
    /// The nodes do not make the longer head.
    #[error("the nodes of the accusation do not make its longer head")]
    Nodes,
    /// The heads agree.
    #[error("the heads of the accusation agree")]
    Agree,
}

impl Accusation {
    /// Checks everything: whoever accepts it knows that the holder of `key` signed two histories.
    ///
    /// # Errors
    /// [`AccusationError`]: then it shows nothing, and whoever made it is to blame.
    pub fn verify(&self, key: &PublicKey) -> Result<(), AccusationError> {
        let (shorter, longer) = (&self.shorter.head, &self.longer.head);
        if shorter.fork != longer.fork || shorter.length > longer.length {
            return Err(AccusationError::Incomparable);
        }
        if self.shorter.verify(key).is_err() || self.longer.verify(key).is_err() {
            return Err(AccusationError::Signature);
        }
        let indexes: Vec<_> = peaks(shorter.length).collect();
        if indexes.len() != self.peaks.len() {
            return Err(AccusationError::Nodes);
        }
        let old: Vec<_> = indexes.into_iter().zip(self.peaks.iter().copied()).collect();
        let at_shorter = root(old.iter().map(|(index, node)| (*index, node)));
        let nodes = self.nodes.clone();
        let upgrade = UpgradeProof { from: shorter.length, head: self.longer, nodes };
        let joined = upgrade.join(old).ok_or(AccusationError::Nodes)?;
        let made = root(joined.peaks.iter().map(|(index, node)| (*index, node)));
        if made != longer.root || joined.bytes != longer.byte_length {
            return Err(AccusationError::Nodes);
        }
        if at_shorter == shorter.root { Err(AccusationError::Agree) } else { Ok(()) }
    }

    /// Returns the canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.bytes(&self.shorter.encode()).bytes(&self.longer.encode());
        for node in self.peaks.iter().chain(&self.nodes) {
            writer.u64(node.size).hash(&node.hash);
        }
        writer.into_vec()
    }

    /// Takes the bytes that [`encode`](Self::encode) made; nothing is verified yet.
    ///
    /// # Errors
    /// Bytes that are no accusation.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let shorter = SignedHead::decode(reader.bytes(HEAD_BYTES_MAX)?)?;
        let longer = SignedHead::decode(reader.bytes(HEAD_BYTES_MAX)?)?;
        if shorter.head.length > longer.head.length {
            return Err(DecodeError::Invalid("order of heads"));
        }
        let mut read = |_| Ok(Node { size: reader.u64()?, hash: reader.hash()? });
        let peaks = peaks(shorter.head.length).map(&mut read).collect::<Result<_, _>>()?;
        let between = upgrade_nodes(shorter.head.length, longer.head.length);
        let nodes = between.map(&mut read).collect::<Result<_, _>>()?;
        reader.end()?;
        Ok(Self { shorter, longer, peaks, nodes })
    }
}
