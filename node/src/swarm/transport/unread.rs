//! What peers sent and nobody has read yet: each stream of yamux may hold 256 KiB, which of all streams of all connections is too much.
//!
//! While all of it together is more than it may be, a connection that holds more than a little is not read from: its peer waits
//! until somebody here reads its streams, or until others' have been read. One that nobody reads answers no ping, and so ends.
//! Invariant: what is held is no more than `UNREAD_ALL`, and of each connection `UNREAD_FREE` and a frame's part beside that.
//! Elsewhere: what one connection may hold (`limits::UNREAD_PER_CONNECTION`), frames that are not whole (`swarm::frames`).

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use futures::{AsyncRead, AsyncWrite};

use crate::swarm::limits;

/// What all connections of a node hold.
#[derive(Clone)]
pub(super) struct Unread(Arc<Mutex<All>>);

struct All {
    /// How much may be held before connections are looked at.
    most: usize,
    bytes: usize,
    next: u64,
    connections: BTreeMap<u64, Held>,
}

/// What a connection holds.
#[derive(Default)]
struct Held {
    bytes: usize,
    /// Of each open stream.
    streams: BTreeMap<u32, usize>,
    /// Of the task that would read on.
    waiting: Option<Waker>,
}

impl Unread {
    /// Holds no more than so many bytes.
    pub(super) fn new(most: usize) -> Self {
        let (bytes, next, connections) = (0, 0, BTreeMap::new());
        Self(Arc::new(Mutex::new(All { most, bytes, next, connections })))
    }

    /// Begins with a connection.
    pub(super) fn connection(&self) -> Arc<Ledger> {
        let mut all = self.lock();
        let id = all.next;
        all.next += 1;
        all.connections.insert(id, Held::default());
        Arc::new(Ledger { all: self.clone(), id })
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl All {
    /// So much was read, or will never be. Who waited may go on.
    fn take(&mut self, bytes: usize) {
        let was_full = self.bytes > self.most;
        self.bytes = self.bytes.saturating_sub(bytes);
        let is_full = self.bytes > self.most;
        for held in self.connections.values_mut().filter(|_| was_full) {
            if !is_full || held.bytes <= limits::UNREAD_FREE {
                held.waiting.take().into_iter().for_each(Waker::wake);
            }
        }
    }
}

/// What a connection holds; it is forgotten with the last handle of it.
pub(super) struct Ledger {
    all: Unread,
    id: u64,
}

impl Ledger {
    /// Waits until there is room for more.
    fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        let mut all = self.all.lock();
        let is_full = all.bytes > all.most;
        match all.connections.get_mut(&self.id).filter(|_| is_full) {
            Some(held) if held.bytes > limits::UNREAD_FREE => {
                held.waiting = Some(cx.waker().clone());
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    fn open(&self, stream: u32) {
        let mut all = self.all.lock();
        let held = all.connections.get_mut(&self.id);
        if let Some(held) = held {
            held.streams.entry(stream).or_default();
        }
    }

    /// Bytes of a stream came. What comes for one that is not open is not kept.
    fn handle_bytes(&self, stream: u32, bytes: usize) {
        let mut all = self.all.lock();
        let Some(held) = all.connections.get_mut(&self.id) else { return };
        let Some(unread) = held.streams.get_mut(&stream) else { return };
        *unread += bytes;
        held.bytes += bytes;
        all.bytes += bytes;
    }

    /// Bytes of a stream were read.
    fn handle_read(&self, stream: u32, bytes: usize) {
        let mut all = self.all.lock();
        let Some(held) = all.connections.get_mut(&self.id) else { return };
        let Some(unread) = held.streams.get_mut(&stream) else { return };
        let bytes = bytes.min(*unread);
        *unread -= bytes;
        held.bytes -= bytes;
        all.take(bytes);
    }

    fn close(&self, stream: u32) {
        let mut all = self.all.lock();
        let Some(held) = all.connections.get_mut(&self.id) else { return };
        let unread = held.streams.remove(&stream).unwrap_or_default();
        held.bytes -= unread;
        all.take(unread);
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        let mut all = self.all.lock();
        let held = all.connections.remove(&self.id);
        all.take(held.map_or(0, |held| held.bytes));
    }
}

/// The socket below yamux, of which is counted what comes for each stream.
///
/// ```text
/// 0         1      2       4        8        12
/// +---------+------+-------+--------+--------+
/// | version | type | flags | stream | length |    all big-endian; of type 0, `length` bytes follow
/// +---------+------+-------+--------+--------+
/// ```
pub(super) struct Counted<S> {
    inner: S,
    ledger: Arc<Ledger>,
    header: Vec<u8>,
    /// The stream whose bytes come now, and how many.
    body: Option<(u32, usize)>,
}

const HEADER_LEN: usize = 12;
const DATA: u8 = 0;
const SYN: u16 = 1;

impl<S> Counted<S> {
    pub(super) fn new(inner: S, ledger: Arc<Ledger>) -> Self {
        Self { inner, ledger, header: Vec::with_capacity(HEADER_LEN), body: None }
    }

    fn count(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let wanted = match self.body {
                Some((_, left)) => left,
                None => HEADER_LEN - self.header.len(),
            };
            let (now, later) = bytes.split_at(wanted.min(bytes.len()));
            bytes = later;
            if let Some((stream, left)) = self.body {
                self.ledger.handle_bytes(stream, now.len());
                self.body = Some((stream, left - now.len())).filter(|(_, left)| *left > 0);
                continue;
            }
            self.header.extend_from_slice(now);
            if let Ok([_, kind, f0, f1, s0, s1, s2, s3, l0, l1, l2, l3]) =
                <[u8; HEADER_LEN]>::try_from(self.header.as_slice())
            {
                self.header.clear();
                let stream = u32::from_be_bytes([s0, s1, s2, s3]);
                if u16::from_be_bytes([f0, f1]) & SYN == SYN {
                    self.ledger.open(stream);
                }
                let length = u32::from_be_bytes([l0, l1, l2, l3]);
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                self.body = Some((stream, length)).filter(|_| kind == DATA && length > 0);
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.ledger.poll_room(cx));
        let read = ready!(Pin::new(&mut self.inner).poll_read(cx, into))?;
        self.count(into.get(..read).unwrap_or_default());
        Poll::Ready(Ok(read))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
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

/// A stream, of which is counted what is read.
pub(in crate::swarm) struct Stream {
    inner: yamux::Stream,
    ledger: Arc<Ledger>,
}

impl Stream {
    pub(super) fn new(inner: yamux::Stream, ledger: Arc<Ledger>) -> Self {
        ledger.open(inner.id().val());
        Self { inner, ledger }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.ledger.close(self.inner.id().val());
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let read = ready!(Pin::new(&mut self.inner).poll_read(cx, into))?;
        self.ledger.handle_read(self.inner.id().val(), read);
        Poll::Ready(Ok(read))
    }
}

impl AsyncWrite for Stream {
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
    use futures::task::noop_waker;

    use super::*;

    /// Returns a frame of yamux.
    fn frame(kind: u8, flags: u16, stream: u32, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        let head = [&[0, kind][..], &flags.to_be_bytes(), &stream.to_be_bytes(), &length];
        [&head.concat(), body].concat()
    }

    /// Returns a socket from which this comes.
    fn socket(all: &Unread, bytes: Vec<u8>) -> Counted<futures::io::Cursor<Vec<u8>>> {
        Counted::new(futures::io::Cursor::new(bytes), all.connection())
    }

    /// Reads until there is no room or no more to read; returns how much was read.
    fn drain<S: AsyncRead + Unpin>(socket: &mut Counted<S>, piece: usize) -> usize {
        let (waker, mut read, mut into) = (noop_waker(), 0, vec![0; piece]);
        let mut cx = Context::from_waker(&waker);
        while let Poll::Ready(Ok(more @ 1..)) = Pin::new(&mut *socket).poll_read(&mut cx, &mut into)
        {
            read += more;
        }
        read
    }

    #[test]
    fn bytes_of_open_streams_count_however_they_come() {
        let said = [
            frame(1, SYN, 1, &[]),
            frame(0, 0, 1, &[0; 1_000]),
            frame(0, SYN, 3, &[0; 500]),
            frame(0, 0, 99, &[0; 77]),
            frame(2, 1, 0, &[]),
            frame(0, 0, 1, &[0; 30]),
        ];
        for piece in [1, 5, 12, 13, 700, 4_096] {
            let all = Unread::new(usize::MAX);
            let mut socket = socket(&all, said.concat());
            assert_eq!(drain(&mut socket, piece), said.concat().len());
            assert_eq!(all.lock().bytes, 1_530, "nobody opened 99");
            socket.ledger.handle_read(1, 30);
            socket.ledger.close(3);
            assert_eq!(all.lock().bytes, 1_000);
            drop(socket);
            assert!(all.lock().bytes == 0 && all.lock().connections.is_empty());
        }
    }

    #[test]
    fn all_connections_together_hold_so_much_and_one_that_is_read_goes_on() {
        let (most, piece) = (1 << 20, 4_096);
        let all = Unread::new(most);
        let said = [frame(1, SYN, 1, &[]), frame(0, 0, 1, &[0; 1 << 20])].concat();
        let mut flood: Vec<_> = (0..16).map(|_| socket(&all, said.clone())).collect();
        for socket in &mut flood {
            drain(socket, piece);
        }
        let bound = most + flood.len() * (limits::UNREAD_FREE + piece);
        assert!((most..=bound).contains(&all.lock().bytes), "{}", all.lock().bytes);
        let modest = [frame(1, SYN, 1, &[]), frame(0, 0, 1, &[0; 1_000])].concat();
        let mut modest = socket(&all, modest);
        assert_eq!(
            drain(&mut modest, piece),
            1_000 + 2 * HEADER_LEN,
            "others are not kept waiting"
        );
        // Whoever is read goes on, though the others hold as much as there may be.
        let last = flood.last_mut().unwrap();
        let mut read = last.ledger.all.lock().connections[&last.ledger.id].bytes;
        for _ in 0..said.len().div_ceil(limits::UNREAD_FREE) + 1 {
            let held = last.ledger.all.lock().connections[&last.ledger.id].bytes;
            last.ledger.handle_read(1, held);
            read += drain(last, piece);
        }
        assert_eq!(read, 1 << 20, "all of its bytes came");
    }

    #[test]
    fn who_waits_is_woken_when_it_is_read_or_others_are_gone() {
        let (woken, all) = (Arc::new(Woken::default()), Unread::new(1_000));
        let waker = Waker::from(woken.clone());
        let [one, other] = [(); 2].map(|()| all.connection());
        for ledger in [&one, &other] {
            ledger.open(1);
            ledger.handle_bytes(1, 2 * limits::UNREAD_FREE);
            assert!(ledger.poll_room(&Context::from_waker(&waker)).is_pending());
        }
        one.handle_read(1, limits::UNREAD_FREE);
        assert_eq!(woken.count(), 1, "it holds little now");
        assert!(one.poll_room(&Context::from_waker(&waker)).is_ready());
        drop(one);
        assert_eq!(woken.count(), 1, "there is as much as there may be");
        other.handle_read(1, 2 * limits::UNREAD_FREE);
        assert_eq!(woken.count(), 2);
    }

    #[derive(Default)]
    struct Woken(std::sync::atomic::AtomicUsize);

    impl Woken {
        fn count(&self) -> usize {
            self.0.load(std::sync::atomic::Ordering::Relaxed)
        }
    }

    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }
}
