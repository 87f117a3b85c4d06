//! Random worlds: a writer, readers, links that come and go, hosts that crash, sometimes a liar; all of it from a seed.

use std::time::Duration;

use datnode_feed::SecretKey;
use datnode_proto::{Instant, Order, PeerId};

use crate::disk::{Fault, FaultKind};
use crate::oracle::{Truth, judge};
use crate::{HostId, Random, World};

/// What came of a random world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How many hosts there were.
    pub hosts: usize,
    /// How many blocks the writer had.
    pub blocks: u64,
    /// How many frames arrived.
    pub frames: u64,
    /// How many hosts crashed.
    pub crashes: u64,
    /// The virtual time at the end.
    pub micros: u64,
    /// The hash over everything that arrived.
    pub trace: String,
    /// What went wrong.
    pub problems: Vec<String>,
}

/// Runs the world of a seed until it is at rest, and checks that everybody has everything.
pub fn run(seed: u64) -> Outcome {
    let mut scene = Scene::new(seed);
    for round in 0..4 {
        scene.append();
        scene.connect();
        if round < 3 {
            // Everything is cut in the middle of it, and comes back in the next round.
            let until = scene.world.now + Duration::from_micros(scene.random.below(3_000_000));
            scene.world.run(until);
            scene.open.drain(..).for_each(|(host, link)| scene.world.cut(host, link));
        }
        for _ in 0..scene.random.below(4) {
            scene.crash();
        }
    }
    scene.world.run(scene.world.now + Duration::from_secs(3_600));
    scene.check();
    Outcome {
        hosts: scene.hosts.len(),
        blocks: scene.total(),
        frames: scene.world.frames,
        crashes: scene.crashes,
        micros: scene.world.now.0,
        trace: scene.world.trace().to_hex().to_string(),
        problems: scene.problems,
    }
}

struct Scene {
    world: World,
    random: Random,
    secret: SecretKey,
    /// The first one writes.
    hosts: Vec<HostId>,
    liar: Option<HostId>,
    /// Who is to be linked.
    links: Vec<(HostId, HostId)>,
    /// Which links there are.
    open: Vec<(HostId, (PeerId, PeerId))>,
    /// What the writer wrote.
    truth: Truth,
    crashes: u64,
    problems: Vec<String>,
}

impl Scene {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let secret = SecretKey::from_bytes([9; 32]);
        let mut world = World::new(seed ^ 0xd1b5_4a32_d192_ed03);
        let count = 2 + random.below(6) as usize;
        let hosts: Vec<HostId> = (0..count).map(|_| world.host(&secret)).collect();
        let liar = (count > 3 && random.below(2) == 0).then(|| hosts[count - 1]);
        if let Some(liar) = liar {
            world.at(liar).lies = Some((3, Random::new(seed)));
        }
        let links = links(&hosts, liar, &mut random);
        let (open, truth, crashes, problems) = Default::default();
        Self { world, random, secret, hosts, liar, links, open, truth, crashes, problems }
    }

    /// Returns how many blocks there are.
    fn total(&self) -> u64 {
        self.truth.blocks(&self.secret.public()).len() as u64
    }

    fn append(&mut self) {
        let (writer, count) = (self.hosts[0], self.random.below(60));
        let first = self.total();
        let blocks = self.world.at(writer).append(&self.secret, count, &mut self.random);
        for (index, block) in (first..).zip(blocks) {
            self.truth.write(&self.secret.public(), index, &block);
        }
        self.world.settle(writer);
    }

    fn connect(&mut self) {
        for (a, b) in self.links.clone() {
            self.link(a, b);
        }
        self.want();
    }

    fn link(&mut self, a: HostId, b: HostId) {
        let latency = Duration::from_micros(100 + self.random.below(80_000));
        let link = self.world.link(a, b, latency, 20_000 + self.random.below(5_000_000));
        self.open.push((a, link));
    }

    /// Makes everybody want everything.
    fn want(&mut self) {
        let total = self.total();
        for host in &self.hosts[1..] {
            self.world.at(*host).want(vec![0..total], 0, Order::Rarest);
            self.world.settle(*host);
        }
    }

    /// Crashes a host: between two steps, or in the middle of what it does with its disk. It comes back at once.
    fn crash(&mut self) {
        self.crashes += 1;
        let victim = self.hosts[self.random.below(self.hosts.len() as u64) as usize];
        if self.random.below(2) == 0 {
            let fault = Fault { at: self.random.below(40), kind: FaultKind::Off };
            self.world.at(victim).disk.set_fault(Some(fault));
        }
        if victim == self.hosts[0] && self.random.below(2) == 0 {
            self.append();
        }
        for _ in 0..self.random.below(600) {
            self.world.step(forever());
        }
        if let Err(error) = self.world.restart(victim) {
            self.problems.push(format!("{victim:?} does not start again: {error}"));
            return;
        }
        self.judge(victim);
        for (a, b) in self.links.clone() {
            if a == victim || b == victim {
                self.link(a, b);
            }
        }
        // What the writer told nobody of may be gone.
        self.want();
    }

    /// Holds what came back against what was counted on.
    fn judge(&mut self, id: HostId) {
        let key = self.secret.public();
        let host = self.world.at(id);
        if id == self.hosts[0] {
            self.truth.truncate(&key, host.length());
        }
        if let Err(broken) = judge(&mut host.store, &self.truth, &host.said) {
            self.problems.push(format!("{id:?} after a crash: {broken}"));
        }
    }

    fn check(&mut self) {
        let total = self.total();
        for host in self.hosts.iter().copied().filter(|host| Some(*host) != self.liar) {
            let at = self.world.at(host);
            let length = at.length();
            if length != total {
                self.problems.push(format!("{host:?} knows {length} of {total} blocks"));
            }
            let mut missing = (0..total).filter(|block| {
                at.block(*block).as_deref() != self.truth.block(&self.secret.public(), *block)
            });
            if let Some(block) = missing.next() {
                self.problems.push(format!("{host:?} has not block {block}"));
            }
            if self.liar.is_none() && !at.faults.is_empty() {
                self.problems.push(format!("{host:?} blamed an honest peer"));
            }
            if at.accusation().is_some() {
                self.problems.push(format!("{host:?} accuses a writer that told one history"));
            }
        }
    }
}

/// Makes a graph in which everybody honest has an honest way to the writer.
fn links(hosts: &[HostId], liar: Option<HostId>, random: &mut Random) -> Vec<(HostId, HostId)> {
    let mut links = Vec::new();
    for (position, &host) in hosts.iter().enumerate().skip(1) {
        let honest = if liar.is_some() { position.min(hosts.len() - 2) } else { position };
        let to = hosts[random.below(honest.max(1) as u64) as usize];
        links.push((to, host));
        if random.below(2) == 0 {
            links.push((hosts[random.below(position as u64) as usize], host));
        }
    }
    links.sort_unstable();
    links.dedup();
    links
}

/// Returns the end of a world that runs long enough for anything.
pub const fn forever() -> Instant {
    Instant(u64::MAX / 2)
}
