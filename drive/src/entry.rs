//! What a drive knows about one name: an [`Entry`], and its two encoded parts.
//!
//! ```text
//! identity  kind u8 | size | mode | mtime seconds (zigzag) | nanos | kind's own
//!           file: chunk list hash (32)   symlink: target   directory: nothing      SPEC 8.5
//! location  change | file: content hash (32) | count | count × extent
//! extent    slot | first block | count | first byte | bytes
//! ```
//!
//! Integers are varints unless said otherwise. The identity says what the entry is, equal in every
//! drive that holds the same thing; the location says where its bytes are and who said so.

use alloc::vec::Vec;
use core::ops::Range;

use datnode_feed::{
    Hash,
    codec::{DecodeError, Reader, Writer},
};

use crate::limits::{BLOCK_BYTES_MAX, ENTRY_BYTES_MAX, FEED_LENGTH_MAX, TARGET_BYTES_MAX};

/// The permission bits an entry may carry; nothing else of a mode travels.
pub const MODE_MASK: u16 = 0o777;

const CHUNKS_CONTEXT: &str = "datnode 2026 drive chunks v1";

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
    /// A folder. Every folder has an entry.
    Directory,
}

/// When the contents last changed, as the writer's file system said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mtime {
    /// Seconds since 1970, negative before.
    pub seconds: i64,
    /// Nanoseconds of the second, below 10⁹.
    pub nanos: u32,
}

/// A run of blocks of one feed that holds a run of a file's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Extent {
    /// The feed, as a slot of the change's feed table.
    pub slot: u16,
    /// The first block.
    pub first_block: u64,
    /// How many blocks.
    pub count: u64,
    /// Where the first block begins, in bytes of that feed.
    pub first_byte: u64,
    /// How many bytes.
    pub bytes: u64,
}

/// What a drive holds under one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// File, symbolic link or folder.
    pub kind: Kind,
    /// Bytes of the file or of the link's target; 0 for a folder.
    pub size: u64,
    /// Permission bits, within [`MODE_MASK`].
    pub mode: u16,
    /// When the contents last changed.
    pub mtime: Mtime,
    /// Where a symbolic link points; empty otherwise.
    pub target: Vec<u8>,
    /// Hash of the file's list of chunk hashes ([`ChunkList`]); all zero for others.
    pub chunks: Hash,
    /// BLAKE3 of the file's bytes, as the writer claims; all zero for others.
    pub content: Hash,
    /// Where the file's bytes are, in order; empty for others.
    pub extents: Vec<Extent>,
    /// The change that set this entry.
    pub change: u64,
}

/// The hash of a list of chunk hashes, made while the list goes by.
#[derive(Clone)]
pub struct ChunkList(blake3::Hasher);

impl Default for ChunkList {
    fn default() -> Self {
        Self(blake3::Hasher::new_derive_key(CHUNKS_CONTEXT))
    }
}

impl ChunkList {
    /// Adds the leaf hash of the next chunk.
    pub fn push(&mut self, chunk: &Hash) {
        self.0.update(&chunk.0);
    }

    /// Returns the hash of the list so far. SPEC 8.5
    pub fn finish(&self) -> Hash {
        Hash(*self.0.finalize().as_bytes())
    }
}

impl Kind {
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::File => 0,
            Self::Symlink => 1,
            Self::Directory => 2,
        }
    }

    pub(crate) const fn from_code(code: u8) -> Result<Self, DecodeError> {
        match code {
            0 => Ok(Self::File),
            1 => Ok(Self::Symlink),
            2 => Ok(Self::Directory),
            _ => Err(DecodeError::Invalid("kind of entry")),
        }
    }
}

impl Extent {
    /// Returns the blocks.
    pub const fn blocks(&self) -> Range<u64> {
        self.first_block..self.first_block + self.count
    }

    /// Returns the blocks in front of `end`: an index may speak of more than there are.
    pub fn blocks_before(&self, end: u64) -> Range<u64> {
        let Range { start, end: behind } = self.blocks();
        start.min(end)..behind.min(end)
    }

    /// Returns whether `next` continues this extent in the feed.
    pub fn continues_with(&self, next: &Self) -> bool {
        self.slot == next.slot
            && self.first_block + self.count == next.first_block
            && self.first_byte + self.bytes == next.first_byte
    }

    fn encode(&self, out: &mut Writer) {
        out.varint(u64::from(self.slot));
        out.varint(self.first_block);
        out.varint(self.count);
        out.varint(self.first_byte);
        out.varint(self.bytes);
    }

    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let slot = u16::try_from(input.varint()?).map_err(|_| DecodeError::Invalid("slot"))?;
        let extent = Self {
            slot,
            first_block: position(input)?,
            count: position(input)?,
            first_byte: position(input)?,
            bytes: position(input)?,
        };
        let capacity = u64::try_from(BLOCK_BYTES_MAX).unwrap_or(u64::MAX);
        let fits = extent.bytes <= extent.count.saturating_mul(capacity)
            && extent.first_block + extent.count <= FEED_LENGTH_MAX
            && extent.first_byte + extent.bytes <= FEED_LENGTH_MAX;
        if extent.count == 0 || extent.bytes == 0 || !fits {
            return Err(DecodeError::Invalid("extent"));
        }
        Ok(extent)
    }
}

impl Entry {
    /// Returns a folder.
    pub fn directory(mode: u16, mtime: Mtime) -> Self {
        Self {
            kind: Kind::Directory,
            size: 0,
            mode: mode & MODE_MASK,
            mtime,
            target: Vec::new(),
            chunks: Hash([0; 32]),
            content: Hash([0; 32]),
            extents: Vec::new(),
            change: 0,
        }
    }

    /// Returns a symbolic link.
    pub fn symlink(target: Vec<u8>, mtime: Mtime) -> Self {
        let size = u64::try_from(target.len()).unwrap_or(u64::MAX);
        Self { kind: Kind::Symlink, size, target, ..Self::directory(MODE_MASK, mtime) }
    }

    /// Returns how many bytes this entry takes in a drive; a commit refuses more than 64 KiB.
    pub fn encoded_len(&self) -> usize {
        self.identity().len() + self.location().len()
    }

    /// Returns whether a commit takes this entry (limits, and sizes that agree).
    pub fn is_valid(&self) -> bool {
        // What a reader would refuse is never written.
        self.encoded_len() <= ENTRY_BYTES_MAX
            && Self::decode(&self.identity(), &self.location()).is_ok_and(|entry| entry == *self)
    }

    /// Returns whether another entry says the same: all but where its bytes are and which change set it. SPEC 8.8
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }

    /// Returns whether both are folders that differ in nothing but when they were changed: what is put into one changes that.
    pub fn is_folder_but_for_time(&self, other: &Self) -> bool {
        (self.kind, other.kind) == (Kind::Directory, Kind::Directory) && self.mode == other.mode
    }

    /// Returns the encoded identity part. SPEC 8.5
    pub(crate) fn identity(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.u8(self.kind.code());
        out.varint(self.size);
        out.varint(u64::from(self.mode));
        out.varint(zigzag(self.mtime.seconds));
        out.varint(u64::from(self.mtime.nanos));
        match self.kind {
            Kind::File => out.hash(&self.chunks),
            Kind::Symlink => out.bytes(&self.target),
            Kind::Directory => &mut out,
        };
        out.into_vec()
    }

    /// Returns the encoded location part. SPEC 8.5
    pub(crate) fn location(&self) -> Vec<u8> {
        self.location_in(self.change)
    }

    /// Returns the encoded location part of an entry that `change` sets. SPEC 8.5
    pub(crate) fn location_in(&self, change: u64) -> Vec<u8> {
        let mut out = Writer::new();
        out.varint(change);
        if self.kind == Kind::File {
            out.hash(&self.content);
            out.varint(u64::try_from(self.extents.len()).unwrap_or(u64::MAX));
            for extent in &self.extents {
                extent.encode(&mut out);
            }
        }
        out.into_vec()
    }

    /// Decodes both parts. Sizes that disagree are refused here. SPEC 8.5
    pub(crate) fn decode(identity: &[u8], location: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Reader::new(identity);
        let kind = Kind::from_code(input.u8()?)?;
        let size = position(&mut input)?;
        let mode = u16::try_from(input.varint()?).unwrap_or(u16::MAX);
        if mode & !MODE_MASK != 0 {
            return Err(DecodeError::Invalid("mode"));
        }
        let seconds = unzigzag(input.varint()?);
        let nanos = u32::try_from(input.varint()?).unwrap_or(u32::MAX);
        if nanos >= 1_000_000_000 {
            return Err(DecodeError::Invalid("nanoseconds"));
        }
        let mut entry = Self { mode, ..Self::directory(0, Mtime { seconds, nanos }) };
        entry.kind = kind;
        entry.size = size;
        match kind {
            Kind::File => entry.chunks = input.hash()?,
            Kind::Symlink => entry.target = input.bytes(TARGET_BYTES_MAX)?.to_vec(),
            Kind::Directory => {}
        }
        input.end()?;
        entry.decode_location(location)?;
        let has = match kind {
            Kind::File => entry.extents.iter().try_fold(0, |sum: u64, e| sum.checked_add(e.bytes)),
            Kind::Symlink => u64::try_from(entry.target.len()).ok(),
            Kind::Directory => Some(0),
        };
        if has != Some(entry.size) {
            return Err(DecodeError::Invalid("size"));
        }
        Ok(entry)
    }

    fn decode_location(&mut self, location: &[u8]) -> Result<(), DecodeError> {
        let mut input = Reader::new(location);
        self.change = position(&mut input)?;
        if self.kind == Kind::File {
            self.content = input.hash()?;
            let count = input.varint()?;
            // No allocation before the bytes are there: an extent takes at least five.
            for _ in 0..count {
                self.extents.push(Extent::decode(&mut input)?);
            }
        }
        input.end()
    }
}

/// Reads an integer that counts blocks or bytes of a feed.
pub(crate) fn position(input: &mut Reader<'_>) -> Result<u64, DecodeError> {
    let value = input.varint()?;
    if value >= FEED_LENGTH_MAX {
        return Err(DecodeError::Invalid("position"));
    }
    Ok(value)
}

/// Maps signed integers to unsigned ones so that small ones stay short.
pub(crate) const fn zigzag(value: i64) -> u64 {
    (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned()
}

/// Reverses [`zigzag`].
pub(crate) const fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

#[cfg(test)]
mod tests {
    use alloc::{string::ToString, vec};

    use super::*;

    fn file() -> Entry {
        Entry {
            kind: Kind::File,
            size: 300,
            mode: 0o644,
            mtime: Mtime { seconds: -2, nanos: 5 },
            target: Vec::new(),
            chunks: Hash([1; 32]),
            content: Hash([2; 32]),
            extents: vec![
                Extent { slot: 1, first_block: 7, count: 2, first_byte: 1_000, bytes: 200 },
                Extent { slot: 1, first_block: 3, count: 1, first_byte: 50, bytes: 100 },
            ],
            change: 9,
        }
    }

    #[test]
    fn entries_come_back_as_they_went() {
        let mtime = Mtime { seconds: i64::MIN, nanos: 999_999_999 };
        for entry in
            [file(), Entry::directory(0o755, mtime), Entry::symlink(b"../x".to_vec(), mtime)]
        {
            assert!(entry.is_valid());
            assert_eq!(Entry::decode(&entry.identity(), &entry.location()), Ok(entry));
        }
    }

    #[test]
    fn sizes_that_disagree_are_refused() {
        let mut entry = file();
        entry.size += 1;
        assert!(!entry.is_valid());
        let mut entry = file();
        entry.extents[0].count = 0;
        assert!(!entry.is_valid());
        let mut entry = file();
        entry.extents[0].bytes = 1 << 55;
        assert!(!entry.is_valid());
        let mut entry = Entry::directory(0o755, Mtime::default());
        entry.size = 1;
        assert!(!entry.is_valid());
    }

    #[test]
    fn modes_beyond_permissions_and_wild_times_are_refused() {
        let mut entry = file();
        entry.mode = 0o4_755;
        assert!(!entry.is_valid());
        let mut entry = file();
        entry.mtime.nanos = 1_000_000_000;
        assert!(!entry.is_valid());
    }

    #[test]
    fn every_truncation_and_every_extra_byte_is_refused() {
        let entry = file();
        let (identity, location) = (entry.identity(), entry.location());
        for end in 0..identity.len() {
            assert!(Entry::decode(&identity[..end], &location).is_err());
        }
        for end in 0..location.len() {
            assert!(Entry::decode(&identity, &location[..end]).is_err());
        }
        let longer = [&identity[..], &[0]].concat();
        assert!(Entry::decode(&longer, &location).is_err());
    }

    #[test]
    fn the_hash_of_a_chunk_list_is_pinned() {
        // Golden: SPEC 8.5.
        let mut list = ChunkList::default();
        list.push(&Hash([1; 32]));
        list.push(&Hash([2; 32]));
        let expected = "8da329f5a371917fdc580a609a7ed4bcb38913e409f682d1127dc330521a4c67";
        assert_eq!(list.finish().to_string(), expected);
    }

    #[test]
    fn zigzag_is_reversible() {
        for value in [0, 1, -1, 2, i64::MIN, i64::MAX] {
            assert_eq!(unzigzag(zigzag(value)), value);
        }
        assert_eq!([zigzag(0), zigzag(-1), zigzag(1)], [0, 1, 2]);
    }
}
