//! One reader and its sources: what several experiments are made of.

use std::time::Duration;

use datnode_proto::{Instant, PeerId, Want, WantId};

use crate::HostId;
use crate::swarm::{Content, Light, Line, Swarm};

/// A rate that is no bottleneck.
pub(super) const FAST: u64 = 1_000_000_000;

/// One who serves the reader.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source {
    /// Bytes a second.
    pub(super) rate: u64,
    /// One way.
    pub(super) latency: Duration,
    pub(super) habit: Habit,
}

/// What a source does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Habit {
    /// It sends what it has, which is everything.
    Serves,
    /// It sends so many blocks, and then nothing for ever.
    Stalls(u64),
    /// It says that it has everything, and has every tenth block.
    Lies,
}

impl Source {
    pub(super) const fn new(rate: u64, latency_ms: u64) -> Self {
        Self { rate, latency: Duration::from_millis(latency_ms), habit: Habit::Serves }
    }
}

/// One reader, connected with sources that it knows for long enough to be told what they have.
pub(super) struct Star {
    pub(super) swarm: Swarm,
    pub(super) content: Content,
    pub(super) reader: HostId,
    /// Each source, and the reader's end of the connection with it.
    pub(super) sources: Vec<(HostId, PeerId, Source)>,
    /// When the reader begins to want something.
    pub(super) began: Instant,
}

impl Star {
    pub(super) fn new(content: Content, down: u64, sources: &[Source]) -> Self {
        let mut swarm = Swarm::new(1);
        let reader = swarm.host(Line { up: FAST, down }, Light::empty(&content));
        let mut star = Self { swarm, content, reader, sources: Vec::new(), began: Instant(0) };
        sources.iter().for_each(|source| star.add(*source));
        let slowest = sources.iter().map(|source| source.latency).max().unwrap_or_default();
        star.began = Instant(0) + Duration::from_secs(1) + slowest * 6;
        star.swarm.run(star.began);
        star
    }

    fn add(&mut self, source: Source) {
        let store = match source.habit {
            Habit::Lies => {
                let blocks = (0..self.content.blocks).step_by(10);
                Light::liar(&self.content, blocks.map(|block| block..block + 1).collect())
            }
            _ => Light::full(&self.content),
        };
        let host = self.swarm.host(Line { up: source.rate, down: FAST }, store);
        let (peer, _) = self.swarm.connect(self.reader, host, source.latency);
        self.sources.push((host, peer, source));
    }

    pub(super) fn want(&mut self, want: Want) -> WantId {
        self.swarm.want(self.reader, want)
    }

    /// Runs until a want is done; returns how long that took, or nothing if it takes longer than `most`.
    pub(super) fn finish(&mut self, want: WantId, most: Duration) -> Option<Duration> {
        let end = self.began + most;
        while !self.swarm.at(self.reader).done.contains_key(&want) {
            self.stall();
            if !self.swarm.step(end) {
                return None;
            }
        }
        Some(self.swarm.now.since(self.began))
    }

    /// Silences those who sent as much as they want to.
    fn stall(&mut self) {
        for (host, _, source) in &self.sources {
            if let Habit::Stalls(blocks) = source.habit
                && self.swarm.at(*host).left == blocks
            {
                self.swarm.pause(*host, Instant(u64::MAX));
            }
        }
    }
}
