//! Who offers which drive, as far as this node keeps it for the DHT (SPEC 9.7).
//!
//! Invariants: what we offer ourselves has room of its own, whatever strangers send; what is kept of others is bounded in all, by
//! peer and by key, and each record speaks for its sender alone (the library drops others). Values are never kept.
//! Elsewhere: when we ask and announce (`dht`), the protocol (libp2p).

use std::borrow::Cow;
use std::collections::{HashMap, hash_map};
use std::iter::{Empty, Map};
use std::time::{Duration, Instant};

use libp2p::kad::store::{Error, RecordStore, Result};
use libp2p::kad::{ProviderRecord, Record, RecordKey};
use libp2p::{Multiaddr, PeerId};

use super::limits;

/// How often what is out of date is looked for because there is no room.
const SWEEP: Duration = Duration::from_secs(60);

/// The records of a node.
#[derive(Debug)]
pub(super) struct Records {
    local: PeerId,
    /// What we offer.
    own: HashMap<RecordKey, ProviderRecord>,
    /// What others offer.
    others: HashMap<RecordKey, Vec<ProviderRecord>>,
    /// How many of those each of them has.
    by_peer: HashMap<PeerId, usize>,
    swept: Option<Instant>,
}

impl Records {
    pub(super) fn new(local: PeerId) -> Self {
        let (own, others, by_peer) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { local, own, others, by_peer, swept: None }
    }

    /// Returns how many records of others there are.
    pub(super) fn count(&self) -> usize {
        self.by_peer.values().sum()
    }

    fn has_room(&self, provider: &PeerId) -> bool {
        let theirs = self.by_peer.get(provider).copied().unwrap_or_default();
        self.count() < limits::DHT_RECORDS && theirs < limits::DHT_RECORDS_PER_PEER
    }

    fn take(&mut self, record: ProviderRecord) -> Result<()> {
        if !is_sound(&record) {
            return Err(Error::ValueTooLarge);
        }
        let known = self.others.get_mut(&record.key);
        if let Some(known) = known.and_then(|all| all.iter_mut().find(|other| **other == record)) {
            *known = record;
            return Ok(());
        }
        let is_full = |store: &Self| {
            let of_key = store.others.get(&record.key).map_or(0, Vec::len);
            of_key >= limits::DHT_RECORDS_PER_KEY || !store.has_room(&record.provider)
        };
        if is_full(self) {
            self.sweep(Instant::now());
        }
        // Whoever was here first stays: strangers cannot drive out those who are found already.
        if is_full(self) {
            return Err(Error::MaxRecords);
        }
        *self.by_peer.entry(record.provider).or_default() += 1;
        self.others.entry(record.key.clone()).or_default().push(record);
        Ok(())
    }

    fn forget(&mut self, key: &RecordKey, gone: impl Fn(&ProviderRecord) -> bool) {
        let hash_map::Entry::Occupied(mut entry) = self.others.entry(key.clone()) else { return };
        let by_peer = &mut self.by_peer;
        entry.get_mut().retain(|record| {
            let gone = gone(record);
            if gone && let hash_map::Entry::Occupied(mut count) = by_peer.entry(record.provider) {
                *count.get_mut() -= 1;
                if *count.get() == 0 {
                    count.remove();
                }
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
            return self.take(record);
        }
        if self.own.len() >= limits::DHT_RECORDS_OWN && !self.own.contains_key(&record.key) {
            return Err(Error::MaxProvidedKeys);
        }
        self.own.insert(record.key.clone(), record);
        Ok(())
    }

    fn providers(&self, key: &RecordKey) -> Vec<ProviderRecord> {
        let others = self.others.get(key).into_iter().flatten();
        self.own.get(key).into_iter().chain(others).cloned().collect()
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
