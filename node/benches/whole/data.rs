//! What is shared: noise, the same in every run, made once.

use std::fs::{self, File};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use crate::node::Home;

/// Fills a file with noise of its own.
fn noise(path: &Path, seed: u64, len: u64) {
    let mut stream = blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof();
    let (mut file, mut piece) = (File::create(path).expect("room for data"), vec![0; 1 << 20]);
    let mut left = len;
    while left > 0 {
        let now = left.min(piece.len() as u64) as usize;
        stream.fill(&mut piece[..now]);
        file.write_all(&piece[..now]).expect("room for data");
        left -= now as u64;
    }
}

/// Makes a folder unless an earlier run made all of it.
fn once(folder: &Path, name: &str, make: impl FnOnce(&Path)) -> PathBuf {
    let (path, done) = (folder.join(name), folder.join(format!("{name}.done")));
    if !done.exists() {
        eprintln!("making {}", path.display());
        remove(&path);
        fs::create_dir_all(&path).expect("room for data");
        make(&path);
        File::create(done).expect("room for data");
    }
    path
}

/// One file.
pub(crate) fn large(folder: &Path, len: u64) -> PathBuf {
    once(folder, &format!("large-{len}"), |path| noise(&path.join("file"), 1, len))
}

/// Many files of 8 KiB and a little, a hundred in a folder.
pub(crate) fn small(folder: &Path, count: u64) -> PathBuf {
    once(folder, &format!("small-{count}"), |path| {
        for number in 0..count {
            let within = path.join(format!("{}", number / 100));
            fs::create_dir_all(&within).expect("room for data");
            noise(&within.join(format!("{number}")), number, 6_256 + number % 4_000);
        }
    })
}

/// Two large files and 198 small ones; made anew by each run, since they are edited.
pub(crate) fn edits(folder: &Path, len: u64) -> PathBuf {
    let path = folder.join("edits");
    remove(&path);
    fs::create_dir_all(&path).expect("room for data");
    (0..2).for_each(|large| noise(&path.join(format!("large-{large}")), large, len));
    (2..200).for_each(|small| noise(&path.join(format!("small-{small}")), small, 20_000));
    path
}

/// Writes other bytes over 4 KiB in the middle of a file.
pub(crate) fn overwrite_middle(path: &Path) {
    let mut file = File::options().write(true).open(path).expect("it was made");
    let middle = file.metadata().expect("it was made").len() / 2;
    file.seek(SeekFrom::Start(middle)).expect("it is long enough");
    file.write_all(&fresh(4 << 10)).expect("room for data");
}

/// Puts 1 KiB before what a file has.
pub(crate) fn insert_front(path: &Path) {
    let old = fs::read(path).expect("it was made");
    let mut file = File::create(path).expect("it was made");
    file.write_all(&fresh(1 << 10)).expect("room for data");
    file.write_all(&old).expect("room for data");
}

/// Tells whether two files have the same bytes.
pub(crate) fn are_equal(one: &Path, other: &Path) -> bool {
    let hash = |path: &Path| {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(File::open(path).expect("it was made")).expect("it can be read");
        hasher.finalize()
    };
    hash(one) == hash(other)
}

/// Bytes that no file of any round has.
fn fresh(len: usize) -> Vec<u8> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seed = now.expect("the clock is right").as_nanos().to_le_bytes();
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed).finalize_xof().fill(&mut bytes);
    bytes
}

/// Returns a file of a folder, relative to it.
pub(crate) fn first_file(folder: &Path) -> String {
    let path = files(folder).into_iter().min().expect("there are files");
    path.strip_prefix(folder).expect("it is below").to_str().expect("names are plain").to_owned()
}

/// Returns the files below a folder, those of its drive apart.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.map(|entry| entry.expect("it can be listed")) {
            let path = entry.path();
            match entry.file_type().expect("it can be listed").is_dir() {
                true if path.ends_with(".dat") => {}
                true => folders.push(path),
                false => files.push(path),
            }
        }
    }
    files
}

/// Returns how many bytes the files below a folder have.
pub(crate) fn size(folder: &Path) -> u64 {
    files(folder).iter().filter_map(|file| Some(fs::metadata(file).ok()?.len())).sum()
}

/// Where copies go, each to a folder that was never there.
///
/// Those of many files are removed when all is measured: for minutes ext4 passes over each inode that was freed just now when it
/// looks for one, and whoever makes files pays for those whom others removed.
pub(crate) struct Outs {
    folder: PathBuf,
    count: usize,
}

impl Outs {
    const MANY: usize = 1_000;

    pub(crate) fn new(folder: &Path) -> Self {
        remove(&folder.join("outs"));
        Self { folder: folder.to_owned(), count: 0 }
    }

    /// Measures something that makes a copy.
    pub(crate) fn with(&mut self, measure: impl FnOnce(&Path)) {
        self.count += 1;
        let outs = self.folder.join("outs");
        fs::create_dir_all(&outs).expect("room for data");
        let out = outs.join(self.count.to_string());
        settle();
        measure(&out);
        if files(&out).len() < Self::MANY {
            remove(&out);
        }
    }

    /// Returns the home of a user.
    pub(crate) fn home(&self, name: &str) -> Home {
        Home::new(&self.folder, name)
    }
}

impl Drop for Outs {
    fn drop(&mut self) {
        remove(&self.folder.join("outs"));
    }
}

/// Removes a folder, if it is there.
pub(crate) fn remove(folder: &Path) {
    if folder.exists() {
        fs::remove_dir_all(folder).expect("it can be removed");
    }
}

/// Lets the system write out what others left in its cache, so that nobody pays for it later.
pub(crate) fn settle() {
    rustix::fs::sync();
}
