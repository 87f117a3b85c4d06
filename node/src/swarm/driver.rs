//! The task that owns the swarm: takes commands, drives the network, reports sessions.
//!
//! Invariant: no event is dropped. When the caller falls behind, the swarm waits.
//! Elsewhere: who gets a session (`behaviour`, `pairing`), whom to dial (`targets`).

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::time::Instant;

use futures::StreamExt as _;
use libp2p::core::ConnectedPoint;
use libp2p::core::transport::{ListenerId, PortUse};
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::behaviour::{FromSwarm, NewListenAddr};
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError, NetworkBehaviour as _, SwarmEvent as Libp2pEvent};
use libp2p::{Multiaddr, PeerId, autonat, dcutr, identify, mdns, ping, relay};
use tokio::sync::{mpsc, watch};

use super::channel::{Channel, Lan};
use super::dht::{DriveName, Kad, Purpose, Table};
use super::lookups::Questions;
use super::names::Names;
use super::nearby::{self, Mdns, Nearby};
use super::outside::Around;
use super::places::Places;
use super::router::Asking;
use super::targets::{Contact, Dial, Failure, Targets, peer_of};
use super::{Closed, DialFailed, Session, SessionId, SessionStream, SwarmEvent};
use super::{behaviour, limits, probe, reach, reason};

/// Everything our node speaks.
#[derive(libp2p::swarm::NetworkBehaviour)]
pub(super) struct Protocols {
    /// First, so that what it refuses is not counted by the others.
    pub(super) places: Places,
    pub(super) sessions: behaviour::Behaviour,
    pub(super) identify: identify::Behaviour,
    pub(super) ping: ping::Behaviour,
    /// The library speaks either of both by a behaviour of its own.
    pub(super) mdns: Mdns,
    pub(super) mdns6: Mdns,
    pub(super) kad: Kad,
    pub(super) asking: Questions,
    /// The public table of IPFS.
    pub(super) ipfs: Kad,
    /// Has others try to reach us.
    pub(super) probe: Toggle<probe::Behaviour>,
    /// Tries to reach others who ask for it.
    pub(super) answer: Toggle<autonat::v2::server::Behaviour>,
    /// Has others relay for us.
    pub(super) relayed: relay::client::Behaviour,
    /// Relays for others.
    pub(super) relay: Toggle<relay::Behaviour>,
    /// Finds a direct way for what is relayed.
    pub(super) punch: Toggle<dcutr::Behaviour>,
}

/// What the handle asks of the driver.
#[derive(Debug)]
pub(super) enum Command {
    Dial { channel: Channel, addresses: Vec<Multiaddr>, keep: bool },
    Forget(PeerId),
    ForgetAt { channel: Channel, address: Multiaddr },
    Know(PeerId),
    Shun { peer: PeerId, from: Option<Multiaddr> },
    Find(DriveName),
    Offer(DriveName),
    Leave(DriveName),
    Release(PeerId),
    Disconnect(PeerId),
    Close,
}

/// The state of the task.
pub(super) struct Driver {
    pub(super) swarm: libp2p::Swarm<Protocols>,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) events: mpsc::Sender<SwarmEvent>,
    pub(super) listening: watch::Sender<Vec<(ListenerId, Multiaddr)>>,
    pub(super) targets: Targets,
    pub(super) sessions: Sessions,
    pub(super) nearby: Nearby,
    pub(super) around: Around,
    /// Asks the router for a way in, if it is to be asked.
    pub(super) router: Option<Asking>,
    /// Resolves the names that lead here, if there are some.
    pub(super) names: Option<Names>,
}

/// The sessions there are.
pub(super) struct Sessions {
    next: u64,
    live: HashMap<PeerId, Live>,
    /// By connection: where it leads.
    endpoints: HashMap<ConnectionId, Place>,
    /// Why peers that are still connected gave us no stream.
    refusals: HashMap<PeerId, String>,
    /// What the caller has yet to be told.
    queue: VecDeque<SwarmEvent>,
    drops: mpsc::UnboundedSender<(PeerId, ConnectionId)>,
    dropped: mpsc::UnboundedReceiver<(PeerId, ConnectionId)>,
}

/// A session there is.
struct Live {
    id: SessionId,
    /// Whether we dialed.
    outbound: bool,
}

/// Where a connection leads.
struct Place {
    peer: PeerId,
    address: Multiaddr,
    /// Whether we dialed it.
    outbound: bool,
    /// Whether it was found half-way.
    punched: bool,
    /// Whether we dialed it from the port that we listen on.
    from_port: bool,
    /// Our own address there.
    own: Option<IpAddr>,
}

impl Sessions {
    pub(super) fn new(lan: &Lan) -> Self {
        let (drops, dropped) = mpsc::unbounded_channel();
        Self {
            next: 0,
            live: HashMap::new(),
            endpoints: HashMap::new(),
            refusals: HashMap::new(),
            queue: Some(lan)
                .filter(|lan| **lan != Lan::Off)
                .cloned()
                .map(SwarmEvent::Lan)
                .into_iter()
                .collect(),
            drops,
            dropped,
        }
    }

    fn begin(&mut self, peer: PeerId, connection: ConnectionId, stream: libp2p::Stream) {
        let Some(Place { address, outbound, punched, .. }) = self.endpoints.get(&connection) else {
            return;
        };
        let (address, outbound, punched) = (address.clone(), *outbound, *punched);
        let id = SessionId(self.next);
        self.next += 1;
        self.live.insert(peer, Live { id, outbound });
        let stream = SessionStream::new(stream, peer, connection, self.drops.clone());
        let session = Session { id, peer, address, outbound, punched, stream };
        self.queue.push_back(SwarmEvent::Session(session));
    }

    fn end(&mut self, peer: PeerId) {
        if let Some(Live { id: session, .. }) = self.live.remove(&peer) {
            self.queue.push_back(SwarmEvent::Closed(Closed { session, peer }));
        }
    }

    /// Notes why a peer that is still connected gives us nothing, if that is so.
    pub(super) fn refuse(&mut self, peer: PeerId, reason: &str) {
        if !self.live.contains_key(&peer) {
            self.refusals.insert(peer, reason.to_owned());
        }
    }

    /// Returns where a connection leads, and whether we dialed it.
    pub(super) fn endpoint(&self, id: ConnectionId) -> Option<(Multiaddr, bool)> {
        self.endpoints.get(&id).map(|place| (place.address.clone(), place.outbound))
    }

    /// Tells whether who is at the other end of a connection sees what becomes of the port that we listen on.
    pub(super) fn shows_port(&self, id: ConnectionId) -> bool {
        self.endpoints.get(&id).is_some_and(|place| place.from_port)
    }

    /// Returns where a peer is, as a direct connection shows it.
    pub(super) fn address_of(&self, peer: &PeerId) -> Option<&Multiaddr> {
        let direct = |place: &&Place| place.peer == *peer && !reach::is_relayed(&place.address);
        self.endpoints.values().find(direct).map(|place| &place.address)
    }

    /// Returns the connections that stand on an address of ours.
    pub(super) fn on_own(&self, ip: IpAddr) -> impl Iterator<Item = ConnectionId> {
        self.endpoints.iter().filter(move |(_, place)| place.own == Some(ip)).map(|(&id, _)| id)
    }

    pub(super) fn queue_event(&mut self, event: SwarmEvent) {
        self.queue.push_back(event);
    }

    pub(super) fn report(&mut self, failures: impl IntoIterator<Item = Failure>) {
        self.queue.extend(failures.into_iter().map(|failure| {
            let Failure { channel, peer, addresses, reason, retry_in } = failure;
            SwarmEvent::DialFailed(DialFailed { channel, peer, addresses, reason, retry_in })
        }));
    }
}

impl Driver {
    /// Runs until told to close, or until nobody could tell it any more.
    pub(super) async fn run(mut self) {
        let events = self.events.clone();
        loop {
            self.dial_due();
            self.look_outside();
            let wake = self.poll_timeout();
            let room = self.sessions.queue.len() < limits::EVENTS_QUEUED;
            tokio::select! {
                permit = events.reserve(), if !self.sessions.queue.is_empty() => {
                    let Ok(permit) = permit else { break };
                    if let Some(event) = self.sessions.queue.pop_front() {
                        permit.send(event);
                    }
                }
                command = self.commands.recv() => match command {
                    Some(Command::Close) | None => break,
                    Some(command) => self.handle_command(command),
                },
                Some((peer, connection)) = self.sessions.dropped.recv() => {
                    self.swarm.behaviour_mut().sessions.handle_dropped(peer, connection);
                }
                event = self.swarm.select_next_some(), if room => self.handle_event(event),
                () = told(&mut self.router) => self.handle_router(),
                () = resolved(&mut self.names) => self.handle_names(),
                () = sleep_until(wake) => {
                    self.swarm.behaviour_mut().sessions.handle_timeout(Instant::now());
                }
            }
        }
        self.close().await;
    }

    /// Says goodbye to everybody, so that nobody has to find out by a timeout.
    async fn close(mut self) {
        self.targets.clear();
        // What answers mDNS outlives the swarm: it must have no address to tell any more.
        let listeners: HashSet<ListenerId> =
            self.listening.borrow().iter().map(|&(listener, _)| listener).collect();
        let closing = |listener: &ListenerId| self.swarm.remove_listener(*listener);
        let mut closing = listeners.into_iter().filter(closing).count();
        let peers: Vec<PeerId> = self.swarm.connected_peers().copied().collect();
        for peer in peers {
            // An error means that the peer is gone already.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let router = self.router.take();
        let gone = async {
            while closing > 0 || self.swarm.connected_peers().next().is_some() {
                let event = self.swarm.select_next_some().await;
                let closed = matches!(event, Libp2pEvent::ListenerClosed { .. });
                closing = closing.saturating_sub(usize::from(closed));
            }
        };
        let given_back = async {
            if let Some(router) = router {
                router.close().await;
            }
        };
        let both = async { tokio::join!(gone, given_back) };
        if tokio::time::timeout(limits::CLOSING, both).await.is_err() {
            tracing::debug!("some peers, or the router, did not say goodbye in time");
        }
    }

    fn handle_command(&mut self, command: Command) {
        match command {
            Command::Dial { channel, addresses, keep } => {
                // Not those who lead into the DHT, who do not come to us, nor whom strangers named.
                if !matches!(channel, Channel::Bootstrap | Channel::Exchanged) {
                    let sessions = &mut self.swarm.behaviour_mut().sessions;
                    let named = addresses.iter().filter_map(|at| Some((peer_of(at)?, at)));
                    named.for_each(|(peer, at)| sessions.know(peer, Some(at)));
                }
                let failures = self.targets.add(Instant::now(), channel, addresses, keep);
                self.sessions.report(failures);
            }
            Command::Know(peer) => {
                let at = self.sessions.address_of(&peer);
                self.swarm.behaviour_mut().sessions.know(peer, at);
            }
            Command::Shun { peer, from } => {
                self.swarm.behaviour_mut().sessions.shun(Instant::now(), peer, from.as_ref());
            }
            Command::Forget(peer) => self.targets.forget(&peer),
            Command::ForgetAt { channel, address } => self.targets.forget_at(channel, &address),
            Command::Find(drive) => self.seek_by_dht(Purpose::Find, drive),
            Command::Offer(drive) => self.seek_by_dht(Purpose::Offer, drive),
            Command::Leave(drive) => self.leave_dht(drive),
            Command::Release(peer) => self.release(peer),
            Command::Disconnect(peer) => {
                // An error means that there is no connection.
                let _ = self.swarm.disconnect_peer_id(peer);
            }
            Command::Close => {}
        }
    }

    /// Closes what leads to a peer that nobody wants.
    fn release(&mut self, peer: PeerId) {
        // Who dialed us knows what for.
        let dialed = self.sessions.live.get(&peer).is_some_and(|live| live.outbound);
        if !dialed || self.targets.wants(&peer) || self.around.relays_for_us(&peer) {
            return;
        }
        self.targets.forget_in(Channel::Dht, &peer);
        self.targets.forget_in(Channel::Exchanged, &peer);
        self.targets.rest(Instant::now(), &peer);
        // An error means that there is no connection.
        let _ = self.swarm.disconnect_peer_id(peer);
    }

    fn dial_due(&mut self) {
        let now = Instant::now();
        loop {
            let sessions = &self.swarm.behaviour().sessions;
            let live = &self.sessions.live;
            let contact = |peer: &PeerId| match live.contains_key(peer) {
                true => Contact::Session,
                false if sessions.is_connected(peer) => Contact::Connection,
                false => Contact::None,
            };
            let Some(dial) = self.targets.poll_dial(now, contact) else { return };
            self.dial(now, dial);
        }
    }

    fn dial(&mut self, now: Instant, dial: Dial) {
        let Dial { target, channel, peer, addresses } = dial;
        // From a port of its own: from the listening one, two nodes that dial each other at the same moment
        // would meet in one TCP connection that both believe to have dialed. Who leads us into the DHT does not dial us, and
        // is to see our router's port for the listening one: there others will meet us.
        let own_port = channel != Channel::Bootstrap;
        let options = match (peer, addresses.first()) {
            (Some(peer), _) => {
                let options =
                    DialOpts::peer_id(peer).condition(PeerCondition::Always).addresses(addresses);
                if own_port { options.allocate_new_port().build() } else { options.build() }
            }
            (None, Some(address)) => {
                let options = DialOpts::unknown_peer_id().address(address.clone());
                if own_port { options.allocate_new_port().build() } else { options.build() }
            }
            (None, None) => return,
        };
        let connection = options.connection_id();
        self.targets.handle_dialing(target, connection);
        self.swarm.behaviour_mut().sessions.handle_dialing(connection);
        if let Err(error) = self.swarm.dial(options) {
            self.handle_dial_error(now, connection, &error);
        }
    }

    fn handle_dial_error(&mut self, now: Instant, connection: ConnectionId, error: &DialError) {
        self.swarm.behaviour_mut().sessions.handle_dial_failed(connection);
        // Dialing ourselves: no other time will be better.
        let fatal = matches!(error, DialError::LocalPeerId { .. } | DialError::NoAddresses);
        let reason = reason::of_dial(error);
        let failures = match error {
            DialError::WrongPeerId { address, .. } => {
                self.targets.handle_wrong(now, connection, address, &reason)
            }
            _ => self.targets.handle_failed(now, connection, &reason, fatal),
        };
        self.sessions.report(failures);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let sessions = self.swarm.behaviour().sessions.next_timeout();
        let outside = self.around.poll_timeout(Instant::now());
        [self.targets.poll_timeout(), sessions, outside].into_iter().flatten().min()
    }

    fn handle_event(&mut self, event: Libp2pEvent<ProtocolsEvent>) {
        match event {
            Libp2pEvent::Behaviour(event) => self.handle_protocol(event),
            Libp2pEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                let (address, dialed) =
                    (endpoint.get_remote_address().clone(), endpoint.is_dialer());
                let (asked, relayed) =
                    (self.targets.dials_by(connection_id), endpoint.is_relayed());
                // Of two that meet half-way either may come to the other.
                let punched = !asked && !relayed && self.around.is_relayed_to(&peer_id);
                self.around.handle_established(connection_id, peer_id, &address, relayed, dialed);
                // Where we met half-way nobody is found by dialing.
                if asked {
                    let reached = SwarmEvent::Reached { peer: peer_id, address: address.clone() };
                    self.sessions.queue.push_back(reached);
                }
                let from_port =
                    matches!(endpoint, ConnectedPoint::Dialer { port_use: PortUse::Reuse, .. });
                let own = nearby::own_towards(&address).filter(|_| !relayed);
                let place =
                    Place { peer: peer_id, address, outbound: dialed, punched, from_port, own };
                self.sessions.endpoints.insert(connection_id, place);
                self.targets.handle_established(connection_id, peer_id);
                self.handle_way_back(Instant::now(), &peer_id);
                if self.sessions.live.contains_key(&peer_id) {
                    self.targets.handle_session(Instant::now(), peer_id);
                }
            }
            Libp2pEvent::ConnectionClosed { peer_id, connection_id, num_established, .. } => {
                self.sessions.endpoints.remove(&connection_id);
                self.around.handle_closed(connection_id);
                if num_established == 0 {
                    self.handle_gone(peer_id);
                }
            }
            Libp2pEvent::OutgoingConnectionError { connection_id, peer_id, error } => {
                if let Some(peer) = peer_id {
                    self.handle_unreached(peer, &error);
                }
                self.handle_dial_error(Instant::now(), connection_id, &error);
            }
            // A place at a relay is where others reach us, not where we listen.
            Libp2pEvent::NewListenAddr { address, .. }
            | Libp2pEvent::ExpiredListenAddr { address, .. }
                if reach::is_relayed(&address) => {}
            Libp2pEvent::NewListenAddr { listener_id, address } => {
                self.listening.send_modify(|all| all.push((listener_id, address.clone())));
                self.sessions.queue.push_back(SwarmEvent::Listening(address));
                self.handle_interfaces();
                self.handle_listening();
            }
            Libp2pEvent::ExpiredListenAddr { listener_id, address } => {
                self.handle_silent(&address);
                let expired = (listener_id, address);
                self.listening.send_modify(|all| all.retain(|other| *other != expired));
                self.handle_interfaces();
                self.ask_router();
            }
            Libp2pEvent::ListenerClosed { listener_id, addresses, reason } => {
                self.handle_listener_closed(listener_id);
                tracing::info!(?addresses, ?reason, "no longer listening");
            }
            Libp2pEvent::ExternalAddrConfirmed { address } => self.handle_external(address),
            Libp2pEvent::ExternalAddrExpired { address } => self.handle_external_expired(&address),
            Libp2pEvent::IncomingConnectionError { send_back_addr, error, .. } => {
                tracing::debug!(from = %send_back_addr, %error, "a connection came to nothing");
            }
            _ => {}
        }
    }

    fn handle_gone(&mut self, peer: PeerId) {
        self.handle_relay_gone(&peer);
        self.handle_way_lost(peer);
        let refusal = self.sessions.refusals.remove(&peer);
        let reason = refusal.as_deref().unwrap_or("it closed the connection");
        let failures = self.targets.handle_gone(Instant::now(), peer, reason);
        self.sessions.report(failures);
    }

    fn handle_protocol(&mut self, event: ProtocolsEvent) {
        match event {
            ProtocolsEvent::Sessions(behaviour::Event::Begin { peer, connection, stream }) => {
                self.sessions.begin(peer, connection, stream);
                self.targets.handle_session(Instant::now(), peer);
            }
            ProtocolsEvent::Sessions(behaviour::Event::End { peer }) => self.sessions.end(peer),
            ProtocolsEvent::Sessions(behaviour::Event::OpenFailed { peer, reason }) => {
                self.sessions.refusals.insert(peer, reason);
            }
            ProtocolsEvent::Sessions(behaviour::Event::SecondStream { peer, connection }) => {
                tracing::debug!(%peer, "closing a connection on which a second stream was opened");
                let place = self.sessions.endpoints.get(&connection);
                let from = place.filter(|place| !place.outbound).map(|place| place.address.clone());
                let sessions = &mut self.swarm.behaviour_mut().sessions;
                sessions.shun(Instant::now(), peer, from.as_ref());
                self.swarm.close_connection(connection);
            }
            ProtocolsEvent::Ping(ping::Event { peer, connection, result: Err(error) }) => {
                // Those that do not speak it may stay; silence means that nobody is there.
                if matches!(error, ping::Failure::Timeout) {
                    tracing::debug!(%peer, "closing a connection that answers no ping");
                    self.swarm.close_connection(connection);
                }
            }
            ProtocolsEvent::Identify(identify::Event::Received {
                peer_id,
                connection_id,
                info,
            }) => {
                tracing::debug!(peer = %peer_id, agent = info.agent_version, "identified");
                self.handle_identified(peer_id, connection_id, &info);
            }
            ProtocolsEvent::Asking(event) => self.handle_answered(event),
            ProtocolsEvent::Kad(event) => self.handle_table(Table::Own, event),
            ProtocolsEvent::Ipfs(event) => self.handle_table(Table::Ipfs, event),
            ProtocolsEvent::Probe(event) => self.handle_probed(event),
            ProtocolsEvent::Answer(event) => tracing::debug!(?event, "tried to reach somebody"),
            ProtocolsEvent::Relayed(event) => self.handle_relayed(event),
            ProtocolsEvent::Relay(event) => self.handle_relaying(event),
            ProtocolsEvent::Punch(event) => self.handle_punched(event),
            ProtocolsEvent::Mdns(mdns::Event::Discovered(found))
            | ProtocolsEvent::Mdns6(mdns::Event::Discovered(found)) => {
                let Protocols { mdns, mdns6, .. } = self.swarm.behaviour();
                let known = [mdns, mdns6].into_iter().filter_map(|mdns| mdns.as_ref());
                let known: usize = known.map(|mdns| mdns.discovered_nodes().len()).sum();
                if known > limits::LAN_RECORDS {
                    self.hear_anew();
                }
                self.handle_discovered(found);
            }
            ProtocolsEvent::Mdns(mdns::Event::Expired(expired))
            | ProtocolsEvent::Mdns6(mdns::Event::Expired(expired)) => {
                let gone = self.nearby.handle_expired(expired);
                gone.iter().for_each(|peer| self.targets.forget_in(Channel::Lan, peer));
            }
            ProtocolsEvent::Ping(_) | ProtocolsEvent::Identify(_) => {}
        }
    }

    /// Says whether mDNS can be spoken where we listen now.
    fn handle_interfaces(&mut self) {
        if !self.swarm.behaviour().mdns.is_enabled() {
            return;
        }
        let listening = self.listening.borrow();
        if self.nearby.handle_listening(listening.iter().map(|(_, at)| at), nearby::probe) {
            let lan = self.nearby.lan().clone();
            tracing::info!(?lan, "the local network");
            self.sessions.queue.push_back(SwarmEvent::Lan(lan));
        }
    }

    fn handle_discovered(&mut self, found: Vec<(PeerId, Multiaddr)>) {
        for addresses in self.nearby.handle_discovered(found).into_values() {
            self.sessions.queue.push_back(SwarmEvent::Nearby(addresses.clone()));
            let failures = self.targets.add(Instant::now(), Channel::Lan, addresses, true);
            self.sessions.report(failures);
        }
    }

    /// Forgets whom mDNS told of: somebody floods the network with names, and the library keeps all of them.
    fn hear_anew(&mut self) {
        tracing::warn!("too many nodes on the local network: they are looked for anew");
        for peer in self.nearby.clear() {
            self.targets.forget_in(Channel::Lan, &peer);
        }
        let mut fresh = nearby::mdns(*self.swarm.local_peer_id()).inspect_err(|error| {
            let lan = Lan::Cannot(format!("cannot watch the network interfaces: {error}"));
            self.sessions.queue.push_back(SwarmEvent::Lan(lan));
        });
        for mdns in fresh.iter_mut().flatten() {
            for (listener_id, addr) in &*self.listening.borrow() {
                let at = NewListenAddr { listener_id: *listener_id, addr };
                mdns.on_swarm_event(FromSwarm::NewListenAddr(at));
            }
        }
        let both = fresh.map_or_else(|_| [None.into(), None.into()], |both| both.map(nearby::on));
        let protocols = self.swarm.behaviour_mut();
        [protocols.mdns, protocols.mdns6] = both;
    }
}

async fn told(router: &mut Option<Asking>) {
    match router {
        Some(router) => router.changed().await,
        None => std::future::pending().await,
    }
}

async fn resolved(names: &mut Option<Names>) {
    match names {
        Some(names) => names.changed().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
