//! The distributed hash table: who offers a drive, asked and told by its discovery key (SPEC 9.7).
//!
//! A node is a client unless it is one that anybody reaches. What is looked for and what is announced are tasks, each with a
//! time when it is due; they wait while nobody of the table is known, and begin anew as soon as somebody is.
//! Invariant: a task waits or has one query; no more run at once than the table's [`Pace`] says.
//! Elsewhere: what is kept for others (`records`), the queries themselves (libp2p), dialing whom they find (`targets`).

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use libp2p::core::Endpoint;
use libp2p::kad::RecordKey;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::{ConnectionId, NetworkBehaviour as _};
use libp2p::{Multiaddr, PeerId, StreamProtocol, kad};

use super::lookups::LookupId;
use super::records::Records;
use super::targets::peer_of;
use super::{SwarmConfig, chance, limits};

/// Name of the protocol (SPEC 9.7).
pub const PROTOCOL: StreamProtocol = StreamProtocol::new("/datnode/kad/1.0.0");

/// Name of the protocol of the public IPFS DHT (SPEC 9.9).
pub const IPFS_PROTOCOL: StreamProtocol = StreamProtocol::new("/ipfs/kad/1.0.0");

/// Where the public IPFS DHT is entered that its maintainers run for everybody. The others that they name prove themselves by RSA keys,
/// which are not verified here.
pub const IPFS_WAY_IN: &str =
    "/dnsaddr/va1.bootstrap.libp2p.io/p2p/12D3KooWKnDdG3iXw9eTFijk3EWSunZcFi54Zka4wmtqtt6rPxc8";

/// What stands before a hash in a key of the IPFS DHT: that it is one of BLAKE3, and how long it is (multihash).
const BLAKE3_MULTIHASH: [u8; 2] = [0x1e, limits::DHT_KEY_BYTES as u8];

/// A table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    /// Our own.
    Own,
    /// The public one of IPFS.
    Ipfs,
}

impl Table {
    pub(super) const ALL: [Self; 2] = [Self::Own, Self::Ipfs];

    /// Returns where in it is told who has a drive.
    pub(super) fn places(self, drive: DriveName) -> impl Iterator<Item = Place> {
        let many = match self {
            Self::Own => limits::DHT_PLACES,
            Self::Ipfs => 1,
        };
        Place::all(drive).take(many.into())
    }

    /// Returns the key of the records at a place.
    pub(super) fn key(self, place: Place) -> RecordKey {
        match self {
            Self::Own => place.key(),
            Self::Ipfs => RecordKey::from([BLAKE3_MULTIHASH.as_slice(), &place.drive].concat()),
        }
    }

    /// Returns how often it is asked and told the same: whom it belongs to has not asked for our questions.
    pub(super) fn pace(self) -> Pace {
        match self {
            Self::Own => Pace {
                first: limits::DHT_PAUSE_FIRST,
                halves: 3,
                max: limits::DHT_PAUSE_MAX,
                announce: limits::DHT_ANNOUNCE_FEW..=limits::DHT_ANNOUNCE,
                queries: limits::DHT_QUERIES,
            },
            Self::Ipfs => Pace {
                first: limits::IPFS_PAUSE_FIRST,
                halves: 4,
                max: limits::IPFS_PAUSE_MAX,
                announce: limits::IPFS_ANNOUNCE..=limits::IPFS_ANNOUNCE,
                queries: limits::IPFS_QUERIES,
            },
        }
    }
}

/// How often the same is done.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    /// The first pause between two questions.
    first: Duration,
    /// How many halves of a pause the next one has.
    halves: u32,
    /// The most that it grows to.
    max: Duration,
    /// The pause between two announcements of a drive: of one, and of as many as may be.
    announce: RangeInclusive<Duration>,
    /// How many queries run at once.
    queries: usize,
}

/// What speaks it, if it is spoken.
pub(super) type Kad = Toggle<kad::Behaviour<Records>>;

/// What a drive is called among strangers: its discovery key.
pub type DriveName = [u8; limits::DHT_KEY_BYTES];

/// A place in the table where it is told who has a drive, one of [`limits::DHT_PLACES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) drive: DriveName,
    number: u8,
}

impl Place {
    /// Returns the places of a drive.
    pub(super) fn all(drive: DriveName) -> impl Iterator<Item = Self> {
        (0..limits::DHT_PLACES).map(move |number| Self { drive, number })
    }

    /// Returns the key of the records there (SPEC 9.7-6): each is in a quarter of the ids of its own, so that whoever crowds around
    /// one of them is far from the others.
    pub(super) fn key(self) -> RecordKey {
        let first = RecordKey::from(self.drive.to_vec());
        if self.number == 0 {
            return first;
        }
        let right = quarter(&first) ^ self.number;
        let tries = (0_u32..).map(|count| {
            let mut hasher = blake3::Hasher::new_derive_key(PLACE_CONTEXT);
            hasher.update(&self.drive).update(&[self.number]).update(&count.to_le_bytes());
            RecordKey::from(hasher.finalize().as_bytes().to_vec())
        });
        tries.into_iter().find(|key| quarter(key) == right).unwrap_or(first)
    }

    /// Returns how long it is waited before this place is asked: the first mostly knows, and spares the others the question.
    fn head_start(self) -> Duration {
        limits::DHT_NEXT_PLACE * u32::from(self.number)
    }
}

/// What keys of places but the first are derived for.
const PLACE_CONTEXT: &str = "datnode 2026 dht place v1";

/// Returns in which quarter of the ids a record is kept.
fn quarter(key: &RecordKey) -> u8 {
    kad::KBucketKey::new(key.clone()).hashed_bytes()[0] >> 6
}

/// Makes what speaks to the table.
pub(super) fn behaviour(config: &SwarmConfig) -> Kad {
    if !config.dht {
        return None.into();
    }
    let local = config.identity.public().to_peer_id();
    let mut kad = kad::Config::new(PROTOCOL);
    kad.set_query_timeout(limits::DHT_QUERY)
        .set_provider_record_ttl(Some(limits::DHT_RECORD_TTL))
        // Whose records these are, and from where they come, is looked at first.
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        // What we offer is announced by our own tasks, which know when our addresses changed.
        .set_provider_publication_interval(None)
        .set_publication_interval(None)
        .set_replication_interval(None)
        .set_caching(kad::Caching::Disabled)
        // Who is in the table is decided by what networks are there already.
        .set_kbucket_inserts(kad::BucketInserts::Manual)
        // The library's own queries, which keep the table fresh, go several ways at once that share no node.
        .disjoint_query_paths(true);
    let mut behaviour = kad::Behaviour::with_config(local, Records::new(local), kad);
    // Not by itself: a place at a relay would make it a server that nobody can use.
    behaviour.set_mode(Some(mode(config.public)));
    Some(behaviour).into()
}

/// Makes what asks the public table of IPFS, if that is asked: a client, never more, that keeps nothing for others.
pub(super) fn ipfs_behaviour(config: &SwarmConfig) -> Kad {
    if config.ipfs.is_empty() {
        return None.into();
    }
    let local = config.identity.public().to_peer_id();
    let mut kad = kad::Config::new(IPFS_PROTOCOL);
    kad.set_query_timeout(limits::DHT_QUERY)
        .set_provider_publication_interval(None)
        .set_publication_interval(None)
        .set_replication_interval(None)
        // Each question finds its own way from the nodes that lead into the table.
        .set_periodic_bootstrap_interval(None)
        .set_caching(kad::Caching::Disabled)
        .disjoint_query_paths(true);
    let mut behaviour = kad::Behaviour::with_config(local, Records::new(local), kad);
    behaviour.set_mode(Some(kad::Mode::Client));
    for address in &config.ipfs {
        match peer_of(address) {
            Some(peer) => drop(behaviour.add_address(&peer, address.clone())),
            None => tracing::warn!(%address, "no way into the IPFS DHT: it names no node (/p2p/…)"),
        }
    }
    Some(behaviour).into()
}

/// Returns what a node is in the table.
pub(super) fn mode(is_reached: bool) -> kad::Mode {
    if is_reached { kad::Mode::Server } else { kad::Mode::Client }
}

/// Returns where a peer is that a query found just now.
pub(super) fn addresses_of(kad: &mut kad::Behaviour<Records>, peer: PeerId) -> Vec<Multiaddr> {
    // The library tells addresses nowhere but when it is about to dial.
    let asked = ConnectionId::new_unchecked(usize::MAX);
    let found = kad.handle_pending_outbound_connection(asked, Some(peer), &[], Endpoint::Dialer);
    let named = |address: Multiaddr| address.with_p2p(peer).ok();
    let mut addresses = found.unwrap_or_default();
    addresses.truncate(limits::ADDRESSES_PER_TARGET);
    addresses.into_iter().filter_map(named).collect()
}

/// What a task is about now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Query {
    /// A lookup of ours.
    Own(LookupId),
    /// A query of the library's, in the table of IPFS.
    Ipfs(kad::QueryId),
}

/// What a task is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Purpose {
    /// Find who offers a drive.
    Find,
    /// Say that we do.
    Offer,
}

/// What is looked for and announced. `Q` names a query.
#[derive(Debug)]
pub(super) struct Tasks<Q> {
    table: Table,
    /// Our own id: pauses differ by it.
    local: PeerId,
    tasks: BTreeMap<(Purpose, Place), Task<Q>>,
}

#[derive(Debug)]
struct Task<Q> {
    due: Instant,
    pause: Duration,
    /// How often it began.
    turns: u32,
    query: Option<Q>,
}

impl<Q: Copy + Eq> Tasks<Q> {
    pub(super) fn new(table: Table, local: PeerId) -> Self {
        Self { table, local, tasks: BTreeMap::new() }
    }

    /// Adds the tasks of a drive, if there is room for them.
    pub(super) fn add(&mut self, now: Instant, purpose: Purpose, drive: DriveName) {
        if self.table.places(drive).count() + self.tasks.len() > limits::DHT_TASKS {
            tracing::warn!(
                "too many drives for the table: some are neither found nor announced by it"
            );
            return;
        }
        for place in self.table.places(drive) {
            let due = first_due(now, purpose, place);
            let task = Task { due, pause: self.table.pace().first, turns: 0, query: None };
            self.tasks.entry((purpose, place)).or_insert(task);
        }
    }

    pub(super) fn remove(&mut self, purpose: Purpose, drive: DriveName) {
        for place in self.table.places(drive) {
            self.tasks.remove(&(purpose, place));
        }
    }

    /// What there is to do is worth doing at once: somebody is there to ask, or our addresses are others.
    pub(super) fn wake(&mut self, now: Instant, purpose: Purpose) {
        for ((of, place), task) in &mut self.tasks {
            if *of == purpose {
                let due = first_due(now, purpose, *place);
                (task.due, task.pause) = (due, self.table.pace().first);
            }
        }
    }

    /// What there is to do is to be done again, but not at once.
    pub(super) fn wake_later(&mut self, now: Instant, purpose: Purpose) {
        for ((of, place), task) in &mut self.tasks {
            if *of == purpose {
                let pause = task.within(limits::DHT_LOST, &self.local, *place);
                task.due = task.due.min(now + pause);
            }
        }
    }

    /// Returns the task that waited longest, if it is due; only of purposes that are `open`.
    pub(super) fn poll(
        &self,
        now: Instant,
        open: impl Fn(Purpose) -> bool,
    ) -> Option<(Purpose, Place)> {
        self.next(open).filter(|(due, _)| *due <= now).map(|(_, task)| task)
    }

    /// Returns when [`Tasks::poll`] will have something to say.
    pub(super) fn poll_timeout(&self, open: impl Fn(Purpose) -> bool) -> Option<Instant> {
        self.next(open).map(|(due, _)| due)
    }

    fn next(&self, open: impl Fn(Purpose) -> bool) -> Option<(Instant, (Purpose, Place))> {
        let queries = self.tasks.values().filter(|task| task.query.is_some()).count();
        if queries >= self.table.pace().queries {
            return None;
        }
        let waits = |(name, task): (&(Purpose, Place), &Task<Q>)| {
            (task.query.is_none() && open(name.0)).then_some((task.due, *name))
        };
        self.tasks.iter().filter_map(waits).min()
    }

    /// A query of a task began; or there is none, and the task waits for its next turn.
    /// Of the table `nodes` nodes are known.
    pub(super) fn handle_begun(
        &mut self,
        now: Instant,
        name: (Purpose, Place),
        query: Option<Q>,
        nodes: usize,
    ) {
        let announce = self.announce(nodes);
        let pace = self.table.pace();
        if let Some(task) = self.tasks.get_mut(&name) {
            task.query = query;
            task.turns = task.turns.wrapping_add(1);
            task.due = now + task.within(task.pause, &self.local, name.1);
            task.pause = match name.0 {
                Purpose::Find => (task.pause * pace.halves / 2).min(pace.max),
                Purpose::Offer => announce,
            };
        }
    }

    /// Returns the pause between two announcements of a drive: the longer the more drives there are, the shorter if few nodes know of it.
    fn announce(&self, nodes: usize) -> Duration {
        let offers = self.tasks.keys().filter(|(of, _)| *of == Purpose::Offer).count();
        let offers = u32::try_from(offers).unwrap_or(u32::MAX);
        let pace = self.table.pace().announce;
        let least = match self.table {
            Table::Own if nodes <= limits::DHT_ALONE => limits::DHT_ANNOUNCE_ALONE,
            Table::Own | Table::Ipfs => *pace.start(),
        };
        (limits::DHT_ANNOUNCE_EACH * offers).clamp(least, *pace.end())
    }

    /// A query is over.
    pub(super) fn handle_ended(&mut self, query: Q) {
        for task in self.tasks.values_mut() {
            if task.query == Some(query) {
                task.query = None;
            }
        }
    }
}

impl<Q> Task<Q> {
    /// Returns a pause or up to a quarter less, by who waits for which turn: a crowd that began together does not stay in step.
    fn within(&self, pause: Duration, local: &PeerId, place: Place) -> Duration {
        let (local, turns) = (local.to_bytes(), self.turns.to_le_bytes());
        chance::at_most(pause, &[&local, &place.drive, &[place.number], &turns])
    }
}

/// Returns when a place is asked for the first time, or told.
fn first_due(now: Instant, purpose: Purpose, place: Place) -> Instant {
    match purpose {
        Purpose::Find => now + place.head_start(),
        Purpose::Offer => now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: fn(Purpose) -> bool = |_| true;

    /// Nodes of a table that is not small.
    const MANY: usize = limits::DHT_ALONE + 1;

    /// The id of a node: pauses follow from it.
    fn node(number: u8) -> PeerId {
        let keypair = libp2p::identity::Keypair::ed25519_from_bytes([number; 32]);
        keypair.unwrap().public().to_peer_id()
    }

    /// Tells whether a pause is the one that is meant, or up to a quarter less.
    fn is_within(pause: Duration, meant: Duration) -> bool {
        (meant * 3 / 4..=meant).contains(&pause)
    }

    /// The first place of a drive.
    fn first(drive: DriveName) -> Place {
        Place { drive, number: 0 }
    }

    #[test]
    fn the_places_of_a_drive_are_far_from_each_other() {
        for drive in 0..100 {
            let keys: Vec<RecordKey> = Place::all([drive; 32]).map(Place::key).collect();
            assert_eq!(keys[0].as_ref(), [drive; 32]);
            let mut quarters: Vec<u8> = keys.iter().map(quarter).collect();
            quarters.sort_unstable();
            assert_eq!(quarters, [0, 1, 2, 3]);
        }
    }

    #[test]
    fn who_looks_asks_ever_more_seldom_and_anew_when_somebody_comes() {
        let start = Instant::now();
        let mut tasks = Tasks::<u32>::new(Table::Own, node(1));
        tasks.add(start, Purpose::Find, [1; 32]);
        assert_eq!(tasks.poll(start, |_| false), None, "nobody is there to ask");
        // The first place alone: the others follow by themselves.
        tasks.tasks.retain(|(_, place), _| place.number == 0);
        let mut now = start;
        let mut pauses = Vec::new();
        for query in 0..20 {
            let due = tasks.poll_timeout(ALL).unwrap();
            pauses.push(due - now);
            now = due;
            let task = tasks.poll(now, ALL).unwrap();
            tasks.handle_begun(now, task, Some(query), MANY);
            assert_eq!(tasks.poll_timeout(ALL), None, "one query at a time");
            tasks.handle_ended(query);
        }
        // Each is half as long again, but for a quarter; until they grow no more.
        assert!(pauses[..15].is_sorted(), "{pauses:?}");
        assert!(pauses[18] != pauses[19], "{pauses:?}");
        assert!(pauses[17..].iter().all(|&pause| is_within(pause, limits::DHT_PAUSE_MAX)));
        tasks.wake(now, Purpose::Offer);
        assert_eq!(tasks.poll(now, ALL), None);
        tasks.wake(now, Purpose::Find);
        assert_eq!(tasks.poll(now, ALL), Some((Purpose::Find, first([1; 32]))));
        tasks.remove(Purpose::Find, [1; 32]);
        assert_eq!(tasks.poll(now, ALL), None);
    }

    #[test]
    fn few_queries_run_at_once_and_everybody_has_a_turn() {
        let now = Instant::now();
        let mut tasks = Tasks::<u32>::new(Table::Own, node(1));
        let drives = 2 * limits::DHT_QUERIES as u8;
        (0..drives).for_each(|drive| tasks.add(now, Purpose::Offer, [drive; 32]));
        let places = drives * limits::DHT_PLACES;
        let mut asked = Vec::new();
        for query in 0..u32::from(places) {
            if asked.len() % limits::DHT_QUERIES == 0 && query > 0 {
                assert_eq!(tasks.poll(now, ALL), None);
                (0..query).for_each(|query| tasks.handle_ended(query));
            }
            let task = tasks.poll(now, ALL).unwrap();
            tasks.handle_begun(now, task, Some(query), MANY);
            asked.push(task.1);
        }
        asked.sort_unstable();
        asked.dedup();
        assert_eq!(asked.len(), usize::from(places));
    }

    #[test]
    fn what_is_announced_is_announced_again_before_long_and_sooner_if_somebody_left() {
        let start = Instant::now();
        let pause_with = |drives: usize| {
            let mut tasks = Tasks::<u32>::new(Table::Own, node(1));
            for number in 0..drives {
                tasks.add(start, Purpose::Offer, *blake3::hash(&number.to_le_bytes()).as_bytes());
            }
            [MANY, limits::DHT_ALONE].map(|nodes| tasks.announce(nodes))
        };
        assert_eq!(pause_with(1), [limits::DHT_ANNOUNCE_FEW, limits::DHT_ANNOUNCE_ALONE]);
        let [few, alone] = pause_with(100);
        assert_eq!(few, limits::DHT_ANNOUNCE_FEW);
        // Many drives are a burden, to a single node above all.
        assert!(limits::DHT_ANNOUNCE_ALONE < alone && alone < few, "{alone:?}");
        assert!(pause_with(500) > pause_with(200));
        let all = pause_with(limits::DHT_RECORDS_OWN);
        assert!(all.into_iter().all(|pause| pause <= limits::DHT_ANNOUNCE));
        let mut tasks = Tasks::<u32>::new(Table::Own, node(1));
        tasks.add(start, Purpose::Offer, [1; 32]);
        let mut now = start;
        // Each place twice, since the first announcement may be lost.
        for query in 0..2 * u32::from(limits::DHT_PLACES) {
            now = now.max(tasks.poll_timeout(ALL).unwrap());
            let task = tasks.poll(now, ALL).unwrap();
            tasks.handle_begun(now, task, Some(query), MANY);
            tasks.handle_ended(query);
        }
        let next = tasks.poll_timeout(ALL).unwrap();
        assert!(is_within(next - now, limits::DHT_ANNOUNCE_FEW), "{:?}", next - now);
        tasks.wake_later(now, Purpose::Find);
        assert_eq!(tasks.poll_timeout(ALL), Some(next));
        tasks.wake_later(now, Purpose::Offer);
        let next = tasks.poll_timeout(ALL).unwrap();
        assert!(is_within(next - now, limits::DHT_LOST), "{:?}", next - now);
    }

    /// Returns how many of a crowd that began together announce within the busiest tenth of a pause, some pauses later.
    fn crowd_after(turns: u32) -> usize {
        const CROWD: u8 = 200;
        let start = Instant::now();
        let mut counts = BTreeMap::new();
        for number in 0..CROWD {
            let mut tasks = Tasks::<u32>::new(Table::Own, node(number));
            tasks.add(start, Purpose::Offer, [1; 32]);
            tasks.tasks.retain(|(_, place), _| place.number == 0);
            // The first pause is short, since an announcement may be lost.
            let mut now = start;
            for query in 0..=turns {
                now = tasks.poll_timeout(ALL).unwrap();
                let task = tasks.poll(now, ALL).unwrap();
                tasks.handle_begun(now, task, Some(query), limits::DHT_ALONE);
                tasks.handle_ended(query);
            }
            let tenth = (now - start).div_duration_f64(limits::DHT_ANNOUNCE_ALONE / 10) as u64;
            *counts.entry(tenth).or_default() += 1;
        }
        counts.into_values().max().unwrap()
    }

    #[test]
    fn a_crowd_that_began_together_does_not_announce_together() {
        assert_eq!(crowd_after(0), 200, "at first it does");
        assert!(crowd_after(3) < 120, "{}", crowd_after(3));
        // Two hours later, as evenly as if nobody had begun with anybody: of one pause, each tenth has a tenth and somewhat more.
        assert!(crowd_after(60) < 50, "{}", crowd_after(60));
    }

    #[test]
    fn there_is_an_end_to_what_is_looked_for() {
        let mut tasks = Tasks::<u32>::new(Table::Own, node(1));
        for number in 0..limits::DHT_TASKS {
            let drive = *blake3::hash(&number.to_le_bytes()).as_bytes();
            tasks.add(Instant::now(), Purpose::Find, drive);
        }
        assert_eq!(tasks.tasks.len(), limits::DHT_TASKS);
    }

    #[test]
    fn in_the_table_of_ipfs_a_drive_has_a_key_of_the_form_that_is_asked_for_there() {
        let [own, ipfs] = Table::ALL.map(|table| {
            let places: Vec<Place> = table.places([7; 32]).collect();
            (places.len(), table.key(places[0]))
        });
        assert_eq!((own.0, own.1.as_ref()), (usize::from(limits::DHT_PLACES), &[7; 32][..]));
        let (places, key) = ipfs;
        assert_eq!(places, 1, "its nodes have not asked for more");
        assert_eq!((&key.as_ref()[..2], &key.as_ref()[2..]), (&[0x1e, 32][..], &[7; 32][..]));
    }

    #[test]
    fn the_table_of_ipfs_is_never_spoken_to_unless_somebody_asks_for_it() {
        let identity = libp2p::identity::Keypair::generate_ed25519();
        let config =
            SwarmConfig { dht: true, public: true, ..SwarmConfig::new(identity, Vec::new()) };
        assert!(!ipfs_behaviour(&config).is_enabled());
        let ipfs = vec![IPFS_WAY_IN.parse().unwrap()];
        let mut kad = ipfs_behaviour(&SwarmConfig { ipfs, ..config });
        let kad = kad.as_mut().unwrap();
        assert_eq!(kad.mode(), kad::Mode::Client, "even if everybody reaches us");
        assert_eq!(kad.protocol_names(), [IPFS_PROTOCOL]);
        assert_eq!(kad.kbuckets().map(|bucket| bucket.num_entries()).sum::<usize>(), 1);
    }
}
