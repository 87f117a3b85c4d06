//! What could be reached in the swarm of the figures `crowd` and `large-crowd`: the same hosts, lines, ways and blocks, and
//! somebody who decides, whenever a line up is free, which neighbour gets which block next.
//!
//! A host may send a block so long after it has it as it takes to say so, to be asked, and `delay` beside: what a real one waits
//! before it tells, and for its line. Who has least is served first, with what is rarest. Nobody is sent a block twice, for which
//! one would have to know at once what others send: without that it takes longer.
//!
//! `cargo run --release --locked -p datnode-sim --example crowd_floor`

#![expect(clippy::print_stdout, reason = "it prints what it is for")]

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use datnode_sim::Random;

const BLOCKS: usize = 512;
const BLOCK_BYTES: u64 = 64 << 10;
const RATE: u64 = 5_000_000;
const DIALS: u64 = 5;
const SEED: usize = 0;
/// What a block takes on a line, in microseconds.
const EACH: u64 = BLOCK_BYTES * 1_000_000 / RATE;
/// How much may wait before a line down.
const WAITING: u64 = 3 * EACH;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A block is there.
    Came(usize, usize),
    /// The line up of a host is free.
    Free(usize),
    /// A host may have something to send.
    Look(usize),
}

struct Host {
    /// The others, and how far away they are.
    neighbours: Vec<(usize, u64)>,
    /// When each block was there.
    came: Vec<Option<u64>>,
    /// What it has or is sent.
    coming: Vec<bool>,
    count: usize,
    is_busy: bool,
    line_down_free_at: u64,
}

struct Floor {
    random: Random,
    hosts: Vec<Host>,
    /// How many hosts have each block, or are sent it.
    copies: Vec<u64>,
    delay: u64,
    queue: BinaryHeap<Reverse<(u64, Event)>>,
}

impl Floor {
    fn new(peers: usize, delay: u64) -> Self {
        let host = |is_seed: bool| Host {
            neighbours: Vec::new(),
            came: vec![is_seed.then_some(0); BLOCKS],
            coming: vec![is_seed; BLOCKS],
            count: 0,
            is_busy: false,
            line_down_free_at: 0,
        };
        let hosts = (0..=peers).map(|at| host(at == SEED)).collect();
        let (random, copies) = (Random::new(1), vec![1; BLOCKS]);
        let mut floor = Self { random, hosts, copies, delay, queue: BinaryHeap::new() };
        (0..=peers).for_each(|host| floor.dial(host));
        floor.queue.push(Reverse((0, Event::Look(SEED))));
        floor
    }

    /// Connects a host with others, as the figures do.
    fn dial(&mut self, host: usize) {
        for _ in 0..DIALS {
            // There the seed comes last.
            let other =
                (self.random.below(self.hosts.len() as u64) as usize + 1) % self.hosts.len();
            let way = 5_000 + self.random.below(45_000);
            if other != host {
                self.hosts[host].neighbours.push((other, way));
                self.hosts[other].neighbours.push((host, way));
            }
        }
    }

    /// Runs until nothing happens any more; returns when the last block came.
    fn run(mut self) -> u64 {
        let mut last = 0;
        while let Some(Reverse((now, event))) = self.queue.pop() {
            match event {
                Event::Came(host, block) => {
                    last = now;
                    self.came(now, host, block);
                }
                Event::Free(host) => {
                    self.hosts[host].is_busy = false;
                    self.send(now, host);
                }
                Event::Look(host) => self.send(now, host),
            }
        }
        assert!(self.hosts.iter().skip(1).all(|host| host.count == BLOCKS), "all have all");
        last
    }

    fn came(&mut self, now: u64, id: usize, block: usize) {
        let host = &mut self.hosts[id];
        host.came[block] = Some(now);
        host.count += 1;
        for (_, way) in &host.neighbours {
            self.queue.push(Reverse((now + 2 * way + self.delay, Event::Look(id))));
        }
    }

    /// Sends a block to somebody, if the line is free.
    fn send(&mut self, now: u64, id: usize) {
        if self.hosts[id].is_busy {
            return;
        }
        let Some((to, way, block)) = self.choose(now, id) else {
            // Somebody's line down may be what is in the way.
            let fulls = &self.hosts[id].neighbours;
            if fulls.iter().any(|(to, way)| self.is_full(now, *to, *way)) {
                self.queue.push(Reverse((now + EACH / 2, Event::Look(id))));
            }
            return;
        };
        self.copies[block] += 1;
        self.hosts[id].is_busy = true;
        self.queue.push(Reverse((now + EACH, Event::Free(id))));
        let host = &mut self.hosts[to];
        host.coming[block] = true;
        host.line_down_free_at = host.line_down_free_at.max(now + way) + EACH;
        self.queue.push(Reverse((host.line_down_free_at, Event::Came(to, block))));
    }

    fn is_full(&self, now: u64, to: usize, way: u64) -> bool {
        self.hosts[to].line_down_free_at > now + way + WAITING
    }

    /// Returns who is served next, how far away that is, and with which block.
    fn choose(&mut self, now: u64, id: usize) -> Option<(usize, u64, usize)> {
        let mut best = None;
        for at in 0..self.hosts[id].neighbours.len() {
            let (to, way) = self.hosts[id].neighbours[at];
            if self.is_full(now, to, way) {
                continue;
            }
            let known = |came: u64| id == SEED || came + 2 * way + self.delay <= now;
            for block in 0..BLOCKS {
                let has = self.hosts[id].came[block].is_some_and(known);
                if has && !self.hosts[to].coming[block] {
                    let tie = self.random.below(1 << 20);
                    let rank = (self.hosts[to].count, self.copies[block], tie);
                    best = best.max(Some((Reverse(rank), to, way, block)));
                }
            }
        }
        best.map(|(_, to, way, block)| (to, way, block))
    }
}

fn main() {
    let bound = BLOCKS as u64 * EACH;
    println!("times the bound, where so many ms pass beside two ways before a block goes on");
    for peers in [100, 1_000] {
        for delay in [0, 50_000, 100_000, 200_000] {
            let last = Floor::new(peers, delay).run();
            let times = last as f64 / bound as f64;
            println!("{peers:>5} peers  {:>4} ms  {times:.2}", delay / 1_000);
        }
    }
}
