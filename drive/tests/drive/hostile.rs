//! Drives that mean harm: every reading function ends with an answer or a typed error.

use crate::common::{Feed, Random, done, folder, link, path};
use datnode_drive::{Damage, DrivePath, Location, Op, ReadError, Step, Version};
use datnode_feed::{BlockIndex, Hash, codec::Writer};

type Reading<T> = Result<Step<T>, ReadError<core::convert::Infallible>>;

/// An entry of a node made by hand: shared bytes, suffix, value.
pub(crate) type Item<'a> = (u64, &'a [u8], &'a [u8]);

pub(crate) fn node(
    level: u8,
    count: u64,
    items: &[Item<'_>],
    locations: &[&[u8]],
) -> (Vec<u8>, Hash) {
    let mut identity = Writer::new();
    identity.u8(level);
    identity.varint(count);
    for (shared, suffix, value) in items {
        identity.varint(*shared).bytes(suffix);
        if level == 0 {
            identity.bytes(value)
        } else {
            identity.raw(value)
        };
    }
    let identity = identity.into_vec();
    let mut out = Writer::new();
    out.u8(0x83).bytes(&identity);
    for location in locations {
        out.raw(location);
    }
    (out.into_vec(), Hash::of(&identity))
}

/// A folder's identity, and its location as a leaf holds it.
pub(crate) const FOLDER: (&[u8], &[u8]) = (&[2, 0, 0xed, 0x03, 0, 0], &[1, 1]);

fn leaf(keys: &[&'static [u8]]) -> (Vec<u8>, Hash) {
    let item = |(index, key): (usize, &&'static [u8])| -> Item<'static> {
        let before = index.checked_sub(1).map_or(&[][..], |before| keys[before]);
        let shared = before.iter().zip(*key).take_while(|(before, now)| before == now).count();
        (shared as u64, &key[shared..], FOLDER.0)
    };
    let items: Vec<Item<'_>> = keys.iter().enumerate().map(item).collect();
    node(0, items.len() as u64, &items, &vec![FOLDER.1; items.len()])
}

/// A location of slot 0.
pub(crate) fn at(block: u64) -> Vec<u8> {
    let mut out = Writer::new();
    out.varint(0).varint(block);
    out.into_vec()
}

fn change(root: &[u8]) -> Vec<u8> {
    let mut out = Writer::new();
    out.u8(0x82).varint(1);
    out.varint(1).varint(0).varint(0).hash(&Hash([0; 32]));
    out.varint(0);
    out.varint(1).bytes(b"files").bytes(root);
    out.u8(0);
    for _ in 0..6 {
        out.varint(0);
    }
    out.varint(0).varint(0).bytes(b"").varint(0);
    out.into_vec()
}

/// Puts a change with this root behind what the feed holds, and opens it.
pub(crate) fn open(feed: &Feed, root: &[u8]) -> Version {
    done(Version::open(feed, feed.push(&change(root))))
}

fn damage<T: core::fmt::Debug>(reading: Reading<T>) -> Damage {
    match reading {
        Err(ReadError::Damaged { damage, .. }) => damage,
        other => panic!("no damage but {other:?}"),
    }
}

/// Reads everything there is; tells whether it all was sound.
fn read_all(feed: &Feed, position: BlockIndex) -> bool {
    let mut is_sound = true;
    let mut after = None;
    let version = match Version::open(feed, position) {
        Ok(Step::Done(version)) => version,
        _ => return false,
    };
    let mut pages = 0;
    while let Ok(Step::Done(page)) = version.walk(feed, after.as_ref(), 100) {
        pages += 1;
        assert!(pages < 1_000, "a walk ends");
        let Some((last, _)) = page.last() else { break };
        for (path, _) in &page {
            assert!(after.as_ref().is_none_or(|after| *after < path.key()), "a walk ascends");
            after = Some(path.key());
        }
        assert_eq!(after, Some(last.key()));
    }
    is_sound &= version.walk(feed, None, 100_000).is_ok();
    is_sound &= version.needed(feed).is_ok();
    is_sound &= version.list(feed, &DrivePath::root(), None, 1_000).is_ok();
    for number in 0..20 {
        is_sound &= version.entry(feed, &path(&format!("{number:05}"))).is_ok();
    }
    for number in 0..version.number.min(20) {
        is_sound &= version.find(feed, number).is_ok();
    }
    is_sound &= compare(feed, &version);
    is_sound & version.previous(feed).is_ok()
}

/// Compares with nothing, and with an earlier version, both ways; tells whether it all was sound.
fn compare(feed: &Feed, version: &Version) -> bool {
    let mut others = vec![done(Version::open(&Feed::new(), BlockIndex(0)))];
    if let Ok(Step::Done(Some(earlier))) = version.find(feed, version.number / 2) {
        others.push(earlier);
    }
    let mut is_sound = true;
    for (old, new) in others.iter().flat_map(|other| [(other, version), (version, other)]) {
        let (mut after, mut pages) = (None, 0);
        is_sound &= loop {
            let Ok(Step::Done(page)) = old.diff(new, feed, after.as_ref(), 100) else {
                break false;
            };
            pages += 1;
            assert!(pages < 1_000, "a comparison ends");
            let keys = page.differences.iter().map(|difference| difference.path.key());
            let keys: Vec<_> = after.clone().into_iter().chain(keys).collect();
            assert!(keys.is_sorted_by(|one, next| one < next), "a comparison ascends");
            match page.next {
                Some(next) => assert!(after.replace(next) < after, "a page goes on"),
                None => break true,
            }
        };
    }
    is_sound
}

#[test]
fn no_flipped_bit_makes_a_reader_panic_or_loop() {
    let feed = Feed::new();
    let mut version = feed.empty();
    let ops: Vec<_> = (0..1_500)
        .map(|number| {
            let name = path(&format!("{number:05}"));
            let len = if number % 100 == 0 { 200 } else { 10 };
            Op::Put(name, if number % 3 == 0 { link(&vec![b'x'; len]) } else { folder() })
        })
        .collect();
    version = feed.commit(&version, &ops).version;
    for number in 0..20 {
        version = feed.commit(&version, &[Op::Put(path(&format!("x{number}")), folder())]).version;
    }
    assert!(read_all(&feed, version.position));
    let sound = feed.blocks.borrow().clone();
    let mut random = Random(6);
    let mut noticed = 0;
    for _ in 0..600 {
        let block = usize::try_from(random.below(sound.len() as u64)).unwrap();
        let bit = usize::try_from(random.below(sound[block].len() as u64 * 8)).unwrap();
        feed.blocks.borrow_mut()[block][bit / 8] ^= 1 << (bit % 8);
        noticed += u32::from(!read_all(&feed, version.position));
        feed.blocks.borrow_mut()[block].clone_from(&sound[block]);
    }
    assert!(noticed > 0);
}

#[test]
fn no_garbage_makes_a_reader_panic() {
    let mut random = Random(8);
    for _ in 0..3_000 {
        let feed = Feed::new();
        let len = usize::try_from(random.below(200)).unwrap();
        let mut block = random.bytes(len);
        if let Some(first) = block.first_mut() {
            *first =
                [0x82, 0x83, 0x84, 0x85, 0x00, 0x7f][usize::try_from(random.below(6)).unwrap()];
        }
        let at = feed.push(&block);
        read_all(&feed, at);
        let feed = Feed::new();
        let at = feed.push(&change(&block));
        read_all(&feed, at);
    }
}

#[test]
fn pointers_forward_and_to_themselves_are_refused() {
    for block in [1, 2, 1 << 40] {
        let feed = Feed::new();
        let (_, hash) = leaf(&[b"\0a"]);
        let (root, _) = node(1, 1, &[(0, b"\0a", &hash.0)], &[&at(block)]);
        let version = open(&feed, &root);
        assert_eq!(damage(version.walk(&feed, None, 10)), Damage::Forward);
        assert_eq!(damage(version.entry(&feed, &path("a"))), Damage::Forward);
        assert_eq!(damage(version.needed(&feed)), Damage::Forward);
    }
}

#[test]
fn pointers_into_other_feeds_are_refused() {
    let feed = Feed::new();
    let (_, hash) = leaf(&[b"\0a"]);
    let (root, _) = node(1, 1, &[(0, b"\0a", &hash.0)], &[&[1, 0]]);
    assert_eq!(damage(open(&feed, &root).walk(&feed, None, 10)), Damage::Foreign);
}

#[test]
fn a_child_that_is_not_what_its_parent_says_is_refused() {
    let (child, hash) = leaf(&[b"\0a", b"\0b"]);
    let read = |first: &[u8], hash: Hash, level: u8, after: Option<&[u8]>| {
        let feed = Feed::new();
        let position = feed.push(&child);
        let mut items: Vec<Item<'_>> = vec![(0, first, &hash.0)];
        let mut locations = vec![at(position.0)];
        if let Some(next) = after {
            items.push((1, &next[1..], &hash.0));
            locations.push(at(position.0));
        }
        let locations: Vec<_> = locations.iter().map(Vec::as_slice).collect();
        let (root, _) = node(level, items.len() as u64, &items, &locations);
        let version = open(&feed, &root);
        let walked = version.walk(&feed, None, 10);
        assert_eq!(walked.is_ok(), version.needed(&feed).is_ok());
        walked
    };
    assert!(read(b"\0a", hash, 1, None).is_ok());
    assert_eq!(damage(read(b"\0a", Hash([0; 32]), 1, None)), Damage::WrongIdentity);
    assert_eq!(damage(read(b"\0Z", hash, 1, None)), Damage::OutOfRange);
    assert_eq!(damage(read(b"\0a", hash, 2, None)), Damage::WrongLevel);
    // The same subtree twice: its first key, or its last, is out of place.
    assert_eq!(damage(read(b"\0a", hash, 1, Some(b"\0b"))), Damage::OutOfRange);
    assert_eq!(damage(read(b"\0a", hash, 1, Some(b"\0c"))), Damage::OutOfRange);
}

#[test]
fn keys_that_do_not_ascend_are_refused() {
    let cases: [&[Item<'_>]; 6] = [
        &[(0, b"\0b", FOLDER.0), (0, b"\0a", FOLDER.0)],
        &[(0, b"\0a", FOLDER.0), (0, b"\0a", FOLDER.0)],
        &[(0, b"\0a", FOLDER.0), (2, b"", FOLDER.0)],
        // The shared part is the longest possible, or it is refused.
        &[(0, b"\0a", FOLDER.0), (0, b"\0b", FOLDER.0)],
        &[(0, b"\0a", FOLDER.0), (3, b"b", FOLDER.0)],
        &[(1, b"\0a", FOLDER.0), (0, b"\0b", FOLDER.0)],
    ];
    for items in cases {
        let feed = Feed::new();
        let (root, _) = node(0, 2, items, &[FOLDER.1; 2]);
        let version = open(&feed, &root);
        assert_eq!(damage(version.walk(&feed, None, 10)), Damage::Unsorted, "{items:?}");
        assert_eq!(damage(version.entry(&feed, &path("zz"))), Damage::Unsorted, "{items:?}");
    }
    let feed = Feed::new();
    let (root, _) = node(0, 2, &[(0, b"\0a", FOLDER.0), (1, b"b", FOLDER.0)], &[FOLDER.1; 2]);
    assert!(open(&feed, &root).walk(&feed, None, 10).is_ok());
}

#[test]
fn keys_that_are_no_paths_are_refused() {
    for key in [&b"a"[..], b"\0", b"a\0", b"\0a/b", b"/\0a", b"a//b\0c", b"\0a\0b"] {
        let feed = Feed::new();
        let (root, _) = leaf(&[key]);
        let version = open(&feed, &root);
        assert!(matches!(damage(version.walk(&feed, None, 10)), Damage::BadKey(_)), "{key:?}");
    }
}

#[test]
fn a_chain_of_single_children_ends_at_thirty_two_levels() {
    let feed = Feed::new();
    let (block, mut hash) = leaf(&[b"\0a"]);
    let mut position = feed.push(&block);
    for level in 1..=32 {
        let (block, identity) = node(level, 1, &[(0, b"\0a", &hash.0)], &[&at(position.0)]);
        let version = open(&feed, &block);
        let walked = version.walk(&feed, None, 10);
        if level < 32 {
            assert!(matches!(walked, Ok(Step::Done(entries)) if entries.len() == 1));
        } else {
            assert_eq!(damage(walked), Damage::WrongLevel);
            assert_eq!(damage(version.entry(&feed, &path("a"))), Damage::WrongLevel);
        }
        position = feed.push(&block);
        hash = identity;
    }
}

#[test]
fn counts_that_promise_more_than_there_is_allocate_nothing() {
    for count in [2, 1 << 20, u64::MAX] {
        let feed = Feed::new();
        let (root, _) = node(0, count, &[(0, b"\0a", FOLDER.0)], &[FOLDER.1]);
        let version = open(&feed, &root);
        assert!(matches!(damage(version.walk(&feed, None, 10)), Damage::Malformed(_)));
    }
    let feed = Feed::new();
    let (root, _) = node(0, 0, &[(0, b"\0a", FOLDER.0)], &[FOLDER.1]);
    assert!(matches!(damage(open(&feed, &root).walk(&feed, None, 10)), Damage::Malformed(_)));
}

#[test]
fn a_commit_on_a_damaged_index_fails_and_appends_nothing() {
    let feed = Feed::new();
    let (_, hash) = leaf(&[b"\0a"]);
    let (root, _) = node(1, 1, &[(0, b"\0a", &hash.0)], &[&at(0)]);
    let version = open(&feed, &root);
    let length = feed.len();
    let mut append = |block: &[u8]| Ok::<_, core::convert::Infallible>(feed.push(block));
    let ops = [Op::Put(path("b"), folder())];
    let made = datnode_drive::commit(&version, &feed, &ops, Default::default(), &mut append);
    assert!(matches!(made, Err(datnode_drive::CommitError::Read(_))));
    assert_eq!(feed.len(), length);
}

#[test]
fn unknown_required_kinds_are_refused_by_name_and_others_passed_over() {
    let feed = Feed::new();
    let version = feed.commit(&feed.empty(), &[Op::Put(path("a"), folder())]).version;
    for _ in 0..16 {
        feed.push(&[0x05, 1, 2, 3]);
    }
    let end = BlockIndex(feed.len() - 1);
    assert_eq!(done(Version::open(&feed, end)), version);
    let end = feed.push(&[0x05]);
    assert_eq!(damage(Version::open(&feed, end)), Damage::NoChange);
    let end = feed.push(&[0x87, 1, 2, 3]);
    let expected = Location::changes(end);
    assert!(matches!(
        Version::open(&feed, end),
        Err(ReadError::UnknownKind { at, kind: 0x87 }) if at == expected
    ));
    let end = feed.push(&[0x83, 0]);
    assert!(matches!(damage(Version::open(&feed, end)), Damage::WrongKind { .. }));
}

#[test]
fn pointers_to_the_wrong_change_are_refused() {
    let feed = Feed::new();
    let mut version = feed.empty();
    for number in 0..5 {
        version = feed.commit(&version, &[Op::Put(path(&number.to_string()), folder())]).version;
    }
    // Swap two changes: the pointers of the last one now meet other numbers.
    feed.blocks.borrow_mut().swap(2, 3);
    assert_eq!(damage(version.find(&feed, 2)), Damage::WrongNumber);
    feed.blocks.borrow_mut().swap(2, 3);
    // Another change of the right number.
    let other = Feed::new();
    let mut forged = other.empty();
    for number in 0..4 {
        let op = Op::Put(path(&format!("other{number}")), folder());
        forged = other.commit(&forged, &[op]).version;
    }
    feed.blocks.borrow_mut()[4].clone_from(&other.blocks.borrow()[4]);
    assert_eq!(damage(version.previous(&feed)), Damage::WrongIdentity);
}

#[test]
fn entries_with_blocks_outside_of_the_feed_table_are_refused() {
    let feed = Feed::new();
    let mut identity = Writer::new();
    identity.u8(0).varint(5).varint(0o644).varint(0).varint(0).hash(&Hash([1; 32]));
    let mut location = Writer::new();
    location.varint(1).hash(&Hash([2; 32])).varint(1);
    location.varint(1).varint(0).varint(1).varint(0).varint(5);
    let mut place = Writer::new();
    place.bytes(location.as_slice());
    let (root, _) = node(0, 1, &[(0, b"\0a", identity.as_slice())], &[place.as_slice()]);
    let version = open(&feed, &root);
    assert_eq!(damage(version.entry(&feed, &path("a"))), Damage::OutsideFeeds);
    assert_eq!(damage(version.walk(&feed, None, 10)), Damage::OutsideFeeds);
}
