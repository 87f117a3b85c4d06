//! Other versions: a clone goes to one and back, and any is written out elsewhere.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use datnode_tests::process::wait_until;
use datnode_tests::{User, assert_exit, noise, tree, write};

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
