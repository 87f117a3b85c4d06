//! Drives that are signed and wrong: whatever their index and their entries claim, each command ends with its error, soon and in
//! little memory, and nothing lands that is not right.

#![expect(clippy::print_stdout, reason = "a lane says what it did")]

use std::process::Stdio;
use std::time::Duration;

use datnode_feed::Hash;
use datnode_tests::User;
use datnode_tests::guard::{Guard, files, landed};
use datnode_tests::hostile::forge::{Forge, Item, Node, Parts, file, folder, key};
use datnode_tests::hostile::{Hostile, serve};
use datnode_tests::process::finish;

/// Far longer than anything here takes.
const HANGS: Duration = Duration::from_secs(120);
/// What a command may take, whatever the drive, in bytes.
const MEMORY: u64 = 256 << 20;

/// How a drive goes off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It is damaged, whoever looks at it.
    Damaged,
    /// It lists; what is in it is damaged.
    Lists,
    /// It lists; what is in it nobody has.
    Absent,
}

/// A drive: what is wrong with it, how it is forged, and how it goes off.
type Bomb = (&'static str, fn(&mut Forge), End);
/// The same, made from a key.
type Keyed = (String, Box<dyn Fn(&mut Forge)>, End);

fn dir(name: &[u8]) -> Item {
    let (identity, location) = folder();
    Item::entry(key(name), identity, location)
}

fn entry(name: &[u8], (identity, location): Parts) -> Item {
    Item::entry(key(name), identity, location)
}

/// A drive whose root has these items.
fn flat(items: Vec<Item>) -> impl Fn(&mut Forge) {
    move |forge| forge.change(&Node::leaf(items.clone()).encode().0)
}

/// Appends a node; returns what a parent says of it.
fn put(forge: &mut Forge, node: &Node) -> Item {
    let (block, hash) = node.encode();
    let at = forge.block(&block);
    Item::child(node.items[0].key.clone(), hash, at)
}

/// A drive with a key that is no path's, or one that is out of order.
fn keys() -> Vec<Keyed> {
    let (identity, location) = folder();
    let raw = |key: &[u8]| Item::entry(key, identity.clone(), location.clone());
    let long = [&[b'p'; 4_096][..], b"\0x"].concat();
    let keys: [&[u8]; 16] = [
        b"no-separator",
        b"\0",
        b"a\0",
        b"\0/etc/passwd",
        b"\0a/b",
        b"\0a/",
        b"\0/",
        b"/\0etc",
        b"/etc\0passwd",
        b"a/\0b",
        b"a//b\0c",
        b"//\0x",
        b"\0nul\0byte",
        b"a\0nul\0",
        b"\0..\0x",
        &long,
    ];
    let mut all: Vec<Keyed> = Vec::new();
    for key in keys {
        let name = format!("key {}", key.escape_ascii());
        all.push((name[..name.len().min(60)].into(), Box::new(flat(vec![raw(key)])), End::Damaged));
    }
    let mut orders = vec![
        ("unsorted", vec![dir(b"b"), dir(b"a")]),
        ("twice", vec![dir(b"a"), dir(b"a")]),
        ("folder behind its names", vec![raw(b"a\0b"), dir(b"a")]),
    ];
    let mut shared = dir(b"ab");
    shared.shared = Some(1 << 40);
    orders.push(("shares what is not there", vec![dir(b"aa"), shared]));
    for (name, items) in orders {
        all.push((name.into(), Box::new(flat(items)), End::Damaged));
    }
    all
}

/// A drive whose nodes do not fit together.
fn trees() -> Vec<Bomb> {
    vec![
        (
            "count too great",
            |forge| {
                let node = Node { count: Some(u64::MAX), ..Node::leaf([dir(b"a")]) };
                forge.change(&node.encode().0);
            },
            End::Damaged,
        ),
        (
            "count too small",
            |forge| {
                let node = Node { count: Some(1), ..Node::leaf([dir(b"a"), dir(b"b")]) };
                forge.change(&node.encode().0);
            },
            End::Damaged,
        ),
        (
            "no entries at all, of many",
            |forge| {
                let node = Node { count: Some(1 << 40), ..Node::default() };
                forge.change(&node.encode().0);
            },
            End::Damaged,
        ),
        (
            "level without end",
            |forge| {
                let child = put(forge, &Node::leaf([dir(b"a")]));
                forge.change(&Node::above(255, [child]).encode().0);
            },
            End::Damaged,
        ),
        (
            "its own child",
            |forge| {
                // The change will be the next block, so its root points at the change itself.
                forge
                    .change(&Node::above(1, [Item::child(key(b"a"), Hash([7; 32]), 1)]).encode().0);
            },
            End::Damaged,
        ),
        (
            "a child to come",
            |forge| {
                forge.change(
                    &Node::above(1, [Item::child(key(b"a"), Hash([7; 32]), 1 << 40)]).encode().0,
                );
            },
            End::Damaged,
        ),
        (
            "a circle",
            |forge| {
                let leaf = Node::leaf([dir(b"a")]);
                let (_, hash) = leaf.encode();
                let middle = Node::above(1, [Item::child(key(b"a"), hash, 2)]);
                let middle = put(forge, &middle);
                forge.change(&Node::above(2, [middle]).encode().0);
            },
            End::Damaged,
        ),
        (
            "a child in another feed",
            |forge| {
                let mut child = put(forge, &Node::leaf([dir(b"a")]));
                child.at.0 = 1;
                forge.change(&Node::above(1, [child]).encode().0);
            },
            End::Damaged,
        ),
        (
            "a child of another level",
            |forge| {
                let child = put(forge, &Node::leaf([dir(b"a")]));
                forge.change(&Node::above(3, [child]).encode().0);
            },
            End::Damaged,
        ),
        (
            "another child than promised",
            |forge| {
                let mut child = put(forge, &Node::leaf([dir(b"a")]));
                child.identity = vec![7; 32];
                forge.change(&Node::above(1, [child]).encode().0);
            },
            End::Damaged,
        ),
        (
            "a child with another first key",
            |forge| {
                let mut child = put(forge, &Node::leaf([dir(b"b")]));
                child.key = key(b"a");
                forge.change(&Node::above(1, [child]).encode().0);
            },
            End::Damaged,
        ),
        (
            "a child without entries",
            |forge| {
                let (block, hash) = Node::default().encode();
                let at = forge.block(&block);
                forge.change(&Node::above(1, [Item::child(key(b"a"), hash, at)]).encode().0);
            },
            End::Damaged,
        ),
        (
            "children that overlap",
            |forge| {
                let one = put(forge, &Node::leaf([dir(b"a"), dir(b"x")]));
                let two = put(forge, &Node::leaf([dir(b"b"), dir(b"y")]));
                forge.change(&Node::above(1, [one, two]).encode().0);
            },
            End::Damaged,
        ),
        (
            "one subtree under a thousand names, thirty levels deep",
            |forge| {
                let mut child = put(forge, &Node::leaf([dir(b"a")]));
                for level in 1..31 {
                    let twins = (0..1_000_u64).map(|number| {
                        let name = key(format!("a{number:04}").as_bytes());
                        Item { key: name, ..child.clone() }
                    });
                    child = put(
                        forge,
                        &Node::above(level, std::iter::once(child.clone()).chain(twins)),
                    );
                }
                forge.change(&Node::above(31, [child]).encode().0);
            },
            End::Damaged,
        ),
        (
            "a tower of one",
            |forge| {
                let mut child = put(forge, &Node::leaf([dir(b"a")]));
                for level in 1..31 {
                    child = put(forge, &Node::above(level, [child]));
                }
                forge.change(&Node::above(31, [child]).encode().0);
            },
            End::Lists,
        ),
        (
            "a node that is too long",
            |forge| {
                let many = (0..8_000).map(|number| dir(format!("{number:05}").as_bytes()));
                forge.change(&Node::leaf(many).encode().0);
            },
            End::Damaged,
        ),
        (
            "a change where a node should be",
            |forge| {
                forge
                    .change(&Node::above(1, [Item::child(key(b"a"), Hash([7; 32]), 0)]).encode().0);
            },
            End::Damaged,
        ),
        (
            "bytes where a node should be",
            |forge| {
                let at = forge.block(&[0x83; 60_000]);
                forge.change(
                    &Node::above(1, [Item::child(key(b"a"), Hash([7; 32]), at)]).encode().0,
                );
            },
            End::Damaged,
        ),
        (
            "a spilled value that is no value",
            |forge| {
                let at = forge.block(&[0x84; 60_000]);
                let mut item = dir(b"a");
                (item.location, item.at) = (None, (0, at));
                forge.change(&Node::leaf([item]).encode().0);
            },
            End::Damaged,
        ),
        (
            "a value spilled into the change itself",
            |forge| {
                let mut item = dir(b"a");
                (item.location, item.at) = (None, (0, 1));
                forge.change(&Node::leaf([item]).encode().0);
            },
            End::Damaged,
        ),
    ]
}

/// A drive whose files are not what their entries say.
fn files_that_lie() -> Vec<Bomb> {
    const HUGE: u64 = 1 << 55;
    vec![
        (
            "more than its blocks",
            |forge| {
                forge.file(&[1; 1_000]);
                flat(vec![entry(b"a", file(2_000, &[[1, 0, 1, 0, 1_000]]))])(forge);
            },
            End::Damaged,
        ),
        (
            "an extent of nothing",
            |forge| {
                forge.file(&[1; 1_000]);
                flat(vec![entry(b"a", file(0, &[[1, 0, 0, 0, 0]]))])(forge);
            },
            End::Damaged,
        ),
        (
            "blocks beyond the feed",
            |forge| {
                forge.file(&[1; 1_000]);
                flat(vec![entry(b"a", file(1_000, &[[1, 1, 1, 0, 1_000]]))])(forge);
            },
            End::Damaged,
        ),
        (
            "bytes beyond the feed",
            |forge| {
                forge.file(&[1; 1_000]);
                flat(vec![entry(b"a", file(1_000, &[[1, 0, 1, 500, 1_000]]))])(forge);
            },
            End::Damaged,
        ),
        (
            "a feed that is not there",
            |forge| {
                flat(vec![entry(b"a", file(1_000, &[[9, 0, 1, 0, 1_000]]))])(forge);
            },
            End::Damaged,
        ),
        (
            "the changes as content",
            |forge| {
                flat(vec![entry(b"a", file(10, &[[0, 0, 1, 0, 10]]))])(forge);
            },
            End::Damaged,
        ),
        (
            "sizes that overflow",
            |forge| {
                forge.claim = Some((HUGE, HUGE));
                let half = [1, 0, HUGE >> 1, 0, HUGE >> 1];
                flat(vec![entry(b"a", file(1 << 63, &[half; 1_000]))])(forge);
            },
            End::Damaged,
        ),
        (
            "blocks that are shorter than said",
            |forge| {
                forge.file(&[1; 100]);
                forge.file(&[2; 1_900]);
                flat(vec![entry(
                    b"a",
                    file(2_000, &[[1, 1, 1, 0, 1_000], [1, 0, 1, 1_000, 1_000]]),
                )])(forge);
            },
            End::Lists,
        ),
        (
            "blocks that are longer than said",
            |forge| {
                forge.file(&[1; 1_000]);
                forge.file(&[2; 1_000]);
                flat(vec![entry(b"a", file(10, &[[1, 1, 1, 1_990, 10]]))])(forge);
            },
            End::Lists,
        ),
        (
            "one block as all of a file",
            |forge| {
                forge.file(&[1; 1_000]);
                flat(vec![entry(b"a", file(3_000, &[[1, 0, 1, 0, 1_000]; 3]))])(forge);
            },
            End::Lists,
        ),
        (
            "an exbibyte of which nobody has more than a block",
            |forge| {
                forge.file(&[1; 1_000]);
                forge.claim = Some((HUGE, HUGE));
                flat(vec![entry(b"a", file(HUGE, &[[1, 0, HUGE, 0, HUGE]]))])(forge);
            },
            End::Absent,
        ),
        (
            "six hundred files of that size",
            |forge| {
                forge.file(&[1; 1_000]);
                forge.claim = Some((HUGE, HUGE));
                let files = (0..600).map(|number: u64| {
                    let parts = file(HUGE, &[[1, 0, HUGE, 0, HUGE]]);
                    entry(format!("{number:04}").as_bytes(), parts)
                });
                flat(files.collect())(forge);
            },
            End::Absent,
        ),
        (
            "every block a file of its own, of a feed without end",
            |forge| {
                forge.file(&[1; 1_000]);
                forge.claim = Some((HUGE, HUGE));
                let files = (0..500).map(|number: u64| {
                    let parts = file(1_000, &[[1, number << 40, 1, number << 40, 1_000]]);
                    entry(format!("{number:04}").as_bytes(), parts)
                });
                flat(files.collect())(forge);
            },
            End::Absent,
        ),
    ]
}

/// Runs every command that reads a drive on one that was forged so.
fn set_off(name: &str, seed: u8, forge: &dyn Fn(&mut Forge), end: End) {
    let (reader, writer) = (User::new(), User::new());
    let local = writer.path("local");
    forge(&mut Forge::in_folder(&local, seed, b"bomb"));
    std::fs::create_dir_all(reader.path("")).unwrap();
    let mut remote = Forge::in_memory(seed, b"bomb");
    let link = datnode::address::Link(&remote.key()).to_string();
    forge(&mut remote);
    let goods = remote.finish();
    let serve = move |line| {
        let goods = goods.clone();
        async move {
            let honest =
                |message, payload| vec![datnode_tests::hostile::Said::block(message, payload)];
            let _ = serve(line, &goods, honest).await;
        }
    };
    let peer = Hostile::listen(serve);
    let guard = Guard::around(&reader.path(""), "copy");
    let local = local.to_str().unwrap();
    let (file, nothing) = (format!("{link}/a"), format!("{local}+0"));
    let commands: [&[&str]; 9] = [
        &["diff", &nothing, "latest"],
        &["ls", local],
        &["ls", "-R", local],
        &["ls", "-lR", &link],
        &["status", local],
        &["log", "--stat", local],
        &["cat", &file, "-o", "copy"],
        &["verify", "--full", local],
        &["clone", &link, "copy", "--timeout", "90s"],
    ];
    for args in commands {
        let _ = std::fs::remove_file(reader.path("copy"));
        let mut command = reader.command(args);
        if !matches!(args[0], "status" | "verify") {
            let wait = if end == End::Absent && args[0] != "ls" { "3s" } else { "60s" };
            command.args(["--wait", wait, "--peer", peer.address()]);
        }
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let ended = finish(child, HANGS);
        let said = String::from_utf8_lossy(&ended.output.stderr);
        let code = ended.output.status.code();
        let right: &[i32] = match (end, args[0], args[1]) {
            // History and the blocks that are here may be sound where the index is not; so may be what is asked for.
            (_, "log" | "verify", _) => &[0, 6],
            (End::Damaged, "ls", at) if at == local => &[0, 6],
            (_, "cat", _) => &[0, 2, 4, 5, 6],
            (End::Damaged, ..) => &[6],
            (End::Lists, "clone", _) => &[0, 6],
            (End::Absent, "clone", _) => &[1, 5, 11],
            (End::Lists | End::Absent, ..) => &[0],
        };
        assert!(
            code.is_some_and(|code| right.contains(&code)),
            "{name}: {args:?}: {code:?}: {said}"
        );
        assert!(!said.contains("panicked"), "{name}: {args:?}: {said}");
        let memory = ended.memory;
        assert!(memory < MEMORY, "{name}: {args:?}: {} MiB", memory >> 20);
        guard.assert_unchanged();
    }
    if end == End::Damaged && reader.path("copy").is_dir() {
        assert_eq!(files(landed(&reader.path("copy"))).len(), 0, "{name}");
    }
}

#[test]
fn keys_that_are_no_paths_are_damage() {
    let keys = keys();
    println!("{} drives", keys.len());
    for (number, (name, forge, end)) in keys.iter().enumerate() {
        set_off(name, number as u8, forge.as_ref(), *end);
    }
}

#[test]
fn trees_that_do_not_fit_together_are_damage() {
    let trees = trees();
    println!("{} drives", trees.len());
    for (number, (name, forge, end)) in trees.iter().enumerate() {
        set_off(name, 100 + number as u8, forge, *end);
    }
}

#[test]
fn sizes_that_lie_are_found_out() {
    let lies = files_that_lie();
    println!("{} drives", lies.len());
    for (number, (name, forge, end)) in lies.iter().enumerate() {
        set_off(name, 200 + number as u8, forge, *end);
    }
}
