//! How many connections there may be: in all, of those that others began, of one peer, and handshakes at once.
//!
//! The library's own counter remembers each peer that ever was connected.
//! Invariant: what is remembered are connections that stand, and handshakes under way.
//! Elsewhere: what is left for those who are known (`guests`), what a network may have (`subnets`).

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::task::{Context, Poll};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::behaviour::ConnectionEstablished;
use libp2p::swarm::dummy::ConnectionHandler;
use libp2p::swarm::{
    ConnectionClosed, ConnectionDenied, ConnectionId, DialFailure, FromSwarm, ListenFailure,
    NetworkBehaviour, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};
use thiserror::Error;

use super::{SwarmConfig, limits};

/// There are as many as there may be.
#[derive(Debug, Error)]
#[error("{limit} {of} are enough")]
pub(super) struct Full {
    limit: usize,
    of: &'static str,
}

/// The behaviour that counts.
#[derive(Debug)]
pub(super) struct Places {
    handshakes_inbound: usize,
    handshakes_outbound: usize,
    inbound: usize,
    all: usize,
    per_peer: usize,
    /// Handshakes that others began.
    theirs: HashSet<ConnectionId>,
    /// Those that we did.
    ours: HashSet<ConnectionId>,
    /// What stands, with whom, and whether the other side began it.
    connections: HashMap<ConnectionId, (PeerId, bool)>,
}

impl Places {
    pub(super) fn new(config: &SwarmConfig) -> Self {
        let places = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        Self {
            handshakes_inbound: places(
                config.pending_inbound.saturating_add(limits::PENDING_KNOWN),
            ),
            handshakes_outbound: places(limits::PENDING_OUTBOUND),
            inbound: places(config.connections_inbound.saturating_add(config.connections_known)),
            all: places(config.connections),
            per_peer: places(limits::CONNECTIONS_PER_PEER),
            theirs: HashSet::new(),
            ours: HashSet::new(),
            connections: HashMap::new(),
        }
    }

    /// Tells whether there is a place for one more connection with a peer. There are a thousand at most: counting them anew cannot go wrong.
    fn check(&self, peer: PeerId, is_theirs: bool) -> Result<(), ConnectionDenied> {
        let of_others = self.connections.values().filter(|(_, is_theirs)| *is_theirs).count();
        if is_theirs {
            has_place(of_others, self.inbound, "connections of others")?;
        }
        let of_peer = self.connections.values().filter(|(other, _)| *other == peer).count();
        has_place(of_peer, self.per_peer, "connections of one peer")?;
        has_place(self.connections.len(), self.all, "connections")
    }

    fn forget_handshake(&mut self, id: ConnectionId) {
        self.theirs.remove(&id);
        self.ours.remove(&id);
    }
}

fn has_place(count: usize, limit: usize, of: &'static str) -> Result<(), ConnectionDenied> {
    if count < limit { Ok(()) } else { Err(ConnectionDenied::new(Full { limit, of })) }
}

impl NetworkBehaviour for Places {
    type ConnectionHandler = ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        has_place(self.theirs.len(), self.handshakes_inbound, "handshakes")?;
        self.theirs.insert(id);
        Ok(())
    }

    fn handle_pending_outbound_connection(
        &mut self,
        id: ConnectionId,
        _: Option<PeerId>,
        _: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        has_place(self.ours.len(), self.handshakes_outbound, "dials")?;
        self.ours.insert(id);
        Ok(Vec::new())
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<ConnectionHandler, ConnectionDenied> {
        self.forget_handshake(id);
        self.check(peer, true).map(|()| ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<ConnectionHandler, ConnectionDenied> {
        self.forget_handshake(id);
        self.check(peer, false).map(|()| ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            }) => {
                self.connections.insert(connection_id, (peer_id, endpoint.is_listener()));
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { connection_id, .. }) => {
                self.connections.remove(&connection_id);
            }
            FromSwarm::DialFailure(DialFailure { connection_id, .. })
            | FromSwarm::ListenFailure(ListenFailure { connection_id, .. }) => {
                self.forget_handshake(connection_id);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, told: Infallible) {
        match told {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Infallible, Infallible>> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use libp2p::core::ConnectedPoint;
    use libp2p::identity::Keypair;

    use super::*;

    /// Counts with few places, and what there is.
    struct Count {
        places: Places,
        next: usize,
    }

    impl Count {
        fn new() -> Self {
            let config = SwarmConfig {
                connections_inbound: 5,
                connections_known: 1,
                connections: 8,
                pending_inbound: 2,
                ..SwarmConfig::new(Keypair::generate_ed25519(), Vec::new())
            };
            Self { places: Places::new(&config), next: 0 }
        }

        fn at() -> Multiaddr {
            "/ip4/192.0.2.1/tcp/1".parse().unwrap()
        }

        fn id(&mut self) -> ConnectionId {
            self.next += 1;
            ConnectionId::new_unchecked(self.next)
        }

        /// Begins a handshake, if there is a place.
        fn begin(&mut self, is_theirs: bool) -> Option<ConnectionId> {
            let (id, at) = (self.id(), Self::at());
            let begun = match is_theirs {
                true => self.places.handle_pending_inbound_connection(id, &at, &at),
                false => self
                    .places
                    .handle_pending_outbound_connection(id, None, &[], Endpoint::Dialer)
                    .map(drop),
            };
            begun.ok().map(|()| id)
        }

        /// Goes on to a connection, if there is a place.
        fn stand(&mut self, id: ConnectionId, peer: PeerId, is_theirs: bool) -> bool {
            let at = Self::at();
            let (places, dialer) = (&mut self.places, Endpoint::Dialer);
            let stands = match is_theirs {
                true => places.handle_established_inbound_connection(id, peer, &at, &at),
                false => places.handle_established_outbound_connection(
                    id,
                    peer,
                    &at,
                    dialer,
                    PortUse::New,
                ),
            };
            let endpoint = match is_theirs {
                true => ConnectedPoint::Listener { local_addr: at.clone(), send_back_addr: at },
                false => ConnectedPoint::Dialer {
                    address: at,
                    role_override: dialer,
                    port_use: PortUse::New,
                },
            };
            let is_there = stands.is_ok();
            if is_there {
                self.places.on_swarm_event(FromSwarm::ConnectionEstablished(
                    ConnectionEstablished {
                        peer_id: peer,
                        connection_id: id,
                        endpoint: &endpoint,
                        failed_addresses: &[],
                        other_established: 0,
                    },
                ));
            }
            is_there
        }

        fn connect(&mut self, peer: PeerId, is_theirs: bool) -> Option<ConnectionId> {
            let id = self.begin(is_theirs)?;
            self.stand(id, peer, is_theirs).then_some(id)
        }

        fn close(&mut self, id: ConnectionId, peer: PeerId) {
            let at = Self::at();
            let endpoint = ConnectedPoint::Listener { local_addr: at.clone(), send_back_addr: at };
            self.places.on_swarm_event(FromSwarm::ConnectionClosed(ConnectionClosed {
                peer_id: peer,
                connection_id: id,
                endpoint: &endpoint,
                cause: None,
                remaining_established: 0,
            }));
        }
    }

    #[test]
    fn there_are_no_more_than_there_may_be() {
        let mut count = Count::new();
        let others: Vec<PeerId> = (0..6).map(|_| PeerId::random()).collect();
        let ids: Vec<_> = others.iter().map(|&peer| count.connect(peer, true).unwrap()).collect();
        assert_eq!(count.connect(PeerId::random(), true), None, "six are of others");
        let friend = PeerId::random();
        assert!((0..2).all(|_| count.connect(friend, false).is_some()));
        assert_eq!(count.connect(PeerId::random(), false), None, "eight are all");
        ids.iter().zip(&others).for_each(|(&id, &peer)| count.close(id, peer));
        assert!((0..2).all(|_| count.connect(friend, true).is_some()));
        assert_eq!(count.connect(friend, true), None, "four are of one peer");
        assert!(count.connect(PeerId::random(), true).is_some());
    }

    #[test]
    fn handshakes_are_no_more_than_there_may_be_and_end_however_they_end() {
        let mut count = Count::new();
        let most = 2 + limits::PENDING_KNOWN;
        let begun: Vec<_> = (0..most).map(|_| count.begin(true).unwrap()).collect();
        assert_eq!(count.begin(true), None);
        assert!((0..limits::PENDING_OUTBOUND).all(|_| count.begin(false).is_some()));
        assert_eq!(count.begin(false), None);
        assert!(count.stand(begun[0], PeerId::random(), true));
        assert!(count.begin(true).is_some());
        assert_eq!(count.begin(true), None);
    }

    #[test]
    fn nobody_who_left_is_remembered() {
        let mut count = Count::new();
        for number in 0..1_000 {
            let peer = PeerId::random();
            let id = count.connect(peer, number % 2 == 0).unwrap();
            count.close(id, peer);
        }
        let Places { theirs, ours, connections, .. } = &count.places;
        assert_eq!((theirs.len(), ours.len(), connections.len()), (0, 0, 0));
        assert!(connections.capacity() < 16, "{}", connections.capacity());
    }
}
