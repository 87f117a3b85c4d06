//! One key, one history: what was never signed leaves no trace, and a head never goes back.

mod common;

use common::{block, empty, fetch, follow, grow, key, writer};
use datnode_feed::{BlockIndex, Store, UpgradeProof, VerifyError};

#[test]
fn what_was_appended_and_never_signed_is_gone_after_reopening() {
    // The same key on a second device, and on this one appends that were committed and never signed.
    let (mut other, feed) = writer(1, 3);
    let (mut store, _) = writer(1, 3);
    for index in 3..9 {
        store.append(feed, &block(2, index)).unwrap();
    }
    store.commit().unwrap();
    let mut store = Store::open(store.into_storage()).unwrap();
    assert_eq!(store.appended(feed).0, 3);
    for index in 3..12 {
        assert_eq!(store.leaf(feed, BlockIndex(index)).unwrap(), None, "leaf {index}");
    }
    grow(&mut other, feed, 1, 12);
    follow(&other, &mut store, feed);
    store.commit().unwrap();
    let mut store = Store::open(store.into_storage()).unwrap();
    assert_eq!(
        (store.have(feed).len(), store.have(feed).count()),
        (3, 3),
        "nothing else was verified"
    );
    for index in 3..12 {
        fetch(&mut other, &mut store, feed, index);
    }
    assert_eq!(store.check(feed, true, &mut |_| {}).unwrap().bad, 0);
}

#[test]
fn a_rollback_takes_back_what_was_committed_and_not_signed() {
    let (mut other, feed) = writer(1, 3);
    let (mut store, _) = writer(1, 3);
    for index in 3..9 {
        store.append(feed, &block(2, index)).unwrap();
    }
    store.commit().unwrap();
    store.rollback(feed).unwrap();
    grow(&mut other, feed, 1, 12);
    follow(&other, &mut store, feed);
    for index in [8, 3, 11, 5] {
        fetch(&mut other, &mut store, feed, index);
    }
    store.commit().unwrap();
    let mut store = Store::open(store.into_storage()).unwrap();
    assert_eq!(store.have(feed).iter_ones(0..12).collect::<Vec<_>>(), [0, 1, 2, 3, 5, 8, 11]);
    assert_eq!(store.check(feed, true, &mut |_| {}).unwrap().bad, 0);
}

#[test]
fn a_longer_head_from_elsewhere_stops_a_writer() {
    for signed in [false, true] {
        let (mut other, feed) = writer(1, 3);
        let (mut store, _) = writer(1, 3);
        store.append(feed, b"another history").unwrap();
        if signed {
            store.sign(feed, &key()).unwrap();
        }
        grow(&mut other, feed, 1, 7);
        let proof = other.prove_upgrade(feed, 3).unwrap().unwrap();
        let upgraded = store.upgrade(feed, &proof);
        assert!(!matches!(&upgraded, Err(error) if error.is_peers_fault()), "{upgraded:?}");
        let ours = store.sign(feed, &key()).map(|head| head.head.length);
        assert!(!matches!(ours, Ok(4)), "this store is older than what others hold");
        let _ = store.commit();
        let head = store.head(feed).copied().unwrap();
        assert!(head == *other.head(feed).unwrap() || head.head.length == 3, "{head:?}");
        let store = Store::open(store.into_storage()).unwrap();
        assert!(store.have(feed).all(0..3) && !store.have(feed).any(3..9));
    }
}

#[test]
fn a_head_never_goes_back_to_a_lower_fork() {
    use datnode_feed::{Ancestor, Head, SignedHead, UpgradeProof, root};
    let (mut source, feed) = writer(1, 3);
    let (mut reader, _) = empty();
    let ancestor = Ancestor { fork: 0, length: 0, root: root([]) };
    let forked =
        |head: Head| SignedHead::sign(Head { fork: 1, ancestor: Some(ancestor), ..head }, &key());
    let mut proof = source.prove_upgrade(feed, 0).unwrap().unwrap();
    proof.head = forked(proof.head.head);
    reader.upgrade(feed, &proof).unwrap();
    grow(&mut source, feed, 1, 5);
    let lower: UpgradeProof = source.prove_upgrade(feed, 3).unwrap().unwrap();
    let error = reader.upgrade(feed, &lower);
    assert!(error.as_ref().is_err_and(|error| !error.is_peers_fault()), "{error:?}");
    assert!(!matches!(error, Err(VerifyError::Store(_))));
    assert_eq!(reader.head(feed).unwrap().head.fork, 1);
}

#[test]
fn no_earlier_head_takes_a_later_one_back_whenever_it_comes() {
    const LENGTH: u64 = 12;
    let ((mut source, feed), (mut store, _)) = (empty(), empty());
    let mut said: Vec<UpgradeProof> = Vec::new();
    for length in 1..=LENGTH {
        grow(&mut source, feed, 1, length);
        follow(&source, &mut store, feed);
        fetch(&mut source, &mut store, feed, length - 1);
        store.commit().unwrap();
        let ours = *store.head(feed).unwrap();
        assert_eq!(ours.head.length, length);
        said.extend((0..length).map(|from| source.prove_upgrade(feed, from).unwrap().unwrap()));
        // Each as it was said, and as if it went on from where we are.
        let again = said
            .iter()
            .flat_map(|proof| [proof.clone(), UpgradeProof { from: length, ..proof.clone() }]);
        for proof in again {
            let upgraded = store.upgrade(feed, &proof);
            let stays = upgraded.as_ref().is_ok_and(|to| (to.from, to.to) == (length, length));
            assert!(stays, "{} at {length}: {upgraded:?}", proof.head.head.length);
            assert_eq!(store.head(feed), Some(&ours));
        }
        store.commit().unwrap();
        store = Store::open(store.into_storage()).unwrap();
        assert_eq!(store.head(feed), Some(&ours));
        assert!(store.have(feed).all(0..length));
    }
}
