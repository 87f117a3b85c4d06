//! Files are read, cut and hashed by several threads, ahead of the one that takes them in, and arrive in order.
//!
//! The files are dealt out in small groups, round robin, to lanes of two threads each: one reads and hashes whole files
//! (`reader`), one cuts them into chunks and hashes those (`cutter`). Each lane has a short queue of its own: so the order is that
//! of the list whoever is faster, and what waits is bounded. Small files share a batch; a large one takes many, in turn.

use std::ops::Range;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::thread;

use datnode_drive::Mtime;
use datnode_feed::{Hash, Node};

use super::cutter::cut_all;
use super::reader::{Batch, Reader};
use crate::disk::beneath::Beneath;
use crate::error::Error;

/// How many bytes a group of files has, at least, unless it has [`GROUP_FILES`].
const GROUP_BYTES: u64 = 1 << 20;
const GROUP_FILES: usize = 256;
/// How many lanes there are at most: beyond that the thread that takes it all in is the slowest.
const LANES_MAX: usize = 4;

/// What comes next of the files, in their order.
#[derive(Debug)]
pub(super) enum Part<'a> {
    /// A chunk of the file, and its leaf.
    Chunk(&'a [u8], Node),
    /// The file changed while it was read: what came of it is void, and it comes anew.
    Again,
    /// That was all of the file.
    Whole(Whole),
    /// It changed each time while it was read.
    Unsteady,
    /// It cannot be read, for this reason.
    Unreadable(String),
}

/// A file that was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whole {
    pub(super) mode: u16,
    pub(super) mtime: Mtime,
    /// The BLAKE3 of its bytes.
    pub(super) content: Hash,
}

/// A [`Part`] without its bytes.
#[derive(Debug)]
pub(super) enum Step {
    Chunk(Node),
    Again,
    Whole(Whole),
    Unsteady,
    Unreadable(String),
}

/// The files, as they come.
pub(super) struct Ahead {
    lanes: Vec<Lane>,
    /// How many files each group has.
    groups: std::vec::IntoIter<usize>,
    lane: usize,
    /// Files of the group that are still to end.
    left: usize,
    /// What is being taken, and from which lane.
    current: Option<(usize, Batch)>,
    step: usize,
    at: usize,
}

/// Two threads, seen from the one that takes.
struct Lane {
    cut: Receiver<Batch>,
    empty: Sender<Batch>,
}

/// Reads `files`, each with its size, beneath `root`, while `take` takes them.
///
/// # Errors
/// What `take` says; E-IO if the folder cannot be opened.
pub(super) fn read_ahead<T>(
    root: &Path,
    files: &[(&[u8], u64)],
    take: impl FnOnce(&mut Ahead) -> Result<T, Error>,
) -> Result<T, Error> {
    let folder = Beneath::open(root).map_err(|error| Error::io("open", root, &error))?;
    let groups = groups(files);
    let lanes = thread::available_parallelism().map_or(1, usize::from).min(LANES_MAX);
    thread::scope(|scope| {
        let lane = |number: usize| {
            let (full, uncut) = sync_channel(1);
            let (out, cut) = sync_channel(1);
            let (empty, used) = channel();
            let (folder, own) = (&folder, groups.iter().skip(number).step_by(lanes));
            scope.spawn(move || cut_all(&uncut, &out));
            scope.spawn(move || {
                let mut reader = Reader::new(folder, full, used);
                for group in own {
                    let read =
                        files[group.clone()].iter().try_for_each(|(path, _)| reader.file(path));
                    if read.and_then(|()| reader.hand_over()).is_err() {
                        return;
                    }
                }
            });
            Lane { cut, empty }
        };
        let lanes = (0..lanes.min(groups.len())).map(lane).collect();
        let sizes: Vec<usize> = groups.iter().map(Range::len).collect();
        let (left, step, at) = (0, 0, 0);
        let groups = sizes.into_iter();
        // When it is dropped, the threads find nobody to hand over to, and end.
        take(&mut Ahead { lanes, groups, lane: usize::MAX, left, current: None, step, at })
    })
}

/// Divides the files into groups worth handing over.
fn groups(files: &[(&[u8], u64)]) -> Vec<Range<usize>> {
    let (mut groups, mut start, mut bytes) = (Vec::new(), 0, 0_u64);
    for (number, (_, size)) in files.iter().enumerate() {
        bytes = bytes.saturating_add(*size);
        if bytes >= GROUP_BYTES || number + 1 - start == GROUP_FILES || number + 1 == files.len() {
            groups.push(start..number + 1);
            (start, bytes) = (number + 1, 0);
        }
    }
    groups
}

impl Ahead {
    /// Returns the next part of the files; to be asked no more than there are files to end.
    pub(super) fn next(&mut self) -> Part<'_> {
        if self.left == 0 {
            self.left = self.groups.next().expect("it is asked only for files that there are");
            self.lane = self.lane.wrapping_add(1) % self.lanes.len();
        }
        while self.current.as_ref().is_none_or(|(_, batch)| self.step == batch.steps.len()) {
            let lane = &self.lanes[self.lane];
            let next = lane.cut.recv().expect("a lane lives until all its files were taken");
            (self.step, self.at) = (0, next.start);
            if let Some((from, used)) = self.current.replace((self.lane, next)) {
                // The reader may have ended: then nobody needs it.
                let _ = self.lanes[from].empty.send(used);
            }
        }
        let (_, batch) = self.current.as_mut().expect("there is one with steps left");
        let step = std::mem::replace(&mut batch.steps[self.step], Step::Again);
        self.step += 1;
        match step {
            Step::Chunk(node) => {
                let start = self.at;
                self.at += usize::try_from(node.size).expect("a chunk is small");
                return Part::Chunk(&batch.bytes[start..self.at], node);
            }
            Step::Again => return Part::Again,
            _ => self.left -= 1,
        }
        match step {
            Step::Whole(whole) => Part::Whole(whole),
            Step::Unreadable(why) => Part::Unreadable(why),
            _ => Part::Unsteady,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use datnode_feed::leaf;

    use super::super::reader::BATCH_BYTES;
    use super::*;

    /// What came of the files: the bytes of each, or why it did not come.
    fn read_all(root: &Path, files: &[(&[u8], u64)]) -> Vec<Result<Vec<u8>, String>> {
        let read = read_ahead(root, files, |ahead| {
            let one = |_| {
                let mut bytes = Vec::new();
                loop {
                    match ahead.next() {
                        Part::Chunk(chunk, node) => {
                            assert_eq!(leaf(chunk), node);
                            bytes.extend_from_slice(chunk);
                        }
                        Part::Again => bytes.clear(),
                        Part::Whole(whole) => {
                            assert_eq!(whole.content, Hash::of(&bytes));
                            return Ok(bytes);
                        }
                        Part::Unsteady => return Err("unsteady".to_owned()),
                        Part::Unreadable(why) => return Err(why),
                    }
                }
            };
            Ok(files.iter().map(one).collect())
        });
        read.expect("the folder is there")
    }

    #[test]
    fn files_of_all_sizes_come_in_order_with_those_that_cannot_be_read() {
        let folder = tempfile::tempdir().expect("there is room");
        let mut sizes = vec![0, 1, 100, 40_000, BATCH_BYTES / 2, 0, 3, BATCH_BYTES + 1];
        sizes.extend((0..700).map(|number| number * 37 % 9_000));
        sizes.extend([3 * BATCH_BYTES + 12_345, 5]);
        let file = |(number, size): (usize, &usize)| {
            let bytes: Vec<u8> =
                (0..*size).map(|at| ((at * 31) ^ (at >> 9) ^ number) as u8).collect();
            let name = format!("{number:04}");
            match number % 50 {
                7 => (name, Err(())),
                _ => {
                    fs::write(folder.path().join(&name), &bytes).expect("there is room");
                    (name, Ok(bytes))
                }
            }
        };
        let files: Vec<_> = sizes.iter().enumerate().map(file).collect();
        let list: Vec<(&[u8], u64)> = files
            .iter()
            .zip(&sizes)
            .map(|((name, _), size)| (name.as_bytes(), *size as u64))
            .collect();
        let read = read_all(folder.path(), &list);
        let equal = read
            .iter()
            .zip(&files)
            .all(|(read, (_, written))| read.as_ref().ok() == written.as_ref().ok());
        assert!(equal && read.len() == files.len());
    }

    #[test]
    fn whoever_stops_taking_leaves_no_thread_behind() {
        let folder = tempfile::tempdir().expect("there is room");
        fs::write(folder.path().join("a"), vec![1; 5 * BATCH_BYTES]).expect("there is room");
        let list: Vec<(&[u8], u64)> = vec![(b"a", 5 * BATCH_BYTES as u64); 10];
        let stopped: Result<(), Error> = read_ahead(folder.path(), &list, |ahead| {
            assert!(matches!(ahead.next(), Part::Chunk(..)));
            Err(Error::interrupted())
        });
        assert!(stopped.is_err());
    }
}
