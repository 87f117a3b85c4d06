//! A computer that one may log in to: `datnode pipe` is run there by ssh, and replicates on its standard streams.
//!
//! What the user names passes through two hands that would take more than a name: ssh, which knows options, and the shell at the other
//! end. So a host is a plain word that begins with no dash and stands behind `--`, and the path is quoted.

use std::fmt;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use datnode_feed::PublicKey;
use datnode_proto::Binding;
use serde_json::Value;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;

use super::place::{Authority, escape, split, unescape};
use super::stdio::{Met, greet};
use crate::cli::escape as shown;
use crate::engine::{About, Ended, Hub};
use crate::error::{Code, Error};
use crate::keys::random;

/// Names the command that stands for ssh, with its own flags, as the user's shell understands it.
const VARIABLE: &str = "DATNODE_SSH";
/// How much of what is said on stderr is kept: the last of it says why.
const SAID_LEN_MAX: usize = 8 << 10;
/// How many lines of it an error shows.
const LINES_MAX: usize = 4;
/// How long a process has to end, once its streams did.
const ENDING: Duration = Duration::from_secs(5);

/// A folder on another computer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ssh {
    authority: Authority,
    /// From the root, or from the home of whoever logs in.
    path: Vec<u8>,
}

impl Ssh {
    /// Reads what follows `ssh://`.
    pub(super) fn parse(rest: &str) -> Result<Self, String> {
        let (authority, path) = split(rest)?;
        let path = unescape(path)?;
        let path = match path.strip_prefix(b"/~") {
            Some([]) => b".".to_vec(),
            Some([b'/', rest @ ..]) => [b"./", rest].concat(),
            _ => path,
        };
        match &*path {
            [] | b"/" => Err("it names no folder: ssh://HOST/FOLDER".to_owned()),
            _ => Ok(Self { authority, path }),
        }
    }

    /// Returns the command line for the other end's shell.
    fn remote(&self) -> Vec<u8> {
        let quoted: Vec<&[u8]> = self.path.split(|&byte| byte == b'\'').collect();
        [b"datnode --json pipe -- '", &*quoted.join(&br"'\''"[..]), b"'"].concat()
    }

    fn command(&self) -> Command {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt as _;
        let mut command = match std::env::var_os(VARIABLE).filter(|line| !line.is_empty()) {
            Some(line) => {
                let mut script = line;
                script.push(" \"$@\"");
                let mut command = Command::new("sh");
                command.arg("-c").arg(script).arg("datnode");
                command
            }
            None => Command::new("ssh"),
        };
        // No terminal, no agent and no display for the other end: it is asked for a drive.
        command.args(["-T", "-a", "-x"]);
        let Authority { user, host, port } = &self.authority;
        if let Some(port) = port {
            command.args(["-p", &port.to_string()]);
        }
        let target = user.as_ref().map_or_else(|| host.clone(), |user| format!("{user}@{host}"));
        command.args(["--", &target]).arg(OsStr::from_bytes(&self.remote()));
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Runs a pipe there, and greets it.
    pub(super) async fn connect(&self) -> Result<Line, Error> {
        let mut child = self.command().spawn().map_err(|error| {
            let why = crate::error::reason(&error);
            Error::new(Code::NoPeers, format!("ssh cannot be run on this computer: {why}"))
                .hint("install it (the package is often called openssh-client)")
                .hint(format!("or name another command: {VARIABLE}='/path/to/ssh'"))
        })?;
        let taken = "its streams are pipes";
        let (mut read, mut write) =
            (child.stdout.take().expect(taken), child.stdin.take().expect(taken));
        let mut process = Process::new(child);
        let ours = random()?;
        match greet(&mut read, &mut write, &ours).await {
            Ok(Met::Drive(key, binding)) => Ok(Line { key, binding, read, write, process }),
            Ok(Met::Stranger(said)) => Err(self.stranger(&said)),
            Ok(Met::Nobody) | Err(_) => {
                drop((read, write));
                let status = process.end().await;
                Err(self.refused(status, &process.said()))
            }
        }
    }

    fn stranger(&self, said: &[u8]) -> Error {
        let Authority { host, .. } = &self.authority;
        Error::new(Code::NoPeers, format!("what {host} says is not datnode's protocol"))
            .context(format!("it begins with {}", shown::bytes(said)))
            .hint("a shell there may print something at each login: that must go to stderr, or only to terminals")
            .hint("or its datnode is older than this one: update it there")
    }

    /// Says why nothing came, from how ssh ended and what was said.
    fn refused(&self, status: Option<ExitStatus>, said: &str) -> Error {
        let host = &self.authority.host;
        let remote = said.lines().rev().find_map(|line| serde_json::from_str::<Value>(line).ok());
        if let Some(error) = remote.as_ref().and_then(Error::from_json) {
            let code = Some(error.code()).filter(|code| !code.is_silent() && code.exit() != 2);
            let message = shown::controls(error.message());
            return Error::new(code.unwrap_or(Code::NoPeers), format!("on {host}: {message}"));
        }
        let code = status.and_then(|status| status.code());
        let (what, hint) = match code {
            Some(255) => (
                format!("ssh cannot connect to {host}"),
                format!("try it by itself:  ssh {}", self.authority),
            ),
            Some(126 | 127) => (
                format!("there is no datnode on {host} where ssh looks for it"),
                "install it there, into a folder that is in PATH without a login: ssh HOST datnode version".to_owned(),
            ),
            Some(2) => (
                format!("the datnode on {host} knows no pipe"),
                "update datnode there".to_owned(),
            ),
            _ => (
                format!("the connection to {host} ended before it began"),
                format!("try it by itself:  ssh {} datnode version", self.authority),
            ),
        };
        let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
        let last = lines.iter().skip(lines.len().saturating_sub(LINES_MAX));
        let error = last.fold(Error::new(Code::NoPeers, what), |error, line| {
            error.context(shown::controls(line))
        });
        error.hint(hint).hint("datnode help origins   tells what ssh:// needs")
    }
}

impl fmt::Display for Ssh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = match &*self.path {
            b"." => b"/~".to_vec(),
            path => match path.strip_prefix(b"./") {
                Some(rest) => [b"/~/", rest].concat(),
                None => path.to_vec(),
            },
        };
        write!(f, "ssh://{}{}", self.authority, escape(&path))
    }
}

/// A pipe that greeted.
pub(super) struct Line {
    key: PublicKey,
    binding: Binding,
    read: ChildStdout,
    write: ChildStdin,
    process: Process,
}

impl Line {
    /// Returns the drive that is at its other end.
    pub(super) fn key(&self) -> PublicKey {
        self.key
    }

    /// Replicates until it ends; what ssh said then is why.
    pub(super) async fn replicate(self, hub: &Hub, about: About) -> Ended {
        let Self { binding, read, write, mut process, .. } = self;
        let ended = hub.replicate(read, write, binding, about).await;
        match ended {
            Ended::Gone(_) => {
                process.end().await;
                let said = process.said();
                let last = said.lines().rev().find(|line| !line.trim().is_empty());
                let why =
                    last.map(|line| format!("the connection was lost: {}", shown::controls(line)));
                Ended::Gone(why.unwrap_or_else(|| "the connection was lost".to_owned()))
            }
            fault => fault,
        }
    }
}

/// The process of ssh, and what it said on stderr.
struct Process {
    child: Child,
    said: Arc<Mutex<Vec<u8>>>,
    listening: Option<JoinHandle<()>>,
}

impl Process {
    fn new(mut child: Child) -> Self {
        let said = Arc::<Mutex<Vec<u8>>>::default();
        let stderr = child.stderr.take();
        let listening = stderr.map(|stderr| tokio::spawn(listen(stderr, said.clone())));
        Self { child, said, listening }
    }

    /// Waits until it ended, which its streams did; it is ended if that takes long.
    async fn end(&mut self) -> Option<ExitStatus> {
        let ended = async {
            if let Some(listening) = &mut self.listening {
                let _ = listening.await;
            }
            self.listening = None;
            self.child.wait().await.ok()
        };
        match tokio::time::timeout(ENDING, ended).await {
            Ok(status) => status,
            Err(_) => {
                let _ = self.child.start_kill();
                None
            }
        }
    }

    fn said(&self) -> String {
        let said = self.said.lock().expect("no code panics while it holds this");
        String::from_utf8_lossy(&said).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(listening) = &self.listening {
            listening.abort();
        }
    }
}

/// Keeps the last of what is said.
async fn listen(mut stderr: ChildStderr, said: Arc<Mutex<Vec<u8>>>) {
    let mut some = [0; 1 << 10];
    while let Ok(count @ 1..) = stderr.read(&mut some).await {
        let Some(new) = some.get(..count) else { return };
        let mut said = said.lock().expect("no code panics while it holds this");
        said.extend_from_slice(new);
        let beyond = said.len().saturating_sub(SAID_LEN_MAX);
        said.drain(..beyond);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Origin;

    fn place(text: &str) -> super::Ssh {
        match text.parse() {
            Ok(Origin::Ssh(place)) => place,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn a_place_has_one_spelling() {
        for (typed, right) in [
            ("ssh://host/srv/data", "ssh://host/srv/data"),
            ("SSH://me@host:2222/srv", "ssh://me@host:2222/srv"),
            ("ssh://[::1]:22/srv", "ssh://[::1]:22/srv"),
            ("ssh://host/~/my data", "ssh://host/~/my%20data"),
            ("ssh://host/~", "ssh://host/~"),
            ("ssh://host/it's%25", "ssh://host/it%27s%25"),
        ] {
            let shown = place(typed).to_string();
            assert_eq!(shown, right);
            assert_eq!(place(&shown), place(typed));
        }
    }

    #[test]
    fn nothing_of_a_name_is_an_option_or_a_command() {
        for bad in [
            "ssh://-oProxyCommand=x/srv",
            "ssh://-l@host/srv",
            "ssh://a b/srv",
            "ssh://host;x/srv",
            "ssh://ho$st/srv",
            "ssh://host/",
            "ssh://host",
            "ssh:///srv",
            "ssh://host:x/srv",
            "ssh://host:99999/srv",
            "ssh://[::1]x/srv",
            "ssh://host/a%0ab",
            "ssh://host/a\nb",
            "ssh://host/a%2",
            "ssh://host/a%zz",
            "http//host/srv",
        ] {
            assert!(bad.parse::<Origin>().is_err(), "{bad}");
        }
        assert!(format!("ssh://host/{}", "a".repeat(3_000)).parse::<Origin>().is_err());
        let remote = |text: &str| String::from_utf8(place(text).remote()).unwrap();
        assert_eq!(remote("ssh://host/a b;c"), "datnode --json pipe -- '/a b;c'");
        assert_eq!(remote("ssh://host/~/-x"), "datnode --json pipe -- './-x'");
        assert_eq!(remote("ssh://host/$(x)'y"), r"datnode --json pipe -- '/$(x)'\''y'");
    }
}
