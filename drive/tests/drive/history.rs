//! The way from a version to all earlier ones.

use datnode_drive::{Location, Op, Step, Version};
use datnode_feed::BlockIndex;

use crate::common::{Feed, done, link, path};

#[test]
fn the_whole_history_takes_a_few_steps() {
    let feed = Feed::new();
    let mut version = feed.empty();
    let mut positions = vec![0];
    for number in 0..1_000_u64 {
        let op = Op::Put(path(&format!("link{}", number % 7)), link(&number.to_le_bytes()));
        version = feed.commit(&version, &[op]).version;
        positions.push(version.position.0);
    }
    positions.pop();
    feed.hidden.borrow_mut().extend(0..version.position.0);
    let mut steps = 0;
    let found = loop {
        match version.history(&feed).unwrap() {
            Step::Done(found) => break found,
            Step::Need(need) => {
                let mut hidden = feed.hidden.borrow_mut();
                assert!(need.iter().all(|at| hidden.remove(&at.block.0)), "asked for twice");
                steps += 1;
            }
        }
    };
    let expected: Vec<Location> =
        positions.iter().map(|&at| Location::changes(BlockIndex(at))).collect();
    assert_eq!(found, expected);
    assert!(steps <= 6, "{steps} steps");
    assert_eq!(done(Version::open(&feed, BlockIndex(0))), feed.empty());
}
