//! Frames on a byte stream: reads and writes them, whatever the stream is. SPEC 6.1.
//!
//! Invariant: what a prefix announces is held against the limits before anything is allocated for it, and long payloads take no more
//! together than there is room for.
//! Elsewhere: the layout (`datnode_proto::wire`), the stream of a session (`stream`).

use std::io;
use std::time::Duration;

use bytes::Bytes;
use datnode_proto::Fault;
use datnode_proto::wire::{Frame, PREFIX_LEN, parse_prefix};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, timeout, timeout_at};

use super::limits;
use crate::pool::{Buffer, Pool, Room};

/// Why a stream of frames ended too soon.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The peer sent what is no frame.
    #[error(transparent)]
    Fault(Fault),
    /// The stream ended inside a frame.
    #[error("the stream ended inside a frame")]
    Truncated,
    /// Nothing moved for too long in the middle of a frame.
    #[error("the stream stood still inside a frame")]
    Stalled,
    /// The stream broke.
    #[error("the stream broke")]
    Io(#[from] io::Error),
}

/// Reads frames.
#[derive(Debug)]
pub struct FrameReader<R> {
    inner: R,
    buffer: Box<[u8]>,
    /// What of the buffer was read from the stream and not yet used.
    start: usize,
    end: usize,
    /// The frame that is being read: reading may be given up at any await and taken up again.
    partial: Option<Partial>,
    payloads: Pool,
    /// How long nothing may come inside a frame.
    stall: Duration,
}

#[derive(Debug)]
struct Partial {
    header: Vec<u8>,
    payload: Buffer,
    /// How many bytes of both have arrived.
    filled: usize,
    /// Until when so many have to.
    due: (Instant, usize),
    /// Held until it is whole.
    _room: Option<Room>,
}

impl Partial {
    /// Returns the bytes that come next.
    fn room(&mut self) -> &mut [u8] {
        let header = self.header.len();
        let room = match self.filled.checked_sub(header) {
            Some(filled) => self.payload.as_mut().get_mut(filled..),
            None => self.header.get_mut(self.filled..),
        };
        room.unwrap_or_default()
    }
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Reads frames from `inner`, their payloads into buffers of `payloads`.
    pub fn new(inner: R, payloads: Pool) -> Self {
        let buffer = vec![0; limits::READ_BUFFER].into_boxed_slice();
        let (start, end, stall) = (0, 0, limits::FRAME_STALL);
        Self { inner, buffer, start, end, partial: None, payloads, stall }
    }

    /// Returns the next frame, or none when the stream ended after a whole one.
    ///
    /// May be cancelled: nothing that was read is lost.
    pub async fn read(&mut self) -> Result<Option<Frame>, FrameError> {
        if self.partial.is_none() {
            let Some(prefix) = self.read_prefix().await? else { return Ok(None) };
            let (header, payload) = parse_prefix(prefix).map_err(FrameError::Fault)?;
            // The prefix stays where it is meanwhile, so that giving up loses nothing; and what the peer sends stays unread.
            let room = self.payloads.room(payload).await;
            self.start += PREFIX_LEN;
            let (header, payload) = (vec![0; header], self.payloads.take(payload));
            let due = (Instant::now() + self.stall, limits::FRAME_PROGRESS);
            self.partial = Some(Partial { header, payload, filled: 0, due, _room: room });
        } else if let Some(partial) = &mut self.partial {
            // Nobody read meanwhile: that is not the peer's fault.
            partial.due = (Instant::now() + self.stall, partial.filled + limits::FRAME_PROGRESS);
        }
        self.fill_partial().await?;
        let frame = self.partial.take();
        Ok(frame.map(|Partial { header, payload, .. }| Frame { header, payload: payload.share() }))
    }

    /// Returns the next frame if all of it was read from the stream already.
    pub fn read_buffered(&mut self) -> Option<Frame> {
        if self.partial.is_some() {
            return None;
        }
        let (prefix, rest) = self.buffered().split_first_chunk()?;
        // What is no frame is for `read` to say.
        let (header, payload) = parse_prefix(*prefix).ok()?;
        let bytes = rest.get(..header + payload)?;
        let (header, payload) = bytes.split_at_checked(header)?;
        let frame = Frame { header: header.to_vec(), payload: Bytes::copy_from_slice(payload) };
        self.start += PREFIX_LEN + bytes.len();
        Some(frame)
    }

    /// Returns the next prefix, which is not yet used.
    async fn read_prefix(&mut self) -> Result<Option<[u8; PREFIX_LEN]>, FrameError> {
        loop {
            if let Some(&prefix) = self.buffered().first_chunk() {
                return Ok(Some(prefix));
            }
            let begun = !self.buffered().is_empty();
            // Between frames a peer may be silent for as long as it likes.
            let read = match begun {
                true => stalling(self.stall, self.fill()).await?,
                false => self.fill().await?,
            };
            match (read, begun) {
                (0, true) => return Err(FrameError::Truncated),
                (0, false) => return Ok(None),
                _ => {}
            }
        }
    }

    async fn fill_partial(&mut self) -> Result<(), FrameError> {
        while let Some(partial) = &mut self.partial {
            if partial.filled >= partial.due.1 {
                partial.due =
                    (Instant::now() + self.stall, partial.filled + limits::FRAME_PROGRESS);
            }
            let until = partial.due.0;
            let room = partial.room();
            if room.is_empty() {
                break;
            }
            let buffered = self.buffer.get(self.start..self.end).unwrap_or_default();
            let read = if !buffered.is_empty() {
                let len = room.len().min(buffered.len());
                if let (Some(room), Some(bytes)) = (room.get_mut(..len), buffered.get(..len)) {
                    room.copy_from_slice(bytes);
                }
                self.start += len;
                len
            } else if room.len() >= limits::READ_BUFFER {
                by(until, self.inner.read(room)).await?
            } else {
                if by(until, self.fill()).await? == 0 {
                    return Err(FrameError::Truncated);
                }
                continue;
            };
            if read == 0 {
                return Err(FrameError::Truncated);
            }
            partial.filled += read;
        }
        Ok(())
    }

    fn buffered(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// Reads once into the buffer, behind what is there.
    async fn fill(&mut self) -> io::Result<usize> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let room = self.buffer.get_mut(self.end..).unwrap_or_default();
        let read = self.inner.read(room).await?;
        self.end += read;
        Ok(read)
    }
}

/// Writes frames. What is written arrives after a [`FrameWriter::flush`] at the latest.
#[derive(Debug)]
pub struct FrameWriter<W> {
    inner: W,
    buffer: Vec<u8>,
    /// How long nothing may be taken.
    stall: Duration,
}

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    /// Writes frames to `inner`.
    pub fn new(inner: W) -> Self {
        Self { inner, buffer: Vec::new(), stall: limits::FRAME_STALL }
    }

    /// Writes a frame, gathering small ones. Not to be cancelled: half a frame would be on the stream.
    pub async fn write(&mut self, frame: &Frame) -> Result<(), FrameError> {
        self.buffer.extend_from_slice(&frame.prefix());
        self.buffer.extend_from_slice(&frame.header);
        if frame.payload.len() > limits::WRITE_COPIED {
            self.write_out().await?;
            return write_all(self.stall, &mut self.inner, &frame.payload).await;
        }
        self.buffer.extend_from_slice(&frame.payload);
        if self.buffer.len() >= limits::WRITE_BUFFER {
            self.write_out().await?;
        }
        Ok(())
    }

    /// Sends what was gathered on its way.
    pub async fn flush(&mut self) -> Result<(), FrameError> {
        self.write_out().await?;
        stalling(self.stall, self.inner.flush()).await
    }

    /// Sends what was gathered, and the end of the stream.
    pub async fn close(&mut self) -> Result<(), FrameError> {
        self.write_out().await?;
        stalling(self.stall, self.inner.shutdown()).await
    }

    async fn write_out(&mut self) -> Result<(), FrameError> {
        write_all(self.stall, &mut self.inner, &self.buffer).await?;
        self.buffer.clear();
        Ok(())
    }
}

async fn write_all(
    stall: Duration,
    inner: &mut (impl AsyncWrite + Unpin),
    mut bytes: &[u8],
) -> Result<(), FrameError> {
    while !bytes.is_empty() {
        let written = stalling(stall, inner.write(bytes)).await?;
        if written == 0 {
            return Err(FrameError::Io(io::ErrorKind::WriteZero.into()));
        }
        bytes = bytes.get(written..).unwrap_or_default();
    }
    Ok(())
}

async fn by<T>(until: Instant, step: impl Future<Output = io::Result<T>>) -> Result<T, FrameError> {
    timeout_at(until, step).await.map_err(|_| FrameError::Stalled)?.map_err(Into::into)
}

async fn stalling<T>(
    stall: Duration,
    step: impl Future<Output = io::Result<T>>,
) -> Result<T, FrameError> {
    timeout(stall, step).await.map_err(|_| FrameError::Stalled)?.map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use datnode_proto::limits::{HEADER_BYTES_MAX, PAYLOAD_BYTES_MAX};
    use tokio::io::duplex;

    use super::*;

    fn frame(header: usize, payload: usize) -> Frame {
        let bytes = |len: usize, seed: usize| {
            (0..len).map(|at| (at.wrapping_mul(31) ^ (at >> 8) ^ seed) as u8).collect::<Vec<u8>>()
        };
        Frame { header: bytes(header, payload), payload: bytes(payload, header).into() }
    }

    fn run<T>(test: impl Future<Output = T>) -> T {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().build().unwrap().block_on(test)
    }

    #[test]
    fn frames_of_all_sizes_arrive_as_they_were_sent() {
        let payloads = [0, 1, 7, 16_383, 16_384, 16_385, 65_536, 100_000, PAYLOAD_BYTES_MAX, 3];
        let headers = [1, 100, 9_000, HEADER_BYTES_MAX];
        let frames: Vec<Frame> =
            headers.iter().flat_map(|&h| payloads.map(|p| frame(h, p))).collect();
        for pipe in [1, 100, 5_000, 1 << 20] {
            let frames = &frames[..if pipe == 1 { 8 } else { frames.len() }];
            run(async {
                let (near, far) = duplex(pipe);
                let (mut writer, mut reader) =
                    (FrameWriter::new(near), FrameReader::new(far, Pool::default()));
                let write = async {
                    for frame in frames {
                        writer.write(frame).await.unwrap();
                    }
                    writer.close().await.unwrap();
                };
                let read = async {
                    for frame in frames {
                        assert!(reader.read().await.unwrap().unwrap() == *frame);
                    }
                    assert!(reader.read().await.unwrap().is_none());
                };
                tokio::join!(write, read);
            });
        }
    }

    #[test]
    fn what_was_read_already_is_returned_without_waiting() {
        run(async {
            let (near, far) = duplex(1 << 20);
            let (mut writer, mut reader) =
                (FrameWriter::new(near), FrameReader::new(far, Pool::default()));
            let frames =
                [frame(10, 0), frame(1, 100), frame(50, 0), frame(10, 40_000), frame(1, 1)];
            for frame in &frames {
                writer.write(frame).await.unwrap();
            }
            writer.flush().await.unwrap();
            assert_eq!(reader.read_buffered(), None, "nothing was read yet");
            let mut read = Vec::new();
            for many in [3, 1, 1] {
                read.push(reader.read().await.unwrap().unwrap());
                let more: Vec<_> = std::iter::from_fn(|| reader.read_buffered()).collect();
                assert_eq!(more.len() + 1, many, "the long frame is not read whole");
                read.extend(more);
            }
            assert!(read == frames);
            let begun = [&frames[0].prefix()[..], &[1; 10], &[255; 20]].concat();
            writer.inner.write_all(&begun).await.unwrap();
            assert!(reader.read().await.is_ok());
            assert_eq!(reader.read_buffered(), None, "it is no frame");
            assert!(reader.read().await.is_err());
        });
    }

    #[test]
    fn a_cancelled_read_loses_nothing() {
        run(async {
            let (near, far) = duplex(64);
            let (mut writer, mut reader) =
                (FrameWriter::new(near), FrameReader::new(far, Pool::default()));
            let sent = frame(500, 40_000);
            let write = async {
                writer.write(&sent).await.unwrap();
                writer.close().await.unwrap();
            };
            let read = async {
                loop {
                    tokio::select! {
                        biased;
                        frame = reader.read() => break frame.unwrap().unwrap(),
                        () = tokio::task::yield_now() => {}
                    }
                }
            };
            let ((), received) = tokio::join!(write, read);
            assert!(received == sent);
        });
    }

    #[test]
    fn a_prefix_beyond_the_limits_is_refused_at_once() {
        for prefix in [[255; 8], [0, 0, 0, 0, 1, 0, 0, 0], [1, 0, 0, 0, 1, 0, 16, 0]] {
            run(async {
                let (mut near, far) = duplex(64);
                near.write_all(&prefix).await.unwrap();
                let mut reader = FrameReader::new(far, Pool::default());
                assert!(matches!(reader.read().await, Err(FrameError::Fault(_))));
                assert!(reader.partial.is_none(), "nothing was allocated");
            });
        }
    }

    #[test]
    fn a_stream_that_ends_or_stands_still_inside_a_frame_is_an_error() {
        run(async {
            let (mut near, far) = duplex(64);
            near.write_all(&frame(5, 5).prefix()).await.unwrap();
            let mut reader = FrameReader::new(far, Pool::default());
            reader.stall = Duration::from_millis(20);
            assert!(matches!(reader.read().await, Err(FrameError::Stalled)));
            drop(near);
            assert!(matches!(reader.read().await, Err(FrameError::Truncated)));
        });
    }

    #[test]
    fn long_payloads_wait_for_room_and_short_ones_for_nothing() {
        async fn waits<R: AsyncRead + Unpin>(reader: &mut FrameReader<R>) -> bool {
            tokio::select! {
                biased;
                _ = reader.read() => false,
                () = tokio::task::yield_now() => true,
            }
        }
        run(async {
            let (pool, mut begun) = (Pool::default(), Vec::new());
            let long = frame(5, PAYLOAD_BYTES_MAX);
            for _ in 0..limits::FRAMES_ALL / PAYLOAD_BYTES_MAX {
                let (mut near, far) = duplex(64);
                near.write_all(&long.prefix()).await.unwrap();
                let mut reader = FrameReader::new(far, pool.clone());
                assert!(waits(&mut reader).await && reader.partial.is_some());
                begun.push((near, reader));
            }
            let send = async |sent: &Frame| {
                let (near, far) = duplex(2 * PAYLOAD_BYTES_MAX);
                let mut writer = FrameWriter::new(near);
                writer.write(sent).await.unwrap();
                writer.close().await.unwrap();
                FrameReader::new(far, pool.clone())
            };
            let mut next = send(&long).await;
            for _ in 0..2 {
                assert!(waits(&mut next).await && next.partial.is_none(), "nothing was allocated");
            }
            let short = frame(5, limits::FRAME_FREE);
            assert!(send(&short).await.read().await.unwrap() == Some(short));
            begun.pop();
            assert!(next.read().await.unwrap() == Some(long));
        });
    }

    #[test]
    fn a_frame_that_trickles_is_an_error() {
        run(async {
            let (mut near, far) = duplex(64);
            let mut reader = FrameReader::new(far, Pool::default());
            reader.stall = Duration::from_millis(50);
            near.write_all(&frame(5, PAYLOAD_BYTES_MAX).prefix()).await.unwrap();
            let trickle = async {
                // Never silent for long, and never whole: there are more bytes to come than this writes in years.
                while near.write_all(&[0]).await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::select! {
                read = reader.read() => assert!(matches!(read, Err(FrameError::Stalled))),
                () = trickle => panic!("the reader is there"),
            }
        });
    }

    #[test]
    fn a_peer_that_takes_nothing_is_an_error() {
        run(async {
            let (near, _far) = duplex(64);
            let mut writer = FrameWriter::new(near);
            writer.stall = Duration::from_millis(20);
            writer.write(&frame(100, 10)).await.unwrap();
            assert!(matches!(writer.flush().await, Err(FrameError::Stalled)));
        });
    }
}
