//! A reader of a feed, and peers that hold all of it: what each is told, at times that the test chooses.

use std::time::Duration;

use bytes::Bytes;
use datnode_feed::{Bitfield, BlockIndex, Hash, Head, PublicKey, SecretKey, SignedHead};
use datnode_proto::capability::tag;
use datnode_proto::limits::CREDIT_START;
use datnode_proto::wire::{Channel, Hello, Message, Request, Runs, Wanted, decode, encode};
use datnode_proto::{
    Binding, Class, Done, Event, Failure, Fault, FeedId, Instant, Job, Limits, Order, PeerId,
    Priority, Replica, Replicator, RequestId, Target, Want, WantId,
};

pub(crate) const FEED: FeedId = FeedId(0);
pub(crate) const CHANNEL: Channel = Channel(7);
pub(crate) const LENGTH: u64 = 10_000;

pub(crate) fn key() -> PublicKey {
    SecretKey::from_bytes([1; 32]).public()
}

/// A reader of a feed, and peers that hold all of it.
pub(crate) struct Reader {
    pub(crate) replicator: Replicator,
    pub(crate) now: Instant,
}

impl Reader {
    pub(crate) fn new(peers: u64) -> Self {
        Self::limited(peers, Limits::default())
    }

    /// Does the same where it is known how small blocks are, so that a lease names many.
    pub(crate) fn measured(peers: u64) -> Self {
        let mut reader = Self::new(peers);
        let other = PeerId(peers);
        reader.connect(other);
        reader.holds(other, vec![LENGTH - 1..LENGTH]);
        (0..peers).for_each(|peer| reader.holds(PeerId(peer), vec![0..LENGTH - 1]));
        reader.want(vec![LENGTH - 1..LENGTH], 1);
        let request = reader.asks(other).remove(0).id;
        reader.send(other, request, LENGTH - 1, Ok(0));
        reader.replicator.handle_disconnected(other);
        while reader.replicator.poll_event().is_some() {}
        reader
    }

    pub(crate) fn limited(peers: u64, limits: Limits) -> Self {
        let mut replicator = Replicator::new([0; 32]);
        replicator.limit(Instant(1_000), limits);
        let root = Hash([0; 32]);
        let head = Head { fork: 0, length: LENGTH, byte_length: 1, root, ancestor: None };
        let head = Some(SignedHead { head, signature: [0; 64] });
        let (class, have) = (Class::Content, Bitfield::new());
        let replica = Replica { key: key(), class, head, have, accusation: None };
        replicator.add_feed(FEED, replica);
        let mut reader = Self { replicator, now: Instant(1_000) };
        (0..peers).map(PeerId).for_each(|peer| reader.connect(peer));
        assert_eq!(reader.fault(), None);
        reader
    }

    /// A peer comes that holds everything.
    pub(crate) fn connect(&mut self, peer: PeerId) {
        let binding = Binding { ours: b"us".into(), theirs: b"them".into() };
        self.replicator.handle_connected(self.now, peer, binding);
        let (version_min, version_max) = (1, 1);
        let (features, agent, credit) = (0, String::new(), CREDIT_START);
        let hello = Hello { version_min, version_max, features, agent, credit };
        self.tell(peer, &Message::Hello(hello));
        let tag = *tag(&key(), b"them", b"us", &[0; 16]).as_bytes();
        self.tell(peer, &Message::Open { channel: CHANNEL, nonce: [0; 16], tag });
        while self.replicator.poll_transmit(self.now, peer).is_some() {}
        self.tell(peer, &everything());
    }

    pub(crate) fn tell(&mut self, peer: PeerId, message: &Message) {
        self.replicator.handle_frame(self.now, peer, &encode(message), Bytes::new());
    }

    pub(crate) fn want(&mut self, blocks: Runs, priority: u8) {
        let (target, priority) = (Target::Blocks(blocks), Priority(priority));
        self.replicator.want(FEED, Want { priority, order: Order::Linear, ..Want::new(target) });
    }

    pub(crate) fn want_bytes(&mut self, byte: u64) {
        let (target, priority) = (Target::Bytes(byte..byte + 1), Priority(200));
        self.replicator.want(FEED, Want { priority, order: Order::Linear, ..Want::new(target) });
    }

    pub(crate) fn select(&mut self, want: Want) -> WantId {
        self.replicator.want(FEED, want)
    }

    /// Returns the blocks that a peer is asked for now with their requests, in the order in which it is to send them.
    pub(crate) fn owed(&mut self, peer: PeerId) -> Vec<(RequestId, u64)> {
        let blocks = |request: Request| match request.wanted {
            Wanted::Blocks(runs) => {
                runs.into_iter().flatten().map(move |block| (request.id, block))
            }
            other => panic!("{other:?} is asked for"),
        };
        self.asks(peer).into_iter().flat_map(blocks).collect()
    }

    /// Returns these blocks alone.
    pub(crate) fn blocks_asked(&mut self, peer: PeerId) -> Vec<u64> {
        self.owed(peer).into_iter().map(|(_, block)| block).collect()
    }

    /// Returns what is taken back from a peer now; no blocks are all of a request.
    pub(crate) fn cancels(&mut self, peer: PeerId) -> Vec<(RequestId, Runs)> {
        let messages = self.messages(peer).into_iter();
        let cancel = |message| match message {
            Message::Cancel { id, blocks, .. } => Some((id, blocks)),
            _ => None,
        };
        messages.filter_map(cancel).collect()
    }

    /// Peers say to hold other blocks than everything.
    pub(crate) fn holds(&mut self, peer: PeerId, held: Runs) {
        let (channel, length, head) = (CHANNEL, LENGTH, None);
        let (nothing, everything) = (Runs::new(), vec![0..LENGTH]);
        let lost = Message::Have { channel, length, held: nothing, lost: everything, head };
        self.tell(peer, &lost);
        let lost = Runs::new();
        self.tell(peer, &Message::Have { channel, length, held, lost, head });
    }

    /// Lets time pass; whatever is due in it happens.
    pub(crate) fn wait(&mut self, span: Duration) {
        let until = self.now + span;
        while let Some(at) = self.replicator.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.replicator.handle_timeout(self.now);
            let before = self.replicator.poll_timeout();
            assert!(
                before.is_none_or(|next| next > self.now),
                "a timer spins at {:?}: {before:?}",
                self.now
            );
        }
        self.now = until;
        self.replicator.handle_timeout(until);
    }

    /// Returns what a peer is told now.
    pub(crate) fn messages(&mut self, peer: PeerId) -> Vec<Message> {
        let frames = std::iter::from_fn(|| self.replicator.poll_transmit(self.now, peer));
        frames.map(|frame| decode(&frame.header, &frame.payload).unwrap()).collect()
    }

    /// Returns what a peer is asked now.
    pub(crate) fn asks(&mut self, peer: PeerId) -> Vec<Request> {
        let messages = self.messages(peer).into_iter();
        let request = |message| match message {
            Message::Request { request, .. } => Some(request),
            _ => None,
        };
        messages.filter_map(request).collect()
    }

    /// Tells whether something is taken back from a peer now.
    pub(crate) fn withdraws(&mut self, peer: PeerId) -> bool {
        let mut messages = self.messages(peer).into_iter();
        messages.any(|message| matches!(message, Message::Cancel { .. }))
    }

    /// Returns the peers that are asked for something now, in the order in which they are.
    pub(crate) fn asked(&mut self, peers: u64) -> Vec<u64> {
        (0..peers).filter(|peer| !self.asks(PeerId(*peer)).is_empty()).collect()
    }

    /// A peer sends a block; the store says what it is worth.
    pub(crate) fn send(
        &mut self,
        peer: PeerId,
        id: RequestId,
        block: u64,
        result: Result<u64, Failure>,
    ) {
        let (channel, siblings) = (CHANNEL, Vec::new());
        let message = Message::Block { channel, id, block: BlockIndex(block), siblings };
        let bytes = Bytes::from_static(&[1; 1_000]);
        self.replicator.handle_frame(self.now, peer, &encode(&message), bytes);
        while let Some(job) = self.replicator.poll_job() {
            let Job::Store { peer, feed, block, bytes, .. } = job else { continue };
            let len = bytes.len() as u64;
            let done = Done::Stored { peer, feed, block, len, result };
            self.replicator.handle_done(self.now, done);
        }
    }

    pub(crate) fn fault(&mut self) -> Option<(PeerId, Fault)> {
        std::iter::from_fn(|| self.replicator.poll_event()).find_map(|event| match event {
            Event::Fault { peer, fault } => Some((peer, fault)),
            _ => None,
        })
    }
}

pub(crate) fn everything() -> Message {
    let (held, lost, head) = (vec![0..LENGTH], Runs::new(), None);
    Message::Have { channel: CHANNEL, length: LENGTH, held, lost, head }
}
