//! Every code that an error can have is met here, by the binary, in words and in JSON; or it is said where else.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{FileExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use datnode::error::Code;
use datnode_tests::{Sharer, User, assert_exit, noise, write};
use serde_json::Value;

/// Codes that other tests meet, and why not here.
const ELSEWHERE: [(Code, &str); 6] = [
    (Code::Differs, "diff.rs: nothing is said of it"),
    (Code::Partial, "unreadable.rs: it takes somebody who is not root"),
    (Code::Changed, "unreadable.rs: it takes somebody who writes all the time"),
    (Code::Version, "hostile_peers.rs: it takes a peer from the future"),
    (Code::Space, "disk.rs: it takes a disk of its own"),
    (Code::Format, "errors.rs: it takes a store from the future"),
];

/// Codes of tables, which come later: nothing makes an error of them.
const LATER: [Code; 2] = [Code::DupKey, Code::Schema];

struct World {
    writer: User,
    sharer: Sharer,
    reader: User,
    stranger: User,
}

impl World {
    fn new() -> Self {
        let writer = User::new();
        write(&writer.path("source"), b"part/file", &noise(1, 50_000));
        write(&writer.path("source"), b"rest", &noise(2, 200_000));
        let sharer = writer.share(&writer.path("source"), &[]);
        let reader = User::new();
        assert_exit(&reader.run(["clone", sharer.ticket(), "copy"]), 0);
        Self { writer, sharer, reader, stranger: User::new() }
    }

    /// Returns a command that ends with each code.
    fn commands(&self) -> BTreeMap<Code, Command> {
        let Self { writer, sharer, reader, stranger } = self;
        let link = sharer.link();
        let typo = link.replace("dat1", "dat1q");
        let secret = link.replace("dat1", "datsec1");
        fs::create_dir_all(reader.path("empty")).unwrap();
        write(&reader.path("dirty"), b"rest", b"mine");
        let rotten = fs::OpenOptions::new().write(true).open(reader.path("copy/rest")).unwrap();
        rotten.write_all_at(b"rot", 100).unwrap();
        fs::create_dir_all(writer.path("another")).unwrap();
        assert!(
            Command::new("cp")
                .arg("-a")
                .args([writer.path("source"), writer.path("twin")])
                .status()
                .unwrap()
                .success()
        );
        let mut table = BTreeMap::new();
        let mut add = |code: Code, user: &User, args: &[&str]| {
            table.insert(code, user.command(args));
        };
        add(Code::Usage, reader, &["share", "--nonsense"]);
        add(Code::Key, reader, &["clone", &typo]);
        add(Code::SecretKey, reader, &["clone", &secret]);
        add(Code::NoPeers, stranger, &["clone", link, "--wait", "200ms"]);
        add(Code::Timeout, stranger, &["clone", link, "--timeout", "200ms"]);
        add(Code::Verify, reader, &["verify", "copy"]);
        add(Code::NotFound, writer, &["cat", "source/nothing"]);
        add(Code::NotDrive, reader, &["verify", "empty"]);
        add(Code::ReadOnly, reader, &["recover", "copy"]);
        add(Code::Locked, writer, &["share", "source"]);
        add(Code::Dirty, reader, &["clone", sharer.ticket(), "dirty"]);
        add(Code::Conflict, writer, &["share", "twin"]);
        add(Code::Io, writer, &["share", "source", "--log-file", "no/such/folder"]);
        table
    }
}

fn json(output: &Output) -> Value {
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rfind(|line| line.contains("\"type\":\"error\""));
    serde_json::from_str(last.unwrap_or_else(|| panic!("no error: {said}"))).unwrap()
}

fn check(code: Code, command: &mut Command) {
    let plain = command.output().unwrap();
    assert_exit(&plain, code.exit().into());
    let said = String::from_utf8_lossy(&plain.stderr);
    assert!(said.contains(&format!("error[{code}]: ")), "{code}: {said}");
    let output = command.arg("--json").output().unwrap();
    assert_exit(&output, code.exit().into());
    let error = json(&output);
    assert_eq!((&error["code"], &error["exit"]), (&code.name().into(), &code.exit().into()));
    assert!(!error["message"].as_str().unwrap().is_empty() && error["hints"].is_array(), "{error}");
}

#[test]
fn every_code_is_met_by_the_binary() {
    let world = World::new();
    let commands = world.commands();
    let mut met: Vec<Code> = commands.keys().copied().collect();
    for (code, mut command) in commands {
        check(code, command.stdin(Stdio::null()));
    }
    // Somebody is there, and does not have it.
    let part = User::new();
    let folder = format!("{}/part", world.sharer.link());
    assert_exit(&part.run(["clone", &folder, "part", "--peer", world.sharer.address()]), 0);
    let holder = part.share(&part.path("part"), &[]);
    let late = User::new();
    let clone = ["clone", holder.link(), "late", "--peer", holder.address(), "--wait", "1s"];
    check(Code::NoData, &mut late.command(clone));
    // A link that leads out of the folder lands nowhere.
    let linking = User::new();
    write(&linking.path("source"), b"file", b"lands");
    symlink("/etc/hosts", linking.path("source/hosts")).unwrap();
    let linking = linking.share(&linking.path("source"), &[]);
    check(Code::Path, &mut world.stranger.command(["clone", linking.ticket(), "linked"]));
    assert_eq!(fs::read(world.stranger.path("linked/file")).unwrap(), b"lands");
    // A port that another program has.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("127.0.0.1:{}", taken.local_addr().unwrap().port());
    let mut share = world.writer.command(["share", "another", "--listen", &address]);
    check(Code::Port, share.env_remove("DATNODE_LISTEN").env_remove("DATNODE_PORT"));
    // Ctrl-C while it waits for somebody.
    let mut waiting = world
        .stranger
        .command(["clone", holder.link(), "--wait", "60s", "-v"])
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    interrupt(&mut waiting);
    let ended = waiting.wait_with_output().unwrap();
    assert_exit(&ended, Code::Interrupted.exit().into());
    assert!(String::from_utf8_lossy(&ended.stderr).contains("error[E-INTERRUPTED]"));
    // A reader of our output who has seen enough.
    let script = format!(
        "{} cat source/rest | head -c 10 >/dev/null; echo \"${{PIPESTATUS[0]}}\"",
        datnode_tests::binary().display()
    );
    let plain = world.writer.command([""]);
    let mut piped = Command::new("bash");
    piped.args(["-c", &script]).current_dir(world.writer.path(""));
    for (name, value) in plain.get_envs() {
        piped.env(name, value.unwrap());
    }
    let piped = piped.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&piped.stdout).trim(), "0");
    assert!(piped.stderr.is_empty(), "{}", String::from_utf8_lossy(&piped.stderr));

    met.extend([Code::NoData, Code::Path, Code::Port, Code::Interrupted, Code::Pipe]);
    met.extend(ELSEWHERE.map(|(code, _)| code));
    for code in Code::ALL {
        assert!(
            met.contains(code) != LATER.contains(code),
            "{code} is met nowhere, or said to be so"
        );
    }
}

#[test]
fn nothing_makes_an_error_of_a_code_that_comes_later() {
    let mut folders = vec![PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../node/src"))];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            files += 1;
            for code in LATER {
                let used = text.contains(&format!("Code::{code:?}"));
                assert!(!used, "{code} is used in {}: it must be met", path.display());
            }
        }
    }
    assert!(files > 50, "{files}");
}

/// Sends SIGINT once the process has its handler, which it says by catching it.
fn interrupt(child: &mut std::process::Child) {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
    let catches_interrupt = || {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        caught.is_some_and(|bits| u64::from_str_radix(bits.trim(), 16).unwrap() & 2 != 0)
    };
    while !catches_interrupt() {
        assert!(std::time::Instant::now() < end, "it never catches SIGINT");
        std::thread::yield_now();
    }
    assert!(
        Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success()
    );
}
