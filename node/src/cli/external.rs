//! Where others reach a node, as its user says it: a place as one listens there, or a name of the DNS.

use std::str::FromStr;

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

use super::listen::{Listen, is_served};

/// The longest name of a host (RFC 1035), and the longest part of it between two dots.
const NAME_LEN_MAX: usize = 253;
const LABEL_LEN_MAX: usize = 63;

/// Where others reach a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum External {
    /// At an address.
    Place(Listen),
    /// At whatever a name stands for, by TCP and QUIC; the port is that of the node if none is named.
    Host(String, Option<u16>),
    /// At exactly this multiaddr, which begins with a name.
    Named(Multiaddr),
}

impl External {
    /// Returns the addresses that lead there; `port` is for those that name none.
    pub fn addresses(&self, port: u16) -> Vec<Multiaddr> {
        match self {
            Self::Place(place) => place.addresses(port),
            Self::Named(address) => vec![address.clone()],
            Self::Host(name, own) => {
                let port = own.unwrap_or(port);
                let at = || Multiaddr::from(Protocol::Dns(name.into()));
                let quic = at().with(Protocol::Udp(port)).with(Protocol::QuicV1);
                vec![at().with(Protocol::Tcp(port)), quic]
            }
        }
    }
}

impl FromStr for External {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(place) = text.parse() {
            return Ok(Self::Place(place));
        }
        let bad = || {
            format!(
                "“{text}” is nowhere that others could reach; write 203.0.113.7, home.example.org, either with a port (home.example.org:3282), \
                 /ip4/203.0.113.7/tcp/3282 or /dns/home.example.org/udp/3282/quic-v1"
            )
        };
        if let Ok(address) = text.parse::<Multiaddr>() {
            let mut parts = address.iter();
            let named = matches!(parts.next(), Some(Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name)) if is_host(&name));
            let is_right = named && is_served(&parts.collect::<Vec<_>>());
            return if is_right { Ok(Self::Named(address)) } else { Err(bad()) };
        }
        let (name, port) = match text.split_once(':') {
            Some((name, port)) => (name, Some(port.parse().map_err(|_| bad())?)),
            None => (text, None),
        };
        if is_host(name) { Ok(Self::Host(name.to_owned(), port)) } else { Err(bad()) }
    }
}

/// Tells whether something is the name of a host: an address with a slip in it is none.
fn is_host(name: &str) -> bool {
    let is_label = |label: &str| {
        let is_right = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty()
            && label.len() <= LABEL_LEN_MAX
            && label.bytes().all(is_right)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let mut labels = name.rsplit('.');
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    name.len() <= NAME_LEN_MAX
        && labels.clone().all(is_label)
        && labels.next().is_some_and(|last| !is_number(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_means_what_it_says() {
        let table: &[(&str, &[&str])] = &[
            ("203.0.113.7", &["/ip4/203.0.113.7/tcp/7", "/ip4/203.0.113.7/udp/7/quic-v1"]),
            ("[2001:db8::1]:9", &["/ip6/2001:db8::1/tcp/9", "/ip6/2001:db8::1/udp/9/quic-v1"]),
            (
                "a-1.example.org",
                &["/dns/a-1.example.org/tcp/7", "/dns/a-1.example.org/udp/7/quic-v1"],
            ),
            ("localhost:9", &["/dns/localhost/tcp/9", "/dns/localhost/udp/9/quic-v1"]),
            ("/dns4/example.org/tcp/9", &["/dns4/example.org/tcp/9"]),
            ("/dns/example.org/udp/9/quic-v1", &["/dns/example.org/udp/9/quic-v1"]),
            ("/ip4/203.0.113.7/tcp/9", &["/ip4/203.0.113.7/tcp/9"]),
        ];
        for (text, right) in table {
            let external: External = text.parse().unwrap();
            let texts: Vec<String> =
                external.addresses(7).iter().map(ToString::to_string).collect();
            assert_eq!(texts, *right, "{text}");
        }
    }

    #[test]
    fn what_leads_nowhere_is_refused() {
        let long = [&"a.".repeat(NAME_LEN_MAX / 2)[..], "org"].concat();
        for text in [
            "",
            "203.0.113",
            "203.0.113.7x:",
            "example.org:99999",
            "example.org:",
            "exa mple.org",
            "-a.org",
            "a..org",
            "example.org/path",
            "http://example.org",
            &long,
            "/dns/example.org",
            "/dns/example.org/udp/1",
            "/dns/exa mple.org/tcp/1",
            "/dnsaddr/example.org",
        ] {
            let error = text.parse::<External>().unwrap_err();
            assert!(error.contains("home.example.org:3282"), "{error}");
        }
    }
}
