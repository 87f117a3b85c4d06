//! 8: a swarm without a DHT: everybody knows one other, and peers name each other.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use datnode_feed::SecretKey;
use datnode_proto::{Order, PeerId};

use super::Figure;
use super::table::Table;
use crate::{HostId, Random, World};

/// To how many that were named a host goes, as a node does (`swarm::limits::EXCHANGE_CONNECTIONS`).
const NAMED_MAX: usize = 16;
/// How often it is looked whom peers named.
const ROUND: Duration = Duration::from_secs(5);
const ROUNDS: usize = 12;
/// Blocks that are written before, and once some have left.
const BLOCKS: u64 = 20;
const LATENCY: Duration = Duration::from_millis(40);
const BYTES_PER_SECOND: u64 = 1_000_000;

/// A swarm on its way.
struct Swarm {
    hosts: usize,
    world: World,
    secret: SecretKey,
    random: Random,
    links: BTreeMap<(HostId, HostId), (PeerId, PeerId)>,
    /// To how many that were named a host went.
    named: BTreeMap<HostId, usize>,
    gone: BTreeSet<HostId>,
}

impl Swarm {
    /// Each host but the first, which writes, knows one that was there before it.
    fn new(hosts: usize, exchanges: bool) -> Self {
        let (secret, random) = (SecretKey::from_bytes([9; 32]), Random::new(300));
        let (links, named, gone) = Default::default();
        let mut swarm = Self { hosts, world: World::new(8), secret, random, links, named, gone };
        for number in 0..hosts {
            let host = swarm.world.host(&swarm.secret);
            if exchanges {
                swarm.world.at(host).exchange_contacts();
            }
            swarm.world.at(host).want(vec![0..2 * BLOCKS], 0, Order::Rarest);
            if number > 0 {
                let known = swarm.random.below(number as u64) as usize;
                swarm.join(host, HostId(known));
            }
        }
        swarm.write();
        swarm
    }

    fn write(&mut self) {
        let writer = HostId(0);
        self.world.at(writer).append(&self.secret, BLOCKS, &mut self.random);
        self.world.settle(writer);
    }

    fn join(&mut self, from: HostId, to: HostId) {
        let known = self.links.contains_key(&(from, to)) || self.links.contains_key(&(to, from));
        if from != to && !known && ![from, to].iter().any(|host| self.gone.contains(host)) {
            let link = self.world.link(from, to, LATENCY, BYTES_PER_SECOND);
            self.links.insert((from, to), link);
        }
    }

    /// Lets some seconds pass, and has each host go to those whom peers named.
    fn round(&mut self) {
        let until = self.world.now + ROUND;
        self.world.run(until);
        self.world.now = until;
        for host in (0..self.hosts).map(HostId) {
            let named = std::mem::take(&mut self.world.at(host).named);
            for contact in named {
                let Some(other) = HostId::of(&contact.addresses[0]) else { continue };
                if *self.named.entry(host).or_default() < NAMED_MAX {
                    let before = self.links.len();
                    self.join(host, other);
                    *self.named.entry(host).or_default() += self.links.len() - before;
                }
            }
        }
    }

    /// A third leaves, but not the writer.
    fn leave(&mut self) {
        while self.gone.len() < self.hosts / 3 {
            self.gone.insert(HostId(1 + self.random.below(self.hosts as u64 - 1) as usize));
        }
        let gone = &self.gone;
        let theirs = |(from, to): &(HostId, HostId)| gone.contains(from) || gone.contains(to);
        let cut: Vec<_> = self.links.keys().filter(|ends| theirs(ends)).copied().collect();
        for ends in cut {
            let Some(link) = self.links.remove(&ends) else { continue };
            self.world.cut(ends.0, link);
        }
    }

    fn peers_of(&self, host: HostId) -> impl Iterator<Item = HostId> {
        let other = move |(from, to): &(HostId, HostId)| match (*from == host, *to == host) {
            (true, _) => Some(*to),
            (_, true) => Some(*from),
            _ => None,
        };
        self.links.keys().filter_map(other)
    }

    /// Returns the fewest, the middle and the most peers that a host has.
    fn peers(&self) -> [usize; 3] {
        let stay = (0..self.hosts).map(HostId).filter(|host| !self.gone.contains(host));
        let mut counts: Vec<usize> = stay.map(|host| self.peers_of(host).count()).collect();
        counts.sort_unstable();
        [counts[0], counts[counts.len() / 2], counts[counts.len() - 1]]
    }

    /// Returns over how many links the farthest is whom the writer reaches, and how many it reaches.
    fn reach(&self) -> (usize, usize) {
        let mut seen = BTreeSet::from([HostId(0)]);
        let mut edge = vec![HostId(0)];
        for far in 0.. {
            let next = edge.iter().flat_map(|host| self.peers_of(*host)).collect::<BTreeSet<_>>();
            edge = next.into_iter().filter(|host| seen.insert(*host)).collect();
            if edge.is_empty() {
                return (far, seen.len() - 1);
            }
        }
        unreachable!("there is an end to hosts")
    }

    /// Returns how many but the writer have so much of the feed.
    fn have(&mut self, blocks: u64) -> usize {
        let stay: Vec<HostId> =
            (1..self.hosts).map(HostId).filter(|host| !self.gone.contains(host)).collect();
        let mut has = |host: &HostId| {
            let host = self.world.at(*host);
            (0..blocks).all(|block| host.block(block).is_some())
        };
        stay.iter().filter(|host| has(host)).count()
    }
}

/// A few dozen.
pub(super) fn some() -> Figure {
    run(60)
}

/// Hundreds.
pub(super) fn many() -> Figure {
    run(300)
}

fn run(hosts: usize) -> Figure {
    let leave = hosts / 3;
    let about = format!(
        "{hosts} hosts, each of which knows one that was there before it; {} s later {leave} leave at once, and then something is written.\n\
         Named: peers tell each other of peers, and each host goes to {NAMED_MAX} of them at most. Far: links from the writer to the farthest.",
        ROUND.as_secs() * ROUNDS as u64
    );
    let mut figure = Figure { about, ..Figure::default() };
    let mut table =
        Table::new(&["peers are", "when", "least", "median", "most", "far", "reached", "have all"]);
    for exchanges in [false, true] {
        let name = if exchanges { "named" } else { "not named" };
        let mut swarm = Swarm::new(hosts, exchanges);
        let mut row = |swarm: &mut Swarm, when: &str, blocks| {
            let ([least, median, most], (far, reached)) = (swarm.peers(), swarm.reach());
            let have = swarm.have(blocks);
            let numbers =
                [least, median, most, far, reached, have].map(|number| number.to_string());
            let cells = [name.to_owned(), when.to_owned()].into_iter().chain(numbers);
            table.row(cells.collect());
            (reached, have)
        };
        (0..ROUNDS).for_each(|_| swarm.round());
        let (_, have) = row(&mut swarm, "met", BLOCKS);
        swarm.leave();
        swarm.write();
        swarm.round();
        (1..ROUNDS).for_each(|_| swarm.round());
        let (reached, late) = row(&mut swarm, "left", 2 * BLOCKS);
        let (others, stay) = (hosts - 1, hosts - 1 - leave);
        figure.promise(
            have == others,
            format!("{name}: all have what was written first ({have} of {others})"),
        );
        if exchanges {
            figure.promise(
                reached == stay,
                format!("{name}: nobody is cut off when {leave} leave ({reached} of {stay})"),
            );
            figure.promise(
                late == stay,
                format!("{name}: all that stay have what is written then ({late} of {stay})"),
            );
        }
    }
    figure.tables.push(table);
    figure
}
