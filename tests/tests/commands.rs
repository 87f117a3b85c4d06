//! The commands around share and clone: what they do to drives, with and without a process that has the drive open.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use datnode_tests::{Thing, User, assert_exit, noise, process, rot, tree, write};
use serde_json::Value;

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs a command that succeeds; returns what it printed.
fn done<A: AsRef<OsStr>>(user: &User, args: impl IntoIterator<Item = A>) -> String {
    let output = user.run(args);
    assert_exit(&output, 0);
    text(&output)
}

fn json<A: AsRef<OsStr>>(user: &User, args: impl IntoIterator<Item = A>) -> Value {
    let args: Vec<_> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
    let words = [OsStr::new("--json")].into_iter().chain(args.iter().map(|arg| arg.as_os_str()));
    serde_json::from_str(&done(user, words)).unwrap()
}

fn put(user: &User, bytes: &[u8], address: &str) -> Output {
    let mut command = user.command(["put", "-", address, "-m", "put it"]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // One that ends early does not read.
    let _ = child.stdin.take().unwrap().write_all(bytes);
    child.wait_with_output().unwrap()
}

/// Returns the entries of a drive, each with its size.
fn entries(user: &User, address: &str) -> BTreeMap<String, u64> {
    let listed = done(user, ["--json", "ls", "-R", address]);
    let entry = |line: &str| {
        let entry: Value = serde_json::from_str(line).unwrap();
        (entry["path"].as_str().unwrap().to_owned(), entry["size"].as_u64().unwrap())
    };
    listed.lines().map(entry).filter(|(path, _)| !path.ends_with('/')).collect()
}

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

#[test]
fn names_stand_for_drives() {
    let user = User::new();
    write(&user.path("flights"), b"README.md", b"hello");
    let sharer = user.share(&user.path("flights"), &["--name", "fl"]);
    assert_eq!(done(&user, ["cat", "fl/README.md"]), "hello");
    assert_eq!(done(&user, ["link", "fl"]).trim(), sharer.link());
    assert_eq!(done(&user, ["ls", "fl+1"]), "README.md\n");
    done(&user, ["status", "fl"]);
    let reader = User::new();
    assert_exit(&reader.run(["clone", sharer.ticket(), "copy"]), 0);
    // A clone takes the drive's own name.
    assert_eq!(done(&reader, ["cat", "fl/README.md"]), "hello");
    assert!(done(&reader, ["status", "--all"]).contains("\"fl\""));
    // What is a name and a folder of something else is refused, with both ways to say it.
    fs::create_dir(reader.path("fl")).unwrap();
    let both = reader.run(["ls", "fl"]);
    assert_exit(&both, 2);
    assert!(said(&both).contains("./fl") && said(&both).contains(sharer.link()), "{}", said(&both));
    fs::remove_dir(reader.path("fl")).unwrap();
    // A name belongs to one drive.
    write(&user.path("other"), b"a", b"1");
    assert_exit(&user.run(["share", "other", "--name", "fl", "--no-watch"]), 2);
    assert_exit(&user.run(["share", "other", "--name", "dat1x"]), 2);
    // A second copy does not take it from the first, nor from where the drive is written.
    done(&user, ["clone", "./flights", "backup"]);
    assert_exit(&put(&user, b"2", "fl/new"), 0);
    assert_eq!(fs::read(user.path("flights/new")).unwrap(), b"2");
    // Where the folder is gone, the name is the key.
    fs::remove_dir_all(reader.path("copy")).unwrap();
    let remote = reader.run(["cat", "fl/README.md", "--peer", sharer.address()]);
    assert_exit(&remote, 0);
    assert_eq!(text(&remote), "hello");
    assert_exit(&reader.run(["status", "fl"]), 10);
}

#[test]
fn a_bare_folder_is_shared_and_a_bare_key_cloned() {
    let user = User::new();
    write(&user.path("flights"), b"a", b"1");
    let sharer = user.share(&user.path("flights"), &[]);
    let locked = user.run(["./flights"]);
    assert_exit(&locked, 9);
    let reader = User::new();
    assert_exit(&reader.run([sharer.ticket(), "copy"]), 0);
    assert_eq!(fs::read(reader.path("copy/a")).unwrap(), b"1");
    assert_exit(&reader.run(["./none"]), 2);
}

#[test]
fn what_is_read_stays() {
    let user = User::new();
    let film = noise(1, 3 << 20);
    write(&user.path("flights"), b"film", &film);
    drop(user.share(&user.path("flights"), &[]));
    let reader = User::new();
    let sharer = user.share(&user.path("flights"), &[]);
    assert_exit(&reader.run(["clone", sharer.ticket(), "copy"]), 0);
    drop(sharer);
    for (user, folder) in [(&user, "flights"), (&reader, "copy")] {
        for _ in 0..2 {
            let read = user.run(["cat", &format!("{folder}/film")]);
            assert_exit(&read, 0);
            assert!(read.stdout == film);
        }
        let status = json(user, ["status", folder]);
        assert_eq!(status["here"], status["bytes"]);
    }
}

#[test]
fn stat_and_du_tell_sizes_and_what_is_here() {
    let user = User::new();
    write(&user.path("flights"), b"data/a.csv", &noise(1, 100_000));
    write(&user.path("flights"), b"data/deep/b", &noise(2, 50_000));
    write(&user.path("flights"), b"README.md", b"one");
    drop(user.share(&user.path("flights"), &[]));
    write(&user.path("flights"), b"README.md", b"three");
    let sharer = user.share(&user.path("flights"), &[]);
    let stat = json(&user, ["stat", "flights/README.md"]);
    assert_eq!(
        (&stat["size"], &stat["here"], &stat["earlier_versions"]),
        (&5.into(), &5.into(), &1.into())
    );
    assert_eq!(stat["content"], blake3::hash(b"three").to_hex().as_str());
    assert_eq!(json(&user, ["stat", "flights/data/a.csv"])["media_type"], "text/csv");
    let folder = json(&user, ["stat", "flights/data"]);
    assert_eq!(
        (&folder["type"], &folder["files"], &folder["size"]),
        (&"directory".into(), &2.into(), &150_000.into())
    );
    assert_eq!(json(&user, ["stat", "flights"])["files"], 3);
    assert_eq!(json(&user, ["stat", "flights", "--at", "1"])["size"], 150_003);
    assert_exit(&user.run(["stat", "flights/none"]), 4);
    let du = |args: &[&str]| -> Vec<(String, u64, u64)> {
        let lines = done(&user, ["--json", "du"].iter().chain(args));
        let row = |line: &str| {
            let row: Value = serde_json::from_str(line).unwrap();
            let number = |name: &str| row[name].as_u64().unwrap();
            (row["path"].as_str().unwrap().to_owned(), number("bytes"), number("here"))
        };
        lines.lines().map(row).collect()
    };
    let row = |path: &str, bytes| (path.to_owned(), bytes, bytes);
    assert_eq!(du(&["flights"]), [row("data", 150_000), row("", 150_005)]);
    assert_eq!(du(&["flights", "-s"]), [row("", 150_005)]);
    assert_eq!(
        du(&["flights/data", "--depth", "9"]),
        [row("data/deep", 50_000), row("data", 150_000)]
    );
    // Of a drive elsewhere nothing is here, and only the index is fetched.
    let reader = User::new();
    let remote = json(&reader, ["du", "-s", sharer.ticket()]);
    assert_eq!((&remote["bytes"], &remote["here"]), (&150_005.into(), &0.into()));
    let missing = |address: &str| done(&reader, ["ls", "-R", "--missing", address]);
    assert_eq!(missing(sharer.ticket()), "README.md\ndata/a.csv\ndata/deep/b\n");
    // A part of it.
    assert_exit(&reader.run(["clone", &format!("{}/data", sharer.ticket()), "part"]), 0);
    assert_eq!(missing("part"), "README.md\n");
    let listed = done(&reader, ["ls", "-l", "-R", "--sort", "size", "part"]);
    let row = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (name, here) = (words[words.len() - 1], words[words.len() - 3]);
        (name.to_owned(), here.to_owned())
    };
    let rows: Vec<(String, String)> = listed.lines().take(4).map(row).collect();
    let names: Vec<&str> = rows.iter().map(|(name, _)| &name[..]).collect();
    assert_eq!(names, ["name", "data/a.csv", "data/deep/b", "README.md"]);
    let here: Vec<&str> = rows[1..].iter().map(|(_, here)| &here[..]).collect();
    assert_eq!(here, ["100", "100", "0"]);
}

#[test]
fn links_come_as_words_tickets_and_pictures() {
    let user = User::new();
    write(&user.path("flights"), b"a", b"1");
    assert_exit(&user.run(["link", "flights"]), 10);
    let sharer = user.share(&user.path("flights"), &[]);
    let link = sharer.link();
    assert_eq!(done(&user, ["link", "flights"]).trim(), link);
    assert_eq!(done(&user, ["link", "flights", "--hex"]).trim(), sharer.ready["drive"]["key"]);
    let at = done(&user, ["link", "flights", "--at", "1"]);
    assert!(
        sharer.ready["version"].as_str().unwrap().starts_with(at.trim().split_once('+').unwrap().1),
        "{at}"
    );
    let drawn = done(&user, ["link", "flights", "--qr"]);
    assert!(drawn.contains('█') && drawn.ends_with(&format!("{link}\n")), "{drawn}");
    let ticket = done(&user, ["link", "flights", "--ticket"]);
    let reader = User::new();
    assert_exit(&reader.run(["clone", ticket.trim(), "copy"]), 0);
    drop(sharer);
    let output = user.run(["link", "flights", "--ticket"]);
    assert_exit(&output, 5);
    assert!(said(&output).contains("datnode share"), "{}", said(&output));
}

#[test]
fn keys_are_backed_up_and_restored() {
    let user = User::new();
    write(&user.path("flights"), b"a", b"1");
    let sharer = user.share(&user.path("flights"), &["--name", "fl"]);
    assert!(done(&user, ["keys"]).contains(sharer.link()));
    let with = |user: &User, passphrase: Option<&str>, args: &[&str]| {
        let mut command = user.command(args);
        if let Some(passphrase) = passphrase {
            command.env("DATNODE_PASSPHRASE", passphrase);
        }
        command.output().unwrap()
    };
    // Nobody can be asked here.
    let output = with(&user, None, &["keys", "export", "fl"]);
    assert_exit(&output, 2);
    assert!(!user.path("fl.datkey").exists(), "nothing is left behind");
    assert_exit(&with(&user, Some("correct horse"), &["keys", "export", "fl"]), 0);
    let sealed = fs::read(user.path("fl.datkey")).unwrap();
    assert!(sealed.starts_with(b"age-encryption.org/v1\n-> scrypt "));
    assert_eq!(fs::metadata(user.path("fl.datkey")).unwrap().permissions().mode() & 0o777, 0o600);
    assert_exit(&with(&user, Some("x"), &["keys", "export", "fl"]), 7);
    let plain = done(&user, ["keys", "export", "fl", "--plain"]);
    assert!(plain.starts_with("datsec1") && plain.trim().len() == 65, "a secret is 65 characters");
    assert!(
        !sealed
            .windows(20)
            .any(|window| plain.as_bytes().windows(20).any(|secret| secret == window))
    );
    // Elsewhere: the key comes, the drive is fetched, and can be written.
    let other = User::new();
    fs::copy(user.path("fl.datkey"), {
        fs::create_dir_all(other.path("")).unwrap();
        other.path("k")
    })
    .unwrap();
    let wrong = with(&other, Some("wrong"), &["keys", "import", "k"]);
    assert_exit(&wrong, 2);
    assert!(said(&wrong).contains("the passphrase does not open"), "{}", said(&wrong));
    assert_exit(&with(&other, Some("correct horse"), &["keys", "import", "k"]), 0);
    assert_eq!(json(&other, ["keys"])["keys"][0]["link"], sharer.link());
    assert_exit(&other.run(["keys", "import", "k", "--nonsense"]), 2);
    assert_exit(&other.run(["clone", sharer.ticket(), "copy"]), 0);
    drop(sharer);
    write(&other.path("copy"), b"b", b"2");
    let writes = other.share(&other.path("copy"), &[]);
    assert_eq!((&writes.ready["change"], &writes.ready["added"]), (&2.into(), &1.into()));
    let denied = User::new();
    assert_exit(&denied.run(["clone", writes.ticket(), "copy"]), 0);
    assert_exit(&denied.run(["keys", "export", "copy", "--plain"]), 8);
}

#[test]
fn settings_come_from_files_variables_and_flags() {
    let user = User::new();
    write(&user.path("flights"), b".hidden", b"1");
    write(&user.path("flights"), b"a.tmp", b"1");
    write(&user.path("flights"), b"b", b"1");
    let dry = |args: &[&str]| {
        let words = ["--json", "share", "--dry-run", "flights"].iter().chain(args);
        done(&user, words).lines().last().unwrap().parse::<Value>().unwrap()["added"].clone()
    };
    assert_eq!(dry(&[]), 2);
    done(&user, ["config", "set", "share.ignore", "*.tmp", "*.{bak,old}"]);
    assert_eq!(done(&user, ["config", "get", "share.ignore"]), "*.tmp\n*.{bak,old}\n");
    assert_eq!(dry(&[]), 1);
    drop(user.share(&user.path("flights"), &[]));
    done(&user, ["-C", "flights", "config", "set", "share.hidden", "true", "--drive"]);
    assert_eq!(dry(&[]), 1, "the hidden one is new");
    let show = |args: &[&str]| done(&user, ["-C", "flights", "config"].iter().chain(args));
    assert_eq!(show(&["get", "share.hidden"]), "true\n");
    let all = show(&["show", "--origin"]);
    let line = |key: &str| all.lines().find(|line| line.starts_with(key)).unwrap().to_owned();
    assert!(line("share.hidden").ends_with("flights/.dat/config.toml"), "{all}");
    assert!(line("share.ignore").ends_with("home/config.toml"), "{all}");
    assert!(line("network.listen").ends_with("DATNODE_LISTEN"), "{all}");
    assert!(line("output.timeout").ends_with("default"), "{all}");
    let mut command = user.command(["--json", "share", "--dry-run", "flights"]);
    let output = command.env("DATNODE_HIDDEN", "0").output().unwrap();
    assert!(
        text(&output).contains("\"added\":0"),
        "a variable comes before a file: {}",
        text(&output)
    );
    show(&["unset", "share.hidden", "--drive"]);
    assert_eq!(show(&["get", "share.hidden"]), "false\n");
    for bad in
        [&["set", "share.hidden", "maybe"][..], &["set", "network.port", "x"], &["get", "no.such"]]
    {
        let output = user.run([&["config"], bad].concat());
        assert!(matches!(output.status.code(), Some(2 | 4)), "{bad:?}: {}", said(&output));
    }
    // The drive's settings do not travel.
    write(&user.home(), b"config.toml", b"[network]\nprot = 1\n");
    let warned = user.run(["ls", "flights"]);
    assert_exit(&warned, 0);
    assert!(said(&warned).contains("did you mean network.port"), "{}", said(&warned));
    assert_exit(&user.run(["config", "set", "network.prot", "1"]), 4);
    write(&user.home(), b"config.toml", b"[network]\nport = 'x'\n");
    let broken = user.run(["ls", "flights"]);
    assert_exit(&broken, 2);
    assert!(said(&broken).contains("network.port"), "{}", said(&broken));
    assert_exit(&user.run(["--config", "none.toml", "ls", "flights"]), 1);
    write(&user.path(""), b"good.toml", b"[output]\nquiet = true\n");
    assert_exit(&user.run(["--config", "good.toml", "ls", "flights"]), 0);
    // An editor that leaves nonsense behind is told so.
    let mut edit = user.command(["config", "edit"]);
    let output =
        edit.env("EDITOR", "sh -c 'echo [ >\"$0\"'").env_remove("VISUAL").output().unwrap();
    assert_exit(&output, 2);
}

#[test]
fn a_rate_limit_is_changed_while_a_process_runs() {
    let user = User::new();
    write(&user.path("flights"), b"a", b"1");
    let limits = |user: &User| {
        let serving = json(user, ["status", "flights"])["serving"][0].clone();
        (serving["max_up"].clone(), serving["max_down"].clone())
    };
    let sharer = user.share(&user.path("flights"), &["--max-down", "1M"]);
    assert_eq!(limits(&user), (Value::Null, (1 << 20).into()));
    done(&user, ["config", "set", "network.max-up", "2M"]);
    // What a flag said stays.
    done(&user, ["config", "set", "network.max-down", "3M"]);
    assert_eq!(limits(&user), ((2 << 20).into(), (1 << 20).into()));
    done(&user, ["-C", "flights", "config", "set", "network.max-up", "500KiB", "--drive"]);
    assert_eq!(limits(&user).0, 500 << 10);
    done(&user, ["-C", "flights", "config", "unset", "network.max-up", "--drive"]);
    done(&user, ["config", "set", "network.max-up", "0"]);
    assert_eq!(limits(&user).0, Value::Null);
    drop(sharer);
}

#[test]
fn peers_shows_who_is_connected() {
    let user = User::new();
    write(&user.path("flights"), b"a", &noise(1, 200_000));
    let nobody = user.run(["peers", "--all"]);
    assert_exit(&nobody, 0);
    assert_eq!(text(&nobody), "nobody is connected\n");
    let sharer = user.share(&user.path("flights"), &[]);
    let reader = User::new();
    assert_exit(&reader.run(["clone", sharer.ticket(), "copy"]), 0);
    let holder = reader.share(&reader.path("copy"), &["--peer", sharer.address()]);
    let mut whole = None;
    process::wait_until(Duration::from_secs(60), "a peer that has all", || {
        let output = done(&user, ["--json", "peers", "flights"]);
        let mut peers = output.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        whole = peers.find(|peer| peer["has"] == 100);
        whole.is_some()
    });
    let peer = whole.unwrap();
    assert_eq!(peer["how"], "this computer");
    assert!(peer["node"].as_str().unwrap().starts_with("12D3"), "{peer}");
    assert!(peer["client"].as_str().unwrap().starts_with("datnode/"), "{peer}");
    let table = done(&user, ["peers", "flights"]);
    assert!(table.starts_with("node ") && table.contains("100 %"), "{table}");
    let status = json(&user, ["status", "flights"]);
    assert_eq!(status["serving"][0]["pid"], sharer.child.id());
    drop((holder, sharer));
    let nobody = user.run(["peers", "flights"]);
    assert_exit(&nobody, 5);
    assert!(said(&nobody).contains("datnode share"), "{}", said(&nobody));
}

#[test]
fn a_drive_is_read_while_it_is_being_cloned() {
    let user = User::new();
    write(&user.path("flights"), b"first", b"small");
    write(&user.path("flights"), b"large", &noise(1, 30 << 20));
    let sharer = user.share(&user.path("flights"), &["--max-up", "1M"]);
    let reader = User::new();
    let mut clone = reader.command(["clone", sharer.ticket(), "copy"]).spawn().unwrap();
    process::wait_until(Duration::from_secs(60), "the clone's folder", || {
        reader.path("copy/.dat/key").exists() && !reader.run(["peers", "copy"]).stdout.is_empty()
    });
    assert!(clone.try_wait().unwrap().is_none(), "it is under way");
    assert_eq!(done(&reader, ["ls", "copy"]), "first\nlarge\n");
    let status = json(&reader, ["status", "copy"]);
    assert_eq!(status["serving"][0]["pid"], clone.id());
    // A range in the middle comes although it is not there yet: through the process that fetches.
    let range = reader.run(["cat", "copy/large", "--range", "20000000-20000099"]);
    assert_exit(&range, 0);
    assert!(range.stdout == noise(1, 30 << 20)[20_000_000..20_000_100]);
    assert_exit(&reader.run(["put", "-", "copy/x"]), 8);
    assert_exit(&reader.run(["share", "copy"]), 9);
    assert!(clone.try_wait().unwrap().is_none(), "it still is");
    let why = || json(&reader, ["status", "copy"])["missing"][0]["why"].clone();
    assert_eq!(why(), "on its way");
    drop(sharer);
    process::wait_until(Duration::from_secs(30), "nobody", || why() == "nobody is connected");
    clone.kill().unwrap();
    clone.wait().unwrap();
    assert_eq!(why(), "nothing is fetching it");
    let told = done(&reader, ["status", "copy"]);
    for line in ["\nmissing    ", "   large   ", "\nnext       datnode clone "] {
        assert!(told.contains(line), "{told}");
    }
    // What it left behind is noticed: the store is opened by whoever comes next.
    assert_eq!(done(&reader, ["ls", "copy"]), "first\nlarge\n");
    assert_exit(&reader.run(["peers", "copy"]), 5);
}

#[test]
fn status_tells_what_the_folder_has_that_the_drive_has_not() {
    let user = User::new();
    for name in [&b"kept"[..], b"changed", b"gone", b".hidden"] {
        write(&user.path("flights"), name, b"1");
    }
    drop(user.share(&user.path("flights"), &[]));
    assert!(done(&user, ["status", "flights"]).contains("\nworking    as in the drive\n"));
    write(&user.path("flights"), b"changed", b"22");
    write(&user.path("flights"), b"new", b"1");
    write(&user.path("flights"), b"new.tmp", b"1");
    fs::remove_file(user.path("flights/gone")).unwrap();
    done(&user, ["-C", "flights", "config", "set", "--drive", "share.ignore", "*.tmp"]);
    let status = json(&user, ["status", "flights"]);
    let working = &status["working"];
    assert_eq!(*working, serde_json::json!({ "added": 1, "changed": 1, "removed": 1 }));
    let told = done(&user, ["status", "flights"]);
    assert!(told.contains("\nworking    1 new, 1 changed, 1 removed since the last share\n"));
    // A bare drive has no folder to look at.
    done(&user, ["init", "--bare", "bare"]);
    assert!(json(&user, ["status", "bare"])["working"].is_null());
}

#[test]
fn the_socket_of_a_process_that_was_killed_is_no_hindrance() {
    let user = User::new();
    write(&user.path("flights"), b"a", b"1");
    // A Sharer is killed when it is dropped, and leaves its files behind.
    drop(user.share(&user.path("flights"), &[]));
    let left = || fs::read_dir(user.home().join("run")).unwrap().count();
    assert!(left() > 0);
    assert_exit(&put(&user, b"2", "flights/b"), 0);
    assert_eq!(done(&user, ["ls", "flights"]), "a\nb\n");
    assert_exit(&user.run(["peers", "flights"]), 5);
    assert_eq!(left(), 0, "they were swept");
}

#[test]
fn ignored_names_the_rule() {
    let user = User::new();
    write(&user.path("flights"), b".datignore", b"*.tmp\nbuild/\n");
    write(&user.path("flights"), b"a.tmp", b"");
    write(&user.path("flights"), b"build/x", b"");
    write(&user.path("flights"), b"b", b"");
    drop(user.share(&user.path("flights"), &[]));
    assert!(Command::new("mkfifo").arg(user.path("flights/pipe")).status().unwrap().success());
    let told = done(&user, ["ignored", "flights/pipe"]);
    assert!(told.ends_with("left out: no file, folder or link\n"), "{told}");
    let told = done(
        &user,
        [
            "ignored",
            "flights/a.tmp",
            "flights/build/x",
            "flights/b",
            "flights/.datignore",
            "flights/.dat/key",
        ],
    );
    let lines: Vec<&str> = told.lines().map(|line| line.split_once("   ").unwrap().1).collect();
    assert_eq!(
        lines,
        [
            "left out: “*.tmp” in .datignore (a.tmp)",
            "left out: “build/” in .datignore (build)",
            "shared",
            "left out: hidden; --hidden takes it (.datignore)",
            "left out: the store itself",
        ]
    );
    assert_exit(&user.run(["ignored", "flights/none"]), 4);
    // .gitignore is heeded on request alone.
    write(&user.path("flights"), b".gitignore", b"b\n");
    let dry = |args: &[&str]| done(&user, ["share", "--dry-run", "flights"].iter().chain(args));
    assert_eq!(dry(&[]), "");
    assert_eq!(dry(&["--gitignore"]), "- b\n");
}

#[test]
fn help_has_topics_completions_and_manual_pages() {
    let user = User::new();
    let help = done(&user, ["help"]);
    for topic in ["addresses", "settings", "exit-codes", "errors"] {
        assert!(help.contains(topic), "{topic} is listed");
        assert!(done(&user, ["help", topic]).lines().count() > 5);
    }
    let near = user.run(["help", "adresses"]);
    assert_exit(&near, 2);
    assert!(said(&near).contains("did you mean addresses?"), "{}", said(&near));
    for shell in ["bash", "zsh", "fish", "powershell", "nushell"] {
        let script = done(&user, ["completions", shell]);
        assert!(script.contains("clone") && script.contains("max-up"), "{shell}");
    }
    assert_exit(&user.run(["completions", "cmd"]), 2);
    done(&user, ["gen-man", "man"]);
    let page = fs::read_to_string(user.path("man/datnode-clone.1")).unwrap();
    assert!(page.contains(".SH") && page.contains("wait"), "{page}");
    assert!(user.path("man/datnode.1").exists());
}

/// A folder may come from anywhere: what is in its `.dat` is no reason to read without end, or to wait.
#[test]
fn what_lies_in_a_drives_folder_is_read_with_a_limit() {
    let user = User::new();
    write(&user.path("flights"), b"a", b"1");
    drop(user.share(&user.path("flights"), &[]));
    let key = fs::read(user.path("flights/.dat/key")).unwrap();
    let within_time = |args: &[&str]| {
        let mut command = user.command(args);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        process::finish(child, Duration::from_secs(60)).output
    };
    for name in ["config.toml", "key"] {
        let place = user.path("flights/.dat").join(name);
        for pipe in [true, false] {
            let _ = fs::remove_file(&place);
            match pipe {
                true => {
                    let made = std::process::Command::new("mkfifo").arg(&place).status().unwrap();
                    assert!(made.success());
                }
                false => std::os::unix::fs::symlink("/dev/zero", &place).unwrap(),
            }
            for args in [&["ls", "flights"][..], &["status", "--all"], &["link", "flights"]] {
                let output = within_time(args);
                if args[0] == "ls" {
                    assert_exit(&output, 1);
                    assert!(said(&output).contains("no regular file"), "{}", said(&output));
                }
            }
        }
        fs::remove_file(&place).unwrap();
        if name == "key" {
            fs::write(&place, &key).unwrap();
        }
    }
    assert_eq!(done(&user, ["ls", "flights"]), "a\n");
}

#[test]
fn a_setting_of_share_says_nothing_of_links() {
    let user = User::new();
    write(&user.path("flights"), b"a", b"1");
    let sharer = user.share(&user.path("flights"), &[]);
    done(&user, ["config", "set", "share.ticket", "true"]);
    done(&user, ["config", "set", "share.qr", "true"]);
    let key = sharer.ready["drive"]["key"].as_str().unwrap();
    assert_eq!(done(&user, ["link", "flights", "--hex"]).trim(), key);
    assert_eq!(done(&user, ["link", "flights"]).trim(), sharer.link());
}

#[test]
fn what_is_beside_a_file_of_settings_stays() {
    let user = User::new();
    write(&user.path(""), b"s.new", b"mine");
    done(&user, ["--config", "s.toml", "config", "set", "network.port", "4000"]);
    assert_eq!(fs::read(user.path("s.new")).unwrap(), b"mine");
    fs::set_permissions(user.path("s.toml"), fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::symlink("s.toml", user.path("link.toml")).unwrap();
    done(&user, ["--config", "link.toml", "config", "set", "network.port", "4001"]);
    assert!(user.path("link.toml").is_symlink());
    assert_eq!(fs::metadata(user.path("s.toml")).unwrap().permissions().mode() & 0o777, 0o600);
    let mut told = user.command(["--config", "s.toml", "config", "get", "network.port"]);
    assert_eq!(text(&told.env_remove("DATNODE_PORT").output().unwrap()), "4001\n");
    for bad in [&["share.ignore", "*.{a"][..], &["network.port", "1", "2"], &["share.ignroe", "x"]]
    {
        let output = user.run([&["config", "set"], bad].concat());
        assert!(matches!(output.status.code(), Some(2 | 4)), "{bad:?}: {}", said(&output));
    }
}

#[test]
fn a_command_about_a_drive_takes_any_address_of_one() {
    let user = User::new();
    write(&user.path("flights"), b"data/a", b"1");
    let sharer = user.share(&user.path("flights"), &["--name", "fl"]);
    let (link, ticket) = (sharer.link().to_owned(), sharer.ticket().to_owned());
    let key = sharer.ready["drive"]["key"].as_str().unwrap().to_owned();
    for good in ["fl", "flights", "./flights", "flights/data", &link, &ticket, &key] {
        assert_eq!(json(&user, ["status", good])["drive"]["key"], *key, "{good}");
    }
    assert_eq!(json(&user, ["-C", "flights/data", "status"])["drive"]["key"], *key);
    let typo = &link[..link.len() - 1];
    for (bad, code) in [
        (typo, 2),
        ("dat1", 2),
        ("none", 2),
        ("./none", 4),
        ("flights+1", 2),
        ("flights/data/a", 2),
        ("fl/none", 2),
        (".", 10),
    ] {
        let output = user.run(["status", bad]);
        assert_eq!(output.status.code(), Some(code), "{bad}: {}", said(&output));
    }
    // A name that is a folder of something else means neither.
    fs::create_dir(user.path("fl")).unwrap();
    assert_exit(&user.run(["status", "fl"]), 2);
    // Whose folder is gone is no drive here.
    drop(sharer);
    fs::remove_dir_all(user.path("flights")).unwrap();
    assert_exit(&user.run(["status", &link]), 10);
    assert_exit(&User::new().run(["status", &link]), 10);
}

#[test]
fn a_secret_that_is_given_by_mistake_is_not_repeated() {
    let user = User::new();
    write(&user.path("flights"), b"a", b"1");
    drop(user.share(&user.path("flights"), &[]));
    let secret = done(&user, ["keys", "export", "flights", "--plain"]).trim().to_owned();
    for args in [
        &["keys", "import"][..],
        &["share"],
        &["status"],
        &["verify"],
        &["recover"],
        &["peers"],
        &["keys", "export"],
        &["ls"],
        &["ignored"],
        &[],
    ] {
        let mut command = user.command(["--log-file", "log"]);
        let output = command.args(args).arg(&secret).output().unwrap();
        assert_exit(&output, 2);
        let log = fs::read_to_string(user.path("log")).unwrap();
        assert!(![said(&output), text(&output), log].concat().contains(&secret[7..]), "{args:?}");
        let code = if args == ["ignored"] { "error[E-KEY]" } else { "error[E-SECRETKEY]" };
        assert!(said(&output).contains(code), "{args:?}: {}", said(&output));
    }
    assert_eq!(fs::metadata(user.path("log")).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_backup_of_a_key_lands_beside_the_drive() {
    let user = User::new();
    write(&user.path("flights"), b"a", b"1");
    drop(user.share(&user.path("flights"), &["--name", "fl"]));
    done(&user, ["init", "--bare", "bare"]);
    let export = |args: &[&str]| {
        let mut command = user.command(args);
        command.env("DATNODE_PASSPHRASE", "of a test").output().unwrap()
    };
    for (folder, file) in [("flights", "fl.datkey"), ("bare", "bare.datkey")] {
        let output = export(&["-C", folder, "keys", "export"]);
        assert_exit(&output, 0);
        assert!(said(&output).contains(&format!("work/{file}")), "{}", said(&output));
        assert!(user.path(file).exists());
    }
    // A drive in the folder of another.
    write(&user.path("outer"), b"inner/a", b"1");
    done(&user, ["init", "outer"]);
    done(&user, ["init", "outer/inner"]);
    assert_exit(&export(&["-C", "outer/inner", "keys", "export"]), 0);
    assert!(user.path("inner.datkey").exists());
    // With the drive it would go to everybody; a bare one takes nothing in.
    let shared = export(&["keys", "export", "flights", "--encrypt", "flights/k"]);
    assert_exit(&shared, 2);
    assert!(!user.path("flights/k").exists());
    assert_exit(&export(&["keys", "export", "bare", "--encrypt", "bare/k"]), 0);
}

#[test]
fn a_damaged_note_hides_no_other_key() {
    let user = User::new();
    for name in ["one", "two"] {
        write(&user.path(name), b"a", b"1");
        drop(user.share(&user.path(name), &[]));
    }
    let key = |name: &str| json(&user, ["link", name])["drive"]["key"].as_str().unwrap().to_owned();
    let note = user.home().join("keys").join(key("one")).with_extension("home");
    fs::write(note, b"nonsense").unwrap();
    let keys = json(&user, ["keys"])["keys"].clone();
    for (name, damaged) in [("one", true), ("two", false)] {
        let row = keys.as_array().unwrap().iter().find(|row| row["key"] == key(name)).unwrap();
        assert_eq!(row["error"].as_str().is_some_and(|why| why.contains("damaged")), damaged);
        assert!(row["folder"].as_str().unwrap().ends_with(name), "{row}");
    }
    let told = done(&user, ["keys"]);
    assert_eq!((told.lines().count(), told.matches("is damaged").count()), (2, 1), "{told}");
}

#[test]
fn ignored_looks_from_the_folder_around_what_is_elsewhere() {
    let user = User::new();
    write(&user.path("new"), b".datignore", b"*.tmp\nbuild/\n");
    write(&user.path("new"), b"a.tmp", b"");
    write(&user.path("new"), b"build/x", b"");
    write(&user.path("new"), b"b", b"");
    fs::create_dir(user.path("away")).unwrap();
    let full = user.path("new/a.tmp");
    for (at, path, answer) in [
        ("away", "../new/a.tmp", "left out: “*.tmp” in .datignore (a.tmp)"),
        ("away", full.to_str().unwrap(), "left out: “*.tmp” in .datignore (a.tmp)"),
        ("away", "../new/b", "shared"),
        ("new", "a.tmp", "left out: “*.tmp” in .datignore (a.tmp)"),
        ("new", "build/x", "left out: “build/” in .datignore (build)"),
        ("new", "../new/build/x", "left out: “build/” in .datignore (build)"),
        (".", "new/build/x", "left out: “build/” in new/.datignore (new/build)"),
    ] {
        let output = user.run(["-C", at, "ignored", path]);
        assert_exit(&output, 0);
        let told = text(&output);
        assert_eq!(told.trim_end().split_once("   ").unwrap().1, answer, "{at} {path}");
        assert!(said(&output).contains("in no drive yet: as if "), "{}", said(&output));
    }
}

#[test]
fn a_link_to_a_version_of_a_drive_elsewhere_says_what_it_takes() {
    let user = User::new();
    write(&user.path("flights"), b"a", b"1");
    let sharer = user.share(&user.path("flights"), &[]);
    let at = format!("{}+12", sharer.link());
    let output = User::new().run(["link", &at]);
    assert_exit(&output, 5);
    let told = said(&output);
    assert!(told.contains("datnode clone ") && !told.contains("--offline"), "{told}");
}

#[test]
fn the_version_is_told_as_with_the_flag() {
    let user = User::new();
    let told = done(&user, ["version"]);
    assert_eq!(told, done(&user, ["--version"]));
    assert_eq!(
        format!("datnode {}\n", json(&user, ["version"])["version"].as_str().unwrap()),
        told
    );
    assert!(done(&user, ["help", "files"]).contains("List what is in a drive"));
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
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
    let sharer = user.share(&source, &[]);
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

/// A folder may come from anywhere: what is to be written into its `.dat` goes nowhere else.
#[test]
fn a_link_in_a_drives_folder_leads_no_write_out_of_it() {
    let user = User::new();
    write(&user.path("flights"), b"a", b"1");
    drop(user.share(&user.path("flights"), &[]));
    let dat = user.path("flights/.dat");
    let store = fs::read_dir(dat.join("store")).unwrap().map(|file| file.unwrap().path());
    for place in store.chain([dat.join("lock")]) {
        let out = user.path("out");
        fs::rename(&place, &out).unwrap();
        let before = fs::read(&out).unwrap();
        std::os::unix::fs::symlink(&out, &place).unwrap();
        for args in [&["ls", "flights"][..], &["verify", "flights"]] {
            let output = user.run(args);
            // A file of the store that a command does not need is not looked at; what cannot be read does not verify.
            assert!(matches!(output.status.code(), Some(0 | 1 | 6)), "{}", said(&output));
            if place.ends_with("lock") || place.ends_with("meta") {
                assert_exit(&output, 1);
                assert!(said(&output).contains("symbolic links"), "{}", said(&output));
            }
        }
        assert!(fs::read(&out).unwrap() == before, "{place:?}");
        fs::rename(&out, &place).unwrap();
    }
    assert_eq!(done(&user, ["ls", "flights"]), "a\n");
}

#[test]
fn a_key_stands_for_the_drive_that_is_written_here() {
    let user = User::new();
    write(&user.path("flights"), b"a", b"1");
    let link = user.share(&user.path("flights"), &[]).link().to_owned();
    assert_eq!(done(&user, ["cat", &format!("{link}/a")]), "1");
    assert_exit(&put(&user, b"2", &format!("{link}/b")), 0);
    assert_eq!(fs::read(user.path("flights/b")).unwrap(), b"2");
    // A copy of another's drive is read by its key where nobody else is asked.
    let reader = User::new();
    let sharer = user.share(&user.path("flights"), &[]);
    assert_exit(&reader.run(["clone", sharer.ticket(), "copy"]), 0);
    drop(sharer);
    assert_eq!(done(&reader, ["--offline", "cat", &format!("{link}/b")]), "2");
    // Whose folder is gone has its key still.
    fs::remove_dir_all(user.path("flights")).unwrap();
    let secret = done(&user, ["keys", "export", &link, "--plain"]);
    assert!(secret.starts_with("datsec1"), "{secret}");
}

#[test]
fn help_is_there_for_all_that_can_be_typed() {
    let user = User::new();
    fs::create_dir_all(user.path("")).unwrap();
    let help = |words: &str| done(&user, ["help"].into_iter().chain(words.split(' ')));
    assert!(help("share").contains("Usage: datnode share"));
    assert!(help("keys export").contains("Usage: datnode keys export"));
    // A word that is a command and a topic.
    let keys = help("keys");
    assert!(keys.contains("Usage: datnode keys") && keys.contains("node.key"), "{keys}");
    assert_exit(&user.run(["help", "keys", "none"]), 2);
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

#[test]
fn a_drive_is_verified_while_it_is_served() {
    let user = User::new();
    write(&user.path("flights"), b"film", &noise(1, 1 << 20));
    let sharer = user.share(&user.path("flights"), &[]);
    let checked = json(&user, ["verify", "flights"]);
    assert!(checked["bytes"].as_u64().unwrap() > 1 << 20, "{checked}");
    assert_eq!((&checked["signatures"], &checked["bad"]), (&2.into(), &serde_json::json!([])));
    assert_eq!(json(&user, ["verify", "--quick", "flights"])["blocks"], checked["blocks"]);
    rot(&user.path("flights/.dat/store/data"), 500_000);
    let bad = user.run(["verify", "flights"]);
    assert_exit(&bad, 6);
    assert!(said(&bad).contains("film block "), "{}", said(&bad));
    // Only the owner of a store repairs it.
    assert_exit(&user.run(["verify", "--repair", "flights"]), 9);
    drop(sharer);
    assert_exit(&user.run(["verify", "flights"]), 6);
}
