//! A host of a swarm: the real replicator over a light store, and what is counted of it.

use std::collections::{BTreeMap, BTreeSet};

use datnode_proto::{Done, Event, Fault, FeedId, Frame, Instant, PeerId, Replicator, Want, WantId};

use super::light::Light;
use crate::Random;

/// The one feed of these swarms.
pub(super) const FEED: FeedId = FeedId(0);

/// A host of a swarm.
pub struct Host {
    /// The state machine under test.
    pub replicator: Replicator,
    /// What it has.
    pub store: Light,
    /// Which blocks were stored, in order, and when.
    pub stored: Vec<(Instant, u64)>,
    /// When wants were done.
    pub done: BTreeMap<WantId, Instant>,
    /// How many blocks came, also those that were here already.
    pub came: u64,
    /// How many blocks left it, and how many bytes they had.
    pub left: u64,
    /// The bytes of these blocks.
    pub left_bytes: u64,
    /// Who broke the protocol.
    pub faults: Vec<(PeerId, Fault)>,
    /// Its ends of connections.
    pub(super) peers: BTreeSet<PeerId>,
    /// Who is to be asked for a frame.
    pub(super) due: BTreeSet<PeerId>,
    pub(super) faulted: Vec<PeerId>,
    pub(super) woken: Option<Instant>,
}

impl Host {
    pub(super) fn new(random: &mut Random, store: Light) -> Self {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&random.below(u64::MAX).to_le_bytes());
        let mut replicator = Replicator::new(seed);
        replicator.add_feed(FEED, store.replica());
        let (stored, done, faults, peers, due, faulted) = Default::default();
        let (came, left, left_bytes, woken) = Default::default();
        Self {
            replicator,
            store,
            stored,
            done,
            came,
            left,
            left_bytes,
            faults,
            peers,
            due,
            faulted,
            woken,
        }
    }

    /// Returns how many blocks came that were here already.
    pub fn wasted(&self) -> u64 {
        self.came - self.stored.len() as u64
    }

    /// Wants something; it is asked for when the host is settled.
    pub(super) fn want(&mut self, want: Want) -> WantId {
        self.all_due();
        self.replicator.want(FEED, want)
    }

    /// Notes that anybody may have something to say.
    pub(super) fn all_due(&mut self) {
        self.due.clone_from(&self.peers);
    }

    /// Does all jobs, and takes the news.
    pub(super) fn work(&mut self, now: Instant) {
        while let Some(job) = self.replicator.poll_job() {
            let done = self.store.execute(job);
            match &done {
                // What was read is for one peer.
                Done::Read { peer, answer: Some(_), .. } | Done::Proved { peer, .. } => {
                    self.due.insert(*peer);
                }
                _ => self.all_due(),
            }
            self.replicator.handle_done(now, done);
        }
        while let Some(event) = self.replicator.poll_event() {
            match event {
                Event::Stored { block, .. } => self.stored.push((now, block.0)),
                Event::WantDone { want } => drop(self.done.insert(want, now)),
                Event::Fault { peer, fault } => {
                    self.faults.push((peer, fault));
                    self.faulted.push(peer);
                }
                _ => {}
            }
        }
    }

    /// Counts a frame that came.
    pub(super) fn count_in(&mut self, frame: &Frame) {
        self.came += u64::from(!frame.payload.is_empty());
    }

    /// Counts a frame that left.
    pub(super) fn count_out(&mut self, frame: &Frame) {
        self.left += u64::from(!frame.payload.is_empty());
        self.left_bytes += frame.payload.len() as u64;
    }
}
