//! Looks at what is in the working folder, and judges what may become of it.

use std::io::{self, Read};
use std::sync::Arc;

use datnode_drive::{ChunkList, Chunker, ChunkerParams, Entry, Kind, SafePath};
use datnode_feed::{Aligned, Storage, leaf};

use super::earlier::Was;
use super::index::Index;
use super::target::{Folder, Reading, There};
use super::{FolderOf, Others, way};
use crate::import::CARRY_MAX;

/// How many bytes of a file are read at a time.
const WINDOW_BYTES: usize = 4 << 20;

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
    // A short file is read at once. Of a long one, what is too short for a chunk is moved to before where the next bytes go.
    let short = usize::try_from(entry.size).ok().filter(|size| *size < WINDOW_BYTES);
    let (carry, room) = short.map_or((CARRY_MAX, WINDOW_BYTES), |size| (0, size + 1));
    let mut window = Aligned::new(carry + room);
    let mut start = carry;
    loop {
        let read = fill(&mut file, &mut window[carry..])?;
        let (filled, end) = (carry + read, read < room);
        if short.is_some() && !end {
            return Ok(false);
        }
        while start < filled {
            let Some(len) = chunker.next(&window[start..filled], end) else { break };
            list.push(&leaf(&window[start..start + len]).hash);
            start += len;
        }
        if end {
            return Ok(list.finish() == entry.chunks);
        }
        let left = start..filled;
        start = carry - left.len();
        window.copy_within(left, start);
    }
}

/// Reads until `into` is full or the file ends; returns how many bytes there were.
fn fill(file: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < into.len() {
        match file.read(&mut into[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use datnode_drive::{FileBuilder, Location, Mtime};
    use datnode_feed::{BlockIndex, Hash};

    use super::*;

    /// Gives fewer bytes than it is asked for.
    struct Halting<'a>(&'a [u8]);

    impl Read for Halting<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let most = into.len().min(700_001);
            self.0.read(&mut into[..most])
        }
    }

    fn entry(bytes: &[u8]) -> Entry {
        let chunker = Chunker::new(ChunkerParams::default()).unwrap();
        let (mut file, mut at) = (FileBuilder::new(), 0);
        while at < bytes.len() {
            let len = chunker.next(&bytes[at..], true).unwrap();
            let block = Location { slot: 1, block: BlockIndex(0) };
            file.push(&leaf(&bytes[at..at + len]), block, at as u64);
            at += len;
        }
        file.finish(0o644, Mtime { seconds: 0, nanos: 0 }, Hash::of(bytes))
    }

    #[test]
    fn a_file_has_the_bytes_of_its_entry_and_no_other_has() {
        let bytes: Vec<u8> =
            (0..3 * WINDOW_BYTES as u64 + 5).map(|at| (((at * at) >> 7) ^ at) as u8).collect();
        let lengths = [0, 1, 50_000, 300_000, WINDOW_BYTES - 1, WINDOW_BYTES, WINDOW_BYTES + 1];
        for len in lengths.into_iter().chain([2 * WINDOW_BYTES + 77, bytes.len() - 1]) {
            let entry = entry(&bytes[..len]);
            let same = |bytes: &[u8]| same_chunks(Halting(bytes), &entry).unwrap();
            assert!(same(&bytes[..len]), "{len}");
            assert!(!same(&bytes[..len + 1]), "{len}: longer");
            if len > 0 {
                assert!(!same(&bytes[..len - 1]), "{len}: shorter");
                let mut other = bytes[..len].to_vec();
                other[len / 2] ^= 1;
                assert!(!same(&other), "{len}: another byte");
            }
        }
    }
}
