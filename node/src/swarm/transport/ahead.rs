//! A socket that is read in large pieces: TLS asks for little more than one of its records at a time.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use datnode_feed::Aligned;
use futures::{AsyncRead, AsyncWrite};

use crate::swarm::limits;

/// The least that is read at a time: what an idle connection needs.
const LEAST: usize = 4 << 10;

/// Reads ahead; the more the more there is to read.
pub(super) struct ReadAhead<S> {
    inner: S,
    buffer: Aligned,
    /// What of the buffer was read and not yet taken.
    start: usize,
    end: usize,
}

impl<S> ReadAhead<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner, buffer: Aligned::new(LEAST), start: 0, end: 0 }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadAhead<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.start == this.end {
            let filled = this.end == this.buffer.len();
            if filled && this.buffer.len() < limits::SOCKET_BUFFER {
                this.buffer = Aligned::new(this.buffer.len() * 2);
            }
            (this.start, this.end) = (0, 0);
            this.end = ready!(Pin::new(&mut this.inner).poll_read(cx, &mut this.buffer))?;
        }
        let len = into.len().min(this.end - this.start);
        into[..len].copy_from_slice(&this.buffer[this.start..this.start + len]);
        this.start += len;
        Poll::Ready(Ok(len))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReadAhead<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
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
    use futures::io::{AsyncReadExt as _, Cursor};

    use super::*;

    #[test]
    fn everything_is_read_once_in_order_and_the_buffer_grows_with_what_there_is() {
        let bytes: Vec<u8> = (0..1_000_000_u32).map(|at| (at >> 3) as u8).collect();
        for piece in [1_000, LEAST, 18_000, 1 << 20] {
            let mut reader = ReadAhead::new(Cursor::new(&bytes));
            let (mut read, mut into) = (Vec::new(), vec![0; piece]);
            loop {
                let len = block_on(reader.read(&mut into)).unwrap();
                read.extend_from_slice(&into[..len]);
                if len == 0 {
                    break;
                }
            }
            assert!(read == bytes, "{piece}");
            assert_eq!(reader.buffer.len(), limits::SOCKET_BUFFER);
        }
        let mut idle = ReadAhead::new(Cursor::new(&bytes[..1_000]));
        block_on(idle.read_to_end(&mut Vec::new())).unwrap();
        assert_eq!(idle.buffer.len(), LEAST);
    }
}
