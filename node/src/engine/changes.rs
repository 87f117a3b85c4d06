//! The changes of a drive, one after the other, and what each did.

use std::collections::BTreeMap;
use std::sync::Arc;

use datnode_drive::{Difference, DrivePath, Entry, Op, Version};
use datnode_feed::BlockIndex;

use super::comparison::Comparison;
use super::snapshot::Snapshot;
use crate::error::Error;

impl Snapshot {
    /// Calls `each` for what a version did to the one before it, in the order of keys.
    ///
    /// # Errors
    /// Those of [`Drive::latest`](super::Drive::latest), and what `each` says.
    pub async fn touched(
        &self,
        mut each: impl FnMut(Difference) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Some(before) = self.previous().await? else { return Ok(()) };
        let mut comparison = Comparison::new(&before, self);
        while let Some(difference) = comparison.next().await? {
            each(difference)?;
        }
        Ok(())
    }

    /// Calls `each` for what this version's change set (with the entry) and deleted, in the order of keys.
    ///
    /// A small change says so itself; a large one is held against the version before it.
    ///
    /// # Errors
    /// Those of [`Drive::latest`](super::Drive::latest), and what `each` says.
    pub async fn ops(
        &self,
        mut each: impl FnMut(DrivePath, Option<Entry>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Some(ops) = &self.version.change.ops else {
            return self.touched(|Difference { path, new, .. }| each(path, new)).await;
        };
        ops.iter().try_for_each(|op| match op {
            Op::Put(path, entry) => each(path.clone(), Some(entry.clone())),
            Op::Delete(path) => each(path.clone(), None),
        })
    }

    /// Returns where the changes are that led from change `since` to this one, itself included, oldest first.
    ///
    /// # Errors
    /// Those of [`Drive::latest`](super::Drive::latest).
    pub async fn changes_since(&self, since: u64) -> Result<Vec<BlockIndex>, Error> {
        if since == 0 {
            // All of them come in few round trips, by the skip pointers.
            let version = Arc::clone(&self.version);
            self.drive.ask(None, move |view| version.history(view)).await?;
        }
        let mut positions = Vec::new();
        let mut at = Some(Arc::clone(&self.version));
        while let Some(version) = at.filter(|version| version.number > since) {
            positions.push(version.position);
            let before = self.drive.ask(None, move |view| version.previous(view)).await?;
            at = before.map(Arc::new);
        }
        positions.reverse();
        Ok(positions)
    }

    /// Returns the version whose change is at a position.
    ///
    /// # Errors
    /// Those of [`Drive::latest`](super::Drive::latest).
    pub async fn at(&self, position: BlockIndex) -> Result<Self, Error> {
        let version = self.drive.ask(None, move |view| Version::open(view, position)).await?;
        self.drive.snapshot(version).await
    }

    /// Returns every entry of the drive.
    ///
    /// # Errors
    /// Those of [`Drive::latest`](super::Drive::latest).
    pub async fn by_path(&self) -> Result<BTreeMap<DrivePath, Entry>, Error> {
        let mut all = BTreeMap::new();
        let keep = |path, entry| {
            all.insert(path, entry);
            Ok(())
        };
        self.walk(keep).await?;
        Ok(all)
    }
}
