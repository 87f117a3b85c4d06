//! Hot-swap: who takes over what from whom, and who does not.

use std::time::Duration;

use datnode_proto::limits::{HELD_LATELY, HURRY, LOOK_EVERY, SWAP_GAIN, TRIAL_BLOCKS};
use datnode_proto::wire::{Request, Runs, Wanted};
use datnode_proto::{Limits, Order, PeerId, Target, Want};

use crate::reader::Reader;

const SLOW: PeerId = PeerId(0);
const FAST: PeerId = PeerId(1);

fn linear(runs: Runs, hotswap: bool) -> Want {
    Want { order: Order::Linear, hotswap, ..Want::new(Target::Blocks(runs)) }
}

/// Two peers of which the first owes the blocks from 0 on, and the second is about to have sent all from 100 on, at
/// `times` the rate; returns what the first was asked for.
fn race(reader: &mut Reader, times: u64, hotswap: bool) -> Request {
    let fast_blocks = 10 * times;
    reader.holds(SLOW, vec![0..63]);
    reader.select(linear(vec![0..63, 100..100 + fast_blocks], hotswap));
    let slow = reader.asks(SLOW).remove(0);
    let fast = reader.asks(FAST).remove(0);
    assert_eq!(slow.wanted, Wanted::Blocks(vec![0..63]));
    assert_eq!(fast.wanted, Wanted::Blocks(vec![100..100 + fast_blocks]));
    for block in 0..10 {
        reader.wait(Duration::from_millis(90));
        reader.send(SLOW, slow.id, block, Ok(block));
        for more in 0..times {
            reader.send(FAST, fast.id, 100 + block * times + more, Ok(block));
        }
    }
    slow
}

#[test]
fn what_may_be_on_its_way_is_left_to_a_peer_that_is_hardly_slower_and_all_if_that_is_wanted() {
    // The credit lets all of it go at once.
    for (times, hotswap) in [(1, true), (6, false)] {
        let mut reader = Reader::measured(2);
        race(&mut reader, times, hotswap);
        reader.wait(Duration::from_millis(300));
        assert_eq!(reader.blocks_asked(FAST), [0_u64; 0]);
        assert_eq!(reader.cancels(SLOW), []);
    }
}

#[test]
fn a_far_faster_peer_takes_over_the_tail_and_the_slow_one_is_told() {
    let mut reader = Reader::measured(2);
    let slow = race(&mut reader, 6, true);
    let taken = reader.blocks_asked(FAST);
    let first = taken[0];
    assert!((16..20).contains(&first), "a seventh is left to it: {first}");
    assert!(taken.iter().copied().eq(first..63));
    assert_eq!(reader.cancels(SLOW), [(slow.id, vec![first..63])]);
    // What was on its way is welcome, and then need not come from the other one.
    reader.send(SLOW, slow.id, 62, Ok(62));
    assert_eq!(reader.cancels(FAST).len(), 1);
    assert_eq!(reader.fault(), None);
}

#[test]
fn who_never_answered_loses_what_it_owes_to_who_does() {
    let mut reader = Reader::measured(2);
    reader.holds(SLOW, vec![0..63]);
    reader.select(linear(vec![0..63, 100..200], true));
    assert_eq!(reader.blocks_asked(SLOW).len(), 63);
    let fast = reader.asks(FAST).remove(0);
    for block in 100..200 {
        reader.wait(Duration::from_millis(1));
        reader.send(FAST, fast.id, block, Ok(block));
    }
    let mut taken = Vec::new();
    for _ in 0..4 {
        taken.extend(reader.blocks_asked(FAST));
        reader.wait(LOOK_EVERY);
    }
    assert!(taken.contains(&62), "{taken:?}");
}

#[test]
fn what_our_own_limit_holds_back_is_taken_over_by_nobody() {
    for limit in [None, Some(10_000)] {
        let mut reader = Reader::measured(2);
        race(&mut reader, 6, true);
        reader.replicator.limit(reader.now, Limits { up: None, down: limit });
        // The one that owes something is granted nothing now.
        reader.wait(Duration::from_millis(1));
        let taken = reader.blocks_asked(FAST);
        assert_eq!(taken.is_empty(), limit.is_some(), "{taken:?}");
    }
    assert!(HELD_LATELY > LOOK_EVERY, "it is looked again before that is over");
}

#[test]
fn nothing_is_exchanged_for_less_than_the_way_and_a_little_more() {
    let mut reader = Reader::measured(2);
    reader.holds(SLOW, vec![0..63]);
    reader.select(linear(vec![0..63, 100..163], true));
    let slow = reader.asks(SLOW).remove(0);
    let fast = reader.asks(FAST).remove(0);
    // Both send all but the last block of the first, which is due just now.
    for block in 0..63 {
        reader.wait(SWAP_GAIN / 4);
        reader.send(FAST, fast.id, 100 + block, Ok(block));
        if block < 62 {
            reader.send(SLOW, slow.id, block, Ok(block));
        }
    }
    assert!(reader.blocks_asked(FAST).is_empty());
    reader.wait(SWAP_GAIN * 9);
    assert_eq!(reader.blocks_asked(FAST), [62], "it is late");
}

#[test]
fn a_new_peer_is_tried_out_with_little() {
    let mut reader = Reader::measured(2);
    reader.holds(FAST, vec![0..63]);
    reader.select(linear(vec![0..1_000], true));
    let slow = reader.asks(SLOW).remove(0);
    for block in 0..20 {
        reader.wait(Duration::from_millis(90));
        reader.send(SLOW, slow.id, block, Ok(block));
    }
    // The second one told nothing so far of which more was wanted.
    let taken = reader.blocks_asked(FAST);
    assert!(taken.len() as u64 <= TRIAL_BLOCKS, "{taken:?}");
}

#[test]
fn who_stalls_is_left_alone_though_others_took_over_all_that_it_owed() {
    let mut reader = Reader::measured(2);
    reader.holds(SLOW, vec![0..16, 90..91]);
    reader.select(linear(vec![0..16, 100..116], true));
    let slow = reader.asks(SLOW).remove(0);
    let fast = reader.asks(FAST).remove(0);
    for block in 0..16 {
        reader.wait(SWAP_GAIN / 2);
        if block < 12 {
            reader.send(SLOW, slow.id, block, Ok(block));
        }
        reader.send(FAST, fast.id, 100 + block, Ok(block));
    }
    // One of them is silent now; the other one takes over all of it before it would lose it for that alone.
    let (silent, mut taken) = (reader.now, Vec::new());
    while taken.len() < 4 {
        reader.wait(LOOK_EVERY / 2);
        taken.extend(reader.owed(FAST));
        assert!(reader.now.since(silent) < HURRY / 2, "{taken:?}");
    }
    assert!(reader.withdraws(SLOW));
    reader.select(linear(vec![90..91], true));
    assert_eq!(reader.asked(2), [1], "the first one sent nothing since");
}
