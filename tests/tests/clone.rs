//! Where a clone goes, and what it leaves behind when nothing comes of it.

use std::fs;
use std::time::Duration;

use datnode::address::Link;
use datnode_drive::{DrivePath, Op};
use datnode_feed::SecretKey;
use datnode_tests::hole::Hole;
use datnode_tests::hostile::forge::Forge;
use datnode_tests::process::{Running, wait_until};
use datnode_tests::relay::Relay;
use datnode_tests::{User, assert_exit, noise, tree, write};

#[test]
fn a_clone_without_a_folder_is_named_like_the_drive_and_goes_on_there() {
    let user = User::new();
    let source = user.path("flights");
    write(&source, b"a", b"first");
    let sharer = user.share(&source, &[]);
    let reader = User::new();
    assert_exit(&reader.run(["clone", sharer.ticket()]), 0);
    assert_eq!(tree(&source), tree(&reader.path("flights")));
    assert_exit(&reader.run(["clone", sharer.ticket()]), 0);
    drop(sharer);
    write(&source, b"a", b"second");
    let sharer = user.share(&source, &[]);
    assert_exit(&reader.run(["clone", sharer.ticket()]), 0);
    assert_eq!(tree(&source), tree(&reader.path("flights")));
    assert_exit(&reader.run(["verify", "flights"]), 0);
    assert_eq!(fs::read_dir(reader.path("")).unwrap().count(), 1);
    // Another drive of that name does not mix with it.
    let other = User::new();
    write(&other.path("flights"), b"b", b"other");
    let other = other.share(&other.path("flights"), &[]);
    assert_exit(&reader.run(["clone", other.ticket()]), 7);
    assert_eq!(tree(&source), tree(&reader.path("flights")));
}

#[test]
fn a_name_that_leads_elsewhere_is_not_used() {
    for name in ["../evil", "/tmp/evil", ".dat", "a/b", ""] {
        let user = User::new();
        // Whoever means well cannot call a drive so.
        write(&user.path("source"), b"a", b"1");
        assert_exit(&user.run(["share", "source", "--name", name]), 2);
        let mut forge = Forge::in_folder(&user.path("forged"), 1, name.as_bytes());
        let (path, entry) = (DrivePath::from_bytes("a").unwrap(), forge.file(b"1"));
        forge.change_files(&[Op::Put(path, entry)], "");
        forge.finish();
        let sharer = user.share(&user.path("forged"), &[]);
        let reader = User::new();
        assert_exit(&reader.run(["clone", sharer.ticket()]), 0);
        let folder = reader.path(&sharer.link()[..12]);
        assert_eq!(fs::read(folder.join("a")).unwrap(), b"1", "{name}");
        // Nor is it called so here.
        let known = reader.run(["--json", "status", "--all"]);
        assert!(String::from_utf8_lossy(&known.stdout).contains("\"name\":null"), "{name}");
    }
}

#[test]
fn what_comes_to_nothing_leaves_nothing() {
    let user = User::new();
    write(&user.path("source"), b"a", b"1");
    let sharer = user.share(&user.path("source"), &[]);
    let nobody = Link(&SecretKey::from_bytes([3; 32]).public()).to_string();
    let path = format!("{}/nosuch", sharer.ticket());
    let table: &[(&[&str], i32)] = &[
        (&[&nobody, "--wait", "500ms"], 5),
        (&[&nobody, "copy", "--wait", "500ms"], 5),
        (&[sharer.ticket(), "--at", "99"], 4),
        (&[sharer.ticket(), "copy", "--at", "99"], 4),
        (&[&path, "copy"], 4),
    ];
    let reader = User::new();
    for (args, code) in table {
        assert_exit(&reader.run(["clone"].iter().chain(*args)), *code);
        assert_eq!(fs::read_dir(reader.path("")).unwrap().count(), 0, "{args:?}");
    }
    // A folder of the user's is left as it was.
    write(&reader.path("mine"), b"a", b"2");
    for folder in ["mine", "empty"] {
        fs::create_dir_all(reader.path(folder)).unwrap();
        let count = || fs::read_dir(reader.path(folder)).unwrap().count();
        let before = count();
        assert_exit(&reader.run(["clone", &nobody, folder, "--wait", "500ms"]), 5);
        assert_eq!(count(), before);
    }
    assert_exit(&reader.run(["clone", sharer.ticket(), "mine"]), 7);
    assert!(!reader.path("mine/.dat").exists());
}

#[test]
fn what_a_killed_clone_left_of_its_store_does_no_harm() {
    let user = User::new();
    write(&user.path("source"), b"a", b"1");
    let sharer = user.share(&user.path("source"), &[]);
    let reader = User::new();
    write(&reader.path("copy"), b".dat/store.new/meta", b"half of it");
    assert_exit(&reader.run(["clone", sharer.ticket(), "copy"]), 0);
    assert_eq!(tree(&user.path("source")), tree(&reader.path("copy")));
    assert!(!reader.path("copy/.dat/store.new").exists());
    assert_exit(&reader.run(["verify", "--full", "copy"]), 0);
}

#[test]
fn what_is_killed_with_its_first_bytes_can_be_listed_and_purged() {
    const FILES: usize = 3_000;
    let user = User::new();
    write(&user.path("source"), b"large", &noise(1, 22 << 20));
    // An index of more blocks than the last change leads to.
    (0..FILES).for_each(|at| write(&user.path("source"), format!("{at}").as_bytes(), b"small"));
    // So slow that it ends in no case.
    let sharer = user.share(&user.path("source"), &["--max-up", "64K"]);
    let reader = User::new();
    let clone = Running::new(reader.command(["clone", sharer.ticket(), "copy"]).spawn().unwrap());
    let parts = || {
        let entries = fs::read_dir(reader.path("copy")).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().into_string().unwrap());
        names.filter(|name| name.starts_with(".datpart-")).count()
    };
    wait_until(Duration::from_secs(120), "the first bytes", || parts() > 0);
    clone.signal("-KILL");
    assert!(!clone.finish(Duration::from_secs(60)).output.status.success());
    drop(sharer);
    let listed = reader.run(["ls", "copy", "--offline"]);
    assert_exit(&listed, 0);
    assert_eq!(listed.stdout.iter().filter(|byte| **byte == b'\n').count(), FILES + 1);
    assert_exit(&reader.run(["purge", "copy", "--yes"]), 0);
    assert_eq!(parts(), 0);
}

#[test]
fn a_pull_tells_whether_anybody_was_there_who_knows_of_a_newer_version() {
    let user = User::new();
    write(&user.path("source"), b"a", b"1");
    let sharer = user.share(&user.path("source"), &[]);
    let reader = User::new();
    assert_exit(&reader.run(["clone", sharer.ticket(), "copy"]), 0);
    let address = sharer.address().to_owned();
    let pull = |peers: u64| {
        let pull =
            ["pull", "copy", "--peer", &address, "--wait", if peers == 0 { "1s" } else { "20s" }];
        let output = reader.run(pull);
        assert_exit(&output, 0);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            text.contains("nobody was there to tell of a newer version"),
            peers == 0,
            "{text}"
        );
        let output = reader.run(["--json"].iter().chain(&pull));
        let last = output.stdout.trim_ascii_end().rsplit(|byte| *byte == b'\n').next().unwrap();
        let done: serde_json::Value = serde_json::from_slice(last).unwrap();
        assert_eq!((&done["type"], done["peers"].as_u64()), (&"done".into(), Some(peers)));
    };
    pull(1);
    drop(sharer);
    pull(0);
}

#[test]
fn who_was_asked_in_vain_is_named_with_the_reason() {
    let user = User::new();
    let nobody = Link(&SecretKey::from_bytes([3; 32]).public()).to_string();
    let args = ["clone", &nobody, "--wait", "1s", "--peer", "/ip4/127.0.0.1/tcp/9"];
    let output = user.run(args);
    assert_exit(&output, 5);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("tried: 1 address, 0 answered · the processes of this user, for 1"),
        "{said}"
    );
    assert!(said.contains("/ip4/127.0.0.1/tcp/9: connection refused"), "{said}");
    let output = user.run(["--json"].iter().chain(&args));
    let error: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(error["tried"]["addresses"], 1);
    assert_eq!(error["tried"]["reasons"][0], "/ip4/127.0.0.1/tcp/9: connection refused");
}

#[test]
fn a_new_clone_has_the_newest_version_of_those_who_are_named_though_another_answers_first() {
    let (writer, other, reader) = (User::new(), User::new(), User::new());
    let source = writer.path("source");
    write(&source, b"a", b"first");
    let sharer = writer.share(&source, &[]);
    assert_exit(&other.run(["clone", sharer.ticket(), "older"]), 0);
    drop(sharer);
    let older = other.share(&other.path("older"), &[]);
    write(&source, b"a", b"second");
    let sharer = writer.share(&source, &[]);
    let (link, near) = (sharer.link().to_owned(), older.address());
    // Who never answers is waited for a moment, and not in the way of those who do.
    let silent = Hole::silent();
    let (alone, peers) = (User::new(), ["--peer", near, "--peer", silent.address()]);
    assert_exit(&alone.run([&["clone", &link, "old"][..], &peers].concat()), 0);
    assert_eq!(tree(&other.path("older")), tree(&alone.path("old")));
    // The other one answers first.
    let far = Relay::new(sharer.address(), Duration::from_millis(500)).address();
    assert_exit(&reader.run(["clone", &link, "newest", "--peer", near, "--peer", &far]), 0);
    assert_eq!(tree(&source), tree(&reader.path("newest")));
}
