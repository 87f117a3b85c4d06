//! What differs between two versions, of one drive or of two, a page at a time.
//!
//! Only the nodes of the indexes are fetched that may differ, of both sides at once. Their blocks are held in memory while a page is
//! made: two drives have two stores, each with a thread of its own.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};

use datnode_drive::{Blocks, DiffPage, DiffStep, Difference, Key, Location, ReadError, Step, diff};
use datnode_feed::StoreError;

use super::drive::StoreView;
use super::snapshot::Snapshot;
use crate::error::Error;

/// How many differences a page has at most. Each may be in a node of its own on both sides: 500 blocks of some 20 KB.
const PAGE: usize = 250;
/// How many blocks of a side are kept for the next page: far more than two ways down take, each of at most 64 KiB.
const KEPT_BLOCKS_MAX: usize = 256;

/// The differences of two versions, from the first to the last.
pub struct Comparison {
    old: Side,
    new: Side,
    after: Option<Key>,
    page: VecDeque<Difference>,
    is_over: bool,
}

impl Comparison {
    /// Begins with the first.
    pub fn new(old: &Snapshot, new: &Snapshot) -> Self {
        let (old, new) = (Side::new(old), Side::new(new));
        Self { old, new, after: None, page: VecDeque::new(), is_over: false }
    }

    /// Returns the next difference, in the order of keys; none behind the last one.
    ///
    /// # Errors
    /// Those of [`Drive::latest`](super::Drive::latest), of either drive.
    pub async fn next(&mut self) -> Result<Option<Difference>, Error> {
        while self.page.is_empty() && !self.is_over {
            let DiffPage { differences, next } = self.read().await?;
            self.page = differences.into();
            self.is_over = next.is_none();
            self.after = next;
        }
        Ok(self.page.pop_front())
    }

    async fn read(&mut self) -> Result<DiffPage, Error> {
        self.old.forget();
        self.new.forget();
        loop {
            let (old, new) = (&self.old, &self.new);
            let sides =
                ((&*old.snapshot.version, &old.blocks), (&*new.snapshot.version, &new.blocks));
            let step = diff(sides.0, sides.1, self.after.as_ref(), PAGE);
            match step.map_err(|error| Error::damaged(error.into_reason()))? {
                DiffStep::Done(page) => return Ok(page),
                DiffStep::Need { old, new } => {
                    tokio::try_join!(self.old.fetch(old), self.new.fetch(new))?;
                }
            }
        }
    }
}

/// One of two versions, with blocks of its index.
struct Side {
    snapshot: Snapshot,
    blocks: Held,
}

impl Side {
    fn new(snapshot: &Snapshot) -> Self {
        Self { snapshot: snapshot.clone(), blocks: Held::default() }
    }

    fn forget(&mut self) {
        if self.blocks.0.len() > KEPT_BLOCKS_MAX {
            self.blocks.0.clear();
        }
    }

    async fn fetch(&mut self, needed: Vec<Location>) -> Result<(), Error> {
        if needed.is_empty() {
            return Ok(());
        }
        let read = move |view: &StoreView<'_>| {
            let (mut blocks, mut missing) = (Vec::new(), Vec::new());
            for at in &needed {
                match view.block(*at).map_err(ReadError::Source)? {
                    Some(block) => blocks.push((*at, block.into_owned())),
                    None => missing.push(*at),
                }
            }
            Ok(if missing.is_empty() { Step::Done(blocks) } else { Step::Need(missing) })
        };
        self.blocks.0.extend(self.snapshot.drive.ask(None, read).await?);
        Ok(())
    }
}

/// Blocks in memory.
#[derive(Default)]
struct Held(BTreeMap<Location, Vec<u8>>);

impl Blocks for Held {
    type Error = StoreError;

    fn block(&self, at: Location) -> Result<Option<Cow<'_, [u8]>>, StoreError> {
        Ok(self.0.get(&at).map(|block| Cow::Borrowed(block.as_slice())))
    }
}
