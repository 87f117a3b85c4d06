//! The limits of the drive's formats: what is at them passes, and what is one beyond does not.

use datnode_drive::{
    Damage, DrivePath, Entry, Extent, FileBuilder, Kind, Location, Mtime, Op, PathError,
    PathRefusal, ReadError, SafePath, Step, TagName, TagNameError, Version, limits::*,
};
use datnode_feed::{BlockIndex, Hash, Node, SecretKey, codec::Writer};

use crate::common::{Feed, done, folder, link, path};

fn named(len: usize) -> Result<DrivePath, PathError> {
    DrivePath::from_bytes(vec![b'x'; len])
}

/// A file whose extents are each of one block and byte.
fn file(extents: usize) -> Entry {
    let extent =
        |at: usize| Extent { slot: 1, first_block: at as u64, count: 1, first_byte: 7, bytes: 1 };
    Entry {
        kind: Kind::File,
        size: extents as u64,
        chunks: Hash([1; 32]),
        extents: (0..extents).map(extent).collect(),
        ..Entry::directory(0o644, Mtime::default())
    }
}

#[test]
fn paths_and_keys_are_as_long_as_they_may_be() {
    assert!(named(PATH_BYTES_MAX).is_ok());
    assert_eq!(named(PATH_BYTES_MAX + 1), Err(PathError::TooLong));
    // A name in the root has the longest key. It travels.
    let longest = named(PATH_BYTES_MAX).unwrap();
    assert_eq!(longest.key().as_bytes().len(), KEY_BYTES_MAX);
    let feed = Feed::new();
    let version = feed.commit(&feed.empty(), &[Op::Put(longest.clone(), folder())]).version;
    assert!(done(version.entry(&feed, &longest)).is_some());
}

#[test]
fn names_that_land_are_as_long_and_as_deep_as_they_may_be() {
    let land = |path: Vec<u8>| SafePath::new(&DrivePath::from_bytes(path).unwrap()).map(drop);
    assert_eq!(land(vec![b'x'; COMPONENT_BYTES_MAX]), Ok(()));
    assert_eq!(land(vec![b'x'; COMPONENT_BYTES_MAX + 1]), Err(PathRefusal::ComponentTooLong));
    let deep = |depth: usize| vec!["d"; depth].join("/").into_bytes();
    assert_eq!(land(deep(PATH_DEPTH_MAX)), Ok(()));
    assert_eq!(land(deep(PATH_DEPTH_MAX + 1)), Err(PathRefusal::TooDeep));
}

#[test]
fn targets_and_entries_are_as_long_as_they_may_be() {
    assert!(link(&vec![b't'; TARGET_BYTES_MAX]).is_valid());
    assert!(!link(&vec![b't'; TARGET_BYTES_MAX + 1]).is_valid());
    let most = (1..20_000).take_while(|&extents| file(extents).is_valid()).last().unwrap();
    let lens = [most, most + 1].map(|extents| file(extents).encoded_len());
    assert!(lens[0] <= ENTRY_BYTES_MAX && ENTRY_BYTES_MAX < lens[1], "{lens:?}");
}

#[test]
fn a_file_has_as_many_runs_as_are_free_and_then_one_for_so_many_bytes() {
    for (runs, bytes) in [(EXTENTS_FREE, 1), (100, RUN_BYTES_MIN), (101, RUN_BYTES_MIN - 1)] {
        let mut file = FileBuilder::new();
        for run in 0..runs as u64 {
            let at = Location { slot: 1, block: BlockIndex(2 * run) };
            file.push(&Node { size: bytes, hash: Hash([1; 32]) }, at, 2 * run * bytes);
        }
        // One byte short of what 101 runs have to have together.
        assert_eq!(file.short_stretches((202, 1 << 30)).is_empty(), runs != 101);
    }
}

#[test]
fn extents_end_where_feeds_do() {
    let at = |first_byte: u64, first_block: u64| {
        let mut entry = file(1);
        (entry.extents[0].first_byte, entry.extents[0].first_block) = (first_byte, first_block);
        entry.is_valid()
    };
    assert!(at(FEED_LENGTH_MAX - 1, FEED_LENGTH_MAX - 1));
    assert!(!at(FEED_LENGTH_MAX, 0) && !at(0, FEED_LENGTH_MAX));
    let mut entry = file(1);
    (entry.size, entry.extents[0].bytes) = (BLOCK_BYTES_MAX as u64, BLOCK_BYTES_MAX as u64);
    assert!(entry.is_valid());
    (entry.size, entry.extents[0].bytes) = (BLOCK_BYTES_MAX as u64 + 1, BLOCK_BYTES_MAX as u64 + 1);
    assert!(!entry.is_valid(), "a block has no more bytes");
}

/// Tells how many blocks a change with this entry adds beside itself.
fn spilled(entry: Entry) -> u64 {
    let feed = Feed::new();
    let content = datnode_drive::FeedRef {
        key: SecretKey::from_bytes([1; 32]).public(),
        role: datnode_drive::Role::Content,
        fork: 0,
        length: 1 << 40,
        byte_length: 1 << 40,
        root: Hash([0; 32]),
    };
    let info = datnode_drive::ChangeInfo { feeds: vec![content], ..Default::default() };
    feed.commit_with(&feed.empty(), &[Op::Put(path("name"), entry)], info);
    feed.len() - 2
}

#[test]
fn values_spill_when_they_are_too_long_for_a_node() {
    // The location of a link is one byte: its change.
    for len in 80..100 {
        let entry = link(&vec![b't'; len]);
        let is_long = entry.encoded_len() - 1 > INLINE_IDENTITY_BYTES_MAX;
        assert_eq!(spilled(entry), u64::from(is_long), "a target of {len} bytes");
    }
    // A file's identity is short; its location grows by the extent, and by the size of the numbers.
    let mut lens = Vec::new();
    for extents in 8..20 {
        for shift in 0..5 {
            let mut entry = file(extents);
            entry.extents[0].first_byte = 1 << (7 * shift);
            let len = entry.encoded_len();
            lens.push(len);
            assert_eq!(spilled(entry), u64::from(len > INLINE_VALUE_BYTES_MAX), "{len} bytes");
        }
    }
    for len in [INLINE_VALUE_BYTES_MAX, INLINE_VALUE_BYTES_MAX + 1] {
        assert!(lens.contains(&len), "{len} was tried");
    }
}

/// A change block with so many of each, for a feed whose header is block 0.
#[derive(Clone, Copy)]
struct Many {
    parents: usize,
    feeds: usize,
    namespaces: usize,
    name: usize,
    message: usize,
}

const FEW: Many = Many { parents: 1, feeds: 0, namespaces: 0, name: 5, message: 0 };

fn change(many: Many, root: &[u8]) -> Vec<u8> {
    let mut out = Writer::new();
    out.u8(0x82).varint(1);
    out.varint(many.parents as u64);
    for _ in 0..many.parents {
        out.varint(0).varint(0).hash(&Hash([0; 32]));
    }
    out.varint(many.feeds as u64);
    for _ in 0..many.feeds {
        let key = SecretKey::from_bytes([1; 32]).public();
        out.raw(key.as_bytes()).u8(0).varint(0).varint(0).varint(0).hash(&Hash([0; 32]));
    }
    out.varint(many.namespaces as u64);
    for _ in 0..many.namespaces {
        out.bytes(&vec![b'n'; many.name]).bytes(root);
    }
    out.u8(0);
    for _ in 0..6 {
        out.varint(0);
    }
    out.varint(0).varint(0).bytes(&vec![b'm'; many.message]).varint(0);
    out.into_vec()
}

fn opens(block: &[u8]) -> bool {
    let feed = Feed::new();
    matches!(Version::open(&feed, feed.push(block)), Ok(Step::Done(_)))
}

#[test]
fn changes_hold_as_much_as_they_may() {
    assert!(opens(&change(FEW, b"")));
    for (at, beyond) in [
        (Many { parents: PARENTS_MAX, ..FEW }, Many { parents: PARENTS_MAX + 1, ..FEW }),
        (Many { feeds: FEEDS_MAX, ..FEW }, Many { feeds: FEEDS_MAX + 1, ..FEW }),
        (
            Many { namespaces: NAMESPACES_MAX, ..FEW },
            Many { namespaces: NAMESPACES_MAX + 1, ..FEW },
        ),
        (
            Many { namespaces: 1, name: NAME_BYTES_MAX, ..FEW },
            Many { namespaces: 1, name: NAME_BYTES_MAX + 1, ..FEW },
        ),
        (
            Many { message: MESSAGE_BYTES_MAX, ..FEW },
            Many { message: MESSAGE_BYTES_MAX + 1, ..FEW },
        ),
    ] {
        assert!(opens(&change(at, b"")) && !opens(&change(beyond, b"")));
    }
    let node = |len: usize| change(Many { namespaces: 1, ..FEW }, &vec![0; len]);
    assert!(opens(&node(NODE_BYTES_MAX)) && !opens(&node(NODE_BYTES_MAX + 1)));
}

#[test]
fn names_of_tags_are_as_long_as_they_may_be() {
    let name = |len: usize| TagName::from_bytes(&vec![b't'; len]);
    assert_eq!(name(TAG_NAME_BYTES_MAX).map(|name| name.as_str().len()), Ok(TAG_NAME_BYTES_MAX));
    assert_eq!(name(TAG_NAME_BYTES_MAX + 1), Err(TagNameError::Length));
}

#[test]
fn batches_travel_inside_while_they_are_short() {
    let inline = |names: usize, last: usize| {
        let feed = Feed::new();
        let name = |number: usize| {
            let len = if number == names { last } else { 1_000 };
            let mut name = vec![b'x'; len];
            name[0] = u8::try_from(number).unwrap();
            Op::Put(DrivePath::from_bytes(name).unwrap(), folder())
        };
        let ops: Vec<Op> = (1..=names).map(name).collect();
        // A path and its length, 1, an identity of 6 bytes and a location of 1, each with its length.
        let bytes: usize = ops.iter().map(|op| op.path().as_bytes().len() + 2 + 1 + 7 + 2).sum();
        (feed.commit(&feed.empty(), &ops).version.change.ops.is_some(), bytes)
    };
    let (fits, bytes) = inline(17, 180);
    assert_eq!((fits, bytes), (true, INLINE_OPS_BYTES_MAX));
    let (fits, bytes) = inline(17, 181);
    assert_eq!((fits, bytes), (false, INLINE_OPS_BYTES_MAX + 1));
}

#[test]
fn an_index_has_as_many_levels_as_it_may() {
    let walk = |level: u8| {
        let feed = Feed::new();
        let node = [0x83, 2, level, 0];
        let at = feed.push(&change(Many { namespaces: 1, ..FEW }, b""));
        let root = [&[5][..], b"files", &[4], &node].concat();
        let mut block = change(Many { namespaces: 1, ..FEW }, b"");
        let from = block.windows(7).position(|bytes| bytes == [5, b'n', b'n', b'n', b'n', b'n', 0]);
        block.splice(from.unwrap()..from.unwrap() + 7, root);
        feed.blocks.borrow_mut()[usize::try_from(at.0).unwrap()] = block;
        done(Version::open(&feed, at)).walk(&feed, None, 10).map(|_| ())
    };
    assert!(walk(INDEX_LEVELS_MAX - 1).is_ok());
    let refused = walk(INDEX_LEVELS_MAX).unwrap_err();
    assert!(matches!(refused, ReadError::Damaged { damage: Damage::WrongLevel, .. }));
}

#[test]
fn so_many_blocks_are_asked_for_at_once() {
    let feed = Feed::new();
    let number = NEED_BLOCKS_MAX + 100;
    let ops: Vec<Op> =
        (0..number).map(|name| Op::Put(path(&format!("{name:05}")), link(&[b't'; 200]))).collect();
    let version = feed.commit(&feed.empty(), &ops).version;
    // All values are spilled, each into a block of its own, and none of them is here.
    let is_spill = |block: &Vec<u8>| block.first() == Some(&0x84);
    let blocks = feed.blocks.borrow().clone();
    let hidden = (0..).zip(&blocks).filter(|(_, block)| is_spill(block)).map(|(at, _)| at);
    let hidden: Vec<u64> = hidden.collect();
    assert_eq!(hidden.len(), number);
    feed.hidden.borrow_mut().extend(hidden);
    let Ok(Step::Need(need)) = version.walk(&feed, None, 100_000) else { panic!("all is missing") };
    assert_eq!(need.len(), NEED_BLOCKS_MAX);
}

#[test]
fn so_many_unknown_blocks_are_passed_over() {
    let opens = |unknown: u64| {
        let feed = Feed::new();
        feed.push(&change(FEW, b""));
        for _ in 0..unknown {
            feed.push(&[0x01]);
        }
        Version::open(&feed, BlockIndex(feed.len() - 1)).is_ok()
    };
    assert!(opens(SKIPPED_BLOCKS_MAX));
    assert!(!opens(SKIPPED_BLOCKS_MAX + 1));
}
