//! Fair uploads: who floods or is slow slows nobody else, and what is new goes out once before it goes out twice.

use std::time::Duration;

use datnode_proto::limits::CREDIT_START;
use datnode_proto::{Instant, Order, Priority, Target, Want};
use datnode_sim::HostId;
use datnode_sim::swarm::{Content, Light, Line, Swarm};

const BLOCKS: u64 = 256;
const BLOCK_BYTES: usize = 16 << 10;
const RATE: u64 = 1_000_000;
const FAST: u64 = 1_000_000_000;
const LATENCY: Duration = Duration::from_millis(5);
const END: Instant = Instant(600_000_000);
/// What a block is on the line beside its payload, at most: its header, proof and prefix, and what is said beside it.
const BESIDE: u64 = 1_024;
/// Greeting, opening, telling what is held, the head's proof, and asking: six ways, and as many again for what waits for a timer.
const BEGINNING: Duration = LATENCY.saturating_mul(12);

/// A server, and those who ask it.
struct Scene {
    swarm: Swarm,
    content: Content,
    server: HostId,
}

impl Scene {
    fn new() -> Self {
        let (mut swarm, content) = (Swarm::new(1), Content::new(BLOCKS, BLOCK_BYTES));
        let server = swarm.host(Line::even(RATE), Light::full(&content));
        Self { swarm, content, server }
    }

    fn asker(&mut self, down: u64) -> HostId {
        let host = self.swarm.host(Line { up: FAST, down }, Light::empty(&self.content));
        self.swarm.connect(self.server, host, LATENCY);
        host
    }

    fn wants_all(&mut self, host: HostId) {
        self.swarm.want(host, Want::new(Target::Blocks(vec![0..BLOCKS])));
    }

    /// Runs until some hosts have everything; returns how long that took.
    fn finish(&mut self, hosts: &[HostId]) -> Duration {
        let is_done = |swarm: &Swarm, host: &HostId| swarm.at(*host).stored.len() as u64 == BLOCKS;
        while !hosts.iter().all(|host| is_done(&self.swarm, host)) {
            assert!(self.swarm.step(END), "somebody waits for ever");
        }
        self.swarm.now.since(Instant(0))
    }
}

/// Returns how long so many bytes take on the server's line.
fn takes(bytes: u64) -> Duration {
    Duration::from_micros(bytes * 1_000_000 / RATE)
}

/// What the whole content is on the line, at most.
const CONTENT: u64 = BLOCKS * (BLOCK_BYTES as u64 + BESIDE);

#[test]
fn who_takes_slowly_slows_nobody_else() {
    for slow in [1, 4] {
        let mut scene = Scene::new();
        // A hundredth of the server's line each.
        let rate = RATE / 100;
        (0..slow).for_each(|_| {
            let host = scene.asker(rate);
            scene.wants_all(host);
        });
        let others = [(); 3].map(|()| scene.asker(FAST));
        others.iter().for_each(|host| scene.wants_all(*host));
        let took = scene.finish(&others);
        // What a slow one takes meanwhile, and the credit that it has beside: more is not sent to it.
        let taken = rate * took.as_secs() + rate + CREDIT_START;
        let most = takes(3 * CONTENT + slow * taken) + BEGINNING;
        assert!(took <= most, "{took:?} of {most:?} beside {slow}");
    }
}

#[test]
fn who_floods_with_requests_gets_no_more_than_its_share() {
    for floods in [1, 3] {
        let mut scene = Scene::new();
        let flooders: Vec<HostId> = (0..floods).map(|_| scene.asker(FAST)).collect();
        for host in &flooders {
            // Each block is a request of its own, as urgent as can be.
            for block in 0..BLOCKS {
                let want = Want::new(Target::Blocks(vec![block..block + 1]));
                let (priority, order) = (Priority(u8::MAX), Order::Linear);
                scene.swarm.want(*host, Want { priority, order, ..want });
            }
        }
        let one = scene.asker(FAST);
        scene.wants_all(one);
        let took = scene.finish(&[one]);
        // Equal shares of the line, in turns of a block, from when it asked.
        let shares = floods + 1;
        let turns = shares * (BLOCK_BYTES as u64 + BESIDE) * 2;
        let most = takes(shares * CONTENT + turns) + BEGINNING;
        assert!(took <= most, "{took:?} of {most:?} beside {floods}");
        let faults: usize = scene.swarm.hosts().map(|host| host.faults.len()).sum();
        assert_eq!(faults, 0, "to ask for much is no fault");
    }
}

#[test]
fn the_first_mirrors_of_a_new_drive_get_each_block_once_and_the_rest_from_each_other() {
    for mirrors in [2, 4, 8] {
        let mut scene = Scene::new();
        let hosts: Vec<HostId> = (0..mirrors).map(|_| scene.asker(FAST)).collect();
        for (at, host) in hosts.iter().enumerate() {
            scene.wants_all(*host);
            hosts[..at].iter().for_each(|other| {
                scene.swarm.connect(*host, *other, LATENCY);
            });
        }
        let took = scene.finish(&hosts);
        let sent = scene.swarm.at(scene.server).left;
        // Promised of any swarm. Were each sent all, it would be as many times the content as there are mirrors.
        assert!(sent <= 2 * BLOCKS, "{sent} blocks to {mirrors}");
        let most = takes(2 * CONTENT) + BEGINNING;
        assert!(took <= most, "{took:?} of {most:?} to {mirrors}");
    }
}
