//! Flushes that wait until everything was written: yamux asks for one after each of its frames, and each would be a packet.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use futures::{AsyncRead, AsyncWrite};

/// A socket that is flushed only by its other handle.
pub(super) struct Corked<S>(Arc<Mutex<S>>);

/// The handle that flushes.
pub(super) struct Cork<S>(Arc<Mutex<S>>);

/// Returns both handles of a socket.
pub(super) fn cork<S>(socket: S) -> (Corked<S>, Cork<S>) {
    let socket = Arc::new(Mutex::new(socket));
    (Corked(socket.clone()), Cork(socket))
}

impl<S: AsyncWrite + Unpin> Cork<S> {
    /// Sends what was written on its way.
    pub(super) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *lock(&self.0)).poll_flush(cx)
    }
}

/// Never waits: one task owns both handles.
fn lock<S>(socket: &Mutex<S>) -> MutexGuard<'_, S> {
    socket.lock().expect("a socket that panicked is not used again")
}

impl<S: AsyncRead + Unpin> AsyncRead for Corked<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *lock(&self.0)).poll_read(cx, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Corked<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *lock(&self.0)).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *lock(&self.0)).poll_close(cx)
    }
}
