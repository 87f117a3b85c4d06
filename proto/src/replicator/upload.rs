//! What a peer asked of us, and which block is read for it next.
//!
//! Order: priority, the time it is due, class, age. Of a request that may be answered in any order, those blocks go first that
//! nobody else has, so that a new drive is out as soon as each block went once. Answers wait here only between the store and
//! the stream, a bounded few, and not many more than the peer's credit lets go; a more urgent answer overtakes those that wait.

use alloc::collections::BTreeMap;
use core::cmp::Reverse;
use core::ops::Range;

use bytes::Bytes;
use datnode_feed::{BlockIndex, BlockProof};

use super::blocks::BlockSet;
use super::runs::RunSet;
use crate::fault::Fault;
use crate::ids::{Class, FeedId, Priority, RequestId, Urgency};
use crate::limits::{
    BLOCK_BYTES_GUESS, READ_AHEAD_BYTES, READ_BYTES_MAX, READS_MAX, REQUEST_RUNS_MAX, REQUESTS_MAX,
    RUN_BYTES, SPREAD_RUNS,
};
use crate::wire::Runs;

/// Most urgent first: the map's smallest key.
type Turn = (Reverse<Urgency>, Reverse<Class>, RequestId);

/// The requests of one peer.
#[derive(Debug, Default)]
pub(super) struct Upload {
    queue: BTreeMap<Turn, Lease>,
    ready: BTreeMap<Place, Answer>,
    /// How urgent the reads under way are, with their number.
    reading: BTreeMap<Urgency, usize>,
    waiting_bytes: u64,
    /// The size of the last answer, for which the next ones are taken.
    answer_bytes: Option<u64>,
    /// Whether reads are added until no more may be under way.
    filling: bool,
    sequence: u64,
}

/// A request that we are answering.
#[derive(Debug)]
struct Lease {
    feed: FeedId,
    length: u64,
    any_order: bool,
    /// What is still to be read.
    rest: RunSet,
}

impl Lease {
    /// Returns the next block that nobody else has; `spread` are those that others have.
    fn first_own(&self, spread: &BlockSet) -> Option<u64> {
        let first = |run: Range<u64>| spread.first_zero(&run);
        self.rest.iter().take(SPREAD_RUNS).find_map(first)
    }

    /// Takes out the next block.
    fn next(&mut self, spread: Option<&BlockSet>) -> Option<u64> {
        let next = self.first_own(spread.filter(|_| self.any_order)?)?;
        self.rest.remove(next..next + 1);
        Some(next)
    }
}

/// A request, but for its blocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) feed: FeedId,
    pub(super) class: Class,
    pub(super) id: RequestId,
    pub(super) urgency: Urgency,
    pub(super) length: u64,
    pub(super) any_order: bool,
}

/// A block on its way out.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) feed: FeedId,
    pub(super) request: RequestId,
    pub(super) proof: BlockProof,
    pub(super) bytes: Bytes,
}

/// Where an answer waits: the most urgent first, then the oldest.
type Place = (Reverse<Urgency>, u64);

/// The answer that is the next one to go out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Next {
    pub(super) priority: Priority,
    /// The payload's bytes.
    pub(super) len: u64,
}

/// A block to be read for the peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Read {
    pub(super) feed: FeedId,
    pub(super) request: RequestId,
    pub(super) urgency: Urgency,
    pub(super) block: BlockIndex,
    pub(super) length: u64,
    /// Whether the answer may go out before others that are under way.
    pub(super) overtakes: bool,
}

impl Upload {
    /// Takes a request whose blocks are known.
    pub(super) fn request(&mut self, asked: Asked, runs: Runs) -> Result<(), Fault> {
        if self.queue.len() >= REQUESTS_MAX {
            return Err(Fault::TooMany("requests"));
        }
        if self.runs() + runs.len() > REQUEST_RUNS_MAX {
            return Err(Fault::TooMany("runs in requests"));
        }
        let Asked { feed, class, id, urgency, length, any_order } = asked;
        let lease = Lease { feed, length, any_order, rest: runs.into_iter().collect() };
        self.queue.insert((Reverse(urgency), Reverse(class), id), lease);
        Ok(())
    }

    /// Forgets a request, or some of its blocks, which may leave more runs than there were.
    pub(super) fn cancel(&mut self, id: RequestId, blocks: &Runs) -> Result<(), Fault> {
        let Some(key) = self.queue.keys().find(|(_, _, other)| *other == id).copied() else {
            return Ok(());
        };
        let Some(lease) = self.queue.get_mut(&key) else { return Ok(()) };
        blocks.iter().for_each(|run| lease.rest.remove(run.clone()));
        if blocks.is_empty() || lease.rest.is_empty() {
            self.queue.remove(&key);
        }
        if self.runs() > REQUEST_RUNS_MAX {
            return Err(Fault::TooMany("runs in requests"));
        }
        Ok(())
    }

    /// Returns how many blocks are still to go out.
    pub(super) fn blocks(&self) -> u64 {
        let reading = self.reading.values().sum::<usize>() + self.ready.len();
        let asked = self.queue.values().map(|lease| lease.rest.blocks());
        asked.fold(reading as u64, u64::saturating_add)
    }

    fn runs(&self) -> usize {
        self.queue.values().map(|lease| lease.rest.len()).sum()
    }

    /// Returns about how many bytes its requests take.
    pub(super) fn weight(&self) -> usize {
        (self.queue.len() + self.runs()) * RUN_BYTES
    }

    /// Forgets all requests for a feed.
    pub(super) fn close(&mut self, feed: FeedId) {
        self.queue.retain(|_, lease| lease.feed != feed);
        self.ready.retain(|_, answer| answer.feed != feed);
        self.waiting_bytes = self.ready.values().map(|answer| answer.bytes.len() as u64).sum();
    }

    /// Returns the feed of the request that is answered next, if its blocks may come in any order.
    pub(super) fn next_in_any_order(&self) -> Option<FeedId> {
        let (_, lease) = self.queue.first_key_value()?;
        lease.any_order.then_some(lease.feed)
    }

    /// Takes out of the request that is answered next what others have, if there is nothing else in it; but for what was taken
    /// out of one before.
    pub(super) fn defer(
        &mut self,
        spread: &BlockSet,
        deferred: &mut BlockSet,
    ) -> Option<(RequestId, Runs)> {
        let mut first = self.queue.first_entry()?;
        let request = first.key().2;
        let lease = first.get_mut();
        if lease.first_own(spread).is_some() {
            return None;
        }
        let front = lease.rest.iter().take(SPREAD_RUNS);
        let runs: Runs = front.flat_map(|run| deferred.gaps_in(run).collect::<Runs>()).collect();
        for run in &runs {
            lease.rest.remove(run.clone());
            deferred.set_range(run.clone());
        }
        if lease.rest.is_empty() {
            first.remove();
        }
        (!runs.is_empty()).then_some((request, runs))
    }

    /// Returns the next block to read, while few enough answers are under way for so much credit; `spread` are those that
    /// others have, if the rest goes first.
    ///
    /// Reads are added several at a time, when half of what may be under way is out: the store's thread and the network's would
    /// wake each other for every block. What overtakes others does not wait for that.
    pub(super) fn next_read(&mut self, credit: u64, spread: Option<&BlockSet>) -> Option<Read> {
        let reading: usize = self.reading.values().sum();
        let under_way = reading + self.ready.len();
        let each = self.answer_bytes.unwrap_or(BLOCK_BYTES_GUESS);
        let bytes = self.waiting_bytes + reading as u64 * each;
        let has_room =
            |reads_max, bytes_max| under_way < reads_max && (under_way < 2 || bytes < bytes_max);
        let bytes_max = READ_BYTES_MAX.min(credit.saturating_add(READ_AHEAD_BYTES));
        self.filling = match self.filling {
            true => has_room(READS_MAX, bytes_max),
            false => has_room(READS_MAX / 2, bytes_max / 2),
        };
        let mut first = self.queue.first_entry()?;
        let (Reverse(urgency), _, request) = *first.key();
        let lowest_reading = self.reading.first_key_value().map(|(urgency, _)| *urgency);
        let lowest_ready = self.ready.last_key_value().map(|((Reverse(urgency), _), _)| *urgency);
        let overtakes = lowest_reading.into_iter().chain(lowest_ready).any(|other| other < urgency);
        if !(self.filling || overtakes && has_room(READS_MAX, READ_BYTES_MAX)) {
            return None;
        }
        let lease = first.get_mut();
        let (feed, length) = (lease.feed, lease.length);
        let next = lease.next(spread).or_else(|| lease.rest.pop_first());
        let block = BlockIndex(next.expect("a lease with nothing left is removed"));
        if lease.rest.is_empty() {
            first.remove();
        }
        *self.reading.entry(urgency).or_default() += 1;
        Some(Read { feed, request, urgency, block, length, overtakes })
    }

    /// Notes what a read brought.
    pub(super) fn read(&mut self, urgency: Urgency, answer: Option<Answer>) {
        if let Some(reading) = self.reading.get_mut(&urgency) {
            *reading -= 1;
            if *reading == 0 {
                self.reading.remove(&urgency);
            }
        }
        if let Some(answer) = answer {
            let bytes = answer.bytes.len() as u64;
            self.answer_bytes = Some(bytes);
            self.waiting_bytes += bytes;
            self.sequence += 1;
            self.ready.insert((Reverse(urgency), self.sequence), answer);
        }
    }

    /// Panics if more waits than may.
    #[cfg(feature = "fuzz")]
    pub(super) fn check(&self) {
        assert!(self.queue.len() <= REQUESTS_MAX, "leases are bounded");
        assert!(self.runs() <= REQUEST_RUNS_MAX, "their runs are bounded");
        let reading: usize = self.reading.values().sum();
        assert!(reading + self.ready.len() <= READS_MAX, "reads are bounded");
        let waiting: u64 = self.ready.values().map(|answer| answer.bytes.len() as u64).sum();
        assert_eq!(waiting, self.waiting_bytes, "bytes that wait are counted");
    }

    /// Returns what goes out next.
    pub(super) fn next(&self) -> Option<Next> {
        let ((Reverse(urgency), _), answer) = self.ready.first_key_value()?;
        Some(Next { priority: urgency.priority, len: answer.bytes.len() as u64 })
    }

    /// Takes it.
    pub(super) fn pop(&mut self) -> Option<Answer> {
        let (_, answer) = self.ready.pop_first()?;
        self.waiting_bytes -= answer.bytes.len() as u64;
        Some(answer)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::ids::Instant;

    const FEED: FeedId = FeedId(1);
    const BULK: Urgency = Urgency { priority: Priority(0), due: None };
    const URGENT: Urgency = Urgency { priority: Priority(9), due: None };

    fn asked(id: u64, urgency: Urgency) -> Asked {
        let (class, id, length) = (Class::Content, RequestId(id), 10_000);
        Asked { feed: FEED, class, id, urgency, length, any_order: false }
    }

    impl Upload {
        fn ask(&mut self, id: u64, urgency: Urgency, runs: Runs) {
            self.request(asked(id, urgency), runs).unwrap();
        }

        fn next_block(&mut self) -> Option<u64> {
            Some(self.next_read(u64::MAX, None)?.block.0)
        }

        fn next_blocks(&mut self) -> Vec<u64> {
            core::iter::from_fn(|| self.next_block()).collect()
        }
    }

    #[test]
    fn urgent_reads_and_answers_come_first() {
        let mut upload = Upload::default();
        upload.ask(1, BULK, alloc::vec![0..50]);
        assert_eq!(upload.next_block(), Some(0));
        upload.ask(2, URGENT, alloc::vec![70..71]);
        let due = |at| Urgency { due: Some(Instant(at)), ..URGENT };
        upload.ask(3, due(50), alloc::vec![80..81]);
        upload.ask(4, due(40), alloc::vec![90..91]);
        let changes = Asked { class: Class::Changes, ..asked(5, BULK) };
        upload.request(changes, alloc::vec![3..4]).unwrap();
        let next: Vec<_> = (0..5).filter_map(|_| upload.next_block()).collect();
        assert_eq!(next, [90, 80, 70, 3, 1]);
    }

    #[test]
    fn reads_are_added_when_half_is_out_and_urgent_ones_at_once() {
        let answer = |read: Read| Answer {
            feed: FEED,
            request: read.request,
            proof: BlockProof {
                block: read.block,
                leaf: datnode_feed::leaf(b""),
                siblings: alloc::vec![],
            },
            bytes: Bytes::new(),
        };
        let mut upload = Upload { answer_bytes: Some(0), ..Upload::default() };
        upload.ask(1, BULK, alloc::vec![0..1_000]);
        let next = |upload: &mut Upload| upload.next_read(u64::MAX, None);
        let reads: Vec<Read> = core::iter::from_fn(|| next(&mut upload)).collect();
        assert_eq!(reads.len(), READS_MAX);
        for read in reads {
            upload.read(BULK, Some(answer(read)));
        }
        for _ in 0..READS_MAX / 2 {
            assert_eq!(upload.next_block(), None);
            upload.pop().unwrap();
        }
        // Half is out, and not more.
        assert_eq!(upload.next_block(), None);
        upload.ask(2, URGENT, alloc::vec![2_000..2_002]);
        let next = [upload.next_block(), upload.next_block(), upload.next_block()];
        assert_eq!(next, [Some(2_000), Some(2_001), None]);
        (0..2).for_each(|_| upload.read(URGENT, None));
        upload.pop().unwrap();
        assert_eq!(upload.next_blocks().len(), READS_MAX / 2 + 1);
    }

    #[test]
    fn no_more_is_read_than_may_wait_and_the_credit_lets_go() {
        for (credit, bytes) in [
            (u64::MAX, READ_BYTES_MAX),
            (0, READ_AHEAD_BYTES),
            (BLOCK_BYTES_GUESS, READ_AHEAD_BYTES + BLOCK_BYTES_GUESS),
        ] {
            let mut upload = Upload::default();
            upload.ask(1, BULK, alloc::vec![0..1_000]);
            let reads = core::iter::from_fn(|| upload.next_read(credit, None)).count();
            assert_eq!(reads as u64, bytes / BLOCK_BYTES_GUESS);
        }
    }

    #[test]
    fn in_any_order_what_nobody_else_has_goes_first() {
        let spread: BlockSet = [0..3, 4..8].into_iter().collect();
        for (any_order, order) in [(true, [3, 8, 0, 1, 2, 9]), (false, [0, 1, 2, 3, 8, 9])] {
            let mut upload = Upload { answer_bytes: Some(0), ..Upload::default() };
            let asked = Asked { any_order, ..asked(1, BULK) };
            upload.request(asked, alloc::vec![0..4, 8..10]).unwrap();
            let mut spread = spread.clone();
            let mut sent = Vec::new();
            while let Some(read) = upload.next_read(u64::MAX, Some(&spread)) {
                sent.push(read.block.0);
                // The last one goes to somebody else meanwhile.
                spread.set(9);
                spread.set(read.block.0);
            }
            assert_eq!(sent, order);
        }
    }

    #[test]
    fn what_others_have_is_had_from_them_once_while_something_is_given_to_nobody() {
        let spread: BlockSet = [0..8].into_iter().collect();
        let (mut upload, mut deferred) = (Upload::default(), BlockSet::default());
        let any_order = |id| Asked { any_order: true, ..asked(id, BULK) };
        upload.request(any_order(1), alloc::vec![0..2, 9..10]).unwrap();
        assert_eq!(upload.defer(&spread, &mut deferred), None, "it has something else in it");
        assert_eq!(upload.next_read(u64::MAX, Some(&spread)).unwrap().block.0, 9);
        let first = Some((RequestId(1), alloc::vec![0..2]));
        assert_eq!(upload.defer(&spread, &mut deferred), first);
        assert_eq!((upload.next_in_any_order(), upload.next_block()), (None, None));
        upload.request(any_order(2), alloc::vec![0..4]).unwrap();
        let second = Some((RequestId(2), alloc::vec![2..4]));
        assert_eq!(upload.defer(&spread, &mut deferred), second, "but for what was deferred");
        assert_eq!(upload.defer(&spread, &mut deferred), None);
        assert_eq!(upload.next_blocks(), [0, 1]);
    }

    #[test]
    fn not_all_pieces_of_a_request_are_looked_through() {
        let pieces = SPREAD_RUNS as u64 + 1;
        let spread: BlockSet = [0..2 * (pieces - 1)].into_iter().collect();
        let mut upload = Upload { answer_bytes: Some(0), ..Upload::default() };
        let asked = Asked { any_order: true, ..asked(1, BULK) };
        upload.request(asked, (0..pieces).map(|piece| 2 * piece..2 * piece + 1).collect()).unwrap();
        assert_eq!(upload.next_read(0, Some(&spread)).unwrap().block.0, 0);
        assert_eq!(upload.next_read(0, Some(&spread)).unwrap().block.0, 2 * (pieces - 1));
    }

    #[test]
    fn cancelled_blocks_are_not_read() {
        let mut upload = Upload::default();
        upload.ask(1, BULK, alloc::vec![0..4, 8..10]);
        upload.cancel(RequestId(1), &alloc::vec![1..3, 9..20]).unwrap();
        assert_eq!(upload.next_blocks(), [0, 3, 8]);
    }

    #[test]
    fn a_request_whose_blocks_are_all_cancelled_is_gone() {
        let mut upload = Upload::default();
        upload.ask(1, BULK, alloc::vec![0..4, 8..10]);
        upload.cancel(RequestId(1), &alloc::vec![0..10]).unwrap();
        assert_eq!(upload.next_block(), None);
    }

    #[test]
    fn few_answers_wait_and_requests_are_bounded() {
        let mut upload = Upload { answer_bytes: Some(0), ..Upload::default() };
        for id in 0..REQUESTS_MAX as u64 {
            upload.ask(id, BULK, alloc::vec![0..1_000]);
        }
        let more = upload.request(asked(9_999, BULK), Runs::new());
        assert_eq!(more, Err(Fault::TooMany("requests")));
        assert_eq!(upload.next_blocks().len(), READS_MAX);
    }
}
