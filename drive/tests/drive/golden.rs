//! The bytes of SPEC 8, pinned. A change here is a change of the format.

use crate::common::{Feed, done, folder, link, path};
use datnode_drive::{
    ChangeInfo, Chunker, ChunkerParams, Entry, Extent, FORMAT, FeedRef, Header, Kind, Mtime, Op,
    ReadError, Role, TAGS, Tag, TagName, TagOp, Version, header_block,
};
use datnode_feed::{BlockIndex, Hash, PublicKey};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The public key of RFC 8032, test 1.
const KEY: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

fn key() -> PublicKey {
    let byte = |at: usize| u8::from_str_radix(&KEY[2 * at..2 * at + 2], 16).unwrap();
    PublicKey::from_bytes(core::array::from_fn(byte)).unwrap()
}

fn file() -> Entry {
    Entry {
        kind: Kind::File,
        size: 70_000,
        mode: 0o644,
        mtime: Mtime { seconds: 1_700_000_000, nanos: 5 },
        target: Vec::new(),
        chunks: Hash([1; 32]),
        content: Hash([2; 32]),
        extents: vec![Extent {
            slot: 1,
            first_block: 3,
            count: 2,
            first_byte: 200_000,
            bytes: 70_000,
        }],
        change: 0,
    }
}

const HEADER: &str = "816461746e6f646501000180800280800600046e616d65";
const SPILL: &str = "846b0164ff030000647878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787801";
const CHANGE: &str = "8201010000e443cc2bfd284c612393106110cbab94f15a700b6f6144a8a9fc48934339878801d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a000005b0bd100303030303030303030303030303030303030303030303030303030303030303010566696c6573a201836f0003000400646972060200ed03000000086469720066696c652c00f0a204a40380c49fd50c05010101010101010101010101010101010101010101010101010101010101010104046c696e6b228164279c1e82ae9fd7016c137a084fdab05446183a05bd91207e084aa73efb9b40a301012b01020202020202020202020202020202020202020202020202020202020202020201010302c09a0cf0a20400000101030364697201060200ed0300000101086469722f66696c65012c00f0a204a40380c49fd50c0501010101010101010101010101010101010101010101010101010101010101012b01020202020202020202020202020202020202020202020202020202020202020201010302c09a0cf0a204086469722f6c696e6b016b0164ff03000064787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878780101010101f0a204030082c49fd50c0605666972737400";
const VERSION: &str = "a8fcfaee92a4a3fa72a861ff6e4ed62b86cfe4db0058007f432c7b67f7949cf3";
const TAG_NODE: &str = "834f00020005626567696e20e443cc2bfd284c612393106110cbab94f15a700b6f6144a8a9fc4893433987880002763120cc7680323c36bf0e768a4d175c6c79b27f35339533e2a83afc037cd924cbf19f0500000000000900010182c49fd50c06";
const NODE_BLOCKS: usize = 2;
const NODES: &str = "0134fa4661d3daabe1c10af6eb79b074ceb3991864d54e9c6e2b3f837898d6a2";

#[test]
fn the_header_is_pinned() {
    let header = Header::new("name");
    let block = header_block(&header);
    assert_eq!(hex(&block), HEADER);
    assert_eq!(Header::decode(&block), Ok(header));
}

#[test]
fn a_change_its_spilled_value_and_its_version_id_are_pinned() {
    let feed = Feed::new();
    feed.blocks.borrow_mut()[0] = header_block(&Header::new("name"));
    let content = FeedRef {
        key: key(),
        role: Role::Content,
        fork: 0,
        length: 5,
        byte_length: 270_000,
        root: Hash([3; 32]),
    };
    let info = ChangeInfo {
        time: Mtime { seconds: 1_700_000_001, nanos: 6 },
        message: "first".into(),
        feeds: vec![content],
        ..ChangeInfo::default()
    };
    let ops = [
        Op::Put(path("dir"), folder()),
        Op::Put(path("dir/file"), file()),
        Op::Put(path("dir/link"), link(&[b'x'; 100])),
    ];
    let version = feed.commit_with(&feed.empty(), &ops, info).version;
    let blocks = feed.blocks.borrow().clone();
    assert_eq!(hex(&blocks[1]), SPILL);
    assert_eq!(hex(&blocks[2]), CHANGE);
    assert_eq!(hex(&version.id.0), VERSION);
    assert_eq!(done(Version::open(&feed, BlockIndex(2))), version);
}

#[test]
fn the_shape_of_an_index_is_pinned() {
    let feed = Feed::new();
    let ops: Vec<_> = (0..500).map(|n| Op::Put(path(&format!("{n:03}")), folder())).collect();
    feed.commit(&feed.empty(), &ops);
    let blocks = feed.blocks.borrow();
    let nodes: Vec<_> = blocks.iter().filter(|block| block[0] == 0x83).collect();
    assert_eq!(nodes.len(), NODE_BLOCKS);
    let all: Vec<u8> = nodes.into_iter().flatten().copied().collect();
    assert_eq!(hex(&Hash::of(&all).0), NODES);
}

#[test]
fn the_index_of_tags_is_pinned() {
    let feed = Feed::new();
    feed.blocks.borrow_mut()[0] = header_block(&Header::new("name"));
    let time = Mtime { seconds: 1_700_000_001, nanos: 6 };
    let info = ChangeInfo { time, ..ChangeInfo::default() };
    let first = feed.commit_with(&feed.empty(), &[Op::Put(path("dir"), folder())], info).version;
    let name = |text: &str| TagName::from_bytes(text.as_bytes()).unwrap();
    let tags = vec![
        TagOp::Set(name("begin"), Tag::of(&feed.empty())),
        TagOp::Set(name("v1"), Tag::of(&first)),
    ];
    let info = ChangeInfo { tags, ..ChangeInfo::default() };
    let second = feed.commit_with(&first, &[], info).version;
    assert_eq!(second.change.root(TAGS).map(hex).as_deref(), Some(TAG_NODE));
}

#[test]
fn newer_formats_and_unknown_schemes_are_refused_by_name() {
    let feed = Feed::new();
    assert_eq!(done(Header::read(&feed)), Header::new("test"));
    let newer = Header { format: FORMAT + 1, ..Header::new("") };
    feed.blocks.borrow_mut()[0] = [&header_block(&newer)[..], &[1, 2, 3]].concat();
    assert!(matches!(Header::read(&feed), Err(ReadError::Newer { found: 2, known: 1 })));
    for header in [
        Header { encryption: 1, ..Header::new("") },
        Header { chunker: ChunkerParams { id: 9, ..ChunkerParams::default() }, ..Header::new("") },
    ] {
        feed.blocks.borrow_mut()[0] = header_block(&header);
        assert!(matches!(Header::read(&feed), Err(ReadError::Damaged { .. })));
    }
    assert!(Chunker::new(Header::new("").chunker).is_some());
}

#[test]
fn every_truncated_header_and_change_is_refused() {
    let feed = Feed::new();
    let version = feed.commit(&feed.empty(), &[Op::Put(path("a"), folder())]).version;
    let block = feed.blocks.borrow()[1].clone();
    for end in 0..block.len() {
        feed.blocks.borrow_mut()[1] = block[..end].to_vec();
        assert!(Version::open(&feed, version.position).is_err(), "{end} bytes");
    }
    feed.blocks.borrow_mut()[1] = [&block[..], &[0]].concat();
    assert!(Version::open(&feed, version.position).is_err());
    let header = header_block(&Header::new("name"));
    assert!((0..header.len()).all(|end| Header::decode(&header[..end]).is_err()));
}
