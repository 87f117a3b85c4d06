//! Cuts files into chunks and hashes those: the second thread of a lane.

use std::sync::mpsc::{Receiver, SyncSender};

use datnode_drive::{Chunker, ChunkerParams};
use datnode_feed::leaf;

use super::ahead::Step;
use super::reader::Window;

/// The most that is too short for a chunk, while its file goes on.
pub(super) const CARRY_MAX: usize = 96 << 10;

/// Cuts window after window, until there are no more or nobody takes them.
pub(super) fn cut_all(uncut: &Receiver<Window>, cut: &SyncSender<Window>) {
    let params = ChunkerParams::default();
    assert!(params.max as usize <= CARRY_MAX, "fewer bytes than the longest chunk are left");
    let mut cutter = Cutter {
        chunker: Chunker::new(params).expect("the default parameters are valid"),
        carried: Vec::new(),
    };
    for mut window in uncut {
        cutter.cut(&mut window);
        if cut.send(window).is_err() {
            return;
        }
    }
}

struct Cutter {
    chunker: Chunker,
    /// What was left of the window before, of a file that goes on.
    carried: Vec<u8>,
}

impl Cutter {
    fn cut(&mut self, window: &mut Window) {
        window.start = CARRY_MAX - self.carried.len();
        window.bytes[window.start..CARRY_MAX].copy_from_slice(&self.carried);
        window.steps.clear();
        let mut at = window.start;
        for (end, step) in std::mem::take(&mut window.ends) {
            at = self.chunks(&window.bytes[..end], at, true, &mut window.steps);
            window.steps.push(step);
        }
        at = self.chunks(&window.bytes[..window.filled], at, false, &mut window.steps);
        self.carried.clear();
        self.carried.extend_from_slice(&window.bytes[at..window.filled]);
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
