//! A whole session: one peer does anything at all, another one is honest, and both are heard.
//!
//! The input is a list of steps. After each of them what is kept is within its bounds ([`Replicator::check_bounds`]). In the end the
//! stranger falls silent; whatever it did, the friend was not blamed for it, and delivered everything that was wanted.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;
use core::num::NonZeroU64;
use core::ops::Range;
use core::time::Duration;

use bytes::Bytes;
use datnode_feed::codec::{DecodeError, Reader, Writer};
use datnode_feed::fuzz::{Sample, block_bytes, sample};
use datnode_feed::{
    BlockIndex, FeedSlot, Hash, MemoryStorage, Node, NodeIndex, SignedHead, Store, UpgradeProof,
    levels, levels_above,
};

use crate::capability;
use crate::execute::execute;
use crate::ids::{Binding, Class, FeedId, Instant, PeerId, Priority, RequestId, WantId};
use crate::job::{Event, Job};
use crate::limits::LEAVES_MAX;
use crate::replicator::{Order, Replica, Replicator, Target, Want};
use crate::wire::{Channel, Hello, Message, Request, Runs, Wanted, decode, encode};

const FEED: FeedId = FeedId(0);
/// Whom the victim talks to; the friend knows one peer, by the same number.
const FRIEND: PeerId = PeerId(0);
/// The stranger's channel of the feed.
const CHANNEL: Channel = Channel(1);
/// How many blocks the feed has.
const BLOCKS: u64 = 10;

/// Takes a list of steps; tells whether the stranger got through with all of it.
pub fn session(input: &[u8]) -> bool {
    let mut world = World::new();
    let mut input = Reader::new(input);
    for _ in 0..256 {
        if input.is_empty() || world.step(&mut input).is_err() {
            break;
        }
        world.check();
    }
    let got_through = !world.victim.faults.contains(&world.stranger);
    world.settle();
    got_through
}

/// Both ends that are honest.
struct World {
    now: Instant,
    victim: Host,
    friend: Host,
    /// The stranger's stream, which may be a new one.
    stranger: PeerId,
    /// What the stranger was asked for last: blocks, and for bytes, and for leaves.
    asked: Vec<(RequestId, u64)>,
    asked_bytes: RequestId,
    asked_leaves: (RequestId, NodeIndex),
    wants: Vec<WantId>,
}

/// A replicator with a store, whose jobs may take their time.
struct Host {
    replicator: Replicator,
    store: Store<MemoryStorage>,
    slot: FeedSlot,
    jobs: VecDeque<Job>,
    faults: Vec<PeerId>,
}

impl Host {
    fn new(sample: &Sample, storage: MemoryStorage, seed: u8) -> Self {
        let mut store = Store::open(storage).expect("memory does not fail");
        let slot = store.add_feed(sample.key).expect("memory does not fail");
        let mut replicator = Replicator::new([seed; 32]);
        let replica = Replica {
            key: sample.key,
            class: Class::Content,
            head: store.head(slot).copied(),
            have: store.have(slot).clone(),
            accusation: None,
        };
        replicator.add_feed(FEED, replica);
        Self { replicator, store, slot, jobs: VecDeque::new(), faults: Vec::new() }
    }

    /// Takes jobs and events that wait.
    fn listen(&mut self) {
        self.jobs.extend(core::iter::from_fn(|| self.replicator.poll_job()));
        while let Some(event) = self.replicator.poll_event() {
            if let Event::Fault { peer, .. } = event {
                self.faults.push(peer);
            }
        }
    }

    /// Does some of the jobs that wait; tells whether there was one.
    fn work(&mut self, now: Instant, count: usize) -> bool {
        self.listen();
        let mut worked = false;
        for _ in 0..count {
            let Some(job) = self.jobs.pop_front() else { break };
            let done = execute(&mut self.store, self.slot, job);
            self.replicator.handle_done(now, done);
            self.listen();
            worked = true;
        }
        worked
    }

    fn is_accused(&self) -> bool {
        self.store.accusation(self.slot).is_some()
    }
}

impl World {
    fn new() -> Self {
        let sample = sample();
        let now = Instant(1_000_000);
        let mut victim = Host::new(sample, MemoryStorage::new(), 1);
        let mut friend = Host::new(sample, sample.store.storage().clone(), 2);
        let ends =
            |ours: &[u8], theirs: &[u8]| Binding { ours: ours.into(), theirs: theirs.into() };
        victim.replicator.handle_connected(now, FRIEND, ends(b"victim", b"friend"));
        friend.replicator.handle_connected(now, FRIEND, ends(b"friend", b"victim"));
        let mut world = Self {
            now,
            victim,
            friend,
            stranger: FRIEND,
            asked: Vec::new(),
            asked_bytes: RequestId(0),
            asked_leaves: (RequestId(0), NodeIndex(0)),
            wants: Vec::new(),
        };
        world.connect();
        world
    }

    /// The stranger begins a new stream.
    fn connect(&mut self) {
        if self.stranger != FRIEND {
            self.victim.replicator.handle_disconnected(self.stranger);
        }
        self.stranger = PeerId(self.stranger.0 + 1);
        let binding = Binding { ours: b"victim".into(), theirs: b"stranger".into() };
        self.victim.replicator.handle_connected(self.now, self.stranger, binding);
    }

    /// Checks what holds after every step.
    fn check(&mut self) {
        self.victim.listen();
        self.victim.replicator.check_bounds();
        let most = self.victim.replicator.jobs_max();
        // Streams that are gone left jobs behind, as many as their own bounds allowed.
        assert!(self.victim.jobs.len() <= most * self.stranger.0 as usize, "jobs pile up");
        assert!(!self.victim.faults.contains(&FRIEND), "the friend did nothing wrong");
        assert!(self.friend.faults.is_empty(), "the victim did nothing wrong");
    }

    fn tell(&mut self, message: &Message, payload: Vec<u8>) {
        let header = encode(message);
        self.victim.replicator.handle_frame(self.now, self.stranger, &header, payload.into());
    }

    /// Does the next step of an input.
    fn step(&mut self, input: &mut Reader<'_>) -> Result<(), DecodeError> {
        let step = input.u8()?;
        match step % 24 {
            0 => {
                let header = input.bytes(512)?;
                let payload = Bytes::copy_from_slice(input.bytes(64)?);
                self.victim.replicator.handle_frame(self.now, self.stranger, header, payload);
            }
            1 => self.hear(usize::from(input.u8()?)),
            2 => drop(self.victim.work(self.now, usize::from(input.u8()?))),
            3 => drop(self.talk(usize::from(input.u8()?))),
            4 => {
                self.now = self.now + Duration::from_millis(u64::from(input.u8()?) * 100);
                self.victim.replicator.handle_timeout(self.now);
            }
            5 => {
                let kind = input.u8()?;
                if kind & 16 != 0 {
                    let runs = read_runs(input, BLOCKS)?;
                    self.wants.push(self.victim.replicator.look_up(FEED, &runs));
                    return Ok(());
                }
                let target = match kind % 4 {
                    0 | 2 => Target::Blocks(read_runs(input, BLOCKS)?),
                    1 => Target::Bytes(read_run(input, 512)?),
                    _ => Target::All,
                };
                let order = match step / 64 {
                    0 => Order::Linear,
                    1 => Order::Bisect,
                    _ => Order::Rarest,
                };
                let deadline = (kind & 4 != 0).then_some(self.now);
                let (priority, hotswap) = (Priority(input.u8()? % 3), kind & 8 == 0);
                let want = Want { priority, order, hotswap, deadline, ..Want::new(target) };
                self.wants.push(self.victim.replicator.want(FEED, want));
            }
            6 => {
                if let Some(want) = self.wants.pop() {
                    self.victim.replicator.unwant(want);
                }
            }
            7 => self.connect(),
            _ => {
                let (message, payload) = self.message(step, input)?;
                self.tell(&message, payload);
            }
        }
        Ok(())
    }

    /// Reads what the stranger says.
    fn message(&self, step: u8, input: &mut Reader<'_>) -> Result<(Message, Vec<u8>), DecodeError> {
        let wild = step >= 192;
        let channel = if wild { Channel(input.u32()?) } else { CHANNEL };
        let message = match step % 24 {
            8 => Message::Hello(Hello {
                version_min: u16::from(wild),
                version_max: 1 + u16::from(input.u8()?),
                features: 0,
                agent: "stranger".into(),
                credit: input.varint()?,
            }),
            9 | 10 => {
                let nonce = [input.u8()?; 16];
                let key = sample().key;
                let tag = *capability::tag(&key, b"stranger", b"victim", &nonce).as_bytes();
                Message::Open { channel, nonce, tag: if wild { nonce_tag(nonce) } else { tag } }
            }
            11 => Message::Reject { channel: Channel(input.varint()? as u32) },
            12 => Message::Close { channel },
            13 | 14 => {
                let head = read_head(input)?;
                let told = input.u8()? % 4;
                let length = if told == 0 { input.varint()? % (1 << 56) } else { head.head.length };
                let head = (told > 0).then_some(head);
                let (held, lost) = (read_runs(input, BLOCKS + 4)?, read_runs(input, BLOCKS + 4)?);
                Message::Have { channel, length, held, lost, head }
            }
            15 => Message::Upgrade { channel, proof: read_proof(input)? },
            16 | 17 => {
                let wanted = match input.u8()? % 3 {
                    0 => Wanted::Blocks(read_runs(input, BLOCKS + 2)?),
                    2 => Wanted::Leaves(NodeIndex(u64::from(input.u8()?) % (2 * BLOCKS + 8))),
                    _ => Wanted::Bytes(read_run(input, 512)?),
                };
                let id = RequestId(input.varint()?);
                let length = if wild { input.varint()? } else { BLOCKS };
                let urgency = input.u8()?;
                let (priority, any_order) = (Priority(urgency % 3), urgency & 4 != 0);
                let due = NonZeroU64::new((urgency >> 3).into());
                let request = Request { id, length, priority, due, any_order, wanted };
                Message::Request { channel, request }
            }
            18 => {
                let (id, blocks) = (RequestId(input.varint()?), read_runs(input, BLOCKS)?);
                Message::Cancel { channel, id, blocks }
            }
            19 => {
                let ((id, _), blocks) = (self.read_asked(input)?, read_runs(input, BLOCKS)?);
                match input.u8()? % 2 {
                    0 => Message::Missing { channel, id, blocks },
                    _ => Message::Elsewhere { channel, id, blocks },
                }
            }
            20 | 21 => return self.read_block(channel, input),
            22 => Message::Credit { total: input.varint()? },
            _ => {
                let mut accusation = sample().accusation.clone();
                if wild {
                    accusation.shorter.signature[0] ^= 1;
                }
                Message::Accuse { channel, accusation: Box::new(accusation) }
            }
        };
        Ok((message, Vec::new()))
    }

    /// Returns something the stranger was asked, and a block.
    fn read_asked(&self, input: &mut Reader<'_>) -> Result<(RequestId, u64), DecodeError> {
        let number = usize::from(input.u8()?);
        match self.asked.len() {
            0 => Ok((RequestId(input.varint()?), u64::from(input.u8()?))),
            _ if number == 255 => Ok((self.asked_bytes, u64::from(input.u8()?))),
            len => Ok(self.asked.get(number % len).copied().unwrap_or((RequestId(0), 0))),
        }
    }

    /// Reads an answer, of which anything may be wrong.
    fn read_block(
        &self,
        channel: Channel,
        input: &mut Reader<'_>,
    ) -> Result<(Message, Vec<u8>), DecodeError> {
        let (id, number) = self.read_asked(input)?;
        let (block, wrong) = (BlockIndex(number % (1 << 56)), input.u8()?);
        let sample = sample();
        let count = levels(block, BLOCKS, |_| false).unwrap_or_default();
        let proof = sample.store.prove(sample.feed, block, count).ok().flatten();
        let mut siblings = proof.map(|proof| proof.siblings).unwrap_or_default();
        let mut bytes = if number < BLOCKS { block_bytes(number) } else { vec![1; 5] };
        match wrong {
            0 => siblings.push(NODE),
            1 => drop(siblings.pop()),
            2 => bytes.push(0),
            3 => bytes.clear(),
            4 => siblings = vec![NODE; 56],
            5 => siblings.iter_mut().for_each(|node| node.size = u64::MAX),
            16..26 => return Ok((self.leaves(channel, wrong), Vec::new())),
            _ => {}
        }
        Ok((Message::Block { channel, id, block, siblings }, bytes))
    }

    /// Returns an answer to the last request for leaves, of which anything may be wrong.
    fn leaves(&self, channel: Channel, wrong: u8) -> Message {
        let (id, top) = self.asked_leaves;
        let sample = sample();
        let count = levels_above(top, BLOCKS, |_| false).unwrap_or_default();
        let proof = sample.store.prove_leaves(sample.feed, top, count).ok().flatten();
        let (mut leaves, mut siblings) =
            proof.map(|proof| (proof.leaves, proof.siblings)).unwrap_or_default();
        match wrong {
            16 => leaves.push(NODE),
            17 => drop(leaves.pop()),
            18 => leaves = vec![NODE; LEAVES_MAX],
            19 => leaves.iter_mut().for_each(|node| node.size = u64::MAX),
            20 => siblings = vec![NODE; 56],
            _ => {}
        }
        Message::Leaves { channel, id, leaves, siblings }
    }

    /// The stranger takes frames that wait for it, and notes what it is asked.
    fn hear(&mut self, count: usize) {
        for _ in 0..count {
            let frame = self.victim.replicator.poll_transmit(self.now, self.stranger);
            self.victim.listen();
            let Some(frame) = frame else { return };
            let message = decode(&frame.header, &frame.payload).expect("we send what can be read");
            let Message::Request { request, .. } = message else { continue };
            match request.wanted {
                Wanted::Blocks(runs) => {
                    let blocks = runs.into_iter().flatten();
                    self.asked = blocks.map(|block| (request.id, block)).collect();
                }
                Wanted::Bytes(_) => self.asked_bytes = request.id,
                Wanted::Leaves(top) => self.asked_leaves = (request.id, top),
            }
        }
    }

    /// The victim and its friend exchange so many frames; the friend's store is quick.
    fn talk(&mut self, count: usize) -> bool {
        let mut talked = false;
        for _ in 0..count {
            let now = self.now;
            let (victim, friend) = (&mut self.victim, &mut self.friend);
            let there = victim.replicator.poll_transmit(now, FRIEND);
            let back = friend.replicator.poll_transmit(now, FRIEND);
            let idle = there.is_none() && back.is_none();
            if let Some(frame) = there {
                friend.replicator.handle_frame(now, FRIEND, &frame.header, frame.payload);
            }
            if let Some(frame) = back {
                victim.replicator.handle_frame(now, FRIEND, &frame.header, frame.payload);
            }
            victim.listen();
            if !friend.work(now, usize::MAX) && idle {
                return talked;
            }
            talked = true;
        }
        talked
    }

    /// Lets the friend finish, while the stranger is silent: everything is there, unless the writer is known to be false.
    fn settle(&mut self) {
        let want =
            |target| Want { priority: Priority(1), order: Order::Linear, ..Want::new(target) };
        let all = want(Target::Blocks(vec![0..BLOCKS]));
        self.victim.replicator.want(FEED, all);
        self.victim.replicator.want(FEED, want(Target::Bytes(0..9)));
        for _ in 0..64 {
            while self.talk(64) | self.victim.work(self.now, usize::MAX) {
                self.check();
            }
            if self.is_done() {
                break;
            }
            self.now = self.now + Duration::from_secs(1);
            self.victim.replicator.handle_timeout(self.now);
            self.friend.replicator.handle_timeout(self.now);
        }
        self.check();
        assert!(self.victim.jobs.is_empty(), "all jobs are done");
        assert!(self.is_done(), "the friend delivers whatever the stranger did");
    }

    /// Tells whether the victim has all there is, or will follow nobody any more.
    fn is_done(&self) -> bool {
        let have = self.victim.store.have(self.victim.slot);
        self.victim.is_accused() || have.count() == BLOCKS
    }
}

/// A node that is in no tree.
const NODE: Node = Node { hash: Hash([9; 32]), size: 1 };

fn nonce_tag(nonce: [u8; 16]) -> [u8; 32] {
    let mut tag = [0; 32];
    tag[..16].copy_from_slice(&nonce);
    tag
}

/// Ascending runs with gaps between them, below `end`.
fn read_runs(input: &mut Reader<'_>, end: u64) -> Result<Runs, DecodeError> {
    let bits = input.u16()?;
    let bits: datnode_feed::Bitfield =
        (0..end.min(16)).filter(|bit| bits & 1 << bit != 0).map(|bit| bit..bit + 1).collect();
    Ok(bits.runs().collect())
}

fn read_run(input: &mut Reader<'_>, end: u64) -> Result<Range<u64>, DecodeError> {
    let start = u64::from(input.u16()?) % end;
    Ok(start..start + 1 + u64::from(input.u8()?))
}

/// One of the heads that were signed, or something like it.
fn read_head(input: &mut Reader<'_>) -> Result<SignedHead, DecodeError> {
    let sample = sample();
    let choice = input.u8()?;
    let heads = &sample.heads;
    let mut head = *heads.get(usize::from(choice % 2)).expect("there are two heads");
    match choice / 2 {
        1 => head.head.length = input.varint()? % (1 << 56),
        2 => head.head.root.0[0] ^= 1,
        3 => head.signature[5] ^= 1,
        _ => {}
    }
    Ok(head)
}

fn read_proof(input: &mut Reader<'_>) -> Result<UpgradeProof, DecodeError> {
    let sample = sample();
    let head = read_head(input)?;
    let from = u64::from(input.u8()?) % (BLOCKS + 2);
    let store = if head.head.length == BLOCKS { &sample.store } else { &sample.other };
    let proof = store.prove_upgrade(sample.feed, from).ok().flatten();
    let mut nodes = proof.map(|proof| proof.nodes).unwrap_or_default();
    match input.u8()? {
        0 => nodes.push(NODE),
        1 => drop(nodes.pop()),
        2 => nodes = vec![NODE; 112],
        _ => {}
    }
    Ok(UpgradeProof { from, head, nodes })
}

/// An honest stranger that delivers; one that asks; one with another history; one that comes and goes.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let greet = |writer: &mut Writer| {
        writer.raw(&[8, 0]).varint(1 << 20).raw(&[9, 7, 1, 20]);
    };
    let have = |writer: &mut Writer, head: u8| {
        writer.raw(&[13, head, 1]).u16(0x3ff).u16(0);
    };
    let mut delivers = Writer::new();
    greet(&mut delivers);
    have(&mut delivers, 0);
    delivers.raw(&[15, 0, 0, 9, 2, 9, 5, 0]).u16(0x3ff).raw(&[0, 5, 1]).u16(30).raw(&[9, 1]);
    delivers.raw(&[1, 20]);
    for block in 0..10 {
        delivers.raw(&[20, block, 9]);
    }
    delivers.raw(&[20, 255, 1, 9, 2, 20, 3, 20, 1, 20]);
    // It is asked for leaves as well, and answers.
    delivers.raw(&[5, 16]).u16(0x3ff).raw(&[1, 20, 20, 0, 25, 2, 9, 1, 20]);
    let mut asks = Writer::new();
    asks.raw(&[5, 0]).u16(0x3ff).raw(&[0, 3, 60, 2, 60, 3, 60, 2, 60]);
    greet(&mut asks);
    asks.raw(&[16, 0]).u16(0x3ff).varint(5).raw(&[1, 1, 4, 2, 9, 1, 9]);
    asks.raw(&[16, 1]).u16(7).raw(&[9]).varint(6).raw(&[1, 2, 9, 18, 5]).u16(3).raw(&[1, 9]);
    asks.raw(&[16, 2, 7]).varint(7).raw(&[1, 2, 9, 1, 9, 16, 2, 40]).varint(8).raw(&[1, 2, 9]);
    let mut estranged = Writer::new();
    estranged.raw(&[3, 60, 2, 60, 3, 60, 2, 60]);
    greet(&mut estranged);
    have(&mut estranged, 1);
    estranged.raw(&[2, 9, 3, 9, 1, 9, 23, 2, 9, 12]);
    let mut comes = Writer::new();
    for _ in 0..3 {
        greet(&mut comes);
        have(&mut comes, 0);
        comes.raw(&[5, 0]).u16(0x155).raw(&[1, 1, 9, 4, 60, 1, 9, 7]);
    }
    [delivers, asks, estranged, comes].map(Writer::into_vec).to_vec()
}
