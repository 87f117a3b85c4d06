//! Every limit of the formats and the protocol has a test that knows its name, or a reason why not.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The crates that take bytes of others; each has a `limits.rs`.
const CRATES: [&str; 3] = ["feed", "proto", "drive"];

/// What is no limit on what others do but a measure of our own: it shows in how fast something is, not in whether it holds.
const MEASURES: [(&str, &str); 2] = [("feed", "TABLE_PIECE_BYTES"), ("proto", "REGION_BYTES")];

/// What tests hold against the numbers of SPEC.md instead, so that the constant cannot move.
const BY_DEFINITION: [(&str, &str); 4] = [
    ("drive", "KEY_WEIGHT"),
    ("drive", "NODE_WEIGHT_MAX"),
    ("drive", "NODE_WEIGHT_MIN"),
    ("drive", "SKIP_WIDTH"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the names of the constants of a source file.
fn constants(source: &str) -> Vec<String> {
    let name = |line: &str| {
        let (name, _) = line.strip_prefix("pub const ")?.split_once(':')?;
        Some(name.to_owned())
    };
    source.lines().filter_map(name).collect()
}

/// Adds the source of the tests in a folder: whole files, or what stands in their test modules.
fn collect(folder: &Path, whole: bool, all: &mut String) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.expect("the folder can be read").path()) {
        if path.is_dir() {
            collect(&path, whole, all);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let source = read(&path);
            let module = source.split_once("#[cfg(test)]\nmod tests").map(|(_, module)| module);
            let tests = if whole { Some(source.as_str()) } else { module };
            all.push_str(tests.unwrap_or_default());
        }
    }
}

#[test]
fn every_limit_has_a_test_that_knows_its_name() {
    let (mut count, mut wrong) = (0, Vec::new());
    for package in CRATES {
        let mut tests = String::new();
        collect(&root().join(package).join("src"), false, &mut tests);
        collect(&root().join(package).join("tests"), true, &mut tests);
        assert!(tests.matches("#[test]").count() > 30, "the tests of {package} were not found");
        let is_word = |char: char| char.is_alphanumeric() || char == '_';
        let words: BTreeSet<&str> = tests.split(|char| !is_word(char)).collect();
        for name in constants(&read(&root().join(package).join("src/limits.rs"))) {
            count += 1;
            let excused =
                MEASURES.iter().chain(&BY_DEFINITION).any(|other| *other == (package, &name));
            if words.contains(name.as_str()) == excused {
                wrong.push(format!("{package}: {name}"));
            }
        }
    }
    assert!(count > 60, "the limits were not understood");
    assert_eq!(wrong, [""; 0], "limits without a test, or with one and an excuse");
}
