//! The secret keys of drives: one file each, for the owner's eyes alone, never inside the drive's folder.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32m, Hrp};
use datnode_feed::{PublicKey, SecretKey};
use zeroize::Zeroizing;

use crate::cli::escape;
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
        keys.save(dirs)?;
        Ok(keys)
    }

    /// Takes in the keys of a drive from elsewhere; tells whether they are new here.
    ///
    /// # Errors
    /// E-SECRETKEY for what is no secret key, E-IO when they cannot be kept.
    pub fn import(dirs: &Dirs, word: &str) -> Result<(Self, bool), Error> {
        let seed = decode(word.trim()).ok_or_else(|| {
            Error::new(Code::SecretKey, "this is no secret key")
                .hint("it begins with datsec1 and has 65 characters; datnode keys export writes a file with it")
        })?;
        let keys = Self::of(&seed);
        // A file that is damaged, or that others may read, is replaced.
        let known = matches!(Self::load(dirs, &keys.changes.public()), Ok(Some(_)));
        if !known {
            keys.save(dirs)?;
        }
        Ok((keys, !known))
    }

    /// Returns the drives whose secret keys are here, by their hexadecimal names.
    pub fn all(dirs: &Dirs) -> Vec<PublicKey> {
        let files = fs::read_dir(dirs.data.join("keys")).into_iter().flatten().flatten();
        let mut keys: Vec<PublicKey> = files
            .filter_map(|file| {
                let name = data_encoding::HEXLOWER.decode(file.file_name().as_bytes()).ok()?;
                PublicKey::from_bytes(name.try_into().ok()?).ok()
            })
            .collect();
        keys.sort_unstable_by_key(|key| *key.as_bytes());
        keys
    }

    /// Returns the secret as a word: `datsec1…`, 65 characters.
    pub fn secret_word(&self) -> Zeroizing<String> {
        let seed = self.changes.to_bytes();
        let word = bech32::encode::<Bech32m>(HRP, &*seed).expect("32 bytes fit a word");
        Zeroizing::new(word)
    }

    fn save(&self, dirs: &Dirs) -> Result<(), Error> {
        let keys = self;
        let path = path(dirs, &keys.changes.public());
        let said = |error| Error::io("write", &path, &error);
        make_private(path.parent().expect("it is inside the keys' folder")).map_err(said)?;
        // Under another name first: a file that is cut off would be taken for a damaged key.
        let temporary = path.with_extension("new");
        let _ = fs::remove_file(&temporary);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .map_err(said)?;
        file.write_all(&*keys.changes.to_bytes()).map_err(said)?;
        file.sync_all().map_err(said)?;
        fs::rename(&temporary, &path).map_err(said)?;
        sync_folder(&path).map_err(said)
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
                format!("others may read the secret key {}", escape::path(&path)),
            )
            .hint(format!("chmod 600 {}", escape::path(&path))));
        }
        let mut seed = Zeroizing::new([0; 32]);
        file.read_exact(&mut *seed).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => damaged(&path),
            _ => said(error),
        })?;
        if file.read(&mut [0]).map_err(said)? > 0 {
            return Err(damaged(&path));
        }
        let keys = Self::of(&seed);
        if keys.changes.public() != *drive {
            return Err(damaged(&path));
        }
        Ok(Some(keys))
    }

    /// Deletes the secret key of a drive from this computer. What was noted of its last head stays: should the key come back from a
    /// backup, an old copy of the drive is still told from the last one.
    ///
    /// # Errors
    /// E-IO when it cannot be deleted.
    pub fn delete(dirs: &Dirs, drive: &PublicKey) -> Result<(), Error> {
        let path = path(dirs, drive);
        let deleted = fs::remove_file(&path).and_then(|()| sync_folder(&path));
        deleted.map_err(|error| Error::io("delete", &path, &error))
    }

    fn of(seed: &[u8; 32]) -> Self {
        let content = Zeroizing::new(blake3::derive_key(CONTENT, seed));
        Self { changes: SecretKey::from_bytes(*seed), content: SecretKey::from_bytes(*content) }
    }
}

/// What a secret begins with, before the 1.
const HRP: Hrp = Hrp::parse_unchecked("datsec");

fn decode(word: &str) -> Option<Zeroizing<[u8; 32]>> {
    let parsed = CheckedHrpstring::new::<Bech32m>(word).ok().filter(|word| word.hrp() == HRP)?;
    let bytes: Zeroizing<Vec<u8>> = Zeroizing::new(parsed.byte_iter().collect());
    Some(Zeroizing::new(bytes.as_slice().try_into().ok()?))
}

fn damaged(path: &Path) -> Error {
    Error::new(Code::Io, format!("the secret key {} is damaged", escape::path(path))).hint(
        "put it back from a backup; without it, the drive can be read and served, not changed",
    )
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn home() -> (tempfile::TempDir, Dirs) {
        let home = tempfile::tempdir().unwrap();
        let dirs = Dirs::all_in(home.path().to_owned());
        (home, dirs)
    }

    #[test]
    fn keys_are_kept_for_the_owner_alone_and_found_again() {
        let (_home, dirs) = home();
        let keys = DriveKeys::create(&dirs).unwrap();
        let drive = keys.changes.public();
        let file = path(&dirs, &drive);
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(file.parent().unwrap()).unwrap().mode() & 0o777, 0o700);
        let again = DriveKeys::load(&dirs, &drive).unwrap().unwrap();
        assert_eq!(again.changes.public(), drive);
        assert_eq!(again.content.public(), keys.content.public());
        assert_ne!(again.content.public(), drive);
        let other = SecretKey::from_bytes([9; 32]).public();
        assert!(DriveKeys::load(&dirs, &other).unwrap().is_none());
    }

    #[test]
    fn a_key_that_others_may_read_is_refused() {
        let (_home, dirs) = home();
        let drive = DriveKeys::create(&dirs).unwrap().changes.public();
        for mode in [0o640, 0o604, 0o660] {
            let open = fs::Permissions::from_mode(mode);
            fs::set_permissions(path(&dirs, &drive), open).unwrap();
            let error = DriveKeys::load(&dirs, &drive).unwrap_err();
            assert!(error.message().contains("others may read"), "{error}");
        }
    }

    #[test]
    fn a_damaged_key_is_never_used() {
        let (_home, dirs) = home();
        let drive = DriveKeys::create(&dirs).unwrap().changes.public();
        let file = path(&dirs, &drive);
        let good = fs::read(&file).unwrap();
        let flipped = [&[good[0] ^ 1], &good[1..]].concat();
        for bad in [&good[..31], &[], &[&good[..], b"x"].concat(), &flipped] {
            fs::write(&file, bad).unwrap();
            let error = DriveKeys::load(&dirs, &drive).unwrap_err();
            assert!(error.message().contains("damaged"), "{error}");
        }
    }

    #[test]
    fn a_secret_moves_as_a_word() {
        let ((_there, there), (_here, here)) = (home(), home());
        let keys = DriveKeys::create(&there).unwrap();
        let word = keys.secret_word();
        assert_eq!((word.len(), word.starts_with("datsec1")), (65, true));
        let (taken, new) = DriveKeys::import(&here, &format!(" {}\n", &*word)).unwrap();
        assert_eq!((taken.changes.public(), new), (keys.changes.public(), true));
        assert_eq!(DriveKeys::all(&here), [keys.changes.public()]);
        assert!(!DriveKeys::import(&here, &word.to_ascii_uppercase()).unwrap().1);
        let typo = word.replacen('q', "p", 1).replacen('z', "q", 1);
        for bad in [
            "",
            "datsec1",
            "dat1",
            &word[..64],
            &typo,
            &crate::address::Link(&keys.changes.public()).to_string(),
        ] {
            let error = DriveKeys::import(&here, bad).unwrap_err();
            assert_eq!(error.code(), Code::SecretKey);
            assert!(
                bad.is_empty()
                    || !error.to_string().contains(&bad[7.min(bad.len())..])
                    || bad.len() < 9
            );
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let (_home, dirs) = home();
        let keys = DriveKeys::create(&dirs).unwrap();
        let seed = keys.changes.to_bytes();
        let shown = format!("{keys:?}");
        assert!(!shown.contains(&data_encoding::HEXLOWER.encode(&*seed)), "{shown}");
        assert!(!shown.contains(&format!("{:?}", &seed[..])), "{shown}");
    }
}
