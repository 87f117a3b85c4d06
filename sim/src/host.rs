//! A host: the replicator and store that a node has, with jobs done at once.

use bytes::Bytes;
use datnode_feed::{Accusation, FeedSlot, MemoryStorage, SecretKey, Store};
use datnode_proto::{
    Class, Event, FeedId, Frame, Instant, Order, PeerId, Priority, Replica, Replicator, Target,
    Want, WantId, execute,
};

use crate::{HostId, Random};

/// The one feed of these worlds.
const FEED: FeedId = FeedId(0);

/// A host of a world.
pub struct Host {
    /// Who it is.
    pub id: HostId,
    /// The state machine under test.
    pub replicator: Replicator,
    /// Its store.
    pub store: Store<MemoryStorage>,
    /// Which blocks arrived, in order.
    pub arrived: Vec<u64>,
    /// How often it found a peer breaking the protocol.
    pub faults: Vec<PeerId>,
    /// Wants that are done.
    pub done: Vec<WantId>,
    /// Damages one in so many blocks that it sends.
    pub lies: Option<(u64, Random)>,
    pub(crate) woken: Option<Instant>,
    slot: FeedSlot,
    faulted: Vec<PeerId>,
}

impl Host {
    pub(crate) fn new(id: HostId, seed: u64, secret: &SecretKey) -> Self {
        let mut store = Store::open(MemoryStorage::new()).expect("memory does not fail");
        let slot = store.add_feed(secret.public()).expect("memory does not fail");
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let mut replicator = Replicator::new(bytes);
        replicator.add_feed(FEED, replica(&store, slot));
        let (arrived, faults, done, faulted) = Default::default();
        Self {
            id,
            replicator,
            store,
            arrived,
            faults,
            done,
            lies: None,
            woken: None,
            slot,
            faulted,
        }
    }

    /// Appends blocks of random sizes, signs and commits, as a writer does.
    pub fn append(&mut self, secret: &SecretKey, count: u64, random: &mut Random) {
        let first = self.store.length(self.slot);
        for _ in 0..count {
            let len = random.below(3_000);
            let block: Vec<u8> = (0..len).map(|_| random.below(256) as u8).collect();
            self.store.append(self.slot, &block).expect("memory does not fail");
        }
        self.store.sign(self.slot, secret).expect("the key is right");
        self.store.commit().expect("memory does not fail");
        let head = self.store.head(self.slot).expect("it was signed above");
        self.replicator.handle_head(FEED, *head);
        self.replicator.handle_have(FEED, first..first + count);
    }

    /// Wants blocks.
    pub fn want(
        &mut self,
        blocks: Vec<std::ops::Range<u64>>,
        priority: u8,
        order: Order,
    ) -> WantId {
        let want = Want { target: Target::Blocks(blocks), priority: Priority(priority), order };
        self.replicator.want(FEED, want)
    }

    /// Wants bytes.
    pub fn want_bytes(&mut self, bytes: std::ops::Range<u64>) -> WantId {
        let want =
            Want { target: Target::Bytes(bytes), priority: Priority(9), order: Order::Linear };
        self.replicator.want(FEED, want)
    }

    /// Returns the length of the head it knows.
    pub fn length(&self) -> u64 {
        self.store.length(self.slot)
    }

    /// Returns what it knows of a writer that signed two histories.
    pub fn accusation(&self) -> Option<&Accusation> {
        self.store.accusation(self.slot)
    }

    /// Returns the bytes of a block, if it is here.
    pub fn block(&mut self, block: u64) -> Option<Vec<u8>> {
        let read = self.store.read(self.slot, datnode_feed::BlockIndex(block));
        read.expect("memory does not fail")
    }

    /// Does all jobs, and takes the news; tells whether there was a job.
    pub(crate) fn work(&mut self, now: Instant) -> bool {
        let mut worked = false;
        while let Some(job) = self.replicator.poll_job() {
            worked = true;
            let done = execute(&mut self.store, self.slot, job);
            self.replicator.handle_done(now, done);
        }
        while let Some(event) = self.replicator.poll_event() {
            match event {
                Event::Stored { block, .. } => self.arrived.push(block.0),
                Event::WantDone { want } => self.done.push(want),
                Event::Fault { peer, .. } => {
                    self.faults.push(peer);
                    self.faulted.push(peer);
                }
                _ => {}
            }
        }
        worked
    }

    pub(crate) fn take_faulted(&mut self) -> Vec<PeerId> {
        std::mem::take(&mut self.faulted)
    }

    /// Returns the next frame for a peer; a liar damages some.
    pub(crate) fn next_frame(&mut self, now: Instant, peer: PeerId) -> Option<Frame> {
        let mut frame = self.replicator.poll_transmit(now, peer)?;
        if let Some((one_in, random)) = &mut self.lies
            && !frame.payload.is_empty()
            && random.below(*one_in) == 0
        {
            let mut bytes = frame.payload.to_vec();
            let at = random.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << random.below(8);
            frame.payload = Bytes::from(bytes);
        }
        Some(frame)
    }
}

fn replica(store: &Store<MemoryStorage>, slot: FeedSlot) -> Replica {
    let (_, key) = store.feeds().next().expect("a host has a feed");
    Replica {
        key,
        class: Class::Content,
        head: store.head(slot).copied(),
        have: store.have(slot).clone(),
        accusation: store.accusation(slot).cloned().map(Box::new),
    }
}
