//! Files as a file system has them: names apart from contents, lengths apart from bytes.
//!
//! What changes them is an [`Item`], the smallest thing that a crash keeps or loses. Elsewhere: which items are pending
//! (`disk`), which of them a crash keeps (`crash`).

use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use datnode_feed::FileId;

/// How much of a write reaches the disk whole.
pub const SECTOR_BYTES: usize = 512;

/// The contents of a file, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Inode {
    /// A file of the store; it is never renamed.
    Store(FileId),
    /// A working file, by when it was made.
    Working(u32),
}

/// The name of a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// A file of the store.
    Store(FileId),
    /// A working file.
    Working(Vec<u8>),
}

/// One thing that a crash keeps or loses.
#[derive(Clone, Debug)]
pub enum Item {
    /// A new file appears in its folder.
    Entry(Name, Inode),
    /// A file has another name now, and what had it is gone.
    Rename(Name, Name),
    /// Bytes at an offset; they can be read as far as the file's length goes.
    Bytes(Inode, usize, Rc<[u8]>),
    /// A file is at least so long.
    Length(Inode, usize),
    /// A file is at most so long.
    Cut(Inode, usize),
    /// These bytes of a file read as zeros.
    Hole(Inode, usize, usize),
}

impl Item {
    /// Returns whose item it is; none for a rename.
    pub const fn inode(&self) -> Option<Inode> {
        match self {
            Self::Entry(_, inode)
            | Self::Bytes(inode, ..)
            | Self::Length(inode, _)
            | Self::Cut(inode, _)
            | Self::Hole(inode, ..) => Some(*inode),
            Self::Rename(..) => None,
        }
    }

    /// Tells whether it concerns working files.
    pub const fn is_working(&self) -> bool {
        !matches!(self.inode(), Some(Inode::Store(_)))
    }

    /// Returns it in parts that lie within one sector each.
    pub fn sectors(&self) -> Vec<Self> {
        let Self::Bytes(inode, offset, bytes) = self else { return vec![self.clone()] };
        let mut parts = Vec::new();
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done;
            let len = (SECTOR_BYTES - at % SECTOR_BYTES).min(bytes.len() - done);
            parts.push(Self::Bytes(*inode, at, Rc::from(&bytes[done..done + len])));
            done += len;
        }
        parts
    }
}

/// A file: what was written may go beyond what can be read.
#[derive(Clone, Debug, Default)]
struct File {
    bytes: Rc<Vec<u8>>,
    len: usize,
}

/// All files. A clone is an independent copy, and cheap.
#[derive(Clone, Debug, Default)]
pub struct Files {
    names: BTreeMap<Name, Inode>,
    contents: BTreeMap<Inode, File>,
}

impl Files {
    /// Changes what an item says.
    pub fn apply(&mut self, item: &Item) {
        match item {
            Item::Entry(name, inode) => {
                self.names.insert(name.clone(), *inode);
            }
            Item::Rename(from, to) => {
                if let Some(inode) = self.names.remove(from) {
                    self.names.insert(to.clone(), inode);
                }
            }
            Item::Bytes(inode, offset, bytes) => {
                let file = Rc::make_mut(&mut self.contents.entry(*inode).or_default().bytes);
                let end = offset + bytes.len();
                file.resize(file.len().max(end), 0);
                file[*offset..end].copy_from_slice(bytes);
            }
            Item::Length(inode, len) => {
                let file = self.contents.entry(*inode).or_default();
                file.len = file.len.max(*len);
            }
            Item::Hole(inode, start, end) => {
                let file = Rc::make_mut(&mut self.contents.entry(*inode).or_default().bytes);
                let end = (*end).min(file.len());
                if let Some(bytes) = file.get_mut(*start..end) {
                    bytes.fill(0);
                }
            }
            Item::Cut(inode, len) => {
                let file = self.contents.entry(*inode).or_default();
                Rc::make_mut(&mut file.bytes).truncate(*len);
                file.len = file.len.min(*len);
            }
        }
    }

    /// Returns the file of a name.
    pub fn inode(&self, name: &Name) -> Option<Inode> {
        self.names.get(name).copied()
    }

    /// Returns the length of a file; 0 if there is none.
    pub fn len(&self, name: &Name) -> usize {
        self.file(name).map_or(0, |file| file.len)
    }

    /// Fills `into`; tells whether the file is as long as that.
    pub fn read(&self, name: &Name, offset: u64, into: &mut [u8]) -> bool {
        let Some(range) = range(offset, into.len()) else { return false };
        let Some(file) = self.file(name).filter(|file| range.end <= file.len) else {
            return into.is_empty();
        };
        into.fill(0);
        let written = file.bytes.get(range.start..range.end.min(file.bytes.len()));
        if let Some(written) = written {
            into[..written.len()].copy_from_slice(written);
        }
        true
    }

    /// Returns all names with the lengths of their files.
    pub fn names(&self) -> impl Iterator<Item = (&Name, usize)> + '_ {
        self.names.keys().map(|name| (name, self.len(name)))
    }

    /// Changes the bytes of a file behind everybody's back.
    pub fn damage(&mut self, name: &Name, change: impl FnOnce(&mut Vec<u8>)) {
        let Some(file) = self.names.get(name).and_then(|inode| self.contents.get_mut(inode)) else {
            return;
        };
        let bytes = Rc::make_mut(&mut file.bytes);
        bytes.resize(file.len, 0);
        change(bytes);
        file.len = bytes.len();
    }

    /// Returns the number of the next working file.
    pub(super) fn next_working(&self) -> u32 {
        let numbers = self.names.values().map(|inode| match inode {
            Inode::Working(number) => number + 1,
            Inode::Store(_) => 0,
        });
        numbers.max().unwrap_or(0)
    }

    /// Takes the contents of `inode` from other files.
    pub(super) fn take(&mut self, inode: Inode, from: &Self) {
        match from.contents.get(&inode) {
            Some(file) => self.contents.insert(inode, file.clone()),
            None => self.contents.remove(&inode),
        };
    }

    fn file(&self, name: &Name) -> Option<&File> {
        self.contents.get(self.names.get(name)?)
    }
}

fn range(offset: u64, len: usize) -> Option<Range<usize>> {
    let start = usize::try_from(offset).ok()?;
    Some(start..start.checked_add(len)?)
}
