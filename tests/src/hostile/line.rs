//! One session of a hostile peer: frames as the protocol has them, or whatever bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use datnode::pool::Pool;
use datnode::swarm::SessionStream;
use datnode::swarm::frames::FrameReader;
use datnode_feed::PublicKey;
use datnode_proto::wire::{Channel, Frame, Hello, Message, PREFIX_LEN, decode, encode};
use datnode_proto::{Binding, capability};
use tokio::io::{AsyncWriteExt as _, ReadHalf, WriteHalf};

use super::{CONTENT, Goods};

/// What TLS and yamux add to what is sent at once, in bytes.
const FRAME: usize = 34;

/// The other side closed the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

/// A session; dropping it closes the connection.
pub struct Line {
    /// Both ends, as the handshake proved them.
    pub binding: Binding,
    /// How many bytes of blocks its greeting lets the other side send: any number, unless this is changed.
    pub credit: u64,
    reader: FrameReader<ReadHalf<SessionStream>>,
    writer: WriteHalf<SessionStream>,
    /// How many bytes passed all lines, either way.
    passed: Arc<AtomicU64>,
}

impl Line {
    pub(super) fn new(stream: SessionStream, binding: Binding, passed: Arc<AtomicU64>) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        let reader = FrameReader::new(reader, Pool::default());
        Self { binding, credit: u64::MAX, reader, writer, passed }
    }

    /// Greets, as a node that speaks these versions of the protocol.
    pub async fn hello(&mut self, version_min: u16, version_max: u16) -> Result<(), Gone> {
        let agent = String::from("\u{1b}[31mhostile");
        let credit = self.credit;
        let hello = Hello { version_min, version_max, features: u64::MAX, agent, credit };
        self.send(&Message::Hello(hello)).await
    }

    /// Opens a feed, with the proof that its key is known.
    pub async fn open(&mut self, channel: Channel, key: &PublicKey) -> Result<(), Gone> {
        let nonce = [7; 16];
        let tag = capability::tag(key, &self.binding.ours, &self.binding.theirs, &nonce);
        self.send(&Message::Open { channel, nonce, tag: *tag.as_bytes() }).await
    }

    /// Greets, opens the feeds of a drive under their numbers, and waits until its content is open on both sides.
    pub async fn join(&mut self, goods: &Goods) -> Result<(), Gone> {
        self.hello(1, 1).await?;
        self.open(Channel(0), &goods.key(0)).await?;
        self.open(CONTENT, &goods.key(1)).await?;
        // Whoever shares a drive opens its feeds in this order.
        while !matches!(self.receive().await?.0, Message::Have { channel: CONTENT, .. }) {}
        Ok(())
    }

    /// Sends a message.
    pub async fn send(&mut self, message: &Message) -> Result<(), Gone> {
        self.send_with(message, Bytes::new()).await
    }

    /// Sends a message with bytes behind it.
    pub async fn send_with(&mut self, message: &Message, payload: Bytes) -> Result<(), Gone> {
        let frame = Frame { header: encode(message), payload };
        let bytes = [&frame.prefix(), &frame.header[..], &frame.payload].concat();
        self.send_raw(&bytes).await
    }

    /// Sends bytes that need be no frame.
    pub async fn send_raw(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        self.writer.write_all(bytes).await.map_err(|_| Gone)?;
        self.writer.flush().await.map_err(|_| Gone)?;
        self.passed.fetch_add((FRAME + bytes.len()) as u64, Ordering::SeqCst);
        Ok(())
    }

    /// Waits for the next message.
    pub async fn receive(&mut self) -> Result<(Message, Bytes), Gone> {
        let frame = self.next().await?;
        let message = decode(&frame.header, &frame.payload).expect("the other side is honest");
        Ok((message, frame.payload))
    }

    /// Waits for the next frame; what was read of it is kept if this is given up.
    pub async fn next(&mut self) -> Result<Frame, Gone> {
        let frame = self.reader.read().await.ok().flatten().ok_or(Gone)?;
        let len = PREFIX_LEN + frame.header.len() + frame.payload.len();
        self.passed.fetch_add((FRAME + len) as u64, Ordering::SeqCst);
        Ok(frame)
    }

    /// Takes what comes, until the other side has had enough.
    pub async fn until_gone(mut self) {
        while self.receive().await.is_ok() {}
    }

    /// Takes what comes for a while.
    pub async fn listen_for(&mut self, span: Duration) -> Result<(), Gone> {
        let listened = async { while self.receive().await.is_ok() {} };
        tokio::time::timeout(span, listened).await.map_or(Ok(()), |()| Err(Gone))
    }
}
