//! A router that is asked by UPnP.
//!
//! Everybody on the local network can say that they are one, and say anything: what they send is bounded in bytes, time and number, and
//! nobody but them is asked for it. Whether others get in is not taken from them.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::net::UdpSocket;

use super::super::limits;
use super::{Port, Refusal, http, text};

/// Where routers are searched for.
const GROUP: (Ipv4Addr, u16) = (Ipv4Addr::new(239, 255, 255, 250), 1900);
/// The longest answer to that, in bytes.
const FOUND_LEN_MAX: usize = 1_500;

/// A router that lets others in, as it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gateway {
    at: SocketAddr,
    /// Where it is asked, and for which service.
    path: String,
    service: &'static str,
    /// Our address as it sees it.
    pub(super) own: IpAddr,
}

impl Gateway {
    /// Looks for a router on the local network; the first one that describes itself is taken.
    pub(crate) async fn find() -> Option<Self> {
        match tokio::time::timeout(limits::ROUTER_SEARCH, search()).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                tracing::debug!(%error, "no router is searched for");
                None
            }
            Err(_) => None,
        }
    }

    /// Tells whether it is still where it is reached from our address.
    pub(super) async fn is_near(&self) -> bool {
        towards(self.at).await == Some(self.own)
    }

    /// Returns its own address in the world.
    pub(crate) async fn address(&self) -> Result<IpAddr, Refusal> {
        let name = "GetExternalIPAddress";
        text::address(&self.act(name, &[]).await?)
    }

    /// Has it let others in at a port for so long, in whole seconds.
    pub(crate) async fn open(&self, port: Port, lease: Duration) -> Result<(), Refusal> {
        let name = "AddPortMapping";
        let more = [
            ("NewInternalPort", port.number.to_string()),
            ("NewInternalClient", self.own.to_string()),
            ("NewEnabled", "1".to_owned()),
            ("NewPortMappingDescription", "datnode".to_owned()),
            ("NewLeaseDuration", lease.as_secs().to_string()),
        ];
        let arguments: Vec<_> = text::port_arguments(port).into_iter().chain(more).collect();
        text::done(&self.act(name, &arguments).await?, name)
    }

    /// Has it let nobody in there any more.
    pub(crate) async fn close(&self, port: Port) -> Result<(), Refusal> {
        let name = "DeletePortMapping";
        text::done(&self.act(name, &text::port_arguments(port)).await?, name)
    }

    async fn act(&self, name: &str, arguments: &[(&str, String)]) -> Result<String, Refusal> {
        let body = text::action(self.service, name, arguments);
        http::act(self.at, &self.path, &format!("{}#{name}", self.service), body).await
    }
}

async fn search() -> io::Result<Option<Gateway>> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    socket.send_to(text::SEARCH.as_bytes(), GROUP).await?;
    let (mut known, mut candidates) = (HashSet::new(), FuturesUnordered::new());
    let mut answer = [0; FOUND_LEN_MAX];
    loop {
        tokio::select! {
            received = socket.recv_from(&mut answer), if known.len() < limits::ROUTERS => {
                // An error tells of some earlier datagram.
                let Ok((len, from)) = received else { continue };
                if let Some(place) = text::location(&answer[..len], from.ip())
                    && known.insert(place.clone())
                {
                    candidates.push(describe(place));
                }
            }
            found = candidates.next(), if !candidates.is_empty() => {
                if let Some(Some(gateway)) = found {
                    return Ok(Some(gateway));
                }
            }
            else => return Ok(None),
        }
    }
}

/// Asks what is at a place for a description of itself.
async fn describe((at, path): (SocketAddr, String)) -> Option<Gateway> {
    let description = http::get(at, &path).await;
    let description = description
        .inspect_err(|error| tracing::debug!(%error, %at, "a router does not describe itself"));
    let (service, path) = text::service(&description.ok()?, at)?;
    Some(Gateway { at, path, service, own: towards(at).await? })
}

/// Returns our address as somebody sees it; nothing is sent.
pub(crate) async fn towards(other: SocketAddr) -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await.ok()?;
    socket.connect(other).await.ok()?;
    socket.local_addr().ok().map(|own| own.ip())
}

/// Tells whether an address is understood everywhere.
pub(crate) fn is_of_the_world(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            // Shared by the customers of a provider (RFC 6598).
            let is_shared = matches!(ip.octets(), [100, 64..=127, ..]);
            let is_near = ip.is_private() || ip.is_loopback() || ip.is_link_local();
            let is_one = !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast();
            is_one && !is_shared && !is_near && !ip.is_documentation()
        }
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unspecified() && !ip.is_unique_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_homes_and_providers_are_none_of_the_world() {
        for ip in [
            "10.0.0.1",
            "192.168.0.1",
            "100.64.0.1",
            "100.127.9.9",
            "127.0.0.1",
            "fd00::1",
            "224.0.0.1",
        ] {
            assert!(!is_of_the_world(ip.parse().unwrap()), "{ip}");
        }
        for ip in ["8.8.8.8", "100.63.0.1", "100.128.0.1", "2600::1"] {
            assert!(is_of_the_world(ip.parse().unwrap()), "{ip}");
        }
    }
}
