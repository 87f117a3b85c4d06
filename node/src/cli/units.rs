//! Sizes, counts and times as people read and type them.

use std::fmt;
use std::time::Duration;

/// A number of bytes, shown as `3.9 GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// A count, shown as `1 284`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Count(pub u64);

/// A time span, shown as `38 ms`, `2.1 s`, `1 m 04 s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// A number of things with their name: `1 file`, `1 284 files`. The name is that of one; more get an `s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Things(pub u64, pub &'static str);

impl fmt::Display for Things {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(count, name) = *self;
        write!(f, "{} {name}{}", Count(count), if count == 1 { "" } else { "s" })
    }
}

const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 1024 {
            return f.pad(&format!("{} B", self.0));
        }
        let bytes = u128::from(self.0);
        for (power, unit) in (1u32..).zip(UNITS) {
            let half = 1u128 << (10 * power - 1);
            let tenths = (10 * bytes + half) >> (10 * power);
            let whole = (bytes + half) >> (10 * power);
            if tenths < 100 {
                return f.pad(&format!("{}.{} {unit}", tenths / 10, tenths % 10));
            }
            if whole < 1024 {
                return f.pad(&format!("{whole} {unit}"));
            }
        }
        unreachable!("2^64 bytes are 16 EiB")
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        let mut out = String::with_capacity(digits.len() + digits.len() / 3);
        for (position, digit) in digits.chars().enumerate() {
            if position > 0 && (digits.len() - position).is_multiple_of(3) {
                out.push(' ');
            }
            out.push(digit);
        }
        f.pad(&out)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        let seconds = (millis + 500) / 1000;
        let text = if millis < 1000 {
            format!("{millis} ms")
        } else if millis < 59_500 {
            let tenths = (millis + 50) / 100;
            if tenths < 100 {
                format!("{}.{} s", tenths / 10, tenths % 10)
            } else {
                format!("{seconds} s")
            }
        } else if seconds < 3600 {
            format!("{} m {:02} s", seconds / 60, seconds % 60)
        } else if seconds < 48 * 3600 {
            format!("{} h {:02} m", seconds / 3600, seconds / 60 % 60)
        } else {
            format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24)
        };
        f.pad(&text)
    }
}

/// A limit on time that a user typed: `30s`, `2m`, `1h30m`, `500ms`, a bare number of seconds, or 0 for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(pub Option<Duration>);

impl std::str::FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("“{text}” is no time; write 30s, 2m, 1h30m, 500ms, or 0 for no limit");
        let mut total = Duration::ZERO;
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(bad());
        }
        while !rest.is_empty() {
            let digits =
                rest.len() - rest.trim_start_matches(|char: char| char.is_ascii_digit()).len();
            let (number, tail) = rest.split_at_checked(digits).ok_or_else(bad)?;
            let number: u64 = number.parse().map_err(|_| bad())?;
            let letters =
                tail.len() - tail.trim_start_matches(|char: char| char.is_ascii_alphabetic()).len();
            let (unit, tail) = tail.split_at_checked(letters).ok_or_else(bad)?;
            let part = match unit {
                "ms" => Some(Duration::from_millis(number)),
                "s" => Some(Duration::from_secs(number)),
                "m" => number.checked_mul(60).map(Duration::from_secs),
                "h" => number.checked_mul(3600).map(Duration::from_secs),
                "d" => number.checked_mul(86_400).map(Duration::from_secs),
                // A bare number is seconds, but not behind a unit: what would `1h30` mean?
                "" if tail.is_empty() && rest.len() == text.trim().len() => {
                    Some(Duration::from_secs(number))
                }
                _ => None,
            };
            total = part.and_then(|part| total.checked_add(part)).ok_or_else(bad)?;
            rest = tail.trim_start();
        }
        // A century is as good as forever, and keeps sums with the clock in range.
        if total.is_zero() || total > Duration::from_secs(100 * 366 * 86_400) {
            return if total.is_zero() { Ok(Self(None)) } else { Err(bad()) };
        }
        Ok(Self(Some(total)))
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(limit) => Span(limit).fmt(f),
            None => f.pad("no limit"),
        }
    }
}

/// A number of bytes that a user typed: `4096`, `64KiB`, `2M`, `1GB`.
///
/// `K`, `M`, `G`, `T` and `KiB` … count in 1024, `kB`, `MB` … in 1000.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let bad = || format!("“{text}” is no number of bytes; write 4096, 64KiB or 2M");
    let trimmed = text.trim();
    let digits =
        trimmed.len() - trimmed.trim_start_matches(|char: char| char.is_ascii_digit()).len();
    let (number, unit) = trimmed.split_at_checked(digits).ok_or_else(bad)?;
    let number: u64 = number.parse().map_err(|_| bad())?;
    let unit = unit.trim().to_ascii_lowercase();
    let factor: u64 = match unit.as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return Err(bad()),
    };
    number.checked_mul(factor).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_like_the_contract() {
        let table = [
            (0, "0 B"),
            (1, "1 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1229, "1.2 KiB"),
            (10_239, "10 KiB"),
            (65_536, "64 KiB"),
            (1_048_575, "1.0 MiB"),
            (230_686_720, "220 MiB"),
            (4_187_593_113, "3.9 GiB"),
            (1 << 30, "1.0 GiB"),
            (1 << 40, "1.0 TiB"),
            (u64::MAX, "16 EiB"),
        ];
        for (bytes, shown) in table {
            assert_eq!(Size(bytes).to_string(), shown, "{bytes}");
        }
    }

    #[test]
    fn counts_are_grouped() {
        for (count, shown) in [
            (0, "0"),
            (999, "999"),
            (1284, "1 284"),
            (302_143, "302 143"),
            (1_000_000, "1 000 000"),
        ] {
            assert_eq!(Count(count).to_string(), shown);
        }
    }

    #[test]
    fn one_thing_is_no_things() {
        let said = [0, 1, 2, 1284].map(|count| Things(count, "file").to_string());
        assert_eq!(said, ["0 files", "1 file", "2 files", "1 284 files"]);
    }

    #[test]
    fn spans_read_like_the_contract() {
        let table = [
            (0, "0 ms"),
            (38, "38 ms"),
            (2_100, "2.1 s"),
            (9_960, "10 s"),
            (33_000, "33 s"),
            (59_499, "59 s"),
            (59_500, "1 m 00 s"),
            (64_000, "1 m 04 s"),
            (3_600_000, "1 h 00 m"),
            (200_000_000, "2 d 7 h"),
        ];
        for (millis, shown) in table {
            assert_eq!(Span(Duration::from_millis(millis)).to_string(), shown, "{millis}");
        }
    }

    #[test]
    fn times_are_parsed_as_typed() {
        let good = [
            ("30s", 30_000),
            ("2m", 120_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("500ms", 500),
            ("1d", 86_400_000),
            ("45", 45_000),
            (" 5s ", 5_000),
        ];
        for (text, millis) in good {
            assert_eq!(text.parse(), Ok(Limit(Some(Duration::from_millis(millis)))), "{text}");
        }
        for text in ["0", "0s", "0m0s"] {
            assert_eq!(text.parse(), Ok(Limit(None)), "{text}");
        }
        for text in
            ["", "s", "-1s", "1.5s", "5x", "1h30", "ten", "99999999999999999999s", "9999999d"]
        {
            assert!(text.parse::<Limit>().is_err(), "{text}");
        }
    }

    #[test]
    fn typed_sizes_are_parsed() {
        for (text, bytes) in
            [("0", 0), ("4096", 4096), ("64KiB", 65_536), ("2M", 2 << 20), ("1GB", 1_000_000_000)]
        {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "-1", "KiB", "1.5M", "5 parsecs", "99999999999T"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
