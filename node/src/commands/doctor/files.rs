//! Whether what datnode keeps can be read and written, has room, and is free.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use rustix::process::{Resource, getrlimit};

use super::super::context::{blocking, disk, read_key};
use super::super::held::{Held, held};
use super::step::Finding;
use super::words::Words;
use crate::cli::units::{Count, Size};
use crate::dirs::Dirs;
use crate::disk::free;
use crate::error::Error;

/// What is written to see whether something can be.
const TRIAL: [u8; 4_096] = [0; 4_096];
/// With less room than this the first drive that is fetched fills the disk.
const FREE_MIN: u64 = 64 << 20;
/// A process that serves a few drives to some hundred peers has so many files open.
const OPEN_FILES_MIN: u64 = 1_024;

/// Looks at the user's own folders, and at the one of a drive.
pub(super) async fn look(dirs: &Dirs, drive: Option<PathBuf>) -> Finding {
    let own = blocking(|| {
        let dirs = Dirs::open()?;
        try_out(&dirs.data)?;
        try_out(&dirs.state)?;
        Ok(room(&dirs.data))
    });
    let room_at_home = match own.await {
        Ok(room) => room,
        Err(error) => {
            let found = Finding::failed("datnode's own folders cannot be written", error);
            let fix = "make room or make them writable, or name another folder: DATNODE_HOME=DIR";
            return found.fix(fix);
        }
    };
    let (state, room_there) = match drive {
        None => ("own folders ok".to_owned(), None),
        Some(folder) => match store(dirs, &folder).await {
            Ok(state) => (state, room(&folder)),
            Err(error) => return Finding::failed("the drive cannot be opened", error),
        },
    };
    let open_files = getrlimit(Resource::Nofile).maximum;
    sum_up(&state, room_at_home.into_iter().chain(room_there).min(), open_files)
}

fn sum_up(state: &str, room: Option<u64>, open_files: Option<u64>) -> Finding {
    let free = room.map(|room| format!(", {} free", Size(room))).unwrap_or_default();
    let files = open_files.map(|files| format!(", {} open files", Count(files)));
    let says = Words::new(format!("{state}{free}{}", files.unwrap_or_default()));
    if room.is_some_and(|room| room < FREE_MIN) {
        return Finding::warn(says).fix("make room on the disk");
    }
    if open_files.is_some_and(|files| files < OPEN_FILES_MIN) {
        return Finding::warn(says)
            .fix(format!("let a process open more files: ulimit -n {OPEN_FILES_MIN}"));
    }
    Finding::ok(says)
}

/// Returns how much room a folder's disk has, if it tells.
fn room(folder: &Path) -> Option<u64> {
    free(File::open(folder).ok()?)
}

/// Writes a file that nobody needs, and deletes it.
fn try_out(folder: &Path) -> Result<(), Error> {
    let path = folder.join(format!("doctor.{}", std::process::id()));
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        file.write_all(&TRIAL)?;
        file.sync_all()
    };
    let written = write();
    let _ = fs::remove_file(&path);
    written.map_err(|error| Error::io("write", &path, &error))
}

/// Opens the store of a drive, or finds who has it.
async fn store(dirs: &Dirs, folder: &Path) -> Result<String, Error> {
    let key = read_key(folder)?.ok_or_else(|| Error::not_drive(folder))?;
    let open = async || {
        let folder = folder.to_owned();
        blocking(move || disk(&folder, false)).await
    };
    match held(dirs, &key, open).await? {
        Held::Here(_) => Ok("store ok".to_owned()),
        Held::By(owner, _) => Ok(format!("store in use by process {}, which answers", owner.pid)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::step::Verdict;
    use super::*;

    #[test]
    fn little_room_and_few_files_are_told_with_what_to_do() {
        let [much, little] = [Some(1 << 40), Some(FREE_MIN - 1)];
        let found = sum_up("store ok", much, Some(65_536));
        assert_eq!(found.verdict, Verdict::Ok);
        assert_eq!(found.says.shown(), "store ok, 1.0 TiB free, 65 536 open files");
        let found = sum_up("store ok", little, None);
        assert_eq!(
            (found.verdict, found.says.shown()),
            (Verdict::Warn, "store ok, 64 MiB free".into())
        );
        assert_eq!(found.fix, Some("make room on the disk".into()));
        let found = sum_up("store ok", None, Some(256));
        assert!(found.fix.unwrap().shown().contains("ulimit"));
    }
}
