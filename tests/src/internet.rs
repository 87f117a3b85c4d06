//! An internet made for a test: homes behind routers of their own that let nobody in, and a computer that everybody reaches.
//!
//! ```text
//!  home 1 ── router 1 ─┐                    5.5.5.0/24
//!  home 2 ── router 2 ─┼─ the net ── public 5.5.5.100
//! ```
//!
//! Its addresses are some of the world: what is documentation's own nobody takes for such.
//! Elsewhere: one local network (`network`), which tells how namespaces come and go.

use std::process::{Command, Stdio};

use super::network::Namespace;
use super::{Sharer, User};

/// What a router makes of what leaves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Router {
    /// One port outside for each inside, whoever it is for.
    Cone,
    /// Another port outside for each that it is for.
    Symmetric,
    /// As a cone, and nothing but TCP passes.
    TcpOnly,
    /// None: the home has an address of the net.
    None,
}

/// Some homes, each with one computer, and one that everybody reaches.
pub struct Internet {
    homes: Vec<Namespace>,
    routers: Vec<Option<Namespace>>,
    public: Namespace,
    middle: Namespace,
}

impl Internet {
    /// Makes an internet with a home behind each of these routers; or says why it cannot be made here.
    pub fn new(routers: &[Router]) -> Result<Self, String> {
        let works = Command::new("nft").arg("--version").stdout(Stdio::null()).status();
        works.map_err(|error| format!("there is no `nft`: {error}"))?;
        let middle = Namespace::new(None)?;
        middle.ip(
            "ip link set lo up; ip link add net type bridge mcast_snooping 0; ip link set net up",
        )?;
        let public = Namespace::new(Some(&middle))?;
        join(&middle, &public, "public", "eth0")?;
        public.ip("ip link set lo up; ip addr add 5.5.5.100/24 dev eth0; ip link set eth0 up")?;
        let mut internet = Self { homes: Vec::new(), routers: Vec::new(), public, middle };
        for (number, router) in (1..).zip(routers) {
            internet.settle(number, *router)?;
        }
        Ok(internet)
    }

    fn settle(&mut self, number: u8, router: Router) -> Result<(), String> {
        let home = Namespace::new(Some(&self.middle))?;
        home.ip("ip link set lo up")?;
        let port = format!("wan{number}");
        if router == Router::None {
            join(&self.middle, &home, &port, "eth0")?;
            home.ip(&format!("ip addr add 5.5.5.{number}/24 dev eth0; ip link set eth0 up"))?;
            self.homes.push(home);
            self.routers.push(None);
            return Ok(());
        }
        let gate = Namespace::new(Some(&self.middle))?;
        join(&self.middle, &gate, &port, "wan")?;
        gate.ip(&format!(
            "ip link set lo up; ip addr add 5.5.5.{number}/24 dev wan; ip link set wan up; \
             ip link add lan type veth peer name eth0 netns {}; \
             ip addr add 10.{number}.0.254/24 dev lan; ip link set lan up; \
             echo 1 > /proc/sys/net/ipv4/ip_forward",
            home.id()
        ))?;
        home.ip(&format!(
            "ip addr add 10.{number}.0.1/24 dev eth0; ip link set eth0 up; \
             ip route add default via 10.{number}.0.254"
        ))?;
        gate.ip(&format!("nft '{}'", rules(router)))?;
        self.homes.push(home);
        self.routers.push(Some(gate));
        Ok(())
    }

    /// Prepares a command of a user at a home.
    pub fn command(&self, home: usize, user: &User, args: &[&str]) -> Command {
        self.homes[home].command(user, args)
    }

    /// Prepares a command of a user at a home where a name stands for an address.
    pub fn command_where(
        &self,
        home: usize,
        stands_for: (&str, &str),
        user: &User,
        args: &[&str],
    ) -> Command {
        self.homes[home].command_where(stands_for, user, args)
    }

    /// Prepares a command of a user at the computer that everybody reaches.
    pub fn command_in_public(&self, user: &User, args: &[&str]) -> Command {
        self.public.command(user, args)
    }

    /// Returns how many bytes came to the computer that everybody reaches, and left it.
    ///
    /// # Panics
    /// If the system does not tell.
    pub fn passed_public(&self) -> u64 {
        let output = self.public.enter("cat").arg("/proc/net/dev").output().expect("`cat` is here");
        let counters = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = counters.lines().find_map(|line| line.trim().strip_prefix("eth0:"));
        let count = |at| line?.split_whitespace().nth(at)?.parse().ok();
        // The first of the columns, and the first of those for what leaves.
        let [came, left]: [Option<u64>; 2] = [0, 8].map(count);
        came.zip(left).map(|(came, left)| came + left).expect("eth0 has counters")
    }

    /// Prepares a program at a home's router.
    ///
    /// # Panics
    /// If it has none.
    pub fn program_at_router(&self, home: usize, program: &str) -> Command {
        self.router(home).enter(program)
    }

    /// Has a home's router let others in at a port, to another one inside.
    pub fn open_port(&self, home: usize, port: u16, inside: u16) {
        let to = format!("dnat to 10.{}.0.1:{inside}", home + 1);
        let rules = format!(
            "nft 'insert rule ip home through ct status dnat accept; \
             add chain ip home from {{ type nat hook prerouting priority dstnat; }}; \
             add rule ip home from iifname wan tcp dport {port} {to}; \
             add rule ip home from iifname wan udp dport {port} {to}'"
        );
        self.router(home).ip(&rules).unwrap();
    }

    fn router(&self, home: usize) -> &Namespace {
        self.routers[home].as_ref().expect("the home has a router")
    }

    /// Shares a folder from a home with a command that speaks JSON, and waits until it is served.
    pub fn share(&self, home: usize, user: &User, args: &[&str]) -> Sharer {
        let args: Vec<&str> = ["--json", "share"].iter().chain(args).copied().collect();
        Sharer::start(self.command(home, user, &args))
    }

    /// Gives a home without a router another address of the net, and takes its own away.
    pub fn move_to(&self, home: usize, number: u8) {
        let own = home + 1;
        let moved = self.homes[home].ip(&format!(
            "ip addr del 5.5.5.{own}/24 dev eth0; ip addr add 5.5.5.{number}/24 dev eth0"
        ));
        moved.unwrap();
    }

    /// Cuts a home off, or joins it again.
    pub fn cut(&self, home: usize, is_cut: bool) {
        let state = if is_cut { "down" } else { "up" };
        self.middle.ip(&format!("ip link set wan{} {state}", home + 1)).unwrap();
    }
}

/// Lays a cable from the net to a computer.
fn join(middle: &Namespace, to: &Namespace, port: &str, name: &str) -> Result<(), String> {
    middle.ip(&format!(
        "ip link add {port} type veth peer name {name} netns {}; ip link set {port} up master net",
        to.id()
    ))
}

/// Returns what `nft` is told. What nobody asked for is dropped without a word, before it is remembered.
fn rules(router: Router) -> String {
    let ports = if router == Router::Symmetric { " random,fully-random" } else { "" };
    let udp = if router == Router::TcpOnly { "meta l4proto udp drop; " } else { "" };
    format!(
        "table ip home {{ \
         chain out {{ type nat hook postrouting priority srcnat; oifname wan masquerade{ports}; }}; \
         chain to {{ type filter hook input priority filter; iifname wan ct state established,related accept; iifname wan drop; }}; \
         chain through {{ type filter hook forward priority filter; {udp}iifname wan ct state established,related accept; iifname wan drop; }}; \
         }}"
    )
}
