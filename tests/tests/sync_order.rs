//! What a power cut may find: in the order of its system calls a clone never lets a file go, and never says that blocks are here,
//! before the disk was asked to keep what takes its place.
//!
//! Elsewhere: what becomes of a store at each such cut (`datnode-sim`), the binary killed at each call (`kill`).

use std::collections::BTreeMap;
use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;

use datnode_tests::strace::{self, traced};
use datnode_tests::{User, assert_exit, noise, tree, write};

/// How the names of files begin that are not whole.
const TEMPORARY: &str = ".datpart-";

/// A call of the system that succeeded.
#[derive(Debug)]
struct Call {
    name: String,
    /// Its arguments, each descriptor with the path behind it.
    args: String,
    /// The lines of the log in which it began and ended.
    lines: RangeInclusive<usize>,
}

/// Reads a log of `strace -f -y`.
fn calls(log: &str) -> Vec<Call> {
    let (mut calls, mut begun) = (Vec::new(), BTreeMap::new());
    for (number, line) in log.lines().enumerate() {
        let Some((thread, line)) = line.trim_start().split_once(' ') else { continue };
        let line = line.trim_start();
        if let Some(start) = line.strip_suffix("<unfinished ...>") {
            begun.insert(thread, (number, start));
            continue;
        }
        let resumed = line.strip_prefix("<... ").and_then(|rest| rest.split_once(" resumed>"));
        let (first, whole) = match resumed {
            Some((_, rest)) => {
                let (first, start) = begun.remove(thread).unwrap();
                (first, format!("{start}{rest}"))
            }
            None => (number, line.to_owned()),
        };
        let Some((name, rest)) = whole.split_once('(') else { continue };
        let Some((args, result)) = rest.rsplit_once(" = ") else { continue };
        if !result.starts_with('-') {
            let (name, args) = (name.to_owned(), args.to_owned());
            calls.push(Call { name, args, lines: first..=number });
        }
    }
    calls
}

impl Call {
    fn is_before(&self, other: &Self) -> bool {
        self.lines.end() < other.lines.start()
    }

    fn writes(&self) -> bool {
        matches!(self.name.as_str(), "write" | "pwrite64" | "writev" | "pwritev" | "pwritev2")
    }

    /// Returns the path behind the first descriptor.
    fn file(&self) -> &str {
        let path = self.args.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
        path.map_or("", |(path, _)| path)
    }

    /// Returns the names that a rename takes and gives.
    fn names(&self) -> Option<(&str, &str)> {
        let mut quoted = self.args.split('"').skip(1).step_by(2);
        (self.name.starts_with("rename")).then(|| Some((quoted.next()?, quoted.next()?)))?
    }
}

/// Each of the claims comes after a sync of all that was written before it, of what it is about.
fn each_is_after_a_sync(all: &[Call], of: impl Fn(&Call, &Call) -> bool, claims: &[&Call]) {
    for claim in claims {
        let syncs = all.iter().filter(|call| call.name == "syncfs" && call.is_before(claim));
        let last = syncs.max_by_key(|sync| *sync.lines.start());
        let written = all.iter().filter(|call| call.lines.start() < claim.lines.start());
        for call in written.filter(|call| call.writes() && of(call, claim)) {
            let kept = last.is_some_and(|sync| call.is_before(sync));
            assert!(kept, "{claim:?} and no sync since {call:?}");
        }
    }
}

#[test]
fn nothing_takes_the_place_of_a_file_and_no_block_is_claimed_before_its_bytes_are_synced() {
    if !strace::works() {
        return;
    }
    let (writer, reader) = (User::new(), User::new());
    let source = writer.path("source");
    let names = ["small", "large", "one", "other", "deep/er/file"];
    let write_all = |first: u64| {
        for (name, number) in names.iter().zip(first..) {
            let len = if *name == "large" { 5 << 20 } else { 30_000 };
            write(&source, name.as_bytes(), &noise(number, len));
        }
    };
    write_all(0);
    let sharer = writer.share(&source, &[]);
    assert_exit(&reader.run(["clone", sharer.ticket(), "copy"]), 0);
    drop(sharer);
    write_all(10);
    // Two that change places: their blocks are here already.
    for (name, number) in [("one", 3), ("other", 2)] {
        write(&source, name.as_bytes(), &noise(number, 30_000));
    }
    write(&source, b"new", &noise(20, 300_000));
    let sharer = writer.share(&source, &[]);

    let log = reader.path("log");
    let kinds = "trace=write,pwrite64,writev,pwritev,pwritev2,syncfs,rename,renameat,renameat2";
    let options = ["-y", "-s", "0", "-o", log.to_str().unwrap(), "-e", kinds];
    let output = traced(&reader, &options, &["clone", sharer.ticket(), "copy"]).output().unwrap();
    assert_exit(&output, 0);
    assert_eq!(tree(&source), tree(&reader.path("copy")));

    let all = calls(&fs::read_to_string(log).unwrap());
    let (folder, store) = (reader.path("copy"), reader.path("copy/.dat"));
    let lands = |call: &Call| {
        let file = Path::new(call.file());
        file.starts_with(&folder) && !file.starts_with(&store)
    };
    let landed = all.iter().filter(|call| call.writes() && lands(call)).count();
    assert!(landed >= 6, "each file is written: {landed}");

    let replacing = |call: &Call| {
        let (from, to) = call.names()?;
        let replaced = names.iter().any(|name| name.rsplit('/').next() == Some(to));
        (replaced && from.contains(TEMPORARY)).then(|| from.to_owned())
    };
    let renames: Vec<&Call> = all.iter().filter(|call| replacing(call).is_some()).collect();
    assert_eq!(renames.len(), names.len(), "each of them was replaced once: {renames:?}");
    let part = |call: &Call, rename: &Call| {
        replacing(rename).is_some_and(|part| lands(call) && call.file().ends_with(&part))
    };
    each_is_after_a_sync(&all, part, &renames);

    let journal = store.join("store/journal");
    let claims = all.iter().filter(|call| call.writes() && Path::new(call.file()) == journal);
    let claims: Vec<&Call> = claims.collect();
    assert!(claims.len() >= 2, "before names are given, and after: {claims:?}");
    each_is_after_a_sync(&all, |call, _| lands(call), &claims);
}
