//! The history of a drive, as `log` tells it, and parts of files, as `cat` cuts them.

use std::fs;

use datnode_tests::{User, assert_exit, noise, write};
use serde_json::Value;

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
