//! The only way from a name in a drive to a name on a disk.
//!
//! Hostile names may travel, never land: whoever writes a file takes a [`SafePath`], and only
//! [`SafePath::new`] makes one. What it refuses is listed in SPEC 8.7. Backslashes and drive
//! letters are ordinary bytes; `/` alone separates.

use alloc::{string::String, vec::Vec};
use core::fmt;

use thiserror::Error;

use crate::{
    limits::{COMPONENT_BYTES_MAX, PATH_DEPTH_MAX, TARGET_BYTES_MAX},
    path::DrivePath,
};

/// The folder in which a working folder keeps its store.
pub const STORE_DIRECTORY: &[u8] = b".dat";

/// What the names of files begin with while they are being written.
pub const TEMPORARY_PREFIX: &[u8] = b".datpart-";

/// A relative path that stays below the folder it is joined to and names nothing of ours.
///
/// Invariant: at least one component; none is empty, `.`, `..`, longer than 255 bytes, or a
/// spelling of the store's directory or of a temporary name; no zero byte; depth at most 128.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SafePath(DrivePath);

/// Why a name does not land.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PathRefusal {
    /// The root, which names no file.
    #[error("the root is no file")]
    Root,
    /// `.` or `..`.
    #[error("a component is `.` or `..`")]
    Dots,
    /// A spelling of the store's own directory.
    #[error("a component names the store's directory")]
    StoreDirectory,
    /// A spelling of a temporary name of ours.
    #[error("a component names a temporary file of ours")]
    TemporaryName,
    /// A component of more than 255 bytes.
    #[error("a component is longer than {COMPONENT_BYTES_MAX} bytes")]
    ComponentTooLong,
    /// More than 128 components.
    #[error("the path is deeper than {PATH_DEPTH_MAX} components")]
    TooDeep,
    /// A link that leaves the folder or passes through the store's directory.
    #[error("the link leads out of the folder")]
    LinkLeaves,
}

impl SafePath {
    /// Lets a name land, or says why not.
    pub fn new(path: &DrivePath) -> Result<Self, PathRefusal> {
        if path.is_root() {
            return Err(PathRefusal::Root);
        }
        // DrivePath holds no zero byte, no empty component and at most 4,096 bytes.
        for (depth, component) in path.components().enumerate() {
            if depth >= PATH_DEPTH_MAX {
                return Err(PathRefusal::TooDeep);
            }
            check_component(component)?;
        }
        Ok(Self(path.clone()))
    }

    /// Returns the path as bytes, components joined by `/`.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Returns the path in the drive.
    pub fn drive_path(&self) -> &DrivePath {
        &self.0
    }

    /// Returns the components, outermost first.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.components()
    }

    /// Returns the last component.
    pub fn base(&self) -> &[u8] {
        self.0.base().expect("a safe path has a component")
    }

    /// Returns the folder that holds this path, unless that is the root.
    pub fn parent(&self) -> Option<Self> {
        self.0.parent().filter(|parent| !parent.is_root()).map(Self)
    }

    /// Checks that a symbolic link at this path may point to `target`.
    ///
    /// It may if the target is relative, climbs (`..`) only at its beginning and not above the
    /// working folder, and names nothing of ours. A later `..` could follow another link out of
    /// the folder, however harmless the text looks. SPEC 8.7
    pub fn check_link(&self, target: &[u8]) -> Result<(), PathRefusal> {
        let refused = Err(PathRefusal::LinkLeaves);
        if target.is_empty() || target.len() > TARGET_BYTES_MAX || target.contains(&0) {
            return refused;
        }
        if target.starts_with(b"/") {
            return refused;
        }
        let mut folders_left = self.components().count() - 1;
        let mut descended = false;
        for component in target.split(|&byte| byte == b'/') {
            match component {
                b"" | b"." => {}
                b".." if descended || folders_left == 0 => return refused,
                b".." => folders_left -= 1,
                name => {
                    check_component(name)?;
                    descended = true;
                }
            }
        }
        Ok(())
    }
}

/// Checks one component of a path that is to land. SPEC 8.7
fn check_component(component: &[u8]) -> Result<(), PathRefusal> {
    if matches!(component, b"" | b"." | b"..") {
        return Err(PathRefusal::Dots);
    }
    if component.len() > COMPONENT_BYTES_MAX {
        return Err(PathRefusal::ComponentTooLong);
    }
    let folded = fold(component);
    if names_store_directory(&folded) {
        return Err(PathRefusal::StoreDirectory);
    }
    if folded.as_bytes().starts_with(TEMPORARY_PREFIX) {
        return Err(PathRefusal::TemporaryName);
    }
    // Ignoring code points must not leave `.`, `..` or nothing at all.
    if matches!(folded.as_str(), "" | "." | "..") {
        return Err(PathRefusal::Dots);
    }
    Ok(())
}

/// Returns whether some file system could take this folded name for the store's directory.
fn names_store_directory(folded: &str) -> bool {
    // `.dat::$DATA` and `.dat:x` are streams of `.dat`; trailing dots and spaces are dropped.
    let stem = folded.split(':').next().unwrap_or_default().trim_end_matches(['.', ' ']);
    if stem.as_bytes() == STORE_DIRECTORY {
        return true;
    }
    // The short name that FAT and NTFS make of `.dat`.
    stem.strip_prefix("dat~").is_some_and(|digits| {
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// Lowers the case and drops what file systems ignore. Bytes that are no UTF-8 become U+FFFD.
fn fold(component: &[u8]) -> String {
    let mut folded = String::with_capacity(component.len());
    for chunk in component.utf8_chunks() {
        let kept = chunk.valid().chars().filter(|&character| !is_ignorable(character));
        folded.extend(kept.flat_map(char::to_lowercase));
        if !chunk.invalid().is_empty() {
            folded.push(char::REPLACEMENT_CHARACTER);
        }
    }
    folded
}

/// Returns whether a file system may ignore this code point when it compares names.
fn is_ignorable(character: char) -> bool {
    matches!(u32::from(character),
        0x00AD | 0x034F | 0x061C | 0x115F..=0x1160 | 0x17B4..=0x17B5 | 0x180B..=0x180F
        | 0x200B..=0x200F | 0x202A..=0x202E | 0x2060..=0x206F | 0x3164 | 0xFE00..=0xFE0F
        | 0xFEFF | 0xFFA0 | 0xFFF0..=0xFFF8 | 0x1BCA0..=0x1BCA3 | 0x1D173..=0x1D17A
        | 0xE0000..=0xE0FFF)
}

impl fmt::Display for SafePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for SafePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SafePath({self})")
    }
}

impl From<SafePath> for Vec<u8> {
    fn from(path: SafePath) -> Self {
        path.as_bytes().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use alloc::{format, string::ToString, vec};

    use super::*;

    fn land(bytes: impl Into<Vec<u8>>) -> Result<SafePath, PathRefusal> {
        SafePath::new(&DrivePath::from_bytes(bytes).expect("travels"))
    }

    #[test]
    fn hostile_names_travel_and_never_land() {
        let store = [
            ".dat",
            ".DAT",
            ".Dat",
            ".dAt",
            ".daT",
            ".dat.",
            ".dat..",
            ".dat ",
            ".dat  ",
            ".dat. .",
            ".DAT. ",
            ".dat::$DATA",
            ".dat::$INDEX_ALLOCATION",
            ".dat:x",
            ".DAT:stream",
            ".dat :x",
            ".dat.:x",
            "dat~1",
            "DAT~1",
            "Dat~2",
            "dat~10",
            "DAT~1.",
            "dat~1 ",
            "dat~1::$DATA",
            "\u{200c}.dat",
            ".\u{200d}dat",
            ".d\u{200e}at",
            ".da\u{200f}t",
            ".dat\u{202a}",
            ".d\u{202e}at",
            ".d\u{206a}at",
            ".da\u{206f}t",
            "\u{feff}.dat",
            ".dat\u{feff}",
            ".\u{ad}dat",
            ".d\u{34f}at",
            ".d\u{180e}at",
            ".d\u{200b}at",
            ".d\u{2060}at",
            ".d\u{2064}at",
            ".dat\u{fe0f}",
            ".D\u{fe00}AT",
            ".d\u{e0001}at",
            ".d\u{e0100}at",
            ".da\u{61c}t",
            ".d\u{3164}at",
            ".DAT\u{200c}. ",
            "d\u{200c}at~1",
        ];
        let temporary = [
            ".datpart-",
            ".datpart-1",
            ".datpart-x.y",
            ".DATPART-1",
            ".DatPart-z",
            ".dat\u{200c}part-1",
            "\u{feff}.datpart-1",
            ".datpart\u{ad}-1",
            ".datpart-\n",
        ];
        let dots = [".", "..", ".\u{200c}", "\u{200d}..", ".\u{feff}.", "\u{200b}", "\u{ad}"];
        let mut count = 0;
        for (names, refusal) in [
            (&store[..], PathRefusal::StoreDirectory),
            (&temporary[..], PathRefusal::TemporaryName),
            (&dots[..], PathRefusal::Dots),
        ] {
            for name in names {
                for path in [name.to_string(), format!("{name}/x"), format!("a/{name}/x")] {
                    assert_eq!(land(path.clone()), Err(refusal), "{path:?}");
                    count += 1;
                }
            }
        }
        assert!(count >= 80);
        assert_eq!(land("a/../../etc/passwd"), Err(PathRefusal::Dots));
        assert_eq!(SafePath::new(&DrivePath::root()), Err(PathRefusal::Root));
    }

    #[test]
    fn what_is_no_path_does_not_even_travel() {
        for text in ["/etc/passwd", "//x", "a//b", "a/", "/", "a\0b", "\0", ".dat\0", "a/\0/b"] {
            assert!(DrivePath::from_bytes(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn lengths_and_depth_are_bounded() {
        assert!(land(vec![b'a'; 255]).is_ok());
        assert_eq!(land(vec![b'a'; 256]), Err(PathRefusal::ComponentTooLong));
        let deep = |depth: usize| vec!["d"; depth].join("/");
        assert!(land(deep(128)).is_ok());
        assert_eq!(land(deep(129)), Err(PathRefusal::TooDeep));
    }

    #[test]
    fn ordinary_and_odd_names_land() {
        for name in [
            "a",
            "a b",
            " a",
            "a ",
            "a.",
            "...",
            "..a",
            "a..",
            ".a",
            ".data",
            ".dat1",
            "dat",
            ".da",
            "x.dat",
            ".dat-x",
            "data~1",
            "dat~",
            "dat~x",
            "~1",
            ".datpart",
            "datpart-1",
            ".datignore",
            "C:",
            "C:\\x",
            "\\\\srv\\x",
            "a\\..\\b",
            "a:b",
            "CON",
            "aux.txt",
            "-rf",
            "new\nline",
            "\u{1b}[31m",
            "é",
            "e\u{301}",
            "日本",
            "\u{202e}x",
            ". .",
            ".. .",
        ] {
            assert!(land(name).is_ok(), "{name:?}");
            assert!(land(format!("deep/{name}/x")).is_ok(), "{name:?}");
        }
        assert!(land(&b"\xff\xfe"[..]).is_ok());
        assert!(land(&b".dat\xff"[..]).is_ok());
    }

    #[test]
    fn a_safe_path_gives_its_parts() {
        let path = land("a/b/c").unwrap();
        assert_eq!(path.base(), b"c");
        assert_eq!(path.parent().unwrap().as_bytes(), b"a/b");
        assert_eq!(land("a").unwrap().parent(), None);
        assert_eq!(path.components().count(), 3);
    }

    #[test]
    fn links_stay_inside() {
        let link = land("a/b/link").unwrap();
        for target in ["x", "x/y", "../x", "../../x", "../..", ".", "./x", "x/./y", "..", "x/"] {
            assert_eq!(link.check_link(target.as_bytes()), Ok(()), "{target}");
        }
        for target in ["", "/", "/etc", "../../..", "../../../x", "x/..", "x/../../../..", "a\0b"] {
            assert_eq!(
                link.check_link(target.as_bytes()),
                Err(PathRefusal::LinkLeaves),
                "{target:?}"
            );
        }
        assert_eq!(link.check_link(b"../../.dat/store"), Err(PathRefusal::StoreDirectory));
        assert_eq!(link.check_link(&vec![b'a'; 4_097]), Err(PathRefusal::LinkLeaves));
        assert_eq!(land("link").unwrap().check_link(b".."), Err(PathRefusal::LinkLeaves));
    }
}
