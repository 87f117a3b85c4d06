//! How processes of one user on one machine find each other at once: a folder with a file for each.
//!
//! A file names the drives by discovery key only, and how to reach the process. It appears whole, is removed when the process
//! ends, and is swept by whoever sees it when the process is gone. A process is known by its id and when it began, as ids are
//! used again.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use datnode_feed::PublicKey;
use libp2p::Multiaddr;
use rustix::process::{Pid, getpid, getuid, test_kill_process};
use serde::{Deserialize, Serialize};

use crate::dirs::make_private;

/// The longest path of a socket, which the system keeps in 108 bytes with a zero behind it.
const SOCKET_PATH_MAX: usize = 107;
/// Files that are larger were written by something else.
const FILE_LEN_MAX: u64 = 1 << 20;

/// What a process says of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Announced {
    /// Its process id.
    pub pid: i32,
    /// When it began, in clock ticks since the system did; none where the system does not say.
    #[serde(default)]
    pub began: Option<u64>,
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
    announced: Announced,
}

impl Announcement {
    /// Says that the process has these drives now.
    ///
    /// # Errors
    /// What the system says.
    pub fn change(&mut self, drives: &[PublicKey]) -> io::Result<()> {
        self.announced.drives = drives.iter().map(name).collect();
        self.write()
    }

    fn write(&self) -> io::Result<()> {
        let temporary = self.path.with_extension("new");
        fs::write(&temporary, serde_json::to_vec(&self.announced)?)?;
        fs::rename(&temporary, &self.path)
    }
}

impl Drop for Announcement {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
        let _ = fs::remove_file(&self.announced.socket);
    }
}

/// Returns the path of this process's control socket; short enough for the system, whatever `run` is.
pub fn socket(run: &Path) -> PathBuf {
    let name = format!("{}.sock", own_pid());
    let path = run.join(&name);
    if path.as_os_str().as_bytes().len() <= SOCKET_PATH_MAX {
        return path;
    }
    // Named after the folder, so that two homes of one user stay apart.
    let hash = blake3::hash(run.as_os_str().as_bytes());
    let folder = format!("datnode-{}-{}", getuid().as_raw(), &hash.to_hex()[..16]);
    Path::new("/tmp").join(folder).join(name)
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
    let pid = own_pid();
    let socket = socket(run);
    make_private(run)?;
    let announced = Announced {
        pid,
        began: began(pid),
        addresses,
        drives: drives.iter().map(name).collect(),
        socket,
    };
    let announcement = Announcement { path: run.join(format!("{pid}.json")), announced };
    announcement.write()?;
    Ok(announcement)
}

/// Finds the living processes that serve a drive, this one excepted; sweeps what dead ones left.
pub fn find(run: &Path, drive: &PublicKey) -> Vec<Announced> {
    find_any(run, &BTreeSet::from([*drive]))
}

/// Finds those that serve any of some drives.
pub fn find_any(run: &Path, drives: &BTreeSet<PublicKey>) -> Vec<Announced> {
    let wanted: BTreeSet<String> = drives.iter().map(name).collect();
    let serves =
        |announced: &Announced| announced.drives.iter().any(|drive| wanted.contains(drive));
    all(run).into_iter().filter(serves).collect()
}

/// Finds all living processes of this user, this one excepted; sweeps what dead ones left.
pub fn all(run: &Path) -> Vec<Announced> {
    let files = fs::read_dir(run).into_iter().flatten().flatten();
    let json = files
        .map(|file| file.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "json"));
    json.filter_map(|path| living(&path)).collect()
}

fn living(path: &Path) -> Option<Announced> {
    let announced = read(path)?;
    if !is_alive(&announced) {
        let _ = fs::remove_file(path);
        let _ = fs::remove_file(&announced.socket);
        return None;
    }
    (announced.pid != own_pid()).then_some(announced)
}

fn read(path: &Path) -> Option<Announced> {
    let small = fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() <= FILE_LEN_MAX);
    if !small {
        return None;
    }
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn is_alive(announced: &Announced) -> bool {
    let exists = Pid::from_raw(announced.pid)
        .filter(|_| announced.pid > 0)
        .is_some_and(|pid| test_kill_process(pid).is_ok());
    let same = match (announced.began, began(announced.pid)) {
        (Some(then), Some(now)) => then == now,
        _ => true,
    };
    exists && same
}

/// Returns when a process began, from `/proc`.
fn began(pid: i32) -> Option<u64> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the command in parentheses and may hold anything; the time is the 22nd.
    let behind = stat.iter().rposition(|&byte| byte == b')')?;
    let rest = str::from_utf8(stat.get(behind + 1..)?).ok()?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

fn own_pid() -> i32 {
    getpid().as_raw_nonzero().get()
}

/// Returns how a drive is named to others: by its discovery key.
pub fn name(drive: &PublicKey) -> String {
    data_encoding::HEXLOWER.encode(&drive.discovery().0)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use datnode_feed::SecretKey;

    use super::*;

    fn drive() -> PublicKey {
        SecretKey::from_bytes([1; 32]).public()
    }

    /// Rewrites this process's announcement as if another process had made it.
    fn pretend(run: &Path, pid: i32, began: Option<u64>) -> PathBuf {
        let socket = run.join(format!("{pid}.sock"));
        fs::write(&socket, "").unwrap();
        let drives = vec![name(&drive())];
        let announced = Announced { pid, began, addresses: Vec::new(), drives, socket };
        let path = run.join(format!("{pid}.json"));
        fs::write(&path, serde_json::to_vec(&announced).unwrap()).unwrap();
        path
    }

    #[test]
    fn a_process_does_not_find_itself_and_leaves_nothing() {
        let run = tempfile::tempdir().unwrap();
        let announcement = announce(run.path(), Vec::new(), &[drive()]).unwrap();
        assert_eq!(fs::read_dir(run.path()).unwrap().count(), 1);
        assert!(find(run.path(), &drive()).is_empty());
        drop(announcement);
        assert_eq!(fs::read_dir(run.path()).unwrap().count(), 0);
    }

    #[test]
    fn living_processes_are_found_and_dead_ones_swept() {
        let run = tempfile::tempdir().unwrap();
        let mut child =
            Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let path = pretend(run.path(), pid, began(pid));
        assert_eq!(find(run.path(), &drive()).len(), 1);
        let other = SecretKey::from_bytes([2; 32]).public();
        assert!(find(run.path(), &other).is_empty());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(find(run.path(), &drive()).is_empty());
        assert!(!path.exists());
        assert_eq!(fs::read_dir(run.path()).unwrap().count(), 0, "the socket is swept too");
    }

    #[test]
    fn a_process_id_that_is_used_again_is_another_process() {
        let run = tempfile::tempdir().unwrap();
        let Some(now) = began(1) else { return };
        let path = pretend(run.path(), 1, Some(now + 1));
        assert!(find(run.path(), &drive()).is_empty());
        assert!(!path.exists());
    }

    #[test]
    fn files_of_others_are_left_alone() {
        let run = tempfile::tempdir().unwrap();
        for (name, content) in
            [("a.json", "{"), ("b.json", "[]"), ("c.txt", "x"), ("d.json", "{\"pid\":1}")]
        {
            fs::write(run.path().join(name), content).unwrap();
        }
        fs::create_dir(run.path().join("e.json")).unwrap();
        assert!(find(run.path(), &drive()).is_empty());
        assert_eq!(fs::read_dir(run.path()).unwrap().count(), 5);
        assert!(find(&run.path().join("missing"), &drive()).is_empty());
    }

    #[test]
    fn socket_paths_fit_the_system() {
        let long = Path::new("/").join("d".repeat(200));
        let other = Path::new("/").join("e".repeat(200));
        for run in [Path::new("/run/user/0/datnode"), &long] {
            assert!(socket(run).as_os_str().len() <= SOCKET_PATH_MAX);
        }
        assert_ne!(socket(&long), socket(&other));
    }
}
