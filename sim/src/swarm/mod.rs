//! Swarms: many hosts with the real replicator, over lines that their connections share, with stores that cost nothing.
//!
//! These are for figures: who gets how much, and when. Blocks are neither kept nor verified, and proofs prove nothing; that is
//! what [`World`](crate::World) is for. As there, everything follows from a seed, and the headers of all frames that arrive go
//! into a hash, so that two runs can be compared.
//! Elsewhere: a host (`host`), its store (`light`), lines and send buffers (`line`), what passed (`log`).

mod host;
mod light;
mod line;
pub mod log;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use datnode_proto::{Binding, Concern, Frame, Instant, PeerId, Want, WantId};

pub use host::Host;
pub use light::{Content, Light};
pub use line::Line;
use line::{Down, End, Up};
use log::{Log, Way};

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

    /// Runs until nothing happens any more, or `until`; then it is that time.
    pub fn run(&mut self, until: Instant) {
        while self.step(until) {}
        self.now = self.now.max(until);
    }

    /// Lets one thing happen; tells whether there was one before `until`.
    pub fn step(&mut self, until: Instant) -> bool {
        let Some(Reverse((at, _, event))) = self.queue.peek().copied() else { return false };
        if at > until {
            return false;
        }
        self.queue.pop();
        self.now = at;
        self.events += 1;
        match event {
            Event::Sent(host) => self.sent(host),
            Event::Arrive(peer) => self.arrive(peer),
            Event::Land(peer) => self.land(peer),
            Event::Turn(peer) => self.take_landed(peer),
            Event::Wake(host) => self.wake(host),
            Event::Resume(host) => self.send_next(host),
        }
        true
    }

    /// Returns the hash over everything that arrived.
    pub fn trace(&self) -> blake3::Hash {
        self.trace.finalize()
    }

    fn end(&mut self, peer: PeerId) -> Option<&mut End> {
        self.ends[peer.0 as usize].as_mut()
    }

    /// A frame left: the next one may.
    fn sent(&mut self, id: HostId) {
        let Some((peer, took)) = self.ups[id.0].sending.take() else { return };
        let up = &mut self.ups[id.0];
        // It may have been cut meanwhile.
        let Some(end) = self.ends[peer.0 as usize].as_mut() else { return self.send_next(id) };
        let was_full = !end.has_room(up);
        if let Some(frame) = end.pop(up, peer) {
            let at = self.now + end.latency;
            self.hosts[id.0].count_out(&frame);
            if let Some(end) = self.end(other(peer)) {
                end.await_frame(frame, took);
            }
            self.push(at, Event::Arrive(other(peer)));
        }
        // Where there was room already, there was nothing to say.
        if was_full {
            self.hosts[id.0].due.insert(peer);
            self.settle(id);
        } else {
            self.send_next(id);
        }
    }

    fn arrive(&mut self, peer: PeerId) {
        let Some(end) = self.ends[peer.0 as usize].as_mut() else { return };
        let Some(at) = end.arrive(self.now, &mut self.downs[end.host.0]) else { return };
        if at > self.now { self.push(at, Event::Land(peer)) } else { self.land(peer) }
    }

    /// A frame came in, behind those that wait.
    fn land(&mut self, peer: PeerId) {
        let Some(end) = self.end(peer) else { return };
        end.land();
        if end.landed.len() == 1 {
            self.take_landed(peer);
        }
    }

    /// Takes what came in, as far as it is its turn.
    fn take_landed(&mut self, peer: PeerId) {
        loop {
            let Some(end) = self.ends[peer.0 as usize].as_mut() else { return };
            let turn = self.hosts[end.host.0].replicator.next_frame_at(peer);
            if turn > self.now && !end.landed.is_empty() {
                return self.push(turn, Event::Turn(peer));
            }
            let Some(frame) = end.landed.pop_front() else { return };
            let host = end.host;
            self.take(host, peer, frame);
        }
    }

    fn take(&mut self, id: HostId, peer: PeerId, frame: Frame) {
        self.frames += 1;
        self.trace.update(&self.now.0.to_le_bytes()).update(&peer.0.to_le_bytes());
        self.trace.update(&frame.header);
        if let Some(log) = &mut self.log {
            log.note(self.now, id, peer, Way::Came, &frame);
        }
        let host = &mut self.hosts[id.0];
        host.count_in(&frame);
        let Frame { header, payload } = frame;
        match host.replicator.handle_frame(self.now, peer, &header, payload) {
            Concern::Sender => drop(host.due.insert(peer)),
            Concern::Everyone => host.all_due(),
        }
        self.settle(id);
    }

    fn wake(&mut self, id: HostId) {
        let host = &mut self.hosts[id.0];
        // Another one was set since.
        if host.woken != Some(self.now) {
            return;
        }
        host.woken = None;
        host.replicator.handle_timeout(self.now);
        host.all_due();
        self.settle(id);
    }

    /// Lets a host do its jobs and say what it can, until it has nothing more to do.
    fn settle(&mut self, id: HostId) {
        self.hosts[id.0].work(self.now);
        while !self.hosts[id.0].due.is_empty() {
            for peer in std::mem::take(&mut self.hosts[id.0].due) {
                self.fill(id, peer);
            }
            // Asking for a frame may lead to a job, and the job to a frame.
            self.hosts[id.0].work(self.now);
        }
        while let Some(peer) = self.hosts[id.0].faulted.pop() {
            self.cut(peer);
        }
        self.send_next(id);
        self.set_timer(id);
    }

    /// Fills the send buffer of a connection.
    fn fill(&mut self, id: HostId, peer: PeerId) {
        let (host, up) = (&mut self.hosts[id.0], &mut self.ups[id.0]);
        let Some(end) = self.ends[peer.0 as usize].as_mut() else { return };
        while end.has_room(up)
            && let Some(frame) = host.replicator.poll_transmit(self.now, peer)
        {
            if let Some(log) = &mut self.log {
                log.note(self.now, id, peer, Way::Left, &frame);
            }
            end.push(frame, up, peer);
        }
    }

    /// Begins to send the next frame, if the line is free.
    fn send_next(&mut self, id: HostId) {
        let up = &mut self.ups[id.0];
        let Some(peer) = up.next(self.now) else { return };
        let Some(frame) = self.ends[peer.0 as usize].as_ref().and_then(End::first) else { return };
        let at = self.now + up.begin(peer, frame);
        self.push(at, Event::Sent(id));
    }

    fn set_timer(&mut self, id: HostId) {
        let host = &mut self.hosts[id.0];
        let Some(due) = host.replicator.poll_timeout() else { return };
        let at = due.max(self.now + Duration::from_micros(1));
        if host.woken.is_none_or(|woken| woken > at) {
            host.woken = Some(at);
            self.push(at, Event::Wake(id));
        }
    }

    fn push(&mut self, at: Instant, event: Event) {
        self.sequence += 1;
        self.queue.push(Reverse((at, self.sequence, event)));
    }
}

/// Returns the other end of a connection.
const fn other(peer: PeerId) -> PeerId {
    PeerId(peer.0 ^ 1)
}
