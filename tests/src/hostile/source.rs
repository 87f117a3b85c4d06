//! Sources that do not keep what they promise: each serves a drive honestly until there is a chance to do harm.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use datnode_feed::{Hash, Node, UpgradeProof};
use datnode_proto::limits::PAYLOAD_BYTES_MAX;
use datnode_proto::wire::{Message, PREFIX_LEN, Runs};

use super::puppet::{CONTENT, Said, serve};
use super::{Goods, Line, flood};

/// How often harm was done.
#[derive(Clone, Debug, Default)]
pub struct Acts(Arc<AtomicU64>);

impl Acts {
    /// Returns how often.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    pub(super) fn note(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// What a source does to those who ask it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// One bit of each block is another.
    WrongBytes,
    /// One bit of each proof is another, or there is a node too many.
    WrongProof,
    /// Each block is another one, proof and all.
    OtherBlock,
    /// Each block comes twice.
    Twice,
    /// It claims to have everything, and sends nothing.
    Silent,
    /// It claims to have everything, says that it does not when asked, and claims it again.
    Denies,
    /// It tells of a longer history that nobody signed.
    LongHistory,
    /// It tells what it has, in as many pieces as fit, without end.
    HaveFlood,
    /// It opens feeds without end.
    OpenFlood,
    /// It asks for everything without end.
    RequestFlood,
    /// A frame whose lengths are the greatest there are.
    Oversized,
    /// A frame that ends nowhere.
    Partial,
    /// A frame of which a byte comes each second.
    Trickle,
    /// Bytes that are no frame.
    Garbage,
}

impl Source {
    /// Those that are found out and thrown out.
    pub const FAULTY: [Self; 9] = [
        Self::WrongBytes,
        Self::WrongProof,
        Self::OtherBlock,
        Self::Twice,
        Self::LongHistory,
        Self::OpenFlood,
        Self::RequestFlood,
        Self::Oversized,
        Self::Garbage,
    ];
    /// Those that break no rule that one frame could show.
    pub const TIRING: [Self; 5] =
        [Self::Silent, Self::Denies, Self::HaveFlood, Self::Partial, Self::Trickle];

    /// Serves `goods` in its way.
    pub async fn act(self, line: Line, goods: Goods, acts: Acts) {
        let mut former = None;
        let length = goods.length(CONTENT.0 as usize);
        let hand = |message: Message, payload: Bytes| {
            let content = matches!(message, Message::Block { channel: CONTENT, .. });
            let about = matches!(message, Message::Have { channel: CONTENT, .. });
            if self.acts_on_haves() && about || !self.acts_on_haves() && content {
                acts.note();
                self.instead(message, payload, length, &mut former)
            } else {
                vec![Said::block(message, payload)]
            }
        };
        // The other side ends it, sooner or later.
        let _ = serve(line, &goods, hand).await;
    }

    const fn acts_on_haves(self) -> bool {
        matches!(self, Self::LongHistory | Self::HaveFlood | Self::OpenFlood | Self::RequestFlood)
    }

    /// Returns what is said instead of a block of content, or behind what is said of it.
    fn instead(
        self,
        message: Message,
        payload: Bytes,
        length: u64,
        former: &mut Option<(Vec<Node>, Bytes)>,
    ) -> Vec<Said> {
        let honest = |payload| Said::block(message.clone(), payload);
        match (self, message.clone()) {
            (Self::WrongBytes, _) => {
                let mut bytes = payload.to_vec();
                bytes.iter_mut().rev().take(1).for_each(|byte| *byte ^= 1);
                vec![honest(bytes.into())]
            }
            (Self::WrongProof, Message::Block { channel, id, block, mut siblings }) => {
                match siblings.first_mut() {
                    Some(node) => node.hash.0[0] ^= 1,
                    None => siblings.push(Node { hash: Hash([0; 32]), size: 1 }),
                }
                vec![Said::block(Message::Block { channel, id, block, siblings }, payload)]
            }
            (Self::OtherBlock, Message::Block { channel, id, block, siblings }) => {
                match former.replace((siblings, payload)) {
                    None => Vec::new(),
                    Some((siblings, payload)) => {
                        let message = Message::Block { channel, id, block, siblings };
                        vec![Said::block(message, payload)]
                    }
                }
            }
            (Self::Twice, _) => vec![honest(payload.clone()), honest(payload)],
            (Self::Denies, Message::Block { channel, id, block, .. }) => {
                let blocks = vec![block.0..block.0 + 1];
                let (held, lost, head) = (vec![0..length], Runs::new(), None);
                vec![
                    Said::plain(Message::Missing { channel, id, blocks }),
                    Said::plain(Message::Have { channel, length, held, lost, head }),
                ]
            }
            (Self::LongHistory, Message::Have { head: Some(mut head), .. }) => {
                head.head.length += 1;
                let proof = UpgradeProof { from: length, head, nodes: Vec::new() };
                let longer = Message::Upgrade { channel: CONTENT, proof };
                vec![honest(payload), Said::plain(longer)]
            }
            (Self::HaveFlood, _) => vec![honest(payload), Said::Flood(flood::haves(length))],
            (Self::OpenFlood, _) => vec![honest(payload), Said::Flood(flood::opens())],
            (Self::RequestFlood, _) => vec![honest(payload), Said::Flood(flood::requests(length))],
            (Self::Oversized, _) => vec![Said::Raw(vec![255; PREFIX_LEN]), Said::Silence],
            (Self::Partial, _) => {
                let frame = Said::frame(&message, payload);
                vec![Said::Raw(frame[..frame.len() / 2].to_vec()), Said::Silence]
            }
            (Self::Trickle, _) => vec![Said::Trickle(Said::frame(&message, payload))],
            (Self::Garbage, _) => {
                let lengths = [100_u32, PAYLOAD_BYTES_MAX as u32].map(u32::to_le_bytes).concat();
                let noise = crate::noise(1, 100 + PAYLOAD_BYTES_MAX);
                vec![Said::Raw([lengths, noise].concat()), Said::Silence]
            }
            _ => Vec::new(),
        }
    }
}
