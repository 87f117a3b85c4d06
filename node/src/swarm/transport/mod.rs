//! How nodes reach each other: TCP with TLS (or Noise) and yamux, and QUIC.
//!
//! All of it is ordinary libp2p on the wire. TCP is put together here (`tcp`), since the library's own fixes what decides how fast
//! it is: the order of the ciphers (`secure`), the size of frames (`muxer`) and of what the socket is asked for at a time (`ahead`).
//! Names are resolved as the system does. Through a relay, which carries nothing but a few words, it is the library's own.

mod ahead;
mod brief;
mod cork;
mod meter;
mod muxer;
mod secure;
mod tcp;
mod unread;
mod verifier;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::{Boxed, OrTransport, TransportError};
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::{
    Multiaddr, PeerId, SwarmBuilder, Transport as _, autonat, dcutr, dns, identify, noise, ping,
    quic, relay, yamux,
};
use rustix::net::{AddressFamily, SocketType, bind, listen as listen_for, socket, sockopt};

use self::meter::{Metered, Turns};
use super::driver::Protocols;
use super::guests::Guests;
use super::nearby::Mdns;
use super::places::Places;
use super::quic::QuicPlaces;
use super::{
    IDENTIFY, SwarmConfig, SwarmError, behaviour, dht, limits, lookups, nearby, probe, reason,
};

/// Makes a swarm that listens nowhere yet.
pub(super) fn build(
    config: &SwarmConfig,
    mdns: [Mdns; 2],
) -> Result<libp2p::Swarm<Protocols>, SwarmError> {
    let setup = |source: Box<dyn std::error::Error + Send + Sync>| SwarmError::Setup { source };
    let builder = SwarmBuilder::with_existing_identity(config.identity.clone())
        .with_tokio()
        .with_other_transport(named)
        .map_err(|error| setup(error.into()))?
        .with_relay_client(noise::Config::new, yamux::Config::default)
        .map_err(|error| setup(error.into()))?
        .with_behaviour(|_, relayed| protocols(config, mdns, relayed))
        .map_err(|error| setup(error.into()))?;
    let streams = usize::try_from(limits::STREAMS_PER_CONNECTION).unwrap_or(usize::MAX);
    Ok(builder
        .with_swarm_config(|swarm| {
            swarm
                .with_idle_connection_timeout(limits::IDLE)
                .with_max_negotiating_inbound_streams(streams)
        })
        .with_connection_timeout(limits::HANDSHAKE)
        .build())
}

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Makes the transport that understands names, where the system says how to resolve them.
fn named(identity: &Keypair) -> Result<Boxed<(PeerId, StreamMuxerBox)>, Error> {
    match dns::tokio::Transport::system(direct(identity)?) {
        Ok(named) => Ok(named.boxed()),
        Err(error) => {
            tracing::info!(%error, "names are not resolved");
            direct(identity)
        }
    }
}

fn direct(identity: &Keypair) -> Result<Boxed<(PeerId, StreamMuxerBox)>, Error> {
    let mut config = quic::Config::new(identity);
    config.handshake_timeout = limits::HANDSHAKE;
    config.max_idle_timeout = limits::QUIC_IDLE_MS;
    config.keep_alive_interval = limits::QUIC_KEEP_ALIVE;
    config.max_concurrent_stream_limit = limits::STREAMS_PER_CONNECTION;
    (config.max_stream_data, config.max_connection_data) = limits::QUIC_UNREAD;
    let turns = Turns::default();
    let of_quic = turns.clone();
    let quic = quic::tokio::Transport::new(config).map(move |(peer, connection), _| {
        (peer, StreamMuxerBox::new(Metered::new(connection, of_quic.clone())))
    });
    let both = OrTransport::new(quic, tcp::transport(identity, turns)?);
    Ok(both.map(|either, _| either.into_inner()).boxed())
}

fn protocols(
    config: &SwarmConfig,
    [mdns, mdns6]: [Mdns; 2],
    relayed: relay::client::Behaviour,
) -> Protocols {
    let key = config.identity.public();
    let places = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
    let guests = Guests::new(places(config.connections_inbound), places(config.pending_inbound));
    let quic = QuicPlaces::new(places(config.connections) / limits::QUIC_SHARE);
    let sessions =
        behaviour::Behaviour::new(key.to_peer_id(), limits::CONNECTIONS_PER_SUBNET, guests, quic);
    let identify = identify::Config::new(IDENTIFY.to_owned(), key)
        .with_agent_version(config.agent.clone())
        // Addresses inside a home are nobody's business; tickets carry those that are meant to be known.
        .with_hide_listen_addrs(true);
    let ping =
        ping::Config::new().with_interval(limits::PING_INTERVAL).with_timeout(limits::PING_TIMEOUT);
    Protocols {
        places: Places::new(config),
        sessions,
        identify: identify::Behaviour::new(identify),
        ping: ping::Behaviour::new(ping),
        mdns,
        mdns6,
        kad: dht::behaviour(config),
        asking: lookups::behaviour(config),
        ipfs: dht::ipfs_behaviour(config),
        probe: (config.dht || !config.ipfs.is_empty()).then(probe::Behaviour::default).into(),
        // Whoever is reached by everybody can tell others whether they are.
        answer: config.public.then(autonat::v2::server::Behaviour::default).into(),
        relayed,
        relay: config.relays.then(|| relay_for_others(config)).into(),
        punch: config
            .relays
            .then(|| dcutr::Behaviour::new(config.identity.public().to_peer_id()))
            .into(),
    }
}

/// Tells whether the router is asked for a way in: not for what it could not reach.
pub(super) fn is_mapped(config: &SwarmConfig) -> bool {
    config.upnp && !config.listen.iter().all(nearby::is_loopback)
}

/// Makes what relays for others: a few words each, so that they can meet half-way. Off until we are reached by everybody.
fn relay_for_others(config: &SwarmConfig) -> relay::Behaviour {
    let limits = relay::Config {
        max_reservations: limits::RELAY_PLACES,
        max_circuits: limits::RELAY_CIRCUITS,
        max_circuit_duration: limits::RELAY_CIRCUIT,
        max_circuit_bytes: limits::RELAY_BYTES,
        ..relay::Config::default()
    };
    let mut relay = relay::Behaviour::new(config.identity.public().to_peer_id(), limits);
    relay.set_status(Some(relay_status(config.public)));
    relay
}

/// Returns what a relay tells others of itself.
pub(super) fn relay_status(is_reached: bool) -> relay::Status {
    if is_reached { relay::Status::Enable } else { relay::Status::Disable }
}

/// Listens on all addresses, or on none; a kind of address that this system does not know (IPv6, or IPv4) may be missing if there is
/// another. Returns how many will tell at once where they listen: those of a kind that nothing here has yet may do so later.
pub(super) fn listen(
    swarm: &mut libp2p::Swarm<Protocols>,
    addresses: &[Multiaddr],
) -> Result<usize, SwarmError> {
    let mut known = Vec::new();
    let mut unknown = None;
    for address in addresses {
        match probe(address) {
            Ok(()) => known.push(address),
            Err(Trial::Family(error)) => unknown = Some(error),
            Err(Trial::Failed(error)) => return Err(error),
        }
    }
    if let Some(error) = unknown.filter(|_| known.is_empty()) {
        return Err(error);
    }
    // QUIC first: its port is taken by one socket alone, so that of two processes that start at once, and
    // both found the TCP port free, one fails here.
    let (tcp, other): (Vec<_>, Vec<_>) =
        known.into_iter().partition(|address| tcp_socket(address).is_some());
    let mut told = 0;
    for address in other.into_iter().chain(tcp) {
        swarm.listen_on(address.clone()).map_err(|error| failed(address, &error))?;
        told += usize::from(is_told(address));
    }
    Ok(told)
}

/// Tells whether there is an address at once where one listens on all of a kind: that of loopback, if any.
fn is_told(address: &Multiaddr) -> bool {
    let loopback: IpAddr = match address.iter().next() {
        Some(Protocol::Ip4(ip)) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        Some(Protocol::Ip6(ip)) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        _ => return true,
    };
    UdpSocket::bind((loopback, 0)).is_ok()
}

/// Why an address cannot be listened on.
#[derive(Debug)]
enum Trial {
    /// The system does not know addresses of its kind.
    Family(SwarmError),
    /// For any other reason.
    Failed(SwarmError),
}

/// Refuses a TCP port that another process listens on, and a kind of address that the system does not know.
///
/// libp2p sets `SO_REUSEPORT`: two processes of one user would both get the port, and share the connections
/// of those who wanted one of them.
fn probe(address: &Multiaddr) -> Result<(), Trial> {
    let family = match address.iter().next() {
        Some(Protocol::Ip6(_)) => AddressFamily::INET6,
        _ => AddressFamily::INET,
    };
    let knows = socket(family, SocketType::DGRAM, None);
    knows.map_err(|error| Trial::Family(failed(address, &TransportError::Other(error.into()))))?;
    match tcp_socket(address) {
        Some(socket) if socket.port() != 0 => only_of_family(family, socket)
            .map_err(|error| Trial::Failed(failed(address, &TransportError::Other(error)))),
        _ => Ok(()),
    }
}

/// Listens on a TCP port for a moment, for addresses of one kind alone, as the library will.
fn only_of_family(family: AddressFamily, at: SocketAddr) -> std::io::Result<()> {
    let probe = socket(family, SocketType::STREAM, None)?;
    sockopt::set_socket_reuseaddr(&probe, true)?;
    if at.is_ipv6() {
        sockopt::set_ipv6_v6only(&probe, true)?;
    }
    bind(&probe, &at)?;
    Ok(listen_for(&probe, 1)?)
}

fn failed(address: &Multiaddr, error: &TransportError<std::io::Error>) -> SwarmError {
    match (error, port(address)) {
        (TransportError::Other(error), Some(port)) if reason::is_in_use(error) => {
            SwarmError::PortTaken { port }
        }
        _ => SwarmError::Listen { address: address.clone(), reason: reason::of_transport(error) },
    }
}

fn port(address: &Multiaddr) -> Option<u16> {
    address.iter().find_map(|part| match part {
        Protocol::Tcp(port) | Protocol::Udp(port) => Some(port),
        _ => None,
    })
}

/// Returns the socket of an address that is an IP and a TCP port.
fn tcp_socket(address: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = address.iter();
    let ip: IpAddr = match parts.next()? {
        Protocol::Ip4(ip) => ip.into(),
        Protocol::Ip6(ip) => ip.into(),
        _ => return None,
    };
    match parts.next()? {
        Protocol::Tcp(port) => Some(SocketAddr::new(ip, port)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tcp_addresses_are_probed() {
        let tcp: Multiaddr = "/ip6/::1/tcp/3282".parse().unwrap();
        assert_eq!(tcp_socket(&tcp), Some("[::1]:3282".parse().unwrap()));
        let quic: Multiaddr = "/ip4/127.0.0.1/udp/3282/quic-v1".parse().unwrap();
        assert_eq!(tcp_socket(&quic), None);
        assert_eq!(port(&quic), Some(3282));
    }

    #[test]
    fn a_taken_port_is_named() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let address = format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap();
        let found = probe(&address).unwrap_err();
        let Trial::Failed(SwarmError::PortTaken { port: found }) = found else {
            panic!("{found:?}")
        };
        assert_eq!(found, port);
    }
}
