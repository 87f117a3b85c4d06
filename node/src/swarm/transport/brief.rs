//! How long a protocol is haggled over: who comes to us proposes a few, and is not told which others there are.
//!
//! Each answer is a packet of its own, be it for three bytes, and the library gives as many as it is asked for; to whom asks for a list
//! it says more than it heard. Where this ends shows in what is written: until a protocol is agreed on, the library writes each of
//! its words whole and alone.
//! Invariant: before an agreement no answer is longer than what it answers, but for the few bytes of so many refusals.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::{AsyncRead, AsyncWrite};

use crate::swarm::limits;

/// What both sides say first.
const HEADER: &[u8] = b"\x13/multistream/1.0.0\n";
/// That a protocol is not spoken here.
const REFUSAL: &[u8] = b"\x03na\n";

/// A connection or stream on which the other side, if it opened it, proposes what to speak.
pub(super) struct Brief<S> {
    inner: S,
    /// How many more proposals may be refused, unless there is an agreement.
    refusals: Option<u32>,
}

impl<S> Brief<S> {
    /// One that the other side opened.
    pub(super) fn theirs(inner: S) -> Self {
        Self { inner, refusals: Some(limits::REFUSALS) }
    }

    /// One that we opened: we are asked nothing.
    pub(super) fn ours(inner: S) -> Self {
        Self { inner, refusals: None }
    }

    #[cfg(test)]
    pub(super) fn into_inner(self) -> S {
        self.inner
    }
}

/// Tells how many refusals are left once these bytes were written.
fn after(bytes: &[u8], refusals: u32) -> io::Result<Option<u32>> {
    match bytes {
        HEADER => Ok(Some(refusals)),
        REFUSAL => {
            let left = refusals.checked_sub(1);
            left.map(Some).ok_or_else(|| io::Error::other("too many protocols were proposed"))
        }
        // A list has further lengths in it, and ends with two line ends.
        [_, b'/', name @ .., b'\n'] if !name.contains(&b'\n') => Ok(None),
        _ => Err(io::Error::other("a list of protocols was asked for")),
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Brief<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_read(cx, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Brief<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Some(refusals) = self.refusals else {
            return Pin::new(&mut self.inner).poll_write(cx, bytes);
        };
        let after = after(bytes, refusals)?;
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        if written.is_ready() {
            self.refusals = after;
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;
    use futures::io::{AsyncWriteExt as _, Cursor};

    use super::*;

    /// Writes these; tells how many were.
    fn writes(mut socket: Brief<Cursor<Vec<u8>>>, words: &[&[u8]]) -> usize {
        let is_written = |word: &&&[u8]| block_on(socket.write_all(word)).is_ok();
        words.iter().take_while(is_written).count()
    }

    fn theirs() -> Brief<Cursor<Vec<u8>>> {
        Brief::theirs(Cursor::new(Vec::new()))
    }

    #[test]
    fn few_proposals_are_refused_and_what_follows_an_agreement_is_free() {
        let few = limits::REFUSALS as usize;
        let many = [REFUSAL; 1_000];
        assert_eq!(writes(theirs(), &many), few);
        assert_eq!(writes(theirs(), &[HEADER, &many.concat()]), 1, "words are written one by one");
        let agreed = [&[HEADER][..], &many[..few], &[b"\x0b/tls/1.0.0\n"], &many].concat();
        assert_eq!(writes(theirs(), &agreed), agreed.len());
        assert_eq!(writes(Brief::ours(Cursor::new(Vec::new())), &many), many.len());
    }

    #[test]
    fn nobody_is_told_which_protocols_there_are() {
        let long = [&b"\x85\x01\x13/datnode/replicate/1\n"[..], &[b'a'; 100], b"\n\n"].concat();
        for list in [&b"\x0d\x0b/tls/1.0.0\n\n"[..], b"\x01\n", &long, b"a", b""] {
            assert!(after(list, 1).is_err(), "{list:?}");
        }
    }
}
