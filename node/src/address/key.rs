//! The forms of a drive's public key, and what people mistake for one.

use std::fmt;
use std::str;

use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32m, Hrp};
use data_encoding::{Encoding, HEXLOWER_PERMISSIVE, Specification};
use datnode_feed::PublicKey;
use libp2p::Multiaddr;

use super::{Drive, Ticket, ticket, typo};
use crate::cli::escape;
use crate::error::{Code, Error};

/// What every link begins with.
pub const LINK_PREFIX: &str = "dat1";
/// How many characters a link has.
pub const LINK_LEN: usize = 62;
/// What a printed secret key begins with; never accepted where a public key belongs.
pub const SECRET_PREFIX: &str = "datsec1";

const HEX_LEN: usize = 64;
const Z32_LEN: usize = 52;

/// A drive's public key as people see it: `dat1…`, 62 characters.
#[derive(Clone, Copy, Debug)]
pub struct Link<'a>(pub &'a PublicKey);

impl Link<'_> {
    /// Returns the first and last characters, for tables: `dat1qzk4…9x4l`.
    pub fn short(&self) -> String {
        let link = self.to_string();
        format!("{}…{}", &link[..8], &link[LINK_LEN - 4..])
    }
}

impl fmt::Display for Link<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&encode(self.0.as_bytes()))
    }
}

/// Returns the key in hexadecimal, for JSON.
pub fn hex(key: &PublicKey) -> String {
    data_encoding::HEXLOWER.encode(key.as_bytes())
}

/// Parses a key or ticket; `None` if the word resembles neither, so that it may be a folder.
pub(super) fn parse(word: &[u8]) -> Result<Option<Drive>, Error> {
    let lower = word.to_ascii_lowercase();
    if lower.starts_with(b"datsec1") {
        return Err(secret());
    }
    if lower.starts_with(ticket::PREFIX.as_bytes()) {
        return Ticket::parse(word).map(|ticket| Some(Drive::Ticket(ticket)));
    }
    if lower.starts_with(LINK_PREFIX.as_bytes()) {
        return link(word).map(|key| Some(Drive::Key(key)));
    }
    let Ok(lower) = str::from_utf8(&lower) else { return Ok(None) };
    if let Some(bytes) = decode_plain(lower) {
        return public(bytes).map(|key| Some(Drive::Key(key)));
    }
    match typo::in_prefix(lower) {
        Some(place) => Err(mistyped(word, place)),
        None => Ok(None),
    }
}

/// Tells whether a word is a key or a ticket.
///
/// # Errors
/// E-KEY for one with a typo, E-SECRETKEY for a secret one.
pub(crate) fn is_key(word: &[u8]) -> Result<bool, Error> {
    parse(word).map(|drive| drive.is_some())
}

/// Tells whether a word resembles a key, so that it is never taken for something else.
pub(crate) fn is_keylike(word: &[u8]) -> bool {
    !matches!(parse(word), Ok(None))
}

/// Says what a word is that is neither a key nor a folder.
///
/// A long word is shown only by its beginning: it may be a secret.
pub(super) fn unknown(word: &[u8], whole: &[u8]) -> Error {
    if let Some(error) = kin(word, whole) {
        return error;
    }
    let shown = match word.get(..9) {
        Some(start) if word.len() > 32 => format!("{}…", escape::bytes(start)),
        _ => escape::bytes(word),
    };
    Error::new(Code::Key, format!("\"{shown}\" is no key, link, ticket, name or folder"))
        .hint("a link begins with dat1 and has 62 characters; a ticket begins with datticket")
        .hint("for a folder, check its name; ./NAME is always a folder")
}

/// Refuses the address of a node where a drive belongs.
pub(super) fn refuse_multiaddr(text: &[u8]) -> Result<(), Error> {
    let starts = [&b"/ip4/"[..], b"/ip6/", b"/dns/", b"/dns4/", b"/dns6/", b"/dnsaddr/", b"/p2p/"];
    let is_multiaddr = starts.iter().any(|start| text.starts_with(start))
        && str::from_utf8(text).is_ok_and(|text| text.parse::<Multiaddr>().is_ok());
    if is_multiaddr {
        return Err(Error::new(Code::Key, "this is the address of a node, not of a drive")
            .hint("give the drive's key, and the address with --peer"));
    }
    Ok(())
}

fn link(word: &[u8]) -> Result<PublicKey, Error> {
    match decode(word) {
        Some(bytes) => public(bytes),
        None => match typo::in_link(word) {
            Some(place) => Err(mistyped(word, place)),
            None => Err(unclear(word)),
        },
    }
}

/// A key whose only fault is at `place`.
fn mistyped(word: &[u8], place: usize) -> Error {
    let from = place.saturating_sub(2).min(word.len().saturating_sub(4));
    let near = word.get(from..(from + 4).min(word.len())).unwrap_or_default();
    let error = Error::new(
        Code::Key,
        format!("this key has a typo near character {} (\"…{}…\")", place + 1, escape::bytes(near)),
    );
    length_line(error, word.len())
        .hint("copy the key again from where it comes from")
        .field("character", place + 1)
}

/// A key with more faults than can be located.
fn unclear(word: &[u8]) -> Error {
    let error = if word.len() == LINK_LEN {
        Error::new(Code::Key, "this key has more than one typo")
    } else {
        Error::new(
            Code::Key,
            format!("this key has {} characters, but a key has {LINK_LEN}", word.len()),
        )
    };
    error
        .hint("copy the key again from where it comes from")
        .hint("for a folder whose name begins so, write ./ before it")
}

fn length_line(error: Error, len: usize) -> Error {
    if len == LINK_LEN {
        return error;
    }
    error.context(format!("it has {len} characters, but a key has {LINK_LEN}"))
}

fn secret() -> Error {
    Error::new(Code::SecretKey, "this is a SECRET key, do not share it")
        .hint("give the public key (dat1…); whoever has the secret key can change the drive")
}

/// Returns the key in a link, if every character is right.
pub(super) fn decode(word: &[u8]) -> Option<[u8; 32]> {
    let text = str::from_utf8(word).ok()?;
    let checked = CheckedHrpstring::new::<Bech32m>(text).ok()?;
    if checked.hrp() != hrp() {
        return None;
    }
    let bytes: Vec<u8> = checked.byte_iter().collect();
    let bytes: [u8; 32] = bytes.try_into().ok()?;
    // Only one spelling of a key is right: the unused last bits are zero.
    (encode(&bytes) == text.to_ascii_lowercase()).then_some(bytes)
}

fn encode(bytes: &[u8; 32]) -> String {
    bech32::encode_lower::<Bech32m>(hrp(), bytes).expect("32 bytes fit a bech32m string")
}

fn hrp() -> Hrp {
    Hrp::parse_unchecked("dat")
}

/// Returns the key of the forms without a checksum: hexadecimal and z-base-32.
fn decode_plain(lower: &str) -> Option<[u8; 32]> {
    let bytes = match lower.len() {
        HEX_LEN => HEXLOWER_PERMISSIVE.decode(lower.as_bytes()).ok()?,
        Z32_LEN => z_base_32().decode(lower.as_bytes()).ok()?,
        _ => return None,
    };
    bytes.try_into().ok()
}

fn z_base_32() -> Encoding {
    let mut specification = Specification::new();
    specification.symbols.push_str("ybndrfg8ejkmcpqxot1uwisza345h769");
    specification.encoding().expect("32 distinct symbols make an encoding")
}

fn public(bytes: [u8; 32]) -> Result<PublicKey, Error> {
    PublicKey::from_bytes(bytes).map_err(|_| {
        Error::new(Code::Key, "this is no key of a drive: no secret key belongs to it")
            .hint("copy the key again from where it comes from")
    })
}

/// Names a word that belongs to another system, or is a key of the wrong length.
fn kin(word: &[u8], whole: &[u8]) -> Option<Error> {
    let text = str::from_utf8(word).ok()?;
    let lower = text.to_ascii_lowercase();
    if lower.starts_with("nsec1") || lower.starts_with("age-secret-key-") {
        return Some(secret());
    }
    if let Some(kind) = foreign(text, &lower, whole) {
        return Some(
            Error::new(Code::Key, format!("this is {kind}, not the key of a drive"))
                .hint("the key of a drive begins with dat1 (or is 64 hexadecimal digits)"),
        );
    }
    let wrong = lower.bytes().filter(|byte| !byte.is_ascii_hexdigit()).count();
    if wrong == 0 && lower.len() == 2 * HEX_LEN {
        return Some(secret());
    }
    if wrong == 0 && (32..2 * HEX_LEN).contains(&lower.len()) {
        return Some(wrong_length("hexadecimal", lower.len(), HEX_LEN));
    }
    if lower.len() == HEX_LEN && wrong <= 2 {
        let place = lower.bytes().position(|byte| !byte.is_ascii_hexdigit())?;
        return Some(mistyped_plain(word, place, "hexadecimal"));
    }
    let alien = |byte: u8| !b"ybndrfg8ejkmcpqxot1uwisza345h769".contains(&byte);
    let wrong = lower.bytes().filter(|&byte| alien(byte)).count();
    if wrong == 0 && (Z32_LEN - 3..Z32_LEN + 4).contains(&lower.len()) {
        return Some(wrong_length("z-base-32", lower.len(), Z32_LEN));
    }
    if lower.len() == Z32_LEN && wrong <= 2 {
        let place = lower.bytes().position(alien)?;
        return Some(mistyped_plain(word, place, "z-base-32"));
    }
    None
}

fn wrong_length(form: &str, len: usize, right: usize) -> Error {
    let error = if len == right {
        format!("this looks like a {form} key, but its last character is impossible")
    } else {
        format!("this looks like a {form} key, but has {len} characters instead of {right}")
    };
    Error::new(Code::Key, error).hint("copy the key again from where it comes from")
}

fn mistyped_plain(word: &[u8], place: usize, form: &str) -> Error {
    let from = place.saturating_sub(2);
    let near = word.get(from..(from + 4).min(word.len())).unwrap_or_default();
    Error::new(
        Code::Key,
        format!(
            "this {form} key has a typo near character {} (\"…{}…\")",
            place + 1,
            escape::bytes(near)
        ),
    )
    .hint("copy the key again from where it comes from")
    .field("character", place + 1)
}

fn foreign(text: &str, lower: &str, whole: &[u8]) -> Option<&'static str> {
    let whole_starts = |start: &str| {
        whole.get(..start.len()).is_some_and(|s| s.eq_ignore_ascii_case(start.as_bytes()))
    };
    let kinds: [(bool, &str); 9] = [
        (text.starts_with("12D3Koo"), "the id of a node"),
        (text.starts_with("Qm") && text.len() == 46, "an IPFS address"),
        (lower.starts_with("bafy") || lower.starts_with("bafk"), "an IPFS address"),
        (lower.starts_with("magnet:"), "a BitTorrent link"),
        (whole_starts("http://") || whole_starts("https://"), "a web address"),
        (whole_starts("hyper://"), "the key of a hyperdrive"),
        (whole_starts("ipfs://") || whole_starts("ipns://"), "an IPFS address"),
        (lower.starts_with("npub1"), "a Nostr key"),
        (lower.starts_with("age1") && lower.len() > 32, "an age key"),
    ];
    kinds.into_iter().find_map(|(fits, kind)| fits.then_some(kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::typo::CHARSET;

    /// Every other character in each place of a thousand links; of some, one more in each place, and one less.
    #[test]
    fn no_link_with_one_mistake_is_a_link() {
        let refuse = |typo: &[u8], link: &[u8]| {
            assert!(typo == link || decode(typo).is_none(), "{}", typo.escape_ascii());
        };
        for number in 0..1_000_u32 {
            let link = encode(blake3::hash(&number.to_le_bytes()).as_bytes()).into_bytes();
            assert!(decode(&link).is_some());
            for at in LINK_PREFIX.len()..link.len() {
                let mut typo = link.clone();
                for other in CHARSET {
                    typo[at] = *other;
                    refuse(&typo, &link);
                }
                typo.remove(at);
                refuse(&typo, &link);
                typo = link.clone();
                typo.insert(at, 0);
                for other in CHARSET.iter().filter(|_| number < 50) {
                    typo[at] = *other;
                    refuse(&typo, &link);
                }
            }
        }
    }
}
