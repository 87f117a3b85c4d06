//! `datnode stat`: what there is to know of a file, a folder or a drive.

use std::time::Duration;

use datnode_drive::{DrivePath, Entry, Kind};
use datnode_feed::Bitfield;
use serde_json::{Value, json};

use super::content::lacking;
use super::context::open;
use super::ls::{kind, time};
use super::missing::missing;
use super::shared::{Common, FILES_MAX};
use crate::address::{Link, VersionSpec, key::hex};
use crate::cli::Stat;
use crate::cli::escape;
use crate::cli::output::Out;
use crate::cli::units::{Count, Size, Things};
use crate::engine::{Reach, Snapshot};
use crate::error::{Code, Error};

pub(super) async fn run(args: Stat, out: &Out) -> Result<(), Error> {
    let opened = open(Some(&args.address), args.at.as_ref(), &args.network, out).await?;
    let snapshot = opened.here().await?;
    let path = &opened.path;
    let entry = snapshot.entry_or_root(path).await?;
    let held = snapshot.held().await?;
    let facts = match entry {
        Some(entry) if entry.kind != Kind::Directory => {
            let versions = earlier(&snapshot, path, &entry).await?;
            let shared = shared(&snapshot, path, &entry).await?;
            Facts { shared, ..Facts::of_file(&snapshot, path, entry, &held, versions) }
        }
        entry => {
            if entry.is_none() && !snapshot.has(path).await? {
                return Err(missing(&snapshot, path).await);
            }
            Facts::of_folder(&snapshot, path, entry, &held).await?
        }
    };
    if out.json { out.record(&facts.record()) } else { out.data(facts.text().as_bytes()) }
}

/// How long the past is waited for.
const PAST_WAIT: Duration = Duration::from_secs(3);
/// How many changes are gone back through to find earlier versions of a file.
const CHANGES_MAX: usize = 100;
/// Of a drive elsewhere that has more files, it is not counted what they share.
const FETCHED_FILES_MAX: u64 = 1_000;

/// Counts the versions before this one in which a file was another; whether all of them is the second.
async fn earlier(
    snapshot: &Snapshot,
    path: &DrivePath,
    entry: &Entry,
) -> Result<(u64, bool), Error> {
    let (mut count, mut last, mut change) = (0, entry.clone(), entry.change);
    let mut drive = snapshot.drive.clone();
    drive.patience.wait = Some(drive.patience.wait.unwrap_or(PAST_WAIT).min(PAST_WAIT));
    for _ in 0..CHANGES_MAX {
        // An entry tells which change set it: before that one it was another.
        let Some(number) = change.checked_sub(1).filter(|number| *number > 0) else {
            return Ok((count, true));
        };
        let before = async { drive.version(&VersionSpec::Number(number)).await?.entry(path).await };
        let entry = match before.await {
            Ok(Some(entry)) => entry,
            Ok(None) => return Ok((count, true)),
            // Old names are not everywhere: a clone has those of its own version only.
            Err(error) if matches!(error.code(), Code::NoData | Code::NoPeers | Code::NotFound) => {
                return Ok((count, false));
            }
            Err(error) => return Err(error),
        };
        count += u64::from(entry.content != last.content || entry.kind != last.kind);
        (change, last) = (entry.change, entry);
    }
    Ok((count, false))
}

/// Counts the chunks of a file that other files of the version have as well, unless that takes long.
async fn shared(
    snapshot: &Snapshot,
    path: &DrivePath,
    entry: &Entry,
) -> Result<Option<u64>, Error> {
    let most = match snapshot.drive.patience.reach {
        Reach::Folder(_) | Reach::Own(_) => FILES_MAX,
        // All names have to be fetched for it.
        _ => FETCHED_FILES_MAX,
    };
    if entry.kind != Kind::File || snapshot.version.change.counts.files > most {
        return Ok(None);
    }
    let mut common = Common::of(snapshot, entry);
    let add = |other: DrivePath, entry: Entry| {
        if other != *path {
            common.add(&entry);
        }
        Ok(())
    };
    match snapshot.walk(add).await {
        Ok(()) => Ok(common.count()),
        // Of an older version a clone has some names alone.
        Err(error) if matches!(error.code(), Code::NoData | Code::NoPeers) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What is told.
struct Facts<'a> {
    snapshot: &'a Snapshot,
    path: &'a DrivePath,
    entry: Option<Entry>,
    bytes: u64,
    here: u64,
    /// Files in a folder; chunks of a file.
    files: u64,
    chunks: u64,
    /// Chunks of a file that others have too, if they were counted.
    shared: Option<u64>,
    /// Versions before this one, and whether that is all of them.
    earlier: Option<(u64, bool)>,
}

impl<'a> Facts<'a> {
    fn of_file(
        snapshot: &'a Snapshot,
        path: &'a DrivePath,
        entry: Entry,
        held: &Bitfield,
        earlier: (u64, bool),
    ) -> Self {
        let bytes = if entry.kind == Kind::File { entry.size } else { 0 };
        let here = bytes - lacking(&entry, held).min(bytes);
        let chunks = entry.extents.iter().map(|extent| extent.count).sum();
        Self {
            snapshot,
            path,
            entry: Some(entry),
            bytes,
            here,
            files: 1,
            chunks,
            shared: None,
            earlier: Some(earlier),
        }
    }

    async fn of_folder(
        snapshot: &'a Snapshot,
        path: &'a DrivePath,
        entry: Option<Entry>,
        held: &Bitfield,
    ) -> Result<Self, Error> {
        let (mut bytes, mut here, mut files, mut chunks) = (0_u64, 0_u64, 0, 0_u64);
        let count = |_, entry: Entry| {
            if entry.kind == Kind::File {
                files += 1;
                bytes = bytes.saturating_add(entry.size);
                here = here.saturating_add(entry.size - lacking(&entry, held));
                chunks =
                    chunks.saturating_add(entry.extents.iter().map(|extent| extent.count).sum());
            }
            Ok(())
        };
        snapshot.walk_in(path, count).await?;
        Ok(Self { snapshot, path, entry, bytes, here, files, chunks, shared: None, earlier: None })
    }

    fn kind(&self) -> &'static str {
        self.entry.as_ref().map_or("directory", |entry| kind(entry.kind))
    }

    /// Returns what a file's name says that it is.
    fn media_type(&self) -> Option<String> {
        let name = std::str::from_utf8(self.path.base()?).ok()?;
        let file = self.entry.as_ref().is_some_and(|entry| entry.kind == Kind::File);
        let guess = mime_guess::from_path(name).first().filter(|_| file)?;
        Some(guess.essence_str().to_owned())
    }

    fn percent(&self) -> u64 {
        let percent = (u128::from(self.here) * 100).checked_div(u128::from(self.bytes));
        percent.map_or(100, |percent| u64::try_from(percent).unwrap_or(100))
    }

    fn record(&self) -> Value {
        let (key, version) = (&self.snapshot.drive.key, &self.snapshot.version);
        let mut record = json!({
            "drive": { "key": hex(key), "link": Link(key).to_string() },
            "change": version.number, "version": version.id.to_string(),
            "type": self.kind(), "size": self.bytes, "here": self.here, "files": self.files, "chunks": self.chunks,
        });
        escape::json_path(&mut record, self.path.as_bytes());
        if let Some(entry) = &self.entry {
            record["mode"] = format!("{:04o}", entry.mode).into();
            record["mtime"] = time(entry).into();
            record["entry_change"] = entry.change.into();
            if entry.kind == Kind::File {
                record["content"] = entry.content.to_string().into();
                record["media_type"] = self.media_type().into();
                record["shared"] = self.shared.into();
            }
            if entry.kind == Kind::Symlink {
                record["target"] = escape::bytes(&entry.target).into();
            }
        }
        if let Some((count, all)) = self.earlier {
            record["earlier_versions"] = count.into();
            record["earlier_versions_all"] = all.into();
        }
        record
    }

    fn text(&self) -> String {
        let (version, mut text) = (&self.snapshot.version, String::new());
        let mut line = |title: &str, rest: String| text.push_str(&format!("{title:<10}{rest}\n"));
        let path = match self.path.is_root() {
            true => Link(&self.snapshot.drive.key).to_string(),
            false => escape::bytes(self.path.as_bytes()),
        };
        let size = match self.kind() {
            "file" => format!("file, {} bytes ({})", Count(self.bytes), Size(self.bytes)),
            "symlink" => {
                let target = self.entry.as_ref().map(|entry| escape::bytes(&entry.target));
                format!("link to {}", target.unwrap_or_default())
            }
            _ => format!("folder, {}, {}", Things(self.files, "file"), Size(self.bytes)),
        };
        let media = self.media_type().map(|media| format!(", {media}")).unwrap_or_default();
        line("path", format!("{path}     {size}{media}"));
        let id = version.id.to_string();
        let set = self.entry.as_ref().map(|entry| {
            format!("   set by change {}, {}   mode {:04o}", entry.change, time(entry), entry.mode)
        });
        let earlier = self.earlier.map(|(count, all)| {
            let more = if all { "" } else { " or more" };
            format!("     {}{more}", Things(count, "earlier version"))
        });
        let (set, earlier) = (set.unwrap_or_default(), earlier.unwrap_or_default());
        line("version", format!("{} · {}{set}{earlier}", version.number, &id[..6]));
        let b3 = match &self.entry {
            Some(entry) if entry.kind == Kind::File => format!("b3:{}   ", entry.content),
            _ => String::new(),
        };
        if self.kind() != "symlink" {
            let chunks = Things(self.chunks, "chunk");
            let shared = self.shared.filter(|shared| *shared > 0);
            let shared =
                shared.map(|shared| format!(", {} shared with other files", Count(shared)));
            let shared = shared.unwrap_or_default();
            line("content", format!("{b3}{chunks}{shared}     here {} %", self.percent()));
        }
        text
    }
}
