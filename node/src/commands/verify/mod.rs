//! `datnode verify`: hold what is stored against its signatures; with `--repair`, fetch again what does not fit.

mod found;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use datnode_drive::{DrivePath, Entry};
use datnode_feed::{BlockIndex, Checked, FeedSlot, Place, PublicKey, StoreError};
use datnode_proto::{Target, Want};
use serde_json::{Value, json};

use super::context::{blocking, disk, folder_of, hub, network, open, patience, read_key};
use super::doubted;
use super::held::{Held, held};
use super::status::writes_here;
use crate::address::VersionSpec;
use crate::choice::{Choice, Chooser};
use crate::cli::Verify;
use crate::cli::output::Out;
use crate::control::{Question, ask};
use crate::dirs::Dirs;
use crate::edit::is_bare;
use crate::engine::{
    AnyStore, Differing, Drive, Link, Patience, Reach, Snapshot, Sources, Worker, start,
};
use crate::error::{Code, Error};
use crate::landing::{FolderOf, Others, landed};
use crate::runtime::Announced;
use found::{Bad, CHANGES, CONTENT, Found};

/// How many bytes are checked before a store is somebody else's for a while.
const CHECK_BYTES: u64 = 8 << 20;

pub(super) async fn run(args: Verify, out: &Out) -> Result<(), Error> {
    let folder = folder_of(&args.folder)?;
    let key = read_key(&folder)?.ok_or_else(|| Error::not_drive(&folder))?;
    let mut store = match held(&Dirs::open()?, &key, async || disk(&folder, false)).await? {
        Held::Here(store) => store,
        Held::By(_, locked) if args.repair => return Err(locked),
        Held::By(owner, locked) => {
            return beside(&args, (&folder, &key), (owner, locked), out).await;
        }
    };
    let started = Instant::now();
    let (choice, full) = (choice(&folder, &key)?, !args.quick);
    let (mut store, (checked, found)) = blocking(move || {
        let found = audit(&mut store, &key, full)?;
        Ok((store, found))
    })
    .await?;
    let took = started.elapsed();
    let (left, mut bad) = split(&store, &key, found, &choice)?;
    add_doubted(&folder, &store, &key, &mut bad)?;
    if args.repair {
        // Before anything is dropped: from then on the store cannot tell what is damaged.
        note(&folder, &bad)?;
    }
    let writes = writes_here(&key, &folder)?;
    if writes {
        let slots: Vec<_> = store.feeds().map(|(slot, _)| slot).collect();
        slots.into_iter().for_each(|slot| store.own(slot));
    }
    let hub = hub()?;
    let reach = Reach::Folder(folder.clone());
    let alone = Patience {
        wait: Some(Duration::ZERO),
        reach,
        ..patience(&args.network, &Dirs::open()?, &key)
    };
    let drive = Drive::open(&hub, start(store, hub.answers())?, key, alone).await?;
    // Without working files there is none to write anew.
    let in_store = writes || is_bare(&folder)?;
    let subject = Subject { folder, drive, choice: Arc::new(choice), full, in_store };
    let differing = subject.differing().await;
    let mut found = Found { checked, took, bad, left: left.len(), differing };
    found.add_dropped();
    name_all(&subject.drive, &subject.folder, &mut found.bad).await;
    found.say(&subject.folder, out);
    if args.repair {
        // Not before it was looked what is there: of a file that was removed only its blocks tell whether it ever was.
        note(&subject.folder, &found.bad)?;
        let gone = found.bad.iter().chain(&left).cloned().collect();
        let_go(&subject.drive, &subject.folder, gone).await?;
    }
    if !args.repair || found.is_well(args.force) {
        found.record(0, out)?;
        return found.verdict(None);
    }
    mend(&subject, found, &args, out).await
}

/// What is looked at.
struct Subject {
    folder: PathBuf,
    drive: Drive,
    choice: Arc<Chooser>,
    full: bool,
    /// Whether the store has all there is: no file lives outside it as a clone's do.
    in_store: bool,
}

impl Subject {
    async fn differing(&self) -> Differing {
        if self.in_store {
            return Differing::default();
        }
        differing(&self.drive, &self.folder, self.choice.clone(), self.full).await
    }
}

/// Fetches what was found damaged, and looks again.
async fn mend(subject: &Subject, found: Found, args: &Verify, out: &Out) -> Result<(), Error> {
    let Subject { folder, drive, in_store, full, .. } = subject;
    let (dirs, key, full) = (Dirs::open()?, drive.key, *full);
    let mut mending = drive.clone();
    mending.patience = patience(&args.network, &dirs, &key);
    let network = network(&drive.hub, &dirs, &args.network, key, Vec::new(), out).await?;
    let cause = repair(&mending, folder, &found, (*in_store, args.force)).await.err();
    let again = drive.store.query(move |worker| {
        worker.commit()?;
        audit(&mut worker.store, &key, full)
    });
    let (checked, still) = again.await?;
    network.close().await;
    let missing = |bad: &&Bad| still.contains(bad) || cause.is_some();
    let bad: Vec<Bad> = found.bad.iter().filter(missing).cloned().collect();
    note(folder, &bad)?;
    found.record(found.bad.len() - bad.len(), out)?;
    let differing = subject.differing().await;
    let left = Found { checked, took: found.took, bad, left: found.left, differing };
    if left.bad.is_empty() && left.differing.damaged.is_empty() {
        left.say_mended(&found, folder, out);
    }
    left.verdict(cause)
}

fn audit(store: &mut AnyStore, key: &PublicKey, full: bool) -> Result<(Checked, Vec<Bad>), Error> {
    let feeds: Vec<_> = store.feeds().collect();
    let (mut total, mut bad) = (Checked::default(), Vec::new());
    for (slot, feed) in feeds {
        let feed = if feed == *key { CHANGES } else { CONTENT };
        let mut note = |block: BlockIndex| {
            bad.push(Bad { feed, block: block.0, file: None });
        };
        total += store.check(slot, full, &mut note).map_err(Error::store)?;
    }
    Ok((total, bad))
}

/// Returns what is wanted of the drive in a folder; all of one that is written.
fn choice(folder: &Path, key: &PublicKey) -> Result<Chooser, Error> {
    let writes = writes_here(key, folder)?;
    Chooser::of(&if writes { Choice::default() } else { Choice::kept(folder)? })
}

/// Parts the blocks of files that are left out from the others: such files are the user's to change and delete.
fn split(
    store: &AnyStore,
    key: &PublicKey,
    bad: Vec<Bad>,
    choice: &Chooser,
) -> Result<(Vec<Bad>, Vec<Bad>), Error> {
    let (mut left, mut others) = (Vec::new(), Vec::new());
    for bad in bad {
        let place = match slot(store, key, bad.feed) {
            Some(slot) => store.where_is(slot, BlockIndex(bad.block)).map_err(Error::store)?,
            None => None,
        };
        let is_left =
            matches!(&place, Some(Place::Working { path, .. }) if choice.leaves_out(path));
        if is_left { left.push(bad) } else { others.push(bad) }
    }
    Ok((left, others))
}

/// Holds what an open drive's store has against the signatures, a little at a time: it goes on serving. Answers what
/// [`beside`] asks.
pub(super) async fn check(drive: &Drive, full: bool) -> Result<Value, Error> {
    let feeds: Vec<_> = drive.store.query(|worker| worker.store.feeds().collect()).await;
    let (mut total, mut bad) = (Checked::default(), Vec::new());
    for (slot, key) in feeds {
        let feed = if key == drive.key { CHANGES } else { CONTENT };
        let head = drive.store.query(move |worker| worker.store.check_head(slot)).await;
        total += head.map_err(Error::store)?;
        let mut next = Some(0);
        while let Some(from) = next {
            let some = move |worker: &mut Worker| {
                let mut found = Vec::new();
                let mut note = |block: BlockIndex| found.push(block.0);
                let checked =
                    worker.store.check_blocks(slot, from, full, CHECK_BYTES, &mut note)?;
                Ok::<_, StoreError>((checked, found))
            };
            let ((checked, rest), found) = drive.store.query(some).await.map_err(Error::store)?;
            total += checked;
            bad.extend(found.into_iter().map(|block| Bad { feed, block, file: None }.record()));
            next = rest;
        }
    }
    Ok(json!({
        "blocks": total.blocks, "bytes": total.bytes, "signatures": total.signatures, "bad": bad,
    }))
}

/// Has the process that has the store open check it.
async fn beside(
    args: &Verify,
    (folder, key): (&Path, &PublicKey),
    (owner, locked): (Announced, Error),
    out: &Out,
) -> Result<(), Error> {
    let started = Instant::now();
    let question = Question::Check { full: !args.quick };
    let said = match ask(&owner.socket, Some(key), &question).await {
        Err(error) if error.code() == Code::Locked => {
            return Err(locked.context("it does not answer"));
        }
        said => said?,
    };
    let number = |name: &str| said[name].as_u64().unwrap_or_default();
    let (blocks, bytes, signatures) = (number("blocks"), number("bytes"), number("signatures"));
    let found = said["bad"].as_array().map_or(&[][..], |bad| bad);
    let mut bad: Vec<Bad> = found.iter().filter_map(Bad::of).collect();
    let checked = Checked { blocks, bytes, signatures, bad: bad.len() as u64 };
    let opened = open(Some(folder.as_os_str()), None, &args.network, out).await?;
    name_all(&opened.drive, folder, &mut bad).await;
    let (choice, found) = (Arc::new(choice(folder, key)?), bad.len());
    let is_left =
        |bad: &Bad| bad.file.as_ref().is_some_and(|(path, _)| choice.leaves_out(path.as_bytes()));
    bad.retain(|bad| !is_left(bad));
    let left = found - bad.len();
    let differing = match is_bare(folder)? || writes_here(key, folder)? {
        true => Differing::default(),
        // What lives where is known to the process that has the store open.
        false => differing(&opened.drive, folder, choice, false).await,
    };
    let mut found = Found { checked, took: started.elapsed(), bad, left, differing };
    found.add_dropped();
    found.say(folder, out);
    found.record(0, out)?;
    found.verdict(None)
}

/// Adds what an earlier repair dropped and did not bring back.
fn add_doubted(
    folder: &Path,
    store: &AnyStore,
    key: &PublicKey,
    bad: &mut Vec<Bad>,
) -> Result<(), Error> {
    for (feed, block) in doubted::doubted(folder)? {
        let feed = if feed == CHANGES { CHANGES } else { CONTENT };
        let found = Bad { feed, block, file: None };
        // What came back since, with a clone for example, was held against its signature by the audit.
        if !bad.contains(&found) && !holds(store, key, &found) {
            bad.push(found);
        }
    }
    Ok(())
}

/// Notes which blocks are to be brought back.
fn note(folder: &Path, bad: &[Bad]) -> Result<(), Error> {
    doubted::note(folder, bad.iter().map(|bad| (bad.feed, bad.block)))
}

/// Lets go of blocks, so that others are asked for them.
async fn let_go(drive: &Drive, folder: &Path, gone: Vec<Bad>) -> Result<(), Error> {
    let content = here(drive, folder).await.ok().and_then(|snapshot| snapshot.content);
    for (link, feed) in [(Some(&drive.changes), CHANGES), (content.as_ref(), CONTENT)] {
        let blocks = gone.iter().filter(|bad| bad.feed == feed);
        let runs = blocks.map(|bad| bad.block..bad.block + 1);
        link.into_iter().for_each(|link| drive.hub.lost(link.id, runs.clone()));
    }
    let key = drive.key;
    let drop = move |worker: &mut Worker| {
        gone.iter().try_for_each(|bad| discard(&mut worker.store, &key, bad))?;
        worker.commit()
    };
    drive.store.query(drop).await
}

fn discard(store: &mut AnyStore, key: &PublicKey, bad: &Bad) -> Result<(), Error> {
    let Some(slot) = slot(store, key, bad.feed) else { return Ok(()) };
    store.discard(slot, BlockIndex(bad.block)).map_err(Error::store)
}

fn holds(store: &AnyStore, key: &PublicKey, bad: &Bad) -> bool {
    slot(store, key, bad.feed).is_some_and(|slot| store.have(slot).contains(bad.block))
}

fn slot(store: &AnyStore, key: &PublicKey, feed: &str) -> Option<FeedSlot> {
    store.feeds().find(|(_, other)| (other == key) == (feed == CHANGES)).map(|(slot, _)| slot)
}

/// Returns the version whose files are in the folder: the one that landed last, or the latest.
async fn here(drive: &Drive, folder: &Path) -> Result<Snapshot, Error> {
    let landed = landed(folder)?.last().copied();
    drive.version(&landed.map_or(VersionSpec::Latest, VersionSpec::Number)).await
}

/// Finds the files that damaged blocks belong to, as far as the index is whole.
async fn name_all(drive: &Drive, folder: &Path, bad: &mut [Bad]) {
    if !bad.is_empty()
        && let Err(error) = name(drive, folder, bad).await
    {
        tracing::debug!(error = error.message(), "damaged blocks cannot be named by file");
    }
}

/// Finds the files that damaged blocks belong to.
async fn name(drive: &Drive, folder: &Path, bad: &mut [Bad]) -> Result<(), Error> {
    let of_content = bad.iter_mut().filter(|bad| bad.feed == CONTENT);
    let mut files: BTreeMap<_, _> = of_content.map(|bad| (bad.block, &mut bad.file)).collect();
    let find = |path: DrivePath, entry: Entry| {
        let mut before = 0;
        for extent in &entry.extents {
            for (block, file) in files.range_mut(extent.blocks()) {
                file.get_or_insert_with(|| (path.clone(), before + (block - extent.first_block)));
            }
            before += extent.count;
        }
        Ok(())
    };
    here(drive, folder).await?.walk(find).await
}

/// Looks what in a clone's folder is not as the version there says, as far as its index is whole.
async fn differing(drive: &Drive, folder: &Path, choice: Arc<Chooser>, full: bool) -> Differing {
    let look = async { here(drive, folder).await?.differing(folder, choice, full).await };
    look.await.unwrap_or_else(|error| {
        tracing::debug!(error = error.message(), "the folder cannot be held against the drive");
        Differing::default()
    })
}

/// Fetches damaged blocks again, and writes those files anew that they lived in, unless they are `in_store`. Of files that were
/// changed here the blocks are kept in the store, unless they are to be replaced by `force`.
async fn repair(
    drive: &Drive,
    folder: &Path,
    found: &Found,
    (in_store, force): (bool, bool),
) -> Result<(), Error> {
    fetch(drive, &drive.changes, &found.bad, CHANGES).await?;
    let snapshot = here(drive, folder).await?;
    // What stands in the way of one file keeps no other from being mended.
    let mut first = None;
    if !in_store {
        let changed: BTreeSet<_> = found.differing.changed.iter().collect();
        for path in found.files(force) {
            // Nothing of the user's is replaced but what was named.
            let replaces = force && changed.contains(path);
            let others = if replaces { Others::Replace } else { Others::Leave };
            let landed = async {
                let of = FolderOf::Reader { others };
                let plan = snapshot.plan_doubting(folder, path, of).await?;
                snapshot.land(folder, plan, &Sources::default(), |_| {}).await
            };
            if let Err(error) = landed.await {
                first.get_or_insert(error);
            }
        }
    }
    if let Some(content) = &snapshot.content {
        fetch(drive, content, &found.bad, CONTENT).await?;
    }
    first.map_or(Ok(()), Err)
}

async fn fetch(drive: &Drive, link: &Link, bad: &[Bad], feed: &str) -> Result<(), Error> {
    let blocks = bad.iter().filter(|bad| bad.feed == feed).map(|bad| bad.block..bad.block + 1);
    let mut wanted = drive.hub.want(link.id, Want::new(Target::Blocks(blocks.collect())));
    drive.patience.wait(&drive.hub, wanted.done()).await
}
