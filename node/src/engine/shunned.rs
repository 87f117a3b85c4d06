//! Peers that broke the protocol lately: for a while they get no further stream.
//!
//! What is no frame ends its stream, and a stream is more work than a frame; so whoever comes back to say it again is turned away
//! before anything is made for it, the longer the more often that happened.
//! Elsewhere: what breaks the protocol (`datnode_proto::Fault`), and peers that break no rule and say too much (its `pace`).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::swarm::limits::{SHUN_FIRST, SHUN_FORGET, SHUN_MAX, SHUNNED};

/// Those peers, by what the carrier knows them as.
#[derive(Debug, Default)]
pub(super) struct Shunned {
    peers: BTreeMap<Vec<u8>, Shun>,
}

#[derive(Clone, Copy, Debug)]
struct Shun {
    until: Instant,
    pause: Duration,
}

impl Shunned {
    /// Tells whether a peer is to be turned away.
    pub(super) fn contains(&self, now: Instant, peer: &[u8]) -> bool {
        self.peers.get(peer).is_some_and(|shun| now < shun.until)
    }

    /// Notes that a peer broke the protocol.
    pub(super) fn insert(&mut self, now: Instant, peer: Vec<u8>) {
        let before = self.peers.get(&peer).filter(|shun| now < shun.until + SHUN_FORGET);
        let pause = before.map_or(SHUN_FIRST, |shun| (shun.pause * 2).min(SHUN_MAX));
        if self.peers.len() >= SHUNNED && !self.peers.contains_key(&peer) {
            let soonest = self.peers.iter().min_by_key(|(_, shun)| shun.until);
            let soonest = soonest.map(|(peer, _)| peer.clone());
            soonest.and_then(|peer| self.peers.remove(&peer));
        }
        self.peers.insert(peer, Shun { until: now + pause, pause });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_errs_again_is_turned_away_for_longer_and_forgiven_in_the_end() {
        let (mut shunned, mut now) = (Shunned::default(), Instant::now());
        let mut pauses = Vec::new();
        for _ in 0..10 {
            assert!(!shunned.contains(now, b"a"));
            shunned.insert(now, b"a".to_vec());
            let pause = shunned.peers[&b"a"[..]].pause;
            assert!(shunned.contains(now + pause - Duration::from_nanos(1), b"a"));
            assert!(!shunned.contains(now, b"b"));
            pauses.push(pause);
            now += pause;
        }
        assert_eq!(pauses[..3], [SHUN_FIRST, 2 * SHUN_FIRST, 4 * SHUN_FIRST]);
        assert_eq!(pauses.last(), Some(&SHUN_MAX));
        shunned.insert(now + SHUN_FORGET, b"a".to_vec());
        assert_eq!(shunned.peers[&b"a"[..]].pause, SHUN_FIRST);
    }

    #[test]
    fn so_many_are_remembered_and_of_more_the_last() {
        let (mut shunned, now) = (Shunned::default(), Instant::now());
        let name = |number: usize| number.to_le_bytes().to_vec();
        for number in 0..SHUNNED + 10 {
            let later = now + Duration::from_nanos(number as u64);
            shunned.insert(later, name(number));
        }
        assert_eq!(shunned.peers.len(), SHUNNED);
        assert!(!shunned.contains(now, &name(9)) && shunned.contains(now, &name(10)));
    }
}
