//! What the doctor says of networks: kinds of routers between homes, computers nearby, and a firewall that keeps multicast away.
//!
//! Real processes in networks of their own. Where those cannot be made, or `ip`, `nft`, `unshare` and `nsenter` are not here, the
//! tests say so and do nothing. Elsewhere: what needs no network (`doctor`), the router itself (`router`).

#![expect(clippy::print_stderr, reason = "a test that is skipped says why")]

use std::process::{Command, Stdio};
use std::time::Duration;

use datnode_tests::internet::{Internet, Router};
use datnode_tests::network::{Joined, Network};
use datnode_tests::node::Node;
use datnode_tests::process::{comes, finish};
use datnode_tests::{User, noise, write};
use serde_json::Value;

/// What takes longer than this never comes.
const HANGS: Duration = Duration::from_secs(120);

/// Runs the doctor until a step comes to a verdict, and returns all that was found.
fn until(step: &str, right: (&str, &str), doctor: impl Fn() -> Command) -> Value {
    let mut last = Value::Null;
    let came = comes(HANGS, || {
        let child = doctor().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let output = finish(child, HANGS).output;
        last = serde_json::from_slice(&output.stdout).unwrap();
        let steps = last["steps"].as_array().unwrap();
        let found = steps.iter().find(|found| found["step"] == step).unwrap();
        found["verdict"] == right.0 && found["says"].as_str().unwrap().starts_with(right.1)
    });
    assert!(came, "{step} never came to {right:?}: {last}");
    last
}

#[test]
fn kinds_of_routers_are_told_apart() {
    for (router, verdict, says) in [
        (Router::Cone, "warn", "one outside port for all"),
        (Router::Symmetric, "warn", "different outside ports per destination"),
        (Router::None, "ok", "others reach this computer from outside"),
    ] {
        let internet = match Internet::new(&[router]) {
            Ok(internet) => internet,
            Err(why) => {
                eprintln!("skipped: {why}");
                return;
            }
        };
        let [one, two, user] = [(); 3].map(|()| User::new());
        let args = ["--json", "node", "--discover", "dht", "--no-upnp", "--to", "drives"];
        let node = |user, port| {
            let args: Vec<&str> = args.iter().copied().chain(["--port", port]).collect();
            Node::spawn(internet.command_in_public(user, &args))
        };
        let (one, two) = (node(&one, "3282"), node(&two, "3283"));
        // Two who see us, so that they can be compared.
        let found = until("NAT", (verdict, says), || {
            let args = ["--json", "doctor", "--discover", "dht", "--no-upnp"];
            let ways = ["--bootstrap", one.address(), "--bootstrap", two.address()];
            internet.command(0, &user, &[&args[..], &ways].concat())
        });
        let reached = found["verdict"].as_str().unwrap().starts_with("people outside reach you");
        assert_eq!(reached, router == Router::None, "{found}");
    }
}

#[test]
fn who_is_near_is_found_and_a_firewall_that_keeps_multicast_away_is_told() {
    let network = match Network::new(2, Joined::Switch) {
        Ok(network) => network,
        Err(why) => {
            eprintln!("skipped: {why}");
            return;
        }
    };
    let [writer, reader] = [(); 2].map(|()| User::new());
    write(&writer.path("source"), b"a/file", &noise(1, 30_000));
    let sharer = network.share(0, &writer, &["source", "--no-upnp"]);
    let doctor = |more: &[&str]| {
        let args = ["--json", "doctor", "--no-upnp"];
        network.command(1, &reader, &[&args[..], more].concat())
    };
    until("LAN", ("ok", "mDNS works, 1 node"), || doctor(&[]));
    let found = until("drive", ("ok", "1 node has it: "), || doctor(&[sharer.link()]));
    let drive = found["steps"].as_array().unwrap().last().unwrap()["says"].as_str().unwrap();
    assert!(drive.contains("(LAN"), "{drive}");
    // By its id alone it is found as well.
    let id = sharer.address().rsplit('/').next().unwrap();
    until("peer", ("ok", ""), || doctor(&[id]));

    let drop = "nft 'table ip wall { chain in { type filter hook input priority 0; udp dport 5353 drop; }; }'";
    if let Err(why) = network.set_up(1, drop) {
        eprintln!("skipped: {why}");
        return;
    }
    let found =
        until("LAN", ("warn", "what is sent by multicast does not come back"), || doctor(&[]));
    assert!(found["fix"].as_str().unwrap().contains("5353"), "{found}");
}
