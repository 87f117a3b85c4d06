//! The flags that all commands take, and those of commands with a network.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use datnode_proto::Limits;
use libp2p::Multiaddr;

use super::external::External;
use super::listen::Listen;
use super::units::{Limit, parse_size};
use crate::origin::Origin;

/// Flags of every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Every command")]
pub struct Global {
    /// Run as if started in this folder.
    #[arg(short = 'C', long = "dir", global = true, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Read settings from this file instead of the user's own; a drive's settings come before it.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print JSON: one document, or one line each.
    #[arg(long, global = true)]
    pub json: bool,
    /// Say nothing but results and errors.
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Say more; twice for everything.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Give up after this long (30s, 5m; 0 = no limit).
    #[arg(long, global = true, value_name = "DUR", default_value = "0")]
    pub timeout: Limit,
    /// Ask nobody on other computers: read what is in folders, and what other processes here serve.
    #[arg(long, global = true)]
    pub offline: bool,
    /// Take yes for the answer to every question.
    #[arg(short, long, global = true)]
    pub yes: bool,
    /// When to use colours: auto (heeds NO_COLOR, CLICOLOR_FORCE and TERM), always, never.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    #[arg(hide_possible_values = true)]
    pub color: Colour,
    /// How to show progress: auto, bar (redrawn), plain (a line every 10 s), json (on stderr, with --json on stdout), none.
    #[arg(long, global = true, value_name = "HOW", default_value = "auto")]
    #[arg(hide_possible_values = true)]
    pub progress: Progress,
    /// Write the log to the end of this file instead of stderr.
    #[arg(long, global = true, value_name = "FILE")]
    pub log_file: Option<PathBuf>,
    /// How lines of the log look: text or json.
    #[arg(long, global = true, value_name = "FORM", default_value = "text")]
    #[arg(hide_possible_values = true)]
    pub log_format: LogFormat,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Colour {
    /// On terminals that can, unless the environment says otherwise.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How to show progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Progress {
    /// As suits the terminal and `--json`.
    #[default]
    Auto,
    /// A line that is redrawn in place.
    #[value(alias = "always")]
    Bar,
    /// A line every ten seconds.
    Plain,
    /// Lines of JSON on stderr.
    Json,
    /// Not at all.
    #[value(alias = "never")]
    None,
}

/// How lines of the log look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

/// Where peers are found.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Network")]
pub struct Network {
    /// Connect to this address; may be given more than once.
    #[arg(long, value_name = "MULTIADDR", value_delimiter = ',')]
    pub peer: Vec<Multiaddr>,
    /// Fetch from here as well: https://HOST/FOLDER, where a drive is published, or ssh://HOST/FOLDER, where datnode is; may be
    /// given more than once. A clone keeps it for later.
    #[arg(long, value_name = "ORIGIN", value_delimiter = ',')]
    pub from: Vec<Origin>,
    /// Find peers far away through this node (the address of a `datnode node`); may be given more than once.
    #[arg(long, value_name = "MULTIADDR", value_delimiter = ',')]
    pub bootstrap: Vec<Multiaddr>,
    /// How to look for peers: lan (the local network, by mDNS; tells it that a node is here), dht (nodes that --bootstrap leads to;
    /// they see your address, and which drives you look for, but not their keys). Peers of earlier times are dialed as well.
    /// public (see --public). Or none of it: tickets, --peer and this computer only.
    #[arg(long, value_name = "LIST", default_value = "lan,dht", value_delimiter = ',')]
    #[arg(hide_possible_values = true)]
    pub discover: Vec<Discover>,
    /// Look on the local network and nowhere else: the same as --discover lan.
    #[arg(long)]
    pub lan: bool,
    /// Ask the public IPFS DHT as well: the same as public in --discover. Its nodes are anybody's; they see your address, and which
    /// drives you look for or offer, but not their keys. --bootstrap replaces the node that leads into it.
    #[arg(long = "public")]
    pub ipfs: bool,
    /// Listen here: an IP address, one with a port (127.0.0.1:3282), or a multiaddr. A port given here must be free.
    /// By default everywhere, by IPv4 and IPv6, as far as this computer has them.
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0,::", value_delimiter = ',')]
    pub listen: Vec<Listen>,
    /// Listen on this TCP and UDP port; any free one if it is taken, which is said. 0 = any.
    #[arg(long, value_name = "N", default_value_t = 3282)]
    pub port: u16,
    /// Others reach this node here, as you know: an IP address or a DNS name that leads to its port, one with a port that leads there, or
    /// a multiaddr. It is told in tickets and, with a name resolved, in the DHT; may be given more than once.
    #[arg(long, value_name = "ADDR", value_delimiter = ',')]
    pub external: Vec<External>,
    /// Do not ask the router (by UPnP) to let others in.
    #[arg(long)]
    pub no_upnp: bool,
    /// Use no relay: be found only where others can reach this computer, and meet nobody half-way.
    #[arg(long)]
    pub no_relay: bool,
    /// How long to wait without progress for peers (0 = no limit).
    #[arg(long, value_name = "DUR", default_value = "30s")]
    pub wait: Limit,
    /// Send other computers no more than this in a second, like 500KiB or 2M (0 = no limit).
    #[arg(long, value_name = "SIZE", default_value = "0", value_parser = parse_size)]
    pub max_up: u64,
    /// Receive no more than this in a second from other computers, like 500KiB or 2M (0 = no limit).
    #[arg(long, value_name = "SIZE", default_value = "0", value_parser = parse_size)]
    pub max_down: u64,
    /// Whether `--offline` is on, which is a flag of every command.
    #[arg(skip)]
    pub offline: bool,
    /// Whether everybody reaches this node, as whoever runs it says.
    #[arg(skip)]
    pub public: bool,
}

impl Network {
    /// Returns the port that others reach where an address of `--external` names none: the one that is listened on.
    pub fn outside_port(&self) -> u16 {
        if self.listen.iter().any(|place| !place.names_port()) {
            return self.port;
        }
        self.listen.first().and_then(Listen::port).unwrap_or(self.port)
    }

    /// Returns the flags of a command that asks nobody on other computers.
    pub fn none() -> Self {
        Self {
            peer: Vec::new(),
            from: Vec::new(),
            bootstrap: Vec::new(),
            discover: Vec::new(),
            lan: false,
            ipfs: false,
            listen: Vec::new(),
            port: 0,
            external: Vec::new(),
            no_upnp: true,
            no_relay: true,
            wait: Limit(Some(std::time::Duration::from_secs(5))),
            max_up: 0,
            max_down: 0,
            offline: true,
            public: false,
        }
    }

    /// Returns the bandwidth limits.
    pub fn limits(&self) -> Limits {
        Limits { up: Some(self.max_up), down: Some(self.max_down) }
    }
}

/// A way to find peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Discover {
    /// The local network.
    Lan,
    /// The distributed hash table.
    Dht,
    /// The distributed hash table of the public IPFS network.
    Public,
    /// Nothing but tickets, --peer and this machine.
    None,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_reach_the_port_that_is_listened_on() {
        for (listen, port) in [
            (&["0.0.0.0", "::"][..], 7),
            (&["10.0.0.1:9"], 9),
            (&["10.0.0.1:9", "::1"], 7),
            (&["/ip4/10.0.0.1/udp/9/quic-v1", "10.0.0.1:11"], 9),
            (&[], 7),
        ] {
            let listen: Vec<Listen> = listen.iter().map(|text| text.parse().unwrap()).collect();
            let network = Network { port: 7, listen, ..Network::none() };
            assert_eq!(network.outside_port(), port, "{:?}", network.listen);
        }
    }
}
