#![no_std]
extern crate alloc;

mod bitfield;
pub mod codec;
mod hash;
mod head;
mod journal;
mod key;
pub mod limits;
mod memory;
mod peaks;
mod position;
mod proof;
mod storage;
//mod store;

pub use bitfield::Bitfield;
pub use codec::DecodeError;
pub use hash::{Hash, Node, leaf, parent, root};
pub use head::{Ancestor, Head, HeadError, SignedHead};
pub use key::{DiscoveryKey, KeyError, PublicKey, SecretKey};
pub use memory::MemoryStorage;
pub use position::{BlockIndex, NodeIndex, peaks};
pub use proof::{BlockProof, UpgradeProof, levels, upgrade_nodes};
pub use storage::{FeedSlot, FileId, Storage, StorageError};
