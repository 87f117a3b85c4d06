//! The crash lane: a workload is run once, and crashed behind each operation, in every way that its pending items allow.
//!
//! Some images crash again while they recover, up to twice.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use datnode_feed::Store;

use super::Tally;
use super::run::{Record, Run, public, secret};
use super::workload::Workload;
use crate::Random;
use crate::disk::{Disk, Fault, FaultKind, Images, Operation, State, SyncOf, image};
use crate::oracle::{Said, Truth, audit, judge};

/// How many reads a store may take to open, for each feed and for each operation that its journal holds.
const READS_MAX: u64 = 128;

/// What a lane did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Crashed {
    /// How many operations the workloads had.
    pub operations: u64,
    /// How many images were judged.
    pub images: u64,
    /// How many of them crashed again while they recovered.
    pub nested: u64,
    /// How many of them were written on by a writer who goes another way.
    pub continued: u64,
}

impl Tally for Crashed {
    fn add(&mut self, other: Self) {
        self.operations += other.operations;
        self.images += other.images;
        self.nested += other.nested;
        self.continued += other.continued;
    }

    fn count(&self) -> u64 {
        self.images
    }
}

/// Crashes a workload everywhere.
///
/// # Errors
/// The first image that breaks a promise, with what it takes to make it again.
pub fn run(workload: &Workload, seed: u64, images: Images) -> Result<Crashed, String> {
    run_on(&Disk::new(), workload, seed, images)
}

/// Crashes a workload everywhere, whose program leaves some syncs out: an oracle that is worth its name finds it.
///
/// # Errors
/// As for [`run`].
pub fn run_without(
    syncs: SyncOf,
    workload: &Workload,
    seed: u64,
    images: Images,
) -> Result<Crashed, String> {
    let disk = Disk::new();
    disk.skip(syncs);
    run_on(&disk, workload, seed, images)
}

fn run_on(disk: &Disk, workload: &Workload, seed: u64, images: Images) -> Result<Crashed, String> {
    let record = Rc::new(RefCell::new(Record::default()));
    let done = Run::open(disk, &record, seed).and_then(|mut run| (workload.script)(&mut run));
    if let Err(stop) = done {
        return Err(format!("{}, seed {seed}, without a crash: {stop:?}", workload.name));
    }
    let record = record.borrow();
    let lane = Lane { workload, seed, truth: &record.truth };
    lane.crash(&disk.log(), &record.acknowledged, images)
}

struct Lane<'a> {
    workload: &'a Workload,
    seed: u64,
    truth: &'a Truth,
}

impl Lane<'_> {
    fn crash(
        &self,
        log: &[Operation],
        acknowledged: &[(usize, Said)],
        images: Images,
    ) -> Result<Crashed, String> {
        let mut crashed = Crashed { operations: log.len() as u64, ..Crashed::default() };
        let mut random = Random::new(self.seed ^ 0xc4a5_4000);
        let (mut state, mut said) = (State::default(), Said::new());
        let mut words = acknowledged.iter().peekable();
        for point in 0..=log.len() {
            let mut old = Some(state.pending().len());
            if let Some(operation) = point.checked_sub(1).and_then(|at| log.get(at)) {
                state.apply(operation);
                if !matches!(operation, Operation::Change(_)) {
                    old = None;
                }
            }
            while let Some((_, word)) = words.next_if(|(at, _)| *at <= point) {
                (said, old) = (word.clone(), None);
            }
            let context = |number: &dyn std::fmt::Display, error: String| {
                let name = self.workload.name;
                format!(
                    "{name}, seed {}, behind operation {point}, image {number}: {error}",
                    self.seed
                )
            };
            self.examine(state.clone(), &said, &mut random, &mut crashed)
                .map_err(|error| context(&"of a kill", error))?;
            let mut draw = random.clone();
            images.each(&state, old, &mut draw, |number, image| {
                self.examine(image, &said, &mut random, &mut crashed)
                    .map_err(|error| context(&number, error))
            })?;
        }
        Ok(crashed)
    }

    /// Opens one image, and judges it; a panic counts as a broken promise.
    fn examine(
        &self,
        state: State,
        said: &Said,
        random: &mut Random,
        crashed: &mut Crashed,
    ) -> Result<(), String> {
        crashed.images += 1;
        let judged = AssertUnwindSafe(|| self.recover(state, said, random, crashed));
        catch_unwind(judged).unwrap_or_else(|_| Err("a panic".into()))
    }

    fn recover(
        &self,
        mut state: State,
        said: &Said,
        random: &mut Random,
        crashed: &mut Crashed,
    ) -> Result<(), String> {
        for _ in 0..2 {
            if random.below(8) == 0 {
                state = crash_again(state, random);
                crashed.nested += 1;
            }
        }
        let mut store = open(&Disk::of(state))?;
        if random.below(8) == 0 {
            opens_the_same(&store)?;
        }
        judge(&mut store, self.truth, said)?;
        if random.below(8) == 0 {
            audit(&mut store, said)?;
        }
        (self.workload.check)(&mut store, self.seed).map_err(|stop| format!("{stop:?}"))?;
        if random.below(8) > 0 {
            return Ok(());
        }
        crashed.continued += 1;
        self.go_another_way(store, said)
    }

    /// The writer goes on with other blocks than before: all that showed must be in the history that comes of it.
    fn go_another_way(&self, mut store: Store<Disk>, said: &Said) -> Result<(), String> {
        let Some(slot) = store.slot(&public(0)) else { return Ok(()) };
        let block = format!("another way, {}", store.length(slot));
        let signed = store
            .rollback(slot)
            .and_then(|()| store.append(slot, block.as_bytes()))
            .and_then(|_| store.sign(slot, secret(0)));
        signed.and_then(|_| store.commit()).map_err(|error| format!("cannot go on: {error}"))?;
        let length = store.length(slot) - 1;
        let truth = self.truth.diverge(&public(0), length, block.as_bytes());
        if let Some(shown) = said.get(&public(0)).and_then(|said| said.head) {
            truth
                .check_head(&public(0), &shown)
                .map_err(|error| format!("two histories: {error}"))?;
        }
        let said = said.clone();
        judge(&mut store, &truth, &said)?;
        let mut store = open(&Disk::of(store.storage().state()))?;
        judge(&mut store, &truth, &said)
    }
}

/// Crashes somewhere in the recovery.
fn crash_again(state: State, random: &mut Random) -> State {
    let disk = Disk::of(state);
    disk.set_fault(Some(Fault { at: random.below(24), kind: FaultKind::Off }));
    // Whether it opens before the power goes does not matter.
    let _ = Store::open(disk.clone());
    image(&disk.state(), random)
}

/// Opens a store, which takes no more work than the journal has.
pub(super) fn open(disk: &Disk) -> Result<Store<Disk>, String> {
    disk.set_fault(None);
    let store = Store::open(disk.clone()).map_err(|error| format!("does not open: {error}"))?;
    let (counts, feeds) = (disk.counts(), store.feeds().count() as u64);
    let reads_max = READS_MAX * (1 + feeds);
    if counts.reads > reads_max || counts.writes > reads_max || counts.syncs > 4 + 4 * feeds {
        return Err(format!("opening took {counts:?} for {feeds} feeds"));
    }
    Ok(store)
}

/// What was recovered needs no recovery.
fn opens_the_same(store: &Store<Disk>) -> Result<(), String> {
    let state = |store: &Store<Disk>| {
        let feeds = store
            .feeds()
            .map(|(slot, key)| (key, store.head(slot).copied(), store.have(slot).clone()));
        feeds.collect::<Vec<_>>()
    };
    let disk = Disk::of(store.storage().state());
    let again = open(&disk)?;
    if state(&again) != state(store) {
        return Err("a second opening finds something else".into());
    }
    let counts = disk.counts();
    if counts.writes + counts.syncs > 0 {
        return Err(format!("a second opening repairs something: {counts:?}"));
    }
    Ok(())
}
