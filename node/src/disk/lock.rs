//! The lock that makes one process the owner of a drive's store.
//!
//! The kernel gives the lock back when its holder dies, however it dies, so a stale file means nothing. Its content
//! is for people: who holds the store.

use std::fs::{File, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::{DiskError, options};

/// How much of a lock file is read: it is one short line.
const LINE_BYTES_MAX: u64 = 4096;

/// Ownership of a store; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock at once, or says who holds it.
    pub(super) fn take(path: &Path) -> Result<Self, DiskError> {
        let file = options()
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(|source| DiskError::io("open", path, source))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(holder(&file, path)),
            Err(TryLockError::Error(source)) => return Err(DiskError::io("lock", path, source)),
        }
        sign(&file).map_err(|source| DiskError::io("write", path, source))?;
        Ok(Self { _file: file })
    }
}

/// Writes who we are. The line is whole at every moment: written first, cut to length after.
fn sign(file: &File) -> io::Result<()> {
    let command = std::env::args_os()
        .skip(1)
        .map(|argument| argument.to_string_lossy().escape_debug().to_string())
        .collect::<Vec<_>>()
        .join(" ");
    let mut line = format!("{} {command}", std::process::id());
    let mut end = line.len().min(1024);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    line.truncate(end);
    line.push('\n');
    file.write_all_at(line.as_bytes(), 0)?;
    file.set_len(line.len() as u64)
}

fn holder(file: &File, path: &Path) -> DiskError {
    let mut line = String::new();
    // What cannot be read is left out: the answer "in use" matters more than by whom.
    let _ = file.take(LINE_BYTES_MAX).read_to_string(&mut line);
    let line = line.lines().next().unwrap_or_default();
    let (pid, command) = line.split_once(' ').unwrap_or((line, ""));
    DiskError::Locked { path: path.to_owned(), pid: pid.parse().ok(), command: command.to_owned() }
}
