//! What the binary prints, and where: stdout is for what was asked for, stderr for everything else.

use std::fs;
use std::net::TcpListener;
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
        (&["./nowhere"], "./nowhere", "datnode share DIR"),
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
    // Of the addresses in a ticket, those that carry bulk at the least cost come first.
    assert!(connected["address"].as_str().unwrap().contains("/tcp/"), "{connected}");
    assert_exit(&reader.run(["ls", sharer.ticket(), "--log-file", "text"]), 0);
    assert!(fs::read_to_string(reader.path("text")).unwrap().contains("connected"));
    assert_exit(&reader.run(["ls", sharer.ticket(), "--log-file", "no/such/folder"]), 1);
}

#[test]
fn a_place_to_listen_has_three_forms() {
    let user = User::new();
    write(&user.path("source"), b"a", b"1");
    // Ports that are free now; whoever takes one meanwhile makes this fail, not pass.
    let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (socket, exact) = (free(), format!("/ip4/127.0.0.1/tcp/{}", free().port()));
    let listens = |place: &str| {
        let sharer = user.share(&user.path("source"), &["--listen", place]);
        let addresses = sharer.ready["addresses"].as_array().unwrap().clone();
        addresses.iter().map(|address| address.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let found = listens(&socket.to_string());
    let port = socket.port();
    assert!(found[0].starts_with(&format!("/ip4/127.0.0.1/tcp/{port}/p2p/")), "{found:?}");
    assert!(found[1].starts_with(&format!("/ip4/127.0.0.1/udp/{port}/quic-v1/p2p/")), "{found:?}");
    let found = listens(&exact);
    assert!(found.len() == 1 && found[0].starts_with(&exact), "{found:?}");
    let found = listens("127.0.0.1,/ip4/127.0.0.1/udp/0/quic-v1");
    assert_eq!(found.len(), 3, "{found:?}");
    assert_exit(&user.run(["share", "source", "--listen", "localhost"]), 2);
}

#[test]
fn a_port_that_is_taken_is_told_and_only_a_named_one_must_be_free() {
    let user = User::new();
    write(&user.path("source"), b"a", b"1");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = taken.local_addr().unwrap();
    let port = socket.port().to_string();
    let output = user.run(["share", "source", "--port", &port, "--timeout", "2s"]);
    assert_exit(&output, 5);
    assert!(said(&output).contains(&format!("Port {port} is in use")), "{}", said(&output));
    let exact = format!("/ip4/127.0.0.1/tcp/{port}");
    for place in [&socket.to_string(), &exact] {
        let output = user.run(["share", "source", "--listen", place]);
        assert_exit(&output, 1);
        let text = said(&output);
        assert!(text.contains(&format!("error[E-PORT]: port {port} is in use\n")), "{text}");
        // Who only reads needs no port in particular.
        let sharer = user.share(&user.path("source"), &[]);
        let output = User::new().run(["ls", sharer.ticket(), "--listen", place]);
        assert_eq!(output.stdout, b"a\n");
    }
}
