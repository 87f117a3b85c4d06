//! Entry points for fuzzing: bytes in, and whether they were accepted out. No part of the API.
//!
//! Elsewhere: who drives them (`tests/tests/fuzz`, `tests/fuzz`), those of feeds and stores (`datnode_feed::fuzz`).

mod decoders;
mod reader;
mod sample;

use datnode_feed::fuzz::Target;

pub use decoders::{change, drive_header, entry, index_node, path, spill, tag, tag_name};
pub use reader::drive;

/// The entry points of this crate.
pub const TARGETS: &[Target] = &[
    Target { name: "change", run: change, seeds: sample::changes },
    Target { name: "drive", run: drive, seeds: sample::drives },
    Target { name: "drive_header", run: drive_header, seeds: sample::headers },
    Target { name: "entry", run: entry, seeds: sample::entries },
    Target { name: "index_node", run: index_node, seeds: sample::nodes },
    Target { name: "path", run: path, seeds: sample::paths },
    Target { name: "spill", run: spill, seeds: sample::spills },
    Target { name: "tag", run: tag, seeds: sample::tags },
    Target { name: "tag_name", run: tag_name, seeds: sample::tag_names },
];
