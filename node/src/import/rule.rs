//! Which rule leaves a name out; the walk goes by it.
//!
//! From the top down: who leaves a folder out leaves out all that is in it. `--ignore` comes first, then hidden names, then the files
//! with patterns, those of a deeper folder before those above, and `.datignore` before `.gitignore` of the same folder.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ignore::Match;
use ignore::gitignore::Gitignore;
use ignore::overrides::Override;

use super::walk::{DATIGNORE, GITIGNORE, Rules, Why, flagged};
use crate::error::Error;

/// What leaves a name out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The kind of rule.
    pub why: Why,
    /// The file that has it.
    pub file: Option<PathBuf>,
    /// The pattern as it was written.
    pub pattern: Option<String>,
    /// What it left out: the name itself, or a folder above it. In bytes of the disk, below the root.
    pub path: Vec<u8>,
}

/// The patterns that hold for what is in a folder: of its own files behind those of the folders above it, those with the last word
/// last.
pub(super) type Patterns = Arc<[Arc<(Why, Gitignore)>]>;

/// Finds rules below one folder, and reads each file with patterns once.
#[derive(Debug)]
pub struct Finder<'a> {
    root: &'a Path,
    rules: &'a Rules,
    overrides: Override,
    read: HashMap<PathBuf, Patterns>,
}

impl<'a> Finder<'a> {
    /// Begins below `root`.
    ///
    /// # Errors
    /// E-USAGE for a pattern of `--ignore` that is none.
    pub fn new(root: &'a Path, rules: &'a Rules) -> Result<Self, Error> {
        Ok(Self { root, rules, overrides: flagged(root, rules)?, read: HashMap::new() })
    }

    /// Returns the rule that leaves out what is at `path`; none if it is shared.
    pub fn rule_of(&mut self, path: &[u8]) -> Option<Rule> {
        let (mut at, mut above) = (self.root.to_owned(), Patterns::default());
        for component in path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()) {
            let patterns = match self.read.get(&at) {
                Some(patterns) => patterns.clone(),
                None => {
                    let patterns = self.patterns_in(&at, &above);
                    self.read.insert(at.clone(), patterns.clone());
                    patterns
                }
            };
            at.push(OsStr::from_bytes(component));
            let is_folder = std::fs::symlink_metadata(&at).is_ok_and(|found| found.is_dir());
            if let Some(rule) = self.rule_at(&at, is_folder, &patterns) {
                return Some(rule);
            }
            above = patterns;
        }
        None
    }

    /// Returns the rule that leaves out what is at `at`, in a folder with these patterns, which is left out by none itself.
    pub(super) fn rule_at(&self, at: &Path, is_folder: bool, patterns: &Patterns) -> Option<Rule> {
        let rule = |why, file, pattern| {
            let path = at.strip_prefix(self.root).unwrap_or(at).as_os_str().as_bytes().to_vec();
            Some(Rule { why, file, pattern, path })
        };
        if self.overrides.matched(at, is_folder).is_ignore() {
            return rule(Why::Flag, None, None);
        }
        let name = at.file_name().unwrap_or_default();
        if !self.rules.hidden && name.as_bytes().starts_with(b".") {
            return rule(Why::Hidden, None, None);
        }
        // The deepest file that says anything decides.
        for (why, file) in patterns.iter().rev().map(Arc::as_ref) {
            match file.matched(at, is_folder) {
                Match::None => {}
                Match::Whitelist(_) => return None,
                Match::Ignore(glob) => {
                    let from = glob.from().map(Path::to_owned);
                    return rule(*why, from, Some(glob.original().to_owned()));
                }
            }
        }
        None
    }

    /// Returns the patterns that hold in a folder, of which those above it are known.
    pub(super) fn patterns_in(&self, folder: &Path, above: &Patterns) -> Patterns {
        let kinds = [
            (self.rules.gitignore, GITIGNORE, Why::Gitignore),
            (!self.rules.no_ignore, DATIGNORE, Why::Datignore),
        ];
        let heeded = kinds.into_iter().filter(|(heeded, ..)| *heeded);
        let files = heeded.map(|(_, name, why)| (why, folder.join(name)));
        // A pattern that is none is passed over.
        let own = files
            .filter(|(_, path)| path.is_file())
            .map(|(why, path)| Arc::new((why, Gitignore::new(path).0)));
        let mut own = own.peekable();
        match own.peek() {
            None => above.clone(),
            Some(_) => above.iter().cloned().chain(own).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use ignore::WalkBuilder;
    use proptest::prelude::*;

    use super::super::walk::walk;
    use super::*;

    /// The definition: what another walker meets that goes by the same patterns.
    fn met(root: &Path, rules: &Rules) -> BTreeSet<Vec<u8>> {
        let mut builder = WalkBuilder::new(root);
        builder.standard_filters(false).overrides(flagged(root, rules).unwrap());
        // Of two files in one folder the one that is added last has the last word.
        if rules.gitignore {
            builder.add_custom_ignore_filename(GITIGNORE);
        }
        if !rules.no_ignore {
            builder.add_custom_ignore_filename(DATIGNORE);
        }
        let hidden = rules.hidden;
        builder.filter_entry(move |entry| {
            let name = entry.file_name().as_bytes();
            entry.depth() == 0 || name != b".dat" && (hidden || !name.starts_with(b"."))
        });
        let paths = builder.build().map(|entry| entry.unwrap().into_path());
        let below =
            paths.map(|path| path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec());
        below.filter(|path| !path.is_empty()).collect()
    }

    fn write(root: &Path, name: &str, text: &str) {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn the_rule_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        write(root, ".datignore", "# mine\n*.tmp\nbuild/\n");
        write(root, ".gitignore", "*.log\n");
        write(root, "data/.datignore", "!keep.tmp\n");
        for name in [
            "a.tmp",
            "a.log",
            "build/x/y",
            "data/keep.tmp",
            "data/b.tmp",
            ".hidden/z",
            "a.bak",
            "plain",
        ] {
            write(root, name, "");
        }
        let rules = Rules { gitignore: true, ignore: vec!["*.bak".into()], ..Rules::default() };
        let of = |path: &str| {
            let rule = Finder::new(root, &rules).unwrap().rule_of(path.as_bytes())?;
            let file =
                rule.file.map(|file| file.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            Some((rule.why, file, rule.pattern, String::from_utf8(rule.path).unwrap()))
        };
        let some = |why, file: &str, pattern: &str, path: &str| {
            Some((why, Some(file.to_owned()), Some(pattern.to_owned()), path.to_owned()))
        };
        assert_eq!(of("a.tmp"), some(Why::Datignore, ".datignore", "*.tmp", "a.tmp"));
        assert_eq!(of("a.log"), some(Why::Gitignore, ".gitignore", "*.log", "a.log"));
        assert_eq!(of("build/x/y"), some(Why::Datignore, ".datignore", "build/", "build"));
        assert_eq!(of("data/b.tmp"), some(Why::Datignore, ".datignore", "*.tmp", "data/b.tmp"));
        assert_eq!(of("data/keep.tmp"), None);
        assert_eq!(of(".hidden/z"), Some((Why::Hidden, None, None, ".hidden".into())));
        assert_eq!(of("a.bak"), Some((Why::Flag, None, None, "a.bak".into())));
        assert_eq!(of("plain"), None);
        let heedless = Rules { no_ignore: true, ..Rules::default() };
        assert_eq!(Finder::new(root, &heedless).unwrap().rule_of(b"a.tmp"), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// The walk meets what another one meets, in the order of the keys; what it leaves out has a rule, and nothing else has.
        #[test]
        fn the_walk_and_the_rule_agree_with_the_definition(
            files in prop::collection::btree_set("(a|b|\\.h)(/(a|b|c)){0,2}", 1..12),
            patterns in prop::collection::vec(("(|a/|b/|a/b/)\\.(dat|git)ignore", "(!|)(/|)(a|b|c|\\*|\\?|a/b|\\*\\*/c)(/|)"), 0..5),
            flag in prop::option::of("(a|b|c|a/b|/c)(/|)"),
            bits in any::<[bool; 3]>(),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let root = folder.path();
            for name in &files {
                let path = root.join(name);
                // A name that is a file already cannot be a folder.
                if std::fs::create_dir_all(path.parent().unwrap()).is_ok() && !path.is_dir() {
                    std::fs::write(path, "").unwrap();
                }
            }
            for (file, pattern) in &patterns {
                let path = root.join(file);
                if path.parent().unwrap().is_dir() {
                    let before = std::fs::read_to_string(&path).unwrap_or_default();
                    std::fs::write(path, format!("{before}{pattern}\n")).unwrap();
                }
            }
            let [hidden, no_ignore, gitignore] = bits;
            let rules = Rules { hidden, no_ignore, gitignore, ignore: flag.into_iter().collect() };
            std::fs::create_dir_all(root.join(".dat/store")).unwrap();
            let walked = walk(root, &rules).unwrap();
            prop_assert!(walked.found.is_sorted_by_key(|found| found.path.key()));
            let found = walked.found.iter().map(|found| found.path.as_bytes().to_vec());
            let met = met(root, &rules);
            prop_assert_eq!(found.collect::<BTreeSet<_>>(), met.clone());
            let mut finder = Finder::new(root, &rules).unwrap();
            let mut folders = vec![root.to_owned()];
            while let Some(at) = folders.pop() {
                for entry in std::fs::read_dir(at).unwrap().flatten() {
                    let path = entry.path();
                    let below = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
                    if below == b".dat" {
                        continue;
                    }
                    let rule = finder.rule_of(&below);
                    prop_assert_eq!(rule.is_none(), met.contains(&below[..]), "{:?}: {:?}", path, rule);
                    if path.is_dir() {
                        folders.push(path);
                    }
                }
            }
            for left in &walked.left_out {
                let rule = finder.rule_of(&left.path).unwrap();
                prop_assert_eq!((rule.why, rule.path), (left.why, left.path.clone()));
            }
        }
    }
}
