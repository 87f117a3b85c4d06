//! Damage to small stores (THREATS L8, goal G5). The long form is `sim rot`.

#![expect(clippy::print_stdout, reason = "a lane prints what it reached")]

use datnode_sim::lanes::rot::{self, Extent, Rotted};
use datnode_sim::lanes::{Tally as _, workload};

/// Damages what some workloads leave behind, and tells how often.
fn survive(names: &[&str], extent: Extent) -> Rotted {
    let mut all = Rotted::default();
    for name in names {
        match rot::run(workload(name), 0, extent) {
            Ok(rotted) => all.add(rotted),
            Err(broken) => panic!("{broken}"),
        }
    }
    println!("rot: {all:?}");
    all
}

#[test]
fn any_byte_and_any_length_of_a_small_store_may_be_damaged() {
    let rotted = survive(&["checkpoint", "in place"], Extent::EveryByte);
    assert!(rotted.images >= 2 * rotted.bytes && rotted.bytes >= 11_000, "{rotted:?}");
    assert!(rotted.refused > 0 && rotted.served > 0 && rotted.signed > 0, "{rotted:?}");
}

#[test]
fn damaged_drives_and_copies_give_no_wrong_byte() {
    let rotted = survive(&["import", "write and follow"], Extent::OneIn(8));
    assert!(rotted.images >= 6_000 && rotted.served > 0 && rotted.signed > 0, "{rotted:?}");
}
