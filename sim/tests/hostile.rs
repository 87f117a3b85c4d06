//! One honest source and nine hostile ones: what is wanted comes about as fast as from the honest one alone.

#![expect(clippy::print_stdout, reason = "a lane prints what it reached")]

use std::time::Duration;

use datnode_feed::SecretKey;
use datnode_proto::{Order, PeerId};
use datnode_sim::hostile::{Liar, Script};
use datnode_sim::{HostId, Random, World};

const LATENCY: Duration = Duration::from_millis(10);
const RATE: u64 = 1_000_000;
const HOSTILE: usize = 9;

/// What a whole crowd of them may cost once, however little is wanted.
const ONCE: Duration = Duration::from_millis(1_100);

/// How long one that comes and goes is there, and is gone.
const STAYS: Duration = Duration::from_millis(30);

/// How many mixed crowds there are.
const SEEDS: u64 = 24;

/// A hostile source.
#[derive(Clone, Copy, Debug)]
struct Source {
    script: Option<Script>,
    latency: Duration,
    rate: u64,
    /// Whether it cuts its connection again and again.
    comes_and_goes: bool,
}

impl Source {
    const fn new(script: Script) -> Self {
        Self { script: Some(script), latency: LATENCY, rate: RATE, comes_and_goes: false }
    }

    /// Sends and takes 2 kB a second.
    const SLOW: Self = Self { script: None, latency: LATENCY, rate: 2_000, comes_and_goes: false };
    /// Sends what is wrong when it was too late already.
    const LATE: Self = Self { latency: Duration::from_millis(700), ..Self::new(Script::Unproven) };
    /// Is never there for long.
    const FLEETING: Self = Self { comes_and_goes: true, ..Self::new(Script::Silent) };

    fn all() -> impl Iterator<Item = Self> + Clone {
        let others = [Self::SLOW, Self::LATE, Self::FLEETING];
        Script::ALL.into_iter().map(Self::new).chain(others)
    }

    fn random(random: &mut Random) -> Self {
        let all: Vec<_> = Self::all().collect();
        let mut source = all[random.below(all.len() as u64) as usize];
        match random.below(4) {
            0 => source.latency = Duration::from_millis(random.below(800)),
            1 => source.rate = 1_000 + random.below(2 * RATE),
            2 => source.comes_and_goes = true,
            _ => {}
        }
        source
    }
}

/// A connection, as both ends call it.
type Link = (PeerId, PeerId);

/// A reader, an honest source, and hostile ones.
struct Scene {
    world: World,
    reader: HostId,
    writer: HostId,
    honest: PeerId,
    /// The hostile ones; those that come and go are connected, or are not.
    hostile: Vec<(HostId, Source, Option<Link>)>,
    blocks: u64,
}

impl Scene {
    fn new(sources: &[Source], blocks: u64) -> Self {
        let secret = SecretKey::from_bytes([9; 32]);
        let mut world = World::new(blocks);
        let writer = world.host(&secret);
        world.at(writer).append(&secret, blocks, &mut Random::new(7));
        let reader = world.host(&secret);
        let hostile = sources.iter().map(|source| {
            // They have all of it, as if they had got it from the writer.
            let host = world.host(&secret);
            world.at(host).append(&secret, blocks, &mut Random::new(7));
            world.at(host).hand = source.script.map(|script| Liar::new(script, blocks).hand());
            let link = world.link(host, reader, source.latency, source.rate);
            (host, *source, Some(link))
        });
        let hostile = hostile.collect();
        let (_, honest) = world.link(writer, reader, LATENCY, RATE);
        Self { world, reader, writer, honest, hostile, blocks }
    }

    /// Those that come and go do so.
    fn churn(&mut self) {
        for (host, source, link) in &mut self.hostile {
            if source.comes_and_goes {
                match link.take() {
                    Some(link) => self.world.cut(*host, link),
                    None => {
                        let (latency, rate) = (source.latency, source.rate);
                        *link = Some(self.world.link(*host, self.reader, latency, rate));
                    }
                }
            }
        }
    }

    /// Returns how long the reader takes for everything.
    fn time(mut self, order: Order) -> Duration {
        let kinds: Vec<_> = self.hostile.iter().map(|(_, source, _)| *source).collect();
        let started = self.world.now;
        let asked = self.world.at(self.reader).want(vec![0..self.blocks], 0, order);
        self.world.settle(self.reader);
        let mut churned = started;
        while !self.world.at(self.reader).done.contains(&asked) {
            let span = self.world.now.since(started);
            assert!(span < Duration::from_secs(600), "{kinds:?}: it never ends");
            let soon = self.world.now + Duration::from_millis(1);
            self.world.run(soon);
            self.world.now = self.world.now.max(soon);
            if self.world.now.since(churned) >= STAYS {
                churned = self.world.now;
                self.churn();
            }
        }
        let took = self.world.now.since(started);
        assert!(self.world.at(self.writer).faults.is_empty(), "{kinds:?}: the reader is honest");
        let faults = &self.world.at(self.reader).faults;
        assert!(!faults.contains(&self.honest), "{kinds:?}: so is the writer");
        for block in 0..self.blocks {
            let theirs = self.world.at(self.writer).block(block);
            assert!(self.world.at(self.reader).block(block) == theirs);
        }
        took
    }
}

/// Returns how long a reader takes for so many blocks from an honest source, beside hostile ones.
fn time(hostile: &[Source], blocks: u64, order: Order) -> Duration {
    Scene::new(hostile, blocks).time(order)
}

/// Nine of a kind, and all kinds together.
fn crowds() -> impl Iterator<Item = Vec<Source>> {
    let mixed = (0..2).map(|half| Source::all().skip(half * HOSTILE).take(HOSTILE).collect());
    Source::all().map(|source| vec![source; HOSTILE]).chain(mixed)
}

#[test]
fn nine_hostile_sources_at_most_double_the_time() {
    for (blocks, order) in [(1_000, Order::Linear), (2_000, Order::Rarest)] {
        let alone = time(&[], blocks, order);
        for hostile in crowds() {
            let beside = time(&hostile, blocks, order);
            assert!(beside <= alone * 2, "{hostile:?}: {alone:?}, beside them {beside:?}");
        }
    }
}

#[test]
fn whoever_floods_waits_for_its_turn() {
    let fast = Source { rate: 100 * RATE, ..Source::new(Script::Haves) };
    let mut scene = Scene::new(&[fast], 2_000);
    scene.world.run(datnode_sim::scenario::forever());
    assert!(scene.world.waits > 0);
    assert_eq!(scene.world.at(scene.reader).faults, [], "it breaks no rule");
    scene.time(Order::Linear);
}

#[test]
fn nine_hostile_sources_cost_a_second_when_little_is_wanted() {
    for blocks in [1, 40] {
        let alone = time(&[], blocks, Order::Rarest);
        for hostile in crowds() {
            let beside = time(&hostile, blocks, Order::Rarest);
            assert!(beside <= alone + ONCE, "{hostile:?}: {alone:?}, beside them {beside:?}");
        }
    }
}

#[test]
fn mixed_crowds_at_most_double_the_time() {
    const BLOCKS: u64 = 2_000;
    let alone = [Order::Linear, Order::Rarest].map(|order| time(&[], BLOCKS, order));
    let mut worst = 0.0_f64;
    for seed in 0..SEEDS {
        let mut random = Random::new(seed);
        let hostile: Vec<_> = (0..HOSTILE).map(|_| Source::random(&mut random)).collect();
        let (order, alone) = match random.below(2) {
            0 => (Order::Linear, alone[0]),
            _ => (Order::Rarest, alone[1]),
        };
        let beside = time(&hostile, BLOCKS, order);
        assert!(beside <= alone * 2, "seed {seed}, {hostile:?}: {alone:?}, beside {beside:?}");
        worst = worst.max(beside.as_secs_f64() / alone.as_secs_f64());
    }
    println!("{SEEDS} seeds, crowds of {HOSTILE}: at worst {worst:.2} of the time alone");
}
