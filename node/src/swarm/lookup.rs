//! One lookup in the table: whom to ask next on the way to a place, and who is closest to it (SPEC 9.7-8).
//!
//! Many nodes may be one attacker's, and their ids be as close to the place as he likes; what he has few of are networks. So of each
//! network a few nodes count alone, as their connections prove where they are; and whom a network names is asked the later the more of
//! those whom it named before did not answer. Nobody's silence holds up the others.
//!
//! Invariant: a node is asked at one set of addresses at a time; nobody who answered is asked again.
//! Elsewhere: the questions themselves (`lookups`), where a lookup begins (the library's table).

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use libp2p::PeerId;
use libp2p::kad::{KBucketDistance, KBucketKey, RecordKey};

use super::limits;
use super::messages::Named;
use super::subnets::Network;

/// Where somebody is; nothing if their address does not tell.
pub(super) type At = Option<Network>;

/// A lookup under way.
#[derive(Debug)]
pub(super) struct Lookup {
    place: KBucketKey<RecordKey>,
    until: Instant,
    nodes: BTreeMap<KBucketDistance, Node>,
    /// How many of each network answered.
    answers: HashMap<At, usize>,
    /// How many whom a network named were asked and have not answered.
    vain: HashMap<At, usize>,
}

#[derive(Debug)]
struct Node {
    peer: PeerId,
    /// Where it answered from, if it did.
    answered: Option<At>,
    /// Where it is, as others say.
    ways: Vec<Way>,
}

#[derive(Debug)]
struct Way {
    named: Named,
    /// The network of who said so.
    by: At,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    New,
    Asked(Instant),
    Failed,
}

impl Way {
    fn is_asked(&self, now: Instant) -> bool {
        matches!(self.state, State::Asked(since) if now < since + limits::DHT_ASK)
    }
}

impl Lookup {
    /// Begins a lookup with nodes of our own table, for each of which its own network speaks.
    pub(super) fn new(now: Instant, key: RecordKey, known: impl Iterator<Item = Named>) -> Self {
        let mut lookup = Self {
            place: KBucketKey::new(key),
            until: now + limits::DHT_QUERY,
            nodes: BTreeMap::new(),
            answers: HashMap::new(),
            vain: HashMap::new(),
        };
        for named in known {
            let by = network(&named);
            lookup.add(named, by);
        }
        lookup
    }

    fn add(&mut self, named: Named, by: At) {
        let distance = self.place.distance(&KBucketKey::from(named.peer));
        if self.nodes.len() >= limits::DHT_NODES && !self.nodes.contains_key(&distance) {
            return;
        }
        let new = Node { peer: named.peer, answered: None, ways: Vec::new() };
        let node = self.nodes.entry(distance).or_insert(new);
        // What one network says of a node it says once: others may know better where it is.
        let known = |way: &Way| {
            way.by == by || named.addresses.iter().all(|at| way.named.addresses.contains(at))
        };
        if !node.ways.iter().any(known) && node.ways.len() < limits::DHT_CLOSEST {
            node.ways.push(Way { named, by, state: State::New });
        }
    }

    /// Returns whom to ask now.
    pub(super) fn poll_ask(&mut self, now: Instant) -> Option<Named> {
        let fresh = |since: Instant| now < since + limits::DHT_SLOW;
        if self.asked().filter(|since| fresh(*since)).count() >= limits::DHT_ASKS {
            return None;
        }
        let (distance, at) = self.next(now)?;
        let way = self.nodes.get_mut(&distance)?.ways.get_mut(at)?;
        way.state = State::Asked(now);
        *self.vain.entry(way.by).or_default() += 1;
        Some(way.named.clone())
    }

    /// Returns since when those are asked who have neither answered nor failed.
    fn asked(&self) -> impl Iterator<Item = Instant> {
        let open = self.nodes.values().filter(|node| node.answered.is_none());
        open.flat_map(|node| &node.ways).filter_map(|way| match way.state {
            State::Asked(since) => Some(since),
            State::New | State::Failed => None,
        })
    }

    /// Returns the node to ask next, and by which way: of those who might be among the closest whom the network named of which the
    /// fewest were asked in vain; the closest of them.
    fn next(&self, now: Instant) -> Option<(KBucketDistance, usize)> {
        if now >= self.until {
            return None;
        }
        let mut counted = Counted::default();
        let mut best = None;
        for (distance, node) in &self.nodes {
            if counted.all >= limits::DHT_CLOSEST {
                break;
            }
            if let Some(from) = node.answered {
                counted.add(from);
                continue;
            }
            if node.ways.iter().any(|way| way.is_asked(now)) {
                continue;
            }
            let open = |way: &Way| way.state == State::New && self.is_open(&counted, &way.named);
            let ways = node.ways.iter().enumerate().filter(|(_, way)| open(way));
            let vain = |by: &At| self.vain.get(by).copied().unwrap_or_default();
            let ranked = ways.map(|(at, way)| (vain(&way.by), *distance, at));
            best = best.into_iter().chain(ranked).min();
        }
        best.map(|(_, distance, at)| (distance, at))
    }

    /// Tells whether a node could count, going by where it is said to be.
    fn is_open(&self, counted: &Counted, named: &Named) -> bool {
        named.addresses.iter().map(Network::of).all(|at| {
            let answers = self.answers.get(&at).copied().unwrap_or_default();
            counted.has_room(at) && answers < limits::DHT_ANSWERS_PER_NETWORK
        })
    }

    /// A node answered, by a connection from a network; if that is not known, where it was said to be counts. Returns the network if it
    /// is listened to.
    pub(super) fn handle_answer(
        &mut self,
        peer: PeerId,
        from: Option<At>,
        closer: Vec<Named>,
    ) -> Option<At> {
        let distance = self.place.distance(&KBucketKey::from(peer));
        let node = self.nodes.get_mut(&distance).filter(|node| node.answered.is_none())?;
        let asked = || node.ways.iter().filter(|way| way.state != State::New);
        let from = from.or_else(|| asked().next().map(|way| network(&way.named))).flatten();
        for way in asked() {
            self.vain.entry(way.by).and_modify(|vain| *vain -= 1);
        }
        node.answered = Some(from);
        let answers = self.answers.entry(from).or_default();
        *answers += 1;
        if *answers > limits::DHT_ANSWERS_PER_NETWORK {
            return None;
        }
        closer.into_iter().for_each(|named| self.add(named, from));
        Some(from)
    }

    /// A node cannot be reached where it was asked, or gives no answer.
    pub(super) fn handle_failed(&mut self, peer: PeerId) {
        let distance = self.place.distance(&KBucketKey::from(peer));
        let ways = self.nodes.get_mut(&distance).into_iter().flat_map(|node| &mut node.ways);
        for way in ways.filter(|way| matches!(way.state, State::Asked(_))) {
            way.state = State::Failed;
        }
    }

    /// Tells whether nobody is left to ask.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        let waits = || self.asked().any(|since| now < since + limits::DHT_ASK);
        now >= self.until || (!waits() && self.next(now).is_none())
    }

    /// Returns when silence changes something.
    pub(super) fn poll_timeout(&self, now: Instant) -> Instant {
        let turns = |since: Instant| [since + limits::DHT_SLOW, since + limits::DHT_ASK];
        self.asked().flat_map(turns).filter(|at| *at > now).fold(self.until, Instant::min)
    }

    /// Returns those closest to the place of all that answered.
    pub(super) fn closest(&self) -> Vec<PeerId> {
        let mut counted = Counted::default();
        let mut counts = |node: &&Node| node.answered.is_some_and(|from| counted.add(from));
        let closest = self.nodes.values().filter(|node| counts(node));
        closest.take(limits::DHT_CLOSEST).map(|node| node.peer).collect()
    }
}

/// Returns where somebody is said to be.
pub(super) fn network(named: &Named) -> At {
    named.addresses.first().and_then(Network::of)
}

/// Those who count, from the closest on.
#[derive(Debug, Default)]
struct Counted {
    all: usize,
    of: HashMap<At, usize>,
}

impl Counted {
    fn has_room(&self, at: At) -> bool {
        self.of.get(&at).is_none_or(|count| *count < limits::DHT_CLOSEST_PER_NETWORK)
    }

    /// Counts one, unless its network has its share.
    fn add(&mut self, at: At) -> bool {
        let has_room = self.has_room(at);
        if has_room {
            self.all += 1;
            *self.of.entry(at).or_default() += 1;
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// How long an answer takes.
    const TRIP: Duration = Duration::from_millis(50);

    const HONEST: u16 = 30;
    const CROWD: u16 = 200;

    fn key() -> RecordKey {
        RecordKey::from(vec![7; 32])
    }

    /// Returns somebody in a network, whose id agrees with the place in its first bits.
    fn someone(number: u16, network: u8, bits: u32) -> Named {
        let place = KBucketKey::new(key());
        let id = |count: u32| {
            let mut digest = [0; 32];
            digest[..2].copy_from_slice(&number.to_le_bytes());
            digest[2..6].copy_from_slice(&count.to_le_bytes());
            PeerId::from_bytes(&[&[0, 32], &digest[..]].concat()).unwrap()
        };
        let near = |peer: &PeerId| {
            let distance = place.distance(&KBucketKey::from(*peer));
            distance.ilog2().is_none_or(|log| log < 256 - bits)
        };
        let peer = (0..).map(id).find(near).unwrap();
        let [high, low] = number.to_be_bytes();
        let address = format!("/ip4/10.{network}.{high}.{low}/tcp/1/p2p/{peer}");
        Named { peer, addresses: vec![address.parse().unwrap()] }
    }

    /// What those who lie do.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Lie {
        /// They name each other.
        Crowd,
        /// They say nothing.
        Silence,
        /// They name honest nodes where these are not, and nobodies at the addresses of honest ones.
        Nobodies,
    }

    /// Looks for a place around which a crowd is, knowing two honest nodes and some of the crowd. Returns whom of the honest ones it ends
    /// at, how many others, and how long it takes.
    fn look(networks: u8, lie: Lie) -> (Vec<u16>, usize, Duration) {
        let honest: Vec<Named> =
            (0..HONEST).map(|number| someone(number, 100 + number as u8, 0)).collect();
        let crowd: Vec<Named> =
            (0..CROWD).map(|number| someone(1_000 + number, number as u8 % networks, 7)).collect();
        let nobodies = |by: usize| -> Vec<Named> {
            let fake = |number: usize| {
                let at = &honest[number % honest.len()];
                let peer = someone((5_000 + 20 * by + number) as u16, 0, 7).peer;
                let wrong = Named { peer, addresses: at.addresses.clone() };
                let stolen = Named { peer: at.peer, addresses: crowd[by].addresses.clone() };
                [wrong, stolen]
            };
            (0..10).flat_map(fake).collect()
        };
        let start = Instant::now();
        let known = honest[..2].iter().chain(&crowd[..16]).cloned();
        let mut lookup = Lookup::new(start, key(), known);
        let mut now = start;
        let mut answers = Vec::new();
        while !lookup.is_over(now) {
            while let Some(asked) = lookup.poll_ask(now) {
                let is_it = |one: &Named| *one == asked;
                let from = network(&asked);
                if let Some(at) = honest.iter().position(is_it) {
                    // It knows half of the honest ones, and as many of the crowd.
                    let half = honest.iter().cycle().skip(at + 1).step_by(3).take(10);
                    let named = half.chain(crowd.iter().skip(at).take(10)).cloned().collect();
                    answers.push((now + TRIP, asked.peer, Some((from, named))));
                } else if let Some(at) = crowd.iter().position(is_it) {
                    let named = match lie {
                        Lie::Crowd => crowd.iter().cycle().skip(at).take(20).cloned().collect(),
                        Lie::Nobodies => nobodies(at),
                        Lie::Silence => continue,
                    };
                    answers.push((now + TRIP, asked.peer, Some((from, named))));
                } else if asked.addresses[0].iter().next() != honest[0].addresses[0].iter().next() {
                    // Somebody else is there.
                    answers.push((now + TRIP, asked.peer, None));
                }
            }
            let due = answers.iter().map(|(at, ..)| *at).min();
            now = due.into_iter().chain([lookup.poll_timeout(now)]).min().unwrap().max(now);
            let (come, later) = answers.into_iter().partition(|(at, ..)| *at <= now);
            answers = later;
            let come: Vec<_> = come;
            for (_, peer, answer) in come {
                match answer {
                    Some((from, named)) => drop(lookup.handle_answer(peer, Some(from), named)),
                    None => lookup.handle_failed(peer),
                }
            }
        }
        let closest = lookup.closest();
        let number = |peer: &PeerId| honest.iter().position(|one| one.peer == *peer);
        let ends: Vec<u16> = closest.iter().filter_map(number).map(|at| at as u16).collect();
        let others = closest.len() - ends.len();
        (ends, others, now - start)
    }

    #[test]
    fn a_crowd_counts_by_its_networks_and_not_by_its_heads() {
        for networks in [1, 2, 4, 8] {
            for lie in [Lie::Crowd, Lie::Silence, Lie::Nobodies] {
                let (honest, others, took) = look(networks, lie);
                let said = format!("{networks} networks, {lie:?}: {honest:?} + {others}, {took:?}");
                let most = limits::DHT_CLOSEST_PER_NETWORK * usize::from(networks);
                assert!(others <= most, "{said}");
                assert!(honest.len() >= limits::DHT_CLOSEST - most, "{said}");
                assert!(took <= limits::DHT_QUERY, "{said}");
            }
        }
    }

    #[test]
    fn who_is_in_ten_networks_has_all_of_a_place() {
        let (honest, others, _) = look(10, Lie::Crowd);
        assert_eq!((honest.len(), others), (0, limits::DHT_CLOSEST));
    }

    #[test]
    fn without_liars_a_lookup_ends_at_those_who_are_closest() {
        let all: Vec<Named> = (0..100).map(|number| someone(number, number as u8, 0)).collect();
        let place = KBucketKey::new(key());
        let distance = |named: &Named| place.distance(&KBucketKey::from(named.peer));
        let mut sorted = all.clone();
        sorted.sort_by_key(distance);
        let mut lookup = Lookup::new(Instant::now(), key(), all[..3].iter().cloned());
        let now = Instant::now();
        let mut asked = 0;
        while let Some(named) = lookup.poll_ask(now) {
            asked += 1;
            let near = sorted.iter().filter(|one| **one != named).take(20).cloned().collect();
            lookup.handle_answer(named.peer, Some(network(&named)), near);
        }
        assert!(lookup.is_over(now));
        assert!(asked <= 3 + limits::DHT_CLOSEST, "{asked}");
        let closest: Vec<PeerId> = sorted.iter().map(|one| one.peer).take(20).collect();
        assert_eq!(lookup.closest(), closest);
    }
}
