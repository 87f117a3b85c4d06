//! How fast a peer's streams are taken: who opens more than it needs waits for its turn.
//!
//! A stream is agreed upon before anything is said on it, be it for a protocol that we do not speak: much work for few bytes. So each
//! connection has a pace of its own, and what goes beyond is taken in turns, which all connections share. How many may be open at
//! once is the muxer's affair; what it does not take in time ends the connection.
//! Elsewhere: the turns of what is said on a stream (`datnode_proto`).

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use tokio::time::Sleep;

use super::brief::Brief;
use crate::swarm::limits;
use crate::swarm::strangers::Pace;

/// How many streams a connection may open at any time.
const PACE: Pace = Pace { at_once: limits::STREAMS_AT_ONCE, every: limits::STREAM_EVERY };

/// The turns of all connections whose peers open more.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns {
    /// When the last one that was given is over.
    free_at: Arc<Mutex<Option<Instant>>>,
}

impl Turns {
    /// Gives a turn; returns when it is over.
    fn take(&self, now: Instant) -> Instant {
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let over = free_at.map_or(now, |free_at| free_at.max(now)) + limits::STREAM_TURN;
        *free_at = Some(over);
        over
    }
}

/// A connection whose streams are taken at its pace.
pub(super) struct Metered<M> {
    inner: M,
    turns: Turns,
    /// When time alone has paid for the streams that were taken.
    paid: Option<Instant>,
    /// Until the next one is taken.
    wait: Option<Pin<Box<Sleep>>>,
}

impl<M> Metered<M> {
    pub(super) fn new(inner: M, turns: Turns) -> Self {
        Self { inner, turns, paid: None, wait: None }
    }

    /// Counts a stream; returns until when the next one waits, if it has to.
    fn count(&mut self, now: Instant) -> Option<Instant> {
        let paid = PACE.take(now, self.paid);
        self.paid = paid.or(self.paid);
        if paid.is_some() { None } else { Some(self.turns.take(now)) }
    }
}

impl<M: StreamMuxer<Substream: Unpin> + Unpin> StreamMuxer for Metered<M> {
    type Substream = Brief<M::Substream>;
    type Error = M::Error;

    fn poll_inbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::Substream, M::Error>> {
        if let Some(wait) = &mut self.wait {
            ready!(wait.as_mut().poll(cx));
            self.wait = None;
        }
        let stream = ready!(Pin::new(&mut self.inner).poll_inbound(cx))?;
        let until = self.count(Instant::now());
        self.wait = until.map(|until| Box::pin(tokio::time::sleep_until(until.into())));
        Poll::Ready(Ok(Brief::theirs(stream)))
    }

    fn poll_outbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::Substream, M::Error>> {
        Pin::new(&mut self.inner).poll_outbound(cx).map_ok(Brief::ours)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), M::Error>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<StreamMuxerEvent, M::Error>> {
        Pin::new(&mut self.inner).poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn who_opens_more_than_it_needs_waits_for_the_turns_that_all_such_share() {
        let (turns, now) = (Turns::default(), Instant::now());
        let mut greedy = [(); 2].map(|()| Metered::new((), turns.clone()));
        for metered in &mut greedy {
            let taken = (0..limits::STREAMS_AT_ONCE).filter_map(|_| metered.count(now));
            assert_eq!(taken.count(), 0, "so many are no flood");
        }
        let turns = greedy.each_mut().map(|metered| metered.count(now).unwrap() - now);
        assert_eq!(turns, [limits::STREAM_TURN, 2 * limits::STREAM_TURN]);
        let modest = &mut Metered::new((), greedy[0].turns.clone());
        assert_eq!(modest.count(now), None, "nobody waits who opens few");
        let later = now + limits::STREAM_EVERY;
        assert_eq!(greedy[0].count(later), None, "time pays");
        assert!(greedy[0].count(later).is_some_and(|turn| turn - later < Duration::from_secs(1)));
    }
}
