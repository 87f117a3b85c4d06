//! Messages without end, each as costly as it may be.

use datnode_proto::limits::RUNS_MAX;
use datnode_proto::wire::{Channel, Message, Request, Runs, Wanted};
use datnode_proto::{Priority, RequestId};

use super::CONTENT;

/// A message for each number.
pub(super) type Flood = Box<dyn FnMut(u64) -> Message + Send>;

/// Returns what fits into one message of a feed of `length` blocks: every second block from one on.
fn pieces(number: u64, length: u64) -> Runs {
    let at = |piece: u64| number % 2 + 2 * piece;
    (0..RUNS_MAX as u64).map(at).take_while(|at| *at < length).map(|at| at..at + 1).collect()
}

/// Has every second block, then the others, and so on.
pub(super) fn haves(length: u64) -> Flood {
    Box::new(move |number| {
        let (held, lost) = (pieces(number, length), pieces(number + 1, length));
        Message::Have { channel: CONTENT, length, held, lost, head: None }
    })
}

/// Opens feeds that nobody has.
pub(super) fn opens() -> Flood {
    Box::new(|number| {
        let channel = Channel(10 + number as u32);
        Message::Open {
            channel,
            nonce: [0; 16],
            tag: *blake3::hash(&number.to_le_bytes()).as_bytes(),
        }
    })
}

/// Asks for every second block, with the highest priority.
pub(super) fn requests(length: u64) -> Flood {
    Box::new(move |number| {
        let wanted = Wanted::Blocks(pieces(number, length));
        let request =
            Request { id: RequestId(1 << 32 | number), length, priority: Priority(255), wanted };
        Message::Request { channel: CONTENT, request }
    })
}

/// Asks for bytes, which have to be looked for in the tree.
pub(super) fn seeks(length: u64) -> Flood {
    Box::new(move |number| {
        let wanted = Wanted::Bytes(number..number + 1);
        let request =
            Request { id: RequestId(1 << 32 | number), length, priority: Priority(255), wanted };
        Message::Request { channel: CONTENT, request }
    })
}
