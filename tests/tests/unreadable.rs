//! What cannot be read, or does not hold still, is named; the rest is shared.

#![expect(clippy::print_stderr, reason = "a test that is skipped says why")]

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use datnode_tests::process::signal;
use datnode_tests::{User, assert_exit, noise, write};
use serde_json::Value;

/// Somebody whom the permissions of files stop: root reads everything.
const NOBODY: u32 = 65_534;

/// A user with a folder of which some is closed to it.
struct Owner {
    user: User,
    root: bool,
}

impl Owner {
    /// `None` where the tests run as root and may not give files and processes to others.
    fn new() -> Option<Self> {
        let user = User::new();
        let folder = user.path("source");
        write(&folder, b"open", b"for everybody");
        write(&folder, b"closed", b"for its owner");
        write(&folder, b"cellar/inside", b"for its owner");
        write(&folder, b"cellar-door", b"for everybody");
        // Long ago: what was written a moment before a share is read again by the next.
        let closed = fs::File::options().write(true).open(folder.join("closed")).unwrap();
        closed
            .set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000))
            .unwrap();
        // The folder for whom it belongs to.
        let root = rustix::process::geteuid().is_root();
        let given =
            || Command::new("chown").args(["-R", "65534:65534"]).arg(user.path("..")).status();
        if root && !given().is_ok_and(|status| status.success()) {
            eprintln!("skipped: files cannot be given to somebody else here");
            return None;
        }
        let owner = Self { user, root };
        if owner.command(["--version"]).output().is_err() {
            eprintln!("skipped: nobody else may run programs here");
            return None;
        }
        Some(owner)
    }

    fn command<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = self.user.command(args);
        if self.root {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    fn set(&self, names: [(&str, u32); 2]) {
        for (name, mode) in names {
            let path = self.user.path("source").join(name);
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
    }

    fn close(&self) {
        self.set([("closed", 0o000), ("cellar", 0o000)]);
    }

    fn open(&self) {
        self.set([("closed", 0o600), ("cellar", 0o700)]);
    }

    /// Shares until it serves; returns what it said then, and its warnings.
    fn share(&self) -> (Value, Vec<Value>) {
        let mut command = self.command(["--json", "share", "source", "--progress", "none"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines.next().expect("the rest is shared").unwrap();
        signal(&child, "-TERM");
        let output = child.wait_with_output().unwrap();
        assert_exit(&output, 0);
        (serde_json::from_str(&ready).unwrap(), json(&output))
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.open();
    }
}

/// The lines of JSON on stderr.
fn json(output: &Output) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stderr).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What a warning or an error names, with the reasons.
fn named(record: &Value) -> Vec<(&str, &str)> {
    let paths = record["paths"].as_array().unwrap().iter();
    let mut paths: Vec<_> =
        paths.map(|one| (one["path"].as_str().unwrap(), one["reason"].as_str().unwrap())).collect();
    paths.sort_unstable();
    paths
}

#[test]
fn what_cannot_be_read_is_named_and_the_rest_is_shared() {
    let Some(owner) = Owner::new() else { return };
    owner.close();
    let (ready, warnings) = owner.share();
    assert_eq!((&ready["unreadable"], &ready["files"]), (&2.into(), &2.into()), "{ready}");
    assert_eq!(warnings.len(), 1);
    assert_eq!(
        (&warnings[0]["type"], &warnings[0]["code"]),
        (&"warning".into(), &"E-PARTIAL".into())
    );
    let closed = [("cellar", "permission denied"), ("closed", "permission denied")];
    assert_eq!(named(&warnings[0]), closed);
    // What ends by itself says so by its exit code.
    for (more, code) in [(&[][..], 3), (&["--ignore", "c*"], 0)] {
        let dry_run = ["share", "source", "--dry-run"];
        let output = owner.command(dry_run.iter().chain(more)).output().unwrap();
        assert_exit(&output, code);
        let output = owner.command(["--json"].iter().chain(&dry_run).chain(more)).output().unwrap();
        assert_exit(&output, code);
        match json(&output).as_slice() {
            [] => assert_eq!(code, 0),
            [error] => {
                assert_eq!((&error["type"], &error["exit"]), (&"error".into(), &3.into()));
                assert_eq!(named(error), closed);
            }
            more => panic!("{more:?}"),
        }
    }
}

#[test]
fn what_is_out_of_sight_is_not_taken_for_deleted() {
    let Some(owner) = Owner::new() else { return };
    let (ready, warnings) = owner.share();
    assert_eq!((&ready["files"], warnings.len()), (&4.into(), 0));
    // Deleted, although its name begins like that of a folder that is closed.
    fs::remove_file(owner.user.path("source/cellar-door")).unwrap();
    owner.close();
    let foretold = owner.command(["share", "source", "--dry-run"]).output().unwrap();
    assert_exit(&foretold, 3);
    let foretold = String::from_utf8(foretold.stdout).unwrap();
    assert!(foretold.contains("- cellar-door\n") && !foretold.contains("inside"), "{foretold}");
    let (ready, warnings) = owner.share();
    let counts = ["files", "removed", "unreadable"].map(|name| ready[name].as_u64().unwrap());
    assert_eq!(counts, [3, 1, 2], "{ready}");
    let closed = [("cellar", "permission denied"), ("closed", "permission denied")];
    assert_eq!(named(&warnings[0]), closed);
    owner.open();
    let (ready, warnings) = owner.share();
    assert_eq!((&ready["files"], warnings.len()), (&3.into(), 0));
    let inside = owner.command(["cat", "source/cellar/inside"]).output().unwrap();
    assert_eq!(inside.stdout, b"for its owner");
}

#[test]
fn a_file_that_never_holds_still_is_named() {
    let user = User::new();
    let path = user.path("source/log");
    write(&user.path("source"), b"log", &noise(1, 8 << 20));
    let until = AtomicBool::new(false);
    let warned = std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            while !until.load(Ordering::Relaxed) {
                fs::File::options()
                    .append(true)
                    .open(&path)
                    .unwrap()
                    .set_modified(std::time::SystemTime::now())
                    .unwrap();
            }
        });
        // Each share has a new chance to read it between two moments.
        let warned = (0..20).find_map(|_| {
            let mut command = user.command(["--json", "share", "source", "--progress", "none"]);
            let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            let lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let ready = lines.map_while(Result::ok).next().unwrap();
            signal(&child, "-TERM");
            let output = child.wait_with_output().unwrap();
            assert_exit(&output, 0);
            json(&output).pop().map(|warning| (ready, warning))
        });
        until.store(true, Ordering::Relaxed);
        writing.join().unwrap();
        warned
    });
    let (ready, warning) = warned.expect("it never holds still");
    let ready: Value = serde_json::from_str(&ready).unwrap();
    assert_eq!((&ready["unsteady"], &ready["files"]), (&1.into(), &0.into()), "{ready}");
    assert_eq!((&warning["type"], &warning["code"]), (&"warning".into(), &"E-CHANGED".into()));
    assert_eq!((&warning["paths"][0], &warning["exit"]), (&"log".into(), &3.into()));
}
