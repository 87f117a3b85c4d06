//! Some entries on their way to the disk: what is there of them, and how far each file is.
//!
//! Elsewhere: all windows together, and what holds for the whole version (`landing`).

use std::collections::{HashSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use datnode_drive::{Entry, SafePath};
use datnode_feed::{Aligned, Bitfield, BlockIndex, FeedSlot, InPlace, Place, Storage, Store};

use super::behind::{Behind, Small};
use super::limits::OPEN_MAX;
use super::look::Ground;
use super::pieces::{PIECE_BYTES, Piece, Pieces};
use super::plan::{Plan, Spot};
use super::stream::{Stream, Written};
use super::target::{self, Folder, Target};
use super::{FolderOf, failed, way};
use crate::error::Error;

/// Entries that land together.
#[derive(Default)]
pub struct Window {
    pub(super) plan: Plan,
    /// How far each file of the plan is.
    pub(super) states: Vec<State>,
    /// Files that are in place and have another mode or time.
    pub(super) undressed: Vec<usize>,
    pub(super) directories: Vec<(SafePath, Entry)>,
    pub(super) symlinks: Vec<(SafePath, Entry)>,
    /// Names where something of another kind is to go.
    pub(super) in_the_way: Vec<Vec<u8>>,
    /// Names of which there is something that a rename may replace; nothing else is ever replaced.
    pub(super) replaced: HashSet<Vec<u8>>,
    /// Whole files that will replace others, once a commit made their bytes durable.
    ripe: Vec<usize>,
    /// Files being written, the one used last in front.
    open: VecDeque<(usize, Arc<Target>)>,
    pieces: Pieces,
    stream: Stream,
    behind: Behind,
    /// Blocks whose bytes were counted: one may come twice.
    counted: Bitfield,
    /// Whether whole files get their names at once; not before all blocks that are here found their places, since the file
    /// that is replaced may hold some of them.
    naming: bool,
}

/// A file that is being written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Current {
    /// Its path in the drive.
    pub path: Vec<u8>,
    /// Its bytes.
    pub size: u64,
    /// How many of them are there.
    pub here: u64,
}

/// How far a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// So many bytes are still to be written.
    Missing(u64),
    /// It is in place; blocks of it may still be unknown to the store.
    Landed,
    /// The user's own stays in its place.
    Left,
}

impl Window {
    /// Returns the blocks that the files need.
    pub fn runs(&self) -> Vec<Range<u64>> {
        self.plan.runs()
    }

    /// Returns the file that was written to last, with its bytes and how many of them are there; none if it is whole.
    pub(super) fn current(&self) -> Option<Current> {
        let (file, _) = self.open.front()?;
        let (path, entry) = self.plan.files.get(*file)?;
        match self.states.get(*file)? {
            State::Missing(missing) => Some(Current {
                path: path.as_bytes().to_vec(),
                size: entry.size,
                here: entry.size.saturating_sub(*missing),
            }),
            _ => None,
        }
    }

    /// Makes room and folders; puts blocks where they belong that the store holds from an earlier run or version.
    pub(super) fn prepare<S: Storage>(
        &mut self,
        ground: &Ground,
        store: &mut Store<S>,
        content: FeedSlot,
    ) -> Result<(), Error> {
        let folder = &ground.folder;
        for path in std::mem::take(&mut self.in_the_way) {
            if let Some(there) = folder.look(&path) {
                way::clear(folder, store, &path, &there)?;
            }
        }
        for (path, _) in &self.directories {
            let path = path.as_bytes();
            folder.make(path).map_err(|error| failed("create", path, &error))?;
        }
        for run in self.plan.runs() {
            let held: Vec<u64> = store.have(content).iter_ones(run).collect();
            // Where a block that was read ends, the next one begins; it need not be looked up.
            let mut known = None;
            for block in held.into_iter().map(BlockIndex) {
                let offset = match known.filter(|(next, _)| *next == block) {
                    Some((_, offset)) => Some(offset),
                    None => store.byte_offset(content, block).map_err(Error::store)?,
                };
                let Some(offset) = offset else { continue };
                let len = self.settle(ground, store, content, block, offset)?;
                known = len.map(|len| (BlockIndex(block.0 + 1), offset + len));
            }
        }
        Ok(())
    }

    /// Gives whole files their names, from now on as soon as they are; returns how many bytes landed by that.
    pub(super) fn name_whole<S: Storage>(
        &mut self,
        ground: &Ground,
        store: &mut Store<S>,
    ) -> Result<u64, Error> {
        for file in std::mem::take(&mut self.undressed) {
            let (path, entry) = &self.plan.files[file];
            ground.folder.dress(path.as_bytes(), entry);
        }
        self.naming = true;
        let mut landed: u64 = 0;
        for file in 0..self.states.len() {
            if self.states[file] == State::Missing(0) {
                landed = landed.saturating_add(self.end(&ground.folder, store, file, true)?);
            }
        }
        Ok(landed)
    }

    /// Returns how many bytes the whole files have that wait for a commit before they replace others; nothing if there are none.
    pub(super) fn ripe_bytes(&self) -> Option<u64> {
        let sizes = self.ripe.iter().map(|file| self.plan.files[*file].1.size);
        (!self.ripe.is_empty()).then(|| sizes.fold(0, u64::saturating_add))
    }

    /// Gives the files their names that waited for a commit; returns how many bytes landed by that.
    pub(super) fn name_ripe<S: Storage>(
        &mut self,
        folder: &Arc<Folder>,
        store: &mut Store<S>,
    ) -> Result<u64, Error> {
        let mut landed: u64 = 0;
        while let Some(file) = self.ripe.last().copied() {
            landed = landed.saturating_add(self.name(folder, store, file, true)?);
            self.ripe.pop();
        }
        Ok(landed)
    }

    /// Puts a block that the store holds, and that begins at `offset` of its feed, where it belongs, as far as it is not there;
    /// returns its length, if it was read.
    fn settle<S: Storage>(
        &mut self,
        ground: &Ground,
        store: &mut Store<S>,
        content: FeedSlot,
        block: BlockIndex,
        offset: u64,
    ) -> Result<Option<u64>, Error> {
        let spots = self.plan.spots(block.0, offset);
        let lives_in_store = |spot: &Spot| match self.states[spot.file] {
            State::Missing(_) => false,
            State::Landed => ground.of == FolderOf::Writer,
            State::Left => true,
        };
        if spots.iter().all(lives_in_store) {
            return Ok(None);
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
            return Ok(None);
        }
        // The bytes are read, hashed, and written where they are missing; what changed meanwhile is fetched again.
        let Some(bytes) = store.read_into(content, block, Aligned::new).map_err(Error::store)?
        else {
            return Ok(None);
        };
        self.put(&ground.folder, store, block, &spots, &bytes, place.as_ref())?;
        if let Some((path, offset)) = self.home(ground.of, &spots) {
            store.place(content, block, InPlace { path: &path, offset }).map_err(Error::store)?;
        }
        Ok(Some(bytes.len() as u64))
    }

    /// Writes one verified block to its places; returns how many bytes of files landed by that.
    ///
    /// `from` is where the bytes were found, if they are here already.
    pub(super) fn put<S: Storage>(
        &mut self,
        folder: &Arc<Folder>,
        store: &mut Store<S>,
        block: BlockIndex,
        spots: &[Spot],
        bytes: &[u8],
        from: Option<&Place>,
    ) -> Result<u64, Error> {
        let count = !self.counted.contains(block.0);
        let mut landed: u64 = 0;
        for spot in spots {
            landed = landed.saturating_add(self.write(folder, store, *spot, bytes, count, from)?);
        }
        self.counted.set(block.0);
        Ok(landed)
    }

    /// Returns where a block lives that was put to these places; `None`: in the store.
    pub(super) fn home(&self, of: FolderOf, spots: &[Spot]) -> Option<(Vec<u8>, u64)> {
        let ours = |spot: &&Spot| self.states[spot.file] != State::Left;
        let home = spots.iter().find(ours).filter(|_| of != FolderOf::Writer)?;
        let path = match self.states[home.file] {
            State::Missing(_) => self.temporary(home.file),
            State::Landed | State::Left => self.plan.name(home.file).to_vec(),
        };
        Some((path, home.offset))
    }

    fn write<S: Storage>(
        &mut self,
        folder: &Arc<Folder>,
        store: &mut Store<S>,
        spot: Spot,
        bytes: &[u8],
        count: bool,
        from: Option<&Place>,
    ) -> Result<u64, Error> {
        let State::Missing(left) = self.states[spot.file] else { return Ok(0) };
        let (len, size) = (bytes.len() as u64, self.plan.files[spot.file].1.size);
        let replaces = self.replaced.contains(self.plan.name(spot.file));
        if from.is_none() && count && len == size && self.naming && !replaces {
            let (path, entry) = &self.plan.files[spot.file];
            let (path, dress, replace) = (path.as_bytes().to_vec(), entry.into(), false);
            self.behind.add(folder, Small { path, dress, bytes: bytes.to_vec(), replace });
            self.states[spot.file] = State::Landed;
            return Ok(size);
        }
        let here =
            from.is_some_and(|place| is_place(place, &self.temporary(spot.file), spot.offset));
        if !here && size > PIECE_BYTES as u64 {
            if self.pieces.is_stuck() {
                self.write_out(folder)?;
            }
            if let Some(piece) = self.pieces.add(spot.file, spot.offset, bytes) {
                self.write_piece(folder, piece)?;
            }
        } else if !here {
            let said = |error| failed("write", self.plan.name(spot.file), &error);
            let target = open(folder, &self.plan, &mut self.open, spot.file).map_err(said)?;
            target.write(spot.offset, bytes).map_err(said)?;
        }
        // A block may come twice before its file has its name.
        if count && left > 0 {
            let left = left.saturating_sub(len);
            self.states[spot.file] = State::Missing(left);
            if left == 0 && self.naming {
                // Only a file of several blocks has places under its temporary name.
                return self.end(folder, store, spot.file, len < size);
            }
        }
        Ok(0)
    }

    /// Ends a file that is whole: it gets its name, at once unless it replaces another. Behind a power cut, or a sync that failed,
    /// the old one would be gone and the new one not there yet, and what the store says of both would be of neither.
    fn end<S: Storage>(
        &mut self,
        folder: &Arc<Folder>,
        store: &mut Store<S>,
        file: usize,
        placed: bool,
    ) -> Result<u64, Error> {
        if !self.replaced.contains(self.plan.name(file)) {
            return self.name(folder, store, file, placed);
        }
        self.ripe.push(file);
        Ok(0)
    }

    /// Has a piece written, while this goes on.
    fn write_piece(&mut self, folder: &Arc<Folder>, piece: Piece) -> Result<(), Error> {
        match open(folder, &self.plan, &mut self.open, piece.file) {
            Ok(target) => self.stream.add(target.clone(), piece),
            Err(error) => return self.take_back((piece, Err(error))),
        }
        while let Some(written) = self.stream.poll() {
            self.take_back(written)?;
        }
        Ok(())
    }

    /// Takes what came of a piece.
    fn take_back(&mut self, (piece, written): Written) -> Result<(), Error> {
        let Err(error) = written else {
            self.pieces.recycle(piece);
            return Ok(());
        };
        let error = failed("write", self.plan.name(piece.file), &error);
        // The store was told of these bytes, and must not make that durable without them.
        self.pieces.put_back(piece);
        Err(error)
    }

    /// Waits for the pieces that are being written.
    fn wait_for_pieces(&mut self) -> Result<(), Error> {
        let mut done = Ok(());
        while let Some(written) = self.stream.wait() {
            done = self.take_back(written).and(done);
        }
        done
    }

    /// Writes what was gathered in memory.
    pub(super) fn write_out(&mut self, folder: &Arc<Folder>) -> Result<(), Error> {
        self.behind.write_out(folder)?;
        while let Some(piece) = self.pieces.take(None) {
            self.write_piece(folder, piece)?;
        }
        self.wait_for_pieces()
    }

    /// Returns the path that a file has until it is whole.
    fn temporary(&self, file: usize) -> Vec<u8> {
        match self.open.iter().find(|(other, _)| *other == file) {
            Some((_, target)) => target.temporary.clone(),
            None => target::temporary(self.plan.name(file)),
        }
    }

    /// Gives a whole file its name; `placed`: blocks are recorded under its temporary one. Returns its size.
    fn name<S: Storage>(
        &mut self,
        folder: &Arc<Folder>,
        store: &mut Store<S>,
        file: usize,
        placed: bool,
    ) -> Result<u64, Error> {
        while let Some(piece) = self.pieces.take(Some(file)) {
            self.write_piece(folder, piece)?;
        }
        self.wait_for_pieces()?;
        let (path, entry) = &self.plan.files[file];
        let name = path.as_bytes();
        let said = |error: std::io::Error| failed("write", name, &error);
        let target = open(folder, &self.plan, &mut self.open, file).map_err(said)?;
        folder.finish(target, name, entry.into(), self.replaced.contains(name)).map_err(said)?;
        if placed {
            store.rename_working(&target.temporary, name).map_err(Error::store)?;
        }
        self.open.pop_front();
        self.states[file] = State::Landed;
        Ok(entry.size)
    }

    /// Writes links when all files have landed.
    pub(super) fn finish(&self, folder: &Arc<Folder>) -> Result<(), Error> {
        if self.states.iter().any(|state| matches!(state, State::Missing(_))) {
            return Err(Error::verify("blocks and files of this drive do not fit together"));
        }
        for (path, entry) in &self.symlinks {
            let name = path.as_bytes();
            let linked = folder.link(name, entry, self.replaced.contains(name));
            linked.map_err(|error| failed("link", name, &error))?;
        }
        Ok(())
    }
}

/// Returns the open target of a file, in front of `open`.
fn open<'a>(
    folder: &Arc<Folder>,
    plan: &Plan,
    open: &'a mut VecDeque<(usize, Arc<Target>)>,
    file: usize,
) -> std::io::Result<&'a Arc<Target>> {
    let known = open.iter().position(|(other, _)| *other == file);
    let target = match known.and_then(|position| open.remove(position)) {
        Some(target) => target,
        None => (file, Arc::new(folder.begin(plan.name(file), plan.files[file].1.size)?)),
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
