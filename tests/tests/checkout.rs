//! Other versions: a clone goes to one and back, and any is written out elsewhere.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use datnode_tests::process::wait_until;
use datnode_tests::{User, assert_exit, noise, tree, write};
use serde_json::{Value, json};

/// Makes three versions of `source`, and copies of what it had.
fn versions(user: &User) {
    let source = user.path("source");
    let keep = |name: &str| {
        drop(user.share(&source, &[]));
        let copied = std::process::Command::new("cp")
            .args(["-a", "--"])
            .args([&source, &user.path(name)])
            .status()
            .unwrap();
        assert!(copied.success());
        fs::remove_dir_all(user.path(name).join(".dat")).unwrap();
    };
    write(&source, b"text", b"first");
    write(&source, b"deep/er/data", &noise(1, 300_000));
    symlink("text", source.join("link")).unwrap();
    keep("1");
    write(&source, b"text", b"second");
    fs::rename(source.join("deep/er"), source.join("deep/other")).unwrap();
    keep("2");
    fs::remove_dir_all(source.join("deep")).unwrap();
    let mode = fs::Permissions::from_mode(0o640);
    fs::set_permissions(source.join("text"), mode).unwrap();
    keep("3");
}

#[test]
fn any_version_is_written_out_elsewhere_by_who_wrote_it_and_by_who_reads_it() {
    let (user, reader) = (User::new(), User::new());
    versions(&user);
    let into = |number: u32| format!("out-{number}");
    for number in 1..=3 {
        let (version, into) = (number.to_string(), into(number));
        assert_exit(&user.run(["checkout", &version, "source", "--into", &into]), 0);
        assert_eq!(tree(&user.path(&into)), tree(&user.path(&version)));
        assert!(!user.path(&into).join(".dat").exists());
    }
    let before = tree(&user.path("source"));
    let sharer = user.share(&user.path("source"), &[]);
    fs::create_dir_all(reader.path("")).unwrap();
    let remote = ["checkout", "2", sharer.ticket(), "--into", "out"];
    assert_exit(&reader.run(remote), 0);
    assert_eq!(tree(&reader.path("out")), tree(&user.path("2")));
    assert_eq!(tree(&user.path("source")), before, "the working folder is as it was");
    // What is there is not touched.
    assert_exit(&reader.run(remote), 7);
    assert_exit(&reader.run(["checkout", "9", sharer.ticket(), "--into", "none"]), 4);
    let part = format!("{}/deep", sharer.link());
    let args = ["checkout", "1", &part, "--into", "part", "--peer", sharer.address()];
    assert_exit(&reader.run(args), 0);
    assert!(reader.path("part/deep/er/data").exists() && !reader.path("part/text").exists());
}

#[test]
fn a_clone_goes_back_and_forth_and_takes_nothing_of_the_users() {
    let (user, reader) = (User::new(), User::new());
    versions(&user);
    let sharer = user.share(&user.path("source"), &[]);
    let goes_to = |number: &str| {
        let args = ["checkout", number, "copy", "--peer", sharer.address()];
        assert_exit(&reader.run(args), 0);
        assert_eq!(tree(&reader.path("copy")), tree(&user.path(number)));
    };
    assert_exit(&reader.run(["clone", sharer.ticket(), "copy"]), 0);
    ["1", "3", "2"].into_iter().for_each(goes_to);
    write(&reader.path("copy"), b"text", b"the user's own");
    let back = ["checkout", "1", "copy", "--peer", sharer.address()];
    assert_exit(&reader.run(back), 7);
    assert_eq!(fs::read(reader.path("copy/text")).unwrap(), b"the user's own");
    fs::remove_file(reader.path("copy/text")).unwrap();
    assert_exit(&reader.run(["pull", "copy", "--peer", sharer.address()]), 0);
    assert_eq!(tree(&reader.path("copy")), tree(&user.path("3")));
    assert_exit(&user.run(["checkout", "1", "source"]), 2);
}

#[test]
fn sync_shares_what_is_written_here_and_follows_what_is_not() {
    let (user, reader) = (User::new(), User::new());
    write(&user.path("source"), b"a", b"first");
    let sharer = user.share(&user.path("source"), &[]);
    assert_exit(&reader.run(["clone", sharer.ticket(), "copy"]), 0);
    drop(sharer);
    let sharer = datnode_tests::Sharer::start(user.command(["--json", "sync", "source"]));
    let mut follow = reader.command(["sync", "copy", "--peer", sharer.address()]);
    let follower = datnode_tests::process::Running::new(follow.spawn().unwrap());
    write(&user.path("source"), b"b", b"second");
    let comes = |name: &str| {
        let path = reader.path("copy").join(name);
        wait_until(std::time::Duration::from_secs(60), name, || path.exists());
    };
    comes("b");
    // What came until now it may have found when it began; this it has followed to.
    write(&user.path("source"), b"c", b"third");
    comes("c");
    follower.signal("-TERM");
    assert_exit(&follower.finish(std::time::Duration::from_secs(60)).output, 0);
    assert_exit(&reader.run(["sync", "nowhere"]), 2);
}

#[test]
fn a_clone_at_an_older_version_tells_of_the_files_that_are_there() {
    let (user, reader) = (User::new(), User::new());
    versions(&user);
    let sharer = user.share(&user.path("source"), &[]);
    assert_exit(&reader.run(["clone", sharer.ticket(), "copy"]), 0);
    let back = ["checkout", "1", "copy", "--peer", sharer.address()];
    assert_exit(&reader.run(back), 0);
    drop(sharer);
    let said = |args: &[&str]| {
        let output = reader.run(args);
        assert_exit(&output, 0);
        String::from_utf8(output.stdout).unwrap()
    };
    let status: Value = serde_json::from_str(&said(&["--json", "status", "copy"])).unwrap();
    assert_eq!((&status["change"], &status["latest"]), (&1.into(), &3.into()), "{status}");
    assert!(status["missing"].as_array().unwrap().is_empty(), "{status}");
    assert!(said(&["status", "copy"]).contains("(3 is known here: datnode pull "));
    assert!(said(&["ls", "-R", "copy"]).contains("deep/er/data"));
    assert_eq!(said(&["cat", "copy/text"]), "first");
    assert!(
        !said(&["ls", "-R", "copy+latest"]).contains("deep"),
        "the latest is named by its word"
    );
    assert!(said(&["du", "copy"]).contains("deep"));
    assert!(said(&["stat", "copy/deep/er/data"]).contains("deep/er/data"));
}

#[test]
fn who_goes_on_writing_at_an_older_version_deletes_nothing_newer() {
    let [writer, reader] = [(); 2].map(|()| User::new());
    let source = writer.path("source");
    write(&source, b"old", b"1");
    drop(writer.share(&source, &[]));
    write(&source, b"newer", b"2");
    let sharer = writer.share(&source, &[]);
    assert_exit(&reader.run(["clone", sharer.ticket(), "copy"]), 0);
    drop(sharer);
    // The disk is gone, and a reader gives the drive back.
    std::fs::remove_dir_all(&source).unwrap();
    let sharer = reader.share(&reader.path("copy"), &[]);
    assert_exit(&writer.run(["clone", sharer.ticket(), "source", "--at", "1"]), 0);
    drop(sharer);
    write(&source, b"own", b"3");
    let sharer = writer.share(&source, &[]);
    assert_exit(&reader.run(["clone", sharer.ticket(), "copy"]), 0);
    let names: Vec<_> = tree(&reader.path("copy")).into_keys().collect();
    assert_eq!(names, [&b"newer"[..], b"old", b"own"]);
}

#[test]
fn what_has_no_bytes_is_named_by_cat() {
    let user = User::new();
    write(&user.path("source"), b"folder/file", b"bytes");
    symlink("folder/file", user.path("source/link")).unwrap();
    drop(user.share(&user.path("source"), &[]));
    for (path, what) in [
        ("source/", "the drive as a whole is a folder"),
        ("source/folder/", "folder is a folder"),
        ("source/link", "link is a link"),
    ] {
        let output = user.run(["cat", path]);
        assert_exit(&output, 2);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(what) && said.contains(&format!("datnode ls {path}")), "{said}");
    }
}

#[test]
fn status_counts_what_was_changed_and_removed_in_a_clone() {
    let (user, reader) = (User::new(), User::new());
    write(&user.path("source"), b"one", b"first");
    write(&user.path("source"), b"two", b"second");
    write(&user.path("source"), b"three", b"third");
    let sharer = user.share(&user.path("source"), &[]);
    assert_exit(&reader.run(["clone", sharer.ticket(), "copy"]), 0);
    let own = || {
        let output = reader.run(["--json", "status", "copy"]);
        assert_exit(&output, 0);
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["own"].clone()
    };
    assert_eq!(own(), json!({ "changed": 0, "removed": 0 }));
    // Written anew with the same bytes, which is no change.
    write(&reader.path("copy"), b"three", b"third");
    assert_eq!(own(), json!({ "changed": 0, "removed": 0 }));
    write(&reader.path("copy"), b"one", b"mine!");
    fs::remove_file(reader.path("copy/two")).unwrap();
    assert_eq!(own(), json!({ "changed": 1, "removed": 1 }));
    let shown = reader.run(["status", "copy"]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("1 file changed and 1 removed here"));
}
