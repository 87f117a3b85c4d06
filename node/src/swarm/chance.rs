//! What differs from node to node, so that a crowd that began together, or lost somebody together, does not stay together.
//!
//! It follows from who waits for what, for the how manieth time: a run can be replayed.

use std::time::Duration;

/// Returns a number that is as good as any other for who waits for what.
fn number(of: &[&[u8]]) -> u8 {
    let mut hasher = blake3::Hasher::new();
    for part in of {
        hasher.update(part);
    }
    let [number, ..] = *hasher.finalize().as_bytes();
    number
}

/// Returns a pause, a quarter more or less.
pub(super) fn about(pause: Duration, of: &[&[u8]]) -> Duration {
    // 192..=320 of 256ths.
    pause * (192 + u32::from(number(of)) / 2) / 256
}

/// Returns a pause, or up to a quarter less.
pub(super) fn at_most(pause: Duration, of: &[&[u8]]) -> Duration {
    // 769..=1,024 of 1,024ths.
    pause * (1_024 - u32::from(number(of))) / 1_024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_differ_by_who_waits_and_stay_within_their_bounds() {
        const PAUSE: Duration = Duration::from_secs(120);
        let seeds = (0..1_000_u32).map(u32::to_le_bytes);
        let all: Vec<[Duration; 2]> = seeds
            .map(|seed| [about(PAUSE, &[&seed, b"turn"]), at_most(PAUSE, &[&seed, b"turn"])])
            .collect();
        for [about, at_most] in &all {
            assert!(*about >= PAUSE * 3 / 4 && *about <= PAUSE * 5 / 4, "{about:?}");
            assert!(*at_most >= PAUSE * 3 / 4 && *at_most <= PAUSE, "{at_most:?}");
        }
        // In no twentieth of the span are many more than a twentieth.
        for (of, span) in [(0, PAUSE / 2), (1, PAUSE / 4)] {
            let mut counts = [0; 21];
            for pauses in &all {
                let part = (pauses[of] - PAUSE * 3 / 4).div_duration_f64(span / 20);
                counts[part as usize] += 1;
            }
            assert!(counts.iter().all(|&count| count < 100), "{counts:?}");
        }
    }
}
