//! A difference of text files, line by line, in the unified form.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::time::Duration;

use datnode_drive::{Difference, DrivePath, Entry, Kind};
use similar::TextDiff;

use super::sides::{New, Sides};
use crate::cli::escape;
use crate::cli::units::Size;
use crate::commands::context::os;
use crate::engine::Snapshot;
use crate::error::Error;

/// Larger files are not compared line by line.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// How long it may take to find the shortest way from one text to the other; then a longer one does.
const SEARCH: Duration = Duration::from_secs(1);

/// Where the texts are.
pub(super) struct Patches<'a> {
    sides: &'a Sides,
}

impl<'a> Patches<'a> {
    pub(super) fn new(sides: &'a Sides) -> Self {
        Self { sides }
    }

    /// Returns the lines that differ; nothing if the bytes are the same.
    pub(super) async fn of(&self, difference: &Difference) -> Result<String, Error> {
        let Difference { path, old, new } = difference;
        let file = |entry: &&Entry| entry.kind == Kind::File;
        let (old, new) = (old.as_ref().filter(file), new.as_ref().filter(file));
        if old.map(|entry| entry.chunks) == new.map(|entry| entry.chunks) {
            return Ok(String::new());
        }
        let size = [old, new].into_iter().flatten().map(|entry| entry.size).max();
        if size.is_some_and(|size| size > FILE_BYTES_MAX) {
            let most = Size(FILE_BYTES_MAX);
            return Ok(format!("  (not compared by lines: more than {most})\n"));
        }
        let before = match old {
            Some(old) => read(&self.sides.old, old).await?,
            None => Vec::new(),
        };
        let after = match (new, &self.sides.new) {
            (Some(new), New::Version(version)) => read(version, new).await?,
            (Some(_), New::Folder(folder)) => {
                let path = folder.join(os(path.as_bytes()));
                read_file(&path).map_err(|error| Error::io("read", &path, &error))?
            }
            (None, _) => Vec::new(),
        };
        let sides = [old.is_some(), new.is_some()];
        Ok(unified(path, sides, &before, &after))
    }
}

/// Reads a file, but no more of one that grew meanwhile.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

async fn read(snapshot: &Snapshot, entry: &Entry) -> Result<Vec<u8>, Error> {
    let mut all = Vec::new();
    let take = async |bytes: Vec<u8>| {
        all.extend_from_slice(&bytes);
        Ok(())
    };
    snapshot.read(entry, 0..entry.size, take).await?;
    Ok(all)
}

/// Returns the lines that differ. What would fool a terminal is escaped: whoever wants the bytes reads the files.
fn unified(path: &DrivePath, [old, new]: [bool; 2], before: &[u8], after: &[u8]) -> String {
    let (Some(before), Some(after)) = (text(before), text(after)) else {
        return "  (not text)\n".to_owned();
    };
    let name = escape::bytes(path.as_bytes());
    let name = |side: &str, is_there: bool| match is_there {
        true => format!("{side}/{name}"),
        false => "/dev/null".to_owned(),
    };
    let found = TextDiff::configure().timeout(SEARCH).diff_lines(before, after);
    let patch = found.unified_diff().header(&name("a", old), &name("b", new)).to_string();
    let mut shown = String::with_capacity(patch.len());
    for line in patch.lines() {
        let parts: Vec<String> = line.split('\t').map(escape::controls).collect();
        shown.push_str(&parts.join("\t"));
        shown.push('\n');
    }
    shown
}

/// Returns bytes as text, if they are.
fn text(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    (!text.contains('\0')).then_some(text)
}
