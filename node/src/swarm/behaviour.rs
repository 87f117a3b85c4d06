//! The sessions of all peers, as the swarm sees them.
//!
//! Turns the swarm's events into calls of [`Pair`], and its answers into the swarm's actions; counts networks and strangers.
//! Invariant: per peer, sessions begin and end in turn.
//! Elsewhere: the rule (`pairing`), one connection (`handler`), what to dial (`targets`).

use std::collections::{HashMap, HashSet, VecDeque};
use std::task::{Context, Poll};
use std::time::Instant;

use libp2p::core::transport::PortUse;
use libp2p::core::{ConnectedPoint, Endpoint};
use libp2p::swarm::behaviour::ConnectionEstablished;
use libp2p::swarm::{
    CloseConnection, ConnectionClosed, ConnectionDenied, ConnectionId, DialFailure, FromSwarm,
    ListenFailure, NetworkBehaviour, NotifyHandler, Stream, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};

use super::guests::Guests;
use super::handler::{Handler, OpenStream, Told};
use super::limits;
use super::pairing::{Action, Pair, Side};
use super::quic::QuicPlaces;
use super::shunned::Shunned;
use super::strangers::{Refused, Strangers};
use super::subnets::Subnets;

/// What the driver hears of the sessions.
#[derive(Debug)]
pub(super) enum Event {
    /// A session begins.
    Begin { peer: PeerId, connection: ConnectionId, stream: Stream },
    /// It is over.
    End { peer: PeerId },
    /// We are connected to a peer that gives us no stream.
    OpenFailed { peer: PeerId, reason: String },
    /// A peer opened a second stream on a connection.
    SecondStream { peer: PeerId, connection: ConnectionId },
}

/// The behaviour that gives each peer its one session.
#[derive(Debug)]
pub(super) struct Behaviour {
    local: PeerId,
    peers: HashMap<PeerId, Pair<ConnectionId, Stream>>,
    subnets: Subnets,
    guests: Guests,
    quic: QuicPlaces,
    strangers: Strangers,
    /// Who broke the protocol lately.
    shunned: Shunned<PeerId>,
    /// Connections that are dialed for a session, until they stand or failed.
    asked: HashSet<ConnectionId>,
    /// What the swarm has yet to do. Its length is bound by the connections there are.
    pending: VecDeque<ToSwarm<Event, OpenStream>>,
}

impl Behaviour {
    pub(super) fn new(
        local: PeerId,
        connections_per_subnet: usize,
        guests: Guests,
        quic: QuicPlaces,
    ) -> Self {
        Self {
            local,
            peers: HashMap::new(),
            subnets: Subnets::new(connections_per_subnet),
            guests,
            quic,
            strangers: Strangers::new(),
            shunned: Shunned::new(0),
            asked: HashSet::new(),
            pending: VecDeque::new(),
        }
    }

    /// A peer is known, and was at an address.
    pub(super) fn know(&mut self, peer: PeerId, at: Option<&Multiaddr>) {
        self.guests.know(peer, at);
    }

    /// A peer broke the protocol, which may have come to us from an address.
    pub(super) fn shun(&mut self, now: Instant, peer: PeerId, from: Option<&Multiaddr>) {
        // Whoever is turned away already did nothing new.
        if !self.shunned.contains(now, &peer) {
            self.shunned.insert(now, peer);
            from.into_iter().for_each(|from| self.strangers.shun(now, from));
        }
    }

    /// A connection is about to be dialed for a session. Others dial for what they need.
    pub(super) fn handle_dialing(&mut self, connection: ConnectionId) {
        self.asked.insert(connection);
    }

    /// A connection that was dialed came to nothing.
    pub(super) fn handle_dial_failed(&mut self, connection: ConnectionId) {
        self.asked.remove(&connection);
    }

    /// Returns what we are on a connection; nothing on one through a relay, which is there to find a better one.
    fn side(&mut self, connection: ConnectionId, endpoint: &ConnectedPoint) -> Option<Side> {
        let asked = self.asked.remove(&connection);
        match endpoint {
            _ if endpoint.is_relayed() => None,
            ConnectedPoint::Dialer { role_override: Endpoint::Dialer, .. } if asked => {
                Some(Side::Dialer)
            }
            ConnectedPoint::Dialer { role_override: Endpoint::Dialer, .. } => Some(Side::Aside),
            // Of two that meet half-way one does as if the other had dialed.
            ConnectedPoint::Dialer { role_override: Endpoint::Listener, .. }
            | ConnectedPoint::Listener { .. } => Some(Side::Listener),
        }
    }

    /// Returns whether a peer has, or may get, a session without another dial.
    pub(super) fn is_connected(&self, peer: &PeerId) -> bool {
        self.peers.get(peer).is_some_and(Pair::is_connected)
    }

    /// The caller let go of a session.
    pub(super) fn handle_dropped(&mut self, peer: PeerId, connection: ConnectionId) {
        self.tell(peer, |pair| pair.handle_dropped(connection));
    }

    /// Closes connections that stood without a stream for too long.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        let due: Vec<PeerId> = self
            .peers
            .iter()
            .filter(|(_, pair)| pair.waiting_since().is_some())
            .map(|(&peer, _)| peer)
            .collect();
        for peer in due {
            self.tell(peer, |pair| pair.handle_timeout(now, limits::WITHOUT_STREAM));
        }
    }

    /// Returns when the next connection has stood without a stream for too long.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let since = self.peers.values().filter_map(Pair::waiting_since).min()?;
        Some(since + limits::WITHOUT_STREAM)
    }

    /// Tells a peer's pair something, and queues what follows from it.
    fn tell(
        &mut self,
        peer: PeerId,
        tell: impl FnOnce(&mut Pair<ConnectionId, Stream>) -> Vec<Action<ConnectionId, Stream>>,
    ) {
        let smaller = self.local < peer;
        let pair = self.peers.entry(peer).or_insert_with(|| Pair::new(smaller));
        let actions = tell(pair);
        if pair.is_empty() {
            self.peers.remove(&peer);
        }
        self.pending.extend(actions.into_iter().map(|action| match action {
            Action::Open(id) => ToSwarm::NotifyHandler {
                peer_id: peer,
                handler: NotifyHandler::One(id),
                event: OpenStream,
            },
            Action::Close(id) => {
                ToSwarm::CloseConnection { peer_id: peer, connection: CloseConnection::One(id) }
            }
            Action::Begin(connection, stream) => {
                ToSwarm::GenerateEvent(Event::Begin { peer, connection, stream })
            }
            Action::End(_) => ToSwarm::GenerateEvent(Event::End { peer }),
        }));
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Event;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        _: &Multiaddr,
        from: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.subnets.insert(id, from).map_err(ConnectionDenied::new)?;
        // What is refused here is heard of again as a failure, which takes it out of the count above.
        self.guests.handle_pending(id, from).map_err(ConnectionDenied::new)?;
        if self.guests.is_known_at(from) {
            return Ok(());
        }
        self.strangers.handle_pending(Instant::now(), from).map_err(ConnectionDenied::new)
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        from: &Multiaddr,
    ) -> Result<Handler, ConnectionDenied> {
        if self.shunned.contains(Instant::now(), &peer) {
            return Err(ConnectionDenied::new(Refused::Shunned));
        }
        self.guests.handle_established(id, peer).map_err(ConnectionDenied::new)?;
        self.quic.insert(id, from, true).map_err(ConnectionDenied::new)?;
        Ok(Handler::default())
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        _: PeerId,
        at: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<Handler, ConnectionDenied> {
        self.quic.insert(id, at, false).map_err(ConnectionDenied::new)?;
        Ok(Handler::default())
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            }) => {
                let Some(side) = self.side(connection_id, endpoint) else { return };
                let now = Instant::now();
                self.tell(peer_id, |pair| pair.handle_established(now, connection_id, side));
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { peer_id, connection_id, .. }) => {
                self.subnets.remove(connection_id);
                self.guests.remove(connection_id);
                self.quic.remove(connection_id);
                self.tell(peer_id, |pair| pair.handle_closed(connection_id));
            }
            FromSwarm::ListenFailure(ListenFailure { connection_id, .. }) => {
                self.subnets.remove(connection_id);
                self.guests.remove(connection_id);
                self.quic.remove(connection_id);
            }
            FromSwarm::DialFailure(DialFailure { connection_id, .. }) => {
                self.quic.remove(connection_id);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, id: ConnectionId, told: Told) {
        match told {
            Told::Opened(stream) => self.tell(peer, |pair| pair.handle_opened(id, stream)),
            Told::Accepted(stream) => self.tell(peer, |pair| pair.handle_accepted(id, stream)),
            Told::SecondStream => {
                let event = Event::SecondStream { peer, connection: id };
                self.pending.push_back(ToSwarm::GenerateEvent(event));
            }
            Told::OpenFailed(reason) => {
                let failed = Event::OpenFailed { peer, reason };
                self.pending.push_back(ToSwarm::GenerateEvent(failed));
                self.tell(peer, |pair| pair.handle_open_failed(id));
            }
        }
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Event, OpenStream>> {
        // What fills the queue is called by the swarm before it polls, or by the driver, which then polls it.
        self.pending.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}
