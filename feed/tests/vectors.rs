//! The golden vectors of SPEC.md, chapters 1 to 5. A change here is a change of format.

mod common;

use common::{Memory, key};
use data_encoding::HEXLOWER;
use datnode_feed::{
    Accusation, Ancestor, BlockIndex, Comparison, FileId, Hash, Head, Node, NodeIndex, SignedHead,
    Storage, leaf, parent, root, upgrade_nodes,
};

fn hex(bytes: impl AsRef<[u8]>) -> String {
    HEXLOWER.encode(bytes.as_ref())
}

/// Every node of the feed of the blocks a, b, c, d, e.
fn nodes() -> [Node; 9] {
    let [a, b, c, d, e] = ["a", "b", "c", "d", "e"].map(|block| leaf(block.as_bytes()));
    let (ab, cd) = (parent(&a, &b), parent(&c, &d));
    let unknown = Node { hash: Hash([0; 32]), size: 0 };
    [a, ab, b, parent(&ab, &cd), c, cd, d, unknown, e]
}

fn feed() -> Memory {
    let (mut store, feed) = common::empty();
    for block in ["a", "b", "c", "d", "e"] {
        store.append(feed, block.as_bytes()).unwrap();
    }
    store.sign(feed, &key()).unwrap();
    store.commit().unwrap();
    store
}

fn file(store: &Memory, file: FileId) -> Vec<u8> {
    let mut bytes = vec![0; store.storage().len(file).unwrap() as usize];
    store.storage().read(file, 0, &mut bytes).unwrap();
    bytes
}

#[test]
fn the_hashes_of_the_tree_are_as_written_down() {
    let nodes = nodes();
    for (index, size, expected) in [
        (0, 1, NODE_0),
        (2, 1, NODE_2),
        (8, 1, NODE_8),
        (1, 2, NODE_1),
        (5, 2, NODE_5),
        (3, 4, NODE_3),
    ] {
        assert_eq!((nodes[index].size, hex(nodes[index].hash.0).as_str()), (size, expected));
    }
    let peaks = [(NodeIndex(3), &nodes[3]), (NodeIndex(8), &nodes[8])];
    assert_eq!(hex(root(peaks).0), ROOT_5);
    assert_eq!(hex(root([]).0), ROOT_0);
}

#[test]
fn keys_are_as_written_down() {
    assert_eq!(hex(key().public().as_bytes()), PUBLIC_KEY);
    assert_eq!(hex(key().public().discovery().0), DISCOVERY_KEY);
}

#[test]
fn a_signed_head_is_as_written_down() {
    let signed = *feed().head(common::empty().1).unwrap();
    assert_eq!(hex(signed.head.signed_bytes(&key().public())), SIGNED_BYTES);
    assert_eq!(hex(signed.signature), SIGNATURE);
    assert_eq!(hex(signed.encode()), HEAD);
    assert_eq!(SignedHead::decode(&signed.encode()), Ok(signed));
}

#[test]
fn a_head_of_a_later_fork_names_its_ancestor() {
    let ancestor = Ancestor { fork: 0, length: 5, root: Hash([2; 32]) };
    let head =
        Head { fork: 1, length: 6, byte_length: 7, root: Hash([3; 32]), ancestor: Some(ancestor) };
    let signed = SignedHead::sign(head, &key());
    assert_eq!(hex(signed.encode()), FORK_HEAD);
    assert_eq!(SignedHead::decode(&signed.encode()), Ok(signed));
    assert!(signed.verify(&key().public()).is_ok());
    let orphan = SignedHead { head: Head { ancestor: None, ..head }, ..signed };
    assert!(orphan.verify(&key().public()).is_err());
}

#[test]
fn an_accusation_is_as_written_down() {
    let (mut other, slot) = common::empty();
    for block in ["a", "b", "x"] {
        other.append(slot, block.as_bytes()).unwrap();
    }
    let head = other.sign(slot, &key()).unwrap();
    let Comparison::Contradict(accusation) = feed().compare(slot, &head).unwrap() else {
        panic!("the third blocks differ")
    };
    assert_eq!(hex(accusation.encode()), ACCUSATION);
    assert_eq!(Accusation::decode(&accusation.encode()), Ok(*accusation.clone()));
    let nodes = nodes();
    assert_eq!(
        (accusation.peaks, accusation.nodes),
        (vec![nodes[1], nodes[4]], vec![nodes[6], nodes[8]])
    );
}

#[test]
fn the_specification_says_the_same() {
    let spec = include_str!("../../SPEC.md");
    for vector in [
        NODE_0,
        NODE_1,
        NODE_2,
        NODE_3,
        NODE_5,
        NODE_8,
        ROOT_0,
        ROOT_5,
        PUBLIC_KEY,
        DISCOVERY_KEY,
        SIGNED_BYTES,
        SIGNATURE,
        HEAD,
        FORK_HEAD,
        ACCUSATION,
        META_HEADER,
        JOURNAL_HASH,
        JOURNAL_PREFIX,
    ] {
        assert!(spec.contains(&format!("`{vector}`")), "{vector}");
    }
}

#[test]
fn the_files_of_a_store_are_as_written_down() {
    let store = feed();
    let slot = common::empty().1;
    let meta = file(&store, FileId::Meta);
    assert_eq!(hex(&meta[..56]), META_HEADER);
    let record = format!("{PUBLIC_KEY}78{HEAD}");
    assert!(hex(&meta[256..]).starts_with(&record));
    assert_eq!(hex(&meta[256 + 240..]), RECORD_CHECK);
    let empty = meta[56..256].iter().chain(&meta[256 + record.len() / 2..256 + 240]);
    assert!(empty.copied().all(|byte| byte == 0));
    assert_eq!(meta.len(), 512);
    assert_eq!(file(&store, FileId::Data), b"abcde");
    let tree = file(&store, FileId::Tree(slot));
    assert_eq!(tree.len(), 9 * 40);
    assert_eq!(hex(&tree[40..80]), format!("0200000000000000{NODE_1}"));
    assert_eq!(tree[7 * 40..8 * 40], [0; 40]);
    let blocks = file(&store, FileId::Blocks(slot));
    assert_eq!(blocks.len(), 5 * 16);
    assert_eq!(hex(&blocks[4 * 16..]), "01040000000000000000000000000000");
    let journal = file(&store, FileId::Journal);
    assert_eq!((journal.len(), hex(Hash::of(&journal).0).as_str()), (JOURNAL_LEN, JOURNAL_HASH));
    assert_eq!(hex(&journal[..20]), JOURNAL_PREFIX);
}

#[test]
fn names_are_as_written_down() {
    use datnode_feed::InPlace;
    let (mut store, feed) = common::empty();
    store.storage_mut().set_working(b"x", b"abc".to_vec());
    store.append_in_place(feed, leaf(b"bc"), InPlace { path: b"x", offset: 1 }).unwrap();
    store.sign(feed, &key()).unwrap();
    store.commit().unwrap();
    store.rename_working(b"x", b"yz").unwrap();
    store.commit().unwrap();
    let names = "0000000000000000 1300000000000000 0100 78 0000000000000000 0200 797a";
    assert_eq!(hex(file(&store, FileId::Names)), names.replace(' ', ""));
    let blocks = file(&store, FileId::Blocks(feed));
    assert_eq!(hex(blocks), "02010000000000000800000000000000");
}

#[test]
fn proofs_have_the_known_nodes() {
    let (store, feed) = common::writer(1, 10);
    let node = |index| store.node(feed, NodeIndex(index)).unwrap().unwrap();
    let proof = store.prove(feed, BlockIndex(4), 2).unwrap().unwrap();
    assert_eq!((proof.leaf, proof.siblings), (node(8), vec![node(10), node(13)]));
    let proof = store.prove(feed, BlockIndex(4), 3).unwrap().unwrap();
    assert_eq!(proof.siblings, [10, 13, 3].map(node));
    for (from, indexes) in [(0, &[7, 17][..]), (1, &[2, 5, 11, 17]), (6, &[13, 17])] {
        let proof = store.prove_upgrade(feed, from).unwrap().unwrap();
        assert!(upgrade_nodes(from, 10).map(|index| index.0).eq(indexes.iter().copied()));
        assert_eq!(proof.nodes, indexes.iter().copied().map(node).collect::<Vec<_>>());
    }
}

const NODE_0: &str = "17762fddd969a453925d65717ac3eea21320b66b54342fde15128d6caf21215f";
const NODE_1: &str = "aaf3cf7e796c0b1f9628cb44cffdf2672b88070c5b640e44c8d95621ddd872df";
const NODE_2: &str = "10e5cf3d3c8a4f9f3468c8cc58eea84892a22fdadbc1acb22410190044c1d553";
const NODE_3: &str = "c8dad48c569d17708a3debe3c12797e537788a88bd8d9beee0962335c64b33e9";
const NODE_5: &str = "19cf16cbe81a77f785576f5945e465ce56463144649f5b1be59323a4cd36e792";
const NODE_8: &str = "27bb492e108bf5e9c724176d7ae75d4cedc422fe4065020bd6140c3fcad3a9e7";
const ROOT_0: &str = "bd1cdbfa58f5ef29a2f7c1c309966d0f5fbba7450ca778c4eb9347796c7f81e5";
const ROOT_5: &str = "5e9cdf6af4808a3f3e417e22b2166248803d631f61b3bea5435247d9321f855d";
const PUBLIC_KEY: &str = "ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c";
const DISCOVERY_KEY: &str = "073e46f25b2c09a180cbf3ab2313784ba1bf6c60d06576a9d4c2954332153491";
const SIGNED_BYTES: &str = "6461746e6f6465203230323620666565642068656164207631ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c0000000000000000050000000000000005000000000000005e9cdf6af4808a3f3e417e22b2166248803d631f61b3bea5435247d9321f855d";
const SIGNATURE: &str = "3de1197b77d933ef3bc6c1b480e523b7e80f75e25540a3c99b48a8dcac9f7ffe75d23466bef40ad6e16fd92a0abfd7c454ea98f554cb9b237cc87a75ba103202";
const HEAD: &str = "0000000000000000050000000000000005000000000000005e9cdf6af4808a3f3e417e22b2166248803d631f61b3bea5435247d9321f855d3de1197b77d933ef3bc6c1b480e523b7e80f75e25540a3c99b48a8dcac9f7ffe75d23466bef40ad6e16fd92a0abfd7c454ea98f554cb9b237cc87a75ba103202";
const FORK_HEAD: &str = "0100000000000000060000000000000007000000000000000303030303030303030303030303030303030303030303030303030303030303000000000000000005000000000000000202020202020202020202020202020202020202020202020202020202020202bd78287319f682e4c4dc1f451fcc0adaf1c8661cd564d93922fdf6a35192627378ef66ac5a8e559c8000f6828bee1668573941e90e5089d2b64f79923f932406";
const ACCUSATION: &str = "78000000000000000003000000000000000300000000000000efb36218f852a57aa16ca542215bda94831155daffda130ffbc8264df96b42a64125394111bcd50ef924ec179ffb6790528087a590fdfde5d3afb22848e1a72cb5dc2b4a6dd1512cd6285e30a77756263be60e96f8bdf8270b728c97d1d0590c780000000000000000050000000000000005000000000000005e9cdf6af4808a3f3e417e22b2166248803d631f61b3bea5435247d9321f855d3de1197b77d933ef3bc6c1b480e523b7e80f75e25540a3c99b48a8dcac9f7ffe75d23466bef40ad6e16fd92a0abfd7c454ea98f554cb9b237cc87a75ba1032020200000000000000aaf3cf7e796c0b1f9628cb44cffdf2672b88070c5b640e44c8d95621ddd872df0100000000000000ea7aa1fc9efdbe106dbb70369a75e9671fa29d52bd55536711bf197477b8f0210100000000000000d5ede538f628f687e5e0422c7755b503653de2dcd7053ca8791afa5d4787d843010000000000000027bb492e108bf5e9c724176d7ae75d4cedc422fe4065020bd6140c3fcad3a9e7";
const RECORD_CHECK: &str = "fa17d204eabc667fdf44280d61be06a8";
const META_HEADER: &str = "64617473746f72650100010000000000050000000000000008000000000000000100000000000000220a56ab2359bcf879f7b1515be1da15";
const JOURNAL_LEN: usize = 957;
const JOURNAL_HASH: &str = "b1cfb0697f462b6b837b809ff5c68f00671b3647476dee34dde57c83e3d1ec1b";
const JOURNAL_PREFIX: &str = "a9030000192c71c1145e37b7f119c0e0cb34870d";
