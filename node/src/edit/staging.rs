//! Where files wait on their way into a drive: in a folder beside the store, each under the process that put it there.
//!
//! Invariant: what a process that is gone left behind is removed by whoever comes next, and nothing else is.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use datnode_drive::DrivePath;
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use crate::disk::DRIVE_FOLDER;
use crate::error::Error;
use crate::keys::random;

/// The folder.
const STAGED: &str = "staged";

/// Returns where a file can wait that is to be put into the drive of a folder: on the same disk, for this process alone.
///
/// # Errors
/// What the disk says.
pub fn staging_place(folder: &Path) -> Result<PathBuf, Error> {
    let staged = folder.join(DRIVE_FOLDER).join(STAGED);
    fs::create_dir_all(&staged).map_err(|error| Error::io("create", &staged, &error))?;
    sweep(&staged);
    let random = data_encoding::HEXLOWER.encode(&random()?[..8]);
    Ok(staged.join(format!("{}-{random}", std::process::id())))
}

/// Removes what processes left that are gone.
fn sweep(staged: &Path) {
    for file in fs::read_dir(staged).into_iter().flatten().flatten() {
        let name = file.file_name().to_string_lossy().into_owned();
        let pid = name.split('-').next().and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
        // Of a process of another user the system says that it may not be asked.
        if pid.is_none_or(|pid| test_kill_process(pid) == Err(Errno::SRCH)) {
            let path = file.path();
            let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
        }
    }
}

/// What a bare drive has for a working folder while a file is taken in; it goes away with this.
///
/// It is named by the process that reads it, not by the one that asked: that may end meanwhile, and what it left is removed.
#[derive(Debug)]
pub(super) struct Workspace(PathBuf);

impl Workspace {
    pub(super) fn new(folder: &Path) -> Result<Self, Error> {
        let root = staging_place(folder)?;
        fs::create_dir(&root).map_err(|error| Error::io("create", &root, &error))?;
        Ok(Self(root))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Gives folders in it their permission bits, whatever the umask left of those.
    pub(super) fn set_modes(&self, folders: &BTreeSet<DrivePath>, mode: u16) -> Result<(), Error> {
        for folder in folders {
            let at = self.0.join(super::as_path(folder.as_bytes()));
            fs::set_permissions(&at, Permissions::from_mode(mode.into()))
                .map_err(|error| Error::io("write", &at, &error))?;
        }
        Ok(())
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        // What stays is removed by the next who comes.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_being_read_outlives_the_process_that_asked() {
        let folder = tempfile::tempdir().unwrap();
        let mut asker = std::process::Command::new("true").spawn().unwrap();
        asker.wait().unwrap();
        let staged = folder.path().join(DRIVE_FOLDER).join(STAGED);
        let workspace = Workspace::new(folder.path()).unwrap();
        let [taken, left] = ["a", "b"].map(|name| staged.join(format!("{}-{name}", asker.id())));
        fs::write(&taken, "bytes").unwrap();
        fs::write(&left, "bytes").unwrap();
        fs::rename(&taken, workspace.path().join("file")).unwrap();
        let other = staging_place(folder.path()).unwrap();
        assert!(!left.exists(), "who left it is gone");
        assert_eq!(fs::read(workspace.path().join("file")).unwrap(), b"bytes");
        assert_ne!(other, workspace.path());
        drop(workspace);
        assert!(fs::read_dir(staged).unwrap().next().is_none());
    }
    #[test]
    fn a_folder_has_its_mode_whatever_the_umask() {
        let folder = tempfile::tempdir().unwrap();
        let workspace = Workspace::new(folder.path()).unwrap();
        let (at, path) = (workspace.path().join("d"), DrivePath::from_bytes("d").unwrap());
        fs::create_dir(&at).unwrap();
        fs::set_permissions(&at, Permissions::from_mode(0o700)).unwrap();
        workspace.set_modes(&BTreeSet::from([path]), 0o755).unwrap();
        assert_eq!(fs::metadata(&at).unwrap().permissions().mode() & 0o777, 0o755);
    }
}
