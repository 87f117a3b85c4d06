//! One peer: its stream's state, over all feeds.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::channel::Link;
use super::limit::Share;
use super::pace::Pace;
use super::rate::Rate;
use super::upload::Upload;
use crate::fault::Fault;
use crate::ids::{Binding, FeedId, Instant, PeerId, Place, Priority};
use crate::limits::{
    BACKLOG_MAX, BLIND_MAX, BLOCK_COST, CREDIT_START, MISSING_MAX, QUESTIONS_MAX, READ_AHEAD_BYTES,
    SIBLING_COST,
};
use crate::wire::{Channel, Message};

/// The state of one stream.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) binding: Binding,
    /// When we said hello, and when it did.
    pub(super) greeted_at: Option<Instant>,
    pub(super) heard_at: Option<Instant>,
    pub(super) agent: Option<String>,
    /// After a fault nothing is taken or sent any more.
    pub(super) faulted: bool,
    /// Whether it wants to be told of others, and others of it; and where it is.
    pub(super) exchanges: bool,
    pub(super) place: Option<Place>,
    pub(super) links: BTreeMap<FeedId, Link>,
    pub(super) theirs: BTreeMap<Channel, FeedId>,
    /// How often it opened a feed.
    pub(super) opens: u32,
    next_channel: u32,
    pub(super) next_request: u64,
    pub(super) rejects: Vec<Channel>,
    pub(super) upload: Upload,
    /// Jobs under way that the peer caused and that are no reads.
    questions: usize,
    pub(super) rate: Rate,
    /// The total that we granted, what of it was used, and what of that waits for the store.
    pub(super) granted: u64,
    /// What the peer was told of that.
    told: u64,
    pub(super) arrived: u64,
    pub(super) backlog: u64,
    /// The total that the peer granted, and what of it was used.
    pub(super) their_grant: u64,
    pub(super) sent: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    /// Payload bytes of blocks that were here already when they came.
    pub(super) bytes_twice: u64,
    pub(super) blocks_in: u64,
    pub(super) blocks_out: u64,
    /// When the peer last sent something that it owed, or began to owe it.
    pub(super) last_progress: Instant,
    /// When it was asked for something and owed nothing, last.
    pub(super) began: Instant,
    /// When its last block came, if it owed more then, and how long it takes for one, of late.
    last_block: Option<Instant>,
    pub(super) gap: Duration,
    /// Until when it sends what others took over from it when it was on its way already.
    pub(super) busy_until: Instant,
    /// When it was asked for something last.
    pub(super) last_asked: Instant,
    pub(super) asked_at: Option<Instant>,
    /// When nobody was found who could send what it owes, since it owes it.
    pub(super) looked_at: Option<Instant>,
    /// When it may be worth while to ask it again, though nothing happens until then.
    pub(super) look_at: Option<Instant>,
    pub(super) paused_until: Option<Instant>,
    /// How often it lost what it owed since it sent a block that holds.
    pub(super) losses: u32,
    /// Whether it lost it by being silent, and sent no such block since.
    pub(super) stalled: bool,
    missing: PerMinute,
    /// What it says of others.
    pub(super) introductions: PerMinute,
    /// Its requests for blocks that we never said to hold.
    blind: PerMinute,
    pub(super) pace: Pace,
    pub(super) share: Share,
}

/// Counts what happens within a minute.
#[derive(Debug)]
pub(super) struct PerMinute {
    since: Instant,
    count: u32,
}

impl PerMinute {
    const MINUTE: Duration = Duration::from_secs(60);

    const fn new(now: Instant) -> Self {
        Self { since: now, count: 0 }
    }

    /// Counts one more; returns how many there were in this minute.
    pub(super) fn note(&mut self, now: Instant) -> u32 {
        if now.since(self.since) > Self::MINUTE {
            *self = Self::new(now);
        }
        self.count += 1;
        self.count
    }
}

/// A peer, as the caller may show it.
#[derive(Clone, Debug)]
pub struct PeerStatus {
    /// Who.
    pub peer: PeerId,
    /// What it calls itself.
    pub agent: Option<String>,
    /// Payload bytes received from it.
    pub bytes_in: u64,
    /// Payload bytes sent to it.
    pub bytes_out: u64,
    /// Payload bytes received from it that were here already.
    pub bytes_twice: u64,
    /// Blocks received from it.
    pub blocks_in: u64,
    /// Blocks sent to it.
    pub blocks_out: u64,
    /// Its rate, in bytes a second.
    pub rate_in: u64,
    /// The least round trip seen.
    pub rtt: Option<Duration>,
    /// How many bytes of blocks it may send until it is granted more: those on the way to us, at most.
    pub credit: u64,
    /// How many feeds are open with it.
    pub feeds: usize,
    /// How many blocks it asked for that did not go out yet.
    pub wants: u64,
}

/// Returns what a block takes of the byte credit. SPEC 7.7.
pub(super) const fn cost(payload: usize, siblings: usize) -> u64 {
    payload as u64 + siblings as u64 * SIBLING_COST + BLOCK_COST
}

impl Peer {
    pub(super) fn new(now: Instant, binding: Binding) -> Self {
        Self {
            binding,
            greeted_at: None,
            heard_at: None,
            agent: None,
            faulted: false,
            exchanges: false,
            place: None,
            links: BTreeMap::new(),
            theirs: BTreeMap::new(),
            opens: 0,
            next_channel: 0,
            next_request: 0,
            rejects: Vec::new(),
            upload: Upload::default(),
            questions: 0,
            rate: Rate::default(),
            granted: CREDIT_START,
            told: CREDIT_START,
            arrived: 0,
            backlog: 0,
            their_grant: 0,
            sent: 0,
            bytes_in: 0,
            bytes_out: 0,
            bytes_twice: 0,
            blocks_in: 0,
            blocks_out: 0,
            last_progress: now,
            began: now,
            last_block: None,
            gap: Duration::ZERO,
            busy_until: now,
            last_asked: now,
            asked_at: None,
            looked_at: None,
            look_at: None,
            paused_until: None,
            losses: 0,
            stalled: false,
            missing: PerMinute::new(now),
            introductions: PerMinute::new(now),
            blind: PerMinute::new(now),
            pace: Pace::new(now),
            share: Share::default(),
        }
    }

    pub(super) fn add(&mut self, feed: FeedId) {
        let channel = Channel(self.next_channel);
        self.next_channel += 1;
        self.links.insert(feed, Link::new(channel));
    }

    /// Returns how many blocks the peer owes us.
    pub(super) fn owed(&self) -> u64 {
        self.links.values().map(Link::owed).sum()
    }

    /// Returns how many of them are of this priority or a higher one.
    pub(super) fn owed_from(&self, priority: Priority) -> u64 {
        self.links.values().map(|link| link.owed_from(priority)).sum()
    }

    /// Returns how many blocks of so many bytes may be on their way to us, or cannot be held up any more.
    pub(super) fn under_way(&self, block_bytes: u64) -> u64 {
        let bytes = self.granted.saturating_sub(self.arrived) + READ_AHEAD_BYTES;
        bytes.div_ceil(block_bytes.max(1))
    }

    /// Returns how many requests of ours it has not answered.
    pub(super) fn asked(&self) -> usize {
        self.links.values().map(|link| link.requests.len() + link.byte_requests.len()).sum()
    }

    /// Returns a grant, when so much of the last one is used that a new one is worth a frame.
    ///
    /// Credit is renewed as bytes leave the stream, but held back while too many wait for the store, and under a bandwidth limit,
    /// which grants itself.
    pub(super) fn grant(&mut self, is_limited: bool) -> Option<Message> {
        if !is_limited {
            let credit = self.rate.credit();
            let total = self.free() + credit;
            if total >= self.granted + credit / 4 {
                self.granted = total;
            }
        }
        self.tell_credit()
    }

    /// Returns a grant that the peer was not told of.
    fn tell_credit(&mut self) -> Option<Message> {
        let total = self.granted;
        let told = core::mem::replace(&mut self.told, total);
        (told < total).then_some(Message::Credit { total })
    }

    /// Returns how many bytes arrived, less what of them holds back credit.
    fn free(&self) -> u64 {
        self.arrived.saturating_sub(self.backlog.saturating_sub(BACKLOG_MAX))
    }

    /// Returns the credit to greet the peer with: none that a limit has to give first.
    pub(super) fn greet(&mut self, is_limited: bool) -> u64 {
        if is_limited {
            (self.granted, self.told) = (0, 0);
        }
        self.granted
    }

    /// Tells whether the peer may send a block.
    pub(super) fn has_credit(&self) -> bool {
        self.arrived < self.granted
    }

    /// Tells whether a quarter of `credit` or more may be granted.
    pub(super) fn has_room(&self, credit: u64) -> bool {
        self.free() + credit >= self.granted.max(self.arrived) + credit / 4
    }

    /// Grants so many bytes more. Only from now on the peer keeps us waiting, if it had no credit.
    pub(super) fn grant_more(&mut self, now: Instant, bytes: u64) {
        if !self.has_credit() {
            (self.last_progress, self.last_asked, self.looked_at) = (now, now, None);
            self.asked_at.get_or_insert(now);
            self.last_block = self.last_block.map(|_| now);
            self.granted = self.arrived;
        }
        self.granted += bytes;
    }

    /// Counts a job that the peer causes, unless too many are under way, or it does not take our refusals.
    pub(super) fn ask(&mut self) -> Result<(), Fault> {
        if self.questions >= QUESTIONS_MAX || self.is_deaf() {
            return Err(Fault::TooMany("requests"));
        }
        self.questions += 1;
        Ok(())
    }

    /// Notes that a block came, whether it was owed, and whether the peer owes more.
    pub(super) fn progress(&mut self, now: Instant, is_owed: bool, owes: bool) {
        self.last_progress = now;
        if let Some(last) = self.last_block {
            // While we asked it for nothing, it sent only what it had been asked for before.
            let from = if is_owed { last.max(self.began) } else { last };
            self.gap = now.since(from).max(self.gap / 2);
        }
        self.last_block = owes.then_some(now);
    }

    /// Notes that such a job is done.
    pub(super) fn answered(&mut self) {
        self.questions = self.questions.saturating_sub(1);
    }

    /// Tells whether too many refusals wait for the peer to take them.
    pub(super) fn is_deaf(&self) -> bool {
        self.links.values().map(Link::refusals).sum::<usize>() >= QUESTIONS_MAX
    }

    /// Counts a refusal; tells whether the peer should be left alone for a while.
    pub(super) fn refused(&mut self, now: Instant) -> bool {
        self.missing.note(now) > MISSING_MAX
    }

    /// Counts a request for blocks that it could know not to be here.
    ///
    /// Whoever takes our refusals to heart asks far less often than this.
    pub(super) fn asked_blindly(&mut self, now: Instant) -> Result<(), Fault> {
        match self.blind.note(now) > BLIND_MAX {
            true => Err(Fault::TooMany("requests for what is not here")),
            false => Ok(()),
        }
    }

    pub(super) fn status(&self, peer: PeerId) -> PeerStatus {
        PeerStatus {
            peer,
            agent: self.agent.clone(),
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            bytes_twice: self.bytes_twice,
            blocks_in: self.blocks_in,
            blocks_out: self.blocks_out,
            rate_in: self.rate.bytes_per_second(),
            rtt: self.rate.rtt_min(),
            credit: self.granted.saturating_sub(self.arrived),
            feeds: self.links.values().filter(|link| link.is_live()).count(),
            wants: self.upload.blocks(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blind_requests_are_counted_by_the_minute() {
        let binding = Binding { ours: Vec::new(), theirs: Vec::new() };
        let mut peer = Peer::new(Instant(0), binding);
        let within = |minute: u64| Instant(minute * 60_000_001);
        for minute in 0..3 {
            for _ in 0..BLIND_MAX {
                assert_eq!(peer.asked_blindly(within(minute)), Ok(()));
            }
        }
        let fault = Fault::TooMany("requests for what is not here");
        assert_eq!(peer.asked_blindly(within(2)), Err(fault));
    }
}
