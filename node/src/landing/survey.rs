//! Looks at the whole version, a window at a time, before anything is written: what may land, what is in its way, whether there is
//! room. What is kept of each entry is a few bits.
//!
//! Elsewhere: what is found at one name (`look`), which names can stand beside one another (`names`).

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datnode_drive::{DrivePath, Entry, Kind, PathRefusal, SafePath};
use datnode_feed::{Bitfield, Storage};

use super::index::Index;
use super::look::{Ground, Verdict};
use super::names::Names;
use super::refused::Refused;
use super::target::{Folder, temporary};
use super::{FolderOf, Item, Landing};
use crate::choice::Chooser;
use crate::disk::DRIVE_FOLDER;
use crate::disk::beneath::{Beneath, split};
use crate::error::Error;

/// What is to land, and how.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The folder of the drive that is wanted: what earlier versions had elsewhere is left alone.
    pub scope: DrivePath,
    /// What of it is taken.
    pub chooser: Arc<Chooser>,
    /// Whose folder it is.
    pub of: FolderOf,
    /// Whether files that look as they were left are whole; else their bytes are looked at.
    pub trust: bool,
}

/// A look at all of a version.
pub struct Survey {
    ground: Ground,
    root: PathBuf,
    wanted: Wanted,
    names: Names,
    found: Found,
    /// Whether it is looked what files have on the disk that are to be written.
    weighing: bool,
}

/// What came of a survey.
pub enum Surveyed {
    /// All of it must be looked at again, with what is known now.
    Again(Box<Survey>),
    /// Nothing is in the way.
    Ready(Box<Landing>),
}

/// What a survey found.
#[derive(Default)]
pub(super) struct Found {
    /// Names that must not or cannot be written here, and why.
    pub(super) refused: Refused,
    /// Folders that cannot be made, since something of the user's is there.
    pub(super) barred: HashSet<Vec<u8>>,
    /// By their number in the order of the keys: entries of which the right thing is there.
    pub(super) right: Bitfield,
    /// Those among them that have another mode or time.
    pub(super) undressed: Bitfield,
    /// Whether files are replaced in which blocks may live.
    pub(super) replaces: bool,
    /// Bytes of files that need not be written.
    pub(super) landed: u64,
    /// Bytes of all files.
    pub(super) total: u64,
    /// How many files there are.
    pub(super) files: u64,
    dirty: Vec<Vec<u8>>,
    /// Bytes of files that are to be written, and those of them that are on the disk already or get free.
    needed: u64,
    has: u64,
}

impl Found {
    /// Tells whether something of the user's is in the place of a folder above this.
    pub(super) fn is_barred(&self, path: &[u8]) -> bool {
        let above = std::iter::successors(Some(split(path).0), |path| Some(split(path).0));
        !self.barred.is_empty()
            && above.take_while(|path| !path.is_empty()).any(|path| self.barred.contains(path))
    }

    fn note(&mut self, number: u64, path: &SafePath, entry: &Entry, verdict: Verdict) {
        let size = if entry.kind == Kind::File { entry.size } else { 0 };
        self.total = self.total.saturating_add(size);
        self.files += u64::from(entry.kind == Kind::File);
        match verdict {
            Verdict::Free | Verdict::Replace { .. } | Verdict::Clear => {
                self.needed = self.needed.saturating_add(size);
            }
            Verdict::Right { .. } | Verdict::Dirty => {
                self.landed = self.landed.saturating_add(size)
            }
        }
        match verdict {
            Verdict::Free | Verdict::Clear => {}
            Verdict::Replace { file } => self.replaces |= file,
            Verdict::Right { undressed } => {
                self.right.set(number);
                if undressed {
                    self.undressed.set(number);
                }
            }
            Verdict::Dirty => {
                self.dirty.push(path.as_bytes().to_vec());
                if entry.kind == Kind::Directory {
                    self.barred.insert(path.as_bytes().to_vec());
                }
            }
        }
    }
}

/// Lets a name of a drive land, or says why not.
pub(super) fn may_land(path: &DrivePath, entry: &Entry) -> Result<SafePath, PathRefusal> {
    let path = SafePath::new(path)?;
    if entry.kind == Kind::Symlink {
        path.check_link(&entry.target)?;
    }
    Ok(path)
}

impl Survey {
    /// Begins to look at what is beneath `root`.
    ///
    /// # Errors
    /// What the disk says.
    pub fn new(root: &Path, wanted: Wanted) -> Result<Self, Error> {
        let said = |error| Error::io("open", root, &error);
        let folder = Folder::new(Beneath::open(root).map_err(said)?);
        let names = folder.names(b"").map_err(said)?;
        let empty = names.iter().all(|name| name == DRIVE_FOLDER.as_bytes());
        let folder = Arc::new(folder);
        let Wanted { of, trust, .. } = wanted;
        Ok(Self {
            names: Names::new(&folder, root),
            ground: Ground { folder, of, trust, empty },
            root: root.to_owned(),
            wanted,
            found: Found::default(),
            weighing: false,
        })
    }

    /// Looks at some entries; they come in the order of their keys.
    ///
    /// # Errors
    /// What the disk says, and a damaged index.
    pub fn look<S: Storage>(&mut self, window: &[Item], index: &Index<'_, S>) -> Result<(), Error> {
        for Item { number, path, entry, was } in window {
            let number = *number;
            let landing = may_land(path, entry).map_err(|refusal| refusal.to_string());
            let landing = match landing {
                Ok(safe) => match self.names.refuse(&safe, entry.kind, index)? {
                    Some(why) => Err(why.to_owned()),
                    None => Ok(safe),
                },
                refused => refused,
            };
            let safe = match landing {
                Ok(safe) => safe,
                Err(why) => {
                    self.found.refused.insert(path.key(), why);
                    continue;
                }
            };
            let verdict = match self.found.is_barred(safe.as_bytes()) {
                true => Verdict::Dirty,
                false => self.ground.look_at(&safe, entry, was, index),
            };
            let missing = !matches!(verdict, Verdict::Right { .. } | Verdict::Dirty);
            if self.weighing && missing && entry.kind == Kind::File {
                self.found.has =
                    self.found.has.saturating_add(self.has(safe.as_bytes(), entry.size));
            }
            self.found.note(number, &safe, entry, verdict);
        }
        Ok(())
    }

    /// Ends the survey when all entries were looked at.
    ///
    /// # Errors
    /// E-DIRTY if something is in the way that is neither equal nor ours, E-SPACE if the disk has too little room.
    pub fn end<S: Storage>(mut self, index: &Index<'_, S>) -> Result<Surveyed, Error> {
        if self.names.settle(&self.wanted.scope, &self.wanted.chooser, index)? {
            return Ok(self.again());
        }
        if self.ground.refuses() && !self.found.dirty.is_empty() {
            let what = "files in the way differ from the drive's";
            return Err(Error::dirty(what, &self.found.dirty));
        }
        if let Some(free) = self.ground.folder.free().filter(|free| self.found.needed > *free) {
            // What is there already counts, even if each file that is replaced gives its room to others. What passes may still
            // fill the disk: others write to it as well.
            if !self.weighing && !self.ground.empty {
                self.weighing = true;
                return Ok(self.again());
            }
            let needed = self.found.needed.saturating_sub(self.found.has);
            if needed > free {
                let error = Error::space(&self.root, needed, free);
                return Err(match self.ground.of {
                    FolderOf::Reader { .. } => error
                        .hint("or clone a part of the drive: --include, --exclude, or KEY/FOLDER"),
                    FolderOf::Writer => error,
                });
            }
        }
        let Self { ground, wanted, names, found, .. } = self;
        Ok(Surveyed::Ready(Box::new(Landing::new(ground, wanted, found, names.is_exact()))))
    }

    fn again(mut self) -> Surveyed {
        self.found = Found::default();
        Surveyed::Again(Box::new(self))
    }

    /// Returns how many bytes a file has on the disk already: what a run before this one wrote, and what it replaces.
    fn has(&self, name: &[u8], size: u64) -> u64 {
        let folder = &self.ground.folder;
        let begun = folder.look(&temporary(name)).map_or(0, |there| there.allocated.min(size));
        let replaced = folder.look(name).map_or(0, |there| there.allocated);
        begun.saturating_add(replaced)
    }
}
