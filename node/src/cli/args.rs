//! What each command takes.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::listen;
use super::units::{self, Limit};
use super::{ByteRange, Network, Select};
use libp2p::Multiaddr;

use crate::address::VersionSpec;
use crate::commands::History;
use crate::import::{Rules, parse_pattern};
use crate::origin::Origin;

/// `datnode share`
#[derive(Debug, Args)]
pub struct Share {
    /// The folder.
    #[arg(default_value = ".")]
    pub folder: PathBuf,
    /// What this change is about.
    #[arg(short, long, default_value = "")]
    pub message: String,
    /// What the drive is called: used like its key afterwards. A new one is named like its folder if this is not given.
    #[arg(long)]
    pub name: Option<String>,
    /// What is left out.
    #[command(flatten)]
    pub filter: Filter,
    /// Take in what is there now, and nothing that changes while it is served.
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
    /// Draw the link as a QR code.
    #[arg(long)]
    pub qr: bool,
    /// Copy the command that clones to the clipboard of the terminal.
    #[arg(long)]
    pub copy: bool,
    /// The network.
    #[command(flatten)]
    pub network: Network,
}

/// Which names of a folder are left out.
#[derive(Debug, Default, PartialEq, Eq, Args)]
pub struct Filter {
    /// Leave out what matches; may be given more than once.
    #[arg(long, value_name = "GLOB", value_parser = parse_pattern)]
    pub ignore: Vec<String>,
    /// Pay no heed to .datignore.
    #[arg(long)]
    pub no_ignore: bool,
    /// Leave out what .gitignore files say as well.
    #[arg(long)]
    pub gitignore: bool,
    /// Take hidden files too.
    #[arg(long)]
    pub hidden: bool,
}

impl Filter {
    /// Returns what the import is told.
    pub fn rules(&self) -> Rules {
        let Self { ignore, no_ignore, gitignore, hidden } = self;
        let (no_ignore, gitignore, hidden) = (*no_ignore, *gitignore, *hidden);
        Rules { hidden, no_ignore, gitignore, ignore: ignore.clone() }
    }
}

/// `datnode clone`
#[derive(Debug, Args)]
pub struct CloneArgs {
    /// A link, key, ticket or address; or an origin that has the drive, such as https://HOST/FOLDER or ssh://HOST/FOLDER.
    /// Without it the first --from tells which drive it is.
    #[arg(required_unless_present = "from")]
    pub address: Option<OsString>,
    /// Where to; the drive's name if not given.
    pub folder: Option<PathBuf>,
    /// Fetch this version and stay there.
    #[arg(long, value_name = "VERSION", alias = "checkout")]
    pub at: Option<VersionSpec>,
    /// What the drive is called here: used like its key afterwards. Its own name if not given.
    #[arg(long)]
    pub name: Option<String>,
    /// Replace what is in the way.
    #[arg(long)]
    pub force: bool,
    /// Go on with each new version, and serve it, until stopped.
    #[arg(long, conflicts_with = "at")]
    pub live: bool,
    /// What of it.
    #[command(flatten)]
    pub select: Select,
    /// What else is here.
    #[command(flatten)]
    pub reuse: Reuse,
    /// The network.
    #[command(flatten)]
    pub network: Network,
}

/// What is copied from other drives on this computer.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct Reuse {
    /// Fetch what other drives here have as well: a drive can learn from what is not fetched what is here.
    #[arg(long)]
    pub no_reuse: bool,
}

/// `datnode pull`
#[derive(Debug, Args)]
pub struct Pull {
    /// The clone's folder.
    #[arg(default_value = ".")]
    pub folder: PathBuf,
    /// Replace what is in the way.
    #[arg(long)]
    pub force: bool,
    /// What else is here.
    #[command(flatten)]
    pub reuse: Reuse,
    /// The network.
    #[command(flatten)]
    pub network: Network,
}

/// `datnode pipe`
#[derive(Debug, Args)]
pub struct Pipe {
    /// The drive's folder or name.
    #[arg(default_value = ".")]
    pub folder: PathBuf,
}

/// `datnode publish`
#[derive(Debug, Args)]
pub struct Publish {
    /// Where the files go: a folder that is empty, missing, or was published to before.
    #[arg(value_name = "DIR")]
    pub site: PathBuf,
    /// The drive's folder or name.
    #[arg(default_value = ".")]
    pub folder: PathBuf,
}

/// `datnode checkout`
#[derive(Debug, Args)]
pub struct Checkout {
    /// A number, a hash, @time, a tag, or latest.
    pub version: VersionSpec,
    /// The drive's folder, or an address with --into.
    #[arg(default_value = ".")]
    pub folder: PathBuf,
    /// Write the files into this folder, which is new or empty, and leave the other one alone.
    #[arg(long, value_name = "FOLDER")]
    pub into: Option<PathBuf>,
    /// Replace what is in the way.
    #[arg(long, conflicts_with = "into")]
    pub force: bool,
    /// What else is here.
    #[command(flatten)]
    pub reuse: Reuse,
    /// The network.
    #[command(flatten)]
    pub network: Network,
}

/// `datnode sync`
#[derive(Debug, Args)]
pub struct SyncArgs {
    /// The folder.
    #[arg(default_value = ".")]
    pub folder: PathBuf,
    /// What is left out of a drive of yours.
    #[command(flatten)]
    pub filter: Filter,
    /// What else is here.
    #[command(flatten)]
    pub reuse: Reuse,
    /// The network.
    #[command(flatten)]
    pub network: Network,
}

/// `datnode mirror`
#[derive(Debug, Args)]
pub struct MirrorArgs {
    /// Links, keys, tickets or names of drives.
    #[arg(value_name = "KEY")]
    pub drives: Vec<OsString>,
    /// Below this folder each drive has one, named by its link; below datnode's own data if not given.
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,
    /// More of them, one a line; # begins a comment. Read again on SIGHUP.
    #[arg(long, value_name = "FILE")]
    pub from_file: Option<PathBuf>,
    /// How many versions are fetched: all, latest, or the last N. What is here already stays.
    #[arg(long, value_name = "all|latest|N", default_value = "all")]
    pub history: History,
    /// Fetch nothing more once the folder takes so much, like 500GiB; nothing is deleted.
    #[arg(long, value_name = "SIZE", value_parser = units::parse_size)]
    pub quota: Option<u64>,
    /// Hash what is stored again each time that so much time has passed, and fetch anew what rotted (0 = never).
    #[arg(long, value_name = "DUR", default_value = "0")]
    pub verify_every: Limit,
    /// What is fetched though it is here.
    #[command(flatten)]
    pub reuse: Reuse,
    /// The network.
    #[command(flatten)]
    pub network: Network,
}

/// `datnode node`
#[derive(Debug, Args)]
pub struct NodeArgs {
    /// What it mirrors.
    #[command(flatten)]
    pub mirror: MirrorArgs,
    /// Tell what there is to measure at http://ADDR/metrics (Prometheus): an IP address and a port, or a port of this computer's.
    #[arg(long, value_name = "ADDR", value_parser = listen::on_this_computer)]
    pub metrics: Option<SocketAddr>,
}

/// `datnode ls`
#[derive(Debug, Args)]
pub struct Ls {
    /// A folder, link, key, ticket or address; this folder if not given.
    pub address: Option<OsString>,
    /// Sizes, times, versions, and how much is here.
    #[arg(short)]
    pub long: bool,
    /// Everything below.
    #[arg(short = 'R')]
    pub recursive: bool,
    /// Only files that are not here, or not whole.
    #[arg(long)]
    pub missing: bool,
    /// The order: by name, the largest first, or the newest first.
    #[arg(long, value_enum, default_value = "name")]
    pub sort: Sort,
    /// The version to read.
    #[arg(long, value_name = "VERSION", alias = "checkout")]
    pub at: Option<VersionSpec>,
    /// The network.
    #[command(flatten)]
    pub network: Network,
}

/// The order of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Sort {
    /// As they are in the drive.
    Name,
    /// The largest first.
    Size,
    /// The newest first.
    Time,
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
    /// Only changes behind this version.
    #[arg(long, value_name = "VERSION")]
    pub since: Option<VersionSpec>,
    /// Oldest first.
    #[arg(long)]
    pub reverse: bool,
    /// Oldest first, and then new ones as they come, until Ctrl-C.
    #[arg(long)]
    pub live: bool,
    /// The network.
    #[command(flatten)]
    pub network: Network,
}

/// `datnode changes`
#[derive(Debug, Args)]
pub struct Changes {
    /// A folder, name, link, key, ticket or address; this folder if not given.
    pub address: Option<OsString>,
    /// Only changes behind this version.
    #[arg(long, value_name = "VERSION")]
    pub since: Option<VersionSpec>,
    /// Changes up to this version; the latest if not given.
    #[arg(long, value_name = "VERSION", conflicts_with = "live")]
    pub until: Option<VersionSpec>,
    /// Only this file, what is in this folder, or what this pattern matches; may be given more than once.
    #[arg(long, value_name = "PATH|GLOB")]
    pub path: Vec<OsString>,
    /// At most this many lines.
    #[arg(short = 'n', long, value_name = "N")]
    pub limit: Option<usize>,
    /// With what was set: kind, mode, time, hashes, target.
    #[arg(long)]
    pub values: bool,
    /// And then those that come, until Ctrl-C.
    #[arg(long)]
    pub live: bool,
    /// The network.
    #[command(flatten)]
    pub network: Network,
}

/// `datnode diff`
#[derive(Debug, Args)]
pub struct Diff {
    /// A version of the drive here (1042, b3f9c1, v1, latest), or an address, such as flights+1042.
    #[arg(value_name = "A")]
    pub old: OsString,
    /// Another: a version alone is of the same drive. If not given: what is in the folder, if the drive is written there, else the latest.
    #[arg(value_name = "B")]
    pub new: Option<OsString>,
    /// Only this file, what is in this folder, or what this pattern matches; may be given more than once.
    #[arg(long, value_name = "PATH|GLOB")]
    pub path: Vec<OsString>,
    /// How much was added, changed and removed, and where, instead of names.
    #[arg(long)]
    pub stat: bool,
    /// The lines that differ, of text files; not with --json.
    #[arg(long, conflicts_with = "stat")]
    pub text: bool,
    /// End with 1 if there is a difference.
    #[arg(long)]
    pub exit_code: bool,
    /// What is left out of a folder.
    #[command(flatten)]
    pub filter: Filter,
    /// The network.
    #[command(flatten)]
    pub network: Network,
}

/// `datnode verify`
#[derive(Debug, Args)]
pub struct Verify {
    /// The drive's folder or name.
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
    /// Replace what was changed in the folder of a clone as well.
    #[arg(long, requires = "repair")]
    pub force: bool,
    /// The network.
    #[command(flatten)]
    pub network: Network,
}

/// `datnode clear`
#[derive(Debug, Args)]
pub struct Clear {
    /// What is cleared of files that match alone, behind the drive's folder, name or key if it is not the one around here (see -C).
    /// A glob is as in .datignore: a name anywhere, a path from the top of the drive, or a folder with all in it.
    #[arg(value_name = "DIR|KEY|GLOB")]
    pub words: Vec<OsString>,
    /// Keep what this version and later ones need: a number, a hash, or a date.
    #[arg(long, value_name = "VERSION|DATE", value_parser = since)]
    pub older_than: Option<VersionSpec>,
    /// Keep what the latest version needs; so it is if neither this nor a glob is given.
    #[arg(long)]
    pub keep_latest: bool,
    /// Remove the files of a clone as well that match, unless they were changed, and leave them out from now on.
    #[arg(long, conflicts_with_all = ["older_than", "keep_latest"])]
    pub files: bool,
    /// Say what would be freed, and free nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// Reads a version, or a date without the @ before it.
fn since(text: &str) -> Result<VersionSpec, String> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let date = (!is_number).then(|| format!("@{text}").parse().ok()).flatten();
    date.map_or_else(|| text.parse(), Ok)
}

/// `datnode purge`
#[derive(Debug, Args)]
pub struct Purge {
    /// The drive's folder, name or key.
    #[arg(default_value = ".")]
    pub folder: PathBuf,
    /// Delete its secret key too: nobody can ever change the drive again, unless there is a backup of the key.
    #[arg(long)]
    pub with_key: bool,
}

/// `datnode status`
#[derive(Debug, Args)]
pub struct Status {
    /// All drives of this user, one line each.
    #[arg(long, conflicts_with = "folder")]
    pub all: bool,
    /// The drive's folder or name.
    #[arg(default_value = ".")]
    pub folder: PathBuf,
    /// What is left out of the folder.
    #[command(flatten)]
    pub filter: Filter,
    /// The network.
    #[command(flatten)]
    pub network: Network,
}

/// `datnode recover`
#[derive(Debug, Args)]
pub struct Recover {
    /// The drive's folder or name.
    #[arg(default_value = ".")]
    pub folder: PathBuf,
    /// The network.
    #[command(flatten)]
    pub network: Network,
}

/// `datnode init`
#[derive(Debug, Args)]
pub struct Init {
    /// The folder; it is made if it is not there.
    #[arg(default_value = ".")]
    pub folder: PathBuf,
    /// What the drive is called; the folder's name if not given.
    #[arg(long)]
    pub name: Option<String>,
    /// A drive without a working folder: its files are in the store alone, changed by put, rm and mv.
    #[arg(long)]
    pub bare: bool,
}

/// `datnode stat`
#[derive(Debug, Args)]
pub struct Stat {
    /// A file or folder of a drive, or a drive.
    pub address: OsString,
    /// The version to read.
    #[arg(long, value_name = "VERSION", alias = "checkout")]
    pub at: Option<VersionSpec>,
    /// The network.
    #[command(flatten)]
    pub network: Network,
}

/// `datnode du`
#[derive(Debug, Args)]
pub struct Du {
    /// A folder, name, link, key, ticket or address; this folder if not given.
    pub address: Option<OsString>,
    /// The sum alone.
    #[arg(short, long)]
    pub summary: bool,
    /// Folders down to this depth.
    #[arg(short, long, value_name = "N", default_value_t = 1, conflicts_with = "summary")]
    pub depth: usize,
    /// The version to read.
    #[arg(long, value_name = "VERSION", alias = "checkout")]
    pub at: Option<VersionSpec>,
    /// The network.
    #[command(flatten)]
    pub network: Network,
}

/// `datnode link`
#[derive(Debug, Args)]
pub struct LinkArgs {
    /// A folder, name, link, key, ticket or address; this folder if not given.
    pub address: Option<OsString>,
    /// With the addresses of the processes here that serve it.
    #[arg(long, conflicts_with_all = ["hex", "at"])]
    pub ticket: bool,
    /// Name a web server in the ticket where the drive is published, such as https://HOST/FOLDER; may be given more than once.
    #[arg(long, value_name = "ORIGIN", requires = "ticket")]
    pub from: Vec<Origin>,
    /// Name a node in the ticket that leads into the DHT; may be given more than once.
    #[arg(long, value_name = "MULTIADDR", value_delimiter = ',')]
    pub bootstrap: Vec<Multiaddr>,
    /// Draw a QR code.
    #[arg(long)]
    pub qr: bool,
    /// The key in hexadecimal.
    #[arg(long)]
    pub hex: bool,
    /// The link to this version: a change number, or the beginning of a version's hash.
    #[arg(long, value_name = "VERSION", alias = "checkout")]
    pub at: Option<VersionSpec>,
}

/// `datnode peers`
#[derive(Debug, Args)]
pub struct Peers {
    /// The drive's folder or name.
    #[arg(default_value = ".")]
    pub folder: PathBuf,
    /// Those of all processes of this user.
    #[arg(long, conflicts_with = "folder")]
    pub all: bool,
    /// Again every second, until Ctrl-C.
    #[arg(long)]
    pub live: bool,
}

/// `datnode doctor`
#[derive(Debug, Args)]
pub struct Doctor {
    /// A drive (folder, name, link, key or ticket) or a node (its address, or its id) that is not reached; without it this computer
    /// alone is looked at.
    #[arg(value_name = "KEY|PEER")]
    pub target: Option<OsString>,
    /// Write a report into this file that can be sent to others: without addresses, ids, keys, paths and names (- for stdout).
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// The network.
    #[command(flatten)]
    pub network: Network,
}

/// `datnode ignored`
#[derive(Debug, Args)]
pub struct Ignored {
    /// Files and folders in a shared folder. Of what is in none, as if this folder were shared (see -C), or the one around it.
    #[arg(required = true)]
    pub paths: Vec<PathBuf>,
    /// What is left out.
    #[command(flatten)]
    pub filter: Filter,
}

/// `datnode put`
#[derive(Debug, Args)]
pub struct Put {
    /// A file, or - for stdin.
    pub source: PathBuf,
    /// Where to: a path in a drive that is written here.
    pub address: OsString,
    /// Only if the drive is at this version.
    #[arg(long, value_name = "VERSION")]
    pub if_version: Option<VersionSpec>,
    /// What this change is about.
    #[arg(short, long, default_value = "")]
    pub message: String,
}

/// `datnode rm`
#[derive(Debug, Args)]
pub struct Rm {
    /// Files of one drive that is written here.
    #[arg(required = true)]
    pub addresses: Vec<OsString>,
    /// Folders with all that is in them, too.
    #[arg(short, long)]
    pub recursive: bool,
    /// Only if the drive is at this version.
    #[arg(long, value_name = "VERSION")]
    pub if_version: Option<VersionSpec>,
    /// What this change is about.
    #[arg(short, long, default_value = "")]
    pub message: String,
}

/// `datnode mv`
#[derive(Debug, Args)]
pub struct Mv {
    /// A file or folder of a drive that is written here.
    pub from: OsString,
    /// Its new path in the same drive; a folder that is there takes it in.
    pub to: OsString,
    /// Only if the drive is at this version.
    #[arg(long, value_name = "VERSION")]
    pub if_version: Option<VersionSpec>,
    /// What this change is about.
    #[arg(short, long, default_value = "")]
    pub message: String,
}

/// `datnode tag`
#[derive(Debug, Args)]
pub struct TagArgs {
    /// What the version is to be called; without a name all tags are listed.
    #[arg(conflicts_with = "list")]
    pub name: Option<OsString>,
    /// A version of the drive here (1042, b3f9c1, @time, another tag), or an address such as ./flights+1042. If not given: the latest
    /// that changed files.
    #[arg(conflicts_with = "list")]
    pub version: Option<OsString>,
    /// List the tags of another drive than the one here.
    #[arg(short, long, value_name = "ADDRESS")]
    pub list: Option<OsString>,
    /// Delete the tag.
    #[arg(short, long, requires = "name")]
    pub delete: bool,
    /// Let a tag that there is name another version.
    #[arg(short, long, conflicts_with = "delete")]
    pub force: bool,
    /// Only if the drive is at this version.
    #[arg(long, value_name = "VERSION", requires = "name")]
    pub if_version: Option<VersionSpec>,
    /// What this change is about.
    #[arg(short, long, default_value = "")]
    pub message: String,
    /// The network.
    #[command(flatten)]
    pub network: Network,
}

/// `datnode keys`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Keys {
    /// What to do; lists the keys if nothing is said.
    #[command(subcommand)]
    pub command: Option<KeysCommand>,
}

/// What can be done with keys.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Write a drive's secret key to a file, enciphered with a passphrase
    Export {
        /// The drive's folder or name.
        #[arg(default_value = ".")]
        folder: PathBuf,
        /// The file; NAME.datkey beside the drive's folder if not given.
        #[arg(long, value_name = "FILE", conflicts_with = "plain")]
        encrypt: Option<PathBuf>,
        /// Print the secret itself, as datsec1…: whoever sees it can change the drive.
        #[arg(long)]
        plain: bool,
    },
    /// Take a secret key from such a file, or from stdin (-)
    Import {
        /// The file.
        file: PathBuf,
    },
}

/// `datnode config`
#[derive(Debug, Args)]
pub struct Config {
    /// What to do.
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// What can be done with settings.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print one setting
    Get {
        /// Such as network.port.
        key: String,
    },
    /// Change one setting; processes that run take a new rate limit at once
    Set {
        /// Such as network.max-up.
        key: String,
        /// The new value; several for a list, as often as its flag would be given.
        #[arg(required = true)]
        value: Vec<String>,
        /// For the drive around this folder (see -C) instead of all drives of this user.
        #[arg(long)]
        drive: bool,
    },
    /// Forget one setting
    Unset {
        /// Such as network.port.
        key: String,
        /// In the drive around this folder.
        #[arg(long)]
        drive: bool,
    },
    /// Print all settings
    Show {
        /// And where each comes from.
        #[arg(long)]
        origin: bool,
    },
    /// Open the file in $VISUAL or $EDITOR
    Edit {
        /// That of the drive around this folder.
        #[arg(long)]
        drive: bool,
    },
}

/// `datnode completions`
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell.
    pub shell: Shell,
}

/// The shells that completions are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// GNU Bash.
    Bash,
    /// Zsh.
    Zsh,
    /// Fish.
    Fish,
    /// PowerShell.
    Powershell,
    /// Nushell.
    Nushell,
}
