//! Damage on the disk is found, named by file, and mended from others.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, symlink};

use datnode_tests::{Sharer, User, assert_exit, noise, rot, tree, write};
use serde_json::Value;

struct World {
    writer: User,
    sharer: Sharer,
    reader: User,
}

impl World {
    fn new() -> Self {
        let writer = User::new();
        let folder = writer.path("source");
        write(&folder, b"data/a.bin", &noise(1, 600_000));
        write(&folder, b"data/b.bin", &noise(2, 300_000));
        write(&folder, b"small", b"a few bytes");
        let sharer = writer.share(&folder, &[]);
        let reader = User::new();
        assert_exit(&reader.run(["clone", sharer.ticket(), "copy"]), 0);
        Self { writer, sharer, reader }
    }
}

fn verify(user: &User, folder: &str, more: &[&str], exit: i32) -> Value {
    let output =
        user.command(["--json", "verify", folder, "--wait", "20s"]).args(more).output().unwrap();
    assert_exit(&output, exit);
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_rotten_file_is_named_and_mended() {
    let World { writer, sharer, reader } = World::new();
    let good = tree(&reader.path("copy"));
    rot(&reader.path("copy/data/a.bin"), 300_000);
    let found = verify(&reader, "copy", &[], 6);
    assert_eq!(found["bad"].as_array().unwrap().len(), 1, "{found}");
    assert_eq!(found["bad"][0]["path"], "data/a.bin");
    let shown = reader.run(["verify", "copy"]);
    assert!(String::from_utf8_lossy(&shown.stderr).contains("data/a.bin block "));
    assert_ne!(tree(&reader.path("copy")), good, "without --repair nothing is changed");

    let mended = verify(&reader, "copy", &["--repair", "--peer", sharer.address()], 0);
    assert_eq!((mended["bad"].as_array().unwrap().len(), &mended["repaired"]), (1, &1.into()));
    assert_eq!(tree(&reader.path("copy")), good);
    assert_eq!(tree(&reader.path("copy")), tree(&writer.path("source")));
    verify(&reader, "copy", &[], 0);
    // Its blocks live in the files still, not twice.
    let data = fs::metadata(reader.path("copy/.dat/store/data")).unwrap().len();
    assert!(data < 300_000, "{data} bytes");
}

#[test]
fn what_the_user_changed_is_not_mended_away() {
    let World { sharer, reader, .. } = World::new();
    let mine = reader.path("copy/data/b.bin");
    write(&reader.path("copy"), b"data/b.bin", b"mine now");
    fs::remove_file(reader.path("copy/small")).unwrap();
    let found = verify(&reader, "copy", &[], 6);
    assert!(found["bad"].as_array().unwrap().len() >= 2, "{found}");
    verify(&reader, "copy", &["--repair", "--peer", sharer.address()], 0);
    assert_eq!(fs::read(mine).unwrap(), b"mine now");
    assert_eq!(fs::read(reader.path("copy/small")).unwrap(), b"a few bytes");
    // The blocks are here all the same, and served.
    verify(&reader, "copy", &[], 0);
    drop(sharer);
    let serving = reader.share(&reader.path("copy"), &[]);
    let late = User::new();
    assert_exit(&late.run(["clone", serving.ticket(), "copy"]), 0);
    assert_eq!(fs::read(late.path("copy/data/b.bin")).unwrap(), noise(2, 300_000));
}

#[test]
fn what_was_changed_here_is_told_and_replaced_only_by_force() {
    let World { sharer, reader, writer } = World::new();
    let mine = reader.path("copy/data/a.bin");
    // As long as before, which only its time tells.
    let file = fs::OpenOptions::new().write(true).open(&mine).unwrap();
    file.write_all_at(b"mine now", 300_000).unwrap();
    drop(file);
    let changed = fs::read(&mine).unwrap();
    let is_told = |found: &Value| {
        assert_eq!(found["files"][0]["path"], "data/a.bin", "{found}");
        assert_eq!(found["files"][0]["is"], "changed", "{found}");
    };
    is_told(&verify(&reader, "copy", &[], 6));
    let repair = ["verify", "copy", "--repair", "--peer", sharer.address()];
    let said = reader.run(repair);
    assert_exit(&said, 0);
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("data/a.bin was changed here, and stays as it is"), "{said}");
    assert!(!said.contains("right again"), "{said}");
    assert_eq!(fs::read(&mine).unwrap(), changed);
    // Its blocks are here, and no damage; that the file is another one is said all the same.
    is_told(&verify(&reader, "copy", &[], 0));
    verify(&reader, "copy", &["--repair", "--force", "--peer", sharer.address()], 0);
    assert_eq!(tree(&reader.path("copy")), tree(&writer.path("source")));
    assert_eq!(verify(&reader, "copy", &[], 0)["files"], Value::Array(Vec::new()));
}

#[test]
fn what_was_removed_comes_back_at_once() {
    let (writer, reader) = (User::new(), User::new());
    let folder = writer.path("source");
    write(&folder, b"full", b"bytes of its own");
    write(&folder, b"empty", b"");
    symlink("full", folder.join("link")).unwrap();
    let sharer = writer.share(&folder, &[]);
    assert_exit(&reader.run(["clone", sharer.ticket(), "copy"]), 0);
    for name in ["full", "empty", "link"] {
        fs::remove_file(reader.path("copy").join(name)).unwrap();
    }
    verify(&reader, "copy", &[], 6);
    verify(&reader, "copy", &["--repair", "--peer", sharer.address()], 0);
    assert_eq!(tree(&reader.path("copy")), tree(&folder));
    verify(&reader, "copy", &[], 0);
}

#[test]
fn what_a_reader_met_damaged_is_fetched_and_found_afterwards() {
    let World { sharer, reader, writer } = World::new();
    rot(&reader.path("copy/data/a.bin"), 300_000);
    let read = reader.run(["cat", "copy/data/a.bin", "--peer", sharer.address()]);
    assert_exit(&read, 0);
    assert!(read.stdout == noise(1, 600_000), "cat goes on with the right bytes");
    let found = verify(&reader, "copy", &[], 6);
    assert_eq!(found["files"][0]["path"], "data/a.bin", "{found}");
    assert_eq!(found["files"][0]["is"], "damaged", "{found}");
    verify(&reader, "copy", &["--repair", "--peer", sharer.address()], 0);
    assert_eq!(tree(&reader.path("copy")), tree(&writer.path("source")));
    verify(&reader, "copy", &[], 0);
}

#[test]
fn what_a_reader_met_damaged_with_nobody_there_is_found_afterwards() {
    let World { sharer, reader, writer } = World::new();
    rot(&reader.path("copy/data/a.bin"), 300_000);
    let read = reader.run(["cat", "copy/data/a.bin", "--offline"]);
    assert_exit(&read, 5);
    let found = verify(&reader, "copy", &[], 6);
    assert_eq!(found["bad"][0]["path"], "data/a.bin", "{found}");
    verify(&reader, "copy", &["--repair", "--peer", sharer.address()], 0);
    assert_eq!(tree(&reader.path("copy")), tree(&writer.path("source")));
}

#[test]
fn a_file_whose_blocks_live_in_another_one_is_looked_at() {
    let (writer, reader) = (User::new(), User::new());
    let folder = writer.path("source");
    write(&folder, b"one", &noise(1, 300_000));
    write(&folder, b"two", &noise(1, 300_000));
    let sharer = writer.share(&folder, &[]);
    assert_exit(&reader.run(["clone", sharer.ticket(), "copy"]), 0);
    for name in ["one", "two"] {
        rot(&reader.path("copy").join(name), 100_000);
        verify(&reader, "copy", &[], 6);
        verify(&reader, "copy", &["--repair", "--peer", sharer.address()], 0);
        assert_eq!(tree(&reader.path("copy")), tree(&folder), "{name}");
        verify(&reader, "copy", &[], 0);
    }
}

#[test]
fn a_clone_beside_the_folder_that_writes_is_mended_in_its_files() {
    let World { sharer, writer, .. } = World::new();
    assert_exit(&writer.run(["clone", sharer.ticket(), "beside", "--no-reuse"]), 0);
    rot(&writer.path("beside/data/a.bin"), 300_000);
    verify(&writer, "beside", &["--repair", "--peer", sharer.address()], 0);
    assert_eq!(tree(&writer.path("beside")), tree(&writer.path("source")));
    verify(&writer, "beside", &[], 0);
}

#[test]
fn a_writers_store_is_mended_by_readers() {
    let World { writer, sharer, reader } = World::new();
    drop(sharer);
    let serving = reader.share(&reader.path("copy"), &[]);
    let store = writer.path("source/.dat/store");
    rot(&store.join("data"), 450_000);
    let found = verify(&writer, "source", &[], 6);
    assert_eq!(found["bad"][0]["feed"], "content", "{found}");
    let alone = writer.run(["--json", "verify", "source", "--repair", "--wait", "500ms"]);
    assert_exit(&alone, 6);
    assert!(String::from_utf8_lossy(&alone.stderr).contains("not fetched again"));
    // What was dropped is missing now, which is not damage; sharing again takes it from the folder, or a clone brings it.
    let before = tree(&writer.path("source"));
    rot(&store.join("data"), 100_000);
    verify(&writer, "source", &["--repair", "--peer", serving.address()], 0);
    verify(&writer, "source", &[], 0);
    assert_eq!(tree(&writer.path("source")), before);
}

#[test]
fn a_rotten_index_is_mended() {
    let World { sharer, reader, .. } = World::new();
    let data = reader.path("copy/.dat/store/data");
    let len = fs::metadata(&data).unwrap().len();
    for offset in [len / 4, len / 2, len - 5] {
        rot(&data, offset);
    }
    // The nodes of the content's tree as well.
    for entry in fs::read_dir(reader.path("copy/.dat/store")).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with("tree")
            && fs::metadata(&path).unwrap().len() > 0
        {
            rot(&path, 8);
        }
    }
    let found = verify(&reader, "copy", &[], 6);
    assert!(found["bad"].as_array().unwrap().iter().any(|bad| bad["feed"] == "changes"), "{found}");
    verify(&reader, "copy", &["--repair", "--peer", sharer.address()], 0);
    verify(&reader, "copy", &[], 0);
    File::open(reader.path("copy/small")).unwrap();
}

#[test]
fn damage_is_not_forgotten_when_nobody_can_mend_it() {
    let World { writer, sharer, reader } = World::new();
    rot(&reader.path("copy/data/a.bin"), 300_000);
    drop(sharer);
    for _ in 0..2 {
        let repair = ["--json", "verify", "copy", "--repair", "--wait", "1s"];
        assert_ne!(reader.run(repair).status.code(), Some(0), "nobody is there");
        let found = verify(&reader, "copy", &[], 6);
        assert_eq!(found["bad"][0]["path"], "data/a.bin", "{found}");
    }
    let sharer = writer.share(&writer.path("source"), &[]);
    verify(&reader, "copy", &["--repair", "--peer", sharer.address()], 0);
    assert_eq!(tree(&reader.path("copy")), tree(&writer.path("source")));
    verify(&reader, "copy", &[], 0);
}
