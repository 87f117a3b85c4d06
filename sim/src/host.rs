//! A host: the replicator and store that a node has, with jobs done at once.

use bytes::Bytes;
use datnode_feed::{Accusation, FeedSlot, PublicKey, SecretKey, Store, StoreError};
use datnode_proto::{
    Class, Contact, Event, FeedId, Frame, Instant, Order, PeerId, Priority, Replica, Replicator,
    Target, Want, WantId, execute,
};

use crate::disk::{Disk, State};
use crate::oracle::{Said, SaidOfFeed};
use crate::{HostId, Random};

/// The one feed of these worlds.
const FEED: FeedId = FeedId(0);

/// Turns what an honest host says into what a hostile one says.
pub type Hand = Box<dyn FnMut(Frame) -> Vec<Frame>>;

/// A host of a world.
pub struct Host {
    /// Who it is.
    pub id: HostId,
    /// The state machine under test.
    pub replicator: Replicator,
    /// Its store.
    pub store: Store<Disk>,
    /// The disk under the store.
    pub disk: Disk,
    /// What it counted on when it last committed.
    pub said: Said,
    /// Which blocks arrived, in order.
    pub arrived: Vec<u64>,
    /// How often it found a peer breaking the protocol.
    pub faults: Vec<PeerId>,
    /// Wants that are done.
    pub done: Vec<WantId>,
    /// Whom peers named.
    pub named: Vec<Contact>,
    /// Damages one in so many blocks that it sends.
    pub lies: Option<(u64, Random)>,
    /// What it says instead of each frame.
    pub hand: Option<Hand>,
    pub(crate) woken: Option<Instant>,
    key: PublicKey,
    slot: FeedSlot,
    /// What the feed is for: those of changes are what peers name each other for.
    class: Class,
    faulted: Vec<PeerId>,
    random: Random,
}

impl Host {
    pub(crate) fn new(id: HostId, seed: u64, secret: &SecretKey) -> Self {
        let (disk, key, mut random) = (Disk::new(), secret.public(), Random::new(seed));
        let mut store = Store::open(disk.clone()).expect("this disk does not fail yet");
        let slot = store.add_feed(key).expect("this disk does not fail yet");
        let class = Class::Content;
        let replicator = replicator(&store, slot, (key, class), &mut random);
        let (arrived, faults, done, named, faulted) = Default::default();
        let said = Said::new();
        Self {
            id,
            replicator,
            store,
            disk,
            said,
            arrived,
            faults,
            done,
            named,
            lies: None,
            hand: None,
            woken: None,
            key,
            slot,
            class,
            faulted,
            random,
        }
    }

    /// Has it tell peers of each other, as a node of a drive does. Nobody may be connected yet.
    pub fn exchange_contacts(&mut self) {
        self.class = Class::Changes;
        self.replicator =
            replicator(&self.store, self.slot, (self.key, self.class), &mut self.random);
        self.replicator.exchange_contacts();
    }

    /// Starts again from what a crash left.
    pub(crate) fn restart(&mut self, state: State) -> Result<(), StoreError> {
        self.disk = Disk::of(state);
        self.store = Store::open(self.disk.clone())?;
        self.slot = self.store.add_feed(self.key)?;
        self.replicator =
            replicator(&self.store, self.slot, (self.key, self.class), &mut self.random);
        self.woken = None;
        self.done.clear();
        self.faulted.clear();
        Ok(())
    }

    /// Tells whether its power went off in the middle of something.
    pub fn is_off(&self) -> bool {
        self.disk.failed() > 0
    }

    /// Appends blocks of random sizes, signs and commits, as a writer does; returns the blocks.
    ///
    /// If the power goes off on the way, nobody is told.
    pub fn append(&mut self, secret: &SecretKey, count: u64, random: &mut Random) -> Vec<Vec<u8>> {
        let blocks: Vec<Vec<u8>> = (0..count).map(|_| block(random)).collect();
        self.append_these(secret, &blocks);
        blocks
    }

    /// Does the same with blocks that are given.
    pub fn append_these(&mut self, secret: &SecretKey, blocks: &[Vec<u8>]) {
        let first = self.store.length(self.slot);
        if self.try_append(secret, blocks).is_ok() {
            self.counts_on();
            let head = self.store.head(self.slot).expect("it was signed above");
            self.replicator.handle_head(FEED, *head);
            self.replicator.handle_have(FEED, first..first + blocks.len() as u64);
        }
    }

    fn try_append(&mut self, secret: &SecretKey, blocks: &[Vec<u8>]) -> Result<(), StoreError> {
        for block in blocks {
            self.store.append(self.slot, block)?;
        }
        self.store.sign(self.slot, secret)?;
        self.store.commit()
    }

    /// Commits; all that shows from then on has to be there after any crash.
    fn commit(&mut self) {
        if self.store.commit().is_ok() {
            self.counts_on();
        }
    }

    fn counts_on(&mut self) {
        let held = self.store.have(self.slot).iter_ones(0..u64::MAX).collect();
        let head = self.store.head(self.slot).copied();
        self.said.insert(self.key, SaidOfFeed { head, held, ..SaidOfFeed::default() });
    }

    /// Wants blocks.
    pub fn want(
        &mut self,
        blocks: Vec<std::ops::Range<u64>>,
        priority: u8,
        order: Order,
    ) -> WantId {
        let want =
            Want { priority: Priority(priority), order, ..Want::new(Target::Blocks(blocks)) };
        self.replicator.want(FEED, want)
    }

    /// Wants bytes.
    pub fn want_bytes(&mut self, bytes: std::ops::Range<u64>) -> WantId {
        let want =
            Want { priority: Priority(9), order: Order::Linear, ..Want::new(Target::Bytes(bytes)) };
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
        read.expect("this disk does not fail, or the host is off")
    }

    /// Does all jobs, and takes the news; tells whether there was a job.
    pub(crate) fn work(&mut self, now: Instant) -> bool {
        let mut worked = false;
        while let Some(job) = self.replicator.poll_job() {
            worked = true;
            let done = execute(&mut self.store, self.slot, job);
            self.replicator.handle_done(now, done);
        }
        // In groups, as a node does.
        if worked && self.random.below(4) == 0 {
            self.commit();
        }
        while let Some(event) = self.replicator.poll_event() {
            match event {
                Event::Stored { block, .. } => self.arrived.push(block.0),
                Event::WantDone { want } => self.done.push(want),
                Event::Contacts { contacts, .. } => self.named.extend(contacts),
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

    /// Returns what it says when an honest host would say this.
    pub(crate) fn say(&mut self, frame: Frame) -> Vec<Frame> {
        match &mut self.hand {
            Some(hand) => hand(frame),
            None => vec![frame],
        }
    }
}

fn block(random: &mut Random) -> Vec<u8> {
    let len = random.below(3_000);
    (0..len).map(|_| random.below(256) as u8).collect()
}

fn replicator(
    store: &Store<Disk>,
    slot: FeedSlot,
    (key, class): (PublicKey, Class),
    random: &mut Random,
) -> Replicator {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&random.below(u64::MAX).to_le_bytes());
    let mut replicator = Replicator::new(seed);
    let replica = Replica {
        key,
        class,
        head: store.head(slot).copied(),
        have: store.have(slot).clone(),
        accusation: store.accusation(slot).cloned().map(Box::new),
    };
    replicator.add_feed(FEED, replica);
    replicator
}
