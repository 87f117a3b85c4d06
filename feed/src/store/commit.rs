//! Makes what is staged durable, all of it or nothing. SPEC 5.5.

use alloc::vec::Vec;

use super::journal::{Write, join};
use super::table::{FeedRecord, Header, NODE_LEN, PLACE_LEN, encode_node};
use super::{Store, StoreError, sync_tables};
use crate::limits::{JOURNAL_BYTES, RECORD_BYTES_MAX};
use crate::storage::{FeedSlot, FileId, Storage};

impl<S: Storage> Store<S> {
    /// Makes everything staged durable: bytes of blocks, then one journal record, then the tables.
    ///
    /// # Errors
    /// What the storage says; the store then takes no more writes until it is opened again.
    pub fn commit(&mut self) -> Result<(), StoreError> {
        self.writable()?;
        if !self.is_dirty() {
            return Ok(());
        }
        let committed = self.try_commit();
        self.guard(committed)
    }

    fn try_commit(&mut self) -> Result<(), StoreError> {
        self.flush_data()?;
        // Blocks before what claims them. The other order could leave, after a power cut, a claim on bytes that were never written.
        if self.unsynced.data {
            self.storage.sync(FileId::Data)?;
        }
        if self.unsynced.working {
            self.storage.sync_working()?;
        }
        let mut writes = self.collect();
        if writes.iter().map(record_len).sum::<usize>() > RECORD_BYTES_MAX {
            // Should only the first of several records survive, what it claims must not be written over.
            let (feeds, commits) = (self.committed_feeds, self.header.commits);
            let header = Header { feeds, commits, ..self.next_header() };
            let bytes = header.encode();
            writes.insert(0, Write { file: FileId::Meta, offset: 0, bytes });
        }
        for record in split(&writes) {
            self.journal.append(&mut self.storage, record)?;
        }
        self.storage.sync(FileId::Journal)?;
        for Write { file, offset, bytes } in join(writes) {
            self.storage.write(file, offset, &bytes)?;
        }
        self.settle();
        if self.journal.len > JOURNAL_BYTES { self.checkpoint() } else { Ok(()) }
    }

    /// Returns the staged writes, heads last: a record that was split and cut short claims too little, never too much.
    fn collect(&self) -> Vec<Write> {
        let mut writes = Vec::new();
        if !self.names.staged.is_empty() {
            let bytes = self.names.staged.clone();
            writes.push(Write { file: FileId::Names, offset: self.header.names_end, bytes });
        }
        for (at, forward) in &self.names.forwards {
            let bytes = forward.to_le_bytes().to_vec();
            writes.push(Write { file: FileId::Names, offset: *at, bytes });
        }
        for (slot, feed) in (0..).map(FeedSlot).zip(&self.feeds) {
            let node = |(index, node): (&crate::position::NodeIndex, _)| Write {
                file: FileId::Tree(slot),
                offset: index.0 * NODE_LEN,
                bytes: encode_node(node),
            };
            let place = |(block, cell): (&u64, &super::Cell)| Write {
                file: FileId::Blocks(slot),
                offset: block * PLACE_LEN,
                bytes: cell.encode(),
            };
            writes.extend(feed.nodes.iter().map(node));
            writes.extend(feed.places.iter().map(place));
        }
        for (slot, feed) in (0..).map(FeedSlot).zip(&self.feeds).filter(|(_, feed)| feed.dirty) {
            let record = FeedRecord {
                key: feed.key,
                head: feed.signed.or(feed.head),
                accusation: feed.accusation.as_ref().map(|(at, _)| *at),
            };
            let (offset, bytes) = (FeedRecord::offset(slot), record.encode(slot));
            writes.push(Write { file: FileId::Meta, offset, bytes });
        }
        let bytes = self.next_header().encode();
        writes.push(Write { file: FileId::Meta, offset: 0, bytes });
        writes
    }

    fn next_header(&self) -> Header {
        let names_end = self.header.names_end + self.names.staged.len() as u64;
        Header { names_end, commits: self.header.commits + 1, ..self.header }
    }

    /// Forgets what is in the tables now, and shows the heads that are durable.
    fn settle(&mut self) {
        self.header = self.next_header();
        self.names.staged.clear();
        self.names.forwards.clear();
        self.unsynced = super::Unsynced::default();
        self.header_dirty = false;
        self.committed_feeds = self.header.feeds;
        for feed in &mut self.feeds {
            feed.nodes.clear();
            feed.places.clear();
            feed.dirty = false;
            if let Some(head) = feed.signed.take() {
                let old = feed.head.as_ref().map_or(0, |head| head.head.length);
                feed.have.set_range(old..head.head.length);
                feed.head = Some(head);
            }
        }
    }

    /// Tells whether something is staged.
    pub fn is_dirty(&self) -> bool {
        let staged =
            |feed: &super::Feed| feed.dirty || !feed.nodes.is_empty() || !feed.places.is_empty();
        self.header_dirty
            || !self.names.staged.is_empty()
            || !self.names.forwards.is_empty()
            || self.feeds.iter().any(staged)
    }

    /// Returns about how many bytes of memory the staged changes take.
    pub fn staged_bytes(&self) -> usize {
        let of = |feed: &super::Feed| feed.nodes.len() * 64 + feed.places.len() * 48;
        self.feeds.iter().map(of).sum::<usize>() + self.names.staged.len()
    }

    /// Returns how many bytes of blocks the storage has yet to be given.
    pub fn unwritten_bytes(&self) -> u64 {
        self.data.len() as u64
    }

    /// Makes the tables durable and empties the journal.
    ///
    /// # Errors
    /// As for [`commit`](Self::commit).
    pub fn checkpoint(&mut self) -> Result<(), StoreError> {
        self.writable()?;
        if self.journal.len == 0 {
            return Ok(());
        }
        let synced = sync_tables(&mut self.storage, self.header.feeds);
        let done = synced.and_then(|()| self.journal.reset(&mut self.storage));
        self.guard(done)
    }

    /// Empties the journal, lets go of the memory for what is written, and lets the storage rest; what is staged has to be committed
    /// before.
    ///
    /// # Errors
    /// As for [`commit`](Self::commit).
    pub fn rest(&mut self) -> Result<(), StoreError> {
        debug_assert!(!self.is_dirty(), "what is staged would not be durable");
        self.checkpoint()?;
        self.data = Vec::new();
        self.storage.rest();
        Ok(())
    }

    pub(super) fn writable(&self) -> Result<(), StoreError> {
        if self.poisoned { Err(StoreError::Poisoned) } else { Ok(()) }
    }

    /// After a failure nobody knows what is on disk: a second sync might say yes to lost bytes.
    pub(super) fn guard(&mut self, result: Result<(), StoreError>) -> Result<(), StoreError> {
        self.poisoned |= result.is_err();
        result
    }
}

/// What a write takes in a record.
fn record_len(write: &Write) -> usize {
    write.bytes.len() + 15
}

/// Splits writes into records of bounded size.
fn split(writes: &[Write]) -> Vec<&[Write]> {
    let mut records = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (at, write) in writes.iter().enumerate() {
        let len = record_len(write);
        if at > start && bytes + len > RECORD_BYTES_MAX {
            records.push(&writes[start..at]);
            (start, bytes) = (at, 0);
        }
        bytes += len;
    }
    records.push(&writes[start..]);
    records
}
