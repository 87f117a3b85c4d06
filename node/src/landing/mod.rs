//! Downloaded blocks become files, each written once, straight where it belongs, and served from there.
//!
//! A file is written under a temporary name beside its final one and renamed when its last byte is there. Names go through
//! `SafePath` and a directory handle; no symlink is followed. What is in the way and not ours is never replaced without leave.
//! A version lands in windows: so many entries, in the order of their keys, are in memory at a time, whatever their number.
//! Elsewhere: the look at all of it before anything is written (`survey`), what is there already (`look`), which names can stand
//! beside one another (`names`), some entries on their way (`window`), which block belongs where (`plan`), writing one file
//! (`target`) in large pieces (`pieces`, `stream`), writing many (`behind`), what earlier versions left (`earlier`, `dropped`), making way for
//! another kind (`way`).

mod behind;
mod dropped;
mod earlier;
mod flusher;
mod folders;
mod index;
mod limits;
mod look;
mod names;
mod pieces;
mod plan;
mod refused;
mod removal;
mod scratch;
mod seen;
mod stream;
mod survey;
mod target;
mod way;
mod window;

use std::collections::{HashSet, VecDeque};
use std::path::Path;
use std::sync::Arc;

use datnode_drive::{DrivePath, Entry, Kind};
use datnode_feed::limits::HELD_END;
use datnode_feed::{Bitfield, BlockIndex, FeedSlot, InPlace, Place, Storage, Store};

use crate::choice::Chooser;
use crate::error::Error;
use dropped::Leaving;
pub use dropped::{Dropped, Left};
pub use earlier::{Was, is_in_part, landed, note_landed};
use folders::Folders;
pub use index::{Before, Index};
pub(crate) use limits::REFUSED_NAMED;
use limits::RIPE_BYTES;
pub use limits::{WINDOW_ENTRIES, WINDOWS_MAX};
pub use look::same_chunks;
use look::{Ground, Verdict};
pub use names::is_exact;
use plan::Plan;
pub use refused::Refused;
pub use removal::{AsPut, FileId, Landed};
pub use seen::Seen;
use survey::{Found, may_land};
pub use survey::{Survey, Surveyed, Wanted};
use window::State;
pub use window::{Current, Window};

/// An entry of the version, and what earlier versions put under its name.
#[derive(Clone, Debug)]
pub struct Item {
    /// Its place among those that land, in the order of their keys.
    pub number: u64,
    /// Its name.
    pub path: DrivePath,
    /// What the version says.
    pub entry: Entry,
    /// What was put there.
    pub was: Vec<Was>,
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
    ground: Ground,
    scope: DrivePath,
    chooser: Arc<Chooser>,
    found: Found,
    /// Whether the disk takes names for bytes, if it was asked.
    exact: Option<bool>,
    /// What is under way, the first window in front.
    windows: VecDeque<Window>,
    /// Blocks that are in files of the version.
    needed: Bitfield,
    /// What of an earlier version may go, if only what differs from it is landed.
    only: Option<Old>,
    /// Folders that are to get their modes and times when nothing more is done in them.
    folders: Folders,
    leaving: Leaving,
    /// Names of what was changed here and stays, though the version has dropped it, or, in a writer's folder, has something else.
    pub kept: Vec<Vec<u8>>,
    /// Bytes of files that have landed, those found in place included.
    pub landed: u64,
    /// Bytes that all files have.
    pub total: u64,
    /// How many files there are.
    pub files: u64,
}

impl Landing {
    /// Returns the file that was written to last, if it is a large one that is not whole yet.
    pub fn current(&self) -> Option<Current> {
        self.windows.iter().find_map(Window::current)
    }

    fn new(ground: Ground, wanted: Wanted, found: Found, exact: Option<bool>) -> Self {
        let Wanted { scope, chooser, .. } = wanted;
        let (landed, total, files) = (found.landed, found.total, found.files);
        Self {
            ground,
            scope,
            chooser,
            found,
            exact,
            windows: VecDeque::new(),
            needed: Bitfield::new(),
            only: None,
            folders: Folders::default(),
            leaving: Leaving::default(),
            kept: Vec::new(),
            landed,
            total,
            files,
        }
    }

    /// Returns the names that must not or cannot be written here, and why.
    pub fn refused(&self) -> &Refused {
        &self.found.refused
    }

    /// Tells whether files are replaced in which blocks may live that are wanted elsewhere.
    pub fn replaces(&self) -> bool {
        self.found.replaces
    }

    fn is_refused(&self, path: &DrivePath) -> bool {
        !self.found.refused.is_empty() && self.found.refused.contains(&path.key())
    }

    /// Plans the landing of the next entries.
    ///
    /// # Errors
    /// E-DIRTY if something was put in the way since it was looked.
    pub fn plan<S: Storage>(
        &mut self,
        window: Vec<Item>,
        index: &Index<'_, S>,
    ) -> Result<Window, Error> {
        let (mut planned, mut files) = (Window::default(), Vec::new());
        for Item { number, path, entry, was } in window {
            let Some(path) = may_land(&path, &entry).ok().filter(|_| !self.is_refused(&path))
            else {
                continue;
            };
            let name = path.as_bytes();
            let verdict = if self.found.right.contains(number) {
                Verdict::Right { undressed: self.found.undressed.contains(number) }
            } else if self.found.is_barred(name) {
                Verdict::Dirty
            } else {
                self.ground.look_at(&path, &entry, &was, index)
            };
            match verdict {
                Verdict::Dirty if self.ground.refuses() => return Err(put_in_the_way(name)),
                Verdict::Dirty => {
                    self.kept.push(name.to_vec());
                    if entry.kind == Kind::Directory {
                        self.found.barred.insert(name.to_vec());
                    }
                }
                Verdict::Clear => planned.in_the_way.push(name.to_vec()),
                Verdict::Replace { .. } => drop(planned.replaced.insert(name.to_vec())),
                Verdict::Free | Verdict::Right { .. } => {}
            }
            match (entry.kind, verdict) {
                (Kind::File, _) => {
                    if verdict == (Verdict::Right { undressed: true }) {
                        planned.undressed.push(files.len());
                    }
                    planned.states.push(match verdict {
                        Verdict::Right { .. } => State::Landed,
                        Verdict::Dirty => State::Left,
                        _ => State::Missing(entry.size),
                    });
                    files.push((path, entry));
                }
                (_, Verdict::Dirty) => {}
                (Kind::Directory, _) => planned.directories.push((path, entry)),
                (Kind::Symlink, _) => planned.symlinks.push((path, entry)),
            }
        }
        planned.plan = Plan::new(files);
        Ok(planned)
    }

    /// Puts blocks that live in files of this clone under the temporary names of those that need them, before anything is
    /// replaced; then all is planned once more, from the first entry.
    ///
    /// # Errors
    /// What the disk says.
    pub fn rescue<S: Storage>(
        &mut self,
        store: &mut Store<S>,
        content: FeedSlot,
        window: Window,
    ) -> Result<(), Error> {
        // There even if it fails: what it gathered is written before anything is made durable, or nothing is.
        self.windows.push_back(window);
        let window = self.windows.back_mut().expect("it was put there");
        window.prepare(&self.ground, store, content)?;
        window.write_out(&self.ground.folder)?;
        self.windows.pop_back();
        Ok(())
    }

    /// Begins anew with the first entry.
    pub fn rewind(&mut self) {
        self.kept.clear();
    }

    /// Begins with a window: makes its folders, and puts blocks where they belong that are here.
    ///
    /// # Errors
    /// What the disk says.
    pub fn begin<S: Storage>(
        &mut self,
        store: &mut Store<S>,
        content: FeedSlot,
        window: Window,
    ) -> Result<(), Error> {
        // Only what there is: the blocks that a drive names may be without end.
        let held = window.runs().into_iter().flat_map(|run| store.have(content).iter_ones(run));
        held.for_each(|block| self.needed.set(block));
        // What is here is read below.
        self.write_out()?;
        self.windows.push_back(window);
        let window = self.windows.back_mut().expect("it was put there");
        window.prepare(&self.ground, store, content)?;
        let landed = window.name_whole(&self.ground, store)?;
        self.landed = self.landed.saturating_add(landed);
        for (path, entry) in std::mem::take(&mut window.directories) {
            self.folders.push(path.as_bytes(), &entry);
        }
        self.replace(store, 0)
    }

    /// Writes what was gathered in memory: before working files are read, or made durable.
    ///
    /// # Errors
    /// What the disk says; E-SPACE when it is full.
    pub fn write_out(&mut self) -> Result<(), Error> {
        self.windows.iter_mut().try_for_each(|window| window.write_out(&self.ground.folder))
    }

    /// Gives the files their names that replace others and whose bytes a commit has just made durable.
    ///
    /// # Errors
    /// What the disk says.
    pub fn name_ripe<S: Storage>(&mut self, store: &mut Store<S>) -> Result<(), Error> {
        for window in &mut self.windows {
            let landed = window.name_ripe(&self.ground.folder, store)?;
            self.landed = self.landed.saturating_add(landed);
        }
        Ok(())
    }

    /// Makes files durable that replace others, and lets them, if there are some of more than so many bytes together.
    fn replace<S: Storage>(&mut self, store: &mut Store<S>, above: u64) -> Result<(), Error> {
        let ripe = self.windows.iter().filter_map(Window::ripe_bytes).reduce(u64::saturating_add);
        if ripe.is_none_or(|bytes| bytes < above) {
            return Ok(());
        }
        self.write_out()?;
        store.commit().map_err(Error::store)?;
        self.name_ripe(store)
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
        let (mut wanted, mut home) = (false, None);
        for window in &mut self.windows {
            let spots = window.plan.spots(block.0, byte_offset);
            if spots.is_empty() {
                continue;
            }
            wanted = true;
            self.needed.set(block.0);
            let landed = window.put(&self.ground.folder, store, block, &spots, bytes, None)?;
            self.landed = self.landed.saturating_add(landed);
            home = home.or_else(|| window.home(self.ground.of, &spots));
        }
        match home {
            Some((path, offset)) => {
                store
                    .place(content, block, InPlace { path: &path, offset })
                    .map_err(Error::store)?;
            }
            None if wanted => store.keep(content, block, bytes).map_err(Error::store)?,
            // One that comes twice, the second time when its window is complete.
            None => wanted = store.have(content).contains(block.0),
        }
        self.replace(store, RIPE_BYTES)?;
        Ok(wanted)
    }

    /// Ends the first window that is under way, whose blocks are all here: the last files get their names, and links are written.
    ///
    /// # Errors
    /// What the disk says, and a drive whose blocks and files do not fit together.
    pub fn complete<S: Storage>(&mut self, store: &mut Store<S>) -> Result<(), Error> {
        self.replace(store, 0)?;
        if let Some(window) = self.windows.front_mut() {
            window.write_out(&self.ground.folder)?;
            window.finish(&self.ground.folder)?;
        }
        self.windows.pop_front();
        Ok(())
    }

    /// Removes what goes, and gives folders their modes and times, when all windows are complete.
    ///
    /// # Errors
    /// What the disk says.
    pub fn finish<S: Storage>(
        &mut self,
        store: &mut Store<S>,
        content: FeedSlot,
    ) -> Result<(), Error> {
        self.remove_noted()?;
        let aside = way::forget_aside(&self.ground.folder);
        aside.map_err(|error| failed("remove", b".dat/aside", &error))?;
        if self.scope.is_root() {
            self.forget_dropped(store, content)?;
        }
        // Deepest first: what is done inside a folder changes its time.
        while let Some((path, entry)) = self.folders.pop() {
            self.ground.folder.dress(&path, &entry);
        }
        Ok(())
    }

    /// Leaves alone what an earlier version put here, but for what it had under the names that are landed.
    pub fn keep_others<'a>(&mut self, old: impl Iterator<Item = (&'a DrivePath, &'a Entry)>) {
        let mut only = Old::default();
        for (path, entry) in old {
            only.paths.insert(path.as_bytes().to_vec());
            for extent in &entry.extents {
                only.blocks.set_range(extent.blocks_before(HELD_END));
            }
        }
        self.only = Some(only);
    }

    /// Makes the store forget blocks that lived in files of earlier versions and are in none now. What is left out and still there
    /// keeps its blocks.
    fn forget_dropped<S: Storage>(
        &self,
        store: &mut Store<S>,
        content: FeedSlot,
    ) -> Result<(), Error> {
        let blocks = match &self.only {
            Some(old) => old.blocks.clone(),
            None => store.have(content).clone(),
        };
        let mut last = (Vec::new(), false);
        for block in blocks.iter_ones(0..store.length(content)) {
            if self.needed.contains(block) {
                continue;
            }
            let place = store.where_is(content, BlockIndex(block)).map_err(Error::store)?;
            let Some(Place::Working { path, .. }) = place else { continue };
            if self.only.as_ref().is_some_and(|old| !old.paths.contains(&path)) {
                continue;
            }
            if last.0 != path {
                let stays =
                    self.chooser.leaves_out(&path) && self.ground.folder.look(&path).is_some();
                last = (path, stays);
            }
            if !last.1 {
                store.forget(content, block..block + 1);
            }
        }
        Ok(())
    }
}

/// What an earlier version had under some names.
#[derive(Default)]
struct Old {
    paths: HashSet<Vec<u8>>,
    blocks: Bitfield,
}

fn put_in_the_way(path: &[u8]) -> Error {
    Error::dirty("something was put in the way meanwhile", &[path])
}

fn failed(op: &str, path: &[u8], error: &std::io::Error) -> Error {
    if error.kind() == std::io::ErrorKind::AlreadyExists {
        return put_in_the_way(path);
    }
    use std::os::unix::ffi::OsStrExt as _;
    Error::io(op, Path::new(std::ffi::OsStr::from_bytes(path)), error)
}
