//! Tags: names of versions, in an index of their own.
//!
//! ```text
//! key        the name                                             SPEC 8.9
//! identity   version id (32)
//! location   slot | position | number | seconds (zigzag) | nanos
//! ```
//!
//! Integers are varints. What the location says of the version is a copy, so that a list of tags costs no reads of changes; it is
//! held against the change when the version is opened.

use alloc::vec::Vec;

use datnode_feed::{
    BlockIndex, Hash,
    codec::{DecodeError, Reader, Writer},
};

use crate::{
    blocks::Blocks,
    entry::{Mtime, position, unzigzag, zigzag},
    error::{Damage, Location, ReadError, Reading, Step, done},
    index::{
        compare::{Compared, compare},
        lookup::{IndexRoot, lookup},
        node::{Item, Place, check_pointer, empty_node},
        scan::{Page, scan},
        value::Indexed,
    },
    tag_name::TagName,
    version::Version,
};

/// The namespace of tags.
pub const TAGS: &[u8] = b"tags";

/// What a tag says of its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// The version's id.
    pub version: Hash,
    /// The number of its change.
    pub number: u64,
    /// Where the change is in the changes feed.
    pub position: BlockIndex,
    /// When the change was made, as the writer says.
    pub time: Mtime,
}

/// One step of a change about tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagOp {
    /// Makes a tag name a version, whatever it named before.
    Set(TagName, Tag),
    /// Removes a tag.
    Delete(TagName),
}

/// A tag that two versions of a drive have differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagDifference {
    /// Its name.
    pub name: TagName,
    /// What it names in the old version.
    pub old: Option<Tag>,
    /// What it names in the new one.
    pub new: Option<Tag>,
}

/// Some differences, in the order of the names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TagPage {
    /// The differences; perhaps none, though there is a next page.
    pub differences: Vec<TagDifference>,
    /// Behind which name the next page begins; none if this is the last one.
    pub next: Option<TagName>,
}

impl Tag {
    /// Returns what a tag of a version says.
    pub const fn of(version: &Version) -> Self {
        let Version { number, id, position, change } = version;
        Self { version: *id, number: *number, position: *position, time: change.time }
    }

    /// Returns the encoded identity part. SPEC 8.9
    pub(crate) fn identity(&self) -> Vec<u8> {
        self.version.0.to_vec()
    }

    /// Returns the encoded location part. SPEC 8.9
    pub(crate) fn location(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.varint(0);
        out.varint(self.position.0);
        out.varint(self.number);
        out.varint(zigzag(self.time.seconds));
        out.varint(u64::from(self.time.nanos));
        out.into_vec()
    }

    /// Decodes both parts, of a leaf at `own`. SPEC 8.9
    pub(crate) fn decode(
        own: BlockIndex,
        identity: &[u8],
        location: &[u8],
    ) -> Result<Self, Damage> {
        let version = Hash(identity.try_into().map_err(|_| Damage::WrongIdentity)?);
        let mut input = Reader::new(location);
        let slot = u16::try_from(input.varint()?).map_err(|_| Damage::Foreign)?;
        let at = BlockIndex(position(&mut input)?);
        check_pointer(own, Location { slot, block: at })?;
        let number = position(&mut input)?;
        let seconds = unzigzag(input.varint()?);
        let nanos = u32::try_from(input.varint()?).unwrap_or(u32::MAX);
        input.end()?;
        if nanos >= 1_000_000_000 {
            return Err(DecodeError::Invalid("nanoseconds").into());
        }
        Ok(Self { version, number, position: at, time: Mtime { seconds, nanos } })
    }
}

impl Indexed for Tag {
    fn resolve<B: Blocks>(_: &B, own: BlockIndex, item: Item<'_>) -> Reading<Self, B::Error> {
        let tag = match item.place {
            Place::Inline(location) => Self::decode(own, item.identity, location),
            // A tag is short: none has a block of its own.
            Place::At(_) => Err(DecodeError::Invalid("place of a tag").into()),
        };
        tag.map(Step::Done).map_err(|damage| ReadError::damaged(Location::changes(own), damage))
    }
}

impl TagOp {
    /// Returns the name it is about.
    pub const fn name(&self) -> &TagName {
        match self {
            Self::Set(name, _) | Self::Delete(name) => name,
        }
    }
}

impl Version {
    /// Returns what a tag names, as this version has it.
    pub fn tag<B: Blocks>(&self, blocks: &B, name: &TagName) -> Reading<Option<Tag>, B::Error> {
        match self.tags_root() {
            Some(root) => lookup(blocks, root, name.as_str().as_bytes()),
            None => Ok(Step::Done(None)),
        }
    }

    /// Lists the tags in the order of their names' bytes: at most `limit` behind `after`.
    pub fn tags<B: Blocks>(
        &self,
        blocks: &B,
        after: Option<&TagName>,
        limit: usize,
    ) -> Reading<Vec<(TagName, Tag)>, B::Error> {
        let Some(root) = self.tags_root() else {
            return Ok(Step::Done(Vec::new()));
        };
        let after = after.map_or("", TagName::as_str).as_bytes();
        let found = done!(scan(blocks, root, Page { prefix: &[], after, limit }));
        let named = found.into_iter().map(|(key, tag)| Ok((self.tag_name(&key)?, tag)));
        named.collect::<Result<_, _>>().map(Step::Done)
    }

    /// Opens the version that a tag of this one names. SPEC 8.9
    pub fn tagged<B: Blocks>(&self, blocks: &B, tag: &Tag) -> Reading<Self, B::Error> {
        let version = done!(Self::open(blocks, tag.position));
        if Tag::of(&version) == *tag {
            return Ok(Step::Done(version));
        }
        Err(ReadError::damaged(Location::changes(self.position), Damage::WrongIdentity))
    }

    /// Returns what `newer`, a version of the same drive, did to the tags: at most `limit` behind `after`. A tag differs if it names
    /// another version.
    ///
    /// What both have alike is passed over unread, as [`diff`](crate::diff()) does. Each call starts anew.
    pub fn tags_changed<B: Blocks>(
        &self,
        newer: &Self,
        blocks: &B,
        after: Option<&TagName>,
        limit: usize,
    ) -> Reading<TagPage, B::Error> {
        let nodes = [self.tags_node(), newer.tags_node()];
        let [old, new] = &nodes;
        let old = IndexRoot { node: old, at: self.position };
        let new = IndexRoot { node: new, at: newer.position };
        let after = after.map_or("", TagName::as_str).as_bytes();
        let compared = compare((blocks, old), (blocks, new), after, limit);
        let Compared { found, next, need } = compared.map_err(|(_, error)| error)?;
        let need = need.concat();
        if !need.is_empty() {
            return Ok(Step::Need(need));
        }
        let differences = found
            .into_iter()
            .map(|(key, [old, new])| Ok(TagDifference { name: newer.tag_name(&key)?, old, new }));
        let differences = differences.collect::<Result<_, _>>()?;
        let next = next.map(|key| newer.tag_name(&key)).transpose()?;
        Ok(Step::Done(TagPage { differences, next }))
    }

    fn tag_name<E>(&self, key: &[u8]) -> Result<TagName, ReadError<E>> {
        let at = Location::changes(self.position);
        TagName::from_bytes(key).map_err(|error| ReadError::damaged(at, error))
    }

    pub(crate) fn tags_root(&self) -> Option<IndexRoot<'_>> {
        Some(IndexRoot { node: self.change.root(TAGS)?, at: self.position })
    }

    /// Returns the root node of the tags, empty where there are none.
    pub(crate) fn tags_node(&self) -> Vec<u8> {
        self.change.root(TAGS).map_or_else(empty_node, <[u8]>::to_vec)
    }
}
