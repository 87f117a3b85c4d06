//! Frees content of a drive that nobody here needs any more: what is needed is marked, of the rest goes what the store itself holds.
//!
//! Chunks are shared by files and versions, so nothing goes because of one file: a block stays as long as something needs it.
//! What lives in a working file is its user's, and is left where it is.
//! Elsewhere: files that go as well because their user says so (`files`), dropping blocks and freeing bytes
//! (`datnode_feed::Store::clear`), asking and telling (`commands::clear`).

mod files;

use datnode_drive::{DrivePath, Entry, Kind};
use datnode_feed::Bitfield;
use serde::{Deserialize, Serialize};

use crate::address::VersionSpec;
use crate::choice::{Choice, Chooser};
use crate::engine::{Comparison, Drive, Snapshot, Worker};
use crate::error::{Code, Error};
pub use files::{Removed, remove_files};

/// How often it is marked anew because the drive changed meanwhile.
const TRIES_MAX: usize = 100;

/// What is to be freed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Content of files that match one of these alone, in any version; content of all files if there are none.
    pub globs: Vec<String>,
    /// What this version and later ones need stays.
    pub older_than: Option<String>,
    /// What the latest version needs stays.
    pub keep_latest: bool,
    /// Versions whose files are in the folder, and need what they need.
    pub landed: Vec<u64>,
    /// Whether the names of some versions may not be here, as with a reader: what goes can be fetched again.
    pub partial: bool,
    /// Nothing is freed, it is counted what would be.
    pub dry_run: bool,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// How many blocks of content were dropped.
    pub blocks: u64,
    /// How many bytes they had.
    pub bytes: u64,
    /// How many bytes the disk has back, to the byte; none for a dry run.
    pub freed: u64,
    /// How many bytes more live in working files, and stay there.
    pub in_files: u64,
}

/// Blocks of the content, by who needs them.
struct Marks {
    /// Blocks behind this one cannot be here: what a drive's index says is not to fill memory.
    end: u64,
    needed: Bitfield,
    /// What is meant by the globs.
    meant: Bitfield,
}

/// Frees what the order says, of a drive whose store this process has.
///
/// # Errors
/// E-NODATA if the index of a version that is asked about is not here, E-USAGE for what is no version or glob, and what the store
/// says.
pub async fn clear(drive: &Drive, order: &Order) -> Result<Done, Error> {
    for _ in 0..TRIES_MAX {
        let latest = drive.latest().await?;
        let Some(content) = latest.content.clone() else { return Ok(Done::default()) };
        let marks = mark(&latest, order).await?;
        let (changes, known) = (drive.changes.slot, latest.version.position.0 + 1);
        let (slot, dry_run) = (content.slot, order.dry_run);
        let clear = move |worker: &mut Worker| -> Result<_, Error> {
            // A change that was made meanwhile may need what nobody needed.
            if worker.store.length(changes) != known {
                return Ok(None);
            }
            worker.commit()?;
            let store = &mut worker.store;
            let here = store.in_data(slot).map_err(Error::store)?;
            let bytes = |blocks: &Bitfield| {
                let runs = blocks.runs().map(|run| store.bytes_of(slot, run));
                runs.sum::<Result<u64, _>>().map_err(Error::store)
            };
            let mut in_files = marks.needless(store.have(slot));
            here.runs().for_each(|run| in_files.clear_range(run));
            let blocks = marks.needless(&here);
            let (count, in_files) = (blocks.count(), bytes(&in_files)?);
            let mut done = Done { blocks: count, bytes: bytes(&blocks)?, freed: 0, in_files };
            if !dry_run {
                done.freed = store.clear(slot, &blocks).map_err(Error::store)?.freed;
            }
            Ok(Some((done, blocks)))
        };
        let Some((done, blocks)) = drive.store.query(clear).await? else { continue };
        if !order.dry_run {
            drive.hub.lost(content.id, blocks.runs());
        }
        return Ok(done);
    }
    Err(Error::new(Code::Io, "the drive changes all the time: nothing was freed")
        .hint("try again when less is going on in its folder"))
}

/// Marks what is needed and what is meant.
async fn mark(latest: &Snapshot, order: &Order) -> Result<Marks, Error> {
    let held = latest.held().await?;
    let has_globs = !order.globs.is_empty();
    let chooser = Chooser::of(&Choice { include: order.globs.clone(), ..Choice::default() })?;
    let meant = if has_globs { Bitfield::new() } else { held.clone() };
    let mut marks = Marks { end: held.len(), needed: Bitfield::new(), meant };
    let first = match &order.older_than {
        Some(version) => {
            Some(latest.drive.version(&VersionSpec::parse(version.as_bytes())?).await?)
        }
        None if order.keep_latest || !has_globs => Some(latest.clone()),
        None => None,
    };
    if let Some(first) = first {
        each_file(&first, latest, |_, entry| marks.need(entry)).await?;
    }
    let mut by_glob = |path: &DrivePath, entry: &Entry| match has_globs {
        true => marks.by_glob(&chooser, path, entry),
        false => marks.need(entry),
    };
    for number in &order.landed {
        let landed = async {
            let landed = latest.drive.version(&VersionSpec::Number(*number)).await?;
            each_file(&landed, &landed, &mut by_glob).await
        };
        as_far_as_here(landed.await, order)?;
    }
    if has_globs {
        each_file(latest, latest, &mut by_glob).await?;
        let all = async {
            let empty = latest.drive.version(&VersionSpec::Number(0)).await?;
            each_file(&empty, latest, &mut by_glob).await
        };
        as_far_as_here(all.await, order)?;
    }
    Ok(marks)
}

/// A reader has not the names of all versions: those that are here count.
fn as_far_as_here(walked: Result<(), Error>, order: &Order) -> Result<(), Error> {
    let is_missing = |error: &Error| matches!(error.code(), Code::NoData | Code::NoPeers);
    match walked {
        Err(error) if order.partial && is_missing(&error) => Ok(()),
        ended => ended,
    }
}

/// Calls `each` for each file of the versions from `first` to `last`; for one that several of them have the same, perhaps once.
async fn each_file(
    first: &Snapshot,
    last: &Snapshot,
    mut each: impl FnMut(&DrivePath, &Entry),
) -> Result<(), Error> {
    let mut file = |path: &DrivePath, entry: &Entry| {
        if entry.kind == Kind::File {
            each(path, entry);
        }
    };
    let take = |path: DrivePath, entry: Entry| {
        file(&path, &entry);
        Ok(())
    };
    first.walk(take).await?;
    let mut at = last.clone();
    while at.version.number > first.version.number
        && let Some(before) = at.previous().await?
    {
        let mut put = Comparison::new(&before, &at);
        while let Some(difference) = put.next().await? {
            if let Some(entry) = &difference.new {
                file(&difference.path, entry);
            }
        }
        at = before;
    }
    Ok(())
}

impl Marks {
    fn need(&mut self, entry: &Entry) {
        set(&mut self.needed, self.end, entry);
    }

    /// What the globs do not mean is needed.
    fn by_glob(&mut self, chooser: &Chooser, path: &DrivePath, entry: &Entry) {
        if chooser.takes(path, entry.kind) {
            set(&mut self.meant, self.end, entry);
        } else {
            self.need(entry);
        }
    }

    /// Returns which of some blocks are meant, and needed by nothing.
    fn needless(&self, blocks: &Bitfield) -> Bitfield {
        let mut found: Bitfield = self.meant.runs().flat_map(|run| blocks.runs_in(run)).collect();
        self.needed.runs().for_each(|run| found.clear_range(run));
        found
    }
}

fn set(blocks: &mut Bitfield, end: u64, entry: &Entry) {
    for extent in &entry.extents {
        blocks.set_range(extent.blocks_before(end));
    }
}
