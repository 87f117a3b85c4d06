//! Deletes the drive's own files in a working folder, and nothing else.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use datnode_drive::TEMPORARY_PREFIX;

use super::lock::Lock;
use super::{DRIVE_FOLDER, DiskError};

/// What says which drive it is: as long as it is there, a run that was cut short can be run again.
const LAST: [&str; 2] = ["key", "lock"];

/// Deletes the drive's own files in the working folder `root`, and what a clone that was cut short left of others; returns how many
/// bytes they took on the disk.
///
/// # Errors
/// [`DiskError::Locked`] at once if a process has the store, [`DiskError::Io`] for a drive's folder that is a link: what is in it may
/// be anybody's.
pub fn purge(root: &Path) -> Result<u64, DiskError> {
    let drive = root.join(DRIVE_FOLDER);
    let failed = |source| DiskError::io("delete", &drive, source);
    if !fs::symlink_metadata(&drive).map_err(failed)?.is_dir() {
        return Err(failed(io::Error::from(io::ErrorKind::NotADirectory)));
    }
    let lock = Lock::take(&drive.join("lock"))?;
    let delete = || -> io::Result<u64> {
        let mut freed = allocated(&drive)?;
        // At once: half a store would look damaged.
        let (store, gone) = (drive.join("store"), drive.join("store.gone"));
        if store.exists() && !gone.exists() {
            fs::rename(&store, &gone)?;
        }
        for entry in fs::read_dir(&drive)? {
            let entry = entry?;
            if !LAST.iter().any(|name| entry.file_name() == *name) {
                remove(&entry.path())?;
            }
        }
        freed += remove_parts(root);
        for name in LAST {
            remove(&drive.join(name))?;
        }
        fs::remove_dir(&drive)?;
        Ok(freed)
    };
    let freed = delete().map_err(failed);
    drop(lock);
    freed
}

/// Removes files that never became whole, but for those of other drives below, where that is possible; returns how many bytes they
/// took.
fn remove_parts(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let removed = entries.map(|entry| {
        let path = entry.path();
        match entry.metadata() {
            Ok(there) if there.is_dir() => {
                let is_drive =
                    entry.file_name() == DRIVE_FOLDER || path.join(DRIVE_FOLDER).exists();
                if is_drive { 0 } else { remove_parts(&path) }
            }
            Ok(there) if there.is_file() && is_part(&entry.file_name()) => {
                remove(&path).map_or(0, |()| there.blocks() * 512)
            }
            _ => 0,
        }
    });
    removed.sum()
}

/// Tells whether a name is one that a landing gives a file until it is whole.
fn is_part(name: &OsStr) -> bool {
    let hash = name.as_bytes().strip_prefix(TEMPORARY_PREFIX);
    hash.is_some_and(|hash| hash.len() == 16 && hash.iter().all(u8::is_ascii_hexdigit))
}

fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(there) if there.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Returns how many bytes the drive's own files in the working folder `root` take on the disk, whoever has them open.
///
/// # Errors
/// [`DiskError::Io`].
pub fn store_bytes(root: &Path) -> Result<u64, DiskError> {
    let drive = root.join(DRIVE_FOLDER);
    allocated(&drive).map_err(|source| DiskError::io("look into", &drive, source))
}

/// Returns how many bytes all that is in a folder takes. What goes away meanwhile takes none.
fn allocated(folder: &Path) -> io::Result<u64> {
    let gone = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Ok(0),
        _ => Err(error),
    };
    let bytes = |path: &Path| -> io::Result<u64> {
        let there = fs::symlink_metadata(path)?;
        if there.is_dir() { allocated(path) } else { Ok(there.blocks() * 512) }
    };
    let mut sum = fs::metadata(folder)?.blocks() * 512;
    for entry in fs::read_dir(folder)? {
        sum += bytes(&entry?.path()).or_else(gone)?;
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_became_whole_goes_with_the_drive_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        let (part, others) = (".datpart-0123456789abcdef", ["file", ".datpart-mine", "sub/file"]);
        for inner in [".dat/store", "sub", "other/.dat", ".datpart-fedcba9876543210"] {
            fs::create_dir_all(at(inner)).unwrap();
        }
        let parts = [part.to_owned(), format!("sub/{part}")];
        let of_another = format!("other/{part}");
        let kept = others.map(str::to_owned).into_iter().chain([of_another]);
        let kept: Vec<String> = kept.collect();
        for path in parts.iter().chain(&kept) {
            fs::write(at(path), vec![7; 10_000]).unwrap();
        }
        assert!(purge(folder.path()).unwrap() >= 20_000);
        assert!(parts.iter().all(|path| !at(path).exists()));
        assert!(kept.iter().all(|path| at(path).exists()));
        assert!(!at(".dat").exists() && at(".datpart-fedcba9876543210").exists());
    }
}
