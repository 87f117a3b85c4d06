//! Names that lead to this node, as its user says: what they stand for now.
//!
//! A task of its own asks the system for it again and again, since it is by a name that its owner moves. What was known stays where there
//! is no answer. Tickets carry the names themselves; peers and the table are told what they stand for (SPEC 9.8).
//! Elsewhere: what follows for how we are reached (`outside`).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use tokio::net::lookup_host;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{chance, limits};

/// The task, as the driver sees it; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Names {
    told: watch::Receiver<BTreeSet<Multiaddr>>,
    task: JoinHandle<()>,
}

impl Names {
    /// Begins to resolve addresses with names, if there are some. Has to be called inside a tokio runtime.
    pub(super) fn start(local: PeerId, names: Vec<Multiaddr>) -> Option<Self> {
        if names.is_empty() {
            return None;
        }
        let (tell, told) = watch::channel(BTreeSet::new());
        Some(Self { told, task: tokio::spawn(resolve_on(local, names, tell)) })
    }

    /// Waits until they stand for something else.
    pub(super) async fn changed(&mut self) {
        if self.told.changed().await.is_err() {
            std::future::pending().await
        }
    }

    /// Returns what they stand for.
    pub(super) fn addresses(&self) -> BTreeSet<Multiaddr> {
        self.told.borrow().clone()
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Tells whether an address begins with a name.
pub(super) fn is_named(address: &Multiaddr) -> bool {
    name(address).is_some()
}

async fn resolve_on(
    local: PeerId,
    names: Vec<Multiaddr>,
    tell: watch::Sender<BTreeSet<Multiaddr>>,
) {
    let mut known: BTreeMap<&Multiaddr, BTreeSet<Multiaddr>> = BTreeMap::new();
    for turn in 0_u64.. {
        let mut pause = limits::NAMES_AGAIN;
        for address in &names {
            match resolve(address).await {
                Ok(found) => drop(known.insert(address, found)),
                Err(error) => {
                    tracing::warn!(%address, %error, "what --external names is not found");
                    pause = limits::NAMES_RETRY;
                }
            }
        }
        let all: BTreeSet<Multiaddr> = known.values().flatten().cloned().collect();
        tell.send_if_modified(|told| {
            let is_new = *told != all;
            *told = all;
            is_new
        });
        let pause = chance::at_most(pause, &[&local.to_bytes(), &turn.to_le_bytes()]);
        tokio::time::sleep(pause).await;
    }
}

/// Returns the name that an address begins with, and whether it may stand for an IPv4 address, and for an IPv6 one.
fn name(address: &Multiaddr) -> Option<(String, [bool; 2])> {
    match address.iter().next()? {
        Protocol::Dns(name) => Some((name.into_owned(), [true, true])),
        Protocol::Dns4(name) => Some((name.into_owned(), [true, false])),
        Protocol::Dns6(name) => Some((name.into_owned(), [false, true])),
        _ => None,
    }
}

/// Returns the addresses that one with a name stands for; there is one at least.
async fn resolve(address: &Multiaddr) -> io::Result<BTreeSet<Multiaddr>> {
    let none = || io::Error::new(io::ErrorKind::NotFound, "it stands for no address");
    let (name, [ip4, ip6]) = name(address).ok_or_else(none)?;
    let is_right = |ip: &IpAddr| {
        let is_of_kind = if ip.is_ipv4() { ip4 } else { ip6 };
        is_of_kind && !ip.is_unspecified() && !ip.is_multicast()
    };
    let ips = lookup_host((name, 0)).await?.map(|at: SocketAddr| at.ip()).filter(is_right);
    let ips: BTreeSet<IpAddr> = ips.take(limits::NAMES_ADDRESSES).collect();
    let at = |ip| address.replace(0, |_| Some(Multiaddr::from(ip).pop().expect("it has one part")));
    let all: BTreeSet<Multiaddr> = ips.into_iter().filter_map(at).collect();
    if all.is_empty() { Err(none()) } else { Ok(all) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn a_name_stands_for_addresses_of_the_kind_that_is_asked_for() {
        let all = resolve(&at("/dns4/localhost/udp/7/quic-v1")).await.unwrap();
        assert_eq!(all, BTreeSet::from([at("/ip4/127.0.0.1/udp/7/quic-v1")]));
        assert!(
            resolve(&at("/dns/localhost/tcp/7"))
                .await
                .unwrap()
                .contains(&at("/ip4/127.0.0.1/tcp/7"))
        );
        assert!(resolve(&at("/dns4/::1/tcp/7")).await.is_err(), "of the other kind alone");
        assert!(resolve(&at("/dns/nowhere.invalid/tcp/7")).await.is_err());
    }

    #[tokio::test]
    async fn nothing_is_asked_where_there_is_no_name() {
        let local = PeerId::random();
        assert!(Names::start(local, Vec::new()).is_none());
        let all = ["/dns4/localhost/tcp/1", "/dns/nowhere.invalid/tcp/1"].map(at);
        let mut names = Names::start(local, all.into()).unwrap();
        names.changed().await;
        assert_eq!(names.addresses(), BTreeSet::from([at("/ip4/127.0.0.1/tcp/1")]));
    }

    #[tokio::test]
    async fn a_name_that_leads_to_a_node_is_told_as_it_is_and_as_what_it_stands_for() {
        let key = libp2p::identity::Keypair::generate_ed25519();
        let config = crate::swarm::SwarmConfig::new(key, vec![at("/ip4/127.0.0.1/tcp/0")]);
        let external = vec![at("/dns4/localhost/tcp/9")];
        let config = crate::swarm::SwarmConfig { external, ..config };
        let (swarm, _events, driver) = crate::swarm::start(config).unwrap();
        tokio::spawn(driver);
        let own = |text: &str| at(text).with_p2p(swarm.local_peer_id()).unwrap();
        let mut outside = swarm.outside();
        let told = outside.wait_for(|outside| outside.addresses == [own("/ip4/127.0.0.1/tcp/9")]);
        tokio::time::timeout(limits::NAMES_AGAIN, told).await.unwrap().unwrap();
        assert_eq!(swarm.dialable_addresses()[0], own("/dns4/localhost/tcp/9"));
    }
}
