//! A clone is brought up to date: what the drive dropped goes, what the user did stays.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use datnode_tests::{Sharer, User, assert_exit, noise, tree, write};

fn first_version(source: &Path) {
    write(source, b"kept", b"as it is");
    write(source, b"edited", &noise(1, 300_000));
    write(source, b"moved", &noise(2, 400_000));
    write(source, b"dropped/deep/file", b"gone tomorrow");
    write(source, b"file-then-folder", &noise(3, 100_000));
    write(source, b"folder-then-file/inside", &noise(4, 100_000));
    write(source, b"folder-then-link/inside", b"x");
    symlink("kept", source.join("link")).unwrap();
    symlink("kept", source.join("link-then-file")).unwrap();
}

fn second_version(source: &Path) {
    let mut edited = noise(1, 300_000);
    edited[150_000] ^= 1;
    write(source, b"edited", &edited);
    fs::rename(source.join("moved"), source.join("kept-moved")).unwrap();
    fs::remove_dir_all(source.join("dropped")).unwrap();
    fs::rename(source.join("file-then-folder"), source.join("aside")).unwrap();
    write(source, b"file-then-folder/new", b"new");
    fs::rename(source.join("aside"), source.join("file-then-folder/old")).unwrap();
    fs::rename(source.join("folder-then-file/inside"), source.join("aside")).unwrap();
    fs::remove_dir(source.join("folder-then-file")).unwrap();
    fs::rename(source.join("aside"), source.join("folder-then-file")).unwrap();
    fs::remove_dir_all(source.join("folder-then-link")).unwrap();
    symlink("kept", source.join("folder-then-link")).unwrap();
    fs::remove_file(source.join("link")).unwrap();
    symlink("edited", source.join("link")).unwrap();
    fs::remove_file(source.join("link-then-file")).unwrap();
    write(source, b"link-then-file", b"a file now");
    write(source, b"added", &noise(9, 50_000));
}

fn shared(make: impl Fn(&Path)) -> (User, Sharer) {
    let user = User::new();
    make(&user.path("source"));
    let sharer = user.share(&user.path("source"), &[]);
    (user, sharer)
}

fn share_again(user: &User, sharer: Sharer, change: impl Fn(&Path)) -> Sharer {
    drop(sharer);
    change(&user.path("source"));
    user.share(&user.path("source"), &[])
}

#[test]
fn a_clone_becomes_the_new_version_and_nothing_else() {
    let (user, sharer) = shared(first_version);
    let reader = User::new();
    assert_exit(&reader.run(["clone", sharer.ticket(), "copy"]), 0);
    let sharer = share_again(&user, sharer, second_version);
    assert_eq!(sharer.ready["change"], 2);
    assert_exit(&reader.run(["clone", sharer.ticket(), "copy"]), 0);
    assert_eq!(tree(&user.path("source")), tree(&reader.path("copy")));
    assert_exit(&reader.run(["verify", "--full", "copy"]), 0);
    // And back: an older version is a version like any other.
    assert_exit(&reader.run(["clone", sharer.ticket(), "copy", "--at", "1"]), 0);
    let fresh = User::new();
    assert_exit(&fresh.run(["clone", sharer.ticket(), "copy", "--at", "1"]), 0);
    assert_eq!(tree(&fresh.path("copy")), tree(&reader.path("copy")));
}

#[test]
fn an_update_fetches_what_is_new_only() {
    let (user, sharer) = shared(|source| write(source, b"large", &noise(5, 20 << 20)));
    let reader = User::new();
    assert_exit(&reader.run(["clone", sharer.ticket(), "copy"]), 0);
    let sharer = share_again(&user, sharer, |source| {
        fs::rename(source.join("large"), source.join("renamed")).unwrap();
        write(source, b"small", &noise(6, 10_000));
    });
    let output = reader.run(["--json", "clone", sharer.ticket(), "copy"]);
    assert_exit(&output, 0);
    let done: serde_json::Value = serde_json::from_slice(
        output.stdout.trim_ascii().rsplit(|byte| *byte == b'\n').next().unwrap(),
    )
    .unwrap();
    assert!(done["received"].as_u64().unwrap() < 200_000, "{done}");
    assert_eq!(tree(&user.path("source")), tree(&reader.path("copy")));
}

#[test]
fn what_the_user_did_to_a_clone_is_not_undone() {
    let (user, sharer) = shared(|source| {
        write(source, b"one", b"1");
        write(source, b"two", b"2");
        write(source, b"folder/three", b"3");
    });
    let reader = User::new();
    assert_exit(&reader.run(["clone", sharer.ticket(), "copy"]), 0);
    write(&reader.path("copy"), b"two", b"mine");
    write(&reader.path("copy"), b"folder/own", b"mine too");
    let sharer = share_again(&user, sharer, |source| {
        fs::remove_file(source.join("two")).unwrap();
        fs::remove_dir_all(source.join("folder")).unwrap();
    });
    assert_exit(&reader.run(["clone", sharer.ticket(), "copy"]), 0);
    assert_eq!(fs::read(reader.path("copy/two")).unwrap(), b"mine");
    assert_eq!(fs::read(reader.path("copy/folder/own")).unwrap(), b"mine too");
    assert!(!reader.path("copy/folder/three").exists());
    // What it has and we changed is in the way; nothing is written.
    write(&reader.path("copy"), b"one", b"changed");
    let before = tree(&reader.path("copy"));
    let sharer = share_again(&user, sharer, |source| {
        write(source, b"one", b"other");
        write(source, b"new", b"new");
        write(source, b"two", b"again");
    });
    assert_exit(&reader.run(["clone", sharer.ticket(), "copy"]), 7);
    assert_eq!(tree(&reader.path("copy")), before);
    assert_exit(&reader.run(["clone", sharer.ticket(), "copy", "--force"]), 0);
    assert_eq!(fs::read(reader.path("copy/one")).unwrap(), b"other");
    assert_eq!(fs::read(reader.path("copy/folder/own")).unwrap(), b"mine too");
    // What was deleted here comes back.
    fs::remove_file(reader.path("copy/new")).unwrap();
    assert_exit(&reader.run(["clone", sharer.ticket(), "copy"]), 0);
    assert_eq!(fs::read(reader.path("copy/new")).unwrap(), b"new");
}

#[test]
fn killed_updates_leave_nothing_behind() {
    let (user, mut sharer) = shared(|source| write(source, b"large", &noise(7, 8 << 20)));
    let reader = User::new();
    assert_exit(&reader.run(["clone", sharer.ticket(), "copy"]), 0);
    for round in 0..6_u64 {
        sharer = share_again(&user, sharer, |source| {
            let name = format!("only-{round}");
            write(source, name.as_bytes(), &noise(100 + round, 6 << 20));
            let _ = fs::remove_file(source.join(format!("only-{}", round.wrapping_sub(1))));
        });
        let args = ["clone", sharer.ticket(), "copy"];
        let mut child = reader.command(args).stderr(Stdio::null()).spawn().unwrap();
        let until = Instant::now() + Duration::from_millis(30 + 25 * round);
        while Instant::now() < until && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        let _ = child.kill();
        child.wait().unwrap();
    }
    assert_exit(&reader.run(["clone", sharer.ticket(), "copy"]), 0);
    assert_eq!(tree(&user.path("source")), tree(&reader.path("copy")));
    let hidden: Vec<_> = fs::read_dir(reader.path("copy"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name.as_encoded_bytes().starts_with(b"."))
        .collect();
    assert_eq!(hidden, [".dat"]);
}

#[test]
fn a_folder_of_a_drive_can_be_had_alone_and_the_rest_later() {
    let (user, sharer) = shared(|source| {
        write(source, b"a/deep/file", &noise(1, 200_000));
        write(source, b"a/other", b"x");
        write(source, b"b/large", &noise(2, 3 << 20));
    });
    let reader = User::new();
    let part = format!("{}/a", sharer.ticket());
    assert_exit(&reader.run(["clone", &part, "copy"]), 0);
    let expected: Vec<&[u8]> = vec![b"a", b"a/deep", b"a/deep/file", b"a/other"];
    assert_eq!(tree(&reader.path("copy")).into_keys().collect::<Vec<_>>(), expected);
    assert_exit(&reader.run(["clone", &format!("{}/none", sharer.ticket()), "other"]), 4);
    let file = format!("{}/b/large", sharer.ticket());
    assert_exit(&reader.run(["clone", &file, "copy"]), 0);
    assert!(reader.path("copy/a/other").exists());
    assert_eq!(tree(&user.path("source")), tree(&reader.path("copy")));
    assert_exit(&reader.run(["clone", sharer.ticket(), "copy"]), 0);
    assert_exit(&reader.run(["verify", "--full", "copy"]), 0);
}

#[test]
fn a_clone_has_the_whole_history() {
    let (user, mut sharer) = shared(|source| write(source, b"file", b"0"));
    for round in 1..40_u32 {
        sharer = share_again(&user, sharer, |source| {
            write(source, b"file", round.to_string().as_bytes());
        });
    }
    let reader = User::new();
    assert_exit(&reader.run(["clone", sharer.ticket(), "copy"]), 0);
    drop(sharer);
    let output = reader.run(["log", "./copy", "--json", "--wait", "1s"]);
    assert_exit(&output, 0);
    assert_eq!(output.stdout.trim_ascii().split(|byte| *byte == b'\n').count(), 40);
    // Complete, and nobody there: that is no failure.
    assert_exit(&reader.run(["clone", user_link(&reader).trim(), "copy", "--wait", "1s"]), 0);
}

fn user_link(user: &User) -> String {
    fs::read_to_string(user.path("copy/.dat/key")).unwrap()
}
