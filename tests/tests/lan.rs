//! Peers that nobody gave an address of: on the local network, and from another time. Real processes in networks of their own.
//!
//! Where network namespaces cannot be made, or `ip`, `unshare` and `nsenter` are not here, the tests say so and do nothing.

#![expect(clippy::print_stderr, reason = "a test that is skipped says why")]

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use datnode::address::Link;
use datnode_feed::SecretKey;
use datnode_tests::network::{Joined, Network};
use datnode_tests::{User, assert_exit, noise, process, tree, write};
use serde_json::Value;

/// Longer than any command here takes.
const LIMIT: Duration = Duration::from_secs(60);

fn network(count: u8, joined: Joined) -> Option<Network> {
    Network::new(count, joined).map_err(|why| eprintln!("skipped: {why}")).ok()
}

/// Runs a command to its end, or panics.
fn run(mut command: Command) -> Output {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    process::finish(child, LIMIT).output
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Returns the link of a drive that nobody has.
fn nobodys() -> String {
    Link(&SecretKey::from_bytes([3; 32]).public()).to_string()
}

/// Returns what an error says was tried.
fn tried(output: &Output) -> Value {
    assert_exit(output, 5);
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(error["code"], "E-NOPEERS");
    error["tried"].clone()
}

/// Returns everything in the files of remembered peers.
fn remembered(user: &User) -> String {
    let Ok(files) = std::fs::read_dir(user.home().join("peers")) else { return String::new() };
    files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect()
}

fn source(user: &User, seed: u64) {
    write(&user.path("source"), b"a/file", &noise(seed, 300_000));
    write(&user.path("source"), b"note", b"one");
}

fn assert_same(one: &User, folder: impl AsRef<Path>, other: &User) {
    assert_eq!(tree(&one.path(folder)), tree(&other.path("source")));
}

#[test]
fn on_one_local_network_a_key_is_enough() {
    let Some(network) = network(3, Joined::Switch) else { return };
    let [writer, reader, third] = [(); 3].map(|()| User::new());
    source(&writer, 1);
    source(&third, 2);
    let sharer = network.share(0, &writer, &["source"]);
    // Who shares something else does no harm, and is found as well.
    let other = network.share(2, &third, &["source"]);

    let output = run(network.command(1, &reader, &["clone", sharer.link(), "copy"]));
    assert_exit(&output, 0);
    assert!(said(&output).contains("Peers      LAN ✓1   remembered –  "), "{}", said(&output));
    assert_same(&reader, "copy", &writer);
    let output = run(network.command(1, &reader, &["clone", other.link(), "other"]));
    assert_exit(&output, 0);
    assert_same(&reader, "other", &third);
    // It serves at its own address all the while.
    let ticket = other.ticket();
    let none = ["clone", ticket, "again", "--discover", "none"];
    let output = run(network.command(1, &reader, &none));
    assert_exit(&output, 0);
    assert!(said(&output).contains("Peers      1 connected"), "{}", said(&output));

    let nobody = nobodys();
    let looking = ["--json", "clone", &nobody, "--wait", "6s"];
    let output = run(network.command(1, &reader, &looking));
    let tried = tried(&output);
    assert_eq!((&tried["lan"], &tried["remembered"]), (&2.into(), &0.into()), "{tried}");
    let output = run(network.command(1, &reader, &["clone", &nobody, "--wait", "6s"]));
    let found = " s, 2 found, 2 answered · no remembered peers · DHT: no node known · the processes of this user\n";
    assert!(said(&output).contains(found), "{}", said(&output));
}

#[test]
fn without_discovery_nobody_is_found_nor_remembered() {
    let Some(network) = network(2, Joined::Switch) else { return };
    let [writer, reader] = [(); 2].map(|()| User::new());
    source(&writer, 1);
    // Nor does the sharer look, who would find the reader of a moment ago.
    let sharer = network.share(0, &writer, &["source", "--discover", "none"]);
    let none = ["--discover", "none", "--wait", "1s"];
    let clone = |address, folder, more: &[&str]| {
        let args: Vec<&str> = ["clone", address, folder].iter().chain(more).copied().collect();
        run(network.command(1, &reader, &args))
    };
    // The clone finds its peer, and notes where; without discovery the note is neither used nor made.
    assert_exit(&clone(sharer.ticket(), "first", &none), 0);
    assert_eq!(remembered(&reader), "");
    assert_exit(&clone(sharer.ticket(), "second", &[]), 0);
    let noted = remembered(&reader);
    assert!(noted.contains("/ip4/10.77.0.1/tcp/3282/p2p/"), "{noted}");
    let output = clone(sharer.link(), "third", &none);
    assert_exit(&output, 5);
    assert!(said(&output).contains("--discover none is on"), "{}", said(&output));
    assert!(
        said(&output).contains("tried: the processes of this user, for 1"),
        "{}",
        said(&output)
    );
    let output = clone(sharer.link(), "third", &["--json", "--discover", "none", "--wait", "1s"]);
    let tried = tried(&output);
    assert_eq!((&tried["lan"], &tried["remembered"]), (&Value::Null, &Value::Null), "{tried}");
    let output = clone(sharer.link(), "third", &["--offline"]);
    assert_exit(&output, 5);
    assert_eq!(remembered(&reader), noted);
}

#[test]
fn who_answered_once_is_found_again_where_multicast_does_not_reach() {
    let Some(network) = network(2, Joined::Router) else { return };
    let [writer, reader, stranger] = [(); 3].map(|()| User::new());
    source(&writer, 1);
    let sharer = network.share(0, &writer, &["source"]);
    let link = sharer.link().to_owned();
    let output = run(network.command(1, &reader, &["clone", sharer.ticket(), "copy"]));
    assert_exit(&output, 0);
    let peers = "Peers      LAN –   remembered –   given ✓1  ";
    assert!(said(&output).contains(peers), "{}", said(&output));
    assert_same(&reader, "copy", &writer);

    drop(sharer);
    write(&writer.path("source"), b"note", b"two");
    let _sharer = network.share(0, &writer, &["source"]);
    let output = run(network.command(1, &reader, &["clone", &link, "copy"]));
    assert_exit(&output, 0);
    assert!(said(&output).contains("Peers      LAN –   remembered ✓1  "), "{}", said(&output));
    assert_same(&reader, "copy", &writer);
    // Commands that keep nothing use it as well.
    let output = run(network.command(1, &reader, &["cat", &format!("{link}/note")]));
    assert_exit(&output, 0);
    assert_eq!(output.stdout, b"two");

    // It was the note that led there.
    let looking = ["--json", "clone", &link, "copy", "--wait", "2s"];
    let tried = tried(&run(network.command(1, &stranger, &looking)));
    assert_eq!((&tried["lan"], &tried["remembered"]), (&0.into(), &0.into()), "{tried}");
}

#[test]
fn what_is_remembered_wrongly_does_no_harm() {
    let Some(network) = network(2, Joined::Switch) else { return };
    let [writer, reader] = [(); 2].map(|()| User::new());
    source(&writer, 1);
    // Who looks nowhere does not come to the reader before the reader comes, which would be nothing to note.
    let sharer = network.share(0, &writer, &["source", "--discover", "none"]);
    let note = format!("{}/note", sharer.ticket());
    assert_exit(&run(network.command(1, &reader, &["cat", &note])), 0);
    let peer = sharer.address().rsplit('/').next().unwrap().to_owned();
    drop(sharer);
    let sharer = network.share(0, &writer, &["source"]);
    // Where it was once nobody says anything, not even no.
    let folder = reader.home().join("peers");
    let file = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    let silent: Vec<Value> = (1..=30)
        .map(|port| serde_json::json!({
            "address": format!("/ip4/10.77.0.200/tcp/{port}/p2p/{peer}"), "seen": 4_000_000_000_u64,
        }))
        .collect();
    let content = serde_json::json!({ "format": 1, "peers": silent });
    std::fs::write(&file, content.to_string()).unwrap();
    let output = run(network.command(1, &reader, &["clone", sharer.link(), "copy"]));
    assert_exit(&output, 0);
    assert_same(&reader, "copy", &writer);
}

#[test]
fn who_cannot_look_says_why() {
    let nobody = nobodys();
    let looking = |more: &[&'static str]| {
        let args = ["--json", "clone", &nobody, "--wait", "2s"];
        args.into_iter().chain(more.iter().copied()).map(str::to_owned).collect::<Vec<_>>()
    };
    let Some(alone) = network(1, Joined::Nothing) else { return };
    let user = User::new();
    let ask = |network: &Network, more: &[&'static str]| {
        let args = looking(more);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        tried(&run(network.command(0, &user, &args)))
    };
    let tried = ask(&alone, &[]);
    assert_eq!(tried["lan"], Value::Null, "{tried}");
    assert_eq!(tried["reasons"][0], "LAN: this computer has no network");

    let Some(network) = network(2, Joined::Switch) else { return };
    let writer = User::new();
    source(&writer, 1);
    let tried = ask(&network, &["--listen", "127.0.0.1"]);
    assert_eq!(tried["reasons"][0], "LAN: this node listens on this computer only (--listen)");
    // Nor does it tell others of itself, who could not reach it.
    let _sharer = network.share(1, &writer, &["source", "--listen", "127.0.0.1"]);
    let tried = ask(&network, &[]);
    assert_eq!(tried["lan"], 0, "{tried}");
}
