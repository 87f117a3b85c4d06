//! The errors that several commands need, each worded once.

use std::fmt::Display;
use std::io;
use std::path::Path;
use std::time::Duration;

use datnode_drive::TagName;
use jiff::Timestamp;
use serde_json::json;

use super::{Code, Error, nearest};
use crate::cli::escape;
use crate::cli::units::{Size, Span, Things};
use crate::disk::DiskError;
use crate::swarm::SwarmError;

/// How many names an error lists before it counts the rest.
const NAMES_MAX: usize = 5;
/// The same where each name has a reason of its own, and nothing else would tell of it.
const NAMES_WITH_REASONS_MAX: usize = 1_000;

/// When the certificates of all peers begin to be valid: the first second of 1975.
const CONNECTS_FROM: Timestamp = Timestamp::constant(157_766_400, 0);

impl Error {
    /// The command line cannot be understood.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Code::Usage, message)
    }

    /// Nobody on this computer offers the drive, and `--offline` forbids to ask others.
    pub fn offline(link: &str) -> Self {
        Self::new(Code::NoPeers, "nobody on this computer is offering this drive")
            .context("tried: the processes of this user")
            .hint(
                "--offline is on; leave it out (and unset DATNODE_OFFLINE) to ask other computers",
            )
            .field("drive", link)
            .field("offline", true)
    }

    /// It is too early for any connection, by a clock such as that of a computer without a battery.
    pub fn too_early(now: Timestamp) -> Option<Self> {
        let what = "no peer can be reached while the clock of this computer is before 1975";
        (now < CONNECTS_FROM).then(|| {
            Self::new(Code::NoPeers, what).hint("set the clock; what runs goes on by itself then")
        })
    }

    /// A drive in a folder lacks what is asked for.
    pub fn not_here(link: &str, folder: &Path) -> Self {
        Self::new(Code::NoData, "this folder holds only a part of the drive")
            .hint(format!("fetch the rest:  datnode clone {link} {}", escape::shell(folder)))
            .field("drive", link)
    }

    /// What is asked for went from the folder that its drive is written in.
    pub fn no_longer_here(link: &str, folder: &Path) -> Self {
        Self::new(Code::NoData, "this content is here no longer")
            .context("it was cleared, or it was shared in place and its file changed")
            .hint(format!(
                "fetch what others still have:  datnode recover {}",
                escape::shell(folder)
            ))
            .field("drive", link)
    }

    /// Peers are there, but none of them has what is missing, or those who may have it are silent.
    pub fn no_data(silent: bool, peers: usize, waited: Duration) -> Self {
        let are = if peers == 1 { "peer is" } else { "peers are" };
        let what = match silent {
            true => "whoever may have what is missing sends nothing",
            false => "nobody who is connected has what is missing",
        };
        Self::new(Code::NoData, what)
            .context(format!("tried: {peers} {are} connected, waited {}", Span(waited)))
            .hint("run the same command again when more people are online; what is here is kept")
            .field("peers", peers)
    }

    /// Nobody offers what is missing but peers such as this one, who send what the drive's key did not sign.
    pub fn lied(link: &str, peer: &str, fault: impl Display) -> Self {
        let what = "whoever offers what is missing sends what the drive's key did not sign";
        Self::new(Code::Verify, what)
            .context(format!("{}: {fault}; it was thrown out", escape::text(peer)))
            .hint("nothing of it was kept; ask whoever publishes the drive for another address or a ticket")
            .hint("an honest peer beside it will do: --peer ADDRESS, or wait longer: --wait 5m")
            .field("drive", link)
            .field("peer", peer)
    }

    /// The store of `folder` cannot be opened.
    pub fn disk(folder: &Path, error: DiskError) -> Self {
        match error {
            DiskError::Locked { pid, command, .. } => {
                let command = Some(&*command).filter(|command| !command.is_empty());
                Self::locked(folder, pid, command)
            }
            DiskError::NotADrive(_) => Self::not_drive(folder),
            DiskError::Io { op, path, source } => Self::io(op, &path, &source),
        }
    }

    /// What a store says; a full disk has a code of its own.
    pub fn store(error: datnode_feed::StoreError) -> Self {
        use datnode_feed::StoreError;
        match error {
            StoreError::Newer { found, known } => {
                Self::newer_format(Path::new("this folder"), found.into(), known.into())
            }
            StoreError::Damaged(_) => Self::verify(error.to_string()),
            StoreError::Behind { ours, theirs } => Self::new(Code::Conflict, error.to_string())
                .hint("take the missing changes back from whoever has them: datnode recover")
                .field("here", ours)
                .field("before", theirs),
            StoreError::Accused => Self::new(Code::Conflict, error.to_string()).hint(
                "share the folder as a new drive: move its .dat folder away, then datnode share",
            ),
            other => {
                let code = if is_full(&other) { Code::Space } else { Code::Io };
                let cause = std::error::Error::source(&other).map(|source| format!(": {source}"));
                Self::new(code, format!("{other}{}", cause.unwrap_or_default()))
            }
        }
    }

    /// A drive whose own blocks are wrong, or cannot be read.
    pub fn damaged(error: datnode_drive::ReadError<datnode_feed::StoreError>) -> Self {
        match error {
            datnode_drive::ReadError::Source(error) => Self::store(error),
            other => Self::verify(other.to_string()),
        }
    }

    /// The command took longer than `--timeout`.
    pub fn timeout(limit: Duration, doing: impl Display) -> Self {
        Self::new(Code::Timeout, format!("this took longer than {}", Span(limit)))
            .context(format!("last: {doing}"))
            .hint("give it more time with --timeout, or 0 for no limit")
    }

    /// The user or the system asked the process to end.
    pub fn interrupted() -> Self {
        Self::new(Code::Interrupted, "interrupted")
    }

    /// Nobody reads the output any more.
    pub fn pipe() -> Self {
        Self::new(Code::Pipe, "the reader of the output is gone")
    }

    /// Another process holds the store of `folder`.
    pub fn locked(folder: &Path, pid: Option<u32>, command: Option<&str>) -> Self {
        let owner = match (pid, command) {
            (Some(pid), Some(command)) => {
                format!("process {pid} (datnode {})", escape::text(command))
            }
            (Some(pid), None) => format!("process {pid}"),
            (None, _) => "another process".to_owned(),
        };
        let error =
            Self::new(Code::Locked, format!("{} is in use by {owner}", escape::path(folder)));
        let error = match pid {
            Some(pid) => error.hint(format!("end it first: kill {pid}")).field("pid", pid),
            None => error,
        };
        match command {
            Some(command) => error.field("command", command),
            None => error,
        }
    }

    /// Files in the way hold something else.
    pub fn dirty<P: AsRef<[u8]>>(what: impl Into<String>, paths: &[P]) -> Self {
        Self::new(Code::Dirty, what)
            .context(names(paths))
            .hint("move them away, choose another folder, or overwrite them with --force")
            .field(
                "paths",
                paths.iter().map(|path| escape::bytes(path.as_ref())).collect::<Vec<_>>(),
            )
    }

    /// `what` (a path, a version) does not exist; `near` are the names most like it.
    pub fn not_found<P: AsRef<[u8]>>(what: impl Into<String>, near: &[P]) -> Self {
        let error = Self::new(Code::NotFound, what);
        if near.is_empty() {
            return error;
        }
        let shown: Vec<String> =
            near.iter().take(3).map(|name| escape::bytes(name.as_ref())).collect();
        error.hint(format!("did you mean {}?", shown.join(" or "))).field("near", shown)
    }

    /// There is no such version of the drive; the latest has a number.
    pub fn no_version(spec: impl Display, latest: u64) -> Self {
        Self::not_found::<&[u8]>(format!("there is no version {spec}; the latest is {latest}"), &[])
    }

    /// There is no tag of this name; `names` are those that there are.
    pub fn no_tag(name: &TagName, names: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let shown = escape::text(name.as_str());
        let near = nearest(name.as_str().as_bytes(), names);
        Self::not_found(format!("there is no tag {shown}"), &near)
            .hint("datnode tag --list DRIVE   lists those that there are")
    }

    /// Neither `folder` nor a folder above it is a drive.
    pub fn not_drive(folder: &Path) -> Self {
        let above: Vec<String> =
            folder.ancestors().skip(1).take(NAMES_MAX).map(escape::path).collect();
        let error = Self::new(Code::NotDrive, format!("{} is not a drive", escape::path(folder)));
        let error = if above.is_empty() {
            error
        } else {
            error.context(format!("also looked in {}", above.join(", ")))
        };
        error
            .hint("share a folder:  datnode share DIR")
            .hint("or get one:      datnode clone KEY [DIR]")
    }

    /// The secret key of the drive is not here.
    pub fn read_only(link: &str) -> Self {
        Self::new(Code::ReadOnly, "the secret key of this drive is not on this computer")
            .context(format!("drive: {link}"))
            .hint("only the computer that shared the drive first can change it")
            .field("drive", link)
    }

    /// A hash or signature is wrong.
    pub fn verify(message: impl Into<String>) -> Self {
        Self::new(Code::Verify, message)
    }

    /// The store of `folder` has a format this version does not know.
    pub fn newer_format(folder: &Path, found: u64, known: u64) -> Self {
        Self::new(Code::Format, format!("{} was written by a newer datnode", escape::path(folder)))
            .context(format!(
                "its format is {found}, this version knows {known}; nothing was changed"
            ))
            .hint("update datnode on this computer")
            .field("found", found)
            .field("known", known)
    }

    /// The other side speaks only a newer protocol.
    pub fn newer_protocol(theirs: impl Display, ours: impl Display) -> Self {
        Self::new(Code::Version, "the other side speaks a newer protocol")
            .context(format!("it speaks version {theirs}, this program speaks {ours}"))
            .hint("update datnode on this computer")
            .field("theirs", theirs.to_string())
            .field("ours", ours.to_string())
    }

    /// The disk has too little room.
    pub fn space(folder: &Path, needed: u64, free: u64) -> Self {
        Self::new(
            Code::Space,
            format!("there is too little room on the disk of {}", escape::path(folder)),
        )
        .context(format!("needed: {}, free: {}; no file was written", Size(needed), Size(free)))
        .hint("free some room and run the command again")
        .field("needed", needed)
        .field("free", free)
    }

    /// Files kept changing while they were read.
    pub fn changed<P: AsRef<[u8]>>(paths: &[P]) -> Self {
        let files = Things(paths.len() as u64, "file");
        Self::new(
            Code::Changed,
            format!("{files} kept changing while being read and stay as they were"),
        )
        .context(names(paths))
        .hint("run the command again when nothing writes to them")
        .field("paths", paths.iter().map(|path| escape::bytes(path.as_ref())).collect::<Vec<_>>())
    }

    /// What cannot be read, each with the reason: the rest was taken in.
    pub fn unreadable(what: &[(Vec<u8>, String)]) -> Self {
        let count = Things(what.len() as u64, "name");
        Self::with_reasons(
            Code::Partial,
            format!("{count} cannot be read and stay as they were"),
            what,
            what.len() as u64,
        )
        .hint("give yourself the right to read them, or leave them out with --ignore")
    }

    /// Names of a drive that must not or cannot be written here, each with the reason: the rest was done.
    /// There are `count`, of which the first are named.
    pub fn paths(refused: &[(Vec<u8>, String)], count: u64) -> Self {
        let all = Things(count, "name");
        let message = format!("{all} cannot be written here and were left out; all else is done");
        Self::with_reasons(Code::Path, message, refused, count)
    }

    fn with_reasons(code: Code, message: String, names: &[(Vec<u8>, String)], count: u64) -> Self {
        let mut error = Self::new(code, message);
        for (name, why) in names.iter().take(NAMES_WITH_REASONS_MAX) {
            error = error.context(format!("{} ({why})", escape::bytes(name)));
        }
        let (named, told) = (names.len() as u64, names.len().min(NAMES_WITH_REASONS_MAX) as u64);
        let more = count.saturating_sub(told);
        if count > named {
            error =
                error.context(format!("and {more} more: --json names the first {named} of all"));
        } else if more > 0 {
            error = error.context(format!("and {more} more: --json names them all"));
        }
        let reasons = names.iter().map(|(name, why)| {
            let mut record = json!({ "reason": why });
            escape::json_path(&mut record, name);
            record
        });
        error.field("paths", reasons.collect::<Vec<_>>())
    }

    /// An address to listen on is taken or cannot be used.
    pub fn port(source: &SwarmError) -> Self {
        Self::new(Code::Port, source.to_string()).hint(
            "choose another address with --listen; with an IP address alone any free port will do",
        )
    }

    /// The system begins no more threads.
    pub fn threads(source: &io::Error) -> Self {
        Self::new(Code::Io, format!("cannot begin another thread: {}", reason(source)))
            .hint("ulimit -u, or a limit for this service, says how many there may be")
    }

    /// Reading or writing `path` failed while trying to `doing` (a verb phrase: "read", "create the folder").
    pub fn io(doing: impl Display, path: &Path, source: &io::Error) -> Self {
        let message = format!("cannot {doing} {}: {}", escape::path(path), reason(source));
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::new(Code::Space, message).hint("free some room and run the command again")
            }
            io::ErrorKind::BrokenPipe => Self::pipe(),
            _ => Self::new(Code::Io, message),
        }
    }
}

/// Returns the reason of an I/O error as a lowercase fragment without the system's number.
pub(crate) fn reason(source: &io::Error) -> String {
    let text = source.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    match (chars.next(), chars.clone().next()) {
        // "No such file" → "no such file", but "I/O error" stays.
        (Some(first), Some(second)) if second.is_lowercase() => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => text.to_owned(),
    }
}

fn names<P: AsRef<[u8]>>(paths: &[P]) -> String {
    let mut shown: Vec<String> =
        paths.iter().take(NAMES_MAX).map(|path| escape::bytes(path.as_ref())).collect();
    if paths.len() > NAMES_MAX {
        shown.push(format!("and {} more", paths.len() - NAMES_MAX));
    }
    shown.join(", ")
}

/// Tells whether the reason behind an error is a full disk.
fn is_full(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut at = Some(error);
    while let Some(error) = at {
        let io = error.downcast_ref::<io::Error>();
        if io.is_some_and(|io| {
            matches!(io.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        }) {
            return true;
        }
        at = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_its_own_kind() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert_eq!(Error::io("write", Path::new("x"), &full).code(), Code::Space);
        let denied = io::Error::from_raw_os_error(13);
        let error = Error::io("read", Path::new("a\nb"), &denied);
        assert_eq!(error.code(), Code::Io);
        assert_eq!(error.message(), "cannot read a\\nb: permission denied");
    }

    #[test]
    fn a_second_history_is_a_conflict() {
        let behind = Error::store(datnode_feed::StoreError::Behind { ours: 4, theirs: 9 });
        assert_eq!((behind.code(), behind.exit()), (Code::Conflict, 7));
        assert!(behind.hints()[0].contains("datnode recover"), "{behind}");
        assert_eq!(Error::store(datnode_feed::StoreError::Accused).code(), Code::Conflict);
    }

    #[test]
    fn long_lists_of_names_are_counted() {
        let paths: Vec<Vec<u8>> = (0..9).map(|n| format!("f{n}").into_bytes()).collect();
        let text = Error::dirty("9 files are in the way", &paths).to_string();
        assert!(text.contains("f0, f1, f2, f3, f4, and 4 more"), "{text}");
    }

    #[test]
    fn the_owner_of_a_lock_is_named() {
        let error = Error::locked(Path::new("./flights"), Some(4711), Some("share"));
        assert_eq!(error.message(), "./flights is in use by process 4711 (datnode share)");
        assert_eq!(error.exit(), 9);
        assert_eq!(error.to_json()["pid"], 4711);
    }
}
