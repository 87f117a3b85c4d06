//! A router that is asked by UPnP to let others in: what it gives, what is told of it, and what it is given back; and routers that
//! refuse, lie, garble, or never answer, which hold up nothing.
//!
//! Real processes in networks of their own, one of which says that it is a router (`src/bin/router.rs`). Where such networks cannot be made
//! the tests say so and do nothing.

#![expect(clippy::print_stderr, reason = "a test that is skipped says why")]

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use datnode_tests::internet::{self, Internet};
use datnode_tests::network::{Joined, Network};
use datnode_tests::node::Node;
use datnode_tests::process::{Running, finish, signal, wait_until};
use datnode_tests::{Sharer, User, assert_exit, noise, tree, write};
use serde_json::Value;

/// The most that is taken of one answer of a router (`node::swarm::limits`), in bytes: text, and what is before it.
const ANSWER_LEN_MAX: u64 = (64 + 16) << 10;
/// What takes longer than this never comes.
const HANGS: Duration = Duration::from_secs(120);
/// The longest that a port may be ours if nobody gives it back, in seconds.
const LEASE_MAX: u64 = 3_600;

/// What says that it is a router, and what it was asked.
struct Fake {
    asked: Arc<Mutex<Vec<String>>>,
    _process: Running,
}

impl Fake {
    /// Starts a router of some kind, which has this address and says that it has another one in the world.
    fn start(mut program: Command, how: &str, own: &str, outside: &str) -> Self {
        let program = program.args([how, own, outside]);
        let mut router = program.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(router.stdout.take().unwrap()).lines();
        let process = Running::new(router);
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = asked.clone();
        std::thread::spawn(move || {
            lines.map_while(Result::ok).for_each(|line| noted.lock().unwrap().push(line));
        });
        Self { asked, _process: process }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// Returns how often it was asked for something.
    fn count(&self, what: &str) -> usize {
        self.asked().iter().filter(|line| line.starts_with(what)).count()
    }

    /// Tells whether it was asked for both ports, and for nothing else.
    fn is_asked_for(&self, to: &str) -> bool {
        let adds = self.asked().into_iter().filter(|line| line.starts_with("add "));
        let adds: BTreeSet<String> =
            adds.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect();
        adds == ["TCP", "UDP"].map(|kind| format!("add {kind} 3282 {to}")).into()
    }
}

/// Two computers, and what says that it is their router.
struct Home {
    network: Network,
    writer: User,
    reader: User,
    router: Fake,
}

impl Home {
    fn new(how: &str) -> Option<Self> {
        let network = Network::new(3, Joined::Switch)
            .and_then(|network| {
                network.set_up(0, "ip route add default via 10.77.0.3")?;
                Ok(network)
            })
            .map_err(|why| eprintln!("skipped: {why}"))
            .ok()?;
        let program = network.program(2, env!("CARGO_BIN_EXE_router"));
        let outside = if how == "inner" { "192.168.7.7" } else { "5.5.5.5" };
        let router = Fake::start(program, how, "10.77.0.3", outside);
        let (writer, reader) = (User::new(), User::new());
        write(&writer.path("source"), b"a/file", &noise(1, 300_000));
        Some(Self { network, writer, reader, router })
    }

    fn run(&self, computer: usize, user: &User, args: &[&str]) -> Output {
        run(self.network.command(computer, user, args))
    }

    /// Returns what the doctor says of the router to a user at the first computer, and how it ended.
    fn doctor(&self, user: &User) -> (Option<i32>, String, String) {
        let output = self.run(0, user, &["--json", "doctor", "--port", "0"]);
        let (verdict, says) = of_router(&output);
        (output.status.code(), verdict, says)
    }

    /// Has the second computer fetch what the first one shares.
    fn clone(&self, sharer: &Sharer, copy: &str) {
        let more = ["--discover", "none"];
        let args: Vec<&str> = ["clone", sharer.ticket(), copy].into_iter().chain(more).collect();
        assert_exit(&self.run(1, &self.reader, &args), 0);
        assert_eq!(tree(&self.reader.path(copy)), tree(&self.writer.path("source")));
    }
}

/// Returns the doctor's verdict on the router, and its words.
fn of_router(output: &Output) -> (String, String) {
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let steps = found["steps"].as_array().unwrap();
    let step = steps.iter().find(|step| step["step"] == "router").unwrap();
    let text = |name: &str| step[name].as_str().unwrap_or_default().to_owned();
    (text("verdict"), text("says"))
}

fn run(mut command: Command) -> Output {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    finish(child, HANGS).output
}

/// Ends a share as Ctrl-C does.
fn end(sharer: Sharer) {
    signal(&sharer.child, "-TERM");
    wait_until(HANGS, "the end of the share", || {
        !std::path::Path::new(&format!("/proc/{}/fd/0", sharer.child.id())).exists()
    });
    drop(sharer);
}

#[test]
fn what_a_router_says_is_told_as_its_word_and_what_it_gave_is_given_back() {
    let Some(home) = Home::new("good") else { return };
    let sharer = home.network.share(0, &home.writer, &["source"]);
    let pid = sharer.child.id();
    wait_until(HANGS, "both ports", || home.router.is_asked_for("10.77.0.1"));
    // Who gives nothing back has it for an hour.
    for line in home.router.asked().iter().filter(|line| line.starts_with("add ")) {
        let lease: u64 = line.rsplit_once(' ').unwrap().1.parse().unwrap();
        assert!((1..=LEASE_MAX).contains(&lease), "{line}");
    }
    let line = "◌ reachable from outside if the router is right (UPnP port 3282)";
    wait_until(HANGS, "the line of status", || {
        let status = home.run(0, &home.writer, &["status", "source"]);
        String::from_utf8_lossy(&status.stdout).contains(line)
    });
    let status = home.run(0, &home.writer, &["--json", "status", "source"]);
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    let reach = &status["serving"][0]["reach"];
    assert_eq!((&reach["router"], &reach["port"]), (&"mapped".into(), &3282.into()), "{reach}");
    assert_eq!(reach["how"], "lan", "nobody outside is known: {reach}");
    // Of the process that serves the doctor hears it, and asks nobody.
    let told = format!("the router says that it lets others in at port 3282 (UPnP, process {pid})");
    let before = home.router.count("search");
    wait_until(HANGS, "the doctor", || home.doctor(&home.writer).2.starts_with(&told));
    assert_eq!(home.router.count("search"), before);
    // Where the router says that we are nobody listens: it is an address among others.
    home.clone(&sharer, "copy");
    end(sharer);
    let removed = || -> BTreeSet<String> {
        home.router.asked().into_iter().filter(|line| line.starts_with("remove ")).collect()
    };
    let right = ["remove TCP 3282", "remove UDP 3282"].map(str::to_owned).into();
    wait_until(HANGS, "both ports given back", || removed() == right);

    // Alone, the doctor tries it out itself, and leaves nothing behind.
    wait_until(HANGS, "the trial", || {
        home.doctor(&home.writer).2 == "UPnP answers: the router says that it lets others in"
    });
    let router = &home.router;
    wait_until(HANGS, "that it is taken back", || router.count("add ") == router.count("remove "));
}

#[test]
fn a_router_that_is_of_no_use_holds_up_nothing() {
    let all = [
        ("refusing", "the router answers UPnP, and lets nobody in: "),
        ("inner", "the router has no address of its own in the world: another one is before it"),
        ("garbled", "no router answers by UPnP"),
        ("mute", "no router answers by UPnP"),
        ("dumb", "no router answers by UPnP"),
        ("endless", "no router answers by UPnP"),
        ("talkative", "the router answers UPnP, and does not tell its address: "),
    ];
    // Each in a network of its own.
    std::thread::scope(|scope| {
        for (how, says) in all {
            scope.spawn(move || is_of_no_use(how, says));
        }
    });
}

/// Asserts that a router of this kind holds up nothing, and what the doctor says of it.
fn is_of_no_use(how: &str, says: &str) {
    let Some(home) = Home::new(how) else { return };
    let sharer = home.network.share(0, &home.writer, &["source"]);
    wait_until(HANGS, "the search", || home.router.count("search") > 0);
    home.clone(&sharer, "copy");
    wait_until(HANGS, how, || {
        let (exit, verdict, said) = home.doctor(&User::new());
        exit == Some(0) && verdict == "warn" && said.starts_with(says)
    });
    if ["endless", "talkative"].contains(&how) {
        wait_until(HANGS, "that an answer was left", || home.router.count("cut ") > 0);
    }
    end(sharer);
    assert_eq!(home.router.count("add "), 0, "{how}");
    // What nobody read waits with the systems of both.
    for line in home.router.asked().iter().filter_map(|line| line.strip_prefix("cut ")) {
        let (len, most) = (line.parse::<u64>().unwrap(), ANSWER_LEN_MAX + buffered_at_most());
        assert!(len <= most, "{how}: {len} bytes, of {most}");
    }
    // Nobody asks where that is switched off.
    let before = home.router.count("search");
    let sharer = home.network.share(0, &home.writer, &["source", "--no-upnp"]);
    home.clone(&sharer, "again");
    end(sharer);
    assert_eq!(home.router.count("search"), before, "{how}");
}

/// Returns how many bytes two systems keep at most of what one sends and the other does not read.
fn buffered_at_most() -> u64 {
    let most = |name: &str| -> u64 {
        let text = std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap();
        text.split_whitespace().last().unwrap().parse().unwrap()
    };
    most("tcp_rmem") + most("tcp_wmem")
}

/// Two homes behind routers that nobody gets through, the first of which is asked by UPnP; and a node that tries others out.
struct World {
    internet: Internet,
    node: Node,
    writer: User,
    router: Fake,
    _keeper: User,
}

impl World {
    /// Makes a world in which the router says that this is its address.
    fn new(outside: &str) -> Option<Self> {
        let internet = Internet::new(&[internet::Router::Cone, internet::Router::Cone]);
        let internet = internet.map_err(|why| eprintln!("skipped: {why}")).ok()?;
        let program = internet.program_at_router(0, env!("CARGO_BIN_EXE_router"));
        let router = Fake::start(program, "good", "10.1.0.254", outside);
        let (keeper, writer) = (User::new(), User::new());
        write(&writer.path("source"), b"a/file", &noise(1, 300_000));
        let args = ["--json", "node", "--discover", "dht", "--no-upnp", "--to", "drives"];
        let node = Node::spawn(internet.command_in_public(&keeper, &args));
        Some(Self { internet, node, writer, router, _keeper: keeper })
    }

    /// Prepares a command at a home that knows the node.
    fn command(&self, home: usize, user: &User, args: &[&str]) -> Command {
        let mut command = self.internet.command(home, user, args);
        command.env("DATNODE_BOOTSTRAP", self.node.address());
        command
    }

    fn share(&self) -> Sharer {
        Sharer::start(self.command(0, &self.writer, &["--json", "share", "source"]))
    }

    /// Waits until the sharer says that this is how it is reached, and what the router has to do with it.
    fn wait_until_reached(&self, how: &str, router: &str) {
        wait_until(HANGS, how, || {
            let status = run(self.command(0, &self.writer, &["--json", "status", "source"]));
            let status: Value = serde_json::from_slice(&status.stdout).unwrap();
            let reach = &status["serving"][0]["reach"];
            reach["how"] == how && reach["router"] == router
        });
    }

    /// Has somebody in the other home fetch what is shared, by its key alone.
    fn clone(&self, sharer: &Sharer) {
        let reader = User::new();
        assert_exit(&run(self.command(1, &reader, &["clone", sharer.link(), "copy"])), 0);
        assert_eq!(tree(&reader.path("copy")), tree(&self.writer.path("source")));
    }
}

#[test]
fn a_router_that_lies_is_not_believed() {
    // Nobody has this address.
    let Some(world) = World::new("5.5.5.77") else { return };
    let sharer = world.share();
    wait_until(HANGS, "both ports", || world.router.is_asked_for("10.1.0.1"));
    // The node tries it, gets nowhere, and relays.
    world.wait_until_reached("punching", "mapped");
    let output = run(world.command(0, &world.writer, &["--json", "doctor", "--port", "0"]));
    let (verdict, says) = of_router(&output);
    assert!(verdict == "warn" && says.starts_with("the router says"), "{verdict}: {says}");
    world.clone(&sharer);
}

#[test]
fn a_router_that_lets_others_in_is_believed_once_somebody_came_through() {
    let Some(world) = World::new("5.5.5.1") else { return };
    world.internet.open_port(0, 3282, 3282);
    let sharer = world.share();
    let pid = sharer.child.id();
    world.wait_until_reached("reachable", "open");
    let status = run(world.command(0, &world.writer, &["status", "source"]));
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.contains("● reachable from outside (UPnP port 3282)"), "{status}");
    let output = run(world.command(0, &world.writer, &["--json", "doctor", "--port", "0"]));
    let told = format!("UPnP lets others in at port 3282 (process {pid})");
    assert_eq!(of_router(&output), ("ok".to_owned(), told));
    world.clone(&sharer);
    end(sharer);
    wait_until(HANGS, "both ports given back", || world.router.count("remove ") == 2);
}
