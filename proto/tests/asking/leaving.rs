//! A feed that is left: nothing is asked or said of it any more, and those who know of it are named.

use datnode_feed::{Bitfield, SecretKey};
use datnode_proto::{Class, Done, FeedId, PeerId, Replica, Target, Want};

use crate::reader::{FEED, Reader, key};

const A: PeerId = PeerId(0);
const B: PeerId = PeerId(1);
const OTHER: FeedId = FeedId(1);

fn other() -> Replica {
    let key = SecretKey::from_bytes([2; 32]).public();
    Replica { key, class: Class::Content, head: None, have: Bitfield::new(), accusation: None }
}

#[test]
fn a_feed_that_is_left_is_nobodys_any_more() {
    let mut reader = Reader::new(2);
    reader.replicator.add_feed(OTHER, other());
    let want = reader.select(Want::new(Target::All));
    assert!(!reader.blocks_asked(A).is_empty() && reader.replicator.is_open_with(A, &key()));
    // A job that is under way when the feed is left ends in nothing.
    let (request, block) = reader.owed(B).remove(0);
    reader.send(B, request, block, Ok(0));
    assert_eq!(reader.replicator.remove_feed(FEED), [A, B]);
    assert!(
        reader.replicator.progress(want).is_none() && reader.replicator.in_reach(FEED).is_none()
    );
    assert!(!reader.replicator.is_open_with(A, &key()));
    assert!(reader.replicator.poll_job().is_none());
    assert!(reader.blocks_asked(A).is_empty() && reader.blocks_asked(B).is_empty());
    let proved = Done::Proved { peer: A, feed: FEED, proof: None };
    reader.replicator.handle_done(reader.now, proved);
    reader.replicator.unwant(want);
    assert_eq!(reader.fault(), None);
    // It can be had again, under another name.
    let again = FeedId(2);
    reader.replicator.add_feed(again, Replica { key: key(), ..other() });
    assert!(reader.replicator.in_reach(again).is_none());
}

#[test]
fn who_was_never_told_of_a_feed_need_not_be_told_that_it_is_left() {
    let mut reader = Reader::new(2);
    reader.replicator.add_feed(OTHER, other());
    // The first peer is told of it, the second is not asked what to send meanwhile.
    reader.asks(A);
    assert_eq!(reader.replicator.remove_feed(OTHER), [A]);
    assert!(reader.replicator.is_open_with(A, &key()), "the other feed is as it was");
    assert_eq!(reader.fault(), None);
}
