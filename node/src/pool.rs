//! Buffers of blocks that are used again: making room for each block anew, and clearing it, costs as much as copying it.

use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use datnode_feed::Aligned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::swarm::limits::{FRAME_FREE, FRAMES_ALL};

/// How many buffers are kept: about what is on its way between two threads.
const KEPT_MAX: usize = 32;
/// The longest that is kept, in bytes: a chunk of a drive is no longer.
const KEPT_BYTES_MAX: usize = 128 << 10;

/// Buffers that nobody uses now.
#[derive(Clone, Debug)]
pub struct Pool {
    spare: Arc<Mutex<Vec<Aligned>>>,
    /// Bytes that are left for long frames on their way.
    room: Arc<Semaphore>,
}

/// Room for a long payload while it comes; free again when this is dropped.
#[derive(Debug)]
pub struct Room {
    _bytes: OwnedSemaphorePermit,
}

impl Default for Pool {
    fn default() -> Self {
        Self { spare: Arc::default(), room: Arc::new(Semaphore::new(FRAMES_ALL)) }
    }
}

/// A buffer of a pool, to which it goes back when it is dropped.
#[derive(Debug)]
pub struct Buffer {
    /// Longer than what is used of it, perhaps.
    bytes: Aligned,
    len: usize,
    pool: Pool,
}

impl Pool {
    /// Returns a buffer of so many bytes, whatever they are.
    pub fn take(&self, len: usize) -> Buffer {
        let spare = if len == 0 { Some(Aligned::default()) } else { self.spare().pop() };
        let long = spare.filter(|bytes| bytes.len() >= len);
        let bytes = long.unwrap_or_else(|| Aligned::new(len));
        Buffer { bytes, len, pool: self.clone() }
    }

    /// Waits for room for a payload of so many bytes that is to come, in the order in which it is asked; short ones need none.
    ///
    /// May be cancelled.
    pub async fn room(&self, len: usize) -> Option<Room> {
        if len <= FRAME_FREE {
            return None;
        }
        let bytes = u32::try_from(len.min(FRAMES_ALL)).unwrap_or(u32::MAX);
        let acquired = self.room.clone().acquire_many_owned(bytes).await;
        Some(Room { _bytes: acquired.expect("nobody closes it") })
    }

    fn spare(&self) -> MutexGuard<'_, Vec<Aligned>> {
        self.spare.lock().expect("no code panics while it holds this")
    }
}

impl Buffer {
    /// Makes it readable from wherever it goes.
    pub fn share(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl AsMut<[u8]> for Buffer {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.bytes.is_empty() || self.bytes.len() > KEPT_BYTES_MAX {
            return;
        }
        let mut spare = self.pool.spare();
        if spare.len() < KEPT_MAX {
            spare.push(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_used_again_and_few_are_kept() {
        let pool = Pool::default();
        let mut first = pool.take(1_000);
        first.as_mut().fill(7);
        let shared = first.share();
        let clone = shared.slice(10..20);
        drop(shared);
        assert_eq!((pool.spare().len(), &clone[..]), (0, &[7; 10][..]));
        drop(clone);
        assert_eq!(pool.spare().len(), 1);
        let shorter = pool.take(10);
        assert_eq!(
            (shorter.as_ref().len(), shorter.bytes.len(), pool.spare().len()),
            (10, 1_000, 0)
        );
        assert_eq!(pool.take(5_000).as_ref().len(), 5_000);
        drop((1..100).map(|len| pool.take(len)).collect::<Vec<_>>());
        assert_eq!(pool.spare().len(), KEPT_MAX);
        let held: Vec<_> = (0..KEPT_MAX).map(|_| pool.take(1)).collect();
        drop((pool.take(0), pool.take(KEPT_BYTES_MAX + 1)));
        assert_eq!(pool.spare().len(), 0, "neither nothing nor too much is kept");
        drop(held);
    }
}
