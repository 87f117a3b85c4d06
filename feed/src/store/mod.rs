//! Several feeds over one storage, made durable together. SPEC 5.
//!
//! What changes is staged in memory, can be read at once, and becomes durable by [`Store::commit`]: bytes first, then one
//! journal record, then the tables. Nothing a peer sent is staged before it is verified.
//! Elsewhere: records (`journal`), layouts (`table`), writers (`write`), what peers send (`verify`), two histories of one writer (`accuse`), reading and proving
//! (`read`), checking all (`audit`), freeing bytes (`clear`).

mod accuse;
mod audit;
mod clear;
mod commit;
#[cfg(feature = "fuzz")]
pub(crate) mod fuzz;
mod journal;
mod names;
mod read;
mod table;
mod verify;
mod write;

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use core::iter;

use thiserror::Error;

use crate::accusation::Accusation;
use crate::bitfield::Bitfield;
use crate::hash::{Node, root};
use crate::head::SignedHead;
use crate::key::PublicKey;
use crate::limits::{FEEDS_MAX, HELD_END, TABLE_PIECE_BYTES};
use crate::position::{BlockIndex, NodeIndex, peaks};
use crate::storage::{FeedSlot, FileId, Storage, StorageError};
use journal::Journal;
use names::Names;
use table::{Cell, FeedRecord, Header, META_LEN, NODE_LEN, PLACE_LEN, Span};

pub use accuse::Comparison;
pub use audit::Checked;
pub use clear::Cleared;
pub use read::{HeldLeaves, Place, Seek};
pub use table::FORMAT;
pub use verify::{Upgraded, VerifyError};

/// Why a store could not do something.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The storage said no.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A newer program wrote the store.
    #[error("the store has format {found}; this program knows formats up to {known}")]
    Newer {
        /// The store's format.
        found: u16,
        /// Ours.
        known: u16,
    },
    /// What is stored cannot be.
    #[error("the store is damaged: {0}")]
    Damaged(&'static str),
    /// An earlier write or sync failed: what is on disk is not known until the store is opened again.
    #[error("the store takes no writes until it is opened again, since one failed")]
    Poisoned,
    /// More than a limit allows.
    #[error("too many {0}")]
    TooMany(&'static str),
    /// A block over the limit.
    #[error("a block of {0} bytes is too long")]
    BlockTooLong(usize),
    /// Appending to a feed whose blocks beyond its head are not known here, or with the wrong key.
    #[error("this feed cannot be appended to: {0}")]
    NotWritable(&'static str),
    /// Others hold a longer history under this key: to append here would make two.
    #[error("this store is older than what others hold ({ours} < {theirs})")]
    Behind {
        /// Our length.
        ours: u64,
        /// The longest length that was seen.
        theirs: u64,
    },
    /// The feed's writer signed two histories: neither is continued.
    #[error("the writer of this feed signed two histories")]
    Accused,
}

/// A block that lives in a working file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InPlace<'a> {
    /// The file, relative to the working folder, components joined by `/`.
    pub path: &'a [u8],
    /// Where in it the block begins.
    pub offset: u64,
}

/// Feeds and their blocks, over a storage.
#[derive(Debug)]
pub struct Store<S> {
    storage: S,
    journal: Journal,
    feeds: Vec<Feed>,
    names: Names,
    header: Header,
    /// How many feeds the last commit knew.
    committed_feeds: u16,
    /// Bytes of blocks that were not handed to the storage yet; they end at `header.data_end`.
    data: Vec<u8>,
    unsynced: Unsynced,
    header_dirty: bool,
    poisoned: bool,
}

/// Which bytes must be synced before a commit may claim them.
#[derive(Debug, Default)]
struct Unsynced {
    data: bool,
    working: bool,
}

/// A feed, with what is staged for it.
#[derive(Debug)]
struct Feed {
    key: PublicKey,
    head: Option<SignedHead>,
    /// Signed, and shown once committed.
    signed: Option<SignedHead>,
    have: Bitfield,
    nodes: BTreeMap<NodeIndex, Node>,
    places: BTreeMap<u64, Cell>,
    appended: Appended,
    /// The block behind the one that was accepted last, and where it begins: mostly it comes next.
    follows: Option<(BlockIndex, u64)>,
    /// Whether this store writes it.
    own: bool,
    /// The longest head seen of a feed that is written here; 0 if none.
    seen: u64,
    /// What shows that its writer signed two histories, and where that is stored.
    accusation: Option<(Span, Accusation)>,
    dirty: bool,
}

/// Where the next append goes.
#[derive(Clone, Debug, Default)]
struct Appended {
    length: u64,
    bytes: u64,
    peaks: Vec<(NodeIndex, Node)>,
}

impl<S: Storage> Store<S> {
    /// Opens the store that is in `storage`, or begins one there.
    ///
    /// # Errors
    /// [`StoreError::Newer`] for a newer format, with nothing touched; otherwise what the storage says, or damage.
    pub fn open(mut storage: S) -> Result<Self, StoreError> {
        let before = Self::first_look(&storage)?;
        Journal::replay(&mut storage, before.map_or(0, |header| header.commits))?;
        let header = Self::read_header(&storage)?;
        if storage.len(FileId::Journal)? > 0 {
            sync_tables(&mut storage, header.feeds)?;
        }
        let mut store = Self::empty(storage, header);
        if store.storage.len(FileId::Journal)? > 0 {
            store.journal.reset(&mut store.storage)?;
        }
        for slot in 0..header.feeds {
            let feed = store.open_feed(FeedSlot(slot))?;
            store.feeds.push(feed);
            store.drop_tail(FeedSlot(slot))?;
            store.reset_appended(FeedSlot(slot))?;
        }
        Ok(store)
    }

    /// Opens what was made durable last, to read blocks from it and nothing else, while somebody else may be writing: nothing is
    /// replayed or repaired, and every write fails. What was moved meanwhile does not hash to its leaf, and is not found.
    ///
    /// # Errors
    /// As [`open`](Self::open); what is being written at this moment may count as damage.
    pub fn glance(storage: S) -> Result<Self, StoreError> {
        let header = Self::read_header(&storage)?;
        let mut store = Self { poisoned: true, ..Self::empty(storage, header) };
        for slot in 0..header.feeds {
            let feed = store.open_feed(FeedSlot(slot))?;
            store.feeds.push(feed);
        }
        Ok(store)
    }

    fn empty(storage: S, header: Header) -> Self {
        Self {
            storage,
            journal: Journal::default(),
            feeds: Vec::new(),
            names: Names::default(),
            header,
            committed_feeds: header.feeds,
            data: Vec::new(),
            unsynced: Unsynced::default(),
            header_dirty: false,
            poisoned: false,
        }
    }

    /// Reads the header before the journal was replayed: it may be torn, but is not of a newer format.
    fn first_look(storage: &S) -> Result<Option<Header>, StoreError> {
        if storage.len(FileId::Meta)? < Header::LEN as u64 {
            return Ok(None);
        }
        let mut bytes = [0; Header::LEN];
        storage.read(FileId::Meta, 0, &mut bytes)?;
        match Header::decode(&bytes) {
            Ok(Err(found)) => Err(StoreError::Newer { found, known: FORMAT }),
            Ok(Ok(header)) => Ok(Some(header)),
            Err(_) => Ok(None),
        }
    }

    fn read_header(storage: &S) -> Result<Header, StoreError> {
        let first = FeedSlot(0);
        let tables = [FileId::Meta, FileId::Names, FileId::Tree(first), FileId::Blocks(first)];
        for file in tables {
            if storage.len(file)? > 0 {
                let header = Self::first_look(storage)?;
                return header.ok_or(StoreError::Damaged("header of meta"));
            }
        }
        Ok(Header::default())
    }

    fn open_feed(&self, slot: FeedSlot) -> Result<Feed, StoreError> {
        let mut record = [0; META_LEN as usize];
        self.storage.read(FileId::Meta, FeedRecord::offset(slot), &mut record)?;
        let FeedRecord { key, head, accusation } = FeedRecord::decode(slot, &record)
            .map_err(|_| StoreError::Damaged("record of a feed"))?;
        if head.as_ref().is_some_and(|head| head.verify(&key).is_err()) {
            return Err(StoreError::Damaged("head of a feed"));
        }
        let mut feed = Feed::new(key);
        feed.have = self.read_have(slot, head.as_ref().map_or(0, |head| head.head.length))?;
        feed.head = head;
        feed.accusation = accusation.and_then(|span| self.read_accusation(span, &key));
        Ok(feed)
    }

    /// Reads which blocks are here from the table of places.
    fn read_have(&self, slot: FeedSlot, length: u64) -> Result<Bitfield, StoreError> {
        let file = FileId::Blocks(slot);
        let cells = length.min(self.storage.len(file)? / PLACE_LEN).min(HELD_END);
        let mut have = Bitfield::new();
        let per_piece = TABLE_PIECE_BYTES as u64 / PLACE_LEN;
        for first in (0..cells).step_by(TABLE_PIECE_BYTES / PLACE_LEN as usize) {
            let len = per_piece.min(cells - first) * PLACE_LEN;
            let mut bytes = vec![0; usize::try_from(len).expect("a piece is small")];
            self.storage.read(file, first * PLACE_LEN, &mut bytes)?;
            for (block, cell) in (first..).zip(bytes.chunks_exact(PLACE_LEN as usize)) {
                if cell.first() != Some(&0) {
                    have.set(block);
                }
            }
        }
        Ok(have)
    }

    /// Returns the storage.
    pub const fn storage(&self) -> &S {
        &self.storage
    }

    /// Returns the storage, to write working files to.
    pub const fn storage_mut(&mut self) -> &mut S {
        &mut self.storage
    }

    /// Gives the storage back; what was not committed is lost.
    pub fn into_storage(self) -> S {
        self.storage
    }

    /// Returns the feeds, in the order in which they were added.
    pub fn feeds(&self) -> impl Iterator<Item = (FeedSlot, PublicKey)> + '_ {
        (0..).map(FeedSlot).zip(self.feeds.iter().map(|feed| feed.key))
    }

    /// Returns the slot of a feed.
    pub fn slot(&self, key: &PublicKey) -> Option<FeedSlot> {
        self.feeds().find(|(_, other)| other == key).map(|(slot, _)| slot)
    }

    /// Adds a feed, or finds it; it stays with the next commit.
    ///
    /// # Errors
    /// [`StoreError::TooMany`] beyond [`FEEDS_MAX`].
    pub fn add_feed(&mut self, key: PublicKey) -> Result<FeedSlot, StoreError> {
        if let Some(slot) = self.slot(&key) {
            return Ok(slot);
        }
        if self.feeds.len() >= FEEDS_MAX {
            return Err(StoreError::TooMany("feeds"));
        }
        self.writable()?;
        let slot = FeedSlot(self.header.feeds);
        self.clear_tables(slot)?;
        self.header.feeds += 1;
        self.header_dirty = true;
        let mut feed = Feed::new(key);
        feed.dirty = true;
        self.feeds.push(feed);
        Ok(slot)
    }

    /// Returns the head of a feed: verified, and for a writer committed.
    pub fn head(&self, feed: FeedSlot) -> Option<&SignedHead> {
        self.feed(feed).head.as_ref()
    }

    /// Returns how many blocks the head has; 0 without one.
    pub fn length(&self, feed: FeedSlot) -> u64 {
        self.head(feed).map_or(0, |head| head.head.length)
    }

    /// Returns how many bytes the head has; 0 without one.
    pub fn byte_length(&self, feed: FeedSlot) -> u64 {
        self.head(feed).map_or(0, |head| head.head.byte_length)
    }

    /// Returns which blocks below the head are here.
    pub fn have(&self, feed: FeedSlot) -> &Bitfield {
        &self.feed(feed).have
    }

    fn feed(&self, slot: FeedSlot) -> &Feed {
        self.feeds.get(usize::from(slot.0)).expect("slots come from this store")
    }

    fn feed_mut(&mut self, slot: FeedSlot) -> &mut Feed {
        self.feeds.get_mut(usize::from(slot.0)).expect("slots come from this store")
    }

    /// Sets the place of the next append to the head's end.
    fn reset_appended(&mut self, slot: FeedSlot) -> Result<(), StoreError> {
        let (length, bytes) = (self.length(slot), self.byte_length(slot));
        let peaks = self.head_peaks(slot)?;
        let feed = self.feed_mut(slot);
        (feed.appended, feed.follows) = (Appended { length, bytes, peaks }, None);
        Ok(())
    }

    /// Takes what a commit that was cut short left in the tables of a feed that is not there.
    fn clear_tables(&mut self, slot: FeedSlot) -> Result<(), StoreError> {
        for file in [FileId::Tree(slot), FileId::Blocks(slot)] {
            if self.storage.len(file)? > 0 {
                let cut = self.storage.truncate(file, 0).and_then(|()| self.storage.sync(file));
                self.guard(cut.map_err(StoreError::from))?;
            }
        }
        Ok(())
    }

    /// Takes what the tables hold beyond the head: blocks that were committed and never signed, or a commit that was cut
    /// short. Another history may come in its place, and nothing of this one may pass for verified then.
    fn drop_tail(&mut self, slot: FeedSlot) -> Result<(), StoreError> {
        let (length, tree) = (self.length(slot), FileId::Tree(slot));
        let leaf = BlockIndex(length).node();
        for (file, end) in [(tree, leaf.0 * NODE_LEN), (FileId::Blocks(slot), length * PLACE_LEN)] {
            if self.storage.len(file)? > end {
                self.storage.truncate(file, end)?;
                self.storage.sync(file)?;
            }
        }
        // What is left are the parents that stand over blocks on both sides of the end.
        let (len, mut cleared) = (self.storage.len(tree)?, false);
        for node in iter::successors(Some(leaf), |node| Some(node.parent())).take(64) {
            let offset = node.0.saturating_mul(NODE_LEN);
            if offset.saturating_add(NODE_LEN) > len {
                continue;
            }
            let mut bytes = [0; NODE_LEN as usize];
            self.storage.read(tree, offset, &mut bytes)?;
            if bytes != [0; NODE_LEN as usize] {
                self.storage.write(tree, offset, &[0; NODE_LEN as usize])?;
                cleared = true;
            }
        }
        if cleared { Ok(self.storage.sync(tree)?) } else { Ok(()) }
    }

    /// Returns the peaks of the head. A head is not continued over peaks that are not its own, nor are bytes found by them.
    fn head_peaks(&self, slot: FeedSlot) -> Result<Vec<(NodeIndex, Node)>, StoreError> {
        let Some(head) = self.head(slot) else { return Ok(Vec::new()) };
        let peaks = self.read_peaks(slot, head.head.length)?;
        let is_rooted = |peaks: &Vec<(NodeIndex, Node)>| {
            root(peaks.iter().map(|(index, node)| (*index, node))) == head.head.root
        };
        peaks.filter(is_rooted).ok_or(StoreError::Damaged("peaks of a feed"))
    }

    /// Returns the peaks of a length, if all of them are known.
    fn read_peaks(
        &self,
        slot: FeedSlot,
        length: u64,
    ) -> Result<Option<Vec<(NodeIndex, Node)>>, StoreError> {
        let known = |index| Ok(self.node(slot, index)?.map(|node| (index, node)));
        peaks(length).map(known).collect()
    }
}

impl Feed {
    fn new(key: PublicKey) -> Self {
        Self {
            key,
            head: None,
            signed: None,
            have: Bitfield::new(),
            follows: None,
            nodes: BTreeMap::new(),
            places: BTreeMap::new(),
            appended: Appended::default(),
            own: false,
            seen: 0,
            accusation: None,
            dirty: false,
        }
    }
}

/// Makes all tables durable.
fn sync_tables<S: Storage>(storage: &mut S, feeds: u16) -> Result<(), StoreError> {
    for file in [FileId::Meta, FileId::Names] {
        if storage.len(file)? > 0 {
            storage.sync(file)?;
        }
    }
    for slot in 0..feeds {
        for file in [FileId::Tree(FeedSlot(slot)), FileId::Blocks(FeedSlot(slot))] {
            if storage.len(file)? > 0 {
                storage.sync(file)?;
            }
        }
    }
    Ok(())
}
