//! Disks that take two names for one, or cannot hold some: nothing is overwritten, nothing is lost, all that is left out is named.
//! And one that loses what the system believes it wrote.

mod disk;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};

use datnode_drive::{DrivePath, Entry, Mtime};
use datnode_tests::guard::{files, landed};
use datnode_tests::hostile::forge::Forge;
use datnode_tests::{Thing, User, assert_exit, noise, strace, tree, write};
use disk::{Manner, Medium, mount};
use fuser::BackgroundSession;
use serde_json::Value;
use tempfile::TempDir;

/// A disk of this manner, mounted for as long as this lives.
struct Mounted {
    session: Option<BackgroundSession>,
    medium: Medium,
    folder: TempDir,
}

impl Drop for Mounted {
    fn drop(&mut self) {
        drop(self.session.take());
        // A process that another test began meanwhile may hold it: then it goes with that one. Mostly there is nothing to unmount any more.
        let mut command = Command::new("umount");
        let command = command.arg("--lazy").arg(self.folder.path()).stderr(Stdio::null());
        let _ = command.status();
    }
}

#[expect(clippy::print_stderr, reason = "a test that cannot run here says so")]
fn mounted(manner: Manner) -> Option<Mounted> {
    let folder = TempDir::new().unwrap();
    match mount(manner, folder.path()) {
        Ok((session, medium)) => Some(Mounted { session: Some(session), medium, folder }),
        Err(error) => {
            eprintln!("skipped: no file system of ours can be mounted here: {error}");
            None
        }
    }
}

fn path(name: &str) -> DrivePath {
    DrivePath::from_bytes(name).unwrap()
}

/// Names in the order of a drive, of which some disks take several for one.
const NAMES: [&str; 23] = [
    "Beside.TXT",
    "README",
    "Readme",
    "beside.txt",
    "colon:x",
    "dotted",
    "dotted.",
    "dotted..",
    "e\u{301}",
    "file",
    "file ",
    "plain",
    "readme",
    "strasse",
    "straße",
    "é",
    "ﬁle",
    "Dir/x",
    "Dir/y",
    "dir/x",
    "dir/z",
    "other/A",
    "other/a",
];

/// Which of them are left out.
fn left_out(manner: Manner) -> BTreeSet<&'static str> {
    let all: &[&str] = match manner {
        Manner::Exact => &[],
        Manner::Normal => &["é"],
        Manner::Case => &["Readme", "beside.txt", "readme", "dir/x", "dir/z", "other/a"],
        Manner::Fat => &[
            "Readme",
            "beside.txt",
            "readme",
            "dir/x",
            "dir/z",
            "other/a",
            "colon:x",
            "dotted.",
            "dotted..",
            "file ",
            "straße",
            "é",
            "ﬁle",
        ],
    };
    all.iter().copied().collect()
}

/// Writes and serves a drive of the names.
fn shared(writer: &User, links: bool) -> datnode_tests::Sharer {
    let mut forge = Forge::in_folder(&writer.path("drive"), 1, b"folding");
    let mut entries = BTreeMap::new();
    for name in NAMES {
        entries.insert(path(name).key(), (path(name), forge.file(name.as_bytes())));
    }
    if links {
        let link = Entry::symlink(b"plain".to_vec(), Mtime::default());
        entries.insert(path("PLAIN").key(), (path("PLAIN"), link));
    }
    forge.commit(entries, "all");
    drop(forge);
    writer.share(&writer.path("drive"), &["--no-import"])
}

/// Clones, and returns the names that were left out.
fn clone(reader: &User, ticket: &str, target: &Path) -> BTreeSet<String> {
    let output =
        reader.run(["--json".as_ref(), "clone".as_ref(), ticket.as_ref(), target.as_os_str()]);
    if output.status.code() == Some(0) {
        return BTreeSet::new();
    }
    assert_exit(&output, 3);
    let said = String::from_utf8(output.stderr).unwrap();
    let error: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert_eq!(error["code"], "E-PATH");
    let paths = error["paths"].as_array().unwrap();
    let names: BTreeSet<_> =
        paths.iter().map(|path| path["path"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names.len(), paths.len(), "each is named once: {said}");
    names
}

#[test]
fn of_names_that_are_one_on_a_disk_the_first_lands_and_the_others_are_named() {
    let writer = User::new();
    let sharer = shared(&writer, false);
    for manner in [Manner::Exact, Manner::Case, Manner::Normal, Manner::Fat] {
        let Some(mounted) = mounted(manner) else { return };
        let (reader, target) = (User::new(), mounted.folder.path().join("copy"));
        let left_out = left_out(manner);
        // The second run finds what the first one left.
        for _ in 0..2 {
            let named = clone(&reader, sharer.ticket(), &target);
            let right: BTreeSet<String> = left_out.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(named, right, "{manner:?}");
            let right = NAMES.iter().filter(|name| !left_out.contains(*name));
            let right: BTreeMap<_, _> =
                right.map(|name| (name.as_bytes().to_vec(), name.as_bytes().to_vec())).collect();
            assert_eq!(files(landed(&target)), right, "{manner:?}");
        }
        let verify = reader.run(["verify".as_ref(), "--full".as_ref(), target.as_os_str()]);
        assert_exit(&verify, 0);
    }
}

#[test]
fn a_link_takes_no_name_that_a_file_has() {
    let writer = User::new();
    let sharer = shared(&writer, true);
    let Some(mounted) = mounted(Manner::Case) else { return };
    let target = mounted.folder.path().join("copy");
    // The link comes first.
    let named = clone(&User::new(), sharer.ticket(), &target);
    assert!(named.contains("plain") && !named.contains("PLAIN"), "{named:?}");
    assert!(!files(landed(&target)).contains_key(&b"plain"[..]));
}

#[test]
fn a_name_that_changes_its_case_only_keeps_what_it_holds() {
    for manner in [Manner::Exact, Manner::Case, Manner::Fat] {
        let Some(mounted) = mounted(manner) else { return };
        let (writer, reader) = (User::new(), User::new());
        let (source, target) = (writer.path("source"), mounted.folder.path().join("copy"));
        for name in ["Name", "Folder/File", "stays"] {
            write(&source, name.as_bytes(), name.as_bytes());
        }
        let sharer = writer.share(&source, &[]);
        assert_eq!(clone(&reader, sharer.ticket(), &target), BTreeSet::new());
        drop(sharer);
        std::fs::rename(source.join("Name"), source.join("nAME")).unwrap();
        std::fs::rename(source.join("Folder/File"), source.join("Folder/fILE")).unwrap();
        std::fs::rename(source.join("Folder"), source.join("fOLDER")).unwrap();
        let sharer = writer.share(&source, &[]);
        for _ in 0..2 {
            assert_eq!(clone(&reader, sharer.ticket(), &target), BTreeSet::new(), "{manner:?}");
            assert_eq!(tree(&target), tree(&source), "{manner:?}");
        }
        let verify = reader.run(["verify".as_ref(), "--full".as_ref(), target.as_os_str()]);
        assert_exit(&verify, 0);
    }
}

#[test]
fn what_a_failed_sync_lost_is_not_taken_for_there_by_the_next_run() {
    if !strace::works() {
        return;
    }
    let Some(mounted) = mounted(Manner::Exact) else { return };
    let (writer, reader) = (User::new(), User::new());
    // Of whole pages: the system remembers no others of such a disk. One block: the first sync comes when all of it has landed.
    let bytes = noise(1, 8_192);
    write(&writer.path("source"), b"file", &bytes);
    let sharer = writer.share(&writer.path("source"), &[]);
    let target = mounted.folder.path().join("copy");
    std::fs::create_dir_all(reader.path("")).unwrap();
    let args = ["--json", "clone", sharer.ticket(), target.to_str().unwrap()];
    let failed = strace::harmed(&reader, "syncfs", "error=EIO", 1, &args).output().unwrap();
    assert_exit(&failed, 1);
    // The disk could not keep it, and the system, which said so once, holds it to be there.
    mounted.medium.lose("file");
    assert_eq!(std::fs::read(target.join("file")).unwrap(), bytes, "the system remembers it");
    assert_eq!(mounted.medium.files("file"), [vec![0; bytes.len()]]);
    assert_exit(&reader.run(args), 0);
    assert_eq!(mounted.medium.files("file"), [bytes], "it was believed to be there");
}

/// A writer whose disk is gone gets the drive back from a reader, and goes on writing it.
struct Return {
    writer: User,
    reader: User,
    all: BTreeMap<Vec<u8>, Thing>,
}

impl Return {
    fn new() -> Self {
        let (writer, reader) = (User::new(), User::new());
        let source = writer.path("source");
        for name in ["README", "readme", "other/file"] {
            write(&source, name.as_bytes(), name.as_bytes());
        }
        let sharer = writer.share(&source, &[]);
        assert_eq!(clone(&reader, sharer.ticket(), &reader.path("copy")), BTreeSet::new());
        drop(sharer);
        let all = tree(&source);
        std::fs::remove_dir_all(&source).unwrap();
        Self { writer, reader, all }
    }

    /// Adds a file where the drive is now, and checks that this is all that becomes different.
    fn goes_on(&mut self, target: &Path) {
        write(target, b"new", b"new");
        let sharer = self.writer.share(target, &[]);
        assert_eq!(
            clone(&self.reader, sharer.ticket(), &self.reader.path("copy")),
            BTreeSet::new()
        );
        let mut now = tree(&self.reader.path("copy"));
        assert!(now.remove(&b"new"[..]).is_some());
        assert_eq!(now, self.all);
    }
}

#[test]
fn what_a_disk_could_not_hold_is_not_deleted_by_who_writes_there() {
    let Some(mounted) = mounted(Manner::Case) else { return };
    let mut comes = Return::new();
    let target = mounted.folder.path().join("source");
    let sharer = comes.reader.share(&comes.reader.path("copy"), &[]);
    let named = clone(&comes.writer, sharer.ticket(), &target);
    assert_eq!(named, BTreeSet::from(["readme".to_owned()]));
    drop(sharer);
    comes.goes_on(&target);
    // What stands for two names goes: so does neither of them, until somebody says which.
    std::fs::remove_file(target.join("README")).unwrap();
    comes.goes_on(&target);
    assert_exit(&comes.writer.run(["rm".as_ref(), target.join("other/file").as_os_str()]), 0);
    assert!(comes.all.remove(&b"other/file"[..]).is_some());
    comes.goes_on(&target);
}

#[test]
fn what_a_clone_left_out_is_not_deleted_by_who_writes_there() {
    let mut comes = Return::new();
    let sharer = comes.reader.share(&comes.reader.path("copy"), &[]);
    let link = format!("{}/other", sharer.ticket());
    assert_exit(&comes.writer.run(["clone", &link, "source"]), 0);
    drop(sharer);
    let source = comes.writer.path("source");
    comes.goes_on(&source);
    // Once all of it was there, what is not there is gone.
    let sharer = comes.reader.share(&comes.reader.path("copy"), &[]);
    assert_exit(&comes.writer.run(["clone", sharer.ticket(), "source"]), 0);
    drop(sharer);
    std::fs::remove_file(source.join("readme")).unwrap();
    assert!(comes.all.remove(&b"readme"[..]).is_some());
    comes.goes_on(&source);
}
