//! Feeds: signed append-only logs with a Merkle tree, held in part or whole.
//!
//! A writer appends blocks and signs heads over them. Whoever holds the feed's public key can take any block from anybody and
//! verify it, one at a time and in any order. A [`Store`] keeps several feeds over one [`Storage`] and makes changes to all of
//! them durable together. There is no clock, disk or thread in this crate; formats are in SPEC.md.
//!
//! ```
//! use datnode_feed::{BlockIndex, MemoryStorage, SecretKey, Store};
//!
//! let secret = SecretKey::from_bytes([7; 32]);
//! let mut writer = Store::open(MemoryStorage::new())?;
//! let feed = writer.add_feed(secret.public())?;
//! for block in ["one", "two", "three"] {
//!     writer.append(feed, block.as_bytes())?;
//! }
//! writer.sign(feed, &secret)?;
//! writer.commit()?;
//!
//! // Elsewhere, with the public key alone: the head, then just the second block.
//! let mut reader = Store::open(MemoryStorage::new())?;
//! let copy = reader.add_feed(secret.public())?;
//! let upgrade = writer.prove_upgrade(feed, 0)?.expect("the writer knows its tree");
//! reader.upgrade(copy, &upgrade)?;
//! let proof = writer.prove(feed, BlockIndex(1), 1)?.expect("the writer knows its tree");
//! reader.insert(copy, &proof, b"two")?;
//! assert_eq!(reader.read(copy, BlockIndex(1))?.as_deref(), Some(&b"two"[..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![no_std]

extern crate alloc;
#[cfg(any(test, feature = "fuzz"))]
extern crate std;

mod accusation;
mod aligned;
mod bitfield;
pub mod codec;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
mod hash;
mod head;
mod key;
pub mod limits;
mod memory;
mod position;
mod proof;
mod storage;
mod store;

pub use accusation::{ACCUSATION_BYTES_MAX, Accusation, AccusationError};
pub use aligned::Aligned;
pub use bitfield::Bitfield;
pub use hash::{Hash, Node, leaf, parent, root};
pub use head::{Ancestor, Head, HeadError, SignedHead};
pub use key::{DiscoveryKey, KeyError, PublicKey, SecretKey};
pub use memory::MemoryStorage;
pub use position::{BlockIndex, NodeIndex, peaks, subtrees};
pub use proof::{
    BlockProof, LEVELS_MAX, LeavesProof, UPGRADE_NODES_MAX, UpgradeProof, levels, levels_above,
    upgrade_nodes,
};
pub use storage::{FeedSlot, FileId, Storage, StorageError};
pub use store::{
    Checked, Cleared, Comparison, FORMAT, HeldLeaves, InPlace, Place, Seek, Store, StoreError,
    Upgraded, VerifyError,
};
