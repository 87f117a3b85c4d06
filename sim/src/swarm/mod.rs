//! Swarms: many hosts with the real replicator, over lines that their connections share, with stores that cost nothing.
//!
//! These are for figures: who gets how much, and when. Blocks are neither kept nor verified, and proofs prove nothing; that is
//! what [`World`](crate::World) is for. As there, everything follows from a seed, and the headers of all frames that arrive go
//! into a hash, so that two runs can be compared.
//! Elsewhere: what happens (`run`), a host (`host`), its store (`light`), lines and send buffers (`line`), what passed (`log`).

mod host;
mod light;
mod line;
pub mod log;
mod run;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use datnode_proto::{Binding, Instant, PeerId, Want, WantId};

pub use host::Host;
pub use light::{Content, Light};
pub use line::Line;
use line::{Down, End, Up};
use log::Log;

use crate::{HostId, Random};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A frame left a host.
    Sent(HostId),
    /// The last byte of a frame is at the line of its host.
    Arrive(PeerId),
    /// The line has taken it.
    Land(PeerId),
    /// A peer that said more than its share has its turn.
    Turn(PeerId),
    /// A timer of a host.
    Wake(HostId),
    /// The line of a host pauses no longer.
    Resume(HostId),
}

/// Hosts, and the connections between them.
pub struct Swarm {
    /// The virtual time.
    pub now: Instant,
    /// How many frames were taken.
    pub frames: u64,
    /// How many events there were.
    pub events: u64,
    /// What passed, while that is noted.
    pub log: Option<Log>,
    random: Random,
    hosts: Vec<Host>,
    ups: Vec<Up>,
    downs: Vec<Down>,
    /// The ends of connections by their names; the two of one stand beside each other.
    ends: Vec<Option<End>>,
    queue: BinaryHeap<Reverse<(Instant, u64, Event)>>,
    sequence: u64,
    trace: blake3::Hasher,
}

impl Swarm {
    /// Makes an empty swarm.
    pub fn new(seed: u64) -> Self {
        let (hosts, ups, downs, ends, queue) = Default::default();
        let (now, frames, events, log, sequence) = Default::default();
        let (random, trace) = (Random::new(seed), blake3::Hasher::new());
        Self { now, frames, events, log, random, hosts, ups, downs, ends, queue, sequence, trace }
    }

    /// Adds a host.
    pub fn host(&mut self, line: Line, store: Light) -> HostId {
        self.hosts.push(Host::new(&mut self.random, store));
        self.ups.push(Up::new(line.up));
        self.downs.push(Down::new(line.down));
        HostId(self.hosts.len() - 1)
    }

    /// Returns a host.
    pub fn at(&self, id: HostId) -> &Host {
        &self.hosts[id.0]
    }

    /// Returns all hosts.
    pub fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter()
    }

    /// Connects two hosts; returns the end of each.
    pub fn connect(&mut self, a: HostId, b: HostId, latency: Duration) -> (PeerId, PeerId) {
        let at_a = PeerId(self.ends.len() as u64);
        let name = |host: HostId| host.0.to_le_bytes().to_vec();
        for (end, host, other) in [(at_a, a, b), (other(at_a), b, a)] {
            self.ends.push(Some(End::new(host, latency)));
            let binding = Binding { ours: name(host), theirs: name(other) };
            let host = &mut self.hosts[host.0];
            host.replicator.handle_connected(self.now, end, binding);
            host.peers.insert(end);
            host.due.insert(end);
        }
        self.settle(a);
        self.settle(b);
        (at_a, other(at_a))
    }

    /// Cuts a connection: what is on the way is lost, and both ends notice.
    pub fn cut(&mut self, peer: PeerId) {
        for peer in [peer, other(peer)] {
            let Some(end) = self.ends[peer.0 as usize].take() else { return };
            self.ups[end.host.0].forget(peer);
            let host = &mut self.hosts[end.host.0];
            host.peers.remove(&peer);
            host.replicator.handle_disconnected(peer);
            host.all_due();
            self.settle(end.host);
        }
    }

    /// Cuts all connections of a host.
    pub fn leave(&mut self, id: HostId) {
        for peer in self.at(id).peers.clone() {
            self.cut(peer);
        }
    }

    /// Wants something at a host.
    pub fn want(&mut self, id: HostId, want: Want) -> WantId {
        let want = self.hosts[id.0].want(want);
        self.settle(id);
        want
    }

    /// Wants it no longer.
    pub fn unwant(&mut self, id: HostId, want: WantId) {
        let host = &mut self.hosts[id.0];
        host.replicator.unwant(want);
        host.all_due();
        self.settle(id);
    }

    /// Lets a host begin to send nothing until then.
    pub fn pause(&mut self, id: HostId, until: Instant) {
        self.ups[id.0].pauses_until = until;
        self.push(until, Event::Resume(id));
    }

    /// Returns the hash over everything that arrived.
    pub fn trace(&self) -> blake3::Hash {
        self.trace.finalize()
    }
}

/// Returns the other end of a connection.
const fn other(peer: PeerId) -> PeerId {
    PeerId(peer.0 ^ 1)
}
