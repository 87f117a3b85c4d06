//! Small files, written by a thread of their own while the store goes on to the next blocks.
//!
//! What is handed over counts as landed at once. Whoever reads working files or makes them durable waits until all of it is
//! written (`Landing::write_out`); what the thread could not write is done then and there, so that the error is that one's.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread;

use super::failed;
use super::target::{Dress, Folder};
use crate::error::Error;

/// How many files, and bytes, are handed over at a time.
const BATCH_FILES: usize = 32;
const BATCH_BYTES: usize = 1 << 20;
/// How many batches wait for the thread at most.
const BATCHES_MAX: usize = 4;

/// A whole file that is to be written.
pub(super) struct Small {
    pub(super) path: Vec<u8>,
    pub(super) dress: Dress,
    pub(super) bytes: Vec<u8>,
    /// Whether it may take the place of what is there.
    pub(super) replace: bool,
}

impl Small {
    fn write_whole(&self, folder: &Folder) -> io::Result<bool> {
        folder.write_whole(&self.path, self.dress, &self.bytes, self.replace)
    }

    fn write(&self, folder: &Folder) -> io::Result<()> {
        if self.write_whole(folder)? {
            return Ok(());
        }
        let target = folder.begin(&self.path, self.bytes.len() as u64)?;
        target.write(0, &self.bytes)?;
        folder.finish(&target, &self.path, self.dress, self.replace)
    }
}

/// Files on their way to the thread, and those that came back.
#[derive(Default)]
pub(super) struct Behind {
    thread: Option<Writer>,
    batch: Vec<Small>,
    bytes: usize,
    /// Batches that were handed over and have not come back.
    out: usize,
    /// Files that the thread could not write.
    back: Vec<Small>,
}

struct Writer {
    batches: SyncSender<Vec<Small>>,
    /// Of each batch, what could not be written.
    back: Receiver<Vec<Small>>,
}

impl Behind {
    /// Hands a file over.
    pub(super) fn add(&mut self, folder: &Arc<Folder>, small: Small) {
        self.bytes += small.bytes.len();
        self.batch.push(small);
        if self.batch.len() >= BATCH_FILES || self.bytes >= BATCH_BYTES {
            self.hand_over(folder);
        }
    }

    fn hand_over(&mut self, folder: &Arc<Folder>) {
        let writer = self.thread.get_or_insert_with(|| start(folder.clone()));
        let batch = std::mem::take(&mut self.batch);
        writer.batches.send(batch).expect("it lives as long as this");
        (self.out, self.bytes) = (self.out + 1, 0);
        while let Ok(back) = writer.back.try_recv() {
            self.back.extend(back);
            self.out -= 1;
        }
    }

    /// Waits until everything is written; what cannot be stays here and is tried again the next time.
    pub(super) fn write_out(&mut self, folder: &Arc<Folder>) -> Result<(), Error> {
        if !self.batch.is_empty() {
            self.hand_over(folder);
        }
        while let Some(writer) = self.thread.as_ref().filter(|_| self.out > 0) {
            self.back.extend(writer.back.recv().expect("it lives as long as this"));
            self.out -= 1;
        }
        while let Some(small) = self.back.last() {
            small.write(folder).map_err(|error| failed("write", &small.path, &error))?;
            self.back.pop();
        }
        Ok(())
    }
}

fn start(folder: Arc<Folder>) -> Writer {
    let (batches, inbox) = sync_channel::<Vec<Small>>(BATCHES_MAX);
    let (outbox, back) = channel();
    let run = move || {
        for mut batch in inbox {
            batch.retain(|small| !small.write_whole(&folder).unwrap_or(false));
            if outbox.send(batch).is_err() {
                return;
            }
        }
    };
    let thread = thread::Builder::new().name("files".into()).spawn(run);
    thread.expect("the system has room for one more thread");
    Writer { batches, back }
}
