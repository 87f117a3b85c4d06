//! What is in the folder, held against what the drive says of it, without opening anything.
//!
//! Elsewhere: taking in what is different (`run`).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use datnode_drive::limits::ENTRY_BYTES_MAX;
use datnode_drive::{DrivePath, Entry, Key, Kind, Op};
use datnode_feed::codec::{DecodeError, Reader, Writer as Out};
use datnode_feed::{Storage, Store};

use super::Writer;
use super::base::Known;
use super::spool::{Record, Spool};
use super::walk::{Found, Inventory};
use crate::error::Error;

/// How something is different, as far as it shows without opening it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// A file that has to be read.
    Other,
    /// A file that looks as it did under another name.
    Moved,
    /// No file: all that there is to say is known.
    Known,
}

/// A name under which there is something else than the drive says.
#[derive(Debug)]
pub(super) enum Difference {
    /// What is there, and what the drive has.
    Here(Found, Look, Option<Entry>),
    /// What is not there any more.
    Gone(DrivePath, Entry),
}

/// What is different, in the order of the keys.
pub(super) struct Differences {
    pub(super) list: Spool<Difference>,
    /// How many of them are there.
    pub(super) here: u64,
    /// How many files have to be read.
    pub(super) to_read: u64,
    /// How many bytes there are more than the base has.
    pub(super) more: u64,
}

/// What else the drive says: entries that have other names now, and from when on nothing is taken to be as it was because it looks so.
type Hints<'a> = (&'a BTreeMap<Key, Entry>, i64);

impl Differences {
    /// Goes through what is there and what is known, side by side.
    pub(super) fn find<S: Storage>(
        store: &mut Store<S>,
        writer: &Writer<'_>,
        root: &Path,
        Inventory { found, walked }: &Inventory,
        mut known: Known,
        hints: Hints<'_>,
        stop: &AtomicBool,
    ) -> Result<Self, Error> {
        let mut all = Self { list: Spool::new(root), here: 0, to_read: 0, more: 0 };
        let changes = writer.changes.0;
        // What may only be out of sight is not gone.
        let gone = |(key, entry): (Key, Entry)| {
            let path = key.path().ok().filter(|path| !walked.is_blind(path.as_bytes()))?;
            Some(Difference::Gone(path, entry))
        };
        let mut less = 0_u64;
        for item in found.read() {
            if stop.load(Ordering::Relaxed) {
                return Err(Error::interrupted());
            }
            let (item, mut old) = (item?, None);
            let key = item.path.key();
            while let Some(known) = known.next_until(store, changes, Some(&key))? {
                if known.0 == key {
                    old = Some(known.1);
                    break;
                }
                less = less.saturating_add(known.1.size);
                gone(known).iter().try_for_each(|gone| all.list.push(gone))?;
            }
            let (new_bytes, old_bytes) = (item.size, old.as_ref().map_or(0, |old| old.size));
            match item.kind {
                Kind::File => {
                    all.more = all.more.saturating_add(new_bytes.saturating_sub(old_bytes));
                }
                _ => less = less.saturating_add(old_bytes),
            }
            if let Some(look) = look(&item, &key, old.as_ref(), hints) {
                all.here += 1;
                all.to_read += u64::from(look == Look::Other);
                all.list.push(&Difference::Here(item, look, old))?;
            }
        }
        while let Some(known) = known.next_until(store, changes, None)? {
            less = less.saturating_add(known.1.size);
            gone(known).iter().try_for_each(|gone| all.list.push(gone))?;
        }
        // What is gone may have been renamed: then it is here already.
        all.more = all.more.saturating_sub(less);
        Ok(all)
    }
}

/// Tells how something is different from what the drive has; nothing if it is not.
fn look(
    item: &Found,
    key: &Key,
    old: Option<&Entry>,
    (moved, racy_from): Hints<'_>,
) -> Option<Look> {
    if item.kind != Kind::File {
        let is_same = old.is_some_and(|old| old.is_same_as(&item.entry()));
        return (!is_same).then_some(Look::Known);
    }
    let unchanged = |old: &Entry| {
        old.kind == Kind::File
            && (old.size, old.mode, old.mtime) == (item.size, item.mode, item.mtime)
            && item.mtime.seconds < racy_from
    };
    match (moved.get(key), old) {
        (Some(moved), _) if unchanged(moved) => Some(Look::Moved),
        (None, Some(old)) if unchanged(old) => None,
        // Something else may have the name now that looks the same.
        _ => Some(Look::Other),
    }
}

impl Record for Difference {
    fn encode(&self, out: &mut Out) {
        match self {
            Self::Gone(path, old) => {
                out.u8(0);
                // Entries are encoded with the path they are under.
                Op::Put(path.clone(), old.clone()).encode(old.change, out);
            }
            Self::Here(found, look, old) => {
                out.u8(match look {
                    Look::Other => 1,
                    Look::Moved => 2,
                    Look::Known => 3,
                });
                let mut own = Out::new();
                if let Some(old) = old {
                    Op::Put(found.path.clone(), old.clone()).encode(old.change, &mut own);
                }
                out.bytes(own.as_slice());
                found.encode(out);
            }
        }
    }

    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let put = |input: &mut Reader<'_>| match Op::decode(input)? {
            Op::Put(path, entry) => Ok((path, entry)),
            Op::Delete(_) => Err(DecodeError::Invalid("op")),
        };
        let look = match input.u8()? {
            0 => return put(input).map(|(path, old)| Self::Gone(path, old)),
            1 => Look::Other,
            2 => Look::Moved,
            3 => Look::Known,
            _ => return Err(DecodeError::Invalid("look")),
        };
        let old = input.bytes(2 * ENTRY_BYTES_MAX)?;
        let old = match old {
            [] => None,
            _ => Some(put(&mut Reader::new(old))?.1),
        };
        Ok(Self::Here(Found::decode(input)?, look, old))
    }
}
