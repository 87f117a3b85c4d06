//! The honest half of a hostile peer: the real replicator over real blocks, with somebody's hand on what it says.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use datnode::disk::DiskStorage;
use datnode::engine::AnyStore;
use datnode_feed::{Comparison, FeedSlot, PublicKey, Seek, SignedHead, Store};
use datnode_proto::wire::{Channel, Frame, Message, decode, encode};
use datnode_proto::{Class, Done, Failure, FeedId, Instant, Job, PeerId, Replica, Replicator};

use super::{Gone, Line};

const PEER: PeerId = PeerId(0);

/// The number under which a puppet opens a drive's content.
pub const CONTENT: Channel = Channel(1);

/// Feeds with all their blocks, which several peers may serve at once.
#[derive(Clone)]
pub struct Goods {
    store: Arc<Mutex<AnyStore>>,
    feeds: Vec<(FeedSlot, PublicKey, Class)>,
}

impl Goods {
    /// Takes the feeds of a store; the first holds changes.
    pub fn new(store: AnyStore) -> Self {
        let class = |slot| if slot == FeedSlot(0) { Class::Changes } else { Class::Content };
        let feeds = store.feeds().map(|(slot, key)| (slot, key, class(slot))).collect();
        Self { store: Arc::new(Mutex::new(store)), feeds }
    }

    /// Opens a clone that the binary made.
    pub fn of_clone(folder: &Path) -> Self {
        let storage = DiskStorage::open(folder, false).unwrap();
        Self::new(Store::open(Box::new(storage) as Box<_>).unwrap())
    }

    /// Returns the key of a feed: 0 for changes, 1 for content.
    pub fn key(&self, feed: usize) -> PublicKey {
        self.feeds[feed].1
    }

    /// Returns the length of a feed.
    pub fn length(&self, feed: usize) -> u64 {
        self.lock().length(self.feeds[feed].0)
    }

    /// Returns the head of a feed.
    pub fn head(&self, feed: usize) -> SignedHead {
        *self.lock().head(self.feeds[feed].0).unwrap()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, AnyStore> {
        self.store.lock().unwrap()
    }

    fn replicator(&self) -> Replicator {
        let mut replicator = Replicator::new([0; 32]);
        for (id, &(slot, key, class)) in (0..).zip(&self.feeds) {
            let store = self.lock();
            let head = store.head(slot).copied();
            let have = store.have(slot).clone();
            let replica = Replica { key, class, head, have, accusation: None };
            replicator.add_feed(FeedId(id), replica);
        }
        replicator
    }

    /// Does what a server's store does; what a reader's would do is not done.
    fn execute(&self, job: Job) -> Done {
        let slot = self.feeds[job.feed().0 as usize].0;
        let mut store = self.lock();
        match job {
            Job::Read { peer, feed, request, urgency, block, levels } => {
                let proof = store.prove(slot, block, levels).unwrap();
                let answer = proof.zip(store.read(slot, block).unwrap().map(Bytes::from));
                Done::Read { peer, feed, request, urgency, block, answer }
            }
            Job::Locate { peer, feed, request, urgency, length, bytes } => {
                let end = |byte| match store.seek(slot, byte).unwrap() {
                    Seek::Block { block, .. } => Some(block.0),
                    _ => None,
                };
                let blocks = end(bytes.start).zip(end(bytes.end - 1));
                let blocks = blocks.map(|(first, last)| first..last + 1);
                Done::Located { peer, feed, request, urgency, length, blocks }
            }
            Job::Leaves { peer, feed, request, top, levels } => {
                let proof = store.prove_leaves(slot, top, levels).unwrap();
                Done::Leaves { peer, feed, request, proof }
            }
            Job::Learn { peer, feed, request, .. } => {
                Done::Learned { peer, feed, request, result: Err(Failure::Ours) }
            }
            Job::Prove { peer, feed, from } => {
                Done::Proved { peer, feed, proof: store.prove_upgrade(slot, from).unwrap() }
            }
            Job::Upgrade { peer, feed, .. } => {
                Done::Upgraded { peer, feed, result: Err(Failure::Ours) }
            }
            Job::Compare { peer, feed, head } => {
                Done::Compared { peer, feed, head, result: Ok(Comparison::Agree) }
            }
            Job::Accuse { peer, feed, .. } => {
                Done::Accused { peer, feed, result: Err(Failure::Ours) }
            }
            Job::Store { peer, feed, block, bytes, .. } => {
                let (len, result) = (bytes.len() as u64, Err(Failure::Ours));
                Done::Stored { peer, feed, block, len, result }
            }
        }
    }
}

/// What a puppet says instead of an honest message.
pub enum Said {
    /// A message, with a block's bytes or none.
    Message(Box<Message>, Bytes),
    /// Bytes that need be no frame.
    Raw(Vec<u8>),
    /// Bytes, one of them a second.
    Trickle(Vec<u8>),
    /// Messages without end, by their number; what comes is read.
    Flood(Box<dyn FnMut(u64) -> Message + Send>),
    /// Nothing for a while; what comes waits.
    Pause(Duration),
    /// Nothing ever again; what comes is read.
    Silence,
    /// The end of the stream.
    End,
}

impl Said {
    /// A message without bytes behind it.
    pub fn plain(message: Message) -> Self {
        Self::block(message, Bytes::new())
    }

    /// A message with bytes behind it.
    pub fn block(message: Message, payload: Bytes) -> Self {
        Self::Message(Box::new(message), payload)
    }

    /// A block's message as the bytes of its frame.
    pub fn frame(message: &Message, payload: Bytes) -> Vec<u8> {
        let frame = Frame { header: encode(message), payload };
        [&frame.prefix(), &frame.header[..], &frame.payload].concat()
    }
}

/// Serves goods on a line as an honest node does, but says what `hand` makes of each message.
pub async fn serve(
    mut line: Line,
    goods: &Goods,
    mut hand: impl FnMut(Message, Bytes) -> Vec<Said>,
) -> Result<(), Gone> {
    let started = std::time::Instant::now();
    let now = || Instant(started.elapsed().as_micros() as u64);
    let mut replicator = goods.replicator();
    replicator.handle_connected(now(), PEER, line.binding.clone());
    loop {
        // Asking for a frame may lead to a job, and the job to a frame.
        loop {
            let frame = replicator.poll_transmit(now(), PEER);
            let mut worked = false;
            while let Some(job) = replicator.poll_job() {
                worked = true;
                replicator.handle_done(now(), goods.execute(job));
            }
            match frame {
                Some(frame) => {
                    let message = decode(&frame.header, &frame.payload).unwrap();
                    for said in hand(message, frame.payload) {
                        line = say(line, said).await?;
                    }
                }
                None if worked => {}
                None => break,
            }
        }
        while replicator.poll_event().is_some() {}
        let due = replicator.poll_timeout().map_or(Duration::MAX, |at| at.since(now()));
        match tokio::time::timeout(due, line.next()).await {
            Ok(frame) => {
                let frame = frame?;
                replicator.handle_frame(now(), PEER, &frame.header, frame.payload);
            }
            Err(_) => replicator.handle_timeout(now()),
        }
    }
}

async fn say(mut line: Line, said: Said) -> Result<Line, Gone> {
    match said {
        Said::Message(message, payload) => line.send_with(&message, payload).await?,
        Said::Raw(bytes) => line.send_raw(&bytes).await?,
        Said::Trickle(bytes) => {
            for byte in bytes.chunks(1) {
                line.send_raw(byte).await?;
                // What comes is read meanwhile, and answered by nothing.
                line.listen_for(Duration::from_secs(1)).await?;
            }
        }
        Said::Flood(mut message) => {
            for number in 0.. {
                line.send(&message(number)).await?;
                line.listen_for(Duration::ZERO).await?;
            }
        }
        Said::Pause(span) => tokio::time::sleep(span).await,
        Said::End => return Err(Gone),
        Said::Silence => {
            line.until_gone().await;
            return Err(Gone);
        }
    }
    Ok(line)
}
