//! How much is remembered for all peers together: each has bounds of its own, and those of many would be too much.
//!
//! A peer *weighs* what is remembered of what it says it holds, of what it asked for, and of answers that it does not take; not the blocks on
//! their way, which its credit bounds. Below [`PEER_BYTES_FREE`] nobody is weighed. When all of them together weigh more than
//! [`PEERS_BYTES_MAX`], the heaviest is believed to hold less; and if that is not it, it is let go.
//! Elsewhere: the bounds of one peer (`holder`, `upload`, `peer`).

use core::cmp::Reverse;

use super::Replicator;
use super::peer::Peer;
use crate::fault::Fault;
use crate::ids::PeerId;
use crate::limits::{PEER_BYTES_FREE, PEERS_BYTES_MAX};

impl Replicator {
    /// Returns about how many bytes are remembered for a peer.
    fn weight(&self, id: PeerId) -> usize {
        let Some(peer) = self.peers.get(&id).filter(|peer| !peer.faulted) else { return 0 };
        let holders = self.feeds.values().filter_map(|feed| feed.holders.get(&id));
        peer.weight() + holders.map(super::holder::Holder::weight).sum::<usize>()
    }

    /// Returns about how many bytes are remembered for all peers that may be weighed.
    pub fn weight_of_all(&self) -> usize {
        self.peers.keys().map(|id| self.weight(*id)).sum()
    }

    /// Makes room if all peers weigh too much, this one among them.
    pub(super) fn weigh(&mut self, id: PeerId) {
        if self.weight(id) <= PEER_BYTES_FREE {
            return;
        }
        while self.weight_of_all() > PEERS_BYTES_MAX {
            let heaviest = self.peers.keys().max_by_key(|id| (self.weight(**id), Reverse(**id)));
            let Some(heaviest) = heaviest.copied() else { return };
            // Half of its share, so that this need not be done for every frame.
            self.lighten(heaviest, PEERS_BYTES_MAX / self.peers.len() / 2);
        }
    }

    /// Remembers no more for a peer than so many bytes.
    fn lighten(&mut self, id: PeerId, most: usize) {
        let holders = || self.feeds.values().filter(|feed| feed.holders.contains_key(&id));
        let each = most / holders().count().max(1);
        for feed in self.feeds.values_mut() {
            feed.holders.get_mut(&id).into_iter().for_each(|holder| holder.lighten(each));
        }
        if self.weight(id) > most {
            self.fault(id, Fault::TooMany("things to remember"));
        }
    }
}

impl Peer {
    fn weight(&self) -> usize {
        let links = self.links.values().map(super::channel::Link::weight);
        self.upload.weight() + links.sum::<usize>()
    }
}
