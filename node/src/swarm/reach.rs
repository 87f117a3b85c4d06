//! How this node can be reached from elsewhere: by itself, through relays, or not at all.
//!
//! Told what others confirmed and who relays, asked for the next relay to take a place at. A node that cannot be reached takes places
//! at a few relays, so that others can ask it to meet them half-way; nothing but that goes through a relay.
//! Invariant: no more than [`limits::RELAYS`] places are taken or asked for, and none while the node is reached by itself.
//! Elsewhere: trying out addresses (`probe`), meeting half-way (libp2p's DCUtR), the router (libp2p's UPnP).

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

pub(super) use datnode_proto::Scope;
use libp2p::core::transport::ListenerId;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use super::{chance, limits};

/// How this node can be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// From the local network, as far as is known: nobody elsewhere was met who could tell.
    #[default]
    Lan,
    /// That is being found out.
    Checking,
    /// Not from outside; it can reach others.
    Outgoing,
    /// By meeting half-way, arranged through a relay.
    Punching,
    /// From everywhere.
    Reachable,
}

/// Returns how far an address is understood; a name, which only the system can resolve, counts as one for the world.
pub(crate) fn scope(address: &Multiaddr) -> Scope {
    let near = |is_loopback, is_near| match (is_loopback, is_near) {
        (true, _) => Scope::Computer,
        (_, true) => Scope::Network,
        _ => Scope::World,
    };
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => near(ip.is_loopback(), ip.is_private() || ip.is_link_local()),
        Some(Protocol::Ip6(ip)) => {
            near(ip.is_loopback(), ip.is_unique_local() || ip.is_unicast_link_local())
        }
        _ => Scope::World,
    }
}

/// Tells whether an address leads through a relay.
pub(crate) fn is_relayed(address: &Multiaddr) -> bool {
    address.iter().any(|part| part == Protocol::P2pCircuit)
}

/// What there is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Take a place at this relay.
    Reserve(PeerId, Multiaddr),
    /// Give this one up.
    Release(ListenerId),
    /// Have our addresses tried again.
    Probe,
}

/// What is known of the ways to this node.
#[derive(Debug)]
pub(super) struct Ways {
    /// This node, as those see it who wait for the same relays.
    local: Vec<u8>,
    /// Where others reached us.
    confirmed: BTreeSet<Multiaddr>,
    relays: BTreeMap<PeerId, Relay>,
    /// Since when somebody in the world was met whom we dialed.
    met: Option<Instant>,
    /// Since when somebody is known who relays.
    relays_since: Option<Instant>,
    /// Whether somebody tried to reach us, and could not.
    failed: bool,
    /// Since when our addresses are tried, the last time.
    probed: Option<Instant>,
}

#[derive(Debug)]
struct Relay {
    address: Multiaddr,
    place: Place,
}

#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// None; it may be asked from then on.
    None(Instant),
    /// Asked for.
    Asked(ListenerId),
    /// Held.
    Held(ListenerId),
}

impl Ways {
    /// Nothing is known yet of the ways to this node.
    pub(super) fn new(local: PeerId) -> Self {
        Self {
            local: local.to_bytes(),
            confirmed: BTreeSet::new(),
            relays: BTreeMap::new(),
            met: None,
            relays_since: None,
            failed: false,
            probed: None,
        }
    }

    /// We reached somebody at an address.
    pub(super) fn handle_reached(&mut self, now: Instant, address: &Multiaddr) {
        if !is_relayed(address) && scope(address) == Scope::World {
            self.met.get_or_insert(now);
            self.probed.get_or_insert(now);
        }
    }

    /// Others reach us at this address.
    pub(super) fn handle_confirmed(&mut self, address: Multiaddr) {
        if !is_relayed(&address) && self.confirmed.len() < limits::CANDIDATES {
            self.confirmed.insert(address);
        }
    }

    /// They do no longer.
    pub(super) fn handle_expired(&mut self, address: &Multiaddr) {
        self.confirmed.remove(address);
    }

    /// Somebody could not reach us.
    pub(super) fn handle_unreachable(&mut self) {
        self.failed = true;
    }

    /// Our addresses are tried again from now on.
    pub(super) fn handle_probing(&mut self, now: Instant) {
        self.probed = Some(now);
    }

    /// A peer that we dialed at this address relays for others.
    pub(super) fn handle_relay(&mut self, now: Instant, peer: PeerId, address: Multiaddr) {
        if self.relays.len() < limits::RELAYS_KNOWN && !is_relayed(&address) {
            self.relays.entry(peer).or_insert(Relay { address, place: Place::None(now) });
            self.relays_since.get_or_insert(now);
        }
    }

    /// A place was asked for; without a listener it cannot be had.
    pub(super) fn handle_asked(
        &mut self,
        now: Instant,
        peer: PeerId,
        listener: Option<ListenerId>,
    ) {
        let later = Place::None(now + self.retry(&peer));
        if let Some(relay) = self.relays.get_mut(&peer) {
            relay.place = listener.map_or(later, Place::Asked);
        }
    }

    /// A relay gave us a place.
    pub(super) fn handle_reserved(&mut self, peer: &PeerId) {
        if let Some(relay) = self.relays.get_mut(peer)
            && let Place::Asked(listener) = relay.place
        {
            relay.place = Place::Held(listener);
        }
    }

    /// A listener is no more.
    pub(super) fn handle_closed(&mut self, now: Instant, listener: ListenerId) {
        // As if the relay had refused.
        let of = |relay: &Relay| relay.place.listener() == Some(listener);
        let lost = self.relays.iter().find(|(_, relay)| of(relay)).map(|(&peer, _)| peer);
        if let Some(peer) = lost {
            self.handle_asked(now, peer, None);
        }
    }

    /// A peer is no longer connected.
    pub(super) fn handle_gone(&mut self, peer: &PeerId) {
        if self.relays.get(peer).is_some_and(|relay| relay.place.listener().is_none()) {
            self.relays.remove(peer);
        }
    }

    /// Tells whether we have a place at a relay, or asked for one.
    pub(super) fn uses(&self, peer: &PeerId) -> bool {
        self.relays.get(peer).is_some_and(|relay| relay.place.listener().is_some())
    }

    /// Returns whether this node is reached by itself from everywhere.
    pub(super) fn is_public(&self) -> bool {
        self.reached() == Some(Scope::World)
    }

    /// Returns how far away those are who reach us.
    fn reached(&self) -> Option<Scope> {
        self.confirmed.iter().map(scope).max()
    }

    /// Returns how this node can be reached.
    pub(super) fn reach(&self, now: Instant) -> Reach {
        let held = self.relays.values().any(|relay| matches!(relay.place, Place::Held(_)));
        match self.met {
            _ if self.is_public() => Reach::Reachable,
            _ if held => Reach::Punching,
            None => Reach::Lan,
            Some(_) if self.failed => Reach::Outgoing,
            Some(since) if now < since + limits::REACH_CHECK => Reach::Checking,
            Some(_) => Reach::Outgoing,
        }
    }

    /// Returns the next thing to do.
    pub(super) fn poll(&self, now: Instant) -> Option<Action> {
        let in_use = || self.relays.values().filter(|relay| relay.place.listener().is_some());
        if let Some(relay) = in_use().find(|relay| !self.is_needed(relay)) {
            return relay.place.listener().map(Action::Release);
        }
        if self.next_probe().is_some_and(|at| at <= now) {
            return Some(Action::Probe);
        }
        if in_use().count() >= limits::RELAYS || self.next_check().is_some_and(|at| now < at) {
            return None;
        }
        let due = self.open().filter(|(due, ..)| *due <= now);
        // Each node has an order of its own, so that not all are at the same few relays.
        due.min_by_key(|(_, peer, _)| self.retry(peer))
            .map(|(_, peer, relay)| Action::Reserve(peer, relay.address.clone()))
    }

    /// Returns when [`Ways::poll`] or [`Ways::reach`] may have something new to say.
    pub(super) fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let check = self.next_check().filter(|&at| at > now);
        let used = self.relays.values().filter(|relay| relay.place.listener().is_some()).count();
        let next = self.open().map(|(due, ..)| due).min().filter(|_| used < limits::RELAYS);
        [check.or(next), self.next_probe()].into_iter().flatten().min()
    }

    /// Returns when our addresses are tried again: not while everybody reaches us.
    fn next_probe(&self) -> Option<Instant> {
        self.probed.filter(|_| !self.is_public()).map(|at| at + self.probe_again())
    }

    /// Returns how long it is waited before addresses are tried again.
    fn probe_again(&self) -> Duration {
        chance::about(limits::PROBE_AGAIN, &[&self.local, b"probe"])
    }

    /// Returns how long it is waited before a relay is asked again.
    fn retry(&self, relay: &PeerId) -> Duration {
        chance::about(limits::RELAY_RETRY, &[&self.local, &relay.to_bytes()])
    }

    /// Returns until when it is waited what others say of us; nothing if somebody said it.
    fn next_check(&self) -> Option<Instant> {
        let since = self.relays_since.or(self.met).filter(|_| !self.failed);
        since.map(|since| since + limits::REACH_CHECK)
    }

    /// Returns the relays that may be asked, and from when.
    fn open(&self) -> impl Iterator<Item = (Instant, PeerId, &Relay)> {
        self.relays.iter().filter_map(|(&peer, relay)| match relay.place {
            Place::None(due) if self.is_needed(relay) => Some((due, peer, relay)),
            _ => None,
        })
    }

    /// Tells whether those who reach a relay do not reach us.
    fn is_needed(&self, relay: &Relay) -> bool {
        self.reached().is_none_or(|reached| reached < scope(&relay.address))
    }
}

impl Place {
    fn listener(&self) -> Option<ListenerId> {
        match self {
            Self::None(_) => None,
            Self::Asked(listener) | Self::Held(listener) => Some(*listener),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    /// The id of a node: pauses follow from it.
    fn node(number: u8) -> PeerId {
        let keypair = libp2p::identity::Keypair::ed25519_from_bytes([number; 32]);
        keypair.unwrap().public().to_peer_id()
    }

    fn relay(number: u8) -> Multiaddr {
        at(&format!("/ip4/203.0.113.{number}/tcp/3282"))
    }

    /// Answers what is to be done until there is nothing more, and returns the places that were asked for.
    fn settle(ways: &mut Ways, now: Instant) -> Vec<(PeerId, ListenerId)> {
        let mut asked = Vec::new();
        while let Some(Action::Reserve(peer, _)) = ways.poll(now) {
            let listener = ListenerId::next();
            ways.handle_asked(now, peer, Some(listener));
            asked.push((peer, listener));
        }
        asked
    }

    #[test]
    fn who_is_not_reached_takes_a_few_places_and_gives_them_up_again() {
        let start = Instant::now();
        let mut ways = Ways::new(node(1));
        assert_eq!(ways.reach(start), Reach::Lan);
        for number in 0..5 {
            ways.handle_reached(start, &relay(number));
            ways.handle_relay(start, PeerId::random(), relay(number));
        }
        assert_eq!(ways.reach(start), Reach::Checking);
        assert_eq!(ways.poll(start), None, "perhaps it is reached by itself");
        let later = ways.poll_timeout(start).unwrap();
        let asked = settle(&mut ways, later);
        assert_eq!(asked.len(), limits::RELAYS);
        assert_eq!(ways.reach(later), Reach::Outgoing);
        asked.iter().for_each(|(peer, _)| ways.handle_reserved(peer));
        assert_eq!(ways.reach(later), Reach::Punching);
        assert!(ways.uses(&asked[0].0));

        // A place that is lost is taken elsewhere at once.
        ways.handle_closed(later, asked[0].1);
        let again = settle(&mut ways, later);
        assert_eq!(again.len(), 1);
        assert_ne!(again[0].0, asked[0].0);

        ways.handle_confirmed(at("/ip4/198.51.100.7/tcp/3282"));
        assert_eq!(ways.reach(later), Reach::Reachable);
        for _ in 0..limits::RELAYS {
            let Some(Action::Release(listener)) = ways.poll(later) else { panic!("it is held") };
            ways.handle_closed(later, listener);
        }
        assert_eq!(ways.poll(later + limits::RELAY_RETRY * 2), None);
    }

    #[test]
    fn who_is_not_reached_has_it_tried_again_and_again() {
        let start = Instant::now();
        let mut ways = Ways::new(node(1));
        ways.handle_reached(start, &relay(1));
        ways.handle_unreachable();
        let mut now = start;
        for _ in 0..3 {
            let due = ways.poll_timeout(now).unwrap();
            assert_eq!(due, now + ways.probe_again());
            assert_eq!(ways.poll(now), None);
            now = due;
            assert_eq!(ways.poll(now), Some(Action::Probe));
            ways.handle_probing(now);
        }
        ways.handle_confirmed(at("/ip4/198.51.100.7/tcp/3282"));
        assert_eq!(ways.poll_timeout(now), None);
    }

    #[test]
    fn who_is_told_that_it_is_not_reached_waits_no_longer() {
        let now = Instant::now();
        let mut ways = Ways::new(node(1));
        ways.handle_reached(now, &relay(1));
        ways.handle_relay(now, PeerId::random(), relay(1));
        ways.handle_unreachable();
        assert_eq!(ways.reach(now), Reach::Outgoing);
        let [(peer, _)] = settle(&mut ways, now)[..] else { panic!("one relay") };
        // One that refuses is asked again a while later.
        ways.handle_asked(now, peer, None);
        assert_eq!(ways.poll(now), None);
        assert_eq!(ways.poll_timeout(now), Some(now + ways.retry(&peer)));
        ways.handle_gone(&peer);
        assert_eq!(ways.poll_timeout(now), Some(now + ways.probe_again()));
    }

    #[test]
    fn a_crowd_comes_neither_to_one_relay_nor_at_one_time() {
        const NODES: u8 = 100;
        let now = Instant::now();
        let relays: Vec<PeerId> = (NODES..NODES + 10).map(node).collect();
        let (mut first, mut again, mut probes) =
            (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        for number in 0..NODES {
            let mut ways = Ways::new(node(number));
            ways.handle_unreachable();
            relays.iter().for_each(|&peer| ways.handle_relay(now, peer, relay(1)));
            let Some(Action::Reserve(peer, _)) = ways.poll(now) else { panic!("ten may be asked") };
            *first.entry(peer).or_insert(0) += 1;
            relays.iter().for_each(|&peer| ways.handle_asked(now, peer, None));
            again.insert(ways.poll_timeout(now).unwrap());
            probes.insert(ways.probe_again());
        }
        assert!(first.len() == relays.len() && first.values().all(|&many| many < 25), "{first:?}");
        assert!(again.len() > 15 && probes.len() > 50, "{} and {}", again.len(), probes.len());
    }

    #[test]
    fn being_reached_in_a_local_network_is_not_being_reached() {
        let now = Instant::now();
        let mut ways = Ways::new(node(1));
        ways.handle_confirmed(at("/ip4/192.168.1.7/tcp/3282"));
        assert_eq!(ways.reach(now), Reach::Lan);
        ways.handle_relay(now, PeerId::random(), at("/ip4/192.168.1.1/tcp/3282"));
        assert_eq!(ways.poll(now), None, "who reaches this relay reaches us");
        ways.handle_relay(now, PeerId::random(), relay(1));
        let now = ways.poll_timeout(now).unwrap();
        assert!(matches!(ways.poll(now), Some(Action::Reserve(..))));
        ways.handle_expired(&at("/ip4/192.168.1.7/tcp/3282"));
        assert_eq!(settle(&mut ways, now).len(), 2);
    }

    #[test]
    fn addresses_are_understood_as_far_as_they_reach() {
        for (text, right) in [
            ("/ip4/127.0.0.1/tcp/1", Scope::Computer),
            ("/ip6/::1/tcp/1", Scope::Computer),
            ("/ip4/10.1.2.3/tcp/1", Scope::Network),
            ("/ip6/fd00::1/tcp/1", Scope::Network),
            ("/ip4/198.51.100.1/udp/1/quic-v1", Scope::World),
            ("/dns4/example.org/tcp/1", Scope::World),
        ] {
            assert_eq!(scope(&at(text)), right, "{text}");
        }
        let circuit = "/ip4/198.51.100.1/tcp/1/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA/p2p-circuit";
        assert!(is_relayed(&at(circuit)) && !is_relayed(&relay(1)));
    }

    #[test]
    fn few_relays_are_remembered() {
        let (now, mut ways) = (Instant::now(), Ways::new(node(1)));
        (0..100).for_each(|n| ways.handle_relay(now, PeerId::random(), relay(n)));
        assert_eq!(ways.relays.len(), limits::RELAYS_KNOWN);
    }
}
