//! Ctrl-C and SIGTERM, whatever a command is waiting for.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::time::Duration;

use datnode_tests::process::{Running, signal, wait_until};
use datnode_tests::pty::Pty;
use datnode_tests::{User, assert_exit, noise, write};

/// Longer than anything takes to end.
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn while_nobody_reads_the_output() {
    let user = User::new();
    write(&user.path("source"), b"film", &noise(1, 10 << 20));
    let sharer = user.share(&user.path("source"), &[]);
    let reader = User::new();
    let mut command = reader.command(["cat", &format!("{}/film", sharer.ticket())]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // More than a pipe takes is still to come.
    let mut pipe = child.stdout.take().unwrap();
    pipe.read_exact(&mut [0]).unwrap();
    let running = Running::new(child);
    running.signal("-INT");
    let output = running.finish(LIMIT).output;
    assert_exit(&output, 130);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("run the same command again to go on"), "{said}");
    drop(pipe);
}

#[test]
fn while_a_passphrase_is_typed() {
    for stop in ["\x03", "-TERM"] {
        let user = User::new();
        write(&user.path("flights"), b"a", b"1");
        drop(user.share(&user.path("flights"), &[]));
        let export = ["keys", "export", "flights", "--encrypt", "backup"];
        let mut pty = Pty::start(&user.command(export), 80);
        let shown = pty.wait_for(0, "Passphrase");
        assert!(!shown.contains("E-"), "{shown}");
        wait_until(LIMIT, "a prompt that hides what is typed", || !pty.echoes());
        match stop {
            "\x03" => pty.press(stop),
            _ => signal(&pty.child, stop),
        }
        assert_eq!(pty.end(), 130, "{}", pty.shown());
        assert!(pty.shown().contains("E-INTERRUPTED"), "{}", pty.shown());
        assert!(!user.path("backup").exists());
    }
}

#[test]
fn while_the_terminal_is_an_editors() {
    let user = User::new();
    fs::create_dir_all(user.path("")).unwrap();
    let editor = user.path("editor");
    let script =
        "#!/bin/sh\ntrap 'echo still here' INT\necho editing\nwhile ! read line; do :; done\n";
    fs::write(&editor, script).unwrap();
    fs::set_permissions(&editor, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = user.command(["config", "edit"]);
    command.env("VISUAL", &editor);
    let mut pty = Pty::start(&command, 80);
    pty.wait_for(0, "editing");
    // Were it ours as well, the second one would end us at once.
    let mut at = 0;
    for _ in 0..2 {
        pty.press("\x03");
        at = pty.wait_for(at, "still here\r\n").len();
    }
    pty.press("\n");
    assert_eq!(pty.end(), 0, "{}", pty.shown());
}

#[test]
fn what_only_watches_ends_well() {
    let user = User::new();
    write(&user.path("flights"), b"a", b"1");
    let _sharer = user.share(&user.path("flights"), &[]);
    let mut command = user.command(["peers", "flights", "--live"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    signal(&child, "-INT");
    assert_exit(&Running::new(child).finish(LIMIT).output, 0);
}
