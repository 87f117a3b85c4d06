//! Where peers, feeds and stores meet: one replicator, asked and told by everybody.
//!
//! Whoever has news locks the hub, tells the replicator, and *settles*: jobs go to the stores, events to those who wait,
//! and the writers of the peers that it concerns are woken to ask for their next frame. Nothing is queued here; no lock is held
//! across an await.
//! Elsewhere: the decisions (`datnode_proto`), the bytes of a stream (`session`), stores (`worker`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant as Clock};

use datnode_feed::{Bitfield, BlockIndex, FeedSlot, PublicKey, SignedHead};
use datnode_proto::{
    Availability, Binding, Contact, Done, Event, Fault, FeedId, Frame, Instant, Limits, PeerId,
    PeerStatus, Priority, Progress, Replica, Replicator, Want, WantId,
};
use libp2p::Multiaddr;
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::sync::{Notify, oneshot, watch};
use tracing::{debug, info, warn};

use super::contacts;
use super::sought::Sought;
use super::worker::StoreHandle;
use crate::pool::Pool;
use crate::swarm::Shunned;
use crate::swarm::limits::EXCHANGE_QUEUED;

/// A handle on the hub of this process; clones share it.
#[derive(Clone)]
pub struct Hub {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    timer: Notify,
    answers: UnboundedSender<Done>,
    /// For payloads that peers send.
    payloads: Pool,
}

pub(super) struct State {
    pub(super) replicator: Replicator,
    started: Clock,
    feeds: BTreeMap<FeedId, Feed>,
    peers: BTreeMap<PeerId, Peer>,
    wants: BTreeMap<WantId, oneshot::Sender<()>>,
    next_feed: u32,
    next_peer: u64,
    /// Where peers were looked for.
    pub(super) sought: Sought,
    /// Peers that broke the protocol lately, by what the carrier knows them as: they get no further stream.
    pub(super) shunned: Shunned<Vec<u8>>,
    /// The newest protocol version that a peer offered and we do not speak.
    newer_protocol: Option<u16>,
    /// Whether somebody was ever there who knows a feed of ours.
    met: bool,
    /// What peers took and brought that are gone.
    gone: Traffic,
    /// The last one who sent what was not signed.
    liar: Option<Liar>,
    /// Tells whenever a feed was opened with a peer, or a peer answered where we dialed.
    good_ones: watch::Sender<()>,
    /// Takes addresses of peers that other peers named.
    named: Option<mpsc::Sender<Vec<Multiaddr>>>,
}

/// A peer that sent something of a feed which its writer did not sign.
#[derive(Clone, Debug)]
pub(super) struct Liar {
    /// The name in its [`About`].
    pub(super) name: String,
    /// What was wrong.
    pub(super) fault: Fault,
    /// When.
    pub(super) at: Clock,
}

struct Feed {
    store: StoreHandle,
    slot: FeedSlot,
    news: watch::Sender<News>,
}

struct Peer {
    about: About,
    wake: Arc<Notify>,
    close: Arc<Notify>,
    fault: Option<String>,
}

/// How far a feed is, as its watchers see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// The length of the verified head, in blocks.
    pub length: u64,
    /// How many blocks were stored since the feed was added.
    pub stored: u64,
    /// Whether its writer is known to have signed two histories.
    pub accused: bool,
    /// The longest length that others hold of a feed that is written here, if ours is shorter.
    pub behind: Option<u64>,
}

/// Who is at the other end of a session, in words.
#[derive(Clone, Debug)]
pub struct About {
    /// The node id, or what stands for it on a local socket.
    pub name: String,
    /// The address it was reached by.
    pub address: String,
    /// Whether we met it half-way, through two routers that let nobody in.
    pub punched: bool,
    /// Whether it is at the other end of a control socket: no bandwidth limit counts for what is no network.
    pub is_local: bool,
}

/// What peers sent and received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Payload bytes sent.
    pub bytes_out: u64,
    /// Payload bytes received.
    pub bytes_in: u64,
    /// How many sessions took something.
    pub served: u64,
}

impl Traffic {
    fn add(&mut self, peer: &PeerStatus) {
        self.bytes_out += peer.bytes_out;
        self.bytes_in += peer.bytes_in;
        self.served += u64::from(peer.bytes_out > 0);
    }
}

/// A peer, as commands show it.
#[derive(Clone, Debug)]
pub struct PeerReport {
    /// Who it is.
    pub about: About,
    /// What the replicator counts for it.
    pub status: PeerStatus,
}

/// A want under way: what is left of it is withdrawn when this is dropped.
pub struct Selection {
    hub: Hub,
    id: WantId,
    done: oneshot::Receiver<()>,
}

impl Selection {
    /// Waits until everything that was asked for is here.
    pub async fn done(&mut self) {
        // The sender goes away only with the want itself, that is, when the feed was removed: nobody waits then.
        let _ = (&mut self.done).await;
    }

    /// Tells how far it is; nothing once everything is here.
    pub fn progress(&self) -> Option<Progress> {
        self.hub.lock().replicator.progress(self.id)
    }

    /// Changes how urgent it is.
    pub fn reprioritize(&self, priority: Priority) {
        let mut state = self.hub.lock();
        state.replicator.reprioritize(self.id, priority);
        self.hub.settle(state);
    }
}

impl Drop for Selection {
    fn drop(&mut self) {
        let mut state = self.hub.lock();
        state.wants.remove(&self.id);
        state.replicator.unwant(self.id);
        self.hub.settle(state);
    }
}

impl Hub {
    /// Makes a hub; the returned future runs its timers and the stores' answers, and must be spawned.
    pub fn new(seed: [u8; 32]) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (answers, inbox) = mpsc::unbounded_channel();
        let state = State {
            replicator: Replicator::new(seed),
            started: Clock::now(),
            feeds: BTreeMap::new(),
            peers: BTreeMap::new(),
            wants: BTreeMap::new(),
            next_feed: 0,
            next_peer: 0,
            sought: Sought::default(),
            shunned: Shunned::new(0),
            newer_protocol: None,
            met: false,
            gone: Traffic::default(),
            liar: None,
            good_ones: watch::Sender::new(()),
            named: None,
        };
        let (timer, payloads) = (Notify::new(), Pool::default());
        let shared = Shared { state: Mutex::new(state), timer, answers, payloads };
        let hub = Self { shared: Arc::new(shared) };
        let driver = hub.clone();
        (hub, async move { driver.drive(inbox).await })
    }

    /// Returns where stores send their answers.
    pub fn answers(&self) -> UnboundedSender<Done> {
        self.shared.answers.clone()
    }

    /// Replicates a feed of `store`; the news tell how it gets on.
    pub fn add_feed(
        &self,
        replica: Replica,
        store: StoreHandle,
        slot: FeedSlot,
    ) -> (FeedId, watch::Receiver<News>) {
        let mut state = self.lock();
        let id = FeedId(state.next_feed);
        state.next_feed += 1;
        let length = replica.head.map_or(0, |head| head.head.length);
        let accused = replica.accusation.is_some();
        let (news, watcher) = watch::channel(News { length, stored: 0, accused, behind: None });
        state.feeds.insert(id, Feed { store, slot, news });
        state.replicator.add_feed(id, replica);
        self.settle(state);
        (id, watcher)
    }

    /// Replicates feeds no longer, and lets their stores go; the sessions of those who know them end, and may begin anew.
    pub fn remove_feeds(&self, feeds: impl IntoIterator<Item = FeedId>) {
        let mut state = self.lock();
        for feed in feeds {
            let know = state.replicator.remove_feed(feed);
            let sessions = know.iter().filter_map(|peer| state.peers.get(peer));
            sessions.for_each(|peer| peer.close.notify_one());
            state.feeds.remove(&feed);
        }
        self.settle(state);
    }

    /// Asks for blocks or bytes of a feed.
    pub fn want(&self, feed: FeedId, want: Want) -> Selection {
        self.select(self.lock(), feed, want)
    }

    /// Does the same; what comes first should be here in this time.
    pub fn want_by(&self, feed: FeedId, want: Want, within: Duration) -> Selection {
        let state = self.lock();
        let deadline = Some(state.now() + within);
        self.select(state, feed, Want { deadline, ..want })
    }

    /// Looks up the leaves of blocks of a feed, as far as somebody has all of them.
    pub(super) fn look_up(&self, feed: FeedId, blocks: &[std::ops::Range<u64>]) -> Selection {
        let mut state = self.lock();
        let id = state.replicator.look_up(feed, blocks);
        self.selected(state, id)
    }

    fn select(&self, mut state: MutexGuard<'_, State>, feed: FeedId, want: Want) -> Selection {
        let id = state.replicator.want(feed, want);
        self.selected(state, id)
    }

    fn selected(&self, mut state: MutexGuard<'_, State>, id: WantId) -> Selection {
        let (reply, done) = oneshot::channel();
        state.wants.insert(id, reply);
        self.settle(state);
        Selection { hub: self.clone(), id, done }
    }

    /// Tells whether a block is here, or with somebody connected.
    pub fn availability(&self, feed: FeedId, block: BlockIndex) -> Availability {
        self.lock().replicator.availability(feed, block)
    }

    /// Returns the blocks of a feed that are here or with a connected peer; `None` while no peer has told what it holds.
    pub fn in_reach(&self, feed: FeedId) -> Option<Bitfield> {
        self.lock().replicator.in_reach(feed)
    }

    /// Tells whether peers told of their part of a feed, and none of them says that it is longer than `length`.
    pub fn is_newest(&self, feed: FeedId, length: u64) -> bool {
        let state = self.lock();
        let longest = state.replicator.told(feed).max();
        longest.is_some_and(|longest| longest <= length)
    }

    /// Limits what is sent to and received from other computers, in bytes a second, from now on.
    pub fn limit(&self, limits: Limits) {
        let mut state = self.lock();
        let now = state.now();
        state.replicator.limit(now, limits);
        self.settle(state);
    }

    /// Returns these limits.
    pub fn limits(&self) -> Limits {
        self.lock().replicator.limits()
    }

    /// Returns where peers were looked for, and what came of it.
    pub fn sought(&self) -> Sought {
        self.lock().sought.clone()
    }

    /// Tells that blocks are here that no job brought.
    pub fn have(&self, feed: FeedId, blocks: std::ops::Range<u64>) {
        let mut state = self.lock();
        state.replicator.handle_have(feed, blocks);
        self.settle(state);
    }

    /// Tells that a feed that is written here has a new head, and its blocks.
    pub fn grown(&self, feed: FeedId, head: SignedHead, have: &Bitfield) {
        let mut state = self.lock();
        state.replicator.handle_head(feed, head);
        let runs: Vec<_> = have.runs().collect();
        runs.into_iter().for_each(|run| state.replicator.handle_have(feed, run));
        state.tell(feed, |news| news.length = head.head.length);
        self.settle(state);
    }

    /// Tells that blocks that were here are here no longer.
    pub fn lost(&self, feed: FeedId, runs: impl IntoIterator<Item = std::ops::Range<u64>>) {
        let mut state = self.lock();
        runs.into_iter().for_each(|run| state.replicator.handle_lost(feed, run));
        self.settle(state);
    }

    /// Tells which of these blocks, if they were here, are here no longer: they were read, and found rotten or changed.
    ///
    /// To be called where the store is, whose blocks are `have`: anywhere else one may be stored between the look and the word, and
    /// would be fetched again, or waited for in vain.
    pub(super) fn missing(
        &self,
        feed: FeedId,
        have: &Bitfield,
        runs: impl IntoIterator<Item = std::ops::Range<u64>>,
    ) {
        self.lost(feed, runs.into_iter().flat_map(|run| have.gaps_in(run)));
    }

    /// Returns a number that grows whenever the work gets on: a longer head, a block, the first peer that knows a feed.
    ///
    /// What peers could do for ever and to no end does not count: coming, going, and sending what is not taken.
    pub fn progress(&self) -> u64 {
        let state = self.lock();
        let feeds =
            state.feeds.values().map(|feed| feed.news.borrow().length + feed.news.borrow().stored);
        u64::from(state.met) + feeds.sum::<u64>()
    }

    /// Returns the connected peers.
    pub fn peers(&self) -> Vec<PeerReport> {
        let state = self.lock();
        let report = |status: PeerStatus| {
            let peer = state.peers.get(&status.peer)?;
            Some(PeerReport { about: peer.about.clone(), status })
        };
        let reports = state.replicator.peers().filter_map(report);
        reports.collect()
    }

    /// Returns those of them who have a drive, by its key.
    pub fn peers_of(&self, drive: &PublicKey) -> Vec<PeerReport> {
        let (mut peers, state) = (self.peers(), self.lock());
        peers.retain(|peer| state.replicator.is_open_with(peer.status.peer, drive));
        peers
    }

    /// Returns how many blocks of a feed a peer says that it holds, of how many.
    pub fn holding(&self, feed: FeedId, peer: PeerId) -> Option<(u64, u64)> {
        self.lock().replicator.holding(feed, peer)
    }

    /// Tells whether a peer may have some of what is wanted.
    pub(super) fn may_help(&self, peer: PeerId) -> bool {
        self.lock().replicator.may_help(peer)
    }

    /// Returns what was sent and received over networks since the beginning; control sockets do not count.
    pub fn traffic(&self) -> Traffic {
        let state = self.lock();
        let mut all = state.gone;
        for status in state.replicator.peers() {
            let local = state.peers.get(&status.peer).is_none_or(|peer| peer.about.is_local);
            if !local {
                all.add(&status);
            }
        }
        all
    }

    /// Returns what tells that [`Hub::good_addresses`] may be others now.
    pub(super) fn good_ones(&self) -> watch::Receiver<()> {
        self.lock().good_ones.subscribe()
    }

    /// Tells peers of each other from now on; returns the addresses of those whom they name.
    pub(super) fn exchange_contacts(&self) -> mpsc::Receiver<Vec<Multiaddr>> {
        let (named, heard) = mpsc::channel(EXCHANGE_QUEUED);
        let mut state = self.lock();
        state.replicator.exchange_contacts();
        state.named = Some(named);
        heard
    }

    /// A peer proved who it is at an address that we dialed.
    pub(super) fn handle_reached(&self, peer: libp2p::PeerId, address: &Multiaddr) {
        let mut state = self.lock();
        state.sought.dialed(peer, address);
        state.good_ones.send_replace(());
        let name = peer.to_string();
        let ids = state.peers.iter().filter(|(_, peer)| peer.about.name == name);
        for id in ids.map(|(id, _)| *id).collect::<Vec<_>>() {
            state.locate(id);
        }
        self.settle(state);
    }

    /// Returns where peers were dialed that have this drive.
    pub(super) fn good_addresses(&self, drive: &PublicKey) -> Vec<Multiaddr> {
        let serving = self.peers_of(drive).into_iter();
        let state = self.lock();
        serving.filter_map(|peer| state.sought.dialed_at(&peer.about.name)).collect()
    }

    /// Returns the version of the newest protocol that some peer spoke, if no common version was found.
    pub fn newer_protocol(&self) -> Option<u16> {
        self.lock().newer_protocol
    }

    /// Returns the last one who sent what was not signed, if there was one.
    pub(super) fn liar(&self) -> Option<Liar> {
        self.lock().liar.clone()
    }

    /// Returns the buffers for what peers send.
    pub(super) fn payloads(&self) -> Pool {
        self.shared.payloads.clone()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().expect("no code panics while it holds the hub")
    }

    /// Passes on what followed from the last news.
    pub(super) fn settle(&self, mut state: MutexGuard<'_, State>) {
        state.dispatch_jobs();
        state.route_events();
        for peer in state.peers.values() {
            peer.wake.notify_one();
        }
        drop(state);
        self.shared.timer.notify_one();
    }

    /// Passes on what followed from news of one peer that concern no other.
    pub(super) fn settle_for(&self, mut state: MutexGuard<'_, State>, peer: PeerId) {
        state.dispatch_jobs();
        state.route_events();
        if let Some(peer) = state.peers.get(&peer) {
            peer.wake.notify_one();
        }
        drop(state);
        self.shared.timer.notify_one();
    }

    /// Passes on jobs and events that followed from asking for a frame, which gives other writers nothing new to send.
    pub(super) fn settle_quietly(&self, mut state: MutexGuard<'_, State>, frame: Option<&Frame>) {
        state.dispatch_jobs();
        state.route_events();
        // Who was asked has so long to answer, and where there is nothing to ask for now there may be soon; under a limit
        // somebody's turn may be sooner or later now.
        let has_asked = frame.is_none_or(|frame| frame.payload.is_empty());
        if has_asked || state.replicator.is_limited() {
            drop(state);
            self.shared.timer.notify_one();
        }
    }

    /// Runs timers and takes the stores' answers, for ever.
    async fn drive(self, mut inbox: mpsc::UnboundedReceiver<Done>) {
        loop {
            let due = {
                let state = self.lock();
                state.replicator.poll_timeout().map(|at| state.clock(at))
            };
            let sleep = async {
                match due {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                done = inbox.recv() => {
                    let Some(done) = done else { return };
                    let mut state = self.lock();
                    state.take_answers(done, &mut inbox);
                    self.settle(state);
                }
                () = self.shared.timer.notified() => {}
                () = sleep => {
                    let mut state = self.lock();
                    let now = state.now();
                    state.replicator.handle_timeout(now);
                    self.settle(state);
                }
            }
        }
    }
}

impl State {
    pub(super) fn now(&self) -> Instant {
        let micros = self.started.elapsed().as_micros();
        Instant(u64::try_from(micros).expect("a process does not run for half a million years"))
    }

    pub(super) fn clock(&self, at: Instant) -> Clock {
        self.started + Duration::from_micros(at.0)
    }

    pub(super) fn connect(
        &mut self,
        about: About,
        binding: Binding,
    ) -> (PeerId, Arc<Notify>, Arc<Notify>) {
        let id = PeerId(self.next_peer);
        self.next_peer += 1;
        let (wake, close) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        info!(peer = %about.name, address = %about.address, "connected");
        let now = self.now();
        self.replicator.handle_connected(now, id, binding);
        if about.is_local {
            self.replicator.exempt(id);
        }
        let peer = Peer { about, wake: wake.clone(), close: close.clone(), fault: None };
        self.peers.insert(id, peer);
        self.locate(id);
        (id, wake, close)
    }

    /// Tells where a peer is, as far as that is known: one at a control socket or a pipe is nowhere.
    fn locate(&mut self, id: PeerId) {
        let Some(Peer { about, .. }) = self.peers.get(&id) else { return };
        if let Ok(connection) = about.address.parse::<Multiaddr>() {
            let dialed = self.sought.dialed_at(&about.name);
            self.replicator.handle_place(id, contacts::place(&connection, dialed.as_ref()));
        }
    }

    /// A peer named others.
    fn heard_of(&self, id: PeerId, named: Vec<Contact>) {
        let (Some(peer), Some(to)) = (self.peers.get(&id), &self.named) else { return };
        let Ok(from) = peer.about.address.parse() else { return };
        // What nobody has time for is named again.
        let _ = to.try_send(contacts::dialable(named, &from));
    }

    pub(super) fn disconnect(&mut self, id: PeerId) -> Option<String> {
        let other = self.peers.get(&id).is_some_and(|peer| !peer.about.is_local);
        if let Some(status) = self.replicator.peer(id).filter(|_| other) {
            self.gone.add(&status);
        }
        self.replicator.handle_disconnected(id);
        let peer = self.peers.remove(&id)?;
        info!(peer = %peer.about.name, fault = peer.fault.as_deref(), "disconnected");
        peer.fault
    }

    /// Takes one answer and those that came meanwhile, so that a burst is settled once.
    fn take_answers(&mut self, first: Done, inbox: &mut mpsc::UnboundedReceiver<Done>) {
        const BURST: usize = 64;
        let now = self.now();
        self.replicator.handle_done(now, first);
        for _ in 1..BURST {
            let Ok(done) = inbox.try_recv() else { return };
            self.replicator.handle_done(now, done);
        }
    }

    fn dispatch_jobs(&mut self) {
        while let Some(job) = self.replicator.poll_job() {
            let feed = self.feeds.get(&job.feed()).expect("jobs are for feeds that were added");
            feed.store.job(feed.slot, job);
        }
    }

    fn route_events(&mut self) {
        while let Some(event) = self.replicator.poll_event() {
            match event {
                Event::Upgraded { feed, length } => {
                    self.tell(feed, |news| news.length = length);
                }
                Event::Accused { feed } => {
                    warn!("the writer of a feed signed two histories: it is followed no further");
                    self.tell(feed, |news| news.accused = true);
                }
                Event::Behind { feed, theirs } => {
                    self.tell(feed, |news| news.behind = news.behind.max(Some(theirs)));
                }
                Event::Stored { feed, .. } => self.tell(feed, |news| news.stored += 1),
                Event::WantDone { want } => {
                    if let Some(reply) = self.wants.remove(&want) {
                        let _ = reply.send(());
                    }
                }
                Event::Fault { peer, fault } => {
                    if let Some(peer) = self.peers.get_mut(&peer) {
                        info!(peer = %peer.about.name, %fault, "a peer broke the protocol");
                        peer.fault = Some(fault.to_string());
                        peer.close.notify_one();
                        let is_lie = matches!(
                            fault,
                            Fault::BadBlock(_) | Fault::BadLeaves | Fault::BadUpgrade
                        );
                        if is_lie {
                            let (name, at) = (peer.about.name.clone(), Clock::now());
                            self.liar = Some(Liar { name, fault, at });
                        }
                    }
                }
                Event::Contacts { peer, contacts, .. } => self.heard_of(peer, contacts),
                Event::NewerProtocol { theirs, .. } => self.newer_protocol = Some(theirs),
                Event::Opened { .. } => {
                    self.met = true;
                    self.good_ones.send_replace(());
                }
                other => debug!(?other, "event"),
            }
        }
    }

    fn tell(&mut self, feed: FeedId, change: impl FnOnce(&mut News)) {
        if let Some(feed) = self.feeds.get(&feed) {
            feed.news.send_modify(change);
        }
    }
}
