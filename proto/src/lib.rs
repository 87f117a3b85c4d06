//! The replication protocol of datnode, without I/O.
//!
//! [`wire`] turns messages into frames and back; [`Replicator`] decides what is asked of whom and what is sent next. It is told
//! (`handle_*`) and asked (`poll_*`); it knows no clock, socket, disk or thread, so that a run is a function of its inputs.
//! Elsewhere: verification and storage (`datnode_feed::Store`, which executes the [`Job`]s), streams (the node).
#![no_std]

extern crate alloc;
#[cfg(any(test, feature = "fuzz"))]
extern crate std;

pub mod capability;
mod execute;
mod fault;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
mod ids;
mod job;
pub mod limits;
mod replicator;
pub mod wire;

pub use execute::execute;
pub use fault::Fault;
pub use ids::{
    Binding, Class, Contact, FeedId, Instant, PeerId, Place, Priority, RequestId, Scope, Urgency,
    WantId,
};
pub use job::{Availability, Concern, Done, Event, Failure, Job};
pub use replicator::{Limits, Order, PeerStatus, Progress, Replica, Replicator, Target, Want};
pub use wire::Frame;
