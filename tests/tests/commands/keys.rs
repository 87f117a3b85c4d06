//! Secret keys: kept, backed up, never repeated.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use datnode_tests::{User, assert_exit, write};

use super::{done, json, said, text};

#[test]
fn keys_are_backed_up_and_restored() {
    let user = User::new();
    write(&user.path("flights"), b"a", b"1");
    let sharer = user.share(&user.path("flights"), &["--name", "fl"]);
    assert!(done(&user, ["keys"]).contains(sharer.link()));
    let with = |user: &User, passphrase: Option<&str>, args: &[&str]| {
        let mut command = user.command(args);
        if let Some(passphrase) = passphrase {
            command.env("DATNODE_PASSPHRASE", passphrase);
        }
        command.output().unwrap()
    };
    // Nobody can be asked here.
    let output = with(&user, None, &["keys", "export", "fl"]);
    assert_exit(&output, 2);
    assert!(!user.path("fl.datkey").exists(), "nothing is left behind");
    assert_exit(&with(&user, Some("correct horse"), &["keys", "export", "fl"]), 0);
    let sealed = fs::read(user.path("fl.datkey")).unwrap();
    // What it costs to open does not depend on how busy this computer was.
    let head = String::from_utf8_lossy(&sealed);
    let recipient = head.lines().nth(1).unwrap();
    assert!(head.starts_with("age-encryption.org/v1\n-> scrypt ") && recipient.ends_with(" 18"));
    assert_eq!(fs::metadata(user.path("fl.datkey")).unwrap().permissions().mode() & 0o777, 0o600);
    assert_exit(&with(&user, Some("x"), &["keys", "export", "fl"]), 7);
    let plain = done(&user, ["keys", "export", "fl", "--plain"]);
    assert!(plain.starts_with("datsec1") && plain.trim().len() == 65, "a secret is 65 characters");
    assert!(
        !sealed
            .windows(20)
            .any(|window| plain.as_bytes().windows(20).any(|secret| secret == window))
    );
    // Elsewhere: the key comes, the drive is fetched, and can be written.
    let other = User::new();
    fs::copy(user.path("fl.datkey"), {
        fs::create_dir_all(other.path("")).unwrap();
        other.path("k")
    })
    .unwrap();
    let wrong = with(&other, Some("wrong"), &["keys", "import", "k"]);
    assert_exit(&wrong, 2);
    assert!(said(&wrong).contains("the passphrase does not open"), "{}", said(&wrong));
    assert_exit(&with(&other, Some("correct horse"), &["keys", "import", "k"]), 0);
    assert_eq!(json(&other, ["keys"])["keys"][0]["link"], sharer.link());
    assert_exit(&other.run(["keys", "import", "k", "--nonsense"]), 2);
    assert_exit(&other.run(["clone", sharer.ticket(), "copy"]), 0);
    drop(sharer);
    write(&other.path("copy"), b"b", b"2");
    let writes = other.share(&other.path("copy"), &[]);
    assert_eq!((&writes.ready["change"], &writes.ready["added"]), (&2.into(), &1.into()));
    let denied = User::new();
    assert_exit(&denied.run(["clone", writes.ticket(), "copy"]), 0);
    assert_exit(&denied.run(["keys", "export", "copy", "--plain"]), 8);
}

#[test]
fn a_secret_that_is_given_by_mistake_is_not_repeated() {
    let user = User::new();
    write(&user.path("flights"), b"a", b"1");
    drop(user.share(&user.path("flights"), &[]));
    let secret = done(&user, ["keys", "export", "flights", "--plain"]).trim().to_owned();
    for args in [
        &["keys", "import"][..],
        &["share"],
        &["status"],
        &["verify"],
        &["recover"],
        &["peers"],
        &["keys", "export"],
        &["ls"],
        &["ignored"],
        &[],
    ] {
        let mut command = user.command(["--log-file", "log"]);
        let output = command.args(args).arg(&secret).output().unwrap();
        assert_exit(&output, 2);
        let log = fs::read_to_string(user.path("log")).unwrap();
        assert!(![said(&output), text(&output), log].concat().contains(&secret[7..]), "{args:?}");
        let code = if args == ["ignored"] { "error[E-KEY]" } else { "error[E-SECRETKEY]" };
        assert!(said(&output).contains(code), "{args:?}: {}", said(&output));
    }
    assert_eq!(fs::metadata(user.path("log")).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_backup_of_a_key_lands_beside_the_drive() {
    let user = User::new();
    write(&user.path("flights"), b"a", b"1");
    drop(user.share(&user.path("flights"), &["--name", "fl"]));
    done(&user, ["init", "--bare", "bare"]);
    let export = |args: &[&str]| {
        let mut command = user.command(args);
        command.env("DATNODE_PASSPHRASE", "of a test").output().unwrap()
    };
    for (folder, file) in [("flights", "fl.datkey"), ("bare", "bare.datkey")] {
        let output = export(&["-C", folder, "keys", "export"]);
        assert_exit(&output, 0);
        assert!(said(&output).contains(&format!("work/{file}")), "{}", said(&output));
        assert!(user.path(file).exists());
    }
    // A drive in the folder of another.
    write(&user.path("outer"), b"inner/a", b"1");
    done(&user, ["init", "outer"]);
    done(&user, ["init", "outer/inner"]);
    assert_exit(&export(&["-C", "outer/inner", "keys", "export"]), 0);
    assert!(user.path("inner.datkey").exists());
    // With the drive it would go to everybody; a bare one takes nothing in.
    let shared = export(&["keys", "export", "flights", "--encrypt", "flights/k"]);
    assert_exit(&shared, 2);
    assert!(!user.path("flights/k").exists());
    assert_exit(&export(&["keys", "export", "bare", "--encrypt", "bare/k"]), 0);
}

#[test]
fn a_damaged_note_hides_no_other_key() {
    let user = User::new();
    for name in ["one", "two"] {
        write(&user.path(name), b"a", b"1");
        drop(user.share(&user.path(name), &[]));
    }
    let key = |name: &str| json(&user, ["link", name])["drive"]["key"].as_str().unwrap().to_owned();
    let note = user.home().join("keys").join(key("one")).with_extension("home");
    fs::write(note, b"nonsense").unwrap();
    let keys = json(&user, ["keys"])["keys"].clone();
    for (name, damaged) in [("one", true), ("two", false)] {
        let row = keys.as_array().unwrap().iter().find(|row| row["key"] == key(name)).unwrap();
        assert_eq!(row["error"].as_str().is_some_and(|why| why.contains("damaged")), damaged);
        assert!(row["folder"].as_str().unwrap().ends_with(name), "{row}");
    }
    let told = done(&user, ["keys"]);
    assert_eq!((told.lines().count(), told.matches("is damaged").count()), (2, 1), "{told}");
}
