//! Whether a drive can be fetched from here: where it is, who has it, and by which way.

use std::path::PathBuf;
use std::time::Duration;

use datnode_feed::PublicKey;

use super::super::peers::{how, short};
use super::step::Finding;
use super::words::Words;
use crate::address::Link;
use crate::cli::escape;
use crate::cli::units::{Span, Things};
use crate::engine::{About, PeerReport, Sought};
use crate::error::Error;
use crate::swarm::{Channel, Lan};

/// How many nodes are named.
const NODES_MAX: usize = 3;

/// What is known of a drive.
pub(super) struct Facts<'a> {
    pub(super) key: PublicKey,
    /// The folder here that has it.
    pub(super) folder: Option<PathBuf>,
    /// The processes here that serve it, and how many nodes elsewhere are connected to each.
    pub(super) serving: &'a [(i32, usize)],
    /// Those with whom it is open.
    pub(super) peers: Vec<PeerReport>,
    /// How long its history is, in blocks; nothing if nobody told.
    pub(super) blocks: Option<u64>,
    pub(super) sought: Sought,
    pub(super) waited: Duration,
}

/// Tells whether a peer is somebody else, and no process of this user.
pub(super) fn is_elsewhere(about: &About, sought: &Sought) -> bool {
    !about.is_local && !sought.named(Channel::Local, &about.name)
}

/// Tells whether nobody more can come.
pub(super) fn is_over(sought: &Sought) -> bool {
    let looks = *sought.lan() == Lan::On || sought.dht().is_some_and(|nodes| nodes > 0);
    let ways_in = sought.of(Channel::Bootstrap).0 > 0;
    !looks && !ways_in && sought.pending() == 0
}

/// Says whether it can be fetched.
pub(super) fn sum_up(facts: &Facts<'_>) -> Finding {
    let is_far = |peer: &&PeerReport| is_elsewhere(&peer.about, &facts.sought);
    let far: Vec<&PeerReport> = facts.peers.iter().filter(is_far).collect();
    let here = facts.serving.first().map(|&(pid, peers)| match peers {
        0 => format!("process {pid} serves it here"),
        peers => {
            let peers = Things(peers as u64, "node");
            format!("process {pid} serves it here, {peers} connected to it")
        }
    });
    if !far.is_empty() {
        let have = if far.len() == 1 { "has" } else { "have" };
        let here = here.map(|here| here + "; ").unwrap_or_default();
        let says =
            Words::new(here).and(format!("{} {have} it: ", Things(far.len() as u64, "node")));
        let shown = far.iter().take(NODES_MAX).enumerate();
        let says = shown
            .fold(says, |says, (at, peer)| named(if at > 0 { says.and(", ") } else { says }, peer));
        let blocks = facts.blocks.map(|blocks| format!("; {} of history", Things(blocks, "block")));
        return Finding::ok(says.and(blocks.unwrap_or_default()));
    }
    match (here, facts.serving) {
        (Some(here), [(_, 0), ..]) => {
            return Finding::ok(here + "; nobody elsewhere was found who has it");
        }
        (Some(here), _) => return Finding::ok(here),
        (None, _) => {}
    }
    if let Some(folder) = &facts.folder {
        let says = Words::new("it is here in ").own("folder", escape::path(folder));
        let share = Words::new("datnode share ").own("folder", escape::shell(folder));
        return Finding::warn(
            says.and(", nobody serves it, and nobody elsewhere was found who has it"),
        )
        .fix(share);
    }
    let link = Link(&facts.key).to_string();
    let error = Error::no_peers(&link, facts.waited, &facts.sought);
    let says = Words::new(format!("nobody was found who has it: {}", tried(&facts.sought)));
    let mut reasons = facts.sought.failures();
    reasons.truncate(1);
    let says = reasons.into_iter().fold(says, |says, why| says.and("; ").own("reason", why));
    Finding::fail(error, says).fix(FIX)
}

/// What helps who has nothing but a key.
const FIX: &str = "ask whoever shares it whether `datnode share` runs there, and for a ticket, which has addresses";

fn named(says: Words, peer: &PeerReport) -> Words {
    let rtt = peer.status.rtt.map(|rtt| format!(", {}", Span(rtt))).unwrap_or_default();
    says.own("node", short(&peer.about.name)).and(format!(" ({}{rtt})", how(&peer.about)))
}

/// Returns how many each way led to.
fn tried(sought: &Sought) -> String {
    let ways = [
        (Channel::Given, "addresses"),
        (Channel::Lan, "on the LAN"),
        (Channel::Remembered, "remembered"),
        (Channel::Dht, "by the DHT"),
    ];
    let told = ways.map(|(channel, name)| format!("{} {name}", sought.of(channel).0));
    told.join(", ")
}

#[cfg(test)]
mod tests {
    use datnode_feed::SecretKey;

    use super::super::step::Verdict;
    use super::*;

    fn facts(serving: &[(i32, usize)], folder: Option<PathBuf>) -> Facts<'_> {
        let key = SecretKey::from_bytes([1; 32]).public();
        let (peers, sought, waited) = (Vec::new(), Sought::default(), Duration::from_secs(4));
        Facts { key, folder, serving, peers, blocks: None, sought, waited }
    }

    #[test]
    fn a_drive_that_nobody_has_is_told_from_one_that_nobody_serves() {
        let found = sum_up(&facts(&[], None));
        assert_eq!(found.verdict, Verdict::Fail);
        assert_eq!(found.error.map(|error| error.exit()), Some(5));
        let there = Some(PathBuf::from("/home/alice/flights"));
        let found = sum_up(&facts(&[], there.clone()));
        assert_eq!(found.verdict, Verdict::Warn);
        assert_eq!(found.fix.clone().unwrap().shown(), "datnode share /home/alice/flights");
        let hidden = found.says.hidden() + &found.fix.unwrap().hidden();
        assert!(!hidden.contains("alice"), "{hidden}");
        assert_eq!(sum_up(&facts(&[(7, 2)], there)).verdict, Verdict::Ok);
    }

    #[test]
    fn where_nobody_can_come_nothing_is_waited_for() {
        let mut sought = Sought::default();
        assert!(is_over(&sought));
        sought.lan = Lan::On;
        assert!(!is_over(&sought));
    }
}
