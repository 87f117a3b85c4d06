//! `datnode status`: what a folder's drive is, what of it is here, and what to do next.

use std::path::Path;

use datnode_drive::{DrivePath, Entry, Kind};
use datnode_feed::{Bitfield, PublicKey};
use serde_json::{Value, json};

use super::context::{Opened, folder_of, open};
use crate::address::{Link, key::hex};
use crate::cli::Status;
use crate::cli::escape;
use crate::cli::output::Out;
use crate::cli::units::{Size, Things};
use crate::control::{Question, ask};
use crate::dirs::Dirs;
use crate::drives::Drives;
use crate::engine::Snapshot;
use crate::error::Error;
use crate::home::Home;
use crate::keys::DriveKeys;
use crate::runtime;

/// How many missing files are named.
const NAMES_MAX: usize = 5;

pub(super) async fn run(args: Status, out: &Out) -> Result<(), Error> {
    if args.all {
        return all(out).await;
    }
    let folder = folder_of(&args.folder)?;
    let opened = open(Some(folder.as_os_str()), None, &args.network, out).await?;
    let snapshot = opened.snapshot().await?;
    let news = *opened.drive.changes.news.borrow();
    let writing = writing(&opened, &folder)?;
    let own = matches!(writing, Writing::Here(_));
    let state = State {
        writing,
        name: opened.drive.header().await?.name,
        accused: news.accused,
        length: news.length,
        content: content(&snapshot, own).await?,
        serving: serving(&Dirs::open()?, &opened.drive.key).await,
        snapshot,
    };
    if out.json { state.record(&folder, out) } else { state.say(&folder, out) }
}

/// Shows all drives of this user, those with names first.
async fn all(out: &Out) -> Result<(), Error> {
    let dirs = Dirs::open()?;
    for known in Drives::of(&dirs).all() {
        let writes = DriveKeys::load(&dirs, &known.key)?.is_some();
        let serving = serving(&dirs, &known.key).await;
        let (there, folder) = (known.is_there(), escape::path(&known.folder));
        let link = Link(&known.key);
        if out.json {
            out.record(&json!({
                "drive": { "key": hex(&known.key), "link": link.to_string(), "name": known.name },
                "folder": folder, "there": there, "writes": writes, "serving": serving,
            }))?;
            continue;
        }
        let name = known.name.map_or_else(String::new, |name| format!("\"{name}\""));
        let may = if writes { "write" } else { "read" };
        let place = if there { folder } else { format!("{folder} (no longer)") };
        let served = if serving.is_empty() { "" } else { "   served" };
        out.data(format!("{name:<16} {}   {may:<5}   {place}{served}\n", link.short()).as_bytes())?;
    }
    Ok(())
}

/// Returns what the processes say of themselves that have a drive open and answer others.
async fn serving(dirs: &Dirs, key: &PublicKey) -> Vec<Value> {
    let mut serving = Vec::new();
    for process in runtime::find(&dirs.run, key) {
        // One that does not answer has its lock to tell of it.
        serving.extend(ask(&process.socket, &Question::State).await);
    }
    serving
}

/// Whether the drive is written here.
enum Writing {
    /// Its secret key is not here.
    No,
    /// It is written in this folder; so many blocks of changes were made or seen.
    Here(u64),
    /// Another folder writes it.
    Elsewhere(std::path::PathBuf),
}

fn writing(opened: &Opened, folder: &Path) -> Result<Writing, Error> {
    let (dirs, key) = (Dirs::open()?, &opened.drive.key);
    if DriveKeys::load(&dirs, key)?.is_none() {
        return Ok(Writing::No);
    }
    let home = Home::open(&dirs, key)?;
    let elsewhere = home.elsewhere(folder).map(Path::to_owned);
    Ok(elsewhere.map_or_else(|| Writing::Here(home.length()), Writing::Elsewhere))
}

/// What of the files is here.
#[derive(Default)]
struct Content {
    bytes: u64,
    here: u64,
    /// Files that are not whole, and how many bytes they lack.
    missing: Vec<(DrivePath, u64)>,
}

async fn content(snapshot: &Snapshot, own: bool) -> Result<Content, Error> {
    let held = snapshot.held().await?;
    let change = &snapshot.version.change;
    let whole = change.feeds.first().is_none_or(|feed| held.all(0..feed.length));
    if own && whole {
        // Everything is here, and what there is, our own change says.
        let bytes = change.counts.bytes;
        return Ok(Content { bytes, here: bytes, missing: Vec::new() });
    }
    let mut content = Content::default();
    let count = |path: DrivePath, entry: Entry| {
        if entry.kind == Kind::File {
            let missing = lacking(&entry, &held);
            content.bytes = content.bytes.saturating_add(entry.size);
            content.here = content.here.saturating_add(entry.size - missing);
            if missing > 0 {
                content.missing.push((path, missing));
            }
        }
        Ok(())
    };
    snapshot.walk(count).await?;
    Ok(content)
}

/// Returns how many bytes of a file are not here; of an extent that is here in part, its share of blocks.
pub(super) fn lacking(entry: &Entry, held: &Bitfield) -> u64 {
    let missing = |extent: &datnode_drive::Extent| {
        let blocks = extent.first_block..extent.first_block.saturating_add(extent.count);
        let here = held.iter_ones(blocks).count() as u64;
        let bytes = u128::from(extent.bytes) * u128::from(extent.count - here);
        u64::try_from(bytes.div_ceil(u128::from(extent.count.max(1)))).unwrap_or(extent.bytes)
    };
    entry.extents.iter().map(missing).sum::<u64>().min(entry.size)
}

struct State {
    name: Vec<u8>,
    writing: Writing,
    accused: bool,
    length: u64,
    content: Content,
    /// The processes that serve it.
    serving: Vec<Value>,
    snapshot: Snapshot,
}

impl State {
    /// Returns how many blocks of changes are known to have been made, if this store has fewer.
    fn behind(&self) -> Option<u64> {
        match self.writing {
            Writing::Here(known) => Some(known).filter(|&known| known > self.length),
            _ => None,
        }
    }

    /// Returns the command that is called for most.
    fn next(&self, folder: &Path) -> Option<String> {
        let (folder, link) = (escape::path(folder), Link(&self.snapshot.drive.key));
        let fetch = || format!("datnode clone {link} {folder}");
        match &self.writing {
            _ if self.accused => None,
            Writing::Here(_) if self.behind().is_some() => {
                Some(format!("datnode recover {folder}"))
            }
            Writing::Here(_) if !self.serving.is_empty() => None,
            Writing::Here(_) => Some(format!("datnode share {folder}")),
            Writing::Elsewhere(home) => Some(format!("datnode share {}", escape::path(home))),
            Writing::No => (!self.content.missing.is_empty()).then(fetch),
        }
    }

    fn say(&self, folder: &Path, out: &Out) -> Result<(), Error> {
        let (version, link) = (&self.snapshot.version, Link(&self.snapshot.drive.key));
        let (name, shown) = (escape::bytes(&self.name), escape::path(folder));
        let may = match &self.writing {
            Writing::No => "you can read".to_owned(),
            Writing::Here(_) => "you can write".to_owned(),
            Writing::Elsewhere(home) => format!("{} writes it", escape::path(home)),
        };
        let mut text = format!("\"{name}\"  {link}\n{:<11}{may}     {shown}\n", "");
        let mut line = |title: &str, rest: String| text.push_str(&format!("{title:<11}{rest}\n"));
        line("version", format!("{} · {}", version.number, &version.id.to_string()[..6]));
        let Content { bytes, here, missing } = &self.content;
        let names: Vec<String> = missing.iter().take(NAMES_MAX).map(named).collect();
        let missing = match missing.len().saturating_sub(NAMES_MAX) {
            _ if missing.is_empty() => "everything".to_owned(),
            0 => format!("missing: {}", names.join(", ")),
            more => format!("missing: {} and {more} more", names.join(", ")),
        };
        line("here", format!("{} of {}     {missing}", Size(*here), Size(*bytes)));
        for process in &self.serving {
            let (pid, peers) = (&process["pid"], process["peers"].as_u64().unwrap_or_default());
            let sent = Size(process["bytes_out"].as_u64().unwrap_or_default());
            let peers = Things(peers, "peer");
            line("serving", format!("process {pid}, {peers}, {sent} sent"));
        }
        if self.accused {
            line(
                "warning",
                "the key of this drive signed two histories: nothing newer is taken".to_owned(),
            );
        }
        if let Some(known) = self.behind() {
            line(
                "warning",
                format!("this store is older than what it wrote ({} < {known})", self.length),
            );
        }
        if let Some(next) = self.next(folder) {
            line("next", next);
        }
        out.data(text.as_bytes())
    }

    fn record(&self, folder: &Path, out: &Out) -> Result<(), Error> {
        let (key, version) = (&self.snapshot.drive.key, &self.snapshot.version);
        let missing = self.content.missing.iter().map(|(path, bytes)| {
            let mut record = json!({ "bytes": bytes });
            escape::json_path(&mut record, path.as_bytes());
            record
        });
        out.record(&json!({
            "drive": { "key": hex(key), "link": Link(key).to_string(), "name": escape::bytes(&self.name) },
            "folder": escape::path(folder), "change": version.number, "version": version.id.to_string(),
            "writes": matches!(self.writing, Writing::Here(_)),
            "bytes": self.content.bytes, "here": self.content.here, "missing": missing.collect::<Vec<Value>>(),
            "accused": self.accused, "blocks": self.length, "blocks_known": self.behind(),
            "serving": self.serving, "next": self.next(folder),
        }))
    }
}

fn named((path, bytes): &(DrivePath, u64)) -> String {
    format!("{} {}", escape::bytes(path.as_bytes()), Size(*bytes))
}
