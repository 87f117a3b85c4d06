//! Pieces of large files, written by threads of their own while the store goes on to the next blocks.
//!
//! There are two: what goes past the system's cache waits for the disk, and one piece at a time leaves it idle in between. What could
//! not be written comes back as it is, since the store was told of these bytes. Whoever reads working files, names them or makes
//! them durable waits until all have come back (`Window::write_out`).

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::pieces::Piece;
use super::target::Target;

/// How many threads there are.
const WRITERS: usize = 2;
/// How many pieces wait for them at most: enough that they always have one while the next is gathered.
const WAITING_MAX: usize = 2;

/// A piece that came back, and how writing it ended.
pub(super) type Written = (Piece, io::Result<()>);

/// Pieces on their way to the threads, and back.
#[derive(Default)]
pub(super) struct Stream {
    writers: Option<Writers>,
    /// Pieces that were handed over and have not come back.
    out: usize,
    /// Pieces that were written at once, for want of threads.
    here: Vec<Written>,
}

struct Writers {
    pieces: SyncSender<(Arc<Target>, Piece)>,
    back: Receiver<Written>,
}

impl Stream {
    /// Hands a piece over that belongs into `target`.
    pub(super) fn add(&mut self, target: Arc<Target>, piece: Piece) {
        self.writers = self.writers.take().or_else(start);
        if let Some(writers) = &self.writers {
            writers.pieces.send((target, piece)).expect("they live as long as this");
            self.out += 1;
        } else {
            self.here.push(write(&target, piece));
        }
    }

    /// Returns a piece that has come back, if there is one.
    pub(super) fn poll(&mut self) -> Option<Written> {
        self.here.pop().or_else(|| self.back(|back| back.try_recv().ok()))
    }

    /// Waits for the next piece to come back; none if all have.
    pub(super) fn wait(&mut self) -> Option<Written> {
        let wait = |back: &Receiver<_>| Some(back.recv().expect("they live as long as this"));
        self.here.pop().or_else(|| self.back(wait))
    }

    fn back(
        &mut self,
        next: impl FnOnce(&Receiver<Written>) -> Option<Written>,
    ) -> Option<Written> {
        let writers = self.writers.as_ref().filter(|_| self.out > 0)?;
        let written = next(&writers.back)?;
        self.out -= 1;
        Some(written)
    }
}

/// Nothing is written any more to files that somebody else may begin with.
impl Drop for Stream {
    fn drop(&mut self) {
        while self.wait().is_some() {}
    }
}

fn write(target: &Target, piece: Piece) -> Written {
    let written = target.write_past_cache(piece.start, piece.bytes());
    (piece, written)
}

/// Starts the threads, as many as the system has room for; `None` if it has for none.
fn start() -> Option<Writers> {
    let (pieces, inbox) = sync_channel::<(Arc<Target>, Piece)>(WAITING_MAX);
    let ((outbox, back), inbox) = (channel(), Arc::new(Mutex::new(inbox)));
    let begun = (0..WRITERS).filter(|_| {
        let (inbox, outbox) = (inbox.clone(), outbox.clone());
        let next = move || inbox.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let run = move || {
            while let Ok((target, piece)) = next() {
                if outbox.send(write(&target, piece)).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new().name("pieces".into()).spawn(run).is_ok()
    });
    (begun.count() > 0).then_some(Writers { pieces, back })
}
