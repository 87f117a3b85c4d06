//! Names inside a drive, and the keys under which the index holds them.
//!
//! A [`DrivePath`] is any bytes but NUL, in normal form: components joined by `/`, none of them
//! empty, at most 4,096 bytes. The empty path is the root. Such a path may travel; only a
//! [`SafePath`](crate::SafePath) may land on a disk.
//!
//! A [`Key`] is `parent 0x00 base`, so that a folder's entries are neighbours in the index and a
//! folder comes before what is in it.

use alloc::vec::Vec;
use core::fmt;

use thiserror::Error;

use crate::limits::PATH_BYTES_MAX;

/// A path in a drive: any bytes but NUL, in normal form. The empty path is the root.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DrivePath(Vec<u8>);

/// The index key of a path: `parent 0x00 base`. Keys are ordered by their bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Vec<u8>);

/// Why bytes are no path of a drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PathError {
    /// A leading, trailing or doubled slash.
    #[error("a path has no leading, trailing or doubled slash")]
    EmptyComponent,
    /// A zero byte, which no file system takes and which separates the parts of a key.
    #[error("a path holds no zero byte")]
    Nul,
    /// More than 4,096 bytes.
    #[error("a path has at most {PATH_BYTES_MAX} bytes")]
    TooLong,
    /// A key that is not `parent 0x00 base`.
    #[error("not the key of a path")]
    NotAKey,
}

impl DrivePath {
    /// Returns the root, the empty path.
    pub const fn root() -> Self {
        Self(Vec::new())
    }

    /// Takes bytes in normal form. SPEC 8.1
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Result<Self, PathError> {
        let bytes = bytes.into();
        if bytes.len() > PATH_BYTES_MAX {
            return Err(PathError::TooLong);
        }
        if bytes.contains(&0) {
            return Err(PathError::Nul);
        }
        if !bytes.is_empty() && bytes.split(|&byte| byte == b'/').any(<[u8]>::is_empty) {
            return Err(PathError::EmptyComponent);
        }
        Ok(Self(bytes))
    }

    /// Returns the path as bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns whether this is the root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the components, outermost first; none for the root.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|&byte| byte == b'/').filter(|component| !component.is_empty())
    }

    /// Returns the folder that holds this path; none for the root.
    pub fn parent(&self) -> Option<Self> {
        let (parent, _) = self.parts()?;
        Some(Self(parent.to_vec()))
    }

    /// Returns the last component; none for the root.
    pub fn base(&self) -> Option<&[u8]> {
        self.parts().map(|(_, base)| base)
    }

    /// Returns the path of `name` (one component or several) below this one.
    pub fn join(&self, name: &[u8]) -> Result<Self, PathError> {
        if name.is_empty() {
            return Err(PathError::EmptyComponent);
        }
        let mut bytes = self.0.clone();
        if !self.is_root() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name);
        Self::from_bytes(bytes)
    }

    /// Returns whether this path is `folder` or lies below it.
    pub fn is_within(&self, folder: &Self) -> bool {
        match self.0.strip_prefix(folder.0.as_slice()) {
            Some([]) => true,
            Some([b'/', ..]) => true,
            Some(_) => folder.is_root(),
            None => false,
        }
    }

    /// Returns the index key. The root's key is empty and never stored.
    pub fn key(&self) -> Key {
        let Some((parent, base)) = self.parts() else {
            return Key(Vec::new());
        };
        let mut key = Vec::with_capacity(parent.len() + 1 + base.len());
        key.extend_from_slice(parent);
        key.push(0);
        key.extend_from_slice(base);
        Key(key)
    }

    /// Returns what the keys of this folder's entries begin with. SPEC 8.1
    pub(crate) fn listing_prefix(&self) -> Vec<u8> {
        let mut prefix = Vec::with_capacity(self.0.len() + 1);
        prefix.extend_from_slice(&self.0);
        prefix.push(0);
        prefix
    }

    fn parts(&self) -> Option<(&[u8], &[u8])> {
        if self.0.is_empty() {
            return None;
        }
        match self.0.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => Some((self.0.get(..slash)?, self.0.get(slash + 1..)?)),
            None => Some((&[], &self.0)),
        }
    }
}

impl Key {
    /// Takes bytes that are a key: one zero byte, and a path in normal form around it. SPEC 8.1
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PathError> {
        Self(bytes.to_vec()).path()?;
        Ok(Self(bytes.to_vec()))
    }

    /// Returns the key as bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Returns the path of which this is the key.
    pub fn path(&self) -> Result<DrivePath, PathError> {
        path_of_key(&self.0)
    }
}

/// Returns the path of a key read from an index.
pub(crate) fn path_of_key(key: &[u8]) -> Result<DrivePath, PathError> {
    let mut parts = key.splitn(2, |&byte| byte == 0);
    let (Some(parent), Some(base)) = (parts.next(), parts.next()) else {
        return Err(PathError::NotAKey);
    };
    if base.is_empty() || base.contains(&b'/') {
        return Err(PathError::NotAKey);
    }
    DrivePath::from_bytes(parent)?.join(base)
}

/// Writes a path so that a terminal shows it and does nothing else.
fn write_escaped(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' | '\'' => write!(f, "{character}")?,
                _ => write!(f, "{}", character.escape_debug())?,
            }
        }
        for byte in chunk.invalid() {
            write!(f, "\\x{byte:02x}")?;
        }
    }
    Ok(())
}

impl fmt::Display for DrivePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_escaped(&self.0, f)
    }
}

impl fmt::Debug for DrivePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DrivePath({self})")
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(")?;
        write_escaped(&self.0, f)?;
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use alloc::{format, string::ToString, vec};

    use super::*;

    fn path(text: &str) -> DrivePath {
        DrivePath::from_bytes(text).unwrap()
    }

    #[test]
    fn keys_put_a_folders_entries_side_by_side_and_the_folder_first() {
        // Golden: SPEC 8.1.
        assert_eq!(path("a").key().as_bytes(), b"\0a");
        assert_eq!(path("a/b").key().as_bytes(), b"a\0b");
        assert_eq!(path("a/b/c.txt").key().as_bytes(), b"a/b\0c.txt");
        assert_eq!(DrivePath::root().key().as_bytes(), b"");

        let mut keys: Vec<Key> =
            ["a/b", "a-b", "a", "a/b/c", "a/c", "b", "a-b/x"].map(|text| path(text).key()).into();
        keys.sort();
        let order: Vec<_> = keys.iter().map(|key| key.path().unwrap().to_string()).collect();
        assert_eq!(order, ["a", "a-b", "b", "a/b", "a/c", "a-b/x", "a/b/c"]);
    }

    #[test]
    fn a_key_gives_back_its_path() {
        for text in ["a", "a/b", "x/y/z", "..", "a/../b", "\\", "C:", " "] {
            assert_eq!(path(text).key().path().unwrap(), path(text));
        }
        for bytes in [&b""[..], b"a", b"a\0", b"\0", b"a\0b\0c", b"a\0b/c", b"/a\0b", b"a/\0b"] {
            assert!(Key::from_bytes(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn only_the_normal_form_is_a_path() {
        for text in ["/", "/a", "a/", "a//b", "//"] {
            assert_eq!(DrivePath::from_bytes(text), Err(PathError::EmptyComponent), "{text}");
        }
        assert_eq!(DrivePath::from_bytes("a\0b"), Err(PathError::Nul));
        assert_eq!(DrivePath::from_bytes(vec![b'a'; 4_097]), Err(PathError::TooLong));
        assert!(DrivePath::from_bytes(vec![b'a'; 4_096]).is_ok());
    }

    #[test]
    fn parents_and_bases_take_a_path_apart() {
        let deep = path("a/b/c");
        assert_eq!(deep.base(), Some(&b"c"[..]));
        assert_eq!(deep.parent(), Some(path("a/b")));
        assert_eq!(path("a").parent(), Some(DrivePath::root()));
        assert_eq!(DrivePath::root().parent(), None);
        assert_eq!(deep.components().collect::<Vec<_>>(), [b"a", b"b", b"c"]);
        assert_eq!(DrivePath::root().components().count(), 0);
        assert_eq!(path("a/b").join(b"c").unwrap(), deep);
        assert!(deep.is_within(&path("a/b")) && deep.is_within(&DrivePath::root()));
        assert!(!path("a/bc").is_within(&path("a/b")));
    }

    proptest::proptest! {
        #[test]
        fn every_path_comes_back_from_its_key_and_follows_its_folder(
            bytes in proptest::collection::vec(proptest::sample::select(&b"ab/\x00\xff-."[..]), 0..20),
        ) {
            if let Ok(path) = DrivePath::from_bytes(bytes) && let Some(parent) = path.parent() {
                proptest::prop_assert_eq!(path.key().path(), Ok(path.clone()));
                proptest::prop_assert!(parent.key() < path.key());
                proptest::prop_assert!(path.key().as_bytes().starts_with(&parent.listing_prefix()));
                proptest::prop_assert_eq!(parent.join(path.base().unwrap()), Ok(path));
            }
        }
    }

    #[test]
    fn what_is_shown_holds_no_control_characters() {
        let odd = DrivePath::from_bytes(b"a\n\x1b[31m\xff\xe2\x80\xae'\"\\".to_vec()).unwrap();
        let shown = format!("{odd}");
        assert_eq!(shown, "a\\n\\u{1b}[31m\\xff\\u{202e}'\"\\\\");
    }
}
