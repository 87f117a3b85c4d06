//! Messages to headers.

use alloc::vec::Vec;
use core::num::NonZeroU64;
use core::ops::Range;

use datnode_feed::Node;
use datnode_feed::codec::Writer;
use flatbuffers::{FlatBufferBuilder, UnionWIPOffset, WIPOffset};

use super::generated::datnode::wire as fb;
use super::message::{Message, Wanted};
use crate::ids::Contact;

type Built = (fb::Body, WIPOffset<UnionWIPOffset>);

/// Returns the header of a frame that carries `message`.
pub fn encode(message: &Message) -> Vec<u8> {
    let mut builder = FlatBufferBuilder::with_capacity(256);
    let (body_type, body) = body(&mut builder, message);
    let frame = fb::Frame::create(&mut builder, &fb::FrameArgs { body_type, body: Some(body) });
    builder.finish(frame, None);
    builder.finished_data().to_vec()
}

fn body(b: &mut FlatBufferBuilder<'_>, message: &Message) -> Built {
    match message {
        Message::Hello(hello) => {
            let agent = b.create_string(&hello.agent);
            let args = fb::HelloArgs {
                version_min: hello.version_min,
                version_max: hello.version_max,
                features: hello.features,
                agent: Some(agent),
                credit: hello.credit,
            };
            (fb::Body::Hello, fb::Hello::create(b, &args).as_union_value())
        }
        Message::Open { channel, nonce, tag } => {
            let (nonce, tag) = (b.create_vector(nonce), b.create_vector(tag));
            let args = fb::OpenArgs { channel: channel.0, nonce: Some(nonce), tag: Some(tag) };
            (fb::Body::Open, fb::Open::create(b, &args).as_union_value())
        }
        Message::Reject { channel } => {
            let args = fb::RejectArgs { channel: channel.0 };
            (fb::Body::Reject, fb::Reject::create(b, &args).as_union_value())
        }
        Message::Close { channel } => {
            let args = fb::CloseArgs { channel: channel.0 };
            (fb::Body::Close, fb::Close::create(b, &args).as_union_value())
        }
        Message::Credit { total } => {
            let args = fb::CreditArgs { total: *total };
            (fb::Body::Credit, fb::Credit::create(b, &args).as_union_value())
        }
        other => replication(b, other),
    }
}

/// The messages about an open feed's blocks.
fn replication(b: &mut FlatBufferBuilder<'_>, message: &Message) -> Built {
    match message {
        Message::Have { channel, length, held, lost, head } => {
            let (held, lost) = (b.create_vector(&runs(held)), b.create_vector(&runs(lost)));
            let (held, lost) = (Some(held), Some(lost));
            let head = head.as_ref().map(|head| b.create_vector(&head.encode()));
            let args = fb::HaveArgs { channel: channel.0, length: *length, held, lost, head };
            (fb::Body::Have, fb::Have::create(b, &args).as_union_value())
        }
        Message::Upgrade { channel, proof } => {
            let nodes = b.create_vector(&nodes(&proof.nodes));
            let head = b.create_vector(&proof.head.encode());
            let (head, nodes) = (Some(head), Some(nodes));
            let args = fb::UpgradeArgs { channel: channel.0, from: proof.from, head, nodes };
            (fb::Body::Upgrade, fb::Upgrade::create(b, &args).as_union_value())
        }
        Message::Accuse { channel, accusation } => {
            let accusation = Some(b.create_vector(&accusation.encode()));
            let args = fb::AccuseArgs { channel: channel.0, accusation };
            (fb::Body::Accuse, fb::Accuse::create(b, &args).as_union_value())
        }
        Message::Peers { channel, contacts } => {
            let contacts = Some(b.create_vector(&written(contacts)));
            let args = fb::PeersArgs { channel: channel.0, contacts };
            (fb::Body::Peers, fb::Peers::create(b, &args).as_union_value())
        }
        Message::Request { channel, request } => {
            let (mut blocks, mut bytes, mut leaves) = (None, None, None);
            match &request.wanted {
                Wanted::Blocks(wanted) => blocks = Some(b.create_vector(&runs(wanted))),
                Wanted::Bytes(wanted) => bytes = Some(run(wanted)),
                Wanted::Leaves(top) => leaves = Some(run(&top.blocks())),
            }
            let args = fb::RequestArgs {
                channel: channel.0,
                id: request.id.0,
                length: request.length,
                priority: request.priority.0,
                blocks,
                bytes: bytes.as_ref(),
                due_ms: request.due.map_or(0, NonZeroU64::get),
                any_order: request.any_order,
                leaves: leaves.as_ref(),
            };
            (fb::Body::Request, fb::Request::create(b, &args).as_union_value())
        }
        Message::Cancel { channel, id, blocks } => {
            let blocks = Some(b.create_vector(&runs(blocks)));
            let args = fb::CancelArgs { channel: channel.0, id: id.0, blocks };
            (fb::Body::Cancel, fb::Cancel::create(b, &args).as_union_value())
        }
        Message::Missing { channel, id, blocks } => {
            let blocks = Some(b.create_vector(&runs(blocks)));
            let args = fb::MissingArgs { channel: channel.0, id: id.0, blocks };
            (fb::Body::Missing, fb::Missing::create(b, &args).as_union_value())
        }
        Message::Elsewhere { channel, id, blocks } => {
            let blocks = Some(b.create_vector(&runs(blocks)));
            let args = fb::ElsewhereArgs { channel: channel.0, id: id.0, blocks };
            (fb::Body::Elsewhere, fb::Elsewhere::create(b, &args).as_union_value())
        }
        Message::Leaves { channel, id, leaves, siblings } => {
            let leaves = Some(b.create_vector(&nodes(leaves)));
            let siblings = Some(b.create_vector(&nodes(siblings)));
            let args = fb::LeavesArgs { channel: channel.0, id: id.0, leaves, siblings };
            (fb::Body::Leaves, fb::Leaves::create(b, &args).as_union_value())
        }
        Message::Block { channel, id, block, siblings } => {
            let siblings = Some(b.create_vector(&nodes(siblings)));
            let args = fb::BlockArgs { channel: channel.0, id: id.0, block: block.0, siblings };
            (fb::Body::Block, fb::Block::create(b, &args).as_union_value())
        }
        _ => unreachable!("the caller encodes all other messages"),
    }
}

/// Returns contacts in their own form (SPEC 7.10): a table for each would be more than a header may hold.
fn written(contacts: &[Contact]) -> Vec<u8> {
    let mut writer = Writer::new();
    for Contact { peer, addresses } in contacts {
        writer.bytes(peer).varint(addresses.len() as u64);
        for address in addresses {
            writer.bytes(address);
        }
    }
    writer.into_vec()
}

fn run(range: &Range<u64>) -> fb::Run {
    fb::Run::new(range.start, range.end - range.start)
}

fn runs(ranges: &[Range<u64>]) -> Vec<fb::Run> {
    ranges.iter().map(run).collect()
}

fn nodes(nodes: &[Node]) -> Vec<fb::Node> {
    nodes.iter().map(|node| fb::Node::new(&node.hash.0, node.size)).collect()
}
