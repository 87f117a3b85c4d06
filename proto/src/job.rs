//! What the replicator asks of a store, and what it tells its caller.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Range;

use bytes::Bytes;
use datnode_feed::{
    Accusation, BlockIndex, BlockProof, Comparison, LeavesProof, Node, NodeIndex, SignedHead,
    UpgradeProof, VerifyError,
};

use crate::fault::Fault;
use crate::ids::{Contact, FeedId, PeerId, RequestId, Urgency, WantId};

/// Work for a store. Jobs are executed in the order they are given; each has exactly one [`Done`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// Read a block and the nodes of its proof, for a peer.
    Read {
        /// The peer that asked.
        peer: PeerId,
        /// The feed.
        feed: FeedId,
        /// The peer's request.
        request: RequestId,
        /// How urgent it is.
        urgency: Urgency,
        /// The block.
        block: BlockIndex,
        /// How many siblings the proof needs.
        levels: u32,
    },
    /// Find the blocks that hold some bytes, for a peer.
    Locate {
        /// The peer that asked.
        peer: PeerId,
        /// The feed.
        feed: FeedId,
        /// The peer's request.
        request: RequestId,
        /// How urgent it is.
        urgency: Urgency,
        /// The head length the peer verifies against.
        length: u64,
        /// The bytes.
        bytes: Range<u64>,
    },
    /// Read leaves, for a peer.
    Leaves {
        /// The peer that asked.
        peer: PeerId,
        /// The feed.
        feed: FeedId,
        /// The peer's request.
        request: RequestId,
        /// The node above them.
        top: NodeIndex,
        /// How many siblings the proof needs.
        levels: u32,
    },
    /// Verify leaves and keep them.
    Learn {
        /// The peer they came from.
        peer: PeerId,
        /// The feed.
        feed: FeedId,
        /// Our request.
        request: RequestId,
        /// The leaves.
        proof: LeavesProof,
    },
    /// Prove our head to a peer whose head is shorter.
    Prove {
        /// The peer.
        peer: PeerId,
        /// The feed.
        feed: FeedId,
        /// The peer's length.
        from: u64,
    },
    /// Verify a longer head and take it over.
    Upgrade {
        /// The peer it came from.
        peer: PeerId,
        /// The feed.
        feed: FeedId,
        /// The proof.
        proof: UpgradeProof,
    },
    /// Hold a peer's head, no longer than ours, against ours; keep what shows that they contradict each other.
    Compare {
        /// The peer it came from.
        peer: PeerId,
        /// The feed.
        feed: FeedId,
        /// The head.
        head: SignedHead,
    },
    /// Verify an accusation and keep it.
    Accuse {
        /// The peer it came from.
        peer: PeerId,
        /// The feed.
        feed: FeedId,
        /// What shows that the writer signed two histories.
        accusation: Box<Accusation>,
    },
    /// Verify a block and keep it.
    Store {
        /// The peer it came from.
        peer: PeerId,
        /// The feed.
        feed: FeedId,
        /// Which block it is said to be.
        block: BlockIndex,
        /// How urgent the request was that it answers.
        urgency: Urgency,
        /// The siblings on the way up.
        siblings: alloc::vec::Vec<Node>,
        /// The bytes.
        bytes: Bytes,
    },
}

impl Job {
    /// Returns the feed whose store executes this.
    pub const fn feed(&self) -> FeedId {
        match self {
            Self::Read { feed, .. }
            | Self::Locate { feed, .. }
            | Self::Leaves { feed, .. }
            | Self::Learn { feed, .. }
            | Self::Prove { feed, .. }
            | Self::Upgrade { feed, .. }
            | Self::Compare { feed, .. }
            | Self::Accuse { feed, .. }
            | Self::Store { feed, .. } => *feed,
        }
    }
}

/// The answer to a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// To [`Job::Read`]; `None` when the block is not here or cannot be proven.
    Read {
        /// As in the job.
        peer: PeerId,
        /// As in the job.
        feed: FeedId,
        /// As in the job.
        request: RequestId,
        /// As in the job.
        urgency: Urgency,
        /// As in the job.
        block: BlockIndex,
        /// The block's proof and bytes.
        answer: Option<(BlockProof, Bytes)>,
    },
    /// To [`Job::Locate`]; `None` when the tree here does not reach that far.
    Located {
        /// As in the job.
        peer: PeerId,
        /// As in the job.
        feed: FeedId,
        /// As in the job.
        request: RequestId,
        /// As in the job.
        urgency: Urgency,
        /// As in the job.
        length: u64,
        /// The blocks.
        blocks: Option<Range<u64>>,
    },
    /// To [`Job::Leaves`]; `None` when some of them are not known here.
    Leaves {
        /// As in the job.
        peer: PeerId,
        /// As in the job.
        feed: FeedId,
        /// As in the job.
        request: RequestId,
        /// The leaves.
        proof: Option<LeavesProof>,
    },
    /// To [`Job::Learn`]: whether they are known now, or who is to blame.
    Learned {
        /// As in the job.
        peer: PeerId,
        /// As in the job.
        feed: FeedId,
        /// As in the job.
        request: RequestId,
        /// What came of it.
        result: Result<(), Failure>,
    },
    /// To [`Job::Prove`]; `None` when nodes are missing here.
    Proved {
        /// As in the job.
        peer: PeerId,
        /// As in the job.
        feed: FeedId,
        /// The proof.
        proof: Option<UpgradeProof>,
    },
    /// To [`Job::Upgrade`]: our head now, or whether the peer is to blame.
    Upgraded {
        /// As in the job.
        peer: PeerId,
        /// As in the job.
        feed: FeedId,
        /// What came of it.
        result: Result<SignedHead, Failure>,
    },
    /// To [`Job::Compare`].
    Compared {
        /// As in the job.
        peer: PeerId,
        /// As in the job.
        feed: FeedId,
        /// As in the job.
        head: SignedHead,
        /// What came of it; an accusation is kept already.
        result: Result<Comparison, Failure>,
    },
    /// To [`Job::Accuse`].
    Accused {
        /// As in the job.
        peer: PeerId,
        /// As in the job.
        feed: FeedId,
        /// The accusation, which is kept, or who is to blame.
        result: Result<Box<Accusation>, Failure>,
    },
    /// To [`Job::Store`].
    Stored {
        /// As in the job.
        peer: PeerId,
        /// As in the job.
        feed: FeedId,
        /// As in the job.
        block: BlockIndex,
        /// How many bytes the job carried.
        len: u64,
        /// Where the block begins in the feed, or who is to blame.
        result: Result<u64, Failure>,
    },
}

/// Why something a peer sent was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The peer sent something false.
    Peer,
    /// The proof of a block ends at a node that is not known here: whoever sent it is mistaken about us, or means harm.
    Unproven,
    /// Our own disk failed, or the news is old: nobody is to blame.
    Ours,
    /// The feed is written here, and the peer holds more of it: our store is older than what it wrote.
    Behind(u64),
}

impl From<&VerifyError> for Failure {
    fn from(error: &VerifyError) -> Self {
        match error {
            VerifyError::Behind { theirs, .. } => Self::Behind(*theirs),
            VerifyError::Unreachable => Self::Unproven,
            error if error.is_peers_fault() => Self::Peer,
            _ => Self::Ours,
        }
    }
}

/// What the caller may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A feed's head moved.
    Upgraded {
        /// The feed.
        feed: FeedId,
        /// Its length now.
        length: u64,
    },
    /// The writer of a feed signed two histories; its head moves no more.
    Accused {
        /// The feed.
        feed: FeedId,
    },
    /// A peer holds more of a feed that is written here: our store is older than what it wrote.
    Behind {
        /// The feed.
        feed: FeedId,
        /// The length that the peer holds.
        theirs: u64,
    },
    /// A block is here.
    Stored {
        /// The feed.
        feed: FeedId,
        /// The block.
        block: BlockIndex,
        /// Who sent it.
        peer: PeerId,
    },
    /// Everything a want asked for is here.
    WantDone {
        /// The want.
        want: WantId,
    },
    /// A peer named others that have a feed. Whether it is true is not known.
    Contacts {
        /// Who says so.
        peer: PeerId,
        /// The feed.
        feed: FeedId,
        /// Whom it named.
        contacts: Vec<Contact>,
    },
    /// A feed is open with a peer.
    Opened {
        /// The peer.
        peer: PeerId,
        /// The feed.
        feed: FeedId,
    },
    /// A peer broke the protocol: its stream must be closed.
    Fault {
        /// The peer.
        peer: PeerId,
        /// What it did.
        fault: Fault,
    },
    /// A peer speaks only a newer protocol.
    NewerProtocol {
        /// The peer.
        peer: PeerId,
        /// Its oldest version.
        theirs: u16,
    },
}

/// Whom something may give a frame to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Concern {
    /// The peer that said it.
    Sender,
    /// Every peer.
    Everyone,
}

/// Whether a block can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    /// It is here.
    Here,
    /// A connected peer holds it.
    Connected,
    /// Connected peers told what they hold, and it is not among it.
    Nobody,
    /// Nobody who knows the feed is connected, or none has told yet.
    Unknown,
}
