//! `datnode du`: how large folders are, how much of them is here, and what the whole drive takes.

use std::collections::BTreeMap;
use std::path::Path;

use datnode_drive::{DrivePath, Entry, Kind};
use serde_json::{Value, json};

use super::content::lacking;
use super::context::open;
use super::missing::missing;
use super::shared::Distinct;
use crate::cli::Du;
use crate::cli::escape;
use crate::cli::output::Out;
use crate::cli::units::{Size, Things};
use crate::disk::store_bytes;
use crate::engine::Snapshot;
use crate::error::Error;

/// What is in a folder, with all below it.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    files: u64,
    bytes: u64,
    here: u64,
}

pub(super) async fn run(args: Du, out: &Out) -> Result<(), Error> {
    let opened = open(args.address.as_deref(), args.at.as_ref(), &args.network, out).await?;
    let snapshot = opened.here().await?;
    let root = &opened.path;
    if !snapshot.has(root).await? {
        return Err(missing(&snapshot, root).await);
    }
    let held = snapshot.held().await?;
    let mut distinct = Distinct::of(&snapshot);
    let depth = if args.summary { 0 } else { args.depth };
    let mut sums: BTreeMap<Vec<u8>, Sum> =
        BTreeMap::from([(root.as_bytes().to_vec(), Sum::default())]);
    let mut count = |path: &DrivePath, entry: &Entry| {
        if entry.kind != Kind::File {
            return;
        }
        distinct.add(entry);
        let lacking = lacking(entry, &held);
        for folder in folders(root, path, depth) {
            let sum = sums.entry(folder).or_default();
            sum.files += 1;
            sum.bytes = sum.bytes.saturating_add(entry.size);
            sum.here = sum.here.saturating_add(entry.size - lacking);
        }
    };
    match snapshot.entry_or_root(root).await? {
        Some(entry) if entry.kind == Kind::File => count(root, &entry),
        _ => {
            snapshot
                .walk_in(root, |path, entry| {
                    count(&path, &entry);
                    Ok(())
                })
                .await?
        }
    }
    let files = sums.get(root.as_bytes()).map_or(0, |sum| sum.bytes);
    let whole = match root.is_root() {
        true => Some(Whole::of(&snapshot, files, distinct.bytes(), opened.folder())?),
        false => None,
    };
    // What is in a folder comes before it, as `du` has it.
    for (path, sum) in sums.iter().rev() {
        if out.json {
            let mut record = json!({ "files": sum.files, "bytes": sum.bytes, "here": sum.here });
            escape::json_path(&mut record, path);
            if let Some(whole) = whole.as_ref().filter(|_| path.is_empty()) {
                whole.add_to(&mut record);
            }
            out.record(&record)?;
            continue;
        }
        let name = if path.is_empty() { ".".to_owned() } else { escape::bytes(path) };
        let (bytes, here) = (Size(sum.bytes).to_string(), percent(sum));
        let files = Things(sum.files, "file");
        out.data(format!("{bytes:>10}  {here:>5}  {name}   ({files})\n").as_bytes())?;
    }
    if let Some(whole) = whole {
        whole.say(out);
    }
    Ok(())
}

/// What there is to say of a drive as a whole.
struct Whole {
    versions: u64,
    /// Bytes of files that need no room, since other files have the same.
    saved: Option<u64>,
    /// Bytes of content that all versions have together, and those of them that no file of this one has.
    history: u64,
    older: Option<u64>,
    /// What the drive's own files take on this disk.
    store: Option<u64>,
}

impl Whole {
    fn of(
        snapshot: &Snapshot,
        files: u64,
        distinct: Option<u64>,
        folder: Option<&Path>,
    ) -> Result<Self, Error> {
        let change = &snapshot.version.change;
        let history = change.feeds.first().map_or(0, |feed| feed.byte_length);
        let store =
            folder.map(|folder| store_bytes(folder).map_err(|error| Error::disk(folder, error)));
        Ok(Self {
            versions: snapshot.version.number,
            saved: distinct.map(|distinct| files.saturating_sub(distinct)),
            history,
            older: distinct.map(|distinct| history.saturating_sub(distinct)),
            store: store.transpose()?,
        })
    }

    fn add_to(&self, record: &mut Value) {
        record["saved"] = self.saved.into();
        record["history"] = self.history.into();
        record["older"] = self.older.into();
        record["store"] = self.store.into();
    }

    fn say(&self, out: &Out) {
        if let Some(saved) = self.saved.filter(|saved| *saved > 0) {
            out.say(format_args!(
                "{:>10}  saved: what files have in common is stored once",
                Size(saved).to_string()
            ));
        }
        if let Some(older) = self.older.filter(|older| *older > 0) {
            let (history, older) = (Size(self.history), Size(older).to_string());
            out.say(format_args!(
                "{older:>10}  of older versions alone; {history} in {}",
                Things(self.versions, "version")
            ));
        }
        if let Some(store) = self.store {
            out.say(format_args!(
                "{:>10}  taken on this disk beside the files",
                Size(store).to_string()
            ));
        }
    }
}

fn percent(sum: &Sum) -> String {
    let percent = (u128::from(sum.here) * 100).checked_div(u128::from(sum.bytes));
    format!("{} %", percent.unwrap_or(100))
}

/// Returns the folders that a file counts for: the root, and those above it down to a depth.
fn folders(root: &DrivePath, path: &DrivePath, depth: usize) -> Vec<Vec<u8>> {
    let mut folders: Vec<Vec<u8>> = std::iter::successors(path.parent(), DrivePath::parent)
        .take_while(|folder| folder.is_within(root) && folder != root)
        .map(|folder| folder.as_bytes().to_vec())
        .collect();
    folders.push(root.as_bytes().to_vec());
    folders.reverse();
    folders.truncate(depth + 1);
    folders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_counts_for_the_folders_above_it() {
        let path = |text: &str| DrivePath::from_bytes(text).unwrap();
        let of = |root: &str, file: &str, depth| {
            let folders = folders(&path(root), &path(file), depth).into_iter();
            folders.map(|folder| String::from_utf8(folder).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(of("", "a/b/c", 9), ["", "a", "a/b"]);
        assert_eq!(of("", "a/b/c", 1), ["", "a"]);
        assert_eq!(of("", "a/b/c", 0), [""]);
        assert_eq!(of("a", "a/b/c", 9), ["a", "a/b"]);
        assert_eq!(of("", "c", 9), [""]);
    }
}
