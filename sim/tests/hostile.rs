//! One honest source and nine hostile ones: what is wanted comes about as fast as from the honest one alone. THREATS G8.

use std::time::Duration;

use bytes::Bytes;
use datnode_feed::SecretKey;
use datnode_proto::wire::{Message, Runs, decode, encode};
use datnode_proto::{Frame, Order};
use datnode_sim::{Hand, HostId, Random, World};

const LATENCY: Duration = Duration::from_millis(10);
const RATE: u64 = 1_000_000;
const HOSTILE: usize = 9;

/// What a whole crowd of them may cost once, however little is wanted.
const ONCE: Duration = Duration::from_millis(1_100);

/// What a hostile source does.
#[derive(Clone, Copy, Debug)]
enum Source {
    /// Sends no block.
    Silent,
    /// Sends blocks over a link of 2 kB a second.
    Slow,
    /// Says that it does not have what it was asked for, and that it has everything.
    Denies,
    /// Sends other bytes.
    WrongBytes,
    /// Sends bytes whose proofs end nowhere.
    Unproven,
    /// Sends them when it was too late already.
    LateAndUnproven,
}

impl Source {
    const ALL: [Self; 6] = [
        Self::Silent,
        Self::Slow,
        Self::Denies,
        Self::WrongBytes,
        Self::Unproven,
        Self::LateAndUnproven,
    ];

    const fn rate(self) -> u64 {
        if matches!(self, Self::Slow) { 2_000 } else { RATE }
    }

    const fn latency(self) -> Duration {
        if matches!(self, Self::LateAndUnproven) { Duration::from_millis(700) } else { LATENCY }
    }

    fn hand(self, length: u64) -> Hand {
        Box::new(move |frame| {
            let Ok(Message::Block { channel, id, block, siblings }) =
                decode(&frame.header, &frame.payload)
            else {
                return vec![frame];
            };
            let say = |message| Frame { header: encode(&message), payload: Bytes::new() };
            match self {
                Self::Slow => vec![frame],
                Self::Silent => Vec::new(),
                Self::Denies => {
                    let (blocks, head) = (vec![block.0..block.0 + 1], None);
                    let (held, lost) = (vec![0..length], Runs::new());
                    vec![
                        say(Message::Missing { channel, id, blocks }),
                        say(Message::Have { channel, length, held, lost, head }),
                    ]
                }
                Self::WrongBytes => {
                    let payload = frame.payload.iter().map(|byte| byte ^ 1).chain([0]).collect();
                    let message = Message::Block { channel, id, block, siblings };
                    vec![Frame { header: encode(&message), payload }]
                }
                Self::Unproven | Self::LateAndUnproven => {
                    let (siblings, payload) = (Vec::new(), Bytes::from_static(b"anything"));
                    let message = Message::Block { channel, id, block, siblings };
                    vec![Frame { header: encode(&message), payload }]
                }
            }
        })
    }
}

/// Returns how long a reader takes for so many blocks from an honest source, beside hostile ones.
fn time(hostile: &[Source], blocks: u64, order: Order) -> Duration {
    let secret = SecretKey::from_bytes([9; 32]);
    let mut world = World::new(blocks);
    let writer = world.host(&secret);
    world.at(writer).append(&secret, blocks, &mut Random::new(7));
    let sources: Vec<HostId> = hostile.iter().map(|_| world.host(&secret)).collect();
    for &host in &sources {
        // They have all of it, from the writer.
        world.at(host).want(vec![0..blocks], 0, Order::Linear);
        let link = world.link(writer, host, Duration::ZERO, 1 << 40);
        world.run(world.now + Duration::from_secs(60));
        world.cut(writer, link);
    }
    let reader = world.host(&secret);
    for (&host, source) in sources.iter().zip(hostile) {
        world.at(host).hand = Some(source.hand(blocks));
        world.link(host, reader, source.latency(), source.rate());
    }
    let (_, honest) = world.link(writer, reader, LATENCY, RATE);
    let started = world.now;
    let asked = world.at(reader).want(vec![0..blocks], 0, order);
    world.settle(reader);
    while !world.at(reader).done.contains(&asked) {
        assert!(world.now.since(started) < Duration::from_secs(600), "{hostile:?}: it never ends");
        let soon = world.now + Duration::from_millis(1);
        world.run(soon);
        world.now = world.now.max(soon);
    }
    assert!(world.at(writer).faults.is_empty(), "{hostile:?}: the reader is honest");
    assert!(!world.at(reader).faults.contains(&honest), "{hostile:?}: so is the writer");
    for block in 0..blocks {
        assert!(world.at(reader).block(block) == world.at(writer).block(block));
    }
    world.now.since(started)
}

/// Nine of a kind, and all kinds together.
fn crowds() -> impl Iterator<Item = Vec<Source>> {
    let mixed = Source::ALL.into_iter().cycle().take(HOSTILE).collect();
    Source::ALL.into_iter().map(|source| vec![source; HOSTILE]).chain([mixed])
}

#[test]
fn nine_hostile_sources_at_most_double_the_time() {
    for (blocks, order) in [(1_000, Order::Linear), (3_000, Order::Rarest)] {
        let alone = time(&[], blocks, order);
        for hostile in crowds() {
            let beside = time(&hostile, blocks, order);
            assert!(beside <= alone * 2, "{hostile:?}: {alone:?}, beside them {beside:?}");
        }
    }
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
