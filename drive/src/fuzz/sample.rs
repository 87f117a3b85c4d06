//! A drive to begin with.

use alloc::borrow::Cow;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::convert::Infallible;
use std::sync::OnceLock;

use datnode_feed::codec::Writer;
use datnode_feed::{BlockIndex, Hash, SecretKey};

use crate::blocks::{Blocks, kind};
use crate::change::{FeedRef, Op, Role};
use crate::commit::{ChangeInfo, commit};
use crate::entry::{Entry, Extent, Kind, Mtime};
use crate::error::{Location, Step};
use crate::header::{Header, header_block};
use crate::path::DrivePath;
use crate::tag::{Tag, TagOp};
use crate::tag_name::TagName;
use crate::version::Version;

/// A changes feed in memory.
pub(super) struct List(pub(super) RefCell<Vec<Vec<u8>>>);

impl Blocks for List {
    type Error = Infallible;

    fn block(&self, at: Location) -> Result<Option<Cow<'_, [u8]>>, Infallible> {
        assert_eq!(at.slot, 0, "only the changes feed is read");
        let block = usize::try_from(at.block.0).ok();
        Ok(block.and_then(|block| self.0.borrow().get(block).cloned()).map(Cow::Owned))
    }
}

/// A file of the drive.
pub(super) fn file() -> Entry {
    let extents = vec![
        Extent { slot: 1, first_block: 7, count: 2, first_byte: 1_000, bytes: 200 },
        Extent { slot: 1, first_block: 3, count: 1, first_byte: 50, bytes: 100 },
    ];
    Entry {
        kind: Kind::File,
        size: 300,
        mode: 0o644,
        chunks: Hash([1; 32]),
        content: Hash([2; 32]),
        extents,
        ..Entry::directory(0, Mtime { seconds: -2, nanos: 5 })
    }
}

/// Makes a drive of a few changes, whose index has two levels and a spilled value.
fn make() -> Vec<Vec<u8>> {
    let feed = List(RefCell::new(vec![header_block(&Header::new("sample"))]));
    let content = FeedRef {
        key: SecretKey::from_bytes([9; 32]).public(),
        role: Role::Content,
        fork: 0,
        length: 20,
        byte_length: 2_000,
        root: Hash([3; 32]),
    };
    // Long names fill nodes soon, and take few bytes since they share their beginning.
    let path = |number: u8| {
        let mut name = vec![b'x'; 400];
        name.extend([b'a' + number / 26, b'a' + number % 26]);
        DrivePath::from_bytes(name).expect("it is short")
    };
    let entry = |number: u8| match number % 4 {
        0 => Entry::directory(0o755, Mtime::default()),
        1 => Entry::symlink(vec![b't'; if number == 5 { 200 } else { 3 }], Mtime::default()),
        _ => file(),
    };
    let mut tags = Vec::new();
    for batch in [0..80, 80..82, 4..7] {
        let base = Version::open(&feed, BlockIndex(feed.0.borrow().len() as u64 - 1));
        let Ok(Step::Done(base)) = base else { unreachable!("all blocks are here") };
        let ops: Vec<_> = batch.map(|number| Op::Put(path(number), entry(number))).collect();
        let feeds = vec![content.clone()];
        let info = ChangeInfo { feeds, tags: tags.clone(), ..ChangeInfo::default() };
        let mut append = |block: &[u8]| {
            let mut blocks = feed.0.borrow_mut();
            blocks.push(block.to_vec());
            Ok::<_, Infallible>(BlockIndex(blocks.len() as u64 - 1))
        };
        let made = commit(&base, &feed, &ops, info, &mut append);
        let Ok(Step::Done(made)) = made else { unreachable!("the batch is right") };
        let name = TagName::from_bytes(b"v1").expect("it is a name");
        tags = vec![TagOp::Set(name, Tag::of(&made.version))];
    }
    feed.0.into_inner()
}

fn blocks() -> &'static [Vec<u8>] {
    static BLOCKS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    BLOCKS.get_or_init(make)
}

fn of_kind(wanted: u8) -> Vec<Vec<u8>> {
    let found = blocks().iter().filter(|block| block.first() == Some(&wanted));
    found.cloned().collect()
}

pub(super) fn changes() -> Vec<Vec<u8>> {
    of_kind(kind::CHANGE)
}

pub(super) fn headers() -> Vec<Vec<u8>> {
    of_kind(kind::HEADER)
}

pub(super) fn nodes() -> Vec<Vec<u8>> {
    let roots = changes().into_iter().filter_map(|block| {
        let change = crate::change::Change::decode(&block).ok()?;
        Some(change.roots.into_iter().map(|root| root.node))
    });
    of_kind(kind::NODE).into_iter().chain(roots.flatten()).collect()
}

pub(super) fn spills() -> Vec<Vec<u8>> {
    of_kind(kind::SPILL)
}

pub(super) fn entries() -> Vec<Vec<u8>> {
    let entries = [
        file(),
        Entry::directory(0o755, Mtime { seconds: i64::MIN, nanos: 999_999_999 }),
        Entry::symlink(b"../x".to_vec(), Mtime::default()),
    ];
    let seed = |entry: Entry| {
        let mut writer = Writer::new();
        writer.bytes(&entry.identity()).raw(&entry.location());
        writer.into_vec()
    };
    entries.map(seed).to_vec()
}

pub(super) fn paths() -> Vec<Vec<u8>> {
    ["file", "dir/file", "C:\\x", "dat", ".datpart", "...", "a/.data"].map(Vec::from).to_vec()
}

pub(super) fn tags() -> Vec<Vec<u8>> {
    let time = Mtime { seconds: -3, nanos: 4 };
    let tag = Tag { version: Hash([7; 32]), number: 5, position: BlockIndex(1_000), time };
    let mut writer = Writer::new();
    writer.bytes(&tag.identity()).raw(&tag.location());
    vec![writer.into_vec()]
}

pub(super) fn tag_names() -> Vec<Vec<u8>> {
    ["v1", "2026-11", "änderung", "release_3.0-rc.1"].map(Vec::from).to_vec()
}

pub(super) fn drives() -> Vec<Vec<u8>> {
    let mut writer = Writer::new();
    for block in blocks() {
        writer.bytes(block);
    }
    let drive = writer.into_vec();
    assert!(drive.len() < 16 << 10, "the drive is small enough to be changed by a byte");
    vec![drive]
}
