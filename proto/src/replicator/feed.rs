//! What the replicator knows of one feed: what we hold, what is wanted, who holds what.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::ops::Range;

use datnode_feed::{Accusation, Bitfield, PublicKey, SignedHead};

use super::blocks::BlockSet;
use super::holder::{Holder, Standing};
use super::leaves::Lookup;
use super::picker::{self, Picture};
use super::rarity::{Found, Regions, Stamp};
use super::runs::RunSet;
use super::want::{Open, Order, Tried, normal};
use crate::ids::{Class, Instant, PeerId, WantId};
use crate::limits::{BLOCK_BYTES_GUESS, BYTES_AGAIN, CHANGES_MAX, PASSED_MAX, PROBES_MAX};
use crate::wire::Runs;

/// A feed of ours.
///
/// Invariant: `assigned` holds exactly the blocks that some peer was asked for or whose bytes are with the store. One is asked
/// of two peers only if it was taken back from the first.
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
    pub(super) have: BlockSet,
    /// How often `have` changed, and where, the last times.
    pub(super) changes: u64,
    changed: VecDeque<Range<u64>>,
    pub(super) assigned: BlockSet,
    /// What was taken back from a peer and may come from it all the same.
    taken_back: RunSet,
    /// What we gave away, or somebody else says to hold: a new drive gives each block once before any of them twice.
    pub(super) spread: BlockSet,
    /// Below this block there is none that we hold and nobody got.
    spread_end: u64,
    /// How often blocks were lost or taken back.
    released: u64,
    /// How often holders told of something.
    pub(super) news: u64,
    regions: Regions,
    pub(super) wants: Vec<Open>,
    pub(super) lookups: Vec<Lookup>,
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
            have: have.runs().collect(),
            changes: 0,
            changed: VecDeque::new(),
            assigned: BlockSet::default(),
            taken_back: RunSet::default(),
            spread: BlockSet::default(),
            spread_end: 0,
            released: 0,
            news: 0,
            regions: Regions::default(),
            wants: Vec::new(),
            lookups: Vec::new(),
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
            let have = &self.have;
            self.wants.iter_mut().for_each(|want| want.grow(length, have));
            (self.news, self.released) = (self.news + 1, self.released + 1);
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
        let wants =
            |run: &Range<u64>| holder.have.runs_in(run.clone()).any(|run| !self.have.all(run));
        let has = |want: &Open| {
            want.lacks()
                && (want.runs.iter().any(wants)
                    || !want.bytes.is_empty() && !want.tried.contains_key(&peer))
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
        self.news += 1;
        for want in &mut self.wants {
            want.tried.remove(&peer);
            want.tour.forget(peer);
        }
    }

    /// Picks up to `budget` blocks of a want for a peer, behind the first `ahead` that it could be asked for.
    pub(super) fn pick(
        &mut self,
        now: Instant,
        peer: PeerId,
        want: usize,
        length: u64,
        (ahead, budget): (u64, u64),
        seed: u64,
    ) -> Runs {
        let shape = (self.length, self.block_bytes());
        let Self { have, assigned, holders, wants, regions, news, released, .. } = self;
        let Some(want) = wants.get_mut(want) else { return Runs::new() };
        if want.order == Order::Rarest {
            let all = holders.values().filter(|holder| holder.heard).map(|holder| &holder.have);
            regions.rank(now, shape, *news, all, seed);
        }
        let Some(holder) = holders.get_mut(&peer) else { return Runs::new() };
        let picture = Picture { have, assigned, theirs: &holder.have, length };
        match want.order {
            Order::Linear => {
                want.advance(have);
                let most = ahead.saturating_add(budget);
                picker::skip(picker::linear(want.rest(), picture, most), ahead)
            }
            Order::Bisect => want.bisection.pick(&want.runs, picture, budget, *released),
            Order::Rarest => {
                if let Some(rather) = &holder.rather {
                    let peer = (peer, (holder.told, *released));
                    let picked =
                        rarest(want, regions, Picture { theirs: rather, ..picture }, peer, budget);
                    if !picked.is_empty() {
                        return picked;
                    }
                    // Nothing else is wanted from it.
                    *released += 1;
                    holder.rather = None;
                }
                let peer = (peer, (holder.told, *released));
                let picture = Picture { have, assigned, theirs: &holder.have, length };
                rarest(want, regions, picture, peer, budget)
            }
        }
    }

    /// Tells whether we hold all blocks up to one that nobody else has or was given.
    pub(super) fn has_own(&mut self) -> bool {
        let rest = self.spread_end..self.length;
        self.spread_end = self.spread.first_zero(&rest).unwrap_or(self.length);
        self.spread_end < self.length && self.have.contains(self.spread_end)
    }

    /// Notes that a block is held now; returns the wants that are done with it.
    pub(super) fn stored(&mut self, block: u64, bytes: &Range<u64>) -> Vec<WantId> {
        self.assigned.clear(block);
        if !self.have.contains(block) {
            self.have.set(block);
            self.note_change(block..block + 1);
            self.wants.iter_mut().for_each(|want| want.stored(block, bytes));
        }
        self.take_done()
    }

    /// Makes it possible to ask for blocks again that were taken back from somebody; those that are owed by others, or with the
    /// store, are not to be among them.
    pub(super) fn release(&mut self, runs: &Runs) {
        for run in runs {
            self.assigned.clear_range(run.clone());
            self.taken_back.insert(run.clone());
        }
        self.released += 1;
    }

    /// Tells whether a block that came may be owed by somebody else as well.
    pub(super) fn may_be_owed_twice(&mut self, block: u64) -> bool {
        let may = self.taken_back.contains(block);
        if may {
            self.taken_back.remove(block..block + 1);
        }
        may
    }

    /// Notes that blocks are held no longer.
    pub(super) fn lost(&mut self, blocks: Range<u64>) {
        self.have.clear_range(blocks.clone());
        self.note_change(blocks);
        self.released += 1;
    }

    /// Notes that blocks are held now that were not, or the other way round.
    pub(super) fn note_change(&mut self, blocks: Range<u64>) {
        self.changes += 1;
        self.changed.push_back(blocks);
        if self.changed.len() > CHANGES_MAX {
            self.changed.pop_front();
        }
    }

    /// Returns where `have` may have changed since it had changed so often, if that is remembered.
    pub(super) fn changed_since(&self, changes: u64) -> Option<Runs> {
        let behind = usize::try_from(self.changes - changes).ok()?;
        let known = self.changed.len().checked_sub(behind)?;
        Some(normal(self.changed.iter().skip(known).cloned().collect()))
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

/// Picks the first candidates of the rarest regions, in ascending order.
fn rarest(
    want: &mut Open,
    regions: &Regions,
    picture: Picture<'_>,
    peer: (PeerId, Stamp),
    budget: u64,
) -> Runs {
    let (mut picked, mut left) = (Runs::new(), budget);
    let Open { tour, runs, .. } = want;
    tour.follow(regions, runs, peer, |region| {
        let before = left;
        let first = runs.partition_point(|run| run.end <= region.start);
        let inside = runs.iter().skip(first).take_while(|run| run.start < region.end);
        for run in inside {
            let part = run.start.max(region.start)..run.end.min(region.end);
            picker::take(part, picture, &mut left, &mut picked);
        }
        match left {
            0 => Found::Enough,
            _ if left == before => Found::Nothing,
            _ => Found::Some,
        }
    });
    normal(picked)
}

/// Mixes a seed and a number (the finalizer of splitmix64).
pub(super) fn mix(seed: u64, number: u64) -> u64 {
    let mut z = seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
