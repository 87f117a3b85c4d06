//! Reads one file into chunks.

use std::io::Read as _;
use std::path::Path;

use datnode_drive::{ChunkIndex, Chunker, ChunkerParams, Entry, FileBuilder, Location, Mtime};
use datnode_feed::{BlockIndex, FeedSlot, Hash, Node, Storage, Store, leaf};

use super::walk::{mode, mtime};
use crate::disk::beneath::Beneath;
use crate::error::{Error, reason};

/// How much of a file is in memory at a time.
const WINDOW_BYTES: usize = 4 << 20;
/// How often a file that changes under us is read.
const TRIES: usize = 3;

/// Reads files beneath a folder, and knows the chunks that are stored.
pub(super) struct Reader {
    folder: Beneath,
    chunker: Chunker,
    chunks: ChunkIndex,
    window: Vec<u8>,
    /// Where each block begins that was appended here, from block `first_new` on; the store tells it of signed ones.
    offsets: Vec<u64>,
    first_new: u64,
    pub(super) opened: u64,
    pub(super) bytes_new: u64,
    pub(super) bytes_known: u64,
}

/// What came of reading a file.
pub(super) enum Read {
    Entry(Entry),
    /// It changed each time while it was read.
    Unsteady,
    Unreadable(String),
}

impl Reader {
    pub(super) fn new(root: &Path, chunks: ChunkIndex, first_new: u64) -> Result<Self, Error> {
        let folder = Beneath::open(root).map_err(|error| Error::io("open", root, &error))?;
        let chunker =
            Chunker::new(ChunkerParams::default()).expect("the default parameters are valid");
        let window = Vec::with_capacity(WINDOW_BYTES);
        let offsets = Vec::new();
        Ok(Self {
            folder,
            chunker,
            chunks,
            window,
            offsets,
            first_new,
            opened: 0,
            bytes_new: 0,
            bytes_known: 0,
        })
    }

    /// Reads a file; its new chunks are appended to the content feed.
    pub(super) fn read<S: Storage>(
        &mut self,
        store: &mut Store<S>,
        content: FeedSlot,
        path: &[u8],
    ) -> Result<Read, Error> {
        for _ in 0..TRIES {
            let file = match self.folder.file(path) {
                Ok((file, _)) => file,
                Err(error) => return Ok(Read::Unreadable(reason(&error))),
            };
            self.opened += 1;
            match self.take(store, content, file)? {
                Ok(Some(entry)) => return Ok(Read::Entry(entry)),
                Ok(None) => {}
                Err(why) => return Ok(Read::Unreadable(why)),
            }
        }
        Ok(Read::Unsteady)
    }

    /// Reads an open file; nothing if it changed meanwhile.
    fn take<S: Storage>(
        &mut self,
        store: &mut Store<S>,
        content: FeedSlot,
        mut file: std::fs::File,
    ) -> Result<Result<Option<Entry>, String>, Error> {
        let before = match file.metadata() {
            Ok(metadata) => metadata,
            Err(error) => return Ok(Err(reason(&error))),
        };
        let mut builder = FileBuilder::new();
        let mut whole = blake3::Hasher::new();
        let mut size = 0;
        self.window.clear();
        loop {
            let room = WINDOW_BYTES - self.window.len();
            let read =
                std::io::Read::by_ref(&mut file).take(room as u64).read_to_end(&mut self.window);
            let end = match read {
                Ok(read) => read < room,
                Err(error) => return Ok(Err(reason(&error))),
            };
            let mut at = 0;
            while at < self.window.len() {
                let Some(len) = self.chunker.next(&self.window[at..], end) else { break };
                let chunk = at..at + len;
                whole.update(&self.window[chunk.clone()]);
                let (node, block) = self.chunk(store, content, chunk)?;
                let first_byte = self.first_byte(store, content, block)?;
                builder.push(&node, Location { slot: 1, block }, first_byte);
                size += node.size;
                at += len;
            }
            self.window.drain(..at);
            if end {
                break;
            }
        }
        let after = match file.metadata() {
            Ok(metadata) => metadata,
            Err(error) => return Ok(Err(reason(&error))),
        };
        let times =
            |metadata: &std::fs::Metadata| -> (u64, Mtime) { (metadata.len(), mtime(metadata)) };
        let steady = times(&before) == times(&after) && size == after.len();
        let hash = Hash(*whole.finalize().as_bytes());
        Ok(Ok(steady.then(|| builder.finish(mode(&after), mtime(&after), hash))))
    }

    /// Finds a chunk in the store or appends it.
    fn chunk<S: Storage>(
        &mut self,
        store: &mut Store<S>,
        content: FeedSlot,
        chunk: std::ops::Range<usize>,
    ) -> Result<(Node, BlockIndex), Error> {
        let bytes = &self.window[chunk];
        let node = leaf(bytes);
        for block in self.chunks.get(&node.hash) {
            if store.leaf(content, block).map_err(Error::store)? == Some(node) {
                self.bytes_known += node.size;
                return Ok((node, block));
            }
        }
        let first_byte = store.appended(content).1;
        let block = store.append(content, bytes).map_err(Error::store)?;
        self.offsets.push(first_byte);
        self.chunks.insert(&node.hash, block);
        self.bytes_new += node.size;
        Ok((node, block))
    }
    fn first_byte<S: Storage>(
        &self,
        store: &Store<S>,
        content: FeedSlot,
        block: BlockIndex,
    ) -> Result<u64, Error> {
        let new = block.0.checked_sub(self.first_new).and_then(|new| usize::try_from(new).ok());
        if let Some(offset) = new.and_then(|new| self.offsets.get(new)) {
            return Ok(*offset);
        }
        let known = store.byte_offset(content, block).map_err(Error::store)?;
        known.ok_or_else(|| Error::verify("the sizes of a writer's own blocks are not all here"))
    }
}
