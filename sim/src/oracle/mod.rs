//! What is right, for every lane: nothing acknowledged is lost, nothing unverified is claimed, no history is signed twice.
//!
//! Elsewhere: what writers wrote (`truth`), what damage may do (`damage`), who asks the oracle (`lanes`, `scenario`).

mod damage;
mod truth;

use std::collections::{BTreeMap, BTreeSet};

use datnode_feed::{
    BlockIndex, FeedSlot, NodeIndex, Place, PublicKey, SignedHead, Storage, Store, levels,
};

pub use damage::{answers_right, finds_damage, serves_no_wrong_byte};
pub use truth::Truth;

/// A broken promise, in words.
pub type Verdict = Result<(), String>;

/// What was acknowledged, by feed.
pub type Said = BTreeMap<PublicKey, SaidOfFeed>;

/// What was acknowledged of a feed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SaidOfFeed {
    /// The head that showed.
    pub head: Option<SignedHead>,
    /// The blocks that were here for good.
    pub held: BTreeSet<u64>,
    /// The blocks whose working file was renamed or changed since: they may only not be given out.
    pub moved: BTreeSet<u64>,
}

/// Judges a store that has just been opened.
///
/// # Errors
/// The first promise that is broken.
pub fn judge<S: Storage>(store: &mut Store<S>, truth: &Truth, said: &Said) -> Verdict {
    let feeds: Vec<(FeedSlot, PublicKey)> = store.feeds().collect();
    for (key, said) in said {
        let found = feeds.iter().find(|(_, feed)| feed == key);
        match found {
            Some((slot, _)) => acknowledged(store, *slot, said)?,
            // A file may get its name before anything of its blocks is committed.
            None if said.head.is_none() && said.held.is_empty() => {}
            None => return Err("a feed is gone".into()),
        }
    }
    let none = BTreeSet::new();
    feeds.into_iter().try_for_each(|(slot, key)| {
        let wrong = |error| format!("feed {slot}: {error}");
        let moved = said.get(&key).map(|said| &said.moved).unwrap_or(&none);
        judge_feed(store, slot, &key, truth, moved).map_err(wrong)
    })
}

/// What was acknowledged is there.
fn acknowledged<S: Storage>(store: &Store<S>, slot: FeedSlot, said: &SaidOfFeed) -> Verdict {
    let length = said.head.map_or(0, |head| head.head.length);
    if store.length(slot) < length {
        return Err(format!("feed {slot}: {} < {length} acknowledged blocks", store.length(slot)));
    }
    match said.held.iter().find(|block| !store.have(slot).contains(**block)) {
        Some(block) => Err(format!("feed {slot}: the acknowledged block {block} is gone")),
        None => Ok(()),
    }
}

/// What is claimed is right: one chain, have ⊆ verified, bytes as written.
fn judge_feed<S: Storage>(
    store: &mut Store<S>,
    slot: FeedSlot,
    key: &PublicKey,
    truth: &Truth,
    moved: &BTreeSet<u64>,
) -> Verdict {
    if let Some(head) = store.head(slot) {
        truth.check_head(key, head)?;
    }
    if store.have(slot).len() > store.length(slot) {
        return Err("blocks behind the head are claimed".into());
    }
    nodes_are_the_writers(store, slot, key, truth)?;
    let have: Vec<u64> = store.have(slot).iter_ones(0..store.length(slot)).collect();
    for block in have {
        let excused = moved.contains(&block) && is_in_place(store, slot, BlockIndex(block))?;
        match store.read(slot, BlockIndex(block)) {
            Ok(Some(bytes)) if truth.block(key, block) == Some(&bytes) => {}
            Ok(None) if excused => {}
            Ok(Some(_)) => return Err(format!("block {block} has wrong bytes")),
            Ok(None) => return Err(format!("block {block} is claimed and not there")),
            Err(error) => return Err(format!("block {block} cannot be read: {error}")),
        }
        if !is_provable(store, slot, BlockIndex(block)) {
            return Err(format!("block {block} is claimed and cannot be proven"));
        }
    }
    Ok(())
}

/// No node passes for verified that is not in the writer's tree.
fn nodes_are_the_writers<S: Storage>(
    store: &Store<S>,
    slot: FeedSlot,
    key: &PublicKey,
    truth: &Truth,
) -> Verdict {
    for index in (0..2 * store.length(slot)).map(NodeIndex) {
        let known = store.node(slot, index).map_err(|error| error.to_string())?;
        if known.is_some_and(|node| node != truth.node(key, index)) {
            return Err(format!("node {index} is not in the writer's tree"));
        }
    }
    Ok(())
}

/// Tells whether the way from a block up to its peak is known.
fn is_provable<S: Storage>(store: &Store<S>, slot: FeedSlot, block: BlockIndex) -> bool {
    let levels = levels(block, store.length(slot), |_| false);
    let proof = levels.map(|levels| store.prove(slot, block, levels));
    matches!(proof, Some(Ok(Some(_))))
}

/// Checks that the store's own audit finds nothing.
///
/// # Errors
/// What it finds.
pub fn audit<S: Storage>(store: &mut Store<S>, said: &Said) -> Verdict {
    for (slot, key) in store.feeds().collect::<Vec<_>>() {
        let moved = said.get(&key).map(|said| &said.moved);
        let mut bad = Vec::new();
        let audited = store.check(slot, true, &mut |block| bad.push(block.0));
        audited.map_err(|error| format!("the audit of feed {slot} failed: {error}"))?;
        bad.retain(|block| moved.is_none_or(|moved| !moved.contains(block)));
        if !bad.is_empty() {
            return Err(format!("the audit of feed {slot} finds {bad:?}"));
        }
    }
    Ok(())
}

/// Tells whether a block lives in a working file, whose name and bytes belong to the user.
fn is_in_place<S: Storage>(
    store: &Store<S>,
    slot: FeedSlot,
    block: BlockIndex,
) -> Result<bool, String> {
    let place = store.where_is(slot, block).map_err(|error| error.to_string())?;
    Ok(matches!(place, Some(Place::Working { .. })))
}
