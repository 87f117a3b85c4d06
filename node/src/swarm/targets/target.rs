//! One target: how far it is, what it tries next, and how long it waits.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};

use super::addresses::tries;
use crate::swarm::channel::Channel;
use crate::swarm::{chance, limits};

/// A peer that somebody wants to be connected to.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) channel: Channel,
    /// Who has to answer; none if anybody may.
    pub(super) peer: Option<PeerId>,
    pub(super) addresses: Vec<Multiaddr>,
    pub(super) keep: bool,
    pub(super) failures: u32,
    pub(super) phase: Phase,
}

#[derive(Debug)]
pub(super) enum Phase {
    Waiting {
        until: Instant,
    },
    Dialing {
        /// What is left to try.
        tries: VecDeque<Vec<Multiaddr>>,
        attempts: Vec<Attempt>,
        /// When the next try begins although attempts are still under way.
        next_at: Instant,
        reasons: Vec<String>,
        /// Where somebody else answered, this time.
        wrong: Vec<Multiaddr>,
    },
    Connected {
        peer: PeerId,
        since: Instant,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    Dialing(ConnectionId),
    /// Connected; the session is still to come.
    Established(PeerId),
}

impl Target {
    /// Returns when this target needs its next dial, if it needs one.
    pub(super) fn due(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Waiting { until } => Some(*until),
            Phase::Connected { .. } => None,
            Phase::Dialing { tries, attempts, next_at, .. } => {
                let reached = attempts.iter().any(|one| matches!(one, Attempt::Established(_)));
                (!tries.is_empty() && !reached).then_some(*next_at)
            }
        }
    }

    pub(super) fn next_try(&mut self, now: Instant) -> Option<Vec<Multiaddr>> {
        if matches!(self.phase, Phase::Waiting { .. }) {
            self.phase = Phase::Dialing {
                tries: tries(self.peer, &self.addresses),
                attempts: Vec::new(),
                next_at: now,
                reasons: Vec::new(),
                wrong: Vec::new(),
            };
        }
        let Phase::Dialing { tries, next_at, .. } = &mut self.phase else { return None };
        *next_at = now + limits::NEXT_ADDRESSES_AFTER;
        tries.pop_front()
    }

    /// Returns the pause before the next dial: doubling, and by who dials whom a quarter more or less, so that a crowd that lost one
    /// peer does not come back as a crowd.
    pub(super) fn pause(&self, local: PeerId) -> Duration {
        let doublings = self.failures.saturating_sub(1).min(16);
        let doubled = limits::REDIAL_FIRST.saturating_mul(1 << doublings);
        let pause = doubled.min(self.channel.redial_max());
        let whom = self.peer.map(PeerId::to_bytes).unwrap_or_default();
        chance::about(pause, &[&local.to_bytes(), &whom, &self.failures.to_le_bytes()])
    }
}
