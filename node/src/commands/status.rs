//! `datnode status`: what a folder's drive is, what of it is here, and what to do next.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use datnode_feed::PublicKey;
use serde_json::{Value, json};

use super::content::{Content, Missing, Why};
use super::context::{folder_of, open};
use super::reached;
use super::working::{Base, Counts, differences};
use crate::address::{Link, key::hex};
use crate::choice::{Choice, Chooser};
use crate::cli::Status;
use crate::cli::escape;
use crate::cli::output::Out;
use crate::cli::units::{Count, Size, Things};
use crate::control::{Question, ask};
use crate::dirs::Dirs;
use crate::disk::store_bytes;
use crate::drives::Drives;
use crate::edit::is_bare;
use crate::engine::{Differing, Snapshot};
use crate::error::{Code, Error};
use crate::home::Home;
use crate::import::{Rules, walk};
use crate::keys::DriveKeys;
use crate::remembered::Remembered;
use crate::runtime;

/// How many missing files are named.
const NAMES_MAX: usize = 5;
/// A store that takes less is not worth a line.
const STORE_TOLD_MIN: u64 = 1 << 20;
/// Folders of more files are not looked through: that would take longer than somebody waits for this command.
const LOOKED_AT_MAX: u64 = 20_000;

pub(super) async fn run(args: Status, out: &Out) -> Result<(), Error> {
    if args.all {
        return all(out).await;
    }
    let folder = folder_of(&args.folder)?;
    let opened = open(Some(folder.as_os_str()), None, &args.network, out).await?;
    let snapshot = opened.here().await?;
    let news = *opened.drive.changes.news.borrow();
    let (dirs, key) = (Dirs::open()?, &opened.drive.key);
    let writing = writing(key, &folder)?;
    let selection = match writing {
        // A writer has all of it.
        Writing::Here(_) => Choice::default(),
        _ => Choice::kept(&folder)?,
    };
    let serving = serving(&dirs, key).await;
    let why = match writing {
        Writing::Here(_) => Why::Changed,
        _ => Why::by(&serving, Remembered::of(&dirs.state, key).last_seen(SystemTime::now())),
    };
    let name = match opened.drive.header().await {
        // A clone that was broken off early may lack it.
        Err(error) if error.code() == Code::NoData => Vec::new(),
        header => header?.name,
    };
    let latest = match opened.drive.latest().await {
        // Nobody is there who could tell: what is here is the latest that is known.
        Err(error) if error.code() == Code::NoData => snapshot.version.number,
        latest => latest?.version.number,
    };
    let own = match (&writing, is_bare(&folder)?) {
        (Writing::Here(_), _) | (_, true) => None,
        _ if snapshot.version.change.counts.files > LOOKED_AT_MAX => None,
        _ => Some(own(&snapshot, &folder, &selection).await?),
    };
    let state = State {
        latest,
        own,
        working: working(&writing, &folder, &args.filter.rules(), &snapshot).await?,
        writing,
        name,
        accused: news.accused,
        length: news.length,
        content: Content::of(&snapshot, &why, &Chooser::of(&selection)?).await?,
        gone: gone(&snapshot).await?,
        store: store_bytes(&folder).map_err(|error| Error::disk(&folder, error))?,
        selection,
        serving,
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
        serving.extend(ask(&process.socket, Some(key), &Question::State).await);
    }
    serving
}

/// Whether the drive is written here.
pub(super) enum Writing {
    /// Its secret key is not here.
    No,
    /// It is written in this folder; so many blocks of changes were made or seen.
    Here(u64),
    /// Another folder writes it.
    Elsewhere(std::path::PathBuf),
}

pub(super) fn writing(key: &PublicKey, folder: &Path) -> Result<Writing, Error> {
    let dirs = Dirs::open()?;
    if DriveKeys::load(&dirs, key)?.is_none() {
        return Ok(Writing::No);
    }
    let home = Home::open(&dirs, key)?;
    let elsewhere = home.elsewhere(folder).map(Path::to_owned);
    Ok(elsewhere.map_or_else(|| Writing::Here(home.length()), Writing::Elsewhere))
}

/// Tells whether the drive is written in this folder; a clone beside it is like anybody's.
pub(super) fn writes_here(key: &PublicKey, folder: &Path) -> Result<bool, Error> {
    Ok(matches!(writing(key, folder)?, Writing::Here(_)))
}

/// Returns how many blocks of content are not here.
async fn gone(snapshot: &Snapshot) -> Result<u64, Error> {
    let length = snapshot.version.change.feeds.first().map_or(0, |feed| feed.length);
    Ok(length.saturating_sub(snapshot.held().await?.count()))
}

/// Looks what a folder has that is written here, unless that would take long.
async fn working(
    writing: &Writing,
    folder: &Path,
    rules: &Rules,
    snapshot: &Snapshot,
) -> Result<Working, Error> {
    let counts = snapshot.version.change.counts;
    if !matches!(writing, Writing::Here(_)) || is_bare(folder)? {
        return Ok(Working::None);
    }
    if counts.files > LOOKED_AT_MAX {
        return Ok(Working::Large(counts.files));
    }
    let mut walked = walk(folder, rules)?;
    let base = Base::of(snapshot).await?;
    differences(folder, &mut walked, base, |_| Ok(())).map(Working::Counts)
}

/// What the folder has that the drive has not.
enum Working {
    /// The drive is not written in a folder.
    None,
    /// It was not looked at: there are so many files.
    Large(u64),
    Counts(Counts),
}

/// How many files of a clone its user changed and removed.
struct Own {
    changed: u64,
    removed: u64,
}

impl Own {
    const fn any(&self) -> bool {
        self.changed > 0 || self.removed > 0
    }

    fn to_json(&self) -> Value {
        json!({ "changed": self.changed, "removed": self.removed })
    }
}

/// Looks what was changed in a clone.
async fn own(snapshot: &Snapshot, folder: &Path, selection: &Choice) -> Result<Own, Error> {
    let chooser = Arc::new(Chooser::of(selection)?);
    let Differing { changed, removed, .. } = snapshot.differing(folder, chooser, false).await?;
    Ok(Own { changed: changed.len() as u64, removed: removed.len() as u64 })
}

struct State {
    name: Vec<u8>,
    /// The number of the latest version that is known here.
    latest: u64,
    /// What was changed in a clone; none where that is not looked at.
    own: Option<Own>,
    writing: Writing,
    working: Working,
    accused: bool,
    length: u64,
    content: Content,
    /// How many blocks of content are not here that some version needs, or needed.
    gone: u64,
    /// What the drive's own files take on the disk, beside those of the folder.
    store: u64,
    /// What of it is wanted.
    selection: Choice,
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
    fn next(&self, path: &Path) -> Option<String> {
        let (folder, link) = (escape::shell(path), Link(&self.snapshot.drive.key));
        let fetch = || match (is_bare(path), path.parent()) {
            (Ok(true), Some(to)) => format!("datnode mirror {link} --to {}", escape::shell(to)),
            _ => format!("datnode clone {link} {folder}"),
        };
        match &self.writing {
            _ if self.accused => None,
            Writing::Here(_) if self.behind().is_some() => {
                Some(format!("datnode recover {folder}"))
            }
            Writing::Here(_) if !self.serving.is_empty() => None,
            Writing::Here(_) => Some(format!("datnode share {folder}")),
            Writing::Elsewhere(home) => Some(format!("datnode share {}", escape::shell(home))),
            Writing::No if self.serving.iter().any(|process| process["fetches"] == true) => None,
            Writing::No => (!self.content.missing.is_empty()).then(fetch),
        }
    }

    /// Says what the drive takes beside the files, and what it saves, if that is worth a line.
    fn stored(&self) -> Option<String> {
        let saved = self.content.saved.filter(|saved| *saved > 0);
        let saved =
            saved.map(|saved| format!("; {} saved: files have them in common", Size(saved)));
        let is_worth_it = self.store >= STORE_TOLD_MIN || saved.is_some();
        let text = || format!("{} on this disk{}", Size(self.store), saved.unwrap_or_default());
        is_worth_it.then(text)
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
        let newer = match self.latest > version.number {
            true => format!(
                "   ({} is known here: datnode pull {})",
                self.latest,
                escape::shell(folder)
            ),
            false => String::new(),
        };
        line("version", format!("{} · {}{newer}", version.number, &version.id.to_string()[..6]));
        self.say_content(folder, &mut line);
        if let Some(Own { changed, removed }) = self.own.as_ref().filter(|own| own.any()) {
            line(
                "changed",
                format!(
                    "{} changed and {} removed here   (datnode verify {} names them)",
                    Things(*changed, "file"),
                    Count(*removed),
                    escape::shell(folder)
                ),
            );
        }
        if let Some(stored) = self.stored() {
            line("store", stored);
        }
        if let (Writing::Here(_), true, 1..) =
            (&self.writing, self.content.missing.is_empty(), self.gone)
        {
            line(
                "history",
                format!(
                    "{} of older versions {} here no longer   (others may have them: datnode recover {})",
                    Things(self.gone, "block"),
                    if self.gone == 1 { "is" } else { "are" },
                    escape::shell(folder)
                ),
            );
        }
        match &self.working {
            Working::None => {}
            Working::Large(files) => line(
                "working",
                format!(
                    "{} are many to look at   (datnode share --dry-run {})",
                    Things(*files, "file"),
                    escape::shell(folder)
                ),
            ),
            Working::Counts(counts) if *counts == Counts::default() => {
                line("working", "as in the drive".to_owned());
            }
            Working::Counts(counts) => {
                line("working", format!("{counts} since the last share"));
            }
        }
        for process in &self.serving {
            let (pid, peers) = (&process["pid"], process["peers"].as_u64().unwrap_or_default());
            let sent = Size(process["bytes_out"].as_u64().unwrap_or_default());
            let peers = Things(peers, "peer");
            line("serving", format!("process {pid}, {peers}, {sent} sent"));
            if let Some(reach) = reached::line_of(&process["reach"]) {
                line("", reach);
            }
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

    /// Says what is here and what is missing, a line at a time.
    fn say_content(&self, folder: &Path, line: &mut impl FnMut(&str, String)) {
        let Content { bytes, here, missing, .. } = &self.content;
        let partial = !self.selection.is_everything();
        let whole = match (missing.is_empty(), partial) {
            (true, false) => "     everything",
            (true, true) => "     everything that is selected",
            (false, _) => "",
        };
        line("here", format!("{} of {}{whole}", Size(*here), Size(*bytes)));
        if partial {
            line("part", format!("{}; the rest is left out", self.content.describe()));
        }
        for (at, Missing { path, bytes, why }) in missing.iter().take(NAMES_MAX).enumerate() {
            let path = escape::bytes(path.as_bytes());
            let title = if at == 0 { "missing" } else { "" };
            line(title, format!("{path}   {}   ({why})", Size(*bytes)));
        }
        if let Some(more) = missing.len().checked_sub(NAMES_MAX + 1) {
            line(
                "",
                format!(
                    "and {} more   (datnode du {})",
                    Count(more as u64 + 1),
                    escape::shell(folder)
                ),
            );
        }
    }

    fn record(&self, folder: &Path, out: &Out) -> Result<(), Error> {
        let (key, version) = (&self.snapshot.drive.key, &self.snapshot.version);
        let working = match self.working {
            Working::Counts(Counts { added, changed, removed }) => {
                json!({ "added": added, "changed": changed, "removed": removed })
            }
            Working::None | Working::Large(_) => Value::Null,
        };
        let missing = self.content.missing.iter().map(|Missing { path, bytes, why }| {
            let mut record = json!({ "bytes": bytes, "why": why });
            escape::json_path(&mut record, path.as_bytes());
            record
        });
        out.record(&json!({
            "drive": { "key": hex(key), "link": Link(key).to_string(), "name": escape::bytes(&self.name) },
            "folder": escape::path(folder), "change": version.number, "version": version.id.to_string(),
            "writes": matches!(self.writing, Writing::Here(_)),
            "files": self.content.files, "bytes": self.content.bytes, "here": self.content.here,
            "selected": self.content.selected.to_json(), "selection": self.selection.to_json(),
            "missing": missing.collect::<Vec<Value>>(),
            "store": self.store, "saved": self.content.saved, "gone": self.gone,
            "latest": self.latest, "own": self.own.as_ref().map(Own::to_json), "working": working,
            "accused": self.accused, "blocks": self.length, "blocks_known": self.behind(),
            "serving": self.serving, "next": self.next(folder),
        }))
    }
}
