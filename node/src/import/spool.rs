//! A list that may be too long for memory: while it is short it is there, then it is in a file without a name.
//!
//! What is read back is what was written just now by this process; a file that does not give it back is a failing disk.

use std::fs::{File, OpenOptions};
use std::io;
use std::marker::PhantomData;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use datnode_feed::codec::{DecodeError, Reader, Writer};

use crate::disk::DRIVE_FOLDER;
use crate::error::Error;

/// How many bytes of a list are in memory.
const MEMORY_MAX: usize = 1 << 20;
/// How many are read at a time.
const READ_BYTES: usize = 256 << 10;
/// How many bytes tell how long an item is.
const PREFIX_BYTES: usize = 4;

/// Something that a spool keeps.
pub(super) trait Record: Sized {
    /// Appends its bytes.
    fn encode(&self, out: &mut Writer);

    /// Reads them back.
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError>;
}

/// A list of items, which grows at its end and is read from its beginning as often as one likes.
#[derive(Debug)]
pub(super) struct Spool<T> {
    /// The shared folder; the file is made in its `.dat`.
    root: PathBuf,
    /// What is in the file, and how many bytes that is.
    file: Option<(File, u64)>,
    /// What is behind it.
    buffer: Vec<u8>,
    count: u64,
    items: PhantomData<T>,
}

impl<T: Record> Spool<T> {
    /// Begins a list about the shared folder `root`.
    pub(super) fn new(root: &Path) -> Self {
        let (root, file, buffer) = (root.to_owned(), None, Vec::new());
        Self { root, file, buffer, count: 0, items: PhantomData }
    }

    /// Makes a list of what there is already.
    ///
    /// # Errors
    /// Those of [`push`](Self::push).
    pub(super) fn of<'i>(root: &Path, items: impl IntoIterator<Item = &'i T>) -> Result<Self, Error>
    where
        T: 'i,
    {
        let mut spool = Self::new(root);
        items.into_iter().try_for_each(|item| spool.push(item))?;
        Ok(spool)
    }

    /// Appends an item.
    ///
    /// # Errors
    /// E-IO and E-SPACE, what the disk says.
    pub(super) fn push(&mut self, item: &T) -> Result<(), Error> {
        let mut out = Writer::new();
        item.encode(&mut out);
        let bytes = out.as_slice();
        let len = u32::try_from(bytes.len()).expect("an item is short");
        self.buffer.extend_from_slice(&len.to_le_bytes());
        self.buffer.extend_from_slice(bytes);
        self.count += 1;
        if self.buffer.len() < MEMORY_MAX {
            return Ok(());
        }
        let failed = |error| Error::io("write a list in", &self.root, &error);
        let (file, end) = match &mut self.file {
            Some(file) => file,
            None => self.file.insert((nameless(&self.root).map_err(failed)?, 0)),
        };
        file.write_all_at(&self.buffer, *end).map_err(failed)?;
        *end += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Returns how many items there are.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Returns the items, from the first one on.
    pub(super) fn read(&self) -> Items<'_, T> {
        Items { spool: self, at: 0, piece: Vec::new(), start: 0 }
    }

    /// Reads the piece of the list that begins at a byte; nothing behind its end.
    fn piece(&self, at: u64) -> io::Result<Vec<u8>> {
        let end = self.file.as_ref().map_or(0, |(_, end)| *end);
        match &self.file {
            Some((file, _)) if at < end => {
                let len = usize::try_from(end - at).unwrap_or(READ_BYTES).min(READ_BYTES);
                let mut piece = vec![0; len];
                file.read_exact_at(&mut piece, at)?;
                Ok(piece)
            }
            _ => {
                let from = usize::try_from(at - end).expect("it is in memory");
                let to = self.buffer.len().min(from + READ_BYTES);
                Ok(self.buffer[from..to].to_vec())
            }
        }
    }
}

/// Makes a file that nobody finds; it is gone with this process.
fn nameless(root: &Path) -> io::Result<File> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    // Whoever has the store has this folder to itself: what has the name is left of a process that was killed just here.
    let path = root.join(DRIVE_FOLDER).join(format!("list.{number}"));
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

/// The items of a spool, in their order.
pub(super) struct Items<'s, T> {
    spool: &'s Spool<T>,
    /// Where the piece behind this one begins.
    at: u64,
    piece: Vec<u8>,
    /// Where the next item begins in the piece.
    start: usize,
}

impl<T: Record> Items<'_, T> {
    /// Returns the next bytes of the list, `len` of them; nothing behind its end.
    fn take(&mut self, len: usize) -> io::Result<Option<&[u8]>> {
        while self.piece.len() - self.start < len {
            let more = self.spool.piece(self.at)?;
            if more.is_empty() {
                return Ok(None);
            }
            self.at += more.len() as u64;
            self.piece.drain(..self.start);
            self.start = 0;
            self.piece.extend_from_slice(&more);
        }
        let bytes = &self.piece[self.start..self.start + len];
        self.start += len;
        Ok(Some(bytes))
    }

    fn item(&mut self) -> io::Result<Option<T>> {
        let Some(prefix) = self.take(PREFIX_BYTES)? else { return Ok(None) };
        let prefix = prefix.try_into().expect("so many were asked for");
        let len = usize::try_from(u32::from_le_bytes(prefix)).map_err(io::Error::other)?;
        let bytes = self.take(len)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        T::decode(&mut Reader::new(bytes)).map(Some).map_err(io::Error::other)
    }
}

impl<T: Record> Iterator for Items<'_, T> {
    type Item = Result<T, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.item();
        item.map_err(|error| Error::io("read a list in", &self.spool.root, &error)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run of equal bytes.
    #[derive(Debug, PartialEq)]
    struct Run(u8, u64);

    impl Record for Run {
        fn encode(&self, out: &mut Writer) {
            (0..self.1).for_each(|_| {
                out.u8(self.0);
            });
        }

        fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
            let bytes = input.rest();
            let first = bytes.first().copied().unwrap_or_default();
            assert!(bytes.iter().all(|byte| *byte == first));
            Ok(Self(first, bytes.len() as u64))
        }
    }

    #[test]
    fn what_was_put_in_comes_out_again_however_much_it_is() {
        for count in [0, 1, 100, 40_000] {
            let folder = tempfile::tempdir().unwrap();
            std::fs::create_dir(folder.path().join(DRIVE_FOLDER)).unwrap();
            let items = || {
                (0..count).map(|number: u64| {
                    let len = (number * 7_919) % 700;
                    Run(if len == 0 { 0 } else { number.to_le_bytes()[0] }, len)
                })
            };
            let mut spool = Spool::new(folder.path());
            items().for_each(|item| spool.push(&item).unwrap());
            assert_eq!(spool.count(), count);
            assert!(spool.buffer.len() < MEMORY_MAX);
            assert_eq!(spool.file.is_some(), count == 40_000);
            for _ in 0..2 {
                assert!(spool.read().map(Result::unwrap).eq(items()));
            }
            let left = std::fs::read_dir(folder.path().join(DRIVE_FOLDER)).unwrap().count();
            assert_eq!(left, 0, "it has no name");
        }
    }
}
