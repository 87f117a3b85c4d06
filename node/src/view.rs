//! A store as `datnode_drive` reads it.
//!
//! Whatever is read from a store is hashed. Of an index the nodes above the leaves are read again and again, so whoever reads a drive for
//! long keeps some of them ([`Nodes`]), as they were when they were verified.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;

use datnode_drive::{Blocks, Identified, Location};
use datnode_feed::{BlockIndex, FeedSlot, Hash, Storage, Store, StoreError};

/// How many bytes of nodes are kept for a drive: a bit more than those above the leaves of an index of a million names.
pub const NODES_BYTES_MAX: usize = 1 << 20;

/// The feeds of one drive in a store, by the slots of its feed table: 0 for changes, 1 for content.
pub struct View<'a, S> {
    /// The store.
    pub store: RefCell<&'a mut Store<S>>,
    slots: [Option<FeedSlot>; 2],
    nodes: Option<RefCell<&'a mut Nodes>>,
}

/// Nodes of an index that were read lately, verified. Leaves are not among them: there are too many to meet one again.
#[derive(Debug, Default)]
pub struct Nodes {
    kept: HashMap<(FeedSlot, BlockIndex), Node>,
    /// How many bytes they have.
    bytes: usize,
    /// Counts what is looked for.
    clock: u64,
}

#[derive(Debug)]
struct Node {
    /// The leaf of the block; another block may come in its place when a history is given up.
    leaf: datnode_feed::Node,
    block: Box<[u8]>,
    identity: Hash,
    /// When it was found last.
    used: u64,
}

impl Nodes {
    fn find(&mut self, slot: FeedSlot, block: BlockIndex) -> Option<&Node> {
        self.clock += 1;
        let node = self.kept.get_mut(&(slot, block))?;
        node.used = self.clock;
        Some(node)
    }

    /// Keeps a node; those that were not found for longest go.
    fn keep(&mut self, at: (FeedSlot, BlockIndex), mut node: Node) {
        node.used = self.clock;
        self.bytes += node.block.len();
        if let Some(old) = self.kept.insert(at, node) {
            self.bytes -= old.block.len();
        }
        while self.bytes > NODES_BYTES_MAX
            && let Some((&oldest, _)) = self.kept.iter().min_by_key(|(_, node)| node.used)
            && let Some(old) = self.kept.remove(&oldest)
        {
            self.bytes -= old.block.len();
        }
    }
}

impl<'a, S: Storage> View<'a, S> {
    /// Reads the drive whose feeds are `changes` and `content`.
    pub fn new(store: &'a mut Store<S>, changes: FeedSlot, content: Option<FeedSlot>) -> Self {
        Self { store: RefCell::new(store), slots: [Some(changes), content], nodes: None }
    }

    /// Takes nodes that were read before from `nodes`, and keeps there what is read.
    pub fn keeping(self, nodes: &'a mut Nodes) -> Self {
        Self { nodes: Some(RefCell::new(nodes)), ..self }
    }

    fn slot(&self, at: Location) -> Option<FeedSlot> {
        self.slots.get(usize::from(at.slot)).copied().flatten()
    }

    /// Does something with a node that is kept, if it still is what the store has there.
    fn kept<T>(&self, at: Location, then: impl FnOnce(&Node) -> T) -> Option<T> {
        let (slot, store) = (self.slot(at)?, self.store.borrow());
        let mut nodes = self.nodes.as_ref()?.borrow_mut();
        let node = nodes.find(slot, at.block)?;
        let is_here = store.have(slot).contains(at.block.0);
        let is_same = || store.leaf(slot, at.block).is_ok_and(|leaf| leaf == Some(node.leaf));
        (is_here && is_same()).then(|| then(node))
    }
}

impl<S: Storage> Blocks for View<'_, S> {
    type Error = StoreError;

    fn block(&self, at: Location) -> Result<Option<Cow<'_, [u8]>>, StoreError> {
        let Some(slot) = self.slot(at) else { return Ok(None) };
        if let Some(block) = self.kept(at, |node| node.block.to_vec()) {
            return Ok(Some(Cow::Owned(block)));
        }
        Ok(self.store.borrow_mut().read(slot, at.block)?.map(Cow::Owned))
    }

    fn identity_hash(&self, node: Identified<'_>) -> Hash {
        let Identified { at, block, identity, level } = node;
        if let Some(identity) = self.kept(at, |node| node.identity) {
            return identity;
        }
        let identity = Hash::of(identity);
        if level > 0
            && let (Some(slot), Some(nodes)) = (self.slot(at), &self.nodes)
            && let Ok(Some(leaf)) = self.store.borrow().leaf(slot, at.block)
        {
            let node = Node { leaf, block: block.into(), identity, used: 0 };
            nodes.borrow_mut().keep((slot, at.block), node);
        }
        identity
    }
}

#[cfg(test)]
mod tests {
    use datnode_drive::{
        ChangeInfo, DrivePath, Entry, Header, Mtime, Op, Step, Version, commit, header_block,
    };
    use datnode_feed::{FileId, MemoryStorage, SecretKey};

    use super::*;

    const SLOT: FeedSlot = FeedSlot(0);
    const NAMES: i64 = 3_000;

    fn path(number: i64) -> DrivePath {
        DrivePath::from_bytes(format!("{number:0600}")).unwrap()
    }

    /// A drive of very many names in one change, whose times are the names' numbers and this.
    fn drive(more: i64) -> (Store<MemoryStorage>, Version) {
        let (mut store, secret) =
            (Store::open(MemoryStorage::new()).unwrap(), SecretKey::from_bytes([7; 32]));
        store.add_feed(secret.public()).unwrap();
        store.append(SLOT, &header_block(&Header::new("view"))).unwrap();
        store.sign(SLOT, &secret).unwrap();
        store.commit().unwrap();
        let entry = |number| Entry::directory(0o755, Mtime { seconds: number + more, nanos: 0 });
        let ops: Vec<Op> = (0..NAMES).map(|number| Op::Put(path(number), entry(number))).collect();
        let view = View::new(&mut store, SLOT, None);
        let Ok(Step::Done(base)) = Version::open(&view, BlockIndex(0)) else {
            panic!("it is here")
        };
        let mut append = |block: &[u8]| view.store.borrow_mut().append(SLOT, block);
        let info = ChangeInfo::default();
        let made = commit(&base, &view, &ops, info, &mut append);
        let Ok(Step::Done(made)) = made else { panic!("the batch is sound") };
        store.sign(SLOT, &secret).unwrap();
        store.commit().unwrap();
        (store, made.version)
    }

    /// Looks all names up; returns the times of those that were found.
    fn look(store: &mut Store<MemoryStorage>, version: &Version, nodes: &mut Nodes) -> Vec<i64> {
        let view = View::new(store, SLOT, None).keeping(nodes);
        let entry = |number| match version.entry(&view, &path(number)).unwrap() {
            Step::Done(entry) => entry.map(|entry| entry.mtime.seconds),
            Step::Need(_) => None,
        };
        (0..NAMES).filter_map(entry).collect()
    }

    fn flip_all_data(store: &mut Store<MemoryStorage>) {
        let storage = store.storage_mut();
        let len = storage.len(FileId::Data).unwrap();
        let mut bytes = vec![0; usize::try_from(len).unwrap()];
        storage.read(FileId::Data, 0, &mut bytes).unwrap();
        bytes.iter_mut().for_each(|byte| *byte ^= 1);
        storage.write(FileId::Data, 0, &bytes).unwrap();
    }

    #[test]
    fn what_is_kept_answers_as_the_store_does_and_takes_little_memory() {
        let ((mut store, version), mut nodes) = (drive(0), Nodes::default());
        for _ in 0..2 {
            assert!(look(&mut store, &version, &mut nodes).into_iter().eq(0..NAMES));
            assert!(!nodes.kept.is_empty() && nodes.bytes <= NODES_BYTES_MAX);
        }
        let kept: usize = nodes.kept.values().map(|node| node.block.len()).sum();
        assert_eq!(kept, nodes.bytes);
    }

    #[test]
    fn a_store_that_rots_gives_no_wrong_answer_whatever_is_kept() {
        for is_kept in [false, true] {
            let ((mut store, version), mut nodes) = (drive(0), Nodes::default());
            if is_kept {
                look(&mut store, &version, &mut nodes);
            }
            flip_all_data(&mut store);
            let found = look(&mut store, &version, &mut nodes);
            assert!(found.is_empty(), "leaves are not kept");
        }
    }

    #[test]
    fn another_history_at_the_same_place_is_read_as_it_is() {
        let ((mut first, version), mut nodes) = (drive(0), Nodes::default());
        look(&mut first, &version, &mut nodes);
        let (mut second, other) = drive(1);
        assert_eq!(version.position, other.position);
        assert!(look(&mut second, &other, &mut nodes).into_iter().eq(1..=NAMES));
    }

    #[test]
    fn so_many_bytes_are_kept_and_what_was_found_last_stays() {
        let mut nodes = Nodes::default();
        let leaf = datnode_feed::leaf(b"");
        let block = || vec![0; NODES_BYTES_MAX / 4].into_boxed_slice();
        let node = || Node { leaf, block: block(), identity: leaf.hash, used: 0 };
        for number in 0..4 {
            nodes.keep((SLOT, BlockIndex(number)), node());
        }
        assert!(nodes.find(SLOT, BlockIndex(0)).is_some());
        nodes.keep((SLOT, BlockIndex(9)), node());
        assert!(nodes.find(SLOT, BlockIndex(0)).is_some());
        assert!(nodes.find(SLOT, BlockIndex(9)).is_some());
        assert_eq!((nodes.kept.len(), nodes.bytes), (4, NODES_BYTES_MAX));
    }
}
