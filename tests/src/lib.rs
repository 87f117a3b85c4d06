//! The built binary, in real processes, over real folders.
//!
//! Whatever cannot go on here panics: the test that called has failed.
//! Elsewhere: peers and drives that mean harm ([`hostile`]), addresses without anybody ([`hole`]), what very large drives cost
//! ([`scale`]).

pub mod guard;
pub mod hole;
pub mod hostile;
pub mod internet;
pub mod ipfs;
pub mod network;
pub mod node;
pub mod process;
pub mod pty;
pub mod relay;
pub mod scale;
pub mod site;
pub mod spelled;
pub mod strace;
pub mod terminal;
pub mod trouble;

pub mod meter;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

use libp2p::Multiaddr;
use serde_json::Value;
use tempfile::TempDir;

/// Returns the binary, which `cargo test --workspace` has built; alone, this package builds it.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let test = std::env::current_exe().unwrap();
        let binary = test.parent().and_then(Path::parent).unwrap().join("datnode");
        if !binary.exists() {
            let build = ["build", "--offline", "-p", "datnode", "--bin", "datnode"];
            let built = Command::new(env!("CARGO"))
                .args(build)
                .current_dir(env!("CARGO_MANIFEST_DIR"))
                .status();
            assert!(built.unwrap().success());
        }
        binary
    })
}

/// A user on this machine: a home of its own, and a folder to work in.
pub struct User {
    home: TempDir,
}

impl Default for User {
    fn default() -> Self {
        Self::new()
    }
}

impl User {
    /// Makes a user who has nothing yet.
    pub fn new() -> Self {
        Self { home: TempDir::new().unwrap() }
    }

    /// Returns a path in the user's folder.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.home.path().join("work").join(name)
    }

    /// Prepares a command of this user, on loopback and without discovery.
    pub fn command<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(binary());
        command.args(args);
        self.equip(&mut command);
        command
    }

    /// Returns the folder of the user's own data.
    pub fn home(&self) -> PathBuf {
        self.home.path().join("home")
    }

    /// Makes a command this user's: folder, environment, no input.
    pub fn equip(&self, command: &mut Command) {
        fs::create_dir_all(self.path("")).unwrap();
        command
            .current_dir(self.path(""))
            .env("DATNODE_HOME", self.home())
            .env("DATNODE_LISTEN", "127.0.0.1")
            .env("DATNODE_PORT", "0")
            .env("DATNODE_DISCOVER", "none")
            .stdin(Stdio::null());
    }

    /// Runs a command to its end.
    pub fn run<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Output {
        self.command(args).output().unwrap()
    }

    /// Shares a folder and waits until it is served.
    pub fn share(&self, folder: &Path, more: &[&str]) -> Sharer {
        let mut command =
            self.command([OsStr::new("--json"), "share".as_ref(), folder.as_os_str()]);
        command.args(more);
        Sharer::start(command)
    }
}

/// A running `share`; it is killed when this is dropped.
pub struct Sharer {
    /// The process.
    pub child: Child,
    /// What it printed when it was ready.
    pub ready: Value,
}

impl Sharer {
    /// Starts a `share` that speaks JSON, and waits until it serves.
    pub fn start(mut command: Command) -> Self {
        Self::of(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// Waits until a `share` serves that speaks JSON into a pipe, as it does on its other output.
    pub fn of(mut child: Child) -> Self {
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines.find_map(|line| {
            let value: Value = serde_json::from_str(&line.unwrap()).unwrap();
            (value["type"] == "ready").then_some(value)
        });
        let ready = ready.unwrap_or_else(|| {
            let mut said = String::new();
            child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            panic!("share ended: {said}")
        });
        Self { child, ready }
    }

    /// Returns the ticket.
    pub fn ticket(&self) -> &str {
        self.ready["ticket"].as_str().unwrap()
    }

    /// Returns the link.
    pub fn link(&self) -> &str {
        self.ready["drive"]["link"].as_str().unwrap()
    }

    /// Returns an address in which there is this: the transport, for example.
    pub fn address_with(&self, part: &str) -> Multiaddr {
        let all = self.ready["addresses"].as_array().unwrap();
        let mut all = all.iter().filter_map(Value::as_str);
        all.find(|address| address.contains(part)).unwrap().parse().unwrap()
    }

    /// Returns the address for `--peer`.
    pub fn address(&self) -> &str {
        self.ready["addresses"][0].as_str().unwrap()
    }
}

impl Drop for Sharer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is at a path, as far as it must be the same elsewhere.
#[derive(Debug, PartialEq, Eq)]
pub enum Thing {
    /// A file.
    File {
        /// Its permissions.
        mode: u32,
        /// Its time, in seconds and nanoseconds.
        mtime: (i64, i64),
        /// The hash of its bytes.
        hash: blake3::Hash,
    },
    /// A symbolic link, and where it points.
    Link(PathBuf),
    /// A folder.
    Folder {
        /// Its permissions.
        mode: u32,
    },
}

/// Returns everything below a folder, but what is hidden at its top.
pub fn tree(root: &Path) -> BTreeMap<Vec<u8>, Thing> {
    let mut all = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
            if name.starts_with(b".") {
                continue;
            }
            let metadata = fs::symlink_metadata(&path).unwrap();
            let mode = metadata.mode() & 0o777;
            let thing = if metadata.is_symlink() {
                Thing::Link(fs::read_link(&path).unwrap())
            } else if metadata.is_dir() {
                folders.push(path);
                Thing::Folder { mode }
            } else {
                let mut hasher = blake3::Hasher::new();
                std::io::copy(&mut fs::File::open(&path).unwrap(), &mut hasher).unwrap();
                let mtime = (metadata.mtime(), metadata.mtime_nsec());
                Thing::File { mode, mtime, hash: hasher.finalize() }
            };
            all.insert(name, thing);
        }
    }
    all
}

/// Writes a file, making the folders above it.
pub fn write(root: &Path, name: &[u8], bytes: &[u8]) {
    let path = root.join(std::ffi::OsString::from_vec(name.to_vec()));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Flips a bit, as a disk may: the file's time does not tell.
pub fn rot(path: &Path, offset: u64) {
    let modified = fs::metadata(path).unwrap().modified().unwrap();
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    byte[0] ^= 1;
    file.write_all_at(&byte, offset).unwrap();
    file.set_times(fs::FileTimes::new().set_modified(modified)).unwrap();
}

/// Returns bytes that look random and follow from a seed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Asserts how a command ended; shows what it said otherwise.
pub fn assert_exit(output: &Output, code: i32) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
}
