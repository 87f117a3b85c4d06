//! The history of a drive, as `log` and `changes` tell it, and parts of files, as `cat` cuts them.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use datnode_tests::process::{Running, wait_until};
use datnode_tests::{Sharer, User, assert_exit, noise, write};
use serde_json::Value;

/// Longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(60);

/// A drive with three changes: a first import, an edit with a new file, and 400 files in place of one.
fn shared() -> User {
    let user = User::new();
    let source = user.path("source");
    write(&source, b"README.md", b"first");
    write(&source, b"data/a.csv", b"1,2");
    drop(user.share(&source, &["-m", "one"]));
    write(&source, b"README.md", b"second");
    write(&source, b"data/b.csv", b"3,4,5");
    drop(user.share(&source, &["-m", "two"]));
    fs::remove_file(source.join("data/a.csv")).unwrap();
    for number in 0..400 {
        write(&source, format!("many/file {number:03} {}", "x".repeat(80)).as_bytes(), b"x");
    }
    drop(user.share(&source, &["-m", "three"]));
    user
}

/// The changes that `log` shows with these flags, in its order.
fn log(user: &User, flags: &[&str]) -> Vec<Value> {
    let output = user.run(["--json", "log", "source"].iter().chain(flags));
    assert_exit(&output, 0);
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn numbers(user: &User, flags: &[&str]) -> Vec<u64> {
    log(user, flags).iter().map(|change| change["change"].as_u64().unwrap()).collect()
}

#[test]
fn the_log_is_cut_turned_and_narrowed() {
    let user = shared();
    let table: &[(&[&str], &[u64])] = &[
        (&[], &[3, 2, 1]),
        (&["-n", "2"], &[3, 2]),
        (&["--limit", "2", "--reverse"], &[2, 3]),
        (&["--limit", "0"], &[]),
        (&["--path", "README.md"], &[2, 1]),
        (&["--path", "README.md", "-n", "1"], &[2]),
        (&["--path", "data", "--reverse"], &[1, 2, 3]),
        (&["--path", "data/a.csv"], &[3, 1]),
        (&["--path", "data/*.csv"], &[3, 2, 1]),
        (&["--path", "*.md"], &[2, 1]),
        (&["--path", "many/"], &[3]),
        (&["--path", "data/b.csv", "--path", "many"], &[3, 2]),
        (&["--path", "dat"], &[]),
        (&["--path", "nosuch"], &[]),
        (&["--since", "1"], &[3, 2]),
        (&["--since", "1", "-n", "1"], &[3]),
        (&["--since", "2", "--path", "README.md"], &[]),
        (&["--since", "latest"], &[]),
        (&["--since", "0", "--reverse"], &[1, 2, 3]),
    ];
    for (flags, changes) in table {
        assert_eq!(numbers(&user, flags), *changes, "{flags:?}");
    }
    let below = user.run(["--json", "log", "source/README.md"]);
    assert_eq!(String::from_utf8(below.stdout).unwrap().lines().count(), 2);
    assert_exit(&user.run(["log", "source", "--path", "[z-a]"]), 2);
}

#[test]
fn the_log_tells_what_each_change_did() {
    let user = shared();
    let stats: Vec<Value> =
        log(&user, &["--stat"]).iter().map(|change| change["stat"].clone()).collect();
    // Folders count: `many`, and `data`, whose time changes with what is in it. 400 long names do not fit a change's
    // own list, so that the third comes from comparing the versions.
    let counts =
        |stat: &Value| ["added", "changed", "removed"].map(|name| stat[name].as_u64().unwrap());
    assert_eq!(counts(&stats[2]), [3, 0, 0]);
    assert_eq!(counts(&stats[1]), [1, 2, 0]);
    assert_eq!(counts(&stats[0]), [401, 1, 1]);
    assert_eq!(stats[1]["bytes"], 11);
    assert_eq!(stats[0]["places"][0], serde_json::json!({ "path": "many/", "count": 401 }));

    let output = user.run(["log", "source", "--stat", "--limit", "1"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("● 3 · ") && text.contains("three"), "{text}");
    assert!(text.ends_with("\n      +401 ~1 -1   400 B     many/ 401   data/ 2\n"), "{text}");
    let narrowed = log(&user, &["--stat", "--path", "data/b.csv"]);
    assert_eq!((narrowed.len(), counts(&narrowed[0]["stat"])), (1, [1, 0, 0]));
}

/// The lines of `changes` with these flags, each as its change, its type and its key.
fn changes(user: &User, flags: &[&str]) -> Vec<(u64, String, String)> {
    let output = user.run(["changes", "source"].iter().chain(flags));
    assert_exit(&output, 0);
    let line = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| line[name].as_str().unwrap().to_owned();
        (line["change"].as_u64().unwrap(), text("type"), text("key"))
    };
    String::from_utf8(output.stdout).unwrap().lines().map(line).collect()
}

#[test]
fn changes_are_told_a_line_each_oldest_first() {
    let user = shared();
    let told = |flags: &[&str]| -> Vec<String> {
        let line = |(change, op, key)| format!("{change} {op} {key}");
        changes(&user, flags).into_iter().map(line).collect()
    };
    let first = ["1 put README.md", "1 put data", "1 put data/a.csv"];
    let second = ["2 put README.md", "2 put data", "2 put data/b.csv"];
    assert_eq!(told(&["--until", "1"]), first);
    assert_eq!(told(&["--since", "1", "--until", "2"]), second);
    assert_eq!(told(&["--until", "2"]), [first, second].concat());
    assert_eq!(told(&["--limit", "2"]), first[..2]);
    assert_eq!(told(&["--path", "README.md"]), [first[0], second[0]]);
    // 400 long names do not fit a change's own list: the versions are compared.
    let third = told(&["--since", "2"]);
    assert_eq!(third.len(), 403);
    assert!(third.contains(&"3 del data/a.csv".to_owned()) && third.contains(&"3 put many".into()));
    let output = user.run(["changes", "source", "--until", "1", "--values", "--path", "*.md"]);
    let line: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&line["size"], &line["value"]["kind"]), (&5.into(), &"file".into()));
    assert_eq!(line["value"]["content"], blake3::hash(b"first").to_string());
}

/// A command that watches, and what it printed so far.
struct Watching {
    running: Running,
    printed: PathBuf,
}

impl Watching {
    fn start(user: &User, line: &str) -> Self {
        let printed = user.path(format!("printed by {}", line.split(' ').next().unwrap()));
        let mut command = user.command(line.split(' '));
        let child = command.stdout(fs::File::create(&printed).unwrap()).spawn().unwrap();
        Self { running: Running::new(child), printed }
    }

    fn wait_for(&self, text: &str) {
        let has = || fs::read_to_string(&self.printed).unwrap().contains(text);
        wait_until(LIMIT, text, has);
    }

    /// Ends it, which is no failure.
    fn end(self) -> String {
        self.running.signal("-INT");
        assert_exit(&self.running.finish(LIMIT).output, 0);
        fs::read_to_string(self.printed).unwrap()
    }
}

#[test]
fn what_watches_shows_changes_as_they_come_and_ends_well() {
    let user = shared();
    let log = Watching::start(&user, "log source --live -n 1");
    log.wait_for("three");
    // Whoever watches leaves the store to those who write.
    let sharer = wait_to_share(&user, "four");
    log.wait_for("four");
    let reader = User::new();
    let line = format!("changes {} --live --since 3", sharer.ticket());
    let far = Watching::start(&reader, &line);
    far.wait_for("\"key\":\"note\"");
    let note = user.path("note");
    fs::write(&note, "five").unwrap();
    assert_exit(&user.run(["put", "note", "source/put", "-m", "five"]), 0);
    log.wait_for("five");
    far.wait_for("\"key\":\"put\"");
    let shown = log.end();
    let order = ["three", "four", "five"].map(|message| shown.find(message).unwrap());
    assert!(order.is_sorted(), "{shown}");
    assert!(!shown.contains("two"), "{shown}");
    let lines = far.end();
    assert!(
        lines.lines().all(|line| line.contains("\"change\":4") || line.contains("\"change\":5"))
    );
}

/// Shares a new note, as soon as the store is free.
fn wait_to_share(user: &User, message: &str) -> Sharer {
    write(&user.path("source"), b"note", message.as_bytes());
    wait_until(LIMIT, "a store that is free", || {
        user.run(["share", "source", "--dry-run"]).status.success()
            && user.run(["verify", "--quick", "source"]).status.success()
    });
    user.share(&user.path("source"), &["-m", message])
}

#[test]
fn an_offset_and_a_length_cut_like_a_range() {
    let user = User::new();
    let bytes = noise(4, 300_000);
    write(&user.path("source"), b"film", &bytes);
    let _sharer = user.share(&user.path("source"), &[]);
    let size = bytes.len();
    let table: &[(&[&str], std::ops::Range<usize>)] = &[
        (&[], 0..size),
        (&["--offset", "0", "--length", "1"], 0..1),
        (&["--offset", "100000", "--length", "70000"], 100_000..170_000),
        (&["--offset", "64KiB", "--length", "1KiB"], 65_536..66_560),
        (&["--offset", "299999"], 299_999..size),
        (&["--length", "10"], 0..10),
        (&["--length", "9999999"], 0..size),
        (&["--offset", "5", "--length", "0"], 0..0),
        (&["--range", "5-9"], 5..10),
    ];
    for (flags, right) in table {
        let output = user.run(["cat", "source/film"].iter().chain(*flags));
        assert_exit(&output, 0);
        assert!(output.stdout == bytes[right.clone()], "{flags:?}");
    }
    for flags in
        [&["--offset", "300000"][..], &["--offset", "-1"], &["--range", "0-1", "--offset", "0"]]
    {
        assert_exit(&user.run(["cat", "source/film"].iter().chain(flags)), 2);
    }
}
