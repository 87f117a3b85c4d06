//! Looks at what is in the working folder, and judges what may become of it.

use std::io::{self, Read};
use std::sync::Arc;

use datnode_drive::{ChunkList, Chunker, ChunkerParams, Entry, Kind, SafePath};
use datnode_feed::{Storage, leaf};

use super::earlier::Was;
use super::index::Index;
use super::target::{Folder, Reading, There};
use super::{FolderOf, Others, way};

/// What is to become of what is at a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing is there.
    Free,
    /// It is what is wanted, but for its mode and time if it is `undressed`.
    Right { undressed: bool },
    /// It may be replaced by a rename; `file`: blocks may live in it.
    Replace { file: bool },
    /// It must be taken away first.
    Clear,
    /// It is the user's.
    Dirty,
}

/// The working folder, and what may be done in it.
pub(super) struct Ground {
    pub(super) folder: Arc<Folder>,
    pub(super) of: FolderOf,
    /// Whether files that look as they were left are whole; else their bytes are looked at.
    pub(super) trust: bool,
    /// Whether nothing but the store was there when it was first looked: then nothing is looked for.
    pub(super) empty: bool,
}

impl Ground {
    /// Judges what is at a name, where `was` is what was put there before.
    pub(super) fn look_at<S: Storage>(
        &self,
        path: &SafePath,
        entry: &Entry,
        was: &[Was],
        index: &Index<'_, S>,
    ) -> Verdict {
        if self.empty {
            return Verdict::Free;
        }
        let there = self.folder.look(path.as_bytes());
        there.map_or(Verdict::Free, |there| self.judge(path, entry, was, &there, index))
    }

    fn judge<S: Storage>(
        &self,
        path: &SafePath,
        entry: &Entry,
        was: &[Was],
        there: &There,
        index: &Index<'_, S>,
    ) -> Verdict {
        let name = path.as_bytes();
        let wanted = Was::from(entry);
        let left: Vec<&Was> = was.iter().filter(|was| was.is_still(there)).collect();
        match entry.kind {
            Kind::File if there.file => {
                let has_bytes =
                    |was: &&Was| matches!(was, Was::File { chunks, .. } if *chunks == entry.chunks);
                // A run that a power cut ended may leave a file with the right size and time, and other bytes.
                let known = || left.iter().any(has_bytes) && index.holds(entry);
                // As an earlier version left it, and not as this one would: it need not be read.
                let other = self.trust
                    && !left.is_empty()
                    && !left.iter().any(has_bytes)
                    && !wanted.is_still(there);
                // What a commit names it made durable first; of anything else the system may remember bytes that a sync lost.
                let reading = || match index.holds(entry) {
                    true => Reading::Cached,
                    false => Reading::Uncached,
                };
                let same = || {
                    !other && there.size == entry.size && self.folder.equals(name, entry, reading())
                };
                if self.trust && known() || same() {
                    return Verdict::Right { undressed: !self.folder.is_dressed(there, entry) };
                }
            }
            Kind::Symlink | Kind::Directory if wanted.is_still(there) => {
                return Verdict::Right { undressed: false };
            }
            _ => {}
        }
        // Nothing of the user's is deleted with a folder, whatever was said.
        if there.directory {
            let empty_but_ours = way::is_ours(&self.folder, name, index).unwrap_or(false);
            return if empty_but_ours { Verdict::Clear } else { Verdict::Dirty };
        }
        let force = self.of == FolderOf::Reader { others: Others::Replace };
        match (!left.is_empty() || force, entry.kind) {
            (false, _) => Verdict::Dirty,
            (true, Kind::Directory) => Verdict::Clear,
            (true, _) => Verdict::Replace { file: there.file },
        }
    }

    /// Tells whether nothing is replaced and nothing left that is not ours.
    pub(super) fn refuses(&self) -> bool {
        matches!(self.of, FolderOf::Reader { others: Others::Refuse | Others::Replace })
    }
}

/// Tells whether the bytes of `file` are those of an entry: the same chunks, as its signed identity lists them.
///
/// # Errors
/// What the disk says.
pub fn same_chunks(mut file: impl Read, entry: &Entry) -> io::Result<bool> {
    let chunker = Chunker::new(ChunkerParams::default()).expect("the default parameters are valid");
    let mut list = ChunkList::default();
    let mut window = Vec::new();
    loop {
        let room = (4 << 20) - window.len() as u64;
        let read = file.by_ref().take(room).read_to_end(&mut window)? as u64;
        let end = read < room;
        let mut at = 0;
        while let Some(len) = chunker.next(&window[at..], end).filter(|_| at < window.len()) {
            list.push(&leaf(&window[at..at + len]).hash);
            at += len;
        }
        window.drain(..at);
        if end {
            return Ok(list.finish() == entry.chunks);
        }
    }
}
