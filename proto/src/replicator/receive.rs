//! What a peer's messages mean.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;
use datnode_feed::limits::HELD_END;
use datnode_feed::{Accusation, BlockIndex, Node, SignedHead, UpgradeProof};

use super::Replicator;
use super::channel::{Due, Storing};
use super::gate::Direction;
use super::holder::{Holder, Standing};
use super::pace;
use super::peer::cost;
use super::upload::Asked;
use crate::capability;
use crate::fault::Fault;
use crate::ids::{FeedId, Instant, PeerId, RequestId, Urgency};
use crate::job::{Concern, Event, Job};
use crate::limits::{CHANNELS_MAX, OPENS_MAX, STALL_PAUSE, VERSIONS};
use crate::wire::{self, Channel, FEATURE_CONTACTS, Hello, Message, Request, Runs, Wanted};

impl Replicator {
    /// Returns when the next frame of a peer is to be taken: until then it stays in the stream. SPEC 7.8.
    pub fn next_frame_at(&self, id: PeerId) -> Instant {
        self.peers.get(&id).map_or(Instant(0), |peer| peer.pace.next_at)
    }

    /// Tells that a frame arrived; returns who is to be asked for a frame for that reason.
    pub fn handle_frame(
        &mut self,
        now: Instant,
        id: PeerId,
        header: &[u8],
        payload: Bytes,
    ) -> Concern {
        let Some(peer) = self.peers.get(&id).filter(|peer| !peer.faulted) else {
            return Concern::Sender;
        };
        let greeted = peer.heard_at.is_some();
        let is_limited = self.is_limited_for(peer, Direction::Down);
        let decoded = wire::decode(header, &payload);
        let concern = decoded.as_ref().map_or(Concern::Everyone, Message::concern);
        if let Ok(message) = &decoded {
            self.count(now, id, message);
        }
        if is_limited && matches!(decoded, Ok(Message::Block { .. })) {
            let (bytes, reserved) = (header.len() + payload.len(), self.reserved(Direction::Down));
            self.charge(now, id, Direction::Down, bytes as u64, reserved);
        }
        let adds = matches!(
            decoded,
            Ok(Message::Have { .. } | Message::Request { .. } | Message::Cancel { .. })
        );
        let taken = match decoded {
            Ok(Message::Hello(hello)) if !greeted => self.hello(now, id, hello),
            Ok(Message::Hello(_)) => Err(Fault::Unexpected("hello")),
            Ok(_) if !greeted => Err(Fault::Unexpected("message before hello")),
            Ok(message) => self.message(now, id, message, payload),
            Err(fault) => Err(fault),
        };
        let concern = if taken.is_ok() { concern } else { Concern::Everyone };
        self.check(id, taken);
        if adds {
            self.weigh(id);
        }
        concern
    }

    /// Counts the work that a message is.
    fn count(&mut self, now: Instant, id: PeerId, message: &Message) {
        let (feeds, peers) = (self.feeds.len(), self.peers.len());
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let feed = message.channel().and_then(|channel| peer.theirs.get(&channel));
        let length = feed.and_then(|feed| self.feeds.get(feed)).map_or(0, |feed| feed.length);
        let work = pace::work(message, length, feeds, peers);
        peer.pace.spend(now, work, &mut self.turns);
    }

    fn hello(&mut self, now: Instant, id: PeerId, hello: Hello) -> Result<(), Fault> {
        if hello.version_min > *VERSIONS.end() {
            self.events.push_back(Event::NewerProtocol { peer: id, theirs: hello.version_min });
            return Err(Fault::Version(hello.version_min));
        }
        if hello.version_max < *VERSIONS.start() {
            return Err(Fault::Version(hello.version_max));
        }
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.heard_at = Some(now);
            peer.agent = Some(hello.agent);
            peer.their_grant = hello.credit;
            peer.exchanges = hello.features & FEATURE_CONTACTS != 0;
            self.meetings += 1;
        }
        Ok(())
    }

    fn message(
        &mut self,
        now: Instant,
        id: PeerId,
        message: Message,
        payload: Bytes,
    ) -> Result<(), Fault> {
        match message {
            Message::Hello(_) => Err(Fault::Unexpected("hello")),
            Message::Open { channel, nonce, tag } => self.open(id, channel, &nonce, &tag),
            Message::Reject { channel } => self.rejected(id, channel),
            Message::Credit { total } => {
                if let Some(peer) = self.peers.get_mut(&id) {
                    peer.their_grant = peer.their_grant.max(total);
                }
                Ok(())
            }
            Message::Close { channel } => self.close(id, channel),
            Message::Have { channel, length, held, lost, head } => {
                let feed = self.feed_of(id, channel)?;
                self.holds(id, feed, length, &held, &lost, head);
                if head.is_some() {
                    self.compare(feed);
                }
                Ok(())
            }
            Message::Accuse { channel, accusation } => {
                let feed = self.feed_of(id, channel)?;
                self.told_of(id, feed, accusation)
            }
            Message::Peers { channel, contacts } => {
                let feed = self.feed_of(id, channel)?;
                self.introduced(now, id, feed, contacts)
            }
            Message::Upgrade { channel, proof } => {
                let feed = self.feed_of(id, channel)?;
                self.longer_head(id, feed, proof);
                Ok(())
            }
            Message::Request { channel, request } => {
                let feed = self.feed_of(id, channel)?;
                self.requested(now, id, feed, request)
            }
            Message::Cancel { channel, id: request, blocks } => {
                self.feed_of(id, channel)?;
                match self.peers.get_mut(&id) {
                    Some(peer) => peer.upload.cancel(request, &blocks),
                    None => Ok(()),
                }
            }
            Message::Missing { channel, id: request, blocks } => {
                let feed = self.feed_of(id, channel)?;
                self.missing(now, id, feed, request, &blocks);
                Ok(())
            }
            Message::Elsewhere { channel, id: request, blocks } => {
                let feed = self.feed_of(id, channel)?;
                self.elsewhere(id, feed, request, &blocks);
                Ok(())
            }
            Message::Leaves { channel, id: request, leaves, siblings } => {
                let feed = self.feed_of(id, channel)?;
                self.leaves_came(id, feed, request, leaves, siblings)
            }
            Message::Block { channel, id: request, block, siblings } => {
                let feed = self.feed_of(id, channel)?;
                self.arrived(now, id, feed, request, block, siblings, payload)
            }
        }
    }

    /// Returns the feed that a peer opened under this number, which must be open on our side as well.
    fn feed_of(&self, id: PeerId, channel: Channel) -> Result<FeedId, Fault> {
        let peer = self.peers.get(&id).ok_or(Fault::UnknownChannel)?;
        let feed = peer.theirs.get(&channel).ok_or(Fault::UnknownChannel)?;
        let live = peer.links.get(feed).is_some_and(super::channel::Link::is_live);
        if live { Ok(*feed) } else { Err(Fault::UnknownChannel) }
    }

    fn open(
        &mut self,
        id: PeerId,
        channel: Channel,
        nonce: &[u8; 16],
        tag: &[u8; 32],
    ) -> Result<(), Fault> {
        let Some(peer) = self.peers.get_mut(&id) else { return Ok(()) };
        peer.opens += 1;
        if peer.theirs.len() + peer.rejects.len() >= CHANNELS_MAX || peer.opens > OPENS_MAX {
            return Err(Fault::TooMany("feeds"));
        }
        if peer.theirs.contains_key(&channel) {
            return Err(Fault::Unexpected("second open of a channel"));
        }
        let matching =
            |feed: &super::feed::Feed| capability::matches(&feed.key, &peer.binding, nonce, tag);
        let found = self.feeds.iter().find(|(_, feed)| matching(feed)).map(|(id, _)| *id);
        let Some(feed) = found else {
            // The same answer as for a feed that nobody has: a stranger learns nothing.
            peer.rejects.push(channel);
            return Ok(());
        };
        let Some(link) = peer.links.get_mut(&feed) else { return Ok(()) };
        if link.theirs.is_some() {
            return Err(Fault::Unexpected("second open of a feed"));
        }
        link.theirs = Some(channel);
        // Whoever rejected our Open knows the feed now: it is opened anew.
        if core::mem::take(&mut link.rejected) {
            link.opened = false;
        }
        peer.theirs.insert(channel, feed);
        if let Some(feed) = self.feeds.get_mut(&feed) {
            feed.holders.entry(id).or_insert_with(|| Holder::new(feed.length));
        }
        self.meetings += 1;
        self.events.push_back(Event::Opened { peer: id, feed });
        Ok(())
    }

    fn rejected(&mut self, id: PeerId, channel: Channel) -> Result<(), Fault> {
        let Some(peer) = self.peers.get_mut(&id) else { return Ok(()) };
        match peer.links.values_mut().find(|link| link.ours == channel && link.opened) {
            // They may have opened it themselves since: then our next Open fits.
            Some(link) => {
                link.rejected = link.theirs.is_none();
                link.opened = link.rejected;
                Ok(())
            }
            None => Err(Fault::UnknownChannel),
        }
    }

    fn close(&mut self, id: PeerId, channel: Channel) -> Result<(), Fault> {
        let feed = self.feed_of(id, channel)?;
        self.revoke_feed(id, feed);
        self.lookups_lost(id, feed);
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.theirs.remove(&channel);
            peer.upload.close(feed);
            if let Some(link) = peer.links.get_mut(&feed) {
                link.theirs = None;
                link.leaves_owed -= link.leaves.len();
                link.leaves.clear();
            }
        }
        let holder = self.feeds.get_mut(&feed).and_then(|feed| feed.holders.get_mut(&id));
        holder.into_iter().for_each(Holder::close);
        Ok(())
    }

    /// Has a head verified, one of a peer at a time: of those that come meanwhile only the last one is of use.
    pub(super) fn longer_head(&mut self, id: PeerId, feed: FeedId, proof: UpgradeProof) {
        let link = self.peers.get_mut(&id).and_then(|peer| peer.links.get_mut(&feed));
        let Some(link) = link else { return };
        if link.verifying {
            link.next_head = Some(proof);
        } else {
            link.verifying = true;
            self.jobs.push_back(Job::Upgrade { peer: id, feed, proof });
        }
    }

    /// Takes news of a writer that signed two histories; the first that holds is enough.
    fn told_of(
        &mut self,
        id: PeerId,
        feed_id: FeedId,
        accusation: Box<Accusation>,
    ) -> Result<(), Fault> {
        let Some(peer) = self.peers.get_mut(&id) else { return Ok(()) };
        if let Some(link) = peer.links.get_mut(&feed_id) {
            link.accused = true;
            if core::mem::replace(&mut link.accuses, true) {
                return Err(Fault::Unexpected("second accusation"));
            }
        }
        if self.feeds.get(&feed_id).is_some_and(|feed| feed.accusation.is_none()) {
            self.jobs.push_back(Job::Accuse { peer: id, feed: feed_id, accusation });
        }
        Ok(())
    }

    fn holds(
        &mut self,
        id: PeerId,
        feed: FeedId,
        length: u64,
        held: &Runs,
        lost: &Runs,
        head: Option<SignedHead>,
    ) {
        let Some(feed) = self.feeds.get_mut(&feed) else { return };
        if let Some(holder) = feed.holders.get_mut(&id) {
            holder.hear(length, held, lost, head);
            feed.news += 1;
            let end = feed.length;
            let known = held.iter().map(|run| run.start..run.end.min(end));
            known.for_each(|run| feed.spread.set_range(run));
        }
    }

    fn requested(
        &mut self,
        now: Instant,
        id: PeerId,
        feed_id: FeedId,
        request: Request,
    ) -> Result<(), Fault> {
        let (Some(peer), Some(feed)) = (self.peers.get_mut(&id), self.feeds.get(&feed_id)) else {
            return Ok(());
        };
        let Request { id: name, length, priority, due, any_order, wanted } = request;
        let due =
            due.zip(peer.heard_at).map(|(due, heard)| heard + Duration::from_millis(due.get()));
        let urgency = Urgency { priority, due };
        if length > feed.length || !feed.serves(id) {
            peer.asked_blindly(now)?;
            if let Some(link) = peer.links.get_mut(&feed_id) {
                link.missing.push((name, Vec::new()));
            }
            return Ok(());
        }
        match wanted {
            Wanted::Blocks(runs) => {
                let end = runs.last().map_or(0, |run| run.end);
                if end > length {
                    return Err(Fault::Unexpected("request beyond its length"));
                }
                let told = peer.links.get(&feed_id).map(|link| &link.told);
                if told.is_some_and(|told| !told.may_count_on(feed, &runs)) {
                    peer.asked_blindly(now)?;
                }
                let class = feed.class;
                let asked = Asked { feed: feed_id, class, id: name, urgency, length, any_order };
                peer.upload.request(asked, runs)
            }
            Wanted::Bytes(bytes) => {
                peer.ask()?;
                let job =
                    Job::Locate { peer: id, feed: feed_id, request: name, urgency, length, bytes };
                self.jobs.push_back(job);
                Ok(())
            }
            Wanted::Leaves(top) => self.asked_for_leaves(id, feed_id, name, length, top),
        }
    }

    fn missing(
        &mut self,
        now: Instant,
        id: PeerId,
        feed_id: FeedId,
        request: RequestId,
        blocks: &Runs,
    ) {
        if self.lookup_refused(id, feed_id, request) {
            return;
        }
        let (Some(peer), Some(feed)) = (self.peers.get_mut(&id), self.feeds.get_mut(&feed_id))
        else {
            return;
        };
        // What was withdrawn meanwhile is refused in vain.
        if !peer.links.get(&feed_id).is_some_and(|link| link.owes(request)) {
            return;
        }
        let pause = peer.refused(now);
        // Until it delivers, those are asked first who promised nothing in vain.
        peer.losses = peer.losses.max(1);
        let Some(link) = peer.links.get_mut(&feed_id) else { return };
        let mut gone = Runs::new();
        if let Some(asked) = link.byte_requests.remove(&request) {
            if let Some(want) = feed.wants.iter_mut().find(|open| open.id == asked.want) {
                want.refused(now, id, asked.told);
            }
        } else if blocks.is_empty() {
            // It serves us nothing of the feed: it follows another history, as it found before we did.
            gone = link.revoke();
            if let Some(holder) = feed.holders.get_mut(&id) {
                holder.standing = Standing::Estranged;
            }
        }
        for run in blocks {
            if let Some(holder) = feed.holders.get_mut(&id) {
                holder.have.clear_range(run.clone());
            }
            // By what was asked, not by what is told: a run may be 2^56 blocks long.
            for block in link.asked.iter_ones(run.clone()).collect::<Vec<_>>() {
                if link.settle(request, block) {
                    gone.push(block..block + 1);
                }
            }
        }
        feed.news += 1;
        if pause {
            peer.paused_until = Some(now + STALL_PAUSE);
        }
        self.release_all(feed_id, &gone);
    }

    /// A peer would rather give something else than what was asked for; once for each block.
    fn elsewhere(&mut self, id: PeerId, feed_id: FeedId, request: RequestId, blocks: &Runs) {
        let (Some(peer), Some(feed)) = (self.peers.get_mut(&id), self.feeds.get_mut(&feed_id))
        else {
            return;
        };
        let (Some(link), Some(holder)) = (peer.links.get_mut(&feed_id), feed.holders.get_mut(&id))
        else {
            return;
        };
        let mut deferred = Vec::new();
        for run in blocks {
            let asked =
                link.asked.iter_ones(run.clone()).filter(|block| !holder.has_deferred(*block));
            for block in asked.collect::<Vec<_>>() {
                if link.settle(request, block) {
                    deferred.push(block);
                }
            }
        }
        if deferred.is_empty() {
            return;
        }
        holder.defer(&deferred);
        let gone = deferred.into_iter().map(|block| block..block + 1).collect();
        self.release_all(feed_id, &gone);
    }

    #[expect(clippy::too_many_arguments, reason = "one message's fields")]
    fn arrived(
        &mut self,
        now: Instant,
        id: PeerId,
        feed_id: FeedId,
        request: RequestId,
        block: BlockIndex,
        siblings: Vec<Node>,
        bytes: Bytes,
    ) -> Result<(), Fault> {
        let (Some(peer), Some(feed)) = (self.peers.get_mut(&id), self.feeds.get_mut(&feed_id))
        else {
            return Ok(());
        };
        let owes_more = peer.owed() > 1;
        let is_owed = peer.links.get(&feed_id).is_some_and(|link| link.owes(request));
        peer.progress(now, is_owed, owes_more);
        let Some(link) = peer.links.get_mut(&feed_id) else { return Ok(()) };
        // A block that begins within the credit may end beyond it.
        if peer.arrived >= peer.granted {
            return Err(Fault::Credit);
        }
        let (len, cost) = (bytes.len() as u64, cost(bytes.len(), siblings.len()));
        peer.arrived += cost;
        peer.bytes_in += len;
        peer.rate.received(now, cost);
        if let Some(asked) = peer.asked_at.take() {
            peer.rate.answered(now.since(asked));
        }
        let urgency = link.urgency_of(request);
        let bytes_asked = match link.due(request, block.0) {
            None => return Err(Fault::Unexpected("block nobody asked for")),
            // The answer to a request for bytes names the block itself.
            Some(Due::Bytes(_)) if block.0 >= feed.length.min(HELD_END) => {
                return Err(Fault::Unexpected("block beyond the head"));
            }
            Some(Due::Bytes(bytes)) => Some(bytes),
            // One that was cancelled too late is kept all the same: its proof's nodes are known from now on, as the peer believes.
            Some(Due::Owed | Due::Late) => None,
        };
        peer.blocks_in += 1;
        let is_here = feed.have.contains(block.0);
        if is_here {
            feed.assigned.clear(block.0);
        }
        if is_here || link.storing.contains_key(&block.0) {
            peer.bytes_twice += len;
            self.thrift.came_twice();
            return Ok(());
        }
        self.thrift.came();
        link.storing.insert(block.0, Storing { cost, bytes: bytes_asked });
        feed.assigned.set(block.0);
        peer.backlog += cost;
        let feed = feed_id;
        self.jobs.push_back(Job::Store { peer: id, feed, block, urgency, siblings, bytes });
        Ok(())
    }
}
