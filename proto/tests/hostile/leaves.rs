//! Leaves without their blocks: who is asked for which, what answers mean, and how many there may be.

use bytes::Bytes;
use datnode_feed::{LeavesProof, Node, NodeIndex, leaf, subtrees};
use datnode_proto::limits::{LEAVES_ASKED_MAX, LEAVES_LOOKED_AT, LEAVES_MAX, LEAVES_OWED_MAX};
use datnode_proto::wire::{Message, Wanted, decode, encode};
use datnode_proto::{Done, Event, Failure, Fault, Job, RequestId, WantId};

use crate::victim::{CHANNEL, FEED, NOW, PEER, Victim, have, head, request};

/// Returns the leaves that the peer is asked for next.
fn asked(victim: &mut Victim) -> Vec<(RequestId, NodeIndex)> {
    let leaves = |message| match message {
        Message::Request { request, .. } => match request.wanted {
            Wanted::Leaves(top) => Some((request.id, top)),
            _ => None,
        },
        _ => None,
    };
    victim.sent().into_iter().filter_map(leaves).collect()
}

fn answer(id: RequestId, top: NodeIndex) -> Message {
    let leaves = top.blocks().map(|block| leaf(&block.to_le_bytes())).collect();
    Message::Leaves { channel: CHANNEL, id, leaves, siblings: vec![] }
}

/// Returns what waits to be verified.
fn learning(victim: &mut Victim) -> Vec<(RequestId, LeavesProof)> {
    let jobs = std::iter::from_fn(|| victim.replicator.poll_job());
    let learn = |job| match job {
        Job::Learn { request, proof, .. } => Some((request, proof)),
        _ => None,
    };
    jobs.filter_map(learn).collect()
}

fn learned(victim: &mut Victim, request: RequestId, result: Result<(), Failure>) {
    let done = Done::Learned { peer: PEER, feed: FEED, request, result };
    victim.replicator.handle_done(NOW, done);
}

fn done(victim: &mut Victim) -> Vec<WantId> {
    let events = std::iter::from_fn(|| victim.replicator.poll_event());
    let done = |event| match event {
        Event::WantDone { want } => Some(want),
        _ => None,
    };
    events.filter_map(done).collect()
}

#[test]
fn what_is_looked_up_is_asked_of_who_holds_it_a_few_subtrees_at_a_time() {
    let mut victim = Victim::new(0..0);
    victim.tell(&have(100, vec![0..31], vec![]));
    let lookup = victim.replicator.look_up(FEED, &[3..20, 30..40]);
    let held: Vec<NodeIndex> = subtrees(3, 20).collect();
    assert_eq!(held.len(), LEAVES_ASKED_MAX, "3, 4..8, 8..16 and 16..20");
    let first = asked(&mut victim);
    assert!(first.iter().map(|(_, top)| *top).eq(held));
    for (id, top) in &first {
        victim.tell(&answer(*id, *top));
    }
    assert_eq!(victim.fault(), None);
    assert_eq!(asked(&mut victim), [], "as long as they are not verified");
    let proofs = learning(&mut victim);
    for ((request, proof), (id, top)) in proofs.into_iter().zip(&first) {
        assert_eq!((request, proof.top), (*id, *top));
        learned(&mut victim, request, Ok(()));
    }
    assert_eq!(asked(&mut victim), [], "the peer has not all of 30..32, nor what follows");
    assert_eq!(done(&mut victim), []);
    let progress = victim.replicator.progress(lookup).unwrap();
    assert_eq!((progress.here, progress.of), (4, 6));
    victim.tell(&have(100, vec![31..100], vec![]));
    let rest = asked(&mut victim);
    assert!(rest.iter().map(|(_, top)| *top).eq(subtrees(30, 40)));
    // Whoever has them not after all is not asked again; the blocks come in any case.
    for (id, _) in rest {
        victim.tell(&Message::Missing { channel: CHANNEL, id, blocks: vec![] });
    }
    assert_eq!((asked(&mut victim), done(&mut victim)), (vec![], vec![lookup]));
    assert_eq!(victim.fault(), None);
    let nothing = victim.replicator.look_up(FEED, &[]);
    assert_eq!(done(&mut victim), [nothing]);
}

#[test]
fn only_what_was_asked_for_comes_and_once() {
    let ask = || {
        let mut victim = Victim::new(0..0);
        victim.tell(&have(100, vec![0..100], vec![]));
        victim.replicator.look_up(FEED, &[0..8]);
        let [(id, top)] = asked(&mut victim)[..] else { panic!("it is one subtree") };
        (victim, id, top)
    };
    let (mut victim, id, top) = ask();
    victim.tell(&answer(RequestId(id.0 + 1), top));
    assert_eq!(victim.fault(), Some(Fault::Unexpected("leaves nobody asked for")));
    let (mut victim, id, top) = ask();
    victim.tell(&answer(id, top));
    victim.tell(&answer(id, top));
    assert_eq!(victim.fault(), Some(Fault::Unexpected("leaves nobody asked for")));
    let (mut victim, id, top) = ask();
    victim.tell(&answer(id, top));
    learned(&mut victim, id, Err(Failure::Peer));
    assert_eq!(victim.fault(), Some(Fault::BadLeaves));
    // Our own disk is nobody's fault.
    let (mut victim, id, top) = ask();
    victim.tell(&answer(id, top));
    learned(&mut victim, id, Err(Failure::Ours));
    assert_eq!(victim.fault(), None);
}

#[test]
fn what_a_peer_did_not_answer_is_asked_again_once_it_is_back() {
    let mut victim = Victim::new(0..0);
    victim.tell(&have(100, vec![0..100], vec![]));
    let lookup = victim.replicator.look_up(FEED, &[0..8, 16..24]);
    let before = asked(&mut victim);
    victim.tell(&Message::Close { channel: CHANNEL });
    assert_eq!(asked(&mut victim), []);
    victim.open();
    victim.tell(&have(100, vec![0..100], vec![]));
    let again = asked(&mut victim);
    let tops = |asked: &[(RequestId, NodeIndex)]| asked.iter().map(|(_, top)| *top).collect();
    let (before, mut after): (Vec<NodeIndex>, Vec<NodeIndex>) = (tops(&before), tops(&again));
    after.sort_unstable();
    assert_eq!(before, after);
    victim.replicator.unwant(lookup);
    for (id, top) in again {
        victim.tell(&answer(id, top));
        learned(&mut victim, id, Ok(()));
    }
    assert_eq!((done(&mut victim), victim.fault()), (vec![], None), "nobody waits any more");
}

#[test]
fn a_peer_is_considered_for_the_first_subtrees_alone() {
    let mut victim = Victim::new(0..0);
    victim.replicator.handle_head(FEED, head(1_000));
    victim.tell(&have(1_000, vec![999..1_000], vec![]));
    // Each of these is a subtree of its own, and the peer has the last one alone.
    let scattered = |count: usize| -> Vec<_> {
        let first = 999 - 2 * (count as u64 - 1);
        (first..1_000).step_by(2).map(|block| block..block + 1).collect()
    };
    let lookup = victim.replicator.look_up(FEED, &scattered(LEAVES_LOOKED_AT + 1));
    assert_eq!(asked(&mut victim), []);
    victim.replicator.unwant(lookup);
    victim.replicator.look_up(FEED, &scattered(LEAVES_LOOKED_AT));
    assert_eq!(asked(&mut victim).len(), 1);
}

fn read(job: Job) -> Done {
    let Job::Leaves { peer, feed, request, top, levels } = job else { panic!("{job:?}") };
    let leaves = top.blocks().map(|block| leaf(&block.to_le_bytes())).collect();
    let siblings = vec![leaf(b"sibling"); levels as usize];
    Done::Leaves { peer, feed, request, proof: Some(LeavesProof { top, leaves, siblings }) }
}

#[test]
fn a_peer_gets_leaves_and_then_blocks_without_a_proof() {
    let mut victim = Victim::new(0..100);
    victim.tell(&have(100, vec![], vec![]));
    let top = subtrees(16, 32).next().unwrap();
    victim.tell(&request(5, 100, Wanted::Leaves(top)));
    let job = victim.replicator.poll_job().expect("they are read");
    victim.replicator.handle_done(NOW, read(job));
    let sent = victim.sent();
    let sent = sent.iter().find_map(|message| match message {
        Message::Leaves { id, leaves, siblings, .. } => Some((*id, leaves.len(), siblings.len())),
        _ => None,
    });
    assert_eq!(sent, Some((RequestId(5), 16, 2)), "up to the peak over 64 blocks");
    victim.tell(&request(6, 100, Wanted::Blocks(vec![20..21])));
    let read_ahead = victim.replicator.poll_job();
    assert!(matches!(read_ahead, Some(Job::Read { levels: 0, .. })), "{read_ahead:?}");
    // What lies beside them is known as well.
    victim.tell(&request(7, 100, Wanted::Leaves(subtrees(32, 40).next().unwrap())));
    let job = victim.replicator.poll_job();
    assert!(matches!(job, Some(Job::Leaves { levels: 2, .. })), "{job:?}");
}

#[test]
fn a_peer_has_so_many_requests_for_leaves_open() {
    let mut victim = Victim::new(0..100);
    victim.tell(&have(100, vec![], vec![]));
    let wanted = || Wanted::Leaves(NodeIndex(0));
    for id in 0..3 * LEAVES_OWED_MAX as u64 {
        victim.tell(&request(id, 100, wanted()));
        let job = victim.replicator.poll_job().expect("they are read");
        victim.replicator.handle_done(NOW, read(job));
        assert_eq!(victim.sent().len(), 1, "what is sent is owed no more");
    }
    for id in 0..=LEAVES_OWED_MAX as u64 {
        assert_eq!(victim.fault(), None);
        victim.tell(&request(id, 100, wanted()));
        let job = victim.replicator.poll_job();
        // Read or not, as long as it is not sent.
        job.filter(|_| id % 2 == 0).into_iter().for_each(|job| {
            victim.replicator.handle_done(NOW, read(job));
        });
    }
    assert_eq!(victim.fault(), Some(Fault::TooMany("requests for leaves")));
    let mut victim = Victim::new(0..100);
    victim.tell(&have(100, vec![], vec![]));
    victim.tell(&request(0, 99, Wanted::Leaves(subtrees(99, 100).next().unwrap())));
    assert_eq!(victim.fault(), Some(Fault::Unexpected("request beyond its length")));
}

#[test]
fn a_request_names_a_subtree_and_an_answer_has_so_many_leaves() {
    let asks = |top| encode(&request(1, 1 << 20, Wanted::Leaves(top)));
    let largest = subtrees(0, LEAVES_MAX as u64).next().unwrap();
    assert!(decode(&asks(largest), b"").is_ok());
    assert_eq!(decode(&asks(largest.parent()), b""), Err(Fault::Malformed));
    let message = |leaves: usize| {
        let leaves = vec![Node { size: 1, ..leaf(b"") }; leaves];
        let siblings = vec![leaf(b""); datnode_feed::LEVELS_MAX];
        let message = Message::Leaves { channel: CHANNEL, id: RequestId(0), leaves, siblings };
        decode(&encode(&message), &Bytes::new())
    };
    assert!(message(LEAVES_MAX).is_ok());
    assert_eq!(message(LEAVES_MAX + 1), Err(Fault::Malformed));
}
