//! Looks at what may be different in a folder, without opening a file: the same names as a walk would find.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use datnode_drive::DrivePath;

use super::pending::Due;
use crate::disk::DRIVE_FOLDER;
use crate::error::Error;
use crate::import::{Finder, Inventory, Rules, Stirred, is_patterns, take_inventory};

/// What was looked at.
pub(super) enum Looked {
    /// The whole folder.
    Everything(Box<Inventory>),
    /// Some paths.
    Stirred(Stirred),
}

/// Looks at what is due below `root`.
///
/// # Errors
/// E-USAGE for a pattern of the rules that is none.
pub(super) fn look(root: &Path, due: Due, rules: &Rules) -> Result<Looked, Error> {
    // A folder that is elsewhere by now is not one that was emptied.
    if !root.join(DRIVE_FOLDER).is_dir() {
        return Err(Error::not_drive(root));
    }
    let everything = || Ok(Looked::Everything(Box::new(take_inventory(root, rules)?)));
    let Due::Paths(paths, moved) = due else { return everything() };
    // What they say may be different now for all names.
    if paths.iter().any(|path| is_patterns(path)) {
        return everything();
    }
    let mut looking =
        Looking { root, finder: Finder::new(root, rules)?, stirred: Stirred::default() };
    paths.iter().for_each(|path| looking.look_at(path));
    let moved = moved.into_iter().filter_map(|(from, to)| Some((shared(&from)?, shared(&to)?)));
    looking.stirred.moved = moved.collect();
    Ok(Looked::Stirred(looking.stirred))
}

struct Looking<'a> {
    root: &'a Path,
    finder: Finder<'a>,
    stirred: Stirred,
}

impl Looking<'_> {
    /// Takes a path with those of the folders above it, and all that is in it.
    fn look_at(&mut self, path: &Path) {
        let mut left = vec![path.to_owned()];
        while let Some(path) = left.pop() {
            let Some(own) = shared(&path) else { continue };
            // Nobody's store travels.
            let mut names = path.components().map(|name| name.as_os_str());
            if names.any(|name| name.eq_ignore_ascii_case(DRIVE_FOLDER)) {
                continue;
            }
            if self.finder.rule_of(own.as_bytes()).is_some() {
                continue;
            }
            left.extend(self.inside(&path));
            let above = std::iter::successors(own.parent(), DrivePath::parent);
            let above: BTreeSet<_> = above.filter(|path| !path.is_root()).collect();
            self.stirred.paths.extend(above.into_iter().chain([own]));
        }
    }

    /// Returns what is in a folder; nothing if it is none.
    fn inside(&self, path: &Path) -> Vec<PathBuf> {
        let at = self.root.join(path);
        if !fs::symlink_metadata(&at).is_ok_and(|found| found.is_dir()) {
            return Vec::new();
        }
        // What cannot be read now is met when the whole folder is looked through, and told of then.
        let names = fs::read_dir(at).into_iter().flatten().flatten().map(|entry| entry.file_name());
        names.map(|name| path.join(name)).collect()
    }
}

/// Returns a path as the drive has it; nothing if it can have none.
fn shared(path: &Path) -> Option<DrivePath> {
    DrivePath::from_bytes(path.as_os_str().as_bytes().to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looked(root: &Path, paths: &[&str]) -> Vec<String> {
        let due = Due::Paths(paths.iter().map(PathBuf::from).collect(), Vec::new());
        match look(root, due, &Rules::default()).unwrap() {
            Looked::Stirred(stirred) => {
                let names = stirred.paths.iter().map(|path| path.as_bytes().to_vec());
                names.map(|name| String::from_utf8(name).unwrap()).collect()
            }
            Looked::Everything(_) => vec!["everything".to_owned()],
        }
    }

    #[test]
    fn a_path_is_looked_at_with_what_is_above_and_in_it_but_for_what_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("a/b/c")).unwrap();
        fs::create_dir_all(root.join("a/.hidden/c")).unwrap();
        fs::create_dir_all(root.join("a/.Dat/store")).unwrap();
        let rules = Rules { hidden: true, ..Rules::default() };
        let due = || Due::Paths([PathBuf::from("a")].into(), Vec::new());
        assert!(look(root, due(), &rules).is_err(), "it is no drive, or no more");
        fs::create_dir(root.join(DRIVE_FOLDER)).unwrap();
        let Looked::Stirred(stirred) = look(root, due(), &rules).unwrap() else { panic!() };
        assert_eq!(stirred.paths.len(), 5, "nobody's store is among them: {stirred:?}");
        for file in ["a/b/c/file", "a/b/other.tmp", "a/.hidden/c/file", "d"] {
            fs::write(root.join(file), "bytes").unwrap();
        }
        fs::write(root.join(".datignore"), "*.tmp\n").unwrap();
        assert_eq!(looked(root, &["a/b"]), ["a", "a/b", "a/b/c", "a/b/c/file"]);
        assert_eq!(looked(root, &["a/.hidden/c/file", "a/b/other.tmp", ".dat/key"]), [""; 0]);
        assert_eq!(looked(root, &["gone/file", "d"]), ["d", "gone", "gone/file"]);
        assert_eq!(looked(root, &["d", "a/.datignore"]), ["everything"]);
    }
}
