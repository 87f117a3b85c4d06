//! A batch that is taken op by op makes the same version as one that is there.

use std::cell::Cell;
use std::collections::BTreeMap;

use crate::common::{Feed, Random, done, folder, path};
use crate::model::{file, info, random_entry, random_path};
use datnode_drive::{CommitError, Key, Op, Step, Version, commit_streamed};

/// Why a test's batch or feed ends.
#[derive(Debug, PartialEq)]
struct Broken;

fn streamed(feed: &Feed, base: &Version, ops: &[Op]) -> Version {
    let mut ops = ops.to_vec();
    ops.sort_by_key(|op| op.path().key());
    let ops = ops.into_iter().map(Ok);
    let mut append = |block: &[u8]| Ok::<_, Broken>(feed.push(block));
    match commit_streamed(base, feed, ops, info(), &mut append).expect("the batch is valid") {
        Step::Done(made) => made.version,
        Step::Need(blocks) => panic!("needs {blocks:?}"),
    }
}

#[test]
fn it_is_the_same_version() {
    for seed in 0..10 {
        let mut random = Random(seed);
        let (one, two) = (Feed::new(), Feed::new());
        let (mut at_once, mut by_op) = (one.empty(), two.empty());
        for batch in 0..8 {
            let mut ops: BTreeMap<Key, Op> = BTreeMap::new();
            for _ in 0..if batch % 3 == 0 { 3_000 } else { random.below(20) } {
                let path = random_path(&mut random);
                let op = match random.below(3) {
                    0 => Op::Delete(path),
                    // Every other batch has values that spill.
                    1 if batch % 2 == 0 => Op::Put(path, file(&mut random, 9)),
                    _ => Op::Put(path, random_entry(&mut random)),
                };
                ops.insert(op.path().key(), op);
            }
            let ops: Vec<_> = ops.into_values().collect();
            at_once = one.commit_with(&at_once, &ops, info()).version;
            by_op = streamed(&two, &by_op, &ops);
            let all = |version: &Version, feed| done(version.walk(feed, None, 1 << 30));
            assert_eq!(all(&at_once, &one), all(&by_op, &two), "seed {seed}, batch {batch}");
            assert_eq!(at_once.change.counts, by_op.change.counts);
            assert_eq!(at_once.change.ops, by_op.change.ops);
            // Equal names have equal trees: nothing is opened to see that.
            one.reads.set(0);
            let differences = match datnode_drive::diff((&at_once, &one), (&by_op, &two), None, 9) {
                Ok(datnode_drive::DiffStep::Done(page)) => page.differences,
                other => panic!("{other:?}"),
            };
            assert_eq!((differences.len(), one.reads.get()), (0, 0));
        }
    }
}

fn many(count: u64) -> Vec<Op> {
    (0..count).map(|number| Op::Put(path(&format!("{number:08}")), folder())).collect()
}

#[test]
fn its_blocks_are_written_while_it_comes() {
    let feed = Feed::new();
    let (empty, ops) = (feed.empty(), many(100_000));
    let waiting = Cell::new(0);
    let taken = Cell::new(0_u64);
    let ops = ops.into_iter().map(|op| {
        taken.set(taken.get() + 1);
        // A leaf has 378 keys at most.
        waiting.set(waiting.get().max(taken.get().saturating_sub(378 * feed.len())));
        Ok(op)
    });
    let mut append = |block: &[u8]| Ok::<_, Broken>(feed.push(block));
    let made = commit_streamed(&empty, &feed, ops, info(), &mut append).unwrap();
    let Step::Done(made) = made else { panic!("all is here") };
    assert_eq!(made.version.change.counts.directories, 100_000);
    assert!(waiting.get() <= 70 * 378, "{} waited", waiting.get());
}

#[test]
fn a_batch_or_a_feed_that_breaks_makes_no_change() {
    let feed = Feed::new();
    let empty = feed.empty();
    let ops = many(50_000).into_iter().map(Ok).chain([Err(Broken)]);
    let mut append = |block: &[u8]| Ok(feed.push(block));
    let made = commit_streamed(&empty, &feed, ops, info(), &mut append);
    assert!(matches!(made, Err(CommitError::Append(Broken))), "{made:?}");

    for last in [0, 1, 70, 200] {
        let mut left = last;
        let mut append = |block: &[u8]| {
            left -= i32::from(left > 0);
            if left == 0 { Err(Broken) } else { Ok(feed.push(block)) }
        };
        let made =
            commit_streamed(&empty, &feed, many(50_000).into_iter().map(Ok), info(), &mut append);
        assert!(matches!(made, Err(CommitError::Append(Broken))), "{made:?}");
    }

    let mut append = |block: &[u8]| Ok::<_, Broken>(feed.push(block));
    let mut unsorted = many(3);
    unsorted.swap(0, 1);
    let made = commit_streamed(&empty, &feed, unsorted.into_iter().map(Ok), info(), &mut append);
    assert!(matches!(made, Err(CommitError::Unsorted(_))), "{made:?}");
}
