//! Crashes of every workload, behind every operation. The long form is `sim crash`.

#![expect(clippy::print_stdout, reason = "a lane prints what it reached")]

use datnode_sim::disk::{Images, SyncOf};
use datnode_sim::lanes::{Tally as _, WORKLOADS, crash, workload};

/// How many images each half of the workloads makes at least.
const IMAGES_MIN: u64 = 50_000;
const IMAGES: Images = Images { parts_max: 9, samples: 72 };

/// Crashes some of the workloads everywhere, and tells what was done.
fn survive(workloads: impl Fn(&str) -> bool) {
    let mut all = crash::Crashed::default();
    for workload in WORKLOADS.iter().filter(|workload| workloads(workload.name)) {
        match crash::run(workload, 0, IMAGES) {
            Ok(crashed) => all.add(crashed),
            Err(broken) => panic!("{broken}"),
        }
    }
    println!("crash: {all:?}");
    assert!(all.images >= IMAGES_MIN && all.nested > 0 && all.continued > 0, "{all:?}");
}

const COMMITS: [&str; 5] = ["append", "rollback", "checkpoint", "recovery", "clone"];

#[test]
fn commits_and_recoveries_survive_every_crash() {
    survive(|name| COMMITS.contains(&name));
}

#[test]
fn drives_and_copies_survive_every_crash() {
    survive(|name| !COMMITS.contains(&name));
}

/// Which workload shows that syncs are missing.
const MISSED_BY: [(SyncOf, &str); 7] = [
    (SyncOf::Data, "append"),
    (SyncOf::Journal, "append"),
    (SyncOf::Meta, "checkpoint"),
    (SyncOf::Tree, "checkpoint"),
    (SyncOf::Blocks, "checkpoint"),
    (SyncOf::Names, "in place"),
    (SyncOf::Working, "in place"),
];

#[test]
fn a_store_that_leaves_a_sync_out_is_found_out() {
    for (syncs, name) in MISSED_BY {
        let images = Images { parts_max: 8, samples: 32 };
        let broken =
            crash::run_without(syncs, workload(name), 0, images).expect_err("a broken promise");
        println!("without syncs of {syncs:?}: {broken}");
    }
}
