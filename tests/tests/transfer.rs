//! Interrupted, shared among sources, damaged, in part: what arrives is right.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use datnode_tests::{User, assert_exit, noise, tree, write};

const SIZE: usize = 64 << 20;

#[test]
fn a_killed_clone_goes_on_where_it_was() {
    let user = User::new();
    let source = user.path("source");
    write(&source, b"large", &noise(5, SIZE));
    for number in 0..200 {
        write(&source, format!("small/{number}").as_bytes(), &noise(number, 3_000));
    }
    let sharer = user.share(&source, &[]);
    let reader = User::new();
    for seed in 0..6_u64 {
        let args = ["clone", sharer.ticket(), "copy"];
        let mut child = reader.command(args).stderr(Stdio::null()).spawn().unwrap();
        // Any moment will do: killed while it starts, while it fetches, or after it ended.
        let until = Instant::now() + Duration::from_millis(80 + 137 * seed);
        while Instant::now() < until && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        let _ = child.kill();
        child.wait().unwrap();
    }
    assert_exit(&reader.run(["clone", sharer.ticket(), "copy"]), 0);
    assert_eq!(tree(&source), tree(&reader.path("copy")));
    assert_exit(&reader.run(["verify", "--full", "copy"]), 0);
}

#[test]
fn a_killed_import_changes_nothing() {
    let user = User::new();
    let source = user.path("source");
    write(&source, b"large", &noise(5, SIZE));
    for round in 0..4 {
        let mut child = user.command(["share", "source"]).stderr(Stdio::null()).spawn().unwrap();
        let until = Instant::now() + Duration::from_millis(40 + 90 * round);
        while Instant::now() < until && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        let _ = child.kill();
        child.wait().unwrap();
    }
    let sharer = user.share(&source, &[]);
    assert_eq!(sharer.ready["change"], 1);
    let reader = User::new();
    assert_exit(&reader.run(["clone", sharer.ticket(), "copy"]), 0);
    assert_eq!(tree(&source), tree(&reader.path("copy")));
}

#[test]
fn a_second_source_takes_over_when_one_dies() {
    let user = User::new();
    let source = user.path("source");
    write(&source, b"large", &noise(6, SIZE));
    let mut writer = user.share(&source, &[]);
    let mirror = User::new();
    assert_exit(&mirror.run(["clone", writer.ticket(), "copy"]), 0);
    let second = mirror.share(&mirror.path("copy"), &[]);
    let reader = User::new();
    let args =
        ["clone", writer.link(), "copy", "--peer", writer.address(), "--peer", second.address()];
    let mut child = reader.command(args).stderr(Stdio::null()).spawn().unwrap();
    while !reader.path("copy/.dat").exists() && child.try_wait().unwrap().is_none() {
        std::thread::yield_now();
    }
    writer.child.kill().unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(tree(&source), tree(&reader.path("copy")));
}

#[test]
fn damaged_files_of_a_source_do_no_harm() {
    let user = User::new();
    let source = user.path("source");
    write(&source, b"large", &noise(7, 8 << 20));
    let writer = user.share(&source, &[]);
    let mirror = User::new();
    assert_exit(&mirror.run(["clone", writer.ticket(), "copy"]), 0);
    let mut bytes = fs::read(mirror.path("copy/large")).unwrap();
    for at in (0..bytes.len()).step_by(300_000) {
        bytes[at] ^= 1;
    }
    fs::write(mirror.path("copy/large"), bytes).unwrap();
    assert_exit(&mirror.run(["verify", "--full", "copy"]), 6);
    let second = mirror.share(&mirror.path("copy"), &[]);
    let reader = User::new();
    let args =
        ["clone", writer.link(), "copy", "--peer", second.address(), "--peer", writer.address()];
    assert_exit(&reader.run(args), 0);
    assert_eq!(tree(&source), tree(&reader.path("copy")));
}

#[test]
fn ranges_are_exactly_the_bytes_and_little_more_is_fetched() {
    let user = User::new();
    let source = user.path("source");
    let bytes = noise(8, 10 << 20);
    write(&source, b"film", &bytes);
    let sharer = user.share(&source, &[]);
    let reader = User::new();
    let path = format!("{}/film", sharer.ticket());
    let size = bytes.len();
    for (range, right) in [
        ("0-0", 0..1),
        ("5000000-5065535", 5_000_000..5_065_536),
        ("10485000-99999999", 10_485_000..size),
        ("10000000-", 10_000_000..size),
        ("-1000", size - 1_000..size),
    ] {
        let output = reader.run(["cat", &path, "--range", range, "-v"]);
        assert_exit(&output, 0);
        assert!(output.stdout == bytes[right.clone()], "range {range}");
        let said = String::from_utf8(output.stderr).unwrap();
        let blocks: usize = said
            .split("fetched ")
            .nth(1)
            .and_then(|rest| rest.split(' ').next())
            .and_then(|count| count.parse().ok())
            .unwrap();
        // The range's chunks are at least 32 KiB; two more may stick out, and the index takes one or two.
        assert!(blocks <= right.len() / (32 << 10) + 4, "range {range}: {said}");
    }
    assert_exit(&reader.run(["cat", &path, "--range", "99999999-"]), 2);
}
