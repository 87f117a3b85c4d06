//! One drive of a mirror: its folder, what is wanted of it, and how far it is.
//!
//! The changes come first, all of them; once those up to the head are here, all that is asked of the index is answered here, so that
//! nothing is fetched but what was allowed. A mirror has no working files: blocks stay in the store.
//! Elsewhere: how many versions are kept (`history`), how much room there is (`quota`), what is checked in the background (`check`).

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use datnode_drive::Version;
use datnode_feed::limits::HELD_END;
use datnode_feed::{Bitfield, FeedSlot, PublicKey};
use datnode_proto::{FeedId, Priority, Target, Want};
use tokio::sync::{Notify, mpsc, watch};

use super::super::clone::note_name;
use super::super::context::{blocking, disk, read_key, write_key};
use super::history::{History, Kept};
use super::quota::{Ledger, stored};
use crate::address::Link;
use crate::cli::escape;
use crate::edit::{is_bare, make_bare};
use crate::engine::{
    Drive, Hub, Link as FeedLink, News, Patience, Reach, Selection, Snapshot, start,
};
use crate::error::{Code, Error};

/// How often it is looked how far a drive is while something comes.
const LOOK: Duration = Duration::from_secs(1);
/// How often it is looked whether what was here is here still: what a reader finds rotten is dropped, which nobody tells us.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// How long it takes until others who share the room are looked at again.
const SETTLE: Duration = Duration::from_millis(200);
/// When a drive is opened again whose store could not go on.
const AGAIN: Duration = Duration::from_secs(10);
/// What the changes have before the content, and the change at the head before them: it tells where everything is.
const CHANGES: Priority = Priority(1);
const HEAD: Priority = Priority(2);

/// What all drives of a mirror have in common.
#[derive(Clone)]
pub(super) struct House {
    pub(super) hub: Hub,
    /// Where the folders are.
    pub(super) to: PathBuf,
    pub(super) history: History,
    /// None without a quota.
    pub(super) ledger: Option<Arc<Ledger>>,
    /// Who is told what happens.
    pub(super) tell: mpsc::UnboundedSender<Event>,
}

/// Something that people and scripts are told.
#[derive(Debug)]
pub(super) enum Event {
    /// All that is wanted of a version is here, and the one before it that was had this number.
    Whole(PublicKey, Arc<Version>, u64),
    /// Blocks were not what was signed; they are fetched again.
    Damaged(PublicKey, u64),
    /// Something is wrong with a drive; it is tried again.
    Trouble(PublicKey, Error),
}

/// A drive that is mirrored.
pub(super) struct Member {
    pub(super) key: PublicKey,
    pub(super) folder: PathBuf,
    state: Mutex<State>,
    /// Tells that it is to be looked at again.
    poke: Notify,
}

/// How far it is.
#[derive(Clone, Default)]
pub(super) struct State {
    /// While its store is open.
    pub(super) drive: Option<Drive>,
    /// What it calls itself.
    pub(super) name: Option<String>,
    /// The newest version whose index is here.
    pub(super) latest: Option<Snapshot>,
    /// The number of the newest version of which all that is wanted is, or was, here.
    pub(super) whole: Option<u64>,
    /// Blocks that are here, of those that are wanted.
    pub(super) here: u64,
    pub(super) wanted: u64,
    /// Whether some are missing for which there is no room.
    pub(super) is_full: bool,
}

impl Member {
    /// Opens the store of a drive in its folder, which is made if it is not there.
    ///
    /// # Errors
    /// E-LOCKED while another process has it, E-DIRTY if something else is in its place, and what the disk says.
    pub(super) async fn open(key: PublicKey, house: &House) -> Result<Arc<Self>, Error> {
        let member = Arc::new(Self::closed(key, house));
        member.reopen(house).await?;
        Ok(member)
    }

    /// Names a drive whose store is opened later.
    pub(super) fn closed(key: PublicKey, house: &House) -> Self {
        let folder = house.to.join(Link(&key).to_string());
        Self { key, folder, state: Mutex::default(), poke: Notify::new() }
    }

    async fn reopen(&self, house: &House) -> Result<Drive, Error> {
        let (folder, key) = (self.folder.clone(), self.key);
        let store = blocking(move || {
            let store = disk(&folder, true)?;
            settle(&folder, &key)?;
            Ok(store)
        })
        .await?;
        let link = Link(&key).to_string();
        let patience = Patience { wait: None, reach: Reach::Network, link };
        let store = start(store, house.hub.answers());
        let drive = Drive::open(&house.hub, store, key, patience).await?;
        drive.open_content().await?;
        self.state().drive = Some(drive.clone());
        Ok(drive)
    }

    /// Keeps the drive, for ever. A store that could not go on is opened anew.
    pub(super) async fn keep(self: Arc<Self>, house: House) {
        loop {
            let drive = self.state().drive.clone();
            let opened = match drive {
                Some(drive) => Ok(drive),
                None => self.reopen(&house).await,
            };
            let error = match opened {
                Ok(drive) => Keeper::new(&self, &house, drive).keep().await,
                Err(error) => error,
            };
            let _ = house.tell.send(Event::Trouble(self.key, error));
            self.close();
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Serves the drive no longer, and lets its store go.
    pub(super) fn close(&self) {
        let state = std::mem::take(&mut *self.state());
        if let Some(drive) = state.drive {
            drive.close();
        }
    }

    /// Has it looked whether something is missing.
    pub(super) fn poke(&self) {
        self.poke.notify_one();
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds this")
    }
}

/// Makes a folder that of a mirror, whose store is locked; refuses one that is something else.
fn settle(folder: &Path, key: &PublicKey) -> Result<(), Error> {
    match read_key(folder)? {
        None => {
            make_bare(folder)?;
            write_key(folder, key)
        }
        Some(other) if other == *key && is_bare(folder)? => Ok(()),
        Some(_) => Err(Error::new(
            Code::Dirty,
            format!("{} holds something else than a mirror of its drive", escape::path(folder)),
        )
        .hint("choose another folder with --to, or move it away")),
    }
}

/// What is wanted of the feeds of a drive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Wish(Vec<(FeedId, Priority, Target)>);

/// Keeps one open drive.
struct Keeper<'a> {
    member: &'a Member,
    house: &'a House,
    drive: Drive,
    changes: watch::Receiver<News>,
    content: Option<(FeedLink, watch::Receiver<News>)>,
    latest: Option<Snapshot>,
    kept: Option<Kept>,
    wish: Wish,
    selections: Vec<Selection>,
    room: Option<watch::Receiver<()>>,
    /// When it was looked last.
    looked: Instant,
    /// Whether the index could not be read: the drive is followed all the same.
    is_odd: bool,
}

impl<'a> Keeper<'a> {
    fn new(member: &'a Member, house: &'a House, drive: Drive) -> Self {
        let changes = drive.changes.news.clone();
        let room = house.ledger.as_ref().map(|ledger| ledger.watch());
        let (content, latest, kept) = (None, None, None);
        let (wish, selections, looked) = (Wish::default(), Vec::new(), Instant::now());
        let is_odd = false;
        Self {
            member,
            house,
            drive,
            changes,
            content,
            latest,
            kept,
            wish,
            selections,
            room,
            looked,
            is_odd,
        }
    }

    /// Goes on until the store cannot.
    async fn keep(mut self) -> Error {
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
        let length = self.changes.borrow_and_update().length;
        self.looked = Instant::now();
        if let Some(failure) = self.drive.store.query(|worker| worker.take_failure()).await {
            return Err(failure);
        }
        let all = |length: u64| [0..length.min(HELD_END)].into_iter().collect();
        let changes = Part::new(held(&self.drive, self.drive.changes.slot).await, all(length));
        if length > 0 && changes.missing == 0 {
            self.open_latest(length).await?;
        }
        let named = self.latest.as_ref().and_then(|latest| latest.content.clone());
        let content = named.or_else(|| self.drive.content_feeds().into_iter().next());
        if self.content.as_ref().map(|(link, _)| link.id) != content.as_ref().map(|link| link.id) {
            self.content = content.map(|link| (link.clone(), link.news));
        }
        let mut content = Part::new(Bitfield::new(), Bitfield::new());
        let mut content_length = 0;
        if let Some((link, news)) = &mut self.content {
            content_length = news.borrow_and_update().length;
            let wanted = match (self.house.history, &self.kept) {
                (History::All, _) => all(content_length),
                (History::Last(_), kept) => {
                    kept.as_ref().map(|kept| kept.blocks.clone()).unwrap_or_default()
                }
            };
            content = Part::new(held(&self.drive, link.slot).await, wanted);
        }
        self.want(&changes, &content).await?;
        self.note(&changes, &content, content_length);
        Ok(())
    }

    /// Opens the version at the head, all of whose index is here.
    async fn open_latest(&mut self, length: u64) -> Result<(), Error> {
        let opened = self.latest.as_ref().map(|latest| latest.version.position.0 + 1);
        if opened == Some(length) || self.is_odd {
            return Ok(());
        }
        match self.read_latest().await {
            Err(error) if error.code() == Code::Verify => {
                // What its writer signed is no drive: it is kept as it is, for whoever understands it.
                self.is_odd = true;
                let _ = self.house.tell.send(Event::Trouble(self.member.key, error));
                Ok(())
            }
            read => read,
        }
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
        let mut wish = Wish::default();
        let feed = self.drive.changes.id;
        let head = changes.wanted.len().saturating_sub(1)..changes.wanted.len();
        let head_missing = changes.missing > 0 && !changes.held.all(head.clone());
        if let Some(ledger) = self.house.ledger.clone() {
            // Only what somebody offers: room that is kept for what never comes is lost to others.
            let in_reach = |feed| self.drive.hub.in_reach(feed).unwrap_or_default();
            let (of_changes, of_content) =
                (in_reach(feed), self.content.as_ref().map(|(link, _)| in_reach(link.id)));
            let mut runs = (
                changes.gaps(&of_changes),
                of_content.map_or_else(Vec::new, |reach| content.gaps(&reach)),
            );
            let wanted = count(&runs.0) + count(&runs.1);
            let mut allowed =
                ledger.claim(&self.member.key, &self.member.folder, self.used().await, wanted);
            cut(&mut runs.0, &mut allowed);
            cut(&mut runs.1, &mut allowed);
            if head_missing && runs.0.iter().any(|run| run.end == head.end) {
                wish.0.push((feed, HEAD, Target::Blocks(vec![head])));
            }
            wish.0.push((feed, CHANGES, Target::Blocks(runs.0)));
            wish.0.extend(
                self.content
                    .as_ref()
                    .map(|(link, _)| (link.id, Priority(0), Target::Blocks(runs.1))),
            );
        } else {
            if head_missing {
                wish.0.push((feed, HEAD, Target::Blocks(vec![head])));
            }
            wish.0.push((feed, CHANGES, Target::All));
            let target = match self.house.history {
                History::All => Target::All,
                History::Last(_) => Target::Blocks(content.wanted.runs().collect()),
            };
            wish.0.extend(self.content.as_ref().map(|(link, _)| (link.id, Priority(0), target)));
        }
        // What was here when it was asked for, and is missing since, nobody is asked for any more.
        let is_over = changes.missing + content.missing > 0 && self.is_served();
        if wish != self.wish || is_over {
            let want = |(feed, priority, target): &(FeedId, Priority, Target)| {
                let want = Want { priority: *priority, ..Want::new(target.clone()) };
                self.drive.hub.want(*feed, want)
            };
            // The old ones go after the new ones are there: what both want goes on.
            self.selections = wish.0.iter().map(want).collect();
            self.wish = wish;
        }
        Ok(())
    }

    /// Returns what the store takes on its disk, with what it has yet to write.
    async fn used(&self) -> u64 {
        let folder = self.member.folder.clone();
        let query = move |worker: &mut crate::engine::Worker| {
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

    /// Notes how far it is, and tells when a version is whole.
    fn note(&mut self, changes: &Part, content: &Part, content_length: u64) {
        let missing = changes.missing + content.missing;
        let is_full =
            self.house.ledger.as_ref().is_some_and(|ledger| missing > 0 && ledger.is_full());
        let mut state = self.member.state();
        state.here = changes.here() + content.here();
        state.wanted = changes.wanted.count() + content.wanted.count();
        state.is_full = is_full;
        state.latest.clone_from(&self.latest);
        let Some(latest) = &self.latest else { return };
        let is_whole = missing == 0
            && latest.version.position.0 + 1 == changes.wanted.len()
            && latest.version.change.feeds.first().is_none_or(|feed| content_length >= feed.length);
        let number = latest.version.number;
        if is_whole && state.whole != Some(number) {
            let before = state.whole.replace(number).unwrap_or_default();
            let version = latest.version.clone();
            let _ = self.house.tell.send(Event::Whole(self.member.key, version, before));
        }
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

/// What of a feed is wanted, and what is here.
struct Part {
    held: Bitfield,
    wanted: Bitfield,
    missing: u64,
}

impl Part {
    fn new(held: Bitfield, wanted: Bitfield) -> Self {
        let gaps = wanted.runs().flat_map(|run| held.gaps_in(run)).map(|gap| gap.end - gap.start);
        let missing = gaps.sum();
        Self { held, wanted, missing }
    }

    fn here(&self) -> u64 {
        self.wanted.count() - self.missing
    }

    /// Returns what is missing of what is in reach.
    fn gaps(&self, in_reach: &Bitfield) -> Vec<Range<u64>> {
        let missing = self.wanted.runs().flat_map(|run| self.held.gaps_in(run));
        missing.flat_map(|gap| in_reach.runs_in(gap)).collect()
    }
}

fn count(runs: &[Range<u64>]) -> u64 {
    runs.iter().map(|run| run.end - run.start).sum()
}

/// Leaves so many blocks of ascending runs as are allowed, the last ones: what is newest is wanted most.
fn cut(runs: &mut Vec<Range<u64>>, allowed: &mut u64) {
    let mut kept = Vec::new();
    for run in runs.drain(..).rev() {
        let blocks = (run.end - run.start).min(*allowed);
        *allowed -= blocks;
        if blocks > 0 {
            kept.push(run.end - blocks..run.end);
        }
    }
    kept.reverse();
    *runs = kept;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_of_the_newest_blocks_are_left_as_are_allowed() {
        for (allowed, right, rest) in [
            (0, vec![], 0),
            (1, vec![29..30], 0),
            (12, vec![8..10, 20..30], 0),
            (14, vec![6..10, 20..30], 0),
            (20, vec![3..4, 6..10, 20..30], 5),
        ] {
            let (mut runs, mut left) = (vec![3..4, 6..10, 20..30], allowed);
            cut(&mut runs, &mut left);
            assert_eq!((runs, left), (right, rest), "{allowed}");
        }
    }

    #[test]
    fn only_what_is_wanted_missing_and_offered_is_asked_for() {
        let set = |runs: &[Range<u64>]| runs.iter().cloned().collect::<Bitfield>();
        let part = Part::new(set(&[2..5, 9..10]), set(&[0..8, 12..20]));
        assert_eq!((part.missing, part.here(), part.wanted.count()), (13, 3, 16));
        assert_eq!(part.gaps(&set(&[0..100])), [0..2, 5..8, 12..20]);
        assert_eq!(part.gaps(&set(&[1..7, 14..15])), [1..2, 5..7, 14..15]);
        assert_eq!(part.gaps(&Bitfield::new()), Vec::<Range<u64>>::new());
    }
}
