//! What a drive of a million files costs: figures, held against what is promised.
//!
//! `cargo run --release --locked -p datnode-tests --example scale -- --files 1000000 --changes 10000 --real 1000000`
//!
//! These are the sizes if none are given. A drive of `--files` is made in a store on the disk, changed `--changes` times, and read
//! here and from afar; then `--real` small files are made, shared, shared again and cloned (0: none are). All of it is in the
//! temporary folder (`TMPDIR`): 12 GB for a million. Elsewhere: the small form, as a test (`tests/scale.rs`).

#![expect(clippy::print_stdout, reason = "a table is what this is for")]

use std::process::ExitCode;

use datnode_tests::scale::{Sizes, measure};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let mut sizes = Sizes { files: 1_000_000, changes: 10_000, real: 1_000_000 };
    for pair in words.chunks(2) {
        let number = pair.get(1).and_then(|word| word.parse::<u64>().ok());
        match (pair[0].as_str(), number) {
            ("--files", Some(number @ 1..)) => sizes.files = number,
            ("--changes", Some(number @ 10..)) => sizes.changes = number,
            ("--real", Some(number)) => sizes.real = number,
            _ => {
                println!("usage: scale [--files N] [--changes N, 10 at least] [--real N]");
                return ExitCode::from(2);
            }
        }
    }
    println!("{sizes:?}");
    println!("{:56} {:>14} {:>14}", "figure", "seen", "promised");
    let mut all = true;
    measure(sizes, &mut |figure| {
        println!("{figure}");
        all &= figure.holds();
    });
    if all { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
