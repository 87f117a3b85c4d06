//! Two terminals, in which the examples of the documents are typed as they are written.
//!
//! In the first a writer shares; in the second somebody else, in another folder, does everything else. `dat1…` stands for the drive
//! that was shared last. What differs from run to run (keys, versions, times) is left out when outputs are compared.

use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::{Sharer, User, binary, process};

/// Stands for `cargo` where the documents build: what it would run is there already.
const CARGO: &str = r#"#!/bin/sh
case "$*" in
"run --release -p datnode -- "*) shift 5; exec datnode "$@" ;;
"test --workspace --locked") echo "this is one of them" ;;
*) echo "cargo $* is not known here" >&2; exit 99 ;;
esac
"#;
/// Stands for ssh: whatever the host, it is the writer's computer.
const SSH: &str = r#"#!/bin/sh
while [ "$1" != -- ]; do shift; done
cd "$WRITER_FOLDER" && DATNODE_HOME="$WRITER_HOME" exec sh -c "$3"
"#;
/// What stands for the link of the drive that was shared last.
const LINK: &str = "dat1…";
/// Longer than any example takes.
const LIMIT: Duration = Duration::from_secs(120);

/// The two terminals.
pub struct Terminals {
    /// Who shares.
    pub writer: User,
    /// Who does everything else.
    pub reader: User,
    tools: TempDir,
    server: Option<Server>,
    link: String,
}

/// A command that serves.
struct Server {
    child: Child,
    /// The rest of what it says, which must be read.
    rest: JoinHandle<String>,
}

/// What an example did.
#[derive(Debug)]
pub struct Shown {
    /// What it printed, on both streams.
    pub text: String,
    /// How it ended; none if it serves.
    pub exit: Option<i32>,
}

impl Default for Terminals {
    fn default() -> Self {
        Self::new()
    }
}

impl Terminals {
    /// Opens both.
    pub fn new() -> Self {
        let tools = TempDir::new().unwrap();
        symlink(binary(), tools.path().join("datnode")).unwrap();
        for (name, script) in [("cargo", CARGO), ("ssh", SSH)] {
            let tool = tools.path().join(name);
            fs::write(&tool, script).unwrap();
            fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let (writer, reader) = (User::new(), User::new());
        Self { writer, reader, tools, server: None, link: String::new() }
    }

    /// Types a line where it belongs, and waits until it ended or serves.
    ///
    /// A line of the writer's that needs the drive ends what was served before: Ctrl-C, then the next command.
    pub fn type_in(&mut self, line: &str) -> Shown {
        let verb = verb(line);
        if serves(line) {
            self.stop();
            return self.serve(line);
        }
        if line.contains("--live")
            || matches!(verb, "sync" | "mirror" | "node") && !line.contains("--help")
        {
            return self.follow(line);
        }
        // What was lost is with whoever has it: a reader who serves on.
        let mirror = (verb == "recover").then(|| self.mirror());
        let writes = matches!(verb, "" | "recover") || is_writers(verb);
        let mut command = self.shell(line, writes);
        if let Some(mirror) = &mirror {
            command.env("DATNODE_PEER", mirror.address());
        }
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Shown { text, exit: output.status.code() }
    }

    /// Has the reader fetch the drive and serve it, and ends what the writer serves.
    fn mirror(&mut self) -> Sharer {
        if self.server.is_none() {
            self.serve("datnode share ./flights");
        }
        let clone = self.shell(&format!("datnode clone {LINK} mirror"), false).output().unwrap();
        assert!(clone.status.success(), "{}", String::from_utf8_lossy(&clone.stdout));
        self.stop();
        self.reader.share(&self.reader.path("mirror"), &[])
    }

    /// Ends what is served, as Ctrl-C does.
    pub fn stop(&mut self) {
        let Some(server) = self.server.take() else { return };
        process::signal(&server.child, "-INT");
        let Output { status, .. } = process::finish(server.child, LIMIT).output;
        let said = server.rest.join().unwrap();
        assert!(status.success(), "{said}");
    }

    fn shell(&self, line: &str, writes: bool) -> Command {
        let user = if writes { &self.writer } else { &self.reader };
        let path = std::env::var_os("PATH").unwrap();
        let tools = std::iter::once(self.tools.path().to_owned());
        let path = std::env::join_paths(tools.chain(std::env::split_paths(&path))).unwrap();
        // What comes to both streams is read in the order in which it was written.
        let script = format!("exec 2>&1; {}", line.replace(LINK, &self.link));
        let mut command = Command::new("sh");
        command.args(["-c", &script]).env("PATH", path);
        user.equip(&mut command);
        if !serves(line) {
            command.env("DATNODE_TIMEOUT", "60s");
        }
        command.env("DATNODE_PASSPHRASE", "of the examples");
        command.env("WRITER_FOLDER", self.writer.path("")).env("WRITER_HOME", self.writer.home());
        if !writes {
            // With discovery off the reader has to be told where the writer is.
            command.env("DATNODE_PEER", self.addresses().join(","));
        }
        command
    }

    fn serve(&mut self, line: &str) -> Shown {
        let mut command = self.shell(&format!("exec {line}"), true);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let stream = child.stdout.take().unwrap();
        let (sender, lines) = mpsc::channel();
        let rest = std::thread::spawn(move || pass_on(stream, &sender));
        let mut text = String::new();
        loop {
            let Ok(said) = lines.recv_timeout(LIMIT) else {
                panic!("{line} does not serve: {text}")
            };
            text.push_str(&said);
            text.push('\n');
            if let Some(word) = said.trim().strip_prefix("datnode clone ") {
                word.clone_into(&mut self.link);
            }
            if said.starts_with("Anyone with") {
                break;
            }
        }
        self.server = Some(Server { child, rest });
        Shown { text, exit: None }
    }

    /// Lets the reader follow a drive until it says that it does, and ends that.
    fn follow(&self, line: &str) -> Shown {
        let mut child =
            self.shell(&format!("exec {line}"), false).stdout(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        let stream = child.stdout.take().unwrap();
        let rest = std::thread::spawn(move || pass_on(stream, &sender));
        let said =
            || lines.recv_timeout(LIMIT).unwrap_or_else(|_| panic!("{line} does not follow"));
        let mut text = String::new();
        while !["Following", "Mirroring", "Serving the DHT"].iter().any(|word| text.contains(word))
        {
            text.push_str(&said());
            text.push('\n');
        }
        process::signal(&child, "-INT");
        let Output { status, .. } = process::finish(child, LIMIT).output;
        drop(lines);
        rest.join().unwrap();
        Shown { text, exit: status.code() }
    }

    /// Returns where the writer listens, as its processes tell each other.
    fn addresses(&self) -> Vec<String> {
        let run = self.writer.home().join("run");
        let files = fs::read_dir(run).into_iter().flatten().flatten().map(|file| file.path());
        let told = files.filter(|path| path.extension().is_some_and(|ending| ending == "json"));
        let told =
            told.map(|path| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() });
        let addresses = |told: Value| told["addresses"].as_array().unwrap().clone();
        told.flat_map(addresses).map(|address| address.as_str().unwrap().to_owned()).collect()
    }
}

impl Drop for Terminals {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.child.kill();
            let _ = server.child.wait();
        }
    }
}

/// Returns which command of `datnode` a line is; empty if it is another program's.
fn verb(line: &str) -> &str {
    let mut words = line.split_whitespace();
    let program = words.next();
    let mut words = words.skip_while(|word| program == Some("cargo") && *word != "--");
    match program {
        Some("datnode" | "cargo") => words.find(|word| !word.starts_with('-')).unwrap_or("help"),
        _ => "",
    }
}

/// Tells whether a command is for who has the secret key, or the process that serves.
fn is_writers(verb: &str) -> bool {
    matches!(
        verb,
        "share"
            | "init"
            | "link"
            | "put"
            | "rm"
            | "mv"
            | "tag"
            | "keys"
            | "ignored"
            | "peers"
            | "config"
            | "clear"
    )
}

/// Tells whether a line serves until it is interrupted.
pub fn serves(line: &str) -> bool {
    let only_tells = ["--dry-run", "--help"].iter().any(|flag| line.contains(flag));
    verb(line) == "share" && !only_tells
}

/// Passes on lines while somebody wants them; gives the rest.
fn pass_on(stream: impl Read, to: &mpsc::Sender<String>) -> String {
    let mut rest = String::new();
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        if let Err(mpsc::SendError(line)) = to.send(line) {
            rest.push_str(&line);
            rest.push('\n');
        }
    }
    rest
}

/// Returns lines without what differs from run to run.
pub fn essence(text: &str) -> Vec<String> {
    text.lines().map(essential).filter(|line| !line.is_empty()).collect()
}

fn essential(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let mut kept: Vec<String> = Vec::new();
    let mut at = 0;
    while let Some(word) = words.get(at) {
        let next = words.get(at + 1).map(|next| next.trim_end_matches(','));
        let is_number = word.parse::<f64>().is_ok();
        let (shown, used) = match next {
            _ if word.starts_with("dat1") => (LINK, 1),
            _ if is_time(word) => ("<time>", 1),
            Some("ms" | "s") if is_number => ("<span>", 2),
            _ if is_version(word) && kept.last().is_some_and(|last| last == "·") => ("<id>", 1),
            _ => (*word, 1),
        };
        kept.push(shown.to_owned());
        at += used;
    }
    kept.join(" ")
}

/// Tells whether a word is the beginning of a version's hash.
fn is_version(word: &str) -> bool {
    word.len() == 6 && word.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Tells whether a word is a date with a time.
fn is_time(word: &str) -> bool {
    word.len() >= 20
        && word.ends_with('Z')
        && word.as_bytes().get(10) == Some(&b'T')
        && word.starts_with(|first: char| first.is_ascii_digit())
}
