//! Changes a drive by paths: put, remove, move. No folder is walked.
//!
//! A drive with a working folder is changed there first and then taken in, so that both stay in step whatever ends the process: what was
//! done in the folder and not taken in, the next share takes in. A bare drive has its files in the store alone.
//! Elsewhere: taking in (`import`), who asks (`commands::edit`), asking another process (`control`).

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use datnode_drive::{DrivePath, Entry, Kind, Op, SafePath, Step, Version};
use datnode_feed::{Storage, Store};
use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Serialize};

use crate::address::VersionSpec;
use crate::cli::escape;
use crate::disk::DRIVE_FOLDER;
use crate::error::{Code, Error};
use crate::import::{How, Keep, Rules, Writer, finish, import_paths, latest, look_at};
use crate::keys::random;
use crate::view::View;

/// The file that makes a drive bare.
const BARE: &str = "bare";
/// Where what is to be put waits, beside the store.
const STAGED: &str = "staged";
/// How many entries are read at a time.
const PAGE: usize = 1_000;

/// What is to be done, once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    /// What.
    pub edit: Edit,
    /// What the writer says of it.
    pub message: String,
    /// The version that the drive has to be at.
    pub if_version: Option<String>,
}

/// A change by paths.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Edit {
    /// A file is put at a path.
    Put {
        /// Where.
        path: Raw,
        /// What a file that is put into a folder is called there.
        name: Option<Raw>,
        /// The file, on the disk of the store; it is moved from there.
        staged: Raw,
    },
    /// Files are deleted.
    Remove {
        /// Which.
        paths: Vec<Raw>,
        /// Whether folders are meant with all that is in them.
        recursive: bool,
    },
    /// A file or folder gets another path.
    Move {
        /// The old one.
        from: Raw,
        /// The new one, or that of a folder to put it into.
        to: Raw,
    },
}

/// Bytes of a name; base64 in JSON, as they need not be UTF-8.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Raw(pub Vec<u8>);

impl From<Raw> for String {
    fn from(raw: Raw) -> Self {
        data_encoding::BASE64.encode(&raw.0)
    }
}

impl TryFrom<String> for Raw {
    type Error = data_encoding::DecodeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        data_encoding::BASE64.decode(text.as_bytes()).map(Self)
    }
}

impl Raw {
    /// Returns the bytes of a path of the disk.
    pub fn of(path: &Path) -> Self {
        Self(path.as_os_str().as_bytes().to_vec())
    }

    fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    fn drive_path(&self) -> Result<DrivePath, Error> {
        DrivePath::from_bytes(self.0.clone()).map_err(|error| Error::usage(error.to_string()))
    }
}

/// What came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Edited {
    /// The number of the version now.
    pub change: u64,
    /// Its id.
    pub version: String,
    /// Whether it is a new one.
    pub changed: bool,
    /// Where the first thing is now that was put or moved, or was that is no more.
    pub path: Raw,
    /// How many bytes the file has that was put.
    pub bytes: u64,
    /// How many of them were not stored before.
    pub bytes_new: u64,
    /// How many files and folders were put, moved or deleted.
    pub count: u64,
}

/// Tells whether a drive has no working folder.
///
/// # Errors
/// What the disk says: whoever took a bare drive for another would delete all that is in it.
pub fn is_bare(folder: &Path) -> Result<bool, Error> {
    let mark = folder.join(DRIVE_FOLDER).join(BARE);
    mark.try_exists().map_err(|error| Error::io("look at", &mark, &error))
}

/// Makes a drive one without a working folder.
///
/// # Errors
/// What the disk says.
pub fn make_bare(folder: &Path) -> Result<(), Error> {
    crate::disk::replace(&folder.join(DRIVE_FOLDER).join(BARE), b"")
}

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
        if pid.is_none_or(|pid| test_kill_process(pid).is_err()) {
            let path = file.path();
            let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
        }
    }
}

/// Carries an order out on the drive of `folder`, whose store is given.
///
/// # Errors
/// E-NOTFOUND, E-CONFLICT for another version than was expected, E-USAGE and E-PATH for paths that cannot be; what the disk and the
/// store say.
pub fn carry_out<S: Storage>(
    store: &mut Store<S>,
    writer: &Writer<'_>,
    folder: &Path,
    order: &Order,
) -> Result<Edited, Error> {
    let base = latest(store, writer.changes.0)?;
    check_version(order.if_version.as_deref(), &base)?;
    let bare = is_bare(folder)?;
    let mut editor =
        Editor { store: &mut *store, writer, base, folder, bare, message: &order.message };
    let done = match &order.edit {
        Edit::Put { path, name, staged } => {
            editor.put(path.drive_path()?, name.as_ref(), staged.as_path())
        }
        Edit::Remove { paths, recursive } => {
            let paths = paths.iter().map(Raw::drive_path).collect::<Result<Vec<_>, _>>()?;
            editor.remove(&paths, *recursive)
        }
        Edit::Move { from, to } => editor.rename(&from.drive_path()?, to.drive_path()?),
    };
    if done.is_err() {
        // What was appended and not signed would be part of the next change.
        for feed in [writer.changes.0, writer.content.0] {
            store.rollback(feed).map_err(Error::store)?;
        }
    }
    done
}

fn check_version(wanted: Option<&str>, base: &Version) -> Result<(), Error> {
    let Some(wanted) = wanted else { return Ok(()) };
    let fits = match VersionSpec::parse(wanted.as_bytes())? {
        VersionSpec::Latest => true,
        VersionSpec::Number(number) => number == base.number,
        ref id @ VersionSpec::Id(_) => id.matches(&base.id.0),
        VersionSpec::AsOf(_) => return Err(Error::usage("--if-version takes a number or a hash")),
    };
    if fits {
        return Ok(());
    }
    let id = base.id.to_string();
    Err(Error::new(
        Code::Conflict,
        format!("the drive is at version {} · {}", base.number, &id[..6]),
    )
    .context(format!("expected: {}", escape::text(wanted)))
    .hint("look at what changed, and try again with that version"))
}

struct Editor<'a, S> {
    store: &'a mut Store<S>,
    writer: &'a Writer<'a>,
    base: Version,
    folder: &'a Path,
    bare: bool,
    message: &'a str,
}

impl<S: Storage> Editor<'_, S> {
    fn put(&mut self, path: DrivePath, name: Option<&Raw>, staged: &Path) -> Result<Edited, Error> {
        let path = match (self.is_folder(&path)?, name) {
            (false, _) => path,
            (true, Some(name)) => join(&path, &name.0)?,
            (true, None) => {
                return Err(Error::usage(
                    "this is a folder; give the name that the file is to have",
                ));
            }
        };
        self.check_place(&path)?;
        let bytes = fs::metadata(staged).map_err(|error| Error::io("read", staged, &error))?.len();
        if self.bare {
            let root = staged.with_extension("root");
            let ended = self
                .place(staged, &root, &path)
                .and_then(|()| self.take_in(&root, BTreeSet::from([path.clone()]), &path, bytes));
            let _ = fs::remove_dir_all(&root);
            return ended;
        }
        self.place(staged, self.folder, &path)?;
        let touched = above(&path).chain([path.clone()]).collect();
        self.take_in(self.folder, touched, &path, bytes)
    }

    fn remove(&mut self, paths: &[DrivePath], recursive: bool) -> Result<Edited, Error> {
        let mut all = BTreeSet::new();
        for path in paths {
            if self.is_folder(path)? && !recursive {
                let shown = escape::bytes(path.as_bytes());
                return Err(Error::usage(format!("{shown} is a folder"))
                    .hint("datnode rm -r deletes it with all that is in it"));
            }
            let below = self.below(path)?;
            if below.is_empty() {
                return Err(self.missing(path));
            }
            all.extend(below.into_iter().map(|(path, _)| path));
        }
        let first = paths.first().ok_or_else(|| Error::usage("nothing is named"))?;
        if self.bare {
            // Whatever is named is not there.
            let nowhere = staging_place(self.folder)?.with_extension("root");
            fs::create_dir_all(&nowhere).map_err(|error| Error::io("create", &nowhere, &error))?;
            let ended = self.take_in(&nowhere, all, first, 0);
            let _ = fs::remove_dir_all(&nowhere);
            return ended;
        }
        for path in &all {
            self.check_above(path)?;
            self.check_shared(path)?;
        }
        // What is in a folder comes before the folder itself.
        for path in all.iter().rev() {
            let at = self.folder.join(OsStr::from_bytes(path.as_bytes()));
            match fs::symlink_metadata(&at) {
                // One that holds something else stays, and so does its entry.
                Ok(found) if found.is_dir() => drop(fs::remove_dir(&at)),
                Ok(_) => fs::remove_file(&at).map_err(|error| Error::io("delete", &at, &error))?,
                Err(_) => {}
            }
        }
        let touched =
            all.iter().flat_map(above).collect::<Vec<_>>().into_iter().chain(all).collect();
        self.take_in(self.folder, touched, first, 0)
    }

    fn rename(&mut self, from: &DrivePath, to: DrivePath) -> Result<Edited, Error> {
        let moved = self.below(from)?;
        if moved.is_empty() || from.is_root() {
            return Err(self.missing(from));
        }
        let to = match self.is_folder(&to)? {
            true => join(&to, from.base().unwrap_or_default())?,
            false => to,
        };
        if to.is_within(from) {
            return Err(Error::usage("a folder cannot be moved into itself"));
        }
        self.check_above(from)?;
        self.check_place(&to)?;
        let of_file = matches!(&moved[..], [(path, _)] if path == from);
        if !of_file && self.entry(&to)?.is_some() {
            let shown = escape::bytes(to.as_bytes());
            return Err(Error::usage(format!("{shown} is no folder")));
        }
        let new_path = |path: &DrivePath| match path.as_bytes().get(from.as_bytes().len() + 1..) {
            Some(rest) => join(&to, rest),
            None => Ok(to.clone()),
        };
        if self.bare {
            return self.rename_entries(&to, &moved, new_path);
        }
        let [old, new] =
            [from, &to].map(|path| self.folder.join(OsStr::from_bytes(path.as_bytes())));
        let parent = new.parent().expect("it is in the folder");
        fs::create_dir_all(parent).map_err(|error| Error::io("create", parent, &error))?;
        fs::rename(&old, &new).map_err(|error| Error::io("move", &old, &error))?;
        let mut touched = BTreeSet::new();
        for (path, _) in &moved {
            let new = new_path(path)?;
            touched.extend(above(path).chain(above(&new)));
            touched.extend([path.clone(), new]);
        }
        self.take_in(self.folder, touched, &to, 0)
    }

    /// Gives entries other names; their bytes stay where they are.
    fn rename_entries(
        &mut self,
        to: &DrivePath,
        moved: &[(DrivePath, Entry)],
        new_path: impl Fn(&DrivePath) -> Result<DrivePath, Error>,
    ) -> Result<Edited, Error> {
        let mut ops = Vec::new();
        for (path, entry) in moved {
            let new = new_path(path)?;
            ops.push(Op::Put(new, entry.clone()));
            ops.push(Op::Delete(path.clone()));
        }
        ops.sort_by_cached_key(|op| op.path().key());
        let version = finish(self.store, self.writer, &self.base, &ops, self.message)?;
        let count = moved.len() as u64;
        Ok(edited(&version, &self.base, to, (0, 0, count)))
    }

    fn take_in(
        &mut self,
        root: &Path,
        touched: BTreeSet<DrivePath>,
        first: &DrivePath,
        bytes: u64,
    ) -> Result<Edited, Error> {
        let rules = Rules::default();
        let how = How { rules: &rules, keep: Keep::History, message: self.message };
        let done = import_paths(self.store, self.writer, &self.base, root, &touched, &how)?;
        if !done.walked.unreadable.is_empty() {
            return Err(Error::unreadable(&done.walked.unreadable));
        }
        if !done.unsteady.is_empty() {
            return Err(Error::changed(&done.unsteady));
        }
        let count = done.added + done.altered + done.removed;
        Ok(edited(&done.version, &self.base, first, (bytes, done.bytes_new, count)))
    }

    /// Moves a file to its place below `root`, at once.
    fn place(&self, staged: &Path, root: &Path, path: &DrivePath) -> Result<(), Error> {
        let at = root.join(OsStr::from_bytes(path.as_bytes()));
        let parent = at.parent().expect("it is in the folder");
        fs::create_dir_all(parent).map_err(|error| Error::io("create", parent, &error))?;
        fs::rename(staged, &at).map_err(|error| Error::io("write", &at, &error))
    }

    /// Refuses a path where no file can be: one that may not land, or below a file; and one where something is that nobody shared.
    fn check_place(&mut self, path: &DrivePath) -> Result<(), Error> {
        SafePath::new(path)
            .map_err(|refusal| Error::paths(&[(path.as_bytes().to_vec(), refusal.to_string())]))?;
        self.check_above(path)?;
        self.check_shared(path)
    }

    /// Refuses what is on the disk and not in the drive as it is there: no version would have it.
    fn check_shared(&mut self, path: &DrivePath) -> Result<(), Error> {
        if self.bare {
            return Ok(());
        }
        let here = look_at(self.folder, &BTreeSet::from([path.clone()]));
        let Some(found) = here.found.first() else { return Ok(()) };
        let shared = self.entry(path)?.is_some_and(|entry| {
            let same = entry.kind == found.kind && entry.target == found.target;
            let alike = (entry.size, entry.mtime) == (found.size, found.mtime);
            same && (entry.kind != Kind::File || alike)
        });
        if shared || found.kind == Kind::Directory {
            return Ok(());
        }
        let shown = escape::bytes(path.as_bytes());
        Err(Error::new(Code::Dirty, format!("{shown} was changed here and is in no version"))
            .hint("datnode share takes it in first; or move it away"))
    }

    /// Refuses a path below a file or a link: it may lead out of the folder.
    fn check_above(&mut self, path: &DrivePath) -> Result<(), Error> {
        for folder in above(path) {
            let in_drive = self.entry(&folder)?.is_some_and(|entry| entry.kind != Kind::Directory);
            let at = self.folder.join(OsStr::from_bytes(folder.as_bytes()));
            let on_disk = fs::symlink_metadata(at).is_ok_and(|found| !found.is_dir());
            if in_drive || on_disk && !self.bare {
                let shown = escape::bytes(folder.as_bytes());
                return Err(Error::usage(format!("{shown} is no folder")));
            }
        }
        Ok(())
    }

    /// Tells whether a path is a folder, of its own or because something is in it.
    fn is_folder(&mut self, path: &DrivePath) -> Result<bool, Error> {
        match self.entry(path)? {
            Some(entry) => Ok(entry.kind == Kind::Directory),
            None => Ok(path.is_root() || !self.below(path)?.is_empty()),
        }
    }

    fn entry(&mut self, path: &DrivePath) -> Result<Option<Entry>, Error> {
        if path.is_root() {
            return Ok(None);
        }
        let view = View::new(self.store, self.writer.changes.0, None);
        here(self.base.entry(&view, path))
    }

    /// Returns what is at a path, and all that is in it.
    fn below(&mut self, path: &DrivePath) -> Result<Vec<(DrivePath, Entry)>, Error> {
        let mut all: Vec<(DrivePath, Entry)> =
            self.entry(path)?.map(|entry| (path.clone(), entry)).into_iter().collect();
        let view = View::new(self.store, self.writer.changes.0, None);
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = here(self.base.list(&view, path, after.as_deref(), PAGE))?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            for (name, entry) in page {
                all.push((join(path, &name)?, entry));
            }
        }
        let mut after = None;
        loop {
            let page = here(self.base.walk_deeper(&view, path, after.as_ref(), PAGE))?;
            let Some((last, _)) = page.last() else { return Ok(all) };
            after = Some(last.key());
            all.extend(page);
        }
    }

    fn missing(&self, path: &DrivePath) -> Error {
        let shown = escape::bytes(path.as_bytes());
        Error::not_found::<&[u8]>(format!("there is no {shown} in this drive"), &[])
            .field("path", shown.as_str())
            .hint("datnode ls shows what there is")
    }
}

fn here<T>(read: datnode_drive::Reading<T, datnode_feed::StoreError>) -> Result<T, Error> {
    match read.map_err(Error::damaged)? {
        Step::Done(value) => Ok(value),
        Step::Need(_) => Err(Error::verify("a writer's own index is not all here")),
    }
}

fn join(folder: &DrivePath, name: &[u8]) -> Result<DrivePath, Error> {
    folder.join(name).map_err(|error| Error::usage(error.to_string()))
}

/// Returns the folders above a path, but the root.
fn above(path: &DrivePath) -> impl Iterator<Item = DrivePath> + use<> {
    std::iter::successors(path.parent(), DrivePath::parent).filter(|path| !path.is_root())
}

fn edited(now: &Version, base: &Version, path: &DrivePath, of: (u64, u64, u64)) -> Edited {
    let (bytes, bytes_new, count) = of;
    Edited {
        change: now.number,
        version: now.id.to_string(),
        changed: now.number != base.number,
        path: Raw(path.as_bytes().to_vec()),
        bytes,
        bytes_new,
        count,
    }
}
