//! Proofs between stores: the true one is taken, and nothing else.

mod common;

use common::{Memory, Numbers, block, empty, fetch, follow, grow, key, writer};
use datnode_feed::{
    BlockIndex, BlockProof, FeedSlot, LeavesProof, Node, NodeIndex, Seek, SignedHead, Store,
    UpgradeProof, VerifyError, levels, levels_above, peaks, subtrees,
};

/// All that can be asked of a store's state, to see that nothing changed.
fn state(store: &Memory, feed: FeedSlot) -> impl PartialEq + std::fmt::Debug + use<> {
    let nodes: Vec<_> = (0..128).map(|index| store.node(feed, NodeIndex(index)).unwrap()).collect();
    let head = store.head(feed).copied();
    (nodes, head, store.have(feed).clone(), store.appended(feed), store.is_dirty())
}

/// All nodes that differ from `node` in one bit of the hash or one step or bit of the size.
fn wrong_nodes(node: Node) -> impl Iterator<Item = Node> {
    let hashes = (0..256).map(move |bit| {
        let mut wrong = node;
        wrong.hash.0[bit / 8] ^= 1 << (bit % 8);
        wrong
    });
    let sizes = (0..64).map(move |bit| Node { size: node.size ^ 1 << bit, ..node });
    let steps = [node.size.wrapping_add(1), node.size.wrapping_sub(1), u64::MAX]
        .map(|size| Node { size, ..node });
    hashes.chain(sizes).chain(steps).filter(move |wrong| *wrong != node)
}

/// All lists that differ from `nodes` by one wrong node, one more, one less, or two in each other's place.
fn wrong_lists(nodes: &[Node]) -> Vec<Vec<Node>> {
    let mut lists = Vec::new();
    for at in 0..nodes.len() {
        for wrong in wrong_nodes(nodes[at]) {
            let mut list = nodes.to_vec();
            list[at] = wrong;
            lists.push(list);
        }
        let mut list = nodes.to_vec();
        list.remove(at);
        lists.push(list);
        for other in 0..at {
            let mut list = nodes.to_vec();
            list.swap(at, other);
            lists.push(list);
        }
    }
    for at in 0..=nodes.len() {
        for extra in nodes.iter().copied().chain([datnode_feed::leaf(b"more")]) {
            let mut list = nodes.to_vec();
            list.insert(at, extra);
            lists.push(list);
        }
    }
    lists.retain(|list| list != nodes);
    lists
}

#[test]
fn no_changed_block_proof_is_taken() {
    let mut tried = 0;
    for length in [1, 2, 3, 5, 8, 13, 21] {
        let (mut source, feed) = writer(length, length);
        for index in 0..length {
            let (mut reader, _) = empty();
            follow(&source, &mut reader, feed);
            // Some readers know a neighbour, which makes the proof shorter.
            if index % 3 == 1 {
                fetch(&mut source, &mut reader, feed, (index + 2) % length);
            }
            let have = reader.have(feed);
            let levels = levels(BlockIndex(index), length, |range| have.any(range)).unwrap();
            let proof = source.prove(feed, BlockIndex(index), levels).unwrap().unwrap();
            let bytes = source.read(feed, BlockIndex(index)).unwrap().unwrap();
            let before = state(&reader, feed);
            let mut refused = |wrong: &BlockProof, bytes: &[u8]| {
                tried += 1;
                assert!(reader.verify(feed, wrong, Some(bytes)).is_err(), "{wrong:?}");
                assert!(reader.insert(feed, wrong, bytes).is_err(), "{wrong:?}");
                assert!(reader.accept(feed, wrong, None).is_err() || wrong == &proof, "{wrong:?}");
            };
            for leaf in wrong_nodes(proof.leaf) {
                refused(&BlockProof { leaf, ..proof.clone() }, &bytes);
            }
            for siblings in wrong_lists(&proof.siblings) {
                refused(&BlockProof { siblings, ..proof.clone() }, &bytes);
            }
            for other in (0..length + 2).chain([u64::MAX, 1 << 55]).filter(|&other| other != index)
            {
                // Two empty blocks have one leaf; where they are siblings as well, both proofs are true.
                let wrong = BlockProof { block: BlockIndex(other), ..proof.clone() };
                if source.prove(feed, BlockIndex(other), levels).ok().flatten()
                    != Some(wrong.clone())
                {
                    refused(&wrong, &bytes);
                }
            }
            assert_eq!(before, state(&reader, feed), "a refused proof leaves no trace");
            let longer = [&bytes[..], b"x"].concat();
            assert!(reader.insert(feed, &proof, &longer).is_err());
            assert_eq!(before, state(&reader, feed), "refused bytes leave no trace");
            reader.insert(feed, &proof, &bytes).unwrap();
            assert_eq!(reader.read(feed, BlockIndex(index)).unwrap(), Some(bytes));
        }
    }
    assert!(tried > 30_000, "{tried}");
}

#[test]
fn leaves_are_learned_and_no_changed_ones_are_taken() {
    let mut tried = 0;
    for (length, from, to) in
        [(1, 0, 1), (5, 4, 5), (8, 0, 8), (13, 8, 12), (13, 2, 4), (21, 3, 20)]
    {
        let (mut source, feed) = writer(length, length);
        let (mut reader, _) = empty();
        follow(&source, &mut reader, feed);
        for top in subtrees(from, to) {
            let known = |store: &Memory, range: std::ops::Range<u64>| {
                range
                    .into_iter()
                    .any(|block| store.leaf(feed, BlockIndex(block)).unwrap().is_some())
            };
            let levels = levels_above(top, length, |range| known(&reader, range)).unwrap();
            let proof = source.prove_leaves(feed, top, levels).unwrap().unwrap();
            let before = state(&reader, feed);
            let mut refused = |wrong: &LeavesProof| {
                tried += 1;
                assert!(reader.learn(feed, wrong).is_err(), "{wrong:?}");
            };
            for leaves in wrong_lists(&proof.leaves) {
                refused(&LeavesProof { leaves, ..proof.clone() });
            }
            for siblings in wrong_lists(&proof.siblings) {
                refused(&LeavesProof { siblings, ..proof.clone() });
            }
            for other in (0..2 * length + 2).chain([u64::MAX, 1 << 57]).map(NodeIndex) {
                let theirs = source.prove_leaves(feed, other, levels).ok().flatten();
                let wrong = LeavesProof { top: other, ..proof.clone() };
                if other != top && theirs != Some(wrong.clone()) {
                    refused(&wrong);
                }
            }
            assert_eq!(before, state(&reader, feed), "a refused proof leaves no trace");
            reader.learn(feed, &proof).unwrap();
        }
        assert!(reader.have(feed).is_empty(), "leaves are no blocks");
        for block in (from..to).map(BlockIndex) {
            let bytes = source.read(feed, block).unwrap().unwrap();
            let leaf = reader.leaf(feed, block).unwrap().unwrap();
            assert_eq!(leaf, datnode_feed::leaf(&bytes));
            // What is known already needs no proof.
            reader.insert(feed, &BlockProof { block, leaf, siblings: Vec::new() }, &bytes).unwrap();
        }
    }
    assert!(tried > 10_000, "{tried}");
    let (source, feed) = writer(8, 8);
    let (mut reader, _) = empty();
    follow(&source, &mut reader, feed);
    let all = peaks(8).next().unwrap();
    assert_eq!(source.prove_leaves(feed, all, 1).unwrap(), None, "there is nothing above a peak");
    assert_eq!(reader.prove_leaves(feed, all, 0).unwrap(), None, "nothing is known");
    let unreachable = source.prove_leaves(feed, NodeIndex(1), 0).unwrap().unwrap();
    assert!(matches!(reader.learn(feed, &unreachable), Err(VerifyError::Unreachable)));
}

/// All heads that differ from `signed` in one bit of one field.
fn wrong_heads(signed: SignedHead) -> Vec<SignedHead> {
    let mut heads = Vec::new();
    for bit in 0..64 {
        for field in 0..3 {
            let mut wrong = signed;
            let head = &mut wrong.head;
            *[&mut head.fork, &mut head.length, &mut head.byte_length][field] ^= 1 << bit;
            heads.push(wrong);
        }
    }
    for bit in 0..256 {
        let mut wrong = signed;
        wrong.head.root.0[bit / 8] ^= 1 << (bit % 8);
        heads.push(wrong);
    }
    for bit in 0..512 {
        let mut wrong = signed;
        wrong.signature[bit / 8] ^= 1 << (bit % 8);
        heads.push(wrong);
    }
    heads
}

#[test]
fn no_changed_upgrade_is_taken() {
    let mut tried = 0;
    for (from, to) in [(0, 1), (0, 7), (1, 10), (3, 4), (5, 13)] {
        let (mut source, feed) = writer(9, from);
        let (mut reader, _) = empty();
        follow(&source, &mut reader, feed);
        let old = source.head(feed).copied();
        grow(&mut source, feed, 9, to);
        let proof = source.prove_upgrade(feed, from).unwrap().unwrap();
        let before = state(&reader, feed);
        let mut refused = |wrong: &UpgradeProof| {
            tried += 1;
            assert!(reader.upgrade(feed, wrong).is_err(), "{wrong:?}");
        };
        for nodes in wrong_lists(&proof.nodes) {
            refused(&UpgradeProof { nodes, ..proof.clone() });
        }
        for head in wrong_heads(proof.head) {
            refused(&UpgradeProof { head, ..proof.clone() });
        }
        for other in (0..to).filter(|&other| other != from) {
            refused(&UpgradeProof { from: other, ..proof.clone() });
        }
        assert_eq!(before, state(&reader, feed), "a refused upgrade leaves no trace");
        reader.upgrade(feed, &proof).unwrap();
        assert_eq!(reader.head(feed), source.head(feed));
        // Heads of yesterday change nothing.
        if let Some(old) = old.filter(|_| from > 0) {
            let stale = UpgradeProof { from: 0, head: old, nodes: proof.nodes };
            let _ = reader.upgrade(feed, &stale);
            assert_eq!(reader.head(feed), source.head(feed));
        }
    }
    assert!(tried > 5_000, "{tried}");
}

#[test]
fn a_head_of_another_feed_is_refused() {
    let (source, feed) = writer(1, 4);
    let mut reader = Store::open(datnode_feed::MemoryStorage::new()).unwrap();
    let other = datnode_feed::SecretKey::from_bytes([9; 32]).public();
    assert_eq!(reader.add_feed(other).unwrap(), feed);
    let proof = source.prove_upgrade(feed, 0).unwrap().unwrap();
    assert!(matches!(reader.upgrade(feed, &proof), Err(VerifyError::Signature)));
}

#[test]
fn two_heads_of_one_length_are_a_fork_and_nobodys_fault() {
    let (left, feed) = writer(1, 6);
    let (right, _) = writer(2, 6);
    let (mut reader, _) = empty();
    follow(&left, &mut reader, feed);
    let error = reader.upgrade(feed, &right.prove_upgrade(feed, 0).unwrap().unwrap()).unwrap_err();
    assert!(matches!(error, VerifyError::Forked) && !error.is_peers_fault());
    assert_eq!(reader.head(feed), left.head(feed));
}

#[test]
fn seeking_equals_a_linear_scan() {
    let (mut source, feed) = writer(3, 10);
    let (mut reader, _) = empty();
    follow(&source, &mut reader, feed);
    for index in 0..10 {
        fetch(&mut source, &mut reader, feed, index);
    }
    for store in [&source, &reader] {
        let mut byte = 0;
        for index in 0..10 {
            let block = BlockIndex(index);
            assert_eq!(store.byte_offset(feed, block).unwrap(), Some(byte));
            for offset in 0..common::block(3, index).len() as u64 {
                assert_eq!(store.seek(feed, byte).unwrap(), Seek::Block { block, offset });
                byte += 1;
            }
        }
        let end = Seek::Block { block: BlockIndex(10), offset: 0 };
        assert_eq!(store.seek(feed, byte).unwrap(), end);
        assert_eq!(store.byte_offset(feed, BlockIndex(10)).unwrap(), Some(byte));
        assert_eq!(store.seek(feed, byte + 1).unwrap(), Seek::Beyond);
    }
}

#[test]
fn a_seek_needs_only_the_nodes_of_its_block() {
    let (mut source, feed) = writer(3, 16);
    let (mut reader, _) = empty();
    follow(&source, &mut reader, feed);
    let at = source.byte_offset(feed, BlockIndex(9)).unwrap().unwrap();
    let wanted = source.seek(feed, at).unwrap();
    assert_eq!(reader.seek(feed, at).unwrap(), Seek::Unknown);
    let Seek::Block { block, .. } = wanted else { panic!("{wanted:?}") };
    fetch(&mut source, &mut reader, feed, block.0);
    assert_eq!(reader.seek(feed, at).unwrap(), wanted);
}

#[test]
fn a_clone_proves_upgrades_only_where_its_nodes_connect() {
    let (mut source, feed) = writer(4, 5);
    let (mut clone, _) = empty();
    follow(&source, &mut clone, feed);
    for from in 0..5 {
        let peaks_known = peaks(from).all(|peak| clone.node(feed, peak).unwrap().is_some());
        assert_eq!(clone.knows_peaks(feed, from), peaks_known);
        assert_eq!(peaks_known, [0, 4].contains(&from));
        assert!(source.prove_upgrade(feed, from).unwrap().is_some());
        let proves = clone.prove_upgrade(feed, from).unwrap().is_some();
        assert_eq!(proves, [0, 4].contains(&from), "from {from}");
    }
    // With one block it knows more, and can prove more.
    fetch(&mut source, &mut clone, feed, 1);
    assert!(clone.prove_upgrade(feed, 1).unwrap().is_some());
    assert!(clone.prove_upgrade(feed, 2).unwrap().is_some());
    assert!(clone.prove_upgrade(feed, 3).unwrap().is_none());
}

#[test]
fn clones_of_clones_hold_what_the_writer_wrote() {
    for seed in 0..60 {
        let mut numbers = Numbers(seed);
        let (mut source, feed) = writer(seed, 1);
        let mut clones: Vec<Memory> = (0..3).map(|_| empty().0).collect();
        for _ in 0..40 {
            let from = numbers.below(3) as usize;
            match numbers.below(4) {
                0 => {
                    let longer = source.length(feed) + numbers.below(6);
                    grow(&mut source, feed, seed, longer);
                }
                1 => follow(&source, &mut clones[from], feed),
                2 if clones[from].length(feed) > 0 => {
                    let index = numbers.below(clones[from].length(feed));
                    fetch(&mut source, &mut clones[from], feed, index);
                }
                _ => {
                    let (head, tail) = clones.split_at_mut(2);
                    let (giver, taker) = (&mut head[from % 2], &mut tail[0]);
                    let upgrade = giver.prove_upgrade(feed, taker.length(feed)).unwrap();
                    if let Some(proof) = upgrade {
                        taker.upgrade(feed, &proof).unwrap();
                    }
                    // Who is longer than the giver asks others.
                    let common =
                        if taker.length(feed) == giver.length(feed) { u64::MAX } else { 0 };
                    let held: Vec<u64> = giver.have(feed).iter_ones(0..common).collect();
                    for index in held {
                        fetch(giver, taker, feed, index);
                    }
                }
            }
        }
        for clone in &mut clones {
            assert_eq!(clone.check(feed, true, &mut |bad| panic!("{bad}")).unwrap().bad, 0);
            for index in clone.have(feed).clone().runs().flatten() {
                assert_eq!(clone.read(feed, BlockIndex(index)).unwrap(), Some(block(seed, index)));
            }
        }
    }
}

#[test]
fn a_wrong_secret_key_signs_nothing() {
    let (mut store, feed) = empty();
    store.append(feed, b"x").unwrap();
    let other = datnode_feed::SecretKey::from_bytes([9; 32]);
    assert!(store.sign(feed, &other).is_err());
    assert!(store.head(feed).is_none());
    assert!(store.sign(feed, &key()).is_ok());
}
