//! Decides what is asked of whom, and what is sent next, for many feeds and many peers. SPEC 7.
//!
//! This file routes. Elsewhere: one peer (`peer`), a feed with a peer (`channel`), a feed (`feed`), what is asked (`download`,
//! `swap`, `want`, `leaves`), what is answered (`upload`), what messages mean (`receive`), how fast they are taken (`pace`), what is sent (`transmit`),
//! how many bytes that may be (`limit`, `gate`, `throttle`), and what is remembered for all of them (`weight`).

mod bisection;
mod blocks;
mod channel;
#[cfg(feature = "fuzz")]
mod check;
mod download;
mod feed;
mod gate;
mod holder;
mod introduce;
mod leaves;
mod limit;
mod pace;
mod patience;
mod peer;
mod picker;
mod rarity;
mod rate;
mod receive;
mod runs;
mod swap;
mod thrift;
mod throttle;
mod told;
mod transmit;
mod upload;
mod want;
mod weight;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::ops::Range;

use datnode_feed::{Accusation, Bitfield, BlockIndex, Comparison, PublicKey, SignedHead};

use crate::fault::Fault;
use crate::ids::{Binding, FeedId, Instant, PeerId, Priority, WantId};
use crate::job::{Availability, Done, Event, Failure, Job};
use crate::limits::{DISK_PAUSE, TALK_STREAM};
use crate::wire::Runs;
use channel::Link;
use feed::Feed;
use gate::{Both, Gate};
use holder::{Holder, Standing};
use leaves::Lookup;
use pace::Turns;
use peer::Peer;
use runs::RunSet;
use thrift::Thrift;
use upload::{Answer, Asked};
use want::Open;

pub use feed::Replica;
pub use limit::Limits;
pub use peer::PeerStatus;
pub use want::{Order, Progress, Target, Want};

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
    /// How often peers lost what they owed since a block came that holds.
    in_vain: u32,
    thrift: Thrift,
    turns: Turns,
    gates: Both<Gate>,
    /// Whether peers are told of each other.
    exchanges: bool,
    /// How often it changed who could be told of.
    meetings: u64,
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
            in_vain: 0,
            thrift: Thrift::new(),
            turns: Turns::default(),
            gates: Both::default(),
            exchanges: false,
            meetings: 0,
        }
    }

    /// Replicates a feed.
    pub fn add_feed(&mut self, id: FeedId, replica: Replica) {
        self.feeds.insert(id, Feed::new(replica));
        self.peers.values_mut().for_each(|peer| peer.add(id));
    }

    /// Replicates a feed no longer: nothing is asked or answered of it any more. Returns the peers that know it here; their streams
    /// are to be ended, since what they say of it may be on its way.
    #[must_use = "whoever knows of the feed goes on speaking of it"]
    pub fn remove_feed(&mut self, id: FeedId) -> Vec<PeerId> {
        self.peers.keys().copied().collect::<Vec<_>>().into_iter().for_each(|peer| {
            self.revoke_feed(peer, id);
        });
        self.feeds.remove(&id);
        self.jobs.retain(|job| job.feed() != id);
        let mut know = Vec::new();
        for (name, peer) in &mut self.peers {
            peer.upload.close(id);
            let link = peer.links.remove(&id);
            // One that was told of it may say something, be it that it does not know it.
            know.extend(link.filter(|link| link.opened || link.theirs.is_some()).map(|_| *name));
            peer.theirs.retain(|_, feed| *feed != id);
        }
        know
    }

    /// Tells that our own head moved.
    pub fn handle_head(&mut self, id: FeedId, head: SignedHead) {
        if let Some(feed) = self.feeds.get_mut(&id) {
            feed.advance(head);
        }
        self.compare(id);
    }

    /// Has heads compared that can be now.
    fn compare(&mut self, id: FeedId) {
        let Some(feed) = self.feeds.get_mut(&id) else { return };
        let jobs = feed.uncompared().into_iter();
        self.jobs.extend(jobs.map(|(peer, head)| Job::Compare { peer, feed: id, head }));
    }

    /// Tells that we hold these blocks now.
    pub fn handle_have(&mut self, id: FeedId, blocks: Range<u64>) {
        let Some(feed) = self.feeds.get_mut(&id) else { return };
        feed.have.set_range(blocks.clone());
        feed.note_change(blocks);
        self.recount(id);
    }

    /// Tells that we hold these blocks no longer.
    pub fn handle_lost(&mut self, id: FeedId, blocks: Range<u64>) {
        let Some(feed) = self.feeds.get_mut(&id).filter(|feed| feed.have.any(blocks.clone()))
        else {
            return;
        };
        feed.lost(blocks);
        self.recount(id);
    }

    fn recount(&mut self, id: FeedId) {
        let Some(feed) = self.feeds.get_mut(&id) else { return };
        let have = &feed.have;
        feed.wants.iter_mut().for_each(|want| want.count(have));
        let done = feed.take_done();
        self.tell_done(id, done);
    }

    /// Tells that wants of a feed are done; whoever was asked for bytes of them need send no more.
    fn tell_done(&mut self, id: FeedId, done: Vec<WantId>) {
        if done.is_empty() {
            return;
        }
        for link in self.peers.values_mut().filter_map(|peer| peer.links.get_mut(&id)) {
            link.withdraw(|request| done.contains(&request.want));
        }
        self.events.extend(done.into_iter().map(|want| Event::WantDone { want }));
    }

    /// Asks for blocks or bytes of a feed.
    pub fn want(&mut self, id: FeedId, want: Want) -> WantId {
        let name = WantId(self.next_want);
        self.next_want += 1;
        // It has no claim to what its equals had before it came.
        let equals = self.feeds.values().flat_map(|feed| &feed.wants);
        let equals = equals.filter(|open| open.priority == want.priority && open.lacks());
        let served = equals.map(|open| open.served).min().unwrap_or_default();
        if let Some(feed) = self.feeds.get_mut(&id) {
            let mut open = Open::new(name, want, &feed.have, feed.length);
            open.served = served;
            if open.is_done() {
                self.events.push_back(Event::WantDone { want: name });
            } else {
                let (priority, runs) = (open.priority, open.runs.clone());
                feed.wants.push(open);
                self.raise_if_urgent(id, priority, &runs);
            }
        }
        name
    }

    /// Asks for it no longer: what nobody else wants of it is taken back from the peers.
    pub fn unwant(&mut self, id: WantId) {
        let lookups = self.feeds.values_mut().map(|feed| &mut feed.lookups);
        lookups.for_each(|lookups| lookups.retain(|lookup| lookup.id != id));
        let Some((feed_id, open)) = self.feeds.iter_mut().find_map(|(feed_id, feed)| {
            let at = feed.wants.iter().position(|want| want.id == id)?;
            Some((*feed_id, feed.wants.remove(at)))
        }) else {
            return;
        };
        let mut idle: RunSet = open.rest().collect();
        let feed = self.feeds.get(&feed_id);
        let others = feed.into_iter().flat_map(|feed| &feed.wants).flat_map(|want| &want.runs);
        others.for_each(|run| idle.remove(run.clone()));
        let idle: Runs = idle.iter().collect();
        let mut taken = Runs::new();
        for link in self.peers.values_mut().filter_map(|peer| peer.links.get_mut(&feed_id)) {
            taken.extend(link.take_back(&idle));
            link.withdraw(|request| request.want == id);
        }
        self.release_all(feed_id, &taken);
    }

    /// Changes how urgent a want is.
    pub fn reprioritize(&mut self, id: WantId, priority: Priority) {
        for feed_id in self.feeds.keys().copied().collect::<Vec<_>>() {
            let Some(feed) = self.feeds.get_mut(&feed_id) else { continue };
            let Some(want) = feed.wants.iter_mut().find(|want| want.id == id) else { continue };
            want.priority = priority;
            let runs = want.runs.clone();
            self.raise_if_urgent(feed_id, priority, &runs);
        }
    }

    fn raise_if_urgent(&mut self, feed: FeedId, priority: Priority, runs: &Runs) {
        if priority > Priority(0) {
            self.raise(feed, priority, runs);
        }
    }

    /// Tells how far a want is, or in full subtrees how far leaves are looked up; nothing if it is done or was withdrawn.
    pub fn progress(&self, id: WantId) -> Option<Progress> {
        let of_feed = |feed: &Feed| {
            let want = feed.wants.iter().find(|want| want.id == id).map(Open::progress);
            let lookup = || feed.lookups.iter().find(|lookup| lookup.id == id);
            want.or_else(|| lookup().map(Lookup::progress))
        };
        self.feeds.values().find_map(of_feed)
    }

    /// Tells whether a block can be had.
    pub fn availability(&self, id: FeedId, block: BlockIndex) -> Availability {
        let Some(feed) = self.feeds.get(&id) else { return Availability::Unknown };
        if feed.have.contains(block.0) {
            return Availability::Here;
        }
        let helps = |holder: &&Holder| holder.heard && holder.standing != Standing::Estranged;
        let mut heard = feed.holders.values().filter(helps).peekable();
        if heard.peek().is_none() {
            Availability::Unknown
        } else if heard.any(|holder| holder.have.contains(block.0)) {
            Availability::Connected
        } else {
            Availability::Nobody
        }
    }

    /// Tells whether a peer may have some of what is wanted: it said so, or has not told yet.
    pub fn may_help(&self, peer: PeerId) -> bool {
        self.feeds.values().any(|feed| feed.may_help(peer))
    }

    /// Returns the blocks of a feed that are here or with a connected peer; `None` while no peer has told what it holds.
    pub fn in_reach(&self, id: FeedId) -> Option<Bitfield> {
        let feed = self.feeds.get(&id)?;
        let helpful = feed.holders.iter().filter(|(peer, _)| feed.common_length(**peer).is_some());
        let runs = |holder: &Holder| holder.have.runs().collect::<Vec<_>>();
        let mut theirs = helpful.map(|(_, holder)| runs(holder)).peekable();
        theirs.peek()?;
        let mut all: Bitfield = feed.have.runs().collect();
        theirs.flatten().for_each(|run| all.set_range(run));
        Some(all)
    }

    /// Returns how long each peer that told of its part of a feed says the feed is.
    pub fn told(&self, id: FeedId) -> impl Iterator<Item = u64> {
        let holders = self.feeds.get(&id).into_iter().flat_map(|feed| feed.holders.values());
        holders.filter(|holder| holder.heard).map(|holder| holder.length)
    }

    /// Asks for a turn for a new stream; returns when [`handle_connected`](Self::handle_connected) may follow. SPEC 7.8.
    pub fn next_stream_at(&mut self, now: Instant) -> Instant {
        self.turns.take(now, TALK_STREAM)
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
        let feeds: Vec<FeedId> = self.feeds.keys().copied().collect();
        feeds.into_iter().for_each(|feed| self.lookups_lost(id, feed));
        self.peers.remove(&id);
        self.feeds.values_mut().for_each(|feed| feed.forget(id));
    }

    /// Tells how a job ended.
    pub fn handle_done(&mut self, now: Instant, done: Done) {
        match done {
            Done::Read { peer, feed, request, urgency, block, answer } => {
                let Some(state) = self.peers.get_mut(&peer) else { return };
                let serves = self.feeds.get(&feed).is_some_and(|feed| feed.serves(peer));
                let link = state.links.get_mut(&feed).filter(|link| serves && link.is_live());
                let missing = answer.is_none();
                let answer = answer.filter(|_| link.is_some());
                if let (true, Some(link)) = (missing, link) {
                    link.reading.clear(block.0);
                    link.missing.push((request, alloc::vec![block.0..block.0 + 1]));
                }
                let answer = answer.map(|(proof, bytes)| Answer { feed, request, proof, bytes });
                state.upload.read(urgency, answer);
                if missing {
                    // It was found rotten when it was read: it is asked of others now.
                    self.handle_lost(feed, block.0..block.0 + 1);
                }
            }
            Done::Located { peer, feed, request, urgency, length, blocks } => {
                let Some(state) = self.peers.get_mut(&peer) else { return };
                state.answered();
                let (Some(link), Some(ours)) = (state.links.get_mut(&feed), self.feeds.get(&feed))
                else {
                    return;
                };
                if !link.is_live() {
                    return;
                }
                let fits = |blocks: &Range<u64>| {
                    blocks.end <= length && ours.serves(peer) && ours.have.all(blocks.clone())
                };
                match blocks.filter(fits) {
                    Some(blocks) => {
                        let runs = alloc::vec![blocks];
                        let (class, id, any_order) = (ours.class, request, false);
                        let asked = Asked { feed, class, id, urgency, length, any_order };
                        let taken = state.upload.request(asked, runs);
                        self.check(peer, taken);
                    }
                    None => {
                        link.missing.push((request, Vec::new()));
                        let asked = state.asked_blindly(now);
                        self.check(peer, asked);
                    }
                }
            }
            Done::Leaves { peer, feed, request, proof } => {
                self.leaves_read(peer, feed, request, proof);
            }
            Done::Learned { peer, feed, request, result } => {
                self.leaves_learned(peer, feed, request, result);
            }
            Done::Proved { peer, feed, proof } => {
                if let Some(link) = self.link(peer, feed) {
                    (link.proving, link.upgrade) = (false, proof);
                }
            }
            Done::Upgraded { peer, feed, result } => {
                self.upgraded(peer, feed, result);
                let Some(link) = self.link(peer, feed) else { return };
                link.verifying = false;
                if let Some(proof) = link.next_head.take() {
                    self.longer_head(peer, feed, proof);
                }
            }
            Done::Compared { peer, feed, head, result } => {
                self.compared(peer, feed, &head, result);
                // It may have told a newer one meanwhile.
                self.compare(feed);
            }
            Done::Accused { peer, feed, result } => match result {
                Ok(accusation) => self.accused(feed, accusation),
                Err(Failure::Peer) => self.fault(peer, Fault::BadAccusation),
                Err(Failure::Ours | Failure::Unproven | Failure::Behind(_)) => {}
            },
            Done::Stored { peer, feed, block, len, result } => {
                self.stored(now, peer, feed, block, len, result);
            }
        }
    }

    /// Returns a feed with a peer that did nothing wrong.
    fn link(&mut self, peer: PeerId, feed: FeedId) -> Option<&mut Link> {
        self.peers.get_mut(&peer).filter(|peer| !peer.faulted)?.links.get_mut(&feed)
    }

    fn upgraded(&mut self, peer: PeerId, id: FeedId, result: Result<SignedHead, Failure>) {
        let Some(feed) = self.feeds.get_mut(&id) else { return };
        match result {
            Ok(head) if head.head.length > feed.length => {
                feed.advance(head);
                self.events.push_back(Event::Upgraded { feed: id, length: head.head.length });
                self.compare(id);
            }
            Ok(_) | Err(Failure::Ours | Failure::Unproven) => {}
            Err(Failure::Behind(theirs)) => {
                self.events.push_back(Event::Behind { feed: id, theirs })
            }
            Err(Failure::Peer) => self.fault(peer, Fault::BadUpgrade),
        }
    }

    fn compared(
        &mut self,
        peer: PeerId,
        id: FeedId,
        head: &SignedHead,
        result: Result<Comparison, Failure>,
    ) {
        let holder = self.feeds.get_mut(&id).and_then(|feed| feed.holders.get_mut(&peer));
        holder.into_iter().for_each(|holder| holder.comparing = false);
        let standing = match result {
            Ok(Comparison::Agree) => Standing::Agrees,
            Ok(Comparison::Unknown)
            | Err(Failure::Ours | Failure::Unproven | Failure::Behind(_)) => Standing::Unknown,
            Ok(Comparison::Contradict(accusation)) => {
                self.accused(id, accusation);
                self.estrange(peer, id);
                Standing::Estranged
            }
            Err(Failure::Peer) => return self.fault(peer, Fault::BadUpgrade),
        };
        let Some(feed) = self.feeds.get_mut(&id) else { return };
        let holder = feed.holders.get_mut(&peer).filter(|holder| holder.head == Some(*head));
        if let Some(holder) = holder {
            holder.settle(standing);
            if standing == Standing::Unknown {
                self.probe(id, head.head.length);
            }
        }
    }

    /// Fetches what shows how a shorter history stands to ours.
    fn probe(&mut self, id: FeedId, length: u64) {
        let Some(feed) = self.feeds.get_mut(&id) else { return };
        let Some(block) = feed.probe(WantId(self.next_want), length) else { return };
        self.want(id, Want::new(Target::Blocks(alloc::vec![block..block + 1])));
    }

    /// Stops serving a peer that follows another history.
    fn estrange(&mut self, peer: PeerId, id: FeedId) {
        self.revoke_feed(peer, id);
        let Some(peer) = self.peers.get_mut(&peer) else { return };
        peer.upload.close(id);
    }

    fn accused(&mut self, id: FeedId, accusation: Box<Accusation>) {
        let Some(feed) = self.feeds.get_mut(&id) else { return };
        if feed.accusation.is_none() {
            feed.accusation = Some(accusation);
            self.events.push_back(Event::Accused { feed: id });
        }
    }

    /// Notes that the store is done with a block; returns the bytes that it was sent for, if it was.
    fn take_storing(
        &mut self,
        peer: PeerId,
        feed: FeedId,
        block: BlockIndex,
    ) -> Option<Range<u64>> {
        let peer = self.peers.get_mut(&peer)?;
        let storing = peer.links.get_mut(&feed)?.storing.remove(&block.0)?;
        peer.backlog -= storing.cost;
        storing.bytes
    }

    /// Makes it possible to ask for a block again, unless somebody else owes it, or sent it as well.
    fn release(&mut self, id: FeedId, block: BlockIndex) {
        let has = |link: &Link| link.asked.contains(block.0) || link.storing.contains_key(&block.0);
        if self.peers.values().any(|peer| peer.links.get(&id).is_some_and(has)) {
            return;
        }
        let Some(feed) = self.feeds.get_mut(&id) else { return };
        feed.release(&alloc::vec![block.0..block.0 + 1]);
    }

    /// Takes back from all what is here now, if it was asked of several.
    fn settle_twice(&mut self, id: FeedId, block: u64, by_bytes: bool) {
        let twice = self.feeds.get_mut(&id).is_some_and(|feed| feed.may_be_owed_twice(block));
        // Which block the bytes would come in, nobody knew when it was asked of others.
        if !twice && !by_bytes {
            return;
        }
        for link in self.peers.values_mut().filter_map(|peer| peer.links.get_mut(&id)) {
            if link.asked.contains(block) {
                link.take_back(core::slice::from_ref(&(block..block + 1)));
            }
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
        let sent_for = self.take_storing(peer, id, block);
        let Some(feed) = self.feeds.get_mut(&id) else { return };
        match result {
            Ok(offset) => {
                feed.measure(len);
                let done = feed.stored(block.0, &(offset..offset + len));
                if feed.have.all(0..feed.length) {
                    feed.reconsider();
                }
                self.settle_twice(id, block.0, sent_for.is_some());
                self.delivered(peer);
                self.events.push_back(Event::Stored { feed: id, block, peer });
                self.tell_done(id, done);
                self.compare(id);
                // Only now is it known where in the feed the block lies.
                if sent_for.is_some_and(|asked| offset > asked.end || offset + len < asked.start) {
                    self.fault(peer, Fault::Unexpected("block nobody asked for"));
                }
            }
            Err(failure) => {
                self.release(id, block);
                let Some(feed) = self.feeds.get_mut(&id) else { return };
                let unsure = feed.holders.get_mut(&peer).filter(|holder| holder.may_be_estranged());
                match (failure, unsure) {
                    (Failure::Ours | Failure::Behind(_), _) => {
                        feed.paused_until = Some(now + DISK_PAUSE)
                    }
                    (Failure::Unproven, _) => self.unproven(now, peer),
                    (Failure::Peer, None) => self.fault(peer, Fault::BadBlock(block)),
                    (Failure::Peer, Some(holder)) => {
                        holder.standing = Standing::Estranged;
                        self.revoke_feed(peer, id);
                    }
                }
            }
        }
    }

    /// Tells that time passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        // What is taken back from them may give others their turn.
        self.look_at_suspects(now);
        self.give_turns(now);
        let over = |until: &mut Option<Instant>| {
            if until.is_some_and(|at| at <= now) {
                *until = None;
            }
        };
        for peer in self.peers.values_mut() {
            over(&mut peer.paused_until);
            over(&mut peer.look_at);
            peer.links.values_mut().for_each(|link| link.handle_timeout(now));
        }
        for feed in self.feeds.values_mut() {
            over(&mut feed.paused_until);
            feed.retry(now);
        }
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout), and then the polls, should be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let suspects = self.suspects().map(|(_, at)| at);
        let peer_pauses =
            self.peers.values().flat_map(|peer| [peer.paused_until, peer.look_at]).flatten();
        let feed_pauses = self.feeds.values().filter_map(|feed| feed.paused_until);
        let announcements = self.peers.values().flat_map(|peer| {
            peer.links.iter().filter_map(|(id, link)| link.announce_at(self.feeds.get(id)?))
        });
        let introductions = self.peers.values().filter(|peer| self.exchanges && peer.exchanges);
        let introductions = introductions.flat_map(|peer| {
            let live = peer.links.values().filter(|link| link.is_live());
            live.filter_map(|link| link.introductions.at(self.meetings))
        });
        let turns = self.next_turn().into_iter();
        let retries = self.feeds.values().flat_map(Feed::retries).map(|retry| retry.at);
        let pauses = peer_pauses.chain(feed_pauses).chain(retries);
        suspects.chain(pauses).chain(announcements).chain(introductions).chain(turns).min()
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

    /// Returns a peer.
    pub fn peer(&self, id: PeerId) -> Option<PeerStatus> {
        Some(self.peers.get(&id)?.status(id))
    }

    /// Returns how many blocks of a feed a peer says that it holds, of those that we know of, and how many these are; none
    /// while it has not told.
    pub fn holding(&self, id: FeedId, peer: PeerId) -> Option<(u64, u64)> {
        let feed = self.feeds.get(&id)?;
        let holder = feed.holders.get(&peer).filter(|holder| holder.heard)?;
        let held = holder.have.runs().map(|run| run.end.min(feed.length).saturating_sub(run.start));
        Some((held.sum(), feed.length))
    }

    /// Tells whether a feed is open with a peer: both know its key.
    pub fn is_open_with(&self, peer: PeerId, key: &PublicKey) -> bool {
        let is_open = |(id, link): (&FeedId, &Link)| {
            link.is_live() && self.feeds.get(id).is_some_and(|feed| feed.key == *key)
        };
        self.peers.get(&peer).is_some_and(|peer| peer.links.iter().any(is_open))
    }

    /// Returns how many bytes are kept of what a peer holds, was told, and owes: what grows with the feeds.
    pub fn footprint(&self, peer: PeerId) -> Option<usize> {
        let links = self.peers.get(&peer)?.links.values().map(Link::footprint);
        let holders = self.feeds.values().filter_map(|feed| feed.holders.get(&peer));
        Some(links.chain(holders.map(Holder::footprint)).sum())
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
            self.feeds.values_mut().for_each(|feed| feed.forget(id));
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
