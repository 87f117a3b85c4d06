//! What one peer sends, to harm us or at a bad moment: it costs that peer its stream at most, and us next to nothing.

use bytes::Bytes;
use datnode_feed::{
    Accusation, Bitfield, BlockIndex, BlockProof, Comparison, Hash, Head, PublicKey, SecretKey,
    SignedHead, UpgradeProof, leaf,
};
use datnode_proto::capability::tag;
use datnode_proto::limits::{
    BLIND_MAX, BLOCK_COST, CHANNELS_MAX, CREDIT_START, OPENS_MAX, PASSED_MAX, PAYLOAD_BYTES_MAX,
    QUESTIONS_MAX, READ_BYTES_MAX, READS_MAX, REQUEST_RUNS_MAX, RUNS_MAX, STALL, STALL_PAUSE,
};
use datnode_proto::wire::{Channel, Hello, Message, Request, Runs, Wanted, decode, encode};
use datnode_proto::{
    Availability, Binding, Class, Done, Event, Failure, Fault, FeedId, Instant, Job, Order, PeerId,
    Priority, Replica, Replicator, RequestId, Target, Want,
};

const NOW: Instant = Instant(1_000);
const PEER: PeerId = PeerId(1);
const FEED: FeedId = FeedId(0);
const CHANNEL: Channel = Channel(7);

fn key() -> PublicKey {
    SecretKey::from_bytes([1; 32]).public()
}

/// A head that nobody looks at here.
fn head(length: u64) -> SignedHead {
    let head = Head { fork: 0, length, byte_length: 1, root: Hash([0; 32]), ancestor: None };
    SignedHead { head, signature: [0; 64] }
}

fn have(length: u64, held: Runs, lost: Runs) -> Message {
    Message::Have { channel: CHANNEL, length, held, lost, head: None }
}

/// A replicator of a feed of 100 blocks, and a peer that knows its key.
struct Victim {
    replicator: Replicator,
}

impl Victim {
    /// We hold `have` of the feed; the peer opened it.
    fn new(have: std::ops::Range<u64>) -> Self {
        Self::with_credit(have, CREDIT_START)
    }

    /// The peer grants so much at first.
    fn with_credit(have: std::ops::Range<u64>, credit: u64) -> Self {
        let key = key();
        let mut replicator = Replicator::new([0; 32]);
        let have: Bitfield = [have].into_iter().collect();
        let head = Some(head(100));
        let class = Class::Content;
        replicator.add_feed(FEED, Replica { key, class, head, have, accusation: None });
        let binding = Binding { ours: b"us".into(), theirs: b"them".into() };
        replicator.handle_connected(NOW, PEER, binding);
        let mut victim = Self { replicator };
        let (version_min, version_max, agent) = (1, 1, String::new());
        victim.tell(&Message::Hello(Hello {
            version_min,
            version_max,
            features: 0,
            agent,
            credit,
        }));
        victim.open();
        victim.drain();
        assert_eq!(victim.fault(), None);
        victim
    }

    /// The peer opens the feed.
    fn open(&mut self) {
        let tag = *tag(&key(), b"them", b"us", &[0; 16]).as_bytes();
        self.tell(&Message::Open { channel: CHANNEL, nonce: [0; 16], tag });
    }

    /// Returns all messages that wait for the peer.
    fn sent(&mut self) -> Vec<Message> {
        let frames = std::iter::from_fn(|| self.replicator.poll_transmit(NOW, PEER));
        let decoded = frames.map(|frame| decode(&frame.header, &frame.payload));
        decoded.map(|message| message.expect("we send what can be read")).collect()
    }

    fn tell(&mut self, message: &Message) {
        self.tell_with(message, Bytes::new());
    }

    fn tell_with(&mut self, message: &Message, payload: Bytes) {
        self.replicator.handle_frame(NOW, PEER, &encode(message), payload);
    }

    /// Takes all frames that wait for the peer.
    fn drain(&mut self) {
        while self.replicator.poll_transmit(NOW, PEER).is_some() {}
    }

    fn fault(&mut self) -> Option<Fault> {
        std::iter::from_fn(|| self.replicator.poll_event()).find_map(|event| match event {
            Event::Fault { fault, .. } => Some(fault),
            _ => None,
        })
    }
}

#[test]
fn a_peer_whose_head_moved_is_offered_the_rest() {
    let mut victim = Victim::new(0..100);
    let offers = |victim: &mut Victim, length| {
        let theirs = (length > 0).then(|| head(length));
        let (held, lost) = (vec![], vec![]);
        victim.tell(&Message::Have { channel: CHANNEL, length, held, lost, head: theirs });
        while let Some(job) = victim.replicator.poll_job() {
            let Job::Compare { peer, feed, head } = job else {
                unreachable!("nothing else is asked")
            };
            let result = Ok(Comparison::Agree);
            victim.replicator.handle_done(NOW, Done::Compared { peer, feed, head, result });
        }
        victim.drain();
        let mut offered = Vec::new();
        while let Some(job) = victim.replicator.poll_job() {
            let Job::Prove { peer, feed, from } = job else {
                unreachable!("nothing else is asked")
            };
            offered.push(from);
            victim.replicator.handle_done(NOW, Done::Proved { peer, feed, proof: None });
        }
        offered
    };
    assert_eq!(offers(&mut victim, 0), [0]);
    // Our head grows before the peer took the first offer, so that the second one starts where it is no longer.
    victim.replicator.handle_head(FEED, head(101));
    assert_eq!(offers(&mut victim, 0), [0]);
    assert_eq!(offers(&mut victim, 100), [100]);
    assert_eq!(offers(&mut victim, 100), []);
    assert_eq!(offers(&mut victim, 101), []);
}

#[test]
fn a_claim_to_hold_everything_takes_no_memory() {
    let mut victim = Victim::new(0..0);
    let length = (1 << 56) - 1;
    let held = vec![0..length];
    victim.tell(&have(length, held, vec![]));
    for piece in 0..64 {
        let first = 1_000 + piece * 2 * RUNS_MAX as u64;
        let lost = (0..RUNS_MAX as u64).map(|run| first + 2 * run..first + 2 * run + 1).collect();
        victim.tell(&have(length, vec![], lost));
    }
    assert_eq!(victim.fault(), None, "it lied only about itself");
}

#[test]
fn a_refusal_of_everything_takes_no_time() {
    let mut victim = Victim::new(0..0);
    let (id, blocks) = (RequestId(0), vec![0..(1 << 56) - 1]);
    victim.tell(&Message::Missing { channel: CHANNEL, id, blocks });
    assert_eq!(victim.fault(), None);
}

#[test]
fn a_block_far_beyond_the_head_answers_no_request() {
    let mut victim = Victim::new(0..0);
    let whole = have(100, vec![0..100], vec![]);
    victim.tell(&whole);
    let target = Target::Bytes(0..1_000);
    let want = Want { target, priority: Priority(1), order: Order::Linear };
    victim.replicator.want(FEED, want);
    victim.drain();
    let (id, block, siblings) = (RequestId(0), BlockIndex((1 << 56) - 1), vec![]);
    let answer = Message::Block { channel: CHANNEL, id, block, siblings };
    victim.tell_with(&answer, Bytes::from_static(b"x"));
    assert_eq!(victim.fault(), Some(Fault::Unexpected("block beyond the head")));
}

/// Tells a message until it is a fault, and returns how often that went well.
fn tell_until_fault(victim: &mut Victim, mut message: impl FnMut(u64) -> Message) -> (u64, Fault) {
    for count in 0.. {
        victim.tell(&message(count));
        while victim.replicator.poll_job().is_some() {}
        if let Some(fault) = victim.fault() {
            return (count, fault);
        }
    }
    unreachable!("numbers do not end")
}

fn request(id: u64, length: u64, wanted: Wanted) -> Message {
    let request = Request { id: RequestId(id), length, priority: Priority(0), wanted };
    Message::Request { channel: CHANNEL, request }
}

#[test]
fn questions_that_wait_for_the_store_are_counted() {
    let mut victim = Victim::new(0..100);
    let ask = |id| request(id, 100, Wanted::Bytes(0..10));
    let (asked, fault) = tell_until_fault(&mut victim, ask);
    assert_eq!((asked, fault), (QUESTIONS_MAX as u64, Fault::TooMany("requests")));
}

/// Heads that follow each other, each longer than the one before.
fn heads() -> impl Iterator<Item = SignedHead> {
    (1..=FLOOD).map(head)
}

/// How many messages of a kind make a flood.
const FLOOD: u64 = 2_000;

#[test]
fn of_many_longer_heads_one_is_verified_and_then_the_last() {
    let mut victim = Victim::new(0..100);
    for head in heads() {
        let proof = UpgradeProof { from: 100, head, nodes: vec![] };
        victim.tell(&Message::Upgrade { channel: CHANNEL, proof });
    }
    let verified = |victim: &mut Victim| {
        let job = victim.replicator.poll_job()?;
        let Job::Upgrade { peer, feed, proof } = job else { unreachable!("nothing else is asked") };
        assert_eq!(victim.replicator.poll_job(), None);
        victim
            .replicator
            .handle_done(NOW, Done::Upgraded { peer, feed, result: Err(Failure::Ours) });
        Some(proof.head.head.length)
    };
    assert_eq!(verified(&mut victim), Some(1));
    assert_eq!(verified(&mut victim), Some(FLOOD));
    assert_eq!(verified(&mut victim), None);
    assert_eq!(victim.fault(), None, "a writer may be faster than our disk");
}

#[test]
fn of_many_heads_one_is_compared_and_then_the_last() {
    let mut victim = Victim::new(0..100);
    victim.replicator.handle_head(FEED, head(FLOOD + 1));
    for theirs in heads() {
        let (length, held, lost) = (theirs.head.length, vec![], vec![]);
        victim.tell(&Message::Have { channel: CHANNEL, length, held, lost, head: Some(theirs) });
    }
    let compared = |victim: &mut Victim| {
        let job = victim.replicator.poll_job()?;
        let Job::Compare { peer, feed, head } = job else { unreachable!("nothing else is asked") };
        assert_eq!(victim.replicator.poll_job(), None);
        let result = Ok(Comparison::Agree);
        victim.replicator.handle_done(NOW, Done::Compared { peer, feed, head, result });
        Some(head.head.length)
    };
    assert_eq!(compared(&mut victim), Some(1));
    assert_eq!(compared(&mut victim), Some(FLOOD));
    assert_eq!(compared(&mut victim), None);
    assert_eq!(victim.fault(), None);
}

#[test]
fn a_peer_that_opens_a_feed_again_and_again_has_one_head_compared() {
    let mut victim = Victim::new(0..100);
    for theirs in heads().take(50) {
        let (length, held, lost) = (theirs.head.length, vec![], vec![]);
        victim.tell(&Message::Have { channel: CHANNEL, length, held, lost, head: Some(theirs) });
        victim.tell(&Message::Close { channel: CHANNEL });
        victim.open();
    }
    assert_eq!(std::iter::from_fn(|| victim.replicator.poll_job()).count(), 1);
    assert_eq!(victim.fault(), None);
}

#[test]
fn a_peer_accuses_once() {
    let mut victim = Victim::new(0..100);
    let peaks = vec![leaf(b"peak")];
    let accusation = Accusation { shorter: head(1), longer: head(1), peaks, nodes: vec![] };
    let accuse = Message::Accuse { channel: CHANNEL, accusation: Box::new(accusation) };
    victim.tell(&accuse);
    assert!(matches!(victim.replicator.poll_job(), Some(Job::Accuse { .. })));
    assert_eq!((victim.replicator.poll_job(), victim.fault()), (None, None));
    victim.tell(&accuse);
    assert_eq!(victim.fault(), Some(Fault::Unexpected("second accusation")));
}

#[test]
fn a_length_that_moves_on_and_on_is_proven_once_at_a_time() {
    let mut victim = Victim::new(0..100);
    victim.replicator.handle_head(FEED, head(FLOOD + 1));
    victim.replicator.handle_have(FEED, 0..FLOOD + 1);
    let (held, lost) = (vec![], vec![]);
    victim.tell(&Message::Have { channel: CHANNEL, length: 1, held, lost, head: Some(head(1)) });
    let Some(Job::Compare { peer, feed, head }) = victim.replicator.poll_job() else {
        unreachable!("heads are compared")
    };
    let result = Ok(Comparison::Agree);
    victim.replicator.handle_done(NOW, Done::Compared { peer, feed, head, result });
    for length in 1..FLOOD {
        victim.tell(&have(length, vec![], vec![]));
        victim.drain();
    }
    assert!(matches!(victim.replicator.poll_job(), Some(Job::Prove { .. })));
    assert_eq!(victim.replicator.poll_job(), None);
}

impl Victim {
    /// Finds that the peer follows another history.
    fn estrange(&mut self) {
        let theirs = head(8);
        let (length, held, lost) = (theirs.head.length, vec![0..8], vec![]);
        self.tell(&Message::Have { channel: CHANNEL, length, held, lost, head: Some(theirs) });
        let Some(Job::Compare { peer, feed, head }) = self.replicator.poll_job() else {
            unreachable!("heads are compared")
        };
        let (peaks, nodes) = (vec![leaf(b"peak")], vec![]);
        let accusation = Accusation { shorter: head, longer: head, peaks, nodes };
        let result = Ok(Comparison::Contradict(Box::new(accusation)));
        self.replicator.handle_done(NOW, Done::Compared { peer, feed, head, result });
    }

    /// Returns the refusals that the peer gets next.
    fn refusals(&mut self) -> Vec<RequestId> {
        self.sent()
            .into_iter()
            .filter_map(|message| match message {
                Message::Missing { id, blocks, .. } => {
                    assert_eq!(blocks, [], "the whole request is refused");
                    Some(id)
                }
                Message::Block { .. } => unreachable!("it gets no block"),
                _ => None,
            })
            .collect()
    }
}

#[test]
fn an_estranged_peer_gets_nothing_whatever_it_does() {
    let mut victim = Victim::new(0..100);
    // A block is being read, and another waits for the stream, when its head is found out.
    victim.tell(&request(1, 100, Wanted::Blocks(vec![0..2])));
    let reads: Vec<_> = std::iter::from_fn(|| victim.replicator.poll_job()).collect();
    let [first, second] = <[Done; 2]>::try_from(reads.into_iter().map(read).collect::<Vec<_>>())
        .expect("both are read at once");
    victim.replicator.handle_done(NOW, first);
    victim.estrange();
    victim.replicator.handle_done(NOW, second);
    victim.tell(&request(2, 100, Wanted::Blocks(vec![0..1])));
    victim.tell(&request(3, 100, Wanted::Bytes(0..1)));
    assert_eq!(victim.replicator.poll_job(), None, "nothing is looked up");
    assert_eq!(victim.refusals().len(), 2);
    // Opening the feed anew does not help it.
    victim.tell(&Message::Close { channel: CHANNEL });
    victim.open();
    victim.tell(&have(8, vec![0..8], vec![]));
    victim.tell(&request(4, 100, Wanted::Blocks(vec![0..1])));
    victim.tell(&request(5, 100, Wanted::Bytes(0..1)));
    assert_eq!(victim.replicator.poll_job(), None, "nothing is looked up");
    assert_eq!(victim.refusals().len(), 2);
    assert_eq!(victim.fault(), None, "it may be the victim of its writer");
    assert_eq!(victim.replicator.availability(FEED, BlockIndex(200)), Availability::Unknown);
}

/// Does a read, of a block that begins with its number.
fn read(job: Job) -> Done {
    let Job::Read { peer, feed, request, priority, block, .. } = job else {
        unreachable!("nothing but reads was asked")
    };
    let mut bytes = vec![0; 32 << 10];
    bytes[..8].copy_from_slice(&block.0.to_le_bytes());
    let proof = BlockProof { block, leaf: leaf(&bytes), siblings: vec![] };
    Done::Read { peer, feed, request, priority, block, answer: Some((proof, bytes.into())) }
}

#[test]
fn answers_that_a_close_made_vain_hold_nothing_back() {
    let mut victim = Victim::new(0..100);
    victim.tell(&request(1, 100, Wanted::Blocks(vec![0..100])));
    let reads: Vec<_> = std::iter::from_fn(|| victim.replicator.poll_job()).collect();
    for job in reads {
        victim.replicator.handle_done(NOW, read(job));
    }
    // More answers are ready than may be under way by their size; the peer takes none.
    assert_eq!(victim.replicator.poll_job(), None);
    victim.tell(&Message::Close { channel: CHANNEL });
    victim.open();
    victim.tell(&request(2, 100, Wanted::Blocks(vec![0..100])));
    let reads = std::iter::from_fn(|| victim.replicator.poll_job()).count();
    assert_eq!(reads as u64, READ_BYTES_MAX / (32 << 10), "there is room again");
    assert_eq!(victim.fault(), None);
}

#[test]
fn whoever_asks_again_and_again_for_what_is_not_here_is_at_fault() {
    for (length, seen) in [(101, 0..100), (100, 0..99)] {
        let mut victim = Victim::new(seen);
        let (asked, fault) =
            tell_until_fault(&mut victim, |id| request(id, length, Wanted::Blocks(vec![99..100])));
        let blind = Fault::TooMany("requests for what is not here");
        assert_eq!((asked, fault), (u64::from(BLIND_MAX), blind));
    }
}

#[test]
fn refusals_that_nobody_takes_do_not_pile_up() {
    // One request for blocks that are not here makes a refusal each.
    let mut victim = Victim::new(0..0);
    let mut reads = 0;
    for id in 0..20 {
        victim.tell(&request(id, 100, Wanted::Blocks(vec![0..100])));
        while let Some(job) = victim.replicator.poll_job() {
            if let Job::Read { peer, feed, request, priority, block, .. } = job {
                reads += 1;
                let done = Done::Read { peer, feed, request, priority, block, answer: None };
                victim.replicator.handle_done(NOW, done);
            }
        }
    }
    assert!((QUESTIONS_MAX..QUESTIONS_MAX + READS_MAX).contains(&reads), "{reads}");
    victim.drain();
    assert!(victim.replicator.poll_job().is_some(), "once taken, it goes on");
}

#[test]
fn requests_have_so_many_runs_in_all() {
    let mut victim = Victim::new(0..0);
    victim.replicator.handle_head(FEED, head(1 << 20));
    let wanted: Vec<_> = (0..RUNS_MAX as u64).map(|run| 2 * run..2 * run + 1).collect();
    let mut asked = 0;
    let fault = loop {
        victim.tell(&request(asked, 1 << 20, Wanted::Blocks(wanted.clone())));
        match victim.fault() {
            Some(fault) => break fault,
            None => asked += 1,
        }
    };
    assert_eq!(fault, Fault::TooMany("runs in requests"));
    assert_eq!(asked as usize, REQUEST_RUNS_MAX / RUNS_MAX);
}

#[test]
fn a_request_that_is_cancelled_to_pieces_has_a_limit() {
    let mut victim = Victim::new(0..0);
    victim.replicator.handle_head(FEED, head(1 << 20));
    victim.tell(&request(1, 1 << 20, Wanted::Blocks(vec![0..1 << 20])));
    let fault = (0..).find_map(|piece| {
        let first = piece * 2 * RUNS_MAX as u64;
        let blocks = (0..RUNS_MAX as u64).map(|run| first + 2 * run..first + 2 * run + 1).collect();
        victim.tell(&Message::Cancel { channel: CHANNEL, id: RequestId(1), blocks });
        victim.fault().map(|fault| (piece as usize, fault))
    });
    let pieces = REQUEST_RUNS_MAX / RUNS_MAX;
    assert_eq!(fault, Some((pieces, Fault::TooMany("runs in requests"))));
}

impl Victim {
    /// Returns the request that goes to the peer next.
    fn ask(&mut self) -> RequestId {
        let mut requests = self.sent().into_iter().filter_map(|message| match message {
            Message::Request { request, .. } => Some(request.id),
            _ => None,
        });
        requests.next_back().expect("the peer is asked")
    }

    /// Wants the blocks 0 to 10 of a peer that holds all.
    fn want_ten(&mut self) {
        self.tell(&have(100, vec![0..100], vec![]));
        let target = Target::Blocks(vec![0..10]);
        let want = Want { target, priority: Priority(0), order: Order::Linear };
        self.replicator.want(FEED, want);
    }

    fn send(&mut self, id: RequestId, block: u64, bytes: Bytes) {
        let (block, siblings) = (BlockIndex(block), vec![]);
        self.tell_with(&Message::Block { channel: CHANNEL, id, block, siblings }, bytes);
    }

    /// Does the jobs that keep blocks, which are all at `offset` of the feed; returns how many.
    fn store(&mut self, at: u64) -> usize {
        let mut count = 0;
        while let Some(job) = self.replicator.poll_job() {
            let Job::Store { peer, feed, block, bytes, .. } = job else { continue };
            count += 1;
            let (len, result) = (bytes.len() as u64, Ok(at));
            self.replicator.handle_done(NOW, Done::Stored { peer, feed, block, len, result });
        }
        count
    }
}

#[test]
fn a_peer_that_was_frozen_twice_may_answer_everything_it_was_asked() {
    let mut victim = Victim::new(0..0);
    victim.want_ten();
    let mut asked = vec![victim.ask()];
    let mut now = NOW;
    for _ in 0..2 {
        // It stalls, is left alone, and is asked anew.
        for span in [STALL, STALL_PAUSE] {
            now = now + span;
            victim.replicator.handle_timeout(now);
        }
        asked.push(victim.ask());
    }
    let mut stored = 0;
    for request in asked {
        for block in 0..10 {
            victim.send(request, block, Bytes::from_static(b"block"));
            stored += victim.store(0);
        }
    }
    assert_eq!((victim.fault(), stored), (None, 10));
    victim.send(RequestId(0), 3, Bytes::from_static(b"block"));
    assert_eq!(victim.fault(), Some(Fault::Unexpected("block nobody asked for")));
}

#[test]
fn a_block_that_is_with_the_store_is_not_stored_twice() {
    let mut victim = Victim::new(0..0);
    victim.tell(&have(100, vec![0..100], vec![]));
    let want = Want { target: Target::Bytes(0..50), priority: Priority(1), order: Order::Linear };
    victim.replicator.want(FEED, want);
    let request = victim.ask();
    for _ in 0..1_000 {
        victim.send(request, 3, Bytes::from_static(b"block"));
    }
    assert_eq!((victim.store(20), victim.fault()), (1, None));
}

#[test]
fn blocks_far_from_the_bytes_that_were_asked_for_are_a_fault() {
    for (at, fault) in [
        (0, None),
        (1_010, None),
        (2_000, None),
        (2_001, Some(Fault::Unexpected("block nobody asked for"))),
        (900, Some(Fault::Unexpected("block nobody asked for"))),
    ] {
        let mut victim = Victim::new(0..0);
        victim.tell(&have(100, vec![0..100], vec![]));
        let target = Target::Bytes(1_000..2_000);
        let want = Want { target, priority: Priority(1), order: Order::Linear };
        victim.replicator.want(FEED, want);
        let request = victim.ask();
        let len = if at == 0 { 1_000 } else { 50 };
        victim.send(request, 3, Bytes::from(vec![7; len]));
        assert_eq!((victim.store(at), victim.fault()), (1, fault), "{at}");
    }
}

#[test]
fn small_blocks_use_up_the_credit_too() {
    let mut victim = Victim::new(0..0);
    victim.replicator.handle_head(FEED, head(1 << 20));
    victim.tell(&have(1 << 20, vec![0..1 << 20], vec![]));
    let want = Want { target: Target::Bytes(0..50), priority: Priority(1), order: Order::Linear };
    victim.replicator.want(FEED, want);
    let request = victim.ask();
    let fault = (0..1 << 20).find_map(|block| {
        victim.send(request, block, Bytes::new());
        victim.fault().map(|fault| (block, fault))
    });
    assert_eq!(fault, Some((CREDIT_START / BLOCK_COST, Fault::Credit)));
    assert_eq!(victim.store(0) as u64, CREDIT_START / BLOCK_COST);
}

#[test]
fn a_block_larger_than_the_credit_that_is_left_is_sent_and_taken() {
    // We send: the peer grants next to nothing.
    let mut victim = Victim::with_credit(0..100, 1);
    victim.tell(&request(1, 100, Wanted::Blocks(vec![0..2])));
    let reads: Vec<_> = std::iter::from_fn(|| victim.replicator.poll_job()).collect();
    for job in reads {
        victim.replicator.handle_done(NOW, read(job));
    }
    let blocks = |victim: &mut Victim| {
        let sent = victim.sent().into_iter();
        sent.filter(|message| matches!(message, Message::Block { .. })).count()
    };
    assert_eq!(blocks(&mut victim), 1);
    victim.tell(&Message::Credit { total: (32 << 10) + BLOCK_COST });
    assert_eq!(blocks(&mut victim), 0, "all credit is used");
    victim.tell(&Message::Credit { total: (32 << 10) + BLOCK_COST + 1 });
    assert_eq!(blocks(&mut victim), 1);

    // We take: the largest block is larger than the credit that is left.
    let mut victim = Victim::new(0..0);
    victim.want_ten();
    let request = victim.ask();
    victim.send(request, 0, Bytes::from(vec![7; CREDIT_START as usize - 1_000]));
    victim.send(request, 1, Bytes::from(vec![7; PAYLOAD_BYTES_MAX]));
    assert_eq!(victim.fault(), None);
    victim.send(request, 2, Bytes::from_static(b"more"));
    assert_eq!(victim.fault(), Some(Fault::Credit));
}

#[test]
fn feeds_are_opened_so_often_and_so_many() {
    let open = |number: u64| Message::Open {
        channel: Channel(u32::try_from(number).expect("numbers are small") + 100),
        nonce: [9; 16],
        tag: [0; 32],
    };
    let mut victim = Victim::new(0..0);
    let (opened, fault) = tell_until_fault(&mut victim, open);
    let most = CHANNELS_MAX as u64 - 1;
    assert_eq!((opened, fault), (most, Fault::TooMany("feeds")), "it takes no answer");

    let mut victim = Victim::new(0..0);
    let most = u64::from(OPENS_MAX) - 1;
    for number in 0..most {
        victim.tell(&open(number));
        victim.drain();
    }
    assert_eq!(victim.fault(), None);
    victim.tell(&open(most));
    assert_eq!(victim.fault(), Some(Fault::TooMany("feeds")));
}

#[test]
fn a_peer_far_behind_is_asked_at_lengths_that_we_remember() {
    let asked = |behind: u64| {
        let mut victim = Victim::new(0..0);
        let ours = 200 + PASSED_MAX as u64;
        (101..=ours).for_each(|length| victim.replicator.handle_head(FEED, head(length)));
        victim.tell(&have(ours - behind, vec![0..50], vec![]));
        let target = Target::Blocks(vec![0..10]);
        victim.replicator.want(FEED, Want { target, priority: Priority(0), order: Order::Linear });
        victim.sent().iter().any(|message| matches!(message, Message::Request { .. }))
    };
    let remembered = PASSED_MAX as u64;
    assert!(asked(0) && asked(remembered - 1));
    assert!(!asked(remembered), "the memory of a feed is bounded");
}
