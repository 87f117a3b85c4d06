//! Drives of more entries than are landed at a time: clones arrive, go on, and are brought up to date as small ones are, in little memory.

#![expect(clippy::print_stdout, reason = "a lane says what it did")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use datnode::landing::WINDOW_ENTRIES;
use datnode_drive::{DrivePath, Entry, Key, Mtime, Op};
use datnode_tests::guard::{files, landed};
use datnode_tests::hostile::forge::Forge;
use datnode_tests::process::{Ended, finish, wait_until};
use datnode_tests::{Sharer, User, assert_exit, noise};

/// Far longer than anything here takes.
const HANGS: Duration = Duration::from_secs(1_800);
/// What a clone of any number of files may take, in bytes, beside maps of its own tables.
const MEMORY: u64 = 100 << 20;

/// What a drive holds.
type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// A drive as its writer makes it, version by version.
struct Drive {
    writer: User,
    forge: Option<Forge>,
    model: Model,
    known: BTreeMap<Vec<u8>, Entry>,
}

impl Drive {
    fn new() -> Self {
        let writer = User::new();
        let forge = Some(Forge::in_folder(&writer.path("drive"), 1, b"windows"));
        Self { writer, forge, model: Model::new(), known: BTreeMap::new() }
    }

    /// Publishes the next version; bytes that were published before are not stored again.
    fn publish(&mut self, next: Model) -> Sharer {
        let mut forge =
            self.forge.take().unwrap_or_else(|| Forge::reopen(&self.writer.path("drive"), 1));
        let mut ops: BTreeMap<Key, Op> = BTreeMap::new();
        let path = |name: &[u8]| DrivePath::from_bytes(name).unwrap();
        for name in self.model.keys().filter(|name| !next.contains_key(*name)) {
            ops.insert(path(name).key(), Op::Delete(path(name)));
        }
        for (name, bytes) in
            next.iter().filter(|(name, bytes)| self.model.get(*name) != Some(bytes))
        {
            let entry =
                self.known.entry(bytes.clone()).or_insert_with(|| forge.file(bytes)).clone();
            ops.insert(path(name).key(), Op::Put(path(name), entry));
        }
        for folder in
            next.keys().filter_map(|name| path(name).parent()).filter(|path| !path.is_root())
        {
            let entry = Entry::directory(0o755, Mtime { seconds: 1_600_000_000, nanos: 0 });
            ops.insert(folder.key(), Op::Put(folder, entry));
        }
        forge.change_files(&ops.into_values().collect::<Vec<_>>(), "next");
        drop(forge);
        self.model = next;
        self.writer.share(&self.writer.path("drive"), &["--no-import"])
    }

    fn assert_landed(&self, target: &Path) {
        let here = files(landed(target));
        let missing: Vec<_> =
            self.model.keys().filter(|name| !here.contains_key(*name)).take(9).collect();
        let more: Vec<_> =
            here.keys().filter(|name| !self.model.contains_key(*name)).take(9).collect();
        assert!(missing.is_empty() && more.is_empty(), "missing {missing:?}, more {more:?}");
        let wrong: Vec<_> = here
            .iter()
            .filter(|(name, bytes)| self.model[*name] != **bytes)
            .take(9)
            .map(|(name, _)| name)
            .collect();
        assert!(wrong.is_empty(), "{wrong:?}");
    }
}

/// Returns the bytes that a clone says it received.
fn received(output: &std::process::Output) -> u64 {
    let line = output.stdout.trim_ascii().rsplit(|byte| *byte == b'\n').next().unwrap();
    serde_json::from_slice::<serde_json::Value>(line).unwrap()["received"].as_u64().unwrap()
}

/// Files in the first and the last folder that are large enough to tell whether they were sent.
const LARGE: usize = 16;
const LARGE_BYTES: usize = 600_000;

/// The first version: a folder that crosses the end of a window, some around it, and large files at both ends.
fn first() -> Model {
    let mut model = Model::new();
    for number in 0..WINDOW_ENTRIES {
        model.insert(format!("m/{number:06}").into_bytes(), format!("m {number}").into_bytes());
    }
    for number in 0..1_500 {
        let name = format!("n{:02}/{number:06}", number / 1_000);
        model.insert(name.into_bytes(), format!("n {number}").into_bytes());
    }
    for number in 0..LARGE {
        model.insert(format!("a/{number}").into_bytes(), noise(number as u64, LARGE_BYTES));
        model.insert(format!("z/{number}").into_bytes(), noise(100 + number as u64, LARGE_BYTES));
    }
    model
}

/// The second: that folder has another name, and lies elsewhere in the order; the large files changed places.
fn second() -> Model {
    let moved = |(name, bytes): (Vec<u8>, Vec<u8>)| {
        let name = match name.strip_prefix(b"m/") {
            Some(base) => [b"c/", base].concat(),
            None => name,
        };
        (name, bytes)
    };
    let mut model: Model = first().into_iter().map(moved).collect();
    for number in 0..LARGE {
        let [a, z] = ["a", "z"].map(|folder| format!("{folder}/{number}").into_bytes());
        let (of_a, of_z) = (model[&a].clone(), model[&z].clone());
        model.insert(a, of_z);
        model.insert(z, of_a);
    }
    model.insert(b"n00/000000".to_vec(), b"edited".to_vec());
    model.remove(&b"n01/001000"[..]);
    model
}

#[test]
fn a_drive_of_several_windows_arrives_goes_on_and_is_brought_up_to_date() {
    let mut drive = Drive::new();
    let sharer = drive.publish(first());
    let reader = User::new();
    let target = reader.path("copy");
    let clone = ["--json", "clone", sharer.ticket(), "copy"];
    // It is killed when the first of its files are there, and goes on.
    let mut child = reader.command(clone).stdout(Stdio::null()).spawn().unwrap();
    let begun = || target.join("m/000100").exists() || target.join("n00/000100").exists();
    wait_until(HANGS, "the first files", begun);
    let _ = child.kill();
    child.wait().unwrap();
    let part = files(landed(&target)).len();
    assert_exit(&reader.run(clone), 0);
    drive.assert_landed(&target);
    println!("killed at {part} of {} files", drive.model.len());

    drop(sharer);
    let sharer = drive.publish(second());
    let clone = ["--json", "clone", sharer.ticket(), "copy"];
    // What is in the way of the last window keeps the first from being touched.
    let own = target.join("z/3");
    fs::write(&own, b"the user's own").unwrap();
    assert_exit(&reader.run(clone), 7);
    assert!(!target.join("c").exists() && fs::read(&own).unwrap() == b"the user's own");
    fs::remove_file(&own).unwrap();
    let output = reader.run(clone);
    assert_exit(&output, 0);
    drive.assert_landed(&target);
    // One of the large files was taken away; the others and the folder that moved were here.
    let most = 5_000_000 + LARGE_BYTES as u64;
    assert!(received(&output) < most, "{} of {most}", received(&output));
    assert!(most < (LARGE * LARGE_BYTES) as u64);
    assert_exit(&reader.run(["verify", "--full", "copy"]), 0);
}

#[test]
fn what_cannot_stand_together_is_refused_across_windows() {
    let mut drive = Drive::new();
    let mut forge = drive.forge.take().unwrap();
    let mut ops: BTreeMap<Key, Op> = BTreeMap::new();
    let path = |name: &str| DrivePath::from_bytes(name).unwrap();
    let file = forge.file(b"x");
    // No folder has an entry, and the first name is a file with something below it, a window later.
    let good = (0..WINDOW_ENTRIES).map(|number| format!("early/{number}")).chain(["file".into()]);
    let bad = ["file/below", "file/deep/er"].map(String::from);
    for name in good.chain(bad) {
        ops.insert(path(&name).key(), Op::Put(path(&name), file.clone()));
    }
    forge.change_files(&ops.into_values().collect::<Vec<_>>(), "first");
    drop(forge);
    let sharer = drive.writer.share(&drive.writer.path("drive"), &["--no-import"]);
    let reader = User::new();
    for _ in 0..2 {
        let output = reader.run(["--json", "clone", sharer.ticket(), "copy"]);
        assert_exit(&output, 3);
        let said = String::from_utf8(output.stderr).unwrap();
        let error: serde_json::Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
        let refused: Vec<_> =
            error["paths"].as_array().unwrap().iter().map(|path| path["path"].clone()).collect();
        assert_eq!(refused, ["file/below", "file/deep/er"]);
        let here = files(landed(&reader.path("copy")));
        assert_eq!(here.len(), WINDOW_ENTRIES + 1);
        assert!(here.contains_key(&b"file"[..]));
    }
}

/// Clones, and returns what it took.
fn measure(reader: &User, what: &str, args: &[&str]) -> Ended {
    let began = std::time::Instant::now();
    let mut command = reader.command(args);
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let ended = finish(child, HANGS);
    assert_exit(&ended.output, 0);
    println!("{what}: {} MiB, {:?}", ended.anonymous >> 20, began.elapsed());
    ended
}

#[test]
#[ignore = "minutes: cargo test --release -p datnode-tests --test windows -- --ignored"]
fn a_million_files_are_cloned_in_little_memory() {
    let name = |number: u32, round: u32| {
        let folder = number / 1_000;
        // Some folders have another name each time.
        let folder =
            if folder % 50 == 7 { format!("{folder:03}-{round}") } else { format!("{folder:03}") };
        format!("{folder}/{number:06}").into_bytes()
    };
    let version = |round: u32| -> Model {
        let all =
            (0..1_000_000).map(|number| (name(number, round), number.to_string().into_bytes()));
        all.collect()
    };
    let mut drive = Drive::new();
    let sharer = drive.publish(version(1));
    let reader = User::new();
    let mut most = 0;
    let mut clone = |what: &str, ticket: &str| {
        most = measure(&reader, what, &["clone", ticket, "copy"]).anonymous.max(most);
    };
    clone("fresh", sharer.ticket());
    clone("again", sharer.ticket());
    drop(sharer);
    let sharer = drive.publish(version(2));
    clone("brought up to date", sharer.ticket());
    assert!(most <= MEMORY, "{} MiB", most >> 20);
    drive.assert_landed(&reader.path("copy"));
}
