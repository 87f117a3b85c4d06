//! Messages without end, each as costly as it may be.

use datnode_feed::{Hash, NodeIndex, SignedHead, UpgradeProof, peaks};
use datnode_proto::limits::{LEAVES_MAX, RUNS_MAX};
use datnode_proto::wire::{Channel, Message, Request, Runs, Wanted};
use datnode_proto::{Priority, RequestId};

/// A message for each number.
pub type Flood = Box<dyn FnMut(u64) -> Message + Send>;

/// Returns what fits into one message of a feed of `length` blocks: every second block from one on.
fn pieces(number: u64, length: u64) -> Runs {
    let at = |piece: u64| number % 2 + 2 * piece;
    (0..RUNS_MAX as u64).map(at).take_while(|at| *at < length).map(|at| at..at + 1).collect()
}

/// Has every second block, then the others, and so on.
pub fn haves(channel: Channel, length: u64) -> Flood {
    Box::new(move |number| {
        let (held, lost) = (pieces(number, length), pieces(number + 1, length));
        Message::Have { channel, length, held, lost, head: None }
    })
}

/// Opens feeds that nobody has.
pub fn opens() -> Flood {
    Box::new(|number| {
        let (channel, nonce) = (Channel(10 + number as u32), [0; 16]);
        let tag = *blake3::hash(&number.to_le_bytes()).as_bytes();
        Message::Open { channel, nonce, tag }
    })
}

/// Asks for every second block, with the highest priority.
pub fn requests(channel: Channel, length: u64) -> Flood {
    Box::new(move |number| ask(channel, number, length, Wanted::Blocks(pieces(number, length))))
}

/// Asks for bytes, which have to be looked for in the tree.
pub fn seeks(channel: Channel, length: u64) -> Flood {
    Box::new(move |number| ask(channel, number, length, Wanted::Bytes(number..number + 1)))
}

/// Asks for as many leaves as come at once.
pub fn leaves(channel: Channel, length: u64) -> Flood {
    let tops: Vec<NodeIndex> =
        peaks(length).filter(|top| top.height() <= LEAVES_MAX.ilog2()).collect();
    let top = move |number: u64| tops.get(number as usize % tops.len().max(1)).copied();
    Box::new(move |number| {
        ask(channel, number, length, Wanted::Leaves(top(number).unwrap_or(NodeIndex(0))))
    })
}

fn ask(channel: Channel, number: u64, length: u64, wanted: Wanted) -> Message {
    let (id, priority) = (RequestId(1 << 32 | number), Priority(255));
    Message::Request { channel, request: Request::new(id, length, priority, wanted) }
}

/// Tells of longer histories that nobody signed.
pub fn heads(channel: Channel, head: SignedHead) -> Flood {
    Box::new(move |number| {
        let mut head = head;
        head.head.length += 1 + number;
        head.head.root = Hash::of(&number.to_le_bytes());
        let proof = UpgradeProof { from: head.head.length, head, nodes: Vec::new() };
        Message::Upgrade { channel, proof }
    })
}

/// Withdraws what was never asked for.
pub fn cancels(channel: Channel) -> Flood {
    Box::new(move |number| {
        let blocks = vec![number..number + 1];
        Message::Cancel { channel, id: RequestId(number), blocks }
    })
}
