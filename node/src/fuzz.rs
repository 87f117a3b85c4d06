//! Entry points for fuzzing: bytes in, and whether they were accepted out. No part of the API.
//!
//! What people type and paste, and the small files of a home. Elsewhere: who drives them (`tests/tests/fuzz`, `tests/fuzz`).

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use data_encoding::BASE32_NOPAD;
use datnode_feed::fuzz::Target;
use datnode_feed::{Hash, Head, SecretKey, SignedHead};
use libp2p::Multiaddr;
use libp2p::identity::Keypair;

use crate::address::{Address, Drive, Link, Ticket, VersionSpec, ticket};
use crate::cli::units::{Limit, parse_size};
use crate::cli::{ByteRange, escape};
use crate::dirs::Dirs;
use crate::drives::Drives;
use crate::home;
use crate::origin::Origin;
use crate::published::{Heads, Published};
use crate::swarm;

/// The entry points of this crate.
pub const TARGETS: &[Target] = &[
    Target { name: "address", run: address, seeds: address_seeds },
    Target { name: "command_line", run: command_line, seeds: command_line_seeds },
    Target { name: "dht_answer", run: swarm::fuzz, seeds: swarm::fuzz_seeds },
    Target { name: "heads", run: heads, seeds: heads_seeds },
    Target { name: "home", run: home::fuzz, seeds: home::fuzz_seeds },
    Target { name: "node_key", run: node_key, seeds: node_key_seeds },
    Target { name: "origin", run: origin, seeds: origin_seeds },
    Target { name: "quantity", run: quantity, seeds: quantity_seeds },
    Target { name: "shown", run: shown, seeds: shown_seeds },
    Target { name: "ticket", run: ticket, seeds: ticket_seeds },
];

/// What is published of a drive: what was understood is written as it was.
pub fn heads(input: &[u8]) -> bool {
    // The check stands for no author, so it does not have to be guessed.
    let checked = Heads::checked(input);
    let Ok(heads) = Heads::decode(&checked) else { return false };
    assert_eq!(heads.encode(), checked, "one spelling");
    true
}

fn heads_seeds() -> Vec<Vec<u8>> {
    let secret = SecretKey::from_bytes([1; 32]);
    let head = Head { fork: 0, length: 10, byte_length: 9, root: Hash([7; 32]), ancestor: None };
    let head = SignedHead::sign(head, &secret);
    let feed = Published { key: secret.public(), head, runs: vec![0..3, 5..10] };
    let heads = Heads { key: secret.public(), feeds: vec![feed] };
    let bytes = heads.encode();
    vec![bytes[..bytes.len() - 32].to_vec()]
}

/// An origin: what was understood can be written, and means the same then.
pub fn origin(input: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(input) else { return false };
    let Ok(origin) = text.parse::<Origin>() else { return false };
    let shown = origin.to_string();
    assert_eq!(shown.parse().as_ref(), Ok(&origin), "{shown}");
    assert!(shown.is_ascii() && !shown.contains(['\'', ' ', '\n']), "{shown}");
    true
}

fn origin_seeds() -> Vec<Vec<u8>> {
    ["ssh://me@host:22/srv/a%20b", "ssh://h/~/x", "https://[::1]:8/a/b", "http://host"]
        .map(|text| text.as_bytes().to_vec())
        .into()
}

/// A folder that is nowhere.
const NOWHERE: &str = "/proc/nowhere";
const LINK: &str = "dat1qzk4z7";

/// An address that names no folder of this machine: what was understood can be written, and means the same then.
pub fn address(input: &[u8]) -> bool {
    if matches!(input.first(), Some(b'.' | b'/' | b'~')) {
        return false;
    }
    let drives = Drives::of(&Dirs::all_in(NOWHERE.into()));
    let parse = |text: &[u8]| Address::parse(OsStr::from_bytes(text), Path::new(NOWHERE), &drives);
    let address = match parse(input) {
        Ok(address) => address,
        Err(error) => {
            assert!(!error.message().chars().any(char::is_control), "a message is one line");
            return false;
        }
    };
    let mut text = match &address.drive {
        Drive::Key(key) => Link(key).to_string(),
        Drive::Ticket(ticket) => ticket.to_string(),
        Drive::Folder(folder) => unreachable!("there is no folder {}", folder.display()),
    };
    if let Some(version) = &address.version {
        text.push_str(&format!("+{version}"));
    }
    let mut text = text.into_bytes();
    if !address.path.is_empty() {
        text.push(b'/');
        text.extend_from_slice(&address.path);
    }
    assert_eq!(parse(&text).as_ref().ok(), Some(&address), "it means the same when written");
    true
}

fn address_seeds() -> Vec<Vec<u8>> {
    let key = SecretKey::from_bytes([5; 32]).public();
    let link = Link(&key).to_string();
    let hex = crate::address::key::hex(&key);
    let texts = [
        link.clone(),
        link.to_uppercase(),
        format!("dat://{link}/"),
        format!("{link}+12/data/a.csv"),
        format!("{link}+b3f9c1"),
        format!("{link}+latest//x/"),
        format!("{hex}+@2026-11-01T12:00:00Z/x"),
        example_ticket().to_string(),
    ];
    texts.map(String::into_bytes).to_vec()
}

fn example_ticket() -> Ticket {
    let node = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA";
    let address = |start: &str| -> Multiaddr {
        format!("{start}/p2p/{node}").parse().expect("it is an address")
    };
    let addresses = vec![address("/ip4/127.0.0.1/tcp/4001"), address("/ip6/::1/udp/4001/quic-v1")];
    Ticket::new(SecretKey::from_bytes([5; 32]).public(), addresses)
}

/// The content of a ticket, to which the right checksum is added.
pub fn ticket(input: &[u8]) -> bool {
    let word = ticket::spell(input);
    let Ok(ticket) = Ticket::parse(word.as_bytes()) else { return false };
    assert_eq!(ticket.to_string(), word, "a ticket has one spelling");
    true
}

fn ticket_seeds() -> Vec<Vec<u8>> {
    let word = example_ticket().to_string();
    let body = word.trim_start_matches(ticket::PREFIX).to_ascii_uppercase();
    let mut content = BASE32_NOPAD.decode(body.as_bytes()).expect("a ticket is base32");
    content.truncate(content.len() - 4);
    let mut alone = content.clone();
    alone.truncate(34);
    alone[33] = 0;
    // One that names a node as well that leads into the DHT.
    let mut led = alone.clone();
    led[0] = 3;
    led.extend([0, 1, 8, 4, 127, 0, 0, 1, 6, 0, 1]);
    vec![content, alone, led]
}

/// Versions, byte ranges, sizes and times as people type them.
pub fn quantity(input: &[u8]) -> bool {
    if let Ok(version) = VersionSpec::parse(input) {
        let again = VersionSpec::parse(version.to_string().as_bytes());
        assert_eq!(again.ok(), Some(version), "a version means the same when written");
        return true;
    }
    let Ok(text) = std::str::from_utf8(input) else { return false };
    if let Ok(range) = text.parse::<ByteRange>() {
        for size in [0, 1, 1_000, u64::MAX] {
            let bytes = range.within(size);
            assert!(bytes.is_none_or(|bytes| bytes.start < bytes.end && bytes.end <= size));
        }
        return true;
    }
    let limit = text.parse::<Limit>().map(|limit| limit.to_string());
    limit.is_ok() | parse_size(text).is_ok()
}

fn quantity_seeds() -> Vec<Vec<u8>> {
    let texts = ["1042", "b3f9c1", "@2026-11-01T12:00", "0-499", "-5", "9-", "1h30m", "64KiB"];
    texts.map(Vec::from).to_vec()
}

/// A command line, its words separated by zero bytes.
pub fn command_line(input: &[u8]) -> bool {
    let words = input.split(|&byte| byte == 0).map(|word| OsStr::from_bytes(word).to_owned());
    crate::cli::parse([OsString::from("datnode")].into_iter().chain(words)).is_ok()
}

fn command_line_seeds() -> Vec<Vec<u8>> {
    let lines = [
        "clone\0dat1x\0folder\0--peer\0/ip4/127.0.0.1/tcp/1",
        "share\0.\0--once\0--json",
        "cat\0dat1x/file\0--range\x000-9",
        "log\0.\0--timeout\x0030s\0-v",
    ];
    let accepted = |line: &&str| command_line(line.as_bytes());
    lines.into_iter().filter(accepted).map(Vec::from).collect()
}

/// A name as a terminal sees it, alone and in JSON.
pub fn shown(input: &[u8]) -> bool {
    let shown = escape::bytes(input);
    assert!(!shown.chars().any(char::is_control), "nothing that moves the cursor is shown");
    let text = String::from_utf8_lossy(input);
    let json = serde_json::to_string(&text).expect("text is JSON");
    let escaped = escape::json(&json);
    assert!(!escaped.chars().any(char::is_control));
    let back: Option<String> = serde_json::from_str(&escaped).ok();
    assert_eq!(back.as_deref(), Some(&*text), "the value stays the same");
    shown.as_bytes() == input
}

fn shown_seeds() -> Vec<Vec<u8>> {
    vec!["größe 日本 ☂\u{fe0f}.txt".into(), b"plain.txt".to_vec(), LINK.into()]
}

/// The file of a node's key.
pub fn node_key(input: &[u8]) -> bool {
    let Ok(pair) = Keypair::from_protobuf_encoding(input) else { return false };
    let encoded = pair.to_protobuf_encoding().expect("what was decoded can be encoded");
    let again = Keypair::from_protobuf_encoding(&encoded).expect("it was just made");
    assert_eq!(again.public(), pair.public(), "a key comes back");
    true
}

fn node_key_seeds() -> Vec<Vec<u8>> {
    let pair = Keypair::ed25519_from_bytes([7; 32]).expect("a seed makes a key");
    vec![pair.to_protobuf_encoding().expect("a new key can be encoded")]
}
