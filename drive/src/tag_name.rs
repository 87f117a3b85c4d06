//! Names of tags: words that nothing else in an address or on a command line could mean. SPEC 8.9

use alloc::string::String;
use core::{fmt, str};

use thiserror::Error;

use crate::limits::TAG_NAME_BYTES_MAX;

/// The name of a tag: a word that is no other way to write a version, and that an address can hold. SPEC 8.9
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TagName(String);

/// Why a text is no name of a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TagNameError {
    /// No bytes, or more than 128.
    #[error("the name of a tag has 1 to {TAG_NAME_BYTES_MAX} bytes")]
    Length,
    /// Bytes that are no UTF-8.
    #[error("the name of a tag is UTF-8")]
    NotText,
    /// A character that an address has other uses for, or that nobody sees.
    #[error("the name of a tag has no white space, no control characters, and none of / + @")]
    Character,
    /// A beginning that makes it a folder or a flag.
    #[error("the name of a tag does not begin with . ~ or -")]
    Start,
    /// Something that is a number or an id.
    #[error("digits and the letters a to f alone are a number or an id, not a tag")]
    Digits,
    /// What means the newest version.
    #[error("latest is the newest version")]
    Latest,
    /// Something that looks like a key or a ticket.
    #[error("what begins with dat1, datsec1 or datticket is a key or a ticket")]
    Key,
}

impl TagName {
    /// Takes a name. SPEC 8.9
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TagNameError> {
        if bytes.is_empty() || bytes.len() > TAG_NAME_BYTES_MAX {
            return Err(TagNameError::Length);
        }
        let text = str::from_utf8(bytes).map_err(|_| TagNameError::NotText)?;
        let is_refused = |c: char| c.is_control() || c.is_whitespace() || "/+@".contains(c);
        if text.contains(is_refused) {
            return Err(TagNameError::Character);
        }
        if text.starts_with(['.', '~', '-']) {
            return Err(TagNameError::Start);
        }
        if text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(TagNameError::Digits);
        }
        let lower = text.to_ascii_lowercase();
        if lower == "latest" {
            return Err(TagNameError::Latest);
        }
        if ["dat1", "datsec1", "datticket"].iter().any(|word| lower.starts_with(word)) {
            return Err(TagNameError::Key);
        }
        Ok(Self(text.into()))
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TagName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl str::FromStr for TagName {
    type Err = TagNameError;

    fn from_str(text: &str) -> Result<Self, TagNameError> {
        Self::from_bytes(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_everything_else_that_names_a_version_or_a_drive() {
        for name in
            ["v1", "1.0", "2026-11-22", "g", "draft_3", "v1.0-rc.2", "änderung", "c#", "Ende!"]
        {
            assert_eq!(TagName::from_bytes(name.as_bytes()).map(|name| name.0), Ok(name.into()));
        }
        let table = [
            ("", TagNameError::Length),
            ("a/b", TagNameError::Character),
            ("v1+2", TagNameError::Character),
            ("@noon", TagNameError::Character),
            ("a b", TagNameError::Character),
            ("a\u{a0}b", TagNameError::Character),
            ("v1\n", TagNameError::Character),
            ("v\u{9b}1", TagNameError::Character),
            (".hidden", TagNameError::Start),
            ("~me", TagNameError::Start),
            ("-d", TagNameError::Start),
            ("1042", TagNameError::Digits),
            ("beef", TagNameError::Digits),
            ("B3F9C1", TagNameError::Digits),
            ("Latest", TagNameError::Latest),
            ("dat1qz", TagNameError::Key),
            ("DATTICKETx", TagNameError::Key),
            ("datsec1x", TagNameError::Key),
        ];
        for (name, why) in table {
            assert_eq!(TagName::from_bytes(name.as_bytes()), Err(why), "{name:?}");
        }
        assert_eq!(TagName::from_bytes(b"v\xff"), Err(TagNameError::NotText));
    }
}
