//! The binary under test, for one user with a home of its own.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::data;
use crate::process::{Usage, Watch};
use crate::relay::Relay;

/// A user who has nothing yet.
pub(crate) struct Home(PathBuf);

/// A process that shares a folder; it ends when this is dropped.
pub(crate) struct Sharer {
    child: Child,
    watch: Watch,
    ticket: String,
    link: String,
    /// A TCP address of it, with its number.
    address: String,
    /// Seconds from its start until it served.
    pub(crate) ready_after: f64,
}

/// A clone that follows its drive; it ends when this is dropped.
pub(crate) struct Follower {
    child: Child,
    /// What it says goes here, so that it never waits.
    _said: thread::JoinHandle<()>,
}

/// What a clone took.
pub(crate) struct Cloned {
    pub(crate) seconds: f64,
    pub(crate) usage: Usage,
    /// Bytes of blocks that peers sent.
    pub(crate) received: u64,
}

/// What a range of a remote file took.
pub(crate) struct Ranged {
    /// Until the first byte.
    pub(crate) seconds: f64,
    /// Bytes of blocks that peers sent.
    pub(crate) received: u64,
}

impl Home {
    pub(crate) fn new(folder: &Path, name: &str) -> Self {
        let home = folder.join("homes").join(name);
        if name == "stranger" {
            data::remove(&home);
        }
        std::fs::create_dir_all(&home).expect("room for a home");
        Self(home)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_datnode"));
        command.env("DATNODE_HOME", &self.0).env("DATNODE_DISCOVER", "none");
        command.env("DATNODE_LISTEN", "127.0.0.1").env("DATNODE_PORT", "0");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn share(&self, folder: &Path, flags: &[&str]) -> Sharer {
        let started = Instant::now();
        let mut command = self.command();
        command.args(["--json", "share", "--progress", "none"]).args(flags).arg(folder);
        command.stderr(Stdio::null());
        let mut child = command.spawn().expect("the binary was built");
        let watch = Watch::new(&child);
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let ready = lines.next().expect("it serves").expect("it serves");
        let ready_after = started.elapsed().as_secs_f64();
        let ready: Value = serde_json::from_str(&ready).expect("it says JSON");
        let ticket = ready["ticket"].as_str().expect("it has a ticket").to_owned();
        let link = ready["drive"]["link"].as_str().expect("it has a link").to_owned();
        let addresses = ready["addresses"].as_array().expect("it has addresses").iter();
        let mut addresses = addresses.filter_map(Value::as_str);
        let address = addresses.find(|address| address.contains("/tcp/")).expect("it listens");
        let address = address.to_owned();
        Sharer { child, watch, ticket, link, address, ready_after }
    }

    pub(crate) fn clone(&self, sharer: &Sharer, out: &Path) -> Cloned {
        let started = Instant::now();
        let mut command = self.command();
        command.args(["--json", "clone", "--progress", "none", &sharer.ticket]).arg(out);
        let child = command.spawn().expect("the binary was built");
        let watch = Watch::new(&child);
        watch.ended();
        let (seconds, usage) = (started.elapsed().as_secs_f64(), watch.usage());
        let output = child.wait_with_output().expect("it has ended");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let said = String::from_utf8(output.stdout).expect("it says JSON");
        let done = said.lines().last().expect("it says when it is done");
        let done: Value = serde_json::from_str(done).expect("it says JSON");
        Cloned { seconds, usage, received: done["received"].as_u64().expect("it counts") }
    }

    /// Clones a drive through a relay, and follows it from then on.
    pub(crate) fn follow(&self, sharer: &Sharer, relay: &Relay, out: &Path) -> Follower {
        let mut command = self.command();
        command.args(["--json", "clone", "--live", "--progress", "none", &sharer.link]);
        command.arg(out).args(["--peer", &sharer.address_at(relay.port())]);
        command.stderr(Stdio::null());
        let mut child = command.spawn().expect("the binary was built");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        lines.next().expect("it clones").expect("it clones");
        Follower { child, _said: thread::spawn(move || lines.for_each(drop)) }
    }

    /// Reads a range of a file of a drive that nobody here has; `bytes` as the command takes it.
    pub(crate) fn range(&self, sharer: &Sharer, path: &str, bytes: &str) -> Ranged {
        let started = Instant::now();
        let from = format!("{}/{path}", sharer.ticket);
        let mut command = self.command();
        command.args(["-v", "cat", &from, "--range", bytes]);
        let mut child = command.spawn().expect("the binary was built");
        let mut stdout = child.stdout.take().expect("it is piped");
        let mut first = [0];
        stdout.read_exact(&mut first).expect("there is a first byte");
        let seconds = started.elapsed().as_secs_f64();
        let mut rest = Vec::new();
        stdout.read_to_end(&mut rest).expect("there are more");
        let output = child.wait_with_output().expect("it has ended");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ranged { seconds, received: received(&String::from_utf8_lossy(&output.stderr)) }
    }
}

/// Finds "(72 KiB)" in what `cat -v` says.
fn received(said: &str) -> u64 {
    let shown = said.rsplit_once("blocks (").and_then(|(_, rest)| rest.split_once(')'));
    let size = shown.and_then(|(size, _)| size.split_once(' '));
    let (number, unit) = size.expect("it says how much it fetched");
    let scale = match unit {
        "B" => 1.0,
        "KiB" => 1024.0,
        "MiB" => 1_048_576.0,
        unit => panic!("what is a {unit}?"),
    };
    (number.parse::<f64>().expect("a number") * scale) as u64
}

impl Sharer {
    pub(crate) fn usage(&self) -> Usage {
        self.watch.usage()
    }

    /// Returns the TCP port at which it listens.
    pub(crate) fn port(&self) -> u16 {
        self.address.split('/').nth(4).and_then(|port| port.parse().ok()).expect("/ip4/A/tcp/PORT")
    }

    /// Returns its address as if it listened at another port.
    fn address_at(&self, port: u16) -> String {
        self.address.replacen(&format!("/tcp/{}", self.port()), &format!("/tcp/{port}"), 1)
    }
}

impl Drop for Sharer {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn end(child: &mut Child) {
    let pid = Pid::from_raw(child.id() as i32).expect("a process has a number");
    let _ = kill_process(pid, Signal::TERM);
    let _ = child.wait();
}
