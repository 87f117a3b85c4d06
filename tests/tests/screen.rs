//! What share and clone show on a terminal, and the keys that share listens to.

use datnode_tests::pty::Pty;
use datnode_tests::{User, assert_exit, noise, write};

/// A writer whose drive is shared in a terminal of so many columns.
fn sharing(columns: u16) -> (User, Pty, String) {
    let user = User::new();
    write(&user.path("flights"), b"a", &noise(1, 300_000));
    let pty = Pty::start(&user.command(["share", "./flights"]), columns);
    let shown = pty.wait_for(0, "Ctrl-C stops");
    let link = shown.split_whitespace().find(|word| word.starts_with("dat1")).unwrap().to_owned();
    (user, pty, link)
}

#[test]
fn share_listens_to_keys() {
    let (user, mut pty, link) = sharing(100);
    let at = pty.wait_for(0, "nobody is connected").len();
    pty.press("t");
    let shown = pty.wait_for(at, "datticket");
    assert!(shown.contains("datnode clone datticket"), "{shown}");
    let at = shown.len();
    pty.press("q");
    let at = pty.wait_for(at, "▄▄▄▄▄▄▄").len().max(at);
    pty.press("C");
    let shown = pty.wait_for(at, "OSC 52");
    let copied = data_encoding::BASE64.encode(format!("datnode clone {link}").as_bytes());
    assert!(shown.contains(&format!("\x1b]52;c;{copied}\x07")), "{shown:?}");
    // Who clones shows, and leaves no trace but in the sum.
    let reader = User::new();
    let ticket = shown.split_whitespace().find(|word| word.starts_with("datticket")).unwrap();
    assert_exit(&reader.run(["clone", ticket, "copy"]), 0);
    pty.press("px");
    let at = pty.shown().len();
    let at = pty.wait_for(at, "nobody is connected").len();
    let holder = reader.share(&reader.path("copy"), &["--peer", &address(&user)]);
    pty.wait_for(at, "1 peer");
    pty.wait_for(at, "has 100 %");
    drop(holder);
    pty.press("\x03");
    assert_eq!(pty.end(), 0);
    let shown = pty.shown();
    let (_, last) = shown.rsplit_once("Served ").unwrap();
    assert!(last.starts_with("293 KiB to 1 peer in "), "{last}");
    assert!(!shown.contains("\npx") && !shown.contains("tqC"), "keys are not echoed");
}

/// Returns where a process of the user listens.
fn address(user: &User) -> String {
    let found = std::fs::read_dir(user.home().join("run")).unwrap().flatten();
    let json = found
        .map(|file| file.path())
        .find(|path| path.extension().is_some_and(|ending| ending == "json"));
    let told: serde_json::Value =
        serde_json::from_slice(&std::fs::read(json.unwrap()).unwrap()).unwrap();
    told["addresses"][0].as_str().unwrap().to_owned()
}

#[test]
fn a_narrow_terminal_and_one_that_shrinks_show_no_torn_lines() {
    let (_user, mut pty, _) = sharing(40);
    let painted = |shown: &str, columns: usize| {
        for line in shown.split("\r\x1b[J").skip(1) {
            let line = line.split(['\n', '\r']).next().unwrap();
            assert!(line.chars().count() < columns, "{line:?} in {columns} columns");
        }
    };
    let whole = "↑ 0 B/s   nobody is connected";
    let at = pty.wait_for(0, whole).len();
    painted(&pty.shown(), 40);
    pty.resize(25);
    // Lines of the old width may still come, and then none.
    let cut = "\r\x1b[J↑ 0 B/s   nobody is conn\r";
    let shown = pty.wait_for(at, cut);
    let at = shown.rfind(cut).unwrap();
    painted(&shown[at..], 25);
    pty.press("\x03");
    assert_eq!(pty.end(), 0);
}

#[test]
fn in_a_dumb_terminal_nothing_is_painted() {
    let user = User::new();
    write(&user.path("flights"), b"a", b"1");
    let mut command =
        user.command(["share", "./flights", "--color", "never", "--progress", "plain"]);
    command.env("NO_COLOR", "1");
    let mut pty = Pty::start(&command, 80);
    let shown = pty.wait_for(0, "Ctrl-C stops");
    assert!(!shown.contains('\x1b'), "{shown:?}");
    assert!(!shown.contains("p peers"), "no keys without a screen: {shown}");
    pty.press("\x03");
    assert_eq!(pty.end(), 0);
}

#[test]
fn a_clone_names_the_file_it_is_at() {
    let user = User::new();
    write(&user.path("source"), b"film.mkv", &noise(1, 60 << 20));
    let sharer = user.share(&user.path("source"), &["--max-up", "8M"]);
    let reader = User::new();
    let mut pty = Pty::start(&reader.command(["clone", sharer.ticket(), "copy"]), 80);
    let shown = pty.wait_for(0, "film.mkv   ");
    assert!(shown.contains("/ 60 MiB"), "{shown:?}");
    pty.press("\x03");
    assert_eq!(pty.end(), 130);
    let shown = pty.shown();
    assert!(shown.contains("run the same command again to go on"), "{shown}");
}

#[test]
fn a_terminal_that_was_stopped_stops_nobody() {
    let (user, mut pty, _) = sharing(80);
    let at = pty.wait_for(0, "nobody is connected").len();
    pty.press("\x13");
    // Each key paints anew: more than a terminal takes that shows nothing.
    for _ in 0..2_000 {
        pty.press("pp");
    }
    let reader = User::new();
    let peer = address(&user);
    let key = user.run(["link", "flights"]).stdout;
    let key = std::str::from_utf8(&key).unwrap().trim();
    assert_exit(&reader.run(["clone", key, "copy", "--peer", &peer]), 0);
    pty.press("\x11");
    pty.wait_for(at, "nobody is connected");
    pty.press("\x03");
    assert_eq!(pty.end(), 0);
}
