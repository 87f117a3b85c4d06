//! Who becomes a target: peers that somebody names, as far as there is room for them.

use std::time::Instant;

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use super::addresses::by_peer;
use super::target::{Phase, Target};
use super::{Failure, TargetId, Targets};
use crate::swarm::channel::Channel;
use crate::swarm::{limits, nearby};

impl Targets {
    /// Adds the peers these addresses name; with `keep` they are dialed again whenever they are lost.
    /// Returns those for whom there is no room.
    pub(in crate::swarm) fn add(
        &mut self,
        now: Instant,
        channel: Channel,
        addresses: Vec<Multiaddr>,
        keep: bool,
    ) -> Vec<Failure> {
        let groups = by_peer(addresses).into_iter();
        groups.filter_map(|(peer, group)| self.add_one(now, channel, peer, group, keep)).collect()
    }

    fn add_one(
        &mut self,
        now: Instant,
        channel: Channel,
        peer: Option<PeerId>,
        mut addresses: Vec<Multiaddr>,
        keep: bool,
    ) -> Option<Failure> {
        addresses.truncate(limits::ADDRESSES_PER_TARGET);
        let same = |target: &&mut Target| {
            (target.channel, target.peer) == (channel, peer)
                && (peer.is_some() || target.addresses == addresses)
        };
        if let Some(target) = self.targets.values_mut().find(same) {
            target.keep |= keep;
            // The newest addresses are the likeliest to be right.
            let old = std::mem::replace(&mut target.addresses, addresses);
            // On the local network a peer's addresses are told together, and the old ones are out of date.
            let old = if channel == Channel::Lan { Vec::new() } else { old };
            for address in old {
                if !target.addresses.contains(&address) {
                    target.addresses.push(address);
                }
            }
            target.addresses.truncate(limits::ADDRESSES_PER_TARGET);
            // What anybody may say as often as they like must not have us dial as often.
            let at_once = if channel.share().is_some() { now + limits::REDIAL_FIRST } else { now };
            if let Phase::Waiting { until } = &mut target.phase {
                *until = at_once.min(*until);
            }
            return None;
        }
        let of_channel = self.targets.values().filter(|target| target.channel == channel).count();
        if channel.peers_max().is_some_and(|most| of_channel >= most) {
            tracing::debug!(?peer, ?channel, "more are named than are dialed");
            return None;
        }
        if channel == Channel::Exchanged && self.is_crowded(&addresses) {
            return None;
        }
        if self.targets.len() >= limits::TARGETS {
            let reason = format!("{} peers are dialed already", limits::TARGETS);
            return Some(Failure { channel, peer, addresses, reason, retry_in: None });
        }
        let phase = Phase::Waiting { until: now };
        let target = Target { channel, peer, addresses, keep, failures: 0, phase };
        self.targets.insert(TargetId(self.next), target);
        self.next += 1;
        None
    }

    /// Tells whether peers named as many as may be at an IP that one of these addresses has.
    fn is_crowded(&self, addresses: &[Multiaddr]) -> bool {
        let ip = |address: &Multiaddr| address.iter().next().map(Protocol::acquire);
        let exchanged = |target: &&Target| target.channel == Channel::Exchanged;
        let known = || self.targets.values().filter(exchanged);
        addresses.iter().filter(|address| !nearby::is_loopback(address)).any(|address| {
            let there = |target: &&Target| target.addresses.iter().any(|at| ip(at) == ip(address));
            known().filter(there).count() >= limits::EXCHANGE_PER_IP
        })
    }
}
