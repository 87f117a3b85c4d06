//! Who broke the protocol lately: for a while it gets nothing more.
//!
//! What is no frame ends its stream, and a stream is more work than a frame, and a handshake far more; so whoever comes back to say
//! it again is turned away before anything is made for it, the longer the more often that happened.
//! Elsewhere: what breaks the protocol (`datnode_proto::Fault`), and peers that break no rule and say too much (its `pace`).

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::limits::{SHUN_FIRST, SHUN_FORGET, SHUN_MAX, SHUNNED};

/// Those who did, by what they are known as.
#[derive(Debug)]
pub(crate) struct Shunned<K> {
    /// How often somebody may do so before it is turned away.
    forgiven: u32,
    all: BTreeMap<K, Shun>,
}

#[derive(Clone, Copy, Debug)]
struct Shun {
    count: u32,
    until: Instant,
    pause: Duration,
}

impl<K: Ord + Clone> Shunned<K> {
    /// Nobody did yet; whoever does so often is let off.
    pub(crate) fn new(forgiven: u32) -> Self {
        Self { forgiven, all: BTreeMap::new() }
    }

    /// Tells whether somebody is to be turned away.
    pub(crate) fn contains<Q: Ord + ?Sized>(&self, now: Instant, who: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.all.get(who).is_some_and(|shun| now < shun.until)
    }

    /// Notes that somebody broke the protocol.
    pub(crate) fn insert(&mut self, now: Instant, who: K) {
        let before = self.all.get(&who).filter(|shun| now < shun.until + SHUN_FORGET);
        let count = before.map_or(1, |shun| shun.count.saturating_add(1));
        let pause = match before {
            _ if count <= self.forgiven => Duration::ZERO,
            Some(shun) if !shun.pause.is_zero() => (shun.pause * 2).min(SHUN_MAX),
            _ => SHUN_FIRST,
        };
        if self.all.len() >= SHUNNED && !self.all.contains_key(&who) {
            let soonest = self.all.iter().min_by_key(|(_, shun)| shun.until);
            let soonest = soonest.map(|(who, _)| who.clone());
            soonest.and_then(|who| self.all.remove(&who));
        }
        self.all.insert(who, Shun { count, until: now + pause, pause });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_errs_again_is_turned_away_for_longer_and_forgiven_in_the_end() {
        for forgiven in [0, 1, 7] {
            let (mut shunned, mut now) = (Shunned::new(forgiven), Instant::now());
            for _ in 0..forgiven {
                shunned.insert(now, 'a');
                assert!(!shunned.contains(now, &'a'));
            }
            let mut pauses = Vec::new();
            for _ in 0..10 {
                assert!(!shunned.contains(now, &'a'));
                shunned.insert(now, 'a');
                let pause = shunned.all[&'a'].pause;
                assert!(shunned.contains(now + pause - Duration::from_nanos(1), &'a'));
                assert!(!shunned.contains(now, &'b'));
                pauses.push(pause);
                now += pause;
            }
            assert_eq!(pauses[..3], [SHUN_FIRST, 2 * SHUN_FIRST, 4 * SHUN_FIRST]);
            assert_eq!(pauses.last(), Some(&SHUN_MAX));
            let later = now + SHUN_FORGET;
            shunned.insert(later, 'a');
            assert_eq!(shunned.contains(later, &'a'), forgiven == 0, "it begins anew");
        }
    }

    #[test]
    fn so_many_are_remembered_and_of_more_the_last() {
        let (mut shunned, now) = (Shunned::new(0), Instant::now());
        for number in 0..SHUNNED + 10 {
            let later = now + Duration::from_nanos(number as u64);
            shunned.insert(later, number);
        }
        assert_eq!(shunned.all.len(), SHUNNED);
        assert!(!shunned.contains(now, &9) && shunned.contains(now, &10));
    }
}
