//! One connection's part in the sessions: opens a stream when told to, hands over those that come in.
//!
//! Invariant: a stream waits here until the behaviour takes it; none is dropped for want of room.
//! Elsewhere: which connection gets a stream at all (`pairing`).

use std::collections::VecDeque;
use std::task::{Context, Poll};

use libp2p::StreamProtocol;
use libp2p::core::upgrade::ReadyUpgrade;
use libp2p::swarm::handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedOutbound};
use libp2p::swarm::handler::{FullyNegotiatedInbound, StreamUpgradeError};
use libp2p::swarm::{ConnectionHandler, ConnectionHandlerEvent, Stream, SubstreamProtocol};

use super::{PROTOCOL, limits};

type Upgrade = ReadyUpgrade<StreamProtocol>;

/// What the behaviour asks of a connection.
#[derive(Debug)]
pub(super) struct OpenStream;

/// What a connection tells the behaviour.
#[derive(Debug)]
pub(super) enum Told {
    /// The stream we asked for.
    Opened(Stream),
    /// It cannot be had.
    OpenFailed(String),
    /// A stream of theirs.
    Accepted(Stream),
    /// They opened a second one, which nobody does who keeps to the protocol.
    SecondStream,
}

/// One connection's handler.
#[derive(Debug, Default)]
pub(super) struct Handler {
    /// A stream was asked for, and the connection has not been told so yet.
    wanted: bool,
    /// Whether they opened their stream already.
    accepted: bool,
    /// At most one answer to our asking, one stream of theirs, and that they opened a second one.
    told: VecDeque<Told>,
    /// Whether they did: further ones are reset without a word.
    excessive: bool,
}

impl ConnectionHandler for Handler {
    type FromBehaviour = OpenStream;
    type ToBehaviour = Told;
    type InboundProtocol = Upgrade;
    type OutboundProtocol = Upgrade;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Upgrade> {
        SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ()).with_timeout(limits::STREAM_OPENING)
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<Upgrade, (), Told>> {
        if let Some(told) = self.told.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(told));
        }
        if std::mem::take(&mut self.wanted) {
            let protocol = self.listen_protocol();
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        // Nothing to remember a waker for: the connection asks again after each event it brings.
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, OpenStream: OpenStream) {
        self.wanted = true;
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Upgrade, Upgrade>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol, ..
            }) => {
                if !std::mem::replace(&mut self.accepted, true) {
                    self.told.push_back(Told::Accepted(protocol));
                } else if !std::mem::replace(&mut self.excessive, true) {
                    self.told.push_back(Told::SecondStream);
                }
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol, ..
            }) => self.told.push_back(Told::Opened(protocol)),
            ConnectionEvent::DialUpgradeError(DialUpgradeError { error, .. }) => {
                self.told.push_back(Told::OpenFailed(reason(error)));
            }
            _ => {}
        }
    }
}

fn reason(error: StreamUpgradeError<std::convert::Infallible>) -> String {
    match error {
        StreamUpgradeError::Timeout => "it did not answer in time".to_owned(),
        StreamUpgradeError::NegotiationFailed => format!("it does not speak {PROTOCOL}"),
        StreamUpgradeError::Io(error) => error.to_string(),
        StreamUpgradeError::Apply(never) => match never {},
    }
}
