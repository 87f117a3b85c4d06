//! What differs between versions, drives and folders, as `diff` tells it.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use datnode_tests::{User, assert_exit, noise, write};
use serde_json::{Value, json};

/// A drive with three changes.
fn shared() -> User {
    let user = User::new();
    let source = user.path("source");
    write(&source, b"README.md", b"hello\nworld\n");
    write(&source, b"film", &noise(1, 200_000));
    write(&source, b"data/a.csv", b"1,2\n");
    symlink("film", source.join("link")).unwrap();
    drop(user.share(&source, &["-m", "one"]));
    write(&source, b"README.md", b"hello\nthere\n");
    write(&source, b"data/b.csv", b"3,4,5\n");
    write(&source, b"data/film", &noise(1, 200_000));
    drop(user.share(&source, &["-m", "two"]));
    fs::rename(source.join("film"), source.join("movie")).unwrap();
    fs::remove_file(source.join("link")).unwrap();
    symlink("movie", source.join("link")).unwrap();
    fs::set_permissions(source.join("data/a.csv"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::remove_file(source.join("data/b.csv")).unwrap();
    drop(user.share(&source, &["-m", "three"]));
    user
}

/// Returns the lines that a command prints, which ends so; blanks are one.
fn lines(user: &User, exit: i32, words: &[&str]) -> Vec<String> {
    let output = user.run(words);
    assert_exit(&output, exit);
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

fn records(user: &User, words: &[&str]) -> Vec<Value> {
    let lines = lines(user, 0, &[&["--json"], words].concat());
    lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn two_versions_are_compared_both_ways() {
    let user = shared();
    assert_eq!(
        lines(&user, 0, &["diff", "source+1", "2"]),
        [
            "~ README.md 12 B → 12 B",
            "+ data/b.csv 6 B",
            "+ data/film 195 KiB",
            // What is a copy of something is here already.
            "3 files differ, 18 B would be transferred",
        ]
    );
    assert_eq!(
        lines(&user, 0, &["diff", "source+2", "source"]),
        [
            "- film 195 KiB",
            "~ link link to film → link to movie",
            "+ movie 195 KiB",
            "~ data/a.csv mode 0644 → 0600",
            "- data/b.csv 6 B",
            "5 files differ, 0 B would be transferred",
        ]
    );
    let back = lines(&user, 0, &["diff", "source+3", "1"]);
    assert_eq!(back.last().unwrap(), "6 files differ, 12 B would be transferred");
    assert_eq!(lines(&user, 0, &["diff", "source+2", "2"]), ["nothing differs"]);
    let narrow = ["diff", "source+1", "3", "--path", "*.csv", "--path", "film"];
    assert_eq!(lines(&user, 0, &narrow)[..2], ["- film 195 KiB", "~ data/a.csv mode 0644 → 0600"]);
    assert_eq!(
        lines(&user, 0, &["diff", "source+1", "3", "--stat"]),
        [
            "+2 ~3 -1 391 KiB data/ 2 README.md 1 film 1",
            "6 files differ, 12 B would be transferred"
        ]
    );
}

#[test]
fn a_folder_is_compared_with_a_version_of_its_drive() {
    let user = shared();
    let source = user.path("source");
    assert_eq!(lines(&user, 0, &["diff", "source"]), ["nothing differs"]);
    write(&source, b"README.md", b"hello\nagain and again\n");
    write(&source, b"new/file", b"new");
    fs::remove_file(source.join("movie")).unwrap();
    let shown = [
        "~ README.md 12 B → 22 B",
        "- movie 195 KiB",
        "+ new/",
        "+ new/file 3 B",
        "3 files and 1 folder differ, up to 25 B would be transferred",
    ];
    assert_eq!(lines(&user, 0, &["diff", "source+3"]), shown);
    let inside = user.command(["diff", "latest"]).current_dir(&source).output().unwrap();
    assert_eq!(String::from_utf8(inside.stdout).unwrap().lines().count(), shown.len());
    let old = lines(&user, 0, &["diff", "source+1", "--path", "data"]);
    assert_eq!(old[..2], ["~ data/a.csv mode 0644 → 0600", "+ data/film 195 KiB"]);
    // A version alone as the new side is one.
    assert_eq!(lines(&user, 0, &["diff", "source+3", "latest"]), ["nothing differs"]);
}

#[test]
fn drives_of_others_and_two_drives_are_compared() {
    let user = shared();
    let sharer = user.share(&user.path("source"), &["--no-import"]);
    let (ticket, reader) = (sharer.ticket(), User::new());
    let far = lines(&reader, 0, &["diff", &format!("{ticket}+1"), "3"]);
    assert_eq!(far, lines(&user, 0, &["diff", "source+1", "3"]));
    // Without a folder of its own the latest is the other side.
    assert_eq!(lines(&reader, 0, &["diff", &format!("{ticket}+1")]), far);
    // A copy under a key of its own is equal; the times of its folders are its own.
    write(&reader.path("copy"), b"unlike", b"else");
    assert_exit(&reader.run(["clone", ticket, "clone"]), 0);
    for name in ["README.md", "movie", "link", "data"] {
        let mut copy = std::process::Command::new("cp");
        let (from, to) = (reader.path("clone").join(name), reader.path("copy"));
        assert!(copy.arg("-a").args([from, to]).status().unwrap().success());
    }
    drop(reader.share(&reader.path("copy"), &[]));
    assert_eq!(
        lines(&reader, 0, &["diff", ticket, "copy"]),
        ["+ unlike 4 B", "1 file differs, 4 B would be transferred"]
    );
}

#[test]
fn a_clone_has_what_it_lacks_of_the_past_fetched() {
    let user = User::new();
    let source = user.path("source");
    for number in 0..2_000 {
        write(&source, format!("many/{number:04} {}", "x".repeat(100)).as_bytes(), b"x");
    }
    drop(user.share(&source, &[]));
    write(&source, format!("many/0700 {}", "x".repeat(100)).as_bytes(), b"xyz");
    fs::remove_file(source.join(format!("many/1900 {}", "x".repeat(100)))).unwrap();
    drop(user.share(&source, &[]));
    let sharer = user.share(&source, &["--no-import"]);
    let reader = User::new();
    assert_exit(&reader.run(["clone", sharer.ticket(), "copy"]), 0);
    // Names of old versions are not fetched with a clone.
    assert_exit(&reader.run(["diff", "copy+1", "latest", "--wait", "200ms"]), 5);
    let peer = ["--peer", sharer.address()];
    let found = lines(&reader, 0, &[&["diff", "copy+1", "latest"][..], &peer].concat());
    assert_eq!(found.len(), 3, "{found:?}");
    assert_eq!(found[2], "2 files differ, 3 B would be transferred");
    let changes = lines(&reader, 0, &[&["changes", "copy"][..], &peer].concat());
    assert_eq!(changes.len(), 2_001 + 3);
}

#[test]
fn lines_of_texts_are_compared() {
    let user = shared();
    let text = |words: &[&str]| String::from_utf8(user.run(words).stdout).unwrap();
    let shown = text(&["diff", "source+1", "2", "--text"]);
    let patch = "--- a/README.md\n+++ b/README.md\n@@ -1,2 +1,2 @@\n hello\n-world\n+there\n";
    assert!(shown.contains(patch), "{shown}");
    assert!(shown.contains("--- /dev/null\n+++ b/data/b.csv\n@@ -0,0 +1 @@\n+3,4,5\n"), "{shown}");
    assert!(shown.contains("(not text)"), "{shown}");
    assert!(!text(&["diff", "source+2", "3", "--text", "--path", "data/a.csv"]).contains("---"));
    // What is in a file does nothing to a terminal.
    write(&user.path("source"), b"README.md", b"hello\n\x1b[2Jthere\tend\r\n");
    let shown = text(&["diff", "source", "--text"]);
    assert!(shown.contains("+\\x1b[2Jthere\tend"), "{shown}");
    assert!(shown.chars().all(|char| !char.is_control() || matches!(char, '\n' | '\t')));
}

#[test]
fn programs_are_told_what_each_side_has() {
    let user = shared();
    let told = records(&user, &["diff", "source+1", "3"]);
    let keys: Vec<_> = told.iter().map(|one| one["key"].as_str().unwrap()).collect();
    // Folders whose time alone differs are for programs only.
    let right = ["README.md", "data", "film", "link", "movie", "data/a.csv", "data/film"];
    assert_eq!(keys, right);
    let versions: Vec<_> = records(&user, &["log", "source", "--reverse"]);
    let forks = json!([versions[0]["version"], versions[2]["version"]]);
    assert!(told.iter().all(|one| one["forks"] == forks));
    let [old, new] = [0, 1].map(|side| &told[0]["versions"][side]);
    assert_eq!((&old["type"], &old["key"]), (&"put".into(), &"README.md".into()));
    assert_eq!((&old["change"], &new["change"], &new["size"]), (&1.into(), &2.into(), &12.into()));
    let hash = blake3::hash(b"hello\nthere\n").to_string();
    assert_eq!(new["value"]["content"], hash);
    assert_eq!(told[2]["versions"][1], Value::Null);
    assert_eq!(told[4]["versions"][0], Value::Null);
    let stat = records(&user, &["diff", "source+1", "3", "--stat"]);
    assert_eq!((&stat[0]["type"], &stat[0]["transfer"]), (&"diff_stat".into(), &12.into()));
    // Of a folder no hash is known, and no version.
    write(&user.path("source"), b"README.md", b"unread");
    let told = records(&user, &["diff", "source", "--path", "README.md"]);
    assert_eq!(told[0]["forks"][1], Value::Null);
    assert_eq!(told[0]["versions"][1]["value"].get("chunks"), None);
}

#[test]
fn the_exit_code_tells_if_it_is_asked_for() {
    let user = shared();
    for (exit, words) in [
        (0, &["diff", "source+1", "3"][..]),
        (1, &["diff", "source+1", "3", "--exit-code"]),
        (1, &["diff", "source+1", "3", "--exit-code", "--json"]),
        (0, &["diff", "source+3", "latest", "--exit-code"]),
        (0, &["diff", "source+1", "3", "--exit-code", "--path", "nothing"]),
        (4, &["diff", "source+1", "9"]),
        (4, &["diff", "source+1/nothing", "3"]),
        (2, &["diff", "source+1/data", "source+3/README.md"]),
        (2, &["diff", "source+1", "3", "--path", "[z-a]"]),
        (2, &["diff", "source+1", "3", "--text", "--stat"]),
        (2, &["diff", "source+1", "3", "--text", "--json"]),
        (2, &["diff"]),
        (10, &["diff", "1", "2"]),
    ] {
        let output = user.run(words);
        assert_exit(&output, exit);
        assert!(exit > 1 || output.stderr.is_empty(), "{words:?}");
    }
}
