//! The drives that a user has on this computer: where each is, and what it is called here.
//!
//! One file a drive in the data directory, named by its key, so that processes that note different drives never meet. A name
//! belongs to one drive; it is a matter of this user and travels nowhere. Which drive a folder holds is said in the folder itself, by
//! [`read_key`].

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use datnode_feed::PublicKey;
use libp2p::Multiaddr;
use serde_json::{Value, json};

use crate::address::ticket::BOOTSTRAP_MAX;
use crate::address::{Link, key};
use crate::cli::escape;
use crate::dirs::{Dirs, make_private};
use crate::disk::{DRIVE_FOLDER, read_small, replace};
use crate::error::{Code, Error};
use crate::origin::{ORIGINS_MAX, Origin};

/// The longest name, in bytes; enough to type.
const NAME_LEN_MAX: usize = 64;
/// Files that are larger were written by something else.
const FILE_LEN_MAX: u64 = 64 << 10;
/// The name of the file in a drive's folder that says which drive it is: its key in hexadecimal, and a newline.
const KEY_FILE: &str = "key";
/// Such a file has 65 bytes.
const KEY_FILE_LEN_MAX: u64 = 128;

/// The notes of one user; read when they are asked for.
#[derive(Clone, Debug)]
pub struct Drives {
    folder: PathBuf,
}

/// What is known of one drive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The drive.
    pub key: PublicKey,
    /// What the user calls it, if anything.
    pub name: Option<String>,
    /// Where it was seen last.
    pub folder: PathBuf,
    /// Where it is fetched from, beside peers.
    pub origins: Vec<Origin>,
    /// Nodes that lead into the DHT, where its peers are looked for.
    pub bootstrap: Vec<Multiaddr>,
}

impl Known {
    /// Tells whether its folder still holds this drive.
    pub fn is_there(&self) -> bool {
        matches!(read_key(&self.folder), Ok(Some(key)) if key == self.key)
    }

    fn encode(&self) -> Vec<u8> {
        let folder = data_encoding::BASE64.encode(self.folder.as_os_str().as_bytes());
        let shown = escape::path(&self.folder);
        let mut value = json!({ "name": self.name, "folder": shown, "folder_b64": folder });
        if !self.origins.is_empty() {
            let origins: Vec<String> = self.origins.iter().map(ToString::to_string).collect();
            value["origins"] = json!(origins);
        }
        if !self.bootstrap.is_empty() {
            let nodes: Vec<String> = self.bootstrap.iter().map(ToString::to_string).collect();
            value["bootstrap"] = json!(nodes);
        }
        format!("{value:#}\n").into_bytes()
    }

    fn decode(key: PublicKey, bytes: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(bytes).ok()?;
        let folder = data_encoding::BASE64.decode(value["folder_b64"].as_str()?.as_bytes()).ok()?;
        let name = value["name"].as_str().filter(|name| is_name(name)).map(str::to_owned);
        let origins = strings(&value["origins"]).filter_map(|origin| origin.parse().ok());
        let origins = origins.take(ORIGINS_MAX).collect();
        let bootstrap = strings(&value["bootstrap"]).filter_map(|address| address.parse().ok());
        let bootstrap = bootstrap.take(BOOTSTRAP_MAX).collect();
        let folder = PathBuf::from(OsStr::from_bytes(&folder));
        Some(Self { key, name, folder, origins, bootstrap })
    }
}

impl Drives {
    /// Returns the notes in a user's directories.
    pub fn of(dirs: &Dirs) -> Self {
        Self { folder: dirs.data.join("drives") }
    }

    /// Returns all drives, by name and then by folder; what cannot be read is left out.
    pub fn all(&self) -> Vec<Known> {
        let files = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let mut all: Vec<Known> = files.filter_map(|file| read(&file.path())).collect();
        all.sort_by(|a, b| {
            let order = |known: &Known| (known.name.is_none(), known.name.clone());
            (order(a), &a.folder).cmp(&(order(b), &b.folder))
        });
        all
    }

    /// Returns what is known of a drive.
    pub fn of_key(&self, drive: &PublicKey) -> Option<Known> {
        read(&self.path(drive))
    }

    /// Forgets where a drive was and what it was called.
    ///
    /// # Errors
    /// E-IO when the note cannot be deleted.
    pub fn forget(&self, drive: &PublicKey) -> Result<(), Error> {
        let path = self.path(drive);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(Error::io("delete", &path, &error))
            }
            _ => Ok(()),
        }
    }

    /// Returns the drive of a name.
    pub fn find(&self, name: &str) -> Option<Known> {
        self.all().into_iter().find(|known| known.name.as_deref() == Some(name))
    }

    /// Notes where a drive is, and how the user calls it; without a name the one it has stays.
    ///
    /// # Errors
    /// E-USAGE for what is no name, or is that of another drive, and what the disk says.
    pub fn note(&self, drive: &PublicKey, folder: &Path, name: Option<&str>) -> Result<(), Error> {
        let before = self.of_key(drive);
        let name = match name {
            Some(name) => {
                self.check(drive, name)?;
                Some(name.to_owned())
            }
            None => before.as_ref().and_then(|known| known.name.clone()),
        };
        let ways = before.as_ref().map(|known| (known.origins.clone(), known.bootstrap.clone()));
        let (origins, bootstrap) = ways.unwrap_or_default();
        let now = Known { key: *drive, name, folder: folder.to_owned(), origins, bootstrap };
        if before.as_ref() == Some(&now) {
            return Ok(());
        }
        self.write(&now)
    }

    /// Notes where a drive that is known is fetched from beside peers, instead of what was noted before.
    ///
    /// It is kept with the user and not in the drive's folder, which may come from anybody: whom to call is the user's to say.
    ///
    /// # Errors
    /// What the disk says.
    pub fn note_origins(&self, drive: &PublicKey, origins: &[Origin]) -> Result<(), Error> {
        match self.of_key(drive) {
            Some(known) if known.origins != origins => {
                self.write(&Known { origins: origins.to_vec(), ..known })
            }
            _ => Ok(()),
        }
    }

    /// Notes nodes that lead to peers of a drive that is known, instead of those noted before; kept with the user as origins are.
    ///
    /// # Errors
    /// What the disk says.
    pub fn note_bootstrap(&self, drive: &PublicKey, nodes: &[Multiaddr]) -> Result<(), Error> {
        match self.of_key(drive) {
            Some(known) if known.bootstrap != nodes => {
                self.write(&Known { bootstrap: nodes.to_vec(), ..known })
            }
            _ => Ok(()),
        }
    }

    fn write(&self, known: &Known) -> Result<(), Error> {
        make_private(&self.folder).map_err(|error| Error::io("create", &self.folder, &error))?;
        replace(&self.path(&known.key), &known.encode())
    }

    /// Returns a name that the drive may have here, if `wanted` is one and free.
    pub fn free(&self, drive: &PublicKey, wanted: &[u8]) -> Option<String> {
        let wanted = std::str::from_utf8(wanted).ok()?;
        self.check(drive, wanted).is_ok().then(|| wanted.to_owned())
    }

    /// Checks that a drive may be called so.
    ///
    /// # Errors
    /// E-USAGE if it is no name, or that of another drive.
    pub fn check(&self, drive: &PublicKey, name: &str) -> Result<(), Error> {
        self.check_for(Some(drive), name)
    }

    fn check_for(&self, drive: Option<&PublicKey>, name: &str) -> Result<(), Error> {
        if !is_name(name) {
            let shown = escape::text(name);
            return Err(Error::new(Code::Usage, format!("“{shown}” cannot be a drive's name"))
                .context(format!(
                    "a name has 1 to {NAME_LEN_MAX} bytes, no / and no +, does not begin with . or ~ and looks like no key"
                )));
        }
        match self.find(name) {
            Some(other) if Some(&other.key) != drive => {
                let link = Link(&other.key);
                let error =
                    Error::usage(format!("{} is the name of another drive", escape::text(name)));
                Err(error.context(format!("{link} in {}", escape::path(&other.folder))))
            }
            _ => Ok(()),
        }
    }

    /// Checks that a drive that is yet to be made may be called so.
    ///
    /// # Errors
    /// Those of [`check`](Self::check).
    pub fn check_new(&self, name: &str) -> Result<(), Error> {
        self.check_for(None, name)
    }

    fn path(&self, drive: &PublicKey) -> PathBuf {
        self.folder.join(key::hex(drive))
    }
}

/// Returns the key of the drive in a folder, if there is one.
///
/// # Errors
/// E-VERIFY if there is something else in its place, E-IO if it cannot be read.
pub fn read_key(folder: &Path) -> Result<Option<PublicKey>, Error> {
    let path = folder.join(DRIVE_FOLDER).join(KEY_FILE);
    let damaged = || Error::verify(format!("{} holds no key", escape::path(&path)));
    match read_small(&path, KEY_FILE_LEN_MAX) {
        Ok(hex) => {
            let bytes = data_encoding::HEXLOWER.decode(hex.trim_ascii()).map_err(|_| damaged())?;
            let key = bytes.try_into().ok().and_then(|bytes| PublicKey::from_bytes(bytes).ok());
            Ok(Some(key.ok_or_else(damaged)?))
        }
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(Error::io("read", &path, &error)),
    }
}

/// Says which drive a folder holds.
///
/// # Errors
/// What the disk says.
pub fn write_key(folder: &Path, drive: &PublicKey) -> Result<(), Error> {
    let line = format!("{}\n", key::hex(drive));
    replace(&folder.join(DRIVE_FOLDER).join(KEY_FILE), line.as_bytes())
}

/// Returns the strings of a list.
fn strings(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn read(path: &Path) -> Option<Known> {
    let name = path.file_name()?.as_bytes();
    let bytes = data_encoding::HEXLOWER.decode(name).ok()?.try_into().ok()?;
    Known::decode(PublicKey::from_bytes(bytes).ok()?, &read_small(path, FILE_LEN_MAX).ok()?)
}

/// Tells whether a drive can be called so: nothing that an address would take for something else.
fn is_name(name: &str) -> bool {
    (1..=NAME_LEN_MAX).contains(&name.len())
        && !name.starts_with(['.', '~', '-'])
        && !name.contains(['/', '+'])
        && escape::text(name) == name
        && !key::is_keylike(name.as_bytes())
}

#[cfg(test)]
mod tests {
    use datnode_feed::SecretKey;

    use super::*;

    fn key(seed: u8) -> PublicKey {
        SecretKey::from_bytes([seed; 32]).public()
    }

    fn drives() -> (tempfile::TempDir, Drives) {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("drives");
        (home, Drives { folder })
    }

    #[test]
    fn a_drive_is_found_by_name_and_key() {
        let (_home, drives) = drives();
        assert!(drives.all().is_empty());
        let odd = Path::new(OsStr::from_bytes(b"/home/a/\xff\n"));
        drives.note(&key(1), odd, Some("flights")).unwrap();
        drives.note(&key(2), Path::new("/b"), None).unwrap();
        let found = drives.find("flights").unwrap();
        assert_eq!((found.key, found.folder.as_path()), (key(1), odd));
        assert_eq!(drives.of_key(&key(2)).unwrap().name, None);
        let names: Vec<_> = drives.all().into_iter().map(|known| known.name).collect();
        assert_eq!(names, [Some("flights".to_owned()), None]);
        let node: Multiaddr = "/ip4/10.0.0.1/tcp/3282".parse().unwrap();
        drives.note_bootstrap(&key(1), std::slice::from_ref(&node)).unwrap();
        // A drive that moves keeps its name and what leads to it, and may get another name.
        drives.note(&key(1), Path::new("/c"), None).unwrap();
        let moved = drives.find("flights").unwrap();
        assert_eq!((moved.folder.as_path(), moved.bootstrap), (Path::new("/c"), vec![node]));
        drives.note(&key(1), Path::new("/c"), Some("planes")).unwrap();
        assert_eq!((drives.find("flights"), drives.all().len()), (None, 2));
    }

    #[test]
    fn a_name_belongs_to_one_drive() {
        let (_home, drives) = drives();
        drives.note(&key(1), Path::new("/a"), Some("flights")).unwrap();
        let error = drives.note(&key(2), Path::new("/b"), Some("flights")).unwrap_err();
        assert_eq!(error.code(), Code::Usage);
        assert_eq!(drives.of_key(&key(2)), None, "nothing was noted");
        assert_eq!(drives.free(&key(2), b"flights"), None);
        assert_eq!(drives.free(&key(1), b"flights").as_deref(), Some("flights"));
        assert_eq!(drives.free(&key(2), b"\xff"), None);
    }

    #[test]
    fn what_an_address_takes_for_something_else_is_no_name() {
        let link = Link(&key(1)).to_string();
        let hex = key::hex(&key(1));
        let long = "n".repeat(NAME_LEN_MAX + 1);
        for name in [
            "",
            ".",
            "./a",
            "~",
            "a/b",
            "a+1",
            "-v",
            "a\nb",
            "\u{202e}a",
            "dat1x",
            "datsec1x",
            "datticketx",
            &link,
            &hex,
            &long,
        ] {
            assert!(!is_name(name), "{name:?}");
        }
        for name in ["a", "flights", "Flüge 2026", "data", "dat", &"n".repeat(NAME_LEN_MAX)] {
            assert!(is_name(name), "{name:?}");
        }
    }

    #[test]
    fn what_others_wrote_is_left_out() {
        let (_home, drives) = drives();
        std::fs::create_dir_all(&drives.folder).unwrap();
        for (file, content) in [
            (key::hex(&key(1)), "{"),
            (key::hex(&key(2)), "{\"folder_b64\": \"!\"}"),
            ("no-key".to_owned(), "{}"),
            (key::hex(&key(3)), "{\"name\": \"../etc\", \"folder_b64\": \"L2E=\"}"),
        ] {
            std::fs::write(drives.folder.join(file), content).unwrap();
        }
        let [only] = &drives.all()[..] else { panic!("one of them makes sense") };
        assert_eq!((&only.name, only.folder.as_path()), (&None, Path::new("/a")));
    }
}
