//! The libp2p side: who we are, whom we are connected to, and one stream with each.
//!
//! A node listens on TCP and QUIC, dials peers, and reports a [`Session`] for each peer it has a stream with; what
//! is said on the stream is the caller's. Per peer there is one session at a time, and each is followed by one
//! [`Closed`] before the next begins. Everything runs on the thread that polls the driver.
//!
//! Elsewhere: frames on a stream (`frames`), the meaning of frames (`datnode_proto`), drives (`engine`).

mod behaviour;
mod chance;
mod channel;
pub mod dht;
mod driver;
pub mod frames;
mod guests;
mod handler;
pub mod identity;
pub mod limits;
mod lookup;
mod lookups;
mod messages;
mod names;
mod nat;
mod nearby;
mod outside;
mod pairing;
mod places;
mod probe;
mod quic;
mod reach;
mod reason;
mod records;
mod router;
mod shunned;
mod strangers;
mod stream;
mod subnets;
mod targets;
mod transport;

use std::collections::HashSet;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use libp2p::core::transport::ListenerId;
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId, StreamProtocol};
use thiserror::Error;
use tokio::sync::{mpsc, watch};

pub use self::channel::{Channel, Lan};
pub use self::dht::DriveName;
#[cfg(feature = "fuzz")]
pub(crate) use self::messages::{fuzz, fuzz_seeds};
pub use self::nat::Nat;
pub use self::nearby::hears_itself;
pub(crate) use self::nearby::is_loopback;
pub use self::outside::Outside;
pub use self::reach::Reach;
pub(crate) use self::reach::{is_relayed, scope};
pub use self::router::Router;
pub(crate) use self::router::{Gateway, Port, is_of_the_world, towards};
pub(crate) use self::shunned::Shunned;
pub use self::stream::SessionStream;
pub(crate) use self::targets::peer_of;

use self::driver::{Command, Driver};

/// Name of the protocol that sessions speak (SPEC 9).
pub const PROTOCOL: StreamProtocol = StreamProtocol::new("/datnode/replicate/1");

/// What identify tells others that we are (SPEC 9).
pub const IDENTIFY: &str = "/datnode/1.0.0";

/// How a node takes part in the network.
#[derive(Clone, Debug)]
pub struct SwarmConfig {
    /// The node's own key.
    pub identity: Keypair,
    /// Where to listen.
    pub listen: Vec<Multiaddr>,
    /// Where others reach this node, as its user knows; what begins with a name (`/dns/…`) is resolved again and again.
    pub external: Vec<Multiaddr>,
    /// Program and version, told to peers.
    pub agent: String,
    /// Whether to look for peers on the local network by mDNS, and to be found there.
    pub lan: bool,
    /// Whether to find peers, and to be found, by the DHT.
    pub dht: bool,
    /// Nodes that lead into the public IPFS DHT; without any it is not spoken to.
    pub ipfs: Vec<Multiaddr>,
    /// Whether everybody reaches this node, as its user knows: it serves the DHT, relays, and tells others whether they are reached.
    pub public: bool,
    /// Whether to be reached through relays, and to meet half-way whoever is.
    pub relays: bool,
    /// Whether to ask the router for a way in.
    pub upnp: bool,
    /// Connections that strangers may have with us.
    pub connections_inbound: u32,
    /// Connections beyond that of peers who dialed us and are known ([`Swarm::know`]).
    pub connections_known: u32,
    /// Handshakes that strangers may have begun with us.
    pub pending_inbound: u32,
    /// Connections in all.
    pub connections: u32,
}

impl SwarmConfig {
    /// Makes a configuration with the limits of [`limits`], for a node that is not on the local network.
    pub fn new(identity: Keypair, listen: Vec<Multiaddr>) -> Self {
        Self {
            identity,
            listen,
            external: Vec::new(),
            agent: concat!("datnode/", env!("CARGO_PKG_VERSION")).to_owned(),
            lan: false,
            dht: false,
            ipfs: Vec::new(),
            public: false,
            relays: false,
            upnp: false,
            connections_inbound: limits::CONNECTIONS_INBOUND,
            connections_known: limits::CONNECTIONS_KNOWN,
            pending_inbound: limits::PENDING_INBOUND,
            connections: limits::CONNECTIONS,
        }
    }
}

/// Why there is no swarm.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SwarmError {
    /// Another process has the port.
    #[error("port {port} is in use")]
    PortTaken {
        /// The port.
        port: u16,
    },
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// The address.
        address: Multiaddr,
        /// What is wrong with it.
        reason: String,
    },
    /// The transports cannot be set up.
    #[error("cannot set up the network")]
    Setup {
        /// What failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Tells one session from all others of this swarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// A stream with a peer.
#[derive(Debug)]
pub struct Session {
    /// This session.
    pub id: SessionId,
    /// Who is at the other end, as its key proves.
    pub peer: PeerId,
    /// Where the other end is.
    pub address: Multiaddr,
    /// Whether we dialed.
    pub outbound: bool,
    /// Whether we met half-way, through two routers that let nobody in.
    pub punched: bool,
    /// The stream. Dropping it ends the session and closes its connection.
    pub stream: SessionStream,
}

/// A session that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The session.
    pub session: SessionId,
    /// Whose it was.
    pub peer: PeerId,
}

/// A peer that could not be reached at any of its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialFailed {
    /// How the peer became known.
    pub channel: Channel,
    /// Who was looked for, if that is known.
    pub peer: Option<PeerId>,
    /// Where.
    pub addresses: Vec<Multiaddr>,
    /// Why, in words for people.
    pub reason: String,
    /// When it is tried again; none if it is not.
    pub retry_in: Option<Duration>,
}

/// What happens in the network.
#[derive(Debug)]
#[non_exhaustive]
pub enum SwarmEvent {
    /// An address we listen on.
    Listening(Multiaddr),
    /// A peer that we dialed proved at this address who it is. A session may come of it, or there is one that it dialed.
    Reached {
        /// The peer.
        peer: PeerId,
        /// The address.
        address: Multiaddr,
    },
    /// A session began.
    Session(Session),
    /// A session is over.
    Closed(Closed),
    /// A peer could not be reached.
    DialFailed(DialFailed),
    /// A node was found on the local network, at these addresses; it is dialed.
    Nearby(Vec<Multiaddr>),
    /// Whether peers are looked for on the local network is another matter now. At first they are not.
    Lan(Lan),
    /// The DHT named a node that has a drive, at these addresses; it is dialed.
    Found(Vec<Multiaddr>),
}

/// Handle on a running swarm. The swarm ends when the last handle is gone.
#[derive(Clone, Debug)]
pub struct Swarm {
    local: PeerId,
    /// Where others get in, as the user says.
    named: Vec<Multiaddr>,
    /// How many addresses were asked for that will be listened on at once. Each may stand for one of every interface.
    listeners: usize,
    commands: mpsc::Sender<Command>,
    listening: watch::Receiver<Vec<(ListenerId, Multiaddr)>>,
    outside: watch::Receiver<Outside>,
}

impl Swarm {
    /// Connects to the peer at these addresses, unless it is connected. Ends in a session or a [`DialFailed`].
    pub async fn dial(&self, addresses: Vec<Multiaddr>) {
        self.send(Command::Dial { channel: Channel::Given, addresses, keep: false }).await;
    }

    /// Connects to the peer at these addresses, and again whenever it is lost, until [`Swarm::forget`].
    pub async fn keep(&self, channel: Channel, addresses: Vec<Multiaddr>) {
        self.send(Command::Dial { channel, addresses, keep: true }).await;
    }

    /// Ends dialing a peer. What is connected stays so.
    pub async fn forget(&self, peer: PeerId) {
        self.send(Command::Forget(peer)).await;
    }

    /// Ends dialing an address for one channel. What is connected stays so.
    pub async fn forget_at(&self, channel: Channel, address: Multiaddr) {
        self.send(Command::ForgetAt { channel, address }).await;
    }

    /// Keeps a place for a peer with whom there is, or was, a drive in common: strangers cannot take it.
    pub async fn know(&self, peer: PeerId) {
        self.send(Command::Know(peer)).await;
    }

    /// Turns a peer away for a while that broke the protocol; and strangers from where it came, if it came to us, once that happened often.
    pub async fn shun(&self, peer: PeerId, from: Option<Multiaddr>) {
        self.send(Command::Shun { peer, from }).await;
    }

    /// Looks for peers of a drive by the DHT, until [`Swarm::leave`].
    pub async fn find(&self, drive: DriveName) {
        self.send(Command::Find(drive)).await;
    }

    /// Says in the DHT that this node has a drive, until [`Swarm::leave`].
    pub async fn offer(&self, drive: DriveName) {
        self.send(Command::Offer(drive)).await;
    }

    /// Neither looks for peers of a drive by the DHT nor offers it there any more.
    pub async fn leave(&self, drive: DriveName) {
        self.send(Command::Leave(drive)).await;
    }

    /// Closes the connections to a peer with whom there is nothing to do, unless somebody asked for it.
    pub async fn release(&self, peer: PeerId) {
        self.send(Command::Release(peer)).await;
    }

    /// Returns how this node can be reached from elsewhere, and where.
    pub fn outside(&self) -> watch::Receiver<Outside> {
        self.outside.clone()
    }

    /// Closes all connections to a peer. A kept one will be dialed again.
    pub async fn disconnect(&self, peer: PeerId) {
        self.send(Command::Disconnect(peer)).await;
    }

    /// Ends the swarm, and waits until it said goodbye to its peers and no longer listens.
    pub async fn close(&self) {
        self.send(Command::Close).await;
        let mut listening = self.listening.clone();
        while listening.changed().await.is_ok() {}
    }

    /// Returns our own id.
    pub fn local_peer_id(&self) -> PeerId {
        self.local
    }

    /// Returns the addresses we listen on now, those of TCP first: the order in which they are to be tried.
    pub fn listen_addresses(&self) -> Vec<Multiaddr> {
        let listening = self.listening.borrow();
        let mut addresses: Vec<_> = listening.iter().map(|(_, address)| address.clone()).collect();
        addresses.sort_by_key(|address| (!targets::is_tcp(address), nearby::is_ip6(address)));
        addresses
    }

    /// Returns the addresses we listen on now with our id at their end, as processes of this computer can dial them.
    pub fn local_addresses(&self) -> Vec<Multiaddr> {
        let addresses = self.listen_addresses().into_iter();
        addresses.map(|address| address.with(Protocol::P2p(self.local))).collect()
    }

    /// Returns those that are for others, as tickets carry them: loopback, which elsewhere is the reader's own computer, only
    /// if there is nothing else; and where others reach us, be it through a relay, or where the router says that they do.
    pub fn dialable_addresses(&self) -> Vec<Multiaddr> {
        // A ticket has room for some: those first that the user named.
        let mut all = self.named.clone();
        let outside = self.outside.borrow();
        let here = outside::for_others(self.local_addresses());
        for address in here.iter().chain(&outside.addresses).chain(&outside.mapped) {
            if !all.contains(address) {
                all.push(address.clone());
            }
        }
        all
    }

    /// Waits until there is an address for each one that was asked for, but no longer than it takes where there is a network.
    pub async fn listening(&self) {
        let mut listening = self.listening.clone();
        let all = listening.wait_for(|addresses| listeners(addresses) >= self.listeners);
        // An error in it means that the swarm ended, and waiting with it.
        if tokio::time::timeout(limits::LISTENING, all).await.is_err() {
            tracing::info!("no address to listen on yet: there may be no network");
        }
    }

    async fn send(&self, command: Command) {
        if self.commands.send(command).await.is_err() {
            tracing::debug!("the swarm is closed");
        }
    }
}

/// Returns how many of the listeners have an address.
fn listeners(addresses: &[(ListenerId, Multiaddr)]) -> usize {
    let ids: HashSet<ListenerId> = addresses.iter().map(|&(id, _)| id).collect();
    ids.len()
}

/// Returns the addresses on which a node listens by default: TCP and QUIC on one port.
pub fn listen_addresses_for(ip: IpAddr, port: u16) -> Vec<Multiaddr> {
    let tcp = Multiaddr::from(ip).with(Protocol::Tcp(port));
    let quic = Multiaddr::from(ip).with(Protocol::Udp(port)).with(Protocol::QuicV1);
    vec![tcp, quic]
}

/// Returns an address with any free port instead of its own.
pub fn any_port(address: &Multiaddr) -> Multiaddr {
    let free = |part: Protocol<'static>| match part {
        Protocol::Tcp(_) => Protocol::Tcp(0),
        Protocol::Udp(_) => Protocol::Udp(0),
        other => other,
    };
    address.iter().map(|part| free(part.acquire())).collect()
}

/// Starts a swarm: a handle, what happens, and the driver, which the caller spawns.
///
/// Has to be called inside a tokio runtime with I/O and time. Listening begins before it returns.
pub fn start(
    config: SwarmConfig,
) -> Result<(Swarm, mpsc::Receiver<SwarmEvent>, impl Future<Output = ()> + Send), SwarmError> {
    let local = config.identity.public().to_peer_id();
    let (mdns, lan) = nearby::behaviour(&config);
    let mut swarm = transport::build(&config, mdns)?;
    let listeners = transport::listen(&mut swarm, &config.listen)?;
    let (commands, commanded) = mpsc::channel(limits::COMMANDS_QUEUED);
    let (events, happened) = mpsc::channel(limits::EVENTS_QUEUED);
    let (listens, listening) = watch::channel(Vec::new());
    let named = config.external.iter().filter_map(|address| address.clone().with_p2p(local).ok());
    let named: Vec<_> = named.collect();
    let (names, external): (Vec<_>, Vec<_>) =
        config.external.iter().cloned().partition(names::is_named);
    external.iter().for_each(|address| swarm.add_external_address(address.clone()));
    let addresses = external.iter().filter_map(|address| address.clone().with_p2p(local).ok());
    let addresses = addresses.collect();
    let (reached, outside) = watch::channel(Outside { addresses, ..Outside::default() });
    let config = SwarmConfig { external, ..config };
    let driver = Driver {
        swarm,
        commands: commanded,
        events,
        listening: listens,
        targets: targets::Targets::new(local),
        sessions: driver::Sessions::new(&lan),
        nearby: nearby::Nearby::new(lan),
        around: outside::Around::new(reached, &config),
        router: transport::is_mapped(&config).then(router::Asking::start),
        names: names::Names::start(local, names),
    };
    let handle = Swarm { local, named, listeners, commands, listening, outside };
    Ok((handle, happened, driver.run()))
}

impl From<io::Error> for SwarmError {
    fn from(error: io::Error) -> Self {
        Self::Setup { source: error.into() }
    }
}
