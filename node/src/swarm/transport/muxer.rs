//! Yamux with frames as large as our blocks: four times fewer of them than `libp2p-yamux` sends, which cannot be told to; and with
//! one flush for all that is to be sent (`cork`).

use std::collections::VecDeque;
use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::UpgradeInfo;
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade};
use yamux::{Connection, ConnectionError, Mode};

use super::cork::{Cork, Corked, cork};
use super::unread::{Counted, Ledger, Stream, Unread};
use crate::swarm::limits;

/// Makes connections carry several streams: `/yamux/1.0.0`.
#[derive(Clone)]
pub(super) struct Mux {
    config: yamux::Config,
    unread: Unread,
}

impl Mux {
    pub(super) fn new() -> Self {
        let mut config = yamux::Config::default();
        config
            .set_max_num_streams(limits::STREAMS_PER_CONNECTION as usize)
            .set_max_connection_receive_window(Some(limits::UNREAD_PER_CONNECTION))
            .set_split_send_size(limits::STREAM_FRAME);
        Self { config, unread: Unread::new(limits::UNREAD_ALL) }
    }
}

impl UpgradeInfo for Mux {
    type Info = &'static str;
    type InfoIter = [&'static str; 1];

    fn protocol_info(&self) -> Self::InfoIter {
        ["/yamux/1.0.0"]
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> InboundConnectionUpgrade<C> for Mux {
    type Output = Muxer<C>;
    type Error = io::Error;
    type Future = Ready<io::Result<Muxer<C>>>;

    fn upgrade_inbound(self, socket: C, _: Self::Info) -> Self::Future {
        ready(Ok(Muxer::new(socket, self, Mode::Server)))
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> OutboundConnectionUpgrade<C> for Mux {
    type Output = Muxer<C>;
    type Error = io::Error;
    type Future = Ready<io::Result<Muxer<C>>>;

    fn upgrade_outbound(self, socket: C, _: Self::Info) -> Self::Future {
        ready(Ok(Muxer::new(socket, self, Mode::Client)))
    }
}

/// A connection with several streams.
pub(super) struct Muxer<C> {
    connection: Connection<Counted<Corked<C>>>,
    ledger: Arc<Ledger>,
    /// Of the connection's socket.
    cork: Cork<C>,
    /// Streams that came while the connection was driven for another reason; yamux bounds how many there are.
    inbound: VecDeque<Stream>,
    waiting: Option<Waker>,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Muxer<C> {
    fn new(socket: C, mux: Mux, mode: Mode) -> Self {
        let ((corked, cork), ledger) = (cork(socket), mux.unread.connection());
        let counted = Counted::new(corked, ledger.clone());
        let connection = Connection::new(counted, mux.config, mode);
        Self { connection, ledger, cork, inbound: VecDeque::new(), waiting: None }
    }

    /// Drives all streams until the peer opens one, or there is nothing more to do.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Stream, ConnectionError>> {
        if let Poll::Ready(next) = self.connection.poll_next_inbound(cx) {
            let next = next.unwrap_or(Err(ConnectionError::Closed));
            return Poll::Ready(next.map(|stream| Stream::new(stream, self.ledger.clone())));
        }
        // A socket that takes no more wakes this task when it does.
        if let Poll::Ready(Err(error)) = self.cork.poll_flush(cx) {
            return Poll::Ready(Err(ConnectionError::Io(error)));
        }
        Poll::Pending
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> StreamMuxer for Muxer<C> {
    type Substream = Stream;
    type Error = ConnectionError;

    fn poll_inbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Stream, ConnectionError>> {
        if let Some(stream) = self.inbound.pop_front() {
            return Poll::Ready(Ok(stream));
        }
        if let Poll::Ready(next) = self.poll_next(cx) {
            return Poll::Ready(next);
        }
        self.waiting = Some(cx.waker().clone());
        Poll::Pending
    }

    fn poll_outbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Stream, ConnectionError>> {
        let stream = ready!(self.connection.poll_new_outbound(cx))?;
        Poll::Ready(Ok(Stream::new(stream, self.ledger.clone())))
    }

    fn poll_close(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), ConnectionError>> {
        if self.connection.poll_close(cx)?.is_ready() {
            return Poll::Ready(Ok(()));
        }
        match self.cork.poll_flush(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(ConnectionError::Io(error))),
            _ => Poll::Pending,
        }
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<StreamMuxerEvent, ConnectionError>> {
        let stream = ready!(self.poll_next(cx))?;
        self.inbound.push_back(stream);
        if let Some(waiting) = self.waiting.take() {
            waiting.wake();
        }
        // There may be more.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
