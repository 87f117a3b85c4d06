//! A drive as programs use it: asynchronous reads over a store that may hold only part of it.
//!
//! `datnode_drive` never waits: its functions say which blocks they need. Here those blocks are wanted from peers at high
//! priority, and the function is asked again when they are here.
//! Elsewhere: reading one version (`snapshot`).

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use datnode_drive::{Reading, Step, Version};
use datnode_feed::{BlockIndex, FeedSlot, PublicKey, Storage, StoreError};
use datnode_proto::{Class, FeedId, Order, PeerId, Priority, Replica, Target, Want};
use tokio::sync::watch;

use super::feed::Feed;
use super::hub::{Hub, News};
use super::patience::Patience;
use super::snapshot::Snapshot;
use super::worker::{StoreHandle, Worker};
use crate::address::VersionSpec;
use crate::error::Error;
use crate::view::View;

/// The priority of blocks that somebody waits for; bulk has zero.
pub const URGENT: Priority = Priority(200);

/// A store's own view, as queries get it.
pub(super) type StoreView<'a> = View<'a, Box<dyn Storage + Send>>;

/// A feed of a drive, replicated by the hub.
#[derive(Clone, Debug)]
pub struct Link {
    /// The hub's handle of the feed.
    pub id: FeedId,
    /// The store's.
    pub slot: FeedSlot,
    /// How far it is.
    pub news: watch::Receiver<News>,
}

/// An open drive: a store, replicated by a hub.
#[derive(Clone)]
pub struct Drive {
    /// The drive's key, which is that of its changes feed.
    pub key: PublicKey,
    /// The hub.
    pub hub: Hub,
    /// The thread that owns the store.
    pub store: StoreHandle,
    /// The changes feed.
    pub changes: Link,
    /// How long reads wait for peers.
    pub patience: Patience,
    /// Content feeds that are replicated already.
    linked: Arc<Mutex<BTreeMap<PublicKey, Link>>>,
}

impl Drive {
    /// Replicates the drive whose store is given, beginning with its changes feed.
    ///
    /// # Errors
    /// What the store says.
    pub async fn open(
        hub: &Hub,
        store: StoreHandle,
        key: PublicKey,
        patience: Patience,
    ) -> Result<Self, Error> {
        let changes = link(hub, &store, key, Class::Changes).await?;
        let linked = Arc::default();
        Ok(Self { key, hub: hub.clone(), store, changes, patience, linked })
    }

    /// Returns the feed of changes, with the index of names.
    pub fn feed(&self) -> Feed {
        Feed::of(self.hub.clone(), self.store.clone(), self.changes.clone())
    }

    /// Waits until a head of the drive is known, and returns the latest version it has.
    ///
    /// # Errors
    /// Those of [`Patience::wait`], and a damaged drive.
    pub async fn latest(&self) -> Result<Snapshot, Error> {
        let mut news = self.changes.news.clone();
        let known = async { news.wait_for(|news| news.length > 0).await.map(|news| news.length) };
        let length = self.patience.wait(&self.hub, known).await?.unwrap_or_default();
        let position = BlockIndex(length.saturating_sub(1));
        let version = self.ask(None, move |view| Version::open(view, position)).await?;
        self.snapshot(version).await
    }

    /// Returns the version that `spec` names.
    ///
    /// # Errors
    /// E-NOTFOUND if there is none, and those of [`latest`](Self::latest).
    pub async fn version(&self, spec: &VersionSpec) -> Result<Snapshot, Error> {
        let latest = self.latest().await?;
        let found = match spec {
            VersionSpec::Latest => return Ok(latest),
            VersionSpec::Number(number) => {
                let (from, number) = (latest.version.clone(), *number);
                self.ask(None, move |view| from.find(view, number)).await?
            }
            VersionSpec::Id(_) | VersionSpec::AsOf(_) => self.search(&latest, spec).await?,
            VersionSpec::Tag(name) => return latest.named(name).await,
        };
        let none = || Error::no_version(spec, latest.version.number);
        self.snapshot(found.ok_or_else(none)?).await
    }

    /// Goes back through the history to the first version that fits.
    async fn search(&self, from: &Snapshot, spec: &VersionSpec) -> Result<Option<Version>, Error> {
        let mut at = Some(Version::clone(&from.version));
        while let Some(version) = at {
            if spec.fits(&version) {
                return Ok(Some(version));
            }
            at = self.ask(None, move |view| version.previous(view)).await?;
        }
        Ok(None)
    }

    pub(super) async fn snapshot(&self, version: Version) -> Result<Snapshot, Error> {
        let content = match version.change.feeds.first() {
            Some(feed) => Some(self.content(feed.key).await?),
            None => None,
        };
        Ok(Snapshot { drive: self.clone(), version: Arc::new(version), content })
    }

    async fn content(&self, key: PublicKey) -> Result<Link, Error> {
        let known =
            self.linked.lock().expect("no code panics while it holds this").get(&key).cloned();
        if let Some(link) = known {
            return Ok(link);
        }
        let made = link(&self.hub, &self.store, key, Class::Content).await?;
        let mut linked = self.linked.lock().expect("no code panics while it holds this");
        Ok(linked.entry(key).or_insert(made).clone())
    }

    /// Replicates the content feeds that the store knows, whether the changes that name them can be read or not.
    ///
    /// # Errors
    /// What the store says.
    pub async fn open_content(&self) -> Result<(), Error> {
        let feeds: Vec<_> = self.store.query(|worker| worker.store.feeds().collect()).await;
        for (_, key) in feeds.into_iter().filter(|(_, key)| *key != self.key) {
            self.content(key).await?;
        }
        Ok(())
    }

    /// Returns the content feeds that are replicated.
    pub fn content_feeds(&self) -> Vec<Link> {
        let linked = self.linked.lock().expect("no code panics while it holds this");
        linked.values().cloned().collect()
    }

    /// Replicates the drive no longer; its store is let go with the last handle on it.
    pub fn close(&self) {
        let content = self.content_feeds().into_iter().map(|link| link.id);
        self.hub.remove_feeds(content.chain([self.changes.id]));
    }

    /// Tells peers what was written to the store, and returns the version that came of it.
    ///
    /// # Errors
    /// What the store says.
    pub async fn grown(&self) -> Result<Snapshot, Error> {
        let content = self.linked.lock().expect("no code panics while it holds this").clone();
        // The changes last: whoever hears of them may ask for the content at once.
        for link in content.into_values().chain([self.changes.clone()]) {
            let slot = link.slot;
            let state = move |worker: &mut Worker| {
                (worker.store.head(slot).copied(), worker.store.have(slot).clone())
            };
            if let (Some(head), have) = self.store.query(state).await {
                self.hub.grown(link.id, head, &have);
            }
        }
        self.latest().await
    }

    /// Returns how much of the drive's content a peer has, in percent; none while it has not told.
    pub fn percent_of(&self, peer: PeerId) -> Option<u64> {
        let linked = self.linked.lock().expect("no code panics while it holds this");
        let parts = linked.values().filter_map(|link| self.hub.holding(link.id, peer));
        let (held, length) = parts.reduce(|a, b| (a.0 + b.0, a.1 + b.1))?;
        (held * 100).checked_div(length)
    }

    /// Returns the blocks of the drive's content that are neither here nor with anybody connected; none while nobody has told.
    pub fn out_of_reach(&self) -> Option<Vec<Range<u64>>> {
        let linked = self.linked.lock().expect("no code panics while it holds this");
        let content = linked.values().next()?;
        let reach = self.hub.in_reach(content.id)?;
        let length = content.news.borrow().length;
        let mut lost = Vec::new();
        let mut at = 0;
        for run in reach.runs().chain([length..length]) {
            if at < run.start.min(length) {
                lost.push(at..run.start.min(length));
            }
            at = at.max(run.end);
        }
        Some(lost)
    }

    /// Runs a reading function of `datnode_drive`, fetching what it needs.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        content: Option<&Link>,
        read: impl Fn(&StoreView<'_>) -> Reading<T, StoreError> + Send + Sync + 'static,
    ) -> Result<T, Error> {
        let (changes, content) = (self.changes.slot, content.map(|link| link.slot));
        let read = Arc::new(read);
        loop {
            let run = read.clone();
            let look = move |worker: &mut Worker| {
                let Worker { store, nodes, .. } = worker;
                run(&View::new(store, changes, content).keeping(nodes))
            };
            let step = self.store.query_first(look).await;
            match step.map_err(Error::damaged)? {
                Step::Done(value) => return Ok(value),
                Step::Need(blocks) => self.fetch(blocks.into_iter().map(|at| at.block)).await?,
            }
        }
    }

    /// Fetches blocks of the changes feed, where all of the index is, and waits for them.
    async fn fetch(&self, blocks: impl Iterator<Item = BlockIndex>) -> Result<(), Error> {
        let runs: Vec<_> = blocks.map(|block| block.0..block.0 + 1).collect();
        // One that was here until it was read and found rotten is here no longer.
        let (hub, id, slot, read) =
            (self.hub.clone(), self.changes.id, self.changes.slot, runs.clone());
        let look = move |worker: &mut Worker| hub.missing(id, worker.store.have(slot), read);
        self.store.query_first(look).await;
        let want =
            Want { priority: URGENT, order: Order::Linear, ..Want::new(Target::Blocks(runs)) };
        let mut wanted = self.hub.want(self.changes.id, want);
        self.patience.wait(&self.hub, wanted.done()).await
    }
}

/// Replicates a feed of a store, which is added to it if it is new.
pub(super) async fn link(
    hub: &Hub,
    store: &StoreHandle,
    key: PublicKey,
    class: Class,
) -> Result<Link, Error> {
    let known = store.query(move |worker| {
        let slot = worker.store.add_feed(key)?;
        let replica = Replica {
            key,
            class,
            head: worker.store.head(slot).copied(),
            have: worker.store.have(slot).clone(),
            accusation: worker.store.accusation(slot).cloned().map(Box::new),
        };
        Ok::<_, StoreError>((slot, replica))
    });
    let (slot, replica) = known.await.map_err(Error::store)?;
    let (id, news) = hub.add_feed(replica, store.clone(), slot);
    Ok(Link { id, slot, news })
}
