//! What is on a disk, looked at without following anything: what landed, and that nothing else changed.
//!
//! Paths may be longer than the system takes at once, so folders are entered one by one.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, open, openat, readlinkat, statat};

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A file with these bytes.
    File(Vec<u8>),
    /// A link.
    Link(Vec<u8>),
    /// A folder.
    Folder,
    /// Something else.
    Other,
}

/// When something was changed, and which it is.
type Mark = (u64, i64, i64);

/// Returns everything below a folder but its store.
pub fn landed(root: &Path) -> BTreeMap<Vec<u8>, Seen> {
    let mut all = BTreeMap::new();
    let root = open(root, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
    look(&root, b"", &mut |path, seen, _| {
        let ours = path == b".dat" || path.starts_with(b".dat/");
        if !ours {
            all.insert(path.to_vec(), seen);
        }
    });
    all
}

/// Returns the files of a tree.
pub fn files(seen: BTreeMap<Vec<u8>, Seen>) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let file = |(path, seen)| match seen {
        Seen::File(bytes) => Some((path, bytes)),
        _ => None,
    };
    seen.into_iter().filter_map(file).collect()
}

/// Everything around a target, as it was.
#[derive(Debug)]
pub struct Guard {
    root: std::path::PathBuf,
    but: Vec<u8>,
    before: BTreeMap<Vec<u8>, (Seen, Mark)>,
}

impl Guard {
    /// Looks at all below `root` but the target; puts things there that an escape would hit.
    pub fn around(root: &Path, target: &str) -> Self {
        for canary in ["up", "canary", "etc/passwd", ".dat", "in", "store", "key"] {
            let path = root.join(canary);
            if !path.exists() {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, b"as it was").unwrap();
            }
        }
        let but = target.as_bytes().to_vec();
        let mut guard = Self { root: root.to_owned(), but, before: BTreeMap::new() };
        guard.before = guard.now();
        guard
    }

    /// Asserts that nothing changed.
    pub fn assert_unchanged(&self) {
        let now = self.now();
        assert!(now.keys().eq(self.before.keys()), "{:?}", now.keys());
        for (path, was) in &self.before {
            assert!(now[path] == *was, "{} changed", path.escape_ascii());
        }
    }

    fn now(&self) -> BTreeMap<Vec<u8>, (Seen, Mark)> {
        let mut all = BTreeMap::new();
        let root = open(&self.root, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        look(&root, b"", &mut |path, seen, mark| {
            let within = path.strip_prefix(&self.but[..]);
            if !within.is_some_and(|rest| matches!(rest.first(), None | Some(b'/'))) {
                all.insert(path.to_vec(), (seen, mark));
            }
        });
        all
    }
}

/// Calls `each` for all that is in a folder, deepest folders included.
fn look(folder: &OwnedFd, at: &[u8], each: &mut impl FnMut(&[u8], Seen, Mark)) {
    for entry in Dir::read_from(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        let name = OsStr::from_bytes(name);
        let stat = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).unwrap();
        let path = if at.is_empty() {
            name.as_bytes().to_vec()
        } else {
            [at, b"/", name.as_bytes()].concat()
        };
        let within = |flags| openat(folder.as_fd(), name, flags, Mode::empty()).unwrap();
        let seen = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                let mut bytes = Vec::new();
                File::from(within(OFlags::RDONLY)).read_to_end(&mut bytes).unwrap();
                Seen::File(bytes)
            }
            FileType::Symlink => {
                Seen::Link(readlinkat(folder, name, Vec::new()).unwrap().into_bytes())
            }
            FileType::Directory => {
                look(&within(OFlags::RDONLY | OFlags::DIRECTORY), &path, each);
                Seen::Folder
            }
            _ => Seen::Other,
        };
        // A folder's own time changes with what is made in it, which shows by itself.
        let times = if seen == Seen::Folder { (0, 0) } else { (stat.st_mtime, stat.st_ctime) };
        each(&path, seen, (stat.st_ino, times.0, times.1));
    }
}
