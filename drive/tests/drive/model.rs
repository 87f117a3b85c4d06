//! Random histories against a map per version: lookups, pages, counts, checkouts, deletes.

use std::collections::{BTreeMap, BTreeSet};

use crate::common::{Feed, Random, done, folder, link, path};
use datnode_drive::{
    ChangeInfo, CommitError, DrivePath, Entry, Extent, Kind, Location, Mtime, Op, Step, Version,
    commit,
};
use datnode_feed::{BlockIndex, Hash, PublicKey};

type Model = BTreeMap<Vec<u8>, (DrivePath, Entry)>;

/// The public key of RFC 8032, test 1.
const KEY: [u8; 32] = [
    0xd7, 0x5a, 0x98, 0x01, 0x82, 0xb1, 0x0a, 0xb7, 0xd5, 0x4b, 0xfe, 0xd3, 0xc9, 0x64, 0x07, 0x3a,
    0x0e, 0xe1, 0x72, 0xf3, 0xda, 0xa6, 0x23, 0x25, 0xaf, 0x02, 0x1a, 0x68, 0xf7, 0x07, 0x51, 0x1a,
];

pub(crate) fn info() -> ChangeInfo {
    let feed = datnode_drive::FeedRef {
        key: PublicKey::from_bytes(KEY).unwrap(),
        role: datnode_drive::Role::Content,
        fork: 0,
        length: 1 << 40,
        byte_length: 1 << 50,
        root: Hash([3; 32]),
    };
    ChangeInfo { feeds: vec![feed], message: "test".into(), ..ChangeInfo::default() }
}

pub(crate) fn random_path(random: &mut Random) -> DrivePath {
    let names = ["a", "b", "a-b", "c.txt", "é", "A", "zz", "0", "\u{7f}", "~"];
    let depth = 1 + random.below(4);
    let name = |random: &mut Random| names[usize::try_from(random.below(10)).unwrap()];
    let parts: Vec<_> = (0..depth).map(|_| name(random)).collect();
    path(&parts.join("/"))
}

pub(crate) fn random_entry(random: &mut Random) -> Entry {
    match random.below(8) {
        0 => folder(),
        1 => {
            let len = usize::try_from(1 + random.below(300)).unwrap();
            link(&random.bytes(len).iter().map(|byte| byte | 1).collect::<Vec<_>>())
        }
        2..=6 => file(random, 1),
        _ => {
            let extents = 1 + random.below(60);
            file(random, extents)
        }
    }
}

pub(crate) fn file(random: &mut Random, extents: u64) -> Entry {
    let extents: Vec<_> = (0..extents)
        .map(|_| Extent {
            slot: 1,
            first_block: random.below(1 << 30),
            count: 1 + random.below(100),
            first_byte: random.below(1 << 45),
            bytes: 1 + random.below(1 << 20),
        })
        .collect();
    Entry {
        kind: Kind::File,
        size: extents.iter().map(|extent| extent.bytes).sum(),
        mode: 0o644,
        mtime: Mtime { seconds: random.next().cast_signed() >> 20, nanos: 7 },
        target: Vec::new(),
        chunks: Hash(random.bytes(32).try_into().unwrap()),
        content: Hash(random.bytes(32).try_into().unwrap()),
        extents,
        change: 0,
    }
}

fn check(feed: &Feed, version: &Version, model: &Model, random: &mut Random) {
    // The whole drive, in pages.
    let mut walked = Vec::new();
    let mut after = None;
    loop {
        let limit = 1 + usize::try_from(random.below(200)).unwrap();
        let page = done(version.walk(feed, after.as_ref(), limit));
        assert!(page.len() <= limit);
        let Some((last, _)) = page.last() else { break };
        after = Some(last.key());
        walked.extend(page);
    }
    assert_eq!(walked, model.values().cloned().collect::<Vec<_>>());
    // One folder, in pages, and paths that are there or not.
    for _ in 0..5 {
        let folder = match random.below(3) {
            0 => DrivePath::root(),
            _ => random_path(random),
        };
        let expected: Vec<_> = model
            .values()
            .filter(|(path, _)| path.parent().as_ref() == Some(&folder))
            .map(|(path, entry)| (path.base().unwrap().to_vec(), entry.clone()))
            .collect();
        let mut listed: Vec<(Vec<u8>, Entry)> = Vec::new();
        loop {
            let after = listed.last().map(|(name, _)| name.clone());
            let page = done(version.list(feed, &folder, after.as_deref(), 3));
            if page.is_empty() {
                break;
            }
            listed.extend(page);
        }
        assert_eq!(listed, expected);
        let path = random_path(random);
        let expected = model.get(path.key().as_bytes()).map(|(_, entry)| entry.clone());
        assert_eq!(done(version.entry(feed, &path)), expected);
    }
    let count = |kind| model.values().filter(|(_, entry)| entry.kind == kind).count() as u64;
    let counts = version.change.counts;
    assert_eq!(counts.files, count(Kind::File));
    assert_eq!(counts.directories, count(Kind::Directory));
    assert_eq!(counts.symlinks, count(Kind::Symlink));
    let files = model.values().filter(|(_, entry)| entry.kind == Kind::File);
    assert_eq!(counts.bytes, files.map(|(_, entry)| entry.size).sum::<u64>());
}

#[test]
fn every_version_of_a_random_history_reads_as_it_was_made() {
    for seed in 0..20 {
        let mut random = Random(seed);
        let feed = Feed::new();
        let mut versions = vec![(feed.empty(), Model::new())];
        for _ in 0..25 {
            let (base, model) = versions.last().unwrap();
            let mut model = model.clone();
            let mut ops = BTreeMap::new();
            let number = base.number + 1;
            let (mut put, mut deleted) = (0, 0);
            let size = if number == 1 { 500 } else { 1 + random.below(40) };
            for _ in 0..size {
                let path = random_path(&mut random);
                let key = path.key().as_bytes().to_vec();
                if ops.contains_key(&key) {
                    continue;
                }
                if random.below(3) == 0 {
                    deleted += u64::from(model.remove(&key).is_some());
                    ops.insert(key, Op::Delete(path));
                } else {
                    let entry = random_entry(&mut random);
                    let set = Entry { change: number, ..entry.clone() };
                    model.insert(key.clone(), (path.clone(), set));
                    ops.insert(key, Op::Put(path, entry));
                    put += 1;
                }
            }
            let ops: Vec<_> = ops.into_values().collect();
            let version = feed.commit_with(base, &ops, info()).version;
            if put + deleted > 0 {
                assert_eq!(version.number, number);
                assert_eq!(
                    (version.change.counts.put, version.change.counts.deleted),
                    (put, deleted)
                );
                versions.push((version, model));
            }
        }
        let latest = versions.last().unwrap().0.clone();
        for (version, model) in &versions {
            let found = done(latest.find(&feed, version.number)).unwrap();
            assert_eq!(&found, version);
            assert_eq!(&done(Version::open(&feed, version.position)), version);
            check(&feed, &found, model, &mut random);
        }
        for pair in versions.windows(2) {
            assert_eq!(done(pair[1].0.previous(&feed)), Some(pair[0].0.clone()));
        }
        assert_eq!(done(versions[0].0.previous(&feed)), None);
        assert_eq!(done(latest.find(&feed, latest.number + 1)), None);
    }
}

#[test]
fn what_is_missing_is_asked_for_a_level_at_a_time() {
    let feed = Feed::new();
    let mut random = Random(1);
    let ops: Vec<_> = (0..6_000)
        .map(|number| {
            Op::Put(path(&format!("{number:05}-{:x}", number * 77)), file(&mut random, 1))
        })
        .collect();
    let made = feed.commit_with(&feed.empty(), &ops, info());
    let everything: BTreeSet<u64> = (1..made.version.position.0).collect();

    // A walk of everything, block by block as it asks.
    feed.hidden.borrow_mut().clone_from(&everything);
    let mut rounds = 0;
    let walked = loop {
        match made.version.walk(&feed, None, 10_000).unwrap() {
            Step::Done(walked) => break walked,
            Step::Need(blocks) => {
                assert!(!blocks.is_empty());
                for at in blocks {
                    assert!(feed.hidden.borrow_mut().remove(&at.block.0), "asked once");
                }
                rounds += 1;
            }
        }
    };
    assert_eq!(walked.len(), 6_000);
    assert!(rounds <= 4, "{rounds} rounds");

    // One lookup asks for one node a level; a small page for no more than it needs.
    feed.hidden.borrow_mut().clone_from(&everything);
    let target = ops[3_000].path();
    let mut asked = 0;
    while let Step::Need(blocks) = made.version.entry(&feed, target).unwrap() {
        assert_eq!(blocks.len(), 1);
        feed.hidden.borrow_mut().remove(&blocks[0].block.0);
        asked += 1;
    }
    assert!(asked <= 3, "{asked} blocks");
    while let Step::Need(blocks) = made.version.walk(&feed, None, 60).unwrap() {
        assert!(blocks.len() <= 2);
        for at in blocks {
            feed.hidden.borrow_mut().remove(&at.block.0);
        }
    }

    // A clone asks until it has all, and then knows all.
    feed.hidden.borrow_mut().clone_from(&everything);
    let mut rounds = 0;
    let needed = loop {
        match made.version.needed(&feed).unwrap() {
            Step::Done(needed) => break needed,
            Step::Need(blocks) => {
                rounds += 1;
                for at in blocks {
                    feed.hidden.borrow_mut().remove(&at.block.0);
                }
            }
        }
    };
    assert!(rounds <= 3);
    assert!(feed.hidden.borrow().is_empty(), "a first version needs every block");
    assert_eq!(needed.len() as u64, made.blocks);
}

#[test]
fn spilled_values_are_asked_for_too() {
    let feed = Feed::new();
    let mut random = Random(4);
    let entry = file(&mut random, 40);
    let ops = [Op::Put(path("a"), entry), Op::Put(path("b"), link(&[b'x'; 200]))];
    let version = feed.commit_with(&feed.empty(), &ops, info()).version;
    feed.hidden.borrow_mut().extend([1, 2]);
    let both = vec![Location::changes(BlockIndex(1)), Location::changes(BlockIndex(2))];
    assert_eq!(version.walk(&feed, None, 10).unwrap(), Step::Need(both));
    feed.hidden.borrow_mut().clear();
    assert_eq!(done(version.entry(&feed, &path("b"))).unwrap().target, vec![b'x'; 200]);
    assert_eq!(done(version.needed(&feed)).len(), 3);
}

#[test]
fn a_commit_that_misses_a_block_leaves_nothing_behind() {
    let feed = Feed::new();
    let mut random = Random(2);
    let ops: Vec<_> = (0..2_000)
        .map(|number| Op::Put(path(&format!("{number:05}")), file(&mut random, 1)))
        .collect();
    let base = feed.commit_with(&feed.empty(), &ops, info()).version;
    let edit = [Op::Delete(path("01000"))];
    feed.hidden.borrow_mut().extend(1..base.position.0);
    let before = feed.len();
    loop {
        let mut append = |block: &[u8]| Ok::<_, core::convert::Infallible>(feed.push(block));
        match commit(&base, &feed, &edit, info(), &mut append).unwrap() {
            Step::Done(made) => {
                assert_eq!(made.version.change.counts.files, 1_999);
                break;
            }
            Step::Need(blocks) => {
                assert_eq!(feed.len(), before);
                for at in blocks {
                    feed.hidden.borrow_mut().remove(&at.block.0);
                }
            }
        }
    }
}

#[test]
fn a_batch_that_changes_nothing_makes_no_change() {
    let feed = Feed::new();
    let one = feed.commit(&feed.empty(), &[Op::Put(path("a"), folder())]);
    let made = feed.commit(&one.version, &[Op::Delete(path("b"))]);
    assert_eq!((made.blocks, &made.version), (0, &one.version));
    assert_eq!(feed.commit(&one.version, &[]).blocks, 0);
    // A longer content feed is a change.
    assert_eq!(feed.commit_with(&one.version, &[], info()).version.number, 2);
}

#[test]
fn equal_names_made_in_any_order_have_equal_roots() {
    let names: Vec<_> =
        (0..3_000).map(|number| format!("{:04x}", number * 7_919 % 65_536)).collect();
    let forward = Feed::new();
    let all: Vec<_> = names.iter().map(|name| Op::Put(path(name), folder())).collect();
    let at_once = forward.commit(&forward.empty(), &all).version;
    let backward = Feed::new();
    let mut version = backward.empty();
    for batch in all.rchunks(100) {
        version = backward.commit(&version, batch).version;
    }
    // Locations and change numbers differ, so only the names of both are equal here; that the
    // identity parts are equal is tested beside the index.
    let names = |feed: &Feed, version: &Version| -> Vec<_> {
        done(version.walk(feed, None, 10_000)).into_iter().map(|(path, _)| path).collect()
    };
    assert_eq!(names(&forward, &at_once), names(&backward, &version));
    assert_eq!(at_once.change.counts.directories, version.change.counts.directories);
}

#[test]
fn batches_no_reader_would_take_are_refused_by_name() {
    let feed = Feed::new();
    let base = feed.empty();
    let try_commit = |ops: &[Op], info: ChangeInfo| {
        let mut append = |block: &[u8]| Ok::<_, core::convert::Infallible>(feed.push(block));
        commit(&base, &feed, ops, info, &mut append).map(|_| ()).unwrap_err()
    };
    let unsorted = [Op::Put(path("b"), folder()), Op::Put(path("a"), folder())];
    assert!(matches!(try_commit(&unsorted, info()), CommitError::Unsorted(_)));
    let twice = [Op::Put(path("a"), folder()), Op::Delete(path("a"))];
    assert!(matches!(try_commit(&twice, info()), CommitError::Unsorted(_)));
    let root = [Op::Put(DrivePath::root(), folder())];
    assert!(matches!(try_commit(&root, info()), CommitError::Root));
    let mut random = Random(3);
    let many = [Op::Put(path("a"), file(&mut random, 5_000))];
    assert!(matches!(try_commit(&many, info()), CommitError::InvalidEntry(_)));
    let one = [Op::Put(path("a"), file(&mut random, 1))];
    assert!(matches!(try_commit(&one, ChangeInfo::default()), CommitError::OutsideFeeds(_)));
    let long = ChangeInfo { message: "x".repeat(5_000), ..info() };
    assert!(matches!(try_commit(&[], long), CommitError::MessageTooLong));
    assert_eq!(feed.len(), 1, "nothing was appended");

    let version = feed.commit_with(&base, &[], info()).version;
    let mut append = |block: &[u8]| Ok::<_, core::convert::Infallible>(feed.push(block));
    let fewer = commit(&version, &feed, &[], ChangeInfo::default(), &mut append);
    assert!(matches!(fewer, Err(CommitError::Feeds)));
}

#[test]
fn small_batches_travel_inside_the_change_and_large_ones_do_not() {
    let feed = Feed::new();
    let small = [Op::Put(path("a"), folder()), Op::Delete(path("b"))];
    let version = feed.commit(&feed.empty(), &small).version;
    let version = done(Version::open(&feed, version.position));
    let stamped = Entry { change: 1, ..folder() };
    let expected = vec![Op::Put(path("a"), stamped), Op::Delete(path("b"))];
    assert_eq!(version.change.ops, Some(expected));
    let large: Vec<_> =
        (0..2_000).map(|number| Op::Put(path(&format!("{number:08}")), folder())).collect();
    let version = feed.commit(&version, &large).version;
    assert_eq!(done(Version::open(&feed, version.position)).change.ops, None);
}
