//! How many connections each network has with us, so that no network takes them all.
//!
//! Loopback, which is our own machine, does not count.
//! Invariant: a connection is counted from its first packet until it is gone, once.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::ConnectionId;
use thiserror::Error;

use super::nearby;

/// An IPv4 /24 or an IPv6 /48.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Subnet(IpAddr);

/// An IPv4 /16 or an IPv6 /32: what one provider has many of. Who has nodes in several of these pays for several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Network(IpAddr);

/// A network has its share already.
#[derive(Debug, Error)]
#[error("{limit} connections of one network are enough")]
pub(super) struct SubnetFull {
    limit: usize,
}

/// The inbound connections that count, by network.
#[derive(Debug)]
pub(super) struct Subnets {
    limit: usize,
    connections: HashMap<ConnectionId, Subnet>,
}

impl Subnets {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, connections: HashMap::new() }
    }

    /// Counts a connection, or refuses it.
    pub(super) fn insert(&mut self, id: ConnectionId, from: &Multiaddr) -> Result<(), SubnetFull> {
        let Some(subnet) = Subnet::of(from).filter(|_| !nearby::is_loopback(from)) else {
            return Ok(());
        };
        // There are a few hundred connections at most: counting them anew cannot go wrong.
        if self.connections.values().filter(|&&other| other == subnet).count() >= self.limit {
            return Err(SubnetFull { limit: self.limit });
        }
        self.connections.insert(id, subnet);
        Ok(())
    }

    pub(super) fn remove(&mut self, id: ConnectionId) {
        self.connections.remove(&id);
    }
}

impl Subnet {
    /// Returns the network of an address that begins with an IP.
    pub(super) fn of(address: &Multiaddr) -> Option<Self> {
        first_bits(address, 24, 48).map(Self)
    }
}

impl Network {
    /// Returns the network of an address that begins with an IP.
    pub(super) fn of(address: &Multiaddr) -> Option<Self> {
        first_bits(address, 16, 32).map(Self)
    }
}

/// Returns the IP that an address begins with, with zeros behind its first bits.
fn first_bits(address: &Multiaddr, of_ip4: u32, of_ip6: u32) -> Option<IpAddr> {
    let ip = address.iter().find_map(|part| match part {
        Protocol::Ip4(ip) => Some(IpAddr::V4(ip)),
        Protocol::Ip6(ip) => Some(ip.to_canonical()),
        _ => None,
    })?;
    Some(match ip {
        IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() & !(u32::MAX >> of_ip4)).into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !(u128::MAX >> of_ip6)).into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insert(subnets: &mut Subnets, id: usize, address: &str) -> bool {
        subnets.insert(ConnectionId::new_unchecked(id), &address.parse().unwrap()).is_ok()
    }

    #[test]
    fn a_network_gets_its_share_and_no_more() {
        let mut subnets = Subnets::new(2);
        assert!(insert(&mut subnets, 0, "/ip4/192.0.2.1/tcp/1"));
        assert!(insert(&mut subnets, 1, "/ip4/192.0.2.200/udp/1/quic-v1"));
        assert!(!insert(&mut subnets, 2, "/ip4/192.0.2.3/tcp/1"));
        assert!(!insert(&mut subnets, 2, "/ip6/::ffff:192.0.2.3/tcp/1"), "the same network");
        assert!(insert(&mut subnets, 3, "/ip4/192.0.3.3/tcp/1"));
        subnets.remove(ConnectionId::new_unchecked(0));
        assert!(insert(&mut subnets, 4, "/ip4/192.0.2.4/tcp/1"));
    }

    #[test]
    fn the_first_48_bits_make_a_network_of_ipv6() {
        let mut subnets = Subnets::new(1);
        assert!(insert(&mut subnets, 0, "/ip6/2001:db8:1:2::3/tcp/1"));
        assert!(!insert(&mut subnets, 1, "/ip6/2001:db8:1:ff::3/tcp/1"));
        assert!(insert(&mut subnets, 2, "/ip6/2001:db8:2:2::3/tcp/1"));
    }

    #[test]
    fn what_one_provider_has_many_of_is_one_network() {
        let network = |ip: &str| Network::of(&format!("/{ip}/tcp/1").parse().unwrap());
        assert_eq!(network("ip4/192.0.2.1"), network("ip4/192.0.77.1"));
        assert_ne!(network("ip4/192.0.2.1"), network("ip4/192.1.2.1"));
        assert_eq!(network("ip6/2001:db8:1::1"), network("ip6/2001:db8:2::1"));
        assert_ne!(network("ip6/2001:db8:1::1"), network("ip6/2001:db9:1::1"));
        assert_eq!(network("ip6/::ffff:192.0.2.1"), network("ip4/192.0.2.1"));
        assert_eq!(Network::of(&"/dns4/example.org/tcp/1".parse().unwrap()), None);
    }

    #[test]
    fn loopback_is_not_counted() {
        let mut subnets = Subnets::new(0);
        assert!(insert(&mut subnets, 0, "/ip4/127.0.0.1/tcp/1"));
        assert!(insert(&mut subnets, 1, "/ip6/::1/tcp/1"));
    }
}
