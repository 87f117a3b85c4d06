//! What carries frames: a line up and one down for each host, which all its connections share, and the ends of connections.
//!
//! An end has a send buffer, as a socket has: while that has no room nothing is asked for, so that what is urgent is decided as
//! late as it is in a node. The line up takes a frame of each connection in turn. What comes faster than the line down can take
//! waits before it; nothing is lost.

use std::collections::VecDeque;
use std::time::Duration;

use datnode_proto::wire::PREFIX_LEN;
use datnode_proto::{Frame, Instant, PeerId};

use crate::HostId;

/// The most bytes that wait in the send buffer of a connection, but for the frame that goes beyond.
const BUFFER_BYTES_MAX: u64 = 256 << 10;
/// The same as a part of what the line takes in a second: 20 ms.
const BUFFER_PART: u64 = 50;

/// How fast a host sends and receives, in bytes a second.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// What leaves it on all connections together.
    pub up: u64,
    /// What comes to it.
    pub down: u64,
}

impl Line {
    /// Has the same rate in both directions.
    pub const fn even(rate: u64) -> Self {
        Self { up: rate, down: rate }
    }
}

/// One end of a connection.
#[derive(Debug)]
pub(super) struct End {
    pub(super) host: HostId,
    pub(super) latency: Duration,
    /// The send buffer; the first frame is on the line perhaps.
    buffer: VecDeque<Frame>,
    buffered: u64,
    /// What is on its way to this end, and how long each took to leave.
    coming: VecDeque<(Frame, Duration)>,
    /// What came and was not taken yet.
    pub(super) landed: VecDeque<Frame>,
}

impl End {
    pub(super) fn new(host: HostId, latency: Duration) -> Self {
        let (buffer, buffered, coming, landed) = Default::default();
        Self { host, latency, buffer, buffered, coming, landed }
    }

    pub(super) fn has_room(&self, line: &Up) -> bool {
        self.buffered < BUFFER_BYTES_MAX.min(line.rate / BUFFER_PART).max(1)
    }

    /// Puts a frame into the send buffer.
    pub(super) fn push(&mut self, frame: Frame, line: &mut Up, peer: PeerId) {
        if self.buffer.is_empty() {
            line.turns.push_back(peer);
        }
        self.buffered += bytes(&frame);
        self.buffer.push_back(frame);
    }

    /// Returns the first frame, which is the next one on the line.
    pub(super) fn first(&self) -> Option<&Frame> {
        self.buffer.front()
    }

    /// Takes the frame that left, and makes room for another one.
    pub(super) fn pop(&mut self, line: &mut Up, peer: PeerId) -> Option<Frame> {
        let frame = self.buffer.pop_front()?;
        self.buffered -= bytes(&frame);
        if !self.buffer.is_empty() {
            line.turns.push_back(peer);
        }
        Some(frame)
    }

    /// A frame is on its way to this end, which took so long to leave.
    pub(super) fn await_frame(&mut self, frame: Frame, took: Duration) {
        self.coming.push_back((frame, took));
    }

    /// The first frame on the way is here; returns when the line down has taken it.
    pub(super) fn arrive(&mut self, now: Instant, down: &mut Down) -> Option<Instant> {
        let (frame, took) = self.coming.front()?;
        Some(down.take(now, bytes(frame), *took))
    }

    /// The line down has taken the frame that came first.
    pub(super) fn land(&mut self) {
        self.landed.extend(self.coming.pop_front().map(|(frame, _)| frame));
    }
}

/// What leaves a host.
#[derive(Debug)]
pub(super) struct Up {
    rate: u64,
    /// The connections that have something to send, each once; not the one that is sending.
    turns: VecDeque<PeerId>,
    /// Whose frame is on the line, and how long it takes.
    pub(super) sending: Option<(PeerId, Duration)>,
    /// Nothing is begun until then.
    pub(super) pauses_until: Instant,
}

impl Up {
    pub(super) fn new(rate: u64) -> Self {
        let (turns, sending, pauses_until) = Default::default();
        Self { rate, turns, sending, pauses_until }
    }

    /// Returns whose turn it is, if the line is free.
    pub(super) fn next(&mut self, now: Instant) -> Option<PeerId> {
        let is_free = self.sending.is_none() && self.pauses_until <= now;
        if is_free { self.turns.pop_front() } else { None }
    }

    /// Begins to send a frame; returns how long it takes.
    pub(super) fn begin(&mut self, peer: PeerId, frame: &Frame) -> Duration {
        let takes = span(bytes(frame), self.rate);
        self.sending = Some((peer, takes));
        takes
    }

    /// A connection is gone.
    pub(super) fn forget(&mut self, peer: PeerId) {
        self.turns.retain(|other| *other != peer);
    }
}

/// What comes to a host.
#[derive(Debug)]
pub(super) struct Down {
    rate: u64,
    /// When all that came so far is taken.
    free_at: Instant,
}

impl Down {
    pub(super) fn new(rate: u64) -> Self {
        Self { rate, free_at: Instant(0) }
    }

    /// Takes a frame whose last byte is here `now`; returns when it is taken.
    ///
    /// The line was busy with it while it came: a slow sender alone is never held up.
    fn take(&mut self, now: Instant, bytes: u64, took: Duration) -> Instant {
        let began = Instant(now.0.saturating_sub(took.as_micros() as u64));
        self.free_at = self.free_at.max(began) + span(bytes, self.rate);
        self.free_at.max(now)
    }
}

/// Returns the bytes of a frame on the line.
pub(super) fn bytes(frame: &Frame) -> u64 {
    (PREFIX_LEN + frame.header.len() + frame.payload.len()) as u64
}

fn span(bytes: u64, rate: u64) -> Duration {
    Duration::from_micros((bytes * 1_000_000).div_ceil(rate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_down_takes_what_several_slow_senders_bring_together() {
        let mut down = Down::new(1_000_000);
        // Each of two took 100 ms for what the line takes in 10 ms.
        let took = Duration::from_millis(100);
        for _ in 0..2 {
            assert_eq!(down.take(Instant(100_000), 10_000, took), Instant(100_000));
        }
        // A third one brought more than the line takes meanwhile.
        assert_eq!(down.take(Instant(100_000), 90_000, took), Instant(110_000));
    }
}
