//! 7: what it costs to decide what a peer is asked for, in large feeds with many peers.
//!
//! Peers are frames here, and take no time. Every fourth has the whole feed, the others have pieces of it. Times are those of this
//! processor, and shown but not kept; what a peer takes of memory is.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant as Clock};

use bytes::Bytes;
use datnode_feed::{Bitfield, BlockIndex};
use datnode_proto::wire::{Channel, Hello, Message, Request, Runs, Wanted, decode, encode};
use datnode_proto::{
    Binding, Event, FeedId, Frame, Instant, Order, PeerId, Replicator, RequestId, Target, Want,
    capability,
};

use super::Figure;
use super::table::Table;
use crate::Random;
use crate::swarm::{Content, Light};

const FEED: FeedId = FeedId(0);
const PEERS: u64 = 64;
const HAS_ALL: PeerId = PeerId(0);
const HAS_PIECES: PeerId = PeerId(1);
const BLOCK_BYTES: usize = 64 << 10;
/// How many pieces a peer has that has not all.
const PIECES: u64 = 1_000;
/// What a peer may take: two hundred bytes for each edge of its pieces, and nothing for what we hold ourselves.
const FLAT: usize = 2 * PIECES as usize * 200;
/// How often each peer has a turn, how long one is, and how many blocks it sends then: 5 MB a second.
const ROUNDS: usize = 40;
const TURN: Duration = Duration::from_millis(3);
const BLOCKS_A_TURN: usize = 16;

/// A reader whose peers are here as well.
struct Reader {
    content: Content,
    replicator: Replicator,
    store: Light,
    now: Instant,
    payload: Bytes,
    /// What each peer was asked for and did not send yet.
    owed: BTreeMap<PeerId, VecDeque<(RequestId, u64)>>,
    /// How long it took to ask, each time something was asked for, and each time nothing was.
    asked: Vec<Duration>,
    idle: Vec<Duration>,
    /// How long it took to take a block, each.
    taken: Vec<Duration>,
}

impl Reader {
    fn new(blocks: u64) -> Self {
        let content = Content::new(blocks, BLOCK_BYTES);
        let (mut replicator, store) =
            (Replicator::new([1; 32]), Light::part(&content, Bitfield::new()));
        replicator.add_feed(FEED, store.replica());
        let payload = Bytes::from(vec![0; BLOCK_BYTES]);
        let (now, owed, asked, idle, taken) = Default::default();
        let mut reader =
            Self { content, replicator, store, now, payload, owed, asked, idle, taken };
        let mut random = Random::new(blocks);
        (0..PEERS).for_each(|peer| reader.meet(PeerId(peer), &mut random));
        reader
    }

    /// A peer comes, and says what it has.
    fn meet(&mut self, peer: PeerId, random: &mut Random) {
        let name = |end: &str| format!("{end} {}", peer.0).into_bytes();
        let binding = Binding { ours: name("ours"), theirs: name("theirs") };
        self.replicator.handle_connected(self.now, peer, binding);
        let agent = String::from("peer");
        let hello = Hello { version_min: 1, version_max: 1, features: 0, agent, credit: 1 << 20 };
        self.hear(peer, &Message::Hello(hello), Bytes::new());
        let (replica, channel, nonce) = (self.store.replica(), Channel(0), [0; 16]);
        let tag = capability::tag(&replica.key, &name("theirs"), &name("ours"), &nonce);
        self.hear(peer, &Message::Open { channel, nonce, tag: *tag.as_bytes() }, Bytes::new());
        // The reader opens the feed as well.
        self.poll(peer);
        let (length, held) = (self.content.blocks, self.pieces(peer, random));
        let (lost, head) = (Runs::new(), replica.head);
        self.hear(peer, &Message::Have { channel, length, held, lost, head }, Bytes::new());
        self.poll(peer);
    }

    fn pieces(&self, peer: PeerId, random: &mut Random) -> Runs {
        let blocks = self.content.blocks;
        if peer.0.is_multiple_of(4) {
            return vec![0..blocks];
        }
        let piece = blocks / PIECES;
        let start = |at| at * piece + random.below(piece / 4);
        (0..PIECES).map(start).map(|start| start..start + piece / 2).collect()
    }

    fn hear(&mut self, peer: PeerId, message: &Message, payload: Bytes) {
        self.replicator.handle_frame(self.now, peer, &encode(message), payload);
        while let Some(job) = self.replicator.poll_job() {
            let done = self.store.execute(job);
            self.replicator.handle_done(self.now, done);
        }
        while let Some(event) = self.replicator.poll_event() {
            assert!(!matches!(event, Event::Fault { .. }), "{event:?}");
        }
    }

    /// Lets each peer send some of what it owes, one after the other.
    fn round(&mut self) {
        for peer in (0..PEERS).map(PeerId) {
            self.now = self.now + TURN;
            self.replicator.handle_timeout(self.now);
            self.poll(peer);
            for _ in 0..BLOCKS_A_TURN {
                self.send(peer);
                self.poll(peer);
            }
        }
    }

    /// Takes all that the reader says to a peer.
    fn poll(&mut self, peer: PeerId) {
        loop {
            let began = Clock::now();
            let frame = self.replicator.poll_transmit(self.now, peer);
            let took = began.elapsed();
            let Some(Frame { header, payload }) = frame else { return self.idle.push(took) };
            let owed = self.owed.entry(peer).or_default();
            match decode(&header, &payload).expect("it was encoded just now") {
                Message::Request {
                    request: Request { id, wanted: Wanted::Blocks(runs), .. },
                    ..
                } => {
                    self.asked.push(took);
                    owed.extend(runs.into_iter().flatten().map(|block| (id, block)));
                }
                Message::Cancel { id, blocks, .. } => owed.retain(|(request, block)| {
                    let is_it = blocks.is_empty() || blocks.iter().any(|run| run.contains(block));
                    *request != id || !is_it
                }),
                _ => {}
            }
        }
    }

    /// Sends a block that a peer owes.
    fn send(&mut self, peer: PeerId) {
        let Some((id, block)) = self.owed.entry(peer).or_default().pop_front() else { return };
        let (channel, block, siblings) = (Channel(0), BlockIndex(block), Vec::new());
        let began = Clock::now();
        self.hear(peer, &Message::Block { channel, id, block, siblings }, self.payload.clone());
        self.taken.push(began.elapsed());
    }
}

pub(super) fn run() -> Figure {
    let about = format!(
        "A feed of so many blocks and {PEERS} peers, of whom a quarter has all, and each of the others half of it in {PIECES} pieces.\n\
         Bytes of memory that are kept for one of either."
    );
    let mut figure = Figure { about, ..Figure::default() };
    let head = ["order", "blocks", "requests", "bytes, has all", "bytes, has pieces"];
    let mut table = Table::new(&head);
    let orders = [("rarest", Order::Rarest), ("linear", Order::Linear), ("bisect", Order::Bisect)];
    for (name, order) in orders {
        for blocks in [1_000_000, 100_000_000] {
            let mut reader = Reader::new(blocks);
            reader.replicator.want(FEED, Want { order, ..Want::new(Target::All) });
            (0..ROUNDS).for_each(|_| reader.round());
            let [all, pieces] = [HAS_ALL, HAS_PIECES]
                .map(|peer| reader.replicator.footprint(peer).unwrap_or(usize::MAX));
            let most = all.max(pieces);
            let what = format!("{name}, {blocks} blocks: at most {FLAT} bytes a peer ({most})");
            figure.promise(most <= FLAT, what);
            table.row(vec![
                String::from(name),
                blocks.to_string(),
                reader.asked.len().to_string(),
                all.to_string(),
                pieces.to_string(),
            ]);
            let Reader { asked, idle, taken, .. } = reader;
            for (what, took) in [("asked", asked), ("nothing to ask", idle), ("a block", taken)] {
                figure.timings.push(format!("{name}, {blocks} blocks, {what}: {}", times(took)));
            }
        }
    }
    figure.tables.push(table);
    figure
}

/// Shows times in microseconds.
fn times(mut took: Vec<Duration>) -> String {
    took.sort_unstable();
    let micros = |took: Duration| took.as_secs_f64() * 1e6;
    let mean = took.iter().sum::<Duration>() / took.len().max(1) as u32;
    let [median, most] = [took.len() / 2, took.len().saturating_sub(1)]
        .map(|at| took.get(at).copied().unwrap_or_default());
    format!(
        "{} times, {:.1} us in the median, {:.1} in the mean, {:.1} at most",
        took.len(),
        micros(median),
        micros(mean),
        micros(most)
    )
}
