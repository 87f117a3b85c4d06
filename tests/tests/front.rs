//! What the binary prints, and where: stdout is for what was asked for, stderr for everything else.

use std::fs;
use std::process::Output;

use datnode::address::Link;
use datnode_feed::SecretKey;
use datnode_tests::{User, assert_exit, write};
use serde_json::Value;

/// The link of a drive that nobody offers.
fn strange() -> String {
    Link(&SecretKey::from_bytes([9; 32]).public()).to_string()
}

fn said(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

#[test]
fn a_mistyped_command_line_is_an_error_like_any_other() {
    let user = User::new();
    let table: &[(&[&str], &str, &str)] = &[
        (&[], "no command is given", "datnode help lists the commands"),
        (&["sahre"], "sahre", "'share'"),
        (&["ls", "--nonsense"], "--nonsense", "datnode help"),
        (&["clone"], "required", "datnode help"),
        (&["ls", "--timeout", "soon"], "soon", "30s"),
        (&["cat", "x", "--range", "9-3"], "9-3", "ends before it begins"),
        (&["dat1qqqq"], "dat1qqqq", "datnode clone KEY"),
    ];
    for (args, names, hint) in table {
        let output = user.run(*args);
        assert_exit(&output, 2);
        let text = said(&output);
        assert!(text.starts_with("error[E-USAGE]: "), "{args:?}: {text}");
        assert!(text.contains(names) && text.contains(hint), "{args:?}: {text}");
        assert!(text.contains("\n  hint:  ") && output.stdout.is_empty(), "{args:?}: {text}");

        let output = user.run(args.iter().copied().chain(["--json"]));
        assert_exit(&output, 2);
        assert_eq!(said(&output).lines().count(), 1, "{args:?}: {}", said(&output));
        let error: Value = serde_json::from_slice(&output.stderr).unwrap();
        assert_eq!((&error["type"], &error["code"]), (&"error".into(), &"E-USAGE".into()));
        assert_eq!(error["exit"], 2);
        assert!(!error["hints"].as_array().unwrap().is_empty(), "{error}");
        assert!(output.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn help_and_version_go_to_stdout() {
    let user = User::new();
    for args in [&["--help"][..], &["-h"], &["--version"], &["clone", "--help"], &["help", "ls"]] {
        let output = user.run(args);
        assert_exit(&output, 0);
        assert!(!output.stdout.is_empty() && output.stderr.is_empty(), "{args:?}");
    }
    let version = user.run(["--version"]).stdout;
    assert_eq!(version, format!("datnode {}\n", env!("CARGO_PKG_VERSION")).into_bytes());
}

#[test]
fn colours_follow_the_flag_then_the_environment() {
    let user = User::new();
    let coloured = |args: &[&str], env: &[(&str, &str)]| {
        let mut command = user.command(["ls", "nosuch"]);
        for name in ["NO_COLOR", "CLICOLOR_FORCE", "DATNODE_COLOR"] {
            command.env_remove(name);
        }
        let output = command.args(args).envs(env.iter().copied()).output().unwrap();
        assert_exit(&output, 2);
        said(&output).contains("\x1b[")
    };
    assert!(!coloured(&[], &[]), "a pipe has no colours");
    assert!(coloured(&["--color", "always"], &[]));
    assert!(coloured(&[], &[("CLICOLOR_FORCE", "1")]));
    assert!(coloured(&[], &[("DATNODE_COLOR", "always")]));
    assert!(!coloured(&[], &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]));
    assert!(!coloured(&["--color", "never"], &[("CLICOLOR_FORCE", "1")]));
    assert!(coloured(&["--color", "always"], &[("NO_COLOR", "1"), ("TERM", "dumb")]));
}

#[test]
fn a_timeout_ends_any_command() {
    let user = User::new();
    write(&user.path("source"), b"a", b"1");
    for args in [
        &["share", "source", "--timeout", "500ms"][..],
        &["clone", &strange(), "copy", "--wait", "0", "--timeout", "500ms"],
    ] {
        let output = user.run(args);
        assert_exit(&output, 5);
        assert!(said(&output).contains("E-TIMEOUT"), "{}", said(&output));
    }
    let output = user.command(["share", "source"]).env("DATNODE_TIMEOUT", "500ms").output();
    assert_exit(&output.unwrap(), 5);
}

#[test]
fn offline_reads_what_this_computer_has() {
    let user = User::new();
    write(&user.path("source"), b"a", b"hello");
    let sharer = user.share(&user.path("source"), &["--offline"]);
    assert_eq!(sharer.ready["addresses"], Value::Array(Vec::new()));
    let path = format!("{}/a", sharer.link());
    // By its control socket, whichever side is offline; in a folder; cloned.
    for args in [&["--offline", "cat", &path][..], &["cat", &path], &["cat", "source/a"]] {
        assert_eq!(user.run(args).stdout, b"hello", "{args:?}");
    }
    assert_exit(&user.run(["--offline", "clone", sharer.link(), "copy"]), 0);
    drop(sharer);
    assert_eq!(user.run(["--offline", "cat", "copy/a"]).stdout, b"hello");
}

#[test]
fn offline_asks_nobody_else_and_says_so() {
    let user = User::new();
    write(&user.path("source"), b"a", b"hello");
    let sharer = user.share(&user.path("source"), &[]);
    let stranger = User::new();
    // Without a limit on waiting: where nobody can come, nothing is waited for.
    let flags = ["--offline", "--wait", "0", "--timeout", "1m"];
    for args in [&["ls", sharer.ticket()][..], &["clone", sharer.ticket(), "copy"]] {
        let output = stranger.run(args.iter().copied().chain(flags));
        assert_exit(&output, 5);
        let text = said(&output);
        assert!(text.contains("E-NOPEERS") && text.contains("--offline is on"), "{text}");
    }
    let output = stranger.command(["ls", sharer.ticket()]).env("DATNODE_OFFLINE", "1").output();
    assert_exit(&output.unwrap(), 5);
}

#[test]
fn the_log_goes_where_it_is_told() {
    let user = User::new();
    write(&user.path("source"), b"a", b"hello");
    let sharer = user.share(&user.path("source"), &[]);
    let reader = User::new();
    let ls = ["ls", sharer.ticket(), "--log-file", "log", "--log-format", "json"];
    let output = reader.run(ls);
    assert_exit(&output, 0);
    assert!(output.stderr.is_empty(), "{}", said(&output));
    let log = fs::read_to_string(reader.path("log")).unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let connected = lines.iter().find(|line| line["message"] == "connected").unwrap();
    assert_eq!((&connected["type"], &connected["level"]), (&"log".into(), &"info".into()));
    assert!(connected["peer"].is_string() && connected["time"].is_string(), "{connected}");
    assert_exit(&reader.run(["ls", sharer.ticket(), "--log-file", "text"]), 0);
    assert!(fs::read_to_string(reader.path("text")).unwrap().contains("connected"));
    assert_exit(&reader.run(["ls", sharer.ticket(), "--log-file", "no/such/folder"]), 1);
}
