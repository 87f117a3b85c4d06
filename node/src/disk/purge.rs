//! Deletes the drive's own files in a working folder, and nothing else.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::lock::Lock;
use super::{DRIVE_FOLDER, DiskError};

/// What says which drive it is: as long as it is there, a run that was cut short can be run again.
const LAST: [&str; 2] = ["key", "lock"];

/// Deletes the drive's own files in the working folder `root`; returns how many bytes they took on the disk.
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
        let freed = allocated(&drive)?;
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
