//! The examples of the documents and of the help do what they say.

use std::collections::BTreeSet;
use std::fs;

use datnode_tests::terminal::{Shown, Terminals, essence, serves};
use datnode_tests::{User, noise, write};
use serde_json::Value;

/// A block between fences: what kind it is, and its lines.
struct Block {
    kind: String,
    lines: Vec<String>,
}

/// Returns the fenced blocks of a document.
fn blocks(text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        match line.strip_prefix("```") {
            Some(_) if inside => inside = false,
            Some(kind) => {
                blocks.push(Block { kind: kind.to_owned(), lines: Vec::new() });
                inside = true;
            }
            None if inside => blocks.last_mut().unwrap().lines.push(line.to_owned()),
            None => {}
        }
    }
    assert!(!inside, "a fence is not closed");
    blocks
}

/// Returns the commands of a console block, each with what it is said to print.
fn session(block: &Block) -> Vec<(String, String)> {
    let mut session: Vec<(String, String)> = Vec::new();
    for line in &block.lines {
        match line.strip_prefix("$ ") {
            Some(command) => session.push((command.to_owned(), String::new())),
            None => {
                let (_, shown) = session.last_mut().expect("a session begins with a command");
                shown.push_str(line);
                shown.push('\n');
            }
        }
    }
    session
}

/// What the examples speak of.
fn terminals() -> Terminals {
    let terminals = Terminals::new();
    let root = terminals.writer.path("");
    write(&root, b"my-folder/a", b"1");
    write(&root, b"a.csv", b"1,2\n");
    write(&root, b"flights/README.md", b"hello\n");
    write(&root, b"flights/data/a.csv", b"1,2\n");
    for (seed, name) in [(1, "film.mkv"), (2, "movie.mkv")] {
        write(&root, format!("flights/{name}").as_bytes(), &noise(seed, 200_000));
    }
    terminals
}

fn assert_done(line: &str, shown: &Shown) {
    assert!(
        matches!(shown.exit, None | Some(0)),
        "{line}\nended with {:?}: {}",
        shown.exit,
        shown.text
    );
}

#[test]
fn the_readme_does_what_it_says() {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap();
    // The blocks with outputs make what they need.
    let (mut terminals, mut bare) = (terminals(), Terminals::new());
    let (mut plain, mut compared) = (0, 0);
    for block in blocks(&text) {
        match block.kind.as_str() {
            "sh" => {
                for line in block.lines.iter().filter(|line| !line.is_empty()) {
                    assert_done(line, &terminals.type_in(line));
                    plain += 1;
                }
            }
            "console" => {
                for (line, right) in session(&block) {
                    let shown = bare.type_in(&line);
                    assert_done(&line, &shown);
                    assert_eq!(essence(&shown.text), essence(&right), "{line}");
                    compared += 1;
                }
            }
            "json" => {
                let right: Value = serde_json::from_str(&block.lines.concat()).unwrap();
                let shown = User::new();
                write(&shown.path("source"), b"a", b"1");
                let shown = shown.share(&shown.path("source"), &[]).ready.clone();
                assert_eq!(names(&shown), names(&right), "{shown}");
                assert_eq!(names(&shown["drive"]), names(&right["drive"]), "{shown}");
            }
            other => panic!("who runs a block of {other}?"),
        }
    }
    terminals.stop();
    bare.stop();
    assert!(plain > 10 && compared > 3, "{plain} lines, {compared} with what they print");
}

fn names(record: &Value) -> BTreeSet<&String> {
    record.as_object().unwrap().keys().collect()
}

/// Returns the examples of a page of help.
fn examples(page: &str) -> Vec<&str> {
    let lines = page.lines().skip_while(|line| *line != "Examples:").skip(1);
    lines.map_while(|line| line.strip_prefix("  ")).collect()
}

#[test]
fn the_examples_of_the_help_work() {
    let mut terminals = terminals();
    // Three versions, as some examples ask for the third; the last one is served.
    for message in ["one", "two", "three"] {
        let note = terminals.writer.path("flights/note");
        fs::write(note, message).unwrap();
        assert_done(message, &terminals.type_in(&format!("datnode share ./flights -m {message}")));
    }
    let all = terminals.type_in("datnode --help").text;
    let groups = all.lines().skip_while(|line| *line != "Share and fetch:");
    let groups = groups.take_while(|line| *line != "Every command:");
    let commands: Vec<String> = groups
        .filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next().map(str::to_owned))
        .collect();
    assert!(commands.contains(&"clone".to_owned()), "{all}");
    // A clone that some examples look into.
    assert_done("clone", &terminals.type_in("datnode clone dat1…"));
    // And some that are not needed any more.
    for line in ["datnode clone dat1… old", "datnode clone dat1… older"] {
        assert_done(line, &terminals.type_in(line));
    }
    let pages = std::iter::once(all).chain(
        commands
            .iter()
            .map(|name| terminals.type_in(&format!("datnode {name} --help")).text)
            .collect::<Vec<_>>(),
    );
    let mut count = 0;
    for page in pages {
        let examples = examples(&page);
        assert!(!examples.is_empty(), "{page}");
        for line in examples {
            let shown = terminals.type_in(line);
            assert_done(line, &shown);
            count += 1;
            // Only ./flights is the drive that the others speak of.
            if !line.contains("share ./flights") || !serves(line) {
                assert_done(line, &terminals.type_in("datnode share ./flights"));
            }
        }
    }
    terminals.stop();
    assert!(count > 20, "{count} examples");
}
