//! What stands for a drive: names, keys, tickets, folders.

use std::fs;

use datnode_tests::{User, assert_exit, write};

use super::{done, json, put, said, text};

#[test]
fn names_stand_for_drives() {
    let user = User::new();
    write(&user.path("flights"), b"README.md", b"hello");
    let sharer = user.share(&user.path("flights"), &["--name", "fl"]);
    assert_eq!(done(&user, ["cat", "fl/README.md"]), "hello");
    assert_eq!(done(&user, ["link", "fl"]).trim(), sharer.link());
    assert_eq!(done(&user, ["ls", "fl+1"]), "README.md\n");
    done(&user, ["status", "fl"]);
    let reader = User::new();
    assert_exit(&reader.run(["clone", sharer.ticket(), "copy"]), 0);
    // A clone takes the drive's own name.
    assert_eq!(done(&reader, ["cat", "fl/README.md"]), "hello");
    assert!(done(&reader, ["status", "--all"]).contains("\"fl\""));
    // What is a name and a folder of something else is refused, with both ways to say it.
    fs::create_dir(reader.path("fl")).unwrap();
    let both = reader.run(["ls", "fl"]);
    assert_exit(&both, 2);
    assert!(said(&both).contains("./fl") && said(&both).contains(sharer.link()), "{}", said(&both));
    fs::remove_dir(reader.path("fl")).unwrap();
    // A name belongs to one drive.
    write(&user.path("other"), b"a", b"1");
    assert_exit(&user.run(["share", "other", "--name", "fl", "--no-watch"]), 2);
    assert_exit(&user.run(["share", "other", "--name", "dat1x"]), 2);
    // A second copy does not take it from the first, nor from where the drive is written.
    done(&user, ["clone", "./flights", "backup"]);
    assert_exit(&put(&user, b"2", "fl/new"), 0);
    assert_eq!(fs::read(user.path("flights/new")).unwrap(), b"2");
    // Where the folder is gone, the name is the key.
    fs::remove_dir_all(reader.path("copy")).unwrap();
    let remote = reader.run(["cat", "fl/README.md", "--peer", sharer.address()]);
    assert_exit(&remote, 0);
    assert_eq!(text(&remote), "hello");
    assert_exit(&reader.run(["status", "fl"]), 10);
}

#[test]
fn a_bare_folder_is_shared_and_a_bare_key_cloned() {
    let user = User::new();
    write(&user.path("flights"), b"a", b"1");
    let sharer = user.share(&user.path("flights"), &[]);
    let locked = user.run(["./flights"]);
    assert_exit(&locked, 9);
    let reader = User::new();
    assert_exit(&reader.run([sharer.ticket(), "copy"]), 0);
    assert_eq!(fs::read(reader.path("copy/a")).unwrap(), b"1");
    assert_exit(&reader.run(["./none"]), 2);
}

#[test]
fn links_come_as_words_tickets_and_pictures() {
    let user = User::new();
    write(&user.path("flights"), b"a", b"1");
    assert_exit(&user.run(["link", "flights"]), 10);
    let sharer = user.share(&user.path("flights"), &[]);
    let link = sharer.link();
    assert_eq!(done(&user, ["link", "flights"]).trim(), link);
    assert_eq!(done(&user, ["link", "flights", "--hex"]).trim(), sharer.ready["drive"]["key"]);
    let at = done(&user, ["link", "flights", "--at", "1"]);
    assert!(
        sharer.ready["version"].as_str().unwrap().starts_with(at.trim().split_once('+').unwrap().1),
        "{at}"
    );
    let drawn = done(&user, ["link", "flights", "--qr"]);
    assert!(drawn.contains('█') && drawn.ends_with(&format!("{link}\n")), "{drawn}");
    let ticket = done(&user, ["link", "flights", "--ticket"]);
    let reader = User::new();
    assert_exit(&reader.run(["clone", ticket.trim(), "copy"]), 0);
    drop(sharer);
    let output = user.run(["link", "flights", "--ticket"]);
    assert_exit(&output, 5);
    assert!(said(&output).contains("datnode share"), "{}", said(&output));
}

#[test]
fn a_command_about_a_drive_takes_any_address_of_one() {
    let user = User::new();
    write(&user.path("flights"), b"data/a", b"1");
    let sharer = user.share(&user.path("flights"), &["--name", "fl"]);
    let (link, ticket) = (sharer.link().to_owned(), sharer.ticket().to_owned());
    let key = sharer.ready["drive"]["key"].as_str().unwrap().to_owned();
    for good in ["fl", "flights", "./flights", "flights/data", &link, &ticket, &key] {
        assert_eq!(json(&user, ["status", good])["drive"]["key"], *key, "{good}");
    }
    assert_eq!(json(&user, ["-C", "flights/data", "status"])["drive"]["key"], *key);
    let typo = &link[..link.len() - 1];
    for (bad, code) in [
        (typo, 2),
        ("dat1", 2),
        ("none", 2),
        ("./none", 4),
        ("flights+1", 2),
        ("flights/data/a", 2),
        ("fl/none", 2),
        (".", 10),
    ] {
        let output = user.run(["status", bad]);
        assert_eq!(output.status.code(), Some(code), "{bad}: {}", said(&output));
    }
    // A name that is a folder of something else means neither.
    fs::create_dir(user.path("fl")).unwrap();
    assert_exit(&user.run(["status", "fl"]), 2);
    // Whose folder is gone is no drive here.
    drop(sharer);
    fs::remove_dir_all(user.path("flights")).unwrap();
    assert_exit(&user.run(["status", &link]), 10);
    assert_exit(&User::new().run(["status", &link]), 10);
}

#[test]
fn a_link_to_a_version_of_a_drive_elsewhere_says_what_it_takes() {
    let user = User::new();
    write(&user.path("flights"), b"a", b"1");
    let sharer = user.share(&user.path("flights"), &[]);
    let at = format!("{}+12", sharer.link());
    let output = User::new().run(["link", &at]);
    assert_exit(&output, 5);
    let told = said(&output);
    assert!(told.contains("datnode clone ") && !told.contains("--offline"), "{told}");
}

#[test]
fn a_key_stands_for_the_drive_that_is_written_here() {
    let user = User::new();
    write(&user.path("flights"), b"a", b"1");
    let link = user.share(&user.path("flights"), &[]).link().to_owned();
    assert_eq!(done(&user, ["cat", &format!("{link}/a")]), "1");
    assert_exit(&put(&user, b"2", &format!("{link}/b")), 0);
    assert_eq!(fs::read(user.path("flights/b")).unwrap(), b"2");
    // A copy of another's drive is read by its key where nobody else is asked.
    let reader = User::new();
    let sharer = user.share(&user.path("flights"), &[]);
    assert_exit(&reader.run(["clone", sharer.ticket(), "copy"]), 0);
    drop(sharer);
    assert_eq!(done(&reader, ["--offline", "cat", &format!("{link}/b")]), "2");
    // Whose folder is gone has its key still.
    fs::remove_dir_all(user.path("flights")).unwrap();
    let secret = done(&user, ["keys", "export", &link, "--plain"]);
    assert!(secret.starts_with("datsec1"), "{secret}");
}
