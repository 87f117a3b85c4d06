//! One entry point under libFuzzer: the one that this binary is named after.

#![no_main]

use std::sync::LazyLock;

use datnode_feed::fuzz::Target;

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

libfuzzer_sys::fuzz_target!(
    init: sow(),
    |input: &[u8]| {
        (TARGET.run)(input);
    }
);
