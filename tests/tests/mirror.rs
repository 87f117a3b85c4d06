//! Mirrors: many drives in one process, followed and served for ever, whoever is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use datnode_drive::DrivePath;
use datnode_tests::guard::{files, landed};
use datnode_tests::hostile::forge::Forge;
use datnode_tests::hostile::names::{self, Fate};
use datnode_tests::process::{Running, memory_anonymous, wait_until};
use datnode_tests::{Sharer, User, assert_exit, noise, rot, tree, write};
use serde_json::Value;

/// What takes longer than this never comes.
const HANGS: Duration = Duration::from_secs(60);

/// A running `mirror`, and what it says.
struct Mirror {
    process: Running,
    pid: u32,
    said: mpsc::Receiver<Value>,
    /// What it said when it served.
    ready: Value,
}

impl Mirror {
    /// Mirrors into `mirrors`, and waits until that serves.
    fn start(user: &User, args: &[&str]) -> Self {
        let mut command = user.command(["--json", "mirror", "--to", "mirrors"]);
        let mut child = command.args(args).stdout(Stdio::piped()).spawn().unwrap();
        let (pid, lines) = (child.id(), BufReader::new(child.stdout.take().unwrap()).lines());
        let (tell, said) = mpsc::channel();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = tell.send(serde_json::from_str(&line).unwrap());
            }
        });
        let process = Running::new(child);
        let mut mirror = Self { process, pid, said, ready: Value::Null };
        mirror.ready = mirror.wait_for("ready");
        mirror
    }

    fn wait_for(&self, what: &str) -> Value {
        loop {
            let said = self.said.recv_timeout(HANGS);
            let value = said.unwrap_or_else(|_| panic!("{what} never came"));
            if value["type"] == what {
                return value;
            }
        }
    }

    /// Waits until a version of a drive is here.
    fn wait_for_version(&self, link: &str, number: u64) -> Value {
        loop {
            let change = self.wait_for("change");
            if change["drive"]["link"] == link && change["change"] == number {
                return change;
            }
        }
    }

    /// Returns the address for `--peer`.
    fn address(&self) -> &str {
        self.ready["addresses"][0].as_str().unwrap()
    }

    fn kill(self) {
        self.process.signal("-KILL");
        let _ = self.process.finish(HANGS);
    }

    fn stop(self) {
        self.process.signal("-TERM");
        assert_exit(&self.process.finish(Duration::from_secs(2)).output, 0);
    }
}

/// Returns the folder of a mirrored drive.
fn folder(user: &User, link: &str) -> PathBuf {
    user.path("mirrors").join(link)
}

fn word(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// What a command prints, which ends well.
fn prints(user: &User, args: &[&str]) -> Vec<u8> {
    let output = user.run(args);
    assert_exit(&output, 0);
    output.stdout
}

/// Shares a folder of two versions: `a` is `one` in the first, and `two` in the second.
fn share_two_versions(writer: &User) -> Sharer {
    let source = writer.path("source");
    write(&source, b"a", b"one");
    write(&source, b"folder/large", &noise(1, 3_000_000));
    drop(writer.share(&source, &[]));
    write(&source, b"a", b"two");
    write(&source, b"folder/large", &noise(2, 3_000_000));
    writer.share(&source, &[])
}

#[test]
fn a_mirror_follows_and_serves_every_version_when_the_writer_is_gone_for_good() {
    let (writer, mirrorer, reader) = (User::new(), User::new(), User::new());
    let sharer = share_two_versions(&writer);
    let link = sharer.link().to_owned();
    let mirror = Mirror::start(&mirrorer, &[sharer.ticket()]);
    assert_eq!(mirror.wait_for_version(&link, 2)["before"], 0);
    write(&writer.path("source"), b"b", b"while it is followed");
    assert_eq!(mirror.wait_for_version(&link, 3)["before"], 2);
    let latest = tree(&writer.path("source"));
    drop(sharer);
    drop(writer);

    let peer = mirror.address().to_owned();
    prints(&reader, &["clone", &link, "latest", "--peer", &peer]);
    assert_eq!(tree(&reader.path("latest")), latest);
    prints(&reader, &["clone", &link, "first", "--at", "1", "--peer", &peer]);
    assert_eq!(fs::read(reader.path("first/folder/large")).unwrap(), noise(1, 3_000_000));
    // While it runs, and afterwards, its folder can be read as any other.
    let here = folder(&mirrorer, &link);
    let look = || {
        let here = word(&here);
        assert_eq!(prints(&mirrorer, &["cat", &format!("{here}/a"), "--at", "1"]), b"one");
        assert_eq!(prints(&mirrorer, &["ls", here]), b"a\nb\nfolder/\n");
        prints(&mirrorer, &["stat", &format!("{here}/b")]);
        prints(&mirrorer, &["verify", here]);
        let log = prints(&mirrorer, &["--json", "log", here]);
        assert_eq!(log.iter().filter(|byte| **byte == b'\n').count(), 3);
    };
    look();
    let into = ["checkout", "1", word(&here), "--into", "out"];
    prints(&mirrorer, &into);
    assert_eq!(fs::read(mirrorer.path("out/a")).unwrap(), b"one");
    mirror.stop();
    look();
    let names: Vec<_> =
        fs::read_dir(&here).unwrap().map(|name| name.unwrap().file_name()).collect();
    assert_eq!(names, [".dat"], "a mirror has no working files");
}

#[test]
fn nothing_changes_a_mirror_and_nothing_lands_in_one() {
    let (writer, mirrorer) = (User::new(), User::new());
    let sharer = share_two_versions(&writer);
    let mirror = Mirror::start(&mirrorer, &[sharer.ticket()]);
    mirror.wait_for_version(sharer.link(), 2);
    let here = folder(&mirrorer, sharer.link());
    write(&mirrorer.path(""), b"file", b"mine");
    let refuses = || {
        let target = format!("{}/a", word(&here));
        assert_exit(&mirrorer.run(["put", "file", &target]), 8);
        assert_exit(&mirrorer.run(["rm", &target]), 8);
    };
    refuses();
    // Who asks the process is told of that drive alone.
    let status = prints(&mirrorer, &["--json", "status", word(&here)]);
    let status: Value = serde_json::from_slice(&status).unwrap();
    assert_eq!(
        (&status["writes"], &status["missing"]),
        (&Value::Bool(false), &Value::Array(vec![]))
    );
    assert_eq!(status["serving"][0]["pid"], mirror.pid);
    assert!(!prints(&mirrorer, &["--json", "peers", word(&here)]).is_empty());
    mirror.stop();
    refuses();
    for command in [&["pull"][..], &["sync"], &["checkout", "1"], &["clone", sharer.link()]] {
        let output = mirrorer.run(command.iter().copied().chain([word(&here)]));
        assert_exit(&output, 7);
    }
    assert_eq!(fs::read_dir(&here).unwrap().count(), 1);
    // One that is a clone is left alone.
    let other = User::new();
    let there = folder(&other, sharer.link());
    prints(&other, &["clone", sharer.ticket(), word(&there)]);
    let mut command = other.command(["mirror", "--to", "mirrors", sharer.ticket()]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let said = BufReader::new(child.stderr.take().unwrap()).lines();
    let process = Running::new(child);
    assert!(said.map_while(Result::ok).any(|line| line.contains("E-DIRTY")));
    process.signal("-INT");
    assert_exit(&process.finish(HANGS).output, 0);
}

#[test]
fn a_mirror_that_was_killed_goes_on_from_what_it_had() {
    let (writer, mirrorer, reader) = (User::new(), User::new(), User::new());
    write(&writer.path("source"), b"large", &noise(1, 24 << 20));
    let sharer = writer.share(&writer.path("source"), &[]);
    let here = folder(&mirrorer, sharer.link()).join(".dat/store/data");
    let stored = || fs::metadata(&here).map_or(0, |data| data.len());
    let mirror = Mirror::start(&mirrorer, &[sharer.ticket(), "--max-down", "3MiB"]);
    // What is older than five seconds is durable.
    wait_until(HANGS, "20 MiB", || stored() >= 20 << 20);
    mirror.kill();
    let mirror = Mirror::start(&mirrorer, &[sharer.ticket()]);
    mirror.wait_for_version(sharer.link(), 1);
    mirror.process.signal("-TERM");
    let done = mirror.wait_for("done");
    let again = done["bytes_in"].as_u64().unwrap();
    assert!((1 << 20..20 << 20).contains(&again), "{again} bytes came again");
    mirror.process.finish(HANGS);
    let link = sharer.link().to_owned();
    drop(sharer);
    // Started again with nobody there, it serves what it has.
    let mirror = Mirror::start(&mirrorer, &[&link]);
    prints(&reader, &["clone", &link, "copy", "--peer", mirror.address()]);
    assert_eq!(tree(&reader.path("copy")), tree(&writer.path("source")));
    mirror.stop();
}

/// Makes drives without working folders, each with one file, and moves their stores to where a mirror of them has them; returns their links.
fn make_mirrored(writer: &User, count: usize, bytes: usize) -> Vec<String> {
    fs::create_dir_all(writer.path("mirrors")).unwrap();
    let make = |number: usize| {
        let name = format!("drive{number}");
        prints(writer, &["init", "--bare", &name]);
        write(&writer.path(""), b"file", &noise(number as u64, bytes));
        prints(writer, &["put", "file", &format!("{name}/file")]);
        let link = String::from_utf8(prints(writer, &["link", &name])).unwrap().trim().to_owned();
        fs::rename(writer.path(&name), folder(writer, &link)).unwrap();
        link
    };
    (0..count).map(make).collect()
}

#[test]
fn a_list_is_read_again_on_sighup() {
    let (source, mirrorer, reader) = (User::new(), User::new(), User::new());
    let links = make_mirrored(&source, 3, 10_000);
    let serving = Mirror::start(&source, &links.iter().map(String::as_str).collect::<Vec<_>>());
    let list = |lines: &[&str]| {
        fs::create_dir_all(mirrorer.path("")).unwrap();
        fs::write(mirrorer.path("keys.txt"), lines.join("\n")).unwrap();
    };
    list(&[
        "# those that count",
        &links[0],
        "no-such-drive",
        &format!("{}  # the second", links[1]),
    ]);
    let mirror =
        Mirror::start(&mirrorer, &["--from-file", "keys.txt", "--peer", serving.address()]);
    assert_eq!(mirror.ready["drives"].as_array().unwrap().len(), 2);
    let mut came = [mirror.wait_for("change"), mirror.wait_for("change")];
    came.sort_by_key(|change| change["drive"]["link"] != links[0].as_str());
    assert_eq!([&came[0]["drive"]["link"], &came[1]["drive"]["link"]], [&links[0], &links[1]]);

    list(&[&links[1], &links[2], "dat1nonsense"]);
    mirror.process.signal("-HUP");
    let told = mirror.wait_for("list");
    assert_eq!(told["begun"][0]["link"], links[2].as_str());
    assert_eq!(told["ended"][0]["link"], links[0].as_str());
    mirror.wait_for_version(&links[2], 1);
    let clone = |link: &str, to: &str, wait: &str| {
        reader.run(["clone", link, to, "--peer", mirror.address(), "--wait", wait])
    };
    assert_exit(&clone(&links[1], "second", "30s"), 0);
    assert_exit(&clone(&links[2], "third", "30s"), 0);
    assert_exit(&clone(&links[0], "first", "2s"), 5);
    // What is stored of it stays, and is nobody's.
    let first = folder(&mirrorer, &links[0]);
    prints(&mirrorer, &["verify", word(&first)]);
    // A list that cannot be read changes nothing; one that comes back begins where it was.
    fs::remove_file(mirrorer.path("keys.txt")).unwrap();
    mirror.process.signal("-HUP");
    assert_exit(&clone(&links[1], "second-again", "30s"), 0);
    list(&[&links[0], &links[1], &links[2]]);
    // As if a setting were changed: processes read their list again with their settings.
    prints(&mirrorer, &["config", "set", "network.max-up", "50M"]);
    assert_eq!(mirror.wait_for("list")["begun"][0]["link"], links[0].as_str());
    mirror.wait_for_version(&links[0], 1);
    assert_exit(&clone(&links[0], "first", "30s"), 0);
    mirror.stop();
    serving.stop();
}

#[test]
fn many_drives_take_little_memory_and_few_files() {
    const DRIVES: usize = 100;
    let (source, mirrorer) = (User::new(), User::new());
    let links = make_mirrored(&source, DRIVES, 100_000);
    fs::create_dir_all(mirrorer.path("")).unwrap();
    let list = source.path("keys.txt");
    fs::write(&list, links.join("\n")).unwrap();
    let serving = Mirror::start(&source, &["--from-file", word(&list)]);
    let from = ["--from-file", word(&list), "--peer", serving.address()];
    let mirror = Mirror::start(&mirrorer, &from);
    for _ in 0..DRIVES {
        mirror.wait_for("change");
    }
    for mirror in [&mirror, &serving] {
        let count =
            |what: &str| fs::read_dir(format!("/proc/{}/{what}", mirror.pid)).unwrap().count();
        // A thread a drive, and a few of the process.
        assert!(count("task") <= DRIVES + 20, "{} threads", count("task"));
        // Three files a drive, and a few of the process, once nothing happened for a while.
        wait_until(HANGS, "rest", || count("fd") <= 3 * DRIVES + 60);
        let anonymous = anonymous(mirror);
        assert!(anonymous <= 100 << 20, "{anonymous} bytes");
    }
    mirror.stop();
    serving.stop();
}

/// Returns how much memory a process has that no file is behind, in bytes.
fn anonymous(mirror: &Mirror) -> u64 {
    memory_anonymous(mirror.process.child()).unwrap()
}

#[test]
fn of_a_short_history_old_content_is_not_fetched() {
    let (writer, mirrorer, reader) = (User::new(), User::new(), User::new());
    let source = writer.path("source");
    for version in 1..=4 {
        write(&source, b"large", &noise(version, 2_000_000));
        write(&source, format!("kept-since-{version}").as_bytes(), &noise(version, 50_000));
        drop(writer.share(&source, &[]));
    }
    let sharer = writer.share(&source, &["--no-import"]);
    let mirror = Mirror::start(&mirrorer, &[sharer.ticket(), "--history", "2"]);
    mirror.wait_for_version(sharer.link(), 4);
    let (link, peer) = (sharer.link().to_owned(), mirror.address().to_owned());
    drop(sharer);
    for version in ["4", "3"] {
        prints(&reader, &["clone", &link, version, "--at", version, "--peer", &peer]);
    }
    assert_eq!(tree(&reader.path("4")), tree(&source));
    let old = reader.run(["clone", &link, "2", "--at", "2", "--peer", &peer, "--wait", "2s"]);
    assert_exit(&old, 5);
    // Names and changes of all versions are here all the same.
    let here = folder(&mirrorer, &link);
    assert_eq!(prints(&mirrorer, &["ls", &format!("{}+1", word(&here))]), b"kept-since-1\nlarge\n");
    // The next version: what it put is fetched, and the two before it stay.
    write(&source, b"large", &noise(5, 2_000_000));
    let sharer = writer.share(&source, &[]);
    mirror.stop();
    let mirror = Mirror::start(&mirrorer, &[sharer.ticket(), "--history", "latest"]);
    mirror.wait_for_version(&link, 5);
    let bytes = fs::metadata(here.join(".dat/store/data")).unwrap().len();
    assert!((6_000_000..6_800_000).contains(&bytes), "{bytes} bytes of three versions");
    mirror.stop();
}

#[test]
fn what_leaves_a_short_history_is_freed() {
    let (writer, mirrorer, reader) = (User::new(), User::new(), User::new());
    write(&writer.path("source"), b"stays", &noise(0, 300_000));
    let sharer = writer.share(&writer.path("source"), &[]);
    let mirror = Mirror::start(&mirrorer, &[sharer.ticket(), "--history", "2"]);
    mirror.wait_for_version(sharer.link(), 1);
    let data = folder(&mirrorer, sharer.link()).join(".dat/store/data");
    let taken = || fs::metadata(&data).unwrap().blocks() * 512;
    // Many versions, each of which replaces what the one before it had.
    const VERSIONS: u64 = 80;
    for version in 2..=VERSIONS {
        write(&writer.path(""), b"next", &noise(version, 200_000));
        assert_exit(&writer.run(["put", "next", "source/large"]), 0);
        mirror.wait_for_version(sharer.link(), version);
    }
    wait_until(HANGS, "room", || taken() < VERSIONS * 200_000 / 2);
    let (link, peer) = (sharer.link().to_owned(), mirror.address().to_owned());
    drop(sharer);
    for version in [VERSIONS, VERSIONS - 1].map(|version| version.to_string()) {
        prints(&reader, &["clone", &link, &version, "--at", &version, "--peer", &peer]);
    }
    assert_exit(&mirrorer.run([OsStr::new("verify"), folder(&mirrorer, &link).as_os_str()]), 0);
    mirror.stop();
}

#[test]
fn a_quota_holds_and_a_larger_one_goes_on() {
    let (source, mirrorer, reader) = (User::new(), User::new(), User::new());
    let links = make_mirrored(&source, 2, 12 << 20);
    let serving = Mirror::start(&source, &links.iter().map(String::as_str).collect::<Vec<_>>());
    let start = |quota: &str| {
        let args = ["--quota", quota, "--peer", serving.address(), &links[0], &links[1]];
        Mirror::start(&mirrorer, &args)
    };
    let stored = || -> u64 {
        let mirrors = mirrorer.path("mirrors");
        let du = Command::new("du").arg("-sB1").arg(mirrors).output().unwrap();
        let said = String::from_utf8(du.stdout).unwrap();
        said.split_whitespace().next().unwrap().parse().unwrap()
    };
    let mirror = start("8MiB");
    assert_eq!(mirror.wait_for("quota")["quota"]["reached"], true);
    let before = stored();
    assert!((5 << 20..=8 << 20).contains(&before), "{before} bytes are stored");
    // The changes of both come first, so that names can be read.
    for link in &links {
        assert_eq!(prints(&mirrorer, &["ls", word(&folder(&mirrorer, link))]), b"file\n");
    }
    mirror.stop();
    // A lower one deletes nothing.
    let mirror = start("1MiB");
    assert_eq!(mirror.ready["quota"]["reached"], true);
    mirror.stop();
    assert!(stored() >= before / 2, "{}", stored());
    let mirror = start("40MiB");
    mirror.wait_for("change");
    mirror.wait_for("change");
    serving.stop();
    for link in &links {
        prints(&reader, &["clone", link, link, "--peer", mirror.address()]);
    }
    assert!(stored() <= 40 << 20);
    mirror.stop();
}

#[test]
fn what_rots_is_found_and_fetched_again() {
    let (writer, mirrorer, reader) = (User::new(), User::new(), User::new());
    write(&writer.path("source"), b"large", &noise(1, 4 << 20));
    let sharer = writer.share(&writer.path("source"), &[]);
    let link = sharer.link().to_owned();
    let mirror = Mirror::start(&mirrorer, &[sharer.ticket()]);
    mirror.wait_for_version(&link, 1);
    mirror.stop();
    let here = folder(&mirrorer, &link);
    rot(&here.join(".dat/store/data"), 2 << 20);
    assert_exit(&mirrorer.run(["verify", word(&here)]), 6);
    let mirror = Mirror::start(&mirrorer, &[sharer.ticket(), "--verify-every", "1s"]);
    let damaged = mirror.wait_for("damaged");
    assert_eq!((&damaged["drive"]["link"], &damaged["blocks"]), (&link.clone().into(), &1.into()));
    let whole = || mirrorer.run(["ls", "-R", "--missing", word(&here)]).stdout.is_empty();
    wait_until(HANGS, "the block", whole);
    prints(&mirrorer, &["verify", word(&here)]);
    drop(sharer);
    prints(&reader, &["clone", &link, "copy", "--peer", mirror.address()]);
    assert_eq!(tree(&reader.path("copy")), tree(&writer.path("source")));
    mirror.stop();
}

#[test]
fn hostile_names_travel_through_a_mirror_and_land_nowhere() {
    let (writer, mirrorer, reader) = (User::new(), User::new(), User::new());
    let mut forge = Forge::in_folder(&writer.path("drive"), 1, b"../../\x1b[2Jdrive\n");
    let all: BTreeMap<Vec<u8>, Fate> = names::all().into_iter().collect();
    let mut entries = BTreeMap::new();
    for name in all.keys() {
        let path = DrivePath::from_bytes(name.clone()).expect("it may travel");
        entries.insert(path.key(), (path, forge.file(name)));
    }
    forge.commit(entries, "all of them");
    drop(forge);
    let sharer = writer.share(&writer.path("drive"), &["--no-import"]);
    let mirror = Mirror::start(&mirrorer, &[sharer.ticket()]);
    mirror.wait_for_version(sharer.link(), 1);
    let names = |folder: &Path| -> Vec<_> {
        fs::read_dir(folder).unwrap().map(|name| name.unwrap().file_name()).collect()
    };
    assert_eq!(names(&mirrorer.path("")), ["mirrors"]);
    assert_eq!(names(&mirrorer.path("mirrors")), [sharer.link()]);
    assert_eq!(names(&folder(&mirrorer, sharer.link())), [".dat"]);
    let link = sharer.link().to_owned();
    drop(sharer);
    // Whoever clones from it gets what may land, and is told of the rest.
    assert_exit(&reader.run(["clone", &link, "copy", "--peer", mirror.address()]), 3);
    let here: BTreeSet<Vec<u8>> = files(landed(&reader.path("copy"))).into_keys().collect();
    let right = all.into_iter().filter(|(_, fate)| *fate == Fate::Lands);
    assert_eq!(here, right.map(|(name, _)| name).collect());
    mirror.stop();
}

#[test]
fn what_another_drive_here_has_is_copied_into_a_mirror_and_not_fetched() {
    const LARGE: usize = 6 << 20;
    let (writer, mirrorer) = (User::new(), User::new());
    let share = |number: u64| {
        let source = writer.path(number.to_string());
        write(&source, b"film", &noise(1, LARGE));
        write(&source, b"own", &noise(2 + number, 300_000));
        writer.share(&source, &[])
    };
    let sharers: Vec<Sharer> = (0..3).map(share).collect();
    let mut tickets: Vec<&str> = Vec::new();
    // What is in the store of one that is mirrored is durable when its mirror has ended, at the latest.
    let mut mirror = |number: usize, more: &[&'static str]| {
        let sharer = &sharers[number];
        tickets.push(sharer.ticket());
        let mirror = Mirror::start(&mirrorer, &[&tickets[..], more].concat());
        mirror.wait_for_version(sharer.link(), 1);
        mirror.process.signal("-TERM");
        let done = mirror.wait_for("done");
        assert_exit(&mirror.process.finish(HANGS).output, 0);
        let bytes = |what: &str| done[what].as_u64().unwrap();
        (bytes("bytes_in"), bytes("reused"))
    };
    let (received, reused) = mirror(0, &[]);
    assert!(received > LARGE as u64, "{received}");
    assert_eq!(reused, 0, "there was nothing else");
    let (received, reused) = mirror(1, &[]);
    // Its own file, and little more: names and hashes.
    assert!((300_000..400_000).contains(&received), "{received}");
    assert_eq!(reused, LARGE as u64);
    let (received, reused) = mirror(2, &["--no-reuse"]);
    assert!(received > LARGE as u64, "{received}");
    assert_eq!(reused, 0);
    for sharer in &sharers {
        let here = folder(&mirrorer, sharer.link());
        assert_eq!(prints(&mirrorer, &["cat", &format!("{}/film", word(&here))]), noise(1, LARGE));
        prints(&mirrorer, &["verify", "--full", word(&here)]);
    }
}
