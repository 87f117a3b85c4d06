//! Places for connections over QUIC: its library lets each hold so much unread, whatever the others hold, so that their number bounds it all.
//!
//! Whoever is refused has TCP, which comes first anyway, or comes again.
//! Invariant: connections are no more than the places, those that others began leave some for ours.
//! Elsewhere: what is unread over TCP (`transport::unread`).

use std::collections::HashMap;

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::ConnectionId;
use thiserror::Error;

/// There are as many as there may be.
#[derive(Debug, Error)]
#[error("{limit} connections over QUIC are enough")]
pub(super) struct QuicFull {
    limit: usize,
}

/// The connections over QUIC.
#[derive(Debug)]
pub(super) struct QuicPlaces {
    limit: usize,
    /// Each, and whether the other side began it.
    connections: HashMap<ConnectionId, bool>,
}

impl QuicPlaces {
    /// Makes places for so many, a quarter of them for those that we begin.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, connections: HashMap::new() }
    }

    /// A connection stands, be it over QUIC or not.
    pub(super) fn insert(
        &mut self,
        id: ConnectionId,
        address: &Multiaddr,
        is_theirs: bool,
    ) -> Result<(), QuicFull> {
        if !address.iter().any(|part| part == Protocol::QuicV1) {
            return Ok(());
        }
        let theirs = self.connections.values().filter(|is_theirs| **is_theirs).count();
        let limit = self.limit - self.limit / 4;
        if is_theirs && theirs >= limit {
            return Err(QuicFull { limit });
        }
        if self.connections.len() >= self.limit {
            return Err(QuicFull { limit: self.limit });
        }
        self.connections.insert(id, is_theirs);
        Ok(())
    }

    /// A connection is no more, or came to nothing.
    pub(super) fn remove(&mut self, id: ConnectionId) {
        self.connections.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insert(places: &mut QuicPlaces, id: usize, address: &str, is_theirs: bool) -> bool {
        let id = ConnectionId::new_unchecked(id);
        places.insert(id, &address.parse().unwrap(), is_theirs).is_ok()
    }

    #[test]
    fn others_leave_places_for_those_whom_we_dial_and_tcp_takes_none() {
        const QUIC: &str = "/ip4/1.2.3.4/udp/5/quic-v1";
        let mut places = QuicPlaces::new(8);
        assert!((0..20).all(|id| insert(&mut places, id, "/ip4/1.2.3.4/tcp/5", true)));
        assert!((20..26).all(|id| insert(&mut places, id, QUIC, true)));
        assert!(!insert(&mut places, 26, QUIC, true), "the rest is for ours");
        assert!((27..29).all(|id| insert(&mut places, id, QUIC, false)));
        assert!(!insert(&mut places, 29, QUIC, false), "there are eight");
        places.remove(ConnectionId::new_unchecked(20));
        assert!(insert(&mut places, 30, QUIC, true));
        assert!(!insert(&mut places, 31, QUIC, true));
    }
}
