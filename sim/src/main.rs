//! Long forms of the lanes, worlds of seeds, and figures; see `USAGE`.

use std::fs;
use std::io::{StdoutLock, Write as _};
use std::ops::Range;
use std::path::Path;
use std::process::ExitCode;

use datnode_sim::disk::{FaultKind, Images};
use datnode_sim::figures::{EXPERIMENTS, KEPT};
use datnode_sim::lanes::fail::Failed;
use datnode_sim::lanes::rot::Extent;
use datnode_sim::lanes::{self, LARGE, Tally as _, WORKLOADS, Workload, crash, fail, rot};
use datnode_sim::scenario;

const USAGE: &str = "\
usage: sim --seed N              runs the world of a seed, and prints its trace hash
       sim --seeds A..B          runs the worlds of many seeds
       sim crash --images N      crashes every workload behind every operation
       sim fail --points N       lets every operation of every workload fail, in each way
       sim rot --images N        damages every bit of what every workload leaves behind, and of a store of 64 KiB
  the last three take --seed N, where they begin, and stop at the first broken promise
       sim figures               measures swarms, prints the figures, and says which promises do not hold
  it takes --out DIR, where plots are written (target/figures), --only NAME of a section, and --keep, which writes
  the figures to where the tests hold them against";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut out = std::io::stdout().lock();
    let number = |word: &str| word.parse::<u64>().ok();
    let done = match words[..] {
        ["--seed", seed] => number(seed).map(|seed| worlds(seed..seed.saturating_add(1), &mut out)),
        ["--seeds", range] => {
            let ends = range.split_once("..").map(|(from, to)| (number(from), number(to)));
            match ends {
                Some((Some(from), Some(to))) => Some(worlds(from..to, &mut out)),
                _ => None,
            }
        }
        ["figures", ref flags @ ..] => figures(flags, &mut out),
        [name, what, goal] => number(goal).and_then(|goal| lane(name, what, goal, 0, &mut out)),
        [name, what, goal, "--seed", seed] => match (number(goal), number(seed)) {
            (Some(goal), Some(seed)) => lane(name, what, goal, seed, &mut out),
            _ => None,
        },
        _ => None,
    };
    match done {
        Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(broken)) => {
            let _ = writeln!(out, "{broken}");
            ExitCode::FAILURE
        }
        None => {
            let _ = writeln!(out, "{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// Runs a long lane; `None` if there is no such lane.
fn lane(
    name: &str,
    counted: &str,
    goal: u64,
    seed: u64,
    out: &mut StdoutLock<'_>,
) -> Option<Result<(), String>> {
    let images = Images { parts_max: 10, samples: 256 };
    let mut all: Vec<&Workload> = WORKLOADS.iter().collect();
    Some(match (name, counted) {
        ("crash", "--images") => {
            lanes::until(&all, goal, seed, out, |workload, seed| crash::run(workload, seed, images))
                .map(drop)
        }
        ("fail", "--points") => lanes::until(&all, goal, seed, out, every_failure).map(drop),
        ("rot", "--images") => {
            all.insert(0, &LARGE);
            lanes::until(&all, goal, seed, out, |workload, seed| {
                rot::run(workload, seed, Extent::EveryBit)
            })
            .map(drop)
        }
        _ => return None,
    })
}

fn every_failure(workload: &Workload, seed: u64) -> Result<Failed, String> {
    let mut all = fail::reads(workload, seed)?;
    for kind in FaultKind::ALL {
        all.add(fail::run(workload, kind, seed, 1)?);
    }
    Ok(all)
}

/// Measures swarms; `None` if a flag is not understood.
fn figures(flags: &[&str], out: &mut StdoutLock<'_>) -> Option<Result<(), String>> {
    let (mut plots, mut only, mut keeps) = ("target/figures", None, false);
    let mut flags = flags.iter();
    while let Some(flag) = flags.next() {
        match *flag {
            "--out" => plots = *flags.next()?,
            "--only" => only = Some(*flags.next()?),
            "--keep" => keeps = true,
            _ => return None,
        }
    }
    let wanted = |name: &str| only.is_none_or(|only| only == name);
    // A part of the figures would be kept as all of them.
    if keeps && only.is_some() || !EXPERIMENTS.iter().any(|one| wanted(one.name)) {
        return None;
    }
    Some(measure(wanted, plots, keeps, out))
}

fn measure(
    wanted: impl Fn(&str) -> bool,
    plots: &str,
    keeps: bool,
    out: &mut StdoutLock<'_>,
) -> Result<(), String> {
    let (mut sections, mut broken) = (Vec::new(), 0);
    for experiment in EXPERIMENTS.iter().filter(|one| wanted(one.name)) {
        let figure = experiment.run();
        let section = figure.section(experiment.name);
        let _ = writeln!(out, "{section}");
        for timing in &figure.timings {
            let _ = writeln!(out, "  {timing}");
        }
        for plot in &figure.plots {
            write(&format!("{plots}/{}.svg", plot.name), &plot.svg())?;
        }
        broken += figure.broken().count();
        sections.push(section);
    }
    if keeps {
        write(KEPT, &sections.join("\n"))?;
    }
    if broken == 0 { Ok(()) } else { Err(format!("{broken} promises do not hold")) }
}

fn write(path: &str, text: &str) -> Result<(), String> {
    let folder = Path::new(path).parent().unwrap_or(Path::new("."));
    let written = fs::create_dir_all(folder).and_then(|()| fs::write(path, text));
    written.map_err(|error| format!("cannot write {path}: {error}"))
}

fn worlds(seeds: Range<u64>, out: &mut StdoutLock<'_>) -> Result<(), String> {
    let mut failed = 0;
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
        failed += u64::from(!outcome.problems.is_empty());
    }
    if failed == 0 { Ok(()) } else { Err(format!("{failed} worlds have problems")) }
}
