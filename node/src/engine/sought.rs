//! Where peers were looked for, and what came of it: what progress shows, and what the error tells when it was in vain.
//!
//! Invariant: at most [`TARGETS`] targets are kept of a channel, and as many peers that answered.
//! Elsewhere: dialing (`swarm::targets`), how long to wait (`patience`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use datnode_feed::PublicKey;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use crate::swarm::limits::TARGETS;
use crate::swarm::{Channel, Lan, Outside, peer_of};

/// How long a peer that nobody asked for is waited for before it is taken for one that will not answer.
const FOUND_WAIT: Duration = Duration::from_secs(1);

/// Whom we looked for.
#[derive(Clone, Debug, Default)]
pub struct Sought {
    /// Whether peers are looked for on the local network.
    pub(crate) lan: Lan,
    /// Whether peers of other times are dialed.
    pub(crate) remembers: bool,
    /// How this node is reached from elsewhere; none if that is not asked, since the DHT is not used.
    pub(crate) outside: Option<Outside>,
    targets: BTreeMap<Channel, BTreeMap<String, Target>>,
    /// Who answered, whether looked for or not.
    reached: BTreeSet<PeerId>,
    /// Where peers proved who they are when we dialed.
    dialed: BTreeMap<PeerId, Multiaddr>,
    /// The origins of drives, and what came of each.
    origins: BTreeMap<(PublicKey, String), Place>,
}

/// What came of an origin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Place {
    /// Whether it is there; not known at first.
    there: Option<bool>,
    /// Why it was not, the last time.
    why: Option<String>,
}

#[derive(Clone, Debug)]
struct Target {
    since: Instant,
    /// How many were told.
    addresses: usize,
    found: Found,
}

/// What came of looking for one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    /// Nothing yet.
    Pending,
    /// This peer answered.
    Reached(PeerId),
    /// It did not, for this reason.
    Failed(String),
}

impl Sought {
    /// Notes that somebody is looked for at an address.
    pub(crate) fn seek(&mut self, channel: Channel, address: &Multiaddr) {
        let there = peer_of(address).filter(|peer| self.reached.contains(peer));
        let found = there.map_or(Found::Pending, Found::Reached);
        let targets = self.targets.entry(channel).or_default();
        if targets.len() < TARGETS {
            let target = Target { since: Instant::now(), addresses: 0, found };
            targets.entry(target_of(address)).or_insert(target).addresses += 1;
        }
    }

    /// Notes that a peer proved who it is at an address that we dialed.
    pub(crate) fn dialed(&mut self, peer: PeerId, address: &Multiaddr) {
        if self.dialed.len() >= TARGETS && !self.dialed.contains_key(&peer) {
            self.dialed.pop_first();
        }
        self.dialed.insert(peer, address.clone());
    }

    /// Notes that a peer answered at an address, or came from there.
    pub(crate) fn reached(&mut self, peer: PeerId, address: &Multiaddr) {
        if self.reached.len() >= TARGETS && !self.reached.contains(&peer) {
            self.reached.pop_first();
        }
        self.reached.insert(peer);
        for channel in Channel::ALL {
            let names = [peer.to_string(), address.to_string()];
            self.note(channel, names, &Found::Reached(peer));
        }
    }

    /// Returns where a peer answered us, by the text of its id; with the id at the end.
    pub(crate) fn dialed_at(&self, peer: &str) -> Option<Multiaddr> {
        let peer = peer.parse().ok()?;
        let address = self.dialed.get(&peer)?.clone();
        Some(match peer_of(&address) {
            Some(_) => address,
            None => address.with(Protocol::P2p(peer)),
        })
    }

    /// Notes that nobody answered at some addresses.
    pub(crate) fn failed(&mut self, channel: Channel, addresses: &[Multiaddr], reason: &str) {
        self.note(channel, addresses.iter().map(target_of), &Found::Failed(reason.to_owned()));
    }

    fn note(&mut self, channel: Channel, targets: impl IntoIterator<Item = String>, found: &Found) {
        let Some(known) = self.targets.get_mut(&channel) else { return };
        for target in targets {
            if let Some(known) = known.get_mut(&target) {
                known.found = found.clone();
            }
        }
    }

    /// Notes that a drive is fetched from an origin.
    pub(crate) fn seek_origin(&mut self, drive: PublicKey, origin: &str) {
        self.origins.insert((drive, origin.to_owned()), Place::default());
    }

    /// Notes that an origin is there.
    pub(crate) fn origin_met(&mut self, drive: PublicKey, origin: &str) {
        self.origins.entry((drive, origin.to_owned())).or_default().there = Some(true);
    }

    /// Notes that an origin is not there, or no longer.
    pub(crate) fn origin_failed(&mut self, drive: PublicKey, origin: &str, reason: &str) {
        let place = Place { there: Some(false), why: Some(reason.to_owned()) };
        self.origins.insert((drive, origin.to_owned()), place);
    }

    /// Returns how many origins there are, and how many of them are there.
    pub fn origins(&self) -> (usize, usize) {
        let there = self.origins.values().filter(|place| place.there == Some(true));
        (self.origins.len(), there.count())
    }

    /// Returns why origins were lost, or could not be reached, the last time.
    pub fn origin_failures(&self) -> impl Iterator<Item = &str> {
        self.origins.values().filter_map(|place| place.why.as_deref())
    }

    /// Tells whether this is the name of an origin.
    pub fn is_origin(&self, name: &str) -> bool {
        self.origins.keys().any(|(_, origin)| origin == name)
    }

    fn all(&self, of: impl Fn(Channel) -> bool) -> impl Iterator<Item = &Target> {
        let some = self.targets.iter().filter(move |(channel, _)| of(**channel));
        some.flat_map(|(_, targets)| targets.values())
    }

    /// Returns whether peers are looked for on the local network.
    pub fn lan(&self) -> &Lan {
        &self.lan
    }

    /// Returns whether peers of other times are dialed.
    pub fn remembers(&self) -> bool {
        self.remembers
    }

    /// Returns how many nodes of the DHT are known, of ours and of the public one; nothing if none is used.
    pub fn dht(&self) -> Option<usize> {
        self.outside.as_ref().map(|outside| outside.nodes + outside.ipfs.unwrap_or_default())
    }

    /// Returns how this node is reached from elsewhere; nothing if the DHT is not used.
    pub fn outside(&self) -> Option<&Outside> {
        self.outside.as_ref()
    }

    /// Returns how many are looked for; who but leads into the DHT is none of them.
    pub fn count(&self) -> usize {
        let peers = self.all(|channel| channel != Channel::Bootstrap).count();
        peers + self.origins.len()
    }

    /// Returns how many a channel named, and how many of them answered.
    pub fn of(&self, channel: Channel) -> (usize, usize) {
        let all = || self.all(|other| other == channel);
        let answered = |target: &&Target| matches!(target.found, Found::Reached(_));
        (all().count(), all().filter(answered).count())
    }

    /// Returns how many addresses somebody gave.
    pub fn addresses(&self) -> usize {
        self.all(|channel| channel == Channel::Given).map(|target| target.addresses).sum()
    }

    /// Returns whether a peer that answered was named by a channel; it is given as the text of its id.
    pub fn named(&self, channel: Channel, peer: &str) -> bool {
        let Ok(peer) = peer.parse() else { return false };
        self.all(|other| other == channel).any(|target| target.found == Found::Reached(peer))
    }

    /// Returns how many may still answer: who was asked for until they do or cannot, others for a moment.
    pub fn pending(&self) -> usize {
        let asked = |channel| matches!(channel, Channel::Given | Channel::Local);
        let pending = |target: &&Target| target.found == Found::Pending;
        let fresh = |target: &&Target| target.since.elapsed() < FOUND_WAIT;
        let found = self.all(|channel| !asked(channel)).filter(pending).filter(fresh).count();
        let origins = self.origins.values().filter(|place| place.there.is_none()).count();
        self.all(asked).filter(pending).count() + found + origins
    }

    /// Tells whether nothing is to be waited for of those whom a channel named: each told, which `tells` says of a peer by the text of
    /// its id, or cannot be reached.
    pub fn is_settled(&self, channel: Channel, tells: impl Fn(&str) -> bool) -> bool {
        self.all(|other| other == channel).all(|target| match &target.found {
            Found::Pending => false,
            Found::Reached(peer) => tells(&peer.to_string()),
            Found::Failed(_) => true,
        })
    }

    /// Returns what came of looking for a node, by the text of its id, or for whoever is at an address: the node that answered, or
    /// why none did. Nothing while that is open, or nobody was looked for.
    pub fn outcome(&self, target: &str) -> Option<Result<PeerId, &str>> {
        let all = || self.targets.values().filter_map(|targets| targets.get(target));
        let reached = all().find_map(|found| match found.found {
            Found::Reached(peer) => Some(Ok(peer)),
            _ => None,
        });
        // One way that is open still may lead there.
        let is_open = all().any(|found| found.found == Found::Pending);
        let failed = || all().find_map(|found| found.found.reason()).map(Err);
        reached.or_else(|| failed().filter(|_| !is_open))
    }

    /// Returns why those whom a channel named did not answer.
    pub fn failures_of(&self, channel: Channel) -> Vec<&str> {
        self.all(|other| other == channel).filter_map(|target| target.found.reason()).collect()
    }

    /// Returns why those whom somebody asked for, or who said that they have the drive, did not answer; each reason once.
    ///
    /// What else was found by itself may be anything, and why it is not a peer helps nobody.
    pub fn failures(&self) -> Vec<&str> {
        let asked = self.all(|channel| !matches!(channel, Channel::Lan | Channel::Remembered));
        let asked = asked.filter_map(|target| target.found.reason());
        let mut reasons: Vec<&str> = asked.chain(self.origin_failures()).collect();
        reasons.sort_unstable();
        reasons.dedup();
        reasons
    }
}

impl Found {
    fn reason(&self) -> Option<&str> {
        match self {
            Self::Failed(reason) => Some(reason),
            _ => None,
        }
    }
}

/// Returns who is meant: a node, whatever its address, or whoever is at an address.
pub(crate) fn target_of(address: &Multiaddr) -> String {
    peer_of(address).map_or_else(|| address.to_string(), |peer| peer.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_counts_once_whatever_its_addresses() {
        let peer = PeerId::random();
        let [tcp, quic]: [Multiaddr; 2] = ["/ip4/127.0.0.1/tcp/1", "/ip4/127.0.0.1/udp/1/quic-v1"]
            .map(|text| text.parse().unwrap());
        let named = [&tcp, &quic].map(|address| address.clone().with(Protocol::P2p(peer)));
        let mut sought = Sought::default();
        named.iter().for_each(|address| sought.seek(Channel::Given, address));
        sought.seek(Channel::Given, &tcp);
        assert_eq!((sought.count(), sought.pending()), (2, 2));
        sought.failed(Channel::Given, &named, "connection refused");
        sought.failed(Channel::Given, std::slice::from_ref(&tcp), "connection refused");
        assert_eq!((sought.pending(), sought.failures()), (0, vec!["connection refused"]));
        sought.reached(peer, &tcp);
        assert!(sought.failures().is_empty());
        // Who was not looked for is not counted.
        sought.reached(PeerId::random(), &quic);
        assert_eq!(sought.count(), 2);
    }

    #[test]
    fn channels_are_counted_apart() {
        let [one, two] = [(); 2].map(|()| PeerId::random());
        let at =
            |peer| "/ip4/10.0.0.1/tcp/1".parse::<Multiaddr>().unwrap().with(Protocol::P2p(peer));
        let mut sought = Sought::default();
        sought.seek(Channel::Remembered, &at(one));
        sought.seek(Channel::Given, &at(one));
        sought.seek(Channel::Remembered, &at(two));
        sought.failed(Channel::Remembered, &[at(one)], "not reachable from here");
        assert_eq!((sought.of(Channel::Given), sought.of(Channel::Remembered)), ((1, 0), (2, 0)));
        assert_eq!(sought.pending(), 2);
        assert!(sought.failures().is_empty(), "nobody asked for it");
        sought.reached(one, &at(one));
        assert_eq!((sought.of(Channel::Given), sought.of(Channel::Remembered)), ((1, 1), (2, 1)));
        // Who came to us first is found later, and is there already.
        sought.reached(two, &"/ip4/10.0.0.2/tcp/55555".parse().unwrap());
        sought.seek(Channel::Lan, &at(two));
        assert_eq!((sought.of(Channel::Lan), sought.of(Channel::Remembered)), ((1, 1), (2, 2)));
        assert!(sought.named(Channel::Lan, &two.to_string()));
        assert!(!sought.named(Channel::Lan, &one.to_string()));
    }

    #[test]
    fn who_was_found_by_itself_is_not_waited_for_long() {
        let mut sought = Sought::default();
        let address: Multiaddr = "/ip4/10.0.0.1/tcp/1".parse().unwrap();
        sought.seek(Channel::Remembered, &address);
        assert_eq!(sought.pending(), 1);
        let targets = sought.targets.get_mut(&Channel::Remembered).unwrap();
        targets.values_mut().for_each(|target| target.since -= FOUND_WAIT);
        assert_eq!(sought.pending(), 0);
        sought.seek(Channel::Given, &address);
        let targets = sought.targets.get_mut(&Channel::Given).unwrap();
        targets.values_mut().for_each(|target| target.since -= FOUND_WAIT);
        assert_eq!(sought.pending(), 1);
    }

    #[test]
    fn who_was_named_is_waited_for_until_it_told_or_cannot_be_reached() {
        let [told, silent, gone] = [(); 3].map(|()| PeerId::random());
        let at =
            |peer| "/ip4/10.0.0.1/tcp/1".parse::<Multiaddr>().unwrap().with(Protocol::P2p(peer));
        let mut sought = Sought::default();
        let tells = |peer: &str| peer == told.to_string();
        let is_settled = |sought: &Sought| sought.is_settled(Channel::Given, tells);
        assert!(is_settled(&sought), "nobody was named");
        sought.seek(Channel::Remembered, &at(silent));
        assert!(is_settled(&sought), "somebody else was");
        for peer in [told, gone] {
            sought.seek(Channel::Given, &at(peer));
            assert!(!is_settled(&sought));
        }
        sought.reached(told, &at(told));
        assert!(!is_settled(&sought));
        sought.failed(Channel::Given, &[at(gone)], "connection refused");
        assert!(is_settled(&sought));
        sought.seek(Channel::Given, &at(silent));
        sought.reached(silent, &at(silent));
        assert!(!is_settled(&sought), "it has not told");
    }

    #[test]
    fn only_where_we_dialed_a_peer_can_it_be_dialed_again() {
        let [one, two] = [(); 2].map(|()| PeerId::random());
        let at: Multiaddr = "/ip4/10.0.0.1/tcp/1".parse().unwrap();
        let mut sought = Sought::default();
        sought.reached(one, &at);
        assert_eq!(sought.dialed_at(&one.to_string()), None);
        sought.seek(Channel::Given, &at);
        sought.dialed(one, &at);
        sought.reached(one, &at);
        let named = at.clone().with(Protocol::P2p(one));
        assert_eq!(sought.dialed_at(&one.to_string()), Some(named.clone()));
        assert!(sought.named(Channel::Given, &one.to_string()), "it is whoever is at the address");
        // That it came to us as well changes nothing.
        sought.reached(one, &"/ip4/10.0.0.1/tcp/55555".parse().unwrap());
        sought.dialed(two, &at.with(Protocol::P2p(two)));
        assert_eq!(sought.dialed_at(&one.to_string()), Some(named));
        assert!(sought.dialed_at(&two.to_string()).is_some());
        assert_eq!(sought.dialed_at("this computer"), None);
    }

    #[test]
    fn there_is_an_end_to_it() {
        let mut sought = Sought::default();
        for port in 0..5_000_u16 {
            sought.seek(Channel::Given, &format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap());
        }
        assert_eq!(sought.count(), TARGETS);
    }
}
