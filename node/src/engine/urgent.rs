//! What overtakes that which waits for the store's thread: blocks that somebody waits for, on their way out or in, and questions.
//!
//! Each leaves a mark in the queue where its turn would have been. A block may count on others that came before it and wait
//! there: then it waits for its turn as well.

use std::collections::VecDeque;
use std::sync::mpsc;

use datnode_feed::{BlockProof, FeedSlot, VerifyError, leaf};
use datnode_proto::{Job, Priority};

use super::worker::{AnyStore, Task};

/// Tells whether a job may overtake others.
pub(super) fn is_urgent(job: &Job) -> bool {
    match job {
        Job::Read { urgency, .. } | Job::Store { urgency, .. } | Job::Locate { urgency, .. } => {
            urgency.priority > Priority(0)
        }
        _ => false,
    }
}

/// The urgent tasks of a store's thread.
pub(super) struct Overtaking {
    inbox: mpsc::Receiver<Task>,
    /// How many were looked at, and how many of them had their turn.
    looked: u64,
    turns: u64,
    /// Those that wait for it, by number.
    put_off: VecDeque<(u64, Task)>,
}

impl Overtaking {
    pub(super) const fn new(inbox: mpsc::Receiver<Task>) -> Self {
        Self { inbox, looked: 0, turns: 0, put_off: VecDeque::new() }
    }

    /// Returns the next task that can be done before its turn.
    pub(super) fn next(&mut self, store: &AnyStore) -> Option<Task> {
        loop {
            let task = self.inbox.try_recv().ok()?;
            self.looked += 1;
            match &task {
                Task::Job { slot, job } if !is_ready(store, *slot, job) => {
                    self.put_off.push_back((self.looked, task));
                }
                _ => return Some(task),
            }
        }
    }

    /// Returns the task whose turn it is, if it waited for that.
    pub(super) fn turn(&mut self) -> Option<Task> {
        self.turns += 1;
        if self.looked < self.turns {
            // Its turn came before anybody looked: all that it may count on is done.
            self.looked += 1;
            return self.inbox.try_recv().ok();
        }
        self.put_off.front().filter(|(number, _)| *number == self.turns)?;
        self.put_off.pop_front().map(|(_, task)| task)
    }
}

/// Tells whether a block's proof ends at a node that is known by now.
fn is_ready(store: &AnyStore, slot: FeedSlot, job: &Job) -> bool {
    let Job::Store { block, siblings, bytes, .. } = job else { return true };
    let proof = BlockProof { block: *block, leaf: leaf(bytes), siblings: siblings.clone() };
    !matches!(store.verify(slot, &proof, None), Err(VerifyError::Unreachable))
}
