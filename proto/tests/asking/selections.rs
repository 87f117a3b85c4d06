//! Selections: priorities, orders, shares, deadlines, and what is withdrawn.

use std::collections::VecDeque;
use std::time::Duration;

use datnode_proto::limits::{
    ASKED_MAX, LEASE_BLOCKS_DUE, LEASE_BLOCKS_MIN, LEASE_BYTES_UNKNOWN, LEASE_PARTS,
    LEASE_TIME_LEAST,
};
use datnode_proto::wire::{Message, Request, Wanted};
use datnode_proto::{Event, Order, PeerId, Priority, Progress, Target, Want};

use crate::reader::{CHANNEL, LENGTH, Reader, everything};

const A: PeerId = PeerId(0);
const B: PeerId = PeerId(1);

fn blocks(run: std::ops::Range<u64>) -> Want {
    Want::new(Target::Blocks(vec![run]))
}

fn linear(run: std::ops::Range<u64>, priority: u8) -> Want {
    Want { order: Order::Linear, priority: Priority(priority), ..blocks(run) }
}

#[test]
fn nothing_lower_is_asked_of_a_peer_that_has_something_higher() {
    let mut reader = Reader::new(2);
    reader.holds(B, vec![0..100, 5_000..5_010]);
    reader.select(linear(0..100, 0));
    reader.select(linear(5_000..6_000, 3));
    reader.select(linear(5_005..5_007, 7));
    let asked = reader.asks(A);
    let priorities: Vec<u8> = asked.iter().map(|request| request.priority.0).collect();
    assert!(priorities.is_sorted_by(|a, b| a >= b) && priorities.starts_with(&[7, 3]));
    // What is left of the higher ones is not with the other peer, so it may begin with what is lower.
    let asked = reader.asks(B);
    assert!(asked.iter().all(|request| request.priority == Priority(0)), "{asked:?}");
}

#[test]
fn what_is_urgent_does_not_wait_for_what_is_owed_and_is_leased_by_the_rate_as_well() {
    let mut reader = Reader::new(1);
    reader.select(linear(0..LENGTH, 0));
    let bulk = reader.blocks_asked(A).len() as u64;
    assert!(reader.blocks_asked(A).is_empty());
    reader.select(linear(5_000..LENGTH, 9));
    let urgent = reader.blocks_asked(A);
    assert_eq!((urgent[0], urgent.len() as u64), (5_000, bulk));
    assert!(bulk <= LEASE_BYTES_UNKNOWN / (64 << 10));
}

#[test]
fn linear_is_in_order_whoever_is_asked() {
    let mut reader = Reader::new(3);
    reader.select(linear(10..500, 0));
    let mut asked = Vec::new();
    for peer in [0, 1, 2].map(PeerId) {
        asked.extend(reader.blocks_asked(peer));
    }
    assert!(asked.iter().copied().eq(10..10 + asked.len() as u64));
}

#[test]
fn bisecting_asks_for_the_middle_first_and_for_each_level_before_the_next() {
    let mut reader = Reader::measured(1);
    reader.select(Want { order: Order::Bisect, ..blocks(0..31) });
    let asked = reader.blocks_asked(A);
    assert_eq!(asked[..7], [15, 7, 23, 3, 11, 19, 27]);
    let mut sorted = asked.clone();
    sorted.sort_unstable();
    assert!(sorted.into_iter().eq(0..31));
}

#[test]
fn equal_wants_have_equal_shares_and_a_late_one_has_no_claim_to_what_was() {
    let mut reader = Reader::measured(1);
    // A block in 20 ms, so that a lease is some hundred.
    let step = Duration::from_millis(20);
    reader.select(linear(9_000..9_050, 9));
    for (id, block) in reader.owed(A) {
        reader.wait(step);
        reader.send(A, id, block, Ok(block));
    }
    reader.select(linear(0..3_000, 4));
    reader.select(Want { order: Order::Rarest, ..linear(3_000..6_000, 4) });
    let (mut owed, mut asked, mut before) = (VecDeque::new(), [0_u64; 3], [0; 3]);
    for count in 0..2_500 {
        if count == 1_000 {
            reader.select(linear(6_000..9_000, 4));
            before = asked;
        }
        owed.extend(reader.owed(A));
        let (id, block) = owed.pop_front().expect("it never runs dry");
        asked[usize::try_from(block / 3_000).unwrap()] += 1;
        reader.wait(step);
        reader.send(A, id, block, Ok(block));
    }
    assert!(before[0].abs_diff(before[1]) <= 100, "{before:?}");
    let since: Vec<u64> = asked.iter().zip(before).map(|(now, before)| now - before).collect();
    assert!(since.iter().all(|had| had.abs_diff(500) <= 100), "{since:?}");
}

#[test]
fn several_that_overlap_are_all_done_and_each_block_is_asked_for_once() {
    let mut reader = Reader::new(1);
    let wants = [
        linear(0..40, 0),
        Want { order: Order::Bisect, ..linear(20..60, 1) },
        Want { order: Order::Rarest, ..linear(30..35, 1) },
        linear(30..70, 9),
    ];
    let mut open: Vec<_> = wants.into_iter().map(|want| reader.select(want)).collect();
    let mut asked = Vec::new();
    while !open.is_empty() {
        let requests = reader.owed(A);
        assert!(!requests.is_empty(), "{open:?} are not done");
        for (id, block) in requests {
            asked.push(block);
            reader.send(A, id, block, Ok(block * 1_000));
        }
        while let Some(event) = reader.replicator.poll_event() {
            if let Event::WantDone { want } = event {
                open.retain(|one| *one != want);
            }
        }
    }
    assert!(asked[..40].iter().copied().eq(30..70), "the most urgent first, in order");
    asked.sort_unstable();
    assert!(asked.into_iter().eq(0..70));
}

#[test]
fn what_nobody_wants_any_more_is_taken_back() {
    let mut reader = Reader::measured(1);
    let (kept, gone) = (reader.select(linear(20..40, 0)), reader.select(linear(0..40, 5)));
    let request = reader.asks(A).remove(0);
    assert_eq!(request.wanted, Wanted::Blocks(vec![0..40]));
    reader.replicator.unwant(gone);
    assert_eq!(reader.cancels(A), [(request.id, vec![0..20])]);
    // It may be on its way, which is nobody's fault.
    reader.send(A, request.id, 3, Ok(3_000));
    (20..40).for_each(|block| reader.send(A, request.id, block, Ok(block * 1_000)));
    assert_eq!(reader.fault(), None);
    assert_eq!(reader.replicator.progress(kept), None, "it is done");
    reader.select(linear(0..10, 0));
    assert_eq!(reader.blocks_asked(A), [0, 1, 2, 4, 5, 6, 7, 8, 9]);
}

#[test]
fn a_request_of_which_nothing_is_wanted_is_withdrawn_as_a_whole() {
    let mut reader = Reader::new(1);
    let gone = reader.select(linear(0..40, 5));
    let request = reader.asks(A).remove(0);
    reader.replicator.unwant(gone);
    assert_eq!(reader.cancels(A), [(request.id, vec![])]);
    assert!(reader.asked(1).is_empty());
    assert_eq!(reader.replicator.poll_timeout(), None, "nothing is waited for");
}

#[test]
fn the_whole_feed_is_followed() {
    let mut reader = Reader::new(1);
    let all = reader.select(Want { order: Order::Linear, ..Want::new(Target::All) });
    let of = LENGTH;
    let progress = |reader: &Reader| reader.replicator.progress(all).unwrap();
    assert_eq!(progress(&reader), Progress { here: 0, of, bytes: 0 });
    let id = reader.asks(A).remove(0).id;
    reader.send(A, id, 0, Ok(0));
    assert_eq!(progress(&reader), Progress { here: 1, of, bytes: 1_000 });
    reader.replicator.handle_have(crate::reader::FEED, 0..LENGTH);
    assert_eq!(progress(&reader), Progress { here: LENGTH, of, bytes: 1_000 });
    let done = std::iter::from_fn(|| reader.replicator.poll_event());
    assert_eq!(done.filter(|event| matches!(event, Event::WantDone { .. })).count(), 0);
    reader.replicator.handle_lost(crate::reader::FEED, 7..9);
    reader.replicator.unwant(all);
    reader.select(Want::new(Target::All));
    reader.wait(Duration::from_secs(1));
    assert_eq!(reader.blocks_asked(A), [7, 8]);
}

#[test]
fn priorities_may_change() {
    let mut reader = Reader::new(1);
    let (first, second) =
        (reader.select(linear(0..5_000, 1)), reader.select(linear(6_000..9_000, 0)));
    assert_eq!(reader.blocks_asked(A)[0], 0);
    reader.replicator.reprioritize(first, Priority(0));
    reader.replicator.reprioritize(second, Priority(2));
    assert_eq!(reader.blocks_asked(A)[0], 6_000);
}

#[test]
fn many_requests_for_bulk_leave_room_for_urgent_ones() {
    let mut reader = Reader::new(1);
    // Each level of a bisection is a request of its own, and so is each of these.
    for block in 0..2 * ASKED_MAX as u64 {
        reader.select(linear(2 * block..2 * block + 1, 0));
    }
    let open: usize =
        std::iter::from_fn(|| Some(reader.asks(A).len()).filter(|count| *count > 0)).sum();
    assert!(open <= ASKED_MAX / 2);
    reader.select(linear(9_000..9_001, 1));
    assert_eq!(reader.blocks_asked(A), [9_000]);
}

#[test]
fn what_is_due_is_asked_in_small_portions_of_who_delivers_it_soonest() {
    let mut reader = Reader::measured(2);
    // One sends a block in 10 ms, the other one in 100.
    reader.holds(A, vec![0..9_200]);
    reader.select(linear(9_000..9_400, 0));
    let [fast, slow] = [A, B].map(|peer| reader.asks(peer).remove(0));
    let first = |request: &Request| match &request.wanted {
        Wanted::Blocks(runs) => runs[0].start,
        _ => unreachable!("blocks are wanted"),
    };
    for step in 0..60 {
        reader.wait(Duration::from_millis(10));
        reader.send(A, fast.id, first(&fast) + step, Ok(step));
        if step % 10 == 9 {
            reader.send(B, slow.id, first(&slow) + step / 10, Ok(1_000 + step));
        }
    }
    let deadline = Some(reader.now);
    reader.select(Want { deadline, ..linear(100..400, 200) });
    // What the slow one is asked for lies further behind: the fast one delivers all before it in that time.
    let later = first(&reader.asks(B).remove(0));
    assert!((105..130).contains(&later), "{later}");
    let soon = reader.asks(A).remove(0);
    assert!(soon.due.is_some() && !soon.any_order);
    assert_eq!(first(&soon), 100);
    let Wanted::Blocks(runs) = soon.wanted else { unreachable!("blocks are wanted") };
    let portion: u64 = runs.iter().map(|run| run.end - run.start).sum();
    assert!((LEASE_BLOCKS_DUE..40).contains(&portion), "{portion} blocks");
}

#[test]
fn bytes_that_are_late_are_asked_of_another_peer_as_well() {
    let mut reader = Reader::new(2);
    reader.want_bytes(5);
    assert_eq!(reader.asked(2), [0]);
    let next = reader.replicator.poll_timeout().expect("it is looked again");
    assert!(next.since(reader.now) <= Duration::from_millis(100));
    reader.wait(next.since(reader.now));
    let late = reader.asks(B).remove(0);
    assert_eq!(late.wanted, Wanted::Bytes(5..6));
    assert_eq!(reader.cancels(A), []);
    // The first answer is enough.
    reader.send(B, late.id, 0, Ok(0));
    assert_eq!(reader.cancels(A).len(), 1);
    assert_eq!(reader.fault(), None);
}

#[test]
fn a_lease_is_not_larger_than_need_be() {
    let mut reader = Reader::new(1);
    reader.select(linear(0..LEASE_BLOCKS_MIN / 2, 0));
    assert_eq!(reader.blocks_asked(A).len() as u64, LEASE_BLOCKS_MIN / 2);
    reader.tell(A, &everything());
    assert!(!reader.messages(A).iter().any(|message| matches!(message, Message::Request { .. })));
}

#[test]
fn nobody_is_leased_more_than_a_part_of_its_share_of_the_last_blocks() {
    let mut reader = Reader::measured(2);
    let rate = |reader: &mut Reader, peer, from| {
        reader.select(linear(from..from + 11, 0));
        for (id, block) in reader.owed(peer) {
            reader.wait(Duration::from_millis(20));
            reader.send(peer, id, block, Ok(block));
        }
    };
    rate(&mut reader, A, 0);
    rate(&mut reader, B, 20);
    // A block in 20 ms.
    let missing = LEASE_PARTS * 2 * 9;
    reader.select(blocks(100..100 + missing));
    assert_eq!([A, B].map(|peer| reader.blocks_asked(peer).len()), [9, 9]);
    let mut reader = Reader::measured(2);
    rate(&mut reader, A, 0);
    reader.select(blocks(100..104));
    assert!(LEASE_TIME_LEAST > Duration::from_millis(4 * 20));
    assert_eq!(
        reader.blocks_asked(A).len(),
        4,
        "it would be done before it could be asked for more"
    );
    let mut reader = Reader::measured(1);
    rate(&mut reader, A, 0);
    reader.select(blocks(100..150));
    assert_eq!(reader.blocks_asked(A).len(), 50, "nobody else could help");
}

#[test]
fn what_a_peer_would_rather_not_give_is_asked_of_others_and_of_it_when_nothing_else_is_left() {
    let mut reader = Reader::measured(2);
    reader.holds(B, vec![]);
    reader.select(blocks(0..6));
    let first = reader.asks(A).remove(0);
    assert_eq!(first.wanted, Wanted::Blocks(vec![0..6]));
    let elsewhere = |id, blocks| Message::Elsewhere { channel: CHANNEL, id, blocks };
    reader.tell(A, &elsewhere(first.id, vec![0..4, 50..60]));
    let again = reader.asks(A);
    assert_eq!(again[0].wanted, Wanted::Blocks(vec![0..4]), "it alone has them");
    reader.tell(A, &elsewhere(again[0].id, vec![0..4]));
    assert_eq!(reader.asks(A), [], "it owes them now");
    assert_eq!(reader.fault(), None);
    reader.select(blocks(10..20));
    let owed = reader.owed(A);
    let id = owed[0].0;
    reader.tell(A, &elsewhere(id, vec![12..14]));
    reader.holds(B, vec![12..14]);
    assert_eq!(reader.blocks_asked(B), [12, 13]);
    assert!(reader.asks(A).is_empty());
}
