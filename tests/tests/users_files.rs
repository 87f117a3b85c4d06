//! Folders in which the user has files: whatever a command does there, these stay as they are, and so does what they lead to.

#![expect(clippy::print_stdout, reason = "a lane says what it did")]

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use datnode_sim::Random;
use datnode_tests::{Sharer, Thing, User, noise, tree, write};

/// How many folders there are.
const SEEDS: u64 = 24;
/// How many commands each of them sees.
const COMMANDS: u32 = 4;
/// Where the user puts things: where the drive has some in one version or another, and beside them.
const PLACES: [&str; 10] =
    ["a", "b", "c", "d", "d/a", "d/e", "d/e/a", "d/own", "own", "own/deeper/file"];

type Tree = BTreeMap<Vec<u8>, Thing>;

/// Makes three versions, of which each has things of another kind where the one before had some; returns them.
fn versions(writer: &User) -> ([Tree; 3], Sharer) {
    let source = writer.path("source");
    for (number, name) in ["a", "c", "d/a", "d/e/a"].into_iter().enumerate() {
        write(&source, name.as_bytes(), &noise(number as u64, 40_000));
    }
    drop(writer.share(&source, &[]));
    let first = tree(&source);
    fs::remove_dir_all(source.join("d/e")).unwrap();
    write(&source, b"d/e", b"a file now");
    write(&source, b"b", b"new");
    write(&source, b"c", &noise(9, 50_000));
    drop(writer.share(&source, &[]));
    let second = tree(&source);
    fs::remove_dir_all(source.join("d")).unwrap();
    fs::remove_file(source.join("a")).unwrap();
    symlink("b", source.join("d")).unwrap();
    write(&source, b"a/a", b"below a file that was");
    let sharer = writer.share(&source, &[]);
    ([first, second, tree(&source)], sharer)
}

/// A clone's folder, and what the user has there and elsewhere.
struct Folder {
    reader: User,
    random: Random,
    own: Vec<Vec<u8>>,
}

impl Folder {
    fn new(seed: u64) -> Self {
        let reader = User::new();
        write(&reader.path("elsewhere"), b"file", b"what is elsewhere");
        write(&reader.path("elsewhere"), b"a", b"this too");
        fs::create_dir_all(reader.path("copy")).unwrap();
        Self { reader, random: Random::new(seed), own: Vec::new() }
    }

    fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.random.below(count as u64)).unwrap()
    }

    /// Puts something somewhere, if that is possible there without taking anything away that the user has.
    fn put(&mut self) {
        let name = PLACES[self.below(PLACES.len())];
        let path = self.reader.path("copy").join(name);
        let there = |path: &Path| fs::symlink_metadata(path).ok();
        let is_folder = |path: &Path| there(path).is_some_and(|there| there.is_dir());
        let leads_elsewhere =
            path.ancestors().skip(1).any(|above| there(above).is_some() && !is_folder(above));
        if leads_elsewhere || is_folder(&path) || self.own.contains(&name.as_bytes().to_vec()) {
            return;
        }
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let is_file = there(&path).is_some_and(|there| there.is_file());
        let appends = is_file && self.below(2) == 0;
        if appends {
            let file = OpenOptions::new().append(true).open(&path);
            file.unwrap().write_all(b"and what the user wrote").unwrap();
        } else {
            let _ = fs::remove_file(&path);
            self.make(&path);
        }
        self.own.push(name.as_bytes().to_vec());
    }

    fn make(&mut self, path: &Path) {
        let (elsewhere, unique) = (self.reader.path("elsewhere"), self.random.below(u64::MAX));
        match self.below(6) {
            0 => symlink(elsewhere.join("file"), path).unwrap(),
            1 => symlink(&elsewhere, path).unwrap(),
            2 => symlink("leads to nothing", path).unwrap(),
            3 => fs::hard_link(elsewhere.join("file"), path).unwrap(),
            kind => {
                fs::write(path, noise(unique, 1_000)).unwrap();
                let years = Duration::from_secs(self.random.below(1 << 30));
                let file = OpenOptions::new().write(true).open(path).unwrap();
                file.set_modified(SystemTime::now() + years).unwrap();
                let mode = if kind == 4 { 0o400 } else { 0o644 };
                fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
            }
        }
    }

    /// Returns what the user has.
    fn owned(&self) -> Tree {
        let here = tree(&self.reader.path("copy")).into_iter();
        here.filter(|(name, _)| self.own.contains(name)).collect()
    }
}

/// Tells whether something of a version is the user's in this folder, or is below or above what is.
fn is_in_the_way(own: &[Vec<u8>], name: &[u8]) -> bool {
    let below = |one: &[u8], other: &[u8]| one.starts_with(&[other, b"/"].concat());
    own.iter().any(|own| own == name || below(own, name) || below(name, own))
}

#[test]
fn no_command_takes_anything_of_the_users() {
    let writer = User::new();
    let (versions, sharer) = versions(&writer);
    let (mut done, mut refused) = (0, 0);
    for seed in 0..SEEDS {
        let mut folder = Folder::new(seed);
        let elsewhere = tree(&folder.reader.path("elsewhere"));
        for number in 0..COMMANDS {
            (0..folder.below(3)).for_each(|_| folder.put());
            let (version, own) = (folder.below(3), folder.owned());
            assert_eq!(own.len(), folder.own.len(), "seed {seed}");
            let word = (version + 1).to_string();
            let is_clone = folder.reader.path("copy/.dat").exists();
            let args: &[&str] = match (is_clone, version) {
                (false, 2) => &["clone", sharer.ticket(), "copy"],
                (false, _) => &["clone", sharer.ticket(), "copy", "--at", &word],
                (true, 2) => &["pull", "copy", "--peer", sharer.address()],
                (true, _) => &["checkout", &word, "copy", "--peer", sharer.address()],
            };
            let before = tree(&folder.reader.path("copy"));
            let output = folder.reader.run(args);
            let context = || {
                let said = String::from_utf8_lossy(&output.stderr);
                format!("seed {seed}, command {number}, {:?}: {said}", args)
            };
            let after = tree(&folder.reader.path("copy"));
            assert_eq!(folder.owned(), own, "{}", context());
            assert_eq!(tree(&folder.reader.path("elsewhere")), elsewhere, "{}", context());
            match output.status.code() {
                Some(0) => {
                    for (name, thing) in &versions[version] {
                        let right = after.get(name) == Some(thing);
                        assert!(
                            right || is_in_the_way(&folder.own, name),
                            "{name:?} {}",
                            context()
                        );
                    }
                    done += 1;
                }
                Some(7) => {
                    assert_eq!(after, before, "{}", context());
                    refused += 1;
                }
                _ => panic!("{}", context()),
            }
        }
    }
    println!("users' files: {done} commands went on beside them, {refused} refused");
    assert!(done >= 10 && refused >= 10, "{done} done, {refused} refused");
}
