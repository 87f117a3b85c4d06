//! One entry point under libFuzzer: the one that this binary is named after.
//!
//! It panics where the entry point does, and for an input that takes more time or memory than any may.

#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use datnode_feed::fuzz::Target;
use meter::{Meter, thread_time};

#[path = "../src/meter.rs"]
mod meter;

#[global_allocator]
static METER: Meter = Meter;

/// What no input may take of a processor.
const TIME_MAX: Duration = Duration::from_millis(10);
/// By how much counting coverage, comparison by comparison, slows everything down.
const COUNTING: u32 = 10;
/// What no input may make us allocate, whatever it claims.
const MEMORY_MAX: usize = 16 << 20;
/// Caches that others fill make something slow now and then; what is slow so often in a row is slow by itself.
const TRIALS: u32 = 5;

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let crates = [
        datnode_feed::fuzz::TARGETS,
        datnode_proto::fuzz::TARGETS,
        datnode_drive::fuzz::TARGETS,
        #[cfg(feature = "node")]
        datnode::fuzz::TARGETS,
    ];
    let mut targets = crates.into_iter().flatten();
    *targets.find(|target| target.name == env!("CARGO_BIN_NAME")).expect("the binary is named after it")
});

/// Leaves the seeds where they are looked for.
fn sow() {
    let Some(folder) = std::env::var_os("DATNODE_FUZZ_SEEDS") else { return };
    for (number, seed) in (TARGET.seeds)().into_iter().enumerate() {
        let file = std::path::Path::new(&folder).join(format!("seed-{number}"));
        std::fs::write(file, seed).expect("the folder can be written to");
    }
}

/// Runs an input; returns how much time that took of a processor, and by how many bytes memory grew meanwhile.
fn take(input: &[u8]) -> (Duration, usize) {
    let start = thread_time();
    let (_, memory) = Meter::peak(|| (TARGET.run)(input));
    (thread_time() - start, memory)
}

libfuzzer_sys::fuzz_target!(
    init: {
        sow();
        // What is made once, by the first input, is not that input's.
        (TARGET.seeds)().iter().for_each(|seed| drop((TARGET.run)(seed)));
    },
    |input: &[u8]| {
        let (mut time, memory) = take(input);
        assert!(memory <= MEMORY_MAX, "{memory} bytes of memory");
        let time_max = if cfg!(replay) { TIME_MAX } else { TIME_MAX * COUNTING };
        for _ in 1..TRIALS {
            if time <= time_max {
                break;
            }
            time = time.min(take(input).0);
        }
        assert!(time <= time_max, "{time:?}");
    }
);
