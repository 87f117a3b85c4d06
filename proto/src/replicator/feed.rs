//! What the replicator knows of one feed: what we hold, what is wanted, who holds what.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::ops::Range;

use datnode_feed::{Bitfield, PublicKey};

use super::picker::{Picture, Rarity, pick};
use super::want::Open;
use crate::ids::{Class, Instant, PeerId, Priority, WantId};
use crate::limits::{BLOCK_BYTES_GUESS, REGION_BYTES};
use crate::wire::Runs;

/// A feed of ours.
///
/// Invariant: `assigned` holds exactly the blocks that some peer was asked for or whose bytes are with the store.
#[derive(Debug)]
pub(super) struct Feed {
    pub(super) key: PublicKey,
    pub(super) class: Class,
    pub(super) length: u64,
    /// Lengths whose peaks we know, since our head passed through them.
    pub(super) passed: BTreeSet<u64>,
    pub(super) have: Bitfield,
    pub(super) assigned: Bitfield,
    pub(super) wants: Vec<Open>,
    pub(super) holders: BTreeMap<PeerId, Holder>,
    /// Nothing is asked until then, since our own disk failed.
    pub(super) paused_until: Option<Instant>,
    blocks_seen: u64,
    bytes_seen: u64,
}

/// What a peer told us of its part of a feed.
#[derive(Clone, Debug, Default)]
pub(super) struct Holder {
    pub(super) length: u64,
    pub(super) have: Bitfield,
    /// Whether it told us at all.
    pub(super) heard: bool,
}

/// Which order wants are served in: priority, then the feed's class, then age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank(
    pub(super) Priority,
    pub(super) Class,
    pub(super) core::cmp::Reverse<WantId>,
);

impl Feed {
    pub(super) fn new(key: PublicKey, class: Class, length: u64, have: Bitfield) -> Self {
        Self {
            key,
            class,
            length,
            passed: BTreeSet::from([length]),
            have,
            assigned: Bitfield::default(),
            wants: Vec::new(),
            holders: BTreeMap::new(),
            paused_until: None,
            blocks_seen: 0,
            bytes_seen: 0,
        }
    }

    pub(super) fn advance(&mut self, length: u64) {
        if length > self.length {
            self.length = length;
            self.passed.insert(length);
        }
    }

    pub(super) fn measure(&mut self, bytes: u64) {
        self.blocks_seen += 1;
        self.bytes_seen += bytes;
    }

    /// Returns the average block's size, as far as blocks were seen.
    pub(super) fn block_bytes(&self) -> u64 {
        self.bytes_seen.checked_div(self.blocks_seen).map_or(BLOCK_BYTES_GUESS, |mean| mean.max(1))
    }

    /// Returns the head length that a request to this peer is verified against, if it can help at all.
    ///
    /// Either our own, if the peer's head is as long, or the peer's, if we know the peaks of that length. SPEC 7.4.
    pub(super) fn common_length(&self, peer: PeerId) -> Option<u64> {
        let holder = self.holders.get(&peer).filter(|holder| holder.heard)?;
        match holder.length {
            length if length >= self.length => Some(self.length),
            length if self.passed.contains(&length) => Some(length),
            _ => None,
        }
        .filter(|&length| length > 0)
    }

    /// Picks blocks of one want for a peer.
    pub(super) fn pick(
        &self,
        peer: PeerId,
        want: &Open,
        length: u64,
        budget: u64,
        seed: u64,
    ) -> Runs {
        let Some(holder) = self.holders.get(&peer) else { return Runs::new() };
        let theirs = &holder.have;
        let picture = Picture { have: &self.have, assigned: &self.assigned, theirs, length };
        let holders =
            |block: u64| self.holders.values().filter(|holder| holder.have.contains(block)).count();
        let tie = |region: u64| mix(seed, region);
        let region = (REGION_BYTES / self.block_bytes()).max(1);
        let rarity = Rarity { region, holders: &holders, tie: &tie };
        pick(&want.runs, want.order, picture, budget, &rarity)
    }

    /// Notes that a block is held now; returns the wants that are done with it.
    pub(super) fn stored(&mut self, block: u64, bytes: &Range<u64>) -> Vec<WantId> {
        self.assigned.clear(block);
        if !self.have.contains(block) {
            self.have.set(block);
            self.wants.iter_mut().for_each(|want| want.stored(block, bytes));
        }
        self.take_done()
    }

    /// Takes the wants that are done.
    pub(super) fn take_done(&mut self) -> Vec<WantId> {
        let done = self.wants.iter().filter(|want| want.is_done()).map(|want| want.id).collect();
        self.wants.retain(|want| !want.is_done());
        done
    }
}

/// Mixes a seed and a number (the finalizer of splitmix64).
pub(super) fn mix(seed: u64, number: u64) -> u64 {
    let mut z = seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
