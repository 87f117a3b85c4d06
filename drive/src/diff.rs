//! What differs between two versions, of one drive or of two.
//!
//! Its cost follows the difference: what both hold alike is passed over unread. Entries are equal if their identities are; where
//! their bytes are, and which change set them, makes no difference. SPEC 8.8

use alloc::vec::Vec;

use thiserror::Error;

use crate::{
    blocks::Blocks,
    entry::Entry,
    error::{Location, ReadError, Reading, Step},
    index::{
        compare::{Compared, Pair, compare},
        lookup::IndexRoot,
    },
    path::{DrivePath, Key},
    version::Version,
};

/// A path at which two versions differ.
///
/// Invariant: the entries have different identities; at least one is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The path.
    pub path: DrivePath,
    /// What the old version has there.
    pub old: Option<Entry>,
    /// What the new version has there.
    pub new: Option<Entry>,
}

/// Some differences, in the order of their keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiffPage {
    /// The differences; perhaps none, though there is a next page.
    pub differences: Vec<Difference>,
    /// Behind which key the next page begins; none if this is the last one.
    pub next: Option<Key>,
}

/// What [`diff`] answers when nothing is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum DiffStep {
    /// These blocks are missing; ask again when they are here.
    Need {
        /// Those of the old version's changes feed.
        old: Vec<Location>,
        /// Those of the new one's.
        new: Vec<Location>,
    },
    /// The answer.
    Done(DiffPage),
}

/// Which of two versions cannot be read, and why.
#[derive(Debug, Error)]
pub enum DiffError<E> {
    /// The old one.
    #[error("the old version: {0}")]
    Old(ReadError<E>),
    /// The new one.
    #[error("the new version: {0}")]
    New(ReadError<E>),
}

impl<E> DiffError<E> {
    /// Returns why, whichever it is.
    pub fn into_reason(self) -> ReadError<E> {
        match self {
            Self::Old(error) | Self::New(error) => error,
        }
    }

    fn of((which, error): (usize, ReadError<E>)) -> Self {
        if which == 0 { Self::Old(error) } else { Self::New(error) }
    }
}

/// Returns what differs between two versions, each with the source of its blocks: at most `limit` paths behind `after`.
///
/// While blocks are missing it needs all that are known to be missing and as many as a page takes. Each call starts anew from the
/// roots; what it holds in memory is the way down in both, and the page.
///
/// # Errors
/// Says which version's blocks cannot be read. Blocks that are passed over are not looked at: a damaged one shows where it is read.
pub fn diff<A: Blocks<Error = E>, B: Blocks<Error = E>, E>(
    (old, old_blocks): (&Version, &A),
    (new, new_blocks): (&Version, &B),
    after: Option<&Key>,
    limit: usize,
) -> Result<DiffStep, DiffError<E>> {
    let nodes = [old.files_node(), new.files_node()];
    let [old_root, new_root] = &nodes;
    let old_root = IndexRoot { node: old_root, at: old.position };
    let new_root = IndexRoot { node: new_root, at: new.position };
    let after = after.map(Key::as_bytes).unwrap_or_default();
    let compared = compare((old_blocks, old_root), (new_blocks, new_root), after, limit);
    let Compared { found, next, need: [old_need, new_need] } = compared.map_err(DiffError::of)?;
    if !old_need.is_empty() || !new_need.is_empty() {
        return Ok(DiffStep::Need { old: old_need, new: new_need });
    }
    let differences = found.into_iter().map(|pair| difference(old, new, pair));
    let differences = differences.collect::<Result<_, _>>()?;
    // If it is no difference, both have it.
    let next = next.map(|key| old.key(&key)).transpose().map_err(DiffError::Old)?;
    Ok(DiffStep::Done(DiffPage { differences, next }))
}

/// Holds the entries against the versions they are of.
fn difference<E>(
    old: &Version,
    new: &Version,
    (key, [was, is]): Pair<Entry>,
) -> Result<Difference, DiffError<E>> {
    // The key is of the one that has an entry there.
    let path = match was {
        Some(_) => old.path(&key).map_err(DiffError::Old)?,
        None => new.path(&key).map_err(DiffError::New)?,
    };
    Ok(Difference {
        path,
        old: was.map(|entry| old.check(entry)).transpose().map_err(DiffError::Old)?,
        new: is.map(|entry| new.check(entry)).transpose().map_err(DiffError::New)?,
    })
}

impl Version {
    /// Returns what differs in `newer`, a version of the same drive: at most `limit` paths behind `after`. As [`diff`] does.
    pub fn diff<B: Blocks>(
        &self,
        newer: &Self,
        blocks: &B,
        after: Option<&Key>,
        limit: usize,
    ) -> Reading<DiffPage, B::Error> {
        match diff((self, blocks), (newer, blocks), after, limit) {
            Ok(DiffStep::Done(page)) => Ok(Step::Done(page)),
            Ok(DiffStep::Need { mut old, mut new }) => {
                old.append(&mut new);
                old.sort_unstable();
                old.dedup();
                Ok(Step::Need(old))
            }
            Err(error) => Err(error.into_reason()),
        }
    }
}
