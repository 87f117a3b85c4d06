//! The distributed hash table: who offers a drive, asked and told by its discovery key (SPEC 9.7).
//!
//! A node is a client unless it is one that anybody reaches. What is looked for and what is announced are tasks, each with a
//! time when it is due; they wait while nobody of the table is known, and begin anew as soon as somebody is.
//! Invariant: a task waits or has one query; at most [`limits::DHT_QUERIES`] run at once.
//! Elsewhere: what is kept for others (`records`), the queries themselves (libp2p), dialing whom they find (`targets`).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use libp2p::core::Endpoint;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::{ConnectionId, NetworkBehaviour as _};
use libp2p::{Multiaddr, PeerId, StreamProtocol, kad};

use super::records::Records;
use super::{SwarmConfig, limits};

/// Name of the protocol (SPEC 9.7).
pub const PROTOCOL: StreamProtocol = StreamProtocol::new("/datnode/kad/1.0.0");

/// What speaks it, if it is spoken.
pub(super) type Kad = Toggle<kad::Behaviour<Records>>;

/// What a drive is called among strangers: its discovery key.
pub type DriveName = [u8; limits::DHT_KEY_BYTES];

/// Makes what speaks to the table.
pub(super) fn behaviour(config: &SwarmConfig) -> Kad {
    if !config.dht {
        return None.into();
    }
    let local = config.identity.public().to_peer_id();
    let mut kad = kad::Config::new(PROTOCOL);
    kad.set_query_timeout(limits::DHT_QUERY)
        .set_provider_record_ttl(Some(limits::DHT_RECORD_TTL))
        // What we offer is announced by our own tasks, which know when our addresses changed.
        .set_provider_publication_interval(None)
        .set_publication_interval(None)
        .set_replication_interval(None)
        .set_caching(kad::Caching::Disabled)
        // Several ways at once that share no node, so that one liar does not lead all of them astray.
        .disjoint_query_paths(true);
    let mut behaviour = kad::Behaviour::with_config(local, Records::new(local), kad);
    // Not by itself: a place at a relay would make it a server that nobody can use.
    behaviour.set_mode(Some(mode(config.public)));
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
    tasks: BTreeMap<(Purpose, DriveName), Task<Q>>,
}

#[derive(Debug)]
struct Task<Q> {
    due: Instant,
    pause: Duration,
    query: Option<Q>,
}

impl<Q: Copy + Eq> Tasks<Q> {
    pub(super) fn new() -> Self {
        Self { tasks: BTreeMap::new() }
    }

    /// Adds a task, if there is room for it.
    pub(super) fn add(&mut self, now: Instant, purpose: Purpose, drive: DriveName) {
        if self.tasks.len() < limits::DHT_TASKS {
            let task = Task { due: now, pause: limits::DHT_PAUSE_FIRST, query: None };
            self.tasks.entry((purpose, drive)).or_insert(task);
        } else {
            tracing::warn!(
                "too many drives for the table: some are neither found nor announced by it"
            );
        }
    }

    pub(super) fn remove(&mut self, purpose: Purpose, drive: DriveName) {
        self.tasks.remove(&(purpose, drive));
    }

    /// What there is to do is worth doing at once: somebody is there to ask, or our addresses are others.
    pub(super) fn wake(&mut self, now: Instant, purpose: Purpose) {
        for ((of, _), task) in &mut self.tasks {
            if *of == purpose {
                (task.due, task.pause) = (now, limits::DHT_PAUSE_FIRST);
            }
        }
    }

    /// Returns the task that waited longest, if it is due; only of purposes that are `open`.
    pub(super) fn poll(
        &self,
        now: Instant,
        open: impl Fn(Purpose) -> bool,
    ) -> Option<(Purpose, DriveName)> {
        self.next(open).filter(|(due, _)| *due <= now).map(|(_, task)| task)
    }

    /// Returns when [`Tasks::poll`] will have something to say.
    pub(super) fn poll_timeout(&self, open: impl Fn(Purpose) -> bool) -> Option<Instant> {
        self.next(open).map(|(due, _)| due)
    }

    fn next(&self, open: impl Fn(Purpose) -> bool) -> Option<(Instant, (Purpose, DriveName))> {
        if self.tasks.values().filter(|task| task.query.is_some()).count() >= limits::DHT_QUERIES {
            return None;
        }
        let waits = |(name, task): (&(Purpose, DriveName), &Task<Q>)| {
            (task.query.is_none() && open(name.0)).then_some((task.due, *name))
        };
        self.tasks.iter().filter_map(waits).min()
    }

    /// A query of a task began; or there is none, and the task waits for its next turn.
    pub(super) fn handle_begun(
        &mut self,
        now: Instant,
        name: (Purpose, DriveName),
        query: Option<Q>,
    ) {
        if let Some(task) = self.tasks.get_mut(&name) {
            task.query = query;
            task.due = now + task.pause;
            task.pause = match name.0 {
                Purpose::Find => (task.pause * 2).min(limits::DHT_PAUSE_MAX),
                Purpose::Offer => limits::DHT_ANNOUNCE,
            };
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: fn(Purpose) -> bool = |_| true;

    #[test]
    fn who_looks_asks_ever_more_seldom_and_anew_when_somebody_comes() {
        let start = Instant::now();
        let mut tasks = Tasks::<u32>::new();
        tasks.add(start, Purpose::Find, [1; 32]);
        assert_eq!(tasks.poll(start, |_| false), None, "nobody is there to ask");
        let mut now = start;
        let mut pauses = Vec::new();
        for query in 0..12 {
            let due = tasks.poll_timeout(ALL).unwrap();
            pauses.push(due - now);
            now = due;
            let task = tasks.poll(now, ALL).unwrap();
            tasks.handle_begun(now, task, Some(query));
            assert_eq!(tasks.poll_timeout(ALL), None, "one query at a time");
            tasks.handle_ended(query);
        }
        assert!(pauses.is_sorted(), "{pauses:?}");
        assert_eq!(*pauses.last().unwrap(), limits::DHT_PAUSE_MAX);
        tasks.wake(now, Purpose::Offer);
        assert_eq!(tasks.poll(now, ALL), None);
        tasks.wake(now, Purpose::Find);
        assert_eq!(tasks.poll(now, ALL), Some((Purpose::Find, [1; 32])));
        tasks.remove(Purpose::Find, [1; 32]);
        assert_eq!(tasks.poll(now, ALL), None);
    }

    #[test]
    fn few_queries_run_at_once_and_everybody_has_a_turn() {
        let now = Instant::now();
        let mut tasks = Tasks::<u32>::new();
        let drives = 2 * limits::DHT_QUERIES as u8;
        (0..drives).for_each(|drive| tasks.add(now, Purpose::Offer, [drive; 32]));
        let mut asked = Vec::new();
        for query in 0..u32::from(drives) {
            if asked.len() == limits::DHT_QUERIES {
                assert_eq!(tasks.poll(now, ALL), None);
                (0..query).for_each(|query| tasks.handle_ended(query));
            }
            let task = tasks.poll(now, ALL).unwrap();
            tasks.handle_begun(now, task, Some(query));
            asked.push(task.1);
        }
        asked.sort_unstable();
        asked.dedup();
        assert_eq!(asked.len(), usize::from(drives));
    }

    #[test]
    fn there_is_an_end_to_what_is_looked_for() {
        let mut tasks = Tasks::<u32>::new();
        for number in 0..limits::DHT_TASKS + 10 {
            let drive = *blake3::hash(&number.to_le_bytes()).as_bytes();
            tasks.add(Instant::now(), Purpose::Find, drive);
        }
        assert_eq!(tasks.tasks.len(), limits::DHT_TASKS);
    }
}
