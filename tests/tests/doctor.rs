//! `datnode doctor`: what it says of nodes that are there and nodes that are not, of ports and disks, and what of it a report holds.
//!
//! Real processes on loopback; the router, multicast and routers between homes in networks of their own (`router`, `lan`, `nat`).

#![expect(clippy::print_stderr, reason = "a test that is skipped says why")]

use std::fs;
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use datnode::address::Link;
use datnode_feed::SecretKey;
use datnode_tests::hole::Hole;
use datnode_tests::node::Node;
use datnode_tests::process::wait_until;
use datnode_tests::{Sharer, User, assert_exit, binary, noise, process, write};
use serde_json::Value;

/// What takes longer than this never comes: each step ends within 5 s of the doctor's own clock.
const HANGS: Duration = Duration::from_secs(120);

fn run(mut command: Command) -> Output {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    process::finish(child, HANGS).output
}

/// Runs the doctor with JSON, and returns its exit code and what it found.
fn doctor(user: &User, args: &[&str]) -> (Option<i32>, Value) {
    let output = run(user.command(["--json", "doctor"].iter().chain(args)));
    let said = String::from_utf8_lossy(&output.stderr);
    let found = serde_json::from_slice(&output.stdout);
    (output.status.code(), found.unwrap_or_else(|error| panic!("{error}: {said}")))
}

/// Returns the verdict of a step, and what it says.
fn step<'a>(found: &'a Value, name: &str) -> (&'a str, &'a str) {
    let steps = found["steps"].as_array().unwrap();
    let step = steps
        .iter()
        .find(|step| step["step"] == name)
        .unwrap_or_else(|| panic!("no {name}: {found}"));
    (step["verdict"].as_str().unwrap(), step["says"].as_str().unwrap())
}

/// Returns what a step says to do.
fn fix<'a>(found: &'a Value, name: &str) -> &'a str {
    let steps = found["steps"].as_array().unwrap();
    let step = steps.iter().find(|step| step["step"] == name).unwrap();
    step["fix"].as_str().unwrap_or_default()
}

/// Runs the doctor until it comes to something: what nodes answer within its limits depends on how busy this computer is.
fn until(user: &User, args: &[&str], is: impl Fn(Option<i32>, &Value) -> bool) -> Value {
    let mut last = (None, Value::Null);
    let comes = process::comes(HANGS, || {
        last = doctor(user, args);
        is(last.0, &last.1)
    });
    assert!(comes, "{args:?}: {last:?}");
    last.1
}

fn share(writer: &User) -> Sharer {
    write(&writer.path("source"), b"a/file", &noise(1, 30_000));
    writer.share(&writer.path("source"), &[])
}

fn nobodys() -> String {
    Link(&SecretKey::from_bytes([3; 32]).public()).to_string()
}

#[test]
fn what_is_switched_off_is_skipped_and_nothing_is_wrong_with_it() {
    let user = User::new();
    let (exit, found) = doctor(&user, &[]);
    assert_eq!(exit, Some(0), "{found}");
    assert_eq!(step(&found, "files").0, "ok", "{found}");
    assert_eq!(step(&found, "clock").0, "ok", "{found}");
    assert_eq!(step(&found, "port").0, "ok", "{found}");
    for (name, why) in [
        ("router", "--discover none is on"),
        ("NAT", "--discover leaves out those who could tell (dht)"),
        ("LAN", "--discover leaves it out"),
        ("DHT", "--discover leaves it out"),
        ("drive", "name one: datnode doctor KEY"),
    ] {
        assert_eq!(step(&found, name), ("skipped", why), "{found}");
    }
    assert_eq!(found["verdict"], "who reaches you was not looked at");
    let (exit, found) = doctor(&user, &["--discover", "lan", "--no-upnp"]);
    assert_eq!(exit, Some(0), "{found}");
    assert_eq!(step(&found, "router"), ("skipped", "--no-upnp is on"));
    let here = "this computer alone is listened on (--listen)";
    assert_eq!(step(&found, "LAN"), ("skipped", here));
    let (exit, found) = doctor(&user, &["--offline", &nobodys()]);
    assert_eq!(exit, Some(5), "{found}");
    for name in ["clock", "port", "router", "NAT", "LAN", "DHT"] {
        assert_eq!(step(&found, name), ("skipped", "--offline is on"));
    }
}

#[test]
fn a_drive_that_somebody_serves_is_found_and_one_that_nobody_has_is_not() {
    let [writer, reader] = [(); 2].map(|()| User::new());
    let sharer = share(&writer);
    let found = until(&reader, &[sharer.ticket()], |exit, _| exit == Some(0));
    let (verdict, says) = step(&found, "drive");
    assert_eq!(verdict, "ok");
    let peer = sharer.address().rsplit('/').next().unwrap();
    assert!(
        says.starts_with("1 node has it: ") && says.contains(&peer[peer.len() - 4..]),
        "{says}"
    );
    assert!(found["verdict"].as_str().unwrap().ends_with("somebody has the drive"), "{found}");

    let (exit, found) = doctor(&reader, &[&nobodys()]);
    assert_eq!((exit, step(&found, "drive").0), (Some(5), "fail"), "{found}");
    assert!(fix(&found, "drive").contains("ticket"), "{found}");
    assert_eq!(found["fix"], fix(&found, "drive"));
}

#[test]
fn what_a_process_serves_it_is_asked_about() {
    let [writer, reader] = [(); 2].map(|()| User::new());
    let sharer = share(&writer);
    let pid = sharer.child.id();
    // Its store is in use, and nothing is wrong with that.
    let (exit, found) = doctor(&writer, &["source"]);
    assert_eq!(exit, Some(0), "{found}");
    let busy = format!("store in use by process {pid}, which answers");
    assert!(step(&found, "files").1.starts_with(&busy), "{found}");
    let alone = format!("process {pid} serves it here; nobody elsewhere was found who has it");
    assert_eq!(step(&found, "drive"), ("ok", alone.as_str()));

    let args = ["--json", "clone", "--live", sharer.ticket(), "copy"];
    let mut command = reader.command(args);
    fs::create_dir_all(reader.path("")).unwrap();
    let printed = fs::File::create(reader.path("printed")).unwrap();
    let _live = process::Running::new(command.stdout(printed).spawn().unwrap());
    wait_until(HANGS, "the clone", || {
        fs::read_to_string(reader.path("printed")).unwrap().contains("\"type\":\"done\"")
    });
    let met = format!("process {pid} serves it here, 1 node connected to it");
    until(&writer, &[sharer.link()], |_, found| step(found, "drive") == ("ok", &met));
    drop(sharer);
    let (exit, found) = doctor(&writer, &["source"]);
    assert_eq!((exit, step(&found, "drive").0), (Some(0), "warn"), "{found}");
    assert!(fix(&found, "drive").starts_with("datnode share "), "{found}");
    assert!(step(&found, "files").1.starts_with("store ok, "), "{found}");
}

#[test]
fn a_store_whose_process_does_not_answer_is_told() {
    let writer = User::new();
    let sharer = share(&writer);
    // A process that is alive, and that nobody finds.
    for file in fs::read_dir(writer.home().join("run")).unwrap() {
        fs::remove_file(file.unwrap().path()).unwrap();
    }
    let (exit, found) = doctor(&writer, &["source"]);
    assert_eq!((exit, step(&found, "files").0), (Some(9), "fail"), "{found}");
    assert!(step(&found, "files").1.contains("E-LOCKED"), "{found}");
    drop(sharer);
}

#[test]
fn a_node_answers_refuses_or_is_silent() {
    let [writer, reader] = [(); 2].map(|()| User::new());
    let sharer = share(&writer);
    let found = until(&reader, &[sharer.address()], |_, found| step(found, "peer").0 == "ok");
    assert!(step(&found, "peer").1.contains(" answers (this computer)"), "{found}");

    let closed = Hole::closed();
    until(&reader, &[closed.address()], |exit, found| {
        let (verdict, says) = step(found, "peer");
        exit == Some(5) && verdict == "fail" && says.contains("connection refused")
    });
    // These say nothing at all, each in its own way: what ends is the step.
    for hole in [Hole::silent(), Hole::lost(), Hole::deaf()] {
        let (exit, found) = doctor(&reader, &[hole.address()]);
        let silent = ("fail", "nothing comes back from there");
        assert_eq!((exit, step(&found, "peer")), (Some(5), silent), "{found}");
    }
    // An id leads nowhere by itself, but where it answered once.
    let peer = sharer.address().rsplit('/').next().unwrap();
    let (exit, found) = doctor(&reader, &[peer]);
    assert_eq!((exit, step(&found, "peer")), (Some(5), ("fail", "no address of it is known")));
    assert!(fix(&found, "peer").contains("/p2p/"), "{found}");
}

#[test]
fn ways_into_the_dht_are_counted() {
    let [keeper, user] = [(); 2].map(|()| User::new());
    let node = Node::start(&keeper, &[]);
    let closed = Hole::closed();
    let dht = ["--discover", "dht", "--no-upnp"];
    let [good, bad] = [["--bootstrap", node.address()], ["--bootstrap", closed.address()]];
    let until = |more: &[&str], is: &dyn Fn(Option<i32>, &Value) -> bool| {
        until(&user, &[&dht, more].concat(), is);
    };
    until(&good, &|exit, found| {
        let right = ("ok", "1 node known, 1 of 1 bootstrap node answered");
        exit == Some(0) && step(found, "DHT") == right
    });
    until(&[good, bad].concat(), &|exit, found| {
        let (verdict, says) = step(found, "DHT");
        let right = "1 node known, 1 of 2 bootstrap nodes answered: ";
        exit == Some(0) && verdict == "warn" && says.starts_with(right)
    });
    until(&bad, &|exit, found| {
        let (verdict, says) = step(found, "DHT");
        exit == Some(5) && verdict == "fail" && says.contains("connection refused")
    });
    let (exit, found) = doctor(&user, &dht);
    assert_eq!((exit, step(&found, "DHT").0), (Some(0), "warn"), "{found}");
    assert_eq!(step(&found, "NAT").0, "skipped", "{found}");
    assert!(fix(&found, "DHT").contains("--bootstrap ADDRESS"), "{found}");
}

#[test]
fn who_has_the_port_is_named() {
    let user = User::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (exit, found) = doctor(&user, &["--port", &port]);
    assert_eq!((exit, step(&found, "port").0), (Some(0), "warn"), "{found}");
    let by = format!("{port} is taken by process {}", std::process::id());
    assert!(step(&found, "port").1.starts_with(&by), "{found}");
    // One that was asked for and no other.
    let (exit, found) = doctor(&user, &["--listen", &format!("127.0.0.1:{port}")]);
    assert_eq!((exit, step(&found, "port").0), (Some(1), "fail"), "{found}");
    assert_eq!(step(&found, "router"), ("skipped", "there is no network (see port)"));
    // A process of ours.
    let sharer = share(&user);
    let port = sharer.address().split('/').nth(4).unwrap();
    let (exit, found) = doctor(&user, &["--port", port]);
    assert_eq!((exit, step(&found, "port").0), (Some(0), "ok"), "{found}");
    let ours = format!("process {}, which is yours", sharer.child.id());
    assert!(step(&found, "port").1.ends_with(&ours), "{found}");
}

/// Runs a script in a mount namespace of its own; `None` where that is not permitted.
fn in_namespace(user: &User, script: &str) -> Option<Output> {
    let trial =
        Command::new("unshare").args(["-m", "mount", "-t", "tmpfs", "none", "/mnt"]).output();
    if !trial.is_ok_and(|trial| trial.status.success()) {
        eprintln!("skipped: no mount namespaces here");
        return None;
    }
    let plain = user.command([""]);
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script]).current_dir(user.path(""));
    for (name, value) in plain.get_envs() {
        command.env(name, value.unwrap());
    }
    command.env("DATNODE", binary()).stdin(Stdio::null());
    Some(run(command))
}

#[test]
fn a_disk_that_is_full_or_read_only_is_told_and_everything_else_is_looked_at() {
    let user = User::new();
    fs::create_dir_all(user.home()).unwrap();
    for (prepare, exit, code) in [
        // A page for each folder, and none for the file.
        (
            "mount -t tmpfs -o size=4k,mode=700 none $DATNODE_HOME && head -c 4096 /dev/zero > $DATNODE_HOME/full",
            11,
            "E-SPACE",
        ),
        ("mount -t tmpfs -o ro,mode=700 none $DATNODE_HOME", 1, "E-IO"),
    ] {
        let script = format!("{prepare} || exit 99; $DATNODE --json doctor");
        let Some(output) = in_namespace(&user, &script) else { return };
        assert_exit(&output, exit);
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        let (verdict, says) = step(&found, "files");
        assert!(verdict == "fail" && says.contains(code), "{prepare}: {found}");
        assert!(found["verdict"].as_str().unwrap().contains("nothing can be kept"), "{found}");
        assert!(found["fix"].as_str().unwrap().contains("DATNODE_HOME"), "{found}");
    }
}

#[test]
fn a_report_names_nobody() {
    let [writer, reader] = [(); 2].map(|()| User::new());
    let sharer = share(&writer);
    let hole = Hole::closed();
    let peer = sharer.address().rsplit('/').next().unwrap().to_owned();
    let home = reader.home().to_str().unwrap().to_owned();
    let user = String::from_utf8(Command::new("id").arg("-un").output().unwrap().stdout).unwrap();
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let copied = run(reader.command(["clone", sharer.ticket(), "my-copy"]));
    assert_exit(&copied, 0);
    let nobody = nobodys();
    for target in [
        sharer.ticket(),
        sharer.link(),
        "my-copy",
        sharer.address(),
        hole.address(),
        &peer,
        &nobody,
    ] {
        let more = ["--bootstrap", hole.address(), "--discover", "dht", "--report", "report.txt"];
        let mut command = reader.command(["doctor", target].iter().chain(&more));
        // So that a key alone leads there as well. Nobody leads into the DHT, which fails.
        command.env("DATNODE_PEER", sharer.address());
        let output = run(command);
        assert_exit(&output, 5);
        let report = fs::read_to_string(reader.path("report.txt")).unwrap();
        let shown = String::from_utf8(output.stdout).unwrap();
        assert_eq!(report.matches("\n ").count(), shown.matches("\n ").count() + 1, "{report}");
        assert!(report.contains("Verdict: "), "{report}");
        let key = sharer.ready["drive"]["key"].as_str().unwrap();
        for private in [
            "127.0.0.1",
            "/ip4",
            "12D3",
            "dat1",
            "datticket",
            "/p2p/",
            "my-copy",
            "source",
            &home,
            &home[1..],
            key,
            &peer,
            &peer[peer.len() - 4..],
        ] {
            assert!(!report.contains(private), "{target}: {private} is in {report}");
        }
        // These may be a part of any word.
        let words: Vec<&str> = report.split(|char: char| !char.is_alphanumeric()).collect();
        for private in [user.trim(), host.trim()] {
            assert!(!words.contains(&private), "{target}: {private} is in {report}");
        }
        assert!(report.starts_with("datnode "), "{report}");
        fs::remove_file(reader.path("report.txt")).unwrap();
    }
    let output = run(reader.command(["doctor", "--report", "-"]));
    assert_exit(&output, 0);
    assert!(String::from_utf8_lossy(&output.stdout).contains("discover none"), "{output:?}");
}
