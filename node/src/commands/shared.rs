//! What files have in common: chunks that are stored once.
//!
//! An index may say what it likes: what is counted is bounded, and beyond that it is not known.

use std::ops::Range;

use datnode_drive::{Entry, Extent};
use datnode_feed::Bitfield;
use datnode_feed::limits::HELD_END;

use crate::engine::Snapshot;

/// Drives of more files are not gone through just to tell what files share.
pub(super) const FILES_MAX: u64 = 20_000;
/// So many blocks are looked at, each as often as files have it: that takes a second or two.
const BLOCKS_MAX: u64 = 1 << 30;

/// Blocks that may be looked at.
struct Budget {
    /// Blocks behind this one are none.
    end: u64,
    left: u64,
}

impl Budget {
    fn of(snapshot: &Snapshot) -> Self {
        let length = snapshot.version.change.feeds.first().map_or(0, |feed| feed.length);
        Self { end: length.min(HELD_END), left: BLOCKS_MAX }
    }

    /// Returns the blocks of an extent, if they may be looked at.
    fn take(&mut self, extent: &Extent) -> Option<Range<u64>> {
        let run = extent.blocks_before(self.end);
        self.left = self.left.saturating_sub(run.end - run.start);
        (self.left > 0).then_some(run)
    }
}

/// What files have of the content, what several have once.
pub(super) struct Distinct {
    budget: Budget,
    blocks: Bitfield,
    bytes: u64,
}

impl Distinct {
    /// Begins with none of a version's content.
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        Self { budget: Budget::of(snapshot), blocks: Bitfield::new(), bytes: 0 }
    }

    /// Adds a file.
    pub(super) fn add(&mut self, entry: &Entry) {
        for extent in &entry.extents {
            let Some(run) = self.budget.take(extent) else { return };
            let known = self.blocks.iter_ones(run.clone()).count() as u64;
            let new = u128::from(extent.count.saturating_sub(known));
            let bytes = u128::from(extent.bytes) * new / u128::from(extent.count.max(1));
            self.bytes = self.bytes.saturating_add(u64::try_from(bytes).unwrap_or(extent.bytes));
            self.blocks.set_range(run);
        }
    }

    /// Returns how many bytes they have, if that is known; of an extent of which only a part is new, its share of blocks.
    pub(super) fn bytes(&self) -> Option<u64> {
        (self.budget.left > 0).then_some(self.bytes)
    }
}

/// What other files have of one.
pub(super) struct Common {
    budget: Budget,
    /// Its blocks.
    own: Bitfield,
    shared: Bitfield,
}

impl Common {
    /// Begins with a file that nobody has anything of.
    pub(super) fn of(snapshot: &Snapshot, entry: &Entry) -> Self {
        let (mut budget, mut own) = (Budget::of(snapshot), Bitfield::new());
        let runs = entry.extents.iter().map_while(|extent| budget.take(extent));
        runs.for_each(|run| own.set_range(run));
        Self { budget, own, shared: Bitfield::new() }
    }

    /// Adds another file.
    pub(super) fn add(&mut self, entry: &Entry) {
        for extent in &entry.extents {
            let Some(run) = self.budget.take(extent) else { return };
            self.own.runs_in(run).for_each(|run| self.shared.set_range(run));
        }
    }

    /// Returns how many blocks of the file some other file has, if that is known.
    pub(super) fn count(&self) -> Option<u64> {
        (self.budget.left > 0).then(|| self.shared.count())
    }
}

#[cfg(test)]
mod tests {
    use datnode_drive::{Kind, Mtime};

    use super::*;

    fn budget() -> Budget {
        Budget { end: 100, left: 200 }
    }

    fn file(first_block: u64, count: u64) -> Entry {
        let extent = Extent { slot: 1, first_block, count, first_byte: 0, bytes: 1_000 };
        Entry { kind: Kind::File, extents: vec![extent], ..Entry::directory(0, Mtime::default()) }
    }

    #[test]
    fn what_several_files_have_counts_once() {
        let mut distinct = Distinct { budget: budget(), blocks: Bitfield::new(), bytes: 0 };
        for (entry, bytes) in [(file(10, 10), 1_000), (file(10, 10), 1_000), (file(15, 10), 1_500)]
        {
            distinct.add(&entry);
            assert_eq!(distinct.bytes(), Some(bytes));
        }
        // What no feed has takes no memory, and what takes long is not done.
        distinct.add(&file(1 << 40, 1 << 50));
        assert_eq!((distinct.blocks.len(), distinct.bytes()), (25, Some(2_500)));
        (0..2).for_each(|_| distinct.add(&file(0, 1 << 50)));
        assert_eq!(distinct.bytes(), None);
    }

    #[test]
    fn a_file_has_in_common_what_another_has() {
        let own = [10..20].into_iter().collect();
        let mut common = Common { budget: budget(), own, shared: Bitfield::new() };
        for (entry, count) in [(file(0, 10), 0), (file(18, 9), 2), (file(0, 19), 10)] {
            common.add(&entry);
            assert_eq!(common.count(), Some(count));
        }
    }
}
