//! Messages on the wire: every one survives, nothing else passes, and the bytes stay what they are.

use std::num::NonZeroU64;

use datnode_feed::{
    Accusation, Ancestor, BlockIndex, Hash, Head, Node, NodeIndex, SecretKey, SignedHead,
    UpgradeProof, leaf,
};
use datnode_proto::limits::{
    AGENT_BYTES_MAX, CONTACT_ADDRESSES_MAX, CONTACT_BYTES_MAX, CONTACTS_MAX, HEADER_BYTES_MAX,
    PAYLOAD_BYTES_MAX, RUNS_MAX,
};
use datnode_proto::wire::{Channel, Hello, Message, Request, Wanted, decode, encode};
use datnode_proto::{Contact, Fault, Priority, RequestId};

fn messages() -> Vec<Message> {
    let channel = Channel(3);
    let id = RequestId(77);
    let node = |name: &[u8]| leaf(name);
    let ancestor = Some(Ancestor { fork: 0, length: 4, root: Hash([8; 32]) });
    let head = Head { fork: 1, length: 9, byte_length: 100, root: Hash([7; 32]), ancestor };
    let head = SignedHead::sign(head, &SecretKey::from_bytes([1; 32]));
    let request = |wanted| Request::new(id, 9, Priority(5), wanted);
    vec![
        Message::Hello(Hello {
            version_min: 1,
            version_max: 1,
            features: 0,
            agent: "datnode/0.1.0".into(),
            credit: 1 << 20,
        }),
        Message::Open { channel, nonce: [1; 16], tag: [2; 32] },
        Message::Reject { channel },
        Message::Close { channel },
        Message::Have { channel, length: 9, held: vec![0..4, 6..9], lost: vec![4..5], head: None },
        Message::Have { channel, length: 9, held: vec![], lost: vec![], head: Some(head) },
        Message::Upgrade {
            channel,
            proof: UpgradeProof { from: 4, head, nodes: vec![node(b"a"), node(b"b")] },
        },
        Message::Request { channel, request: request(Wanted::Blocks(vec![1..3, 8..9])) },
        Message::Request { channel, request: request(Wanted::Bytes(10..90)) },
        Message::Request {
            channel,
            request: Request {
                due: NonZeroU64::new(1_500),
                any_order: true,
                ..request(Wanted::Blocks(vec![0..9]))
            },
        },
        Message::Request { channel, request: request(Wanted::Leaves(NodeIndex(9))) },
        Message::Cancel { channel, id, blocks: vec![] },
        Message::Missing { channel, id, blocks: vec![2..3] },
        Message::Elsewhere { channel, id, blocks: vec![2..3] },
        Message::Block { channel, id, block: BlockIndex(8), siblings: vec![node(b"c")] },
        Message::Leaves { channel, id, leaves: vec![node(b"f")], siblings: vec![node(b"g")] },
        Message::Credit { total: u64::MAX },
        Message::Peers {
            channel,
            contacts: vec![
                Contact { peer: b"one".into(), addresses: vec![b"here".into(), b"there".into()] },
                Contact { peer: b"two".into(), addresses: vec![b"far".into()] },
            ],
        },
        Message::Accuse {
            channel,
            accusation: Box::new(Accusation {
                shorter: head,
                longer: head,
                peaks: vec![node(b"d"), node(b"e")],
                nodes: vec![],
            }),
        },
    ]
}

#[test]
fn every_message_survives() {
    for message in messages() {
        let header = encode(&message);
        assert!(header.len() <= HEADER_BYTES_MAX);
        assert_eq!(decode(&header, b""), Ok(message));
    }
}

/// The names of the messages, as SPEC 6.6 has them.
const NAMES: [&str; 19] = [
    "Hello",
    "Open",
    "Reject",
    "Close",
    "Have",
    "Have, with a head",
    "Upgrade",
    "Request, blocks",
    "Request, bytes",
    "Request, due",
    "Request, leaves",
    "Cancel",
    "Missing",
    "Elsewhere",
    "Block",
    "Leaves",
    "Credit",
    "Peers",
    "Accuse",
];

#[test]
fn the_bytes_are_as_written_down() {
    // A change here is a change of format: SPEC 6, and a new version.
    let spec = include_str!("../../SPEC.md");
    let (_, chapter) = spec.split_once("## 6.6 Vectors").expect("the chapter is there");
    let row = |name: &str| {
        let row = chapter.lines().find(|line| line.starts_with(&format!("| {name} |")));
        let cells: Vec<&str> = row?.split('|').map(str::trim).collect();
        Some(cells.get(2)?.trim_matches('`').to_owned())
    };
    let messages = messages();
    assert_eq!(messages.len(), NAMES.len());
    for (message, name) in messages.into_iter().zip(NAMES) {
        let encoded = encode(&message);
        let hex: String = encoded.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(row(name), Some(hex), "{name}");
    }
}

#[test]
fn only_blocks_carry_bytes() {
    for message in messages() {
        let carried = decode(&encode(&message), b"payload");
        assert_eq!(carried.is_ok(), matches!(message, Message::Block { .. }), "{message:?}");
    }
}

#[test]
fn damaged_frames_are_refused_or_mean_something_else_but_never_panic() {
    for message in messages() {
        let header = encode(&message);
        for bit in 0..header.len() * 8 {
            let mut damaged = header.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let _ = decode(&damaged, b"");
        }
        for len in 0..header.len() {
            let _ = decode(&header[..len], b"");
        }
    }
    let mut state = 1_u64;
    for round in 0..200_000 {
        let garbage: Vec<u8> = (0..round % 200)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            })
            .collect();
        let _ = decode(&garbage, b"");
    }
}

#[test]
fn peers_are_named_so_many_and_so_long() {
    let named = |contacts: usize, addresses: usize, len: usize| {
        let contact = Contact { peer: vec![1; len], addresses: vec![vec![2; len]; addresses] };
        let (channel, contacts) = (Channel(0), vec![contact; contacts]);
        decode(&encode(&Message::Peers { channel, contacts }), b"")
    };
    let (most, addresses, len) = (CONTACTS_MAX, CONTACT_ADDRESSES_MAX, CONTACT_BYTES_MAX);
    assert!(named(most, addresses, len).is_ok());
    for (contacts, addresses, len) in
        [(0, 1, 1), (1, 0, 1), (most + 1, 1, 1), (1, addresses + 1, 1), (1, 1, len + 1)]
    {
        assert_eq!(named(contacts, addresses, len), Err(Fault::Malformed));
    }
}

#[test]
fn runs_have_one_form_and_a_limit() {
    let have = |held: Vec<std::ops::Range<u64>>| {
        decode(
            &encode(&Message::Have {
                channel: Channel(0),
                length: 9,
                held,
                lost: vec![],
                head: None,
            }),
            b"",
        )
    };
    assert!(have(vec![0..2, 3..4]).is_ok());
    for bad in [vec![0..2, 2..4], vec![3..4, 0..1], vec![0..3, 1..2], vec![5..5]] {
        assert_eq!(have(bad), Err(Fault::Malformed));
    }
    let most = (0..RUNS_MAX as u64).map(|at| at * 2..at * 2 + 1);
    assert!(have(most.clone().collect()).is_ok());
    assert!(have(most.chain([1_000_000..1_000_001]).collect()).is_err());
}

#[test]
fn too_many_nodes_are_refused() {
    let siblings = vec![Node { hash: Hash([1; 32]), size: 1 }; 57];
    let block =
        Message::Block { channel: Channel(0), id: RequestId(0), block: BlockIndex(0), siblings };
    assert_eq!(decode(&encode(&block), b""), Err(Fault::Malformed));
}

#[test]
fn an_agent_has_so_many_bytes_and_versions_ascend() {
    let hello = |len: usize, version_min, version_max| {
        let agent = "a".repeat(len);
        let hello = Hello { version_min, version_max, features: 0, agent, credit: 0 };
        decode(&encode(&Message::Hello(hello)), b"")
    };
    assert!(hello(AGENT_BYTES_MAX, 1, 1).is_ok());
    assert_eq!(hello(AGENT_BYTES_MAX + 1, 1, 1), Err(Fault::Malformed));
    assert_eq!(hello(0, 2, 1), Err(Fault::Malformed));
}

#[test]
fn frames_are_as_long_as_they_may_be() {
    let id = RequestId(0);
    let block = Message::Block { channel: Channel(0), id, block: BlockIndex(0), siblings: vec![] };
    let header = encode(&block);
    assert!(decode(&header, &vec![0; PAYLOAD_BYTES_MAX]).is_ok());
    assert_eq!(decode(&header, &vec![0; PAYLOAD_BYTES_MAX + 1]), Err(Fault::Oversized));
    let longest = vec![0; HEADER_BYTES_MAX];
    assert_eq!(decode(&longest, b""), Err(Fault::Malformed), "it is looked at");
    assert_eq!(decode(&[&longest[..], &[0]].concat(), b""), Err(Fault::Oversized));
}
