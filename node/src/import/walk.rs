//! What is in a working folder, without opening a file.
//!
//! Rules: `.datignore` files have the meaning of `.gitignore`; hidden names are passed over and counted; `.dat` never travels;
//! symlinks are recorded, not followed; sockets, pipes and devices are listed. What is left out is named with its
//! reason; a folder that is left out counts once.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsStr;
use std::fs::Metadata;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use datnode_drive::{DrivePath, Key, Kind, MODE_MASK, Mtime};
use ignore::overrides::{Override, OverrideBuilder};
use ignore::{DirEntry, WalkBuilder, WalkState};

use super::rule::Finder;
use crate::disk::DRIVE_FOLDER;
use crate::error::{Error, reason};

/// What to leave out.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Take hidden names too.
    pub hidden: bool,
    /// Pay no heed to `.datignore`.
    pub no_ignore: bool,
    /// Heed `.gitignore`, too; what a `.datignore` in the same folder says comes first.
    pub gitignore: bool,
    /// More patterns to leave out, as in a `.datignore` at the top.
    pub ignore: Vec<String>,
}

/// Something that is to be shared.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its place in the drive.
    pub path: DrivePath,
    /// What it is.
    pub kind: Kind,
    /// Bytes of a file.
    pub size: u64,
    /// Permission bits.
    pub mode: u16,
    /// When it was changed.
    pub mtime: Mtime,
    /// Where a symlink points.
    pub target: Vec<u8>,
}

/// Something that a rule leaves out; of a folder, all that is in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeftOut {
    /// Its path below the root, in the bytes of the disk.
    pub path: Vec<u8>,
    /// The rule.
    pub why: Why,
}

/// Which rule leaves something out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// Its name begins with a dot, and `--hidden` is not given.
    Hidden,
    /// A `.datignore` file.
    Datignore,
    /// A `.gitignore` file.
    Gitignore,
    /// `--ignore`.
    Flag,
}

/// What a walk found, and what it left out.
#[derive(Debug, Default)]
pub struct Walked {
    /// What is to be shared, in the order of the drive's keys.
    pub found: Vec<Found>,
    /// What was passed over by a rule, sorted by path.
    pub left_out: Vec<LeftOut>,
    /// Sockets, pipes, devices.
    pub special: Vec<Vec<u8>>,
    /// What could not be looked at, and why.
    pub unreadable: Vec<(Vec<u8>, String)>,
}

impl Walked {
    /// Tells whether a path lies in what could not be looked at: that it was not met does not mean that it is gone.
    pub fn is_blind(&self, path: &[u8]) -> bool {
        let within = |above: &[u8]| match path.strip_prefix(above) {
            Some(rest) => above.is_empty() || matches!(rest.first(), None | Some(b'/')),
            None => false,
        };
        self.unreadable.iter().any(|(above, _)| within(above))
    }
}

/// The files with patterns of what to leave out.
pub(super) const DATIGNORE: &str = ".datignore";
pub(super) const GITIGNORE: &str = ".gitignore";

/// Tells whether a file has patterns of what to leave out.
pub fn is_patterns(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == DATIGNORE || name == GITIGNORE)
}

/// What the walkers passed over.
#[derive(Default)]
struct Passed {
    hidden: Mutex<Vec<PathBuf>>,
    /// Whether there is a file with patterns anywhere.
    patterns: AtomicBool,
}

/// How many threads look around; more make no difference on two cores.
const THREADS: usize = 2;

/// Walks a working folder.
///
/// # Errors
/// E-USAGE for a pattern that is none.
pub fn walk(root: &Path, rules: &Rules) -> Result<Walked, Error> {
    let overrides = flagged(root, rules)?;
    let passed = Arc::new(Passed::default());
    let mut builder = WalkBuilder::new(root);
    builder
        .standard_filters(false)
        .follow_links(false)
        .threads(THREADS)
        .overrides(overrides.clone());
    // Of two files in one folder the one that is added last has the last word.
    if rules.gitignore {
        builder.add_custom_ignore_filename(GITIGNORE);
    }
    if !rules.no_ignore {
        builder.add_custom_ignore_filename(DATIGNORE);
    }
    let (hidden, passing) = (rules.hidden, passed.clone());
    builder.filter_entry(move |entry| takes(entry, hidden, &passing));
    let all = Mutex::new(Walked::default());
    builder.build_parallel().run(|| {
        let mut walker = Walker { own: Walked::default(), all: &all };
        Box::new(move |entry| {
            note(root, entry, &mut walker.own);
            WalkState::Continue
        })
    });
    let mut walked = all.into_inner().expect("no walker panics");
    walked.left_out = std::mem::take(&mut *passed.hidden.lock().expect("no walker panics"))
        .into_iter()
        .map(|path| LeftOut { path: below(root, &path), why: Why::Hidden })
        .collect();
    let heeds = !rules.no_ignore || rules.gitignore;
    if heeds && passed.patterns.load(Ordering::Relaxed) || !overrides.is_empty() {
        let ignored = ignored(root, &walked, rules)?;
        walked.left_out.extend(ignored);
    }
    walked.left_out.sort_unstable();
    walked.found.sort_by_cached_key(|found| -> Key { found.path.key() });
    Ok(walked)
}

/// Looks at some paths of a working folder, and at nothing else.
pub fn look_at(root: &Path, paths: &BTreeSet<DrivePath>) -> Walked {
    let mut walked = Walked::default();
    for path in paths {
        let at = root.join(OsStr::from_bytes(path.as_bytes()));
        let looked = match std::fs::symlink_metadata(&at) {
            Ok(metadata) => found(&at, path.clone(), &metadata),
            Err(error) if is_gone(&error) => continue,
            Err(error) => Err(error),
        };
        match looked {
            Ok(Some(found)) => walked.found.push(found),
            Ok(None) => walked.special.push(path.as_bytes().to_vec()),
            Err(error) => walked.unreadable.push((path.as_bytes().to_vec(), reason(&error))),
        }
    }
    walked
}

fn is_gone(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}

/// What one thread finds; all learn of it when the thread is done.
struct Walker<'a> {
    own: Walked,
    all: &'a Mutex<Walked>,
}

impl Drop for Walker<'_> {
    fn drop(&mut self) {
        let Walked { found, left_out, special, unreadable } = std::mem::take(&mut self.own);
        let mut all = self.all.lock().expect("no walker panics");
        all.found.extend(found);
        all.left_out.extend(left_out);
        all.special.extend(special);
        all.unreadable.extend(unreadable);
    }
}

/// Tells whether an entry is looked at at all.
fn takes(entry: &DirEntry, hidden: bool, passed: &Passed) -> bool {
    let name = entry.file_name().as_bytes();
    if entry.depth() == 0 {
        return true;
    }
    if name.eq_ignore_ascii_case(DRIVE_FOLDER.as_bytes()) {
        return false;
    }
    if name == DATIGNORE.as_bytes() || name == GITIGNORE.as_bytes() {
        passed.patterns.store(true, Ordering::Relaxed);
    }
    let skip = !hidden && name.starts_with(b".");
    if skip {
        passed.hidden.lock().expect("no walker panics").push(entry.path().to_owned());
    }
    !skip
}

/// Takes a pattern as `--ignore` has it.
///
/// # Errors
/// Why it is none.
pub fn parse_pattern(text: &str) -> Result<String, String> {
    let added = OverrideBuilder::new("").add(&format!("!{text}")).map(|_| text.to_owned());
    added.map_err(|error| error.to_string())
}

/// Returns the patterns of `--ignore`.
pub(super) fn flagged(root: &Path, rules: &Rules) -> Result<Override, Error> {
    matcher(root, "--ignore", &rules.ignore)
}

/// Returns what finds the names below `root` that patterns match: they are "ignored" by it. `whose` is said of one that is none.
///
/// # Errors
/// E-USAGE for a pattern that is none.
pub fn matcher(root: &Path, whose: &str, patterns: &[String]) -> Result<Override, Error> {
    let mut overrides = OverrideBuilder::new(root);
    for pattern in patterns {
        overrides
            .add(&format!("!{pattern}"))
            .map_err(|error| Error::usage(format!("{whose} {pattern}: {error}")))?;
    }
    overrides.build().map_err(|error| Error::usage(error.to_string()))
}

/// Finds what patterns left out, of which the walker does not tell: all that is in a folder and was not met.
fn ignored(root: &Path, walked: &Walked, rules: &Rules) -> Result<Vec<LeftOut>, Error> {
    let found = walked.found.iter();
    let mut met: HashSet<&[u8]> = found.clone().map(|found| found.path.as_bytes()).collect();
    met.extend(walked.left_out.iter().map(|left| &left.path[..]));
    met.extend(walked.special.iter().map(|path| &path[..]));
    met.extend(walked.unreadable.iter().map(|(path, _)| &path[..]));
    let folders = found.filter(|found| found.kind == Kind::Directory);
    let folders = folders.map(|found| root.join(OsStr::from_bytes(found.path.as_bytes())));
    let (mut ignored, mut finder) = (Vec::new(), Finder::new(root, rules)?);
    for folder in std::iter::once(root.to_owned()).chain(folders) {
        // A folder that cannot be read was reported when it was walked.
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = below(root, &entry.path());
            let own = entry.file_name().eq_ignore_ascii_case(DRIVE_FOLDER);
            if own || met.contains(&path[..]) {
                continue;
            }
            // A name that came just now is left out by no rule: the next walk meets it.
            let rule = finder.rule_of(&path);
            ignored.extend(rule.map(|rule| LeftOut { path, why: rule.why }));
        }
    }
    Ok(ignored)
}

/// Returns the bytes of a path below the root.
fn below(root: &Path, path: &Path) -> Vec<u8> {
    path.strip_prefix(root).unwrap_or(path).as_os_str().as_bytes().to_vec()
}

fn note(root: &Path, entry: Result<DirEntry, ignore::Error>, walked: &mut Walked) {
    let entry = match entry {
        Ok(entry) if entry.depth() == 0 => return,
        Ok(entry) => entry,
        Err(error) => {
            let path = place(&error).map(|path| below(root, path)).unwrap_or_default();
            walked.unreadable.push((path, why(error)));
            return;
        }
    };
    let bytes = below(root, entry.path());
    let looked = entry.metadata().map_err(why).and_then(|metadata| {
        let path = DrivePath::from_bytes(bytes.clone()).map_err(|error| error.to_string())?;
        found(entry.path(), path, &metadata).map_err(|error| reason(&error))
    });
    match looked {
        Ok(Some(found)) => walked.found.push(found),
        Ok(None) => walked.special.push(bytes),
        Err(reason) => walked.unreadable.push((bytes, reason)),
    }
}

/// Returns what a walker's error is about.
fn place(error: &ignore::Error) -> Option<&Path> {
    match error {
        ignore::Error::WithPath { path, .. } => Some(path),
        ignore::Error::WithDepth { err, .. } | ignore::Error::WithLineNumber { err, .. } => {
            place(err)
        }
        _ => None,
    }
}

/// Returns what the system said, or else what the walker did.
fn why(error: ignore::Error) -> String {
    match error.io_error() {
        Some(error) => reason(error),
        None => error.to_string(),
    }
}

fn found(at: &Path, path: DrivePath, metadata: &Metadata) -> std::io::Result<Option<Found>> {
    let file_type = metadata.file_type();
    let mut target = Vec::new();
    let kind = if file_type.is_file() {
        Kind::File
    } else if file_type.is_dir() {
        Kind::Directory
    } else if file_type.is_symlink() {
        target = std::fs::read_link(at)?.into_os_string().into_vec();
        Kind::Symlink
    } else {
        debug_assert!(
            file_type.is_fifo()
                || file_type.is_socket()
                || file_type.is_char_device()
                || file_type.is_block_device()
        );
        return Ok(None);
    };
    Ok(Some(Found {
        path,
        kind,
        size: metadata.len(),
        mode: mode(metadata),
        mtime: mtime(metadata),
        target,
    }))
}

/// Returns the permission bits that travel.
pub(super) fn mode(metadata: &Metadata) -> u16 {
    u16::try_from(metadata.mode() & u32::from(MODE_MASK)).expect("the mask has few bits")
}

/// Returns when a file was changed.
pub(super) fn mtime(metadata: &Metadata) -> Mtime {
    let nanos = u32::try_from(metadata.mtime_nsec()).unwrap_or_default();
    Mtime { seconds: metadata.mtime(), nanos }
}
