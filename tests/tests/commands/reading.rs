//! What is told of a drive and of its folder, and of datnode itself.

use std::fs;
use std::process::Command;

use datnode_tests::{User, assert_exit, noise, write};
use serde_json::Value;

use super::{done, json, said, text};

#[test]
fn what_is_read_stays() {
    let user = User::new();
    let film = noise(1, 3 << 20);
    write(&user.path("flights"), b"film", &film);
    drop(user.share(&user.path("flights"), &[]));
    let reader = User::new();
    let sharer = user.share(&user.path("flights"), &[]);
    assert_exit(&reader.run(["clone", sharer.ticket(), "copy"]), 0);
    drop(sharer);
    for (user, folder) in [(&user, "flights"), (&reader, "copy")] {
        for _ in 0..2 {
            let read = user.run(["cat", &format!("{folder}/film")]);
            assert_exit(&read, 0);
            assert!(read.stdout == film);
        }
        let status = json(user, ["status", folder]);
        assert_eq!(status["here"], status["bytes"]);
    }
}

#[test]
fn stat_and_du_tell_sizes_and_what_is_here() {
    let user = User::new();
    write(&user.path("flights"), b"data/a.csv", &noise(1, 100_000));
    write(&user.path("flights"), b"data/deep/b", &noise(2, 50_000));
    write(&user.path("flights"), b"README.md", b"one");
    drop(user.share(&user.path("flights"), &[]));
    write(&user.path("flights"), b"README.md", b"three");
    let sharer = user.share(&user.path("flights"), &[]);
    let stat = json(&user, ["stat", "flights/README.md"]);
    assert_eq!(
        (&stat["size"], &stat["here"], &stat["earlier_versions"]),
        (&5.into(), &5.into(), &1.into())
    );
    assert_eq!(stat["content"], blake3::hash(b"three").to_hex().as_str());
    assert_eq!(json(&user, ["stat", "flights/data/a.csv"])["media_type"], "text/csv");
    let folder = json(&user, ["stat", "flights/data"]);
    assert_eq!(
        (&folder["type"], &folder["files"], &folder["size"]),
        (&"directory".into(), &2.into(), &150_000.into())
    );
    assert_eq!(json(&user, ["stat", "flights"])["files"], 3);
    assert_eq!(json(&user, ["stat", "flights", "--at", "1"])["size"], 150_003);
    assert_exit(&user.run(["stat", "flights/none"]), 4);
    let du = |args: &[&str]| -> Vec<(String, u64, u64)> {
        let lines = done(&user, ["--json", "du"].iter().chain(args));
        let row = |line: &str| {
            let row: Value = serde_json::from_str(line).unwrap();
            let number = |name: &str| row[name].as_u64().unwrap();
            (row["path"].as_str().unwrap().to_owned(), number("bytes"), number("here"))
        };
        lines.lines().map(row).collect()
    };
    let row = |path: &str, bytes| (path.to_owned(), bytes, bytes);
    assert_eq!(du(&["flights"]), [row("data", 150_000), row("", 150_005)]);
    assert_eq!(du(&["flights", "-s"]), [row("", 150_005)]);
    assert_eq!(
        du(&["flights/data", "--depth", "9"]),
        [row("data/deep", 50_000), row("data", 150_000)]
    );
    // Of a drive elsewhere nothing is here, and only the index is fetched.
    let reader = User::new();
    let remote = json(&reader, ["du", "-s", sharer.ticket()]);
    assert_eq!((&remote["bytes"], &remote["here"]), (&150_005.into(), &0.into()));
    let missing = |address: &str| done(&reader, ["ls", "-R", "--missing", address]);
    assert_eq!(missing(sharer.ticket()), "README.md\ndata/a.csv\ndata/deep/b\n");
    // A part of it.
    assert_exit(&reader.run(["clone", &format!("{}/data", sharer.ticket()), "part"]), 0);
    assert_eq!(missing("part"), "README.md\n");
    let listed = done(&reader, ["ls", "-l", "-R", "--sort", "size", "part"]);
    let row = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (name, here) = (words[words.len() - 1], words[words.len() - 3]);
        (name.to_owned(), here.to_owned())
    };
    let rows: Vec<(String, String)> = listed.lines().take(4).map(row).collect();
    let names: Vec<&str> = rows.iter().map(|(name, _)| &name[..]).collect();
    assert_eq!(names, ["name", "data/a.csv", "data/deep/b", "README.md"]);
    let here: Vec<&str> = rows[1..].iter().map(|(_, here)| &here[..]).collect();
    assert_eq!(here, ["100", "100", "0"]);
}

#[test]
fn status_tells_what_the_folder_has_that_the_drive_has_not() {
    let user = User::new();
    for name in [&b"kept"[..], b"changed", b"gone", b".hidden"] {
        write(&user.path("flights"), name, b"1");
    }
    drop(user.share(&user.path("flights"), &[]));
    assert!(done(&user, ["status", "flights"]).contains("\nworking    as in the drive\n"));
    write(&user.path("flights"), b"changed", b"22");
    write(&user.path("flights"), b"new", b"1");
    write(&user.path("flights"), b"new.tmp", b"1");
    fs::remove_file(user.path("flights/gone")).unwrap();
    done(&user, ["-C", "flights", "config", "set", "--drive", "share.ignore", "*.tmp"]);
    let status = json(&user, ["status", "flights"]);
    let working = &status["working"];
    assert_eq!(*working, serde_json::json!({ "added": 1, "changed": 1, "removed": 1 }));
    let told = done(&user, ["status", "flights"]);
    assert!(told.contains("\nworking    1 new, 1 changed, 1 removed since the last share\n"));
    // A bare drive has no folder to look at.
    done(&user, ["init", "--bare", "bare"]);
    assert!(json(&user, ["status", "bare"])["working"].is_null());
}

#[test]
fn ignored_names_the_rule() {
    let user = User::new();
    write(&user.path("flights"), b".datignore", b"*.tmp\nbuild/\n");
    write(&user.path("flights"), b"a.tmp", b"");
    write(&user.path("flights"), b"build/x", b"");
    write(&user.path("flights"), b"b", b"");
    drop(user.share(&user.path("flights"), &[]));
    assert!(Command::new("mkfifo").arg(user.path("flights/pipe")).status().unwrap().success());
    let told = done(&user, ["ignored", "flights/pipe"]);
    assert!(told.ends_with("left out: no file, folder or link\n"), "{told}");
    let told = done(
        &user,
        [
            "ignored",
            "flights/a.tmp",
            "flights/build/x",
            "flights/b",
            "flights/.datignore",
            "flights/.dat/key",
        ],
    );
    let lines: Vec<&str> = told.lines().map(|line| line.split_once("   ").unwrap().1).collect();
    assert_eq!(
        lines,
        [
            "left out: “*.tmp” in .datignore (a.tmp)",
            "left out: “build/” in .datignore (build)",
            "shared",
            "left out: hidden; --hidden takes it (.datignore)",
            "left out: the store itself",
        ]
    );
    assert_exit(&user.run(["ignored", "flights/none"]), 4);
    // .gitignore is heeded on request alone.
    write(&user.path("flights"), b".gitignore", b"b\n");
    let dry = |args: &[&str]| done(&user, ["share", "--dry-run", "flights"].iter().chain(args));
    assert_eq!(dry(&[]), "");
    assert_eq!(dry(&["--gitignore"]), "- b\n");
}

#[test]
fn ignored_looks_from_the_folder_around_what_is_elsewhere() {
    let user = User::new();
    write(&user.path("new"), b".datignore", b"*.tmp\nbuild/\n");
    write(&user.path("new"), b"a.tmp", b"");
    write(&user.path("new"), b"build/x", b"");
    write(&user.path("new"), b"b", b"");
    fs::create_dir(user.path("away")).unwrap();
    let full = user.path("new/a.tmp");
    for (at, path, answer) in [
        ("away", "../new/a.tmp", "left out: “*.tmp” in .datignore (a.tmp)"),
        ("away", full.to_str().unwrap(), "left out: “*.tmp” in .datignore (a.tmp)"),
        ("away", "../new/b", "shared"),
        ("new", "a.tmp", "left out: “*.tmp” in .datignore (a.tmp)"),
        ("new", "build/x", "left out: “build/” in .datignore (build)"),
        ("new", "../new/build/x", "left out: “build/” in .datignore (build)"),
        (".", "new/build/x", "left out: “build/” in new/.datignore (new/build)"),
    ] {
        let output = user.run(["-C", at, "ignored", path]);
        assert_exit(&output, 0);
        let told = text(&output);
        assert_eq!(told.trim_end().split_once("   ").unwrap().1, answer, "{at} {path}");
        assert!(said(&output).contains("in no drive yet: as if "), "{}", said(&output));
    }
}

#[test]
fn help_has_topics_completions_and_manual_pages() {
    let user = User::new();
    let help = done(&user, ["help"]);
    for topic in ["addresses", "settings", "exit-codes", "errors"] {
        assert!(help.contains(topic), "{topic} is listed");
        assert!(done(&user, ["help", topic]).lines().count() > 5);
    }
    let near = user.run(["help", "adresses"]);
    assert_exit(&near, 2);
    assert!(said(&near).contains("did you mean addresses?"), "{}", said(&near));
    for shell in ["bash", "zsh", "fish", "powershell", "nushell"] {
        let script = done(&user, ["completions", shell]);
        assert!(script.contains("clone") && script.contains("max-up"), "{shell}");
    }
    assert_exit(&user.run(["completions", "cmd"]), 2);
    done(&user, ["gen-man", "man"]);
    let page = fs::read_to_string(user.path("man/datnode-clone.1")).unwrap();
    assert!(page.contains(".SH") && page.contains("wait"), "{page}");
    assert!(user.path("man/datnode.1").exists());
}

#[test]
fn the_version_is_told_as_with_the_flag() {
    let user = User::new();
    let told = done(&user, ["version"]);
    assert_eq!(told, done(&user, ["--version"]));
    assert_eq!(
        format!("datnode {}\n", json(&user, ["version"])["version"].as_str().unwrap()),
        told
    );
    assert!(done(&user, ["help", "files"]).contains("List what is in a drive"));
}

#[test]
fn help_is_there_for_all_that_can_be_typed() {
    let user = User::new();
    fs::create_dir_all(user.path("")).unwrap();
    let help = |words: &str| done(&user, ["help"].into_iter().chain(words.split(' ')));
    assert!(help("share").contains("Usage: datnode share"));
    assert!(help("keys export").contains("Usage: datnode keys export"));
    // A word that is a command and a topic.
    let keys = help("keys");
    assert!(keys.contains("Usage: datnode keys") && keys.contains("node.key"), "{keys}");
    assert_exit(&user.run(["help", "keys", "none"]), 2);
}
