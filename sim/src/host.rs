//! A host: the replicator and store that a node has, with jobs done at once.

use bytes::Bytes;
use datnode_feed::{
    Accusation, BlockProof, Comparison, FeedSlot, MemoryStorage, SecretKey, Seek, Storage, Store,
    VerifyError, leaf,
};
use datnode_proto::{
    Class, Done, Event, Failure, FeedId, Frame, Instant, Job, Order, PeerId, Priority, Replica,
    Replicator, Target, Want, WantId,
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
            let done = self.execute(job);
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

    /// Does what a node's store thread does with a job.
    fn execute(&mut self, job: Job) -> Done {
        let (store, slot) = (&mut self.store, self.slot);
        match job {
            Job::Read { peer, feed, request, priority, block, levels } => {
                let proof = store.prove(slot, block, levels).expect("memory does not fail");
                let bytes = store.read(slot, block).expect("memory does not fail");
                let answer = proof.zip(bytes.map(Bytes::from));
                Done::Read { peer, feed, request, priority, block, answer }
            }
            Job::Locate { peer, feed, request, priority, length, bytes } => {
                let blocks = match (store.seek(slot, bytes.start), store.seek(slot, bytes.end - 1))
                {
                    (Ok(Seek::Block { block: a, .. }), Ok(Seek::Block { block: b, .. })) => {
                        Some(a.0..b.0 + 1)
                    }
                    _ => None,
                };
                Done::Located { peer, feed, request, priority, length, blocks }
            }
            Job::Prove { peer, feed, from } => Done::Proved {
                peer,
                feed,
                proof: store.prove_upgrade(slot, from).expect("memory does not fail"),
            },
            Job::Upgrade { peer, feed, proof } => {
                let result = store.upgrade(slot, &proof).map_err(|error| blame(&error));
                let head = store.head(slot).copied().ok_or(Failure::Ours);
                Done::Upgraded { peer, feed, result: result.and(head) }
            }
            Job::Compare { peer, feed, head } => {
                let result = store.compare(slot, &head).map_err(|error| blame(&error));
                if let Ok(Comparison::Contradict(accusation)) = &result {
                    store.accuse(slot, accusation).expect("it was made from what is verified");
                }
                Done::Compared { peer, feed, head, result }
            }
            Job::Accuse { peer, feed, accusation } => {
                let kept = store.accuse(slot, &accusation).map_err(|error| blame(&error));
                Done::Accused { peer, feed, result: kept.map(|_| accusation) }
            }
            Job::Store { peer, feed, block, siblings, bytes } => {
                let len = bytes.len() as u64;
                let proof = BlockProof { block, leaf: leaf(&bytes), siblings };
                let result = keep(store, slot, &proof, &bytes).map_err(|error| blame(&error));
                Done::Stored { peer, feed, block, len, result }
            }
        }
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

fn keep<S: Storage>(
    store: &mut Store<S>,
    slot: FeedSlot,
    proof: &BlockProof,
    bytes: &[u8],
) -> Result<u64, VerifyError> {
    let offset = store.accept(slot, proof, None)?;
    store.keep(slot, proof.block, bytes)?;
    Ok(offset)
}

fn blame(error: &VerifyError) -> Failure {
    if error.is_peers_fault() { Failure::Peer } else { Failure::Ours }
}
