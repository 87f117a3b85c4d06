//! `put`, `rm` and `mv`, in drives with a working folder and in bare ones.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;

use datnode_tests::{Thing, User, assert_exit, noise, tree, write};
use serde_json::Value;

use super::{copy, done, entries, json, put, said};

/// The commands that change a drive do the same whoever has it open, and whether it has a working folder.
#[test]
fn put_rm_and_mv_change_a_drive_in_step_with_its_folder() {
    for (bare, served) in [(false, false), (false, true), (true, false), (true, true)] {
        let user = User::new();
        let source = user.path("flights");
        if bare {
            done(&user, ["init", "--bare", "flights"]);
            assert_exit(&put(&user, b"old", "flights/data/a"), 0);
            assert_exit(&put(&user, b"kept", "flights/kept"), 0);
        } else {
            write(&source, b"data/a", b"old");
            write(&source, b"kept", b"kept");
        }
        let mut sharer = Some(user.share(&source, &[]));
        let reader = User::new();
        let link = sharer.as_ref().unwrap().link().to_owned();
        if !served {
            drop(sharer.take());
        }
        let large = noise(1, 400_000);
        let output = put(&user, &large, "flights/new/large");
        assert_exit(&output, 0);
        assert!(
            said(&output).starts_with("Stored new/large   391 KiB   version "),
            "{}",
            said(&output)
        );
        assert!(user.run(["cat", "flights/new/large"]).stdout == large);
        done(&user, ["mv", "flights/new", "flights/moved"]);
        done(&user, ["mv", "flights/kept", "flights/data"]);
        done(&user, ["rm", "flights/data/a"]);
        let mut right =
            BTreeMap::from([("moved/large".to_owned(), 400_000), ("data/kept".into(), 4)]);
        let files = |mut all: BTreeMap<String, u64>| {
            all.retain(|path, _| path.contains('/'));
            all
        };
        assert_eq!(files(entries(&user, "flights")), right, "bare {bare}, served {served}");
        if !bare {
            let landed: Vec<Vec<u8>> = tree(&source)
                .into_iter()
                .filter(|(_, thing)| matches!(thing, Thing::File { .. }))
                .map(|(path, _)| path)
                .collect();
            assert_eq!(landed, [b"data/kept".to_vec(), b"moved/large".to_vec()]);
        }
        // A folder is not deleted by accident.
        assert_exit(&user.run(["rm", "flights/moved"]), 2);
        done(&user, ["rm", "-r", "flights/moved"]);
        right.remove("moved/large");
        assert_eq!(files(entries(&user, "flights")), right);
        let history = done(&user, ["log", "flights"]);
        assert!(history.contains("put it"), "{history}");
        // Peers get it, and a share finds nothing to take in: the folder is in step.
        let sharer = sharer.unwrap_or_else(|| user.share(&source, &[]));
        if !served && !bare {
            for count in ["added", "changed", "removed"] {
                assert_eq!(sharer.ready[count], 0, "{}", sharer.ready);
            }
        }
        assert_exit(&reader.run(["clone", &link, "copy", "--peer", sharer.address()]), 0);
        assert_eq!(fs::read(reader.path("copy/data/kept")).unwrap(), b"kept");
        assert_exit(&reader.run(["rm", "copy/data/kept"]), 8);
    }
}

#[test]
fn what_cannot_be_put_leaves_everything_as_it_was() {
    let user = User::new();
    write(&user.path("flights"), b"data/a", b"1");
    done(&user, ["share", "flights", "--dry-run"]);
    drop(user.share(&user.path("flights"), &[]));
    let before = (entries(&user, "flights"), tree(&user.path("flights")));
    for (address, code) in [
        ("flights", 2),
        ("flights/data", 2),
        ("flights/data/a/b", 2),
        ("flights/..", 10),
        ("flights/.dat/x", 3),
        ("flights/x/../../y", 4),
        ("flights+1/x", 2),
        ("nowhere/x", 2),
    ] {
        let output = put(&user, b"new", address);
        assert_eq!(output.status.code(), Some(code), "{address}: {}", said(&output));
        assert!(said(&output).contains("error[E-"), "{address}: {}", said(&output));
    }
    assert_exit(&user.run(["mv", "flights/data", "flights/data/below"]), 2);
    assert_exit(&user.run(["mv", "flights/none", "flights/x"]), 4);
    assert_exit(&user.run(["rm", "flights/none"]), 4);
    assert_exit(&user.run(["put", "none", "flights/x"]), 1);
    let wrong = user.run(["rm", "flights/data/a", "--if-version", "2"]);
    assert_exit(&wrong, 7);
    assert!(said(&wrong).contains("E-CONFLICT"), "{}", said(&wrong));
    assert_eq!((entries(&user, "flights"), tree(&user.path("flights"))), before);
    assert!(fs::read_dir(user.path("flights/.dat/staged")).unwrap().next().is_none());
    done(&user, ["rm", "flights/data/a", "--if-version", "1"]);
}

#[test]
fn a_file_that_is_put_keeps_its_mode_and_time() {
    let user = User::new();
    write(&user.path(""), b"tool", b"#!/bin/sh\n");
    fs::set_permissions(user.path("tool"), fs::Permissions::from_mode(0o755)).unwrap();
    let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_600_000_000);
    fs::File::options().write(true).open(user.path("tool")).unwrap().set_modified(old).unwrap();
    done(&user, ["init", "drive"]);
    done(&user, ["put", "tool", "drive"]);
    let stat = json(&user, ["stat", "drive/tool"]);
    assert_eq!((&stat["mode"], &stat["mtime"]), (&"0755".into(), &"2020-09-13T12:26:40Z".into()));
    assert_eq!(
        tree(&user.path("drive")).remove(&b"tool"[..]),
        tree(&user.path("")).remove(&b"tool"[..])
    );
}

/// A change that fails leaves known that others hold more: the next one does not split the history either.
#[test]
fn no_edit_signs_a_second_history() {
    let (user, reader) = (User::new(), User::new());
    let source = user.path("source");
    write(&source, b"a", b"1");
    drop(user.share(&source, &[]));
    copy(&source, &user.path("backup"));
    copy(&user.home(), &user.path("home-backup"));
    write(&source, b"b", b"2");
    let sharer = user.share(&source, &[]);
    assert_exit(&reader.run(["clone", sharer.ticket(), "copy"]), 0);
    let serving = reader.share(&reader.path("copy"), &[]);
    drop(sharer);
    // The computer was rolled back: only the reader knows that there was more.
    for (backup, folder) in
        [(user.path("backup"), &source), (user.path("home-backup"), &user.home())]
    {
        fs::remove_dir_all(folder).unwrap();
        copy(&backup, folder);
    }
    let before = tree(&source);
    let mut sharer = user.share(&source, &["--peer", serving.address()]);
    let mut told = BufReader::new(sharer.child.stderr.take().unwrap()).lines();
    assert!(told.any(|line| line.unwrap().contains("older than what it wrote")));
    for _ in 0..2 {
        let refused = user.run(["rm", "source/none"]);
        assert_exit(&refused, 7);
        assert!(said(&refused).contains("datnode recover"), "{}", said(&refused));
        assert_exit(&put(&user, b"3", "source/c"), 7);
        assert_exit(&user.run(["mv", "source/a", "source/c"]), 7);
    }
    drop(sharer);
    assert_exit(&put(&user, b"3", "source/c"), 7);
    assert_eq!(tree(&source), before);
    assert_eq!(json(&user, ["status", "source"])["change"], 1);
}

#[test]
fn what_is_no_drive_is_not_made_one_by_an_edit() {
    let user = User::new();
    fs::create_dir_all(user.path("flights")).unwrap();
    write(&user.path("flights/.dat"), b"config.toml", b"[share]\nhidden = true\n");
    let keys = || fs::read_dir(user.home().join("keys")).map_or(0, Iterator::count);
    for args in
        [&["put", "-", "flights/a"][..], &["rm", "flights/a"], &["mv", "flights/a", "flights/b"]]
    {
        assert_exit(&user.run(args), 10);
    }
    assert_eq!((keys(), fs::read_dir(user.path("flights/.dat")).unwrap().count()), (0, 1));
    // A store without its key is no place for another drive.
    write(&user.path("flights"), b"a", b"1");
    drop(user.share(&user.path("flights"), &[]));
    let (key, known) = (user.path("flights/.dat/key"), keys());
    let named = fs::read_to_string(&key).unwrap();
    fs::remove_file(&key).unwrap();
    assert_exit(&put(&user, b"2", "flights/b"), 10);
    for args in [&["share", "flights"][..], &["init", "flights"]] {
        let refused = user.run(args);
        assert_exit(&refused, 6);
        assert!(said(&refused).contains(named.trim()), "{}", said(&refused));
    }
    assert_eq!(keys(), known);
    fs::write(&key, named).unwrap();
    assert_exit(&put(&user, b"2", "flights/b"), 0);
    assert_eq!(json(&user, ["status", "flights"])["change"], 2);
}

/// What is refused is refused before the source is read, which may be long: here it is not even there.
#[test]
fn a_put_that_cannot_be_reads_nothing() {
    let (user, reader) = (User::new(), User::new());
    let source = user.path("flights");
    write(&source, b"a", b"1");
    let sharer = user.share(&source, &["--no-watch"]);
    assert_exit(&reader.run(["clone", sharer.ticket(), "copy"]), 0);
    assert_exit(&reader.run(["put", "none", "copy/b"]), 8);
    assert!(!reader.path("copy/.dat/staged").exists());
    write(&source, b"b", b"of nobody");
    for served in [Some(sharer), None] {
        assert_exit(&user.run(["put", "none", "flights/a", "--if-version", "7"]), 7);
        assert_exit(&user.run(["put", "none", "flights/b"]), 7);
        assert_exit(&user.run(["put", "none", "flights/a/below"]), 2);
        assert_exit(&user.run(["put", "none", "flights/c"]), 1);
        drop(served);
    }
    assert_eq!(json(&user, ["status", "flights"])["change"], 1);
}

#[test]
fn a_move_neither_publishes_nor_deletes_what_nobody_shared() {
    let user = User::new();
    let source = user.path("flights");
    let deep = format!("dir/{}file", "d/".repeat(100));
    for name in ["dir/a", "dir/b", &deep] {
        write(&source, name.as_bytes(), b"1");
    }
    drop(user.share(&source, &[]));
    let refused = |to: &str, code| {
        let before = (entries(&user, "flights"), tree(&source));
        let output = user.run(["mv", "flights/dir", &format!("flights/{to}")]);
        assert_eq!(output.status.code(), Some(code), "{}", said(&output));
        assert_eq!((entries(&user, "flights"), tree(&source)), before, "{to}");
    };
    // One of the new names could not land anywhere.
    refused(&format!("{}to", "e/".repeat(50)), 3);
    write(&source, b"dir/a", b"changed here");
    refused("to", 7);
    write(&source, b"dir/a", b"1");
    done(&user, ["share", "flights", "--dry-run"]);
    drop(user.share(&source, &[]));
    fs::remove_file(source.join("dir/b")).unwrap();
    refused("to", 7);
    drop(user.share(&source, &[]));
    fs::create_dir(source.join("to")).unwrap();
    refused("to", 2);
    fs::remove_dir(source.join("to")).unwrap();
    done(&user, ["mv", "flights/dir", "flights/to"]);
    assert_eq!(entries(&user, "flights").len(), tree(&source).len());
}

#[test]
fn a_file_does_not_take_the_place_of_a_folder() {
    let user = User::new();
    for bare in [false, true] {
        let drive = format!("drive-{bare}");
        let of = |path: &str| format!("{drive}/{path}");
        let flag = bare.then_some("--bare");
        done(&user, ["init", &drive].into_iter().chain(flag));
        for path in ["d/f", "x/f/deep"] {
            assert_exit(&put(&user, b"1", &of(path)), 0);
        }
        assert_exit(&user.run(["mv", &of("d/f"), &of("x")]), 2);
        write(&user.path(""), b"f", b"2");
        assert_exit(&user.run(["put", "f", &of("x")]), 2);
        assert_eq!(done(&user, ["cat", &of("d/f")]), "1");
        assert_eq!(done(&user, ["cat", &of("x/f/deep")]), "1");
    }
}

#[test]
fn edits_warn_of_what_a_share_would_take_away() {
    let user = User::new();
    done(&user, ["init", "flights"]);
    let warned = |output: &Output| said(output).contains("share leaves");
    assert!(warned(&put(&user, b"1", "flights/.hidden")));
    done(&user, ["-C", "flights", "config", "set", "share.hidden", "true", "--drive"]);
    assert!(!warned(&put(&user, b"1", "flights/.other")));
    assert!(!warned(&put(&user, b"1", "flights/a")));
    done(&user, ["-C", "flights", "config", "set", "share.ignore", "*.tmp", "--drive"]);
    assert!(warned(&user.run(["mv", "flights/a", "flights/a.tmp"])));
    assert!(warned(&put(&user, b"1", "flights/b.tmp")));
}

#[test]
fn who_refuses_an_edit_says_why() {
    let user = User::new();
    write(&user.path("flights"), b"a", b"1");
    drop(user.share(&user.path("flights"), &[]));
    let bad = put(&user, b"1", "flights/.datpart-0");
    assert_exit(&bad, 3);
    let name =
        "error[E-PATH]: .datpart-0 can be no file: a component names a temporary file of ours";
    assert_eq!(said(&bad).lines().next(), Some(name));
    let sharer = user.share(&user.path("flights"), &["--no-import"]);
    let refused = put(&user, b"1", "flights/b");
    assert_exit(&refused, 9);
    let why = format!("process {} serves the drive as it is", sharer.child.id());
    assert!(said(&refused).contains(&why), "{}", said(&refused));
}

#[test]
fn an_edit_counts_files_whatever_the_drive_is() {
    for bare in [false, true] {
        let user = User::new();
        done(&user, ["init", "drive"].into_iter().chain(bare.then_some("--bare")));
        for path in ["d/a", "d/deep/b", "d/deep/c"] {
            assert_exit(&put(&user, b"1", &format!("drive/{path}")), 0);
        }
        write(&user.path(""), b"f", b"1");
        let count = |args: &[&str]| json(&user, args)["count"].clone();
        assert_eq!(count(&["put", "f", "drive/d/deep/f"]), 1, "bare {bare}");
        assert_eq!(count(&["put", "f", "drive/d/deep/f"]), 1, "bare {bare}, nothing new");
        assert_eq!(count(&["mv", "drive/d", "drive/new/e"]), 4, "bare {bare}");
        assert_eq!(count(&["mv", "drive/new/e/a", "drive/a"]), 1, "bare {bare}");
        assert_eq!(count(&["rm", "-r", "drive/a", "drive/new"]), 4, "bare {bare}");
    }
}

#[test]
fn a_bare_drive_lists_the_folders_that_put_and_mv_make() {
    let user = User::new();
    done(&user, ["init", "--bare", "drive"]);
    let put_at = |path: &str| assert_exit(&put(&user, b"1", &format!("drive/{path}")), 0);
    let list = |args: &[&str]| done(&user, ["ls"].iter().chain(args));
    put_at("data/deep/a");
    assert_eq!(list(&["drive"]), "data/\n");
    assert_eq!(list(&["drive/data"]), "deep/\n");
    assert_eq!(list(&["-R", "drive"]), "data/\ndata/deep/\ndata/deep/a\n");
    let stat = |path: &str| json(&user, ["stat", &format!("drive/{path}")]);
    let made = stat("data");
    let is_folder = |of: &Value| of["type"] == "directory" && of["mode"] == "0755";
    assert!(is_folder(&made), "{made}");
    assert_eq!(made["entry_change"], stat("data/deep/a")["entry_change"]);
    // What has an entry keeps it.
    put_at("data/deep/b");
    let now = stat("data");
    assert_eq!(
        ["entry_change", "mtime"].map(|of| &now[of]),
        ["entry_change", "mtime"].map(|of| &made[of])
    );

    done(&user, ["mv", "drive/data/deep", "drive/new/place/for"]);
    let names = "data/\nnew/\nnew/place/\nnew/place/for/\nnew/place/for/a\nnew/place/for/b\n";
    assert_eq!(list(&["-R", "drive"]), names, "the folder that is empty now stays");
    let moved = stat("new/place");
    assert!(is_folder(&moved), "{moved}");
    assert!(moved["mtime"].as_str() >= made["mtime"].as_str(), "{moved} after {made}");

    // A folder that is empty takes the place of no file, and a file is no folder.
    assert_exit(&user.run(["mv", "drive/data", "drive/new/place/for/a"]), 2);
    assert_exit(&put(&user, b"1", "drive/new/place/for/a/below"), 2);
    assert_exit(&user.run(["mv", "drive/data", "drive/new/place/for/a/below"]), 2);
    done(&user, ["rm", "drive/new/place/for/a", "drive/new/place/for/b"]);
    assert_eq!(list(&["-R", "drive"]), "data/\nnew/\nnew/place/\nnew/place/for/\n");
    done(&user, ["rm", "-r", "drive/new"]);
    assert_eq!(list(&["drive"]), "data/\n");
}

#[test]
fn the_root_of_a_drive_is_neither_deleted_nor_moved() {
    for bare in [false, true] {
        let user = User::new();
        done(&user, ["init", "drive"].into_iter().chain(bare.then_some("--bare")));
        let refused = |args: &[&str], name: &str| {
            let before = (done(&user, ["log", "drive"]), tree(&user.path("drive")));
            let output = user.run(args);
            assert_exit(&output, 2);
            let said = said(&output);
            let folder = user.path("drive").canonicalize().unwrap();
            let hint = format!("such as {}/{name}\n", folder.display());
            assert!(said.contains("E-USAGE") && said.contains(&hint), "{args:?}: {said}");
            assert_eq!((done(&user, ["log", "drive"]), tree(&user.path("drive"))), before);
        };
        refused(&["rm", "-r", "drive"], "NAME");
        for path in ["data/a", "data/b", "z"] {
            assert_exit(&put(&user, b"1", &format!("drive/{path}")), 0);
        }
        for root in ["drive", "drive/"] {
            refused(&["rm", "-r", root], "data");
            refused(&["rm", root], "data");
            refused(&["rm", "-r", "drive/z", root], "data");
            refused(&["mv", root, "drive/data"], "data");
            refused(&["mv", root, root], "data");
            refused(&["put", "-", root], "NAME");
        }
        assert_eq!(done(&user, ["ls", "drive"]), "data/\nz\n");
        refused(&["put", "-", "drive/data"], "data/NAME");
        // What goes into the root is not put in its place.
        done(&user, ["mv", "drive/data/a", "drive/"]);
        done(&user, ["rm", "-r", "drive/data"]);
        assert_eq!(done(&user, ["ls", "drive"]), "a\nz\n");
    }
}
