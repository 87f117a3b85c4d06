//! What is damaged is found, dropped and taken again from somebody else.

mod common;

use common::{Memory, Numbers, block, fetch, writer};
use datnode_feed::{BlockIndex, FeedSlot, FileId, MemoryStorage, Storage, Store};

const LENGTH: u64 = 37;

fn bad(store: &mut Memory, feed: FeedSlot) -> Vec<u64> {
    let mut bad = Vec::new();
    store.check(feed, true, &mut |block| bad.push(block.0)).unwrap();
    bad
}

/// Flips one bit of a file of the store, as a disk may.
fn damage(storage: &mut MemoryStorage, file: FileId, numbers: &mut Numbers) -> bool {
    let len = storage.len(file).unwrap();
    if len == 0 {
        return false;
    }
    let (offset, mut byte) = (numbers.below(len), [0]);
    storage.read(file, offset, &mut byte).unwrap();
    byte[0] ^= 1 << numbers.below(8);
    storage.write(file, offset, &byte).unwrap();
    true
}

#[test]
fn damaged_blocks_and_nodes_are_dropped_and_fetched_again() {
    let (mut whole, feed) = writer(1, LENGTH);
    let mut numbers = Numbers(3);
    let (mut found, mut beyond_repair) = (0, 0);
    for _ in 0..2_000 {
        let (mut store, _) = writer(1, LENGTH);
        store.checkpoint().unwrap();
        let mut storage = store.into_storage();
        for _ in 0..1 + numbers.below(3) {
            let file =
                [FileId::Data, FileId::Tree(feed), FileId::Blocks(feed)][numbers.below(3) as usize];
            damage(&mut storage, file, &mut numbers);
        }
        let Ok(mut store) = Store::open(storage) else {
            beyond_repair += 1;
            continue;
        };
        let mut damaged = Vec::new();
        if store.check(feed, true, &mut |block| damaged.push(block)).is_err() {
            beyond_repair += 1;
            continue;
        }
        // A damaged place may also say that there is no block.
        found += u64::from(store.have(feed).count() < LENGTH || !damaged.is_empty());
        for block in &damaged {
            store.discard(feed, *block).unwrap();
        }
        store.commit().unwrap();
        let mut store = Store::open(store.into_storage()).unwrap();
        assert_eq!(bad(&mut store, feed), [], "what is left is sound");
        let missing = (0..LENGTH).filter(|block| !store.have(feed).contains(*block));
        for block in missing.collect::<Vec<_>>() {
            fetch(&mut whole, &mut store, feed, block);
        }
        store.commit().unwrap();
        assert_eq!(bad(&mut store, feed), []);
        for index in 0..LENGTH {
            assert_eq!(store.read(feed, BlockIndex(index)).unwrap(), Some(block(1, index)));
        }
    }
    assert!(found > 1_000 && beyond_repair < 400, "{found} found, {beyond_repair} beyond repair");
}
