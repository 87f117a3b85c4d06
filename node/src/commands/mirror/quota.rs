//! How much may be stored below the folder of the mirrors, and what of that is free.
//!
//! Invariant: what is stored and what was allowed and is not stored yet are within the quota together, as far as they were within it
//! before: each allowed block counts as the longest that there may be, until it is here and its length is known.
//! Elsewhere: which blocks are wanted (`member`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use datnode_feed::PublicKey;
use datnode_feed::limits::BLOCK_BYTES_MAX;
use tokio::sync::watch;

use crate::disk::DRIVE_FOLDER;

/// What a block takes at most: its bytes, and its places in the tables and the journal.
pub(super) const BLOCK_ROOM: u64 = BLOCK_BYTES_MAX as u64 + 1_024;

/// The books of all mirrors in one folder.
#[derive(Debug)]
pub(super) struct Ledger {
    quota: u64,
    books: Mutex<Books>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Books {
    /// What each folder takes, in bytes; those of drives that are mirrored no longer count as well.
    used: BTreeMap<PathBuf, u64>,
    claims: BTreeMap<PublicKey, Claim>,
}

/// What a drive could fetch now, in blocks, and how many of them it may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Claim {
    wanted: u64,
    allowed: u64,
}

impl Books {
    fn used(&self) -> u64 {
        self.used.values().sum()
    }
}

impl Ledger {
    /// Opens the books of the mirrors in a folder.
    pub(super) fn open(quota: u64, to: &Path) -> Self {
        let folders = std::fs::read_dir(to).into_iter().flatten().flatten();
        let used = folders.map(|folder| (folder.path(), stored(&folder.path()))).collect();
        let books = Books { used, claims: BTreeMap::new() };
        Self { quota, books: Mutex::new(books), changed: watch::Sender::new(()) }
    }

    /// Says what the folder of a drive takes now, and how many blocks could be fetched for it; returns how many of them may.
    pub(super) fn claim(&self, drive: &PublicKey, folder: &Path, used: u64, wanted: u64) -> u64 {
        let mut books = self.books();
        let before = books.used.insert(folder.to_owned(), used);
        let claim = books.claims.entry(*drive).or_default();
        let old = std::mem::replace(claim, Claim { wanted, allowed: 0 });
        let room = self.quota.saturating_sub(books.used()) / BLOCK_ROOM;
        let others: u64 = books.claims.values().map(|claim| claim.allowed).sum();
        let fair = share(room, wanted, books.claims.values().map(|claim| claim.wanted));
        let allowed = fair.min(room.saturating_sub(others));
        books.claims.insert(*drive, Claim { wanted, allowed });
        if before != Some(used) || old != (Claim { wanted, allowed }) {
            drop(books);
            self.changed.send_replace(());
        }
        allowed
    }

    /// Forgets what a drive wanted; what it stored stays.
    pub(super) fn leave(&self, drive: &PublicKey) {
        if self.books().claims.remove(drive).is_some() {
            self.changed.send_replace(());
        }
    }

    /// Tells whether not even one block fits any more.
    pub(super) fn is_full(&self) -> bool {
        self.quota.saturating_sub(self.books().used()) < BLOCK_ROOM
    }

    /// Returns how many bytes are stored, and how many may be.
    pub(super) fn state(&self) -> (u64, u64) {
        (self.books().used(), self.quota)
    }

    /// Returns what tells that there may be more room.
    pub(super) fn watch(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().expect("no code panics while it holds this")
    }
}

/// Returns how much of `room` is fair for one who wants so much, beside all who want some, itself among them: nobody gets more than it
/// wants, and nobody less than another unless it wants less.
fn share(room: u64, wanted: u64, all: impl Iterator<Item = u64>) -> u64 {
    let mut all: Vec<u64> = all.collect();
    all.sort_unstable();
    let (mut left, mut count) = (room, all.len() as u64);
    for one in all {
        // Rounded up: what is left of too little for all goes to whoever comes first.
        let equal = left.div_ceil(count.max(1));
        if one > equal {
            // This one and all behind it want more than there is for each.
            return wanted.min(equal);
        }
        (left, count) = (left - one, count - 1);
    }
    wanted
}

/// Returns how much room the store in a folder takes on its disk, in bytes.
pub(super) fn stored(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let drive = folder.join(DRIVE_FOLDER);
    let files = [drive.join("store"), drive].into_iter().flat_map(std::fs::read_dir).flatten();
    // A block of `stat` has 512 bytes, whatever the file system.
    let room = files.flatten().filter_map(|file| file.metadata().ok());
    room.filter(std::fs::Metadata::is_file).map(|file| file.blocks() * 512).sum()
}

#[cfg(test)]
mod tests {
    use datnode_feed::SecretKey;

    use super::*;

    fn key(seed: u8) -> PublicKey {
        SecretKey::from_bytes([seed; 32]).public()
    }

    #[test]
    fn room_is_shared_so_that_nobody_has_less_than_another_unless_it_wants_less() {
        for (room, all, right) in [
            (10, &[4, 6][..], &[4, 6][..]),
            (10, &[4, 100], &[4, 6]),
            (10, &[100, 100], &[5, 5]),
            (10, &[1, 100, 3, 100], &[1, 3, 3, 3]),
            (1, &[5, 5], &[1, 1]),
            (0, &[1, 0], &[0, 0]),
            (7, &[0, 0], &[0, 0]),
        ] {
            let shares: Vec<u64> =
                all.iter().map(|&one| share(room, one, all.iter().copied())).collect();
            assert_eq!(shares, right, "{room} for {all:?}");
        }
    }

    #[test]
    fn what_is_stored_and_what_is_on_its_way_are_within_the_quota() {
        let to = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(10 * BLOCK_ROOM, to.path());
        let claim = |seed: u8, used: u64, wanted| {
            ledger.claim(&key(seed), &to.path().join(seed.to_string()), used, wanted)
        };
        assert_eq!(claim(1, 0, 4), 4);
        assert_eq!(claim(2, 0, 100), 6, "what the first may fetch is not free");
        assert_eq!(claim(1, 0, 100), 4, "nor what the second may");
        // The first has got its blocks, which were short.
        assert_eq!(claim(1, BLOCK_ROOM / 2, 0), 0);
        assert_eq!(claim(2, 0, 100), 9);
        ledger.leave(&key(2));
        assert_eq!(claim(1, 9 * BLOCK_ROOM, 5), 1);
        assert!(!ledger.is_full());
        assert_eq!(claim(1, 9 * BLOCK_ROOM + 1, 5), 0);
        assert!(ledger.is_full());
        assert_eq!(ledger.state(), (9 * BLOCK_ROOM + 1, 10 * BLOCK_ROOM));
    }

    #[test]
    fn what_was_stored_before_counts_and_a_quota_below_it_allows_nothing() {
        let to = tempfile::tempdir().unwrap();
        let store = to.path().join("a drive").join(DRIVE_FOLDER).join("store");
        std::fs::create_dir_all(&store).unwrap();
        std::fs::write(store.join("data"), vec![7; 3 << 20]).unwrap();
        let ledger = Ledger::open(2 << 20, to.path());
        let (used, quota) = ledger.state();
        assert!(used >= 3 << 20 && quota == 2 << 20, "{used}");
        assert_eq!(ledger.claim(&key(1), &to.path().join("b"), 0, 1), 0);
        assert!(ledger.is_full());
    }
}
