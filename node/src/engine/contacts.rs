//! Peers that other peers of a drive name, and where a peer is that others may be told of.
//!
//! A name is a place to try and nothing else: whoever sent it may lie. So what is taken has the form of addresses that nodes listen on,
//! and reaches as far as its sender is away: nobody far away has us dial our own network.
//! Elsewhere: who is told of whom (`datnode_proto`), how many of them are dialed (`swarm`).

use datnode_proto::{Contact, Place};
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use crate::swarm::{is_relayed, scope};

/// Returns where those are whom a peer at an address named.
pub(super) fn dialable(contacts: Vec<Contact>, from: &Multiaddr) -> Vec<Multiaddr> {
    let nearest = scope(from);
    let named = contacts.into_iter().flat_map(|Contact { peer, addresses }| {
        let peer = PeerId::from_bytes(&peer).ok();
        addresses.into_iter().filter_map(move |bytes| {
            let address = Multiaddr::try_from(bytes).ok().filter(is_sound)?;
            Some(address).filter(|at| scope(at) >= nearest).zip(peer)
        })
    });
    named.map(|(address, peer)| address.with(Protocol::P2p(peer))).collect()
}

/// Tells whether an address is an IP with TCP or QUIC, and nothing behind it.
fn is_sound(address: &Multiaddr) -> bool {
    use Protocol::{Ip4, Ip6, QuicV1, Tcp, Udp};
    let parts: Vec<Protocol<'_>> = address.iter().collect();
    matches!(parts.as_slice(), [Ip4(_) | Ip6(_), Tcp(1..)] | [Ip4(_) | Ip6(_), Udp(1..), QuicV1])
}

/// Returns where a peer is: how far away, by the address of its connection, and where it answered when we dialed.
pub(super) fn place(connection: &Multiaddr, dialed: Option<&Multiaddr>) -> Place {
    let bare = |address: &Multiaddr| -> Multiaddr {
        let is_name = |part: &Protocol<'_>| matches!(part, Protocol::P2p(_));
        address.iter().filter(|part| !is_name(part)).collect()
    };
    let reached = dialed.filter(|address| !is_relayed(address)).map(bare);
    let reached = reached.filter(is_sound).map(|address| (scope(&address), address.to_vec()));
    Place { scope: scope(connection), addresses: reached.into_iter().collect() }
}

#[cfg(test)]
mod tests {
    use datnode_proto::Scope;

    use super::*;

    fn at(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_named_is_dialed_only_where_a_node_may_be() {
        let peer = PeerId::random();
        let named = |address: &str, from: &str| {
            let addresses = vec![at(address).to_vec()];
            let contact = Contact { peer: peer.to_bytes(), addresses };
            dialable(vec![contact], &at(from))
        };
        let (world, lan) = ("/ip4/198.51.100.1/tcp/1", "/ip4/192.168.1.7/tcp/1");
        let good = at("/ip4/203.0.113.9/tcp/3282");
        assert_eq!(named(&good.to_string(), world), [good.clone().with(Protocol::P2p(peer))]);
        assert_eq!(named("/ip4/192.168.1.9/udp/3282/quic-v1", lan).len(), 1);
        for (bad, from) in [
            ("/ip4/192.168.1.9/tcp/3282", world),
            ("/ip4/127.0.0.1/tcp/3282", lan),
            ("/ip6/fd00::1/tcp/3282", world),
            ("/dns4/example.org/tcp/80", world),
            ("/ip4/203.0.113.9/tcp/0", world),
            ("/ip4/203.0.113.9/udp/53", world),
            ("/ip4/203.0.113.9/tcp/80/ws", world),
        ] {
            assert_eq!(named(bad, from), [], "{bad}");
        }
        let circuit = at(world).with(Protocol::P2p(peer)).with(Protocol::P2pCircuit);
        assert_eq!(named(&circuit.to_string(), world), []);
        let garbage = Contact { peer: vec![1; 8], addresses: vec![good.to_vec(), vec![255; 9]] };
        assert_eq!(dialable(vec![garbage], &at(world)), []);
    }

    #[test]
    fn a_peer_is_where_it_answered_and_as_far_away_as_its_connection() {
        let (near, far) = (at("/ip4/192.168.1.7/tcp/1"), at("/ip4/198.51.100.1/tcp/1"));
        let named = far.clone().with(Protocol::P2p(PeerId::random()));
        let addresses = vec![(Scope::World, far.to_vec())];
        assert_eq!(place(&near, Some(&named)), Place { scope: Scope::Network, addresses });
        assert_eq!(place(&far, None), Place { scope: Scope::World, addresses: vec![] });
        let circuit = named.with(Protocol::P2pCircuit);
        assert_eq!(place(&far, Some(&circuit)).addresses, []);
    }
}
