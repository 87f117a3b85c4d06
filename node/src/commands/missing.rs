//! What to say of a path that is not there: the names that were perhaps meant.

use datnode_drive::{DrivePath, Kind};

use crate::cli::escape;
use crate::engine::Snapshot;
use crate::error::{Error, nearest};

/// How many names of a folder are looked at; a drive's author chooses how many there are.
const NAMES_MAX: usize = 100_000;

/// Says that a path is not there, and which names of its folder are like it.
pub(super) async fn missing(snapshot: &Snapshot, path: &DrivePath) -> Error {
    let shown = escape::bytes(path.as_bytes());
    let error = |near: &[Vec<u8>]| {
        Error::not_found(format!("there is no {shown} in this version"), near)
            .field("path", shown.as_str())
            .hint("datnode ls shows what there is")
    };
    // A hint is not worth another failure, such as peers that are gone.
    error(&near(snapshot, path).await.unwrap_or_default())
}

/// Returns the paths that differ from `path` in the first name that is not there.
async fn near(snapshot: &Snapshot, path: &DrivePath) -> Result<Vec<Vec<u8>>, Error> {
    let (folder, wanted) = first_missing(snapshot, path).await?;
    let mut names = Vec::new();
    let keep = |path: DrivePath, _| {
        if names.len() < NAMES_MAX {
            names.push(path.base().unwrap_or_default().to_vec());
        }
        Ok(())
    };
    snapshot.list(&folder, keep).await?;
    let full = |name: Vec<u8>| folder.join(&name).ok().map(|path| path.as_bytes().to_vec());
    Ok(nearest(&wanted, names).into_iter().filter_map(full).collect())
}

/// Returns the deepest folder on the way to `path` that is there, and the name that it lacks.
async fn first_missing(
    snapshot: &Snapshot,
    path: &DrivePath,
) -> Result<(DrivePath, Vec<u8>), Error> {
    let mut at = path.clone();
    loop {
        let name = at.base().unwrap_or_default().to_vec();
        let Some(folder) = at.parent().filter(|folder| !folder.is_root()) else {
            return Ok((DrivePath::root(), name));
        };
        if snapshot.entry(&folder).await?.is_some_and(|entry| entry.kind == Kind::Directory) {
            return Ok((folder, name));
        }
        at = folder;
    }
}
