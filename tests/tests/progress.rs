//! What is shown while a command works: a line for each stage, to those who can use it.

use std::io::{Read as _, Write as _};
use std::process::Output;
use std::time::{Duration, Instant};

use datnode::address::Link;
use datnode_feed::SecretKey;
use datnode_tests::pty::Pty;
use datnode_tests::{Sharer, User, assert_exit, noise, tree, write};
use serde_json::Value;

fn shared() -> (User, Sharer) {
    let user = User::new();
    write(&user.path("source"), b"large", &noise(1, 20 << 20));
    let sharer = user.share(&user.path("source"), &[]);
    (user, sharer)
}

fn lines(bytes: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(bytes).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn said(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// The link of a drive that nobody offers.
fn strange() -> String {
    Link(&SecretKey::from_bytes([9; 32]).public()).to_string()
}

#[test]
fn scripts_see_each_stage_in_order_and_then_the_end() {
    let (_user, sharer) = shared();
    let reader = User::new();
    // The second time there is nothing left to do, but to look.
    for _ in 0..2 {
        let output = reader.run(["--json", "clone", sharer.ticket(), "copy"]);
        assert_exit(&output, 0);
        assert!(output.stderr.is_empty(), "{}", said(&output));
        let mut records = lines(&output.stdout);
        let done = records.pop().unwrap();
        assert_eq!(done["type"], "done");
        let last = records.last().unwrap();
        assert_eq!((&last["bytes"], &last["total"]), (&done["bytes"], &done["bytes"]));
        let mut stages: Vec<&str> = Vec::new();
        let mut bytes = 0;
        for record in &records {
            assert_eq!(record["type"], "stage");
            assert!(record["peers"].is_u64() && record.get("rate").is_some());
            assert!(record["bytes"].as_u64().unwrap() >= bytes, "it only grows: {record}");
            bytes = record["bytes"].as_u64().unwrap();
            stages.push(record["stage"].as_str().unwrap());
        }
        stages.dedup();
        assert_eq!(stages, ["find", "connect", "history", "download"]);
    }
}

#[test]
fn people_are_told_who_is_there_what_there_is_and_how_it_ended() {
    let (_user, sharer) = shared();
    let reader = User::new();
    let clone = |folder: &str, more: &[&str]| {
        let output = reader.run(["clone", sharer.ticket(), folder].iter().chain(more));
        assert_exit(&output, 0);
        assert!(output.stdout.is_empty());
        said(&output).to_owned()
    };
    let text = clone("a", &[]);
    let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("no {what} in {text}"));
    assert!(at("Peers      1 connected") < at("History    1 change, 1 file, 20 MiB"), "{text}");
    assert!(at("History") < at("✓ Cloned 1 · ") && at("✓") < at("next: datnode ls a"), "{text}");
    assert!(!text.contains('\r'), "no bar without a terminal: {text}");

    assert_eq!(clone("b", &["-q"]), "");
    let text = clone("c", &["--progress", "none"]);
    assert!(text.starts_with("✓ Cloned"), "{text}");
    let text = clone("d", &["--progress", "json"]);
    let (json, rest) = text.split_at(text.find('✓').unwrap());
    assert_eq!(lines(json.as_bytes())[0]["stage"], "find");
    assert!(rest.starts_with("✓ Cloned"), "{text}");
}

#[test]
fn a_terminal_gets_a_bar_which_is_wiped_at_the_end() {
    let user = User::new();
    let strange = strange();
    let args = ["clone", &strange, "--wait", "1s"];
    let mut pty = Pty::start(&user.command(args), 80);
    assert_eq!(pty.end(), 5);
    let shown = pty.wait_for(0, "E-NOPEERS");
    let is_bar = |shown: &str| {
        assert!(shown.starts_with("Find       looking for"), "{shown:?}");
        let (_, last) = shown.rsplit_once("\r\x1b[J").unwrap();
        assert!(last.contains("E-NOPEERS"), "{shown:?}");
    };
    is_bar(&shown);
    // Who asks for one gets one elsewhere.
    is_bar(said(&user.run(args.iter().chain(&["--progress", "bar"]))));
}

#[test]
fn without_a_terminal_a_line_comes_every_ten_seconds() {
    let user = User::new();
    let args = ["clone", &strange(), "--wait", "0", "--timeout", "11s"];
    let output = user.run(args);
    assert_exit(&output, 5);
    let text = said(&output);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("Find       looking for somebody who offers the drive"), "{text}");
    assert!(lines[1].starts_with("error[E-TIMEOUT]: this took longer than 11 s"), "{text}");
    assert_eq!(lines[2], "  last: find: looking for somebody who offers the drive", "{text}");
}

#[test]
fn a_reader_that_reads_nothing_does_not_stop_a_clone() {
    let (user, sharer) = shared();
    let reader = User::new();
    let (mut unread, mut pipe) = std::io::pipe().unwrap();
    pipe.write_all(&vec![b'\n'; rustix::pipe::fcntl_getpipe_size(&pipe).unwrap()]).unwrap();
    let args = ["--json", "clone", sharer.ticket(), "copy"];
    let mut command = reader.command(args);
    let mut child = command.stdout(pipe).spawn().unwrap();
    // This end of the pipe.
    drop(command);
    let began = Instant::now();
    while !reader.path("copy/large").exists() {
        assert!(child.try_wait().unwrap().is_none(), "it has a last line to write");
        assert!(began.elapsed() < Duration::from_secs(120), "it waits for a reader");
        std::thread::yield_now();
    }
    let mut text = Vec::new();
    unread.read_to_end(&mut text).unwrap();
    assert!(child.wait().unwrap().success());
    let records = lines(text.trim_ascii_start());
    assert_ne!(records[0]["stage"], "find", "what found no room was dropped");
    assert_eq!(records.last().unwrap()["type"], "done");
    assert_eq!(tree(&user.path("source")), tree(&reader.path("copy")));
}
