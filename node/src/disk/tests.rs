//! The store on a real file system.

use std::fs;
use std::path::Path;

use datnode_feed::{BlockIndex, FeedSlot, FileId, SecretKey, Storage as _, Store};

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

/// How many files this process has open below a folder.
fn open_below(folder: &Path) -> usize {
    let open = fs::read_dir("/proc/self/fd").unwrap();
    let paths = open.filter_map(|fd| fs::read_link(fd.unwrap().path()).ok());
    paths.filter(|path| path.starts_with(folder)).count()
}

#[test]
fn a_store_that_rests_has_few_files_open_and_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("working"), b"bytes").unwrap();
    let mut disk = DiskStorage::open(folder.path(), true).unwrap();
    let (data, tree) = (FileId::Data, FileId::Tree(FeedSlot(0)));
    disk.write(data, 0, b"data").unwrap();
    disk.write(tree, 0, b"tree").unwrap();
    let mut read = [0; 4];
    let mut check = |disk: &DiskStorage| {
        disk.read(data, 0, &mut read).unwrap();
        assert_eq!(&read, b"data");
        disk.read(tree, 0, &mut read).unwrap();
        assert_eq!(&read, b"tree");
        disk.read_working(b"working", 0, &mut read).unwrap();
        assert_eq!(&read, b"byte");
    };
    check(&disk);
    let busy = open_below(folder.path());
    disk.rest();
    let rests = open_below(folder.path());
    // The lock, and two folders.
    assert!(rests <= 3 && rests < busy, "{rests} of {busy} files are open");
    assert_eq!(disk.len(data).unwrap(), 4);
    check(&disk);
    disk.write(data, 4, b"more").unwrap();
    assert_eq!(disk.len(data).unwrap(), 8);
}
