//! How processes of one user on one machine find each other at once: a folder with a file for each.
//!
//! A file names the drives by discovery key only, and how to reach the process. It is removed when the process ends; one whose
//! process is gone is swept by whoever sees it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use datnode_feed::PublicKey;
use libp2p::Multiaddr;
use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Serialize};

/// What a process says of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Announced {
    /// Its process id.
    pub pid: i32,
    /// Where its node listens.
    pub addresses: Vec<Multiaddr>,
    /// The discovery keys of its drives, in hexadecimal.
    pub drives: Vec<String>,
    /// Its control socket.
    pub socket: PathBuf,
}

/// An announcement that ends when this is dropped.
#[derive(Debug)]
pub struct Announcement {
    path: PathBuf,
    socket: PathBuf,
}

impl Drop for Announcement {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
        let _ = fs::remove_file(&self.socket);
    }
}

/// Returns the path of this process's control socket.
pub fn socket(run: &Path) -> PathBuf {
    run.join(format!("{}.sock", std::process::id()))
}

/// Announces this process.
///
/// # Errors
/// What the system says.
pub fn announce(
    run: &Path,
    addresses: Vec<Multiaddr>,
    drives: &[PublicKey],
) -> io::Result<Announcement> {
    let pid = rustix::process::getpid().as_raw_nonzero().get();
    let announced = Announced {
        pid,
        addresses,
        drives: drives.iter().map(name).collect(),
        socket: socket(run),
    };
    let path = run.join(format!("{pid}.json"));
    let temporary = run.join(format!("{pid}.new"));
    fs::write(&temporary, serde_json::to_vec(&announced)?)?;
    fs::rename(&temporary, &path)?;
    Ok(Announcement { path, socket: announced.socket })
}

/// Finds the living processes that serve a drive.
pub fn find(run: &Path, drive: &PublicKey) -> Vec<Announced> {
    let wanted = name(drive);
    let files = fs::read_dir(run).into_iter().flatten().flatten();
    let json = files
        .map(|file| file.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "json"));
    json.filter_map(|path| living(&path))
        .filter(|announced| announced.drives.contains(&wanted))
        .collect()
}

fn living(path: &Path) -> Option<Announced> {
    let announced: Announced = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    let alive = Pid::from_raw(announced.pid).is_some_and(|pid| test_kill_process(pid).is_ok());
    if !alive {
        let _ = fs::remove_file(path);
        let _ = fs::remove_file(&announced.socket);
        return None;
    }
    (announced.pid != rustix::process::getpid().as_raw_nonzero().get()).then_some(announced)
}

fn name(drive: &PublicKey) -> String {
    data_encoding::HEXLOWER.encode(&drive.discovery().0)
}
