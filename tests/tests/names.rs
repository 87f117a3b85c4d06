//! Hostile names, on every route that reaches a disk or a terminal: those that may land do, the others are told of once, and
//! nothing around the target changes.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use datnode_drive::{DrivePath, Entry, Mtime};
use datnode_tests::guard::{Guard, files, landed};
use datnode_tests::hostile::forge::Forge;
use datnode_tests::hostile::names::{self, Fate};
use datnode_tests::process::{finish, signal};
use datnode_tests::relay::Relay;
use datnode_tests::{Sharer, User, assert_exit};
use serde_json::Value;

/// What a change says that its writer signed.
const MESSAGE: &str = "\u{1b}]0;title\u{7}\u{202e}first\n● 9 · forged";

/// What takes longer than this never comes.
const HANGS: Duration = Duration::from_secs(60);

/// What the writer calls the drive.
const NAME: &[u8] = b"\x1b[2Jnew\nname\xe2\x80\xae";

/// What a name holds: something that no other has.
fn bytes_of(name: &[u8]) -> Vec<u8> {
    [b"bytes of ", name].concat()
}

/// A drive with all the names, served by the binary.
struct Drive {
    writer: User,
    sharer: Sharer,
    names: BTreeMap<Vec<u8>, Fate>,
}

impl Drive {
    fn new() -> Self {
        let writer = User::new();
        let names: BTreeMap<_, _> = names::all().into_iter().collect();
        assert!(names.len() >= 400, "only {} names", names.len());
        // One is served, the other lies in a folder.
        for folder in ["drive", "local"] {
            let mut forge = Forge::in_folder(&writer.path(folder), 1, NAME);
            let mut entries = BTreeMap::new();
            for name in names.keys() {
                let path = DrivePath::from_bytes(name.clone()).expect("it may travel");
                entries.insert(path.key(), (path, forge.file(&bytes_of(name))));
            }
            forge.commit(entries, MESSAGE);
        }
        let sharer = writer.share(&writer.path("drive"), &["--no-import"]);
        Self { writer, sharer, names }
    }

    /// The same, where a clone follows from before they came; returns what that said.
    fn live(reader: &User) -> (Self, String) {
        let (writer, names) = (User::new(), names::all().into_iter().collect::<BTreeMap<_, _>>());
        let folder = writer.path("drive");
        let mut forge = Forge::in_folder(&folder, 1, NAME);
        let entry = |forge: &mut Forge, name: &[u8], bytes: &[u8]| {
            let path = DrivePath::from_bytes(name.to_vec()).expect("it may travel");
            (path.key(), (path, forge.file(bytes)))
        };
        // One that lands, and becomes another then.
        let lands = names.iter().find(|(_, fate)| **fate == Fate::Lands).unwrap().0;
        let first = entry(&mut forge, lands, b"before");
        forge.commit([first].into(), "first");
        drop(forge);
        let sharer = writer.share(&folder, &["--no-import"]);
        let relay = Relay::new(sharer.address(), Duration::ZERO);
        let (link, peer) = (sharer.link().to_owned(), relay.address());
        let mut follow = reader.command(["--json", "clone", "--live", &link, "copy"]);
        follow.args(["--peer", &peer]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut follower = follow.spawn().unwrap();
        let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
        let mut comes =
            |what: &str| assert!(lines.any(|line| line.unwrap().contains(what)), "{what}");
        comes("\"done\"");
        drop(sharer);
        let mut forge = Forge::reopen(&folder, 1);
        let all = names.keys().map(|name| entry(&mut forge, name, &bytes_of(name))).collect();
        forge.commit(all, MESSAGE);
        drop(forge);
        let sharer = writer.share(&folder, &["--no-import"]);
        relay.turn_to(sharer.address());
        comes("\"change\":2");
        signal(&follower, "-INT");
        let ended = finish(follower, HANGS).output;
        assert_exit(&ended, 0);
        (Self { writer, sharer, names }, tame(&ended.stderr, true))
    }

    fn with(&self, fate: Fate) -> BTreeSet<&[u8]> {
        let of = self.names.iter().filter(|(_, is)| **is == fate);
        of.map(|(name, _)| &name[..]).collect()
    }

    /// Asserts that a folder holds what may land, and nothing else.
    fn assert_landed(&self, folder: &Path) {
        self.assert_landed_but(folder, |_| false);
    }

    fn assert_landed_but(&self, folder: &Path, but: impl Fn(&[u8]) -> bool) {
        let here = files(landed(folder));
        let mut right = self.with(Fate::Lands);
        right.retain(|name| !but(name));
        let missing: Vec<_> = right.iter().filter(|name| !here.contains_key(**name)).collect();
        let wrong: Vec<_> = here.keys().filter(|name| !right.contains(&name[..])).collect();
        assert!(missing.is_empty() && wrong.is_empty(), "missing {missing:?}, wrong {wrong:?}");
        here.iter().for_each(|(name, bytes)| assert!(*bytes == bytes_of(name), "{name:?}"));
    }

    /// Asserts that a command named each refused name once, with a reason, and ended with 3.
    fn assert_refused(&self, output: &Output, json: bool) {
        assert_exit(output, 3);
        let said = tame(&output.stderr, json);
        let mut named: Vec<String> = if json {
            let error = records(&output.stderr).pop().unwrap();
            assert_eq!(error["code"], "E-PATH");
            let paths = error["paths"].as_array().unwrap().iter();
            paths.filter(|path| path["reason"] != "").map(|path| path["path"].to_string()).collect()
        } else {
            let lines = said.lines().skip_while(|line| !line.starts_with("error[E-PATH]"));
            let reason = |line: &str| Some(line.strip_suffix(')')?.split_once(" (")?.0.to_owned());
            lines.skip(1).filter_map(reason).collect()
        };
        let count = named.len();
        named.sort();
        named.dedup();
        let right = self.with(Fate::Refused).len();
        assert_eq!((count, named.len()), (right, right), "{said}");
    }
}

/// Returns what a command said, which does nothing to a terminal.
fn tame(said: &[u8], json: bool) -> String {
    let text = String::from_utf8(said.to_vec()).expect("only UTF-8 is printed");
    let bad = |char: char| {
        char != '\n' && char.is_control()
            || matches!(char, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e0fff}')
    };
    let found = text.chars().find(|char| bad(*char));
    assert_eq!(found, None, "{}", text.escape_debug());
    if json {
        records(said);
    }
    text
}

/// Returns lines of JSON.
fn records(said: &[u8]) -> Vec<Value> {
    let lines = said.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).expect("a line is JSON")).collect()
}

/// Returns the exact name that a record is about.
fn exact(record: &Value) -> Vec<u8> {
    match record["path_b64"].as_str() {
        Some(base64) => data_encoding::BASE64.decode(base64.as_bytes()).unwrap(),
        None => record["path"].as_str().unwrap().as_bytes().to_vec(),
    }
}

fn os(bytes: &[u8]) -> OsString {
    OsString::from_vec(bytes.to_vec())
}

#[test]
fn what_may_land_lands_and_the_rest_is_named_and_nothing_else_changes() {
    let drive = Drive::new();
    let reader = User::new();
    let guard = Guard::around(&reader.path(""), "copy");
    // Into nothing, over a clone that is there, and over a copy of what landed.
    let clone = ["clone", drive.sharer.ticket(), "copy"];
    for json in [false, true, false] {
        let flag: &[&str] = if json { &["--json"] } else { &[] };
        let output = reader.run(flag.iter().chain(&clone));
        drive.assert_refused(&output, json);
        tame(&output.stdout, json);
        drive.assert_landed(&reader.path("copy"));
        guard.assert_unchanged();
    }
    // A clone is shared on: who takes it from there has the same.
    let again = User::new();
    let guard = Guard::around(&again.path(""), "copy");
    {
        let sharer = reader.share(&reader.path("copy"), &[]);
        drive.assert_refused(&again.run(["clone", sharer.ticket(), "copy"]), false);
    }
    drive.assert_landed(&again.path("copy"));
    guard.assert_unchanged();
    for user in [&reader, &again] {
        for args in
            [&["verify", "--full", "copy"][..], &["status", "copy"], &["log", "--stat", "copy"]]
        {
            let output = user.run(args);
            assert_exit(&output, 0);
            tame(&output.stdout, false);
            tame(&output.stderr, false);
        }
    }
    // Nor does writing it out elsewhere do anything else.
    let elsewhere = User::new();
    let guard = Guard::around(&elsewhere.path(""), "out");
    let checkout = ["checkout", "1", drive.sharer.ticket(), "--into", "out"];
    for json in [false, true] {
        let flag: &[&str] = if json { &["--json"] } else { &[] };
        let output = elsewhere.run(flag.iter().chain(&checkout));
        drive.assert_refused(&output, json);
        tame(&output.stdout, json);
        drive.assert_landed(&elsewhere.path("out"));
        guard.assert_unchanged();
        fs::remove_dir_all(elsewhere.path("out")).unwrap();
    }
    // What landed is taken in as a drive of its own, and lands elsewhere: but paths that are longer than the system takes.
    fs::remove_dir_all(reader.path("copy/.dat")).unwrap();
    for long in ["long4080", "long4095", "long4096"] {
        fs::remove_dir_all(reader.path("copy").join(long)).unwrap();
    }
    let own = reader.share(&reader.path("copy"), &["--hidden", "--no-ignore"]);
    assert_exit(&again.run(["clone", own.ticket(), "second"]), 0);
    drive.assert_landed_but(&again.path("second"), |name| name.starts_with(b"long40"));
}

#[test]
fn what_comes_live_lands_or_is_named_as_with_a_clone() {
    let reader = User::new();
    let guard = Guard::around(&reader.path(""), "copy");
    let (drive, said) = Drive::live(&reader);
    assert!(said.contains("E-PATH"), "{said}");
    drive.assert_landed(&reader.path("copy"));
    guard.assert_unchanged();
}

#[test]
fn listings_show_every_name_and_forge_nothing() {
    let drive = Drive::new();
    let local = drive.writer.path("local");
    let reader = User::new();
    for address in [local.to_str().unwrap(), drive.sharer.ticket()] {
        let nothing = format!("{address}+0");
        for args in [
            &["diff", &nothing, "latest"][..],
            &["ls", address],
            &["ls", "-l", address],
            &["ls", "-R", address],
            &["ls", "-lR", address],
            &["log", address],
            &["log", "--stat", address],
        ] {
            for json in [false, true] {
                let flag: &[&str] = if json { &["--json"] } else { &[] };
                let output = reader.run(flag.iter().chain(args));
                assert_exit(&output, 0);
                let text = tame(&output.stdout, json);
                tame(&output.stderr, json);
                let deep = args.contains(&"-R") || args.contains(&"-lR");
                let top = drive.names.keys().filter(|name| !name.contains(&b'/'));
                let count = if deep { drive.names.len() } else { top.count() };
                if args[0] == "ls" {
                    let is_table = !json && args.iter().any(|arg| arg.starts_with("-l"));
                    let rows = text.lines().skip(usize::from(is_table));
                    let lines: BTreeSet<&str> = rows.collect();
                    assert_eq!(lines.len(), count, "{args:?}: no two names look the same");
                }
                if args[0] == "ls" && deep && json {
                    let listed: BTreeSet<_> = records(&output.stdout).iter().map(exact).collect();
                    assert!(listed.iter().eq(drive.names.keys()), "{args:?}");
                }
            }
        }
    }
}

#[test]
fn bytes_go_where_they_are_sent_whatever_the_name_is() {
    let drive = Drive::new();
    let reader = User::new();
    let guard = Guard::around(&reader.path(""), "out");
    let plain = |name: &&Vec<u8>| {
        !name.split(|byte| *byte == b'/').any(|component| matches!(component, b"." | b".."))
    };
    let names: Vec<_> = drive.names.keys().filter(plain).collect();
    assert!(names.len() >= 400);
    let remote = |name: &[u8]| os(&[drive.sharer.ticket().as_bytes(), b"/", name].concat());
    let at = drive.writer.path("local").into_os_string().into_vec();
    let local = |name: &[u8]| os(&[&at[..], b"/", name].concat());
    let right: Vec<u8> = names.iter().flat_map(|name| bytes_of(name)).collect();
    let cat = |flags: &[&str], names: &[&Vec<u8>], address: &dyn Fn(&[u8]) -> OsString| {
        let flags = flags.iter().map(OsString::from);
        let output = reader.run(flags.chain(names.iter().map(|name| address(name))));
        assert_exit(&output, 0);
        tame(&output.stderr, false);
        output.stdout
    };
    assert!(cat(&["cat"], &names, &local) == right);
    cat(&["cat", "-o", "out"], &names, &local);
    assert!(fs::read(reader.path("out")).unwrap() == right);
    // Each remote file is a swarm of its own: some of each family will do.
    let some: Vec<_> = names.iter().step_by(40).copied().collect();
    let right: Vec<u8> = some.iter().flat_map(|name| bytes_of(name)).collect();
    assert!(cat(&["cat"], &some, &remote) == right);
    cat(&["cat", "-v", "-o", "out"], &some, &remote);
    assert!(fs::read(reader.path("out")).unwrap() == right);
    guard.assert_unchanged();
}

#[test]
fn errors_about_names_forge_nothing() {
    let drive = Drive::new();
    let reader = User::new();
    let at = drive.writer.path("local").into_os_string().into_vec();
    // What is not there, so that hostile names are like it; and what is no folder.
    for name in drive.names.keys().step_by(7) {
        let near = [&at[..], b"/", name, b"~"].concat();
        let below = [&at[..], b"/", name, b"/x/y"].concat();
        for path in [&near, &below] {
            for (args, json) in [(&["cat"][..], false), (&["--json", "ls"], true)] {
                let args = args.iter().map(OsString::from);
                let output = reader.run(args.chain([os(path)]));
                let code = output.status.code().unwrap();
                assert!(matches!(code, 2 | 4 | 10), "{code}: {}", tame(&output.stderr, json));
                tame(&output.stderr, json);
                assert!(output.stdout.is_empty());
            }
        }
    }
    // Without a folder the drive's name is taken, which is hostile as well.
    let output = reader.run(["clone", drive.sharer.ticket()]);
    drive.assert_refused(&output, false);
    drive.assert_landed(&reader.path(os(NAME)));
    // What is in the way is named.
    let reader = User::new();
    for name in drive.names.keys().filter(|name| name.len() < 200 && !name.contains(&b'/')).take(99)
    {
        if drive.names[name] == Fate::Lands {
            datnode_tests::write(&reader.path("copy"), name, b"the user's own");
        }
    }
    let before = landed(&reader.path("copy"));
    for flag in ["--quiet", "--json"] {
        let output = reader.run([flag, "clone", drive.sharer.ticket(), "copy"]);
        assert_exit(&output, 7);
        tame(&output.stderr, flag == "--json");
        assert!(landed(&reader.path("copy")) == before);
    }
}

#[test]
fn what_cannot_stand_beside_another_is_left_out() {
    let writer = User::new();
    let mut forge = Forge::in_folder(&writer.path("drive"), 2, b"clash");
    let mut entries = BTreeMap::new();
    let link = |target: &str| Entry::symlink(target.into(), Mtime::default());
    let path = |name: &str| DrivePath::from_bytes(name).unwrap();
    let mut put = |name: &str, entry: Entry| entries.insert(path(name).key(), (path(name), entry));
    let good = ["a", "deep/file", "dir/x", "plain", "inside/kept"];
    let bad =
        ["a/below", "a/b/c", "deep/file/x", "in-link/x", "up-link/x", "abs-link/x", "loop/loop"];
    for name in good.iter().chain(&bad) {
        put(name, forge.file(&bytes_of(name.as_bytes())));
    }
    // Links to folders, out of the target and within, and something that would go through them.
    for (name, target) in
        [("in-link", "dir"), ("loop", "loop"), ("up-link", ".."), ("abs-link", "/tmp")]
    {
        put(name, link(target));
    }
    put("out", link("../../etc/passwd"));
    put("sneaky", link("dir/../../up"));
    put("store", link(".dat/store"));
    forge.commit(entries, "clash");
    drop(forge);
    let sharer = writer.share(&writer.path("drive"), &["--no-import"]);
    let reader = User::new();
    let guard = Guard::around(&reader.path(""), "copy");
    for _ in 0..2 {
        let output = reader.run(["--json", "clone", sharer.ticket(), "copy"]);
        assert_exit(&output, 3);
        let error = records(&output.stderr).pop().unwrap();
        let refused: BTreeSet<_> = error["paths"].as_array().unwrap().iter().map(exact).collect();
        let links = ["up-link", "abs-link", "out", "sneaky", "store"];
        let right =
            bad.iter().filter(|name| !name.contains("up-link") && !name.contains("abs-link"));
        let right: BTreeSet<_> =
            right.copied().chain(links).map(|name| name.as_bytes().to_vec()).collect();
        assert_eq!(refused, right);
        let here = files(landed(&reader.path("copy")));
        let lands = good.iter().copied().chain(["up-link/x", "abs-link/x"]);
        let right: BTreeMap<_, _> =
            lands.map(|name| (name.as_bytes().to_vec(), bytes_of(name.as_bytes()))).collect();
        assert_eq!(here, right);
        guard.assert_unchanged();
    }
}

#[test]
fn folders_without_entries_are_folders_all_the_same() {
    let writer = User::new();
    let mut forge = Forge::in_folder(&writer.path("drive"), 3, b"bare");
    let mut entries = BTreeMap::new();
    for name in ["in/deep/er/x", "in/deep/y", "in/z", "in-other/x", "inx", "out"] {
        let path = DrivePath::from_bytes(name).unwrap();
        entries.insert(path.key(), (path, forge.file(&bytes_of(name.as_bytes()))));
    }
    forge.commit(entries, "bare");
    drop(forge);
    let sharer = writer.share(&writer.path("drive"), &["--no-import"]);
    let reader = User::new();
    let at = |path: &str| format!("{}/{path}", sharer.ticket());
    let table: &[(&[&str], &str)] = &[
        (&["ls", &at("in")], "z\n"),
        (&["ls", "-R", &at("in")], "z\ndeep/y\ndeep/er/x\n"),
        (&["ls", "-R", &at("in/deep/er")], "x\n"),
        (&["ls", &at("in/deep")], "y\n"),
    ];
    for (args, right) in table {
        let output = reader.run(*args);
        assert_exit(&output, 0);
        assert_eq!(String::from_utf8(output.stdout).unwrap(), *right, "{args:?}");
    }
    assert_exit(&reader.run(["ls", &at("i")]), 4);
    assert_exit(&reader.run(["clone", &at("in"), "copy"]), 0);
    let here: Vec<_> = files(landed(&reader.path("copy"))).into_keys().collect();
    assert_eq!(here, [&b"in/deep/er/x"[..], b"in/deep/y", b"in/z"]);
}
