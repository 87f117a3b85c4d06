//! Which bytes of which feeds hold a range of a file: the plan of a byte cursor.

use alloc::vec::Vec;
use core::ops::Range;

use crate::entry::{Entry, Extent};

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
