//! Lanes of hardship: stores on disks that crash, fail and rot, judged by one oracle.
//!
//! A lane is a function of a workload and a seed, and returns what it counted. The quick form is in `tests`, the long one is
//! `sim crash`, `sim fail` and `sim rot`.

pub mod crash;
mod drive;
pub mod fail;
pub mod rot;
mod run;
mod workload;

pub use run::Stop;
pub use workload::{WORKLOADS, Workload, workload};
