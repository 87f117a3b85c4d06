//! A drive that was found moves from memory into a folder.
//!
//! So that nothing is written before somebody offers the drive and its name is known, a new clone begins in memory. Its blocks and
//! heads are verified already; the store's files are copied as they are.

use std::path::Path;

use datnode_feed::{FileId, Store};

use super::drive::Drive;
use super::worker::Worker;
use crate::disk::DiskStorage;
use crate::error::Error;

impl Drive {
    /// Moves the store into a folder that has none; from now on it is the folder's.
    ///
    /// # Errors
    /// E-LOCKED when another process is about to do the same, and what the disk says.
    pub async fn settle(&self, folder: &Path) -> Result<(), Error> {
        let folder = folder.to_owned();
        self.store.query(move |worker| settle(worker, &folder)).await
    }
}

fn settle(worker: &mut Worker, folder: &Path) -> Result<(), Error> {
    worker.commit()?;
    worker.store.checkpoint().map_err(Error::store)?;
    let slots: Vec<_> = worker.store.feeds().map(|(slot, _)| slot).collect();
    let tables = slots.into_iter().flat_map(|slot| [FileId::Tree(slot), FileId::Blocks(slot)]);
    let files = [FileId::Meta, FileId::Journal, FileId::Data, FileId::Names].into_iter();
    let disk = DiskStorage::copy(folder, worker.store.storage(), files.chain(tables))
        .map_err(|error| Error::disk(folder, error))?;
    worker.store = Store::open(Box::new(disk) as Box<_>).map_err(Error::store)?;
    Ok(())
}
