//! A router that is asked by UPnP to let others in: what it gives, what is told of it, and what it is given back; and routers that
//! refuse, lie, garble, or never answer, which hold up nothing.
//!
//! Real processes in a network of their own, one of which says that it is a router (`src/bin/router.rs`). Where such networks cannot be made
//! the tests say so and do nothing.

#![expect(clippy::print_stderr, reason = "a test that is skipped says why")]

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use datnode_tests::network::{Joined, Network};
use datnode_tests::process::{Running, finish, signal, wait_until};
use datnode_tests::{Sharer, User, assert_exit, noise, tree, write};
use serde_json::Value;

/// What takes longer than this never comes.
const HANGS: Duration = Duration::from_secs(120);
/// The longest that a port may be ours if nobody gives it back, in seconds.
const LEASE_MAX: u64 = 3_600;

/// Two computers, and what says that it is their router.
struct Home {
    network: Network,
    writer: User,
    reader: User,
    asked: Arc<Mutex<Vec<String>>>,
    _router: Running,
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
        let mut router = network.program(2, env!("CARGO_BIN_EXE_router"));
        let router = router.args([how, "10.77.0.3"]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut router = router.spawn().unwrap();
        let mut lines = BufReader::new(router.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = asked.clone();
        std::thread::spawn(move || {
            lines.map_while(Result::ok).for_each(|line| noted.lock().unwrap().push(line));
        });
        let (writer, reader) = (User::new(), User::new());
        write(&writer.path("source"), b"a/file", &noise(1, 300_000));
        Some(Self { network, writer, reader, asked, _router: Running::new(router) })
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    fn run(&self, computer: usize, user: &User, args: &[&str]) -> Output {
        run(self.network.command(computer, user, args))
    }

    /// Returns what the doctor says of the router to a user at the first computer, and how it ended.
    fn doctor(&self, user: &User) -> (Option<i32>, String, String) {
        let output = self.run(0, user, &["--json", "doctor", "--port", "0"]);
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        let steps = found["steps"].as_array().unwrap();
        let step = steps.iter().find(|step| step["step"] == "router").unwrap();
        let text = |name: &str| step[name].as_str().unwrap_or_default().to_owned();
        (output.status.code(), text("verdict"), text("says"))
    }

    /// Has the second computer fetch what the first one shares.
    fn clone(&self, sharer: &Sharer, copy: &str) {
        let more = ["--discover", "none"];
        let args: Vec<&str> = ["clone", sharer.ticket(), copy].into_iter().chain(more).collect();
        assert_exit(&self.run(1, &self.reader, &args), 0);
        assert_eq!(tree(&self.reader.path(copy)), tree(&self.writer.path("source")));
    }
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
fn a_router_that_lets_others_in_is_told_of_and_given_back_what_it_gave() {
    let Some(home) = Home::new("good") else { return };
    let sharer = home.network.share(0, &home.writer, &["source"]);
    let pid = sharer.child.id();
    let mapped = || -> BTreeSet<String> {
        let adds = home.asked().into_iter().filter(|line| line.starts_with("add "));
        adds.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
    };
    let right = ["add TCP 3282 10.77.0.1", "add UDP 3282 10.77.0.1"].map(str::to_owned).into();
    wait_until(HANGS, "both ports", || mapped() == right);
    // Who gives nothing back has it for an hour.
    for line in home.asked().iter().filter(|line| line.starts_with("add ")) {
        let lease: u64 = line.rsplit_once(' ').unwrap().1.parse().unwrap();
        assert!((1..=LEASE_MAX).contains(&lease), "{line}");
    }
    let line = "● reachable from outside, as the router says (UPnP port 3282)";
    wait_until(HANGS, "the line of status", || {
        let status = home.run(0, &home.writer, &["status", "source"]);
        String::from_utf8_lossy(&status.stdout).contains(line)
    });
    let status = home.run(0, &home.writer, &["--json", "status", "source"]);
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    let reach = &status["serving"][0]["reach"];
    assert_eq!((&reach["router"], &reach["port"]), (&"open".into(), &3282.into()), "{reach}");
    // Of the process that serves the doctor hears it, and asks nobody.
    let told = format!("UPnP lets others in at port 3282 (process {pid})");
    let searches = || home.asked().iter().filter(|line| *line == "search").count();
    let before = searches();
    wait_until(HANGS, "the doctor", || home.doctor(&home.writer).2 == told);
    assert_eq!(searches(), before);
    // Where the router says that we are nobody listens: it is an address among others.
    home.clone(&sharer, "copy");
    end(sharer);
    let removed = || -> BTreeSet<String> {
        home.asked().into_iter().filter(|line| line.starts_with("remove ")).collect()
    };
    let right = ["remove TCP 3282", "remove UDP 3282"].map(str::to_owned).into();
    wait_until(HANGS, "both ports given back", || removed() == right);

    // Alone, the doctor tries it out itself, and leaves nothing behind.
    wait_until(HANGS, "the trial", || {
        home.doctor(&home.writer).2 == "UPnP works: it lets others in"
    });
    let count = |what: &str| home.asked().iter().filter(|line| line.starts_with(what)).count();
    wait_until(HANGS, "what was tried is taken back", || count("add ") == count("remove "));
}

#[test]
fn a_router_that_is_of_no_use_holds_up_nothing() {
    for (how, says) in [
        ("refusing", "the router answers UPnP, and lets nobody in: "),
        ("inner", "the router has no address of its own in the world: another one is before it"),
        ("garbled", "no router answers by UPnP"),
        ("mute", "no router answers by UPnP"),
        ("dumb", "no router answers by UPnP"),
    ] {
        let Some(home) = Home::new(how) else { return };
        let sharer = home.network.share(0, &home.writer, &["source"]);
        wait_until(HANGS, "the search", || home.asked().contains(&"search".to_owned()));
        home.clone(&sharer, "copy");
        wait_until(HANGS, how, || {
            let (exit, verdict, said) = home.doctor(&User::new());
            exit == Some(0) && verdict == "warn" && said.starts_with(says)
        });
        end(sharer);
        assert!(!home.asked().iter().any(|line| line.starts_with("add ")), "{how}");
        // Nobody asks where that is switched off.
        let before = home.asked();
        let sharer = home.network.share(0, &home.writer, &["source", "--no-upnp"]);
        home.clone(&sharer, "again");
        end(sharer);
        assert_eq!(home.asked(), before, "{how}");
    }
}
