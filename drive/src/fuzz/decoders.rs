//! The decoders of blocks and of what is in them.

use alloc::vec::Vec;

use datnode_feed::BlockIndex;
use datnode_feed::codec::Reader;

use super::sample::file;
use crate::change::Change;
use crate::entry::Entry;
use crate::header::{Header, header_block};
use crate::index::node::{Item, NodeView, NodeWriter, Place};
use crate::index::value::{kind_and_size, read_spill};
use crate::limits::{
    ENTRY_BYTES_MAX, FEED_LENGTH_MAX, INLINE_IDENTITY_BYTES_MAX, NODE_BYTES_MAX, PATH_BYTES_MAX,
    PATH_DEPTH_MAX, TAG_NAME_BYTES_MAX,
};
use crate::path::{DrivePath, Key};
use crate::safe_path::SafePath;
use crate::tag::Tag;
use crate::tag_name::TagName;

/// Block 0 of a changes feed.
pub fn drive_header(input: &[u8]) -> bool {
    let Ok(header) = Header::decode(input) else { return false };
    assert_eq!(header_block(&header), input, "a header has one encoding");
    true
}

/// A change block.
pub fn change(input: &[u8]) -> bool {
    let Ok(change) = Change::decode(input) else { return false };
    // An entry of the batch says which change set it; a batch is of its own change.
    let is_own = |op: &crate::Op| match op {
        crate::Op::Put(_, entry) => entry.change == change.number,
        crate::Op::Delete(_) => true,
    };
    if change.ops.iter().flatten().all(is_own) {
        assert_eq!(change.encode(), input, "a change has one encoding");
    }
    true
}

/// An index node: all its entries, and the same found one by one.
pub fn index_node(input: &[u8]) -> bool {
    let Ok(view) = NodeView::parse(input) else { return false };
    let mut entries = view.entries();
    let mut all: Vec<(Vec<u8>, Item<'_>)> = Vec::new();
    loop {
        match entries.next() {
            Ok(Some(item)) => all.push((entries.key().to_vec(), item)),
            Ok(None) => break,
            Err(_) => return false,
        }
        let [.., (before, _), (key, _)] = all.as_slice() else { continue };
        assert!(before < key, "keys ascend");
    }
    assert!(input.len() <= NODE_BYTES_MAX && all.len() as u64 == view.count);
    let mut writer = NodeWriter::new(view.level, all.len());
    all.iter().for_each(|(key, item)| writer.identity(key, item.identity));
    all.iter().for_each(|(_, item)| writer.place(item.place));
    let (block, hash) = writer.finish();
    let has_inline_nothing = all.iter().any(|(_, item)| item.place == Place::Inline(&[]));
    assert!(!has_inline_nothing, "an empty value is a place elsewhere");
    assert_eq!(block, input, "a node has one encoding");
    assert_eq!(view.identity_hash(), hash);
    for (key, item) in &all {
        let found = view.floor(key).ok().flatten().expect("the key is there");
        assert!(found.is_equal && found.key == *key, "a key is found where it stands");
        assert_eq!((found.item.identity, found.item.place), (item.identity, item.place));
        let _ = (kind_and_size(item.identity), item.child_hash());
    }
    true
}

/// An entry: `identity bytes | location`.
pub fn entry(input: &[u8]) -> bool {
    let mut reader = Reader::new(input);
    let Ok(identity) = reader.bytes(ENTRY_BYTES_MAX) else { return false };
    let location = reader.rest();
    let Ok(entry) = Entry::decode(identity, location) else { return false };
    assert_eq!((entry.identity(), entry.location()), (identity.to_vec(), location.to_vec()));
    let ranges = crate::byte_ranges(&entry, 0..u64::MAX);
    let bytes: u64 = ranges.iter().map(|range| range.bytes.end - range.bytes.start).sum();
    assert!(bytes == entry.size || ranges.is_empty(), "a file is where its extents are");
    true
}

/// A spilled value, which repeats the identity that its leaf holds: the sample's, or its own.
pub fn spill(input: &[u8]) -> bool {
    let _ = read_spill(input, &file().identity());
    let mut reader = Reader::new(input);
    let (Ok(_), Ok(identity)) = (reader.u8(), reader.bytes(ENTRY_BYTES_MAX)) else { return false };
    let Ok(entry) = Entry::decode(identity, reader.rest()) else { return false };
    let value = crate::index::value::Value::of(&entry, entry.change);
    assert!(read_spill(input, &value.identity).is_ok_and(|found| found == entry));
    true
}

/// A tag: `identity bytes | location`, in a leaf far behind its version.
pub fn tag(input: &[u8]) -> bool {
    let mut reader = Reader::new(input);
    let Ok(identity) = reader.bytes(INLINE_IDENTITY_BYTES_MAX) else { return false };
    let (own, location) = (BlockIndex(FEED_LENGTH_MAX), reader.rest());
    let Ok(tag) = Tag::decode(own, identity, location) else { return false };
    assert_eq!((tag.identity(), tag.location()), (identity.to_vec(), location.to_vec()));
    assert!(Tag::decode(tag.position, identity, location).is_err(), "it names an earlier block");
    true
}

/// The name of a tag.
pub fn tag_name(input: &[u8]) -> bool {
    let Ok(name) = TagName::from_bytes(input) else { return false };
    assert!(name.as_str().as_bytes() == input && input.len() <= TAG_NAME_BYTES_MAX);
    assert!(!input.iter().any(|byte| b"/+@ \n\0".contains(byte)), "an address can hold it");
    assert!(name.as_str().parse::<u64>().is_err(), "it is no number");
    true
}

/// A path: as a key of the index, as a name on a disk, and as the target of a link.
pub fn path(input: &[u8]) -> bool {
    let Ok(path) = DrivePath::from_bytes(input) else { return false };
    assert!(path.as_bytes() == input && input.len() <= PATH_BYTES_MAX);
    if path.is_root() {
        return SafePath::new(&path).is_ok();
    }
    let key = path.key();
    assert_eq!(key.path().as_ref(), Ok(&path), "a path comes back from its key");
    assert!(Key::from_bytes(key.as_bytes()).is_ok_and(|same| same == key));
    let joined = path.components().try_fold(DrivePath::root(), |path, name| path.join(name));
    assert_eq!(joined.as_ref(), Ok(&path), "a path is its components");
    let Ok(safe) = SafePath::new(&path) else { return false };
    assert_eq!(safe.as_bytes(), input);
    let (mut depth, mut parent) = (0, Some(safe.clone()));
    while let Some(at) = parent {
        assert!(at.check_link(b"/etc").is_err() && at.check_link(b"x/..").is_err());
        assert!(!matches!(at.base(), b"" | b"." | b".." | b".dat"), "it names what may land");
        assert!(at.base().len() <= 255 && !at.base().contains(&b'/'));
        (depth, parent) = (depth + 1, at.parent());
    }
    assert!(depth <= PATH_DEPTH_MAX && depth == safe.components().count());
    // What is a safe path may be linked to from beside it: the link stays in the folder.
    let beside = DrivePath::from_bytes("link").map(|path| SafePath::new(&path));
    let Ok(Ok(beside)) = beside else { unreachable!("it is an ordinary name") };
    assert!(input.len() > 4_096 || beside.check_link(input).is_ok());
    true
}
