//! A real folder of very many small files: shared, shared again unchanged, cloned.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::{FOLDER_FILES, Figure, MEMORY_MAX, Unit, folder_name, name};
use crate::process::{Peak, finish};
use crate::{Sharer, User, assert_exit};

/// Far longer than anything here takes.
const HANGS: Duration = Duration::from_secs(3_600);

pub(super) fn measure(files: u64, tell: &mut dyn FnMut(Figure)) {
    let user = User::new();
    make(&user.path("source"), files);
    let (in_place, took, memory) = share(&user, &["--in-place"]);
    assert_eq!(in_place.ready["files"], files);
    tell(seconds("sharing a real folder in place", took));
    tell(anonymous("memory of it", memory));
    drop(in_place);
    fs::remove_dir_all(user.path("source/.dat")).unwrap();
    let (first, took, memory) = share(&user, &[]);
    assert_eq!(first.ready["files"], files);
    tell(seconds("sharing a real folder", took));
    tell(anonymous("memory of it", memory));
    drop(first);
    let (again, took, memory) = share(&user, &[]);
    assert_eq!((&again.ready["change"], &again.ready["added"]), (&1.into(), &0.into()));
    tell(seconds("sharing it again, unchanged", took));
    tell(anonymous("memory of it", memory));

    let (reader, began) = (User::new(), Instant::now());
    let serves = Peak::of(&again.child);
    let mut clone = reader.command(["clone", again.ticket(), "copy"]);
    let child = clone.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let ended = finish(child, HANGS);
    assert_exit(&ended.output, 0);
    tell(seconds("cloning it", began.elapsed()));
    tell(anonymous("memory of the clone", ended.anonymous));
    tell(anonymous("memory of who serves it", serves.most()));
}

/// Makes a folder of small files that differ.
fn make(source: &Path, files: u64) {
    for folder in 0..files.div_ceil(FOLDER_FILES) {
        fs::create_dir_all(source.join(folder_name(folder))).unwrap();
    }
    for number in 0..files {
        let name = name(number);
        fs::write(source.join(&name), name).unwrap();
    }
}

/// Shares it; returns besides how long it took until it is served, and how much memory.
fn share(user: &User, flags: &[&str]) -> (Sharer, Duration, u64) {
    let began = Instant::now();
    let mut command = user.command(["--json", "share", "source"]);
    command.args(flags);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let peak = Peak::of(&child);
    let sharer = Sharer::of(child);
    (sharer, began.elapsed(), peak.most())
}

fn seconds(what: &'static str, took: Duration) -> Figure {
    Figure { what, seen: took.as_secs_f64(), unit: Unit::Seconds, promised: None }
}

fn anonymous(what: &'static str, bytes: u64) -> Figure {
    Figure { what, seen: bytes as f64, unit: Unit::Memory, promised: Some(MEMORY_MAX) }
}
