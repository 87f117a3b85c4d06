//! Peers far away: found by the DHT with nothing but a key, through a node that is there for others. Real processes on loopback.
//!
//! Elsewhere: routers and networks that keep them apart (`nat`), the local network and peers of other times (`lan`).

use std::process::{Command, Stdio};
use std::time::Duration;

use datnode::address::{Link, Ticket};
use datnode_feed::SecretKey;
use datnode_tests::hole::Hole;
use datnode_tests::node::Node;
use datnode_tests::process::wait_until;
use datnode_tests::relay::Relay;
use datnode_tests::{Sharer, User, assert_exit, noise, process, tree, write};
use serde_json::Value;

/// What takes longer than this never comes.
const HANGS: Duration = Duration::from_secs(60);

/// Prepares a command that knows a way into the DHT, and no other way to anybody.
fn command(user: &User, bootstrap: &str, args: &[&str]) -> Command {
    let mut command = user.command(args);
    command.env("DATNODE_DISCOVER", "dht").env("DATNODE_BOOTSTRAP", bootstrap);
    command
}

fn run(mut command: Command) -> std::process::Output {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    process::finish(child, HANGS).output
}

fn source(user: &User, seed: u64) {
    write(&user.path("source"), b"a/file", &noise(seed, 300_000));
    write(&user.path("source"), b"note", b"one");
}

#[test]
fn with_a_key_alone_the_sharer_is_found_by_the_dht() {
    let [first, second, writer, reader] = [(); 4].map(|()| User::new());
    source(&writer, 1);
    // Who shares knows one node, who looks another; the nodes know each other.
    let one = Node::start(&first, &[]);
    let two = Node::start(&second, &["--bootstrap", one.address()]);
    let sharer = Sharer::start(command(&writer, one.address(), &["--json", "share", "source"]));
    // It is announced once somebody said where it can be reached.
    wait_until(HANGS, "the announcement", || {
        one.figure("datnode_dht_records") + two.figure("datnode_dht_records") > 0.0
    });
    let output = run(command(&reader, two.address(), &["clone", sharer.link(), "copy"]));
    assert_exit(&output, 0);
    assert_eq!(tree(&reader.path("copy")), tree(&writer.path("source")));

    // What nobody has, nobody finds; and it is told where it was looked.
    let nobody = Link(&SecretKey::from_bytes([3; 32]).public()).to_string();
    let looking = ["--json", "clone", &nobody, "none", "--wait", "5s"];
    let output = run(command(&reader, two.address(), &looking));
    assert_exit(&output, 5);
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(error["code"], "E-NOPEERS");
    assert_eq!(error["tried"]["dht"], 0, "{error}");
    assert!(error["tried"]["dht_nodes"].as_u64().unwrap() >= 1, "{error}");
}

#[test]
fn a_ticket_leads_into_the_dht_where_whoever_has_the_drive_by_then_is_found() {
    let [keeper, writer, mirror, reader] = [(); 4].map(|()| User::new());
    source(&writer, 1);
    let node = Node::start(&keeper, &[]);
    let sharer = Sharer::start(command(&writer, node.address(), &["--json", "share", "source"]));
    // At each of the four places it is told who has the drive: one peer by now, then two.
    wait_until(HANGS, "the announcement", || node.figure("datnode_dht_records") == 4.0);
    // Whoever has nothing but the ticket: no way in is set, and its sharer goes away.
    let ticket = sharer.ticket().to_owned();
    let mut live = command(&mirror, "", &["--json", "clone", "--live", &ticket, "copy"]);
    let live = process::Running::new(live.stdout(Stdio::null()).spawn().unwrap());
    wait_until(HANGS, "the mirror", || {
        mirror.path("copy/note").exists() && node.figure("datnode_dht_records") == 8.0
    });
    // Its own ticket leads there too.
    let own = run(mirror.command(["link", "copy", "--ticket"]));
    assert_exit(&own, 0);
    let own = Ticket::parse(own.stdout.trim_ascii()).unwrap();
    assert_eq!(own.bootstrap, Ticket::parse(ticket.as_bytes()).unwrap().bootstrap);
    drop(sharer);
    let output = run(command(&reader, "", &["clone", &ticket, "copy"]));
    assert_exit(&output, 0);
    assert_eq!(tree(&reader.path("copy")), tree(&writer.path("source")));
    live.signal("-TERM");
    assert_exit(&live.finish(HANGS).output, 0);
}

#[test]
fn a_node_that_begins_anew_with_nothing_is_told_again_who_has_what() {
    let [keeper, writer] = [(); 2].map(|()| User::new());
    source(&writer, 1);
    let node = Node::start(&keeper, &[]);
    // It has the same address afterwards, and the same identity.
    let front = Relay::new(node.address(), Duration::ZERO);
    let sharer = Sharer::start(command(&writer, &front.address(), &["--json", "share", "source"]));
    wait_until(HANGS, "the announcement", || node.figure("datnode_dht_records") == 4.0);
    drop(node);
    let node = Node::start(&keeper, &[]);
    assert_eq!(node.figure("datnode_dht_records"), 0.0);
    front.turn_to(node.address());
    // A minute: without a reason it would be announced again two minutes after the first time.
    wait_until(HANGS, "the announcement to who came back", || {
        node.figure("datnode_dht_records") == 4.0
    });
    drop(sharer);
}

#[test]
fn where_the_user_says_that_others_get_in_is_told_in_tickets_and_in_the_dht() {
    let [keeper, writer, reader] = [(); 3].map(|()| User::new());
    source(&writer, 1);
    let node = Node::start(&keeper, &[]);
    // A port that leads to it stands for one of a router.
    let router = Relay::new("/ip4/127.0.0.1/tcp/1", Duration::ZERO);
    let mut share = command(&writer, node.address(), &["--json", "share", "source"]);
    share.args(["--external", &router.address(), "--external", "203.0.113.7:4001"]);
    let sharer = Sharer::start(share);
    let ticket = Ticket::parse(sharer.ticket().as_bytes()).unwrap();
    let named = |at: &str| {
        let mut texts = ticket.addresses.iter().map(ToString::to_string);
        texts.find(|address| address.starts_with(&format!("{at}/p2p/")))
    };
    assert!(named("/ip4/203.0.113.7/udp/4001/quic-v1").is_some(), "{:?}", ticket.addresses);
    let at_router = named(&router.address()).unwrap();
    // What the user names comes first, since a ticket has room for some.
    assert!(ticket.addresses[0].to_string().starts_with(&router.address()), "{ticket:?}");
    let own = ticket.addresses.iter().map(ToString::to_string);
    let mut own = own.filter(|at| at.contains("/127.0.0.1/tcp/") && *at != at_router);
    router.turn_to(&own.next().unwrap());
    wait_until(HANGS, "what its user says", || {
        let status = run(writer.command(["--json", "status", "source"]));
        let status: Value = serde_json::from_slice(&status.stdout).unwrap();
        status["serving"][0]["reach"]["how"] == "reachable"
    });
    let output = run(reader.command(["clone", sharer.link(), "copy", "--peer", &at_router]));
    assert_exit(&output, 0);
    assert_eq!(tree(&reader.path("copy")), tree(&writer.path("source")));
    // Nobody waited for the word of others.
    wait_until(HANGS, "the announcement", || node.figure("datnode_dht_records") == 4.0);

    let mut nowhere = reader.command(["ls", sharer.link(), "--external", "203.0.113.7"]);
    nowhere.env("DATNODE_PORT", "0");
    let output = run(nowhere);
    assert_exit(&output, 2);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("--external names no port"), "{said}");
    // Nothing is meant by an empty variable.
    let mut empty = reader.command(["ls", "copy", "--offline"]);
    empty.env("DATNODE_EXTERNAL", "");
    assert_exit(&run(empty), 0);
}

#[test]
fn a_name_that_leads_to_a_node_is_told_in_tickets_and_leads_to_it() {
    let [keeper, writer, reader] = [(); 3].map(|()| User::new());
    source(&writer, 1);
    let node = Node::start(&keeper, &[]);
    // A port that leads to it stands for one of a router.
    let router = Relay::new("/ip4/127.0.0.1/tcp/1", Duration::ZERO);
    let port = router.address().rsplit('/').next().unwrap().to_owned();
    let mut share = command(&writer, node.address(), &["--json", "share", "source"]);
    share.args(["--external", &format!("localhost:{port}")]);
    let sharer = Sharer::start(share);
    let ticket = Ticket::parse(sharer.ticket().as_bytes()).unwrap();
    let texts: Vec<String> = ticket.addresses.iter().map(ToString::to_string).collect();
    assert!(texts[0].starts_with(&format!("/dns/localhost/tcp/{port}/p2p/")), "{texts:?}");
    router.turn_to(texts.iter().find(|at| at.contains("/127.0.0.1/tcp/")).unwrap());
    wait_until(HANGS, "the announcement", || node.figure("datnode_dht_records") == 4.0);
    let output = run(reader.command(["clone", sharer.link(), "copy", "--peer", &texts[0]]));
    assert_exit(&output, 0);
    let far = User::new();
    let output = run(command(&far, node.address(), &["clone", sharer.link(), "copy"]));
    assert_exit(&output, 0);
    assert_eq!(tree(&far.path("copy")), tree(&writer.path("source")));
    let output = run(reader.command(["ls", sharer.link(), "--external", "203.0.113"]));
    assert_exit(&output, 2);
}

#[test]
fn a_way_into_the_dht_that_leads_nowhere_holds_up_nobody_and_is_named() {
    let [writer, reader] = [(); 2].map(|()| User::new());
    source(&writer, 1);
    let hole = Hole::silent();
    let nowhere = hole.address();
    let sharer = Sharer::start(command(&writer, nowhere, &["--json", "share", "source"]));
    // The ticket has the address: found without the table.
    let output = run(command(&reader, nowhere, &["clone", sharer.ticket(), "copy"]));
    assert_exit(&output, 0);
    let nobody = Link(&SecretKey::from_bytes([3; 32]).public()).to_string();
    let refused = Hole::closed();
    let output =
        run(command(&reader, refused.address(), &["clone", &nobody, "none", "--wait", "2s"]));
    assert_exit(&output, 5);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("DHT: no node known"), "{said}");
    assert!(said.contains("connection refused"), "{said}");
}

#[test]
fn a_node_tells_its_figures_and_how_it_is_reached() {
    let [keeper, writer] = [(); 2].map(|()| User::new());
    source(&writer, 1);
    let sharer = writer.share(&writer.path("source"), &[]);
    let node = Node::start(&keeper, &[sharer.ticket()]);
    wait_until(HANGS, "the mirror", || node.figure("datnode_drives_whole") == 1.0);
    assert_eq!(node.figure("datnode_drives"), 1.0);
    assert_eq!(node.figure("datnode_reachable"), 1.0);
    assert!(node.figure("datnode_received_bytes_total") >= 300_000.0);
    assert_eq!(node.figure("datnode_relay_places"), 0.0);
    // It is a mirror like any other.
    drop(sharer);
    let reader = User::new();
    let link = node.ready["drives"][0]["link"].as_str().unwrap();
    let clone = ["clone", link, "copy", "--peer", node.address()];
    assert_exit(&run(reader.command(clone)), 0);
    assert_eq!(tree(&reader.path("copy")), tree(&writer.path("source")));
}
