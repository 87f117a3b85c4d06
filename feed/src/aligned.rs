//! Memory for what a system copies.
//!
//! Linux copies by one instruction (`rep movsb`), which some processors are slow at unless what is written begins with a line of their cache:
//! an EPYC of the third generation reads files that are in memory at 2.3 GB/s to where allocators put large buffers, 16 bytes
//! behind a page, and at 9 GB/s to where a line begins.

use alloc::boxed::Box;
use alloc::vec;
use core::ops::{Deref, DerefMut, Range};

/// How long a line of a cache is, in bytes.
const LINE: usize = 64;

/// Bytes that begin with a line of the processor's cache.
#[derive(Debug, Default)]
pub struct Aligned {
    memory: Box<[u8]>,
    /// Where they are in it.
    place: Range<usize>,
}

impl Aligned {
    /// Returns so many bytes, all 0.
    pub fn new(len: usize) -> Self {
        let memory = vec![0; len + LINE].into_boxed_slice();
        let start = memory.as_ptr().align_offset(LINE);
        Self { memory, place: start..start + len }
    }
}

impl Deref for Aligned {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[self.place.clone()]
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.place.clone()]
    }
}

impl AsRef<[u8]> for Aligned {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl AsMut<[u8]> for Aligned {
    fn as_mut(&mut self) -> &mut [u8] {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_begin_with_a_line_and_are_as_many_as_were_asked_for() {
        for len in [0, 1, 63, 64, 65, 4096, 1_000_003] {
            let mut bytes = Aligned::new(len);
            bytes.fill(7);
            assert_eq!((bytes.len(), bytes.as_ptr() as usize % LINE), (len, 0));
            let moved = bytes;
            assert_eq!(moved.as_ptr() as usize % LINE, 0);
            assert!(moved.iter().all(|byte| *byte == 7));
        }
        assert!(Aligned::default().is_empty());
    }
}
