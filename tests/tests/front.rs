//! What the binary prints, and where: stdout is for what was asked for, stderr for everything else.

use std::process::Output;

use datnode_tests::{User, assert_exit};
use serde_json::Value;

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
