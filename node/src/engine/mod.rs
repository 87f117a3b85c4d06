//! Brings stores, peers and drives together.
//!
//! Data flows one way: a peer's frames go to the hub, jobs from the hub to a store's thread, its answers back to the hub.

mod answers;
mod changes;
mod comparison;
mod contacts;
mod cursor;
mod differing;
mod drive;
mod feed;
mod fetch;
mod gather;
mod hub;
mod jobs;
mod network;
mod origins;
mod pages;
mod patience;
mod reading;
mod reuse;
mod session;
mod settle;
mod snapshot;
mod sought;
mod tags;
mod urgent;
mod windows;
mod worker;

pub use comparison::Comparison;
pub use cursor::ByteCursor;
pub use differing::{Differing, Dropped};
pub use drive::{Drive, Link, URGENT};
pub use feed::{Feed, Interest, Options, Wait};
pub use fetch::{LandingPlan, LandingState, Report};
pub use hub::{About, Hub, News, PeerReport, Selection, Traffic};
pub use network::{LOCAL, Network, NetworkOptions};
pub(crate) use network::{connect_locally, listen_locally, meet_locally};
pub use patience::{Patience, Reach};
pub use reuse::Sources;
pub use session::Ended;
pub use snapshot::Snapshot;
pub use sought::Sought;
pub(crate) use sought::target_of;
pub use worker::{AnyStore, StoreHandle, Worker, start, wait_for_stores};
