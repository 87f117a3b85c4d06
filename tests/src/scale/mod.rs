//! What a drive of very many files and changes costs, held against what is promised.
//!
//! Elsewhere: on this computer (`local`), from afar (`remote`), a real folder (`folder`).

mod folder;
mod local;
mod remote;

use std::fmt;
use std::path::Path;

use datnode_drive::{DrivePath, Entry, Mtime, Op};

use crate::User;
use crate::hostile::forge::Forge;

/// How much is made.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Files of the drive that is made without a folder.
    pub files: u64,
    /// Changes of one file each that follow.
    pub changes: u64,
    /// Files of a real folder that is shared and cloned.
    pub real: u64,
}

/// One figure.
#[derive(Clone, Debug)]
pub struct Figure {
    /// What was measured.
    pub what: &'static str,
    /// What came out.
    pub seen: f64,
    /// Of what.
    pub unit: Unit,
    /// The most that is promised; nothing if it only tells.
    pub promised: Option<f64>,
}

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Index blocks.
    Blocks,
    /// Bytes.
    Bytes,
    /// Round trips.
    RoundTrips,
    /// Bytes of memory that no file is behind.
    Memory,
    /// Seconds: they are another machine's on another machine.
    Seconds,
}

impl Figure {
    /// Tells whether what came out is no more than is promised.
    pub fn holds(&self) -> bool {
        self.promised.is_none_or(|promised| self.seen <= promised)
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let promised = self.promised.map_or("–".to_owned(), |most| self.unit.show(most));
        let verdict = if self.holds() { "" } else { "   missed" };
        write!(f, "{:56} {:>14} {promised:>14}{verdict}", self.what, self.unit.show(self.seen))
    }
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::Blocks => format!("{value} blocks"),
            Self::RoundTrips => format!("{value} trips"),
            Self::Bytes | Self::Memory if value >= f64::from(1 << 20) => {
                format!("{:.1} MiB", value / f64::from(1 << 20))
            }
            Self::Bytes | Self::Memory => format!("{:.1} KiB", value / 1024.0),
            Self::Seconds if value < 1e-3 => format!("{:.1} µs", value * 1e6),
            Self::Seconds if value < 1.0 => format!("{:.1} ms", value * 1e3),
            Self::Seconds => format!("{value:.1} s"),
        }
    }
}

/// What a process may take, in bytes.
const MEMORY_MAX: f64 = (100 << 20) as f64;

/// Makes drives of these sizes, and tells each figure as it is known.
pub fn measure(sizes: Sizes, tell: &mut dyn FnMut(Figure)) {
    let user = User::new();
    let folder = user.path("drive");
    let mut drive = Synthetic::new(&folder, sizes.files);
    local::measure(&mut drive, sizes, tell);
    drop(drive);
    remote::measure(&user, &folder, sizes, tell);
    drop(user);
    if sizes.real > 0 {
        folder::measure(sizes.real, tell);
    }
}

/// How many files there are in a folder.
const FOLDER_FILES: u64 = 1_000;

fn folder_name(folder: u64) -> String {
    format!("folder {folder:04}")
}

/// Returns where a file is.
fn name(number: u64) -> String {
    format!("{}/measurement {number:07}.csv", folder_name(number / FOLDER_FILES))
}

fn path(name: &str) -> DrivePath {
    DrivePath::from_bytes(name).expect("it is short and plain")
}

/// Returns a number below `limit` that looks random and follows from `number`.
fn scattered(number: u64, limit: u64) -> u64 {
    (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 16) % limit
}

/// A drive without a folder's files, in a store on the disk.
struct Synthetic {
    forge: Forge,
}

impl Synthetic {
    /// Makes it, with one change.
    fn new(folder: &Path, files: u64) -> Self {
        let mut forge = Forge::in_folder(folder, 1, b"scale");
        let folders = (0..files.div_ceil(FOLDER_FILES)).map(|folder| {
            let entry = Entry::directory(0o755, Mtime { seconds: 1_600_000_000, nanos: 0 });
            Op::Put(path(&folder_name(folder)), entry)
        });
        let mut ops: Vec<Op> = folders.collect();
        for number in 0..files {
            ops.push(Op::Put(path(&name(number)), forge.file(name(number).as_bytes())));
        }
        ops.sort_by_cached_key(|op| op.path().key());
        forge.change_files(&ops, "all");
        Self { forge }
    }

    /// Gives one file other bytes.
    fn edit(&mut self, number: u64, bytes: &[u8]) {
        let entry = self.forge.file(bytes);
        self.forge.change_files(&[Op::Put(path(&name(number)), entry)], "one");
    }
}
