//! The command line: what can be said, and how answers look.
//!
//! Elsewhere: what each command takes (`args`, `select`), flags that several take (`flags`), files of settings (`settings`), from words to a
//! command (`usage`), printing (`output`), progress (`stages`), Ctrl-C (`interrupt`), what the system allows (`allowed`), and how a mistake of
//! ours ends the process (`mistake`).

pub mod allowed;
mod args;
pub mod escape;
mod examples;
mod external;
mod flags;
pub mod interrupt;
pub mod keyboard;
mod listen;
pub mod log;
pub mod mistake;
pub mod output;
pub mod painter;
mod range;
mod select;
pub mod settings;
pub mod stages;
pub mod topics;
pub mod units;
mod usage;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::{Parser, Subcommand};

pub use args::{
    Cat, Changes, Checkout, Clear, CloneArgs, Completions, Config, ConfigCommand, Diff, Doctor, Du,
    Filter, Ignored, Init, Keys, KeysCommand, LinkArgs, Log, Ls, MirrorArgs, Mv, NodeArgs, Peers,
    Pipe, Publish, Pull, Purge, Put, Recover, Reuse, Rm, Share, Shell, Sort, Stat, Status,
    SyncArgs, TagArgs, Verify,
};
pub use external::External;
pub use flags::{Colour, Discover, Global, LogFormat, Network, Progress};
pub use listen::Listen;
pub use range::ByteRange;
pub use select::{Choose, Select};
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
    /// What is wrong with settings and does not matter to the command.
    #[arg(skip)]
    pub warnings: Vec<crate::error::Error>,
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
    /// Bring a clone up to date
    #[command(after_help = examples::PULL)]
    Pull(Pull),
    /// Bring a clone to another version, or write one out elsewhere
    #[command(after_help = examples::CHECKOUT)]
    Checkout(Checkout),
    /// Keep a folder and its drive in step: share what you write, follow what others do
    #[command(after_help = examples::SYNC)]
    Sync(SyncArgs),
    /// Follow drives and serve them for ever, without files: read-only, many in one process
    #[command(after_help = examples::MIRROR)]
    Mirror(MirrorArgs),
    /// Be there for others, for ever: lead them to each other, relay, and mirror the drives of a list
    #[command(after_help = examples::NODE)]
    Node(NodeArgs),
    /// Choose what a clone fetches, or list what is chosen
    #[command(after_help = examples::INCLUDE)]
    Include(Choose),
    /// Choose what a clone leaves out, or list what is left out
    #[command(after_help = examples::EXCLUDE)]
    Exclude(Choose),
    /// Make a drive without serving it
    #[command(after_help = examples::INIT)]
    Init(Init),
    /// Print the link of a drive, its ticket, or a QR code
    #[command(after_help = examples::LINK)]
    Link(LinkArgs),
    /// List what is in a drive
    #[command(visible_alias = "files", after_help = examples::LS)]
    Ls(Ls),
    /// What there is to know of a file, a folder or a drive
    #[command(after_help = examples::STAT)]
    Stat(Stat),
    /// How large folders of a drive are, and how much of them is here
    #[command(after_help = examples::DU)]
    Du(Du),
    /// Write the bytes of files, or a range of them, to stdout
    #[command(visible_alias = "read", after_help = examples::CAT)]
    Cat(Cat),
    /// Write a file into a drive
    #[command(visible_alias = "write", after_help = examples::PUT)]
    Put(Put),
    /// Delete files from a drive
    #[command(after_help = examples::RM)]
    Rm(Rm),
    /// Rename a file or folder of a drive
    #[command(after_help = examples::MV)]
    Mv(Mv),
    /// Show the history of a drive
    #[command(after_help = examples::LOG)]
    Log(Log),
    /// What each change of a drive set and deleted, oldest first, as lines of JSON
    #[command(after_help = examples::CHANGES)]
    Changes(Changes),
    /// What differs between two versions, of one drive or of two, or in the folder
    #[command(after_help = examples::DIFF)]
    Diff(Diff),
    /// Name a version, or list the names
    #[command(after_help = examples::TAG)]
    Tag(TagArgs),
    /// What is here, what is missing, and what to do next
    #[command(after_help = examples::STATUS)]
    Status(Status),
    /// Who is connected to the processes that serve a drive here
    #[command(after_help = examples::PEERS)]
    Peers(Peers),
    /// Find out why others cannot be reached, or do not reach this computer, and what helps
    #[command(after_help = examples::DOCTOR)]
    Doctor(Doctor),
    /// Check what is stored against its signatures
    #[command(after_help = examples::VERIFY)]
    Verify(Verify),
    /// Free content that is no longer needed; history and proofs stay
    #[command(after_help = examples::CLEAR)]
    Clear(Clear),
    /// Delete what is here of a drive; the files in its folder stay
    #[command(visible_alias = "destroy", after_help = examples::PURGE)]
    Purge(Purge),
    /// Take back what a writer lost: its store was rolled back, others hold more
    #[command(after_help = examples::RECOVER)]
    Recover(Recover),
    /// Serve a drive on stdin and stdout: what clone ssh://HOST/FOLDER runs there
    #[command(after_help = examples::PIPE)]
    Pipe(Pipe),
    /// Write a drive as static files for any web server or bucket; again after changes writes what is new
    #[command(after_help = examples::PUBLISH)]
    Publish(Publish),
    /// List the secret keys here; back them up and restore them
    #[command(after_help = examples::KEYS)]
    Keys(Keys),
    /// Tell which rule leaves a file out
    #[command(after_help = examples::IGNORED)]
    Ignored(Ignored),
    /// Read and change settings
    #[command(after_help = examples::CONFIG)]
    Config(Config),
    /// Print a script that completes commands in a shell
    #[command(after_help = examples::COMPLETIONS)]
    Completions(Completions),
    /// Print which version of datnode this is
    #[command(after_help = examples::VERSION)]
    Version,
    /// Write the manual pages into a folder
    #[command(hide = true)]
    GenMan {
        /// The folder.
        folder: PathBuf,
    },
    /// Explain a command, a topic or an error code
    #[command(after_help = examples::HELP)]
    Help {
        /// A command, a topic such as addresses, or a code such as E-NOPEERS.
        #[arg(value_name = "TOPIC")]
        words: Vec<String>,
    },
}

impl Command {
    /// Returns the network flags of a command that has a network.
    pub fn network(&mut self) -> Option<&mut Network> {
        match self {
            Self::Share(args) => Some(&mut args.network),
            Self::Clone(args) => Some(&mut args.network),
            Self::Pull(args) => Some(&mut args.network),
            Self::Sync(args) => Some(&mut args.network),
            Self::Mirror(args) => Some(&mut args.network),
            Self::Node(args) => Some(&mut args.mirror.network),
            Self::Checkout(args) => Some(&mut args.network),
            Self::Ls(args) => Some(&mut args.network),
            Self::Stat(args) => Some(&mut args.network),
            Self::Du(args) => Some(&mut args.network),
            Self::Cat(args) => Some(&mut args.network),
            Self::Log(args) => Some(&mut args.network),
            Self::Changes(args) => Some(&mut args.network),
            Self::Diff(args) => Some(&mut args.network),
            Self::Tag(args) => Some(&mut args.network),
            Self::Status(args) => Some(&mut args.network),
            Self::Recover(args) => Some(&mut args.network),
            Self::Verify(args) => Some(&mut args.network),
            Self::Doctor(args) => Some(&mut args.network),
            _ => None,
        }
    }

    /// Returns the drive that the command is about, as far as its words tell: whose settings count.
    fn place(&self) -> Option<&OsStr> {
        fn or_here(address: &Option<OsString>) -> &OsStr {
            address.as_deref().unwrap_or(OsStr::new("."))
        }
        Some(match self {
            Self::Share(args) => args.folder.as_os_str(),
            Self::Clone(args) => args.folder.as_ref()?.as_os_str(),
            Self::Pull(args) => args.folder.as_os_str(),
            Self::Sync(args) => args.folder.as_os_str(),
            Self::Checkout(args) => args.folder.as_os_str(),
            Self::Status(args) => args.folder.as_os_str(),
            Self::Recover(args) => args.folder.as_os_str(),
            Self::Verify(args) => args.folder.as_os_str(),
            Self::Purge(args) => args.folder.as_os_str(),
            Self::Peers(args) => args.folder.as_os_str(),
            Self::Pipe(args) => args.folder.as_os_str(),
            Self::Publish(args) => args.folder.as_os_str(),
            Self::Ls(args) => or_here(&args.address),
            Self::Du(args) => or_here(&args.address),
            Self::Doctor(args) => or_here(&args.target),
            Self::Log(args) => or_here(&args.address),
            Self::Changes(args) => or_here(&args.address),
            Self::Diff(args) => &args.old,
            Self::Tag(args) => {
                or_here(if args.name.is_some() { &args.version } else { &args.list })
            }
            Self::Stat(args) => &args.address,
            Self::Cat(args) => args.addresses.first()?,
            Self::Config(_) | Self::Ignored(_) => OsStr::new("."),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        command().debug_assert();
    }
}
