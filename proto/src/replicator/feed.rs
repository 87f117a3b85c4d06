//! What the replicator knows of one feed: what we hold, what is wanted, who holds what.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::ops::Range;

use datnode_feed::{Accusation, Bitfield, PublicKey, SignedHead};

use super::holder::{Holder, Standing};
use super::picker::{Picture, Rarity, pick};
use super::want::{Open, Tried};
use crate::ids::{Class, Instant, PeerId, Priority, WantId};
use crate::limits::{BLOCK_BYTES_GUESS, BYTES_AGAIN, PASSED_MAX, PROBES_MAX, REGION_BYTES};
use crate::wire::Runs;

/// A feed of ours.
///
/// Invariant: `assigned` holds exactly the blocks that some peer was asked for or whose bytes are with the store.
#[derive(Debug)]
pub(super) struct Feed {
    pub(super) key: PublicKey,
    pub(super) class: Class,
    pub(super) head: Option<SignedHead>,
    /// The head's length.
    pub(super) length: u64,
    /// What shows that its writer signed two histories.
    pub(super) accusation: Option<Box<Accusation>>,
    /// Lengths whose peaks we know, since our head passed through them.
    pub(super) passed: BTreeSet<u64>,
    pub(super) have: Bitfield,
    /// How often `have` changed.
    pub(super) changes: u64,
    pub(super) assigned: Bitfield,
    pub(super) wants: Vec<Open>,
    pub(super) holders: BTreeMap<PeerId, Holder>,
    /// Wants of our own: a block after the end of a peer's shorter history, whose proof shows how that history stands to ours.
    probes: BTreeSet<WantId>,
    /// How often more of the tree became known, so that what could not be compared or proven before may be now.
    pub(super) insights: u64,
    /// Nothing is asked until then, since our own disk failed.
    pub(super) paused_until: Option<Instant>,
    blocks_seen: u64,
    bytes_seen: u64,
}

/// A peer that may have bytes by now which it lacked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retry {
    /// When it may be asked for them.
    pub(super) at: Instant,
    /// When it refused them.
    refused: Instant,
    /// The position of the want that they are for.
    want: usize,
    peer: PeerId,
}

/// A feed as its store has it.
#[derive(Clone, Debug)]
pub struct Replica {
    /// Its key.
    pub key: PublicKey,
    /// What it is for.
    pub class: Class,
    /// Its head, if one is known.
    pub head: Option<SignedHead>,
    /// Which blocks are here.
    pub have: Bitfield,
    /// What shows that its writer signed two histories, if it did.
    pub accusation: Option<Box<Accusation>>,
}

/// Which order wants are served in: priority, then the feed's class, then age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank(
    pub(super) Priority,
    pub(super) Class,
    pub(super) core::cmp::Reverse<WantId>,
);

impl Feed {
    pub(super) fn new(replica: Replica) -> Self {
        let Replica { key, class, head, have, accusation } = replica;
        let length = head.map_or(0, |head| head.head.length);
        Self {
            key,
            class,
            head,
            length,
            accusation,
            passed: BTreeSet::from([length]),
            have,
            changes: 0,
            assigned: Bitfield::default(),
            wants: Vec::new(),
            holders: BTreeMap::new(),
            probes: BTreeSet::new(),
            insights: 0,
            paused_until: None,
            blocks_seen: 0,
            bytes_seen: 0,
        }
    }

    pub(super) fn advance(&mut self, head: SignedHead) {
        let length = head.head.length;
        if length > self.length {
            (self.head, self.length) = (Some(head), length);
            self.passed.insert(length);
            if self.passed.len() > PASSED_MAX {
                self.passed.pop_first();
            }
            self.holders.values_mut().for_each(|holder| holder.advance(length));
        }
    }

    /// Returns the heads of peers that can be held against ours and were not yet: one of a peer at a time, its newest.
    pub(super) fn uncompared(&mut self) -> Vec<(PeerId, SignedHead)> {
        let (ours, length) = (self.head, self.length);
        let mut ask = Vec::new();
        for (peer, holder) in &mut self.holders {
            let is_open = holder.standing == Standing::Unknown && !holder.comparing;
            let Some(theirs) = holder.head.filter(|_| is_open) else { continue };
            if ours == Some(theirs) {
                holder.standing = Standing::Agrees;
            } else if theirs.head.length <= length {
                (holder.standing, holder.comparing) = (Standing::Asked, true);
                ask.push((*peer, theirs));
            }
        }
        ask
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
        if holder.standing == Standing::Estranged {
            return None;
        }
        match holder.length {
            length if length >= self.length => Some(self.length),
            length if self.passed.contains(&length) => Some(length),
            _ => None,
        }
        .filter(|&length| length > 0)
    }

    /// Tells whether a peer gets anything of this feed.
    pub(super) fn serves(&self, peer: PeerId) -> bool {
        let holder = self.holders.get(&peer);
        holder.is_some_and(|holder| holder.standing != Standing::Estranged)
    }

    /// Tells whether a peer may have some of what is wanted, as far as it told.
    pub(super) fn may_help(&self, peer: PeerId) -> bool {
        let Some(holder) = self.holders.get(&peer).filter(|_| self.serves(peer)) else {
            return false;
        };
        let wants = |run: &Range<u64>| {
            holder.have.iter_ones(run.clone()).any(|block| !self.have.contains(block))
        };
        let has = |want: &Open| {
            want.runs.iter().any(wants) || !want.bytes.is_empty() && !want.tried.contains_key(&peer)
        };
        !holder.heard || holder.length > self.length || self.wants.iter().any(has)
    }

    /// Returns who may be asked again for bytes that it lacked: those who told of more blocks since they were asked. SPEC 7.6.1.
    pub(super) fn retries(&self) -> impl Iterator<Item = Retry> {
        let retry = |want: usize, peer: PeerId, tried: &Tried| {
            let holder = self.holders.get(&peer).filter(|holder| holder.told > tried.told)?;
            let at = holder.bytes_after.max(tried.at + BYTES_AGAIN);
            Some(Retry { at, refused: tried.at, want, peer })
        };
        self.wants.iter().enumerate().flat_map(move |(position, want)| {
            want.tried.iter().filter_map(move |(peer, tried)| retry(position, *peer, tried))
        })
    }

    /// Makes it possible to ask them again: each for what was refused first of what it lacked, and for the rest another time.
    pub(super) fn retry(&mut self, now: Instant) {
        let mut due: Vec<Retry> = self.retries().filter(|retry| retry.at <= now).collect();
        due.sort_unstable_by_key(|retry| (retry.refused, retry.want));
        for Retry { want, peer, .. } in due {
            let holder = self.holders.get_mut(&peer).filter(|holder| holder.bytes_after <= now);
            if let (Some(holder), Some(want)) = (holder, self.wants.get_mut(want)) {
                holder.bytes_after = now + BYTES_AGAIN;
                want.tried.remove(&peer);
            }
        }
    }

    /// Forgets a peer that is gone, and what it refused: the next stream to it begins anew.
    pub(super) fn forget(&mut self, peer: PeerId) {
        self.holders.remove(&peer);
        for want in &mut self.wants {
            want.tried.remove(&peer);
        }
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
            self.changes += 1;
            self.wants.iter_mut().for_each(|want| want.stored(block, bytes));
        }
        self.take_done()
    }

    /// Takes the wants that are done; those of our own are not told of.
    pub(super) fn take_done(&mut self) -> Vec<WantId> {
        let done = self.wants.extract_if(.., |want| want.is_done()).map(|want| want.id);
        let (probes, done): (Vec<_>, Vec<_>) = done.partition(|want| self.probes.remove(want));
        if !probes.is_empty() {
            self.reconsider();
        }
        done
    }

    /// Makes room for a want that shows how a peer's history of `length` blocks stands to ours, if it is of use: the proof of
    /// the block after it leads over the peaks of the shorter history. Returns the block.
    pub(super) fn probe(&mut self, want: WantId, length: u64) -> Option<u64> {
        let fits = length < self.length && !self.have.contains(length);
        let fits = fits && self.probes.len() < PROBES_MAX;
        (fits && self.probes.insert(want)).then_some(length)
    }

    /// More of the tree is known: what could not be compared or proven before may be now.
    pub(super) fn reconsider(&mut self) {
        self.insights += 1;
        self.holders.values_mut().for_each(Holder::reconsider);
    }
}

/// Mixes a seed and a number (the finalizer of splitmix64).
pub(super) fn mix(seed: u64, number: u64) -> u64 {
    let mut z = seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
