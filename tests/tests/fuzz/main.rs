//! Every decoder of foreign bytes against bytes that nobody should send: the quick lane of the fuzzers.
//!
//! Each entry point replays its corpus (`tests/fuzz/corpus/NAME`) and then takes mutations of it, in every run the same ones in the same
//! order: so many at least, and as many more as fit in a while. `DATNODE_FUZZ_EXECS` sets their number. Elsewhere: the entry points (the crates' `fuzz` modules),
//! guided by coverage (`tests/fuzz`).

#![expect(clippy::print_stdout, reason = "each lane says what it did")]

mod mutate;
mod trees;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use data_encoding::HEXLOWER;
use datnode_feed::fuzz::Target;
use datnode_tests::meter::{Meter, thread_time};
use mutate::Mutator;

#[global_allocator]
static METER: Meter = Meter;

/// How many inputs an entry point takes in a run at least, and at most.
const EXECS: u64 = 20_000;
const EXECS_MOST: u64 = 2_000_000;
/// For how long it keeps a processor busy with inputs if it is done with the least.
const SPAN: Duration = Duration::from_secs(6);
/// Entry points that make a world for each input take fewer.
const SLOW: [&str; 4] = ["command_line", "drive", "session", "store"];
const SLOWER_BY: u64 = 20;
/// The longest mutated input.
const INPUT_BYTES_MAX: usize = 16 << 10;
/// What no input may make us allocate, whatever it claims.
const MEMORY_MAX: usize = 16 << 20;
/// What no input may take of a processor.
const TIME_MAX: Duration = Duration::from_millis(10);
/// By how much a crate is slower that the compiler leaves as it is written (`Cargo.toml`, `profile.dev`).
const AS_WRITTEN: u32 = 10;
/// What others do on the machine makes something slow now and then; what is slow so often in a row is slow by itself.
const TRIALS: u32 = 5;

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
        assert!(
            take(target, seed).accepted,
            "{} refuses its seed {}",
            target.name,
            HEXLOWER.encode(seed)
        );
    }
    let mut files: Vec<_> = std::fs::read_dir(corpus().join(target.name))
        .map(|folder| folder.map(|file| file.unwrap().path()).collect())
        .unwrap_or_default();
    files.sort();
    inputs.extend(files.iter().map(|file| std::fs::read(file).unwrap()));
    inputs
}

/// What an entry point made of an input.
struct Outcome {
    accepted: bool,
    /// How much memory it took.
    memory: usize,
    /// How long it kept a processor busy.
    time: Duration,
}

fn take(target: &Target, input: &[u8]) -> Outcome {
    let start = thread_time();
    let run = || Meter::peak(|| (target.run)(input));
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok((accepted, memory)) => Outcome { accepted, memory, time: thread_time() - start },
        // The panic itself was printed.
        Err(_) => panic!("{} fails on {}", target.name, HEXLOWER.encode(input)),
    }
}

fn is_of_node(name: &str) -> bool {
    datnode::fuzz::TARGETS.iter().any(|target| target.name == name)
}

/// Runs an entry point on an input, which is to take no more than it may.
fn take_within_limits(target: &Target, input: &[u8]) -> Outcome {
    let as_written = cfg!(debug_assertions) && is_of_node(target.name);
    let time_max = if as_written { TIME_MAX * AS_WRITTEN } else { TIME_MAX };
    let mut outcome = take(target, input);
    for _ in 1..TRIALS {
        if outcome.time <= time_max {
            break;
        }
        outcome.time = outcome.time.min(take(target, input).time);
    }
    let Outcome { memory, time, .. } = outcome;
    let taken = || format!("{} takes {memory} bytes and {time:?}", target.name);
    let fits = memory <= MEMORY_MAX && time <= time_max;
    assert!(fits, "{} for {}", taken(), HEXLOWER.encode(input));
    outcome
}

/// Returns the least number of inputs and the greatest.
fn execs(name: &str) -> (u64, u64) {
    let slower_by = if SLOW.contains(&name) { SLOWER_BY } else { 1 };
    let (least, most) = match std::env::var("DATNODE_FUZZ_EXECS") {
        Ok(text) => [text.parse().unwrap(); 2].into(),
        Err(_) => (EXECS, EXECS_MOST),
    };
    (least / slower_by, most / slower_by)
}

fn run(name: &str) {
    let target = *targets().iter().find(|target| target.name == name).unwrap();
    let (least, most) = execs(name);
    let inputs = inputs(&target);
    let mut mutator = Mutator::new(name, INPUT_BYTES_MAX);
    let (mut accepted, mut refused, mut memory, mut slowest) = (0_u64, 0_u64, 0, Duration::ZERO);
    let replayed = inputs.iter().cloned();
    let mutated = std::iter::repeat_with(|| mutator.next(&inputs));
    let mut spent = Duration::ZERO;
    for input in replayed.chain(mutated).take(usize::try_from(most).unwrap()) {
        let outcome = take_within_limits(&target, &input);
        *(if outcome.accepted { &mut accepted } else { &mut refused }) += 1;
        (memory, slowest) = (memory.max(outcome.memory), slowest.max(outcome.time));
        spent += outcome.time;
        if accepted + refused >= least && spent > SPAN {
            break;
        }
    }
    let execs = accepted + refused;
    println!(
        "fuzz {name}: {execs} inputs, {accepted} accepted, at most {memory} bytes, {slowest:?}"
    );
    assert!(accepted > 0 && refused > 0, "{name}: {accepted} accepted, {refused} refused");
}
