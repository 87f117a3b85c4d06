//! A deterministic world: hosts with the real replicator and the real store, on a virtual clock, over virtual links.
//!
//! Everything that happens follows from a seed: there is one queue of events, ordered by time and then by when they were
//! made, and one source of random numbers. Each frame that arrives goes into the trace hash, so that two runs with one seed
//! can be compared by one line.
//! Elsewhere: what a host does (`host`), what a hostile one says (`hostile`), random worlds (`scenario`), many hosts whose blocks
//! cost nothing (`swarm`), and what is measured of them (`figures`).

pub mod disk;
pub mod figures;
mod host;
pub mod hostile;
pub mod lanes;
pub mod oracle;
pub mod scenario;
pub mod swarm;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::time::Duration;

use datnode_feed::{SecretKey, StoreError};
use datnode_proto::{Binding, Frame, Instant, PeerId, Place, Scope};

pub use host::{Hand, Host};

/// A host of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostId(pub usize);

impl HostId {
    /// Returns what stands for it in bytes, which is its address as well.
    fn name(self) -> Vec<u8> {
        self.0.to_le_bytes().to_vec()
    }

    /// Returns whom such bytes stand for.
    pub fn of(name: &[u8]) -> Option<Self> {
        Some(Self(usize::from_le_bytes(name.try_into().ok()?)))
    }
}

/// Random numbers from a seed (splitmix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Starts from a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns a number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end.max(1)
    }
}

/// One direction of a connection.
#[derive(Debug)]
struct Pipe {
    to: HostId,
    to_peer: PeerId,
    latency: Duration,
    bytes_per_second: u64,
    /// When the last byte put on it has left.
    free_at: Instant,
    /// What came back from the other end and is not taken yet, since the other end said more than its share.
    held: VecDeque<Frame>,
}

#[derive(Debug)]
enum Event {
    Arrive { host: HostId, peer: PeerId, frame: Frame },
    Turn { host: HostId, peer: PeerId },
    Wake { host: HostId },
}

/// The world.
pub struct World {
    /// The virtual time.
    pub now: Instant,
    random: Random,
    hosts: Vec<Host>,
    pipes: BTreeMap<(HostId, PeerId), Pipe>,
    queue: BinaryHeap<Reverse<(Instant, u64)>>,
    events: BTreeMap<u64, Event>,
    sequence: u64,
    next_peer: u64,
    trace: blake3::Hasher,
    /// How many frames arrived.
    pub frames: u64,
    /// How often one had to wait, since its sender had said more than its share.
    pub waits: u64,
    /// What was sent and what came, if that is counted.
    pub passed: Option<Vec<Passed>>,
}

/// A frame that left a host, or came to one.
#[derive(Clone, Copy, Debug)]
pub struct Passed {
    /// When.
    pub at: Instant,
    /// Where.
    pub host: HostId,
    /// By which connection.
    pub peer: PeerId,
    /// Whether it came.
    pub came: bool,
    /// The bytes of its header and payload.
    pub bytes: u64,
    /// Whether it brings a block.
    pub is_block: bool,
}

impl World {
    /// Makes an empty world.
    pub fn new(seed: u64) -> Self {
        Self {
            now: Instant(0),
            random: Random::new(seed),
            hosts: Vec::new(),
            pipes: BTreeMap::new(),
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            sequence: 0,
            next_peer: 0,
            trace: blake3::Hasher::new(),
            frames: 0,
            waits: 0,
            passed: None,
        }
    }

    /// Adds a host that knows the feed of `secret`; one that is to write holds the secret itself.
    pub fn host(&mut self, secret: &SecretKey) -> HostId {
        let id = HostId(self.hosts.len());
        self.hosts.push(Host::new(id, self.random.below(u64::MAX), secret));
        id
    }

    /// Returns a host.
    pub fn at(&mut self, id: HostId) -> &mut Host {
        &mut self.hosts[id.0]
    }

    /// Connects two hosts; returns the handle that cuts it.
    pub fn link(
        &mut self,
        a: HostId,
        b: HostId,
        latency: Duration,
        bytes_per_second: u64,
    ) -> (PeerId, PeerId) {
        let link = self.connect(a, b, latency, bytes_per_second);
        self.settle(a);
        self.settle(b);
        link
    }

    /// Connects two hosts that say nothing before they are settled; returns their peers.
    pub fn connect(
        &mut self,
        a: HostId,
        b: HostId,
        latency: Duration,
        bytes_per_second: u64,
    ) -> (PeerId, PeerId) {
        let (at_a, at_b) = (PeerId(self.next_peer), PeerId(self.next_peer + 1));
        self.next_peer += 2;
        for (host, peer, to, to_peer) in [(a, at_a, b, at_b), (b, at_b, a, at_a)] {
            let pipe = Pipe {
                to,
                to_peer,
                latency,
                bytes_per_second,
                free_at: self.now,
                held: VecDeque::new(),
            };
            self.pipes.insert((host, peer), pipe);
            let binding = Binding { ours: host.name(), theirs: to.name() };
            let now = self.now;
            // The first one reached the other, who learns no address of it by that.
            let addresses = if host == a { vec![(Scope::World, to.name())] } else { Vec::new() };
            let replicator = &mut self.at(host).replicator;
            replicator.handle_connected(now, peer, binding);
            replicator.handle_place(peer, Place { scope: Scope::World, addresses });
        }
        (at_a, at_b)
    }

    /// Cuts a connection: what is on the way is lost, and both ends notice.
    pub fn cut(&mut self, a: HostId, link: (PeerId, PeerId)) {
        let Some(pipe) = self.pipes.remove(&(a, link.0)) else { return };
        self.pipes.remove(&(pipe.to, link.1));
        self.at(a).replicator.handle_disconnected(link.0);
        self.at(pipe.to).replicator.handle_disconnected(link.1);
        self.settle(a);
        self.settle(pipe.to);
    }

    /// Ends a host, and starts it again from what of its disk a crash leaves. Its links are cut.
    ///
    /// # Errors
    /// When its store does not open.
    pub fn restart(&mut self, id: HostId) -> Result<(), StoreError> {
        let mut random = Random::new(self.random.below(u64::MAX));
        let state = disk::image(&self.at(id).disk.state(), &mut random);
        let ends: Vec<PeerId> =
            self.pipes.keys().filter(|(host, _)| *host == id).map(|(_, peer)| *peer).collect();
        for end in ends {
            let Some(pipe) = self.pipes.remove(&(id, end)) else { continue };
            self.pipes.remove(&(pipe.to, pipe.to_peer));
            self.at(pipe.to).replicator.handle_disconnected(pipe.to_peer);
            self.settle(pipe.to);
        }
        self.at(id).restart(state)
    }

    /// Runs until nothing happens any more, or `until`.
    pub fn run(&mut self, until: Instant) {
        while self.step(until) {}
    }

    /// Lets one thing happen; tells whether there was one before `until`.
    pub fn step(&mut self, until: Instant) -> bool {
        let Some(Reverse((at, sequence))) = self.queue.pop() else { return false };
        if at > until {
            self.queue.push(Reverse((at, sequence)));
            return false;
        }
        self.now = at;
        match self.events.remove(&sequence) {
            Some(Event::Arrive { host, peer, frame }) => self.arrive(host, peer, frame),
            Some(Event::Turn { host, peer }) => self.take_held(host, peer),
            Some(Event::Wake { host }) if !self.at(host).is_off() => {
                self.at(host).woken = None;
                self.at(host).replicator.handle_timeout(at);
                self.settle(host);
            }
            _ => {}
        }
        true
    }

    /// A frame comes in, behind those that wait.
    fn arrive(&mut self, host: HostId, peer: PeerId, frame: Frame) {
        let Some(pipe) = self.pipes.get_mut(&(host, peer)) else { return };
        pipe.held.push_back(frame);
        if pipe.held.len() == 1 {
            self.take_held(host, peer);
        }
    }

    /// Takes what came in, as far as it is its turn.
    fn take_held(&mut self, host: HostId, peer: PeerId) {
        loop {
            let (turn, off) =
                (self.at(host).replicator.next_frame_at(peer), self.at(host).is_off());
            let Some(pipe) = self.pipes.get_mut(&(host, peer)).filter(|_| !off) else { return };
            if turn > self.now && !pipe.held.is_empty() {
                self.waits += 1;
                return self.push(turn, Event::Turn { host, peer });
            }
            let Some(frame) = pipe.held.pop_front() else { return };
            self.take(host, peer, &frame);
        }
    }

    fn take(&mut self, host: HostId, peer: PeerId, frame: &Frame) {
        self.frames += 1;
        self.note(host, peer, true, frame);
        self.trace.update(&self.now.0.to_le_bytes()).update(&host.0.to_le_bytes());
        self.trace.update(&frame.header).update(&frame.payload);
        let now = self.now;
        self.at(host).replicator.handle_frame(now, peer, &frame.header, frame.payload.clone());
        self.settle(host);
    }

    /// Lets a host do its jobs and send what it can, until it has nothing more to do.
    pub fn settle(&mut self, id: HostId) {
        let now = self.now;
        if !self.at(id).is_off() {
            self.at(id).work(now);
        }
        if self.at(id).is_off() {
            return;
        }
        let ends = (id, PeerId(0))..(HostId(id.0 + 1), PeerId(0));
        let peers: Vec<PeerId> = self.pipes.range(ends).map(|((_, peer), _)| *peer).collect();
        for peer in peers {
            // Asking for a frame may lead to a job, and the job to a frame.
            loop {
                let frame = self.at(id).next_frame(now, peer);
                let worked = self.at(id).work(now);
                if self.at(id).is_off() {
                    return;
                }
                match frame {
                    Some(frame) => {
                        let said = self.at(id).say(frame);
                        said.into_iter().for_each(|frame| self.send(id, peer, frame));
                    }
                    None if worked => {}
                    None => break,
                }
            }
        }
        for peer in self.at(id).take_faulted() {
            if let Some(pipe) = self.pipes.get(&(id, peer)) {
                let (other, theirs) = (pipe.to, pipe.to_peer);
                self.cut(id, (peer, theirs));
                self.settle(other);
            }
        }
        let due = self.at(id).replicator.poll_timeout();
        if let Some(at) = due.map(|at| at.max(now + Duration::from_micros(1)))
            && self.at(id).woken.is_none_or(|woken| woken > at)
        {
            self.at(id).woken = Some(at);
            self.push(at, Event::Wake { host: id });
        }
    }

    fn send(&mut self, from: HostId, peer: PeerId, frame: Frame) {
        let now = self.now;
        self.note(from, peer, false, &frame);
        let Some(pipe) = self.pipes.get_mut(&(from, peer)) else { return };
        let bytes = (frame.header.len() + frame.payload.len() + 8) as u64;
        let takes = Duration::from_micros(bytes * 1_000_000 / pipe.bytes_per_second.max(1));
        pipe.free_at = pipe.free_at.max(now) + takes;
        let (at, host, peer) = (pipe.free_at + pipe.latency, pipe.to, pipe.to_peer);
        self.push(at, Event::Arrive { host, peer, frame });
    }

    fn note(&mut self, host: HostId, peer: PeerId, came: bool, frame: &Frame) {
        let Some(passed) = &mut self.passed else { return };
        let bytes = (frame.header.len() + frame.payload.len()) as u64;
        let is_block = !frame.payload.is_empty();
        passed.push(Passed { at: self.now, host, peer, came, bytes, is_block });
    }

    fn push(&mut self, at: Instant, event: Event) {
        self.sequence += 1;
        self.queue.push(Reverse((at, self.sequence)));
        self.events.insert(self.sequence, event);
    }

    /// Returns the hash over everything that arrived.
    pub fn trace(&self) -> blake3::Hash {
        self.trace.finalize()
    }
}
