//! A file system in memory that has views of its own about names.
//!
//! Names that it takes for one keep the spelling they were made with, as on the disks of which it is a model.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem,
    FopenFlags, Generation, INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr,
    ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request,
    TimeOrNow, WriteFlags,
};

/// No name is remembered by the kernel: two names of one thing are two names to it. Bytes are.
const TTL: Duration = Duration::ZERO;
const HANDLE: FileHandle = FileHandle(0);

/// What a disk thinks of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// They are bytes.
    Exact,
    /// Upper and lower case are the same, as on NTFS and APFS.
    Case,
    /// Composed and decomposed characters are the same, case differs.
    Normal,
    /// Case, composition and ligatures are the same; dots and spaces at the end are nothing, some characters cannot be.
    Fat,
}

impl Manner {
    /// Returns what two names of one thing have in common.
    fn fold(self, name: &OsStr) -> Result<Vec<u8>, Errno> {
        let name = name.as_bytes();
        if self == Self::Exact {
            return Ok(name.to_vec());
        }
        let text = std::str::from_utf8(name).map_err(|_| Errno::EILSEQ)?;
        let normal = |text: &str| {
            let pairs =
                [('é', "e\u{301}"), ('Å', "A\u{30a}"), ('å', "a\u{30a}"), ('\u{212b}', "A\u{30a}")];
            let part = |char| pairs.iter().find(|(one, _)| *one == char).map(|(_, parts)| *parts);
            text.chars().fold(String::new(), |mut out, char| {
                match part(char) {
                    Some(parts) => out.push_str(parts),
                    None => out.push(char),
                }
                out
            })
        };
        let folded = match self {
            Self::Exact => unreachable!("it was returned"),
            Self::Case => text.to_lowercase(),
            Self::Normal => normal(text),
            Self::Fat => {
                if text.chars().any(|char| char.is_control() || "\"*:<>?\\|".contains(char)) {
                    return Err(Errno::EINVAL);
                }
                let text = text.trim_end_matches(['.', ' ']).to_lowercase();
                normal(&text).replace('ß', "ss").replace('ﬁ', "fi")
            }
        };
        Ok(folded.into_bytes())
    }
}

struct Thing {
    kind: FileType,
    mode: u16,
    mtime: SystemTime,
    bytes: Vec<u8>,
    /// What is in a folder: by folded name, as it was spelled, and its number.
    names: BTreeMap<Vec<u8>, (Vec<u8>, u64)>,
    /// How many names it has.
    links: u32,
}

struct Disk {
    manner: Manner,
    medium: Medium,
}

/// What a disk holds, whatever the system remembers of it.
#[derive(Clone)]
pub(crate) struct Medium {
    /// The first is the root, number 1.
    things: Arc<Mutex<Vec<Thing>>>,
}

type Things<'d> = MutexGuard<'d, Vec<Thing>>;

/// Mounts one; returns what it holds as well.
///
/// # Errors
/// Why that cannot be done here.
pub(crate) fn mount(manner: Manner, at: &Path) -> Result<(BackgroundSession, Medium), io::Error> {
    let things = Arc::new(Mutex::new(vec![thing(FileType::Directory, 0o755)]));
    let medium = Medium { things };
    let disk = Disk { manner, medium: medium.clone() };
    let mut config = Config::default();
    config.mount_options = vec![MountOption::FSName("datnode-tests".into())];
    Ok((fuser::spawn_mount(disk, at, &config)?, medium))
}

impl Medium {
    /// Returns the bytes of all files of one name, in whatever folders they are.
    pub(crate) fn files(&self, name: &str) -> Vec<Vec<u8>> {
        let things = self.things.lock().unwrap();
        self.numbers(&things, name).map(|number| things[at(number)].bytes.clone()).collect()
    }

    /// Loses the bytes of all files of one name: they are zeros. The system is not told.
    pub(crate) fn lose(&self, name: &str) {
        let mut things = self.things.lock().unwrap();
        let lost: Vec<u64> = self.numbers(&things, name).collect();
        for number in lost {
            things[at(number)].bytes.fill(0);
        }
    }

    fn numbers<'t>(&self, things: &'t [Thing], name: &'t str) -> impl Iterator<Item = u64> + 't {
        let names = things.iter().flat_map(|thing| thing.names.values());
        names.filter(move |(is, _)| is == name.as_bytes()).map(|(_, number)| *number)
    }
}

fn thing(kind: FileType, mode: u32) -> Thing {
    let mode = u16::try_from(mode & 0o7777).unwrap();
    let (bytes, names) = (Vec::new(), BTreeMap::new());
    Thing { kind, mode, mtime: SystemTime::now(), bytes, names, links: 1 }
}

fn at(number: u64) -> usize {
    usize::try_from(number).unwrap() - 1
}

fn attr(things: &Things<'_>, number: u64) -> FileAttr {
    let thing = &things[at(number)];
    let size = thing.bytes.len() as u64;
    FileAttr {
        ino: INodeNo(number),
        size,
        blocks: size.div_ceil(512),
        atime: thing.mtime,
        mtime: thing.mtime,
        ctime: thing.mtime,
        crtime: thing.mtime,
        kind: thing.kind,
        perm: thing.mode,
        nlink: thing.links,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4_096,
        flags: 0,
    }
}

impl Disk {
    fn things(&self) -> Things<'_> {
        self.medium.things.lock().unwrap()
    }

    fn find(&self, things: &Things<'_>, parent: INodeNo, name: &OsStr) -> Result<u64, Errno> {
        let folded = self.manner.fold(name)?;
        let found = things[at(parent.0)].names.get(&folded);
        found.map(|(_, number)| *number).ok_or(Errno::ENOENT)
    }

    fn make(&self, parent: INodeNo, name: &OsStr, thing: Thing) -> Result<FileAttr, Errno> {
        let folded = self.manner.fold(name)?;
        let mut things = self.things();
        if things[at(parent.0)].names.contains_key(&folded) {
            return Err(Errno::EEXIST);
        }
        things.push(thing);
        let number = things.len() as u64;
        things[at(parent.0)].names.insert(folded, (name.as_bytes().to_vec(), number));
        Ok(attr(&things, number))
    }

    fn unmake(&self, parent: INodeNo, name: &OsStr, folder: bool) -> Result<(), Errno> {
        let folded = self.manner.fold(name)?;
        let mut things = self.things();
        let number = self.find(&things, parent, name)?;
        let found = &mut things[at(number)];
        match (folder, found.kind == FileType::Directory) {
            (true, false) => return Err(Errno::ENOTDIR),
            (false, true) => return Err(Errno::EISDIR),
            _ if !found.names.is_empty() => return Err(Errno::ENOTEMPTY),
            _ => found.links -= 1,
        }
        things[at(parent.0)].names.remove(&folded);
        Ok(())
    }

    fn rename_to(
        &self,
        from: (INodeNo, &OsStr),
        to: (INodeNo, &OsStr),
        flags: RenameFlags,
    ) -> Result<(), Errno> {
        let (old, new) = (self.manner.fold(from.1)?, self.manner.fold(to.1)?);
        let mut things = self.things();
        let number = self.find(&things, from.0, from.1)?;
        let there = self.find(&things, to.0, to.1).ok().filter(|there| *there != number);
        if let Some(there) = there {
            if flags.contains(RenameFlags::RENAME_NOREPLACE) {
                return Err(Errno::EEXIST);
            }
            if !things[at(there)].names.is_empty() {
                return Err(Errno::ENOTEMPTY);
            }
            things[at(there)].links -= 1;
        }
        things[at(from.0.0)].names.remove(&old);
        things[at(to.0.0)].names.insert(new, (to.1.as_bytes().to_vec(), number));
        Ok(())
    }
}

fn entry(reply: ReplyEntry, made: Result<FileAttr, Errno>) {
    match made {
        Ok(attr) => reply.entry(&TTL, &attr, Generation(0)),
        Err(error) => reply.error(error),
    }
}

fn empty(reply: ReplyEmpty, done: Result<(), Errno>) {
    match done {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

impl Filesystem for Disk {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let things = self.things();
        let found = self.find(&things, parent, name);
        // A name that cannot be is not there.
        let found = found.map_err(|_| Errno::ENOENT);
        entry(reply, found.map(|number| attr(&things, number)));
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&TTL, &attr(&self.things(), ino.0));
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut things = self.things();
        let thing = &mut things[at(ino.0)];
        if let Some(mode) = mode {
            thing.mode = u16::try_from(mode & 0o7777).unwrap();
        }
        if let Some(size) = size {
            thing.bytes.resize(usize::try_from(size).unwrap(), 0);
        }
        match mtime {
            Some(TimeOrNow::SpecificTime(time)) => thing.mtime = time,
            Some(TimeOrNow::Now) => thing.mtime = SystemTime::now(),
            None => {}
        }
        reply.attr(&TTL, &attr(&things, ino.0));
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        reply.data(&self.things()[at(ino.0)].bytes);
    }

    fn mkdir(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        entry(reply, self.make(parent, name, thing(FileType::Directory, mode & !umask)));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(reply, self.unmake(parent, name, false));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(reply, self.unmake(parent, name, true));
    }

    fn symlink(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let bytes = target.as_os_str().as_bytes().to_vec();
        entry(reply, self.make(parent, name, Thing { bytes, ..thing(FileType::Symlink, 0o777) }));
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        empty(reply, self.rename_to((parent, name), (newparent, newname), flags));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(HANDLE, FopenFlags::FOPEN_KEEP_CACHE);
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let exclusive = flags & rustix::fs::OFlags::EXCL.bits().cast_signed() != 0;
        let made = match self.make(parent, name, thing(FileType::RegularFile, mode & !umask)) {
            Err(error) if error == Errno::EEXIST && !exclusive => {
                let things = self.things();
                self.find(&things, parent, name).map(|number| attr(&things, number))
            }
            other => other,
        };
        match made {
            Ok(attr) => {
                reply.created(&TTL, &attr, Generation(0), HANDLE, FopenFlags::FOPEN_KEEP_CACHE)
            }
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let things = self.things();
        let bytes = &things[at(ino.0)].bytes;
        let start = usize::try_from(offset).unwrap().min(bytes.len());
        let end = (start + usize::try_from(size).unwrap()).min(bytes.len());
        reply.data(&bytes[start..end]);
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut things = self.things();
        let thing = &mut things[at(ino.0)];
        let start = usize::try_from(offset).unwrap();
        if thing.bytes.len() < start + data.len() {
            thing.bytes.resize(start + data.len(), 0);
        }
        thing.bytes[start..start + data.len()].copy_from_slice(data);
        thing.mtime = SystemTime::now();
        reply.written(u32::try_from(data.len()).unwrap());
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let things = self.things();
        let mut all: Vec<(Vec<u8>, u64)> = vec![(b".".to_vec(), ino.0), (b"..".to_vec(), 1)];
        all.extend(things[at(ino.0)].names.values().cloned());
        for (next, (name, number)) in (1..).zip(all).skip(usize::try_from(offset).unwrap()) {
            let kind = things[at(number)].kind;
            if reply.add(INodeNo(number), next, kind, OsStr::from_bytes(&name)) {
                break;
            }
        }
        reply.ok();
    }
}
