//! Small files as a whole: read with a limit, replaced at once.
//!
//! What is read may lie in a folder that somebody else filled: a link to a device without end, or a pipe that nobody writes to, is an
//! error and nothing to wait for.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;

use crate::error::Error;

/// Reads a file of at most `len_max` bytes.
///
/// # Errors
/// What the system says; what is longer, and what is no regular file, cannot be read either.
pub fn read_small(path: &Path, len_max: u64) -> io::Result<Vec<u8>> {
    // To open a pipe would wait for its writer.
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    let len = file.take(len_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(len).is_ok_and(|len| len <= len_max) {
        Ok(bytes)
    } else {
        Err(io::Error::other(format!("it is longer than {len_max} bytes")))
    }
}

/// Replaces a small file of ours by another, so that either the one or the other is there after a crash.
///
/// # Errors
/// What the disk says.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let temporary = path.with_extension("new");
    let write = || -> io::Result<()> {
        fs::write(&temporary, bytes)?;
        File::open(&temporary)?.sync_all()?;
        fs::rename(&temporary, path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(|error| Error::io("write", path, &error))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_is_no_small_file_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("fits"), b"four").unwrap();
        fs::write(path("long"), b"fives").unwrap();
        symlink("fits", path("link")).unwrap();
        symlink("/dev/zero", path("endless")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, path("pipe"), 0o600.into()).unwrap();
        assert_eq!(read_small(&path("fits"), 4).unwrap(), b"four");
        assert_eq!(read_small(&path("link"), 4).unwrap(), b"four");
        for name in ["long", "endless", "pipe", "."] {
            assert!(read_small(&path(name), 4).is_err(), "{name}");
        }
        let none = read_small(&path("none"), 4).unwrap_err();
        assert_eq!(none.kind(), io::ErrorKind::NotFound);
    }
}
