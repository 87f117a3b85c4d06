//! What in the folder of a clone is not as its version says: damage, and what its user changed.
//!
//! Size and time tell these apart: a file that looks as it landed, and has other bytes, is damaged; one that looks otherwise is its
//! user's. Nothing is noted anywhere: it follows from the folder, the index and the blocks that are here.
//! Elsewhere: blocks that do not fit where the store says that they are (`feed::store::audit`).

use std::collections::hash_map::Entry as MapEntry;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use datnode_drive::{DrivePath, Entry, Kind};
use datnode_feed::{Bitfield, BlockIndex, FeedSlot, Place};

use super::pages::Pages;
use super::snapshot::Snapshot;
use super::worker::{AnyStore, Worker};
use crate::address::VersionSpec;
use crate::choice::Chooser;
use crate::error::Error;
use crate::landing::{AsPut, FileId, Landed, landed};

/// What in a clone's folder is not as its version says.
#[derive(Debug, Default)]
pub struct Differing {
    /// Files that look as they landed, and have other bytes.
    pub damaged: Vec<DrivePath>,
    /// Files and links that were changed here.
    pub changed: Vec<DrivePath>,
    /// Files and links that were removed here.
    pub removed: Vec<DrivePath>,
    /// Blocks of damaged and changed files that are not here: they were dropped when somebody read them.
    pub dropped: Vec<Dropped>,
}

/// A block that did not fit any more when it was read.
#[derive(Clone, Debug)]
pub struct Dropped {
    /// The file that it was in.
    pub path: DrivePath,
    /// Which block of the content it is.
    pub block: BlockIndex,
    /// Which block of the file it is.
    pub file_block: u64,
}

/// How something differs.
enum How {
    Damaged,
    Changed,
    Removed,
    /// It has not landed yet.
    Awaited,
}

/// How many bytes of files that were touched are read at a glance to see whether more than their time changed.
const GLANCE_BYTES: u64 = 64 << 20;

/// What files are held against.
struct Look {
    landed: Landed,
    slot: Option<FeedSlot>,
    held: Bitfield,
    full: bool,
    /// How many bytes of touched files may still be read.
    glance: u64,
}

impl Snapshot {
    /// Holds the files of a clone of this version against what it says of those that are chosen. Only files are read that may be
    /// damaged although each block that lives in them is right, or were touched. Unless it is `full`, only those of which blocks are not
    /// here, and of those that were touched the first 64 MiB; what was touched beyond counts as changed.
    ///
    /// # Errors
    /// Those of [`Drive::latest`](super::Drive::latest), and what the disk says.
    pub async fn differing(
        &self,
        folder: &Path,
        chooser: Arc<Chooser>,
        full: bool,
    ) -> Result<Differing, Error> {
        let (slot, held) = (self.content.as_ref().map(|link| link.slot), self.held().await?);
        let earlier = self.others_landed(folder).await?;
        let glance = if full { u64::MAX } else { GLANCE_BYTES };
        let mut look = Look { landed: Landed::open(folder)?, slot, held, full, glance };
        let (mut all, mut is_whole) = (Differing::default(), true);
        let mut files = HashMap::new();
        let mut pages = Pages::below(self, &DrivePath::root());
        while let Some(page) = pages.next().await? {
            let chooser = chooser.clone();
            let work = move |worker: &mut Worker| {
                let chosen = page.into_iter().filter(|one| is_chosen(&chooser, one));
                let found: Vec<_> =
                    chosen.filter_map(|one| Some((look.at(&worker.store, &one)?, one))).collect();
                (look, found)
            };
            let (back, found) = self.drive.store.query(work).await;
            look = back;
            for (how, (path, entry)) in found {
                if matches!(how, How::Changed) && is_of(&earlier, &look.landed, &path).await? {
                    is_whole = false;
                    continue;
                }
                is_whole &= !matches!(how, How::Awaited);
                // Of names that are one on this disk the first landed, and only that is held against its entry.
                match look.landed.file(&path).map(|file| files.entry(file)) {
                    Some(MapEntry::Occupied(_)) => continue,
                    Some(MapEntry::Vacant(first)) => drop(first.insert(path.clone())),
                    None => {}
                }
                all.add(how, path, &entry, &look.held);
            }
        }
        if !files.is_empty() {
            all.leave_out(&self.others_of(files, look, chooser).await?);
        }
        if !is_whole {
            // What is not there may not have come.
            all.removed.clear();
        }
        Ok(all)
    }

    /// Returns those of some names that on this disk are names of files which landed under another one.
    async fn others_of(
        &self,
        mut files: HashMap<FileId, DrivePath>,
        look: Look,
        chooser: Arc<Chooser>,
    ) -> Result<HashSet<DrivePath>, Error> {
        let landed = Arc::new(look.landed);
        let mut others = HashSet::new();
        let mut pages = Pages::below(self, &DrivePath::root());
        while let Some(page) = pages.next().await? {
            let (chooser, landed) = (chooser.clone(), landed.clone());
            let work = move |_: &mut Worker| {
                let chosen = page.into_iter().filter(|one| is_chosen(&chooser, one));
                chosen.filter_map(|(path, _)| Some((landed.file(&path)?, path))).collect::<Vec<_>>()
            };
            for (file, path) in self.drive.store.query(work).await {
                // The first name is the one that landed.
                others.extend(files.remove(&file).filter(|name| *name != path));
            }
        }
        Ok(others)
    }

    /// Returns the other versions whose files may be in a folder, as far as they can be read.
    async fn others_landed(&self, folder: &Path) -> Result<Vec<Self>, Error> {
        let mut others = Vec::new();
        for number in landed(folder)?.into_iter().filter(|one| *one != self.version.number) {
            others.extend(self.drive.version(&VersionSpec::Number(number)).await);
        }
        Ok(others)
    }
}

fn is_chosen(chooser: &Chooser, (path, entry): &(DrivePath, Entry)) -> bool {
    entry.kind != Kind::Directory && chooser.takes(path, entry.kind)
}

/// Tells whether a file is as another version left it, which this one has not replaced yet.
async fn is_of(earlier: &[Snapshot], landed: &Landed, path: &DrivePath) -> Result<bool, Error> {
    for version in earlier {
        let entry = version.entry(path).await?;
        if entry.is_some_and(|entry| matches!(landed.is_as_put(path, &entry), AsPut::Yes(_))) {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Look {
    /// Tells how a file or link differs; none if it does not, or cannot land.
    fn at(&mut self, store: &AnyStore, (path, entry): &(DrivePath, Entry)) -> Option<How> {
        let lacks = entry.extents.iter().any(|extent| !self.held.all(extent.blocks()));
        match self.landed.is_as_put(path, entry) {
            AsPut::Refused => None,
            AsPut::Gone if lacks => Some(How::Awaited),
            AsPut::Gone => Some(How::Removed),
            AsPut::Changed => (!self.has_its_bytes(path, entry)).then_some(How::Changed),
            AsPut::Yes(_) => {
                let doubtful = lacks || self.full && !self.lives_there(store, path, entry);
                (doubtful && !self.landed.equals(path, entry)).then_some(How::Damaged)
            }
        }
    }

    /// Tells whether a file that was touched has its bytes, as far as it may be read.
    fn has_its_bytes(&mut self, path: &DrivePath, entry: &Entry) -> bool {
        let Some(rest) = self.glance.checked_sub(entry.size) else { return false };
        self.glance = rest;
        self.landed.equals(path, entry)
    }

    /// Tells whether each block of a file lives in that very file, so that its bytes are looked at with the blocks.
    fn lives_there(&self, store: &AnyStore, path: &DrivePath, entry: &Entry) -> bool {
        let Some(slot) = self.slot else { return true };
        entry.extents.iter().flat_map(|extent| extent.blocks()).all(|block| {
            let place = store.where_is(slot, BlockIndex(block));
            matches!(place, Ok(Some(Place::Working { path: home, .. })) if home == path.as_bytes())
        })
    }
}

impl Differing {
    fn leave_out(&mut self, names: &HashSet<DrivePath>) {
        self.damaged.retain(|path| !names.contains(path));
        self.changed.retain(|path| !names.contains(path));
        self.dropped.retain(|one| !names.contains(&one.path));
    }

    fn add(&mut self, how: How, path: DrivePath, entry: &Entry, held: &Bitfield) {
        let list = match how {
            How::Awaited => return,
            How::Removed => return self.removed.push(path),
            How::Damaged => &mut self.damaged,
            How::Changed => &mut self.changed,
        };
        let blocks = entry.extents.iter().flat_map(|extent| extent.blocks()).zip(0..);
        let dropped = blocks.filter(|(block, _)| !held.contains(*block));
        self.dropped.extend(dropped.map(|(block, file_block)| Dropped {
            path: path.clone(),
            block: BlockIndex(block),
            file_block,
        }));
        list.push(path);
    }
}
