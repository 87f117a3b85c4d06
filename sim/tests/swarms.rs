//! Swarms are what their figures take them for: everything follows from a seed, and what is shared is shared.

use std::time::Duration;

use datnode_proto::{Instant, Target, Want};
use datnode_sim::HostId;
use datnode_sim::swarm::{Content, Light, Line, Swarm};

const BLOCKS: u64 = 256;
const RATE: u64 = 1_000_000;
const FAST: u64 = 1_000_000_000;
const LATENCY: Duration = Duration::from_millis(5);
const END: Instant = Instant(600_000_000);

/// A writer and its readers, who want everything.
struct Star {
    swarm: Swarm,
    content: Content,
    writer: HostId,
    readers: Vec<HostId>,
}

impl Star {
    fn new(seed: u64, writer: Line, reader: Line, readers: usize) -> Self {
        let (mut swarm, content) = (Swarm::new(seed), Content::new(BLOCKS, 16 << 10));
        let writer = swarm.host(writer, Light::full(&content));
        let reader = |_| {
            let host = swarm.host(reader, Light::empty(&content));
            swarm.want(host, Want::new(Target::Blocks(vec![0..BLOCKS])));
            swarm.connect(writer, host, LATENCY);
            host
        };
        let readers = (0..readers).map(reader).collect();
        Self { swarm, content, writer, readers }
    }

    /// Returns when each reader was done, in seconds.
    fn finish(&mut self) -> Vec<f64> {
        self.swarm.run(END);
        let done = |host: &HostId| self.swarm.at(*host).done.values().next().copied();
        self.readers.iter().filter_map(done).map(|at| at.0 as f64 / 1e6).collect()
    }
}

#[test]
fn two_runs_of_one_seed_are_alike() {
    let trace = |seed| {
        let mut star = Star::new(seed, Line::even(RATE), Line::even(RATE), 3);
        star.swarm.connect(star.readers[0], star.readers[1], LATENCY);
        assert_eq!(star.finish().len(), 3);
        (star.swarm.trace(), star.swarm.frames, star.swarm.events)
    };
    assert_eq!(trace(1), trace(1));
    assert_ne!(trace(1), trace(2));
}

#[test]
fn connections_of_a_host_share_its_line_up() {
    for readers in [1, 2, 4] {
        let mut star = Star::new(1, Line::even(RATE), Line::even(FAST), readers);
        let least = (readers as u64 * star.content.bytes()) as f64 / RATE as f64;
        let done = star.finish();
        assert_eq!(done.len(), readers);
        assert!(done.iter().all(|at| *at < least * 1.1), "{done:?} of {least}");
        let last = done.iter().copied().fold(0.0, f64::max);
        let first = done.iter().copied().fold(f64::INFINITY, f64::min);
        assert!(last >= least && first >= least * 0.9, "{done:?} of {least}");
    }
}

#[test]
fn connections_of_a_host_share_its_line_down() {
    let (mut swarm, content) = (Swarm::new(1), Content::new(BLOCKS, 16 << 10));
    let reader = swarm.host(Line { up: FAST, down: RATE }, Light::empty(&content));
    for _ in 0..4 {
        let writer = swarm.host(Line::even(RATE), Light::full(&content));
        swarm.connect(reader, writer, LATENCY);
    }
    swarm.want(reader, Want::new(Target::Blocks(vec![0..BLOCKS])));
    swarm.run(END);
    let done = swarm.at(reader).done.values().next().unwrap().0 as f64 / 1e6;
    let least = content.bytes() as f64 / RATE as f64;
    assert!(done >= least && done < least * 1.1, "{done} of {least}");
}

#[test]
fn whoever_pauses_sends_nothing_and_goes_on() {
    let mut star = Star::new(1, Line::even(RATE), Line::even(FAST), 1);
    star.swarm.run(Instant(1_000_000));
    star.swarm.pause(star.writer, Instant(3_000_000));
    // What was begun is sent, and what left arrives.
    star.swarm.run(Instant(1_100_000));
    let stored = star.swarm.at(star.readers[0]).stored.len();
    star.swarm.run(Instant(2_999_999));
    assert_eq!(star.swarm.at(star.readers[0]).stored.len(), stored);
    assert_eq!(star.finish().len(), 1);
}

#[test]
fn whoever_leaves_is_missed_by_nobody() {
    let mut star = Star::new(1, Line::even(RATE), Line::even(RATE), 3);
    star.swarm.run(Instant(2_000_000));
    star.swarm.leave(star.readers[0]);
    assert_eq!(star.finish().len(), 2);
    assert!(star.swarm.hosts().all(|host| host.faults.is_empty()));
}
