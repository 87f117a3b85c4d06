//! Addresses of targets: whose they are, and in what order they are tried.

use std::collections::VecDeque;

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

/// Splits addresses by the peer they name. Those that name none belong to the only one named.
pub(super) fn by_peer(addresses: Vec<Multiaddr>) -> Vec<(Option<PeerId>, Vec<Multiaddr>)> {
    let mut groups: Vec<(Option<PeerId>, Vec<Multiaddr>)> = Vec::new();
    for address in addresses {
        let peer = peer_of(&address);
        match groups.iter_mut().find(|(other, _)| *other == peer) {
            Some((_, group)) if group.contains(&address) => {}
            Some((_, group)) => group.push(address),
            None => groups.push((peer, vec![address])),
        }
    }
    if let [(None, _), (Some(_), _)] | [(Some(_), _), (None, _)] = groups.as_slice() {
        let peer = groups.iter().find_map(|(peer, _)| *peer);
        let all = groups.drain(..).flat_map(|(_, group)| group).collect();
        groups.push((peer, all));
    }
    groups
}

/// Returns the peer an address ends in.
pub(crate) fn peer_of(address: &Multiaddr) -> Option<PeerId> {
    match address.iter().last() {
        Some(Protocol::P2p(peer)) => Some(peer),
        _ => None,
    }
}

/// Returns an address without the peer it ends in.
pub(super) fn bare(address: &Multiaddr) -> Multiaddr {
    address.iter().filter(|part| !matches!(part, Protocol::P2p(_))).collect()
}

/// Tells whether an address is dialed by TCP.
pub(in crate::swarm) fn is_tcp(address: &Multiaddr) -> bool {
    address.iter().any(|part| matches!(part, Protocol::Tcp(_)))
}

/// Returns what to dial, one list after the other, each at once.
pub(super) fn tries(peer: Option<PeerId>, addresses: &[Multiaddr]) -> VecDeque<Vec<Multiaddr>> {
    let (tcp, other): (Vec<&Multiaddr>, Vec<&Multiaddr>) =
        addresses.iter().partition(|address| is_tcp(address));
    let lists: Vec<Vec<Multiaddr>> = match peer {
        Some(_) => [tcp, other].map(|list| list.into_iter().cloned().collect()).into(),
        // Whoever answers may differ by address, so they are not dialed at once.
        None => tcp.into_iter().chain(other).map(|address| vec![address.clone()]).collect(),
    };
    lists.into_iter().filter(|list| !list.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_several_peers_are_told_apart() {
        let (one, two) = (PeerId::random(), PeerId::random());
        let plain: Multiaddr = "/ip4/127.0.0.1/tcp/1".parse().unwrap();
        let of = |peer| plain.clone().with_p2p(peer).unwrap();
        assert_eq!(by_peer(vec![of(one), of(two)]).len(), 2);
        let joined = by_peer(vec![plain.clone(), of(one)]);
        assert_eq!(joined, [(Some(one), vec![plain.clone(), of(one)])]);
        assert_eq!(by_peer(vec![plain.clone(), plain.clone()]), [(None, vec![plain])]);
    }
}
