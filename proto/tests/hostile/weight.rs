//! What many peers make us remember together.

use datnode_feed::Bitfield;
use datnode_proto::limits::{
    HELD_PIECES_MAX, PEER_BYTES_FREE, PEERS_BYTES_MAX, PIECE_BYTES, REQUEST_RUNS_MAX, RUN_BYTES,
    RUNS_MAX,
};
use datnode_proto::wire::{Hello, Message, Wanted, encode};
use datnode_proto::{Binding, Class, Event, Fault, PeerId, Replica, Replicator, capability};

use crate::victim::{CHANNEL, FEED, NOW, have, head, key, request};

/// How many peers there are: those of a node with all its places taken.
const PEERS: u64 = 256;

/// As many pages of blocks as pieces are remembered of one peer.
const LENGTH: u64 = HELD_PIECES_MAX as u64 * 1_024;

/// A node that follows such a feed, with many peers.
struct Crowded {
    node: Replicator,
    faults: Vec<(PeerId, Fault)>,
}

impl Crowded {
    fn new(peers: u64) -> Self {
        let mut node = Replicator::new([0; 32]);
        let have = Bitfield::default();
        let head = Some(head(LENGTH));
        let replica = Replica { key: key(), class: Class::Content, head, have, accusation: None };
        node.add_feed(FEED, replica);
        let mut crowd = Self { node, faults: Vec::new() };
        for peer in 0..peers {
            let binding = Binding { ours: b"us".to_vec(), theirs: peer.to_le_bytes().to_vec() };
            let tag = capability::tag(&key(), &binding.theirs, &binding.ours, &[7; 16]);
            crowd.node.handle_connected(NOW, PeerId(peer), binding);
            let agent = String::from("many");
            let hello = Hello { version_min: 1, version_max: 1, features: 0, agent, credit: 0 };
            crowd.tell(peer, &Message::Hello(hello));
            crowd.tell(
                peer,
                &Message::Open { channel: CHANNEL, nonce: [7; 16], tag: *tag.as_bytes() },
            );
            while crowd.node.poll_transmit(NOW, PeerId(peer)).is_some() {}
        }
        crowd
    }

    fn tell(&mut self, peer: u64, message: &Message) {
        self.node.handle_frame(NOW, PeerId(peer), &encode(message), bytes::Bytes::new());
        while self.node.poll_job().is_some() {}
        while let Some(event) = self.node.poll_event() {
            if let Event::Fault { peer, fault } = event {
                self.faults.push((peer, fault));
                self.node.handle_disconnected(peer);
            }
        }
        let free = usize::try_from(PEERS).unwrap() * PEER_BYTES_FREE;
        assert!(self.node.weight_of_all() <= PEERS_BYTES_MAX + free, "peer {peer}");
    }

    /// A peer says that it holds a block of each of so many pages, the `part`th ones.
    fn hold(&mut self, peer: u64, part: u64) {
        let first = part * RUNS_MAX as u64;
        let pages = first..first + RUNS_MAX as u64;
        let held = pages.map(|page| page * 1_024..page * 1_024 + 1).collect();
        self.tell(peer, &have(LENGTH, held, vec![]));
    }
}

#[test]
fn of_those_who_hold_too_many_pieces_each_is_believed_to_hold_less() {
    let mut crowd = Crowded::new(PEERS);
    let parts = (HELD_PIECES_MAX / RUNS_MAX) as u64;
    for part in 0..parts {
        for peer in 0..PEERS / 8 {
            crowd.hold(peer, part);
        }
    }
    // Far more was said than is remembered.
    let said = HELD_PIECES_MAX * PIECE_BYTES * (PEERS as usize / 8);
    assert!(said > 4 * PEERS_BYTES_MAX);
    assert_eq!(crowd.faults, [], "it is no fault to hold pieces");
    assert!(
        crowd.node.weight_of_all() > PEERS_BYTES_MAX / 4,
        "no more is forgotten than has to be"
    );
    let held = crowd.node.holding(FEED, PeerId(0)).unwrap().0;
    assert!(held > 0, "a part is believed");
}

#[test]
fn of_those_who_ask_for_too_many_pieces_the_heaviest_are_let_go() {
    let mut crowd = Crowded::new(PEERS);
    let each = REQUEST_RUNS_MAX / RUNS_MAX;
    for id in 0..each as u64 {
        for peer in 0..PEERS / 4 {
            let first = id * 2 * RUNS_MAX as u64;
            let runs = (0..RUNS_MAX as u64).map(|run| first + 2 * run..first + 2 * run + 1);
            crowd.tell(peer, &request(id, LENGTH, Wanted::Blocks(runs.collect())));
        }
    }
    assert!(REQUEST_RUNS_MAX * RUN_BYTES * (PEERS as usize / 4) > 2 * PEERS_BYTES_MAX);
    assert!(!crowd.faults.is_empty());
    assert!(crowd.faults.iter().all(|(_, fault)| *fault == Fault::TooMany("things to remember")));
    let left = crowd.node.peers().count();
    assert!(left > PEERS as usize / 2, "{left} are left: those who asked for little stay");
}
