//! The front door: what people type, and what they are told.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use datnode::address::{Address, Drive, Link, Ticket, VersionSpec, find_drive, key};
use datnode::dirs::Dirs;
use datnode::drives::Drives;
use datnode::error::{Code, Error};
use datnode_drive::TagName;
use datnode_feed::{PublicKey, SecretKey};

fn public(number: u8) -> PublicKey {
    SecretKey::from_bytes([number; 32]).public()
}

fn parse(text: impl AsRef<OsStr>, base: &Path) -> Result<Address, Error> {
    Address::parse(text.as_ref(), base, &drives())
}

/// A user who has no drives.
fn drives() -> Drives {
    Drives::of(&Dirs::all_in("/proc/nowhere".into()))
}

/// A folder with a drive `flights`, one in it, one with a `+` in its name, and a folder that is none.
fn folders() -> tempfile::TempDir {
    let base = tempfile::tempdir().unwrap();
    for drive in ["flights", "flights/inner", "a+b"] {
        fs::create_dir_all(base.path().join(drive).join(".dat")).unwrap();
    }
    fs::create_dir_all(base.path().join("flights/data")).unwrap();
    fs::create_dir_all(base.path().join("plain/below")).unwrap();
    base
}

fn z_base_32(key: &PublicKey) -> String {
    let mut specification = data_encoding::Specification::new();
    specification.symbols.push_str("ybndrfg8ejkmcpqxot1uwisza345h769");
    specification.encoding().unwrap().encode(key.as_bytes())
}

#[test]
fn every_form_of_a_key_names_the_same_drive() {
    let base = tempfile::tempdir().unwrap();
    for number in 0..50 {
        let key = public(number);
        let link = Link(&key).to_string();
        assert_eq!(link.len(), key::LINK_LEN);
        let ticket = Ticket::new(key, vec!["/ip4/127.0.0.1/tcp/1".parse().unwrap()]);
        for form in [
            link.clone(),
            link.to_uppercase(),
            key::hex(&key),
            key::hex(&key).to_uppercase(),
            z_base_32(&key),
            format!("dat://{link}"),
            format!("DAT://{}", key::hex(&key)),
            ticket.to_string(),
            ticket.to_string().to_uppercase(),
        ] {
            let address = parse(&form, base.path()).unwrap();
            assert_eq!(address.drive.key(), Some(&key), "{form}");
            assert_eq!((address.version, address.path), (None, Vec::new()), "{form}");
        }
    }
}

#[test]
fn addresses_mean_what_the_table_says() {
    let base = folders();
    let key = public(1);
    let (link, hex) = (Link(&key).to_string(), key::hex(&key));
    let ticket = Ticket::new(key, Vec::new()).to_string();
    let remote = [link.clone(), hex.clone(), ticket, format!("dat://{hex}")];
    let (latest, id) = (VersionSpec::Latest, VersionSpec::Id("b3f9c1".to_owned()));
    let tag = VersionSpec::Tag(TagName::from_bytes(b"v1.0").unwrap());
    let endings: &[(&str, Option<VersionSpec>, &str)] = &[
        ("", None, ""),
        ("/", None, ""),
        ("/a.csv", None, "a.csv"),
        ("/data/a.csv", None, "data/a.csv"),
        ("//data//a.csv/", None, "data/a.csv"),
        ("+1042", Some(VersionSpec::Number(1042)), ""),
        ("+1042/data/a.csv", Some(VersionSpec::Number(1042)), "data/a.csv"),
        ("+b3f9c1/x", Some(id.clone()), "x"),
        ("+latest/x", Some(latest.clone()), "x"),
        ("+v1.0", Some(tag.clone()), ""),
        ("+v1.0/data/a.csv", Some(tag.clone()), "data/a.csv"),
        ("/a+b", None, "a+b"),
        ("/x+12/y", None, "x+12/y"),
        ("/ spaced name ", None, " spaced name "),
        ("/line\nbreak", None, "line\nbreak"),
        ("/größe", None, "größe"),
    ];
    for drive in &remote {
        for (ending, version, path) in endings {
            let text = format!("{drive}{ending}");
            let address = parse(&text, base.path()).unwrap();
            assert_eq!(address.drive.key(), Some(&key), "{text}");
            assert_eq!(address.version, *version, "{text}");
            assert_eq!(address.path, path.as_bytes(), "{text}");
        }
    }
    let number = VersionSpec::Number;
    let local: &[(&str, &str, Option<VersionSpec>, &str)] = &[
        ("./flights", "flights", None, ""),
        ("flights", "flights", None, ""),
        ("flights/", "flights", None, ""),
        ("./flights/data/a.csv", "flights", None, "data/a.csv"),
        ("flights/data/not/there", "flights", None, "data/not/there"),
        ("./flights/inner/x", "flights/inner", None, "x"),
        ("./flights+7", "flights", Some(number(7)), ""),
        ("flights+7/data", "flights", Some(number(7)), "data"),
        ("./flights+b3f9c1/x", "flights", Some(id), "x"),
        ("./flights+latest", "flights", Some(latest), ""),
        ("./flights+v1.0/x", "flights", Some(tag.clone()), "x"),
        ("./a+b+v1.0", "a+b", Some(tag), ""),
        ("./flights/inner+3/x", "flights/inner", Some(number(3)), "x"),
        ("./flights/data/a+b", "flights", None, "data/a+b"),
        ("./a+b", "a+b", None, ""),
        ("a+b", "a+b", None, ""),
        ("./a+b+5/x", "a+b", Some(number(5)), "x"),
        ("./plain/../flights/data", "plain/../flights", None, "data"),
    ];
    for (text, folder, version, path) in local {
        let address = parse(text, base.path()).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(address.drive, Drive::Folder(base.path().join(folder)), "{text}");
        assert_eq!(address.version, *version, "{text}");
        assert_eq!(address.path, path.as_bytes(), "{text}");
    }
}

#[test]
fn a_word_is_a_version_unless_it_is_an_address_as_well() {
    let base = folders();
    let key = public(1);
    let is_version =
        |word: &str| Address::version_alone(OsStr::new(word), base.path(), &drives()).is_some();
    for word in ["1042", "b3f9c1", "latest", "@2026-11-01", "v1.0", "data"] {
        assert!(is_version(word), "{word}");
    }
    let (link, ticket) = (Link(&key).to_string(), Ticket::new(key, Vec::new()).to_string());
    let typo = link.replace("dat1", "dat0");
    for word in [
        "flights",
        "flights+v1.0",
        "./flights",
        "a+b",
        "a b",
        "",
        &link,
        &ticket,
        &key::hex(&key),
        &typo,
    ] {
        assert!(!is_version(word), "{word}");
    }
}

#[test]
fn paths_are_raw_bytes() {
    let base = folders();
    let link = Link(&public(1)).to_string();
    let text = [link.as_bytes(), b"/\xff\xfe/x"].concat();
    assert_eq!(parse(OsStr::from_bytes(&text), base.path()).unwrap().path, b"\xff\xfe/x");
    let address = parse(OsStr::from_bytes(b"./flights/\xff"), base.path()).unwrap();
    assert_eq!(address.path, b"\xff");
}

#[test]
fn what_is_no_address_is_refused_with_its_reason() {
    let base = folders();
    let key = public(1);
    let (link, hex) = (Link(&key).to_string(), key::hex(&key));
    let table: &[(String, Code, &str)] = &[
        (String::new(), Code::Usage, "empty"),
        ("nosuch".into(), Code::Key, "nosuch"),
        ("nosuch/file".into(), Code::Key, "nosuch"),
        ("./nosuch".into(), Code::NotFound, "./nosuch"),
        ("./plain".into(), Code::NotDrive, "plain"),
        ("plain/below".into(), Code::NotDrive, "below"),
        ("./flights/../plain".into(), Code::NotDrive, "plain"),
        ("./flights+so@n".into(), Code::Usage, "so@n"),
        (format!("{link}+so@n"), Code::Usage, "so@n"),
        (format!("{link}+abc"), Code::Usage, "6 digits"),
        (format!("{link}+"), Code::Usage, "no version"),
        ("dat1".into(), Code::Key, "4 characters"),
        ("dat1abc".into(), Code::Key, "7 characters"),
        (link[..40].into(), Code::Key, "40 characters"),
        ("datticket".into(), Code::Key, "ticket"),
        ("datticketabcdef".into(), Code::Key, "ticket"),
        ("datsec1qqqqqqqqqqqqqq".into(), Code::SecretKey, "SECRET"),
        ("DATSEC1QQQQQQ".into(), Code::SecretKey, "SECRET"),
        (format!("{hex}{hex}"), Code::SecretKey, "SECRET"),
        (hex[..63].into(), Code::Key, "63 characters instead of 64"),
        (format!("{hex}0"), Code::Key, "65 characters instead of 64"),
        (format!("{}g{}", &hex[..20], &hex[21..]), Code::Key, "near character 21"),
        (z_base_32(&key)[..51].into(), Code::Key, "51 characters instead of 52"),
        ("/ip4/1.2.3.4/tcp/3282".into(), Code::Key, "address of a node"),
        ("12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA".into(), Code::Key, "id of a node"),
        ("magnet:?xt=urn:btih:abc".into(), Code::Key, "BitTorrent"),
        ("https://example.org/x".into(), Code::Usage, "where a drive is fetched from"),
        ("hyper://abc".into(), Code::Key, "hyperdrive"),
        ("QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG".into(), Code::Key, "IPFS"),
        ("dat://".into(), Code::Key, "no key"),
        ("dat://flights".into(), Code::Key, "no key"),
        ("f".repeat(64), Code::Key, "no key of a drive"),
        ("x".repeat(100_000), Code::Key, "too long"),
    ];
    for (text, code, part) in table {
        let error = parse(text, base.path()).expect_err(text);
        assert_eq!(error.code(), *code, "{text}: {error}");
        assert!(error.message().contains(part), "{text}: {error}");
        assert!(!error.hints().is_empty() || *code == Code::Key, "{text}: {error}");
    }
}

#[test]
fn a_long_word_is_not_repeated_as_it_may_be_secret() {
    let base = folders();
    let word = "nsec1vl029mgpspedva04g90vltkh6fvh240zqtv9k0t9af8935ke9laqsnlfe5";
    for text in [word.to_owned(), format!("x{word}"), "datsec1".to_owned() + word] {
        let shown = parse(&text, base.path()).unwrap_err().to_string();
        assert!(!shown.contains(&text[10..20]), "{shown}");
    }
}

/// The place a mistyped key's error names, counted from 1.
fn place(error: &Error) -> Option<usize> {
    error.to_json()["character"].as_u64().and_then(|place| usize::try_from(place).ok())
}

#[test]
fn every_wrong_character_of_a_link_is_named() {
    let base = tempfile::tempdir().unwrap();
    let others = b"qpzry9x8gf2tvdw0s3jn54khce6mua7lbio1-Q";
    for number in 0..20 {
        let link = Link(&public(number)).to_string().into_bytes();
        for at in 0..link.len() {
            let other = |&(turn, other): &(usize, &u8)| {
                // Every other character for the first link, and each time another one for the rest.
                *other != link[at]
                    && (number == 0 || (turn + at + usize::from(number)).is_multiple_of(19))
            };
            for (_, &other) in others.iter().enumerate().filter(other) {
                let mut typo = link.clone();
                typo[at] = other;
                let error = parse(OsStr::from_bytes(&typo), base.path()).unwrap_err();
                assert_eq!(error.code(), Code::Key, "{error}");
                assert_eq!(place(&error), Some(at + 1), "{} {error}", typo.escape_ascii());
            }
        }
    }
}

/// Some of these make the decoder of `bech32` panic that would locate them.
#[test]
fn links_with_many_wrong_characters_are_refused() {
    let base = tempfile::tempdir().unwrap();
    let chars = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    for number in 0..20 {
        let link = Link(&public(number)).to_string().into_bytes();
        for step in 1..20_usize {
            let mut typo = link.clone();
            for (turn, at) in (4..link.len()).step_by(step).enumerate().take(step + 1) {
                let place = chars.iter().position(|&char| char == link[at]).unwrap();
                typo[at] = chars[(place + 1 + turn * step % 31) % chars.len()];
            }
            let error = parse(OsStr::from_bytes(&typo), base.path()).unwrap_err();
            assert_eq!(
                error.message(),
                "this key has more than one typo",
                "{}",
                typo.escape_ascii()
            );
        }
    }
}

#[test]
fn missing_doubled_and_swapped_characters_are_named() {
    let base = tempfile::tempdir().unwrap();
    for number in 0..2 {
        let link = Link(&public(number)).to_string().into_bytes();
        for at in 0..link.len() {
            let mut shorter = link.clone();
            shorter.remove(at);
            let mut longer = link.clone();
            longer.insert(at, b'q');
            let mut swapped = link.clone();
            swapped.swap(at, (at + 1).min(link.len() - 1));
            for typo in [shorter, longer, swapped] {
                if typo == link {
                    continue;
                }
                let error = parse(OsStr::from_bytes(&typo), base.path()).unwrap_err();
                assert_eq!(error.code(), Code::Key, "{error}");
                let shown = typo.escape_ascii();
                // In a run of equal characters any of them may be the one.
                assert!(
                    place(&error).is_some_and(|place| place.abs_diff(at + 1) <= 4),
                    "{at} {shown} {error}"
                );
            }
        }
    }
}

#[test]
fn a_typo_reads_as_documented() {
    let base = tempfile::tempdir().unwrap();
    let mut link = Link(&public(1)).to_string();
    let other = if &link[16..17] == "q" { "p" } else { "q" };
    link.replace_range(16..17, other);
    let error = parse(&link, base.path()).unwrap_err();
    let near = &link[14..18];
    assert_eq!(error.message(), format!("this key has a typo near character 17 (\"…{near}…\")"));
    assert_eq!(error.exit(), 2);
}

#[test]
fn a_drive_is_found_from_the_folders_in_it() {
    let base = folders();
    let here = |folder: &str| Address::here(&base.path().join(folder)).unwrap();
    assert_eq!(here("flights").drive, Drive::Folder(base.path().join("flights")));
    assert_eq!(here("flights/data").drive, Drive::Folder(base.path().join("flights")));
    assert_eq!(here("flights/data").path, b"data");
    assert_eq!(find_drive(&base.path().join("flights/data")).unwrap(), base.path().join("flights"));
    // What could be a tag is none where it is the name of a folder.
    assert_eq!(
        parse("flights+old/a", base.path()).unwrap().version,
        Some(VersionSpec::parse(b"old").unwrap())
    );
    fs::create_dir(base.path().join("flights+old")).unwrap();
    assert_eq!(find_drive(&base.path().join("flights+old")).unwrap_err().exit(), 10);
    assert_eq!(find_drive(&base.path().join("plain")).unwrap_err().exit(), 10);
    assert_eq!(find_drive(&base.path().join("nosuch")).unwrap_err().exit(), 4);
}

#[test]
fn every_code_has_its_exit_code_and_a_page() {
    let table = [
        ("E-USAGE", 2),
        ("E-KEY", 2),
        ("E-SECRETKEY", 2),
        ("E-NOPEERS", 5),
        ("E-NODATA", 5),
        ("E-TIMEOUT", 5),
        ("E-VERIFY", 6),
        ("E-NOTFOUND", 4),
        ("E-NOTDRIVE", 10),
        ("E-READONLY", 8),
        ("E-LOCKED", 9),
        ("E-DIRTY", 7),
        ("E-CONFLICT", 7),
        ("E-DUPKEY", 1),
        ("E-SCHEMA", 1),
        ("E-SPACE", 11),
        ("E-PORT", 1),
        ("E-CHANGED", 3),
        ("E-PARTIAL", 3),
        ("E-PATH", 3),
        ("E-VERSION", 1),
        ("E-FORMAT", 1),
        ("E-IO", 1),
        ("E-DIFFERS", 1),
        ("E-INTERRUPTED", 130),
        ("E-PIPE", 0),
    ];
    let actual: Vec<(&str, u8)> = Code::ALL.iter().map(|code| (code.name(), code.exit())).collect();
    assert_eq!(actual, table);
    for code in Code::ALL {
        assert!(code.explanation().len() > 20, "{code} has no page");
        assert_eq!(Code::from_name(code.name()), Some(*code));
    }
}
