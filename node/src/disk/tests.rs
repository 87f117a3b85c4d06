//! The store on a real file system.

use datnode_feed::{BlockIndex, FileId, SecretKey, Storage as _, Store};

use super::DiskStorage;

/// What is freed, the disk has back, to the byte; where it cannot free parts of files, nothing is said to be freed.
#[test]
fn freed_bytes_are_those_that_the_disk_has_back() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Store::open(DiskStorage::open(folder.path(), true).unwrap()).unwrap();
    let (mut store, secret) = (open(), SecretKey::from_bytes([1; 32]));
    let slot = store.add_feed(secret.public()).unwrap();
    // Blocks that share blocks of the disk with their neighbours.
    let block = |index: u64| vec![u8::try_from(index).unwrap(); 10_000 + index as usize];
    for index in 0..100 {
        store.append(slot, &block(index)).unwrap();
    }
    store.sign(slot, &secret).unwrap();
    store.commit().unwrap();
    let taken = || {
        use std::os::unix::fs::MetadataExt as _;
        folder.path().join(".dat/store/data").metadata().unwrap().blocks() * 512
    };
    let (mut all, before) = (0, taken());
    assert_eq!(store.storage().allocated(FileId::Data).unwrap(), before);
    for blocks in [10..20, 30..31, 31..32, 60..100] {
        let taken_before = taken();
        let cleared = store.clear(slot, &[blocks.clone()].into_iter().collect()).unwrap();
        assert_eq!(cleared.blocks, blocks.end - blocks.start);
        assert_eq!(cleared.freed, taken_before - taken(), "{blocks:?}");
        all += cleared.freed;
    }
    let mut store = {
        drop(store);
        open()
    };
    for index in 0..100 {
        let gone = [10..20, 30..32, 60..100].iter().any(|run| run.contains(&index));
        assert_eq!(store.read(slot, BlockIndex(index)).unwrap(), (!gone).then(|| block(index)));
    }
    store.clear(slot, &[0..100].into_iter().collect()).unwrap();
    // Either this file system frees parts of files, and then all of it is free, or it does not.
    let left = taken();
    assert!(left == 0 && all > 400_000 || left == before && all == 0, "{left} {all} {before}");
}
