//! Folders that turn into links while a clone lands in them: nothing is ever written, read or removed through one.

#![expect(clippy::print_stdout, reason = "a lane says what it did")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use datnode_feed::Hash;
use datnode_tests::guard::Guard;
use datnode_tests::process::finish;
use datnode_tests::{User, assert_exit, noise, tree, write};
use rustix::fs::{CWD, RenameFlags, renameat_with};

/// Far longer than a clone takes.
const HANGS: Duration = Duration::from_secs(120);
/// How often folders are swapped, at least.
const SWAPS: u64 = 100_000;
/// How many clones that takes, at most: each takes long enough for thousands.
const CLONES_MAX: usize = 500;
/// Folders of the drive that are swapped for links.
const SWAPPED: [&str; 3] = ["one", "one/deep", "two"];

/// Shares a drive of many files, some of several blocks.
fn fill(source: &Path) {
    for number in 0..120 {
        let folder = ["one", "one/deep", "one/deep/er", "two", "three"][number % 5];
        let len = if number % 40 == 0 { 300_000 } else { 2_000 };
        write(source, format!("{folder}/{number}").as_bytes(), &noise(number as u64, len));
    }
    symlink("../three/4", source.join("two/link")).unwrap();
}

/// Swaps folders of `target` for links to `outside`, and back, again and again.
fn swap(target: &Path, links: &Path, swaps: &AtomicU64, stop: &AtomicBool) {
    let exchange = |folder: &str| {
        let link = links.join(folder.replace('/', "-"));
        // Not all of them are there all the time.
        renameat_with(CWD, target.join(folder), CWD, link, RenameFlags::EXCHANGE).is_ok()
    };
    // Once it is planned, it is written: `.dat/landed` says so.
    while !stop.load(Ordering::Relaxed) && !target.join(".dat/landed").exists() {
        std::thread::yield_now();
    }
    for round in 0_usize.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        // Sometimes it gets far before the next swap, sometimes it does not.
        (0..round * 7 % 64).for_each(|_| std::thread::yield_now());
        for folder in SWAPPED {
            if exchange(folder) {
                std::thread::yield_now();
                assert!(exchange(folder), "what was swapped is swapped back");
                swaps.fetch_add(2, Ordering::Relaxed);
            }
        }
    }
}

#[test]
fn nothing_is_written_through_a_folder_that_became_a_link() {
    let (writer, reader) = (User::new(), User::new());
    fill(&writer.path("source"));
    let sharer = writer.share(&writer.path("source"), &[]);
    // What an escape would hit: the same names, of other bytes.
    let outside = reader.path("outside");
    for (name, _) in tree(&writer.path("source")) {
        let name = String::from_utf8(name).unwrap();
        if !writer.path("source").join(&name).is_dir() {
            let base = name.rsplit('/').next().unwrap();
            write(&outside, base.as_bytes(), b"as it was");
            write(&outside, format!("er/{base}").as_bytes(), b"as it was");
        }
    }
    let links = reader.path("links");
    fs::create_dir_all(&links).unwrap();
    SWAPPED.iter().for_each(|name| {
        symlink(&outside, links.join(name.replace('/', "-"))).unwrap();
    });
    let guard = Guard::around(&outside, "");
    let (swaps, mut clones) = (AtomicU64::new(0), 0);
    let mut codes: BTreeMap<Option<i32>, u32> = BTreeMap::new();
    while swaps.load(Ordering::Relaxed) < SWAPS {
        clones += 1;
        assert!(clones <= CLONES_MAX, "only {swaps:?} swaps in {CLONES_MAX} clones");
        let _ = fs::remove_dir_all(reader.path("copy"));
        // The folders are there from the beginning, so that there is something to swap.
        SWAPPED.iter().for_each(|name| fs::create_dir_all(reader.path("copy").join(name)).unwrap());
        let stop = AtomicBool::new(false);
        let ended = std::thread::scope(|scope| {
            let target = reader.path("copy");
            let (links, swaps, stop) = (&links, &swaps, &stop);
            scope.spawn(move || swap(&target, links, swaps, stop));
            let clone = ["clone", sharer.ticket(), "copy", "--timeout", "60s"];
            let child = reader.command(clone).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
            let ended = finish(child.unwrap(), HANGS);
            stop.store(true, Ordering::Relaxed);
            ended
        });
        guard.assert_unchanged();
        let said = String::from_utf8_lossy(&ended.output.stderr).into_owned();
        assert!(!said.contains("panicked"), "{said}");
        let code = ended.output.status.code();
        assert!(matches!(code, Some(0 | 1 | 3 | 7)), "{code:?}: {said}");
        *codes.entry(code).or_default() += 1;
        // Left in peace, it comes to its end.
        assert_exit(&reader.run(["clone", sharer.ticket(), "copy", "--force"]), 0);
        assert_eq!(tree(&reader.path("copy")), tree(&writer.path("source")));
        guard.assert_unchanged();
    }
    println!(
        "{} swaps in {clones} clones, which ended so: {codes:?}",
        swaps.load(Ordering::Relaxed)
    );
}

#[test]
fn nothing_is_written_through_a_link_under_a_temporary_name() {
    let (writer, reader) = (User::new(), User::new());
    fill(&writer.path("source"));
    let sharer = writer.share(&writer.path("source"), &[]);
    let guard = Guard::around(&reader.path(""), "copy");
    for (name, _) in tree(&writer.path("source")) {
        let name = String::from_utf8(name).unwrap();
        let path = reader.path("copy").join(&name);
        if writer.path("source").join(&name).is_file() {
            let hash = Hash::of(name.as_bytes()).to_string();
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let temporary = path.with_file_name(format!(".datpart-{}", &hash[..16]));
            symlink(reader.path("canary"), temporary).unwrap();
        }
    }
    let output = reader.run(["clone", sharer.ticket(), "copy"]);
    guard.assert_unchanged();
    assert_exit(&output, 0);
    assert_eq!(tree(&reader.path("copy")), tree(&writer.path("source")));
}
