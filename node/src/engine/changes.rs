//! What a version did to the one before it.

use std::collections::BTreeMap;

use datnode_drive::{DrivePath, Entry, Op};

use super::snapshot::Snapshot;
use crate::error::Error;

/// A path that differs between two versions.
///
/// Invariant: `before` and `after` are different; at least one is an entry.
#[derive(Clone, Debug)]
pub struct Touched {
    /// The path.
    pub path: DrivePath,
    /// What the older version has there.
    pub before: Option<Entry>,
    /// What the newer version has there.
    pub after: Option<Entry>,
}

impl Snapshot {
    /// Returns what differs from `before`, the version that precedes this one.
    ///
    /// A small change names its paths itself; for a large one both versions are walked.
    ///
    /// # Errors
    /// Those of [`Drive::latest`](super::Drive::latest).
    pub async fn touched(&self, before: &Self) -> Result<Vec<Touched>, Error> {
        let Some(ops) = &self.version.change.ops else { return self.compare(before).await };
        let mut touched = Vec::new();
        for path in ops.iter().map(Op::path) {
            let (before, after) = (before.entry(path).await?, self.entry(path).await?);
            if before != after {
                touched.push(Touched { path: path.clone(), before, after });
            }
        }
        Ok(touched)
    }

    async fn compare(&self, before: &Self) -> Result<Vec<Touched>, Error> {
        let mut old = before.by_path().await?;
        let mut touched = Vec::new();
        for (path, entry) in self.by_path().await? {
            let before = old.remove(&path);
            if before.as_ref() != Some(&entry) {
                touched.push(Touched { path, before, after: Some(entry) });
            }
        }
        let gone = old.into_iter();
        touched.extend(gone.map(|(path, entry)| Touched {
            path,
            before: Some(entry),
            after: None,
        }));
        Ok(touched)
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
