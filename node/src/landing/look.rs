//! Looks at what is in the working folder before anything is written.

use std::collections::HashSet;
use std::io::{self, Read};

use datnode_drive::{
    ChunkList, Chunker, ChunkerParams, DrivePath, Entry, Kind, PathRefusal, SafePath,
};
use datnode_feed::leaf;

use super::earlier::Was;
use super::target::There;
use super::{FolderOf, Landing, Others, State, names, way};
use crate::error::Error;

/// What is to become of what is at a name.
enum Verdict {
    /// Nothing is there.
    Free,
    /// It is what is wanted.
    Right,
    /// It may be replaced by a rename.
    Replace,
    /// It must be taken away first.
    Clear,
    /// It is the user's.
    Dirty,
}

/// What is at the names that are to land.
#[derive(Default)]
struct Found {
    dirty: Vec<Vec<u8>>,
    clear: Vec<Vec<u8>>,
    replaced: HashSet<Vec<u8>>,
    /// Folders that cannot be made, since something of the user's is there.
    barred: Vec<Vec<u8>>,
}

impl Found {
    fn note(&mut self, path: &SafePath, kind: Kind, verdict: Verdict) -> Verdict {
        let name = path.as_bytes();
        let below =
            |above: &Vec<u8>| name.starts_with(above) && name.get(above.len()) == Some(&b'/');
        let verdict = if self.barred.iter().any(below) { Verdict::Dirty } else { verdict };
        match verdict {
            Verdict::Clear => self.clear.push(name.to_vec()),
            Verdict::Dirty => {
                self.dirty.push(name.to_vec());
                if kind == Kind::Directory {
                    self.barred.push(name.to_vec());
                }
            }
            Verdict::Replace => drop(self.replaced.insert(name.to_vec())),
            Verdict::Free | Verdict::Right => {}
        }
        verdict
    }
}

impl Landing {
    /// Separates kinds; names that may or can not land are listed and left out.
    pub(super) fn sort_out(
        &mut self,
        entries: Vec<(DrivePath, Entry)>,
    ) -> io::Result<Vec<(SafePath, Entry)>> {
        // Both times the list is filtered where it is: there may be very many entries.
        let may_land = |(path, entry): (DrivePath, Entry)| {
            let allowed = SafePath::new(&path).and_then(|path| match entry.kind {
                Kind::Symlink => path.check_link(&entry.target).map(|()| path),
                Kind::File | Kind::Directory => Ok(path),
            });
            let refused = |refusal: PathRefusal| self.refused.push((path, refusal.to_string()));
            allowed.map_err(refused).ok().map(|path| (path, entry))
        };
        let safe: Vec<_> = entries.into_iter().filter_map(may_land).collect();
        let refused = names::refused(&self.folder, &safe)?;
        let is_file = |((path, entry), refusal): ((SafePath, Entry), Option<&str>)| {
            match (refusal, entry.kind) {
                (Some(why), _) => self.refused.push((path.drive_path().clone(), why.to_owned())),
                (None, Kind::File) => return Some((path, entry)),
                (None, Kind::Directory) => self.directories.push((path, entry)),
                (None, Kind::Symlink) => self.symlinks.push((path, entry)),
            }
            None
        };
        let files = safe.into_iter().zip(refused).filter_map(is_file).collect();
        Ok(files)
    }

    /// Looks at what is there already.
    pub(super) fn look_around(&mut self) -> Result<(), Error> {
        let mut found = Found::default();
        let (directories, symlinks) =
            (std::mem::take(&mut self.directories), std::mem::take(&mut self.symlinks));
        let mut stays = |(path, entry): &(SafePath, Entry)| {
            matches!(found.note(path, entry.kind, self.look_at(path, entry)), Verdict::Dirty)
        };
        let directories = directories.into_iter().filter(|entry| !stays(entry)).collect();
        let symlinks = symlinks.into_iter().filter(|entry| !stays(entry)).collect();
        for (path, entry) in &self.plan.files {
            self.total = self.total.saturating_add(entry.size);
            let state = match found.note(path, entry.kind, self.look_at(path, entry)) {
                Verdict::Right => State::Landed,
                Verdict::Dirty => State::Left,
                Verdict::Free | Verdict::Replace | Verdict::Clear => State::Missing(entry.size),
            };
            if !matches!(state, State::Missing(_)) {
                self.landed = self.landed.saturating_add(entry.size);
            }
            self.states.push(state);
        }
        (self.directories, self.symlinks) = (directories, symlinks);
        (self.in_the_way, self.replaced) = (found.clear, found.replaced);
        match self.of {
            FolderOf::Reader { others: Others::Refuse | Others::Replace }
                if !found.dirty.is_empty() =>
            {
                let what = "files in the way differ from the drive's";
                return Err(Error::dirty(what, &found.dirty));
            }
            _ => self.kept = found.dirty,
        }
        Ok(())
    }

    fn look_at(&self, path: &SafePath, entry: &Entry) -> Verdict {
        let there = self.folder.look(path.as_bytes());
        there.map_or(Verdict::Free, |there| self.judge(path, entry, &there))
    }

    fn judge(&self, path: &SafePath, entry: &Entry, there: &There) -> Verdict {
        let name = path.as_bytes();
        let wanted = Was::from(entry);
        match entry.kind {
            Kind::File if there.file => {
                let known = self.earlier.of(name).any(|was| *was == wanted);
                let same = || there.size == entry.size && self.folder.equals(name, entry);
                if self.trust && known && wanted.is_still(there) || same() {
                    return Verdict::Right;
                }
            }
            Kind::Symlink | Kind::Directory if wanted.is_still(there) => return Verdict::Right,
            _ => {}
        }
        let ours = self.earlier.allows(name, there);
        // Nothing of the user's is deleted with a folder, whatever was said.
        if there.directory {
            let empty_but_ours = way::is_ours(&self.folder, name, &self.earlier).unwrap_or(false);
            return if empty_but_ours { Verdict::Clear } else { Verdict::Dirty };
        }
        let force = self.of == FolderOf::Reader { others: Others::Replace };
        match (ours || force, entry.kind) {
            (false, _) => Verdict::Dirty,
            (true, Kind::Directory) => Verdict::Clear,
            (true, _) => Verdict::Replace,
        }
    }
}

/// Tells whether the bytes of `file` are those of an entry: the same chunks, as its signed identity lists them.
pub(super) fn same_chunks(mut file: impl Read, entry: &Entry) -> io::Result<bool> {
    let chunker = Chunker::new(ChunkerParams::default()).expect("the default parameters are valid");
    let mut list = ChunkList::default();
    let mut window = Vec::new();
    loop {
        let room = (4 << 20) - window.len() as u64;
        let read = file.by_ref().take(room).read_to_end(&mut window)? as u64;
        let end = read < room;
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
