//! A feed as programs use it: blocks that are here or come when they are wanted, and what of it is wanted.
//!
//! Elsewhere: files over feeds (`drive`), the decisions (`datnode_proto`), verification (`datnode_feed`).

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use datnode_feed::{BlockIndex, PublicKey, Seek};
use datnode_proto::{Availability, Class, Order, Priority, Target, Want};

use super::drive::{Link, URGENT, link};
use super::hub::{Hub, Selection};
use super::worker::{StoreHandle, Worker};
use crate::error::{Code, Error};

/// A feed of a store, replicated by a hub; clones share what is wanted of it.
#[derive(Clone)]
pub struct Feed {
    hub: Hub,
    store: StoreHandle,
    link: Link,
    /// The whole feed, unless it is sparse.
    _all: Option<Arc<Selection>>,
}

/// How much of a feed is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Interest {
    /// All of it, also what it grows by, as bulk.
    #[default]
    Whole,
    /// What is asked for alone.
    Sparse,
}

/// How blocks are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How urgently: a higher one comes first, zero is bulk.
    pub priority: Priority,
    /// In which order.
    pub order: Order,
    /// Whether a peer that would be done sooner takes over what another one owes.
    pub hotswap: bool,
    /// In what time it should be here: what comes first is asked of whoever delivers it soonest.
    pub within: Option<Duration>,
}

impl Default for Options {
    fn default() -> Self {
        let Want { priority, order, hotswap, .. } = Want::new(Target::All);
        Self { priority, order, hotswap, within: None }
    }
}

/// How long a block is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all: only what is here will do.
    No,
    /// So long.
    For(Duration),
    /// Until it is here, or nobody waits any more.
    Forever,
}

impl Feed {
    /// Replicates a feed, which is added to the store if it is new.
    ///
    /// # Errors
    /// What the store says.
    pub async fn open(
        hub: &Hub,
        store: &StoreHandle,
        key: PublicKey,
        interest: Interest,
    ) -> Result<Self, Error> {
        let link = link(hub, store, key, Class::Content).await?;
        let all = || Arc::new(hub.want(link.id, Want::new(Target::All)));
        let _all = (interest == Interest::Whole).then(all);
        Ok(Self { hub: hub.clone(), store: store.clone(), link, _all })
    }

    pub(super) const fn of(hub: Hub, store: StoreHandle, link: Link) -> Self {
        Self { hub, store, link, _all: None }
    }

    /// Returns how many blocks it has, as far as is known.
    pub fn length(&self) -> u64 {
        self.link.news.borrow().length
    }

    /// Waits until it has so many blocks; returns how many it has then.
    pub async fn grown_to(&self, length: u64) -> u64 {
        let mut news = self.link.news.clone();
        let grown = news.wait_for(|news| news.length >= length).await;
        grown.map_or(0, |news| news.length)
    }

    /// Wants a range of blocks in some way, until they are here or what is returned is dropped.
    pub fn prioritize(&self, blocks: Range<u64>, options: Options) -> Selection {
        self.prioritize_all(vec![blocks], options)
    }

    /// Does the same for several ranges, in any order and overlap.
    pub fn prioritize_all(&self, blocks: Vec<Range<u64>>, options: Options) -> Selection {
        let Options { priority, order, hotswap, within } = options;
        let want = Want { priority, order, hotswap, ..Want::new(Target::Blocks(blocks)) };
        match within {
            Some(within) => self.hub.want_by(self.link.id, want, within),
            None => self.hub.want(self.link.id, want),
        }
    }

    /// Tells whether a block is here, with somebody connected, with nobody of them, or whether that is not known yet.
    pub fn availability(&self, block: BlockIndex) -> Availability {
        self.hub.availability(self.link.id, block)
    }

    /// Returns a block before all bulk; nothing if it is not here and not waited for.
    ///
    /// Whoever waits no longer drops the future: what nobody else wants is not asked for any more.
    ///
    /// # Errors
    /// E-NODATA if it did not come in time, and what the store says.
    pub async fn get(&self, block: BlockIndex, wait: Wait) -> Result<Option<Vec<u8>>, Error> {
        if let Some(bytes) = self.read(block).await? {
            return Ok(Some(bytes));
        }
        let coming = async {
            loop {
                let run = block.0..block.0 + 1;
                let options = Options { priority: URGENT, ..Options::default() };
                self.prioritize(run, options).done().await;
                if let Some(bytes) = self.read(block).await? {
                    return Ok(Some(bytes));
                }
            }
        };
        let late = |span| {
            let waited = crate::cli::units::Span(span);
            Error::new(Code::NoData, format!("block {} did not come in {waited}", block.0))
        };
        match wait {
            Wait::No => Ok(None),
            Wait::For(span) => tokio::time::timeout(span, coming).await.map_err(|_| late(span))?,
            Wait::Forever => coming.await,
        }
    }

    /// Returns the block that holds a byte of the feed, and how far behind its beginning the byte is; nothing if the tree
    /// here does not reach there.
    ///
    /// # Errors
    /// What the store says.
    pub async fn seek(&self, byte: u64) -> Result<Option<(BlockIndex, u64)>, Error> {
        let slot = self.link.slot;
        let found = self.store.query_first(move |worker| worker.store.seek(slot, byte)).await;
        Ok(match found.map_err(Error::store)? {
            Seek::Block { block, offset } => Some((block, offset)),
            _ => None,
        })
    }

    async fn read(&self, block: BlockIndex) -> Result<Option<Vec<u8>>, Error> {
        let (hub, id, slot) = (self.hub.clone(), self.link.id, self.link.slot);
        let read = move |worker: &mut Worker| {
            let read = worker.store.read(slot, block);
            // One that was here until it was read and found rotten is here no longer.
            if matches!(read, Ok(None)) {
                hub.missing(id, worker.store.have(slot), [block.0..block.0 + 1]);
            }
            read
        };
        self.store.query_first(read).await.map_err(Error::store)
    }
}
