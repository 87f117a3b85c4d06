//! Peers of other times: where nodes answered with whom a drive was open, and when they last did (SPEC 11).
//!
//! A file for each drive, named by its discovery key. It is a hint: what is damaged or out of date is left out, and written anew
//! with the next peer. Nothing waits for it, and nothing but what we dialed ourselves gets into it.
//! Elsewhere: dialing them (`engine::network`), the same for processes of this computer (`runtime`).

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use datnode_feed::PublicKey;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use serde::{Deserialize, Serialize};

use crate::dirs::make_private;
use crate::disk::read_small;
use crate::error::Error;
use crate::swarm::peer_of;

/// The format of the file.
const FORMAT: u32 = 1;
/// How many addresses are kept of a drive.
const PEERS_MAX: usize = 32;
/// Longer addresses are none of ours.
const ADDRESS_LEN_MAX: usize = 256;
/// Files that are larger were written by something else.
const FILE_LEN_MAX: u64 = 64 << 10;
/// How long a peer is remembered.
const KEPT: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// What the file holds.
#[derive(Serialize, Deserialize)]
struct Content {
    format: u32,
    peers: Vec<Peer>,
}

/// Where a peer answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Peer {
    /// Its address, with its id at the end.
    address: Multiaddr,
    /// When, in seconds since 1970.
    seen: u64,
}

/// Returns where a node answered some other time, whatever it had, the latest first.
pub fn places_of(state: &Path, node: PeerId) -> Vec<Multiaddr> {
    let files = fs::read_dir(state.join("peers")).into_iter().flatten().flatten();
    let now = seconds(SystemTime::now());
    let all = files.flat_map(|file| Remembered { path: file.path() }.peers(now));
    let its = all.filter(|peer| peer_of(&peer.address) == Some(node)).collect();
    sound(its, now).into_iter().map(|peer| peer.address).collect()
}

/// The peers of a drive that are remembered.
#[derive(Clone, Debug)]
pub struct Remembered {
    path: PathBuf,
}

impl Remembered {
    /// Names the file of a drive in the user's state.
    pub fn of(state: &Path, drive: &PublicKey) -> Self {
        let name = data_encoding::HEXLOWER.encode(&drive.discovery().0);
        Self { path: state.join("peers").join(name).with_extension("json") }
    }

    /// Returns where peers answered, the latest first.
    pub fn addresses(&self, now: SystemTime) -> Vec<Multiaddr> {
        self.peers(seconds(now)).into_iter().map(|peer| peer.address).collect()
    }

    /// Returns how long ago a peer answered for the last time.
    pub fn last_seen(&self, now: SystemTime) -> Option<Duration> {
        let now = seconds(now);
        let last = self.peers(now).into_iter().map(|peer| peer.seen).max()?;
        Some(Duration::from_secs(now.saturating_sub(last)))
    }

    /// Notes that peers answered at these addresses, each of which ends in the peer's id.
    ///
    /// # Errors
    /// E-IO when that cannot be written.
    pub fn note(&self, good: &[Multiaddr], now: SystemTime) -> Result<(), Error> {
        let now = seconds(now);
        let fresh = good.iter().map(|address| Peer { address: address.clone(), seen: now });
        let peers = sound(fresh.chain(self.peers(now)).collect(), now);
        if peers.is_empty() {
            return Ok(());
        }
        self.write(&Content { format: FORMAT, peers })
            .map_err(|error| Error::io("write", &self.path, &error))
    }

    /// Forgets them all.
    ///
    /// # Errors
    /// E-IO when the file cannot be deleted.
    pub fn forget(&self) -> Result<(), Error> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::io("delete", &self.path, &error))
            }
            _ => Ok(()),
        }
    }

    fn peers(&self, now: u64) -> Vec<Peer> {
        let content = match read(&self.path) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "cannot read the remembered peers");
                return Vec::new();
            }
        };
        sound(content.peers, now)
    }

    /// Replaces the file as a whole. It is not synced: what a power cut takes is found again.
    fn write(&self, content: &Content) -> io::Result<()> {
        make_private(self.path.parent().expect("it is inside the folder of peers"))?;
        // Of this process alone: others may write at the same time, and the last one wins.
        let temporary = self.path.with_extension(format!("{}.new", std::process::id()));
        let _ = fs::remove_file(&temporary);
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(&serde_json::to_vec(content)?)?;
        fs::rename(&temporary, &self.path)
    }
}

fn read(path: &Path) -> io::Result<Content> {
    let content: Content = serde_json::from_slice(&read_small(path, FILE_LEN_MAX)?)?;
    if content.format != FORMAT {
        return Err(io::Error::other("it is of another format"));
    }
    Ok(content)
}

/// Returns what may be dialed of what is remembered: the latest first, each address once.
fn sound(peers: Vec<Peer>, now: u64) -> Vec<Peer> {
    let young = |peer: &Peer| peer.seen.saturating_add(KEPT.as_secs()) > now;
    let mut sound: Vec<Peer> = peers
        .into_iter()
        // A clock that was ahead must not keep anybody for ever.
        .map(|peer| Peer { seen: peer.seen.min(now), ..peer })
        .filter(|peer| young(peer) && is_dialable(&peer.address))
        .collect();
    sound.sort_by_key(|peer| std::cmp::Reverse(peer.seen));
    let mut kept: Vec<Peer> = Vec::new();
    for peer in sound {
        if kept.len() < PEERS_MAX && kept.iter().all(|other| other.address != peer.address) {
            kept.push(peer);
        }
    }
    kept
}

/// Tells whether an address has the form of those that we dial: an IP, a port, and the peer's id.
fn is_dialable(address: &Multiaddr) -> bool {
    let ip = matches!(address.iter().next(), Some(Protocol::Ip4(_) | Protocol::Ip6(_)));
    ip && peer_of(address).is_some() && address.len() <= ADDRESS_LEN_MAX
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use datnode_feed::SecretKey;
    use tempfile::TempDir;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn remembered(state: &TempDir) -> Remembered {
        Remembered::of(state.path(), &SecretKey::from_bytes([1; 32]).public())
    }

    fn address(port: u16) -> Multiaddr {
        let at: Multiaddr = format!("/ip4/10.0.0.1/tcp/{port}").parse().unwrap();
        at.with(Protocol::P2p(PeerId::random()))
    }

    fn day(number: u32) -> SystemTime {
        UNIX_EPOCH + 1_000 * DAY + number * DAY
    }

    #[test]
    fn what_is_noted_comes_back_the_latest_first() {
        let state = TempDir::new().unwrap();
        let (remembered, one, two) = (remembered(&state), address(1), address(2));
        assert!(remembered.addresses(day(0)).is_empty());
        remembered.note(&[], day(0)).unwrap();
        assert!(!state.path().join("peers").exists(), "nobody leaves no trace");
        remembered.note(&[one.clone(), two.clone()], day(0)).unwrap();
        remembered.note(std::slice::from_ref(&two), day(1)).unwrap();
        assert_eq!(remembered.addresses(day(2)), [two.clone(), one.clone()]);
        remembered.note(std::slice::from_ref(&one), day(3)).unwrap();
        assert_eq!(remembered.addresses(day(3)), [one, two]);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&remembered.path), 0o600);
        assert_eq!(mode(remembered.path.parent().unwrap()), 0o700);
        assert_eq!(fs::read_dir(remembered.path.parent().unwrap()).unwrap().count(), 1);
        let other = Remembered::of(state.path(), &SecretKey::from_bytes([2; 32]).public());
        assert!(other.addresses(day(3)).is_empty(), "each drive has its own");
    }

    #[test]
    fn a_node_is_found_by_its_id_whatever_it_had() {
        let state = TempDir::new().unwrap();
        let (now, node) = (SystemTime::now(), PeerId::random());
        let at = |port: u16| -> Multiaddr {
            let at: Multiaddr = format!("/ip4/10.0.0.1/tcp/{port}").parse().unwrap();
            at.with(Protocol::P2p(node))
        };
        assert!(places_of(state.path(), node).is_empty());
        for number in [1, 2] {
            let drive = SecretKey::from_bytes([number; 32]).public();
            let noted = [address(9), at(number.into())];
            Remembered::of(state.path(), &drive).note(&noted, now).unwrap();
        }
        let mut found = places_of(state.path(), node);
        found.sort();
        assert_eq!(found, [at(1), at(2)]);
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let state = TempDir::new().unwrap();
        let remembered = remembered(&state);
        let all: Vec<Multiaddr> = (0..40).map(|port| address(port + 1)).collect();
        for (number, address) in (0..).zip(&all) {
            remembered.note(std::slice::from_ref(address), day(number)).unwrap();
        }
        let newest: Vec<Multiaddr> = all.iter().rev().take(PEERS_MAX).cloned().collect();
        assert_eq!(remembered.addresses(day(40)), newest);
        assert_eq!(remembered.addresses(day(39 + 89)), newest[..1]);
        assert!(remembered.addresses(day(39 + 90)).is_empty());
    }

    #[test]
    fn what_is_damaged_is_ignored_and_written_anew() {
        let state = TempDir::new().unwrap();
        let (remembered, good) = (remembered(&state), address(1));
        remembered.note(std::slice::from_ref(&good), day(0)).unwrap();
        let whole = fs::read(&remembered.path).unwrap();
        let long = vec![b' '; usize::try_from(FILE_LEN_MAX).unwrap() + 1];
        let newer =
            String::from_utf8(whole.clone()).unwrap().replace("\"format\":1", "\"format\":2");
        let half = &whole[..whole.len() / 2];
        for damaged in [b"".as_slice(), b"[]", b"\xff\0", half, &long, newer.as_bytes()] {
            fs::write(&remembered.path, damaged).unwrap();
            assert!(remembered.addresses(day(0)).is_empty());
            remembered.note(std::slice::from_ref(&good), day(0)).unwrap();
            assert_eq!(remembered.addresses(day(0)), std::slice::from_ref(&good));
        }
        // A folder in its place is not ours to remove: it is said, and nothing else happens.
        fs::remove_file(&remembered.path).unwrap();
        fs::create_dir(&remembered.path).unwrap();
        assert!(remembered.addresses(day(0)).is_empty());
        assert!(remembered.note(&[good], day(0)).is_err());
    }

    #[test]
    fn what_somebody_wrote_into_it_is_dialed_only_if_we_could_have() {
        let state = TempDir::new().unwrap();
        let (remembered, good) = (remembered(&state), address(1));
        let peer = PeerId::random();
        let long = "/ws".repeat(200);
        let bad = [
            "/ip4/10.0.0.1/tcp/1".to_owned(),
            format!("/dns4/example.org/tcp/1/p2p/{peer}"),
            format!("/unix/%2Ftmp%2Fx/p2p/{peer}"),
            format!("/p2p/{peer}"),
            format!("/ip4/10.0.0.1/tcp/1{long}/p2p/{peer}"),
        ];
        let later = seconds(day(5_000));
        let mut peers: Vec<_> = bad
            .iter()
            .map(|address| serde_json::json!({ "address": address, "seen": later }))
            .collect();
        peers.push(serde_json::json!({ "address": good, "seen": u64::MAX }));
        peers.push(serde_json::json!({ "address": good, "seen": later }));
        fs::create_dir(state.path().join("peers")).unwrap();
        let content = serde_json::json!({ "format": 1, "peers": peers }).to_string();
        fs::write(&remembered.path, content).unwrap();
        assert_eq!(remembered.addresses(day(0)), std::slice::from_ref(&good));
        // A time to come counts as now, and is over some day.
        remembered.note(&[address(2)], day(0)).unwrap();
        assert_eq!(remembered.addresses(day(0)).len(), 2);
        assert!(remembered.addresses(day(90)).is_empty());
    }
}
