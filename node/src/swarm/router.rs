//! What the router said when it was asked, by UPnP, to let others in.
//!
//! Told what the library reports, asked what there is to tell people. The library asks again for what it has before its time is over,
//! and gives it back when we no longer listen.
//! Elsewhere: what follows for how we are reached (`reach`).

use std::collections::BTreeSet;

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, upnp};

/// What the router said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Router {
    /// It is not asked.
    #[default]
    Off,
    /// It is asked, and did not let us have a port yet.
    Asked,
    /// There is none that answers.
    Silent,
    /// It is no way in: it has no address of the world itself, so that there is another one before it.
    Inner,
    /// It lets others in at this port.
    Open(u16),
}

/// What it let us have.
#[derive(Debug, Default)]
pub(super) struct Mapped {
    state: Router,
    /// Where others get in.
    addresses: BTreeSet<Multiaddr>,
}

impl Mapped {
    pub(super) fn new(is_asked: bool) -> Self {
        let state = if is_asked { Router::Asked } else { Router::Off };
        Self { state, addresses: BTreeSet::new() }
    }

    pub(super) fn handle(&mut self, event: &upnp::Event) {
        match event {
            upnp::Event::NewExternalAddr { external_addr, .. } => {
                self.addresses.insert(external_addr.clone());
            }
            upnp::Event::ExpiredExternalAddr { external_addr, .. } => {
                self.addresses.remove(external_addr);
            }
            upnp::Event::GatewayNotFound => self.state = Router::Silent,
            upnp::Event::NonRoutableGateway => self.state = Router::Inner,
        }
    }

    /// Tells whether there is something to give back.
    pub(super) fn has_any(&self) -> bool {
        !self.addresses.is_empty()
    }

    /// Returns what it said.
    pub(super) fn router(&self) -> Router {
        let port = self.addresses.iter().flatten().find_map(|part| match part {
            Protocol::Tcp(port) | Protocol::Udp(port) => Some(port),
            _ => None,
        });
        port.map_or(self.state, Router::Open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_it_gave_and_took_is_told() {
        assert_eq!(Mapped::new(false).router(), Router::Off);
        let mut mapped = Mapped::new(true);
        assert_eq!(mapped.router(), Router::Asked);
        let at: Multiaddr = "/ip4/7.7.7.7/tcp/3282".parse().unwrap();
        let (local_addr, external_addr) = (at.clone(), at.clone());
        mapped.handle(&upnp::Event::NewExternalAddr { local_addr, external_addr });
        assert_eq!((mapped.router(), mapped.has_any()), (Router::Open(3282), true));
        let (local_addr, external_addr) = (at.clone(), at);
        mapped.handle(&upnp::Event::ExpiredExternalAddr { local_addr, external_addr });
        assert_eq!((mapped.router(), mapped.has_any()), (Router::Asked, false));
        mapped.handle(&upnp::Event::NonRoutableGateway);
        assert_eq!(mapped.router(), Router::Inner);
        mapped.handle(&upnp::Event::GatewayNotFound);
        assert_eq!(mapped.router(), Router::Silent);
    }
}
