//! One feed with one peer: who opened it, what was told, what was asked.
//!
//! Invariant: `asked` holds the blocks that the peer owes us, each under one of `requests`; they are in the feed's `assigned` as
//! well.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::ops::Range;

use datnode_feed::UpgradeProof;

use super::blocks::BlockSet;
use super::feed::Feed;
use super::introduce::Introductions;
use super::told::Told;
use super::{leaves, runs::RunSet};
use crate::ids::{Instant, Priority, RequestId, Urgency, WantId};
use crate::limits::{ANNOUNCE_EVERY, LATE_REQUESTS_MAX, RUN_BYTES, RUNS_MAX};
use crate::wire::{Channel, Message, Runs};

/// The state of a feed with a peer.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) ours: Channel,
    pub(super) theirs: Option<Channel>,
    /// Whether our Open was sent, and not rejected since.
    pub(super) opened: bool,
    pub(super) rejected: bool,
    pub(super) told: Told,
    announced_length: Option<u64>,
    announce_after: Instant,
    /// Whether that is over: what is to be said waits for the stream alone.
    announce_due: bool,
    /// From which length to which a head was offered last, or is being proven, and what was known of the tree then.
    pub(super) offered: Option<(u64, u64, u64)>,
    /// Whether the store is proving that head.
    pub(super) proving: bool,
    pub(super) upgrade: Option<UpgradeProof>,
    /// Whether the store verifies a head of the peer, and the newest one that waits for its turn.
    pub(super) verifying: bool,
    pub(super) next_head: Option<UpgradeProof>,
    /// Whether the peer knows that the writer signed two histories, and whether it said so.
    pub(super) accused: bool,
    pub(super) accuses: bool,
    /// Whom the peer was told of.
    pub(super) introductions: Introductions,
    pub(super) asked: BlockSet,
    pub(super) asked_blocks: u64,
    /// Blocks that were asked for and taken back, and how many answers to that may still come.
    cancelled: BlockSet,
    late_blocks: u64,
    pub(super) byte_requests: BTreeMap<RequestId, ByteRequest>,
    /// Requests for bytes that were withdrawn; their answers may still come.
    late_requests: BTreeMap<RequestId, Range<u64>>,
    /// Blocks of the peer that are with the store.
    pub(super) storing: BTreeMap<u64, Storing>,
    /// What of which requests the peer need not send any more; no blocks mean all.
    pub(super) cancels: Vec<(RequestId, Runs)>,
    /// The requests that blocks are owed under.
    pub(super) requests: BTreeMap<RequestId, BlockRequest>,
    /// What the peer was asked for of leaves.
    pub(super) lookups: BTreeMap<RequestId, leaves::Asked>,
    /// The leaves that are to be sent, and how many requests for some are not answered.
    pub(super) leaves: VecDeque<leaves::Answer>,
    pub(super) leaves_owed: usize,
    pub(super) missing: Vec<(RequestId, Runs)>,
    /// What of its requests the peer is to look for elsewhere, and what it ever was.
    pub(super) elsewhere: Vec<(RequestId, Runs)>,
    pub(super) deferred: BlockSet,
    /// What was sent on this stream: its proofs' nodes are known to the peer.
    pub(super) sent: BlockSet,
    /// What is being read, and will have been sent before anything that is no more urgent.
    pub(super) reading: BlockSet,
}

/// A request for blocks, some of which are owed.
#[derive(Debug)]
pub(super) struct BlockRequest {
    pub(super) urgency: Urgency,
    /// Whether another peer may take them over.
    pub(super) hotswap: bool,
    /// Those that are owed, and how many they are.
    pub(super) rest: RunSet,
    pub(super) left: u64,
}

/// A request for bytes that is not answered yet.
#[derive(Debug)]
pub(super) struct ByteRequest {
    pub(super) urgency: Urgency,
    pub(super) want: WantId,
    pub(super) bytes: Range<u64>,
    /// How often the peer had told of more blocks.
    pub(super) told: u64,
}

/// A block that is with the store.
#[derive(Debug)]
pub(super) struct Storing {
    /// What it took of the peer's credit.
    pub(super) cost: u64,
    /// The bytes it was sent for, if it was not asked for by its number.
    pub(super) bytes: Option<Range<u64>>,
}

/// Why a block may come.
#[derive(Debug)]
pub(super) enum Due {
    /// It is owed.
    Owed,
    /// It was, and the peer may not have known yet that it is no more.
    Late,
    /// For bytes; which blocks hold these is known once it is verified.
    Bytes(Range<u64>),
}

impl Link {
    pub(super) fn new(ours: Channel) -> Self {
        Self {
            ours,
            theirs: None,
            opened: false,
            rejected: false,
            told: Told::default(),
            announced_length: None,
            announce_after: Instant::default(),
            announce_due: false,
            offered: None,
            proving: false,
            upgrade: None,
            verifying: false,
            next_head: None,
            accused: false,
            accuses: false,
            introductions: Introductions::default(),
            asked: BlockSet::default(),
            asked_blocks: 0,
            cancelled: BlockSet::default(),
            late_blocks: 0,
            byte_requests: BTreeMap::new(),
            late_requests: BTreeMap::new(),
            storing: BTreeMap::new(),
            cancels: Vec::new(),
            requests: BTreeMap::new(),
            lookups: BTreeMap::new(),
            leaves: VecDeque::new(),
            leaves_owed: 0,
            missing: Vec::new(),
            elsewhere: Vec::new(),
            deferred: BlockSet::default(),
            sent: BlockSet::default(),
            reading: BlockSet::default(),
        }
    }

    /// Tells whether both sides opened the feed.
    pub(super) fn is_live(&self) -> bool {
        self.opened && self.theirs.is_some()
    }

    /// Returns how many bytes its sets of blocks take.
    pub(super) fn footprint(&self) -> usize {
        self.sets().map(BlockSet::bytes).iter().sum()
    }

    fn sets(&self) -> [&BlockSet; 5] {
        [&self.asked, &self.cancelled, &self.sent, &self.reading, &self.deferred]
    }

    /// Returns about how many bytes are remembered for the peer.
    pub(super) fn weight(&self) -> usize {
        let runs = |lists: &[(RequestId, Runs)]| -> usize {
            lists.iter().map(|(_, runs)| (1 + runs.len()) * RUN_BYTES).sum()
        };
        let sets = self.sets().map(BlockSet::weight).iter().sum::<usize>();
        sets + runs(&self.missing) + runs(&self.elsewhere) + runs(&self.cancels)
    }

    /// Returns how many answers the peer owes.
    pub(super) fn owed(&self) -> u64 {
        self.asked_blocks + self.byte_requests.len() as u64
    }

    /// Returns how many of them are of this priority or a higher one.
    pub(super) fn owed_from(&self, priority: Priority) -> u64 {
        let blocks = self.requests.values().filter(|one| one.urgency.priority >= priority);
        let bytes = self.byte_requests.values().filter(|one| one.urgency.priority >= priority);
        blocks.map(|one| one.left).sum::<u64>() + bytes.count() as u64
    }

    /// Returns the blocks that are owed at lower priorities than this, but for the first `sent` of all that are owed.
    pub(super) fn owed_below(&self, priority: Priority, mut sent: u64) -> Runs {
        let mut owed: Vec<_> = self.requests.iter().collect();
        // As they are answered.
        owed.sort_by_key(|(id, request)| (Reverse(request.urgency), **id));
        let mut below = Runs::new();
        for (_, request) in owed {
            let is_below = request.urgency.priority < priority;
            for run in request.rest.iter() {
                let skipped = sent.min(run.end - run.start);
                sent -= skipped;
                below.extend(
                    [run.start + skipped..run.end]
                        .into_iter()
                        .filter(|run| is_below && !run.is_empty()),
                );
            }
        }
        below
    }

    /// Tells whether others may take over some of them.
    pub(super) fn may_lose(&self) -> bool {
        !self.byte_requests.is_empty() || self.requests.values().any(|request| request.hotswap)
    }

    /// Returns how urgent the most urgent of them is.
    pub(super) fn urgency(&self) -> Option<Priority> {
        let blocks = self.requests.values().map(|request| request.urgency.priority);
        let bytes = self.byte_requests.values().map(|request| request.urgency.priority);
        blocks.chain(bytes).max()
    }

    /// Returns what we hold and did not say yet, if it is time to say so.
    pub(super) fn announce(&mut self, now: Instant, feed: &Feed) -> Option<Message> {
        let is_known = self.announced_length == Some(feed.length);
        if is_known && (now < self.announce_after || self.told.is_all(feed)) {
            return None;
        }
        let (held, lost) = self.told.tell(feed, RUNS_MAX);
        (self.announce_after, self.announce_due) = (now + ANNOUNCE_EVERY, false);
        if held.is_empty() && lost.is_empty() && is_known {
            return None;
        }
        let length = feed.length;
        let head = feed.head.filter(|_| self.announced_length != Some(length));
        self.announced_length = Some(length);
        Some(Message::Have { channel: self.ours, length, held, lost, head })
    }

    /// Returns a refusal, after which the peer does not count on these blocks any more until it is told of them anew.
    pub(super) fn next_missing(&mut self, feed: &Feed) -> Option<(RequestId, Runs)> {
        let (request, blocks) = self.missing.pop()?;
        self.told.refused(feed, &blocks);
        Some((request, blocks))
    }

    /// Returns how many refusals wait to be said.
    pub(super) fn refusals(&self) -> usize {
        self.missing.len() + self.elsewhere.len()
    }

    /// Returns when something is to be announced, if anything is and waits for its time.
    pub(super) fn announce_at(&self, feed: &Feed) -> Option<Instant> {
        let behind = self.announced_length != Some(feed.length) || !self.told.is_all(feed);
        (self.is_live() && behind && !self.announce_due).then_some(self.announce_after)
    }

    /// Notes that time passed: a stream that takes nothing must not keep a timer running.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.announce_due |= self.announce_after <= now;
        self.introductions.handle_timeout(now);
    }

    /// Asks for blocks that are not owed yet.
    pub(super) fn ask(&mut self, id: RequestId, urgency: Urgency, hotswap: bool, runs: &Runs) {
        runs.iter().for_each(|run| self.asked.set_range(run.clone()));
        let rest: RunSet = runs.iter().cloned().collect();
        let left = rest.blocks();
        self.asked_blocks += left;
        self.requests.insert(id, BlockRequest { urgency, hotswap, rest, left });
    }

    /// Takes back everything that was asked of the peer; returns it.
    pub(super) fn revoke(&mut self) -> Runs {
        let runs: Runs = self.asked.runs().collect();
        runs.iter().for_each(|run| self.cancelled.set_range(run.clone()));
        self.asked = BlockSet::default();
        self.late_blocks += core::mem::take(&mut self.asked_blocks);
        let gone = core::mem::take(&mut self.requests).into_keys();
        self.cancels.extend(gone.map(|id| (id, Runs::new())));
        self.withdraw(|_| true);
        runs
    }

    /// Takes back what of `blocks` the peer owes; returns it.
    pub(super) fn take_back(&mut self, blocks: &[Range<u64>]) -> Runs {
        let taken: Runs = blocks.iter().flat_map(|run| self.asked.runs_in(run.clone())).collect();
        if taken.is_empty() {
            return taken;
        }
        for run in &taken {
            self.asked.clear_range(run.clone());
            self.cancelled.set_range(run.clone());
        }
        for (id, request) in &mut self.requests {
            let gone = request.rest.take(&taken);
            let count: u64 = gone.iter().map(|run| run.end - run.start).sum();
            (request.left, self.asked_blocks) = (request.left - count, self.asked_blocks - count);
            self.late_blocks += count;
            match request.left {
                _ if count == 0 => {}
                0 => self.cancels.push((*id, Runs::new())),
                _ => self.cancels.extend(gone.chunks(RUNS_MAX).map(|part| (*id, part.to_vec()))),
            }
        }
        self.requests.retain(|_, request| request.left > 0);
        taken
    }

    /// Takes back requests for bytes.
    pub(super) fn withdraw(&mut self, gone: impl Fn(&ByteRequest) -> bool) {
        let (gone, kept) = core::mem::take(&mut self.byte_requests)
            .into_iter()
            .partition::<BTreeMap<_, _>, _>(|(_, request)| gone(request));
        self.byte_requests = kept;
        self.cancels.extend(gone.keys().map(|id| (*id, Runs::new())));
        self.late_requests.extend(gone.into_iter().map(|(id, request)| (id, request.bytes)));
        while self.late_requests.len() > LATE_REQUESTS_MAX {
            self.late_requests.pop_first();
        }
    }

    /// Tells whether a request is open.
    pub(super) fn owes(&self, request: RequestId) -> bool {
        self.requests.contains_key(&request) || self.byte_requests.contains_key(&request)
    }

    /// Returns how urgent a request is; the least if it is open no longer.
    pub(super) fn urgency_of(&self, request: RequestId) -> Urgency {
        let blocks = self.requests.get(&request).map(|request| request.urgency);
        let bytes = || self.byte_requests.get(&request).map(|request| request.urgency);
        blocks.or_else(bytes).unwrap_or_default()
    }

    /// Tells why a block may come under a request; nothing if it may not.
    pub(super) fn due(&mut self, request: RequestId, block: u64) -> Option<Due> {
        if self.settle(request, block) {
            return Some(Due::Owed);
        }
        let bytes = self.byte_requests.get(&request).map(|request| &request.bytes);
        if let Some(bytes) = bytes.or_else(|| self.late_requests.get(&request)) {
            return Some(Due::Bytes(bytes.clone()));
        }
        // The same block may be asked for anew already: both answers come then.
        let late = self.late_blocks > 0 && self.cancelled.contains(block);
        late.then(|| {
            self.late_blocks -= 1;
            Due::Late
        })
    }

    /// Tells whether the peer is asked for bytes of a want.
    pub(super) fn is_asked_for_bytes_of(&self, want: WantId) -> bool {
        self.byte_requests.values().any(|request| request.want == want)
    }

    /// Returns how many withdrawn requests are remembered.
    #[cfg(feature = "fuzz")]
    pub(super) fn late_requests(&self) -> usize {
        self.late_requests.len()
    }

    /// Notes that the peer no longer owes a block under a request; tells whether it did.
    pub(super) fn settle(&mut self, request: RequestId, block: u64) -> bool {
        let Some(open) = self.requests.get_mut(&request).filter(|open| open.rest.contains(block))
        else {
            return false;
        };
        open.rest.remove(block..block + 1);
        open.left -= 1;
        if open.left == 0 {
            self.requests.remove(&request);
        }
        self.asked.clear(block);
        self.asked_blocks -= 1;
        true
    }

    /// Tells whether the peer will know the path of some block within `range` when it gets the next answer.
    ///
    /// An answer that may overtake others cannot count on what is still being read for them.
    pub(super) fn knows(&self, theirs: &BlockSet, overtakes: bool, range: Range<u64>) -> bool {
        self.sent.any(range.clone())
            || theirs.any(range.clone())
            || !overtakes && self.reading.any(range)
    }
}
