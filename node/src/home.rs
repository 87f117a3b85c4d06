//! Where a drive is written, and how far it was: noted beside its secret key, outside the drive's folder.
//!
//! One key must write in one place only, or the drive gets two histories. A folder that was copied, or put back from a backup, looks
//! like the right one; the note tells the difference before anything is signed.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use datnode_feed::{Comparison, FeedSlot, PublicKey, SignedHead, VerifyError};
use serde_json::{Value, json};

use crate::address::key::hex;
use crate::cli::escape;
use crate::dirs::Dirs;
use crate::disk::{DRIVE_FOLDER, read_small, replace};
use crate::drives::read_key;
use crate::engine::AnyStore;
use crate::error::{Code, Error};

/// Files that are larger were written by something else.
const FILE_LEN_MAX: u64 = 64 << 10;

/// The note on one drive.
#[derive(Debug)]
pub struct Home {
    file: PathBuf,
    record: Option<Record>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    folder: PathBuf,
    /// The last head that was signed here.
    head: SignedHead,
    /// The longest length of the changes feed that others were seen to hold.
    seen: u64,
}

impl Home {
    /// Reads the note on a drive whose secret key is here.
    ///
    /// # Errors
    /// E-IO if it cannot be read or is damaged.
    pub fn open(dirs: &Dirs, drive: &PublicKey) -> Result<Self, Error> {
        let file = dirs.data.join("keys").join(hex(drive)).with_extension("home");
        let record = match read_small(&file, FILE_LEN_MAX) {
            Ok(bytes) => Some(Record::decode(&bytes).ok_or_else(|| damaged(&file))?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(Error::io("read", &file, &error)),
        };
        Ok(Self { file, record })
    }

    /// Returns how many blocks the changes feed had here, or was seen to have elsewhere.
    pub fn length(&self) -> u64 {
        self.record.as_ref().map_or(0, |record| record.seen.max(record.head.head.length))
    }

    /// Returns the folder that was seen to write the drive.
    pub fn folder(&self) -> Option<&Path> {
        self.record.as_ref().map(|record| record.folder.as_path())
    }

    /// Returns the folder that writes the drive, if it still does and is another one than `folder`.
    pub fn elsewhere(&self, folder: &Path) -> Option<&Path> {
        let home = self.record.as_ref().map(|record| record.folder.as_path())?;
        let key = |folder: &Path| read_key(folder).ok().flatten();
        let same_key = || key(home).is_some_and(|there| Some(there) == key(folder));
        (place(home)? != place(folder)? && same_key()).then_some(home)
    }

    /// Checks that the store of `folder` may go on writing; one that signed another history than before is noted as such.
    ///
    /// # Errors
    /// E-CONFLICT if it is a copy, older than before, or has another history; and what the store says.
    pub fn check(
        &self,
        folder: &Path,
        store: &mut AnyStore,
        changes: FeedSlot,
    ) -> Result<(), Error> {
        if let Some(home) = self.elsewhere(folder) {
            return Err(copied(folder, home));
        }
        let (here, before) = (store.length(changes), self.length());
        if here < before {
            return Err(older(folder, here, before));
        }
        if let Some(record) = &self.record
            && let Comparison::Contradict(accusation) =
                store.compare(changes, &record.head).map_err(own)?
        {
            store.accuse(changes, &accusation).map_err(own)?;
            store.commit().map_err(Error::store)?;
        }
        match store.accusation(changes) {
            Some(_) => Err(two_histories()),
            None => Ok(()),
        }
    }

    /// Notes that `folder` writes the drive and signed `head`.
    ///
    /// # Errors
    /// What the disk says.
    pub fn note(&mut self, folder: &Path, head: &SignedHead) -> Result<(), Error> {
        self.write(Record { folder: folder.to_owned(), head: *head, seen: self.length() })
    }

    /// Notes that others hold so many blocks of the changes feed.
    ///
    /// # Errors
    /// What the disk says.
    pub fn note_seen(&mut self, length: u64) -> Result<(), Error> {
        match &self.record {
            Some(record) if record.seen < length => {
                self.write(Record { seen: length, ..record.clone() })
            }
            _ => Ok(()),
        }
    }

    fn write(&mut self, record: Record) -> Result<(), Error> {
        if self.record.as_ref() != Some(&record) {
            replace(&self.file, &record.encode())?;
            self.record = Some(record);
        }
        Ok(())
    }
}

impl Record {
    fn encode(&self) -> Vec<u8> {
        let folder = data_encoding::BASE64.encode(self.folder.as_os_str().as_bytes());
        let head = data_encoding::HEXLOWER.encode(&self.head.encode());
        let shown = escape::path(&self.folder);
        let value =
            json!({ "folder": shown, "folder_b64": folder, "head": head, "seen": self.seen });
        format!("{value:#}\n").into_bytes()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(bytes).ok()?;
        let folder = data_encoding::BASE64.decode(value["folder_b64"].as_str()?.as_bytes()).ok()?;
        let head = data_encoding::HEXLOWER.decode(value["head"].as_str()?.as_bytes()).ok()?;
        Some(Self {
            folder: PathBuf::from(std::ffi::OsStr::from_bytes(&folder)),
            head: SignedHead::decode(&head).ok()?,
            seen: value["seen"].as_u64()?,
        })
    }
}

/// Takes a record from bytes: what is accepted comes back from its own encoding.
#[cfg(feature = "fuzz")]
pub(crate) fn fuzz(input: &[u8]) -> bool {
    let Some(record) = Record::decode(input) else { return false };
    assert_eq!(Record::decode(&record.encode()), Some(record), "a record comes back");
    true
}

#[cfg(feature = "fuzz")]
pub(crate) fn fuzz_seeds() -> Vec<Vec<u8>> {
    let record = |folder: &[u8]| Record {
        folder: PathBuf::from(std::ffi::OsStr::from_bytes(folder)),
        head: datnode_feed::fuzz::sample().heads[0],
        seen: 12,
    };
    [&b"/home/a/flights"[..], b"/\xff\n"].map(|folder| record(folder).encode()).to_vec()
}

/// Returns what makes a drive's folder this one and no other, as long as it exists.
fn place(folder: &Path) -> Option<(u64, u64)> {
    let found = std::fs::metadata(folder.join(DRIVE_FOLDER)).ok()?;
    Some((found.dev(), found.ino()))
}

fn damaged(file: &Path) -> Error {
    Error::new(Code::Io, format!("{} is damaged", escape::path(file))).hint(
        "it tells where the drive is written; delete it only if you are sure that nothing else writes this drive",
    )
}

/// The folder is a copy of the one that writes.
pub fn copied(folder: &Path, home: &Path) -> Error {
    let (folder, home) = (escape::path(folder), escape::path(home));
    Error::new(Code::Conflict, format!("{folder} is a copy: {home} writes this drive"))
        .context("two folders that write with one key would split the drive into two histories")
        .hint(format!("put the changes into the other folder: datnode share {home}"))
        .hint(format!("serve this copy as it is: datnode share --no-import {folder}"))
}

/// The store is shorter than what its writer wrote.
pub fn older(folder: &Path, here: u64, before: u64) -> Error {
    let folder = escape::path(folder);
    Error::new(Code::Conflict, format!("this store is older than what it wrote before ({here} < {before})"))
        .context("a backup was put back, perhaps; a change added now would split the drive into two histories")
        .hint(format!("take the missing changes back from whoever has them: datnode recover {folder}"))
        .hint(format!("serve what is here: datnode share --no-import {folder}"))
        .field("here", here)
        .field("before", before)
}

/// The drive's key signed two histories.
pub fn two_histories() -> Error {
    Error::new(
        Code::Conflict,
        "the key of this drive signed two histories, so nothing can be added to it",
    )
    .context("two folders, or an old backup, wrote with one key; everybody keeps what they have")
    .hint("share the folder as a new drive: move its .dat folder away, then datnode share")
}

/// What a reader is told of such a drive.
pub fn two_histories_read() -> Error {
    Error::new(Code::Conflict, "the key of this drive signed two histories; this is one of them")
        .context("nothing newer is taken from anybody, and others may have read something else")
        .hint("ask whoever publishes it for a new drive")
}

/// A head of our own that is no good, or a store that does not answer.
fn own(error: VerifyError) -> Error {
    match error {
        VerifyError::Store(error) => Error::store(error),
        other => {
            Error::verify(format!("the last head that was signed here does not verify: {other}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use datnode_feed::{Hash, Head, SecretKey};

    use super::*;

    fn head(length: u64) -> SignedHead {
        let head = Head { fork: 0, length, byte_length: 1, root: Hash([3; 32]), ancestor: None };
        SignedHead::sign(head, &SecretKey::from_bytes([1; 32]))
    }

    #[test]
    fn the_note_comes_back() {
        let home = tempfile::tempdir().unwrap();
        let dirs = Dirs::all_in(home.path().to_owned());
        std::fs::create_dir_all(dirs.data.join("keys")).unwrap();
        let drive = SecretKey::from_bytes([1; 32]).public();
        let mut note = Home::open(&dirs, &drive).unwrap();
        assert_eq!(note.length(), 0);
        note.note_seen(7).unwrap();
        assert_eq!(note.length(), 0, "a drive that was never written here has no note");
        let odd = home.path().join(std::ffi::OsStr::from_bytes(b"a\n\xff"));
        note.note(&odd, &head(10)).unwrap();
        note.note_seen(15).unwrap();
        note.note_seen(12).unwrap();
        let again = Home::open(&dirs, &drive).unwrap();
        assert_eq!(again.record, note.record);
        assert_eq!(again.length(), 15);
        let mut bytes = std::fs::read(&note.file).unwrap();
        bytes.truncate(bytes.len() / 2);
        std::fs::write(&note.file, bytes).unwrap();
        assert_eq!(Home::open(&dirs, &drive).unwrap_err().code(), Code::Io);
    }
}
