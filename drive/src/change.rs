//! A change: one atomic batch of puts and deletes, and the index of everything after it.
//!
//! ```text
//! 0x82 | number | parents | feeds | namespaces | ops | counts | time | message | skips   SPEC 8.3
//! parents     count, count × (slot | position | version id 32)
//! feeds       count, count × (key 32 | role u8 | fork | length | byte length | root 32)
//! namespaces  count, count × (name | root node)
//! ops         0 when they are too long, else 1, count, count × (path | 0 or 1 identity location)
//! counts      files | directories | symlinks | bytes | put | deleted
//! time        seconds (zigzag) | nanos
//! ```
//!
//! Integers are varints unless said otherwise; names, paths, nodes, parts and the message are
//! length-prefixed bytes. The block's BLAKE3 is the version id.

use alloc::{string::String, vec::Vec};

use datnode_feed::{
    Hash, PublicKey,
    codec::{DecodeError, Reader, Writer},
};

use crate::{
    blocks::kind,
    entry::{Entry, Kind, Mtime, position, unzigzag, zigzag},
    history::Skips,
    limits::{
        ENTRY_BYTES_MAX, FEEDS_MAX, INLINE_OPS_BYTES_MAX, MESSAGE_BYTES_MAX, NAME_BYTES_MAX,
        NAMESPACES_MAX, NODE_BYTES_MAX, PARENTS_MAX, PATH_BYTES_MAX,
    },
    path::DrivePath,
};

/// The namespace of file names.
pub const FILES: &[u8] = b"files";

/// One step of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Sets what is under a path.
    Put(DrivePath, Entry),
    /// Removes what is under a path.
    Delete(DrivePath),
}

/// What a feed of the table is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Chunks of files.
    Content,
    /// Changes, of another writer.
    Changes,
}

/// A feed that a change refers to, at a certain length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedRef {
    /// The feed's public key.
    pub key: PublicKey,
    /// What it is for.
    pub role: Role,
    /// The fork the length belongs to.
    pub fork: u64,
    /// How many blocks of it belong to this version.
    pub length: u64,
    /// How many bytes these blocks have.
    pub byte_length: u64,
    /// The root hash over them: its blocks verify against this.
    pub root: Hash,
}

/// The version a change was made on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// The changes feed it is in: 0 is this one.
    pub slot: u16,
    /// The position of its block.
    pub position: u64,
    /// Its version id.
    pub version: Hash,
}

/// The root of one index, which lies inside of the change block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// What the index is of.
    pub namespace: Vec<u8>,
    /// The node, encoded like a block of its own.
    pub node: Vec<u8>,
}

/// How much a version holds, and how much its change did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Files in this version.
    pub files: u64,
    /// Folders in this version.
    pub directories: u64,
    /// Symbolic links in this version.
    pub symlinks: u64,
    /// Bytes of all files of this version.
    pub bytes: u64,
    /// Entries set by this change.
    pub put: u64,
    /// Entries removed by this change.
    pub deleted: u64,
}

/// What a change block says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// 1, 2, 3 …; 0 is the header, the empty drive.
    pub number: u64,
    /// The versions this one was made on; the first is the one its number follows.
    pub parents: Vec<Parent>,
    /// The feeds of slots 1, 2, …; a slot never changes its meaning.
    pub feeds: Vec<FeedRef>,
    /// The indexes.
    pub roots: Vec<Root>,
    /// The batch itself, unless it is longer than 16 KiB.
    pub ops: Option<Vec<Op>>,
    /// Totals.
    pub counts: Counts,
    /// When the change was made, as the writer says.
    pub time: Mtime,
    /// What the writer says about it.
    pub message: String,
    /// Pointers to earlier changes.
    pub skips: Skips,
}

impl Op {
    /// Returns the path it is about.
    pub const fn path(&self) -> &DrivePath {
        match self {
            Self::Put(path, _) | Self::Delete(path) => path,
        }
    }

    /// Returns how many bytes it has in a batch that is part of a change. SPEC 8.3
    pub(crate) fn encoded_len(&self, change: u64) -> usize {
        let mut out = Writer::new();
        self.encode(change, &mut out);
        out.as_slice().len()
    }

    /// Appends it as a batch has it; an entry as one that `change` set.
    pub fn encode(&self, change: u64, out: &mut Writer) {
        out.bytes(self.path().as_bytes());
        match self {
            Self::Delete(_) => {
                out.u8(0);
            }
            Self::Put(_, entry) => {
                out.u8(1);
                out.bytes(&entry.identity());
                out.bytes(&entry.location_in(change));
            }
        }
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// What it is not.
    pub fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let path = DrivePath::from_bytes(input.bytes(PATH_BYTES_MAX)?)
            .ok()
            .filter(|path| !path.is_root())
            .ok_or(DecodeError::Invalid("path"))?;
        match input.u8()? {
            0 => Ok(Self::Delete(path)),
            1 => {
                let identity = input.bytes(ENTRY_BYTES_MAX)?;
                let location = input.bytes(ENTRY_BYTES_MAX)?;
                Ok(Self::Put(path, Entry::decode(identity, location)?))
            }
            _ => Err(DecodeError::Invalid("kind of op")),
        }
    }
}

impl FeedRef {
    fn encode(&self, out: &mut Writer) {
        out.raw(self.key.as_bytes());
        out.u8(match self.role {
            Role::Content => 0,
            Role::Changes => 1,
        });
        out.varint(self.fork);
        out.varint(self.length);
        out.varint(self.byte_length);
        out.hash(&self.root);
    }

    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            key: PublicKey::from_bytes(input.array()?)
                .map_err(|_| DecodeError::Invalid("feed key"))?,
            role: match input.u8()? {
                0 => Role::Content,
                1 => Role::Changes,
                _ => return Err(DecodeError::Invalid("role of a feed")),
            },
            fork: input.varint()?,
            length: position(input)?,
            byte_length: position(input)?,
            root: input.hash()?,
        })
    }
}

/// Returns whether all blocks of an entry belong to content feeds of the table. SPEC 8.5
pub(crate) fn covers(feeds: &[FeedRef], entry: &Entry) -> bool {
    entry.extents.iter().all(|extent| {
        let feed = usize::from(extent.slot).checked_sub(1).and_then(|index| feeds.get(index));
        feed.is_some_and(|feed| {
            feed.role == Role::Content
                && extent.first_block + extent.count <= feed.length
                && extent.first_byte + extent.bytes <= feed.byte_length
        })
    })
}

impl Parent {
    fn encode(&self, out: &mut Writer) {
        out.varint(u64::from(self.slot));
        out.varint(self.position);
        out.hash(&self.version);
    }

    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let slot = u16::try_from(input.varint()?).map_err(|_| DecodeError::Invalid("slot"))?;
        Ok(Self { slot, position: position(input)?, version: input.hash()? })
    }
}

impl Root {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let namespace = input.bytes(NAME_BYTES_MAX)?.to_vec();
        Ok(Self { namespace, node: input.bytes(NODE_BYTES_MAX)?.to_vec() })
    }
}

impl Counts {
    /// Counts an entry in, or out.
    pub(crate) fn count(&mut self, kind: Kind, size: u64, add: bool) {
        let adjust = |total: &mut u64, by: u64| {
            *total = if add { total.saturating_add(by) } else { total.saturating_sub(by) };
        };
        match kind {
            Kind::File => {
                adjust(&mut self.files, 1);
                adjust(&mut self.bytes, size);
            }
            Kind::Symlink => adjust(&mut self.symlinks, 1),
            Kind::Directory => adjust(&mut self.directories, 1),
        }
    }

    const fn all(&self) -> [u64; 6] {
        [self.files, self.directories, self.symlinks, self.bytes, self.put, self.deleted]
    }
}

impl Change {
    /// Returns the feed of a slot; slot 0, the changes feed itself, is not in the table.
    pub fn feed(&self, slot: u16) -> Option<&FeedRef> {
        self.feeds.get(usize::from(slot).checked_sub(1)?)
    }

    /// Returns the root node of a namespace.
    pub fn root(&self, namespace: &[u8]) -> Option<&[u8]> {
        let root = self.roots.iter().find(|root| root.namespace == namespace)?;
        Some(&root.node)
    }

    /// Returns the change as a block. SPEC 8.3
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.u8(kind::CHANGE);
        out.varint(self.number);
        write_list(&mut out, &self.parents, |parent, out| parent.encode(out));
        write_list(&mut out, &self.feeds, |feed, out| feed.encode(out));
        write_list(&mut out, &self.roots, |root, out| {
            out.bytes(&root.namespace);
            out.bytes(&root.node);
        });
        match &self.ops {
            None => {
                out.u8(0);
            }
            Some(ops) => {
                out.u8(1);
                write_list(&mut out, ops, |op, out| op.encode(self.number, out));
            }
        }
        for count in self.counts.all() {
            out.varint(count);
        }
        out.varint(zigzag(self.time.seconds));
        out.varint(u64::from(self.time.nanos));
        out.bytes(self.message.as_bytes());
        self.skips.encode(&mut out);
        out.into_vec()
    }

    /// Decodes a change block. SPEC 8.3
    pub(crate) fn decode(block: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Reader::new(block);
        if input.u8()? != kind::CHANGE {
            return Err(DecodeError::Invalid("kind of block"));
        }
        let number = position(&mut input)?;
        let parents = read_list(&mut input, PARENTS_MAX, Parent::decode)?;
        let feeds = read_list(&mut input, FEEDS_MAX, FeedRef::decode)?;
        let roots = read_list(&mut input, NAMESPACES_MAX, Root::decode)?;
        let ops = match input.u8()? {
            0 => None,
            // An op takes at least three bytes.
            1 => Some(read_list(&mut input, INLINE_OPS_BYTES_MAX / 3, Op::decode)?),
            _ => return Err(DecodeError::Invalid("ops")),
        };
        let mut counts = [0; 6];
        for count in &mut counts {
            *count = input.varint()?;
        }
        let [files, directories, symlinks, bytes, put, deleted] = counts;
        let counts = Counts { files, directories, symlinks, bytes, put, deleted };
        let seconds = unzigzag(input.varint()?);
        let nanos = u32::try_from(input.varint()?).unwrap_or(u32::MAX);
        let message = core::str::from_utf8(input.bytes(MESSAGE_BYTES_MAX)?)
            .map_err(|_| DecodeError::Invalid("message"))?
            .into();
        let skips = Skips::decode(&mut input, number)?;
        input.end()?;
        if number == 0 || parents.is_empty() || nanos >= 1_000_000_000 {
            return Err(DecodeError::Invalid("change"));
        }
        if ops.as_ref().is_some_and(|ops| !is_batch(ops, &feeds)) {
            return Err(DecodeError::Invalid("batch"));
        }
        let time = Mtime { seconds, nanos };
        Ok(Self { number, parents, feeds, roots, ops, counts, time, message, skips })
    }
}

/// Returns whether ops are sorted by key, each path once, with blocks of the table. SPEC 8.3
fn is_batch(ops: &[Op], feeds: &[FeedRef]) -> bool {
    let is_within = |op: &Op| match op {
        Op::Put(_, entry) => covers(feeds, entry),
        Op::Delete(_) => true,
    };
    ops.is_sorted_by(|a, b| a.path().key() < b.path().key()) && ops.iter().all(is_within)
}

fn write_list<T>(out: &mut Writer, items: &[T], write: impl Fn(&T, &mut Writer)) {
    out.varint(u64::try_from(items.len()).unwrap_or(u64::MAX));
    for item in items {
        write(item, out);
    }
}

/// Reads a list whose count is checked before anything is allocated.
fn read_list<T>(
    input: &mut Reader<'_>,
    limit: usize,
    read: impl Fn(&mut Reader<'_>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let count = input.varint()?;
    if count > u64::try_from(limit).unwrap_or(u64::MAX) {
        return Err(DecodeError::TooLong(limit));
    }
    (0..count).map(|_| read(input)).collect()
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    fn change(ops: Vec<Op>) -> Change {
        let parent = Parent { slot: 0, position: 0, version: Hash([0; 32]) };
        Change {
            number: 1,
            parents: vec![parent],
            ops: Some(ops),
            skips: Skips::default().of_next(0, 0),
            ..Change::default()
        }
    }

    #[test]
    fn batches_out_of_order_or_outside_of_the_table_are_refused() {
        let path = |text: &str| DrivePath::from_bytes(text).unwrap();
        let [a, b] = [Op::Delete(path("a")), Op::Delete(path("b"))];
        let sound = change(vec![a.clone(), b.clone()]);
        assert_eq!(Change::decode(&sound.encode()), Ok(sound));
        let mut entry = Entry::directory(0o644, Mtime::default());
        entry.kind = Kind::File;
        entry.size = 1;
        entry.change = 1;
        entry.extents =
            vec![crate::Extent { slot: 1, first_block: 0, count: 1, first_byte: 0, bytes: 1 }];
        for ops in [vec![b, a.clone()], vec![a.clone(), a], vec![Op::Put(path("f"), entry)]] {
            let refused = Change::decode(&change(ops).encode());
            assert_eq!(refused, Err(DecodeError::Invalid("batch")));
        }
    }
}
