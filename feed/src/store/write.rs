//! What a writer does: append, sign, think better of it.
//!
//! Blocks behind the head do not show, not even after a commit, until a head over them is signed and committed: a head is
//! announced only when it is durable. SPEC 5.5.

use super::table::{Cell, UNKNOWN};
use super::{InPlace, Store, StoreError};
use crate::hash::{Node, leaf, root};
use crate::head::{Head, SignedHead};
use crate::key::SecretKey;
use crate::limits::{BLOCK_BYTES_MAX, DATA_ALIGNED, DATA_PIECE_BYTES, HELD_END};
use crate::position::BlockIndex;
use crate::proof::push_peak;
use crate::storage::{FeedSlot, FileId, Storage};

impl<S: Storage> Store<S> {
    /// Appends a block behind what was appended before.
    ///
    /// # Errors
    /// A block over the limit, a full feed, or what the storage says.
    pub fn append(&mut self, feed: FeedSlot, block: &[u8]) -> Result<BlockIndex, StoreError> {
        self.append_hashed(feed, block, leaf(block))
    }

    /// Appends a block whose leaf is known, so that it is hashed once: on another thread, say.
    ///
    /// # Errors
    /// As for [`append`](Self::append).
    pub fn append_hashed(
        &mut self,
        feed: FeedSlot,
        block: &[u8],
        leaf: Node,
    ) -> Result<BlockIndex, StoreError> {
        debug_assert_eq!(leaf, crate::hash::leaf(block), "nobody could verify such a feed");
        let index = self.grow(feed, leaf)?;
        let offset = self.write_data(block)?;
        self.feed_mut(feed).places.insert(index.0, Cell::Data { offset });
        Ok(index)
    }

    /// Appends a block whose bytes are in a working file already, by its leaf.
    ///
    /// # Errors
    /// As for [`append`](Self::append).
    pub fn append_in_place(
        &mut self,
        feed: FeedSlot,
        leaf: Node,
        at: InPlace<'_>,
    ) -> Result<BlockIndex, StoreError> {
        let name = self.name(at.path)?;
        let index = self.grow(feed, leaf)?;
        self.unsynced.working = true;
        self.feed_mut(feed).places.insert(index.0, Cell::Working { name, offset: at.offset });
        Ok(index)
    }

    /// Adds the leaf of a block, and the parents that come with it.
    fn grow(&mut self, slot: FeedSlot, node: Node) -> Result<BlockIndex, StoreError> {
        self.writable()?;
        if node.size > BLOCK_BYTES_MAX as u64 {
            return Err(StoreError::BlockTooLong(usize::try_from(node.size).unwrap_or(usize::MAX)));
        }
        self.newest(slot)?;
        let feed = self.feed_mut(slot);
        if feed.appended.length >= HELD_END {
            return Err(StoreError::TooMany("blocks"));
        }
        let index = BlockIndex(feed.appended.length);
        feed.nodes.insert(index.node(), node);
        let nodes = &mut feed.nodes;
        push_peak(&mut feed.appended.peaks, index.node(), node, |index, node| {
            nodes.insert(index, node);
        });
        feed.appended.length += 1;
        feed.appended.bytes += node.size;
        Ok(index)
    }

    /// Refuses when others hold a longer or another history under our key.
    fn newest(&self, feed: FeedSlot) -> Result<(), StoreError> {
        self.unaccused(feed)?;
        let (ours, theirs) = (self.length(feed), self.feed(feed).seen);
        if theirs > ours { Err(StoreError::Behind { ours, theirs }) } else { Ok(()) }
    }

    /// Writes bytes behind the data. They go to the storage in large pieces that end with a page, so that the next begins with one: some
    /// processors take five times as long to copy to anywhere else.
    pub(super) fn write_data(&mut self, bytes: &[u8]) -> Result<u64, StoreError> {
        let offset = self.header.data_end;
        self.header.data_end += bytes.len() as u64;
        self.header_dirty = true;
        self.unsynced.data = true;
        self.data.extend_from_slice(bytes);
        if self.data.len() >= DATA_PIECE_BYTES {
            let over = self.header.data_end % DATA_ALIGNED as u64;
            self.hand_over(self.data.len() - usize::try_from(over).expect("a page is small"))?;
        }
        Ok(offset)
    }

    /// Hands all bytes that wait to the storage.
    pub(super) fn flush_data(&mut self) -> Result<(), StoreError> {
        self.hand_over(self.data.len())
    }

    /// Hands so many of the bytes that wait to the storage, the first ones.
    fn hand_over(&mut self, len: usize) -> Result<(), StoreError> {
        if len == 0 {
            return Ok(());
        }
        let start = self.header.data_end - self.data.len() as u64;
        let written = self.storage.write(FileId::Data, start, &self.data[..len]);
        // After a failure nothing is written any more.
        let done = if written.is_ok() { len } else { self.data.len() };
        self.data.drain(..done);
        self.guard(written.map_err(StoreError::from))
    }

    /// Returns the length in blocks and bytes, with what was appended and not signed.
    pub fn appended(&self, feed: FeedSlot) -> (u64, u64) {
        let appended = &self.feed(feed).appended;
        (appended.length, appended.bytes)
    }

    /// Returns the head that [`sign`](Self::sign) would sign.
    pub fn staged_head(&self, feed: FeedSlot) -> Head {
        let feed = self.feed(feed);
        let (fork, ancestor) =
            feed.head.as_ref().map_or((0, None), |head| (head.head.fork, head.head.ancestor));
        let appended = &feed.appended;
        let root = root(appended.peaks.iter().map(|(index, node)| (*index, node)));
        Head { fork, length: appended.length, byte_length: appended.bytes, root, ancestor }
    }

    /// Signs a head over everything appended; it shows once committed.
    ///
    /// # Errors
    /// [`StoreError::NotWritable`] with a key that is not the feed's, [`StoreError::Behind`] after a longer head was seen.
    pub fn sign(&mut self, feed: FeedSlot, key: &SecretKey) -> Result<SignedHead, StoreError> {
        self.writable()?;
        self.newest(feed)?;
        if key.public() != self.feed(feed).key {
            return Err(StoreError::NotWritable("the secret key belongs to another feed"));
        }
        let head = SignedHead::sign(self.staged_head(feed), key);
        let feed = self.feed_mut(feed);
        feed.signed = Some(head);
        feed.dirty = true;
        Ok(head)
    }

    /// Forgets what was appended and has no committed head. That others hold a longer one stays known: only following it, which a
    /// feed with nothing appended may, lets appends go on.
    ///
    /// # Errors
    /// What the storage says.
    pub fn rollback(&mut self, slot: FeedSlot) -> Result<(), StoreError> {
        self.writable()?;
        let length = self.length(slot);
        let feed = self.feed_mut(slot);
        feed.signed = None;
        // Some of it may be in the tables already, so that it is not enough to drop what is staged.
        for block in length..feed.appended.length {
            feed.places.insert(block, Cell::Absent);
            let mut node = BlockIndex(block).node();
            while node.blocks().end == block + 1 {
                feed.nodes.insert(node, UNKNOWN);
                node = node.parent();
            }
        }
        self.reset_appended(slot)
    }
}
