//! Addresses: which drive, which version of it, which path in it.
//!
//! ```text
//! ADDRESS := DRIVE [ "+" VERSION ] [ "/" PATH ]
//! DRIVE   := KEY | "dat://" KEY | TICKET | NAME | DIR
//! KEY     := dat1… (bech32m, 62) | hex (64) | z-base-32 (52)
//! ```
//!
//! A word that looks like a key is never taken for a folder or a name: a mistyped key is refused at once, naming the place. A word
//! that is a name and a folder of another drive is refused as well. Paths are raw bytes.
//! Elsewhere: key forms (`key`), where a typo is (`typo`), tickets (`ticket`), folders (`folder`), versions (`version`), names
//! (`crate::drives`).

mod folder;
pub mod key;
pub mod ticket;
mod typo;
pub mod version;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use datnode_feed::PublicKey;

use crate::cli::escape;
use crate::drives::{Drives, Known};
use crate::error::{Code, Error};
use crate::origin::Origin;

pub use folder::{STORE_FOLDER, find_drive};
pub use key::Link;
pub use ticket::{Places, Ticket};
pub use version::VersionSpec;

/// The longest address that is looked at; longer ones are refused unread.
const ADDRESS_LEN_MAX: usize = 16 * 1024;

/// A parsed address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The drive.
    pub drive: Drive,
    /// The version after `+`; none means the latest.
    pub version: Option<VersionSpec>,
    /// The path in the drive: components joined by one `/`, empty for the root.
    pub path: Vec<u8>,
}

/// The drive of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Drive {
    /// A public key, found through peers.
    Key(PublicKey),
    /// A key with the addresses of somebody who offers it.
    Ticket(Ticket),
    /// A folder that holds a store.
    Folder(PathBuf),
}

impl Drive {
    /// Returns the public key, unless it still has to be read from a folder.
    pub fn key(&self) -> Option<&PublicKey> {
        match self {
            Self::Key(key) => Some(key),
            Self::Ticket(ticket) => Some(&ticket.key),
            Self::Folder(_) => None,
        }
    }
}

impl Address {
    /// Parses an address; relative folders are looked up below `base`, names among `drives`.
    ///
    /// # Errors
    ///
    /// A bad key or ticket (E-KEY), a secret key (E-SECRETKEY), a folder that does not exist (E-NOTFOUND) or is in no drive
    /// (E-NOTDRIVE), a bad version, a name that is a folder as well (E-USAGE).
    pub fn parse(text: &OsStr, base: &Path, drives: &Drives) -> Result<Self, Error> {
        let bytes = text.as_bytes();
        if bytes.is_empty() {
            return Err(Error::usage("an address is empty")
                .hint("give a key, a ticket, or a folder such as ./flights"));
        }
        if bytes.len() > ADDRESS_LEN_MAX {
            return Err(Error::new(Code::Key, "an address is far too long to be one")
                .context(format!("{} bytes, at most {ADDRESS_LEN_MAX}", bytes.len())));
        }
        if Origin::is_like(bytes) {
            let shown = escape::bytes(bytes);
            return Err(Error::usage("this is where a drive is fetched from, not which one it is")
                .hint(format!("fetch it once:  datnode clone {shown}"))
                .hint(format!("or name both:   DRIVE --from {shown}")));
        }
        let (scheme, rest) = match strip_scheme(bytes) {
            Some(rest) => (true, rest),
            None => (false, bytes),
        };
        if !scheme && matches!(rest.first(), Some(b'.' | b'/' | b'~')) {
            key::refuse_multiaddr(rest)?;
            return folder::parse(rest, base);
        }
        let (word, path) = split_at_byte(rest, b'/');
        let (drive, version) = split_at_byte(word, b'+');
        let drive = match key::parse(drive)? {
            Some(drive) => drive,
            None if scheme => return Err(key::unknown(drive, rest)),
            None => {
                let known = std::str::from_utf8(drive).ok().and_then(|name| drives.find(name));
                match (known, folder::exists(word, base)) {
                    (None, false) => return Err(key::unknown(drive, rest)),
                    (None, true) => return folder::parse(rest, base),
                    (Some(known), false) => of_known(known),
                    (Some(known), true) => return either(&known, rest, base),
                }
            }
        };
        let version = version.map(VersionSpec::parse).transpose()?;
        Ok(Self { drive, version, path: normal(path.unwrap_or_default()) })
    }

    /// Returns the version that a word is which may as well be an address. A number, an id, a time or `latest` is a version; what could be
    /// a tag is one if it is neither a key, nor a name, nor a folder.
    pub fn version_alone(text: &OsStr, base: &Path, drives: &Drives) -> Option<VersionSpec> {
        let bytes = text.as_bytes();
        // A key in hexadecimal.
        if bytes.len() == 64 {
            return None;
        }
        let version = VersionSpec::parse(bytes).ok()?;
        let is_tag = matches!(version, VersionSpec::Tag(_));
        let is_name = || text.to_str().is_some_and(|name| drives.find(name).is_some());
        let is_address =
            is_tag && (key::is_keylike(bytes) || is_name() || folder::exists(bytes, base));
        (!is_address).then_some(version)
    }

    /// Returns the address of the drive around `folder`, with the way from the drive's root to it as path.
    ///
    /// # Errors
    ///
    /// E-NOTDRIVE if neither it nor a folder above is a drive.
    pub fn here(folder: &Path) -> Result<Self, Error> {
        folder::parse(b".", folder)
    }
}

/// Returns a drive that has a name: where it is, if it is there still.
fn of_known(known: Known) -> Drive {
    if known.is_there() { Drive::Folder(known.folder) } else { Drive::Key(known.key) }
}

/// Parses an address that begins with a name and with a folder: both have to be the same drive.
fn either(known: &Known, text: &[u8], base: &Path) -> Result<Address, Error> {
    let (address, name) = (folder::parse(text, base), known.name.as_deref().unwrap_or_default());
    if let Ok(Address { drive: Drive::Folder(folder), .. }) = &address
        && (Known { folder: folder.clone(), ..known.clone() }).is_there()
    {
        return address;
    }
    let name = escape::text(name);
    Err(Error::usage(format!("{name} is the name of a drive and a folder of something else"))
        .hint(format!("for the folder:  ./{name}"))
        .hint(format!("for the drive:   {}", Link(&known.key))))
}

/// Returns what follows `dat://`.
fn strip_scheme(bytes: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = bytes.split_at_checked(6)?;
    scheme.eq_ignore_ascii_case(b"dat://").then_some(rest)
}

/// Splits at the first `byte`, which belongs to neither part.
fn split_at_byte(bytes: &[u8], byte: u8) -> (&[u8], Option<&[u8]>) {
    let mut parts = bytes.splitn(2, |&other| other == byte);
    (parts.next().unwrap_or_default(), parts.next())
}

/// Returns a path without leading, trailing and double slashes.
fn normal(path: &[u8]) -> Vec<u8> {
    let components: Vec<&[u8]> =
        path.split(|&byte| byte == b'/').filter(|component| !component.is_empty()).collect();
    components.join(&b'/')
}
