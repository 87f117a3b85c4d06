//! A whole drive, made of any blocks, read in every way.

use core::cell::{Cell, RefCell};
use core::convert::Infallible;

use alloc::borrow::Cow;
use alloc::vec::Vec;

use datnode_feed::BlockIndex;
use datnode_feed::codec::Reader;

use super::sample::List;
use crate::blocks::Blocks;
use crate::error::{Location, Step};
use crate::header::Header;
use crate::limits::{DIFF_NODES_MAX, NEED_BLOCKS_MAX};
use crate::path::{DrivePath, Key};
use crate::tag_name::TagName;
use crate::version::Version;

/// Blocks that are counted, so that no answer costs without bound.
struct Counted {
    list: List,
    reads: Cell<usize>,
}

impl Blocks for Counted {
    type Error = Infallible;

    fn block(&self, at: Location) -> Result<Option<Cow<'_, [u8]>>, Infallible> {
        self.reads.set(self.reads.get() + 1);
        self.list.block(at)
    }
}

/// The blocks of a changes feed, `bytes*`; the last is the newest. Every way to read it ends, and tells no name twice.
pub fn drive(input: &[u8]) -> bool {
    let mut reader = Reader::new(input);
    let mut blocks: Vec<Vec<u8>> = Vec::new();
    while let Ok(block) = reader.bytes(1 << 20) {
        blocks.push(block.to_vec());
    }
    let Some(last) = (blocks.len() as u64).checked_sub(1) else { return false };
    let feed = Counted { list: List(RefCell::new(blocks)), reads: Cell::new(0) };
    let _ = Header::read(&feed);
    let Ok(Step::Done(version)) = Version::open(&feed, BlockIndex(last)) else { return false };
    let names = walk(&feed, &version);
    compare(&feed, &version);
    tags(&feed, &version);
    let is_whole = look(&feed, &version, &names);
    is_whole && !names.is_empty()
}

/// Walks in pages; what is told comes in order, and a page reads few blocks for a name.
fn walk(feed: &Counted, version: &Version) -> Vec<DrivePath> {
    const PAGE: usize = 7;
    let mut names: Vec<DrivePath> = Vec::new();
    let mut after: Option<Key> = None;
    loop {
        feed.reads.set(0);
        let page = version.walk(feed, after.as_ref(), PAGE);
        // Each name, and the one that ends the page, lies below one path of nodes, and may be spilled.
        assert!(feed.reads.get() <= 33 * (PAGE + 2) + NEED_BLOCKS_MAX, "a page is bounded");
        let Ok(Step::Done(page)) = page else { return names };
        if page.is_empty() {
            return names;
        }
        for (path, _) in page {
            let key = path.key();
            assert!(after.is_none_or(|after| after < key), "a walk ascends");
            after = Some(key);
            names.push(path);
        }
    }
}

/// Compares with an earlier version, both ways; what is told comes in order, and a page opens few nodes.
fn compare(feed: &Counted, version: &Version) {
    const PAGE: usize = 7;
    let Ok(Step::Done(Some(earlier))) = version.find(feed, version.number / 2) else { return };
    for (old, new) in [(&earlier, version), (version, &earlier)] {
        let mut after: Option<Key> = None;
        loop {
            feed.reads.set(0);
            let page = old.diff(new, feed, after.as_ref(), PAGE);
            let entries = 2 * (PAGE + NEED_BLOCKS_MAX);
            assert!(feed.reads.get() <= DIFF_NODES_MAX + 1 + entries, "a page is bounded");
            let Ok(Step::Done(page)) = page else { break };
            let keys = page.differences.iter().map(|difference| difference.path.key());
            let keys: Vec<Key> = after.clone().into_iter().chain(keys).collect();
            assert!(keys.is_sorted_by(|one, next| one < next), "a comparison ascends");
            assert!(page.next.is_none() || page.next > after, "a page goes on");
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
}

/// Lists the tags in pages, opens what they name, and compares them with those of an earlier version.
fn tags(feed: &Counted, version: &Version) {
    const PAGE: usize = 3;
    let mut after: Option<TagName> = None;
    loop {
        feed.reads.set(0);
        let page = version.tags(feed, after.as_ref(), PAGE);
        assert!(feed.reads.get() <= 33 * (PAGE + 2) + NEED_BLOCKS_MAX, "a page is bounded");
        let Ok(Step::Done(page)) = page else { break };
        if page.is_empty() {
            break;
        }
        for (name, tag) in page {
            assert!(after.as_ref().is_none_or(|after| *after < name), "a list ascends");
            assert!(tag.position < version.position, "a tag names an earlier version");
            if let Ok(Step::Done(tagged)) = version.tagged(feed, &tag) {
                assert!((tagged.id, tagged.number) == (tag.version, tag.number));
            }
            after = Some(name);
        }
    }
    let Ok(Step::Done(Some(earlier))) = version.find(feed, version.number / 2) else { return };
    let Ok(Step::Done(page)) = earlier.tags_changed(version, feed, None, PAGE) else { return };
    let names = page.differences.iter().map(|difference| &difference.name);
    assert!(names.is_sorted_by(|one, next| one < next), "a comparison ascends");
}

/// Reads everything else, each node and change once at most; tells whether all of it was sound.
fn look(feed: &Counted, version: &Version, names: &[DrivePath]) -> bool {
    const PAGE: usize = 1_000;
    let blocks = feed.list.0.borrow().len();
    // Each name that is told may be spilled, and several to one block.
    let once = |names: usize, is_sound: bool| {
        assert!(feed.reads.replace(0) <= blocks + names, "nothing is read twice");
        is_sound
    };
    feed.reads.set(0);
    let mut is_sound = once(0, matches!(version.needed(feed), Ok(Step::Done(_))));
    is_sound &= once(0, matches!(version.history(feed), Ok(Step::Done(_))));
    is_sound &= once(0, matches!(version.previous(feed), Ok(Step::Done(_))));
    let root = DrivePath::root();
    is_sound &= once(PAGE, matches!(version.list(feed, &root, None, PAGE), Ok(Step::Done(_))));
    for number in (0..version.number.min(20)).chain([version.number / 2]) {
        is_sound &= once(0, matches!(version.find(feed, number), Ok(Step::Done(Some(_)))));
    }
    for path in names.iter().step_by(5).take(20) {
        is_sound &= once(1, matches!(version.entry(feed, path), Ok(Step::Done(Some(_)))));
        if let Some(folder) = path.parent() {
            is_sound &= once(3, version.list(feed, &folder, path.base(), 3).is_ok());
        }
    }
    is_sound
}
