//! Local networks made for a test: network namespaces joined by virtual cables, which nothing else can see.
//!
//! Each namespace lives as long as a process in it that waits for its input to end. So nothing is left behind, however a test
//! ends: not even when it is killed.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::{Child, Command, Stdio};

use super::trouble::Trouble;
use super::{Sharer, User, binary};

/// Where those on one network who look for each other are heard (mDNS).
pub const MDNS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(224, 0, 0, 251), 5353);

/// How the computers of a network are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// By a switch: all are in one network, and hear each other's multicast.
    Switch,
    /// By a switch, and none of them has an address of IPv4 but that of loopback.
    SwitchIp6,
    /// By a router: each is in a network of its own, and multicast does not leave it.
    Router,
    /// Not at all.
    Nothing,
}

/// Some computers, and what joins them.
pub struct Network {
    /// The computers, before what joins them.
    computers: Vec<Namespace>,
    _middle: Namespace,
}

/// A network namespace; it ends when this is dropped.
pub(crate) struct Namespace {
    holder: Child,
}

impl Network {
    /// Makes a network of so many computers; or says why it cannot be made here.
    pub fn new(count: u8, joined: Joined) -> Result<Self, String> {
        let middle = Namespace::new(None)?;
        let computers: Vec<Namespace> =
            (0..count).map(|_| Namespace::new(Some(&middle))).collect::<Result<_, _>>()?;
        match joined {
            Joined::Switch | Joined::SwitchIp6 => middle
                .ip("ip link add switch type bridge mcast_snooping 0; ip link set switch up")?,
            Joined::Router => middle.ip("echo 1 > /proc/sys/net/ipv4/ip_forward")?,
            Joined::Nothing => {}
        }
        for (number, computer) in (1..).zip(&computers) {
            computer.ip("ip link set lo up")?;
            let cable = format!(
                "ip link add port{number} type veth peer name eth0 netns {}; ip link set port{number} up",
                computer.id()
            );
            let own = match joined {
                Joined::Nothing => continue,
                Joined::Switch | Joined::SwitchIp6 => {
                    middle.ip(&format!("{cable}; ip link set port{number} master switch"))?;
                    let address = match joined {
                        // Whether somebody else has it is not asked, which takes a second.
                        Joined::SwitchIp6 => format!("fd77::{number}/64 dev eth0 nodad"),
                        _ => format!("10.77.0.{number}/24 dev eth0"),
                    };
                    format!("ip link set eth0 up; ip addr add {address}")
                }
                Joined::Router => {
                    middle.ip(&format!(
                        "{cable}; ip addr add 10.77.{number}.254/24 dev port{number}"
                    ))?;
                    format!(
                        "ip addr add 10.77.{number}.1/24 dev eth0; ip link set eth0 up; \
                         ip route add default via 10.77.{number}.254"
                    )
                }
            };
            computer.ip(&own)?;
        }
        Ok(Self { computers, _middle: middle })
    }

    /// Prepares a command of a user at a computer, with everything about the network as it is by default.
    pub fn command(&self, computer: usize, user: &User, args: &[&str]) -> Command {
        self.computers[computer].command(user, args)
    }

    /// Prepares a program at a computer, which is no datnode.
    pub fn program(&self, computer: usize, program: &str) -> Command {
        self.computers[computer].enter(program)
    }

    /// Runs commands that set the network of a computer up.
    pub fn set_up(&self, computer: usize, script: &str) -> Result<(), String> {
        self.computers[computer].ip(script)
    }

    /// Has a computer's cable fail in some way from now on, in place of any other.
    ///
    /// # Errors
    /// Why that cannot be done here.
    pub fn trouble(&self, computer: usize, trouble: Trouble) -> Result<(), String> {
        trouble.begin(&self.computers[computer])
    }

    /// Shares a user's folder from a computer and waits until it is served.
    pub fn share(&self, computer: usize, user: &User, args: &[&str]) -> Sharer {
        let args: Vec<&str> = ["--json", "share"].iter().chain(args).copied().collect();
        Sharer::start(self.command(computer, user, &args))
    }
}

impl Namespace {
    /// Makes a namespace, beside another one if there is one: only those of one owner can be joined.
    pub(crate) fn new(beside: Option<&Self>) -> Result<Self, String> {
        let mut command = match beside {
            Some(other) => {
                let mut command = other.enter("unshare");
                command.arg("--net");
                command
            }
            None => {
                let mut command = Command::new("unshare");
                command.args(["--user", "--map-root-user", "--net"]);
                command
            }
        };
        let mut holder = command
            .args(["--", "sh", "-c", "echo here; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("there is no `unshare` or `nsenter`: {error}"))?;
        let mut line = String::new();
        let mut said = BufReader::new(holder.stdout.take().expect("it is piped"));
        let read = said.read_line(&mut line);
        let space = Self { holder };
        match read {
            Ok(_) if line == "here\n" => Ok(space),
            _ => Err("network namespaces are not permitted here".to_owned()),
        }
    }

    /// Returns what `ip link … netns` takes to name it.
    pub(crate) fn id(&self) -> u32 {
        self.holder.id()
    }

    /// Prepares a command of a user in this namespace, with everything about the network as it is by default.
    pub(crate) fn command(&self, user: &User, args: &[&str]) -> Command {
        let mut command = self.enter(binary().to_str().unwrap());
        equip(command.args(args), user);
        command
    }

    /// Prepares a command of a user in this namespace to whom a name stands for an address.
    pub(crate) fn command_where(
        &self,
        (name, address): (&str, &str),
        user: &User,
        args: &[&str],
    ) -> Command {
        let hosts = user.path("hosts");
        std::fs::write(&hosts, format!("127.0.0.1 localhost\n{address} {name}\n")).unwrap();
        let mut command = self.enter("unshare");
        let script = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
        command.args(["--mount", "--", "sh", "-c", script]).arg(hosts).arg(binary());
        equip(command.args(args), user);
        command
    }

    /// Prepares a program in this namespace.
    pub(crate) fn enter(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        let target = self.holder.id().to_string();
        command.args([
            "--target",
            &target,
            "--user",
            "--net",
            "--preserve-credentials",
            "--",
            program,
        ]);
        command
    }

    /// Runs commands that set the network up.
    pub(crate) fn ip(&self, script: &str) -> Result<(), String> {
        let ran = self.enter("sh").args(["-e", "-c", script]).stdin(Stdio::null()).output();
        let output = ran.map_err(|error| error.to_string())?;
        match output.status.success() {
            true => Ok(()),
            false => Err(format!("{script}: {}", String::from_utf8_lossy(&output.stderr).trim())),
        }
    }
}

/// Makes a command a user's, with everything about the network as it is by default.
fn equip(command: &mut Command, user: &User) {
    user.equip(command);
    for name in ["DATNODE_LISTEN", "DATNODE_PORT", "DATNODE_DISCOVER"] {
        command.env_remove(name);
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
