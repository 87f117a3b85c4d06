//! Blocks that a landing lacks and another store of this user has: they are copied, not fetched.
//!
//! Which blocks these are, their leaves tell: these are asked for first where there are other stores at all, which costs a round
//! trip and next to no bytes, since a block whose leaf is known comes without a proof. What is not found is fetched.
//! Elsewhere: the other stores (`neighbours`), who is asked for leaves (`datnode_proto`).

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use datnode_feed::limits::HELD_END;
use datnode_feed::{BlockIndex, FeedSlot, Node};
use futures::future::join;

use super::drive::Link;
use super::hub::Selection;
use super::snapshot::Snapshot;
use super::worker::Worker;
use crate::error::Error;
use crate::neighbours::Neighbours;

/// Fewer blocks are fetched sooner than found.
const BLOCKS_MIN: u64 = 16;
/// How many blocks are looked up at a time: what a drive says to have may be without end.
const SECTION_BLOCKS: u64 = 65_536;
/// How long leaves are waited for while none come: the blocks themselves can be had without them.
const LEAVES_WAIT: Duration = Duration::from_secs(2);
/// How long leaves of a section are waited for at most, however slowly they come.
const LEAVES_WAIT_MAX: Duration = Duration::from_secs(30);
/// How many bytes are copied at a time.
const BATCH_BYTES: u64 = 4 << 20;
/// How many blocks are looked for at a time.
const BATCH_BLOCKS: u64 = 1_024;

/// Where blocks may be, beside with peers; clones share it.
#[derive(Clone, Default)]
pub struct Sources(Arc<Mutex<Neighbours>>);

impl Sources {
    /// Copies from these stores.
    pub fn new(neighbours: Neighbours) -> Self {
        Self(Arc::new(Mutex::new(neighbours)))
    }

    /// Returns how many bytes were found in them.
    pub fn found(&self) -> u64 {
        self.lock().found()
    }

    /// Looks for the blocks of some leaves, away from the network's thread.
    async fn find(&self, leaves: Vec<(u64, Node)>) -> Vec<(u64, Vec<u8>)> {
        let sources = self.clone();
        let find = move || {
            let mut neighbours = sources.lock();
            let found =
                leaves.iter().filter_map(|(block, leaf)| Some((*block, neighbours.find(leaf)?)));
            found.collect()
        };
        tokio::task::spawn_blocking(find).await.expect("no code panics where others are read")
    }

    fn lock(&self) -> MutexGuard<'_, Neighbours> {
        self.0.lock().expect("no code panics while it holds this")
    }
}

impl Snapshot {
    /// Copies what the content lacks of some blocks and other stores have.
    ///
    /// # Errors
    /// What our own disk says; never what the others' do.
    pub async fn reuse(
        &self,
        content: &Link,
        sources: &Sources,
        blocks: &[Range<u64>],
    ) -> Result<(), Error> {
        if sources.lock().is_empty() {
            return Ok(());
        }
        let end = self.known_end(content, blocks).await;
        let (slot, blocks) = (content.slot, blocks.to_vec());
        let lack = move |worker: &mut Worker| {
            let have = worker.store.have(slot);
            let known = blocks.into_iter().map(|run| run.start.min(end)..run.end.min(end));
            known.flat_map(|run| have.gaps_in(run).collect::<Vec<_>>()).collect()
        };
        let missing: Vec<Range<u64>> = self.drive.store.query(lack).await;
        if missing.iter().map(|run| run.end - run.start).sum::<u64>() < BLOCKS_MIN {
            return Ok(());
        }
        for section in missing.into_iter().flat_map(|run| pieces(run, SECTION_BLOCKS)) {
            let blocks = section.clone();
            let unknown = move |worker: &mut Worker| worker.unknown_leaves(slot, blocks);
            let unknown = self.drive.store.query(unknown).await?;
            if !unknown.is_empty() && !learn(self.drive.hub.look_up(content.id, &unknown)).await {
                return Ok(());
            }
            self.copy(content, sources, section).await?;
        }
        Ok(())
    }

    /// Waits until the head is long enough for some blocks, which a change may promise sooner than it is here; returns where those
    /// end of which anything can be known.
    async fn known_end(&self, content: &Link, blocks: &[Range<u64>]) -> u64 {
        let wanted = blocks.iter().map(|run| run.end).max().unwrap_or_default();
        let mut news = content.news.clone();
        let is_known = news.wait_for(|news| news.length >= wanted);
        let _ = tokio::time::timeout(LEAVES_WAIT, is_known).await;
        content.news.borrow().length.min(HELD_END)
    }

    /// Copies those of some blocks whose leaves are known: some are looked for while those found before are taken.
    async fn copy(
        &self,
        content: &Link,
        sources: &Sources,
        mut blocks: Range<u64>,
    ) -> Result<(), Error> {
        let (slot, mut found) = (content.slot, Vec::new());
        while !blocks.is_empty() || !found.is_empty() {
            let rest = blocks.clone();
            let wanted = move |worker: &mut Worker| worker.known_leaves(slot, rest);
            let (leaves, next) = self.drive.store.query(wanted).await?;
            blocks.start = next;
            let take = move |worker: &mut Worker| worker.take_found(slot, found);
            let (more, taken) = join(sources.find(leaves), self.drive.store.query(take)).await;
            found = more;
            for block in taken {
                self.drive.hub.have(content.id, block..block + 1);
            }
        }
        Ok(())
    }
}

/// Waits for leaves, as long as some come and not for ever; tells whether any did, or all were asked for in vain.
async fn learn(mut asked: Selection) -> bool {
    let here = |asked: &Selection| asked.progress().map_or(0, |progress| progress.here);
    let mut before = 0;
    let end = Instant::now() + LEAVES_WAIT_MAX;
    while Instant::now() < end {
        if tokio::time::timeout(LEAVES_WAIT, asked.done()).await.is_ok() {
            return true;
        }
        if here(&asked) == before {
            break;
        }
        before = here(&asked);
    }
    here(&asked) > 0
}

fn pieces(run: Range<u64>, len: u64) -> impl Iterator<Item = Range<u64>> {
    let starts = std::iter::successors(Some(run.start), move |start| start.checked_add(len));
    let end = run.end;
    starts.take_while(move |start| *start < end).map(move |start| start..end.min(start + len))
}

impl Worker {
    /// Returns those of some blocks whose leaves are not known.
    fn unknown_leaves(&self, slot: FeedSlot, blocks: Range<u64>) -> Result<Vec<Range<u64>>, Error> {
        let mut unknown: Vec<Range<u64>> = Vec::new();
        for block in blocks {
            if self.store.leaf(slot, BlockIndex(block)).map_err(Error::store)?.is_some() {
                continue;
            }
            match unknown.last_mut() {
                Some(last) if last.end == block => last.end += 1,
                _ => unknown.push(block..block + 1),
            }
        }
        Ok(unknown)
    }

    /// Returns the known leaves of the first of some blocks, as much as is copied at a time, and the block behind them.
    fn known_leaves(
        &self,
        slot: FeedSlot,
        blocks: Range<u64>,
    ) -> Result<(Vec<(u64, Node)>, u64), Error> {
        let (mut leaves, mut bytes) = (Vec::new(), 0);
        let end = blocks.end.min(blocks.start.saturating_add(BATCH_BLOCKS));
        for block in blocks.start..end {
            let leaf = self.store.leaf(slot, BlockIndex(block)).map_err(Error::store)?;
            let Some(leaf) = leaf else { continue };
            // Where a block lies is not known if nodes beside it are damaged: a peer brings these as well.
            if self.store.byte_offset(slot, BlockIndex(block)).map_err(Error::store)?.is_none() {
                continue;
            }
            bytes += leaf.size;
            leaves.push((block, leaf));
            if bytes >= BATCH_BYTES {
                return Ok((leaves, block + 1));
            }
        }
        Ok((leaves, end))
    }

    /// Takes blocks that were found as if a peer had sent them; returns those that are here now.
    fn take_found(&mut self, slot: FeedSlot, found: Vec<(u64, Vec<u8>)>) -> Vec<u64> {
        let take = |(block, bytes): (u64, Vec<u8>)| {
            self.take(slot, BlockIndex(block), Vec::new(), &bytes).is_ok().then_some(block)
        };
        found.into_iter().filter_map(take).collect()
    }
}
