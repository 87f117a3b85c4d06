//! What a peer says it holds of a feed.
//!
//! Invariant: `have` lies below our own verified head, `beyond` above it. So a liar makes us keep bits of some pages of blocks that
//! the writer signed, and a list of runs besides, both of them bounded.

use core::ops::Range;

use datnode_feed::SignedHead;
use datnode_feed::limits::HELD_END;

use super::blocks::BlockSet;
use super::runs::RunSet;
use crate::ids::Instant;
use crate::limits::{BEYOND_RUNS_MAX, HELD_PIECES_MAX, PIECE_BYTES, RUN_BYTES};
use crate::wire::Runs;

/// What a peer told us of its part of a feed.
#[derive(Clone, Debug)]
pub(super) struct Holder {
    pub(super) length: u64,
    pub(super) head: Option<SignedHead>,
    pub(super) standing: Standing,
    pub(super) have: BlockSet,
    /// What of that it would rather give than the rest, which others may have: as long as any of it is wanted from it.
    pub(super) rather: Option<BlockSet>,
    /// What it ever said that others have.
    deferred: BlockSet,
    /// Whether it told us at all.
    pub(super) heard: bool,
    /// Whether the store holds a head of it against ours, which may be an older one.
    pub(super) comparing: bool,
    /// How often it told of more blocks, on this stream.
    pub(super) told: u64,
    /// When it may be asked again for bytes that it lacked: time has to pass since it was so for others.
    pub(super) bytes_after: Instant,
    /// Where `have` ends and `beyond` begins.
    known: u64,
    beyond: RunSet,
}

/// How a peer's history stands to ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its head is longer than ours, or cannot be compared.
    #[default]
    Unknown,
    /// The store is comparing.
    Asked,
    /// It is ours, or the beginning of it.
    Agrees,
    /// It is another one: neither is anything asked of the peer, nor does it get anything.
    Estranged,
}

impl Holder {
    /// Nothing was told yet; our head has `known` blocks.
    pub(super) fn new(known: u64) -> Self {
        let known = known.min(HELD_END);
        Self {
            length: 0,
            head: None,
            standing: Standing::Unknown,
            have: BlockSet::default(),
            rather: None,
            deferred: BlockSet::default(),
            heard: false,
            comparing: false,
            told: 0,
            bytes_after: Instant::default(),
            known,
            beyond: RunSet::default(),
        }
    }

    /// The peer replicates the feed no longer: nothing it said holds, but what it did wrong stays known.
    pub(super) fn close(&mut self) {
        let standing = match self.standing {
            Standing::Estranged => Standing::Estranged,
            _ => Standing::Unknown,
        };
        let (comparing, told, bytes_after) = (self.comparing, self.told, self.bytes_after);
        *self = Self { standing, comparing, told, bytes_after, ..Self::new(self.known) };
    }

    /// Takes what the peer says of itself.
    pub(super) fn hear(&mut self, length: u64, held: &Runs, lost: &Runs, head: Option<SignedHead>) {
        if head.is_some() && head != self.head && self.standing != Standing::Estranged {
            (self.head, self.standing) = (head, Standing::Unknown);
        }
        self.heard = true;
        self.told += u64::from(!held.is_empty());
        self.length = self.length.max(length);
        // Blocks beyond the peer's own head cannot be held, and nobody holds blocks beyond the limit.
        let end = length.min(HELD_END);
        for have in [Some(&mut self.have), self.rather.as_mut()].into_iter().flatten() {
            for run in part(held, 0..self.known.min(end)) {
                have.set_range(run);
            }
            for run in part(lost, 0..self.known) {
                have.clear_range(run);
            }
            // Who holds more pieces than this is believed to hold less.
            have.truncate(HELD_PIECES_MAX);
        }
        part(held, self.known..end).for_each(|run| self.beyond.insert(run));
        part(lost, self.known..HELD_END).for_each(|run| self.beyond.remove(run));
        self.beyond.truncate(BEYOND_RUNS_MAX);
    }

    /// The peer would rather give something else than these blocks; tells of which that is the first time.
    pub(super) fn defer(&mut self, blocks: &[u64]) {
        let rather = self.rather.get_or_insert_with(|| self.have.clone());
        for block in blocks {
            rather.clear(*block);
            self.deferred.set(*block);
        }
    }

    /// Returns how many bytes its sets of blocks take.
    pub(super) fn footprint(&self) -> usize {
        let rather = self.rather.as_ref().map_or(0, BlockSet::bytes);
        self.have.bytes() + self.deferred.bytes() + rather
    }

    /// Returns about how many bytes are remembered of what it says.
    pub(super) fn weight(&self) -> usize {
        let rather = self.rather.as_ref().map_or(0, BlockSet::weight);
        let beyond = self.beyond.len() * RUN_BYTES;
        self.have.weight() + self.deferred.weight() + rather + beyond
    }

    /// Remembers no more than so many bytes: it is believed to hold less.
    pub(super) fn lighten(&mut self, most: usize) {
        (self.rather, self.deferred) = (None, BlockSet::default());
        self.have.truncate(most / 2 / PIECE_BYTES);
        self.beyond.truncate(most / 2 / RUN_BYTES);
    }

    /// Tells whether it said already that others have a block.
    pub(super) fn has_deferred(&self, block: u64) -> bool {
        self.deferred.contains(block)
    }

    /// Notes the answer to a comparison; what cannot be told is asked again only when more of the tree is known.
    pub(super) fn settle(&mut self, standing: Standing) {
        self.standing = match standing {
            Standing::Unknown => Standing::Asked,
            other => other,
        };
    }

    /// Makes a comparison that could not tell possible again.
    pub(super) fn reconsider(&mut self) {
        if self.standing == Standing::Asked {
            self.standing = Standing::Unknown;
        }
    }

    /// Tells whether what does not fit our history may fit the peer's, which nobody held against ours yet.
    pub(super) fn may_be_estranged(&self) -> bool {
        self.head.is_some() && matches!(self.standing, Standing::Unknown | Standing::Asked)
    }

    /// Panics if a liar made us keep more than it may.
    #[cfg(feature = "fuzz")]
    pub(super) fn check(&self) {
        let is_known = self.have.runs().all(|run| run.end <= self.known);
        assert!(is_known, "what is beyond our head is kept as runs");
        assert!(self.have.pieces() <= HELD_PIECES_MAX, "pieces of what it holds are bounded");
        assert!(self.beyond.len() <= BEYOND_RUNS_MAX, "runs beyond our head are bounded");
    }

    /// Our head has `known` blocks now.
    pub(super) fn advance(&mut self, known: u64) {
        let known = known.min(HELD_END).max(self.known);
        let below = self.beyond.take_below(known);
        for have in [Some(&mut self.have), self.rather.as_mut()].into_iter().flatten() {
            below.iter().for_each(|run| have.set_range(run.clone()));
            have.truncate(HELD_PIECES_MAX);
        }
        self.known = known;
    }
}

/// Returns what of some runs lies within a range.
fn part(runs: &Runs, within: Range<u64>) -> impl Iterator<Item = Range<u64>> + '_ {
    let cut = move |run: &Range<u64>| run.start.max(within.start)..run.end.min(within.end);
    runs.iter().map(cut).filter(|run| run.start < run.end)
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::limits::RUNS_MAX;

    #[test]
    fn what_lies_beyond_our_head_is_remembered_until_the_head_moves() {
        let mut holder = Holder::new(10);
        holder.hear(100, &alloc::vec![0..20, 30..40, 90..200], &alloc::vec![], None);
        assert!(holder.have.runs().eq([0..10]));
        holder.hear(100, &alloc::vec![], &alloc::vec![5..12, 35..36], None);
        holder.advance(35);
        assert!(holder.have.runs().eq([0..5, 12..20, 30..35]));
        holder.advance(1_000);
        assert!(holder.have.runs().eq([0..5, 12..20, 30..35, 36..40, 90..100]));
    }

    #[test]
    fn a_liar_costs_little() {
        let mut holder = Holder::new(10);
        let all = (1 << 56) - 1;
        holder.hear(all, &alloc::vec![0..all], &alloc::vec![], None);
        assert!(holder.have.runs().eq([0..10]));
        assert_eq!(holder.beyond.runs(), [10..HELD_END]);
        holder.hear(all, &alloc::vec![], &alloc::vec![0..all], None);
        assert!(holder.have.pieces() == 0 && holder.beyond.runs().is_empty());
        let most = BEYOND_RUNS_MAX as u64;
        let pieces: Runs = (0..=most).map(|piece| 20 + 2 * piece..21 + 2 * piece).collect();
        holder.hear(all, &pieces[..pieces.len() - 1].to_vec(), &alloc::vec![], None);
        assert_eq!(holder.beyond.len(), BEYOND_RUNS_MAX);
        holder.hear(all, &pieces, &alloc::vec![], None);
        assert_eq!(holder.beyond.len(), BEYOND_RUNS_MAX, "the last piece is not kept");
    }

    #[test]
    fn what_a_peer_holds_takes_no_more_however_long_the_feed_and_however_many_its_pieces() {
        let footprint = |length: u64, held: Runs| {
            let mut holder = Holder::new(length);
            holder.hear(length, &held, &alloc::vec![], None);
            holder.footprint()
        };
        let short = 1 << 20;
        for long in [1 << 24, HELD_END] {
            for part in [1, 2, 3] {
                let most = footprint(short, alloc::vec![0..short / part]);
                assert!(footprint(long, alloc::vec![0..long / part]) <= most + 200);
            }
        }
        // A block of each page, and as many pages as there are: each is a piece.
        let mut holder = Holder::new(HELD_END);
        let pages: Vec<u64> = (0..HELD_END).step_by(1_024).collect();
        for some in pages.chunks(RUNS_MAX) {
            let held: Runs = some.iter().map(|page| *page..page + 1).collect();
            holder.hear(HELD_END, &held, &alloc::vec![], None);
            assert!(holder.have.pieces() <= HELD_PIECES_MAX && holder.footprint() < 13 << 20);
        }
        assert_eq!(holder.have.pieces(), HELD_PIECES_MAX);
        assert!(pages.len() > HELD_PIECES_MAX, "some were more than that");
    }
}
