//! Lanes of hardship: stores on disks that crash, fail and rot, judged by one oracle.
//!
//! A lane is a function of a workload and a seed, and returns what it counted. The quick form is in `tests`, the long one is
//! `sim crash`, `sim fail` and `sim rot`.

use std::fmt::Debug;
use std::io::Write;

pub mod crash;
mod drive;
pub mod fail;
pub mod rot;
mod run;
mod workload;

pub use run::Stop;
pub use workload::{LARGE, WORKLOADS, Workload, workload};

/// What a lane did, in counts.
pub trait Tally: Debug + Default {
    /// Adds what another run did.
    fn add(&mut self, other: Self);

    /// Returns what the lane's goal counts.
    fn count(&self) -> u64;
}

/// Runs all workloads with one seed.
///
/// # Errors
/// The first broken promise.
pub fn all<T: Tally>(mut run: impl FnMut(&Workload) -> Result<T, String>) -> Result<T, String> {
    let mut tally = T::default();
    for workload in &WORKLOADS {
        tally.add(run(workload)?);
    }
    Ok(tally)
}

/// Runs one seed after the other until the lane counts to `goal`, and tells of each workload what was counted so far.
///
/// # Errors
/// The first broken promise.
pub fn until<T: Tally>(
    workloads: &[&Workload],
    goal: u64,
    first_seed: u64,
    out: &mut dyn Write,
    mut run: impl FnMut(&Workload, u64) -> Result<T, String>,
) -> Result<T, String> {
    let mut tally = T::default();
    for seed in first_seed.. {
        for workload in workloads {
            tally.add(run(workload, seed)?);
            // Nobody listening is no reason to stop.
            let _ = writeln!(out, "seed {seed}, {}: {tally:?}", workload.name);
        }
        if tally.count() >= goal {
            break;
        }
    }
    Ok(tally)
}
