//! The index of a namespace (file names, tags): an ordered search tree whose shape depends on its keys alone.
//!
//! `node` encodes, `boundary` says where nodes end, `lookup` finds one key, `scan` lists ranges,
//! `compare` tells what differs between two, `update` applies a batch of edits while it reads and writes only what the batch touches.

pub(crate) mod boundary;
pub(crate) mod compare;
pub(crate) mod lookup;
pub(crate) mod node;
pub(crate) mod scan;
pub(crate) mod tree;
pub(crate) mod update;
pub(crate) mod value;

#[cfg(test)]
mod tests;
