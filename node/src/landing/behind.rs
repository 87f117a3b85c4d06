//! Small files, written by threads of their own while the store goes on to the next blocks.
//!
//! What is handed over counts as landed at once. Whoever reads working files or makes them durable waits until all of it is
//! written (`Landing::write_out`); what a thread could not write is done then and there, so that the error is that one's.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread;

use super::failed;
use super::flusher::Flusher;
use super::target::{self, Dress, Folder};
use crate::disk::beneath::split;
use crate::error::Error;

/// How many files, and bytes, are handed over at a time.
const BATCH_FILES: usize = 32;
const BATCH_BYTES: usize = 1 << 20;
/// How many batches wait for each thread at most.
const BATCHES_MAX: usize = 2;
/// How many threads there are: making a file is work of the system alone, and the store has its own to do.
const LANES: usize = 2;

/// A whole file that is to be written.
pub(super) struct Small {
    pub(super) path: Vec<u8>,
    pub(super) dress: Dress,
    pub(super) bytes: Vec<u8>,
    /// Whether it may take the place of what is there.
    pub(super) replace: bool,
}

impl Small {
    /// Writes it as [`target::write_whole`] does. `parent`: the folder of the file before it, and from then on of this one.
    fn write_whole(&self, folder: &Folder, parent: &mut Parent) -> io::Result<bool> {
        let path = split(&self.path).0;
        let parent = match parent.take().filter(|(before, _)| before == path) {
            Some(same) => parent.insert(same),
            None => parent.insert((path.to_owned(), folder.parent(&self.path)?)),
        };
        target::write_whole(&parent.1, &self.path, self.dress, &self.bytes, self.replace)
    }

    fn write(&self, folder: &Folder) -> io::Result<()> {
        if self.write_whole(folder, &mut None)? {
            return Ok(());
        }
        let target = folder.begin(&self.path, self.bytes.len() as u64)?;
        target.write(0, &self.bytes)?;
        folder.finish(&target, &self.path, self.dress, self.replace)
    }
}

/// A folder's path and its handle.
type Parent = Option<(Vec<u8>, OwnedFd)>;

/// Files on their way to the threads, and those that came back.
#[derive(Default)]
pub(super) struct Behind {
    lanes: [Lane; LANES],
    /// Files that their thread could not write.
    back: Vec<Small>,
    flusher: Flusher,
}

/// What goes to one thread.
#[derive(Default)]
struct Lane {
    thread: Option<Writer>,
    batch: Vec<Small>,
    bytes: usize,
    /// Batches that were handed over and have not come back.
    out: usize,
}

struct Writer {
    batches: SyncSender<Vec<Small>>,
    /// Of each batch, what could not be written.
    back: Receiver<Vec<Small>>,
}

impl Behind {
    /// Hands a file over.
    pub(super) fn add(&mut self, folder: &Arc<Folder>, small: Small) {
        self.flusher.landed(folder, small.bytes.len());
        let lane = &mut self.lanes[lane_of(&small.path)];
        lane.bytes += small.bytes.len();
        lane.batch.push(small);
        if lane.batch.len() >= BATCH_FILES || lane.bytes >= BATCH_BYTES {
            lane.hand_over(folder, &mut self.back);
        }
    }

    /// Waits until everything is written; what cannot be stays here and is tried again the next time.
    pub(super) fn write_out(&mut self, folder: &Arc<Folder>) -> Result<(), Error> {
        for lane in self.lanes.iter_mut().filter(|lane| !lane.batch.is_empty()) {
            lane.hand_over(folder, &mut self.back);
        }
        for lane in &mut self.lanes {
            while let Some(writer) = lane.thread.as_ref().filter(|_| lane.out > 0) {
                self.back.extend(writer.back.recv().expect("it lives as long as this"));
                lane.out -= 1;
            }
        }
        while let Some(small) = self.back.last() {
            small.write(folder).map_err(|error| failed("write", &small.path, &error))?;
            self.back.pop();
        }
        Ok(())
    }
}

impl Lane {
    fn hand_over(&mut self, folder: &Arc<Folder>, back: &mut Vec<Small>) {
        let batch = std::mem::take(&mut self.batch);
        self.bytes = 0;
        self.thread = self.thread.take().or_else(|| start(folder.clone()));
        let Some(writer) = &self.thread else {
            back.extend(unwritten(batch, folder));
            return;
        };
        writer.batches.send(batch).expect("it lives as long as this");
        self.out += 1;
        while let Ok(unwritten) = writer.back.try_recv() {
            back.extend(unwritten);
            self.out -= 1;
        }
    }
}

/// Returns which thread writes a file: all of one folder by the same, since they would wait for each other.
fn lane_of(path: &[u8]) -> usize {
    let mut hasher = DefaultHasher::new();
    split(path).0.hash(&mut hasher);
    hasher.finish() as usize % LANES
}

/// Writes files; returns those that could not be written.
fn unwritten(mut batch: Vec<Small>, folder: &Folder) -> Vec<Small> {
    let mut parent = None;
    batch.retain(|small| !small.write_whole(folder, &mut parent).unwrap_or(false));
    batch
}

/// Starts a thread, if the system has room for one more.
fn start(folder: Arc<Folder>) -> Option<Writer> {
    let (batches, inbox) = sync_channel::<Vec<Small>>(BATCHES_MAX);
    let (outbox, back) = channel();
    let run = move || {
        for batch in inbox {
            if outbox.send(unwritten(batch, &folder)).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("files".into()).spawn(run).ok()?;
    Some(Writer { batches, back })
}
