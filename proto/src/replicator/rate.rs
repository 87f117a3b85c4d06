//! How fast a peer delivers, and how far away it is.
//!
//! A round trip is taken whenever a peer is asked that owes nothing: what waits for the same line of ours counts, what it has to
//! send first does not.

use core::time::Duration;

use crate::ids::Instant;
use crate::limits::{
    CREDIT_MAX, CREDIT_MIN, CREDIT_START, LEASE_BYTES_DUE, LEASE_BYTES_MAX, LEASE_BYTES_UNKNOWN,
    LEASE_TIME, LEASE_TIME_DUE, LEASE_TIME_LEAST, TURNAROUND,
};

/// How long bytes are counted before they become a sample, at least.
const SAMPLE: Duration = Duration::from_micros(SAMPLE_MICROS);
const SAMPLE_MICROS: u64 = 100_000;

/// A moving average of received bytes, and the least round trip seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Rate {
    /// Bytes a second; zero until the first sample.
    bytes_per_second: u64,
    /// Whether it was a quarter more in the last sample than before: the credit may be what holds it back.
    is_growing: bool,
    rtt_min: Option<Duration>,
    /// A moving average of the time from a request to its first answer, of late.
    rtt: Duration,
    since: Option<Instant>,
    bytes: u64,
    /// The most bytes that came in less time than a sample takes.
    burst: u64,
}

impl Rate {
    pub(super) fn received(&mut self, now: Instant, bytes: u64) {
        let since = *self.since.get_or_insert(now);
        self.bytes += bytes;
        self.burst = self.burst.max(self.bytes);
        let span = now.since(since);
        // A grant is used up in bursts: a sample spans some of them.
        let least = self.rtt_min.map_or(SAMPLE, |rtt| SAMPLE.max(2 * rtt));
        if span >= least {
            let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
            let sample = self.bytes.saturating_mul(1_000_000) / micros;
            let old = self.bytes_per_second;
            // What the credit held back is followed at once.
            self.is_growing = sample > old + old / 4;
            self.bytes_per_second = if self.is_growing { sample } else { old / 2 + sample / 2 };
            (self.since, self.bytes) = (Some(now), 0);
        }
    }

    /// Nothing is asked for: the time until the next answer says nothing about the rate.
    pub(super) fn idle(&mut self) {
        (self.since, self.bytes) = (None, 0);
    }

    pub(super) fn answered(&mut self, after: Duration) {
        let least = self.rtt_min.map_or(after, |least| least.min(after));
        self.rtt = self.rtt_min.map_or(after, |_| self.rtt / 2 + after / 2);
        self.rtt_min = Some(least);
    }

    pub(super) fn bytes_per_second(&self) -> u64 {
        self.bytes_per_second
    }

    /// Returns what is known of the rate as long as there was never enough to send for a sample: it is not less than this.
    pub(super) fn bytes_per_second_min(&self) -> u64 {
        match self.bytes_per_second {
            0 => self.burst.saturating_mul(1_000_000) / SAMPLE_MICROS,
            known => known,
        }
    }

    /// Returns how long it takes from a request to its first answer, of late.
    pub(super) fn rtt(&self) -> Duration {
        self.rtt
    }

    pub(super) fn rtt_min(&self) -> Option<Duration> {
        self.rtt_min
    }

    /// Returns how many bytes may be on the way to us: what comes in 1.25 × the round trip, or twice that while the rate grows,
    /// and the time that both ends take to notice, within bounds.
    pub(super) fn credit(&self) -> u64 {
        match self.rtt_min {
            Some(_) if self.bytes_per_second > 0 => {
                let times = if self.is_growing { 10 } else { 5 };
                let under_way = self.rtt.saturating_mul(times) / 4 + TURNAROUND;
                let micros = u64::try_from(under_way.as_micros()).unwrap_or(u64::MAX);
                let product = self.bytes_per_second.saturating_mul(micros) / 1_000_000;
                product.clamp(CREDIT_MIN, CREDIT_MAX)
            }
            _ => CREDIT_START,
        }
    }

    /// Returns how many bytes a peer has to owe so that it does not run dry.
    pub(super) fn lease_least(&self) -> u64 {
        let time = (LEASE_TIME_LEAST + self.rtt).min(LEASE_TIME);
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.bytes_per_second_min().saturating_mul(micros) / 1_000_000
    }

    /// Returns how many bytes to lease to this peer, less of what is due at some time.
    pub(super) fn lease(&self, due: bool) -> u64 {
        let time = match due {
            true => LEASE_TIME_DUE + 2 * self.rtt_min.unwrap_or_default(),
            false => LEASE_TIME,
        };
        match (self.bytes_per_second, due) {
            (0, true) => LEASE_BYTES_DUE,
            (0, false) => LEASE_BYTES_UNKNOWN,
            (rate, _) => {
                let micros = u64::try_from(time.min(LEASE_TIME).as_micros()).unwrap_or(u64::MAX);
                (rate.saturating_mul(micros) / 1_000_000).min(LEASE_BYTES_MAX)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A peer that answered after `rtt` and delivers so many bytes a second.
    fn rate(rtt: Duration, bytes_per_second: u64) -> Rate {
        let mut rate = Rate::default();
        rate.answered(rtt);
        rate.received(Instant(0), 0);
        let seconds = (2 * rtt).as_secs().max(1);
        rate.received(Instant(seconds * 1_000_000), seconds * bytes_per_second);
        rate
    }

    #[test]
    fn a_peer_with_little_to_send_is_known_to_be_no_slower_than_that() {
        let mut rate = Rate::default();
        assert_eq!(rate.bytes_per_second_min(), 0);
        for burst in [2_000, 3_000, 1_000] {
            rate.idle();
            rate.received(Instant(1_000), burst / 2);
            rate.received(Instant(50_000), burst / 2);
        }
        assert_eq!((rate.bytes_per_second(), rate.bytes_per_second_min()), (0, 30_000));
        rate.received(Instant(101_000), 0);
        assert_eq!((rate.bytes_per_second(), rate.bytes_per_second_min()), (10_000, 10_000));
    }

    #[test]
    fn credit_and_lease_follow_the_rate_within_their_bounds() {
        let rtt = Duration::from_millis(100);
        assert_eq!(Rate::default().credit(), CREDIT_START);
        assert_eq!(Rate::default().lease(false), LEASE_BYTES_UNKNOWN);
        let beyond = |rate: u64| rate * TURNAROUND.as_millis() as u64 / 1_000;
        // Twice as much while the rate grows.
        let mut steady = rate(rtt, 10_000_000);
        assert_eq!(steady.credit(), 2_500_000 + beyond(10_000_000));
        steady.received(Instant(2_000_000), 10_000_000);
        assert_eq!(steady.credit(), 1_250_000 + beyond(10_000_000));
        assert_eq!(rate(Duration::ZERO, 1 << 30).credit(), beyond(1 << 30));
        assert_eq!(rate(rtt, 10_000_000).lease(false), 10_000_000 * LEASE_TIME.as_secs());
        assert_eq!(Rate::default().lease(true), LEASE_BYTES_DUE);
        let due = LEASE_TIME_DUE + 2 * rtt;
        assert_eq!(rate(rtt, 1_000_000).lease(true), due.as_micros() as u64);
        assert_eq!(rate(LEASE_TIME, 1_000).lease(true), 1_000 * LEASE_TIME.as_secs());
        assert_eq!(rate(rtt, 1).credit(), CREDIT_MIN);
        assert_eq!(rate(rtt, 1).lease(false), LEASE_TIME.as_secs());
        for fast in [1 << 33, u64::MAX / 1_000_000] {
            assert_eq!(rate(rtt, fast).credit(), CREDIT_MAX);
            assert_eq!(rate(rtt, fast).lease(false), LEASE_BYTES_MAX);
        }
    }
}
