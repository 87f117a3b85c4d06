//! A peer that speaks TLS and yamux, or QUIC, and the agreement on a protocol by hand: streams and connections as no node opens them.

use std::future::poll_fn;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use datnode_proto::limits::PAYLOAD_BYTES_MAX;
use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use libp2p::core::muxing::{StreamMuxerBox, StreamMuxerExt as _, SubstreamBox};
use libp2p::core::transport::{DialOpts, PortUse};
use libp2p::core::upgrade::Version;
use libp2p::core::{Endpoint, Transport as _};
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, quic, tcp, tls, yamux};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// What a session's stream begins with, from both sides.
pub const AGREEMENT: &[u8] = b"\x13/multistream/1.0.0\n\x15/datnode/replicate/1\n";

/// A stream of the ping protocol, agreed upon.
const PING: &[u8] = b"\x13/multistream/1.0.0\n\x11/ipfs/ping/1.0.0\n";

/// How many bytes a stream over QUIC takes that nobody here reads.
const STREAM_WINDOW: u32 = 64 << 10;

/// A connection; it breaks when this is dropped.
pub struct Raw {
    wanted: mpsc::Sender<oneshot::Sender<SubstreamBox>>,
    task: JoinHandle<()>,
}

impl Raw {
    /// Connects to a node, as somebody.
    ///
    /// # Errors
    /// Whatever keeps it from being connected.
    pub async fn connect(address: &Multiaddr, identity: &Keypair) -> io::Result<Self> {
        let mut transport = if address.iter().any(|part| part == Protocol::QuicV1) {
            let mut config = quic::Config::new(identity);
            // Little, as over TCP: whoever answers is not kept waiting for long to be kept waiting.
            (config.max_stream_data, config.max_connection_data) = (STREAM_WINDOW, STREAM_WINDOW);
            let quic = quic::tokio::Transport::new(config);
            quic.map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer))).boxed()
        } else {
            let secured = tls::Config::new(identity).map_err(io::Error::other)?;
            tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
                .upgrade(Version::V1Lazy)
                .authenticate(secured)
                .multiplex(yamux::Config::default())
                .boxed()
        };
        let options = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
        let dialed = transport.dial(address.clone(), options).map_err(io::Error::other)?;
        let (_, muxer) = dialed.await?;
        let (wanted, wishes) = mpsc::channel(1);
        Ok(Self { wanted, task: tokio::spawn(drive(muxer, wishes)) })
    }

    /// Opens a stream, on which nothing was said yet.
    ///
    /// # Errors
    /// If the connection is gone.
    pub async fn open(&self) -> io::Result<SubstreamBox> {
        let (reply, opened) = oneshot::channel();
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        self.wanted.send(reply).await.map_err(|_| gone())?;
        opened.await.map_err(|_| gone())
    }

    /// Opens a stream, says for a session what it likes on it, and waits for the end.
    ///
    /// # Errors
    /// If the connection is gone.
    pub async fn say(&self, bytes: &[u8]) -> io::Result<()> {
        let mut stream = self.open().await?;
        stream.write_all(&[AGREEMENT, bytes].concat()).await?;
        stream.flush().await?;
        stream.read_to_end(&mut Vec::new()).await?;
        Ok(())
    }

    /// Opens a stream for a session; it was agreed upon when this is done.
    ///
    /// # Errors
    /// If it was not.
    pub async fn begin(&self) -> io::Result<SubstreamBox> {
        let mut stream = self.open().await?;
        stream.write_all(AGREEMENT).await?;
        stream.flush().await?;
        stream.read_exact(&mut [0; AGREEMENT.len()]).await?;
        Ok(stream)
    }

    /// Tells whether a session begins.
    pub async fn begins(&self) -> bool {
        self.begin().await.is_ok()
    }

    /// Opens a stream for a protocol that the other side does not speak, and waits until it said so.
    ///
    /// # Errors
    /// If the connection is gone.
    pub async fn ask_for(&self, protocol: &[u8]) -> io::Result<()> {
        let mut stream = self.open().await?;
        let len = [u8::try_from(protocol.len() + 1).map_err(io::Error::other)?];
        stream
            .write_all(&[b"\x13/multistream/1.0.0\n", &len[..], protocol, b"\n"].concat())
            .await?;
        stream.flush().await?;
        // The name of the agreement itself, and `na`.
        stream.read_exact(&mut [0; 24]).await
    }

    /// Waits until the connection is gone.
    pub async fn gone(self) {
        let Self { wanted: _open, mut task } = self;
        // It ends in no other way.
        let _ = (&mut task).await;
    }
}

/// Writes as much of it as is taken.
pub async fn push(stream: &mut SubstreamBox, bytes: &[u8], sent: &AtomicU64) {
    let mut left = bytes;
    while !left.is_empty() {
        let Ok(written @ 1..) = stream.write(left).await else { return };
        sent.fetch_add(written as u64, Ordering::SeqCst);
        left = &left[written..];
    }
    let _ = stream.flush().await;
}

/// The longest frame there may be, but for its last byte.
pub fn one_byte_short() -> Vec<u8> {
    let lengths = [100, PAYLOAD_BYTES_MAX as u32].map(u32::to_le_bytes).concat();
    [AGREEMENT, &lengths, &vec![0; 100 + PAYLOAD_BYTES_MAX - 1]].concat()
}

/// Pings without end, by somebody who takes no answer.
pub fn pings() -> Vec<u8> {
    [PING, &vec![0; 16 << 20]].concat()
}

/// Moves bytes, opens streams that are wanted, and refuses the other side's.
async fn drive(
    mut muxer: StreamMuxerBox,
    mut wishes: mpsc::Receiver<oneshot::Sender<SubstreamBox>>,
) {
    let mut wish: Option<oneshot::Sender<SubstreamBox>> = None;
    poll_fn(|cx| {
        loop {
            while let Poll::Ready(moved) = muxer.poll_unpin(cx) {
                if moved.is_err() {
                    return Poll::Ready(());
                }
            }
            while let Poll::Ready(theirs) = muxer.poll_inbound_unpin(cx) {
                if theirs.is_err() {
                    return Poll::Ready(());
                }
            }
            if wish.is_none() {
                match wishes.poll_recv(cx) {
                    Poll::Ready(Some(next)) => wish = Some(next),
                    Poll::Ready(None) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
            match muxer.poll_outbound_unpin(cx) {
                Poll::Ready(Ok(stream)) => drop(wish.take().map(|wish| wish.send(stream))),
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
}
