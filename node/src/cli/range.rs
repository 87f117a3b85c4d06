//! Ranges of bytes as people type them.

/// A range of bytes as HTTP writes it: ends are included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteRange {
    /// From the first to the last, both included.
    Between(u64, u64),
    /// From here to the end.
    From(u64),
    /// The last so many.
    Last(u64),
}

impl ByteRange {
    /// Returns the bytes of a file of `size` that are meant, the end excluded; nothing if there are none.
    pub fn within(self, size: u64) -> Option<std::ops::Range<u64>> {
        match self {
            Self::Between(first, last) => {
                (first < size).then(|| first..size.min(last.saturating_add(1)))
            }
            Self::From(first) => (first < size).then_some(first..size),
            Self::Last(count) => (count > 0 && size > 0).then(|| size.saturating_sub(count)..size),
        }
    }
}

impl std::str::FromStr for ByteRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |digits: &str| -> Result<u64, String> {
            let digital = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            let parsed = digital.then(|| digits.parse().ok()).flatten();
            parsed.ok_or_else(|| String::from("a range is A-B, A- or -N, in bytes"))
        };
        let (first, last) = text.split_once('-').ok_or("a range is A-B, A- or -N, in bytes")?;
        match (first, last) {
            ("", last) => Ok(Self::Last(number(last)?)),
            (first, "") => Ok(Self::From(number(first)?)),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                if first <= last {
                    Ok(Self::Between(first, last))
                } else {
                    Err("the range ends before it begins".into())
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_mean_what_http_means() {
        let within =
            |text: &str, size| text.parse::<ByteRange>().ok().and_then(|range| range.within(size));
        assert_eq!(within("0-499", 1_000), Some(0..500));
        assert_eq!(within("990-2000", 1_000), Some(990..1_000));
        assert_eq!(within("5-", 10), Some(5..10));
        assert_eq!(within("-3", 10), Some(7..10));
        assert_eq!(within("-30", 10), Some(0..10));
        assert_eq!(within("10-", 10), None);
        for bad in ["", "-", "a-b", "5", "9-3", "--3", "1-2-3", "+1-2", "99999999999999999999-"] {
            assert!(bad.parse::<ByteRange>().is_err(), "{bad}");
        }
    }
}
