//! The node: drives on a disk, on the network, on the command line.
//!
//! This library is what the `datnode` binary is made of, so that other programs can embed it. The [`engine`] brings stores,
//! peers and drives together; [`swarm`] connects nodes; [`import`] takes a folder into a drive and [`landing`] puts a drive
//! into a folder. What is decided is decided in `datnode_feed`, `datnode_proto` and `datnode_drive`, which know no I/O.

pub mod address;
pub mod choice;
pub mod cli;
pub mod commands;
pub mod control;
pub mod dirs;
pub mod disk;
pub mod drives;
pub mod edit;
pub mod engine;
pub mod error;
pub mod extract;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
pub mod home;
pub mod import;
pub mod keys;
pub mod landing;
pub mod live;
pub mod neighbours;
pub mod pen;
pub mod pool;
pub mod remembered;
pub mod runtime;
pub mod swarm;
pub mod view;
