//! How nodes reach each other: TCP with TLS (or Noise) and yamux, and QUIC.
//!
//! All of it is ordinary libp2p on the wire. TCP is put together here (`tcp`), since the library's own fixes what decides how fast
//! it is: the order of the ciphers (`secure`), the size of frames (`muxer`) and of what the socket is asked for at a time (`ahead`).

mod ahead;
mod cork;
mod muxer;
mod secure;
mod tcp;
mod verifier;

use std::net::{IpAddr, SocketAddr, TcpListener};

use libp2p::core::transport::TransportError;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, SwarmBuilder, connection_limits, identify, ping};

use super::driver::Protocols;
use super::nearby::Mdns;
use super::{IDENTIFY, SwarmConfig, SwarmError, behaviour, limits, reason};

/// Makes a swarm that listens nowhere yet.
pub(super) fn build(
    config: &SwarmConfig,
    mdns: Mdns,
) -> Result<libp2p::Swarm<Protocols>, SwarmError> {
    let setup = |source: Box<dyn std::error::Error + Send + Sync>| SwarmError::Setup { source };
    let builder = SwarmBuilder::with_existing_identity(config.identity.clone())
        .with_tokio()
        .with_quic_config(|mut quic| {
            quic.handshake_timeout = limits::HANDSHAKE;
            quic.max_idle_timeout = limits::QUIC_IDLE_MS;
            quic.keep_alive_interval = limits::QUIC_KEEP_ALIVE;
            quic.max_concurrent_stream_limit = limits::STREAMS_PER_CONNECTION;
            quic
        })
        .with_other_transport(tcp::transport)
        .map_err(|error| setup(error.into()))?
        .with_behaviour(|_| protocols(config, mdns))
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

fn protocols(config: &SwarmConfig, mdns: Mdns) -> Protocols {
    let key = config.identity.public();
    let connections = connection_limits::ConnectionLimits::default()
        .with_max_pending_incoming(Some(config.pending_inbound))
        .with_max_pending_outgoing(Some(limits::PENDING_OUTBOUND))
        .with_max_established_incoming(Some(config.connections_inbound))
        .with_max_established(Some(config.connections))
        .with_max_established_per_peer(Some(limits::CONNECTIONS_PER_PEER));
    let sessions = behaviour::Behaviour::new(key.to_peer_id(), limits::CONNECTIONS_PER_SUBNET);
    let identify = identify::Config::new(IDENTIFY.to_owned(), key)
        .with_agent_version(config.agent.clone())
        // Addresses inside a home are nobody's business; tickets carry those that are meant to be known.
        .with_hide_listen_addrs(true);
    let ping =
        ping::Config::new().with_interval(limits::PING_INTERVAL).with_timeout(limits::PING_TIMEOUT);
    Protocols {
        limits: connection_limits::Behaviour::new(connections),
        sessions,
        identify: identify::Behaviour::new(identify),
        ping: ping::Behaviour::new(ping),
        mdns,
    }
}

/// Listens on all addresses, or on none.
pub(super) fn listen(
    swarm: &mut libp2p::Swarm<Protocols>,
    addresses: &[Multiaddr],
) -> Result<(), SwarmError> {
    for address in addresses {
        probe(address)?;
    }
    // QUIC first: its port is taken by one socket alone, so that of two processes that start at once, and
    // both found the TCP port free, one fails here.
    let (tcp, other): (Vec<_>, Vec<_>) =
        addresses.iter().partition(|address| tcp_socket(address).is_some());
    for address in other.into_iter().chain(tcp) {
        swarm.listen_on(address.clone()).map_err(|error| failed(address, &error))?;
    }
    Ok(())
}

/// Refuses a TCP port that another process listens on.
///
/// libp2p sets `SO_REUSEPORT`: two processes of one user would both get the port, and share the connections
/// of those who wanted one of them.
fn probe(address: &Multiaddr) -> Result<(), SwarmError> {
    match tcp_socket(address) {
        Some(socket) if socket.port() != 0 => TcpListener::bind(socket)
            .map(drop)
            .map_err(|error| failed(address, &TransportError::Other(error))),
        _ => Ok(()),
    }
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
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let address = format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap();
        assert!(
            matches!(probe(&address), Err(SwarmError::PortTaken { port: found }) if found == port)
        );
    }
}
