//! What always holds, whatever peers do: the bounds of what is kept for them.

use super::Replicator;
use super::channel::Link;
use super::feed::Feed;
use super::peer::{Peer, cost};
use crate::limits::{
    CHANNELS_MAX, LATE_REQUESTS_MAX, LEAVES_ASKED_MAX, LEAVES_OWED_MAX, PASSED_MAX,
    PAYLOAD_BYTES_MAX, QUESTIONS_MAX, READS_MAX,
};

impl Replicator {
    /// Panics if something is not as it always is.
    pub fn check_bounds(&self) {
        for peer in self.peers.values() {
            peer.check();
            for (id, link) in &peer.links {
                let feed = self.feeds.get(id).expect("a link is of a feed");
                link.check(feed);
            }
        }
        for feed in self.feeds.values() {
            assert!(feed.passed.len() <= PASSED_MAX, "lengths are forgotten");
            for peer in feed.wants.iter().flat_map(|want| want.tried.keys()) {
                assert!(self.peers.contains_key(peer), "nobody refused who is not here");
            }
            for (peer, holder) in &feed.holders {
                assert!(self.peers.contains_key(peer), "nobody holds who is not here");
                holder.check();
            }
        }
    }

    /// Returns how many jobs may be under way at most that so many peers caused.
    pub fn jobs_max(&self) -> usize {
        let of_link = |link: &Link| 4 + link.storing.len() + LEAVES_ASKED_MAX;
        let of_peer = |peer: &Peer| {
            QUESTIONS_MAX + READS_MAX + peer.links.values().map(of_link).sum::<usize>()
        };
        self.peers.values().map(of_peer).sum()
    }
}

impl Peer {
    fn check(&self) {
        assert!(self.theirs.len() + self.rejects.len() <= CHANNELS_MAX, "channels are bounded");
        let refusals: usize = self.links.values().map(super::channel::Link::refusals).sum();
        assert!(refusals <= 2 * QUESTIONS_MAX + READS_MAX, "refusals are bounded");
        let most = cost(PAYLOAD_BYTES_MAX, datnode_feed::LEVELS_MAX);
        assert!(self.arrived < self.granted + most, "the credit is kept");
        let storing = self.links.values().flat_map(|link| link.storing.values());
        assert_eq!(storing.map(|storing| storing.cost).sum::<u64>(), self.backlog);
        self.upload.check();
    }
}

impl Link {
    fn check(&self, feed: &Feed) {
        let asked = self.asked.runs().map(|run| run.end - run.start);
        assert_eq!(asked.sum::<u64>(), self.asked_blocks, "what is owed is counted");
        assert_eq!(
            self.requests.values().map(|open| open.left).sum::<u64>(),
            self.asked_blocks,
            "request by request"
        );
        let is_known = self.asked.runs().all(|run| run.end <= feed.length);
        assert!(is_known, "nothing beyond the head is asked");
        assert!(self.lookups.len() <= LEAVES_ASKED_MAX, "lookups are bounded");
        assert!(self.leaves.len() <= self.leaves_owed, "what is to be sent is owed");
        assert!(self.leaves_owed <= LEAVES_OWED_MAX, "what is owed is bounded");
        assert!(self.late_requests() <= LATE_REQUESTS_MAX, "late requests are forgotten");
    }
}
