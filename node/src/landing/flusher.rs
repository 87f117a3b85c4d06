//! Has the disk write what landed while more still comes: making it durable at the end would take as long once more.
//!
//! Nothing counts on it. What has to be durable is made so by the store, which then finds little left to do.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use super::target::Folder;

/// After how many files, or bytes of them, the disk is asked: the work of some tenths of a second.
const FILES: usize = 4_096;
const BYTES: usize = 64 << 20;

/// Counts what landed, and has it written now and then by a thread of its own.
#[derive(Default)]
pub(super) struct Flusher {
    files: usize,
    bytes: usize,
    thread: Option<SyncSender<()>>,
}

impl Flusher {
    /// Another small file is on its way into the folder.
    pub(super) fn landed(&mut self, folder: &Arc<Folder>, bytes: usize) {
        (self.files, self.bytes) = (self.files + 1, self.bytes + bytes);
        if self.files >= FILES || self.bytes >= BYTES {
            (self.files, self.bytes) = (0, 0);
            self.thread = self.thread.take().or_else(|| start(folder.clone()));
            // One that is not done with the last will look again.
            let _ = self.thread.as_ref().map(|thread| thread.try_send(()));
        }
    }
}

/// Starts the thread, if the system has room for one more.
fn start(folder: Arc<Folder>) -> Option<SyncSender<()>> {
    let (wake, awake) = sync_channel(1);
    let run = move || {
        for () in awake {
            folder.flush();
        }
    };
    thread::Builder::new().name("flusher".into()).spawn(run).ok()?;
    Some(wake)
}
