//! What whoever keeps files in a drive counts on, one fact a test.

use datnode_drive::{ChangeInfo, DrivePath, Entry, Kind, Op, Version};
use datnode_feed::BlockIndex;

use crate::common::{Feed, Random, done, folder, link, path};
use crate::model::{file, info};

fn put(name: &str, entry: &Entry) -> Op {
    Op::Put(path(name), entry.clone())
}

fn commit(feed: &Feed, base: &Version, ops: &[Op]) -> Version {
    feed.commit_with(base, ops, info()).version
}

fn entry(feed: &Feed, version: &Version, name: &str) -> Option<Entry> {
    done(version.entry(feed, &path(name)))
}

/// The names that are directly in a folder.
fn names(feed: &Feed, version: &Version, folder: &str) -> Vec<String> {
    let folder = if folder.is_empty() { DrivePath::root() } else { path(folder) };
    let listed = done(version.list(feed, &folder, None, 100));
    listed.into_iter().map(|(name, _)| String::from_utf8(name).unwrap()).collect()
}

#[test]
fn a_link_takes_the_place_of_a_file_and_a_file_that_of_a_link() {
    let (feed, mut random) = (Feed::new(), Random(1));
    let file = file(&mut random, 1);
    let first = commit(&feed, &feed.empty(), &[put("name", &file)]);
    let second = commit(&feed, &first, &[put("name", &link(b"elsewhere"))]);
    let linked = entry(&feed, &second, "name").unwrap();
    assert_eq!((linked.kind, &linked.target[..]), (Kind::Symlink, &b"elsewhere"[..]));
    assert!(linked.extents.is_empty(), "it has no bytes of its own");
    assert_eq!((second.change.counts.files, second.change.counts.symlinks), (0, 1));
    let third = commit(&feed, &second, &[put("name", &file)]);
    assert!(entry(&feed, &third, "name").unwrap().is_same_as(&file));
    assert_eq!((third.change.counts.files, third.change.counts.symlinks), (1, 0));
}

#[test]
fn what_is_deleted_is_gone_and_what_was_not_there_makes_no_version() {
    let feed = Feed::new();
    let first = commit(&feed, &feed.empty(), &[put("here", &folder())]);
    let same = commit(&feed, &first, &[Op::Delete(path("elsewhere"))]);
    assert_eq!(same, first);
    let second = commit(&feed, &first, &[Op::Delete(path("here"))]);
    assert_eq!((second.number, entry(&feed, &second, "here")), (2, None));
}

#[test]
fn equal_files_are_entries_of_their_own_that_say_which_came_first() {
    let (feed, mut random) = (Feed::new(), Random(2));
    let file = file(&mut random, 1);
    let mut version = feed.empty();
    for name in ["one", "two", "three"] {
        version = commit(&feed, &version, &[put(name, &file)]);
    }
    let all = ["one", "two", "three"].map(|name| entry(&feed, &version, name).unwrap());
    assert!(all.iter().all(|one| one.is_same_as(&file) && one.extents == file.extents));
    assert_eq!(all.map(|one| one.change), [1, 2, 3]);
}

#[test]
fn each_version_stays_readable_and_knows_the_one_before() {
    let (feed, mut random) = (Feed::new(), Random(3));
    let texts: Vec<Entry> = (0..3).map(|_| file(&mut random, 1)).collect();
    let mut version = feed.empty();
    for text in &texts {
        version = commit(&feed, &version, &[put("hello.txt", text)]);
    }
    for (number, text) in [3, 2, 1].into_iter().zip(texts.iter().rev()) {
        assert_eq!(version.number, number);
        assert!(entry(&feed, &version, "hello.txt").unwrap().is_same_as(text));
        version = done(version.previous(&feed)).unwrap();
    }
    assert_eq!((entry(&feed, &version, "hello.txt"), done(version.previous(&feed))), (None, None));
}

#[test]
fn a_folder_lists_each_name_in_it_once_in_the_order_of_their_bytes() {
    let feed = Feed::new();
    let all = ["parent", "parent/child", "parent/sibling", "parent/sibling/grandchild"];
    let more = ["parent-b", "parent.c", "parent/sibling-two", "parents"];
    let ops: Vec<Op> = all.iter().chain(&more).map(|name| put(name, &folder())).collect();
    let version = commit(&feed, &feed.empty(), &ops);
    assert_eq!(names(&feed, &version, "parent"), ["child", "sibling", "sibling-two"]);
    assert_eq!(names(&feed, &version, "parent/sibling"), ["grandchild"]);
    assert_eq!(names(&feed, &version, ""), ["parent", "parent-b", "parent.c", "parents"]);
    assert!(names(&feed, &version, "par").is_empty() && names(&feed, &version, "child").is_empty());
}

#[test]
fn a_walk_goes_on_behind_any_key_whether_there_is_such_a_name_or_not() {
    let feed = Feed::new();
    let ops: Vec<Op> = ["aFile", "bFile", "zFile"].map(|name| put(name, &folder())).into();
    let version = commit(&feed, &feed.empty(), &ops);
    for (after, rest) in [("aFile", 2), ("b", 2), ("bFile", 1), ("zFile", 0), ("zz", 0), ("A", 3)] {
        let walked = done(version.walk(&feed, Some(&path(after).key()), 10));
        assert_eq!(walked.len(), rest, "behind {after}");
        assert_eq!(done(version.walk(&feed, Some(&path(after).key()), 1)).len(), rest.min(1));
    }
}

#[test]
fn a_batch_shows_as_a_whole_in_its_own_version_and_not_at_all_in_the_one_before() {
    let feed = Feed::new();
    let before = commit(&feed, &feed.empty(), &[put("old", &folder())]);
    let ops = [put("new", &folder()), Op::Delete(path("old")), put("more", &folder())];
    let after = commit(&feed, &before, &ops);
    assert_eq!(names(&feed, &before, ""), ["old"]);
    assert_eq!(names(&feed, &after, ""), ["more", "new"]);
}

#[test]
fn a_version_says_how_much_content_belongs_to_it() {
    let feed = Feed::new();
    let mut version = feed.empty();
    assert!(version.change.feed(1).is_none(), "the empty drive has none");
    for length in [1, 2, 5] {
        let mut info: ChangeInfo = info();
        info.feeds[0].length = length;
        version = feed.commit_with(&version, &[put("blob", &folder())], info).version;
        assert_eq!(version.change.feed(1).unwrap().length, length);
    }
    let second = done(version.find(&feed, 2)).unwrap();
    assert_eq!(second.change.feed(1).unwrap().length, 2);
}

#[test]
fn there_is_no_later_version_than_the_latest_and_the_first_is_empty() {
    let feed = Feed::new();
    let version = commit(&feed, &feed.empty(), &[put("a", &folder())]);
    assert_eq!(done(version.find(&feed, 2)), None);
    let first = done(version.find(&feed, 0)).unwrap();
    assert_eq!((first.position, names(&feed, &first, "").len()), (BlockIndex(0), 0));
}
