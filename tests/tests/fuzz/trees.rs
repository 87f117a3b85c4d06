//! Indexes that nobody should make: nodes that hash to what is said of them and do not fit together. Bytes that are turned over
//! hardly ever do.

use datnode_drive::{FeedRef, Header, Role, header_block};
use datnode_feed::codec::Writer;
use datnode_feed::{BlockIndex, Hash, SecretKey};
use datnode_sim::Random;
use datnode_tests::hostile::forge::{Item, Node, first_change, folder, key};

/// Of so many things one is wrong.
const WRONG: u64 = 60;
const NODES_MAX: u64 = 14;
const ITEMS_MAX: u64 = 6;

/// A node as others may point to it.
#[derive(Clone)]
struct Made {
    level: u8,
    first: Vec<u8>,
    hash: Hash,
    at: u64,
}

/// A tree in the making.
struct Maker {
    random: Random,
    blocks: Vec<Vec<u8>>,
    made: Vec<Made>,
}

impl Maker {
    fn new(seed: u64) -> Self {
        let blocks = vec![header_block(&Header::new("trees"))];
        Self { random: Random::new(seed), blocks, made: Vec::new() }
    }

    fn is_wrong(&mut self) -> bool {
        self.random.below(WRONG) == 0
    }

    fn leaf(&mut self) -> Node {
        let mut names: Vec<_> = (0..=self.random.below(ITEMS_MAX))
            .map(|_| self.random.below(200).to_string().into_bytes())
            .collect();
        names.sort();
        names.dedup();
        if self.is_wrong() {
            names.reverse();
        }
        let (identity, location) = folder();
        Node::leaf(
            names.iter().map(|name| Item::entry(key(name), identity.clone(), location.clone())),
        )
    }

    /// A node over others, one of them perhaps in many places.
    fn above(&mut self, level: u8) -> Node {
        let below: Vec<Made> =
            self.made.iter().filter(|made| made.level + 1 == level).cloned().collect();
        let mut children: Vec<Made> = (0..=self.random.below(ITEMS_MAX))
            .map(|_| below[usize::try_from(self.random.below(below.len() as u64)).unwrap()].clone())
            .collect();
        children.sort_by(|one, other| one.first.cmp(&other.first));
        children.dedup_by(|one, other| one.first == other.first);
        let items: Vec<Item> = children.into_iter().map(|child| self.child(child)).collect();
        Node::above(level, items)
    }

    fn child(&mut self, Made { mut first, mut hash, mut at, .. }: Made) -> Item {
        if self.is_wrong() {
            // It stands in another place.
            first.push(b'x');
        }
        if self.is_wrong() {
            hash = Hash([7; 32]);
        }
        if self.is_wrong() {
            let own = self.blocks.len() as u64;
            let places = [0, own, own + 1, own + 2, 1 << 40];
            at = places[usize::try_from(self.random.below(5)).unwrap()];
        }
        let mut item = Item::child(first, hash, at);
        item.at.0 = u64::from(self.is_wrong());
        item.shared = self.is_wrong().then_some(1 << 20);
        item
    }

    /// Makes a node of what is there; returns its block.
    fn node(&mut self, is_root: bool) -> Vec<u8> {
        let highest = self.made.iter().map(|made| made.level + 1).max().unwrap_or(0);
        // The root is above all.
        let level = if is_root { highest } else { self.random.below(u64::from(highest) + 1) as u8 };
        let mut node = if level == 0 { self.leaf() } else { self.above(level) };
        if self.is_wrong() {
            node.count =
                Some([0, 1, 1 << 40, u64::MAX][usize::try_from(self.random.below(4)).unwrap()]);
        }
        if self.is_wrong() {
            node.level = [level + 1, 31, 255][usize::try_from(self.random.below(3)).unwrap()];
        }
        let (block, hash) = node.encode();
        let first = node.items[0].key.clone();
        self.made.push(Made { level, first, hash, at: self.blocks.len() as u64 });
        block
    }

    /// Returns all blocks of the drive, as the fuzzer's reader takes them.
    fn drive(mut self) -> Vec<u8> {
        for _ in 0..self.random.below(NODES_MAX) {
            let block = self.node(false);
            self.blocks.push(block);
        }
        let root = self.node(true);
        let key = SecretKey::from_bytes([9; 32]).public();
        let (role, root_hash) = (Role::Content, Hash([3; 32]));
        let feed = FeedRef { key, role, fork: 0, length: 20, byte_length: 2_000, root: root_hash };
        let header = Hash::of(&self.blocks[0]);
        self.blocks.push(first_change(&feed, (BlockIndex(0), header), &root));
        let mut out = Writer::new();
        for block in &self.blocks {
            out.bytes(block);
        }
        out.into_vec()
    }
}

/// Every way to read such a drive ends, with an answer or a typed error, and reads no block twice (`datnode_drive::fuzz::drive`).
#[test]
fn trees_that_do_not_fit_together_are_read_within_their_budget() {
    let trees = super::execs("trees").0;
    let sound =
        (0..trees).filter(|seed| datnode_drive::fuzz::drive(&Maker::new(*seed).drive())).count();
    println!("trees: {sound} of {trees} are sound");
    let sound = sound as u64;
    assert!(sound > trees / 20 && sound < trees - trees / 20, "{sound} of {trees} are sound");
}
