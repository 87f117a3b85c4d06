//! Flushes that wait until everything was written: yamux asks for one after each of its frames, and each would be a packet.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};

use futures::{AsyncRead, AsyncWrite};

/// A socket that is flushed by its other handle, and before it is read.
pub(super) struct Corked<S>(Arc<Mutex<Socket<S>>>);

/// The handle that flushes.
pub(super) struct Cork<S>(Arc<Mutex<Socket<S>>>);

struct Socket<S> {
    inner: S,
    /// Whether anything was written since the last flush.
    dirty: bool,
}

/// Returns both handles of a socket.
pub(super) fn cork<S>(inner: S) -> (Corked<S>, Cork<S>) {
    let socket = Arc::new(Mutex::new(Socket { inner, dirty: false }));
    (Corked(socket.clone()), Cork(socket))
}

impl<S: AsyncWrite + Unpin> Socket<S> {
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.dirty {
            ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
            self.dirty = false;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> Cork<S> {
    /// Sends what was written on its way.
    pub(super) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        lock(&self.0).poll_flush(cx)
    }
}

/// Never waits: one task owns both handles.
fn lock<S>(socket: &Mutex<Socket<S>>) -> MutexGuard<'_, Socket<S>> {
    socket.lock().expect("a socket that panicked is not used again")
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Corked<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut socket = lock(&self.0);
        // There may be very much to read. Yamux writes all it can before it reads.
        if let Poll::Ready(Err(error)) = socket.poll_flush(cx) {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut socket.inner).poll_read(cx, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Corked<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut socket = lock(&self.0);
        socket.dirty = true;
        Pin::new(&mut socket.inner).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut lock(&self.0).inner).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use futures::task::noop_waker_ref;

    use super::*;

    /// Counts flushes, of which the first is not done at once.
    #[derive(Default)]
    struct Counting {
        written: usize,
        flushed: Vec<usize>,
        asked: bool,
    }

    impl AsyncRead for Counting {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(0))
        }
    }

    impl AsyncWrite for Counting {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.written += bytes.len();
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            if !std::mem::replace(&mut self.asked, true) {
                return Poll::Pending;
            }
            let written = self.written;
            self.flushed.push(written);
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn many_writes_are_one_flush_and_whoever_reads_flushes_first() {
        let cx = &mut Context::from_waker(noop_waker_ref());
        let (mut corked, cork) = cork(Counting::default());
        let mut write = |bytes: &[u8]| {
            assert!(Pin::new(&mut corked).poll_write(cx, bytes).is_ready());
            assert!(Pin::new(&mut corked).poll_flush(cx).is_ready());
        };
        (0..10).for_each(|_| write(&[0; 100]));
        assert!(cork.poll_flush(cx).is_pending(), "it is asked for again");
        assert!(cork.poll_flush(cx).is_ready() && cork.poll_flush(cx).is_ready());
        assert_eq!(lock(&cork.0).inner.flushed, [1_000], "there was nothing more to flush");
        assert!(Pin::new(&mut corked).poll_write(cx, &[0; 7]).is_ready());
        assert!(Pin::new(&mut corked).poll_read(cx, &mut [0; 7]).is_ready());
        assert_eq!(lock(&cork.0).inner.flushed, [1_000, 1_007]);
    }
}
