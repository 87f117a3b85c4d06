//! The command line: what can be said, and how answers look.
//!
//! Elsewhere: flags that several commands take (`flags`), from words to a command (`usage`), printing (`output`), progress (`stages`).

pub mod escape;
mod examples;
mod flags;
mod listen;
pub mod log;
pub mod output;
mod range;
pub mod stages;
pub mod units;
mod usage;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use clap::{Args, Parser, Subcommand};

use crate::address::VersionSpec;

pub use flags::{Colour, Discover, Global, LogFormat, Network, Progress};
pub use listen::Listen;
pub use range::ByteRange;
pub use usage::{Stop, command, parse};

/// Publish a folder under one key; anyone with the key gets it, live and verified.
#[derive(Debug, Parser)]
#[command(name = "datnode", version, max_term_width = 100, disable_help_subcommand = true)]
#[command(after_help = examples::ALL)]
pub struct Cli {
    /// What all commands take.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Publish a folder and serve it until Ctrl-C
    #[command(after_help = examples::SHARE)]
    Share(Share),
    /// Fetch a drive into a folder; run again to go on or to bring it up to date
    #[command(after_help = examples::CLONE)]
    Clone(CloneArgs),
    /// List what is in a drive
    #[command(after_help = examples::LS)]
    Ls(Ls),
    /// Write the bytes of files, or a range of them, to stdout
    #[command(visible_alias = "read", after_help = examples::CAT)]
    Cat(Cat),
    /// Show the history of a drive
    #[command(after_help = examples::LOG)]
    Log(Log),
    /// What is here, what is missing, and what to do next
    #[command(after_help = examples::STATUS)]
    Status(Status),
    /// Check what is stored against its signatures
    #[command(after_help = examples::VERIFY)]
    Verify(Verify),
    /// Take back what a writer lost: its store was rolled back, others hold more
    #[command(after_help = examples::RECOVER)]
    Recover(Recover),
    /// Explain a command or an error code
    #[command(after_help = examples::HELP)]
    Help {
        /// A command, or a code such as E-NOPEERS.
        topic: Option<String>,
    },
}

impl Command {
    /// Returns the network flags of a command that has a network.
    fn network(&mut self) -> Option<&mut Network> {
        match self {
            Self::Share(args) => Some(&mut args.network),
            Self::Clone(args) => Some(&mut args.network),
            Self::Ls(args) => Some(&mut args.network),
            Self::Cat(args) => Some(&mut args.network),
            Self::Log(args) => Some(&mut args.network),
            Self::Status(args) => Some(&mut args.network),
            Self::Recover(args) => Some(&mut args.network),
            Self::Verify(args) => Some(&mut args.network),
            Self::Help { .. } => None,
        }
    }
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
    #[arg(long, env = "DATNODE_HIDDEN", value_parser = FalseyValueParser::new())]
    pub hidden: bool,
    /// Take no changes in while serving. The only way in this release.
    #[arg(long)]
    pub no_watch: bool,
    /// Serve what is in the drive, without looking at the folder.
    #[arg(long)]
    pub no_import: bool,
    /// Serve the files themselves, without a copy: as files change, old versions go away.
    #[arg(long)]
    pub in_place: bool,
    /// Say what would change, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// List what is left out: hidden names, and what patterns match.
    #[arg(long)]
    pub show_ignored: bool,
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
    /// Begin at this byte; 4096, 64KiB and 2M are understood.
    #[arg(long, value_name = "N", conflicts_with = "range", value_parser = units::parse_size)]
    pub offset: Option<u64>,
    /// At most this many bytes.
    #[arg(long, value_name = "N", conflicts_with = "range", value_parser = units::parse_size)]
    pub length: Option<u64>,
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
    /// At most this many, the newest ones.
    #[arg(short = 'n', long, value_name = "N")]
    pub limit: Option<usize>,
    /// Only changes of this file, of what is in this folder, or of what this pattern matches; may be given more than once.
    #[arg(long, value_name = "PATH|GLOB")]
    pub path: Vec<OsString>,
    /// What each change did: files added, changed and removed, bytes, and where.
    #[arg(long)]
    pub stat: bool,
    /// Oldest first.
    #[arg(long)]
    pub reverse: bool,
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
    /// Fetch what is damaged again.
    #[arg(long)]
    pub repair: bool,
    /// The network.
    #[command(flatten)]
    pub network: Network,
}

/// `datnode status`
#[derive(Debug, Args)]
pub struct Status {
    /// The drive's folder.
    #[arg(default_value = ".")]
    pub folder: PathBuf,
    /// The network.
    #[command(flatten)]
    pub network: Network,
}

/// `datnode recover`
#[derive(Debug, Args)]
pub struct Recover {
    /// The drive's folder.
    #[arg(default_value = ".")]
    pub folder: PathBuf,
    /// The network.
    #[command(flatten)]
    pub network: Network,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        command().debug_assert();
    }
}
