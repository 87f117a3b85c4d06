//! Differences against the definition: walk both versions and compare.

use std::collections::{BTreeMap, BTreeSet};

use crate::common::{Feed, Random, done, folder, path};
use crate::hostile::{FOLDER, Item, at, node, open};
use crate::model::{file, info, random_entry, random_path};
use datnode_drive::{
    DiffPage, DiffStep, Difference, DrivePath, Entry, Key, Location, Mtime, Op, Step, Version,
    diff,
    limits::{DIFF_NODES_MAX, NEED_BLOCKS_MAX},
};
use datnode_feed::Hash;

/// A version and the feed it is in.
type Side<'a> = (&'a Version, &'a Feed);

/// What counts of an entry: not where its bytes are, nor which change set it.
fn says(entry: &Entry) -> impl PartialEq {
    let Entry { kind, size, mode, mtime, target, chunks, .. } = entry.clone();
    (kind, size, mode, mtime, target, chunks)
}

/// The definition.
fn defined(old: Side<'_>, new: Side<'_>) -> Vec<Difference> {
    let mut both: BTreeMap<Key, Difference> = BTreeMap::new();
    for (path, entry) in done(old.0.walk(old.1, None, 1 << 30)) {
        let difference = Difference { path: path.clone(), old: Some(entry), new: None };
        both.insert(path.key(), difference);
    }
    for (path, entry) in done(new.0.walk(new.1, None, 1 << 30)) {
        let none = Difference { path: path.clone(), old: None, new: None };
        both.entry(path.key()).or_insert(none).new = Some(entry);
    }
    let differs = |one: &Difference| match (&one.old, &one.new) {
        (Some(old), Some(new)) => {
            assert_eq!(old.is_same_as(new), says(old) == says(new));
            says(old) != says(new)
        }
        _ => true,
    };
    both.into_values().filter(differs).collect()
}

fn page(old: Side<'_>, new: Side<'_>, after: Option<&Key>, limit: usize) -> DiffPage {
    match diff(old, new, after, limit).expect("both are sound") {
        DiffStep::Done(page) => page,
        DiffStep::Need { old, new } => panic!("needs {old:?} and {new:?}"),
    }
}

fn pages(old: Side<'_>, new: Side<'_>, mut limit: impl FnMut() -> usize) -> Vec<Difference> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let limit = limit();
        let page = page(old, new, after.as_ref(), limit);
        assert!(page.differences.len() <= limit);
        all.extend(page.differences);
        assert!(page.next.is_none() || page.next > after, "it goes on");
        match page.next {
            Some(next) => after = Some(next),
            None => return all,
        }
    }
}

/// A history of random batches, the empty version first.
fn history(feed: &Feed, random: &mut Random, batches: u64, names: u64) -> Vec<Version> {
    let mut versions = vec![feed.empty()];
    for batch in 0..batches {
        let base = versions.last().unwrap();
        let mut ops: BTreeMap<Key, Op> = BTreeMap::new();
        for _ in 0..if batch == 0 { names } else { 1 + random.below(names / 10) } {
            let path = random_path(random);
            let op = match random.below(3) {
                0 => Op::Delete(path),
                _ => Op::Put(path, random_entry(random)),
            };
            ops.insert(op.path().key(), op);
        }
        let ops: Vec<_> = ops.into_values().collect();
        let version = feed.commit_with(base, &ops, info()).version;
        versions.push(version);
    }
    versions
}

#[test]
fn any_two_versions_differ_as_the_definition_says() {
    for seed in 0..12 {
        let mut random = Random(seed);
        let feed = Feed::new();
        let versions = history(&feed, &mut random, 8, 400);
        for old in &versions {
            for new in &versions {
                let (old, new) = ((old, &feed), (new, &feed));
                let limits = || 1 + usize::try_from(random.below(100)).unwrap();
                assert_eq!(pages(old, new, limits), defined(old, new), "seed {seed}");
            }
        }
    }
}

/// Names that fill many nodes.
fn name(number: u64) -> DrivePath {
    let spread = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    path(&format!("data/{:03}/measurement-{:012x}.csv", spread % 300, spread >> 16))
}

fn puts(numbers: impl Iterator<Item = u64>) -> Vec<Op> {
    numbers.map(|number| Op::Put(name(number), folder())).collect()
}

fn touched(second: i64) -> Entry {
    Entry::directory(0o755, Mtime { seconds: second, nanos: 0 })
}

#[test]
fn large_versions_differ_as_the_definition_says() {
    for seed in 0..6 {
        let mut random = Random(seed);
        let feed = Feed::new();
        let base = feed.commit(&feed.empty(), &puts(0..8_000)).version;
        let mut versions = vec![feed.empty(), base];
        for _ in 0..4 {
            // Runs of neighbours and names from everywhere, deleted, set and added.
            let mut ops: BTreeMap<Key, Op> = BTreeMap::new();
            let from = random.below(9_000);
            for step in 0..random.below(600) {
                let number = if seed % 2 == 0 { from + step } else { random.below(9_000) };
                let op = match random.below(3) {
                    0 => Op::Delete(name(number)),
                    _ => Op::Put(name(number), touched(random.below(3).cast_signed())),
                };
                ops.insert(op.path().key(), op);
            }
            let ops: Vec<_> = ops.into_values().collect();
            versions.push(feed.commit(versions.last().unwrap(), &ops).version);
        }
        for (at, old) in versions.iter().enumerate() {
            for new in [&versions[(at + 1) % 6], &versions[(at + 3) % 6]] {
                let (old, new) = ((old, &feed), (new, &feed));
                let limits = || 1 + usize::try_from(random.below(2_000)).unwrap();
                assert_eq!(pages(old, new, limits), defined(old, new), "seed {seed}");
            }
        }
    }
}

#[test]
fn two_drives_are_compared_by_what_is_in_them() {
    let mut random = Random(7);
    let entries: Vec<_> = (0..3_000).map(|_| file(&mut random, 1)).collect();
    let named = |(number, entry): (u64, &Entry)| Op::Put(name(number), entry.clone());
    let ops: Vec<Op> = (0..).zip(&entries).map(named).collect();
    let (one, two) = (Feed::new(), Feed::new());
    let at_once = one.commit_with(&one.empty(), &ops, info()).version;
    // The other drive came to the same in many changes, and holds its bytes elsewhere.
    let mut version = two.empty();
    for batch in ops.rchunks(200) {
        let moved = batch.iter().map(|op| match op {
            Op::Put(path, entry) => {
                let mut entry = Entry { content: Hash([9; 32]), ..entry.clone() };
                entry.extents[0].first_block += 5;
                Op::Put(path.clone(), entry)
            }
            Op::Delete(path) => Op::Delete(path.clone()),
        });
        version = two.commit_with(&version, &moved.collect::<Vec<_>>(), info()).version;
    }
    one.reads.set(0);
    assert_eq!(pages((&at_once, &one), (&version, &two), || 10), []);
    assert_eq!(one.reads.get(), 0, "equal roots are not opened");

    let edits = [Op::Delete(name(5)), Op::Put(name(3_000), entries[7].clone())];
    let edited = two.commit_with(&version, &edits, info()).version;
    let (old, new) = ((&at_once, &one), (&edited, &two));
    let found = pages(old, new, || 10);
    assert_eq!(found, defined(old, new));
    assert_eq!(found.len(), 2);
}

/// Takes a page of which no block is here at first; returns it, the round trips, and the blocks of each side.
fn fetched(
    old: Side<'_>,
    new: Side<'_>,
    after: Option<&Key>,
    limit: usize,
) -> (DiffPage, usize, [BTreeSet<Location>; 2]) {
    for feed in [old.1, new.1] {
        *feed.hidden.borrow_mut() = (0..feed.len()).collect();
    }
    let (mut trips, mut got) = (0, [BTreeSet::new(), BTreeSet::new()]);
    loop {
        let needs = match diff(old, new, after, limit).unwrap() {
            DiffStep::Done(page) => {
                [old.1, new.1].iter().for_each(|feed| feed.hidden.borrow_mut().clear());
                return (page, trips, got);
            }
            DiffStep::Need { old, new } => [old, new],
        };
        trips += 1;
        assert!(needs.iter().map(Vec::len).sum::<usize>() > 0);
        for (which, need) in needs.into_iter().enumerate() {
            assert!(need.len() <= NEED_BLOCKS_MAX);
            for at in need {
                [old.1, new.1][which].hidden.borrow_mut().remove(&at.block.0);
                assert!(got[which].insert(at), "{at} was asked for twice");
            }
        }
    }
}

#[test]
fn what_is_missing_is_asked_for_a_level_at_a_time_of_both() {
    let (one, two) = (Feed::new(), Feed::new());
    let old = one.commit(&one.empty(), &puts(0..30_000)).version;
    let mut new = two.commit(&two.empty(), &puts(0..30_000)).version;
    let edits: Vec<Op> = (0..40)
        .map(|number| match number % 3 {
            0 => Op::Delete(name(number * 700)),
            1 => Op::Put(name(number * 700), touched(5)),
            _ => Op::Put(name(number + 40_000), folder()),
        })
        .collect();
    new = two.commit(&new, &edits).version;
    let right = defined((&old, &one), (&new, &two));
    assert_eq!(right.len(), 40);
    let (page, trips, got) = fetched((&old, &one), (&new, &two), None, 1_000);
    assert_eq!((page.differences, page.next), (right, None));
    assert!(trips <= 3, "{trips} round trips");
    let blocks = got.map(|blocks| blocks.len());
    assert!(blocks.iter().all(|&blocks| blocks <= 140), "{blocks:?} blocks");
    // All of it differs from nothing, and a small page asks for little.
    let empty = one.empty();
    let (page, trips, _) = fetched((&empty, &one), (&new, &two), None, 100_000);
    assert_eq!(page.differences, defined((&empty, &one), (&new, &two)));
    assert!(trips <= 3, "{trips} round trips");
    let (_, _, got) = fetched((&empty, &one), (&new, &two), None, 5);
    assert!(got[1].len() <= 10, "{} blocks", got[1].len());
}

#[test]
fn spilled_values_are_asked_for_if_they_differ() {
    let feed = Feed::new();
    let mut random = Random(4);
    let ops: Vec<Op> = (0..20).map(|number| Op::Put(name(number), file(&mut random, 40))).collect();
    let old = feed.commit_with(&feed.empty(), &ops, info()).version;
    let edit = [Op::Put(name(3), file(&mut random, 50)), Op::Put(name(9), file(&mut random, 50))];
    let new = feed.commit_with(&old, &edit, info()).version;
    let right = defined((&old, &feed), (&new, &feed));
    *feed.hidden.borrow_mut() = (0..feed.len()).collect();
    let Ok(Step::Need(need)) = old.diff(&new, &feed, None, 10) else { panic!("all is missing") };
    assert_eq!(need.len(), 4, "the two values in both versions");
    need.iter().for_each(|at| assert!(feed.hidden.borrow_mut().remove(&at.block.0)));
    assert_eq!(done(old.diff(&new, &feed, None, 10)).differences, right);
}

#[test]
fn ten_files_of_a_million_cost_a_hundred_blocks() {
    let feed = Feed::new();
    let old = feed.commit(&feed.empty(), &puts(0..1_000_000)).version;
    let mut new = old.clone();
    for number in 0..10 {
        let edit = Op::Put(name(number * 99_991), touched(1));
        new = feed.commit(&new, &[edit]).version;
    }
    feed.reads.set(0);
    let found = page((&old, &feed), (&new, &feed), None, 1_000);
    assert_eq!((found.differences.len(), found.next), (10, None));
    assert!(feed.reads.get() <= 100, "{} blocks", feed.reads.get());
    let (page, trips, got) = fetched((&old, &feed), (&new, &feed), None, 1_000);
    let all: BTreeSet<_> = got.iter().flatten().collect();
    assert!(page.differences.len() == 10 && all.len() <= 100, "{} blocks", all.len());
    assert!(trips <= 3, "{trips} round trips");

    // Names that come and go move the ends of nodes beside them.
    let edits = (0..10).map(|number| match number % 2 {
        0 => Op::Delete(name(number * 99_991)),
        _ => Op::Put(name(1_000_000 + number), folder()),
    });
    let other = feed.commit(&old, &edits.collect::<Vec<_>>()).version;
    feed.reads.set(0);
    let found = self::page((&old, &feed), (&other, &feed), None, 1_000);
    assert_eq!(found.differences.len(), 10);
    assert!(feed.reads.get() <= 150, "{} blocks", feed.reads.get());
}

/// Makes an index of folders with so many keys a leaf, whatever the rule says, and opens the change that holds it.
fn cut(feed: &Feed, keys: &[Vec<u8>], each: usize) -> Version {
    let value = |key: &Vec<u8>| (key.clone(), FOLDER.0.to_vec(), FOLDER.1.to_vec());
    let mut level: Vec<(Vec<u8>, Vec<u8>, Vec<u8>)> = keys.iter().map(value).collect();
    for height in 0.. {
        let each = if height == 0 { each } else { 200 };
        let mut above = Vec::new();
        for part in level.chunks(each) {
            let mut before: &[u8] = &[];
            let items = part.iter().map(|(key, value, _)| -> Item<'_> {
                let shared = before.iter().zip(key).take_while(|(one, other)| one == other).count();
                before = key;
                (shared as u64, &key[shared..], value)
            });
            let items: Vec<_> = items.collect();
            let places: Vec<_> = part.iter().map(|(_, _, place)| place.as_slice()).collect();
            let (block, hash) = node(height, items.len() as u64, &items, &places);
            if level.len() <= each {
                return open(feed, &block);
            }
            above.push((part[0].0.clone(), hash.0.to_vec(), at(feed.push(&block).0)));
        }
        level = above;
    }
    unreachable!("levels shrink")
}

#[test]
fn a_page_opens_so_many_nodes_and_no_more() {
    let keys: Vec<Vec<u8>> =
        (0..20_000).map(|number| format!("\0{number:06}").into_bytes()).collect();
    let feed = Feed::new();
    // All of their nodes differ, and none of their names; the last two have one more.
    let (ones, twos) = (cut(&feed, &keys[1..], 1), cut(&feed, &keys, 2));
    let [ones, twos] = [&ones, &twos].map(|version| (version, &feed));
    let (mut after, mut found, mut count) = (None, Vec::new(), 0);
    loop {
        feed.reads.set(0);
        let page = page(ones, twos, after.as_ref(), 10);
        assert!(feed.reads.get() <= DIFF_NODES_MAX + 1, "{} blocks", feed.reads.get());
        found.extend(page.differences);
        count += 1;
        assert!(page.next.is_none() || page.next > after, "it goes on");
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(found, defined(ones, twos));
    assert!(found.len() == 1 && count > 5, "{count} pages");
}

#[test]
fn what_is_said_to_be_equal_is_passed_over_unread() {
    let feed = Feed::new();
    let keys: Vec<Vec<u8>> = (0..9).map(|number| format!("\0{number}").into_bytes()).collect();
    let sound = cut(&feed, &keys, 3);
    // The same promises, of blocks that are something else.
    let second = feed.blocks.borrow()[2].clone();
    let first = std::mem::replace(&mut feed.blocks.borrow_mut()[1], second);
    assert!(sound.walk(&feed, None, 10).is_err());
    let longer = cut(&feed, &[&keys[..], &[b"\0x".to_vec()]].concat(), 3);
    let found = done(sound.diff(&longer, &feed, None, 10));
    assert_eq!(found.differences[0].path, path("x"));
    assert_eq!((found.differences.len(), found.next), (1, None));
    feed.blocks.borrow_mut()[1] = first;
    assert_eq!(defined((&sound, &feed), (&longer, &feed)), found.differences);
}
