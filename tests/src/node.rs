//! A running `datnode node`, and what it measures.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::User;
use super::process::Running;

/// A node that is there for others; it is killed when this is dropped.
pub struct Node {
    process: Running,
    /// What it printed when it was ready.
    pub ready: Value,
    metrics: String,
}

impl Node {
    /// Starts a node on loopback, and waits until it serves.
    pub fn start(user: &User, args: &[&str]) -> Self {
        let mut command = user.command(["--json", "node", "--metrics", "0", "--to", "drives"]);
        command.args(args).env("DATNODE_DISCOVER", "dht");
        Self::spawn(command)
    }

    /// Starts a node by a command that speaks JSON, and waits until it serves.
    pub fn spawn(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let stderr = child.stderr.take().unwrap();
        let process = Running::new(child);
        let ready = lines.find_map(|line| {
            let value: Value = serde_json::from_str(&line.unwrap()).unwrap();
            (value["type"] == "ready").then_some(value)
        });
        let Some(ready) = ready else {
            let mut said = String::new();
            let _ = BufReader::new(stderr).read_to_string(&mut said);
            panic!("the node ended: {said}");
        };
        let metrics = ready["metrics"].as_str().unwrap_or_default().to_owned();
        // Whoever does not read would hold it up.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        std::thread::spawn(move || {
            BufReader::new(stderr).lines().map_while(Result::ok).for_each(drop)
        });
        Self { process, ready, metrics }
    }

    /// Returns its process.
    pub fn child(&self) -> &Child {
        self.process.child()
    }

    /// Returns its first address.
    pub fn address(&self) -> &str {
        self.ready["addresses"][0].as_str().unwrap()
    }

    /// Returns a figure of now, if it tells any.
    pub fn figure(&self, name: &str) -> f64 {
        let mut stream = TcpStream::connect(&self.metrics).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("there is no {name}: {text}")).parse().unwrap()
    }
}
