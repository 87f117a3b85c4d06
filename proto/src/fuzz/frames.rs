//! Single frames.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;
use datnode_feed::fuzz::sample;
use datnode_feed::{BlockIndex, UpgradeProof, leaf};

use crate::ids::{Contact, Priority, RequestId};
use crate::limits::{HEADER_BYTES_MAX, PAYLOAD_BYTES_MAX};
use crate::wire::{Channel, Frame, Hello, Message, Request, Wanted, decode, encode, parse_prefix};

/// The header of a frame; one with a payload if the first byte is odd.
pub fn frame(input: &[u8]) -> bool {
    let Some((first, header)) = input.split_first() else { return false };
    let payload: &[u8] = if first % 2 == 1 { b"payload" } else { b"" };
    let Ok(message) = decode(header, payload) else { return false };
    // Two headers may say the same; ours is one of them.
    let encoded = encode(&message);
    assert!(encoded.len() <= HEADER_BYTES_MAX, "what can be read can be sent");
    assert_eq!(decode(&encoded, payload), Ok(message), "a message comes back");
    true
}

/// Returns a message of each kind.
fn messages() -> Vec<Message> {
    let (channel, id, sample) = (Channel(3), RequestId(77), sample());
    let head = *sample.heads.first().expect("the sample has a head");
    let nodes = vec![leaf(b"a"), leaf(b"b")];
    let request = |wanted| Request::new(id, 9, Priority(5), wanted);
    let hello = Hello {
        version_min: 1,
        version_max: 1,
        features: 0,
        agent: "datnode/0.1.0".into(),
        credit: 1 << 20,
    };
    vec![
        Message::Hello(hello),
        Message::Open { channel, nonce: [1; 16], tag: [2; 32] },
        Message::Reject { channel },
        Message::Close { channel },
        Message::Have {
            channel,
            length: head.head.length,
            held: vec![0..4, 6..9],
            lost: vec![4..5],
            head: Some(head),
        },
        Message::Upgrade { channel, proof: UpgradeProof { from: 4, head, nodes: nodes.clone() } },
        Message::Request { channel, request: request(Wanted::Blocks(vec![1..3, 8..9])) },
        Message::Request { channel, request: request(Wanted::Bytes(10..90)) },
        Message::Cancel { channel, id, blocks: vec![] },
        Message::Missing { channel, id, blocks: vec![2..3] },
        Message::Elsewhere { channel, id, blocks: vec![2..3] },
        Message::Block { channel, id, block: BlockIndex(8), siblings: nodes },
        Message::Credit { total: u64::MAX },
        Message::Peers {
            channel,
            contacts: vec![Contact { peer: b"one".into(), addresses: vec![b"here".into()] }],
        },
        Message::Accuse { channel, accusation: Box::new(sample.accusation.clone()) },
    ]
}

pub(super) fn frame_seeds() -> Vec<Vec<u8>> {
    let seed = |message: Message| {
        let first = u8::from(matches!(message, Message::Block { .. }));
        [vec![first], encode(&message)].concat()
    };
    messages().into_iter().map(seed).collect()
}

/// What precedes a header.
pub fn prefix(input: &[u8]) -> bool {
    let Ok(prefix) = input.try_into() else { return false };
    let Ok((header, payload)) = parse_prefix(prefix) else { return false };
    assert!((1..=HEADER_BYTES_MAX).contains(&header) && payload <= PAYLOAD_BYTES_MAX);
    // Zeros take next to nothing until they are written to.
    let frame = Frame { header: vec![0; header], payload: Bytes::from(vec![0; payload]) };
    assert_eq!(frame.prefix(), prefix, "a prefix comes back");
    true
}

pub(super) fn prefix_seeds() -> Vec<Vec<u8>> {
    vec![vec![60, 0, 0, 0, 0, 4, 0, 0]]
}
