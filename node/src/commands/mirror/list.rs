//! Which drives are mirrored: what the command line names, and what is in the file of `--from-file`.
//!
//! A line of the file is a link, key, ticket or name; `#` begins a comment. A line that is none of that is told and passed over: one
//! mistyped key must not end the mirrors of all others.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::super::context::read_key;
use crate::address::{self, Address, Places};
use crate::cli::escape;
use crate::dirs::Dirs;
use crate::disk::read_small;
use crate::drives::Drives;
use crate::error::{Code, Error};
use datnode_feed::PublicKey;

/// The longest file that is read: a hundred thousand links have 6 MiB.
const FILE_LEN_MAX: u64 = 16 << 20;
/// How many drives a process mirrors at most: it opens two feeds of each with everybody, and nobody takes more than 1,024 from one.
pub(super) const DRIVES_MAX: usize = 500;

/// The drives that are wanted, each with the places that its tickets name.
pub(super) type Wanted = BTreeMap<PublicKey, Places>;

/// Where it is said which drives are wanted.
#[derive(Debug)]
pub(super) struct List {
    named: Wanted,
    file: Option<PathBuf>,
}

/// What is wanted, and what could not be understood.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) wanted: Wanted,
    pub(super) bad: Vec<Error>,
}

impl List {
    /// Understands what the command line names; that may be nothing if `none_will_do`.
    ///
    /// # Errors
    /// Those of [`Address::parse`], and E-USAGE if nothing is named.
    pub(super) fn new(
        words: &[OsString],
        file: Option<&Path>,
        none_will_do: bool,
    ) -> Result<Self, Error> {
        if words.is_empty() && file.is_none() && !none_will_do {
            return Err(Error::usage("no drive is named")
                .hint("datnode mirror dat1…")
                .hint("datnode mirror --from-file keys.txt   with a link a line"));
        }
        let (mut named, drives) = (Wanted::new(), Drives::of(&Dirs::find()?));
        for word in words {
            let (key, places) = drive(word, &drives)?;
            add(&mut named, key, places);
        }
        Ok(Self { named, file: file.map(Path::to_owned) })
    }

    /// Reads the file, as it is now.
    ///
    /// # Errors
    /// E-IO if the file cannot be read, E-USAGE if there are too many drives.
    pub(super) fn read(&self) -> Result<Read, Error> {
        let (mut wanted, mut bad) = (self.named.clone(), Vec::new());
        if let Some(path) = &self.file {
            let bytes = read_small(path, FILE_LEN_MAX);
            let bytes = bytes.map_err(|error| Error::io("read", path, &error))?;
            let drives = Drives::of(&Dirs::find()?);
            for (number, line) in (1..).zip(bytes.split(|&byte| byte == b'\n')) {
                let Some(word) = word(line) else { continue };
                match drive(OsStr::from_bytes(word), &drives) {
                    Ok((key, places)) => add(&mut wanted, key, places),
                    Err(error) => {
                        let place = format!("line {number} of {}", escape::path(path));
                        bad.push(error.context(format!("{place} is passed over")));
                    }
                }
            }
        }
        if wanted.len() > DRIVES_MAX {
            let message = format!("{} drives are too many for one mirror", wanted.len());
            return Err(Error::usage(message)
                .context(format!("at most {DRIVES_MAX}"))
                .hint("run several, each with a folder and a list of its own"));
        }
        Ok(Read { wanted, bad })
    }
}

/// Wants a drive, which may be named by several tickets.
fn add(wanted: &mut Wanted, key: PublicKey, Places { peers, bootstrap }: Places) {
    let places = wanted.entry(key).or_default();
    places.peers.extend(peers);
    places.bootstrap.extend(bootstrap);
}

/// Returns what a line names, if it is not empty or a comment.
fn word(line: &[u8]) -> Option<&[u8]> {
    let line = line.split(|&byte| byte == b'#').next().unwrap_or_default().trim_ascii();
    (!line.is_empty()).then_some(line)
}

/// Understands the name of a whole drive.
fn drive(word: &OsStr, drives: &Drives) -> Result<(PublicKey, Places), Error> {
    let Address { drive, version, path } = Address::parse(word, Path::new("."), drives)?;
    if version.is_some() || !path.is_empty() {
        return Err(Error::usage("a mirror is of a drive as a whole, not of what is in it"));
    }
    Ok(match drive {
        address::Drive::Key(key) => (key, Places::default()),
        address::Drive::Ticket(ticket) => (ticket.key, ticket.places()),
        address::Drive::Folder(folder) => {
            let key = read_key(&folder)?;
            let none = || Error::new(Code::NotDrive, escape::path(&folder));
            (key.ok_or_else(none)?, Places::default())
        }
    })
}

#[cfg(test)]
mod tests {
    use datnode_feed::SecretKey;
    use libp2p::Multiaddr;

    use super::*;
    use crate::address::{Link, Ticket};

    fn key(seed: u8) -> PublicKey {
        SecretKey::from_bytes([seed; 32]).public()
    }

    fn list(words: &[&str], text: &str) -> (tempfile::TempDir, List) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys.txt");
        std::fs::write(&file, text).unwrap();
        let words: Vec<_> = words.iter().map(Into::into).collect();
        let list = List::new(&words, Some(&file), false).unwrap();
        (folder, list)
    }

    #[test]
    fn lines_are_links_keys_and_tickets_and_comments_are_none() {
        let address: Multiaddr = "/ip4/10.0.0.1/tcp/3282".parse().unwrap();
        let (link, ticket) = (Link(&key(2)), Ticket::new(key(3), vec![address.clone()]));
        let ticket = ticket.with_bootstrap(vec![address.clone()]);
        let hex = address::key::hex(&key(4));
        let text = format!("# all of them\n\n  {link}  # the second\r\n{ticket}\n{hex}\n{link}");
        let (_folder, list) = list(&[&Link(&key(1)).to_string()], &text);
        let Read { wanted, bad } = list.read().unwrap();
        assert!(bad.is_empty(), "{bad:?}");
        let right = [1, 2, 3, 4].map(|seed| (key(seed), Places::default()));
        let mut right: Wanted = right.into_iter().collect();
        right.insert(key(3), Places { peers: vec![address.clone()], bootstrap: vec![address] });
        assert_eq!(wanted, right);
    }

    #[test]
    fn bad_lines_are_named_and_the_others_count() {
        let link = Link(&key(2)).to_string();
        let typo = link.replace(&link[20..21], if &link[20..21] == "q" { "p" } else { "q" });
        let text = format!("{typo}\n{link}\n{link}+3\n{link}/a\nnot-there\n");
        let (folder, list) = list(&[], &text);
        let Read { wanted, bad } = list.read().unwrap();
        assert_eq!(wanted.into_keys().collect::<Vec<_>>(), [key(2)]);
        let lines = [1, 3, 4, 5].map(|line| format!("line {line} of "));
        assert_eq!(bad.len(), lines.len(), "{bad:?}");
        for (error, line) in bad.iter().zip(lines) {
            assert!(error.to_string().contains(&line), "{error}");
        }
        std::fs::remove_file(folder.path().join("keys.txt")).unwrap();
        assert_eq!(list.read().unwrap_err().code(), Code::Io);
    }

    #[test]
    fn there_is_a_limit_to_how_many_one_process_mirrors() {
        let keys = |count: usize| -> String {
            let key = |number: usize| {
                let mut seed = [0; 32];
                seed[..8].copy_from_slice(&number.to_le_bytes());
                address::key::hex(&SecretKey::from_bytes(seed).public()) + "\n"
            };
            (0..count).map(key).collect()
        };
        assert_eq!(list(&[], &keys(DRIVES_MAX)).1.read().unwrap().wanted.len(), DRIVES_MAX);
        let error = list(&[], &keys(DRIVES_MAX + 1)).1.read().unwrap_err();
        assert_eq!(error.code(), Code::Usage);
        assert_eq!(List::new(&[], None, false).unwrap_err().code(), Code::Usage);
        assert!(List::new(&[], None, true).unwrap().read().unwrap().wanted.is_empty());
    }
}
