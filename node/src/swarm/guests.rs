//! For whom there is still a place: strangers leave some to those who are known, however many of them come.
//!
//! Known is with whom there was a drive in common, and whom our user named. Before a handshake nobody says who they are: there the
//! address of somebody known is enough to be let on, and worth nothing later.
//! Invariant: connections of strangers, and handshakes that they began, are never more than the limits of either.
//! Elsewhere: what a network may have (`subnets`), what all may have (`places`).

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;

use libp2p::multiaddr::Protocol;
use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};
use thiserror::Error;

use super::limits;

/// What is left is for those who are known.
#[derive(Debug, Error)]
#[error("{limit} strangers are enough")]
pub(super) struct Full {
    limit: usize,
}

/// Who is here, and who is known.
#[derive(Debug)]
pub(super) struct Guests {
    connections: usize,
    handshakes: usize,
    /// Those who are known, the last one last.
    known: VecDeque<(PeerId, Option<IpAddr>)>,
    /// Handshakes that nobody began who may be known.
    pending: HashSet<ConnectionId>,
    /// Connections of those who were strangers when they came.
    strangers: HashMap<ConnectionId, PeerId>,
}

impl Guests {
    /// Makes places for so many connections of strangers, and handshakes at once that they began.
    pub(super) fn new(connections: usize, handshakes: usize) -> Self {
        let (known, pending, strangers) = (VecDeque::new(), HashSet::new(), HashMap::new());
        Self { connections, handshakes, known, pending, strangers }
    }

    /// A peer is known, and was at an address.
    pub(super) fn know(&mut self, peer: PeerId, at: Option<&Multiaddr>) {
        let ip = at.and_then(ip);
        let before = self.known.iter().position(|(other, _)| *other == peer);
        let old = before.and_then(|at| self.known.remove(at)).and_then(|(_, ip)| ip);
        if self.known.len() >= limits::KNOWN_PEERS {
            self.known.pop_front();
        }
        self.known.push_back((peer, ip.or(old)));
        self.strangers.retain(|_, stranger| *stranger != peer);
    }

    /// Tells whether somebody known was at an address.
    pub(super) fn is_known_at(&self, address: &Multiaddr) -> bool {
        let ip = ip(address);
        ip.is_some() && self.known.iter().any(|(_, known)| *known == ip)
    }

    /// Somebody begins a handshake from an address.
    pub(super) fn handle_pending(
        &mut self,
        id: ConnectionId,
        from: &Multiaddr,
    ) -> Result<(), Full> {
        if self.is_known_at(from) {
            return Ok(());
        }
        if self.pending.len() >= self.handshakes {
            return Err(Full { limit: self.handshakes });
        }
        self.pending.insert(id);
        Ok(())
    }

    /// Somebody who came proved who it is.
    pub(super) fn handle_established(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
    ) -> Result<(), Full> {
        self.pending.remove(&id);
        if self.known.iter().any(|(known, _)| *known == peer) {
            return Ok(());
        }
        if self.strangers.len() >= self.connections {
            return Err(Full { limit: self.connections });
        }
        self.strangers.insert(id, peer);
        Ok(())
    }

    /// A connection is no more, or came to nothing.
    pub(super) fn remove(&mut self, id: ConnectionId) {
        self.pending.remove(&id);
        self.strangers.remove(&id);
    }
}

fn ip(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => Some(ip.into()),
        Some(Protocol::Ip6(ip)) => Some(ip.to_canonical()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    #[test]
    fn strangers_leave_places_to_those_who_are_known() {
        let (mut guests, friend) = (Guests::new(3, 2), PeerId::random());
        let mut ids = (0..).map(ConnectionId::new_unchecked);
        guests.know(friend, Some(&at("/ip4/192.0.2.1/tcp/1")));
        let stranger = at("/ip4/198.51.100.1/tcp/1");
        let begun: Vec<ConnectionId> = ids.by_ref().take(2).collect();
        assert!(begun.iter().all(|id| guests.handle_pending(*id, &stranger).is_ok()));
        assert!(guests.handle_pending(ids.next().unwrap(), &stranger).is_err());
        let id = ids.next().unwrap();
        assert!(guests.handle_pending(id, &at("/ip6/::ffff:192.0.2.1/tcp/7")).is_ok());
        assert!(guests.handle_established(id, friend).is_ok());

        // Where somebody known is, a stranger is one all the same.
        let many: Vec<ConnectionId> = ids.by_ref().take(3).collect();
        for id in &many {
            guests.handle_established(*id, PeerId::random()).unwrap();
        }
        let late = PeerId::random();
        let id = ids.next().unwrap();
        assert!(guests.handle_pending(id, &at("/ip4/192.0.2.1/tcp/9")).is_ok());
        assert!(guests.handle_established(id, late).is_err());
        guests.remove(id);
        guests.remove(many[0]);
        assert!(guests.handle_established(ids.next().unwrap(), late).is_ok());
        assert!(guests.handle_established(ids.next().unwrap(), PeerId::random()).is_err());
        // Who becomes known makes room.
        guests.know(late, None);
        assert!(guests.handle_established(ids.next().unwrap(), PeerId::random()).is_ok());
        guests.remove(begun[0]);
        assert!(guests.handle_pending(ids.next().unwrap(), &stranger).is_ok());
    }

    #[test]
    fn those_who_are_known_are_so_many_and_the_oldest_is_forgotten() {
        let mut guests = Guests::new(0, 0);
        let first = PeerId::random();
        guests.know(first, None);
        for _ in 1..limits::KNOWN_PEERS {
            guests.know(PeerId::random(), None);
        }
        let id = ConnectionId::new_unchecked(1);
        assert!(guests.handle_established(id, first).is_ok());
        guests.know(first, None);
        guests.know(PeerId::random(), None);
        assert!(guests.handle_established(id, first).is_ok(), "it was here again since");
        (0..limits::KNOWN_PEERS).for_each(|_| guests.know(PeerId::random(), None));
        assert!(guests.handle_established(id, first).is_err());
        assert_eq!(guests.known.len(), limits::KNOWN_PEERS);
    }
}
