//! Small files as a whole: read with a limit, replaced at once.
//!
//! What is read may lie in a folder that somebody else filled: a link to a device without end, or a pipe that nobody writes to, is an
//! error and nothing to wait for.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::error::Error;
use crate::keys::random;

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

/// Replaces a small file of ours by another with its permissions, so that either the one or the other is there after a crash.
///
/// A link is replaced, not followed: it may lead anywhere.
///
/// # Errors
/// What the disk says.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let new = beside(path)?;
    let write = || -> io::Result<()> {
        let before = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file);
        let mode = before.as_ref().map_or(0o666, |_| 0o600);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
        if let Some(before) = before {
            file.set_permissions(before.permissions())?;
        }
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&new);
        Error::io("write", path, &error)
    })
}

/// Returns a name beside a file that nobody uses: other processes may be at the same file, and others' names are theirs.
fn beside(path: &Path) -> Result<PathBuf, Error> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let random = data_encoding::HEXLOWER.encode(&random()?[..8]);
    Ok(path.with_file_name(format!(".{name}.{random}.new")))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

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

    #[test]
    fn a_file_that_is_replaced_keeps_its_mode_and_touches_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let mode = |name: &str| fs::metadata(path(name)).unwrap().permissions().mode() & 0o777;
        fs::write(path("s.new"), b"mine").unwrap();
        fs::write(path("s.toml"), b"old").unwrap();
        fs::set_permissions(path("s.toml"), fs::Permissions::from_mode(0o640)).unwrap();
        replace(&path("s.toml"), b"new").unwrap();
        assert_eq!((fs::read(path("s.toml")).unwrap(), mode("s.toml")), (b"new".to_vec(), 0o640));
        assert_eq!(fs::read(path("s.new")).unwrap(), b"mine");
        symlink("s.new", path("link")).unwrap();
        replace(&path("link"), b"new").unwrap();
        assert_eq!(fs::read(path("s.new")).unwrap(), b"mine", "a link is not followed");
        assert!(replace(&path("none/file"), b"").is_err());
        fs::create_dir(path("folder")).unwrap();
        assert!(replace(&path("folder"), b"").is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4, "nothing is left behind");
    }

    #[test]
    fn many_who_replace_a_file_leave_one_of_theirs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let large = |who: u8| vec![who; 100_000];
        std::thread::scope(|scope| {
            for who in 0..8 {
                let path = &path;
                scope.spawn(move || (0..20).for_each(|_| replace(path, &large(who)).unwrap()));
            }
        });
        let left = fs::read(&path).unwrap();
        assert_eq!(left, large(left[0]));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
