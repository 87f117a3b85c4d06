//! The shipped binary, killed and failed at its system calls: nothing that was said to be done is lost, nothing wrong is kept.
//!
//! `strace` injects a signal or an error at the Nth call of a kind, N = 1, 2, 3 … until a run ends unharmed. Without `strace`, or where
//! tracing is not permitted, the tests say so and do nothing.
//!
//! The long form: `DATNODE_KILL_ROUNDS=60 cargo test -p datnode-tests --test kill -- --nocapture` goes through it so many times, each
//! time with other files.

#![expect(
    clippy::print_stdout,
    reason = "a test that is skipped says why, one that runs how much it did"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use datnode_tests::strace::{self, harmed};
use datnode_tests::{Sharer, Thing, User, assert_exit, noise, rot, tree, write};

/// The calls that change what is on the disk.
const CALLS: [&str; 11] = [
    "pwrite64",
    "write",
    "fdatasync",
    "fsync",
    "syncfs",
    "rename,renameat,renameat2",
    "mkdir,mkdirat",
    "ftruncate",
    "unlink,unlinkat",
    "fchmod,fchmodat,utimensat",
    "fallocate",
];
/// A run that met so many of one kind without coming to its end would never end.
const CALLS_MAX: u32 = 400;

/// What came of a harmed run.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// It did what it should.
    Unharmed,
    /// It was killed.
    Killed,
    /// It said what went wrong.
    Failed(i32),
}

/// Waits for a share to serve or to end; one that serves is ended.
fn share_once(mut command: Command) -> End {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let ready = lines.map_while(Result::ok).any(|line| line.contains("\"ready\""));
    if ready {
        end_traced(&mut child);
        return End::Unharmed;
    }
    ended(child)
}

/// Ends what `strace` runs, which ends `strace`.
fn end_traced(child: &mut Child) {
    let tracer = child.id();
    let children =
        fs::read_to_string(format!("/proc/{tracer}/task/{tracer}/children")).unwrap_or_default();
    for traced in children.split_whitespace() {
        let _ = Command::new("kill").args(["-KILL", traced]).stderr(Stdio::null()).status();
    }
    child.wait().unwrap();
}

fn ended(child: Child) -> End {
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("panicked"), "{said}");
    match (output.status.code(), output.status.signal()) {
        (Some(0), _) => End::Unharmed,
        // strace dies as its tracee did, or tells by its exit code.
        (_, Some(9)) | (Some(137), _) => End::Killed,
        (Some(code), _) => {
            assert!(said.contains("error"), "exit {code} without a word: {said}");
            End::Failed(code)
        }
        (None, signal) => panic!("ended by signal {signal:?}: {said}"),
    }
}

/// The files of a round: the first ones are small, later ones have other chunks each time, and more of them.
#[derive(Clone, Copy)]
struct Round(u64);

impl Round {
    fn bytes(self, number: u64, len: usize) -> Vec<u8> {
        let more = usize::try_from(self.0 * 39_916_801 % 300_000).unwrap();
        noise(self.0 << 8 | number, len + more)
    }

    fn first_version(self, folder: &Path) {
        write(folder, b"same", b"as ever");
        write(folder, b"edited", &self.bytes(1, 40_000));
        write(folder, b"deep/er/file", &self.bytes(2, 90_000));
        write(folder, b"dropped", b"soon");
        for number in 0..self.0 % 7 {
            write(folder, format!("{number}/file").as_bytes(), &self.bytes(9, 500));
        }
    }

    fn second_version(self, folder: &Path) {
        write(folder, b"edited", &self.bytes(3, 50_000));
        for (number, name) in [(4, &b"added"[..]), (5, b"and/more"), (6, b"and/yet/more")] {
            write(folder, name, &self.bytes(number, 90_000));
        }
        fs::remove_file(folder.join("dropped")).unwrap();
    }
}

/// Goes through a lane once, or as often as is asked for; returns how much harm there was, in the first round at least `least`.
fn rounds(what: &str, least: u32, lane: impl Fn(Round) -> u32) {
    if !strace::works() {
        return;
    }
    let count = std::env::var("DATNODE_KILL_ROUNDS").map_or(1, |text| text.parse().unwrap());
    let mut all = 0;
    for number in 0..count {
        let harm = lane(Round(number));
        assert!(harm >= least, "{harm} {what}");
        all += harm;
        println!("round {number}: {all} {what}");
    }
    assert!(count > 0, "no round is none");
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

/// Makes a user who has what `from` has.
fn twin(from: &User) -> User {
    let user = User::new();
    fs::create_dir_all(user.path("")).unwrap();
    copy(&from.path("../home"), &user.path("../home"));
    for entry in fs::read_dir(from.path("")).unwrap() {
        copy(&entry.unwrap().path(), &user.path(""));
    }
    user
}

/// Runs `run` with harm at each call in turn until it ends unharmed; returns how often it was harmed.
fn at_each_call(harm: &str, calls: &[&str], run: impl Fn(&str, u32) -> End) -> u32 {
    let mut harmed = 0;
    for calls in calls {
        let mut number = 1;
        while run(calls, number) != End::Unharmed {
            harmed += 1;
            number += 1;
            assert!(number < CALLS_MAX, "{calls} {harm}: it never ends unharmed");
        }
    }
    harmed
}

/// Whatever happened to a first share: the next one makes the drive, and it is right.
fn first_shares(round: Round, harm: &str, calls: &[&str]) -> u32 {
    at_each_call(harm, calls, |calls, number| {
        let user = User::new();
        round.first_version(&user.path("source"));
        let end = share_once(harmed(&user, calls, harm, number, &["--json", "share", "source"]));
        let sharer = user.share(&user.path("source"), &[]);
        assert_eq!(sharer.ready["change"], 1, "{calls} {number}");
        let reader = User::new();
        assert_exit(&reader.run(["clone", sharer.ticket(), "copy"]), 0);
        assert_eq!(tree(&user.path("source")), tree(&reader.path("copy")), "{calls} {number}");
        end
    })
}

/// Whatever happened to a second share: what the first one published is a beginning of what is published now.
fn second_shares(round: Round, harm: &str, calls: &[&str]) -> u32 {
    let before = User::new();
    round.first_version(&before.path("source"));
    let id = before.share(&before.path("source"), &[]).ready["version"].clone();
    // A twin is another folder, as far as the note beside the key can tell.
    fs::remove_dir_all(before.path("../home/run")).unwrap();
    at_each_call(harm, calls, |calls, number| {
        let user = twin(&before);
        forget_home(&user);
        round.second_version(&user.path("source"));
        let end = share_once(harmed(&user, calls, harm, number, &["--json", "share", "source"]));
        let sharer = user.share(&user.path("source"), &[]);
        assert_eq!(sharer.ready["change"], 2, "{calls} {number}");
        let reader = User::new();
        assert_exit(&reader.run(["clone", sharer.ticket(), "copy"]), 0);
        assert_eq!(tree(&user.path("source")), tree(&reader.path("copy")), "{calls} {number}");
        let log = reader.run(["--json", "log", "copy", "--reverse"]);
        assert!(
            String::from_utf8_lossy(&log.stdout).contains(id.as_str().unwrap()),
            "{calls} {number}"
        );
        drop(sharer);
        assert_exit(&user.run(["verify", "source"]), 0);
        end
    })
}

fn forget_home(user: &User) {
    for entry in fs::read_dir(user.path("../home/keys")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "home") {
            fs::remove_file(path).unwrap();
        }
    }
}

/// Whatever happened to a clone, and to the one that went on with it: the next one is whole.
fn clones(round: Round, harm: &str, calls: &[&str]) -> u32 {
    let writer = User::new();
    round.first_version(&writer.path("source"));
    let old = writer.share(&writer.path("source"), &[]);
    let behind = User::new();
    assert_exit(&behind.run(["clone", old.ticket(), "copy"]), 0);
    drop(old);
    round.second_version(&writer.path("source"));
    let sharer = writer.share(&writer.path("source"), &[]);
    let clone = ["--json", "clone", sharer.ticket(), "copy"];
    let run = |reader: &User, calls: &str, number| run(reader, calls, harm, number, &clone);
    let check = |reader: &User, calls: &str, number: u32| {
        let last = reader.run(clone);
        assert_eq!(
            last.status.code(),
            Some(0),
            "{calls} {number}: {}",
            String::from_utf8_lossy(&last.stderr)
        );
        assert_eq!(tree(&writer.path("source")), tree(&reader.path("copy")), "{calls} {number}");
        assert_exit(&reader.run(["verify", "copy"]), 0);
    };
    let fresh = at_each_call(harm, calls, |calls, number| {
        let reader = User::new();
        let end = run(&reader, calls, number);
        if end != End::Unharmed {
            run(&reader, calls, number);
        }
        check(&reader, calls, number);
        end
    });
    let updates = at_each_call(harm, calls, |calls, number| {
        let reader = twin(&behind);
        let end = run(&reader, calls, number);
        check(&reader, calls, number);
        end
    });
    fresh + updates
}

/// Whatever happened to a repair: the next one mends what is left.
fn repairs(round: Round, harm: &str, calls: &[&str]) -> u32 {
    let writer = User::new();
    round.first_version(&writer.path("source"));
    let sharer = writer.share(&writer.path("source"), &[]);
    let rotten = User::new();
    assert_exit(&rotten.run(["clone", sharer.ticket(), "copy"]), 0);
    for name in ["edited", "deep/er/file", "same"] {
        rot(&rotten.path("copy").join(name), 3);
    }
    rot(&rotten.path("copy/.dat/store/tree.1"), 45);
    let repair = ["--json", "verify", "copy", "--repair", "--peer", sharer.address()];
    at_each_call(harm, calls, |calls, number| {
        let reader = twin(&rotten);
        let end = run(&reader, calls, harm, number, &repair);
        let next = reader.run(repair);
        assert_exit(&next, 0);
        assert_eq!(tree(&writer.path("source")), tree(&reader.path("copy")), "{calls} {number}");
        assert_exit(&reader.run(["verify", "copy"]), 0);
        end
    })
}

/// Whatever happened to a recovery from a backup: the next one has what was published, and the writer goes on from there.
fn recoveries(round: Round, harm: &str, calls: &[&str]) -> u32 {
    let writer = User::new();
    let (folder, backup) = (writer.path("source"), writer.path("backup"));
    round.first_version(&folder);
    drop(writer.share(&folder, &[]));
    copy(&folder, &backup);
    round.second_version(&folder);
    let sharer = writer.share(&folder, &[]);
    let reader = User::new();
    assert_exit(&reader.run(["clone", sharer.ticket(), "copy"]), 0);
    drop(sharer);
    let published = tree(&folder);
    fs::remove_dir_all(&folder).unwrap();
    fs::remove_dir_all(writer.path("../home/run")).unwrap();
    let serving = reader.share(&reader.path("copy"), &[]);
    let recover = ["--json", "recover", "backup", "--peer", serving.address(), "--wait", "20s"];
    at_each_call(harm, calls, |calls, number| {
        let user = twin(&writer);
        let end = run(&user, calls, harm, number, &recover);
        assert_exit(&user.run(recover), 0);
        assert_eq!(tree(&user.path("backup")), published, "{calls} {number}");
        write(&user.path("backup"), b"later", b"the writer goes on");
        let sharer = user.share(&user.path("backup"), &[]);
        assert_eq!(sharer.ready["change"], 3, "{calls} {number}");
        end
    })
}

/// Whatever happened to a tag: it is there as a whole or not at all, and set again it is there.
fn taggings(round: Round, harm: &str, calls: &[&str]) -> u32 {
    let before = User::new();
    round.first_version(&before.path("source"));
    drop(before.share(&before.path("source"), &[]));
    fs::remove_dir_all(before.path("../home/run")).unwrap();
    let tag = ["--json", "tag", "v1", "source+1"];
    at_each_call(harm, calls, |calls, number| {
        let user = twin(&before);
        forget_home(&user);
        let end = run(&user, calls, harm, number, &tag);
        let listed = user.run(["tag", "--list", "source"]);
        assert_exit(&listed, 0);
        let listed = String::from_utf8(listed.stdout).unwrap();
        let right = |line: &str| line.starts_with("v1 ") && line.contains(" 1 · ");
        assert!(listed.lines().all(right), "{calls} {number}: {listed}");
        assert_exit(&user.run(tag), 0);
        let log = user.run(["log", "source"]).stdout;
        let changes = String::from_utf8(log).unwrap().matches('●').count();
        assert_eq!(changes, 2, "{calls} {number}: it was set once");
        assert_exit(&user.run(["verify", "source"]), 0);
        end
    })
}

/// Whatever happened to a clearing: what it was to keep is there and sound, and the next one frees the rest.
fn clearings(round: Round, harm: &str, calls: &[&str]) -> u32 {
    let writer = User::new();
    let folder = writer.path("source");
    round.first_version(&folder);
    drop(writer.share(&folder, &[]));
    round.second_version(&folder);
    let sharer = writer.share(&folder, &[]);
    let reader = User::new();
    assert_exit(&reader.run(["clone", sharer.ticket(), "copy"]), 0);
    assert_exit(&reader.run(["cat", "copy/dropped", "--at", "1", "--peer", sharer.address()]), 0);
    drop(sharer);
    fs::remove_dir_all(writer.path("../home/run")).unwrap();
    let (old, files) = (
        ["--json", "clear", "source", "--keep-latest", "--yes"],
        ["--json", "clear", "copy", "--files", "and/", "edited"],
    );
    let taken = |folder: &Path| folder.join(".dat/store/data").metadata().unwrap().blocks();
    let before = taken(&folder);
    let of_writer = at_each_call(harm, calls, |calls, number| {
        let user = twin(&writer);
        forget_home(&user);
        let end = run(&user, calls, harm, number, &old);
        assert_exit(&user.run(["verify", "source"]), 0);
        assert_exit(&user.run(old), 0);
        let gone = user.run(["cat", "source/edited", "--at", "1"]);
        assert_exit(&gone, 5);
        // 40,000 bytes of an edited file are ten blocks of most disks, of which the neighbours may have two.
        assert!(taken(&user.path("source")) + 8 * 8 <= before, "{calls} {number}");
        let sharer = user.share(&user.path("source"), &[]);
        let reader = User::new();
        assert_exit(&reader.run(["clone", sharer.ticket(), "copy"]), 0);
        assert_eq!(tree(&folder), tree(&reader.path("copy")), "{calls} {number}");
        end
    });
    let whole = tree(&reader.path("copy"));
    let of_files = at_each_call(harm, calls, |calls, number| {
        let user = twin(&reader);
        let end = run(&user, calls, harm, number, &files);
        assert_exit(&user.run(["verify", "copy"]), 0);
        assert_exit(&user.run(files), 0);
        assert_exit(&user.run(["verify", "copy"]), 0);
        let mut left = whole.keys().filter(|name| !name.starts_with(b"and") && *name != b"edited");
        assert!(tree(&user.path("copy")).keys().eq(&mut left), "{calls} {number}");
        end
    });
    of_writer + of_files
}

/// Whatever happened to a purge: the next one ends it, and no file of the user's is gone.
fn purges(round: Round, harm: &str, calls: &[&str]) -> u32 {
    let before = User::new();
    let folder = before.path("source");
    round.first_version(&folder);
    drop(before.share(&folder, &[]));
    let files = tree(&folder);
    let purge = ["--json", "purge", "source", "--yes"];
    at_each_call(harm, calls, |calls, number| {
        let user = twin(&before);
        let end = run(&user, calls, harm, number, &purge);
        if user.path("source/.dat/key").exists() {
            assert_exit(&user.run(purge), 0);
        }
        assert_eq!(tree(&user.path("source")), files, "{calls} {number}");
        // It is a folder like any other.
        let sharer = user.share(&user.path("source"), &[]);
        assert_eq!(sharer.ready["change"], 1, "{calls} {number}");
        end
    })
}

/// Whatever happened to a clone on its way to an older version: the next run gets there, and nothing is lost on the way.
fn checkouts(round: Round, harm: &str, calls: &[&str]) -> u32 {
    let writer = User::new();
    let (sharer, first) = two_versions(&writer, round);
    let ahead = User::new();
    assert_exit(&ahead.run(["clone", sharer.ticket(), "copy"]), 0);
    let checkout = ["--json", "checkout", "1", "copy", "--peer", sharer.address()];
    at_each_call(harm, calls, |calls, number| {
        let reader = twin(&ahead);
        let end = run(&reader, calls, harm, number, &checkout);
        assert_exit(&reader.run(checkout), 0);
        assert_eq!(tree(&reader.path("copy")), first, "{calls} {number}");
        assert_exit(&reader.run(["verify", "copy"]), 0);
        end
    })
}

/// Whatever happened while a version was written out: each file that has its name is whole, and somewhere else it goes well.
fn extracts(round: Round, harm: &str, calls: &[&str]) -> u32 {
    let writer = User::new();
    let (sharer, first) = two_versions(&writer, round);
    let hash = |thing: &Thing| match thing {
        Thing::File { hash, .. } => Some(*hash),
        Thing::Link(_) | Thing::Folder { .. } => None,
    };
    at_each_call(harm, calls, |calls, number| {
        let reader = User::new();
        let into = |name| ["--json", "checkout", "1", sharer.ticket(), "--into", name];
        let end = run(&reader, calls, harm, number, &into("out"));
        fs::create_dir_all(reader.path("out")).unwrap();
        let parts = |name: &[u8]| String::from_utf8_lossy(name).contains(".datpart-");
        for (name, thing) in tree(&reader.path("out")) {
            assert!(parts(&name) || hash(&thing) == hash(&first[&name]), "{calls} {number}");
        }
        assert_exit(&reader.run(into("again")), 0);
        assert_eq!(tree(&reader.path("again")), first, "{calls} {number}");
        end
    })
}

/// Shares a folder twice; returns the share of the second version, and what the first one had.
fn two_versions(writer: &User, round: Round) -> (Sharer, BTreeMap<Vec<u8>, Thing>) {
    round.first_version(&writer.path("source"));
    drop(writer.share(&writer.path("source"), &[]));
    let first = tree(&writer.path("source"));
    round.second_version(&writer.path("source"));
    (writer.share(&writer.path("source"), &[]), first)
}

/// Runs a command that ends by itself, with harm.
fn run(user: &User, calls: &str, harm: &str, number: u32, args: &[&str]) -> End {
    let mut command = harmed(user, calls, harm, number, args);
    ended(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap())
}

const KILL: &str = "signal=KILL";

#[test]
fn a_first_share_is_killed_at_any_call() {
    rounds("kills of a first share", 45, |round| first_shares(round, KILL, &CALLS));
}

#[test]
fn a_second_share_is_killed_at_any_call() {
    rounds("kills of a second share", 47, |round| second_shares(round, KILL, &CALLS));
}

#[test]
fn a_clone_is_killed_at_any_call() {
    rounds("kills of clones", 110, |round| clones(round, KILL, &CALLS));
}

#[test]
fn a_repair_is_killed_at_any_call() {
    rounds("kills of a repair", 40, |round| repairs(round, KILL, &CALLS));
}

#[test]
fn a_recovery_is_killed_at_any_call() {
    rounds("kills of a recovery", 55, |round| recoveries(round, KILL, &CALLS));
}

#[test]
fn a_tag_is_killed_at_any_call() {
    rounds("kills of a tag", 35, |round| taggings(round, KILL, &CALLS));
}

#[test]
fn a_clearing_is_killed_at_any_call() {
    rounds("kills of clearings", 60, |round| clearings(round, KILL, &CALLS));
}

#[test]
fn a_purge_is_killed_at_any_call() {
    rounds("kills of a purge", 14, |round| purges(round, KILL, &CALLS));
}

#[test]
fn a_checkout_is_killed_at_any_call() {
    rounds("kills of a checkout", 40, |round| checkouts(round, KILL, &CALLS));
}

#[test]
fn a_version_that_is_written_out_is_killed_at_any_call() {
    rounds("kills of a version that is written out", 15, |round| extracts(round, KILL, &CALLS));
}

#[test]
fn calls_fail_while_sharing_and_cloning() {
    let calls =
        ["pwrite64", "fdatasync", "fsync", "syncfs", "rename,renameat,renameat2", "ftruncate"];
    rounds("failures", 100, |round| {
        first_shares(round, "error=EIO", &calls)
            + second_shares(round, "error=ENOSPC", &calls)
            + clones(round, "error=EIO", &calls)
    });
}
