//! What is in a working folder, without opening a file.
//!
//! Rules: `.datignore` files have the meaning of `.gitignore`; hidden names are passed over and counted; `.dat` never travels;
//! symlinks are recorded, not followed; sockets, pipes and devices are listed. What is left out is named with its
//! reason; a folder that is left out counts once. Names come in the order of the drive's keys, a folder at a time, so that very
//! many of them need not be in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{DirEntry, Metadata};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use datnode_drive::limits::PATH_BYTES_MAX;
use datnode_drive::{DrivePath, Entry, Kind, MODE_MASK, Mtime};
use datnode_feed::codec::{DecodeError, Reader, Writer};
use ignore::overrides::{Override, OverrideBuilder};

use super::rule::{Finder, Patterns};
use super::spool::{Record, Spool};
use crate::disk::DRIVE_FOLDER;
use crate::error::{Error, reason};
use crate::landing::is_in_part;

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
    /// Whether the folder may lack what nobody removed.
    pub in_part: bool,
}

impl Walked {
    /// Tells whether a path lies in what could not be looked at, or may never have been there: that it was not met does not mean
    /// that it is gone.
    pub fn is_blind(&self, path: &[u8]) -> bool {
        let within = |above: &[u8]| match path.strip_prefix(above) {
            Some(rest) => above.is_empty() || matches!(rest.first(), None | Some(b'/')),
            None => false,
        };
        self.in_part || self.unreadable.iter().any(|(above, _)| within(above))
    }
}

/// The files with patterns of what to leave out.
pub(super) const DATIGNORE: &str = ".datignore";
pub(super) const GITIGNORE: &str = ".gitignore";

/// Tells whether a file has patterns of what to leave out.
pub fn is_patterns(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == DATIGNORE || name == GITIGNORE)
}

/// What is in a folder, of which the names may be too many for memory.
#[derive(Debug)]
pub struct Inventory {
    /// What is to be shared, in the order of the drive's keys.
    pub(super) found: Spool<Found>,
    /// All else that the walk met.
    pub(super) walked: Walked,
}

/// Walks a shared folder, whose names may be very many.
///
/// # Errors
/// E-USAGE for a pattern that is none; E-IO and E-SPACE if the list cannot be written.
pub fn take_inventory(root: &Path, rules: &Rules) -> Result<Inventory, Error> {
    let mut found = Spool::new(root);
    let walked = walk_in_order(root, rules, &mut |one| found.push(&one))?;
    Ok(Inventory { found, walked: Walked { in_part: is_in_part(root)?, ..walked } })
}

/// Walks a working folder.
///
/// # Errors
/// E-USAGE for a pattern that is none.
pub fn walk(root: &Path, rules: &Rules) -> Result<Walked, Error> {
    let mut all = Vec::new();
    let keep = &mut |one| {
        all.push(one);
        Ok(())
    };
    let walked = walk_in_order(root, rules, keep)?;
    Ok(Walked { found: all, ..walked })
}

/// Walks a working folder; `found` is told what is to be shared, in the order of the drive's keys.
fn walk_in_order(
    root: &Path,
    rules: &Rules,
    found: &mut dyn FnMut(Found) -> Result<(), Error>,
) -> Result<Walked, Error> {
    let (finder, walked) = (Finder::new(root, rules)?, Walked::default());
    // Keys begin with the folder. What is in one comes before what is deeper in it, so that the next folder in order is always
    // among those that were met. SPEC 8.1-2
    let folders = BTreeMap::from([(Vec::new(), Patterns::default())]);
    let mut walker = Walker { root, finder, folders, walked, found };
    while let Some((folder, above)) = walker.folders.pop_first() {
        walker.folder(folder, &above)?;
    }
    walker.walked.left_out.sort_unstable();
    Ok(walker.walked)
}

/// A walk under way.
struct Walker<'a> {
    root: &'a Path,
    finder: Finder<'a>,
    /// Folders to be looked into, by their paths below the root, with the patterns that hold above.
    folders: BTreeMap<Vec<u8>, Patterns>,
    walked: Walked,
    found: &'a mut dyn FnMut(Found) -> Result<(), Error>,
}

impl Walker<'_> {
    /// Meets what is in a folder.
    fn folder(&mut self, folder: Vec<u8>, above: &Patterns) -> Result<(), Error> {
        let at = self.root.join(OsStr::from_bytes(&folder));
        let mut entries = Vec::new();
        let listed = std::fs::read_dir(&at).and_then(|listing| {
            listing.into_iter().try_for_each(|entry| entry.map(|entry| entries.push(entry)))
        });
        // One that is gone may have another name by now: what it had is not gone.
        if let Err(error) = listed {
            self.walked.unreadable.push((folder.clone(), reason(&error)));
        }
        let has_patterns = entries.iter().any(|entry| is_patterns(Path::new(&entry.file_name())));
        let patterns = match has_patterns {
            true => self.finder.patterns_in(&at, above),
            false => above.clone(),
        };
        entries.sort_by_cached_key(DirEntry::file_name);
        entries.into_iter().try_for_each(|entry| self.entry(&folder, &entry, &patterns))
    }

    /// Meets one thing in a folder.
    fn entry(&mut self, folder: &[u8], entry: &DirEntry, patterns: &Patterns) -> Result<(), Error> {
        let (name, at) = (entry.file_name(), entry.path());
        // Nobody's store travels.
        if name.eq_ignore_ascii_case(DRIVE_FOLDER) {
            return Ok(());
        }
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if let Some(rule) = self.finder.rule_at(&at, is_folder, patterns) {
            self.walked.left_out.push(LeftOut { path: rule.path, why: rule.why });
            return Ok(());
        }
        let slash: &[u8] = if folder.is_empty() { b"" } else { b"/" };
        let path = [folder, slash, name.as_bytes()].concat();
        let looked = DrivePath::from_bytes(path.clone()).map_err(|error| error.to_string());
        let looked = looked.and_then(|drive_path| {
            let found = entry.metadata().and_then(|metadata| found(&at, drive_path, &metadata));
            match found {
                Err(error) if is_gone(&error) => Ok(None),
                found => found.map(Some).map_err(|error| reason(&error)),
            }
        });
        match looked {
            Ok(Some(Some(found))) => {
                if found.kind == Kind::Directory {
                    self.folders.insert(path, patterns.clone());
                }
                (self.found)(found)?;
            }
            Ok(Some(None)) => self.walked.special.push(path),
            Ok(None) => {}
            Err(why) => self.walked.unreadable.push((path, why)),
        }
        Ok(())
    }
}

impl Found {
    /// Returns the entry of what is no file: there is nothing in it to read.
    pub(super) fn entry(&self) -> Entry {
        match self.kind {
            Kind::Symlink => Entry::symlink(self.target.clone(), self.mtime),
            Kind::Directory => Entry::directory(self.mode, self.mtime),
            Kind::File => unreachable!("a file has to be read"),
        }
    }
}

impl Record for Found {
    fn encode(&self, out: &mut Writer) {
        let kind = match self.kind {
            Kind::File => 0,
            Kind::Symlink => 1,
            Kind::Directory => 2,
        };
        out.bytes(self.path.as_bytes()).u8(kind).varint(self.size).u16(self.mode);
        out.u64(self.mtime.seconds.cast_unsigned()).u32(self.mtime.nanos).raw(&self.target);
    }

    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let path = DrivePath::from_bytes(input.bytes(PATH_BYTES_MAX)?)
            .map_err(|_| DecodeError::Invalid("path"))?;
        let kind = match input.u8()? {
            0 => Kind::File,
            1 => Kind::Symlink,
            2 => Kind::Directory,
            _ => return Err(DecodeError::Invalid("kind")),
        };
        let (size, mode) = (input.varint()?, input.u16()?);
        let mtime = Mtime { seconds: input.u64()?.cast_signed(), nanos: input.u32()? };
        Ok(Self { path, kind, size, mode, mtime, target: input.rest().to_vec() })
    }
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

/// Tells whether an error says that there is nothing at a path.
pub fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
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

fn found(at: &Path, path: DrivePath, metadata: &Metadata) -> io::Result<Option<Found>> {
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
