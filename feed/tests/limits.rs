//! The limits of feeds and stores: what is at them passes, and what is one beyond does not.

mod common;

use common::{empty, key, writer};
use datnode_feed::limits::{
    BYTE_LENGTH_END, DATA_ALIGNED, DATA_PIECE_BYTES, FEEDS_MAX, HELD_END, LENGTH_END,
    PATH_BYTES_MAX, RECORD_BYTES_MAX, RENAMES_MAX,
};
use datnode_feed::{
    ACCUSATION_BYTES_MAX, Accusation, BlockIndex, BlockProof, FileId, Hash, Head, HeadError,
    InPlace, LEVELS_MAX, MemoryStorage, Node, SecretKey, SignedHead, Storage, Store, StoreError,
    UPGRADE_NODES_MAX, UpgradeProof, VerifyError, leaf, levels, parent, peaks, root, upgrade_nodes,
};

fn head(length: u64, byte_length: u64) -> Head {
    Head { fork: 0, length, byte_length, root: Hash([1; 32]), ancestor: None }
}

#[test]
fn heads_are_below_the_ends() {
    for (head, valid) in [
        (head(LENGTH_END - 1, BYTE_LENGTH_END - 1), true),
        (head(LENGTH_END, 0), false),
        (head(0, BYTE_LENGTH_END), false),
    ] {
        assert_eq!(head.validate(), if valid { Ok(()) } else { Err(HeadError::TooLong) });
        let bytes = SignedHead { head, signature: [0; 64] }.encode();
        assert_eq!(SignedHead::decode(&bytes).is_ok(), valid, "{head:?}");
    }
}

#[test]
fn proofs_of_the_longest_feed_have_as_many_nodes_as_may_be() {
    let longest = LENGTH_END - 1;
    let most = (0..256).map(|block| levels(BlockIndex(block), longest, |_| false)).max().flatten();
    assert_eq!(most, Some(LEVELS_MAX as u32 - 1));
    let half = upgrade_nodes(1, longest).count();
    assert!(half > LEVELS_MAX && half <= UPGRADE_NODES_MAX, "{half}");
    // As many peaks as can be, and as many nodes: it stays below its limit, with longer heads as well.
    let node = Node { hash: Hash([1; 32]), size: 1 };
    let shorter = SignedHead { head: head(longest >> 1, 1), signature: [0; 64] };
    let longer = SignedHead { head: head(longest, 1), signature: [0; 64] };
    let nodes = |count: usize| vec![node; count];
    let accusation = Accusation {
        shorter,
        longer,
        peaks: nodes(peaks(longest >> 1).count()),
        nodes: nodes(upgrade_nodes(longest >> 1, longest).count()),
    };
    let bytes = accusation.encode();
    assert!(bytes.len() <= ACCUSATION_BYTES_MAX);
    assert_eq!(Accusation::decode(&bytes), Ok(accusation));
}

#[test]
fn a_proof_goes_no_higher_than_the_peak() {
    let (store, feed) = writer(1, 8);
    let mut proof = store.prove(feed, BlockIndex(5), 3).unwrap().unwrap();
    assert!(store.verify(feed, &proof, None).is_ok());
    proof.siblings.push(proof.siblings[0]);
    assert!(store.verify(feed, &proof, None).is_err());
    let siblings = vec![proof.leaf; LEVELS_MAX + 1];
    assert!(store.verify(feed, &BlockProof { siblings, ..proof }, None).is_err());
}

#[test]
fn a_store_has_so_many_feeds() {
    let mut store = Store::open(MemoryStorage::new()).unwrap();
    let key = |number: usize| {
        let mut seed = [9; 32];
        seed[..8].copy_from_slice(&number.to_le_bytes());
        SecretKey::from_bytes(seed).public()
    };
    for number in 0..FEEDS_MAX {
        store.add_feed(key(number)).unwrap();
    }
    assert!(matches!(store.add_feed(key(FEEDS_MAX)), Err(StoreError::TooMany("feeds"))));
    assert!(store.add_feed(key(5)).is_ok(), "one that is there is found");
    store.commit().unwrap();
    let store = Store::open(store.into_storage()).unwrap();
    assert_eq!(store.feeds().count(), FEEDS_MAX);
}

#[test]
fn a_path_has_so_many_bytes() {
    let (mut store, feed) = empty();
    for (len, fits) in [(PATH_BYTES_MAX, true), (PATH_BYTES_MAX + 1, false)] {
        let path = vec![b'x'; len];
        let appended =
            store.append_in_place(feed, leaf(b"block"), InPlace { path: &path, offset: 0 });
        assert_eq!(appended.is_ok(), fits, "{len}");
    }
}

#[test]
fn so_many_renames_are_followed() {
    let (mut store, feed) = empty();
    let name = |number: usize| format!("{number}").into_bytes();
    store.append_in_place(feed, leaf(b"block"), InPlace { path: &name(0), offset: 0 }).unwrap();
    store.sign(feed, &key()).unwrap();
    store.commit().unwrap();
    let rename = |store: &mut common::Memory, number: usize| {
        store.rename_working(&name(number), &name(number + 1)).unwrap();
    };
    (0..RENAMES_MAX - 1).for_each(|number| rename(&mut store, number));
    assert!(store.where_is(feed, BlockIndex(0)).unwrap().is_some());
    rename(&mut store, RENAMES_MAX - 1);
    assert!(matches!(store.where_is(feed, BlockIndex(0)), Err(StoreError::Damaged("names"))));
}

#[test]
fn a_record_of_the_journal_has_so_many_bytes() {
    let (mut store, feed) = empty();
    while store.staged_bytes() < 2 * RECORD_BYTES_MAX {
        store.append(feed, b"block").unwrap();
    }
    store.sign(feed, &key()).unwrap();
    store.commit().unwrap();
    let (storage, journal) = (store.storage(), FileId::Journal);
    let (mut at, mut records, end) = (0, Vec::new(), storage.len(journal).unwrap());
    while at < end {
        let mut len = [0; 4];
        storage.read(journal, at, &mut len).unwrap();
        records.push(u32::from_le_bytes(len) as usize);
        at += 20 + u64::from(u32::from_le_bytes(len));
    }
    assert!(records.len() > 1, "the commit is split: {records:?}");
    assert!(records.iter().all(|&len| len <= RECORD_BYTES_MAX), "{records:?}");
    let length = store.length(feed);
    let store = Store::open(store.into_storage()).unwrap();
    assert_eq!((store.length(feed), store.have(feed).count()), (length, length));
}

#[test]
fn blocks_are_held_below_an_end() {
    // A feed of two blocks more than can be held, of which all nodes but two paths are unknown.
    let sibling = leaf(b"sibling");
    let last = leaf(b"last that is held");
    // The last block of a full tree is the right one of each pair.
    let siblings = vec![sibling; HELD_END.trailing_zeros() as usize];
    let large = siblings.iter().fold(last, |node, sibling| parent(sibling, &node));
    let beyond = leaf(b"first that is not");
    let small = parent(&beyond, &sibling);
    let length = HELD_END + 2;
    let indexes: Vec<_> = peaks(length).collect();
    let root = root(indexes.iter().copied().zip([&large, &small]));
    let head = Head { byte_length: large.size + small.size, root, ..head(length, 0) };
    let head = SignedHead::sign(head, &key());
    let (mut store, feed) = empty();
    let upgrade = UpgradeProof { from: 0, head, nodes: vec![large, small] };
    store.upgrade(feed, &upgrade).unwrap();
    let proof = BlockProof { block: BlockIndex(HELD_END - 1), leaf: last, siblings };
    assert!(store.verify(feed, &proof, Some(b"last that is held")).is_ok());
    let proof = BlockProof { block: BlockIndex(HELD_END), leaf: beyond, siblings: vec![sibling] };
    let refused = store.verify(feed, &proof, Some(b"first that is not")).unwrap_err();
    assert!(matches!(refused, VerifyError::Unreachable) && !refused.is_peers_fault());
}

#[test]
fn blocks_of_all_sizes_are_written_in_pieces_that_end_with_pages() {
    let (mut store, feed) = empty();
    let sizes = [3, DATA_PIECE_BYTES - 1, 5, 7, DATA_PIECE_BYTES, 1, 0, 40_000];
    let sizes: Vec<_> = sizes.into_iter().chain((0..100).map(|at| at * 997)).collect();
    let bytes = |at: usize| vec![at as u8 + 1; sizes[at]];
    let (mut end, mut pieces) = (0, 0);
    for (at, size) in sizes.iter().enumerate() {
        let waited = store.unwritten_bytes();
        assert_eq!(store.append(feed, &bytes(at)).unwrap(), BlockIndex(at as u64));
        let (waits, size) = (store.unwritten_bytes(), *size as u64);
        end += size;
        assert!(waits < DATA_PIECE_BYTES as u64);
        if waits != waited + size {
            assert_eq!((end - waits) % DATA_ALIGNED as u64, 0);
            pieces += 1;
        }
    }
    assert!(pieces > 5, "{pieces}");
    store.sign(feed, &key()).unwrap();
    store.commit().unwrap();
    assert_eq!(store.unwritten_bytes(), 0);
    let mut store = Store::open(store.storage().clone()).unwrap();
    for at in 0..sizes.len() {
        assert_eq!(store.read(feed, BlockIndex(at as u64)).unwrap(), Some(bytes(at)), "{at}");
    }
}
