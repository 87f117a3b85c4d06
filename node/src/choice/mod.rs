//! What of a drive a clone fetches: kept in the drive's own settings, so that whoever brings it up to date fetches the same.
//!
//! Globs are those of `.datignore`; one that matches a folder stands for all that is in it. What is excluded is left out whatever
//! is included. Without includes everything is wanted; of a sparse clone nothing is, but what is included.
//! Elsewhere: globs (`glob`), what of one version is taken by them, and in which order (`chooser`).

mod chooser;
mod glob;

use std::path::Path;

use serde_json::{Value, json};

use crate::cli::escape;
use crate::cli::settings::File;
use crate::error::Error;
pub use chooser::Chooser;
use glob::check_all;
pub use glob::parse_glob;

/// The settings that it is kept in.
const SPARSE: &str = "clone.sparse";
const INCLUDE: &str = "clone.include";
const EXCLUDE: &str = "clone.exclude";
const PRIORITY: &str = "clone.priority";

/// What of a drive is wanted, and what of it first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// Whether nothing is wanted but what is included.
    pub sparse: bool,
    /// What is wanted; if it is empty and the clone is not sparse, everything.
    pub include: Vec<String>,
    /// What is not, though it may be included.
    pub exclude: Vec<String>,
    /// What lands before the rest, the first one first.
    pub priority: Vec<String>,
}

impl Choice {
    /// Returns what is kept in a drive's folder; all of the drive if nothing is.
    ///
    /// # Errors
    /// E-USAGE for a file that makes no sense, with its place, and what the disk says.
    pub fn kept(folder: &Path) -> Result<Self, Error> {
        let path = File::path_of_drive(folder);
        let file = File::read(&path)?;
        let list = |key| file.values(key).unwrap_or_default();
        let sparse = list(SPARSE).first().is_some_and(|value| value == "true");
        let (include, exclude, priority) = (list(INCLUDE), list(EXCLUDE), list(PRIORITY));
        let kept = Self { sparse, include, exclude, priority };
        kept.check().map_err(|error| error.context(format!("in {}", escape::path(&path))))?;
        Ok(kept)
    }

    /// Keeps it in a drive's folder, in one step.
    ///
    /// # Errors
    /// E-USAGE if it has too many globs or one that is none, and what the disk says.
    pub fn keep(&self, folder: &Path) -> Result<(), Error> {
        self.check()?;
        if Self::kept(folder)? == *self {
            return Ok(());
        }
        let list = |globs: &[String]| Some(globs.to_vec()).filter(|globs| !globs.is_empty());
        File::read(&File::path_of_drive(folder))?.change(&[
            (SPARSE, self.sparse.then(|| vec!["true".to_owned()])),
            (INCLUDE, list(&self.include)),
            (EXCLUDE, list(&self.exclude)),
            (PRIORITY, list(&self.priority)),
        ])
    }

    /// Checks that all globs are some, and that there are not too many.
    ///
    /// # Errors
    /// E-USAGE.
    pub fn check(&self) -> Result<(), Error> {
        check_all(&self.include, &self.exclude, &self.priority)
    }

    /// Tells whether all of the drive is wanted.
    pub fn is_everything(&self) -> bool {
        !self.sparse && self.include.is_empty() && self.exclude.is_empty()
    }

    /// Returns what `--json` says of it.
    pub fn to_json(&self) -> Value {
        let Self { sparse, include, exclude, priority } = self;
        json!({ "sparse": sparse, "include": include, "exclude": exclude, "priority": priority })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    fn some() -> Choice {
        let list = |globs: &[&str]| globs.iter().map(|&glob| glob.to_owned()).collect();
        Choice {
            sparse: true,
            include: list(&["docs/**", "a, b", "\\!odd", "quote\"d\u{7f}"]),
            exclude: list(&["*.iso"]),
            priority: list(&["docs/README.md", "*.md"]),
        }
    }

    #[test]
    fn what_is_kept_comes_back_and_other_settings_stay() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Choice::kept(folder.path()).unwrap(), Choice::default());
        Choice::default().keep(folder.path()).unwrap();
        assert!(!folder.path().join(".dat").exists(), "nothing is written for nothing");
        let path = File::path_of_drive(folder.path());
        std::fs::create_dir(folder.path().join(".dat")).unwrap();
        std::fs::write(&path, "# mine\n[network]\nport = 4000\n").unwrap();
        some().keep(folder.path()).unwrap();
        assert_eq!(Choice::kept(folder.path()).unwrap(), some());
        Choice::default().keep(folder.path()).unwrap();
        assert_eq!(Choice::kept(folder.path()).unwrap(), Choice::default());
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# mine\n[network]\nport = 4000\n"), "{text}");
    }

    #[test]
    fn what_is_kept_and_makes_no_sense_is_told_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = File::path_of_drive(folder.path());
        std::fs::create_dir(folder.path().join(".dat")).unwrap();
        for text in ["[clone]\ninclude = ['!x']\n", "[clone]\nexclude = ['a{']\n"] {
            std::fs::write(&path, text).unwrap();
            let error = Choice::kept(folder.path()).unwrap_err();
            assert_eq!(error.code(), Code::Usage);
            assert!(error.to_string().contains("config.toml"), "{error}");
        }
    }
}
