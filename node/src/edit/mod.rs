//! Changes a drive by paths (put, remove, move) and by tags. No folder is walked.
//!
//! A drive with a working folder is changed there first and then taken in, so that both stay in step whatever ends the process: what was
//! done in the folder and not taken in, the next share takes in. A bare drive has its files in the store alone.
//! Elsewhere: each change (`editor`; of tags `tags`), what it refuses (`checks`), its hands in a working folder (`folder`), where files wait
//! (`staging`), taking in (`import`), who asks (`commands::edit`), asking another process (`control`).

mod checks;
mod editor;
mod folder;
mod staging;
mod tags;

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use datnode_drive::{DrivePath, Tag, TagDifference, TagName, Version};
use datnode_feed::{Storage, Store};
use serde::{Deserialize, Serialize};

use crate::address::VersionSpec;
use crate::cli::escape;
use crate::disk::DRIVE_FOLDER;
use crate::error::{Code, Error};
use crate::home;
use crate::import::{Writer, latest};
use editor::Editor;
use folder::Folder;
pub use staging::staging_place;

/// The file that makes a drive bare.
const BARE: &str = "bare";

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

/// A change by paths, or of a tag.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Edit {
    /// A file is put at a path.
    Put {
        /// Where.
        path: Raw,
        /// What a file that is put into a folder is called there.
        name: Option<Raw>,
        /// The file, on the disk of the store; it is moved from there. Without one it is only looked whether one could be put.
        staged: Option<Raw>,
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
    /// A version gets a name.
    Tag {
        /// The name.
        name: String,
        /// The version, as people write it; without one the latest that is about files.
        version: Option<String>,
        /// Whether a tag that names another version is moved.
        force: bool,
    },
    /// A version loses a name.
    Untag {
        /// The name.
        name: String,
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
        as_path(&self.0)
    }

    fn drive_path(&self) -> Result<DrivePath, Error> {
        DrivePath::from_bytes(self.0.clone()).map_err(|error| Error::usage(error.to_string()))
    }
}

fn as_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
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
    /// How many files and links were put, moved or deleted; a folder counts as what is in it.
    pub count: u64,
    /// The tag that was set or deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<Tagged>,
}

/// A tag as it is now.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tagged {
    /// Its name.
    pub name: String,
    /// The version that it names; none if it was deleted.
    pub of: Option<TaggedVersion>,
}

/// What a tag names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaggedVersion {
    /// The number of its change.
    pub change: u64,
    /// Its id.
    pub version: String,
}

impl Tagged {
    /// Returns what a change did to a tag.
    pub fn of(difference: &TagDifference) -> Self {
        let name = difference.name.as_str().to_owned();
        Self { name, of: difference.new.as_ref().map(TaggedVersion::from) }
    }
}

impl fmt::Display for Tagged {
    /// Says it as people read it: `tag v1 -> 3 · b3f9c1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = escape::text(&self.name);
        match &self.of {
            Some(of) => {
                let id = of.version.get(..6).unwrap_or_default();
                write!(f, "tag {name} -> {} · {id}", of.change)
            }
            None => write!(f, "tag {name} deleted"),
        }
    }
}

impl From<&Tag> for TaggedVersion {
    fn from(tag: &Tag) -> Self {
        Self { change: tag.number, version: tag.version.to_string() }
    }
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

/// Carries an order out on the drive of `folder`, whose store is given.
///
/// # Errors
/// E-NOTFOUND, E-CONFLICT for another version than was expected and where others hold another history, E-DIRTY for what nobody shared,
/// E-USAGE and E-PATH for paths that cannot be; what the disk and the store say.
pub fn carry_out<S: Storage>(
    store: &mut Store<S>,
    writer: &Writer<'_>,
    folder: &Path,
    order: &Order,
) -> Result<Edited, Error> {
    check_history(store, writer, folder)?;
    let base = latest(store, writer.changes.0)?;
    check_version(store, writer, order.if_version.as_deref(), &base)?;
    let working = if is_bare(folder)? { None } else { Some(Folder::open(folder)?) };
    let (working, message) = (working.as_ref(), &*order.message);
    let mut editor = Editor { store: &mut *store, writer, base, folder, working, message };
    let done = match &order.edit {
        Edit::Put { path, name, staged } => {
            editor.put(path.drive_path()?, name.as_ref(), staged.as_ref().map(Raw::as_path))
        }
        Edit::Remove { paths, recursive } => {
            let paths = paths.iter().map(Raw::drive_path).collect::<Result<Vec<_>, _>>()?;
            editor.remove(&paths, *recursive)
        }
        Edit::Move { from, to } => editor.rename(&from.drive_path()?, to.drive_path()?),
        Edit::Tag { name, version, force } => {
            let version = version.as_ref().map(|text| VersionSpec::parse(text.as_bytes()));
            editor.tag(&tag_name(name)?, version.transpose()?.as_ref(), *force)
        }
        Edit::Untag { name } => editor.untag(&tag_name(name)?),
    };
    if done.is_err() {
        // What was appended and not signed would be part of the next change. A store that cannot give it up takes no change either,
        // and why is what is told already.
        for feed in [writer.changes.0, writer.content.0] {
            let _ = store.rollback(feed);
        }
    }
    done
}

/// Takes the name of a tag.
///
/// # Errors
/// E-USAGE for what can be none.
pub fn tag_name(text: &str) -> Result<TagName, Error> {
    TagName::from_bytes(text.as_bytes())
        .map_err(|error| Error::usage(format!("“{}”: {error}", escape::text(text))))
}

/// Refuses before anything is done in the folder what could not be signed: others hold a longer history, or there are two.
fn check_history<S: Storage>(
    store: &Store<S>,
    writer: &Writer<'_>,
    folder: &Path,
) -> Result<(), Error> {
    for feed in [writer.changes.0, writer.content.0] {
        if let Some(theirs) = store.behind(feed) {
            return Err(home::older(folder, store.length(feed), theirs));
        }
        if store.accusation(feed).is_some() {
            return Err(home::two_histories());
        }
    }
    Ok(())
}

fn check_version<S: Storage>(
    store: &mut Store<S>,
    writer: &Writer<'_>,
    wanted: Option<&str>,
    base: &Version,
) -> Result<(), Error> {
    let Some(wanted) = wanted else { return Ok(()) };
    let fits = match VersionSpec::parse(wanted.as_bytes())? {
        VersionSpec::AsOf(_) => {
            return Err(Error::usage("--if-version takes a number, a hash or a tag"));
        }
        VersionSpec::Tag(name) => {
            tags::named(store, writer.changes.0, base, &name)?.version == base.id
        }
        spec => spec.fits(base),
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
