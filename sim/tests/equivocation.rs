//! A writer that signs two histories is known for it to everybody it meets, and nobody else is blamed.

use std::time::Duration;

use datnode_feed::{Accusation, SecretKey};
use datnode_proto::Order;
use datnode_sim::{HostId, Random, World};

/// How long after the first contact everybody must know.
const SOON: Duration = Duration::from_secs(5);
const SEEDS: u64 = 200;

struct Split {
    world: World,
    groups: [Vec<HostId>; 2],
    lengths: [u64; 2],
}

/// Two groups, each with a writer of the same key that tells it another history; `shared` blocks are the same.
fn split(seed: u64) -> Split {
    let secret = SecretKey::from_bytes([9; 32]);
    let mut random = Random::new(seed);
    let mut world = World::new(seed);
    let shared = random.below(20);
    let mut lengths = [0; 2];
    let groups = [0, 1].map(|side: u64| {
        let hosts: Vec<HostId> = (0..2 + random.below(4)).map(|_| world.host(&secret)).collect();
        // Both writers make the same blocks first, from the same numbers.
        let mut same = Random::new(seed ^ 7);
        let mut other = Random::new(seed ^ (100 + side));
        world.at(hosts[0]).append(&secret, shared, &mut same);
        let own = 1 + random.below(40);
        world.at(hosts[0]).append(&secret, own, &mut other);
        let total = shared + own;
        // Whoever holds a part is linked to somebody who holds everything: what shows the fork must be within reach.
        let mut whole = vec![hosts[0]];
        for &host in &hosts[1..] {
            let to = whole[random.below(whole.len() as u64) as usize];
            let latency = Duration::from_micros(100 + random.below(30_000));
            world.link(to, host, latency, 1_000_000);
            let end = if random.below(2) == 0 { total } else { 1 + random.below(total) };
            if end == total {
                whole.push(host);
            }
            world.at(host).want(vec![0..end], 0, Order::Rarest);
            world.settle(host);
        }
        lengths[usize::try_from(side).unwrap()] = total;
        hosts
    });
    world.run(world.now + Duration::from_secs(600));
    Split { world, groups, lengths }
}

fn join(split: &mut Split, random: &mut Random) {
    for _ in 0..1 + random.below(2) {
        let [a, b] = [0, 1].map(|side: usize| {
            let group = &split.groups[side];
            group[random.below(group.len() as u64) as usize]
        });
        let latency = Duration::from_micros(100 + random.below(30_000));
        split.world.link(a, b, latency, 1_000_000);
    }
    let until = split.world.now + SOON;
    split.world.run(until);
}

#[test]
fn everybody_has_the_same_proof_soon_after_the_sides_meet() {
    for seed in 0..SEEDS {
        let mut split = split(seed);
        let held: Vec<Vec<u64>> = split
            .groups
            .iter()
            .flatten()
            .map(|host| {
                let host = split.world.at(*host);
                (0..60).filter(|block| host.block(*block).is_some()).collect()
            })
            .collect();
        join(&mut split, &mut Random::new(seed ^ 3));
        let hosts: Vec<HostId> = split.groups.concat();
        let key = SecretKey::from_bytes([9; 32]).public();
        let known: Vec<Option<Accusation>> =
            hosts.iter().map(|host| split.world.at(*host).accusation().cloned()).collect();
        for (position, (host, known)) in hosts.iter().zip(&known).enumerate() {
            let known =
                known.as_ref().unwrap_or_else(|| panic!("seed {seed}: {host:?} knows nothing"));
            assert_eq!(known.verify(&key), Ok(()), "seed {seed}");
            let host = split.world.at(*host);
            assert!(host.faults.is_empty(), "seed {seed}: somebody honest was blamed");
            let side = usize::from(position >= split.groups[0].len());
            assert!(host.length() <= split.lengths[side], "seed {seed}: a head was taken over");
            for block in &held[position] {
                assert!(host.block(*block).is_some(), "seed {seed}: block {block} went away");
            }
        }
    }
}

#[test]
fn worlds_with_one_history_accuse_nobody() {
    for seed in 0..50 {
        let secret = SecretKey::from_bytes([9; 32]);
        let mut world = World::new(seed);
        let mut random = Random::new(seed);
        let hosts: Vec<HostId> = (0..4).map(|_| world.host(&secret)).collect();
        for &host in &hosts[1..] {
            world.link(hosts[0], host, Duration::from_millis(1 + random.below(50)), 100_000);
            world.at(host).want(vec![0..200], 0, Order::Rarest);
            world.settle(host);
        }
        for _ in 0..5 {
            let count = random.below(40);
            world.at(hosts[0]).append(&secret, count, &mut random);
            world.settle(hosts[0]);
            world.run(world.now + Duration::from_millis(random.below(400)));
        }
        world.run(world.now + Duration::from_secs(600));
        for &host in &hosts {
            let length = world.at(hosts[0]).length();
            let host = world.at(host);
            assert!(host.accusation().is_none() && host.faults.is_empty(), "seed {seed}");
            assert_eq!(host.length(), length, "seed {seed}");
        }
    }
}
