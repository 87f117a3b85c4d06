//! Brings a version of a drive into a folder: what its files need is fetched, landed, and the history with it.
//!
//! Elsewhere: which bytes go where (`landing`), what is asked of whom (`datnode_proto`).

use std::path::Path;
use std::time::Duration;

use datnode_drive::{DrivePath, Entry};
use datnode_feed::{Bitfield, FeedSlot};
use datnode_proto::{Order, Priority, Target, Want};

use super::drive::{Drive, Link};
use super::snapshot::Snapshot;
use crate::error::Error;
use crate::landing::{Earlier, FolderOf, Landing, Wanted, landed, note_landed};

/// How often the state is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// How far a landing is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LandingState {
    /// Bytes of files that are here, received or found.
    pub bytes: u64,
    /// Bytes that all files have.
    pub total: u64,
}

/// A landing that found nothing in its way.
pub struct LandingPlan {
    landing: Landing,
    scope: DrivePath,
    /// The versions whose files may be in the folder.
    before: Vec<u64>,
}

impl LandingPlan {
    /// Returns how far it is before it began.
    pub fn state(&self) -> LandingState {
        LandingState { bytes: self.landing.landed, total: self.landing.total }
    }
}

/// What a landing left undone, on purpose.
#[derive(Debug, Default)]
pub struct Report {
    /// Bytes of all files.
    pub bytes: u64,
    /// Names that must not or cannot be written here, and why.
    pub refused: Vec<(DrivePath, String)>,
    /// Names that the version dropped and that were changed here: they stay.
    pub kept: Vec<Vec<u8>>,
}

impl Snapshot {
    /// Plans to bring what is at `scope` into the working folder, at the same place below it; the root means everything.
    /// Nothing is written.
    ///
    /// # Errors
    /// E-NOTFOUND if there is no `scope`, E-DIRTY if something is in the way, those of [`Drive::latest`], and what the disk
    /// says.
    pub async fn plan(
        &self,
        folder: &Path,
        scope: &DrivePath,
        of: FolderOf,
    ) -> Result<LandingPlan, Error> {
        self.make_plan(folder, scope, of, true).await
    }

    /// Does the same, and looks at the bytes of all files: one that looks as it was left may be damaged.
    ///
    /// # Errors
    /// Those of [`plan`](Self::plan).
    pub async fn plan_doubting(
        &self,
        folder: &Path,
        scope: &DrivePath,
        of: FolderOf,
    ) -> Result<LandingPlan, Error> {
        self.make_plan(folder, scope, of, false).await
    }

    async fn make_plan(
        &self,
        folder: &Path,
        scope: &DrivePath,
        of: FolderOf,
        trust: bool,
    ) -> Result<LandingPlan, Error> {
        let before = landed(folder)?;
        let earlier = self.earlier(&before).await?;
        let entries = self.entries(scope).await?;
        let wanted = Wanted { entries, scope: scope.clone(), earlier, of, trust };
        let landing = Landing::new(folder, wanted)?;
        Ok(LandingPlan { landing, scope: scope.clone(), before })
    }

    /// Does what was planned for the working folder `folder`, fetching what is not here.
    ///
    /// # Errors
    /// Those of [`Drive::latest`], and what the disk says.
    pub async fn land(
        &self,
        folder: &Path,
        plan: LandingPlan,
        mut show: impl FnMut(LandingState),
    ) -> Result<Report, Error> {
        let LandingPlan { mut landing, scope, before } = plan;
        let report = Report {
            bytes: landing.total,
            refused: std::mem::take(&mut landing.refused),
            kept: Vec::new(),
        };
        let number = self.version.number;
        note_landed(folder, &with(&before, number))?;
        let total = landing.total;
        self.begin(landing).await?;
        let mut look = |bytes: u64| show(LandingState { bytes: bytes.min(total), total });
        tokio::select! {
            done = self.fetch() => done?,
            error = self.watch(&mut look) => return Err(error),
        }
        let report = self.finish(report).await?;
        let now = if scope.is_root() { vec![number] } else { with(&before, number) };
        note_landed(folder, &now)?;
        Ok(report)
    }

    /// Reads what the versions had that were landed before. One that cannot be read is passed over: its files count as the user's.
    async fn earlier(&self, numbers: &[u64]) -> Result<Earlier, Error> {
        let mut earlier = Earlier::default();
        for number in numbers {
            let spec = crate::address::VersionSpec::Number(*number);
            let note = |path: DrivePath, entry: Entry| {
                earlier.add(&path, &entry);
                Ok(())
            };
            let read = async { self.drive.version(&spec).await?.walk(note).await };
            if let Err(error) = read.await {
                tracing::debug!(
                    error = error.message(),
                    number,
                    "an earlier version is not all here"
                );
            }
        }
        Ok(earlier)
    }

    /// Returns the entries at and below `scope`, and those of the folders above it.
    async fn entries(&self, scope: &DrivePath) -> Result<Vec<(DrivePath, Entry)>, Error> {
        let mut entries = Vec::new();
        let mut keep = |path: DrivePath, entry: Entry| {
            entries.push((path, entry));
            Ok(())
        };
        if !self.has(scope).await? {
            let name = crate::cli::escape::bytes(scope.as_bytes());
            let none = format!("there is no {name} in this version");
            return Err(Error::not_found::<&[u8]>(none, &[]));
        }
        let above = std::iter::successors(Some(scope.clone()), DrivePath::parent);
        let above: Vec<_> = above.take_while(|path| !path.is_root()).collect();
        for path in above.into_iter().rev() {
            // A folder need not have an entry. SPEC 8.1
            if let Some(entry) = self.entry(&path).await? {
                keep(path, entry)?;
            }
        }
        self.walk_in(scope, keep).await?;
        Ok(entries)
    }

    fn content_slot(&self) -> FeedSlot {
        // A drive without content has no blocks to land: any slot will do.
        self.content.as_ref().map_or(FeedSlot(0), |content| content.slot)
    }

    /// Lets the landing put what is here where it belongs; tells the replicator what came of it.
    async fn begin(&self, landing: Landing) -> Result<(), Error> {
        let slot = self.content_slot();
        let runs = landing.runs();
        let begun = self.drive.store.query(move |worker| {
            let mut landing = landing;
            let begun = landing.begin(&mut worker.store, slot);
            worker.landing = Some((landing, slot));
            begun.map(|()| worker.store.have(slot).clone())
        });
        let have: Bitfield = begun.await?;
        let Some(content) = &self.content else { return Ok(()) };
        // What was read and found changed is here no longer.
        let mut lost = Vec::new();
        for run in runs {
            let mut at = run.start;
            while at < run.end {
                let held = have.iter_ones(at..run.end).next().unwrap_or(run.end);
                lost.push(at..held);
                at = have.first_clear(held).min(run.end);
            }
        }
        self.drive.hub.lost(content.id, lost);
        Ok(())
    }

    /// Fetches what the files need, and the changes of the past.
    async fn fetch(&self) -> Result<(), Error> {
        let version = self.version.clone();
        let history = self.drive.ask(None, move |view| version.history(view));
        let Some(content) = &self.content else { return history.await.map(drop) };
        let slot = content.slot;
        let runs = self.drive.store.query(move |worker| match &worker.landing {
            Some((landing, of)) if *of == slot => landing.runs(),
            _ => Vec::new(),
        });
        let (target, priority) = (Target::Blocks(runs.await), Priority(0));
        let mut wanted =
            self.drive.hub.want(content.id, Want { target, priority, order: Order::Rarest });
        let all = self.drive.patience.wait(&self.drive.hub, wanted.done());
        tokio::try_join!(history, all)?;
        Ok(())
    }

    /// Shows the state, and gives the error when our own disk fails.
    async fn watch(&self, show: &mut impl FnMut(u64)) -> Error {
        loop {
            tokio::time::sleep(LOOK).await;
            let state = self.drive.store.query(|worker| {
                let landed = worker.landing.as_ref().map_or(0, |(landing, _)| landing.landed);
                (worker.take_failure(), landed)
            });
            let (failure, landed) = state.await;
            if let Some(failure) = failure {
                return failure;
            }
            let peers = self.drive.hub.peers();
            show(landed.max(peers.iter().map(|peer| peer.status.bytes_in).sum()));
        }
    }

    /// Ends the landing, and makes all of it durable.
    async fn finish(&self, mut report: Report) -> Result<Report, Error> {
        let slot = self.content_slot();
        let finished = self.drive.store.query(move |worker| {
            let (landing, _) = worker.landing.as_mut().expect("it was put there by begin");
            let left = landing.finish(&mut worker.store, slot)?;
            worker.commit()?;
            let landing = worker.landing.take();
            Ok::<_, Error>((left, landing.map_or_else(Vec::new, |(landing, _)| landing.kept)))
        });
        let (left, kept) = finished.await?;
        if left > 0 {
            return Err(Error::verify("blocks and files of this drive do not fit together"));
        }
        report.kept = kept;
        Ok(report)
    }
}

/// Returns the numbers with one more.
fn with(numbers: &[u64], number: u64) -> Vec<u64> {
    let others = numbers.iter().copied().filter(|other| *other != number);
    others.chain([number]).collect()
}

impl Drive {
    /// Fetches what connected peers hold of a feed and is not here; returns how many blocks none of them has.
    ///
    /// # Errors
    /// What our own disk says.
    pub async fn gather(&self, feed: &Link) -> Result<u64, Error> {
        let (slot, length) = (feed.slot, feed.news.borrow().length);
        if length == 0 {
            return Ok(0);
        }
        let (target, priority) = (Target::Blocks(vec![0..length]), Priority(0));
        let mut wanted = self.hub.want(feed.id, Want { target, priority, order: Order::Rarest });
        let out_of_reach = async {
            loop {
                tokio::time::sleep(LOOK).await;
                let held = self.store.query(move |worker| worker.store.have(slot).clone()).await;
                let nothing_more = |all: Bitfield| all.runs().all(|run| held.all(run));
                if self.hub.in_reach(feed.id).is_some_and(nothing_more) {
                    return;
                }
            }
        };
        let ended = async {
            tokio::select! {
                () = wanted.done() => {}
                () = out_of_reach => {}
            }
        };
        if let Err(error) = self.patience.wait(&self.hub, ended).await {
            tracing::debug!(error = error.message(), "what peers claim to hold does not come");
        }
        let missing = self.store.query(move |worker| match worker.take_failure() {
            Some(error) => Err(error),
            None => {
                let held = worker.store.have(slot).iter_ones(0..length).count() as u64;
                worker.commit().map(|()| length - held)
            }
        });
        missing.await
    }

    /// Returns the drive's header.
    ///
    /// # Errors
    /// Those of [`latest`](Self::latest).
    pub async fn header(&self) -> Result<datnode_drive::Header, Error> {
        self.ask(None, |view| datnode_drive::Header::read(view)).await
    }
}
