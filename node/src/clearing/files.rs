//! Removes files of a clone, and has the store know that their blocks are gone, or where else they are.

use std::collections::BTreeSet;
use std::path::Path;

use datnode_drive::{DrivePath, Entry, Kind};
use datnode_feed::{Bitfield, BlockIndex, FeedSlot, InPlace, Place};

use super::{Order, set};
use crate::address::VersionSpec;
use crate::choice::{Choice, Chooser};
use crate::engine::{AnyStore, Drive, Snapshot, Worker};
use crate::error::Error;
use crate::landing::{AsPut, Landed};

/// What became of the files that were meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// How many were removed.
    pub files: u64,
    /// How many bytes they took on the disk.
    pub freed: u64,
    /// Names of those that were changed, and stay.
    pub kept: Vec<Vec<u8>>,
}

/// Removes the files of a clone that the globs of an order mean and that are still as they landed.
///
/// # Errors
/// E-NODATA if the names of what landed are not here, and what the store and the disk say.
pub async fn remove_files(drive: &Drive, folder: &Path, order: &Order) -> Result<Removed, Error> {
    let landed = Landed::open(folder)?;
    let chooser = Chooser::of(&Choice { include: order.globs.clone(), ..Choice::default() })?;
    let (mut removed, mut last) = (Removed::default(), None);
    // Of a name that several versions have, the file may be as any of them says.
    let mut going: Vec<(DrivePath, Entry)> = Vec::new();
    let (mut names, mut changed) = (BTreeSet::new(), BTreeSet::new());
    for number in &order.landed {
        let snapshot = drive.version(&VersionSpec::Number(*number)).await?;
        let look = |path: DrivePath, entry: Entry| {
            if !chooser.takes(&path, entry.kind) {
                return Ok(());
            }
            match landed.is_as_put(&path, &entry) {
                AsPut::Gone | AsPut::Refused => {}
                AsPut::Changed => drop(changed.insert(path.as_bytes().to_vec())),
                AsPut::Yes(bytes) if names.insert(path.as_bytes().to_vec()) => {
                    if entry.kind != Kind::Directory {
                        removed.files += 1;
                        removed.freed = removed.freed.saturating_add(bytes);
                    }
                    going.push((path, entry));
                }
                AsPut::Yes(_) => {}
            }
            Ok(())
        };
        snapshot.walk(look).await?;
        last = Some(snapshot);
    }
    removed.kept = changed.difference(&names).cloned().collect();
    let Some(last) = last.filter(|_| !order.dry_run) else { return Ok(removed) };
    if let Some(content) = &last.content {
        let others = sharing(&last, &landed, &chooser, &going).await?;
        let slot = content.slot;
        let forget = move |worker: &mut Worker| {
            forget(&mut worker.store, slot, &names, &others)?;
            // Before they go: what is claimed has its bytes.
            worker.commit()
        };
        drive.store.query(forget).await?;
    }
    // What is in a folder goes before the folder.
    going.sort_by(|(one, _), (other, _)| other.as_bytes().cmp(one.as_bytes()));
    going.iter().try_for_each(|(path, entry)| landed.remove(path, entry))?;
    Ok(removed)
}

/// Returns files that stay and share blocks with those that go.
async fn sharing(
    snapshot: &Snapshot,
    landed: &Landed,
    chooser: &Chooser,
    going: &[(DrivePath, Entry)],
) -> Result<Vec<(DrivePath, Entry)>, Error> {
    let (held, mut gone) = (snapshot.held().await?, Bitfield::new());
    going.iter().for_each(|(_, entry)| set(&mut gone, held.len(), entry));
    let mut others = Vec::new();
    let look = |path: DrivePath, entry: Entry| {
        let shares = entry.extents.iter().any(|extent| gone.any(extent.blocks()));
        let stays = || !chooser.takes(&path, entry.kind);
        if shares && stays() && matches!(landed.is_as_put(&path, &entry), AsPut::Yes(_)) {
            others.push((path, entry));
        }
        Ok(())
    };
    snapshot.walk(look).await?;
    Ok(others)
}

/// Forgets the blocks that live in files of these names, but for those that other files have as well.
fn forget(
    store: &mut AnyStore,
    slot: FeedSlot,
    names: &BTreeSet<Vec<u8>>,
    others: &[(DrivePath, Entry)],
) -> Result<(), Error> {
    let mut gone = Bitfield::new();
    for block in store.have(slot).clone().iter_ones(0..store.length(slot)) {
        let place = store.where_is(slot, BlockIndex(block)).map_err(Error::store)?;
        if matches!(place, Some(Place::Working { path, .. }) if names.contains(&path)) {
            gone.set(block);
        }
    }
    for run in gone.runs() {
        store.forget(slot, run);
    }
    for (path, entry) in others {
        let mut before = 0_u64;
        for extent in &entry.extents {
            let blocks = extent.blocks();
            for block in gone.iter_ones(blocks) {
                let begins = store.byte_offset(slot, BlockIndex(block)).map_err(Error::store)?;
                let within = begins.and_then(|begins| begins.checked_sub(extent.first_byte));
                if let Some(within) = within {
                    let at =
                        InPlace { path: path.as_bytes(), offset: before.saturating_add(within) };
                    store.place(slot, BlockIndex(block), at).map_err(Error::store)?;
                }
            }
            before = before.saturating_add(extent.bytes);
        }
    }
    Ok(())
}
