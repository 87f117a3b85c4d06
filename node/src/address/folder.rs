//! Addresses that begin with a folder.
//!
//! The drive is the deepest folder on the way that holds a store, so that `./flights/data/a.csv` is the file `data/a.csv` of
//! the drive `./flights`, whether or not it exists on the disk today. `+VERSION` follows the drive's folder.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use super::{Address, Drive, VersionSpec, normal};
use crate::cli::escape;
use crate::error::{Code, Error};

/// The name of the folder that makes a folder a drive.
pub const STORE_FOLDER: &str = ".dat";

/// Returns the drive at `folder` or in the nearest folder above it.
///
/// # Errors
///
/// E-NOTFOUND if there is no such folder, E-NOTDRIVE if no drive is found.
pub fn find_drive(folder: &Path) -> Result<PathBuf, Error> {
    match parse(b".", folder)?.drive {
        Drive::Folder(root) => Ok(root),
        Drive::Key(_) | Drive::Ticket(_) => unreachable!("a folder address names a folder"),
    }
}

/// Tells whether the first word of an address, perhaps without its version, is a folder below `base`.
pub(super) fn exists(word: &[u8], base: &Path) -> bool {
    let is_folder = |name: &[u8]| !name.is_empty() && base.join(OsStr::from_bytes(name)).is_dir();
    is_folder(word)
        || word.iter().rposition(|&byte| byte == b'+').is_some_and(|plus| is_folder(&word[..plus]))
}

/// Parses an address whose drive is a folder.
pub(super) fn parse(text: &[u8], base: &Path) -> Result<Address, Error> {
    let typed = expand_home(text);
    let full = std::path::absolute(base.join(&typed))
        .map_err(|source| Error::io("find the folder", &typed, &source))?;
    let mut bad_version = None;
    for root in full.ancestors() {
        let Ok(below) = full.strip_prefix(root) else { break };
        // Above a `..` the rest of the path would no longer be below the drive.
        if below.components().any(|component| component == Component::ParentDir) {
            break;
        }
        let path = || normal(below.as_os_str().as_bytes());
        if is_drive(root) {
            return Ok(Address {
                drive: Drive::Folder(as_typed(root, base)),
                version: None,
                path: path(),
            });
        }
        if let Some((plain, version)) = split_version(root)
            && is_drive(&plain)
        {
            match VersionSpec::parse(version) {
                // Almost any word may be a tag; a folder that is there is meant as such.
                Ok(VersionSpec::Tag(_)) if root.is_dir() => {}
                Ok(version) => {
                    return Ok(Address {
                        drive: Drive::Folder(as_typed(&plain, base)),
                        version: Some(version),
                        path: path(),
                    });
                }
                Err(error) => {
                    bad_version.get_or_insert(error);
                }
            }
        }
    }
    Err(bad_version.unwrap_or_else(|| nowhere(&full, if text == b"." { base } else { &typed })))
}

/// The folder and the version in `folder+version`.
fn split_version(root: &Path) -> Option<(PathBuf, &[u8])> {
    let bytes = root.as_os_str().as_bytes();
    let plus = bytes.iter().rposition(|&byte| byte == b'+')?;
    let (plain, version) = bytes.split_at_checked(plus)?;
    let version = version.get(1..)?;
    (!version.contains(&b'/') && !plain.ends_with(b"/"))
        .then(|| (PathBuf::from(OsStr::from_bytes(plain)), version))
}

/// Returns the path relative to `base` when it lies below, so that messages show what was typed.
fn as_typed(root: &Path, base: &Path) -> PathBuf {
    let Ok(base_full) = std::path::absolute(base) else { return root.to_owned() };
    match root.strip_prefix(&base_full) {
        Ok(below) if base.is_absolute() => base.join(below),
        Ok(below) if below.as_os_str().is_empty() => base.to_owned(),
        Ok(below) => base.join(below),
        Err(_) => root.to_owned(),
    }
}

fn is_drive(folder: &Path) -> bool {
    folder.join(STORE_FOLDER).is_dir()
}

fn nowhere(full: &Path, typed: &Path) -> Error {
    match std::fs::metadata(full) {
        Ok(_) => Error::not_drive(full),
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => Error::new(
            Code::NotFound,
            format!("there is no folder {}, and no drive above it", escape::path(typed)),
        )
        .hint("check the name, or give a key or ticket"),
        Err(source) => Error::io("look at", typed, &source),
    }
}

fn expand_home(text: &[u8]) -> PathBuf {
    let rest = match text {
        b"~" => Some(&b""[..]),
        _ => text.strip_prefix(b"~/"),
    };
    match (rest, etcetera::home_dir()) {
        (Some(rest), Ok(home)) => home.join(OsStr::from_bytes(rest)),
        _ => PathBuf::from(OsStr::from_bytes(text)),
    }
}
