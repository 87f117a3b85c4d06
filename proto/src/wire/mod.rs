//! Frames: a fixed prefix, a FlatBuffers header, and a block's bytes as they are. SPEC 6.1.
//!
//! ```text
//! 0               4                8              8 + header
//! +---------------+----------------+--------------+-----------+
//! | header len LE | payload len LE | header       | payload   |
//! +---------------+----------------+--------------+-----------+
//! ```

mod decode;
mod encode;
#[expect(
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::pedantic,
    clippy::undocumented_unsafe_blocks,
    unreachable_pub,
    unsafe_code,
    reason = "written by flatc; only `encode` and `decode` look at it"
)]
mod generated;
mod message;

use alloc::vec::Vec;

use bytes::Bytes;

pub use decode::decode;
pub use encode::encode;
pub use message::{Channel, FEATURE_CONTACTS, Hello, Message, Request, Runs, Wanted};

use crate::fault::Fault;
use crate::limits::{HEADER_BYTES_MAX, PAYLOAD_BYTES_MAX};

/// How many bytes precede a header.
pub const PREFIX_LEN: usize = 8;

/// A message on its way out: its header, and the bytes of a block or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The encoded message.
    pub header: Vec<u8>,
    /// The bytes of the block it carries.
    pub payload: Bytes,
}

impl Frame {
    /// Returns the prefix of this frame.
    ///
    /// # Panics
    /// Never: what the replicator makes is within the limits.
    pub fn prefix(&self) -> [u8; PREFIX_LEN] {
        let len = |len: usize| u32::try_from(len).expect("frames are bounded").to_le_bytes();
        let mut prefix = [0; PREFIX_LEN];
        prefix[..4].copy_from_slice(&len(self.header.len()));
        prefix[4..].copy_from_slice(&len(self.payload.len()));
        prefix
    }
}

/// Returns the lengths of header and payload that a prefix announces.
///
/// # Errors
/// [`Fault::Oversized`] before anything is allocated, [`Fault::Malformed`] for an empty header.
pub fn parse_prefix(prefix: [u8; PREFIX_LEN]) -> Result<(usize, usize), Fault> {
    let [a, b, c, d, e, f, g, h] = prefix;
    let len = |bytes| usize::try_from(u32::from_le_bytes(bytes)).map_err(|_| Fault::Oversized);
    let (header, payload) = (len([a, b, c, d])?, len([e, f, g, h])?);
    if header > HEADER_BYTES_MAX || payload > PAYLOAD_BYTES_MAX {
        Err(Fault::Oversized)
    } else if header == 0 {
        Err(Fault::Malformed)
    } else {
        Ok((header, payload))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generated_code_belongs_to_the_schema() {
        let mut lines = include_str!("generated.rs").lines().skip(1);
        for line in include_str!("../../schema/wire.fbs").lines() {
            let made_from = lines.next().and_then(|line| line.strip_prefix("//="));
            assert_eq!(made_from.map(str::trim_start), Some(line.trim()), "run schema/generate.sh");
        }
    }

    #[test]
    fn oversized_frames_are_refused_by_their_prefix() {
        let prefix = |header: usize, payload: usize| {
            let mut prefix = [0; PREFIX_LEN];
            prefix[..4].copy_from_slice(&u32::try_from(header).unwrap().to_le_bytes());
            prefix[4..].copy_from_slice(&u32::try_from(payload).unwrap().to_le_bytes());
            parse_prefix(prefix)
        };
        assert_eq!(prefix(10, 0), Ok((10, 0)));
        assert_eq!(prefix(HEADER_BYTES_MAX, PAYLOAD_BYTES_MAX), Ok((80 << 10, 1 << 20)));
        assert_eq!(prefix(HEADER_BYTES_MAX + 1, 0), Err(Fault::Oversized));
        assert_eq!(prefix(1, PAYLOAD_BYTES_MAX + 1), Err(Fault::Oversized));
        assert_eq!(prefix(0, 0), Err(Fault::Malformed));
    }
}
