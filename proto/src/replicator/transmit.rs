//! What is sent to a peer next: derived from what is true and not told yet.
//!
//! Order: greetings, then what unblocks the other side, then what we ask, then blocks as far as credit goes.

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;
use datnode_feed::{LeavesProof, levels};

use super::Replicator;
use super::feed::Feed;
use super::gate::Direction;
use super::holder::{Holder, Standing};
use super::leaves;
use super::peer::cost;
use super::upload::Answer;
use crate::capability;
use crate::ids::{Instant, PeerId};
use crate::job::Job;
use crate::limits::{TALK_BLOCK, VERSIONS};
use crate::wire::{FEATURE_CONTACTS, Frame, Hello, Message, encode};

impl Replicator {
    /// Returns the next frame for a peer, or nothing until something changes.
    pub fn poll_transmit(&mut self, now: Instant, id: PeerId) -> Option<Frame> {
        if self.peers.get(&id)?.faulted {
            return None;
        }
        let control = self
            .greet(now, id)
            .or_else(|| self.tell(now, id))
            .or_else(|| self.introduce(now, id))
            .or_else(|| self.next_lookup(id))
            .or_else(|| self.next_request(now, id));
        match control {
            Some(message) => Some(Frame { header: encode(&message), payload: Bytes::new() }),
            None => self.next_block(now, id),
        }
    }

    fn greet(&mut self, now: Instant, id: PeerId) -> Option<Message> {
        let is_limited = self.is_limited_for(self.peers.get(&id)?, Direction::Down);
        let exchanges = self.exchanges;
        let peer = self.peers.get_mut(&id)?;
        if peer.greeted_at.is_none() {
            peer.greeted_at = Some(now);
            let credit = peer.greet(is_limited);
            return Some(Message::Hello(Hello {
                version_min: *VERSIONS.start(),
                version_max: *VERSIONS.end(),
                features: if exchanges { FEATURE_CONTACTS } else { 0 },
                agent: String::from(concat!("datnode/", env!("CARGO_PKG_VERSION"))),
                credit,
            }));
        }
        if let Some(channel) = peer.rejects.pop() {
            return Some(Message::Reject { channel });
        }
        let feed_id = *peer.links.iter().find(|(_, link)| !link.opened)?.0;
        let nonce = self.draw();
        let peer = self.peers.get_mut(&id)?;
        let key = &self.feeds.get(&feed_id)?.key;
        let tag =
            *capability::tag(key, &peer.binding.ours, &peer.binding.theirs, &nonce).as_bytes();
        let link = peer.links.get_mut(&feed_id)?;
        link.opened = true;
        Some(Message::Open { channel: link.ours, nonce, tag })
    }

    /// Returns what the peer should know: credit, longer heads, what we hold, what we do not want or have.
    fn tell(&mut self, now: Instant, id: PeerId) -> Option<Message> {
        let is_limited = self.is_limited_for(self.peers.get(&id)?, Direction::Down);
        let peer = self.peers.get_mut(&id)?;
        // Before more credit, with which it would be sent all the same.
        for link in peer.links.values_mut().filter(|link| link.is_live()) {
            if let Some((id, blocks)) = link.cancels.pop() {
                return Some(Message::Cancel { channel: link.ours, id, blocks });
            }
        }
        if let Some(grant) = peer.grant(is_limited) {
            return Some(grant);
        }
        for (feed_id, link) in peer.links.iter_mut().filter(|(_, link)| link.is_live()) {
            let feed = self.feeds.get(feed_id)?;
            let channel = link.ours;
            if let Some(proof) = link.upgrade.take() {
                return Some(Message::Upgrade { channel, proof });
            }
            if let (Some(accusation), false) = (&feed.accusation, link.accused) {
                link.accused = true;
                return Some(Message::Accuse { channel, accusation: accusation.clone() });
            }
            // What was missing may have come since: a refusal after that news would deny it.
            if let Some((request, blocks)) = link.next_missing(feed) {
                return Some(Message::Missing { channel, id: request, blocks });
            }
            if let Some((request, blocks)) = link.elsewhere.pop() {
                return Some(Message::Elsewhere { channel, id: request, blocks });
            }
            if let Some(leaves::Answer { request: id, proof }) = link.leaves.pop_front() {
                link.leaves_owed -= 1;
                link.sent.set_range(proof.top.blocks());
                let LeavesProof { leaves, siblings, .. } = proof;
                return Some(Message::Leaves { channel, id, leaves, siblings });
            }
            if let Some(have) = link.announce(now, feed) {
                return Some(have);
            }
            // Only a head that was held against ours is led further, so that a proof that does not fit is the sender's fault.
            let agrees = |holder: &&Holder| {
                holder.heard && (holder.length == 0 || holder.standing == Standing::Agrees)
            };
            let theirs = feed.holders.get(&id).filter(agrees).map(|holder| holder.length);
            let offer = theirs.filter(|&theirs| theirs < feed.length);
            let offer = offer.map(|theirs| (theirs, feed.length, feed.insights));
            if let Some((from, ..)) = offer.filter(|_| link.offered != offer && !link.proving) {
                (link.offered, link.proving) = (offer, true);
                self.jobs.push_back(Job::Prove { peer: id, feed: *feed_id, from });
            }
        }
        None
    }

    /// Returns the most urgent block that was read, if the peer granted room for it and no limit holds it back.
    fn next_block(&mut self, now: Instant, id: PeerId) -> Option<Frame> {
        let peer = self.peers.get(&id)?;
        if peer.sent >= peer.their_grant {
            return None;
        }
        if !self.is_limited_for(peer, Direction::Up) {
            return self.send_block(id);
        }
        if peer.promised() == 0 {
            return None;
        }
        let reserved = self.reserved(Direction::Up);
        let frame = self.send_block(id)?;
        let bytes = (frame.header.len() + frame.payload.len()) as u64;
        self.charge(now, id, Direction::Up, bytes, reserved);
        Some(frame)
    }

    /// Sends the first answer.
    fn send_block(&mut self, id: PeerId) -> Option<Frame> {
        let peer = self.peers.get_mut(&id)?;
        let Answer { feed, request, proof, bytes } = peer.upload.pop()?;
        peer.sent += cost(bytes.len(), proof.siblings.len());
        peer.bytes_out += bytes.len() as u64;
        peer.blocks_out += 1;
        peer.pace.earn(TALK_BLOCK);
        let link = peer.links.get_mut(&feed)?;
        let block = proof.block;
        link.reading.clear(block.0);
        link.sent.set(block.0);
        let message =
            Message::Block { channel: link.ours, id: request, block, siblings: proof.siblings };
        Some(Frame { header: encode(&message), payload: bytes })
    }

    /// Turns requests into reads, as many as may be under way.
    pub(super) fn read_ahead(&mut self) {
        let peers: Vec<PeerId> = self.peers.keys().copied().collect();
        for id in peers {
            while let Some(job) = self.next_read(id) {
                self.jobs.push_back(job);
            }
        }
    }

    fn next_read(&mut self, id: PeerId) -> Option<Job> {
        // Who does not take our refusals is read no more for: each block that is not here would add one.
        let peer = self.peers.get_mut(&id).filter(|peer| !peer.faulted && !peer.is_deaf())?;
        let credit = peer.their_grant.saturating_sub(peer.sent);
        // As long as there is something that nobody else has, that goes first: the rest may be had from others.
        let feed = peer.upload.next_in_any_order();
        let gives_own = |feed: &mut Feed| feed.holders.len() > 1 && feed.has_own();
        let own = feed.filter(|feed| self.feeds.get_mut(feed).is_some_and(gives_own));
        let spread = own.and_then(|feed| self.feeds.get(&feed)).map(|feed| &feed.spread);
        if let (Some(link), Some(spread)) = (own.and_then(|feed| peer.links.get_mut(&feed)), spread)
            && let Some(elsewhere) = peer.upload.defer(spread, &mut link.deferred)
        {
            link.elsewhere.push(elsewhere);
            return self.next_read(id);
        }
        let read = peer.upload.next_read(credit, spread)?;
        let (feed, block) = (read.feed, read.block);
        let link = peer.links.get_mut(&feed)?;
        let feed_of = self.feeds.get_mut(&feed)?;
        feed_of.spread.set(block.0);
        let holder = feed_of.holders.get(&id)?;
        let known = |range| link.knows(&holder.have, read.overtakes, range);
        let levels = levels(block, read.length, known)?;
        link.reading.set(block.0);
        Some(Job::Read {
            peer: id,
            feed,
            request: read.request,
            urgency: read.urgency,
            block,
            levels,
        })
    }
}
