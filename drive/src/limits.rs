//! Every limit of the drive's formats, with its reason.
//!
//! A decoder checks the limit before it allocates (SPEC 8); a writer is refused with a typed error.

/// Longest path in bytes: what Linux takes (`PATH_MAX`).
pub const PATH_BYTES_MAX: usize = 4_096;

/// Longest component of a path that may land on a disk: what file systems take (`NAME_MAX`).
pub const COMPONENT_BYTES_MAX: usize = 255;

/// Most components of a path that may land on a disk.
pub const PATH_DEPTH_MAX: usize = 128;

/// Longest index key: a path, where a name in the root gains the separator.
pub const KEY_BYTES_MAX: usize = PATH_BYTES_MAX + 1;

/// Longest target of a symbolic link.
pub const TARGET_BYTES_MAX: usize = 4_096;

/// Longest encoded entry, and so the longest spilled block. About 3,500 extents.
pub const ENTRY_BYTES_MAX: usize = 64 * 1024;

/// How long the runs of blocks of one file are at least, on average: a disk that seeks still reads some 20 MB/s so, one without
/// moving parts as fast as it can. Twice as much would have scattered edits of small files store twice as much again.
pub const RUN_BYTES_MIN: u64 = 256 * 1024;

/// Extents that any file may have, however short.
pub const EXTENTS_FREE: usize = 16;

/// Longest value kept inside a node; what is longer spills into a block of its own (SPEC 8.4).
pub const INLINE_VALUE_BYTES_MAX: usize = 160;

/// Longest identity of a value kept inside a node; a longer one is replaced by its hash.
pub const INLINE_IDENTITY_BYTES_MAX: usize = 96;

/// Longest index node. A node of the cutting rule fits: 378 keys of 65 to 24,575 weight in all.
pub const NODE_BYTES_MAX: usize = 64 * 1024;

/// Most levels of an index, the root included.
pub const INDEX_LEVELS_MAX: u8 = 32;

/// Least weight of a node that is not the last of its level.
pub const NODE_WEIGHT_MIN: usize = 8 * 1024;

/// A node's weight stays below this.
pub const NODE_WEIGHT_MAX: usize = 24 * 1024;

/// What a key weighs beside its own bytes.
pub const KEY_WEIGHT: usize = 64;

/// Most blocks asked for at once by a page of a listing. Bounds what a hostile tree makes us ask.
pub const NEED_BLOCKS_MAX: usize = 1_024;

/// Most index nodes opened for one page of differences. A tree that is cut against the rule differs from a sound one in every node
/// and perhaps in no name. Two ways down are 64.
pub const DIFF_NODES_MAX: usize = 1_024;

/// Most parents of a change.
pub const PARENTS_MAX: usize = 16;

/// Most feeds in a change's table.
pub const FEEDS_MAX: usize = 1_024;

/// Most namespaces of a change.
pub const NAMESPACES_MAX: usize = 8;

/// Longest name of a namespace or of a drive.
pub const NAME_BYTES_MAX: usize = 255;

/// Longest name of a tag: what people type, and what fits a line.
pub const TAG_NAME_BYTES_MAX: usize = 128;

/// Longest message of a change.
pub const MESSAGE_BYTES_MAX: usize = 4_096;

/// Puts and deletes travel inside the change up to this many bytes.
pub const INLINE_OPS_BYTES_MAX: usize = 16 * 1024;

/// Pointers per level of a change's skip list.
pub const SKIP_WIDTH: u64 = 16;

/// Most blocks of an unknown, optional kind that are passed over behind a change.
pub const SKIPPED_BLOCKS_MAX: u64 = 16;

/// Lengths, positions and byte counts stay below this (SPEC 3: feeds are shorter than 2⁵⁶).
pub const FEED_LENGTH_MAX: u64 = 1 << 56;

/// Longest block of a feed.
pub const BLOCK_BYTES_MAX: usize = 1024 * 1024;

/// How many bytes ahead of a reader are asked for at first, and after it sought.
pub const READ_AHEAD_MIN: u64 = 1 << 20;

/// How many at most: it doubles while the reader reads on.
pub const READ_AHEAD_MAX: u64 = 32 << 20;
