//! Keeps one open drive of a mirror: looks what is here and what is wanted, asks for the difference, and waits for news.
//!
//! The changes come first, all of them; once those up to the head are here, all that is asked of the index is answered here, so that
//! nothing is fetched but what was allowed.
//! Elsewhere: opening and closing (`member`), which blocks those are (`part`, `history`), how much room there is (`quota`).

use std::time::{Duration, Instant};

use datnode_feed::{Bitfield, FeedSlot};
use datnode_proto::{FeedId, Priority, Target, Want};
use tokio::sync::watch;

use super::super::clone::note_name;
use super::history::{History, Kept};
use super::member::{Event, House, Member};
use super::part::{Part, Runs, count, cut, without};
use super::quota::stored;
use crate::cli::escape;
use crate::engine::{Drive, Link, News, Selection, Snapshot, Worker};
use crate::error::{Code, Error};
use crate::home::two_histories_read;

/// How often it is looked how far a drive is while something comes.
const LOOK: Duration = Duration::from_secs(1);
/// How often it is looked whether what was here is here still: what a reader finds rotten is dropped, which nobody tells us.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// How long it takes until others who share the room are looked at again.
const SETTLE: Duration = Duration::from_millis(200);
/// How many versions pass, or how long it takes, before it is looked what they alone needed: all names are gone through for that.
const SHIFT_VERSIONS: u64 = 64;
const SHIFT_EVERY: Duration = Duration::from_secs(600);
/// What the changes have before the content.
const CHANGES: Priority = Priority(1);
/// What the change at the head has before them: it tells where everything is.
const HEAD: Priority = Priority(2);

/// What is asked for of a feed, and how urgently.
type Wish = (FeedId, Priority, Target);

/// Keeps one open drive.
pub(super) struct Keeper<'a> {
    member: &'a Member,
    house: &'a House,
    drive: Drive,
    changes: watch::Receiver<News>,
    content: Option<(Link, watch::Receiver<News>)>,
    latest: Option<Snapshot>,
    kept: Option<Kept>,
    wishes: Vec<Wish>,
    selections: Vec<Selection>,
    /// Blocks of the content that were looked for in other drives last.
    looked_for: Runs,
    room: Option<watch::Receiver<()>>,
    /// When it was looked last.
    looked: Instant,
    /// How long the changes were when the newest version was read, whether it could be or not.
    read_at: u64,
    /// Whether it was told that the writer signed two histories.
    is_accused: bool,
    /// When it was looked last which blocks a short history takes, and what those versions alone needed that passed before that.
    shifted: Instant,
    gone: Bitfield,
}

impl<'a> Keeper<'a> {
    pub(super) fn new(member: &'a Member, house: &'a House, drive: Drive) -> Self {
        let changes = drive.changes.news.clone();
        let room = house.ledger.as_ref().map(|ledger| ledger.watch());
        let (content, latest, kept) = (None, None, None);
        let (wishes, selections, now) = (Vec::new(), Vec::new(), Instant::now());
        let (read_at, is_accused) = (0, false);
        Self {
            member,
            house,
            drive,
            changes,
            content,
            latest,
            kept,
            wishes,
            selections,
            looked_for: Vec::new(),
            room,
            looked: now,
            read_at,
            is_accused,
            shifted: now,
            gone: Bitfield::new(),
        }
    }

    /// Goes on until the store cannot.
    pub(super) async fn keep(mut self) -> Error {
        loop {
            if let Err(error) = self.look().await {
                return error;
            }
            self.wait().await;
        }
    }

    /// Looks what is here, and asks for what is missing.
    async fn look(&mut self) -> Result<(), Error> {
        // Seen before looking: news that come while we look wake us up afterwards.
        let News { length, accused, .. } = *self.changes.borrow_and_update();
        self.looked = Instant::now();
        if let Some(room) = &mut self.room {
            room.borrow_and_update();
        }
        if let Some(failure) = self.drive.store.query(|worker| worker.take_failure()).await {
            return Err(failure);
        }
        if accused && !std::mem::replace(&mut self.is_accused, true) {
            self.tell(two_histories_read());
        }
        let changes = Part::new(held(&self.drive, self.drive.changes.slot).await, vec![0..length]);
        if changes.missing == 0 && length > self.read_at {
            self.read_at = length;
            match self.read_latest().await {
                // What its writer signed is no drive: it is kept all the same, for whoever understands it.
                Err(error) if error.code() == Code::Verify => self.tell(error),
                read => read?,
            }
        }
        self.shift().await?;
        let (content, content_length) = self.content().await;
        self.want(&changes, &content).await?;
        if self.note(&changes, &content, content_length) || self.is_full() {
            let gone = std::mem::take(&mut self.gone);
            self.free(gone).await?;
        }
        Ok(())
    }

    /// Looks anew which blocks a short history takes, if enough versions passed while this runs. What they alone needed is wanted no
    /// more, and freed as soon as a newer version is whole or there is no room; the next time at the latest.
    async fn shift(&mut self) -> Result<(), Error> {
        let (History::Last(count), Some(latest), Some(kept)) =
            (self.house.history, &self.latest, &self.kept)
        else {
            return Ok(());
        };
        let (passed, is_time) = (kept.passed(), self.shifted.elapsed() >= SHIFT_EVERY);
        if passed < SHIFT_VERSIONS && (passed == 0 || !is_time && !self.is_full()) {
            return Ok(());
        }
        let now = Kept::of(latest, count).await?;
        let before = std::mem::replace(&mut self.gone, kept.without(&now));
        (self.kept, self.shifted) = (Some(now), Instant::now());
        self.free(before).await
    }

    /// Frees blocks of the content, but for those that are wanted again.
    async fn free(&mut self, mut blocks: Bitfield) -> Result<(), Error> {
        let (Some(kept), Some((link, _))) = (&self.kept, &self.content) else { return Ok(()) };
        kept.blocks.runs().for_each(|run| blocks.clear_range(run));
        if blocks.is_empty() {
            return Ok(());
        }
        let (slot, runs) = (link.slot, blocks.runs().collect::<Runs>());
        let clear = move |worker: &mut Worker| {
            worker.commit()?;
            worker.store.clear(slot, &blocks).map_err(Error::store)
        };
        self.drive.store.query(clear).await?;
        self.drive.hub.lost(link.id, runs);
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.house.ledger.as_ref().is_some_and(|ledger| ledger.is_full())
    }

    /// Looks what of the content is wanted, and how long it is.
    async fn content(&mut self) -> (Part, u64) {
        let named = self.latest.as_ref().and_then(|latest| latest.content.clone());
        let link = named.or_else(|| self.drive.content_feeds().into_iter().next());
        if self.content.as_ref().map(|(link, _)| link.id) != link.as_ref().map(|link| link.id) {
            self.content = link.map(|link| (link.clone(), link.news));
        }
        let Some((link, news)) = &mut self.content else {
            return (Part::new(Bitfield::new(), Vec::new()), 0);
        };
        let length = news.borrow_and_update().length;
        let wanted = match (self.house.history, &self.kept) {
            (History::All, _) => vec![0..length],
            (History::Last(_), kept) => kept.iter().flat_map(|kept| kept.blocks.runs()).collect(),
        };
        (Part::new(held(&self.drive, link.slot).await, wanted), length)
    }

    fn tell(&self, error: Error) {
        let _ = self.house.tell.send(Event::Trouble(self.member.key, error));
    }

    async fn read_latest(&mut self) -> Result<(), Error> {
        let latest = self.drive.latest().await?;
        if let History::Last(count) = self.house.history {
            match &mut self.kept {
                Some(kept) => kept.grow(&latest).await?,
                None => self.kept = Some(Kept::of(&latest, count).await?),
            }
        }
        if self.latest.is_none() {
            let name = self.drive.header().await?.name;
            note_name(&self.member.key, &name, &self.member.folder, None)?;
            self.member.state().name = Some(escape::bytes(&name));
        }
        self.latest = Some(latest);
        Ok(())
    }

    /// Asks for what is missing, as far as there is room.
    async fn want(&mut self, changes: &Part, content: &Part) -> Result<(), Error> {
        let head = changes.length().saturating_sub(1)..changes.length();
        let (of_changes, of_content) = match self.allowed(changes, content).await {
            Some((changes, content)) => (Target::Blocks(changes), Target::Blocks(content)),
            None if self.house.history == History::All => (Target::All, Target::All),
            None => (Target::All, Target::Blocks(content.wanted.clone())),
        };
        self.copy(&of_content, content).await?;
        let takes_head = match &of_changes {
            Target::Blocks(runs) => runs.last().is_some_and(|run| run.end == head.end),
            _ => !changes.held.all(head.clone()),
        };
        let feed = self.drive.changes.id;
        let first = takes_head.then(|| (feed, HEAD, Target::Blocks(vec![head])));
        let rest = self.content.as_ref().map(|(link, _)| (link.id, Priority(0), of_content));
        let wishes: Vec<Wish> =
            first.into_iter().chain([(feed, CHANGES, of_changes)]).chain(rest).collect();
        // What was here when it was asked for, and is missing since, nobody is asked for any more.
        let is_over = changes.missing + content.missing > 0 && self.is_served();
        if wishes != self.wishes || is_over {
            let want = |(feed, priority, target): &Wish| {
                let want = Want { priority: *priority, ..Want::new(target.clone()) };
                self.drive.hub.want(*feed, want)
            };
            // The old ones go after the new ones are there: what both want goes on.
            self.selections = wishes.iter().map(want).collect();
            self.wishes = wishes;
        }
        Ok(())
    }

    /// Copies what other drives of the user have of the content that is to be fetched, the first time that it is.
    async fn copy(&mut self, target: &Target, content: &Part) -> Result<(), Error> {
        let (Some(latest), Some((link, _))) = (&self.latest, &self.content) else { return Ok(()) };
        // As long as the change says, though the head may not be here.
        let length = latest.version.change.feeds.first().map_or(0, |feed| feed.length);
        let all = vec![0..length];
        let wanted = match target {
            Target::Blocks(runs) => runs,
            _ => &all,
        };
        let missing = wanted.iter().flat_map(|run| content.held.gaps_in(run.clone()));
        let new: Runs = missing.flat_map(|gap| without(&gap, &self.looked_for)).collect();
        self.looked_for.clone_from(wanted);
        if new.is_empty() {
            return Ok(());
        }
        self.house.copier.copy(latest, link, &self.member.folder, &new).await?;
        // What was copied is no news of any peer.
        self.member.poke();
        Ok(())
    }

    /// Returns what may be asked for of the changes and of the content; none where there is no quota.
    async fn allowed(&self, changes: &Part, content: &Part) -> Option<(Runs, Runs)> {
        let ledger = self.house.ledger.as_ref()?;
        // Only what somebody offers: room that is kept for what never comes is lost to others.
        let in_reach = |feed| self.drive.hub.in_reach(feed).unwrap_or_default();
        let mut of_changes = changes.gaps(&in_reach(self.drive.changes.id));
        let link = self.content.as_ref().map(|(link, _)| link.id);
        let mut of_content = link.map_or_else(Vec::new, |link| content.gaps(&in_reach(link)));
        let (wanted, used) = (count(&of_changes) + count(&of_content), self.used().await);
        let mut left = ledger.claim(&self.member.key, &self.member.folder, used, wanted);
        cut(&mut of_changes, &mut left);
        cut(&mut of_content, &mut left);
        Some((of_changes, of_content))
    }

    /// Returns what the store takes on its disk, with what it has yet to write.
    async fn used(&self) -> u64 {
        let folder = self.member.folder.clone();
        let query = move |worker: &mut Worker| {
            stored(&folder) + worker.store.staged_bytes() as u64 + worker.store.unwritten_bytes()
        };
        self.drive.store.query(query).await
    }

    /// Tells whether all that was asked for came.
    fn is_served(&self) -> bool {
        let served =
            |one: &Selection| one.progress().is_none_or(|progress| progress.here == progress.of);
        self.selections.iter().all(served)
    }

    /// Notes how far it is, and tells when a version is whole; returns whether it is.
    fn note(&mut self, changes: &Part, content: &Part, content_length: u64) -> bool {
        let missing = changes.missing + content.missing;
        let is_full = missing > 0 && self.is_full();
        let mut state = self.member.state();
        state.here = changes.here() + content.here();
        state.wanted = count(&changes.wanted) + count(&content.wanted);
        state.is_full = is_full;
        state.latest.clone_from(&self.latest);
        let Some(latest) = &self.latest else { return false };
        let is_whole = missing == 0
            && self.read_at == changes.length()
            && latest.version.change.feeds.first().is_none_or(|feed| content_length >= feed.length);
        let number = latest.version.number;
        if is_whole && state.whole != Some(number) {
            let before = state.whole.replace(number).unwrap_or_default();
            let version = latest.version.clone();
            let _ = self.house.tell.send(Event::Whole(self.member.key, version, before));
        }
        is_whole
    }

    /// Waits until there is something to look at.
    async fn wait(&self) {
        let (looked, seen) = (self.looked, self.changes.borrow().length);
        let seen_content = self.content.as_ref().map_or(0, |(_, news)| news.borrow().length);
        let waits_for_room = self.house.ledger.is_some() && !self.wants_nothing();
        let (mut changes, mut content) =
            (self.changes.clone(), self.content.as_ref().map(|(_, news)| news.clone()));
        let moved = async {
            loop {
                let of_content = async {
                    match &mut content {
                        Some(news) => drop(news.changed().await),
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    _ = changes.changed() => {}
                    () = of_content => {}
                }
                let longer = changes.borrow().length > seen
                    || content.as_ref().is_some_and(|news| news.borrow().length > seen_content);
                if longer || self.is_served() || looked.elapsed() >= LOOK {
                    return;
                }
            }
        };
        let mut room = self.room.clone();
        let more_room = async {
            match &mut room {
                Some(room) if waits_for_room => {
                    let _ = room.changed().await;
                    tokio::time::sleep(SETTLE).await;
                }
                _ => std::future::pending().await,
            }
        };
        let again = if waits_for_room { LOOK } else { LOOK_AGAIN };
        tokio::select! {
            () = moved => {}
            () = more_room => {}
            () = self.member.poke.notified() => {}
            // Nothing is stored any more, so no news would tell: what comes in comes in vain.
            () = self.drive.store.failed() => {}
            () = tokio::time::sleep(again) => {}
        }
    }

    /// Tells whether nothing is missing.
    fn wants_nothing(&self) -> bool {
        let state = self.member.state();
        state.here == state.wanted
    }
}

/// Returns the blocks of a feed that are here.
async fn held(drive: &Drive, slot: FeedSlot) -> Bitfield {
    drive.store.query(move |worker| worker.store.have(slot).clone()).await
}
