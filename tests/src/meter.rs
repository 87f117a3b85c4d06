//! How much memory something takes, and how much of a processor: an allocator that counts, thread by thread, and a thread's clock.
//!
//! A test binary installs the allocator by `#[global_allocator] static METER: Meter = Meter;`.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The system's allocator, with a count of what this thread holds.
#[derive(Debug)]
pub struct Meter;

thread_local! {
    /// What was allocated and not freed; what other threads allocated may be freed here, so it can be negative.
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

impl Meter {
    /// Runs something, and returns by how many bytes this thread's memory grew at most meanwhile.
    ///
    /// # Panics
    /// If the allocator is not installed.
    pub fn peak<T>(run: impl FnOnce() -> T) -> (T, usize) {
        let before = HELD.get();
        drop(std::hint::black_box(Box::new([0_u8; 64])));
        assert!(PEAK.get() >= before + 64, "the meter is not this binary's allocator");
        PEAK.set(before);
        let value = run();
        (value, usize::try_from(PEAK.get() - before).expect("a peak is not below its start"))
    }
}

/// Returns how long this thread kept a processor busy so far.
///
/// # Panics
/// Never: a thread does not begin before its clock.
pub fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("no clock of a thread is before its start")
}

/// Counts; a thread that is ending has no counters any more, and nobody asks for them.
fn count(bytes: isize) {
    let _ = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        PEAK.try_with(|peak| peak.set(peak.get().max(held.get())))
    });
}

#[expect(clippy::cast_possible_wrap, reason = "no allocation has more than isize::MAX bytes")]
fn signed(bytes: usize) -> isize {
    bytes as isize
}

#[expect(unsafe_code, reason = "an allocator cannot be written without")]
// SAFETY: every call is passed on to the system's allocator as it came; counting allocates nothing, since the counters are
// thread-locals of plain numbers, made at compile time.
unsafe impl GlobalAlloc for Meter {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(signed(layout.size()));
        // SAFETY: the caller promises what the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(signed(layout.size()));
        // SAFETY: the caller promises what the system's allocator asks for.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-signed(layout.size()));
        // SAFETY: `at` came from the system's allocator, by `alloc`, with this layout.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(signed(size) - signed(layout.size()));
        // SAFETY: `at` came from the system's allocator, by `alloc`, with this layout.
        unsafe { System.realloc(at, layout, size) }
    }
}
