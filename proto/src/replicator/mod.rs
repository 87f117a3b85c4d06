//! Decides what is asked of whom, and what is sent next, for many feeds and many peers. SPEC 7.
//!
//! This file routes. Elsewhere: one peer (`peer`), a feed with a peer (`channel`), a feed (`feed`), what is asked (`download`,
//! `picker`, `want`), what is answered (`upload`), what messages mean (`receive`), what is sent (`transmit`).

mod channel;
mod download;
mod feed;
mod peer;
mod picker;
mod rate;
mod receive;
mod transmit;
mod upload;
mod want;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::ops::Range;

use datnode_feed::{Bitfield, BlockIndex, PublicKey};

use crate::fault::Fault;
use crate::ids::{Binding, Class, FeedId, Instant, PeerId, WantId};
use crate::job::{Availability, Done, Event, Failure, Job};
use crate::limits::{DISK_PAUSE, STALL_PAUSE};
use feed::Feed;
use peer::Peer;
use upload::Answer;
use want::Open;

pub use peer::PeerStatus;
pub use want::{Order, Target, Want};

/// The state machine of replication.
///
/// Jobs and events wait here only until the caller polls them, which it does after each thing it told; what peers can cause is
/// bounded by credit, leases and limits.
#[derive(Debug)]
pub struct Replicator {
    seed: [u8; 32],
    drawn: u64,
    feeds: BTreeMap<FeedId, Feed>,
    peers: BTreeMap<PeerId, Peer>,
    jobs: VecDeque<Job>,
    events: VecDeque<Event>,
    next_want: u64,
}

impl Replicator {
    /// Makes a replicator; all its random choices come from `seed`.
    pub fn new(seed: [u8; 32]) -> Self {
        Self {
            seed,
            drawn: 0,
            feeds: BTreeMap::new(),
            peers: BTreeMap::new(),
            jobs: VecDeque::new(),
            events: VecDeque::new(),
            next_want: 0,
        }
    }

    /// Replicates a feed of which we know `length` blocks and hold `have`.
    pub fn add_feed(
        &mut self,
        id: FeedId,
        key: PublicKey,
        class: Class,
        length: u64,
        have: Bitfield,
    ) {
        self.feeds.insert(id, Feed::new(key, class, length, have));
        self.peers.values_mut().for_each(|peer| peer.add(id));
    }

    /// Tells that our own head moved.
    pub fn handle_head(&mut self, id: FeedId, length: u64) {
        if let Some(feed) = self.feeds.get_mut(&id) {
            feed.advance(length);
        }
    }

    /// Tells that we hold these blocks now.
    pub fn handle_have(&mut self, id: FeedId, blocks: Range<u64>) {
        let Some(feed) = self.feeds.get_mut(&id) else { return };
        feed.have.set_range(blocks);
        self.recount(id);
    }

    /// Tells that we hold these blocks no longer.
    pub fn handle_lost(&mut self, id: FeedId, blocks: Range<u64>) {
        let Some(feed) = self.feeds.get_mut(&id) else { return };
        feed.have.clear_range(blocks);
        self.recount(id);
    }

    fn recount(&mut self, id: FeedId) {
        let Some(feed) = self.feeds.get_mut(&id) else { return };
        let have = &feed.have;
        feed.wants.iter_mut().for_each(|want| want.count(have));
        let done = feed.take_done();
        self.events.extend(done.into_iter().map(|want| Event::WantDone { want }));
    }

    /// Asks for blocks or bytes of a feed.
    pub fn want(&mut self, id: FeedId, want: Want) -> WantId {
        let name = WantId(self.next_want);
        self.next_want += 1;
        if let Some(feed) = self.feeds.get_mut(&id) {
            let open = Open::new(name, want, &feed.have);
            if open.is_done() {
                self.events.push_back(Event::WantDone { want: name });
            } else {
                feed.wants.push(open);
            }
        }
        name
    }

    /// Asks for it no longer.
    pub fn unwant(&mut self, id: WantId) {
        for feed in self.feeds.values_mut() {
            feed.wants.retain(|want| want.id != id);
        }
        // Requests for bytes are withdrawn at once; blocks on their way are few and welcome.
        for link in self.peers.values_mut().flat_map(|peer| peer.links.values_mut()) {
            let gone = |(request, want): (&crate::ids::RequestId, &WantId)| {
                (*want == id).then_some(*request)
            };
            let requests: Vec<_> = link.byte_requests.iter().filter_map(gone).collect();
            for request in requests {
                link.byte_requests.remove(&request);
                link.late_requests.insert(request);
                link.cancels.push(request);
            }
        }
    }

    /// Tells whether a block can be had.
    pub fn availability(&self, id: FeedId, block: BlockIndex) -> Availability {
        let Some(feed) = self.feeds.get(&id) else { return Availability::Unknown };
        if feed.have.contains(block.0) {
            return Availability::Here;
        }
        let mut heard = feed.holders.values().filter(|holder| holder.heard).peekable();
        if heard.peek().is_none() {
            Availability::Unknown
        } else if heard.any(|holder| holder.have.contains(block.0)) {
            Availability::Connected
        } else {
            Availability::Nobody
        }
    }

    /// Tells that a stream to a peer is open.
    pub fn handle_connected(&mut self, now: Instant, id: PeerId, binding: Binding) {
        let mut peer = Peer::new(now, binding);
        self.feeds.keys().for_each(|&feed| peer.add(feed));
        self.peers.insert(id, peer);
    }

    /// Tells that a peer's stream is gone.
    pub fn handle_disconnected(&mut self, id: PeerId) {
        self.revoke(id);
        self.peers.remove(&id);
        self.feeds.values_mut().for_each(|feed| drop(feed.holders.remove(&id)));
    }

    /// Tells how a job ended.
    pub fn handle_done(&mut self, now: Instant, done: Done) {
        match done {
            Done::Read { peer, feed, request, priority, block, answer } => {
                let Some(state) = self.peers.get_mut(&peer) else { return };
                let missing = answer.is_none();
                let answer = answer.map(|(proof, bytes)| Answer { feed, request, proof, bytes });
                state.upload.read(priority, answer);
                if let (true, Some(link)) = (missing, state.links.get_mut(&feed)) {
                    link.reading.clear(block.0);
                    link.missing.push((request, alloc::vec![block.0..block.0 + 1]));
                }
            }
            Done::Located { peer, feed, request, priority, length, blocks } => {
                let Some(state) = self.peers.get_mut(&peer) else { return };
                let Some(ours) = self.feeds.get(&feed) else { return };
                let blocks =
                    blocks.filter(|blocks| blocks.end <= length && ours.have.all(blocks.clone()));
                match (blocks, state.links.get_mut(&feed)) {
                    (Some(blocks), _) => {
                        let runs = alloc::vec![blocks];
                        let taken =
                            state.upload.request(feed, ours.class, request, priority, length, runs);
                        self.check(peer, taken);
                    }
                    (None, Some(link)) => link.missing.push((request, Vec::new())),
                    (None, None) => {}
                }
            }
            Done::Proved { peer, feed, proof } => {
                if let Some(link) =
                    self.peers.get_mut(&peer).and_then(|peer| peer.links.get_mut(&feed))
                {
                    link.upgrade = proof;
                }
            }
            Done::Upgraded { peer, feed, result } => self.upgraded(peer, feed, result),
            Done::Stored { peer, feed, block, len, result } => {
                self.stored(now, peer, feed, block, len, result);
            }
        }
    }

    fn upgraded(&mut self, peer: PeerId, id: FeedId, result: Result<u64, Failure>) {
        let Some(feed) = self.feeds.get_mut(&id) else { return };
        match result {
            Ok(length) if length > feed.length => {
                feed.advance(length);
                self.events.push_back(Event::Upgraded { feed: id, length });
            }
            Ok(_) | Err(Failure::Ours) => {}
            Err(Failure::Peer) => self.fault(peer, Fault::BadUpgrade),
        }
    }

    fn stored(
        &mut self,
        now: Instant,
        peer: PeerId,
        id: FeedId,
        block: BlockIndex,
        len: u64,
        result: Result<u64, Failure>,
    ) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.backlog = peer.backlog.saturating_sub(len);
        }
        let Some(feed) = self.feeds.get_mut(&id) else { return };
        match result {
            Ok(offset) => {
                feed.measure(len);
                let done = feed.stored(block.0, &(offset..offset + len));
                if feed.have.all(0..feed.length) {
                    // The whole tree is known now: whoever could not be shown our head before can be.
                    let links = self.peers.values_mut().filter_map(|peer| peer.links.get_mut(&id));
                    links.for_each(|link| link.offered = 0);
                }
                self.events.push_back(Event::Stored { feed: id, block, peer });
                self.events.extend(done.into_iter().map(|want| Event::WantDone { want }));
            }
            Err(failure) => {
                feed.assigned.clear(block.0);
                match failure {
                    Failure::Ours => feed.paused_until = Some(now + DISK_PAUSE),
                    Failure::Peer => self.fault(peer, Fault::BadBlock(block)),
                }
            }
        }
    }

    /// Tells that time passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        let stalled: Vec<PeerId> = self
            .peers
            .iter()
            .filter(|(_, peer)| download::is_stalled(peer, now))
            .map(|(id, _)| *id)
            .collect();
        for id in stalled {
            self.revoke(id);
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.paused_until = Some(now + STALL_PAUSE);
                peer.asked_at = None;
            }
        }
        let over = |until: &mut Option<Instant>| {
            if until.is_some_and(|at| at <= now) {
                *until = None;
            }
        };
        self.peers.values_mut().for_each(|peer| over(&mut peer.paused_until));
        self.feeds.values_mut().for_each(|feed| over(&mut feed.paused_until));
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout), and then the polls, should be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let stalls = self.peers.values().filter_map(download::stalls_at);
        let peer_pauses = self.peers.values().filter_map(|peer| peer.paused_until);
        let feed_pauses = self.feeds.values().filter_map(|feed| feed.paused_until);
        let announcements = self.peers.values().flat_map(|peer| {
            peer.links.iter().filter_map(|(id, link)| link.announce_at(self.feeds.get(id)?))
        });
        stalls.chain(peer_pauses).chain(feed_pauses).chain(announcements).min()
    }

    /// Returns work for a store.
    pub fn poll_job(&mut self) -> Option<Job> {
        if self.jobs.is_empty() {
            self.read_ahead();
        }
        self.jobs.pop_front()
    }

    /// Returns news.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Returns the peers.
    pub fn peers(&self) -> impl Iterator<Item = PeerStatus> {
        self.peers.iter().map(|(id, peer)| peer.status(*id))
    }

    fn check(&mut self, peer: PeerId, result: Result<(), Fault>) {
        if let Err(fault) = result {
            self.fault(peer, fault);
        }
    }

    /// Ends a peer that broke the protocol.
    fn fault(&mut self, id: PeerId, fault: Fault) {
        self.revoke(id);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if !core::mem::replace(&mut peer.faulted, true) {
            self.feeds.values_mut().for_each(|feed| drop(feed.holders.remove(&id)));
            self.events.push_back(Event::Fault { peer: id, fault });
        }
    }

    /// Draws 16 bytes that no one can guess without the seed.
    fn draw(&mut self) -> [u8; 16] {
        self.drawn += 1;
        let hash = blake3::keyed_hash(&self.seed, &self.drawn.to_le_bytes());
        let (first, _) = hash.as_bytes().split_at(16);
        first.try_into().expect("half a hash is 16 bytes")
    }
}
