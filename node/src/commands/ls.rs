//! `datnode ls`

use datnode_drive::{DrivePath, Entry, Kind};
use serde_json::json;

use super::context::open;
use super::missing::missing;
use crate::cli::Ls;
use crate::cli::escape;
use crate::cli::output::Out;
use crate::cli::units::Size;
use crate::error::Error;

pub(super) async fn run(args: Ls, out: &Out) -> Result<(), Error> {
    let opened = open(args.address.as_deref(), args.at.as_ref(), &args.network, out).await?;
    let snapshot = opened.snapshot().await?;
    let folder = &opened.path;
    let entry = snapshot.entry_or_root(folder).await?;
    match entry {
        Some(entry) if entry.kind != Kind::Directory => {
            return show(out, folder, folder, &entry, args.long);
        }
        None if !snapshot.has(folder).await? => return Err(missing(&snapshot, folder).await),
        _ => {}
    }
    let print = |path: DrivePath, entry: Entry| show(out, folder, &path, &entry, args.long);
    if args.recursive {
        snapshot.walk_in(folder, print).await
    } else {
        snapshot.list(folder, print).await
    }
}

fn show(
    out: &Out,
    folder: &DrivePath,
    path: &DrivePath,
    entry: &Entry,
    long: bool,
) -> Result<(), Error> {
    if out.json {
        let mut record = json!({
            "type": kind(entry.kind), "size": entry.size, "mode": format!("{:04o}", entry.mode),
            "mtime": time(entry), "change": entry.change,
        });
        escape::json_path(&mut record, path.as_bytes());
        if entry.kind == Kind::Symlink {
            record["target"] = escape::bytes(&entry.target).into();
        }
        return out.record(&record);
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
        return out.data(format!("{name}\n").as_bytes());
    }
    let size =
        if entry.kind == Kind::File { Size(entry.size).to_string() } else { "–".to_owned() };
    out.data(format!("{size:>10}  {}  {:>6}  {name}\n", time(entry), entry.change).as_bytes())
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
