//! `datnode ls`

use std::cmp::Reverse;

use datnode_drive::{DrivePath, Entry, Kind};
use datnode_feed::Bitfield;
use serde_json::json;

use super::content::lacking;
use super::context::open;
use super::missing::missing;
use crate::choice::Chooser;
use crate::cli::escape;
use crate::cli::output::{Lines, Out};
use crate::cli::units::Size;
use crate::cli::{Ls, Sort};
use crate::error::Error;

pub(super) async fn run(args: Ls, out: &Out) -> Result<(), Error> {
    let opened = open(args.address.as_deref(), args.at.as_ref(), &args.network, out).await?;
    let snapshot = opened.here().await?;
    let folder = &opened.path;
    let entry = snapshot.entry_or_root(folder).await?;
    let lines = out.lines();
    let choice = Chooser::of(&opened.selection()?)?;
    let held = snapshot.held().await?;
    let mut list = List { args: &args, json: out.json, folder, lines, held, choice };
    match entry {
        Some(entry) if entry.kind != Kind::Directory => {
            list.show(folder, &entry)?;
            return list.lines.end();
        }
        None if !snapshot.has(folder).await? => return Err(missing(&snapshot, folder).await),
        _ => {}
    }
    if args.long && !out.json {
        list.lines.data(&format!(
            "{:>10}  {:<20}  {:>6}  {:>5}  name\n",
            "size", "changed", "ver", "here"
        ))?;
    }
    let mut all = Vec::new();
    let take = |path: DrivePath, entry: Entry| match args.sort {
        Sort::Name => list.show(&path, &entry),
        Sort::Size | Sort::Time => {
            all.push((path, entry));
            Ok(())
        }
    };
    let ended = match args.recursive {
        true => snapshot.walk_in(folder, take).await,
        false => snapshot.list(folder, take).await,
    };
    match args.sort {
        Sort::Name => {}
        Sort::Size => all.sort_by_key(|(_, entry)| Reverse(entry.size)),
        Sort::Time => all.sort_by_key(|(_, entry)| Reverse(entry.mtime)),
    }
    let shown = all.iter().try_for_each(|(path, entry)| list.show(path, entry));
    list.lines.end().and(ended).and(shown)
}

/// Names on their way to stdout.
struct List<'a> {
    args: &'a Ls,
    json: bool,
    folder: &'a DrivePath,
    lines: Lines,
    /// The blocks of the content that are here.
    held: Bitfield,
    /// What is wanted here.
    choice: Chooser,
}

impl List<'_> {
    fn show(&mut self, path: &DrivePath, entry: &Entry) -> Result<(), Error> {
        let is_file = entry.kind == Kind::File;
        let lacks = if self.json || self.args.long || self.args.missing {
            lacking(entry, &self.held)
        } else {
            0
        };
        let wanted = self.choice.takes(path, entry.kind);
        // What nobody wanted is not missing.
        if self.args.missing && (lacks == 0 || !wanted) {
            return Ok(());
        }
        let here = entry.size - lacks;
        if self.json {
            let mut record = json!({
                "type": kind(entry.kind), "size": entry.size, "mode": format!("{:04o}", entry.mode),
                "mtime": time(entry), "change": entry.change,
            });
            escape::json_path(&mut record, path.as_bytes());
            match entry.kind {
                Kind::File => {
                    record["here"] = here.into();
                    record["selected"] = wanted.into();
                }
                Kind::Symlink => record["target"] = escape::bytes(&entry.target).into(),
                Kind::Directory => {}
            }
            return self.lines.record(&record);
        }
        let name = path.as_bytes().get(self.folder.as_bytes().len()..).unwrap_or_default();
        let name = escape::bytes(name.strip_prefix(b"/").unwrap_or(name));
        let name = if name.is_empty() { escape::bytes(path.as_bytes()) } else { name };
        let name = match entry.kind {
            Kind::Directory => format!("{name}/"),
            Kind::Symlink if self.args.long => {
                format!("{name} -> {}", escape::bytes(&entry.target))
            }
            _ => name,
        };
        if !self.args.long {
            return self.lines.data(&format!("{name}\n"));
        }
        let none = || "–".to_owned();
        let size = if is_file { Size(entry.size).to_string() } else { none() };
        let percent = u128::from(here) * 100 / u128::from(entry.size.max(1));
        let here = match lacks {
            _ if !is_file || !wanted && here == 0 => none(),
            0 => "100 %".to_owned(),
            _ => format!("{percent} %"),
        };
        let (time, change) = (time(entry), entry.change);
        self.lines.data(&format!("{size:>10}  {time:<20}  {change:>6}  {here:>5}  {name}\n"))
    }
}

/// Returns what scripts call a kind of entry.
pub(super) fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::File => "file",
        Kind::Symlink => "symlink",
        Kind::Directory => "directory",
    }
}

/// Returns when an entry changed, as RFC 3339 in whole seconds.
pub(super) fn time(entry: &Entry) -> String {
    jiff::Timestamp::from_second(entry.mtime.seconds)
        .map_or_else(|_| "–".into(), |time| time.to_string())
}
