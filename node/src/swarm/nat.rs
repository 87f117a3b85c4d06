//! What others see of the port that this node listens on: what its NAT makes of it.
//!
//! Told where nodes saw us that we dialed from that port. What they say is believed for nothing but an answer to people: each may lie.
//! Invariant: at most [`limits::WITNESSES`] of them are kept.
//! Elsewhere: whether somebody reaches us (`reach`), trying that out (`probe`).

use std::collections::{BTreeMap, BTreeSet};

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

use super::reach::{Scope, is_relayed, scope};
use super::{limits, targets};

/// What others see of the port that this node listens on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Nat {
    /// Nobody elsewhere was dialed from it.
    #[default]
    Unknown,
    /// An address of this computer: there is no NAT.
    None,
    /// Another address. One node alone said so, which does not show whether others see the same.
    Some,
    /// One and the same port outside, whoever is dialed.
    Steady,
    /// Another port outside for each who is dialed.
    Changing,
}

/// Those who saw us.
#[derive(Debug, Default)]
pub(super) struct Witnesses {
    /// Where they are, and where they saw us. One may have seen several ports: where the one that we listen on is taken by another
    /// connection to the same node, the system dials from some other.
    seen: BTreeSet<(Multiaddr, Multiaddr)>,
}

impl Witnesses {
    /// A node that we dialed at an address, from the port that we listen on if that could be, saw us at another.
    pub(super) fn handle_seen(&mut self, witness: &Multiaddr, observed: &Multiaddr) {
        if is_relayed(witness) || scope(witness) != Scope::World {
            return;
        }
        if self.seen.len() < limits::WITNESSES {
            self.seen.insert((place(witness), place(observed)));
        }
    }

    /// Our addresses are others now.
    pub(super) fn clear(&mut self) {
        self.seen.clear();
    }

    /// Returns what they saw; `own` are the addresses that we listen on.
    pub(super) fn nat<'a>(&self, own: impl Iterator<Item = &'a Multiaddr>) -> Nat {
        let own: Vec<Option<Protocol<'a>>> = own.map(|address| address.iter().next()).collect();
        if self.seen.iter().any(|(_, observed)| own.contains(&observed.iter().next())) {
            return Nat::None;
        }
        // TCP and QUIC have ports of their own, and a router may treat them differently.
        let kinds = [true, false].map(|tcp| self.kind(tcp));
        // Who is met half-way by one of both is met.
        let order = [Nat::Steady, Nat::Changing, Nat::Some];
        order.into_iter().find(|kind| kinds.contains(kind)).unwrap_or_default()
    }

    /// Returns what those saw whom we dialed by TCP, or by QUIC.
    fn kind(&self, tcp: bool) -> Nat {
        let mut by_port: BTreeMap<&Multiaddr, usize> = BTreeMap::new();
        let mut witnesses = BTreeSet::new();
        for (witness, observed) in self.seen.iter().filter(|(at, _)| targets::is_tcp(at) == tcp) {
            *by_port.entry(observed).or_default() += 1;
            witnesses.insert(witness);
        }
        match witnesses.len() {
            0 => Nat::Unknown,
            1 => Nat::Some,
            // Two see the same by chance once in thousands of times.
            _ if by_port.values().any(|count| *count > 1) => Nat::Steady,
            _ => Nat::Changing,
        }
    }
}

/// Returns an address without the id behind it.
fn place(address: &Multiaddr) -> Multiaddr {
    address.iter().filter(|part| !matches!(part, Protocol::P2p(_))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(all: &[(&str, &str)]) -> Nat {
        let own: [Multiaddr; 2] = ["/ip4/192.168.1.7/tcp/3282", "/ip4/203.0.113.9/tcp/3282"]
            .map(|at| at.parse().unwrap());
        let mut witnesses = Witnesses::default();
        for (witness, observed) in all {
            witnesses.handle_seen(&witness.parse().unwrap(), &observed.parse().unwrap());
        }
        witnesses.nat(own.iter())
    }

    const ONE: &str = "/ip4/8.8.8.8/udp/1/quic-v1";
    const TWO: &str = "/ip4/9.9.9.9/udp/1/quic-v1";

    #[test]
    fn two_who_see_the_same_port_show_a_steady_one() {
        let [a, b] = ["/ip4/7.7.7.7/udp/5/quic-v1", "/ip4/7.7.7.7/udp/6/quic-v1"];
        assert_eq!(seen(&[]), Nat::Unknown);
        assert_eq!(seen(&[(ONE, a)]), Nat::Some);
        assert_eq!(seen(&[(ONE, a), (ONE, b)]), Nat::Some, "one witness, who was asked twice");
        assert_eq!(seen(&[(ONE, a), (TWO, a)]), Nat::Steady);
        assert_eq!(seen(&[(ONE, a), (TWO, b)]), Nat::Changing);
        let other = "/ip4/7.7.7.7/udp/7/quic-v1";
        let both = [(ONE, a), (ONE, b), (TWO, other), (TWO, a)];
        assert_eq!(seen(&both), Nat::Steady, "some dials could not have the port");
        // Of TCP nothing is known by what is seen of QUIC.
        let tcp = ("/ip4/9.9.9.9/tcp/1", "/ip4/7.7.7.7/tcp/9");
        assert_eq!(seen(&[(ONE, a), tcp]), Nat::Some);
        assert_eq!(seen(&[(ONE, a), (TWO, a), tcp]), Nat::Steady);
    }

    #[test]
    fn who_is_seen_at_an_address_of_its_own_has_no_nat() {
        assert_eq!(seen(&[(ONE, "/ip4/203.0.113.9/udp/5/quic-v1")]), Nat::None);
    }

    #[test]
    fn who_is_near_or_behind_a_relay_tells_nothing() {
        let at = "/ip4/7.7.7.7/tcp/5";
        for near in ["/ip4/127.0.0.1/tcp/1", "/ip4/192.168.1.1/tcp/1", "/ip6/fe80::1/tcp/1"] {
            assert_eq!(seen(&[(near, at)]), Nat::Unknown, "{near}");
        }
        let relayed = "/ip4/8.8.8.8/tcp/1/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA/p2p-circuit";
        assert_eq!(seen(&[(relayed, at)]), Nat::Unknown);
    }

    #[test]
    fn few_witnesses_are_kept() {
        let mut witnesses = Witnesses::default();
        for port in 1..1_000 {
            let witness = format!("/ip4/8.8.8.8/tcp/{port}").parse().unwrap();
            witnesses.handle_seen(&witness, &"/ip4/7.7.7.7/tcp/5".parse().unwrap());
        }
        assert_eq!(witnesses.seen.len(), limits::WITNESSES);
        witnesses.clear();
        assert_eq!(witnesses.nat(std::iter::empty()), Nat::Unknown);
    }
}
