//! Figures that must hold at size: levels, node sizes, bytes per edit, reads per lookup and find.

use crate::common::{Feed, Random, done, folder, path};
use datnode_drive::{DrivePath, Op, Step, Version, kind};

fn name(number: u64) -> DrivePath {
    let spread = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    path(&format!("data/{:03}/measurement-{:012x}.csv", spread % 300, spread >> 16))
}

#[test]
fn a_hundred_thousand_names_cost_what_they_should() {
    let feed = Feed::new();
    let ops: Vec<_> = (0..100_000).map(|number| Op::Put(name(number), folder())).collect();
    let mut version = feed.commit(&feed.empty(), &ops).version;

    let mut largest = 0;
    for block in feed.blocks.borrow().iter().filter(|block| block[0] == kind::NODE) {
        largest = largest.max(block.len());
    }
    assert!(largest <= 40 * 1024, "the largest node has {largest} bytes");

    // A lookup reads one block a level below the root, which is in the change.
    let (mut reads, mut bytes) = (0, 0);
    for number in 0..200 {
        feed.reads.set(0);
        assert!(done(version.entry(&feed, &name(number * 499))).is_some());
        reads = reads.max(feed.reads.get());
    }
    assert!(reads <= 3, "{reads} reads");

    // Single inserts.
    let mut worst = 0;
    for number in 100_000..100_040 {
        let before = feed.bytes();
        feed.reads.set(0);
        version = feed.commit(&version, &[Op::Put(name(number), folder())]).version;
        bytes += feed.bytes() - before;
        worst = worst.max(feed.bytes() - before);
        assert!(feed.reads.get() <= 24, "{} reads", feed.reads.get());
    }
    assert!(bytes / 40 <= 60 * 1024, "{} bytes per insert", bytes / 40);
    assert!(worst <= 100 * 1024, "{worst} bytes for one insert");
    assert_eq!(version.change.counts.directories, 100_040);
}

#[test]
fn a_cold_lookup_among_a_million_names_takes_few_round_trips() {
    let feed = Feed::new();
    let ops: Vec<_> = (0..1_000_000).map(|number| Op::Put(name(number), folder())).collect();
    let latest = feed.commit(&feed.empty(), &ops).version.position;
    for number in (0..1_000_000).step_by(99_991) {
        // Nothing is here but the head; what is needed at one time comes at one time.
        *feed.hidden.borrow_mut() = (0..feed.len()).collect();
        let (mut trips, mut bytes) = (0, 0);
        let found = loop {
            let step = match Version::open(&feed, latest).unwrap() {
                Step::Done(version) => version.entry(&feed, &name(number)).unwrap(),
                Step::Need(blocks) => Step::Need(blocks),
            };
            let Step::Need(blocks) = step else { break done(Ok(step)) };
            trips += 1;
            for block in blocks.into_iter().map(|at| at.block.0) {
                assert!(feed.hidden.borrow_mut().remove(&block), "it was here");
                bytes += feed.blocks.borrow()[usize::try_from(block).unwrap()].len();
            }
        };
        assert!(found.is_some());
        assert!(trips <= 4, "{trips} round trips");
        assert!(bytes <= 200 << 10, "{bytes} bytes");
    }
}

#[test]
fn a_change_among_five_thousand_is_found_in_a_few_reads() {
    let feed = Feed::new();
    let mut versions = vec![feed.empty()];
    for number in 0..5_000u64 {
        let op = Op::Put(path(&format!("{:02}", number % 50)), folder());
        let version = feed.commit(versions.last().unwrap(), &[op]).version;
        versions.push(version);
    }
    let latest = versions.last().unwrap();
    assert_eq!(latest.number, 5_000);
    let mut random = Random(1);
    for _ in 0..300 {
        let number = random.below(5_001);
        feed.reads.set(0);
        let found = done(latest.find(&feed, number)).unwrap();
        assert_eq!(found.position, versions[usize::try_from(number).unwrap()].position);
        assert!(feed.reads.get() <= 5, "{} reads for {number}", feed.reads.get());
    }
}
