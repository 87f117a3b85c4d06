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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use datnode_feed::{BlockIndex, MemoryStorage, SecretKey, Store};
    use datnode_proto::{FeedId, PeerId, Urgency};

    use super::*;

    /// A writer of four blocks, and a reader who knows its head and no block.
    fn stores() -> ([AnyStore; 2], FeedSlot) {
        let key = SecretKey::from_bytes([3; 32]);
        let open = || Store::open(Box::new(MemoryStorage::new()) as Box<_>).unwrap();
        let [mut writer, mut reader]: [AnyStore; 2] = [open(), open()];
        let slot = writer.add_feed(key.public()).unwrap();
        for block in 0..4 {
            writer.append(slot, &[block; 9]).unwrap();
        }
        writer.sign(slot, &key).unwrap();
        writer.commit().unwrap();
        reader.add_feed(key.public()).unwrap();
        let proof = writer.prove_upgrade(slot, 0).unwrap().unwrap();
        reader.upgrade(slot, &proof).unwrap();
        ([writer, reader], slot)
    }

    /// A block that somebody waits for, with so many siblings.
    fn block(writer: &mut AnyStore, slot: FeedSlot, block: u64, levels: u32) -> Task {
        let block = BlockIndex(block);
        let proof = writer.prove(slot, block, levels).unwrap().unwrap();
        let bytes = Bytes::from(writer.read(slot, block).unwrap().unwrap());
        let (peer, feed, siblings) = (PeerId(0), FeedId(0), proof.siblings);
        let urgency = Urgency { priority: Priority(1), due: None };
        Task::Job { slot, job: Job::Store { peer, feed, block, urgency, siblings, bytes } }
    }

    fn number(task: Option<Task>) -> Option<u64> {
        match task? {
            Task::Job { job: Job::Store { block, .. }, .. } => Some(block.0),
            _ => panic!("blocks alone are here"),
        }
    }

    #[test]
    fn a_block_overtakes_unless_it_counts_on_one_that_waits() {
        let ([mut writer, reader], slot) = stores();
        let (send, inbox) = mpsc::channel();
        let mut urgent = Overtaking::new(inbox);
        // The second ends at a node that a block before it brings.
        for (index, levels) in [(0, 2), (1, 1), (3, 2)] {
            send.send(block(&mut writer, slot, index, levels)).unwrap();
        }
        assert_eq!(number(urgent.next(&reader)), Some(0));
        assert_eq!(number(urgent.next(&reader)), Some(3));
        assert!(urgent.next(&reader).is_none());
        let turns = [urgent.turn(), urgent.turn(), urgent.turn()];
        assert_eq!(turns.map(number), [None, Some(1), None]);
    }

    #[test]
    fn what_nobody_looked_at_is_done_when_its_turn_comes() {
        let ([mut writer, reader], slot) = stores();
        let (send, inbox) = mpsc::channel();
        let mut urgent = Overtaking::new(inbox);
        for index in [1, 2] {
            // The store had nothing else to do, and took the mark first.
            send.send(block(&mut writer, slot, index, 1)).unwrap();
            assert_eq!(number(urgent.turn()), Some(index));
            assert!(urgent.next(&reader).is_none());
        }
        send.send(block(&mut writer, slot, 3, 1)).unwrap();
        assert!(urgent.next(&reader).is_none());
        assert_eq!(number(urgent.turn()), Some(3), "the count goes on");
    }
}
