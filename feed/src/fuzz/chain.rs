//! Proofs from bytes, held against a feed that is known.

use alloc::vec;
use alloc::vec::Vec;
use std::sync::OnceLock;

use crate::accusation::Accusation;
use crate::codec::{DecodeError, Reader, Writer};
use crate::hash::{Node, leaf};
use crate::head::SignedHead;
use crate::key::{PublicKey, SecretKey};
use crate::memory::MemoryStorage;
use crate::position::BlockIndex;
use crate::proof::{BlockProof, LEVELS_MAX, UPGRADE_NODES_MAX, UpgradeProof, peak_height};
use crate::storage::FeedSlot;
use crate::store::{Comparison, Store};

/// How many blocks the sample has.
const BLOCKS: u64 = 10;

/// A feed of ten blocks, in one history and the beginning of another.
#[derive(Debug)]
pub struct Sample {
    /// The writer's store.
    pub store: Store<MemoryStorage>,
    /// The store of its other history, which has two blocks.
    pub other: Store<MemoryStorage>,
    /// The feed in it.
    pub feed: FeedSlot,
    /// The feed's key.
    pub key: PublicKey,
    /// All heads that were ever signed, the store's first.
    pub heads: Vec<SignedHead>,
    /// What shows that there are two histories.
    pub accusation: Accusation,
}

/// Returns the bytes of a block of the [`sample`].
pub fn block_bytes(index: u64) -> Vec<u8> {
    let len = usize::try_from(index * 37 % 101).unwrap_or_default();
    vec![b'a' + u8::try_from(index % 26).unwrap_or_default(); len]
}

/// Returns the feed that proofs are held against; it is made once.
pub fn sample() -> &'static Sample {
    static SAMPLE: OnceLock<Sample> = OnceLock::new();
    SAMPLE.get_or_init(|| {
        let secret = SecretKey::from_bytes([7; 32]);
        let blocks: Vec<_> = (0..BLOCKS).map(block_bytes).collect();
        let (store, feed) = write(&secret, &blocks);
        let (other, _) = write(&secret, &[b"another".to_vec(), b"history".to_vec()]);
        let heads: Vec<_> =
            [&store, &other].into_iter().filter_map(|store| store.head(feed).copied()).collect();
        let compared = store.compare(feed, other.head(feed).expect("it was signed"));
        let Ok(Comparison::Contradict(accusation)) = compared else {
            unreachable!("the histories differ from the first block on")
        };
        Sample { store, other, feed, key: secret.public(), heads, accusation: *accusation }
    })
}

fn write(secret: &SecretKey, blocks: &[Vec<u8>]) -> (Store<MemoryStorage>, FeedSlot) {
    let mut store = Store::open(MemoryStorage::new()).expect("memory does not fail");
    let feed = store.add_feed(secret.public()).expect("memory does not fail");
    for block in blocks {
        store.append(feed, block).expect("memory does not fail");
    }
    store.sign(feed, secret).expect("the key is right");
    store.commit().expect("memory does not fail");
    (store, feed)
}

/// Returns a store that knows the key, and the head if asked to, and no block.
fn reader(sample: &Sample, knows_head: bool) -> Store<MemoryStorage> {
    let mut reader = Store::open(MemoryStorage::new()).expect("memory does not fail");
    let feed = reader.add_feed(sample.key).expect("memory does not fail");
    if knows_head {
        let proof = sample.store.prove_upgrade(sample.feed, 0).expect("memory does not fail");
        reader.upgrade(feed, &proof.expect("the writer knows its tree")).expect("it is right");
    }
    reader
}

/// `block | count | count × (size | hash) | bytes`: a block with the proof that it is the one.
pub fn block_proof(input: &[u8]) -> bool {
    let mut input = Reader::new(input);
    let Ok((block, siblings)) = read_block_proof(&mut input) else { return false };
    let bytes = input.rest();
    let sample = sample();
    let mut reader = reader(sample, true);
    let proof = BlockProof { block, leaf: leaf(bytes), siblings };
    let _ = proof.climb();
    if reader.insert(sample.feed, &proof, bytes).is_err() {
        assert!(reader.have(sample.feed).is_empty(), "what is refused changes nothing");
        return false;
    }
    assert_eq!(bytes, block_bytes(block.0), "only the writer's bytes are taken");
    assert_eq!(reader.read(sample.feed, block).ok().flatten().as_deref(), Some(bytes));
    true
}

fn read_block_proof(input: &mut Reader<'_>) -> Result<(BlockIndex, Vec<Node>), DecodeError> {
    Ok((BlockIndex(input.varint()?), read_nodes(input, LEVELS_MAX)?))
}

pub(super) fn block_proof_seeds() -> Vec<Vec<u8>> {
    let sample = sample();
    let seed = |index| {
        let block = BlockIndex(index);
        let levels = peak_height(block, BLOCKS).expect("the block is there");
        let proof = sample.store.prove(sample.feed, block, levels).expect("memory does not fail");
        let mut writer = Writer::new();
        writer.varint(index);
        write_nodes(&mut writer, &proof.expect("the writer knows its tree").siblings);
        writer.raw(&block_bytes(index)).as_slice().to_vec()
    };
    (0..BLOCKS).map(seed).collect()
}

/// `from | head bytes | count | count × (size | hash)`: a longer head with its proof.
pub fn upgrade_proof(input: &[u8]) -> bool {
    let Ok(proof) = read_upgrade_proof(&mut Reader::new(input)) else { return false };
    let sample = sample();
    let mut reader = reader(sample, false);
    if reader.upgrade(sample.feed, &proof).is_err() {
        assert_eq!(reader.length(sample.feed), 0, "what is refused changes nothing");
        return false;
    }
    let head = reader.head(sample.feed).expect("it was taken over");
    assert!(sample.heads.contains(head), "only the writer's heads are taken");
    true
}

fn read_upgrade_proof(input: &mut Reader<'_>) -> Result<UpgradeProof, DecodeError> {
    let from = input.varint()?;
    let head = SignedHead::decode(input.bytes(168)?)?;
    let proof = UpgradeProof { from, head, nodes: read_nodes(input, UPGRADE_NODES_MAX)? };
    input.end()?;
    Ok(proof)
}

pub(super) fn upgrade_proof_seeds() -> Vec<Vec<u8>> {
    let sample = sample();
    let proof = sample.store.prove_upgrade(sample.feed, 0).expect("memory does not fail");
    let proof = proof.expect("the writer knows its tree");
    let mut writer = Writer::new();
    writer.varint(proof.from).bytes(&proof.head.encode());
    write_nodes(&mut writer, &proof.nodes);
    vec![writer.into_vec()]
}

fn read_nodes(input: &mut Reader<'_>, limit: usize) -> Result<Vec<Node>, DecodeError> {
    let count = input.varint()?;
    if count > limit as u64 {
        return Err(DecodeError::TooLong(limit));
    }
    (0..count).map(|_| Ok(Node { size: input.u64()?, hash: input.hash()? })).collect()
}

fn write_nodes(writer: &mut Writer, nodes: &[Node]) {
    writer.varint(nodes.len() as u64);
    for node in nodes {
        writer.u64(node.size).hash(&node.hash);
    }
}
