//! Handles and times that the caller gives to the state machine.

use core::cmp::{Ordering, Reverse};
use core::time::Duration;

/// A point in time: microseconds since an arbitrary start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Instant(pub u64);

impl Instant {
    /// Returns the time that passed since `earlier`; zero if it lies in the future.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl core::ops::Add<Duration> for Instant {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_micros()).unwrap_or(u64::MAX)))
    }
}

/// One connection's stream, as the caller numbers them; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u64);

/// A feed, as the caller numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FeedId(pub u32);

/// A want, as the replicator numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WantId(pub u64);

/// A request of an asker, unique on its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// How urgent something is; higher comes first, zero is bulk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Priority(pub u8);

/// How soon something is to be answered; the greater is the more urgent: by priority, then by the time it is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Urgency {
    /// How urgent it is.
    pub priority: Priority,
    /// When it should be there, if that is said.
    pub due: Option<Instant>,
}

impl Ord for Urgency {
    fn cmp(&self, other: &Self) -> Ordering {
        // What is due some time comes before what is due never.
        let due = |urgency: &Self| Reverse(urgency.due.unwrap_or(Instant(u64::MAX)));
        self.priority.cmp(&other.priority).then_with(|| due(self).cmp(&due(other)))
    }
}

impl PartialOrd for Urgency {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What a feed is for; among equal priorities changes come before content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Bulk: the bytes of files.
    Content,
    /// The history and index of a drive.
    Changes,
}

/// How far an address is understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// On one computer.
    Computer,
    /// In a local network.
    Network,
    /// Everywhere.
    World,
}

/// Where a peer is, as far as we know that by ourselves. What an address means, only the caller knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// How far away it is: it understands addresses that reach as far or farther.
    pub scope: Scope,
    /// Where we reached it.
    pub addresses: alloc::vec::Vec<(Scope, alloc::vec::Vec<u8>)>,
}

/// A peer that somebody names, and where it is said to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// What the carrier authenticates it by.
    pub peer: alloc::vec::Vec<u8>,
    /// Where it is; at least one.
    pub addresses: alloc::vec::Vec<alloc::vec::Vec<u8>>,
}

/// What the carrier authenticated about both ends of a stream: their peer ids, or random bytes they exchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Our end.
    pub ours: alloc::vec::Vec<u8>,
    /// The other end.
    pub theirs: alloc::vec::Vec<u8>,
}
