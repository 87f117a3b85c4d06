//! A folder of ours in which names are tried out on the disk.

use std::sync::Arc;

use datnode_drive::TEMPORARY_PREFIX;
use rustix::fs::{self as sys, AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::target::Folder;
use crate::disk::DRIVE_FOLDER;
use crate::disk::beneath::join;

/// Pairs that are different names, but not everywhere; and names that not all can hold.
const PAIRS: [[&[u8]; 2]; 4] =
    [[b"a", b"A"], ["\u{e9}".as_bytes(), "e\u{301}".as_bytes()], [b"b.", b"b"], [b"c ", b"c"]];
const ODD: [&[u8]; 4] = [b"d:?", b"\xff", b"aux", &[b'e'; 255]];

/// A folder of ours on the same disk, in which names are tried out; it is gone when this is dropped.
pub(super) struct Scratch {
    folder: Arc<Folder>,
    path: Vec<u8>,
    handle: std::os::fd::OwnedFd,
}

impl Scratch {
    /// Makes it; `None` where nothing can be made.
    pub(super) fn new(folder: &Arc<Folder>) -> Option<Self> {
        let store = DRIVE_FOLDER.as_bytes();
        let parent =
            if folder.look(store).is_some_and(|there| there.directory) { store } else { b"" };
        let path = join(parent, &[TEMPORARY_PREFIX, b"names"].concat());
        folder.make(&path).ok()?;
        let handle = folder.handle(&path).ok()?;
        // What a run left that was cut short.
        let scratch = Self { folder: folder.clone(), path, handle };
        scratch.folder.names(&scratch.path).ok()?.iter().for_each(|base| scratch.unmake(base));
        Some(scratch)
    }

    /// Tells whether the disk takes names for bytes.
    pub(super) fn is_exact(&self) -> bool {
        let names = || PAIRS.iter().flatten().chain(&ODD);
        let exact = names().all(|name| self.make(name).is_ok());
        names().for_each(|name| self.unmake(name));
        exact
    }

    pub(super) fn make(&self, base: &[u8]) -> Result<(), Errno> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        sys::openat(&self.handle, base, flags, Mode::from_raw_mode(0o600)).map(drop)
    }

    pub(super) fn unmake(&self, base: &[u8]) {
        // Of two names that are one, the other is gone already.
        let _ = sys::unlinkat(&self.handle, base, AtFlags::empty());
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays is cleared away by the next run, and is no name that may land.
        let _ = self.folder.remove(&self.path, &super::earlier::Was::Directory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_tried_out_is_gone_again() {
        let folder = tempfile::tempdir().expect("there is room");
        let beneath = crate::disk::beneath::Beneath::open(folder.path()).expect("it was made");
        let files = Arc::new(Folder::new(beneath));
        let scratch = Scratch::new(&files).expect("there is room");
        assert!(scratch.is_exact() && scratch.is_exact(), "nothing of the first try is left");
        scratch.make(b"left").expect("it is free");
        assert_eq!(scratch.make(b"left"), Err(Errno::EXIST));
        drop(scratch);
        let scratch = Scratch::new(&files).expect("there is room");
        assert_eq!(scratch.make(b"left"), Ok(()), "a run that was cut short does no harm");
        scratch.unmake(b"left");
        drop(scratch);
        assert_eq!(std::fs::read_dir(folder.path()).expect("it is there").count(), 0);
    }
}
