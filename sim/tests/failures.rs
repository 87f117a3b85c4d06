//! Each operation of every workload fails, in each way. The long form is `sim fail`.

#![expect(clippy::print_stdout, reason = "a lane prints what it reached")]

use datnode_sim::disk::FaultKind::{self, Full, Lie, LieAndForget, Read, Short, Sync, Write};
use datnode_sim::lanes::fail::{self, Failed};
use datnode_sim::lanes::{self, Tally as _, WORKLOADS, Workload};

/// How many failures the tests here make at least, one by one.
const POINTS_MIN: [u64; 3] = [7_500, 4_500, 8_000];
const _: () = assert!(POINTS_MIN[0] + POINTS_MIN[1] + POINTS_MIN[2] >= 20_000);

/// Runs every workload with every seed, and tells how many operations failed.
fn survive(seeds: u64, run: impl Fn(&Workload, u64) -> Result<Failed, String>) -> Failed {
    let mut all = Failed::default();
    for workload in &WORKLOADS {
        for seed in 0..seeds {
            match run(workload, seed) {
                Ok(failed) => all.add(failed),
                Err(broken) => panic!("{broken}"),
            }
        }
    }
    println!("failures: {all:?}");
    all
}

fn survive_kinds(kinds: &[FaultKind]) -> Failed {
    survive(2, |workload, seed| {
        let mut all = Failed::default();
        for kind in kinds {
            all.add(fail::run(workload, *kind, seed, 1)?);
        }
        Ok(all)
    })
}

#[test]
fn a_store_outlives_failed_reads_and_syncs_and_short_writes() {
    let failed = survive_kinds(&[Read, Short, Sync, Lie, LieAndForget]);
    assert!(failed.points >= POINTS_MIN[0] && failed.pairs > 0 && failed.finished > 0);
}

#[test]
fn a_store_outlives_failed_writes_and_a_full_disk() {
    let failed = survive_kinds(&[Write, Full]);
    assert!(failed.points >= POINTS_MIN[1] && failed.pairs > 0 && failed.finished > 0);
}

#[test]
fn a_failed_read_concerns_one_block() {
    assert!(survive(6, fail::reads).points >= POINTS_MIN[2]);
}

/// What takes the place of another file is durable before it gets its name: a process that goes on behind a sync that failed would
/// take it for there, and the power would take it away.
#[test]
fn what_a_failed_sync_lost_is_not_counted_on_though_it_can_be_read() {
    for kind in [Lie, LieAndForget] {
        for seed in 0..30 {
            let failed = fail::run(lanes::workload("versions in place"), kind, seed, 1);
            let failed = failed.unwrap_or_else(|broken| panic!("{broken}"));
            assert!(
                failed.points > 40 && failed.cuts > 0,
                "one sync of each file at least: {failed:?}"
            );
        }
    }
}
