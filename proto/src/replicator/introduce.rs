//! Who else has a drive: told to peers that have it as well. SPEC 7.10.
//!
//! Derived from what is true: who has the feed, where we reached it ourselves, and whom a peer was told of already. Nothing that others
//! said is passed on. Only those who want to be told are, and only of such.
//! Invariant: a stream is told of a peer once, and of [`INTRODUCED_MAX`] in all.
//! Elsewhere: dialing whom others name (the node).

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use datnode_feed::PublicKey;

use super::Replicator;
use super::channel::Link;
use super::feed::Feed;
use super::peer::Peer;
use crate::fault::Fault;
use crate::ids::{Class, Contact, FeedId, Instant, PeerId, Place, Scope};
use crate::job::Event;
use crate::limits::{
    CONTACT_ADDRESSES_MAX, CONTACTS_MAX, INTRODUCE_AGAIN, INTRODUCE_EVERY, INTRODUCED_MAX,
    INTRODUCTIONS_MAX,
};
use crate::wire::Message;

/// What was said on a stream of others who have a feed.
#[derive(Debug, Default)]
pub(super) struct Introductions {
    /// Whom the peer was told of, by the names of their ends.
    told: BTreeSet<Vec<u8>>,
    /// How often those who could be told of had changed when all of them were.
    done: Option<u64>,
    /// Nothing is told before this.
    after: Instant,
    /// Whether that is over: what is to be said waits for the stream alone.
    due: bool,
}

impl Introductions {
    /// Tells whether there may be something to say.
    fn is_open(&self, meetings: u64) -> bool {
        self.told.len() < INTRODUCED_MAX && self.done != Some(meetings)
    }

    /// Tells whether it is time for it.
    fn is_due(&self, now: Instant, meetings: u64) -> bool {
        self.is_open(meetings) && self.after <= now
    }

    /// Returns when something may be said, if there is anything and it waits for its time.
    pub(super) fn at(&self, meetings: u64) -> Option<Instant> {
        (self.is_open(meetings) && !self.due).then_some(self.after)
    }

    /// Notes that time passed: a stream that takes nothing must not keep a timer running.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.due |= self.after <= now;
    }
}

impl Replicator {
    /// Tells others who want it where peers are, from now on, and is told.
    ///
    /// Has to be called before there are streams: each begins with saying so.
    pub fn exchange_contacts(&mut self) {
        self.exchanges = true;
    }

    /// Tells where a peer is, as far as we know that by ourselves.
    pub fn handle_place(&mut self, id: PeerId, place: Place) {
        if let Some(peer) =
            self.peers.get_mut(&id).filter(|peer| peer.place.as_ref() != Some(&place))
        {
            peer.place = Some(place);
            self.meetings += 1;
        }
    }

    /// Returns some peers of a feed that another of its peers was not told of.
    pub(super) fn introduce(&mut self, now: Instant, id: PeerId) -> Option<Message> {
        let peer = self.peers.get(&id).filter(|peer| self.exchanges && peer.exchanges)?;
        let scope = peer.place.as_ref()?.scope;
        let is_due = |link: &Link| link.is_live() && link.introductions.is_due(now, self.meetings);
        let due = peer.links.iter().find(|(feed, link)| {
            self.feeds.get(feed).is_some_and(|feed| feed.class == Class::Changes) && is_due(link)
        });
        let (&feed, link) = due?;
        let contacts = self.strangers_to(id, peer, self.feeds.get(&feed)?, scope, link);
        let (meetings, is_all) = (self.meetings, contacts.len() < CONTACTS_MAX);
        let link = self.peers.get_mut(&id)?.links.get_mut(&feed)?;
        let said = &mut link.introductions;
        (said.due, said.done) = (false, is_all.then_some(meetings));
        if contacts.is_empty() {
            said.after = now + INTRODUCE_AGAIN;
            return None;
        }
        said.after = now + INTRODUCE_EVERY;
        said.told.extend(contacts.iter().map(|contact| contact.peer.clone()));
        Some(Message::Peers { channel: link.ours, contacts })
    }

    /// Returns those of a feed's peers that one of them was not told of: not the same first for everybody.
    fn strangers_to(
        &self,
        id: PeerId,
        peer: &Peer,
        feed: &Feed,
        scope: Scope,
        link: &Link,
    ) -> Vec<Contact> {
        let told = &link.introductions.told;
        let last = feed.holders.keys().next_back().map_or(0, |last| last.0);
        let from = PeerId(spread(&feed.key, id) % last.saturating_add(1));
        let others = feed.holders.range(from..).chain(feed.holders.range(..from));
        let contact = |other: &PeerId| {
            let other = self.peers.get(other).filter(|other| other.exchanges && !other.faulted)?;
            let name = &other.binding.theirs;
            let is_new = *name != peer.binding.theirs && !told.contains(name);
            // Where we reached it, as far as that means the same to the peer: nobody far away is told of a local network.
            let places = other.place.iter().flat_map(|place| &place.addresses);
            let addresses = places.filter(|(reach, _)| *reach >= scope).map(|(_, at)| at.clone());
            let addresses: Vec<Vec<u8>> = addresses.take(CONTACT_ADDRESSES_MAX).collect();
            (is_new && !addresses.is_empty()).then(|| Contact { peer: name.clone(), addresses })
        };
        let room = INTRODUCED_MAX.saturating_sub(told.len()).min(CONTACTS_MAX);
        others.filter_map(|(other, _)| contact(other)).take(room).collect()
    }

    /// A peer tells of others.
    pub(super) fn introduced(
        &mut self,
        now: Instant,
        id: PeerId,
        feed: FeedId,
        contacts: Vec<Contact>,
    ) -> Result<(), Fault> {
        let Some(peer) = self.peers.get_mut(&id) else { return Ok(()) };
        if !self.exchanges {
            return Err(Fault::Unexpected("peers"));
        }
        if peer.introductions.note(now) > INTRODUCTIONS_MAX {
            return Err(Fault::TooMany("peers"));
        }
        self.events.push_back(Event::Contacts { peer: id, feed, contacts });
        Ok(())
    }
}

/// Returns a number that is another one for each peer.
fn spread(key: &PublicKey, id: PeerId) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(key.as_bytes()).update(&id.0.to_le_bytes());
    let hash = hasher.finalize();
    let (first, _) = hash.as_bytes().split_first_chunk().unwrap_or((&[0; 8], &[]));
    u64::from_le_bytes(*first)
}
