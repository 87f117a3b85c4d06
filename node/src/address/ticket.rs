//! Tickets: a drive's key together with where to find it, as one word without punctuation.
//!
//! ```text
//! datticket + base32 (lowercase, no padding) of:
//!   version u8 | key 32 | addresses (count, then each a byte string) | origins, from version 2 on (the same) | bootstrap, if it is 3
//!   (the same) | checksum 4
//! ```

use std::fmt;

use data_encoding::{BASE32_NOPAD, BASE32_NOPAD_NOCASE};
use datnode_feed::PublicKey;
use datnode_feed::codec::{Reader, Writer};
use libp2p::Multiaddr;

use crate::error::{Code, Error};
use crate::origin::Origin;

/// What every ticket begins with.
pub const PREFIX: &str = "datticket";

/// Of one that names no origin, so that those who know none can read it.
const VERSION: u8 = 1;
/// Of one that does.
const VERSION_ORIGINS: u8 = 2;
/// Of one that names ways into the DHT, and origins or none.
const VERSION_BOOTSTRAP: u8 = 3;
const CHECK: &str = "datnode 2026 ticket v1";
const CHECK_LEN: usize = 4;
/// A ticket is pasted into chats: sixteen addresses are plenty.
const ADDRESSES_MAX: usize = 16;
const ADDRESS_BYTES_MAX: usize = 256;
/// Nor more than some web servers.
const ORIGINS_MAX: usize = 4;
const ORIGIN_BYTES_MAX: usize = 512;
/// Of several nodes that lead into the DHT one is there.
pub(crate) const BOOTSTRAP_MAX: usize = 4;
/// No ticket within the limits is longer; longer words are refused unread.
const WORD_LEN_MAX: usize = 12 * 1024;
/// What the limits allow: each string is behind its length of two bytes, each list behind its count of one, and five bits are a letter.
const CONTENT_LEN_MAX: usize = 1
    + 32
    + 3
    + (ADDRESSES_MAX + BOOTSTRAP_MAX) * (2 + ADDRESS_BYTES_MAX)
    + ORIGINS_MAX * (2 + ORIGIN_BYTES_MAX);
const _: () =
    assert!(PREFIX.len() + ((CONTENT_LEN_MAX + CHECK_LEN) * 8).div_ceil(5) <= WORD_LEN_MAX);

/// A key with addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The drive's key.
    pub key: PublicKey,
    /// Where somebody serves it, each ending in `/p2p/…`.
    pub addresses: Vec<Multiaddr>,
    /// Web servers where it is published. Who reads a ticket knows nothing of who wrote it, so it can name no other origin: a command
    /// is run for those.
    pub origins: Vec<Origin>,
    /// Nodes that lead into the DHT, in which whoever serves the drive by then can be found.
    pub bootstrap: Vec<Multiaddr>,
}

/// Where peers of a drive are looked for, as a ticket says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// Addresses of peers.
    pub peers: Vec<Multiaddr>,
    /// Addresses of nodes that lead into the DHT.
    pub bootstrap: Vec<Multiaddr>,
}

impl Ticket {
    /// Makes a ticket; addresses over the limits are left out.
    pub fn new(key: PublicKey, addresses: Vec<Multiaddr>) -> Self {
        let addresses = fitting(addresses, ADDRESSES_MAX);
        Self { key, addresses, origins: Vec::new(), bootstrap: Vec::new() }
    }

    /// Puts addresses of peers in place of those it has; those over the limits are left out.
    #[must_use]
    pub fn with_addresses(self, addresses: Vec<Multiaddr>) -> Self {
        Self { addresses: fitting(addresses, ADDRESSES_MAX), ..self }
    }

    /// Names nodes that lead into the DHT as well; those over the limits are left out.
    #[must_use]
    pub fn with_bootstrap(self, nodes: Vec<Multiaddr>) -> Self {
        Self { bootstrap: fitting(nodes, BOOTSTRAP_MAX), ..self }
    }

    /// Returns where it says that peers are.
    pub fn places(self) -> Places {
        Places { peers: self.addresses, bootstrap: self.bootstrap }
    }

    /// Names origins as well; what no ticket can name, and what is over the limits, is left out.
    #[must_use]
    pub fn with_origins(mut self, origins: impl IntoIterator<Item = Origin>) -> Self {
        let fits = |origin: &Origin| is_for_tickets(origin);
        self.origins = origins.into_iter().filter(fits).take(ORIGINS_MAX).collect();
        self
    }

    /// Reads a ticket.
    ///
    /// # Errors
    /// E-KEY for anything that is not one whole ticket.
    pub fn parse(word: &[u8]) -> Result<Self, Error> {
        let bad = |why: &str| {
            Error::new(Code::Key, format!("this ticket {why}")).hint("copy the whole word again")
        };
        if word.len() > WORD_LEN_MAX {
            return Err(bad("is too long to be one"));
        }
        let body = word.get(PREFIX.len()..).unwrap_or_default();
        let bytes = BASE32_NOPAD_NOCASE.decode(body).map_err(|_| bad(&undecodable(body)))?;
        let (content, check) = bytes
            .len()
            .checked_sub(CHECK_LEN)
            .and_then(|len| bytes.split_at_checked(len))
            .ok_or_else(|| bad("is cut off"))?;
        if checksum(content) != check {
            return Err(bad("is cut off or mistyped"));
        }
        let mut reader = Reader::new(content);
        match reader.u8() {
            Ok(VERSION..=VERSION_BOOTSTRAP) => {}
            _ => return Err(bad("was made by a newer datnode").hint("update datnode")),
        }
        let version = content.first().copied().unwrap_or_default();
        let ticket = read(&mut reader, version).ok_or_else(|| bad("does not make sense"))?;
        // One ticket, one spelling.
        if ticket.content() != content {
            return Err(bad("does not make sense"));
        }
        Ok(ticket)
    }

    fn content(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        let version = match (self.bootstrap.is_empty(), self.origins.is_empty()) {
            (false, _) => VERSION_BOOTSTRAP,
            (true, false) => VERSION_ORIGINS,
            (true, true) => VERSION,
        };
        writer.u8(version).raw(self.key.as_bytes());
        write_addresses(&mut writer, &self.addresses);
        if version >= VERSION_ORIGINS {
            writer.varint(self.origins.len() as u64);
            for origin in &self.origins {
                writer.bytes(origin.to_string().as_bytes());
            }
        }
        if version >= VERSION_BOOTSTRAP {
            write_addresses(&mut writer, &self.bootstrap);
        }
        writer.into_vec()
    }
}

/// Returns those of some addresses that a ticket has room for.
fn fitting(addresses: Vec<Multiaddr>, most: usize) -> Vec<Multiaddr> {
    let fits = |address: &Multiaddr| address.len() <= ADDRESS_BYTES_MAX;
    addresses.into_iter().filter(fits).take(most).collect()
}

fn write_addresses(writer: &mut Writer, addresses: &[Multiaddr]) {
    writer.varint(addresses.len() as u64);
    for address in addresses {
        writer.bytes(&address.to_vec());
    }
}

/// Says why a word is no base32.
fn undecodable(body: &[u8]) -> String {
    let alien = |byte: &u8| !matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'2'..=b'7');
    match body.iter().position(alien) {
        Some(place) => format!("has a typo at character {}", PREFIX.len() + place + 1),
        None => "is cut off or mistyped".to_owned(),
    }
}

/// Tells whether a ticket may name an origin.
fn is_for_tickets(origin: &Origin) -> bool {
    matches!(origin, Origin::Web(_)) && origin.to_string().len() <= ORIGIN_BYTES_MAX
}

/// Reads what follows the version. That a later version has what it is there for is seen by its one spelling.
fn read(reader: &mut Reader<'_>, version: u8) -> Option<Ticket> {
    let key = PublicKey::from_bytes(reader.array().ok()?).ok()?;
    let addresses = read_addresses(reader, ADDRESSES_MAX)?;
    let (mut origins, mut bootstrap) = (Vec::new(), Vec::new());
    if version >= VERSION_ORIGINS {
        for _ in 0..read_count(reader, ORIGINS_MAX)? {
            let text = str::from_utf8(reader.bytes(ORIGIN_BYTES_MAX).ok()?).ok()?;
            origins.push(text.parse().ok().filter(is_for_tickets)?);
        }
    }
    if version >= VERSION_BOOTSTRAP {
        bootstrap = read_addresses(reader, BOOTSTRAP_MAX)?;
    }
    reader.is_empty().then_some(Ticket { key, addresses, origins, bootstrap })
}

fn read_addresses(reader: &mut Reader<'_>, most: usize) -> Option<Vec<Multiaddr>> {
    let count = read_count(reader, most)?;
    let address = |_| Multiaddr::try_from(reader.bytes(ADDRESS_BYTES_MAX).ok()?.to_vec()).ok();
    (0..count).map(address).collect()
}

fn read_count(reader: &mut Reader<'_>, most: usize) -> Option<usize> {
    usize::try_from(reader.varint().ok()?).ok().filter(|&count| count <= most)
}

fn checksum(content: &[u8]) -> [u8; CHECK_LEN] {
    *blake3::derive_key(CHECK, content).first_chunk().expect("a hash has 32 bytes")
}

/// Makes a word of any content, with its checksum.
pub(crate) fn spell(content: &[u8]) -> String {
    let bytes = [content, &checksum(content)].concat();
    format!("{PREFIX}{}", BASE32_NOPAD.encode(&bytes).to_ascii_lowercase())
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&spell(&self.content()))
    }
}

#[cfg(test)]
mod tests {
    use datnode_feed::SecretKey;

    use super::*;

    fn ticket() -> Ticket {
        let node = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA";
        let address = |text: String| text.parse::<Multiaddr>().unwrap();
        let addresses = vec![
            address(format!("/ip4/127.0.0.1/tcp/4001/p2p/{node}")),
            address(format!("/ip6/::1/udp/4001/quic-v1/p2p/{node}")),
        ];
        Ticket::new(SecretKey::from_bytes([5; 32]).public(), addresses)
    }

    #[test]
    fn a_ticket_survives_and_a_typo_does_not() {
        let ticket = ticket();
        let word = ticket.to_string();
        assert_eq!(Ticket::parse(word.as_bytes()).unwrap(), ticket);
        assert_eq!(Ticket::parse(word.to_uppercase().as_bytes()).unwrap(), ticket);
        for at in PREFIX.len()..word.len() {
            for other in b"abcdefghijklmnopqrstuvwxyz234567189-" {
                let mut typo = word.clone().into_bytes();
                if typo[at] != *other {
                    typo[at] = *other;
                    assert!(Ticket::parse(&typo).is_err(), "character {at}");
                }
            }
            assert!(Ticket::parse(&word.as_bytes()[..at]).is_err(), "cut at {at}");
        }
        assert!(Ticket::parse(format!("{word}a").as_bytes()).is_err());
    }

    #[test]
    fn a_right_checksum_does_not_excuse_wrong_contents() {
        let good = ticket().content();
        assert!(Ticket::parse(spell(&good).as_bytes()).is_ok());
        let with = |at: usize, byte: u8| {
            let mut content = good.clone();
            content[at] = byte;
            Ticket::parse(spell(&content).as_bytes())
        };
        let newer = with(0, VERSION_BOOTSTRAP + 1).unwrap_err();
        assert!(newer.message().contains("newer"), "{newer}");
        assert!(with(33, 1).is_err(), "one address too few is counted");
        assert!(with(33, 3).is_err(), "one address too many is counted");
        assert!(with(33, 17).is_err(), "too many addresses");
        for len in 0..good.len() {
            assert!(Ticket::parse(spell(&good[..len]).as_bytes()).is_err(), "cut at {len}");
        }
        assert!(Ticket::parse(spell(&[&good[..], &[0]].concat()).as_bytes()).is_err());
        let long_count = [&good[..33], &[0x82, 0x00], &good[34..]].concat();
        assert!(Ticket::parse(spell(&long_count).as_bytes()).is_err(), "a varint has one form");
    }

    #[test]
    fn a_ticket_names_web_servers_and_nothing_that_runs_a_command() {
        let origin = |text: &str| text.parse::<Origin>().unwrap();
        let web = [origin("https://example.org/flights"), origin("http://[::1]:8080/a%20b")];
        let ssh = origin("ssh://host/srv");
        let named = ticket().with_origins(web.iter().cloned().chain([ssh.clone()]));
        assert_eq!(named.origins, web);
        assert_eq!(Ticket::parse(named.to_string().as_bytes()).unwrap(), named);
        assert_eq!(ticket().with_origins([ssh.clone()]), ticket());
        for bad in [vec![ssh], vec![web[0].clone(); ORIGINS_MAX + 1]] {
            let forged = Ticket { origins: bad, ..ticket() };
            assert!(Ticket::parse(forged.to_string().as_bytes()).is_err());
        }
        let mut none = ticket().content();
        none[0] = VERSION_ORIGINS;
        assert!(Ticket::parse(spell(&none).as_bytes()).is_err(), "it promises some");
        assert!(Ticket::parse(spell(&[&none[..], &[0]].concat()).as_bytes()).is_err());
    }

    #[test]
    fn a_ticket_names_ways_into_the_dht_and_no_more_than_a_few() {
        let node = ticket().addresses[0].clone();
        let named = ticket().with_bootstrap(vec![node.clone(); 99]);
        assert_eq!(named.bootstrap.len(), BOOTSTRAP_MAX);
        assert_eq!(Ticket::parse(named.to_string().as_bytes()).unwrap(), named);
        let web = "https://example.org/flights".parse().unwrap();
        let both = named.clone().with_origins([web]);
        assert_eq!(Ticket::parse(both.to_string().as_bytes()).unwrap(), both);
        let forged = Ticket { bootstrap: vec![node; BOOTSTRAP_MAX + 1], ..ticket() };
        assert!(Ticket::parse(forged.to_string().as_bytes()).is_err());
        // One that promises some and names none would be a second spelling.
        let mut none = ticket().content();
        none[0] = VERSION_BOOTSTRAP;
        for rest in [&[][..], &[0], &[0, 0]] {
            assert!(Ticket::parse(spell(&[&none[..], rest].concat()).as_bytes()).is_err());
        }
    }

    #[test]
    fn a_ticket_that_has_all_it_may_have_is_read() {
        let name = |len: usize| format!("/dns4/{}/tcp/1", "a".repeat(len));
        let fitting = |len: &usize| {
            name(*len).parse::<Multiaddr>().is_ok_and(|address| address.len() == ADDRESS_BYTES_MAX)
        };
        let len = (1..ADDRESS_BYTES_MAX).find(fitting).unwrap();
        let longest: Multiaddr = name(len).parse().unwrap();
        let origin: Origin =
            format!("http://h/{}", "a".repeat(ORIGIN_BYTES_MAX - 9)).parse().unwrap();
        assert_eq!(origin.to_string().len(), ORIGIN_BYTES_MAX);
        let ticket = Ticket::new(ticket().key, vec![longest.clone(); ADDRESSES_MAX])
            .with_origins(vec![origin; ORIGINS_MAX])
            .with_bootstrap(vec![longest; BOOTSTRAP_MAX]);
        assert_eq!(ticket.content().len(), CONTENT_LEN_MAX);
        assert_eq!(Ticket::parse(ticket.to_string().as_bytes()).unwrap(), ticket);
    }

    #[test]
    fn too_many_addresses_are_left_out() {
        let one = ticket().addresses.remove(0);
        let ticket = Ticket::new(ticket().key, vec![one; 99]);
        assert_eq!(ticket.addresses.len(), ADDRESSES_MAX);
        assert_eq!(Ticket::parse(ticket.to_string().as_bytes()).unwrap(), ticket);
        assert!(Ticket::parse(&b"datticket".repeat(10_000)).is_err());
    }
}
