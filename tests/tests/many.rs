//! A folder with very many entries: listing it takes no more memory than a small one.

#![expect(clippy::print_stdout, reason = "a lane says what it did")]

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use datnode_drive::DrivePath;
use datnode_tests::User;
use datnode_tests::hostile::forge::Forge;
use datnode_tests::process::finish;

/// Far longer than anything here takes.
const HANGS: Duration = Duration::from_secs(600);
/// What a listing may take, whatever it lists, in bytes.
const MEMORY: u64 = 200 << 20;

/// What a plan to clone may take for each entry, in bytes: until nothing is in the way, the index is in memory.
const PLANNED: u64 = 192;

/// What each command took at most, in bytes.
#[derive(Debug)]
struct Took {
    local: u64,
    remote: u64,
    planned: u64,
}

/// Lists a folder of so many files, here and from afar, and plans to clone it.
fn list(count: u64) -> Took {
    let (writer, reader) = (User::new(), User::new());
    let local = writer.path("local");
    let mut forge = Forge::in_folder(&local, 1, b"many");
    let file = forge.file(b"");
    let name = |number: u64| format!("all/entry number {number:08}");
    let entries: BTreeMap<_, _> = (0..count)
        .map(|number| DrivePath::from_bytes(name(number)).unwrap())
        .map(|path| (path.key(), (path, file.clone())))
        .collect();
    let message = format!("{count} entries");
    forge.commit(entries, &message);
    drop(forge);
    let run = |user: &User, args: &[&str], code: i32| {
        let lines = user.path("lines");
        std::fs::create_dir_all(user.path("")).unwrap();
        let mut command = user.command(args);
        command.stdout(std::fs::File::create(&lines).unwrap()).stderr(Stdio::piped());
        let ended = finish(command.spawn().unwrap(), HANGS);
        let said = String::from_utf8_lossy(&ended.output.stderr);
        assert_eq!(ended.output.status.code(), Some(code), "{said}");
        (ended.memory, std::fs::read_to_string(lines).unwrap().lines().count() as u64)
    };
    let (here, lines) = run(&reader, &["ls", &format!("{}/all", local.display())], 0);
    assert_eq!(lines, count);
    let sharer = writer.share(&local, &["--no-import"]);
    let (remote, lines) = run(&reader, &["ls", &format!("{}/all", sharer.ticket())], 0);
    assert_eq!(lines, count);
    // What is in the way ends it when all is planned and nothing is written.
    datnode_tests::write(&reader.path("copy"), name(0).as_bytes(), b"in the way");
    let (planned, _) = run(&reader, &["clone", sharer.ticket(), "copy"], 7);
    println!("{count} entries: {} {} {} MiB", here >> 20, remote >> 20, planned >> 20);
    Took { local: here, remote, planned }
}

#[test]
fn a_listing_takes_no_more_memory_for_ten_times_as_many_entries() {
    let (few, many) = (list(20_000), list(200_000));
    assert!(many.local < few.local + (24 << 20), "{few:?} {many:?}");
    assert!(many.local < MEMORY && many.remote < MEMORY, "{many:?}");
    // Into a folder of the user's, where nothing is written yet.
    assert!(many.planned < few.planned + 200_000 * PLANNED, "{few:?} {many:?}");
}

#[test]
#[ignore = "a minute: cargo test --release -p datnode-tests --test many -- --ignored"]
fn a_million_entries_are_listed_in_little_memory() {
    let (few, many) = (list(100_000), list(1_000_000));
    assert!(many.local < few.local + (24 << 20), "{few:?} {many:?}");
    assert!(many.local < MEMORY, "{many:?}");
    assert!(many.planned < few.planned + 1_000_000 * PLANNED, "{few:?} {many:?}");
}
