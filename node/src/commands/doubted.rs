//! Blocks that a repair dropped and has not brought back yet, noted in `.dat/doubted`, a line each: `FEED BLOCK`.
//!
//! The store does not know any more where such a block was. Without the note, a repair that was cut short would leave damage in a
//! file that nobody looks for.

use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{DRIVE_FOLDER, read_small, replace};
use crate::error::Error;

/// A million blocks take some 16 MiB.
const LEN_MAX: u64 = 64 << 20;

fn file(folder: &Path) -> PathBuf {
    folder.join(DRIVE_FOLDER).join("doubted")
}

/// Returns the blocks that are noted, each with the name of its feed; lines that nobody wrote are skipped.
pub(super) fn doubted(folder: &Path) -> Result<Vec<(String, u64)>, Error> {
    let path = file(folder);
    let bytes = match read_small(&path, LEN_MAX) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.map_err(|error| Error::io("read", &path, &error))?,
    };
    let text = String::from_utf8_lossy(&bytes);
    let line = |line: &str| {
        let (feed, block) = line.split_once(' ')?;
        Some((feed.to_owned(), block.parse().ok()?))
    };
    Ok(text.lines().filter_map(line).collect())
}

/// Notes these blocks and no others.
pub(super) fn note<'a>(
    folder: &Path,
    blocks: impl Iterator<Item = (&'a str, u64)>,
) -> Result<(), Error> {
    let lines: String = blocks.map(|(feed, block)| format!("{feed} {block}\n")).collect();
    let path = file(folder);
    if !lines.is_empty() {
        return replace(&path, lines.as_bytes());
    }
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("remove", &path, &error))
        }
        _ => Ok(()),
    }
}
