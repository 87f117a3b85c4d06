//! The public IPFS DHT: asked by those who say so and by nobody else, and nothing is done there but ask and announce.
//!
//! Real processes on loopback, and a DHT of our own that speaks as that one does.

use std::process::{Command, Stdio};
use std::time::Duration;

use datnode::address::Link;
use datnode_feed::SecretKey;
use datnode_tests::ipfs::Ipfs;
use datnode_tests::process::wait_until;
use datnode_tests::{Sharer, User, assert_exit, noise, process, tree, write};
use serde_json::Value;

/// What takes longer than this never comes. Who looked a moment too early looks again after a minute.
const HANGS: Duration = Duration::from_secs(150);

fn run(mut command: Command) -> std::process::Output {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    process::finish(child, HANGS).output
}

/// Prepares a command that knows one node of that DHT, and nobody else.
fn command(user: &User, ipfs: &Ipfs, node: usize, discover: &str, args: &[&str]) -> Command {
    let mut command = user.command(args);
    command.env("DATNODE_DISCOVER", discover).env("DATNODE_BOOTSTRAP", ipfs.address(node));
    command
}

fn source(user: &User) {
    write(&user.path("source"), b"a/file", &noise(1, 300_000));
}

#[test]
fn two_who_ask_the_public_table_find_each_other_by_nothing_else() {
    let ipfs = Ipfs::start(4);
    let [writer, reader] = [(); 2].map(|()| User::new());
    source(&writer);
    // One says so by the flag, the other by the list.
    let share = command(&writer, &ipfs, 0, "public", &["--json", "share", "--public", "source"]);
    let sharer = Sharer::start(share);
    wait_until(HANGS, "the announcement", || ipfs.asked.records() > 0);
    let args = ["clone", sharer.link(), "copy", "--wait", "120s"];
    let output = run(command(&reader, &ipfs, 3, "public", &args));
    assert_exit(&output, 0);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("Asking the public IPFS DHT"), "{said}");
    assert!(said.contains("DHT ✓1"), "{said}");
    assert_eq!(tree(&reader.path("copy")), tree(&writer.path("source")));
    // Nobody of us ever served it.
    assert!(ipfs.asked.met() > 0);
    assert_eq!(ipfs.asked.speakers(), 0);
    let status = run(writer.command(["--json", "status", "source"]));
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert!(status["serving"][0]["reach"]["ipfs_nodes"].as_u64().unwrap() > 0, "{status}");

    // What is not there is not found, and the doctor says that the table was asked.
    let nobody = Link(&SecretKey::from_bytes([3; 32]).public()).to_string();
    let args = ["--json", "clone", &nobody, "none", "--wait", "3s"];
    let output = run(command(&reader, &ipfs, 3, "public", &args));
    assert_exit(&output, 5);
    wait_until(HANGS, "the doctor", || {
        let output = run(command(&reader, &ipfs, 3, "public", &["--json", "doctor"]));
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        let steps = found["steps"].as_array().unwrap();
        let dht = steps.iter().find(|step| step["step"] == "DHT").unwrap();
        dht["says"].as_str().unwrap().starts_with("public IPFS DHT, ")
    });
}

#[test]
fn without_being_told_to_nobody_asks_it_anything() {
    // One alone, so that whatever it is asked comes from us.
    let ipfs = Ipfs::start(1);
    let [writer, reader] = [(); 2].map(|()| User::new());
    source(&writer);
    let share = command(&writer, &ipfs, 0, "dht", &["--json", "share", "source"]);
    let sharer = Sharer::start(share);
    let args = ["--json", "clone", sharer.link(), "copy", "--wait", "5s"];
    let output = run(command(&reader, &ipfs, 0, "dht", &args));
    assert_exit(&output, 5);
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(error["tried"]["dht_nodes"], 0, "{error}");
    // They were there, and said what they speak.
    wait_until(HANGS, "somebody", || ipfs.asked.met() > 0);
    drop(sharer);
    assert_eq!((ipfs.asked.questions(), ipfs.asked.speakers()), (0, 0));
    // Nor does --discover none let anybody ask.
    let output = run(command(&reader, &ipfs, 0, "none", &["ls", "x", "--public"]));
    assert_exit(&output, 2);
}
