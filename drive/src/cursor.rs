//! The plan of a byte cursor: which bytes of which feeds hold a range of a file, and how far ahead of a reader to ask.

use alloc::vec::Vec;
use core::ops::Range;

use crate::entry::{Entry, Extent};
use crate::limits::{READ_AHEAD_MAX, READ_AHEAD_MIN};

/// A run of bytes of one feed that is a run of bytes of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedRange {
    /// The feed, as a slot of the change's feed table.
    pub slot: u16,
    /// The bytes, counted from the beginning of that feed.
    pub bytes: Range<u64>,
    /// Where in the file they belong.
    pub file_offset: u64,
    /// The extent they are part of.
    pub extent: Extent,
}

/// How far ahead of a reader is asked: as far as it has read on, within limits, and little after it sought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadAhead {
    /// Where it began to read on.
    start: u64,
    /// What is asked for.
    asked: Range<u64>,
}

impl ReadAhead {
    /// Notes that the reader went to a place; nothing is asked for then, if it left what was.
    pub fn sought(&mut self, to: u64) {
        if !self.asked.contains(&to) {
            *self = Self { start: to, asked: to..to };
        }
    }

    /// Notes that the bytes `read` are read; returns what is to be asked for from then on, if that changes.
    ///
    /// Nothing behind `end` is: the end of the file, or of what the reader wants of it.
    pub fn read(&mut self, read: Range<u64>, end: u64) -> Option<Range<u64>> {
        let window = read.end.saturating_sub(self.start).clamp(READ_AHEAD_MIN, READ_AHEAD_MAX);
        let covers = self.asked.contains(&read.start) && read.end <= self.asked.end;
        // Half of it is enough, so that there are few changes.
        let left = self.asked.end.saturating_sub(read.end);
        if covers && (self.asked.end >= end || left > window / 2) {
            return None;
        }
        self.asked = read.start..end.min(read.end.saturating_add(window));
        Some(self.asked.clone())
    }
}

/// Returns where the bytes `range` of a file are, in order. What lies behind the end is left out.
pub fn byte_ranges(entry: &Entry, range: Range<u64>) -> Vec<FeedRange> {
    let mut ranges = Vec::new();
    let mut extent_start = 0u64;
    for extent in &entry.extents {
        let extent_end = extent_start.saturating_add(extent.bytes);
        let start = range.start.max(extent_start);
        let end = range.end.min(extent_end);
        if start < end {
            let first = extent.first_byte + (start - extent_start);
            ranges.push(FeedRange {
                slot: extent.slot,
                bytes: first..first + (end - start),
                file_offset: start,
                extent: *extent,
            });
        }
        extent_start = extent_end;
    }
    ranges
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::entry::{Kind, Mtime};

    fn entry() -> Entry {
        let extent = |first_block, first_byte, bytes| Extent {
            slot: 1,
            first_block,
            count: 1,
            first_byte,
            bytes,
        };
        let mut entry = Entry::directory(0o644, Mtime::default());
        entry.kind = Kind::File;
        entry.size = 60;
        entry.extents = vec![extent(5, 500, 10), extent(2, 200, 20), extent(9, 900, 30)];
        entry
    }

    #[test]
    fn every_range_matches_the_definition() {
        let entry = entry();
        let all: Vec<u64> = [500..510, 200..220, 900..930].into_iter().flatten().collect();
        for start in 0..70u64 {
            for end in 0..70u64 {
                let planned: Vec<u64> = byte_ranges(&entry, start..end)
                    .into_iter()
                    .flat_map(|range| range.bytes)
                    .collect();
                let wanted: Vec<u64> = (start..end.min(60))
                    .filter_map(|offset| all.get(usize::try_from(offset).unwrap()).copied())
                    .collect();
                assert_eq!(planned, wanted, "{start}..{end}");
            }
        }
    }

    const MIB: u64 = 1 << 20;
    const END: u64 = 1_000 * MIB;

    #[test]
    fn who_reads_on_is_asked_for_ever_farther_ahead_up_to_a_limit() {
        let (mut ahead, piece) = (ReadAhead::default(), 64 << 10);
        let reads = (0..200 * MIB / piece).map(|read| read * piece..(read + 1) * piece);
        let asked: Vec<Range<u64>> = reads.filter_map(|read| ahead.read(read, END)).collect();
        assert_eq!(asked[0], 0..READ_AHEAD_MIN + piece);
        let windows: Vec<u64> = asked.iter().map(|asked| (asked.end - asked.start) / MIB).collect();
        assert!(windows.is_sorted(), "{windows:?}");
        assert_eq!(windows.last(), Some(&(READ_AHEAD_MAX / MIB)));
        assert!(asked.len() < 30, "changes are few: {}", asked.len());
        assert!(asked.windows(2).all(|two| two[1].start <= two[0].end), "no byte is left out");
    }

    #[test]
    fn after_a_seek_little_is_asked_for_and_what_was_is_not_any_more() {
        let mut ahead = ReadAhead::default();
        for read in 0..100 {
            ahead.read(read * MIB..(read + 1) * MIB, END);
        }
        for to in [500 * MIB, 7] {
            ahead.sought(to);
            assert_eq!(ahead.read(to..to + 9, END), Some(to..to + 9 + READ_AHEAD_MIN));
            assert_eq!(ahead.read(to + 9..to + 18, END), None);
            ahead.sought(to + 5_000);
            assert_eq!(ahead.read(to + 5_000..to + 5_001, END), None, "it is on its way");
        }
    }

    #[test]
    fn nothing_is_asked_for_behind_the_end() {
        let mut ahead = ReadAhead::default();
        assert_eq!(ahead.read(0..10, 50), Some(0..50));
        assert_eq!(ahead.read(10..50, 50), None);
        ahead.sought(60);
        ahead.sought(40);
        assert_eq!(ahead.read(40..50, 50), Some(40..50));
    }

    #[test]
    fn offsets_in_the_file_add_up() {
        let mut next = 5;
        for range in byte_ranges(&entry(), 5..55) {
            assert_eq!(range.file_offset, next);
            next += range.bytes.end - range.bytes.start;
        }
        assert_eq!(next, 55);
        assert!(byte_ranges(&entry(), 60..u64::MAX).is_empty());
    }
}
