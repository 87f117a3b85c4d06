//! How many frames that mean nothing a node absorbs on one core, and what they leave for an honest peer.
//!
//! `cargo run --release -p datnode-tests --example absorb`, with a part of a frame's name behind it for that one alone
//!
//! First without a network: the node is real from the stream's bytes on, frames, hub, replicator, store. Its network thread is one
//! thread, fed by pipes in memory, without ciphers. What is malformed ends its stream, so there each frame is a new stream, which is
//! refused to one that was found out just before; who comes as a stranger each time gets it: greeting, frame, end.
//! Then over sockets (`sockets`): what a stranger has to do to say a malformed frame at all, and what comes of it.
//!
//! Three things are measured of each kind:
//!
//! - absorbed: nine peers send as fast as the node takes it; frames by second of processor time of that thread;
//! - sent: nine peers send 100,000 a second together, if they can, while an honest one fetches a feed as fast as it can;
//! - kept: the honest peer's rate then, of its rate alone; the best of three pairs.
//!
//! Whoever says more than its share is read no faster than it pays for, so that less is sent than nine peers would; for what is
//! absorbed only the processor's time counts.

#![expect(clippy::print_stdout, reason = "a table is what this is for")]

mod node;
mod sockets;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use datnode::engine::{About, Hub};
use datnode::pool::Pool;
use datnode::swarm::frames::FrameReader;
use datnode_feed::{BlockIndex, PublicKey};
use datnode_proto::wire::{Channel, Frame, Hello, Message, decode, encode};
use datnode_proto::{Binding, RequestId, capability};
use datnode_tests::noise;
use futures::future::join_all;
use node::{BLOCKS, Node, fetch, secret};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::runtime::Handle;

/// How much a pipe holds.
const PIPE: usize = 64 << 10;
const ATTACKERS: u64 = 9;
/// What they send together, in frames a second.
const PACE: u64 = 100_000;
const TICK: Duration = Duration::from_millis(10);
/// How long a flood is measured.
const SPAN: Duration = Duration::from_secs(3);
/// How many frames are written at once.
const CHUNK: usize = 100;

/// Returns both ends' view of a connection of the node.
fn bindings(peer: u64) -> (Binding, Binding) {
    let (ours, theirs) = (b"node".to_vec(), peer.to_le_bytes().to_vec());
    let mirrored = Binding { ours: theirs.clone(), theirs: ours.clone() };
    (Binding { ours, theirs }, mirrored)
}

fn bytes(message: &Message) -> Vec<u8> {
    let frame = Frame { header: encode(message), payload: bytes::Bytes::new() };
    [&frame.prefix(), &frame.header[..]].concat()
}

/// Returns what a peer says first: that it speaks our protocol, and knows the feed.
fn greeting(key: &PublicKey, theirs: &Binding) -> Vec<u8> {
    let agent = String::from("hostile");
    let hello = Hello { version_min: 1, version_max: 1, features: 0, agent, credit: u64::MAX };
    let nonce = [7; 16];
    let tag = capability::tag(key, &theirs.ours, &theirs.theirs, &nonce);
    let open = Message::Open { channel: Channel(0), nonce, tag: *tag.as_bytes() };
    [bytes(&Message::Hello(hello)), bytes(&open)].concat()
}

/// A kind of frame.
struct Kind {
    name: &'static str,
    frame: Vec<u8>,
    comes: Comes,
}

/// Who sends it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Comes {
    /// It breaks no rule: on one stream without end.
    Once,
    /// It ends its stream: the same peers come back.
    Again,
    /// They come under another name each time.
    AsStrangers,
}

fn kinds() -> Vec<Kind> {
    let (channel, head) = (Channel(0), None);
    let every_second = |count: u64| (0..count).map(|at| 2 * at..2 * at + 1).collect();
    let pointless = [
        ("credit that is granted already", Message::Credit { total: 0 }),
        (
            "withdrawal of what was not asked",
            Message::Cancel { channel, id: RequestId(1), blocks: vec![0..1] },
        ),
        (
            "refusal of what was not asked",
            Message::Missing { channel, id: RequestId(1), blocks: vec![0..1] },
        ),
        (
            "have, one run",
            Message::Have { channel, length: BLOCKS, held: vec![0..1], lost: vec![], head },
        ),
        (
            "have, 100 runs",
            Message::Have { channel, length: BLOCKS, held: every_second(100), lost: vec![], head },
        ),
    ];
    let pointless =
        pointless.map(|(name, message)| Kind { name, frame: bytes(&message), comes: Comes::Once });
    let prefix = |header: u32, payload: u32| [header, payload].map(u32::to_le_bytes).concat();
    let block =
        Message::Block { channel, id: RequestId(1), block: BlockIndex(1), siblings: vec![] };
    let malformed = [
        ("malformed: no message", [prefix(100, 0), noise(1, 100)].concat(), Comes::Again),
        ("malformed: too long", prefix(u32::MAX, u32::MAX), Comes::Again),
        ("malformed: block without request", bytes(&block), Comes::Again),
        ("malformed: block, from strangers", bytes(&block), Comes::AsStrangers),
    ];
    let malformed = malformed.map(|(name, frame, comes)| Kind { name, frame, comes });
    pointless.into_iter().chain(malformed).collect()
}

/// Nine peers that send one kind of frame, on a thread of their own, until this is dropped.
struct Attack {
    sent: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Attack {
    /// Begins; without a pace they send what is taken.
    fn new(node: &Node, kind: &Kind, pace: Option<u64>) -> Self {
        let (sent, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let peers: Vec<_> = (0..ATTACKERS)
            .map(|peer| Peer {
                number: 1_000 + peer,
                key: secret().public(),
                comes: kind.comes,
                sent: sent.clone(),
                over: over.clone(),
                each_tick: pace.map(|pace| pace * TICK.as_millis() as u64 / 1_000 / ATTACKERS),
                frame: kind.frame.clone(),
                hub: node.hub.clone(),
                runtime: node.runtime.clone(),
            })
            .collect();
        let comes = kind.comes;
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let tasks: Vec<_> = peers
                    .into_iter()
                    .map(|peer| {
                        tokio::spawn(async move {
                            match comes {
                                Comes::Once => peer.flood().await,
                                Comes::Again | Comes::AsStrangers => peer.come_and_go().await,
                            }
                        })
                    })
                    .collect();
                for task in tasks {
                    task.await.unwrap();
                }
            });
        });
        Self { sent, over, thread: Some(thread) }
    }

    fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        self.thread.take().map(JoinHandle::join).unwrap().unwrap();
    }
}

struct Peer {
    number: u64,
    key: PublicKey,
    comes: Comes,
    sent: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    each_tick: Option<u64>,
    frame: Vec<u8>,
    hub: Hub,
    runtime: Handle,
}

impl Peer {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Connects under a name, and greets.
    async fn connect(&self, name: u64) -> DuplexStream {
        let (mut near, far) = duplex(PIPE);
        let (ours, theirs) = bindings(name);
        let hub = self.hub.clone();
        let about = About {
            name: String::from("hostile"),
            address: String::from("pipe"),
            punched: false,
            is_local: false,
        };
        self.runtime.spawn(async move {
            let (read, write) = tokio::io::split(far);
            hub.replicate(read, write, ours, about).await
        });
        // It may be turned away before it said a word.
        let _ = near.write_all(&greeting(&self.key, &theirs)).await;
        near
    }

    /// Sends the frame again and again on one stream.
    async fn flood(self) {
        let (read, mut write) = tokio::io::split(self.connect(self.number).await);
        let mut frames = FrameReader::new(read, Pool::default());
        // Only then is the feed open on both sides.
        let is_have = |frame: Frame| {
            matches!(decode(&frame.header, &frame.payload), Ok(Message::Have { .. }))
        };
        while !is_have(frames.read().await.unwrap().unwrap()) {}
        let drain =
            tokio::spawn(
                async move { while frames.read().await.is_ok_and(|frame| frame.is_some()) {} },
            );
        let at_once = self.each_tick.unwrap_or(CHUNK as u64);
        let chunk = self.frame.repeat(at_once as usize);
        let mut ticks = tokio::time::interval(TICK);
        while !self.is_over() {
            if self.each_tick.is_some() {
                ticks.tick().await;
            }
            write.write_all(&chunk).await.expect("it breaks no rule");
            self.sent.fetch_add(at_once, Ordering::SeqCst);
        }
        drain.abort();
    }

    /// Sends it once, and comes back on a new stream; many at a time.
    async fn come_and_go(self) {
        let mut ticks = tokio::time::interval(TICK);
        let mut names = (self.number..).step_by(1_000);
        let at_once = self.each_tick.unwrap_or(CHUNK as u64);
        while !self.is_over() {
            if self.each_tick.is_some() {
                ticks.tick().await;
            }
            let name = |_| match self.comes {
                Comes::AsStrangers => names.next().expect("numbers do not end"),
                Comes::Once | Comes::Again => self.number,
            };
            let names: Vec<u64> = (0..at_once).map(name).collect();
            join_all(names.into_iter().map(|name| self.once(name))).await;
            self.sent.fetch_add(at_once, Ordering::SeqCst);
        }
    }

    /// Sends it once, and waits for the end.
    async fn once(&self, name: u64) {
        let mut stream = self.connect(name).await;
        // It may be thrown out while it writes, which is all the same to it.
        let _ = stream.write_all(&self.frame).await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
}

/// Prints what was measured of a kind.
fn print(name: &str, absorbed: f64, pace: f64, kept: f64) {
    println!("{name:42} {absorbed:>10.0}/s {pace:>7.0}/s {:>5.0}%", kept * 100.0);
}

fn main() {
    println!("{:42} {:>12} {:>9} {:>6}", "frame", "absorbed", "sent", "kept");
    let part = std::env::args().nth(1).unwrap_or_default();
    let node = Node::new(BLOCKS);
    for kind in kinds().into_iter().filter(|kind| kind.name.contains(&part)) {
        let attack = Attack::new(&node, &kind, None);
        std::thread::sleep(SPAN / 10);
        let (sent, spent) = (attack.sent(), node.spent());
        std::thread::sleep(SPAN);
        let (sent, spent) = (attack.sent() - sent, node.spent() - spent);
        drop(attack);
        let absorbed = sent as f64 / spent.as_secs_f64();
        let (mut kept, mut pace) = (0.0_f64, 0.0_f64);
        for _ in 0..3 {
            let alone = fetch(&node);
            let attack = Attack::new(&node, &kind, Some(PACE));
            let (before, started) = (attack.sent(), Instant::now());
            let beside = fetch(&node);
            pace = pace.max((attack.sent() - before) as f64 / started.elapsed().as_secs_f64());
            kept = kept.max(alone.as_secs_f64() / beside.as_secs_f64());
        }
        print(kind.name, absorbed, pace, kept);
    }
    drop(node);
    sockets::measure(&part);
}
