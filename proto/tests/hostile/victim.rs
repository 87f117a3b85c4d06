//! A replicator, and a peer that says what a test wants it to.

use bytes::Bytes;
use datnode_feed::{
    Accusation, Bitfield, BlockIndex, BlockProof, Comparison, Hash, Head, PublicKey, SecretKey,
    SignedHead, leaf,
};
use datnode_proto::capability::tag;
use datnode_proto::limits::CREDIT_START;
use datnode_proto::wire::{Channel, Hello, Message, Request, Runs, Wanted, decode, encode};
use datnode_proto::{
    Binding, Class, Done, Event, Fault, FeedId, Instant, Job, Order, PeerId, Priority, Replica,
    Replicator, RequestId, Target, Want,
};

pub(crate) const NOW: Instant = Instant(1_000);
pub(crate) const PEER: PeerId = PeerId(1);
pub(crate) const FEED: FeedId = FeedId(0);
pub(crate) const CHANNEL: Channel = Channel(7);

pub(crate) fn key() -> PublicKey {
    SecretKey::from_bytes([1; 32]).public()
}

/// A head that nobody looks at here.
pub(crate) fn head(length: u64) -> SignedHead {
    let head = Head { fork: 0, length, byte_length: 1, root: Hash([0; 32]), ancestor: None };
    SignedHead { head, signature: [0; 64] }
}

pub(crate) fn have(length: u64, held: Runs, lost: Runs) -> Message {
    Message::Have { channel: CHANNEL, length, held, lost, head: None }
}

/// A replicator of a feed of 100 blocks, and a peer that knows its key.
pub(crate) struct Victim {
    pub(crate) replicator: Replicator,
}

impl Victim {
    /// We hold `have` of the feed; the peer opened it.
    pub(crate) fn new(have: std::ops::Range<u64>) -> Self {
        Self::with_credit(have, CREDIT_START)
    }

    /// The peer grants so much at first.
    pub(crate) fn with_credit(have: std::ops::Range<u64>, credit: u64) -> Self {
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
    pub(crate) fn open(&mut self) {
        let tag = *tag(&key(), b"them", b"us", &[0; 16]).as_bytes();
        self.tell(&Message::Open { channel: CHANNEL, nonce: [0; 16], tag });
    }

    /// Returns all messages that wait for the peer.
    pub(crate) fn sent(&mut self) -> Vec<Message> {
        let frames = std::iter::from_fn(|| self.replicator.poll_transmit(NOW, PEER));
        let decoded = frames.map(|frame| decode(&frame.header, &frame.payload));
        decoded.map(|message| message.expect("we send what can be read")).collect()
    }

    pub(crate) fn tell(&mut self, message: &Message) {
        self.tell_with(message, Bytes::new());
    }

    pub(crate) fn tell_with(&mut self, message: &Message, payload: Bytes) {
        self.replicator.handle_frame(NOW, PEER, &encode(message), payload);
    }

    /// Takes all frames that wait for the peer.
    pub(crate) fn drain(&mut self) {
        while self.replicator.poll_transmit(NOW, PEER).is_some() {}
    }

    pub(crate) fn fault(&mut self) -> Option<Fault> {
        std::iter::from_fn(|| self.replicator.poll_event()).find_map(|event| match event {
            Event::Fault { fault, .. } => Some(fault),
            _ => None,
        })
    }
}

/// Tells a message until it is a fault, and returns how often that went well.
pub(crate) fn tell_until_fault(
    victim: &mut Victim,
    mut message: impl FnMut(u64) -> Message,
) -> (u64, Fault) {
    for count in 0.. {
        victim.tell(&message(count));
        while victim.replicator.poll_job().is_some() {}
        if let Some(fault) = victim.fault() {
            return (count, fault);
        }
    }
    unreachable!("numbers do not end")
}

pub(crate) fn request(id: u64, length: u64, wanted: Wanted) -> Message {
    let request = Request::new(RequestId(id), length, Priority(0), wanted);
    Message::Request { channel: CHANNEL, request }
}

/// Heads that follow each other, each longer than the one before.
pub(crate) fn heads() -> impl Iterator<Item = SignedHead> {
    (1..=FLOOD).map(head)
}

/// How many messages of a kind make a flood.
pub(crate) const FLOOD: u64 = 2_000;

impl Victim {
    /// Finds that the peer follows another history.
    pub(crate) fn estrange(&mut self) {
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
    pub(crate) fn refusals(&mut self) -> Vec<RequestId> {
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

/// Does a read, of a block that begins with its number.
pub(crate) fn read(job: Job) -> Done {
    let Job::Read { peer, feed, request, urgency, block, .. } = job else {
        unreachable!("nothing but reads was asked")
    };
    let mut bytes = vec![0; 32 << 10];
    bytes[..8].copy_from_slice(&block.0.to_le_bytes());
    let proof = BlockProof { block, leaf: leaf(&bytes), siblings: vec![] };
    Done::Read { peer, feed, request, urgency, block, answer: Some((proof, bytes.into())) }
}

impl Victim {
    /// Returns the last request that goes to the peer next, if any does.
    pub(crate) fn next_request(&mut self) -> Option<RequestId> {
        let mut requests = self.sent().into_iter().filter_map(|message| match message {
            Message::Request { request, .. } => Some(request.id),
            _ => None,
        });
        requests.next_back()
    }

    pub(crate) fn ask(&mut self) -> RequestId {
        self.next_request().expect("the peer is asked")
    }

    /// Wants the blocks 0 to 10 of a peer that holds all.
    pub(crate) fn want_ten(&mut self) {
        self.tell(&have(100, vec![0..100], vec![]));
        let target = Target::Blocks(vec![0..10]);
        let want = Want { priority: Priority(0), order: Order::Linear, ..Want::new(target) };
        self.replicator.want(FEED, want);
    }

    pub(crate) fn send(&mut self, id: RequestId, block: u64, bytes: Bytes) {
        let (block, siblings) = (BlockIndex(block), vec![]);
        self.tell_with(&Message::Block { channel: CHANNEL, id, block, siblings }, bytes);
    }

    /// Does the jobs that keep blocks, which are all at `offset` of the feed; returns how many.
    pub(crate) fn store(&mut self, at: u64) -> usize {
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

impl Victim {
    /// Returns how many blocks the peer is asked for next.
    pub(crate) fn asked_blocks(&mut self) -> u64 {
        let runs = self.sent().into_iter().filter_map(|message| match message {
            Message::Request { request: Request { wanted: Wanted::Blocks(runs), .. }, .. } => {
                Some(runs)
            }
            _ => None,
        });
        runs.flatten().map(|run| run.end - run.start).sum()
    }

    /// Wants all of a feed of a million blocks, all of which the peer holds.
    pub(crate) fn want_a_million(&mut self, priority: u8) {
        self.replicator.handle_head(FEED, head(1 << 20));
        self.tell(&have(1 << 20, vec![0..1 << 20], vec![]));
        let target = Target::Blocks(vec![0..1 << 20]);
        let want = Want { priority: Priority(priority), order: Order::Linear, ..Want::new(target) };
        self.replicator.want(FEED, want);
    }
}
