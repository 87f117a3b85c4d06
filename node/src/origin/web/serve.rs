//! The server's end of a pipe in memory: a replicator that holds what is published, and has the files answer for a store.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant as Clock};

use datnode_feed::Bitfield;
use datnode_proto::wire::{Channel, Message, Wanted, decode};
use datnode_proto::{
    Binding, Class, Done, FeedId, Frame, Instant, Job, PeerId, Replica, Replicator, capability,
};
use tokio::io::DuplexStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use super::feed::{Asked, Feed};
use super::http::{Client, WebError};
use super::read_heads;
use crate::pool::Pool;
use crate::published::{Heads, Published};
use crate::swarm::frames::{FrameReader, FrameWriter};

/// The only one at the other end.
const PEER: PeerId = PeerId(0);
/// How often it is looked whether more is published.
const REFRESH: Duration = Duration::from_secs(30);

/// What is told to whoever reads a feed's files.
enum Told {
    Job(Box<Job>),
    Grown(Box<Published>),
}

/// A feed that is offered.
struct Offer {
    published: Published,
    asked: Asked,
    files: UnboundedSender<Told>,
}

struct Serving {
    replicator: Replicator,
    binding: Binding,
    started: Clock,
    offers: Vec<Offer>,
    /// The other end's numbers of the feeds.
    channels: BTreeMap<Channel, usize>,
}

/// Serves what is published, until the other end closes the pipe.
///
/// # Errors
/// Why the server cannot give it.
pub(super) async fn serve(
    client: Arc<Client>,
    heads: Heads,
    pipe: DuplexStream,
    binding: Binding,
) -> Result<(), WebError> {
    let (answer, mut answers) = unbounded_channel();
    let mut readers = JoinSet::new();
    let mut serving = Serving::new(&client, heads, binding, &mut readers, &answer);
    let (read, write) = tokio::io::split(pipe);
    let (mut reader, mut writer) =
        (FrameReader::new(read, Pool::default()), FrameWriter::new(write));
    let (fresh, mut freshened) = unbounded_channel();
    readers.spawn(look_again(client, fresh));
    loop {
        serving.say(&mut writer).await?;
        let due = serving.due();
        tokio::select! {
            frame = reader.read() => match frame {
                Ok(Some(frame)) => serving.hear(frame),
                // Whoever reads from here is honest, and gone.
                Ok(None) | Err(_) => return Ok(()),
            },
            Some(done) = answers.recv() => serving.done(done?),
            Some(now) = freshened.recv() => serving.grow(now)?,
            () = tokio::time::sleep_until(due.into()) => {
                let now = serving.now();
                serving.replicator.handle_timeout(now);
            }
        }
    }
}

/// Looks every so often what is published.
async fn look_again(client: Arc<Client>, fresh: UnboundedSender<Heads>) {
    loop {
        tokio::time::sleep(REFRESH).await;
        let sent = match read_heads(&client).await {
            Ok(heads) => fresh.send(heads).is_ok(),
            Err(error) => {
                // What was published before is still there, or that shows when it is read.
                tracing::debug!(%error, "cannot look what is published");
                true
            }
        };
        if !sent {
            return;
        }
    }
}

impl Serving {
    fn new(
        client: &Arc<Client>,
        heads: Heads,
        binding: Binding,
        readers: &mut JoinSet<()>,
        answer: &UnboundedSender<Result<Done, WebError>>,
    ) -> Self {
        let mut replicator = Replicator::new([0; 32]);
        let mut offers = Vec::new();
        for (id, published) in (0..).zip(heads.feeds) {
            let class = if id == 0 { Class::Changes } else { Class::Content };
            let (key, head) = (published.key, Some(published.head));
            let replica = Replica { key, class, head, have: published.have(), accusation: None };
            replicator.add_feed(FeedId(id), replica);
            let asked = Asked::new(Mutex::new(Bitfield::new()));
            let (files, told) = unbounded_channel();
            let feed = Feed::new(client.clone(), &published, asked.clone());
            readers.spawn(read_files(feed, told, answer.clone()));
            offers.push(Offer { published, asked, files });
        }
        let started = Clock::now();
        let mut serving = Self {
            replicator,
            binding: binding.clone(),
            started,
            offers,
            channels: BTreeMap::new(),
        };
        let now = serving.now();
        serving.replicator.handle_connected(now, PEER, binding);
        serving
    }

    fn now(&self) -> Instant {
        Instant(u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    fn due(&self) -> Clock {
        let at =
            self.replicator.poll_timeout().map(|at| self.started + Duration::from_micros(at.0));
        at.unwrap_or_else(|| Clock::now() + REFRESH)
    }

    /// Says all that there is to say, and passes on what has to be looked up for it.
    async fn say<W: tokio::io::AsyncWrite + Unpin>(
        &mut self,
        writer: &mut FrameWriter<W>,
    ) -> Result<(), WebError> {
        loop {
            let frame = self.replicator.poll_transmit(self.now(), PEER);
            while let Some(job) = self.replicator.poll_job() {
                let offer =
                    usize::try_from(job.feed().0).ok().and_then(|feed| self.offers.get(feed));
                // One whose reader ended has told why.
                let _ = offer.map(|offer| offer.files.send(Told::Job(Box::new(job))));
            }
            while self.replicator.poll_event().is_some() {}
            let pipe = |error: crate::swarm::frames::FrameError| WebError::Pipe(error.to_string());
            match frame {
                Some(frame) => writer.write(&frame).await.map_err(pipe)?,
                None => return writer.flush().await.map_err(pipe),
            }
        }
    }

    /// Takes what the other end says; what it asks for is noted, so that it is read in one go.
    fn hear(&mut self, frame: Frame) {
        match decode(&frame.header, &frame.payload) {
            Ok(Message::Open { channel, nonce, tag }) => {
                let is_it = |offer: &Offer| {
                    capability::matches(&offer.published.key, &self.binding, &nonce, &tag)
                };
                if let Some(feed) = self.offers.iter().position(is_it) {
                    self.channels.insert(channel, feed);
                }
            }
            Ok(Message::Request { channel, request }) => {
                if let Wanted::Blocks(runs) = request.wanted {
                    self.note(channel, |asked| {
                        runs.into_iter().for_each(|run| asked.set_range(run))
                    });
                }
            }
            Ok(Message::Cancel { channel, blocks, .. }) => {
                self.note(channel, |asked| {
                    blocks.into_iter().for_each(|run| asked.clear_range(run))
                });
            }
            _ => {}
        }
        let now = self.now();
        self.replicator.handle_frame(now, PEER, &frame.header, frame.payload);
    }

    fn note(&self, channel: Channel, change: impl FnOnce(&mut Bitfield)) {
        let offer = self.channels.get(&channel).and_then(|&feed| self.offers.get(feed));
        if let Some(offer) = offer {
            change(&mut offer.asked.lock().expect("no code panics while it holds this"));
        }
    }

    fn done(&mut self, done: Done) {
        if let Done::Read { feed, block, answer, .. } = &done {
            let run = block.0..block.0 + 1;
            let offer = usize::try_from(feed.0).ok().and_then(|feed| self.offers.get(feed));
            if let Some(offer) = offer {
                let mut asked = offer.asked.lock().expect("no code panics while it holds this");
                asked.clear_range(run.clone());
            }
            if answer.is_none() {
                self.replicator.handle_lost(*feed, run);
            }
        }
        let now = self.now();
        self.replicator.handle_done(now, done);
    }

    /// Offers what is published now.
    fn grow(&mut self, heads: Heads) -> Result<(), WebError> {
        if heads.feeds.len() != self.offers.len() {
            return Err(WebError::Replaced);
        }
        for (id, (offer, now)) in (0..).zip(self.offers.iter_mut().zip(heads.feeds)) {
            let before = &offer.published;
            let (old, new) = (before.head.head, now.head.head);
            if before.key != now.key || old.fork != new.fork || new.length < old.length {
                return Err(WebError::Replaced);
            }
            if *before == now {
                continue;
            }
            if new.length > old.length {
                self.replicator.handle_head(FeedId(id), now.head);
            }
            now.runs.iter().for_each(|run| self.replicator.handle_have(FeedId(id), run.clone()));
            let _ = offer.files.send(Told::Grown(Box::new(now.clone())));
            offer.published = now;
        }
        Ok(())
    }
}

/// Reads the files of a feed for one job after the other: proofs count on those before them.
async fn read_files(
    mut feed: Feed,
    mut told: UnboundedReceiver<Told>,
    answer: UnboundedSender<Result<Done, WebError>>,
) {
    while let Some(told) = told.recv().await {
        match told {
            Told::Grown(published) => feed.grow(&published),
            Told::Job(job) => {
                let done = feed.execute(*job).await;
                if answer.send(done).is_err() {
                    return;
                }
            }
        }
    }
}
