//! Versions as people type them.

use std::fmt;

use datnode_drive::{TagName, Version};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use super::key::is_key;
use crate::cli::escape;
use crate::error::Error;

/// The fewest digits of a version id that are taken for one.
const ID_DIGITS_MIN: usize = 6;

/// Which version of a drive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VersionSpec {
    /// The newest one there is.
    Latest,
    /// The change with this number.
    Number(u64),
    /// The change whose id begins with these digits (lowercase hex, 6 to 64 of them).
    Id(String),
    /// The newest change that is not younger than this.
    AsOf(Timestamp),
    /// What the latest version's tag of this name names.
    Tag(TagName),
}

impl VersionSpec {
    /// Parses `1042`, `b3f9c1`, `latest`, `@2026-11-01T12:00` (local time unless it names a zone) or the name of a tag.
    ///
    /// # Errors
    ///
    /// E-USAGE if it is none of these.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let bad = |why: &str| {
            Error::usage(format!("“{}” is no version: {why}", shown(bytes))).hint(
                "a version is a number (1042), at least 6 digits of an id (b3f9c1), latest, @2026-11-01T12:00, or a tag (v1)",
            )
        };
        let text = std::str::from_utf8(bytes).map_err(|_| bad("it is no text"))?;
        if text == "latest" {
            return Ok(Self::Latest);
        }
        if let Some(time) = text.strip_prefix('@') {
            return as_of(time).map(Self::AsOf).ok_or_else(|| bad("the time is not understood"));
        }
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().map(Self::Number).map_err(|_| bad("the number is too large"));
        }
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            // A key is told of as such, and a secret one not shown.
            if is_key(bytes)? {
                return Err(bad("it is a key"));
            }
            return TagName::from_bytes(bytes)
                .map(Self::Tag)
                .map_err(|error| bad(&error.to_string()));
        }
        if text.len() < ID_DIGITS_MIN {
            return Err(bad("an id needs at least 6 digits"));
        }
        if text.len() > 64 {
            return Err(bad("an id has at most 64 digits"));
        }
        Ok(Self::Id(text.to_ascii_lowercase()))
    }

    /// Tells whether `id` begins with the digits of this version; false for other kinds.
    pub fn matches(&self, id: &[u8; 32]) -> bool {
        match self {
            Self::Id(prefix) => data_encoding::HEXLOWER.encode(id).starts_with(prefix.as_str()),
            _ => false,
        }
    }

    /// Tells whether a version is meant, of those that are gone through from the newest on; false for a tag, which is looked up.
    pub fn fits(&self, version: &Version) -> bool {
        match self {
            Self::Latest => true,
            Self::Number(number) => *number == version.number,
            Self::Id(_) => self.matches(&version.id.0),
            Self::AsOf(time) => version.change.time.seconds <= time.as_second(),
            Self::Tag(_) => false,
        }
    }
}

impl std::str::FromStr for VersionSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text.as_bytes()).map_err(|error| error.message().to_owned())
    }
}

impl fmt::Display for VersionSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Id(prefix) => f.write_str(prefix),
            Self::AsOf(time) => write!(f, "@{time}"),
            Self::Tag(name) => write!(f, "{name}"),
        }
    }
}

fn as_of(text: &str) -> Option<Timestamp> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    if let Ok(time) = text.parse::<Zoned>() {
        return Some(time.timestamp());
    }
    let local: DateTime = text.parse().ok()?;
    Some(local.to_zoned(TimeZone::system()).ok()?.timestamp())
}

fn shown(bytes: &[u8]) -> String {
    escape::bytes(bytes.get(..40).unwrap_or(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_told_apart() {
        let parse = |text: &str| VersionSpec::parse(text.as_bytes());
        assert_eq!(parse("latest").ok(), Some(VersionSpec::Latest));
        assert_eq!(parse("0").ok(), Some(VersionSpec::Number(0)));
        assert_eq!(parse("1042").ok(), Some(VersionSpec::Number(1042)));
        assert_eq!(parse("123456").ok(), Some(VersionSpec::Number(123_456)), "digits are a number");
        assert_eq!(parse("B3F9C1").ok(), Some(VersionSpec::Id("b3f9c1".to_owned())));
        assert!(matches!(parse("@2026-11-01T12:00"), Ok(VersionSpec::AsOf(_))));
        assert!(matches!(parse("@2026-11-01"), Ok(VersionSpec::AsOf(_))));
        assert_eq!(
            parse("@2026-11-01T12:00:00Z").ok(),
            "2026-11-01T12:00:00Z".parse().ok().map(VersionSpec::AsOf)
        );
        assert_eq!(
            parse("v1.0").ok(),
            TagName::from_bytes(b"v1.0").ok().map(VersionSpec::Tag),
            "what is nothing else is a tag"
        );
        for text in ["", "b3f9", "a b", "@", "@soon", "99999999999999999999999", "Latest", "-1"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse(&"a".repeat(65)).is_err());
        assert!(VersionSpec::parse(b"\xff\xff").is_err());
    }

    #[test]
    fn an_id_matches_by_its_first_digits() {
        let mut id = [0; 32];
        id[..3].copy_from_slice(&[0xb3, 0xf9, 0xc1]);
        assert!(VersionSpec::Id("b3f9c1".to_owned()).matches(&id));
        assert!(!VersionSpec::Id("b3f9c2".to_owned()).matches(&id));
        assert!(!VersionSpec::Latest.matches(&id));
    }
}
