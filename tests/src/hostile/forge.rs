//! A drive whose owner writes what no importer would: any name, any entry, any block, all of it signed.
//!
//! The blocks of the index are encoded here anew, as SPEC 8.3 to 8.5 have them, so that they can be wrong in any place.
//! Elsewhere: names that mean harm (`names`), serving what was forged (`puppet`, or the binary's own `share`).

use std::collections::BTreeMap;
use std::path::Path;

use datnode::disk::DiskStorage;
use datnode::engine::AnyStore;
use datnode::view::View;
use datnode_drive::{
    ChangeInfo, DrivePath, Entry, FeedRef, FileBuilder, Header, Key, Location, Mtime, Op, Role,
    Step, Tag, TagName, TagOp, Version, commit, header_block,
};
use datnode_feed::codec::Writer;
use datnode_feed::{
    BlockIndex, FeedSlot, Hash, MemoryStorage, PublicKey, SecretKey, Storage, Store, leaf,
};

use super::Goods;

/// What puts a drive into a store, block by block.
pub struct Forge {
    store: AnyStore,
    changes: (FeedSlot, SecretKey),
    content: (FeedSlot, SecretKey),
    parent: (BlockIndex, Hash),
    /// What the changes say of the content feed, instead of the truth: its length and bytes.
    pub claim: Option<(u64, u64)>,
}

impl Forge {
    /// Begins a drive in memory.
    pub fn in_memory(seed: u8, name: &[u8]) -> Self {
        Self::begin(Box::new(MemoryStorage::new()), seed, name)
    }

    /// Begins a drive in a folder, as one that somebody cloned.
    pub fn in_folder(folder: &Path, seed: u8, name: &[u8]) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let forge = Self::begin(Box::new(DiskStorage::open(folder, true).unwrap()), seed, name);
        let hex: String = forge.key().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        std::fs::write(folder.join(".dat/key"), hex + "\n").unwrap();
        forge
    }

    /// Goes on with a drive in a folder, from its latest version.
    pub fn reopen(folder: &Path, seed: u8) -> Self {
        let mut forge = Self::open(Box::new(DiskStorage::open(folder, false).unwrap()), seed);
        let last = BlockIndex(forge.store.length(forge.changes.0) - 1);
        let view = View::new(&mut forge.store, forge.changes.0, None);
        let Ok(Step::Done(latest)) = Version::open(&view, last) else { unreachable!() };
        forge.parent = (latest.position, latest.id);
        forge
    }

    fn begin(storage: Box<dyn Storage + Send>, seed: u8, name: &[u8]) -> Self {
        let mut forge = Self::open(storage, seed);
        let header = header_block(&Header::new(name));
        forge.store.append(forge.changes.0, &header).unwrap();
        forge.parent = (BlockIndex(0), Hash::of(&header));
        forge
    }

    fn open(storage: Box<dyn Storage + Send>, seed: u8) -> Self {
        let mut store = Store::open(storage).unwrap();
        let mut feed = |kind| {
            let key = SecretKey::from_bytes([seed, kind].repeat(16).try_into().unwrap());
            (store.add_feed(key.public()).unwrap(), key)
        };
        let (changes, content) = (feed(0), feed(1));
        Self { store, changes, content, parent: (BlockIndex(0), Hash([0; 32])), claim: None }
    }

    /// Returns the drive's key.
    pub fn key(&self) -> PublicKey {
        self.changes.1.public()
    }

    /// Appends bytes to the content as one chunk; returns the entry of a file that consists of it.
    pub fn file(&mut self, bytes: &[u8]) -> Entry {
        let mut file = FileBuilder::new();
        if !bytes.is_empty() {
            let (_, first_byte) = self.store.appended(self.content.0);
            let block = self.store.append(self.content.0, bytes).unwrap();
            file.push(&leaf(bytes), Location { slot: 1, block }, first_byte);
        }
        file.finish(0o644, Mtime { seconds: 1_700_000_000, nanos: 0 }, Hash::of(bytes))
    }

    /// Appends a block to the changes, whatever it is; returns where it is.
    pub fn block(&mut self, block: &[u8]) -> u64 {
        self.store.append(self.changes.0, block).unwrap().0
    }

    /// Makes one honest change of these entries, as an importer does.
    pub fn commit(&mut self, entries: BTreeMap<Key, (DrivePath, Entry)>, message: &str) {
        let put = |(path, entry)| Op::Put(path, entry);
        self.change_files(&entries.into_values().map(put).collect::<Vec<_>>(), message);
    }

    /// Makes one honest change, of puts and deletes in the order of their keys.
    pub fn change_files(&mut self, ops: &[Op], message: &str) {
        self.make(ops, Vec::new(), message);
    }

    /// Makes one honest change that gives the latest version these names, in their order.
    pub fn tag_latest(&mut self, names: impl IntoIterator<Item = TagName>) {
        let tag = Tag::of(&self.version());
        let tags = names.into_iter().map(|name| TagOp::Set(name, tag));
        self.make(&[], tags.collect(), "tags");
    }

    fn make(&mut self, ops: &[Op], tags: Vec<TagOp>, message: &str) {
        let base = self.version();
        let info = ChangeInfo {
            time: Mtime { seconds: 1_700_000_000, nanos: 0 },
            message: message.to_owned(),
            feeds: vec![self.feed()],
            tags,
        };
        let (changes, mut blocks) = (self.changes.0, Vec::new());
        let next = self.store.appended(changes).0;
        let mut append = |block: &[u8]| {
            blocks.push(block.to_vec());
            Ok::<_, std::convert::Infallible>(BlockIndex(next + blocks.len() as u64 - 1))
        };
        let made =
            commit(&base, &View::new(&mut self.store, changes, None), ops, info, &mut append);
        let Ok(Step::Done(made)) = made else { panic!("the batch is sound: {:?}", made.err()) };
        for block in blocks {
            self.store.append(changes, &block).unwrap();
        }
        self.parent = (made.version.position, made.version.id);
        self.sign();
    }

    /// Returns how many blocks and bytes the feeds of changes and content have together.
    pub fn appended(&self) -> (u64, u64) {
        let [changes, content] =
            [&self.changes, &self.content].map(|(slot, _)| self.store.appended(*slot));
        (changes.0 + content.0, changes.1 + content.1)
    }

    /// Returns the drive as who has all of it reads it.
    pub fn view(&mut self) -> View<'_, Box<dyn Storage + Send>> {
        View::new(&mut self.store, self.changes.0, Some(self.content.0))
    }

    /// Returns the drive as it is now.
    pub fn version(&mut self) -> Version {
        self.sign();
        let view = View::new(&mut self.store, self.changes.0, None);
        let Ok(Step::Done(base)) = Version::open(&view, self.parent.0) else { unreachable!() };
        base
    }

    /// Appends a first change whose index has this root; nothing is checked.
    pub fn change(&mut self, root: &[u8]) {
        let change = first_change(&self.feed(), self.parent, root);
        self.block(&change);
        self.sign();
    }

    /// What a change says of the content.
    fn feed(&self) -> FeedRef {
        let head = self.store.staged_head(self.content.0);
        let (length, byte_length) = self.claim.unwrap_or((head.length, head.byte_length));
        let key = self.content.1.public();
        FeedRef { key, role: Role::Content, fork: 0, length, byte_length, root: head.root }
    }

    fn sign(&mut self) {
        for (slot, key) in [&self.content, &self.changes] {
            if self.store.appended(*slot).0 > self.store.length(*slot) {
                self.store.sign(*slot, key).unwrap();
            }
        }
        self.store.commit().unwrap();
    }

    /// Ends the work; peers in this process may serve it.
    pub fn finish(self) -> Goods {
        Goods::new(self.store)
    }
}

/// Returns the first change behind a header, whose index has this root.
pub fn first_change(
    feed: &FeedRef,
    (position, header): (BlockIndex, Hash),
    root: &[u8],
) -> Vec<u8> {
    let mut out = Writer::new();
    out.u8(0x82).varint(1);
    out.varint(1).varint(0).varint(position.0).hash(&header);
    out.varint(1).raw(feed.key.as_bytes()).u8(0).varint(feed.fork);
    out.varint(feed.length).varint(feed.byte_length).hash(&feed.root);
    out.varint(1).bytes(b"files").bytes(root);
    out.u8(0);
    // Of everything as much as fits.
    for _ in 0..6 {
        out.varint(u64::MAX);
    }
    out.varint(0).varint(0).bytes(b"\x1b]0;forged\x07");
    // The one skip pointer that change 1 has: to change 0.
    out.varint(position.0);
    out.into_vec()
}

/// A node of an index in the making; nothing about it is checked.
#[derive(Clone, Debug, Default)]
pub struct Node {
    /// Its level, 0 for a leaf.
    pub level: u8,
    /// How many entries it says it has, if not what it has.
    pub count: Option<u64>,
    /// Its entries.
    pub items: Vec<Item>,
}

/// What a node says under a key.
#[derive(Clone, Debug)]
pub struct Item {
    /// How much of the key before it belongs to its key, if not as much as possible.
    pub shared: Option<u64>,
    /// The key, all of it.
    pub key: Vec<u8>,
    /// The identity: of an entry, or the hash of a child.
    pub identity: Vec<u8>,
    /// The location part of an entry; none for a child and a spilled value.
    pub location: Option<Vec<u8>>,
    /// Where a child or a spilled value is.
    pub at: (u64, u64),
}

impl Item {
    /// An entry in a leaf.
    pub fn entry(key: impl Into<Vec<u8>>, identity: Vec<u8>, location: Vec<u8>) -> Self {
        let location = Some(location);
        Self { shared: None, key: key.into(), identity, location, at: (0, 0) }
    }

    /// A child of an upper node.
    pub fn child(key: impl Into<Vec<u8>>, hash: Hash, at: u64) -> Self {
        let (identity, at) = (hash.0.to_vec(), (0, at));
        Self { shared: None, key: key.into(), identity, location: None, at }
    }
}

impl Node {
    /// A leaf.
    pub fn leaf(items: impl IntoIterator<Item = Item>) -> Self {
        Self { items: items.into_iter().collect(), ..Self::default() }
    }

    /// A node above others.
    pub fn above(level: u8, items: impl IntoIterator<Item = Item>) -> Self {
        Self { level, count: None, items: items.into_iter().collect() }
    }

    /// Returns the block and the identity hash.
    pub fn encode(&self) -> (Vec<u8>, Hash) {
        let (mut identity, mut locations) = (Writer::new(), Writer::new());
        identity.u8(self.level).varint(self.count.unwrap_or(self.items.len() as u64));
        let mut before: &[u8] = &[];
        for item in &self.items {
            let common = before.iter().zip(&item.key).take_while(|(one, two)| one == two).count();
            let shared = item.shared.unwrap_or(common as u64);
            identity.varint(shared).bytes(&item.key[common..]);
            match self.level {
                0 => identity.bytes(&item.identity),
                _ => identity.raw(&item.identity),
            };
            match &item.location {
                Some(location) => {
                    locations.bytes(location);
                }
                None => {
                    if self.level == 0 {
                        locations.varint(0);
                    }
                    locations.varint(item.at.0).varint(item.at.1);
                }
            }
            before = &item.key;
        }
        let identity = identity.into_vec();
        let mut out = Writer::new();
        out.u8(0x83).bytes(&identity).raw(locations.as_slice());
        (out.into_vec(), Hash::of(&identity))
    }
}

/// Both parts of an entry: identity and location.
pub type Parts = (Vec<u8>, Vec<u8>);

/// Returns the parts of a folder's entry.
pub fn folder() -> Parts {
    let mut identity = Writer::new();
    identity.u8(2).varint(0).varint(0o755).varint(0).varint(0);
    (identity.into_vec(), vec![1])
}

/// Returns the parts of a file's entry: the size it says, and extents (slot, first block, count, first byte, bytes).
pub fn file(size: u64, extents: &[[u64; 5]]) -> Parts {
    let (mut identity, mut location) = (Writer::new(), Writer::new());
    identity.u8(0).varint(size).varint(0o644).varint(0).varint(0).hash(&Hash([1; 32]));
    location.varint(1).hash(&Hash([2; 32])).varint(extents.len() as u64);
    for number in extents.iter().flatten() {
        location.varint(*number);
    }
    (identity.into_vec(), location.into_vec())
}

/// Returns the key of a name in the root.
pub fn key(name: &[u8]) -> Vec<u8> {
    [b"\0", name].concat()
}
