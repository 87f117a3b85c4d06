//! A place in a file of a drive, from which bytes are read, whether they are here or not.
//!
//! What is read is asked for before all else; what comes next is asked for ahead, the farther the longer the reader reads on.
//! What was passed, or left by a seek, is withdrawn. The store is looked at first, so that nothing is asked for as long
//! as everything is here.
//! Elsewhere: how far ahead (`datnode_drive::ReadAhead`), which blocks that is (`reading`), who is asked (`datnode_proto`).

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use datnode_drive::{Entry, FeedRange, ReadAhead, byte_ranges};
use datnode_proto::{Order, Priority, Target, Want};

use super::drive::{Link, URGENT};
use super::hub::Selection;
use super::patience::{Patience, Reach};
use super::reading::Plan;
use super::snapshot::Snapshot;
use crate::control::{Question, ask};
use crate::error::Error;

/// The priority of what a reader will want soon: before any bulk, after what somebody waits for.
const AHEAD: Priority = Priority(100);
/// How soon that should be here: an order among readers, no promise.
const SOON: Duration = Duration::from_secs(1);
/// How much of what is read next somebody waits for.
const NEAR: u64 = 256 << 10;
/// How much the process that has the folder open is to fetch at a time.
const FETCH: u64 = 8 << 20;
/// How much is kept in memory of what was read, if it is nowhere else, in blocks of a megabyte at most.
const KEPT_BLOCKS: usize = 64;

/// A place in a file, from which its bytes are read.
///
/// ```no_run
/// # async fn example(
/// #     version: datnode::engine::Snapshot, film: datnode_drive::Entry,
/// # ) -> Result<(), datnode::error::Error> {
/// let mut cursor = version.cursor(&film);
/// cursor.seek(1 << 30);
/// let mut frame = [0; 4_096];
/// let count = cursor.read(&mut frame).await?;
/// cursor.read_exact_at(0, &mut frame).await?;
/// assert_eq!(cursor.position(), 4_096);
/// # Ok(())
/// # }
/// ```
pub struct ByteCursor {
    snapshot: Snapshot,
    entry: Arc<Entry>,
    at: u64,
    /// Nothing behind it is asked for.
    end: u64,
    ahead: ReadAhead,
    /// What is to be on its way, once something was missing, and whether it is.
    wanted: Range<u64>,
    misses: bool,
    asked: bool,
    selections: Vec<Selection>,
    /// What that is, as it was known then.
    plan: Plan,
    /// The last block that was read, and where in the file it begins.
    block: (u64, Vec<u8>),
    /// The blocks that were read and are in memory alone.
    kept: VecDeque<u64>,
    /// What the process that has the folder open was asked to fetch, in bytes of the content feed.
    fetched: Range<u64>,
}

impl ByteCursor {
    pub(super) fn new(snapshot: &Snapshot, entry: &Entry) -> Self {
        Self {
            snapshot: snapshot.clone(),
            entry: Arc::new(entry.clone()),
            at: 0,
            end: entry.size,
            ahead: ReadAhead::default(),
            wanted: 0..0,
            misses: false,
            asked: false,
            selections: Vec::new(),
            plan: Plan::default(),
            block: (0, Vec::new()),
            kept: VecDeque::new(),
            fetched: 0..0,
        }
    }

    /// Returns how many bytes the file has.
    pub fn size(&self) -> u64 {
        self.entry.size
    }

    /// Returns where the next byte is read.
    pub const fn position(&self) -> u64 {
        self.at
    }

    /// Goes to a place in the file; behind its end nothing is read.
    pub fn seek(&mut self, to: u64) {
        if to != self.at {
            self.at = to;
            self.ahead.sought(to);
        }
    }

    /// Goes to the beginning of a range, and neither reads nor asks for what is behind its end.
    pub fn limit(&mut self, range: Range<u64>) {
        self.seek(range.start);
        self.end = range.end.min(self.entry.size);
    }

    /// Returns the next bytes, at most a block of them; nothing at the end.
    ///
    /// # Errors
    /// Those of [`Drive::latest`](super::Drive::latest).
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let bytes = self.load(NEAR).await?.to_vec();
        self.at += bytes.len() as u64;
        Ok((!bytes.is_empty()).then_some(bytes))
    }

    /// Reads the next bytes into `into`; returns how many there were, zero at the end of the file.
    ///
    /// # Errors
    /// Those of [`next`](Self::next).
    pub async fn read(&mut self, into: &mut [u8]) -> Result<usize, Error> {
        let bytes = self.load(into.len() as u64).await?;
        let count = bytes.len().min(into.len());
        into.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        self.at += count as u64;
        Ok(count)
    }

    /// Fills `into` with the bytes from `offset` on, and stays behind them.
    ///
    /// # Errors
    /// E-NOTFOUND if the file ends before, and those of [`next`](Self::next).
    pub async fn read_exact_at(&mut self, offset: u64, into: &mut [u8]) -> Result<(), Error> {
        self.seek(offset);
        let mut filled = 0;
        while let Some(rest) = into.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            filled += match self.read(rest).await? {
                0 => return Err(self.too_short()),
                count => count,
            };
        }
        Ok(())
    }

    fn too_short(&self) -> Error {
        let size = self.size();
        Error::not_found::<&[u8]>(format!("the file has {size} bytes, and ends before that"), &[])
    }

    /// Returns the bytes from the cursor to the end of their block, of which `count` are read now; none at the end.
    async fn load(&mut self, count: u64) -> Result<&[u8], Error> {
        if self.at >= self.end {
            // What was asked for ahead is here, or nobody reads it.
            self.selections.clear();
        }
        if self.at >= self.end || count == 0 {
            return Ok(&[]);
        }
        let read = self.at..self.end.min(self.at.saturating_add(count));
        if let Some(wanted) = self.ahead.read(read.clone(), self.end) {
            (self.wanted, self.asked) = (wanted, false);
        }
        let (start, bytes) = &self.block;
        if !(*start..*start + bytes.len() as u64).contains(&self.at) {
            self.block = self.fetch().await?;
        }
        let (start, bytes) = &self.block;
        let place = |at: u64| usize::try_from(at - start).unwrap_or(usize::MAX).min(bytes.len());
        Ok(bytes.get(place(self.at)..place(self.end)).unwrap_or_default())
    }

    /// Returns the block with the next byte, and where in the file it begins, as soon as it is here.
    async fn fetch(&mut self) -> Result<(u64, Vec<u8>), Error> {
        let at = self.at;
        let too_short = || Error::verify("a file has fewer bytes than it says".to_owned());
        let part = byte_ranges(&self.entry, at..self.end).into_iter().next();
        let part = part.ok_or_else(too_short)?;
        let content = self.snapshot.content.clone().ok_or_else(too_short)?;
        let (store, patience) =
            (self.snapshot.drive.store.clone(), self.snapshot.drive.patience.clone());
        let (mut news, mut is_first) = (content.news.clone(), true);
        self.have_fetched(&patience, &part).await?;
        loop {
            // Seen before looking: news that come while we look wake us up afterwards.
            news.borrow_and_update();
            let (slot, byte) = (content.slot, part.bytes.start);
            let found = store.query_first(move |worker| worker.block_at(slot, byte)).await;
            let found = found.map_err(Error::store)?;
            self.misses |= found.is_none();
            // What came once and was forgotten, or was given up at the end, is asked for again.
            self.asked &= found.is_some() || !is_first;
            is_first = false;
            if self.misses && !self.asked {
                self.ask(&content).await?;
            }
            if let Some(found) = found {
                self.keep(&content, found.block).await;
                return Ok(found.of(&part, at));
            }
            let changed = async { news.changed().await.is_ok() };
            if !patience.wait(&self.snapshot.drive.hub, changed).await? {
                return Err(Error::interrupted());
            }
        }
    }

    /// Asks for what is wanted from the cursor on, as far as it is known where that is, and for nothing else any more.
    async fn ask(&mut self, content: &Link) -> Result<(), Error> {
        let parts = byte_ranges(&self.entry, self.at..self.wanted.end.max(self.at + 1));
        let (slot, is_last) = (content.slot, self.wanted.end >= self.end);
        let (hub, id) = (self.snapshot.drive.hub.clone(), content.id);
        let plan = move |worker: &mut super::Worker| {
            let plan = Plan::of(&worker.store, slot, &parts, is_last)?;
            hub.missing(id, worker.store.have(slot), plan.lost.iter().cloned());
            Ok(plan)
        };
        let plan = self.snapshot.drive.store.query_first(plan).await.map_err(Error::store)?;
        self.asked = plan.is_all;
        let goes_on = self.selections.iter().any(|one| one.progress().is_some());
        if goes_on && self.plan == plan {
            return Ok(());
        }
        self.plan = plan.clone();
        let hub = &self.snapshot.drive.hub;
        let want = |target, priority| Want { priority, order: Order::Linear, ..Want::new(target) };
        let (near, far) = plan.blocks.split(NEAR);
        let mut selections = Vec::new();
        if let Some(bytes) = plan.bytes {
            let want = want(Target::Bytes(bytes), URGENT);
            selections.push(hub.want_by(content.id, want, Duration::ZERO));
        }
        for (blocks, priority, within) in [(near, URGENT, Duration::ZERO), (far, AHEAD, SOON)] {
            if !blocks.is_empty() {
                let want = want(Target::Blocks(blocks), priority);
                selections.push(hub.want_by(content.id, want, within));
            }
        }
        // Only now: what both want goes on.
        self.selections = selections;
        Ok(())
    }

    /// Keeps some of what was read in memory, if the store is nowhere else: the reader may come back.
    async fn keep(&mut self, content: &Link, block: u64) {
        if self.kept.back() != Some(&block) {
            self.kept.push_back(block);
        }
        let passed = self.kept.len().saturating_sub(KEPT_BLOCKS);
        let passed: Vec<u64> = self.kept.drain(..passed).collect();
        if !passed.is_empty() {
            let slot = content.slot;
            let forget = move |worker: &mut super::Worker| worker.forget_if_fleeting(slot, &passed);
            self.snapshot.drive.store.query(forget).await;
        }
    }

    /// Has the process that has the folder open fetch the next bytes, as far as it lacks them.
    async fn have_fetched(&mut self, patience: &Patience, part: &FeedRange) -> Result<(), Error> {
        let Patience { reach: Reach::Owner { socket, locked }, wait, .. } = patience else {
            return Ok(());
        };
        let start = part.bytes.start;
        if self.fetched.contains(&start) {
            return Ok(());
        }
        let end = part.bytes.end.min(start + FETCH);
        let question = Question::Fetch { start, end };
        let fetched = ask(socket, Some(&self.snapshot.drive.key), &question);
        match wait {
            None => fetched.await?,
            Some(wait) => tokio::time::timeout(*wait, fetched).await.map_err(|_| {
                locked.clone().context("it could not get what is missing in time")
            })??,
        };
        self.fetched = start..end;
        Ok(())
    }
}
