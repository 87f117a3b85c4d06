//! Much of what is allowed, and what is allowed once.

use std::time::Duration;

use datnode_feed::{Accusation, BlockIndex, Comparison, UpgradeProof, leaf};
use datnode_proto::limits::{
    BEYOND_RUNS_MAX, BLIND_MAX, PIECE_BYTES, QUESTIONS_MAX, READ_BYTES_MAX, READS_MAX,
    REQUESTS_MAX, RUN_BYTES, RUNS_MAX, TALK_AHEAD, TALK_BLOCK, TALK_FRAME, TALK_RATE, TALK_STREAM,
    TALK_TURN, TALK_TURN_LEAST,
};
use datnode_proto::wire::{Message, Wanted};
use datnode_proto::{Availability, Binding, Done, Failure, Fault, Job, PeerId, RequestId};

use crate::victim::{
    CHANNEL, FEED, FLOOD, NOW, PEER, Victim, have, head, heads, read, request, tell_until_fault,
};

#[test]
fn a_peer_whose_head_moved_is_offered_the_rest() {
    let mut victim = Victim::new(0..100);
    let offers = |victim: &mut Victim, length| {
        let theirs = (length > 0).then(|| head(length));
        let (held, lost) = (vec![], vec![]);
        victim.tell(&Message::Have { channel: CHANNEL, length, held, lost, head: theirs });
        while let Some(job) = victim.replicator.poll_job() {
            let Job::Compare { peer, feed, head } = job else {
                unreachable!("nothing else is asked")
            };
            let result = Ok(Comparison::Agree);
            victim.replicator.handle_done(NOW, Done::Compared { peer, feed, head, result });
        }
        victim.drain();
        let mut offered = Vec::new();
        while let Some(job) = victim.replicator.poll_job() {
            let Job::Prove { peer, feed, from } = job else {
                unreachable!("nothing else is asked")
            };
            offered.push(from);
            victim.replicator.handle_done(NOW, Done::Proved { peer, feed, proof: None });
        }
        offered
    };
    assert_eq!(offers(&mut victim, 0), [0]);
    // Our head grows before the peer took the first offer, so that the second one starts where it is no longer.
    victim.replicator.handle_head(FEED, head(101));
    assert_eq!(offers(&mut victim, 0), [0]);
    assert_eq!(offers(&mut victim, 100), [100]);
    assert_eq!(offers(&mut victim, 100), []);
    assert_eq!(offers(&mut victim, 101), []);
}

#[test]
fn a_claim_to_hold_everything_takes_no_memory() {
    for length in [(1 << 56) - 1, 1 << 63, u64::MAX] {
        let mut victim = Victim::new(0..0);
        victim.tell(&have(length, vec![0..length], vec![]));
        for piece in 0..64 {
            let first = 1_000 + piece * 2 * RUNS_MAX as u64;
            let lost =
                (0..RUNS_MAX as u64).map(|run| first + 2 * run..first + 2 * run + 1).collect();
            victim.tell(&have(length, vec![], lost));
        }
        let weight = victim.replicator.weight_of_all();
        assert!(weight <= BEYOND_RUNS_MAX * RUN_BYTES + PIECE_BYTES, "{length}: {weight} bytes");
        // It lied only about itself, unless there is no such length.
        assert_eq!(victim.fault(), (length >> 56 > 0).then_some(Fault::Malformed));
    }
}

#[test]
fn a_refusal_of_everything_takes_no_time() {
    let mut victim = Victim::new(0..0);
    let (id, blocks) = (RequestId(0), vec![0..(1 << 56) - 1]);
    victim.tell(&Message::Missing { channel: CHANNEL, id, blocks });
    assert_eq!(victim.fault(), None);
}

#[test]
fn questions_that_wait_for_the_store_are_counted() {
    let mut victim = Victim::new(0..100);
    let ask = |id| request(id, 100, Wanted::Bytes(0..10));
    let (asked, fault) = tell_until_fault(&mut victim, ask);
    assert_eq!((asked, fault), (QUESTIONS_MAX as u64, Fault::TooMany("requests")));
}

#[test]
fn of_many_longer_heads_one_is_verified_and_then_the_last() {
    let mut victim = Victim::new(0..100);
    for head in heads() {
        let proof = UpgradeProof { from: 100, head, nodes: vec![] };
        victim.tell(&Message::Upgrade { channel: CHANNEL, proof });
    }
    let verified = |victim: &mut Victim| {
        let job = victim.replicator.poll_job()?;
        let Job::Upgrade { peer, feed, proof } = job else { unreachable!("nothing else is asked") };
        assert_eq!(victim.replicator.poll_job(), None);
        victim
            .replicator
            .handle_done(NOW, Done::Upgraded { peer, feed, result: Err(Failure::Ours) });
        Some(proof.head.head.length)
    };
    assert_eq!(verified(&mut victim), Some(1));
    assert_eq!(verified(&mut victim), Some(FLOOD));
    assert_eq!(verified(&mut victim), None);
    assert_eq!(victim.fault(), None, "a writer may be faster than our disk");
}

#[test]
fn of_many_heads_one_is_compared_and_then_the_last() {
    let mut victim = Victim::new(0..100);
    victim.replicator.handle_head(FEED, head(FLOOD + 1));
    for theirs in heads() {
        let (length, held, lost) = (theirs.head.length, vec![], vec![]);
        victim.tell(&Message::Have { channel: CHANNEL, length, held, lost, head: Some(theirs) });
    }
    let compared = |victim: &mut Victim| {
        let job = victim.replicator.poll_job()?;
        let Job::Compare { peer, feed, head } = job else { unreachable!("nothing else is asked") };
        assert_eq!(victim.replicator.poll_job(), None);
        let result = Ok(Comparison::Agree);
        victim.replicator.handle_done(NOW, Done::Compared { peer, feed, head, result });
        Some(head.head.length)
    };
    assert_eq!(compared(&mut victim), Some(1));
    assert_eq!(compared(&mut victim), Some(FLOOD));
    assert_eq!(compared(&mut victim), None);
    assert_eq!(victim.fault(), None);
}

#[test]
fn a_peer_that_opens_a_feed_again_and_again_has_one_head_compared() {
    let mut victim = Victim::new(0..100);
    for theirs in heads().take(50) {
        let (length, held, lost) = (theirs.head.length, vec![], vec![]);
        victim.tell(&Message::Have { channel: CHANNEL, length, held, lost, head: Some(theirs) });
        victim.tell(&Message::Close { channel: CHANNEL });
        victim.open();
    }
    assert_eq!(std::iter::from_fn(|| victim.replicator.poll_job()).count(), 1);
    assert_eq!(victim.fault(), None);
}

#[test]
fn a_peer_accuses_once() {
    let mut victim = Victim::new(0..100);
    let peaks = vec![leaf(b"peak")];
    let accusation = Accusation { shorter: head(1), longer: head(1), peaks, nodes: vec![] };
    let accuse = Message::Accuse { channel: CHANNEL, accusation: Box::new(accusation) };
    victim.tell(&accuse);
    assert!(matches!(victim.replicator.poll_job(), Some(Job::Accuse { .. })));
    assert_eq!((victim.replicator.poll_job(), victim.fault()), (None, None));
    victim.tell(&accuse);
    assert_eq!(victim.fault(), Some(Fault::Unexpected("second accusation")));
}

#[test]
fn a_length_that_moves_on_and_on_is_proven_once_at_a_time() {
    let mut victim = Victim::new(0..100);
    victim.replicator.handle_head(FEED, head(FLOOD + 1));
    victim.replicator.handle_have(FEED, 0..FLOOD + 1);
    let (held, lost) = (vec![], vec![]);
    victim.tell(&Message::Have { channel: CHANNEL, length: 1, held, lost, head: Some(head(1)) });
    let Some(Job::Compare { peer, feed, head }) = victim.replicator.poll_job() else {
        unreachable!("heads are compared")
    };
    let result = Ok(Comparison::Agree);
    victim.replicator.handle_done(NOW, Done::Compared { peer, feed, head, result });
    for length in 1..FLOOD {
        victim.tell(&have(length, vec![], vec![]));
        victim.drain();
    }
    assert!(matches!(victim.replicator.poll_job(), Some(Job::Prove { .. })));
    assert_eq!(victim.replicator.poll_job(), None);
}

#[test]
fn an_estranged_peer_gets_nothing_whatever_it_does() {
    let mut victim = Victim::new(0..100);
    // A block is being read, and another waits for the stream, when its head is found out.
    victim.tell(&request(1, 100, Wanted::Blocks(vec![0..2])));
    let reads: Vec<_> = std::iter::from_fn(|| victim.replicator.poll_job()).collect();
    let [first, second] = <[Done; 2]>::try_from(reads.into_iter().map(read).collect::<Vec<_>>())
        .expect("both are read at once");
    victim.replicator.handle_done(NOW, first);
    victim.estrange();
    victim.replicator.handle_done(NOW, second);
    victim.tell(&request(2, 100, Wanted::Blocks(vec![0..1])));
    victim.tell(&request(3, 100, Wanted::Bytes(0..1)));
    assert_eq!(victim.replicator.poll_job(), None, "nothing is looked up");
    assert_eq!(victim.refusals().len(), 2);
    // Opening the feed anew does not help it.
    victim.tell(&Message::Close { channel: CHANNEL });
    victim.open();
    victim.tell(&have(8, vec![0..8], vec![]));
    victim.tell(&request(4, 100, Wanted::Blocks(vec![0..1])));
    victim.tell(&request(5, 100, Wanted::Bytes(0..1)));
    assert_eq!(victim.replicator.poll_job(), None, "nothing is looked up");
    assert_eq!(victim.refusals().len(), 2);
    assert_eq!(victim.fault(), None, "it may be the victim of its writer");
    assert_eq!(victim.replicator.availability(FEED, BlockIndex(200)), Availability::Unknown);
}

#[test]
fn whoever_asks_again_and_again_for_what_is_not_here_is_at_fault() {
    for (length, seen) in [(101, 0..100), (100, 0..99)] {
        let mut victim = Victim::new(seen);
        let (asked, fault) =
            tell_until_fault(&mut victim, |id| request(id, length, Wanted::Blocks(vec![99..100])));
        let blind = Fault::TooMany("requests for what is not here");
        assert_eq!((asked, fault), (u64::from(BLIND_MAX), blind));
    }
}

#[test]
fn refusals_that_nobody_takes_do_not_pile_up() {
    // One request for blocks that are not here makes a refusal each.
    let mut victim = Victim::new(0..0);
    let mut reads = 0;
    for id in 0..20 {
        victim.tell(&request(id, 100, Wanted::Blocks(vec![0..100])));
        while let Some(job) = victim.replicator.poll_job() {
            if let Job::Read { peer, feed, request, urgency, block, .. } = job {
                reads += 1;
                let done = Done::Read { peer, feed, request, urgency, block, answer: None };
                victim.replicator.handle_done(NOW, done);
            }
        }
    }
    assert!((QUESTIONS_MAX..QUESTIONS_MAX + READS_MAX).contains(&reads), "{reads}");
    victim.drain();
    assert!(victim.replicator.poll_job().is_some(), "once taken, it goes on");
}

#[test]
fn whoever_says_too_much_waits_and_nobody_else() {
    let mut victim = Victim::new(0..100);
    let other = PeerId(2);
    let binding = Binding { ours: b"us".into(), theirs: b"other".into() };
    victim.replicator.handle_connected(NOW, other, binding);
    let pieces: Vec<_> = (0..50).map(|run| 2 * run..2 * run + 1).collect();
    let said = (1..).find(|_| {
        victim.tell(&have(100, pieces.clone(), vec![]));
        victim.replicator.next_frame_at(PEER) > NOW
    });
    let frame = TALK_FRAME + pieces.len() as u64;
    let work = said.expect("numbers do not end") * frame;
    let micros = |span: Duration| span.as_micros() as u64;
    let at_once = micros(TALK_AHEAD) / micros(TALK_RATE);
    let most = at_once + micros(TALK_TURN_LEAST) / micros(TALK_TURN);
    // It greeted us and opened the feed besides.
    assert!((most - 2 * frame..most + frame).contains(&work), "{work} of {most}");
    assert!(victim.replicator.next_frame_at(PEER) < NOW + 2 * TALK_TURN_LEAST);
    assert_eq!(victim.fault(), None, "it breaks no rule");
    assert!(victim.replicator.next_frame_at(other) <= NOW);
}

#[test]
fn whoever_takes_blocks_may_say_so() {
    let mut victim = Victim::with_credit(0..100, u64::MAX);
    // The peer counts each block that it takes, says that it has it, and asks again.
    let talk = TALK_BLOCK / TALK_FRAME;
    for number in 0..10 * (TALK_AHEAD.as_micros() / TALK_RATE.as_micros()) as u64 / TALK_BLOCK {
        let block = number % 100;
        victim.tell(&request(number, 100, Wanted::Blocks(vec![block..block + 1])));
        (2..talk).for_each(|_| victim.tell(&Message::Credit { total: u64::MAX }));
        victim.drain();
        while let Some(job) = victim.replicator.poll_job() {
            victim.replicator.handle_done(NOW, read(job));
        }
        let blocks = victim.sent().into_iter().filter(|one| matches!(one, Message::Block { .. }));
        assert_eq!(blocks.count(), 1);
        assert!(victim.replicator.next_frame_at(PEER) <= NOW, "{number}");
    }
}

#[test]
fn streams_begin_one_after_the_other() {
    let mut victim = Victim::new(0..100);
    let turn = TALK_TURN * u32::try_from(TALK_STREAM).expect("it is small");
    for count in 0..1_000 {
        assert_eq!(victim.replicator.next_stream_at(NOW), NOW + turn * count);
    }
    let later = NOW + turn * 1_001;
    assert_eq!(victim.replicator.next_stream_at(later), later, "who comes alone waits for nobody");
}

#[test]
fn for_whoever_asks_for_much_and_takes_nothing_little_is_read() {
    for credit in [0, 1 << 20, 1 << 40] {
        let mut victim = Victim::with_credit(0..100, credit);
        let mut reads = Vec::new();
        for id in 0..REQUESTS_MAX as u64 {
            victim.tell(&request(id, 100, Wanted::Blocks(vec![0..100])));
            while let Some(job) = victim.replicator.poll_job() {
                reads.push(read(job));
            }
        }
        assert_eq!(victim.fault(), None);
        // The store answers now, and more may be read if there is room.
        let (mut count, mut bytes) = (0, 0);
        while let Some(done) = reads.pop() {
            if let Done::Read { answer: Some((_, payload)), .. } = &done {
                (count, bytes) = (count + 1, bytes + payload.len() as u64);
            }
            victim.replicator.handle_done(NOW, done);
            while let Some(job) = victim.replicator.poll_job() {
                reads.push(read(job));
            }
        }
        assert!(count > 0 && count <= READS_MAX, "{count} reads with a credit of {credit}");
        assert!(bytes <= READ_BYTES_MAX, "{bytes} bytes with a credit of {credit}");
    }
}
