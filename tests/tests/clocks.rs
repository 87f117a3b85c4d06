//! Clocks that are wrong: decades early or late, fast, or set to another time from one command to the next. Bytes are right all the same.
//!
//! The time of the day only: how much time passes is measured by a clock that nobody sets.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use datnode_tests::process::{comes, finish};
use datnode_tests::{Sharer, User, assert_exit, noise, tree, write};

/// Far longer than anything here takes.
const HANGS: Duration = Duration::from_secs(60);
/// The beginning of time, as a computer without a battery has it.
const DAWN: &str = "@1970-01-01 00:00:00";
/// The first second in which others' certificates are valid.
const VALID: &str = "@1975-01-01 00:00:00";
/// What is said of a clock that is earlier.
const TOO_EARLY: &str = "no peer can be reached while the clock of this computer is before 1975";
/// Times as `faketime` takes them: of the first year with connections; the last that 32 bits hold, with and without a sign; beyond;
/// when clocks go back an hour; and a hundred times too fast.
const TIMES: [&str; 6] = [
    VALID,
    "@2038-01-19 03:14:05",
    "@2106-02-07 06:28:13",
    "@2500-01-01 00:00:00",
    "@2026-10-25 00:59:58",
    "+0 x100",
];

/// Returns what has to be loaded before a program for it to be another time there; says so if that is not to be had.
#[expect(clippy::print_stderr, reason = "a test that cannot run here says so")]
fn library() -> Option<String> {
    let output =
        Command::new("faketime").args(["-m", "-f", DAWN, "printenv", "LD_PRELOAD"]).output();
    let library = output.ok().and_then(|output| String::from_utf8(output.stdout).ok());
    let library = library.map(|library| library.trim().to_owned());
    if library.is_none() {
        eprintln!("skipped: faketime is not here");
    }
    library
}

/// Users for whom it is another time.
struct Elsewhen(String);

impl Elsewhen {
    fn command(&self, user: &User, time: &str, args: &[&str]) -> Command {
        let mut command = user.command(args);
        command
            .env("LD_PRELOAD", &self.0)
            .env("FAKETIME", time)
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("NO_FAKE_STAT", "1")
            .env("FAKE_UTIME", "0")
            .env("TZ", "UTC");
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command, and returns all that it said.
    fn run(&self, user: &User, time: &str, args: &[&str], exit: i32) -> String {
        let output = finish(self.command(user, time, args).spawn().unwrap(), HANGS).output;
        assert_exit(&output, exit);
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    }

    fn share(&self, user: &User, time: &str) -> Sharer {
        Sharer::start(self.command(user, time, &["--json", "share", "source"]))
    }
}

#[test]
fn whatever_time_it_is_on_either_side_what_was_written_arrives_in_the_order_of_its_writing() {
    let Some(elsewhen) = library().map(Elsewhen) else { return };
    for (number, time) in TIMES.iter().enumerate() {
        let (writer, reader) = (User::new(), User::new());
        let source = writer.path("source");
        write(&source, b"folder/other", b"of any time");
        let theirs = TIMES[(number + 1) % TIMES.len()];
        let next = TIMES[(number + 2) % TIMES.len()];
        // What is written later is the later version, however early it is then.
        for (version, time) in [(1, DAWN), (2, *time), (3, next)] {
            write(&source, b"file", &noise(version, 300_000));
            let sharer = elsewhen.share(&writer, time);
            assert_eq!(sharer.ready["change"], version, "{time}");
            if time != DAWN {
                elsewhen.run(&reader, theirs, &["clone", sharer.ticket(), "copy"], 0);
                assert_eq!(tree(&reader.path("copy")), tree(&source), "{time} and {theirs}");
            }
        }
        for args in [["status", "copy"], ["verify", "copy"], ["ls", "copy+2"]] {
            elsewhen.run(&reader, DAWN, &args, 0);
        }
        let log = elsewhen.run(&reader, DAWN, &["log", "copy"], 0);
        let place = |version: &str| log.find(version).unwrap_or_else(|| panic!("{log}"));
        assert!(place("● 3") < place("● 2") && place("● 2") < place("● 1"), "{log}");
        assert!(log.contains("1970-01-01T00:00"), "{log}");
    }
}

/// Certificates begin in 1975, so that nobody is connected before; a computer for which it is earlier says that its clock is why.
#[test]
fn a_clock_that_is_too_early_for_connections_is_said_to_be() {
    let Some(elsewhen) = library().map(Elsewhen) else { return };
    let (writer, reader) = (User::new(), User::new());
    write(&writer.path("source"), b"file", b"some bytes");
    let sharer = writer.share(&writer.path("source"), &[]);
    fs::create_dir_all(reader.path("")).unwrap();
    let clone = ["clone", sharer.ticket(), "copy", "--wait", "1s"];
    for (args, exit) in [(&clone[..], 5), (&["doctor"], 5), (&["doctor", "--offline"], 0)] {
        let said = elsewhen.run(&reader, DAWN, args, exit);
        assert_eq!(said.contains(TOO_EARLY), exit == 5, "{args:?}: {said}");
        assert_eq!(said.contains("set the clock"), exit == 5, "{args:?}: {said}");
        let said = elsewhen.run(&reader, VALID, args, 0);
        assert!(!said.contains("before 1975"), "{args:?}: {said}");
    }
}

/// Nobody comes to whoever serves, who would not know why; everybody does once the clock is set.
#[test]
fn who_serves_is_warned_of_a_clock_that_is_too_early_and_found_once_it_is_set() {
    let Some(elsewhen) = library().map(Elsewhen) else { return };
    let (writer, reader) = (User::new(), User::new());
    write(&writer.path("source"), b"file", b"some bytes");
    let clock = writer.path("clock");
    fs::write(&clock, DAWN).unwrap();
    let mut command = elsewhen.command(&writer, DAWN, &["--json", "share", "source"]);
    command.env_remove("FAKETIME").env("FAKETIME_TIMESTAMP_FILE", &clock);
    command.env("FAKETIME_NO_CACHE", "1");
    let sharer = Sharer::start(command);
    let clone = ["clone", sharer.ticket(), "copy", "--wait", "1s"];
    assert_exit(&reader.run(clone), 5);
    fs::write(&clock, "+0").unwrap();
    assert!(comes(HANGS, || reader.run(clone).status.success()));

    let link = sharer.link().to_owned();
    assert!(warnings(sharer).contains(TOO_EARLY));
    for command in [["mirror", &link], ["node", &link]] {
        let serve = |time| {
            let args = ["--json", command[0], command[1], "--to", "drives"];
            warnings(Sharer::start(elsewhen.command(&reader, time, &args)))
        };
        let said = serve(DAWN);
        assert_eq!(said.matches(TOO_EARLY).count(), 1, "{command:?}: {said}");
        assert_eq!(serve(VALID), "", "{command:?}");
    }
}

/// Ends who serves, and returns what it warned of.
fn warnings(mut serving: Sharer) -> String {
    serving.child.kill().unwrap();
    std::io::read_to_string(serving.child.stderr.take().unwrap()).unwrap()
}
