//! What the store's thread answers, several at a time: whoever takes them has to be woken for each that comes alone.

use datnode_proto::Done;
use tokio::sync::mpsc::UnboundedSender;

/// How many answers, and bytes of blocks in them, wait for others at most.
const MANY: usize = 32;
const BYTES: usize = 256 << 10;

/// Answers that wait to be sent.
pub(super) struct Answers {
    outbox: UnboundedSender<Done>,
    waiting: Vec<Done>,
    bytes: usize,
}

impl Answers {
    pub(super) const fn new(outbox: UnboundedSender<Done>) -> Self {
        Self { outbox, waiting: Vec::new(), bytes: 0 }
    }

    /// Takes an answer; it is sent at the latest when nothing else is to be done, and at once if somebody waits for it.
    pub(super) fn add(&mut self, done: Done, is_urgent: bool) {
        self.bytes += match &done {
            Done::Read { answer: Some((_, bytes)), .. } => bytes.len(),
            Done::Stored { len, .. } => usize::try_from(*len).unwrap_or(BYTES),
            _ => 0,
        };
        self.waiting.push(done);
        if is_urgent || self.waiting.len() >= MANY || self.bytes >= BYTES {
            self.send();
        }
    }

    /// Sends what waits.
    pub(super) fn send(&mut self) {
        self.bytes = 0;
        for done in self.waiting.drain(..) {
            // Without a listener the hub is gone, and nobody waits.
            let _ = self.outbox.send(done);
        }
    }
}
