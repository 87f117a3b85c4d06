//! Live: what changes in a shared folder comes to those who follow, as one version each time.

use std::cell::Cell;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use datnode_tests::process::{Running, signal, wait_until};
use datnode_tests::{Sharer, User, assert_exit, noise, tree, write};
use serde_json::Value;

/// What takes longer than this never comes.
const HANGS: Duration = Duration::from_secs(60);

/// A clone that follows, and what it says.
struct Follower {
    process: Running,
    said: mpsc::Receiver<Value>,
}

impl Follower {
    /// Clones into `copy`, and follows from there on.
    fn start(reader: &User, ticket: &str, more: &[&str]) -> Self {
        let mut command = reader.command(["--json", "clone", "--live", ticket, "copy"]);
        let mut child = command.args(more).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (tell, said) = mpsc::channel();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = tell.send(serde_json::from_str(&line).unwrap());
            }
        });
        let follower = Self { process: Running::new(child), said };
        follower.wait_for("done");
        follower
    }

    fn wait_for(&self, what: &str) -> Value {
        loop {
            let value =
                self.said.recv_timeout(HANGS).unwrap_or_else(|_| panic!("{what} never came"));
            if value["type"] == what {
                return value;
            }
        }
    }

    fn stop(self) {
        self.process.signal("-INT");
        let ended = self.process.finish(HANGS).output;
        assert_exit(&ended, 0);
    }
}

/// Files that are deleted one after the other: as late as anything is looked at.
const MARKERS: [&str; 10] = ["m0", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "m9"];

/// A drive that is shared, and a clone that follows it.
struct Pair {
    user: User,
    sharer: Sharer,
    reader: User,
    follower: Follower,
    /// How many markers are gone.
    marked: Cell<usize>,
}

impl Pair {
    fn new(make: impl Fn(&Path), more: &[&str]) -> Self {
        let (user, reader) = (User::new(), User::new());
        fs::create_dir_all(user.path("source")).unwrap();
        make(&user.path("source"));
        MARKERS.iter().for_each(|name| write(&user.path("source"), name.as_bytes(), b"for later"));
        let sharer = user.share(&user.path("source"), more);
        let follower = Follower::start(&reader, sharer.ticket(), &[]);
        Self { user, sharer, reader, follower, marked: Cell::new(0) }
    }

    fn source(&self) -> PathBuf {
        self.user.path("source")
    }

    fn copy(&self) -> PathBuf {
        self.reader.path("copy")
    }

    /// Waits until the copy is what the source is.
    fn wait_until_equal(&self) {
        wait_until(HANGS, "the copy", || tree(&self.source()) == tree(&self.copy()));
    }

    /// Returns the number of the latest version.
    fn latest(&self) -> u64 {
        let log = self.user.run(["--json", "log", "-n", "1", "source"]);
        assert_exit(&log, 0);
        let line: Value = serde_json::from_slice(&log.stdout).unwrap();
        line["change"].as_u64().unwrap()
    }

    /// Does something in the source, all of it before anybody looks; what comes of it is one version.
    ///
    /// How long may pass between two steps that are one is `live/pending`'s affair.
    fn one_version(&self, what: &str, act: impl FnOnce(&Path)) {
        let before = self.latest();
        signal(&self.sharer.child, "-STOP");
        act(&self.source());
        signal(&self.sharer.child, "-CONT");
        let told = self.follower.wait_for("change");
        assert_eq!(told["change"], before + 1, "{what}");
        self.wait_until_equal();
        self.nothing_more(before + 1, what);
    }

    /// Asserts that nothing comes behind a version: what is deleted now is the next one, and all there is in it.
    fn nothing_more(&self, version: u64, what: &str) {
        let marker = MARKERS[self.marked.replace(self.marked.get() + 1)];
        fs::remove_file(self.source().join(marker)).unwrap();
        let told = self.follower.wait_for("change");
        assert_eq!(told["change"], version + 1, "{what}");
        let since = version.to_string();
        let changes = self.user.run(["changes", "--since", &since, "source"]);
        assert_exit(&changes, 0);
        let changes = String::from_utf8(changes.stdout).unwrap();
        let keys = changes.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let keys: Vec<_> = keys.map(|change| change["key"].as_str().unwrap().to_owned()).collect();
        assert_eq!(keys, [marker], "{what}");
    }
}

#[test]
fn whatever_changes_in_the_folder_is_one_version_each_and_comes_to_who_follows() {
    let make = |source: &Path| {
        write(source, b"docs/a", b"first");
        write(source, b"kept", &noise(1, 300_000));
        write(source, b"kept-too", &noise(1, 300_000));
    };
    let pair = Pair::new(make, &[]);
    pair.one_version("a new file", |source| write(source, b"docs/b", b"new"));
    pair.one_version("an edit in place", |source| write(source, b"docs/a", b"second"));
    pair.one_version("a folder with files in it", |source| {
        (0..50).for_each(|number| write(source, format!("many/of/{number}").as_bytes(), b"them"));
    });
    pair.one_version("an edit in a folder that is new", |source| {
        write(source, b"many/of/7", b"other");
    });
    pair.one_version("a folder that is moved", |source| {
        fs::rename(source.join("many"), source.join("others")).unwrap();
    });
    pair.one_version("an edit in a folder that was moved", |source| {
        write(source, b"others/of/7", b"yet another");
    });
    pair.one_version("a file that is gone", |source| {
        fs::remove_file(source.join("docs/b")).unwrap()
    });
    pair.one_version("a folder that is gone", |source| {
        fs::remove_dir_all(source.join("others")).unwrap();
    });
    pair.one_version("other permissions", |source| {
        let mode = fs::Permissions::from_mode(0o600);
        fs::set_permissions(source.join("docs/a"), mode).unwrap();
    });
    // One after the other, before either has settled.
    fs::rename(pair.source().join("docs"), pair.source().join("papers")).unwrap();
    symlink("papers", pair.source().join("docs")).unwrap();
    pair.follower.wait_for("change");
    pair.follower.wait_for("change");
    pair.wait_until_equal();
    pair.one_version("one of two equal files that is gone", |source| {
        fs::remove_file(source.join("kept")).unwrap();
    });
    pair.follower.stop();
    assert_exit(&pair.reader.run(["verify", "--full", "copy"]), 0);
    let missing = pair.reader.run(["ls", "-R", "--missing", "copy"]);
    assert_exit(&missing, 0);
    assert_eq!(String::from_utf8_lossy(&missing.stdout), "", "what was not touched is here");
}

#[test]
fn a_folder_that_is_moved_away_while_it_is_shared_is_not_taken_for_an_empty_one() {
    let mut pair = Pair::new(|source| write(source, b"a", b"first"), &[]);
    fs::rename(pair.source(), pair.user.path("elsewhere")).unwrap();
    fs::remove_file(pair.user.path("elsewhere/a")).unwrap();
    // It says that it has lost its folder.
    let said = BufReader::new(pair.sharer.child.stderr.take().unwrap()).lines();
    assert!(said.map_while(Result::ok).any(|line| line.contains("E-NOTDRIVE")));
    write(&pair.user.path("elsewhere"), b"a", b"second");
    fs::rename(pair.user.path("elsewhere"), pair.source()).unwrap();
    write(&pair.source(), b"b", b"after it came back");
    wait_until(HANGS, "b", || pair.copy().join("b").exists());
    let changes = pair.user.run(["changes", "source"]);
    assert_exit(&changes, 0);
    assert!(!String::from_utf8_lossy(&changes.stdout).contains("\"del\""));
}

#[test]
fn what_a_bare_drive_has_is_not_in_its_folder_and_stays() {
    let (user, reader) = (User::new(), User::new());
    write(&user.path(""), b"file", b"bytes");
    assert_exit(&user.run(["init", "--bare", "drive"]), 0);
    assert_exit(&user.run(["put", "file", "drive/file"]), 0);
    let sharer = user.share(&user.path("drive"), &[]);
    // This has a whole folder looked through.
    write(&user.path("drive"), b".datignore", b"*.tmp\n");
    for name in ["drive/b", "drive/c", "drive/d"] {
        assert_exit(&user.run(["put", "file", name]), 0);
    }
    let changes = user.run(["changes", "drive"]);
    assert!(!String::from_utf8_lossy(&changes.stdout).contains("\"del\""));
    assert_exit(&reader.run(["clone", sharer.ticket(), "copy"]), 0);
    assert_eq!(fs::read(reader.path("copy/file")).unwrap(), b"bytes");
}

#[test]
fn a_save_is_one_version_however_an_editor_does_it() {
    let pair = Pair::new(|source| write(source, b"text", b"first"), &[]);
    pair.one_version("a new file gets the name", |source| {
        write(source, b"text.tmp", b"second");
        fs::rename(source.join("text.tmp"), source.join("text")).unwrap();
    });
    pair.one_version("a hidden one gets the name", |source| {
        write(source, b".text.swp", b"third");
        fs::rename(source.join(".text.swp"), source.join("text")).unwrap();
    });
    pair.one_version("the old one is kept until the new one is durable", |source| {
        fs::rename(source.join("text"), source.join("text~")).unwrap();
        write(source, b"text", b"fourth");
        fs::File::open(source.join("text")).unwrap().sync_all().unwrap();
        fs::remove_file(source.join("text~")).unwrap();
    });
    pair.one_version("it is emptied first", |source| {
        fs::File::create(source.join("text")).unwrap();
        write(source, b"text", b"fifth");
    });
}

#[test]
fn a_folder_of_many_files_that_is_moved_is_not_read_again_and_sends_names_alone() {
    let make = |source: &Path| {
        for number in 0..300_u64 {
            write(source, format!("many/{number}").as_bytes(), &noise(number, 20_000));
        }
    };
    let pair = Pair::new(make, &[]);
    let sent = |pair: &Pair| {
        let peers = pair.user.run(["--json", "peers", "source"]);
        let told = String::from_utf8(peers.stdout).unwrap();
        let peers = told.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        peers.map(|peer| peer["bytes_out"].as_u64().unwrap()).sum::<u64>()
    };
    let before = sent(&pair);
    assert!(before > 300 * 20_000, "{before} bytes");
    fs::rename(pair.source().join("many"), pair.source().join("others")).unwrap();
    pair.follower.wait_for("change");
    pair.wait_until_equal();
    let moved = sent(&pair) - before;
    assert!(moved < 300 * 1_000, "{moved} bytes for names of files that have 6 MB");
}

#[test]
fn who_reads_a_file_that_is_replaced_sees_the_old_or_the_new_one() {
    let pair = Pair::new(|source| write(source, b"file", &[b'a'; 300_000]), &[]);
    for letter in b'b'..=b'f' {
        write(&pair.source(), b"file", &[letter; 300_000]);
        wait_until(HANGS, "the new file", || {
            let seen = fs::read(pair.copy().join("file")).unwrap();
            assert_eq!(seen.len(), 300_000);
            assert!(seen.iter().all(|byte| *byte == seen[0]), "a mix of two versions");
            seen[0] == letter
        });
    }
}

#[test]
#[cfg(target_os = "linux")]
fn what_the_system_lost_count_of_is_found_by_looking_through_the_whole_folder() {
    let make = |source: &Path| {
        for name in ["a", "b", "edited", "dropped", "deep/er/moved"] {
            write(source, name.as_bytes(), name.as_bytes());
        }
    };
    let pair = Pair::new(make, &[]);
    let most = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let most: u32 = most.trim().parse().unwrap();
    // Nobody takes what is told, so that the queue fills: with two paths alone, of which nobody would lose count.
    signal(&pair.sharer.child, "-STOP");
    for number in 0..=most {
        let (name, mode) = (["a", "b"][number as usize % 2], 0o600 + number / 2 % 2);
        fs::set_permissions(pair.source().join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    // None of this is told any more.
    write(&pair.source(), b"edited", b"as nobody was told");
    write(&pair.source(), b"new/folder/file", b"as nobody was told");
    fs::remove_file(pair.source().join("dropped")).unwrap();
    fs::rename(pair.source().join("deep/er"), pair.source().join("shallow")).unwrap();
    signal(&pair.sharer.child, "-CONT");
    pair.wait_until_equal();
    // New folders are watched from then on.
    write(&pair.source(), b"new/folder/file", b"and as it was told again");
    write(&pair.source(), b"shallow/moved", b"and this one");
    pair.wait_until_equal();
    pair.follower.stop();
}

#[test]
fn nothing_is_taken_in_with_no_watch() {
    let (user, reader) = (User::new(), User::new());
    write(&user.path("source"), b"a", b"first");
    let sharer = user.share(&user.path("source"), &["--no-watch"]);
    write(&user.path("source"), b"b", b"new");
    write(&user.path(""), b"file", b"bytes");
    // Far more happens than a watcher waits for.
    for name in ["source/c", "source/d", "source/e"] {
        assert_exit(&user.run(["put", "file", name]), 0);
    }
    assert_exit(&reader.run(["clone", sharer.ticket(), "copy"]), 0);
    assert!(reader.path("copy/e").exists() && !reader.path("copy/b").exists());
}

#[test]
fn what_is_left_out_makes_no_version_and_what_says_so_is_heeded() {
    let pair = Pair::new(|source| write(source, b"a", b"first"), &[]);
    let before = pair.latest();
    write(&pair.source(), b".hidden", b"nobody's");
    write(&pair.source(), b".git/objects/1", b"nobody's");
    pair.nothing_more(before, "what is hidden");
    write(&pair.source(), b"b.tmp", b"for now");
    pair.follower.wait_for("change");
    write(&pair.source(), b".datignore", b"*.tmp\n");
    wait_until(HANGS, "it goes", || !pair.copy().join("b.tmp").exists());
}

#[test]
fn folders_that_come_while_others_begin_to_be_watched_are_watched_as_well() {
    let pair = Pair::new(|source| write(source, b"a", b"first"), &[]);
    for folder in 0..2_000 {
        fs::create_dir_all(pair.source().join(format!("{folder}/below"))).unwrap();
    }
    pair.wait_until_equal();
    write(&pair.source(), b"1999/below/last", b"heard of");
    pair.wait_until_equal();
}

#[test]
fn a_file_of_the_user_in_the_way_of_a_new_one_stays_and_what_follows_comes() {
    let pair = Pair::new(|source| write(source, b"a", b"first"), &[]);
    write(&pair.copy(), b"b", b"the user's own");
    write(&pair.source(), b"b", b"the drive's");
    wait_until(HANGS, "a version", || pair.latest() == 2);
    fs::rename(pair.copy().join("b"), pair.copy().join("mine")).unwrap();
    write(&pair.source(), b"c", b"more");
    wait_until(HANGS, "both", || pair.copy().join("b").exists() && pair.copy().join("c").exists());
    assert_eq!(fs::read(pair.copy().join("mine")).unwrap(), b"the user's own");
    assert_eq!(fs::read(pair.copy().join("b")).unwrap(), b"the drive's");
}

#[test]
fn a_follower_goes_on_when_the_writer_comes_back() {
    let Pair { user, sharer, reader, follower, .. } =
        Pair::new(|source| write(source, b"a", b"first"), &[]);
    drop(sharer);
    write(&user.path("source"), b"b", b"while nobody looked");
    let sharer = user.share(&user.path("source"), &[]);
    // It has another address now, which only a new clone knows.
    follower.stop();
    let follower = Follower::start(&reader, sharer.ticket(), &[]);
    assert!(reader.path("copy/b").exists());
    write(&user.path("source"), b"c", b"live");
    follower.wait_for("change");
    wait_until(HANGS, "c", || reader.path("copy/c").exists());
}

#[test]
fn whoever_is_killed_while_the_drive_changes_goes_on_from_there() {
    let (user, reader) = (User::new(), User::new());
    let source = user.path("source");
    write(&source, b"0/0", &noise(0, 100_000));
    let mut last = user.share(&source, &[]);
    assert_exit(&reader.run(["clone", last.ticket(), "copy"]), 0);
    for round in 1..=6_u64 {
        let mut follow = reader.command(["clone", "--live", last.ticket(), "copy"]);
        let follower = follow.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let follower = Running::new(follower);
        for step in 0..20 {
            let name = format!("{}/{}", step % 3, round % 4);
            write(&source, name.as_bytes(), &noise(round * 100 + step, 50_000));
            if step % 5 == 4 {
                let (old, new) = (source.join("0"), source.join(format!("moved-{round}-{step}")));
                fs::rename(old, new).unwrap();
            }
            // At other moments each time.
            thread::sleep(Duration::from_millis(7 * round));
        }
        // Both are killed by this, in turns the one or the other first.
        match round % 2 {
            0 => {
                drop(follower);
                drop(last);
            }
            _ => {
                drop(last);
                drop(follower);
            }
        }
        last = user.share(&source, &[]);
    }
    assert_exit(&reader.run(["clone", last.ticket(), "copy"]), 0);
    assert_eq!(tree(&source), tree(&reader.path("copy")));
    for (user, folder) in [(&user, "source"), (&reader, "copy")] {
        assert_exit(&user.run(["verify", "--full", folder]), 0);
    }
}
