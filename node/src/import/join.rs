//! Stores stretches of a file anew where it is made of too many runs that are too short: then its entry always fits, and whoever reads
//! it seeks little. SPEC 8.5-6
//!
//! Which stretches is `drive`'s to say. Their bytes come from the file, which is read again there; if it is not as it was, it changed.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use datnode_drive::{Extent, Location};
use datnode_feed::{BlockIndex, FeedSlot, InPlace, Node, Storage, Store, leaf};

use super::Keep;
use super::file::{SLOT, Source, Taker, Taking};
use crate::disk::beneath::Beneath;
use crate::error::Error;

impl Taker {
    /// Stores the stretches of a file that are made of too short runs anew, each as one run. `each` is called with each chunk.
    pub(super) fn join<S: Storage>(
        &mut self,
        store: &mut Store<S>,
        content: FeedSlot,
        file: &mut Taking,
        source: Source<'_>,
        each: &mut impl FnMut(&mut Store<S>, &Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let stretches = file.builder.short_stretches(store.appended(content));
        if stretches.is_empty() {
            return Ok(());
        }
        let Some(bytes) = Bytes::open(self.keep, source) else {
            file.changed = true;
            return Ok(());
        };
        let (mut at, mut offset, mut joined) = (0, 0, Vec::with_capacity(stretches.len()));
        for stretch in stretches {
            let extents = file.builder.extents();
            offset += extents[at..stretch.start].iter().map(|extent| extent.bytes).sum::<u64>();
            at = stretch.end;
            let (block, first_byte) = store.appended(content);
            let mut last = None;
            for block in extents[stretch.clone()].iter().flat_map(Extent::blocks) {
                let node = store.leaf(content, BlockIndex(block)).map_err(Error::store)?;
                let node = node.ok_or_else(|| Error::verify("a leaf of a writer's own is lost"))?;
                let Some(chunk) = bytes.read(offset, node) else {
                    file.changed = true;
                    return Ok(());
                };
                let at = InPlace { path: source.path, offset };
                let block = self.append(store, content, &chunk, node, at)?;
                if last.replace(node) != Some(node) {
                    self.chunks.insert(&node.hash, block);
                }
                offset += node.size;
                each(store, self)?;
            }
            joined.push((stretch, Location { slot: SLOT, block: BlockIndex(block) }, first_byte));
        }
        file.builder.join(&joined);
        file.settle_last();
        Ok(())
    }
}

/// Where the bytes of a file come from that is stored anew.
enum Bytes {
    File(File),
    /// They stay where they are.
    Unread,
}

impl Bytes {
    /// Opens the file, if it is still there.
    fn open(keep: Keep, source: Source<'_>) -> Option<Self> {
        match keep {
            Keep::InPlace => Some(Self::Unread),
            Keep::History => {
                let file = Beneath::open(source.root).and_then(|root| root.file(source.path));
                file.ok().map(|(file, _)| Self::File(file))
            }
        }
    }

    /// Reads a chunk, if it is still what it was.
    fn read(&self, offset: u64, node: Node) -> Option<Vec<u8>> {
        let Self::File(file) = self else { return Some(Vec::new()) };
        let mut bytes = vec![0; usize::try_from(node.size).ok()?];
        file.read_exact_at(&mut bytes, offset).ok()?;
        (leaf(&bytes) == node).then_some(bytes)
    }
}
