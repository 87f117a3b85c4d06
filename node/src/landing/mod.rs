//! Downloaded blocks become files, each written once, straight where it belongs, and served from there.
//!
//! A file is written under a temporary name beside its final one and renamed when its last byte is there. Names go through
//! `SafePath` and a directory handle; no symlink is followed. What is in the way and not ours is never replaced without leave.
//! Elsewhere: which block belongs where (`plan`), writing one file (`target`).

mod plan;
mod target;

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;

use datnode_drive::{ChunkList, Chunker, ChunkerParams, DrivePath, Entry, Kind, Mtime, SafePath};
use datnode_feed::{BlockIndex, FeedSlot, InPlace, Place, Storage, Store, leaf};

use crate::disk::beneath::Beneath;
use crate::error::Error;
use plan::Plan;
use target::{Folder, Target};

/// What an earlier version of this clone put where: it may be replaced if it is still so.
pub type Ours = HashMap<Vec<u8>, (u64, Mtime)>;

/// Files on their way to the disk.
pub struct Landing {
    plan: Plan,
    folder: Folder,
    directories: Vec<(SafePath, Entry)>,
    symlinks: Vec<(SafePath, Entry)>,
    states: Vec<State>,
    open: HashMap<usize, Target>,
    /// Names that must not or cannot be written here, and why.
    pub refused: Vec<(DrivePath, String)>,
    /// Bytes of files that have landed, those found in place included.
    pub landed: u64,
    /// Bytes that all files have.
    pub total: u64,
}

/// How far a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// So many bytes are still to be written.
    Missing(u64),
    /// It is in place; blocks of it may still be unknown to the store.
    Landed,
}

impl Landing {
    /// Plans the landing of a version's entries beneath `root`.
    ///
    /// # Errors
    /// E-DIRTY, before anything is written, if something is in the way that is neither equal nor ours and `force` is not set.
    pub fn new(
        root: &Path,
        entries: Vec<(DrivePath, Entry)>,
        ours: &Ours,
        force: bool,
    ) -> Result<Self, Error> {
        let beneath = Beneath::open(root).map_err(|error| Error::io("open", root, &error))?;
        let mut landing = Self {
            plan: Plan::default(),
            folder: Folder::new(beneath),
            directories: Vec::new(),
            symlinks: Vec::new(),
            states: Vec::new(),
            open: HashMap::new(),
            refused: Vec::new(),
            landed: 0,
            total: 0,
        };
        let files = landing.sort_out(entries);
        landing.plan = Plan::new(files);
        landing.look_around(ours, force)?;
        Ok(landing)
    }

    /// Separates kinds; names that may not land are listed and left out.
    fn sort_out(&mut self, entries: Vec<(DrivePath, Entry)>) -> Vec<(SafePath, Entry)> {
        let mut files = Vec::new();
        for (path, entry) in entries {
            let safe = match SafePath::new(&path) {
                Ok(safe) => safe,
                Err(refusal) => {
                    self.refused.push((path, refusal.to_string()));
                    continue;
                }
            };
            match entry.kind {
                Kind::File => files.push((safe, entry)),
                Kind::Directory => self.directories.push((safe, entry)),
                Kind::Symlink => match safe.check_link(&entry.target) {
                    Ok(()) => self.symlinks.push((safe, entry)),
                    Err(refusal) => self.refused.push((path, refusal.to_string())),
                },
            }
        }
        files
    }

    /// Looks at what is there already.
    fn look_around(&mut self, ours: &Ours, force: bool) -> Result<(), Error> {
        let mut dirty = Vec::new();
        for (path, entry) in &self.plan.files {
            let name = path.as_bytes();
            self.total += entry.size;
            let state = match self.folder.look(name) {
                None => State::Missing(entry.size),
                Some(there)
                    if there.file && (there.size, there.mtime) == (entry.size, entry.mtime) =>
                {
                    State::Landed
                }
                Some(there)
                    if there.file
                        && there.size == entry.size
                        && self.folder.equals(name, entry) =>
                {
                    self.folder.dress(name, entry);
                    State::Landed
                }
                Some(there) => {
                    let known = there.file && ours.get(name) == Some(&(there.size, there.mtime));
                    if !known && !force {
                        dirty.push(name.to_vec());
                    }
                    State::Missing(entry.size)
                }
            };
            if state == State::Landed {
                self.landed += entry.size;
            }
            self.states.push(state);
        }
        for (path, entry) in &self.symlinks {
            let there = self.folder.look(path.as_bytes());
            if there.is_some_and(|there| there.target.as_deref() != Some(&entry.target[..]))
                && !force
            {
                dirty.push(path.as_bytes().to_vec());
            }
        }
        if dirty.is_empty() {
            Ok(())
        } else {
            Err(Error::dirty("files in the way differ from the drive's", &dirty))
        }
    }

    /// Returns the blocks that the files need.
    pub fn runs(&self) -> Vec<std::ops::Range<u64>> {
        self.plan.runs()
    }

    /// Makes the folders, and the empty files; puts blocks in place that the store holds from an earlier run.
    ///
    /// # Errors
    /// What the disk says.
    pub fn begin<S: Storage>(
        &mut self,
        store: &mut Store<S>,
        content: FeedSlot,
    ) -> Result<(), Error> {
        for (path, _) in &self.directories {
            self.folder
                .make(path.as_bytes())
                .map_err(|error| failed("create", path.as_bytes(), &error))?;
        }
        for file in 0..self.plan.files.len() {
            if self.states[file] == State::Missing(0) {
                self.write(store, file, 0, &[])?;
            }
        }
        for run in self.plan.runs() {
            let held: Vec<u64> = store.have(content).iter_ones(run).collect();
            for block in held.into_iter().map(BlockIndex) {
                self.settle(store, content, block)?;
            }
        }
        Ok(())
    }

    /// Puts a block that the store holds where it belongs, as far as it is not there.
    fn settle<S: Storage>(
        &mut self,
        store: &mut Store<S>,
        content: FeedSlot,
        block: BlockIndex,
    ) -> Result<(), Error> {
        let Some(offset) = store.byte_offset(content, block).map_err(Error::store)? else {
            return Ok(());
        };
        let spots = self.plan.spots(block.0, offset);
        let place = store.where_is(content, block).map_err(Error::store)?;
        let all_landed = spots.iter().all(|spot| self.states[spot.file] == State::Landed);
        let in_place = |place: &Place| match place {
            Place::Working { path, offset } => spots.iter().any(|spot| {
                self.plan.files[spot.file].0.as_bytes() == path.as_slice() && spot.offset == *offset
            }),
            Place::Data { .. } => true,
        };
        if all_landed && place.as_ref().is_some_and(in_place) {
            return Ok(());
        }
        // The bytes are read, hashed, and written where they are missing; what changed meanwhile is fetched again.
        if let Some(bytes) = store.read(content, block).map_err(Error::store)? {
            self.land(store, content, block, offset, &bytes)?;
        }
        Ok(())
    }

    /// Writes one verified block to all its places; tells the store where it lives.
    ///
    /// `false`: no file wants this block.
    ///
    /// # Errors
    /// What the disk says; E-SPACE when it is full.
    pub fn land<S: Storage>(
        &mut self,
        store: &mut Store<S>,
        content: FeedSlot,
        block: BlockIndex,
        byte_offset: u64,
        bytes: &[u8],
    ) -> Result<bool, Error> {
        let spots = self.plan.spots(block.0, byte_offset);
        let Some(first) = spots.first().copied() else { return Ok(false) };
        for spot in &spots {
            self.write(store, spot.file, spot.offset, bytes)?;
        }
        let name = self.plan.files[first.file].0.as_bytes();
        let path = match self.states[first.file] {
            State::Landed => name.to_vec(),
            State::Missing(_) => target::temporary(name),
        };
        let at = InPlace { path: &path, offset: first.offset };
        store.place(content, block, at).map_err(Error::store)?;
        Ok(true)
    }

    fn write<S: Storage>(
        &mut self,
        store: &mut Store<S>,
        file: usize,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), Error> {
        let State::Missing(left) = self.states[file] else { return Ok(()) };
        let (path, entry) = &self.plan.files[file];
        let name = path.as_bytes();
        let whole = bytes.len() as u64 == entry.size;
        let said = |error: std::io::Error| failed("write", name, &error);
        let mut target = match self.open.remove(&file) {
            Some(target) => target,
            None => self.folder.begin(name, entry.size).map_err(said)?,
        };
        let written = target.write(offset, bytes).map_err(said)?;
        let left = left - written.min(left);
        if left > 0 {
            self.states[file] = State::Missing(left);
            self.keep_open(file, target);
            return Ok(());
        }
        self.folder.finish(target, name, entry).map_err(said)?;
        if !whole {
            store.rename_working(&target::temporary(name), name).map_err(Error::store)?;
        }
        self.states[file] = State::Landed;
        self.landed += entry.size;
        Ok(())
    }

    fn keep_open(&mut self, file: usize, target: Target) {
        self.open.insert(file, target);
    }

    /// Writes links, and gives folders their modes and times, when all files have landed; tells how many files have not.
    ///
    /// # Errors
    /// What the disk says.
    pub fn finish(&mut self) -> Result<usize, Error> {
        for (path, entry) in &self.symlinks {
            let name = path.as_bytes();
            self.folder.link(name, entry).map_err(|error| failed("link", name, &error))?;
        }
        // Deepest first: what is done inside a folder changes its time.
        for (path, entry) in self.directories.iter().rev() {
            self.folder.dress(path.as_bytes(), entry);
        }
        Ok(self.states.iter().filter(|state| **state != State::Landed).count())
    }
}

fn failed(op: &str, path: &[u8], error: &std::io::Error) -> Error {
    use std::os::unix::ffi::OsStrExt as _;
    Error::io(op, Path::new(std::ffi::OsStr::from_bytes(path)), error)
}

/// Tells whether the bytes of `file` are those of an entry: the same chunks, as its signed identity lists them.
fn same_chunks(mut file: impl Read, entry: &Entry) -> std::io::Result<bool> {
    let chunker = Chunker::new(ChunkerParams::default()).expect("the default parameters are valid");
    let mut list = ChunkList::default();
    let mut window = Vec::new();
    loop {
        let read = file.by_ref().take(4 << 20).read_to_end(&mut window)?;
        let end = read < 4 << 20;
        let mut at = 0;
        while let Some(len) = chunker.next(&window[at..], end).filter(|_| at < window.len()) {
            list.push(&leaf(&window[at..at + len]).hash);
            at += len;
        }
        window.drain(..at);
        if end {
            return Ok(list.finish() == entry.chunks);
        }
    }
}
