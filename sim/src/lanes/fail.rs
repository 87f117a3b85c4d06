//! The failure lane: one operation of a workload fails, each in turn and in each way. The store is opened again, judged, and
//! the workload goes on to its end.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use datnode_feed::Store;

use super::Tally;
use super::crash::open;
use super::run::{Record, Run, Sources, Stop};
use super::workload::Workload;
use crate::Random;
use crate::disk::{Class, Disk, Fault, FaultKind, State, image};
use crate::oracle::{judge, serves_no_wrong_byte};

/// No workload has as many operations of one class.
const OPERATIONS_MAX: u64 = 100_000;

/// What a lane did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Failed {
    /// How many operations failed, each in a run of its own.
    pub points: u64,
    /// How many of the runs stopped with a typed error.
    pub refused: u64,
    /// How many runs had a second failure after the first.
    pub pairs: u64,
    /// How many workloads went on to their end after it.
    pub finished: u64,
    /// How many stores were opened again behind a power cut.
    pub cuts: u64,
}

impl Tally for Failed {
    fn add(&mut self, other: Self) {
        self.points += other.points;
        self.refused += other.refused;
        self.pairs += other.pairs;
        self.finished += other.finished;
        self.cuts += other.cuts;
    }

    fn count(&self) -> u64 {
        self.points
    }
}

/// Lets operations of a workload fail: the first, and from there on one in `step`.
///
/// # Errors
/// The first failure that breaks a promise, with what it takes to have it again.
pub fn run(workload: &Workload, kind: FaultKind, seed: u64, step: usize) -> Result<Failed, String> {
    let (mut failed, sources) = (Failed::default(), Rc::default());
    for at in (0..OPERATIONS_MAX).step_by(step) {
        let fault = Fault { at, kind };
        let mut point = Point::new(workload, seed, fault, &sources, &mut failed);
        if !judged(workload, seed, fault, || point.run())? {
            return Ok(failed);
        }
    }
    Err(format!("{} does not end", workload.name))
}

/// Lets each read of a store fail that holds all that a workload made.
///
/// # Errors
/// As for [`run`].
pub fn reads(workload: &Workload, seed: u64) -> Result<Failed, String> {
    let (disk, record) = (Disk::new(), Rc::new(RefCell::new(Record::default())));
    let done = Run::open(&disk, &record, seed).and_then(|mut run| (workload.script)(&mut run));
    done.map_err(|stop| format!("{}, seed {seed}: {stop:?}", workload.name))?;
    let record = record.borrow();
    let mut failed = Failed::default();
    for at in 0..OPERATIONS_MAX {
        let fault = Fault { at, kind: FaultKind::Read };
        if !judged(workload, seed, fault, || read(&Disk::of(disk.state()), fault, &record))? {
            return Ok(failed);
        }
        failed.points += 1;
    }
    Err(format!("{} does not end", workload.name))
}

/// Says what it takes to have a broken promise again; a panic is one.
fn judged(
    workload: &Workload,
    seed: u64,
    fault: Fault,
    run: impl FnOnce() -> Result<bool, String>,
) -> Result<bool, String> {
    let result = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Err("a panic".into()));
    result.map_err(|error| format!("{}, seed {seed}, {fault:?}: {error}", workload.name))
}

/// Reads all of a store while one read fails; tells whether it did. What it concerns is lost for the moment, nothing else.
fn read(disk: &Disk, fault: Fault, record: &Record) -> Result<bool, String> {
    disk.set_fault(Some(fault));
    let Ok(mut store) = Store::open(disk.clone()) else {
        let again = judge(&mut open(disk)?, &record.truth, &record.said);
        return again.map(|()| true);
    };
    let held = |store: &Store<Disk>| -> u64 {
        store.feeds().map(|(slot, _)| store.have(slot).iter_ones(0..u64::MAX).count() as u64).sum()
    };
    let all = held(&store);
    let served = serves_no_wrong_byte(&mut store, &record.truth)?;
    if served + 1 < all || held(&store) + 1 < all {
        return Err(format!("{served} of {all} blocks could be read"));
    }
    Ok(disk.failed() > 0)
}

struct Point<'a> {
    workload: &'a Workload,
    seed: u64,
    fault: Fault,
    random: Random,
    record: Rc<RefCell<Record>>,
    failed: &'a mut Failed,
}

impl<'a> Point<'a> {
    fn new(
        workload: &'a Workload,
        seed: u64,
        fault: Fault,
        sources: &Sources,
        failed: &'a mut Failed,
    ) -> Self {
        let random = Random::new(seed ^ fault.at << 32 ^ 0xfa11);
        let record = Record { sources: sources.clone(), ..Record::default() };
        Self { workload, seed, fault, random, record: Rc::new(RefCell::new(record)), failed }
    }

    /// Tells whether the operation was reached.
    fn run(&mut self) -> Result<bool, String> {
        let disk = Disk::new();
        if !self.fail(&disk, self.fault)? {
            return Ok(false);
        }
        self.failed.points += 1;
        let mut state = self.restart(&disk)?;
        if self.random.below(4) == 0 {
            let kind = FaultKind::ALL[self.random.below(7) as usize];
            let again = Fault { at: self.random.below(60), kind };
            let disk = Disk::of(state);
            if self.fail(&disk, again)? {
                self.failed.pairs += 1;
            }
            state = self.restart(&disk)?;
        }
        if self.random.below(3) == 0 {
            self.failed.finished += 1;
            self.finish(state)?;
        }
        Ok(true)
    }

    /// Runs the workload on a disk that fails; tells whether it did.
    fn fail(&mut self, disk: &Disk, fault: Fault) -> Result<bool, String> {
        disk.set_fault(Some(fault));
        if let Ok(mut run) = Run::open(disk, &self.record, self.seed) {
            match (self.workload.script)(&mut run) {
                Ok(()) => {}
                Err(Stop::Refused(_)) => {
                    self.failed.refused += 1;
                    insist(&mut run, fault)?;
                }
                Err(other) => return Err(format!("{other:?}")),
            }
        }
        Ok(disk.failed() > 0)
    }

    /// Ends the process, or cuts the power, and judges what is there.
    fn restart(&mut self, disk: &Disk) -> Result<State, String> {
        let mut state = disk.state();
        if self.random.below(2) == 0 {
            self.failed.cuts += 1;
            state = image(&state, &mut self.random);
        }
        let disk = Disk::of(state);
        self.judge(&mut open(&disk)?)?;
        Ok(disk.state())
    }

    /// The workload goes on as if nothing had been, and all is there in the end.
    fn finish(&mut self, state: State) -> Result<(), String> {
        let disk = Disk::of(state);
        let wrong = |stop: Stop| format!("cannot go on: {stop:?}");
        let mut run = Run::open(&disk, &self.record, self.seed).map_err(wrong)?;
        (self.workload.script)(&mut run).map_err(wrong)?;
        for (writer, goal) in (0..).zip(self.workload.goal) {
            let slot = run.feed(writer).map_err(wrong)?;
            let (length, have) = (run.store.length(slot), run.store.have(slot));
            if length != *goal || !have.all(0..*goal) {
                return Err(format!("feed {slot} ends with {length} of {goal} blocks"));
            }
        }
        self.restart(&disk).map(drop)
    }

    fn judge(&self, store: &mut Store<Disk>) -> Result<(), String> {
        let record = self.record.borrow();
        judge(store, &record.truth, &record.said)?;
        (self.workload.check)(store, self.seed).map_err(|stop| format!("{stop:?}"))
    }
}

/// A program that does not give up: what it can still read is right, and what it is told was committed is committed.
fn insist(run: &mut Run, fault: Fault) -> Result<(), String> {
    serves_no_wrong_byte(&mut run.store, &run.record.borrow().truth)?;
    if fault.kind.class() == Class::Read {
        return Ok(());
    }
    match run.commit() {
        Ok(()) | Err(Stop::Refused(_)) => Ok(()),
        Err(other) => Err(format!("{other:?}")),
    }
}
