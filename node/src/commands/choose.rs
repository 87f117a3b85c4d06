//! `datnode include` and `datnode exclude`: change what a clone fetches.
//!
//! What is chosen is kept in the clone's folder and counts when it is fetched the next time; nothing is fetched or removed here.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use datnode_feed::PublicKey;
use serde_json::json;

use super::content::{Content, Why, lacking};
use super::context::{Opened, folder_of, open, read_key};
use super::status::{Writing, writing};
use crate::address::key::{hex, is_keylike};
use crate::address::{self, Address, Link, find_drive};
use crate::choice::{Choice, Chooser, parse_glob};
use crate::cli::escape;
use crate::cli::output::Out;
use crate::cli::units::{Size, Things};
use crate::cli::{Choose, Network};
use crate::control::{Question, ask};
use crate::dirs::Dirs;
use crate::drives::Drives;
use crate::engine::Reach;
use crate::error::{Code, Error, nearest};

/// Which list of globs a command is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    Include,
    Exclude,
}

impl List {
    fn of(self, selection: &mut Choice) -> &mut Vec<String> {
        match self {
            Self::Include => &mut selection.include,
            Self::Exclude => &mut selection.exclude,
        }
    }
}

pub(super) async fn run(args: Choose, list: List, out: &Out) -> Result<(), Error> {
    let (folder, globs) = place(&args.words)?;
    let key = read_key(&folder)?.ok_or_else(|| Error::not_drive(&folder))?;
    if matches!(writing(&key, &folder)?, Writing::Here(_)) {
        return Err(Error::usage("this drive is written here: all of it is in the folder").hint(
            "what a share leaves out is said by .datignore and --ignore: datnode help ignore",
        ));
    }
    let before = Choice::kept(&folder)?;
    let mut now = before.clone();
    let shows = globs.is_empty() && args.remove.is_empty() && !args.clear;
    if shows && !out.json {
        return show(list.of(&mut now), list, before.sparse, out);
    }
    change(list.of(&mut now), &args, globs)?;
    now.keep(&folder)?;
    let seen = Here::of(&folder, &before, &now, out).await;
    if let Err(error) = &seen {
        tracing::debug!(error = error.message(), "what is here of it cannot be told");
    }
    let told = Told { key, folder, changed: before != now, selection: now, seen: seen.ok() };
    if out.json { told.record(out) } else { told.say(out) }
}

/// Prints a list, a glob a line.
fn show(globs: &[String], list: List, sparse: bool, out: &Out) -> Result<(), Error> {
    match (list, globs, sparse) {
        (List::Include, [], false) => out.say("everything is included"),
        (List::Include, [], true) => out.say("nothing is included: the clone is sparse"),
        (List::Exclude, [], _) => out.say("nothing is excluded"),
        _ => {}
    }
    let lines: String = globs.iter().map(|glob| escape::text(glob) + "\n").collect();
    out.data(lines.as_bytes())
}

/// Changes a list of globs as a command line says.
fn change(list: &mut Vec<String>, args: &Choose, globs: Vec<String>) -> Result<(), Error> {
    if args.clear {
        list.clear();
    }
    for glob in &args.remove {
        let Some(at) = list.iter().position(|one| one == glob) else {
            let near = nearest(glob.as_bytes(), list.iter().map(|one| one.clone().into_bytes()));
            let none = format!("{} is not in the list", escape::text(glob));
            return Err(Error::not_found(none, &near));
        };
        list.remove(at);
    }
    for glob in globs {
        if !list.contains(&glob) {
            list.push(glob);
        }
    }
    Ok(())
}

/// Returns the folder of the clone that is meant, and the globs: the first word may be an address.
pub(super) fn place(words: &[OsString]) -> Result<(PathBuf, Vec<String>), Error> {
    let globs =
        |words: &[OsString]| words.iter().map(|word| glob(word)).collect::<Result<_, Error>>();
    if let Some((first, rest)) = words.split_first()
        && is_drive(first)?
    {
        return Ok((folder_of(Path::new(first))?, globs(rest)?));
    }
    let here = find_drive(Path::new("."));
    let here = here.map_err(|error| error.hint("or name the clone's folder before the globs"))?;
    Ok((here, globs(words)?))
}

/// Tells whether a word is a drive, and no glob: a key, a name, or the folder of a drive. A folder in a drive is a glob.
fn is_drive(word: &OsStr) -> Result<bool, Error> {
    let drives = Drives::of(&Dirs::find()?);
    match Address::parse(word, Path::new("."), &drives) {
        Ok(Address { drive: address::Drive::Folder(_), path, .. }) => Ok(path.is_empty()),
        Ok(_) => Ok(true),
        Err(error) => {
            let drive = word.as_bytes().split(|byte| matches!(byte, b'/' | b'+')).next();
            // A mistyped key is no glob, nor is what could be two drives.
            let wrong = is_keylike(drive.unwrap_or_default()) || error.code() == Code::Usage;
            if wrong { Err(error) } else { Ok(false) }
        }
    }
}

fn glob(word: &OsStr) -> Result<String, Error> {
    let shown = || escape::bytes(word.as_bytes());
    let text = word.to_str();
    let text = text.ok_or_else(|| Error::usage(format!("{} is no UTF-8: no glob", shown())))?;
    parse_glob(text).map_err(|why| Error::usage(format!("“{}” is no glob: {why}", shown())))
}

/// What is there of a drive, by a selection.
struct Here {
    content: Content,
    /// Files that are left out since now, of which something is here.
    stays: u64,
    /// The process that fetches it.
    fetching: Option<u64>,
}

impl Here {
    async fn of(folder: &Path, before: &Choice, now: &Choice, out: &Out) -> Result<Self, Error> {
        let opened = open(Some(folder.as_os_str()), None, &Network::none(), out).await?;
        let fetching = fetching(&opened).await;
        let snapshot = opened.snapshot().await?;
        let (held, before, now) = (snapshot.held().await?, Chooser::of(before)?, Chooser::of(now)?);
        let content = Content::of(&snapshot, &Why::Idle(None), &now).await?;
        let mut stays = 0;
        let count = |path, entry: datnode_drive::Entry| {
            let is_left = || before.takes(&path, entry.kind) && !now.takes(&path, entry.kind);
            let is_here = || entry.size > 0 && lacking(&entry, &held) < entry.size;
            stays += u64::from(is_here() && is_left());
            Ok(())
        };
        if !now.is_everything() {
            snapshot.walk(count).await?;
        }
        Ok(Self { content, stays, fetching })
    }
}

/// Returns the process that fetches a drive whose store it has.
async fn fetching(opened: &Opened) -> Option<u64> {
    let Reach::Owner { socket, .. } = &opened.drive.patience.reach else { return None };
    let state = ask(socket, Some(&opened.drive.key), &Question::State).await.ok()?;
    state["pid"].as_u64().filter(|_| state["fetches"] == true)
}

/// What is told in the end.
struct Told {
    key: PublicKey,
    folder: PathBuf,
    changed: bool,
    selection: Choice,
    seen: Option<Here>,
}

impl Told {
    /// Returns the command that fetches what is missing, if anything is.
    fn next(&self) -> Option<String> {
        let missing = self.seen.as_ref().is_none_or(|seen| !seen.content.missing.is_empty());
        let (link, folder) = (Link(&self.key), escape::shell(&self.folder));
        missing.then(|| format!("datnode clone {link} {folder}"))
    }

    fn say(self, out: &Out) -> Result<(), Error> {
        let next = self.next();
        let Some(Here { content, stays, fetching }) = self.seen else {
            out.say("Kept; it counts when the drive is fetched the next time");
            return Ok(());
        };
        out.say(format_args!("✓ {}", content.describe()));
        if self.changed && stays > 0 {
            let are = if stays == 1 { "is here and" } else { "are here and" };
            let stays = Things(stays, "file");
            out.say(format_args!(
                "  {stays} left out now {are} will stay, no longer brought up to date",
            ));
        }
        if let Some(pid) = fetching.filter(|_| self.changed) {
            out.say(format_args!(
                "  process {pid} fetches what was selected when it began; this counts from the next clone on"
            ));
        }
        if self.selection.sparse && self.selection.include.is_empty() {
            out.say("  the clone is sparse: datnode clone --no-sparse fetches the files");
        }
        let lacks = content.selected.bytes.saturating_sub(content.selected.here);
        if let Some(next) = next {
            out.say(format_args!("  next: {next}     {} to fetch", Size(lacks)));
        }
        Ok(())
    }

    fn record(&self, out: &Out) -> Result<(), Error> {
        let content = self.seen.as_ref().map(|seen| &seen.content);
        out.record(&json!({
            "drive": { "key": hex(&self.key), "link": Link(&self.key).to_string() },
            "folder": escape::path(&self.folder), "changed": self.changed,
            "selection": self.selection.to_json(),
            "files": content.map(|content| content.files), "bytes": content.map(|content| content.bytes),
            "selected": content.map(|content| content.selected.to_json()),
            "stays": self.seen.as_ref().map(|seen| seen.stays),
            "fetching": self.seen.as_ref().and_then(|seen| seen.fetching),
            "next": self.next(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(globs: &[&str]) -> Vec<String> {
        globs.iter().map(|&glob| glob.to_owned()).collect()
    }

    #[test]
    fn a_list_is_added_to_taken_from_and_cleared() {
        let mut globs = list(&["a", "b"]);
        let args =
            |remove: &[&str], clear| Choose { words: Vec::new(), remove: list(remove), clear };
        change(&mut globs, &args(&[], false), list(&["c", "a"])).unwrap();
        assert_eq!(globs, ["a", "b", "c"]);
        change(&mut globs, &args(&["a"], false), Vec::new()).unwrap();
        assert_eq!(globs, ["b", "c"]);
        let error = change(&mut globs, &args(&["bb"], false), Vec::new()).unwrap_err();
        assert_eq!(error.code(), Code::NotFound);
        change(&mut globs, &args(&[], true), list(&["d"])).unwrap();
        assert_eq!(globs, ["d"]);
    }
}
