//! Files are read, cut and hashed by several threads, ahead of the one that takes them in, and arrive in order.
//!
//! The files are dealt out in small groups, round robin, and each thread has a short queue of its own: so the order is that of
//! the list whoever is faster, and what waits is bounded. Small files share a buffer; a large one takes many, in turn.

use std::io::{self, Read as _};
use std::ops::Range;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use datnode_drive::{Chunker, ChunkerParams, Mtime};
use datnode_feed::{Hash, Node, leaf};

use super::walk::{mode, mtime};
use crate::disk::beneath::Beneath;
use crate::error::{Error, reason};

/// How many bytes are read and handed over at a time, at most.
const WINDOW_BYTES: usize = 4 << 20;
/// How many bytes a group of files has, at least, unless it has [`GROUP_FILES`].
const GROUP_BYTES: u64 = 1 << 20;
const GROUP_FILES: usize = 256;
/// How many threads read at most: beyond that the one that takes it all in is the slowest.
const THREADS_MAX: usize = 4;
/// From so many bytes on, a window is hashed as part of its file and in chunks at the same time.
const SIDE_BY_SIDE: usize = 1 << 20;
/// How often a file that changes under us is read.
const TRIES: usize = 3;

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
enum Step {
    Chunk(Node),
    Again,
    Whole(Whole),
    Unsteady,
    Unreadable(String),
}

/// Bytes of chunks, one after the other, and what they are.
struct Batch {
    /// Always [`WINDOW_BYTES`] of them: what is used of the buffer is counted.
    bytes: Box<[u8]>,
    steps: Vec<Step>,
}

impl Batch {
    fn new() -> Self {
        Self { bytes: vec![0; WINDOW_BYTES].into_boxed_slice(), steps: Vec::new() }
    }
}

/// The files, as they come.
pub(super) struct Ahead {
    lanes: Vec<Lane>,
    /// How many parts each group ends after: files, that is.
    groups: std::vec::IntoIter<usize>,
    lane: usize,
    /// Files of the group that are still to end.
    left: usize,
    current: Option<Batch>,
    step: usize,
    at: usize,
}

/// A reading thread, seen from the one that takes.
struct Lane {
    full: Receiver<Batch>,
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
    let threads = thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    thread::scope(|scope| {
        let lane = |number: usize| {
            let (out, full) = sync_channel(1);
            let (empty, used) = channel();
            let (folder, own) = (&folder, groups.iter().skip(number).step_by(threads));
            scope.spawn(move || {
                let mut reader = Reader::new(folder, out, used);
                for group in own {
                    let read =
                        files[group.clone()].iter().try_for_each(|(path, _)| reader.file(path));
                    if read.and_then(|()| reader.hand_over()).is_err() {
                        return;
                    }
                }
            });
            Lane { full, empty }
        };
        let lanes = (0..threads.min(groups.len())).map(lane).collect();
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
        while self.current.as_ref().is_none_or(|batch| self.step == batch.steps.len()) {
            let lane = &self.lanes[self.lane];
            let next = lane.full.recv().expect("a reader lives until all its files were taken");
            if let Some(used) = self.current.replace(next) {
                // It may have ended: then nobody needs the buffer.
                let _ = lane.empty.send(used);
            }
            (self.step, self.at) = (0, 0);
        }
        let batch = self.current.as_mut().expect("there is one with steps left");
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

/// Nobody takes what is read any more.
struct Gone;

/// Why a file was not read to its end.
enum Stop {
    Gone,
    Disk(io::Error),
}

impl From<Gone> for Stop {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

/// What a reading thread has.
struct Reader<'a> {
    folder: &'a Beneath,
    chunker: Chunker,
    batch: Batch,
    /// How many bytes of the batch were cut into chunks, and how many there are.
    cut: usize,
    filled: usize,
    full: SyncSender<Batch>,
    empty: Receiver<Batch>,
}

impl<'a> Reader<'a> {
    fn new(folder: &'a Beneath, full: SyncSender<Batch>, empty: Receiver<Batch>) -> Self {
        let chunker =
            Chunker::new(ChunkerParams::default()).expect("the default parameters are valid");
        Self { folder, chunker, batch: Batch::new(), cut: 0, filled: 0, full, empty }
    }

    /// Reads a file until it holds still meanwhile.
    fn file(&mut self, path: &[u8]) -> Result<(), Gone> {
        for _ in 0..TRIES {
            let opened = self.folder.file(path).map_err(Stop::Disk);
            let step = match opened.and_then(|(file, _)| self.read(file)) {
                Ok(Some(whole)) => Step::Whole(whole),
                Ok(None) => Step::Again,
                Err(Stop::Disk(error)) => Step::Unreadable(reason(&error)),
                Err(Stop::Gone) => return Err(Gone),
            };
            // What was not cut is of no use.
            self.filled = self.cut;
            let again = matches!(step, Step::Again);
            self.batch.steps.push(step);
            if !again {
                return Ok(());
            }
        }
        self.batch.steps.push(Step::Unsteady);
        Ok(())
    }

    /// Reads an open file; nothing if it changed meanwhile.
    fn read(&mut self, mut file: std::fs::File) -> Result<Option<Whole>, Stop> {
        let before = file.metadata()?;
        let (mut whole, mut size) = (blake3::Hasher::new(), 0);
        loop {
            if self.filled > WINDOW_BYTES / 2 {
                self.hand_over()?;
            }
            let from = self.filled;
            let mut end = false;
            while !end && self.filled < WINDOW_BYTES {
                let read = match file.read(&mut self.batch.bytes[self.filled..]) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    read => read?,
                };
                self.filled += read;
                size += read as u64;
                // What is longer now shows below.
                end = read == 0 || size >= before.len();
            }
            self.cut(&mut whole, from, end);
            if end {
                break;
            }
        }
        let after = file.metadata()?;
        let times = |metadata: &std::fs::Metadata| (metadata.len(), mtime(metadata));
        let steady = times(&before) == times(&after) && size == after.len();
        let content = Hash(*whole.finalize().as_bytes());
        Ok(steady.then(|| Whole { mode: mode(&after), mtime: mtime(&after), content }))
    }

    /// Cuts and hashes what is in the buffer, of which the bytes at `from` and behind are new. What is too short for a chunk
    /// is left, as long as the file goes on.
    fn cut(&mut self, whole: &mut blake3::Hasher, from: usize, end: bool) {
        let Batch { bytes, steps } = &mut self.batch;
        let (bytes, at) = (&bytes[..self.filled], &mut self.cut);
        let mut cut = || {
            while *at < bytes.len() {
                let Some(len) = self.chunker.next(&bytes[*at..], end) else { break };
                steps.push(Step::Chunk(leaf(&bytes[*at..*at + len])));
                *at += len;
            }
        };
        if bytes.len() - from < SIDE_BY_SIDE {
            whole.update(&bytes[from..]);
            return cut();
        }
        thread::scope(|scope| {
            scope.spawn(|| whole.update(&bytes[from..]));
            cut();
        });
    }

    /// Hands over what was cut; the rest begins the next buffer.
    fn hand_over(&mut self) -> Result<(), Gone> {
        if self.batch.steps.is_empty() {
            return Ok(());
        }
        let mut next = self.empty.try_recv().unwrap_or_else(|_| Batch::new());
        let rest = &self.batch.bytes[self.cut..self.filled];
        next.bytes[..rest.len()].copy_from_slice(rest);
        next.steps.clear();
        (self.cut, self.filled) = (0, rest.len());
        self.full.send(std::mem::replace(&mut self.batch, next)).map_err(|_| Gone)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

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
        let mut sizes = vec![0, 1, 100, 40_000, WINDOW_BYTES / 2, 0, 3, WINDOW_BYTES + 1];
        sizes.extend((0..700).map(|number| number * 37 % 9_000));
        sizes.extend([3 * WINDOW_BYTES + 12_345, 5]);
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
        fs::write(folder.path().join("a"), vec![1; 5 * WINDOW_BYTES]).expect("there is room");
        let list: Vec<(&[u8], u64)> = vec![(b"a", 5 * WINDOW_BYTES as u64); 10];
        let stopped: Result<(), Error> = read_ahead(folder.path(), &list, |ahead| {
            assert!(matches!(ahead.next(), Part::Chunk(..)));
            Err(Error::interrupted())
        });
        assert!(stopped.is_err());
    }
}
