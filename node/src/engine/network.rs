//! Connects a hub to peers: over libp2p, and to processes of the same user over their control sockets.

use std::path::{Path, PathBuf};
use std::time::Duration;

use datnode_feed::PublicKey;
use datnode_proto::Binding;
use libp2p::Multiaddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tracing::{debug, info};

use super::hub::{About, Hub};
use crate::control::{self, Answers};
use crate::error::Error;
use crate::keys::random;
use crate::runtime;
use crate::swarm::identity::Identity;
use crate::swarm::{self, Session, Swarm, SwarmConfig, SwarmError, SwarmEvent, peer_of};

/// How often the runtime folder is looked at for processes that serve a drive.
const LOOK: Duration = Duration::from_millis(250);
/// What both ends of a control socket send first, before 32 random bytes.
const GREETING: &[u8; 16] = b"datnode-local/1\n";

/// How to take part in the network.
#[derive(Clone, Debug)]
pub struct NetworkOptions {
    /// Where to listen.
    pub listen: Vec<Multiaddr>,
    /// Whether these ports and no others will do.
    pub ports_fixed: bool,
    /// Peers to connect to.
    pub peers: Vec<Multiaddr>,
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
    /// Looks for processes of this user, until the network is dropped.
    looking: JoinSet<()>,
}

impl Network {
    /// Starts listening and dialing.
    ///
    /// # Errors
    /// E-PORT when an address cannot be listened on, E-IO when there is no node key.
    pub async fn start(hub: &Hub, options: &NetworkOptions) -> Result<Self, Error> {
        let identity = Identity::open(&options.data)
            .map_err(|error| Error::new(crate::error::Code::Io, error.to_string()))?;
        let config = SwarmConfig::new(identity.keypair().clone(), options.listen.clone());
        let mut taken = None;
        let (swarm, mut events, driver) = swarm::start(config)
            .or_else(|error| match error {
                // Somebody has the port: any free one serves as well, and is told in tickets.
                SwarmError::PortTaken { port } if !options.ports_fixed => {
                    taken = Some(port);
                    let listen = options.listen.iter().map(swarm::any_port).collect();
                    swarm::start(SwarmConfig::new(identity.keypair().clone(), listen))
                }
                other => Err(other),
            })
            .map_err(|error| Error::port(&error))?;
        tokio::spawn(driver);
        let (sought, hub, local) = (hub, hub.clone(), swarm.local_peer_id());
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                match event {
                    SwarmEvent::Session(session) => {
                        hub.lock().sought.reached(session.peer, &session.address);
                        tokio::spawn(serve(hub.clone(), local, session));
                    }
                    SwarmEvent::DialFailed(failed) => {
                        info!(reason = %failed.reason, "cannot reach a peer");
                        hub.lock().sought.failed(&failed.addresses, &failed.reason);
                    }
                    other => debug!(?other, "network"),
                }
            }
        });
        options.peers.iter().for_each(|peer| sought.lock().sought.seek(peer));
        // Addresses that name a peer are tried in the best order; one that names none may be anybody's.
        let (named, unnamed): (Vec<_>, Vec<_>) =
            options.peers.iter().cloned().partition(|peer| peer_of(peer).is_some());
        for peers in unnamed.into_iter().map(|peer| vec![peer]).chain([named]) {
            swarm.keep(peers).await;
        }
        swarm.listening().await;
        Ok(Self { swarm: Some(swarm), _identity: Some(identity), taken, looking: JoinSet::new() })
    }

    /// Returns a network that opens no socket but those between processes of this user.
    pub fn offline() -> Self {
        Self { swarm: None, _identity: None, taken: None, looking: JoinSet::new() }
    }

    /// Returns the port that somebody else had, if another one is listened on.
    pub fn taken(&self) -> Option<u16> {
        self.taken
    }

    /// Returns the addresses that others can dial; none offline.
    pub fn addresses(&self) -> Vec<Multiaddr> {
        self.swarm.as_ref().map(Swarm::dialable_addresses).unwrap_or_default()
    }

    /// Says goodbye to the peers; afterwards nothing is listened on.
    pub async fn close(&self) {
        if let Some(swarm) = &self.swarm {
            swarm.close().await;
        }
    }

    /// Looks for processes of this user that serve a drive, and connects to them, until this is dropped.
    pub fn find_locally(&mut self, hub: &Hub, run: &Path, drive: PublicKey) {
        let (swarm, hub, run) = (self.swarm.clone(), hub.clone(), run.to_owned());
        self.looking.spawn(async move {
            let mut known = Vec::new();
            loop {
                for found in runtime::find(&run, &drive) {
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

/// Connects to a process on this computer; by its control socket when one of both is offline.
async fn reach(swarm: Option<&Swarm>, hub: &Hub, found: &runtime::Announced) -> Result<(), Error> {
    match swarm {
        Some(swarm) if !found.addresses.is_empty() => {
            found.addresses.iter().for_each(|address| hub.lock().sought.seek(address));
            swarm.keep(found.addresses.clone()).await;
            Ok(())
        }
        _ => connect_locally(hub, &found.socket).await,
    }
}

async fn serve(hub: Hub, local: libp2p::PeerId, session: Session) {
    let binding = Binding { ours: local.to_bytes(), theirs: session.peer.to_bytes() };
    let about = About { name: session.peer.to_string(), address: session.address.to_string() };
    let (read, write) = tokio::io::split(session.stream);
    let ended = hub.replicate(read, write, binding, about).await;
    debug!(?ended, "session over");
}

/// Serves a hub's drives on a control socket, and answers what other processes of this user ask.
///
/// # Errors
/// E-IO when the socket cannot be made.
pub(crate) fn listen_locally(hub: &Hub, socket: &Path, answers: Answers) -> Result<(), Error> {
    let _ = std::fs::remove_file(socket);
    let listener =
        UnixListener::bind(socket).map_err(|error| Error::io("listen on", socket, &error))?;
    let hub = hub.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
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
    stream.read_exact(&mut greeting).await?;
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
    let about = About { name: "this computer".into(), address: "control socket".into() };
    let (read, write) = tokio::io::split(stream);
    hub.replicate(read, write, binding, about).await;
    Ok(())
}
