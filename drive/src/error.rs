//! What reading a drive can answer: not yet, here it is, or why never.

use alloc::vec::Vec;
use core::fmt;

use datnode_feed::{BlockIndex, codec::DecodeError};
use thiserror::Error;

use crate::{path::PathError, tag_name::TagNameError};

/// Where a block is: a feed of the change's table, and the block in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    /// 0 is the changes feed itself, 1 the first feed of the table.
    pub slot: u16,
    /// The block.
    pub block: BlockIndex,
}

impl Location {
    /// Returns the location of a block of the changes feed.
    pub const fn changes(block: BlockIndex) -> Self {
        Self { slot: 0, block }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "block {} of feed {}", self.block.0, self.slot)
    }
}

/// What a reading function answers when nothing is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Step<T> {
    /// These blocks are missing; ask again when they are here.
    Need(Vec<Location>),
    /// The answer.
    Done(T),
}

/// What every reading function returns.
pub type Reading<T, E> = Result<Step<T>, ReadError<E>>;

impl<T> Step<T> {
    /// Changes the answer, if there is one.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Step<U> {
        match self {
            Self::Need(blocks) => Step::Need(blocks),
            Self::Done(value) => Step::Done(change(value)),
        }
    }
}

/// What a step gives to a function that returns a [`Reading`]: the blocks that are missing, or the value.
macro_rules! done {
    ($step:expr) => {
        match $step? {
            $crate::Step::Done(value) => value,
            $crate::Step::Need(blocks) => return Ok($crate::Step::Need(blocks)),
        }
    };
}

pub(crate) use done;

/// What is wrong with a drive's own blocks. The writer made them so, or means harm.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Damage {
    /// The bytes are no block of its kind.
    #[error("malformed block: {0}")]
    Malformed(#[from] DecodeError),
    /// Another kind of block than the one that pointed here promised.
    #[error("a block of kind {found:#04x} where {expected:#04x} should be")]
    WrongKind {
        /// The kind promised.
        expected: u8,
        /// The kind found.
        found: u8,
    },
    /// The block does not hash to the identity that pointed here.
    #[error("the block is not what points to it")]
    WrongIdentity,
    /// A block that points to itself or to a later one.
    #[error("the block points forward")]
    Forward,
    /// A location in a feed where index blocks may not be.
    #[error("an index block in another feed")]
    Foreign,
    /// Keys that do not ascend.
    #[error("the keys of a node do not ascend")]
    Unsorted,
    /// A child whose level is not one less than its parent's, or too many levels.
    #[error("the levels of the index are wrong")]
    WrongLevel,
    /// A child whose keys lie outside of what its parent says.
    #[error("a node lies outside of its parent's range")]
    OutOfRange,
    /// A key that is no path's key.
    #[error("a key of the index is no path: {0}")]
    BadKey(#[from] PathError),
    /// A key of the tags' index that is no name of a tag.
    #[error("a key of the index of tags is no name: {0}")]
    BadTag(#[from] TagNameError),
    /// An entry with blocks of no content feed of the change's table, or behind its end.
    #[error("an entry names blocks outside of the change's feeds")]
    OutsideFeeds,
    /// A change with another number than the pointer to it said.
    #[error("a change has the wrong number")]
    WrongNumber,
    /// A position at which no change ends.
    #[error("there is no change at this position")]
    NoChange,
}

/// Why a drive cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReadError<E> {
    /// The source of blocks failed.
    #[error("cannot read a block")]
    Source(#[source] E),
    /// The drive's own blocks are wrong.
    #[error("the drive is damaged at {at}: {damage}")]
    Damaged {
        /// The block.
        at: Location,
        /// What is wrong with it.
        damage: Damage,
    },
    /// A block that must be understood, of a kind this version does not know.
    #[error("{at} is of kind {kind:#04x}, which this version does not know")]
    UnknownKind {
        /// The block.
        at: Location,
        /// Its kind.
        kind: u8,
    },
    /// The drive's format is newer than this version.
    #[error("the drive has format {found}, this version knows {known}")]
    Newer {
        /// The drive's format.
        found: u16,
        /// The newest one known here.
        known: u16,
    },
}

impl<E> ReadError<E> {
    pub(crate) fn damaged(at: Location, damage: impl Into<Damage>) -> Self {
        Self::Damaged { at, damage: damage.into() }
    }
}
