//! How long somebody waits for a command that has little to do, from the start of the process to its end.
//!
//! `cargo bench -p datnode --bench start` prints one table: the median of 20 rounds of each command beside its goal, and that of
//! `/bin/true`, which is started in each round as well. Goals are for an idle computer; nothing is asserted.
//! `-- --quick`: a drive of 2,000 files instead of 100,000.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "its output is what it is for")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

const ROUNDS: usize = 20;
/// How many files are in a folder of the drive.
const FILES_IN_FOLDER: usize = 100;

/// A command, how it has to end, and how long it may take at most, in milliseconds.
struct Timed {
    name: &'static str,
    command: Command,
    exit: i32,
    goal_ms: f64,
    /// One for each round, in milliseconds.
    took_ms: Vec<f64>,
}

fn main() {
    let quick = std::env::args().any(|arg| arg == "--quick");
    let files = if quick { 2_000 } else { 100_000 };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("start");
    let drive = drive(&folder, files);
    let link = link(&folder, &drive);
    let mut mistyped = link.clone().into_bytes();
    mistyped[20] = if mistyped[20] == b'q' { b'p' } else { b'q' };
    let mistyped = String::from_utf8(mistyped).expect("it was ASCII");
    let datnode = |name, args: &[&str], exit, goal_ms| {
        let mut command = datnode(&folder);
        command.args(args).current_dir(&drive);
        Timed { name, command, exit, goal_ms, took_ms: Vec::new() }
    };
    let mut all = [
        datnode("datnode --help", &["--help"], 0, 20.0),
        datnode("datnode status", &["status"], 0, 100.0),
        datnode("datnode ls", &["ls"], 0, 150.0),
        datnode("datnode ls -R", &["ls", "-R"], 0, 150.0),
        datnode("datnode clone, a key with a typo", &["clone", &mistyped], 2, 5.0),
    ];
    let command = Command::new("/bin/true");
    let mut reference =
        Timed { name: "/bin/true", command, exit: 0, goal_ms: 0.0, took_ms: Vec::new() };
    for _ in 0..ROUNDS {
        reference.run();
        all.iter_mut().for_each(Timed::run);
    }
    println!("A drive of {files} files; medians of {ROUNDS} rounds.\n");
    println!("| | median | goal | /bin/true in the same rounds |");
    println!("|---|---|---|---|");
    let nothing = reference.median();
    for timed in &all {
        let (Timed { name, goal_ms, .. }, median) = (timed, timed.median());
        let missed = if median > *goal_ms { ", missed" } else { "" };
        println!("| {name} | {median:.1} ms{missed} | ≤ {goal_ms:.0} ms | {nothing:.1} ms |");
    }
}

impl Timed {
    fn run(&mut self) {
        let command = self.command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let started = Instant::now();
        let status = command.status().expect("it was built, or is part of the system");
        self.took_ms.push(started.elapsed().as_secs_f64() * 1e3);
        assert_eq!(status.code(), Some(self.exit), "{}", self.name);
    }

    fn median(&self) -> f64 {
        let mut took = self.took_ms.clone();
        took.sort_by(f64::total_cmp);
        (took[(took.len() - 1) / 2] + took[took.len() / 2]) / 2.0
    }
}

/// Prepares the binary, for a user of its own.
fn datnode(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_datnode"));
    command.env("DATNODE_HOME", folder.join("home")).env("DATNODE_DISCOVER", "none");
    command.env("DATNODE_LISTEN", "127.0.0.1").env("DATNODE_PORT", "0");
    command
}

/// Makes a folder of small files, unless an earlier run made all of it.
fn drive(folder: &Path, files: usize) -> PathBuf {
    let (drive, done) = (folder.join(format!("{files}")), folder.join(format!("{files}.done")));
    if !done.exists() {
        eprintln!("making {}", drive.display());
        let _ = fs::remove_dir_all(&drive);
        for file in 0..files {
            let within = drive.join(format!("{}", file / FILES_IN_FOLDER));
            fs::create_dir_all(&within).expect("room for data");
            fs::write(within.join(format!("{file}.txt")), format!("{file}\n"))
                .expect("room for data");
        }
        fs::write(done, "").expect("room for data");
    }
    drive
}

/// Takes the folder in, and returns its link.
fn link(folder: &Path, drive: &Path) -> String {
    let mut command = datnode(folder);
    command.args(["--json", "--progress", "none", "share"]).arg(drive);
    command.stdout(Stdio::piped()).stdin(Stdio::null());
    let mut child = command.spawn().expect("it was built");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let ready = lines.next().expect("it serves").expect("it serves");
    let ready: serde_json::Value = serde_json::from_str(&ready).expect("it says JSON");
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::TERM).expect("it runs");
    assert!(child.wait().is_ok_and(|status| status.success()), "it ends when it is asked to");
    ready["drive"]["link"].as_str().expect("it has a link").to_owned()
}
