//! What `node/contrib` gives administrators: that the node understands what they have it run, and that it stays where it may write.
//!
//! What they have run is run here, in a folder in place of theirs. Whether systemd understands its unit is asked of it, where it is installed.

#![expect(clippy::print_stderr, reason = "a test that is skipped says why")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use datnode_tests::node::Node;
use datnode_tests::process::{signal, wait_until};
use datnode_tests::{User, binary, write};

/// What takes longer than this never comes.
const HANGS: Duration = Duration::from_secs(60);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

/// Returns the value of a key that a text has once, as `KEY=VALUE` or `KEY = "VALUE"`.
fn value<'a>(text: &'a str, key: &str) -> &'a str {
    let lines = text.lines().filter_map(|line| line.split_once('='));
    let mut values = lines.filter(|(name, _)| name.trim() == key).map(|(_, value)| value.trim());
    let value = values.next().unwrap_or_else(|| panic!("there is no {key}"));
    assert_eq!(values.next(), None, "{key} is there twice");
    value.trim_matches('"')
}

/// Runs a node as somebody would have it run whose folder is elsewhere, and has it read its list again.
fn runs(args: &[&str], folder: &str, home: &str) {
    let (user, writer) = (User::new(), User::new());
    let own = user.path("state");
    write(&own, b"keys.txt", b"");
    // Everything that it writes is in the folder, which is the only one that it may write.
    let inside = |path: &str| path.replace(folder, own.to_str().unwrap());
    assert!(home.starts_with(folder), "{home}");
    let paths: Vec<&&str> = args.iter().filter(|arg| arg.starts_with('/')).collect();
    assert!(!paths.is_empty() && paths.iter().all(|path| path.starts_with(folder)), "{paths:?}");
    // Its ports may be taken here; that they are what is open outside is looked at elsewhere.
    let args = args.iter().map(|arg| match *arg {
        LISTEN => "127.0.0.1:0".to_owned(),
        METRICS => "127.0.0.1:0".to_owned(),
        arg => inside(arg),
    });
    let mut command = Command::new(binary());
    command.arg("--json").args(args);
    user.equip(&mut command);
    for name in ["DATNODE_LISTEN", "DATNODE_PORT"] {
        command.env_remove(name);
    }
    command.env("DATNODE_HOME", inside(home)).env("DATNODE_DISCOVER", "none");
    let node = Node::spawn(command);
    assert!(own.join("home/run").is_dir());
    write(&writer.path("source"), b"note", b"one");
    let sharer = writer.share(&writer.path("source"), &[]);
    fs::write(own.join("keys.txt"), format!("{}\n", sharer.ticket())).unwrap();
    signal(node.child(), "-HUP");
    let drives = || fs::read_dir(own.join("drives")).map_or(0, Iterator::count);
    wait_until(HANGS, "the drive of the list", || drives() == 1);
}

/// What both have it listen on: with an address the port has to be free, which others know.
const LISTEN: &str = "0.0.0.0:3282,[::]:3282";
/// Where figures are told.
const METRICS: &str = "127.0.0.1:3284";

#[test]
fn the_unit_runs_what_the_node_understands_and_lets_it_write() {
    let unit = read("node/contrib/datnode.service");
    assert_eq!(value(&unit, "Documentation"), value(&read("Cargo.toml"), "repository"));
    let (state, folder) = (value(&unit, "StateDirectory"), "/var/lib/datnode");
    assert_eq!(format!("/var/lib/{state}"), folder);
    let words: Vec<&str> = value(&unit, "ExecStart").split(' ').collect();
    let (program, args) = words.split_first().unwrap();
    assert_eq!(*program, "/usr/local/bin/datnode");
    assert!(args.contains(&LISTEN) && args.contains(&METRICS), "{args:?}");
    let home = value(&unit, "Environment").strip_prefix("DATNODE_HOME=").unwrap();
    let mut list = args.iter().skip_while(|arg| **arg != "--from-file");
    assert_eq!(value(&unit, "ExecStartPre"), format!("/usr/bin/touch {}", list.nth(1).unwrap()));
    runs(args, folder, home);
    // What it needs of the system is not taken from it: interfaces are heard of by netlink, and commands ask by sockets of files.
    let families: Vec<&str> = value(&unit, "RestrictAddressFamilies").split(' ').collect();
    for family in ["AF_INET", "AF_INET6", "AF_NETLINK", "AF_UNIX"] {
        assert!(families.contains(&family), "{family}");
    }
    let lines: BTreeMap<&str, &str> =
        unit.lines().filter_map(|line| line.split_once('=')).collect();
    for never in ["PrivateNetwork", "IPAddressDeny", "ReadOnlyPaths", "InaccessiblePaths"] {
        assert!(!lines.contains_key(never), "{never}");
    }
    let files: u64 = value(&unit, "LimitNOFILE").parse().unwrap();
    assert!(files >= 4 * 1_024, "a node has up to 1,024 connections, and up to ten files a drive");
    // Goodbyes take a second at most, and a store is synced.
    assert!(value(&unit, "TimeoutStopSec").parse::<u64>().unwrap() >= 5);
}

#[test]
fn systemd_understands_the_unit() {
    let unit = read("node/contrib/datnode.service");
    let user = User::new();
    // What is to be run has to be there.
    let unit = unit.replace("/usr/local/bin/datnode", binary().to_str().unwrap());
    write(&user.path(""), b"datnode.service", unit.as_bytes());
    let path = user.path("datnode.service");
    match Command::new("systemd-analyze").arg("verify").arg("--man=no").arg(&path).output() {
        Err(error) => eprintln!("skipped: there is no `systemd-analyze`: {error}"),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            // Other units of this computer may have faults of their own.
            let ours: Vec<&str> =
                said.lines().filter(|line| line.contains("datnode.service")).collect();
            assert!(ours.is_empty(), "{ours:?}");
        }
    }
}

#[test]
fn the_container_is_built_of_what_there_is_and_runs_what_the_node_understands() {
    let file = read("node/contrib/Containerfile");
    let lines = |word: &str| {
        let start = format!("{word} ");
        file.lines()
            .filter_map(|line| line.strip_prefix(&start))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let number =
        |text: &str| -> Vec<u32> { text.split('.').map(|part| part.parse().unwrap()).collect() };
    let from = lines("FROM");
    let rust = from[0].split_once("rust:").unwrap().1.split('-').next().unwrap();
    let manifest = read("Cargo.toml");
    assert!(number(rust) >= number(value(&manifest, "rust-version")), "{rust}");
    // Both images are of one release of Debian, whose C library the program is linked with.
    assert!(from[0].contains("-trixie ") && from[1].contains("-debian13:"), "{from:?}");
    let build = lines("RUN").into_iter().find(|line| line.contains("cargo build")).unwrap();
    assert!(build.contains("--locked -p datnode ") && root().join("Cargo.lock").exists());
    assert!(read("node/Cargo.toml").starts_with("[package]\nname = \"datnode\"\n"));
    // Nothing but the binary and an empty list comes out of it, and nothing that was built here goes in.
    let copied = lines("COPY");
    assert_eq!(copied[0], ". /source");
    assert_eq!(copied[1], "--from=build /source/target/release/datnode /usr/local/bin/datnode");
    assert!(build.ends_with("mkdir /data && touch /data/keys.txt"), "{build}");
    assert_eq!(read(".dockerignore").lines().collect::<Vec<_>>(), [".git", "target"]);
    let words = |line: &str| -> Vec<String> { serde_json::from_str(line).unwrap() };
    assert_eq!(words(&lines("ENTRYPOINT")[0]), ["/usr/local/bin/datnode"]);
    let args = words(&lines("CMD")[0]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    assert!(args.contains(&LISTEN), "{args:?}");
    assert_eq!(lines("VOLUME"), ["/data"]);
    let env = &lines("ENV")[0];
    let home = env.split(' ').find_map(|set| set.strip_prefix("DATNODE_HOME=")).unwrap();
    runs(&args, "/data", home);
}
