//! Files with history over signed, append-only feeds. No I/O, no clock, no threads.
//!
//! A drive is a feed of **changes**, whose blocks this crate encodes, decodes and checks, and one
//! or more feeds of **content**, whose blocks are chunks of files. The crate never waits: it is
//! given a source of [`Blocks`], and a function that misses one answers [`Step::Need`] and is asked
//! again when the block is here.
//!
//! ```
//! use core::{cell::RefCell, convert::Infallible};
//! use std::borrow::Cow;
//!
//! use datnode_drive::{
//!     Blocks, ChangeInfo, DrivePath, Entry, Header, Location, Mtime, Op, Step, Version, commit,
//!     header_block,
//! };
//! use datnode_feed::BlockIndex;
//!
//! /// A changes feed in memory.
//! struct List(RefCell<Vec<Vec<u8>>>);
//!
//! impl Blocks for List {
//!     type Error = Infallible;
//!
//!     fn block(&self, at: Location) -> Result<Option<Cow<'_, [u8]>>, Infallible> {
//!         let block = usize::try_from(at.block.0).ok();
//!         Ok(block.and_then(|block| self.0.borrow().get(block).cloned()).map(Cow::Owned))
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let feed = List(RefCell::new(vec![header_block(&Header::new("example"))]));
//! let Step::Done(empty) = Version::open(&feed, BlockIndex(0))? else { unreachable!() };
//!
//! // One change: a folder and a link in it.
//! let folder = DrivePath::from_bytes("docs")?;
//! let link = folder.join(b"latest")?;
//! let ops = [
//!     Op::Put(folder.clone(), Entry::directory(0o755, Mtime::default())),
//!     Op::Put(link.clone(), Entry::symlink(b"v1.txt".to_vec(), Mtime::default())),
//! ];
//! let mut append = |block: &[u8]| {
//!     let mut blocks = feed.0.borrow_mut();
//!     blocks.push(block.to_vec());
//!     Ok::<_, Infallible>(BlockIndex(blocks.len() as u64 - 1))
//! };
//! let Step::Done(made) = commit(&empty, &feed, &ops, ChangeInfo::default(), &mut append)? else {
//!     unreachable!()
//! };
//!
//! // Anyone who has the blocks reads the same.
//! let Step::Done(version) = Version::open(&feed, made.version.position)? else { unreachable!() };
//! assert_eq!(version.number, 1);
//! let Step::Done(Some(entry)) = version.entry(&feed, &link)? else { unreachable!() };
//! assert_eq!(entry.target, b"v1.txt");
//! let Step::Done(names) = version.list(&feed, &folder, None, 100)? else { unreachable!() };
//! assert_eq!(names[0].0, b"latest");
//! # Ok(())
//! # }
//! ```
//!
//! # Batches, other versions, differences, tags
//!
//! A change is a batch: everything in it happens, or nothing. Any earlier version is found from any later one and read in the same way.
//!
//! ```
//! # use core::{cell::RefCell, convert::Infallible};
//! # use std::borrow::Cow;
//! # use datnode_drive::{Blocks, ChangeInfo, FeedRef, Header, Role, commit, header_block};
//! # use datnode_feed::SecretKey;
//! use datnode_drive::{
//!     DrivePath, FileBuilder, Location, Mtime, Op, ReadError, Reading, Step, Tag, TagName, TagOp,
//!     Version, byte_ranges,
//! };
//! use datnode_feed::{BlockIndex, Hash, leaf};
//! #
//! # struct List(RefCell<Vec<Vec<u8>>>);
//! # impl Blocks for List {
//! #     type Error = Infallible;
//! #     fn block(&self, at: Location) -> Result<Option<Cow<'_, [u8]>>, Infallible> {
//! #         let block = usize::try_from(at.block.0).ok();
//! #         Ok(block.and_then(|block| self.0.borrow().get(block).cloned()).map(Cow::Owned))
//! #     }
//! # }
//!
//! /// Takes an answer; here no block is ever missing.
//! fn done<T>(step: Reading<T, Infallible>) -> Result<T, ReadError<Infallible>> {
//!     match step? {
//!         Step::Done(value) => Ok(value),
//!         Step::Need(blocks) => unreachable!("{blocks:?} are here"),
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let feed = List(RefCell::new(vec![header_block(&Header::new("example"))]));
//! # let head = FeedRef {
//! #     key: SecretKey::from_bytes([1; 32]).public(), role: Role::Content, fork: 0, length: 1,
//! #     byte_length: 3, root: Hash([0; 32]),
//! # };
//! # let make = |base: &Version, ops: &[Op], tags: Vec<TagOp>| {
//! #     let info = ChangeInfo { feeds: vec![head.clone()], tags, ..ChangeInfo::default() };
//! #     let mut append = |block: &[u8]| {
//! #         let mut blocks = feed.0.borrow_mut();
//! #         blocks.push(block.to_vec());
//! #         Ok::<_, Infallible>(BlockIndex(blocks.len() as u64 - 1))
//! #     };
//! #     match commit(base, &feed, ops, info, &mut append) {
//! #         Ok(Step::Done(made)) => made.version,
//! #         other => panic!("{other:?}"),
//! #     }
//! # };
//! # let empty = done(Version::open(&feed, BlockIndex(0)))?;
//! // A file is a list of chunks, which are blocks of a content feed.
//! let mut file = FileBuilder::new();
//! file.push(&leaf(b"1,2"), Location { slot: 1, block: BlockIndex(0) }, 0);
//! let file = file.finish(0o644, Mtime::default(), Hash::of(b"1,2"));
//! let [a, b] = ["a.csv", "b.csv"].map(|name| DrivePath::from_bytes(name).expect("a name"));
//!
//! // `make(base, ops, tags)` is a commit, as above: a put; a put and a delete at once; a tag.
//! let one = make(&empty, &[Op::Put(a.clone(), file.clone())], vec![]);
//! let two = make(&one, &[Op::Delete(a.clone()), Op::Put(b.clone(), file.clone())], vec![]);
//! let name: TagName = "v1".parse()?;
//! let three = make(&two, &[], vec![TagOp::Set(name.clone(), Tag::of(&one))]);
//!
//! // Where bytes of a file are: for a cursor, at any offset.
//! let ranges = byte_ranges(&file, 1..3);
//! assert_eq!((ranges[0].slot, ranges[0].bytes.clone()), (1, 1..3));
//!
//! // Checkout: by number, one back, or by tag.
//! assert_eq!(done(three.find(&feed, 1))?.as_ref(), Some(&one));
//! assert_eq!(done(three.previous(&feed))?, Some(two.clone()));
//! let tag = done(three.tag(&feed, &name))?.expect("it was set");
//! assert!(done(done(three.tagged(&feed, &tag))?.entry(&feed, &a))?.is_some());
//!
//! // Differences cost what differs, however large both versions are.
//! let page = done(one.diff(&three, &feed, None, 100))?;
//! let paths = page.differences.iter().map(|difference| difference.path.as_bytes());
//! assert!(paths.eq([b"a.csv", b"b.csv"]));
//! let page = done(two.tags_changed(&three, &feed, None, 100))?;
//! assert_eq!((&page.differences[0].name, page.differences[0].new), (&name, Some(tag)));
//! # Ok(())
//! # }
//! ```
//!
//! Where to look: [`Version`] reads, [`Tag`] names versions, [`diff()`] compares, [`commit()`] writes, [`Chunker`], [`ChunkIndex`] and
//! [`FileBuilder`] turn files into entries, [`byte_ranges`] turns entries back into bytes, and
//! [`SafePath`] decides which names may land on a disk. Formats are in SPEC 8.

#![no_std]

extern crate alloc;
#[cfg(any(test, feature = "fuzz"))]
extern crate std;

mod blocks;
mod change;
mod chunk_index;
mod chunker;
mod commit;
mod cursor;
mod diff;
mod entry;
mod error;
mod file_builder;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
mod header;
mod history;
mod index;
pub mod limits;
mod path;
mod runs;
mod safe_path;
mod tag;
mod tag_name;
mod version;

pub use self::{
    blocks::{Blocks, Identified, kind},
    change::{Change, Counts, FILES, FeedRef, Op, Parent, Role, Root},
    chunk_index::ChunkIndex,
    chunker::{Chunker, ChunkerParams},
    commit::{ChangeInfo, CommitError, Committed, commit, commit_streamed},
    cursor::{FeedRange, ReadAhead, byte_ranges},
    diff::{DiffError, DiffPage, DiffStep, Difference, diff},
    entry::{ChunkList, Entry, Extent, Kind, MODE_MASK, Mtime},
    error::{Damage, Location, ReadError, Reading, Step},
    file_builder::FileBuilder,
    header::{FORMAT, Header, header_block},
    history::Skips,
    path::{DrivePath, Key, PathError},
    safe_path::{PathRefusal, STORE_DIRECTORY, SafePath, TEMPORARY_PREFIX},
    tag::{TAGS, Tag, TagDifference, TagOp, TagPage},
    tag_name::{TagName, TagNameError},
    version::Version,
};
