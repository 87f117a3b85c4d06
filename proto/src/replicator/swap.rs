//! Hot-swap: who would be done sooner takes over the tail of what another peer owes.
//!
//! All of it goes by estimates: a peer sends what it owes at its rate, and one that has been silent for longer than that takes goes
//! on being so late. The tail is split so that both would be done at the same time. Blocks that may be on their way already
//! are taken over only by a peer that is far sooner, since they come twice then; so equal peers waste nothing.
//! Elsewhere: what nobody was asked for yet (`download`), peers that are silent altogether (`patience`).

use core::ops::Range;
use core::time::Duration;

use super::Replicator;
use super::channel::BlockRequest;
use super::download::Lease;
use super::peer::Peer;
use super::want::normal;
use crate::ids::{FeedId, Instant, PeerId, Priority, Urgency};
use crate::limits::{
    BLOCK_COST, HURRY_MIN, LATE_TIMES, LOOK_EVERY, LOSS_PAUSE, RUNS_MAX, SWAP_GAIN, SWAP_TIMES,
    TRIAL_BLOCKS,
};
use crate::wire::{Message, Runs};

/// What a peer owes of a priority and above, and how soon it could send that; times in microseconds.
#[derive(Clone, Copy, Debug)]
struct Outlook {
    /// What a block takes; none if that is not known.
    each: Option<u64>,
    /// How long it will be before its first block.
    delay: u64,
    /// How many blocks it owes.
    owed: u64,
    /// How many of these may be on their way.
    sent: u64,
    /// Whether all that is wanted is owed by somebody: these are the last blocks.
    is_last: bool,
}

/// How much of what one peer owes another one could take over.
#[derive(Clone, Copy, Debug, Default)]
struct Tail {
    blocks: u64,
    /// How many of them cannot be on their way: they are the last ones.
    safe: u64,
}

/// How many blocks of a tail are taken over, and when all would be here with and without that, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Split {
    blocks: u64,
    /// Whether none of them can be on its way.
    is_safe: bool,
    before: u64,
    after: u64,
}

impl Outlook {
    /// Returns when it has sent so many blocks beside those that it owes.
    fn finish(&self, more: u64) -> u64 {
        let blocks = self.owed.saturating_add(more);
        self.delay.saturating_add(self.each.unwrap_or_default().saturating_mul(blocks))
    }

    /// Splits what the other one owes so that both are done at the same time.
    fn split(&self, other: &Self, tail: Tail) -> Option<Split> {
        let Tail { blocks: tail, safe } = tail;
        // Whose rate nobody knows is tried out.
        let (trial, each) = match (self.each, other.each) {
            (Some(each), _) => (tail, each),
            (None, each) => (TRIAL_BLOCKS, each.unwrap_or_default()),
        };
        let ours = Self { each: Some(each), ..*self };
        let theirs = other.each.unwrap_or_default();
        let before = other.finish(0);
        let lead = before.checked_sub(ours.finish(0))?;
        // Rounded: half a block more or less is no matter, the last one is.
        let fair = (lead + (each + theirs) / 2).checked_div(each + theirs).unwrap_or(tail);
        let all = fair.min(tail).min(trial);
        let is_far_sooner = ours.finish(tail).saturating_mul(SWAP_TIMES) < before;
        // First what need not come twice, and the rest only if it is late or the last.
        let blocks = match all.min(safe) {
            0 if is_far_sooner && (other.is_last || other.delay > 0) => all,
            safe => safe,
        };
        let left = Self { owed: other.owed - blocks.min(other.owed), ..*other };
        let rest = if left.owed == 0 { 0 } else { left.finish(0) };
        let after = ours.finish(blocks).max(rest);
        Some(Split { blocks, is_safe: blocks <= safe, before, after })
    }
}

impl Replicator {
    /// Lets a peer that has nothing else to do at this priority take over from the one that would be last.
    pub(super) fn overtake(
        &mut self,
        now: Instant,
        id: PeerId,
        priority: Priority,
    ) -> Option<Message> {
        let (feed, other, split) = self.best_split(now, id, priority)?;
        let length = self.feeds.get(&feed)?.common_length(id)?;
        let (runs, urgency) = self.tail(id, other, feed, priority, split.blocks)?;
        let each = self.feeds.get(&feed)?.block_bytes() + BLOCK_COST;
        let state = self.peers.get_mut(&other)?;
        let outlook = outlook(now, state, each, priority);
        // One that still sends what was taken from it before is not silent.
        let is_late = outlook.delay > 0 && state.busy_until <= now;
        if !split.is_safe {
            // Some of it comes all the same, before anything else that it will be asked for.
            state.busy_until = now + Duration::from_micros(outlook.finish(0));
        }
        let taken = state.links.get_mut(&feed)?.take_back(&runs);
        let is_lost = is_late && state.owed() == 0;
        self.release_all(feed, &taken);
        if is_lost {
            self.lose(now, other);
        }
        // In order: the tail of a tail is taken over in turn.
        let lease = Lease { runs: taken, urgency, hotswap: true, any_order: false };
        self.lease(now, id, feed, length, lease)
    }

    /// Returns from whom a peer should take over how much; notes when to look again if nobody is late enough yet.
    fn best_split(
        &mut self,
        now: Instant,
        id: PeerId,
        priority: Priority,
    ) -> Option<(FeedId, PeerId, Split)> {
        let peer = self.peers.get(&id)?;
        // Who was asked and never answered takes over nothing, nor who lost what it owed and sent nothing since.
        if peer.next_request > 0 && peer.blocks_in == 0 || peer.stalled {
            return None;
        }
        let mut best: Option<(FeedId, PeerId, Split)> = None;
        let mut may_change = false;
        let may_come_twice = self.thrift.allows() || priority > Priority(0);
        for (feed_id, feed) in &self.feeds {
            let is_live = peer.links.get(feed_id).is_some_and(|link| link.is_live());
            if !is_live || feed.paused_until.is_some() || feed.common_length(id).is_none() {
                continue;
            }
            let each = feed.block_bytes() + BLOCK_COST;
            let ours = outlook(now, peer, each, priority);
            // Who still has much to do at this priority does that first.
            let rtt = micros(peer.rate.rtt_min().unwrap_or_default());
            if ours.each.unwrap_or_default() * ours.owed > rtt + micros(SWAP_GAIN) {
                continue;
            }
            let is_last = self.is_all_owed(*feed_id, priority);
            for (other_id, other) in self.peers.iter().filter(|(other, _)| **other != id) {
                if self.was_held(other, now) {
                    continue;
                }
                let theirs = Outlook { is_last, ..outlook(now, other, each, priority) };
                let last = theirs.owed - theirs.sent;
                let tail = self.tail_of(id, *other_id, *feed_id, priority, last);
                if tail.blocks == 0 {
                    continue;
                }
                may_change = true;
                let gain = ours.delay + micros(SWAP_GAIN);
                let split = ours.split(&theirs, tail).filter(|split| {
                    split.blocks > 0
                        && split.after.saturating_add(gain) <= split.before
                        && (split.is_safe || is_last || may_come_twice)
                });
                let rank = |split: &Split| (split.is_safe, split.before);
                let least = best.as_ref().map(|(_, _, split)| rank(split));
                if let Some(split) = split.filter(|split| Some(rank(split)) > least) {
                    best = Some((*feed_id, *other_id, split));
                }
            }
        }
        if best.is_none() && may_change {
            self.look_again(id, now + LOOK_EVERY);
        }
        best
    }

    /// Tells whether all that is wanted of a feed at a priority is owed by somebody.
    fn is_all_owed(&self, feed: FeedId, priority: Priority) -> bool {
        let links = self.peers.values().filter_map(|peer| peer.links.get(&feed));
        let owed: u64 = links.map(|link| link.asked_blocks + link.storing.len() as u64).sum();
        let wants = self.feeds.get(&feed).into_iter().flat_map(|feed| &feed.wants);
        let missing = wants.filter(|want| want.priority == priority).map(|want| want.missing);
        missing.max().is_none_or(|missing| missing <= owed)
    }

    /// Returns how many blocks a peer could take over from another one, of which the `last` ones are not on their way.
    fn tail_of(
        &self,
        id: PeerId,
        other: PeerId,
        feed: FeedId,
        priority: Priority,
        last: u64,
    ) -> Tail {
        let mut tail = Tail::default();
        for (_, run, behind) in self.movable(id, other, feed, priority).into_iter().flatten() {
            let blocks = run.end - run.start;
            tail.blocks += blocks;
            tail.safe += last.saturating_sub(behind).min(blocks);
        }
        tail
    }

    /// Returns the last blocks that another peer owes and this one holds.
    fn tail(
        &self,
        id: PeerId,
        other: PeerId,
        feed: FeedId,
        priority: Priority,
        mut count: u64,
    ) -> Option<(Runs, Urgency)> {
        let (mut runs, mut urgency) = (Runs::new(), None);
        for (request, run, _) in self.movable(id, other, feed, priority)?.take(RUNS_MAX) {
            let start = run.end - count.min(run.end - run.start);
            count -= run.end - start;
            runs.push(start..run.end);
            urgency = urgency.max(Some(request.urgency));
            if count == 0 {
                break;
            }
        }
        Some((normal(runs), urgency?))
    }

    /// Returns what another peer owes at a priority, may lose, and this one could send: the last one first, each with the
    /// number of blocks that the other one sends after it.
    fn movable<'a>(
        &'a self,
        id: PeerId,
        other: PeerId,
        feed: FeedId,
        priority: Priority,
    ) -> Option<impl Iterator<Item = (&'a BlockRequest, Range<u64>, u64)> + 'a> {
        let feed_of = self.feeds.get(&feed)?;
        let length = feed_of.common_length(id)?;
        let theirs = &feed_of.holders.get(&id)?.have;
        let link = self.peers.get(&other)?.links.get(&feed)?;
        let is_of = move |request: &&BlockRequest| request.urgency.priority == priority;
        let mut behind = 0;
        let runs = link
            .requests
            .values()
            .rev()
            .filter(is_of)
            .flat_map(|request| request.rest.backwards().map(move |run| (request, run)));
        let runs = runs.map(move |(request, run)| {
            behind += run.end - run.start;
            (request, run, behind)
        });
        Some(runs.filter(|(request, ..)| request.hotswap).flat_map(move |(request, run, from)| {
            let held: Runs = theirs.runs_in(run.start..run.end.min(length)).collect();
            held.into_iter().rev().map(move |part| {
                let behind = from - (part.end - run.start);
                (request, part, behind)
            })
        }))
    }

    /// Returns how many blocks of a feed those who hold the next one that a peer could send would deliver before it does.
    pub(super) fn ahead(
        &self,
        now: Instant,
        id: PeerId,
        feed_id: FeedId,
        next: u64,
        priority: Priority,
    ) -> u64 {
        let (Some(feed), Some(peer)) = (self.feeds.get(&feed_id), self.peers.get(&id)) else {
            return 0;
        };
        let each = feed.block_bytes() + BLOCK_COST;
        let soonest = outlook(now, peer, each, priority);
        let Some(arrives) = soonest.each.map(|_| soonest.finish(1)) else { return 0 };
        let helps = |other: PeerId, state: &Peer| {
            other != id
                && state.paused_until.is_none()
                && state.links.get(&feed_id).is_some_and(|link| link.is_live())
                && feed.common_length(other).is_some()
                && feed.holders.get(&other).is_some_and(|holder| holder.have.contains(next))
        };
        let others = self.peers.iter().filter(|(other, state)| helps(**other, state));
        let blocks = others.map(|(_, state)| {
            let other = outlook(now, state, each, priority);
            let Some(each) = other.each.filter(|each| *each > 0) else { return 0 };
            // Who delivers at the same moment is no sooner.
            let sooner = arrives.saturating_sub(other.delay.saturating_add(1)) / each;
            sooner.saturating_sub(other.owed)
        });
        blocks.sum()
    }

    /// Returns when the answer to a request for bytes is late.
    pub(super) fn late_at(&self, asked: PeerId, since: Instant) -> Option<Instant> {
        let peer = self.peers.get(&asked)?;
        let rtt = peer.rate.rtt_min().unwrap_or_default();
        Some(since.max(peer.last_progress) + rtt.saturating_mul(4).max(HURRY_MIN))
    }

    /// Notes that a peer may be asked for something then, though nothing happens until then.
    pub(super) fn look_again(&mut self, id: PeerId, at: Instant) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.look_at = Some(peer.look_at.map_or(at, |before| before.min(at)));
        }
    }
}

/// Estimates how soon a peer sends blocks of so many bytes.
fn outlook(now: Instant, peer: &Peer, block_bytes: u64, priority: Priority) -> Outlook {
    let rate = peer.rate.bytes_per_second_min();
    let each = (rate > 0).then(|| block_bytes.saturating_mul(1_000_000) / rate);
    let owed = peer.owed_from(priority);
    let sent = peer.under_way(block_bytes).min(owed);
    let silent = micros(now.since(peer.last_progress));
    let delay = match (peer.owed(), each) {
        // In a crowd that is much longer than the way: what it would gain is gone by then.
        (0, _) => micros(peer.rate.rtt()),
        // Who lost what it owed is not waited for until it sent something.
        _ if peer.stalled => silent + micros(LOSS_PAUSE),
        // Who never answered takes as long again as it took so far.
        (_, None) => silent.saturating_mul(2),
        (_, Some(each)) => {
            let usual = each + micros(peer.rate.rtt());
            silent.saturating_sub(usual.saturating_mul(LATE_TIMES))
        }
    };
    let delay = delay.max(micros(peer.busy_until.since(now)));
    Outlook { each, delay, owed, sent, is_last: false }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    const fn peer(each: Option<u64>, delay: u64, owed: u64, sent: u64) -> Outlook {
        Outlook { each, delay, owed, sent, is_last: true }
    }

    /// Splits what `other` owes of which the last `tail` may be moved.
    fn split(ours: &Outlook, other: &Outlook, tail: u64) -> Option<Split> {
        let safe = (other.owed - other.sent).min(tail);
        ours.split(other, Tail { blocks: tail, safe })
    }

    #[test]
    fn a_tail_is_split_so_that_both_are_done_at_once() {
        let (fast, slow) = (peer(Some(10), 50, 0, 0), peer(Some(90), 0, 100, 3));
        let first = split(&fast, &slow, 100).unwrap();
        assert_eq!(first, Split { blocks: 90, is_safe: true, before: 9_000, after: 950 });
        let equal = peer(Some(90), 50, 0, 0);
        assert_eq!(split(&equal, &slow, 100).unwrap().blocks, 50);
        assert_eq!(split(&equal, &slow, 20).unwrap().blocks, 20, "no more than it holds");
        let busy = peer(Some(90), 0, 200, 3);
        assert_eq!(split(&busy, &slow, 100), None);
    }

    #[test]
    fn what_may_be_on_its_way_is_left_to_an_equal_peer_and_taken_by_a_far_faster_one() {
        let equal = peer(Some(100), 0, 0, 0);
        assert_eq!(split(&equal, &peer(Some(100), 0, 10, 8), 10).unwrap().blocks, 2);
        assert_eq!(split(&equal, &peer(Some(100), 0, 10, 10), 10).unwrap().blocks, 0);
        let fast = peer(Some(5), 0, 0, 0);
        assert_eq!(split(&fast, &peer(Some(100), 0, 10, 10), 10).unwrap().blocks, 10);
        // One that is silent is as late as it was, and the last block is not left to it.
        assert_eq!(split(&equal, &peer(Some(100), 5_000, 1, 1), 1).unwrap().blocks, 1);
    }

    #[test]
    fn blocks_come_twice_only_if_they_are_late_or_the_last_and_much_sooner() {
        let fast = |each| peer(Some(each), 0, 0, 0);
        let slow = Outlook { is_last: false, ..peer(Some(100), 0, 10, 10) };
        assert_eq!(split(&fast(1), &slow, 10).unwrap().blocks, 0);
        assert_eq!(split(&fast(1), &Outlook { delay: 1, ..slow }, 10).unwrap().blocks, 10);
        let last = Outlook { is_last: true, ..slow };
        assert_eq!(split(&fast(100 / SWAP_TIMES - 1), &last, 10).unwrap().blocks, 7);
        assert_eq!(split(&fast(100 / SWAP_TIMES + 1), &last, 10).unwrap().blocks, 0);
    }

    #[test]
    fn a_peer_is_late_when_it_was_silent_for_several_times_what_a_block_takes() {
        let binding = crate::ids::Binding { ours: Vec::new(), theirs: Vec::new() };
        let mut state = Peer::new(Instant(0), binding);
        state.rate.answered(Duration::from_millis(40));
        state.rate.received(Instant(0), 0);
        state.rate.received(Instant(100_000), 100_000);
        state.add(FeedId(0));
        let link = state.links.get_mut(&FeedId(0)).unwrap();
        link.ask(crate::ids::RequestId(0), Urgency::default(), true, &alloc::vec![0..10]);
        state.last_progress = Instant(100_000);
        // A block takes 10 ms, and the way 40.
        let delay = |micros| outlook(Instant(100_000 + micros), &state, 10_000, Priority(0)).delay;
        assert_eq!([delay(0), delay(50_000 * LATE_TIMES)], [0, 0]);
        assert_eq!(delay(50_000 * LATE_TIMES + 7), 7);
    }

    #[test]
    fn who_never_answered_is_late_by_the_time_it_took() {
        let fast = peer(Some(5), 0, 0, 0);
        assert_eq!(split(&fast, &peer(None, 0, 64, 64), 64).unwrap().blocks, 0);
        assert_eq!(split(&fast, &peer(None, 2_000, 64, 64), 64).unwrap().blocks, 64);
        let unknown = peer(None, 0, 0, 0);
        assert_eq!(split(&unknown, &peer(Some(100), 0, 64, 0), 64).unwrap().blocks, TRIAL_BLOCKS);
    }
}
