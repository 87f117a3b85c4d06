//! Asking the router, by UPnP, to let others in.
//!
//! Told where this node listens, asked what the router said. A task of its own searches for the router, asks it anew before what it gave
//! ends, and gives it back when nobody listens there any more. What it says is its word: that others get in is believed once one of them did.
//! Invariant: what was asked for is noted before, so that it is given back however a step ends.
//! Elsewhere: one router (`gateway`), trying it out (`probe`), what follows for how we are reached (`reach`).

mod gateway;
mod http;
mod text;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use futures::future::join_all;
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::limits;

pub(crate) use self::gateway::{Gateway, is_of_the_world, towards};

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
    /// It says that it lets others in at this port; nobody came through yet who could tell.
    Mapped(u16),
    /// It lets others in at this port: somebody came through.
    Open(u16),
}

/// Why a router did not do what it was asked for.
#[derive(Debug, Error)]
pub(crate) enum Refusal {
    /// There is no connection, what came is no HTTP, or there was no end to it.
    #[error("{0}")]
    Broken(String),
    /// Nothing came for too long.
    #[error("it does not answer in time")]
    Slow,
    /// What came is no answer.
    #[error("its answer is none")]
    Garbled,
    /// It says why.
    #[error("{0}")]
    Said(String),
}

/// A port that others come in at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Port {
    pub(crate) tcp: bool,
    pub(crate) number: u16,
}

/// Where this node listens in a home.
type Listening = BTreeSet<(Ipv4Addr, Port)>;

/// What the router said, and where it says that others get in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Told {
    state: Router,
    addresses: BTreeSet<Multiaddr>,
}

/// The task that asks, as the driver sees it.
#[derive(Debug)]
pub(super) struct Asking {
    listening: watch::Sender<Listening>,
    told: watch::Receiver<Told>,
    task: JoinHandle<()>,
}

impl Asking {
    /// Begins to ask once there is something to ask for. Has to be called inside a tokio runtime.
    pub(super) fn start() -> Self {
        let (listening, listened) = watch::channel(Listening::new());
        let (tells, told) = watch::channel(Told { state: Router::Asked, ..Told::default() });
        let task = tokio::spawn(async move {
            let mut asker = Asker { told: tells, gateway: None, held: BTreeSet::new() };
            asker.run(listened).await;
            asker.give_back().await;
        });
        Self { listening, told, task }
    }

    /// This node listens at these addresses now.
    pub(super) fn handle_listening<'a>(&self, all: impl Iterator<Item = &'a Multiaddr>) {
        let all: Listening = all.filter_map(in_a_home).collect();
        self.listening.send_if_modified(|known| {
            let is_new = *known != all;
            *known = all;
            is_new
        });
    }

    /// Waits until the router said something else.
    pub(super) async fn changed(&mut self) {
        if self.told.changed().await.is_err() {
            std::future::pending().await
        }
    }

    /// Returns what it said; `is_confirmed` tells whether somebody came through at an address.
    pub(super) fn router(&self, is_confirmed: impl Fn(&Multiaddr) -> bool) -> Router {
        let told = self.told.borrow();
        let mut open = told.addresses.iter().filter(|at| is_confirmed(at));
        let open = open.find_map(port_of).map(Router::Open);
        let mapped = told.addresses.iter().find_map(port_of).map(Router::Mapped);
        open.or(mapped).unwrap_or(told.state)
    }

    /// Returns where it says that others get in.
    pub(super) fn addresses(&self) -> BTreeSet<Multiaddr> {
        self.told.borrow().addresses.clone()
    }

    /// Ends asking, and waits until what the router gave is given back.
    pub(super) async fn close(self) {
        drop(self.listening);
        // An error means that the runtime is at its end.
        let _ = self.task.await;
    }
}

/// The state of the task.
struct Asker {
    told: watch::Sender<Told>,
    gateway: Option<Gateway>,
    /// What it gave, or may have given.
    held: BTreeSet<Port>,
}

impl Asker {
    /// Asks until nobody listens to it any more.
    async fn run(&mut self, mut listening: watch::Receiver<Listening>) {
        loop {
            let wanted = listening.borrow_and_update().clone();
            // A round is bounded: what changes meanwhile is the next one's. Only its end does not wait.
            tokio::select! {
                () = closed(listening.clone()) => return,
                pause = self.round(&wanted) => tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    changed = listening.changed() => if changed.is_err() { return },
                },
            }
        }
    }

    /// Looks for the router, if that is due, and asks it for what is wanted. Returns when to do so again.
    async fn round(&mut self, wanted: &Listening) -> Duration {
        if wanted.is_empty() {
            self.give_back().await;
            self.tell(Router::Asked, BTreeSet::new());
            return Duration::MAX;
        }
        let is_near = match &self.gateway {
            Some(gateway) => gateway.is_near().await,
            None => false,
        };
        if !is_near {
            self.give_back().await;
            self.gateway = Gateway::find().await;
        }
        let Some(gateway) = self.gateway.clone() else {
            self.tell(Router::Silent, BTreeSet::new());
            return limits::ROUTER_AGAIN;
        };
        let outside = match gateway.address().await {
            Ok(ip) if is_of_the_world(ip) => ip,
            Ok(_) => return self.give_up(Router::Inner).await,
            Err(error) => {
                tracing::info!(%error, "the router does not tell its address");
                return self.give_up(Router::Asked).await;
            }
        };
        let wanted = wanted.iter().filter(|(ip, _)| IpAddr::V4(*ip) == gateway.own);
        let wanted: BTreeSet<Port> = wanted.map(|&(_, port)| port).collect();
        for port in &self.held - &wanted {
            self.close(&gateway, port).await;
            self.held.remove(&port);
        }
        let mut addresses = BTreeSet::new();
        for port in wanted {
            self.held.insert(port);
            match gateway.open(port, limits::ROUTER_LEASE).await {
                Ok(()) => drop(addresses.insert(port.at(outside))),
                Err(error) => {
                    tracing::info!(%error, "the router lets nobody in");
                    // Another computer's, perhaps, which is not ours to give back.
                    if matches!(error, Refusal::Said(_)) {
                        self.held.remove(&port);
                    }
                }
            }
        }
        if addresses.is_empty() {
            return self.give_up(Router::Asked).await;
        }
        self.tell(Router::Asked, addresses);
        limits::ROUTER_LEASE / 2
    }

    /// Looks for a router anew the next time.
    async fn give_up(&mut self, state: Router) -> Duration {
        self.tell(state, BTreeSet::new());
        self.give_back().await;
        limits::ROUTER_AGAIN
    }

    /// Gives back whatever the router may have given.
    async fn give_back(&mut self) {
        if let Some(gateway) = &self.gateway {
            join_all(self.held.iter().map(|&port| self.close(gateway, port))).await;
        }
        (self.gateway, self.held) = (None, BTreeSet::new());
    }

    async fn close(&self, gateway: &Gateway, port: Port) {
        if let Err(error) = gateway.close(port).await {
            tracing::debug!(%error, "the router takes nothing back");
        }
    }

    fn tell(&self, state: Router, addresses: BTreeSet<Multiaddr>) {
        let told = Told { state, addresses };
        self.told.send_if_modified(|known| {
            let is_new = *known != told;
            *known = told;
            is_new
        });
    }
}

/// Waits until nobody says any more where this node listens.
async fn closed(mut listening: watch::Receiver<Listening>) {
    while listening.changed().await.is_ok() {}
}

impl Port {
    /// Returns where others dial it.
    fn at(self, ip: IpAddr) -> Multiaddr {
        let at = Multiaddr::from(ip);
        match self.tcp {
            true => at.with(Protocol::Tcp(self.number)),
            false => at.with(Protocol::Udp(self.number)).with(Protocol::QuicV1),
        }
    }
}

/// Returns what an address says of a home: what is in the world already needs no router's help.
fn in_a_home(address: &Multiaddr) -> Option<(Ipv4Addr, Port)> {
    let mut parts = address.iter();
    let Some(Protocol::Ip4(ip)) = parts.next() else { return None };
    let port = match (parts.next()?, parts.next()) {
        (Protocol::Tcp(number), None) => Port { tcp: true, number },
        (Protocol::Udp(number), Some(Protocol::QuicV1)) => Port { tcp: false, number },
        _ => return None,
    };
    ip.is_private().then_some((ip, port))
}

fn port_of(address: &Multiaddr) -> Option<u16> {
    address.iter().find_map(|part| match part {
        Protocol::Tcp(port) | Protocol::Udp(port) => Some(port),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_a_home_alone_are_asked_for() {
        let asked = |text: &str| in_a_home(&text.parse().unwrap());
        let ip = "192.168.1.7".parse().unwrap();
        let right = Some((ip, Port { tcp: true, number: 3282 }));
        assert_eq!(asked("/ip4/192.168.1.7/tcp/3282"), right);
        let right = Some((ip, Port { tcp: false, number: 3282 }));
        assert_eq!(asked("/ip4/192.168.1.7/udp/3282/quic-v1"), right);
        for other in [
            "/ip4/127.0.0.1/tcp/3282",
            "/ip4/203.0.113.9/tcp/3282",
            "/ip6/fd00::1/tcp/3282",
            "/ip4/192.168.1.7/udp/53",
            "/ip4/192.168.1.7/tcp/80/ws",
        ] {
            assert_eq!(asked(other), None, "{other}");
        }
    }

    #[test]
    fn its_word_is_told_apart_from_what_others_found() {
        let (listening, _listened) = watch::channel(Listening::new());
        let (tells, told) = watch::channel(Told { state: Router::Silent, ..Told::default() });
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let asking = Asking { listening, told, task: runtime.spawn(async {}) };
        assert_eq!(asking.router(|_| true), Router::Silent);
        let port = |tcp, number| Port { tcp, number }.at("5.5.5.5".parse().unwrap());
        let addresses: BTreeSet<_> = [port(true, 3282), port(false, 3283)].into();
        tells.send_replace(Told { state: Router::Asked, addresses: addresses.clone() });
        assert_eq!(asking.router(|_| false), Router::Mapped(3282));
        assert_eq!(asking.router(|at| *at == port(false, 3283)), Router::Open(3283));
        assert_eq!(asking.addresses(), addresses);
    }
}
