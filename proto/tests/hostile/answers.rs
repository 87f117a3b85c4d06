//! Blocks: unasked for, late, twice, too many, too small, too large.

use bytes::Bytes;
use datnode_feed::{BlockIndex, leaf};
use datnode_proto::limits::{
    BACKLOG_MAX, BLOCK_COST, CREDIT_MAX, CREDIT_START, DISK_PAUSE, LATE_REQUESTS_MAX,
    PAYLOAD_BYTES_MAX, READ_AHEAD_BYTES, READ_BYTES_MAX, SIBLING_COST, STALL, STALL_PAUSE,
    TRIAL_BLOCKS,
};
use datnode_proto::wire::{Message, Wanted};
use datnode_proto::{Done, Failure, Fault, Job, Order, Priority, RequestId, Target, Want};

use crate::victim::{CHANNEL, FEED, NOW, Victim, have, head, read, request};

#[test]
fn a_block_far_beyond_the_head_answers_no_request() {
    let mut victim = Victim::new(0..0);
    let whole = have(100, vec![0..100], vec![]);
    victim.tell(&whole);
    let target = Target::Bytes(0..1_000);
    let want = Want { priority: Priority(1), order: Order::Linear, ..Want::new(target) };
    victim.replicator.want(FEED, want);
    victim.drain();
    let (id, block, siblings) = (RequestId(0), BlockIndex((1 << 56) - 1), vec![]);
    let answer = Message::Block { channel: CHANNEL, id, block, siblings };
    victim.tell_with(&answer, Bytes::from_static(b"x"));
    assert_eq!(victim.fault(), Some(Fault::Unexpected("block beyond the head")));
}

#[test]
fn answers_that_a_close_made_vain_hold_nothing_back() {
    let mut victim = Victim::new(0..100);
    victim.tell(&request(1, 100, Wanted::Blocks(vec![0..100])));
    let reads: Vec<_> = std::iter::from_fn(|| victim.replicator.poll_job()).collect();
    for job in reads {
        victim.replicator.handle_done(NOW, read(job));
    }
    // More answers are ready than may be under way by their size; the peer takes none.
    assert_eq!(victim.replicator.poll_job(), None);
    victim.tell(&Message::Close { channel: CHANNEL });
    victim.open();
    victim.tell(&request(2, 100, Wanted::Blocks(vec![0..100])));
    let reads = std::iter::from_fn(|| victim.replicator.poll_job()).count();
    let most = READ_BYTES_MAX.min(CREDIT_START + READ_AHEAD_BYTES);
    assert_eq!(reads as u64, most / (32 << 10), "there is room again");
    assert_eq!(victim.fault(), None);
}

#[test]
fn a_peer_that_was_frozen_twice_may_answer_everything_it_was_asked() {
    let mut victim = Victim::new(0..0);
    victim.want_ten();
    let mut asked = vec![(victim.ask(), 10)];
    let mut now = NOW;
    for _ in 0..2 {
        // It stalls, is left alone, and is asked anew, for little.
        for span in [STALL, STALL_PAUSE] {
            now = now + span;
            victim.replicator.handle_timeout(now);
        }
        asked.push((victim.ask(), TRIAL_BLOCKS));
    }
    let mut stored = 0;
    for (request, blocks) in asked {
        for block in 0..blocks {
            victim.send(request, block, Bytes::from_static(b"block"));
            stored += victim.store(0);
        }
    }
    assert_eq!((victim.fault(), stored), (None, 10));
    victim.send(RequestId(0), 3, Bytes::from_static(b"block"));
    assert_eq!(victim.fault(), Some(Fault::Unexpected("block nobody asked for")));
}

#[test]
fn a_block_that_is_with_the_store_is_not_stored_twice() {
    let mut victim = Victim::new(0..0);
    victim.tell(&have(100, vec![0..100], vec![]));
    let want =
        Want { priority: Priority(1), order: Order::Linear, ..Want::new(Target::Bytes(0..50)) };
    victim.replicator.want(FEED, want);
    let request = victim.ask();
    for _ in 0..1_000 {
        victim.send(request, 3, Bytes::from_static(b"block"));
    }
    assert_eq!((victim.store(20), victim.fault()), (1, None));
}

#[test]
fn blocks_far_from_the_bytes_that_were_asked_for_are_a_fault() {
    for (at, fault) in [
        (0, None),
        (1_010, None),
        (2_000, None),
        (2_001, Some(Fault::Unexpected("block nobody asked for"))),
        (900, Some(Fault::Unexpected("block nobody asked for"))),
    ] {
        let mut victim = Victim::new(0..0);
        victim.tell(&have(100, vec![0..100], vec![]));
        let target = Target::Bytes(1_000..2_000);
        let want = Want { priority: Priority(1), order: Order::Linear, ..Want::new(target) };
        victim.replicator.want(FEED, want);
        let request = victim.ask();
        let len = if at == 0 { 1_000 } else { 50 };
        victim.send(request, 3, Bytes::from(vec![7; len]));
        assert_eq!((victim.store(at), victim.fault()), (1, fault), "{at}");
    }
}

#[test]
fn small_blocks_use_up_the_credit_too() {
    let mut victim = Victim::new(0..0);
    victim.replicator.handle_head(FEED, head(1 << 20));
    victim.tell(&have(1 << 20, vec![0..1 << 20], vec![]));
    let want =
        Want { priority: Priority(1), order: Order::Linear, ..Want::new(Target::Bytes(0..50)) };
    victim.replicator.want(FEED, want);
    let request = victim.ask();
    let fault = (0..1 << 20).find_map(|block| {
        victim.send(request, block, Bytes::new());
        victim.fault().map(|fault| (block, fault))
    });
    assert_eq!(fault, Some((CREDIT_START / BLOCK_COST, Fault::Credit)));
    assert_eq!(victim.store(0) as u64, CREDIT_START / BLOCK_COST);
}

#[test]
fn a_block_larger_than_the_credit_that_is_left_is_sent_and_taken() {
    // We send: the peer grants next to nothing.
    let mut victim = Victim::with_credit(0..100, 1);
    victim.tell(&request(1, 100, Wanted::Blocks(vec![0..2])));
    let reads: Vec<_> = std::iter::from_fn(|| victim.replicator.poll_job()).collect();
    for job in reads {
        victim.replicator.handle_done(NOW, read(job));
    }
    let blocks = |victim: &mut Victim| {
        let sent = victim.sent().into_iter();
        sent.filter(|message| matches!(message, Message::Block { .. })).count()
    };
    assert_eq!(blocks(&mut victim), 1);
    victim.tell(&Message::Credit { total: (32 << 10) + BLOCK_COST });
    assert_eq!(blocks(&mut victim), 0, "all credit is used");
    victim.tell(&Message::Credit { total: (32 << 10) + BLOCK_COST + 1 });
    assert_eq!(blocks(&mut victim), 1);

    // We take: the largest block is larger than the credit that is left.
    let mut victim = Victim::new(0..0);
    victim.want_ten();
    let request = victim.ask();
    victim.send(request, 0, Bytes::from(vec![7; CREDIT_START as usize - 1_000]));
    victim.send(request, 1, Bytes::from(vec![7; PAYLOAD_BYTES_MAX]));
    assert_eq!(victim.fault(), None);
    victim.send(request, 2, Bytes::from_static(b"more"));
    assert_eq!(victim.fault(), Some(Fault::Credit));
}

#[test]
fn withdrawn_requests_are_remembered_for_a_while() {
    let late = |forgotten: usize| {
        let mut victim = Victim::new(0..0);
        victim.tell(&have(100, vec![0..100], vec![]));
        let mut first = None;
        for _ in 0..LATE_REQUESTS_MAX + forgotten {
            let target = Target::Bytes(0..10);
            let want = Want { priority: Priority(1), order: Order::Linear, ..Want::new(target) };
            let want = victim.replicator.want(FEED, want);
            let request = victim.ask();
            first.get_or_insert(request);
            victim.replicator.unwant(want);
        }
        victim.send(first.expect("something was asked"), 0, Bytes::from_static(b"late"));
        victim.fault()
    };
    assert_eq!(late(0), None);
    assert_eq!(late(1), Some(Fault::Unexpected("block nobody asked for")));
}

#[test]
fn a_sibling_uses_up_credit_too() {
    let mut victim = Victim::new(0..0);
    victim.replicator.handle_head(FEED, head(1 << 20));
    victim.tell(&have(1 << 20, vec![0..1 << 20], vec![]));
    let want =
        Want { priority: Priority(1), order: Order::Linear, ..Want::new(Target::Bytes(0..50)) };
    victim.replicator.want(FEED, want);
    let id = victim.ask();
    let fault = (0..1 << 20).find_map(|block| {
        let (block, siblings) = (BlockIndex(block), vec![leaf(b"sibling"); 50]);
        victim.tell(&Message::Block { channel: CHANNEL, id, block, siblings });
        victim.fault().map(|fault| (block.0, fault))
    });
    let fits = CREDIT_START.div_ceil(BLOCK_COST + 50 * SIBLING_COST);
    assert_eq!(fault, Some((fits, Fault::Credit)));
}

#[test]
fn what_waits_for_the_store_holds_credit_back() {
    let mut victim = Victim::new(0..0);
    victim.want_a_million(9);
    let (mut granted, mut sent, mut owed) = (CREDIT_START, 0, Vec::new());
    loop {
        for message in victim.sent() {
            match message {
                Message::Credit { total } => granted = total,
                Message::Request { request, .. } => {
                    let Wanted::Blocks(runs) = request.wanted else { continue };
                    owed.extend(runs.into_iter().flatten().map(|block| (request.id, block)));
                }
                _ => {}
            }
        }
        if sent >= granted {
            break;
        }
        let (id, block) = owed.remove(0);
        victim.send(id, block, Bytes::from(vec![7; 1 << 16]));
        sent += (1 << 16) + BLOCK_COST;
    }
    let most = BACKLOG_MAX + CREDIT_MAX + (1 << 16) + BLOCK_COST;
    assert!(sent > BACKLOG_MAX && sent <= most, "{sent}");
    assert_eq!(victim.fault(), None);
    assert!(victim.store(0) > 0);
    let more = victim.sent().into_iter();
    assert!(more.filter(|message| matches!(message, Message::Credit { .. })).count() > 0);
}

#[test]
fn a_failing_disk_is_given_time() {
    let mut victim = Victim::new(0..0);
    victim.want_ten();
    let request = victim.ask();
    victim.send(request, 0, Bytes::from_static(b"block"));
    let Some(Job::Store { peer, feed, block, .. }) = victim.replicator.poll_job() else {
        unreachable!("the block is kept")
    };
    let result = Err(Failure::Ours);
    victim.replicator.handle_done(NOW, Done::Stored { peer, feed, block, len: 5, result });
    assert_eq!(victim.next_request(), None);
    victim.replicator.handle_timeout(NOW + DISK_PAUSE);
    // Half of what is leased comes first.
    (1..5).for_each(|block| victim.send(request, block, Bytes::from_static(b"block")));
    assert_eq!(victim.store(0), 4);
    assert!(victim.next_request().is_some(), "the block is asked for again");
    assert_eq!(victim.fault(), None);
}

#[test]
fn a_request_settles_no_more_blocks_than_it_asked_for() {
    let mut victim = Victim::new(0..0);
    let mut asked = Vec::new();
    for priority in [0, 9] {
        victim.want_a_million(priority);
        asked.extend(victim.sent().into_iter().filter_map(|message| match message {
            Message::Request { request, .. } => Some(request),
            _ => None,
        }));
    }
    let [first, second] = asked.try_into().expect("it is asked twice");
    let Wanted::Blocks(runs) = second.wanted else { unreachable!("blocks are wanted") };
    // The peer refuses everything, and all of it in the name of the first request: that one is done, and no other.
    let blocks = vec![0..1 << 20];
    victim.tell(&Message::Missing { channel: CHANNEL, id: first.id, blocks });
    victim.send(second.id, runs[0].start, Bytes::from_static(b"block"));
    assert_eq!((victim.store(0), victim.fault()), (1, None));
    victim.send(first.id, 0, Bytes::from_static(b"block"));
    assert_eq!(victim.fault(), Some(Fault::Unexpected("block nobody asked for")));
}

#[test]
fn who_refuses_us_whole_is_not_asked_again_whatever_it_tells() {
    let mut victim = Victim::new(0..0);
    victim.tell(&have(100, vec![0..50], vec![]));
    victim.replicator.want(FEED, Want::new(Target::Blocks(vec![0..100])));
    let requests = |victim: &mut Victim| {
        let asked = victim.sent().into_iter().filter_map(|message| match message {
            Message::Request { request, .. } => Some(request.id),
            _ => None,
        });
        asked.collect::<Vec<_>>()
    };
    let asked = requests(&mut victim);
    assert!(!asked.is_empty(), "it has what is wanted");
    for id in asked {
        victim.tell(&Message::Missing { channel: CHANNEL, id, blocks: vec![] });
    }
    assert_eq!(requests(&mut victim), []);
    victim.tell(&have(100, vec![50..100], vec![]));
    assert_eq!(requests(&mut victim), []);
    assert_eq!(victim.fault(), None, "it may follow another history");
}
