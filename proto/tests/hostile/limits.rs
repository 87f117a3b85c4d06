//! What is at a limit passes; what is one beyond costs the peer its stream, or is forgotten.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use datnode_feed::{Bitfield, BlockIndex, Comparison};
use datnode_proto::limits::{
    ANNOUNCE_EVERY, BLOCK_BYTES_GUESS, BLOCK_COST, CHANGES_MAX, CHANNELS_MAX, LEASE_BLOCKS_MAX,
    LEASE_BLOCKS_MIN, LEASE_BYTES_UNKNOWN, MISSING_MAX, OPENS_MAX, PASSED_MAX, PAYLOAD_BYTES_MAX,
    PROBES_MAX, REQUEST_RUNS_MAX, RUNS_MAX, STALL_PAUSE, VERSIONS,
};
use datnode_proto::wire::{Channel, Hello, Message, Wanted, decode, encode};
use datnode_proto::{
    Binding, Done, Fault, Instant, Job, Order, Priority, Replicator, RequestId, Target, Want,
};

use crate::victim::{CHANNEL, FEED, NOW, PEER, Victim, have, head, request, tell_until_fault};

#[test]
fn requests_have_so_many_runs_in_all() {
    let mut victim = Victim::new(0..0);
    victim.replicator.handle_head(FEED, head(1 << 20));
    let wanted: Vec<_> = (0..RUNS_MAX as u64).map(|run| 2 * run..2 * run + 1).collect();
    let mut asked = 0;
    let fault = loop {
        victim.tell(&request(asked, 1 << 20, Wanted::Blocks(wanted.clone())));
        match victim.fault() {
            Some(fault) => break fault,
            None => asked += 1,
        }
    };
    assert_eq!(fault, Fault::TooMany("runs in requests"));
    assert_eq!(asked as usize, REQUEST_RUNS_MAX / RUNS_MAX);
}

#[test]
fn a_request_that_is_cancelled_to_pieces_has_a_limit() {
    let mut victim = Victim::new(0..0);
    victim.replicator.handle_head(FEED, head(1 << 20));
    victim.tell(&request(1, 1 << 20, Wanted::Blocks(vec![0..1 << 20])));
    let fault = (0..).find_map(|piece| {
        let first = piece * 2 * RUNS_MAX as u64;
        let blocks = (0..RUNS_MAX as u64).map(|run| first + 2 * run..first + 2 * run + 1).collect();
        victim.tell(&Message::Cancel { channel: CHANNEL, id: RequestId(1), blocks });
        victim.fault().map(|fault| (piece as usize, fault))
    });
    let pieces = REQUEST_RUNS_MAX / RUNS_MAX;
    assert_eq!(fault, Some((pieces, Fault::TooMany("runs in requests"))));
}

#[test]
fn feeds_are_opened_so_often_and_so_many() {
    let open = |number: u64| Message::Open {
        channel: Channel(u32::try_from(number).expect("numbers are small") + 100),
        nonce: [9; 16],
        tag: [0; 32],
    };
    let mut victim = Victim::new(0..0);
    let (opened, fault) = tell_until_fault(&mut victim, open);
    let most = CHANNELS_MAX as u64 - 1;
    assert_eq!((opened, fault), (most, Fault::TooMany("feeds")), "it takes no answer");

    let mut victim = Victim::new(0..0);
    let most = u64::from(OPENS_MAX) - 1;
    for number in 0..most {
        victim.tell(&open(number));
        victim.drain();
    }
    assert_eq!(victim.fault(), None);
    victim.tell(&open(most));
    assert_eq!(victim.fault(), Some(Fault::TooMany("feeds")));
}

#[test]
fn a_peer_far_behind_is_asked_at_lengths_that_we_remember() {
    let asked = |behind: u64| {
        let mut victim = Victim::new(0..0);
        let ours = 200 + PASSED_MAX as u64;
        (101..=ours).for_each(|length| victim.replicator.handle_head(FEED, head(length)));
        victim.tell(&have(ours - behind, vec![0..50], vec![]));
        let target = Target::Blocks(vec![0..10]);
        victim
            .replicator
            .want(FEED, Want { priority: Priority(0), order: Order::Linear, ..Want::new(target) });
        victim.sent().iter().any(|message| matches!(message, Message::Request { .. }))
    };
    let remembered = PASSED_MAX as u64;
    assert!(asked(0) && asked(remembered - 1));
    assert!(!asked(remembered), "the memory of a feed is bounded");
}

#[test]
fn versions_must_meet() {
    let (oldest, newest) = (*VERSIONS.start(), *VERSIONS.end());
    for (version_min, version_max, fault) in [
        (oldest, newest, None),
        (newest, newest + 9, None),
        (0, oldest, None),
        (newest + 1, newest + 9, Some(Fault::Version(newest + 1))),
        (0, oldest - 1, Some(Fault::Version(oldest - 1))),
    ] {
        let mut replicator = Replicator::new([0; 32]);
        let binding = Binding { ours: b"us".into(), theirs: b"them".into() };
        replicator.handle_connected(NOW, PEER, binding);
        let mut victim = Victim { replicator };
        let agent = String::new();
        let hello = Hello { version_min, version_max, features: 0, agent, credit: 0 };
        victim.tell(&Message::Hello(hello));
        assert_eq!(victim.fault(), fault, "{version_min} to {version_max}");
    }
}

#[test]
fn so_many_blocks_are_fetched_to_tell_histories_apart() {
    let mut victim = Victim::new(0..0);
    for length in 1..40 {
        let (held, lost, theirs) = (vec![0..length], vec![], Some(head(length)));
        victim.tell(&Message::Have { channel: CHANNEL, length, held, lost, head: theirs });
        let Some(Job::Compare { peer, feed, head }) = victim.replicator.poll_job() else {
            unreachable!("heads are compared")
        };
        let result = Ok(Comparison::Unknown);
        victim.replicator.handle_done(NOW, Done::Compared { peer, feed, head, result });
    }
    victim.tell(&have(100, vec![0..100], vec![]));
    let asked = victim.asked_blocks();
    assert_eq!(asked, PROBES_MAX as u64);
}

#[test]
fn a_lease_names_so_many_blocks() {
    let mut victim = Victim::new(0..0);
    victim.want_a_million(0);
    let lease = LEASE_BYTES_UNKNOWN / (BLOCK_BYTES_GUESS + BLOCK_COST);
    assert_eq!(victim.asked_blocks(), lease.max(LEASE_BLOCKS_MIN));

    // Blocks turn out to be as large as they may be: fewer of them are a lease, but some.
    let mut victim = Victim::new(0..0);
    victim.tell(&have(100, vec![0..1], vec![]));
    let target = Target::Blocks(vec![0..1]);
    victim
        .replicator
        .want(FEED, Want { priority: Priority(0), order: Order::Linear, ..Want::new(target) });
    let request = victim.ask();
    victim.send(request, 0, Bytes::from(vec![7; PAYLOAD_BYTES_MAX]));
    victim.store(0);
    victim.want_a_million(0);
    assert_eq!(victim.asked_blocks(), LEASE_BLOCKS_MIN);

    // They turn out to be tiny, and come fast, as far as the credit goes.
    let mut victim = Victim::new(0..0);
    victim.want_a_million(0);
    let (mut owed, mut most) = (VecDeque::new(), 0);
    for count in 0..100_000 {
        if count % 250 == 0 {
            for message in victim.sent() {
                let Message::Request { request, .. } = message else { continue };
                let Wanted::Blocks(runs) = request.wanted else { continue };
                owed.extend(runs.into_iter().flatten().map(|block| (request.id, block)));
            }
            most = most.max(owed.len() as u64);
        }
        let Some((id, block)) = owed.pop_front() else { continue };
        let (now, block) = (NOW + Duration::from_micros(26) * count, BlockIndex(block));
        let header = encode(&Message::Block { channel: CHANNEL, id, block, siblings: vec![] });
        victim.replicator.handle_frame(now, PEER, &header, Bytes::from_static(b"!"));
        victim.store(0);
    }
    assert_eq!((most, victim.fault()), (LEASE_BLOCKS_MAX, None));
}

#[test]
fn a_peer_that_refuses_so_often_is_left_alone() {
    let mut victim = Victim::new(0..0);
    victim.want_ten();
    let mut refused = 0;
    while let Some(id) = victim.next_request() {
        victim.tell(&Message::Missing { channel: CHANNEL, id, blocks: vec![0..10] });
        // It says that it has them all the same.
        victim.tell(&have(100, vec![0..10], vec![]));
        refused += 1;
    }
    assert_eq!(refused, MISSING_MAX + 1);
    victim.replicator.handle_timeout(NOW + STALL_PAUSE);
    assert!(victim.next_request().is_some(), "for a while");
}

#[test]
fn changes_are_told_so_often() {
    let mut victim = Victim::new(0..0);
    let told = |victim: &mut Victim, now: Instant| {
        let frames = std::iter::from_fn(|| victim.replicator.poll_transmit(now, PEER));
        let messages = frames.map(|frame| decode(&frame.header, b"").expect("it can be read"));
        messages.filter(|message| matches!(message, Message::Have { .. })).count()
    };
    assert_eq!(told(&mut victim, NOW), 0, "all was told already");
    victim.replicator.handle_have(FEED, 0..1);
    assert_eq!(told(&mut victim, NOW), 0, "it was told just now");
    let later = NOW + ANNOUNCE_EVERY;
    assert_eq!(victim.replicator.poll_timeout(), Some(later));
    victim.replicator.handle_have(FEED, 1..2);
    assert_eq!(told(&mut victim, later), 1, "both at once");
}

#[test]
fn all_that_changed_is_announced_also_to_those_whom_more_is_to_be_told_than_is_remembered() {
    let most = CHANGES_MAX as u64;
    for changes in [1, most - 1, most, most + 1, 3 * most] {
        let mut victim = Victim::new(0..0);
        victim.replicator.handle_head(FEED, head(1 << 20));
        victim.drain();
        // One by one, the last ones first, and some are lost again.
        for block in (0..changes).rev() {
            victim.replicator.handle_have(FEED, 2 * block..2 * block + 1);
        }
        victim.replicator.handle_lost(FEED, 0..2);
        let mut told = Bitfield::new();
        let mut now = NOW;
        loop {
            now = now + ANNOUNCE_EVERY;
            let Some(frame) = victim.replicator.poll_transmit(now, PEER) else { break };
            if let Message::Have { held, .. } = decode(&frame.header, &frame.payload).unwrap() {
                held.into_iter().for_each(|run| told.set_range(run));
            }
        }
        let right: Bitfield = (1..changes).map(|block| 2 * block..2 * block + 1).collect();
        assert_eq!(told, right, "{changes}");
    }
}
