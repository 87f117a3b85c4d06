//! Who is told of whom: those who want it, of those who want it, as far as both are near enough, so many and so often.

use std::collections::BTreeSet;

use bytes::Bytes;
use datnode_feed::Bitfield;
use datnode_proto::capability::tag;
use datnode_proto::limits::{
    CONTACT_ADDRESSES_MAX, CONTACT_BYTES_MAX, CONTACTS_MAX, INTRODUCE_AGAIN, INTRODUCE_EVERY,
    INTRODUCED_MAX, INTRODUCTIONS_MAX,
};
use datnode_proto::wire::{FEATURE_CONTACTS, Hello, Message, decode, encode};
use datnode_proto::{
    Binding, Class, Contact, Event, Fault, Instant, PeerId, Place, Replica, Replicator, Scope,
};

use crate::victim::{CHANNEL, FEED, key};

/// A node, and peers that have its drive.
struct Swarm {
    replicator: Replicator,
    now: Instant,
}

impl Swarm {
    fn new(exchanges: bool) -> Self {
        let mut replicator = Replicator::new([0; 32]);
        if exchanges {
            replicator.exchange_contacts();
        }
        let (key, class, head) = (key(), Class::Changes, None);
        let have = Bitfield::default();
        replicator.add_feed(FEED, Replica { key, class, head, have, accusation: None });
        Self { replicator, now: Instant(1_000) }
    }

    fn tell(&mut self, peer: u64, message: &Message) {
        self.replicator.handle_frame(self.now, PeerId(peer), &encode(message), Bytes::new());
    }

    /// A peer comes that has the drive, and was reached at an address.
    fn join(&mut self, peer: u64, features: u64, scope: Scope, reached: &[Scope]) {
        let theirs = name(peer);
        let binding = Binding { ours: b"us".into(), theirs: theirs.clone() };
        self.replicator.handle_connected(self.now, PeerId(peer), binding);
        let (version_min, version_max, agent, credit) = (1, 1, String::new(), 0);
        self.tell(
            peer,
            &Message::Hello(Hello { version_min, version_max, features, agent, credit }),
        );
        let tag = *tag(&key(), &theirs, b"us", &[0; 16]).as_bytes();
        self.tell(peer, &Message::Open { channel: CHANNEL, nonce: [0; 16], tag });
        let addresses = reached.iter().map(|scope| (*scope, vec![*scope as u8])).collect();
        self.replicator.handle_place(PeerId(peer), Place { scope, addresses });
    }

    /// Lets time pass.
    fn pass(&mut self, time: std::time::Duration) {
        self.now = self.now + time;
        self.replicator.handle_timeout(self.now);
    }

    /// Returns of whom a peer is told now.
    fn told(&mut self, peer: u64) -> Vec<Contact> {
        let mut told = Vec::new();
        while let Some(frame) = self.replicator.poll_transmit(self.now, PeerId(peer)) {
            if let Ok(Message::Peers { contacts, .. }) = decode(&frame.header, &frame.payload) {
                told.extend(contacts);
            }
        }
        told
    }

    /// Returns the same once they had time to settle.
    fn told_later(&mut self, peer: u64) -> Vec<Contact> {
        let mut told = self.told(peer);
        self.pass(INTRODUCE_EVERY);
        told.extend(self.told(peer));
        told
    }
}

fn name(peer: u64) -> Vec<u8> {
    format!("peer {peer}").into_bytes()
}

const WORLD: &[Scope] = &[Scope::World];

#[test]
fn those_who_want_it_are_told_of_such() {
    let mut swarm = Swarm::new(true);
    swarm.join(1, FEATURE_CONTACTS, Scope::World, WORLD);
    swarm.join(2, FEATURE_CONTACTS, Scope::World, WORLD);
    swarm.join(3, 0, Scope::World, WORLD);
    swarm.join(4, FEATURE_CONTACTS, Scope::World, &[]);
    let contact = |peer| Contact { peer: name(peer), addresses: vec![vec![Scope::World as u8]] };
    assert_eq!(swarm.told_later(1), [contact(2)]);
    assert_eq!(swarm.told_later(2), [contact(1)], "who was not reached is told, and not told of");
    assert_eq!(swarm.told_later(3), []);
    assert_eq!(swarm.told_later(4).len(), 2);
    assert_eq!(swarm.told_later(1), [], "once");
    // Who comes later is told of later, and who is gone is told of no more.
    swarm.join(5, FEATURE_CONTACTS, Scope::World, WORLD);
    swarm.replicator.handle_disconnected(PeerId(2));
    assert_eq!(swarm.told_later(1), [contact(5)]);
    assert_eq!(swarm.told_later(5), [contact(1)]);

    let mut silent = Swarm::new(false);
    silent.join(1, FEATURE_CONTACTS, Scope::World, WORLD);
    silent.join(2, FEATURE_CONTACTS, Scope::World, WORLD);
    assert_eq!(silent.told_later(1), []);
}

#[test]
fn nobody_far_away_is_told_of_a_local_network() {
    let mut swarm = Swarm::new(true);
    let all = [Scope::Computer, Scope::Network, Scope::World];
    for (peer, scope) in (1..).zip(all) {
        swarm.join(peer, FEATURE_CONTACTS, scope, &all);
    }
    for (peer, scope) in (1..).zip(all) {
        let right: Vec<Vec<u8>> =
            all.iter().filter(|reach| **reach >= scope).map(|reach| vec![*reach as u8]).collect();
        let told = swarm.told_later(peer);
        assert_eq!(told.len(), 2);
        assert!(told.iter().all(|contact| contact.addresses == right), "{scope:?}: {told:?}");
    }
}

#[test]
fn so_many_are_told_of_at_once_and_in_all() {
    let mut swarm = Swarm::new(true);
    let count = INTRODUCED_MAX as u64 + 50;
    for peer in 0..count {
        let reached = [Scope::World; CONTACT_ADDRESSES_MAX + 3];
        swarm.join(peer, FEATURE_CONTACTS, Scope::World, &reached);
    }
    let mut told = BTreeSet::new();
    loop {
        let now = swarm.told(0);
        assert!(now.len() <= CONTACTS_MAX);
        assert!(now.iter().all(|contact| contact.addresses.len() == CONTACT_ADDRESSES_MAX));
        if now.is_empty() {
            break;
        }
        let before = told.len();
        told.extend(now.into_iter().map(|contact| contact.peer));
        assert!(told.len() > before, "nobody twice");
        // Not before it is time.
        assert_eq!(swarm.told(0), []);
        swarm.pass(INTRODUCE_EVERY);
    }
    assert_eq!(told.len(), INTRODUCED_MAX);
    // Others are told of others first.
    let first = |swarm: &mut Swarm, peer| swarm.told(peer).first().unwrap().peer.clone();
    let firsts: BTreeSet<Vec<u8>> = (1..10).map(|peer| first(&mut swarm, peer)).collect();
    assert!(firsts.len() > 5, "{firsts:?}");
}

#[test]
fn who_comes_is_told_of_within_a_moment_where_nobody_was_before() {
    let mut swarm = Swarm::new(true);
    swarm.join(1, FEATURE_CONTACTS, Scope::World, WORLD);
    assert_eq!(swarm.told(1), []);
    swarm.join(2, FEATURE_CONTACTS, Scope::World, WORLD);
    let due = swarm.replicator.poll_timeout().unwrap();
    assert!(due <= swarm.now + INTRODUCE_AGAIN);
    swarm.pass(INTRODUCE_AGAIN);
    assert_eq!(swarm.told(1).len(), 1);
    assert_eq!(swarm.told(2).len(), 1);
    let later = swarm.now + INTRODUCE_EVERY;
    assert!(swarm.replicator.poll_timeout().is_none_or(|at| at >= later), "no timer spins");
}

#[test]
fn what_is_told_is_passed_on_and_a_flood_of_it_is_a_fault() {
    let mut swarm = Swarm::new(true);
    swarm.join(1, FEATURE_CONTACTS, Scope::World, WORLD);
    assert_eq!(swarm.told(1), []);
    let contacts = vec![Contact { peer: name(9), addresses: vec![vec![7; CONTACT_BYTES_MAX]] }];
    let message = Message::Peers { channel: CHANNEL, contacts: contacts.clone() };
    let heard = |swarm: &mut Swarm| {
        std::iter::from_fn(|| swarm.replicator.poll_event()).find_map(|event| match event {
            Event::Contacts { contacts, .. } => Some(Ok(contacts)),
            Event::Fault { fault, .. } => Some(Err(fault)),
            _ => None,
        })
    };
    for _ in 0..INTRODUCTIONS_MAX {
        swarm.tell(1, &message);
        assert_eq!(heard(&mut swarm), Some(Ok(contacts.clone())));
    }
    swarm.tell(1, &message);
    assert_eq!(heard(&mut swarm), Some(Err(Fault::TooMany("peers"))));
    // Who did not ask for it need not take it.
    let mut silent = Swarm::new(false);
    silent.join(1, FEATURE_CONTACTS, Scope::World, WORLD);
    assert_eq!(silent.told(1), []);
    silent.tell(1, &message);
    assert_eq!(heard(&mut silent), Some(Err(Fault::Unexpected("peers"))));
}
