//! Connects a hub to peers: over libp2p, and to processes of the same user over their control sockets.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use datnode_feed::PublicKey;
use datnode_proto::Binding;
use libp2p::Multiaddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tracing::{debug, info, warn};

use super::hub::{About, Hub};
use super::session::Ended;
use crate::control::{self, Answers};
use crate::dirs::make_private;
use crate::error::Error;
use crate::keys::random;
use crate::remembered::Remembered;
use crate::runtime;
use crate::swarm::identity::Identity;
use crate::swarm::{
    self, Channel, Outside, Session, Swarm, SwarmConfig, SwarmError, SwarmEvent, limits, peer_of,
};

/// What a peer at a control socket is called.
pub const LOCAL: &str = "this computer";

/// How often the runtime folder is looked at for processes that serve a drive.
const LOOK: Duration = Duration::from_millis(250);
/// What both ends of a control socket send first, before 32 random bytes.
const GREETING: &[u8; 16] = b"datnode-local/1\n";

/// How to take part in the network.
#[derive(Clone, Debug)]
pub struct NetworkOptions {
    /// Where to listen.
    pub listen: Vec<Multiaddr>,
    /// Where others reach this node, as its user knows, if it listens on these ports.
    pub external: Vec<Multiaddr>,
    /// Whether these ports and no others will do.
    pub ports_fixed: bool,
    /// Peers to connect to.
    pub peers: Vec<Multiaddr>,
    /// Whether to look for peers on the local network, and to be found there.
    pub lan: bool,
    /// Whether to find peers, and to be found, by the DHT.
    pub dht: bool,
    /// Nodes that lead into it.
    pub bootstrap: Vec<Multiaddr>,
    /// Nodes that lead into the public IPFS DHT; without any it is not asked.
    pub ipfs: Vec<Multiaddr>,
    /// Whether everybody reaches this node, which then serves others.
    pub public: bool,
    /// Whether to tell peers of a drive of each other, and to dial whom they name.
    pub exchange: bool,
    /// Whether to be reached through relays.
    pub relays: bool,
    /// Whether to ask the router for a way in.
    pub upnp: bool,
    /// Where the node's key is kept.
    pub data: PathBuf,
    /// Where processes of this user find each other.
    pub run: PathBuf,
}

/// A hub's connections. Everything ends with the runtime that it was started in.
#[derive(Debug)]
pub struct Network {
    /// The swarm; none offline.
    swarm: Option<Swarm>,
    /// Keeps the node's key ours.
    _identity: Option<Identity>,
    /// The port that somebody else had, if another one is listened on.
    taken: Option<u16>,
    /// Whether there is a DHT to enter.
    dht: bool,
    /// The nodes that lead into it: those of the user, and those that were named with a drive.
    bootstrap: Vec<Multiaddr>,
    named: BTreeMap<PublicKey, Vec<Multiaddr>>,
    /// Looks for peers, until the network is dropped.
    looking: JoinSet<()>,
    /// The drives that processes of this user are looked for that serve them.
    local: watch::Sender<BTreeSet<PublicKey>>,
    /// Where good peers are noted, of each drive.
    good: BTreeMap<PublicKey, Remembering>,
    /// Fetches from origins, of each drive.
    attending: Vec<(PublicKey, String, AbortHandle)>,
}

/// Where peers of a drive are noted, until it is dropped.
#[derive(Debug)]
struct Remembering {
    good: Good,
    task: AbortHandle,
}

impl Network {
    /// Starts listening and dialing.
    ///
    /// # Errors
    /// E-PORT when an address cannot be listened on, E-IO when there is no node key.
    pub async fn start(hub: &Hub, options: &NetworkOptions) -> Result<Self, Error> {
        let identity = Identity::open(&options.data)
            .map_err(|error| Error::new(crate::error::Code::Io, error.to_string()))?;
        let config = |listen, external| SwarmConfig {
            external,
            lan: options.lan,
            dht: options.dht,
            ipfs: options.ipfs.clone(),
            public: options.public,
            relays: options.relays,
            upnp: options.upnp,
            ..sized(options.public, SwarmConfig::new(identity.keypair().clone(), listen))
        };
        let mut taken = None;
        let (swarm, mut events, driver) =
            swarm::start(config(options.listen.clone(), options.external.clone()))
                .or_else(|error| match error {
                    // Somebody has the port: any free one serves as well, and is told in tickets.
                    SwarmError::PortTaken { port } if !options.ports_fixed => {
                        taken = Some(port);
                        let listen = options.listen.iter().map(swarm::any_port).collect();
                        // What leads to the other port leads to somebody else.
                        swarm::start(config(listen, Vec::new()))
                    }
                    other => Err(other),
                })
                .map_err(|error| Error::port(&error))?;
        tokio::spawn(driver);
        let (sought, hub, ours) = (hub, hub.clone(), swarm.clone());
        let is_asked = options.dht || !options.ipfs.is_empty();
        sought.lock().sought.outside = is_asked.then(Outside::default);
        tokio::spawn(note_outside(hub.clone(), swarm.outside()));
        tokio::spawn(release_idle(hub.clone(), swarm.clone()));
        tokio::spawn(know_good_ones(hub.clone(), swarm.clone()));
        if options.exchange {
            tokio::spawn(dial_named(hub.exchange_contacts(), swarm.clone()));
        }
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                match event {
                    SwarmEvent::Session(session) => {
                        hub.lock().sought.reached(session.peer, &session.address);
                        tokio::spawn(serve(hub.clone(), ours.clone(), session));
                    }
                    SwarmEvent::Reached { peer, address } => hub.handle_reached(peer, &address),
                    SwarmEvent::DialFailed(failed) => {
                        info!(reason = %failed.reason, "cannot reach a peer");
                        let sought = &mut hub.lock().sought;
                        sought.failed(failed.channel, &failed.addresses, &failed.reason);
                    }
                    SwarmEvent::Found(addresses) => {
                        let sought = &mut hub.lock().sought;
                        addresses.iter().for_each(|address| sought.seek(Channel::Dht, address));
                    }
                    SwarmEvent::Nearby(addresses) => {
                        let sought = &mut hub.lock().sought;
                        addresses.iter().for_each(|address| sought.seek(Channel::Lan, address));
                    }
                    SwarmEvent::Lan(lan) => hub.lock().sought.lan = lan,
                    other => debug!(?other, "network"),
                }
            }
        });
        let network = Self {
            swarm: Some(swarm.clone()),
            _identity: Some(identity),
            taken,
            dht: options.dht,
            bootstrap: options.bootstrap.clone(),
            ..Self::offline()
        };
        network.seek(sought, &options.peers).await;
        swarm.listening().await;
        // Not before: they are dialed from the port that is listened on, so that our router keeps it open, and they see what becomes of it.
        network.enter_by(sought, &network.bootstrap).await;
        Ok(network)
    }

    /// Returns a network that opens no socket but those between processes of this user.
    pub fn offline() -> Self {
        let (local, good) = (watch::Sender::new(BTreeSet::new()), BTreeMap::new());
        let (looking, attending) = (JoinSet::new(), Vec::new());
        Self {
            swarm: None,
            _identity: None,
            taken: None,
            dht: false,
            bootstrap: Vec::new(),
            named: BTreeMap::new(),
            looking,
            local,
            good,
            attending,
        }
    }

    /// Returns the port that somebody else had, if another one is listened on.
    pub fn taken(&self) -> Option<u16> {
        self.taken
    }

    /// Returns the addresses that processes of this computer can dial; none offline.
    pub fn local_addresses(&self) -> Vec<Multiaddr> {
        self.swarm.as_ref().map(Swarm::local_addresses).unwrap_or_default()
    }

    /// Returns the addresses that others can dial; none offline.
    pub fn addresses(&self) -> Vec<Multiaddr> {
        self.swarm.as_ref().map(Swarm::dialable_addresses).unwrap_or_default()
    }

    /// Says goodbye to the peers; afterwards nothing is listened on.
    pub async fn close(&self) {
        for Remembering { good, .. } in self.good.values() {
            good.note(&good.now());
        }
        if let Some(swarm) = &self.swarm {
            swarm.close().await;
        }
    }

    /// Dials the peers that are remembered of a drive, and remembers those with whom it is open, until this is dropped.
    ///
    /// Offline nobody is dialed, so there is nothing to remember.
    pub fn remember(&mut self, hub: &Hub, state: &Path, drive: &PublicKey) {
        let Some(swarm) = self.swarm.clone() else { return };
        let (hub_of_it, drive) = (hub.clone(), *drive);
        let good = Good { hub: hub_of_it, drive, remembered: Remembered::of(state, &drive) };
        let noted_by = good.clone();
        let known = good.remembered.addresses(SystemTime::now());
        let mut good_ones = hub.good_ones();
        let sought = &mut hub.lock().sought;
        sought.remembers = true;
        known.iter().for_each(|address| sought.seek(Channel::Remembered, address));
        let task = self.looking.spawn(async move {
            swarm.keep(Channel::Remembered, known).await;
            let mut noted = BTreeSet::new();
            // An error means that the hub is gone.
            while good_ones.changed().await.is_ok() {
                let now = good.now();
                if now.iter().any(|address| !noted.contains(address)) {
                    good.note(&now);
                    noted = now.into_iter().collect();
                }
            }
        });
        self.good.insert(drive, Remembering { good: noted_by, task });
    }

    /// Connects to the peers at these addresses, and again whenever they are lost, as to those that somebody gave.
    pub async fn seek(&self, hub: &Hub, peers: &[Multiaddr]) {
        let Some(swarm) = &self.swarm else { return };
        peers.iter().for_each(|peer| hub.lock().sought.seek(Channel::Given, peer));
        // Addresses that name a peer are tried in the best order; one that names none may be anybody's.
        let (named, unnamed): (Vec<_>, Vec<_>) =
            peers.iter().cloned().partition(|peer| peer_of(peer).is_some());
        for peers in unnamed.into_iter().map(|peer| vec![peer]).chain([named]) {
            swarm.keep(Channel::Given, peers).await;
        }
    }

    /// Connects to nodes that lead into the DHT and were named with a drive, and again whenever they are lost, until the network
    /// forgets the drive; to none if the DHT is not asked.
    pub async fn enter(&mut self, hub: &Hub, drive: &PublicKey, nodes: &[Multiaddr]) {
        self.enter_by(hub, nodes).await;
        self.named.entry(*drive).or_default().extend_from_slice(nodes);
    }

    async fn enter_by(&self, hub: &Hub, nodes: &[Multiaddr]) {
        let Some(swarm) = self.swarm.as_ref().filter(|_| self.dht) else { return };
        for node in nodes {
            hub.lock().sought.seek(Channel::Bootstrap, node);
            swarm.keep(Channel::Bootstrap, vec![node.clone()]).await;
        }
    }

    /// Looks for peers of a drive by the DHT, until the network forgets it.
    pub async fn find(&self, drive: &PublicKey) {
        if let Some(swarm) = &self.swarm {
            swarm.find(drive.discovery().0).await;
        }
    }

    /// Says by the DHT that this node has a drive, until the network forgets it.
    pub async fn offer(&self, drive: &PublicKey) {
        if let Some(swarm) = &self.swarm {
            swarm.offer(drive.discovery().0).await;
        }
    }

    /// Returns how this node can be reached from elsewhere, as it changes; none offline.
    pub fn outside(&self) -> Option<watch::Receiver<Outside>> {
        self.swarm.as_ref().map(Swarm::outside)
    }

    /// Looks no longer for peers of a drive; those that are connected stay.
    pub async fn forget(&mut self, drive: &PublicKey) {
        let nodes = self.named.remove(drive).unwrap_or_default();
        if let Some(swarm) = &self.swarm {
            swarm.leave(drive.discovery().0).await;
            let others = || self.bootstrap.iter().chain(self.named.values().flatten());
            for node in nodes.into_iter().filter(|node| others().all(|other| other != node)) {
                swarm.forget_at(Channel::Bootstrap, node).await;
            }
        }
        self.local.send_if_modified(|drives| drives.remove(drive));
        if let Some(Remembering { good, task }) = self.good.remove(drive) {
            task.abort();
            good.note(&good.now());
        }
        self.attending.retain(|(of, _, task)| {
            let stays = of != drive;
            if !stays {
                task.abort();
            }
            stays
        });
    }

    /// Runs a task of a drive, until the drive is forgotten or this is dropped.
    pub(super) fn attend_by(
        &mut self,
        drive: PublicKey,
        name: String,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        self.attending.push((drive, name, self.looking.spawn(task)));
    }

    /// Tells whether a drive is fetched from an origin of this name.
    pub(super) fn attends(&self, drive: &PublicKey, name: &str) -> bool {
        self.attending.iter().any(|(of, origin, _)| of == drive && origin == name)
    }

    /// Looks for processes of this user that serve a drive, and connects to them, until this is dropped.
    pub fn find_locally(&mut self, hub: &Hub, run: &Path, drive: PublicKey) {
        let is_first = self.local.receiver_count() == 0;
        self.local.send_if_modified(|drives| drives.insert(drive));
        if !is_first {
            return;
        }
        let (swarm, hub, run) = (self.swarm.clone(), hub.clone(), run.to_owned());
        let drives = self.local.subscribe();
        self.looking.spawn(async move {
            let mut known = Vec::new();
            loop {
                let wanted = drives.borrow().clone();
                for found in runtime::find_any(&run, &wanted) {
                    if !known.contains(&found.pid)
                        && reach(swarm.as_ref(), &hub, &found).await.is_ok()
                    {
                        known.push(found.pid);
                    }
                }
                tokio::time::sleep(LOOK).await;
            }
        });
    }
}

/// Where good peers are noted.
#[derive(Clone)]
struct Good {
    hub: Hub,
    drive: PublicKey,
    remembered: Remembered,
}

impl Good {
    /// Returns where peers of the drive answered that are connected.
    fn now(&self) -> Vec<Multiaddr> {
        self.hub.good_addresses(&self.drive)
    }

    fn note(&self, addresses: &[Multiaddr]) {
        if addresses.is_empty() {
            return;
        }
        if let Err(error) = self.remembered.note(addresses, SystemTime::now()) {
            warn!(error = error.message(), "cannot remember peers");
        }
    }
}

impl std::fmt::Debug for Good {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.remembered.fmt(f)
    }
}

/// Makes room for those whom a node that everybody reaches serves.
fn sized(public: bool, config: SwarmConfig) -> SwarmConfig {
    if !public {
        return config;
    }
    SwarmConfig {
        connections: limits::PUBLIC_CONNECTIONS,
        connections_inbound: limits::PUBLIC_CONNECTIONS_INBOUND,
        connections_known: limits::PUBLIC_CONNECTIONS_KNOWN,
        ..config
    }
}

/// Keeps what is known of how this node is reached.
async fn note_outside(hub: Hub, mut outside: watch::Receiver<Outside>) {
    // An error means that the swarm ended.
    while outside.changed().await.is_ok() {
        let now = outside.borrow_and_update().clone();
        if let Some(known) = &mut hub.lock().sought.outside {
            *known = now;
        }
    }
}

/// Dials whom peers of a drive name, for ever.
async fn dial_named(mut named: mpsc::Receiver<Vec<Multiaddr>>, swarm: Swarm) {
    // An end means that the hub is gone.
    while let Some(addresses) = named.recv().await {
        swarm.keep(Channel::Exchanged, addresses).await;
    }
}

/// Keeps places for those with whom there is a drive in common, for ever.
async fn know_good_ones(hub: Hub, swarm: Swarm) {
    let mut good_ones = hub.good_ones();
    let mut known = BTreeSet::new();
    // An error means that the hub is gone.
    while good_ones.changed().await.is_ok() {
        let peers = hub.peers().into_iter().filter(|peer| peer.status.feeds > 0);
        let now: BTreeSet<String> = peers.map(|peer| peer.about.name).collect();
        for peer in now.difference(&known).filter_map(|name| name.parse().ok()) {
            swarm.know(peer).await;
        }
        known = now;
    }
}

/// Lets go of peers without a drive in common, for ever: nodes of the DHT that were asked, and whom it named for nothing.
async fn release_idle(hub: Hub, swarm: Swarm) {
    let mut idle = BTreeSet::new();
    loop {
        tokio::time::sleep(limits::IDLE_PEER).await;
        let without = hub.peers().into_iter().filter(|peer| peer.status.feeds == 0);
        let now: BTreeSet<String> = without.map(|peer| peer.about.name).collect();
        // Those who were so the last time already.
        for peer in now.intersection(&idle).filter_map(|name| name.parse().ok()) {
            swarm.release(peer).await;
        }
        idle = now;
    }
}

/// Connects to a process on this computer; by its control socket when one of both is offline.
async fn reach(swarm: Option<&Swarm>, hub: &Hub, found: &runtime::Announced) -> Result<(), Error> {
    match swarm {
        Some(swarm) if !found.addresses.is_empty() => {
            let local = |address| hub.lock().sought.seek(Channel::Local, address);
            found.addresses.iter().for_each(local);
            swarm.keep(Channel::Local, found.addresses.clone()).await;
            Ok(())
        }
        _ => connect_locally(hub, &found.socket).await,
    }
}

async fn serve(hub: Hub, swarm: Swarm, session: Session) {
    let ours = swarm.local_peer_id().to_bytes();
    let (peer, binding) = (session.peer, Binding { ours, theirs: session.peer.to_bytes() });
    let from = Some(session.address.clone()).filter(|_| !session.outbound);
    let (name, address) = (session.peer.to_string(), session.address.to_string());
    let about = About { name, address, punched: session.punched, is_local: false };
    let (read, write) = tokio::io::split(session.stream);
    let ended = hub.replicate(read, write, binding, about).await;
    debug!(?ended, "session over");
    if matches!(ended, Ended::Fault(_)) {
        swarm.shun(peer, from).await;
    }
}

/// Serves a hub's drives on a control socket, and answers what other processes of this user ask.
///
/// # Errors
/// E-IO when the socket cannot be made.
pub(crate) fn listen_locally(hub: &Hub, socket: &Path, answers: Answers) -> Result<(), Error> {
    if let Some(folder) = socket.parent() {
        make_private(folder).map_err(|error| Error::io("create", folder, &error))?;
    }
    let _ = std::fs::remove_file(socket);
    let listener =
        UnixListener::bind(socket).map_err(|error| Error::io("listen on", socket, &error))?;
    let hub = hub.clone();
    tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // Too many open files, most likely: that passes.
                tokio::time::sleep(LOOK).await;
                continue;
            };
            let (hub, answers) = (hub.clone(), answers.clone());
            tokio::spawn(async move {
                if let Err(error) = accept(&hub, stream, &answers).await {
                    debug!(%error, "local session");
                }
            });
        }
    });
    Ok(())
}

/// Learns what the other process came for, and does it.
async fn accept(hub: &Hub, mut stream: UnixStream, answers: &Answers) -> std::io::Result<()> {
    let mut greeting = [0; GREETING.len()];
    tokio::time::timeout(control::SILENCE, stream.read_exact(&mut greeting)).await??;
    if &greeting == control::GREETING {
        return control::answer(stream, answers).await;
    }
    let ours = begin(&mut stream).await?;
    replicate(hub, stream, &greeting, ours).await
}

/// Connects to the control socket of another process of this user.
///
/// # Errors
/// E-IO when nobody listens there.
pub(crate) async fn connect_locally(hub: &Hub, socket: &Path) -> Result<(), Error> {
    let said = |error| Error::io("connect to", socket, &error);
    let stream = UnixStream::connect(socket).await.map_err(said)?;
    let hub = hub.clone();
    tokio::spawn(async move { local_session(&hub, stream).await });
    Ok(())
}

/// Greets, and sends what stands for our peer id.
async fn begin(stream: &mut UnixStream) -> std::io::Result<Vec<u8>> {
    let ours = random().map_err(|error| std::io::Error::other(error.message().to_owned()))?;
    stream.write_all(GREETING).await?;
    stream.write_all(&*ours).await?;
    Ok(ours.to_vec())
}

/// Greets another process of this user for somebody else, and returns what stands for its end; what stands for the other one is sent
/// next.
///
/// # Errors
/// What the system says of the stream, and a process that does not greet.
pub(crate) async fn meet_locally(stream: &mut UnixStream) -> std::io::Result<[u8; 32]> {
    stream.write_all(GREETING).await?;
    let mut greeting = [0; GREETING.len()];
    stream.read_exact(&mut greeting).await?;
    if &greeting != GREETING {
        return Err(std::io::Error::other("not a datnode of this version"));
    }
    let mut theirs = [0; 32];
    stream.read_exact(&mut theirs).await?;
    Ok(theirs)
}

async fn local_session(hub: &Hub, mut stream: UnixStream) -> std::io::Result<()> {
    let ours = begin(&mut stream).await?;
    let mut greeting = [0; GREETING.len()];
    stream.read_exact(&mut greeting).await?;
    replicate(hub, stream, &greeting, ours).await
}

/// Replicates with a process that greeted; random bytes stand for the peer ids.
async fn replicate(
    hub: &Hub,
    mut stream: UnixStream,
    greeting: &[u8],
    ours: Vec<u8>,
) -> std::io::Result<()> {
    if greeting != GREETING {
        return Err(std::io::Error::other("not a datnode of this version"));
    }
    let mut theirs = [0; 32];
    stream.read_exact(&mut theirs).await?;
    let binding = Binding { ours, theirs: theirs.to_vec() };
    let (name, address) = (LOCAL.into(), "control socket".into());
    let about = About { name, address, punched: false, is_local: true };
    let (read, write) = tokio::io::split(stream);
    hub.replicate(read, write, binding, about).await;
    Ok(())
}
