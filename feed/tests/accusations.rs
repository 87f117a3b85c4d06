//! Two histories under one key: shown to anybody, believed by nobody without proof.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::{Memory, empty, fetch, follow, grow, key, writer};
use datnode_feed::{
    Accusation, AccusationError, Ancestor, Comparison, FeedSlot, Hash, Head, MemoryStorage,
    SecretKey, SignedHead, Store, StoreError, VerifyError,
};

/// Two stores that agree on the first `shared` blocks, and then go on on their own.
fn fork(shared: u64, left: u64, right: u64) -> (Memory, Memory, FeedSlot) {
    let (one, feed) = writer(1, shared);
    let mut copy = Store::open(one.storage().clone()).unwrap();
    let mut one = one;
    if left > shared {
        grow(&mut one, feed, 2, left);
    }
    if right > shared {
        grow(&mut copy, feed, 3, right);
    }
    (one, copy, feed)
}

/// What the longer of two stores says of the head of the shorter one.
fn accusation(longer: &Memory, shorter: &Memory, feed: FeedSlot) -> Accusation {
    match longer.compare(feed, shorter.head(feed).unwrap()).unwrap() {
        Comparison::Contradict(found) => *found,
        other => panic!("{other:?}"),
    }
}

#[test]
fn heads_that_contradict_each_other_are_shown_and_others_are_not() {
    for shared in 0..6_u64 {
        for (left, right) in [(shared, shared), (shared, 9), (shared + 1, shared + 1), (8, 11)] {
            let (one, other, feed) = fork(shared, left, right);
            let contradict = left > shared && right > shared;
            let pair = if left <= right { (&other, &one) } else { (&one, &other) };
            let (Some(_), Some(head)) = (pair.0.head(feed), pair.1.head(feed)) else { continue };
            let found = pair.0.compare(feed, head).unwrap();
            let agree = found == Comparison::Agree;
            assert_ne!(agree, contradict, "{shared} {left} {right}: {found:?}");
            if let Comparison::Contradict(found) = found {
                assert_eq!(found.verify(&key().public()), Ok(()));
                assert_eq!(Accusation::decode(&found.encode()), Ok(*found.clone()));
                assert!(found.encode().len() <= datnode_feed::ACCUSATION_BYTES_MAX);
            }
        }
    }
}

#[test]
fn no_forged_accusation_passes() {
    let (one, other, feed) = fork(5, 9, 21);
    let good = accusation(&other, &one, feed);
    let forged = |change: &dyn Fn(&mut Accusation)| {
        let mut bad = good.clone();
        change(&mut bad);
        bad.verify(&key().public())
    };
    assert_eq!(forged(&|_| ()), Ok(()));
    let swap = forged(&|bad| core::mem::swap(&mut bad.shorter, &mut bad.longer));
    assert_eq!(swap, Err(AccusationError::Incomparable));
    assert_eq!(forged(&|bad| bad.shorter.signature[3] ^= 1), Err(AccusationError::Signature));
    assert_eq!(
        forged(&|bad| bad.longer.head.root = Hash([1; 32])),
        Err(AccusationError::Signature)
    );
    for index in 0..good.peaks.len() {
        assert_eq!(forged(&|bad| bad.peaks[index].size += 1), Err(AccusationError::Nodes));
    }
    for index in 0..good.nodes.len() {
        assert_eq!(
            forged(&|bad| bad.nodes[index].hash = Hash([2; 32])),
            Err(AccusationError::Nodes)
        );
    }
    assert_eq!(forged(&|bad| bad.nodes.truncate(bad.nodes.len() - 1)), Err(AccusationError::Nodes));
    assert_eq!(forged(&|bad| bad.peaks.truncate(bad.peaks.len() - 1)), Err(AccusationError::Nodes));
    // A head of the same history: there is nothing to accuse.
    let (early, _) = writer(1, 4);
    let mut grown = Store::open(early.storage().clone()).unwrap();
    grow(&mut grown, feed, 1, 7);
    let lie = datnode_feed::Head { root: Hash([9; 32]), ..early.head(feed).unwrap().head };
    let lie = SignedHead::sign(lie, &key());
    let Comparison::Contradict(mut agreed) = grown.compare(feed, &lie).unwrap() else { panic!() };
    agreed.shorter = *early.head(feed).unwrap();
    assert_eq!(agreed.verify(&key().public()), Err(AccusationError::Agree));
    let other_key = SecretKey::from_bytes([9; 32]).public();
    assert_eq!(good.verify(&other_key), Err(AccusationError::Signature));
    let bytes = good.encode();
    for end in 0..bytes.len() {
        assert!(Accusation::decode(&bytes[..end]).is_err());
    }
}

#[test]
fn an_accused_feed_stays_as_it_is_and_readable() {
    let (one, mut other, feed) = fork(5, 9, 21);
    let found = accusation(&other, &one, feed);
    let (mut reader, _) = empty();
    let (early, _) = writer(1, 5);
    follow(&early, &mut reader, feed);
    assert!(reader.accuse(feed, &found).unwrap());
    assert!(!reader.accuse(feed, &found).unwrap());
    reader.commit().unwrap();
    let mut reader = Store::open(reader.into_storage()).unwrap();
    assert_eq!(reader.accusation(feed), Some(&found));
    let longer = other.prove_upgrade(feed, 5).unwrap().unwrap();
    assert!(matches!(reader.upgrade(feed, &longer), Err(VerifyError::Accused)));
    let mut early = early;
    fetch(&mut early, &mut reader, feed, 3);
    assert!(reader.read(feed, datnode_feed::BlockIndex(3)).unwrap().is_some());
    assert!(matches!(reader.append(feed, b"x"), Err(StoreError::Accused)));
    let mut bad = found;
    bad.longer.signature[0] ^= 1;
    let error = empty().0.accuse(feed, &bad).unwrap_err();
    assert!(error.is_peers_fault());
    // The writer itself goes on no more than anybody else.
    let shown = one.compare(feed, other.head(feed).unwrap()).unwrap();
    assert_eq!(shown, Comparison::Unknown, "a longer head is not compared");
    let again = accusation(&other, &one, feed);
    assert!(other.accuse(feed, &again).unwrap());
    assert!(matches!(other.sign(feed, &key()), Err(StoreError::Accused)));
}

#[test]
fn a_writer_does_not_follow_a_longer_head_but_notes_it() {
    let (long, feed) = writer(1, 9);
    let (mut old, _) = writer(1, 4);
    old.own(feed);
    let proof = long.prove_upgrade(feed, 4).unwrap().unwrap();
    let error = old.upgrade(feed, &proof).unwrap_err();
    assert!(matches!(error, VerifyError::Behind { ours: 4, theirs: 9 }) && !error.is_peers_fault());
    assert_eq!((old.length(feed), old.behind(feed)), (4, Some(9)));
    assert!(matches!(old.append(feed, b"x"), Err(StoreError::Behind { ours: 4, theirs: 9 })));
    assert!(matches!(old.sign(feed, &key()), Err(StoreError::Behind { .. })));
    // Whatever is given up, it stays behind.
    old.rollback(feed).unwrap();
    assert_eq!(old.behind(feed), Some(9));
    assert!(matches!(old.append(feed, b"x"), Err(StoreError::Behind { ours: 4, theirs: 9 })));
    // Opened to recover, it takes its own blocks back, and goes on.
    let mut old: Store<MemoryStorage> = Store::open(old.into_storage()).unwrap();
    let mut long = long;
    old.upgrade(feed, &proof).unwrap();
    (4..9).for_each(|index| fetch(&mut long, &mut old, feed, index));
    old.own(feed);
    grow(&mut old, feed, 1, 12);
    assert_eq!(old.prove_upgrade(feed, 9).unwrap().unwrap().from, 9);
}

#[test]
fn a_head_that_nobody_signed_is_refused_whatever_it_says() {
    let (store, feed) = writer(1, 9);
    let ours = *store.head(feed).unwrap();
    let ancestor = Some(Ancestor { fork: 0, length: 4, root: Hash([1; 32]) });
    let heads = [
        Head { root: Hash([1; 32]), ..ours.head },
        Head { length: 4, ..ours.head },
        Head { length: 20, ..ours.head },
        Head { fork: 1, ancestor, ..ours.head },
    ];
    for head in heads {
        let forged = SignedHead { head, ..ours };
        assert!(matches!(store.compare(feed, &forged), Err(VerifyError::Signature)), "{head:?}");
        let signed = SignedHead::sign(head, &key());
        assert!(store.compare(feed, &signed).is_ok(), "{head:?}");
    }
}
