//! The rot lane: a small store of which each byte is damaged in turn, and that is cut at each length.
//!
//! What is damaged may be missing, by a typed error or quietly; it is never wrong, and nobody signs over it.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use datnode_feed::{BlockIndex, FileId, Store, StoreError};

use super::Tally;
use super::run::{Record, Run, Stop, public, secret};
use super::workload::Workload;
use crate::Random;
use crate::disk::{Disk, Files, Name, SECTOR_BYTES, State};
use crate::oracle::{Truth, answers_right, finds_damage, serves_no_wrong_byte};

/// What a lane did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rotted {
    /// How many bytes the stores have.
    pub bytes: u64,
    /// How many damaged stores were judged.
    pub images: u64,
    /// How many of them did not open.
    pub refused: u64,
    /// How many blocks were read from the others.
    pub served: u64,
    /// How often a writer went on behind the damage.
    pub signed: u64,
}

impl Tally for Rotted {
    fn add(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.images += other.images;
        self.refused += other.refused;
        self.served += other.served;
        self.signed += other.signed;
    }

    fn count(&self) -> u64 {
        self.images
    }
}

/// How much of a store is damaged, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Some bytes, lengths and sectors: one in so many.
    OneIn(u64),
    /// Every byte, length and sector.
    EveryByte,
    /// The same, and every bit.
    EveryBit,
}

/// What happens to a file.
#[derive(Clone, Copy, Debug)]
enum Damage {
    /// The bits of a byte that the mask has are turned over.
    Flip(usize, u8),
    /// The file ends here.
    Cut(usize),
    /// A sector is all zeros.
    Blank(usize),
    /// Two sectors have changed places.
    Swap(usize, usize),
}

/// Damages what a workload leaves behind, with and without a journal.
///
/// # Errors
/// The first damage that breaks a promise.
pub fn run(workload: &Workload, seed: u64, extent: Extent) -> Result<Rotted, String> {
    let (disk, record) = (Disk::new(), Rc::new(RefCell::new(Record::default())));
    let wrong = |stop: Stop| format!("{}, seed {seed}: {stop:?}", workload.name);
    let mut run = Run::open(&disk, &record, seed).map_err(wrong)?;
    (workload.script)(&mut run).map_err(wrong)?;
    let with_journal = disk.state().seen().clone();
    run.store.checkpoint().map_err(|error| wrong(error.into()))?;
    let without = disk.state().seen().clone();
    let record = record.borrow();
    let mut lane = Lane { workload, seed, record: &record, rotted: Rotted::default() };
    lane.damage(&with_journal, extent)?;
    lane.damage(&without, extent)?;
    Ok(lane.rotted)
}

struct Lane<'a> {
    workload: &'a Workload,
    seed: u64,
    record: &'a Record,
    rotted: Rotted,
}

impl Lane<'_> {
    fn damage(&mut self, files: &Files, extent: Extent) -> Result<(), String> {
        let mut random = Random::new(self.seed ^ 0x407);
        for (name, len) in files.names() {
            self.rotted.bytes += len as u64;
            for damage in damages(len, extent, &mut random) {
                let mut damaged = files.clone();
                damaged.damage(name, |bytes| damage.apply(bytes));
                let thoroughly = is_believed(name) || random.below(8) == 0;
                let writer = self.writer(&mut random).filter(|_| thoroughly);
                let disk = Disk::of(State::of(damaged));
                let judge = AssertUnwindSafe(|| self.judge(&disk, thoroughly, writer));
                let judged = catch_unwind(judge).unwrap_or_else(|_| Err("a panic".into()));
                judged.map_err(|error| self.context(name, damage, &error))?;
                self.rotted.images += 1;
            }
        }
        Ok(())
    }

    /// Returns who goes on writing, if anybody writes here.
    fn writer(&self, random: &mut Random) -> Option<u8> {
        let writers = self.workload.writers;
        writers.get(usize::try_from(random.below(writers.len() as u64)).ok()?).copied()
    }

    fn context(&self, name: &Name, damage: Damage, error: &str) -> String {
        format!("{}, seed {}, {damage:?} of {name:?}: {error}", self.workload.name, self.seed)
    }

    fn judge(&mut self, disk: &Disk, thoroughly: bool, writer: Option<u8>) -> Result<(), String> {
        let truth = &self.record.truth;
        let Ok(mut store) = Store::open(disk.clone()) else {
            self.rotted.refused += 1;
            return Ok(());
        };
        if thoroughly {
            answers_right(&store, truth)?;
        }
        finds_damage(&mut store, truth)?;
        self.rotted.served += serves_no_wrong_byte(&mut store, truth)?;
        if let Err(Stop::Wrong(what)) = (self.workload.check)(&mut store, self.seed) {
            return Err(what);
        }
        match writer {
            Some(writer) => self.go_on(Store::open(Disk::of(disk.state())), writer, truth),
            None => Ok(()),
        }
    }

    /// A writer goes on with another block: either it cannot, or all that showed is in the history that comes of it.
    fn go_on(
        &mut self,
        store: Result<Store<Disk>, StoreError>,
        writer: u8,
        truth: &Truth,
    ) -> Result<(), String> {
        let (key, block) = (public(writer), b"another way");
        let signed = store.and_then(|mut store| {
            let slot = store.add_feed(key)?;
            let BlockIndex(index) = store.append(slot, block)?;
            store.sign(slot, secret(writer))?;
            store.commit()?;
            Ok((index, store.head(slot).copied()))
        });
        let Ok((index, Some(head))) = signed else { return Ok(()) };
        self.rotted.signed += 1;
        let history = truth.diverge(&key, index, block);
        let shown = self.record.said.get(&key).and_then(|said| said.head);
        shown.into_iter().chain([head]).try_for_each(|head| {
            history.check_head(&key, &head).map_err(|error| format!("two histories: {error}"))
        })
    }
}

/// Tells whether others go by what a file holds; whatever else is read is held against that.
const fn is_believed(name: &Name) -> bool {
    matches!(name, Name::Store(FileId::Meta | FileId::Journal | FileId::Tree(_)))
}

fn damages(len: usize, extent: Extent, random: &mut Random) -> Vec<Damage> {
    let mut damages: Vec<Damage> = (0..len).map(Damage::Cut).collect();
    for byte in 0..len {
        if extent == Extent::EveryBit {
            damages.extend((0..8).map(|bit| Damage::Flip(byte, 1 << bit)));
            damages.push(Damage::Flip(byte, 0xff));
        } else {
            damages.push(Damage::Flip(byte, random.below(255) as u8 + 1));
        }
    }
    let sectors = len.div_ceil(SECTOR_BYTES);
    damages.extend((0..sectors).map(Damage::Blank));
    let pairs = (0..sectors).flat_map(|one| (0..one).map(move |other| Damage::Swap(one, other)));
    damages.extend(pairs);
    if let Extent::OneIn(count) = extent {
        damages.retain(|_| random.below(count) == 0);
    }
    damages
}

impl Damage {
    fn apply(self, bytes: &mut Vec<u8>) {
        let sector = |number: usize| number * SECTOR_BYTES;
        match self {
            Self::Flip(byte, mask) => bytes[byte] ^= mask,
            Self::Cut(len) => bytes.truncate(len),
            Self::Blank(number) => {
                bytes.iter_mut().skip(sector(number)).take(SECTOR_BYTES).for_each(|byte| *byte = 0);
            }
            Self::Swap(one, other) => {
                let len = SECTOR_BYTES.min(bytes.len() - sector(one));
                for at in 0..len {
                    bytes.swap(sector(one) + at, sector(other) + at);
                }
            }
        }
    }
}
