//! What is shared arrives, whatever it is called and however large it is.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use datnode_tests::{User, assert_exit, noise, tree, write};

fn clone(user: &User, what: &str, into: &str) {
    assert_exit(&user.run(["clone", what, into, "--wait", "20s"]), 0);
}

fn odd_names(root: &Path) {
    write(root, b"plain.txt", b"hello\n");
    write(root, b"with space", b"1");
    write(root, "grüße/日本語".as_bytes(), b"2");
    write(root, b"not\xff\xfeutf8", b"3");
    write(root, b"new\nline", b"4");
    write(root, &[b'n'; 255], b"5");
    write(root, b"-rf", b"6");
    write(root, [&b"d/"[..]; 40].concat().as_slice().strip_suffix(b"/").unwrap(), b"deep");
    write(root, b"empty", b"");
    write(root, b"run.sh", b"#!/bin/sh\n");
    fs::set_permissions(root.join("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir_all(root.join("nothing/in/here")).unwrap();
    symlink("plain.txt", root.join("link")).unwrap();
    symlink("../plain.txt", root.join("d/up")).unwrap();
    symlink("missing", root.join("dangling")).unwrap();
}

#[test]
fn odd_names_modes_links_and_empty_things_arrive() {
    let user = User::new();
    let source = user.path("source");
    odd_names(&source);
    let sharer = user.share(&source, &[]);
    let reader = User::new();
    clone(&reader, sharer.ticket(), "copy");
    assert_eq!(tree(&source), tree(&reader.path("copy")));
}

#[test]
fn many_small_files_and_a_large_one_arrive() {
    let user = User::new();
    let source = user.path("source");
    for number in 0..5_000_u64 {
        let name = format!("{}/{}/file {number}", number % 7, number % 50);
        write(&source, name.as_bytes(), &noise(number, (number % 4_000) as usize));
    }
    write(&source, b"large", &noise(1, 300 << 20));
    write(&source, b"large again", &noise(1, 300 << 20));
    let sharer = user.share(&source, &[]);
    let stored = fs::metadata(source.join(".dat/store/data")).unwrap().len();
    assert!(stored < 320 << 20, "what is there twice is stored once: {stored}");
    let reader = User::new();
    clone(&reader, sharer.ticket(), "copy");
    let journal = fs::metadata(reader.path("copy/.dat/store/journal")).unwrap().len();
    assert_eq!(journal, 0, "who ends in order leaves nothing to be done again");
    assert_eq!(tree(&source), tree(&reader.path("copy")));
    assert_exit(&reader.run(["verify", "--full", "copy"]), 0);
}

#[test]
fn hidden_and_ignored_names_stay_at_home() {
    let user = User::new();
    let source = user.path("source");
    write(&source, b"kept", b"1");
    write(&source, b"sub/.secret", b"2");
    write(&source, b"sub/a.tmp", b"3");
    write(&source, b".datignore", b"*.tmp\n");
    let sharer = user.share(&source, &[]);
    assert_eq!(sharer.ready["files"], 1);
    drop(sharer);
    let sharer = user.share(&source, &["--hidden", "--no-ignore"]);
    assert_eq!(sharer.ready["files"], 4);
}

#[test]
fn versions_are_kept_and_clones_follow() {
    let user = User::new();
    let source = user.path("source");
    write(&source, b"a", b"first");
    write(&source, b"big", &noise(3, 3 << 20));
    let first = user.share(&source, &[]);
    let (link, key) = (first.link().to_owned(), first.ready["drive"]["key"].clone());
    let reader = User::new();
    clone(&reader, first.ticket(), "copy");
    drop(first);
    let again = user.share(&source, &[]);
    assert_eq!((&again.ready["drive"]["key"], &again.ready["change"]), (&key, &1.into()));
    drop(again);
    write(&source, b"a", b"second");
    fs::remove_file(source.join("big")).unwrap();
    write(&source, b"new/b", b"third");
    let second = user.share(&source, &["-m", "better"]);
    assert_eq!(second.ready["change"], 2);
    clone(&reader, second.ticket(), "copy");
    assert_eq!(fs::read(reader.path("copy/a")).unwrap(), b"second");
    assert_eq!(fs::read(reader.path("copy/new/b")).unwrap(), b"third");
    let old = user.run(["cat", &format!("{link}+1/a")]);
    assert_eq!(old.stdout, b"first");
    let log = user.run(["--json", "log", &link]);
    assert_eq!(String::from_utf8(log.stdout).unwrap().lines().count(), 2);
}
