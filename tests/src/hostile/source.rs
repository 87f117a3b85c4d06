//! Sources that do not keep what they promise: each serves a drive honestly until there is a chance to do harm.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use datnode_proto::limits::PAYLOAD_BYTES_MAX;
use datnode_proto::wire::{Message, PREFIX_LEN};
use datnode_sim::hostile::{Liar, Script, flood};

use super::puppet::{CONTENT, Said, serve};
use super::{Goods, Line};

/// How often harm was done, and what was said meanwhile.
#[derive(Clone, Debug, Default)]
pub struct Acts(Arc<Done>);

#[derive(Debug, Default)]
struct Done {
    count: AtomicU64,
    liar: Mutex<Option<Liar>>,
}

impl Acts {
    /// Returns how often.
    pub fn count(&self) -> u64 {
        self.0.count.load(Ordering::SeqCst)
    }

    pub(super) fn note(&self) {
        self.0.count.fetch_add(1, Ordering::SeqCst);
    }

    /// Says what a script says; it goes on from stream to stream.
    fn say(&self, script: Script, length: u64, message: Message, payload: Bytes) -> Vec<Said> {
        let mut liar = self.0.liar.lock().unwrap();
        let liar = liar.get_or_insert_with(|| Liar::new(script, length));
        let said = liar.say(message, payload).into_iter();
        self.0.count.store(liar.acts(), Ordering::SeqCst);
        said.map(|(message, payload)| Said::block(message, payload)).collect()
    }
}

/// What a source does to those who ask it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// It keeps to a script.
    Says(Script),
    /// It tells what it has, in as many pieces as fit, without end.
    HaveFlood,
    /// It opens feeds without end.
    OpenFlood,
    /// It asks for everything without end.
    RequestFlood,
    /// It sends a block in two seconds.
    Slow,
    /// It hangs up when it is asked, and is there again.
    HangsUp,
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
    pub const FAULTY: [Self; 10] = [
        Self::Says(Script::WrongBytes),
        Self::Says(Script::WrongProof),
        Self::Says(Script::OtherBlock),
        Self::Says(Script::Twice),
        Self::Says(Script::Replays),
        Self::Says(Script::LongHistory),
        Self::OpenFlood,
        Self::RequestFlood,
        Self::Oversized,
        Self::Garbage,
    ];
    /// Those that break no rule that one frame could show.
    pub const TIRING: [Self; 12] = [
        Self::Says(Script::Silent),
        Self::Says(Script::Denies),
        Self::Says(Script::Hides),
        Self::Says(Script::Stale),
        Self::Says(Script::Unproven),
        Self::Says(Script::Seeks),
        Self::Says(Script::Cancels),
        Self::HaveFlood,
        Self::Slow,
        Self::HangsUp,
        Self::Partial,
        Self::Trickle,
    ];
    /// Nine of many kinds.
    pub const NINE: [Self; 9] = [
        Self::Says(Script::WrongBytes),
        Self::Says(Script::Replays),
        Self::Says(Script::Unproven),
        Self::Says(Script::Silent),
        Self::Says(Script::Denies),
        Self::HaveFlood,
        Self::Slow,
        Self::HangsUp,
        Self::Garbage,
    ];

    /// Serves `goods` in its way.
    pub async fn act(self, line: Line, goods: Goods, acts: Acts) {
        let length = goods.length(CONTENT.0 as usize);
        let hand = |message: Message, payload: Bytes| {
            let is_about = is_about_content(&message);
            if let (Self::Says(script), true) = (self, is_about) {
                return acts.say(script, length, message, payload);
            }
            let is_time = match message {
                Message::Block { .. } => is_about && !self.acts_at_once(),
                Message::Have { .. } => is_about && self.acts_at_once(),
                _ => false,
            };
            if !is_time {
                return vec![Said::block(message, payload)];
            }
            acts.note();
            self.instead(message, payload, length)
        };
        // The other side ends it, sooner or later.
        let _ = serve(line, &goods, hand).await;
    }

    const fn acts_at_once(self) -> bool {
        matches!(self, Self::HaveFlood | Self::OpenFlood | Self::RequestFlood)
    }

    /// Returns what is said instead of a block of content, or behind what is said of it.
    fn instead(self, message: Message, payload: Bytes, length: u64) -> Vec<Said> {
        let honest = || Said::block(message.clone(), payload.clone());
        match self {
            Self::HaveFlood => vec![honest(), Said::Flood(flood::haves(CONTENT, length))],
            Self::OpenFlood => vec![honest(), Said::Flood(flood::opens())],
            Self::RequestFlood => vec![honest(), Said::Flood(flood::requests(CONTENT, length))],
            Self::Slow => vec![Said::Pause(Duration::from_secs(2)), honest()],
            Self::HangsUp => vec![Said::End],
            Self::Oversized => vec![Said::Raw(vec![255; PREFIX_LEN]), Said::Silence],
            Self::Partial => {
                let frame = Said::frame(&message, payload);
                vec![Said::Raw(frame[..frame.len() / 2].to_vec()), Said::Silence]
            }
            Self::Trickle => vec![Said::Trickle(Said::frame(&message, payload))],
            Self::Garbage => {
                let lengths = [100_u32, PAYLOAD_BYTES_MAX as u32].map(u32::to_le_bytes).concat();
                let noise = crate::noise(1, 100 + PAYLOAD_BYTES_MAX);
                vec![Said::Raw([lengths, noise].concat()), Said::Silence]
            }
            Self::Says(_) => Vec::new(),
        }
    }
}

fn is_about_content(message: &Message) -> bool {
    match message {
        Message::Have { channel, .. }
        | Message::Upgrade { channel, .. }
        | Message::Block { channel, .. } => *channel == CONTENT,
        _ => false,
    }
}
