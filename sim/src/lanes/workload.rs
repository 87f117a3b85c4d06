//! The workloads: what stores do all day, in small.
//!
//! Each goes on from whatever state the store is in until its goal is reached, so that it can be run again after any
//! failure. Elsewhere: what a drive does (`drive`), the verbs (`run`).

use datnode_feed::{BlockIndex, FeedSlot, InPlace, Store};

use super::drive;
use super::run::{Run, Source, Stop, WRITERS, public};
use crate::Random;
use crate::disk::Disk;

/// What a workload does, until it is done.
type Script = fn(&mut Run) -> Result<(), Stop>;
/// What holds besides what holds for every store.
type Check = fn(&mut Store<Disk>, u64) -> Result<(), Stop>;

/// A workload.
#[derive(Clone, Copy)]
pub struct Workload {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub script: Script,
    /// What must hold besides; the number is the seed.
    pub check: Check,
    /// How many blocks of each feed it ends with.
    pub goal: &'static [u64],
    /// Whose feeds are written here; all others are followed.
    pub writers: &'static [u8],
}

const LENGTH: u64 = 14;
const COPIED: u64 = 16;
/// So many blocks in a row are one working file.
const FILE_BLOCKS: u64 = 4;

/// All workloads.
pub static WORKLOADS: [Workload; 18] = [
    of("append", append, &[LENGTH], &[0]),
    of("rollback", rollback, &[LENGTH], &[0]),
    Workload { check: same_length, ..of("two feeds", two_feeds, &[9, 9], &[0, 1]) },
    of("many feeds", many_feeds, &[2, 2, 2, 2, 2, 2], &[0, 1, 2, 3, 4, 5]),
    of("checkpoint", checkpoint, &[8, 8], &[0, 1]),
    of("recovery", recovery, &[LENGTH], &[0]),
    Workload { check: drive::reads_right, ..of("import", drive::import, &[], &[0, 1]) },
    Workload { check: drive::reads_right, ..of("share again", drive::share_again, &[], &[0, 1]) },
    of("upgrade", upgrade, &[COPIED], &[]),
    of("clone", clone, &[COPIED], &[]),
    of("in place", in_place, &[COPIED], &[]),
    of("in place, renamed late", renamed_late, &[COPIED], &[]),
    of("versions in place", versions, &[COPIED], &[]),
    of("changed files", changed, &[COPIED], &[]),
    of("forget", forget, &[COPIED], &[]),
    of("clear", clear, &[COPIED], &[]),
    of("clear what was written", clear_own, &[8, COPIED], &[0]),
    of("write and follow", write_and_follow, &[8, COPIED], &[0]),
];

/// A store of 64 KiB and a little more: what rots is judged there, but not every crash.
pub static LARGE: Workload = of("64 KiB", large, &[LARGE_BLOCKS], &[0]);
const LARGE_BLOCKS: u64 = 16;
const LARGE_BLOCK_BYTES: usize = 4 << 10;

/// Returns the workload of a name.
///
/// # Panics
/// Without such a workload.
pub fn workload(name: &str) -> &'static Workload {
    let mut all = WORKLOADS.iter();
    all.find(|workload| workload.name == name).expect("the name is one of the workloads'")
}

const fn of(
    name: &'static str,
    script: Script,
    goal: &'static [u64],
    writers: &'static [u8],
) -> Workload {
    Workload { name, script, check: nothing_more, goal, writers }
}

fn nothing_more(_: &mut Store<Disk>, _: u64) -> Result<(), Stop> {
    Ok(())
}

/// Appends in small groups; some are committed before they are signed.
fn append(run: &mut Run) -> Result<(), Stop> {
    let feed = run.feed(0)?;
    while run.store.length(feed) < LENGTH {
        for _ in 0..=run.random.below(3) {
            if run.store.appended(feed).0 < LENGTH {
                run.append(0)?;
            }
        }
        if run.random.below(4) == 0 {
            run.store.commit()?;
        } else {
            run.sign(0)?;
            run.commit()?;
        }
    }
    Ok(())
}

/// The same, with second thoughts.
fn rollback(run: &mut Run) -> Result<(), Stop> {
    let feed = run.feed(0)?;
    while run.store.length(feed) < LENGTH {
        if run.store.appended(feed).0 < LENGTH {
            run.append(0)?;
        }
        match run.random.below(5) {
            0 => run.commit()?,
            1 => run.store.rollback(feed)?,
            2 => {
                run.sign(0)?;
                run.store.rollback(feed)?;
                run.commit()?;
            }
            _ => {
                run.sign(0)?;
                run.commit()?;
            }
        }
    }
    Ok(())
}

/// Two feeds whose appends are committed together.
fn two_feeds(run: &mut Run) -> Result<(), Stop> {
    let (first, second) = (run.feed(0)?, run.feed(1)?);
    while run.store.length(first) < 9 || run.store.length(second) < 9 {
        for _ in 0..=run.random.below(2) {
            if run.store.appended(first).0 < 9 {
                run.append(0)?;
                run.append(1)?;
            }
        }
        run.sign(0)?;
        run.sign(1)?;
        run.commit()?;
    }
    Ok(())
}

fn same_length(store: &mut Store<Disk>, _: u64) -> Result<(), Stop> {
    let length = |store: &Store<Disk>, writer| {
        store.slot(&public(writer)).map_or(0, |slot| store.length(slot))
    };
    let (first, second) = (length(store, 0), length(store, 1));
    if first == second {
        Ok(())
    } else {
        Err(Stop::wrong(format_args!("half a commit: {first} and {second} blocks")))
    }
}

/// Blocks that are alike in nothing, half of them behind a checkpoint.
fn large(run: &mut Run) -> Result<(), Stop> {
    let feed = run.feed(0)?;
    while run.store.length(feed) < LARGE_BLOCKS {
        let mut random = Random::new(run.seed ^ run.store.length(feed) << 32);
        let bytes: Vec<u8> = (0..LARGE_BLOCK_BYTES).map(|_| random.below(256) as u8).collect();
        run.append_bytes(0, feed, &bytes)?;
        run.sign(0)?;
        run.commit()?;
        if run.store.length(feed) == LARGE_BLOCKS / 2 {
            run.store.checkpoint()?;
        }
    }
    Ok(())
}

/// Feeds that come one after the other.
fn many_feeds(run: &mut Run) -> Result<(), Stop> {
    for writer in 0..WRITERS {
        let feed = run.feed(writer)?;
        while run.store.length(feed) < 2 {
            run.append(writer)?;
            run.sign(writer)?;
            run.commit()?;
        }
    }
    Ok(())
}

/// A checkpoint behind almost every commit.
fn checkpoint(run: &mut Run) -> Result<(), Stop> {
    for writer in [0, 1] {
        let feed = run.feed(writer)?;
        while run.store.length(feed) < 8 {
            run.append(writer)?;
            run.sign(writer)?;
            run.commit()?;
            if run.random.below(4) > 0 {
                run.store.checkpoint()?;
            }
        }
    }
    Ok(())
}

/// A process that is killed again and again.
fn recovery(run: &mut Run) -> Result<(), Stop> {
    let feed = run.feed(0)?;
    while run.store.length(feed) < LENGTH {
        run.feed(0)?;
        if run.store.appended(feed).0 < LENGTH {
            run.append(0)?;
        }
        if run.random.below(4) == 0 {
            run.store.commit()?;
        } else {
            run.sign(0)?;
            run.commit()?;
        }
        if run.random.below(2) == 0 {
            run.reopen()?;
        }
    }
    Ok(())
}

/// Follows a writer step by step, and takes some blocks of each.
fn upgrade(run: &mut Run) -> Result<(), Stop> {
    let feed = run.feed(0)?;
    while !is_whole(run, feed, COPIED) {
        let length = (run.store.length(feed) + run.random.below(4)).clamp(1, COPIED);
        let source = run.source(0, length);
        run.follow(feed, &source)?;
        for _ in 0..3 {
            if let Some(block) = missing(run, feed) {
                run.fetch(feed, &source, block)?;
            }
        }
        run.commit()?;
        if run.random.below(4) == 0 {
            run.store.checkpoint()?;
        }
    }
    Ok(())
}

/// Takes the blocks of one head in any order.
fn clone(run: &mut Run) -> Result<(), Stop> {
    let feed = run.feed(0)?;
    let source = run.source(0, COPIED);
    run.follow(feed, &source)?;
    while let Some(block) = missing(run, feed) {
        run.fetch(feed, &source, block)?;
        if run.random.below(3) == 0 {
            run.commit()?;
        }
    }
    run.commit()
}

/// Takes blocks straight into working files, which get their names when they are whole.
fn in_place(run: &mut Run) -> Result<(), Stop> {
    land(run, true)
}

/// The same, where the names come long after the blocks.
fn renamed_late(run: &mut Run) -> Result<(), Stop> {
    land(run, false)
}

fn land(run: &mut Run, at_once: bool) -> Result<(), Stop> {
    let feed = run.feed(0)?;
    let source = run.source(0, COPIED);
    run.follow(feed, &source)?;
    reread(run, feed)?;
    while let Some(block) = missing(run, feed) {
        place(run, feed, &source, block)?;
        if at_once {
            finish(run, feed, block / FILE_BLOCKS)?;
        }
        if run.random.below(3) == 0 {
            run.commit()?;
        }
        if run.random.below(12) == 0 {
            run.store.checkpoint()?;
        }
    }
    run.commit()?;
    for file in 0..COPIED / FILE_BLOCKS {
        finish(run, feed, file)?;
        run.commit()?;
    }
    Ok(run.store.checkpoint()?)
}

/// Files that become the next version, again and again: what they keep is moved from the old file into one beside it, which then
/// takes its name.
fn versions(run: &mut Run) -> Result<(), Stop> {
    let feed = run.feed(0)?;
    let source = run.source(0, COPIED);
    run.follow(feed, &source)?;
    reread(run, feed)?;
    while let Some(block) = missing(run, feed) {
        run.fetch(feed, &source, block)?;
    }
    for version in 0..4 {
        for file in 0..COPIED / FILE_BLOCKS {
            replace(run, feed, &source, (file, version))?;
            if run.random.below(3) == 0 {
                run.store.checkpoint()?;
            }
        }
    }
    run.commit()
}

/// Makes a file the blocks that it has, the last ones in front: one more of them in each version.
fn replace(
    run: &mut Run,
    feed: FeedSlot,
    source: &Source,
    (file, version): (u64, u64),
) -> Result<(), Stop> {
    let (part, whole) = names(file);
    let mut blocks: Vec<u64> = (file * FILE_BLOCKS..(file + 1) * FILE_BLOCKS).collect();
    blocks.rotate_right(usize::try_from(version).expect("it is small"));
    if run.disk.has_working(&part) {
        // An earlier run left it, and what is there is written over.
        run.release(0, blocks.iter().copied());
        run.store.forget(feed, file * FILE_BLOCKS..(file + 1) * FILE_BLOCKS);
    }
    let mut offset = 0;
    for block in &blocks {
        // What is not as it was any more comes from elsewhere.
        let bytes = match run.store.read(feed, BlockIndex(*block))? {
            Some(bytes) => bytes,
            None => {
                run.release(0, [*block]);
                run.accept(feed, source, *block)?.1
            }
        };
        run.disk.write_working(&part, offset, &bytes)?;
        run.store.place(feed, BlockIndex(*block), InPlace { path: &part, offset })?;
        offset += bytes.len() as u64;
        if run.random.below(4) == 0 {
            reread(run, feed)?;
            run.commit()?;
        }
    }
    // The bytes before the name: behind a sync that failed, or a power cut, the old file would be gone and the new one not there.
    run.commit()?;
    // From here on the old file is gone, and where the blocks are now is durable only with the next commit.
    run.release(0, blocks);
    run.disk.rename_working(&part, &whole)?;
    run.store.rename_working(&part, &whole)?;
    run.commit()
}

fn names(file: u64) -> (Vec<u8>, Vec<u8>) {
    (format!("{file}.part").into_bytes(), format!("file {file}").into_bytes())
}

/// Writes a block where it belongs.
fn place(run: &mut Run, feed: FeedSlot, source: &Source, block: u64) -> Result<(), Stop> {
    let (offset, bytes) = run.accept(feed, source, block)?;
    let file = block / FILE_BLOCKS;
    let start = run.record.borrow().truth.bytes(&public(0), file * FILE_BLOCKS);
    let (part, whole) = names(file);
    let path = if run.disk.has_working(&whole) { whole } else { part };
    let offset = offset - start;
    run.disk.write_working(&path, offset, &bytes)?;
    Ok(run.store.place(feed, BlockIndex(block), InPlace { path: &path, offset })?)
}

/// Gives a file its name when all of it is there.
fn finish(run: &mut Run, feed: FeedSlot, file: u64) -> Result<(), Stop> {
    let blocks = file * FILE_BLOCKS..(file + 1) * FILE_BLOCKS;
    let (part, whole) = names(file);
    if run.store.have(feed).all(blocks.clone()) && run.disk.has_working(&part) {
        run.release(0, blocks);
        run.disk.rename_working(&part, &whole)?;
        run.store.rename_working(&part, &whole)?;
    }
    Ok(())
}

/// Drops the blocks whose files are not there any more, as reading them does.
fn reread(run: &mut Run, feed: FeedSlot) -> Result<(), Stop> {
    let have: Vec<u64> = run.store.have(feed).iter_ones(0..COPIED).collect();
    for block in have {
        if run.store.read(feed, BlockIndex(block))?.is_none() {
            run.release(0, [block]);
        }
    }
    Ok(())
}

/// Files in place that their user changes.
fn changed(run: &mut Run) -> Result<(), Stop> {
    land(run, true)?;
    let feed = run.feed(0)?;
    let source = run.source(0, COPIED);
    for file in 0..COPIED / FILE_BLOCKS {
        run.release(0, file * FILE_BLOCKS..(file + 1) * FILE_BLOCKS);
        run.disk.write_working(&names(file).1, 0, b"changed by its user")?;
        reread(run, feed)?;
        run.commit()?;
        while let Some(block) = missing(run, feed) {
            run.fetch(feed, &source, block)?;
        }
        run.commit()?;
    }
    Ok(())
}

/// Drops blocks and takes them again.
fn forget(run: &mut Run) -> Result<(), Stop> {
    clone(run)?;
    let feed = run.feed(0)?;
    for _ in 0..4 {
        let start = run.random.below(COPIED);
        let blocks = start..(start + 1 + run.random.below(5)).min(COPIED);
        run.release(0, blocks.clone());
        run.store.forget(feed, blocks);
        run.commit()?;
        clone(run)?;
    }
    Ok(())
}

/// Frees blocks and takes them again, where some were lost track of before and some are in files.
fn clear(run: &mut Run) -> Result<(), Stop> {
    let feed = run.feed(0)?;
    clone(run)?;
    let source = run.source(0, COPIED);
    for round in 0..4 {
        let start = run.random.below(COPIED);
        let blocks = start..(start + 1 + run.random.below(7)).min(COPIED);
        run.release(0, blocks.clone());
        if round == 1 {
            run.store.forget(feed, blocks);
            run.commit()?;
            place(run, feed, &source, start)?;
        } else {
            run.store.clear(feed, &[blocks].into_iter().collect())?;
        }
        run.commit()?;
        clone(run)?;
    }
    Ok(())
}

/// The same beside a feed that is written: of what nobody has freed, nothing goes.
fn clear_own(run: &mut Run) -> Result<(), Stop> {
    let (ours, theirs) = (run.feed(0)?, run.feed(1)?);
    let source = run.source(1, COPIED);
    run.follow(theirs, &source)?;
    while run.store.length(ours) < 8 || !is_whole(run, theirs, COPIED) {
        for _ in 0..4 {
            if let Some(block) = missing(run, theirs) {
                run.fetch(theirs, &source, block)?;
            }
        }
        if run.store.appended(ours).0 < 8 {
            run.append(0)?;
            if run.random.below(3) > 0 {
                run.sign(0)?;
            }
        } else {
            run.sign(0)?;
        }
        run.commit()?;
        if run.random.below(3) == 0 {
            let start = run.random.below(COPIED);
            let blocks = start..(start + 2).min(COPIED);
            run.release(1, blocks.clone());
            run.store.clear(theirs, &[blocks].into_iter().collect())?;
            run.commit()?;
        }
    }
    Ok(())
}

/// A feed that is written and one that is followed, committed together.
fn write_and_follow(run: &mut Run) -> Result<(), Stop> {
    let (ours, theirs) = (run.feed(0)?, run.feed(1)?);
    let source = run.source(1, COPIED);
    run.follow(theirs, &source)?;
    while run.store.length(ours) < 8 || !is_whole(run, theirs, COPIED) {
        for _ in 0..2 {
            if let Some(block) = missing(run, theirs) {
                run.fetch(theirs, &source, block)?;
            }
        }
        if run.store.appended(ours).0 < 8 {
            run.append(0)?;
            run.sign(0)?;
        }
        run.commit()?;
    }
    Ok(())
}

fn is_whole(run: &Run, feed: FeedSlot, length: u64) -> bool {
    run.store.length(feed) == length && run.store.have(feed).all(0..length)
}

/// Returns a block that is not here, any of them.
fn missing(run: &mut Run, feed: FeedSlot) -> Option<u64> {
    let (have, length) = (run.store.have(feed), run.store.length(feed));
    let missing: Vec<u64> = (0..length).filter(|block| !have.contains(*block)).collect();
    let count = missing.len() as u64;
    missing.get(usize::try_from(run.random.below(count)).ok()?).copied()
}
