//! The key a node proves itself with to other nodes. It has nothing to do with drive keys.
//!
//! `node.key` in the data directory holds it in libp2p's protobuf form, mode 0600. The process that locks the
//! file uses the key; every other process of the same home takes a fresh one for its life, because two nodes
//! under one id can neither dial each other nor be told apart.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use libp2p::PeerId;
use libp2p::identity::Keypair;
use thiserror::Error;
use zeroize::Zeroizing;

/// Name of the key's file in the data directory.
pub const FILE: &str = "node.key";

/// A key file is 68 bytes; what is longer than this is something else.
const LEN_MAX: u64 = 4_096;

/// The key of this process's node, and the lock on it.
#[derive(Debug)]
pub struct Identity {
    keypair: Keypair,
    /// Held as long as this lives; none when the key is for this process alone.
    lock: Option<File>,
}

/// Why there is no node key.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The file cannot be read or written.
    #[error("cannot {op} {}", path.display())]
    Io {
        /// What was tried.
        op: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("{} does not hold a node key (remove it, and a new one is made)", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

impl Identity {
    /// Makes a key that is kept nowhere.
    pub fn fresh() -> Self {
        Self { keypair: Keypair::generate_ed25519(), lock: None }
    }

    /// Opens the key in `folder`, makes it if there is none, or makes a fresh one if another process uses it.
    pub fn open(folder: &Path) -> Result<Self, IdentityError> {
        let path = folder.join(FILE);
        let failed = |op| {
            let path = path.clone();
            move |source| IdentityError::Io { op, path, source }
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(&path).map_err(failed("open"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Self::fresh()),
            Err(TryLockError::Error(error)) => return Err(failed("lock")(error)),
        }
        make_private(&file).map_err(failed("make private"))?;
        let mut bytes = Zeroizing::new(Vec::new());
        (&file).take(LEN_MAX).read_to_end(&mut bytes).map_err(failed("read"))?;
        let keypair = if bytes.is_empty() {
            write_new(&mut file).map_err(failed("write"))?
        } else {
            let damaged = |_| IdentityError::Damaged { path: path.clone() };
            Keypair::from_protobuf_encoding(&bytes).map_err(damaged)?
        };
        Ok(Self { keypair, lock: Some(file) })
    }

    /// Returns the key.
    pub fn keypair(&self) -> &Keypair {
        &self.keypair
    }

    /// Returns the id others know this node by.
    pub fn peer_id(&self) -> PeerId {
        self.keypair.public().to_peer_id()
    }

    /// Returns whether this node will have the same id next time.
    pub fn is_lasting(&self) -> bool {
        self.lock.is_some()
    }
}

fn write_new(file: &mut File) -> io::Result<Keypair> {
    let keypair = Keypair::generate_ed25519();
    let bytes = Zeroizing::new(keypair.to_protobuf_encoding().map_err(io::Error::other)?);
    file.write_all(&bytes)?;
    file.sync_all()?;
    Ok(keypair)
}

fn make_private(file: &File) -> io::Result<()> {
    let mut permissions = file.metadata()?.permissions();
    if permissions.mode() & 0o077 == 0 {
        return Ok(());
    }
    tracing::warn!("the node key could be read by other users; it is private now");
    permissions.set_mode(0o600);
    file.set_permissions(permissions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_stays_the_same_from_one_process_to_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let first = Identity::open(folder.path()).unwrap().peer_id();
        let second = Identity::open(folder.path()).unwrap();
        assert!(second.is_lasting());
        assert_eq!(first, second.peer_id());
    }

    #[test]
    fn a_second_process_takes_a_fresh_key() {
        let folder = tempfile::tempdir().unwrap();
        let first = Identity::open(folder.path()).unwrap();
        let second = Identity::open(folder.path()).unwrap();
        assert!(!second.is_lasting());
        assert_ne!(first.peer_id(), second.peer_id());
    }

    #[test]
    fn the_file_is_made_private_again() {
        let folder = tempfile::tempdir().unwrap();
        drop(Identity::open(folder.path()).unwrap());
        let path = folder.path().join(FILE);
        let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), 0o600);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        drop(Identity::open(folder.path()).unwrap());
        assert_eq!(mode(), 0o600);
    }

    #[test]
    fn a_damaged_file_is_an_error_and_stays_untouched() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        std::fs::write(&path, b"not a key").unwrap();
        assert!(matches!(Identity::open(folder.path()), Err(IdentityError::Damaged { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), b"not a key");
    }
}
