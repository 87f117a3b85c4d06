//! What a peer can do wrong.

use thiserror::Error;

/// What a peer did wrong. A fault closes that peer's stream, never the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Fault {
    /// Bytes that are no frame, or a frame that is no message.
    #[error("malformed frame")]
    Malformed,
    /// A frame longer than it may be.
    #[error("oversized frame")]
    Oversized,
    /// A message in a state that does not allow it.
    #[error("unexpected {0}")]
    Unexpected(&'static str),
    /// A message on a channel that is not open.
    #[error("unknown channel")]
    UnknownChannel,
    /// No version of the protocol is spoken by both.
    #[error("no common protocol version: theirs is {0}")]
    Version(u16),
    /// A block does not hash up to the signed head.
    #[error("block {} does not match the signed head", .0.0)]
    BadBlock(datnode_feed::BlockIndex),
    /// Leaves do not hash up to the signed head.
    #[error("leaves that do not match the signed head")]
    BadLeaves,
    /// A head or its proof is wrong.
    #[error("a head or its proof is wrong")]
    BadUpgrade,
    /// An accusation that shows nothing.
    #[error("an accusation that shows nothing")]
    BadAccusation,
    /// Blocks beyond the byte credit.
    #[error("more bytes than it was granted")]
    Credit,
    /// Too many of something.
    #[error("too many {0}")]
    TooMany(&'static str),
}
