//! What other drives on this computer have is copied, not fetched.

use std::fs;
use std::path::Path;

use datnode_tests::{Sharer, User, assert_exit, noise, rot, tree, write};
use serde_json::Value;

/// Somebody who writes drives, and somebody who has an earlier one.
struct Scene {
    writer: User,
    reader: User,
    sharers: Vec<Sharer>,
}

impl Scene {
    fn new() -> Self {
        Self { writer: User::new(), reader: User::new(), sharers: Vec::new() }
    }

    /// Shares a folder; returns its ticket.
    fn share(&mut self, name: &str, make: impl Fn(&Path)) -> String {
        make(&self.writer.path(name));
        let sharer = self.writer.share(&self.writer.path(name), &[]);
        let ticket = sharer.ticket().to_owned();
        self.sharers.push(sharer);
        ticket
    }

    /// Clones; returns how many bytes came, and how many were copied.
    fn clone(&self, ticket: &str, copy: &str, more: &[&str]) -> (u64, u64) {
        let cloned = self.reader.command(["--json", "clone", ticket, copy]).args(more).output();
        let cloned = cloned.unwrap();
        assert_exit(&cloned, 0);
        let lines = String::from_utf8(cloned.stdout).unwrap();
        let done: Value = serde_json::from_str(lines.lines().next_back().unwrap()).unwrap();
        assert_eq!(done["type"], "done");
        (done["received"].as_u64().unwrap(), done["reused"].as_u64().unwrap())
    }

    fn assert_equal(&self, source: &str, copy: &str) {
        assert!(tree(&self.writer.path(source)) == tree(&self.reader.path(copy)), "{copy}");
    }
}

const LARGE: usize = 6 << 20;

/// A large file and many small ones, as one drive has them.
fn first(folder: &Path) {
    write(folder, b"film", &noise(1, LARGE));
    for number in 0..100_u64 {
        write(folder, format!("photos/{number}").as_bytes(), &noise(1_000 + number, 5_000));
    }
}

/// The same in another drive, under other names, edited and with something new.
fn second(folder: &Path) {
    let mut film = noise(1, LARGE);
    film[LARGE / 2] ^= 1;
    film.splice(0..0, *b"a new beginning");
    write(folder, b"films/one", &film);
    write(folder, b"new", &noise(2, 300_000));
    for number in 50..150_u64 {
        write(folder, format!("album/{number}").as_bytes(), &noise(1_000 + number, 5_000));
    }
}

#[test]
fn of_another_drive_with_the_same_files_only_what_differs_is_fetched() {
    let mut scene = Scene::new();
    let tickets = [scene.share("one", first), scene.share("two", second)];
    let (received, reused) = scene.clone(&tickets[0], "one", &[]);
    assert!(received > 6_500_000, "{received}");
    assert_eq!(reused, 0, "there was nothing else");
    let (received, reused) = scene.clone(&tickets[1], "two", &[]);
    // New: a file, fifty small ones, and the chunks at both edits.
    let new = 300_000 + 50 * 5_000 + 4 * 128 * 1_024;
    assert!(received < new + 100_000, "{received}");
    assert!(reused > LARGE as u64 + 250_000 - 4 * 128 * 1_024, "{reused}");
    scene.assert_equal("two", "two");
    let verified = scene.reader.run(["verify", "--full", "two"]);
    assert_exit(&verified, 0);
    let (received, reused) = scene.clone(&tickets[1], "three", &["--no-reuse"]);
    assert!(received > 6_500_000, "{received}");
    assert_eq!(reused, 0);
    scene.assert_equal("two", "three");
}

#[test]
fn of_a_newer_version_beside_an_old_clone_only_what_differs_is_fetched_though_that_is_in_use() {
    let mut scene = Scene::new();
    let ticket = scene.share("one", first);
    scene.clone(&ticket, "old", &[]);
    // Whoever serves the old clone has its store.
    let serving = scene.reader.share(&scene.reader.path("old"), &[]);
    scene.sharers.clear();
    write(&scene.writer.path("one"), b"new", &noise(3, 400_000));
    let ticket = scene.share("one", |_| {});
    // Who serves the old clone is found as well, and perhaps first.
    let (received, reused) = scene.clone(&ticket, "new", &["--at", "2"]);
    assert!((400_000..500_000).contains(&received), "{received}");
    assert!(reused > LARGE as u64, "{reused}");
    scene.assert_equal("one", "new");
    drop(serving);
    // Without anybody to ask, what is here is here.
    scene.sharers.clear();
    let (received, reused) = scene.clone(&ticket, "new", &["--at", "2", "--wait", "0"]);
    assert_eq!((received, reused), (0, 0));
}

#[test]
fn what_changed_or_is_damaged_where_it_is_copied_from_is_fetched() {
    let mut scene = Scene::new();
    let tickets = [scene.share("one", first), scene.share("two", second)];
    scene.clone(&tickets[0], "one", &[]);
    let one = scene.reader.path("one");
    rot(&one.join("film"), 1_000_000);
    fs::remove_dir_all(one.join("photos")).unwrap();
    fs::write(one.join("photos"), b"something else").unwrap();
    let (received, reused) = scene.clone(&tickets[1], "two", &[]);
    assert!((LARGE as u64 - 1_000_000..LARGE as u64 + 500_000).contains(&reused), "{reused}");
    assert!(received > 500_000, "{received}");
    scene.assert_equal("two", "two");
    // A store of which nothing is left, or that is none.
    fs::remove_dir_all(one.join(".dat/store")).unwrap();
    fs::write(one.join(".dat/store"), b"no store").unwrap();
    fs::remove_dir_all(scene.reader.path("two")).unwrap();
    let (received, reused) = scene.clone(&tickets[1], "two", &[]);
    assert!(received > LARGE as u64);
    assert_eq!(reused, 0);
    scene.assert_equal("two", "two");
}
