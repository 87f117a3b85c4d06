//! Peers on the local network: which of what mDNS hears is dialed, and whether it can hear anything.
//!
//! mDNS announces the node, never a drive; whether a peer has ours is found out by an `Open` (SPEC 6). Its answers come in
//! datagrams that anybody may have sent, with any sender: what they say is a place to try and nothing else.
//!
//! Invariant: what is kept has the form of addresses that we announce ourselves, lies in our own networks, and is bounded.
//! Elsewhere: the packets (libp2p), when a peer is dialed (`targets`).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use libp2p::multiaddr::Protocol;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{Multiaddr, PeerId, mdns};
use rustix::net::{AddressFamily, SocketType, bind, socket, sockopt};

use super::channel::Lan;
use super::{SwarmConfig, limits};

/// The port of mDNS.
const PORT: u16 = 5353;

/// A message of DNS that asks for nothing.
const NO_QUESTION: [u8; 12] = [0; 12];

/// How long a datagram may take that comes back by way of this computer alone.
const ECHO: Duration = Duration::from_secs(1);

/// What speaks mDNS, if it is spoken.
pub(super) type Mdns = Toggle<mdns::tokio::Behaviour>;

/// Makes what speaks mDNS over IPv4 and over IPv6, and says whether it is spoken.
pub(super) fn behaviour(config: &SwarmConfig) -> ([Mdns; 2], Lan) {
    let none = || [None.into(), None.into()];
    if !config.lan {
        return (none(), Lan::Off);
    }
    if config.listen.iter().all(is_loopback) {
        // It would tell others of a node that they cannot reach.
        let why = "this node listens on this computer only (--listen)";
        return (none(), Lan::Cannot(why.to_owned()));
    }
    match mdns(config.identity.public().to_peer_id()) {
        Ok(both) => (both.map(on), Lan::On),
        Err(error) => {
            tracing::warn!(%error, "cannot look for peers on the local network");
            (none(), Lan::Cannot(format!("cannot watch the network interfaces: {error}")))
        }
    }
}

/// Makes what speaks mDNS over IPv4, and what speaks it over IPv6.
pub(super) fn mdns(local: PeerId) -> io::Result<[mdns::tokio::Behaviour; 2]> {
    let speaks = |enable_ipv6| {
        let query_interval = limits::LAN_QUERY_INTERVAL;
        let config = mdns::Config { query_interval, enable_ipv6, ..mdns::Config::default() };
        mdns::Behaviour::new(config, local)
    };
    Ok([speaks(false)?, speaks(true)?])
}

/// Makes one of them a part of what our node speaks.
pub(super) fn on(mdns: mdns::tokio::Behaviour) -> Mdns {
    Some(mdns).into()
}

/// Tries whether mDNS can be spoken on the interface with an address, as the library will.
pub(super) fn probe(interface: IpAddr) -> io::Result<()> {
    listener(interface).map(drop)
}

/// Tells whether what is sent to everybody on an interface is heard, if only by ourselves: a firewall may drop it. Waits for a second at
/// most.
///
/// # Errors
/// What the system says.
pub fn hears_itself(interface: Ipv4Addr) -> io::Result<bool> {
    let listener = UdpSocket::from(listener(interface.into())?);
    let sender = UdpSocket::bind((interface, 0))?;
    sockopt::set_ip_multicast_if(&sender, &interface)?;
    sender.send_to(&NO_QUESTION, (mdns::IPV4_MDNS_MULTICAST_ADDRESS, PORT))?;
    let (own, until) = (sender.local_addr()?, Instant::now() + ECHO);
    let mut datagram = [0; NO_QUESTION.len()];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        listener.set_read_timeout(Some(left))?;
        match listener.recv_from(&mut datagram) {
            Ok((_, from)) if from == own => return Ok(true),
            // Somebody else spoke, or nobody did.
            _ => {}
        }
    }
}

/// Makes a socket that hears what is said by mDNS on an interface.
fn listener(interface: IpAddr) -> io::Result<OwnedFd> {
    let (family, any): (_, IpAddr) = match interface {
        IpAddr::V4(_) => (AddressFamily::INET, Ipv4Addr::UNSPECIFIED.into()),
        IpAddr::V6(_) => (AddressFamily::INET6, Ipv6Addr::UNSPECIFIED.into()),
    };
    let socket = socket(family, SocketType::DGRAM, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    bind(&socket, &SocketAddr::new(any, PORT))?;
    match interface {
        IpAddr::V4(ip) => {
            sockopt::set_ip_add_membership(&socket, &mdns::IPV4_MDNS_MULTICAST_ADDRESS, &ip)?;
        }
        // The system chooses the interface: that of its route for multicast.
        IpAddr::V6(_) => {
            sockopt::set_ipv6_add_membership(&socket, &mdns::IPV6_MDNS_MULTICAST_ADDRESS, 0)?;
        }
    }
    Ok(socket)
}

/// The local networks as far as we know them.
#[derive(Debug)]
pub(super) struct Nearby {
    /// What was said last of whether peers are looked for.
    lan: Lan,
    /// Our addresses in local networks, and whether mDNS can be spoken there.
    interfaces: BTreeMap<IpAddr, Result<(), String>>,
    /// Who was found, and where.
    peers: BTreeMap<PeerId, Vec<Multiaddr>>,
}

impl Nearby {
    pub(super) fn new(lan: Lan) -> Self {
        Self { lan, interfaces: BTreeMap::new(), peers: BTreeMap::new() }
    }

    /// Returns whether peers are looked for.
    pub(super) fn lan(&self) -> &Lan {
        &self.lan
    }

    /// The addresses we listen on are others now. Returns whether that changes whether peers are looked for.
    pub(super) fn handle_listening<'a>(
        &mut self,
        listening: impl Iterator<Item = &'a Multiaddr>,
        probe: impl Fn(IpAddr) -> io::Result<()>,
    ) -> bool {
        let reached = listening.filter(|address| !is_loopback(address) && !is_zoned(address));
        let now: BTreeSet<IpAddr> = reached.filter_map(ip).collect();
        self.interfaces.retain(|ip, _| now.contains(ip));
        for ip in now {
            let trial =
                || probe(ip).map_err(|error| format!("cannot use multicast on {ip}: {error}"));
            self.interfaces.entry(ip).or_insert_with(trial);
        }
        let reasons = self.interfaces.values().filter_map(|trial| trial.as_ref().err());
        let lan = match reasons.cloned().reduce(|all, one| format!("{all}; {one}")) {
            _ if self.interfaces.is_empty() => {
                Lan::Cannot("this computer has no network".to_owned())
            }
            Some(reasons) if self.interfaces.values().all(Result::is_err) => Lan::Cannot(reasons),
            _ => Lan::On,
        };
        let changed = lan != self.lan;
        self.lan = lan;
        changed
    }

    /// mDNS found peers. Returns those that are to be dialed anew, with all their addresses.
    pub(super) fn handle_discovered(
        &mut self,
        found: Vec<(PeerId, Multiaddr)>,
    ) -> BTreeMap<PeerId, Vec<Multiaddr>> {
        let mut news = BTreeMap::new();
        for (peer, address) in found {
            let room = self.peers.contains_key(&peer) || self.peers.len() < limits::LAN_PEERS;
            if !room || !self.is_near(peer, &address) {
                tracing::debug!(%peer, %address, "ignored what mDNS says");
                continue;
            }
            let known = self.peers.entry(peer).or_default();
            if !known.contains(&address) {
                // The newest addresses are the likeliest to be right.
                known.insert(0, address);
                known.truncate(limits::ADDRESSES_PER_TARGET);
                news.insert(peer, known.clone());
            }
        }
        news
    }

    /// What mDNS said is out of date. Returns those of whom nothing is left.
    pub(super) fn handle_expired(&mut self, expired: Vec<(PeerId, Multiaddr)>) -> Vec<PeerId> {
        let mut gone = Vec::new();
        for (peer, address) in expired {
            let Some(known) = self.peers.get_mut(&peer) else { continue };
            known.retain(|other| *other != address);
            if known.is_empty() {
                self.peers.remove(&peer);
                gone.push(peer);
            }
        }
        gone
    }

    /// Forgets all peers, and returns them.
    pub(super) fn clear(&mut self) -> Vec<PeerId> {
        std::mem::take(&mut self.peers).into_keys().collect()
    }

    /// Tells whether an address is one that a node in one of our networks would announce.
    ///
    /// Datagrams reach us from everywhere, with any sender: nobody far away shall have us dial whom they like.
    fn is_near(&self, peer: PeerId, address: &Multiaddr) -> bool {
        use Protocol::{P2p, QuicV1, Tcp, Udp};
        let parts: Vec<Protocol<'_>> = address.iter().skip(1).collect();
        let named = match parts.as_slice() {
            [Tcp(1..), P2p(named)] | [Udp(1..), QuicV1, P2p(named)] => named,
            _ => return false,
        };
        *named == peer && ip(address).is_some_and(|ip| self.is_ours(ip))
    }

    /// Tells whether a node with an IP may be in one of our networks.
    fn is_ours(&self, ip: IpAddr) -> bool {
        if ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() {
            return false;
        }
        let ours = self.interfaces.keys().any(|own| network(*own) == network(ip));
        match ip {
            IpAddr::V4(ip) => !ip.is_broadcast() && (ours || ip.is_private() || ip.is_link_local()),
            // Without its interface nobody dials a link-local one.
            IpAddr::V6(ip) => !ip.is_unicast_link_local() && (ours || ip.is_unique_local()),
        }
    }
}

/// Returns what nodes of one local network have in common: an IPv4 /24, or an IPv6 /64.
fn network(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() >> 8 << 8).into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
    }
}

pub(super) fn ip(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => Some(ip.into()),
        Some(Protocol::Ip6(ip)) => Some(ip.into()),
        _ => None,
    }
}

/// Returns the address of ours that the system sends from to another one; nothing is sent.
pub(super) fn own_towards(address: &Multiaddr) -> Option<IpAddr> {
    let other = ip(address)?;
    let any: IpAddr = match other {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((other, ANY_PORT)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// A port that nothing is sent to.
const ANY_PORT: u16 = 9;

/// Tells whether an address is one of IPv6.
pub(super) fn is_ip6(address: &Multiaddr) -> bool {
    matches!(ip(address), Some(IpAddr::V6(_)))
}

/// Tells whether an address means nothing without an interface, which no multiaddr of ours names: a link-local one of IPv6.
pub(super) fn is_zoned(address: &Multiaddr) -> bool {
    matches!(ip(address), Some(IpAddr::V6(ip)) if ip.is_unicast_link_local())
}

/// Tells whether an address leads nowhere but to this computer.
pub(crate) fn is_loopback(address: &Multiaddr) -> bool {
    ip(address).is_some_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use libp2p::identity::Keypair;

    use super::*;

    fn address(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    fn at(text: &str, peer: PeerId) -> Multiaddr {
        address(text).with(Protocol::P2p(peer))
    }

    fn works(_: IpAddr) -> io::Result<()> {
        Ok(())
    }

    /// A computer in two networks.
    fn nearby() -> Nearby {
        let own = [
            "/ip4/127.0.0.1/tcp/1",
            "/ip4/192.168.1.7/tcp/1",
            "/ip4/141.20.3.4/tcp/1",
            "/ip6/2001:db8:1:2::7/tcp/1",
            "/ip6/fe80::7/tcp/1",
        ];
        let mut nearby = Nearby::new(Lan::On);
        assert!(!nearby.handle_listening(own.map(address).iter(), works));
        nearby
    }

    #[test]
    fn only_what_a_node_nearby_would_announce_is_dialed() {
        let (peer, other) = (PeerId::random(), PeerId::random());
        let good = [
            "/ip4/192.168.1.9/tcp/3282",
            "/ip4/10.1.2.3/udp/3282/quic-v1",
            "/ip4/169.254.7.7/tcp/3282",
            "/ip4/141.20.3.99/tcp/3282",
            "/ip6/2001:db8:1:2::9/tcp/3282",
            "/ip6/fd00::9/udp/3282/quic-v1",
        ];
        for text in good {
            let found = nearby().handle_discovered(vec![(peer, at(text, peer))]);
            assert_eq!(found, [(peer, vec![at(text, peer)])].into(), "{text}");
        }
        let bad = [
            "/ip4/127.0.0.1/tcp/3282",
            "/ip4/0.0.0.0/tcp/3282",
            "/ip4/224.0.0.251/tcp/3282",
            "/ip4/255.255.255.255/tcp/3282",
            "/ip4/141.20.4.99/tcp/3282",
            "/ip4/8.8.8.8/tcp/443",
            "/ip4/192.168.1.9/tcp/0",
            "/ip4/192.168.1.9/udp/53",
            "/ip4/192.168.1.9/tcp/80/ws",
            "/ip6/fe80::1/tcp/3282",
            "/ip6/::1/tcp/3282",
            "/ip6/ff02::1/tcp/3282",
            "/ip6/2001:db8:1:3::9/tcp/3282",
            "/ip6/::ffff:8.8.8.8/tcp/3282",
            "/dns4/example.org/tcp/3282",
            "/memory/1",
        ];
        for text in bad {
            assert!(nearby().handle_discovered(vec![(peer, at(text, peer))]).is_empty(), "{text}");
        }
        for wrong in [at(good[0], other), address(good[0])] {
            assert!(nearby().handle_discovered(vec![(peer, wrong)]).is_empty());
        }
    }

    #[test]
    fn a_peer_is_gone_with_its_last_address() {
        let (mut nearby, peer) = (nearby(), PeerId::random());
        let [old, new] =
            ["/ip4/192.168.1.9/tcp/1", "/ip4/192.168.1.9/tcp/2"].map(|text| at(text, peer));
        nearby.handle_discovered(vec![(peer, old.clone())]);
        assert!(nearby.handle_discovered(vec![(peer, old.clone())]).is_empty(), "it is known");
        let found = nearby.handle_discovered(vec![(peer, new.clone())]);
        assert_eq!(found[&peer], [new.clone(), old.clone()], "the newest first");
        assert!(nearby.handle_expired(vec![(peer, old.clone())]).is_empty());
        assert_eq!(nearby.handle_expired(vec![(peer, new), (peer, old)]), [peer]);
        assert!(nearby.clear().is_empty());
    }

    #[test]
    fn a_flood_of_names_and_addresses_is_bounded() {
        let mut nearby = nearby();
        let peer = PeerId::random();
        for port in 1..1_000 {
            nearby.handle_discovered(vec![(peer, at(&format!("/ip4/10.0.0.1/tcp/{port}"), peer))]);
            let other = PeerId::random();
            nearby.handle_discovered(vec![(other, at("/ip4/10.0.0.1/tcp/1", other))]);
        }
        assert_eq!(nearby.peers[&peer].len(), limits::ADDRESSES_PER_TARGET);
        assert_eq!(nearby.clear().len(), limits::LAN_PEERS);
    }

    #[test]
    fn without_an_interface_that_can_it_says_why() {
        let denied = |_| Err(io::Error::from(io::ErrorKind::PermissionDenied));
        let listening =
            [address("/ip4/192.168.1.7/tcp/1"), address("/ip4/192.168.1.7/udp/1/quic-v1")];
        let mut nearby = Nearby::new(Lan::On);
        assert!(nearby.handle_listening(listening.iter(), denied));
        let why = "cannot use multicast on 192.168.1.7: permission denied";
        assert_eq!(*nearby.lan(), Lan::Cannot(why.to_owned()));
        assert!(!nearby.handle_listening(listening.iter(), works), "it is tried once");
        // Another network that works is enough.
        let second = address("/ip4/10.0.0.1/tcp/1");
        assert!(nearby.handle_listening(listening.iter().chain([&second]), works));
        assert_eq!(*nearby.lan(), Lan::On);
        let nowhere = ["/ip4/127.0.0.1/tcp/1", "/ip6/::1/tcp/1", "/ip6/fe80::1/tcp/1"].map(address);
        assert!(nearby.handle_listening(nowhere.iter(), works));
        assert_eq!(*nearby.lan(), Lan::Cannot("this computer has no network".to_owned()));
    }

    #[test]
    fn a_node_of_this_computer_alone_speaks_no_mdns() {
        let config = |listen: &[&str], lan| {
            let listen = listen.iter().map(|text| address(text)).collect();
            SwarmConfig { lan, ..SwarmConfig::new(Keypair::generate_ed25519(), listen) }
        };
        assert!(!SwarmConfig::new(Keypair::generate_ed25519(), Vec::new()).lan, "off by default");
        let (both, lan) = behaviour(&config(&["/ip4/192.168.1.7/tcp/0"], false));
        assert_eq!((both.map(|mdns| mdns.is_enabled()), lan), ([false; 2], Lan::Off));
        let loopback = ["/ip4/127.0.0.1/tcp/0", "/ip6/::1/udp/0/quic-v1"];
        let (both, lan) = behaviour(&config(&loopback, true));
        assert_eq!(both.map(|mdns| mdns.is_enabled()), [false; 2]);
        assert!(matches!(lan, Lan::Cannot(_)));
    }
}
