//! Folders that come from anywhere.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use datnode_tests::{User, assert_exit, process, write};

use super::{done, said};

/// A folder may come from anywhere: what is in its `.dat` is no reason to read without end, or to wait.
#[test]
fn what_lies_in_a_drives_folder_is_read_with_a_limit() {
    let user = User::new();
    write(&user.path("flights"), b"a", b"1");
    drop(user.share(&user.path("flights"), &[]));
    let key = fs::read(user.path("flights/.dat/key")).unwrap();
    let within_time = |args: &[&str]| {
        let mut command = user.command(args);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        process::finish(child, Duration::from_secs(60)).output
    };
    for name in ["config.toml", "key"] {
        let place = user.path("flights/.dat").join(name);
        for pipe in [true, false] {
            let _ = fs::remove_file(&place);
            match pipe {
                true => {
                    let made = std::process::Command::new("mkfifo").arg(&place).status().unwrap();
                    assert!(made.success());
                }
                false => std::os::unix::fs::symlink("/dev/zero", &place).unwrap(),
            }
            for args in [&["ls", "flights"][..], &["status", "--all"], &["link", "flights"]] {
                let output = within_time(args);
                if args[0] == "ls" {
                    assert_exit(&output, 1);
                    assert!(said(&output).contains("no regular file"), "{}", said(&output));
                }
            }
        }
        fs::remove_file(&place).unwrap();
        if name == "key" {
            fs::write(&place, &key).unwrap();
        }
    }
    assert_eq!(done(&user, ["ls", "flights"]), "a\n");
}

/// A folder may come from anywhere: what is to be written into its `.dat` goes nowhere else.
#[test]
fn a_link_in_a_drives_folder_leads_no_write_out_of_it() {
    let user = User::new();
    write(&user.path("flights"), b"a", b"1");
    drop(user.share(&user.path("flights"), &[]));
    let dat = user.path("flights/.dat");
    let store = fs::read_dir(dat.join("store")).unwrap().map(|file| file.unwrap().path());
    for place in store.chain([dat.join("lock")]) {
        let out = user.path("out");
        fs::rename(&place, &out).unwrap();
        let before = fs::read(&out).unwrap();
        std::os::unix::fs::symlink(&out, &place).unwrap();
        for args in [&["ls", "flights"][..], &["verify", "flights"]] {
            let output = user.run(args);
            // A file of the store that a command does not need is not looked at; what cannot be read does not verify.
            assert!(matches!(output.status.code(), Some(0 | 1 | 6)), "{}", said(&output));
            if place.ends_with("lock") || place.ends_with("meta") {
                assert_exit(&output, 1);
                assert!(said(&output).contains("symbolic links"), "{}", said(&output));
            }
        }
        assert!(fs::read(&out).unwrap() == before, "{place:?}");
        fs::rename(&out, &place).unwrap();
    }
    assert_eq!(done(&user, ["ls", "flights"]), "a\n");
}
