//! Damage to small stores. The long form is `sim rot`.

#![expect(clippy::print_stdout, reason = "a lane prints what it reached")]

use datnode_feed::{BlockIndex, FileId, InPlace, SecretKey, Storage as _, Store, StoreError, leaf};
use datnode_sim::disk::Disk;
use datnode_sim::lanes::rot::{self, Extent, Rotted};
use datnode_sim::lanes::{LARGE, Tally as _, Workload, workload};

/// Damages what some workloads leave behind, and tells how often.
fn survive<const N: usize>(workloads: [&Workload; N], extent: Extent) -> Rotted {
    let mut all = Rotted::default();
    for workload in workloads {
        match rot::run(workload, 0, extent) {
            Ok(rotted) => all.add(rotted),
            Err(broken) => panic!("{broken}"),
        }
    }
    println!("rot: {all:?}");
    all
}

#[test]
fn any_byte_and_any_length_of_a_small_store_may_be_damaged() {
    let rotted = survive(["checkpoint", "in place"].map(workload), Extent::EveryByte);
    assert!(rotted.images >= 2 * rotted.bytes && rotted.bytes >= 11_000, "{rotted:?}");
    assert!(rotted.refused > 0 && rotted.served > 0 && rotted.signed > 0, "{rotted:?}");
}

/// Each of its bytes, and each of its lengths; the long form damages each bit.
#[test]
fn a_store_of_64_kib_may_be_damaged_anywhere() {
    let rotted = survive([&LARGE], Extent::EveryByte);
    assert!(rotted.bytes >= 2 * (64 << 10) && rotted.images >= 2 * rotted.bytes, "{rotted:?}");
    assert!(rotted.served > 0 && rotted.signed > 0, "{rotted:?}");
}

#[test]
fn damaged_drives_and_copies_give_no_wrong_byte() {
    let rotted = survive(["import", "write and follow"].map(workload), Extent::OneIn(8));
    assert!(rotted.images >= 6_000 && rotted.served > 0 && rotted.signed > 0, "{rotted:?}");
}

/// A rename never leads back; what seems to is damage, and finding that out takes a few reads.
#[test]
fn names_that_lead_in_a_circle_are_found_out_soon() {
    const READS_MAX: u64 = 16;
    let (mut disk, key) = (Disk::new(), SecretKey::from_bytes([1; 32]));
    let mut store = Store::open(disk.clone()).unwrap();
    let feed = store.add_feed(key.public()).unwrap();
    store.append_in_place(feed, leaf(b"block"), InPlace { path: b"file", offset: 0 }).unwrap();
    store.rename_working(b"file", b"other").unwrap();
    store.sign(feed, &key).unwrap();
    store.commit().unwrap();
    store.checkpoint().unwrap();
    let (first, second) = (8_u64, 8 + 10 + 4);
    assert!(store.where_is(feed, BlockIndex(0)).unwrap().is_some());
    for (record, forward) in [(first, first), (second, second), (second, first)] {
        disk.write(FileId::Names, first, &second.to_le_bytes()).unwrap();
        disk.write(FileId::Names, record, &forward.to_le_bytes()).unwrap();
        let before = disk.counts().reads;
        let found = store.where_is(feed, BlockIndex(0));
        assert!(
            matches!(found, Err(StoreError::Damaged("names"))),
            "{record} to {forward}: {found:?}"
        );
        let reads = disk.counts().reads - before;
        assert!(reads <= READS_MAX, "{record} to {forward}: {reads} reads");
    }
}
