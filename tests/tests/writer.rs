//! One key writes in one place: copies and old backups are noticed, and what was lost comes back.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use datnode_tests::process::wait_until;
use datnode_tests::{Sharer, User, assert_exit, noise, tree, write};
use serde_json::Value;

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

/// Replaces a folder by another one, which stays.
fn put_back(backup: &Path, folder: &Path) {
    fs::remove_dir_all(folder).unwrap();
    copy(backup, folder);
}

fn error(output: &std::process::Output) -> Value {
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rfind(|line| line.contains("\"error\"")).expect("an error was said");
    serde_json::from_str(last).unwrap()
}

/// A writer with three versions, a backup of the first, and a reader who has the last and serves it.
struct World {
    writer: User,
    reader: User,
    serving: Sharer,
}

impl World {
    fn new() -> Self {
        let writer = User::new();
        let folder = writer.path("source");
        write(&folder, b"same", b"as ever");
        write(&folder, b"edited", &noise(1, 200_000));
        write(&folder, b"dropped", b"only in the first");
        drop(writer.share(&folder, &[]));
        copy(&folder, &writer.path("backup"));
        copy(&writer.path("../home"), &writer.path("home-backup"));
        write(&folder, b"edited", &noise(2, 300_000));
        fs::remove_file(folder.join("dropped")).unwrap();
        drop(writer.share(&folder, &[]));
        write(&folder, b"added/deep", &noise(3, 400_000));
        let sharer = writer.share(&folder, &[]);
        let reader = User::new();
        assert_exit(&reader.run(["clone", sharer.ticket(), "copy"]), 0);
        let serving = reader.share(&reader.path("copy"), &[]);
        drop(sharer);
        Self { writer, reader, serving }
    }

    fn recover(&self) -> std::process::Output {
        let peer = self.serving.address();
        self.writer.run(["--json", "recover", "source", "--peer", peer, "--wait", "20s"])
    }
}

#[test]
fn a_backup_that_was_put_back_is_noticed_and_recovered() {
    let world = World::new();
    let folder = world.writer.path("source");
    let published = tree(&folder);
    put_back(&world.writer.path("backup"), &folder);
    write(&folder, b"own", b"made after the backup was put back");
    let refused = world.writer.run(["--json", "share", "source"]);
    assert_exit(&refused, 7);
    let error = error(&refused);
    assert_eq!(error["code"], "E-CONFLICT");
    assert!(error["here"].as_u64() < error["before"].as_u64(), "{error}");
    // Nothing was signed meanwhile; what is here can still be served.
    drop(world.writer.share(&folder, &["--no-import"]));

    let recovered = world.recover();
    assert_exit(&recovered, 0);
    let said = String::from_utf8(recovered.stdout).unwrap();
    let done: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert_eq!((done["change"].as_u64(), done["lost"].as_u64()), (Some(3), Some(0)), "{done}");
    let mut expected = published;
    expected.extend(tree(&folder).into_iter().filter(|(name, _)| name == b"own"));
    assert_eq!(tree(&folder), expected);

    let sharer = world.writer.share(&folder, &[]);
    assert_eq!(sharer.ready["change"], 4);
    assert_eq!((&sharer.ready["added"], &sharer.ready["removed"]), (&1.into(), &0.into()));
    drop(world.serving);
    assert_exit(&world.reader.run(["clone", sharer.ticket(), "copy"]), 0);
    assert_eq!(tree(&world.reader.path("copy")), tree(&folder));
    assert_exit(&world.writer.run(["verify", "backup"]), 0);
}

#[test]
fn what_was_changed_since_the_backup_stays() {
    let world = World::new();
    let folder = world.writer.path("source");
    put_back(&world.writer.path("backup"), &folder);
    write(&folder, b"edited", b"mine");
    write(&folder, b"added", b"a file where a folder belongs");
    fs::remove_file(folder.join("same")).unwrap();
    assert_exit(&world.recover(), 0);
    assert_eq!(fs::read(folder.join("edited")).unwrap(), b"mine");
    assert_eq!(fs::read(folder.join("added")).unwrap(), b"a file where a folder belongs");
    assert!(!folder.join("dropped").exists());
    let sharer = world.writer.share(&folder, &[]);
    assert_eq!(sharer.ready["change"], 4);
    assert_exit(&world.writer.run(["verify", "--full", "backup"]), 0);
}

#[test]
fn without_peers_nothing_is_recovered_and_nothing_is_changed() {
    let World { writer, serving, .. } = World::new();
    drop(serving);
    let folder = writer.path("source");
    put_back(&writer.path("backup"), &folder);
    let before = tree(&folder);
    let alone = writer.run(["--json", "recover", "source", "--wait", "1s"]);
    assert_exit(&alone, 5);
    assert_eq!(error(&alone)["code"], "E-NOPEERS");
    assert_eq!(tree(&folder), before);
    assert_exit(&writer.run(["share", "source"]), 7);
}

#[test]
fn a_computer_that_was_rolled_back_is_told_by_others() {
    let world = World::new();
    let folder = world.writer.path("source");
    put_back(&world.writer.path("backup"), &folder);
    put_back(&world.writer.path("home-backup"), &world.writer.path("../home"));
    // Even the note is old now: only the reader knows.
    let mut command =
        world.writer.command(["--json", "share", "source", "--peer", world.serving.address()]);
    let mut child = command
        .stderr(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
    let warned = lines.find(|line| line.as_ref().unwrap().contains("older than what it wrote"));
    let warning: Value = serde_json::from_str(&warned.expect("it warns").unwrap()).unwrap();
    assert_eq!((&warning["type"], &warning["code"]), (&"warning".into(), &"E-CONFLICT".into()));
    child.kill().unwrap();
    child.wait().unwrap();
    write(&folder, b"more", b"a change that must not be signed");
    assert_exit(&world.writer.run(["share", "source"]), 7);
    assert_exit(&world.recover(), 0);
    assert_eq!(world.writer.share(&folder, &[]).ready["change"], 4);
}

#[test]
fn a_copy_does_not_write_while_the_original_is_there() {
    let writer = User::new();
    let folder = writer.path("source");
    write(&folder, b"a", b"one");
    drop(writer.share(&folder, &[]));
    let other = writer.path("other");
    copy(&folder, &other);
    write(&other, b"a", b"two");
    let refused = writer.run(["--json", "share", "other"]);
    assert_exit(&refused, 7);
    assert!(error(&refused)["message"].as_str().unwrap().contains("is a copy"));
    assert_exit(&writer.run(["recover", "other"]), 7);
    assert_eq!(writer.share(&other, &["--no-import"]).ready["change"], 1);
    // Once the original is gone, the copy is the drive's home.
    fs::remove_dir_all(&folder).unwrap();
    assert_eq!(writer.share(&other, &[]).ready["change"], 2);
    let moved = writer.path("moved");
    fs::rename(&other, &moved).unwrap();
    write(&moved, b"a", b"three");
    assert_eq!(writer.share(&moved, &[]).ready["change"], 3);
    // A clone is no home of the drive either, as long as another folder is.
    let sharer = writer.share(&moved, &[]);
    assert_exit(&writer.run(["clone", sharer.ticket(), "clone"]), 0);
    drop(sharer);
    assert_exit(&writer.run(["share", "clone"]), 7);
}

fn status(user: &User, folder: &str) -> Value {
    let output = user.run(["--json", "status", folder]);
    assert_exit(&output, 0);
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Gives a second computer the writer's folder and secret key, as somebody may who wants to write on both.
fn second_computer(writer: &User) -> User {
    let other = User::new();
    fs::create_dir_all(other.path("")).unwrap();
    copy(&writer.path("source"), &other.path("source"));
    copy(&writer.path("../home"), &other.path("../home"));
    // What belongs to the first computer alone does not come along.
    let node = fs::read_dir(other.path("../home")).unwrap().map(|entry| entry.unwrap().path());
    for path in node.filter(|path| path.is_file()) {
        fs::remove_file(path).unwrap();
    }
    for entry in fs::read_dir(other.path("../home/keys")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "home") {
            fs::remove_file(path).unwrap();
        }
    }
    other
}

#[test]
fn two_histories_of_one_key_are_known_to_everybody_who_meets_both() {
    let one = User::new();
    write(&one.path("source"), b"a", b"first");
    drop(one.share(&one.path("source"), &[]));
    let two = second_computer(&one);
    write(&one.path("source"), b"a", b"here");
    write(&two.path("source"), b"a", b"there");
    let (one_serving, two_serving) =
        (one.share(&one.path("source"), &[]), two.share(&two.path("source"), &[]));
    let reader = User::new();
    assert_exit(&reader.run(["clone", one_serving.ticket(), "copy"]), 0);
    assert_eq!(status(&reader, "copy")["accused"], false);
    let serving = reader.share(
        &reader.path("copy"),
        &["--peer", two_serving.address(), "--peer", one_serving.address()],
    );
    // Everybody who is connected knows soon; each says so when asked.
    let wait_until =
        |what, done: &dyn Fn() -> bool| wait_until(Duration::from_secs(60), what, done);
    wait_until("the reader knows", &|| status(&reader, "copy")["accused"] == true);
    wait_until("the first writer knows", &|| status(&one, "source")["accused"] == true);
    wait_until("the second writer knows", &|| status(&two, "source")["accused"] == true);
    let shown = reader.run(["status", "copy"]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("signed two histories"));
    drop((one_serving, two_serving, serving));
    // It is kept, what was verified stays, and nobody goes on writing.
    assert_eq!(status(&reader, "copy")["accused"], true);
    assert_exit(&reader.run(["verify", "copy"]), 0);
    assert_eq!(fs::read(reader.path("copy/a")).unwrap(), b"here");
    for writer in [&one, &two] {
        write(&writer.path("source"), b"b", b"more");
        let refused = writer.run(["--json", "share", "source"]);
        assert_exit(&refused, 7);
        assert_eq!(error(&refused)["code"], "E-CONFLICT");
        assert_exit(&writer.run(["recover", "source"]), 7);
    }
    // Whoever comes later is told by those who know.
    let serving = reader.share(&reader.path("copy"), &[]);
    let late = User::new();
    let cloned = late.run(["clone", serving.ticket(), "copy"]);
    assert_exit(&cloned, 0);
    assert!(String::from_utf8_lossy(&cloned.stderr).contains("warning[E-CONFLICT]"));
    assert_eq!(fs::read(late.path("copy/a")).unwrap(), b"here");
    assert_eq!(status(&late, "copy")["accused"], true);
}

#[test]
fn status_says_what_is_here_and_what_to_do() {
    let world = World::new();
    let folder = world.writer.path("source");
    let state = status(&world.writer, "source");
    assert_eq!((&state["writes"], &state["change"]), (&true.into(), &3.into()));
    assert_eq!((&state["bytes"], &state["missing"]), (&state["here"], &Value::Array(vec![])));
    assert_eq!(state["drive"]["name"], "source");
    assert!(state["next"].as_str().unwrap().starts_with("datnode share"), "{state}");

    put_back(&world.writer.path("backup"), &folder);
    let state = status(&world.writer, "source");
    assert!(state["blocks"].as_u64() < state["blocks_known"].as_u64(), "{state}");
    assert!(state["next"].as_str().unwrap().starts_with("datnode recover"), "{state}");

    // The reader's drive is open in another process meanwhile.
    let state = status(&world.reader, "copy");
    assert_eq!((&state["writes"], &state["here"]), (&false.into(), &state["bytes"]));
    let part = User::new();
    let link = format!("{}/added", world.serving.link());
    assert_exit(&part.run(["clone", &link, "part", "--peer", world.serving.address()]), 0);
    let state = status(&part, "part");
    let missing: Vec<&str> = state["missing"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["path"].as_str().unwrap())
        .collect();
    assert_eq!(missing, ["edited", "same"]);
    assert_eq!(state["bytes"].as_u64().unwrap() - state["here"].as_u64().unwrap(), 300_007);
    assert!(state["next"].as_str().unwrap().starts_with("datnode clone"), "{state}");
}
