//! What damage may do to a store: things may be missing, none may be wrong.

use std::collections::BTreeSet;

use datnode_feed::{
    BlockIndex, FeedSlot, NodeIndex, PublicKey, Seek, Storage, Store, levels, upgrade_nodes,
};

use super::{Truth, Verdict};

/// Checks that damage makes nothing wrong: each block that is given out has the right bytes, each head is the writer's.
///
/// # Errors
/// The first that is wrong. A typed error of the store is none.
pub fn serves_no_wrong_byte<S: Storage>(
    store: &mut Store<S>,
    truth: &Truth,
) -> Result<u64, String> {
    let mut served = 0;
    for (slot, key) in store.feeds().collect::<Vec<_>>() {
        if let Some(head) = store.head(slot) {
            truth.check_head(&key, head).map_err(|error| format!("feed {slot}: {error}"))?;
        }
        for block in 0..store.length(slot) {
            let Ok(Some(bytes)) = store.read(slot, BlockIndex(block)) else { continue };
            if truth.block(&key, block) != Some(&bytes) {
                return Err(format!("feed {slot}: block {block} was served with wrong bytes"));
            }
            served += 1;
        }
    }
    Ok(served)
}

/// Checks that what is told to others is right: proofs, and where bytes are. A typed error of the store is not wrong, nor is
/// no answer.
///
/// # Errors
/// The first that is wrong.
pub fn answers_right<S: Storage>(store: &Store<S>, truth: &Truth) -> Verdict {
    for (slot, key) in store.feeds() {
        let length = store.length(slot);
        for block in (0..length).map(BlockIndex) {
            let height = levels(block, length, |_| false).unwrap_or_default();
            if let Ok(Some(proof)) = store.prove(slot, block, height) {
                let siblings = ways_up(block, height).map(|index| truth.node(&key, index));
                if proof.leaf != truth.node(&key, block.node()) || !siblings.eq(proof.siblings) {
                    return Err(format!("feed {slot}: the proof of block {block} is wrong"));
                }
            }
            if let Ok(Some(offset)) = store.byte_offset(slot, block)
                && offset != truth.bytes(&key, block.0)
            {
                return Err(format!("feed {slot}: block {block} begins elsewhere"));
            }
            if let Ok(Some(proof)) = store.prove_upgrade(slot, block.0)
                && !upgrade_nodes(block.0, length).map(|at| truth.node(&key, at)).eq(proof.nodes)
            {
                return Err(format!("feed {slot}: the upgrade from {block} is wrong"));
            }
        }
        seeks_right(store, slot, &key, truth)?;
    }
    Ok(())
}

fn ways_up(block: BlockIndex, height: u32) -> impl Iterator<Item = NodeIndex> {
    let way = std::iter::successors(Some(block.node()), |node| Some(node.parent()));
    way.map(NodeIndex::sibling).take(usize::try_from(height).expect("trees are not that high"))
}

fn seeks_right<S: Storage>(
    store: &Store<S>,
    slot: FeedSlot,
    key: &PublicKey,
    truth: &Truth,
) -> Verdict {
    let mut start = 0;
    for block in 0..store.length(slot) {
        let len = truth.block(key, block).map_or(0, <[u8]>::len) as u64;
        for offset in [0, len.saturating_sub(1)].into_iter().filter(|&at| at < len) {
            let right = Seek::Block { block: BlockIndex(block), offset };
            match store.seek(slot, start + offset) {
                Ok(Seek::Unknown) | Err(_) => {}
                Ok(found) if found == right => {}
                Ok(found) => {
                    return Err(format!("feed {slot}: {right:?} is looked for at {found:?}"));
                }
            }
        }
        start += len;
    }
    Ok(())
}

/// Checks that the store's own audit names each block that cannot be read as it was written.
///
/// # Errors
/// The first that it does not name.
pub fn finds_damage<S: Storage>(store: &mut Store<S>, truth: &Truth) -> Verdict {
    for (slot, key) in store.feeds().collect::<Vec<_>>() {
        let mut bad = BTreeSet::new();
        let audited = store.check(slot, true, &mut |block| {
            bad.insert(block.0);
        });
        if audited.is_err() {
            continue;
        }
        for block in store.have(slot).iter_ones(0..store.length(slot)).collect::<Vec<_>>() {
            let read = store.read(slot, BlockIndex(block));
            let is_right =
                matches!(&read, Ok(Some(bytes)) if truth.block(&key, block) == Some(bytes));
            if !is_right && !bad.contains(&block) {
                return Err(format!("feed {slot}: the audit does not name block {block}"));
            }
        }
    }
    Ok(())
}
