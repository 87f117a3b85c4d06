//! Secret keys, of drives and of nodes, are in their files and nowhere else: in nothing that is printed, logged, sent or stored.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use datnode_tests::spelled::spellings;
use datnode_tests::{Sharer, User, noise, write};

/// Commands of the writer, and one of a reader who types the secret: what fails says why.
const WRITER: [&str; 16] = [
    "status source",
    "peers source",
    "ls source",
    "log source",
    "link source",
    "link source --ticket",
    "tag source v1",
    "verify source",
    "doctor --report",
    "doctor source",
    "keys",
    "keys export source",
    "keys export nothing",
    "keys import source/a",
    "recover source",
    "share source",
];

/// Returns all files below a folder with their bytes.
fn files(root: &Path, into: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(root).unwrap().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            files(&entry.path(), into);
        } else if kind.is_file() {
            into.insert(entry.path().display().to_string(), fs::read(entry.path()).unwrap());
        }
    }
}

/// Has a command write the whole log of all libraries, and all else that it says, into files below `said`.
fn loud(command: &mut Command, said: &Path, name: &str) {
    fs::create_dir_all(said).unwrap();
    let errors = fs::File::create(said.join(format!("{name}.errors"))).unwrap();
    command.env("DATNODE_LOG", "trace").env("DATNODE_PASSPHRASE", "correct horse").stderr(errors);
}

#[test]
fn secret_keys_are_in_their_files_alone() {
    let (writer, reader, said) = (User::new(), User::new(), tempfile::tempdir().unwrap());
    let said = said.path();
    let source = writer.path("source");
    write(&source, b"a", &noise(1, 100_000));
    write(&source, b"b/c", b"text");
    let mut share = writer.command(["--json", "share", "source"]);
    loud(&mut share, said, "share");
    let sharer = Sharer::of(share.stdout(Stdio::piped()).spawn().unwrap());
    let run = |user: &User, name: String, words: &[&str]| {
        let mut command = user.command(words);
        loud(&mut command, said, &name);
        let output = command.stdout(Stdio::piped()).output().unwrap();
        fs::write(said.join(format!("{name}.printed")), output.stdout).unwrap();
        output.status
    };
    assert!(run(&reader, "clone".into(), &["clone", sharer.ticket(), "copy"]).success());
    for (number, command) in WRITER.iter().enumerate() {
        let words: Vec<_> = command.split(' ').collect();
        run(&writer, format!("{number}"), &words);
    }
    // Beside it is what was noted of the drive's last head.
    let keys = fs::read_dir(writer.home().join("keys")).unwrap().map(|file| file.unwrap().path());
    let key = keys.into_iter().find(|path| path.extension().is_none()).unwrap();
    let seed: [u8; 32] = fs::read(&key).unwrap().try_into().unwrap();
    let word = writer.run(["keys", "export", "source", "--plain"]).stdout;
    let word = String::from_utf8(word).unwrap();
    for (number, words) in [["clone", word.trim()], ["ls", word.trim()]].iter().enumerate() {
        assert!(!run(&reader, format!("typed {number}"), words).success());
    }
    drop(sharer);

    let mut secrets = vec![seed, blake3::derive_key("datnode 2026 content key v1", &seed)];
    let (mut own, mut others) = (BTreeMap::new(), BTreeMap::new());
    for user in [&writer, &reader] {
        files(&user.home(), &mut own);
        files(&user.path(""), &mut others);
    }
    files(said, &mut others);
    own.retain(|path, bytes| {
        let (is_node, is_drive) = (path.ends_with("/node.key"), Path::new(path) == key);
        if is_node {
            // A header of 4 bytes, the secret, and the public key.
            secrets.push(bytes[4..36].try_into().unwrap());
        }
        !is_node && !is_drive
    });
    assert_eq!(secrets.len(), 4, "of the drive two, and one of each node");
    let spelled: Vec<_> = secrets.iter().flat_map(spellings).collect();
    assert!(spelled.iter().any(|form| word.contains(&*String::from_utf8_lossy(form))));
    others.append(&mut own);
    // Eight bytes of each are enough to tell.
    let heads: BTreeSet<&[u8]> = spelled.iter().map(|form| &form[..8]).collect();
    let mut bytes = 0;
    for (path, content) in &others {
        bytes += content.len();
        let found = content.windows(8).find(|at| heads.contains(at));
        assert!(found.is_none(), "{path}: {}", found.unwrap().escape_ascii());
    }
    let logged = fs::metadata(said.join("share.errors")).unwrap().len();
    assert!(logged > 10_000 && bytes > 200_000, "{logged} bytes were logged, {bytes} looked at");
}
