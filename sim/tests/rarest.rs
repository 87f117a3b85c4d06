//! One honest peer has the rarest block, and a liar claims it too: the reader gets it no later than one timeout after it would have.

#![expect(clippy::print_stdout, reason = "a lane prints what it reached")]

use std::time::Duration;

use datnode_feed::SecretKey;
use datnode_proto::limits::{HURRY, PEER_BYTES_FREE};
use datnode_proto::wire::{Message, decode, encode};
use datnode_proto::{Frame, Order};
use datnode_sim::hostile::{Liar, Script};
use datnode_sim::scenario::forever;
use datnode_sim::{Hand, HostId, Random, World};

const BLOCKS: u64 = 400;
const LATENCY: Duration = Duration::from_millis(10);
const RATE: u64 = 1_000_000;
/// How many have all but the rarest block.
const CROWD: usize = 3;
/// Those, the one who has the rarest block, and the liar.
const PEERS: usize = CROWD + 2;
const ORDERS: [Order; 2] = [Order::Linear, Order::Rarest];
/// Where the rarest block is.
const PLACES: [u64; 4] = [0, 1, BLOCKS / 2, BLOCKS - 1];

/// What the one honest peer has that has the rarest block.
#[derive(Clone, Copy, Debug)]
enum Keeper {
    /// Nothing else.
    Alone,
    /// All the others as well.
    Whole,
}

/// A reader among honest peers, one of whom has the rarest block.
struct Scene {
    world: World,
    reader: HostId,
    rarest: u64,
    secret: SecretKey,
}

impl Scene {
    fn new(keeper: Keeper, rarest: u64, liar: Option<Hand>) -> Self {
        let secret = SecretKey::from_bytes([9; 32]);
        let mut world = World::new(1);
        let writer = world.host(&secret);
        world.at(writer).append(&secret, BLOCKS, &mut Random::new(7));
        let reader = world.host(&secret);
        let mut scene = Self { world, reader, rarest, secret };
        let own = vec![rarest..rarest + 1];
        let others = vec![0..rarest, rarest + 1..BLOCKS];
        let keeper = match keeper {
            Keeper::Alone => scene.with(writer, own),
            Keeper::Whole => writer,
        };
        // It is there first, and asked first.
        liar.into_iter().for_each(|hand| scene.lie(hand));
        let crowd = [(); CROWD].map(|()| scene.with(writer, others.clone()));
        for honest in crowd.into_iter().chain([keeper]) {
            scene.world.link(honest, reader, LATENCY, RATE);
        }
        scene
    }

    /// Adds a host that has some blocks.
    fn with(&mut self, writer: HostId, blocks: Vec<std::ops::Range<u64>>) -> HostId {
        let host = self.world.host(&self.secret);
        let link = self.world.link(writer, host, Duration::ZERO, 1_000 * RATE);
        let asked = self.world.at(host).want(blocks, 0, Order::Linear);
        self.world.settle(host);
        self.world.run(forever());
        assert!(self.world.at(host).done.contains(&asked));
        self.world.cut(writer, link);
        host
    }

    /// Adds a liar.
    fn lie(&mut self, hand: Hand) {
        let liar = self.world.host(&self.secret);
        self.world.at(liar).append(&self.secret, BLOCKS, &mut Random::new(7));
        self.world.at(liar).hand = Some(hand);
        self.world.link(liar, self.reader, LATENCY, RATE);
    }

    /// Returns how long the reader takes to get the rarest block of all.
    fn time(mut self, order: Order) -> Duration {
        let began = self.world.now;
        self.world.at(self.reader).want(vec![0..BLOCKS], 0, order);
        self.world.settle(self.reader);
        while !self.world.at(self.reader).arrived.contains(&self.rarest) {
            assert!(self.world.step(forever()), "it never comes");
        }
        let weight = self.world.at(self.reader).replicator.weight_of_all();
        assert!(weight <= PEERS * PEER_BYTES_FREE, "{weight} bytes are remembered");
        self.world.now.since(began)
    }
}

/// Claims everything, and gives nothing; a hand on what it says of what it has makes it wilder.
fn silent(haves: impl FnMut(Frame) -> Vec<Frame> + 'static) -> Hand {
    let mut silent = Liar::new(Script::Silent, BLOCKS).hand();
    let mut haves = haves;
    Box::new(move |frame| silent(frame).into_iter().flat_map(&mut haves).collect())
}

/// Claims everything of a feed that long.
fn endless(length: u64) -> impl FnMut(Frame) -> Vec<Frame> {
    move |frame| match decode(&frame.header, &frame.payload) {
        Ok(Message::Have { channel, head, .. }) => {
            let (held, lost) = (vec![0..length], vec![]);
            let message = Message::Have { channel, length, held, lost, head };
            vec![Frame { header: encode(&message), payload: frame.payload }]
        }
        _ => vec![frame],
    }
}

/// All who claim the rarest block, and do not have it.
fn liars() -> [(&'static str, Hand); 6] {
    [
        ("silent", silent(|frame| vec![frame])),
        ("denies it when asked", Liar::new(Script::Denies, BLOCKS).hand()),
        ("has it no longer when asked", Liar::new(Script::Hides, BLOCKS).hand()),
        ("has it now and now not", silent(Liar::new(Script::Haves, BLOCKS).hand())),
        ("endless", silent(endless((1 << 56) - 1))),
        ("longer than there is", silent(endless(1 << 63))),
    ]
}

#[test]
fn whoever_claims_the_rarest_block_delays_it_by_one_timeout_at_most() {
    let mut worst = Duration::ZERO;
    for keeper in [Keeper::Alone, Keeper::Whole] {
        for (order, rarest) in ORDERS.into_iter().flat_map(|order| PLACES.map(|at| (order, at))) {
            let alone = Scene::new(keeper, rarest, None).time(order);
            for (liar, hand) in liars() {
                let beside = Scene::new(keeper, rarest, Some(hand)).time(order);
                let what = format!("{liar}, {keeper:?}, {order:?}, block {rarest}");
                assert!(beside <= alone + HURRY, "{what}: {alone:?}, beside it {beside:?}");
                worst = worst.max(beside.saturating_sub(alone));
            }
        }
    }
    assert!(worst > HURRY / 2, "some are believed");
    println!("at worst {worst:?} later");
}
