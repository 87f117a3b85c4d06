//! The command line: what can be said, and how answers look.

pub mod escape;
pub mod output;
pub mod units;
mod usage;

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use libp2p::Multiaddr;

use crate::address::VersionSpec;
use units::Limit;

pub use usage::{Stop, parse};

/// Publish a folder under one key; anyone with the key gets it, live and verified.
#[derive(Debug, Parser)]
#[command(name = "datnode", version, max_term_width = 100, disable_help_subcommand = true)]
#[command(
    after_help = "Examples:\n  datnode share ./flights\n  datnode clone dat1…\n  datnode cat dat1…/README.md"
)]
pub struct Cli {
    /// What all commands take.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

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

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Publish a folder and serve it until Ctrl-C
    #[command(
        after_help = "Examples:\n  datnode share ./flights\n  datnode share ./flights -m 'March' --ticket"
    )]
    Share(Share),
    /// Fetch a drive into a folder; run again to go on or to bring it up to date
    #[command(
        after_help = "Examples:\n  datnode clone dat1…\n  datnode clone dat1… ./flights --wait 5m"
    )]
    Clone(CloneArgs),
    /// List what is in a drive
    #[command(after_help = "Examples:\n  datnode ls ./flights\n  datnode ls -l -R dat1…/data")]
    Ls(Ls),
    /// Write the bytes of files, or a range of them, to stdout
    #[command(
        visible_alias = "read",
        after_help = "Examples:\n  datnode cat dat1…/movie.mkv --range 0-499\n  datnode cat ./flights/README.md --at 3"
    )]
    Cat(Cat),
    /// Show the history of a drive
    #[command(after_help = "Examples:\n  datnode log ./flights -n 5\n  datnode log dat1…")]
    Log(Log),
    /// Check what is stored against its signatures
    #[command(
        after_help = "Examples:\n  datnode verify ./flights\n  datnode verify --full ./flights"
    )]
    Verify(Verify),
    /// Explain a command or an error code
    #[command(after_help = "Examples:\n  datnode help clone\n  datnode help E-NOPEERS")]
    Help {
        /// A command, or a code such as E-NOPEERS.
        topic: Option<String>,
    },
}

/// `datnode share`
#[derive(Debug, Args)]
pub struct Share {
    /// The folder.
    #[arg(default_value = ".")]
    pub folder: PathBuf,
    /// What this change is about.
    #[arg(short, long, default_value = "")]
    pub message: String,
    /// The drive's name; the folder's if not given.
    #[arg(long)]
    pub name: Option<String>,
    /// Leave out what matches; may be given more than once.
    #[arg(long, value_name = "GLOB")]
    pub ignore: Vec<String>,
    /// Pay no heed to .datignore.
    #[arg(long)]
    pub no_ignore: bool,
    /// Take hidden files too.
    #[arg(long)]
    pub hidden: bool,
    /// Take no changes in while serving. The only way in this release.
    #[arg(long)]
    pub no_watch: bool,
    /// Serve what is in the drive, without looking at the folder.
    #[arg(long)]
    pub no_import: bool,
    /// Show the ticket, which carries addresses, instead of the key.
    #[arg(long)]
    pub ticket: bool,
    /// The network.
    #[command(flatten)]
    pub network: Network,
}

/// `datnode clone`
#[derive(Debug, Args)]
pub struct CloneArgs {
    /// A link, key, ticket or address.
    pub address: OsString,
    /// Where to; the drive's name if not given.
    pub folder: Option<PathBuf>,
    /// Fetch this version and stay there.
    #[arg(long, value_name = "VERSION", alias = "checkout")]
    pub at: Option<VersionSpec>,
    /// Replace what is in the way.
    #[arg(long)]
    pub force: bool,
    /// The network.
    #[command(flatten)]
    pub network: Network,
}

/// `datnode ls`
#[derive(Debug, Args)]
pub struct Ls {
    /// A folder, link, key, ticket or address; this folder if not given.
    pub address: Option<OsString>,
    /// Sizes, times and versions.
    #[arg(short)]
    pub long: bool,
    /// Everything below.
    #[arg(short = 'R')]
    pub recursive: bool,
    /// The version to read.
    #[arg(long, value_name = "VERSION", alias = "checkout")]
    pub at: Option<VersionSpec>,
    /// The network.
    #[command(flatten)]
    pub network: Network,
}

/// `datnode cat`
#[derive(Debug, Args)]
pub struct Cat {
    /// Files, as addresses.
    #[arg(required = true)]
    pub addresses: Vec<OsString>,
    /// Bytes A to B, both included; A- to the end, -N the last N.
    #[arg(long, value_name = "A-B|A-|-N", allow_hyphen_values = true)]
    pub range: Option<ByteRange>,
    /// Write to this file.
    #[arg(short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// The version to read.
    #[arg(long, value_name = "VERSION", alias = "checkout")]
    pub at: Option<VersionSpec>,
    /// The network.
    #[command(flatten)]
    pub network: Network,
}

/// `datnode log`
#[derive(Debug, Args)]
pub struct Log {
    /// A folder, link, key, ticket or address; this folder if not given.
    pub address: Option<OsString>,
    /// At most this many.
    #[arg(short = 'n', value_name = "N")]
    pub count: Option<usize>,
    /// The network.
    #[command(flatten)]
    pub network: Network,
}

/// `datnode verify`
#[derive(Debug, Args)]
pub struct Verify {
    /// The drive's folder.
    #[arg(default_value = ".")]
    pub folder: PathBuf,
    /// Signatures and records only.
    #[arg(long, conflicts_with = "full")]
    pub quick: bool,
    /// Every byte; the default.
    #[arg(long)]
    pub full: bool,
}

/// A range of bytes as HTTP writes it: ends are included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteRange {
    /// From the first to the last, both included.
    Between(u64, u64),
    /// From here to the end.
    From(u64),
    /// The last so many.
    Last(u64),
}

impl ByteRange {
    /// Returns the bytes of a file of `size` that are meant, the end excluded; nothing if there are none.
    pub fn within(self, size: u64) -> Option<std::ops::Range<u64>> {
        match self {
            Self::Between(first, last) => {
                (first < size).then(|| first..size.min(last.saturating_add(1)))
            }
            Self::From(first) => (first < size).then_some(first..size),
            Self::Last(count) => (count > 0 && size > 0).then(|| size.saturating_sub(count)..size),
        }
    }
}

impl std::str::FromStr for ByteRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |digits: &str| -> Result<u64, String> {
            let digital = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            let parsed = digital.then(|| digits.parse().ok()).flatten();
            parsed.ok_or_else(|| String::from("a range is A-B, A- or -N, in bytes"))
        };
        let (first, last) = text.split_once('-').ok_or("a range is A-B, A- or -N, in bytes")?;
        match (first, last) {
            ("", last) => Ok(Self::Last(number(last)?)),
            (first, "") => Ok(Self::From(number(first)?)),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                if first <= last {
                    Ok(Self::Between(first, last))
                } else {
                    Err("the range ends before it begins".into())
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_mean_what_http_means() {
        let within =
            |text: &str, size| text.parse::<ByteRange>().ok().and_then(|range| range.within(size));
        assert_eq!(within("0-499", 1_000), Some(0..500));
        assert_eq!(within("990-2000", 1_000), Some(990..1_000));
        assert_eq!(within("5-", 10), Some(5..10));
        assert_eq!(within("-3", 10), Some(7..10));
        assert_eq!(within("-30", 10), Some(0..10));
        assert_eq!(within("10-", 10), None);
        for bad in ["", "-", "a-b", "5", "9-3", "--3", "1-2-3", "+1-2", "99999999999999999999-"] {
            assert!(bad.parse::<ByteRange>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }
}
