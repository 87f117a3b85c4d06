//! A choice as it is asked about each name of a version: whether it is taken, and in which pass it lands.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Mutex;

use datnode_drive::{DrivePath, Kind};
use ignore::overrides::Override;

use super::Choice;
use super::glob::compile;
use crate::error::Error;
use crate::landing::Seen;

/// What is taken of a version.
///
/// Invariant: with each name that is taken, the folders above it are, as far as they have entries.
#[derive(Debug)]
pub struct Chooser {
    /// Whether only what is included is taken.
    narrows: bool,
    include: Override,
    exclude: Override,
    priority: Vec<Override>,
    /// Folders above what is included.
    above: Seen,
    /// The folder that was asked about last: the names of one follow each other.
    last: Mutex<(Vec<u8>, Marks)>,
}

/// What globs say of a folder, and so of all that is in it.
#[derive(Clone, Copy, Debug, Default)]
struct Marks {
    included: bool,
    excluded: bool,
}

impl Chooser {
    /// Prepares a choice.
    ///
    /// # Errors
    /// E-USAGE if it has globs that are none.
    pub fn of(choice: &Choice) -> Result<Self, Error> {
        let Choice { sparse, include, exclude, priority } = choice;
        let one = |glob: &String| compile(std::slice::from_ref(glob));
        Ok(Self {
            narrows: *sparse || !include.is_empty(),
            include: compile(include)?,
            exclude: compile(exclude)?,
            priority: priority.iter().map(one).collect::<Result<_, _>>()?,
            above: Seen::default(),
            last: Mutex::default(),
        })
    }

    /// Tells whether everything is taken.
    pub fn is_everything(&self) -> bool {
        !self.narrows && self.exclude.is_empty()
    }

    /// Tells whether [`note_above`](Self::note_above) is to be told of all names first.
    pub fn narrows(&self) -> bool {
        self.narrows && !self.include.is_empty()
    }

    /// Notes the folders above a name, if it is taken.
    pub fn note_above(&mut self, path: &DrivePath, kind: Kind) {
        if !self.is_chosen(path, kind) {
            return;
        }
        for folder in std::iter::successors(path.parent(), DrivePath::parent) {
            // What is above that was noted with it.
            if !self.above.insert(folder.as_bytes()) {
                return;
            }
        }
    }

    /// Tells whether an entry is taken.
    pub fn takes(&self, path: &DrivePath, kind: Kind) -> bool {
        kind == Kind::Directory && self.above.contains(path.as_bytes())
            || self.is_chosen(path, kind)
    }

    /// Tells whether what has this name on the disk is left alone: it may be what was fetched before it was left out.
    pub fn leaves_out(&self, path: &[u8]) -> bool {
        match DrivePath::from_bytes(path) {
            Ok(path) => !self.takes(&path, Kind::File),
            Err(_) => true,
        }
    }

    /// Returns how many passes there are.
    pub fn passes(&self) -> usize {
        self.priority.len() + 1
    }

    /// Returns the pass in which an entry lands. Folders come first: what is in them needs them.
    pub fn pass(&self, path: &DrivePath, kind: Kind) -> usize {
        if kind == Kind::Directory {
            return 0;
        }
        let first = self.priority.iter().position(|glob| matches(glob, path, kind));
        first.unwrap_or(self.priority.len())
    }

    fn is_chosen(&self, path: &DrivePath, kind: Kind) -> bool {
        if self.is_everything() {
            return true;
        }
        let Marks { included, excluded } = self.marks(path.parent());
        let included = || !self.narrows || included || matches_itself(&self.include, path, kind);
        !excluded && !matches_itself(&self.exclude, path, kind) && included()
    }

    fn marks(&self, folder: Option<DrivePath>) -> Marks {
        let Some(folder) = folder.filter(|folder| !folder.is_root()) else {
            return Marks::default();
        };
        let mut last = self.last.lock().expect("no code panics while it holds this");
        if last.0 != folder.as_bytes() {
            let marks = Marks {
                included: matches(&self.include, &folder, Kind::Directory),
                excluded: matches(&self.exclude, &folder, Kind::Directory),
            };
            *last = (folder.as_bytes().to_vec(), marks);
        }
        last.1
    }
}

/// Tells whether a name matches, whatever is above it.
fn matches_itself(globs: &Override, path: &DrivePath, kind: Kind) -> bool {
    let path = Path::new(OsStr::from_bytes(path.as_bytes()));
    globs.matched(path, kind == Kind::Directory).is_ignore()
}

/// Tells whether a name or a folder above it matches.
fn matches(globs: &Override, path: &DrivePath, kind: Kind) -> bool {
    if globs.is_empty() {
        return false;
    }
    let above = std::iter::successors(path.parent(), DrivePath::parent);
    let mut above = above.take_while(|path| !path.is_root());
    matches_itself(globs, path, kind)
        || above.any(|folder| matches_itself(globs, &folder, Kind::Directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &[(&str, Kind)] = &[
        ("README.md", Kind::File),
        ("docs", Kind::Directory),
        ("src", Kind::Directory),
        ("docs/a.md", Kind::File),
        ("docs/disk.iso", Kind::File),
        ("docs/deep", Kind::Directory),
        ("docs/link", Kind::Symlink),
        ("docs/deep/b.txt", Kind::File),
        ("src/x.rs", Kind::File),
    ];

    fn path(text: &str) -> DrivePath {
        DrivePath::from_bytes(text).unwrap()
    }

    fn list(globs: &[&str]) -> Vec<String> {
        globs.iter().map(|&glob| glob.to_owned()).collect()
    }

    fn taken(sparse: bool, include: &[&str], exclude: &[&str]) -> Vec<&'static str> {
        let choice =
            Choice { sparse, include: list(include), exclude: list(exclude), ..Choice::default() };
        let mut chooser = Chooser::of(&choice).unwrap();
        assert_eq!(chooser.is_everything(), choice.is_everything());
        if chooser.narrows() {
            NAMES.iter().for_each(|(name, kind)| chooser.note_above(&path(name), *kind));
        }
        let taken = NAMES.iter().filter(|(name, kind)| chooser.takes(&path(name), *kind));
        taken.map(|(name, _)| *name).collect()
    }

    #[test]
    fn what_is_included_is_taken_with_the_folders_above_it() {
        let all: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
        let docs =
            ["docs", "docs/a.md", "docs/disk.iso", "docs/deep", "docs/link", "docs/deep/b.txt"];
        for glob in ["docs", "docs/**", "/docs", "docs/", "docs/*"] {
            assert_eq!(taken(false, &[glob], &[]), docs, "{glob}");
        }
        assert_eq!(taken(false, &[], &[]), all);
        assert_eq!(taken(true, &[], &[]), [""; 0]);
        assert_eq!(taken(false, &["*.md"], &[]), ["README.md", "docs", "docs/a.md"]);
        assert_eq!(taken(true, &["/*.md"], &[]), ["README.md"]);
        assert_eq!(taken(false, &["b.txt"], &[]), ["docs", "docs/deep", "docs/deep/b.txt"]);
        assert_eq!(taken(false, &["README.md/"], &[]), [""; 0], "it is no folder");
        assert_eq!(taken(false, &["docs"], &["*.iso", "deep"]), ["docs", "docs/a.md", "docs/link"]);
        assert_eq!(taken(false, &[], &["docs"]), ["README.md", "src", "src/x.rs"]);
        assert_eq!(taken(false, &["docs"], &["docs"]), [""; 0]);
    }

    #[test]
    fn each_entry_lands_in_one_pass_and_folders_in_the_first() {
        let priority = list(&["*.rs", "docs/deep", "*.md"]);
        let chooser = Chooser::of(&Choice { priority, ..Choice::default() }).unwrap();
        let passes: Vec<usize> =
            NAMES.iter().map(|(name, kind)| chooser.pass(&path(name), *kind)).collect();
        assert_eq!(passes, [2, 0, 0, 2, 3, 0, 3, 1, 0]);
        assert_eq!(chooser.passes(), 4);
    }

    #[test]
    fn what_is_on_the_disk_is_left_alone_if_it_is_not_taken() {
        let choice = Choice { exclude: list(&["*.iso"]), ..Choice::default() };
        let chooser = Chooser::of(&choice).unwrap();
        assert!(chooser.leaves_out(b"docs/disk.iso") && chooser.leaves_out(b"no//path"));
        assert!(!chooser.leaves_out(b"docs/a.md"));
    }
}
