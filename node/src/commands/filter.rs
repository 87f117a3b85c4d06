//! Which paths a look into the history is about: all, or those at a place.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;

use datnode_drive::DrivePath;
use ignore::overrides::{Override, OverrideBuilder};

use super::context::os;
use crate::cli::escape;
use crate::error::Error;

/// Paths in a folder, and of these those that are named, are in a folder that is, or match a pattern.
pub(super) struct Filter {
    within: DrivePath,
    places: Vec<Vec<u8>>,
    patterns: Override,
}

impl Filter {
    /// Takes what `--path` was given.
    ///
    /// # Errors
    /// E-USAGE for what is no pattern.
    pub(super) fn new(within: DrivePath, places: &[OsString]) -> Result<Self, Error> {
        let mut patterns = OverrideBuilder::new("");
        for place in places.iter().filter_map(|place| place.to_str()) {
            let bad = |error| Error::usage(format!("--path {}: {error}", escape::text(place)));
            patterns.add(place).map_err(bad)?;
        }
        let patterns = patterns.build().map_err(|error| Error::usage(error.to_string()))?;
        let place = |place: &OsString| {
            let bytes = place.as_bytes();
            bytes.strip_suffix(b"/").unwrap_or(bytes).to_vec()
        };
        Ok(Self { within, places: places.iter().map(place).collect(), patterns })
    }

    /// Tells whether it takes all paths.
    pub(super) fn is_open(&self) -> bool {
        self.within.is_root() && self.places.is_empty()
    }

    /// Tells whether it takes a path.
    pub(super) fn takes(&self, path: &DrivePath) -> bool {
        let named = |place: &Vec<u8>| {
            path.as_bytes()
                .strip_prefix(&place[..])
                .is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
        };
        path.is_within(&self.within)
            && (self.places.is_empty()
                || self.places.iter().any(named)
                || self.patterns.matched(os(path.as_bytes()), false).is_whitelist())
    }
}
