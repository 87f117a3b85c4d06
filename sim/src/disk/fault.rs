//! What a disk gets wrong, and when.

use datnode_feed::FileId;

use super::Operation;

/// Which operation fails: the one with this number among those of its class, counted from when the fault was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The number.
    pub at: u64,
    /// How it fails.
    pub kind: FaultKind,
}

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// A read fails, once (EIO).
    Read,
    /// A write or a cut fails, once, and does nothing (EIO).
    Write,
    /// All writes that need room fail from here on (ENOSPC).
    Full,
    /// A write fails, once, when half of it is done.
    Short,
    /// A sync fails, once, and does nothing (EIO); what is pending stays so.
    Sync,
    /// A sync fails, once; what was pending is taken for written from then on, can be read, and is lost.
    Lie,
    /// The same, and what was pending cannot be read any more either.
    LieAndForget,
    /// No change and no sync is done any more: the power is off.
    Off,
}

/// A class of operations, which are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Reads.
    Read,
    /// Writes and cuts.
    Write,
    /// Syncs.
    Sync,
    /// All that is no read.
    Change,
}

impl FaultKind {
    /// All kinds that a program outlives.
    pub const ALL: [Self; 7] = [
        Self::Read,
        Self::Write,
        Self::Full,
        Self::Short,
        Self::Sync,
        Self::Lie,
        Self::LieAndForget,
    ];

    /// Returns what it counts.
    pub const fn class(self) -> Class {
        match self {
            Self::Read => Class::Read,
            Self::Write | Self::Full | Self::Short => Class::Write,
            Self::Sync | Self::Lie | Self::LieAndForget => Class::Sync,
            Self::Off => Class::Change,
        }
    }

    /// Tells whether it goes on until the fault is lifted.
    pub const fn lasts(self) -> bool {
        matches!(self, Self::Full | Self::Off)
    }
}

/// How many operations there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Reads.
    pub reads: u64,
    /// Writes and cuts.
    pub writes: u64,
    /// Syncs.
    pub syncs: u64,
}

impl Counts {
    /// Returns how many of a class there were.
    pub const fn of(&self, class: Class) -> u64 {
        match class {
            Class::Read => self.reads,
            Class::Write => self.writes,
            Class::Sync => self.syncs,
            Class::Change => self.writes + self.syncs,
        }
    }
}

/// A kind of syncs, to be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncOf {
    /// Those of `meta`.
    Meta,
    /// Those of the journal.
    Journal,
    /// Those of `data`.
    Data,
    /// Those of `names`.
    Names,
    /// Those of the trees.
    Tree,
    /// Those of the tables of blocks.
    Blocks,
    /// Those of working files.
    Working,
}

impl SyncOf {
    pub(super) const fn is(self, operation: &Operation) -> bool {
        match operation {
            Operation::Sync(FileId::Meta) => matches!(self, Self::Meta),
            Operation::Sync(FileId::Journal) => matches!(self, Self::Journal),
            Operation::Sync(FileId::Data) => matches!(self, Self::Data),
            Operation::Sync(FileId::Names) => matches!(self, Self::Names),
            Operation::Sync(FileId::Tree(_)) => matches!(self, Self::Tree),
            Operation::Sync(FileId::Blocks(_)) => matches!(self, Self::Blocks),
            Operation::SyncWorking => matches!(self, Self::Working),
            Operation::Change(_) => false,
        }
    }
}
