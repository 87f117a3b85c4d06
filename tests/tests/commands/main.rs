//! The commands around share and clone: what they do to drives, with and without a process that has the drive open.

mod addresses;
mod beside;
mod edits;
mod keys;
mod reading;
mod settings;
mod untrusted;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;

use datnode_tests::{User, assert_exit};
use serde_json::Value;

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs a command that succeeds; returns what it printed.
fn done<A: AsRef<OsStr>>(user: &User, args: impl IntoIterator<Item = A>) -> String {
    let output = user.run(args);
    assert_exit(&output, 0);
    text(&output)
}

fn json<A: AsRef<OsStr>>(user: &User, args: impl IntoIterator<Item = A>) -> Value {
    let args: Vec<_> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
    let words = [OsStr::new("--json")].into_iter().chain(args.iter().map(|arg| arg.as_os_str()));
    serde_json::from_str(&done(user, words)).unwrap()
}

fn put(user: &User, bytes: &[u8], address: &str) -> Output {
    let mut command = user.command(["put", "-", address, "-m", "put it"]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // One that ends early does not read.
    let _ = child.stdin.take().unwrap().write_all(bytes);
    child.wait_with_output().unwrap()
}

/// Returns the entries of a drive, each with its size.
fn entries(user: &User, address: &str) -> BTreeMap<String, u64> {
    let listed = done(user, ["--json", "ls", "-R", address]);
    let entry = |line: &str| {
        let entry: Value = serde_json::from_str(line).unwrap();
        (entry["path"].as_str().unwrap().to_owned(), entry["size"].as_u64().unwrap())
    };
    listed.lines().map(entry).filter(|(path, _)| !path.ends_with('/')).collect()
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}
