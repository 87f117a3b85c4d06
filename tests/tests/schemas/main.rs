//! All that `--json` prints is as `node/schema/datnode.schema.json` says, and all of that is met here.
//!
//! A new command gets rows in the tables: who runs it, what is typed, how it ends, and which definitions its lines are of.

mod schema;

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use datnode_sim::hostile::Script;
use datnode_tests::hostile::{Acts, Goods, Hostile, Line, Source};
use datnode_tests::process::{finish, signal, wait_until};
use datnode_tests::{User, assert_exit, noise, rot, write};
use serde_json::Value;

use schema::Schemas;

/// Far longer than anything here takes.
const HANGS: Duration = Duration::from_secs(120);

/// Fields that other tests meet: it takes a disk of its own (`disk.rs`).
const ELSEWHERE: [&str; 2] = ["trouble.needed", "trouble.free"];

/// Who runs a command, what is typed behind `datnode --json`, how it ends, and what its lines are, each kind at least once.
type Row<'a> = (&'a User, &'a str, i32, &'a [&'a str]);

fn run(schemas: &mut Schemas, rows: &[Row<'_>]) {
    for (user, line, exit, names) in rows {
        let output = user.run(["--json"].into_iter().chain(line.split(' ')));
        if output.status.code() != Some(*exit) {
            let said = String::from_utf8_lossy(&output.stderr);
            schemas
                .wrong(format!("{line}: {exit} was due, it ended with {}: {said}", output.status));
        }
        schemas.take(line, &[output.stdout, output.stderr].concat(), names);
    }
}

/// Runs a `share` until it has printed such a line, and ends it.
fn run_until(schemas: &mut Schemas, user: &User, line: &str, until: &str, names: &[&str]) {
    let mut started = Started::new(user, line, "printed");
    started.wait_for(until);
    started.end(schemas, names);
}

/// A command that goes on until it is ended.
struct Started<'a> {
    line: &'a str,
    child: Child,
    printed: PathBuf,
}

impl<'a> Started<'a> {
    fn new(user: &User, line: &'a str, printed: &str) -> Self {
        let printed = user.path(printed);
        fs::create_dir_all(printed.parent().unwrap()).unwrap();
        let printed = user.path(printed);
        fs::create_dir_all(printed.parent().unwrap()).unwrap();
        let file = fs::File::create(&printed).unwrap();
        let mut command = user.command(["--json"].into_iter().chain(line.split(' ')));
        command.stdout(file.try_clone().unwrap()).stderr(file);
        Self { line, child: command.spawn().unwrap(), printed }
    }

    /// Waits until it has printed such a line.
    fn wait_for(&mut self, name: &str) {
        let line = format!("\"type\":\"{name}\"");
        let has = || fs::read_to_string(&self.printed).unwrap().contains(&line);
        wait_until(HANGS, self.line, has);
    }

    /// Ends it, and takes what it printed.
    fn end(self, schemas: &mut Schemas, names: &[&str]) {
        signal(&self.child, "-TERM");
        assert_exit(&finish(self.child, HANGS).output, 0);
        schemas.take(self.line, &fs::read(&self.printed).unwrap(), names);
    }
}

/// A name that is not UTF-8.
fn odd(name: &str) -> Vec<u8> {
    [name.as_bytes(), b"\xe9"].concat()
}

fn path(folder: &Path, name: Vec<u8>) -> std::path::PathBuf {
    folder.join(OsString::from_vec(name))
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

#[test]
fn all_that_is_printed_is_as_the_schema_says() {
    let schemas = &mut Schemas::read();
    let (writer, reader) = (User::new(), User::new());
    taking_in(schemas, &writer);
    let sharer = writer.share(&writer.path("source"), &[]);
    let (link, ticket) = (sharer.link(), sharer.ticket());
    reading(schemas, &reader, ticket);
    missing(schemas, &writer, &reader, ticket);
    around(schemas, &writer, &reader, ticket);
    errors(schemas, &writer, &reader, &[link, ticket]);
    drop(sharer);
    rolled_back(schemas, &writer, &reader);
    live(schemas);
    mirrored(schemas);
    schemas.assert_all_met(&ELSEWHERE);
}

/// What is printed while a drive changes.
fn live(schemas: &mut Schemas) {
    let (writer, reader) = (User::new(), User::new());
    write(&writer.path("source"), b"a", b"first");
    let mut share = Started::new(&writer, "share source", "printed");
    share.wait_for("ready");
    let printed = fs::read_to_string(&share.printed).unwrap();
    let ready = printed.lines().find(|line| line.contains("\"ready\"")).unwrap();
    let ready: Value = serde_json::from_str(ready).unwrap();
    let line = format!("clone --live {} copy", ready["ticket"].as_str().unwrap());
    let mut clone = Started::new(&reader, &line, "printed");
    clone.wait_for("done");
    run(schemas, &[(&writer, "tag v1 source+1", 0, &["tag_done"])]);
    clone.wait_for("change");
    write(&writer.path("source"), b"b", b"second");
    wait_until(HANGS, "the copy", || reader.path("copy/b").exists());
    share.wait_for("change");
    clone.end(schemas, &["stage", "clone_done", "change_landed"]);
    let into = "checkout 1 source --into out";
    run(schemas, &[(&writer, into, 0, &["checkout_done"])]);
    share.end(schemas, &["stage", "ready", "change_made", "share_done"]);
}

/// What a mirror prints: of a quota that is reached at once, and then of none, of a list that is read again, and of rot.
fn mirrored(schemas: &mut Schemas) {
    let (writer, mirrorer) = (User::new(), User::new());
    write(&writer.path("source"), b"a", &noise(1, 3 << 20));
    let sharer = writer.share(&writer.path("source"), &[]);
    fs::create_dir_all(mirrorer.path("")).unwrap();
    fs::write(mirrorer.path("list"), sharer.ticket()).unwrap();
    let line = "mirror --to mirrors --from-file list --quota 2MiB";
    let mut small = Started::new(&mirrorer, line, "printed");
    small.wait_for("quota");
    small.end(schemas, &["mirror_ready", "quota_changed", "stage", "mirror_done"]);
    let line = "mirror --to mirrors --from-file list --verify-every 1s";
    let mut mirror = Started::new(&mirrorer, line, "printed");
    mirror.wait_for("change");
    // So that it is on the disk, and not in memory alone.
    let link = sharer.link();
    assert_exit(&mirrorer.run(["verify", &format!("mirrors/{link}")]), 0);
    rot(&mirrorer.path("mirrors").join(link).join(".dat/store/data"), 1 << 20);
    mirror.wait_for("damaged");
    let other = User::new();
    write(&other.path("source"), b"a", b"another");
    let other = other.share(&other.path("source"), &[]);
    fs::write(mirrorer.path("list"), other.ticket()).unwrap();
    signal(&mirror.child, "-HUP");
    mirror.wait_for("list");
    let names =
        ["stage", "mirror_ready", "change_mirrored", "blocks_damaged", "list_read", "mirror_done"];
    mirror.end(schemas, &names);
    // A node that is there for others, and a process that knows how it is reached.
    let line = "node --to nodes --metrics 0 --discover dht";
    let mut node = Started::new(&mirrorer, line, "printed");
    node.wait_for("ready");
    node.end(schemas, &["mirror_ready", "mirror_done"]);
    drop(sharer);
    let sharer = writer.share(&writer.path("source"), &["--discover", "dht"]);
    run(schemas, &[(&writer, "status source", 0, &["status"])]);
    drop(sharer);
}

/// What `share` prints.
fn taking_in(schemas: &mut Schemas, writer: &User) {
    let source = writer.path("source");
    write(&source, b"plain", b"text");
    write(&source, b"data/a.csv", &noise(1, 200_000));
    write(&source, &odd("odd"), &noise(2, 200_000));
    write(&source, &[odd("folder"), b"/file".to_vec()].concat(), b"in it");
    write(&source, &odd("gone"), b"not for long");
    write(&source, &odd(".hidden"), b"hidden");
    write(&source, b".datignore", b"*.tmp\n");
    write(&source, b"a.tmp", b"ignored");
    write(&source, b"a.bak", b"left out by a flag");
    symlink("plain", source.join("link")).unwrap();
    symlink("/etc/hosts", path(&source, odd("leads-out"))).unwrap();
    symlink(OsString::from_vec(odd("folder")), source.join("link-to-odd")).unwrap();
    run_until(
        schemas,
        writer,
        "share source --ignore *.bak -m first",
        "ready",
        &["stage", "ready", "share_done"],
    );
    copy(&source, &writer.path("backup"));
    write(&source, b"plain", b"other text");
    write(&source, &odd("new"), b"new");
    fs::remove_file(path(&source, odd("gone"))).unwrap();
    let listed = &["put", "del", "left_out", "dry_run_done"][..];
    run(schemas, &[(writer, "share source --dry-run --show-ignored --ignore *.bak", 0, listed)]);
    let both = &["stage", "left_out", "ready", "share_done"];
    run_until(schemas, writer, "share source --show-ignored --ignore *.bak", "ready", both);
    run_until(schemas, writer, "share source --no-import", "ready", &["ready", "share_done"]);
}

/// What somebody prints who reads.
fn reading(schemas: &mut Schemas, reader: &User, ticket: &str) {
    let clone = format!("clone {ticket} copy");
    run(
        schemas,
        &[
            // A link that leads out of the folder does not land.
            (reader, &clone, 3, &["stage", "clone_done", "error"]),
            (reader, &format!("ls -R {ticket}"), 0, &["entry"]),
            (reader, &format!("log {ticket}"), 0, &["change"]),
            (reader, "log --stat copy", 0, &["change"]),
            (reader, &format!("changes {ticket} --values"), 0, &["put_change", "del_change"]),
            (reader, "changes copy --since 1", 0, &["put_change", "del_change"]),
            (reader, &format!("diff {ticket}+1 latest"), 0, &["difference"]),
            (reader, &format!("diff {ticket}+1 2 --stat"), 0, &["diff_stat"]),
            (reader, "status copy", 0, &["status"]),
            (reader, "verify copy", 0, &["verify"]),
            (reader, &format!("ls {ticket} --log-file log --log-format json -vv"), 0, &["entry"]),
        ],
    );
    schemas.take("the log", &fs::read(reader.path("log")).unwrap(), &["log"]);
    // Without --json, stages alone can be had as JSON.
    let output = reader.run(["clone", ticket, "other", "--progress", "json"]);
    let text = String::from_utf8(output.stderr).unwrap();
    let (stages, _) = text.split_at(text.find('✓').unwrap());
    schemas.take("--progress json", stages.as_bytes(), &["stage"]);
    rot(&path(&reader.path("other"), odd("odd")), 100_000);
    run(schemas, &[(reader, "verify other", 6, &["verify", "error"])]);
    // Changed by its user now: its time tells.
    write(&reader.path("other"), &odd("odd"), b"mine");
    run(schemas, &[(reader, "verify other", 6, &["verify", "error"])]);
}

/// The commands around share and clone.
fn around(schemas: &mut Schemas, writer: &User, reader: &User, ticket: &str) {
    write(&writer.path(""), b"note", b"a note");
    let keys = |user: &User, line: &str, name: &str, schemas: &mut Schemas| {
        let mut command = user.command(["--json"].into_iter().chain(line.split(' ')));
        let output = command.env("DATNODE_PASSPHRASE", "of a test").output().unwrap();
        assert_exit(&output, 0);
        schemas.take(line, &[output.stdout, output.stderr].concat(), &[name]);
    };
    run(
        schemas,
        &[
            (writer, "diff source+1", 0, &["difference"]),
            (writer, "init --bare uploads --name up", 0, &["init_done"]),
            (writer, "put note up/data/note -m first", 0, &["edit_done"]),
            (writer, "mv up/data/note up/note", 0, &["edit_done"]),
            (writer, "rm up/note", 0, &["edit_done"]),
            (writer, "put note up/note --if-version 1", 7, &["error"]),
            (writer, "tag v1 up+1", 0, &["tag_done"]),
            (writer, "tag --list up", 0, &["tags"]),
            (writer, "tag v1 up --delete", 0, &["tag_done"]),
            (writer, "log up --stat", 0, &["change"]),
            (writer, "changes up", 0, &["put_change", "del_change", "tag_change"]),
            (reader, &format!("stat {ticket}/plain"), 0, &["stat"]),
            (reader, "stat copy/link", 0, &["stat"]),
            (reader, "stat copy", 0, &["stat"]),
            (reader, "du copy", 0, &["folder_size"]),
            (reader, "clear copy plain --files --dry-run", 0, &["cleared"]),
            (writer, "clear up --yes", 0, &["cleared"]),
            (reader, "link copy", 0, &["link_word"]),
            (writer, "link source --at 1", 0, &["link_word"]),
            (writer, "publish site source", 0, &["publish_done"]),
            (reader, "ignored copy/plain copy/.dat/key", 0, &["ignored"]),
            (reader, "config set network.wait 20s", 0, &["setting_changed"]),
            (reader, "config get network.wait", 0, &["setting"]),
            (reader, "config show --origin", 0, &["settings"]),
            (reader, "config unset network.wait", 0, &["setting_changed"]),
            (reader, "status --all", 0, &["known"]),
            (writer, "status --all", 0, &["known"]),
            (writer, "keys", 0, &["keys"]),
            (writer, "version", 0, &["version"]),
            (writer, "keys export up --plain", 0, &["secret"]),
            (writer, "init --bare passing", 0, &["init_done"]),
            (writer, "purge passing --yes", 0, &["purged"]),
        ],
    );
    // Names that are not UTF-8 come as they are, too.
    for (user, before, name, of) in [
        (reader, &["stat"][..], "copy/odd", "stat"),
        (reader, &["ignored"], "copy/odd", "ignored"),
        (reader, &["du"], "copy/folder", "folder_size"),
        (writer, &["put", "note"], "up/odd", "edit_done"),
    ] {
        let mut command = user.command(["--json"].iter().chain(before));
        let output = command.arg(OsString::from_vec(odd(name))).output().unwrap();
        assert_exit(&output, 0);
        schemas.take(name, &[output.stdout, output.stderr].concat(), &[of]);
    }
    keys(writer, "keys export up --encrypt up.datkey", "key_exported", schemas);
    fs::copy(writer.path("up.datkey"), reader.path("up.datkey")).unwrap();
    keys(reader, "keys import up.datkey", "key_imported", schemas);
    let holder = reader.share(&reader.path("copy"), &["--peer", ticket_address(writer).as_str()]);
    wait_until(HANGS, "a peer", || {
        let peers = writer.run(["peers", "source"]);
        String::from_utf8_lossy(&peers.stdout).contains("12D3")
    });
    run(schemas, &[(writer, "peers source", 0, &["peer"])]);
    run(schemas, &[(writer, "doctor source", 0, &["diagnosis"])]);
    drop(holder);
}

/// Returns where a process of a user listens.
fn ticket_address(user: &User) -> String {
    let told = user.run(["--json", "link", "source"]);
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    let ticket: datnode::address::Ticket =
        datnode::address::Ticket::parse(told["ticket"].as_str().unwrap().as_bytes()).unwrap();
    ticket.addresses[0].to_string()
}

/// Where only a part of a drive is.
fn missing(schemas: &mut Schemas, writer: &User, reader: &User, ticket: &str) {
    run(
        schemas,
        &[
            (reader, &format!("clone {ticket}/data part"), 0, &["stage", "clone_done"]),
            (reader, "status part", 0, &["status"]),
            (reader, "cat part/plain --wait 200ms", 5, &["error"]),
            (reader, &format!("clone {ticket} few --sparse"), 0, &["stage", "clone_done"]),
            (reader, "include few data", 0, &["chosen"]),
            (reader, "exclude few *.iso", 0, &["chosen"]),
            (writer, "status source", 0, &["status"]),
        ],
    );
}

/// Speaks a newer protocol only.
async fn newer(mut line: Line) {
    let _ = line.hello(2, 3).await;
    line.until_gone().await;
}

/// Errors with fields of their own.
fn errors(schemas: &mut Schemas, writer: &User, reader: &User, [link, ticket]: &[&str; 2]) {
    let stranger = User::new();
    let end = if link.ends_with('q') { "p" } else { "q" };
    let typo = format!("{}{end}", &link[..link.len() - 1]);
    let newer = Hostile::listen(newer);
    let goods = User::new();
    assert_exit(&goods.run(["clone", ticket, "goods"]), 3);
    let goods = Goods::of_clone(&goods.path("goods"));
    let lies = Source::Says(Script::WrongBytes);
    let liar = Hostile::listen(move |line| lies.act(line, goods.clone(), Acts::default()));
    write(&reader.path("dirty"), b"plain", b"mine");
    // A store from the future.
    copy(&reader.path("copy"), &reader.path("future"));
    let meta = reader.path("future/.dat/store/meta");
    let mut bytes = fs::read(&meta).unwrap();
    bytes[8] = 99;
    fs::write(&meta, bytes).unwrap();
    run(
        schemas,
        &[
            (&stranger, "clone", 2, &["error"]),
            (&stranger, &format!("clone {typo}"), 2, &["error"]),
            (
                &stranger,
                &format!("ls {link} --wait 200ms --peer /ip4/127.0.0.1/tcp/1"),
                5,
                &["error"],
            ),
            (&stranger, &format!("ls {link} --offline"), 5, &["error"]),
            (&stranger, &format!("ls {link} --wait 2s --peer {}", newer.address()), 1, &["error"]),
            (
                &stranger,
                &format!("cat {link}/plain --wait 2s --peer {}", liar.address()),
                6,
                &["error"],
            ),
            (reader, &format!("cat {ticket}/pliaN"), 4, &["error"]),
            (reader, &format!("clone {ticket} dirty"), 7, &["stage", "error"]),
            (reader, "ls future", 1, &["error"]),
            (writer, "share source", 9, &["error"]),
        ],
    );
    // Somebody is there, and does not have it.
    let part = reader.share(&reader.path("part"), &[]);
    let clone = format!("clone {} late --peer {} --wait 1s", part.link(), part.address());
    run(schemas, &[(&stranger, &clone, 5, &["stage", "error"])]);
}

/// A writer whose store was put back from a backup.
fn rolled_back(schemas: &mut Schemas, writer: &User, reader: &User) {
    let source = writer.path("source");
    fs::remove_dir_all(&source).unwrap();
    copy(&writer.path("backup"), &source);
    let serving = reader.share(&reader.path("copy"), &[]);
    let peer = serving.address();
    let share = format!("share source --no-import --peer {peer}");
    run(
        schemas,
        &[(writer, "status source", 0, &["status"]), (writer, "share source", 7, &["error"])],
    );
    run_until(schemas, writer, &share, "warning", &["ready", "warning", "share_done"]);
    let recover = format!("recover source --peer {peer} --wait 20s");
    run(schemas, &[(writer, &recover, 0, &["stage", "recover_done"])]);
}
