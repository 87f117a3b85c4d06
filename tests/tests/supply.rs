//! The packages we are built from, held against what is known of them.
//!
//! The table names the least version without a known way to harm us; several of these mistakes were published in no advisory
//! database, so that no audit tool would warn. Elsewhere: licences, sources and bans (`deny.toml`, by `cargo deny check`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Name, least version, and what is wrong with those before.
const LEAST: &[(&str, &str, &str)] = &[
    ("bitvec", "1.1.0", "unsound construction from slices"),
    ("blake3", "1.8.0", "the version that our formats were checked with"),
    ("bytes", "1.11.1", "RUSTSEC-2026-0007: overflow in reserve"),
    ("curve25519-dalek", "4.1.3", "RUSTSEC-2024-0344: timing of scalar subtraction"),
    (
        "ed25519-dalek",
        "2.0.0",
        "RUSTSEC-2022-0093: signing with another public key leaks the secret",
    ),
    ("flatbuffers", "22.9.29", "RUSTSEC-2021-0122: generated code reads out of bounds"),
    ("h2", "0.4.16", "floods of resets and headers"),
    ("hickory-proto", "0.26.1", "RUSTSEC-2026-0118, -0119: unbounded work for one answer"),
    ("idna", "1.0.3", "RUSTSEC-2024-0421: two spellings of one name"),
    ("libp2p-core", "0.32.1", "RUSTSEC-2019-0004, 2022-0009: records not bound to their signer"),
    ("libp2p-gossipsub", "0.50.1", "memory attacks by PRUNE and GRAFT"),
    ("libp2p-quic", "0.13.1", "GHSA-5hq8: a bad certificate panics"),
    ("libp2p-rendezvous", "0.17.1", "GHSA-cqfx, -v5hw: unlimited registrations"),
    ("libp2p", "0.45.1", "RUSTSEC-2022-0084: memory by partial messages"),
    ("lru", "0.18.2", "RUSTSEC-2026-0002, -0253: unsound iterators"),
    ("memmap2", "0.9.11", "RUSTSEC-2026-0186: flush and advise out of range"),
    ("quinn-proto", "0.11.15", "RUSTSEC-2026-0185: gaps in streams exhaust memory"),
    ("ring", "0.17.12", "RUSTSEC-2025-0009: a packet panics"),
    ("rustls-webpki", "0.103.13", "RUSTSEC-2026-0104: a certificate list panics"),
    ("snow", "0.9.5", "RUSTSEC-2024-0011: forged data moves the nonce"),
    ("time", "0.3.47", "RUSTSEC-2026-0009: parsing exhausts the stack"),
    ("tokio", "1.44.2", "RUSTSEC-2025-0023: broadcast clones what is not Sync"),
    ("tracing-subscriber", "0.3.20", "RUSTSEC-2025-0055: terminal escapes pass into logs"),
    ("yamux", "0.13.10", "CVE-2024-32984, 2026-31814, -32314: one frame panics, or fills memory"),
];

/// What must not be in the tree at all.
const ABSENT: &[(&str, &str)] = &[
    ("libp2p-gossipsub", "larger than anything we need it for, with a history of memory attacks"),
    ("libp2p-rendezvous", "unlimited registrations"),
    ("libp2p-websocket", "takes frames of 256 MiB"),
    ("openssl-sys", "one implementation of TLS is enough"),
];

/// What may be in the tree once only, since two would have two sets of limits and mistakes.
const ONCE: &[&str] =
    &["bitvec", "blake3", "ed25519-dalek", "flatbuffers", "libp2p-core", "snow", "tokio", "yamux"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Returns name and version of every package in the lock file.
fn locked() -> Vec<(String, String)> {
    locked_in("Cargo.lock")
}

fn locked_in(file: &str) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(root().join(file)).expect("there is a lock file");
    let value = |line: &str, key: &str| {
        Some(line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"')?.to_owned())
    };
    let mut packages = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(name) = value(line, "name") {
            let version = lines.next().and_then(|line| value(line, "version"));
            packages.push((name, version.expect("a version follows the name")));
        }
    }
    assert!(packages.len() > 10, "the lock file was not understood");
    packages
}

/// Returns what each package of a lock file depends on, by name: it shows which features are built.
fn dependencies_in(file: &str) -> BTreeMap<String, BTreeSet<String>> {
    let text = std::fs::read_to_string(root().join(file)).expect("there is a lock file");
    let mut all = BTreeMap::new();
    for package in text.split("[[package]]\n").skip(1) {
        let dependencies = package.lines().filter_map(|line| line.strip_prefix(" \""));
        let name = |line: &str| line.split([' ', '"']).next().unwrap_or_default().to_owned();
        let head: Vec<&str> = package.lines().take(2).collect();
        all.insert(head.join("\n"), dependencies.map(name).collect());
    }
    all
}

/// Returns a version as numbers; one before a release counts as older than it.
fn version(text: &str) -> (Vec<u64>, bool) {
    let text = text.split('+').next().unwrap_or_default();
    let (numbers, is_release) = match text.split_once('-') {
        Some((numbers, _)) => (numbers, false),
        None => (text, true),
    };
    let numbers = numbers.split('.').map(|number| number.parse().expect("a number"));
    (numbers.collect(), is_release)
}

#[test]
fn no_locked_package_is_older_than_its_least_version() {
    let mut seen = 0;
    for (name, found) in locked() {
        for (_, least, why) in LEAST.iter().filter(|(listed, _, _)| *listed == name) {
            seen += 1;
            assert!(version(&found) >= version(least), "{name} {found} < {least}: {why}");
        }
    }
    assert!(seen >= 15, "only {seen} packages of the table are in the lock file");
}

#[test]
fn versions_are_compared_as_numbers() {
    for (older, newer) in
        [("0.9.11", "0.13.10"), ("1.0.0-rc.1", "1.0.0"), ("0.3.9", "0.3.47+more"), ("1", "1.0.1")]
    {
        assert!(version(older) < version(newer), "{older} {newer}");
    }
}

#[test]
fn what_is_banned_is_absent_and_what_is_single_is_there_once() {
    let locked = locked();
    let count = |wanted: &str| locked.iter().filter(|(name, _)| name == wanted).count();
    for (name, why) in ABSENT {
        assert_eq!(count(name), 0, "{name}: {why}");
    }
    for name in ONCE {
        assert_eq!(count(name), 1, "{name} is in the lock file more or less than once");
    }
}

/// Returns each package that is built, with the features that it is built with.
fn built() -> Vec<(String, Vec<String>)> {
    let tree = ["tree", "--workspace", "--locked", "--offline", "--prefix", "none"];
    let out = Command::new(env!("CARGO"))
        .args(tree)
        .args(["-e", "normal,build,dev", "-f", "{p}|{f}"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).expect("cargo prints UTF-8");
    let package = |line: &str| {
        let (package, features) = line.split_once('|').expect("the format has a bar");
        let features = features.trim_end_matches(" (*)").split(',').map(str::to_owned);
        (package.split(' ').next().unwrap_or_default().to_owned(), features.collect())
    };
    text.lines().filter(|line| line.contains('|')).map(package).collect()
}

#[test]
fn signatures_are_strict_in_the_whole_tree() {
    let built = built();
    let dalek: Vec<_> = built.iter().filter(|(name, _)| name == "ed25519-dalek").collect();
    assert!(!dalek.is_empty(), "the tree was not understood");
    for (name, features) in built {
        let has = |feature: &str| features.iter().any(|found| found == feature);
        assert!(!has("legacy_compatibility"), "{name} takes signatures that are not canonical");
        assert!(name != "ed25519-dalek" || !has("hazmat"), "keys could be split");
    }
}

/// Returns the packages of this workspace as `cargo` understands their manifests.
fn manifests() -> serde_json::Value {
    let out = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline", "--locked"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).expect("cargo prints JSON")
}

/// What guided fuzzing builds is what we ship, and so with the sanitizer: they have lock files of their own, which nobody builds
/// with in between.
#[test]
fn fuzzers_and_sanitizers_are_locked_to_what_we_are_built_from() {
    const FILE: &str = "tests/fuzz/Cargo.lock";
    // What only the fuzzer needs, and itself.
    const OWN: [&str; 4] = ["arbitrary", "datnode-asan", "datnode-fuzz", "libfuzzer-sys"];
    let (ours, theirs) = (locked(), locked_in(FILE));
    for package in theirs.iter().chain(&locked_in("tests/asan/Cargo.lock")) {
        let is_own = OWN.contains(&package.0.as_str());
        assert!(is_own || ours.contains(package), "{package:?}: Cargo.lock has another");
    }
    let manifests = manifests();
    let packages = manifests["packages"].as_array().expect("there are packages");
    let mut seen = 0;
    for package in packages
        .iter()
        .filter(|package| theirs.iter().any(|(name, _)| package["name"] == name.as_str()))
    {
        for dependency in package["dependencies"].as_array().expect("a list") {
            if dependency["kind"] == "dev" || dependency["optional"] == true {
                continue;
            }
            let name = dependency["name"].as_str().expect("a name");
            seen += 1;
            assert!(theirs.iter().any(|(other, _)| other == name), "{FILE} has no {name}");
        }
    }
    assert!(seen > 30, "only {seen} dependencies were looked at");
    let ours = dependencies_in("Cargo.lock");
    let theirs = dependencies_in(FILE).into_iter().filter(|(name, _)| !name.contains("\"datnode"));
    for (name, dependencies) in theirs {
        let same = ours.get(&name).is_none_or(|ours| *ours == dependencies);
        assert!(
            same,
            "{FILE}: other features of {name}; `cargo metadata` in its folder brings it up to date"
        );
    }
}
