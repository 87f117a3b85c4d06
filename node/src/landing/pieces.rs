//! Bytes on their way into large files: blocks that follow one another are written as one piece.
//!
//! Several peers send several places at a time, so a few pieces wait. Whoever reads working files or makes them durable
//! writes out first what waits here (`Landing::write_out`).

use std::collections::VecDeque;

/// How long a piece grows, in bytes, unless a block and what is left of a page before it are longer: from here on larger writes
/// are no faster.
pub(super) const PIECE_BYTES: usize = 1 << 20;
/// How many pieces wait at most.
const PIECES_MAX: usize = 8;
/// Of what bytes have to be a multiple, in the file and in memory, to go past the system's cache: a page, which suits every disk.
pub(super) const ALIGNED: usize = 4096;

/// Bytes that belong somewhere in a file of the plan.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) file: usize,
    pub(super) start: u64,
    buffer: Vec<u8>,
    /// How many bytes of the buffer are passed over, so that those behind begin in memory where they do in the file, as far as
    /// [`ALIGNED`] goes.
    pad: usize,
}

impl Piece {
    fn new(file: usize, start: u64, mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        // What was split off an earlier piece comes on top, and so does the pad.
        buffer.reserve(PIECE_BYTES + 2 * ALIGNED);
        let within = usize::try_from(start % ALIGNED as u64).expect("a page is small");
        let pad = (buffer.as_ptr().align_offset(ALIGNED).saturating_add(within)) % ALIGNED;
        buffer.resize(pad, 0);
        Self { file, start, buffer, pad }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[self.pad..]
    }

    fn end(&self) -> u64 {
        self.start + self.bytes().len() as u64
    }

    /// Takes off what is behind the last whole page of the file.
    fn split_off(&mut self, buffer: Vec<u8>) -> Self {
        let over = usize::try_from(self.end() % ALIGNED as u64).expect("a page is small");
        let at = self.buffer.len() - over.min(self.bytes().len());
        let mut rest = Self::new(self.file, self.end() - (self.buffer.len() - at) as u64, buffer);
        rest.buffer.extend_from_slice(&self.buffer[at..]);
        self.buffer.truncate(at);
        rest
    }
}

/// The pieces that wait, the one that grew last in front.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    waiting: VecDeque<Piece>,
    /// Buffers that were written out.
    spare: Vec<Vec<u8>>,
}

impl Pieces {
    /// Adds bytes; returns a piece that is to be written now.
    pub(super) fn add(&mut self, file: usize, offset: u64, bytes: &[u8]) -> Option<Piece> {
        let before = |piece: &Piece| piece.file == file && piece.end() == offset;
        let before = self.waiting.iter().position(before).and_then(|at| self.waiting.remove(at));
        let (full, mut piece) = match before {
            Some(piece) if piece.bytes().len() + bytes.len() <= PIECE_BYTES => (None, piece),
            Some(mut full) => {
                let rest = full.split_off(self.spare.pop().unwrap_or_default());
                (Some(full), rest)
            }
            None => {
                let many = self.waiting.len() >= PIECES_MAX;
                let full = if many { self.waiting.pop_back() } else { None };
                (full, Piece::new(file, offset, self.spare.pop().unwrap_or_default()))
            }
        };
        piece.buffer.extend_from_slice(bytes);
        self.waiting.push_front(piece);
        full
    }

    /// Returns a piece that waits, of this file or of any.
    pub(super) fn take(&mut self, file: Option<usize>) -> Option<Piece> {
        let of = |piece: &Piece| file.is_none_or(|file| piece.file == file);
        self.waiting.iter().position(of).and_then(|at| self.waiting.remove(at))
    }

    /// Puts back a piece that could not be written.
    pub(super) fn put_back(&mut self, piece: Piece) {
        self.waiting.push_back(piece);
    }

    /// Tells whether pieces that could not be written fill the room there is.
    pub(super) fn is_stuck(&self) -> bool {
        self.waiting.len() > PIECES_MAX
    }

    /// Gives back the buffer of a piece that was written.
    pub(super) fn recycle(&mut self, piece: Piece) {
        self.spare.push(piece.buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_the_order_everything_is_written_once_and_little_waits() {
        let (files, blocks, len) = (3, 200, 50_000_usize);
        let mut pieces = Pieces::default();
        let mut written = vec![vec![0_u8; blocks * len]; files];
        let mut writes = 0;
        let mut write = |pieces: &mut Pieces, piece: Piece| {
            let start = usize::try_from(piece.start).expect("it is small");
            assert!(piece.bytes().len() <= PIECE_BYTES);
            for (at, byte) in piece.bytes().iter().enumerate() {
                assert_eq!(std::mem::replace(&mut written[piece.file][start + at], *byte), 0);
            }
            writes += 1;
            pieces.recycle(piece);
        };
        // Each of twelve peers sends its own part of some file.
        for round in 0..blocks / 4 {
            for peer in 0..files * 4 {
                let (file, block) = (peer / 4, peer % 4 * (blocks / 4) + round);
                let bytes = vec![(block % 251 + 1) as u8; len];
                if let Some(piece) = pieces.add(file, (block * len) as u64, &bytes) {
                    write(&mut pieces, piece);
                }
                assert!(pieces.waiting.len() <= PIECES_MAX);
            }
        }
        while let Some(piece) = pieces.take(Some(1)).or_else(|| pieces.take(None)) {
            write(&mut pieces, piece);
        }
        let right = |file: &Vec<u8>| {
            file.chunks(len)
                .enumerate()
                .all(|(block, bytes)| bytes.iter().all(|byte| *byte == (block % 251 + 1) as u8))
        };
        assert!(written.iter().all(right));
        assert!(writes <= files * blocks);
    }

    #[test]
    fn what_comes_in_order_is_written_in_large_pieces() {
        let mut pieces = Pieces::default();
        let block = vec![7; 60_000];
        let full = (0..1_000).filter_map(|block_no| pieces.add(0, 100 + block_no * 60_000, &block));
        let full: Vec<Piece> = full.collect();
        assert!(full.len() > 50);
        for (number, piece) in full.iter().enumerate() {
            assert!(piece.bytes().len() > PIECE_BYTES - 60_000 - ALIGNED);
            // Only the very first begins within a page, in the file as in memory.
            let within = if number == 0 { 100 } else { 0 };
            assert_eq!((piece.start % ALIGNED as u64, piece.end() % ALIGNED as u64), (within, 0));
            assert_eq!((piece.bytes().as_ptr() as u64) % ALIGNED as u64, within);
        }
    }
}
