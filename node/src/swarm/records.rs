//! Who offers which drive, as far as this node keeps it for the DHT (SPEC 9.7).
//!
//! Invariants: what we offer ourselves has room of its own, whatever strangers send; what is kept of others is bounded in all, by
//! network, by peer and by key, and each record speaks for its sender alone (the library drops others). Values are never kept.
//! Where a key has all it may have, the network with most of its records gives one up for a network with fewer: whoever has many
//! ids, but few networks, crowds out themselves.
//! Elsewhere: when we ask and announce (`dht`), the protocol (libp2p).

use std::borrow::Cow;
use std::collections::{HashMap, hash_map};
use std::hash::Hash;
use std::iter::{Empty, Map};
use std::time::{Duration, Instant};

use libp2p::kad::store::{Error, RecordStore, Result};
use libp2p::kad::{ProviderRecord, Record, RecordKey};
use libp2p::{Multiaddr, PeerId};

use super::limits;
use super::subnets::Subnet;

/// How often what is out of date is looked for because there is no room.
const SWEEP: Duration = Duration::from_secs(60);

/// The records of a node.
#[derive(Debug)]
pub(super) struct Records {
    local: PeerId,
    /// What we offer.
    own: HashMap<RecordKey, ProviderRecord>,
    /// What others offer.
    others: HashMap<RecordKey, Vec<Kept>>,
    /// How many of those there are.
    count: usize,
    /// How many each of them has.
    by_peer: HashMap<PeerId, usize>,
    /// How many came from each network.
    by_subnet: HashMap<Subnet, usize>,
    swept: Option<Instant>,
}

/// A record of somebody else.
#[derive(Debug)]
struct Kept {
    record: ProviderRecord,
    /// Where it came from.
    from: Option<Subnet>,
}

impl Records {
    pub(super) fn new(local: PeerId) -> Self {
        let (own, others) = (HashMap::new(), HashMap::new());
        let (by_peer, by_subnet) = (HashMap::new(), HashMap::new());
        Self { local, own, others, count: 0, by_peer, by_subnet, swept: None }
    }

    /// Returns how many records of others there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Keeps what somebody else sent from a network, if there is room.
    ///
    /// # Errors
    /// Why it is not kept.
    pub(super) fn take(&mut self, record: ProviderRecord, from: Option<Subnet>) -> Result<()> {
        if !is_sound(&record) {
            return Err(Error::ValueTooLarge);
        }
        let known = self.others.get_mut(&record.key);
        let is_it = |kept: &&mut Kept| kept.record == record;
        if let Some(known) = known.and_then(|all| all.iter_mut().find(is_it)) {
            known.record = record;
            return Ok(());
        }
        if !self.has_room(&record, from) || self.is_full(&record.key) {
            self.sweep(Instant::now());
        }
        if !self.has_room(&record, from) {
            return Err(Error::MaxRecords);
        }
        if self.is_full(&record.key) {
            let key = record.key.clone();
            let of_key = self.others.get(&key).map_or(&[][..], Vec::as_slice);
            let crowd = crowding(of_key, from).ok_or(Error::MaxRecords)?;
            self.forget(&key, |record| record.provider == crowd);
        }
        self.count += 1;
        *self.by_peer.entry(record.provider).or_default() += 1;
        if let Some(from) = from {
            *self.by_subnet.entry(from).or_default() += 1;
        }
        self.others.entry(record.key.clone()).or_default().push(Kept { record, from });
        Ok(())
    }

    /// Tells whether there is all of a key that there may be.
    fn is_full(&self, key: &RecordKey) -> bool {
        self.others.get(key).is_some_and(|all| all.len() >= limits::DHT_RECORDS_PER_KEY)
    }

    /// Tells whether there is room, but for what there may be of its key.
    fn has_room(&self, record: &ProviderRecord, from: Option<Subnet>) -> bool {
        let theirs = self.by_peer.get(&record.provider).copied().unwrap_or_default();
        let near = from.and_then(|from| self.by_subnet.get(&from)).copied().unwrap_or_default();
        self.count < limits::DHT_RECORDS
            && theirs < limits::DHT_RECORDS_PER_PEER
            && near < limits::DHT_RECORDS_PER_SUBNET
    }

    fn forget(&mut self, key: &RecordKey, gone: impl Fn(&ProviderRecord) -> bool) {
        let Self { others, count, by_peer, by_subnet, .. } = self;
        let hash_map::Entry::Occupied(mut entry) = others.entry(key.clone()) else { return };
        entry.get_mut().retain(|Kept { record, from }| {
            let gone = gone(record);
            if gone {
                *count -= 1;
                less(by_peer, record.provider);
                from.iter().for_each(|from| less(by_subnet, *from));
            }
            !gone
        });
        if entry.get().is_empty() {
            entry.remove();
        }
    }

    /// Forgets what is out of date, but not again and again for whoever sends more than fits.
    fn sweep(&mut self, now: Instant) {
        if self.swept.is_some_and(|swept| now.duration_since(swept) < SWEEP) {
            return;
        }
        self.swept = Some(now);
        let keys: Vec<RecordKey> = self.others.keys().cloned().collect();
        for key in keys {
            self.forget(&key, |record| record.is_expired(now));
        }
    }
}

/// Counts one less.
fn less<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: K) {
    if let hash_map::Entry::Occupied(mut count) = counts.entry(key) {
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
    }
}

/// Returns who of a key's records gives way to one from another network: the last of the network that has most, if it has more than
/// that one will have. Whoever was there first stays otherwise: strangers cannot drive out those who are found already.
fn crowding(of_key: &[Kept], newcomer: Option<Subnet>) -> Option<PeerId> {
    let count = |from: Option<Subnet>| of_key.iter().filter(|kept| kept.from == from).count();
    let last = of_key.iter().rev().max_by_key(|kept| count(kept.from))?;
    (count(last.from) > count(newcomer) + 1).then_some(last.record.provider)
}

/// Returns records of a key, the first of each network before the second of any: fewer are told than may be kept.
fn in_turns(of_key: &[Kept]) -> impl Iterator<Item = &ProviderRecord> {
    let before = |at: usize, from| of_key.iter().take(at).filter(|kept| kept.from == from).count();
    let mut turns: Vec<(usize, &Kept)> =
        of_key.iter().enumerate().map(|(at, kept)| (before(at, kept.from), kept)).collect();
    turns.sort_by_key(|(turn, _)| *turn);
    turns.into_iter().map(|(_, kept)| &kept.record)
}

/// Tells whether a record has the form that ours have: a discovery key, and a few addresses.
fn is_sound(record: &ProviderRecord) -> bool {
    let fits = |address: &Multiaddr| address.len() <= limits::DHT_ADDRESS_BYTES;
    record.key.as_ref().len() == limits::DHT_KEY_BYTES
        && record.addresses.len() <= limits::ADDRESSES_PER_TARGET
        && record.addresses.iter().all(fits)
}

type Own<'a> = hash_map::Values<'a, RecordKey, ProviderRecord>;

impl RecordStore for Records {
    type RecordsIter<'a> = Empty<Cow<'a, Record>>;
    type ProvidedIter<'a> = Map<Own<'a>, fn(&'a ProviderRecord) -> Cow<'a, ProviderRecord>>;

    fn get(&self, _: &RecordKey) -> Option<Cow<'_, Record>> {
        None
    }

    fn put(&mut self, _: Record) -> Result<()> {
        Err(Error::ValueTooLarge)
    }

    fn remove(&mut self, _: &RecordKey) {}

    fn records(&self) -> Self::RecordsIter<'_> {
        std::iter::empty()
    }

    fn add_provider(&mut self, record: ProviderRecord) -> Result<()> {
        if record.provider != self.local {
            return self.take(record, None);
        }
        if self.own.len() >= limits::DHT_RECORDS_OWN && !self.own.contains_key(&record.key) {
            return Err(Error::MaxProvidedKeys);
        }
        self.own.insert(record.key.clone(), record);
        Ok(())
    }

    fn providers(&self, key: &RecordKey) -> Vec<ProviderRecord> {
        let others = self.others.get(key).map_or(&[][..], Vec::as_slice);
        self.own.get(key).into_iter().chain(in_turns(others)).cloned().collect()
    }

    fn provided(&self) -> Self::ProvidedIter<'_> {
        self.own.values().map(Cow::Borrowed)
    }

    fn remove_provider(&mut self, key: &RecordKey, provider: &PeerId) {
        if *provider == self.local {
            self.own.remove(key);
        }
        self.forget(key, |record| record.provider == *provider);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> RecordKey {
        RecordKey::from(blake3::hash(&number.to_le_bytes()).as_bytes().to_vec())
    }

    fn record(number: usize, provider: PeerId) -> ProviderRecord {
        let at = "/ip4/10.0.0.1/tcp/1".parse().unwrap();
        let expires = Some(Instant::now() + Duration::from_secs(3_600));
        ProviderRecord { expires, ..ProviderRecord::new(key(number), provider, vec![at]) }
    }

    #[test]
    fn a_flood_of_records_ends_at_the_limits_and_ours_are_kept() {
        let local = PeerId::random();
        let mut records = Records::new(local);
        let greedy = PeerId::random();
        let taken = (0..1_000).filter(|&n| records.add_provider(record(n, greedy)).is_ok());
        assert_eq!(taken.count(), limits::DHT_RECORDS_PER_PEER);
        for peer in (0..limits::DHT_RECORDS).map(|_| PeerId::random()) {
            (0..4).for_each(|n| {
                let _ = records.add_provider(record(10_000 + n, peer));
            });
        }
        assert!(records.others.values().all(|all| all.len() <= limits::DHT_RECORDS_PER_KEY));
        let mut number = 20_000;
        while records.count() < limits::DHT_RECORDS {
            records.add_provider(record(number, PeerId::random())).unwrap();
            number += 1;
        }
        assert!(records.add_provider(record(number, PeerId::random())).is_err());
        // Who is known is refreshed all the same.
        assert!(records.add_provider(record(0, greedy)).is_ok());
        for own in 0..limits::DHT_RECORDS_OWN {
            records.add_provider(record(own, local)).unwrap();
        }
        assert!(records.add_provider(record(limits::DHT_RECORDS_OWN, local)).is_err());
        assert!(records.add_provider(record(0, local)).is_ok());
        assert_eq!(records.provided().count(), limits::DHT_RECORDS_OWN);
        assert_eq!(records.providers(&key(0)).len(), 2, "ours and that of the greedy one");
        records.remove_provider(&key(0), &local);
        records.remove_provider(&key(0), &greedy);
        assert!(records.providers(&key(0)).is_empty());
        assert_eq!(records.count(), limits::DHT_RECORDS - 1);
    }

    #[test]
    fn one_network_cannot_crowd_out_another() {
        let mut records = Records::new(PeerId::random());
        let subnet =
            |number: u8| Subnet::of(&format!("/ip4/192.0.{number}.1/tcp/1").parse().unwrap());
        for _ in 0..2 * limits::DHT_RECORDS_PER_KEY {
            let _ = records.take(record(1, PeerId::random()), subnet(0));
        }
        let honest: Vec<PeerId> = (1..=8).map(|_| PeerId::random()).collect();
        for (number, peer) in (1..).zip(&honest) {
            records.take(record(1, *peer), subnet(number)).unwrap();
        }
        let _ = records.take(record(1, PeerId::random()), subnet(0));
        let kept = records.providers(&key(1));
        assert_eq!(kept.len(), limits::DHT_RECORDS_PER_KEY);
        // No more are told than this.
        let told = &kept[..limits::DHT_NAMES];
        assert!(honest.iter().all(|peer| told.iter().any(|record| record.provider == *peer)));
        let many = (0..).map(|number| records.take(record(number, PeerId::random()), subnet(0)));
        let taken =
            many.take(2 * limits::DHT_RECORDS_PER_SUBNET).filter(|taken| taken.is_ok()).count();
        assert!(taken < limits::DHT_RECORDS_PER_SUBNET, "{taken}");
        records.take(record(3, PeerId::random()), subnet(9)).unwrap();
    }

    #[test]
    fn what_is_out_of_date_makes_room() {
        let mut records = Records::new(PeerId::random());
        for peer in (0..limits::DHT_RECORDS_PER_KEY).map(|_| PeerId::random()) {
            let expires = Some(Instant::now());
            records.add_provider(ProviderRecord { expires, ..record(1, peer) }).unwrap();
        }
        let fresh = PeerId::random();
        records.add_provider(record(1, fresh)).unwrap();
        assert_eq!(records.providers(&key(1)), [record(1, fresh)]);
        assert_eq!(records.count(), 1);
    }

    #[test]
    fn only_records_like_ours_are_kept_and_no_values() {
        let mut records = Records::new(PeerId::random());
        let good = record(1, PeerId::random());
        let short = RecordKey::from(vec![1; limits::DHT_KEY_BYTES - 1]);
        assert!(records.add_provider(ProviderRecord { key: short, ..good.clone() }).is_err());
        let many = vec![good.addresses[0].clone(); limits::ADDRESSES_PER_TARGET + 1];
        assert!(records.add_provider(ProviderRecord { addresses: many, ..good.clone() }).is_err());
        let name = "a".repeat(limits::DHT_ADDRESS_BYTES);
        let long = vec![format!("/dns4/{name}/tcp/1").parse().unwrap()];
        assert!(records.add_provider(ProviderRecord { addresses: long, ..good.clone() }).is_err());
        assert!(records.put(Record::new(good.key.clone(), vec![1])).is_err());
        assert!(records.get(&good.key).is_none() && records.records().next().is_none());
        assert!(records.add_provider(good).is_ok());
    }
}
