//! What hostile peers say: an honest peer's messages, with somebody's hand on them.
//!
//! A [`Script`] says what is done to those who ask for blocks. The same scripts run in simulated worlds and over real sockets.
//! Elsewhere: messages without end (`flood`), what is no message at all (the sockets' own).

pub mod flood;

use bytes::Bytes;
use datnode_feed::{BlockIndex, Hash, Node, UpgradeProof};
use datnode_proto::wire::{Channel, Message, Runs, decode, encode};
use datnode_proto::{Frame, RequestId};

use crate::Hand;

/// How many messages of a flood follow each message.
const BURST: u64 = 50;

/// How many messages are remembered to be said again.
const REMEMBERED: usize = 32;

/// What a source does to those who ask it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    /// One bit of each block is another.
    WrongBytes,
    /// One bit of each proof is another, or there is a node too many.
    WrongProof,
    /// Each block is other bytes, and its proof ends nowhere.
    Unproven,
    /// Each block is another one, proof and all.
    OtherBlock,
    /// Each block comes twice.
    Twice,
    /// It claims to have everything, and sends nothing.
    Silent,
    /// It claims to have everything, says that it does not when asked, and claims it again.
    Denies,
    /// It has no longer what it is asked for, without a word on the request.
    Hides,
    /// It tells of a longer history that nobody signed.
    LongHistory,
    /// It says again and again what it had and its head at first, also on streams before.
    Stale,
    /// It does so with its blocks as well.
    Replays,
    /// It tells what it has, in as many pieces as fit.
    Haves,
    /// It opens feeds.
    Opens,
    /// It asks for everything.
    Requests,
    /// It asks for bytes.
    Seeks,
    /// It withdraws what it never asked for.
    Cancels,
}

impl Script {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::WrongBytes,
        Self::WrongProof,
        Self::Unproven,
        Self::OtherBlock,
        Self::Twice,
        Self::Silent,
        Self::Denies,
        Self::Hides,
        Self::LongHistory,
        Self::Stale,
        Self::Replays,
        Self::Haves,
        Self::Opens,
        Self::Requests,
        Self::Seeks,
        Self::Cancels,
    ];

    /// Tells whether it begins with the first message about a feed, and not with a block that is asked for.
    pub const fn acts_at_once(self) -> bool {
        match self {
            Self::LongHistory | Self::Haves | Self::Opens => true,
            Self::Requests | Self::Seeks | Self::Cancels => true,
            Self::WrongBytes | Self::WrongProof | Self::Unproven | Self::OtherBlock => false,
            Self::Twice | Self::Silent | Self::Denies | Self::Hides => false,
            Self::Stale | Self::Replays => false,
        }
    }

    fn flood(self, channel: Channel, length: u64) -> Option<flood::Flood> {
        match self {
            Self::Haves => Some(flood::haves(channel, length)),
            Self::Opens => Some(flood::opens()),
            Self::Requests => Some(flood::requests(channel, length)),
            Self::Seeks => Some(flood::seeks(channel, length)),
            Self::Cancels => Some(flood::cancels(channel)),
            _ => None,
        }
    }
}

/// One who keeps to a script, stream after stream.
#[derive(Debug)]
pub struct Liar {
    script: Script,
    length: u64,
    former: Vec<(Message, Bytes)>,
    numbers: u64,
    acts: u64,
}

impl Liar {
    /// Begins, with a feed of `length` blocks.
    pub const fn new(script: Script, length: u64) -> Self {
        Self { script, length, former: Vec::new(), numbers: 0, acts: 0 }
    }

    /// Returns how often harm was done.
    pub const fn acts(&self) -> u64 {
        self.acts
    }

    /// Returns what is said instead of an honest message about the feed.
    pub fn say(&mut self, message: Message, payload: Bytes) -> Vec<(Message, Bytes)> {
        let acts = match &message {
            Message::Block { .. } => !self.script.acts_at_once(),
            Message::Have { .. } => self.script.acts_at_once(),
            _ => false,
        };
        if !acts {
            self.remember(&message, &payload);
            return vec![(message, payload)];
        }
        self.acts += 1;
        let first = (message.clone(), payload.clone());
        if let Some(mut flood) = channel(&message).and_then(|at| self.script.flood(at, self.length))
        {
            let numbers = self.numbers..self.numbers + BURST;
            self.numbers = numbers.end;
            let messages = numbers.map(|number| plain(flood(number)));
            return [first].into_iter().chain(messages).collect();
        }
        match message {
            Message::Block { channel, id, block, siblings } => {
                self.answer(Answer { channel, id, block, siblings, payload })
            }
            message => {
                let longer = longer(&message, self.length);
                [first].into_iter().chain(longer.map(plain)).collect()
            }
        }
    }

    /// Returns what is said instead of a block.
    fn answer(&mut self, mut honest: Answer) -> Vec<(Message, Bytes)> {
        let Answer { channel, id, block, .. } = honest;
        let one = block.0..block.0 + 1;
        let (length, head) = (self.length, None);
        match self.script {
            Script::WrongBytes => {
                let mut bytes = honest.payload.to_vec();
                match bytes.last_mut() {
                    Some(byte) => *byte ^= 1,
                    None => bytes.push(0),
                }
                honest.payload = bytes.into();
                vec![honest.said()]
            }
            Script::WrongProof => {
                match honest.siblings.first_mut() {
                    Some(node) => node.hash.0[0] ^= 1,
                    None => honest.siblings.push(Node { hash: Hash([0; 32]), size: 1 }),
                }
                vec![honest.said()]
            }
            Script::Unproven => {
                (honest.siblings, honest.payload) = (Vec::new(), Bytes::from_static(b"anything"));
                vec![honest.said()]
            }
            Script::OtherBlock => {
                let other = self.former.pop();
                self.former.push(honest.said());
                let other = other.and_then(|(message, payload)| match message {
                    Message::Block { siblings, .. } => {
                        Some((Message::Block { channel, id, block, siblings }, payload))
                    }
                    _ => None,
                });
                other.into_iter().collect()
            }
            Script::Twice => vec![honest.said(), honest.said()],
            Script::Denies => {
                let (held, lost) = (vec![0..length], Runs::new());
                vec![
                    plain(Message::Missing { channel, id, blocks: vec![one] }),
                    plain(Message::Have { channel, length, held, lost, head }),
                ]
            }
            Script::Hides => {
                let (held, lost) = (Runs::new(), vec![one]);
                vec![plain(Message::Have { channel, length, held, lost, head })]
            }
            Script::Stale | Script::Replays => {
                let again = self.former.clone();
                let (message, payload) = honest.said();
                self.remember(&message, &payload);
                [(message, payload)].into_iter().chain(again).collect()
            }
            _ => Vec::new(),
        }
    }

    fn remember(&mut self, message: &Message, payload: &Bytes) {
        let is_block = matches!(message, Message::Block { .. });
        let is_kept = match self.script {
            Script::Stale => !is_block,
            Script::Replays => true,
            _ => false,
        };
        if is_kept && channel(message).is_some() && self.former.len() < REMEMBERED {
            self.former.push((message.clone(), payload.clone()));
        }
    }

    /// Makes a simulated host hostile.
    pub fn hand(mut self) -> Hand {
        Box::new(move |frame| match decode(&frame.header, &frame.payload) {
            Ok(message) => {
                let said = self.say(message, frame.payload).into_iter();
                said.map(|(message, payload)| Frame { header: encode(&message), payload }).collect()
            }
            Err(_) => vec![frame],
        })
    }
}

/// Returns the feed that a message is about, if it tells of what its sender has.
const fn channel(message: &Message) -> Option<Channel> {
    match message {
        Message::Have { channel, .. }
        | Message::Upgrade { channel, .. }
        | Message::Block { channel, .. } => Some(*channel),
        _ => None,
    }
}

const fn plain(message: Message) -> (Message, Bytes) {
    (message, Bytes::new())
}

/// A block as it was asked for.
struct Answer {
    channel: Channel,
    id: RequestId,
    block: BlockIndex,
    siblings: Vec<Node>,
    payload: Bytes,
}

impl Answer {
    fn said(&self) -> (Message, Bytes) {
        let (channel, id, block) = (self.channel, self.id, self.block);
        let siblings = self.siblings.clone();
        (Message::Block { channel, id, block, siblings }, self.payload.clone())
    }
}

/// Returns a history that begins with the one that a message tells of.
fn longer(message: &Message, length: u64) -> Option<Message> {
    match message {
        Message::Have { channel, head: Some(head), .. } => {
            let mut head = *head;
            head.head.length += 1;
            let proof = UpgradeProof { from: length, head, nodes: Vec::new() };
            Some(Message::Upgrade { channel: *channel, proof })
        }
        _ => None,
    }
}
