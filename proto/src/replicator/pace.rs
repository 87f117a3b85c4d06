//! How fast a peer's frames are taken: who says more than its share waits for its turn. SPEC 7.8.
//!
//! What a peer says is *work*, counted in units that take a processor some 40 ns. Each peer may cause so much of it at any time;
//! what goes beyond is done in turns, one after the other, which all such peers together get a share of a processor for. So
//! those who say much are slowed, however many they are, and nobody else: the wait reaches them through their streams.
//! Elsewhere: who holds back a stream (the node).

use core::time::Duration;

use crate::ids::Instant;
use crate::job::Concern;
use crate::limits::{
    TALK_AHEAD, TALK_BITS, TALK_FRAME, TALK_HEAD, TALK_OPEN, TALK_PEER, TALK_RATE, TALK_SEEK,
    TALK_TURN, TALK_TURN_LEAST,
};
use crate::wire::{Message, Runs, Wanted};

/// What one peer said, against what it may.
#[derive(Debug)]
pub(super) struct Pace {
    /// When time alone will have paid for it.
    paid_at: Instant,
    /// How much of a turn it took without one.
    debt: Duration,
    /// When its next frame is to be taken.
    pub(super) next_at: Instant,
}

/// The turns of all peers that said more than they may.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// When the last one that was given is over.
    free_at: Instant,
}

impl Turns {
    /// Gives a turn for so much work; returns when it begins.
    pub(super) fn take(&mut self, now: Instant, work: u64) -> Instant {
        let begins = self.free_at.max(now);
        self.free_at = begins + times(TALK_TURN, work);
        begins
    }
}

impl Pace {
    pub(super) const fn new(now: Instant) -> Self {
        Self { paid_at: now, debt: Duration::ZERO, next_at: now }
    }

    /// Counts work that the peer caused.
    pub(super) fn spend(&mut self, now: Instant, work: u64, turns: &mut Turns) {
        self.paid_at = self.paid_at.max(now) + times(TALK_RATE, work);
        let most = now + TALK_AHEAD;
        if self.paid_at <= most {
            return;
        }
        let beyond = self.paid_at.since(most);
        self.paid_at = most;
        self.debt += beyond / TURNS_FASTER;
        // Less than this is not worth a wait, but not forgotten.
        if self.debt >= TALK_TURN_LEAST {
            turns.free_at = turns.free_at.max(now) + core::mem::take(&mut self.debt);
            self.next_at = turns.free_at;
        }
    }

    /// Counts work that the peer may cause for what it took of us.
    pub(super) fn earn(&mut self, work: u64) {
        let earned = u64::try_from(times(TALK_RATE, work).as_micros()).unwrap_or(u64::MAX);
        self.paid_at = Instant(self.paid_at.0.saturating_sub(earned));
    }
}

/// How much faster work is done in turns than a peer may cause it at any time.
const TURNS_FASTER: u32 = (TALK_RATE.as_micros() / TALK_TURN.as_micros()) as u32;

fn times(one: Duration, count: u64) -> Duration {
    one.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX))
}

/// Returns how much work a message is, of a feed of `length` blocks, if it is of one, where we have so many feeds and peers.
pub(super) fn work(message: &Message, length: u64, feeds: usize, peers: usize) -> u64 {
    let of_runs = |runs: &Runs| -> u64 {
        // Bits are set and looked for many at a time, and only below our own head.
        let bits = |run: &core::ops::Range<u64>| run.end.min(length).saturating_sub(run.start);
        runs.iter().map(|run| 1 + bits(run) / TALK_BITS).sum()
    };
    let own = match message {
        // What was asked for is no talk, and what was not is a fault.
        Message::Block { .. } | Message::Leaves { .. } => return 0,
        Message::Hello(_)
        | Message::Reject { .. }
        | Message::Close { .. }
        | Message::Credit { .. } => 0,
        Message::Open { .. } => TALK_OPEN * feeds as u64,
        Message::Have { held, lost, head, .. } => {
            // Taking the last blocks away means to look for the last one that is left.
            let back = if lost.is_empty() { 0 } else { length / TALK_BITS };
            let head = if head.is_some() { TALK_HEAD } else { 0 };
            of_runs(held) + of_runs(lost) + back + head
        }
        Message::Peers { contacts, .. } => contacts.len() as u64,
        Message::Upgrade { .. } | Message::Accuse { .. } => TALK_HEAD,
        Message::Request { request, .. } => match &request.wanted {
            Wanted::Blocks(runs) => of_runs(runs),
            Wanted::Bytes(_) | Wanted::Leaves(_) => TALK_SEEK,
        },
        Message::Cancel { blocks, .. }
        | Message::Missing { blocks, .. }
        | Message::Elsewhere { blocks, .. } => of_runs(blocks),
    };
    let others = match message.concern() {
        Concern::Sender => 0,
        Concern::Everyone => TALK_PEER * peers as u64,
    };
    TALK_FRAME + own + others
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use datnode_feed::{Hash, Head, SignedHead, UpgradeProof};

    use super::*;
    use crate::ids::{Priority, RequestId};
    use crate::wire::{Channel, Request};

    /// How much a peer may cause at once.
    const AT_ONCE: u64 = (TALK_AHEAD.as_micros() / TALK_RATE.as_micros()) as u64;
    /// How much more it may cause before it waits.
    const LEAST: u64 = (TALK_TURN_LEAST.as_micros() / TALK_TURN.as_micros()) as u64;

    fn have(held: Runs, lost: Runs, head: Option<SignedHead>) -> Message {
        Message::Have { channel: Channel(0), length: 9, held, lost, head }
    }

    #[test]
    fn work_is_what_has_to_be_done() {
        let (channel, id) = (Channel(0), RequestId(0));
        let pieces: Runs = (0..100).map(|piece| 2 * piece..2 * piece + 1).collect();
        let end = 10 * TALK_BITS;
        let head = Head { fork: 0, length: 9, byte_length: 1, root: Hash([0; 32]), ancestor: None };
        let head = SignedHead { head, signature: [0; 64] };
        let request = |wanted| {
            let request = Request::new(id, end, Priority(0), wanted);
            Message::Request { channel, request }
        };
        let proof = UpgradeProof { from: 0, head, nodes: vec![] };
        let block = datnode_feed::BlockIndex(0);
        for (message, beside) in [
            (Message::Credit { total: 1 }, 0),
            (Message::Open { channel, nonce: [0; 16], tag: [0; 32] }, 3 * TALK_OPEN),
            (have(pieces.clone(), vec![], None), 100),
            (have(vec![0..1 << 50], vec![], None), 11),
            (have(vec![], vec![0..1], None), 11 + 5 * TALK_PEER),
            (have(vec![], vec![], Some(head)), TALK_HEAD + 5 * TALK_PEER),
            (Message::Close { channel }, 5 * TALK_PEER),
            (Message::Upgrade { channel, proof }, TALK_HEAD),
            (request(Wanted::Blocks(vec![0..end])), 11),
            (request(Wanted::Bytes(0..1)), TALK_SEEK),
            (Message::Cancel { channel, id, blocks: pieces.clone() }, 100),
            (Message::Missing { channel, id, blocks: pieces.clone() }, 100 + 5 * TALK_PEER),
            (Message::Elsewhere { channel, id, blocks: pieces }, 100 + 5 * TALK_PEER),
        ] {
            assert_eq!(work(&message, end, 3, 5), TALK_FRAME + beside, "{message:?}");
        }
        let block = Message::Block { channel, id, block, siblings: vec![] };
        assert_eq!(work(&block, end, 3, 5), 0, "it was asked for");
    }

    #[test]
    fn nobody_waits_who_keeps_to_its_share() {
        let (mut pace, mut turns, mut now) = (Pace::new(Instant(0)), Turns::default(), Instant(0));
        for work in [AT_ONCE, 1, 1, 7] {
            now = now + times(TALK_RATE, work);
            pace.spend(now, work, &mut turns);
            assert!(pace.next_at <= now && turns.free_at == Instant(0));
        }
        pace.spend(now, LEAST - 1, &mut turns);
        assert!(pace.next_at <= now, "it is not worth a turn");
        pace.spend(now, 1, &mut turns);
        assert_eq!(pace.next_at, now + TALK_TURN_LEAST, "nothing is forgotten");
    }

    #[test]
    fn turns_follow_each_other() {
        let (mut turns, now) = (Turns::default(), Instant(50));
        let one = times(TALK_TURN, 70);
        assert_eq!(
            [70, 1, 1].map(|work| turns.take(now, work)),
            [now, now + one, now + one + TALK_TURN]
        );
        let later = now + 9 * one;
        assert_eq!(turns.take(later, 1), later, "what nobody used is gone");
    }

    #[test]
    fn who_takes_blocks_has_something_to_say_beside() {
        let (mut pace, mut turns) = (Pace::new(Instant(0)), Turns::default());
        for _ in 0..10 * AT_ONCE {
            pace.earn(1);
            pace.spend(Instant(9), 1, &mut turns);
        }
        assert!(pace.next_at <= Instant(9));
        (0..AT_ONCE).for_each(|_| pace.earn(1));
        pace.spend(Instant(9), AT_ONCE + LEAST, &mut turns);
        assert!(pace.next_at > Instant(9), "nothing is saved for later");
    }

    #[test]
    fn who_says_more_gets_turns_all_alike_however_many_there_are() {
        for count in [1, 9, 200] {
            let (work, end) = (500, Instant(40_000_000));
            let mut turns = Turns::default();
            let mut peers: Vec<_> = (0..count).map(|_| (Pace::new(Instant(0)), 0_u64)).collect();
            let mut now = Instant(0);
            while now < end {
                for (pace, said) in &mut peers {
                    while pace.next_at <= now {
                        pace.spend(now, work, &mut turns);
                        *said += work;
                    }
                }
                now = peers.iter().map(|(pace, _)| pace.next_at).min().unwrap();
            }
            let span = end.since(Instant(0));
            let each = AT_ONCE + (span.as_micros() / TALK_RATE.as_micros()) as u64;
            let together = (span.as_micros() / TALK_TURN.as_micros()) as u64;
            let said = peers.iter().map(|(_, said)| *said);
            // The last turn may go on beyond the end.
            let most = each + together / count + 2 * (LEAST + work);
            assert!(said.clone().all(|said| said <= most), "{count}");
            // Whose share is large enough needs no turn; but the turns there are go to those who wait.
            let least = said.min().unwrap();
            assert!(least * 10 >= most * 9, "{least} of {most} for each of {count}");
        }
    }
}
