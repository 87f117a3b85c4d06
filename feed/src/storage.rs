//! The few verbs a store asks of the world, and what it says when they fail.
//!
//! Three implementations: memory here, disk in `datnode`, a faulty one in `datnode-sim`. All verbs are synchronous.
//! What was written may be lost until the file was synced; a read sees what was written, synced or not.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use core::error::Error;
use core::fmt;

/// The number of a feed in its store, in the order in which they were added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FeedSlot(pub u16);

impl fmt::Display for FeedSlot {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// A file of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileId {
    /// The header and the feeds' heads.
    Meta,
    /// Commits that may not be in the tables yet.
    Journal,
    /// The bytes of blocks, in the order in which they came.
    Data,
    /// The paths of working files.
    Names,
    /// The tree nodes of a feed.
    Tree(FeedSlot),
    /// Where each block of a feed is.
    Blocks(FeedSlot),
}

/// Prints the file's name, the same in every storage.
impl fmt::Display for FileId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Meta => out.write_str("meta"),
            Self::Journal => out.write_str("journal"),
            Self::Data => out.write_str("data"),
            Self::Names => out.write_str("names"),
            Self::Tree(slot) => write!(out, "tree.{slot}"),
            Self::Blocks(slot) => write!(out, "blocks.{slot}"),
        }
    }
}

/// The world said no: what was tried, and where.
#[derive(Debug)]
pub struct StorageError {
    op: &'static str,
    file: String,
    offset: u64,
    len: usize,
    source: Box<dyn Error + Send + Sync>,
}

impl StorageError {
    /// Says that `op` on `len` bytes at `offset` of `file` failed, and why.
    pub fn new(
        op: &'static str,
        file: impl fmt::Display,
        offset: u64,
        len: usize,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self { op, file: file.to_string(), offset, len, source: source.into() }
    }

    /// Returns what was tried.
    pub const fn op(&self) -> &'static str {
        self.op
    }

    /// Returns the name of the file.
    pub fn file(&self) -> &str {
        &self.file
    }
}

impl fmt::Display for StorageError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { op, file, offset, len, .. } = self;
        write!(out, "cannot {op} {len} bytes at {offset} of {file}")
    }
}

impl Error for StorageError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}

/// Where a store keeps its files, and where the working files are.
pub trait Storage {
    /// Returns the length of a file; 0 if it was never written.
    fn len(&self, file: FileId) -> Result<u64, StorageError>;

    /// Fills `into` from `offset`; it is an error if the file ends before.
    fn read(&self, file: FileId, offset: u64, into: &mut [u8]) -> Result<(), StorageError>;

    /// Writes all of `bytes` at `offset`, extending the file if need be; a gap reads as zeros.
    fn write(&mut self, file: FileId, offset: u64, bytes: &[u8]) -> Result<(), StorageError>;

    /// Cuts a file to `len` bytes, if it is longer.
    fn truncate(&mut self, file: FileId, len: u64) -> Result<(), StorageError>;

    /// Makes the bytes and the length of a file durable.
    fn sync(&mut self, file: FileId) -> Result<(), StorageError>;

    /// Fills `into` from a working file; `path` is relative to the working folder, components joined by `/`.
    fn read_working(&self, path: &[u8], offset: u64, into: &mut [u8]) -> Result<(), StorageError>;

    /// Makes everything durable that was written to working files.
    fn sync_working(&mut self) -> Result<(), StorageError>;

    /// Tells whether what is written outlasts the process, so that it is somebody's to keep.
    fn is_lasting(&self) -> bool {
        true
    }

    /// Says that nobody will read these bytes again: a storage may free them, and what was not written anew since may read as zeros.
    fn discard(&mut self, file: FileId, offset: u64, len: u64) -> Result<(), StorageError> {
        let _ = (file, offset, len);
        Ok(())
    }

    /// Returns how many bytes a file takes, which are fewer than its length where some were freed.
    fn allocated(&self, file: FileId) -> Result<u64, StorageError> {
        self.len(file)
    }

    /// Says that nothing will happen for a while, and that all is durable. A storage may let go what can be had again at once, such as
    /// open files.
    fn rest(&mut self) {}
}

impl<S: Storage + ?Sized> Storage for Box<S> {
    fn is_lasting(&self) -> bool {
        (**self).is_lasting()
    }

    fn len(&self, file: FileId) -> Result<u64, StorageError> {
        (**self).len(file)
    }

    fn read(&self, file: FileId, offset: u64, into: &mut [u8]) -> Result<(), StorageError> {
        (**self).read(file, offset, into)
    }

    fn write(&mut self, file: FileId, offset: u64, bytes: &[u8]) -> Result<(), StorageError> {
        (**self).write(file, offset, bytes)
    }

    fn truncate(&mut self, file: FileId, len: u64) -> Result<(), StorageError> {
        (**self).truncate(file, len)
    }

    fn sync(&mut self, file: FileId) -> Result<(), StorageError> {
        (**self).sync(file)
    }

    fn read_working(&self, path: &[u8], offset: u64, into: &mut [u8]) -> Result<(), StorageError> {
        (**self).read_working(path, offset, into)
    }

    fn sync_working(&mut self) -> Result<(), StorageError> {
        (**self).sync_working()
    }

    fn discard(&mut self, file: FileId, offset: u64, len: u64) -> Result<(), StorageError> {
        (**self).discard(file, offset, len)
    }

    fn allocated(&self, file: FileId) -> Result<u64, StorageError> {
        (**self).allocated(file)
    }

    fn rest(&mut self) {
        (**self).rest();
    }
}
