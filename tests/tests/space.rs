//! Room on the disk: what is freed is freed to the byte, and nothing goes that somebody needs.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use datnode_tests::pty::Pty;
use datnode_tests::{User, assert_exit, noise, tree, write};
use serde_json::Value;

/// Returns how many bytes a drive's own bytes take on the disk.
fn data(folder: &Path) -> u64 {
    folder.join(".dat/store/data").metadata().unwrap().blocks() * 512
}

fn last(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().last();
    let line = line.unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    serde_json::from_str(line).unwrap()
}

fn number(record: &Value, name: &str) -> u64 {
    record[name].as_u64().unwrap_or_else(|| panic!("{name} in {record}"))
}

fn clear(user: &User, args: &[&str]) -> Value {
    let output = user.run(["--json", "clear"].iter().chain(args));
    assert_exit(&output, 0);
    last(&output)
}

fn cat(user: &User, address: &str, version: &str) -> Option<Vec<u8>> {
    let output = user.run(["cat", address, "--at", version, "--wait", "1s"]);
    match output.status.code() {
        Some(0) => Some(output.stdout),
        Some(5) => None,
        _ => panic!("{}", String::from_utf8_lossy(&output.stderr)),
    }
}

/// Three versions: `edited` is another in each, `kept` is the same in all, `was` becomes `is`, and `twin` is what `edited` was first.
fn history() -> User {
    let user = User::new();
    let source = user.path("source");
    write(&source, b"edited", &edited(1));
    write(&source, b"kept", &noise(10, 300_000));
    write(&source, b"was", &noise(11, 300_000));
    write(&source, b"twin", &edited(1));
    drop(user.share(&source, &[]));
    write(&source, b"edited", &edited(2));
    fs::rename(source.join("was"), source.join("is")).unwrap();
    drop(user.share(&source, &[]));
    write(&source, b"edited", &edited(3));
    assert_eq!(user.share(&source, &[]).ready["change"], 3);
    user
}

fn edited(version: u64) -> Vec<u8> {
    // Files of one size whose times may be the same second are read again.
    noise(version, 500_000 + usize::try_from(version).unwrap())
}

#[test]
fn what_only_older_versions_need_is_freed_to_the_byte() {
    let user = history();
    let source = user.path("source");
    let dry = clear(&user, &["source", "--keep-latest", "--dry-run"]);
    let before = data(&source);
    let cleared = clear(&user, &["source", "--keep-latest", "--yes"]);
    // Only the second edit is in no file now: the first one is that of a twin, and what was renamed is the same.
    assert_eq!(number(&cleared, "bytes"), 500_002);
    assert_eq!((number(&dry, "blocks"), number(&dry, "freed")), (number(&cleared, "blocks"), 0));
    assert_eq!(number(&cleared, "freed"), before - data(&source));
    assert!(number(&cleared, "freed") > 480_000, "{cleared}");
    assert_eq!(cat(&user, "source/edited", "1"), Some(edited(1)));
    assert_eq!(cat(&user, "source/edited", "2"), None);
    assert_eq!(cat(&user, "source/edited", "3"), Some(edited(3)));
    assert_eq!(cat(&user, "source/was", "1"), Some(noise(11, 300_000)));
    // History is still told, and what is there is sound.
    let log = user.run(["--json", "log", "source"]);
    assert_eq!(String::from_utf8_lossy(&log.stdout).lines().count(), 3);
    assert_exit(&user.run(["verify", "source"]), 0);
    assert_eq!(number(&clear(&user, &["source", "--yes"]), "blocks"), 0);
    // Somebody who clones now has all of the latest version.
    let sharer = user.share(&source, &[]);
    assert_eq!(sharer.ready["change"], 3);
    let reader = User::new();
    assert_exit(&reader.run(["clone", sharer.ticket(), "copy"]), 0);
    assert_eq!(tree(&source), tree(&reader.path("copy")));
}

#[test]
fn a_version_or_a_date_says_what_is_too_old() {
    let user = history();
    for since in ["1", "2000-01-01", "@2000-01-01T00:00:00Z"] {
        let dry = clear(&user, &["source", "--older-than", since, "--dry-run"]);
        assert_eq!(number(&dry, "blocks"), 0, "{since}");
    }
    // The second edit is of version 2: older than 3, not than 2.
    assert_eq!(number(&clear(&user, &["source", "--older-than", "2", "--yes"]), "bytes"), 0);
    let dry = clear(&user, &["source", "--older-than", "2999-01-01", "--dry-run"]);
    assert_eq!(number(&dry, "bytes"), 500_002);
    assert_eq!(number(&clear(&user, &["source", "--older-than", "3", "--yes"]), "bytes"), 500_002);
    // What is neither a number nor a date may be a tag.
    assert_exit(&user.run(["clear", "source", "--older-than", "second", "--dry-run"]), 4);
    assert_exit(&user.run(["tag", "second", "source+2"]), 0);
    let dry = clear(&user, &["source", "--older-than", "second", "--dry-run"]);
    assert_eq!(number(&dry, "bytes"), 0);
    assert_exit(&user.run(["clear", "source", "--older-than", "not a version"]), 2);
    assert_exit(&user.run(["clear", "source", "--older-than", "9", "--yes"]), 4);
}

#[test]
fn globs_mean_the_content_of_what_they_match_alone() {
    let user = history();
    let source = user.path("source");
    // `twin` keeps the first edit, and version 3 keeps the third.
    assert_eq!(number(&clear(&user, &["source", "kept", "is", "--yes"]), "blocks"), 0);
    assert_eq!(number(&clear(&user, &["source", "edit*", "--yes"]), "bytes"), 500_002);
    fs::remove_file(source.join("twin")).unwrap();
    fs::remove_file(source.join("is")).unwrap();
    drop(user.share(&source, &[]));
    // Gone from the latest version: what was `was` and `is` goes if both are meant.
    assert_eq!(number(&clear(&user, &["source", "was", "--yes"]), "blocks"), 0);
    assert_eq!(number(&clear(&user, &["source", "twin", "--yes"]), "blocks"), 0);
    assert_eq!(number(&clear(&user, &["source", "was", "is", "--yes"]), "bytes"), 300_000);
    assert_eq!(number(&clear(&user, &["source", "--yes"]), "bytes"), 500_001);
    assert_exit(&user.run(["verify", "source"]), 0);
}

#[test]
fn a_writer_is_asked_and_gets_back_what_others_have() {
    let user = history();
    let source = user.path("source");
    let sharer = user.share(&source, &[]);
    let reader = User::new();
    assert_exit(&reader.run(["clone", sharer.ticket(), "copy", "--at", "2"]), 0);
    drop(sharer);
    let asked = user.run(["clear", "source", "--keep-latest"]);
    assert_exit(&asked, 2);
    assert!(String::from_utf8_lossy(&asked.stderr).contains("You write this drive"));
    assert_eq!(cat(&user, "source/edited", "2"), Some(edited(2)));
    clear(&user, &["source", "--keep-latest", "--yes"]);
    let gone = user.run(["cat", "source/edited", "--at", "2"]);
    assert_exit(&gone, 5);
    assert!(String::from_utf8_lossy(&gone.stderr).contains("datnode recover"), "{gone:?}");
    let serving = reader.share(&reader.path("copy"), &[]);
    assert_exit(&user.run(["recover", "source", "--peer", serving.address(), "--wait", "20s"]), 0);
    assert_eq!(cat(&user, "source/edited", "2"), Some(edited(2)));
}

/// Types an answer to what a command asks on a terminal; returns its exit code.
fn answer(user: &User, args: &[&str], asks: &str, answer: &str) -> Option<i32> {
    let mut terminal = Pty::start(&user.command(args), 100);
    terminal.wait_for(0, asks);
    terminal.press(answer);
    terminal.child.wait().unwrap().code()
}

#[test]
fn on_a_terminal_it_is_asked_before_what_may_not_come_back() {
    let user = history();
    let old = || cat(&user, "source/edited", "2");
    let clear = ["clear", "source", "--keep-latest"];
    assert_eq!(answer(&user, &clear, "Type yes", "no\n"), Some(2));
    assert_eq!(old(), Some(edited(2)));
    assert_eq!(answer(&user, &clear, "Type yes", "yes\n"), Some(0));
    assert_eq!(old(), None);
    assert_eq!(answer(&user, &["purge", "source"], "Type source", "yes\n"), Some(2));
    assert!(user.path("source/.dat").exists());
    assert_eq!(answer(&user, &["purge", "source"], "Type source", "source\n"), Some(0));
    assert!(!user.path("source/.dat").exists());
}

#[test]
fn what_was_cleared_is_stored_again_when_it_comes_again() {
    let user = history();
    let source = user.path("source");
    clear(&user, &["source", "--yes"]);
    write(&source, b"edited", &edited(2));
    assert_eq!(user.share(&source, &[]).ready["change"], 4);
    assert_eq!(cat(&user, "source/edited", "4"), Some(edited(2)));
    assert_exit(&user.run(["verify", "source"]), 0);
}

#[test]
fn a_share_that_runs_frees_and_tells_its_peers() {
    let user = history();
    let source = user.path("source");
    let sharer = user.share(&source, &[]);
    let reader = User::new();
    let at_once = clear(&user, &["source", "--yes"]);
    assert_eq!(number(&at_once, "bytes"), 500_002);
    assert!(number(&at_once, "freed") > 480_000);
    let fetch = |path: &str, version: &str| {
        let address = format!("{}/{path}", sharer.link());
        let peer = sharer.address();
        reader.run(["cat", &address, "--at", version, "--peer", peer, "--wait", "1s"])
    };
    assert_eq!(fetch("edited", "3").stdout, edited(3));
    assert_exit(&fetch("edited", "2"), 5);
    // What is shared next is taken in while the drive is open, also where a chunk was cleared.
    write(&source, b"edited", &edited(2));
    datnode_tests::process::wait_until(Duration::from_secs(60), "version 4", || {
        fetch("edited", "latest").stdout == edited(2)
    });
    drop(sharer);
    assert_exit(&user.run(["verify", "source"]), 0);
}

#[test]
fn the_files_of_a_clone_go_only_if_they_are_asked_for_and_as_they_were() {
    let user = history();
    let sharer = user.share(&user.path("source"), &[]);
    let reader = User::new();
    let copy = reader.path("copy");
    assert_exit(&reader.run(["clone", sharer.ticket(), "copy"]), 0);
    let whole = tree(&copy);
    let plain = clear(&reader, &["copy", "edited", "kept"]);
    assert_eq!((number(&plain, "blocks"), number(&plain, "in_files")), (0, 800_003));
    assert_eq!(tree(&copy), whole, "what is seen in a folder stays");
    fs::write(copy.join("kept"), "mine").unwrap();
    let dry = clear(&reader, &["copy", "edited", "kept", "twin", "--files", "--dry-run"]);
    assert_eq!(number(&dry, "files_removed"), 2);
    assert_eq!(fs::read(copy.join("edited")).unwrap(), edited(3), "nothing went");
    let files = clear(&reader, &["copy", "edited", "kept", "--files"]);
    assert_eq!((number(&files, "files_removed"), &files["files_kept"][0]), (1, &"kept".into()));
    assert!(number(&files, "freed") >= 500_003, "{files}");
    assert!(!copy.join("edited").exists());
    assert_eq!(fs::read(copy.join("kept")).unwrap(), b"mine");
    // It is left out from now on, and comes back when it is wanted again.
    let again = ["clone", sharer.ticket(), "copy"];
    assert_exit(&reader.run(again), 0);
    assert!(!copy.join("edited").exists());
    assert_exit(&reader.run(["verify", "copy"]), 0);
    assert_exit(&reader.run(["exclude", "copy", "--clear"]), 0);
    assert_exit(&reader.run(again.iter().chain(&["--force"])), 0);
    assert_eq!(tree(&copy), whole);
    // A file of a writer is its next version.
    assert_exit(&user.run(["clear", "source", "edited", "--files", "--yes"]), 2);
}

#[test]
fn what_a_file_shared_with_one_that_goes_is_found_in_the_one_that_stays() {
    let user = User::new();
    for name in ["one", "two"] {
        write(&user.path("source"), name.as_bytes(), &noise(3, 400_000));
    }
    let sharer = user.share(&user.path("source"), &[]);
    let reader = User::new();
    assert_exit(&reader.run(["clone", sharer.ticket(), "copy"]), 0);
    drop(sharer);
    clear(&reader, &["copy", "one", "--files"]);
    let stat = last(&reader.run(["--json", "stat", "copy/two"]));
    assert_eq!(number(&stat, "here"), 400_000);
    clear(&reader, &["copy", "two", "--files"]);
    let stat = last(&reader.run(["--json", "stat", "copy/two"]));
    assert_eq!(number(&stat, "here"), 0);
}

#[test]
fn what_files_share_and_versions_need_is_told() {
    let user = history();
    let source = user.path("source");
    for (number, name) in ["one", "two"].into_iter().enumerate() {
        // Files that begin alike.
        let own = noise(30 + number as u64, 100_000);
        write(&source, name.as_bytes(), &[noise(20, 400_000), own].concat());
    }
    drop(user.share(&source, &[]));
    let json = |user: &User, args: &[&str]| {
        let output = user.run(["--json"].iter().chain(args));
        assert_exit(&output, 0);
        last(&output)
    };
    let stat = json(&user, &["stat", "source/one"]);
    let (shared, chunks) = (number(&stat, "shared"), number(&stat, "chunks"));
    assert!(0 < shared && shared < chunks, "{stat}");
    let text = user.run(["stat", "source/one"]).stdout;
    assert!(String::from_utf8_lossy(&text).contains(&format!("{shared} shared with other files")));
    assert_eq!(number(&json(&user, &["stat", "source/kept"]), "shared"), 0);
    // Of 2,600,004 bytes of files, some 380,000 are twice; the second edit is of an older version alone.
    let du = json(&user, &["du", "source"]);
    let (saved, history) = (number(&du, "saved"), number(&du, "history"));
    assert!((300_000..400_000).contains(&saved), "{du}");
    assert_eq!(history, number(&du, "bytes") - saved + 500_002);
    assert_eq!(number(&du, "older"), 500_002);
    assert!(number(&du, "store") >= data(&source), "{du}");
    let status = json(&user, &["status", "source"]);
    assert_eq!((number(&status, "saved"), number(&status, "gone")), (saved, 0));
    let freed = number(&clear(&user, &["source", "--yes"]), "freed");
    let now = json(&user, &["status", "source"]);
    assert!(number(&now, "gone") > 0);
    // Beside what was freed, the journal of the drive may have been emptied.
    assert!(number(&now, "store") + freed <= number(&status, "store"), "{now}");
    let text = user.run(["status", "source"]).stdout;
    assert!(String::from_utf8_lossy(&text).contains("older versions are here no longer"));
    // Elsewhere the index alone tells as much.
    let sharer = user.share(&source, &[]);
    let remote = json(&User::new(), &["du", sharer.ticket()]);
    assert_eq!((&remote["saved"], &remote["older"]), (&du["saved"], &du["older"]));
    assert!(remote["store"].is_null() && number(&remote, "here") == 0, "{remote}");
    let stat = json(&User::new(), &["stat", &format!("{}/one", sharer.ticket())]);
    assert_eq!(number(&stat, "shared"), shared);
}

#[test]
fn what_a_sparse_clone_read_is_freed_and_read_again() {
    let user = history();
    let sharer = user.share(&user.path("source"), &[]);
    let reader = User::new();
    assert_exit(&reader.run(["clone", "--sparse", sharer.ticket(), "copy"]), 0);
    let read = || reader.run(["cat", "copy/edited", "--peer", sharer.address()]).stdout;
    assert_eq!(read(), edited(3));
    let before = data(&reader.path("copy"));
    let cleared = clear(&reader, &["copy", "edited"]);
    assert_eq!(number(&cleared, "bytes"), 500_003);
    assert_eq!(number(&cleared, "freed"), before - data(&reader.path("copy")));
    assert_eq!(read(), edited(3));
}

#[test]
fn purge_takes_the_drive_and_leaves_the_files() {
    let user = history();
    let source = user.path("source");
    let sharer = user.share(&source, &[]);
    let reader = User::new();
    let (copy, first) = (reader.path("copy"), sharer.link().to_owned());
    assert_exit(&reader.run(["clone", sharer.ticket(), "copy"]), 0);
    // Neither without a word, nor while it is open.
    assert_exit(&reader.run(["purge", "copy"]), 2);
    assert_exit(&user.run(["purge", "source", "--yes"]), 9);
    assert_exit(&reader.run(["purge", "copy", "--yes", "--with-key"]), 2);
    drop(sharer);
    let files = tree(&copy);
    let purged = last(&reader.run(["--json", "purge", "copy", "--yes"]));
    assert!(number(&purged, "freed") > 0 && purged["key_deleted"] == false, "{purged}");
    assert!(!copy.join(".dat").exists());
    assert_eq!(tree(&copy), files);
    assert_exit(&reader.run(["purge", "copy", "--yes"]), 10);
    let known = reader.run(["--json", "status", "--all"]);
    assert!(known.stdout.is_empty(), "{}", String::from_utf8_lossy(&known.stdout));
    // The key of a drive stays, unless it is asked for as well.
    let has_key = |link: &str| {
        let keys = user.run(["--json", "keys"]);
        String::from_utf8_lossy(&keys.stdout).contains(link)
    };
    assert_exit(&user.run(["destroy", "source", "--yes"]), 0);
    assert!(has_key(&first));
    let second = user.share(&source, &[]).link().to_owned();
    assert!(second != first && has_key(&second), "a new drive");
    assert_exit(&user.run(["purge", "source", "--yes", "--with-key"]), 0);
    assert!(has_key(&first) && !has_key(&second));
}

#[test]
fn a_drive_that_is_a_link_is_not_followed_by_purge() {
    let user = User::new();
    write(&user.path("source"), b"a", b"1");
    drop(user.share(&user.path("source"), &[]));
    let (dat, elsewhere) = (user.path("source/.dat"), user.path("elsewhere"));
    fs::rename(&dat, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &dat).unwrap();
    assert_exit(&user.run(["purge", "source", "--yes"]), 1);
    assert!(elsewhere.join("store/data").exists());
}
