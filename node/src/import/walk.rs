//! What is in a working folder, without opening a file.
//!
//! Rules: `.datignore` files have the meaning of `.gitignore`; hidden names are passed over and counted; `.dat` never travels;
//! symlinks are recorded, not followed; sockets, pipes and devices are listed. THREATS D12.

use std::fs::Metadata;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use datnode_drive::{DrivePath, Key, Kind, MODE_MASK, Mtime};
use ignore::overrides::OverrideBuilder;
use ignore::{DirEntry, WalkBuilder, WalkState};

use crate::disk::DRIVE_FOLDER;
use crate::error::Error;

/// What to leave out.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Take hidden names too.
    pub hidden: bool,
    /// Pay no heed to `.datignore`.
    pub no_ignore: bool,
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

/// What a walk found, and what it left out.
#[derive(Debug, Default)]
pub struct Walked {
    /// What is to be shared, in the order of the drive's keys.
    pub found: Vec<Found>,
    /// How many hidden names were passed over; a hidden folder counts once.
    pub hidden: u64,
    /// Sockets, pipes, devices.
    pub special: Vec<Vec<u8>>,
    /// What could not be looked at, and why.
    pub unreadable: Vec<(Vec<u8>, String)>,
}

/// How many threads look around; more make no difference on two cores.
const THREADS: usize = 2;

/// Walks a working folder.
///
/// # Errors
/// E-USAGE for a pattern that is none.
pub fn walk(root: &Path, rules: &Rules) -> Result<Walked, Error> {
    let mut overrides = OverrideBuilder::new(root);
    for pattern in &rules.ignore {
        overrides
            .add(&format!("!{pattern}"))
            .map_err(|error| Error::usage(format!("--ignore {pattern}: {error}")))?;
    }
    let overrides = overrides.build().map_err(|error| Error::usage(error.to_string()))?;
    let passed = Arc::new(AtomicU64::new(0));
    let mut builder = WalkBuilder::new(root);
    builder.standard_filters(false).follow_links(false).threads(THREADS).overrides(overrides);
    if !rules.no_ignore {
        builder.add_custom_ignore_filename(".datignore");
    }
    let (hidden, count) = (rules.hidden, passed.clone());
    builder.filter_entry(move |entry| takes(entry, hidden, &count));
    let walked = Mutex::new(Walked::default());
    builder.build_parallel().run(|| {
        Box::new(|entry| {
            let mut walked = walked.lock().expect("no walker panics");
            note(root, entry, &mut walked);
            WalkState::Continue
        })
    });
    let mut walked = walked.into_inner().expect("no walker panics");
    walked.hidden = passed.load(Ordering::Relaxed);
    walked.found.sort_by_cached_key(|found| -> Key { found.path.key() });
    Ok(walked)
}

/// Tells whether an entry is looked at at all.
fn takes(entry: &DirEntry, hidden: bool, passed: &AtomicU64) -> bool {
    let name = entry.file_name().as_bytes();
    if entry.depth() == 0 {
        return true;
    }
    if name.eq_ignore_ascii_case(DRIVE_FOLDER.as_bytes()) {
        return false;
    }
    let skip = !hidden && name.starts_with(b".");
    if skip {
        passed.fetch_add(1, Ordering::Relaxed);
    }
    !skip
}

fn note(root: &Path, entry: Result<DirEntry, ignore::Error>, walked: &mut Walked) {
    let entry = match entry {
        Ok(entry) if entry.depth() == 0 => return,
        Ok(entry) => entry,
        Err(error) => {
            walked.unreadable.push((Vec::new(), error.to_string()));
            return;
        }
    };
    let bytes =
        entry.path().strip_prefix(root).unwrap_or(entry.path()).as_os_str().as_bytes().to_vec();
    let looked = entry.metadata().map_err(|error| error.to_string()).and_then(|metadata| {
        let path = DrivePath::from_bytes(bytes.clone()).map_err(|error| error.to_string())?;
        found(&entry, path, &metadata).map_err(|error| error.to_string())
    });
    match looked {
        Ok(Some(found)) => walked.found.push(found),
        Ok(None) => walked.special.push(bytes),
        Err(reason) => walked.unreadable.push((bytes, reason)),
    }
}

fn found(entry: &DirEntry, path: DrivePath, metadata: &Metadata) -> std::io::Result<Option<Found>> {
    let file_type = metadata.file_type();
    let mut target = Vec::new();
    let kind = if file_type.is_file() {
        Kind::File
    } else if file_type.is_dir() {
        Kind::Directory
    } else if file_type.is_symlink() {
        target = std::fs::read_link(entry.path())?.into_os_string().into_vec();
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
