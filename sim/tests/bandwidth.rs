//! Bandwidth limits in virtual time: what passes in any ten seconds, who gets it, and what does not wait.

use std::collections::BTreeSet;
use std::time::Duration;

use datnode_feed::SecretKey;
use datnode_proto::limits::{ANNOUNCE_EVERY, BLOCK_BYTES_GUESS, LIMIT_BURST, READ_BYTES_MAX};
use datnode_proto::{Instant, Limits, Order};
use datnode_sim::{HostId, World, scenario};

const FAST: u64 = 100_000_000;
const BLOCK: u64 = 16 << 10;
const LIMIT: u64 = 256 << 10;
const LATENCY: Duration = Duration::from_millis(20);
const TEN: Duration = Duration::from_secs(10);

fn secret() -> SecretKey {
    SecretKey::from_bytes([9; 32])
}

fn up(limit: u64) -> Limits {
    Limits { up: Some(limit), down: None }
}

fn down(limit: u64) -> Limits {
    Limits { up: None, down: Some(limit) }
}

/// Writers of the same feed, and its readers, each of whom is connected with each writer.
struct Scene {
    world: World,
    writers: Vec<HostId>,
    readers: Vec<HostId>,
}

impl Scene {
    fn new(writers: usize, readers: usize, blocks: u64, size: u64, limits: Limits) -> Self {
        let mut world = World::new(1);
        world.passed = Some(Vec::new());
        let blocks: Vec<Vec<u8>> =
            (0..blocks).map(|block| vec![block as u8; size as usize]).collect();
        let writers: Vec<HostId> = (0..writers).map(|_| world.host(&secret())).collect();
        for &writer in &writers {
            world.at(writer).append_these(&secret(), &blocks);
        }
        let readers: Vec<HostId> = (0..readers).map(|_| world.host(&secret())).collect();
        let limited = if limits.up.is_some() { &writers } else { &readers };
        for &host in limited {
            world.at(host).replicator.limit(Instant(0), limits);
        }
        for &reader in &readers {
            world.at(reader).want(vec![0..blocks.len() as u64], 0, Order::Rarest);
            for &writer in &writers {
                world.link(writer, reader, LATENCY, FAST);
            }
        }
        Self { world, writers, readers }
    }

    fn limit(&mut self, host: HostId, limits: Limits) {
        let now = self.world.now;
        self.world.at(host).replicator.limit(now, limits);
        self.world.settle(host);
    }

    /// Lets time pass.
    fn run(&mut self, span: Duration) -> Instant {
        let until = self.world.now + span;
        self.world.run(until);
        self.world.now = until;
        until
    }

    /// Returns the bytes of blocks that passed a host, within a time.
    fn passed(&self, host: HostId, came: bool, from: Instant, until: Instant) -> u64 {
        let passed = self.world.passed.iter().flatten();
        let counts = passed.filter(|one| one.host == host && one.came == came && one.is_block);
        counts.filter(|one| one.at >= from && one.at < until).map(|one| one.bytes).sum()
    }

    /// Asserts that in any ten seconds of a time as much passes as may, but for a twentieth.
    fn assert_rate(&self, host: HostId, came: bool, from: Instant, until: Instant, limit: u64) {
        let mut begin = from;
        assert!(begin + TEN <= until);
        while begin + TEN <= until {
            let bytes = self.passed(host, came, begin, begin + TEN);
            let exact = limit * TEN.as_secs();
            assert!(bytes.abs_diff(exact) <= exact / 20, "{bytes} of {exact} from {begin:?}");
            begin = begin + Duration::from_millis(70);
        }
    }

    /// Asserts that all was well: no fault, no block twice.
    fn assert_honest(&mut self) {
        for host in self.writers.iter().chain(&self.readers).copied() {
            assert!(self.world.at(host).faults.is_empty());
            let arrived = self.world.at(host).arrived.clone();
            let once: BTreeSet<u64> = arrived.iter().copied().collect();
            assert_eq!(once.len(), arrived.len());
        }
    }
}

#[test]
fn a_sender_keeps_its_limit_however_many_ask_and_is_fair_to_them() {
    for readers in [1, 4] {
        let mut scene = Scene::new(1, readers, 1_000, BLOCK, up(LIMIT));
        let writer = scene.writers[0];
        let end = scene.run(Duration::from_secs(30));
        scene.assert_rate(writer, false, Instant(1_000_000), end, LIMIT);
        let fair = LIMIT * 30 / readers as u64;
        for reader in scene.readers.clone() {
            let bytes = scene.passed(reader, true, Instant(0), end);
            assert!(bytes.abs_diff(fair) <= fair / 10, "{bytes} of {fair}");
        }
        scene.assert_honest();
    }
}

#[test]
fn a_receiver_keeps_its_limit_however_many_send_and_asks_them_alike() {
    for writers in [1, 4] {
        let mut scene = Scene::new(writers, 1, 1_000, BLOCK, down(LIMIT));
        let reader = scene.readers[0];
        let end = scene.run(Duration::from_secs(30));
        scene.assert_rate(reader, true, Instant(1_000_000), end, LIMIT);
        let fair = LIMIT * 30 / writers as u64;
        for writer in scene.writers.clone() {
            let bytes = scene.passed(writer, false, Instant(0), end);
            assert!(bytes.abs_diff(fair) <= fair / 10, "{bytes} of {fair}");
        }
        scene.assert_honest();
    }
}

#[test]
fn limits_that_change_count_at_once() {
    for (limits, came) in [(up as fn(u64) -> Limits, false), (down, true)] {
        let mut scene = Scene::new(1, 1, 1_000, BLOCK, limits(LIMIT));
        let host = if came { scene.readers[0] } else { scene.writers[0] };
        let first = scene.run(Duration::from_secs(10));
        scene.limit(host, limits(2 * LIMIT));
        let second = scene.run(TEN);
        scene.assert_rate(host, came, first, second, 2 * LIMIT);
        scene.limit(host, limits(LIMIT / 2));
        let third = scene.run(TEN);
        scene.assert_rate(host, came, second, third, LIMIT / 2);
        scene.limit(host, Limits::default());
        // The credit grows from what the limit left of it.
        scene.run(Duration::from_secs(3));
        assert_eq!(scene.world.at(scene.readers[0]).arrived.len(), 1_000);
        scene.assert_honest();
    }
}

#[test]
fn a_limit_in_the_middle_of_a_fast_transfer_counts_what_is_under_way() {
    for (limits, came) in [(up as fn(u64) -> Limits, false), (down, true)] {
        let mut scene = Scene::new(1, 1, 3_000, BLOCK, Limits::default());
        let host = if came { scene.readers[0] } else { scene.writers[0] };
        let begin = scene.run(Duration::from_millis(300));
        scene.limit(host, limits(LIMIT));
        let end = scene.run(Duration::from_secs(40));
        let total = scene.passed(host, came, begin, end);
        let exact = LIMIT * 40;
        // What was granted before the limit may come beyond what is forgiven of it.
        assert!(total <= exact + exact / 20 + if came { 8 << 20 } else { 0 }, "{total} of {exact}");
        scene.assert_rate(host, came, begin + Duration::from_secs(15), end, LIMIT);
        scene.assert_honest();
    }
}

#[test]
fn what_is_urgent_overtakes_under_a_limit() {
    for limits in [up as fn(u64) -> Limits, down] {
        let mut scene = Scene::new(1, 2, 1_000, BLOCK, limits(LIMIT));
        let (bulk, urgent) = (scene.readers[0], scene.readers[1]);
        scene.run(Duration::from_secs(3));
        // Whoever wants it has bulk under way as well, and waits for all of that.
        let writer = scene.writers[0];
        scene.world.at(writer).append_these(&secret(), &[vec![9; BLOCK as usize]]);
        scene.world.settle(writer);
        scene.run(Duration::from_millis(200));
        let before = [bulk, urgent].map(|reader| scene.world.at(reader).arrived.len());
        let (begin, wanted) = (scene.world.now, 1_000);
        scene.world.at(urgent).want(vec![wanted..wanted + 1], 9, Order::Linear);
        scene.world.settle(urgent);
        while !scene.world.at(urgent).arrived.contains(&wanted) {
            assert!(scene.world.step(begin + TEN), "it does not come");
        }
        let after = [bulk, urgent].map(|reader| scene.world.at(reader).arrived.len());
        let meanwhile = after.iter().sum::<usize>() - before.iter().sum::<usize>();
        assert!(meanwhile <= 8, "{meanwhile} blocks came first");
        scene.assert_honest();
    }
}

#[test]
fn whoever_calls_everything_urgent_gets_its_share_and_no_more() {
    let mut scene = Scene::new(1, 2, 2_000, BLOCK, up(LIMIT));
    let loud = scene.readers[1];
    scene.world.at(loud).want(vec![0..2_000], 255, Order::Linear);
    scene.world.settle(loud);
    let end = scene.run(Duration::from_secs(60));
    let quiet = scene.passed(scene.readers[0], true, Instant(0), end);
    let fair = LIMIT * 30;
    assert!(quiet + LIMIT + 2 * BLOCK >= fair - fair / 20, "{quiet} of {fair}");
    scene.assert_honest();
}

#[test]
fn what_is_no_block_does_not_wait() {
    for limits in [up as fn(u64) -> Limits, down] {
        // A block takes more than a minute.
        let mut scene = Scene::new(1, 1, 100, BLOCK, limits(200));
        let (writer, reader) = (scene.writers[0], scene.readers[0]);
        scene.run(TEN);
        for length in 101..120 {
            let begin = scene.world.now;
            scene.world.at(writer).append_these(&secret(), &[vec![1; 100]]);
            scene.world.settle(writer);
            while scene.world.at(reader).length() < length {
                assert!(scene.world.step(begin + ANNOUNCE_EVERY + 4 * LATENCY), "{length}");
            }
            scene.world.now = begin + ANNOUNCE_EVERY + 4 * LATENCY;
        }
    }
}

#[test]
fn a_source_that_we_hold_back_keeps_what_it_owes() {
    // A block takes sixteen seconds: far longer than a peer may be silent.
    let mut scene = Scene::new(4, 1, 40, 1 << 20, down(64 << 10));
    let end = scene.run(Duration::from_secs(300));
    let requests = scene.world.passed.iter().flatten().filter(|one| !one.came && !one.is_block);
    let from_reader = requests.filter(|one| one.host == scene.readers[0]).count();
    assert!(from_reader <= 400, "{from_reader} frames: nothing is asked and withdrawn in circles");
    let bytes = scene.passed(scene.readers[0], true, Instant(0), end);
    let exact = 300 * (64 << 10);
    assert!(bytes.abs_diff(exact) <= 1 << 20, "{bytes} of {exact}");
    scene.assert_honest();
}

#[test]
fn a_source_that_has_to_be_slow_is_not_asked_for_the_same_again_and_again() {
    // As before, but the other end keeps the limit, which nobody here can know before the second block came.
    let mut scene = Scene::new(1, 1, 20, 1 << 20, up(64 << 10));
    let end = scene.run(Duration::from_secs(28 * 16));
    assert_eq!(scene.world.at(scene.readers[0]).arrived.len(), 20);
    // What had been read when it was asked for again.
    let twice = READ_BYTES_MAX / BLOCK_BYTES_GUESS;
    let sent = scene.passed(scene.writers[0], false, Instant(0), end) >> 20;
    assert!(sent <= 20 + twice, "{sent} blocks were sent");
}

#[test]
fn a_peer_on_this_computer_has_no_limit() {
    for limits in [up as fn(u64) -> Limits, down] {
        let mut scene = Scene::new(1, 0, 500, BLOCK, up(1_000));
        let (writer, reader) = (scene.writers[0], scene.world.host(&secret()));
        scene.limit(reader, limits(1_000));
        scene.world.at(reader).want(vec![0..500], 0, Order::Rarest);
        // The ends are told before they say anything.
        let ends = scene.world.connect(writer, reader, LATENCY, FAST);
        for (host, peer) in [(writer, ends.0), (reader, ends.1)] {
            scene.world.at(host).replicator.exempt(peer);
        }
        [writer, reader].into_iter().for_each(|host| scene.world.settle(host));
        scene.run(Duration::from_secs(5));
        assert_eq!(scene.world.at(reader).arrived.len(), 500);
    }
}

#[test]
fn whoever_comes_again_and_again_gets_no_more() {
    let mut scene = Scene::new(1, 0, 1_000, BLOCK, up(LIMIT));
    let writer = scene.writers[0];
    let reader = scene.world.host(&secret());
    scene.readers.push(reader);
    scene.limit(reader, down(LIMIT / 2));
    scene.world.at(reader).want(vec![0..1_000], 0, Order::Rarest);
    let end = Instant(0) + Duration::from_secs(30);
    while scene.world.now < end {
        let link = scene.world.link(writer, reader, LATENCY, FAST);
        scene.run(Duration::from_millis(400));
        scene.world.cut(writer, link);
    }
    let bytes = scene.passed(reader, true, Instant(0), end);
    let most = (LIMIT / 2) * 30;
    assert!(bytes <= most + most / 20, "{bytes} of {most}");
    assert!(bytes >= most / 2, "{bytes} of {most}");
}

#[test]
fn whoever_comes_again_and_again_overtakes_no_more_for_that() {
    const TIMES: u64 = 60;
    let mut scene = Scene::new(1, 1, 2_000, BLOCK, up(LIMIT));
    let (writer, quiet) = (scene.writers[0], scene.readers[0]);
    let loud = scene.world.host(&secret());
    scene.world.at(loud).want(vec![0..2_000], 255, Order::Linear);
    for _ in 0..TIMES {
        let link = scene.world.link(writer, loud, LATENCY, FAST);
        scene.run(Duration::from_secs(1));
        scene.world.cut(writer, link);
    }
    let end = scene.world.now;
    let bytes = scene.passed(quiet, true, Instant(0), end);
    // Whoever comes begins a block behind the one that is sent just then.
    let fair = LIMIT * TIMES / 2 - BLOCK * TIMES;
    assert!(bytes >= fair - fair / 20, "{bytes} of {fair}");
    scene.assert_rate(writer, false, Instant(1_000_000), end, LIMIT);
    scene.assert_honest();
}

#[test]
fn what_many_left_of_their_turns_is_no_burst_later() {
    const LARGE: u64 = 256 << 10;
    // Each takes a small block, which is far less than its turn.
    let mut scene = Scene::new(1, 20, 1, 100, up(LIMIT));
    let writer = scene.writers[0];
    scene.world.run(scenario::forever());
    let begin = scene.run(Duration::from_secs(3_600));
    let blocks: Vec<Vec<u8>> = (0..4).map(|_| vec![7; LARGE as usize]).collect();
    scene.world.at(writer).append_these(&secret(), &blocks);
    for reader in scene.readers.clone() {
        assert_eq!(scene.world.at(reader).arrived, [0]);
        scene.world.at(reader).want(vec![1..5], 0, Order::Rarest);
        scene.world.settle(reader);
    }
    scene.world.settle(writer);
    let end = scene.run(Duration::from_secs(40));
    let bytes = scene.passed(writer, false, begin, begin + TEN);
    let burst = LIMIT * LIMIT_BURST.as_millis() as u64 / 1_000;
    let most = LIMIT * 10 + burst + 2 * LARGE;
    assert!(bytes <= most, "{bytes} of {most}");
    let (bytes, exact) = (scene.passed(writer, false, begin, end), LIMIT * 40);
    assert!(bytes.abs_diff(exact) <= burst + 2 * LARGE, "{bytes} of {exact}");
    scene.assert_honest();
}

#[test]
fn a_burst_after_a_rest_is_small() {
    let mut scene = Scene::new(1, 1, 1_000, BLOCK, up(LIMIT));
    let (writer, reader) = (scene.writers[0], scene.readers[0]);
    scene.world.run(scenario::forever());
    let begin = scene.run(Duration::from_secs(3_600));
    let blocks: Vec<Vec<u8>> = (0..400).map(|_| vec![7; BLOCK as usize]).collect();
    scene.world.at(writer).append_these(&secret(), &blocks);
    scene.world.at(reader).want(vec![1_000..1_400], 0, Order::Rarest);
    scene.world.settle(reader);
    scene.world.settle(writer);
    scene.run(TEN);
    let bytes = scene.passed(writer, false, begin, begin + TEN);
    let burst = LIMIT * LIMIT_BURST.as_millis() as u64 / 1_000;
    let most = LIMIT * 10 + burst + 2 * BLOCK;
    assert!(bytes <= most, "{bytes} of {most}");
}
