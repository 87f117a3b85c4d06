//! Tries out whether this node can be reached at addresses that others saw it at (AutoNAT v2).
//!
//! The library's client keeps every address that any peer ever names, and has each of them dialed, once. This stands before it and lets
//! through a few that look like ours. To have them tried again it takes a fresh client, which knows nothing of the connections there are:
//! it is told of later ones alone.
//! Invariant: the client hears of a connection from its beginning to its end, or not at all.
//! Elsewhere: what follows from the answers (`reach`).

use std::collections::{BTreeSet, HashSet};
use std::task::{Context, Poll};

use libp2p::autonat::v2::client;
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::behaviour::NewExternalAddrCandidate;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};

use super::limits;

/// The client, and what it was told.
pub(super) struct Behaviour {
    client: client::Behaviour,
    told: HashSet<Multiaddr>,
    /// Where the router says that others get in.
    mapped: BTreeSet<Multiaddr>,
    /// The connections that it knows.
    known: HashSet<ConnectionId>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            client: fresh(),
            told: HashSet::new(),
            mapped: BTreeSet::new(),
            known: HashSet::new(),
        }
    }
}

impl Behaviour {
    /// The router says that others get in at these addresses: they are tried, however many others came before.
    pub(super) fn handle_mapped(&mut self, mapped: &BTreeSet<Multiaddr>) {
        for addr in mapped - &self.mapped {
            let candidate = NewExternalAddrCandidate { addr: &addr };
            self.client.on_swarm_event(FromSwarm::NewExternalAddrCandidate(candidate));
        }
        self.mapped.clone_from(mapped);
    }

    /// Has the addresses tried again by whoever is connected from now on.
    pub(super) fn begin_anew(&mut self) {
        (self.client, self.known) = (fresh(), HashSet::new());
        for addr in self.told.iter().chain(&self.mapped) {
            let candidate = NewExternalAddrCandidate { addr };
            self.client.on_swarm_event(FromSwarm::NewExternalAddrCandidate(candidate));
        }
    }
}

fn fresh() -> client::Behaviour {
    let config = client::Config::default().with_probe_interval(limits::PROBE_INTERVAL);
    client::Behaviour::new(rand::make_rng(), config)
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = <client::Behaviour as NetworkBehaviour>::ConnectionHandler;
    type ToSwarm = client::Event;

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.client.handle_established_inbound_connection(id, peer, local, remote)
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.client.handle_established_outbound_connection(id, peer, address, role, port)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::NewExternalAddrCandidate(NewExternalAddrCandidate { addr })
                if !lets_through(&mut self.told, addr) => {}
            FromSwarm::ConnectionEstablished(established) => {
                self.known.insert(established.connection_id);
                self.client.on_swarm_event(event);
            }
            FromSwarm::ConnectionClosed(closed) => {
                if self.known.remove(&closed.connection_id) {
                    self.client.on_swarm_event(event);
                }
            }
            event => self.client.on_swarm_event(event),
        }
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        id: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        if self.known.contains(&id) {
            self.client.on_connection_handler_event(peer, id, event);
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ToSwarm<client::Event, THandlerInEvent<Self>>> {
        self.client.poll(cx)
    }
}

/// Tells whether an address is tried: it has the form of those that we listen on, and few came before it.
fn lets_through(told: &mut HashSet<Multiaddr>, address: &Multiaddr) -> bool {
    use Protocol::{Ip4, Ip6, QuicV1, Tcp, Udp};
    let parts: Vec<Protocol<'_>> = address.iter().collect();
    let sound = matches!(
        parts.as_slice(),
        [Ip4(_) | Ip6(_), Tcp(1..)] | [Ip4(_) | Ip6(_), Udp(1..), QuicV1]
    );
    let is_new = !told.contains(address);
    if sound && is_new && told.len() < limits::CANDIDATES {
        told.insert(address.clone());
        return true;
    }
    sound && !is_new
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_that_see_us_everywhere_are_believed_a_few_times() {
        let mut told = HashSet::new();
        let first: Multiaddr = "/ip4/203.0.113.1/tcp/3282".parse().unwrap();
        let through = (1..1_000_u16)
            .map(|port| format!("/ip4/203.0.113.1/udp/{port}/quic-v1").parse().unwrap())
            .filter(|address| lets_through(&mut told, address));
        assert_eq!(through.count(), limits::CANDIDATES);
        assert!(!lets_through(&mut told, &first), "there were enough");
        let known = told.iter().next().unwrap().clone();
        assert!(lets_through(&mut told, &known), "who is named twice is the likelier");
    }

    #[test]
    fn what_no_node_listens_on_is_not_tried() {
        for text in [
            "/ip4/203.0.113.1/tcp/0",
            "/ip4/203.0.113.1/udp/53",
            "/dns4/example.org/tcp/3282",
            "/ip4/203.0.113.1/tcp/3282/ws",
            "/ip4/203.0.113.1/tcp/1/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA/p2p-circuit",
        ] {
            assert!(!lets_through(&mut HashSet::new(), &text.parse().unwrap()), "{text}");
        }
        assert!(lets_through(&mut HashSet::new(), &"/ip6/2001:db8::1/tcp/1".parse().unwrap()));
    }
}
