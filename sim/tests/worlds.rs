//! Small worlds with a point, and many random ones.

use std::time::Duration;

use datnode_feed::SecretKey;
use datnode_proto::Order;
use datnode_sim::{HostId, Random, World, scenario};

const FAST: u64 = 10_000_000;

fn secret() -> SecretKey {
    SecretKey::from_bytes([9; 32])
}

fn world(readers: usize, blocks: u64) -> (World, HostId, Vec<HostId>) {
    let mut world = World::new(1);
    let writer = world.host(&secret());
    world.at(writer).append(&secret(), blocks, &mut Random::new(7));
    let readers = (0..readers).map(|_| world.host(&secret())).collect();
    (world, writer, readers)
}

fn milliseconds(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn finish(world: &mut World) {
    world.run(scenario::forever());
}

#[test]
fn a_feed_is_copied_whole_and_each_block_once() {
    let (mut world, writer, readers) = world(1, 300);
    let reader = readers[0];
    world.at(reader).want(vec![0..300], 0, Order::Rarest);
    world.link(writer, reader, milliseconds(10), FAST);
    finish(&mut world);
    let mut arrived = world.at(reader).arrived.clone();
    assert_eq!(world.at(reader).done.len(), 1);
    arrived.sort_unstable();
    assert!(arrived.into_iter().eq(0..300));
}

#[test]
fn whoever_keeps_to_the_protocol_waits_for_no_turn() {
    let (mut world, writer, readers) = world(3, 2_000);
    let all: Vec<_> = readers.iter().copied().chain([writer]).collect();
    for (at, &one) in all.iter().enumerate() {
        for &other in &all[at + 1..] {
            world.link(one, other, milliseconds(1), 100 * FAST);
        }
    }
    for &reader in &readers {
        world.at(reader).want(vec![0..2_000], 0, Order::Rarest);
        world.settle(reader);
    }
    finish(&mut world);
    assert!(readers.iter().all(|&reader| world.at(reader).done.len() == 1));
    assert_eq!(world.waits, 0);
}

#[test]
fn sparse_wants_bring_exactly_what_was_asked() {
    let (mut world, writer, readers) = world(1, 50);
    world.at(readers[0]).want(vec![0..1, 3..4], 0, Order::Linear);
    world.link(writer, readers[0], milliseconds(10), FAST);
    finish(&mut world);
    assert_eq!(world.at(readers[0]).arrived, [0, 3]);
}

#[test]
fn bytes_bring_the_blocks_that_hold_them() {
    let (mut world, writer, readers) = world(1, 50);
    let reader = readers[0];
    world.at(reader).want_bytes(5_000..9_000);
    world.link(writer, reader, milliseconds(10), FAST);
    finish(&mut world);
    assert_eq!(world.at(reader).done.len(), 1);
    let arrived = world.at(reader).arrived.clone();
    let mut at = 0;
    for block in 0..50 {
        let len = world.at(writer).block(block).unwrap().len() as u64;
        let holds = len > 0 && at < 9_000 && at + len > 5_000;
        assert!(arrived.contains(&block) == holds || len == 0, "block {block}");
        at += len;
    }
}

#[test]
fn a_late_reader_catches_up_through_a_relay() {
    let (mut world, writer, readers) = world(2, 120);
    for &reader in &readers {
        world.at(reader).want(vec![0..120], 0, Order::Rarest);
    }
    let link = world.link(writer, readers[0], milliseconds(20), FAST);
    finish(&mut world);
    world.cut(writer, link);
    world.link(readers[0], readers[1], milliseconds(20), FAST);
    finish(&mut world);
    assert_eq!(world.at(readers[1]).arrived.len(), 120);
}

#[test]
fn appends_arrive_live() {
    let (mut world, writer, readers) = world(1, 5);
    world.link(writer, readers[0], milliseconds(5), FAST);
    finish(&mut world);
    world.at(writer).append(&secret(), 3, &mut Random::new(8));
    world.settle(writer);
    finish(&mut world);
    assert_eq!(world.at(readers[0]).length(), 8);
}

#[test]
fn several_sources_share_the_work() {
    let (mut world, writer, readers) = world(3, 400);
    for &source in &readers[..2] {
        world.at(source).want(vec![0..400], 0, Order::Rarest);
        world.link(writer, source, milliseconds(1), FAST);
    }
    finish(&mut world);
    let reader = readers[2];
    world.at(reader).want(vec![0..400], 0, Order::Rarest);
    for source in [writer, readers[0], readers[1]] {
        world.link(source, reader, milliseconds(10), 200_000);
    }
    finish(&mut world);
    assert_eq!(world.at(reader).arrived.len(), 400);
    let shares: Vec<u64> = world.at(reader).replicator.peers().map(|peer| peer.blocks_in).collect();
    assert_eq!(shares.iter().sum::<u64>(), 400, "each block came once: {shares:?}");
}

#[test]
fn a_source_that_dies_is_replaced() {
    let (mut world, writer, readers) = world(2, 400);
    world.at(readers[0]).want(vec![0..400], 0, Order::Rarest);
    world.link(writer, readers[0], milliseconds(1), FAST);
    finish(&mut world);
    world.at(readers[1]).want(vec![0..400], 0, Order::Rarest);
    let dying = world.link(writer, readers[1], milliseconds(10), 100_000);
    world.link(readers[0], readers[1], milliseconds(10), 100_000);
    let soon = world.now + Duration::from_secs(1);
    world.run(soon);
    world.cut(writer, dying);
    finish(&mut world);
    assert_eq!(world.at(readers[1]).arrived.len(), 400);
}

#[test]
fn urgent_blocks_overtake_bulk() {
    let (mut world, writer, readers) = world(1, 2_000);
    let reader = readers[0];
    world.at(reader).want(vec![0..1_900], 0, Order::Linear);
    world.link(writer, reader, milliseconds(10), 500_000);
    let soon = world.now + Duration::from_secs(2);
    world.run(soon);
    let before = world.at(reader).arrived.len();
    world.at(reader).want(vec![1_950..1_951], 200, Order::Linear);
    world.settle(reader);
    finish(&mut world);
    let at = world.at(reader).arrived.iter().position(|block| *block == 1_950).unwrap();
    assert!(before > 0 && at < 1_900, "asked after {before}, came after {at}");
    assert!(at - before < 700, "asked after {before}, came after {at}");
}

#[test]
fn one_seed_gives_one_trace() {
    for seed in 0..32 {
        assert_eq!(scenario::run(seed), scenario::run(seed), "seed {seed}");
    }
}

#[test]
fn random_worlds_converge() {
    for seed in 0..300 {
        let outcome = scenario::run(seed);
        assert!(outcome.problems.is_empty(), "seed {seed}: {outcome:?}");
    }
}
