//! What passed, frame by frame, for figures that need more than counts.

use datnode_proto::limits::{BLOCK_COST, SIBLING_COST};
use datnode_proto::wire::{Message, decode};
use datnode_proto::{Frame, Instant, PeerId, Priority};

use crate::HostId;

/// Frames in the order of time.
#[derive(Debug, Default)]
pub struct Log(pub Vec<Passed>);

/// A frame that a host put into a send buffer, or took.
#[derive(Clone, Copy, Debug)]
pub struct Passed {
    /// When.
    pub at: Instant,
    /// Where.
    pub host: HostId,
    /// By which end of a connection.
    pub peer: PeerId,
    /// Whether it came or left.
    pub way: Way,
    /// What it was.
    pub what: What,
}

/// Which way a frame went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It was put into the send buffer.
    Left,
    /// It was taken.
    Came,
}

/// What a frame was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A block, with what it takes of the byte credit.
    Block {
        /// Which.
        block: u64,
        /// What it takes.
        cost: u64,
    },
    /// A request.
    Request {
        /// How urgent.
        priority: Priority,
    },
    /// A grant of credit, which is so much since the stream began.
    Credit(u64),
    /// Anything else.
    Other,
}

impl What {
    /// Returns which block it brings, if it does.
    pub fn block(self) -> Option<u64> {
        match self {
            Self::Block { block, .. } => Some(block),
            _ => None,
        }
    }

    /// Returns how urgent it is, if it asks for something.
    pub fn priority(self) -> Option<Priority> {
        match self {
            Self::Request { priority } => Some(priority),
            _ => None,
        }
    }
}

impl Log {
    pub(super) fn note(
        &mut self,
        at: Instant,
        host: HostId,
        peer: PeerId,
        way: Way,
        frame: &Frame,
    ) {
        let message = decode(&frame.header, &frame.payload).expect("hosts of swarms are honest");
        let what = what(message, frame.payload.len() as u64);
        self.0.push(Passed { at, host, peer, way, what });
    }
}

fn what(message: Message, payload: u64) -> What {
    match message {
        Message::Block { block, siblings, .. } => {
            let cost = payload + BLOCK_COST + siblings.len() as u64 * SIBLING_COST;
            What::Block { block: block.0, cost }
        }
        Message::Request { request, .. } => What::Request { priority: request.priority },
        Message::Hello(hello) => What::Credit(hello.credit),
        Message::Credit { total } => What::Credit(total),
        _ => What::Other,
    }
}
