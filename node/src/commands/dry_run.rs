//! `datnode share --dry-run`: what a share would take in, found out without writing.
//!
//! It decides as the import does: kind, size, mode and time tell, and a file changed shortly before the last import is read.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use datnode_drive::{DrivePath, Entry, Kind};
use serde_json::json;

use super::context::{open, os, read_key};
use super::left_out;
use super::share::rules;
use crate::cli::Share;
use crate::cli::escape;
use crate::cli::output::Out;
use crate::cli::units::{Count, Size};
use crate::error::{Error, reason};
use crate::import::{Found, RACY, Walked, walk};

/// How many things would be added, changed and removed.
#[derive(Default)]
struct Counts {
    added: u64,
    changed: u64,
    removed: u64,
}

pub(super) async fn run(args: &Share, folder: &Path, out: &Out) -> Result<(), Error> {
    let (mut known, racy_from) = match read_key(folder)? {
        Some(_) => entries(args, folder, out).await?,
        None => (BTreeMap::new(), i64::MIN),
    };
    let mut walked = walk(folder, &rules(args))?;
    let mut counts = Counts::default();
    for found in &walked.found {
        let old = known.remove(&found.path);
        match changes(folder, found, old.as_ref(), racy_from) {
            Ok(false) => continue,
            Ok(true) => {}
            Err(error) => {
                walked.unreadable.push((found.path.as_bytes().to_vec(), reason(&error)));
                continue;
            }
        }
        let (sign, count) = match old {
            None => ('+', &mut counts.added),
            Some(_) => ('~', &mut counts.changed),
        };
        *count += 1;
        let size = (found.kind == Kind::File).then_some(found.size);
        show(out, sign, &found.path, found.kind, size)?;
    }
    for (path, entry) in known.iter().filter(|(path, _)| !walked.is_blind(path.as_bytes())) {
        counts.removed += 1;
        show(out, '-', path, entry.kind, None)?;
    }
    if args.show_ignored {
        left_out::list(out, &walked.left_out)?;
    }
    finish(out, &counts, &walked)
}

/// Reads what the drive in the folder holds, and from when on times may hide a change.
async fn entries(
    args: &Share,
    folder: &Path,
    out: &Out,
) -> Result<(BTreeMap<DrivePath, Entry>, i64), Error> {
    let opened = open(Some(folder.as_os_str()), None, &args.network, out).await?;
    let snapshot = opened.snapshot().await?;
    Ok((snapshot.by_path().await?, snapshot.version.change.time.seconds - RACY))
}

/// Tells whether the import would take something in, anew or again.
///
/// # Errors
/// What the system says when a file would have to be read, and cannot be.
fn changes(folder: &Path, found: &Found, old: Option<&Entry>, racy_from: i64) -> io::Result<bool> {
    let changes = match old {
        Some(old) => differs(folder, found, old, racy_from)?,
        None => true,
    };
    if changes && found.kind == Kind::File {
        std::fs::File::open(folder.join(os(found.path.as_bytes())))?;
    }
    Ok(changes)
}

fn differs(folder: &Path, found: &Found, old: &Entry, racy_from: i64) -> io::Result<bool> {
    let same = found.kind == old.kind && found.mtime == old.mtime && found.target == old.target;
    Ok(match found.kind {
        _ if !same => true,
        Kind::Symlink => false,
        Kind::Directory => found.mode != old.mode,
        Kind::File if (found.size, found.mode) != (old.size, old.mode) => true,
        Kind::File => {
            found.mtime.seconds >= racy_from
                && hash(&folder.join(os(found.path.as_bytes())))? != old.content.0
        }
    })
}

fn hash(path: &Path) -> io::Result<[u8; 32]> {
    let mut hasher = blake3::Hasher::new();
    io::copy(&mut std::fs::File::open(path)?, &mut hasher)?;
    Ok(*hasher.finalize().as_bytes())
}

fn show(
    out: &Out,
    sign: char,
    path: &DrivePath,
    kind: Kind,
    size: Option<u64>,
) -> Result<(), Error> {
    if out.json {
        let op = if sign == '-' { "del" } else { "put" };
        let mut record = json!({ "type": op, "new": sign == '+', "size": size });
        escape::json_path(&mut record, path.as_bytes());
        return out.record(&record);
    }
    let slash = if kind == Kind::Directory { "/" } else { "" };
    let size = size.map_or_else(String::new, |size| format!("   {}", Size(size)));
    out.data(format!("{sign} {}{slash}{size}\n", escape::bytes(path.as_bytes())).as_bytes())
}

fn finish(out: &Out, counts: &Counts, walked: &Walked) -> Result<(), Error> {
    let Counts { added, changed, removed } = *counts;
    if out.json {
        let mut record = json!({
            "type": "done", "dry_run": true, "added": added, "changed": changed, "removed": removed,
        });
        left_out::count(&mut record, walked);
        out.record(&record)?;
    }
    left_out::say(out, walked);
    let (added, changed, removed) = (Count(added), Count(changed), Count(removed));
    out.say(format_args!(
        "{added} new, {changed} changed, {removed} removed; a dry run, nothing was written"
    ));
    if walked.unreadable.is_empty() { Ok(()) } else { Err(Error::unreadable(&walked.unreadable)) }
}
