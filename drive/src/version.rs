//! A drive at one of its changes: look up, list, walk, and find other versions.

use alloc::{collections::BTreeMap, vec, vec::Vec};

use datnode_feed::{BlockIndex, Hash};

use crate::{
    blocks::{Blocks, fetch, kind},
    change::{Change, FILES, covers},
    entry::Entry,
    error::{Damage, Location, ReadError, Reading, Step, done},
    index::{
        lookup::{IndexRoot, lookup},
        node::empty_node,
        scan::{Page, reachable, scan},
    },
    limits::{NEED_BLOCKS_MAX, SKIPPED_BLOCKS_MAX},
    path::{DrivePath, Key, path_of_key},
};

/// A drive at one of its changes.
///
/// Invariant: `id` is the BLAKE3 of the block at `position`, which `change` was decoded from;
/// change 0 is the header, the empty drive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The number of the change.
    pub number: u64,
    /// The BLAKE3 of the change block: the same version everywhere.
    pub id: Hash,
    /// Where the change is in the changes feed.
    pub position: BlockIndex,
    /// What the change says.
    pub change: Change,
}

impl Version {
    /// Opens the version whose change is at `position`; the latest is at the feed's length − 1.
    ///
    /// Blocks of unknown kinds that may be passed over are. SPEC 8.2
    pub fn open<B: Blocks>(blocks: &B, position: BlockIndex) -> Reading<Self, B::Error> {
        for back in 0..=SKIPPED_BLOCKS_MAX {
            let Some(at) = position.0.checked_sub(back) else {
                break;
            };
            let location = Location::changes(BlockIndex(at));
            let Some(block) = blocks.block(location).map_err(ReadError::Source)? else {
                return Ok(Step::Need(vec![location]));
            };
            let is_optional = block.first().is_some_and(|&found| found & kind::REQUIRED == 0);
            if !is_optional {
                drop(block);
                return Self::load(blocks, BlockIndex(at));
            }
        }
        Err(ReadError::damaged(Location::changes(position), Damage::NoChange))
    }

    /// Reads the change at exactly this position.
    fn load<B: Blocks>(blocks: &B, position: BlockIndex) -> Reading<Self, B::Error> {
        let at = Location::changes(position);
        let expected = if position.0 == 0 { kind::HEADER } else { kind::CHANGE };
        let Some(block) = fetch(blocks, at, expected)? else {
            return Ok(Step::Need(vec![at]));
        };
        let id = Hash::of(&block);
        let change = if position.0 == 0 {
            Change::default()
        } else {
            Change::decode(&block).map_err(|error| ReadError::damaged(at, error))?
        };
        Ok(Step::Done(Self { number: change.number, id, position, change }))
    }

    /// Reads an earlier change to which this one points.
    fn earlier<B: Blocks>(
        &self,
        blocks: &B,
        number: u64,
        position: u64,
    ) -> Reading<Self, B::Error> {
        let own = Location::changes(self.position);
        if position >= self.position.0 {
            return Err(ReadError::damaged(own, Damage::Forward));
        }
        let version = done!(Self::load(blocks, BlockIndex(position)));
        if version.number != number {
            return Err(ReadError::damaged(own, Damage::WrongNumber));
        }
        Ok(Step::Done(version))
    }

    /// Finds the version of a number by the skip pointers, in about log₁₆ n reads; none if it is
    /// later than this one.
    ///
    /// A step that needs a block is taken anew from here; the blocks read so far are few. SPEC 8.3
    pub fn find<B: Blocks>(&self, blocks: &B, number: u64) -> Reading<Option<Self>, B::Error> {
        if number > self.number {
            return Ok(Step::Done(None));
        }
        let mut version = self.clone();
        while version.number != number {
            let pointer = version.change.skips.toward(version.number, number);
            let Some((nearer, position)) = pointer else {
                let at = Location::changes(version.position);
                return Err(ReadError::damaged(at, Damage::WrongNumber));
            };
            version = done!(version.earlier(blocks, nearer, position));
        }
        Ok(Step::Done(Some(version)))
    }

    /// Returns where all earlier changes are, in ascending order.
    ///
    /// While some are missing it needs all that are known to be missing: the skip pointers fan out, so that few steps
    /// suffice. Each call starts anew. SPEC 8.3
    pub fn history<B: Blocks>(&self, blocks: &B) -> Reading<Vec<Location>, B::Error> {
        self.history_since(blocks, 0)
    }

    /// Does the same of the changes since number `first`.
    pub fn history_since<B: Blocks>(
        &self,
        blocks: &B,
        first: u64,
    ) -> Reading<Vec<Location>, B::Error> {
        let mut seen: BTreeMap<u64, u64> = BTreeMap::new();
        let (mut next, mut need) = (vec![self.clone()], Vec::new());
        while let Some(version) = next.pop() {
            for (number, position) in version.change.skips.all(version.number) {
                if number < first || seen.insert(number, position).is_some() {
                    continue;
                }
                match version.earlier(blocks, number, position)? {
                    Step::Done(earlier) => next.push(earlier),
                    Step::Need(missing) => need.extend(missing),
                }
            }
        }
        if !need.is_empty() {
            need.truncate(NEED_BLOCKS_MAX);
            return Ok(Step::Need(need));
        }
        let positions = seen.into_values().map(|position| Location::changes(BlockIndex(position)));
        Ok(Step::Done(positions.collect()))
    }

    /// Returns the version this one was made on; none for the empty drive.
    pub fn previous<B: Blocks>(&self, blocks: &B) -> Reading<Option<Self>, B::Error> {
        let (Some(parent), Some(number)) =
            (self.change.parents.first(), self.number.checked_sub(1))
        else {
            return Ok(Step::Done(None));
        };
        let own = Location::changes(self.position);
        if parent.slot != 0 {
            return Err(ReadError::damaged(own, Damage::Foreign));
        }
        let version = done!(self.earlier(blocks, number, parent.position));
        if version.id != parent.version {
            return Err(ReadError::damaged(own, Damage::WrongIdentity));
        }
        Ok(Step::Done(Some(version)))
    }

    /// Returns what is under a path; none for the root, which has no entry.
    pub fn entry<B: Blocks>(
        &self,
        blocks: &B,
        path: &DrivePath,
    ) -> Reading<Option<Entry>, B::Error> {
        match self.files() {
            Some(root) if !path.is_root() => {
                let entry: Option<Entry> = done!(lookup(blocks, root, path.key().as_bytes()));
                entry.map(|entry| self.check(entry)).transpose().map(Step::Done)
            }
            _ => Ok(Step::Done(None)),
        }
    }

    /// Lists a folder in the order of the names' bytes: at most `limit` names behind `after`.
    pub fn list<B: Blocks>(
        &self,
        blocks: &B,
        folder: &DrivePath,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Reading<Vec<(Vec<u8>, Entry)>, B::Error> {
        let Some(root) = self.files() else {
            return Ok(Step::Done(Vec::new()));
        };
        let prefix = folder.listing_prefix();
        let mut lower = prefix.clone();
        lower.extend_from_slice(after.unwrap_or_default());
        let page = Page { prefix: &prefix, after: &lower, limit };
        let entries = done!(scan(blocks, root, page));
        let named = entries.into_iter().map(|(key, entry)| {
            let path = self.path(&key)?;
            Ok((path.base().unwrap_or_default().to_vec(), self.check(entry)?))
        });
        named.collect::<Result<_, _>>().map(Step::Done)
    }

    /// Lists everything in the order of the keys: at most `limit` entries behind `after`. A folder
    /// comes before what is in it.
    pub fn walk<B: Blocks>(
        &self,
        blocks: &B,
        after: Option<&Key>,
        limit: usize,
    ) -> Reading<Vec<(DrivePath, Entry)>, B::Error> {
        self.page(blocks, &[], after, limit)
    }

    /// Does the same for what is in the folders in a folder, whether they have entries or not; what
    /// is in the folder itself is [listed](Self::list).
    pub fn walk_deeper<B: Blocks>(
        &self,
        blocks: &B,
        folder: &DrivePath,
        after: Option<&Key>,
        limit: usize,
    ) -> Reading<Vec<(DrivePath, Entry)>, B::Error> {
        // Their keys are the only ones that begin so. SPEC 8.1
        let mut prefix = folder.as_bytes().to_vec();
        prefix.push(b'/');
        self.page(blocks, &prefix, after, limit)
    }

    fn page<B: Blocks>(
        &self,
        blocks: &B,
        prefix: &[u8],
        after: Option<&Key>,
        limit: usize,
    ) -> Reading<Vec<(DrivePath, Entry)>, B::Error> {
        let Some(root) = self.files() else {
            return Ok(Step::Done(Vec::new()));
        };
        let after = after.map(Key::as_bytes).unwrap_or_default();
        let entries = done!(scan(blocks, root, Page { prefix, after, limit }));
        let named =
            entries.into_iter().map(|(key, entry)| Ok((self.path(&key)?, self.check(entry)?)));
        named.collect::<Result<_, _>>().map(Step::Done)
    }

    /// Returns every block of the changes feed that this version's indexes of names and tags need, the
    /// change itself included, in ascending order.
    ///
    /// While upper blocks are missing it needs all that are known to be missing, so that a clone
    /// asks for the index a level at a time. Each call walks the index anew: ask again when all of
    /// them are here.
    pub fn needed<B: Blocks>(&self, blocks: &B) -> Reading<Vec<Location>, B::Error> {
        self.needed_from(blocks, 0)
    }

    /// Does the same of what an earlier version of the drive does not need: an index is not walked where it is the same.
    pub fn needed_beyond<B: Blocks>(
        &self,
        blocks: &B,
        earlier: &Self,
    ) -> Reading<Vec<Location>, B::Error> {
        self.needed_from(blocks, earlier.position.0)
    }

    fn needed_from<B: Blocks>(&self, blocks: &B, from: u64) -> Reading<Vec<Location>, B::Error> {
        let mut all = Vec::new();
        let mut need = Vec::new();
        for root in [self.files(), self.tags_root()].into_iter().flatten() {
            match reachable(blocks, root, from)? {
                Step::Done(mut found) => all.append(&mut found),
                Step::Need(mut missing) => need.append(&mut missing),
            }
        }
        if !need.is_empty() {
            return Ok(Step::Need(need));
        }
        all.push(Location::changes(self.position));
        all.sort_unstable();
        all.dedup();
        Ok(Step::Done(all))
    }

    /// Lets an entry out only if its blocks are in the feeds this change names. SPEC 8.5
    pub(crate) fn check<E>(&self, entry: Entry) -> Result<Entry, ReadError<E>> {
        if covers(&self.change.feeds, &entry) {
            return Ok(entry);
        }
        Err(ReadError::damaged(Location::changes(self.position), Damage::OutsideFeeds))
    }

    pub(crate) fn path<E>(&self, key: &[u8]) -> Result<DrivePath, ReadError<E>> {
        let at = Location::changes(self.position);
        path_of_key(key).map_err(|error| ReadError::damaged(at, error))
    }

    pub(crate) fn key<E>(&self, key: &[u8]) -> Result<Key, ReadError<E>> {
        let at = Location::changes(self.position);
        Key::from_bytes(key).map_err(|error| ReadError::damaged(at, error))
    }

    fn files(&self) -> Option<IndexRoot<'_>> {
        Some(IndexRoot { node: self.change.root(FILES)?, at: self.position })
    }

    /// Returns the root node of the file names, empty for the empty drive.
    pub(crate) fn files_node(&self) -> Vec<u8> {
        self.change.root(FILES).map_or_else(empty_node, <[u8]>::to_vec)
    }
}
