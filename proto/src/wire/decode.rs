//! Headers to messages: the one place where a flatbuffer is looked at.
//!
//! The verifier runs with tight limits, since its defaults let a small frame cost a tenth of a second. What it lets through is
//! copied into our own types, and every number is checked on the way.

use alloc::boxed::Box;
use alloc::string::String;
use core::num::NonZeroU64;
use core::ops::Range;

use datnode_feed::codec::{DecodeError, Reader};
use datnode_feed::limits::LENGTH_END;
use datnode_feed::{
    Accusation, BlockIndex, Hash, LEVELS_MAX, Node, NodeIndex, SignedHead, UPGRADE_NODES_MAX,
    UpgradeProof, subtrees,
};

use flatbuffers::{Vector, VerifierOptions};

use super::generated::datnode::wire as fb;
use super::message::{Channel, Hello, Message, Request, Runs, Wanted};
use crate::fault::Fault;
use crate::ids::{Contact, Priority, RequestId};
use crate::limits::{
    AGENT_BYTES_MAX, CONTACT_ADDRESSES_MAX, CONTACT_BYTES_MAX, CONTACTS_MAX, HEADER_BYTES_MAX,
    LEAVES_MAX, PAYLOAD_BYTES_MAX, RUNS_MAX,
};

/// Tight: our deepest message has three levels, our widest a handful of tables.
const VERIFIER: VerifierOptions = VerifierOptions {
    max_depth: 8,
    max_tables: 16,
    max_apparent_size: 4 * HEADER_BYTES_MAX,
    ignore_missing_null_terminator: false,
};

/// Reads a frame.
///
/// # Errors
/// [`Fault::Malformed`] for anything but exactly one message within the limits.
pub fn decode(header: &[u8], payload: &[u8]) -> Result<Message, Fault> {
    if header.len() > HEADER_BYTES_MAX || payload.len() > PAYLOAD_BYTES_MAX {
        return Err(Fault::Oversized);
    }
    let frame = flatbuffers::root_with_opts::<fb::Frame<'_>>(&VERIFIER, header)
        .map_err(|_| Fault::Malformed)?;
    let message = body(&frame).ok_or(Fault::Malformed)?;
    let carries = matches!(message, Message::Block { .. });
    if carries || payload.is_empty() { Ok(message) } else { Err(Fault::Malformed) }
}

fn body(frame: &fb::Frame<'_>) -> Option<Message> {
    Some(match frame.body_type() {
        fb::Body::Hello => hello(&frame.body_as_hello()?)?,
        fb::Body::Open => {
            let open = frame.body_as_open()?;
            Message::Open {
                channel: Channel(open.channel()),
                nonce: open.nonce().bytes().try_into().ok()?,
                tag: open.tag().bytes().try_into().ok()?,
            }
        }
        fb::Body::Reject => Message::Reject { channel: Channel(frame.body_as_reject()?.channel()) },
        fb::Body::Close => Message::Close { channel: Channel(frame.body_as_close()?.channel()) },
        fb::Body::Credit => Message::Credit { total: frame.body_as_credit()?.total() },
        fb::Body::Have => {
            let have = frame.body_as_have()?;
            let lost = have.lost().map_or(Some(Runs::new()), runs)?;
            let length = length(have.length())?;
            let channel = Channel(have.channel());
            let head = have.head().map(|head| SignedHead::decode(head.bytes())).transpose().ok()?;
            if head.is_some_and(|head| head.head.length != length) {
                return None;
            }
            Message::Have { channel, length, held: runs(have.held())?, lost, head }
        }
        fb::Body::Upgrade => {
            let upgrade = frame.body_as_upgrade()?;
            let head = SignedHead::decode(upgrade.head().bytes()).ok()?;
            let nodes = nodes(upgrade.nodes(), UPGRADE_NODES_MAX)?;
            let proof = UpgradeProof { from: length(upgrade.from())?, head, nodes };
            Message::Upgrade { channel: Channel(upgrade.channel()), proof }
        }
        fb::Body::Accuse => {
            let accuse = frame.body_as_accuse()?;
            let accusation = Box::new(Accusation::decode(accuse.accusation().bytes()).ok()?);
            Message::Accuse { channel: Channel(accuse.channel()), accusation }
        }
        fb::Body::Peers => {
            let peers = frame.body_as_peers()?;
            let contacts = contacts(peers.contacts().bytes()).ok()?;
            let channel = Channel(peers.channel());
            if contacts.is_empty() {
                return None;
            }
            Message::Peers { channel, contacts }
        }
        fb::Body::Request => request(&frame.body_as_request()?)?,
        fb::Body::Cancel => {
            let cancel = frame.body_as_cancel()?;
            let (channel, id) = (Channel(cancel.channel()), RequestId(cancel.id()));
            Message::Cancel { channel, id, blocks: runs(cancel.blocks())? }
        }
        fb::Body::Missing => {
            let missing = frame.body_as_missing()?;
            let (channel, id) = (Channel(missing.channel()), RequestId(missing.id()));
            Message::Missing { channel, id, blocks: runs(missing.blocks())? }
        }
        fb::Body::Elsewhere => {
            let elsewhere = frame.body_as_elsewhere()?;
            let (channel, id) = (Channel(elsewhere.channel()), RequestId(elsewhere.id()));
            Message::Elsewhere { channel, id, blocks: runs(elsewhere.blocks())? }
        }
        fb::Body::Leaves => {
            let leaves = frame.body_as_leaves()?;
            let (channel, id) = (Channel(leaves.channel()), RequestId(leaves.id()));
            let siblings = nodes(leaves.siblings(), LEVELS_MAX)?;
            Message::Leaves { channel, id, leaves: nodes(leaves.leaves(), LEAVES_MAX)?, siblings }
        }
        fb::Body::Block => {
            let block = frame.body_as_block()?;
            let siblings = nodes(block.siblings(), LEVELS_MAX)?;
            let (channel, id) = (Channel(block.channel()), RequestId(block.id()));
            Message::Block { channel, id, block: BlockIndex(length(block.block())?), siblings }
        }
        _ => return None,
    })
}

fn hello(hello: &fb::Hello<'_>) -> Option<Message> {
    let agent = hello.agent().unwrap_or_default();
    let valid = agent.len() <= AGENT_BYTES_MAX && hello.version_min() <= hello.version_max();
    valid.then(|| {
        Message::Hello(Hello {
            version_min: hello.version_min(),
            version_max: hello.version_max(),
            features: hello.features(),
            agent: String::from(agent),
            credit: hello.credit(),
        })
    })
}

fn request(request: &fb::Request<'_>) -> Option<Message> {
    let wanted = match (request.blocks(), request.bytes(), request.leaves()) {
        (Some(blocks), None, None) => Wanted::Blocks(runs(blocks).filter(|runs| !runs.is_empty())?),
        (None, Some(bytes), None) => Wanted::Bytes(run(bytes)?),
        (None, None, Some(leaves)) => Wanted::Leaves(subtree(run(leaves)?)?),
        _ => return None,
    };
    let request_ = Request {
        id: RequestId(request.id()),
        length: length(request.length())?,
        priority: Priority(request.priority()),
        due: NonZeroU64::new(request.due_ms()),
        any_order: request.any_order(),
        wanted,
    };
    Some(Message::Request { channel: Channel(request.channel()), request: request_ })
}

/// Reads contacts: SPEC 7.10.
fn contacts(bytes: &[u8]) -> Result<alloc::vec::Vec<Contact>, DecodeError> {
    let mut reader = Reader::new(bytes);
    let mut contacts = alloc::vec::Vec::new();
    while !reader.is_empty() {
        let peer = reader.bytes(CONTACT_BYTES_MAX)?.to_vec();
        let count = reader.varint()?;
        if contacts.len() >= CONTACTS_MAX || !(1..=CONTACT_ADDRESSES_MAX as u64).contains(&count) {
            return Err(DecodeError::Invalid("contacts"));
        }
        let address = |_| reader.bytes(CONTACT_BYTES_MAX).map(<[u8]>::to_vec);
        let addresses = (0..count).map(address).collect::<Result<_, _>>()?;
        contacts.push(Contact { peer, addresses });
    }
    Ok(contacts)
}

fn length(value: u64) -> Option<u64> {
    (value < LENGTH_END).then_some(value)
}

fn run(run: &fb::Run) -> Option<Range<u64>> {
    let end = length(run.start().checked_add(run.count())?)?;
    (run.count() > 0).then_some(run.start()..end)
}

/// Blocks whose leaves are asked for must be all that are below one node.
fn subtree(blocks: Range<u64>) -> Option<NodeIndex> {
    let is_short = blocks.end - blocks.start <= LEAVES_MAX as u64;
    let node = subtrees(blocks.start, blocks.end).next().filter(|_| is_short)?;
    (node.blocks() == blocks).then_some(node)
}

/// Runs must ascend with gaps between them, so that one set has one form.
fn runs(vector: Vector<'_, fb::Run>) -> Option<Runs> {
    if vector.len() > RUNS_MAX {
        return None;
    }
    let mut runs = Runs::with_capacity(vector.len());
    for next in vector.iter() {
        let next = run(next)?;
        if runs.last().is_some_and(|last| last.end >= next.start) {
            return None;
        }
        runs.push(next);
    }
    Some(runs)
}

fn nodes(vector: Vector<'_, fb::Node>, limit: usize) -> Option<alloc::vec::Vec<Node>> {
    let node = |node: &fb::Node| Node { hash: Hash(node.hash().into()), size: node.size() };
    (vector.len() <= limit).then(|| vector.iter().map(node).collect())
}
