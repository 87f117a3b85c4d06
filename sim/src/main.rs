//! `sim --seed N`: replays the world of a seed and prints its trace hash. `sim --seeds A..B` runs many.

use std::io::Write as _;
use std::process::ExitCode;

use datnode_sim::scenario;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let seeds = match words[..] {
        ["--seed", seed] => seed.parse().ok().map(|seed: u64| seed..seed.saturating_add(1)),
        ["--seeds", range] => {
            range.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?))
        }
        _ => None,
    };
    let mut out = std::io::stdout().lock();
    let Some(seeds) = seeds else {
        let _ = writeln!(out, "usage: sim --seed N | --seeds A..B");
        return ExitCode::from(2);
    };
    let mut failed = false;
    for seed in seeds {
        let outcome = scenario::run(seed);
        let _ = writeln!(
            out,
            "seed {seed}: {} hosts, {} blocks, {} frames, {} ms, trace {}",
            outcome.hosts,
            outcome.blocks,
            outcome.frames,
            outcome.micros / 1_000,
            outcome.trace
        );
        for problem in &outcome.problems {
            let _ = writeln!(out, "  {problem}");
        }
        failed |= !outcome.problems.is_empty();
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
