//! Where datnode keeps what is not in a drive's folder.
//!
//! `DATNODE_HOME` moves everything; else the XDG directories are used. What is in them is for their user alone: they are made with
//! mode 0700, but for that of settings, which hold no secrets. Those that were there keep theirs, but for the one of control sockets:
//! whoever gets at a socket can have a drive changed.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy as _;

use crate::error::Error;

/// The directories of one user.
#[derive(Clone, Debug)]
pub struct Dirs {
    /// Secret keys, and the node's own key.
    pub data: PathBuf,
    /// Where processes of this user find each other.
    pub run: PathBuf,
    /// Settings.
    pub config: PathBuf,
    /// What is good to know and can be found again: peers of other times.
    pub state: PathBuf,
}

impl Dirs {
    /// Finds the directories, and makes those for data.
    ///
    /// # Errors
    /// E-IO when there is no home, or it cannot be written.
    pub fn open() -> Result<Self, Error> {
        let dirs = Self::find()?;
        for (dir, make) in [
            (&dirs.data, make_own as fn(&Path) -> _),
            (&dirs.state, make_own),
            (&dirs.run, make_private),
        ] {
            make(dir).map_err(|error| Error::io("create", dir, &error))?;
        }
        Ok(dirs)
    }

    /// Finds the directories; nothing is made.
    ///
    /// # Errors
    /// E-IO when there is no home.
    pub fn find() -> Result<Self, Error> {
        match std::env::var_os("DATNODE_HOME").filter(|home| !home.is_empty()) {
            Some(home) => {
                let home = std::path::absolute(home)
                    .map_err(|error| Error::io("find", Path::new("DATNODE_HOME"), &error))?;
                Ok(Self::all_in(home))
            }
            None => Self::xdg(),
        }
    }

    /// Returns the directories of a user who has all of them in one.
    pub fn all_in(home: PathBuf) -> Self {
        Self { data: home.clone(), run: home.join("run"), state: home.clone(), config: home }
    }

    fn xdg() -> Result<Self, Error> {
        let base = etcetera::choose_base_strategy().map_err(|error| {
            Error::new(crate::error::Code::Io, format!("there is no home directory: {error}"))
        })?;
        let [data, state] = [base.data_dir(), base.state_dir().unwrap_or_else(|| base.data_dir())];
        let run = base.runtime_dir().unwrap_or_else(|| state.clone());
        let [data, run, state, config] =
            [data, run, state, base.config_dir()].map(|dir| dir.join("datnode"));
        Ok(Self { data, run, state, config })
    }
}

/// Makes a directory that only its owner may enter, or makes it one; one that others may write to is refused.
pub(crate) fn make_private(dir: &Path) -> io::Result<()> {
    make_own(dir)?;
    match fs::metadata(dir)?.mode() & 0o077 {
        0 => Ok(()),
        _ => fs::set_permissions(dir, fs::Permissions::from_mode(0o700)),
    }
}

/// Makes a directory that only its owner may enter; one that is there is refused if others may write to it.
fn make_own(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let found = fs::metadata(dir)?;
    if found.uid() != rustix::process::geteuid().as_raw() || found.mode() & 0o022 != 0 {
        let why = "it belongs to somebody else, or others may write to it";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_could_write_to_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("a/b");
        make_private(&dir).unwrap();
        assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o777, 0o700);
        for loose in [0o755, 0o750, 0o711] {
            fs::set_permissions(&dir, fs::Permissions::from_mode(loose)).unwrap();
            make_own(&dir).unwrap();
            assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o777, loose);
            make_private(&dir).unwrap();
            assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o777, 0o700);
        }
        for open in [0o777, 0o770, 0o702] {
            fs::set_permissions(&dir, fs::Permissions::from_mode(open)).unwrap();
            assert!(make_private(&dir).is_err() && make_own(&dir).is_err());
        }
    }
}
