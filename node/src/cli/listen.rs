//! Where to listen, as people say it: an IP address, one with a port, or a multiaddr.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

use crate::swarm::{any_port, listen_addresses_for};

/// A place to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// On TCP and QUIC, on the port of `--port`.
    Ip(IpAddr),
    /// On TCP and QUIC, on this port and no other.
    Socket(SocketAddr),
    /// On exactly this address.
    Exact(Multiaddr),
}

impl Listen {
    /// Returns the addresses to listen on; `port` is for those that name none.
    pub fn addresses(&self, port: u16) -> Vec<Multiaddr> {
        let (ip, port) = match self {
            Self::Ip(ip) => (*ip, port),
            Self::Socket(socket) => (socket.ip(), socket.port()),
            Self::Exact(address) => return vec![address.clone()],
        };
        listen_addresses_for(ip, port)
    }

    /// Returns the same place with any free port.
    #[must_use]
    pub fn on_any_port(&self) -> Self {
        match self {
            Self::Ip(ip) => Self::Ip(*ip),
            Self::Socket(socket) => Self::Socket(SocketAddr::new(socket.ip(), 0)),
            Self::Exact(address) => Self::Exact(any_port(address)),
        }
    }

    /// Returns the port that it names.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Ip(_) => None,
            Self::Socket(socket) => Some(socket.port()),
            Self::Exact(address) => address.iter().find_map(|part| match part {
                Protocol::Tcp(port) | Protocol::Udp(port) => Some(port),
                _ => None,
            }),
        }
    }

    /// Tells whether it names a port, which no other can stand in for.
    pub fn names_port(&self) -> bool {
        !matches!(self, Self::Ip(_))
    }
}

/// Reads an address with a port; a port alone is one of this computer's, which nobody else reaches.
///
/// # Errors
/// What is wrong with it.
pub(super) fn on_this_computer(text: &str) -> Result<SocketAddr, String> {
    match (text.parse(), text.parse()) {
        (Ok(port), _) => Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
        (_, Ok(address)) => Ok(address),
        _ => Err("it is an IP address with a port (127.0.0.1:3284), or a port".to_owned()),
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(ip) = text.parse() {
            return Ok(Self::Ip(ip));
        }
        if let Ok(socket) = text.parse() {
            return Ok(Self::Socket(socket));
        }
        let bad = || {
            format!(
                "“{text}” is no place to listen; write 127.0.0.1, 127.0.0.1:3282, [::1]:3282, \
                 /ip4/127.0.0.1/tcp/3282 or /ip4/127.0.0.1/udp/3282/quic-v1"
            )
        };
        let address: Multiaddr = text.parse().map_err(|_| bad())?;
        if can_listen(&address) { Ok(Self::Exact(address)) } else { Err(bad()) }
    }
}

/// Tells whether an address is an IP with TCP or QUIC, which is what there are listeners for.
fn can_listen(address: &Multiaddr) -> bool {
    let parts: Vec<Protocol<'_>> = address.iter().collect();
    match &parts[..] {
        [Protocol::Ip4(_) | Protocol::Ip6(_), rest @ ..] => is_served(rest),
        _ => false,
    }
}

/// Tells whether what follows a host in an address is TCP or QUIC.
pub(super) fn is_served(rest: &[Protocol<'_>]) -> bool {
    matches!(rest, [Protocol::Tcp(_)] | [Protocol::Udp(_), Protocol::QuicV1])
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Socket(socket) => socket.fmt(f),
            Self::Exact(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_means_what_it_says() {
        let table: &[(&str, &[&str])] = &[
            ("127.0.0.1", &["/ip4/127.0.0.1/tcp/7", "/ip4/127.0.0.1/udp/7/quic-v1"]),
            ("::1", &["/ip6/::1/tcp/7", "/ip6/::1/udp/7/quic-v1"]),
            ("0.0.0.0:9", &["/ip4/0.0.0.0/tcp/9", "/ip4/0.0.0.0/udp/9/quic-v1"]),
            ("[::1]:0", &["/ip6/::1/tcp/0", "/ip6/::1/udp/0/quic-v1"]),
            ("/ip4/127.0.0.1/tcp/9", &["/ip4/127.0.0.1/tcp/9"]),
            ("/ip6/::/udp/9/quic-v1", &["/ip6/::/udp/9/quic-v1"]),
        ];
        for (text, addresses) in table {
            let listen: Listen = text.parse().unwrap();
            let right: Vec<Multiaddr> =
                addresses.iter().map(|address| address.parse().unwrap()).collect();
            assert_eq!(listen.addresses(7), right, "{text}");
            assert_eq!(listen.to_string(), *text);
            assert_eq!(listen.names_port(), right == listen.addresses(8), "{text}");
            let any = listen.on_any_port().addresses(0);
            assert_eq!(any, right.iter().map(any_port).collect::<Vec<_>>(), "{text}");
        }
    }

    #[test]
    fn what_nobody_can_listen_on_is_refused() {
        for text in [
            "",
            "localhost",
            "127.0.0.1:99999",
            "::1:3282x",
            "/dns4/example.org/tcp/1",
            "/ip4/127.0.0.1",
            "/ip4/127.0.0.1/udp/1",
            "/ip4/127.0.0.1/tcp/1/ws",
            "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWHhZMwyjHvB5y11KC2qiiHfCMc5SU1A1DWkdQ55Nhbq9b",
        ] {
            let error = text.parse::<Listen>().unwrap_err();
            assert!(error.contains("[::1]:3282"), "{error}");
        }
    }
}
