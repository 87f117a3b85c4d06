//! Files of settings.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use datnode_tests::{User, assert_exit, write};
use serde_json::Value;

use super::{done, said, text};

#[test]
fn settings_come_from_files_variables_and_flags() {
    let user = User::new();
    write(&user.path("flights"), b".hidden", b"1");
    write(&user.path("flights"), b"a.tmp", b"1");
    write(&user.path("flights"), b"b", b"1");
    let dry = |args: &[&str]| {
        let words = ["--json", "share", "--dry-run", "flights"].iter().chain(args);
        done(&user, words).lines().last().unwrap().parse::<Value>().unwrap()["added"].clone()
    };
    assert_eq!(dry(&[]), 2);
    done(&user, ["config", "set", "share.ignore", "*.tmp", "*.{bak,old}"]);
    assert_eq!(done(&user, ["config", "get", "share.ignore"]), "*.tmp\n*.{bak,old}\n");
    assert_eq!(dry(&[]), 1);
    drop(user.share(&user.path("flights"), &[]));
    done(&user, ["-C", "flights", "config", "set", "share.hidden", "true", "--drive"]);
    assert_eq!(dry(&[]), 1, "the hidden one is new");
    let show = |args: &[&str]| done(&user, ["-C", "flights", "config"].iter().chain(args));
    assert_eq!(show(&["get", "share.hidden"]), "true\n");
    let all = show(&["show", "--origin"]);
    let line = |key: &str| all.lines().find(|line| line.starts_with(key)).unwrap().to_owned();
    assert!(line("share.hidden").ends_with("flights/.dat/config.toml"), "{all}");
    assert!(line("share.ignore").ends_with("home/config.toml"), "{all}");
    assert!(line("network.listen").ends_with("DATNODE_LISTEN"), "{all}");
    assert!(line("output.timeout").ends_with("default"), "{all}");
    let mut command = user.command(["--json", "share", "--dry-run", "flights"]);
    let output = command.env("DATNODE_HIDDEN", "0").output().unwrap();
    assert!(
        text(&output).contains("\"added\":0"),
        "a variable comes before a file: {}",
        text(&output)
    );
    show(&["unset", "share.hidden", "--drive"]);
    assert_eq!(show(&["get", "share.hidden"]), "false\n");
    for bad in
        [&["set", "share.hidden", "maybe"][..], &["set", "network.port", "x"], &["get", "no.such"]]
    {
        let output = user.run([&["config"], bad].concat());
        assert!(matches!(output.status.code(), Some(2 | 4)), "{bad:?}: {}", said(&output));
    }
    // The drive's settings do not travel.
    write(&user.home(), b"config.toml", b"[network]\nprot = 1\n");
    let warned = user.run(["ls", "flights"]);
    assert_exit(&warned, 0);
    assert!(said(&warned).contains("did you mean network.port"), "{}", said(&warned));
    assert_exit(&user.run(["config", "set", "network.prot", "1"]), 4);
    write(&user.home(), b"config.toml", b"[network]\nport = 'x'\n");
    let broken = user.run(["ls", "flights"]);
    assert_exit(&broken, 2);
    assert!(said(&broken).contains("network.port"), "{}", said(&broken));
    assert_exit(&user.run(["--config", "none.toml", "ls", "flights"]), 1);
    write(&user.path(""), b"good.toml", b"[output]\nquiet = true\n");
    assert_exit(&user.run(["--config", "good.toml", "ls", "flights"]), 0);
    // An editor that leaves nonsense behind is told so.
    let mut edit = user.command(["config", "edit"]);
    let output =
        edit.env("EDITOR", "sh -c 'echo [ >\"$0\"'").env_remove("VISUAL").output().unwrap();
    assert_exit(&output, 2);
}

#[test]
fn a_setting_of_share_says_nothing_of_links() {
    let user = User::new();
    write(&user.path("flights"), b"a", b"1");
    let sharer = user.share(&user.path("flights"), &[]);
    done(&user, ["config", "set", "share.ticket", "true"]);
    done(&user, ["config", "set", "share.qr", "true"]);
    let key = sharer.ready["drive"]["key"].as_str().unwrap();
    assert_eq!(done(&user, ["link", "flights", "--hex"]).trim(), key);
    assert_eq!(done(&user, ["link", "flights"]).trim(), sharer.link());
}

#[test]
fn what_is_beside_a_file_of_settings_stays() {
    let user = User::new();
    write(&user.path(""), b"s.new", b"mine");
    done(&user, ["--config", "s.toml", "config", "set", "network.port", "4000"]);
    assert_eq!(fs::read(user.path("s.new")).unwrap(), b"mine");
    fs::set_permissions(user.path("s.toml"), fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::symlink("s.toml", user.path("link.toml")).unwrap();
    done(&user, ["--config", "link.toml", "config", "set", "network.port", "4001"]);
    assert!(user.path("link.toml").is_symlink());
    assert_eq!(fs::metadata(user.path("s.toml")).unwrap().permissions().mode() & 0o777, 0o600);
    let mut told = user.command(["--config", "s.toml", "config", "get", "network.port"]);
    assert_eq!(text(&told.env_remove("DATNODE_PORT").output().unwrap()), "4001\n");
    for bad in [&["share.ignore", "*.{a"][..], &["network.port", "1", "2"], &["share.ignroe", "x"]]
    {
        let output = user.run([&["config", "set"], bad].concat());
        assert!(matches!(output.status.code(), Some(2 | 4)), "{bad:?}: {}", said(&output));
    }
}
