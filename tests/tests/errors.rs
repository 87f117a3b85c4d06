//! Bad input ends with a code and a hint, and changes nothing.

use std::fs;
use std::time::{Duration, Instant};

use datnode_tests::{Sharer, User, assert_exit, tree, write};

fn shared() -> (User, Sharer) {
    let user = User::new();
    write(&user.path("source"), b"a", b"hello");
    let sharer = user.share(&user.path("source"), &[]);
    (user, sharer)
}

#[test]
fn a_typo_in_a_key_is_named_at_once() {
    let (user, sharer) = shared();
    let mut link = sharer.link().to_owned().into_bytes();
    link[20] = if link[20] == b'q' { b'p' } else { b'q' };
    let output = user.run(["clone", std::str::from_utf8(&link).unwrap()]);
    assert_exit(&output, 2);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("E-KEY") && said.contains("near character 21"), "{said}");
}

#[test]
fn what_is_no_key_and_no_folder_is_refused() {
    let user = User::new();
    for word in ["flights", "dat1", "datticketaaaa", "0123", "datsec1qqqq"] {
        let output = user.run(["clone", word, "x"]);
        assert_exit(&output, 2);
        assert!(!user.path("x").exists(), "{word}");
    }
    assert_ne!(user.run(["share", "missing"]).status.code(), Some(0));
}

#[test]
fn nobody_there_ends_in_time() {
    let (user, sharer) = shared();
    let link = sharer.link().to_owned();
    drop(sharer);
    let stranger = User::new();
    let started = Instant::now();
    let output = stranger.run(["--json", "clone", &link, "x", "--wait", "1s"]);
    assert_exit(&output, 5);
    assert!(started.elapsed() < Duration::from_secs(20));
    let error: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!((&error["code"], &error["exit"]), (&"E-NOPEERS".into(), &5.into()));
    drop(user);
}

#[test]
fn what_is_in_the_way_is_kept() {
    let (_user, sharer) = shared();
    let reader = User::new();
    write(&reader.path("copy"), b"a", b"mine!");
    let before = tree(&reader.path("copy"));
    assert_exit(&reader.run(["clone", sharer.ticket(), "copy"]), 7);
    assert_eq!(tree(&reader.path("copy")), before);
    assert_exit(&reader.run(["clone", sharer.ticket(), "copy", "--force"]), 0);
    assert_eq!(fs::read(reader.path("copy/a")).unwrap(), b"hello");
    let (_other, second) = shared();
    assert_exit(&reader.run(["clone", second.ticket(), "copy"]), 7);
}

#[test]
fn a_store_has_one_owner() {
    let (user, _sharer) = shared();
    let output = user.run(["share", "source"]);
    assert_exit(&output, 9);
    // Reading goes through the owner.
    let listed = user.run(["ls", "./source"]);
    assert_eq!(listed.stdout, b"a\n");
}

#[test]
fn a_newer_store_is_not_touched() {
    let (user, sharer) = shared();
    drop(sharer);
    let meta = user.path("source/.dat/store/meta");
    let mut bytes = fs::read(&meta).unwrap();
    bytes[8] = 99;
    fs::write(&meta, &bytes).unwrap();
    let output = user.run(["share", "source"]);
    assert_exit(&output, 1);
    assert!(String::from_utf8(output.stderr).unwrap().contains("E-FORMAT"));
    assert_eq!(fs::read(&meta).unwrap(), bytes);
}

#[test]
fn help_knows_every_code() {
    let user = User::new();
    for code in ["E-KEY", "E-NOPEERS", "e-locked", "E-DIRTY"] {
        assert_exit(&user.run(["help", code]), 0);
    }
    assert_exit(&user.run(["help", "E-NONSENSE"]), 2);
    assert_exit(&user.run(["--version"]), 0);
}

#[test]
fn a_path_that_is_not_there_names_the_nearest_ones() {
    let (user, sharer) = {
        let user = User::new();
        for name in ["README.md", "data/2019-04.csv", "data/2019-05.csv", "other/thing"] {
            write(&user.path("source"), name.as_bytes(), b"x");
        }
        let sharer = user.share(&user.path("source"), &[]);
        (user, sharer)
    };
    let table: &[(&str, &[&str])] = &[
        ("readme.md", &["README.md"]),
        ("REDAME.md", &["README.md"]),
        ("dta", &["data"]),
        ("data/2019-06.csv", &["data/2019-04.csv", "data/2019-05.csv"]),
        ("dtaa/2019-04.csv", &["data"]),
        ("README.md/below", &["README.md"]),
        ("other/nothing-like-it", &[]),
    ];
    for (path, near) in table {
        let address = format!("{}/{path}", sharer.ticket());
        for command in [&["ls", &address][..], &["cat", &address], &["clone", &address, "copy"]] {
            let output = user.run(["--json"].iter().chain(command));
            assert_exit(&output, 4);
            let error: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
            assert_eq!((&error["code"], &error["path"]), (&"E-NOTFOUND".into(), &(*path).into()));
            let named = error["near"].as_array().cloned().unwrap_or_default();
            assert_eq!(named, *near, "{command:?}");
        }
    }
    let output = user.run(["cat", "source/raedme.md"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("hint:  did you mean README.md?"), "{said}");
}
