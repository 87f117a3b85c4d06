//! The messages, as our own checked types. SPEC 6.3.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::num::NonZeroU64;
use core::ops::Range;

use datnode_feed::{Accusation, BlockIndex, Node, NodeIndex, SignedHead, UpgradeProof};

use crate::capability::NONCE_LEN;
use crate::ids::{Contact, Priority, RequestId};
use crate::job::Concern;

/// The number under which the *sender* of a message opened a feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Channel(pub u32);

/// Blocks as ascending, disjoint, non-empty runs.
pub type Runs = Vec<Range<u64>>;

/// One message; a block's bytes travel behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The first message of each side.
    Hello(Hello),
    /// Opens a feed, with proof that the sender knows its key.
    Open {
        /// The sender's number for it.
        channel: Channel,
        /// Random bytes that make the tag unique.
        nonce: [u8; NONCE_LEN],
        /// The proof.
        tag: [u8; 32],
    },
    /// The answer to an Open that fits no feed here.
    Reject {
        /// The receiver's number, from its Open.
        channel: Channel,
    },
    /// The sender replicates this feed no longer.
    Close {
        /// The sender's number.
        channel: Channel,
    },
    /// What the sender holds, or what changed since it last said so.
    Have {
        /// The sender's number.
        channel: Channel,
        /// The length of its head.
        length: u64,
        /// Blocks it holds now.
        held: Runs,
        /// Blocks it holds no longer.
        lost: Runs,
        /// The head itself, when its length is told for the first time.
        head: Option<SignedHead>,
    },
    /// A longer head, with its proof.
    Upgrade {
        /// The sender's number.
        channel: Channel,
        /// The proof.
        proof: UpgradeProof,
    },
    /// A lease: blocks that the receiver should send.
    Request {
        /// The sender's number.
        channel: Channel,
        /// What is asked.
        request: Request,
    },
    /// Blocks of a request that need not be sent any more.
    Cancel {
        /// The sender's number.
        channel: Channel,
        /// The request.
        id: RequestId,
        /// The blocks; none means all that is left.
        blocks: Runs,
    },
    /// Blocks of a request that the sender does not have.
    Missing {
        /// The sender's number.
        channel: Channel,
        /// The request.
        id: RequestId,
        /// The blocks; none means the whole request.
        blocks: Runs,
    },
    /// Blocks of a request that others may have by now: the sender has some that nobody has, and gives these if it is asked again.
    Elsewhere {
        /// The sender's number.
        channel: Channel,
        /// The request.
        id: RequestId,
        /// The blocks.
        blocks: Runs,
    },
    /// A block with its proof; its bytes are the frame's payload.
    Block {
        /// The sender's number.
        channel: Channel,
        /// The request it answers.
        id: RequestId,
        /// Which block it is.
        block: BlockIndex,
        /// The siblings on the way up, bottom first; the leaf is the hash of the payload.
        siblings: Vec<Node>,
    },
    /// Leaves without their blocks.
    Leaves {
        /// The sender's number.
        channel: Channel,
        /// The request it answers.
        id: RequestId,
        /// The leaves of all blocks that were asked for.
        leaves: Vec<Node>,
        /// The siblings on the way up from the node above them, bottom first.
        siblings: Vec<Node>,
    },
    /// Others that have the feed.
    Peers {
        /// The sender's number.
        channel: Channel,
        /// Who and where; at least one.
        contacts: Vec<Contact>,
    },
    /// What shows that the feed's writer signed two histories.
    Accuse {
        /// The sender's number.
        channel: Channel,
        /// The proof of it.
        accusation: Box<Accusation>,
    },
    /// How many bytes the blocks may count that the receiver sends on this stream in all.
    Credit {
        /// The total since the stream began.
        total: u64,
    },
}

impl Message {
    /// Returns whom this may give a frame to send, if it is taken.
    ///
    /// What a peer takes back, or tells of its head, may be what others were not asked for or told so far.
    pub(crate) const fn concern(&self) -> Concern {
        match self {
            Self::Reject { .. }
            | Self::Close { .. }
            | Self::Missing { .. }
            | Self::Elsewhere { .. } => Concern::Everyone,
            Self::Have { lost, head, .. } if !lost.is_empty() || head.is_some() => {
                Concern::Everyone
            }
            Self::Hello(_)
            | Self::Open { .. }
            | Self::Have { .. }
            | Self::Upgrade { .. }
            | Self::Request { .. }
            | Self::Cancel { .. }
            | Self::Block { .. }
            | Self::Leaves { .. }
            | Self::Accuse { .. }
            | Self::Peers { .. }
            | Self::Credit { .. } => Concern::Sender,
        }
    }

    /// Returns the sender's number of the feed that this is about, if it is about one.
    pub const fn channel(&self) -> Option<Channel> {
        match self {
            Self::Hello(_) | Self::Credit { .. } => None,
            Self::Open { channel, .. }
            | Self::Reject { channel }
            | Self::Close { channel }
            | Self::Have { channel, .. }
            | Self::Upgrade { channel, .. }
            | Self::Request { channel, .. }
            | Self::Cancel { channel, .. }
            | Self::Missing { channel, .. }
            | Self::Elsewhere { channel, .. }
            | Self::Block { channel, .. }
            | Self::Leaves { channel, .. }
            | Self::Peers { channel, .. }
            | Self::Accuse { channel, .. } => Some(*channel),
        }
    }
}

/// The feature bit of whoever wants to be told of other peers of a drive, and others of it.
pub const FEATURE_CONTACTS: u64 = 1;

/// Who the sender is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The oldest version it speaks.
    pub version_min: u16,
    /// The newest.
    pub version_max: u16,
    /// Optional features, a bit each; unknown bits are ignored.
    pub features: u64,
    /// Its name and version, for people.
    pub agent: String,
    /// The first byte credit it grants.
    pub credit: u64,
}

/// What a lease asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Names the request on this stream.
    pub id: RequestId,
    /// The head length that the asker verifies against.
    pub length: u64,
    /// How urgent it is.
    pub priority: Priority,
    /// When it should be there, in milliseconds since the asker said hello; none is no matter when.
    pub due: Option<NonZeroU64>,
    /// Whether the blocks may come in any order; else they come in theirs.
    pub any_order: bool,
    /// Blocks, the bytes whose blocks are wanted, or leaves.
    pub wanted: Wanted,
}

impl Request {
    /// Asks for something, in its order and no matter when.
    pub const fn new(id: RequestId, length: u64, priority: Priority, wanted: Wanted) -> Self {
        Self { id, length, priority, due: None, any_order: false, wanted }
    }
}

/// Blocks, bytes or leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// These blocks.
    Blocks(Runs),
    /// The blocks that hold these bytes of the feed.
    Bytes(Range<u64>),
    /// The leaves of all blocks below this node, of which there are [`LEAVES_MAX`](crate::limits::LEAVES_MAX) at most.
    Leaves(NodeIndex),
}
