//! What differs, in numbers, for `--stat`.

use std::collections::BTreeMap;

use datnode_drive::{Difference, Kind};
use serde_json::{Value, json};

use crate::cli::escape;
use crate::cli::units::Size;

/// How many places are named.
const PLACES_MAX: usize = 3;

/// How much was added, changed and removed, and where.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) added: u64,
    pub(super) changed: u64,
    pub(super) removed: u64,
    /// Bytes of the files that are new or other ones.
    pub(super) bytes: u64,
    /// How many paths at each place at the top.
    places: BTreeMap<String, u64>,
}

impl Tally {
    /// Counts one more.
    pub(super) fn add(&mut self, difference: &Difference) {
        match (&difference.old, &difference.new) {
            (None, _) => self.added += 1,
            (Some(_), Some(_)) => self.changed += 1,
            (Some(_), None) => self.removed += 1,
        }
        let set = difference.new.as_ref().filter(|entry| entry.kind == Kind::File);
        self.bytes = self.bytes.saturating_add(set.map_or(0, |entry| entry.size));
        *self.places.entry(top(difference)).or_default() += 1;
    }

    /// Tells whether nothing was counted.
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Returns the places with most, most first.
    fn most(&self) -> Vec<(&String, u64)> {
        let mut most: Vec<_> = self.places.iter().map(|(name, count)| (name, *count)).collect();
        most.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        most.truncate(PLACES_MAX);
        most
    }

    /// Returns the numbers for a program.
    pub(super) fn json(&self) -> Value {
        let place = |(name, count): (&String, u64)| json!({ "path": name, "count": count });
        json!({
            "added": self.added, "changed": self.changed, "removed": self.removed, "bytes": self.bytes,
            "places": self.most().into_iter().map(place).collect::<Vec<_>>(),
        })
    }

    /// Returns the numbers as a line for a person.
    pub(super) fn text(&self) -> String {
        let place = |(name, count): (&String, u64)| format!("{name} {count}");
        let places: Vec<String> = self.most().into_iter().map(place).collect();
        let Self { added, changed, removed, bytes, .. } = self;
        format!("+{added} ~{changed} -{removed}   {}     {}\n", Size(*bytes), places.join("   "))
    }
}

/// Returns the first name of a path, with a slash if it is a folder.
fn top(difference: &Difference) -> String {
    let first = difference.path.components().next().unwrap_or_default();
    let deeper = difference.path.components().count() > 1;
    let entry = difference.new.as_ref().or(difference.old.as_ref());
    let folder = deeper || entry.is_some_and(|entry| entry.kind == Kind::Directory);
    format!("{}{}", escape::bytes(first), if folder { "/" } else { "" })
}
