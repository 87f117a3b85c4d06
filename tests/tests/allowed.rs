//! The shipped binary where the system allows few files to be open, or no more threads.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use datnode_tests::strace::{harmed, works};
use datnode_tests::{Sharer, User, assert_exit, binary, noise, tree, write};

/// A call that begins a thread; the only one that a process of these libraries makes.
const BEGINS: &str = "clone3";
/// How many threads are begun to see whether they may be (`cli::allowed`).
const TRIALS: u32 = 12;
/// More threads than a clone begins after that.
const MORE: u32 = 10;

/// Makes a folder with a large file and many small ones.
fn folder(user: &User) -> PathBuf {
    let source = user.path("source");
    write(&source, b"large", &noise(1, 3 << 20));
    for number in 0..300 {
        let name = format!("{}/{number}", number % 40);
        write(&source, name.as_bytes(), &noise(number, 3_000));
    }
    source
}

/// Prepares a command of a user that may have so many files open.
fn with_descriptors(user: &User, most: u32, args: &[&str]) -> Command {
    let plain = user.command([""]);
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -n {most}; exec \"$0\" \"$@\"")]).arg(binary()).args(args);
    for (name, value) in plain.get_envs() {
        command.env(name, value.unwrap());
    }
    command.current_dir(user.path("")).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn few_descriptors_are_enough_and_too_few_are_said_to_be() {
    let writer = User::new();
    let source = folder(&writer);
    let sharer = Sharer::start(with_descriptors(&writer, 64, &["--json", "share", "source"]));
    let reader = User::new();
    fs::create_dir_all(reader.path("")).unwrap();
    let clone = ["clone", sharer.ticket(), "copy"];
    for most in [8, 63] {
        let output = with_descriptors(&reader, most, &clone).output().unwrap();
        assert_exit(&output, 1);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(&format!("may have {most} files open")), "{said}");
        assert!(!reader.path("copy").exists());
    }
    assert_exit(&with_descriptors(&reader, 64, &clone).output().unwrap(), 0);
    assert_eq!(tree(&reader.path("copy")), tree(&source));
}

/// What can be done without a thread is done, and the rest is said to be impossible.
#[test]
fn a_clone_without_a_thread_ends_well_or_says_why() {
    if !works() {
        return;
    }
    let writer = User::new();
    let source = folder(&writer);
    let sharer = writer.share(&source, &[]);
    let (mut done, mut said, mut ended) = (0, 0, 0);
    for number in [1].into_iter().chain(TRIALS..TRIALS + MORE) {
        let reader = User::new();
        fs::create_dir_all(reader.path("")).unwrap();
        let clone = ["clone", sharer.ticket(), "copy"];
        let output = harmed(&reader, BEGINS, "error=EAGAIN", number, &clone).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            Some(0) => {
                assert_eq!(tree(&reader.path("copy")), tree(&source));
                done += 1;
            }
            Some(1) => {
                assert!(errors.contains("E-IO") && errors.contains("unavailable"), "{errors}");
                said += 1;
            }
            // The timers of libp2p have a thread of their own, and no error for its absence.
            Some(101) if errors.contains("timer has gone away") => ended += 1,
            other => panic!("{number}: {other:?}, {errors}"),
        }
    }
    // Five threads write files: all of them can be done without.
    assert!(done > 5 && said >= 3 && ended <= 1, "{done} done, {said} said, {ended} ended");
}
