//! The driver's part in the world beyond the local network: the DHT, relays, and what others say of our addresses.
//!
//! Turns what the library tells of these into calls of [`Ways`] and [`Tasks`], and their answers into the library's actions.
//! Elsewhere: what is decided (`reach`, `dht`), what is kept for others (`records`).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use libp2p::core::transport::ListenerId;
use libp2p::kad::{GetProvidersOk, InboundRequest, QueryResult};
use libp2p::multiaddr::Protocol;
use libp2p::swarm::ConnectionId;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::{Multiaddr, PeerId, autonat, dcutr, identify, kad, relay};
use tokio::sync::watch;

use super::dht::{self, DriveName, Purpose, Query, Table, Tasks};
use super::driver::Driver;
use super::lookups::Lookups;
use super::nat::{Nat, Witnesses};
use super::reach::{Action, Reach, Scope, Ways, is_relayed, scope};
use super::records::Records;
use super::router::Router;
use super::subnets::Subnet;
use super::{Channel, PROTOCOL, SwarmConfig, limits, nearby, transport};

/// How this node can be reached from elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outside {
    /// In what way.
    pub reach: Reach,
    /// Where, as others confirmed it, or through relays; with our id at the end.
    pub addresses: Vec<Multiaddr>,
    /// How many nodes of the DHT are known.
    pub nodes: usize,
    /// How many of the public IPFS DHT; nothing if it is not asked.
    pub ipfs: Option<usize>,
    /// How many records of others are kept for the DHT.
    pub records: usize,
    /// How many others have a place at this node as their relay.
    pub places: usize,
    /// How many connections are relayed now.
    pub circuits: usize,
    /// Where the router says that others get in, be it confirmed or not; with our id at the end.
    pub mapped: Vec<Multiaddr>,
    /// What the router said when it was asked to let others in.
    pub router: Router,
    /// What others see of the port that this node listens on.
    pub nat: Nat,
}

/// What the driver knows of the world.
pub(super) struct Around {
    told: watch::Sender<Outside>,
    /// Whether everybody reaches us, as our user says.
    public: bool,
    ways: Ways,
    witnesses: Witnesses,
    /// Where the router says that others get in.
    mapped: BTreeSet<Multiaddr>,
    /// Where others get in, as our user says: whatever else becomes of such an address.
    named: Vec<Multiaddr>,
    /// The same, where it follows from a name.
    resolved: BTreeSet<Multiaddr>,
    own: Seeking,
    pub(super) lookups: Lookups,
    ipfs: Seeking,
    /// Connections through relays, and since when they stand.
    relayed: HashMap<ConnectionId, (PeerId, Instant)>,
    /// Who has a place here.
    places: BTreeSet<PeerId>,
    /// Nodes that lead into the DHT and were lost, until they are back. Those alone are here that are dialed for it.
    lost: BTreeSet<PeerId>,
    /// Who is connected to whom through us, and how often.
    circuits: BTreeMap<(PeerId, PeerId), usize>,
}

/// What is looked for and announced by a table.
pub(super) struct Seeking {
    pub(super) tasks: Tasks<Query>,
    /// How many of its nodes are known.
    nodes: usize,
}

impl Seeking {
    fn new(table: Table, local: PeerId) -> Self {
        Self { tasks: Tasks::new(table, local), nodes: 0 }
    }

    /// Tells whether there is somebody to ask, and something to tell.
    fn is_open(&self, purpose: Purpose, is_reached: bool) -> bool {
        self.nodes > 0 && (purpose == Purpose::Find || is_reached)
    }
}

impl Around {
    pub(super) fn new(told: watch::Sender<Outside>, config: &SwarmConfig) -> Self {
        let local = config.identity.public().to_peer_id();
        let mut ways = Ways::new(local);
        config.external.iter().for_each(|address| ways.handle_confirmed(address.clone()));
        Self {
            told,
            public: config.public,
            ways,
            witnesses: Witnesses::default(),
            mapped: BTreeSet::new(),
            named: config.external.clone(),
            resolved: BTreeSet::new(),
            own: Seeking::new(Table::Own, local),
            lookups: Lookups::default(),
            ipfs: Seeking::new(Table::Ipfs, local),
            relayed: HashMap::new(),
            places: BTreeSet::new(),
            lost: BTreeSet::new(),
            circuits: BTreeMap::new(),
        }
    }

    /// Tells whether a peer relays for us.
    pub(super) fn relays_for_us(&self, peer: &PeerId) -> bool {
        self.ways.uses(peer)
    }

    /// Returns when something is to be done.
    pub(super) fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let relayed = self.relayed.values().map(|(_, since)| *since + limits::RELAYED).min();
        let is_reached = self.is_reached();
        let [own, ipfs] = Table::ALL.map(|table| {
            let seeking = self.seeking(table);
            seeking.tasks.poll_timeout(|purpose| seeking.is_open(purpose, is_reached))
        });
        let lookups = self.lookups.poll_timeout(now);
        [relayed, own, lookups, ipfs, self.ways.poll_timeout(now)].into_iter().flatten().min()
    }

    /// Tells whether there is an address at which others reach us.
    fn is_reached(&self) -> bool {
        !self.told.borrow().addresses.is_empty()
    }

    fn seeking(&self, table: Table) -> &Seeking {
        match table {
            Table::Own => &self.own,
            Table::Ipfs => &self.ipfs,
        }
    }

    pub(super) fn seeking_mut(&mut self, table: Table) -> &mut Seeking {
        match table {
            Table::Own => &mut self.own,
            Table::Ipfs => &mut self.ipfs,
        }
    }

    /// What is told of our addresses is to be told anew.
    fn wake_offers(&mut self, now: Instant) {
        Table::ALL
            .into_iter()
            .for_each(|table| self.seeking_mut(table).tasks.wake(now, Purpose::Offer));
    }

    /// A connection stands.
    pub(super) fn handle_established(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        is_relayed: bool,
        dialed: bool,
    ) {
        if is_relayed {
            self.relayed.insert(id, (peer, Instant::now()));
        } else if dialed {
            self.ways.handle_reached(Instant::now(), address);
        }
    }

    /// Tells whether a direct connection to a peer was found by a relayed one.
    pub(super) fn is_relayed_to(&self, peer: &PeerId) -> bool {
        self.relayed.values().any(|(other, _)| other == peer)
    }

    pub(super) fn handle_closed(&mut self, id: ConnectionId) {
        self.relayed.remove(&id);
    }
}

/// Returns those of our addresses that are for others: loopback only if there is nothing else, and none that means something else
/// on each computer.
pub(super) fn for_others(mut all: Vec<Multiaddr>) -> Vec<Multiaddr> {
    all.retain(|address| !nearby::is_zoned(address));
    let only_here = all.iter().all(nearby::is_loopback);
    all.into_iter().filter(|address| only_here || !nearby::is_loopback(address)).collect()
}

impl Driver {
    /// Returns what speaks to a table, if it is spoken to.
    fn table_mut(&mut self, table: Table) -> Option<&mut kad::Behaviour<Records>> {
        let protocols = self.swarm.behaviour_mut();
        match table {
            Table::Own => protocols.kad.as_mut(),
            Table::Ipfs => protocols.ipfs.as_mut(),
        }
    }

    /// Takes part in the tables for a drive.
    pub(super) fn seek_by_dht(&mut self, purpose: Purpose, drive: DriveName) {
        for table in Table::ALL {
            if self.table_mut(table).is_some() {
                self.around.seeking_mut(table).tasks.add(Instant::now(), purpose, drive);
            }
        }
    }

    /// Takes no part in the tables for a drive any more.
    pub(super) fn leave_dht(&mut self, drive: DriveName) {
        for table in Table::ALL {
            for purpose in [Purpose::Find, Purpose::Offer] {
                self.around.seeking_mut(table).tasks.remove(purpose, drive);
            }
            if let Some(kad) = self.table_mut(table) {
                table.places(drive).for_each(|place| kad.stop_providing(&table.key(place)));
            }
            if table == Table::Own {
                self.around.lookups.forget(table.places(drive).map(|place| table.key(place)));
            }
        }
    }

    /// Does what is due.
    pub(super) fn look_outside(&mut self) {
        let now = Instant::now();
        Table::ALL.into_iter().for_each(|table| self.ask(table, now));
        self.go_on_looking(now);
        while let Some(action) = self.around.ways.poll(now) {
            self.act(now, action);
        }
        let late = |(id, (_, since)): (&ConnectionId, &(PeerId, Instant))| {
            (now >= *since + limits::RELAYED).then_some(*id)
        };
        let late: Vec<ConnectionId> = self.around.relayed.iter().filter_map(late).collect();
        for id in late {
            if let Some((peer, _)) = self.around.relayed.remove(&id) {
                self.sessions.refuse(peer, NOT_MET);
            }
            self.swarm.close_connection(id);
        }
        self.tell();
    }

    fn ask(&mut self, table: Table, now: Instant) {
        loop {
            let (seeking, is_reached) = (self.around.seeking(table), self.around.is_reached());
            let open = |purpose| seeking.is_open(purpose, is_reached);
            let Some(task) = seeking.tasks.poll(now, open) else { return };
            let query = match table {
                Table::Own => self.begin_lookup(now, task.0, task.1),
                Table::Ipfs => self.ask_ipfs(task.0, table.key(task.1)),
            };
            let seeking = self.around.seeking_mut(table);
            seeking.tasks.handle_begun(now, task, query, seeking.nodes);
        }
    }

    fn ask_ipfs(&mut self, purpose: Purpose, key: kad::RecordKey) -> Option<Query> {
        let kad = self.swarm.behaviour_mut().ipfs.as_mut()?;
        let query = match purpose {
            Purpose::Find => Some(kad.get_providers(key)),
            Purpose::Offer => kad
                .start_providing(key)
                .inspect_err(|error| tracing::warn!(%error, "a drive is not announced"))
                .ok(),
        };
        query.map(Query::Ipfs)
    }

    fn act(&mut self, now: Instant, action: Action) {
        match action {
            Action::Reserve(peer, address) => {
                let named = address.with_p2p(peer).unwrap_or_else(|address| address);
                let listener = self.swarm.listen_on(named.with(Protocol::P2pCircuit));
                let listener = listener.inspect_err(|error| tracing::info!(%error, "no relay"));
                self.around.ways.handle_asked(now, peer, listener.ok());
            }
            Action::Release(listener) => {
                self.swarm.remove_listener(listener);
                self.around.ways.handle_closed(now, listener);
            }
            Action::Probe => {
                self.around.ways.handle_probing(now);
                self.probe_again();
            }
        }
    }

    /// Has our addresses tried again, by nodes that are dialed for it.
    fn probe_again(&mut self) {
        if self.around.public {
            return;
        }
        let Some(probe) = self.swarm.behaviour_mut().probe.as_mut() else { return };
        probe.begin_anew();
        self.targets.wake(Instant::now());
        let nodes = self.targets.connected_in(Channel::Bootstrap).into_iter();
        let at = nodes.filter_map(|peer| Some((peer, self.sessions.address_of(&peer)?.clone())));
        for (peer, address) in at.take(limits::PROBERS).collect::<Vec<_>>() {
            let options = DialOpts::peer_id(peer).condition(PeerCondition::Always);
            // Whether it comes to anything shows in what is told of our addresses.
            let _ = self.swarm.dial(options.addresses(vec![address]).build());
        }
    }

    /// Says how we can be reached, if that is another way now.
    fn tell(&mut self) {
        let reach = self.around.ways.reach(Instant::now());
        let reach = if self.around.public { Reach::Reachable } else { reach };
        let local = *self.swarm.local_peer_id();
        let named = |address: &Multiaddr| address.clone().with_p2p(local).ok();
        let is_confirmed = |at: &Multiaddr| self.swarm.external_addresses().any(|own| own == at);
        let router = self.router.as_ref().map_or(Router::Off, |asked| asked.router(is_confirmed));
        let mut addresses: Vec<Multiaddr> =
            self.swarm.external_addresses().filter_map(named).collect();
        addresses.sort_by_key(is_relayed);
        let protocols = self.swarm.behaviour_mut();
        let ipfs = protocols.ipfs.is_enabled().then_some(self.around.ipfs.nodes);
        let records = protocols.kad.as_mut().map(kad::Behaviour::store_mut);
        let outside = Outside {
            reach,
            addresses,
            nodes: self.around.own.nodes,
            ipfs,
            records: records.map_or(0, |records| records.count()),
            places: self.around.places.len(),
            circuits: self.around.circuits.values().sum(),
            mapped: self.around.mapped.iter().filter_map(named).collect(),
            router,
            nat: self.around.witnesses.nat(self.listening.borrow().iter().map(|(_, at)| at)),
        };
        let known = self.around.told.borrow().clone();
        if known == outside {
            return;
        }
        if known.addresses != outside.addresses {
            self.around.wake_offers(Instant::now());
        }
        if (known.reach == Reach::Reachable) != (reach == Reach::Reachable) {
            self.serve_others(reach == Reach::Reachable);
        }
        if (known.reach, &known.addresses) != (reach, &outside.addresses) {
            tracing::info!(?reach, addresses = ?outside.addresses, "how we are reached");
        }
        self.around.told.send_replace(outside);
    }

    /// A node that everybody reaches serves the table and relays; any other does not.
    fn serve_others(&mut self, is_reached: bool) {
        let protocols = self.swarm.behaviour_mut();
        if let Some(kad) = protocols.kad.as_mut() {
            kad.set_mode(Some(dht::mode(is_reached)));
        }
        if let Some(relay) = protocols.relay.as_mut() {
            relay.set_status(Some(transport::relay_status(is_reached)));
        }
    }

    /// We listen at another address: the router may be asked for it, and who is reached by everybody, as its user says, tells it.
    pub(super) fn handle_listening(&mut self) {
        self.ask_router();
        if !self.around.public {
            return;
        }
        let all = self.listening.borrow().iter().map(|(_, address)| address.clone()).collect();
        let all: Vec<Multiaddr> = for_others(all);
        let widest = all.iter().map(scope).max().unwrap_or(Scope::World);
        for address in all.into_iter().filter(|address| scope(address) == widest) {
            self.swarm.add_external_address(address);
        }
    }

    /// Says where the router may let others in.
    pub(super) fn ask_router(&self) {
        if let Some(router) = &self.router {
            router.handle_listening(self.listening.borrow().iter().map(|(_, address)| address));
        }
    }

    /// We no longer listen at an address, so others do not reach us there, and nothing comes any more on connections that stand on it:
    /// they are closed, and whoever is wanted is dialed anew, long before silence would tell. What leads into the DHT may have led there
    /// from it: it is dialed anew, so that others see where we are now.
    pub(super) fn handle_silent(&mut self, address: &Multiaddr) {
        self.expire(address);
        if let Some(ip) = nearby::ip(address) {
            for id in self.sessions.on_own(ip).collect::<Vec<_>>() {
                self.swarm.close_connection(id);
            }
        }
        self.around.witnesses.clear();
        self.targets.wake(Instant::now());
        for peer in self.targets.connected_in(Channel::Bootstrap) {
            // An error means that there is no connection.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
    }

    /// Others do not reach us at an address any more, unless our user says that they do.
    fn expire(&mut self, address: &Multiaddr) {
        let Around { named, resolved, .. } = &self.around;
        if !named.contains(address) && !resolved.contains(address) {
            self.swarm.remove_external_address(address);
            self.around.ways.handle_expired(address);
        }
    }

    pub(super) fn handle_identified(
        &mut self,
        peer: PeerId,
        id: ConnectionId,
        info: &identify::Info,
    ) {
        let Some((address, dialed)) = self.sessions.endpoint(id) else { return };
        if self.sessions.shows_port(id) {
            self.around.witnesses.handle_seen(&address, &info.observed_addr);
        }
        let speaks = |name| info.protocols.contains(&name);
        // Relays of others than ours have not asked for us.
        let relays = speaks(relay::HOP_PROTOCOL_NAME) && speaks(PROTOCOL);
        if dialed && relays && self.swarm.behaviour().relay.is_enabled() {
            self.around.ways.handle_relay(Instant::now(), peer, address.clone());
        }
        if !dialed && speaks(dht::PROTOCOL) {
            // Nobody puts others than themselves into the table: what they say has to be where they are.
            let there = |other: &&Multiaddr| {
                let here = nearby::is_loopback(&address) && nearby::is_loopback(other);
                here || other.iter().next() == address.iter().next()
            };
            let own = info.listen_addrs.iter().filter(there);
            let own: Vec<Multiaddr> = own.take(ADDRESSES_OF_NODE).cloned().collect();
            own.into_iter().for_each(|address| self.put_into_table(peer, address));
        }
    }

    pub(super) fn handle_table(&mut self, table: Table, event: kad::Event) {
        match event {
            kad::Event::RoutablePeer { peer, address } if table == Table::Own => {
                self.put_into_table(peer, address);
            }
            kad::Event::RoutingUpdated { is_new_peer, .. } => {
                let nodes = self.count_nodes(table);
                let seeking = self.around.seeking_mut(table);
                // Who was not there when we asked may know; later, when many are, few do who were not asked. In a table of thousands
                // whom we happen to know knows no more than others.
                if table == Table::Own && is_new_peer && nodes <= FEW_NODES {
                    let now = Instant::now();
                    for purpose in [Purpose::Find, Purpose::Offer] {
                        seeking.tasks.wake(now, purpose);
                    }
                }
            }
            kad::Event::OutboundQueryProgressed { id, result, step, .. } => {
                if let QueryResult::GetProviders(Ok(GetProvidersOk::FoundProviders {
                    providers,
                    ..
                })) = result
                {
                    for peer in providers.into_iter().take(limits::DHT_FOUND) {
                        let Some(kad) = self.table_mut(table) else { return };
                        let addresses = dht::addresses_of(kad, peer);
                        self.found(peer, addresses);
                    }
                }
                if step.last {
                    self.around.seeking_mut(table).tasks.handle_ended(Query::Ipfs(id));
                }
            }
            kad::Event::InboundRequest {
                request: InboundRequest::AddProvider { record: Some(record) },
            } => self.keep(record),
            other => tracing::trace!(?other, "table"),
        }
    }

    /// Somebody says that it has a drive.
    fn keep(&mut self, record: kad::ProviderRecord) {
        let from = self.sessions.address_of(&record.provider).and_then(Subnet::of);
        let Some(kad) = self.swarm.behaviour_mut().kad.as_mut() else { return };
        if let Err(error) = kad.store_mut().take(record, from) {
            tracing::debug!(%error, "a record is not kept");
        }
    }

    /// Counts the nodes of a table, of which there are others now.
    fn count_nodes(&mut self, table: Table) -> usize {
        let Some(kad) = self.table_mut(table) else { return 0 };
        let nodes = kad.kbuckets().map(|bucket| bucket.num_entries()).sum();
        self.around.seeking_mut(table).nodes = nodes;
        nodes
    }

    /// The last connection to a peer is gone. If it led into the DHT and we did not let go of it, it may begin anew with nothing.
    pub(super) fn handle_way_lost(&mut self, peer: PeerId) {
        let is_one = self.targets.connected_in(Channel::Bootstrap).contains(&peer);
        if is_one && self.around.lost.len() < limits::WAYS_LOST {
            self.around.lost.insert(peer);
        }
    }

    /// A peer is connected. If it was lost that led into the DHT, it may know of nothing that it was told, and where nodes are few that
    /// is all there is: not at once, since others come back to it as well, each after a pause of their own.
    pub(super) fn handle_way_back(&mut self, now: Instant, peer: &PeerId) {
        if self.around.lost.remove(peer) && self.count_nodes(Table::Own) <= FEW_NODES {
            self.around.seeking_mut(Table::Own).tasks.wake_later(now, Purpose::Offer);
        }
    }

    /// A node of our table is gone. Of few nodes it may have been the one that knew of us; if it was the last, the way in is
    /// looked for anew.
    pub(super) fn handle_fewer(&mut self, now: Instant) {
        let nodes = self.count_nodes(Table::Own);
        if nodes == 0 {
            self.targets.wake(now);
        }
        if nodes <= FEW_NODES {
            self.around.seeking_mut(Table::Own).tasks.wake_later(now, Purpose::Offer);
        }
    }

    pub(super) fn handle_listener_closed(&mut self, listener: ListenerId) {
        self.around.ways.handle_closed(Instant::now(), listener);
    }

    pub(super) fn handle_relay_gone(&mut self, peer: &PeerId) {
        self.around.ways.handle_gone(peer);
    }

    pub(super) fn handle_external(&mut self, address: Multiaddr) {
        self.around.ways.handle_confirmed(address);
    }

    pub(super) fn handle_external_expired(&mut self, address: &Multiaddr) {
        self.around.ways.handle_expired(address);
    }

    pub(super) fn handle_probed(&mut self, event: autonat::v2::client::Event) {
        tracing::info!(address = %event.tested_addr, result = ?event.result, "somebody tried to reach us");
        if event.result.is_err() && scope(&event.tested_addr) == Scope::World {
            self.around.ways.handle_unreachable();
        }
    }

    pub(super) fn handle_relayed(&mut self, event: relay::client::Event) {
        if let relay::client::Event::ReservationReqAccepted { relay_peer_id, .. } = event {
            self.around.ways.handle_reserved(&relay_peer_id);
        }
    }

    /// Somebody uses us as a relay, or no longer.
    pub(super) fn handle_relaying(&mut self, event: relay::Event) {
        let Around { places, circuits, .. } = &mut self.around;
        match event {
            relay::Event::ReservationReqAccepted { src_peer_id, .. } => {
                places.insert(src_peer_id);
            }
            relay::Event::ReservationClosed { src_peer_id }
            | relay::Event::ReservationTimedOut { src_peer_id } => {
                places.remove(&src_peer_id);
            }
            relay::Event::CircuitReqAccepted { src_peer_id, dst_peer_id } => {
                *circuits.entry((src_peer_id, dst_peer_id)).or_default() += 1;
            }
            relay::Event::CircuitClosed { src_peer_id, dst_peer_id, .. } => {
                let ends = (src_peer_id, dst_peer_id);
                match circuits.get_mut(&ends) {
                    Some(count) if *count > 1 => *count -= 1,
                    _ => drop(circuits.remove(&ends)),
                }
            }
            other => tracing::debug!(?other, "relaying"),
        }
    }

    pub(super) fn handle_punched(&mut self, event: dcutr::Event) {
        match event.result {
            Ok(_) => tracing::info!(peer = %event.remote_peer_id, "met half-way"),
            Err(error) => tracing::info!(peer = %event.remote_peer_id, %error, "did not meet"),
        }
    }

    /// The router said something else. That others get in is its word: it is tried out, and counts once somebody came through.
    pub(super) fn handle_router(&mut self) {
        let Some(router) = &self.router else { return };
        let mapped = router.addresses();
        tracing::info!(?mapped, "the router");
        for address in &self.around.mapped - &mapped {
            self.expire(&address);
        }
        if let Some(probe) = self.swarm.behaviour_mut().probe.as_mut() {
            probe.handle_mapped(&mapped);
        }
        self.around.mapped = mapped;
    }

    /// The names that lead here stand for other addresses, as our user says.
    pub(super) fn handle_names(&mut self) {
        let Some(names) = &self.names else { return };
        let all = names.addresses();
        tracing::info!(?all, "the names that lead here");
        let before = std::mem::replace(&mut self.around.resolved, all.clone());
        for address in &before - &all {
            self.expire(&address);
        }
        for address in all {
            self.swarm.add_external_address(address.clone());
            self.around.ways.handle_confirmed(address);
        }
    }
}

/// What is said of a peer that a relay led to, and no more.
const NOT_MET: &str = "a relay led to it, but no direct way was found: one of both networks lets nobody in, and relays carry no drives";

/// How many addresses of a node are put into the table.
const ADDRESSES_OF_NODE: usize = 4;

/// So long as there are not more nodes, a new one is asked at once.
const FEW_NODES: usize = 20;
