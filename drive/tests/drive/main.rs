//! The drive from outside: bytes pinned, random histories, hostile blocks, figures at size.

mod common;
mod diff;
mod facts;
mod golden;
mod history;
mod hostile;
mod limits;
mod model;
mod scale;
mod streamed;
mod tags;
