//! What is asked of whom, by a replicator alone: no store, no stream, no clock but the test's.

mod leaving;
mod patience;
mod reader;
mod selections;
mod swap;
