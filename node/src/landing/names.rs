//! Which names of a version can stand beside one another, and on this disk at all.
//!
//! What lies below a file or a link of the same version has no place anywhere. Which names a file system takes for one and the
//! same, and which it cannot hold, it is asked itself, in a folder of ours: of names that clash the first one lands, in the
//! order of their bytes, and the others are refused, never merged.
//! Names come in the order of their keys, so that those of a folder are neighbours and what is decided of one depends on those
//! before it only. Of the names of a million folders just a hash is kept, which nobody can foresee.
//! Elsewhere: names that must not land whatever the disk (`datnode_drive::SafePath`), the folder of ours (`scratch`).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datnode_drive::{DrivePath, Kind, SafePath};
use datnode_feed::Storage;
use rustix::io::Errno;

use super::index::Index;
use super::limits::NAMES_MAX;
use super::scratch::Scratch;
use super::seen::Seen;
use super::survey::may_land;
use super::target::Folder;
use crate::choice::Chooser;
use crate::disk::beneath::{Beneath, join, split};
use crate::error::Error;

/// Something above it is no folder.
const BELOW_NO_FOLDER: &str = "something above it is no folder";
/// The file system takes it for a name before it.
const SAME: &str = "this disk takes it for another name of the drive";
/// The file system does not take it.
const IMPOSSIBLE: &str = "this disk cannot hold such a name";

/// Longer names are plain on no disk in doubt: some file systems encrypt names, which makes them longer.
const PLAIN_BYTES_MAX: usize = 100;

/// What is known of the names so far.
pub(super) struct Names {
    folder: Arc<Folder>,
    root: PathBuf,
    disk: Disk,
    /// Folders that are none of those below.
    folders: Seen,
    /// Folders below something that is no folder.
    below: Seen,
    /// The folder whose names come now.
    group: Option<Group>,
    /// Names that the disk takes for others or cannot hold, without what is below them.
    clashes: HashMap<Vec<u8>, &'static str>,
    /// Folders without an entry, which were met behind the names that they stand beside. SPEC 8.1
    bare: BTreeSet<Vec<u8>>,
    /// Folders in which such ones are, and of which all clashes are known.
    settled: HashSet<Vec<u8>>,
}

/// What is known of the disk.
enum Disk {
    Unasked,
    /// It takes names for bytes.
    Exact,
    /// Nothing can be tried out there.
    Mute,
    Doubtful(Scratch),
}

/// Tells whether the disk of a working folder takes names for bytes; not if that cannot be tried out.
///
/// # Errors
/// What the disk says.
pub fn is_exact(root: &Path) -> Result<bool, Error> {
    let folder = Beneath::open(root).map_err(|error| Error::io("open", root, &error))?;
    let folder = Arc::new(Folder::new(folder));
    Ok(Scratch::new(&folder).is_some_and(|scratch| scratch.is_exact()))
}

impl Names {
    pub(super) fn new(folder: &Arc<Folder>, root: &Path) -> Self {
        Self {
            folder: folder.clone(),
            root: root.to_owned(),
            disk: Disk::Unasked,
            folders: Seen::default(),
            below: Seen::default(),
            group: None,
            clashes: HashMap::new(),
            bare: BTreeSet::new(),
            settled: HashSet::new(),
        }
    }

    /// Returns why a name cannot land beside those before it, if it cannot. They come in the order of their keys.
    pub(super) fn refuse<S: Storage>(
        &mut self,
        path: &SafePath,
        kind: Kind,
        index: &Index<'_, S>,
    ) -> Result<Option<&'static str>, Error> {
        let (path, folder) = (path.as_bytes(), split(path.as_bytes()).0);
        if self.group.as_ref().is_none_or(|group| group.folder != folder) {
            self.enter(folder, index)?;
        }
        let refusal = self.group.as_ref().and_then(|group| group.refusal);
        if kind == Kind::Directory {
            let is_below = refusal == Some(BELOW_NO_FOLDER);
            if is_below {
                self.below.insert(path)
            } else {
                self.folders.insert(path)
            };
        }
        match refusal {
            Some(why) => Ok(Some(why)),
            None if self.settled.contains(folder) => Ok(self.clashes.get(path).copied()),
            None => self.try_out(path),
        }
    }

    /// Takes into account the folders without entries, if there were any; tells whether names are refused now that were not.
    pub(super) fn settle<S: Storage>(
        &mut self,
        scope: &DrivePath,
        chooser: &Chooser,
        index: &Index<'_, S>,
    ) -> Result<bool, Error> {
        self.leave();
        let mut beside: BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>> = BTreeMap::new();
        for path in std::mem::take(&mut self.bare) {
            let (folder, base) = split(&path);
            beside.entry(folder.to_vec()).or_default().insert(base.to_vec());
        }
        let mut changed = false;
        for (folder, mut names) in beside {
            names.extend(entries(&folder, scope, chooser, index)?);
            let (here, elsewhere): (HashMap<_, _>, _) =
                self.clashes.drain().partition(|(path, _)| split(path).0 == folder);
            self.clashes = elsewhere;
            self.group = Some(Group::new(&folder, None));
            for base in &names {
                let path = join(&folder, base);
                changed |= self.try_out(&path)?.is_some() && !here.contains_key(&path);
            }
            self.leave();
            self.settled.insert(folder);
        }
        (self.folders, self.below) = Default::default();
        Ok(changed)
    }

    /// Tells whether the disk takes names for bytes, if it was asked.
    pub(super) fn is_exact(&self) -> Option<bool> {
        (!matches!(self.disk, Disk::Unasked)).then_some(matches!(self.disk, Disk::Exact))
    }

    fn ask(&mut self) {
        if matches!(self.disk, Disk::Unasked) {
            self.disk = match Scratch::new(&self.folder) {
                None => Disk::Mute,
                Some(scratch) if scratch.is_exact() => Disk::Exact,
                Some(scratch) => Disk::Doubtful(scratch),
            };
        }
    }

    /// Goes on to the names of another folder.
    fn enter<S: Storage>(&mut self, folder: &[u8], index: &Index<'_, S>) -> Result<(), Error> {
        self.leave();
        let line = || std::iter::successors(Some(folder), |path| Some(split(path).0));
        let mut line = line().take_while(|path| !path.is_empty());
        let refusal = if !folder.is_empty()
            && !self.folders.contains(folder)
            && self.is_below(folder, index)?
        {
            Some(BELOW_NO_FOLDER)
        } else if self.clashes.is_empty() {
            None
        } else {
            line.find_map(|path| self.clashes.get(path).copied())
        };
        self.group = Some(Group::new(folder, refusal));
        Ok(())
    }

    /// Tells whether something that is no folder is above what is in this one, which has no entry or is such a thing.
    fn is_below<S: Storage>(&mut self, folder: &[u8], index: &Index<'_, S>) -> Result<bool, Error> {
        let (mut bare, mut is_below) = (Vec::new(), false);
        let line = std::iter::successors(Some(folder), |path| Some(split(path).0));
        for path in line.take_while(|path| !path.is_empty()) {
            is_below = self.below.contains(path);
            if is_below || self.folders.contains(path) {
                break;
            }
            let drive_path = DrivePath::from_bytes(path).expect("what is above a path is one");
            let entry = index.entry(&drive_path)?;
            // A link that may not land is not there.
            let kind = entry.filter(|entry| may_land(&drive_path, entry).is_ok());
            is_below = kind.as_ref().is_some_and(|entry| entry.kind != Kind::Directory);
            if is_below {
                break;
            }
            bare.extend(kind.is_none().then(|| path.to_vec()));
        }
        if is_below {
            for path in &bare {
                self.below.insert(path);
            }
            self.below.insert(folder);
            return Ok(true);
        }
        for path in &bare {
            self.folders.insert(path);
        }
        self.ask();
        if matches!(self.disk, Disk::Doubtful(_)) {
            self.bare.extend(bare.into_iter().filter(|path| !self.settled.contains(split(path).0)));
        }
        Ok(false)
    }

    /// Tries out a name beside those of its folder that were met before, if there is any doubt.
    fn try_out(&mut self, path: &[u8]) -> Result<Option<&'static str>, Error> {
        let (folder, base) = split(path);
        let Some(group) = &mut self.group else { return Ok(None) };
        if matches!(self.disk, Disk::Exact | Disk::Mute) {
            return Ok(None);
        }
        let doubtful = group.add(base);
        if doubtful.is_empty() && group.len() <= NAMES_MAX {
            return Ok(None);
        }
        self.ask();
        let (Some(group), Disk::Doubtful(scratch)) = (&mut self.group, &self.disk) else {
            self.group = self.group.take().map(|group| Group::new(folder, group.refusal));
            return Ok(None);
        };
        for number in doubtful {
            let why = match scratch.make(group.name(number)) {
                Ok(()) => None,
                Err(Errno::EXIST) => Some(SAME),
                Err(error) if is_ours(error) => {
                    return Err(Error::io("try out names in", &self.root, &error.into()));
                }
                Err(_) => Some(IMPOSSIBLE),
            };
            group.fates[number] = if why.is_none() { Fate::Made } else { Fate::Refused };
            if let Some(why) = why {
                self.clashes.insert(join(folder, group.name(number)), why);
            }
        }
        Ok(self.clashes.get(path).copied())
    }

    /// Takes away what was made to try out the names of a folder.
    fn leave(&mut self) {
        if let (Some(group), Disk::Doubtful(scratch)) = (self.group.take(), &self.disk) {
            let made = (0..group.len()).filter(|number| group.fates[*number] == Fate::Made);
            made.for_each(|number| scratch.unmake(group.name(number)));
        }
    }
}

/// Returns the names of the entries in a folder, as far as they are wanted and may land.
fn entries<S: Storage>(
    folder: &[u8],
    scope: &DrivePath,
    chooser: &Chooser,
    index: &Index<'_, S>,
) -> Result<Vec<Vec<u8>>, Error> {
    let folder = DrivePath::from_bytes(folder).expect("what is above a path is one");
    let mut line = std::iter::successors(Some(scope.clone()), DrivePath::parent);
    let entries = if folder.is_within(scope) {
        index.list(&folder)?
    } else if let Some(only) = line.find(|path| path.parent().as_ref() == Some(&folder)) {
        // Above what is wanted there is just the way to it.
        let base = only.base().unwrap_or_default().to_vec();
        index.entry(&only)?.map(|entry| (base, entry)).into_iter().collect()
    } else {
        Vec::new()
    };
    let mut names = Vec::new();
    for (base, entry) in entries {
        let path = folder.join(&base).map_err(|error| Error::verify(error.to_string()))?;
        let lands = chooser.takes(&path, entry.kind) && may_land(&path, &entry).is_ok();
        names.extend(lands.then_some(base));
    }
    Ok(names)
}

/// What became of a name in the folder of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Untried,
    Made,
    Refused,
}

/// The names of one folder that were met so far, one behind the other.
struct Group {
    folder: Vec<u8>,
    /// Why none of them lands, if so.
    refusal: Option<&'static str>,
    names: Vec<u8>,
    ends: Vec<usize>,
    fates: Vec<Fate>,
    /// The first name of each that look the same to many disks, by a hash: that two of a million share one by chance does no harm.
    first: HashMap<u64, usize>,
    /// Whether each name is in doubt: characters that fold into several, and the short names of FAT, clash with names that look
    /// like anything.
    all: bool,
}

impl Group {
    fn new(folder: &[u8], refusal: Option<&'static str>) -> Self {
        Self {
            folder: folder.to_vec(),
            refusal,
            names: Vec::new(),
            ends: Vec::new(),
            fates: Vec::new(),
            first: HashMap::new(),
            all: false,
        }
    }

    fn len(&self) -> usize {
        self.ends.len()
    }

    fn name(&self, number: usize) -> &[u8] {
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.names[start..self.ends[number]]
    }

    /// Adds a name; returns those about which some file system might have a view of its own and that were not tried out yet.
    fn add(&mut self, base: &[u8]) -> Vec<usize> {
        let number = self.len();
        self.names.extend_from_slice(base);
        self.ends.push(self.names.len());
        self.fates.push(Fate::Untried);
        let first = *self.first.entry(lower(base)).or_insert(number);
        let untried = |number: &usize| self.fates[*number] == Fate::Untried;
        if !self.all && (!base.is_ascii() || base.contains(&b'~')) {
            self.all = true;
            return (0..=number).filter(untried).collect();
        }
        if self.all || !is_plain(base) || first != number {
            let like = (first != number).then_some(first);
            return like.into_iter().chain([number]).filter(untried).collect();
        }
        Vec::new()
    }
}

/// Returns a hash of a name in lower case, without the dots and spaces at its end, which are nothing to some disks.
fn lower(base: &[u8]) -> u64 {
    let end = base.iter().rposition(|byte| !matches!(byte, b'.' | b' ')).map_or(0, |last| last + 1);
    let mut hasher = DefaultHasher::new();
    base[..end].iter().for_each(|byte| hasher.write_u8(byte.to_ascii_lowercase()));
    hasher.finish()
}

/// Tells an error of the disk from one of the name.
fn is_ours(error: Errno) -> bool {
    matches!(
        error,
        Errno::NOSPC | Errno::DQUOT | Errno::IO | Errno::ROFS | Errno::MFILE | Errno::NFILE
    )
}

/// Tells whether any file system holds this name as it is.
fn is_plain(base: &[u8]) -> bool {
    let stem = base.split(|byte| *byte == b'.').next().unwrap_or_default().to_ascii_lowercase();
    let is_device = matches!(&stem[..], b"con" | b"prn" | b"aux" | b"nul" | b"clock$")
        || matches!(&stem[..], [b'c', b'o', b'm', _] | [b'l', b'p', b't', _]);
    base.len() <= PLAIN_BYTES_MAX
        && !is_device
        && !matches!(base.last(), Some(b'.' | b' '))
        && base.iter().all(|byte| matches!(byte, b' '..=b'~') && !b"\"*:<>?\\|".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_some_disk_could_confuse_are_tried_out() {
        let table: &[(&[&str], &[&str])] = &[
            (&["a", "b.txt", "c d", ".git", "Makefile", "-rf", "a.b"], &[]),
            (&["README", "other", "readme"], &["README", "readme"]),
            (&["READme", "Readme", "other", "readme"], &["READme", "Readme", "readme"]),
            (&["a", "a ", "a.", "b"], &["a", "a ", "a."]),
            (&["dot.", "other"], &["dot."]),
            (
                &["a:b", "con", "con.txt", "console", "com1", "q?"],
                &["a:b", "con", "con.txt", "com1", "q?"],
            ),
            (&["plain", "é"], &["plain", "é"]),
            (&["é", "plain"], &["é", "plain"]),
            (&["LONGER~1", "longer name"], &["LONGER~1", "longer name"]),
            (&["new\nline", "x"], &["new\nline"]),
        ];
        for (names, right) in table {
            let mut group = Group::new(b"in", None);
            let mut tried = BTreeSet::new();
            for base in *names {
                for number in group.add(base.as_bytes()) {
                    group.fates[number] = Fate::Made;
                    assert!(tried.insert(group.name(number).to_vec()), "{names:?}: once each");
                }
            }
            assert!(
                tried.iter().eq(&right
                    .iter()
                    .map(|base| base.as_bytes().to_vec())
                    .collect::<BTreeSet<_>>()),
                "{names:?}: {tried:?}"
            );
        }
        assert!(!is_plain(&[b'x'; PLAIN_BYTES_MAX + 1]));
    }
}
