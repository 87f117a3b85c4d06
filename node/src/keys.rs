//! The secret keys of drives: one file each, for the owner's eyes alone, never inside the drive's folder.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use datnode_feed::{PublicKey, SecretKey};
use zeroize::Zeroizing;

use crate::dirs::{Dirs, make_private};
use crate::error::{Code, Error};

const CONTENT: &str = "datnode 2026 content key v1";

/// The keys that write to a drive.
#[derive(Clone, Debug)]
pub struct DriveKeys {
    /// Signs the changes feed; its public key is the drive's.
    pub changes: SecretKey,
    /// Signs the content feed; derived from the other, so that one secret is the whole drive.
    pub content: SecretKey,
}

impl DriveKeys {
    /// Makes a new drive's keys and keeps them.
    ///
    /// # Errors
    /// E-IO when they cannot be kept.
    pub fn create(dirs: &Dirs) -> Result<Self, Error> {
        let keys = Self::of(&*random()?);
        let path = path(dirs, &keys.changes.public());
        let said = |error| Error::io("write", &path, &error);
        make_private(path.parent().expect("it is inside the keys' folder")).map_err(said)?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(said)?;
        file.write_all(&*keys.changes.to_bytes()).map_err(said)?;
        file.sync_all().map_err(said)?;
        sync_folder(&path).map_err(said)?;
        Ok(keys)
    }

    /// Loads the keys of a drive, if they are on this computer.
    ///
    /// # Errors
    /// E-IO when others may read the file, or it is damaged.
    pub fn load(dirs: &Dirs, drive: &PublicKey) -> Result<Option<Self>, Error> {
        let path = path(dirs, drive);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", &path, &error)),
        };
        let said = |error| Error::io("read", &path, &error);
        if file.metadata().map_err(said)?.mode() & 0o077 != 0 {
            return Err(Error::new(
                Code::Io,
                format!("others may read the secret key {}", path.display()),
            )
            .hint(format!("chmod 600 {}", path.display())));
        }
        let mut seed = Zeroizing::new([0; 32]);
        file.read_exact(&mut *seed).map_err(said)?;
        let keys = Self::of(&seed);
        if keys.changes.public() != *drive {
            return Err(Error::new(
                Code::Io,
                format!("the secret key {} is damaged", path.display()),
            ));
        }
        Ok(Some(keys))
    }

    fn of(seed: &[u8; 32]) -> Self {
        let content = Zeroizing::new(blake3::derive_key(CONTENT, seed));
        Self { changes: SecretKey::from_bytes(*seed), content: SecretKey::from_bytes(*content) }
    }
}

fn path(dirs: &Dirs, drive: &PublicKey) -> PathBuf {
    dirs.data.join("keys").join(crate::address::key::hex(drive))
}

fn sync_folder(path: &Path) -> std::io::Result<()> {
    File::open(path.parent().expect("it is inside the keys' folder"))?.sync_all()
}

/// Returns 32 bytes from the system that nobody can guess.
///
/// # Errors
/// E-IO when the system has none.
pub fn random() -> Result<Zeroizing<[u8; 32]>, Error> {
    let source = Path::new("/dev/urandom");
    let mut bytes = Zeroizing::new([0; 32]);
    let read = fs::File::open(source).and_then(|mut file| file.read_exact(&mut *bytes));
    read.map_err(|error| Error::io("read", source, &error))?;
    Ok(bytes)
}
