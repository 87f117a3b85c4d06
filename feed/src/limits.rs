//! How much of anything a feed or a store takes. Each value says why it is what it is.

/// The most bytes a block may have: one frame on the wire carries a whole block.
pub const BLOCK_BYTES_MAX: usize = 1 << 20;

/// Lengths of feeds are below this, so that sums and indexes cannot overflow.
pub const LENGTH_END: u64 = 1 << 56;

/// Byte lengths of feeds are below this, for the same reason.
pub const BYTE_LENGTH_END: u64 = 1 << 56;

/// Files of a store are shorter than this, so that no damaged offset overflows.
pub const STORE_BYTES_END: u64 = 1 << 56;

/// A store counts fewer commits than this, so that counting on cannot overflow.
pub const COMMITS_END: u64 = 1 << 56;

/// A store holds blocks below this index only: its bitfield is dense and then takes at most 32 MiB.
pub const HELD_END: u64 = 1 << 28;

/// The most feeds in one store. A drive has two, and one or two more for each writer.
pub const FEEDS_MAX: usize = 4096;

/// The most bytes in the path of a working file, as most systems have it.
pub const PATH_BYTES_MAX: usize = 4096;

/// How many renames of one file are followed; more are taken for a damaged table.
pub const RENAMES_MAX: usize = 1 << 16;

/// The most bytes in the body of a journal record; a larger commit is split.
pub const RECORD_BYTES_MAX: usize = 8 << 20;

/// A commit that leaves the journal longer than this ends in a checkpoint.
pub const JOURNAL_BYTES: u64 = 64 << 20;

/// Bytes of blocks are handed to the storage in pieces of about this size.
pub const DATA_PIECE_BYTES: usize = 256 << 10;

/// Of what a piece's end is a multiple: a page, which is where a system's cache and disks like it to begin.
pub const DATA_ALIGNED: usize = 4096;

/// Tables are read in pieces of this size when a store is opened.
pub const TABLE_PIECE_BYTES: usize = 1 << 20;

/// Blocks are dropped so many at a time: those of a large drive at once would fill memory before they are durable.
pub const CLEARED_AT_ONCE: u64 = 1 << 16;
