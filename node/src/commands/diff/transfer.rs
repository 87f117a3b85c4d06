//! How many bytes somebody lacks who has the old side.

use std::collections::{BTreeMap, HashSet};

use datnode_drive::{Difference, Entry, Kind};
use datnode_feed::Hash;

use super::sides::{New, Sides};
use crate::error::Error;

/// The bytes that the new side refers to and the old one does not.
///
/// In one drive these are bytes of its content. Two drives hold theirs in different places: there a file counts as a whole, unless
/// the old side has the same one elsewhere.
pub(super) enum Transfer {
    OneDrive { old: Spans, new: Spans },
    Two { old: HashSet<Hash>, new: Vec<(Hash, u64)> },
}

impl Transfer {
    pub(super) fn new(sides: &Sides) -> Self {
        if sides.is_one_drive() {
            return Self::OneDrive { old: Spans::default(), new: Spans::default() };
        }
        Self::Two { old: HashSet::new(), new: Vec::new() }
    }

    /// Takes one more difference in.
    pub(super) fn add(&mut self, difference: &Difference) {
        let file = |entry: &&Entry| entry.kind == Kind::File;
        let (was, is) = (difference.old.iter().find(file), difference.new.iter().find(file));
        match self {
            Self::OneDrive { old, new } => {
                was.into_iter().for_each(|entry| old.insert(entry));
                is.into_iter().for_each(|entry| new.insert(entry));
            }
            Self::Two { old, new } => {
                old.extend(was.map(|entry| entry.chunks));
                new.extend(is.map(|entry| (entry.chunks, entry.size)));
            }
        }
    }

    /// Returns how many they are.
    pub(super) async fn bytes(self, sides: &Sides) -> Result<u64, Error> {
        let (old, mut new) = match self {
            Self::Two { old, new } => {
                let lacks = |(chunks, _): &&(Hash, u64)| !old.contains(chunks);
                return Ok(new.iter().filter(lacks).map(|(_, size)| size).sum());
            }
            Self::OneDrive { old, new } => (old, new),
        };
        old.0.iter().for_each(|(&(slot, start), &end)| new.remove(slot, start, end));
        // What was in the feed already may be in a file of the old side that did not change. It is worth a look at all its names
        // where that costs no network.
        let begun = sides.old.version.change.feeds.first().map_or(0, |feed| feed.byte_length);
        let may_be_known = new.0.keys().any(|&(_, start)| start < begun);
        if may_be_known && sides.opened.folder().is_some() && matches!(sides.new, New::Version(_)) {
            let forget = |_, entry: Entry| {
                spans(&entry).for_each(|(slot, start, end)| new.remove(slot, start, end));
                Ok(())
            };
            sides.old.walk(forget).await?;
        }
        Ok(new.len())
    }
}

/// Bytes of feeds, by slot and first byte, with the end; none twice.
#[derive(Debug, Default)]
pub(super) struct Spans(BTreeMap<(u16, u64), u64>);

impl Spans {
    fn insert(&mut self, entry: &Entry) {
        for (slot, start, end) in spans(entry) {
            // What is there of it is taken out before, so that nothing overlaps.
            self.remove(slot, start, end);
            self.0.insert((slot, start), end);
        }
    }

    fn remove(&mut self, slot: u16, start: u64, end: u64) {
        let before = self.0.range(..(slot, start)).next_back().map(|(&at, &end)| (at, end));
        let inside: Vec<_> =
            self.0.range((slot, start)..(slot, end)).map(|(&at, &end)| (at, end)).collect();
        for ((at_slot, at), until) in before.into_iter().chain(inside) {
            if at_slot != slot || until <= start {
                continue;
            }
            self.0.remove(&(slot, at));
            if at < start {
                self.0.insert((slot, at), start);
            }
            if until > end {
                self.0.insert((slot, end), until);
            }
        }
    }

    fn len(&self) -> u64 {
        self.0.iter().map(|(&(_, start), &end)| end - start).sum()
    }
}

fn spans(entry: &Entry) -> impl Iterator<Item = (u16, u64, u64)> {
    let span = |extent: &datnode_drive::Extent| {
        (extent.slot, extent.first_byte, extent.first_byte.saturating_add(extent.bytes))
    };
    entry.extents.iter().map(span)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn spans_are_sets_of_bytes() {
        let mut seed = 1_u64;
        let mut random = |below: u64| {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        let (mut spans, mut set) = (Spans::default(), BTreeSet::new());
        for _ in 0..2_000 {
            let (slot, start) = (u16::try_from(random(2)).unwrap(), random(60));
            let end = start + 1 + random(20);
            let bytes = (start..end).map(|byte| (slot, byte));
            spans.remove(slot, start, end);
            if random(2) == 0 {
                spans.0.insert((slot, start), end);
                set.extend(bytes);
            } else {
                set.retain(|byte| !bytes.clone().any(|gone| gone == *byte));
            }
            assert_eq!(spans.len(), set.len() as u64);
        }
    }
}
