//! Bandwidth limits of real processes: no more than may passes, however busy the computer is.
//!
//! That no less passes, and who gets it, is shown in virtual time (`sim/tests/bandwidth.rs`): here others may need the processor.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use datnode_tests::{User, assert_exit, noise, tree, write};
use serde_json::Value;

const LIMIT: u64 = 2 << 20;
const BYTES: usize = 22 << 20;

/// Clones under a limit, with flags of the two ends.
fn clone(of_sharer: &[&str], of_reader: &[&str]) {
    let user = User::new();
    write(&user.path("source"), b"large", &noise(1, BYTES));
    let sharer = user.share(&user.path("source"), of_sharer);
    let reader = User::new();
    let args = ["--json", "clone", sharer.ticket(), "copy"];
    let mut command = reader.command(args.iter().chain(of_reader));
    let began = Instant::now();
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let (mut downloads, mut last) = (0, Value::Null);
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let record: Value = serde_json::from_str(&line.unwrap()).unwrap();
        // What is told came before it is read here, and not before the clone began: a busy computer only adds time.
        let bytes = record["bytes"].as_u64().unwrap_or(0);
        let elapsed = began.elapsed().max(Duration::from_secs(10));
        let most = LIMIT as f64 * elapsed.as_secs_f64() * 1.05;
        assert!(bytes as f64 <= most, "{bytes} bytes in {elapsed:?}");
        downloads += u32::from(record["stage"] == "download");
        last = record;
    }
    assert!(child.wait().unwrap().success());
    assert_eq!((&last["type"], last["bytes"].as_u64()), (&"done".into(), Some(BYTES as u64)));
    assert!(downloads >= 5, "it was told of while it went on");
    assert_eq!(tree(&user.path("source")), tree(&reader.path("copy")));
}

#[test]
fn a_share_sends_no_more_than_it_may() {
    clone(&["--max-up", "2M"], &[]);
}

#[test]
fn a_clone_receives_no_more_than_it_may() {
    clone(&["--max-up", "0"], &["--max-down", "2MiB"]);
}

#[test]
fn what_is_no_number_of_bytes_is_told() {
    let user = User::new();
    for flag in ["--max-up", "--max-down"] {
        assert_exit(&user.run(["clone", "nowhere", flag, "fast"]), 2);
    }
}
