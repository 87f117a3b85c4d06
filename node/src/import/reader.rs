//! Reads files one after the other and hashes each as a whole: the first thread of a lane.
//!
//! Elsewhere: cutting what was read (`cutter`).

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::sync::mpsc::{Receiver, SyncSender};

use datnode_feed::{Aligned, Hash};

use super::ahead::{Step, Whole};
use super::cutter::CARRY_MAX;
use super::walk::{mode, mtime};
use crate::disk::beneath::Beneath;
use crate::error::reason;

/// How many bytes are handed over at a time, at most.
pub(super) const BATCH_BYTES: usize = 1 << 20;
/// How many bytes are read at a time: what was read is hashed while it is still in the processor's own cache.
const READ_BYTES: usize = 256 << 10;
/// How often a file that changes under us is read.
const TRIES: usize = 3;

/// Bytes of files, one after the other, on their way through a lane.
pub(super) struct Batch {
    /// Always [`CARRY_MAX`] and [`BATCH_BYTES`] of them; the first are for what the cutter carries over.
    pub(super) bytes: Aligned,
    /// Where what was read ends.
    pub(super) filled: usize,
    /// Where files end, and what came of them.
    pub(super) ends: Vec<(usize, Step)>,
    /// Where the first chunk begins, once it is cut.
    pub(super) start: usize,
    /// Chunks and ends of files, once it is cut.
    pub(super) steps: Vec<Step>,
}

impl Batch {
    fn new() -> Self {
        let bytes = Aligned::new(CARRY_MAX + BATCH_BYTES);
        let (ends, steps) = (Vec::new(), Vec::new());
        Self { bytes, filled: CARRY_MAX, ends, start: CARRY_MAX, steps }
    }
}

/// Nobody takes what is read any more.
pub(super) struct Gone;

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
pub(super) struct Reader<'a> {
    folder: &'a Beneath,
    batch: Batch,
    full: SyncSender<Batch>,
    /// Batchs that were taken.
    empty: Receiver<Batch>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        folder: &'a Beneath,
        full: SyncSender<Batch>,
        empty: Receiver<Batch>,
    ) -> Self {
        Self { folder, batch: Batch::new(), full, empty }
    }

    /// Reads a file until it holds still meanwhile.
    pub(super) fn file(&mut self, path: &[u8]) -> Result<(), Gone> {
        for _ in 0..TRIES {
            let opened = self.folder.file(path).map_err(Stop::Disk);
            let step = match opened.and_then(|(file, _)| self.read(file)) {
                Ok(Some(whole)) => Step::Whole(whole),
                Ok(None) => Step::Again,
                Err(Stop::Disk(error)) => Step::Unreadable(reason(&error)),
                Err(Stop::Gone) => return Err(Gone),
            };
            let again = matches!(step, Step::Again);
            self.end(step);
            if !again {
                return Ok(());
            }
        }
        self.end(Step::Unsteady);
        Ok(())
    }

    fn end(&mut self, step: Step) {
        self.batch.ends.push((self.batch.filled, step));
    }

    /// Reads an open file; nothing if it changed meanwhile.
    fn read(&mut self, mut file: File) -> Result<Option<Whole>, Stop> {
        let before = file.metadata()?;
        let (mut whole, mut size) = (blake3::Hasher::new(), 0);
        loop {
            if self.batch.filled == self.batch.bytes.len() {
                self.hand_over()?;
            }
            let from = self.batch.filled;
            let to = self.batch.bytes.len().min(from + READ_BYTES);
            let read = match file.read(&mut self.batch.bytes[from..to]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            whole.update(&self.batch.bytes[from..from + read]);
            self.batch.filled += read;
            size += read as u64;
            // What is longer now shows below.
            if read == 0 || size >= before.len() {
                break;
            }
        }
        let after = file.metadata()?;
        let times = |metadata: &Metadata| (metadata.len(), mtime(metadata));
        let steady = times(&before) == times(&after) && size == after.len();
        let content = Hash(*whole.finalize().as_bytes());
        Ok(steady.then(|| Whole { mode: mode(&after), mtime: mtime(&after), content }))
    }

    /// Hands over what was read.
    pub(super) fn hand_over(&mut self) -> Result<(), Gone> {
        let mut next = self.empty.try_recv().unwrap_or_else(|_| Batch::new());
        next.filled = CARRY_MAX;
        self.full.send(std::mem::replace(&mut self.batch, next)).map_err(|_| Gone)
    }
}
