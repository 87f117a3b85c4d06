//! How much of a version is in memory while it lands.

/// How many entries are planned and landed at a time. Of a larger version some windows are under way together: about 1 KiB an
/// entry, so this keeps them far below what a process takes anyway, and each is large enough to keep all peers busy. Builds for
/// tests have small ones, so that they meet several.
pub const WINDOW_ENTRIES: usize = if cfg!(debug_assertions) { 1_024 } else { 16_384 };

/// How many windows are under way at a time: the next one's blocks are asked for before the last ones of this one are here.
pub const WINDOWS_MAX: usize = 2;

/// How many bytes of files that replace others wait for a commit at most: until then both are on the disk.
pub(super) const RIPE_BYTES: u64 = 64 << 20;

/// A folder with more names than this is worth asking the disk whether it takes names for bytes, so that they need not be kept.
pub(super) const NAMES_MAX: usize = 65_536;

/// How many unfinished files of a window stay open for writing.
pub(super) const OPEN_MAX: usize = 64;

/// How many names that cannot be written here are named, each with the reason: 20 MB of the longest ones. More are counted.
pub(crate) const REFUSED_NAMED: usize = 4_096;
