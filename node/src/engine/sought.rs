//! Where peers were looked for, and what came of it: what progress shows, and what the error tells when it was in vain.
//!
//! Invariant: at most [`TARGETS`] targets are kept; more are not dialed either.
//! Elsewhere: dialing (`swarm::targets`), how long to wait (`patience`).

use std::collections::BTreeMap;

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use crate::swarm::limits::TARGETS;

/// Whom we looked for.
#[derive(Clone, Debug, Default)]
pub struct Sought {
    targets: BTreeMap<String, Found>,
}

/// What came of looking for one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    /// Nothing yet.
    Pending,
    /// It answered.
    Reached,
    /// It did not, for this reason.
    Failed(String),
}

impl Sought {
    /// Notes that somebody is looked for at an address.
    pub(super) fn seek(&mut self, address: &Multiaddr) {
        if self.targets.len() < TARGETS {
            self.targets.entry(target(address)).or_insert(Found::Pending);
        }
    }

    /// Notes that a peer answered.
    pub(super) fn reached(&mut self, peer: PeerId, address: &Multiaddr) {
        self.note([peer.to_string(), address.to_string()], &Found::Reached);
    }

    /// Notes that nobody answered at some addresses.
    pub(super) fn failed(&mut self, addresses: &[Multiaddr], reason: &str) {
        self.note(addresses.iter().map(target), &Found::Failed(reason.to_owned()));
    }

    fn note(&mut self, targets: impl IntoIterator<Item = String>, found: &Found) {
        for target in targets {
            if let Some(known) = self.targets.get_mut(&target) {
                *known = found.clone();
            }
        }
    }

    /// Returns how many are looked for.
    pub fn count(&self) -> usize {
        self.targets.len()
    }

    /// Returns how many of them nothing is known of yet.
    pub fn pending(&self) -> usize {
        self.targets.values().filter(|found| **found == Found::Pending).count()
    }

    /// Returns why some did not answer, each reason once.
    pub fn failures(&self) -> Vec<&str> {
        let mut reasons: Vec<&str> = self.targets.values().filter_map(Found::reason).collect();
        reasons.sort_unstable();
        reasons.dedup();
        reasons
    }
}

impl Found {
    fn reason(&self) -> Option<&str> {
        match self {
            Self::Failed(reason) => Some(reason),
            _ => None,
        }
    }
}

/// Returns who is meant: a node, whatever its address, or whoever is at an address.
fn target(address: &Multiaddr) -> String {
    match address.iter().last() {
        Some(Protocol::P2p(peer)) => peer.to_string(),
        _ => address.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_counts_once_whatever_its_addresses() {
        let peer = PeerId::random();
        let [tcp, quic]: [Multiaddr; 2] = ["/ip4/127.0.0.1/tcp/1", "/ip4/127.0.0.1/udp/1/quic-v1"]
            .map(|text| text.parse().unwrap());
        let named = [&tcp, &quic].map(|address| address.clone().with(Protocol::P2p(peer)));
        let mut sought = Sought::default();
        named.iter().for_each(|address| sought.seek(address));
        sought.seek(&tcp);
        assert_eq!((sought.count(), sought.pending()), (2, 2));
        sought.failed(&named, "connection refused");
        sought.failed(std::slice::from_ref(&tcp), "connection refused");
        assert_eq!((sought.pending(), sought.failures()), (0, vec!["connection refused"]));
        sought.reached(peer, &tcp);
        assert!(sought.failures().is_empty());
        // Who was not looked for is not counted.
        sought.reached(PeerId::random(), &quic);
        assert_eq!(sought.count(), 2);
    }

    #[test]
    fn there_is_an_end_to_it() {
        let mut sought = Sought::default();
        for port in 0..5_000_u16 {
            sought.seek(&format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap());
        }
        assert_eq!(sought.count(), TARGETS);
    }
}
