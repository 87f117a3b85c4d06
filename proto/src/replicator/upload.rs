//! What a peer asked of us, and which block is read for it next.
//!
//! Order: priority, class, age. Answers wait here only between the store and the stream, a bounded few; a more urgent
//! answer overtakes those that wait.

use alloc::collections::BTreeMap;
use core::cmp::Reverse;

use bytes::Bytes;
use datnode_feed::{BlockIndex, BlockProof};

use super::runs::RunSet;
use crate::fault::Fault;
use crate::ids::{Class, FeedId, Priority, RequestId};
use crate::limits::{BLOCK_BYTES_GUESS, READ_BYTES_MAX, READS_MAX, REQUEST_RUNS_MAX, REQUESTS_MAX};
use crate::wire::Runs;

/// Most urgent first: the map's smallest key.
type Urgency = (Reverse<Priority>, Reverse<Class>, RequestId);

/// The requests of one peer.
#[derive(Debug, Default)]
pub(super) struct Upload {
    queue: BTreeMap<Urgency, Lease>,
    ready: BTreeMap<Place, Answer>,
    /// The priorities of the reads under way, with their number.
    reading: BTreeMap<Priority, usize>,
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
    /// What is still to be read.
    rest: RunSet,
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
type Place = (Reverse<Priority>, u64);

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
    pub(super) priority: Priority,
    pub(super) block: BlockIndex,
    pub(super) length: u64,
    /// Whether the answer may go out before others that are under way.
    pub(super) overtakes: bool,
}

impl Upload {
    /// Takes a request whose blocks are known.
    pub(super) fn request(
        &mut self,
        feed: FeedId,
        class: Class,
        id: RequestId,
        priority: Priority,
        length: u64,
        runs: Runs,
    ) -> Result<(), Fault> {
        if self.queue.len() >= REQUESTS_MAX {
            return Err(Fault::TooMany("requests"));
        }
        if self.runs() + runs.len() > REQUEST_RUNS_MAX {
            return Err(Fault::TooMany("runs in requests"));
        }
        let lease = Lease { feed, length, rest: runs.into_iter().collect() };
        self.queue.insert((Reverse(priority), Reverse(class), id), lease);
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

    /// Forgets all requests for a feed.
    pub(super) fn close(&mut self, feed: FeedId) {
        self.queue.retain(|_, lease| lease.feed != feed);
        self.ready.retain(|_, answer| answer.feed != feed);
        self.waiting_bytes = self.ready.values().map(|answer| answer.bytes.len() as u64).sum();
    }

    /// Returns the next block to read, while few enough answers are under way.
    ///
    /// Reads are added several at a time, when half of what may be under way is out: the store's thread and the network's would
    /// wake each other for every block. What overtakes others does not wait for that.
    pub(super) fn next_read(&mut self) -> Option<Read> {
        let reading: usize = self.reading.values().sum();
        let under_way = reading + self.ready.len();
        let each = self.answer_bytes.unwrap_or(BLOCK_BYTES_GUESS);
        let bytes = self.waiting_bytes + reading as u64 * each;
        let has_room =
            |reads_max, bytes_max| under_way < reads_max && (under_way < 2 || bytes < bytes_max);
        self.filling = match self.filling {
            true => has_room(READS_MAX, READ_BYTES_MAX),
            false => has_room(READS_MAX / 2, READ_BYTES_MAX / 2),
        };
        let mut first = self.queue.first_entry()?;
        let (Reverse(priority), _, request) = *first.key();
        let lowest_reading = self.reading.first_key_value().map(|(priority, _)| *priority);
        let lowest_ready = self.ready.last_key_value().map(|((Reverse(priority), _), _)| *priority);
        let overtakes =
            lowest_reading.into_iter().chain(lowest_ready).any(|other| other < priority);
        if !(self.filling || overtakes && has_room(READS_MAX, READ_BYTES_MAX)) {
            return None;
        }
        let lease = first.get_mut();
        let (feed, length) = (lease.feed, lease.length);
        let block = lease.rest.pop_first().expect("a lease with nothing left is removed");
        let block = BlockIndex(block);
        if lease.rest.is_empty() {
            first.remove();
        }
        *self.reading.entry(priority).or_default() += 1;
        Some(Read { feed, request, priority, block, length, overtakes })
    }

    /// Notes what a read brought.
    pub(super) fn read(&mut self, priority: Priority, answer: Option<Answer>) {
        if let Some(reading) = self.reading.get_mut(&priority) {
            *reading -= 1;
            if *reading == 0 {
                self.reading.remove(&priority);
            }
        }
        if let Some(answer) = answer {
            let bytes = answer.bytes.len() as u64;
            self.answer_bytes = Some(bytes);
            self.waiting_bytes += bytes;
            self.sequence += 1;
            self.ready.insert((Reverse(priority), self.sequence), answer);
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
        let ((Reverse(priority), _), answer) = self.ready.first_key_value()?;
        Some(Next { priority: *priority, len: answer.bytes.len() as u64 })
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
    use super::*;

    #[test]
    fn urgent_reads_and_answers_come_first() {
        let mut upload = Upload::default();
        let feed = FeedId(1);
        let bulk = Priority(0);
        upload.request(feed, Class::Content, RequestId(1), bulk, 100, alloc::vec![0..50]).unwrap();
        assert_eq!(upload.next_read().unwrap().block, BlockIndex(0));
        let urgent = Priority(9);
        upload
            .request(feed, Class::Content, RequestId(2), urgent, 100, alloc::vec![70..72])
            .unwrap();
        upload.request(feed, Class::Changes, RequestId(3), bulk, 100, alloc::vec![3..4]).unwrap();
        let next: alloc::vec::Vec<u64> =
            (0..4).map(|_| upload.next_read().unwrap().block.0).collect();
        assert_eq!(next, [70, 71, 3, 1]);
    }

    #[test]
    fn reads_are_added_when_half_is_out_and_urgent_ones_at_once() {
        let (feed, bulk, urgent) = (FeedId(1), Priority(0), Priority(9));
        let answer = |read: Read| Answer {
            feed,
            request: read.request,
            proof: BlockProof {
                block: read.block,
                leaf: datnode_feed::leaf(b""),
                siblings: alloc::vec![],
            },
            bytes: Bytes::new(),
        };
        let mut upload = Upload { answer_bytes: Some(0), ..Upload::default() };
        let ask = |upload: &mut Upload, id, priority, run| {
            let runs = alloc::vec![run];
            upload.request(feed, Class::Content, RequestId(id), priority, 1_000, runs).unwrap();
        };
        ask(&mut upload, 1, bulk, 0..1_000);
        let reads: alloc::vec::Vec<Read> = core::iter::from_fn(|| upload.next_read()).collect();
        assert_eq!(reads.len(), READS_MAX);
        for read in reads {
            upload.read(bulk, Some(answer(read)));
        }
        for _ in 0..READS_MAX / 2 {
            assert!(upload.next_read().is_none());
            upload.pop().unwrap();
        }
        // Half is out, and not more.
        assert!(upload.next_read().is_none());
        ask(&mut upload, 2, urgent, 2_000..2_002);
        let next = [upload.next_read(), upload.next_read(), upload.next_read()];
        assert_eq!(
            next.map(|read| read.map(|read| read.block.0)),
            [Some(2_000), Some(2_001), None]
        );
        (0..2).for_each(|_| upload.read(urgent, None));
        upload.pop().unwrap();
        assert_eq!(core::iter::from_fn(|| upload.next_read()).count(), READS_MAX / 2 + 1);
    }

    #[test]
    fn no_more_is_read_than_may_wait_before_it_is_known_how_much_that_is() {
        let mut upload = Upload::default();
        let runs = alloc::vec![0..1_000];
        upload.request(FeedId(1), Class::Content, RequestId(1), Priority(0), 1_000, runs).unwrap();
        let reads = core::iter::from_fn(|| upload.next_read()).count();
        assert_eq!(reads as u64, READ_BYTES_MAX / BLOCK_BYTES_GUESS);
    }

    #[test]
    fn cancelled_blocks_are_not_read() {
        let mut upload = Upload::default();
        let runs = alloc::vec![0..4, 8..10];
        upload.request(FeedId(1), Class::Content, RequestId(1), Priority(0), 100, runs).unwrap();
        upload.cancel(RequestId(1), &alloc::vec![1..3, 9..20]).unwrap();
        let mut blocks = alloc::vec::Vec::new();
        while let Some(read) = upload.next_read() {
            blocks.push(read.block.0);
        }
        assert_eq!(blocks, [0, 3, 8]);
    }

    #[test]
    fn a_request_whose_blocks_are_all_cancelled_is_gone() {
        let mut upload = Upload::default();
        let runs = alloc::vec![0..4, 8..10];
        upload.request(FeedId(1), Class::Content, RequestId(1), Priority(0), 100, runs).unwrap();
        upload.cancel(RequestId(1), &alloc::vec![0..10]).unwrap();
        assert!(upload.next_read().is_none());
    }

    #[test]
    fn few_answers_wait_and_requests_are_bounded() {
        let mut upload = Upload { answer_bytes: Some(0), ..Upload::default() };
        for id in 0..REQUESTS_MAX as u64 {
            let runs = alloc::vec![0..1_000];
            let (feed, id) = (FeedId(1), RequestId(id));
            upload.request(feed, Class::Content, id, Priority(0), 1_000, runs).unwrap();
        }
        let more = upload.request(
            FeedId(1),
            Class::Content,
            RequestId(9_999),
            Priority(0),
            1,
            Runs::new(),
        );
        assert_eq!(more, Err(Fault::TooMany("requests")));
        let reads = core::iter::from_fn(|| upload.next_read()).count();
        assert_eq!(reads, READS_MAX);
    }
}
