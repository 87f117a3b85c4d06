//! What is right, for every lane: nothing acknowledged is lost, nothing unverified is claimed, no history is signed twice.
//!
//! The oracle knows what writers wrote and computes their trees itself, by the definition of SPEC 2 and nothing faster.
//! Elsewhere: who asks it (`lanes`, `scenario`).

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use datnode_feed::{
    BlockIndex, FeedSlot, Hash, Node, Place, PublicKey, SignedHead, Storage, Store, leaf, parent,
    peaks, root,
};

/// A broken promise, in words.
pub type Verdict = Result<(), String>;

/// What writers wrote: the blocks of each feed.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    feeds: BTreeMap<PublicKey, Vec<Vec<u8>>>,
    roots: RefCell<BTreeMap<(PublicKey, u64), Hash>>,
    /// Heads whose signatures were checked.
    verified: RefCell<BTreeSet<(PublicKey, Vec<u8>)>>,
}

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
        let blocks = truth.feeds.entry(*key).or_default();
        blocks.truncate(position(length));
        blocks.push(bytes.to_vec());
        truth.roots.borrow_mut().retain(|(feed, at), _| feed != key || *at <= length);
        truth
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
        let blocks = self.blocks(key);
        let nodes: Vec<_> = peaks(length)
            .map(|peak| {
                (peak, tree(&blocks[position(peak.blocks().start)..position(peak.blocks().end)]))
            })
            .collect();
        let root = root(nodes.iter().map(|(index, node)| (*index, node)));
        self.roots.borrow_mut().insert(at, root);
        root
    }
}

/// Returns the node over blocks whose count is a power of two.
fn tree(blocks: &[Vec<u8>]) -> Node {
    match blocks {
        [block] => leaf(block),
        _ => {
            let (left, right) = blocks.split_at(blocks.len() / 2);
            parent(&tree(left), &tree(right))
        }
    }
}

fn position(index: u64) -> usize {
    usize::try_from(index).expect("feeds of these lanes are short")
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
            None if said == &SaidOfFeed::default() => {}
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
    let mut bad = BTreeSet::new();
    let audit = store.check(slot, true, &mut |block| {
        bad.insert(block.0);
    });
    audit.map_err(|error| format!("the audit failed: {error}"))?;
    let have: Vec<u64> = store.have(slot).iter_ones(0..store.length(slot)).collect();
    for block in have {
        let excused = moved.contains(&block) && is_in_place(store, slot, BlockIndex(block))?;
        match store.read(slot, BlockIndex(block)) {
            Ok(Some(bytes)) if truth.block(key, block) == Some(&bytes) && !bad.contains(&block) => {
            }
            Ok(None) if excused => {}
            Ok(Some(_)) => return Err(format!("block {block} has wrong bytes")),
            Ok(None) => return Err(format!("block {block} is claimed and not there")),
            Err(error) => return Err(format!("block {block} cannot be read: {error}")),
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
