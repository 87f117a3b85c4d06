//! Tags: random histories against a map, what a change of tags leaves alone, and indexes that mean harm.

use std::collections::BTreeMap;
use std::convert::Infallible;

use datnode_drive::{
    ChangeInfo, CommitError, Damage, FILES, Mtime, Op, ReadError, Step, TAGS, Tag, TagDifference,
    TagName, TagOp, Version, commit,
};
use datnode_feed::{BlockIndex, Hash, codec::Writer};

use crate::common::{Feed, Random, done, folder, path};
use crate::hostile::{at, node};

type Tags = BTreeMap<TagName, Tag>;

fn name(text: &str) -> TagName {
    TagName::from_bytes(text.as_bytes()).unwrap()
}

fn tagged(feed: &Feed, base: &Version, tags: Vec<TagOp>) -> Version {
    feed.commit_with(base, &[], ChangeInfo { tags, ..ChangeInfo::default() }).version
}

fn set(text: &str, version: &Version) -> TagOp {
    TagOp::Set(name(text), Tag::of(version))
}

/// Lists all tags, a page at a time.
fn list(feed: &Feed, version: &Version) -> Vec<(TagName, Tag)> {
    let mut all: Vec<(TagName, Tag)> = Vec::new();
    loop {
        let page = done(version.tags(feed, all.last().map(|(name, _)| name), 100));
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

/// Compares the tags of two versions, a page at a time.
fn changed(feed: &Feed, old: &Version, new: &Version) -> Vec<TagDifference> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = done(old.tags_changed(new, feed, after.as_ref(), 10));
        all.extend(page.differences);
        match page.next {
            Some(next) => after = Some(next),
            None => return all,
        }
    }
}

fn difference(name: &TagName, old: &Tags, new: &Tags) -> Option<TagDifference> {
    let [old, new] = [old, new].map(|tags| tags.get(name).copied());
    (old != new).then(|| TagDifference { name: name.clone(), old, new })
}

#[test]
fn random_histories_hold_the_tags_that_a_map_holds() {
    let mut random = Random(7);
    let feed = Feed::new();
    let mut versions = vec![(feed.empty(), Tags::new())];
    for round in 0..40 {
        let (base, mut tags) = versions.last().unwrap().clone();
        let mut ops = BTreeMap::new();
        let count = if round % 10 == 3 { 300 } else { 1 + random.below(5) };
        for _ in 0..count {
            let name = name(&format!("tag-{:03}", random.below(700)));
            let (of, _) = &versions[usize::try_from(random.below(versions.len() as u64)).unwrap()];
            let op = match random.below(4) {
                0 => TagOp::Delete(name.clone()),
                _ => TagOp::Set(name.clone(), Tag::of(of)),
            };
            ops.insert(name, op);
        }
        for (name, op) in &ops {
            match op {
                TagOp::Set(_, tag) => tags.insert(name.clone(), *tag),
                TagOp::Delete(_) => tags.remove(name),
            };
        }
        // Files and tags go together, and neither minds the other.
        let file = [Op::Put(path(&format!("{}", random.below(50))), folder())];
        let info = ChangeInfo {
            tags: ops.into_values().collect(),
            time: Mtime { seconds: round, nanos: 0 },
            ..ChangeInfo::default()
        };
        let version = feed.commit_with(&base, &file, info).version;
        versions.push((version, tags));
    }
    assert!(versions.iter().any(|(_, tags)| tags.len() > 400), "the index has several nodes");
    for (version, tags) in &versions {
        let expected: Vec<_> = tags.iter().map(|(name, tag)| (name.clone(), *tag)).collect();
        assert_eq!(list(&feed, version), expected);
        for number in (0..700).step_by(37) {
            let name = name(&format!("tag-{number:03}"));
            assert_eq!(done(version.tag(&feed, &name)), tags.get(&name).copied());
        }
        for tag in tags.values().step_by(50) {
            assert_eq!(done(version.tagged(&feed, tag)).id, tag.version);
        }
    }
    for pair in versions.windows(2).chain([&[versions[3].clone(), versions[40].clone()][..]]) {
        let [(old, before), (new, after)] = pair else { unreachable!("there are two") };
        for (from, to, was, is) in [(old, new, before, after), (new, old, after, before)] {
            let mut names: Vec<_> = was.keys().chain(is.keys()).collect();
            names.sort();
            names.dedup();
            let expected: Vec<_> =
                names.iter().filter_map(|name| difference(name, was, is)).collect();
            assert_eq!(changed(&feed, from, to), expected);
        }
    }
}

#[test]
fn a_change_of_tags_leaves_the_files_alone_and_one_of_files_the_tags() {
    let feed = Feed::new();
    let first = feed.commit(&feed.empty(), &[Op::Put(path("a"), folder())]).version;
    assert_eq!(first.change.root(TAGS), None, "no tags cost nothing");
    let second = tagged(&feed, &first, vec![set("v1", &first)]);
    assert_eq!(second.number, 2);
    assert_eq!(second.change.root(FILES), first.change.root(FILES));
    let counts = datnode_drive::Counts { put: 0, deleted: 0, ..first.change.counts };
    assert_eq!((second.change.counts, second.change.ops.as_deref()), (counts, Some(&[][..])));
    let third = feed.commit(&second, &[Op::Put(path("b"), folder())]).version;
    assert_eq!(done(third.tag(&feed, &name("v1"))), Some(Tag::of(&first)));
    assert_eq!(changed(&feed, &second, &third), []);
    // What is so already makes no change.
    assert_eq!(tagged(&feed, &third, vec![set("v1", &first)]), third);
    assert_eq!(tagged(&feed, &third, vec![TagOp::Delete(name("v2"))]), third);
    let fourth = tagged(&feed, &third, vec![TagOp::Delete(name("v1"))]);
    assert_eq!((fourth.number, fourth.change.root(TAGS)), (4, None));
    assert_eq!(list(&feed, &fourth), []);
    assert_eq!(list(&feed, &third), [(name("v1"), Tag::of(&first))], "what was is readable");
}

#[test]
fn batches_of_tags_that_are_wrong_are_refused() {
    let feed = Feed::new();
    let first = feed.commit(&feed.empty(), &[Op::Put(path("a"), folder())]).version;
    let mut append = |block: &[u8]| Ok::<_, Infallible>(feed.push(block));
    let mut make = |base: &Version, tags: Vec<TagOp>| {
        commit(base, &feed, &[], ChangeInfo { tags, ..ChangeInfo::default() }, &mut append)
    };
    let [a, b] = ["x", "y"].map(|name| set(name, &first));
    for tags in [vec![b, a.clone()], vec![a.clone(), a.clone()]] {
        assert!(matches!(make(&first, tags), Err(CommitError::UnsortedTags(_))));
    }
    assert!(matches!(make(&feed.empty(), vec![a]), Err(CommitError::TagAhead(_))));
    assert_eq!(feed.len(), 2, "nothing was appended");
}

#[test]
fn the_nodes_of_tags_are_needed_and_asked_for() {
    let feed = Feed::new();
    let base = feed.commit(&feed.empty(), &[Op::Put(path("a"), folder())]).version;
    let before = feed.len();
    let ops = (0..1_000).map(|number| set(&format!("tag-{number:04}"), &base)).collect();
    let version = tagged(&feed, &base, ops);
    let needed = done(version.needed(&feed));
    let nodes: Vec<u64> = (before..version.position.0).collect();
    assert!(nodes.len() > 1, "there is more than the root");
    assert!(nodes.iter().all(|node| needed.iter().any(|at| at.block.0 == *node)));
    assert_eq!(done(version.needed_beyond(&feed, &base)).len(), nodes.len() + 1);
    feed.hidden.borrow_mut().extend(nodes.clone());
    let missing: Vec<Vec<u64>> = [
        version.needed(&feed).map(|step| step.map(drop)),
        version.tags(&feed, None, 10_000).map(|step| step.map(drop)),
        base.tags_changed(&version, &feed, None, 10_000).map(|step| step.map(drop)),
        version.tag(&feed, &name("tag-0500")).map(|step| step.map(drop)),
    ]
    .map(|step| match step.unwrap() {
        Step::Need(blocks) => blocks.into_iter().map(|at| at.block.0).collect(),
        Step::Done(()) => panic!("nothing is here"),
    })
    .into();
    assert_eq!(missing[..3], [nodes.clone(), nodes.clone(), nodes.clone()], "all at once");
    assert_eq!(missing[3].len(), 1, "a lookup reads one way down");
}

/// A location of a tag: slot, position, number, time.
fn location(slot: u64, position: u64, number: u64) -> Vec<u8> {
    let mut out = Writer::new();
    out.varint(slot).varint(position).varint(number).varint(0).varint(0);
    let mut bytes = Writer::new();
    bytes.bytes(&out.into_vec());
    bytes.into_vec()
}

/// Returns what reading the tags of a change says whose only one is this.
fn damage(key: &[u8], identity: &[u8], location: &[u8]) -> Option<Damage> {
    let feed = Feed::new();
    let (root, _) = node(0, 1, &[(0, key, identity)], &[location]);
    let mut change = Writer::new();
    change.u8(0x82).varint(1).varint(1).varint(0).varint(0).hash(&Hash([0; 32])).varint(0);
    change.varint(1).bytes(b"tags").bytes(&root).u8(0);
    for _ in 0..6 {
        change.varint(0);
    }
    change.varint(0).varint(0).bytes(b"").varint(0);
    let version = done(Version::open(&feed, feed.push(&change.into_vec())));
    let page = version.tags(&feed, None, 10);
    let looked = match TagName::from_bytes(key) {
        Ok(name) => version.tag(&feed, &name).map(|_| ()),
        Err(_) => Ok(()),
    };
    let of = |error| match error {
        ReadError::Damaged { damage, .. } => damage,
        other => panic!("{other:?}"),
    };
    let found = page.map_err(of).err();
    assert!(looked.map_err(of).is_ok() || found.is_some(), "a lookup refuses no more than a list");
    found
}

#[test]
fn indexes_of_tags_that_mean_harm_are_refused() {
    let id = Hash::of(b"").0;
    assert_eq!(damage(b"v1", &id, &location(0, 0, 0)), None);
    for key in [&b"a/b"[..], b"1042", b"latest", b"-d", b"v1\xff", &[b'x'; 129]] {
        let found = damage(key, &id, &location(0, 0, 0));
        assert!(matches!(found, Some(Damage::BadTag(_))), "{key:?}: {found:?}");
    }
    assert_eq!(damage(b"v1", &id[1..], &location(0, 0, 0)), Some(Damage::WrongIdentity));
    assert_eq!(damage(b"v1", &id, &location(0, 1, 1)), Some(Damage::Forward));
    assert_eq!(damage(b"v1", &id, &location(1, 0, 0)), Some(Damage::Foreign));
    let elsewhere = [&[0][..], &at(0)].concat();
    assert!(matches!(damage(b"v1", &id, &elsewhere), Some(Damage::Malformed(_))));
    let longer = [&[6][..], &location(0, 0, 0)[1..], &[0]].concat();
    assert!(matches!(damage(b"v1", &id, &longer), Some(Damage::Malformed(_))));
}

#[test]
fn a_tag_that_does_not_say_what_its_version_is_opens_nothing() {
    let feed = Feed::new();
    let first = feed.commit(&feed.empty(), &[Op::Put(path("a"), folder())]).version;
    let right = Tag::of(&first);
    for wrong in [
        Tag { version: Hash([9; 32]), ..right },
        Tag { number: 2, ..right },
        Tag { position: BlockIndex(0), ..right },
        Tag { time: Mtime { seconds: 1, nanos: 0 }, ..right },
    ] {
        let second = tagged(&feed, &first, vec![TagOp::Set(name("v1"), wrong)]);
        let tag = done(second.tag(&feed, &name("v1"))).unwrap();
        let refused = second.tagged(&feed, &tag).unwrap_err();
        assert!(matches!(refused, ReadError::Damaged { damage: Damage::WrongIdentity, .. }));
    }
}
