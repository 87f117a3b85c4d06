//! The module that maps the store's tables, and its tests, without the node around it.

#![allow(dead_code, reason = "the tests are all that uses it here")]

#[path = "../../node/src/disk/map.rs"]
mod map;
