//! Random worlds: a writer, readers, links that come and go, sometimes a liar; all of it from a seed.

use std::time::Duration;

use datnode_feed::SecretKey;
use datnode_proto::{Instant, Order};

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
    /// The virtual time at the end.
    pub micros: u64,
    /// The hash over everything that arrived.
    pub trace: String,
    /// What went wrong.
    pub problems: Vec<String>,
}

/// Runs the world of a seed until it is at rest, and checks that everybody has everything.
pub fn run(seed: u64) -> Outcome {
    let mut random = Random::new(seed);
    let secret = SecretKey::from_bytes([9; 32]);
    let mut world = World::new(seed ^ 0xd1b5_4a32_d192_ed03);
    let count = 2 + random.below(6) as usize;
    let hosts: Vec<HostId> = (0..count).map(|_| world.host(&secret)).collect();
    let writer = hosts[0];
    let liar = (count > 3 && random.below(2) == 0).then(|| hosts[count - 1]);
    if let Some(liar) = liar {
        world.at(liar).lies = Some((3, Random::new(seed)));
    }
    let mut links = Vec::new();
    for (position, &host) in hosts.iter().enumerate().skip(1) {
        // Everybody honest has an honest way to the writer.
        let honest = if liar.is_some() { position.min(count - 2) } else { position };
        let to = hosts[random.below(honest.max(1) as u64) as usize];
        links.push((to, host));
        if random.below(2) == 0 {
            links.push((hosts[random.below(position as u64) as usize], host));
        }
    }
    links.sort_unstable();
    links.dedup();
    let mut total = 0;
    let mut open = Vec::new();
    for round in 0..4 {
        let blocks = random.below(60);
        total += blocks;
        world.at(writer).append(&secret, blocks, &mut random);
        world.settle(writer);
        for &(a, b) in &links {
            let latency = Duration::from_micros(100 + random.below(80_000));
            let link = world.link(a, b, latency, 20_000 + random.below(5_000_000));
            open.push((a, link));
        }
        for &host in &hosts[1..] {
            world.at(host).want(vec![0..total], 0, Order::Rarest);
            world.settle(host);
        }
        if round < 3 {
            // Everything is cut in the middle of it, and comes back in the next round.
            let until = world.now + Duration::from_micros(random.below(3_000_000));
            world.run(until);
            open.drain(..).for_each(|(host, link)| world.cut(host, link));
        }
    }
    world.run(world.now + Duration::from_secs(3_600));
    let problems = check(&mut world, &hosts, liar, total);
    let trace = world.trace().to_hex().to_string();
    Outcome {
        hosts: count,
        blocks: total,
        frames: world.frames,
        micros: world.now.0,
        trace,
        problems,
    }
}

fn check(world: &mut World, hosts: &[HostId], liar: Option<HostId>, total: u64) -> Vec<String> {
    let mut problems = Vec::new();
    for &host in hosts.iter().filter(|host| Some(**host) != liar) {
        let length = world.at(host).length();
        if length != total {
            problems.push(format!("{host:?} knows {length} of {total} blocks"));
        }
        for block in 0..total {
            let right = world.at(hosts[0]).block(block);
            if world.at(host).block(block) != right {
                problems.push(format!("{host:?} has not block {block}"));
                break;
            }
        }
        if liar.is_none() && !world.at(host).faults.is_empty() {
            problems.push(format!("{host:?} blamed an honest peer"));
        }
    }
    problems
}

/// Returns the end of a world that runs long enough for anything.
pub const fn forever() -> Instant {
    Instant(u64::MAX / 2)
}
