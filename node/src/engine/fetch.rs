//! Brings a version of a drive into a folder: what its files need is fetched, landed, and the history with it.
//!
//! All of it is looked at before anything is written. Then it lands a window at a time, and while the last blocks of one come the
//! next one's are asked for already, so that the pipe does not run dry.
//! Elsewhere: which bytes go where (`landing`), the entries in order (`windows`), what is asked of whom (`datnode_proto`).

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use datnode_drive::{Difference, DrivePath, Key};
use datnode_feed::FeedSlot;
use datnode_proto::{Target, Want};

use super::drive::StoreView;
use super::hub::Selection;
use super::pages::Pages;
use super::reuse::Sources;
use super::snapshot::Snapshot;
use super::windows::{Aim, Earlier, Versions, Windows};
use super::worker::{AnyStore, Worker};
use crate::choice::{Choice, Chooser};
use crate::error::Error;
use crate::landing::{
    Current, FolderOf, Item, Landing, Refused, Survey, Surveyed, WINDOW_ENTRIES, WINDOWS_MAX,
    Wanted, is_exact, landed, note_landed,
};

/// How often the state is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// How far a landing is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LandingState {
    /// Bytes of files that are here, received or found.
    pub bytes: u64,
    /// Bytes that all files have.
    pub total: u64,
    /// The file that is being written.
    pub current: Option<Current>,
}

/// A landing that found nothing in its way.
pub struct LandingPlan {
    landing: Landing,
    aim: Aim,
    /// The versions whose files may be in the folder.
    before: Vec<u64>,
    /// All entries, if they are so few that they are one window, and land in one pass.
    all: Option<Vec<Item>>,
}

impl LandingPlan {
    /// Returns how far it is before it began.
    pub fn state(&self) -> LandingState {
        LandingState { bytes: self.landing.landed, total: self.landing.total, current: None }
    }

    /// Returns how many files are wanted, and how many bytes they have.
    pub fn size(&self) -> (u64, u64) {
        (self.landing.files, self.landing.total)
    }
}

/// What a landing left undone, on purpose.
#[derive(Debug, Default)]
pub struct Report {
    /// How many files are wanted.
    pub files: u64,
    /// How many bytes they have.
    pub bytes: u64,
    /// Names that must not or cannot be written here, and why.
    pub refused: Vec<(DrivePath, String)>,
    /// How many there are, of which the first are named.
    pub refused_count: u64,
    /// Names that the version dropped and that were changed here: they stay.
    pub kept: Vec<Vec<u8>>,
}

impl Report {
    /// Tells whether all of the version is in the folder, and nothing of another one.
    pub fn is_whole(&self) -> bool {
        self.refused.is_empty() && self.kept.is_empty()
    }

    /// Returns what is to be said of names that could not be written, if there are any.
    pub fn refusal(&self) -> Option<Error> {
        let named = |(path, why): &(DrivePath, String)| (path.as_bytes().to_vec(), why.clone());
        let refused: Vec<_> = self.refused.iter().map(named).collect();
        (!refused.is_empty()).then(|| Error::paths(&refused, self.refused_count))
    }
}

impl Snapshot {
    /// Plans to bring what is selected of `scope` into the working folder, at the same place below it; the root means everything.
    /// Nothing is written.
    ///
    /// # Errors
    /// E-NOTFOUND if there is no `scope`, E-DIRTY if something is in the way, E-SPACE if there is too little room, those of
    /// [`Drive::latest`](super::Drive::latest), and what the disk says.
    pub async fn plan(
        &self,
        folder: &Path,
        scope: &DrivePath,
        choice: &Choice,
        of: FolderOf,
    ) -> Result<LandingPlan, Error> {
        self.survey(folder, scope, choice, of, true).await
    }

    /// Plans to bring all that is at `scope` there, and looks at the bytes of all files: one that looks as it was left may be
    /// damaged.
    ///
    /// # Errors
    /// Those of [`plan`](Self::plan).
    pub async fn plan_doubting(
        &self,
        folder: &Path,
        scope: &DrivePath,
        of: FolderOf,
    ) -> Result<LandingPlan, Error> {
        self.survey(folder, scope, &Choice::default(), of, false).await
    }

    async fn survey(
        &self,
        folder: &Path,
        scope: &DrivePath,
        choice: &Choice,
        of: FolderOf,
        trust: bool,
    ) -> Result<LandingPlan, Error> {
        let before = landed(folder)?;
        let earlier = self.earlier(&before).await;
        if !self.has(scope).await? {
            let name = crate::cli::escape::bytes(scope.as_bytes());
            let none = format!("there is no {name} in this version");
            return Err(Error::not_found::<&[u8]>(none, &[]));
        }
        if scope.is_root() {
            self.fetch_index().await?;
        }
        let chooser = self.choose(choice, scope, &earlier).await?;
        let wanted = Wanted { scope: scope.clone(), chooser: chooser.clone(), of, trust };
        let aim = Aim { scope: scope.clone(), chooser, earlier, only: None };
        self.look(folder, aim, wanted, before).await
    }

    /// Plans to bring this version into a working folder that holds all of an earlier one, `base`, and nothing else of the drive: only
    /// what differs is looked at.
    ///
    /// # Errors
    /// Those of [`plan`](Self::plan).
    pub async fn plan_update(
        &self,
        base: &Self,
        folder: &Path,
        choice: &Choice,
        of: FolderOf,
    ) -> Result<LandingPlan, Error> {
        let (before, scope) = (landed(folder)?, DrivePath::root());
        let chooser = Chooser::of(choice)?;
        // Names may clash that are in no difference, unless the disk takes them for bytes.
        let plain = before == [base.version.number] && !chooser.narrows() && is_exact(folder)?;
        let only = if plain { self.differences(base).await? } else { None };
        let Some(only) = only else { return self.plan(folder, &scope, choice, of).await };
        let (version, old) = (self.version.clone(), base.version.clone());
        self.drive.ask(None, move |view| version.needed_beyond(view, &old)).await?;
        let chooser = Arc::new(chooser);
        let wanted = Wanted { scope: scope.clone(), chooser: chooser.clone(), of, trust: true };
        let aim = Aim { scope, chooser, earlier: Earlier::of(base), only: Some(only.into()) };
        self.look(folder, aim, wanted, before).await
    }

    /// Returns what differs from an earlier version, unless that is more than a window.
    async fn differences(&self, base: &Self) -> Result<Option<Vec<Difference>>, Error> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let (old, new) = (base.version.clone(), self.version.clone());
            let read =
                move |view: &StoreView<'_>| old.diff(&new, view, after.as_ref(), WINDOW_ENTRIES);
            let page = self.drive.ask(None, read).await?;
            all.extend(page.differences);
            if all.len() > WINDOW_ENTRIES {
                return Ok(None);
            }
            after = page.next;
            if after.is_none() {
                return Ok(Some(all));
            }
        }
    }

    async fn look(
        &self,
        folder: &Path,
        aim: Aim,
        wanted: Wanted,
        before: Vec<u64>,
    ) -> Result<LandingPlan, Error> {
        let mut survey = Survey::new(folder, wanted)?;
        loop {
            let mut windows = Windows::new(self, &aim);
            let (mut count, mut last) = (0, None);
            while let Some(window) = windows.next().await? {
                let versions = aim.with(self);
                let look = move |worker: &mut Worker| {
                    let looked = survey.look(&window, &versions.index(&mut worker.store));
                    looked.map(|()| (survey, window))
                };
                let looked = self.drive.store.query(look).await?;
                (count, survey, last) = (count + 1, looked.0, Some(looked.1));
            }
            let versions = aim.with(self);
            let end = move |worker: &mut Worker| survey.end(&versions.index(&mut worker.store));
            match self.drive.store.query(end).await? {
                Surveyed::Again(again) => survey = *again,
                Surveyed::Ready(mut landing) => {
                    if let Some(only) = &aim.only {
                        let old =
                            only.iter().filter_map(|one| Some((&one.path, one.old.as_ref()?)));
                        landing.keep_others(old);
                    }
                    let all = last.filter(|_| count == 1 && aim.chooser.passes() == 1);
                    return Ok(LandingPlan { landing: *landing, aim, before, all });
                }
            }
        }
    }

    /// Does what was planned for the working folder `folder`, copying or fetching what is not here.
    ///
    /// # Errors
    /// Those of [`Drive::latest`](super::Drive::latest), and what the disk says.
    pub async fn land(
        &self,
        folder: &Path,
        plan: LandingPlan,
        sources: &Sources,
        mut show: impl FnMut(LandingState),
    ) -> Result<Report, Error> {
        let (files, total) = plan.size();
        let LandingPlan { landing, aim, before, all } = plan;
        let number = self.version.number;
        let refused = landing.refused().clone();
        let several = Several { snapshot: self, aim: &aim, sources };
        let replaces = landing.replaces() && all.is_none();
        let drops = before.iter().any(|landed| *landed != number);
        note_landed(folder, &with(&before, number), true)?;
        let slot = self.content_slot();
        let put = move |worker: &mut Worker| {
            worker.landing = Some((landing, slot));
            !worker.store.have(slot).is_empty()
        };
        let rescues = self.drive.store.query(put).await && replaces;
        let work = async {
            // Whatever happens from here on, the drive can be listed where nobody else is.
            self.drive.store.query(Worker::commit).await?;
            if rescues {
                several.rescue().await?;
            }
            let version = self.version.clone();
            // Where what is there was looked at already, its history is here.
            let first = aim.only.as_ref().map_or(0, |_| aim.earlier.number(0));
            let history = self.drive.ask(None, move |view| version.history_since(view, first));
            tokio::try_join!(history, several.land(all))?;
            if drops {
                several.remove_dropped(&refused).await?;
            }
            several.leave().await
        };
        let mut look = |bytes: u64, current| {
            show(LandingState { bytes: bytes.min(total), total, current });
        };
        let left = tokio::select! {
            done = work => done?,
            error = self.watch(&mut look) => return Err(error),
        };
        let kept = self.finish().await?;
        let now = if aim.scope.is_root() { with(&left, number) } else { with(&before, number) };
        let is_newest = self.drive.changes.news.borrow().length == self.version.position.0 + 1;
        let everything = aim.scope.is_root() && aim.chooser.is_everything() && refused.is_empty();
        note_landed(folder, &now, !(everything && is_newest))?;
        let path = |key: Key| key.path().expect("it was made of a path");
        let refused_count = refused.count();
        let named = refused.into_named().into_iter();
        let refused = named.map(|(key, why)| (path(key), why)).collect();
        Ok(Report { files, bytes: total, refused, refused_count, kept })
    }

    /// Tells whether all that is chosen of this version is here; its index is.
    ///
    /// # Errors
    /// Those of [`Drive::latest`](super::Drive::latest).
    pub async fn is_here(&self, choice: &Choice) -> Result<bool, Error> {
        let (slot, chooser) = (self.content_slot(), Chooser::of(choice)?);
        let held = self.drive.store.query(move |worker| worker.store.have(slot).clone()).await;
        let (mut is_here, mut pages) = (true, Pages::below(self, &DrivePath::root()));
        while let Some(page) = pages.next().await? {
            let wanted = page.iter().filter(|(path, entry)| chooser.takes(path, entry.kind));
            let mut extents = wanted.flat_map(|(_, entry)| &entry.extents);
            is_here &= extents.all(|one| held.all(one.blocks()));
        }
        Ok(is_here)
    }

    fn content_slot(&self) -> FeedSlot {
        // A drive without content has no blocks to land: any slot will do.
        self.content.as_ref().map_or(FeedSlot(0), |content| content.slot)
    }

    /// Shows the state, and gives the error when our own disk fails.
    async fn watch(&self, show: &mut impl FnMut(u64, Option<Current>)) -> Error {
        loop {
            tokio::time::sleep(LOOK).await;
            let state = self.drive.store.query(|worker| {
                let landing = worker.landing.as_ref().map(|(landing, _)| landing);
                let landed = landing.map_or(0, |landing| landing.landed);
                let current = landing.and_then(Landing::current);
                (worker.take_failure(), landed, current)
            });
            let (failure, landed, current) = state.await;
            if let Some(failure) = failure {
                return failure;
            }
            let peers = self.drive.hub.peers();
            show(landed.max(peers.iter().map(|peer| peer.status.bytes_in).sum()), current);
        }
    }

    /// Ends the landing, and makes all of it durable; returns what stays, though the version has it no longer.
    async fn finish(&self) -> Result<Vec<Vec<u8>>, Error> {
        let slot = self.content_slot();
        let finished = self.drive.store.query(move |worker| {
            let (landing, _) = worker.landing.as_mut().expect("it was put there when it began");
            landing.finish(&mut worker.store, slot)?;
            worker.commit()?;
            Ok(worker.landing.take().map_or_else(Vec::new, |(landing, _)| landing.kept))
        });
        finished.await
    }
}

/// The windows of a landing, one after the other.
struct Several<'a> {
    snapshot: &'a Snapshot,
    aim: &'a Aim,
    /// Where blocks are copied from.
    sources: &'a Sources,
}

impl Several<'_> {
    fn windows(&self) -> Windows {
        Windows::new(self.snapshot, self.aim)
    }

    /// Runs `act` where the landing is, on the store's thread.
    async fn with<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Landing, &mut AnyStore, &Versions) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let versions = self.aim.with(self.snapshot);
        let run = move |worker: &mut Worker| {
            let (landing, _) = worker.landing.as_mut().expect("it is there until it is finished");
            act(landing, &mut worker.store, &versions)
        };
        self.snapshot.drive.store.query(run).await
    }

    /// Brings blocks into safety that live in files which will be replaced.
    async fn rescue(&self) -> Result<(), Error> {
        let (mut windows, slot) = (self.windows(), self.snapshot.content_slot());
        while let Some(window) = windows.next().await? {
            let rescue = move |landing: &mut Landing, store: &mut AnyStore, versions: &Versions| {
                let window = landing.plan(window, &versions.index(store))?;
                landing.rescue(store, slot, window)
            };
            self.with(rescue).await?;
        }
        let rewind = |landing: &mut Landing, _: &mut AnyStore, _: &Versions| {
            landing.rewind();
            Ok(())
        };
        self.with(rewind).await
    }

    /// Lands all entries: those given, if they are all, or one pass after the other.
    async fn land(&self, all: Option<Vec<Item>>) -> Result<(), Error> {
        if let Some(window) = all {
            let asked = self.begin(window).await?;
            return self.complete(asked).await;
        }
        for pass in 0..self.aim.chooser.passes() {
            self.land_pass(pass).await?;
        }
        Ok(())
    }

    /// Lands the entries of a pass, a window behind the other. Nothing of the next pass is asked for before all of it is here.
    async fn land_pass(&self, pass: usize) -> Result<(), Error> {
        let (mut windows, mut under_way) = (self.windows().of_pass(pass), VecDeque::new());
        while let Some(window) = windows.next().await? {
            under_way.push_back(self.begin(window).await?);
            if under_way.len() >= WINDOWS_MAX {
                self.complete(under_way.pop_front().flatten()).await?;
            }
        }
        for asked in under_way {
            self.complete(asked).await?;
        }
        Ok(())
    }

    /// Lets the landing put what is here where it belongs, and asks for the rest.
    async fn begin(&self, window: Vec<Item>) -> Result<Option<Selection>, Error> {
        let (slot, hub) = (self.snapshot.content_slot(), self.snapshot.drive.hub.clone());
        let feed = self.snapshot.content.as_ref().map(|content| content.id);
        let begin = move |landing: &mut Landing, store: &mut AnyStore, versions: &Versions| {
            let window = landing.plan(window, &versions.index(store))?;
            let runs: Vec<Range<u64>> = window.runs();
            landing.begin(store, slot, window)?;
            // What was read and found changed is here no longer, now or when blocks were rescued.
            if let Some(feed) = feed {
                hub.missing(feed, store.have(slot), runs.iter().cloned());
            }
            Ok(runs)
        };
        let runs = self.with(begin).await?;
        let Some(content) = &self.snapshot.content else { return Ok(None) };
        let hub = &self.snapshot.drive.hub;
        self.snapshot.reuse(content, self.sources, &runs).await?;
        Ok(Some(hub.want(content.id, Want::new(Target::Blocks(runs)))))
    }

    /// Waits for the blocks of the first window that is under way, and ends it.
    async fn complete(&self, asked: Option<Selection>) -> Result<(), Error> {
        let drive = &self.snapshot.drive;
        if let Some(mut asked) = asked {
            drive.patience.wait(&drive.hub, asked.done()).await?;
        }
        self.with(|landing, store, _| landing.complete(store)).await
    }

    /// Leaves alone what is left out; returns the versions of which something is here because of that.
    async fn leave(&self) -> Result<Vec<u64>, Error> {
        let mut versions = BTreeSet::new();
        if self.aim.chooser.is_everything() || self.aim.earlier.is_empty() {
            return Ok(Vec::new());
        }
        let mut windows = self.windows();
        while let Some(window) = windows.next_left().await? {
            let places = self.with(move |landing, _, _| Ok(landing.leave(&window))).await?;
            versions.extend(places.into_iter().map(|place| self.aim.earlier.number(place)));
        }
        Ok(versions.into_iter().collect())
    }

    /// Removes what earlier versions put here and this one has not.
    async fn remove_dropped(&self, refused: &Refused) -> Result<(), Error> {
        let mut windows = self.windows();
        let is_refused = |path: &DrivePath| !refused.is_empty() && refused.contains(&path.key());
        while let Some(dropped) = windows.next_dropped(is_refused).await? {
            self.with(move |landing, _, _| landing.remove(&dropped)).await?;
        }
        if !self.with(|landing, _, _| Ok(landing.may_be_respelled())).await? {
            return Ok(());
        }
        let mut windows = self.windows();
        while let Some(window) = windows.next().await? {
            self.with(move |landing, _, _| landing.respell(&window)).await?;
        }
        Ok(())
    }
}

/// Returns the numbers with one more.
fn with(numbers: &[u64], number: u64) -> Vec<u64> {
    let others = numbers.iter().copied().filter(|other| *other != number);
    others.chain([number]).collect()
}
