//! Downloaded blocks become files, each written once, straight where it belongs, and served from there.
//!
//! A file is written under a temporary name beside its final one and renamed when its last byte is there. Names go through
//! `SafePath` and a directory handle; no symlink is followed. What is in the way and not ours is never replaced without leave.
//! Elsewhere: what is there already (`look`), which names can stand beside one another (`names`), which block belongs where
//! (`plan`), writing one file (`target`) in large pieces (`pieces`), what earlier versions left (`earlier`), making way for another kind (`way`), whether
//! there is room (`room`).

mod earlier;
mod look;
mod names;
mod pieces;
mod plan;
mod room;
mod target;
mod way;

use std::collections::{HashSet, VecDeque};
use std::ops::Range;
use std::path::Path;

use datnode_drive::{DrivePath, Entry, SafePath};
use datnode_feed::{Bitfield, BlockIndex, FeedSlot, InPlace, Place, Storage, Store};

use crate::disk::beneath::Beneath;
use crate::error::Error;
use earlier::Was;
pub use earlier::{Earlier, landed, note_landed};
use pieces::{PIECE_BYTES, Piece, Pieces};
use plan::{Plan, Spot};
use target::{Folder, Target};

/// How many unfinished files stay open for writing.
const OPEN_MAX: usize = 64;

/// What is to land, and how.
pub struct Wanted {
    /// The entries of the version, or of the part of it that is wanted.
    pub entries: Vec<(DrivePath, Entry)>,
    /// The folder of the drive that is wanted: what earlier versions had elsewhere is left alone.
    pub scope: DrivePath,
    /// What earlier versions put here.
    pub earlier: Earlier,
    /// Whose folder it is.
    pub of: FolderOf,
    /// Whether files that look as they were left are whole; else their bytes are looked at.
    pub trust: bool,
}

/// Whose the working folder is, and so what becomes of what is in the way and of the blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FolderOf {
    /// A reader's: its blocks live in its files.
    Reader {
        /// What becomes of files that are neither equal nor ours.
        others: Others,
    },
    /// A writer's: what was changed here stays, to be taken in later; blocks live in the store, since the files will change.
    Writer,
}

/// What becomes of files in a reader's folder that are neither equal nor ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// Nothing is done at all.
    Refuse,
    /// They are replaced.
    Replace,
    /// They stay; blocks that belong there are kept in the store.
    Leave,
}

/// Files on their way to the disk.
pub struct Landing {
    plan: Plan,
    folder: Folder,
    scope: DrivePath,
    of: FolderOf,
    trust: bool,
    earlier: Earlier,
    directories: Vec<(SafePath, Entry)>,
    symlinks: Vec<(SafePath, Entry)>,
    states: Vec<State>,
    /// Files being written, the one used last in front.
    open: VecDeque<(usize, Target)>,
    pieces: Pieces,
    /// Blocks whose bytes were counted: one may come twice.
    counted: Bitfield,
    /// Names where something of another kind is to go.
    in_the_way: Vec<Vec<u8>>,
    /// Names of which there is something that a rename may replace; nothing else is ever replaced.
    replaced: HashSet<Vec<u8>>,
    /// Whether whole files get their names at once; not before all blocks that are here found their places, since the file
    /// that is replaced may hold some of them.
    naming: bool,
    /// Names that must not or cannot be written here, and why.
    pub refused: Vec<(DrivePath, String)>,
    /// Names of what was changed here and stays, though the version has dropped it, or, in a writer's folder, has something else.
    pub kept: Vec<Vec<u8>>,
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
    /// The user's own stays in its place.
    Left,
}

impl Landing {
    /// Plans the landing of entries beneath `root`.
    ///
    /// # Errors
    /// Before anything is written: E-DIRTY if something is in the way that is neither equal nor ours, E-SPACE if the disk has
    /// too little room.
    pub fn new(root: &Path, wanted: Wanted) -> Result<Self, Error> {
        let Wanted { entries, scope, mut earlier, of, trust } = wanted;
        earlier.seal();
        let beneath = Beneath::open(root).map_err(|error| Error::io("open", root, &error))?;
        let mut landing = Self {
            plan: Plan::default(),
            folder: Folder::new(beneath),
            scope,
            of,
            trust,
            earlier,
            directories: Vec::new(),
            symlinks: Vec::new(),
            states: Vec::new(),
            open: VecDeque::new(),
            pieces: Pieces::default(),
            counted: Bitfield::new(),
            in_the_way: Vec::new(),
            replaced: HashSet::new(),
            naming: false,
            refused: Vec::new(),
            kept: Vec::new(),
            landed: 0,
            total: 0,
        };
        let said = |error| Error::io("try out names in", root, &error);
        let files = landing.sort_out(entries).map_err(said)?;
        landing.plan = Plan::new(files);
        landing.look_around()?;
        landing.check_room(root)?;
        Ok(landing)
    }

    /// Returns the blocks that the files need.
    pub fn runs(&self) -> Vec<Range<u64>> {
        self.plan.runs()
    }

    /// Makes the folders; puts blocks where they belong that the store holds from an earlier run or version.
    ///
    /// # Errors
    /// What the disk says.
    pub fn begin<S: Storage>(
        &mut self,
        store: &mut Store<S>,
        content: FeedSlot,
    ) -> Result<(), Error> {
        for path in std::mem::take(&mut self.in_the_way) {
            if let Some(there) = self.folder.look(&path) {
                way::clear(&self.folder, store, &path, &there)?;
            }
        }
        for (path, _) in &self.directories {
            let path = path.as_bytes();
            self.folder.make(path).map_err(|error| failed("create", path, &error))?;
        }
        let landed = self.states.iter().zip(&self.plan.files);
        for (_, (path, entry)) in landed.filter(|(state, _)| **state == State::Landed) {
            self.folder.dress_if_other(path.as_bytes(), entry);
        }
        for run in self.plan.runs() {
            let held: Vec<u64> = store.have(content).iter_ones(run).collect();
            for block in held.into_iter().map(BlockIndex) {
                self.settle(store, content, block)?;
            }
        }
        self.naming = true;
        for file in 0..self.states.len() {
            if self.states[file] == State::Missing(0) {
                self.name(store, file, true)?;
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
        let lives_in_store = |spot: &Spot| match self.states[spot.file] {
            State::Missing(_) => false,
            State::Landed => self.of == FolderOf::Writer,
            State::Left => true,
        };
        if spots.iter().all(lives_in_store) {
            return Ok(());
        }
        let mut place = store.where_is(content, block).map_err(Error::store)?;
        for spot in &spots {
            let name = self.plan.name(spot.file);
            // A run that was cut short between renaming the file and saying so.
            let renamed = is_at(&place, &target::temporary(name), spot.offset);
            if self.states[spot.file] == State::Landed && renamed {
                let at = InPlace { path: name, offset: spot.offset };
                store.place(content, block, at).map_err(Error::store)?;
                place = store.where_is(content, block).map_err(Error::store)?;
            }
        }
        let all_landed = spots.iter().all(|spot| self.states[spot.file] == State::Landed);
        let at_home = |spot: &Spot| is_at(&place, self.plan.name(spot.file), spot.offset);
        if all_landed && spots.iter().any(at_home) {
            return Ok(());
        }
        // The bytes are read, hashed, and written where they are missing; what changed meanwhile is fetched again.
        if let Some(bytes) = store.read(content, block).map_err(Error::store)? {
            self.put(store, content, block, &spots, &bytes, place.as_ref())?;
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
        if spots.is_empty() {
            return Ok(false);
        }
        self.put(store, content, block, &spots, bytes, None)?;
        Ok(true)
    }

    /// `from` is where the bytes were found, if they are here already.
    fn put<S: Storage>(
        &mut self,
        store: &mut Store<S>,
        content: FeedSlot,
        block: BlockIndex,
        spots: &[Spot],
        bytes: &[u8],
        from: Option<&Place>,
    ) -> Result<(), Error> {
        let count = !self.counted.contains(block.0);
        self.counted.set(block.0);
        for spot in spots {
            self.write(store, *spot, bytes, count, from)?;
        }
        let ours = |spot: &&Spot| self.states[spot.file] != State::Left;
        let home = spots.iter().find(ours).filter(|_| self.of != FolderOf::Writer);
        let Some(home) = home else {
            return match from {
                Some(_) => Ok(()),
                None => store.keep(content, block, bytes).map_err(Error::store),
            };
        };
        let path = match self.states[home.file] {
            State::Missing(_) => self.temporary(home.file),
            State::Landed | State::Left => self.plan.name(home.file).to_vec(),
        };
        let at = InPlace { path: &path, offset: home.offset };
        store.place(content, block, at).map_err(Error::store)
    }

    fn write<S: Storage>(
        &mut self,
        store: &mut Store<S>,
        spot: Spot,
        bytes: &[u8],
        count: bool,
        from: Option<&Place>,
    ) -> Result<(), Error> {
        let State::Missing(left) = self.states[spot.file] else { return Ok(()) };
        let (len, size) = (bytes.len() as u64, self.plan.files[spot.file].1.size);
        let here =
            from.is_some_and(|place| is_place(place, &self.temporary(spot.file), spot.offset));
        if !here && size > PIECE_BYTES as u64 {
            if let Some(piece) = self.pieces.add(spot.file, spot.offset, bytes) {
                self.write_piece(piece)?;
            }
        } else if !here {
            let said = |error| failed("write", self.plan.name(spot.file), &error);
            let target = open(&self.folder, &self.plan, &mut self.open, spot.file).map_err(said)?;
            target.write(spot.offset, bytes).map_err(said)?;
        }
        if count {
            let left = left.saturating_sub(len);
            self.states[spot.file] = State::Missing(left);
            if left == 0 && self.naming {
                // Only a file of several blocks has places under its temporary name.
                self.name(store, spot.file, len < size)?;
            }
        }
        Ok(())
    }

    fn write_piece(&mut self, piece: Piece) -> Result<(), Error> {
        let target = open(&self.folder, &self.plan, &mut self.open, piece.file);
        match target.and_then(|target| target.write_past_cache(piece.start, &piece.bytes)) {
            Ok(()) => self.pieces.recycle(piece),
            Err(error) => {
                let error = failed("write", self.plan.name(piece.file), &error);
                // The store was told of these bytes, and must not make that durable without them.
                self.pieces.put_back(piece);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Writes what was gathered in memory: before working files are read, or made durable.
    ///
    /// # Errors
    /// What the disk says; E-SPACE when it is full.
    pub fn write_out(&mut self) -> Result<(), Error> {
        while let Some(piece) = self.pieces.take(None) {
            self.write_piece(piece)?;
        }
        Ok(())
    }

    /// Returns the path that a file has until it is whole.
    fn temporary(&self, file: usize) -> Vec<u8> {
        match self.open.iter().find(|(other, _)| *other == file) {
            Some((_, target)) => target.temporary.clone(),
            None => target::temporary(self.plan.name(file)),
        }
    }

    /// Gives a whole file its name; `placed`: blocks are recorded under its temporary one.
    fn name<S: Storage>(
        &mut self,
        store: &mut Store<S>,
        file: usize,
        placed: bool,
    ) -> Result<(), Error> {
        while let Some(piece) = self.pieces.take(Some(file)) {
            self.write_piece(piece)?;
        }
        let (path, entry) = &self.plan.files[file];
        let name = path.as_bytes();
        let said = |error: std::io::Error| failed("write", name, &error);
        let target = open(&self.folder, &self.plan, &mut self.open, file).map_err(said)?;
        self.folder.finish(target, name, entry, self.replaced.contains(name)).map_err(said)?;
        if placed {
            store.rename_working(&target.temporary, name).map_err(Error::store)?;
        }
        self.open.pop_front();
        self.states[file] = State::Landed;
        self.landed = self.landed.saturating_add(entry.size);
        Ok(())
    }

    /// Writes links, removes what the version dropped, and gives folders their modes and times, when all files have landed;
    /// tells how many files have not.
    ///
    /// # Errors
    /// What the disk says.
    pub fn finish<S: Storage>(
        &mut self,
        store: &mut Store<S>,
        content: FeedSlot,
    ) -> Result<usize, Error> {
        let left = self.states.iter().filter(|state| matches!(state, State::Missing(_))).count();
        if left > 0 {
            return Ok(left);
        }
        for (path, entry) in &self.symlinks {
            let name = path.as_bytes();
            let linked = self.folder.link(name, entry, self.replaced.contains(name));
            linked.map_err(|error| failed("link", name, &error))?;
        }
        self.remove_dropped()?;
        let aside = way::forget_aside(&self.folder);
        aside.map_err(|error| failed("remove", b".dat/aside", &error))?;
        if self.scope.is_root() {
            self.forget_dropped(store, content)?;
        }
        // Deepest first: what is done inside a folder changes its time.
        for (path, entry) in self.directories.iter().rev() {
            self.folder.dress(path.as_bytes(), entry);
        }
        Ok(0)
    }

    /// Removes what earlier versions put here and this one has not; what was changed since stays.
    fn remove_dropped(&mut self) -> Result<(), Error> {
        let files = self.plan.files.iter().chain(&self.directories).chain(&self.symlinks);
        let now: HashSet<&[u8]> = files.map(|(path, _)| path.as_bytes()).collect();
        let mut known = None;
        for (path, was) in self.earlier.bottom_up() {
            let within = DrivePath::from_bytes(path).is_ok_and(|path| path.is_within(&self.scope));
            if now.contains(path) || !within {
                continue;
            }
            if matches!(was, Was::File { .. }) {
                // Left behind by a run that was cut short; mostly it is not there.
                let _ = self.folder.remove(&target::temporary(path), was);
            }
            let Some(there) = self.folder.look(path) else { continue };
            if !was.is_still(&there) {
                if !self.earlier.allows(path, &there)
                    && self.kept.last().is_none_or(|last| last != path)
                {
                    self.kept.push(path.to_vec());
                }
                continue;
            }
            // A disk that takes two names for one has it under its new name as well, and keeps it.
            let known = known.get_or_insert_with(|| self.folder.ids(now.iter().copied()));
            if let Some(name) = there.only_id().and_then(|id| known.get(&id)) {
                let respelled = self.folder.respell(path, name);
                respelled.map_err(|error| failed("rename", path, &error))?;
                continue;
            }
            match self.folder.remove(path, was) {
                // A folder with something of the user's in it stays.
                Err(_) if *was == Was::Directory => {}
                other => other.map_err(|error| failed("remove", path, &error))?,
            }
        }
        Ok(())
    }

    /// Makes the store forget blocks that lived in files of earlier versions and are in none now.
    fn forget_dropped<S: Storage>(
        &self,
        store: &mut Store<S>,
        content: FeedSlot,
    ) -> Result<(), Error> {
        let mut needed = Bitfield::new();
        self.plan.runs().into_iter().for_each(|run| needed.set_range(run));
        let length = store.length(content);
        let held: Vec<u64> = store.have(content).iter_ones(0..length).collect();
        for block in held.into_iter().filter(|block| !needed.contains(*block)) {
            let place = store.where_is(content, BlockIndex(block)).map_err(Error::store)?;
            if matches!(place, Some(Place::Working { .. })) {
                store.forget(content, block..block + 1);
            }
        }
        Ok(())
    }
}

/// Returns the open target of a file, in front of `open`.
fn open<'a>(
    folder: &Folder,
    plan: &Plan,
    open: &'a mut VecDeque<(usize, Target)>,
    file: usize,
) -> std::io::Result<&'a Target> {
    let known = open.iter().position(|(other, _)| *other == file);
    let target = match known.and_then(|position| open.remove(position)) {
        Some(target) => target,
        None => (file, folder.begin(plan.name(file), plan.files[file].1.size)?),
    };
    open.truncate(OPEN_MAX - 1);
    open.push_front(target);
    Ok(&open[0].1)
}

fn is_at(place: &Option<Place>, path: &[u8], offset: u64) -> bool {
    place.as_ref().is_some_and(|place| is_place(place, path, offset))
}

fn is_place(place: &Place, path: &[u8], offset: u64) -> bool {
    matches!(place, Place::Working { path: at, offset: from } if at == path && *from == offset)
}

fn failed(op: &str, path: &[u8], error: &std::io::Error) -> Error {
    if error.kind() == std::io::ErrorKind::AlreadyExists {
        return Error::dirty("something was put in the way meanwhile", &[path]);
    }
    use std::os::unix::ffi::OsStrExt as _;
    Error::io(op, Path::new(std::ffi::OsStr::from_bytes(path)), error)
}
