//! How long a peer may keep us waiting, and who is asked instead.
//!
//! A peer that owes blocks and is silent loses them; sooner when somebody else could send one of them at once, and sooner still
//! when that happened again and again. So a crowd of peers that promise and do not deliver costs about a second, whatever its size.
//! Elsewhere: what is asked of whom (`download`), who takes over from one that is slow (`swap`).

use alloc::vec::Vec;
use core::time::Duration;

use super::Replicator;
use super::peer::Peer;
use crate::fault::Fault;
use crate::ids::{FeedId, Instant, PeerId, Priority};
use crate::limits::{
    HURRY, HURRY_MIN, LOOK_EVERY, LOSS_PAUSE, STALL, STALL_PAUSE, STALL_SLOW, UNPROVEN_MAX,
};
use crate::wire::Runs;

impl Replicator {
    /// Returns when those who owe something are to be looked at, if nothing comes: not before they may lose it.
    ///
    /// Asked after every frame, so it does not look for who could help instead: that is for then, and not for each time.
    pub(super) fn suspects(&self) -> impl Iterator<Item = (PeerId, Instant)> {
        let helped = self.ready().next().is_some();
        let owes = |peer: &Peer| peer.owed() > 0 && !self.is_held(peer);
        self.peers.iter().filter(move |(_, peer)| owes(peer)).map(move |(id, peer)| {
            let silent = peer.last_progress + self.patience(peer, helped);
            // Nobody could help when it was looked at last, or it would not be here.
            let again = peer.looked_at.map_or(silent, |at| silent.max(at + LOOK_EVERY));
            (*id, again.min(peer.last_progress + self.patience(peer, false)))
        })
    }

    /// Takes back what peers owe and could long have sent.
    pub(super) fn look_at_suspects(&mut self, now: Instant) {
        let due: Vec<PeerId> =
            self.suspects().filter(|(_, at)| *at <= now).map(|(id, _)| id).collect();
        for id in due {
            if self.is_lost(now, id) {
                self.lose(now, id);
            } else if let Some(peer) = self.peers.get_mut(&id) {
                peer.looked_at = Some(now);
            }
        }
    }

    /// Tells whether a peer had its time.
    fn is_lost(&self, now: Instant, id: PeerId) -> bool {
        let Some(peer) = self.peers.get(&id) else { return false };
        let helped = self.ready().any(|other| self.could_help(other, id));
        now >= peer.last_progress + self.patience(peer, helped)
    }

    /// Takes back what a peer owes, and leaves it alone for a while: the longer, the more often that happened in a row.
    pub(super) fn lose(&mut self, now: Instant, id: PeerId) {
        self.revoke(id);
        self.in_vain = self.in_vain.saturating_add(1);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let pause = LOSS_PAUSE.saturating_mul(1 << peer.losses.min(8)).min(STALL_PAUSE);
        peer.losses = peer.losses.saturating_add(1);
        peer.stalled = true;
        peer.paused_until = Some(now + pause);
        peer.asked_at = None;
    }

    /// A peer's proof ended at a node that is not known here: it may believe what is not so, or mean harm.
    pub(super) fn unproven(&mut self, now: Instant, id: PeerId) {
        match self.peers.get(&id) {
            // What was under way with the block that showed it.
            Some(peer) if peer.paused_until.is_some() => {}
            // On a new stream it knows anew what we know.
            Some(peer) if peer.losses >= UNPROVEN_MAX => {
                self.fault(id, Fault::TooMany("proofs that lead nowhere"));
            }
            Some(_) => self.lose(now, id),
            None => {}
        }
    }

    /// A peer sent a block that holds.
    pub(super) fn delivered(&mut self, id: PeerId) {
        self.in_vain = 0;
        if let Some(peer) = self.peers.get_mut(&id) {
            (peer.losses, peer.stalled) = (0, false);
        }
    }

    /// Tells whether somebody else should rather be asked for all of `runs`: who lost less, and would send them at once.
    pub(super) fn has_better(
        &self,
        id: PeerId,
        feed: FeedId,
        runs: &Runs,
        priority: Priority,
    ) -> bool {
        let Some(losses) = self.peers.get(&id).map(|peer| peer.losses) else { return false };
        let better = |other: &PeerId, peer: &Peer| {
            peer.losses < losses
                && peer.paused_until.is_none()
                && peer.owed_from(priority) == 0
                && self.can_send(*other, feed, |have| runs.iter().all(|run| have.all(run.clone())))
        };
        losses > 0 && self.peers.iter().any(|(other, peer)| better(other, peer))
    }

    /// Returns the peers that owe nothing and may be asked.
    fn ready(&self) -> impl Iterator<Item = PeerId> {
        let is_ready = |peer: &Peer| peer.paused_until.is_none() && peer.owed() == 0;
        self.peers.iter().filter(move |(_, peer)| is_ready(peer)).map(|(id, _)| *id)
    }

    /// Tells whether `helper` could send something that `peer` owes, and has kept us waiting no more often.
    fn could_help(&self, helper: PeerId, peer: PeerId) -> bool {
        let (Some(theirs), Some(peer)) = (self.peers.get(&helper), self.peers.get(&peer)) else {
            return false;
        };
        theirs.losses <= peer.losses
            && peer.links.iter().filter(|(_, link)| link.may_lose()).any(|(feed, link)| {
                self.can_send(helper, *feed, |have| {
                    !link.byte_requests.is_empty() || link.asked.intersects(have)
                })
            })
    }

    /// Tells whether a peer may be asked for a feed, and what it holds of it passes a test.
    fn can_send(
        &self,
        id: PeerId,
        feed_id: FeedId,
        test: impl Fn(&super::blocks::BlockSet) -> bool,
    ) -> bool {
        let live = |peer: &Peer| peer.links.get(&feed_id).is_some_and(|link| link.is_live());
        let Some(feed) = self.feeds.get(&feed_id).filter(|feed| feed.paused_until.is_none()) else {
            return false;
        };
        self.peers.get(&id).is_some_and(live)
            && feed.common_length(id).is_some()
            && feed.holders.get(&id).is_some_and(|holder| test(&holder.have))
    }

    fn patience(&self, peer: &Peer, helped: bool) -> Duration {
        let hurry = (HURRY / (1 << self.in_vain.min(8))).max(HURRY_MIN);
        // Who is slow and alone is not asked for the same again before it can have sent it.
        let steady = (peer.gap * 3).clamp(STALL, STALL_SLOW);
        let may_come_twice = self.thrift.allows() || peer.owed_from(Priority(1)) > 0;
        let least =
            if helped && may_come_twice { hurry.max(peer.gap * 2).min(STALL) } else { steady };
        let rtt_min = peer.rate.rtt_min().unwrap_or_default();
        // Who is slower each time does not make us the more patient.
        least.max(rtt_min * 4).max((peer.rate.rtt() * 4).min(STALL))
    }
}
