//! Cuts files into chunks and hashes those: the second thread of a lane.

use std::sync::mpsc::{Receiver, SyncSender};

use datnode_drive::{Chunker, ChunkerParams};
use datnode_feed::leaf;

use super::ahead::Step;
use super::reader::Batch;

/// The most that is too short for a chunk, while its file goes on.
pub(crate) const CARRY_MAX: usize = 96 << 10;

/// Cuts batch after batch, until there are no more or nobody takes them.
pub(super) fn cut_all(uncut: &Receiver<Batch>, cut: &SyncSender<Batch>) {
    let params = ChunkerParams::default();
    assert!(params.max as usize <= CARRY_MAX, "fewer bytes than the longest chunk are left");
    let mut cutter = Cutter {
        chunker: Chunker::new(params).expect("the default parameters are valid"),
        carried: Vec::new(),
    };
    for mut batch in uncut {
        cutter.cut(&mut batch);
        if cut.send(batch).is_err() {
            return;
        }
    }
}

struct Cutter {
    chunker: Chunker,
    /// What was left of the batch before, of a file that goes on.
    carried: Vec<u8>,
}

impl Cutter {
    fn cut(&mut self, batch: &mut Batch) {
        batch.start = CARRY_MAX - self.carried.len();
        batch.bytes[batch.start..CARRY_MAX].copy_from_slice(&self.carried);
        batch.steps.clear();
        let mut at = batch.start;
        for (end, step) in std::mem::take(&mut batch.ends) {
            at = self.chunks(&batch.bytes[..end], at, true, &mut batch.steps);
            batch.steps.push(step);
        }
        at = self.chunks(&batch.bytes[..batch.filled], at, false, &mut batch.steps);
        self.carried.clear();
        self.carried.extend_from_slice(&batch.bytes[at..batch.filled]);
    }

    /// Cuts the bytes of one file that begin at `at`; returns where the rest begins that is too short. `end`: the file ends there.
    fn chunks(&self, bytes: &[u8], mut at: usize, end: bool, steps: &mut Vec<Step>) -> usize {
        while let Some(len) = self.chunker.next(&bytes[at..], end) {
            steps.push(Step::Chunk(leaf(&bytes[at..at + len])));
            at += len;
        }
        at
    }
}
