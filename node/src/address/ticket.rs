//! Tickets: a drive's key together with where to find it, as one word without punctuation.
//!
//! ```text
//! datticket + base32 (lowercase, no padding) of:
//!   version u8 = 1 | key 32 | addresses (count, then each a byte string) | checksum 4
//! ```

use std::fmt;

use data_encoding::{BASE32_NOPAD, BASE32_NOPAD_NOCASE};
use datnode_feed::PublicKey;
use datnode_feed::codec::{Reader, Writer};
use libp2p::Multiaddr;

use crate::error::{Code, Error};

/// What every ticket begins with.
pub const PREFIX: &str = "datticket";

const VERSION: u8 = 1;
const CHECK: &str = "datnode 2026 ticket v1";
const CHECK_LEN: usize = 4;
/// A ticket is pasted into chats: sixteen addresses are plenty.
const ADDRESSES_MAX: usize = 16;
const ADDRESS_BYTES_MAX: usize = 256;

/// A key with addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The drive's key.
    pub key: PublicKey,
    /// Where somebody serves it, each ending in `/p2p/…`.
    pub addresses: Vec<Multiaddr>,
}

impl Ticket {
    /// Makes a ticket; addresses over the limit are left out.
    pub fn new(key: PublicKey, addresses: Vec<Multiaddr>) -> Self {
        let addresses = addresses.into_iter().take(ADDRESSES_MAX).collect();
        Self { key, addresses }
    }

    /// Reads a ticket.
    ///
    /// # Errors
    /// E-KEY for anything that is not one whole ticket.
    pub fn parse(word: &[u8]) -> Result<Self, Error> {
        let bad = |why: &str| {
            Error::new(Code::Key, format!("this ticket {why}")).hint("copy the whole word again")
        };
        let body = word.get(PREFIX.len()..).unwrap_or_default();
        let bytes = BASE32_NOPAD_NOCASE.decode(body).map_err(|_| bad("is cut off or mistyped"))?;
        let split = bytes.len().checked_sub(CHECK_LEN).ok_or_else(|| bad("is cut off"))?;
        let (content, check) = bytes.split_at(split);
        if checksum(content) != check {
            return Err(bad("is cut off or mistyped"));
        }
        let mut reader = Reader::new(content);
        match reader.u8() {
            Ok(VERSION) => {}
            _ => return Err(bad("was made by a newer datnode")),
        }
        read(&mut reader).ok_or_else(|| bad("does not make sense"))
    }
}

fn read(reader: &mut Reader<'_>) -> Option<Ticket> {
    let key = PublicKey::from_bytes(reader.array().ok()?).ok()?;
    let count =
        usize::try_from(reader.varint().ok()?).ok().filter(|&count| count <= ADDRESSES_MAX)?;
    let address = |_| Multiaddr::try_from(reader.bytes(ADDRESS_BYTES_MAX).ok()?.to_vec()).ok();
    let addresses = (0..count).map(address).collect::<Option<Vec<_>>>()?;
    reader.is_empty().then_some(Ticket { key, addresses })
}

fn checksum(content: &[u8]) -> [u8; CHECK_LEN] {
    *blake3::derive_key(CHECK, content).first_chunk().expect("a hash has 32 bytes")
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut writer = Writer::new();
        writer.u8(VERSION).raw(self.key.as_bytes()).varint(self.addresses.len() as u64);
        for address in &self.addresses {
            writer.bytes(&address.to_vec());
        }
        let content = writer.into_vec();
        let check = checksum(&content);
        let text = BASE32_NOPAD.encode(&[&content[..], &check].concat()).to_ascii_lowercase();
        write!(f, "{PREFIX}{text}")
    }
}

#[cfg(test)]
mod tests {
    use datnode_feed::SecretKey;

    use super::*;

    #[test]
    fn a_ticket_survives_and_a_typo_does_not() {
        let key = SecretKey::from_bytes([5; 32]).public();
        let address: Multiaddr = "/ip4/127.0.0.1/tcp/4001".parse().unwrap();
        let ticket = Ticket::new(key, vec![address]);
        let word = ticket.to_string();
        assert_eq!(Ticket::parse(word.as_bytes()).unwrap(), ticket);
        assert_eq!(Ticket::parse(word.to_uppercase().as_bytes()).unwrap(), ticket);
        for at in PREFIX.len()..word.len() {
            let mut typo = word.clone().into_bytes();
            typo[at] = if typo[at] == b'a' { b'b' } else { b'a' };
            assert!(Ticket::parse(&typo).is_err(), "character {at}");
            assert!(Ticket::parse(&word.as_bytes()[..at]).is_err(), "cut at {at}");
        }
    }
}
