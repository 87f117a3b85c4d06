//! Files shared in place: no second copy of them, and never a byte that was not signed, whatever becomes of them.

use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use datnode_tests::process::Stop;
use datnode_tests::{Sharer, User, assert_exit, noise, tree, write};
use serde_json::Value;

const LARGE: usize = 6 << 20;

fn source(user: &User) -> std::path::PathBuf {
    let source = user.path("source");
    write(&source, b"large", &noise(1, LARGE));
    write(&source, b"other", &noise(2, 700_000));
    write(&source, b"deep/same", &noise(2, 700_000));
    write(&source, b"small", b"a few bytes");
    write(&source, b"empty", b"");
    source
}

fn share(user: &User) -> Sharer {
    user.share(&user.path("source"), &["--in-place"])
}

fn assert_arrives(sharer: &Sharer, source: &Path) {
    let reader = User::new();
    assert_exit(&reader.run(["clone", sharer.ticket(), "copy"]), 0);
    assert_eq!(tree(&reader.path("copy")), tree(source));
}

/// There are peers, and none has it.
fn assert_no_data(output: &Output) {
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!((output.status.code(), &error["code"]), (Some(5), &"E-NODATA".into()), "{error}");
}

/// How many bytes the store of a folder takes on the disk.
fn store_bytes(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let files = fs::read_dir(folder.join(".dat/store")).unwrap();
    files.map(|file| file.unwrap().metadata().unwrap().blocks() * 512).sum()
}

#[test]
fn what_is_shared_in_place_arrives_and_is_not_copied() {
    let user = User::new();
    let source = source(&user);
    let sharer = share(&user);
    assert!(store_bytes(&source) < 1 << 20, "{}", store_bytes(&source));
    assert_arrives(&sharer, &source);
    drop(sharer);
    let sharer = share(&user);
    assert_eq!((&sharer.ready["change"], &sharer.ready["bytes_new"]), (&1.into(), &0.into()));
    drop(sharer);
    assert_exit(&user.run(["verify", "source"]), 0);
}

#[test]
fn what_changed_moved_or_went_is_served_as_it_is_now() {
    let user = User::new();
    let source = source(&user);
    drop(share(&user));
    // Something in front moves all that is behind it, a rename moves nothing, and two files change places.
    let inserted = [b"in front of all".to_vec(), noise(1, LARGE)].concat();
    write(&source, b"large", &inserted);
    // One of two equal files goes.
    fs::rename(source.join("small"), source.join("deep/renamed")).unwrap();
    fs::remove_file(source.join("deep/same")).unwrap();
    write(&source, b"first", &noise(7, 400_000));
    drop(share(&user));
    fs::rename(source.join("first"), source.join("aside")).unwrap();
    fs::rename(source.join("other"), source.join("first")).unwrap();
    fs::rename(source.join("aside"), source.join("other")).unwrap();
    let sharer = share(&user);
    assert!(sharer.ready["bytes_new"].as_u64().unwrap() == 0, "{}", sharer.ready);
    assert_arrives(&sharer, &source);
    drop(sharer);
    let verified = user.run(["--json", "verify", "source"]);
    assert_exit(&verified, 0);
    // What is there no longer is not said to be there.
    let sharer = share(&user);
    let reader = User::new();
    let old = format!("{}+1", sharer.link());
    let refused =
        reader.run(["--json", "clone", &old, "old", "--peer", sharer.address(), "--wait", "2s"]);
    assert_no_data(&refused);
    let renamed = format!("{}+1/small", sharer.link());
    let read = reader.run(["cat", &renamed, "--peer", sharer.address()]);
    assert_exit(&read, 0);
    assert_eq!(read.stdout, b"a few bytes");
}

#[test]
fn a_file_that_changed_since_is_withheld_until_it_is_taken_in_again() {
    let user = User::new();
    let source = source(&user);
    let sharer = user.share(&source, &["--in-place", "--no-watch"]);
    let mut file = fs::OpenOptions::new().write(true).open(source.join("large")).unwrap();
    file.seek(SeekFrom::Start(3 << 20)).unwrap();
    file.write_all(b"changed since").unwrap();
    fs::OpenOptions::new().write(true).open(source.join("other")).unwrap().set_len(10).unwrap();
    fs::remove_file(source.join("small")).unwrap();
    let reader = User::new();
    let clone = ["--json", "clone", sharer.ticket(), "copy", "--wait", "2s"];
    let refused = reader.run(clone);
    assert_no_data(&refused);
    let large = fs::read(reader.path("copy/large"));
    assert!(large.is_err(), "no file is there that is not whole");
    drop(sharer);
    let sharer = share(&user);
    assert_eq!(sharer.ready["changed"], 2, "{}", sharer.ready);
    assert_arrives(&sharer, &source);
    let again = reader.run(["clone", sharer.ticket(), "copy"]);
    assert_exit(&again, 0);
    assert_eq!(tree(&reader.path("copy")), tree(&source));
}

#[test]
fn whoever_shares_with_history_from_now_on_keeps_what_comes() {
    let user = User::new();
    let source = source(&user);
    drop(share(&user));
    let mut bytes = noise(1, LARGE);
    bytes[LARGE / 2] ^= 1;
    write(&source, b"large", &bytes);
    drop(user.share(&source, &[]));
    bytes[LARGE / 3] ^= 1;
    write(&source, b"large", &bytes);
    let sharer = user.share(&source, &[]);
    assert_arrives(&sharer, &source);
    let reader = User::new();
    let second = format!("{}+2/large", sharer.link());
    let read = reader.run(["cat", &second, "--peer", sharer.address()]);
    assert_exit(&read, 0);
    bytes[LARGE / 3] ^= 1;
    assert!(read.stdout == bytes);
}

#[test]
fn equal_files_stand_in_for_each_other() {
    let user = User::new();
    let source = user.path("source");
    for name in [&b"a"[..], b"b", b"c"] {
        write(&source, name, &noise(3, 300_000));
    }
    // So old that it is not read again for its time's sake.
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(3_600);
    for name in ["a", "b", "c"] {
        fs::File::options().write(true).open(source.join(name)).unwrap().set_modified(old).unwrap();
    }
    let sharer = user.share(&source, &["--in-place", "--no-watch"]);
    // What was served from the first of them is gone, and somebody noticed before it was taken in.
    fs::remove_file(source.join("a")).unwrap();
    let reader = User::new();
    assert_exit(&reader.run(["clone", sharer.ticket(), "early", "--wait", "2s"]), 5);
    drop(sharer);
    // A file becomes a folder.
    fs::remove_file(source.join("b")).unwrap();
    write(&source, b"b/inside", b"new");
    let sharer = share(&user);
    assert_arrives(&sharer, &source);
    drop(sharer);
    assert_exit(&user.run(["verify", "source"]), 0);
}

#[test]
fn a_file_that_never_holds_still_leaves_no_claim_behind() {
    let user = User::new();
    let source = source(&user);
    let path = source.join("large");
    // It shares chunks with one that is steady, and comes before it and behind it.
    let steady = noise(1, LARGE);
    write(&source, b"a-steady-one", &steady);
    // Most of its blocks are known when it begins to change.
    share(&user);
    let until = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut file = fs::OpenOptions::new().write(true).open(&path).unwrap();
            let mut value = 0_u64;
            while !until.load(Ordering::Relaxed) {
                value += 1;
                file.seek(SeekFrom::Start(value * 50_000 % LARGE as u64)).unwrap();
                file.write_all(&value.to_le_bytes()).unwrap();
            }
        });
        // However this ends, the writer does.
        let _writing = Stop(&until);
        // It may stand still for once, when somebody else has the processors; then it is taken in.
        let is_unsteady = |number: u32| {
            write(&source, format!("steady-{number}").as_bytes(), &steady);
            let sharer = share(&user);
            let reader = User::new();
            for name in ["a-steady-one".to_owned(), format!("steady-{number}")] {
                let name = format!("{}/{name}", sharer.ticket());
                let output = reader.run(["cat", &name]);
                assert_exit(&output, 0);
                assert!(output.stdout == steady);
            }
            sharer.ready["unsteady"] == 1
        };
        assert!((0..20).any(is_unsteady), "it was steady each time");
    });
    assert_exit(&user.run(["verify", "source"]), 0);
    let sharer = share(&user);
    assert_arrives(&sharer, &source);
}
