//! The flags that all commands take, and those of commands with a network.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use clap::{Args, ValueEnum};
use libp2p::Multiaddr;

use super::units::Limit;

/// Flags of every command.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// Run as if started in this folder.
    #[arg(
        short = 'C',
        long = "dir",
        alias = "path",
        global = true,
        value_name = "DIR",
        env = "DATNODE_DIR"
    )]
    pub dir: Option<PathBuf>,
    /// Print JSON: one document, or one line each.
    #[arg(long, global = true, env = "DATNODE_JSON", value_parser = FalseyValueParser::new())]
    pub json: bool,
    /// Say nothing but results and errors.
    #[arg(short, long, global = true, env = "DATNODE_QUIET", value_parser = FalseyValueParser::new())]
    pub quiet: bool,
    /// Say more; twice for everything.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Give up after this long (30s, 5m; 0 = no limit).
    #[arg(long, global = true, value_name = "DUR", default_value = "0", env = "DATNODE_TIMEOUT")]
    pub timeout: Limit,
}

/// Where peers are found. LAN and DHT discovery come with a later release; addresses and this machine work now.
#[derive(Clone, Debug, Args)]
pub struct Network {
    /// Connect to this address; may be given more than once.
    #[arg(long, value_name = "MULTIADDR", env = "DATNODE_PEER", value_delimiter = ',')]
    pub peer: Vec<Multiaddr>,
    /// How to look for peers. `none`: tickets, --peer and this machine only, which is all there is in this release.
    #[arg(long, value_name = "LIST", value_delimiter = ',', env = "DATNODE_DISCOVER")]
    pub discover: Vec<Discover>,
    /// Listen on this IP address.
    #[arg(long, value_name = "IP", default_value = "0.0.0.0", env = "DATNODE_LISTEN")]
    pub listen: IpAddr,
    /// Listen on this TCP and UDP port; any free one if it is taken. 0 = any.
    #[arg(long, value_name = "N", default_value_t = 3282, env = "DATNODE_PORT")]
    pub port: u16,
    /// How long to wait without progress for peers (0 = no limit).
    #[arg(long, value_name = "DUR", default_value = "30s", env = "DATNODE_WAIT")]
    pub wait: Limit,
}

/// A way to find peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Discover {
    /// The local network.
    Lan,
    /// The distributed hash table.
    Dht,
    /// Nothing but tickets, --peer and this machine.
    None,
}
