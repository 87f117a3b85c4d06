//! Commands beside a process that has the drive open.

use std::fs;
use std::time::Duration;

use datnode_tests::{User, assert_exit, noise, process, rot, write};
use serde_json::Value;

use super::{done, json, put, said, text};

#[test]
fn a_rate_limit_is_changed_while_a_process_runs() {
    let user = User::new();
    write(&user.path("flights"), b"a", b"1");
    let limits = |user: &User| {
        let serving = json(user, ["status", "flights"])["serving"][0].clone();
        (serving["max_up"].clone(), serving["max_down"].clone())
    };
    let sharer = user.share(&user.path("flights"), &["--max-down", "1M"]);
    assert_eq!(limits(&user), (Value::Null, (1 << 20).into()));
    done(&user, ["config", "set", "network.max-up", "2M"]);
    // What a flag said stays.
    done(&user, ["config", "set", "network.max-down", "3M"]);
    assert_eq!(limits(&user), ((2 << 20).into(), (1 << 20).into()));
    done(&user, ["-C", "flights", "config", "set", "network.max-up", "500KiB", "--drive"]);
    assert_eq!(limits(&user).0, 500 << 10);
    done(&user, ["-C", "flights", "config", "unset", "network.max-up", "--drive"]);
    done(&user, ["config", "set", "network.max-up", "0"]);
    assert_eq!(limits(&user).0, Value::Null);
    drop(sharer);
}

#[test]
fn peers_shows_who_is_connected() {
    let user = User::new();
    write(&user.path("flights"), b"a", &noise(1, 200_000));
    let nobody = user.run(["peers", "--all"]);
    assert_exit(&nobody, 0);
    assert_eq!(text(&nobody), "nobody is connected\n");
    let sharer = user.share(&user.path("flights"), &[]);
    let reader = User::new();
    assert_exit(&reader.run(["clone", sharer.ticket(), "copy"]), 0);
    let holder = reader.share(&reader.path("copy"), &["--peer", sharer.address()]);
    let mut whole = None;
    process::wait_until(Duration::from_secs(60), "a peer that has all", || {
        let output = done(&user, ["--json", "peers", "flights"]);
        let mut peers = output.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        whole = peers.find(|peer| peer["has"] == 100);
        whole.is_some()
    });
    let peer = whole.unwrap();
    assert_eq!(peer["how"], "this computer");
    assert!(peer["node"].as_str().unwrap().starts_with("12D3"), "{peer}");
    assert!(peer["client"].as_str().unwrap().starts_with("datnode/"), "{peer}");
    let table = done(&user, ["peers", "flights"]);
    assert!(table.starts_with("node ") && table.contains("100 %"), "{table}");
    let status = json(&user, ["status", "flights"]);
    assert_eq!(status["serving"][0]["pid"], sharer.child.id());
    drop((holder, sharer));
    let nobody = user.run(["peers", "flights"]);
    assert_exit(&nobody, 5);
    assert!(said(&nobody).contains("datnode share"), "{}", said(&nobody));
}

#[test]
fn a_drive_is_read_while_it_is_being_cloned() {
    let user = User::new();
    write(&user.path("flights"), b"first", b"small");
    write(&user.path("flights"), b"large", &noise(1, 30 << 20));
    let sharer = user.share(&user.path("flights"), &["--max-up", "1M"]);
    let reader = User::new();
    let mut clone = reader.command(["clone", sharer.ticket(), "copy"]).spawn().unwrap();
    process::wait_until(Duration::from_secs(60), "the clone's folder", || {
        reader.path("copy/.dat/key").exists() && !reader.run(["peers", "copy"]).stdout.is_empty()
    });
    assert!(clone.try_wait().unwrap().is_none(), "it is under way");
    assert_eq!(done(&reader, ["ls", "copy"]), "first\nlarge\n");
    let status = json(&reader, ["status", "copy"]);
    assert_eq!(status["serving"][0]["pid"], clone.id());
    // A range in the middle comes although it is not there yet: through the process that fetches.
    let range = reader.run(["cat", "copy/large", "--range", "20000000-20000099"]);
    assert_exit(&range, 0);
    assert!(range.stdout == noise(1, 30 << 20)[20_000_000..20_000_100]);
    assert_exit(&reader.run(["put", "-", "copy/x"]), 8);
    assert_exit(&reader.run(["share", "copy"]), 9);
    assert!(clone.try_wait().unwrap().is_none(), "it still is");
    let why = || json(&reader, ["status", "copy"])["missing"][0]["why"].clone();
    assert_eq!(why(), "on its way");
    drop(sharer);
    process::wait_until(Duration::from_secs(30), "nobody", || why() == "nobody is connected");
    clone.kill().unwrap();
    clone.wait().unwrap();
    assert_eq!(why(), "nothing is fetching it");
    let told = done(&reader, ["status", "copy"]);
    for line in ["\nmissing    ", "   large   ", "\nnext       datnode clone "] {
        assert!(told.contains(line), "{told}");
    }
    // What it left behind is noticed: the store is opened by whoever comes next.
    assert_eq!(done(&reader, ["ls", "copy"]), "first\nlarge\n");
    assert_exit(&reader.run(["peers", "copy"]), 5);
}

#[test]
fn the_socket_of_a_process_that_was_killed_is_no_hindrance() {
    let user = User::new();
    write(&user.path("flights"), b"a", b"1");
    // A Sharer is killed when it is dropped, and leaves its files behind.
    drop(user.share(&user.path("flights"), &[]));
    let left = || fs::read_dir(user.home().join("run")).unwrap().count();
    assert!(left() > 0);
    assert_exit(&put(&user, b"2", "flights/b"), 0);
    assert_eq!(done(&user, ["ls", "flights"]), "a\nb\n");
    assert_exit(&user.run(["peers", "flights"]), 5);
    assert_eq!(left(), 0, "they were swept");
}

#[test]
fn a_drive_is_verified_while_it_is_served() {
    let user = User::new();
    write(&user.path("flights"), b"film", &noise(1, 1 << 20));
    let sharer = user.share(&user.path("flights"), &[]);
    let checked = json(&user, ["verify", "flights"]);
    assert!(checked["bytes"].as_u64().unwrap() > 1 << 20, "{checked}");
    assert_eq!((&checked["signatures"], &checked["bad"]), (&2.into(), &serde_json::json!([])));
    assert_eq!(json(&user, ["verify", "--quick", "flights"])["blocks"], checked["blocks"]);
    rot(&user.path("flights/.dat/store/data"), 500_000);
    let bad = user.run(["verify", "flights"]);
    assert_exit(&bad, 6);
    assert!(said(&bad).contains("film block "), "{}", said(&bad));
    // Only the owner of a store repairs it.
    assert_exit(&user.run(["verify", "--repair", "flights"]), 9);
    drop(sharer);
    assert_exit(&user.run(["verify", "flights"]), 6);
}
