//! Entry points for fuzzing: bytes in, and whether they were accepted out. No part of the API.
//!
//! Elsewhere: who drives them (`tests/tests/fuzz`, `tests/fuzz`), those of values and stores (`datnode_feed::fuzz`).

mod frames;
mod session;

use datnode_feed::fuzz::Target;

pub use frames::{frame, prefix};
pub use session::session;

/// The entry points of this crate.
pub const TARGETS: &[Target] = &[
    Target { name: "frame", run: frame, seeds: frames::frame_seeds },
    Target { name: "prefix", run: prefix, seeds: frames::prefix_seeds },
    Target { name: "session", run: session, seeds: session::seeds },
];
