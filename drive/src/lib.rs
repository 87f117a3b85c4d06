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
//! Where to look: [`Version`] reads, [`diff()`] compares, [`commit()`] writes, [`Chunker`], [`ChunkIndex`] and
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
mod safe_path;
mod tag;
mod tag_name;
mod version;

pub use self::{
    blocks::{Blocks, kind},
    change::{Change, Counts, FILES, FeedRef, Op, Parent, Role, Root},
    chunk_index::ChunkIndex,
    chunker::{Chunker, ChunkerParams},
    commit::{ChangeInfo, CommitError, Committed, commit},
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
