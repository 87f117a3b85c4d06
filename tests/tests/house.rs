//! The shape of the house: which package may know which (ARCHITECTURE.md).

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// What each package of ours may depend on, among ours.
const MAY_KNOW: [(&str, &[&str]); 6] = [
    ("datnode-feed", &[]),
    ("datnode-proto", &["datnode-feed"]),
    ("datnode-drive", &["datnode-feed"]),
    ("datnode", &["datnode-drive", "datnode-feed", "datnode-proto"]),
    ("datnode-sim", &["datnode-drive", "datnode-feed", "datnode-proto"]),
    (
        "datnode-tests",
        &["datnode", "datnode-drive", "datnode-feed", "datnode-proto", "datnode-sim"],
    ),
];

/// What the crates below the line must never reach, directly.
const WORLD: [&str; 6] = ["libp2p", "tokio", "memmap2", "rustix", "clap", "ignore"];

fn packages() -> BTreeMap<String, BTreeSet<String>> {
    let out = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&out.stdout).expect("cargo prints JSON");
    let packages = metadata["packages"].as_array().expect("there are packages");
    let name = |value: &Value| value["name"].as_str().expect("each has a name").to_owned();
    let dependencies = |package: &Value| {
        let all = package["dependencies"].as_array().expect("a list").iter();
        all.map(name).collect::<BTreeSet<_>>()
    };
    packages.iter().map(|package| (name(package), dependencies(package))).collect()
}

#[test]
fn packages_know_only_those_below_them() {
    let found = packages();
    assert_eq!(found.len(), MAY_KNOW.len(), "a package came or went: {:?}", found.keys());
    for (package, allowed) in MAY_KNOW {
        let ours = found[package].iter().filter(|name| name.starts_with("datnode"));
        for other in ours {
            assert!(allowed.contains(&other.as_str()), "{package} must not know {other}");
        }
    }
}

#[test]
fn nothing_below_the_line_reaches_the_world() {
    let found = packages();
    for package in ["datnode-feed", "datnode-proto", "datnode-drive"] {
        for world in WORLD {
            assert!(!found[package].contains(world), "{package} must not know {world}");
        }
        let root = format!("{}/../{}/src/lib.rs", env!("CARGO_MANIFEST_DIR"), &package[8..]);
        let lib = std::fs::read_to_string(root).expect("each crate has a root");
        assert!(lib.contains("#![no_std]"), "{package} is no_std");
    }
}
