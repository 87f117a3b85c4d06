//! `datnode du`: how large folders are, and how much of them is here.

use std::collections::BTreeMap;

use datnode_drive::{DrivePath, Entry, Kind};
use serde_json::json;

use super::content::lacking;
use super::context::open;
use super::missing::missing;
use crate::cli::Du;
use crate::cli::escape;
use crate::cli::output::Out;
use crate::cli::units::{Size, Things};
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
    let snapshot = opened.snapshot().await?;
    let root = &opened.path;
    if !snapshot.has(root).await? {
        return Err(missing(&snapshot, root).await);
    }
    let held = snapshot.held().await?;
    let depth = if args.summary { 0 } else { args.depth };
    let mut sums: BTreeMap<Vec<u8>, Sum> =
        BTreeMap::from([(root.as_bytes().to_vec(), Sum::default())]);
    let mut count = |path: &DrivePath, entry: &Entry| {
        if entry.kind != Kind::File {
            return;
        }
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
    // What is in a folder comes before it, as `du` has it.
    for (path, sum) in sums.iter().rev() {
        if out.json {
            let mut record = json!({ "files": sum.files, "bytes": sum.bytes, "here": sum.here });
            escape::json_path(&mut record, path);
            out.record(&record)?;
            continue;
        }
        let name = if path.is_empty() { ".".to_owned() } else { escape::bytes(path) };
        let (bytes, here) = (Size(sum.bytes).to_string(), percent(sum));
        let files = Things(sum.files, "file");
        out.data(format!("{bytes:>10}  {here:>5}  {name}   ({files})\n").as_bytes())?;
    }
    Ok(())
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
