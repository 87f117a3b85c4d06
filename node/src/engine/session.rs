//! One peer's stream: frames in, frames out, until one side has had enough.
//!
//! The reader hands frames to the replicator as they come, those together that came together: small ones without end are no
//! more work than few. Byte credit bounds what can arrive; whoever says more than its share is read no further until its turn,
//! so that its stream fills and it waits. The writer asks the replicator for the next frame whenever the stream can take one,
//! so that the most urgent one is always next.

use std::sync::Arc;
use std::time::Instant;

use datnode_proto::{Binding, Concern, Frame, PeerId};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;

use super::hub::{About, Hub};
use crate::swarm::frames::{FrameError, FrameReader, FrameWriter};

/// How many frames of a peer are taken before others have their turn.
const FRAMES_AT_ONCE: usize = 64;

/// Why a session ended.
#[derive(Debug)]
pub enum Ended {
    /// The peer closed the stream, or it broke.
    Gone(String),
    /// The peer broke the protocol, now or just before.
    Fault(String),
}

impl Hub {
    /// Replicates with a peer over a stream until it ends.
    ///
    /// `binding` holds what the carrier authenticated about both ends.
    pub async fn replicate<R, W>(&self, read: R, write: W, binding: Binding, about: About) -> Ended
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let theirs = binding.theirs.clone();
        match self.next_stream_at(&theirs) {
            Some(turn) if turn > Instant::now() => tokio::time::sleep_until(turn.into()).await,
            Some(_) => {}
            None => return Ended::Fault(String::from("it broke the protocol just now")),
        }
        let (peer, wake, close) = {
            let mut state = self.lock();
            let connected = state.connect(about, binding);
            self.settle_for(state, connected.0);
            connected
        };
        let ended = tokio::select! {
            ended = self.read(peer, FrameReader::new(read, self.payloads())) => ended,
            reason = self.write(peer, FrameWriter::new(write), &wake) => Ended::Gone(reason),
            () = close.notified() => Ended::Gone(String::from("closed")),
        };
        let mut state = self.lock();
        let ended = state.disconnect(peer).map_or(ended, Ended::Fault);
        if matches!(ended, Ended::Fault(_)) {
            state.shunned.insert(Instant::now(), theirs);
        }
        self.settle(state);
        ended
    }

    /// Returns when a new stream of a peer has its turn; nothing if it gets none.
    fn next_stream_at(&self, theirs: &[u8]) -> Option<Instant> {
        let mut state = self.lock();
        if state.shunned.contains(Instant::now(), theirs) {
            return None;
        }
        let now = state.now();
        let turn = state.replicator.next_stream_at(now);
        Some(state.clock(turn))
    }

    async fn read<R: AsyncRead + Unpin>(&self, peer: PeerId, mut frames: FrameReader<R>) -> Ended {
        loop {
            match frames.read().await {
                Ok(Some(first)) => {
                    if let Some(turn) = self.take(peer, first, &mut frames) {
                        tokio::time::sleep_until(turn.into()).await;
                    }
                }
                Ok(None) => return Ended::Gone(String::from("closed by the peer")),
                Err(FrameError::Fault(fault)) => return Ended::Fault(fault.to_string()),
                Err(error) => return Ended::Gone(error.to_string()),
            }
        }
    }

    /// Takes a frame and those that came with it; returns when the peer's turn is, if it has to wait for that.
    fn take<R: AsyncRead + Unpin>(
        &self,
        peer: PeerId,
        first: Frame,
        frames: &mut FrameReader<R>,
    ) -> Option<Instant> {
        let mut state = self.lock();
        let now = state.now();
        let mut concern = Concern::Sender;
        let more = std::iter::from_fn(|| frames.read_buffered());
        for Frame { header, payload } in std::iter::once(first).chain(more).take(FRAMES_AT_ONCE) {
            concern = concern.max(state.replicator.handle_frame(now, peer, &header, payload));
            if state.replicator.next_frame_at(peer) > now {
                break;
            }
        }
        let turn = state.replicator.next_frame_at(peer);
        let turn = (turn > now).then(|| state.clock(turn));
        match concern {
            Concern::Sender => self.settle_for(state, peer),
            Concern::Everyone => self.settle(state),
        }
        turn
    }

    async fn write<W: AsyncWrite + Unpin>(
        &self,
        peer: PeerId,
        mut frames: FrameWriter<W>,
        wake: &Arc<Notify>,
    ) -> String {
        loop {
            let next = self.next_frame(peer);
            let written = match &next {
                Some(frame) => frames.write(frame).await,
                None => frames.flush().await,
            };
            if let Err(error) = written {
                return error.to_string();
            }
            if next.is_none() {
                wake.notified().await;
            }
        }
    }

    fn next_frame(&self, peer: PeerId) -> Option<Frame> {
        let mut state = self.lock();
        let now = state.now();
        let frame = state.replicator.poll_transmit(now, peer);
        self.settle_quietly(state, frame.as_ref());
        frame
    }
}
