//! Every decoder of foreign bytes against bytes that nobody should send: the quick lane of the fuzzers.
//!
//! Each entry point replays its corpus (`tests/fuzz/corpus/NAME`) and then takes a fixed number of mutations of it, the same
//! ones in every run. `DATNODE_FUZZ_EXECS` sets another number. Elsewhere: the entry points (the crates' `fuzz` modules),
//! guided by coverage (`tests/fuzz`).

#![expect(clippy::print_stdout, reason = "each lane says what it did")]

mod mutate;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use datnode_feed::fuzz::Target;
use datnode_tests::meter::Meter;
use mutate::Mutator;

#[global_allocator]
static METER: Meter = Meter;

/// How many inputs an entry point takes in a run.
const EXECS: u64 = 20_000;
/// Entry points that make a world for each input take fewer.
const SLOW: [&str; 4] = ["command_line", "drive", "session", "store"];
const SLOWER_BY: u64 = 20;
/// The longest mutated input.
const INPUT_BYTES_MAX: usize = 16 << 10;
/// What no input may make us allocate, whatever it claims.
const MEMORY_MAX: usize = 16 << 20;

/// All entry points.
fn targets() -> Vec<Target> {
    [
        datnode_feed::fuzz::TARGETS,
        datnode_proto::fuzz::TARGETS,
        datnode_drive::fuzz::TARGETS,
        datnode::fuzz::TARGETS,
    ]
    .concat()
}

/// A test for each entry point.
macro_rules! lanes {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            run(stringify!($name));
        })*
        const LANES: &[&str] = &[$(stringify!($name)),*];
    };
}

lanes! {
    accusation address bitfield block_proof change codec command_line dht_answer drive drive_header entry
    frame head heads home index_node journal meta node_key origin path place prefix public_key quantity
    session shown spill store tag tag_name ticket upgrade_proof
}

#[test]
fn every_entry_point_has_a_lane_and_every_corpus_an_entry_point() {
    let names: BTreeSet<_> = targets().iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(names.len(), targets().len(), "two entry points have one name");
    assert!(names.iter().eq(LANES), "{names:?}");
    for folder in std::fs::read_dir(corpus()).into_iter().flatten() {
        let name = folder.unwrap().file_name().into_string().unwrap();
        assert!(names.contains(&name), "there is no entry point {name}");
    }
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

/// Returns the seeds and the corpus of an entry point.
fn inputs(target: &Target) -> Vec<Vec<u8>> {
    let mut inputs = (target.seeds)();
    assert!(!inputs.is_empty(), "{} has no seed", target.name);
    for seed in &inputs {
        assert!(take(target, seed).0, "{} refuses its seed {}", target.name, HEXLOWER.encode(seed));
    }
    let mut files: Vec<_> = std::fs::read_dir(corpus().join(target.name))
        .map(|folder| folder.map(|file| file.unwrap().path()).collect())
        .unwrap_or_default();
    files.sort();
    inputs.extend(files.iter().map(|file| std::fs::read(file).unwrap()));
    inputs
}

/// Runs an entry point on an input; returns whether it was accepted, and how much memory that took.
fn take(target: &Target, input: &[u8]) -> (bool, usize) {
    let run = || Meter::peak(|| (target.run)(input));
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(outcome) => outcome,
        // The panic itself was printed.
        Err(_) => panic!("{} fails on {}", target.name, HEXLOWER.encode(input)),
    }
}

fn run(name: &str) {
    let target = *targets().iter().find(|target| target.name == name).unwrap();
    let execs = std::env::var("DATNODE_FUZZ_EXECS").map_or(EXECS, |text| text.parse().unwrap());
    let execs = if SLOW.contains(&name) { execs / SLOWER_BY } else { execs };
    let inputs = inputs(&target);
    let mut mutator = Mutator::new(name, INPUT_BYTES_MAX);
    let (mut accepted, mut refused, mut memory) = (0_u64, 0_u64, 0);
    let replayed = inputs.iter().cloned();
    let mutated = std::iter::repeat_with(|| mutator.next(&inputs));
    for input in replayed.chain(mutated).take(usize::try_from(execs).unwrap()) {
        let (taken, peak) = take(&target, &input);
        *(if taken { &mut accepted } else { &mut refused }) += 1;
        assert!(peak <= MEMORY_MAX, "{name} takes {peak} bytes for {}", HEXLOWER.encode(&input));
        memory = memory.max(peak);
    }
    println!("fuzz {name}: {execs} inputs, {accepted} accepted, at most {memory} bytes");
    assert!(accepted > 0 && refused > 0, "{name}: {accepted} accepted, {refused} refused");
}
