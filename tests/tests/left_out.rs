//! What a share would take in, and what it leaves out: `--dry-run`, `--show-ignored`, and the counts of the summary.

use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use datnode_tests::{User, assert_exit, tree, write};
use serde_json::{Value, json};

/// The lines of JSON that a command prints.
fn records(user: &User, args: &[&str]) -> Vec<Value> {
    let output = user.run(["--json"].iter().chain(args));
    assert_exit(&output, 0);
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The numbers of a record under these names.
fn numbers<const N: usize>(record: &Value, names: [&str; N]) -> [u64; N] {
    names.map(|name| record[name].as_u64().unwrap_or_else(|| panic!("no {name} in {record}")))
}

const DONE: [&str; 3] = ["added", "changed", "removed"];

#[test]
fn a_dry_run_of_a_new_folder_writes_nothing() {
    let user = User::new();
    let source = user.path("source");
    write(&source, b"a", b"1");
    write(&source, b"data/b.csv", b"22");
    let before = tree(&source);
    let output = user.run(["share", "source", "--dry-run"]);
    assert_exit(&output, 0);
    assert_eq!(output.stdout, "+ a   1 B\n+ data/\n+ data/b.csv   2 B\n".as_bytes());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.ends_with("3 new, 0 changed, 0 removed; a dry run, nothing was written\n"),
        "{said}"
    );
    assert_eq!(tree(&source), before);
    assert!(!source.join(".dat").exists());
    assert_exit(&user.run(["log", "source"]), 10);
}

#[test]
fn a_dry_run_foretells_what_the_share_does() {
    let user = User::new();
    let source = user.path("source");
    for name in ["kept", "edited", "removed", "folder/one", "folder/two"] {
        write(&source, name.as_bytes(), b"first");
    }
    std::os::unix::fs::symlink("kept", source.join("link")).unwrap();
    drop(user.share(&source, &[]));
    write(&source, b"edited", b"second, and longer");
    write(&source, b"new/three", b"3");
    fs::remove_file(source.join("removed")).unwrap();
    fs::remove_file(source.join("link")).unwrap();
    std::os::unix::fs::symlink("edited", source.join("link")).unwrap();
    let foretold = records(&user, &["share", "source", "--dry-run"]);
    let put = |path: &str, new: bool, size: Option<u64>| json!({ "type": "put", "path": path, "new": new, "size": size });
    let (done, listed) = foretold.split_last().unwrap();
    assert_eq!(
        listed,
        [
            put("edited", false, Some(18)),
            put("link", false, None),
            put("new", true, None),
            put("new/three", true, Some(1)),
            json!({ "type": "del", "path": "removed", "new": false, "size": null }),
        ]
    );
    assert_eq!((&done["type"], &done["dry_run"]), (&"done".into(), &true.into()));
    assert_eq!(numbers(done, DONE), [2, 2, 1]);

    // Also while the drive is in use: the owner of the store is asked.
    let sharer = user.share(&source, &["--no-import"]);
    assert_eq!(records(&user, &["share", "source", "--dry-run"]), foretold);
    drop(sharer);
    let sharer = user.share(&source, &[]);
    assert_eq!((numbers(&sharer.ready, DONE), &sharer.ready["change"]), ([2, 2, 1], &2.into()));
    drop(sharer);
    assert_eq!(numbers(&records(&user, &["share", "source", "--dry-run"])[0], DONE), [0, 0, 0]);
}

#[test]
fn an_edit_that_no_stat_shows_is_foretold_too() {
    let user = User::new();
    let source = user.path("source");
    // A time after the import: whoever trusts it misses edits that leave size and time as they were.
    let time = SystemTime::now() + Duration::from_secs(3_600);
    let edit = |bytes: &[u8]| {
        write(&source, b"a", bytes);
        File::options().write(true).open(source.join("a")).unwrap().set_modified(time).unwrap();
    };
    edit(b"first");
    drop(user.share(&source, &[]));
    assert_eq!(user.run(["share", "source", "--dry-run"]).stdout, b"");
    edit(b"other");
    assert_eq!(user.run(["share", "source", "--dry-run"]).stdout, b"~ a   5 B\n");
    assert_eq!(numbers(&user.share(&source, &[]).ready, DONE), [0, 1, 0]);
}

#[test]
fn what_is_left_out_is_counted_and_listed_with_the_reason() {
    let user = User::new();
    let source = user.path("source");
    for name in [
        "kept",
        ".hidden",
        ".git/config",
        ".git/HEAD",
        "sub/.deep",
        "sub/x.tmp",
        "sub/kept.tmp",
        "built/one",
        "built/two",
        "notes.log",
        "sub/notes.log",
    ] {
        write(&source, name.as_bytes(), b"1");
    }
    write(&source, b".datignore", b"*.tmp\n/built/\n");
    write(&source, b"sub/.datignore", b"!kept.tmp\n");
    let flags = ["share", "source", "--ignore", "*.log", "--show-ignored", "--dry-run"];
    let listed: Vec<(String, String)> = records(&user, &flags)
        .iter()
        .filter(|record| record["type"] == "left_out")
        .map(|record| ["path", "why"].map(|name| record[name].as_str().unwrap().to_owned()).into())
        .collect();
    let right = [
        (".datignore", "hidden"),
        (".git", "hidden"),
        (".hidden", "hidden"),
        ("built", "datignore"),
        ("notes.log", "ignore"),
        ("sub/.datignore", "hidden"),
        ("sub/.deep", "hidden"),
        ("sub/notes.log", "ignore"),
        ("sub/x.tmp", "datignore"),
    ];
    assert_eq!(listed, right.map(|(path, why)| (path.to_owned(), why.to_owned())));

    let output = user.run(flags);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("! built   ignored by .datignore\n! notes.log   ignored by --ignore\n"),
        "{text}"
    );
    let said = String::from_utf8(output.stderr).unwrap();
    let summary = "2 ignored by .datignore, 2 ignored by --ignore, 5 hidden (--show-ignored)";
    assert!(said.contains(summary), "{said}");

    let table: &[(&[&str], [u64; 3])] = &[
        (&[], [5, 2, 4]),
        (&["--ignore", "*.log"], [5, 4, 2]),
        (&["--no-ignore"], [5, 0, 7]),
        (&["--hidden", "--no-ignore"], [0, 0, 13]),
    ];
    for (flags, right) in table {
        let sharer = user.share(&source, flags);
        assert_eq!(numbers(&sharer.ready, ["hidden", "ignored", "files"]), *right, "{flags:?}");
    }
}
