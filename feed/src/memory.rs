//! A storage in memory: for tests, for simulations, and for reading a drive that nobody keeps.
//!
//! Files are kept in pages, so that a sparse table costs what was written and discarded bytes are freed.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use crate::storage::{FileId, Storage, StorageError};

const PAGE_BYTES: usize = 64 << 10;

/// A [`Storage`] whose files are in memory. A clone is an independent copy.
#[derive(Clone, Debug, Default)]
pub struct MemoryStorage {
    lens: BTreeMap<FileId, u64>,
    pages: BTreeMap<(FileId, u64), Vec<u8>>,
    working: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl MemoryStorage {
    /// Makes an empty storage.
    pub const fn new() -> Self {
        Self { lens: BTreeMap::new(), pages: BTreeMap::new(), working: BTreeMap::new() }
    }

    /// Puts a working file there, or replaces it.
    pub fn set_working(&mut self, path: &[u8], bytes: Vec<u8>) {
        self.working.insert(path.into(), bytes);
    }

    /// Writes into a working file, making and extending it if need be.
    pub fn write_working(&mut self, path: &[u8], offset: usize, bytes: &[u8]) {
        let file = self.working.entry(path.into()).or_default();
        let end = offset + bytes.len();
        file.resize(file.len().max(end), 0);
        file[offset..end].copy_from_slice(bytes);
    }

    /// Returns a working file.
    pub fn working(&self, path: &[u8]) -> Option<&[u8]> {
        self.working.get(path).map(Vec::as_slice)
    }

    /// Takes a working file away.
    pub fn remove_working(&mut self, path: &[u8]) -> Option<Vec<u8>> {
        self.working.remove(path)
    }

    /// Returns how many bytes of memory the pages take.
    pub fn page_bytes(&self) -> usize {
        self.pages.len() * PAGE_BYTES
    }
}

/// Splits `offset..offset + len` at page boundaries: the page, the start within it, the start within the buffer,
/// and the length.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize, usize)> {
    let page_bytes = PAGE_BYTES as u64;
    let mut done = 0usize;
    core::iter::from_fn(move || {
        let at = offset + done as u64;
        let within = usize::try_from(at % page_bytes).expect("a page is small");
        let piece = (PAGE_BYTES - within).min(len - done);
        let found = (at / page_bytes, within, done, piece);
        done += piece;
        (piece > 0).then_some(found)
    })
}

impl Storage for MemoryStorage {
    fn is_lasting(&self) -> bool {
        false
    }

    fn len(&self, file: FileId) -> Result<u64, StorageError> {
        Ok(self.lens.get(&file).copied().unwrap_or(0))
    }

    fn read(&self, file: FileId, offset: u64, into: &mut [u8]) -> Result<(), StorageError> {
        let end = offset.checked_add(into.len() as u64);
        if end.is_none_or(|end| end > self.lens.get(&file).copied().unwrap_or(0)) {
            return Err(StorageError::new(
                "read",
                file,
                offset,
                into.len(),
                "the file ends before",
            ));
        }
        for (page, within, start, len) in pieces(offset, into.len()) {
            let into = &mut into[start..start + len];
            match self.pages.get(&(file, page)) {
                Some(page) => into.copy_from_slice(&page[within..within + len]),
                None => into.fill(0),
            }
        }
        Ok(())
    }

    fn write(&mut self, file: FileId, offset: u64, bytes: &[u8]) -> Result<(), StorageError> {
        let Some(end) = offset.checked_add(bytes.len() as u64) else {
            return Err(StorageError::new("write", file, offset, bytes.len(), "file too large"));
        };
        let len = self.lens.entry(file).or_default();
        *len = end.max(*len);
        for (page, within, start, len) in pieces(offset, bytes.len()) {
            let page = self.pages.entry((file, page)).or_insert_with(|| vec![0; PAGE_BYTES]);
            page[within..within + len].copy_from_slice(&bytes[start..start + len]);
        }
        Ok(())
    }

    fn truncate(&mut self, file: FileId, len: u64) -> Result<(), StorageError> {
        let old = self.lens.entry(file).or_default();
        if len >= *old {
            return Ok(());
        }
        *old = len;
        let page_bytes = PAGE_BYTES as u64;
        let first = len.div_ceil(page_bytes);
        let gone: Vec<_> =
            self.pages.range((file, first)..=(file, u64::MAX)).map(|(key, _)| *key).collect();
        for key in gone {
            self.pages.remove(&key);
        }
        if let Some(page) = self.pages.get_mut(&(file, len / page_bytes)) {
            let within = usize::try_from(len % page_bytes).expect("a page is small");
            page[within..].fill(0);
        }
        Ok(())
    }

    fn sync(&mut self, _: FileId) -> Result<(), StorageError> {
        Ok(())
    }

    fn read_working(&self, path: &[u8], offset: u64, into: &mut [u8]) -> Result<(), StorageError> {
        let found = self.working.get(path).and_then(|file| {
            let start = usize::try_from(offset).ok()?;
            file.get(start..start.checked_add(into.len())?)
        });
        let Some(found) = found else {
            let name = String::from_utf8_lossy(path);
            let why = "no such bytes";
            return Err(StorageError::new("read", name, offset, into.len(), why));
        };
        into.copy_from_slice(found);
        Ok(())
    }

    fn sync_working(&mut self) -> Result<(), StorageError> {
        Ok(())
    }

    /// Frees the pages that lie in the range as a whole; they then read as zeros.
    fn discard(&mut self, file: FileId, offset: u64, len: u64) -> Result<(), StorageError> {
        let end = offset.saturating_add(len);
        let is_last = end >= self.len(file)?;
        let page_bytes = PAGE_BYTES as u64;
        let end = if is_last { end.div_ceil(page_bytes) } else { end / page_bytes };
        for page in offset.div_ceil(page_bytes)..end {
            self.pages.remove(&(file, page));
        }
        Ok(())
    }

    fn allocated(&self, file: FileId) -> Result<u64, StorageError> {
        let pages = self.pages.range((file, 0)..=(file, u64::MAX)).count() as u64;
        Ok(pages * PAGE_BYTES as u64)
    }
}
