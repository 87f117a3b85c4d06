//! Two homes whose routers let nobody in, and a node that everybody reaches: who meets whom, and what is said where that cannot be.
//!
//! Real processes in networks of their own. Where those cannot be made, or `ip`, `nft`, `unshare` and `nsenter` are not here, the
//! tests say so and do nothing. Those that wait for what never comes take a minute: `cargo test -p datnode-tests --test nat -- --ignored`.

#![expect(clippy::print_stderr, reason = "a test that is skipped says why")]

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use datnode_tests::internet::{Internet, Router};
use datnode_tests::node::Node;
use datnode_tests::process::wait_until;
use datnode_tests::{Sharer, User, assert_exit, noise, process, tree, write};
use serde_json::Value;

/// What takes longer than this never comes. A place at a relay takes the 10 s in which it may turn out that none is needed, meeting
/// half-way up to three attempts of 10 s.
const HANGS: Duration = Duration::from_secs(150);

fn internet(routers: &[Router]) -> Option<Internet> {
    Internet::new(routers).map_err(|why| eprintln!("skipped: {why}")).ok()
}

/// Runs a command to its end, or panics.
fn run(mut command: Command) -> Output {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    process::finish(child, HANGS).output
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// An internet with a node that everybody reaches.
struct World {
    internet: Internet,
    node: Node,
    writer: User,
    _keeper: User,
}

impl World {
    /// Makes an internet with a node, and a folder to share at the first home.
    fn new(routers: &[Router]) -> Option<Self> {
        Self::with(routers, 300_000)
    }

    /// Makes one with so many bytes to share.
    fn with(routers: &[Router], len: usize) -> Option<Self> {
        let internet = internet(routers)?;
        let (keeper, writer) = (User::new(), User::new());
        write(&writer.path("source"), b"a/file", &noise(1, len));
        write(&writer.path("source"), b"note", b"one");
        let args = ["--json", "node", "--discover", "dht", "--no-upnp", "--to", "drives"];
        let node = Node::spawn(internet.command_in_public(&keeper, &args));
        Some(Self { internet, node, writer, _keeper: keeper })
    }

    /// Prepares a command that knows the node, and nobody else.
    fn command(&self, home: usize, user: &User, args: &[&str]) -> Command {
        self.introduced(self.internet.command(home, user, args))
    }

    /// Lets a command know the node, and nobody else.
    fn introduced(&self, mut command: Command) -> Command {
        command.env("DATNODE_DISCOVER", "dht").env("DATNODE_BOOTSTRAP", self.node.address());
        command.env("DATNODE_NO_UPNP", "true");
        command
    }

    fn share(&self) -> Sharer {
        Sharer::start(self.command(0, &self.writer, &["--json", "share", "source"]))
    }

    /// Waits until the sharer says that it is reached in this way.
    fn wait_until_reached(&self, how: &str) {
        wait_until(HANGS, how, || {
            let status = run(self.command(0, &self.writer, &["--json", "status", "source"]));
            let status: Value = serde_json::from_slice(&status.stdout).unwrap();
            status["serving"][0]["reach"]["how"] == how
        });
    }

    fn clone(&self, reader: &User, link: &str, more: &[&str]) -> Output {
        let args: Vec<&str> = ["clone", link, "copy"].iter().chain(more).copied().collect();
        run(self.command(1, reader, &args))
    }
}

#[test]
fn two_homes_meet_half_way_with_nothing_but_a_key() {
    let Some(world) = World::new(&[Router::Cone, Router::Cone]) else { return };
    let reader = User::new();
    let sharer = world.share();
    world.wait_until_reached("punching");
    let mut command = world.command(
        1,
        &reader,
        &["--json", "clone", "--live", "--wait", "110s", sharer.link(), "copy"],
    );
    let printed = std::fs::File::create(reader.path("printed")).unwrap();
    let live = process::Running::new(command.stdout(printed).spawn().unwrap());
    wait_until(HANGS, "the clone", || {
        std::fs::read_to_string(reader.path("printed")).unwrap().contains("\"type\":\"done\"")
    });
    assert_eq!(tree(&reader.path("copy")), tree(&world.writer.path("source")));
    let peers = run(world.command(0, &world.writer, &["--json", "peers", "source"]));
    let said = String::from_utf8(peers.stdout).unwrap();
    assert!(said.contains("\"how\":\"hole-punched\""), "{said}");

    // Cut off and joined again, it goes on where it was.
    world.internet.cut(1, true);
    write(&world.writer.path("source"), b"note", b"two");
    world.internet.cut(1, false);
    wait_until(HANGS, "the change", || {
        std::fs::read(reader.path("copy/note")).is_ok_and(|note| note == b"two")
    });
    live.signal("-TERM");
    assert_exit(&live.finish(HANGS).output, 0);
}

#[test]
fn a_relay_carries_no_drive() {
    const LEN: usize = 20_000_000;
    let Some(world) = World::with(&[Router::Cone, Router::Cone], LEN) else { return };
    let reader = User::new();
    let sharer = world.share();
    world.wait_until_reached("punching");
    let before = world.internet.passed_public();
    assert_exit(&world.clone(&reader, sharer.link(), &["--wait", "115s"]), 0);
    let passed = world.internet.passed_public() - before;
    assert_eq!(tree(&reader.path("copy")), tree(&world.writer.path("source")));
    // Handshakes, and what is asked of the table: all of it comes to the node and leaves it again, and is a hundredth of the drive.
    assert!(passed < LEN as u64 / 20, "{passed} bytes passed the relay");
}

#[test]
fn who_is_reached_by_everybody_needs_no_relay_and_is_told_so() {
    let Some(world) = World::new(&[Router::None, Router::Cone]) else { return };
    let reader = User::new();
    let sharer = world.share();
    world.wait_until_reached("reachable");
    let output = world.clone(&reader, sharer.link(), &[]);
    assert_exit(&output, 0);
    assert!(said(&output).contains("DHT ✓1"), "{}", said(&output));
    assert_eq!(tree(&reader.path("copy")), tree(&world.writer.path("source")));
}

/// A router that is strict gives each peer a port of its own, and the other one lets in nobody but whom its home wrote to.
fn ends_with_the_reason(routers: [Router; 2]) {
    let Some(world) = World::new(&routers) else { return };
    let sharer = world.share();
    world.wait_until_reached("punching");
    let began = Instant::now();
    let output = world.clone(&User::new(), sharer.link(), &["--wait", "60s"]);
    assert_exit(&output, 5);
    assert!(said(&output).contains("E-NOPEERS"), "{routers:?}: {}", said(&output));
    assert!(said(&output).contains("relays carry no drives"), "{routers:?}: {}", said(&output));
    // Each address and relay that is tried counts as no progress.
    assert!(began.elapsed() < HANGS, "{routers:?}: {:?}", began.elapsed());
}

#[test]
#[ignore = "waits for a minute; see the head of this file"]
fn where_both_routers_are_strict_it_is_said_why_there_is_no_way() {
    ends_with_the_reason([Router::Symmetric, Router::Symmetric]);
}

#[test]
#[ignore = "waits for a minute; see the head of this file"]
fn where_the_readers_router_is_strict_it_is_said_why_there_is_no_way() {
    ends_with_the_reason([Router::Cone, Router::Symmetric]);
}

#[test]
#[ignore = "waits for a minute; see the head of this file"]
fn where_the_sharers_router_is_strict_it_is_said_why_there_is_no_way() {
    ends_with_the_reason([Router::Symmetric, Router::Cone]);
}

#[test]
fn strict_routers_are_no_matter_where_one_of_them_was_told_to_let_others_in() {
    let Some(world) = World::new(&[Router::Symmetric, Router::Symmetric]) else { return };
    // At the port that is listened on one would be looked for anyway.
    world.internet.open_port(0, 4000, 3282);
    let reader = User::new();
    let mut command = world.command(0, &world.writer, &["--json", "share", "source"]);
    command.args(["--external", "5.5.5.1:4000"]);
    let sharer = Sharer::start(command);
    assert_exit(&world.clone(&reader, sharer.link(), &["--wait", "115s"]), 0);
    assert_eq!(tree(&reader.path("copy")), tree(&world.writer.path("source")));
}

#[test]
fn what_a_name_stands_for_is_told_to_those_who_only_have_the_key() {
    let Some(world) = World::new(&[Router::Symmetric, Router::Symmetric]) else { return };
    world.internet.open_port(0, 4000, 3282);
    let reader = User::new();
    let args = ["--json", "share", "source", "--external", "home.example:4000"];
    let name = ("home.example", "5.5.5.1");
    let share = world.internet.command_where(0, name, &world.writer, &args);
    let sharer = Sharer::start(world.introduced(share));
    // To the reader the name stands for nothing.
    assert_exit(&world.clone(&reader, sharer.link(), &["--wait", "115s"]), 0);
    assert_eq!(tree(&reader.path("copy")), tree(&world.writer.path("source")));
}

#[test]
fn who_moves_to_another_address_is_found_there() {
    let Some(world) = World::new(&[Router::None, Router::Cone]) else { return };
    let reader = User::new();
    let sharer = world.share();
    world.wait_until_reached("reachable");
    world.internet.move_to(0, 50);
    assert_exit(&world.clone(&reader, sharer.link(), &["--wait", "115s"]), 0);
    assert_eq!(tree(&reader.path("copy")), tree(&world.writer.path("source")));
}

#[test]
fn without_udp_two_homes_meet_by_tcp() {
    let Some(world) = World::new(&[Router::TcpOnly, Router::TcpOnly]) else { return };
    let reader = User::new();
    let sharer = world.share();
    world.wait_until_reached("punching");
    assert_exit(&world.clone(&reader, sharer.link(), &[]), 0);
    assert_eq!(tree(&reader.path("copy")), tree(&world.writer.path("source")));
}
