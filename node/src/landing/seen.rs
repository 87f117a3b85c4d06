//! Paths that were met, by hashes that nobody can foresee: little memory for the folders of a million files.

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;

/// Paths that were met.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    hashes: HashSet<u64>,
    key: RandomState,
}

impl Seen {
    /// Adds a path; tells whether it is new.
    pub fn insert(&mut self, path: &[u8]) -> bool {
        self.hashes.insert(self.key.hash_one(path))
    }

    /// Tells whether a path was added.
    pub fn contains(&self, path: &[u8]) -> bool {
        !self.hashes.is_empty() && self.hashes.contains(&self.key.hash_one(path))
    }
}
