//! Tags: names for versions, set here or through a share, and a version wherever one is understood.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::process::{Output, Stdio};
use std::time::Duration;

use datnode_drive::{DrivePath, TagName};
use datnode_tests::hostile::forge::Forge;
use datnode_tests::process::{Running, wait_until};
use datnode_tests::{User, assert_exit, tree, write};
use serde_json::{Value, json};

/// Longer than anything here takes.
const HANGS: Duration = Duration::from_secs(60);

/// A drive with two changes: `a` is written, and written again.
fn shared() -> User {
    let user = User::new();
    write(&user.path("source"), b"a", b"one");
    drop(user.share(&user.path("source"), &[]));
    write(&user.path("source"), b"a", b"second");
    drop(user.share(&user.path("source"), &[]));
    user
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn text(output: Output) -> String {
    assert_exit(&output, 0);
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a command that succeeds, and returns the document that it prints.
fn document(user: &User, line: &str) -> Value {
    let output = user.run(["--json"].into_iter().chain(line.split(' ')));
    serde_json::from_str(&text(output)).unwrap()
}

/// The tags that somebody sees, with the numbers of their versions.
fn tags(user: &User, line: &str) -> BTreeMap<String, u64> {
    let listed = document(user, &format!("tag --list {line}"));
    let tag =
        |tag: &Value| (tag["name"].as_str().unwrap().to_owned(), tag["change"].as_u64().unwrap());
    listed["tags"].as_array().unwrap().iter().map(tag).collect()
}

fn numbers(all: &[(&str, u64)]) -> BTreeMap<String, u64> {
    all.iter().map(|&(name, number)| (name.to_owned(), number)).collect()
}

/// Runs a command that fails.
fn refused(user: &User, line: &str, exit: i32, with: &str) {
    let output = user.run(line.split(' '));
    assert_eq!(output.status.code(), Some(exit), "{line}: {}", said(&output));
    assert!(said(&output).contains(with), "{line}: {}", said(&output));
}

#[test]
fn tags_are_set_listed_moved_and_deleted() {
    let user = shared();
    assert_eq!(tags(&user, "source"), numbers(&[]));
    assert_eq!(text(user.run(["tag", "--list", "source"])), "");
    let done = document(&user, "tag v1 source+1 -m published");
    assert_eq!(
        (&done["type"], &done["change"], &done["changed"]),
        (&json!("done"), &json!(3), &json!(true))
    );
    assert_eq!((&done["tag"], &done["of"]["change"]), (&json!("v1"), &json!(1)));
    // Without a version it is the latest that changed files, however many tags were set since.
    for (line, number, changed) in [
        ("tag v2 source", 2, true),
        ("tag newest source", 2, true),
        ("tag newest source", 2, false),
        ("tag last source+latest", 5, true),
        ("tag again source+v1", 1, true),
        ("tag then source+@2026-01-01 --force", 0, true),
    ] {
        let done = document(&user, line);
        assert_eq!(
            (&done["of"]["change"], &done["changed"]),
            (&json!(number), &json!(changed)),
            "{line}"
        );
    }
    refused(&user, "tag v1 source", 7, "E-CONFLICT");
    assert_eq!(document(&user, "tag v1 source --force")["of"]["change"], 2);
    refused(&user, "tag v3 source --if-version 1", 7, "E-CONFLICT");
    assert_exit(&user.run(["tag", "v3", "source", "--if-version", "latest"]), 0);
    let all =
        [("again", 1), ("last", 5), ("newest", 2), ("then", 0), ("v1", 2), ("v2", 2), ("v3", 2)];
    assert_eq!(tags(&user, "source"), numbers(&all));
    assert_eq!(document(&user, "tag again source --delete")["of"], Value::Null);
    refused(&user, "tag again source --delete", 4, "there is no tag again");
    refused(&user, "tag newst source --delete", 4, "did you mean newest?");
    refused(&user, "tag x source+12", 4, "there is no version 12");
    refused(&user, "tag x source+nosuch", 4, "there is no tag nosuch");
    refused(&user, "tag x nowhere/at/all", 2, "E-KEY");
    refused(&user, "tag x source/a", 2, "as a whole");
    refused(&user, "tag --list source/a", 2, "as a whole");
    // In the folder, words alone are of its drive.
    let here = |args: &[&str]| {
        let mut command = user.command(args);
        text(command.current_dir(user.path("source")).output().unwrap())
    };
    here(&["tag", "inside", "1"]);
    let lines = here(&["tag"]);
    assert!(lines.starts_with("inside                1 · "), "{lines}");
    assert_eq!(lines.lines().count(), 7, "{lines}");
}

#[test]
fn what_else_names_a_version_or_a_drive_is_no_name_of_a_tag() {
    let user = shared();
    let before = text(user.run(["log", "source"]));
    for name in ["1042", "beef", "latest", "LATEST", "@noon", "a+b", ".x", "a b", "a\n", ""] {
        let output = user.run(["tag", name, "source"]);
        assert_eq!(output.status.code(), Some(2), "{name}: {}", said(&output));
        assert!(said(&output).contains("E-USAGE"), "{name}: {}", said(&output));
    }
    refused(&user, "tag ./source", 2, "datnode tag --list ./source");
    let link = document(&user, "link source")["drive"]["link"].as_str().unwrap().to_owned();
    refused(&user, &format!("tag {link}"), 2, &format!("datnode tag --list {link}"));
    // A secret is told of, and not shown.
    let secret = document(&user, "keys export source --plain");
    let secret = secret["secret"].as_str().unwrap_or_default();
    assert!(secret.starts_with("datsec1"), "{secret}");
    for line in
        [format!("tag {secret}"), format!("tag {secret}/x"), format!("ls source --at {secret}")]
    {
        let output = user.run(line.split(' '));
        assert_exit(&output, 2);
        assert!(said(&output).to_lowercase().contains("secret"), "{}", said(&output));
        assert!(!said(&output).contains(&secret[..20]), "{}", said(&output));
    }
    assert_eq!(text(user.run(["log", "source"])), before, "nothing was changed");
}

#[test]
fn a_tag_is_a_version_wherever_one_is_understood() {
    let user = shared();
    document(&user, "tag v1 source+1");
    document(&user, "tag v2 source+2");
    assert_eq!(text(user.run(["cat", "source+v1/a"])), "one");
    assert_eq!(text(user.run(["cat", "source/a", "--at", "v2"])), "second");
    let same = [
        ("ls -l source+1", "ls -l source+v1"),
        ("ls --at 1 source", "ls --at v1 source"),
        ("stat source+1/a", "stat source+v1/a"),
        ("du source+1", "du source+v1"),
        ("link source --at 1", "link source --at v1"),
        ("diff source+1 2", "diff source+v1 v2"),
        ("diff source+1 source+2", "diff source+v1 source+v2"),
        ("log source --since 1", "log source --since v1"),
        ("changes source --since 1 --until 2", "changes source --since v1 --until v2"),
    ];
    for (number, tag) in same {
        let shown = [number, tag].map(|line| text(user.run(line.split(' '))));
        assert_eq!(shown[0], shown[1], "{tag}");
        assert!(!shown[0].is_empty(), "{number}");
    }
    // Two words, in the folder: a tag is one if it is no folder there.
    let here = |args: &[&str]| {
        let mut command = user.command(args);
        command.current_dir(user.path("source")).output().unwrap()
    };
    let right = text(user.run(["diff", "source+1", "2"]));
    assert_eq!(text(here(&["diff", "v1", "v2"])), right);
    fs::create_dir(user.path("source/v1")).unwrap();
    assert!(said(&here(&["diff", "v1", "v2"])).contains("there is no v1 in this version"));
    assert_eq!(text(here(&["diff", ".+v1", "v2"])), right);
    assert_exit(&user.run(["checkout", "v1", "source", "--into", "old"]), 0);
    assert_eq!(fs::read(user.path("old/a")).unwrap(), b"one");
    refused(&user, "rm source/a --if-version v1", 7, "the drive is at version 4");
    refused(&user, "ls source+v3", 4, "did you mean v1 or v2?");
    refused(&user, "ls source+nothing-like-it", 4, "E-NOTFOUND");
}

#[test]
fn the_history_tells_what_became_of_tags() {
    let user = shared();
    document(&user, "tag v1 source+1");
    document(&user, "tag v1 source+2 --force");
    document(&user, "tag --delete v1 source");
    let id = |number: u64| {
        let log = text(user.run(["--json", "log", "source"]));
        let line = |line: &str| serde_json::from_str::<Value>(line).unwrap();
        let found = log.lines().map(line).find(|line| line["change"] == number);
        found.unwrap()["version"].as_str().unwrap().to_owned()
    };
    let told = text(user.run(["log", "source", "--reverse"]));
    let tags: Vec<&str> =
        told.lines().filter(|line| line.contains("tag ")).map(str::trim).collect();
    let right =
        [(1, id(1)), (2, id(2))].map(|(number, id)| format!("tag v1 -> {number} · {}", &id[..6]));
    assert_eq!(tags, [&right[0], &right[1], "tag v1 deleted"]);
    let log = text(user.run(["--json", "log", "source", "--stat"]));
    let logged: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |number: u64| json!({ "change": number, "version": id(number) });
    assert_eq!(logged[0]["tags"], json!([{ "tag": "v1", "of": null }]));
    assert_eq!(logged[1]["tags"], json!([{ "tag": "v1", "of": of(2) }]));
    assert_eq!(
        (&logged[1]["put"], &logged[1]["files"]),
        (&json!(0), &json!(1)),
        "no file is touched"
    );
    assert_eq!(logged[3].get("tags"), None);
    let lines = text(user.run(["changes", "source", "--since", "2"]));
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told = |line: &Value| (line["type"].clone(), line["tag"].clone(), line["of"].clone());
    let tag = |of| (json!("tag"), json!("v1"), of);
    let right = [tag(of(1)), tag(of(2)), tag(Value::Null)];
    assert_eq!(lines.iter().map(told).collect::<Vec<_>>(), right);
    // Who asks for paths asks for no tags.
    let narrowed = text(user.run(["changes", "source", "--path", "a"]));
    assert!(!narrowed.contains("tag") && !narrowed.is_empty(), "{narrowed}");
    assert!(!text(user.run(["log", "source", "--path", "a"])).contains("tag"));
}

#[test]
fn a_share_is_asked_to_tag_and_readers_have_it_at_once() {
    let (user, reader) = (shared(), User::new());
    let sharer = user.share(&user.path("source"), &[]);
    let ticket = sharer.ticket();
    document(&user, "tag v1 source+1");
    assert_eq!(tags(&user, "source"), numbers(&[("v1", 1)]));
    assert_eq!(tags(&reader, ticket), numbers(&[("v1", 1)]), "without a clone");
    assert_eq!(text(reader.run(["cat", &format!("{ticket}+v1/a")])), "one");
    refused(&reader, &format!("ls {ticket}+v2"), 4, "did you mean v1?");
    assert_exit(&reader.run(["clone", &format!("{ticket}+v1"), "old"]), 0);
    assert_eq!(fs::read(reader.path("old/a")).unwrap(), b"one");
    assert_exit(&reader.run(["clone", ticket, "copy"]), 0);
    for line in ["tag mine copy", "tag v1 copy --delete", &format!("tag mine {}", sharer.link())] {
        refused(&reader, line, 8, "E-READONLY");
    }
    document(&user, "tag v2 source");
    assert_exit(&reader.run(["pull", "copy", "--peer", sharer.address()]), 0);
    drop(sharer);
    let right = numbers(&[("v1", 1), ("v2", 2)]);
    assert_eq!(tags(&reader, "copy"), right, "a clone has them");
    assert_exit(&reader.run(["verify", "copy"]), 0);
    // It serves them, and goes to what they name.
    let mirror = reader.share(&reader.path("copy"), &[]);
    assert_eq!(tags(&User::new(), mirror.ticket()), right);
    drop(mirror);
    document(&user, "tag v3 source");
    let sharer = user.share(&user.path("source"), &[]);
    assert_exit(&reader.run(["checkout", "v1", "copy", "--peer", sharer.address()]), 0);
    assert_eq!(fs::read(reader.path("copy/a")).unwrap(), b"one");
}

#[test]
fn who_follows_takes_a_tag_and_touches_no_file() {
    let (user, reader) = (shared(), User::new());
    let sharer = user.share(&user.path("source"), &[]);
    let mut command = reader.command(["--json", "clone", "--live", sharer.ticket(), "copy"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let follower = Running::new(child);
    let mut next = |kind: &str| -> Value {
        let values =
            lines.by_ref().map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
        values.into_iter().find(|value| value["type"] == kind).unwrap()
    };
    next("done");
    let inode =
        || fs::metadata(reader.path("copy/a")).map(|about| (about.ino(), about.ctime_nsec()));
    let (before, was) = (tree(&reader.path("copy")), inode().unwrap());
    document(&user, "tag v1 source+1");
    let told = next("change");
    assert_eq!(told["change"], 3);
    assert_eq!(
        (&told["tags"][0]["tag"], &told["tags"][0]["of"]["change"]),
        (&"v1".into(), &1.into())
    );
    assert_eq!(tags(&reader, "copy"), numbers(&[("v1", 1)]));
    assert_eq!((tree(&reader.path("copy")), inode().unwrap()), (before, was));
    // What comes then is as live as ever.
    write(&user.path("source"), b"b", b"new");
    let told = next("change");
    assert_eq!((&told["change"], &told["tags"]), (&4.into(), &Value::Null));
    wait_until(HANGS, "the copy", || tree(&user.path("source")) == tree(&reader.path("copy")));
    assert_eq!(tags(&reader, "copy"), numbers(&[("v1", 1)]));
    follower.signal("-INT");
    assert_exit(&follower.finish(HANGS).output, 0);
}

#[test]
fn a_clone_has_more_tags_than_a_change_has_room_for() {
    let (user, reader) = (User::new(), User::new());
    let folder = user.path("forged");
    let mut forge = Forge::in_folder(&folder, 1, b"many");
    let entry = forge.file(b"bytes");
    let path = DrivePath::from_bytes("a").unwrap();
    forge.commit([(path.key(), (path, entry))].into(), "one");
    let name = |number: usize| TagName::from_bytes(format!("tag-{number:04}").as_bytes()).unwrap();
    forge.tag_latest((0..2_000).map(name));
    drop(forge);
    let sharer = user.share(&folder, &[]);
    assert_eq!(text(reader.run(["cat", &format!("{}+tag-1234/a", sharer.ticket())])), "bytes");
    assert_exit(&reader.run(["clone", sharer.ticket(), "copy"]), 0);
    drop(sharer);
    let all = tags(&reader, "copy");
    assert_eq!(all.len(), 2_000);
    assert!(all.values().all(|&number| number == 1));
    assert_eq!(text(reader.run(["cat", "copy+tag-1999/a"])), "bytes");
    refused(&reader, "ls copy+tag-19999", 4, "did you mean tag-1999");
}
