//! No command hangs: whoever is or is not at the other end, each ends by itself, with the right code and a hint.
//!
//! Each test has a kind of other end: nobody who says a word, peers that stop half-way, peers that lie, no network at all, and the
//! process that owns the store, stopped. All commands that fetch meet each of them.

#![expect(clippy::print_stderr, reason = "a test that is skipped says why")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use datnode::address::Link;
use datnode::error::Code;
use datnode_proto::wire::{Channel, Message};
use datnode_sim::hostile::{Liar, Script};
use datnode_tests::hole::Hole;
use datnode_tests::hostile::{CONTENT, Goods, Hostile, Line, Said, serve};
use datnode_tests::process::{Running, signal};
use datnode_tests::{User, assert_exit, binary, noise, rot, write};
use serde_json::Value;

/// What is given to `--wait` or `--timeout`.
const LIMIT: &str = "1s";
/// What is given to `--wait` where somebody answers: a busy computer takes a while to greet.
const ANSWERED: &str = "3s";
/// A command that takes this much longer than it may wait hangs; what takes long on a busy computer does not.
const HANGS: Duration = Duration::from_secs(31);

/// The number under which a puppet opens a drive's changes.
const CHANGES: Channel = Channel(0);

/// A command that fetches, in a situation where it has to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fetch {
    /// Into nothing.
    Clone,
    /// Into a clone that has everything.
    CloneAgain,
    Ls,
    Cat,
    Log,
    /// `verify --repair` of a clone with damaged blocks of content.
    Repair,
    /// `recover` of a store that was put back from a backup.
    Recover,
}

impl Fetch {
    const ALL: [Self; 7] = [
        Self::Clone,
        Self::CloneAgain,
        Self::Ls,
        Self::Cat,
        Self::Log,
        Self::Repair,
        Self::Recover,
    ];
}

/// A drive of which nobody serves anything but those whom a test makes.
struct World {
    writer: User,
    reader: User,
    link: String,
    goods: Goods,
}

impl World {
    fn new() -> Self {
        let (writer, reader) = (User::new(), User::new());
        let source = writer.path("source");
        write(&source, b"old", &noise(1, 100_000));
        drop(writer.share(&source, &[]));
        copy(&source, &writer.path("backup"));
        write(&source, b"large", &noise(2, 2_000_000));
        let sharer = writer.share(&source, &[]);
        for folder in ["copy", "goods"] {
            assert_exit(&reader.run(["clone", sharer.ticket(), folder]), 0);
        }
        copy(&reader.path("copy"), &reader.path("rotten"));
        for offset in [100_000, 900_000, 1_800_000] {
            rot(&reader.path("rotten/large"), offset);
        }
        let goods = Goods::of_clone(&reader.path("goods"));
        let link = Link(&goods.key(0)).to_string();
        assert_eq!(link, sharer.link());
        Self { writer, reader, link, goods }
    }

    /// Runs each command with these flags, and gives how each ended: all at once but for those that have blocks themselves, since
    /// the others would get from them what they lack.
    fn run_all(&self, flags: &[&str], net: Net) -> Vec<(Fetch, Output)> {
        let run = |fetches: &[Fetch]| -> Vec<(Fetch, Output)> {
            let begun = fetches.iter().map(|fetch| (*fetch, self.begin(*fetch, flags, net)));
            let begun: Vec<_> = begun.collect();
            begun.into_iter().map(|(fetch, child)| (fetch, child.finish(HANGS).output)).collect()
        };
        let (have, lack): (Vec<Fetch>, _) = Fetch::ALL
            .into_iter()
            .partition(|fetch| matches!(fetch, Fetch::CloneAgain | Fetch::Repair));
        [run(&lack), run(&have)].concat()
    }

    fn begin(&self, fetch: Fetch, flags: &[&str], net: Net) -> Running {
        let large = format!("{}/large", self.link);
        let link = self.link.as_str();
        let (user, args): (&User, Vec<&str>) = match fetch {
            Fetch::Clone => {
                let _ = fs::remove_dir_all(self.reader.path("new"));
                // Of the other clone here all of it could be had.
                (&self.reader, vec!["clone", link, "new", "--no-reuse"])
            }
            Fetch::CloneAgain => (&self.reader, vec!["clone", link, "copy"]),
            Fetch::Ls => (&self.reader, vec!["ls", link]),
            Fetch::Cat => (&self.reader, vec!["cat", &large]),
            Fetch::Log => (&self.reader, vec!["log", link]),
            Fetch::Repair => {
                put_back(&self.reader.path("rotten"), &self.reader.path("repaired"));
                (&self.reader, vec!["verify", "--repair", "repaired"])
            }
            Fetch::Recover => {
                put_back(&self.writer.path("backup"), &self.writer.path("source"));
                (&self.writer, vec!["recover", "source"])
            }
        };
        let mut command = match net {
            Net::Ours => Command::new(binary()),
            Net::None => {
                let mut command = Command::new("unshare");
                command.arg("-rn").arg(binary());
                command
            }
        };
        user.equip(command.arg("--json").args(args).args(flags));
        // What it prints of a file may be more than a pipe takes that nobody reads yet.
        let command = command.stdout(Stdio::null()).stderr(Stdio::piped());
        Running::new(command.spawn().unwrap())
    }

    /// Lets all commands meet an end at `address`, once with `--wait` and once with `--timeout`.
    fn meet(&self, what: &str, address: &str, wait: &str, right: impl Fn(Fetch) -> Option<Code>) {
        let mut wrong = Wrong::default();
        for (fetch, output) in self.run_all(&["--peer", address, "--wait", wait], Net::Ours) {
            wrong.look(&format!("{fetch:?}, {what}"), &output, right(fetch));
        }
        let flags = ["--peer", address, "--wait", "0", "--timeout", LIMIT];
        for (fetch, output) in self.run_all(&flags, Net::Ours) {
            // With a limit on all of it there is no other reason to end, but to be done, which may take longer than that.
            if right(fetch).is_some() {
                wrong.look(&format!("{fetch:?}, {what}, --timeout"), &output, Some(Code::Timeout));
            }
        }
    }

    /// Starts a peer that serves the drive, but says what `hand` makes of each message.
    fn puppet<H>(&self, hand: H) -> Hostile
    where
        H: FnMut(Message, Bytes) -> Vec<Said> + Clone + Send + 'static,
    {
        let goods = self.goods.clone();
        Hostile::listen(move |line| {
            let (goods, hand) = (goods.clone(), hand.clone());
            async move {
                let _ = serve(line, &goods, hand).await;
            }
        })
    }
}

/// Which network a command is in.
#[derive(Clone, Copy)]
enum Net {
    Ours,
    /// One with nothing in it, not even this computer.
    None,
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

fn put_back(backup: &Path, folder: &Path) {
    let _ = fs::remove_dir_all(folder);
    copy(backup, folder);
}

/// What ended otherwise than it should; asserted to be nothing when it is dropped, so that all of it is told.
#[derive(Default)]
struct Wrong(Vec<String>);

impl Wrong {
    /// Notes a command that neither is done nor ended with `right` and says what to do.
    fn look(&mut self, what: &str, output: &Output, right: Option<Code>) {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().rfind(|line| line.contains("\"type\":\"error\""));
        let error: Option<Value> = last.map(|line| serde_json::from_str(line).unwrap());
        let is_right = match (&right, &error) {
            (None, None) => true,
            (Some(code), Some(error)) => {
                let hints = error["hints"].as_array().unwrap();
                error["code"] == code.name()
                    && !error["message"].as_str().unwrap().is_empty()
                    && hints.iter().any(|hint| !hint.as_str().unwrap().is_empty())
            }
            _ => false,
        };
        let exit = right.map_or(0, |code| code.exit().into());
        if !is_right || output.status.code() != Some(exit) {
            let code = right.map_or("no error", Code::name);
            self.0.push(format!("{what}: {code} was due, it ended with {}: {said}", output.status));
        }
    }
}

impl Drop for Wrong {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.0.is_empty(), "{}", self.0.join("\n"));
        }
    }
}

/// What a command says that meets nobody who offers the drive.
fn nobody(fetch: Fetch) -> Option<Code> {
    match fetch {
        Fetch::CloneAgain => None,
        Fetch::Repair => Some(Code::Verify),
        _ => Some(Code::NoPeers),
    }
}

/// Returns `code` for commands that need blocks of this feed from a peer.
fn needs(fetch: Fetch, channel: Channel, code: Code) -> Option<Code> {
    match fetch {
        Fetch::CloneAgain => None,
        // What it lacks is content alone.
        Fetch::Repair => (channel == CONTENT).then_some(Code::Verify),
        Fetch::Ls | Fetch::Log => (channel == CHANGES).then_some(code),
        Fetch::Clone | Fetch::Cat | Fetch::Recover => Some(code),
    }
}

#[test]
fn where_nobody_says_a_word() {
    let world = World::new();
    world.meet("silent", Hole::silent().address(), LIMIT, nobody);
    world.meet("lost", Hole::lost().address(), LIMIT, nobody);
    world.meet("deaf", Hole::deaf().address(), LIMIT, nobody);
    world.meet("closed", Hole::closed().address(), LIMIT, nobody);
}

/// Says nothing.
async fn mute(line: Line) {
    line.until_gone().await;
}

/// Greets, and says nothing more.
async fn greets(mut line: Line) {
    let _ = line.hello(1, 1).await;
    line.until_gone().await;
}

#[test]
fn peers_that_stop_half_way() {
    let world = World::new();
    world.meet("mute", Hostile::listen(mute).address(), LIMIT, nobody);
    world.meet("greets", Hostile::listen(greets).address(), LIMIT, nobody);
    for (what, feed, blocks) in
        [("no block of changes", CHANGES, 0), ("a block of content and no more", CONTENT, 1)]
    {
        let mut left = blocks;
        let hand = move |message: Message, payload: Bytes| {
            let stops = match &message {
                Message::Block { channel, .. } if *channel == feed && left == 0 => true,
                Message::Block { channel, .. } if *channel == feed => {
                    left -= 1;
                    false
                }
                _ => false,
            };
            vec![if stops { Said::Silence } else { Said::block(message, payload) }]
        };
        let right = |fetch| needs(fetch, feed, Code::NoData);
        world.meet(what, world.puppet(hand).address(), ANSWERED, right);
    }
    for script in [Script::Silent, Script::Denies, Script::Unproven] {
        let right = |fetch| needs(fetch, CONTENT, Code::NoData);
        world.meet(
            &format!("{script:?}"),
            liar(&world, CONTENT, script).address(),
            ANSWERED,
            right,
        );
    }
}

/// Starts a peer that keeps to a script with one feed, and to the truth with the other.
fn liar(world: &World, feed: Channel, script: Script) -> Hostile {
    let length = world.goods.length(feed.0 as usize);
    let liar = Arc::new(Mutex::new(Liar::new(script, length)));
    world.puppet(move |message, payload| match &message {
        Message::Have { channel, .. }
        | Message::Upgrade { channel, .. }
        | Message::Block { channel, .. }
            if *channel == feed =>
        {
            let said = liar.lock().unwrap().say(message, payload);
            said.into_iter().map(|(message, payload)| Said::block(message, payload)).collect()
        }
        _ => vec![Said::block(message, payload)],
    })
}

#[test]
fn peers_that_lie() {
    let world = World::new();
    for (feed, script) in [
        (CHANGES, Script::WrongBytes),
        (CHANGES, Script::WrongProof),
        (CONTENT, Script::WrongBytes),
        (CONTENT, Script::WrongProof),
    ] {
        let right = |fetch| needs(fetch, feed, Code::Verify);
        world.meet(
            &format!("{script:?} {feed:?}"),
            liar(&world, feed, script).address(),
            ANSWERED,
            right,
        );
    }
}

#[test]
fn without_any_network() {
    let tried = Command::new("unshare").args(["-rn", "true"]).output();
    if !tried.is_ok_and(|tried| tried.status.success()) {
        eprintln!("skipped: no network namespaces here");
        return;
    }
    let world = World::new();
    let address = "/ip4/192.0.2.1/tcp/3282";
    // On all interfaces, since there is none to listen on.
    let mut wrong = Wrong::default();
    let flags = ["--listen", "0.0.0.0", "--peer", address];
    for (fetch, output) in world.run_all(&[&flags[..], &["--wait", LIMIT]].concat(), Net::None) {
        wrong.look(&format!("{fetch:?}, no network"), &output, nobody(fetch));
    }
    let limits = ["--wait", "0", "--timeout", LIMIT];
    for (fetch, output) in world.run_all(&[&flags[..], &limits].concat(), Net::None) {
        let what = format!("{fetch:?}, no network, --timeout");
        wrong.look(&what, &output, Some(Code::Timeout));
    }
}

#[test]
fn beside_an_owner_that_is_stopped() {
    let user = User::new();
    write(&user.path("source"), b"file", &noise(1, 100_000));
    let sharer = user.share(&user.path("source"), &[]);
    signal(&sharer.child, "-STOP");
    let link = sharer.link();
    let within = [
        &["ls", "source"][..],
        &["cat", "source/file"],
        &["log", "source"],
        &["changes", "source"],
        &["diff", "source+1"],
        &["status", "source"],
        &["share", "--dry-run", "source"],
        &["share", "source"],
        &["verify", "source"],
        &["recover", "source"],
        // Its key stands for it.
        &["ls", link],
        &["--offline", "ls", link],
    ];
    let beside = [&["clone", link, "copy"][..], &["--offline", "clone", link, "copy-offline"]];
    let rows = within.map(|args| (args, Code::Locked)).into_iter();
    let rows: Vec<_> = rows.chain(beside.map(|args| (args, Code::NoPeers))).collect();
    let begin = |(args, code): &(&[&str], Code)| {
        let mut command = user.command(args.iter().chain(&["--json", "--wait", LIMIT]));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        (format!("{args:?}"), Running::new(command.spawn().unwrap()), *code)
    };
    let begun: Vec<_> = rows.iter().map(begin).collect();
    let mut wrong = Wrong::default();
    for (what, child, code) in begun {
        let output = child.finish(HANGS).output;
        wrong.look(&what, &output, Some(code));
        assert!(!String::from_utf8_lossy(&output.stdout).contains("\"done\""), "{what}");
        if code == Code::Locked {
            let said = String::from_utf8_lossy(&output.stderr);
            let owner = format!("\"pid\":{}", sharer.child.id());
            assert!(said.contains(&owner), "{what}: {said}");
        }
    }
    signal(&sharer.child, "-CONT");
    assert_eq!(user.run(["ls", "source"]).stdout, b"file\n");
}
