//! The stream of a session, as tokio reads and writes it.
//!
//! Dropping it ends the session: its connection is closed, and the peer sees the end of the stream.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use libp2p::PeerId;
use libp2p::futures::{AsyncRead as _, AsyncWrite as _};
use libp2p::swarm::ConnectionId;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc::UnboundedSender;

/// A session's stream.
#[derive(Debug)]
pub struct SessionStream {
    inner: libp2p::Stream,
    peer: PeerId,
    connection: ConnectionId,
    /// Told once, when this is dropped: so what waits there is bound by the sessions there are.
    dropped: UnboundedSender<(PeerId, ConnectionId)>,
}

impl SessionStream {
    pub(super) fn new(
        inner: libp2p::Stream,
        peer: PeerId,
        connection: ConnectionId,
        dropped: UnboundedSender<(PeerId, ConnectionId)>,
    ) -> Self {
        Self { inner, peer, connection, dropped }
    }
}

impl Drop for SessionStream {
    fn drop(&mut self) {
        // An error means that the swarm is gone, and with it every connection.
        let _ = self.dropped.send((self.peer, self.connection));
    }
}

impl AsyncRead for SessionStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Frames are read into buffers that are initialized already, so this zeroes nothing.
        let read = ready!(Pin::new(&mut self.inner).poll_read(cx, buffer.initialize_unfilled()))?;
        buffer.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for SessionStream {
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

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}
