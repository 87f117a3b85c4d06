//! A bandwidth limit: a bucket that fills with time and that bytes are taken from.
//!
//! It knows no clock. A block is never cut: whoever may begin one takes all of it, and the bucket goes into debt until time
//! has paid for that. What is promised and did not pass yet is *reserved*: the caller says how much, and nothing more begins
//! unless the bucket holds at least that.
//! Elsewhere: who is next (`limit`).

use core::num::NonZeroU64;
use core::time::Duration;

use crate::ids::Instant;
use crate::limits::{LIMIT_BURST, LIMIT_DEBT, PAYLOAD_BYTES_MAX};

/// Millionths of bytes: with times in microseconds, nothing is ever rounded.
const BYTE: i128 = 1_000_000;

/// A bucket for one direction.
///
/// Invariant: without a limit, nothing is in it and nothing is owed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Throttle {
    /// Bytes a second.
    limit: Option<NonZeroU64>,
    /// Millionths of bytes that may pass at once; below zero, what time has yet to pay for.
    balance: i128,
    /// Until when time was counted.
    at: Instant,
}

impl Throttle {
    /// Returns the limit, in bytes a second.
    pub(super) fn limit(&self) -> Option<u64> {
        self.limit.map(NonZeroU64::get)
    }

    /// Sets the limit, in bytes a second; none and zero are none. Whoever has to wait waits as long as before.
    pub(super) fn set(&mut self, now: Instant, limit: Option<u64>) {
        let (old, limit) = (self.limit, limit.and_then(NonZeroU64::new));
        if old == limit {
            return;
        }
        self.fill(now, 0);
        self.balance = match (old, limit) {
            (Some(old), Some(new)) => {
                // What is owed is time: it is no longer because the limit is lower now.
                let owed = self.balance.min(0) / i128::from(old.get());
                owed.saturating_mul(new.get().into())
            }
            _ => 0,
        };
        (self.limit, self.at) = (limit, now);
    }

    /// Returns how many bytes may pass in a time; all there are without a limit.
    pub(super) fn share(&self, span: Duration) -> u64 {
        let Some(limit) = self.limit else { return u64::MAX };
        let bytes = u128::from(limit.get()).saturating_mul(span.as_micros()) / BYTE.unsigned_abs();
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    /// Counts the time that passed, while so many bytes are reserved.
    pub(super) fn fill(&mut self, now: Instant, reserved: u64) {
        let Some(limit) = self.limit else { return };
        let micros = now.0.saturating_sub(self.at.0);
        self.at = self.at.max(now);
        let earned = i128::from(limit.get()).saturating_mul(micros.into());
        let burst = i128::from(limit.get()).saturating_mul(micros_of(LIMIT_BURST));
        let most = burst.saturating_add(i128::from(reserved) * BYTE);
        self.balance = self.balance.saturating_add(earned).min(most);
    }

    /// Counts bytes that passed; `reserved` is what was so until they did.
    pub(super) fn charge(&mut self, now: Instant, bytes: u64, reserved: u64) {
        let Some(limit) = self.limit else { return };
        self.fill(now, reserved);
        let time = i128::from(limit.get()).saturating_mul(micros_of(LIMIT_DEBT));
        let most = time.saturating_add(PAYLOAD_BYTES_MAX as i128 * BYTE);
        self.balance = self.balance.saturating_sub(i128::from(bytes) * BYTE).max(-most);
    }

    /// Returns when more may begin; the past if it may.
    pub(super) fn free_at(&self, reserved: u64) -> Instant {
        let Some(limit) = self.limit else { return Instant(0) };
        let short = (i128::from(reserved) * BYTE).saturating_sub(self.balance).max(0);
        let short = short.unsigned_abs().div_ceil(limit.get().into());
        Instant(self.at.0.saturating_add(u64::try_from(short).unwrap_or(u64::MAX)))
    }

    /// Tells whether time has yet to pay for what passed.
    pub(super) fn is_in_debt(&self) -> bool {
        self.balance < 0
    }
}

fn micros_of(span: Duration) -> i128 {
    i128::try_from(span.as_micros()).unwrap_or(i128::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;
    const LIMITS: [u64; 8] =
        [1, 1_000, 64 << 10, 1_000_003, 2 << 20, 100_000_000, 10_000_000_000, u64::MAX];

    fn throttle(limit: u64) -> Throttle {
        let mut throttle = Throttle::default();
        throttle.set(Instant(0), Some(limit));
        throttle
    }

    /// Lets blocks pass as soon as they may, from `from` until `until`; returns their bytes.
    fn pass(throttle: &mut Throttle, block: u64, from: u64, until: u64) -> u64 {
        let (mut now, mut bytes) = (Instant(from), 0_u64);
        loop {
            let free = throttle.free_at(0);
            now = now.max(free);
            if now.0 >= until {
                return bytes;
            }
            throttle.charge(now, block, 0);
            bytes += block;
        }
    }

    #[test]
    fn in_ten_seconds_as_much_passes_as_may_and_the_last_block() {
        for limit in LIMITS {
            for block in [1, 256, 1_500, 64 << 10, 1 << 20] {
                // Fewer than a million blocks, or this takes long.
                let span = (10 * SECOND).min((block * 1_000_000 * SECOND / limit).max(1));
                let exact = u128::from(limit) * u128::from(span) / 1_000_000;
                let exact = u64::try_from(exact).unwrap();
                let passed = pass(&mut throttle(limit), block, 0, span);
                let upper = exact.saturating_add(block).saturating_add(1);
                // What could pass within the microsecond at the end.
                let lower = exact.saturating_sub(limit / SECOND);
                assert!((lower..=upper).contains(&passed), "{passed} of {exact}, {block} each");
            }
        }
    }

    #[test]
    fn whoever_rests_may_send_a_burst_and_no_more() {
        for limit in [64 << 10, 2 << 20, 100_000_000] {
            let mut throttle = throttle(limit);
            throttle.fill(Instant(3_600 * SECOND), 0);
            let passed = pass(&mut throttle, 1_000, 3_600 * SECOND, 3_610 * SECOND);
            let burst = throttle.share(LIMIT_BURST);
            assert!(passed.abs_diff(10 * limit + burst) <= 1_000, "{passed}");
            assert!(burst * 20 <= 10 * limit, "far less than the twentieth that it may be");
        }
    }

    #[test]
    fn a_limit_that_changes_midway_counts_from_then_on() {
        for (first, then) in [(64 << 10, 2 << 20), (2 << 20, 64 << 10), (1_000, 1_001)] {
            for block in [1_000, 64 << 10, 1 << 20] {
                let mut throttle = throttle(first);
                let before = pass(&mut throttle, block, 0, 5 * SECOND);
                let waits = throttle.free_at(0).since(Instant(5 * SECOND));
                throttle.set(Instant(5 * SECOND), Some(then));
                let still = throttle.free_at(0).since(Instant(5 * SECOND));
                assert!(
                    waits.abs_diff(still) <= Duration::from_micros(2),
                    "it is time that is owed"
                );
                let began = throttle.free_at(0).0;
                let after = pass(&mut throttle, block, began, began + 5 * SECOND);
                assert!(before.abs_diff(5 * first) <= block, "{before}");
                assert!(after.abs_diff(5 * then) <= block, "{after}");
            }
        }
    }

    #[test]
    fn without_a_limit_nothing_waits_and_nothing_is_kept() {
        let mut throttle = throttle(1);
        throttle.charge(Instant(0), 1_000, 0);
        assert_eq!(throttle.free_at(0), Instant(1_000 * SECOND));
        for none in [None, Some(0)] {
            throttle.set(Instant(1), none);
            throttle.charge(Instant(1), u64::MAX, u64::MAX);
            assert_eq!((throttle.free_at(u64::MAX), throttle.limit()), (Instant(0), None));
            assert!(!throttle.is_in_debt());
            assert_eq!(throttle.share(Duration::from_secs(1)), u64::MAX);
        }
        throttle.set(Instant(2), Some(5));
        assert_eq!(throttle.free_at(0), Instant(2), "what passed freely is not owed");
    }

    #[test]
    fn what_is_reserved_is_not_given_twice() {
        let mut throttle = throttle(1_000);
        throttle.fill(Instant(SECOND), 500);
        assert_eq!(throttle.free_at(500), Instant(SECOND));
        // A burst beyond what is reserved, and not of what is.
        assert_eq!(throttle.free_at(600), Instant(SECOND));
        assert_eq!(throttle.free_at(601), Instant(SECOND + 1_000));
        throttle.charge(Instant(SECOND), 500, 500);
        assert_eq!(throttle.free_at(100), Instant(SECOND), "what passed is reserved no longer");
    }

    #[test]
    fn what_is_owed_is_bounded() {
        for limit in LIMITS {
            let mut throttle = throttle(limit);
            (0..9).for_each(|_| throttle.charge(Instant(5), u64::MAX, 0));
            let block = PAYLOAD_BYTES_MAX as u64 * SECOND / limit + 1;
            let debt = u64::try_from(LIMIT_DEBT.as_micros()).unwrap();
            assert!(throttle.free_at(0).0 <= 5 + debt + block, "{limit}");
        }
    }

    #[test]
    fn the_clock_may_stand_still_or_end() {
        for limit in LIMITS {
            let mut throttle = throttle(limit);
            throttle.charge(Instant(9), 1 << 20, u64::MAX);
            let free = throttle.free_at(0);
            throttle.fill(Instant(3), 0);
            assert_eq!(throttle.free_at(0), free, "time does not run back");
            throttle.fill(Instant(u64::MAX), u64::MAX);
            assert_eq!(throttle.free_at(0), Instant(u64::MAX));
            throttle.charge(Instant(u64::MAX), u64::MAX, 0);
            assert_eq!(throttle.free_at(u64::MAX), Instant(u64::MAX));
            assert!(throttle.share(Duration::MAX) >= limit);
        }
    }
}
