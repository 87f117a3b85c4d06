//! `datnode ls`

use datnode_drive::{DrivePath, Entry, Kind};
use serde_json::json;

use super::context::open;
use super::missing::missing;
use crate::cli::Ls;
use crate::cli::escape;
use crate::cli::output::{Lines, Out};
use crate::cli::units::Size;
use crate::error::Error;

pub(super) async fn run(args: Ls, out: &Out) -> Result<(), Error> {
    let opened = open(args.address.as_deref(), args.at.as_ref(), &args.network, out).await?;
    let snapshot = opened.snapshot().await?;
    let folder = &opened.path;
    let entry = snapshot.entry_or_root(folder).await?;
    match entry {
        Some(entry) if entry.kind != Kind::Directory => {
            let mut lines = out.lines();
            show(&mut lines, out.json, (folder, folder), &entry, args.long)?;
            return lines.end();
        }
        None if !snapshot.has(folder).await? => return Err(missing(&snapshot, folder).await),
        _ => {}
    }
    let mut lines = out.lines();
    let print = |path: DrivePath, entry: Entry| {
        show(&mut lines, out.json, (folder, &path), &entry, args.long)
    };
    let ended = match args.recursive {
        true => snapshot.walk_in(folder, print).await,
        false => snapshot.list(folder, print).await,
    };
    lines.end().and(ended)
}

fn show(
    lines: &mut Lines,
    json: bool,
    (folder, path): (&DrivePath, &DrivePath),
    entry: &Entry,
    long: bool,
) -> Result<(), Error> {
    if json {
        let mut record = json!({
            "type": kind(entry.kind), "size": entry.size, "mode": format!("{:04o}", entry.mode),
            "mtime": time(entry), "change": entry.change,
        });
        escape::json_path(&mut record, path.as_bytes());
        if entry.kind == Kind::Symlink {
            record["target"] = escape::bytes(&entry.target).into();
        }
        return lines.record(&record);
    }
    let name = path.as_bytes().get(folder.as_bytes().len()..).unwrap_or_default();
    let name = escape::bytes(name.strip_prefix(b"/").unwrap_or(name));
    let name = if name.is_empty() { escape::bytes(path.as_bytes()) } else { name };
    let name = match entry.kind {
        Kind::Directory => format!("{name}/"),
        Kind::Symlink if long => format!("{name} -> {}", escape::bytes(&entry.target)),
        _ => name,
    };
    if !long {
        return lines.data(&format!("{name}\n"));
    }
    let size =
        if entry.kind == Kind::File { Size(entry.size).to_string() } else { "–".to_owned() };
    lines.data(&format!("{size:>10}  {}  {:>6}  {name}\n", time(entry), entry.change))
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
