//! Changing and reading a drive that is here.

use std::borrow::Cow;
use std::cell::Cell;
use std::time::{Duration, Instant};

use datnode::view::Nodes;
use datnode_drive::{Blocks, Identified, Location, Reading, Step, Version};
use datnode_feed::Hash;

use super::{Figure, Sizes, Synthetic, Unit, name, path, scattered};

/// The bytes of a file that changes.
const EDIT_BYTES: u64 = 100;
/// How often something is done of which the median is told.
const TIMES: u64 = 10_000;
/// How many files differ between two versions.
const DIFFERENT: u64 = 10;

/// Blocks of which it is counted how many are read.
struct Counting<B> {
    blocks: B,
    read: Cell<u32>,
}

impl<B: Blocks> Blocks for Counting<B> {
    type Error = B::Error;

    fn block(&self, at: Location) -> Result<Option<Cow<'_, [u8]>>, B::Error> {
        self.read.set(self.read.get() + 1);
        self.blocks.block(at)
    }

    fn identity_hash(&self, node: Identified<'_>) -> Hash {
        self.blocks.identity_hash(node)
    }
}

pub(super) fn measure(drive: &mut Synthetic, sizes: Sizes, tell: &mut dyn FnMut(Figure)) {
    changes(drive, sizes, tell);
    let latest = drive.forge.version();
    lookups(drive, &latest, sizes, tell);
    checkouts(drive, &latest, tell);
    differences(drive, &latest, tell);
}

/// Changes one file after the other.
fn changes(drive: &mut Synthetic, sizes: Sizes, tell: &mut dyn FnMut(Figure)) {
    let (before, began) = (drive.forge.appended(), Instant::now());
    let mut worst = 0;
    for number in 0..sizes.changes {
        let (_, bytes) = drive.forge.appended();
        let file = scattered(number, sizes.files);
        drive.edit(file, &crate::noise(number, EDIT_BYTES as usize));
        worst = worst.max(drive.forge.appended().1 - bytes - EDIT_BYTES);
    }
    let took = began.elapsed().as_secs_f64();
    let (_, bytes) = drive.forge.appended();
    let each = (bytes - before.1) as f64 / sizes.changes as f64 - EDIT_BYTES as f64;
    let figure = |what, seen, unit, promised| Figure { what, seen, unit, promised };
    tell(figure("a change of one file, on average", each, Unit::Bytes, Some(60.0 * 1024.0)));
    tell(figure("a change of one file, at most", worst as f64, Unit::Bytes, Some(100.0 * 1024.0)));
    tell(figure("the time of one", took / sizes.changes as f64, Unit::Seconds, None));
}

/// Looks names up.
fn lookups(drive: &mut Synthetic, latest: &Version, sizes: Sizes, tell: &mut dyn FnMut(Figure)) {
    let mut nodes = Nodes::default();
    let kept = [None, Some(&mut nodes)];
    let what =
        ["the time of it, with nothing kept, in the median", "the time of it, in the median"];
    for (nodes, what) in kept.into_iter().zip(what) {
        let (promised, view) = match nodes {
            None => (None, drive.forge.view()),
            Some(nodes) => (Some(20e-6), drive.forge.view().keeping(nodes)),
        };
        let view = Counting { blocks: view, read: Cell::new(0) };
        let (mut times, mut most) = (Vec::new(), 0);
        for number in 0..TIMES {
            let path = path(&name(scattered(number, sizes.files)));
            view.read.set(0);
            let began = Instant::now();
            assert!(here(latest.entry(&view, &path)).is_some());
            times.push(began.elapsed());
            most = most.max(view.read.get());
        }
        if promised.is_none() {
            let (what, seen) = ("looking a name up", f64::from(most));
            tell(Figure { what, seen, unit: Unit::Blocks, promised: Some(3.0) });
        }
        tell(Figure { what, seen: median(times), unit: Unit::Seconds, promised });
    }
}

/// Opens versions of long ago.
fn checkouts(drive: &mut Synthetic, latest: &Version, tell: &mut dyn FnMut(Figure)) {
    let view = Counting { blocks: drive.forge.view(), read: Cell::new(0) };
    let (mut times, mut most) = (Vec::new(), 0);
    for number in 0..TIMES.min(4 * latest.number) {
        let number = scattered(number, latest.number);
        view.read.set(0);
        let began = Instant::now();
        let found = here(latest.find(&view, number)).expect("there is each of them");
        times.push(began.elapsed());
        assert_eq!(found.number, number);
        most = most.max(view.read.get());
    }
    let (what, seen) = ("opening any version", f64::from(most));
    tell(Figure { what, seen, unit: Unit::Blocks, promised: Some(6.0) });
    let what = "the time of it, in the median";
    tell(Figure { what, seen: median(times), unit: Unit::Seconds, promised: None });
}

/// Compares the latest version with one that is some changes older.
fn differences(drive: &mut Synthetic, latest: &Version, tell: &mut dyn FnMut(Figure)) {
    let view = Counting { blocks: drive.forge.view(), read: Cell::new(0) };
    let old = here(latest.find(&view, latest.number - DIFFERENT)).expect("it is there");
    view.read.set(0);
    let began = Instant::now();
    let page = here(old.diff(latest, &view, None, 1_000));
    let took = began.elapsed();
    assert!(page.next.is_none() && page.differences.len() as u64 <= DIFFERENT);
    let (what, seen) = ("10 files that differ between versions", f64::from(view.read.get()));
    tell(Figure { what, seen, unit: Unit::Blocks, promised: Some(100.0) });
    let (what, seen) = ("the time of it", took.as_secs_f64());
    tell(Figure { what, seen, unit: Unit::Seconds, promised: Some(50e-3) });
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64()
}

/// Takes what was read of a drive that is all here.
fn here<T, E: std::fmt::Debug>(read: Reading<T, E>) -> T {
    match read {
        Ok(Step::Done(value)) => value,
        Ok(Step::Need(blocks)) => panic!("all is here, and {blocks:?} are missing"),
        Err(error) => panic!("the drive is sound, and {error:?}"),
    }
}
