//! Which names of a version can stand beside one another, and on this disk at all.
//!
//! What lies below a file or a link of the same version has no place anywhere. Which names a file system takes for one and the
//! same, and which it cannot hold, it is asked itself, in a folder of ours: of names that clash the first one lands, in the
//! order of their bytes, and the others are refused, never merged.
//! Elsewhere: names that must not land whatever the disk (`datnode_drive::SafePath`).

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hasher as _};
use std::io;

use datnode_drive::{Entry, Kind, SafePath, TEMPORARY_PREFIX};
use rustix::fs::{self as sys, AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::target::Folder;
use crate::disk::DRIVE_FOLDER;
use crate::disk::beneath::{join, split};

/// Something above it is no folder.
const BELOW_NO_FOLDER: &str = "something above it is no folder";
/// The file system takes it for a name before it.
const SAME: &str = "this disk takes it for another name of the drive";
/// The file system does not take it.
const IMPOSSIBLE: &str = "this disk cannot hold such a name";

/// Longer names are plain on no disk in doubt: some file systems encrypt names, which makes them longer.
const PLAIN_BYTES_MAX: usize = 100;
/// Pairs that are different names, but not everywhere; and names that not all can hold.
const PAIRS: [[&[u8]; 2]; 4] =
    [[b"a", b"A"], ["\u{e9}".as_bytes(), "e\u{301}".as_bytes()], [b"b.", b"b"], [b"c ", b"c"]];
const ODD: [&[u8]; 4] = [b"d:?", b"\xff", b"aux", &[b'e'; 255]];

type Entries = [(SafePath, Entry)];

/// Returns the names that cannot land beside the others, and why. `entries` is in the order of the drive.
pub(super) fn refused(folder: &Folder, entries: &Entries) -> io::Result<Vec<Option<&'static str>>> {
    let below = below_no_folder(entries);
    let clashes = clashes(folder, entries, &below)?;
    let why = |(number, (path, _)): (usize, &(SafePath, Entry))| {
        let clash = || {
            let mut line = std::iter::once(path.as_bytes()).chain(above(path.as_bytes()));
            line.find_map(|path| clashes.get(path).copied())
        };
        below.contains(&number).then_some(BELOW_NO_FOLDER).or_else(clash)
    };
    Ok(entries.iter().enumerate().map(why).collect())
}

/// Returns the folders above a path, innermost first.
fn above(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::successors(Some(split(path).0), |path| Some(split(path).0))
        .take_while(|path| !path.is_empty())
}

/// Returns the entries below one that is no folder.
fn below_no_folder(entries: &Entries) -> HashSet<usize> {
    let folders: HashSet<&[u8]> = folders(entries.iter().map(|(path, _)| path.as_bytes()));
    let no_folders = entries.iter().filter(|(_, entry)| entry.kind != Kind::Directory);
    let barred = no_folders.map(|(path, _)| path.as_bytes()).filter(|path| folders.contains(path));
    let barred: HashSet<&[u8]> = barred.collect();
    let is_below = |path: &SafePath| {
        !barred.is_empty() && above(path.as_bytes()).any(|path| barred.contains(path))
    };
    let numbers = entries.iter().enumerate().filter(|(_, (path, _))| is_below(path));
    numbers.map(|(number, _)| number).collect()
}

/// Returns all folders above these paths.
fn folders<'e>(paths: impl Iterator<Item = &'e [u8]>) -> HashSet<&'e [u8]> {
    let mut folders = HashSet::new();
    let mut last: &[u8] = &[];
    for path in paths {
        // Mostly the one before is in the same folder.
        if split(path).0 != last {
            last = split(path).0;
            above(path).take_while(|folder| folders.insert(*folder)).for_each(drop);
        }
    }
    folders
}

/// Returns the names that the disk takes for others or cannot hold, without what is below them.
fn clashes(
    folder: &Folder,
    entries: &Entries,
    but: &HashSet<usize>,
) -> io::Result<HashMap<Vec<u8>, &'static str>> {
    let entries = entries.iter().enumerate().filter(|(number, _)| !but.contains(number));
    let paths = entries.map(|(_, (path, _))| path.as_bytes());
    let folders = folders(paths.clone());
    let mut names: Vec<(&[u8], &[u8])> = paths.chain(folders).map(split).collect();
    names.sort_unstable();
    names.dedup();
    let mut doubtful = names.chunk_by(|one, other| one.0 == other.0).map(doubtful).peekable();
    let mut clashes = HashMap::new();
    while doubtful.next_if(Vec::is_empty).is_some() {}
    if doubtful.peek().is_none() {
        return Ok(clashes);
    }
    let Some(scratch) = Scratch::new(folder).filter(|scratch| !scratch.is_exact()) else {
        return Ok(clashes);
    };
    for names in doubtful {
        let mut made = Vec::new();
        for (parent, base) in names {
            match scratch.make(base) {
                Ok(()) => made.push(base),
                Err(Errno::EXIST) => drop(clashes.insert(join(parent, base), SAME)),
                Err(error) if is_ours(error) => return Err(error.into()),
                Err(_) => drop(clashes.insert(join(parent, base), IMPOSSIBLE)),
            }
        }
        made.into_iter().for_each(|base| scratch.unmake(base));
    }
    Ok(clashes)
}

/// Tells an error of the disk from one of the name.
fn is_ours(error: Errno) -> bool {
    matches!(
        error,
        Errno::NOSPC | Errno::DQUOT | Errno::IO | Errno::ROFS | Errno::MFILE | Errno::NFILE
    )
}

/// Returns the names of one folder about which some file system might have a view of its own.
fn doubtful<'e>(names: &[(&'e [u8], &'e [u8])]) -> Vec<(&'e [u8], &'e [u8])> {
    // Characters that fold into several, and the short names of FAT, clash with names that look like anything.
    if names.iter().any(|(_, base)| !base.is_ascii() || base.contains(&b'~')) {
        return names.to_vec();
    }
    // Names are counted by a hash: that two of a million share one by chance does no harm.
    let lower = |base: &[u8]| {
        let mut hasher = DefaultHasher::new();
        base.iter().for_each(|byte| hasher.write_u8(byte.to_ascii_lowercase()));
        hasher.finish()
    };
    let mut counts: HashMap<u64, u32> = HashMap::new();
    for (_, base) in names {
        *counts.entry(lower(base)).or_default() += 1;
    }
    let stands_out = |base: &[u8]| !is_plain(base) || counts.get(&lower(base)) != Some(&1);
    names.iter().copied().filter(|(_, base)| stands_out(base)).collect()
}

/// Tells whether any file system holds this name as it is.
fn is_plain(base: &[u8]) -> bool {
    let stem = base.split(|byte| *byte == b'.').next().unwrap_or_default().to_ascii_lowercase();
    let is_device = matches!(&stem[..], b"con" | b"prn" | b"aux" | b"nul" | b"clock$")
        || matches!(&stem[..], [b'c', b'o', b'm', _] | [b'l', b'p', b't', _]);
    base.len() <= PLAIN_BYTES_MAX
        && !is_device
        && !matches!(base.last(), Some(b'.' | b' '))
        && base.iter().all(|byte| matches!(byte, b' '..=b'~') && !b"\"*:<>?\\|".contains(byte))
}

/// A folder of ours on the same disk, in which names are tried out; it is gone when this is dropped.
struct Scratch<'f> {
    folder: &'f Folder,
    path: Vec<u8>,
    handle: std::os::fd::OwnedFd,
}

impl<'f> Scratch<'f> {
    /// Makes it; `None` where nothing can be made.
    fn new(folder: &'f Folder) -> Option<Self> {
        let store = DRIVE_FOLDER.as_bytes();
        let parent =
            if folder.look(store).is_some_and(|there| there.directory) { store } else { b"" };
        let path = join(parent, &[TEMPORARY_PREFIX, b"names"].concat());
        folder.make(&path).ok()?;
        let handle = folder.handle(&path).ok()?;
        // What a run left that was cut short.
        let scratch = Self { folder, path, handle };
        scratch.folder.names(&scratch.path).ok()?.iter().for_each(|base| scratch.unmake(base));
        Some(scratch)
    }

    /// Tells whether the disk takes names for bytes.
    fn is_exact(&self) -> bool {
        let names = || PAIRS.iter().flatten().chain(&ODD);
        let exact = names().all(|name| self.make(name).is_ok());
        names().for_each(|name| self.unmake(name));
        exact
    }

    fn make(&self, base: &[u8]) -> Result<(), Errno> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        sys::openat(&self.handle, base, flags, Mode::from_raw_mode(0o600)).map(drop)
    }

    fn unmake(&self, base: &[u8]) {
        // Of two names that are one, the other is gone already.
        let _ = sys::unlinkat(&self.handle, base, AtFlags::empty());
    }
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        // What stays is cleared away by the next run, and is no name that may land.
        let _ = self.folder.remove(&self.path, &super::earlier::Was::Directory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_some_disk_could_confuse_are_tried_out() {
        let table: &[(&[&str], &[&str])] = &[
            (&["a", "b.txt", "c d", ".git", "Makefile", "-rf", "a.b"], &[]),
            (&["README", "other", "readme"], &["README", "readme"]),
            (&["a", "a.", "a ", "b"], &["a.", "a "]),
            (
                &["a:b", "con", "con.txt", "console", "com1", "q?"],
                &["a:b", "con", "con.txt", "com1", "q?"],
            ),
            (&["plain", "é"], &["plain", "é"]),
            (&["longer name", "LONGER~1"], &["longer name", "LONGER~1"]),
            (&["new\nline", "x"], &["new\nline"]),
        ];
        for (names, right) in table {
            let of = |names: &'static [&'static str]| -> Vec<(&[u8], &[u8])> {
                names.iter().map(|name| (&b"in"[..], name.as_bytes())).collect()
            };
            assert_eq!(doubtful(&of(names)), of(right), "{names:?}");
        }
        assert!(!is_plain(&[b'x'; PLAIN_BYTES_MAX + 1]));
    }

    #[test]
    fn what_was_tried_out_is_gone_again() {
        let folder = tempfile::tempdir().expect("there is room");
        let beneath = crate::disk::beneath::Beneath::open(folder.path()).expect("it was made");
        let files = Folder::new(beneath);
        let scratch = Scratch::new(&files).expect("there is room");
        assert!(scratch.is_exact() && scratch.is_exact(), "nothing of the first try is left");
        scratch.make(b"left").expect("it is free");
        assert_eq!(scratch.make(b"left"), Err(Errno::EXIST));
        drop(scratch);
        let scratch = Scratch::new(&files).expect("there is room");
        assert_eq!(scratch.make(b"left"), Ok(()), "a run that was cut short does no harm");
        scratch.unmake(b"left");
        drop(scratch);
        assert_eq!(std::fs::read_dir(folder.path()).expect("it is there").count(), 0);
    }
}
