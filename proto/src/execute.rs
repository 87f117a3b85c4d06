//! Jobs done at once on a store that keeps all blocks itself.
//!
//! Elsewhere: a store whose blocks become files (`datnode::engine`).

use bytes::Bytes;
use datnode_feed::{
    BlockIndex, BlockProof, Comparison, FeedSlot, Seek, SignedHead, Storage, Store, UpgradeProof,
    leaf,
};

use crate::job::{Done, Failure, Job};

/// Does a job; what the storage says no to is answered as if it were not here.
pub fn execute<S: Storage>(store: &mut Store<S>, slot: FeedSlot, job: Job) -> Done {
    match job {
        Job::Read { peer, feed, request, urgency, block, levels } => {
            let answer = read(store, slot, block, levels);
            Done::Read { peer, feed, request, urgency, block, answer }
        }
        Job::Locate { peer, feed, request, urgency, length, bytes } => {
            let seek = |byte| store.seek(slot, byte);
            let blocks = match (seek(bytes.start), seek(bytes.end.saturating_sub(1))) {
                (Ok(Seek::Block { block: a, .. }), Ok(Seek::Block { block: b, .. })) => {
                    Some(a.0..b.0 + 1)
                }
                _ => None,
            };
            Done::Located { peer, feed, request, urgency, length, blocks }
        }
        Job::Leaves { peer, feed, request, top, levels } => {
            let proof = store.prove_leaves(slot, top, levels).ok().flatten();
            Done::Leaves { peer, feed, request, proof }
        }
        Job::Learn { peer, feed, request, proof } => {
            let result = store.learn(slot, &proof).map_err(|error| Failure::from(&error));
            Done::Learned { peer, feed, request, result }
        }
        Job::Prove { peer, feed, from } => {
            Done::Proved { peer, feed, proof: store.prove_upgrade(slot, from).ok().flatten() }
        }
        Job::Upgrade { peer, feed, proof } => {
            Done::Upgraded { peer, feed, result: upgrade(store, slot, &proof) }
        }
        Job::Compare { peer, feed, head } => {
            Done::Compared { peer, feed, head, result: compare(store, slot, &head) }
        }
        Job::Accuse { peer, feed, accusation } => {
            let kept = store.accuse(slot, &accusation).map_err(|error| Failure::from(&error));
            Done::Accused { peer, feed, result: kept.map(|_| accusation) }
        }
        Job::Store { peer, feed, block, siblings, bytes, .. } => {
            let proof = BlockProof { block, leaf: leaf(&bytes), siblings };
            let kept = store.accept(slot, &proof, None).and_then(|offset| {
                store.keep(slot, block, &bytes)?;
                Ok(offset)
            });
            let result = kept.map_err(|error| Failure::from(&error));
            Done::Stored { peer, feed, block, len: bytes.len() as u64, result }
        }
    }
}

fn read<S: Storage>(
    store: &mut Store<S>,
    slot: FeedSlot,
    block: BlockIndex,
    levels: u32,
) -> Option<(BlockProof, Bytes)> {
    let proof = store.prove(slot, block, levels).ok()??;
    let bytes = store.read(slot, block).ok()??;
    Some((proof, Bytes::from(bytes)))
}

fn upgrade<S: Storage>(
    store: &mut Store<S>,
    slot: FeedSlot,
    proof: &UpgradeProof,
) -> Result<SignedHead, Failure> {
    store.upgrade(slot, proof).map_err(|error| Failure::from(&error))?;
    store.head(slot).copied().ok_or(Failure::Ours)
}

fn compare<S: Storage>(
    store: &mut Store<S>,
    slot: FeedSlot,
    head: &SignedHead,
) -> Result<Comparison, Failure> {
    let compared = store.compare(slot, head).and_then(|found| {
        if let Comparison::Contradict(accusation) = &found {
            store.accuse(slot, accusation)?;
        }
        Ok(found)
    });
    compared.map_err(|error| Failure::from(&error))
}
