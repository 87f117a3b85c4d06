//! Who is asked when somebody keeps us waiting: several peers that hold everything, or say so.

use std::time::Duration;

use datnode_proto::limits::{
    ANNOUNCE_EVERY, ASKED_MAX, BLOCK_BYTES_GUESS, BLOCK_COST, BYTES_AGAIN, HURRY, HURRY_MIN,
    LIMIT_BURST, LIMIT_TURN, LOOK_EVERY, LOSS_PAUSE, MISSING_MAX, STALL, STALL_PAUSE, STALL_SLOW,
    TRIAL_BLOCKS, UNPROVEN_MAX,
};
use datnode_proto::wire::{Message, Request, Runs, Wanted, decode};
use datnode_proto::{
    Done, Failure, Fault, Job, Limits, Order, PeerId, Priority, RequestId, Target, Want,
};

use crate::reader::{CHANNEL, FEED, LENGTH, Reader, everything};

#[test]
fn the_only_source_has_its_time() {
    let mut reader = Reader::new(1);
    reader.want(vec![0..1], 0);
    assert_eq!(reader.asked(1), [0]);
    reader.wait(STALL - Duration::from_millis(1));
    assert_eq!(reader.replicator.poll_timeout(), Some(reader.now + Duration::from_millis(1)));
    reader.wait(Duration::from_millis(1));
    assert_eq!(reader.asked(1), [0_u64; 0], "it is left alone");
    reader.wait(LOSS_PAUSE);
    assert_eq!(reader.asked(1), [0]);
    for _ in 0..8 {
        reader.wait(STALL);
        reader.wait(STALL_PAUSE);
        assert_eq!(reader.asked(1), [0], "for no longer than this");
    }
}

#[test]
fn the_only_source_has_three_times_what_it_takes_for_a_block() {
    for (gap, patience) in
        [(STALL / 9, STALL), (STALL - HURRY, 3 * (STALL - HURRY)), (STALL_SLOW, STALL_SLOW)]
    {
        let mut reader = Reader::new(1);
        reader.want(vec![0..64], 0);
        let request = reader.asks(PeerId(0)).remove(0).id;
        for block in 0..2 {
            reader.send(PeerId(0), request, block, Ok(block));
            // It comes in the end, even if it was given up.
            reader.wait(if block == 0 { gap } else { Duration::ZERO });
        }
        let again: Vec<Request> = reader.asks(PeerId(0));
        assert_eq!(again.is_empty(), gap < STALL, "{gap:?}");
        reader.wait(patience - Duration::from_millis(1));
        assert_eq!(reader.replicator.poll_timeout(), Some(reader.now + Duration::from_millis(1)));
        assert_eq!(reader.fault(), None);
    }
}

#[test]
fn a_pause_of_ours_is_no_slowness_of_the_peer() {
    let mut reader = Reader::new(1);
    reader.want(vec![0..64], 0);
    let request = reader.asks(PeerId(0)).remove(0).id;
    reader.send(PeerId(0), request, 0, Ok(0));
    reader.wait(STALL);
    assert_eq!(reader.asked(1), [0_u64; 0]);
    reader.wait(LOSS_PAUSE);
    let request = reader.asks(PeerId(0)).remove(0).id;
    reader.send(PeerId(0), request, 1, Ok(1));
    reader.messages(PeerId(0));
    reader.wait(STALL - Duration::from_millis(1));
    assert!(!reader.withdraws(PeerId(0)));
    reader.wait(Duration::from_millis(1));
    assert!(reader.withdraws(PeerId(0)));
}

#[test]
fn credit_that_we_hold_back_is_no_slowness_of_the_peer() {
    // What a block takes is paid for by more than five seconds.
    let mut reader = Reader::limited(1, Limits { up: None, down: Some(200) });
    reader.want(vec![0..64], 0);
    let request = reader.asks(PeerId(0)).remove(0).id;
    let is_credit = |message: &Message| matches!(message, Message::Credit { .. });
    for block in 0..3 {
        while !reader.messages(PeerId(0)).iter().any(is_credit) {
            let next = reader.replicator.poll_timeout().expect("it is to be granted");
            reader.wait(next.since(reader.now).max(Duration::from_micros(1)));
        }
        if block < 2 {
            reader.send(PeerId(0), request, block, Ok(block));
        }
    }
    reader.wait(STALL - Duration::from_millis(1));
    assert!(!reader.withdraws(PeerId(0)));
    reader.wait(Duration::from_millis(1));
    assert!(reader.withdraws(PeerId(0)));
}

#[test]
fn nobody_is_waited_for_whom_our_limit_gives_no_credit() {
    let limit = 100_000;
    let mut reader = Reader::limited(2, Limits { up: None, down: Some(limit) });
    reader.want(vec![0..128], 0);
    let [first, second] = [0, 1].map(PeerId);
    assert_eq!(reader.asked(2), [0, 1]);
    reader.wait(Duration::ZERO);
    // One block may come: its size is not known yet, and nothing else may while it could.
    let total = limit * LIMIT_TURN.as_millis() as u64 / 1_000;
    assert_eq!(reader.messages(first), [Message::Credit { total }]);
    assert_eq!(reader.messages(second), []);
    let is_credit = |message: &Message| matches!(message, Message::Credit { .. });
    // The other has its turn when time has paid for such a block, and from then on as long as anybody.
    let block = Duration::from_micros((BLOCK_BYTES_GUESS + BLOCK_COST) * 1_000_000 / limit);
    reader.wait(block - Duration::from_millis(1));
    assert!(!reader.messages(second).iter().any(is_credit));
    reader.wait(Duration::from_millis(2));
    assert!(reader.messages(second).iter().any(is_credit));
    reader.wait(STALL - block - Duration::from_millis(2));
    assert!(!reader.withdraws(first));
    reader.wait(Duration::from_millis(1));
    assert!(reader.withdraws(first));
    reader.wait(block - Duration::from_millis(1));
    assert!(!reader.withdraws(second));
    reader.wait(Duration::from_millis(2));
    assert!(reader.withdraws(second));
    assert_eq!(reader.fault(), None);
}

#[test]
fn what_many_left_of_their_credit_is_paid_for_before_all_of_them_may_use_it() {
    const PEERS: u64 = 20;
    let limit = 100_000;
    let mut reader = Reader::limited(PEERS, Limits { up: None, down: Some(limit) });
    // Each holds two blocks that nobody else does.
    for peer in 0..PEERS {
        let (held, lost) = (vec![peer..peer + 1, 100 + peer..101 + peer], vec![0..LENGTH]);
        for (held, lost) in [(vec![], lost), (held, vec![])] {
            let (length, head) = (LENGTH, None);
            reader
                .tell(PeerId(peer), &Message::Have { channel: CHANNEL, length, held, lost, head });
        }
    }
    reader.want(vec![0..PEERS], 0);
    let is_credit = |message: &Message| matches!(message, Message::Credit { .. });
    let asked: Vec<RequestId> =
        (0..PEERS).map(|peer| reader.asks(PeerId(peer)).remove(0).id).collect();
    // A small block takes some of what each is granted.
    for (peer, id) in (0..PEERS).zip(asked) {
        while !reader.messages(PeerId(peer)).iter().any(is_credit) {
            let next = reader.replicator.poll_timeout().expect("it is to be granted");
            reader.wait(next.since(reader.now).max(Duration::from_micros(1)));
        }
        reader.send(PeerId(peer), id, peer, Ok(peer));
    }
    reader.wait(Duration::from_secs(60));
    (0..PEERS).for_each(|peer| drop(reader.messages(PeerId(peer))));
    reader.want(vec![100..100 + PEERS], 0);
    let begin = reader.now;
    let mut asked = reader.asked(PEERS).len() as u64;
    // Each may send a block at least.
    let block = 1_000 + BLOCK_COST;
    let most = |span: Duration| (limit * span.as_millis() as u64 / 1_000) / block + 1;
    assert!((1..=most(LIMIT_BURST)).contains(&asked), "{asked} at once");
    while asked < PEERS {
        let next = reader.replicator.poll_timeout().expect("they are to be asked");
        reader.wait(next.since(reader.now).max(Duration::from_micros(1)));
        asked += reader.asked(PEERS).len() as u64;
        let span = reader.now.since(begin) + LIMIT_BURST;
        assert!(asked <= most(span), "{asked} after {span:?}");
        assert!(span < STALL, "{asked}");
    }
    assert_eq!(reader.fault(), None);
}

#[test]
fn a_crowd_of_silent_peers_costs_about_a_second() {
    const PEERS: u64 = 100;
    let mut reader = Reader::new(PEERS);
    reader.want(vec![0..1], 9);
    let (mut spent, mut hurry) = (Duration::ZERO, HURRY);
    for peer in 0..PEERS {
        assert_eq!(reader.asked(PEERS), [peer], "each once, before any of them again");
        reader.wait(hurry);
        spent += hurry;
        hurry = (hurry / 2).max(HURRY_MIN);
    }
    assert!(spent <= HURRY * 2 + HURRY_MIN * PEERS as u32);
}

#[test]
fn who_keeps_its_word_is_asked_before_who_did_not() {
    let mut reader = Reader::new(3);
    reader.want(vec![0..1], 9);
    assert_eq!(reader.asked(3), [0]);
    reader.wait(HURRY);
    let request = reader.asks(PeerId(1)).remove(0).id;
    reader.send(PeerId(1), request, 0, Ok(0));
    // The first one is not left alone any more, and not asked all the same.
    reader.wait(LOSS_PAUSE);
    reader.want(vec![5..6], 9);
    assert_eq!(reader.asked(3), [1]);
    // Unless it alone has what is wanted.
    let lost = vec![6..7];
    for peer in [1, 2].map(PeerId) {
        let (held, lost, head) = (Runs::new(), lost.clone(), None);
        let message = Message::Have { channel: CHANNEL, length: LENGTH, held, lost, head };
        reader.tell(peer, &message);
    }
    reader.want(vec![6..7], 9);
    assert_eq!(reader.asked(3), [0]);
}

#[test]
fn a_late_lie_takes_nothing_from_who_was_asked_instead() {
    let mut reader = Reader::new(2);
    reader.want(vec![0..10], 0);
    let first = reader.asks(PeerId(0)).remove(0).id;
    reader.wait(HURRY);
    let second = reader.asks(PeerId(1)).remove(0).id;
    for block in 0..10 {
        reader.send(PeerId(0), first, block, Err(Failure::Unproven));
        assert_eq!(reader.asked(2), [0_u64; 0], "it is asked of somebody already");
    }
    for block in 0..10 {
        reader.send(PeerId(1), second, block, Ok(block));
    }
    assert_eq!(reader.fault(), None);
}

#[test]
fn proofs_that_lead_nowhere_hold_up_nobody_else_and_end_in_a_fault() {
    let mut reader = Reader::new(2);
    reader.want(vec![0..64], 0);
    let request = reader.asks(PeerId(0)).remove(0).id;
    reader.send(PeerId(0), request, 0, Err(Failure::Unproven));
    assert_eq!(reader.asked(2), [1]);
    let mut reader = Reader::new(1);
    reader.want(vec![0..64], 0);
    for time in 0..=UNPROVEN_MAX {
        assert_eq!(reader.fault(), None, "{time}");
        let Request { id, wanted, .. } = reader.asks(PeerId(0)).remove(0);
        let Wanted::Blocks(runs) = wanted else { unreachable!("blocks are wanted") };
        let blocks: Vec<u64> = runs.into_iter().flatten().take(10).collect();
        // After a loss it is asked for little, until it sends what holds.
        assert_eq!(blocks.len() as u64, if time == 0 { 10 } else { TRIAL_BLOCKS });
        for block in blocks {
            reader.send(PeerId(0), id, block, Err(Failure::Unproven));
        }
        reader.wait(STALL_PAUSE);
    }
    let fault = Fault::TooMany("proofs that lead nowhere");
    assert_eq!(reader.fault(), Some((PeerId(0), fault)));
}

#[test]
fn refusals_one_by_one_make_no_heap_of_requests_to_somebody_else() {
    let mut reader = Reader::new(2);
    reader.want(vec![0..LENGTH], 0);
    let mut open = reader.asks(PeerId(0));
    let mut other = reader.asks(PeerId(1)).len();
    while let Some(Request { id, wanted, .. }) = open.pop() {
        let Wanted::Blocks(runs) = wanted else { unreachable!("blocks are wanted") };
        for block in runs.into_iter().flatten() {
            let blocks = vec![block..block + 1];
            reader.tell(PeerId(0), &Message::Missing { channel: CHANNEL, id, blocks });
            reader.tell(PeerId(0), &everything());
            other += reader.asks(PeerId(1)).len();
            open.extend(reader.asks(PeerId(0)));
        }
    }
    assert!(other <= ASKED_MAX, "{other}");
}

#[test]
fn a_stream_that_takes_nothing_keeps_no_timer_running() {
    let mut reader = Reader::new(1);
    reader.want(vec![0..1], 0);
    let request = reader.asks(PeerId(0)).remove(0).id;
    reader.send(PeerId(0), request, 0, Ok(0));
    assert!(reader.replicator.poll_timeout().is_some(), "the block is to be announced");
    reader.wait(ANNOUNCE_EVERY);
    assert_eq!(reader.replicator.poll_timeout(), None, "it is, as soon as the stream takes it");
    let frame = reader.replicator.poll_transmit(reader.now, PeerId(0)).unwrap();
    let said = decode(&frame.header, &frame.payload).unwrap();
    assert!(matches!(said, Message::Have { held, .. } if held == [0..1]));
}

/// So many peers owe blocks, and as many idle ones hold nothing of what is owed; returns how long it takes to ask for the next
/// timeout, the best of some times.
fn time_of_timeout(peers: u64) -> Duration {
    let mut reader = Reader::new(2 * peers);
    for peer in 0..2 * peers {
        // Some hold nothing, the others only every second block, so that what they owe is in many pieces.
        let pieces = (0..4_000).map(|piece| 2 * piece..2 * piece + 1).collect();
        let lost = if peer < peers { pieces } else { vec![0..LENGTH] };
        let (channel, length, held, head) = (CHANNEL, LENGTH, vec![], None);
        reader.tell(PeerId(peer), &Message::Have { channel, length, held, lost, head });
    }
    reader.want(vec![0..LENGTH], 0);
    assert_eq!(reader.asked(2 * peers), (0..peers).collect::<Vec<_>>());
    let time = || {
        let started = std::time::Instant::now();
        for _ in 0..100 {
            assert!(std::hint::black_box(reader.replicator.poll_timeout()).is_some());
        }
        started.elapsed()
    };
    std::iter::repeat_with(time).take(5).min().expect("there were five")
}

#[test]
fn the_next_timeout_costs_no_more_than_the_peers_there_are() {
    let (few, many) = (time_of_timeout(4), time_of_timeout(40));
    assert!(many < few * 30, "{few:?} for 4 and 4 peers, {many:?} for 40 and 40");
}

#[test]
fn whoever_cannot_help_is_looked_at_now_and_then_until_somebody_can() {
    let mut reader = Reader::new(2);
    let (channel, length, head) = (CHANNEL, LENGTH, None);
    let (held, lost) = (vec![], vec![0..LENGTH]);
    reader.tell(PeerId(1), &Message::Have { channel, length, held, lost, head });
    reader.want(vec![0..1], 0);
    assert_eq!(reader.asked(2), [0]);
    reader.wait(HURRY);
    let next = reader.replicator.poll_timeout();
    assert_eq!(next, Some(reader.now + LOOK_EVERY), "nobody could help");
    reader.tell(PeerId(1), &everything());
    reader.wait(LOOK_EVERY);
    assert_eq!(reader.asked(2), [1]);
}

#[test]
fn bytes_that_a_peer_lacked_are_asked_for_again_when_it_has_more() {
    let mut reader = Reader::new(1);
    reader.want_bytes(0);
    let mut asked = 0;
    // Whoever is downloading tells of new blocks all the time.
    let minute = Duration::from_secs(60);
    let end = reader.now + minute;
    while reader.now < end {
        for Request { id, .. } in reader.asks(PeerId(0)) {
            asked += 1;
            let blocks = Runs::new();
            reader.tell(PeerId(0), &Message::Missing { channel: CHANNEL, id, blocks });
        }
        reader.tell(PeerId(0), &everything());
        reader.wait(ANNOUNCE_EVERY);
    }
    assert_eq!(reader.fault(), None);
    assert_eq!(asked, minute.as_secs() / BYTES_AGAIN.as_secs(), "once in so long");
    // One that tells of nothing new is asked no more, and no timer runs.
    for Request { id, .. } in reader.asks(PeerId(0)) {
        reader.tell(PeerId(0), &Message::Missing { channel: CHANNEL, id, blocks: Runs::new() });
    }
    reader.wait(minute);
    assert!(reader.asks(PeerId(0)).is_empty());
    assert_eq!(reader.replicator.poll_timeout(), None);
}

#[test]
fn a_refusal_goes_before_the_news_of_what_came_since() {
    let mut server = Reader::new(1);
    let (id, priority, wanted) = (RequestId(3), Priority(200), Wanted::Bytes(0..1));
    let request = Request::new(id, LENGTH, priority, wanted);
    server.tell(PeerId(0), &Message::Request { channel: CHANNEL, request });
    let locate = std::iter::from_fn(|| server.replicator.poll_job()).find_map(|job| match job {
        Job::Locate { peer, feed, request, urgency, length, .. } => {
            Some(Done::Located { peer, feed, request, urgency, length, blocks: None })
        }
        _ => None,
    });
    server.wait(ANNOUNCE_EVERY);
    server.replicator.handle_done(server.now, locate.unwrap());
    // The very block was on its way to the store.
    server.replicator.handle_have(FEED, 0..1);
    let said = server.messages(PeerId(0));
    let [Message::Missing { id: refused, .. }, Message::Have { held, .. }] = said.as_slice() else {
        panic!("{said:?}");
    };
    assert_eq!((*refused, held.as_slice()), (id, [0..1].as_slice()));
}

#[test]
fn a_block_that_was_refused_and_came_again_is_announced_again() {
    let mut server = Reader::new(1);
    server.replicator.handle_have(FEED, 5..6);
    server.wait(ANNOUNCE_EVERY);
    assert!(matches!(server.messages(PeerId(0)).as_slice(), [Message::Have { .. }]));
    let wanted = Wanted::Blocks(vec![5..6]);
    let (id, length, priority) = (RequestId(3), LENGTH, Priority(0));
    let request = Request::new(id, length, priority, wanted);
    server.tell(PeerId(0), &Message::Request { channel: CHANNEL, request });
    let read = std::iter::from_fn(|| server.replicator.poll_job()).find_map(|job| match job {
        Job::Read { peer, feed, request, urgency, block, .. } => {
            Some(Done::Read { peer, feed, request, urgency, block, answer: None })
        }
        _ => None,
    });
    server.replicator.handle_done(server.now, read.unwrap());
    // Another peer sends it before it is time to say that it is lost.
    server.replicator.handle_have(FEED, 5..6);
    let refused = server.messages(PeerId(0));
    assert!(matches!(refused.as_slice(), [Message::Missing { .. }]), "{refused:?}");
    server.wait(ANNOUNCE_EVERY);
    let said = server.messages(PeerId(0));
    let [Message::Have { held, lost, .. }] = said.as_slice() else { panic!("{said:?}") };
    assert_eq!((held.as_slice(), lost.as_slice()), ([5..6].as_slice(), [].as_slice()));
}

#[test]
fn many_who_want_bytes_are_no_nuisance_to_a_peer_that_lacks_them_and_ask_in_turns() {
    const WANTS: u64 = 5;
    let mut reader = Reader::new(1);
    (0..WANTS).for_each(|byte| reader.want_bytes(byte));
    let mut asked = [0; WANTS as usize];
    let minute = Duration::from_secs(60);
    let end = reader.now + minute;
    while reader.now < end {
        for Request { id, wanted, .. } in reader.asks(PeerId(0)) {
            let Wanted::Bytes(bytes) = wanted else { unreachable!("bytes are wanted") };
            asked[bytes.start as usize] += 1;
            reader.tell(PeerId(0), &Message::Missing { channel: CHANNEL, id, blocks: vec![] });
        }
        reader.tell(PeerId(0), &everything());
        reader.wait(ANNOUNCE_EVERY);
    }
    let again = minute.as_secs() / BYTES_AGAIN.as_secs() - 1;
    assert_eq!(asked.iter().sum::<u64>(), WANTS + again, "all of them once in so long");
    assert!(asked.iter().max().unwrap() - asked.iter().min().unwrap() <= 1, "{asked:?}");
    assert!(WANTS + again <= MISSING_MAX.into());
    reader.want(vec![0..1], 0);
    assert!(!reader.asks(PeerId(0)).is_empty(), "it is asked for blocks as before");
}

#[test]
fn news_that_came_before_a_refusal_counts() {
    let mut reader = Reader::new(1);
    reader.want_bytes(0);
    let id = reader.asks(PeerId(0)).remove(0).id;
    // It was looked for before the news, and is refused after it.
    reader.tell(PeerId(0), &everything());
    reader.tell(PeerId(0), &Message::Missing { channel: CHANNEL, id, blocks: Runs::new() });
    assert!(reader.asks(PeerId(0)).is_empty());
    reader.wait(BYTES_AGAIN);
    assert_eq!(reader.asked(1), [0]);
}

#[test]
fn nothing_is_kept_of_who_refused_and_went() {
    let mut reader = Reader::new(1);
    reader.want_bytes(0);
    let ask = |reader: &mut Reader| reader.asks(PeerId(0)).remove(0).id;
    for _ in 0..3 {
        let id = ask(&mut reader);
        reader.tell(PeerId(0), &Message::Missing { channel: CHANNEL, id, blocks: Runs::new() });
        reader.tell(PeerId(0), &everything());
        assert_eq!(reader.asked(1), [0_u64; 0]);
        reader.replicator.handle_disconnected(PeerId(0));
        assert_eq!(reader.replicator.poll_timeout(), None, "nobody is left to be asked again");
        reader.connect(PeerId(0));
    }
}

#[test]
fn who_may_help_is_known() {
    let mut reader = Reader::new(1);
    let part = |held: Runs, lost: Runs| {
        let (channel, length, head) = (CHANNEL, LENGTH, None);
        Message::Have { channel, length, held, lost, head }
    };
    assert!(!reader.replicator.may_help(PeerId(0)), "nothing is wanted");
    assert!(!reader.replicator.may_help(PeerId(1)), "nobody knows that one");
    reader.want(vec![5..10], 1);
    assert!(reader.replicator.may_help(PeerId(0)));
    reader.tell(PeerId(0), &part(vec![], vec![5..10]));
    assert!(!reader.replicator.may_help(PeerId(0)), "it holds everything but that");
    let bytes =
        Want { priority: Priority(1), order: Order::Linear, ..Want::new(Target::Bytes(0..9)) };
    reader.replicator.want(FEED, bytes);
    assert!(reader.replicator.may_help(PeerId(0)), "which blocks these are is not known");
    let asked = reader.asks(PeerId(0));
    assert!(!asked.is_empty());
    for Request { id, .. } in asked {
        reader.tell(PeerId(0), &Message::Missing { channel: CHANNEL, id, blocks: Runs::new() });
    }
    assert!(!reader.replicator.may_help(PeerId(0)), "it does not have them");
    reader.tell(PeerId(0), &part(vec![7..8], vec![]));
    assert!(reader.replicator.may_help(PeerId(0)));
    reader.tell(PeerId(0), &part(vec![], vec![7..8]));
    assert!(!reader.replicator.may_help(PeerId(0)));
    let (channel, held, lost, head) = (CHANNEL, Runs::new(), Runs::new(), None);
    let longer = Message::Have { channel, length: LENGTH + 1, held, lost, head };
    reader.tell(PeerId(0), &longer);
    assert!(reader.replicator.may_help(PeerId(0)), "its history is longer");
}
