//! Other stores of this user: a block that a clone lacks may be in one of them, and is copied from there.
//!
//! They are looked at without their locks, so that they may be in use. Nothing of them is believed: what is read hashes to the leaf
//! that was asked for, or counts as not found. Which chunks they have is looked up when it is first asked, in memory.
//! Elsewhere: which leaves are wanted, and what becomes of the blocks (`engine::reuse`).

use std::path::{Path, PathBuf};

use datnode_drive::ChunkIndex;
use datnode_feed::{FeedSlot, Node, Store, StoreError};

use crate::dirs::Dirs;
use crate::disk::DiskStorage;
use crate::drives::Drives;

/// How many stores are looked at.
const STORES_MAX: usize = 64;
/// How many of their chunks are known, 16 bytes each; the first ones. Commonly that is 64 GB.
const CHUNKS_MAX: usize = 1 << 20;

/// Where else blocks may be.
#[derive(Default)]
pub struct Neighbours {
    /// The folders of drives that were not looked at yet.
    folders: Vec<PathBuf>,
    feeds: Vec<Feed>,
    stores: Vec<Store<DiskStorage>>,
    /// How many bytes were found.
    found: u64,
}

/// A feed of one of the stores.
struct Feed {
    store: usize,
    slot: FeedSlot,
    chunks: ChunkIndex,
}

impl Neighbours {
    /// Returns the stores of all drives that the user has here, but for the one in `folder`.
    pub fn of(dirs: &Dirs, folder: &Path) -> Self {
        let own = std::fs::canonicalize(folder).ok();
        let all = Drives::of(dirs).all().into_iter().map(|known| known.folder);
        let others = all.filter(|other| std::fs::canonicalize(other).ok() != own);
        Self { folders: others.take(STORES_MAX).collect(), ..Self::default() }
    }

    /// Tells whether there is any.
    pub fn is_empty(&self) -> bool {
        self.folders.is_empty() && self.feeds.is_empty()
    }

    /// Returns how many bytes were found in them so far.
    pub fn found(&self) -> u64 {
        self.found
    }

    /// Returns the block of a leaf, if one of them has it.
    pub fn find(&mut self, leaf: &Node) -> Option<Vec<u8>> {
        self.look();
        for feed in &self.feeds {
            let Some(store) = self.stores.get_mut(feed.store) else { continue };
            for block in feed.chunks.get(&leaf.hash) {
                let is_it = store.leaf(feed.slot, block).ok().flatten() == Some(*leaf);
                if let Some(bytes) = store.read(feed.slot, block).ok().flatten().filter(|_| is_it) {
                    self.found += leaf.size;
                    return Some(bytes);
                }
            }
        }
        None
    }

    /// Looks at those that were not looked at yet.
    fn look(&mut self) {
        for folder in std::mem::take(&mut self.folders) {
            if let Err(error) = self.add(&folder) {
                // It may have been moved, or be no store of ours: then it has nothing.
                tracing::debug!(folder = %folder.display(), error, "nothing is copied from there");
            }
        }
    }

    fn add(&mut self, folder: &Path) -> Result<(), String> {
        let storage = DiskStorage::glance(folder).map_err(|error| error.to_string())?;
        let store = Store::glance(storage).map_err(|error| error.to_string())?;
        let count = |feeds: &[Feed]| feeds.iter().map(|feed| feed.chunks.count()).sum::<usize>();
        let (number, mut feeds) = (self.stores.len(), Vec::new());
        for (slot, _) in store.feeds() {
            let room = CHUNKS_MAX.saturating_sub(count(&self.feeds) + count(&feeds));
            let chunks = chunks(&store, slot, room).map_err(|error| error.to_string())?;
            feeds.push(Feed { store: number, slot, chunks });
        }
        self.feeds.append(&mut feeds);
        self.stores.push(store);
        Ok(())
    }
}

/// Returns the chunks of a feed, up to so many.
fn chunks(
    store: &Store<DiskStorage>,
    slot: FeedSlot,
    room: usize,
) -> Result<ChunkIndex, StoreError> {
    let (mut chunks, mut next) = (ChunkIndex::default(), Some(0));
    while let Some(from) = next.filter(|_| chunks.count() < room) {
        let held = store.held_leaves(slot, from)?;
        chunks.extend(held.leaves);
        next = held.next;
    }
    Ok(chunks)
}
