//! The driver's part in the table: lookups under way, and which nodes the table holds.
//!
//! The library answers others, keeps the table fresh, and knows its form; our own questions are asked here, since its own end among
//! the nodes closest to a key, whoever these are.
//! Elsewhere: what a lookup asks next (`lookup`), when one begins (`dht`), what is kept for others (`records`).

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use libp2p::kad::{self, KBucketKey, RecordKey};
use libp2p::request_response::{self, Message, OutboundRequestId, ProtocolSupport};
use libp2p::swarm::DialError;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{Multiaddr, PeerId};

use super::dht::{self, Place, Purpose, Query, Table};
use super::driver::Driver;
use super::lookup::{At, Lookup, network};
use super::messages::{Answer, Codec, Named, Request};
use super::records::Records;
use super::subnets::Network;
use super::{Channel, SwarmConfig, SwarmEvent};
use super::{limits, nearby};

/// What asks nodes of the table, if they are asked.
pub(super) type Questions = Toggle<request_response::Behaviour<Codec>>;

/// What is told of a question.
pub(super) type Answered = request_response::Event<Request, Option<Answer>>;

/// Makes what asks nodes of the table.
pub(super) fn behaviour(config: &SwarmConfig) -> Questions {
    let asks = request_response::Config::default().with_request_timeout(limits::DHT_ASK);
    let asking =
        || request_response::Behaviour::new([(dht::PROTOCOL, ProtocolSupport::Outbound)], asks);
    config.dht.then(asking).into()
}

/// Names a lookup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LookupId(u64);

/// The lookups under way.
#[derive(Debug, Default)]
pub(super) struct Lookups {
    next: LookupId,
    running: BTreeMap<LookupId, Running>,
    asked: HashMap<OutboundRequestId, (LookupId, PeerId)>,
}

#[derive(Debug)]
struct Running {
    purpose: Purpose,
    key: RecordKey,
    lookup: Lookup,
    /// How many peers were dialed that nodes of a network named.
    found: HashMap<At, usize>,
    /// Those beyond the first few.
    later: Vec<Named>,
}

impl Lookups {
    /// Returns when there is something to do.
    pub(super) fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        self.running.values().map(|running| running.lookup.poll_timeout(now)).min()
    }

    /// Ends the lookups of some keys, without a result.
    pub(super) fn forget(&mut self, keys: impl Iterator<Item = RecordKey>) {
        keys.for_each(|key| self.running.retain(|_, running| running.key != key));
    }
}

impl Driver {
    /// Begins a lookup in our own table.
    pub(super) fn begin_lookup(
        &mut self,
        now: Instant,
        purpose: Purpose,
        place: Place,
    ) -> Option<Query> {
        let key = Table::Own.key(place);
        let local = *self.swarm.local_peer_id();
        let kad = self.swarm.behaviour_mut().kad.as_mut()?;
        if purpose == Purpose::Offer {
            let own = kad::ProviderRecord::new(key.clone(), local, Vec::new());
            kad::store::RecordStore::add_provider(kad.store_mut(), own)
                .inspect_err(|error| tracing::warn!(%error, "a drive is not announced"))
                .ok()?;
        }
        let kept = kad::store::RecordStore::providers(kad.store_mut(), &key);
        let known = nearest(kad, &KBucketKey::new(key.clone()));
        let lookup = Lookup::new(now, key.clone(), known.into_iter());
        let lookups = &mut self.around.lookups;
        let id = lookups.next;
        lookups.next = LookupId(id.0 + 1);
        let (found, later) = (HashMap::new(), Vec::new());
        lookups.running.insert(id, Running { purpose, key, lookup, found, later });
        if purpose == Purpose::Find {
            for kad::ProviderRecord { provider, addresses, .. } in kept {
                self.found(provider, addresses);
            }
        }
        Some(Query::Own(id))
    }

    /// Asks whom lookups want to ask, and ends those that are over.
    pub(super) fn go_on_looking(&mut self, now: Instant) {
        let ids: Vec<LookupId> = self.around.lookups.running.keys().copied().collect();
        for id in ids {
            while let Some(running) = self.around.lookups.running.get_mut(&id) {
                let dials = self.swarm.network_info().connection_counters().num_pending_outgoing();
                if dials >= limits::DHT_ASKS_PENDING {
                    break;
                }
                let Some(Named { peer, addresses }) = running.lookup.poll_ask(now) else { break };
                let request = match running.purpose {
                    Purpose::Find => Request::Providers(running.key.clone()),
                    Purpose::Offer => Request::Closer(running.key.clone()),
                };
                if peer == *self.swarm.local_peer_id() {
                    running.lookup.handle_failed(peer);
                    continue;
                }
                let Some(asking) = self.swarm.behaviour_mut().asking.as_mut() else { return };
                let asked = asking.send_request_with_addresses(&peer, request, addresses);
                self.around.lookups.asked.insert(asked, (id, peer));
            }
            let over = self.around.lookups.running.get(&id);
            if over.is_some_and(|running| running.lookup.is_over(now)) {
                self.end_lookup(id);
            }
        }
    }

    fn end_lookup(&mut self, id: LookupId) {
        let Some(running) = self.around.lookups.running.remove(&id) else { return };
        let Running { purpose, key, lookup, later, .. } = running;
        for Named { peer, addresses } in later {
            self.found(peer, addresses);
        }
        if purpose == Purpose::Offer {
            let addresses = self.swarm.external_addresses().cloned().collect();
            let own = Named { peer: *self.swarm.local_peer_id(), addresses };
            let closest = lookup.closest();
            tracing::debug!(nodes = closest.len(), "a drive is announced");
            if let Some(asking) = self.swarm.behaviour_mut().asking.as_mut() {
                for peer in closest {
                    asking.send_request(&peer, Request::Provide(key.clone(), own.clone()));
                }
            }
        }
        self.around.seeking_mut(Table::Own).tasks.handle_ended(Query::Own(id));
    }

    /// A question came to its end.
    pub(super) fn handle_answered(&mut self, event: Answered) {
        let (asked, answer) = match event {
            Answered::Message { message: Message::Response { request_id, response }, .. } => {
                (request_id, response)
            }
            Answered::OutboundFailure { request_id, .. } => (request_id, None),
            _ => return,
        };
        let Some((id, peer)) = self.around.lookups.asked.remove(&asked) else { return };
        // On this computer one address is as good as another: where a node says it is counts for where it is.
        let at = self.sessions.address_of(&peer).filter(|at| !nearby::is_loopback(at));
        let from = at.map(Network::of);
        let Some(running) = self.around.lookups.running.get_mut(&id) else { return };
        let Some(Answer { closer, providers }) = answer else {
            running.lookup.handle_failed(peer);
            return;
        };
        let Some(from) = running.lookup.handle_answer(peer, from, closer) else { return };
        if running.purpose != Purpose::Find {
            return;
        }
        let count = running.found.entry(from).or_default();
        let at_once = limits::DHT_FOUND_AT_ONCE.saturating_sub(*count);
        *count += providers.len();
        let mut providers = providers.into_iter();
        let now: Vec<Named> = providers.by_ref().take(at_once).collect();
        let room = limits::DHT_FOUND.saturating_sub(running.later.len());
        running.later.extend(providers.take(room));
        for Named { peer, addresses } in now {
            self.found(peer, addresses);
        }
    }

    /// The table named a peer that has a drive.
    pub(super) fn found(&mut self, peer: PeerId, mut addresses: Vec<Multiaddr>) {
        addresses.truncate(limits::ADDRESSES_PER_TARGET);
        let named = |address: Multiaddr| address.with_p2p(peer).ok();
        let addresses: Vec<Multiaddr> = addresses.into_iter().filter_map(named).collect();
        if peer == *self.swarm.local_peer_id() || addresses.is_empty() {
            return;
        }
        self.sessions.queue_event(SwarmEvent::Found(addresses.clone()));
        let failures = self.targets.add(Instant::now(), Channel::Dht, addresses, true);
        self.sessions.report(failures);
    }

    /// A node of our table is at an address.
    pub(super) fn put_into_table(&mut self, peer: PeerId, address: Multiaddr) {
        let Some(kad) = self.swarm.behaviour_mut().kad.as_mut() else { return };
        if let Some(bucket) = kad.kbucket(peer) {
            let nodes: Vec<(PeerId, At)> = bucket
                .iter()
                .map(|entry| (*entry.node.key.preimage(), Network::of(entry.node.value.first())))
                .collect();
            let is_there = nodes.iter().any(|(other, _)| *other == peer);
            if !is_there
                && nodes.len() >= limits::DHT_BUCKET
                && let Some(crowd) = crowding(&nodes, Network::of(&address))
            {
                kad.remove_peer(&crowd);
            }
        }
        kad.add_address(&peer, address);
    }

    /// A node may be gone: it is where we thought no longer.
    pub(super) fn handle_unreached(&mut self, peer: PeerId, error: &DialError) {
        let others = self.swarm.connected_peers().next().is_some();
        // Nobody is reached without a network.
        if !others || self.swarm.is_connected(&peer) {
            return;
        }
        let tried: Vec<&Multiaddr> = match error {
            DialError::Transport(tried) => tried.iter().map(|(address, _)| address).collect(),
            DialError::WrongPeerId { address, .. } => vec![address],
            _ => return,
        };
        let Some(kad) = self.swarm.behaviour_mut().kad.as_mut() else { return };
        // Others may have us dial it where it never was.
        let is_tried = |at: &Multiaddr| tried.contains(&at);
        let Some(bucket) = kad.kbucket(peer) else { return };
        let gone = bucket.iter().any(|entry| {
            *entry.node.key.preimage() == peer && entry.node.value.iter().all(is_tried)
        });
        if !gone {
            return;
        }
        kad.remove_peer(&peer);
        self.handle_fewer(Instant::now());
    }
}

/// Returns the nodes of our table that a lookup begins with: those closest to its place, a few of each network.
fn nearest(kad: &mut kad::Behaviour<Records>, place: &KBucketKey<RecordKey>) -> Vec<Named> {
    let mut all = BTreeMap::new();
    for bucket in kad.kbuckets() {
        for entry in bucket.iter() {
            let (key, addresses) = (entry.node.key, entry.node.value.iter().cloned().collect());
            let named = Named { peer: *key.preimage(), addresses };
            all.insert(key.distance(place), named);
        }
    }
    let mut counts: HashMap<At, usize> = HashMap::new();
    let has_room = |named: &Named| {
        let count = counts.entry(network(named)).or_default();
        *count += 1;
        *count <= limits::DHT_CLOSEST_PER_NETWORK
    };
    all.into_values().filter(has_room).take(limits::DHT_CLOSEST).collect()
}

/// Returns who of a full bucket gives way to one from another network: the last of the network that has most, if it has more than
/// that one will have.
fn crowding(bucket: &[(PeerId, At)], newcomer: At) -> Option<PeerId> {
    let count = |at: At| bucket.iter().filter(|(_, other)| *other == at).count();
    let (peer, at) = bucket.iter().max_by_key(|(_, at)| count(*at))?;
    (count(*at) > count(newcomer) + 1).then_some(*peer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_a_full_bucket_the_network_with_most_nodes_gives_one_up() {
        let at = |number: u8| Network::of(&format!("/ip4/192.{number}.0.1/tcp/1").parse().unwrap());
        let peers: Vec<PeerId> = (0..5).map(|_| PeerId::random()).collect();
        let bucket: Vec<(PeerId, At)> =
            peers.iter().copied().zip([at(1), at(2), at(2), at(2), at(3)]).collect();
        assert_eq!(crowding(&bucket, at(9)), Some(peers[3]));
        assert_eq!(crowding(&bucket, at(3)), Some(peers[3]));
        assert_eq!(crowding(&bucket, at(2)), None);
        assert_eq!(crowding(&bucket[..2], at(9)), None, "one each");
    }
}
