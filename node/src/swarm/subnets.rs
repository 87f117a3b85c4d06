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
        let ip = address.iter().find_map(|part| match part {
            Protocol::Ip4(ip) => Some(IpAddr::V4(ip)),
            Protocol::Ip6(ip) => Some(ip.to_canonical()),
            _ => None,
        })?;
        Some(Self(match ip {
            IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() >> 8 << 8).into(),
            IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 80 << 80).into(),
        }))
    }
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
    fn loopback_is_not_counted() {
        let mut subnets = Subnets::new(0);
        assert!(insert(&mut subnets, 0, "/ip4/127.0.0.1/tcp/1"));
        assert!(insert(&mut subnets, 1, "/ip6/::1/tcp/1"));
    }
}
